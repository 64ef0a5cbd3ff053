"""River's three random samplers: river's decisions, one at a time and many at once."""

from __future__ import annotations

import copy
import pickle
import random
from collections import Counter

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
from river import base, checks, evaluate, metrics, naive_bayes, preprocessing, tree
from river import imblearn as river_imblearn
from river import linear_model as river_linear
from river.utils.random import poisson
from samples import sparse

from streamgd import evaluate as our_evaluate
from streamgd import imblearn, linear_model, optim
from streamgd.imblearn.random import _decide_rows, _Draws

TWO = {False: 0.4, True: 0.6}
THREE = {"a": 0.2, "b": 0.3, "c": 0.5}
SAMPLERS = {
    "RandomUnderSampler": {},
    "RandomOverSampler": {},
    "RandomSampler": {"sampling_rate": 0.7},
}


class Recorder(base.Classifier):
    """Keeps what it learns."""

    def __init__(self):
        self.seen = []

    def learn_one(self, x, y, **kwargs):
        self.seen.append((x["i"], y, *kwargs.values()))

    def learn_many(self, X, y, **kwargs):
        columns = [np.asarray(c).tolist() for c in (X["i"], y, *kwargs.values())]
        self.seen += zip(*columns, strict=True)

    def predict_one(self, x):
        return None


def stream(n, share=0.1, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    y = rng.random(n) < share
    X[y] += 1.0
    return X, y, rng.choice([0.0, 0.5, 1.0, 2.0], size=n)


def dicts(X):
    return [dict(enumerate(row)) for row in X.tolist()]


def labels_of_three(n, seed=0):
    return np.random.default_rng(seed).choice(["a", "b", "c"], size=n, p=[0.7, 0.25, 0.05])


def state(learner):
    kept = learner.__getstate__()
    return [kept[k].tobytes() for k in ("_weights", "_slots", "_charged", "_scalars")] + [kept["_features"]]


def pair(name, classifier, dist, seed, **more):
    options = SAMPLERS[name] | more
    return (
        getattr(river_imblearn, name)(copy.deepcopy(classifier), dist, seed=seed, **options),
        getattr(imblearn, name)(copy.deepcopy(classifier), dist, seed=seed, **options),
    )


# -- one at a time -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("seed", [0, 7, 123456789])
@pytest.mark.parametrize("dist", [TWO, THREE], ids=["two", "three"])
def test_the_same_samples_are_learned_as_often_as_in_river(name, seed, dist):
    rivers, ours = pair(name, Recorder(), dist, seed)
    y = stream(3000)[1].tolist() if dist is TWO else labels_of_three(3000).tolist()
    for i, label in enumerate(y):
        for model in (rivers, ours):
            model.learn_one({"i": i}, label, w=i % 5)
    assert ours.classifier.seen == rivers.classifier.seen
    assert 0 < len(ours.classifier.seen) != len(y)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(
    "classifier",
    [
        river_linear.LogisticRegression(),
        linear_model.LogisticRegression(optim.Adam(0.01)),
        preprocessing.StandardScaler() | linear_model.LogisticRegression(),
        tree.HoeffdingTreeClassifier(grace_period=20),
    ],
    ids=lambda model: type(model).__name__,
)
def test_predictions_are_rivers_to_the_bit(name, classifier):
    rivers, ours = pair(name, classifier, TWO, 3)
    X, y, _ = stream(500, 0.2)
    for x, label in zip(dicts(X), y.tolist(), strict=True):
        assert ours.predict_proba_one(x) == rivers.predict_proba_one(x)
        assert ours.predict_one(x) == rivers.predict_one(x)
        rivers.learn_one(x, label)
        ours.learn_one(x, label)


def test_poisson_numbers_of_large_rates_are_rivers():
    rivers, ours = pair("RandomOverSampler", Recorder(), {0: 0.5, 1: 0.5}, 1)
    for i, label in enumerate([0] * 3000 + [1, 0, 1]):
        for model in (rivers, ours):
            model.learn_one({"i": i}, label)
    assert ours.classifier.seen == rivers.classifier.seen
    assert Counter(i for i, _ in ours.classifier.seen)[3000] > 600


@pytest.mark.parametrize("seed", [0, 42, "text"])
def test_draws_are_those_of_random(seed):
    draws, expected = _Draws(seed), random.Random(seed)
    numbers = [expected.random() for _ in range(9000)]
    for used in (0, 0, 3, 250, 255, 255, 255, 900):
        before = len(draws.listed) if draws.listed_from == used else 0
        draws.list_more(used)
        assert draws.listed_from == used
        assert len(draws.listed) > before
        assert draws.listed == numbers[used : used + len(draws.listed)]
        draws.extend(used, 5)
        assert draws.first == used
        assert draws.values.tolist() == numbers[used : used + len(draws.values)]
    draws.forget(1000)
    assert draws.values.tolist() == numbers[1000 : 1000 + len(draws.values)]


def test_without_desired_shares_it_is_online_bagging():
    ours = imblearn.RandomSampler(Recorder(), None, sampling_rate=1.5, seed=5)
    y = labels_of_three(1000).tolist()
    rng, expected = random.Random(5), []
    for i, label in enumerate(y):
        ours.learn_one({"i": i}, label)
        expected += [(i, label)] * poisson(1.5, rng=rng)
    assert ours.classifier.seen == expected


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("dist", [TWO, THREE], ids=["two", "three"])
def test_shares_become_the_desired_ones(name, dist):
    ours = pair(name, Recorder(), dist, 0)[1]
    y = (stream(20000)[1] if dist is TWO else labels_of_three(20000)).tolist()
    for i, label in enumerate(y):
        ours.learn_one({"i": i}, label)
    counts = Counter(label for _, label in ours.classifier.seen)
    n = counts.total()
    for label, share in dist.items():  # copies of a sample come in clumps, whose mean size is below 20
        assert counts[label] / n == pytest.approx(share, abs=4 * (20 * share * (1 - share) / n) ** 0.5)
    if name == "RandomSampler":
        assert n / len(y) == pytest.approx(0.7, abs=0.05)


# -- many at once ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(
    "classifier",
    [
        linear_model.LogisticRegression(optim.SGD(optim.schedulers.InverseScaling(0.1)), l2=0.01, l1=0.01),
        linear_model.LogisticRegression(optim.Adam(0.01), late="fresh"),
        linear_model.SoftmaxRegression(optim.AdaGrad(0.1)),
    ],
    ids=["schedule", "adam", "softmax"],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_rows_are_learned_as_one_at_a_time(name, classifier, weighted):
    several = isinstance(classifier, linear_model.SoftmaxRegression)
    n = 800
    X, y, w = stream(n)
    labels, dist = (labels_of_three(n), THREE) if several else (y, TWO)
    one, rows = pair(name, classifier, dist, 11)[1], pair(name, classifier, dist, 11)[1]
    expected = []
    for i, (x, label) in enumerate(zip(dicts(X), labels.tolist(), strict=True)):
        expected.append(one.predict_proba_one(x))
        one.learn_one(x, label, **({"w": float(w[i])} if weighted else {}))
    parts = [slice(0, 1), slice(1, 300), slice(300, 301), slice(301, n)]
    for part in parts:
        z = rows.predict_learn_rows(X[part], labels[part], w[part] if weighted else None)
        p = rows.loss.mean_func(z)
        for i in range(len(z)):
            if several:
                answer = {label: v for label, v in zip(rows.labels_, p[i], strict=True) if v > 0.0}
            elif len(expected[part][i]) == 2:
                answer = {False: 1.0 - p[i], True: p[i]}
            assert answer == pytest.approx(expected[part][i], rel=1e-12, abs=1e-15)
    assert state(rows.classifier) == state(one.classifier)
    assert rows._decisions.counts == one._decisions.counts
    follow = (dict(enumerate(X[0])), labels[0].item())
    for _ in range(50):  # they go on alike
        one.learn_one(*follow)
        rows.learn_one(*follow)
    assert state(rows.classifier) == state(one.classifier)


@pytest.mark.parametrize("name", SAMPLERS)
def test_sparse_rows_and_frames(name):
    rows, compressed, y, w, names = sparse(300, 12, binary=True, seed=0)
    one, many = (pair(name, linear_model.LogisticRegression(), TWO, 2)[1] for _ in range(2))
    for x, label, h in zip(rows, y.tolist(), w.tolist(), strict=True):
        one.learn_one(x, label, w=h)
    many.learn_rows(compressed, y, w, columns=names)
    assert many.classifier.weights == pytest.approx(one.classifier.weights, rel=1e-12, abs=1e-300)

    X, y, w = stream(300)
    names = ["a", "b", "c", "d"]
    expected = pair(name, linear_model.LogisticRegression(), TWO, 2)[1]
    expected.learn_rows(X, y, w, columns=names)
    frame = pd.DataFrame(X, columns=names)
    tables = (frame, pl.from_pandas(frame), pa.Table.from_pandas(frame))
    for table in (*tables, scipy.sparse.csr_array(X)):
        ours = pair(name, linear_model.LogisticRegression(), TWO, 2)[1]
        columns = None if hasattr(table, "columns") else names
        ours.learn_rows(table, y, w, columns=columns)
        assert ours.classifier.weights == pytest.approx(expected.classifier.weights, rel=1e-12)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_mini_batch_has_the_rows_that_were_chosen(name):
    y = stream(2000)[1]
    one, many = (pair(name, Recorder(), TWO, 9)[1] for _ in range(2))
    weights = np.arange(2000) % 7
    for i, label in enumerate(y.tolist()):
        one.learn_one({"i": i}, label, w=int(weights[i]))
    for begin in range(0, 2000, 250):
        i = np.arange(begin, begin + 250)
        X, labels, w = pd.DataFrame({"i": i}), pd.Series(y[i]), pd.Series(weights[i])
        if begin % 500:
            X, labels, w = pl.from_pandas(X), pl.from_pandas(labels), pl.from_pandas(w)
        many.learn_many(X, labels, w=w)
    assert many.classifier.seen == one.classifier.seen


def test_mini_batches_of_any_classifier_that_has_them():
    X, y, w = stream(400)
    frame = pd.DataFrame(X, columns=list("abcd"))
    chosen = pair("RandomOverSampler", Recorder(), TWO, 4)[1]
    chosen.learn_many(pd.DataFrame({"i": np.arange(400)}), pd.Series(y))
    order = [i for i, _ in chosen.classifier.seen]
    for model in (
        river_linear.LogisticRegression(),
        preprocessing.StandardScaler() | river_linear.LogisticRegression(),
        naive_bayes.BernoulliNB(),
        linear_model.LogisticRegression(),
    ):
        ours = pair("RandomOverSampler", model, TWO, 4)[1]
        ours.learn_many(frame, pd.Series(y, name="y"))
        expected = copy.deepcopy(model)
        expected.learn_many(frame.iloc[order], pd.Series(y, name="y").iloc[order])
        pd.testing.assert_frame_equal(ours.predict_proba_many(frame), expected.predict_proba_many(frame))
    ours = pair("RandomOverSampler", linear_model.LogisticRegression(), TWO, 4)[1]
    ours.learn_many(X, y, w=w, columns=list("abcd"))
    expected = linear_model.LogisticRegression()
    expected.learn_many(X[order], y[order], w[order], columns=list("abcd"))
    assert ours.classifier.weights == expected.weights
    assert (
        ours.predict_many(X, columns=list("abcd")) == expected.predict_many(X, columns=list("abcd"))
    ).all()


def test_a_batch_of_which_nothing_is_chosen():
    ours = imblearn.RandomUnderSampler(linear_model.LogisticRegression(), TWO, seed=0)
    ours.learn_many(
        np.ones((1, 2)), [True]
    )  # the first sample becomes the pivot and is left out, as in river
    assert ours.classifier.n_samples == 0
    assert ours.predict_learn_rows(np.empty((0, 2)), []).shape == (0,)


@pytest.mark.parametrize("name", SAMPLERS)
def test_used_draws_are_not_kept(name):
    X, y, _ = stream(30000)
    model = pair(name, linear_model.LogisticRegression(), TWO, 0)[1]
    learn = [lambda: model.learn_rows(X, y), lambda: model.learn_many(X, y)]
    sizes = []
    for _ in range(4):
        for one in learn:
            one()
            sizes.append(len(pickle.dumps(model)))
        for x, label in zip(dicts(X[:500]), y[:500].tolist(), strict=True):
            model.learn_one(x, label)
    assert max(sizes) < 600_000  # the 65,536 draws made at once take 524,288 bytes


def test_one_kernel_serves_all():
    X, y, w = stream(50)
    for name in SAMPLERS:
        model = pair(name, linear_model.LogisticRegression(), TWO, 0)[1]
        model.learn_rows(X, y, w)
        model.learn_rows(X.astype(np.float32), y.tolist())
        model.learn_many(X, y)
    imblearn.RandomSampler(linear_model.LogisticRegression(), None, sampling_rate=2).learn_rows(X, y)
    assert len(_decide_rows.signatures) == 1


def test_what_a_classifier_lacks_its_sampler_lacks():
    ours = imblearn.RandomUnderSampler(tree.HoeffdingTreeClassifier(), TWO)
    for method in ("learn_many", "learn_rows", "predict_learn_rows", "predict_many", "labels_"):
        assert not hasattr(ours, method)
    with pytest.raises(
        AttributeError, match="learn_rows needs a classifier with predict_learn_rows, which Hoeff"
    ):
        ours.learn_rows([[1.0]], [True])


@pytest.mark.parametrize("name", SAMPLERS)
def test_progressive_validation_of_a_table_is_that_of_dicts(name):
    X, y, _ = stream(600, 0.2)
    for metric in (metrics.LogLoss, metrics.F1):
        one, many = (pair(name, linear_model.LogisticRegression("auto"), TWO, 1)[1] for _ in range(2))
        expected = evaluate.progressive_val_score(zip(dicts(X), y.tolist(), strict=True), one, metric())
        found = our_evaluate.progressive_val_score((X, y), many, metric())
        assert found.get() == pytest.approx(expected.get(), rel=1e-12)
        assert state(many.classifier) == state(one.classifier)


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLERS)
def test_an_unwanted_label_is_refused_and_not_counted(name):
    X, y, _ = stream(200)
    disturbed, expected = (pair(name, linear_model.LogisticRegression(), TWO, 6)[1] for _ in range(2))
    for i, (x, label) in enumerate(zip(dicts(X), y.tolist(), strict=True)):
        if i % 10 == 0:
            with pytest.raises(
                ValueError, match=r"^the label is 'no', which is not in desired_dist \(\[False, "
            ):
                disturbed.learn_one(x, "no")
        disturbed.learn_one(x, label)
        expected.learn_one(x, label)
    assert state(disturbed.classifier) == state(expected.classifier)
    assert disturbed._decisions.counts == expected._decisions.counts

    rows = pair(name, linear_model.LogisticRegression(), TWO, 6)[1]
    labels = y.astype(object)
    labels[120] = "no"
    with pytest.raises(ValueError, match="row 120: the label is 'no'") as caught:
        rows.learn_many(X, labels)
    assert rows.classifier.n_samples == 0
    with pytest.raises(ValueError, match="row 120: the label is 'no'") as caught:
        rows.learn_rows(X, labels)
    assert caught.value.row == 120
    assert len(caught.value.outputs) == 120
    rows.learn_rows(X[120:], y[120:])
    assert state(rows.classifier) == state(expected.classifier)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_bad_row_is_not_counted_and_those_before_it_are_learned(name):
    X, y, _ = stream(200, 0.3)
    bad = X.copy()
    expected = pair(name, linear_model.LogisticRegression(), TWO, 6)[1]
    z = expected.predict_learn_rows(X, y)
    learned = Counter(i for i, _ in (_recorded(name, y)))
    row = next(i for i in range(100, 200) if learned[i] > (1 if name != "RandomUnderSampler" else 0))
    bad[row, 1] = np.nan
    rows = pair(name, linear_model.LogisticRegression(), TWO, 6)[1]
    with pytest.raises(ValueError, match=f"^row {row}: feature 1 is nan") as caught:
        rows.learn_rows(bad, y)
    assert caught.value.row == row
    assert (caught.value.outputs == z[:row]).all()
    with pytest.raises(ValueError, match="feature 1 is nan"):
        rows.learn_one(dict(enumerate(bad[row])), bool(y[row]))
    rows.learn_rows(X[row:], y[row:])
    assert state(rows.classifier) == state(expected.classifier)


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_a_bad_weight_is_refused_also_where_its_row_is_left_out(weight):
    X, y, _ = stream(200, 0.3)
    learned = Counter(i for i, _ in _recorded("RandomUnderSampler", y))
    row = next(i for i in range(100, 200) if not learned[i])
    w = np.ones(200)
    w[row] = weight
    rows = pair("RandomUnderSampler", linear_model.LogisticRegression(), TWO, 6)[1]
    with pytest.raises(ValueError, match=f"^row {row}: the sample weight w is {weight}"):
        rows.learn_rows(X, y, w)


def _recorded(name, y):
    model = pair(name, Recorder(), TWO, 6)[1]
    for i, label in enumerate(y.tolist()):
        model.learn_one({"i": i}, label)
    return model.classifier.seen


@pytest.mark.parametrize(
    ("dist", "error", "words"),
    [
        ({}, TypeError, "must be a dict of labels to shares"),
        ([0.5, 0.5], TypeError, "must be a dict"),
        ({0: 0.5, 1: 0.6}, ValueError, "add up to 1.1; they must add up to 1"),
        ({0: 1.5, 1: -0.5}, ValueError, "the share of 1 is -0.5; it must be positive"),
        ({0: 1.0, 1: 0.0}, ValueError, "the share of 1 is 0.0"),
        ({0: "half", 1: 0.5}, ValueError, "the share of 0 is 'half'"),
        ({0: float("nan"), 1: 0.5}, ValueError, "the share of 0 is nan"),
        (None, TypeError, "must be a dict"),
    ],
)
def test_what_is_no_distribution(dist, error, words):
    with pytest.raises(error, match=words):
        imblearn.RandomUnderSampler(linear_model.LogisticRegression(), dist)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_what_is_no_rate(rate):
    with pytest.raises(ValueError, match=r"sampling_rate=.*; it must be a positive number"):
        imblearn.RandomSampler(linear_model.LogisticRegression(), TWO, sampling_rate=rate)


# -- copies, and river's checks ----------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_goes_on_with_the_same_draws(name, copied):
    X, y, _ = stream(400)
    model = pair(name, linear_model.LogisticRegression(), TWO, None)[1]
    model.learn_rows(X[:200], y[:200])
    twin = copied(model)
    for part in (slice(200, 250), slice(250, 400)):
        model.learn_rows(X[part], y[part])
    for x, label in zip(dicts(X[200:]), y[200:].tolist(), strict=True):
        twin.learn_one(x, label)
    assert state(twin.classifier) == state(model.classifier)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_clone_begins_anew(name):
    X, y, _ = stream(300)
    model = pair(name, linear_model.LogisticRegression(), TWO, 8)[1]
    model.learn_rows(X, y)
    clone = model.clone()
    assert clone.classifier.n_samples == 0
    clone.learn_rows(X, y)
    assert state(clone.classifier) == state(model.classifier)


MODELS = [
    imblearn.RandomUnderSampler(linear_model.LogisticRegression(), TWO, seed=1),
    imblearn.RandomOverSampler(river_linear.LogisticRegression(), TWO, seed=1),
    imblearn.RandomSampler(preprocessing.StandardScaler() | linear_model.LogisticRegression(), TWO, seed=1),
]
CHECKS = [
    pytest.param(model, check, id=f"{i}-{check.__name__}-{j}")
    for i, model in enumerate(MODELS)
    for j, check in enumerate(checks.yield_checks(model))
    if check.__name__ not in model._unit_test_skips()
]


@pytest.mark.parametrize(("model", "check"), CHECKS)
def test_river_checks(model, check):
    check(model.clone())
