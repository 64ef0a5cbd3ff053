"""Optimizers: update rules of one coordinate, in river's parametrisation where river has them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from .base import Optimizer, Scheduler, Slots

__all__ = ["SGD", "AdaGrad", "Adam", "Momentum", "Normalized", "RMSProp"]


@dataclass(frozen=True)
class SGD(Optimizer):
    r"""Plain stochastic gradient descent, :math:`w \leftarrow w - \eta g`.

    Parameters
    ----------
    lr
        Learning rate: a number or a scheduler.

    References
    ----------
    Robbins, H. and Monro, S. (1951). A stochastic approximation method. Annals of Mathematical
    Statistics 22(3).
    """

    lr: float | Scheduler = 0.01

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        return w - c[0] * g, ()


@dataclass(frozen=True)
class Momentum(Optimizer):
    r"""Gradient descent with momentum, :math:`s \leftarrow \rho s + \eta g,\; w \leftarrow w - s`.

    The rate is inside the buffer (river), so a change of rate scales new gradients only; PyTorch
    keeps it outside. Absent features neither move nor forget.

    Parameters
    ----------
    lr
        Learning rate: a number or a scheduler.
    rho
        Share of the last step that is kept, in [0, 1).
    """

    lr: float | Scheduler = 0.1
    rho: float = 0.9
    n_slots: ClassVar[int] = 1

    def check(self) -> None:
        self.require(0 <= self.rho < 1, "rho", "in [0, 1)")

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        s = self.rho * slots[0] + c[0] * g
        return w - s, (s,)


@dataclass(frozen=True)
class AdaGrad(Optimizer):
    r"""AdaGrad, :math:`G \leftarrow G + g^2,\; w \leftarrow w - \eta g / \sqrt{G + \epsilon}`.

    Parameters
    ----------
    lr
        Learning rate: a number or a scheduler.
    eps
        Added under the root (river); PyTorch adds it outside.

    References
    ----------
    Duchi, J., Hazan, E. and Singer, Y. (2011). Adaptive subgradient methods for online learning
    and stochastic optimization. JMLR 12.
    """

    lr: float | Scheduler = 0.1
    eps: float = 1e-8
    n_slots: ClassVar[int] = 1

    def check(self) -> None:
        self.require(self.eps > 0, "eps", "positive")

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        total = slots[0] + g * g
        return w - c[0] * g / math.sqrt(total + self.eps), (total,)


@dataclass(frozen=True)
class RMSProp(Optimizer):
    r"""RMSProp, :math:`G \leftarrow \rho G + (1-\rho) g^2,\; w \leftarrow w - \eta g / \sqrt{G + \epsilon}`.

    There is no bias correction: the first step is :math:`\eta / \sqrt{1-\rho}` (3.2 times the rate
    at the default).

    Parameters
    ----------
    lr
        Learning rate: a number or a scheduler.
    rho
        Share of the mean of squares that is kept, in [0, 1).
    eps
        Added under the root (river); PyTorch adds it outside.

    References
    ----------
    Tieleman, T. and Hinton, G. (2012). Lecture 6.5, Neural networks for machine learning.
    """

    lr: float | Scheduler = 0.1
    rho: float = 0.9
    eps: float = 1e-8
    n_slots: ClassVar[int] = 1

    def check(self) -> None:
        self.require(0 <= self.rho < 1, "rho", "in [0, 1)")
        self.require(self.eps > 0, "eps", "positive")

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        mean = self.rho * slots[0] + (1.0 - self.rho) * g * g
        return w - c[0] * g / math.sqrt(mean + self.eps), (mean,)


@dataclass(frozen=True)
class Adam(Optimizer):
    r"""Adam in its "epsilon hat" form (river): with :math:`k` updates done including this one,

    .. math:: w \leftarrow w - \eta \frac{\sqrt{1 - \beta_2^k}}{1 - \beta_1^k} \frac{m}{\sqrt{v} + \epsilon}

    ``k`` counts the model's updates, not the feature's: a feature that appears late takes a first
    step of :math:`(1-\beta_1)/\sqrt{1-\beta_2}` (3.2 at the defaults) times the rate.

    Parameters
    ----------
    lr
        Learning rate: a number or a scheduler.
    beta_1, beta_2
        Shares of the first and second moment that are kept, in [0, 1).
    eps
        Added to the root of the second moment.

    References
    ----------
    Kingma, D. P. and Ba, J. (2015). Adam: a method for stochastic optimization. ICLR, section 2.
    """  # noqa: D400

    lr: float | Scheduler = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.999
    eps: float = 1e-8
    n_slots: ClassVar[int] = 2
    bias_corrected: ClassVar[bool] = True

    def check(self) -> None:
        self.require(0 <= self.beta_1 < 1, "beta_1", "in [0, 1)")
        self.require(0 <= self.beta_2 < 1, "beta_2", "in [0, 1)")
        self.require(self.eps > 0, "eps", "positive")

    def row(
        self, scalars: Slots, sums: Slots, p: float, y: float, g: float, h: float, lr: float, t: float
    ) -> tuple[Slots, Slots]:
        k = t + 1.0
        return scalars, (lr * math.sqrt(1.0 - self.beta_2**k) / (1.0 - self.beta_1**k),)

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        m = self.beta_1 * slots[0] + (1.0 - self.beta_1) * g
        v = self.beta_2 * slots[1] + (1.0 - self.beta_2) * g * g
        return w - c[0] * m / (math.sqrt(v) + self.eps), (m, v)


@dataclass(frozen=True)
class Normalized(Optimizer):
    r"""The normalised, adaptive, importance-aware update of Vowpal Wabbit's default learner.

    Scale-free: multiplying a feature by a constant leaves every prediction as it was, so a stream
    needs neither a scaler nor a tuned rate. With a loss that has an importance-aware ``update`` (all
    of ours have) the step never overshoots the label, whatever the rate or the sample's weight; the
    learner's ``clip_gradient`` has no part in it. The intercept is a feature of value 1
    (``intercept_lr=0`` fixes it). For squared loss the length of steps is in the unit of the target:
    where its spread is far from 1, make the rate that many times larger.

    Weights are rescaled before the prediction; Vowpal Wabbit does so after it and predicts with
    the old weight at the moment a feature's scale jumps.

    Parameters
    ----------
    lr
        Learning rate: a number or a scheduler.

    References
    ----------
    Ross, S., Mineiro, P. and Langford, J. (2013). Normalized online learning. UAI, algorithm 2 (NAG).
    Karampatziakis, N. and Langford, J. (2011). Online importance weight aware updates. UAI, section 4.
    """

    lr: float | Scheduler = 0.5
    n_slots: ClassVar[int] = 2  # sum of squared gradients, largest |x|
    n_scalars: ClassVar[int] = 2  # N: sum of squared normalised rows, T: sum of weights
    n_sums: ClassVar[int] = 2  # the row's share of N, and how far the prediction moves per unit of update
    importance_aware: ClassVar[bool] = True
    intercept_feature: ClassVar[bool] = True
    penalties: ClassVar[bool] = False
    per_sample: ClassVar[bool] = True

    def at(self, w: float, slots: Slots, x: float, scalars: Slots) -> float:
        a = abs(x)
        s = slots[1]
        return w * s / a if a > s and s > 0.0 else w

    def scan(self, w: float, slots: Slots, x: float, g: float, h: float) -> tuple[float, Slots, Slots]:
        a = abs(x)
        total, s = slots[0], slots[1]
        moves = g != 0.0
        grows = moves and a > s
        w = w * s / a if grows and s > 0.0 else w
        s = a if grows else s
        total = total + h * g * g * x * x
        lives = moves and s > 0.0 and total > 0.0
        q = x / s if lives else 0.0
        r = q * x / math.sqrt(total) if lives else 0.0
        return w, (total, s), (q * q, r)

    def row(
        self, scalars: Slots, sums: Slots, p: float, y: float, g: float, h: float, lr: float, t: float
    ) -> tuple[Slots, Slots]:
        moves = g != 0.0
        n = scalars[0] + (h * sums[0] if moves else 0.0)
        total = scalars[1] + (h if moves else 0.0)
        scale = math.sqrt(total / n) if n > 0.0 else 0.0
        return (n, total), (lr * h, sums[1] * scale, scale)

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        d = math.sqrt(slots[0]) * slots[1]
        return w + (c[0] * c[2] * x / d if d > 0.0 else 0.0), slots
