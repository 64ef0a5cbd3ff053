"""Softmax regression as its definition states it: one naive linear learner a class, and what joins them.

Imports nothing from streamgd. Each class's learner asks its loss for a derivative in its own output; the
loss knows the outputs of the others in the same row, and is the cross-entropy as a function of that
one output.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import naive
from naive import Row

FLOOR = 1e-15  # the probability of a class in the row that makes it known


class Peek:
    """A loss that only notes at which outputs derivatives are taken."""

    def __init__(self) -> None:
        self.outputs: list[float] = []

    def gradient(self, y: float, p: float) -> float:
        self.outputs.append(p)
        return 0.0


class OneOfMany:
    """Cross-entropy in the output of one class, those of the others fixed; ``y`` is 1 for its own rows."""

    def __init__(self) -> None:
        self.others: list[list[float] | None] = []  # of each row to come; None: the class is new
        self.weights: list[float] = []  # of each row's true class

    def gradient(self, y: float, p: float) -> float:
        self.now, self.weight = self.others.pop(0), self.weights.pop(0)
        if self.now is None:
            return self.weight * (FLOOR - y)
        highest = max([p, *self.now])
        parts = [math.exp(z - highest) for z in self.now]
        own = math.exp(p - highest)
        return self.weight * (-sum(parts) if y else own) / (own + sum(parts))

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        """Solve the same equation as the logistic loss: the others only shift the output."""
        margin = math.log(FLOOR / (1 - FLOOR))
        if self.now is not None:
            highest = max(self.now, default=p - 700.0)
            rest = highest + math.log(sum(math.exp(z - highest) for z in self.now) if self.now else 1.0)
            margin = p - rest
        return naive.Log(self.weight, self.weight).update(margin, y, eta_h, ppu)


class Softmax:
    """Learners by label, made by ``lane(loss)`` when their label is first seen with a weight."""

    def __init__(
        self, lane: Callable[[Any], Any], class_weight: Mapping[Hashable, float] | None = None
    ) -> None:
        self.lane, self.class_weight = lane, class_weight or {}
        self.lanes: dict[Hashable, Any] = {}

    def outputs(self, x: Row) -> dict[Hashable, float]:
        return {label: lane.output(x) for label, lane in self.lanes.items()}

    def probabilities(self, x: Row) -> dict[Hashable, float]:
        z = self.outputs(x)
        highest = max(z.values(), default=0.0)
        total = sum(math.exp(v - highest) for v in z.values())
        return {label: math.exp(v - highest) / total for label, v in z.items()}

    @property
    def weights(self) -> dict[Hashable, Row]:
        own = naive.INTERCEPT
        return {k: {i: w for i, w in lane.weights.items() if i != own} for k, lane in self.lanes.items()}

    @property
    def intercept(self) -> dict[Hashable, float]:
        return self.outputs({})

    def learn(self, x: Row, y: Hashable, h: float = 1.0) -> dict[Hashable, float]:
        """Learn from one row and return the outputs made before, of the classes that were known."""
        z = self.outputs(x)
        self._step([y], [h], lambda lane, ys: lane.learn(x, ys[0], h))
        return z

    def learn_many(self, rows: Sequence[Row], ys: Sequence[Hashable], hs: Sequence[float]) -> None:
        """Take one step on the mean gradient of the rows whose weight is not 0."""
        self._step(ys, hs, lambda lane, codes: lane.learn_many(rows, codes, hs))

    def _step(
        self, ys: Sequence[Hashable], hs: Sequence[float], learn: Callable[[Any, list[float]], Any]
    ) -> None:
        counted = [y for y, h in zip(ys, hs, strict=True) if h != 0]
        old = list(self.lanes)
        seen = {}
        for label in old:
            twin = copy.deepcopy(self.lanes[label])
            twin.loss = Peek()
            learn(twin, [float(y == label) for y in ys])
            seen[label] = twin.loss.outputs
        for y in counted:
            if y not in self.lanes:
                self.lanes[y] = self.lane(OneOfMany())
        if not counted:
            return
        for label, lane in self.lanes.items():
            lane.loss.weights = [self.class_weight.get(y, 1.0) for y in counted]
            lane.loss.others = [
                [seen[k][i] for k in old if k != label] if label in old else None for i in range(len(counted))
            ]
            learn(lane, [float(y == label) for y in ys])
