"""Averages of the weights, over any optimizer that stores the weights themselves."""

from __future__ import annotations

from dataclasses import dataclass

from streamgd._piece import Piece

from .base import Optimizer, Scheduler

__all__ = ["Averager"]


@dataclass(frozen=True)
class Averager(Piece):
    r"""Predict with an average of the weights that an optimizer goes through.

    After update :math:`k` beyond ``start``, :math:`\bar w \leftarrow \bar w + \frac{\gamma + 1}{\gamma + k}
    (w - \bar w)`. Gradients are taken at the weights themselves. The intercept is averaged too. Only
    the features of a row are touched: what an absent weight's average has become is found out when it
    is needed, and exactly.

    river's class of this name has no effect on its linear models, which never see the average.

    Parameters
    ----------
    optimizer
        The optimizer whose weights are averaged.
    start
        Updates before the average begins; until then predictions use the last weights.
    gamma
        0 for the plain mean (Polyak and Ruppert), larger to forget early weights faster (Shamir and
        Zhang), at most 20; 8 is what the authors of DoG advise.

    Raises
    ------
    ValueError
        For an optimizer that does not store the weights it predicts with, or averages already.

    References
    ----------
    Polyak, B. T. and Juditsky, A. B. (1992). Acceleration of stochastic approximation by averaging.
    SIAM Journal on Control and Optimization 30(4).
    Shamir, O. and Zhang, T. (2013). Stochastic gradient descent for non-smooth optimization. ICML,
    equation 9.
    """

    optimizer: Optimizer
    start: int = 0
    gamma: float = 0.0

    def __post_init__(self) -> None:
        from ._accept import optimizer

        accepted = optimizer(self.optimizer, "Averager(optimizer=...)")
        object.__setattr__(self, "optimizer", accepted)
        super().__post_init__()

    def check(self) -> None:
        self.require(self.start >= 0, "start", "at least 0")
        self.require(0 <= self.gamma <= 20, "gamma", "in [0, 20]")
        inner = self.optimizer
        if not isinstance(inner, Optimizer) or inner.kernel != "coordinate" or inner.overrides("at"):
            raise ValueError(
                f"Averager(optimizer={inner!r}): {type(inner).__name__} does not predict with stored weights "
                "that could be averaged; use it alone, or average SGD, AdaGrad, Adam, ..."
            )

    @property
    def rule(self) -> Optimizer:
        """The optimizer that kernels compile."""
        return self.optimizer

    @property
    def scheduler(self) -> Scheduler:
        """The learning rate as a scheduler."""
        return self.optimizer.scheduler
