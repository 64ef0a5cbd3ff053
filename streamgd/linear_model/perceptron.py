"""The perceptron."""

from __future__ import annotations

from typing import Any, Literal

from river import base

from streamgd.optim import SGD, losses

from ._tasks import LinearClassifier


class Perceptron(LinearClassifier, base.MiniBatchClassifier):
    r"""The perceptron, compiled: :math:`w \leftarrow w + s x` for each sample on the wrong side.

    Gradient descent of rate 1, the intercept's too, on the hinge loss of threshold 0, as river's class
    of the same name. :math:`s` is 1 for the positive label and -1 for the other; a sample exactly on the
    boundary counts as wrong. The probabilities are the sigmoid of the raw output: they rank samples, but
    are no frequencies. For l1, schedules or other rates use
    ``LogisticRegression(optim.SGD(1.0), loss=optim.losses.Hinge(0.0), intercept_lr=1.0)``.

    Parameters
    ----------
    l2
        Strength of the L2 penalty on the features that are present.
    clip_gradient
        Largest absolute value of the loss's derivative times the sample's weight.
    initializer
        First weights. Default ``optim.initializers.Zeros()``.
    labels
        The labels, ``(negative, positive)``, if they are not to be found in the stream.
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
    >>> model = preprocessing.StandardScaler() | linear_model.Perceptron()
    >>> evaluate.progressive_val_score(datasets.Phishing(), model, metrics.Accuracy())
    Accuracy: 85.84%

    References
    ----------
    Rosenblatt, F. (1958). The perceptron: a probabilistic model for information storage and
    organization in the brain. Psychological Review 65(6).
    """

    _default_loss = losses.Hinge

    def __init__(
        self,
        l2: float = 0.0,
        clip_gradient: float = 1e12,
        initializer: Any = None,
        *,
        labels: tuple[Any, Any] | None = None,
        on_invalid: Literal["raise", "skip"] = "raise",
        class_weight: Any = None,
    ) -> None:
        super().__init__(
            optimizer=SGD(1.0),
            loss=losses.Hinge(0.0),
            l2=l2,
            l1=0.0,
            intercept_init=0.0,
            intercept_lr=1.0,
            clip_gradient=clip_gradient,
            initializer=initializer,
            penalty=None,
            late="global",
            on_invalid=on_invalid,
            class_weight=class_weight,
            labels=labels,
        )
