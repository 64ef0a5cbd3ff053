"""Schedules: closed forms of time, river's where river has them, and resumed where a model stopped."""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest
import river.linear_model
import river.optim
import samples
from numpy.typing import NDArray

import streamgd
from streamgd import linear_model, optim
from streamgd.optim.base import Per, Scheduler
from streamgd.optim.schedulers import Constant, Exponential, InverseScaling, Optimal, StepDecay

SCHEDULES: list[Scheduler] = [
    Constant(0.3),
    InverseScaling(0.5),
    InverseScaling(0.5, 0.25),
    Optimal(optim.losses.Log(), 1e-3),
    StepDecay(0.1, drop=0.5, drop_every=10, per="update"),
    StepDecay(0.1, drop=0.9, drop_every=2.5, per="sample"),
    StepDecay(0.1, drop=0.5, drop_every=3, epoch_size=7),
    Exponential(0.1, k=0.01, per="sample"),
    Exponential(0.1, k=0.2, epoch_size=4),
]


@dataclass(frozen=True)
class Zigzag(Scheduler):
    """A user's own schedule, with `get` only."""

    top: float = 0.1
    per: Per = "update"
    epoch_size: int | None = None

    def get(self, t: int) -> float:
        return self.top * (1.0 if t % 2 else 0.5)


@dataclass(frozen=True)
class Breaks(Scheduler):
    """A schedule that is not a number from a time on."""

    at: int
    value: Any = math.nan
    per: Per = "update"
    epoch_size: int | None = None

    def get(self, t: int) -> float:
        return 0.1 if t < self.at else self.value


# -- closed forms ------------------------------------------------------------------------------


def test_closed_forms() -> None:
    for t in [0, 1, 5, 99, 10_000]:
        assert Constant(0.3).get(t) == 0.3
        assert InverseScaling(0.5, 0.25).get(t) == pytest.approx(0.5 / (t + 1) ** 0.25, rel=1e-15)
        step = StepDecay(0.1, drop=0.5, drop_every=10, per="update").get(t)
        assert step == pytest.approx(0.1 * 0.5 ** (t // 10), rel=1e-14, abs=0)
        by_epoch = StepDecay(0.1, drop=0.5, drop_every=3, epoch_size=7).get(t)
        assert by_epoch == pytest.approx(0.1 * 0.5 ** (t // 7 // 3), rel=1e-14, abs=0)
        assert Exponential(0.1, k=0.01, per="sample").get(t) == pytest.approx(
            0.1 * math.exp(-0.01 * t), rel=1e-14
        )
        by_epoch = Exponential(0.1, k=0.2, epoch_size=4).get(t)
        assert by_epoch == pytest.approx(0.1 * math.exp(-0.2 * (t // 4)), rel=1e-14, abs=0)
    # one rate for a whole epoch, the next one from the first sample after it
    rates = [Exponential(0.1, k=1.0, epoch_size=3).get(t) for t in range(7)]
    assert rates[0] == rates[2] != rates[3] == rates[5] != rates[6]


@pytest.mark.parametrize("schedule", [*SCHEDULES, Zigzag()], ids=repr)
def test_many_times_are_each_time(schedule: Scheduler) -> None:
    times = np.array([0, 1, 2, 3, 9, 10, 11, 1023, 1024, 5_000_000], dtype=np.int64)
    rates = schedule.get_many(times)
    assert rates.dtype == np.float64
    np.testing.assert_allclose(rates, [schedule.get(int(t)) for t in times], rtol=1e-14)
    assert all(isinstance(schedule.get(int(t)), float) for t in times)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Constant(0.3), river.optim.schedulers.Constant(0.3)),
        (InverseScaling(0.5), river.optim.schedulers.InverseScaling(0.5)),
        (InverseScaling(2.0, 0.9), river.optim.schedulers.InverseScaling(2.0, 0.9)),
        (Optimal(optim.losses.Log()), river.optim.schedulers.Optimal(river.optim.losses.Log())),
        (
            Optimal(optim.losses.Hinge(), 0.01),
            river.optim.schedulers.Optimal(river.optim.losses.Hinge(), 0.01),
        ),
    ],
    ids=lambda value: repr(value) if isinstance(value, Scheduler) else "",
)
def test_rates_are_those_of_river(ours: Scheduler, theirs: Any) -> None:
    for t in [0, 1, 2, 77, 12345]:
        assert ours.get(t) == theirs.get(t)


@pytest.mark.parametrize("schedule", [s for s in SCHEDULES if s.per == "update"], ids=repr)
def test_schedules_work_inside_rivers_optimizers(schedule: Scheduler) -> None:
    data = samples.dense(60, 4, binary=False, seed=1)
    ours = linear_model.LinearRegression(optim.SGD(schedule), intercept_lr=schedule)
    theirs = river.linear_model.LinearRegression(river.optim.SGD(schedule), intercept_lr=schedule)
    for x, y in zip(data.dicts(), data.y.tolist(), strict=True):
        ours.learn_one(x, y)
        theirs.learn_one(x, y)
        assert ours.learning_rate == pytest.approx(theirs.optimizer.learning_rate, rel=1e-14)
    assert list(ours.weights.values()) == pytest.approx(list(theirs.weights.values()), rel=1e-12)
    assert ours.intercept == pytest.approx(theirs.intercept, rel=1e-12)


# -- in learners -------------------------------------------------------------------------------


def regression(schedule: Any, intercept: Any = 0.01) -> linear_model.LinearRegression:
    return linear_model.LinearRegression(optim.SGD(schedule), intercept_lr=intercept)


def plain(lr: naive.Rate, intercept: naive.Rate) -> naive.Linear:
    return naive.Linear(naive.SGD(), naive.Squared(), lr, intercept_lr=intercept)


@pytest.mark.parametrize("way", ["dicts", "rows"])
def test_long_streams_equal_river_over_the_table_of_rates(way: str) -> None:
    data = samples.dense(3 * 1024 + 50, 3, binary=False, seed=2)
    ours = regression(InverseScaling(0.1, 0.6), InverseScaling(0.05, 0.1))
    theirs = river.linear_model.LinearRegression(
        river.optim.SGD(river.optim.schedulers.InverseScaling(0.1, 0.6)),
        intercept_lr=river.optim.schedulers.InverseScaling(0.05, 0.1),
    )
    expected = []
    for x, y in zip(data.dicts(), data.y.tolist(), strict=True):
        expected.append(theirs.predict_one(x))
        theirs.learn_one(x, y)
    if way == "dicts":
        z = []
        for x, y in zip(data.dicts(), data.y.tolist(), strict=True):
            z.append(ours.predict_one(x))
            ours.learn_one(x, y)
    else:
        z = ours.predict_learn_rows(data.X, data.y, columns=data.names).tolist()
    np.testing.assert_allclose(z, expected, rtol=1e-12, atol=1e-12)
    assert ours.n_updates == 3 * 1024 + 50


@pytest.mark.parametrize(
    ("schedule", "rate"),
    [
        (StepDecay(0.1, 0.5, 40, per="update"), lambda t, n: 0.1 * 0.5 ** (t // 40)),
        (StepDecay(0.1, 0.5, 40, per="sample"), lambda t, n: 0.1 * 0.5 ** (n // 40)),
        (StepDecay(0.1, 0.5, 2, epoch_size=25), lambda t, n: 0.1 * 0.5 ** (n // 25 // 2)),
        (Exponential(0.1, 0.02, per="update"), lambda t, n: 0.1 * math.exp(-0.02 * t)),
        (Exponential(0.1, 0.02, per="sample"), lambda t, n: 0.1 * math.exp(-0.02 * n)),
        (InverseScaling(0.1), lambda t, n: 0.1 / math.sqrt(t + 1)),
        (Zigzag(0.1, per="sample"), lambda t, n: 0.1 if n % 2 else 0.05),
    ],
    ids=lambda value: repr(value) if isinstance(value, Scheduler) else "",
)
@pytest.mark.parametrize("of_intercept", [False, True], ids=["weights", "intercept"])
def test_updates_samples_and_epochs(schedule: Any, rate: Any, of_intercept: bool) -> None:
    """A mini-batch is one update of many samples; rows of weight 0 are neither."""
    data = samples.dense(300, 3, binary=False, seed=3)
    other = naive.constant(0.02)
    model = regression(0.02, schedule) if of_intercept else regression(schedule, 0.02)
    reference = plain(other, rate) if of_intercept else plain(rate, other)
    rows, ys, ws = data.dicts(), data.y.tolist(), data.w.tolist()
    i = 0
    while i < len(rows):
        for way, n in (("one", 7), ("rows", 11), ("many", 13)):
            part = slice(i, i + n)
            if not rows[part]:
                break
            if way == "many":
                reference.learn_many(rows[part], ys[part], ws[part])
                model.learn_many(data.X[part], data.y[part], data.w[part], columns=data.names)
            else:
                for x, y, h in zip(rows[part], ys[part], ws[part], strict=True):
                    reference.learn(x, y, h)
                if way == "rows":
                    model.learn_rows(data.X[part], data.y[part], data.w[part], columns=data.names)
                else:
                    for x, y, h in zip(rows[part], ys[part], ws[part], strict=True):
                        model.learn_one(x, y, h)
            i += n
    assert (model.n_updates, model.n_samples) == (reference.updates, reference.samples)
    assert model.n_samples == np.count_nonzero(data.w) > model.n_updates
    assert list(model.weights.values()) == pytest.approx(list(reference.weights.values()), rel=1e-11)
    assert model.intercept == pytest.approx(reference.intercept, rel=1e-11)
    if not of_intercept:
        assert model.learning_rate == pytest.approx(rate(reference.updates, reference.samples), rel=1e-14)


def test_l1_takes_the_rate_of_the_next_update() -> None:
    data = samples.dense(1500, 3, binary=False, seed=4)  # over the end of a table of rates
    model = linear_model.LinearRegression(optim.SGD(InverseScaling(0.1, 0.4)), l1=0.01)
    reference = naive.Linear(naive.SGD(), naive.Squared(), lambda t, n: 0.1 / (t + 1) ** 0.4, l1=0.01)
    z = model.predict_learn_rows(data.X, data.y, columns=data.names)
    expected = [reference.learn(x, y) for x, y in zip(data.dicts(), data.y.tolist(), strict=True)]
    np.testing.assert_allclose(z, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("schedule", [*SCHEDULES[1:], Zigzag()], ids=repr)
@pytest.mark.parametrize("way", ["pickle", "deepcopy", "save", "clone"])
def test_a_schedule_goes_on_where_it_was(schedule: Scheduler, way: str, tmp_path: Path) -> None:
    data = samples.dense(90, 3, binary=False, seed=5)
    whole, first = regression(schedule, schedule), regression(schedule, schedule)
    z = whole.predict_learn_rows(data.X, data.y)
    first.learn_many(data.X[:0], data.y[:0])  # an empty batch is no update
    first.learn_rows(data.X[:40], data.y[:40])
    if way == "pickle":
        second = pickle.loads(pickle.dumps(first))
    elif way == "deepcopy":
        second = copy.deepcopy(first)
    elif way == "save":
        streamgd.save(first, tmp_path / "model.safetensors")
        second = streamgd.load(tmp_path / "model.safetensors")
    else:
        second = first.clone(include_attributes=True)
    assert second.optimizer.scheduler == schedule
    assert second.learning_rate == first.learning_rate
    assert second.predict_learn_rows(data.X[40:], data.y[40:]).tolist() == z[40:].tolist()
    assert second.weights == whole.weights
    assert first.clone().n_updates == 0


def test_a_stream_has_no_epochs_unless_their_size_is_given() -> None:
    model = regression(StepDecay(0.1, drop=0.5, drop_every=1))
    with pytest.raises(ValueError, match=r"counts epochs, and a stream has none: give it epoch_size="):
        model.learn_one({"a": 1.0}, 1.0)
    with pytest.raises(ValueError, match="epoch_size"):
        model.learn_rows(np.ones((2, 1)), [1.0, 2.0])
    assert (model.weights, model.intercept, model.n_updates) == ({}, 0.0, 0)


# -- schedules that fail -----------------------------------------------------------------------


def state(model: Any) -> list[bytes]:
    arrays = (model._weights, model._slots, model._charged, model._scalars)
    return [array.tobytes() for array in arrays]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e200])
@pytest.mark.parametrize("way", ["one", "rows", "many", "intercept"])
def test_a_rate_that_is_no_number_is_an_error(value: float, way: str) -> None:
    schedule = Breaks(at=0, value=value)
    model = regression(0.1, schedule) if way == "intercept" else regression(schedule)
    before = state(model)
    learn, sample = {
        "rows": (model.learn_rows, (np.ones((2, 1)), [1.0, 2.0])),
        "many": (model.learn_many, (np.ones((2, 1)), [1.0, 2.0])),
    }.get(way, (model.learn_one, ({"a": 1.0}, 1.0)))
    with pytest.raises(ValueError, match=r"Breaks\(.*the rate at update 0 is"):
        learn(*sample)
    assert model.weights == {}
    assert state(model) == before


def test_a_rate_that_stops_being_a_number_keeps_what_was_learned() -> None:
    data = samples.dense(1500, 2, binary=False, seed=6)
    model = regression(Breaks(at=1100))
    with pytest.raises(ValueError, match=r"the rate at update 1100 is .*nan"):
        model.learn_rows(data.X, data.y)
    done = model.n_updates
    assert done == 1100  # though the table of rates is made some way ahead
    reference = regression(0.1)
    reference.learn_rows(data.X[:done], data.y[:done])
    assert model.weights == reference.weights
    before = state(model)
    with pytest.raises(ValueError, match="the rate at update 1100"):
        model.learn_one({0: 1.0, 1: 1.0, "new": 1.0}, 1.0)
    assert state(model) == before
    assert "new" not in model.weights
    model.optimizer = optim.SGD(0.1)  # the way out
    model.learn_one({0: 1.0}, 1.0)
    assert model.n_updates == done + 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StepDecay(0.1, 0.0, 1), r"StepDecay\(drop=0.0\): drop must be in \(0, 1\]"),
        (lambda: StepDecay(0.1, 0.5, 0), r"drop_every must be positive"),
        (lambda: StepDecay(0.1, 0.5, 1, per="day"), r"per must be 'update', 'sample' or 'epoch'"),
        (lambda: StepDecay(0.1, 0.5, 1, per="update", epoch_size=3), r"epoch_size must be None unless"),
        (lambda: Exponential(0.1, 0.5, epoch_size=0), r"epoch_size must be a positive int"),
        (lambda: Exponential(0.1, -1.0), r"k must be at least 0"),
        (lambda: Exponential(math.nan, 1.0), r"learning_rate must be a finite float"),
        (lambda: Optimal(optim.losses.Log(), 0.0), r"alpha must be positive"),
    ],
)
def test_hyper_parameters_out_of_range(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_many_times_of_a_users_schedule_are_an_array() -> None:
    times: NDArray[np.int64] = np.arange(4)
    assert Zigzag(1.0).get_many(times).tolist() == [0.5, 1.0, 0.5, 1.0]
