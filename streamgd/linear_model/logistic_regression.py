"""Logistic regression."""

from __future__ import annotations

from typing import Any, Literal

from river import base

from streamgd.optim import losses
from streamgd.optim.base import Penalty

from ._tasks import LinearClassifier


class LogisticRegression(LinearClassifier, base.MiniBatchClassifier):
    """Logistic regression by stochastic gradient descent, compiled.

    Parameters, defaults and results are those of river's class of the same name; river's own
    optimizers, losses, schedulers and initializers are accepted and converted. Labels may be any two
    values: of 0 and 1, and of -1 and 1, 1 is the positive; of others the first one seen is the negative
    (where that is 1, say ``labels``).

    Parameters
    ----------
    optimizer
        How weights are updated. Default ``optim.SGD(0.01)``.
    loss
        A binary loss. Default ``optim.losses.Log()``.
    l2
        Strength of the L2 penalty on the features that are present.
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
        A penalty in place of ``l1`` and ``l2``, for instance ``optim.penalties.Proximal(l1=1e-4)``.
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
    >>> from streamgd import linear_model, optim
    >>> model = preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(0.1))
    >>> evaluate.progressive_val_score(datasets.Phishing(), model, metrics.Accuracy())
    Accuracy: 88.96%
    """

    _default_loss = losses.Log

    def __init__(
        self,
        optimizer: Any = None,
        loss: Any = None,
        l2: float = 0.0,
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
