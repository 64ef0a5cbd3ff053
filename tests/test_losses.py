"""Losses: gradients are derivatives, large outputs are safe, and others' losses give the same numbers."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import naive
import numpy as np
import oracles
import pytest
import river.optim.losses
import scipy.integrate
import scipy.optimize
import scipy.special
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
    losses.Squared: [{}, {"scale": 1.0}],
    losses.Quantile: [{}, {"alpha": 0.9}],
    losses.EpsilonInsensitiveHinge: [{}, {"eps": 0.0}, {"eps": 1.5}],
    losses.SquaredEpsilonInsensitive: [{}, {"eps": 1.5}],
    losses.Huber: [{}, {"epsilon": 1.5}],
    losses.Cauchy: [{}, {"C": 0.8}],
    losses.Log: [{}, {"weight_pos": 3.0, "weight_neg": 0.5}],
    losses.Hinge: [{}, {"threshold": 0.0}],
    losses.BinaryFocalLoss: [{}, {"gamma": 0.7, "beta": -0.5}],
    losses.Focal: [{}, {"gamma": 0.5, "alpha": 0.8}, {"gamma": 0.0, "alpha": 0.5}],
}
ALL = sorted(final(Loss), key=lambda cls: cls.__name__)
CASES = [(cls, fields) for cls in ALL for fields in VARIANTS.get(cls, [{}])]


def cases(condition: Callable[[Any, dict[str, float]], bool]) -> pytest.MarkDecorator:
    """Run a test for the losses and hyper-parameters for which a condition holds."""
    chosen = [case for case in CASES if condition(*case)]
    ids = [f"{cls.__name__}-{'-'.join(map(str, fields.values())) or 'default'}" for cls, fields in chosen]
    return pytest.mark.parametrize(("cls", "fields"), chosen, ids=ids)


every_loss = cases(lambda cls, fields: True)

output = st.floats(-20.0, 20.0)
unit = st.floats(0.0, 1.0)


def target(cls: type[Loss], share: float) -> float:
    """A label, a count, or a number in [-3, 3]."""
    if cls is losses.Poisson:
        return float(round(9 * share))
    return float(share > 0.5) if cls.binary else 6.0 * share - 3.0


def targets(cls: type[Loss]) -> list[float]:
    if cls is losses.Poisson:
        return [0.0, 1.0, 2.5, 20.0]
    return [0.0, 1.0] if cls.binary else [-3.0, 0.0, 0.7, 2.0]


def plain_loss(cls: type[Loss], fields: dict[str, float]) -> Any:
    return getattr(naive, cls.__name__)(**fields)


def agree(
    piece: str, oracle: str, ours: Sequence[float], theirs: Any, *, rtol: float = 1e-12, atol: float = 1e-15
) -> None:
    """Check that numbers are those of another package, and put the largest difference into the table."""
    a, b = np.array(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)
    oracles.record(piece, oracle, version(oracle), float(np.max(np.abs(a - b) / np.maximum(np.abs(b), 1.0))))


@every_loss
@settings(max_examples=100, deadline=None)
@given(p=output, share=unit)
def test_gradient_is_the_derivative_of_the_value(cls: Any, fields: Any, p: float, share: float) -> None:
    loss, y, step = cls(**fields), target(cls, share), 1e-6
    above, below = loss.gradient(y, p + step), loss.gradient(y, p - step)
    assume(abs(above - 2 * loss.gradient(y, p) + below) < 1e-9)  # no kink or bend in between
    slope = (loss.value(y, p + step) - loss.value(y, p - step)) / (2 * step)
    assert loss.gradient(y, p) == pytest.approx(slope, rel=1e-6, abs=1e-7 * (1 + abs(loss.value(y, p))))


def convex(cls: Any, fields: Any) -> bool:
    return bool(plain_loss(cls, fields).convex) or fields.get("gamma") == 0.0


@cases(convex)
@settings(max_examples=100, deadline=None)
@given(p=output, q=output, share=unit)
def test_gradient_of_a_convex_loss_rises(cls: Any, fields: Any, p: float, q: float, share: float) -> None:
    loss, y = cls(**fields), target(cls, share)
    p, q = min(p, q), max(p, q)
    assert loss.gradient(y, p) <= loss.gradient(y, q)


@cases(lambda cls, fields: not convex(cls, fields))
def test_gradient_of_other_losses_also_falls(cls: Any, fields: Any) -> None:
    loss = cls(**fields)
    for y in targets(cls):
        slopes = [loss.gradient(y, p) for p in np.linspace(-300.0, 300.0, 601).tolist()]
        changes = np.diff(slopes)
        assert changes.max() > 1e-4
        assert changes.min() < -1e-4


@every_loss
def test_values_at_points_far_out_are_finite(cls: Any, fields: Any) -> None:
    loss = cls(**fields)
    for y in targets(cls):
        for p in (-1e6, -1e3, -745.0, 0.0, 709.8, 1e3, 1e6):
            numbers = [loss.value(y, p), loss.gradient(y, p), loss.mean(p)]
            for ppu in (0.0, 1e-300, 1e-12, 1.0, 1e12):
                numbers += [loss.update(p, y, eta_h, ppu) for eta_h in (0.0, 1e-12, 1.0, 1e9)]
            assert all(map(math.isfinite, numbers)), (y, p, numbers)
    assert np.isfinite(loss.mean_func(np.array([-1e6, -1e3, 0.0, 1e3, 1e6]))).all()


@every_loss
def test_losses_equal_the_formula(cls: Any, fields: Any) -> None:
    loss, plain = cls(**fields), plain_loss(cls, fields)
    for y in targets(cls):
        for p in [*np.linspace(-40.0, 40.0, 161).tolist(), y, 1.0, -1.0, 1.5, y + 0.1, y - 0.1]:
            assert loss.value(y, p) == pytest.approx(plain.value(y, p), rel=1e-14, abs=0)
            assert loss(y, p) == loss.value(y, p)
            assert loss.gradient(y, p) == pytest.approx(plain.gradient(y, p), rel=1e-14, abs=0)


@every_loss
def test_mean_function_of_arrays_is_that_of_floats(cls: Any, fields: Any) -> None:
    loss = cls(**fields)
    z = np.array([[-1e3, -700.0, -31.0, -2.5, -1e-9], [0.0, 0.1, 3.0, 29.0, 800.0]])
    ours = loss.mean_func(z)
    assert ours.shape == z.shape
    assert ours.dtype == np.float64
    for p, mean in zip(z.ravel().tolist(), ours.ravel().tolist(), strict=True):
        assert mean == pytest.approx(loss.mean(p), rel=1e-15)
        assert mean == pytest.approx(loss.mean_func(p), rel=1e-15)
    assert isinstance(loss.mean_func(np.float64(0.5)), float)
    assert loss.mean_func(z[:0]).shape == (0, 5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.Squared(0.0), r"Squared\(scale=0.0\): scale must be positive"),
        (lambda: losses.Quantile(1.0), r"Quantile\(alpha=1.0\): alpha must be between 0 and 1"),
        (lambda: losses.EpsilonInsensitiveHinge(-0.1), r"eps must be at least 0"),
        (lambda: losses.SquaredEpsilonInsensitive(-0.1), r"eps must be at least 0"),
        (lambda: losses.Cauchy(0.0), r"Cauchy\(C=0.0\): C must be positive"),
        (lambda: losses.BinaryFocalLoss(0.0), r"BinaryFocalLoss\(gamma=0.0\): gamma must be positive"),
        (lambda: losses.Focal(-1.0), r"Focal\(gamma=-1.0\): gamma must be at least 0"),
        (lambda: losses.Focal(alpha=1.5), r"Focal\(alpha=1.5\): alpha must be between 0 and 1"),
    ],
)
def test_hyper_parameters_out_of_range(make: Callable[[], Loss], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# -- river -------------------------------------------------------------------------------------

# The losses whose value is wrong in river (tests below show how), and the one whose target is.
WRONG_VALUE = (losses.Quantile, losses.Cauchy)
WRONG_TARGET = losses.EpsilonInsensitiveHinge


def in_river(cls: Any, fields: Any) -> bool:
    theirs = getattr(river.optim.losses, cls.__name__, None)
    return theirs is not None and set(fields) <= set(inspect.signature(theirs).parameters)


@cases(in_river)
def test_losses_equal_those_of_river(cls: Any, fields: Any) -> None:
    loss, theirs = cls(**fields), getattr(river.optim.losses, cls.__name__)(**fields)
    far = 14.0 if cls is losses.BinaryFocalLoss else 17.9  # beyond that river approximates, or raises
    for y in targets(cls):
        points = [*np.linspace(-far, far, 101).tolist(), y, 1.0, -1.0]
        mapped = (y + 1) / 2 if cls is WRONG_TARGET else y
        # river's log(1 + exp(-z)) is right to 1e-16 in absolute terms only
        gradients = [loss.gradient(y, p) for p in points]
        agree(f"losses.{cls.__name__}", "river", gradients, [theirs.gradient(mapped, p) for p in points])
        if cls not in WRONG_VALUE:
            values = [loss.value(y, p) for p in points]
            agree(f"losses.{cls.__name__}", "river", values, [theirs(mapped, p) for p in points])


def test_rivers_quantile_value_is_that_of_another_quantile() -> None:
    ours, theirs = losses.Quantile(0.9), river.optim.losses.Quantile(0.9)
    for p in (-2.0, 0.0, 0.5, 3.0):
        assert theirs(1.0, p) == pytest.approx(losses.Quantile(1 - 0.9).value(1.0, p))
        assert abs(theirs(1.0, p) - ours.value(1.0, p)) > 0.1
        slope = (theirs(1.0, p + 1e-6) - theirs(1.0, p - 1e-6)) / 2e-6
        assert abs(theirs.gradient(1.0, p) - slope) > 0.1  # or this test and its note can go


def test_rivers_cauchy_value_is_the_absolute_error() -> None:
    ours, theirs = losses.Cauchy(2.0), river.optim.losses.Cauchy(2.0)
    for p in (-2.0, 0.5, 3.0):
        assert theirs(1.0, p) == abs(p - 1.0)
        assert abs(theirs(1.0, p) - ours.value(1.0, p)) > 0.1


def test_rivers_epsilon_insensitive_loss_takes_the_target_for_a_label() -> None:
    ours, theirs = losses.EpsilonInsensitiveHinge(), river.optim.losses.EpsilonInsensitiveHinge()
    assert ours.value(2.0, 2.0) == 0.0
    assert theirs(2.0, 2.0) == pytest.approx(0.9)  # |2 - (2 * 2 - 1)| - 0.1
    assert theirs.gradient(2.0, 2.0) == -1
    assert ours.gradient(2.0, 2.0) == 0.0


def test_rivers_focal_loss_and_poisson_loss_end_where_ours_go_on() -> None:
    with pytest.raises(ValueError, match=r"math domain error|expected a positive"):
        river.optim.losses.BinaryFocalLoss()(1, -16.0)
    assert losses.BinaryFocalLoss().value(1.0, -16.0) == pytest.approx(15.5, rel=1e-12)
    with pytest.raises(OverflowError):
        river.optim.losses.Poisson().gradient(1, 710.0)
    assert losses.Poisson().gradient(1.0, 710.0) == math.exp(350.0)


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


@cases(in_river)
def test_mean_function_is_that_of_river(cls: Any, fields: Any) -> None:
    loss, theirs = cls(**fields), getattr(river.optim.losses, cls.__name__)(**fields)
    for p in (-300.0, -31.0, -30.0, -2.5, -1e-9, 0.0, 0.1, 3.0, 29.0, 300.0):
        # river's scalar sigmoid jumps to 0 and 1 beyond 30: 1e-13 there
        assert loss.mean(p) == pytest.approx(theirs.mean_func(p), rel=1e-15, abs=1e-13)


# -- scikit-learn, SciPy, PyTorch --------------------------------------------------------------


def test_losses_equal_those_of_scikit_learn() -> None:
    sklearn_loss = pytest.importorskip("sklearn._loss.loss", reason="scikit-learn is the reference")
    cases: list[tuple[Loss, Any, float]] = [
        (losses.Log(), sklearn_loss.HalfBinomialLoss(), 1.0),
        (losses.Squared(), sklearn_loss.HalfSquaredError(), 2.0),  # theirs is halved
        (losses.Squared(scale=1.0), sklearn_loss.HalfSquaredError(), 1.0),
        (losses.Huber(0.5), sklearn_loss.HuberLoss(quantile=0.5, delta=0.5), 1.0),
        (losses.Absolute(), sklearn_loss.AbsoluteError(), 1.0),
        (losses.Quantile(0.9), sklearn_loss.PinballLoss(quantile=0.9), 1.0),
        (losses.Poisson(), sklearn_loss.HalfPoissonLoss(), 1.0),
    ]
    p = np.linspace(-30.0, 30.0, 121)
    for ours, theirs, factor in cases:
        for y in (0.0, 1.0):
            ys, name = np.full_like(p, y), f"losses.{type(ours).__name__}"
            # their log loss is a difference, right to 1e-14 in absolute terms
            values = [ours.value(y, z) for z in p.tolist()]
            agree(name, "scikit-learn", values, factor * theirs.loss(ys, p), rtol=1e-13, atol=2e-14)
            slopes = [ours.gradient(y, z) for z in p.tolist()]
            agree(name, "scikit-learn", slopes, factor * theirs.gradient(ys, p), rtol=1e-13, atol=1e-16)


def test_losses_equal_those_of_scikit_learns_sgd() -> None:
    sgd = pytest.importorskip("sklearn.linear_model._sgd_fast", reason="scikit-learn is the reference")
    pairs: list[tuple[Loss, Any]] = [
        (losses.Hinge(0.0), sgd.Hinge(0.0)),
        (losses.Hinge(1.0), sgd.Hinge(1.0)),
        (losses.SquaredHinge(), sgd.SquaredHinge()),
        (losses.ModifiedHuber(), sgd.ModifiedHuber()),
        (losses.EpsilonInsensitiveHinge(0.5), sgd.EpsilonInsensitive(0.5)),
        (losses.SquaredEpsilonInsensitive(0.5), sgd.SquaredEpsilonInsensitive(0.5)),
    ]
    points = np.linspace(-30.0, 30.0, 121).tolist()
    for ours, theirs in pairs:
        for y in targets(type(ours)):
            label, name = (2 * y - 1 if ours.binary else y), f"losses.{type(ours).__name__}"
            values = [theirs.py_loss(p, label) for p in points]
            agree(name, "scikit-learn", [ours.value(y, p) for p in points], values, rtol=1e-15)
            slopes = [theirs.py_dloss(p, label) for p in points]
            agree(name, "scikit-learn", [ours.gradient(y, p) for p in points], slopes, rtol=1e-15)


def test_probability_of_modified_huber_is_that_of_scikit_learn() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is the reference")
    rng = np.random.default_rng(3)
    x = rng.normal(size=(200, 3))
    model = linear_model.SGDClassifier(loss="modified_huber", random_state=0, alpha=0.1)
    model.fit(x, x[:, 0] + rng.normal(size=200) > 0)
    z = model.decision_function(x)
    assert (np.abs(z) < 1).any()
    assert (np.abs(z) > 1).any()
    probabilities = model.predict_proba(x)[:, 1]
    agree("losses.ModifiedHuber.mean", "scikit-learn", losses.ModifiedHuber().mean_func(z), probabilities)


def test_cauchy_loss_is_that_of_scipy() -> None:
    for scale, r in itertools.product((0.5, 80.0), (-200.0, -1.0, -1e-3, 0.3, 7.0)):
        theirs = scipy.optimize.least_squares(
            lambda x: x, [r], loss="cauchy", f_scale=scale, jac=lambda x: [[1.0]], max_nfev=1
        )
        ours = losses.Cauchy(scale)
        agree("losses.Cauchy", "scipy", [ours.value(0.0, r)], [theirs.cost])
        agree("losses.Cauchy", "scipy", [ours.gradient(0.0, r)], theirs.grad)


def test_losses_equal_those_of_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="the reference: pip install torch")
    f = torch.nn.functional

    def focal(p: Any, y: Any) -> Any:
        """The paper's equation 5 as it stands; autograd does the rest."""
        q = torch.where(y > 0, torch.sigmoid(p), torch.sigmoid(-p))
        return -(0.3 * y + 0.7 * (1 - y)) * (1 - q) ** 1.5 * torch.log(q)

    weight = torch.tensor(3.0, dtype=torch.float64)
    cases: list[tuple[Loss, Callable[[Any, Any], Any]]] = [
        (losses.Squared(), lambda p, y: f.mse_loss(p, y, reduction="none")),
        (losses.Absolute(), lambda p, y: f.l1_loss(p, y, reduction="none")),
        (losses.Huber(0.5), lambda p, y: f.huber_loss(p, y, reduction="none", delta=0.5)),
        (losses.Poisson(), lambda p, y: f.poisson_nll_loss(p, y, reduction="none")),
        (
            losses.Log(weight_pos=3.0),
            lambda p, y: f.binary_cross_entropy_with_logits(p, y, reduction="none", pos_weight=weight),
        ),
        (losses.Focal(1.5, 0.3), focal),
    ]
    for ours, theirs in cases:
        for y in targets(type(ours)):
            p = torch.linspace(-15.0, 15.0, 120, dtype=torch.float64, requires_grad=True)
            value = theirs(p, torch.full_like(p, y))
            value.sum().backward()
            name, points = f"losses.{type(ours).__name__}", p.tolist()
            values, slopes = zip(*((ours.value(y, z), ours.gradient(y, z)) for z in points), strict=True)
            # what is composed of 1 - q is right to 1e-15 in absolute terms
            agree(name, "torch", values, value.detach().numpy(), rtol=1e-13, atol=1e-14)
            agree(name, "torch", slopes, p.grad.numpy(), rtol=1e-13, atol=1e-14)


def test_focal_losses_contain_the_logistic_loss() -> None:
    for y, p in itertools.product((0.0, 1.0), (-30.0, -1.0, 0.0, 2.0, 30.0)):
        log = losses.Log()
        assert losses.Focal(0.0, 0.5).value(y, p) == pytest.approx(log.value(y, p) / 2, rel=1e-15)
        assert losses.Focal(0.0, 0.5).gradient(y, p) == pytest.approx(log.gradient(y, p) / 2, rel=1e-15)
        assert losses.BinaryFocalLoss(1.0, 0.0).value(y, p) == log.value(y, p)
        assert losses.BinaryFocalLoss(1.0, 0.0).update(p, y, 2.0, 0.7) == log.update(p, y, 2.0, 0.7)


# -- importance-aware updates ------------------------------------------------------------------

aware = cases(lambda cls, fields: cls.overrides("update"))
size = st.floats(-3.0, 3.0).map(lambda e: 10.0**e)

# Losses that are linear up to a kink: their output stops there.
KINKED = (losses.Absolute, losses.EpsilonInsensitiveHinge, losses.Hinge, losses.Quantile)
# Losses whose update solves d + w (exp(d) - 1) = constant.
SOLVED = (losses.BinaryFocalLoss, losses.Cauchy, losses.Log)


def test_losses_with_a_closed_form() -> None:
    assert {cls for cls in ALL if not cls.overrides("update")} == {losses.Focal}


@aware
@settings(max_examples=100, deadline=None)
@given(p=output, share=unit, eta_h=size, ppu=size)
def test_twice_the_weight_is_two_updates(
    cls: Any, fields: Any, p: float, share: float, eta_h: float, ppu: float
) -> None:
    loss, y = cls(**fields), target(cls, share)
    once = loss.update(p, y, eta_h, ppu)
    twice = once + loss.update(p + once * ppu, y, eta_h, ppu)
    assert loss.update(p, y, 2 * eta_h, ppu) == pytest.approx(
        twice, rel=1e-13, abs=1e-14 * (1 + abs(p)) / ppu
    )


@aware
@settings(max_examples=100, deadline=None)
@given(p=output, share=unit, eta_h=size, ppu=size)
def test_update_is_the_closed_form(
    cls: Any, fields: Any, p: float, share: float, eta_h: float, ppu: float
) -> None:
    loss, y = cls(**fields), target(cls, share)
    exact = plain_loss(cls, fields).update(p, y, eta_h, ppu)
    assert loss.update(p, y, eta_h, ppu) == pytest.approx(exact, rel=1e-13, abs=1e-14 * (1 + abs(p)) / ppu)


@cases(lambda cls, fields: cls in SOLVED)
@settings(max_examples=400, deadline=None)
@given(
    residual=output | st.floats(-9.0, 0.0).map(lambda e: 10.0**e),
    share=unit,
    total=st.floats(-12.0, 8.0).map(lambda e: 10.0**e),
)
def test_solved_updates_are_exact_however_small_they_are(
    cls: Any, fields: Any, residual: float, share: float, total: float
) -> None:
    loss, y = cls(**fields), target(cls, share)
    exact = plain_loss(cls, fields).update(y + residual, y, total, 1.0)
    assert loss.update(y + residual, y, total, 1.0) == pytest.approx(exact, rel=1e-14, abs=0)


@settings(max_examples=400, deadline=None)
@given(p=output, share=unit, total=st.floats(-12.0, 8.0).map(lambda e: 10.0**e))
def test_poisson_update_is_exact_however_small_it_is(p: float, share: float, total: float) -> None:
    loss, y = losses.Poisson(), target(losses.Poisson, share)
    assume(abs(loss.gradient(y, p)) > 0.01 * (math.exp(p) + y))  # or the gradient itself cancels
    exact = naive.Poisson().update(p, y, total, 1.0)
    assert loss.update(p, y, total, 1.0) == pytest.approx(exact, rel=1e-13, abs=0)


def test_solved_updates_are_the_wright_omega_function() -> None:
    omega, log, cauchy = scipy.special.wrightomega, losses.Log(), losses.Cauchy(0.8)
    for p, total in itertools.product(np.linspace(-20.0, 20.0, 41).tolist(), (0.5, 3.0, 50.0, 1e4)):
        end = np.log(omega(p + math.exp(p) + total))
        agree(
            "losses.Log.update", "scipy", [p + log.update(p, 1.0, total, 1.0)], [end], rtol=1e-13, atol=1e-13
        )
        square = (p / 0.8) ** 2
        if 0 < square < 700:
            end = p * math.sqrt(omega(square + math.log(square) - 2 * total) / square)
            ours = p + cauchy.update(p, 0.0, total, 1.0)
            agree("losses.Cauchy.update", "scipy", [ours], [end], rtol=1e-13, atol=1e-13)


intervals = pytest.mark.parametrize(("eta_h", "ppu"), [(0.5, 0.2), (2.0, 1.5), (30.0, 0.4)])
outputs = (-5.0, -0.3, 0.0, 0.9, 4.0)


@cases(lambda cls, fields: cls.overrides("update") and cls not in KINKED)
@intervals
def test_update_follows_the_differential_equation(cls: Any, fields: Any, eta_h: float, ppu: float) -> None:
    """dp/dtau = -ppu gradient(y, p), from 0 to eta_h."""
    loss = cls(**fields)
    tolerance = 1e-9 if cls is losses.Huber else 1e-11  # the solver loses digits where its gradient bends
    for y, p in itertools.product(targets(cls), outputs):
        path = scipy.integrate.solve_ivp(
            lambda _, q, y=y: [-ppu * loss.gradient(y, float(q[0]))],
            (0.0, eta_h),
            [p],
            method="DOP853",
            rtol=1e-13,
            atol=1e-13,
        )
        assert path.success
        end = p + ppu * loss.update(p, y, eta_h, ppu)
        agree(f"losses.{cls.__name__}.update", "scipy", [end], path.y[0, -1:], rtol=0, atol=tolerance)


@cases(lambda cls, fields: cls in KINKED)
@intervals
def test_update_follows_the_differential_equation_to_the_kink(
    cls: Any, fields: Any, eta_h: float, ppu: float
) -> None:
    """In small steps of equal size, as no solver gets over the kink; they tremble around it."""
    loss, steps = cls(**fields), 5000
    for y, p in itertools.product(targets(cls), outputs):
        q = p
        for _ in range(steps):
            q -= eta_h / steps * ppu * loss.gradient(y, q)
        end = p + ppu * loss.update(p, y, eta_h, ppu)
        assert end == pytest.approx(q, rel=0, abs=1.001 * eta_h * ppu / steps)


@pytest.mark.parametrize(
    ("loss", "option"),
    [
        (losses.Squared(), "squared"),
        (losses.Log(), "logistic"),
        (losses.Hinge(), "hinge"),
        (losses.Quantile(0.3), "quantile --quantile_tau 0.3"),
        (losses.Poisson(), "poisson"),
    ],
    ids=repr,
)
def test_update_is_that_of_vowpal_wabbit(loss: Loss, option: str) -> None:
    vw = pytest.importorskip("vowpalwabbit", reason="the reference: pip install vowpalwabbit")
    name = f"losses.{type(loss).__name__}.update"
    for y, p, lr, x, h in itertools.product(
        [0.0, 1.0] if loss.binary else [0.0, 2.0], (-1.5, 0.3, 1.7), (0.1, 1.0), (0.5, 2.0), (1.0, 4.0)
    ):
        workspace = vw.Workspace(
            f"--invariant --power_t 0 --noconstant --quiet -l {lr} --loss_function {option} "
            "--min_prediction -50 --max_prediction 50"
        )
        label = 2 * y - 1 if loss.binary else y
        workspace.learn(f"{label} {h} {p} | 1:{x}")  # the third number is an output to start from
        theirs = workspace.get_weight(1) / x
        workspace.finish()
        # float32, and an approximation of the logistic one
        tolerance = 3e-5 if isinstance(loss, losses.Log) else 1e-6
        agree(
            name, "vowpalwabbit", [loss.update(p, y, lr * h, x * x)], [theirs], rtol=tolerance, atol=tolerance
        )


@every_loss
def test_a_small_update_is_the_plain_step(cls: Any, fields: Any) -> None:
    loss = cls(**fields)
    for y in targets(cls):
        plain = -1e-9 * loss.gradient(y, 0.3)  # also the update of a loss that has no closed form
        assert loss.update(0.3, y, 1e-9, 1e-9) == pytest.approx(plain, rel=1e-6)


@aware
def test_a_sample_of_any_weight_never_carries_past_the_minimum(cls: Any, fields: Any) -> None:
    """At a weight of 1e9 the output is where the gradient is all but 0, and on the way it kept its sign."""
    loss = cls(**fields)
    for y in targets(cls):
        for p in (-15.0, -0.4, 0.3, 12.0):
            slope = loss.gradient(y, p)
            for eta_h in (1e-3, 1.0, 1e3, 1e9):
                u = loss.update(p, y, eta_h, 0.5)
                assert u * slope <= 0.0
                after = loss.gradient(y, p + 0.5 * u - math.copysign(1e-9, u))
                assert after * slope >= 0.0
            if cls not in KINKED:
                assert abs(after) < 1e-6 * max(1.0, abs(slope))


def test_a_class_weight_is_so_many_samples() -> None:
    for k, y, p in itertools.product((1e-3, 3.0, 1e9), (0.0, 1.0), (-30.0, 0.2, 30.0)):
        weighted, plain = losses.Log(weight_pos=k, weight_neg=k), losses.Log()
        assert weighted.value(y, p) == pytest.approx(k * plain.value(y, p), rel=1e-15)
        assert weighted.gradient(y, p) == pytest.approx(k * plain.gradient(y, p), rel=1e-15)
        assert weighted.update(p, y, 0.3, 2.0) == pytest.approx(plain.update(p, y, 0.3 * k, 2.0), rel=1e-14)


# -- compiled ----------------------------------------------------------------------------------


def no_update(self: Any, p: float, y: float, eta_h: float, ppu: float) -> float:
    return 0.0


def compiled(cls: type[Loss]) -> CPUDispatcher:
    """All rules of a loss in one function ``(hp, p, y, eta_h, ppu) -> rules (5,)``, as kernels build them."""
    make = cls.struct
    value, gradient, mean = map(jitable, (cls.value, cls.gradient, cls.mean))
    update = jitable(cls.update if cls.overrides("update") else no_update)

    def rules(hp, p, y, eta_h, ppu):  # type: ignore[no-untyped-def]
        loss = make(*hp)
        return (
            value(loss, y, p),
            gradient(loss, y, p),
            mean(loss, p),
            update(loss, p, y, eta_h, ppu),
        )

    return njit(rules, **OPTIONS)


@pytest.mark.parametrize("cls", ALL)
def test_compiled_rules_equal_python(cls: type[Loss]) -> None:
    rules = compiled(cls)
    own = cls.overrides("update")
    for fields in VARIANTS.get(cls, [{}]):
        loss = cls(**fields)
        for y in targets(cls):
            for p in [-1e3, -40.0, *np.linspace(-6.0, 6.0, 49).tolist(), y, 31.0, 1e3]:
                for eta_h, ppu in ((0.0, 1.0), (0.5, 0.0), (1e-8, 1.0), (0.5, 0.3), (1e4, 3.0)):
                    last = loss.update(p, y, eta_h, ppu) if own else 0.0
                    python = (loss.value(y, p), loss.gradient(y, p), loss.mean(p), last)
                    got = rules(tuple(loss.hyper()), p, y, eta_h, ppu)
                    # 1e-13: the compiler may fuse a product and a sum, and differences cancel
                    assert got == pytest.approx(python, rel=1e-13, abs=1e-13), (y, p, eta_h, ppu)
