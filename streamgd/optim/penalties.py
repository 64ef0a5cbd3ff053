"""Penalties on the weights. Learners choose one by their ``l1`` and ``l2``."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Penalty

__all__ = ["L2", "ElasticNet"]


@dataclass(frozen=True)
class L2(Penalty):
    r"""Ridge penalty :math:`\lambda_2 \lVert w \rVert^2 / 2` on the features that are present (river).

    Parameters
    ----------
    l2
        Strength. With 0 there is no penalty.
    """

    l2: float = 0.0

    def check(self) -> None:
        self.require(self.l2 >= 0, "l2", "at least 0")

    def gradient(self, w: float) -> float:
        return self.l2 * w


@dataclass(frozen=True)
class ElasticNet(Penalty):
    r"""Cumulative L1 penalty, and L2 beside it.

    ``total`` is the L1 penalty that any weight could have received so far; a weight pays what it
    still owes each time its feature is present, and stops at zero. It is global, as in river: a
    feature that appears late owes the whole past.

    Parameters
    ----------
    l1, l2
        Strengths of both parts.

    References
    ----------
    Tsuruoka, Y., Tsujii, J. and Ananiadou, S. (2009). Stochastic gradient descent training for
    L1-regularized log-linear models with cumulative penalty. ACL, figure 2.
    """

    l1: float = 0.0
    l2: float = 0.0

    def check(self) -> None:
        self.require(self.l1 >= 0, "l1", "at least 0")
        self.require(self.l2 >= 0, "l2", "at least 0")

    def gradient(self, w: float) -> float:
        return self.l2 * w

    def accrue(self, total: float, lr: float) -> float:
        return total + self.l1 * lr

    def shrink(self, w: float, charged: float, total: float) -> tuple[float, float]:
        down = max(0.0, w - (total + charged))
        up = min(0.0, w + (total - charged))
        new = down if w > 0.0 else (up if w < 0.0 else w)
        return new, charged + (new - w)
