"""Perceptron, passive-aggressive and support vector learners, quantile and poisson regression.

Each is held against river, scikit-learn or the plain loops, in every mode, and behind river's interface.
"""

from __future__ import annotations

import copy
import gc
import inspect
import itertools
import math
import pickle
from typing import Any

import naive
import numpy as np
import oracles
import pandas as pd
import polars as pl
import pytest
import river.linear_model
import river.optim
import samples
import scipy.sparse
import sklearn.linear_model
import sklearn.svm
from river import checks, datasets, evaluate, metrics, multiclass, preprocessing

import streamgd
from streamgd import linear_model, optim
from streamgd._rows import SparseRows

# Each with parameters that are not its defaults, so that one that is lost shows.
LEARNERS: dict[type, dict[str, Any]] = {
    linear_model.Perceptron: {"l2": 0.01, "initializer": optim.initializers.Normal(sigma=0.1, seed=3)},
    linear_model.PAClassifier: {"C": 0.1, "mode": 2},
    linear_model.PARegressor: {"C": 0.2, "mode": 1, "eps": 0.3},
    linear_model.LinearSVC: {"optimizer": optim.SGD(0.05), "l2": 0.01},
}
PASSIVE_AGGRESSIVE = (linear_model.PAClassifier, linear_model.PARegressor)
every_learner = pytest.mark.parametrize("learner", LEARNERS, ids=lambda cls: cls.__name__)
passive_aggressive = pytest.mark.parametrize("learner", PASSIVE_AGGRESSIVE, ids=lambda cls: cls.__name__)


def is_binary(learner: type) -> bool:
    return learner is not linear_model.PARegressor


def changed(learner: type, **more: Any) -> Any:
    return learner(**LEARNERS[learner], **more)


def output(model: Any, x: Any) -> float:
    """Prediction on the target's scale."""
    return model.predict_proba_one(x)[True] if hasattr(model, "predict_proba_one") else model.predict_one(x)


def learned(model: Any) -> list[Any]:
    """All that a model has learned, to compare to the bit."""
    state = model.__getstate__()
    return [state[k].tobytes() for k in ("_weights", "_slots", "_charged", "_scalars")] + [state["_features"]]


def assert_in_step(ours: Any, theirs: Any, rows: Any, ys: Any) -> None:
    """Learn in step, and compare each prediction, then the weights, to 1e-9."""
    found, expected = [], []
    for x, y in zip(rows, ys, strict=True):
        found.append(output(ours, x))
        expected.append(output(theirs, x))
        ours.learn_one(x, y)
        theirs.learn_one(x, y)
    assert ours.weights.keys() == theirs.weights.keys()
    found += [*ours.weights.values(), ours.intercept]
    expected += [*(theirs.weights[name] for name in ours.weights), theirs.intercept]
    # what is wrong in river's own regressor is its loss: see river_pa_regressor
    oracle = "river, its loss corrected" if isinstance(ours, linear_model.PARegressor) else "river"
    assert_close(ours, oracle, river.__version__, found, expected)


def assert_close(ours: Any, oracle: str, version: str, found: Any, expected: Any) -> None:
    """Compare to 1e-9, relative to numbers that are larger than 1, and keep the difference for the table."""
    found, expected = np.asarray(found), np.asarray(expected)
    difference = float(np.max(np.abs(found - expected) / np.maximum(1.0, np.abs(expected))))
    assert difference <= 1e-9
    oracles.record(type(ours).__name__, oracle, version, difference)


# -- the same as river -------------------------------------------------------------------------


def river_pa_regressor(eps: float = 0.1, **more: Any) -> Any:
    """river's class with the loss of the paper: river's own is that of 2y - 1."""
    model = river.linear_model.PARegressor(eps=eps, **more)
    model.loss = lambda y, p: max(abs(p - y) - eps, 0.0)
    return model


@pytest.mark.parametrize("parameters", [{}, {"l2": 0.01}, {"clip_gradient": 0.3}])
def test_perceptron_is_rivers(parameters: dict[str, float]) -> None:
    rows, _, y, _, _ = samples.sparse(1000, 10, binary=True, seed=1)
    rivers = river.linear_model.Perceptron(
        **parameters, initializer=river.optim.initializers.Normal(sigma=0.1, seed=5)
    )
    ours = linear_model.Perceptron(
        **parameters, initializer=river.optim.initializers.Normal(sigma=0.1, seed=5)
    )
    assert_in_step(ours, rivers, rows, y.tolist())


MODES = list(itertools.product((0, 1, 2), (1.0, 0.05), (True, False)))


@pytest.mark.parametrize(("mode", "C", "learn_intercept"), MODES)
def test_passive_aggressive_is_rivers(mode: int, C: float, learn_intercept: bool) -> None:
    parameters = {"C": C, "mode": mode, "learn_intercept": learn_intercept}
    rows, _, labels, _, _ = samples.sparse(1000, 10, binary=True, seed=2)
    numbers = samples.sparse(1000, 10, binary=False, seed=2)[2]
    if mode == 0:  # a row of one small value would move the intercept by its inverse's square
        data = samples.dense(1000, 10, binary=True, seed=2)
        rows, labels = data.dicts(), data.y
    ours, rivers = (m.PAClassifier(**parameters) for m in (linear_model, river.linear_model))
    assert_in_step(ours, rivers, rows, labels.tolist())
    assert_in_step(
        linear_model.PARegressor(eps=0.2, **parameters),
        river_pa_regressor(eps=0.2, **parameters),
        rows,
        (2.0 + 3.0 * numbers).tolist(),
    )


@pytest.mark.parametrize("name", ["Perceptron", "PAClassifier", "PARegressor"])
def test_parameters_are_rivers(name: str) -> None:
    ours, rivers = (
        inspect.signature(getattr(m, name)).parameters.values() for m in (linear_model, river.linear_model)
    )
    by_position = [p for p in ours if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert [(p.name, p.default) for p in by_position] == [(p.name, p.default) for p in rivers]


@passive_aggressive
def test_rows_that_say_nothing(learner: type) -> None:
    """Without features there is no step, but by the intercept in mode 2; within the margin there is none."""
    for mode in (0, 1, 2):
        ours = learner(mode=mode)
        rivers = river.linear_model.PAClassifier(mode=mode) if is_binary(learner) else None
        rivers = rivers or river_pa_regressor(mode=mode)
        assert_in_step(ours, rivers, [{}, {"a": 0.0}, {"a": 1.0}, {"a": 1.0}], [True] * 4)


# -- the same as scikit-learn ------------------------------------------------------------------


def assert_same_line(ours: Any, theirs: Any) -> None:
    found = [*ours.weights.values(), ours.intercept]
    expected = [*theirs.coef_.ravel(), theirs.intercept_[0]]
    assert_close(ours, "scikit-learn", sklearn.__version__, found, expected)


@pytest.mark.parametrize("mode", [1, 2])
def test_passive_aggressive_is_that_of_scikit_learn(mode: int) -> None:
    common = {"penalty": None, "learning_rate": f"pa{mode}", "eta0": 0.3, "shuffle": False}
    data = samples.dense(500, 6, binary=True, seed=4)
    ours = linear_model.PAClassifier(C=0.3, mode=mode)
    ours.learn_rows(data.X, data.y)
    assert_same_line(
        ours, sklearn.linear_model.SGDClassifier(**common).partial_fit(data.X, data.y, [False, True])
    )
    data = samples.dense(500, 6, binary=False, seed=4)
    regressor = linear_model.PARegressor(C=0.3, mode=mode, eps=0.2)
    regressor.learn_rows(data.X, data.y)
    theirs = sklearn.linear_model.SGDRegressor(loss="epsilon_insensitive", epsilon=0.2, **common)
    assert_same_line(regressor, theirs.partial_fit(data.X, data.y))


def test_perceptron_and_svc_are_those_of_scikit_learn() -> None:
    data = samples.dense(800, 6, binary=True, seed=5)
    perceptron, svc = linear_model.Perceptron(), linear_model.LinearSVC(l2=0.02, intercept_lr=0.01)
    for ours, theirs in (
        (perceptron, sklearn.linear_model.Perceptron(shuffle=False)),
        (
            svc,
            sklearn.linear_model.SGDClassifier(
                "hinge", alpha=0.02, learning_rate="constant", eta0=0.01, shuffle=False
            ),
        ),
    ):
        ours.learn_rows(data.X, data.y)
        theirs.partial_fit(data.X, data.y, [False, True])
        assert_same_line(ours, theirs)
        assert ours.predict_many(data.X).tolist() == theirs.predict(data.X).tolist()


def test_svc_reaches_the_widest_margin() -> None:
    """The minimum of l2 / 2 |w|^2 plus the mean hinge loss, which scikit-learn solves with C = 1 / (n l2)."""
    data = samples.dense(200, 4, binary=True, seed=6)
    sign = 2.0 * data.y - 1.0

    def objective(w: Any, b: float) -> float:
        return 0.05 * w @ w + np.maximum(0.0, 1.0 - sign * (data.X @ w + b)).mean()

    rate = optim.schedulers.InverseScaling(3.0, 0.8)
    ours = linear_model.LinearSVC(optim.SGD(rate), l2=0.1, intercept_lr=rate)
    for _ in range(2000):
        ours.learn_many(data.X, data.y)
    theirs = sklearn.svm.SVC(kernel="linear", C=1.0 / (200 * 0.1), tol=1e-8).fit(data.X, data.y)
    reached = objective(np.array(list(ours.weights.values())), ours.intercept)
    best = objective(theirs.coef_[0], theirs.intercept_[0])
    assert best - 1e-9 <= reached <= best + 1e-6
    hinge = linear_model.LogisticRegression(loss=optim.losses.Hinge(), l2=1e-4)
    default = linear_model.LinearSVC()
    for model in (hinge, default):
        model.learn_rows(data.X, data.y)
    assert learned(hinge) == learned(default)


# -- every mode --------------------------------------------------------------------------------


@every_learner
def test_dicts_rows_and_frames_are_the_same_to_the_bit(learner: type) -> None:
    data = samples.dense(300, 5, binary=is_binary(learner), seed=7)
    one = changed(learner)
    for x, y, w in zip(data.dicts(), data.y.tolist(), data.w.tolist(), strict=True):
        one.learn_one(x, y, w=w)
    frame = pd.DataFrame(data.X, columns=data.names)
    for X in (data.X, frame, pl.from_pandas(frame), np.asfortranarray(data.X)):
        many = changed(learner)
        many.learn_rows(X, data.y, data.w, columns=data.names if isinstance(X, np.ndarray) else None)
        assert learned(many) == learned(one)
    predicted = [one.predict_one(x) for x in data.dicts()]
    assert one.predict_many(data.X, columns=data.names).tolist() == pytest.approx(predicted, rel=1e-12)
    if is_binary(learner):
        p = [one.predict_proba_one(x)[True] for x in data.dicts()]
        assert one.predict_proba_many(frame)[True].tolist() == pytest.approx(p, rel=1e-12)


@every_learner
def test_sparse_rows_are_the_same_as_dicts(learner: type) -> None:
    rows, compressed, ys, ws, names = samples.sparse(400, 10, binary=is_binary(learner), seed=8)
    one, many = changed(learner), changed(learner)
    for x, y, w in zip(rows, ys.tolist(), ws.tolist(), strict=True):
        one.learn_one(x, y, w)
    many.learn_rows(compressed, ys, ws, columns=names)
    assert many.weights == pytest.approx(one.weights, rel=1e-12)
    assert many.intercept == pytest.approx(one.intercept, rel=1e-12)
    dense, csr = changed(learner), changed(learner)
    X = samples.dense(200, 6, binary=is_binary(learner), seed=9).X
    dense.learn_rows(X, ys[:200])
    csr.learn_rows(scipy.sparse.csr_matrix(X), ys[:200])
    assert csr.weights == pytest.approx(dense.weights, rel=1e-12)


@every_learner
def test_single_precision_rows_are_read_as_they_are(learner: type) -> None:
    data = samples.dense(300, 5, binary=is_binary(learner), seed=10)
    single, double = changed(learner), changed(learner)
    rounded = data.X.astype(np.float32)
    z = single.predict_learn_rows(rounded, data.y)
    assert z.tolist() == double.predict_learn_rows(rounded.astype(np.float64), data.y).tolist()
    assert learned(single) == learned(double)


@pytest.mark.parametrize(
    ("ours", "rivers"),
    [
        (linear_model.Perceptron(l2=0.01), river.linear_model.Perceptron(l2=0.01)),
        (
            linear_model.LinearSVC(l2=0.01),
            river.linear_model.LogisticRegression(loss=river.optim.losses.Hinge(), l2=0.01),
        ),
    ],
    ids=["Perceptron", "LinearSVC"],
)
def test_mini_batches_are_rivers(ours: Any, rivers: Any) -> None:
    data = samples.dense(400, 5, binary=True, seed=11)
    frame, y = pd.DataFrame(data.X, columns=data.names), pd.Series(data.y)
    for i in range(0, 400, 40):
        for model in (ours, rivers):
            model.learn_many(frame[i : i + 40], y[i : i + 40])
    assert ours.weights == pytest.approx(rivers.weights, rel=1e-9)
    assert ours.intercept == pytest.approx(rivers.intercept, rel=1e-9)
    pd.testing.assert_frame_equal(ours.predict_proba_many(frame), rivers.predict_proba_many(frame))
    pd.testing.assert_series_equal(ours.predict_many(frame), rivers.predict_many(frame), check_names=False)


@passive_aggressive
def test_passive_aggressive_refuses_mini_batches(learner: type) -> None:
    model = learner()
    before = learned(model)
    with pytest.raises(ValueError, match="sample by sample: call learn_rows"):
        model.learn_many(np.ones((2, 1)), [0, 1])
    assert learned(model) == before


@passive_aggressive
def test_a_weight_of_two_is_two_rows(learner: type) -> None:
    """Exactly in PA-I: the first step of a row ends at C or at a loss of 0, and the second goes on."""
    data = samples.dense(300, 5, binary=is_binary(learner), seed=12)
    parameters = {"C": 0.05, "learn_intercept": False}
    weighted, repeated = learner(**parameters), learner(**parameters)
    weighted.learn_rows(data.X, data.y, 2)
    repeated.learn_rows(data.X.repeat(2, axis=0), data.y.repeat(2))
    assert weighted.weights == pytest.approx(repeated.weights, rel=1e-9)
    for mode in (1, 2):  # and in all modes a weight of C is C
        plain, heavy = learner(C=0.6, mode=mode), learner(C=0.3, mode=mode)
        plain.learn_rows(data.X, data.y)
        heavy.learn_rows(data.X, data.y, 2.0)
        assert heavy.weights == pytest.approx(plain.weights, rel=1e-9)


@every_learner
def test_a_weight_of_zero_is_nothing(learner: type) -> None:
    model = changed(learner)
    model.learn_one({"a": 1.0}, True)
    before = learned(model)
    model.learn_one({"a": -3.0, "never": 1.0}, False, w=0)
    assert learned(model) == before


# -- labels and bad input ----------------------------------------------------------------------


@pytest.mark.parametrize("learner", [cls for cls in LEARNERS if is_binary(cls)])
@pytest.mark.parametrize(("negative", "positive"), [(0, 1), (-1, 1), ("ham", "spam")])
def test_any_two_labels(learner: type, negative: Any, positive: Any) -> None:
    data = samples.dense(200, 4, binary=True, seed=13)
    y = data.y.copy()
    y[0] = False  # of names the first one seen is the negative
    named = np.where(y, positive, negative).tolist()
    plain, rows, dicts = (changed(learner) for _ in range(3))
    plain.learn_rows(data.X, y, columns=data.names)
    rows.learn_rows(data.X, named, columns=data.names)
    for x, label in zip(data.dicts(), named, strict=True):
        dicts.learn_one(x, label)
    assert rows.labels_ == dicts.labels_ == (negative, positive)
    assert rows.weights == dicts.weights == plain.weights
    assert {dicts.predict_one(x) for x in data.dicts()} == {negative, positive}
    assert set(dicts.predict_proba_one({})) == {negative, positive}
    given = changed(learner, labels=(positive, negative))
    given.learn_one({"a": 1.0}, negative)
    assert given.labels_ == (positive, negative)
    assert given.clone().labels == (positive, negative)


@every_learner
@pytest.mark.parametrize(
    ("x", "y", "error", "text"),
    [
        ({"a": math.nan}, True, ValueError, "feature 'a' is nan"),
        ({"a": "red"}, True, TypeError, "'red', a str"),
        ({"new": math.inf}, True, ValueError, "feature 'new' is inf"),
        ({"a": 1.0}, None, (ValueError, TypeError), "None"),
    ],
)
def test_bad_input_names_it_and_changes_nothing(learner: type, x: Any, y: Any, error: Any, text: str) -> None:
    model, skipping = changed(learner), changed(learner, on_invalid="skip")
    for each in (model, skipping):
        each.learn_one({"a": 1.0, "b": 2.0}, True)
    before = learned(model)
    with pytest.raises(error, match=text):
        model.learn_one(x, y)
    skipping.learn_one(x, y)
    assert learned(model) == learned(skipping) == before
    assert skipping.n_invalid == 1


@every_learner
def test_a_bad_row_stops_there_or_is_left_out(learner: type) -> None:
    data = samples.dense(50, 4, binary=is_binary(learner), seed=14)
    X = data.X.copy()
    X[20, 2] = math.nan
    model, until = changed(learner), changed(learner)
    skipping, without = (changed(learner, on_invalid="skip") for _ in range(2))
    with pytest.raises(ValueError, match="row 20: feature 2 is nan") as caught:
        model.learn_rows(X, data.y)
    assert caught.value.row == 20
    until.learn_rows(X[:20], data.y[:20])
    assert learned(model) == learned(until)
    skipping.learn_rows(X, data.y)
    without.learn_rows(np.delete(X, 20, axis=0), np.delete(data.y, 20))
    assert learned(skipping) == learned(without)
    assert skipping.n_invalid == 1
    assert skipping.predict_one({0: math.nan}) is None


# -- copies, files, parameters -----------------------------------------------------------------


@every_learner
@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), lambda m: m.clone(include_attributes=True)],
    ids=["deepcopy", "pickle", "clone"],
)
def test_copies_go_on_alike_and_leave_the_original(learner: type, copied: Any) -> None:
    rows, _, y, _, _ = samples.sparse(300, 8, binary=is_binary(learner), seed=15)
    model = changed(learner)
    for x, t in zip(rows[:150], y[:150].tolist(), strict=True):
        model.learn_one(x, t)
    before = learned(model)
    twin = copied(model)
    assert learned(twin) == before
    for each in (twin, model):
        gc.collect()
        for x, t in zip(rows[150:], y[150:].tolist(), strict=True):
            each.learn_one(x, t)
        assert (each is model) or learned(model) == before
    assert learned(model) == learned(twin) != before
    assert repr(twin) == repr(model)
    fresh = model.clone()
    assert (fresh.weights, repr(fresh)) == ({}, repr(model))


@every_learner
def test_a_saved_model_goes_on_to_the_bit(learner: type, tmp_path: Any) -> None:
    rows, _, y, _, _ = samples.sparse(300, 8, binary=is_binary(learner), seed=16)
    labels = np.where(y, "spam", "ham") if is_binary(learner) else y
    model = changed(learner)
    for x, t in zip(rows[:150], labels[:150].tolist(), strict=True):
        model.learn_one(x, t)
    streamgd.save(model, tmp_path / "m.safetensors")
    loaded = streamgd.load(tmp_path / "m.safetensors")
    assert type(loaded) is learner
    assert repr(loaded) == repr(model)
    for each in (model, loaded):
        for x, t in zip(rows[150:], labels[150:].tolist(), strict=True):
            each.learn_one(x, t)
    assert learned(loaded) == learned(model)
    assert loaded.predict_one(rows[0]) == model.predict_one(rows[0])


@passive_aggressive
def test_changes_of_parameters_take_effect_and_bad_ones_do_not(learner: type) -> None:
    data = samples.dense(200, 4, binary=is_binary(learner), seed=17)
    rivers = river.linear_model.PAClassifier() if is_binary(learner) else river_pa_regressor()
    ours = learner()
    for i, (x, t) in enumerate(zip(data.dicts(), data.y.tolist(), strict=True)):
        if i == 100:
            ours.mutate({"C": 0.05, "learn_intercept": False})
            rivers.C, rivers.learn_intercept = 0.05, False
        for model in (ours, rivers):
            model.learn_one(x, t)
    assert ours.weights == pytest.approx(dict(rivers.weights), rel=1e-9)
    assert ours.intercept == pytest.approx(rivers.intercept, rel=1e-9)
    before = repr(ours)
    for name, value in (("C", 0.0), ("C", "much"), ("mode", 3), ("mode", 0.5)):
        with pytest.raises((TypeError, ValueError), match=name):
            setattr(ours, name, value)
        with pytest.raises((TypeError, ValueError), match=name):
            learner(**{name: value})
    assert repr(ours) == before
    assert ours.clone({"mode": 2}).mode == 2
    assert ours.clone().learn_intercept is False


def test_the_tube_can_be_changed() -> None:
    model = linear_model.PARegressor(eps=0.5)
    model.learn_one({"a": 1.0}, 0.4)
    assert model.weights == {"a": 0.0}
    model.mutate({"eps": 0.1})
    model.learn_one({"a": 1.0}, 0.4)
    assert model.weights["a"] == pytest.approx(0.3)
    assert model.clone().eps == 0.1
    with pytest.raises(ValueError, match="eps"):
        model.eps = -1.0


# -- behind river's interface ------------------------------------------------------------------


def pipelines() -> Any:
    for learner in LEARNERS:
        yield learner()
        parameters = {k: v for k, v in LEARNERS[learner].items() if k != "initializer"}
        yield preprocessing.StandardScaler() | learner(**parameters)


CHECKS = [
    pytest.param(model, check, id=f"{type(model).__name__}-{i}-{check.__name__}-{j}")
    for i, model in enumerate(pipelines())
    for j, check in enumerate(checks.yield_checks(model))
    if check.__name__ not in model._unit_test_skips()
]


@pytest.mark.parametrize(("model", "check"), CHECKS)
def test_river_checks(model: Any, check: Any) -> None:
    check(model.clone())


CLASSIFIERS = [
    (linear_model.LogisticRegression, river.linear_model.LogisticRegression),
    (linear_model.Perceptron, river.linear_model.Perceptron),
    (linear_model.PAClassifier, river.linear_model.PAClassifier),
]
every_classifier = pytest.mark.parametrize(
    ("ours", "rivers"), CLASSIFIERS, ids=lambda cls: cls.__module__.split(".")[0] + "-" + cls.__name__
)


@every_classifier
@pytest.mark.parametrize("wrapper", [multiclass.OneVsRestClassifier, multiclass.OneVsOneClassifier])
def test_many_classes_by_rivers_wrappers(ours: type, rivers: type, wrapper: Any) -> None:
    one, other = (preprocessing.StandardScaler() | wrapper(cls()) for cls in (ours, rivers))
    for x, y in datasets.ImageSegments().take(300):
        if wrapper is multiclass.OneVsRestClassifier:
            expected = other.predict_proba_one(x)
            assert one.predict_proba_one(x) == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert one.predict_one(x) == other.predict_one(x)
        one.learn_one(x, y)
        other.learn_one(x, y)
    pairs = zip(one[-1].classifiers.values(), other[-1].classifiers.values(), strict=True)
    for a, b in pairs:
        assert a.weights == pytest.approx(dict(b.weights), rel=1e-9, abs=1e-9)


@every_classifier
def test_progressive_accuracy_is_rivers(ours: type, rivers: type) -> None:
    scores = [
        evaluate.progressive_val_score(
            datasets.Phishing(), preprocessing.StandardScaler() | cls(), metrics.LogLoss()
        ).get()
        for cls in (ours, rivers)
    ]
    assert scores[0] == pytest.approx(scores[1], rel=1e-9)


# -- quantile and poisson regression -----------------------------------------------------------

LOSSES = [
    (optim.losses.Quantile(0.8), naive.Quantile(0.8)),
    (optim.losses.Poisson(), naive.Poisson()),
]
every_loss = pytest.mark.parametrize(("loss", "plain"), LOSSES, ids=["quantile", "poisson"])


def counts(y: Any) -> Any:
    """Turn targets into small counts."""
    return np.floor(np.abs(y))


def regression(loss: Any) -> Any:
    return linear_model.LinearRegression(optim.SGD(0.02), loss, l2=0.01, intercept_lr=0.05)


def by_loops(plain: Any) -> naive.Linear:
    rate = naive.constant(0.02)
    return naive.Linear(naive.SGD(), plain, rate, l2=0.01, intercept_lr=naive.constant(0.05))


@every_loss
def test_other_losses_from_dicts_and_rows(loss: Any, plain: Any) -> None:
    data = samples.dense(400, 6, binary=False, seed=20)
    y = counts(data.y)
    one, rows, loops = regression(loss), regression(loss), by_loops(plain)
    expected = []
    for x, t, w in zip(data.dicts(), y.tolist(), data.w.tolist(), strict=True):
        expected.append(loops.learn(x, t, w))
        assert one.predict_one(x) == pytest.approx(loss.mean(expected[-1]), rel=1e-12, abs=1e-12)
        one.learn_one(x, t, w)
    z = rows.predict_learn_rows(data.X, y, data.w, columns=data.names)
    np.testing.assert_allclose(z, expected, rtol=1e-11, atol=1e-12)
    assert learned(one) == learned(rows)
    assert one.weights == pytest.approx(loops.weights, rel=1e-11)
    means = [loss.mean(loops.output(x)) for x in data.dicts()]
    assert rows.predict_many(data.X, columns=data.names).tolist() == pytest.approx(means, rel=1e-11)


@every_loss
def test_other_losses_from_sparse_rows(loss: Any, plain: Any) -> None:
    rows, compressed, y, ws, names = samples.sparse(400, 10, binary=False, seed=21)
    assert isinstance(compressed, SparseRows)
    y = counts(y)
    model, loops = regression(loss), by_loops(plain)
    expected = [loops.learn(x, t, w) for x, t, w in zip(rows, y.tolist(), ws.tolist(), strict=True)]
    z = model.predict_learn_rows(compressed, y, ws, columns=names)
    np.testing.assert_allclose(z, expected, rtol=1e-11, atol=1e-12)
    assert {k: w for k, w in model.weights.items() if k in loops.weights} == pytest.approx(
        loops.weights, rel=1e-11
    )


@every_loss
def test_other_losses_from_mini_batches(loss: Any, plain: Any) -> None:
    data = samples.dense(300, 6, binary=False, seed=22)
    y, dicts = counts(data.y), data.dicts()
    model, loops = regression(loss), by_loops(plain)
    for i in range(0, 300, 30):
        part = slice(i, i + 30)
        model.learn_many(data.X[part], y[part], data.w[part], columns=data.names)
        loops.learn_many(dicts[part], y[part].tolist(), data.w[part].tolist())
    assert model.weights == pytest.approx(loops.weights, rel=1e-11)
    assert model.intercept == pytest.approx(loops.intercept, rel=1e-11)


@every_loss
def test_other_losses_are_rivers(loss: Any, plain: Any) -> None:
    rows, _, y, _, _ = samples.sparse(1000, 8, binary=False, seed=23)
    losses = river.optim.losses
    rivers = river.linear_model.LinearRegression(
        river.optim.SGD(0.02),
        losses.Poisson() if isinstance(loss, optim.losses.Poisson) else losses.Quantile(0.8),
        intercept_lr=0.05,
        l2=0.01,
    )
    assert_in_step(regression(loss), rivers, rows, counts(y).tolist())


@pytest.mark.parametrize("quantile", [0.2, 0.8])
def test_quantile_regression_reaches_the_optimum(quantile: float) -> None:
    rng = np.random.default_rng(24)
    X = rng.normal(size=(200, 3))
    y = X @ [1.0, -2.0, 0.5] + 1.0 + rng.exponential(size=200)
    loss = optim.losses.Quantile(quantile)
    best = sklearn.linear_model.QuantileRegressor(quantile=quantile, alpha=0.0).fit(X, y)
    rate = optim.schedulers.InverseScaling(2.0, 0.7)
    model = linear_model.LinearRegression(optim.SGD(rate), loss, intercept_lr=rate)
    for _ in range(4000):
        model.learn_many(X, y)

    def mean_loss(predicted: Any) -> float:
        return float(np.mean([loss(t, p) for t, p in zip(y, predicted, strict=True)]))

    reached, optimum = mean_loss(model.predict_many(X)), mean_loss(best.predict(X))
    assert optimum - 1e-12 <= reached <= optimum * 1.0005
    np.testing.assert_allclose(list(model.weights.values()), best.coef_, atol=0.02)


def test_poisson_regression_reaches_the_optimum() -> None:
    rng = np.random.default_rng(25)
    X = rng.normal(size=(300, 4))
    y = rng.poisson(np.exp(X @ [0.3, -0.4, 0.2, 0.1] + 0.7))
    best = sklearn.linear_model.PoissonRegressor(alpha=0.0, tol=1e-12, max_iter=1000).fit(X, y)
    model = linear_model.LinearRegression(optim.SGD(0.2), optim.losses.Poisson(), intercept_lr=0.2)
    for _ in range(500):
        model.learn_many(X, y)
    np.testing.assert_allclose(list(model.weights.values()), best.coef_, rtol=1e-6)
    assert model.intercept == pytest.approx(best.intercept_, rel=1e-6)
    np.testing.assert_allclose(model.predict_many(X), best.predict(X), rtol=1e-6)


@pytest.mark.parametrize(
    ("learner", "name", "value"),
    [
        (linear_model.Perceptron, "optimizer", optim.Adam()),
        (linear_model.Perceptron, "intercept_lr", 0.1),
        (linear_model.PAClassifier, "loss", optim.losses.Log()),
        (linear_model.PARegressor, "l2", 0.1),
    ],
)
def test_what_a_learner_is_made_of_cannot_be_changed(learner: type, name: str, value: Any) -> None:
    model = learner()
    before = getattr(model, name)
    with pytest.raises(AttributeError, match=f"{learner.__name__} has no parameter {name}"):
        setattr(model, name, value)
    with pytest.raises(ValueError, match="not a mutable attribute"):
        model.mutate({name: value})
    assert getattr(model, name) == before


@pytest.mark.parametrize("way", ["one", "rows", "many", "skip"])
def test_poisson_refuses_targets_below_0(way: str) -> None:
    skips = way == "skip"
    model = linear_model.LinearRegression(
        loss=optim.losses.Poisson(), on_invalid="skip" if skips else "raise"
    )
    model.learn_one({"a": 1.0}, 2.0)
    before = model.weights
    if skips:
        model.learn_one({"a": 1.0}, -1.0)
        model.learn_rows(np.ones((2, 1)), [-1, -2], columns=["a"])
        assert (model.n_invalid, model.weights) == (3, before)
        return
    learn, arguments = {
        "rows": (model.learn_rows, (np.ones((1, 1)), [-1.0])),
        "many": (model.learn_many, (np.ones((2, 1)), [3.0, -1.0])),
    }.get(way, (model.learn_one, ({"a": 1.0}, -1.0)))
    columns = {} if way == "one" else {"columns": ["a"]}
    with pytest.raises(ValueError, match=r"target is -1\.0; the loss takes targets of at least 0") as error:
        learn(*arguments, **columns)
    assert model.weights == before
    assert way == "one" or error.value.row == {"rows": 0, "many": 1}[way]  # type: ignore[attr-defined]
    model.loss = optim.losses.Squared()
    model.learn_one({"a": 1.0}, -1.0)
    assert model.weights != before
