"""Each method as its paper states it, in dict and float loops: what compiled kernels are held against.

Imports nothing from streamgd. Rates are functions ``(updates, samples) -> rate``; losses take
``y`` as 0 or 1 where they are binary.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

Row = dict[Hashable, float]
Rate = Callable[[int, int], float]

INTERCEPT = ("the intercept",)


def constant(rate: float) -> Rate:
    return lambda updates, samples: rate


# -- losses ------------------------------------------------------------------------------------


class Squared:
    def value(self, y: float, p: float) -> float:
        return (p - y) ** 2

    def gradient(self, y: float, p: float) -> float:
        return 2 * (p - y)

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        """Follow dp/dtau = -2 ppu (p - y): the residual falls exponentially."""
        return -(y - p) * math.expm1(-2 * eta_h * ppu) / ppu if ppu > 0 else 0.0


class Log:
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
        """Follow dm/dtau = ppu / (1 + exp(m)): the rise d solves d + exp(m) (exp(d) - 1) = eta_h ppu."""
        if ppu <= 0:
            return 0.0
        sign = 1 if y == 1 else -1
        margin, total = sign * p, self.weights[int(y)] * eta_h * ppu
        low, high = 0.0, total
        for _ in range(200):
            d = (low + high) / 2
            too_far = d > 700 or margin + d > 700 or d + math.exp(margin) * math.expm1(d) > total
            low, high = (low, d) if too_far else (d, high)
        return sign * (low + high) / 2 / ppu


class Hinge:
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


class Huber:
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
        return (y + there * math.exp(-ppu * (eta_h - until)) - p) / ppu


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
