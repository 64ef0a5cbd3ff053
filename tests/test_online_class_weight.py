"""The wrapper that weighs samples by class: the learner's parameter where it has one, else its ``w``."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import river.linear_model
import samples
from river import (
    checks,
    compose,
    datasets,
    drift,
    ensemble,
    evaluate,
    forest,
    metrics,
    multiclass,
    naive_bayes,
    preprocessing,
    tree,
)

from streamgd import linear_model, optim
from streamgd.imblearn import OnlineClassWeight, ReservoirSMOTE
from streamgd.optim.class_weights import (
    Balanced,
    ClassWeight,
    EffectiveNumber,
    Static,
    Tally,
    TargetDistribution,
)

LOGISTIC = lambda **options: linear_model.LogisticRegression(optim.AdaGrad(0.1), **options)  # noqa: E731
SOFTMAX = lambda **options: linear_model.SoftmaxRegression(optim.SGD(0.05), **options)  # noqa: E731
OTHERS: list[Callable[..., Any]] = [
    lambda **options: linear_model.LinearSVC(optim.SGD(0.05), **options),
    linear_model.Perceptron,
    lambda **options: linear_model.PAClassifier(C=0.1, mode=2, **options),
]
PIECES: list[ClassWeight] = [
    Balanced(),
    Balanced(smoothing=2.0, cap=3.0),
    Balanced(half_life=20.0),
    Balanced(window=30),
    EffectiveNumber(0.99),
    TargetDistribution({False: 0.3, True: 0.7}, half_life=50.0),
    Static({True: 4.0, False: 0.5}),
]
MAKE_AND_PIECE = [
    *[pytest.param(LOGISTIC, piece, id=f"LogisticRegression-{piece}") for piece in PIECES],
    *[pytest.param(SOFTMAX, piece, id=f"SoftmaxRegression-{piece}") for piece in PIECES[:4]],
    *[pytest.param(make, PIECES[0], id=type(make()).__name__) for make in OTHERS],
]


def rare() -> samples.Samples:
    """Samples of which few are of the class True, with weights, some of them 0."""
    some = samples.dense(2000, 4, binary=True, seed=5)
    chosen = np.random.default_rng(5).random(2000) < np.where(some.y, 0.01, 0.6)
    return samples.Samples(some.X[chosen], some.y[chosen], some.w[chosen], some.names)


def counted(model: Any) -> dict[Any, float]:
    """Counts of classes, without those that have none, which a binary learner may know of before."""
    return {label: n for label, n in model.class_counts_.items() if n}


def state(model: Any) -> tuple[Any, Any, dict[Any, float]]:
    return model.weights, model.intercept, model.class_counts_


# -- the wrapper is the parameter --------------------------------------------------------------


@pytest.mark.parametrize(("make", "piece"), MAKE_AND_PIECE)
def test_wrapper_is_the_parameter_at_every_row(make: Callable[..., Any], piece: ClassWeight) -> None:
    """And both are a learner without it, given the weights that Python counts."""
    some = rare()
    learner = make()
    wrapped, with_parameter, told = OnlineClassWeight(learner, piece), make(class_weight=piece), make()
    tally = Tally(piece)
    for x, y, w in zip(some.dicts(), some.y.tolist(), some.w.tolist(), strict=True):
        wrapped.learn_one(x, y, w)
        with_parameter.learn_one(x, y, w)
        h = tally.weigh(y, w) if w else 0.0
        if h:
            tally.add(y, w)
        told.learn_one(x, y, h)
        assert state(learner) == state(with_parameter)
        assert counted(wrapped) == pytest.approx(
            {label: n for label, n in tally.counts.items() if n}, rel=1e-12
        )
        assert wrapped.predict_proba_one(x) == pytest.approx(told.predict_proba_one(x), rel=1e-9)
    assert wrapped.classifier is learner
    assert wrapped.class_weights_ == piece.by_label(wrapped.class_counts_)
    assert len(tally.counts) == 2


@pytest.mark.parametrize(("make", "piece"), MAKE_AND_PIECE)
def test_modes_are_the_parameters_too(make: Callable[..., Any], piece: ClassWeight) -> None:
    some = rare()
    given = some.X, some.y, some.w
    learner = make()
    wrapped, with_parameter, one_by_one = OnlineClassWeight(learner, piece), make(class_weight=piece), make()
    for x, y, w in zip(some.dicts(), some.y.tolist(), some.w.tolist(), strict=True):
        OnlineClassWeight(one_by_one, piece).learn_one(x, y, w)  # what is set already may be said again
    outputs = wrapped.predict_learn_rows(*given, columns=some.names)
    assert np.array_equal(outputs, with_parameter.predict_learn_rows(*given, columns=some.names))
    assert state(learner) == state(with_parameter) == state(one_by_one)

    if learner.optimizer.rule.per_sample:
        return
    learner = make()
    wrapped, with_parameter = OnlineClassWeight(learner, piece), make(class_weight=piece)
    for i in range(0, len(some.y), 32):
        frame = pd.DataFrame(some.X[i : i + 32], columns=some.names)
        batch = frame, pd.Series(some.y[i : i + 32]), some.w[i : i + 32]
        wrapped.learn_many(*batch)
        with_parameter.learn_many(*batch)
        assert state(learner) == state(with_parameter)
        assert wrapped.predict_many(frame).equals(with_parameter.predict_many(frame))
        assert wrapped.predict_proba_many(frame).equals(with_parameter.predict_proba_many(frame))
    assert learner.class_counts_ == one_by_one.class_counts_
    assert wrapped.debug_one(some.dicts()[0]) == with_parameter.debug_one(some.dicts()[0])


def test_a_pipeline_that_ends_in_a_learner() -> None:
    parameter = linear_model.LogisticRegression(class_weight=Balanced(half_life=100.0))
    with_parameter = preprocessing.StandardScaler() | parameter
    learner = linear_model.LogisticRegression()
    wrapped = OnlineClassWeight(preprocessing.StandardScaler() | learner, half_life=100.0)
    for x, y in datasets.Phishing().take(300):
        assert wrapped.predict_proba_one(x) == with_parameter.predict_proba_one(x)
        wrapped.learn_one(x, y)
        with_parameter.learn_one(x, y)
        assert state(learner) == state(parameter)
    frame = pd.DataFrame([x for x, _ in datasets.Phishing().take(50)])
    y = pd.Series([y for _, y in datasets.Phishing().take(50)])
    wrapped.learn_many(frame, y)
    with_parameter.learn_many(frame, y)
    assert state(learner) == state(parameter)
    assert wrapped.class_counts_ == parameter.class_counts_
    assert not hasattr(wrapped, "learn_rows")


# -- classifiers that are told -----------------------------------------------------------------


class Told(river.linear_model.LogisticRegression):
    """Keeps what it is told, and refuses what has no feature."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[float] = []

    def learn_one(self, x: dict[str, float], y: Any, w: float = 1.0) -> None:
        if not x:
            raise ValueError("no features")
        self.told.append(w)

    def learn_many(self, X: Any, y: Any, w: Any = 1) -> None:
        if X.shape[1] == 0:
            raise ValueError("no features")
        self.told += list(w)


@pytest.mark.parametrize("piece", PIECES, ids=repr)
def test_others_learn_w_times_the_weight(piece: ClassWeight) -> None:
    """River's logistic regression, weighed in Python, learns what ours does in compiled code."""
    some = rare()
    wrapped = OnlineClassWeight(river.linear_model.LogisticRegression(), piece)
    compiled = linear_model.LogisticRegression(class_weight=piece)
    for x, y, w in zip(some.dicts(), some.y.tolist(), some.w.tolist(), strict=True):
        wrapped.learn_one(x, y, w=w)
        compiled.learn_one(x, y, w)
        assert wrapped.predict_proba_one(x)[True] == pytest.approx(compiled.predict_proba_one(x)[True])
    assert dict(wrapped.classifier.weights) == pytest.approx(compiled.weights, rel=1e-9)
    assert wrapped.class_counts_ == pytest.approx(compiled.class_counts_, rel=1e-12)


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_mini_batches_of_others(kind: str) -> None:
    some = rare()
    wrapped = OnlineClassWeight(river.linear_model.LogisticRegression(), smoothing=1.0)
    compiled = linear_model.LogisticRegression(class_weight=Balanced(smoothing=1.0))
    weights = np.where(some.w == 0.0, 1.5, some.w)  # river's mean is over all rows, ours over those with one
    for i in range(0, len(some.y), 32):
        rows = slice(i, i + 32)
        frame: Any = pd.DataFrame(some.X[rows], columns=some.names)
        y: Any = pd.Series(some.y[rows])
        compiled.learn_many(frame, y, weights[rows])
        if kind == "polars":
            frame, y = pl.from_pandas(frame), pl.from_pandas(y)
        wrapped.learn_many(frame, y, w=weights[rows])
    assert dict(wrapped.classifier.weights) == pytest.approx(compiled.weights, rel=1e-9)
    assert wrapped.class_counts_ == pytest.approx(compiled.class_counts_, rel=1e-12)


def test_mini_batches_weigh_each_row_by_those_before_it() -> None:
    wrapped, one_by_one = OnlineClassWeight(Told()), OnlineClassWeight(Told())
    y, w = ["a", "b", "b", "a", "a"], [1.0, 2.0, 0.0, 1.0, 0.5]
    wrapped.learn_many(np.ones((5, 1)), y, w)
    for label, own in zip(y, w, strict=True):
        one_by_one.learn_one({"x": 1.0}, label, own)
    assert [h for h in wrapped.classifier.told if h] == one_by_one.classifier.told
    assert one_by_one.classifier.told == [1.0, 1.5, 1.0, 0.5 * 4.5 / 5.0]
    assert wrapped.class_counts_ == one_by_one.class_counts_ == {"a": 2.5, "b": 2.0}


def test_what_weighs_nothing_is_neither_learned_nor_counted() -> None:
    wrapped = OnlineClassWeight(Told(), {"a": 0.0, "b": 3.0})
    for y, w in [("a", 1.0), ("b", 1.0), ("b", 0.0), ("c", 2.0)]:
        wrapped.learn_one({"x": 1.0}, y, w)
    assert wrapped.classifier.told == [3.0, 2.0]
    assert wrapped.class_counts_ == {"b": 1.0, "c": 2.0}
    compiled = linear_model.SoftmaxRegression(class_weight={"a": 0.0, "b": 3.0})
    for y, w in [("a", 1.0), ("b", 1.0), ("b", 0.0), ("c", 2.0)]:
        compiled.learn_one({"x": 1.0}, y, w)
    assert compiled.class_counts_ == wrapped.class_counts_


@pytest.mark.parametrize(
    "make",
    [
        tree.HoeffdingTreeClassifier,
        lambda: tree.HoeffdingAdaptiveTreeClassifier(seed=1),
        lambda: ensemble.BaggingClassifier(tree.HoeffdingTreeClassifier(), n_models=3, seed=1),
        lambda: preprocessing.StandardScaler() | river.linear_model.LogisticRegression(),
        lambda: ensemble.BaggingClassifier(linear_model.LogisticRegression(), n_models=3, seed=1),
        lambda: multiclass.OneVsRestClassifier(linear_model.LogisticRegression()),
    ],
)
def test_others_are_as_if_they_were_told(make: Callable[[], Any]) -> None:
    """A classifier in the wrapper is the classifier outside, with the weights of a plain count."""
    wrapped, outside = OnlineClassWeight(make(), class_weight="balanced"), make()
    counts: dict[Any, float] = {}
    for x, y in zip(rare().dicts(), rare().y.tolist(), strict=True):
        counts[y] = counts.get(y, 0.0) + 1.0
        wrapped.learn_one(x, y)
        outside.learn_one(x, y, w=sum(counts.values()) / (len(counts) * counts[y]))
        assert wrapped.predict_proba_one(x) == pytest.approx(outside.predict_proba_one(x), rel=1e-9)
        assert wrapped.predict_one(x) == outside.predict_one(x)
    assert 0.0 < counts[True] < counts[False] / 5.0
    assert wrapped.class_counts_ == counts


# -- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", [None, float("nan"), (1, 2)])
@pytest.mark.parametrize("make", [Told, linear_model.LogisticRegression])
def test_a_bad_label_is_not_counted(label: Any, make: Callable[[], Any]) -> None:
    wrapped = OnlineClassWeight(make())
    wrapped.learn_one({"x": 1.0}, True)
    with pytest.raises((ValueError, TypeError), match="the label is"):
        wrapped.learn_one({"x": 1.0}, label)
    assert counted(wrapped) == {True: 1.0}
    batch = [True, label] if label != (1, 2) else np.array([True, (1, 2)], dtype=object)
    with pytest.raises((ValueError, TypeError), match="row 1: the label is"):
        wrapped.learn_many(np.ones((2, 1)), batch, **({"columns": ["x"]} if make is not Told else {}))
    assert counted(wrapped) == {True: 1.0}


@pytest.mark.parametrize("w", [-1.0, float("nan"), "1"])
def test_a_bad_weight_is_not_counted(w: Any) -> None:
    wrapped = OnlineClassWeight(Told())
    with pytest.raises((ValueError, TypeError), match="the sample weight w is"):
        wrapped.learn_one({"x": 1.0}, True, w)
    with pytest.raises((ValueError, TypeError), match="row 1: the sample weight w is"):
        wrapped.learn_many(np.ones((2, 1)), [True, True], np.array([1.0, w], dtype=object))
    assert wrapped.class_counts_ == {}
    assert wrapped.classifier.told == []


def test_what_the_classifier_refuses_is_not_counted() -> None:
    for piece in (Balanced(), Balanced(window=3), Balanced(half_life=3)):
        wrapped = OnlineClassWeight(Told(), piece)
        for label in "abbb":
            wrapped.learn_one({"x": 1.0}, label)
        before = pickle.dumps(wrapped)
        with pytest.raises(ValueError, match="no features"):
            wrapped.learn_one({}, "c")
        with pytest.raises(ValueError, match="no features"):
            wrapped.learn_many(np.ones((4, 0)), ["a", "c", "c", "b"])
        assert pickle.dumps(wrapped) == before


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (naive_bayes.GaussianNB, r"GaussianNB.learn_one takes no sample weight w.*ReservoirSMOTE"),
        (forest.ARFClassifier, "ARFClassifier.learn_one takes no sample weight w"),
        (lambda: preprocessing.StandardScaler() | naive_bayes.GaussianNB(), "GaussianNB.learn_one takes no"),
        (lambda: ensemble.BaggingClassifier(naive_bayes.GaussianNB()), "GaussianNB.learn_one takes no"),
        (
            lambda: drift.DriftRetrainingClassifier(tree.HoeffdingTreeClassifier()),
            r"belongs outside: DriftRetrainingClassifier\(OnlineClassWeight",
        ),
        (lambda: ensemble.SRPClassifier(seed=1), "SRPClassifier does more with samples"),
        (river.linear_model.LinearRegression, "weights by class are for classifiers"),
        (linear_model.LinearRegression, "weights by class are for classifiers"),
        (preprocessing.StandardScaler, "weights by class are for classifiers"),
    ],
)
def test_classifiers_that_take_no_weight(make: Callable[[], Any], text: str) -> None:
    with pytest.raises(TypeError, match=text):
        OnlineClassWeight(make())


@pytest.mark.parametrize(
    "make",
    [
        ensemble.SRPClassifier,
        drift.DriftRetrainingClassifier,
        ensemble.BaggingClassifier,
    ],
)
def test_the_wrapper_goes_inside_those_that_pass_no_weight_on(make: Any) -> None:
    options = {"seed": 1} if make is not drift.DriftRetrainingClassifier else {}
    model = make(OnlineClassWeight(tree.HoeffdingTreeClassifier()), **options)
    metric = evaluate.progressive_val_score(datasets.Phishing().take(300), model, metrics.Accuracy())
    assert metric.get() > 0.6


@pytest.mark.parametrize("how", ["learn_one", "learn_rows", "learn_many"])
def test_synthetic_samples_are_neither_counted_nor_weighed(how: str) -> None:
    some = rare()
    wrapped = ReservoirSMOTE(OnlineClassWeight(linear_model.LogisticRegression(), half_life=50.0), seed=1)
    compiled = linear_model.LogisticRegression(class_weight=Balanced(half_life=50.0))
    for model in (wrapped, ReservoirSMOTE(compiled, seed=1)):
        if how == "learn_one":
            for x, y in zip(some.dicts(), some.y.tolist(), strict=True):
                model.learn_one(x, y)
        else:
            getattr(model, how)(some.X, some.y, columns=some.names)
    assert state(wrapped.classifier.classifier) == state(compiled)
    assert compiled.n_samples > len(some.y)
    alone = linear_model.LogisticRegression(class_weight=Balanced(half_life=50.0))
    alone.learn_rows(some.X, some.y)
    assert compiled.class_counts_ == alone.class_counts_


@pytest.mark.parametrize(
    "classifier",
    [
        river.linear_model.LogisticRegression(),
        preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    ],
    ids=str,
)
def test_synthetic_samples_of_others(classifier: Any) -> None:
    some = rare()
    wrapped = OnlineClassWeight(classifier)
    model = ReservoirSMOTE(wrapped, seed=1)
    for x, y in zip(some.dicts(), some.y.tolist(), strict=True):
        model.learn_one(x, y)
    assert counted(wrapped) == {True: float(some.y.sum()), False: float((~some.y).sum())}
    with pytest.raises(TypeError, match="takes no mini-batches with synthetic rows"):
        model.learn_many(pd.DataFrame(some.X, columns=some.names), pd.Series(some.y))
    assert counted(wrapped) == {True: float(some.y.sum()), False: float((~some.y).sum())}
    with pytest.raises(TypeError, match=r"it belongs outside: ReservoirSMOTE\(OnlineClassWeight"):
        OnlineClassWeight(ReservoirSMOTE(linear_model.LogisticRegression()))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"class_weight": Balanced(), "cap": 3.0},
            r"cap=3.0\) beside a piece; .* Balanced\(\.\.\., cap=3.0\)",
        ),
        ({"class_weight": {True: 2}, "smoothing": 1.0}, "only 'balanced' has a smoothing"),
        ({"class_weight": "effective_number", "smoothing": 1.0}, "only 'balanced' has a smoothing"),
        ({"class_weight": {True: 2}, "half_life": 5.0}, "given weights count nothing"),
        ({"class_weight": None}, "got None; leave out the wrapper"),
        ({"class_weight": "equal"}, "'equal' is not None, 'balanced'"),
        ({"half_life": 5.0, "window": 5}, "window must be 0 with a half_life"),
        ({"cap": -1.0}, "cap must be at least 0"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], text: str) -> None:
    learner = linear_model.LogisticRegression()
    with pytest.raises(ValueError, match=text):
        OnlineClassWeight(learner, **options)
    assert learner.class_weight is None


def test_a_learner_with_another_class_weight() -> None:
    learner = linear_model.LogisticRegression(class_weight={True: 3.0})
    with pytest.raises(ValueError, match="LogisticRegression already has class_weight=Static"):
        OnlineClassWeight(learner)
    assert learner.class_weight == Static({True: 3.0})
    assert OnlineClassWeight(learner, {True: 3}).classifier is learner


def test_methods_are_there_where_the_classifier_has_them() -> None:
    compiled, told = OnlineClassWeight(linear_model.LogisticRegression()), OnlineClassWeight(Told())
    plain = OnlineClassWeight(tree.HoeffdingTreeClassifier())
    rows = ("learn_rows", "predict_learn_rows")
    many = ("learn_many", "predict_many", "predict_proba_many")
    assert all(hasattr(compiled, name) for name in rows + many)
    assert [hasattr(told, name) for name in rows + many] == [False, False, True, True, True]
    assert not any(hasattr(plain, name) for name in rows + many)
    with pytest.raises(AttributeError, match="learn_many, which HoeffdingTreeClassifier has not"):
        plain.learn_many(None, None)


# -- as river's estimators ---------------------------------------------------------------------


def estimators() -> list[Any]:
    return [
        OnlineClassWeight(linear_model.LogisticRegression()),
        OnlineClassWeight(linear_model.SoftmaxRegression(), half_life=100.0),
        OnlineClassWeight(preprocessing.StandardScaler() | linear_model.LogisticRegression()),
        OnlineClassWeight(river.linear_model.LogisticRegression(), window=50),
        OnlineClassWeight(tree.HoeffdingTreeClassifier(), Balanced(smoothing=1.0)),
        OnlineClassWeight(ensemble.BaggingClassifier(linear_model.LogisticRegression(), 3, seed=1)),
        OnlineClassWeight(multiclass.OneVsRestClassifier(linear_model.Perceptron()), "effective_number"),
    ]


@pytest.mark.parametrize(
    ("estimator", "check"),
    [
        pytest.param(model, check, id=f"{model}-{check.__name__}-{i}")
        for model in estimators()
        for i, check in enumerate(checks.yield_checks(model))
        if check.__name__ not in model._unit_test_skips()
    ],
)
def test_rivers_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator.clone())


def test_a_clone_has_the_parameters_and_not_the_counts() -> None:
    for model in estimators():
        for x, y in datasets.Phishing().take(20):
            model.learn_one(x, y)
        clone = model.clone()
        assert clone.class_counts_ == {}
        assert clone._piece == model._piece
        assert clone.class_weight == model.class_weight
        assert model.class_counts_
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert other.class_counts_ == model.class_counts_
            for x, y in datasets.Phishing().take(10):
                other.learn_one(x, y)
                assert other.class_counts_ != model.class_counts_


@pytest.mark.parametrize(
    "classifier",
    [
        linear_model.LogisticRegression(),
        preprocessing.StandardScaler() | linear_model.LogisticRegression(),
        compose.Pipeline(
            preprocessing.StandardScaler(),
            ("rest", compose.Pipeline(preprocessing.MinMaxScaler(), linear_model.LogisticRegression())),
        ),
        tree.HoeffdingTreeClassifier(),
    ],
    ids=str,
)
def test_a_clone_may_have_other_parameters(classifier: Any) -> None:
    model = OnlineClassWeight(classifier, half_life=10.0)
    clone = model.clone({"half_life": 20.0})
    assert clone._piece == Balanced(half_life=20.0)
    assert model._piece == Balanced(half_life=10.0)
    assert clone.clone({"class_weight": {True: 2}, "half_life": 0.0})._piece == Static({True: 2})
    for step in (classifier, clone.classifier):
        last = step
        while isinstance(last, compose.Pipeline):
            last = last._last_step
        if isinstance(last, linear_model.LogisticRegression):
            assert last.class_weight == Balanced(half_life=10.0 if step is classifier else 20.0)


def test_rare_classes_are_found() -> None:
    """What it is for: of two Gaussians, one of them rare, without weights all is the other."""
    rng = np.random.default_rng(0)
    y = rng.random(3000) < 0.02
    X = rng.normal(size=(3000, 4)) + y[:, np.newaxis]

    def found(model: Any) -> float:
        model.learn_rows(X, y)
        return float(model.predict_many(X)[y].mean())

    assert found(linear_model.LogisticRegression()) < 0.2
    assert found(OnlineClassWeight(linear_model.LogisticRegression())) > 0.7
