"""One pass, several models: the same numbers as river's loop, with curves, delays and seeds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from river import anomaly, datasets, naive_bayes, preprocessing, stream, tree
from river import evaluate as rivers
from river import linear_model as rivers_linear
from river import metrics as of_river
from river.optim import initializers
from scipy import sparse
from sklearn import metrics as of_sklearn

from streamgd import evaluate, linear_model, optim
from streamgd.evaluate import metrics
from streamgd.stream import Arrays, InputError


@pytest.fixture(scope="module")
def X() -> Any:
    return np.random.default_rng(0).normal(size=(3000, 3))


@pytest.fixture(scope="module")
def y(X) -> Any:
    return X[:, 0] - X[:, 1] + np.random.default_rng(1).logistic(size=len(X)) > 0


@pytest.fixture(scope="module")
def several(X) -> Any:
    return np.array(["a", "b", "c"])[np.digitize(X[:, 0] + X[:, 1], [-1, 1])]


def rows_of(X: Any, y: Any) -> list[Any]:
    return list(stream.iter_array(X, y))


def last(result: Any, name: str | None = None) -> dict[str, float]:
    history = result.results[name or next(iter(result.results))]
    return {curve: history.columns[curve][-1] for curve in history.columns}


KINDS = {
    "logistic": (linear_model.LogisticRegression, rivers_linear.LogisticRegression),
    "softmax": (linear_model.SoftmaxRegression, rivers_linear.SoftmaxRegression),
    "linear": (linear_model.LinearRegression, rivers_linear.LinearRegression),
}


def case(kind: str, X: Any, y: Any, several: Any) -> tuple[Any, Any]:
    """Targets, and river's metric."""
    if kind == "linear":
        return X @ [1.0, -2.0, 0.5] + 3.0, of_river.MAE() + of_river.R2() + of_river.RMSE()
    if kind == "softmax":
        return several, of_river.Accuracy() + of_river.MacroF1() + of_river.CohenKappa()
    return y, of_river.Accuracy() + of_river.LogLoss() + of_river.F1()


NAMES = {
    "linear": ["mae", "r2", "rmse"],
    "softmax": ["accuracy", "macro-f1", "kappa"],
    "logistic": ["accuracy", "logloss", "f1"],
}


@pytest.mark.parametrize("delay", [None, 0, 1, 7, 2000, 5000])
@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_rivers_loop(kind, delay, X, y, several):
    X = X[:2500]
    target, metric = case(kind, X, y[:2500], several[:2500])
    ours, theirs = (make() for make in KINDS[kind])
    expected = rivers.progressive_val_score(rows_of(X, target), theirs, metric, delay=delay).get()
    if kind == "softmax" and delay == 5000:
        expected = [math.nan] * 3  # nothing is answered before the first label; river makes it 0
    data = {"table": (X, target), "dicts": rows_of(X, target)}
    for form, rows in data.items():
        models = {"ours": ours.clone(), "theirs": theirs.clone()}
        result = evaluate.progressive_val(models, rows, metrics=NAMES[kind], delay=delay)
        assert result.results["ours"].samples == len(X)
        for name in models:
            found = [last(result, name)[metric] for metric in NAMES[kind]]
            assert found == pytest.approx(expected, rel=1e-9, nan_ok=True), (form, name)
    alone = evaluate.progressive_val(ours, X, target, metrics=NAMES[kind], delay=delay)
    assert [last(alone)[metric] for metric in NAMES[kind]] == pytest.approx(expected, rel=1e-9, nan_ok=True)
    assert alone.models[type(ours).__name__] is ours


@pytest.mark.parametrize("delay", [1, 40])
def test_delays_while_labels_are_open(delay, X, y):
    """Nobody knows the labels of the first rows: predictions are still of the labels to come."""
    for pair in ((-1, 1), ("no", "yes")):
        target = np.array(pair)[y.astype(int)]
        models = {"ours": linear_model.LogisticRegression(), "bool": linear_model.LogisticRegression()}
        result = evaluate.progressive_val(models["ours"], X, target, metrics=["f1", "logloss"], delay=delay)
        truth = target == models["ours"].labels_[1]
        expected = evaluate.progressive_val(models["bool"], X, truth, metrics=["f1", "logloss"], delay=delay)
        assert last(result)["f1"] == pytest.approx(last(expected)["f1"], abs=2e-2)
        assert last(result)["logloss"] == pytest.approx(
            last(expected)["logloss"], rel=2e-2 if delay > 1 else 1e-3
        )


def test_delayed_labels_are_old_news_to_rivals(X, y):
    target = np.repeat(y[:300], 10)  # the last label known is right, but for a late one
    results = [
        last(
            evaluate.progressive_val(
                rivers_linear.LogisticRegression(), X, target, delay=delay, metrics=["kappa-temporal"]
            )
        )
        for delay in (None, 1, 10)
    ]
    assert results[0]["kappa-temporal"] == results[1]["kappa-temporal"] < -3
    assert results[2]["kappa-temporal"] > -0.5


def test_every_way_to_hand_over_the_rows(tmp_path, X, y):
    frame = pd.DataFrame(X, columns=["a", "b", "c"]).assign(y=y)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    ways: list[tuple[Any, dict[str, Any]]] = [
        (X, {"y": y}),
        ((X, y), {}),
        (sparse.csr_matrix(X), {"y": y}),
        (frame, {"target": "y"}),
        (tmp_path / "rows.csv", {"target": "y"}),
        (Arrays(X, y, batch_rows=100), {}),
        (rows_of(X, y), {}),
        (iter(rows_of(X, y)), {}),
    ]
    found = []
    for data, options in ways:
        models = [linear_model.LogisticRegression(), rivers_linear.LogisticRegression()]
        result = evaluate.progressive_val(models, data, metrics=["logloss"], every=500, **options)
        assert list(result.results) == ["LogisticRegression", "LogisticRegression (2)"]
        assert result.results["LogisticRegression"].columns["samples"] == [500.0 * k for k in range(1, 7)]
        found += [last(result, name)["logloss"] for name in result.results]
    assert found == pytest.approx([found[0]] * len(found), rel=1e-9)


def test_pipelines_get_what_the_dicts_have():
    """Strings, and models that are no linear ones."""
    models = {
        "trees": tree.HoeffdingTreeClassifier(),
        "bayes": naive_bayes.GaussianNB(),
        "linear": preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    }
    loops = {name: model.clone() for name, model in models.items()}
    metrics = ["accuracy", "rocauc", "prauc"]
    result = evaluate.progressive_val(models, datasets.Phishing(), metrics=metrics, keep_predictions=True)
    for name, model in loops.items():
        truth, p, right = [], [], []
        for x, label in datasets.Phishing():
            answer = model.predict_proba_one(x)
            if answer:
                truth.append(label)
                p.append(answer.get(True, 0.0))
                right.append((p[-1] > 0.5) == label)
            model.learn_one(x, label)
        output = result.predictions[name].output
        assert output[-len(p) + 1 :].tolist() == p[1:]  # the first may be of labels not met yet
        found = last(result, name)
        assert found["accuracy"] == pytest.approx(np.mean(right), abs=1 / 1250 + 1e-12)
        assert found["rocauc"] == pytest.approx(of_sklearn.roc_auc_score(truth, p), abs=1e-3)
        assert found["prauc"] == pytest.approx(of_sklearn.average_precision_score(truth, p), abs=1e-3)
    words = [({"w": word, "n": 1.0}, word == "a") for word in "abc" * 50]
    model = preprocessing.OneHotEncoder() | linear_model.LogisticRegression()
    assert last(evaluate.progressive_val(model, words, metrics=["accuracy"]))["accuracy"] > 0.6


@pytest.mark.parametrize("form", ["table", "dicts"])
def test_weights_go_to_the_models(form, X, y):
    w = np.random.default_rng(2).integers(0, 3, len(y)).astype(float)
    samples = [
        (x, label, {"w": weight}) for (x, label), weight in zip(rows_of(X, y), w.tolist(), strict=True)
    ]
    expected = rivers.progressive_val_score(
        [(x, label, dict(more)) for x, label, more in samples],
        rivers_linear.LogisticRegression(),
        of_river.LogLoss(),
    ).get()
    models = [linear_model.LogisticRegression(), rivers_linear.LogisticRegression()]
    data = (X, y, w) if form == "table" else samples
    result = evaluate.progressive_val(models, data, metrics=["logloss"])
    for name in result.results:
        assert last(result, name)["logloss"] == pytest.approx(expected, rel=1e-9)


def test_curves(X, y):
    names = ["accuracy", "kappa-m", "rocauc"]
    result = evaluate.progressive_val(
        linear_model.LogisticRegression(), X, y, metrics=names, window=400, fading=0.99, every=300
    )
    history = result.results["LogisticRegression"]
    assert result.metrics == ("accuracy", "kappa-m", "rocauc")
    assert history.columns["samples"] == [300.0 * k for k in range(1, 11)]
    assert history.samples == history.updates == 3000
    assert history.classes == (False, True)
    assert history.window == 400
    assert history.columns["learning_rate"] == [0.01] * 10
    assert history.seconds > 0.0
    model = linear_model.LogisticRegression()
    right = (model.predict_learn_rows(X, y) > 0) == y
    for k, n in enumerate(range(300, 3001, 300)):
        assert history.columns["accuracy"][k] == pytest.approx(right[:n].mean(), rel=1e-12)
        assert history.columns["accuracy_window"][k] == pytest.approx(
            right[max(0, n - 400) : n].mean(), rel=1e-12
        )
        faded = 0.99 ** np.arange(n - 1, -1, -1.0)
        assert history.columns["accuracy_fading"][k] == pytest.approx(
            faded @ right[:n] / faded.sum(), rel=1e-9
        )
    frame = result.to_frame()
    assert list(frame["samples"]) == list(range(300, 3001, 300))
    assert set(frame["model"]) == {"LogisticRegression"}
    lines = str(result).splitlines()
    assert (
        lines[0].split()
        == "rows accuracy in window fading kappa-m in window fading rocauc in window fading rows/s".split()
    )
    assert lines[1].split()[:2] == ["LogisticRegression", "3,000"]
    assert repr(result) == "<Evaluation of LogisticRegression: accuracy, kappa-m, rocauc>"
    assert result._repr_html_() == f"<pre>{result}</pre>"


def test_points_are_as_often_as_the_stream_is_long(X, y):
    long = evaluate.progressive_val(linear_model.LogisticRegression(), np.repeat(X, 20, 0), np.repeat(y, 20))
    assert 100 < len(long.results["LogisticRegression"]) <= 140
    unknown = evaluate.progressive_val(linear_model.LogisticRegression(), iter(rows_of(X, y)))
    assert unknown.results["LogisticRegression"].columns["samples"] == [
        *(256.0 * k for k in range(1, 12)),
        3000.0,
    ]


@pytest.mark.parametrize("form", ["table", "dicts"])
def test_max_rows(form, X, y):
    taken = []

    def endless() -> Any:
        while True:
            for row in rows_of(X, y):
                taken.append(1)
                yield row

    data = (X, y) if form == "table" else endless()
    result = evaluate.progressive_val(linear_model.LogisticRegression(), data, max_rows=777)
    assert result.results["LogisticRegression"].samples == 777
    assert form == "table" or len(taken) in range(777, 10_000)
    delayed = evaluate.progressive_val(linear_model.LogisticRegression(), X, y, max_rows=777, delay=50)
    assert delayed.results["LogisticRegression"].samples == 777


def test_predictions_are_kept(X, y, several):
    spoiled = X.copy()
    spoiled[[4, 2999], 0] = math.nan
    model = linear_model.LogisticRegression(on_invalid="skip")
    kept = evaluate.progressive_val(model, spoiled, y, keep_predictions=True).predictions[
        "LogisticRegression"
    ]
    expected = linear_model.LogisticRegression(on_invalid="skip").predict_learn_rows(spoiled, y)
    assert kept.output == pytest.approx(1 / (1 + np.exp(-expected)), nan_ok=True)
    assert np.isnan(kept.output[[4, 2999]]).all()
    assert kept.y.tolist() == y.tolist()
    assert kept.labels == (False, True)
    assert len(kept) == 3000
    models = [linear_model.SoftmaxRegression(), rivers_linear.SoftmaxRegression()]
    both = evaluate.progressive_val(models, X, several, keep_predictions=True).predictions
    ours, theirs = both.values()
    assert ours.output.shape == (3000, 3)
    assert np.isnan(ours.output[0]).all()
    order = [ours.labels.index(label) for label in theirs.labels]
    assert ours.output[50:, order] == pytest.approx(theirs.output[50:], rel=1e-9)
    numbers = evaluate.progressive_val(linear_model.LinearRegression(), X, X[:, 0], keep_predictions=True)
    assert numbers.predictions["LinearRegression"].labels is None
    assert not evaluate.progressive_val(linear_model.LinearRegression(), X, X[:, 0]).predictions


def test_metrics_that_suit_by_themselves(X, y, several):
    binary = evaluate.progressive_val(linear_model.LogisticRegression(), X, y)
    assert binary.metrics == ("rocauc", "logloss", "accuracy")
    many = evaluate.progressive_val(linear_model.SoftmaxRegression(), X, several)
    assert many.metrics == ("accuracy", "macro-f1", "cross-entropy")
    mixed = [linear_model.LogisticRegression(), tree.HoeffdingTreeClassifier()]
    assert evaluate.progressive_val(mixed, X, y).metrics == ("accuracy",)
    assert evaluate.progressive_val(linear_model.LinearRegression(), X, X[:, 0]).metrics == (
        "mae",
        "rmse",
        "r2",
    )
    theirs, own = of_river.Accuracy(), metrics.F1(positive=False)
    result = evaluate.progressive_val(mixed, X, y, metrics=[theirs, own])
    assert result.metrics == ("Accuracy", "f1")
    assert theirs.get() == 0.0  # each model has its own


# Seeds


def somewhere(seed: int) -> Any:
    normal = initializers.Normal(seed=seed, sigma=2.0)
    return preprocessing.StandardScaler() | rivers_linear.LogisticRegression(initializer=normal)


def test_bands_over_seeds(X, y):
    seeds = range(6)
    result = evaluate.progressive_val(
        {"start": somewhere}, X[:600], y[:600], seeds=seeds, every=100, metrics=["logloss"], window=200
    )
    runs = [
        evaluate.progressive_val(
            somewhere(seed), X[:600], y[:600], every=100, metrics=["logloss"], window=200
        )
        for seed in seeds
    ]
    curves = np.array([next(iter(run.results.values())).columns["logloss"] for run in runs])
    assert np.ptp(curves[:, 0]) > 0.1  # seeds do make a difference
    band = result.band("start", "logloss")
    error = curves.std(axis=0, ddof=1) / math.sqrt(6)
    assert band.rows.tolist() == [100, 200, 300, 400, 500, 600]
    assert band.mean == pytest.approx(curves.mean(axis=0))
    assert band.low == pytest.approx(curves.mean(axis=0) - error)
    assert band.high == pytest.approx(curves.mean(axis=0) + error)
    wide = result.band("start", "logloss_window", (0.0, 1.0))
    windows = np.array([next(iter(run.results.values())).columns["logloss_window"] for run in runs])
    assert (wide.low == windows.min(axis=0)).all()
    assert (wide.high == windows.max(axis=0)).all()
    assert result.results["start"].columns["logloss"] == pytest.approx(curves.mean(axis=0).tolist())
    assert len(result.runs["start"]) == 6
    assert result.seeds == tuple(seeds)
    assert f"{curves[:, -1].mean():.4f} ± {error[-1]:.4f}" in str(result)
    frame = result.to_frame()
    assert frame.groupby("seed").size().tolist() == [6] * 6
    with pytest.raises(ValueError, match="no model 'somewhere'; there are start"):
        result.band("somewhere", "logloss")
    with pytest.raises(ValueError, match="no curve 'f1'"):
        result.band("start", "f1")


def test_models_with_a_seed_and_data_of_a_seed(X, y):
    from river import ensemble

    bagging = ensemble.BaggingClassifier(naive_bayes.GaussianNB(), n_models=3)
    models = {
        "bag": bagging,
        "steps": preprocessing.StandardScaler() | bagging.clone(),
        "none": linear_model.LogisticRegression(),
    }
    result = evaluate.progressive_val(models, X[:300], y[:300], seeds=[1, 2], metrics=["logloss"])
    for name in ("bag", "steps"):
        first, second = (run.last("logloss") for run in result.runs[name])
        assert first != second
    first, second = (run.last("logloss") for run in result.runs["none"])
    assert first == second
    seeded = last(evaluate.progressive_val(bagging.clone({"seed": 1}), X[:300], y[:300], metrics=["logloss"]))
    assert result.runs["bag"][0].last("logloss") == seeded["logloss"]
    assert models["none"].n_samples == 0  # clones were trained

    def table(seed: int) -> Any:
        rng = np.random.default_rng(seed)
        Z = rng.normal(size=(400 + 100 * seed, 2))
        return Z, Z[:, 0] > 0

    result = evaluate.progressive_val(linear_model.LogisticRegression(), table, seeds=[0, 1], every=100)
    assert result.band("LogisticRegression", "accuracy").rows.tolist() == [100, 200, 300, 400]


# Errors


@pytest.mark.parametrize("form", ["table", "dicts", "delayed"])
@pytest.mark.parametrize("bad", [0, 3, 700])
def test_a_refused_row_is_named(form, bad, X, y):
    spoiled = X.copy()
    spoiled[bad, 1] = math.nan
    model = linear_model.LogisticRegression()
    data = rows_of(spoiled, y) if form == "dicts" else (spoiled, y)
    with pytest.raises(ValueError, match=rf"^row {bad}: feature 1 is nan") as caught:
        evaluate.progressive_val(
            [model, rivers_linear.LogisticRegression()] if form == "dicts" else model,
            data,
            delay=5 if form == "delayed" else None,
        )
    assert caught.value.row == bad
    # seen when it is predicted, once its features are known, or else when it is learned
    assert model.n_samples == (bad - 4 if form == "delayed" and bad > 5 else bad)


def test_a_third_label_is_named_by_its_row(X, y):
    truth = y.astype(int)
    truth[600] = 2
    for delay in (None, 9):
        with pytest.raises(ValueError, match=r"^row 600: the label is 2, a third one") as caught:
            evaluate.progressive_val(linear_model.LogisticRegression(), X, truth, delay=delay)
        assert caught.value.row == 600


def test_what_cannot_be(X, y):
    model = linear_model.LogisticRegression()
    for options, message in (
        ({"delay": -1}, "delay=-1: a whole number of at least 0"),
        ({"every": 0}, "every=0"),
        ({"max_rows": 0.5}, "max_rows=0.5"),
        ({"window": 0}, "window=0"),
        ({"seeds": []}, "seeds is empty"),
        ({"seeds": [1]}, "depends on the seed"),
        ({"metrics": ["acuracy"]}, "did you mean 'accuracy'"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate.progressive_val(model, X, y, **options)
    with pytest.raises(ValueError, match="no models"):
        evaluate.progressive_val([], X, y)
    with pytest.raises(ValueError, match="no target"):
        evaluate.progressive_val(model, X)
    with pytest.raises(TypeError, match="is a function; say seeds="):
        evaluate.progressive_val({"f": somewhere}, X, y)
    with pytest.raises(TypeError, match="neither a classifier nor a regressor"):
        evaluate.progressive_val(anomaly.HalfSpaceTrees(), X, y)
    with pytest.raises(ValueError, match="no rows"):
        evaluate.progressive_val(model, X[:0], y[:0])
    with pytest.raises((ValueError, InputError), match="pass a function"):
        evaluate.progressive_val({"f": somewhere}, iter(rows_of(X, y)), seeds=[1, 2])
    assert model.n_samples == 0


def test_plot(tmp_path, X, y):
    models = {"sgd": linear_model.LogisticRegression(), "auto": linear_model.LogisticRegression("auto")}
    result = evaluate.progressive_val(models, X, y, metrics=["accuracy", "kappa-m"], fading=0.99)
    figure = result.plot(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    assert [axes.get_ylabel() for axes in figure.axes] == ["accuracy\nin window", "kappa-m\nin window"]
    history = result.results["auto"]
    line = figure.axes[1].lines[1]
    assert line.get_label() == "auto"
    assert line.get_xdata().tolist() == history.columns["samples"]
    assert line.get_ydata().tolist() == history.columns["kappa-m_window"]
    assert [a.get_ylabel() for a in result.plot(metrics=["accuracy_fading"]).axes] == ["accuracy\nfading"]
    with pytest.raises(ValueError, match="no metric 'f1'"):
        result.plot(metrics=["f1"])
    bands = evaluate.progressive_val(
        {"start": somewhere}, X[:600], y[:600], seeds=range(3), metrics=["logloss"]
    )
    assert len(bands.plot(quantiles=(0.1, 0.9)).axes[0].collections) == 1
    assert not figure.axes[0].collections


def test_rates_are_in_the_curves(X, y):
    falling = linear_model.LogisticRegression(optim.SGD(optim.schedulers.InverseTime(0.5, k=0.01)))
    history = evaluate.progressive_val(falling, X, y, every=1000).results["LogisticRegression"]
    assert history.columns["learning_rate"] == sorted(history.columns["learning_rate"], reverse=True)
    theirs = evaluate.progressive_val(rivers_linear.LogisticRegression(), X, y).results["LogisticRegression"]
    assert "learning_rate" not in theirs.columns
