"""The dict reader: nothing crashes it, no value lands in a wrong slot, a bad row changes nothing."""

from __future__ import annotations

import copy
import dataclasses
import gc
import json
import math
import os
import pickle
import random
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from cases import COVERING
from hypothesis import given, settings
from hypothesis import strategies as st
from reader_fuzz import STATUS_NAMES

import streamgd
from streamgd import _features as f
from streamgd import optim
from streamgd.linear_model import LinearRegression, LogisticRegression
from streamgd.optim.base import Scheduler

HERE = Path(__file__).parent
CASES = {str(case): case for case in COVERING}
NAN = float("nan")

both_readers = pytest.mark.parametrize("native", [True, False], ids=["native", "python"])
both_rules = pytest.mark.parametrize("rule", ["Log-SGD", "Log-Adam-l1"])


def build(rule: str, native: bool = True, **more: Any) -> Any:
    """Make a model whose dicts are read by the kernel, or by Python only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f, "NATIVE", native)
        model = CASES[rule].ours(**more)
    assert (model._control[f.DICT] == id(dict)) == native
    return model


def learned(model: Any) -> list[Any]:
    """All that a model has learned, to the bit."""
    n = len(model.weights)
    arrays = (model._weights[:n], model._slots[:, :n], model._charged[:n], model._scalars)
    return [a.tobytes() for a in arrays] + [list(model.weights), getattr(model, "labels_", None)]


def fresh(name: str) -> str:
    """Return an equal str that is another object."""
    return "".join(list(name))


def alone(code: str, timeout: float = 120) -> str:
    """Run a program in a process of its own, where what is freed is overwritten; return what it prints."""
    environment = {
        **os.environ,
        "PYTHONMALLOC": "debug",
        "MALLOC_PERTURB_": "65",  # freed numbers read as 2.2e6
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(code)]
    run = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )
    assert run.returncode == 0, f"exit status {run.returncode}\n{run.stdout}{run.stderr}"
    return run.stdout


# -- strange rows, by the ten thousand ---------------------------------------------------------


def test_strange_rows() -> None:
    program = f"""
        import sys
        sys.path.insert(0, {str(HERE)!r})
        sys.argv = ["reader_fuzz"]
        import reader_fuzz
        reader_fuzz.main()
    """
    report = json.loads(alone(program, timeout=600).splitlines()[-1])
    assert report["failures"] == []
    assert set(report["reached"]) == set(STATUS_NAMES.values())
    assert {name: n for name, n in report["reached"].items() if n < 10_000} == {}


# -- right slots -------------------------------------------------------------------------------

NAMES = [f"name {k:02}" for k in range(14)]


def same_objects(rng: random.Random) -> Iterator[dict[Any, float]]:
    while True:
        yield {name: rng.gauss(0, 1) for name in NAMES[:9]}


def from_json(rng: random.Random) -> Iterator[dict[Any, float]]:
    for row in shuffled(rng):
        yield json.loads(json.dumps(row))


def shuffled(rng: random.Random) -> Iterator[dict[Any, float]]:
    while True:
        yield {name: rng.gauss(0, 1) for name in rng.sample(NAMES, 9)}


def missing(rng: random.Random) -> Iterator[dict[Any, float]]:
    while True:
        yield {name: rng.gauss(0, 1) for name in NAMES if rng.random() < 0.6}


def growing(rng: random.Random) -> Iterator[dict[Any, float]]:
    n = 0
    while True:
        n += 1
        yield {f"new {rng.randrange(max(0, n - 12), n + 1)}": rng.gauss(0, 1) for _ in range(6)}


def other_objects_now_and_then(rng: random.Random) -> Iterator[dict[Any, float]]:
    """Rows that keep their key objects long enough for the model to take them over, then have others."""
    while True:
        names = [fresh(name) for name in rng.sample(NAMES, 9)]
        for _ in range(rng.choice((1, 5, 80))):
            yield {name: rng.gauss(0, 1) for name in names}


def reused_addresses(rng: random.Random) -> Iterator[dict[Any, float]]:
    """Names of one length, freed after each row: the next row's names lie where others lay."""
    while True:
        yield {f"r{rng.randrange(30):03}": rng.gauss(0, 1) for _ in range(5)}
        yield {f"s{rng.randrange(30):03}": rng.gauss(0, 1) for _ in range(5)}


def equal_names(rng: random.Random) -> Iterator[dict[Any, float]]:
    """Names that are equal, and of one slot, though of different types."""
    while True:
        names = [
            rng.choice((1, True, 1.0, np.int64(1))),
            rng.choice(("a", np.str_("a"), fresh("ab"))),
            300 + 0,
        ]
        names += [rng.choice((2**70, float(2**70))), ("t", rng.randrange(2)), rng.choice((0, False, -0.0))]
        rng.shuffle(names)
        yield {name: rng.gauss(0, 1) for name in names}


STREAMS = [
    same_objects, from_json, shuffled, missing, growing, other_objects_now_and_then, reused_addresses,
    equal_names,
]  # fmt: skip


def follow(model: Any, reference: naive.Linear, x: dict[Any, float], y: bool) -> None:
    """Predict and learn one row, and hold prediction and all weights against the naive learner's."""
    z = reference.output(x)
    assert model.predict_proba_one(x)[True] == pytest.approx(1 / (1 + math.exp(-z)), rel=1e-9)
    model.learn_one(x, y)
    reference.learn(x, float(y))
    close = all(
        math.isclose(w, reference.weights[name], rel_tol=1e-9, abs_tol=1e-12)
        for name, w in model.weights.items()
    )
    assert close, (model.weights, reference.weights)
    assert len(model.weights) == len(reference.weights)


@both_readers
@both_rules
@pytest.mark.parametrize("stream", STREAMS)
def test_each_value_lands_in_its_slot(stream: Any, rule: str, native: bool) -> None:
    model, reference = build(rule, native), CASES[rule].naive()
    rng = random.Random(1)
    for i, x in zip(range(250), stream(rng), strict=False):  # keys are taken over at 32, 96 and 224
        follow(model, reference, x, rng.random() < 0.5)
        del x
        if i % 100 == 0:
            gc.collect()


@both_readers
@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.text(max_size=3), st.floats(-4, 4).map(lambda v: round(v, 3)), max_size=6),
            st.booleans(),
        ),
        max_size=12,
    ),
    st.randoms(use_true_random=False),
)
@settings(max_examples=60)
def test_any_names_in_any_order(native: bool, stream: Any, rng: Any) -> None:
    model, reference = build("Log-Adam-l1", native), CASES["Log-Adam-l1"].naive()
    for x, y in stream:
        items = [(fresh(name), v) for name, v in x.items()]
        for _ in range(2):
            rng.shuffle(items)
            follow(model, reference, dict(items), y)


@pytest.mark.parametrize("rule", ["Squared-SGD-l2", "Log-RMSProp", "Squared-Normalized"])
def test_both_readers_agree_to_the_bit(rule: str) -> None:
    rng = random.Random(2)
    one, other = build(rule), build(rule, native=False)
    for _, x in zip(range(300), missing(rng), strict=False):
        y = rng.random() < 0.5
        for model in (one, other):
            model.learn_one(x, y)
        assert learned(one) == learned(other)


def test_a_dict_of_every_size() -> None:
    model, reference = build("Log-SGD"), CASES["Log-SGD"].naive()
    for size in (0, 1, 15, 16, 17, 1000, 31, 0, 1001):
        follow(model, reference, {f"feature {k}": 1 / (k + 1) for k in range(size)}, size % 2 == 0)


# -- NaN ---------------------------------------------------------------------------------------

FRAME = pd.DataFrame({"a": [1.0, NAN], "b": [0.5, 0.5]})
BAD_FIRST = FRAME.iloc[::-1]
GOOD = FRAME.iloc[:1]


def rows_of(dtype: str) -> Any:
    return np.array([[NAN, 0.5], [1.0, 0.5]], dtype=dtype)


WITH_NAN: dict[str, Callable[[Any], Any]] = {
    "known feature": lambda m: m.learn_one({"a": NAN, "b": 1.0}, True),
    "known feature, not the first": lambda m: m.learn_one({"a": 1.0, "b": NAN}, True),
    "fresh key": lambda m: m.learn_one({fresh("bb")[:1]: NAN, "a": 1.0}, True),
    "new feature": lambda m: m.learn_one({"a": 1.0, "new": NAN}, True),
    "beside a new feature": lambda m: m.learn_one({"new": 1.0, "b": NAN}, True),
    "odd key": lambda m: m.learn_one({("a",): NAN}, True),
    "numpy float64": lambda m: m.learn_one({"a": np.float64("nan")}, True),
    "numpy float32": lambda m: m.learn_one({"a": np.float32("nan")}, True),
    "numpy float16": lambda m: m.learn_one({"a": np.float16("nan")}, True),
    "array of no dimension": lambda m: m.learn_one({"a": np.array(NAN)}, True),
    "target": lambda m: m.learn_one({"a": 1.0}, NAN),
    "numpy target": lambda m: m.learn_one({"a": 1.0}, np.float64("nan")),
    "weight": lambda m: m.learn_one({"a": 1.0}, True, NAN),
    "numpy weight": lambda m: m.learn_one({"a": 1.0}, True, np.float32("nan")),
    "rows float64": lambda m: m.learn_rows(rows_of("d"), [True, False], columns=["a", "b"]),
    "rows float32": lambda m: m.learn_rows(rows_of("f"), [True, False], columns=["a", "b"]),
    "rows, a new column": lambda m: m.learn_rows(rows_of("d"), [True, False], columns=["b", "new"]),
    "rows CSR": lambda m: m.learn_rows(
        scipy.sparse.csr_array(rows_of("d")), [True, False], columns=["a", "b"]
    ),
    "rows frame": lambda m: m.learn_rows(BAD_FIRST, [True, False]),
    "rows target": lambda m: m.learn_rows(GOOD, [NAN]),
    "rows weight": lambda m: m.learn_rows(GOOD, [True], [NAN]),
    "rows one weight": lambda m: m.learn_rows(GOOD, [True], NAN),
    "many": lambda m: m.learn_many(FRAME, [True, False]),
    "many float32": lambda m: m.learn_many(rows_of("f"), [True, False], columns=["a", "b"]),
    "many CSR": lambda m: m.learn_many(
        scipy.sparse.csr_array(rows_of("d")), [True, False], columns=["a", "b"]
    ),
    "many, new column": lambda m: m.learn_many(rows_of("d"), [True, False], columns=["b", "new"]),
    "many target": lambda m: m.learn_many(GOOD, [NAN]),
    "many weight": lambda m: m.learn_many(GOOD, [True], [NAN]),
    "predict_one": lambda m: m.predict_one({"a": NAN}),
    "predict_one, fresh key": lambda m: m.predict_one({"unknown": 1.0, fresh("bb")[:1]: np.float32("nan")}),
    "predict_many": lambda m: m.predict_many(FRAME),
    "predict_many float32": lambda m: m.predict_many(rows_of("f"), columns=["a", "b"]),
    "predict_many CSR": lambda m: m.predict_many(scipy.sparse.csr_array(rows_of("d")), columns=["a", "b"]),
}


@both_readers
@pytest.mark.parametrize("rule", ["Log-Adam-l1", "Squared-AdaGrad-l1-l2"])
@pytest.mark.parametrize("path", WITH_NAN)
def test_nan_leaves_every_array_as_it_was(path: str, rule: str, native: bool) -> None:
    model = build(rule, native)
    for k in range(40):
        model.learn_one({"a": k % 3 - 1.0, "b": 0.5}, k % 2 == 0)
    model.predict_one({"a": 1.0})
    before = learned(model)
    whole = [a.copy() for a in (model._weights, model._slots, model._charged, model._scalars)]
    with pytest.raises(ValueError, match="nan"):
        WITH_NAN[path](model)
    assert learned(model) == before
    for a, b in zip(whole, (model._weights, model._slots, model._charged, model._scalars), strict=True):
        np.testing.assert_array_equal(a, b)
    model.learn_one({"a": 1.0, "b": 0.5}, True)
    assert all(math.isfinite(w) for w in model.weights.values())


# -- threads and copies ------------------------------------------------------------------------

COUNTING = """
    import copy, faulthandler, math, pickle, sys, threading, time
    import numpy as np
    from streamgd import optim
    from streamgd.linear_model import LinearRegression

    faulthandler.dump_traceback_later(100, exit=True)  # a deadlock
    sys.setswitchinterval(1e-5)

    # Each sample moves the weight of "a" by exactly 1, so that it counts them.
    model = LinearRegression(optim.SGD(1.0), clip_gradient=1.0, intercept_lr=0.0)
    FAR = 1e12
    model.learn_one({"a": 1.0}, FAR)
    model.predict_one({"a": 1.0})
    end = time.monotonic() + SECONDS
    failures = []

    def run(*calls):
        done = [0] * len(calls)
        before = model.n_samples
        def repeat(k, call):
            try:
                while time.monotonic() < end:
                    done[k] += call()
            except BaseException as error:
                failures.append(f"{call.__name__}: {error!r}")
        threads = [threading.Thread(target=repeat, args=job) for job in enumerate(calls)]
        for t in threads: t.start()
        for t in threads: t.join()
        assert not failures, failures
        assert all(done), done
        assert model.n_samples == before + sum(done), (before, model.n_samples, done)
        assert model.weights["a"] == model.n_samples, model.weights["a"]
        print("right", done)
"""


def counting(seconds: float, code: str) -> str:
    return COUNTING.replace("SECONDS", str(seconds)) + textwrap.indent(textwrap.dedent(code), "    ")


def test_threads() -> None:
    """Rows, without the interpreter's lock, beside single samples, growth, predictions and copies."""
    program = """
        X, y = np.ones((50_000, 1)), np.full(50_000, FAR)
        X32 = np.tile(np.float32([0, 1]), (1000, 1))
        names = iter(range(10**9))
        seen = [0]

        def rows():
            model.learn_rows(X, y, columns=["a"])
            return len(X)

        def rows32():
            model.learn_rows(X32, y[:1000], columns=["z", "a"])
            return 1000

        def one():
            model.learn_one({"a": 1.0}, FAR)
            return 1

        def fresh_keys():
            model.learn_one({"".join(["z"]): 0.0, "".join(["z", "z"]): 0.0, "a": 1.0}, FAR)
            return 1

        def growth():
            model.learn_one({**{f"name {next(names)}": 0.0 for _ in range(300)}, "a": 1.0}, FAR)
            return 1

        def prediction():
            value = model.predict_one({"unknown": 7.0, "a": 1.0})
            assert value >= seen[0] and value == int(value), (value, seen)
            seen[0] = value
            assert model.predict_one({"name 1": 3.0, "".join(["z", "z"]): 1.0}) == 0.0
            return 1e-300  # no sample, but a sign of life

        def copies():
            others = [pickle.loads(pickle.dumps(model)), copy.deepcopy(model)]
            for other in (*others, model.clone(include_attributes=True)):
                assert other.weights["a"] == other.n_samples == other.predict_one({"a": 1.0})
                other.learn_one({"a": 1.0, "of the copy": 1.0}, FAR)
            return 1e-300

        run(rows, rows32, one, fresh_keys, growth, prediction, copies)
        assert "of the copy" not in model.weights
        assert not any(w for name, w in model.weights.items() if name != "a")
    """
    assert "right" in alone(counting(4.0, program))


COPIES: dict[str, Callable[[Any, Path], Any]] = {
    "deepcopy": lambda m, path: copy.deepcopy(m),
    "pickle": lambda m, path: pickle.loads(pickle.dumps(m)),
    "clone": lambda m, path: m.clone(include_attributes=True),
    "file": lambda m, path: (streamgd.save(m, path / "m.safetensors"), streamgd.load(path / "m.safetensors"))[
        1
    ],
}


@both_readers
@pytest.mark.parametrize("how", COPIES)
def test_a_copy_and_its_original_never_touch(how: str, native: bool, tmp_path: Path) -> None:
    rng = random.Random(3)
    model, reference = build("Log-Adam-l1", native), CASES["Log-Adam-l1"].naive()
    rows = missing(rng)
    for _ in range(60):
        follow(model, reference, next(rows), rng.random() < 0.5)
    other, its_reference = COPIES[how](model, tmp_path), copy.deepcopy(reference)
    for one, its, still in ((other, its_reference, model), (model, reference, other)):
        before = learned(still), still.predict_proba_one(dict.fromkeys(NAMES, 1.0))
        for stream in (missing, from_json, growing, other_objects_now_and_then):
            for _, x in zip(range(70), stream(rng), strict=False):
                follow(one, its, x, rng.random() < 0.5)
        assert (learned(still), still.predict_proba_one(dict.fromkeys(NAMES, 1.0))) == before
    del model, still, one
    gc.collect()
    for _ in range(60):
        follow(other, its_reference, json.loads(json.dumps(next(rows))), rng.random() < 0.5)


# -- what went wrong once ----------------------------------------------------------------------


def test_other_threads_learn_and_predict_while_a_model_grows() -> None:
    """Predictions read arrays that growth had freed, and updates were lost."""
    program = """
        names = [f"f{i}" for i in range(200_000)]
        base = dict.fromkeys(names[:5_000], 0.001)
        at = [5_000]
        model.learn_one({**base, "a": 1.0}, FAR)
        model.predict_one(base)

        def writer():
            model.learn_one({"a": 1.0}, FAR)
            return 1

        def reader():
            assert math.isfinite(model.predict_one(base))
            return 1e-300

        def growth():
            step = names[at[0]:at[0] + 500]
            at[0] += 500
            model.learn_one({**dict.fromkeys(step, 0.0), "a": 1.0}, FAR)
            return 1

        run(writer, reader, growth)
    """
    assert "right" in alone(counting(2.5, program))


def test_a_name_whose_place_is_not_there_yet() -> None:
    """The look-up trusted a slot beyond the arrays, while a key's own code ran, or another thread."""
    from_a_key = """
        from streamgd.linear_model import LinearRegression

        model = LinearRegression()
        model.learn_one({"f0": 1.0}, 1.0)
        model.learn_one({"f0": 1.0}, 1.0)
        model.predict_one({"f0": 1.0})
        N, calls = 200_000, []

        class Key:
            armed = False
            def __hash__(self):
                if Key.armed:
                    Key.armed = False
                    for k in (*range(14, 500), N - 1):
                        assert model.predict_one({"".join([f"n{k}"]): 1e9}) == model.intercept
                    for k in (20, 1000, N - 1):
                        try:
                            model.learn_one({"".join([f"n{k}"]): 1.0}, 1.0)
                        except RuntimeError:
                            calls.append(k)
                return 7

        x = dict.fromkeys([f"n{i}" for i in range(N)], 1e-3)
        x[Key()] = 1.0
        Key.armed = True
        model.learn_one(x, 1.0)
        assert calls == [20, 1000, N - 1] and model.n_samples == 3
    """
    alone(from_a_key)
    from_a_thread = """
        names = [f"n{i}" for i in range(60_000)]
        for trial in range(4):
            model = LinearRegression(optim.SGD(1.0), clip_gradient=1.0, intercept_lr=0.0)
            model.learn_one({"a": 1.0}, FAR)
            model.predict_one({"a": 1.0})
            big = {**dict.fromkeys(names, 0.0), "a": 1.0}
            thread = threading.Thread(target=model.learn_one, args=(big, FAR))
            thread.start()
            k = 0
            while thread.is_alive():
                k += 997
                name = names[k % len(names)]
                assert model.predict_one({name: 1e9}) == 0.0
                model.learn_one({name: 0.0, "a": 1.0}, FAR)
            thread.join()
            assert model.weights["a"] == model.n_samples
            assert len(model.weights) == 1 + len(names)
        print("right")
    """
    assert "right" in alone(counting(0, from_a_thread))


class Calling(Scheduler):
    """A schedule that calls a function at one update."""

    per = "update"
    epoch_size = None
    at = 2050
    call: Callable[[], None] | None = None

    def get(self, t: int) -> float:
        if t == self.at and self.call is not None:
            call, self.call = self.call, None
            call()
        return 1e-6


def test_a_schedule_that_calls_the_model_while_it_learns() -> None:
    rng = np.random.default_rng(0)
    X, columns = rng.normal(size=(5000, 16)), [f"c{k}" for k in range(16)]
    y = X @ np.arange(16.0)
    schedule = Calling()
    model = LinearRegression(optim.SGD(schedule), intercept_lr=0.0)
    errors = []

    def call() -> None:
        for learn in (
            lambda: model.learn_one({f"z{k}": 1.0 for k in range(200)}, 1.0),
            lambda: model.learn_rows(X, y, columns=columns),
            lambda: model.learn_many(X, y, columns=columns),
            lambda: setattr(model, "l2", 0.1),
        ):
            with pytest.raises(RuntimeError, match="is learning") as caught:
                learn()
            errors.append(caught)

    object.__setattr__(schedule, "call", call)
    model.learn_rows(X, y, columns=columns)
    plain = LinearRegression(optim.SGD(1e-6), intercept_lr=0.0)
    plain.learn_rows(X, y, columns=columns)
    assert len(errors) == 4
    assert model.weights == pytest.approx(plain.weights, rel=1e-12)
    assert model.n_samples == 5000


def test_a_signal_handler_that_calls_the_model_while_it_learns() -> None:
    program = """
        import signal
        import numpy as np
        from streamgd import _learner
        from streamgd.linear_model import LinearRegression

        _learner.CHUNK = 1 << 16
        X, columns = np.random.default_rng(0).normal(size=(400_000, 8)) * 0.1, list("abcdefgh")
        y = X @ np.arange(8.0)
        model, plain = LinearRegression(), LinearRegression()
        plain.learn_rows(X, y, columns=columns)
        calls = []

        def handler(number, frame):
            try:
                model.learn_one({f"z{k}": 1.0 for k in range(200)}, 1.0)
                calls.append("learned")
                model.learn_one({}, 1.0, 0.0)
            except RuntimeError:
                calls.append("refused")
                signal.setitimer(signal.ITIMER_REAL, 0)

        signal.signal(signal.SIGALRM, handler)
        for attempt in range(50):
            model = LinearRegression()
            calls.clear()
            signal.setitimer(signal.ITIMER_REAL, 0.004, 0.004)
            model.learn_rows(X, y, columns=columns)
            signal.setitimer(signal.ITIMER_REAL, 0)
            if "refused" in calls and "learned" not in calls:
                assert model.n_samples == len(X) and model.weights == plain.weights
                print("right")
                break
    """
    assert "right" in alone(program)


class Text(str):
    __slots__ = ()

    def __hash__(self) -> int:
        return str.__hash__(self)

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other)


@pytest.mark.parametrize(("first", "then"), [(Text("a"), "a"), (True, 1), (1.0, 1), (np.float64(2), 2)])
def test_a_feature_first_seen_under_an_equal_name_of_another_type(first: Any, then: Any) -> None:
    model = LinearRegression()
    model.learn_one({"before": 1.0}, 1.0)
    for _ in range(5):
        model.learn_one({first: 1.0}, 10.0)
    assert model.predict_one({then: 1.0}) == model.predict_one({first: 1.0}) != model.intercept
    model.learn_one({then: 1.0}, 10.0)
    assert len(model.weights) == 2


def test_a_label_learned_while_a_value_is_read() -> None:
    model = LogisticRegression()

    class Value:
        def __float__(self) -> float:
            model.learn_one({"a": 1.0}, "no")
            return 1.0

    model.learn_one({"a": Value()}, "yes")
    assert (model.labels_, model.n_samples) == (("no", "yes"), 2)
    model.learn_one({"a": 1.0}, "no")
    assert model.labels_ == ("no", "yes")


class Key:
    """Its hash raises when what is left is used up."""

    left = 10**9

    def __hash__(self) -> int:
        Key.left -= 1
        if Key.left < 0:
            raise KeyboardInterrupt
        return 7


def test_a_key_that_raises_takes_nothing_along(monkeypatch: pytest.MonkeyPatch) -> None:
    for left in range(20):
        monkeypatch.setattr(Key, "left", 10**9)
        model = LinearRegression()
        model.learn_one({"f": 1.0, Key(): 1.0}, 1.0)
        before = learned(model)
        x = {"new": 1.0, Key(): 1.0, Key(): 1.0}
        monkeypatch.setattr(Key, "left", left)
        try:
            model.learn_one(x, 1.0)
        except KeyboardInterrupt:
            monkeypatch.setattr(Key, "left", 10**9)
            assert learned(model) == before
            features = model._features
            assert (len(features._index), len(features._others)) == (1, 1)
            assert (features.get("f"), features.get("new")) == (0, None)
        else:
            break
    assert 1 < left < 19  # each of the calls was the one that raised
    monkeypatch.setattr(Key, "left", 10**9)
    assert len(model.weights) == 5


def test_a_key_that_lies_when_names_are_taken_back() -> None:
    class Liar(str):
        __slots__ = ()
        lies = False
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            return Liar.lies

    class Late:
        calls = 0

        def __hash__(self) -> int:
            Late.calls += 1
            if Late.calls > 1:
                Liar.lies = True
                raise RuntimeError("late")
            return 3

    model = LinearRegression()
    model.learn_one({"a": 1.0}, 1.0)
    before = learned(model)
    with pytest.raises(RuntimeError, match="late"):
        model.learn_one({Liar("a"): 1.0, Late(): 1.0}, 1.0)
    Liar.lies = False
    assert learned(model) == before
    assert model._features._index == {"a": 0}
    assert model._features._others == {}
    assert model.predict_one({"a": 1.0}) == pytest.approx(0.04)


def test_a_place_that_is_taken_again_is_as_new() -> None:
    """A key's hash learned a sample, then its own row failed: names were taken back, their weights not."""
    model = LinearRegression()
    model.learn_one({"f": 1.0}, 1.0)

    class Inner:
        armed = False

        def __hash__(self) -> int:
            if Inner.armed:
                Inner.armed = False
                model.learn_one({"inner": 1.0}, 5.0)
            return 5

    x = {"g": 1.0, Inner(): 1.0}
    Inner.armed = True
    with pytest.raises(RuntimeError, match="is learning"):
        model.learn_one(x, 1.0)
    assert list(model.weights) == ["f"]
    assert model.n_samples == 1
    model.learn_one({"new": 0.0}, 100.0)
    assert model.weights["new"] == 0.0


@pytest.mark.parametrize(
    ("first", "w"), [(NAN, [1.0, 1.0, 1.0]), (3.0, [0.0, 1.0, 1.0])], ids=["skipped", "weight 0"]
)
def test_a_row_that_is_not_learned_makes_no_label_known(first: float, w: list[float]) -> None:
    X, y = np.array([[first], [1.0], [2.0]]), np.array(["c", "a", "b"])
    loop, rows = (LogisticRegression(on_invalid="skip") for _ in range(2))
    for x, label, h in zip(X, y, w, strict=True):
        loop.learn_one({0: x[0]}, label, h)
    rows.learn_rows(X, y, w)
    for model in (loop, rows):
        assert (model.labels_, model.n_samples) == (("a", "b"), 2)
        assert model.n_invalid == (1 if first != first else 0)
    assert learned(loop) == learned(rows)


@pytest.mark.parametrize("call", ["learn_rows", "learn_many"])
def test_rows_of_which_none_is_learned_add_no_names(call: str) -> None:
    for X, w in ((np.full((2, 2), NAN), 1.0), (np.ones((2, 2)), 0.0)):
        model = LinearRegression(on_invalid="skip")
        getattr(model, call)(X, [1.0, 2.0], w)
        assert model.weights == {}
        assert model.n_invalid == (2 if w else 0)


@pytest.mark.parametrize("bad", [1j, np.complex128(1 + 2j), np.complex64(2)])
def test_complex_numbers_are_refused(bad: Any) -> None:
    model = LinearRegression()
    for call in (
        lambda: model.learn_one({"a": bad}, 1.0),
        lambda: model.learn_one({"a": 1.0}, bad),
        lambda: model.learn_one({"a": 1.0}, 1.0, bad),
        lambda: model.learn_rows(np.array([[bad]]), [1.0]),
    ):
        with pytest.raises(TypeError, match="complex"):
            call()
    assert (model.weights, model.n_samples) == ({}, 0)


@pytest.mark.parametrize(
    "name",
    [
        np.datetime64("2020-01-01", "ns"), np.timedelta64(5, "ns"), np.float64("nan"), NAN,
        np.longdouble(1.5), np.complex128(1j), np.bool_(True), np.bytes_(b"a"),
    ],
    ids=lambda name: type(name).__name__,
)  # fmt: skip
def test_names_that_are_numpy_scalars(name: Any) -> None:
    model, plain = LinearRegression(), LinearRegression()
    for _ in range(3):
        model.learn_one({name: 1.0}, 1.0)
        plain.learn_one({"name": 1.0}, 1.0)
    assert len(model.weights) == 1
    assert list(model.weights.values()) == list(plain.weights.values())
    assert model.predict_one({name: 1.0}) == pytest.approx(plain.predict_one({"name": 1.0}))


def test_a_key_that_cannot_be_printed() -> None:
    class Mute:
        def __repr__(self) -> str:
            raise RuntimeError("mute")

    model, key = LinearRegression(), Mute()
    model.learn_one({key: 1}, 1.0)
    assert model.weights == {key: pytest.approx(0.02)}
    assert model.predict_one({key: np.float16(1.0)}) == pytest.approx(0.04)


def test_a_key_is_not_freed_before_its_address_is_replaced() -> None:
    """While a model takes over key objects, a freed one's address may be another name's at once."""
    model = LinearRegression()
    model.learn_one({"alpha": 1.0}, 10.0)

    def take_over() -> None:
        model._control[f.ADOPT_AT], model._control[f.LOOKUPS] = 32, 31
        model.learn_one({fresh("alpha"): 1.0}, 10.0)

    take_over()
    model.predict_one({"alpha": 1.0})
    wrong, lines = [], []

    def trace(frame: Any, event: str, arg: Any) -> Any:
        """At each line, as another thread would: predict from a name that may lie where one was freed."""
        if frame.f_code.co_filename != f.__file__:
            return None
        if event == "line":
            lines.append(frame.f_lineno)
            held = [f"om{k:03}" for k in range(100)]
            wrong.extend(name for name in held if model.predict_one({name: 1.0}) != model.intercept)
        return trace

    sys.settrace(trace)
    try:
        take_over()
    finally:
        sys.settrace(None)
    assert lines
    assert wrong == []


def test_a_copy_made_while_names_are_added() -> None:
    """It is refused, or has only the names that are learned."""
    for n_new in (3, 100):
        model = LinearRegression()
        model.learn_one({"a": 1.0}, 1.0)
        copies: list[Any] = []

        class Copying:
            armed = False

            def __deepcopy__(self, memo: Any) -> Any:
                return self

            def __hash__(self) -> int:
                if Copying.armed:
                    Copying.armed = False
                    try:
                        copies.append(list(copy.deepcopy(model).weights))  # noqa: B023
                    except RuntimeError as error:
                        copies.append(str(error))  # noqa: B023
                return 3

        x = {**{f"n{k}": 1.0 for k in range(n_new)}, Copying(): 1.0}
        Copying.armed = True
        model.learn_one(x, 1.0)
        assert copies == [["a"]] or "is learning" in copies[0]


def test_a_copy_is_of_one_moment() -> None:
    """Another thread learned between the copy of the weights and that of the clock."""
    model = LinearRegression(optim.SGD(1.0), clip_gradient=1.0, intercept_lr=0.0)
    model.learn_one({"a": 1.0}, 1e12)
    model.learn_one({"a": 1.0}, 1e12)

    def other_thread_once() -> None:
        # a thread that has to wait for the copy does so
        thread = threading.Thread(target=model.learn_one, args=({"a": 1.0}, 1e12), daemon=True)
        thread.start()
        thread.join(0.02)
        threads.append(thread)

    def trace(frame: Any, event: str, arg: Any) -> Any:
        if frame.f_code.co_name != "__getstate__":
            return None
        if event == "line":
            other_thread_once()
        return trace

    threads: list[threading.Thread] = []
    sys.settrace(trace)
    try:
        state = model.__getstate__()
    finally:
        sys.settrace(None)
    for thread in threads:
        thread.join(10)
    other = LinearRegression()
    other.__setstate__(state)
    assert len(threads) > 5
    assert model.n_samples == model.weights["a"] == 2 + len(threads)
    assert other.n_samples == other.weights["a"]


@pytest.mark.parametrize("call", ["learn_rows", "learn_many"])
def test_a_label_that_no_array_of_numbers_can_hold(call: str) -> None:
    model = LogisticRegression(labels=("no", 2**70))
    model.learn_one({0: 1.0}, 2**70)
    for y in ([True, False], [1, 0], [0.5, 1.0]):
        with pytest.raises(ValueError, match="third one"):
            getattr(model, call)(np.ones((2, 1)), y)
    assert model.n_samples == 1


FAILING = """
    import pathlib
    import sys
    import streamgd
    from streamgd import _features, _model, optim
    from streamgd.linear_model import LinearRegression

    ROOT = str(pathlib.Path(streamgd.__file__).parent)

    def start():
        model = LinearRegression(optim.Adam(0.01))
        for _ in range(3):
            model.learn_one({"a": 1.0, "b": 2.0}, 1.0)
        model.predict_one({"a": 1.0})
        return model

    def state(model):
        n = len(model._features)
        arrays = (model._weights[:n], model._slots[:, :n], model._scalars)
        return [a.tobytes() for a in arrays] + [list(model._features.names)]

    def is_well(model, where):
        # what was freed is overwritten, and what comes next would lie there
        held = [_model.np.full(32, 7.0) for _ in range(50)]
        n = len(model._features)
        free = (model._weights[n:], model._slots[:, n:], model._charged[n:])
        assert not any(a.any() for a in free), f"{where}: a place without a feature is not as new"
        expected = model.weights["a"] + model.intercept
        got = model.predict_one({"a": 1.0})
        assert abs(got - expected) < 1e-9, f"{where}: predicts {got}, not {expected}"
        samples = model.n_samples
        model.learn_one({"a": 1.0, "b": 2.0}, 1.0)  # not busy for ever
        model.learn_one(row, 1.0)
        assert model.n_samples == samples + 2 and set(row) <= set(model.weights), where
        assert all(abs(w) < 1 for w in model.weights.values()), f"{where}: {model.weights}"

    row = {f"new {k}": 1.0 for k in range(40)}
    before = state(start())
"""


def failing(code: str) -> str:
    return textwrap.dedent(FAILING) + textwrap.dedent(code)


def test_growth_that_finds_no_memory_leaves_the_model_as_it_was() -> None:
    """The arrays it had were freed, and the kernel went on with them."""
    program = """
        class Short:
            left = 10**9
            def __getattr__(self, name):
                found = getattr(numpy, name)
                if name not in ("zeros", "empty", "arange"):
                    return found
                def allocate(*args, **more):
                    Short.left -= 1
                    if Short.left < 0:
                        Short.left = 10**9
                        raise MemoryError
                    return found(*args, **more)
                return allocate

        numpy = _model.np
        for left in range(100):
            model = start()
            _model.np = _features.np = Short()
            Short.left = left
            try:
                model.learn_one(row, 1.0)
            except MemoryError:
                pass
            finally:
                _model.np = _features.np = numpy
            if Short.left < 10**8:  # it was enough
                break
            assert state(model) == before, left
            is_well(model, f"allocation {left}")
        assert left > 3
        print("right")
    """
    assert "right" in alone(failing(program))


def test_an_interrupt_at_any_line_leaves_a_model_that_works() -> None:
    """Ctrl-C while a model grew left a kernel with arrays that were freed, or a model busy for ever."""
    program = """
        k = 0
        while True:
            model, where = start(), []

            def trace(frame, event, arg):
                global left
                if not frame.f_code.co_filename.startswith(ROOT):
                    return None
                if event == "line" and frame.f_code.co_name != "_exclusive":  # stores: no signal comes
                    left -= 1
                    if left < 0:
                        file = pathlib.Path(frame.f_code.co_filename).name
                        where.append(f"{file}:{frame.f_lineno}, in {frame.f_code.co_name}")
                        sys.settrace(None)
                        raise KeyboardInterrupt
                return trace

            left = k
            sys.settrace(trace)
            try:
                model.learn_one(row, 1.0)
            except KeyboardInterrupt:
                pass
            finally:
                sys.settrace(None)
            if not where:
                break
            try:
                is_well(model, where[0])
            except (AssertionError, RuntimeError, ValueError) as error:
                print(f"{where[0]}: {error!r}", flush=True)
            k += 1
        assert k > 20
        print("right")
    """
    lines = alone(failing(program)).splitlines()
    assert lines == ["right"]


def test_a_parameter_that_cannot_be_set_leaves_the_old_one() -> None:
    @dataclasses.dataclass(frozen=True)
    class Missing(optim.initializers.Zeros):
        def values(self, start: int, stop: int) -> Any:
            raise OSError("no file of weights")

    model = LinearRegression(optim.Adam(0.01))
    for k in range(3):
        model.learn_one({"a": 1.0, f"b{k}": 1.0}, 1.0)
    before = learned(model)
    with pytest.raises(OSError, match="no file"):
        model.initializer = Missing()
    assert type(model.initializer) is optim.initializers.Zeros
    assert learned(model) == before
    owned = {
        f.HYPER: model._hp, f.WEIGHTS: model._weights, f.SLOTS: model._slots, f.CHARGED: model._charged,
        f.SCALARS: model._scalars, f.X: model._scratch, f.SLOT: model._scratch_slots,
    }  # fmt: skip
    assert {word: model._control[word] for word in owned} == {w: a.ctypes.data for w, a in owned.items()}


def test_an_initializer_that_raises_leaves_the_model_as_it_was() -> None:
    """The arrays it had were freed, and the kernel went on with them."""
    program = """
        import dataclasses
        import numpy as np

        @dataclasses.dataclass(frozen=True)
        class Second(optim.initializers.Zeros):
            def values(self, start, stop):
                if stop > 16:
                    raise OSError("no file of weights")
                return np.zeros(stop - start)

        model, plain = (LinearRegression(optim.Adam(0.01), initializer=Second()) for _ in range(2))
        for k in range(8):
            for each in (model, plain):
                each.learn_one({"a": 1.0, f"b{k}": 2.0}, 1.0)
        model.predict_one({"a": 1.0})
        try:
            model.learn_one(row, 1.0)
        except OSError:
            pass
        held = [np.full(k, 7.0) for k in range(1, 60) for _ in range(10)]
        for k in range(16):
            x = {"a": 1.0, f"b{k % 12}": 2.0}
            model.learn_one(x, 1.0)
            plain.learn_one(x, 1.0)
            assert state(model) == state(plain), (k, model.weights, plain.weights)
            assert abs(model.predict_one(x)) < 10
        print("right")
    """
    assert "right" in alone(failing(program))
