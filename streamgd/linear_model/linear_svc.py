"""The linear support vector machine."""

from __future__ import annotations

from typing import Any, Literal

from river import base

from streamgd.optim import losses
from streamgd.optim.base import Penalty

from ._tasks import LinearClassifier


class LinearSVC(LinearClassifier, base.MiniBatchClassifier):
    """A linear support vector machine by stochastic gradient descent, compiled.

    `LogisticRegression` with the hinge loss and a little L2, in place of the logistic loss and none. On
    rows without absent features it is scikit-learn's ``SGDClassifier(loss="hinge", alpha=l2,
    learning_rate="constant", eta0=0.01)``. The probabilities are the sigmoid of the margin: they rank
    samples, but are no frequencies.

    Parameters
    ----------
    optimizer
        How weights are updated. Default ``optim.SGD(0.01)``.
    loss
        A binary loss. Default ``optim.losses.Hinge()``; ``optim.losses.SquaredHinge()`` is the other that
        support vector machines have.
    l2
        Strength of the L2 penalty on the features that are present: a stronger one makes the margin
        wider. 0 for optimizers that take no penalty.
    l1
        Strength of the cumulative L1 penalty. It may be joined with ``l2``.
    intercept_init
        First value of the intercept.
    intercept_lr
        Learning rate of the intercept, a number or a scheduler; 0 keeps it fixed, and ``"optimizer"``
        makes it a feature of value 1, learned like any other.
    clip_gradient
        Largest absolute value of the loss's derivative times the sample's weight.
    initializer
        First weights. Default ``optim.initializers.Zeros()``.
    labels
        The labels, ``(negative, positive)``, if they are not to be found in the stream.
    penalty
        A penalty in place of ``l1`` and ``l2``, which must then be 0.
    late
        What a feature owes that appears late: ``"global"`` counts updates for bias corrections and L1
        over the whole stream (river), ``"fresh"`` from the feature's own first appearance.
    on_invalid
        What to do with a bad sample: ``"raise"``, or ``"skip"`` and count it in ``n_invalid``.
    class_weight
        What the weights of samples are multiplied by, by their class: ``"balanced"``, a dict of labels and
        factors, or a piece of `optim.class_weights`. Losses and metrics do not see it.

    Attributes
    ----------
    weights : dict
        Weights by feature.
    intercept : float
        The intercept.
    labels_ : tuple
        The labels known so far, the negative one first.
    n_invalid : int
        Bad samples that were skipped.

    Examples
    --------
    >>> from river import datasets, evaluate, metrics, preprocessing
    >>> from streamgd import linear_model
    >>> model = preprocessing.StandardScaler() | linear_model.LinearSVC()
    >>> evaluate.progressive_val_score(datasets.Phishing(), model, metrics.Accuracy())
    Accuracy: 89.68%

    References
    ----------
    Shalev-Shwartz, S., Singer, Y., Srebro, N., Cotter, A. (2011). Pegasos: primal estimated
    sub-gradient solver for SVM. Mathematical Programming 127(1), equations 1 and 2.
    """

    _default_loss = losses.Hinge

    def __init__(
        self,
        optimizer: Any = None,
        loss: Any = None,
        l2: float = 1e-4,
        l1: float = 0.0,
        intercept_init: float = 0.0,
        intercept_lr: Any = 0.01,
        clip_gradient: float = 1e12,
        initializer: Any = None,
        *,
        labels: tuple[Any, Any] | None = None,
        penalty: Penalty | None = None,
        late: Literal["global", "fresh"] = "global",
        on_invalid: Literal["raise", "skip"] = "raise",
        class_weight: Any = None,
    ) -> None:
        super().__init__(
            optimizer=optimizer,
            loss=loss,
            l2=l2,
            l1=l1,
            intercept_init=intercept_init,
            intercept_lr=intercept_lr,
            clip_gradient=clip_gradient,
            initializer=initializer,
            penalty=penalty,
            late=late,
            on_invalid=on_invalid,
            class_weight=class_weight,
            labels=labels,
        )
