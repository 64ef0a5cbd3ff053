"""Pieces: their contract, their hyper-parameters, river's objects, and a user's own rules in kernels."""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import FrozenInstanceError, dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import river.linear_model
import river.optim
import samples

from streamgd import _jit, linear_model, optim
from streamgd._jit import jitable
from streamgd.optim import initializers, losses, penalties, schedulers
from streamgd.optim.base import Loss, Optimizer, Scheduler, Slots

# -- a user's own pieces -----------------------------------------------------------------------


@jitable
def soft(r: float, width: float) -> float:
    """Function that rules of this module call."""
    return math.sqrt(1.0 + (r / width) * (r / width))


@dataclass(frozen=True)
class PseudoHuber(Loss):
    """A smooth Huber loss."""

    width: float = 1.0

    def value(self, y: float, p: float) -> float:
        return self.width * self.width * (soft(p - y, self.width) - 1.0)

    def gradient(self, y: float, p: float) -> float:
        return (p - y) / soft(p - y, self.width)


@dataclass(frozen=True)
class SignDescent(Optimizer):
    """A step of fixed size against the sign of the gradient's running mean."""

    lr: float | Scheduler = 0.01
    keep: float = 0.5
    n_slots: ClassVar[int] = 1

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        mean = self.keep * slots[0] + (1.0 - self.keep) * g
        return w - c[0] * (1.0 if mean > 0.0 else -1.0 if mean < 0.0 else 0.0), (mean,)


class Own:
    """The same in plain Python: intercept by plain SGD at 0.01."""

    def __init__(self, lr: float, keep: float, width: float) -> None:
        self.lr, self.keep, self.width = lr, keep, width
        self.weights: dict[str, float] = {}
        self.means: dict[str, float] = {}
        self.intercept = 0.0

    def _slope(self, x: dict[str, float], y: float) -> float:
        r = sum(self.weights.get(i, 0.0) * v for i, v in x.items()) + self.intercept - y
        return r / math.sqrt(1 + (r / self.width) ** 2)

    def _move(self, gradient: dict[str, float], slope: float) -> None:
        self.intercept -= 0.01 * slope
        for i, g in gradient.items():
            self.means[i] = self.keep * self.means.get(i, 0.0) + (1 - self.keep) * g
            self.weights[i] = self.weights.get(i, 0.0) - self.lr * float(np.sign(self.means[i]))

    def learn(self, x: dict[str, float], y: float) -> None:
        slope = self._slope(x, y)
        self._move({i: slope * v for i, v in x.items()}, slope)

    def learn_many(self, rows: list[dict[str, float]], ys: list[float]) -> None:
        slopes = [self._slope(x, y) for x, y in zip(rows, ys, strict=True)]
        gradient = {i: sum(g * x[i] for g, x in zip(slopes, rows, strict=True)) / len(rows) for i in rows[0]}
        self._move(gradient, sum(slopes) / len(rows))


@pytest.mark.parametrize("way", ["learn_one", "learn_rows", "compressed", "learn_many"])
def test_a_users_loss_and_optimizer_work_in_every_entry(way: str) -> None:
    model = linear_model.LinearRegression(SignDescent(0.02, keep=0.7), loss=PseudoHuber(0.6))
    own = Own(0.02, 0.7, 0.6)
    data = samples.dense(200, 5, binary=False, seed=1)
    rows, ys = data.dicts(), data.y.tolist()
    if way == "compressed":
        rows, matrix, y, _, names = samples.sparse(200, 8, binary=False, seed=1)
        model.learn_rows(matrix, y, columns=names)
        ys = y.tolist()
    elif way == "learn_rows":
        model.learn_rows(data.X, data.y, columns=data.names)
    elif way == "learn_one":
        for x, t in zip(rows, ys, strict=True):
            model.learn_one(x, t)
    for i in range(0, 200, 20):
        if way == "learn_many":
            model.learn_many(data.X[i : i + 20], data.y[i : i + 20], columns=data.names)
            own.learn_many(rows[i : i + 20], ys[i : i + 20])
        else:
            for x, t in zip(rows[i : i + 20], ys[i : i + 20], strict=True):
                own.learn(x, t)
    assert model.weights == pytest.approx(own.weights, rel=1e-11)
    assert model.intercept == pytest.approx(own.intercept, rel=1e-11)


def test_pieces_defined_in_a_function_work_and_are_not_cached() -> None:
    factor = 3.0  # closed over, so no other process could know the rule

    @dataclass(frozen=True)
    class Scaled(Loss):
        def value(self, y: float, p: float) -> float:
            return factor * (p - y) * (p - y)

        def gradient(self, y: float, p: float) -> float:
            return factor * 2.0 * (p - y)

    @dataclass(frozen=True)
    class Descent(Optimizer):
        lr: float | Scheduler = 0.01

        def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
            return w - c[0] * g, ()

    data = samples.dense(50, 3, binary=False, seed=2)
    model = linear_model.LinearRegression(Descent(0.01), loss=Scaled())
    model.learn_rows(data.X, data.y)
    reference = linear_model.LinearRegression(optim.SGD(0.03), intercept_lr=0.03)
    reference.learn_rows(data.X, data.y)
    assert model.weights == pytest.approx(reference.weights, rel=1e-11)
    done = [made for made in _jit.compilations if "Scaled" in made.name]
    assert [made.cached for made in done] == [False]
    assert not _jit.importable(Scaled)
    assert _jit.importable(PseudoHuber)


# -- the contract ------------------------------------------------------------------------------


def test_a_loss_without_a_gradient_is_an_error_when_it_is_defined() -> None:
    with pytest.raises(
        TypeError, match=r"NoGradient must define gradient\(self, y, p\): compiled kernels call"
    ):

        class NoGradient(Loss):
            def value(self, y: float, p: float) -> float:
                return 0.0


def test_a_rule_that_raises_is_an_error_when_it_is_defined() -> None:
    """Kernels run without the interpreter's lock: an exception there would end the process."""
    with pytest.raises(TypeError, match=r"Picky\.gradient raises: .* return math\.nan"):

        class Picky(Loss):
            def value(self, y: float, p: float) -> float:
                return p - y

            def gradient(self, y: float, p: float) -> float:
                if p > 10.0:
                    raise ValueError("too far")
                return 1.0


def test_parameters_of_other_names_are_an_error_when_they_are_defined() -> None:
    with pytest.raises(TypeError, match=r"Swapped must define gradient\(self, y, p\)"):

        class Swapped(Loss):
            def value(self, y: float, p: float) -> float:
                return 0.0

            def gradient(self, p: float, y: float) -> float:
                return 0.0

    with pytest.raises(TypeError, match=r"Short must define step\(self, w, slots, g, x, c\)"):

        class Short(Optimizer):
            def step(self, w: float, g: float) -> float:  # type: ignore[override]
                return w - g

    with pytest.raises(TypeError, match=r"Odd must define scan\(self, w, slots, x, g, h\)"):

        class Odd(optim.SGD):
            def scan(self, w: float) -> float:  # type: ignore[override]
                return w


def test_fields_that_cannot_enter_a_kernel_are_errors_when_they_are_defined() -> None:
    with pytest.raises(
        TypeError, match=r"Named.name: str cannot enter a kernel; annotate .* as float, int or"
    ):

        class Named(Loss):
            name: str = "a"

            def value(self, y: float, p: float) -> float:
                return 0.0

            def gradient(self, y: float, p: float) -> float:
                return 0.0


def test_an_abstract_family_cannot_be_made() -> None:
    for family in (Loss, Optimizer, Scheduler):
        with pytest.raises(TypeError, match="abstract"):
            family()


# -- hyper-parameters --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: optim.Momentum(rho=1.0), ValueError, r"Momentum\(rho=1.0\): rho must be in \[0, 1\)"),
        (lambda: optim.Adam(beta_1=-0.1), ValueError, r"Adam\(beta_1=-0.1\): beta_1 must be in \[0, 1\)"),
        (lambda: optim.Adam(beta_2=2), ValueError, r"Adam\(beta_2=2.0\): beta_2 must be in \[0, 1\)"),
        (lambda: optim.Adam(eps=0), ValueError, r"Adam\(eps=0.0\): eps must be positive"),
        (lambda: optim.RMSProp(rho="0.9x"), TypeError, r"RMSProp\(rho='0.9x'\): rho must be a number"),
        (lambda: optim.AdaGrad(eps=math.nan), ValueError, r"AdaGrad\(eps=nan\): eps must be a finite float"),
        (lambda: optim.AdaGrad(eps=None), TypeError, r"AdaGrad\(eps=None\): eps must be a number"),
        (lambda: optim.SGD("fast"), TypeError, r"SGD\(lr=...\): 'fast' is neither a number nor an"),
        (lambda: optim.SGD(math.inf), ValueError, r"learning_rate must be a finite float"),
        (lambda: losses.Huber(0.0), ValueError, r"Huber\(epsilon=0.0\): epsilon must be positive"),
        (
            lambda: losses.Log(weight_pos=-1),
            ValueError,
            r"Log\(weight_pos=-1.0\): weight_pos must be at least 0",
        ),
        (lambda: PseudoHuber("wide"), TypeError, r"PseudoHuber\(width='wide'\): width must be a number"),
    ],
)
def test_bad_hyper_parameters_name_the_value_and_the_rule(make: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_hyper_parameters_become_plain_numbers() -> None:
    huber = losses.Huber(np.float32(0.5))
    assert type(huber.epsilon) is float
    assert huber == losses.Huber(0.5)
    assert hash(huber) == hash(losses.Huber(0.5))
    assert optim.SGD(1) == optim.SGD(1.0) == optim.SGD(schedulers.Constant(1))
    assert losses.Huber(True).epsilon == 1.0


PIECES: list[Any] = [
    losses.Squared(),
    losses.Log(2.0, 0.5),
    losses.Huber(0.3),
    optim.SGD(schedulers.InverseScaling(0.1)),
    optim.Adam(0.01, beta_2=0.9),
    optim.Normalized(),
    penalties.ElasticNet(0.1, 0.2),
    schedulers.StepDecay(0.1, 0.5, 10, epoch_size=5),
    initializers.Normal(seed=3),
    PseudoHuber(2.0),
    SignDescent(0.5),
]


@pytest.mark.parametrize("piece", PIECES, ids=lambda piece: type(piece).__name__)
def test_pieces_are_frozen_values(piece: Any) -> None:
    for copied in (pickle.loads(pickle.dumps(piece)), copy.copy(piece), piece.replace()):
        assert copied == piece
        assert hash(copied) == hash(piece)
        assert repr(copied) == repr(piece)
    assert copy.deepcopy(piece) is piece
    for name in (*vars(piece), "another"):
        with pytest.raises(FrozenInstanceError):
            setattr(piece, name, 1.0)


def test_replace_checks_too() -> None:
    assert optim.Adam(0.1).replace(beta_1=0.5) == optim.Adam(0.1, 0.5)
    with pytest.raises(ValueError, match="beta_1 must be in"):
        optim.Adam(0.1).replace(beta_1=5)


@pytest.mark.parametrize("make", [optim.Momentum, optim.Adam, SignDescent], ids=lambda cls: cls.__name__)
def test_two_models_may_share_an_optimizer(make: Any) -> None:
    shared = make(0.05)
    data = samples.dense(60, 3, binary=False, seed=3)
    first, second, alone = (linear_model.LinearRegression(o) for o in (shared, shared, make(0.05)))
    for x, y in zip(data.dicts(), data.y.tolist(), strict=True):
        first.learn_one(x, y)
        second.learn_one(x, -2.0 * y)
        alone.learn_one(x, y)
    assert first.weights == alone.weights
    assert first.weights != second.weights
    assert first.optimizer is second.optimizer


# -- river's objects ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (river.optim.SGD(0.3), optim.SGD(0.3)),
        (river.optim.Momentum(0.3, rho=0.5), optim.Momentum(0.3, 0.5)),
        (river.optim.AdaGrad(0.3, eps=1e-3), optim.AdaGrad(0.3, 1e-3)),
        (river.optim.RMSProp(0.3, 0.8, 1e-3), optim.RMSProp(0.3, 0.8, 1e-3)),
        (river.optim.Adam(0.3, 0.8, 0.9, 1e-3), optim.Adam(0.3, 0.8, 0.9, 1e-3)),
        (
            river.optim.Adam(river.optim.schedulers.InverseScaling(0.3, 0.7)),
            optim.Adam(schedulers.InverseScaling(0.3, 0.7)),
        ),
        (
            river.optim.SGD(river.optim.schedulers.Optimal(river.optim.losses.Huber(0.5), 0.01)),
            optim.SGD(schedulers.Optimal(losses.Huber(0.5), 0.01)),
        ),
    ],
    ids=lambda value: repr(value) if isinstance(value, Optimizer) else "",
)
def test_rivers_optimizers_are_converted(theirs: Any, ours: Any) -> None:
    assert linear_model.LinearRegression(theirs).optimizer == ours
    assert linear_model.LogisticRegression(optimizer=theirs).optimizer == ours


def test_rivers_other_objects_are_converted() -> None:
    model = linear_model.LogisticRegression(
        loss=river.optim.losses.Log(2.0, 3.0),
        intercept_lr=river.optim.schedulers.InverseScaling(0.5),
        initializer=river.optim.initializers.Normal(1.0, 2.0, seed=5),
    )
    assert model.loss == losses.Log(2.0, 3.0)
    assert model.intercept_lr == schedulers.InverseScaling(0.5)
    assert model.initializer == initializers.Normal(1.0, 2.0, 5)
    model = linear_model.LinearRegression(loss=river.optim.losses.Huber(0.7))
    assert model.loss == losses.Huber(0.7)
    for name in ("Hinge", "Log", "Squared", "Huber"):
        theirs = getattr(river.optim.losses, name)()
        cls = linear_model.LogisticRegression if name in ("Hinge", "Log") else linear_model.LinearRegression
        assert cls(loss=theirs).loss == getattr(losses, name)()


def test_a_used_optimizer_of_river_is_refused() -> None:
    used = river.optim.Adam(0.1)
    river.linear_model.LinearRegression(used).learn_one({"a": 1.0}, 1.0)
    with pytest.raises(
        ValueError, match=r"this Adam has done 1 steps, and its state cannot .*optimizer.clone\(\)"
    ):
        linear_model.LinearRegression(used)
    assert linear_model.LinearRegression(used.clone()).optimizer == optim.Adam(0.1)


class Fancy(river.optim.SGD):
    """An optimizer that river might get."""


Fancy.__module__ = "river.optim.fancy"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"optimizer": Fancy(0.1)},
            r"river's Fancy has no compiled counterpart; there are .*SGD.*Adam.*RMSProp",
        ),
        (
            {"loss": river.optim.losses.CrossEntropy()},
            r"river's CrossEntropy has no .*; there are .*Huber.*Squared",
        ),
        ({"loss": river.optim.losses.Log()}, r"Log is not a regression loss"),
        ({"loss": losses.Hinge()}, r"Hinge is not a regression loss"),
    ],
)
def test_objects_of_river_that_cannot_be_converted(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        linear_model.LinearRegression(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"optimizer": optim.SGD}, r"not an? optimizer; pass an instance, not the class"),
        ({"optimizer": 0.1}, r"LinearRegression\(optimizer=...\): 0.1 is not a"),
        ({"loss": "squared"}, r"LinearRegression\(loss=...\): 'squared' is not a loss"),
        ({"loss": optim.SGD()}, r"is not a loss"),
        ({"intercept_lr": "slow"}, r"'slow' is neither a number nor an optim.base.Scheduler"),
        ({"intercept_lr": True}, r"True is neither a number nor"),
        ({"initializer": 0.0}, r"0.0 is not a.? initializer"),
    ],
)
def test_objects_of_the_wrong_kind(arguments: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        linear_model.LinearRegression(**arguments)


def test_a_binary_model_takes_no_regression_loss() -> None:
    with pytest.raises(ValueError, match=r"LogisticRegression\(loss=...\): Squared is not a binary loss"):
        linear_model.LogisticRegression(loss=losses.Squared())


def test_pieces_that_kernels_have_no_room_for_are_errors_when_they_are_defined() -> None:
    with pytest.raises(TypeError, match=r"Seven .*7 n_slots; kernels take at most 6"):

        class Seven(optim.base.Optimizer):
            n_slots: ClassVar[int] = 7

            def step(self, w, slots, g, x, c):  # type: ignore[no-untyped-def]
                return w, slots

    with pytest.raises(TypeError, match=r"lr: annotate it as float \| Scheduler"):

        class Plain(optim.base.Optimizer):
            lr: float = 0.1

            def step(self, w, slots, g, x, c):  # type: ignore[no-untyped-def]
                return w - c[0] * g, ()


def test_a_piece_must_be_a_frozen_dataclass() -> None:
    class Loose(optim.base.Loss):
        def value(self, y: float, p: float) -> float:
            return abs(p - y)

        def gradient(self, y: float, p: float) -> float:
            return 1.0 if p > y else -1.0

    with pytest.raises(TypeError, match=r"Loose must be a @dataclass\(frozen=True\)"):
        linear_model.LinearRegression(loss=Loose())
