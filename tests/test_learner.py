"""Learners behind river's interface: river's checks, its wrappers, labels, rows, copies, bad input."""

from __future__ import annotations

import copy
import gc
import math
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import river
import scipy.sparse
from oracles import record
from river import (
    checks,
    datasets,
    ensemble,
    evaluate,
    imblearn,
    metrics,
    model_selection,
    multiclass,
    preprocessing,
)
from river import linear_model as river_linear
from river import optim as river_optim

import streamgd
from streamgd import linear_model, optim

LEARNERS = (linear_model.LinearRegression, linear_model.LogisticRegression)


def stream(n, p, seed=0, presence=1.0):
    """Rows of a linear model with noise: dicts, the matrix, binary labels."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    present = rng.random((n, p)) < presence
    y = X @ rng.normal(size=p) + rng.normal(size=n) > 0
    names = [f"f{k}" for k in range(p)]
    rows = [
        {name: v for name, v, here in zip(names, values, mask, strict=True) if here}
        for values, mask in zip(X.tolist(), present.tolist(), strict=True)
    ]
    return rows, X, y, names


def arrays(model):
    """All that a model has learned, to compare to the bit."""
    state = model.__getstate__()
    return [state[k].tobytes() for k in ("_weights", "_slots", "_charged", "_scalars")] + [state["_features"]]


def pipelines():
    for learner in LEARNERS:
        yield learner()
        yield preprocessing.StandardScaler() | learner(optim.Adam(0.01), l1=1e-3, l2=1e-3)
        yield (preprocessing.StandardScaler() + preprocessing.MinMaxScaler()) | learner(optim.Normalized())
        yield preprocessing.MinMaxScaler() | learner(intercept_lr=0.1)


CASES = [
    pytest.param(model, check, id=f"{i}-{type(model).__name__}-{check.__name__}-{j}")
    for i, model in enumerate(pipelines())
    for j, check in enumerate(checks.yield_checks(model))
    if check.__name__ not in model._unit_test_skips()
]


@pytest.mark.parametrize(("model", "check"), CASES)
def test_river_checks(model, check):
    check(model.clone())


def test_the_only_check_left_out_is_the_one_river_leaves_out():
    for ours, rivers in zip(
        LEARNERS, (river_linear.LinearRegression, river_linear.LogisticRegression), strict=True
    ):
        assert ours()._unit_test_skips() == rivers()._unit_test_skips()


@pytest.mark.parametrize(
    ("build", "data", "metric"),
    [
        (lambda m: preprocessing.StandardScaler() | m, datasets.Phishing, metrics.LogLoss),
        (lambda m: ensemble.BaggingClassifier(m, n_models=3, seed=1), datasets.Phishing, metrics.LogLoss),
        (lambda m: ensemble.ADWINBaggingClassifier(m, n_models=3, seed=1), datasets.Phishing, metrics.ROCAUC),
        (
            lambda m: preprocessing.StandardScaler() | multiclass.OneVsRestClassifier(m),
            lambda: datasets.ImageSegments().take(400),
            metrics.MacroF1,
        ),
        (
            lambda m: imblearn.RandomUnderSampler(m, desired_dist={False: 0.4, True: 0.6}, seed=1),
            datasets.Phishing,
            metrics.LogLoss,
        ),
        (
            lambda m: imblearn.RandomOverSampler(m, desired_dist={False: 0.4, True: 0.6}, seed=1),
            datasets.Phishing,
            metrics.LogLoss,
        ),
        (
            lambda m: imblearn.RandomSampler(
                m, desired_dist={False: 0.5, True: 0.5}, sampling_rate=0.7, seed=1
            ),
            datasets.Phishing,
            metrics.LogLoss,
        ),
        (
            lambda m: model_selection.SuccessiveHalvingClassifier(
                [m.clone({"l2": l2}) for l2 in (0.0, 0.01, 0.1, 1.0)], metric=metrics.LogLoss(), budget=2000
            ),
            datasets.Phishing,
            metrics.LogLoss,
        ),
    ],
    ids=["scaler", "bagging", "adwin", "one-vs-rest", "under", "over", "mixed", "halving"],
)
def test_gives_rivers_results_inside_rivers_wrappers(build, data, metric):
    ours = build(linear_model.LogisticRegression())
    rivers = build(river_linear.LogisticRegression())
    one = evaluate.progressive_val_score(data(), ours, metric())
    other = evaluate.progressive_val_score(data(), rivers, metric())
    assert one.get() == pytest.approx(other.get(), rel=1e-9)


@pytest.mark.parametrize("wrapper", ["bagging", "greedy"])
def test_regression_inside_rivers_wrappers(wrapper):
    def build(m):
        if wrapper == "bagging":
            return preprocessing.StandardScaler() | ensemble.BaggingRegressor(m, n_models=3, seed=1)
        models = [m, m.clone({"l2": 0.1})]
        return preprocessing.StandardScaler() | model_selection.GreedyRegressor(models, metric=metrics.MAE())

    ours = build(linear_model.LinearRegression(intercept_lr=0.1))
    rivers = build(river_linear.LinearRegression(intercept_lr=0.1))
    one = evaluate.progressive_val_score(datasets.TrumpApproval(), ours, metrics.MAE())
    other = evaluate.progressive_val_score(datasets.TrumpApproval(), rivers, metrics.MAE())
    assert one.get() == pytest.approx(other.get(), rel=1e-9)


def test_debug_one_is_rivers():
    rows, _, y, _ = stream(50, 4)
    ours, rivers = linear_model.LinearRegression(), river_linear.LinearRegression()
    for x, t in zip(rows, y.tolist(), strict=True):
        ours.learn_one(x, float(t))
        rivers.learn_one(x, float(t))
    assert ours.debug_one(rows[0], decimals=3) == rivers.debug_one(rows[0], decimals=3)


# -- labels ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("negative", "positive"),
    [(False, True), (0, 1), (-1, 1), ("ham", "spam"), (b"a", b"b"), (3, 7), (0.0, 1.0)],
)
@pytest.mark.parametrize("first", ["negative", "positive"])
def test_any_two_labels(negative, positive, first):
    rows, X, y, names = stream(300, 4)
    y[0] = first == "positive"
    y[1] = not y[0]
    if first == "positive" and positive not in (1, True):
        negative, positive, y = positive, negative, ~y  # the first one seen is the negative
    labels = [positive if t else negative for t in y.tolist()]
    one, many, plain = (linear_model.LogisticRegression() for _ in range(3))
    for x, label, t in zip(rows, labels, y.tolist(), strict=True):
        one.learn_one(x, label)
        plain.learn_one(x, t)
    many.learn_rows(X, labels, columns=names)
    assert one.labels_ == many.labels_ == (negative, positive)
    assert one.weights == plain.weights == many.weights
    p = plain.predict_proba_one(rows[0])
    assert one.predict_proba_one(rows[0]) == {negative: p[False], positive: p[True]}
    predicted = [one.predict_one(x) for x in rows]
    assert many.predict_many(X, columns=names).tolist() == predicted
    assert set(predicted) == {negative, positive}


def test_before_any_label_both_are_even():
    model = linear_model.LogisticRegression()
    assert model.predict_proba_one({"a": 1.0}) == {False: 0.5, True: 0.5}
    assert model.predict_one({"a": 1.0}) is False
    model.learn_one({"a": 1.0}, "ham")
    assert model.predict_proba_one({"a": 1.0}) == {"ham": 1.0}
    assert model.predict_one({"a": 1.0}) == "ham"


def test_given_labels_and_numpy_scalars():
    model = linear_model.LogisticRegression(labels=("yes", "no"))
    model.learn_one({"a": 1.0}, np.str_("no"))
    assert model.labels_ == ("yes", "no")
    assert model.predict_one({"a": 1.0}) == "no"
    other = linear_model.LogisticRegression()
    other.learn_one({"a": 1.0}, np.bool_(True))
    other.learn_one({"a": 1.0}, np.int64(0))
    assert other.labels_ == (False, True)
    assert set(map(type, other.predict_proba_one({}))) == {bool}
    with pytest.raises(ValueError, match=r"pair \(negative, positive\)"):
        linear_model.LogisticRegression(labels=("a", "b", "c"))
    with pytest.raises(ValueError, match="must differ"):
        linear_model.LogisticRegression(labels=(1, True))


@pytest.mark.parametrize(
    ("seen", "label", "error", "text"),
    [
        ([True, False], 2, ValueError, "third one beside False and True.*OneVsRest"),
        (["a", "b"], "c", ValueError, "third one"),
        ([1], 5, ValueError, r"labels=\(1, 5\)"),
        ([True], None, ValueError, "None"),
        ([True], math.nan, ValueError, "nan"),
        ([True], (1, 2), TypeError, "tuple"),
        ([], [1], TypeError, "list"),
    ],
)
def test_bad_labels_change_nothing(seen, label, error, text):
    model = linear_model.LogisticRegression()
    for y in seen:
        model.learn_one({"a": 1.0}, y)
    before, labels = arrays(model), model.labels_
    with pytest.raises(error, match=text):
        model.learn_one({"a": 2.0, "new": 1.0}, label)
    assert arrays(model) == before
    assert model.labels_ == labels


# -- rows --------------------------------------------------------------------------------------


def containers(X, names):
    frame = pd.DataFrame(X, columns=names)
    yield "pandas", frame
    yield "polars", pl.from_pandas(frame)
    yield "arrow", pa.Table.from_pandas(frame)
    yield "batch", pa.RecordBatch.from_pandas(frame)
    yield "fortran", pd.DataFrame(np.asfortranarray(X), columns=names)
    yield "nullable", frame.astype("Float64")


@pytest.mark.parametrize("learner", LEARNERS)
def test_rows_of_every_kind_are_the_same(learner):
    rows, X, y, names = stream(200, 5)
    target = y if learner is linear_model.LogisticRegression else X[:, 0] * 2.0
    reference = learner()
    for x, t in zip(rows, target.tolist(), strict=True):
        reference.learn_one(x, t)
    z = None
    for _, data in containers(X, names):
        model = learner()
        out = model.predict_learn_rows(data, target)
        assert arrays(model) == arrays(reference)
        z = out if z is None else z
        assert np.array_equal(out, z)
    model = learner()
    model.learn_rows(X, pl.Series(target), columns=names)
    assert arrays(model) == arrays(reference)
    model = learner()
    model.learn_rows(scipy.sparse.csr_matrix(X), target, columns=names)
    assert np.allclose(list(model.weights.values()), list(reference.weights.values()), rtol=1e-12)


def test_predictions_come_back_in_kind():
    _, X, y, names = stream(60, 3)
    frame = pd.DataFrame(X, columns=names, index=range(100, 160))
    ours, rivers = linear_model.LogisticRegression(), river_linear.LogisticRegression()
    target = pd.Series(y, name="t", index=frame.index)
    for model in (ours, rivers):
        model.learn_many(frame, target)
    pd.testing.assert_frame_equal(ours.predict_proba_many(frame), rivers.predict_proba_many(frame))
    pd.testing.assert_series_equal(ours.predict_many(frame), rivers.predict_many(frame))
    for kind in (pl.from_pandas, pa.Table.from_pandas):
        native = kind(frame.reset_index(drop=True))
        for method in ("predict_proba_many", "predict_many"):
            one, other = getattr(ours, method)(native), getattr(rivers, method)(native)
            assert type(one) is type(other)
            one, other = (r.to_pandas() for r in (one, other))
            assert np.allclose(one.to_numpy(), other.to_numpy(), rtol=1e-12)
    batch = pa.RecordBatch.from_pandas(frame)
    assert ours.predict_many(batch).to_pylist() == rivers.predict_many(frame).tolist()
    assert ours.predict_proba_many(X, columns=names).shape == (60, 2)
    assert ours.predict_many(X, columns=names).tolist() == rivers.predict_many(frame).tolist()


def test_learn_many_is_rivers_and_mixes_with_learn_one():
    rows, X, y, names = stream(600, 6, seed=2)
    frame = pd.DataFrame(X, columns=names)
    w = np.random.default_rng(0).random(600)
    for ours, rivers in (
        (optim.SGD(0.1), river_optim.SGD(0.1)),
        (optim.AdaGrad(0.1), river_optim.AdaGrad(0.1)),
    ):
        model = linear_model.LogisticRegression(ours, l2=0.01)
        reference = river_linear.LogisticRegression(rivers, l2=0.01)
        for i in range(0, 600, 50):
            batch = frame[i : i + 50]
            labels, weights = pd.Series(y[i : i + 50]), pd.Series(w[i : i + 50])
            model.learn_many(batch, labels, weights)
            reference.learn_many(batch, labels, weights)
            if isinstance(ours, optim.SGD):  # river cannot mix dicts and batches for the others
                model.learn_one(rows[i], bool(y[i]))
                reference.learn_one(rows[i], bool(y[i]))
        assert model.weights == pytest.approx(reference.weights, rel=1e-9)
        assert model.intercept == pytest.approx(reference.intercept, rel=1e-9)
        difference = max(abs(model.weights[k] - v) / max(1.0, abs(v)) for k, v in reference.weights.items())
        record("LogisticRegression, learn_many", "river", river.__version__, difference)


def test_mean_of_a_batch_is_over_rows_with_a_weight():
    _, X, y, _ = stream(40, 3)
    w = np.ones(40)
    w[10:] = 0.0
    some, few = linear_model.LogisticRegression(), linear_model.LogisticRegression()
    some.learn_many(X, y, w)
    few.learn_many(X[:10], y[:10])
    assert some.weights == pytest.approx(few.weights, rel=1e-12)
    assert (some.n_updates, some.n_samples) == (1, 10)


def test_columns_in_another_order_new_ones_and_missing_ones():
    rows, X, y, names = stream(300, 6, seed=3)
    for optimizer in (optim.SGD(0.1), optim.Adam(0.01), optim.Normalized()):
        one, many = (linear_model.LogisticRegression(optimizer) for _ in range(2))
        for part, order in (
            (slice(0, 100), [0, 1, 2]),
            (slice(100, 200), [4, 2, 0]),
            (slice(200, 300), [5, 3, 1]),
        ):
            chosen = [names[k] for k in order]
            many.learn_rows(X[part][:, order], y[part], columns=chosen)
            for x, t in zip(rows[part], y[part].tolist(), strict=True):
                one.learn_one({name: x[name] for name in chosen}, t)
        assert many.weights == pytest.approx(one.weights, rel=1e-12)
        assert list(many.weights) == list(one.weights)


def test_a_bare_array_needs_names_for_a_model_that_has_them():
    model = linear_model.LogisticRegression()
    model.learn_one({"a": 1.0}, True)
    before = arrays(model)
    with pytest.raises(ValueError, match=r"columns=\[\.\.\.\]"):
        model.learn_rows(np.ones((3, 1)), [True, False, True])
    with pytest.raises(ValueError, match="2 names"):
        model.learn_rows(np.ones((3, 1)), [True, False, True], columns=["a", "b"])
    with pytest.raises(ValueError, match="twice"):
        model.learn_rows(np.ones((3, 2)), [True, False, True], columns=["b", "b"])
    assert arrays(model) == before


def test_a_row_of_weight_zero_is_nothing():
    model = linear_model.LogisticRegression()
    model.learn_one({"a": 1.0}, True)
    before = arrays(model)
    model.learn_one({"a": 5.0}, False, w=0)
    model.learn_one({"never": 5.0}, False, w=0.0)
    model.learn_rows(np.ones((4, 1)), [True] * 4, 0.0, columns=["a"])
    model.learn_many(np.ones((4, 1)), [True] * 4, 0.0, columns=["a"])
    assert arrays(model) == before
    out = model.predict_learn_rows(np.ones((2, 1)), [True, True], [0.0, 0.0], columns=["a"])
    assert out[0] == out[1] == pytest.approx(model.weights["a"] + model.intercept)


def test_weights_of_samples_are_rivers():
    rows, X, y, names = stream(300, 4)
    w = np.random.default_rng(1).random(300) * 3
    rivers, ours, many = (
        river_linear.LogisticRegression(),
        *(linear_model.LogisticRegression() for _ in range(2)),
    )
    for x, t, h in zip(rows, y.tolist(), w.tolist(), strict=True):
        rivers.learn_one(x, t, w=h)
        ours.learn_one(x, t, w=h)
    many.learn_rows(X, y, w, columns=names)
    assert ours.weights == pytest.approx(rivers.weights, rel=1e-9)
    assert many.weights == ours.weights


# -- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "y", "w", "error", "text"),
    [
        ({"a": math.nan}, True, 1.0, ValueError, "feature 'a' is nan"),
        ({"a": 1.0, "new": math.inf}, True, 1.0, ValueError, "feature 'new' is inf"),
        ({"a": None}, True, 1.0, ValueError, "feature 'a' is None"),
        ({"a": "red"}, True, 1.0, TypeError, "'red', a str.*OneHotEncoder"),
        ({"a": 10**400}, True, 1.0, ValueError, "too large"),
        ({"a": 1e200}, True, 1.0, ValueError, "1e\\+200"),
        ({"a": [1.0]}, True, 1.0, TypeError, "not a number"),
        ({"a": 1.0}, True, -1.0, ValueError, "weight w is -1.0"),
        ({"a": 1.0}, True, math.nan, ValueError, "weight w is nan"),
        ({"a": 1.0}, True, "1", TypeError, "weight w"),
        (None, True, 1.0, TypeError, "NoneType; it must be a dict"),
        ([1.0], True, 1.0, TypeError, "list; it must be a dict"),
    ],
)
def test_bad_input_names_it_and_changes_nothing(x, y, w, error, text):
    model = linear_model.LogisticRegression()
    model.learn_one({"a": 1.0, "b": 2.0}, True)
    before = arrays(model)
    with pytest.raises(error, match=text):
        model.learn_one(x, y, w)
    assert arrays(model) == before
    skipping = linear_model.LogisticRegression(on_invalid="skip")
    skipping.learn_one({"a": 1.0, "b": 2.0}, True)
    skipping.learn_one(x, y, w)
    assert arrays(skipping) == before
    assert skipping.n_invalid == 1
    if w == 1.0 and "new" not in (x or {}):
        with pytest.raises(error, match=text):
            model.predict_one(x)
        assert skipping.predict_one(x) is None
        assert skipping.predict_proba_one(x) == {}


def test_predictions_leave_out_unknown_features_whatever_their_values():
    model = linear_model.LogisticRegression()
    assert model.predict_proba_one({"a": math.nan, "b": "text"}) == {False: 0.5, True: 0.5}
    model.learn_one({"a": 1.0}, True)
    p = model.predict_proba_one({"a": 2.0})
    assert model.predict_proba_one({"new": math.inf, "a": 2.0, ("t",): None}) == p
    X = np.array([[math.nan, 2.0]])
    for data in (X, scipy.sparse.csr_matrix(X)):
        assert model.predict_proba_many(data, columns=["new", "a"])[0, 1] == pytest.approx(p[True])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e200])
@pytest.mark.parametrize("kind", ["float64", "float32", "sparse"])
def test_a_bad_row_stops_there(bad, kind):
    _, X, y, _ = stream(50, 4)
    data = X.astype(np.float32 if kind == "float32" else np.float64)
    with np.errstate(over="ignore"):
        data[20, 2] = bad
    data = scipy.sparse.csr_matrix(data) if kind == "sparse" else data
    model, reference = linear_model.LogisticRegression(), linear_model.LogisticRegression()
    with pytest.raises(ValueError, match="row 20: feature 2 is") as caught:
        model.learn_rows(data, y)
    assert caught.value.row == 20
    reference.learn_rows(data[:20], y[:20])
    assert arrays(model) == arrays(reference)
    assert len(caught.value.outputs) == 20
    untouched = linear_model.LogisticRegression()
    with pytest.raises(ValueError, match="row 20"):
        untouched.learn_many(data, y)
    assert arrays(untouched) == arrays(linear_model.LogisticRegression())
    skipping = linear_model.LogisticRegression(on_invalid="skip")
    out = skipping.predict_learn_rows(data, y)
    assert skipping.n_invalid == 1
    assert np.flatnonzero(np.isnan(out)).tolist() == [20]
    assert skipping.n_samples == 49
    skipping.learn_many(data, y)
    assert skipping.n_invalid == 2
    assert skipping.n_samples == 98
    assert np.isnan(skipping.predict_proba_many(data)).any(axis=1).sum() == 1
    assert skipping.predict_many(data)[20] is None


def test_bad_targets_and_weights_in_rows():
    _, X, y, _ = stream(30, 3)
    target = X[:, 0].copy()
    target[7] = math.nan
    regression = linear_model.LinearRegression()
    with pytest.raises(ValueError, match="row 7: the target is nan"):
        regression.learn_rows(X, target)
    assert regression.n_samples == 7
    with pytest.raises(TypeError, match="row 3: the target is 'x'"):
        linear_model.LinearRegression().learn_rows(X[:5], [1.0, 2.0, 3.0, "x", 5.0])
    w = np.ones(30)
    w[4] = -2.0
    with pytest.raises(ValueError, match=r"row 4: the sample weight w is -2\.0"):
        linear_model.LogisticRegression().learn_rows(X, y, w)
    labels = ["a", "b", "c", "a"]
    model = linear_model.LogisticRegression()
    with pytest.raises(ValueError, match="row 2: the label is 'c'"):
        model.learn_rows(X[:4], labels)
    assert model.labels_ == ("a", "b")
    with pytest.raises(ValueError, match="30 rows"):
        model.learn_rows(X, labels)


def test_text_in_a_frame_names_the_column():
    frame = pd.DataFrame({"n": [1.0, 2.0], "colour": ["red", "blue"]})
    model = linear_model.LogisticRegression()
    with pytest.raises(TypeError, match="'colour' is of type String"):
        model.learn_rows(frame, [True, False])
    assert arrays(model) == arrays(linear_model.LogisticRegression())


@pytest.mark.parametrize(
    ("X", "error", "text"),
    [
        (np.ma.masked_array(np.ones((3, 1)), mask=[[0], [1], [0]]), ValueError, "row 1: feature 0 is nan"),
        (np.array([["2020-01-01"]] * 3, dtype="M8[D]"), TypeError, "datetime64"),
        (np.ones((3, 1), dtype=complex), TypeError, "complex"),
        (np.array([["1.5"]] * 3), TypeError, "<U3"),
        (np.array([[1.0], ["1.5"], [2.0]], dtype=object), TypeError, "row 1: feature in column 0 is '1.5'"),
        (np.array([[1.0], [None], [2.0]], dtype=object), ValueError, "row 1: feature 0 is nan"),
        (scipy.sparse.csr_matrix(np.ones((3, 1), dtype=complex)), TypeError, "complex"),
        ([{"a": 1.0}] * 3, ValueError, "For dicts use learn_one"),
        (np.ones(3), ValueError, "1 dimension"),
    ],
)
def test_rows_that_are_no_numbers(X, error, text):
    model = linear_model.LogisticRegression()
    with pytest.raises(error, match=text):
        model.learn_rows(X, [True, False, True])
    assert model.n_samples in (0, 1)


@pytest.mark.parametrize(
    "y",
    [
        pd.Series([True, None, False], dtype="boolean"),
        pd.Series(["a", None, "b"], dtype="string"),
        pl.Series([True, None, False]),
        pa.array([True, None, False]),
        pa.chunked_array([["a"], [None, "b"]]),
        np.ma.masked_array([1, 0, 0], mask=[0, 1, 0]),
        [1, None, 0],
    ],
    ids=["boolean", "string", "polars", "arrow", "chunked", "masked", "list"],
)
def test_missing_labels(y):
    model = linear_model.LogisticRegression()
    with pytest.raises(ValueError, match="row 1: the label is None") as caught:
        model.learn_rows(np.ones((3, 1)), y)
    assert caught.value.row == model.n_samples == 1
    skipping = linear_model.LogisticRegression(on_invalid="skip")
    skipping.learn_rows(np.ones((3, 1)), y)
    assert (skipping.n_samples, skipping.n_invalid) == (2, 1)


@pytest.mark.parametrize(
    ("y", "text"),
    [
        (None, "y is NoneType"),
        ((v for v in [True]), "y is generator"),
        (np.array(["2020-01-01"], dtype="M8[ns]"), "row 0: the label is"),
    ],
)
def test_targets_that_are_none(y, text):
    with pytest.raises(TypeError, match=text):
        linear_model.LogisticRegression().learn_rows(np.ones((1, 1)), y)


def test_labels_of_a_list_keep_their_types():
    for labels in ([2**63, -1], [True, False], [2.5, 1], ["a", 1]):
        model, loop = linear_model.LogisticRegression(), linear_model.LogisticRegression()
        model.learn_rows(np.ones((4, 1)), labels * 2)
        for label in labels * 2:
            loop.learn_one({0: 1.0}, label)
        assert model.labels_ == loop.labels_
        assert [type(v) for v in model.labels_] == [type(v) for v in loop.labels_]
    model = linear_model.LogisticRegression(labels=(1, "a"))
    model.learn_rows(np.array([[1.0], [-1.0]] * 20), ["a", 1] * 20)
    assert model.predict_many(np.array([[9.0], [-9.0]])).tolist() == ["a", 1]


def test_one_label_and_many_rows_take_few_looks(monkeypatch):
    calls = []
    code = streamgd._targets.Labels.code
    monkeypatch.setattr(streamgd._targets.Labels, "code", lambda self, y: calls.append(y) or code(self, y))
    linear_model.LogisticRegression().learn_rows(np.ones((10_000, 1)), ["a"] * 10_000)
    assert len(calls) < 5


def test_columns_that_grow_are_looked_up_once(monkeypatch):
    calls = []
    add = streamgd._features.Features.add
    monkeypatch.setattr(streamgd._features.Features, "add", lambda self, n: calls.append(n) or add(self, n))
    model = linear_model.LogisticRegression()
    for p in range(100, 1100, 100):
        model.learn_rows(np.ones((2, p)), [True, False], columns=[f"f{k}" for k in range(p)])
    assert len(calls) == 1000
    with pytest.raises(ValueError, match="column 'f3' stands twice"):
        model.learn_rows(np.ones((1, 1001)), [True], columns=[*(f"f{k}" for k in range(1000)), "f3"])


def test_diverging_weights_are_an_error_and_not_nan():
    model = linear_model.LinearRegression(optim.SGD(10.0), clip_gradient=1e300)
    x, y = np.full((10_000, 1), 100.0), np.ones(10_000)
    with pytest.raises(ValueError, match="diverged"):
        model.learn_rows(x, y)
    assert all(math.isfinite(w) for w in model.weights.values())


def test_ctrl_c_between_chunks_keeps_what_was_learned(monkeypatch):
    _, X, y, _ = stream(1000, 3)
    monkeypatch.setattr("streamgd._learner.CHUNK", 300)
    model = linear_model.LogisticRegression()
    run, calls = model._run, []

    def interrupted(*job):
        calls.append(job)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return run(*job)

    monkeypatch.setattr(model, "_run", interrupted, raising=False)
    with pytest.raises(KeyboardInterrupt):
        model.learn_rows(X, y)
    reference = linear_model.LogisticRegression()
    reference.learn_rows(X[:300], y[:300])
    assert arrays(model) == arrays(reference)


# -- copies and parameters ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "copied",
    [
        copy.deepcopy,
        lambda m: pickle.loads(pickle.dumps(m)),
        lambda m: m.clone(include_attributes=True),
        copy.copy,
    ],
    ids=["deepcopy", "pickle", "clone", "copy"],
)
@pytest.mark.parametrize(
    "optimizer",
    [optim.SGD(optim.schedulers.InverseScaling(0.1)), optim.Adam(0.01), optim.Normalized()],
    ids=repr,
)
def test_copies_go_on_alike_and_leave_the_original(copied, optimizer):
    rows, _, y, _ = stream(400, 5)
    model = linear_model.LogisticRegression(optimizer, initializer=optim.initializers.Normal(seed=1))
    for x, t in zip(rows[:200], y[:200].tolist(), strict=True):
        model.learn_one(x, t)
    before = arrays(model)
    twin = copied(model)
    assert arrays(twin) == before
    for x, t in zip(rows[200:], y[200:].tolist(), strict=True):
        twin.learn_one({**x, "late": 1.0}, t)
    assert arrays(model) == before
    gc.collect()
    for x, t in zip(rows[200:], y[200:].tolist(), strict=True):
        model.learn_one({**x, "late": 1.0}, t)
    assert arrays(model) == arrays(twin)


def test_clone_and_mutate():
    model = linear_model.LogisticRegression(optim.Adam(0.1), l2=0.1)
    model.learn_one({"a": 1.0}, True)
    clone = model.clone({"l2": 0.5})
    assert (clone.l2, clone.optimizer, clone.weights) == (0.5, optim.Adam(0.1), {})
    model.mutate({"optimizer": {"lr": 0.5}, "l2": 0.0})
    assert model.optimizer == optim.Adam(0.5)
    assert model.n_updates == 1
    pipeline = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    pipeline.mutate({"LogisticRegression": {"l2": 5, "optimizer": {"lr": 0.03}}})
    assert pipeline["LogisticRegression"].optimizer == optim.SGD(0.03)
    with pytest.raises(ValueError, match="not a mutable attribute"):
        model.mutate({"intercept_init": 1.0})


def test_changes_of_parameters_take_effect_and_bad_ones_do_not():
    rows, _, y, _ = stream(100, 3)
    ours, rivers = linear_model.LogisticRegression(), river_linear.LogisticRegression()
    for i, (x, t) in enumerate(zip(rows, y.tolist(), strict=True)):
        if i == 50:
            for model in (ours, rivers):
                model.l2 = 0.3
                model.clip_gradient = 0.2
            ours.optimizer = optim.SGD(0.2)
            rivers.optimizer = river_optim.SGD(0.2)
        ours.learn_one(x, t)
        rivers.learn_one(x, t)
    assert ours.weights == pytest.approx(rivers.weights, rel=1e-9)
    before = repr(ours)
    for name, value in (
        ("l2", -1),
        ("optimizer", "adam"),
        ("loss", optim.losses.Squared()),
        ("on_invalid", 3),
    ):
        with pytest.raises((TypeError, ValueError), match=name):
            setattr(ours, name, value)
    with pytest.raises(ValueError, match="no l1 or l2"):
        ours.optimizer = optim.Normalized()
    assert repr(ours) == before
    ours.optimizer = optim.Adam(0.01)  # another optimizer starts its own state
    ours.learn_one(rows[0], True)
    assert ours.n_updates == 1


def test_rivers_own_objects_are_converted():
    model = linear_model.LogisticRegression(
        river_optim.Adam(river_optim.schedulers.InverseScaling(0.1)),
        loss=river_optim.losses.Hinge(0.5),
        intercept_lr=river_optim.schedulers.Optimal(river_optim.losses.Hinge()),
        initializer=river_optim.initializers.Normal(0.0, 0.1, seed=7),
    )
    assert model.optimizer == optim.Adam(optim.schedulers.InverseScaling(0.1))
    assert model.loss == optim.losses.Hinge(0.5)
    assert model.initializer == optim.initializers.Normal(0.0, 0.1, seed=7)
    rivers = river_linear.LogisticRegression(
        river_optim.Adam(river_optim.schedulers.InverseScaling(0.1)),
        loss=river_optim.losses.Hinge(0.5),
        intercept_lr=river_optim.schedulers.Optimal(river_optim.losses.Hinge()),
        initializer=river_optim.initializers.Normal(0.0, 0.1, seed=7),
    )
    rows, _, y, _ = stream(1500, 5, presence=0.7)
    for x, t in zip(rows, y.tolist(), strict=True):
        model.learn_one(x, t)
        rivers.learn_one(x, t)
    assert model.weights == pytest.approx(rivers.weights, rel=1e-9)
    used = river_optim.SGD(0.1)
    river_linear.LogisticRegression(used).learn_one({"a": 1.0}, True)
    with pytest.raises(ValueError, match=r"optimizer\.clone"):
        linear_model.LogisticRegression(used)
    fancy = type("Fancy", (river_optim.SGD,), {"__module__": "river.optim.fancy"})
    with pytest.raises(ValueError, match=r"river's Fancy has no compiled counterpart; there are .*SGD"):
        linear_model.LogisticRegression(fancy(0.1))


# -- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_saved_model_goes_on_to_the_bit(learner, tmp_path):
    rows, X, y, _ = stream(300, 4)
    labels = np.where(y, "spam", "ham") if learner is linear_model.LogisticRegression else X[:, 1]
    odd = {"tuple": ("a", 1), "bytes": b"k", "none": None, "int": 7, "float": 0.5, "set": frozenset({"x"})}
    model = learner(
        optim.Adam(optim.schedulers.InverseScaling(0.05)),
        l1=1e-4,
        initializer=optim.initializers.Normal(seed=4),
        intercept_lr=optim.schedulers.StepDecay(0.1, 0.5, 100, per="update"),
    )
    for x, t in zip(rows[:150], labels[:150].tolist(), strict=True):
        model.learn_one(x | dict.fromkeys(odd.values(), 0.5), t)
    streamgd.save(model, tmp_path / "m.safetensors", extra={"target": "y"})
    loaded, extra = streamgd.load(tmp_path / "m.safetensors", with_extra=True)
    assert extra == {"target": "y"}
    assert repr(loaded) == repr(model)
    for m in (model, loaded):
        for x, t in zip(rows[150:], labels[150:].tolist(), strict=True):
            m.learn_one({**x, "later": 1.0}, t)
    assert arrays(loaded) == arrays(model)
    assert loaded.predict_one(rows[0]) == model.predict_one(rows[0])
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_parameters_from_numpy_and_many_names_can_be_saved(tmp_path):
    model = linear_model.LogisticRegression(
        optim.SGD(optim.schedulers.StepDecay(0.1, 0.5, 10, epoch_size=np.int64(3))),
        labels=list(np.unique([3, 7])),
        initializer=optim.initializers.Normal(seed=np.int64(3)),
    )
    names = [f"{k:0>2000}" for k in range(60_000)]  # more than a header of safetensors can hold
    model.learn_rows(np.ones((1, len(names))), [7], columns=names)
    path = tmp_path / "m.safetensors"
    streamgd.save(model, path)
    loaded = streamgd.load(path)
    assert loaded.labels_ == (3, 7)
    assert arrays(loaded) == arrays(model)
    before = path.stat().st_mode
    (tmp_path / "plain").write_text("")
    assert before == (tmp_path / "plain").stat().st_mode  # for whom the user's other files are


@pytest.mark.parametrize("damage", ["slots", "scalars", "dtype", "nan", "names", "missing", "class"])
def test_a_file_that_does_not_fit_is_refused(damage, tmp_path):
    from safetensors import safe_open
    from safetensors.numpy import save_file

    model = linear_model.LogisticRegression(optim.Adam(0.1))
    model.learn_one({"a": 1.0, "b": 2.0}, True)
    streamgd.save(model, tmp_path / "m")
    with safe_open(tmp_path / "m", framework="numpy") as file:
        metadata, tensors = file.metadata(), {k: file.get_tensor(k) for k in file.keys()}
    if damage == "slots":
        tensors["slots"] = tensors["slots"][:1].copy()
    elif damage == "scalars":
        tensors["scalars"] = tensors["scalars"][:2].copy()
    elif damage == "dtype":
        tensors["weights"] = tensors["weights"].astype(np.float32)
    elif damage == "nan":
        tensors["weights"][0] = math.nan
    elif damage == "names":
        text = tensors["description"].tobytes().replace(b'"b"', b'"a"')
        tensors["description"] = np.frombuffer(text, np.uint8)
    elif damage == "missing":
        del tensors["charged"]
    else:
        metadata["class"] = "streamgd.nowhere:LogisticRegression"
    save_file(tensors, tmp_path / "d", metadata=metadata)
    with pytest.raises(ValueError, match=r"class edited|not a complete model|import that module"):
        streamgd.load(tmp_path / "d")


def test_files_that_are_no_models(tmp_path):
    from safetensors.numpy import save_file

    (tmp_path / "text").write_text("hello")
    with pytest.raises(ValueError, match="not a model file"):
        streamgd.load(tmp_path / "text")
    save_file({"a": np.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="not one of streamgd's"):
        streamgd.load(tmp_path / "other.safetensors")
    with pytest.raises(FileNotFoundError):
        streamgd.load(tmp_path / "missing")
    pipeline = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    with pytest.raises(TypeError, match=r"pipeline\['LogisticRegression'\]"):
        streamgd.save(pipeline, tmp_path / "p.safetensors")
    model = linear_model.LogisticRegression()
    model.learn_one({object: 1.0}, True)
    with pytest.raises(TypeError, match="feature name"):
        streamgd.save(model, tmp_path / "q.safetensors")
    assert not (tmp_path / "q.safetensors").exists()


def test_the_memory_of_a_pipeline_is_that_of_its_state():
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    rows, _, y, _ = stream(20, 8)
    for x, t in zip(rows, y.tolist(), strict=True):
        model.learn_one(x, t)
        model.predict_one(x)
    # not that of the compiled kernels and, through them, of all of Numba
    assert model["LogisticRegression"]._raw_memory_usage < model._raw_memory_usage < 50_000
