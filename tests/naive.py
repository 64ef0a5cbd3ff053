"""Each method as its paper states it, in dict and float loops: what compiled kernels are held against.

Imports nothing from streamgd. Rates are functions ``(updates, samples) -> rate``; losses take
``y`` as 0 or 1 where they are binary.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from typing import Any

Row = dict[Hashable, float]
Rate = Callable[[int, int], float]

INTERCEPT = ("the intercept",)


def constant(rate: float) -> Rate:
    return lambda updates, samples: rate


# -- losses ------------------------------------------------------------------------------------


class Loss:
    """`update` follows dp/dtau = -ppu gradient(y, p) for the time eta_h and returns the way / ppu."""

    convex = True


def bisect(rising: Callable[[float], float], total: float, high: float) -> float:
    """Return where a rising function reaches ``total``, between 0 and ``high``."""
    low = 0.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > total else (middle, high)
    return (low + high) / 2


class Squared(Loss):
    def __init__(self, scale: float = 2.0) -> None:
        self.scale = scale

    def value(self, y: float, p: float) -> float:
        return self.scale / 2 * (p - y) ** 2

    def gradient(self, y: float, p: float) -> float:
        return self.scale * (p - y)

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        """The residual falls exponentially."""
        return -(y - p) * math.expm1(-self.scale * eta_h * ppu) / ppu if ppu > 0 else 0.0


class Quantile(Loss):
    def __init__(self, alpha: float = 0.5) -> None:
        self.alpha = alpha

    def value(self, y: float, p: float) -> float:
        return self.alpha * max(0.0, y - p) + (1 - self.alpha) * max(0.0, p - y)

    def gradient(self, y: float, p: float) -> float:
        return 1 - self.alpha if p > y else -self.alpha

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        """Go to the target at constant speed, and stop there."""
        if ppu <= 0:
            return 0.0
        e = y - p
        return min(self.alpha * eta_h, e / ppu) if e > 0 else -min((1 - self.alpha) * eta_h, -e / ppu)


class Absolute(Loss):
    """Twice the quantile loss of the median."""

    def value(self, y: float, p: float) -> float:
        return 2 * Quantile().value(y, p)

    def gradient(self, y: float, p: float) -> float:
        return 2 * Quantile().gradient(y, p)

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        return Quantile().update(p, y, 2 * eta_h, ppu)


class EpsilonInsensitiveHinge(Loss):
    def __init__(self, eps: float = 0.1) -> None:
        self.eps = eps

    def value(self, y: float, p: float) -> float:
        return max(0.0, p - y - self.eps, y - p - self.eps)

    def gradient(self, y: float, p: float) -> float:
        return (p - y > self.eps) - (y - p > self.eps)

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        """Go to the tube at constant speed, and stop there."""
        return -self.gradient(y, p) * min(eta_h, self.value(y, p) / ppu) if ppu > 0 else 0.0


class SquaredEpsilonInsensitive(EpsilonInsensitiveHinge):
    def value(self, y: float, p: float) -> float:
        return super().value(y, p) ** 2

    def gradient(self, y: float, p: float) -> float:
        return 2 * super().value(y, p) * super().gradient(y, p)

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        """The distance from the tube falls exponentially."""
        return self.gradient(y, p) / 2 * math.expm1(-2 * eta_h * ppu) / ppu if ppu > 0 else 0.0


class Huber(Loss):
    def __init__(self, epsilon: float = 0.1) -> None:
        self.epsilon = epsilon

    def value(self, y: float, p: float) -> float:
        r = abs(p - y)
        return r * r / 2 if r <= self.epsilon else self.epsilon * r - self.epsilon**2 / 2

    def gradient(self, y: float, p: float) -> float:
        r = p - y
        return r if abs(r) <= self.epsilon else math.copysign(self.epsilon, r)

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        """Go at constant speed to where the loss is squared, from there exponentially."""
        if ppu <= 0:
            return 0.0
        r = p - y
        until = max(0.0, (abs(r) - self.epsilon) / (self.epsilon * ppu))
        if eta_h <= until:
            return -math.copysign(self.epsilon, r) * eta_h
        there = math.copysign(min(abs(r), self.epsilon), r)
        return (there - r + there * math.expm1(-ppu * (eta_h - until))) / ppu


class Cauchy(Loss):
    convex = False

    def __init__(self, C: float = 80.0) -> None:
        self.C = C

    def value(self, y: float, p: float) -> float:
        return self.C**2 / 2 * math.log1p((p - y) ** 2 / self.C**2)

    def gradient(self, y: float, p: float) -> float:
        return (p - y) * self.C**2 / (self.C**2 + (p - y) ** 2)

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        """A residual r falls by the way d in the time log(r / (r - d)) + (r^2 - (r - d)^2) / (2 C^2)."""
        r = abs(p - y)
        if ppu <= 0 or r == 0:
            return 0.0

        def time(d: float) -> float:
            return math.inf if d >= r else -math.log1p(-d / r) + d * (2 * r - d) / (2 * self.C**2)

        return math.copysign(bisect(time, eta_h * ppu, r), y - p) / ppu


class Poisson(Loss):
    def value(self, y: float, p: float) -> float:
        return math.exp(min(max(p, -350), 350)) - y * p

    def gradient(self, y: float, p: float) -> float:
        return math.exp(min(max(p, -350), 350)) - y

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        """With v = exp(-p), dv/dtau = ppu (1 - y v) is linear; 60 digits, as its solution cancels."""
        with localcontext(Context(prec=60, Emin=MIN_EMIN, Emax=MAX_EMAX)):
            total, count = Decimal(eta_h) * Decimal(ppu), Decimal(y)
            if total == 0:
                return 0.0
            gone = (-count * total).exp()
            v = (-Decimal(p)).exp() * gone + ((1 - gone) / count if y > 0 else total)
            return float((-v.ln() - Decimal(p)) / Decimal(ppu))


class Binary(Loss):
    """Of a label, 0 or 1."""


class Log(Binary):
    def __init__(self, weight_pos: float = 1.0, weight_neg: float = 1.0) -> None:
        self.weights = (weight_neg, weight_pos)

    def value(self, y: float, p: float) -> float:
        margin = p if y == 1 else -p
        loss = math.log1p(math.exp(-margin)) if margin > 0 else -margin + math.log1p(math.exp(margin))
        return self.weights[int(y)] * loss

    def gradient(self, y: float, p: float) -> float:
        sign = 1 if y == 1 else -1
        margin = sign * p
        share = math.exp(-margin) / (1 + math.exp(-margin)) if margin > 0 else 1 / (1 + math.exp(margin))
        return -sign * self.weights[int(y)] * share

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        """A margin m rises by d in the time d + exp(m) (exp(d) - 1)."""
        if ppu <= 0:
            return 0.0
        sign = 1 if y == 1 else -1
        margin, total = sign * p, self.weights[int(y)] * eta_h * ppu

        def time(d: float) -> float:
            if margin + d > 700:
                return math.inf
            if d > 1:
                return d + math.exp(margin + d) - math.exp(margin)
            return d + math.exp(margin) * math.expm1(d)

        return sign * bisect(time, total, total) / ppu


class Hinge(Binary):
    def __init__(self, threshold: float = 1.0) -> None:
        self.threshold = threshold

    def value(self, y: float, p: float) -> float:
        return max(0.0, self.threshold - (2 * y - 1) * p)

    def gradient(self, y: float, p: float) -> float:
        sign = 2 * y - 1
        return -sign if sign * p <= self.threshold else 0.0

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        """Go to the margin at constant speed, and stop there."""
        sign = 2 * y - 1
        return sign * min(eta_h, max(0.0, self.threshold - sign * p) / ppu) if ppu > 0 else 0.0


class SquaredHinge(Binary):
    def value(self, y: float, p: float) -> float:
        return Hinge().value(y, p) ** 2

    def gradient(self, y: float, p: float) -> float:
        return 2 * Hinge().value(y, p) * Hinge().gradient(y, p)

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        """The violation falls exponentially."""
        return self.gradient(y, p) / 2 * math.expm1(-2 * eta_h * ppu) / ppu if ppu > 0 else 0.0


class ModifiedHuber(Binary):
    def value(self, y: float, p: float) -> float:
        margin = (2 * y - 1) * p
        return max(0.0, 1 - margin) ** 2 if margin >= -1 else -4 * margin

    def gradient(self, y: float, p: float) -> float:
        sign = 2 * y - 1
        return SquaredHinge().gradient(y, p) if sign * p >= -1 else -4.0 * sign

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        """Within margins [-1, inf) it is a squared hinge; before that the speed is 4."""
        if ppu <= 0:
            return 0.0
        sign = 2 * y - 1
        until = max(0.0, (-1 - sign * p) / (4 * ppu))
        if eta_h <= until:
            return sign * 4 * eta_h
        start = max(sign * p, -1.0)
        return sign * (start - sign * p) / ppu + SquaredHinge().update(sign * start, y, eta_h - until, ppu)


class BinaryFocalLoss(Binary):
    """The logistic loss of gamma p + s beta, divided by gamma."""

    def __init__(self, gamma: float = 2.0, beta: float = 1.0) -> None:
        self.gamma, self.beta = gamma, beta

    def inner(self, y: float, p: float) -> float:
        return self.gamma * p + (2 * y - 1) * self.beta

    def value(self, y: float, p: float) -> float:
        return Log().value(y, self.inner(y, p)) / self.gamma

    def gradient(self, y: float, p: float) -> float:
        return Log().gradient(y, self.inner(y, p))

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        return Log().update(self.inner(y, p), y, eta_h, self.gamma * ppu)


class Focal(Binary):
    convex = False

    def __init__(self, gamma: float = 2.0, alpha: float = 0.25) -> None:
        self.gamma, self.weights = gamma, (1 - alpha, alpha)

    def value(self, y: float, p: float) -> float:
        """-a (1 - q)^gamma log(q): 1 - q is the gradient of the other label's logistic loss."""
        return self.weights[int(y)] * abs(Log().gradient(y, p)) ** self.gamma * Log().value(y, p)

    def gradient(self, y: float, p: float) -> float:
        """By the product rule."""
        wrong = abs(Log().gradient(y, p))
        right = abs(Log().gradient(1 - y, p))
        slope = self.gamma * wrong**self.gamma * right * Log().value(y, p) + wrong ** (self.gamma + 1)
        return -(2 * y - 1) * self.weights[int(y)] * slope


# -- optimizers: `step` changes one weight, `k` counts this update from 1 -----------------------


class SGD:
    """Robbins, Monro 1951."""

    def step(self, i: Hashable, w: float, g: float, lr: float, k: int) -> float:
        return w - lr * g


class Momentum:
    def __init__(self, rho: float = 0.9) -> None:
        self.rho = rho
        self.s: dict[Hashable, float] = defaultdict(float)

    def step(self, i: Hashable, w: float, g: float, lr: float, k: int) -> float:
        self.s[i] = self.rho * self.s[i] + lr * g
        return w - self.s[i]


class AdaGrad:
    """Duchi, Hazan, Singer 2011."""

    def __init__(self, eps: float = 1e-8) -> None:
        self.eps = eps
        self.total: dict[Hashable, float] = defaultdict(float)

    def step(self, i: Hashable, w: float, g: float, lr: float, k: int) -> float:
        self.total[i] += g**2
        return w - lr * g / math.sqrt(self.total[i] + self.eps)


class RMSProp:
    """Tieleman, Hinton 2012."""

    def __init__(self, rho: float = 0.9, eps: float = 1e-8) -> None:
        self.rho, self.eps = rho, eps
        self.mean: dict[Hashable, float] = defaultdict(float)

    def step(self, i: Hashable, w: float, g: float, lr: float, k: int) -> float:
        self.mean[i] = self.rho * self.mean[i] + (1 - self.rho) * g**2
        return w - lr * g / math.sqrt(self.mean[i] + self.eps)


class Adam:
    """Kingma, Ba 2015, the form of section 2's last paragraph ("epsilon hat")."""

    def __init__(self, beta_1: float = 0.9, beta_2: float = 0.999, eps: float = 1e-8) -> None:
        self.beta_1, self.beta_2, self.eps = beta_1, beta_2, eps
        self.m: dict[Hashable, float] = defaultdict(float)
        self.v: dict[Hashable, float] = defaultdict(float)

    def step(self, i: Hashable, w: float, g: float, lr: float, k: int) -> float:
        self.m[i] = self.beta_1 * self.m[i] + (1 - self.beta_1) * g
        self.v[i] = self.beta_2 * self.v[i] + (1 - self.beta_2) * g**2
        alpha = lr * math.sqrt(1 - self.beta_2**k) / (1 - self.beta_1**k)
        return w - alpha * self.m[i] / (math.sqrt(self.v[i]) + self.eps)


# -- learners ----------------------------------------------------------------------------------


class Linear:
    """An online linear model in river's order of operations.

    Output; gradient, weighted, then clipped; the intercept by plain SGD; the optimizer's step on the
    features that are present, an L2 term ``l2 w`` in their gradient; cumulative L1 (Tsuruoka, Tsujii,
    Ananiadou 2009, figure 2) with the rate of the *next* update.
    """

    def __init__(
        self,
        optimizer: Any,
        loss: Any,
        lr: Rate,
        *,
        l1: float = 0.0,
        l2: float = 0.0,
        intercept: float = 0.0,
        intercept_lr: Rate | None = None,
        clip: float = 1e12,
        initial: Sequence[float] = (),
    ) -> None:
        self.optimizer, self.loss, self.lr = optimizer, loss, lr
        self.l1, self.l2, self.clip = l1, l2, clip
        self.intercept, self.intercept_lr = intercept, intercept_lr or constant(0.01)
        self.initial = list(initial)
        self.weights: Row = {}
        self.updates = self.samples = 0
        self.total = 0.0
        self.charged: dict[Hashable, float] = defaultdict(float)

    def output(self, x: Row) -> float:
        return sum(self.weights.get(i, 0.0) * v for i, v in x.items()) + self.intercept

    def _meet(self, names: Sequence[Hashable]) -> None:
        for i in names:
            if i not in self.weights:
                self.weights[i] = self.initial.pop(0) if self.initial else 0.0

    def _slope(self, x: Row, y: float, h: float) -> float:
        return min(max(h * self.loss.gradient(y, self.output(x)), -self.clip), self.clip)

    def _move(self, gradient: Row, slope: float, n: int) -> None:
        lr = self.lr(self.updates, self.samples)
        self.intercept -= self.intercept_lr(self.updates, self.samples) * slope
        for i, g in gradient.items():
            w = self.weights[i]
            self.weights[i] = self.optimizer.step(i, w, g + self.l2 * w, lr, self.updates + 1)
        if self.l1:
            self.total += self.l1 * self.lr(self.updates + 1, self.samples + 1)
            for i in gradient:
                w = self.weights[i]
                if w > 0:
                    self.weights[i] = max(0.0, w - (self.total + self.charged[i]))
                elif w < 0:
                    self.weights[i] = min(0.0, w + (self.total - self.charged[i]))
                self.charged[i] += self.weights[i] - w
        self.updates += 1
        self.samples += n

    def learn(self, x: Row, y: float, h: float = 1.0) -> float:
        """Learn from one row and return the output made before."""
        self._meet(list(x))
        z = self.output(x)
        if h != 0:
            slope = self._slope(x, y, h)
            self._move({i: slope * v for i, v in x.items()}, slope, 1)
        return z

    def learn_many(self, rows: Sequence[Row], ys: Sequence[float], hs: Sequence[float]) -> None:
        """Take one step on the mean gradient of the rows whose weight is not 0."""
        self._meet(list(rows[0]))
        slopes = [self._slope(x, y, h) for x, y, h in zip(rows, ys, hs, strict=True) if h != 0]
        kept = [x for x, h in zip(rows, hs, strict=True) if h != 0]
        gradient = {i: sum(g * x[i] for g, x in zip(slopes, kept, strict=True)) / len(kept) for i in rows[0]}
        self._move(gradient, sum(slopes) / len(kept), len(kept))


class Normalized:
    """Vowpal Wabbit's normalised, adaptive, importance-aware update; the intercept is a feature of value 1.

    Ross, Mineiro, Langford 2013, algorithm 2; Karampatziakis, Langford 2011, section 4. With
    ``rescale_first`` weights are rescaled to a new scale before the prediction, otherwise after it
    (Vowpal Wabbit).
    """

    def __init__(
        self,
        loss: Any,
        lr: Rate,
        *,
        rescale_first: bool = True,
        intercept: float = 0.0,
        constant: bool = True,
    ) -> None:
        self.loss, self.lr, self.rescale_first = loss, lr, rescale_first
        self.constant = constant
        self.weights: Row = {INTERCEPT: intercept}
        self.total: dict[Hashable, float] = defaultdict(float)
        self.scale: dict[Hashable, float] = defaultdict(float)
        self.n = self.t = 0.0
        self.updates = self.samples = 0

    @property
    def intercept(self) -> float:
        return self.weights[INTERCEPT]

    def _rescaled(self, i: Hashable, v: float) -> float:
        w, s = self.weights.get(i, 0.0), self.scale[i]
        return w * s / abs(v) if abs(v) > s > 0 else w

    def output(self, x: Row) -> float:
        row = {**x, INTERCEPT: 1.0}
        if self.rescale_first:
            return sum(self._rescaled(i, v) * v for i, v in row.items())
        return sum(self.weights.get(i, 0.0) * v for i, v in row.items())

    def learn(self, x: Row, y: float, h: float = 1.0) -> float:
        """Learn from one row and return the output made before."""
        z = self.output(x)
        if h == 0:
            return z
        g = self.loss.gradient(y, z)
        lr = self.lr(self.updates, self.samples)
        self.updates += 1
        self.samples += 1
        for i in x:
            self.weights.setdefault(i, 0.0)
        if g == 0:
            return z
        row = {i: v for i, v in {**x, **({INTERCEPT: 1.0} if self.constant else {})}.items() if v != 0}
        speed, width, rates = 0.0, 0.0, {}
        for i, v in row.items():
            self.total[i] += h * g**2 * v**2
            if abs(v) > self.scale[i]:
                self.weights[i] = self._rescaled(i, v)
                self.scale[i] = abs(v)
            width += (v / self.scale[i]) ** 2
            rates[i] = 1 / (math.sqrt(self.total[i]) * self.scale[i])
            speed += v**2 * rates[i]
        self.n += h * width
        self.t += h
        c = math.sqrt(self.t / self.n) if self.n > 0 else 0.0
        u = self.loss.update(z, y, lr * h, speed * c)
        for i, v in row.items():
            self.weights[i] += u * c * v * rates[i]
        return z
