"""Rules in single precision: copies compute in float32 throughout, and the check says where one would not."""

from __future__ import annotations

import functools
import math
import sys
from collections import namedtuple
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest
from numba import njit, typeof, types

from streamgd import optim
from streamgd._jit import LIMIT, doubles_in, jitable
from streamgd._single import SINGLE_LIMIT, check_single, doubles_of, number, single, single_jitable
from streamgd.optim.base import Loss, Optimizer, Penalty
from streamgd.optim.losses import Squared

f = np.float32
EPS = float(np.finfo(f).eps)


def compiled(rule, *args):
    """Value of a rule's copy, compiled for float32: without float64 anywhere."""
    copy = single(rule)
    assert doubles_in(copy, tuple(typeof(arg) for arg in args)) == []
    call = single_jitable(rule)
    # through a kernel that stores what it gets: returned to Python, a float32 becomes a float
    kernel = njit(error_model="numpy")(lambda out, *args: _put(out, call(*args)))
    out = np.zeros(1, f)
    kernel(out, *args)
    return out[0]


@jitable
def _put(out, value):
    out[0] = value


# -- what a copy changes ------------------------------------------------------------------------

TENTH = 0.1
SCALAR = np.float64(0.1)
NESTED = (0.1, (0.2, 3))
Rates = namedtuple("Rates", ["slow", "fast"])
RATES = Rates(0.1, 0.7)
ARRAY = np.array([[0.1, 0.2], [0.3, 0.4]])
half = lambda x: 0.3 * x  # noqa: E731

elsewhere = ModuleType("elsewhere")
elsewhere.RATE, elsewhere.COUNT = 0.1, 3
exec("def scaled(x):\n    return 0.3 * x * RATE", vars(elsewhere))


@njit
def users_own(x):
    return 0.7 * x


@jitable
def deep(x):
    return users_own(x) + TENTH


def with_default(x, a=0.1, b=0.7):
    return a * x + b


def literal(x):
    return 1.0 / (1.0 + 0.1 * x)


def from_globals(x):
    return (x + TENTH) * SCALAR


def from_tuples(x):
    return x * NESTED[0] + NESTED[1][0] * RATES.fast + RATES[0]


def from_array(x):
    return x * ARRAY[1, 0]


def from_modules(x):
    return math.exp(x * math.pi) * np.e + elsewhere.RATE * elsewhere.COUNT


def from_elsewhere(x):
    return elsewhere.scaled(x) + math.sqrt(x)


def through_helpers(x):
    return deep(x) + half(x)


def through_defaults(x):
    return with_default(x) - with_default(x, 0.3)


def from_an_integer(x):
    return x * float(int(x) + 1)


def in_an_inner_function(x):
    def inner(z):
        return z * 0.1 + TENTH

    return inner(x)


def make_closed(a, b):
    def closed(x):
        return a * x + b[1]

    return closed


def among(x):
    return 0.3 if x in (0.1, 0.2) else 0.7


X = f(1.7)
COPIES = [
    (literal, f(1) / (f(1) + f(0.1) * X)),
    (from_globals, (X + f(0.1)) * f(0.1)),
    (from_tuples, X * f(0.1) + f(0.2) * f(0.7) + f(0.1)),
    (from_array, X * f(0.3)),
    (from_modules, np.exp(X * f(math.pi)) * f(math.e) + f(0.1) * f(3)),
    (from_elsewhere, f(0.3) * X * f(0.1) + np.sqrt(X)),
    (through_helpers, f(0.7) * X + f(0.1) + f(0.3) * X),
    (through_defaults, (f(0.1) * X + f(0.7)) - (f(0.3) * X + f(0.7))),
    (from_an_integer, X * f(2)),
    (in_an_inner_function, X * f(0.1) + f(0.1)),
    (make_closed(0.1, (3, 0.7)), f(0.1) * X + f(0.7)),
    (among, f(0.7)),
]


@pytest.mark.parametrize(("rule", "expected"), COPIES, ids=lambda value: getattr(value, "__name__", ""))
def test_copies_compute_in_float32(rule, expected):
    if rule is from_modules:
        # an integer that is multiplied shows: the module's floats are single, its integers are not
        (place,) = doubles_in(single(rule), (types.float32,))
        assert place.startswith("from_modules, line")
        return
    assert expected.dtype == np.float32
    assert compiled(rule, X) == pytest.approx(expected, rel=2 * EPS)  # a fused multiply-add rounds once
    assert rule(1.7) == pytest.approx(float(expected), rel=4e-7)  # the rule itself is as it was


def test_the_rule_itself_and_its_modules_stay_as_they_are():
    copy = single(from_modules)
    assert copy is single(from_modules) is single(copy)
    assert (copy.__name__, copy.__module__) == ("from_modules", __name__)
    assert copy.__globals__["math"].pi.dtype == np.float32
    assert copy.__globals__["math"].exp is math.exp
    assert type(math.pi) is type(from_modules.__globals__["TENTH"]) is float
    assert single(literal).__code__.co_consts.count(f(0.1)) == 1
    assert 0.1 in literal.__code__.co_consts


def test_defaults_of_keywords_are_copied():
    def rule(x, *, a=0.1):
        return a * x

    assert single(rule)(f(1.0)) == f(0.1)
    assert single(rule).__kwdefaults__["a"].dtype == np.float32


def test_modules_without_floats_are_left_alone():
    def rule(x):
        return math.sqrt(x)

    assert single(rule).__globals__["math"] is math


def test_constants_that_float32_has_no_room_for():
    def rule(x):
        return (x + 1e-300, x - 1e-300, x + 1e300, LIMIT)

    constants = [c for c in single(rule).__code__.co_consts if isinstance(c, f)]
    assert constants == [np.finfo(f).tiny, np.finfo(f).max]
    assert number(-1e300) == -np.finfo(f).max
    assert number(-math.inf) == -math.inf
    assert single(rule).__globals__["LIMIT"] == f(SINGLE_LIMIT)


def even(n, x):
    return x * 0.1 if n < 1 else odd(n - 1, x)


def odd(n, x):
    return x * 0.3 if n < 1 else even(n - 1, x)


def test_functions_that_call_each_other_are_copied_once():
    copy = single(even)
    assert copy.__globals__["odd"].__globals__["even"] is copy
    assert copy(2, f(1.0)) == f(0.1)  # plain Python goes round as well
    assert copy(3, f(1.0)).dtype == np.float32


# -- what shows as float64 ----------------------------------------------------------------------


def int_divided(x):
    return 1 / x


def int_added(x):
    y = 0.1 * x
    return (
        2.0
        + 3 * y
    )  # fmt: skip


def int_returned(x):
    return x if x > 0.0 else 0


def int_compared(x):
    return max(0, x)


def said_so(x):
    return np.float64(x) * 0.1


def in_a_helper(x):
    return 0.1 * int_divided(x)


def counted(x):
    total = 0
    for _ in range(3):
        total += x
    return total


OFFENDERS = {
    int_divided: (int_divided, 1), int_added: (int_added, 4), int_returned: (int_returned, 1),
    int_compared: (int_compared, 1), said_so: (said_so, 1), in_a_helper: (int_divided, 1),
    counted: (counted, 3),
}  # fmt: skip


@pytest.mark.parametrize("rule", OFFENDERS, ids=lambda rule: rule.__name__)
def test_float64_is_found_where_it_arises(rule):
    owner, offset = OFFENDERS[rule]
    line = owner.__code__.co_firstlineno + offset
    assert f"{owner.__name__}, line {line} of test_single.py" in doubles_in(single(rule), (types.float32,))


# -- the check of pieces from outside -----------------------------------------------------------


@dataclass(frozen=True)
class Clean(Loss):
    """With all that authors may write."""

    a: float = 2.0
    flag: bool = True

    def value(self, y: float, p: float) -> float:
        return self.a * deep(p - y) ** 2 if self.flag else math.log1p(math.exp(-p * math.pi))

    def gradient(self, y: float, p: float) -> float:
        return min(max(p - y, -self.a), float(3) * TENTH)


@dataclass(frozen=True)
class IntInGradient(Loss):
    def value(self, y: float, p: float) -> float:
        return 0.5 * (p - y) * (p - y)

    def gradient(self, y: float, p: float) -> float:
        q = p - y
        return 1 / (1 + math.exp(-q))


@dataclass(frozen=True)
class IntReturned(Loss):
    def value(self, y: float, p: float) -> float:
        return abs(p - y)

    def gradient(self, y: float, p: float) -> float:
        return 1 if p > y else -1


@dataclass(frozen=True)
class Own(Optimizer):
    """Each rule has a tuple of its own length; `step` gets what `row` returns."""

    beta: float = 0.9
    n_slots: ClassVar[int] = 2
    n_scalars: ClassVar[int] = 1
    n_sums: ClassVar[int] = 3

    def scan(self, w, slots, x, g, h):
        return w, slots, (g * x, 0.0, slots[1])

    def row(self, scalars, sums, p, y, g, h, lr, t):
        return (scalars[0] + sums[2],), (lr, t * self.beta, 0.5)

    def step(self, w, slots, g, x, c):
        return w - c[0] * g * c[2], (slots[0] + c[1], slots[1] * TENTH)


@dataclass(frozen=True)
class OwnInt(Own):
    def row(self, scalars, sums, p, y, g, h, lr, t):
        return (scalars[0] + 1,), (lr, t, 0)

    def step(self, w, slots, g, x, c):
        return w - c[0] * g, (slots[0], slots[1])


@dataclass(frozen=True)
class OwnPenalty(Penalty):
    l1: float = 0.1

    def advance(self, totals, lr, next_lr):
        return totals[0] + lr * self.l1, totals[1] * 2

    def settle(self, w, charged, before, after):
        return math.copysign(max(0, abs(w) - after[0]), w), after[0]

    def full(self, totals):
        return totals[0] > 1e9


def test_pieces_that_are_clean_pass():
    check_single([Clean, Own, Squared, optim.Adam])
    assert doubles_of(Clean) == doubles_of(Own) == []


@pytest.mark.parametrize(
    ("cls", "rule", "offset"),
    [
        (IntInGradient, "gradient", 2),
        (OwnInt, "row", 1),
        (OwnPenalty, "advance", 1),
        (OwnPenalty, "settle", 1),
    ],
)
def test_the_check_names_the_place_and_says_what_to_write(cls, rule, offset):
    line = getattr(cls, rule).__code__.co_firstlineno + offset
    with pytest.raises(TypeError, match=r"write 1\.0 for 1, and float") as caught:
        check_single([cls])
    assert f"{cls.__name__}.{rule}, line {line} of test_single.py" in str(caught.value)
    assert f"{cls.__name__} cannot be computed in float32" in str(caught.value)
    assert "step" not in str(caught.value)


def test_the_check_names_rules_that_return_integers():
    with pytest.raises(TypeError, match=r"IntReturned\.gradient returns int64"):
        check_single([IntReturned])


def test_the_check_names_rules_that_do_not_compile():
    partial = functools.partial(math.pow, 2.0)

    @dataclass(frozen=True)
    class Partial(Loss):
        def value(self, y: float, p: float) -> float:
            return 0.0

        def gradient(self, y: float, p: float) -> float:
            return partial(p)

    with pytest.raises(TypeError, match=r"Partial\.gradient does not compile for float32"):
        check_single([Partial])


def test_classes_are_checked_once(monkeypatch):
    check_single([Clean])
    monkeypatch.setattr(sys.modules["streamgd._single"], "doubles_in", None)
    check_single([Clean])


# -- the package's own pieces -------------------------------------------------------------------


def subclasses(cls):
    for sub in cls.__subclasses__():
        yield sub
        yield from subclasses(sub)


OWN = sorted(
    {
        piece
        for family in (Loss, Optimizer, Penalty)
        for piece in subclasses(family)
        if piece.__module__.startswith("streamgd.") and getattr(piece, "kernel", "coordinate") == "coordinate"
    },
    key=lambda piece: piece.__qualname__,
)


def test_all_pieces_are_there():
    names = {piece.__name__ for piece in OWN}
    assert {"Log", "Huber", "Adam", "COCOB", "FTRLProximal", "ElasticNet", "TruncatedGradient"} <= names


@pytest.mark.parametrize("piece", OWN, ids=lambda piece: piece.__name__)
def test_own_pieces_compute_in_float32(piece):
    assert doubles_of(piece) == []


def arguments(piece, name, rng):
    """Random arguments of a rule, float32 as floats: (own, rest)."""
    n = {key: getattr(piece, f"n_{key}", 0) for key in ("slots", "scalars", "sums")}
    n |= {"totals": 2, "before": 2, "after": 2}

    def draw(parameter):
        if parameter in n:
            values = rng.uniform(0.5, 2.0, n[parameter]) + (parameter == "after")
            return tuple(float(f(v)) for v in values)
        if parameter == "y":
            if getattr(piece, "binary", False):
                return float(rng.integers(2))
            return float(rng.integers(1, 5))
        if parameter == "t":
            return float(rng.integers(1, 200))
        if parameter in ("w", "x", "g", "p"):
            return float(f(rng.normal()))
        return float(f(rng.uniform(0.05, 1.0)))

    parameters = piece.contract[name][1:]
    if "c" not in parameters:
        return tuple(map(draw, parameters))
    constants = (float(f(rng.uniform(0.05, 1.0))),)
    if piece.overrides("row"):
        _, constants = piece.row(hyper(piece), *arguments(piece, "row", rng))
        constants = tuple(float(f(c)) for c in constants)
    return tuple(constants if parameter == "c" else draw(parameter) for parameter in parameters)


def hyper(piece):
    return piece.struct(*(float(f(v)) for v in piece().hyper()))


def flat(value):
    return [leaf for item in value for leaf in flat(item)] if isinstance(value, tuple) else [float(value)]


def moved(value, rng, size):
    if isinstance(value, tuple):
        items = [moved(item, rng, size) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value * (1.0 + size * rng.choice([-1.0, 1.0]))


def as_single(value):
    if isinstance(value, tuple):
        items = [as_single(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return f(value)


@jitable
def store_float(out, k, value):
    out[k] = value


RULES = [(piece, name) for piece in OWN for name in piece.contract if piece.overrides(name)]
RULES = [(piece, name) for piece, name in RULES if name != "full"]  # a test, no number


@pytest.mark.parametrize(("piece", "name"), RULES, ids=lambda value: getattr(value, "__name__", value))
def test_own_rules_in_float32_are_as_good_as_float32_allows(piece, name):
    """No further from float64 than 16 times what inputs move a result that are off by one rounding.

    Each input (hyper-parameters too) is moved by 2 ** -24 of itself, up or down, 16 times; the bound is 16
    times the largest change, plus 16 roundings of the result.
    """
    rng = np.random.default_rng(5)
    rule, copy = getattr(piece, name), njit(error_model="numpy")(single(getattr(piece, name)))
    for _ in range(40):
        args = (hyper(piece), *arguments(piece, name, rng))
        exact = np.array(flat(rule(*args)))
        around = np.array([flat(rule(*moved(args, rng, EPS / 2))) for _ in range(16)])
        bound = 16 * np.abs(around - exact).max(0) + 16 * EPS / 2 * np.abs(exact)
        got = np.array(flat(copy(*as_single(args))))
        assert (np.abs(got - exact) <= bound + np.finfo(f).tiny).all(), (args, exact, got, bound)
