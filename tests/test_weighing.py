"""Class weights inside the learners: the same in every mode, and where samples do not count."""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import SGDClassifier

import streamgd
from streamgd import _features as f
from streamgd import linear_model, optim
from streamgd.optim import class_weights
from streamgd.optim.class_weights import Balanced, ClassWeight, EffectiveNumber, Static, TargetDistribution


@dataclass(frozen=True)
class ToTheLargest(ClassWeight):
    """How many times larger the largest class is: a user's own rule."""

    def weight(self, y, counts):
        largest = 0.0
        for k in range(len(counts)):
            largest = max(largest, counts[k])
        return largest / counts[y]


@dataclass(frozen=True)
class Broken(ClassWeight):
    def weight(self, y, counts):
        return math.nan if counts[y] > 2.5 else 1.0


RULES = [
    Balanced(),
    Balanced(smoothing=3.0, half_life=40.0),
    Balanced(window=25),
    Balanced(cap=2.0),
    EffectiveNumber(0.99),
    TargetDistribution({0: 0.2, 1: 0.3, 2: 0.5}),
    Static({1: 5.0}),
    ToTheLargest(half_life=100.0),
]
IDS = [f"{type(rule).__name__}-{k}" for k, rule in enumerate(RULES)]
BINARY = [
    linear_model.LogisticRegression,
    linear_model.LinearSVC,
    linear_model.Perceptron,
    linear_model.PAClassifier,
]


def stream(n=300, classes=2, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    y = (rng.random((n, 1)) > np.cumsum(np.array([0.8, 0.15, 0.05]))[: classes - 1]).sum(axis=1)
    X += y[:, None] * 0.7
    w = rng.choice([0.0, 0.3, 1.0, 2.5], size=n)
    return X, y, w


def naive_weights(rule, y, w):
    """Each row's weight, straight from the definition; quadratic."""
    kept, out = [], []
    for label, own in zip(y.tolist(), w.tolist(), strict=True):
        if own == 0.0:
            out.append(0.0)
            continue
        kept.append((label, own))
        kept = kept[-rule.window :] if rule.window else kept
        counts = np.zeros(3)
        for age, (known, h) in enumerate(reversed(kept)):
            counts[known] += h * (0.5 ** (age / rule.half_life) if rule.half_life else 1.0)
        value = rule.weight(label, counts) * rule.factors([label])[0]
        out.append(own * (min(value, rule.cap) if rule.cap else value))
    return np.array(out)


def learner(classes, class_weight):
    """A learner of so many labels, which are numbers from 0 on."""
    if classes == 2:
        return linear_model.LogisticRegression(class_weight=class_weight, labels=(0, 1))
    return linear_model.SoftmaxRegression(class_weight=class_weight)


def dicts(X):
    return [dict(enumerate(row)) for row in X.tolist()]


def weights_of(model):
    nested = model.weights
    lists = nested.values() if isinstance(next(iter(nested.values())), dict) else [nested]
    return np.array([[w for _, w in sorted(by_feature.items())] for by_feature in lists])


@pytest.mark.parametrize("rule", RULES, ids=IDS)
@pytest.mark.parametrize("classes", [2, 3])
def test_a_class_weight_multiplies_the_weight_of_the_sample(rule, classes):
    X, y, w = stream(classes=classes)
    expected, one, rows = (learner(classes, weight) for weight in (None, rule, rule))
    for x, label, own, h in zip(
        dicts(X), y.tolist(), w.tolist(), naive_weights(rule, y, w).tolist(), strict=True
    ):
        expected.learn_one(x, label, h)
        one.learn_one(x, label, own)
    outputs = rows.predict_learn_rows(X, y, w)
    assert weights_of(one) == pytest.approx(weights_of(expected), rel=1e-9, abs=1e-12)
    assert rows.weights == one.weights  # to the bit
    assert rows.class_counts_ == one.class_counts_
    assert rows.n_samples == one.n_samples == (w > 0).sum()
    assert np.isfinite(outputs[-1]).all()


@pytest.mark.parametrize(
    ("learner", "options"),
    [
        *((learner, {}) for learner in (*BINARY, linear_model.SoftmaxRegression)),
        (linear_model.LogisticRegression, {"optimizer": "auto"}),
        (linear_model.LogisticRegression, {"optimizer": optim.Newton()}),
        (linear_model.SoftmaxRegression, {"optimizer": optim.Adam(0.01)}),
    ],
)
def test_rows_of_all_kinds_are_dicts(learner, options):
    def build():
        return learner(class_weight="balanced", **options)

    X, y, w = stream()
    X = np.where(np.abs(X) < 0.4, 0.0, X).astype(np.float32)
    one, dense, csr = build(), build(), build()
    for x, label, own in zip(dicts(X), y.tolist(), w.tolist(), strict=True):
        one.learn_one(x, label, own)
    dense.learn_rows(X, y, w)
    compressed = sparse.csr_matrix(X)
    csr.learn_rows(compressed, y, w)
    assert dense.weights == one.weights
    assert csr.class_counts_ == dense.class_counts_ == one.class_counts_
    present = build()
    for x, label, own in zip(dicts(X), y.tolist(), w.tolist(), strict=True):
        present.learn_one({k: v for k, v in x.items() if v != 0.0}, label, own)
    assert weights_of(csr) == pytest.approx(weights_of(present), rel=1e-12)


@pytest.mark.parametrize("rule", RULES, ids=IDS)
@pytest.mark.parametrize("classes", [2, 3])
def test_a_mini_batch_weighs_each_row_as_rows_in_turn_do(rule, classes):
    X, y, w = stream(classes=classes)
    expected, many, threaded = (learner(classes, weight) for weight in (None, rule, rule))
    first = 100
    for part in (slice(0, first), slice(first, None)):
        h = naive_weights(rule, y, w)[part]
        expected.learn_many(X[part], y[part], np.where(w[part] > 0, h, 0.0))
        many.learn_many(X[part], y[part], w[part])
        threaded.learn_many(X[part], y[part], w[part], threads=2)
    assert weights_of(many) == pytest.approx(weights_of(expected), rel=1e-9, abs=1e-13)
    assert threaded.weights == many.weights
    rows = learner(classes, rule)
    rows.learn_rows(X, y, w)
    assert many.class_counts_ == rows.class_counts_


def test_a_full_batch_in_parts_and_what_is_not_stepped_does_not_count():
    X, y, w = stream(9000)
    whole, parts = (linear_model.LogisticRegression(class_weight=Balanced(half_life=500)) for _ in range(2))
    whole.learn_many(X, y, w)
    gradient = parts.accumulate()
    gradient.add(X[:4096], y[:4096], w[:4096])
    assert sum(parts.class_counts_.values()) == 0.0
    gradient.add(X[4096:], y[4096:], w[4096:])
    gradient.step()
    assert parts.weights == whole.weights
    assert parts.class_counts_ == whole.class_counts_


def test_the_last_epoch_of_gradient_descent_is_scikit_learns_balanced_problem():
    X, y, _ = stream(1000)
    model = linear_model.LogisticRegression(
        optim.SGD(0.5), intercept_lr="optimizer", class_weight="balanced", labels=(0, 1)
    )
    for _ in range(400):
        model.learn_many(X, y)
    from sklearn.linear_model import LogisticRegression

    best = LogisticRegression(C=np.inf, class_weight="balanced", tol=1e-10, max_iter=1000).fit(X, y)
    assert weights_of(model)[0] == pytest.approx(best.coef_[0], abs=5e-3)
    assert model.intercept == pytest.approx(best.intercept_[0], abs=5e-3)


def test_static_weights_are_scikit_learns():
    X, y, _ = stream(500)
    ours = linear_model.LogisticRegression(
        optim.SGD(0.05), intercept_lr=0.05, class_weight={1: 4.0}, labels=(0, 1)
    )
    ours.learn_rows(X, y)
    theirs = SGDClassifier(
        loss="log_loss", penalty=None, learning_rate="constant", eta0=0.05, class_weight={0: 1.0, 1: 4.0},
        max_iter=1, shuffle=False, tol=None,
    ).fit(X, y)  # fmt: skip
    assert weights_of(ours)[0] == pytest.approx(theirs.coef_[0], rel=1e-9)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_refused_row_does_not_count(classes):
    X, y, _ = stream(60, classes)
    learner = linear_model.LogisticRegression if classes == 2 else linear_model.SoftmaxRegression
    rule = Balanced(window=20)
    bad = X.copy()
    bad[40, 1] = np.nan
    one, many = learner(class_weight=rule), learner(class_weight=rule)
    with pytest.raises(ValueError, match="nan") as error:
        one.learn_rows(bad, y)
    assert error.value.row == 40
    reference = learner(class_weight=rule)
    reference.learn_rows(X[:40], y[:40])
    assert one.class_counts_ == reference.class_counts_
    before = pickle.dumps(many.class_counts_)
    with pytest.raises(ValueError, match=r"nan|inf"):
        many.learn_many(bad, y)
    assert pickle.dumps(many.class_counts_) == before
    with pytest.raises(ValueError, match=r"nan|inf"):
        one.learn_one({0: math.inf}, int(y[0]))
    assert one.class_counts_ == reference.class_counts_


@pytest.mark.parametrize("classes", [2, 3])
def test_a_skipped_row_does_not_count(classes):
    X, y, w = stream(200, classes)
    learner = linear_model.LogisticRegression if classes == 2 else linear_model.SoftmaxRegression
    bad = np.zeros(200, dtype=bool)
    bad[[3, 50, 51, 120]] = True
    broken = X.copy()
    broken[bad, 2] = np.nan
    for way in ("learn_rows", "learn_many"):
        ours = learner(class_weight="balanced", on_invalid="skip")
        good = learner(class_weight="balanced")
        getattr(ours, way)(broken, y, w)
        getattr(good, way)(X[~bad], y[~bad], w[~bad])
        assert ours.class_counts_ == good.class_counts_
        assert weights_of(ours) == pytest.approx(weights_of(good), rel=1e-12)
        assert ours.n_invalid == 4


@pytest.mark.parametrize("learner", [linear_model.LogisticRegression, linear_model.SoftmaxRegression])
def test_a_weight_that_is_no_number_is_an_error_that_names_it(learner):
    X, y, _ = stream(20)
    model = learner(class_weight=Broken())
    with pytest.raises(ValueError, match=r"class weight of .*Broken"):
        model.learn_rows(X, y)
    reference = learner()
    reference.learn_rows(X[: model.n_samples], y[: model.n_samples])
    assert model.weights == reference.weights
    other = learner(class_weight=Broken())
    with pytest.raises(ValueError, match=r"class weight of .*Broken"):
        other.learn_many(X, y)
    assert other.n_samples == 0
    third = learner(class_weight=Broken())
    with pytest.raises(ValueError, match=r"class weight of 0 .*Broken"):
        learned(third, "learn_one", X, y.tolist())
    assert third.n_samples == model.n_samples


def test_copies_and_files_go_on_to_the_bit(tmp_path):
    X, y, w = stream(classes=3)
    for rule in RULES[:4]:
        whole = linear_model.SoftmaxRegression(class_weight=rule)
        whole.learn_rows(X, y, w)
        half = linear_model.SoftmaxRegression(class_weight=rule)
        half.learn_rows(X[:130], y[:130], w[:130])
        streamgd.save(half, tmp_path / "half.safetensors")
        loaded = streamgd.load(tmp_path / "half.safetensors")
        for model in (pickle.loads(pickle.dumps(half)), copy.deepcopy(half), loaded):
            model.learn_rows(X[130:], y[130:], w[130:])
            assert model.weights == whole.weights
            assert model.class_counts_ == whole.class_counts_
        assert half.clone().class_counts_ == {}
        assert half.clone().class_weight == rule


def test_a_window_with_codes_of_no_class_is_refused():
    model = linear_model.LogisticRegression(class_weight=Balanced(window=5))
    model.learn_one({"a": 1.0}, True)
    for name, position, value in (("_recent_codes", 3, 7), ("_recent_codes", 0, 5), ("_class_counts", 0, -1)):
        state = model.__getstate__()
        state[name].flat[position] = value
        with pytest.raises(ValueError, match="counts of classes"):
            linear_model.LogisticRegression().__setstate__(state)
    several = linear_model.SoftmaxRegression(class_weight=Balanced(window=5))
    several.learn_one({"a": 1.0}, "x")
    state = several.__getstate__()
    state["_recent_codes"][4] = 2  # there is room for it, but no such class yet
    with pytest.raises(ValueError, match="counts of classes"):
        linear_model.SoftmaxRegression().__setstate__(state)


def test_another_rule_keeps_the_counts_and_another_way_of_counting_begins_anew():
    X, y, _ = stream()
    model = linear_model.LogisticRegression(class_weight="balanced", labels=(0, 1))
    model.learn_rows(X, y)
    counts = model.class_counts_
    model.class_weight = EffectiveNumber()
    assert model.class_counts_ == counts
    model.class_weight = Balanced(half_life=10)
    assert model.class_counts_ == {0: 0.0, 1: 0.0}
    model.learn_rows(X, y)
    assert model.class_counts_[0] > 0
    with pytest.raises(ValueError, match="no share"):
        model.class_weight = TargetDistribution({"a": 1.0})
    assert model.class_weight == Balanced(half_life=10)
    model.class_weight = None
    model.learn_rows(X, y)
    with pytest.raises(ValueError, match="class_weight"):
        model.class_weight = "even"


def test_a_label_without_a_share_is_refused_and_nothing_is_learned():
    model = linear_model.SoftmaxRegression(class_weight=TargetDistribution({"a": 1.0, "b": 1.0}))
    model.learn_one({"x": 1.0}, "a")
    weights = model.weights
    with pytest.raises(ValueError, match="no share"):
        model.learn_one({"x": 1.0}, "c")
    with pytest.raises(ValueError, match="no share"):
        model.learn_rows([[1.0]], ["c"], columns=["x"])
    with pytest.raises(ValueError, match="no share"):
        model.learn_many([[1.0]], ["c"], columns=["x"])
    assert model.labels_ == ("a",)
    assert model.weights == weights
    model.learn_one({"x": 1.0}, "b")
    assert model.labels_ == ("a", "b")


def learned(model, way, X, y):
    """Let a model learn rows in one of the ways; return it."""
    if way == "learn_one":
        for x, label in zip(X, y, strict=True):
            model.learn_one(dict(enumerate(x.tolist())), label)
    else:
        getattr(model, way)(X, y)
    return model


WAYS = ("learn_one", "learn_rows", "learn_many")


@pytest.mark.parametrize("learner", [linear_model.LogisticRegression, linear_model.SoftmaxRegression])
@pytest.mark.parametrize("way", WAYS)
def test_a_label_that_weighs_nothing_does_not_become_known(learner, way):
    X, codes, _ = stream(60, 2 if learner is linear_model.LogisticRegression else 3)
    y = np.array(["ignored", "b", "c"])[codes]
    y[0] = "ignored"
    ours = learned(learner(class_weight={"ignored": 0.0}), way, X, y)
    reference = learned(learner(), way, X[y != "ignored"], y[y != "ignored"])
    assert ours.labels_ == reference.labels_
    assert weights_of(ours) == pytest.approx(weights_of(reference), rel=1e-12)
    assert ours.class_counts_ == {label: (y == label).sum() for label in ours.labels_}


@pytest.mark.parametrize("way", WAYS)
def test_a_label_without_a_share_is_a_bad_row(way):
    X, codes, _ = stream(60, 2)
    y = np.array(["a", "b"])[codes].astype(object)
    good = np.arange(60) != 30
    y[30] = "c"
    shares = TargetDistribution({"a": 1.0, "b": 1.0})
    strict = linear_model.SoftmaxRegression(class_weight=shares)
    with pytest.raises(ValueError, match="'c', which has no share") as error:
        learned(strict, way, X, y)
    assert strict.n_samples == (0 if way == "learn_many" else 30)
    if way != "learn_one":
        assert error.value.row == 30
    skipping = learned(linear_model.SoftmaxRegression(class_weight=shares, on_invalid="skip"), way, X, y)
    reference = learned(linear_model.SoftmaxRegression(class_weight=shares), way, X[good], y[good])
    assert skipping.n_invalid == 1
    assert skipping.class_counts_ == reference.class_counts_
    assert weights_of(skipping) == pytest.approx(weights_of(reference), rel=1e-12)


@pytest.mark.parametrize("learner", [linear_model.LogisticRegression, linear_model.SoftmaxRegression])
@pytest.mark.parametrize("way", WAYS)
def test_a_row_skipped_for_its_class_weight_is_not_learned_without_it(learner, way):
    X, codes, _ = stream(60)
    ours = learned(learner(class_weight=Broken(), on_invalid="skip"), way, X, codes)
    place = np.array([(codes[: i + 1] == code).sum() for i, code in enumerate(codes)])
    reference = learned(learner(), way, X[place <= 2], codes[place <= 2])
    assert ours.n_samples == reference.n_samples == 4
    assert ours.n_invalid == 56
    assert ours.class_counts_ == {0: 2.0, 1: 2.0}
    assert weights_of(ours) == pytest.approx(weights_of(reference), rel=1e-12)


def test_schedules_see_no_losses_of_rows_that_weigh_nothing():
    X, y, _ = stream(60)
    model = linear_model.LogisticRegression(
        optim.SGD(optim.schedulers.ReduceLROnPlateau(0.1, window=1000)),
        class_weight={0: 0.0},
        labels=(0, 1),
    )
    gradient = model.accumulate()
    gradient.add(X, y)
    assert np.isfinite(np.concatenate(gradient._losses)).sum() == y.sum()


class Failing(Exception):
    """What a user's code raises."""


@dataclass(frozen=True)
class Sometimes(ClassWeight):
    """Factors whose making can be told to fail."""

    fails: ClassVar[list[bool]] = [False]

    def factors(self, labels):
        if self.fails[0]:
            raise Failing
        return [2.0 for _ in labels]

    def weight(self, y, counts):
        return 1.0


def test_factors_that_fail_leave_all_as_it_was():
    X, y, _ = stream(100)
    wide = np.hstack([X] * 10)
    model = linear_model.SoftmaxRegression(class_weight=Sometimes())
    model.learn_rows(X, y)
    addresses = model._control[[f.WEIGHTS, f.SCALARS, f.FACTORS, f.COUNTS]].tolist()
    Sometimes.fails[0] = True
    try:
        model._grow(1000)  # calls nothing of the user's: arrays and their addresses change together
        arrays = (model._weights, model._scalars, model._factors, model._class_counts)
        now = model._control[[f.WEIGHTS, f.SCALARS, f.FACTORS, f.COUNTS]].tolist()
        assert now == [array.ctypes.data for array in arrays]
        assert now != addresses
        before = model.weights
        with pytest.raises(Failing):
            model.l2 = 0.1
        with pytest.raises(Failing):
            model.learn_rows(wide, np.array(["a", "b"] * 50))
        assert model.l2 == 0.0
        assert model.weights == before
    finally:
        Sometimes.fails[0] = False
    reference = linear_model.SoftmaxRegression(class_weight=Sometimes())
    reference.learn_rows(X, y)
    model.learn_rows(X, y)
    reference.learn_rows(X, y)
    assert model.weights == reference.weights
    assert model._factors[:2].tolist() == [2.0, 2.0]


# -- synthetic rows ----------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3])
def test_synthetic_rows_are_learned_with_their_own_weight_and_not_counted(classes):
    X, y, w = stream(classes=classes)
    learner = linear_model.LogisticRegression if classes == 2 else linear_model.SoftmaxRegression
    made = np.arange(len(y)) % 3 == 2
    rule = Balanced(half_life=50)
    h = w.copy()
    h[~made] = naive_weights(rule, y[~made], w[~made])
    expected, one, rows = learner(), learner(class_weight=rule), learner(class_weight=rule)
    expected.learn_rows(X, y, h)
    outputs = rows._learn_made(X, y, w, made)
    for x, label, own, is_made in zip(dicts(X), y.tolist(), w.tolist(), made.tolist(), strict=True):
        (one._learn_made_one if is_made else one.learn_one)(x, label, own)
    assert weights_of(rows) == pytest.approx(weights_of(expected), rel=1e-9, abs=1e-12)
    assert one.weights == rows.weights
    assert one.class_counts_ == rows.class_counts_
    assert len(outputs) == len(y)
    many, batch = learner(class_weight=rule), learner()
    many._learn_made_many(X, y, w, made)
    batch.learn_many(X, y, h)
    assert weights_of(many) == pytest.approx(weights_of(batch), rel=1e-9, abs=1e-13)
    assert many.class_counts_ == rows.class_counts_


@pytest.mark.parametrize("learner", [linear_model.LogisticRegression, linear_model.SoftmaxRegression])
def test_no_schedule_sees_the_loss_of_a_synthetic_row(learner):
    X, y, _ = stream(400)
    made = np.arange(len(y)) % 2 == 1
    seen = []

    class Spy(optim.schedulers.ReduceLROnPlateau):
        def observe(self, state, losses, t):
            seen.append(losses.copy())
            return super().observe(state, losses, t)

    schedule = Spy(0.01, window=50)
    model = learner(optim.SGD(schedule))
    outputs = model._learn_made(X, y, None, made)
    losses = model._losses_of(y, outputs)[~made]
    rows = np.concatenate(seen)
    assert len(rows) == 200 - 200 % 50
    assert rows == pytest.approx(losses[: len(rows)], rel=1e-12)
    seen.clear()
    batch = learner(optim.SGD(schedule))
    batch._learn_made_many(X, y, 1, made)
    assert sum(map(len, seen)) == 200


def test_of_takes_what_users_pass():
    assert class_weights.of("balanced", "x") == Balanced()
    assert class_weights.of({"a": 2.0}, "x") == Static({"a": 2.0})
