"""Optimizers that came with deep learning and that river lacks, in their authors' parametrisation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from .base import Optimizer, Scheduler, Slots

__all__ = ["AdamW", "Lion", "ScheduleFreeAdamW", "ScheduleFreeSGD"]


@dataclass(frozen=True)
class AdamW(Optimizer):
    r"""Adam whose weight decay stays out of the moments, as PyTorch has it.

    .. math:: w \leftarrow (1 - \eta \lambda) w - \frac{\eta}{1 - \beta_1^k}
        \frac{m}{\sqrt{v / (1 - \beta_2^k)} + \epsilon}

    Only features that are present decay. The learner's ``l2`` would join the gradient, and with it
    the moments.

    Parameters
    ----------
    lr
        Learning rate: a number or a scheduler.
    beta_1, beta_2
        Shares of the first and second moment that are kept, in [0, 1).
    eps
        Added to the root of the corrected second moment.
    weight_decay
        Strength of the decay, at least 0.
    amsgrad
        Whether the largest second moment so far replaces the present one.

    References
    ----------
    Loshchilov, I. and Hutter, F. (2019). Decoupled weight decay regularization. ICLR, algorithm 2.
    """

    lr: float | Scheduler = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01
    amsgrad: bool = False
    n_slots: ClassVar[int] = 3
    bias_corrected: ClassVar[bool] = True

    def check(self) -> None:
        self.require(0 <= self.beta_1 < 1, "beta_1", "in [0, 1)")
        self.require(0 <= self.beta_2 < 1, "beta_2", "in [0, 1)")
        self.require(self.eps > 0, "eps", "positive")
        self.require(self.weight_decay >= 0, "weight_decay", "at least 0")

    def row(
        self, scalars: Slots, sums: Slots, p: float, y: float, g: float, h: float, lr: float, t: float
    ) -> tuple[Slots, Slots]:
        k = t + 1.0
        rate, scale = lr / (1.0 - self.beta_1**k), 1.0 / (1.0 - self.beta_2**k)
        return scalars, (rate, scale, 1.0 - lr * self.weight_decay)

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        m = self.beta_1 * slots[0] + (1.0 - self.beta_1) * g
        v = self.beta_2 * slots[1] + (1.0 - self.beta_2) * g * g
        largest = max(slots[2], v) if self.amsgrad else v
        return w * c[2] - c[0] * m / (math.sqrt(largest * c[1]) + self.eps), (m, v, largest)


@dataclass(frozen=True)
class Lion(Optimizer):
    r"""Steps of equal length along the sign of a mean of gradients.

    .. math::
        w \leftarrow (1 - \eta \lambda) w - \eta \operatorname{sgn}(\beta_1 m + (1 - \beta_1) g), \quad
        m \leftarrow \beta_2 m + (1 - \beta_2) g

    Made for large batches: with one sample a present feature moves by :math:`\eta` however small its
    gradient is.

    Parameters
    ----------
    lr
        Learning rate: a number or a scheduler. A third to a tenth of Adam's.
    beta_1, beta_2
        Shares of the mean in the sign and in what is kept, in [0, 1).
    weight_decay
        Strength of the decay of present features, at least 0. Three to ten times AdamW's.

    References
    ----------
    Chen, X. et al. (2023). Symbolic discovery of optimization algorithms. NeurIPS, algorithm 2.
    """

    lr: float | Scheduler = 1e-4
    beta_1: float = 0.9
    beta_2: float = 0.99
    weight_decay: float = 0.0
    n_slots: ClassVar[int] = 1

    def check(self) -> None:
        self.require(0 <= self.beta_1 < 1, "beta_1", "in [0, 1)")
        self.require(0 <= self.beta_2 < 1, "beta_2", "in [0, 1)")
        self.require(self.weight_decay >= 0, "weight_decay", "at least 0")

    def row(
        self, scalars: Slots, sums: Slots, p: float, y: float, g: float, h: float, lr: float, t: float
    ) -> tuple[Slots, Slots]:
        return scalars, (lr, 1.0 - lr * self.weight_decay)

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        u = self.beta_1 * slots[0] + (1.0 - self.beta_1) * g
        sign = 1.0 if u > 0.0 else (-1.0 if u < 0.0 else 0.0)
        return w * c[1] - c[0] * sign, (self.beta_2 * slots[0] + (1.0 - self.beta_2) * g,)


# Schedule-free methods have three sequences: z, which takes the steps; x, a weighted average of all z,
# which predicts; and y, between them, where gradients are taken. The stored weight is z. All x move in
# each update, but need not be touched: with W_s the sum of the shares of z_1 to z_s, and d_s the step
# from z_{s-1} to z_s, x_k = z_k - V / W_k where V is the sum of all W_{s-1} d_s, which only steps change.


@dataclass(frozen=True)
class ScheduleFreeSGD(Optimizer):
    r"""Gradient descent that averages instead of lowering its rate.

    .. math::
        y = (1 - \beta) z + \beta x, \quad z \leftarrow z - \eta_k (g(y) + \lambda y), \quad
        x \leftarrow (1 - s_k) x + s_k z

    Predictions use :math:`x`, whose share :math:`s_k` of :math:`z` is in proportion to
    :math:`k^r (\max_{j \le k} \eta_j)^p`. The average is exact for absent features too; they do not decay.
    It never forgets: under drift a falling rate, or none of this, is better.

    Parameters
    ----------
    lr
        Learning rate: a number or a scheduler. Larger than without averaging.
    beta
        Where gradients are taken: 0 at :math:`z` (averaged SGD), near 1 at the average, in [0, 1).
    weight_decay
        Strength of an L2 penalty at :math:`y` on present features, at least 0.
    warmup_steps
        Updates in which the rate rises linearly, at least 0.
    r
        Larger values give later iterates more of the average.
    weight_lr_power
        The power :math:`p`: iterates of a small rate, as in warm-up, count less.

    References
    ----------
    Defazio, A. et al. (2024). The road less scheduled. NeurIPS, section 2.
    """

    lr: float | Scheduler = 1.0
    beta: float = 0.9
    weight_decay: float = 0.0
    warmup_steps: int = 0
    r: float = 0.0
    weight_lr_power: float = 2.0
    n_slots: ClassVar[int] = 1  # V
    n_scalars: ClassVar[int] = 2  # W, the largest rate
    penalties: ClassVar[bool] = False

    def check(self) -> None:
        self.require(0 <= self.beta < 1, "beta", "in [0, 1)")
        for name in ("weight_decay", "warmup_steps", "r", "weight_lr_power"):
            self.require(getattr(self, name) >= 0, name, "at least 0")

    def at(self, w: float, slots: Slots, x: float, scalars: Slots) -> float:
        return w - (slots[0] / scalars[0] if scalars[0] > 0.0 else 0.0)

    def ahead(self, w: float, slots: Slots, x: float, scalars: Slots) -> float:
        return w - (self.beta * slots[0] / scalars[0] if scalars[0] > 0.0 else 0.0)

    def row(
        self, scalars: Slots, sums: Slots, p: float, y: float, g: float, h: float, lr: float, t: float
    ) -> tuple[Slots, Slots]:
        k = t + 1.0
        rate = lr * k / self.warmup_steps if k < self.warmup_steps else lr
        largest = max(scalars[1], rate)
        total = scalars[0] + k**self.r * largest**self.weight_lr_power
        back = self.beta / scalars[0] if scalars[0] > 0.0 else 0.0
        return (total, largest), (rate, scalars[0], back)

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        d = -c[0] * (g + self.weight_decay * (w - c[2] * slots[0]))
        return w + d, (slots[0] + c[1] * d,)


@dataclass(frozen=True)
class ScheduleFreeAdamW(Optimizer):
    r"""The schedule-free method over steps of AdamW's second moment; see `ScheduleFreeSGD`.

    .. math:: z \leftarrow z
        - \eta_k \left(\frac{g(y)}{\sqrt{v / (1 - \beta_2^k)} + \epsilon} + \lambda y\right)

    Parameters
    ----------
    lr
        Learning rate: a number or a scheduler.
    beta_1
        Where gradients are taken: 0 at :math:`z`, near 1 at the average, in [0, 1).
    beta_2
        Share of the second moment that is kept, in [0, 1).
    eps
        Added to the root of the corrected second moment.
    weight_decay
        Strength of the decay of present features, at least 0.
    warmup_steps
        Updates in which the rate rises linearly, at least 0.
    r
        Larger values give later iterates more of the average.
    weight_lr_power
        The power of the largest rate in an iterate's share.

    References
    ----------
    Defazio, A. et al. (2024). The road less scheduled. NeurIPS, algorithm 1.
    """

    lr: float | Scheduler = 0.0025
    beta_1: float = 0.9
    beta_2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    warmup_steps: int = 0
    r: float = 0.0
    weight_lr_power: float = 2.0
    n_slots: ClassVar[int] = 2  # V, second moment
    n_scalars: ClassVar[int] = 2  # W, the largest rate
    penalties: ClassVar[bool] = False

    def check(self) -> None:
        self.require(0 <= self.beta_1 < 1, "beta_1", "in [0, 1)")
        self.require(0 <= self.beta_2 < 1, "beta_2", "in [0, 1)")
        self.require(self.eps > 0, "eps", "positive")
        for name in ("weight_decay", "warmup_steps", "r", "weight_lr_power"):
            self.require(getattr(self, name) >= 0, name, "at least 0")

    def at(self, w: float, slots: Slots, x: float, scalars: Slots) -> float:
        return w - (slots[0] / scalars[0] if scalars[0] > 0.0 else 0.0)

    def ahead(self, w: float, slots: Slots, x: float, scalars: Slots) -> float:
        return w - (self.beta_1 * slots[0] / scalars[0] if scalars[0] > 0.0 else 0.0)

    def row(
        self, scalars: Slots, sums: Slots, p: float, y: float, g: float, h: float, lr: float, t: float
    ) -> tuple[Slots, Slots]:
        k = t + 1.0
        rate = lr * k / self.warmup_steps if k < self.warmup_steps else lr
        largest = max(scalars[1], rate)
        total = scalars[0] + k**self.r * largest**self.weight_lr_power
        back = self.beta_1 / scalars[0] if scalars[0] > 0.0 else 0.0
        return (total, largest), (rate, scalars[0], back, 1.0 / (1.0 - self.beta_2**k))

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        v = self.beta_2 * slots[1] + (1.0 - self.beta_2) * g * g
        y = w - c[2] * slots[0]
        d = -c[0] * (g / (math.sqrt(v * c[3]) + self.eps) + self.weight_decay * y)
        return w + d, (slots[0] + c[1] * d, v)
