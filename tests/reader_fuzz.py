"""Rows that try to crash or fool the dict reader, as a program, so that a crash does not end the tests.

Prints JSON: the cases tried, how often a kernel returned each status, and what was wrong. Sessions
alternate. In tame ones each row is held against the naive learner: a wrong slot is worse than a
crash. In wild ones a twin whose rows are all read by Python must stay equal to the bit.
"""

from __future__ import annotations

import argparse
import collections
import ctypes
import decimal
import fractions
import gc
import json
import math
import random
import time
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cases import COVERING
from naive import INTERCEPT

from streamgd import _features as f
from streamgd.kernels import linear

_STATUSES = (
    "OK NOOP NOT_READ NOT_TARGET NOT_WEIGHT BAD_ROW BAD_TARGET BAD_WEIGHT OVERFLOW REFILL IS_BUSY ADOPT"
)
STATUS_NAMES: dict[int, str] = {
    getattr(f, name): name for name in f"{_STATUSES} REFILL IS_BUSY ADOPT".split()
}

PLAN = [case for case in COVERING if str(case) in {
    "Log-SGD", "Squared-Momentum", "Squared-AdaGrad-l1-l2", "Squared-Normalized", "Log-RMSProp",
    "Log-Adam-l1", "Huber-SGD-l1", "Log-Normalized",
}]  # fmt: skip
SESSION = 700  # cases a model lives for
NAN = float("nan")

error_pending = ctypes.PyDLL(None).PyErr_Occurred
error_pending.restype = ctypes.c_void_p


# -- strange objects ---------------------------------------------------------------------------


class Text(str):
    """A str with methods of its own that change nothing."""

    def __hash__(self) -> int:
        return str.__hash__(self)

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other)


class Folded(str):
    """Equal to its own lower case, as str's are not."""

    def __hash__(self) -> int:
        return hash(self.lower())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self.lower() == other.lower()


class Acting:
    """An object that does something, once, when it is read as a number, hashed or compared."""

    act: Callable[[], None] | None = None

    def go(self) -> None:
        act, self.act = self.act, None
        if act is not None:
            act()


class Key(Acting):
    def __init__(self, name: str) -> None:
        self.name = name

    def __hash__(self) -> int:
        self.go()
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        self.go()
        return isinstance(other, Key) and self.name == other.name

    def __repr__(self) -> str:
        return f"Key({self.name!r})"


class Value(Acting):
    def __init__(self, number: float) -> None:
        self.number = number

    def __float__(self) -> float:
        self.go()
        return self.number


class Halved(float):
    def __float__(self) -> float:
        return float.__mul__(self, 0.5)


class Doubled(int):
    def __float__(self) -> float:
        return 2.0 * int(self)


class Stop(Exception):
    """What acting objects raise."""


class Plain(dict):
    """A subclass of dict is read through its methods."""


def plus_one(x: Mapping[Any, Any]) -> Any:
    """Return a dict whose items are not what its memory says."""

    class Shifted(dict):
        def items(self) -> Any:
            return [(k, v + 1.0) for k, v in super().items()]

    return Shifted(x)


GOOD = [  # values that differ in kind: how to make one of a small float
    float, float, float, float, int, lambda v: v > 0, np.float64, np.float32, np.float16, np.longdouble,
    lambda v: np.int64(v), lambda v: np.int8(v), lambda v: np.int32(v), lambda v: np.uint64(abs(v)),
    lambda v: np.bool_(v > 0), lambda v: decimal.Decimal(v), lambda v: fractions.Fraction(v), np.array,
    lambda v: np.array(v, dtype=np.float32), Halved, lambda v: Doubled(v), Value, lambda v: -0.0,
]  # fmt: skip
BAD = [
    NAN, math.inf, -math.inf, None, "1.5", b"1", 1e308, -1e151, 10**400, -(10**200), [], object(), 1j,
    np.complex128(1), np.float64("nan"), np.float32("inf"), np.float16("nan"), np.array([1.0, 2.0]),
    decimal.Decimal("NaN"), decimal.Decimal("1e400"), fractions.Fraction(10**400), dict,
    Halved("nan"), np.array(math.nan), np.datetime64("2020-01-01"), Doubled(10**160), np.str_("1"),
]  # fmt: skip
EXTREME = [5e-324, 1e-200, 1e-160, 1e30, -1e75, 10**30, 2**63, -(2**70), 1e149, np.float32(3e38), 1e5]
NAMES = [f"feature {k}" for k in range(40)] + list(range(8)) + [257, 2**40, 2**80, -5]
ODD = [
    ("a", 1), (), b"bytes", None, NAN, frozenset({1, 2}), True, False, np.str_("feature 3"),
    np.str_("scalar"), Text("feature 4"), Text("own"), Folded("FEATURE 5"), Folded("Folded"), 1.5, 3.0,
    np.float64(2.0), np.float64("nan"), np.int64(7), np.int8(100), np.bool_(True),
    np.datetime64("2020-01-01", "ns"),
    np.timedelta64(5, "ns"), Key("one"), Key("two"), float, math.sin, 1j, decimal.Decimal(4),
]  # fmt: skip


def fresh(name: Any) -> Any:
    """Return an equal object of the same type; another one, if there can be one."""
    if type(name) is str:
        return "".join(list(name))
    return int(str(name)) if type(name) is int else name


# -- what is held against what -----------------------------------------------------------------


def arrays(model: Any) -> tuple[bytes, ...]:
    return tuple(a.tobytes() for a in (model._weights, model._slots, model._charged, model._scalars))


def state(model: Any) -> tuple[Any, ...]:
    """All that a model has learned. Odd names by identity: comparing them could run their code."""
    n = len(model._features)
    parts = (model._weights[:n], model._slots[:, :n], model._charged[:n], model._scalars)
    targets = getattr(model, "labels_", ())
    names = [name if type(name) in (str, int) else id(name) for name in model._features.names]
    return (*(a.tobytes() for a in parts), names, repr(targets))


def leftovers(model: Any) -> bool:
    """Whether places that no feature has are not as new."""
    n = len(model._features)
    return bool(model._weights[n:].any() or model._slots[:, n:].any() or model._charged[n:].any())


@dataclass
class Report:
    reached: collections.Counter[int] = field(default_factory=collections.Counter)
    failures: list[str] = field(default_factory=list)
    cases: int = 0
    kinds: collections.Counter[str] = field(default_factory=collections.Counter)


class Watch:
    """A model's learning kernel, watched: statuses are counted; all but OK must leave the arrays alone."""

    def __init__(self, model: Any, report: Report) -> None:
        self.model, self.report = model, report
        self.kernel = linear.learn(model._pieces)

    def call(self, x: Any, y: Any, w: Any, control: Any) -> int:
        before = arrays(self.model)
        samples = self.model.n_samples
        status = self.kernel.call(x, y, w, control)
        same = arrays(self.model) == before
        if error_pending():
            self.report.failures.append(f"an exception was left after status {status}")
        if not same and (status != f.OK if x is not None else self.model.n_samples == samples):
            self.report.failures.append(f"status {STATUS_NAMES[status]} and the arrays changed")
        # a row of weight 0 comes back as OK
        self.report.reached[f.NOOP if x is not None and status == f.OK and same else status] += 1
        return status


@dataclass
class Case:
    """One call: what is passed, what it means to the naive learner, and what must come of it."""

    x: Any
    y: Any
    truth: dict[Any, float] | None = None  # None: not to be held against the naive learner
    target: float = 0.0
    w: Any = 1.0
    weight: float = 1.0
    must: str = "learn"  # or "refuse", "nothing", "any"
    call: Callable[[], Any] | None = None


class Session:
    """A model, and what it is held against."""

    def __init__(self, number: int, report: Report) -> None:
        self.report = report
        self.plan = PLAN[number % len(PLAN)]
        self.wild = number // len(PLAN) % 2 == 1
        self.binary = self.plan.binary
        self.skips = number % 3 == 0
        options = {"on_invalid": "skip" if self.skips else "raise"}
        self.models = [self.plan.ours(**options)]
        self.models[0]._kernel = Watch(self.models[0], report)
        self.naive = self.plan.naive()
        self.living: dict[Any, Any] = {}
        if self.wild:
            self.models.append(self.plan.ours(**options))
            self.models[1]._control[f.DICT] = -1  # no object is read in the kernel
        self.now = self.models[0]
        self.expected: tuple[Any, ...] = ()
        self.n_expected = 0

    # pieces of rows

    def names(self, rng: random.Random) -> list[Any]:
        n = rng.choice((0, 1, 2, 3, 5, 8, 8, 10))
        names = NAMES[:n] if rng.random() < 0.3 else rng.sample(NAMES, n)
        return [fresh(name) for name in names] if rng.random() < 0.5 else names

    def row(self, rng: random.Random) -> dict[Any, float]:
        return {name: rng.uniform(-1.2, 1.2) for name in self.names(rng)}

    def target(self, rng: random.Random) -> tuple[Any, float]:
        if self.binary:
            y = rng.random() < 0.5
            return y, float(y)
        number = rng.uniform(-2.0, 2.0)
        return number, number

    def plain(self, rng: random.Random) -> Case:
        x = self.row(rng)
        y, target = self.target(rng)
        if rng.random() < 0.2:
            h = rng.choice((0.5, 2, 1, True))
            return Case(x, y, dict(x), target, h, float(h))
        return Case(x, y, dict(x), target)

    # kinds of cases

    def same_dict(self, rng: random.Random) -> Case:
        """One dict that changes between calls."""
        y, target = self.target(rng)
        if self.now is self.models[0]:
            x = self.living
            for _ in range(rng.randrange(4)):
                what = rng.random()
                if x and what < 0.3:
                    del x[rng.choice(list(x))]
                elif x and what < 0.5:
                    name = next(iter(x))
                    x[name] = x.pop(name)  # to the end
                elif len(x) < 10:
                    x[fresh(rng.choice(NAMES))] = rng.uniform(-1, 1)
        return Case(self.living, y, dict(self.living), target)

    def odd_keys(self, rng: random.Random) -> Case:
        case = self.plain(rng)
        for name in rng.sample(ODD, rng.randint(1, 3)):
            case.x[name] = rng.uniform(-1, 1)
        if rng.random() < 0.5:
            items = list(case.x.items())
            rng.shuffle(items)
            case.x = dict(items)
        case.truth = dict(case.x)
        return case

    def odd_values(self, rng: random.Random) -> Case:
        case = self.plain(rng)
        assert case.truth is not None
        for name in case.x:
            make = rng.choice(GOOD)
            number = rng.uniform(-2.0, 2.0)
            case.x[name] = make(number)
            case.truth[name] = float(make(number))
        return case

    def odd_target(self, rng: random.Random) -> Case:
        case = self.plain(rng)
        if self.binary:
            case.y = rng.choice((np.bool_, int, float, np.int64, np.float32))(case.y)
        else:
            make = rng.choice(GOOD)
            case.y, case.target = make(case.target), float(make(case.target))
        return case

    def odd_weight(self, rng: random.Random) -> Case:
        case = self.plain(rng)
        make = rng.choice(GOOD)
        number = rng.uniform(0.1, 2.0)
        case.w, case.weight = make(number), float(make(number))
        if case.weight == 0:
            case.must = "nothing"
        return case

    def zero_weight(self, rng: random.Random) -> Case:
        case = self.plain(rng)
        case.w, case.must = rng.choice((0.0, 0, False, -0.0, np.float64(0))), "nothing"
        return case

    def bad_value(self, rng: random.Random) -> Case:
        case = self.plain(rng)
        case.x[rng.choice((fresh(NAMES[2]), NAMES[0], "new", rng.choice(ODD)))] = rng.choice(BAD)
        items = list(case.x.items())
        rng.shuffle(items)
        case.x, case.must = dict(items), "refuse"
        return case

    def bad_target(self, rng: random.Random) -> Case:
        case = self.plain(rng)
        bad = [None, NAN, np.float64("nan"), object(), [], 1j]
        more = ["no", "maybe", 7, b"x"] if self.binary and self.now.n_samples else []
        case.y = rng.choice(bad + (more if self.binary else [math.inf, "1", 10**400, 1e151]))
        if self.binary and len(self.now.labels_) < 2 and case.y in more:
            case.y = None
        case.must = "refuse"
        return case

    def bad_weight(self, rng: random.Random) -> Case:
        case = self.plain(rng)
        case.w = rng.choice(
            (-1, -1e-300, NAN, math.inf, None, "1", 10**400, -np.float64(1), 1j, np.float32(-1), [])
        )
        case.must = "refuse"
        return case

    def bad_row(self, rng: random.Random) -> Case:
        y, _ = self.target(rng)
        self.know(NAMES[:3])
        x = {fresh(NAMES[1]): 1e150, NAMES[0]: rng.uniform(-1, 1), NAMES[2]: -1e150}
        return Case(x, y, must="refuse")

    def overflow(self, rng: random.Random) -> Case:
        y, _ = self.target(rng)
        self.know(NAMES[:3])
        if self.plan.clip_gradient < 1:
            return self.plain(rng)  # no gradient is too large
        x = {NAMES[0]: rng.uniform(1, 9) * 1e149, fresh(NAMES[1]): 1.0}
        if self.binary:
            y = self.now.weights[NAMES[0]] < 0  # the wrong label
        return Case(x, y, w=1e130, must="any" if self.wild else "refuse")

    def know(self, names: list[Any]) -> None:
        """See to it that some features are known, and the labels, in all that is compared."""
        if all(name in self.now._features._index for name in names):
            return
        for target in (False, True) if self.binary else (0.5,):
            self.learn_inner(dict.fromkeys(names, 0.5), target)

    def learn_inner(self, x: dict[Any, float], y: Any) -> None:
        """Learn a sample more than the case says, all that is compared alike."""
        self.now.learn_one(x, y)
        self.naive.learn(x, float(y))
        self.expected, self.n_expected = state(self.now), self.n_expected + 1

    def refill(self, rng: random.Random) -> Case:
        self.now._control[f.N_RATES] = 0
        return self.plain(rng)

    def adoption(self, rng: random.Random) -> Case:
        self.know(NAMES[:12])
        self.now._control[f.ADOPT_AT] = f.FIRST_ADOPTION
        self.now._control[f.LOOKUPS] = f.FIRST_ADOPTION - 1
        y, target = self.target(rng)
        x = {fresh(name): rng.uniform(-1, 1) for name in rng.sample(NAMES[:12], rng.randint(1, 9))}
        return Case(x, y, dict(x), target)

    def busy(self, rng: random.Random) -> Case:
        """A key that is being registered calls the model to learn."""
        case = self.plain(rng)
        key = Key("registered")
        case.x[key] = 1.0
        model, y = self.now, case.y

        def act() -> None:
            for x in ({}, {NAMES[0]: 1.0}, {"unknown": 1.0}):
                try:
                    model.learn_one(x, y)
                except RuntimeError:
                    continue
                self.fail("learned while it was learning")
            model.predict_one({NAMES[0]: 1.0, "unknown": 1.0})
            raise Stop

        key.act = act
        case.must = "refuse"
        return case

    def job(self, rng: random.Random) -> Case:
        """Two rows of arrays, the first of them bad in its target or its weight."""
        model = self.now
        columns = rng.sample(NAMES[:20], rng.choice((1, 3)))
        X = np.array([[rng.uniform(-1, 1) for _ in columns] for _ in range(2)])
        y = np.array([True, False]) if self.binary else np.array([0.5, 1.0])
        w = np.ones(2)
        if rng.random() < 0.5:
            w[0] = rng.choice((-1.0, NAN, math.inf))
        else:
            y = np.array([None, y[1]], dtype=object) if self.binary else np.array([NAN, y[1]])
        if rng.random() < 0.3:
            X = X.astype(np.float32)

        # only the first row, where bad rows are skipped: the second would be learned
        n = 1 if self.skips else 2
        call = lambda: model.learn_rows(X[:n], y[:n], w[:n], columns=columns)  # noqa: E731
        return Case(None, None, must="refuse", call=call)

    def acting(self, rng: random.Random) -> Case:
        """A value that acts when it is read."""
        case = self.plain(rng)
        assert case.truth is not None
        actor = Value(0.5)
        case.x["acting"] = actor
        case.truth["acting"] = 0.5
        x, model, y = case.x, self.now, case.y
        what = rng.randrange(8)
        if what < 2:
            actor.act = lambda: self.raises(Stop if what else KeyboardInterrupt)
            case.must = "refuse"
        elif what == 2:
            actor.act = x.clear
        elif what == 3:
            actor.act = lambda: x.update({fresh(name): NAN for name in NAMES[:20]})
        elif what == 4:
            actor.act = lambda: self.learn_inner({"inner": 0.5, NAMES[1]: 0.5, fresh(NAMES[7]): 1.0}, y)
        elif what == 5:
            actor.act = lambda: model.predict_one({fresh(name): 0.5 for name in NAMES[:20]})
        elif what == 6:
            actor.act = lambda: self.swallow(lambda: model.learn_one({NAMES[0]: NAN}, y))
        else:
            actor.act = lambda: self.grow_inner(y)
        return case

    def grow_inner(self, y: Any) -> None:
        n = len(self.now._features)
        if n < 500:
            self.learn_inner({f"grown {k}": 0.01 for k in range(n, n + 20)}, y)

    def swallow(self, call: Callable[[], Any]) -> None:
        """Call the model with what it refuses, from inside of it."""
        bad = self.now.n_invalid
        try:
            call()
        except ValueError:
            return
        if self.now.n_invalid == bad:
            self.fail("took NaN from inside")
        self.now.n_invalid = bad  # the outer row is a good one

    def raises(self, error: type[BaseException]) -> None:
        raise error

    def acting_key(self, rng: random.Random) -> Case:
        """A key that acts when it is hashed or compared: the row is refused, or learned as it was."""
        case = self.plain(rng)
        assert case.truth is not None
        key, known = Key("one"), Key("one")
        case.x = {**case.x, key: 0.5} if rng.random() < 0.5 else {key: 0.5, **case.x}
        case.truth[known] = 0.5
        x, model = case.x, self.now
        what = rng.randrange(5)
        if what < 2:
            key.act = lambda: self.raises(Stop if what else KeyboardInterrupt)
            case.must = "refuse"
        elif what == 2:
            key.act = x.clear
        elif what == 3:
            key.act = lambda: x.update({fresh(name): NAN for name in NAMES[:20]})
        else:
            key.act = lambda: model.predict_one({fresh(name): 0.5 for name in NAMES[:20]})
        return case

    def mapping(self, rng: random.Random) -> Case:
        case = self.plain(rng)
        kinds: list[Callable[[dict[Any, float]], Any]] = [
            Plain, collections.OrderedDict, collections.Counter, types.MappingProxyType, collections.ChainMap,
            collections.UserDict, lambda x: collections.defaultdict(float, x), plus_one,
        ]  # fmt: skip
        make = rng.choice(kinds)
        case.x = make(case.x)
        case.truth = dict(case.x.items())
        return case

    def no_mapping(self, rng: random.Random) -> Case:
        y, _ = self.target(rng)
        return Case(
            rng.choice((None, [], "x", 1.0, {1, 2}, [("a", 1.0)], np.zeros(3), dict, iter({}))),
            y,
            must="refuse",
        )

    def anything(self, rng: random.Random) -> Case:
        """All mixed: only what holds for every row is checked."""
        x = {}
        for name in [*self.names(rng), *rng.sample(ODD, rng.randrange(3))]:
            what = rng.random()
            number = rng.uniform(-1, 1)
            x[name] = (
                number if what < 0.8 else rng.choice(GOOD)(number) if what < 0.95 else rng.choice(EXTREME)
            )
        if rng.random() < 0.1:
            x[fresh(rng.choice(NAMES))] = rng.choice(BAD)
        y = (
            self.target(rng)[0]
            if rng.random() < 0.9
            else rng.choice([*BAD, "no", 1, 0, -1, Text("no"), 1e140])
        )
        if self.binary and type(y) is int and abs(y) >= 2**63:
            y = True
        w = 1.0 if rng.random() < 0.9 else rng.choice([*BAD, 0, 1e149, 5e-324, *EXTREME])
        return Case(x, y, w=w, must="any")

    def prediction(self, rng: random.Random) -> Case:
        """Unknown features are left out; known ones count."""
        makers = [self.plain, self.odd_keys, self.odd_values, self.acting, self.mapping]
        case = rng.choice(makers + [self.anything, self.bad_value] * 3 * self.wild)(rng)
        model, x = self.now, case.x
        for value in list(x.values()) if isinstance(x, dict) else ():
            if isinstance(value, Acting):
                value.act = None
        if case.truth is not None and not self.wild:
            wanted, got = self.naive.output(case.truth), self.output(x)
            # of features that the model has not met, the naive learner knows nothing either
            if not math.isclose(got, wanted, rel_tol=1e-8, abs_tol=1e-9):
                self.fail(f"the raw output of {case.truth!r} is {got!r}, not {wanted!r}")
        call = model.predict_proba_one if self.binary and rng.random() < 0.5 else model.predict_one
        return Case(x, None, must="any", call=lambda: self.unchanged(lambda: call(x)))

    def unchanged(self, call: Callable[[], Any]) -> None:
        before = state(self.now)
        try:
            call()
        finally:
            if state(self.now) != before:
                self.fail("a prediction changed the model")

    def output(self, x: Any) -> float:
        """Return the raw output, from what predict_one or predict_proba_one says."""
        if not self.binary:
            return float(self.now.predict_one(x))
        p = self.now.predict_proba_one(x).get(True, 0.5)
        return math.log(p / (1 - p)) if 0 < p < 1 else math.inf

    # one case

    def fail(self, what: str) -> None:
        where = f"{self.plan}, {'wild' if self.wild else 'tame'}, case {self.report.cases}, {self.kind}"
        self.report.failures.append(f"{where}: {what}")

    def run(self, kind: str, seed: int) -> None:
        self.report.cases += 1
        self.report.kinds[kind] += 1
        self.kind = kind
        outcomes = [self.one(model, kind, random.Random(seed)) for model in self.models]
        if self.wild:
            first, second = self.models
            n = len(first._features)
            if outcomes[0] != outcomes[1]:
                self.fail(f"the kernel's reader gave {outcomes[0]}, Python's {outcomes[1]}")
            if n != len(second._features) or state(first)[:4] != state(second)[:4]:
                self.fail("the kernel's reader and Python's learned different things")

    def one(self, model: Any, kind: str, rng: random.Random) -> tuple[Any, ...]:
        self.now = model
        self.expected, self.n_expected = state(model), model.n_samples
        case = getattr(self, kind)(rng)
        bad = model.n_invalid
        error: BaseException | None = None
        try:
            if case.call is not None:
                case.call()
            else:
                model.learn_one(case.x, case.y, case.w)
        except (Exception, KeyboardInterrupt) as raised:
            error = raised
            if not isinstance(error, (ValueError, TypeError, RuntimeError, KeyboardInterrupt, Stop)):
                self.fail(f"{error!r} from {case}")
        refused = error is not None or model.n_invalid != bad
        if refused or case.must == "nothing":
            if state(model) != self.expected:
                parts = ("weights", "slots", "charged", "scalars", "names", "labels")
                changed = [p for p, a, b in zip(parts, state(model), self.expected, strict=True) if a != b]
                self.fail(f"a refused row changed {changed} ({error!r}, {case})")
            if leftovers(model):
                self.fail(f"a refused row left something in places without a feature ({error!r})")
        if refused != (case.must == "refuse") and case.must != "any":
            self.fail(f"must {case.must}, but: {error!r}")
        if not np.isfinite(model._weights).all() or not np.isfinite(model._slots).all():
            self.fail("a weight or a slot is not finite")
        if case.must == "learn" and model.n_samples != self.n_expected + 1:
            self.fail(f"{model.n_samples - self.n_expected} samples learned")
        if case.must == "learn" and case.truth is not None and not self.wild:
            self.naive.learn(case.truth, case.target, case.weight)
            self.compare()
        return type(error), refused, model.n_samples

    def compare(self) -> None:
        """Hold every weight against the naive learner's."""
        model, weights = self.now, self.naive.weights
        names = model._features.names
        for name, weight in zip(names, model._weights.tolist(), strict=False):
            if not math.isclose(weight, weights.get(name, NAN), rel_tol=1e-9, abs_tol=1e-11):
                self.fail(f"the weight of {name!r} is {weight!r}, not {weights.get(name)!r}")
                weights[name] = weight  # told once
        if not math.isclose(model.intercept, self.naive.intercept, rel_tol=1e-9, abs_tol=1e-11):
            self.fail(f"the intercept is {model.intercept!r}, not {self.naive.intercept!r}")


TAME = [
    "plain", "same_dict", "odd_keys", "odd_values", "odd_target", "odd_weight", "zero_weight", "bad_value",
    "bad_target", "bad_weight", "bad_row", "overflow", "refill", "adoption", "busy", "job", "acting",
    "acting_key", "mapping", "no_mapping", "prediction",
]  # fmt: skip
NEEDED = {  # what reaches a status that is short
    f.OK: "plain", f.NOOP: "zero_weight", f.NOT_READ: "odd_keys", f.NOT_TARGET: "odd_target",
    f.NOT_WEIGHT: "bad_weight", f.BAD_ROW: "bad_row", f.BAD_TARGET: "job", f.BAD_WEIGHT: "job",
    f.OVERFLOW: "overflow", f.REFILL: "refill", f.IS_BUSY: "busy", f.ADOPT: "adoption",
}  # fmt: skip


def grow(plan: Any, size: int, rng: random.Random) -> list[str]:
    """Learn rows of up to ``size`` features, with new ones in each, in any order."""
    model, naive = plan.ours(), plan.naive()
    names = [f"feature {k}" for k in range(size)]
    for step in range(4):
        some = names[: size * (step + 1) // 4]
        if step % 2:
            some = rng.sample(some, len(some) * 3 // 4)
        x = {fresh(name): rng.uniform(-1, 1) / (1 + size) ** 0.5 for name in some}
        naive.learn(x, 1.0)
        model.learn_one(x, True if plan.binary else 1.0)
    if set(model.weights) != set(naive.weights) - {INTERCEPT}:
        return [f"{plan}: {size} features, but names are missing or more"]
    wrong = [
        k
        for k, w in model.weights.items()
        if not math.isclose(w, naive.weights[k], rel_tol=1e-9, abs_tol=1e-12)
    ]
    return [f"{plan}: {len(wrong)} of {size} weights are wrong, such as {wrong[0]!r}"] if wrong else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=10_000, help="times that each status must be reached")
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop then, whatever was reached")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    start = time.perf_counter()
    report = Report()
    rng = random.Random(given.seed)
    for size in (0, 1, 16, 17, 33, 1000, 100_000):
        for plan in PLAN[: 2 if size > 1000 else None]:
            report.failures += grow(plan, size, rng)
    number = 0
    short: list[int] = list(NEEDED)
    while short and time.perf_counter() - start < given.seconds and len(report.failures) < 20:
        session = Session(number, report)
        kinds = [*TAME, *["anything"] * 10] if session.wild else TAME
        short = [status for status in NEEDED if report.reached[status] < given.each]
        for k in range(SESSION):
            kind = NEEDED[rng.choice(short)] if short and k % 3 else rng.choice(kinds)
            session.run(kind, rng.getrandbits(32))
        number += 1
        if number % 10 == 0:
            gc.collect()
    print(json.dumps({
        "cases": report.cases,
        "models": number,
        "reached": {name: report.reached[status] for status, name in STATUS_NAMES.items()},
        "kinds": report.kinds,
        "failures": report.failures[:20],
        "seconds": round(time.perf_counter() - start, 1),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
