"""Optimizers whose step on a row solves for the output it leads to, by the loss's closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from .base import Loss, Optimizer, Scheduler, Slots

__all__ = ["Normalized", "PassiveAggressive"]


SMALLEST = 1e-75  # smaller values count as 0: quotients of their squares would overflow


@dataclass(frozen=True)
class Normalized(Optimizer):
    r"""The normalised, adaptive, importance-aware update of Vowpal Wabbit's default learner.

    Scale-free: multiplying a feature by a constant leaves every prediction as it was, so a stream
    needs neither a scaler nor a tuned rate. With a loss that has an importance-aware ``update`` (all
    of ours but Focal have) the step never overshoots the label, whatever the rate or the sample's weight; the
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
    n_slots: ClassVar[int] = 2  # sum of squared gradients as if the scale had been 1, largest |x|
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
        moves, s = g != 0.0 and a >= SMALLEST, slots[1]
        grows = moves and a > s
        ratio = s / a if grows else 1.0
        w = w * s / a if grows and s > 0.0 else w
        s = a if grows else s
        q = x / s if moves and s > 0.0 else 0.0
        total = slots[0] * ratio * ratio + h * g * g * q * q
        lives = moves and total > SMALLEST * SMALLEST
        return w, (total, s), (q * q if lives else 0.0, q * q / math.sqrt(total) if lives else 0.0)

    def row(
        self, scalars: Slots, sums: Slots, p: float, y: float, g: float, h: float, lr: float, t: float
    ) -> tuple[Slots, Slots]:
        moves = g != 0.0 and sums[0] > 0.0
        n = scalars[0] + (h * sums[0] if moves else 0.0)
        total = scalars[1] + (h if moves else 0.0)
        scale = math.sqrt(total / n) if n > 0.0 else 0.0
        return (n, total), (lr * h, sums[1] * scale, scale)

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        s = slots[1]
        d = math.sqrt(slots[0]) * s
        lives = s > 0.0 and slots[0] > SMALLEST * SMALLEST
        return w + (c[0] * c[2] * (x / s) / d if lives else 0.0), slots


@dataclass(frozen=True)
class PassiveAggressive(Optimizer):
    r"""Passive-aggressive learning: the smallest step that brings the row's loss to 0.

    .. math:: w \leftarrow w + \tau u x, \quad
        \tau = \frac{\ell}{\lVert x \rVert^2}, \quad
        \min\left(C, \frac{\ell}{\lVert x \rVert^2}\right) \quad \text{or} \quad
        \frac{\ell}{\lVert x \rVert^2 + 1 / (2C)}

    for ``mode`` 0, 1 and 2, with :math:`u` the sign of the loss's negative derivative. For the hinge
    and the epsilon-insensitive loss; with others it follows the loss's own importance-aware step.
    A sample's weight multiplies :math:`C`. The learner's ``clip_gradient`` has no part in it.

    The intercept takes the same step and is left out of the norm (river, scikit-learn): after a step of
    mode 0 the output is as far beyond the margin as the intercept has moved. ``intercept_lr=0`` fixes it.

    Parameters
    ----------
    C
        How far a single row may move the weights (modes 1 and 2).
    mode
        0, 1 (PA-I) or 2 (PA-II).

    References
    ----------
    Crammer, K., Dekel, O., Keshet, J., Shalev-Shwartz, S. and Singer, Y. (2006). Online
    passive-aggressive algorithms. JMLR 7, figure 1.
    """

    C: float = 1.0
    mode: int = 1
    n_sums: ClassVar[int] = 1  # |x|^2
    importance_aware: ClassVar[bool] = True
    intercept_feature: ClassVar[bool] = True
    intercept_in_sums: ClassVar[bool] = False
    penalties: ClassVar[bool] = False
    per_sample: ClassVar[bool] = True

    def check(self) -> None:
        self.require(self.C > 0, "C", "positive")
        self.require(self.mode in (0, 1, 2), "mode", "0, 1 or 2")

    def check_loss(self, loss: type[Loss]) -> None:
        if self.mode != 1 and not loss.overrides("update"):
            raise ValueError(
                f"PassiveAggressive(mode={self.mode}) needs a loss whose `update` says where a step ends, "
                f"and {loss.__name__} has none; use mode=1 or another loss"
            )

    def scan(self, w: float, slots: Slots, x: float, g: float, h: float) -> tuple[float, Slots, Slots]:
        return w, slots, (x * x,)

    def row(
        self, scalars: Slots, sums: Slots, p: float, y: float, g: float, h: float, lr: float, t: float
    ) -> tuple[Slots, Slots]:
        norm = sums[0] + 0.5 / (self.C * max(h, 1e-150)) if self.mode == 2.0 else sums[0]
        most = self.C * h if self.mode == 1.0 else 1e300 / max(1.0, norm)
        return scalars, (most, norm)

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        return w + c[0] * x, slots
