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
import river
import river.linear_model
import river.optim
import samples
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from oracles import record
from river import drift
from samples import without_addresses

import streamgd
from streamgd import linear_model, optim
from streamgd.optim import schedulers
from streamgd.optim.base import Per, Scheduler
from streamgd.optim.schedulers import (
    Constant,
    CosineAnnealing,
    CosineAnnealingWarmRestarts,
    Cyclic,
    Exponential,
    Function,
    InverseScaling,
    InverseSqrt,
    InverseTime,
    Linear,
    MultiStep,
    OneCycle,
    Optimal,
    Polynomial,
    Product,
    ReduceLROnPlateau,
    RestartOnDrift,
    Sequential,
    StepDecay,
    Warmup,
)

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
    MultiStep(0.1, [3, 10, 10], 0.5),
    InverseTime(0.1, k=0.05, power=0.6, per="sample"),
    InverseSqrt(0.1, warmup=12),
    Linear(0.1, 1.0, 0.2, 40, per="epoch", epoch_size=2),
    Polynomial(0.1, 60, 2.0, min_lr=0.01),
    CosineAnnealing(0.1, 25, 0.01),
    CosineAnnealing(0.1, 25, per="sample", hold=True),
    CosineAnnealingWarmRestarts(0.1, 5, 2, 0.001, decay=0.8),
    CosineAnnealingWarmRestarts(0.1, 3, per="epoch", epoch_size=4),
    Cyclic(0.01, 0.1, 8, 4),
    Cyclic(0.01, 0.1, 5, mode="triangular2", per="sample"),
    Cyclic(0.01, 0.1, 5, mode="exp_range", gamma=0.99),
    OneCycle(0.2, 70),
    OneCycle(0.2, 30, anneal_strategy="linear", three_phase=True, epoch_size=2, per="epoch"),
    Warmup(Exponential(0.1, 0.02, per="sample"), steps=20),
    Sequential(
        [Linear(0.1, per="epoch", epoch_size=3), Constant(0.02), StepDecay(0.1, 0.5, 2, epoch_size=3)], [6, 9]
    ),
    Product([Cyclic(0.5, 1.0, 6), InverseScaling(0.2, 0.3)], min_lr=0.02),
]


def halved(t: int) -> float:
    return 0.5 if t % 2 else 1.0


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


@pytest.mark.parametrize("schedule", [*SCHEDULES, Zigzag(), Function(0.1, halved)], ids=without_addresses)
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
    ids=lambda value: without_addresses(value) if isinstance(value, Scheduler) else "",
)
def test_rates_are_those_of_river(ours: Scheduler, theirs: Any) -> None:
    for t in [0, 1, 2, 77, 12345]:
        assert ours.get(t) == theirs.get(t)
    record(f"schedulers.{type(ours).__name__}", "river", river.__version__, 0.0)


@pytest.mark.parametrize("schedule", [s for s in SCHEDULES if s.per == "update"], ids=without_addresses)
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


def difference(ours: Scheduler, exact: Any, times: NDArray[np.int64]) -> float:
    """Largest relative difference from a formula in plain Python."""
    expected = np.array([exact(t) for t in times.tolist()])
    return float(np.max(np.abs(ours.get_many(times) / expected - 1.0)))


@pytest.mark.parametrize(
    ("ours", "source", "exact"),
    [
        (InverseTime(0.1, 0.01, 2 / 3), "Xu 2011", lambda t: 0.1 * (1 + 0.01 * t) ** (-2 / 3)),
        (InverseTime(0.1, 1.0, 0.5), "river InverseScaling", river.optim.schedulers.InverseScaling(0.1).get),
        (
            InverseSqrt((512 * 4000) ** -0.5, 4000),
            "Vaswani et al. 2017, eq. 3",
            lambda t: 512**-0.5 * min((t + 1) ** -0.5, (t + 1) * 4000**-1.5),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_published_formulas(ours: Scheduler, source: str, exact: Any) -> None:
    largest = difference(ours, exact, np.arange(0, 20_000, 3))
    record(type(ours).__name__, source, river.__version__ if "river" in source else "as published", largest)
    assert largest < 1e-14


@pytest.mark.parametrize(("T_0", "T_mult"), [(1, 1), (5, 1), (1, 2), (3, 2), (7, 3)])
def test_warm_restarts_are_the_recursion_with_a_height_that_decays(T_0: int, T_mult: int) -> None:
    ours = CosineAnnealingWarmRestarts(0.1, T_0, T_mult, 0.01, decay=0.7)
    tau, length, height, rates = 0, T_0, 0.09, []
    for _ in range(3000):
        rates.append(0.01 + height * (1 + math.cos(math.pi * tau / length)) / 2)
        tau += 1
        if tau == length:
            tau, length, height = 0, length * T_mult, height * 0.7
    np.testing.assert_allclose(ours.get_many(np.arange(3000)), rates, rtol=1e-12)


def test_parts_have_times_of_their_own() -> None:
    inner = Exponential(0.2, 0.1, epoch_size=5)
    t = np.arange(200)
    warm = Warmup(inner, steps=4, start_factor=0.5).get_many(t)
    assert warm[[0, 4, 5, 10]].tolist() == pytest.approx([0.1, 0.1, 0.125, 0.15])  # in epochs of 5 samples
    assert warm[20:].tolist() == inner.get_many(t[:-20]).tolist()
    parts = Sequential([inner, Constant(0.3), inner], [2, 7])
    assert (parts.per, parts.epoch_size) == ("epoch", 5)
    expected = [*inner.get_many(t[:10]), *[0.3] * 25, *inner.get_many(t[:-35])]
    assert parts.get_many(t).tolist() == expected
    both = Product([Cyclic(0.5, 1.0, 3, per="epoch", epoch_size=5), inner])
    assert both.get_many(t).tolist() == (both.schedules[0].get_many(t) * inner.get_many(t)).tolist()


@pytest.mark.parametrize(
    ("schedule", "end"),
    [
        (Polynomial(0.1, 50, min_lr=0.003), 0.003),
        (Polynomial(0.1, 50), 0.0),
        (Linear(0.1, 1.0, 0.05, 50), 0.1 * 0.05),
        (CosineAnnealing(0.1, 50, 0.002, hold=True), 0.002),
        (OneCycle(0.1, 51), 0.1 / 25 / 1e4),
        (MultiStep(0.1, [20, 50], 0.5), 0.025),
        (StepDecay(0.1, 0.1, 10, per="update", min_lr=1e-5), 1e-5),
        (Exponential(0.1, 0.2, per="update", min_lr=1e-5), 1e-5),
        (InverseTime(0.1, 1.0, 3.0, min_lr=1e-5), 1e-5),
        (Product([Exponential(0.1, 0.2, per="update"), Linear(1.0)], min_lr=1e-5), 1e-5),
    ],
    ids=without_addresses,
)
def test_what_happens_at_the_end(schedule: Scheduler, end: float) -> None:
    assert schedule.get(49) > schedule.get(50) or schedule.get(50) == end
    assert schedule.get_many(np.array([50, 51, 1000, 10**9])).tolist() == pytest.approx([end] * 4, rel=1e-14)


# -- properties --------------------------------------------------------------------------------

POSITIVE = st.floats(1e-4, 10.0)
SPANS = st.integers(1, 300)
SHARES = st.floats(0.01, 1.0)
RATES = POSITIVE
SIZES = st.integers(1, 50)
TIMES = st.lists(st.integers(0, 10**7), min_size=1, max_size=20).map(lambda t: np.array(t, dtype=np.int64))

FALLING = st.one_of(
    st.builds(StepDecay, RATES, SHARES, SPANS, per=st.just("update")),
    st.builds(MultiStep, RATES, st.lists(SPANS, min_size=1, max_size=5).map(sorted), SHARES),
    st.builds(Exponential, RATES, st.floats(0, 0.1), per=st.just("update")),
    st.builds(InverseTime, RATES, POSITIVE, POSITIVE),
    st.builds(Linear, RATES, st.floats(0.5, 1.0), st.floats(0.0, 0.5), SPANS),
    st.builds(Polynomial, RATES, SPANS, POSITIVE),
    st.builds(CosineAnnealing, RATES, SPANS, hold=st.just(True)),
)
RISING_AND_FALLING = st.one_of(
    st.builds(InverseSqrt, RATES, SPANS),
    st.builds(CosineAnnealing, RATES, SPANS, st.floats(0.0, 1e-4)),
    st.builds(CosineAnnealingWarmRestarts, RATES, SPANS, st.integers(1, 4), st.floats(0, 1e-4), SHARES),
    st.builds(
        Cyclic,
        st.just(1e-4),
        RATES,
        SPANS,
        SPANS,
        st.sampled_from(["triangular", "triangular2", "exp_range"]),
        SHARES,
    ),
    st.builds(
        OneCycle,
        RATES,
        SPANS,
        st.floats(0.0, 0.5),
        st.sampled_from(["cos", "linear"]),
        three_phase=st.booleans(),
    ),
)
SIMPLE = st.one_of(FALLING, RISING_AND_FALLING)
ALL = st.one_of(
    SIMPLE,
    st.builds(Warmup, SIMPLE, SPANS, st.floats(0, 1)),
    st.builds(lambda a, b, n: Sequential([a, b], [n]), SIMPLE, SIMPLE, SPANS),
    st.builds(lambda a, b: Product([a, b], min_lr=1e-9), FALLING, st.builds(Cyclic, SHARES, RATES, SPANS)),
)


def per_epoch(schedule: Scheduler, size: int | None) -> Scheduler:
    """Return the schedule with all its times in epochs."""
    if isinstance(schedule, Warmup):
        return schedule.replace(schedule=per_epoch(schedule.schedule, size))
    if isinstance(schedule, Sequential | Product):
        return schedule.replace(schedules=[per_epoch(part, size) for part in schedule.schedules])
    return schedule.replace(per="epoch", epoch_size=size)


@given(schedule=ALL, times=TIMES, start=st.integers(0, 10**6))
def test_rates_depend_on_time_alone(schedule: Scheduler, times: NDArray[np.int64], start: int) -> None:
    """A table of rates has the same values wherever it starts, and each is `get`'s."""
    rates = schedule.get_many(times)
    np.testing.assert_allclose(rates, [schedule.get(t) for t in times.tolist()], rtol=1e-14, atol=1e-300)
    table = schedule.get_many(np.arange(start, start + 300))
    np.testing.assert_allclose(
        table[100:], schedule.get_many(np.arange(start + 100, start + 300)), rtol=1e-14, atol=1e-300
    )
    assert np.all(np.isfinite(table))
    assert np.all(table >= 0.0)


@given(schedule=ALL, times=TIMES, size=SIZES)
def test_epochs_of_a_stream_are_its_samples_divided(
    schedule: Scheduler, times: NDArray[np.int64], size: int
) -> None:
    by_epoch = per_epoch(schedule, size)
    assert (by_epoch.per, by_epoch.epoch_size) == ("epoch", size)
    np.testing.assert_allclose(
        by_epoch.get_many(times), schedule.get_many(times // size), rtol=1e-14, atol=1e-300
    )
    np.testing.assert_allclose(
        per_epoch(schedule, None).get_many(times), schedule.get_many(times), rtol=1e-14, atol=1e-300
    )


@given(schedule=FALLING, times=TIMES)
def test_decays_never_rise(schedule: Any, times: NDArray[np.int64]) -> None:
    rates = schedule.get_many(np.concatenate([np.arange(400), np.sort(times) + 400]))
    assert np.all(np.diff(rates) <= 1e-15 * rates[0])
    assert rates[0] <= schedule.learning_rate


@given(schedule=RISING_AND_FALLING, times=TIMES)
def test_rates_stay_between_the_lowest_and_the_highest(schedule: Any, times: NDArray[np.int64]) -> None:
    top = max(getattr(schedule, name, 0.0) for name in ("learning_rate", "max_lr", "base_lr", "eta_min"))
    low = min(getattr(schedule, "base_lr", 0.0), top)
    rates = schedule.get_many(np.concatenate([np.arange(700), times]))
    assert np.all(rates <= top * (1 + 1e-14))
    assert np.all(rates >= low * (1 - 1e-14))
    if isinstance(schedule, InverseSqrt | CosineAnnealing | CosineAnnealingWarmRestarts):
        assert np.max(rates) == pytest.approx(top, rel=1e-14)


@given(schedule=st.builds(InverseSqrt, RATES, SPANS))
def test_inverse_square_roots_rise_once(schedule: InverseSqrt) -> None:
    change = np.diff(schedule.get_many(np.arange(1000)))
    peak = int(schedule.warmup) - 1
    assert np.all(change[:peak] > 0)
    assert np.all(change[peak:] < 0)


# -- schedules that look at the losses ---------------------------------------------------------


def fed(schedule: Any, losses: NDArray[np.float64]) -> tuple[list[Any], list[float]]:
    """States after each window of losses, and the rate of each sample."""
    state, states, rates = schedule.start(), [], []
    for i in range(0, len(losses) - schedule.window + 1, schedule.window):
        stop = i + schedule.window
        rates += schedule.rates(state, np.arange(i, stop)).tolist()
        state = schedule.observe(state, losses[i:stop], stop)
        states.append(state)
    return states, rates


def test_a_fading_plateau_is_the_bias_corrected_mean() -> None:
    losses = np.random.default_rng(0).exponential(size=400)
    losses[205] = math.nan
    ours = ReduceLROnPlateau(0.1, patience=2, window=20, fading=0.07)
    average, n, best, bad, rate = 0.0, 0, math.inf, 0, 0.1
    for i, state in enumerate(fed(ours, losses)[0]):
        window = losses[20 * i : 20 * i + 20].tolist()
        value = math.nan
        if not any(map(math.isnan, window)):
            for loss in window:
                average, n = 0.93 * average + 0.07 * loss, n + 1
            value = average / (1 - 0.93**n)
        best, bad = (value, 0) if value < best * (1 - 1e-4) else (best, bad + 1)
        if bad > 2:
            rate, bad = rate * 0.1, 0
        assert state[:3] == pytest.approx((rate, best, bad), rel=1e-12)
    assert rate < 0.1


def test_a_reduction_never_goes_below_the_floor_but_a_schedule_may() -> None:
    schedule = Linear(1.0, 1.0, 0.001, 1000)
    ours = ReduceLROnPlateau(schedule, factor=0.5, patience=0, min_lr=0.3, eps=0.0, window=10)
    states, rates = fed(ours, np.ones(1000))
    first = [round(state[0], 3) for state in states[:4]]
    assert first[:3] == [1.0, 0.5, round(0.3 / schedule.get(30), 3)]
    assert first[3] == first[2]  # it is at the floor
    assert states[-1][0] == states[3][0]
    assert min(rates) < 0.01


@pytest.mark.parametrize(
    "schedule",
    [
        ReduceLROnPlateau(0.1, patience=1, window=25),
        ReduceLROnPlateau(Exponential(0.1, 0.01, epoch_size=9), patience=1, window=25, fading=0.1),
        RestartOnDrift(InverseScaling(0.5), drift.ADWIN(), every=25),
        RestartOnDrift(
            Exponential(0.1, 0.01, per="sample"), drift.PageHinkley(threshold=5), back=0.5, every=25
        ),
        RestartOnDrift(CosineAnnealing(0.1, 99), drift.KSWIN(seed=1), every=25, cooldown=100),
    ],
    ids=lambda schedule: without_addresses(schedule)[:60],
)
def test_states_are_values(schedule: Any) -> None:
    """Looking twice gives the same; states are pickled; the schedule itself never changes."""
    rng = np.random.default_rng(1)
    losses = np.concatenate([rng.exponential(0.1, 500), rng.exponential(1.0, 500)])
    before = pickle.dumps(schedule)
    states, rates = fed(schedule, losses)
    assert len({*np.diff(rates).round(12)}) > 1
    state = schedule.start()
    for i, expected in enumerate(states):
        window = losses[25 * i : 25 * i + 25]
        for _ in range(2):  # as if the first was interrupted
            after = schedule.observe(state, window, 25 * i + 25)
            assert after[:-1] == expected[:-1]
        state = pickle.loads(pickle.dumps(after))
    assert pickle.dumps(schedule) == before
    copied = pickle.loads(before)
    assert copied == schedule
    assert hash(copied) == hash(schedule)
    assert schedule != schedule.replace(**{"eps" if hasattr(schedule, "eps") else "cooldown": 7})
    t = np.arange(50)
    assert schedule.get_many(t).tolist() == schedule.rates(schedule.start(), t).tolist()
    assert schedule.get(7) == schedule.get_many(t)[7]


@pytest.mark.parametrize(
    "detector",
    [drift.ADWIN(), drift.ADWIN(clock=1), drift.PageHinkley(threshold=10), drift.KSWIN(1e-4, seed=3)],
    ids=lambda detector: repr(detector).split("\n")[1].strip(),
)
@pytest.mark.parametrize("every", [1, 16])
def test_restarts_are_where_rivers_detector_fires(detector: Any, every: int) -> None:
    rng = np.random.default_rng(2)
    losses = np.concatenate([rng.exponential(scale, 400) for scale in (0.5, 3.0, 0.5, 3.0)])
    schedule = RestartOnDrift(InverseScaling(0.5), detector, every=every, only_increases=False)
    watch, alarms = detector.clone(), []
    for i, loss in enumerate(losses.tolist()):
        watch.update(loss)
        if watch.drift_detected:
            alarms.append(-(-(i + 1) // every) * every)  # at the end of its window
    states, rates = fed(schedule, losses)
    restarts = [b[0] for a, b in zip([schedule.start(), *states], states, strict=False) if a[0] != b[0]]
    assert restarts == list(dict.fromkeys(alarms))
    assert len(restarts) >= 2
    starts = np.array([0, *restarts])
    t = np.arange(len(losses))
    since = t - starts[np.searchsorted(starts, t, side="right") - 1]
    assert rates == schedule.schedule.get_many(since).tolist()
    record("RestartOnDrift", f"river {type(detector).__name__}", river.__version__, 0.0)


def test_only_increases_are_drifts_unless_asked_otherwise() -> None:
    rng = np.random.default_rng(4)
    losses = np.concatenate([rng.exponential(scale, 600) for scale in (1.0, 3.0, 0.3, 2.0)])
    both = RestartOnDrift(InverseScaling(0.5), drift.ADWIN(), only_increases=False)
    ups = both.replace(only_increases=True)

    def restarts(schedule: Any) -> set[int]:
        return {600 * ((state[0] - 1) // 600) for state in fed(schedule, losses)[0] if state[0]}

    assert restarts(both) == {600, 1200, 1800}
    assert restarts(ups) == {600, 1800}


def test_how_far_back_and_how_soon_again() -> None:
    losses = np.concatenate([np.full(320, 0.0), np.full(320, 1.0), np.full(320, 5.0), np.full(320, 25.0)])
    losses += np.random.default_rng(5).normal(0, 0.1, len(losses))
    schedule = RestartOnDrift(Exponential(0.5, 0.01, per="sample"), drift.ADWIN(), every=1)
    offsets = [state[0] for state in fed(schedule, losses)[0]]
    first, second, third = sorted(set(offsets) - {0})
    half = [state[0] for state in fed(schedule.replace(back=0.5), losses)[0]]
    expected = [round(first / 2)]
    for alarm in (second, third):
        expected.append(expected[-1] + round((alarm - expected[-1]) / 2))
    assert sorted(set(half) - {0}) == expected
    slow = [state[0] for state in fed(schedule.replace(cooldown=third - first - 1), losses)[0]]
    assert sorted(set(slow) - {0}) == [first, third]
    slower = [state[0] for state in fed(schedule.replace(cooldown=third - first), losses)[0]]
    assert sorted(set(slower) - {0}) == [first]


def test_times_before_a_restart_and_losses_that_are_no_numbers() -> None:
    schedule = RestartOnDrift(InverseScaling(0.5), drift.ADWIN(), every=8)
    state = schedule.start()
    for k in range(50):
        state = schedule.observe(state, np.full(8, 0.1 if k < 40 else 9.0), 8 * k + 8)
    assert state[0] > 320
    early = schedule.rates(state, np.array([0, state[0], state[0] + 3]))  # a table may begin before
    assert early.tolist() == [0.5, 0.5, 0.25]
    after = schedule.observe(state, np.array([math.nan, math.inf] * 4), 408)
    assert after[:-1] == state[:-1]
    assert after[-1].width == state[-1].width


def test_no_schedule_is_left_out_here() -> None:
    tried = {type(s).__name__ for s in [*SCHEDULES, Function(0.1, halved)]}
    assert tried | {"ReduceLROnPlateau", "RestartOnDrift"} == set(schedulers.__all__)
    docs = Path(__file__).parents[1] / "docs"
    table, plots = (docs / "schedules.md").read_text(), (docs / "plot_schedules.py").read_text()
    for name in schedulers.__all__:
        assert f"`{name}(" in table
        assert f"s.{name}(" in plots


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
    ids=lambda value: without_addresses(value) if isinstance(value, Scheduler) else "",
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


@pytest.mark.parametrize("schedule", [*SCHEDULES[1:], Zigzag()], ids=without_addresses)
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
        (lambda: StepDecay(0.1, 0.5, 1, min_lr=-1.0), r"min_lr must be at least 0"),
        (
            lambda: MultiStep(0.1, [3, 2]),
            r"MultiStep\(milestones=\[3, 2\]\): milestones must be positive ints in",
        ),
        (lambda: MultiStep(0.1, [0, 2]), r"milestones must be positive ints in rising order"),
        (lambda: MultiStep(0.1, [1.5]), r"milestones must be positive ints in rising order"),
        (lambda: MultiStep(0.1, 3), r"milestones must be positive ints in rising order"),
        (lambda: MultiStep(0.1, [3], gamma=0.0), r"gamma must be positive"),
        (lambda: InverseTime(0.1, -1.0), r"k must be at least 0"),
        (lambda: InverseSqrt(0.1, 0.0), r"warmup must be at least 1"),
        (lambda: Linear(0.1, -1.0), r"start_factor must be at least 0"),
        (lambda: Linear(0.1, total_iters=0), r"total_iters must be positive"),
        (lambda: Polynomial(0.1, 0), r"total_iters must be positive"),
        (lambda: Polynomial(0.1, power=0), r"power must be positive"),
        (lambda: CosineAnnealing(0.1, 0), r"T_max must be positive"),
        (lambda: CosineAnnealingWarmRestarts(0.1, 0), r"T_0 must be positive"),
        (lambda: CosineAnnealingWarmRestarts(0.1, 1.5), r"T_0 must be a finite int"),
        (lambda: CosineAnnealingWarmRestarts(0.1, 1, 0), r"T_mult must be at least 1"),
        (lambda: CosineAnnealingWarmRestarts(0.1, 1, decay=1.1), r"decay must be in \(0, 1\]"),
        (lambda: Cyclic(0.1, 1.0, mode="square"), r"mode must be 'triangular', 'triangular2' or 'exp_range'"),
        (lambda: Cyclic(0.1, 1.0, 5, 0), r"step_size_down must be positive, or None"),
        (lambda: OneCycle(0.1, 0), r"total_steps must be positive"),
        (lambda: OneCycle(0.1, 9, 0.6, three_phase=True), r"pct_start must be in \[0, 0.5\]"),
        (lambda: OneCycle(0.1, 9, 1.1), r"pct_start must be in \[0, 1\]"),
        (lambda: OneCycle(0.1, 9, anneal_strategy="sin"), r"anneal_strategy must be 'cos' or 'linear'"),
        (lambda: Function(0.1, 3.0), r"Function\(function=3.0\): function must be a function of the time"),
        (lambda: Warmup(Constant(0.1), 0), r"Warmup\(steps=0\): steps must be positive"),
        (lambda: Sequential([Constant(0.1)], []), r"schedules must be a sequence of two or more schedules"),
        (lambda: Sequential([0.1, 0.2], [3, 4]), r"milestones must be one for each schedule but the first"),
        (lambda: Sequential([0.1, 0.2, 0.3], [3, 3]), r"milestones must be one .* all different"),
        (
            lambda: Sequential([Linear(0.1), Exponential(0.1, 1.0)], [3]),
            r"Sequential: Linear\(.* and Exponential\(.* do not count the same time; give them the same per",
        ),
        (lambda: Product([Polynomial(0.1, min_lr=0.1), Linear(1.0)]), r"Product: Polynomial\(.*has a floor"),
        (
            lambda: Product([Warmup(CosineAnnealing(0.1, 9, 0.1), 3), Linear(1.0)]),
            r"Product: Warmup\(.*has a floor, which the other factors would pull down",
        ),
        (
            lambda: Warmup(ReduceLROnPlateau(0.1), 3),
            r"Warmup: ReduceLROnPlateau depends on losses and cannot be a part; put the Warmup into it",
        ),
        (
            lambda: RestartOnDrift(ReduceLROnPlateau(0.1), drift.ADWIN()),
            r"RestartOnDrift\(schedule=...\): ReduceLROnPlateau itself depends on losses",
        ),
        (lambda: ReduceLROnPlateau(0.1, factor=1.0), r"factor must be in \(0, 1\)"),
        (lambda: ReduceLROnPlateau(0.1, mode="least"), r"mode must be 'min' or 'max'"),
        (lambda: ReduceLROnPlateau(0.1, fading=0.0), r"fading must be in \(0, 1\], or None"),
        (lambda: ReduceLROnPlateau(0.1, window=0), r"window must be positive"),
        (lambda: RestartOnDrift(0.1, drift.ADWIN), r"detector must be a detector of changes of a number"),
        (
            lambda: RestartOnDrift(0.1, drift.binary.DDM()),
            r"detector must be a detector of changes of a number",
        ),
        (lambda: RestartOnDrift(0.1, drift.ADWIN(), back=0.0), r"back must be in \(0, 1\]"),
        (lambda: RestartOnDrift(0.1, drift.ADWIN(), every=0), r"every must be positive"),
    ],
)
def test_hyper_parameters_out_of_range(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_schedules_that_are_no_schedules() -> None:
    with pytest.raises(TypeError, match=r"Sequential\(schedules\[1\]\): 'fast' is neither a number nor an"):
        Sequential([0.1, "fast"], [3])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"Warmup\(schedule=...\): None is neither"):
        Warmup(None, 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"MultiStep\(gamma=None\): gamma must be a number"):
        MultiStep(0.1, [3], None)  # type: ignore[arg-type]


def test_functions_are_pickled_where_they_are_defined_in_a_module() -> None:
    schedule = Function(0.1, halved, per="sample")
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(Function(0.1, lambda t: 1.0))


def test_many_times_of_a_users_schedule_are_an_array() -> None:
    times: NDArray[np.int64] = np.arange(4)
    assert Zigzag(1.0).get_many(times).tolist() == [0.5, 1.0, 0.5, 1.0]
