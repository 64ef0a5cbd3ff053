"""Losses: gradients are derivatives, large outputs are safe, and others' losses give the same numbers."""

from __future__ import annotations

import math
from typing import Any

import naive
import numpy as np
import pytest
import river.optim.losses
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numba import njit
from numba.core.registry import CPUDispatcher

from streamgd._jit import OPTIONS, jitable
from streamgd.optim import losses
from streamgd.optim.base import Loss


def final(cls: type) -> set[type]:
    """The library's own subclasses that have none themselves (tests define losses of their own)."""
    below = {k for k in cls.__subclasses__() if k.__module__.startswith("streamgd.")}
    return {cls} if not below else set().union(*map(final, below))


VARIANTS: dict[type, list[dict[str, float]]] = {
    losses.Log: [{}, {"weight_pos": 3.0, "weight_neg": 0.5}],
    losses.Hinge: [{}, {"threshold": 0.0}],
    losses.Huber: [{}, {"epsilon": 1.5}],
}
CASES = [
    (cls, fields)
    for cls in sorted(final(Loss), key=lambda cls: cls.__name__)
    for fields in VARIANTS.get(cls, [{}])
]
IDS = [f"{cls.__name__}-{'-'.join(map(str, fields.values())) or 'default'}" for cls, fields in CASES]
every_loss = pytest.mark.parametrize(("cls", "fields"), CASES, ids=IDS)

output = st.floats(-20.0, 20.0)
unit = st.floats(0.0, 1.0)


def target(cls: type[Loss], share: float) -> float:
    """A label, or a number in [-3, 3]."""
    return float(share > 0.5) if cls.binary else 6.0 * share - 3.0


def targets(cls: type[Loss]) -> list[float]:
    return [0.0, 1.0] if cls.binary else [-3.0, 0.0, 0.7, 2.0]


@every_loss
@settings(max_examples=100, deadline=None)
@given(p=output, share=unit)
def test_gradient_is_the_derivative_of_the_value(cls: Any, fields: Any, p: float, share: float) -> None:
    loss, y, step = cls(**fields), target(cls, share), 1e-6
    above, below = loss.gradient(y, p + step), loss.gradient(y, p - step)
    assume(abs(above - below) < 1e-3)  # no kink in between
    slope = (loss.value(y, p + step) - loss.value(y, p - step)) / (2 * step)
    assert loss.gradient(y, p) == pytest.approx(slope, rel=1e-6, abs=1e-7 * (1 + loss.value(y, p)))


@every_loss
@settings(max_examples=100, deadline=None)
@given(p=output, q=output, share=unit)
def test_gradient_rises(cls: Any, fields: Any, p: float, q: float, share: float) -> None:
    """All of them are convex so far."""
    loss, y = cls(**fields), target(cls, share)
    p, q = min(p, q), max(p, q)
    assert loss.gradient(y, p) <= loss.gradient(y, q)


@every_loss
def test_values_at_points_far_out_are_finite(cls: Any, fields: Any) -> None:
    loss = cls(**fields)
    for y in targets(cls):
        for p in (-1e6, -1e3, -745.0, 709.8, 1e3, 1e6):
            numbers = [loss.value(y, p), loss.gradient(y, p), loss.mean(p)]
            for ppu in (0.0, 1e-300, 1e-12, 1.0, 1e12):
                numbers += [loss.update(p, y, eta_h, ppu) for eta_h in (0.0, 1e-12, 1.0, 1e9)]
            assert all(map(math.isfinite, numbers)), (y, p, numbers)
    assert np.isfinite(loss.mean_func(np.array([-1e6, -1e3, 0.0, 1e3, 1e6]))).all()


@every_loss
def test_losses_equal_the_formula(cls: Any, fields: Any) -> None:
    loss, plain = cls(**fields), getattr(naive, cls.__name__)(**fields)
    for y in targets(cls):
        for p in [*np.linspace(-40.0, 40.0, 161).tolist(), y, 1.0, -1.0, 1.5, y + 0.1, y - 0.1]:
            assert loss.value(y, p) == pytest.approx(plain.value(y, p), rel=1e-14, abs=0)
            assert loss(y, p) == loss.value(y, p)
            assert loss.gradient(y, p) == pytest.approx(plain.gradient(y, p), rel=1e-14, abs=0)


# -- river -------------------------------------------------------------------------------------


@every_loss
def test_losses_equal_those_of_river(cls: Any, fields: Any) -> None:
    loss, theirs = cls(**fields), getattr(river.optim.losses, cls.__name__)(**fields)
    for y in targets(cls):
        for p in [*np.linspace(-17.9, 17.9, 101).tolist(), y, 1.0, -1.0]:
            # river's log(1 + exp(-z)) is right to 1e-16 in absolute terms only
            assert loss.value(y, p) == pytest.approx(float(theirs(y, p)), rel=1e-12, abs=1e-15)
            assert loss.gradient(y, p) == pytest.approx(float(theirs.gradient(y, p)), rel=1e-12, abs=1e-15)


def test_log_loss_is_more_exact_than_rivers_where_river_approximates() -> None:
    """Beyond 18 river uses exp(-z) and -z, which is off by 1.5e-8; the tail's own size is the reference."""
    loss, theirs = losses.Log(), river.optim.losses.Log()
    differences = []
    for p in np.linspace(18.01, 30.0, 50).tolist():
        for y in (0.0, 1.0):
            assert loss.value(y, p) == pytest.approx(theirs(y, p), rel=2e-8)
            assert loss.gradient(y, p) == pytest.approx(theirs.gradient(y, p), rel=2e-8)
            differences.append(abs(loss.gradient(y, p) / theirs.gradient(y, p) - 1))
    assert max(differences) > 1e-9  # or this test and its note in the docstring can go


@every_loss
def test_mean_function_of_floats_and_arrays_is_that_of_river(cls: Any, fields: Any) -> None:
    loss, theirs = cls(**fields), getattr(river.optim.losses, cls.__name__)(**fields)
    z = np.array([[-700.0, -31.0, -30.0, -2.5, -1e-9], [0.0, 0.1, 3.0, 29.0, 800.0]])
    ours = loss.mean_func(z)
    assert ours.shape == z.shape
    assert ours.dtype == np.float64
    for p, mean in zip(z.ravel().tolist(), ours.ravel().tolist(), strict=True):
        assert mean == pytest.approx(loss.mean_func(p), rel=1e-15)
        # river's scalar sigmoid jumps to 0 and 1 beyond 30: 1e-13 there
        assert mean == pytest.approx(theirs.mean_func(p), abs=1e-13)
    assert isinstance(loss.mean_func(np.float64(0.5)), float)


# -- scikit-learn ------------------------------------------------------------------------------


def test_losses_equal_those_of_scikit_learn() -> None:
    sklearn_loss = pytest.importorskip("sklearn._loss.loss", reason="scikit-learn is the reference")
    sgd = pytest.importorskip("sklearn.linear_model._sgd_fast", reason="scikit-learn is the reference")
    p = np.linspace(-30.0, 30.0, 121)
    for y in (0.0, 1.0):
        ys = np.full_like(p, y)
        pairs: list[tuple[Loss, Any, float]] = [
            (losses.Log(), sklearn_loss.HalfBinomialLoss(), 1.0),
            (losses.Squared(), sklearn_loss.HalfSquaredError(), 2.0),  # theirs is halved
            (losses.Huber(0.5), sklearn_loss.HuberLoss(quantile=0.5, delta=0.5), 1.0),
        ]
        for ours, theirs, factor in pairs:
            value, gradient = theirs.loss(ys, p), theirs.gradient(ys, p)
            # their log loss is a difference, right to 1e-14 in absolute terms
            np.testing.assert_allclose(
                [ours.value(y, z) for z in p.tolist()], factor * value, rtol=1e-13, atol=2e-14
            )
            np.testing.assert_allclose(
                [ours.gradient(y, z) for z in p.tolist()], factor * gradient, rtol=1e-13, atol=1e-16
            )
        for threshold in (0.0, 1.0):
            hinge, theirs = losses.Hinge(threshold), sgd.Hinge(threshold)
            for z in p.tolist():
                assert hinge.value(y, z) == theirs.py_loss(z, 2 * y - 1)
                assert hinge.gradient(y, z) == theirs.py_dloss(z, 2 * y - 1)


# -- importance-aware updates ------------------------------------------------------------------

aware = pytest.mark.parametrize(
    ("cls", "fields"),
    [case for case in CASES if case[0].overrides("update")],
    ids=[i for i, case in zip(IDS, CASES, strict=True) if case[0].overrides("update")],
)
size = st.floats(-3.0, 3.0).map(lambda e: 10.0**e)


@aware
@settings(max_examples=100, deadline=None)
@given(p=output, share=unit, eta_h=size, ppu=size)
def test_twice_the_weight_is_two_updates(
    cls: Any, fields: Any, p: float, share: float, eta_h: float, ppu: float
) -> None:
    loss, y = cls(**fields), target(cls, share)
    once = loss.update(p, y, eta_h, ppu)
    twice = once + loss.update(p + once * ppu, y, eta_h, ppu)
    # 1e-6: where the step is small, Log's is that of the plain gradient
    assert loss.update(p, y, 2 * eta_h, ppu) == pytest.approx(twice, rel=1e-6, abs=1e-14 * (1 + abs(p)) / ppu)


@aware
@settings(max_examples=60, deadline=None)
@given(p=output, share=unit, eta_h=size, ppu=size)
def test_update_is_the_closed_form(
    cls: Any, fields: Any, p: float, share: float, eta_h: float, ppu: float
) -> None:
    loss, y = cls(**fields), target(cls, share)
    exact = getattr(naive, cls.__name__)(**fields).update(p, y, eta_h, ppu)
    assert loss.update(p, y, eta_h, ppu) == pytest.approx(exact, rel=1e-6, abs=1e-14 * (1 + abs(p)) / ppu)


def follow(loss: Loss, p: float, y: float, eta_h: float, ppu: float, steps: int = 2000) -> float:
    """Integrate dp/dtau = -ppu gradient(y, p) from 0 to eta_h by Runge-Kutta's method of order 4."""
    d = eta_h / steps

    def slope(q: float) -> float:
        return -ppu * loss.gradient(y, q)

    for _ in range(steps):
        a = slope(p)
        b = slope(p + d * a / 2)
        c = slope(p + d * b / 2)
        e = slope(p + d * c)
        p += d * (a + 2 * b + 2 * c + e) / 6
    return p


@aware
@pytest.mark.parametrize(("eta_h", "ppu"), [(0.5, 0.2), (2.0, 1.5), (30.0, 0.4)])
def test_update_follows_the_differential_equation(cls: Any, fields: Any, eta_h: float, ppu: float) -> None:
    loss = cls(**fields)
    for y in targets(cls):
        for p in (-5.0, -0.3, 0.0, 0.9, 4.0):
            end = p + ppu * loss.update(p, y, eta_h, ppu)
            # Runge-Kutta stops a step around a kink, and is good to 1e-9 elsewhere
            tolerance = eta_h * ppu / 2000 if cls is losses.Hinge else 1e-9
            steps = 20_000 if cls is losses.Huber else 2000  # of order 2 only where its gradient bends
            assert end == pytest.approx(follow(loss, p, y, eta_h, ppu, steps), abs=2 * tolerance)


@every_loss
def test_a_small_update_is_the_plain_step(cls: Any, fields: Any) -> None:
    loss = cls(**fields)
    for y in targets(cls):
        plain = -1e-9 * loss.gradient(y, 0.3)  # also the update of a loss that has no closed form
        assert loss.update(0.3, y, 1e-9, 1e-9) == pytest.approx(plain, rel=1e-6)


# -- compiled ----------------------------------------------------------------------------------


def no_update(self: Any, p: float, y: float, eta_h: float, ppu: float) -> float:
    return 0.0


def compiled(cls: type[Loss]) -> CPUDispatcher:
    """All rules of a loss in one function ``(hp, p, y, eta_h, ppu) -> rules (4,)``, as kernels build them."""
    make = cls.struct
    value, gradient, mean = jitable(cls.value), jitable(cls.gradient), jitable(cls.mean)
    update = jitable(cls.update if cls.overrides("update") else no_update)

    def rules(hp, p, y, eta_h, ppu):  # type: ignore[no-untyped-def]
        loss = make(*hp)
        return value(loss, y, p), gradient(loss, y, p), mean(loss, p), update(loss, p, y, eta_h, ppu)

    return njit(rules, **OPTIONS)


@pytest.mark.parametrize("cls", sorted(final(Loss), key=lambda cls: cls.__name__))
def test_compiled_rules_equal_python(cls: type[Loss]) -> None:
    rules = compiled(cls)
    own = cls.overrides("update")
    for fields in VARIANTS.get(cls, [{}]):
        loss = cls(**fields)
        for y in targets(cls):
            for p in [-1e3, -40.0, *np.linspace(-6.0, 6.0, 49).tolist(), 31.0, 1e3]:
                for eta_h, ppu in ((0.0, 1.0), (0.5, 0.0), (1e-8, 1.0), (0.5, 0.3), (1e4, 3.0)):
                    last = loss.update(p, y, eta_h, ppu) if own else 0.0
                    python = (loss.value(y, p), loss.gradient(y, p), loss.mean(p), last)
                    got = rules(tuple(loss.hyper()), p, y, eta_h, ppu)
                    # 1e-13: the compiler may fuse a product and a sum, and Log's closed form subtracts
                    assert got == pytest.approx(python, rel=1e-13, abs=1e-13), (y, p, eta_h, ppu)
