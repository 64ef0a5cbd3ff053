"""Calibration: the map against SciPy's and scikit-learn's fits, streams it must mend, and its ways in."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from river import base, checks, datasets, metrics, naive_bayes, preprocessing, tree
from river import linear_model as river_linear
from scipy import optimize, special
from sklearn.linear_model import LogisticRegression

from streamgd import evaluate as our_evaluate
from streamgd import imblearn, linear_model, optim
from streamgd.imblearn import OnlineCalibration
from streamgd.imblearn.online_calibration import BIAS_DEVIATION, SLOPE_DEVIATION
from streamgd.kernels import calibration


class Given(base.Classifier):
    """Predicts what the sample says, and has nothing to learn: labels to log-odds, or logarithms."""

    def learn_one(self, x, y, **kwargs):
        pass

    def predict_proba_one(self, x):
        scores = np.array([*x.values()])
        return dict(zip(x, special.softmax(scores).tolist(), strict=True))


class Outputs:
    """The same in rows, as a learner of streamgd has them: the first column is the log-odds of 1."""

    loss = optim.losses.Log()

    def predict_proba_one(self, x):
        return {0: 0.5, 1: 0.5}

    def predict_learn_rows(self, X, y, w=None, *, columns=None):
        return X[:, 0]


def log_odds(n, slope, bias, seed, spread=2.0, shift=0.0):
    """Log-odds of a classifier that is wrong by a slope and a bias, and the labels."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n) * spread + shift
    return z, (rng.random(n) < special.expit(slope * z + bias)).astype(int)


def log_loss(p, y):
    return float(-np.log(p[np.arange(len(y)), y]).mean())


def calibrated(z, y, w=None, **options):
    """Learn from log-odds; return the model and the probabilities before each update."""
    model = OnlineCalibration(Outputs(), clip=1e-15, **options)
    return model, model.predict_proba_learn_rows(z[:, None], y, w)


# -- the map -----------------------------------------------------------------------------------


@pytest.mark.parametrize("half_life", [0.0, 40.0])
@pytest.mark.parametrize("k", [2, 3, 6])
def test_each_sample_makes_the_map_the_mode_of_its_posterior(k, half_life):
    rng = np.random.default_rng(k)
    model = OnlineCalibration(Given(), half_life=half_life, clip=1e-12)
    center = np.array([1.0, *[0.0] * k])
    prior = np.diag(1.0 / np.square([SLOPE_DEVIATION, *[BIAS_DEVIATION] * k]))
    theta, precision = center, prior
    kept = 2.0 ** (-1.0 / half_life) if half_life else 1.0

    def features(logs):
        return np.column_stack([logs, np.eye(k)])

    for _ in range(60):
        scores = rng.normal(size=k) * 3.0
        y, w = (
            int(rng.choice(k, p=special.softmax(0.4 * scores + np.arange(k)))),
            float(rng.choice([0.5, 1, 4])),
        )
        J = features(special.log_softmax(scores))
        precision = kept * precision + (1.0 - kept) * prior
        pull = (1.0 - kept) * prior @ (center - theta)

        def objective(t, J=J, y=y, w=w, old=theta, A=precision, pull=pull):
            d = t - old
            return 0.5 * d @ A @ d - pull @ d - w * special.log_softmax(J @ t)[y]

        theta = optimize.minimize(objective, theta, method="BFGS", options={"gtol": 1e-9}).x
        q = special.softmax(J @ theta)
        precision = precision + w * J.T @ (np.diag(q) - np.outer(q, q)) @ J
        model.learn_one(dict(enumerate(scores.tolist())), y, w=w)
        np.testing.assert_allclose(model._map, theta, atol=1e-4)
    lower = np.tril_indices(k + 1)
    np.testing.assert_allclose(model._precision[lower], precision[lower], rtol=1e-4, atol=1e-4)
    assert model.slope_ == model._map[0]
    assert model.bias_ == pytest.approx(dict(enumerate(theta[1:] - theta[1:].mean())), abs=1e-4)


@pytest.mark.parametrize(
    ("n", "slope", "bias"), [(1000, 1.5, -1.0), (20000, 0.6, -3.0), (20000, 0.7, -6.0), (20000, 1.0, 0.0)]
)
def test_without_forgetting_it_ends_at_scikit_learns_fit(n, slope, bias):
    z, y = log_odds(n, slope, bias, seed=0)
    model, progressive = calibrated(z, y, half_life=0)
    fit = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(z[:, None], y)
    a, b = model.slope_, model.bias_[1] - model.bias_[0]
    best = log_loss(fit.predict_proba(z[:, None]), y)
    p = special.expit(a * z + b)
    # From each sample once, and a prior: within a third of the standard errors that the fit itself has.
    J = np.column_stack([z, np.ones(n)])
    q = special.expit(J @ [fit.coef_[0, 0], fit.intercept_[0]])
    errors = np.sqrt(np.diag(np.linalg.inv((J.T * (q * (1.0 - q))) @ J)))
    assert abs(a - fit.coef_[0, 0]) < errors[0] / 3
    assert abs(b - fit.intercept_[0]) < errors[1] / 3
    assert 0.0 <= log_loss(np.column_stack([1 - p, p]), y) - best < 4e-5
    # What it costs to have learned on the way: half a log(n) a parameter is the price of the best code.
    assert log_loss(progressive, y) - best < 1.5 * math.log(n) / n


def test_several_classes_end_at_scipys_fit():
    n, k = 5000, 4
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(n, k)) * 2.0
    truth = np.array([0.5, 1.0, -1.0, 0.0, 2.0])
    y = np.array([rng.choice(k, p=special.softmax(truth[0] * s + truth[1:])) for s in scores])
    logs = special.log_softmax(scores, axis=1)
    model = OnlineCalibration(Given(), half_life=0, clip=1e-15)
    for s, label in zip(scores.tolist(), y.tolist(), strict=True):
        model.learn_one(dict(enumerate(s)), label)

    def loss(t):
        return -special.log_softmax(t[0] * logs + [*t[1:], 0.0], axis=1)[np.arange(n), y].mean()

    best = optimize.minimize(loss, np.array([1.0, 0.0, 0.0, 0.0]), method="BFGS", options={"gtol": 1e-6})
    bias = np.array([model.bias_[label] for label in range(k)])
    found = np.array([model.slope_, *(bias - bias[-1])[:-1]])
    np.testing.assert_allclose(found, best.x, atol=0.03)
    assert loss(found) - best.fun < 1e-5


def test_it_starts_as_the_identity():
    model = OnlineCalibration(Given())
    x = {"a": 1.0, "b": -2.0, "c": 0.3}
    assert model.predict_proba_one(x) == pytest.approx(Given().predict_proba_one(x), rel=1e-14)
    assert model.slope_ == 1.0
    assert model.bias_ == {}


def test_other_shares_of_the_classes_are_undone_as_the_closed_form_says():
    """True odds times 50 (Saerens et al. 2002): the bias is -log 50, the slope 1."""
    z, y = log_odds(40000, 1.0, 0.0, seed=1, shift=-4.0)
    model, _ = calibrated(z + math.log(50.0), y, half_life=0)
    assert model.slope_ == pytest.approx(1.0, abs=0.03)
    assert model.bias_[1] - model.bias_[0] == pytest.approx(-math.log(50.0), abs=0.06)
    fixed = np.column_stack([special.expit(-z), special.expit(z)])
    learned = special.expit(model.slope_ * (z + math.log(50.0)) + model.bias_[1] - model.bias_[0])
    assert log_loss(np.column_stack([1 - learned, learned]), y) - log_loss(fixed, y) < 1e-4


def test_with_a_half_life_it_follows_a_drift():
    before, after = log_odds(8000, 0.5, -3.0, seed=0), log_odds(8000, 1.5, 1.0, seed=1)
    z, y = np.concatenate([before[0], after[0]]), np.concatenate([before[1], after[1]])
    late = slice(10000, None)
    ideal = special.expit(1.5 * z[late] + 1.0)
    best = log_loss(np.column_stack([1 - ideal, ideal]), y[late])
    losses = {h: log_loss(calibrated(z, y, half_life=h)[1][late], y[late]) - best for h in (0, 500, 2000)}
    assert losses[500] < 0.005
    assert losses[500] < losses[2000] < losses[0] / 3


def test_what_is_forgotten_counts_as_weights_that_fade():
    z, y = log_odds(10000, 0.7, -2.0, seed=3)
    model, _ = calibrated(z, y, half_life=1000)
    fading = 2.0 ** (-np.arange(len(z))[::-1] / 1000)
    fit = LogisticRegression(C=np.inf, tol=1e-8).fit(z[:, None], y, fading)
    assert model.slope_ == pytest.approx(fit.coef_[0, 0], abs=0.01)
    assert model.bias_[1] - model.bias_[0] == pytest.approx(fit.intercept_[0], abs=0.02)


def test_the_precision_stays_bounded_where_nothing_is_to_be_learned():
    """Forgetting alone would let a variance grow without end in a direction that no sample looks into."""
    model = OnlineCalibration(Given(), half_life=10)
    for i in range(5000):
        model.learn_one({0: 0.0, 1: 0.0}, i % 2)
    variances = np.diag(np.linalg.inv(np.tril(model._precision) + np.tril(model._precision, -1).T))
    assert (variances < np.square([SLOPE_DEVIATION, BIAS_DEVIATION, BIAS_DEVIATION]) * (1 + 1e-9)).all()
    assert np.isfinite(model._map).all()


def test_the_first_sample_of_a_rare_class_does_not_throw_it_off():
    z, y = log_odds(3000, 1.0, -9.0, seed=0)
    y[:] = 0
    y[2900] = 1
    model, q = calibrated(z, y, half_life=0)
    assert q[2901:, 1].mean() < 0.01
    assert np.isfinite(model._map).all()


def test_extreme_probabilities_and_weights():
    model = OnlineCalibration(Given(), clip=1e-6)
    for i in range(200):
        model.learn_one({0: 0.0, 1: 800.0 if i % 3 else -800.0}, int(i % 3 > 0), w=1e6 if i == 50 else 1.0)
    p = model.predict_proba_one({0: 0.0, 1: 800.0})
    assert 0.999 < p[1] < 1.0
    for i in range(200):  # and wrong each time
        model.learn_one({0: 0.0, 1: 800.0 if i % 3 else -800.0}, int(i % 3 == 0))
    assert np.isfinite(model._map).all()
    assert 0.0 < model.predict_proba_one({0: 0.0, 1: 800.0})[1] < 1.0


# -- streams -----------------------------------------------------------------------------------


def imbalanced(n=20000, share=0.02, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.random(n) < share
    X = rng.normal(size=(n, 5))
    X[y] += [1.5, -1.0, 0.5, 0.0, 0.0]
    return X, y


def balanced_weights(y):
    counts = np.cumsum(np.eye(2)[y.astype(int)], axis=0)
    return np.arange(1, len(y) + 1) / (2 * counts[np.arange(len(y)), y.astype(int)])


@pytest.mark.parametrize(
    "optimizer", ["auto", optim.SGD(0.01), optim.AdaGrad(0.1), optim.Adam(0.003)], ids=str
)
def test_probabilities_of_a_weighted_model_are_mended(optimizer):
    X, y = imbalanced()
    codes, late = y.astype(int), slice(2000, None)

    def loss(p):
        return log_loss(np.column_stack([1.0 - p, p])[late], codes[late])

    plain = loss(special.expit(linear_model.LogisticRegression(optimizer).predict_learn_rows(X, y)))
    weighted = linear_model.LogisticRegression(optimizer).predict_learn_rows(X, y, balanced_weights(y))
    mended = loss(calibrated(weighted, codes, half_life=2000)[1][:, 1])
    hindsight = LogisticRegression(C=np.inf).fit(weighted[late, None], codes[late])
    assert loss(special.expit(weighted)) > 4 * plain
    assert mended < 1.01 * loss(hindsight.predict_proba(weighted[:, None])[:, 1])
    assert mended < (1.1 if optimizer == "auto" else 1.0) * plain  # weights cost "auto" some of its precision


@pytest.mark.parametrize("sampler", ["RandomUnderSampler", "RandomOverSampler"])
def test_probabilities_of_a_sampled_model(sampler):
    X, y = imbalanced()
    make = getattr(imblearn, sampler)
    inner = make(linear_model.LogisticRegression("auto"), {False: 0.5, True: 0.5}, seed=0)
    raw = inner.loss.mean_func(inner.clone().predict_learn_rows(X, y))
    q = OnlineCalibration(inner).predict_proba_learn_rows(X, y)
    plain = special.expit(linear_model.LogisticRegression("auto").predict_learn_rows(X, y))
    codes, late = y.astype(int), slice(2000, None)
    of = [log_loss(np.column_stack([1 - p, p])[late], codes[late]) for p in (plain, raw)]
    z = special.logit(raw)[:, None]
    hindsight = LogisticRegression(C=np.inf).fit(z[late], codes[late]).predict_proba(z)
    assert of[1] > 3 * of[0]
    assert log_loss(q[late], codes[late]) < 1.01 * log_loss(hindsight[late], codes[late])


def test_trees_and_bayes_are_mended_too():
    stream = list(datasets.Phishing())
    for model in (tree.HoeffdingTreeClassifier(grace_period=50), naive_bayes.GaussianNB()):
        raw, mended = metrics.LogLoss(), metrics.LogLoss()
        plain, ours = copy.deepcopy(model), OnlineCalibration(model)
        for x, y in stream:
            p, q = plain.predict_proba_one(x), ours.predict_proba_one(x)
            if p:
                raw.update(y, p)
                mended.update(y, q)
            assert sum(q.values()) == pytest.approx(1.0) or not q
            plain.learn_one(x, y)
            ours.learn_one(x, y)
        assert ours.classifier.predict_proba_one(x) == plain.predict_proba_one(x)
        assert mended.get() < raw.get()


# -- ways in -----------------------------------------------------------------------------------


def dicts(X):
    return [dict(enumerate(row)) for row in X.tolist()]


LEARNERS = {
    "logistic": (lambda: linear_model.LogisticRegression("auto"), [False, True]),
    "strings": (lambda: linear_model.LogisticRegression("auto"), ["no", "yes"]),
    "signs": (lambda: linear_model.LogisticRegression("auto"), [-1, 1]),
    "perceptron": (linear_model.Perceptron, [0, 1]),
    "softmax": (lambda: linear_model.SoftmaxRegression(optim.AdaGrad(0.3)), ["a", "b", "c"]),
    "sampled": (
        lambda: imblearn.RandomOverSampler(
            linear_model.SoftmaxRegression(), {1: 0.4, 2: 0.4, 3: 0.2}, seed=0
        ),
        [1, 2, 3],
    ),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", LEARNERS)
def test_rows_are_learned_as_one_at_a_time(name, weighted):
    make, labels = LEARNERS[name]
    n = 600
    rng = np.random.default_rng(3)
    codes = rng.choice(len(labels), size=n, p=[0.8, 0.2] if len(labels) == 2 else [0.7, 0.2, 0.1])
    codes[:5] = 0  # others appear late
    X = rng.normal(size=(n, 3)) + np.eye(3)[codes]
    y = np.array(labels)[codes]
    w = rng.choice([0.0, 0.5, 2.0], size=n)
    one, rows = OnlineCalibration(make(), half_life=100), OnlineCalibration(make(), half_life=100)
    answers = []
    for i, x in enumerate(dicts(X)):
        answers.append(one.predict_proba_one(x))
        one.learn_one(x, y[i].item(), **({"w": float(w[i])} if weighted else {}))
    for part in (slice(0, 2), slice(2, 200), slice(200, n)):
        q = rows.predict_proba_learn_rows(X[part], y[part], w[part] if weighted else None)
        known = [*rows.predict_proba_one({})]
        for i, p in enumerate(answers[part]):
            if set(p) == set(known):  # not where a label had no name yet
                assert dict(zip(known, q[i], strict=True)) == pytest.approx(p, rel=1e-8, abs=1e-12)
    assert list(rows._codes) == list(one._codes)
    np.testing.assert_allclose(rows._map, one._map, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(rows._precision, one._precision, rtol=1e-8, atol=1e-10)
    assert rows.slope_ != 1.0


@pytest.mark.parametrize("name", LEARNERS)
def test_the_classifier_learns_as_without_it(name):
    make, labels = LEARNERS[name]
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 3)), rng.choice(labels, size=300)
    alone, inside = make(), OnlineCalibration(make())
    alone.learn_rows(X, y)
    inside.learn_rows(X, y)
    for x in dicts(X[:50]):
        assert inside.classifier.predict_proba_one(x) == alone.predict_proba_one(x)
        assert inside.predict_one(x) == alone.predict_one(x)


def test_bad_rows():
    X, y = imbalanced(300, 0.3)
    X[200, 1] = np.nan
    refused, expected = (OnlineCalibration(linear_model.LogisticRegression()) for _ in range(2))
    with pytest.raises(ValueError, match=r"^row 200: feature 1 is nan"):
        refused.learn_rows(X, y)
    expected.learn_rows(X[:200], y[:200])
    assert (refused._map == expected._map).all()
    with pytest.raises(ValueError, match="feature 1 is nan"):
        refused.learn_one(dict(enumerate(X[200])), True)
    assert (refused._map == expected._map).all()

    skips, expected = (
        OnlineCalibration(linear_model.LogisticRegression(on_invalid="skip")) for _ in range(2)
    )
    q = skips.predict_proba_learn_rows(X, y)
    expected.learn_rows(np.delete(X, 200, axis=0), np.delete(y, 200))
    assert np.isnan(q[200]).all()
    assert not np.isnan(np.delete(q, 200, axis=0)).any()
    assert (skips._map == expected._map).all()
    bad = dict(enumerate(X[200]))
    skips.learn_one(bad, True)
    assert skips.predict_proba_one(bad) == {}
    good = dict(enumerate(X[0]))
    for label, w in ((True, "heavy"), (True, -1.0), (True, np.nan), ([True], 1.0), (None, 1.0)):
        skips.learn_one(good, label, w=w)
    assert skips.n_invalid == 7
    assert (skips._map == expected._map).all()


def test_mini_batches_and_frames():
    X, y = imbalanced(400, 0.3)
    names = list("abcde")
    frame, labels = pd.DataFrame(X, columns=names), pd.Series(y, name="y")
    for make in (
        linear_model.LogisticRegression,
        river_linear.LogisticRegression,
        lambda: linear_model.SoftmaxRegression(optim.SGD(0.1)),
        lambda: preprocessing.StandardScaler() | river_linear.LogisticRegression(),
    ):
        model, alone, one = OnlineCalibration(make()), make(), OnlineCalibration(make())
        for begin in range(0, 400, 100):
            part = slice(begin, begin + 100)
            # what the map is to learn from: the probabilities before the batch, row by row
            one.classifier = Given()
            for x, label in zip(frame[part].to_dict("records"), y[part].tolist(), strict=True):
                p = alone.predict_proba_one(x)
                if p:
                    one.learn_one({key: math.log(v) for key, v in p.items()}, label)
            model.learn_many(frame[part], labels[part])
            alone.learn_many(frame[part], labels[part])
        pd.testing.assert_frame_equal(
            model.classifier.predict_proba_many(frame), alone.predict_proba_many(frame)
        )
        np.testing.assert_allclose(model._map, one._map, rtol=1e-8)
        q = model.predict_proba_many(frame)
        assert (q.index == frame.index).all()
        for i in range(0, 400, 40):
            assert q.iloc[i].to_dict() == pytest.approx(model.predict_proba_one(frame.iloc[i].to_dict()))
        assert model.predict_many(frame).equals(alone.predict_many(frame))
    polars = OnlineCalibration(linear_model.LogisticRegression())
    polars.learn_many(pl.from_pandas(frame), pl.Series(y))
    expected = OnlineCalibration(linear_model.LogisticRegression())
    expected.learn_many(X, y, columns=names)
    np.testing.assert_allclose(
        polars.predict_proba_many(pl.from_pandas(frame)).to_numpy(),
        expected.predict_proba_many(X, columns=names),
    )
    assert (polars._map == expected._map).all()


def test_what_it_answers():
    z, y = log_odds(5000, 1.0, -2.0, seed=0)
    of = {
        choice if isinstance(choice, str) else "costs": calibrated(z, y, predict=choice)[0]
        for choice in ("classifier", "calibrated", {1: 9.0})
    }
    a, b = of["calibrated"].slope_, of["calibrated"].bias_
    for odds in np.linspace(-4.0, 6.0, 41).tolist():
        p = special.expit(a * odds + b[1] - b[0])
        for model in of.values():
            model.classifier = Given()
        x = {0: 0.0, 1: odds}
        assert of["calibrated"].predict_proba_one(x)[1] == pytest.approx(p)
        assert of["calibrated"].predict_one(x) == int(p > 0.5)
        assert of["costs"].predict_one(x) == int(p > 0.1)  # Elkan: cost 1 of a false alarm in 1 + 9
    X, y = imbalanced(3000, 0.1)
    for choice in ("calibrated", {True: 5.0}):
        model = OnlineCalibration(linear_model.LogisticRegression("auto"), predict=choice)
        model.learn_rows(X, y)
        assert model.predict_many(X).tolist() == [model.predict_one(x) for x in dicts(X)]
        frame = pd.DataFrame(X)
        assert model.predict_many(frame).tolist() == model.predict_many(X).tolist()
    assert (
        OnlineCalibration(tree.HoeffdingTreeClassifier(), predict="calibrated").predict_one({"a": 1}) is None
    )


def test_progressive_validation_takes_rivers_loop():
    """In one pass labels would be those of the highest probability, whatever ``predict`` says."""
    X, y = imbalanced(1000, 0.2)
    model = OnlineCalibration(linear_model.LogisticRegression("auto"))
    found = our_evaluate.progressive_val_score((X, y), model, metrics.F1())
    expected = our_evaluate.progressive_val_score(
        (X, y), linear_model.LogisticRegression("auto"), metrics.F1()
    )
    assert found.get() == expected.get()


def test_what_it_answers_where_there_is_no_answer():
    X = np.array([[1.0, 2.0], [np.nan, 1.0]])
    model = OnlineCalibration(linear_model.SoftmaxRegression(on_invalid="skip"), predict="calibrated")
    assert model.predict_many(X).tolist() == [None, None]
    assert model.predict_one({0: 1.0}) is None
    model.learn_rows(X, ["a", "b"])
    assert model.predict_many(X).tolist() == ["a", None]


def test_probabilities_that_are_none_are_not_learned_from():
    model = OnlineCalibration(Given())
    model.learn_one({0: 0.0, 1: math.nan}, 1)
    model.learn_one({0: 0.0, 1: 1.0}, 1)
    expected = OnlineCalibration(Given())
    expected.learn_one({0: 0.0, 1: 1.0}, 1)
    assert (model._map == expected._map).all()


def test_one_kernel_serves_all():
    X, y = imbalanced(100, 0.3)
    OnlineCalibration(linear_model.LogisticRegression()).learn_one(dict(enumerate(X[0])), True, w=2)
    for w in (None, 2, np.ones(100), np.ones(100, dtype=np.float32)):
        OnlineCalibration(linear_model.LogisticRegression()).learn_rows(X.astype(np.float32), y, w)
    OnlineCalibration(tree.HoeffdingTreeClassifier()).learn_one(dict(enumerate(X[0])), "a")
    assert len(calibration.learn.signatures) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"half_life": -1.0}, "half_life=-1.0; it must be a number of samples"),
        ({"half_life": math.inf}, "half_life=inf"),
        ({"clip": 0.0}, "clip=0.0; it must be a probability"),
        ({"clip": 0.7}, "clip=0.7"),
        ({"predict": "best"}, "predict='best'; it is 'classifier', 'calibrated', 'balanced' or a dict"),
        ({"predict": {1: -1.0}}, "the cost of missing 1 must be a positive"),
    ],
)
def test_what_it_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        OnlineCalibration(Given(), **options)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_go_on_and_clones_begin_anew(copied):
    X, y = imbalanced(600, 0.2)
    model = OnlineCalibration(linear_model.LogisticRegression())
    model.learn_rows(X[:300], y[:300])
    twin, clone = copied(model), model.clone()
    for one in (model, twin):
        one.learn_rows(X[300:], y[300:])
    assert (twin._map == model._map).all()
    assert (twin._precision == model._precision).all()
    assert clone.slope_ == 1.0
    assert clone.bias_ == {}
    clone.learn_rows(X, y)
    np.testing.assert_allclose(clone._map, model._map, rtol=1e-12)


MODELS = [
    OnlineCalibration(linear_model.LogisticRegression()),
    OnlineCalibration(river_linear.LogisticRegression(), predict="calibrated"),
    OnlineCalibration(linear_model.SoftmaxRegression(), predict={"grass": 2.0}),
    OnlineCalibration(tree.HoeffdingTreeClassifier()),
    OnlineCalibration(preprocessing.StandardScaler() | linear_model.LogisticRegression()),
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


@pytest.mark.parametrize("way", ["rows", "dicts"])
def test_balanced_labels_are_those_most_likely_beside_their_share(way):
    rng = np.random.default_rng(5)
    y = rng.choice(3, size=6000, p=(0.9, 0.08, 0.02))
    X = rng.normal(size=(6000, 3)) + 1.5 * np.eye(3)[y]
    labels = np.array(["a", "b", "c"])[y]
    model = OnlineCalibration(linear_model.SoftmaxRegression(optim.SGD(0.05)), predict="balanced")
    if way == "rows":
        model.learn_rows(X, labels)
    else:
        for x, label in zip(X.tolist(), labels.tolist(), strict=True):
            model.learn_one(dict(enumerate(x)), label)
    # all but its first sample, which had no probability; and one that each label is taken to have had
    shares = [np.sum(labels == name) for name in model.classifier.labels_]
    p = np.asarray(model.predict_proba_many(X))
    expected = np.array(model.classifier.labels_)[(p / shares).argmax(axis=1)]
    found = model.predict_many(X)
    assert found.tolist() == expected.tolist()
    assert model.predict_one(dict(enumerate(X[0].tolist()))) == found[0]
    recalls = [np.mean(found[labels == name] == name) for name in "abc"]
    plain = [np.mean(model.classifier.predict_many(X)[labels == name] == name) for name in "abc"]
    assert min(recalls) > min(plain) + 0.2
