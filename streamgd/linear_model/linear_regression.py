"""Linear regression."""

from __future__ import annotations

from typing import Any, Literal

from river import base

from streamgd.optim import losses
from streamgd.optim.base import Penalty

from ._tasks import LinearRegressor


class LinearRegression(LinearRegressor, base.MiniBatchRegressor):
    """Linear regression by stochastic gradient descent, compiled.

    Parameters, defaults and results are those of river's class of the same name; river's own
    optimizers, losses, schedulers and initializers are accepted and converted.

    Parameters
    ----------
    optimizer
        How weights are updated. Default ``optim.SGD(0.01)``.
    loss
        A regression loss. Default ``optim.losses.Squared()``.
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
    penalty
        A penalty in place of ``l1`` and ``l2``, for instance ``optim.penalties.Proximal(l1=1e-4)``.
    late
        What a feature owes that appears late: ``"global"`` counts updates for bias corrections and L1
        over the whole stream (river), ``"fresh"`` from the feature's own first appearance.
    on_invalid
        What to do with a bad sample: ``"raise"``, or ``"skip"`` and count it in ``n_invalid``.

    Attributes
    ----------
    weights : dict
        Weights by feature.
    intercept : float
        The intercept.
    n_invalid : int
        Bad samples that were skipped.

    Examples
    --------
    >>> from river import datasets, evaluate, metrics, preprocessing
    >>> from streamgd import linear_model
    >>> model = preprocessing.StandardScaler() | linear_model.LinearRegression(intercept_lr=0.1)
    >>> evaluate.progressive_val_score(datasets.TrumpApproval(), model, metrics.MAE())
    MAE: 0.558735
    """

    _default_loss = losses.Squared

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
        penalty: Penalty | None = None,
        late: Literal["global", "fresh"] = "global",
        on_invalid: Literal["raise", "skip"] = "raise",
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
        )
