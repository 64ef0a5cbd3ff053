"""Penalties on the weights. Learners choose one by their ``l1`` and ``l2``."""

from __future__ import annotations

from dataclasses import dataclass

from streamgd._jit import jitable

from .base import Penalty, Slots

__all__ = ["L2", "ElasticNet", "Proximal", "TruncatedGradient"]


@jitable
def _reach() -> tuple[float, float]:
    """Return how large a lazy penalty's factor may grow, and what is paid beside a weight of 1.

    What is paid is added to the weights that are stored, and costs them as many digits as it has. In
    float32, to which 1 + 1e-9 is 1, there are fewer to spare.
    """
    digit = 1e-9
    return (1e100, 1e3) if 1.0 + digit > 1.0 else (1e15, 1.0)


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

    def advance(self, totals: Slots, lr: float, next_lr: float) -> Slots:
        return totals[0] + self.l1 * next_lr, 0.0

    def settle(self, w: float, charged: float, before: Slots, after: Slots) -> tuple[float, float]:
        down = max(0.0, w - (after[0] + charged))
        up = min(0.0, w + (after[0] - charged))
        new = down if w > 0.0 else (up if w < 0.0 else w)
        return new, charged + (new - w)


@dataclass(frozen=True)
class Proximal(Penalty):
    r"""Elastic net by proximal steps, on all features, absent ones too.

    After each update, :math:`w \leftarrow \frac{\operatorname{sign}(w)\,[\,|w| - \eta\lambda_1]_+}{1 +
    \eta\lambda_2}` for every weight of the model. Only those of the row are touched: the others are
    brought up to date when they are read, and equal the dense computation. Stable for any rate. The rate
    is the optimizer's, without what an adaptive one makes of it for each feature.

    Parameters
    ----------
    l1, l2
        Strengths of both parts.

    References
    ----------
    Duchi, J. and Singer, Y. (2009). Efficient online and batch learning using forward backward
    splitting. JMLR 10, section 5.
    Lipton, Z. C. and Elkan, C. (2015). Efficient elastic net regularization for sparse linear models.
    """

    l1: float = 0.0
    l2: float = 0.0

    def check(self) -> None:
        self.require(self.l1 >= 0, "l1", "at least 0")
        self.require(self.l2 >= 0, "l2", "at least 0")

    # With 1 + Q the product of all 1 + lr l2, and S the sum of lr l1 (1 + Q) so far, a weight that was w
    # when they were (Q', S') is [|w| (1 + Q') + S' - S]_+ / (1 + Q). What stands in brackets before "- S"
    # is what is stored; `charged` is 1 once it is, because initial weights are stored as they are.

    def advance(self, totals: Slots, lr: float, next_lr: float) -> Slots:
        factor, paid = totals
        return factor + (1.0 + factor) * lr * self.l2, paid + (1.0 + factor) * lr * self.l1

    def current(self, w: float, charged: float, totals: Slots) -> float:
        left = max(abs(w) - totals[1], 0.0) / (1.0 + totals[0])
        return (left if w > 0.0 else -left) if charged > 0.0 else w

    def settle(self, w: float, charged: float, before: Slots, after: Slots) -> tuple[float, float]:
        held = abs(w) * (1.0 + before[0]) + before[1]
        return (held if w > 0.0 else (-held if w < 0.0 else 0.0)), 1.0

    def full(self, totals: Slots) -> bool:
        factor, paid = _reach()
        return totals[0] > factor or totals[1] > paid * (1.0 + totals[0])


@dataclass(frozen=True)
class TruncatedGradient(Penalty):
    r"""L1 in instalments: every ``every`` updates, weights of at most ``theta`` fall by ``every`` of them.

    With gravity :math:`a = K\eta\lambda_1` after each K-th update, :math:`|w| \leftarrow [\,|w| - a]_+`
    where :math:`|w| \le \theta`, for all weights of the model, absent ones too (they are brought up to
    date when they are read). Large weights are not biased.

    Parameters
    ----------
    l1
        Strength.
    every
        Updates K between two truncations.
    theta
        Weights beyond it are left alone; 0 for no such limit.

    References
    ----------
    Langford, J., Li, L. and Zhang, T. (2009). Sparse online learning via truncated gradient. JMLR 10,
    equation 4.
    """

    l1: float = 0.0
    every: int = 1
    theta: float = 0.0

    def check(self) -> None:
        self.require(self.l1 >= 0, "l1", "at least 0")
        self.require(self.every >= 1, "every", "at least 1")
        self.require(self.theta >= 0, "theta", "at least 0")

    # totals: gravity so far, and updates since it last grew. charged: 1 + the gravity when it was stored.

    def advance(self, totals: Slots, lr: float, next_lr: float) -> Slots:
        count = totals[1] + 1.0
        falls = count >= self.every
        return totals[0] + (self.every * lr * self.l1 if falls else 0.0), 0.0 if falls else count

    def current(self, w: float, charged: float, totals: Slots) -> float:
        left = max(abs(w) - (totals[0] - (charged - 1.0)), 0.0)
        falls = charged > 0.0 and (self.theta == 0.0 or abs(w) <= self.theta)
        return (left if w > 0.0 else -left) if falls else w

    def settle(self, w: float, charged: float, before: Slots, after: Slots) -> tuple[float, float]:
        return w, before[0] + 1.0

    def full(self, totals: Slots) -> bool:
        return totals[0] > _reach()[1] and totals[1] == 0.0
