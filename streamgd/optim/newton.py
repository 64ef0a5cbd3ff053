"""A second-order method: the online Newton step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .base import Optimizer, Scheduler, Slots

__all__ = ["Newton"]


@dataclass(frozen=True)
class Newton(Optimizer):
    r"""The online Newton step, :math:`A \leftarrow A + g g^T,\; w \leftarrow w - \eta A^{-1} g`.

    :math:`A` starts as :math:`\epsilon I`; its inverse is kept and changed by each gradient (Sherman and
    Morrison). Memory and time of a row grow with the square of the number of features: it is for some
    hundreds of them. A feature that is absent moves too, as far as its gradients went along with those
    that are present. (river's raises a KeyError then.)

    Parameters
    ----------
    lr
        Learning rate: a number or a scheduler.
    eps
        First value of the diagonal of A: the smaller, the larger the first steps.

    References
    ----------
    Hazan, E., Agarwal, A. and Kale, S. (2007). Logarithmic regret algorithms for online convex
    optimization. Machine Learning 69, figure 2.
    """

    lr: float | Scheduler = 0.1
    eps: float = 1e-5
    kernel: ClassVar[str] = "matrix"
    penalties: ClassVar[bool] = False  # eps regularizes

    def check(self) -> None:
        self.require(self.eps > 0, "eps", "positive")

    def prepare(self, slots: NDArray[np.float64], n: int) -> None:
        new = np.arange(n, len(slots))
        slots[new, new] = 1.0 / self.eps

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        raise NotImplementedError("the rule is in kernels/newton.py: it has no step of one coordinate")
