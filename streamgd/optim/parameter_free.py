"""Optimizers without a learning rate: they find the length of their steps, or bet it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from streamgd._jit import jitable

from .base import Optimizer, Scheduler, Slots

__all__ = ["COCOB", "Coin", "DoG", "ScInOL1", "ScInOL2"]


@dataclass(frozen=True)
class DoG(Optimizer):
    r"""Distance over gradients: one rate, the way gone so far by the root of all squared gradients.

    .. math:: w \leftarrow w - \eta \frac{\max_{j \le k} \lVert w_j - w_0 \rVert}
        {\sqrt{\epsilon + \sum_{j \le k} \lVert g_j \rVert^2}}\, g

    The distance is kept up to date from a row's own features, so that a row costs what it has. One
    rate for all features: put a scaler before it. Its authors evaluate an average of the weights.

    Parameters
    ----------
    reps_rel
        The first distance, relative to 1 plus the norm of the first row's initial weights.
    eps
        Added to the sum of squares.
    lr
        A factor that the authors leave at 1: a number or a scheduler.

    References
    ----------
    Ivgi, M., Hinder, O. and Carmon, Y. (2023). DoG is SGD's best friend: a parameter-free dynamic step
    size schedule. ICML, section 1.
    """

    reps_rel: float = 1e-6
    eps: float = 1e-8
    lr: float | Scheduler = 1.0
    n_slots: ClassVar[int] = 1  # w - w_0
    n_scalars: ClassVar[int] = 3  # largest distance, sum of squared gradients, squared distance now
    n_sums: ClassVar[int] = 3  # the row's <w - w_0, g>, |g|^2 and |w|^2
    intercept_feature: ClassVar[bool] = True
    penalties: ClassVar[bool] = False

    def check(self) -> None:
        self.require(self.reps_rel > 0, "reps_rel", "positive")
        self.require(self.eps > 0, "eps", "positive")

    def scan(self, w: float, slots: Slots, x: float, g: float, h: float) -> tuple[float, Slots, Slots]:
        slope = h * g * x
        return w, slots, (slots[0] * slope, slope * slope, w * w)

    def row(
        self, scalars: Slots, sums: Slots, p: float, y: float, g: float, h: float, lr: float, t: float
    ) -> tuple[Slots, Slots]:
        first = self.reps_rel * (1.0 + math.sqrt(sums[2]))
        farthest = max(scalars[0], math.sqrt(scalars[2])) if scalars[0] > 0.0 else first
        total = scalars[1] + sums[1]
        rate = lr * farthest / math.sqrt(total + self.eps)
        distance = max(scalars[2] - 2.0 * rate * sums[0] + rate * rate * sums[1], 0.0)
        return (farthest, total, distance), (rate,)

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        d = c[0] * g
        return w - d, (slots[0] - d,)


@jitable
def backprop_bet(size: float, total: float, reward: float, theta: float, alpha: float) -> float:
    """How far from its start COCOB puts a weight."""
    return theta * (size + reward) / (size * max(total + size, alpha * size))


@dataclass(frozen=True)
class COCOB(Optimizer):
    r"""Coin betting on each coordinate ("COCOB-Backprop"): a weight is a share of what it has won.

    With :math:`L` the largest gradient, :math:`G` the sum of their sizes, :math:`\theta` their
    negative sum and :math:`R` the reward, at least 0,

    .. math:: w = w_0 + \frac{\theta}{L \max(G + L, \alpha L)} (L + R)

    Steps are of the size of typical weights, whatever the scale of the loss, so features should be of
    one scale.

    Parameters
    ----------
    alpha
        About how many updates the start is slowed down for.
    eps
        The least :math:`L`.

    References
    ----------
    Orabona, F. and Tommasi, T. (2017). Training deep networks without learning rates through coin
    betting. NeurIPS, algorithm 2.
    """

    alpha: float = 100.0
    eps: float = 1e-8
    n_slots: ClassVar[int] = 4  # L, G, R, theta
    intercept_feature: ClassVar[bool] = True
    penalties: ClassVar[bool] = False

    def check(self) -> None:
        self.require(self.alpha > 0, "alpha", "positive")
        self.require(self.eps > 0, "eps", "positive")

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        old = backprop_bet(max(slots[0], self.eps), slots[1], slots[2], slots[3], self.alpha)
        size = max(slots[0], abs(g))
        total, reward, theta = slots[1] + abs(g), max(slots[2] - g * old, 0.0), slots[3] - g
        new = backprop_bet(max(size, self.eps), total, reward, theta, self.alpha)
        return w + (new - old), (size, total, reward, theta)


@jitable
def coin_bet(wealth: float, theta: float, bound: float, total: float) -> float:
    """Return the bet of a coordinate whose gradients are at most ``bound``."""
    return wealth * theta / (bound * (bound + total)) if bound > 1e-75 else 0.0  # or its square underflows


@dataclass(frozen=True)
class Coin(Optimizer):
    r"""Vowpal Wabbit's coin betting (``--coin``): scale-free, and without a learning rate.

    With :math:`M` a feature's largest :math:`|x|` including this row's, :math:`L` the largest
    derivative of the loss, :math:`\theta` the negative sum of gradients, :math:`A` the sum of their
    sizes and :math:`R` the reward, a bet is

    .. math:: \frac{(\alpha + R)\, \theta}{L M (L M + A)}

    Predictions are made with bets divided by the mean of :math:`\sum (x / M)^2` of the rows so far.
    Vowpal Wabbit reports predictions of bets made before the last gradient; these are made after it.
    Multiplying a feature by a constant changes no prediction. The intercept is a feature of value 1.

    Parameters
    ----------
    alpha
        Initial wealth, in the unit of the loss: ten times that for targets ten times as far.
    beta
        The least :math:`L`, once there is a gradient.

    References
    ----------
    Orabona, F. and Tommasi, T. (2017). Training deep networks without learning rates through coin
    betting. NeurIPS, algorithm 1.
    """

    alpha: float = 4.0
    beta: float = 1.0
    n_slots: ClassVar[int] = 5  # theta, A, M, R, L
    n_scalars: ClassVar[int] = 2  # sums of the rows' normalised squares, of their weights
    n_sums: ClassVar[int] = 1  # the row's sum of normalised squares
    intercept_feature: ClassVar[bool] = True
    penalties: ClassVar[bool] = False
    per_sample: ClassVar[bool] = True

    def check(self) -> None:
        self.require(self.alpha > 0, "alpha", "positive")
        self.require(self.beta > 0, "beta", "positive")

    def at(self, w: float, slots: Slots, x: float, scalars: Slots) -> float:
        bet = coin_bet(self.alpha + slots[3], slots[0], slots[4] * max(slots[2], abs(x)), slots[1])
        return w + (bet * scalars[1] / (scalars[0] + 1e-6) if scalars[1] > 0.0 else 0.0)

    def glance(self, w: float, slots: Slots, x: float) -> Slots:
        q = x / max(slots[2], abs(x)) if x != 0.0 else 0.0
        return (q * q,)

    def begin(self, scalars: Slots, sums: Slots, h: float) -> Slots:
        return scalars[0] + h * sums[0], scalars[1] + h

    def row(
        self, scalars: Slots, sums: Slots, p: float, y: float, g: float, h: float, lr: float, t: float
    ) -> tuple[Slots, Slots]:
        return scalars, (abs(h * g),)

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        scale = max(slots[2], abs(x))
        bound = max(c[0], self.beta) if c[0] > slots[4] and x != 0.0 else slots[4]
        bet = coin_bet(self.alpha + slots[3], slots[0], bound * scale, slots[1])
        return w, (slots[0] - g, slots[1] + abs(g), scale, slots[3] - g * bet, bound)


@dataclass(frozen=True)
class ScInOL1(Optimizer):
    r"""Scale-invariant online learning, first version: weights from an exponential of past gradients.

    See `ScInOL2`, which learns faster. With its :math:`\theta` and :math:`q`, and the feature's own
    :math:`b \leftarrow \min(b, \epsilon q / (x^2 k))` in row :math:`k`,

    .. math:: w = w_0 + \operatorname{sgn}(\theta) \frac{b}{2 \sqrt q} \left(e^{|\theta| / 2} - 1\right)

    Parameters
    ----------
    eps
        Initial wealth; results hardly depend on it.

    References
    ----------
    Kempka, M., Kotlowski, W. and Warmuth, M. K. (2019). Adaptive scale-invariant online algorithms for
    learning linear models. ICML, algorithm 1.
    """

    eps: float = 1.0
    n_slots: ClassVar[int] = 4  # -sum g, sum g^2, largest |x|, b (0 before the first row)
    n_scalars: ClassVar[int] = 1  # rows
    intercept_feature: ClassVar[bool] = True
    penalties: ClassVar[bool] = False
    per_sample: ClassVar[bool] = True

    def check(self) -> None:
        self.require(self.eps > 0, "eps", "positive")

    def at(self, w: float, slots: Slots, x: float, scalars: Slots) -> float:
        scale = max(slots[2], abs(x))
        q = slots[1] + scale * scale
        if q <= 0.0:
            return w
        b = slots[3] if slots[3] > 0.0 else self.eps
        b = min(b, self.eps * q / (x * x * (scalars[0] + 1.0))) if x != 0.0 else b
        theta = slots[0] / math.sqrt(q)
        bet = math.expm1(min(0.5 * abs(theta), 500.0)) * b / (2.0 * math.sqrt(q))
        return w + (bet if theta > 0.0 else -bet)

    def row(
        self, scalars: Slots, sums: Slots, p: float, y: float, g: float, h: float, lr: float, t: float
    ) -> tuple[Slots, Slots]:
        k = scalars[0] + 1.0
        return (k,), (k,)

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        scale = max(slots[2], abs(x))
        b = slots[3] if slots[3] > 0.0 else self.eps
        b = min(b, self.eps * (slots[1] + scale * scale) / (x * x * c[0])) if x != 0.0 else b
        return w, (slots[0] - g, slots[1] + g * g, scale, b)


@jitable
def invariant_bet(wealth: float, theta: float, root: float) -> float:
    """Return ScInOL2's bet, where ``theta`` has been divided by ``root``."""
    return wealth * min(max(theta, -1.0), 1.0) / (2.0 * root)


@dataclass(frozen=True)
class ScInOL2(Optimizer):
    r"""Scale-invariant online learning, second version: no learning rate and no scaler.

    For each feature, :math:`q = \sum g^2 + M^2` with :math:`M` the largest :math:`|x|` including
    this row's, :math:`\theta = -\sum g / \sqrt q`, and its wealth :math:`e`, which falls by
    :math:`g (w - w_0)`,

    .. math:: w = w_0 + \operatorname{sgn}(\theta) \frac{\min(|\theta|, 1)}{2 \sqrt q}\, e

    Multiplying a feature by a constant changes no prediction. The intercept is a feature of value 1.
    The loss's derivative times the sample's weight must be at most 1 in size, as with the log, hinge
    and absolute loss; with others it may diverge, unless the learner's ``clip_gradient`` is 1.

    Parameters
    ----------
    eps
        Initial wealth; results hardly depend on it.

    References
    ----------
    Kempka, M., Kotlowski, W. and Warmuth, M. K. (2019). Adaptive scale-invariant online algorithms for
    learning linear models. ICML, algorithm 2.
    """

    eps: float = 1.0
    n_slots: ClassVar[int] = 4  # -sum g, sum g^2, largest |x|, e - eps
    intercept_feature: ClassVar[bool] = True
    penalties: ClassVar[bool] = False
    per_sample: ClassVar[bool] = True

    def check(self) -> None:
        self.require(self.eps > 0, "eps", "positive")

    def at(self, w: float, slots: Slots, x: float, scalars: Slots) -> float:
        scale = max(slots[2], abs(x))
        root = math.sqrt(slots[1] + scale * scale)
        return w + (invariant_bet(self.eps + slots[3], slots[0] / root, root) if root > 0.0 else 0.0)

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        scale = max(slots[2], abs(x))
        root = math.sqrt(slots[1] + scale * scale)
        bet = invariant_bet(self.eps + slots[3], slots[0] / root, root) if root > 0.0 else 0.0
        return w, (slots[0] - g, slots[1] + g * g, scale, slots[3] - g * bet)
