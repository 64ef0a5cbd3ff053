"""Optimizers as their papers state them, one dict a state and one loop over all features a step.

Imports nothing from streamgd. Where kernels keep a sum or a lazy form, these recompute the whole:
norms over all weights, averages of all weights at each update.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Any

from naive import INTERCEPT, Rate, Row, constant


class Method:
    """A rule of the weights ``w``: where to predict, where to take the gradient, how to learn from it."""

    def __init__(self) -> None:
        self.w: Row = {}

    def meet(self, i: Hashable, w: float) -> None:
        self.w[i] = w

    def weight(self, i: Hashable, x: float) -> float:
        return self.w[i]

    def ahead(self, i: Hashable, x: float) -> float:
        return self.weight(i, x)

    def begin(self, row: Row, h: float) -> None:
        """Look at the features of a row of weight ``h``."""

    def learn(self, row: Row, gradient: Row, slope: float, lr: float, k: int) -> None:
        """Learn from a row's ``gradient``, ``slope`` times its values; ``k`` counts updates from 1."""
        for i, g in gradient.items():
            self.w[i] = self.step(i, self.w[i], g, lr, k)

    def step(self, i: Hashable, w: float, g: float, lr: float, k: int) -> float:
        """Return the new weight of a feature of the row."""
        raise NotImplementedError


class Learner:
    """A linear model; its intercept is outside the method (plain SGD) or a feature of value 1."""

    def __init__(
        self,
        method: Method,
        loss: Any,
        lr: Rate,
        *,
        l2: float = 0.0,
        intercept: float = 0.0,
        intercept_lr: Rate | None = None,
        inside: bool = False,
        clip: float = 1e12,
        initial: Sequence[float] = (),
    ) -> None:
        self.method, self.loss, self.lr, self.l2, self.clip = method, loss, lr, l2, clip
        self.intercept_lr = intercept_lr or constant(0.01)
        self.inside, self.outside = inside, 0.0 if inside else intercept
        self.initial = list(initial)
        self.updates = self.samples = 0
        if inside:
            method.meet(INTERCEPT, intercept)

    @property
    def weights(self) -> Row:
        return {i: self.method.weight(i, 0.0) for i in self.method.w}

    @property
    def intercept(self) -> float:
        return self.method.weight(INTERCEPT, 1.0) if self.inside else self.outside

    def _row(self, x: Row) -> Row:
        return {**x, INTERCEPT: 1.0} if self.inside else x

    def _meet(self, names: Sequence[Hashable]) -> None:
        for i in names:
            if i not in self.method.w:
                self.method.meet(i, self.initial.pop(0) if self.initial else 0.0)

    def output(self, x: Row) -> float:
        known = {i: v for i, v in self._row(x).items() if i in self.method.w}
        return sum(self.method.weight(i, v) * v for i, v in known.items()) + self.outside

    def _slope(self, x: Row, y: float, h: float) -> float:
        row = self._row(x)
        p = sum(self.method.ahead(i, v) * v for i, v in row.items()) + self.outside
        return min(max(h * self.loss.gradient(y, p), -self.clip), self.clip)

    def _move(self, row: Row, gradient: Row, slope: float, n: int) -> None:
        lr = self.lr(self.updates, self.samples)
        if not self.inside:
            self.outside -= self.intercept_lr(self.updates, self.samples) * slope
        with_penalty = {
            i: g + (self.l2 * self.method.ahead(i, 0.0) if self.l2 else 0.0) for i, g in gradient.items()
        }
        self.method.learn(row, with_penalty, slope, lr, self.updates + 1)
        self.updates += 1
        self.samples += n

    def learn(self, x: Row, y: float, h: float = 1.0) -> float:
        """Learn from one row and return the output made before."""
        self._meet(list(x))
        z = self.output(x)
        if h != 0:
            row = self._row(x)
            self.method.begin(row, h)
            slope = self._slope(x, y, h)
            self._move(row, {i: slope * v for i, v in row.items()}, slope, 1)
        return z

    def learn_many(self, rows: Sequence[Row], ys: Sequence[float], hs: Sequence[float]) -> None:
        """Take one step on the mean gradient of the rows whose weight is not 0."""
        self._meet(list(rows[0]))
        slopes = [self._slope(x, y, h) for x, y, h in zip(rows, ys, hs, strict=True) if h != 0]
        kept = [self._row(x) for x, h in zip(rows, hs, strict=True) if h != 0]
        gradient = {i: sum(g * x[i] for g, x in zip(slopes, kept, strict=True)) / len(kept) for i in kept[0]}
        self._move(gradient, gradient, sum(slopes) / len(kept), len(kept))


# -- river's set ---------------------------------------------------------------------------------


class NesterovMomentum(Method):
    """Sutskever et al. 2013."""

    def __init__(self, rho: float = 0.9) -> None:
        super().__init__()
        self.rho = rho
        self.s: Row = defaultdict(float)

    def ahead(self, i: Hashable, x: float) -> float:
        return self.w[i] - self.rho * self.s[i]

    def step(self, i: Hashable, w: float, g: float, lr: float, k: int) -> float:
        self.s[i] = self.rho * self.s[i] + lr * g
        return w - self.s[i]


class AdaDelta(Method):
    """Zeiler 2012, algorithm 1."""

    def __init__(self, rho: float = 0.95, eps: float = 1e-8) -> None:
        super().__init__()
        self.rho, self.eps = rho, eps
        self.squares: Row = defaultdict(float)
        self.steps: Row = defaultdict(float)

    def step(self, i: Hashable, w: float, g: float, lr: float, k: int) -> float:
        self.squares[i] = self.rho * self.squares[i] + (1 - self.rho) * g**2
        d = -math.sqrt(self.steps[i] + self.eps) / math.sqrt(self.squares[i] + self.eps) * g
        self.steps[i] = self.rho * self.steps[i] + (1 - self.rho) * d**2
        return w + d


class Moments(Method):
    """First moment ``m`` and second moment ``v``, as all of Adam's kin keep them."""

    def __init__(self, beta_1: float = 0.9, beta_2: float = 0.999, eps: float = 1e-8) -> None:
        super().__init__()
        self.beta_1, self.beta_2, self.eps = beta_1, beta_2, eps
        self.m: Row = defaultdict(float)
        self.v: Row = defaultdict(float)

    def update(self, i: Hashable, g: float) -> None:
        self.m[i] = self.beta_1 * self.m[i] + (1 - self.beta_1) * g
        self.v[i] = self.beta_2 * self.v[i] + (1 - self.beta_2) * g**2


class AdaMax(Moments):
    """Kingma, Ba 2015, algorithm 2, with an epsilon."""

    def step(self, i: Hashable, w: float, g: float, lr: float, k: int) -> float:
        self.m[i] = self.beta_1 * self.m[i] + (1 - self.beta_1) * g
        self.v[i] = max(self.beta_2 * self.v[i], abs(g))
        return w - lr / (1 - self.beta_1**k) * self.m[i] / (self.v[i] + self.eps)


class AMSGrad(Moments):
    """Reddi, Kale, Kumar 2018, algorithm 2; Adam's correction on request."""

    def __init__(self, correct_bias: bool = True, **fields: float) -> None:
        super().__init__(**fields)
        self.correct_bias = correct_bias
        self.largest: Row = defaultdict(float)

    def step(self, i: Hashable, w: float, g: float, lr: float, k: int) -> float:
        self.update(i, g)
        self.largest[i] = max(self.largest[i], self.v[i])
        if self.correct_bias:
            lr *= math.sqrt(1 - self.beta_2**k) / (1 - self.beta_1**k)
        return w - lr * self.m[i] / (math.sqrt(self.largest[i]) + self.eps)


class Nadam(Moments):
    """Dozat 2016, with one correction of the first moment for both of its terms (river)."""

    def step(self, i: Hashable, w: float, g: float, lr: float, k: int) -> float:
        self.update(i, g)
        m = self.m[i] / (1 - self.beta_1**k)
        v = self.v[i] / (1 - self.beta_2**k)
        nesterov = self.beta_1 * m + (1 - self.beta_1) * g / (1 - self.beta_1**k)
        return w - lr * nesterov / (math.sqrt(v) + self.eps)


class AdaBound(Moments):
    """Luo et al. 2019, algorithm 2; the final rate falls as the rate does."""

    def __init__(self, gamma: float = 1e-3, final_lr: float = 0.1, **fields: float) -> None:
        super().__init__(**fields)
        self.gamma, self.final_lr = gamma, final_lr
        self.first_lr: float | None = None

    def step(self, i: Hashable, w: float, g: float, lr: float, k: int) -> float:
        self.update(i, g)
        self.first_lr = self.first_lr or lr
        final = self.final_lr * lr / self.first_lr
        rate = lr * math.sqrt(1 - self.beta_2**k) / (1 - self.beta_1**k) / (math.sqrt(self.v[i]) + self.eps)
        low, high = final * (1 - 1 / (self.gamma * k + 1)), final * (1 + 1 / (self.gamma * k))
        return w - min(max(rate, low), high) * self.m[i]


class FTRLProximal(Method):
    """McMahan et al. 2013, algorithm 1: a weight is worked out from z and n when it is needed."""

    def __init__(self, alpha: float = 0.05, beta: float = 1.0, l1: float = 0.0, l2: float = 1.0) -> None:
        super().__init__()
        self.alpha, self.beta, self.l1, self.l2 = alpha, beta, l1, l2
        self.z: Row = defaultdict(float)
        self.n: Row = defaultdict(float)

    def weight(self, i: Hashable, x: float) -> float:
        if self.n[i] == 0:
            return self.w[i]
        if abs(self.z[i]) <= self.l1:
            return 0.0
        over = self.z[i] - math.copysign(self.l1, self.z[i])
        return -over / ((self.beta + math.sqrt(self.n[i])) / self.alpha + self.l2)

    def learn(self, row: Row, gradient: Row, slope: float, lr: float, k: int) -> None:
        for i, g in gradient.items():
            sigma = (math.sqrt(self.n[i] + g**2) - math.sqrt(self.n[i])) / self.alpha
            self.z[i] += g - sigma * self.weight(i, row[i])
            self.n[i] += g**2


# -- those of deep learning ----------------------------------------------------------------------


class AdamW(Moments):
    """Loshchilov, Hutter 2019, algorithm 2."""

    def __init__(self, weight_decay: float = 0.01, amsgrad: bool = False, **fields: float) -> None:
        super().__init__(**fields)
        self.weight_decay, self.amsgrad = weight_decay, amsgrad
        self.largest: Row = defaultdict(float)

    def step(self, i: Hashable, w: float, g: float, lr: float, k: int) -> float:
        self.update(i, g)
        self.largest[i] = max(self.largest[i], self.v[i])
        m = self.m[i] / (1 - self.beta_1**k)
        v = (self.largest[i] if self.amsgrad else self.v[i]) / (1 - self.beta_2**k)
        return w - lr * self.weight_decay * w - lr * m / (math.sqrt(v) + self.eps)


class Lion(Method):
    """Chen et al. 2023, algorithm 2."""

    def __init__(self, beta_1: float = 0.9, beta_2: float = 0.99, weight_decay: float = 0.0) -> None:
        super().__init__()
        self.beta_1, self.beta_2, self.weight_decay = beta_1, beta_2, weight_decay
        self.m: Row = defaultdict(float)

    def step(self, i: Hashable, w: float, g: float, lr: float, k: int) -> float:
        u = self.beta_1 * self.m[i] + (1 - self.beta_1) * g
        self.m[i] = self.beta_2 * self.m[i] + (1 - self.beta_2) * g
        return w - lr * ((u > 0) - (u < 0) + self.weight_decay * w)


class ScheduleFreeSGD(Method):
    """Defazio et al. 2024, algorithm 1: z, and its average x, of every feature at every update."""

    def __init__(
        self,
        beta: float = 0.9,
        weight_decay: float = 0.0,
        warmup_steps: int = 0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
    ) -> None:
        super().__init__()
        self.beta, self.weight_decay, self.warmup_steps = beta, weight_decay, warmup_steps
        self.r, self.weight_lr_power = r, weight_lr_power
        self.z: Row = {}
        self.shares = self.largest_lr = 0.0

    def meet(self, i: Hashable, w: float) -> None:
        self.w[i] = self.z[i] = w

    def ahead(self, i: Hashable, x: float) -> float:
        return (1 - self.beta) * self.z[i] + self.beta * self.w[i]

    def direction(self, i: Hashable, g: float, k: int) -> float:
        return g

    def learn(self, row: Row, gradient: Row, slope: float, lr: float, k: int) -> None:
        if k < self.warmup_steps:
            lr *= k / self.warmup_steps
        self.largest_lr = max(self.largest_lr, lr)
        share = k**self.r * self.largest_lr**self.weight_lr_power
        self.shares += share
        c = share / self.shares if self.shares > 0 else 0.0
        for i, g in gradient.items():
            self.z[i] -= lr * (self.direction(i, g, k) + self.weight_decay * self.ahead(i, 0.0))
        for i in self.w:
            self.w[i] = (1 - c) * self.w[i] + c * self.z[i]


class ScheduleFreeAdamW(ScheduleFreeSGD):
    def __init__(
        self, beta_1: float = 0.9, beta_2: float = 0.999, eps: float = 1e-8, **fields: float
    ) -> None:
        super().__init__(beta_1, **fields)  # type: ignore[arg-type]
        self.beta_2, self.eps = beta_2, eps
        self.v: Row = defaultdict(float)

    def direction(self, i: Hashable, g: float, k: int) -> float:
        self.v[i] = self.beta_2 * self.v[i] + (1 - self.beta_2) * g**2
        return g / (math.sqrt(self.v[i] / (1 - self.beta_2**k)) + self.eps)


# -- without a learning rate -----------------------------------------------------------------------


class DoG(Method):
    """Ivgi, Hinder, Carmon 2023, section 1, with the norm of all weights at each update."""

    def __init__(self, reps_rel: float = 1e-6, eps: float = 1e-8) -> None:
        super().__init__()
        self.reps_rel, self.total = reps_rel, eps
        self.start: Row = {}
        self.farthest: float | None = None

    def meet(self, i: Hashable, w: float) -> None:
        self.w[i] = self.start[i] = w

    def learn(self, row: Row, gradient: Row, slope: float, lr: float, k: int) -> None:
        if self.farthest is None:
            self.farthest = self.reps_rel * (1 + math.hypot(*(self.start[i] for i in row)))
        else:
            way = math.hypot(*(self.w[i] - self.start[i] for i in self.w))
            self.farthest = max(self.farthest, way)
        self.total += sum(g**2 for g in gradient.values())
        for i, g in gradient.items():
            self.w[i] -= lr * self.farthest / math.sqrt(self.total) * g


class COCOB(Method):
    """Orabona, Tommasi 2017, algorithm 2."""

    def __init__(self, alpha: float = 100.0, eps: float = 1e-8) -> None:
        super().__init__()
        self.alpha = alpha
        self.start: Row = {}
        self.size: Row = defaultdict(lambda: eps)
        self.total: Row = defaultdict(float)
        self.reward: Row = defaultdict(float)
        self.theta: Row = defaultdict(float)

    def meet(self, i: Hashable, w: float) -> None:
        self.w[i] = self.start[i] = w

    def step(self, i: Hashable, w: float, g: float, lr: float, k: int) -> float:
        self.size[i] = size = max(self.size[i], abs(g))
        self.total[i] += abs(g)
        self.reward[i] = max(self.reward[i] - g * (w - self.start[i]), 0.0)
        self.theta[i] -= g
        share = self.theta[i] / (size * max(self.total[i] + size, self.alpha * size))
        return self.start[i] + share * (size + self.reward[i])


class Coin(Method):
    """``vw --coin``, with weights of the state now; ``stored`` is what it predicts with, one update late."""

    def __init__(self, alpha: float = 4.0, beta: float = 1.0) -> None:
        super().__init__()
        self.alpha, self.beta = alpha, beta
        self.theta: Row = defaultdict(float)
        self.sizes: Row = defaultdict(float)
        self.largest_x: Row = defaultdict(float)
        self.reward: Row = defaultdict(float)
        self.largest_g: Row = defaultdict(float)
        self.stored: Row = defaultdict(float)
        self.n = self.t = 0.0

    def bet(self, i: Hashable, x: float) -> float:
        bound = self.largest_g[i] * max(self.largest_x[i], abs(x))
        if bound == 0:
            return 0.0
        return (self.alpha + self.reward[i]) * self.theta[i] / (bound * (bound + self.sizes[i]))

    @property
    def width(self) -> float:
        return (self.n + 1e-6) / self.t if self.t else 1.0

    def weight(self, i: Hashable, x: float) -> float:
        return self.w[i] + self.bet(i, x) / self.width

    def begin(self, row: Row, h: float) -> None:
        self.n += h * sum((v / max(self.largest_x[i], abs(v))) ** 2 for i, v in row.items() if v != 0)
        self.t += h

    def learn(self, row: Row, gradient: Row, slope: float, lr: float, k: int) -> None:
        for i, v in row.items():
            if v == 0:
                continue  # as if it were absent
            self.largest_x[i] = max(self.largest_x[i], abs(v))
            if abs(slope) > self.largest_g[i]:
                self.largest_g[i] = max(abs(slope), self.beta)
            bet = self.bet(i, v)
            self.theta[i] -= slope * v
            self.sizes[i] += abs(slope * v)
            self.reward[i] -= slope * v * bet
            self.stored[i] = bet / self.width


class ScInOL1(Method):
    """Kempka, Kotlowski, Warmuth 2019, algorithm 1."""

    def __init__(self, eps: float = 1.0) -> None:
        super().__init__()
        self.eps = eps
        self.theta: Row = defaultdict(float)
        self.squares: Row = defaultdict(float)
        self.largest: Row = defaultdict(float)
        self.beta: Row = defaultdict(lambda: eps)
        self.rows = 0

    def weight(self, i: Hashable, x: float) -> float:
        q = self.squares[i] + max(self.largest[i], abs(x)) ** 2
        if q == 0:
            return self.w[i]
        beta = self.beta[i] if x == 0 else min(self.beta[i], self.eps * q / (x**2 * (self.rows + 1)))
        theta = self.theta[i] / math.sqrt(q)
        bet = beta / (2 * math.sqrt(q)) * (math.exp(abs(theta) / 2) - 1)
        return self.w[i] + math.copysign(bet, theta)

    def learn(self, row: Row, gradient: Row, slope: float, lr: float, k: int) -> None:
        self.rows += 1
        for i, v in row.items():
            self.largest[i] = max(self.largest[i], abs(v))
            if v != 0:
                q = self.squares[i] + self.largest[i] ** 2
                self.beta[i] = min(self.beta[i], self.eps * q / (v**2 * self.rows))
            self.theta[i] -= gradient[i]
            self.squares[i] += gradient[i] ** 2


class ScInOL2(Method):
    """Kempka, Kotlowski, Warmuth 2019, algorithm 2."""

    def __init__(self, eps: float = 1.0) -> None:
        super().__init__()
        self.theta: Row = defaultdict(float)
        self.squares: Row = defaultdict(float)
        self.largest: Row = defaultdict(float)
        self.wealth: Row = defaultdict(lambda: eps)

    def bet(self, i: Hashable, x: float) -> float:
        root = math.hypot(math.sqrt(self.squares[i]), max(self.largest[i], abs(x)))
        if root == 0:
            return 0.0
        theta = self.theta[i] / root
        return math.copysign(min(abs(theta), 1), theta) / (2 * root) * self.wealth[i]

    def weight(self, i: Hashable, x: float) -> float:
        return self.w[i] + self.bet(i, x)

    def learn(self, row: Row, gradient: Row, slope: float, lr: float, k: int) -> None:
        for i, v in row.items():
            self.wealth[i] -= gradient[i] * self.bet(i, v)
            self.largest[i] = max(self.largest[i], abs(v))
            self.theta[i] -= gradient[i]
            self.squares[i] += gradient[i] ** 2


# -- passive-aggressive ------------------------------------------------------------------------------


class PassiveAggressive:
    """Crammer et al. 2006, figure 1, for losses of slope 1 outside a tube or margin."""

    def __init__(self, loss: Any, C: float = 1.0, mode: int = 1, intercept: float = 0.0) -> None:
        self.loss, self.C, self.mode = loss, C, mode
        self.weights: Row = {INTERCEPT: intercept}

    @property
    def intercept(self) -> float:
        return self.weights[INTERCEPT]

    def output(self, x: Row) -> float:
        return sum(self.weights.get(i, 0.0) * v for i, v in x.items()) + self.intercept

    def learn(self, x: Row, y: float, h: float = 1.0) -> float:
        """Learn from one row and return the output made before; ``h`` multiplies C."""
        z = self.output(x)
        if h == 0:
            return z
        norm, loss = sum(v**2 for v in x.values()), self.loss.value(y, z)
        for i in x:
            self.weights.setdefault(i, 0.0)
        if norm == 0 and self.mode < 2:
            return z
        tau = loss / (norm + (1 / (2 * self.C * h) if self.mode == 2 else 0.0))
        if self.mode == 1:
            tau = min(self.C * h, tau)
        towards = -self.loss.gradient(y, z)
        for i, v in {**x, INTERCEPT: 1.0}.items():
            self.weights[i] += tau * towards * v
        return z
