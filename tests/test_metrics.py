"""Metrics equal scikit-learn's and river's, in all their forms: of all rows, in windows, fading."""

from __future__ import annotations

import copy
import math
import pickle
import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import dummy, stream, utils
from river import evaluate as rivers
from river import linear_model as rivers_linear
from river import metrics as of_river
from sklearn import metrics as of_sklearn

from streamgd import evaluate, linear_model
from streamgd.evaluate import metrics
from streamgd.evaluate._meter import Meter
from streamgd.evaluate._predictions import Predictions

TWO = linear_model.LogisticRegression()
MANY = linear_model.SoftmaxRegression()
NUMBERS = linear_model.LinearRegression()


def binary(y: Any, p: Any, labels: tuple[Any, Any] = (False, True)) -> Predictions:
    y, p = np.asarray(y), np.asarray(p, dtype=np.float64)
    return Predictions((y == labels[1]).astype(np.int64), p, labels, None, y)


def several(y: Any, shares: Any) -> Predictions:
    y, shares = np.asarray(y), np.asarray(shares)
    return Predictions(y, shares, tuple(range(shares.shape[1])), None, y)


def numbers(y: Any, p: Any) -> Predictions:
    return Predictions(np.asarray(y, float), np.asarray(p, float), None, None, y)


def cut(predictions: Predictions, at: list[int]) -> list[Predictions]:
    bounds = [0, *sorted(at), len(predictions.y)]
    return [
        Predictions(*(field[a:b] if isinstance(field, np.ndarray) else field for field in predictions))
        for a, b in pairwise(bounds)
    ]


def quiet(function: Any, *args: Any, **kwargs: Any) -> float:
    """scikit-learn warns where a metric is not defined."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(function(*args, **kwargs))


def recalls(y: Any, guess: Any, w: Any = None) -> Any:
    return of_sklearn.recall_score(y, guess, average=None, labels=np.unique(y), sample_weight=w)


def _gmean(y: Any, guess: Any, sample_weight: Any = None) -> float:
    each = recalls(y, guess, sample_weight)
    return float(np.prod(each) ** (1 / len(each)))


# What scikit-learn says of labels and guesses, or of labels and probabilities.
OF_GUESSES = {
    "accuracy": of_sklearn.accuracy_score,
    "balanced-accuracy": of_sklearn.balanced_accuracy_score,
    "gmean": _gmean,
    "macro-f1": lambda y, g, **k: of_sklearn.f1_score(y, g, average="macro", zero_division=0, **k),
    "kappa": of_sklearn.cohen_kappa_score,
    "mcc": of_sklearn.matthews_corrcoef,
}
OF_PAIRS = {
    "f1": lambda y, g, **k: of_sklearn.f1_score(y, g, zero_division=0, **k),
    "precision": lambda y, g, **k: of_sklearn.precision_score(y, g, zero_division=0, **k),
    "recall": lambda y, g, **k: of_sklearn.recall_score(y, g, zero_division=0, **k),
}
OF_PROBABILITIES = {
    "rocauc": of_sklearn.roc_auc_score,
    "prauc": of_sklearn.average_precision_score,
    "logloss": lambda y, p, **k: of_sklearn.log_loss(y, np.stack([1 - p, p], 1), labels=[False, True], **k),
    "cross-entropy": lambda y, p, **k: of_sklearn.log_loss(
        y, np.stack([1 - p, p], 1), labels=[False, True], **k
    ),
    "brier": lambda y, p, **k: of_sklearn.brier_score_loss(y, p, labels=[False, True], pos_label=True, **k),
}
OF_NUMBERS = {
    "mae": of_sklearn.mean_absolute_error,
    "mse": of_sklearn.mean_squared_error,
    "rmse": of_sklearn.root_mean_squared_error,
    "r2": of_sklearn.r2_score,
}
AREAS = ("rocauc", "prauc")  # in bins, but for windows


def of_two(y: Any, p: Any, name: str, **weights: Any) -> float:
    """What scikit-learn says of two labels."""
    if name in AREAS and len(np.unique(y)) < 2:
        return math.nan if name == "rocauc" or not y.any() else 1.0
    if name in OF_PROBABILITIES:
        return quiet(OF_PROBABILITIES[name], y, p, **weights)
    return quiet((OF_GUESSES | OF_PAIRS)[name], y, p > 0.5, **weights)


def close(ours: float, theirs: float, name: str = "", tolerance: float = 1e-9) -> None:
    tolerance = 1e-4 if name in AREAS else tolerance
    assert ours == pytest.approx(theirs, abs=tolerance, rel=tolerance, nan_ok=True), name


PAIRS = [*OF_GUESSES, *OF_PAIRS, *OF_PROBABILITIES]
rows_of_two = st.lists(
    st.tuples(st.booleans(), st.floats(0.001, 0.999) | st.sampled_from([0.25, 0.5, 0.75])),
    min_size=1,
    max_size=60,
)


@settings(max_examples=60)
@given(rows=rows_of_two, cuts=st.lists(st.integers(0, 60), max_size=4), window=st.integers(1, 70))
def test_of_two_labels(rows, cuts, window):
    y, p = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    alpha = 0.9
    meter = Meter(PAIRS, TWO, window=window, fading=alpha)
    for part in cut(binary(y, p), [min(k, len(y)) for k in cuts]):
        meter.update(part)
    values = meter.values()
    faded = alpha ** np.arange(len(y) - 1, -1, -1.0)
    for name in PAIRS:
        close(values[name], of_two(y, p, name), name)
        close(values[f"{name}_window"], of_two(y[-window:], p[-window:], name))  # areas, too: exact
        close(values[f"{name}_fading"], of_two(y, p, name, sample_weight=faded), name)


@settings(max_examples=60)
@given(
    rows=st.lists(st.tuples(st.integers(0, 3), *[st.integers(1, 9)] * 4), min_size=1, max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=4),
    window=st.integers(1, 70),
)
def test_of_several_labels(rows, cuts, window):
    table = np.array(rows)
    y, shares = table[:, 0], table[:, 1:] / table[:, 1:].sum(axis=1, keepdims=True)
    guess = shares.argmax(axis=1)
    alpha = 0.8
    meter = Meter([*OF_GUESSES, "cross-entropy", "brier"], MANY, window=window, fading=alpha)
    for part in cut(several(y, shares), [min(k, len(y)) for k in cuts]):
        meter.update(part)
    values = meter.values()
    faded = alpha ** np.arange(len(y) - 1, -1, -1.0)
    last = slice(-window, None)
    for name, function in OF_GUESSES.items():
        close(values[name], quiet(function, y, guess), name)
        close(values[f"{name}_window"], quiet(function, y[last], guess[last]), name)
        close(values[f"{name}_fading"], quiet(function, y, guess, sample_weight=faded), name)
    for ending, w in (("", None), ("_fading", faded)):
        entropy = of_sklearn.log_loss(y, shares, labels=range(4), sample_weight=w)
        distance = of_sklearn.brier_score_loss(
            y, shares, labels=range(4), sample_weight=w, scale_by_half=True
        )
        close(values["cross-entropy" + ending], entropy)
        close(values["brier" + ending], distance)


@settings(max_examples=60)
@given(
    rows=st.lists(st.tuples(*[st.floats(-1e3, 1e3)] * 2), min_size=2, max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=4),
    window=st.integers(2, 70),
    shift=st.sampled_from([0.0, 1e6]),
)
def test_of_numbers(rows, cuts, window, shift):
    y, p = (np.array([row[k] for row in rows]) + shift for k in (0, 1))
    if np.ptp(y) < 1e-2:
        return  # no variance that could be explained
    alpha = 0.9
    meter = Meter(list(OF_NUMBERS), NUMBERS, window=window, fading=alpha)
    for part in cut(numbers(y, p), [min(k, len(y)) for k in cuts]):
        meter.update(part)
    values = meter.values()
    faded = alpha ** np.arange(len(y) - 1, -1, -1.0)
    for name, function in OF_NUMBERS.items():
        close(values[name], quiet(function, y, p), tolerance=1e-6)
        if name != "r2" or np.ptp(y[-window:]) > 1e-2:
            close(values[f"{name}_window"], quiet(function, y[-window:], p[-window:]), tolerance=1e-6)
        close(values[f"{name}_fading"], quiet(function, y, p, sample_weight=faded), tolerance=1e-6)


def test_fading_is_the_recursion_of_its_paper():
    rng = np.random.default_rng(3)
    y, p = rng.normal(size=(2, 700))
    for alpha in (0.5, 0.99, 0.9999):
        meter = Meter(["mae"], NUMBERS, window=None, fading=alpha)
        s = b = 0.0
        for part in cut(numbers(y, p), [1, 2, 3, 300, 450]):
            meter.update(part)
            for error in np.abs(part.y - part.output).tolist():
                s, b = error + alpha * s, 1.0 + alpha * b
            assert meter.values()["mae_fading"] == pytest.approx(s / b, rel=1e-12)
    # in closed form: 1 at first, 0 ever after
    meter = Meter(["mae"], NUMBERS, window=None, fading=0.9)
    meter.update(numbers(np.zeros(50), np.eye(1, 50)[0]))
    assert meter.values()["mae_fading"] == pytest.approx(0.9**49 * (1 - 0.9) / (1 - 0.9**50), rel=1e-12)


def naive_kappas(y: list[Any], right: list[bool], delay: int) -> tuple[list[float], list[float]]:
    """Errors of the majority's classifier and of the last label's, each row judged by what it could know."""
    of_majority, of_last = [], []
    for i, label in enumerate(y):
        known = y[: max(0, i - max(1, delay) + 1)]
        of_last.append(float(not known or known[-1] != label))
        counts: dict[Any, int] = {}
        best = None
        for earlier in known:
            counts[earlier] = counts.get(earlier, 0) + 1
            if best is None or counts[earlier] > counts[best]:
                best = earlier
        of_majority.append(float(best is None or best != label))
    return of_majority, of_last


@settings(max_examples=60)
@given(
    rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    window=st.integers(1, 50),
    delay=st.integers(0, 5),
)
def test_kappas_against_rivals(rows, cuts, window, delay):
    y, guess = np.array(rows).T
    alpha = 0.9
    meter = Meter(["kappa-m", "kappa-temporal"], MANY, window=window, fading=alpha, delay=delay)
    for part in cut(several(y, np.eye(4)[guess]), [min(k, len(y)) for k in cuts]):
        meter.update(part)
    values = meter.values()
    wrong = (y != guess).astype(float)
    faded = alpha ** np.arange(len(y) - 1, -1, -1.0)
    for name, errors in zip(("kappa-m", "kappa-temporal"), naive_kappas(y.tolist(), [], delay), strict=True):
        for ending, w in (
            ("", np.ones(len(y))),
            ("_fading", faded),
            ("_window", np.arange(len(y))[::-1] < window),
        ):
            p, rival = 1 - w @ wrong / w.sum(), 1 - w @ errors / w.sum()
            expected = (p - rival) / (1 - rival) if rival < 1 - 1e-12 else math.nan
            close(values[name + ending], expected)


def test_rivals_are_rivers_dummies():
    rng = np.random.default_rng(5)
    y = np.repeat(rng.integers(0, 3, 400), rng.integers(1, 6, 400))
    right = rng.random(len(y)) < 0.8
    guess = np.where(right, y, (y + 1) % 3)
    meter = Meter(["kappa-m", "kappa-temporal"], MANY)
    meter.update(several(y, np.eye(3)[guess]))
    for name, rival in (("kappa-m", dummy.PriorClassifier()), ("kappa-temporal", dummy.NoChangeClassifier())):
        score = rivers.progressive_val_score(
            [({}, label) for label in y.tolist()], rival, of_river.Accuracy()
        )
        n = score.cm.n_samples  # the first row gets no answer
        errors = 1 + n * (1 - score.get())
        expected = 1 - (~right).sum() / errors
        tolerance = 0.0 if name == "kappa-temporal" else 0.02  # ties of the majority are broken otherwise
        assert meter.values()[name] == pytest.approx(expected, abs=tolerance + 1e-12)


def test_areas_where_positives_are_rare():
    rng = np.random.default_rng(6)
    y = rng.random(200_000) < 0.005
    z = rng.normal(-6.0, 1.0, len(y)) + 1.5 * y
    p = 1 / (1 + np.exp(-z))
    meter = Meter(["rocauc", "prauc"], TWO, window=50_000)
    for part in cut(binary(y, p), list(range(0, len(y), 30_000))):
        meter.update(part)
    values = meter.values()
    assert values["rocauc"] == pytest.approx(of_sklearn.roc_auc_score(y, p), abs=1e-4)
    assert values["prauc"] == pytest.approx(of_sklearn.average_precision_score(y, p), abs=1e-4)
    last = slice(-50_000, None)
    assert values["rocauc_window"] == pytest.approx(of_sklearn.roc_auc_score(y[last], p[last]), abs=1e-12)
    assert values["prauc_window"] == pytest.approx(
        of_sklearn.average_precision_score(y[last], p[last]), abs=1e-12
    )


def test_certain_probabilities_have_scores():
    y, p = np.array([False, True, True, False]), np.array([0.0, 1.0, 0.0, 1.0])
    meter = Meter(["rocauc", "prauc", "logloss"], TWO)
    meter.update(binary(y, p))
    assert meter.values()["rocauc"] == meter.values()["rocauc_window"] == 0.5
    assert meter.values()["logloss"] == pytest.approx(-math.log(1e-15) / 2)


@pytest.mark.parametrize("name", metrics.NAMES)
def test_nothing_is_not_defined(name):
    metric = metrics.by_name(name)
    assert math.isnan(metric.get())
    model = NUMBERS if metric.needs == "number" else TWO
    meter = Meter([name], model, fading=0.9)
    assert list(meter.values()) == [name, f"{name}_window", f"{name}_fading"]
    assert all(map(math.isnan, meter.values().values()))


# As metrics of river's


def by_rows(metric: Any, y: Any, answers: Any, w: Any = None) -> Any:
    for i, (label, answer) in enumerate(zip(y, answers, strict=True)):
        metric.update(label, answer) if w is None else metric.update(label, answer, w[i])
    return metric


EQUAL_TO_RIVER = [
    (metrics.Accuracy(), of_river.Accuracy()),
    (metrics.BalancedAccuracy(), of_river.BalancedAccuracy()),
    (metrics.GeometricMean(), of_river.GeometricMean()),
    (metrics.F1(), of_river.F1()),
    (metrics.Precision(), of_river.Precision()),
    (metrics.Recall(), of_river.Recall()),
    (metrics.MacroF1(), of_river.MacroF1()),
    (metrics.CohenKappa(), of_river.CohenKappa()),
    (metrics.MCC(), of_river.MCC()),
    (metrics.LogLoss(), of_river.LogLoss()),
    (metrics.CrossEntropy(), of_river.CrossEntropy()),
    (metrics.MAE(), of_river.MAE()),
    (metrics.MSE(), of_river.MSE()),
    (metrics.RMSE(), of_river.RMSE()),
    (metrics.R2(), of_river.R2()),
]


def columns_for(metric: Any, n: int = 1300) -> tuple[list[Any], list[Any]]:
    rng = np.random.default_rng(7)
    if metric.needs == "number":
        y = rng.normal(5.0, 1.0, n)
        return y.tolist(), (y + rng.normal(size=n)).tolist()
    y, p = rng.random(n) < 0.3, rng.random(n)
    if metric.needs == "label":
        return y.tolist(), (p < 0.4).tolist()
    return y.tolist(), [{False: 1 - q, True: q} for q in p.tolist()]


@pytest.mark.parametrize(("ours", "theirs"), EQUAL_TO_RIVER, ids=lambda m: type(m).__name__)
def test_row_by_row_as_in_river(ours, theirs):
    ours, theirs = ours.clone(), theirs.clone()
    y, answers = columns_for(ours)
    weights = np.random.default_rng(8).integers(1, 4, len(y)).tolist()
    half = len(y) // 2
    by_rows(ours, y[:half], answers[:half], weights)
    by_rows(theirs, y[:half], answers[:half], weights)
    assert ours.get() == pytest.approx(theirs.get(), rel=1e-9)
    again = pickle.loads(pickle.dumps(ours))
    for metric in (ours, theirs, copied := copy.deepcopy(ours), again):
        by_rows(metric, y[half:], answers[half:])
    for metric in (ours, copied, again):
        assert metric.get() == pytest.approx(theirs.get(), rel=1e-9)
    if type(ours) is not metrics.R2:  # which in river takes other weights for another number of rows
        for metric in (ours, theirs):
            for label, answer, w in zip(y[:100], answers[:100], weights, strict=False):
                metric.revert(label, answer, w)
        assert ours.get() == pytest.approx(theirs.get(), rel=1e-9)
    assert ours.bigger_is_better == theirs.bigger_is_better
    assert getattr(theirs, "requires_labels", True) == ours.requires_labels or ours.needs == "number"
    assert math.isnan(ours.clone().get())
    for model in (TWO, MANY, NUMBERS, rivers_linear.LogisticRegression(), rivers_linear.LinearRegression()):
        assert ours.works_with(model) == theirs.works_with(model)


@pytest.mark.parametrize("kind", [metrics.F1, metrics.Precision, metrics.Recall, metrics.PRAUC])
def test_the_other_label_as_the_positive_one(kind):
    y, answers = columns_for(kind)
    function = (OF_PAIRS | OF_PROBABILITIES)[kind.name]
    if kind.needs == "proba":
        expected = function(~np.array(y), np.array([answer[False] for answer in answers]))
    else:
        expected = function(y, answers, pos_label=False)
    assert by_rows(kind(positive=False), y, answers).get() == pytest.approx(expected, abs=1e-4)
    words = ["no", "yes"]
    assert by_rows(
        kind(positive="no"),
        [words[k] for k in y],
        (
            [{"no": answer[False], "yes": answer[True]} for answer in answers]
            if kind.needs == "proba"
            else [words[answer] for answer in answers]
        ),
    ).get() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("kind", [metrics.F1, metrics.ROCAUC, metrics.PRAUC, metrics.R2, metrics.Brier])
def test_in_rivers_windows(kind):
    y, answers = columns_for(kind)
    rolling = by_rows(utils.Rolling(kind, window_size=40), y[:300], answers[:300])
    last = by_rows(kind(), y[260:300], answers[260:300])
    assert rolling.get() == pytest.approx(last.get(), abs=1e-9)


def test_windows_of_ours_are_rivers():
    rng = np.random.default_rng(9)
    y, p = rng.random(500) < 0.4, rng.random(500)
    meter = Meter(["accuracy", "f1", "kappa"], TWO, window=33)
    rolling = [
        utils.Rolling(kind, window_size=33) for kind in (of_river.Accuracy, of_river.F1, of_river.CohenKappa)
    ]
    for part in cut(binary(y, p), [100, 101, 350]):
        meter.update(part)
        for metric in rolling:
            by_rows(metric, part.y_true.tolist(), (part.output > 0.5).tolist())
        values = meter.values()
        for name, metric in zip(meter.names, rolling, strict=True):
            assert values[f"{name}_window"] == pytest.approx(metric.get(), rel=1e-12)


@pytest.fixture(scope="module")
def table() -> tuple[Any, Any]:
    rng = np.random.default_rng(10)
    X = rng.normal(size=(2000, 4))
    return X, X[:, 0] + rng.logistic(size=2000) > 0.5


@pytest.mark.parametrize("labels", [(False, True), ("no", "yes"), (-1, 1), (1, 0)], ids=str)
def test_added_to_rivers_and_in_its_loops(labels, table):
    X, truth = table
    y = np.array(labels)[truth.astype(int)]
    sums = [
        metrics.GeometricMean() + of_river.Accuracy() + metrics.ROCAUC(),
        of_river.LogLoss() + metrics.KappaM() + metrics.Brier() + metrics.F1(positive=labels[1]),
    ]
    for both in sums:
        results = [copy.deepcopy(both) for _ in range(3)]
        model = linear_model.LogisticRegression(labels=labels)
        evaluate.progressive_val_score((X, y), model.clone(), results[0])
        rivers.progressive_val_score(stream.iter_array(X, y), model.clone(), results[1])
        evaluate.progressive_val_score(stream.iter_array(X, y), model.clone(), results[2])
        assert results[0].get() == pytest.approx(results[1].get(), rel=1e-12)
        assert results[2].get() == results[1].get()
    found = evaluate.progressive_val_score((X, y), linear_model.LogisticRegression(), metrics.KappaTemporal())
    assert str(found).startswith("KappaTemporal: 0.")


def test_labels_that_turn_up_late(table):
    X, truth = table
    y = np.array(["no", "yes"])[truth.astype(int)]
    ours = metrics.Accuracy() + metrics.CohenKappa()
    theirs = of_river.Accuracy() + of_river.CohenKappa()
    for delay in (None, 20):
        a, b = copy.deepcopy(ours), copy.deepcopy(theirs)
        evaluate.progressive_val_score((X, y), linear_model.LogisticRegression(), a, delay=delay)
        rivers.progressive_val_score(
            stream.iter_array(X, y), linear_model.LogisticRegression(), b, delay=delay
        )
        assert a.get() == pytest.approx(b.get(), abs=0.02)  # guesses of labels that nobody knew
    f1 = metrics.F1()  # no third label, although the first answers name False and True
    evaluate.progressive_val_score((X, y), linear_model.LogisticRegression(), f1, delay=20)
    assert f1.get() > 0.5


def test_rivers_metrics_in_a_meter(table):
    X, y = table
    model = linear_model.LogisticRegression()
    theirs = [of_river.LogLoss(), of_river.F1(), of_river.CohenKappa(), of_river.ROCAUC()]
    meter = Meter([*theirs, "logloss", "f1", "kappa"], model, window=150)
    from streamgd.evaluate._predictions import reader

    read = reader(model)
    for k in range(0, len(X), 300):
        meter.update(read(y[k : k + 300], model.predict_learn_rows(X[k : k + 300], y[k : k + 300])))
    values = meter.values()
    for rivers_name, name in (("LogLoss", "logloss"), ("F1", "f1"), ("CohenKappa", "kappa")):
        assert values[rivers_name] == pytest.approx(values[name], rel=1e-9)
        assert values[f"{rivers_name}_window"] == pytest.approx(values[f"{name}_window"], rel=1e-9)
    loop = rivers.progressive_val_score(
        stream.iter_array(X, y), linear_model.LogisticRegression(), of_river.ROCAUC()
    )
    assert values["ROCAUC"] == pytest.approx(loop.get(), rel=1e-12)
    assert theirs[3].get() == values["ROCAUC"]
    assert meter.answer_kind == "proba"
    assert meter.bigger_is_better("kappa")
    assert not meter.bigger_is_better("LogLoss")


def test_memory_does_not_grow():
    meter = Meter(list(OF_GUESSES | OF_PAIRS | OF_PROBABILITIES), TWO, window=100, fading=0.99)
    rng = np.random.default_rng(11)
    sizes = []
    for _ in range(3):
        for _ in range(20):
            meter.update(binary(rng.random(500) < 0.5, rng.random(500)))
        sizes.append(len(pickle.dumps(meter)))
    assert max(sizes) - min(sizes) < 200


# Errors


def test_a_metric_that_is_not_there():
    with pytest.raises(ValueError, match="no metric 'kappa_m'; did you mean 'kappa-m'"):
        Meter(["kappa_m"], TWO)


@pytest.mark.parametrize("name", ["f1", "precision", "recall", "rocauc", "prauc", "logloss"])
def test_a_third_label(name):
    meter = Meter([name], MANY)
    instead = metrics.NAMES[name].many
    with pytest.raises(ValueError, match=f"{name} is of two labels, and there are 3.*take '{instead}'"):
        meter.update(several([0, 1, 2], np.eye(3)))
    metric = metrics.by_name(name)
    with pytest.raises(ValueError, match="of two labels"):
        metric.update_many(several([0, 1, 2], np.eye(3)))


def test_what_does_not_suit():
    with pytest.raises(ValueError, match=r"mae does not suit LogisticRegression.*rocauc"):
        Meter(["mae"], TWO)
    with pytest.raises(ValueError, match="Accuracy does not suit LinearRegression"):
        Meter([of_river.Accuracy()], NUMBERS)
    with pytest.raises(ValueError, match="river's F1 has no fading form; take 'f1'"):
        Meter([of_river.F1()], TWO, fading=0.9)
    with pytest.raises(ValueError, match=r"river's Jaccard has no fading form; .*accuracy"):
        Meter([of_river.Jaccard()], TWO, fading=0.9)
    with pytest.raises(ValueError, match="'f1' stands twice"):
        Meter(["f1", metrics.F1()], TWO)
    with pytest.raises(ValueError, match=r"fading=1\.0"):
        Meter(["f1"], TWO, fading=1.0)
    with pytest.raises(ValueError, match="window=0"):
        Meter(["f1"], TWO, window=0)
    with pytest.raises(NotImplementedError, match=r"KappaM compares.*metrics=\['kappa-m'\]"):
        by_rows(utils.Rolling(metrics.KappaM, window_size=2), [1, 0, 1], [1, 0, 1])
    with pytest.raises(ValueError, match="positive='maybe': the labels are"):
        by_rows(metrics.F1(positive="maybe"), ["no", "yes"], ["no", "no"]).get()
