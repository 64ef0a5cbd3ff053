"""Schedules against PyTorch's, 10,000 steps each, and where PyTorch is wrong, against exact arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles import record
from samples import without_addresses

from streamgd.optim.base import Scheduler
from streamgd.optim.schedulers import (
    Constant,
    CosineAnnealing,
    CosineAnnealingWarmRestarts,
    Cyclic,
    Exponential,
    Function,
    Linear,
    MultiStep,
    OneCycle,
    Polynomial,
    Product,
    ReduceLROnPlateau,
    Sequential,
    StepDecay,
    Warmup,
)

torch = pytest.importorskip("torch", reason="the reference: pip install torch")
lr_scheduler = torch.optim.lr_scheduler

STEPS = 10_000
TIMES = np.arange(STEPS)
BASE = 0.1


def optimizer(lr: float = BASE) -> Any:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def rate_of(sgd: Any) -> float:
    return float(sgd.param_groups[0]["lr"])


def stepped(make: Callable[[Any], Any], steps: int = STEPS) -> NDArray[np.float64]:
    """Rates of PyTorch's class, one ``step()`` after the other."""
    sgd = optimizer()
    schedule, rates = make(sgd), []
    for _ in range(steps):
        rates.append(rate_of(sgd))
        sgd.step()
        schedule.step()
    return np.array(rates)


def closed(make: Callable[[Any], Any]) -> NDArray[np.float64]:
    """Rates of PyTorch's own closed form, which has no sum of rounding errors."""
    schedule, rates = make(optimizer()), []
    for t in range(STEPS):
        schedule.last_epoch = t
        rates.append(schedule._get_closed_form_lr()[0])
    return np.array(rates)


def by_gamma(lr: float, gamma: float) -> Exponential:
    return Exponential(lr, -math.log(gamma), per="update")


class Pair(NamedTuple):
    """Our schedule, PyTorch's, and where its rates come from.

    ``1 + cos`` and ``1 - q`` have the absolute error of numbers around 1, so that PyTorch's small rates have
    few digits. Differences are relative to the rate itself, or where ``to_peak``, to the largest rate;
    ``test_small_rates_have_all_their_digits`` has ours to the last digit.
    """

    ours: Scheduler
    make: Callable[[Any], Any]
    source: Callable[[Callable[[Any], Any]], NDArray[np.float64]] = stepped
    to_peak: bool = False

    def __str__(self) -> str:
        return f"{self.make(optimizer()).__class__.__name__}-{self.ours!r}"[:100]


def one_cycle(total: int, pct: float, strategy: str, three_phase: bool, **more: float) -> Pair:
    return Pair(
        OneCycle(0.5, total, pct, strategy, three_phase=three_phase, **more),  # type: ignore[arg-type]
        lambda o: lr_scheduler.OneCycleLR(
            o,
            0.5,
            total,
            pct_start=pct,
            anneal_strategy=strategy,
            three_phase=three_phase,
            cycle_momentum=False,
            **more,
        ),
        to_peak=True,
    )


def cyclic(*args: Any) -> Pair:
    return Pair(
        Cyclic(0.001, 0.1, *args),
        lambda o: lr_scheduler.CyclicLR(o, 0.001, 0.1, *args, cycle_momentum=False),
    )


PAIRS = [
    Pair(Constant(BASE), lambda o: lr_scheduler.ConstantLR(o, 1.0)),
    Pair(StepDecay(BASE, 0.1, 1000, per="update"), lambda o: lr_scheduler.StepLR(o, 1000), closed),
    Pair(StepDecay(BASE, 0.5, 300, per="update"), lambda o: lr_scheduler.StepLR(o, 300, 0.5), closed),
    Pair(StepDecay(BASE, 0.97, 7, per="update"), lambda o: lr_scheduler.StepLR(o, 7, 0.97), closed),
    Pair(MultiStep(BASE, [3000]), lambda o: lr_scheduler.MultiStepLR(o, [3000]), closed),
    Pair(
        MultiStep(BASE, [30, 80, 80, 9000], 0.3),
        lambda o: lr_scheduler.MultiStepLR(o, [30, 80, 80, 9000], 0.3),
        closed,
    ),
    Pair(MultiStep(BASE / 3, [5], gamma=3.0), lambda o: lr_scheduler.ConstantLR(o)),
    Pair(MultiStep(0.02, [700], gamma=5.0), lambda o: lr_scheduler.ConstantLR(o, 0.2, 700), closed),
    Pair(by_gamma(BASE, 0.999), lambda o: lr_scheduler.ExponentialLR(o, 0.999), closed),
    Pair(by_gamma(BASE, 0.95), lambda o: lr_scheduler.ExponentialLR(o, 0.95), closed),
    Pair(by_gamma(BASE, 0.999), lambda o: lr_scheduler.ExponentialLR(o, 0.999)),
    Pair(by_gamma(BASE, 0.999), lambda o: lr_scheduler.MultiplicativeLR(o, lambda t: 0.999)),
    Pair(Linear(BASE), lambda o: lr_scheduler.LinearLR(o), closed),
    Pair(Linear(BASE, 1.0, 0.01, 9000), lambda o: lr_scheduler.LinearLR(o, 1.0, 0.01, 9000), closed),
    Pair(Linear(BASE, 0.2, 0.9, 12_000), lambda o: lr_scheduler.LinearLR(o, 0.2, 0.9, 12_000), closed),
    Pair(Linear(BASE, 1.0, 0.01, 9000), lambda o: lr_scheduler.LinearLR(o, 1.0, 0.01, 9000)),
    Pair(Polynomial(BASE), lambda o: lr_scheduler.PolynomialLR(o), closed),
    Pair(Polynomial(BASE, 6000, 2.0), lambda o: lr_scheduler.PolynomialLR(o, 6000, 2.0), closed),
    Pair(Polynomial(BASE, 12_000, 0.5), lambda o: lr_scheduler.PolynomialLR(o, 12_000, 0.5), closed),
    Pair(CosineAnnealing(BASE, 50), lambda o: lr_scheduler.CosineAnnealingLR(o, 50), closed, True),
    Pair(CosineAnnealing(BASE, 3000), lambda o: lr_scheduler.CosineAnnealingLR(o, 3000), closed, True),
    Pair(
        CosineAnnealing(BASE, 9999, 0.001),
        lambda o: lr_scheduler.CosineAnnealingLR(o, 9999, 0.001),
        closed,
    ),
    Pair(
        CosineAnnealingWarmRestarts(BASE, 10),
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 10),
    ),
    Pair(
        CosineAnnealingWarmRestarts(BASE, 7, 2, 0.001),
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 7, 2, 0.001),
    ),
    Pair(
        CosineAnnealingWarmRestarts(BASE, 1, 3),
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 1, 3),
        to_peak=True,
    ),
    cyclic(),
    cyclic(16, 48),
    cyclic(30, 70),
    cyclic(500, 300, "triangular2"),
    cyclic(500, None, "exp_range", 0.9995),
    one_cycle(10_000, 0.3, "cos", False),
    one_cycle(12_345, 0.4, "cos", False),
    one_cycle(10_001, 0.05, "cos", True),
    one_cycle(12_345, 0.3, "cos", True, div_factor=10.0, final_div_factor=100.0),
    one_cycle(10_000, 0.3, "linear", False),
    one_cycle(10_001, 0.05, "linear", True),
    one_cycle(12_345, 0.0, "linear", False),
    one_cycle(10_001, 1.0, "cos", False),
    Pair(
        Function(BASE, lambda t: 1 / (1 + t // 100)),
        lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 / (1 + t // 100)),
    ),
    Pair(
        Sequential([Constant(0.05), Constant(BASE)], [700]),
        lambda o: lr_scheduler.ConstantLR(o, 0.5, 700),
    ),
    Pair(
        Sequential(
            [Linear(BASE, 0.1, 1.0, 100), by_gamma(BASE, 0.999), CosineAnnealing(BASE, 300, 0.001)],
            [100, 4000],
        ),
        lambda o: lr_scheduler.SequentialLR(
            o,
            [
                lr_scheduler.LinearLR(o, 0.1, 1.0, 100),
                lr_scheduler.ExponentialLR(o, 0.999),
                lr_scheduler.CosineAnnealingLR(o, 300, 0.001),
            ],
            [100, 4000],
        ),
    ),
    Pair(
        Warmup(CosineAnnealingWarmRestarts(BASE, 50, 2), 100, 0.1),
        lambda o: lr_scheduler.SequentialLR(
            o,
            [
                lr_scheduler.LinearLR(o, 0.1, 1.0, 100),
                lr_scheduler.CosineAnnealingWarmRestarts(o, 50, 2),
            ],
            [100],
        ),
        to_peak=True,
    ),
    Pair(
        Product(
            [MultiStep(0.01, [20], 10.0), by_gamma(1.0, 0.9995), StepDecay(1.0, 0.5, 3000, per="update")]
        ),
        lambda o: lr_scheduler.ChainedScheduler(
            [
                lr_scheduler.ConstantLR(o, 0.1, 20),
                lr_scheduler.ExponentialLR(o, 0.9995),
                lr_scheduler.StepLR(o, 3000, 0.5),
            ],
            o,
        ),
    ),
]


@pytest.mark.parametrize("pair", PAIRS, ids=without_addresses)
def test_rates_are_those_of_pytorch(pair: Pair) -> None:
    ours, theirs = pair.ours.get_many(TIMES), pair.source(pair.make)
    scale = np.full(STEPS, theirs.max()) if pair.to_peak else theirs
    assert not np.any(ours[scale == 0.0])  # a schedule that has come to its end
    difference = float(np.max(np.abs(ours - theirs)[scale > 0] / scale[scale > 0]))
    oracle = f"torch {pair.make(optimizer()).__class__.__name__}"
    record(f"schedulers.{type(pair.ours).__name__}", oracle, torch.__version__, difference)
    assert difference <= 1e-12


def test_every_schedule_of_pytorch_is_compared() -> None:
    theirs = {
        name
        for name, cls in vars(lr_scheduler).items()
        if isinstance(cls, type) and issubclass(cls, lr_scheduler.LRScheduler) and not name.startswith("_")
    }
    compared = {pair.make(optimizer()).__class__.__name__ for pair in PAIRS}
    assert theirs - compared == {"LRScheduler", "ReduceLROnPlateau"}  # the base, and the one below


# -- where PyTorch is wrong --------------------------------------------------------------------


def half_cosine(left: Fraction) -> float:
    """``(1 - cos(pi * left)) / 2`` in 50 digits."""
    mpmath = pytest.importorskip("mpmath", reason="50 digits: pip install mpmath")
    with mpmath.workdps(50):
        return float((1 - mpmath.cos(mpmath.pi * left.numerator / left.denominator)) / 2)


@pytest.mark.parametrize(
    ("ours", "left", "make"),
    [
        (
            CosineAnnealing(BASE, 3000),
            lambda t: Fraction(abs(3000 - t % 6000), 3000),
            lambda o: lr_scheduler.CosineAnnealingLR(o, 3000),
        ),
        (
            CosineAnnealing(BASE, 50),
            lambda t: Fraction(abs(50 - t % 100), 50),
            lambda o: lr_scheduler.CosineAnnealingLR(o, 50),
        ),
    ],
    ids=["T_max=3000", "T_max=50"],
)
def test_small_rates_have_all_their_digits(
    ours: Scheduler, left: Callable[[int], Fraction], make: Callable[[Any], Any]
) -> None:
    times = np.arange(0, STEPS, 7)
    exact = BASE * np.array([half_cosine(left(int(t))) for t in times])
    rates, theirs = ours.get_many(times), closed(make)[times]
    assert np.all(rates[exact == 0] == 0)
    error, of_theirs = (np.max(np.abs(r[exact > 0] / exact[exact > 0] - 1.0)) for r in (rates, theirs))
    assert error < 3e-15
    assert of_theirs > 100 * error


def test_cycles_do_not_lose_digits_with_their_number() -> None:
    def exact(t: int) -> float:
        tau = Fraction(t % 100)
        height = min(tau / 30, (100 - tau) / 70)
        return float(Fraction(0.001) + (Fraction(0.1) - Fraction(0.001)) * height)

    expected = np.array([exact(t) for t in range(STEPS)])
    theirs = stepped(lambda o: lr_scheduler.CyclicLR(o, 0.001, 0.1, 30, 70, cycle_momentum=False))
    error = np.max(np.abs(Cyclic(0.001, 0.1, 30, 70).get_many(TIMES) / expected - 1.0))
    assert error < 1e-15
    assert np.max(np.abs(theirs / expected - 1.0)) > 100 * error


def test_pytorch_misses_warm_restarts_where_we_do_not() -> None:
    ours = CosineAnnealingWarmRestarts(BASE, T_0=1, T_mult=3)
    sgd = optimizer()
    theirs = lr_scheduler.CosineAnnealingWarmRestarts(sgd, 1, 3)
    theirs.step(121)  # 1 + 3 + 9 + 27 + 81: a logarithm says that the fifth cycle has not begun
    assert rate_of(sgd) < 1e-15
    assert ours.get(121) == BASE
    starts = np.cumsum([3**i for i in range(39)])  # to 2e18
    assert np.all(ours.get_many(starts) == BASE)
    assert np.all(ours.get_many(starts[10:30] - 1) < 1e-6)


@pytest.mark.parametrize(("strategy", "beyond"), [("cos", 1e-4), ("linear", -0.01)])
def test_one_cycle_holds_where_pytorch_runs_past_its_end(strategy: Any, beyond: float) -> None:
    ours = OneCycle(0.5, 50, anneal_strategy=strategy)
    last = 0.5 / 25 / 1e4
    assert ours.get(49) == pytest.approx(last, rel=1e-12)
    assert {ours.get(t) for t in (50, 51, 10**9)} == {ours.get(49)}
    theirs = stepped(
        lambda o: lr_scheduler.OneCycleLR(o, 0.5, 50, anneal_strategy=strategy, cycle_momentum=False), 50
    )
    np.testing.assert_allclose(ours.get_many(np.arange(50)), theirs, rtol=1e-12, atol=1e-14)
    sgd = optimizer()
    schedule = lr_scheduler.OneCycleLR(sgd, 0.5, 50, anneal_strategy=strategy, cycle_momentum=False)
    for _ in range(50):
        sgd.step()
        schedule.step()
    assert rate_of(sgd) > beyond if beyond > 0 else rate_of(sgd) < beyond


def test_chains_that_are_no_products() -> None:
    """PyTorch's chain depends on the order if a cosine has a floor; functions overwrite what ran before."""

    def chain(*makes: Callable[[Any], Any]) -> NDArray[np.float64]:
        return stepped(lambda o: lr_scheduler.ChainedScheduler([make(o) for make in makes], o), 30)

    def cosine(o: Any) -> Any:
        return lr_scheduler.CosineAnnealingLR(o, 30, 0.01)

    def decay(o: Any) -> Any:
        return lr_scheduler.ExponentialLR(o, 0.9)

    def function(o: Any) -> Any:
        return lr_scheduler.LambdaLR(o, lambda t: 1 / (1 + t))

    assert np.max(np.abs(chain(cosine, decay) - chain(decay, cosine))) > 1e-4
    with pytest.raises(ValueError, match=r"CosineAnnealing\(.*has a floor.*give min_lr to the Product"):
        Product([CosineAnnealing(BASE, 30, 0.01), by_gamma(1.0, 0.9)])
    np.testing.assert_array_equal(chain(decay, function), stepped(function, 30))
    ours = Product([by_gamma(BASE, 0.9), Function(1.0, lambda t: 1 / (1 + t))])
    t = np.arange(30)
    np.testing.assert_allclose(ours.get_many(t), BASE * 0.9**t / (1 + t), rtol=1e-14)


def test_recursions_of_pytorch_drift_from_its_closed_forms() -> None:
    """Why parity is with closed forms: the recursion of the cosine is 40,000 roundings later."""

    def make(o: Any) -> Any:
        return lr_scheduler.CosineAnnealingLR(o, 3000, 0.001)

    ours, form, recursion = CosineAnnealing(BASE, 3000, 0.001).get_many(TIMES), closed(make), stepped(make)
    assert np.max(np.abs(ours / form - 1)) < 5e-14 < np.max(np.abs(recursion / form - 1))


# -- ReduceLROnPlateau -------------------------------------------------------------------------


def test_plateaus_of_400_random_configurations_are_those_of_pytorch() -> None:
    rng = np.random.default_rng(0)
    reductions = kept = 0
    for _ in range(400):
        mode, threshold_mode = rng.choice(["min", "max"]).item(), rng.choice(["rel", "abs"]).item()
        window = int(rng.integers(1, 5))
        lr = float(rng.choice([0.1, 1.0, 1e-7]))
        options: dict[str, Any] = {
            "mode": mode,
            "factor": float(rng.uniform(0.05, 0.95)),
            "patience": int(rng.integers(0, 6)),
            "threshold": float(rng.choice([0.0, 1e-4, 0.01, 0.3])),
            "threshold_mode": threshold_mode,
            "cooldown": int(rng.integers(0, 5)),
            "min_lr": float(rng.choice([0.0, 1e-3, 0.05, 0.5])),
            "eps": float(rng.choice([0.0, 1e-8, 1e-3])),
        }
        sgd = optimizer(lr)
        theirs = lr_scheduler.ReduceLROnPlateau(sgd, **options)
        ours = ReduceLROnPlateau(lr, **options, window=window)
        state = ours.start()
        losses = rng.normal(rng.choice([-1.0, 0.0, 1.0]), 0.3, size=(80, window))
        losses *= np.exp(-rng.uniform(0, 0.1) * np.arange(80))[:, None]
        losses[rng.random(80) < rng.choice([0.0, 0.1])] = rng.choice([math.nan, math.inf, -math.inf])
        for step, part in enumerate(losses):
            before = rate_of(sgd)
            theirs.step(float(np.mean(part)))
            state = ours.observe(state, part, (step + 1) * window)
            now = ours.rates(state, np.array([0, (step + 1) * window, 10**9]))
            assert now.tolist() == [rate_of(sgd)] * 3
            assert state[2:4] == (theirs.num_bad_epochs, theirs.cooldown_counter)
            reductions, kept = reductions + (rate_of(sgd) < before), kept + (rate_of(sgd) == before)
    assert min(reductions, kept) > 1000
    record("ReduceLROnPlateau", "torch ReduceLROnPlateau", torch.__version__, 0.0)


def test_a_plateau_of_a_schedule_is_its_factor() -> None:
    schedule = Sequential([Linear(1.0, 0.1, 1.0, 50), by_gamma(1.0, 0.999)], [50])
    ours = ReduceLROnPlateau(schedule, factor=0.3, patience=2, eps=0.0, window=10)
    sgd = optimizer(1.0)
    theirs = lr_scheduler.ReduceLROnPlateau(sgd, factor=0.3, patience=2, eps=0.0)
    state = ours.start()
    for step, loss in enumerate(np.random.default_rng(1).normal(1.0, 0.1, size=40).tolist()):
        t = 10 * step + np.arange(10)
        np.testing.assert_allclose(
            ours.rates(state, t), rate_of(sgd) * schedule.get_many(t), rtol=1e-14, atol=0
        )
        theirs.step(loss)
        state = ours.observe(state, np.full(10, loss), 10 * step + 10)
    assert rate_of(sgd) < 0.01
