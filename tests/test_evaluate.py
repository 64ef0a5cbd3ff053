"""Progressive validation is river's: the same metrics, the same lines, whatever the rows come as."""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
import io
import math
from collections import deque
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from river import anomaly, compose, datasets, dummy, metrics, preprocessing, stats, stream, utils
from river import evaluate as rivers
from river import linear_model as rivers_linear
from scipy import sparse

from streamgd import evaluate, linear_model
from streamgd.evaluate import _bulk

LABELS = [(False, True), (0, 1), (-1, 1), (1, 0), ("no", "yes"), (1, 2)]
probability = st.floats(0, 1) | st.sampled_from(
    [0.0, 1.0, 0.5, 1 / 9, 2 / 9, 1 / 3, 1e-300, 1e-16, 1 - 1e-16]
)
number = st.floats(-1e6, 1e6) | st.integers(-5, 5)


def state(value: Any) -> Any:
    """All that an object holds, with the kind of each number."""
    if isinstance(value, dict):
        return {key: state(item) for key, item in value.items()}
    if isinstance(value, list | tuple | deque):
        return [state(item) for item in value]
    if hasattr(value, "__dict__"):
        return type(value).__name__, state(vars(value))
    if type(value).__module__.startswith("river"):  # compiled: shows its value only
        return type(value).__name__, value.get()
    return value


def equal(ours: Any, rivers: Any, rtol: float) -> bool:
    if type(ours) is not type(rivers):
        return False
    if isinstance(ours, dict):
        return ours.keys() == rivers.keys() and all(equal(ours[k], rivers[k], rtol) for k in ours)
    if isinstance(ours, list | tuple):
        return len(ours) == len(rivers) and all(equal(a, b, rtol) for a, b in zip(ours, rivers, strict=True))
    if isinstance(ours, float):
        return math.isclose(ours, rivers, rel_tol=rtol) or (math.isnan(ours) and math.isnan(rivers))
    return bool(ours == rivers)


def both(metric: Any, y_true: Any, y_pred: Any, answers: list[Any], *, rtol: float = 0.0) -> None:
    """Update a metric twice over, in bulk and by river's loop, from new and from there."""
    loop = copy.deepcopy(metric)
    for _ in range(2):
        _bulk.update(metric, y_true, y_pred)
        for true, pred in zip(y_true.tolist(), answers, strict=True):
            loop.update(y_true=true, y_pred=pred)
        assert equal(state(metric), state(loop), rtol), (state(metric), state(loop))


def by_labels(pair: tuple[Any, Any]) -> list[Any]:
    shared = metrics.ConfusionMatrix()
    return [
        metrics.Accuracy(),
        metrics.ConfusionMatrix(),
        metrics.BalancedAccuracy(),
        metrics.F1(),
        metrics.FBeta(beta=2.0, pos_val=pair[0]),
        metrics.Precision(pos_val=pair[1]),
        metrics.Recall(pos_val="absent"),
        metrics.MCC(),
        metrics.CohenKappa(),
        metrics.MacroF1(),
        metrics.ClassificationReport(),
        metrics.Accuracy(shared) + metrics.BalancedAccuracy(shared) + metrics.F1(shared, pos_val=pair[1]),
        utils.Rolling(metrics.Accuracy, window_size=3),
    ]


def by_probability(pair: tuple[Any, Any] = (False, True)) -> list[Any]:
    words = isinstance(pair[0], str)  # which river's rolling metric cannot take
    return [
        metrics.LogLoss(),
        metrics.ROCAUC(),
        metrics.ROCAUC(n_thresholds=2),
        metrics.ROCAUC(n_thresholds=37, pos_val="yes"),
        metrics.ROCAUC() + metrics.LogLoss(),
        metrics.Accuracy() + metrics.LogLoss() + metrics.F1(pos_val=1) + metrics.ROCAUC(),
        metrics.CrossEntropy(),
        *([] if words else [metrics.RollingROCAUC(window_size=4)]),
    ]


@pytest.mark.parametrize("pair", LABELS, ids=str)
@settings(deadline=None, max_examples=25)
@given(rows=st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40))
def test_labels(pair, rows):
    true, pred = (np.array([pair[row[k]] for row in rows], dtype=np.array(pair).dtype) for k in (0, 1))
    for metric in by_labels(pair):
        both(metric, true, pred, pred.tolist())


@settings(deadline=None, max_examples=25)
@given(rows=st.lists(st.tuples(*[st.sampled_from(["a", 1, True, 1.0, None, (2, 3), "b", 0, math.nan])] * 2)))
def test_any_labels(rows):
    true, pred = np.empty(len(rows), object), np.empty(len(rows), object)
    for i, row in enumerate(rows):
        true[i], pred[i] = row
    for metric in (metrics.Accuracy(), metrics.F1(pos_val="a"), metrics.ConfusionMatrix()):
        both(metric, true, pred, pred.tolist())


def test_many_labels_and_their_order():
    rng = np.random.default_rng(0)
    for high in (5, 60, 2000):
        true, pred = rng.integers(-high, high, (2, 500))
        bulk, loop = metrics.ConfusionMatrix(), metrics.ConfusionMatrix()
        _bulk.update(bulk, true, pred)
        for t, p in zip(true.tolist(), pred.tolist(), strict=True):
            loop.update(t, p)
        assert equal(state(bulk), state(loop), 0.0)
        assert list(bulk.sum_row) == list(loop.sum_row)
        assert list(bulk.sum_col) == list(loop.sum_col)
        assert [list(row) for row in bulk.data.values()] == [list(row) for row in loop.data.values()]


@pytest.mark.parametrize("pair", LABELS, ids=str)
@settings(deadline=None, max_examples=25)
@given(rows=st.lists(st.tuples(st.booleans(), probability), max_size=40))
@example(rows=[(True, 0.5), (False, 0.5), (True, math.nextafter(0.5, 0)), (False, math.nextafter(0.5, 1))])
@example(rows=[(True, 0.0), (True, 1.0), (False, 0.0), (False, 1.0)])
def test_probabilities(pair, rows):
    true = np.array([pair[row[0]] for row in rows], dtype=np.array(pair).dtype)
    p = np.array([row[1] for row in rows], dtype=np.float64)
    answers = [{pair[0]: 1.0 - q, pair[1]: q} for q in p.tolist()]
    for metric in by_probability(pair):
        both(metric, true, _bulk.Probabilities(p, pair), answers, rtol=1e-12)
    for metric in (metrics.LogLoss(), metrics.ROCAUC(pos_val=pair[1])):
        both(metric, true, p, p.tolist(), rtol=1e-12)


@settings(deadline=None, max_examples=25)
@given(rows=st.lists(st.tuples(st.booleans(), probability), max_size=40))
def test_labels_from_probabilities(rows):
    true, p = np.array([row[0] for row in rows], bool), np.array([row[1] for row in rows], float)
    answers = [{False: 1.0 - q, True: q} for q in p.tolist()]
    decided = [max(answer, key=answer.get) for answer in answers]
    for metric in by_labels((False, True)):
        both(metric, true, _bulk.Probabilities(p), decided)
    for metric in by_probability()[4:6]:
        both(metric, true, p, answers, rtol=1e-12)


def regression() -> list[Any]:
    return [
        metrics.MAE(),
        metrics.MSE(),
        metrics.RMSE(),
        metrics.R2(),
        metrics.MAPE(),
        metrics.SMAPE(),
        metrics.MAE() + metrics.R2() + metrics.RMSE(),
        metrics.MAE() + metrics.MAPE(),
        utils.Rolling(metrics.MAE, window_size=3),
    ]


@settings(deadline=None, max_examples=50)
@given(
    rows=st.lists(st.tuples(number, number), max_size=40),
    kind=st.sampled_from([np.float64, np.float32, np.int64]),
)
def test_numbers(rows, kind):
    true, pred = np.array(rows, dtype=np.float64).reshape(-1, 2).astype(kind).T
    for metric in regression():
        both(metric, true, pred, pred.tolist(), rtol=1e-12)


def test_means_are_those_of_the_loop_to_the_bit():
    rng = np.random.default_rng(1)
    true = rng.normal(1e4, 1.0, 20_000)
    pred = true + rng.normal(size=20_000)
    for metric in (metrics.MAE(), metrics.R2()):
        both(metric, true, pred, pred.tolist(), rtol=0.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "metric", [*regression(), metrics.LogLoss(), metrics.ROCAUC()], ids=lambda m: str(type(m))
)
def test_not_finite(metric, bad):
    classifies = isinstance(metric, metrics.LogLoss | metrics.ROCAUC)
    true = np.array([True, False, True] if classifies else [1.0, 2.0, 3.0])
    pred = np.array([0.25, bad, 0.75])
    both(copy.deepcopy(metric), true, pred, pred.tolist(), rtol=1e-12)


def test_whole_numbers_that_a_float_cannot_hold():
    true, pred = np.array([2**60 + 1, 3]), np.array([2**60, 3])
    for metric in (metrics.MAE(), metrics.MSE(), metrics.R2()):
        both(metric, true, pred, pred.tolist(), rtol=0.0)


def test_overflow_is_rivers():
    with pytest.raises(OverflowError):
        _bulk.update(metrics.MSE(), np.array([1e200]), np.array([0.0]))


def test_what_cannot_be_labels_or_numbers_fails_as_in_river():
    with pytest.raises(TypeError):
        _bulk.update(metrics.MAE(), ["a"], [1.0])
    with pytest.raises(TypeError, match="unhashable"):
        _bulk.update(metrics.Accuracy(), [[1]], [1])


def test_lengths_differ():
    with pytest.raises(ValueError, match="y_true has 2 rows and y_pred has 1"):
        _bulk.update(metrics.MAE(), np.zeros(2), np.zeros(1))


class Thirds(metrics.Accuracy):
    """A metric of the user's own, with an update that counts every third row."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def update(self, y_true, y_pred, w=1.0):
        self.seen += 1
        if self.seen % 3 == 0:
            super().update(y_true, y_pred, w)


class Weighted(metrics.ConfusionMatrix):
    def update(self, y_true, y_pred, w=1.0):
        super().update(y_true, y_pred, 2.0 * w)


class Cubed(metrics.MSE):
    def _eval(self, y_true, y_pred):
        return abs(y_true - y_pred) ** 3


class Doubled(stats.Mean):
    def update(self, x, w=1.0):
        super().update(2.0 * x, w)


def test_subclasses_keep_their_own_updates():
    rng = np.random.default_rng(2)
    true, pred = rng.integers(0, 2, (2, 50)).astype(bool)
    sifted = metrics.ROCAUC()
    sifted.cms[3] = Weighted()
    for metric in (Thirds(), metrics.Accuracy(Weighted()), Weighted(), metrics.Accuracy() + Thirds()):
        both(metric, true, pred, pred.tolist())
    p = rng.random(50)
    both(sifted, true, p, p.tolist())
    for metric in (Cubed(), metrics.MAE()):
        metric._mean = Doubled()
        both(metric, p, p[::-1].copy(), p[::-1].tolist())


def test_an_update_of_the_object_itself():
    metric, seen = metrics.Accuracy(), []
    metric.update = lambda y_true, y_pred: seen.append((y_true, y_pred))
    _bulk.update(metric, np.array([True, False]), np.array([True, True]))
    assert seen == [(True, True), (False, True)]


def test_empty_arrays_change_nothing():
    for metric in (metrics.Accuracy(), metrics.ROCAUC(), metrics.LogLoss(), metrics.R2(), metrics.MSE()):
        before = state(copy.deepcopy(metric))
        kind = bool if isinstance(metric, metrics.base.ClassificationMetric) else float
        _bulk.update(metric, np.zeros(0, kind), np.zeros(0, kind))
        assert equal(state(metric), before, 0.0)


# Progressive validation


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(3).normal(size=(1000, 4))


@pytest.fixture(scope="module")
def y(X):
    return np.random.default_rng(4).random(len(X)) < 1 / (1 + np.exp(-X @ [2.0, -1.0, 0.5, 0.0]))


@pytest.fixture(scope="module")
def t(X):
    return X @ [2.0, -1.0, 0.5, 0.0] + np.random.default_rng(5).normal(size=len(X))


def classification(pair: tuple[Any, Any] = (False, True)) -> list[Any]:
    positive = pair[1]
    return [
        metrics.Accuracy(),
        metrics.LogLoss(),
        metrics.ROCAUC(pos_val=positive),
        metrics.F1(pos_val=positive) + metrics.Precision(pos_val=positive) + metrics.Recall(pos_val=positive),
        metrics.BalancedAccuracy() + metrics.LogLoss() + metrics.ROCAUC(pos_val=positive),
        utils.Rolling(metrics.Accuracy, window_size=50),
        metrics.CrossEntropy(),
    ]


def rows_of(X: Any, y: Any, w: Any = None) -> list[Any]:
    """Rows as river's own functions take them, made by river."""
    samples = list(stream.iter_array(X, y))
    return samples if w is None else [(x, y, {"w": v}) for (x, y), v in zip(samples, w, strict=True)]


def close(ours: Any, theirs: Any, rtol: float = 1e-9) -> None:
    assert equal(state(ours), state(theirs), rtol), (state(ours), state(theirs))


@pytest.mark.parametrize("metric", classification(), ids=repr)
def test_classifier_of_river(metric, X, y):
    expected = rivers.progressive_val_score(
        rows_of(X, y), rivers_linear.LogisticRegression(), copy.deepcopy(metric)
    )
    model = linear_model.LogisticRegression()
    result = evaluate.progressive_val_score((X, y), model, metric)
    assert result is metric
    close(result, expected)
    assert model.n_samples == len(X)


@pytest.mark.parametrize("metric", regression(), ids=repr)
def test_regressor_of_river(metric, X, t):
    expected = rivers.progressive_val_score(
        rows_of(X, t), rivers_linear.LinearRegression(), copy.deepcopy(metric)
    )
    close(evaluate.progressive_val_score((X, t), linear_model.LinearRegression(), metric), expected)


@pytest.mark.parametrize("late", [0, 1, 2, 40], ids=lambda late: f"{late} rows of one label first")
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("labels", [None, "given"])
@pytest.mark.parametrize("pair", [*LABELS[:-1], (3, 2)], ids=str)
def test_labels_are_those_of_the_loop(pair, labels, swapped, late, X, y):
    truth = np.array(pair)[y.astype(int)]
    truth[:late] = pair[swapped]
    labels = labels and pair
    for metric in classification(pair):
        model, driven = (linear_model.LogisticRegression(labels=labels) for _ in range(2))
        expected = rivers.progressive_val_score(rows_of(X[:200], truth[:200]), driven, copy.deepcopy(metric))
        close(evaluate.progressive_val_score((X[:200], truth[:200]), model, metric), expected)
        assert model.labels_ == driven.labels_


@pytest.mark.parametrize(
    "values", [[], [False], [True], [1, 1], ["a"], ["a", "a", "b"], [0, 0, 0], [True, False]]
)
def test_few_rows(values, X):
    for metric in (metrics.Accuracy(), metrics.LogLoss(), metrics.ROCAUC()):
        truth = np.array(values, dtype=object)
        driven = linear_model.LogisticRegression()
        expected = rivers.progressive_val_score(
            zip(({j: v for j, v in enumerate(row)} for row in X.tolist()), values, strict=False),
            driven,
            copy.deepcopy(metric),
        )
        close(
            evaluate.progressive_val_score(
                (X[: len(values)], truth), linear_model.LogisticRegression(), metric
            ),
            expected,
        )


def test_a_model_goes_on_from_where_it_is(X, y):
    model, driven = linear_model.LogisticRegression(), linear_model.LogisticRegression()
    metric, expected = metrics.Accuracy() + metrics.LogLoss(), metrics.Accuracy() + metrics.LogLoss()
    for part in (slice(0, 300), slice(300, 1000)):
        evaluate.progressive_val_score((X[part], y[part]), model, metric)
        rivers.progressive_val_score(rows_of(X[part], y[part]), driven, expected)
    close(metric, expected)


def names(X: Any) -> list[str]:
    return [f"x{j}" for j in range(X.shape[1])]


KINDS = {
    "list of labels": lambda X, y: ([X, y.tolist()], list(stream.iter_array(X, y))),
    "float32": lambda X, y: ((X.astype(np.float32), y), rows_of(X.astype(np.float32), y)),
    "integers": lambda X, y: ((X.astype(int), y), rows_of(X.astype(int), y)),
    "fortran": lambda X, y: ((np.asfortranarray(X), y), rows_of(X, y)),
    "strided": lambda X, y: ((X[::2], y[::2]), rows_of(X[::2], y[::2])),
    "pandas": lambda X, y: (
        (pd.DataFrame(X, columns=names(X), index=np.arange(len(X))[::-1] + 0.5), pd.Series(y)),
        [(dict(zip(names(X), x.values(), strict=True)), v) for x, v in rows_of(X, y)],
    ),
    "polars": lambda X, y: (
        (pl.DataFrame(X, schema=names(X)), pl.Series(y)),
        [(dict(zip(names(X), x.values(), strict=True)), v) for x, v in rows_of(X, y)],
    ),
    "arrow": lambda X, y: (
        (pa.table(dict(zip(names(X), X.T, strict=True))), pa.chunked_array([y[:300], y[300:]])),
        [(dict(zip(names(X), x.values(), strict=True)), v) for x, v in rows_of(X, y)],
    ),
    "csr": lambda X, y: (
        (sparse.csr_matrix(X * (np.abs(X) > 1)), y),
        [({j: v for j, v in x.items() if abs(v) > 1}, v) for x, v in rows_of(X, y)],
    ),
    "csr with parts of values": lambda X, y: (
        (
            sparse.csr_matrix(
                (X.repeat(2) / 2, np.tile(np.arange(4).repeat(2), len(X)), np.arange(len(X) + 1) * 8)
            ),
            y,
        ),
        rows_of(X, y),
    ),
    "coo array": lambda X, y: (
        (sparse.coo_array(X * (np.abs(X) > 1)), y),
        [({j: v for j, v in x.items() if abs(v) > 1}, v) for x, v in rows_of(X, y)],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_tables(kind, X, y):
    table, samples = KINDS[kind](X, y)
    metric = metrics.Accuracy() + metrics.LogLoss() + metrics.ROCAUC()
    expected = rivers.progressive_val_score(
        samples, rivers_linear.LogisticRegression(), copy.deepcopy(metric)
    )
    for model in (
        linear_model.LogisticRegression(),
        rivers_linear.LogisticRegression(),
        preprocessing.FeatureHasher() | linear_model.LogisticRegression(),
    ):
        ours, hashed = copy.deepcopy(metric), isinstance(model, compose.Pipeline)
        evaluate.progressive_val_score(table, model, ours)
        if hashed:
            close(ours, rivers.progressive_val_score(samples, model.clone(), copy.deepcopy(metric)))
        else:
            close(ours, expected)


def test_more_rows_than_one_pass_takes():
    rng = np.random.default_rng(6)
    X = rng.normal(size=(70_000, 2))
    y = X[:, 0] + rng.normal(size=len(X)) > 0
    metric, expected = (metrics.Accuracy() + metrics.LogLoss() for _ in range(2))
    model, driven = linear_model.LogisticRegression(), linear_model.LogisticRegression()
    evaluate.progressive_val_score((X, y), model, metric)
    rivers.progressive_val_score(stream.iter_array(X, y), driven, expected)
    close(metric, expected)
    assert model.weights == pytest.approx(driven.weights, rel=1e-9)


@pytest.mark.parametrize(
    "w", [np.linspace(0, 3, 1000), np.arange(1000) % 3, 2.5, 0], ids=["floats", "ints", "one", "0"]
)
def test_weights_go_to_the_model_only(w, X, y):
    samples = rows_of(X, y, np.broadcast_to(w, len(y)).tolist())
    metric = metrics.LogLoss() + metrics.Accuracy()
    expected = rivers.progressive_val_score(samples, linear_model.LogisticRegression(), copy.deepcopy(metric))
    for model in (linear_model.LogisticRegression(), compose.Pipeline(linear_model.LogisticRegression())):
        close(evaluate.progressive_val_score((X, y, w), model, copy.deepcopy(metric)), expected)
    if np.ndim(w):
        samples = rows_of(X, y, w.tolist())
        of_river = rivers.progressive_val_score(
            samples, rivers_linear.LogisticRegression(), metrics.LogLoss() + metrics.Accuracy()
        )
        close(evaluate.progressive_val_score((X, y, w), linear_model.LogisticRegression(), metric), of_river)


def first(x: dict[Any, float]) -> float:
    return x[0]


@pytest.mark.parametrize(
    ("moment", "delay"),
    [(None, 5), (first, lambda x, y: abs(x[1])), (first, 0.5)],
    ids=["rows", "by row", "time"],
)
def test_delayed_labels(moment, delay, X, y):
    X = X[np.argsort(X[:, 0])]
    results = [
        function(dataset, linear_model.LogisticRegression(), metrics.LogLoss(), moment=moment, delay=delay)
        for function, dataset in (
            (evaluate.progressive_val_score, (X, y)),
            (evaluate.progressive_val_score, rows_of(X, y)),
            (rivers.progressive_val_score, rows_of(X, y)),
        )
    ]
    undelayed = evaluate.progressive_val_score((X, y), linear_model.LogisticRegression(), metrics.LogLoss())
    close(results[0], results[2], 0.0)
    close(results[1], results[2], 0.0)
    assert results[0].get() != undelayed.get()


def test_moments_of_a_frame(y):
    frame = pl.DataFrame(
        {
            "at": [dt.datetime(2024, 1, 1) + dt.timedelta(hours=i) for i in range(len(y))],
            "x": np.where(y, 1.0, -1.0),
        }
    )
    model = compose.Select("x") | linear_model.LogisticRegression()
    scores = [
        function(dataset, model.clone(), metrics.Accuracy(), moment="at", delay=dt.timedelta(days=2))
        for function, dataset in (
            (evaluate.progressive_val_score, (frame, y)),
            (rivers.progressive_val_score, zip(frame.iter_rows(named=True), y.tolist(), strict=True)),
        )
    ]
    close(*scores, 0.0)


def printed(function: Any, *args: Any, **kwargs: Any) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        function(*args, **kwargs)
    return out.getvalue()


@pytest.mark.parametrize("every", [0, 1, 7, 100, 300, 1000, 1001])
@pytest.mark.parametrize("metric", [metrics.Accuracy(), metrics.ROCAUC() + metrics.F1()], ids=["one", "two"])
def test_lines_are_rivers(metric, every, X, y):
    theirs = printed(
        rivers.progressive_val_score,
        rows_of(X, y),
        rivers_linear.LogisticRegression(),
        metric.clone(),
        print_every=every,
        show_time=True,
    )
    ours = printed(
        evaluate.progressive_val_score,
        (X, y),
        linear_model.LogisticRegression(),
        metric.clone(),
        print_every=every,
        show_time=True,
    )
    assert ours == theirs
    assert bool(ours) == (0 < every <= len(X))


def test_memory_and_arguments_of_print(X, y):
    out = io.StringIO()
    evaluate.progressive_val_score(
        (X, y),
        linear_model.LogisticRegression(),
        metrics.Accuracy(),
        print_every=400,
        show_time=True,
        show_memory=True,
        file=out,
        end=";",
    )
    expected = rivers.progressive_val_score(
        rows_of(X, y), rivers_linear.LogisticRegression(), metrics.Accuracy()
    )
    lines = out.getvalue().split(";")
    assert len(lines) == 4
    assert lines[2].startswith(f"[1,000] {expected} – 00:00:00 – ")
    assert lines[2].split(" – ")[-1].split()[1] in ("B", "KiB", "KB")


def test_time_of_long_runs(X, y, monkeypatch):
    clock = iter([0.0, 3600 * 25 + 61.5])
    monkeypatch.setattr("streamgd.evaluate.progressive.time.perf_counter", lambda: next(clock))
    ours = printed(
        evaluate.progressive_val_score,
        (X, y),
        linear_model.LogisticRegression(),
        metrics.Accuracy(),
        print_every=1000,
        show_time=True,
    )
    assert ours.endswith("– 01:01:01\n")  # river's clock starts again every day, too


@pytest.mark.parametrize("step", [0, 1, 7, 100, 300, 1000, 1001])
@pytest.mark.parametrize(
    ("ours", "theirs", "metric"),
    [
        (linear_model.LogisticRegression, rivers_linear.LogisticRegression, metrics.LogLoss()),
        (
            linear_model.LogisticRegression,
            rivers_linear.LogisticRegression,
            metrics.Accuracy() + metrics.F1(),
        ),
        (linear_model.LinearRegression, rivers_linear.LinearRegression, metrics.MAE()),
    ],
    ids=["probabilities", "labels", "numbers"],
)
def test_results_on_the_way(ours, theirs, metric, step, X, y, t):
    target = t if isinstance(metric, metrics.MAE) else y
    model, rival = ours(), theirs()
    mine = evaluate.iter_progressive_val_score(
        (X, target),
        model,
        metric.clone(),
        step=step,
        measure_time=True,
        measure_memory=True,
        yield_predictions=True,
    )
    others = rivers.iter_progressive_val_score(
        rows_of(X, target),
        rival,
        metric.clone(),
        step=step,
        measure_time=True,
        measure_memory=True,
        yield_predictions=True,
    )
    steps = 0
    for result, other in zip(mine, others, strict=True):
        assert list(result) == list(other)
        assert result.pop("Time") >= dt.timedelta(0)
        assert result.pop("Memory") > 0
        answer, rivers_answer = result.pop("Prediction"), other.pop("Prediction")
        if rivers_answer is None:
            assert answer is None
        else:
            assert answer == pytest.approx(rivers_answer, rel=1e-9)
        assert model.n_samples == result["Step"] == other["Step"]
        assert model.weights == pytest.approx(rival.weights, rel=1e-9)
        close(
            {k: v for k, v in result.items() if k in str(metric)},
            {k: v for k, v in other.items() if k in str(metric)},
        )
        steps += 1
    assert steps == (math.ceil(len(X) / step) if 0 < step <= len(X) else 0)


def test_what_river_takes_goes_to_river(y):
    for model in (
        linear_model.LogisticRegression(),
        preprocessing.StandardScaler() | linear_model.LogisticRegression(),
        dummy.PriorClassifier(),
    ):
        metric, expected = metrics.ROCAUC(), metrics.ROCAUC()
        evaluate.progressive_val_score(datasets.Phishing(), model.clone(), metric)
        rivers.progressive_val_score(datasets.Phishing(), model.clone(), expected)
        close(metric, expected, 0.0)
    samples = list(datasets.Phishing().take(300))
    for dataset in (iter(samples), (sample for sample in samples), samples, tuple(samples)):
        metric = evaluate.progressive_val_score(
            dataset, linear_model.LogisticRegression(), metrics.Accuracy()
        )
        assert metric.cm.n_samples == 300
    detector = anomaly.HalfSpaceTrees(seed=1)
    metric = evaluate.progressive_val_score(samples, detector, metrics.ROCAUC())
    assert metric.cms[0].n_samples == 300


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("n", [2, 3])
def test_two_or_three_samples_are_not_a_table(kind, n):
    samples = kind([({"a": 1.0}, True), ({"a": -1.0}, False, {"w": 2.0}), ({"a": 2.0}, True)][:n])
    metric = evaluate.progressive_val_score(samples, linear_model.LogisticRegression(), metrics.Accuracy())
    assert metric.cm.n_samples == n


def test_samples_of_arrays_are_not_a_table():
    class Sum:
        _supervised = True

        def learn_one(self, x, y):
            assert x.shape == (3,)

        def predict_one(self, x):
            return float(x.sum())

    class Error(metrics.MAE):
        def works_with(self, model):
            return True

    metric = evaluate.progressive_val_score([(np.ones(3), 2.0), (np.ones(3), 4.0)], Sum(), Error())
    assert metric.get() == 1.0


@pytest.mark.parametrize("function", ["progressive_val_score", "iter_progressive_val_score"])
def test_a_metric_of_another_task(function, X, y):
    def run(module: Any, dataset: Any, model: Any) -> str:
        with pytest.raises(ValueError, match="not compatible") as caught:
            list(getattr(module, function)(dataset, model, metrics.MAE()))
        return str(caught.value)

    assert run(evaluate, (X, y), linear_model.LogisticRegression()) == run(
        rivers, rows_of(X, y), linear_model.LogisticRegression()
    )


def test_lengths_of_a_table(X, y):
    with pytest.raises(ValueError, match="y has 999 values, X has 1000 rows"):
        evaluate.progressive_val_score((X, y[1:]), linear_model.LogisticRegression(), metrics.Accuracy())
    with pytest.raises(ValueError, match="w has 999 values, X has 1000 rows"):
        evaluate.progressive_val_score(
            (X, y, np.ones(999)), linear_model.LogisticRegression(), metrics.Accuracy()
        )


@pytest.mark.parametrize("bad", [0, 1, 350, 999])
@pytest.mark.parametrize("every", [0, 1, 100])
def test_a_bad_row_is_named_by_its_place_in_the_table(every, bad, X, y):
    X = X.copy()
    X[bad, 2] = math.nan
    model, driven = linear_model.LogisticRegression(), linear_model.LogisticRegression()
    metric = metrics.Accuracy()
    with pytest.raises(ValueError, match="nan") as caught:
        evaluate.progressive_val_score((X, y), model, metric, print_every=every, file=io.StringIO())
    for x, label in rows_of(X[:bad], y[:bad]) if bad else []:
        driven.learn_one(x, label)
    assert model.weights == pytest.approx(driven.weights, rel=1e-12)
    if every != 1:  # else the row is an error of river's loop
        assert caught.value.row == bad
        assert str(caught.value).startswith(f"row {bad}: ")


def test_a_third_label_is_named_by_its_row(X, y):
    truth = y.astype(int)
    truth[600] = 2
    model, metric = linear_model.LogisticRegression(), metrics.Accuracy()
    with pytest.raises(ValueError, match=r"^row 600: the label is 2, a third one") as caught:
        evaluate.progressive_val_score((X, truth), model, metric, print_every=500, file=io.StringIO())
    assert caught.value.row == 600
    assert model.n_samples == 600


@pytest.mark.parametrize("metric", [metrics.LogLoss(), metrics.Accuracy()], ids=repr)
@pytest.mark.parametrize("bad", [[0], [0, 1, 2], [700], [99, 100, 299, 999]], ids=str)
def test_rows_that_the_model_skips_are_not_counted(bad, metric, X, y):
    spoiled, truth = X.copy(), y.astype(object)
    spoiled[bad[::2], 1] = math.nan
    truth[bad[1::2]] = None
    good = np.delete(np.arange(len(X)), bad)
    expected = rivers.progressive_val_score(
        rows_of(X[good], y[good]), linear_model.LogisticRegression(), copy.deepcopy(metric)
    )
    model = linear_model.LogisticRegression(on_invalid="skip")
    result = copy.deepcopy(metric)
    states = list(
        evaluate.iter_progressive_val_score((spoiled, truth), model, result, step=100, yield_predictions=True)
    )
    close(result, expected)
    assert model.n_invalid == len(bad)
    assert [state["Prediction"] is None for state in states] == [
        step - 1 in bad for step in range(100, 1001, 100)
    ]


@pytest.mark.parametrize(
    "model", [linear_model.LinearRegression(), linear_model.LogisticRegression()], ids=repr
)
def test_a_column_of_words_is_named(model, X, y):
    frame = pl.DataFrame({"number": X[:, 0], "word": ["red"] * len(X)})
    metric = metrics.MAE() if isinstance(model, linear_model.LinearRegression) else metrics.Accuracy()
    with pytest.raises(TypeError, match="'word'"):
        evaluate.progressive_val_score((frame, y.astype(int)), model, metric)


@pytest.mark.parametrize("bad", [1, 3, 50])
def test_rows_before_a_refused_one_are_counted(bad):
    X = np.random.default_rng(0).normal(size=(100, 3))
    y = X[:, 0] > 0
    X[bad, 1] = np.nan
    metric, model = metrics.Accuracy(), linear_model.LogisticRegression()
    with pytest.raises(ValueError, match=f"row {bad}: feature 1 is nan") as caught:
        evaluate.progressive_val_score((X, y), model, metric)
    assert caught.value.row == bad
    other = metrics.Accuracy()
    evaluate.progressive_val_score((X[:bad], y[:bad]), linear_model.LogisticRegression(), other)
    assert metric.cm.n_samples == bad
    assert metric.get() == other.get()
    assert model.n_samples == bad
