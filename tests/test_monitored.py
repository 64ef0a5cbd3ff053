"""Schedules that look at the losses, in learners: fed with the right losses, and heeded at once."""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest
import river.drift
import samples
from numpy.typing import NDArray

import streamgd
from streamgd import linear_model, optim
from streamgd.optim.base import Monitored, Per
from streamgd.optim.schedulers import Exponential, InverseScaling, ReduceLROnPlateau, RestartOnDrift


@dataclass(frozen=True)
class Careful(Monitored):
    """A rate that falls with the mean of the losses seen so far, and with time."""

    top: float = 0.1
    window: int = 7  # type: ignore[assignment]
    per: Per = field(default="update", init=False)
    epoch_size: int | None = field(default=None, init=False)

    def start(self) -> Any:
        return (0.0, 0)

    def observe(self, state: Any, losses: NDArray[np.float64], t: int) -> Any:
        assert losses.shape == (self.window,)
        return (state[0] + float(losses.sum()), t)

    def rates(self, state: Any, t: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(self.top / (1.0 + state[0] / 50.0 + state[1] / 100.0 + 0.001 * t))


class Watched(naive.Linear):
    """Keeps the losses of a window for a schedule, which it asks for each rate."""

    def __init__(self, schedule: Monitored, loss: Any, **more: Any) -> None:
        self.schedule, self.state = schedule, schedule.start()
        self.losses: list[float] = []
        super().__init__(naive.SGD(), loss, self._rate, **more)

    def _rate(self, updates: int, samples: int) -> float:
        return float(self.schedule.rates(self.state, np.array([updates]))[0])

    def _look(self) -> None:
        if len(self.losses) == self.schedule.window:
            self.state = self.schedule.observe(self.state, np.array(self.losses), self.updates)
            self.losses = []

    def learn(self, x: Any, y: float, h: float = 1.0) -> float:
        self._look()
        z = super().learn(x, y, h)
        if h:
            self.losses.append(self.loss.value(y, z))
        return z

    def learn_many(self, rows: Any, ys: Any, hs: Any) -> None:
        self._look()
        found = [self.loss.value(y, self.output(x)) for x, y, h in zip(rows, ys, hs, strict=True) if h]
        super().learn_many(rows, ys, hs)
        for loss in found:
            self.losses.append(loss)
            self._look()


SCHEDULES = [
    Careful(),
    Careful(window=1),
    ReduceLROnPlateau(0.2, factor=0.5, patience=1, window=20),
    ReduceLROnPlateau(InverseScaling(0.2, 0.1), factor=0.3, patience=0, window=33, fading=0.05, cooldown=1),
    RestartOnDrift(InverseScaling(0.3, 0.6), river.drift.PageHinkley(threshold=5.0), back=0.8, every=16),
]


def name(schedule: Any) -> str:
    return f"{type(schedule).__name__}-{schedule.window}"


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
@pytest.mark.parametrize("way", ["one", "rows", "mixed"])
def test_learners_feed_and_heed(schedule: Any, way: str) -> None:
    data = samples.dense(700, 4, binary=True, seed=1)
    y = np.where(np.arange(700) < 350, data.y, ~data.y)  # a drift
    model = linear_model.LogisticRegression(optim.SGD(schedule))
    plain = Watched(schedule, naive.Log())
    rows, ys, ws = data.dicts(), y.tolist(), data.w.tolist()
    i = 0
    while i < 700:
        for kind, n in (("one", 9), ("rows", 50), ("many", 11)):
            part = slice(i, i + n)
            if kind == "many" and way == "mixed":
                model.learn_many(data.X[part], y[part], data.w[part], columns=data.names)
                plain.learn_many(rows[part], [float(v) for v in ys[part]], ws[part])
            else:
                for x, t, h in zip(rows[part], ys[part], ws[part], strict=True):
                    plain.learn(x, float(t), h)
                    if way == "one" or (way == "mixed" and kind == "one"):
                        model.learn_one(x, t, h)
                if way == "rows" or (way == "mixed" and kind == "rows"):
                    model.learn_rows(data.X[part], y[part], data.w[part], columns=data.names)
            i += n
        plain._look()  # the rate of the next update, as the learner says it
        assert model.learning_rate == pytest.approx(plain._rate(plain.updates, 0), rel=1e-9)
    assert model.weights == pytest.approx(plain.weights, rel=1e-8)
    assert model.learning_rate < 0.1


def test_a_plateau_lowers_the_rate_and_a_drift_raises_it() -> None:
    rng = np.random.default_rng(2)
    X = rng.normal(size=(8000, 3))
    truth = np.array([1.0, -2.0, 0.5])
    y = X @ truth + rng.normal(size=8000)
    plateau = linear_model.LinearRegression(
        optim.SGD(ReduceLROnPlateau(0.05, patience=2, threshold=0.05, window=200))
    )
    plateau.learn_rows(X, y)
    assert plateau.learning_rate < 0.05 / 5
    restart = linear_model.LinearRegression(
        optim.SGD(RestartOnDrift(Exponential(0.1, k=1e-3, per="update"), river.drift.ADWIN(), every=32))
    )
    restart.learn_rows(X, y)
    before = restart.learning_rate
    restart.learn_rows(X[:500], -3 * y[:500])
    assert before < 1e-3 < 0.04 < restart.learning_rate


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
@pytest.mark.parametrize("way", ["pickle", "deepcopy", "save", "clone"])
def test_copies_go_on_in_the_middle_of_a_window(schedule: Any, way: str, tmp_path: Path) -> None:
    data = samples.dense(300, 3, binary=False, seed=3)
    whole, first = (linear_model.LinearRegression(optim.SGD(schedule)) for _ in range(2))
    z = whole.predict_learn_rows(data.X, data.y)
    first.learn_rows(data.X[:101], data.y[:101])
    if way == "save" and isinstance(schedule, RestartOnDrift):
        with pytest.raises(TypeError, match=r"PageHinkley.*which a model file cannot hold"):
            streamgd.save(first, tmp_path / "model.safetensors")
        return
    if way == "pickle":
        second = pickle.loads(pickle.dumps(first))
    elif way == "deepcopy":
        second = copy.deepcopy(first)
    elif way == "save":
        streamgd.save(first, tmp_path / "model.safetensors")
        second = streamgd.load(tmp_path / "model.safetensors")
    else:
        second = first.clone(include_attributes=True)
    first.learn_rows(data.X[:50], data.y[:50])  # what becomes of the first is not the second's affair
    assert second.predict_learn_rows(data.X[101:], data.y[101:]).tolist() == z[101:].tolist()
    assert first.clone().n_updates == 0
    assert first.clone()._observed[0] == schedule.start() or isinstance(schedule, RestartOnDrift)


def test_another_schedule_starts_anew() -> None:
    data = samples.dense(100, 3, binary=False, seed=4)
    model = linear_model.LinearRegression(optim.SGD(Careful()))
    model.learn_rows(data.X, data.y)
    model.optimizer = optim.SGD(Careful(0.3, window=5))
    fresh = Careful(0.3, window=5)
    assert model.learning_rate == pytest.approx(fresh.rates(fresh.start(), np.array([100]))[0], rel=1e-12)
    model.learn_rows(data.X, data.y)
    model.optimizer = optim.SGD(0.1)
    model.learn_rows(data.X, data.y)
    assert model.learning_rate == 0.1


def test_the_intercept_may_have_one_of_the_same_window() -> None:
    data = samples.dense(60, 3, binary=False, seed=5)
    model = linear_model.LinearRegression(optim.SGD(0.05), intercept_lr=Careful(0.2))
    plain = Watched(Careful(0.2), naive.Squared())
    plain.lr, plain.intercept_lr = naive.constant(0.05), plain.lr
    expected = [plain.learn(x, y) for x, y in zip(data.dicts(), data.y.tolist(), strict=True)]
    np.testing.assert_allclose(model.predict_learn_rows(data.X, data.y), expected, rtol=1e-10, atol=1e-10)
    with pytest.raises(ValueError, match=r"look at \[5, 7\] losses at a time; give both the same window"):
        linear_model.LinearRegression(optim.SGD(Careful()), intercept_lr=Careful(window=5))


def test_losses_are_those_before_learning_and_before_weighting() -> None:
    seen: list[float] = []

    @dataclass(frozen=True)
    class Spy(Careful):
        def observe(self, state: Any, losses: NDArray[np.float64], t: int) -> Any:
            seen.extend(losses.tolist())
            return state

    model = linear_model.LogisticRegression(optim.SGD(Spy(window=2)))
    expected = []
    for i, w in enumerate([1.0, 5.0, 0.0, 0.5, 2.0, 1.0]):
        p = model.predict_proba_one({"a": 1.0 + i})[True]
        if w:
            expected.append(-math.log(p))
        model.learn_one({"a": 1.0 + i}, True, w)
    assert seen == pytest.approx(expected[:4], rel=1e-12)  # the fifth waits for its window
