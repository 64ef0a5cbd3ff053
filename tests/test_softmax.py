"""Softmax regression: river, the naive learner, closed forms; ways in, labels, copies, bad input."""

from __future__ import annotations

import copy
import importlib.metadata
import math
import pickle
from dataclasses import dataclass, field
from typing import Any

import naive
import naive_softmax
import numpy as np
import pandas as pd
import pytest
import river.linear_model
import river.optim
import samples
import scipy.sparse
import scipy.special
from cases import Case
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import record
from river import base, checks, datasets, ensemble, evaluate, metrics, multiclass, preprocessing
from sklearn.linear_model import LogisticRegression

import streamgd
from streamgd import linear_model, optim
from streamgd._jit import compilations
from streamgd._rows import SparseRows
from streamgd.kernels import softmax
from streamgd.linear_model import SoftmaxRegression
from streamgd.optim.losses import CrossEntropy

RIVER = importlib.metadata.version("river")
LABELS = ["red", 7, True, b"blue", 0.5]  # any kinds; the last ones appear late


def stream(n: int, p: int, seed: int = 0) -> tuple[samples.Samples, list[Any]]:
    """Samples of five classes, with weights; the last two classes appear after 40 % and 70 % of them."""
    data = samples.dense(n, p, binary=False, seed=seed)
    rng = np.random.default_rng(seed + 100)
    z = data.X @ rng.normal(size=(p, 5)) + rng.gumbel(size=(n, 5))
    z[: 2 * n // 5, 3] = z[: 7 * n // 10, 4] = -np.inf
    return data, [LABELS[k] for k in z.argmax(axis=1)]


def sparse_stream(
    n: int, p: int, seed: int = 0
) -> tuple[list[dict[str, float]], SparseRows, Any, list[str], list[Any]]:
    rows, matrix, _, w, names = samples.sparse(n, p, binary=False, seed=seed)
    return rows, matrix, w, names, stream(n, p, seed)[1]


def state(model: Any) -> list[Any]:
    """All that a model has learned, to the bit."""
    kept, n = model.__getstate__(), len(model.labels_)
    arrays = [kept["_weights"][:, :n], kept["_slots"][..., :n], kept["_charged"][:, :n], kept["_scalars"][:n]]
    return [array.tobytes() for array in arrays] + [kept["_features"], model.labels_]


def worst(ours: Any, theirs: Any) -> float:
    """Largest difference of weights by label and feature, relative where they are larger than 1."""
    assert list(ours) == list(theirs)
    pairs = [(ours[k].get(i, 0.0), w) for k in theirs for i, w in theirs[k].items()]
    return max((abs(a - b) / max(1.0, abs(b)) for a, b in pairs), default=0.0)


# -- the loss ----------------------------------------------------------------------------------


def test_cross_entropy_is_rivers_without_weights():
    ours, rivers = CrossEntropy(), river.optim.losses.CrossEntropy()
    rng = np.random.default_rng(0)
    for _ in range(200):
        p = dict(zip("abc", rng.dirichlet(rng.choice([0.05, 1.0, 5.0]) * np.ones(3)).tolist(), strict=True))
        for y in "abcd":
            assert ours.gradient(y, p) == pytest.approx(rivers.gradient(y, p), rel=1e-12)
            if y in p:
                assert ours(y, p) == pytest.approx(rivers(y, p), rel=1e-12)
                record("CrossEntropy", "river", RIVER, abs(ours(y, p) - rivers(y, p)))


@pytest.mark.parametrize("weights", [None, {"a": 0.2, "c": 3.0}])
def test_the_gradient_is_that_of_the_loss(weights):
    loss, labels, rng = CrossEntropy(weights), "abc", np.random.default_rng(1)

    def value(y, z):
        return loss(y, dict(zip(labels, scipy.special.softmax(z).tolist(), strict=True)))

    for _ in range(50):
        z, step = rng.normal(size=3) * 3, 1e-6 * np.eye(3)
        for y in labels:
            slopes = [(value(y, z + step[k]) - value(y, z - step[k])) / 2e-6 for k in range(3)]
            p = dict(zip(labels, scipy.special.softmax(z).tolist(), strict=True))
            assert list(loss.gradient(y, p).values()) == pytest.approx(slopes, rel=1e-6, abs=1e-8)


def test_mean_func_is_the_softmax():
    z = np.random.default_rng(2).normal(size=(50, 4)) * 300
    z[::3, 1] = -np.inf
    assert CrossEntropy().mean_func(z) == pytest.approx(
        scipy.special.softmax(z, axis=1), rel=1e-12, abs=1e-300
    )
    assert CrossEntropy().mean_func(np.full((2, 3), -np.inf)).tolist() == [[0.0] * 3] * 2
    assert CrossEntropy().mean_func(np.empty((2, 0))).shape == (2, 0)


def test_cross_entropy_as_a_piece():
    given_weights = {"a": 2}
    loss = CrossEntropy(given_weights)
    given_weights["a"] = 5
    assert loss.weight("a") == 2.0
    assert loss.weight("b") == 1.0
    assert loss == CrossEntropy({"a": 2.0}) == pickle.loads(pickle.dumps(loss)) == copy.deepcopy(loss)
    assert hash(loss) == hash(CrossEntropy())
    for bad in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="finite and at least 0"):
            CrossEntropy({"a": bad})
    with pytest.raises(TypeError, match="must be a dict"):
        CrossEntropy([1.0, 2.0])
    model = SoftmaxRegression(loss=river.optim.losses.CrossEntropy({"a": 2.0}))
    assert model.loss == loss
    with pytest.raises(TypeError, match="crossentropy"):
        SoftmaxRegression(loss=optim.losses.Log())
    with pytest.raises((TypeError, ValueError), match="loss"):
        linear_model.LogisticRegression(loss=loss)


# -- bodies of kernels -------------------------------------------------------------------------

OUTPUTS = st.lists(
    st.one_of(st.floats(-50, 50), st.floats(-1e150, 1e150), st.just(-math.inf)), min_size=1, max_size=6
)


@given(OUTPUTS)
def test_margins_and_derivatives_are_those_of_the_softmax(outputs):
    z, e = np.array(outputs), np.empty(len(outputs))
    top, rest = softmax.shares(z, e, len(z))
    assert top == (int(z.argmax()) if z.max() > -math.inf else -1)
    p = scipy.special.softmax(z) if top >= 0 else np.zeros(len(z))
    for k, own in enumerate(outputs):
        margin = softmax.margin(z, e, top, rest, k)
        if own == -math.inf:  # not seen: a probability of 1e-15
            expected = math.log(1e-15 / (1 - 1e-15))
        else:
            expected = -scipy.special.logsumexp(np.delete(z, k) - own) if len(z) > 1 else math.inf
            expected = min(max(expected, -750.0), 750.0)
        assert margin == pytest.approx(expected, rel=1e-12, abs=1e-12)
        assert softmax.derivative(e, top, rest, k, False) == pytest.approx(p[k], rel=1e-12, abs=1e-300)
        assert softmax.derivative(e, top, rest, k, True) == pytest.approx(p[k] - 1.0, rel=1e-12, abs=1e-15)
        if own > -math.inf:  # what is left to 1 is not lost where the label is all but certain
            left = optim.losses.Log().gradient(1.0, margin)
            assert softmax.derivative(e, top, rest, k, True) == pytest.approx(left, rel=1e-11, abs=1e-300)


# -- river -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class River:
    optimizer: str
    lr: float = 0.05
    decays: bool = True
    l2: float = 0.0
    fields: dict[str, float] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        return self.optimizer

    def of(self, models: Any, optims: Any) -> Any:
        lr = optims.schedulers.InverseScaling(self.lr, 0.4) if self.decays else self.lr
        rule = getattr(optims, self.optimizer)(**({"lr": lr} if self.lr else {}), **self.fields)
        return models.SoftmaxRegression(rule, l2=self.l2)


# Not all of river's: the rules are those of the linear learners, which are held against each of them.
RIVERS = [
    River("SGD", l2=0.01),
    River("NesterovMomentum", 0.01, l2=0.01),
    River("AdaGrad", 0.2, l2=0.002),
    River("AdaDelta", 0.0),
    River("RMSProp", 0.02),
    River("Adam", 0.02, l2=0.01),
    River("AdaBound", 0.02, decays=False),
]


LONG = {"NesterovMomentum", "AdaDelta", "RMSProp"}  # kernels of their own to compile, made in the same way


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[pytest.mark.slow] if case.optimizer in LONG else [], id=str(case))
        for case in RIVERS
    ],
)
def test_weights_and_probabilities_are_rivers(case):
    """Dense rows of real classes, then dicts with absent and late features; both with late classes."""
    scaler, real = preprocessing.StandardScaler(), []
    for x, y in datasets.ImageSegments():
        scaler.learn_one(x)
        if y not in ("sky", "path") or len(real) > 700:
            real.append((scaler.transform_one(x), y))
    rows, _, _, _, labels = sparse_stream(2000, 12, seed=3)
    for pairs in (real, list(zip(rows, labels, strict=True))):
        ours, rivers = case.of(linear_model, optim), case.of(river.linear_model, river.optim)
        difference = 0.0
        for i, (x, y) in enumerate(pairs):
            if i % 10 == 0:
                p, expected = ours.predict_proba_one(x), rivers.predict_proba_one(x)
                assert list(p) == list(expected)
                difference = max([difference, *(abs(p[k] - expected[k]) for k in expected)])
                assert ours.predict_one(x) == rivers.predict_one(x)
            ours.learn_one(x, y)
            rivers.learn_one(x, y)
        difference = max(difference, worst(ours.weights, rivers.weights))
        assert difference < 1e-9
        record(f"SoftmaxRegression, {case.optimizer}", "river", RIVER, difference)


# -- the naive learner ---------------------------------------------------------------------------

NAIVE = {
    "SGD": Case("Log", "SGD", (0.2, 0.3), intercept_lr=(0.1, 0.2), l2=0.01),
    "clip": Case("Log", "SGD", 0.3, clip_gradient=0.2, intercept_lr=0.0),
    "L1": Case("Log", "AdaGrad", (0.2, 0.1), l1=0.002, l2=0.01, intercept_lr=0.0),
    "Adam": Case("Log", "Adam", (0.05, 0.3), intercept_lr=0.0),
    "Nesterov": Case("Log", "NesterovMomentum", 0.02, intercept_lr=0.0),
    "ScheduleFree": Case("Log", "ScheduleFreeSGD", 0.3, intercept_lr=0.0),
    "Normalized": Case("Log", "Normalized", (0.5, 0.1)),
    "ScInOL": Case("Log", "ScInOL1", clip_gradient=1.0),
}


def pair(name: str, weights: dict[Any, float] | None = None) -> tuple[Any, naive_softmax.Softmax]:
    """Our learner of a case, and the naive one."""
    case = NAIVE[name]
    binary = case.ours()
    ours = SoftmaxRegression(
        binary.optimizer,
        CrossEntropy(weights),
        binary.l2,
        l1=binary.l1,
        intercept_lr=binary.intercept_lr,
        clip_gradient=binary.clip_gradient,
    )

    def lane(loss: Any) -> Any:
        learner = case.naive()
        learner.loss = loss
        return learner

    return ours, naive_softmax.Softmax(lane, weights)


def same(ours: Any, plain: naive_softmax.Softmax, rtol: float = 1e-11) -> None:
    assert worst(ours.weights, plain.weights) < rtol
    assert list(ours.intercept.values()) == pytest.approx(list(plain.intercept.values()), rel=rtol, abs=rtol)


@pytest.mark.parametrize("weights", [None, {"red": 2.0, True: 0.5}], ids=["even", "weighted"])
@pytest.mark.parametrize("name", NAIVE)
def test_rows_equal_the_formula(name, weights):
    data, labels = stream(250, 5, seed=5)
    ours, plain = pair(name, weights)
    z = ours.predict_learn_rows(data.X, pd.Series(labels, dtype=object), data.w, columns=data.names)
    for i, (x, y, h) in enumerate(zip(data.dicts(), labels, data.w.tolist(), strict=True)):
        expected = plain.learn(x, y, h)
        row = [expected.get(label, -math.inf) for label in ours.labels_]
        assert z[i].tolist() == pytest.approx(row, rel=1e-9, abs=1e-10)
    same(ours, plain)


def test_weights_of_classes_that_are_found_together_with_many_features():
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(60, 40)), [f"class {k % 9}" for k in range(60)]
    weights = {f"class {k}": 0.5 + k for k in range(9)}
    ours, plain = pair("clip", weights)
    ours.learn_rows(X, labels)
    for x, y in zip(X.tolist(), labels, strict=True):
        plain.learn(dict(enumerate(x)), y)
    same(ours, plain)


@pytest.mark.parametrize("name", NAIVE)
def test_dicts_and_sparse_rows_equal_the_formula(name):
    rows, matrix, w, names, labels = sparse_stream(250, 8, seed=6)
    ours, plain = pair(name)
    many, _ = pair(name)
    for x, y, h in zip(rows, labels, w.tolist(), strict=True):
        assert ours.predict_proba_one(x) == pytest.approx(plain.probabilities(x), rel=1e-9, abs=1e-12)
        ours.learn_one(x, y, h)
        plain.learn(x, y, h)
    many.learn_rows(matrix, pd.Series(labels, dtype=object), w, columns=names)
    for model in (ours, many):
        known = set(model.weights[labels[0]])
        plain_weights = {k: {i: v for i, v in row.items() if i in known} for k, row in plain.weights.items()}
        assert worst(model.weights, plain_weights) < 1e-10


@pytest.mark.parametrize("name", ["SGD", "L1", "Adam", "Nesterov"])
def test_mini_batches_equal_the_formula(name):
    data, labels = stream(240, 5, seed=7)
    ours, plain = pair(name, {"red": 0.3})
    dicts = data.dicts()
    for i in range(0, 240, 12):
        part = slice(i, i + 12)
        y = np.array([*labels[part], None], dtype=object)[:-1]
        ours.learn_many(data.X[part], y, data.w[part], columns=data.names)
        plain.learn_many(dicts[part], labels[part], data.w[part].tolist())
        ours.learn_one(dicts[i], labels[i])  # and a row between them
        plain.learn(dicts[i], labels[i])
    same(ours, plain)


def test_a_batch_of_one_is_learn_one():
    data, labels = stream(60, 4)
    one, many = SoftmaxRegression(optim.Adam(0.1)), SoftmaxRegression(optim.Adam(0.1))
    for i, x in enumerate(data.dicts()):
        one.learn_one(x, labels[i])
        many.learn_many(data.X[i : i + 1], labels[i : i + 1], columns=data.names)
    assert worst(many.weights, one.weights) < 1e-12


def test_full_batches_reach_scikit_learns_optimum():
    X, y = scipy.stats.zscore(np.random.default_rng(0).normal(size=(300, 4))), np.arange(300) % 3
    X[:, 0] += y
    l2 = 0.1
    model = SoftmaxRegression(optim.SGD(0.5), l2=l2)
    for _ in range(400):
        model.learn_many(X, y)
    reference = LogisticRegression(C=1 / (l2 * len(X)), fit_intercept=False, tol=1e-12, max_iter=1000).fit(
        X, y
    )
    ours = np.array([list(row.values()) for row in model.weights.values()])
    assert ours == pytest.approx(reference.coef_, abs=1e-6)
    assert model.predict_proba_many(X) == pytest.approx(reference.predict_proba(X), abs=1e-6)
    record(
        "SoftmaxRegression",
        "scikit-learn",
        importlib.metadata.version("scikit-learn"),
        float(np.abs(ours - reference.coef_).max()),
    )


# -- rules that need more than the optimizer's step ---------------------------------------------


def test_averages_are_those_of_the_lanes():
    data, labels = stream(200, 4)
    plain, averaged = SoftmaxRegression(optim.SGD(0.1)), SoftmaxRegression(optim.Averager(optim.SGD(0.1)))
    history: dict[Any, list[Any]] = {}
    for x, y in zip(data.dicts(), labels, strict=True):
        plain.learn_one(x, y)
        averaged.learn_one(x, y)
        for label, row in plain.weights.items():
            history.setdefault(label, []).append(list(row.values()))
    means = {
        label: dict(zip(data.names, np.mean(rows, axis=0), strict=True)) for label, rows in history.items()
    }
    assert worst(averaged.weights, means) < 1e-11
    z = {k: sum(w * data.dicts()[0][i] for i, w in row.items()) for k, row in means.items()}
    p = scipy.special.softmax(list(z.values()))
    assert list(averaged.predict_proba_one(data.dicts()[0]).values()) == pytest.approx(p, rel=1e-9)


def test_an_intercept_of_the_optimizer_is_a_feature_of_value_one():
    data, labels = stream(200, 4)
    within = SoftmaxRegression(optim.Adam(0.05), intercept_lr="optimizer")
    beside = SoftmaxRegression(optim.Adam(0.05))
    for x, y in zip(data.dicts(), labels, strict=True):
        within.learn_one(x, y)
        beside.learn_one({**x, "one": 1.0}, y)
    joined = {k: {**row, "one": within.intercept[k]} for k, row in within.weights.items()}
    assert worst(joined, beside.weights) < 1e-12


def test_late_features_may_count_from_their_first_appearance():
    """A feature that is met with the second half then has the weights of a model that began there."""
    model = SoftmaxRegression(optim.Adam(0.1), late="fresh")
    other = SoftmaxRegression(optim.Adam(0.1), late="fresh")
    for y in "abcabc":
        model.learn_one({"first": 0.0}, y)
        other.learn_one({"second": 0.0}, y)
    for y in "abcacb":
        model.learn_one({"second": 1.0}, y)
        other.learn_one({"second": 1.0}, y)
    assert model.weights["a"]["second"] != other.weights["a"]["second"]
    anew = SoftmaxRegression(optim.Adam(0.1), late="fresh")
    for y in "abc":
        anew.learn_one({"first": 0.0}, y)
    for y in "abcacb":
        anew.learn_one({"second": 1.0}, y)
    assert anew.weights["a"]["second"] == pytest.approx(model.weights["a"]["second"], rel=1e-12)


def test_schedules_that_watch_see_the_cross_entropy():
    data, labels = stream(120, 4)
    schedule = optim.schedulers.ReduceLROnPlateau(0.1, window=1000)
    model = SoftmaxRegression(optim.SGD(schedule))
    twin = SoftmaxRegression(optim.SGD(0.1))
    expected = []
    for x, y in zip(data.dicts(), labels, strict=True):
        p = twin.predict_proba_one(x)
        expected.append(-math.log(max(p.get(y, 0.0), 1e-15)))
        twin.learn_one(x, y)
        model.learn_one(x, y)
    assert model._losses[1:120] == pytest.approx(expected[1:], rel=1e-9)
    assert worst(model.weights, twin.weights) == 0.0


def test_each_class_has_its_own_clock_of_samples_and_updates():
    """Schedules that count samples, and ones that count updates, in rows and batches with late classes."""
    data, labels = stream(240, 4, seed=19)
    for per, rate in (
        ("sample", lambda updates, n: 0.3 * 0.5 ** (n // 40)),
        ("update", lambda updates, n: 0.3 * 0.5 ** (updates // 40)),
    ):
        ours = SoftmaxRegression(optim.SGD(optim.schedulers.StepDecay(0.3, 0.5, 40, per=per)))
        plain = naive_softmax.Softmax(
            lambda loss, rate=rate: naive.Linear(naive.SGD(), loss, rate, intercept_lr=naive.constant(0.0))
        )
        for i in range(0, 240, 8):
            part = slice(i, i + 8)
            if i % 3:
                ours.learn_many(data.X[part], objects(labels[part]), columns=data.names)
                plain.learn_many(data.dicts()[part], labels[part], [1.0] * 8)
            else:
                ours.learn_rows(data.X[part], objects(labels[part]), columns=data.names)
                for x, y in zip(data.dicts()[part], labels[part], strict=True):
                    plain.learn(x, y)
        same(ours, plain)


class Shrinking(naive.Linear):
    """A lane whose weights all shrink after each update: Duchi, Singer 2009, section 5."""

    def _move(self, gradient: dict[Any, float], slope: float, n: int) -> None:
        lr = self.lr(self.updates, self.samples)
        super()._move(gradient, slope, n)
        for i, w in self.weights.items():
            self.weights[i] = math.copysign(max(abs(w) - lr * 0.002, 0.0), w) / (1 + lr * 2.0)


def test_proximal_penalties_fall_on_absent_features_in_every_lane():
    """So strong that the lanes' totals are folded in on the way, of early and late classes together."""
    rows, matrix, w, names, labels = sparse_stream(500, 6, seed=20)
    rule = optim.SGD(optim.schedulers.InverseScaling(0.5, 0.01))
    one, many = (SoftmaxRegression(rule, penalty=optim.penalties.Proximal(0.002, 2.0)) for _ in range(2))
    plain = naive_softmax.Softmax(
        lambda loss: Shrinking(
            naive.SGD(), loss, lambda k, n: 0.5 / (k + 1) ** 0.01, intercept_lr=naive.constant(0.0)
        )
    )
    for x, y, h in zip(rows, labels, w.tolist(), strict=True):
        one.learn_one(x, y, h)
        plain.learn(x, y, h)
    many.learn_rows(matrix, objects(labels), w, columns=names)
    assert max(row["x0"] != 0.0 for row in plain.weights.values())
    for model in (one, many):
        known = set(model.weights[labels[0]])
        expected = {k: {i: v for i, v in row.items() if i in known} for k, row in plain.weights.items()}
        assert worst(model.weights, expected) < 1e-10


def test_rules_over_all_features_are_refused():
    with pytest.raises(ValueError, match=r"Newton has no form for several classes.*OneVsRestClassifier"):
        SoftmaxRegression(optim.Newton())
    model = SoftmaxRegression(optim.Normalized())
    with pytest.raises(ValueError, match="Normalized is defined sample by sample"):
        model.learn_many(np.ones((2, 1)), ["a", "b"])
    with pytest.raises(ValueError, match="Normalized takes no l1 or l2"):
        SoftmaxRegression(optim.Normalized(), l2=1.0)


# -- rules that make a row's update by themselves -------------------------------------------------


@pytest.mark.parametrize("rest", [-2.0, 0.0, 3.0])
@pytest.mark.parametrize("y", [0.0, 1.0])
def test_beside_others_the_loss_is_the_logistic_one_shifted(rest, y):
    """Its value, and by finite differences its gradient; its update is the naive one of the margin."""
    loss = softmax.Beside.struct(1.5, rest)
    value, gradient, update = softmax.Beside.value, softmax.Beside.gradient, softmax.Beside.update
    for p in np.linspace(-40.0, 40.0, 17).tolist():
        expected = 1.5 * (scipy.special.logsumexp([p, rest]) - (p if y else rest))
        assert value(loss, y, p) == pytest.approx(expected, rel=1e-12, abs=1e-12)
        slope = (value(loss, y, p + 1e-6) - value(loss, y, p - 1e-6)) / 2e-6
        assert gradient(loss, y, p) == pytest.approx(slope, rel=1e-6, abs=1e-8)
        for eta_h, ppu in ((0.1, 2.0), (3.0, 0.5), (0.5, 0.0)):
            expected = naive.Log(1.5, 1.5).update(p - rest, y, eta_h, ppu)
            assert update(loss, p, y, eta_h, ppu) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("rule", ["auto", "bank"])
def test_rules_without_a_rate(rule):
    """All ways in agree to the bit, weights and intercepts explain outputs, scales do not matter."""
    assert SoftmaxRegression(rule).intercept_lr == "optimizer"
    assert SoftmaxRegression().intercept_lr == optim.schedulers.Constant(0.0)
    data, labels = stream(300, 5, seed=21)
    models = [SoftmaxRegression(rule) for _ in range(4)]
    one, whole, scaled, single = models
    X = data.X.astype(np.float32).astype(float)
    for row, y, h in zip(X.tolist(), labels, data.w.tolist(), strict=True):
        one.learn_one(dict(zip(data.names, row, strict=True)), y, h)
    whole.learn_rows(X, objects(labels), data.w, columns=data.names)
    single.learn_rows(X.astype(np.float32), objects(labels), data.w, columns=data.names)
    assert state(one) == state(whole) == state(single)
    scaled.learn_rows(X * [1e-3, 1.0, 10.0, 1e4, 0.5], objects(labels), data.w, columns=data.names)
    x = dict(zip(data.names, X[17].tolist(), strict=True))
    p = list(one.predict_proba_one(x).values())
    of_scaled = scaled.predict_proba_many(X[17:18] * [1e-3, 1.0, 10.0, 1e4, 0.5], columns=data.names)[0]
    assert of_scaled == pytest.approx(p, rel=1e-9)
    z = [sum(row[i] * v for i, v in x.items()) + one.intercept[k] for k, row in one.weights.items()]
    assert scipy.special.softmax(z) == pytest.approx(p, rel=1e-9)
    twin = pickle.loads(pickle.dumps(one))
    before = state(one)
    for bad in ({**x, "x1": 1e75}, {**x, "x1": math.nan}):
        with pytest.raises(ValueError, match=r"x1|larger than"):
            one.learn_one(bad, labels[0])
        with pytest.raises(ValueError, match="row 0"):
            one.learn_rows([list(bad.values())], labels[:1], columns=data.names)
    with pytest.raises(ValueError, match="larger than"):
        one.learn_one(x, "a new class", 1e100)
    assert state(one) == before
    for model in (one, twin):
        model.learn_one({**x, "late": 2.0}, "a new class")
    assert state(one) == state(twin)


def test_without_a_rate_it_learns_unscaled_features():
    """ImageSegments as they are: features of sizes from 0.01 to 100."""
    auto, plain = metrics.Accuracy(), metrics.Accuracy()
    evaluate.progressive_val_score(datasets.ImageSegments(), SoftmaxRegression("auto"), auto)
    scaled = preprocessing.StandardScaler() | SoftmaxRegression(optim.SGD(0.1))
    evaluate.progressive_val_score(datasets.ImageSegments(), scaled, plain)
    assert auto.get() > plain.get()


# -- ways in -----------------------------------------------------------------------------------


def objects(labels: list[Any]) -> Any:
    return pd.Series(labels, dtype=object)


@pytest.mark.parametrize("name", ["SGD", "Adam", "Normalized"])
def test_dicts_rows_parts_and_single_precision_agree_to_the_bit(name):
    data, labels = stream(300, 7, seed=8)
    X = data.X.astype(np.float32)
    models = [pair(name)[0] for _ in range(4)]
    one, whole, parts, single = models
    for x, y, h in zip(X.astype(float).tolist(), labels, data.w.tolist(), strict=True):
        one.learn_one(dict(zip(data.names, x, strict=True)), y, h)
    z = whole.predict_learn_rows(X.astype(float), objects(labels), data.w, columns=data.names)
    for i in range(0, 300, 7):
        part = slice(i, i + 7)
        out = parts.predict_learn_rows(
            X[part].astype(float), objects(labels[part]), data.w[part], columns=data.names
        )
        assert out.tolist() == z[part, : out.shape[1]].tolist()
        assert (z[part, out.shape[1] :] == -np.inf).all()
    single.learn_rows(X, objects(labels), data.w, columns=data.names)
    assert state(one) == state(whole) == state(parts) == state(single)
    assert one.labels_ == tuple(dict.fromkeys(y for y, h in zip(labels, data.w, strict=True) if h))
    assert (one.n_updates, one.n_samples) == ((data.w > 0).sum(),) * 2


@pytest.mark.parametrize("kind", ["pandas", "csr", "SparseRows", "shuffled"])
def test_rows_of_every_kind(kind):
    data, labels = stream(200, 6, seed=9)
    reference, model = (SoftmaxRegression(optim.AdaGrad(0.1), intercept_lr=0.1) for _ in range(2))
    reference.learn_rows(data.X, objects(labels), data.w, columns=data.names)
    if kind == "pandas":
        model.learn_rows(pd.DataFrame(data.X, columns=data.names), objects(labels), data.w)
        assert state(model) == state(reference)
    elif kind == "shuffled":  # in parts whose columns are in other orders, or missing
        order = [3, 0, 5, 1, 4, 2]
        model.learn_rows(data.X[:100], objects(labels[:100]), data.w[:100], columns=data.names)
        some = [data.names[k] for k in order]
        model.learn_rows(data.X[100:, order], objects(labels[100:]), data.w[100:], columns=some)
    else:
        matrix = scipy.sparse.csr_matrix(data.X)
        if kind == "SparseRows":
            matrix = SparseRows(matrix.data, matrix.indices, matrix.indptr, 6)
        model.learn_rows(matrix, objects(labels), data.w, columns=data.names)
    assert worst(model.weights, reference.weights) < 1e-12


def test_predictions_of_rows_are_those_of_dicts_and_come_back_in_kind():
    data, labels = stream(200, 5, seed=10)
    frame = pd.DataFrame(data.X, columns=data.names, index=range(100, 300))
    model = SoftmaxRegression()
    model.learn_rows(frame, objects(labels))
    each = [model.predict_proba_one(x) for x in data.dicts()]
    p = model.predict_proba_many(frame)
    assert list(p.columns) == list(model.labels_)
    assert list(p.index) == list(frame.index)
    assert p.to_numpy() == pytest.approx(np.array([list(row.values()) for row in each]), rel=1e-12)
    expected = [model.predict_one(x) for x in data.dicts()]
    assert model.predict_many(frame).tolist() == expected
    assert model.predict_many(scipy.sparse.csr_matrix(data.X), columns=data.names).tolist() == expected
    unknown = {**data.dicts()[0], "never": math.nan}
    assert model.predict_proba_one(unknown) == each[0]
    text = SoftmaxRegression()
    text.learn_rows(data.X, np.array(["a", "b"])[(data.y > 0).astype(int)])
    assert text.predict_many(data.X).dtype.kind == "U"


def test_before_the_first_label():
    model = SoftmaxRegression()
    assert model.predict_proba_one({"a": 1.0}) == {}
    assert model.predict_one({"a": 1.0}) is None
    assert model.predict_many(np.ones((2, 1))).tolist() == [None, None]
    assert model.predict_proba_many(np.ones((2, 1))).shape == (2, 0)
    assert (model.weights, model.labels_, model.intercept) == ({}, (), {})
    assert model.predict_learn_rows(np.ones((0, 1)), []).shape == (0, 0)
    model.learn_one({"a": 1.0}, "x", 0.0)
    model.learn_rows(np.ones((2, 1)), ["x", "y"], 0.0, columns=["a"])
    model.learn_many(np.ones((2, 1)), ["x", "y"], 0.0, columns=["a"])
    assert (model.weights, model.labels_) == ({}, ())
    model.learn_one({"a": 1.0}, "x")
    assert model.predict_proba_one({"a": 1.0}) == {"x": 1.0}
    assert model.predict_one({}) == "x"


def test_outputs_map_to_the_probabilities_before_each_update():
    data, labels = stream(100, 4, seed=11)
    model, twin = SoftmaxRegression(), SoftmaxRegression()
    z = model.predict_learn_rows(data.X, objects(labels), columns=data.names)
    p = model.loss.mean_func(z)
    assert z.shape == (100, 5)
    assert p[0].tolist() == [0.0] * 5
    for i, x in enumerate(data.dicts()):
        known = twin.predict_proba_one(x)
        assert p[i, : len(known)] == pytest.approx(list(known.values()), rel=1e-12)
        twin.learn_one(x, labels[i])


def test_labels_of_any_kind_keep_their_types():
    X = np.ones((6, 1))
    for labels in (
        ["b", "a", "c"],
        [2, 10, -1],
        [0.5, 1.5, 2.5],
        [True, False],
        [2**70, -1, 3],
        ["a", 1, b"c"],
    ):
        many, one = SoftmaxRegression(), SoftmaxRegression()
        ys = (labels * 3)[:6]
        many.learn_rows(X, ys)
        for y in ys:
            one.learn_one({0: 1.0}, y)
        assert many.labels_ == one.labels_ == tuple(labels)
        assert [type(k) for k in many.labels_] == [type(k) for k in labels]
    model = SoftmaxRegression()
    for y in (np.str_("a"), np.int64(3), np.bool_(True), 1, 1.0, True):
        model.learn_one({"f": 1.0}, y)
    assert [type(k) for k in model.labels_] == [str, int, bool]


def test_new_classes_and_features_compile_nothing():
    model = SoftmaxRegression()
    model.learn_one({0: 1.0}, "first")
    model.predict_one({0: 1.0})
    before = len(compilations)
    for k in range(150):
        model.learn_one({k: 1.0, -k: 0.5}, f"class {k}")
        assert model.predict_proba_one({k: 1.0}).keys() == set(model.labels_)
    model.learn_rows(np.eye(150), np.arange(150), columns=range(150))
    assert len(compilations) == before
    assert len(model.labels_) == 301
    assert all(len(row) == 299 for row in model.weights.values())


# -- bad input ---------------------------------------------------------------------------------

BAD: list[tuple[Any, Any, Any]] = [
    ({"a": math.nan}, "x", 1.0),
    ({"a": 1.0, "new": math.inf}, "x", 1.0),
    ({"a": None}, "y", 1.0),
    ({"a": "text"}, "new label", 1.0),
    ({"a": 9e149, "b": 9e149}, "x", 1.0),
    ({"a": 1e140}, "new label", 1e100),
    ({"a": 1.0}, None, 1.0),
    ({"a": 1.0}, math.nan, 1.0),
    ({"a": 1.0}, ["x"], 1.0),
    ({"a": 1.0}, ("x",), 1.0),
    ({"a": 1.0}, "x", -1.0),
    ({"a": 1.0}, "new label", math.nan),
    ([1.0], "x", 1.0),
]


@pytest.mark.parametrize(("x", "y", "w"), BAD, ids=[f"{i}" for i in range(len(BAD))])
def test_bad_samples_change_nothing(x, y, w):
    models = [SoftmaxRegression(optim.Adam(0.1), on_invalid=mode) for mode in ("raise", "skip")]
    for model in models:
        for label in ("x", "y"):
            model.learn_one({"a": 1.0, "b": 2.0}, label)
    before = state(models[0])
    with pytest.raises((ValueError, TypeError)):
        models[0].learn_one(x, y, w)
    models[1].learn_one(x, y, w)
    assert state(models[0]) == state(models[1]) == before
    assert models[1].n_invalid == 1
    if (
        w == 1.0
        and isinstance(y, str)
        and "new" not in x
        and not (isinstance(x, dict) and x.get("a") == 9e149)
    ):
        with pytest.raises((ValueError, TypeError)):
            models[0].predict_one(x)
        assert models[1].predict_one(x) is None
        assert models[1].predict_proba_one(x) == {}


ROWS = st.integers(0, 39)


@settings(max_examples=60)
@given(
    row=ROWS,
    what=st.sampled_from(["nan", "inf", "label", "weight", "huge"]),
    kind=st.sampled_from(["dense", "float32", "sparse"]),
    optimizer=st.sampled_from([optim.SGD(0.1), optim.Adam(0.1)]),
    skip=st.booleans(),
)
def test_a_bad_row_stops_there_or_is_left_out(row, what, kind, optimizer, skip):
    data, labels = stream(40, 4, seed=12)
    X, w, y = data.X.astype(np.float32).astype(float), data.w.copy(), list(labels)
    w[row] = 1.0
    if what == "label":
        y[row] = None
    elif what == "weight":
        w[row] = -1.0
    else:
        X[row, 2] = {"nan": np.nan, "inf": -np.inf, "huge": np.inf if kind == "float32" else 1e200}[what]
    rows: Any = (
        X.astype(np.float32) if kind == "float32" else scipy.sparse.csr_matrix(X) if kind == "sparse" else X
    )
    good = np.arange(40) != row if skip else np.arange(40) < row
    model = SoftmaxRegression(optimizer, on_invalid="skip" if skip else "raise")
    twin = SoftmaxRegression(optimizer)
    expected = twin.predict_learn_rows(
        rows[good], objects([v for v, g in zip(y, good, strict=True) if g]), w[good]
    )
    batch = SoftmaxRegression(optimizer, on_invalid=model.on_invalid)
    if skip:
        out = model.predict_learn_rows(rows, objects(y), w)
        assert np.isnan(out[row]).all()
        assert out[good].tolist() == expected.tolist()
        batch.learn_many(rows, objects(y), w)
        assert (model.n_invalid, batch.n_invalid) == (1, 1)
    else:
        with pytest.raises((ValueError, TypeError), match=f"row {row}: ") as caught:
            model.learn_rows(rows, objects(y), w)
        assert caught.value.row == row
        with pytest.raises((ValueError, TypeError), match=f"row {row}: ") as caught:
            model.predict_learn_rows(rows, objects(y), w) if row == 0 else batch.learn_many(
                rows, objects(y), w
            )
        assert state(batch) == state(SoftmaxRegression(optimizer))
    assert state(model) == state(twin)


def test_outputs_of_the_rows_before_a_bad_one():
    data, labels = stream(200, 4, seed=13)
    X = data.X.copy()
    X[100, 1] = np.nan
    model, twin = SoftmaxRegression(), SoftmaxRegression()
    with pytest.raises(ValueError, match="row 100: feature 1 is nan") as caught:
        model.predict_learn_rows(X, objects(labels))
    expected = twin.predict_learn_rows(X[:100], objects(labels[:100]))
    assert caught.value.outputs.tolist() == expected.tolist()
    assert state(model) == state(twin)
    with pytest.raises(ValueError, match="row 100"):
        model.predict_many(X)
    model.on_invalid = "skip"
    assert model.predict_many(X)[100] is None
    assert np.isnan(model.predict_proba_many(X)).any(axis=1).sum() == 1


# -- copies, files, parameters ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SGD", "L1", "Adam", "Normalized"])
def test_copies_and_files_go_on_to_the_bit(name, tmp_path):
    rows, _, w, _, labels = sparse_stream(300, 8, seed=14)
    model, _ = pair(name, {"red": 2.0, b"blue": 0.5})
    pairs = list(zip(rows, labels, w.tolist(), strict=True))
    for x, y, h in pairs[:150]:
        model.learn_one(x, y, h)
    streamgd.save(model, tmp_path / "m.safetensors")
    twins = [
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        model.clone(include_attributes=True),
        streamgd.load(tmp_path / "m.safetensors"),
    ]
    assert all(state(twin) == state(model) for twin in twins)
    assert all(repr(twin) == repr(model) for twin in twins)
    assert state(model.clone()) == state(pair(name)[0])
    for twin in (model, *twins):
        for x, y, h in pairs[150:]:
            twin.learn_one({**x, "late": 1.0}, y, h)
        twin.learn_one({"later": 1.0}, "a sixth class")
    assert all(state(twin) == state(model) for twin in twins)
    x = rows[0]
    assert all(twin.predict_proba_one(x) == model.predict_proba_one(x) for twin in twins)


def test_a_state_that_does_not_fit_is_refused():
    model = SoftmaxRegression()
    for y in "abc":
        model.learn_one({"f": 1.0}, y)
    for name, change in (
        ("_weights", lambda a: a[:, :2]),
        ("_weights", lambda a: a[:, 0]),
        ("_scalars", lambda a: a[:2]),
        ("_slots", lambda a: a[..., :1]),
        ("_weights", lambda a: a * np.nan),
    ):
        state_of = model.__getstate__()
        state_of[name] = change(state_of[name])
        with pytest.raises(ValueError, match=r"needs finite float64 of shape"):
            SoftmaxRegression.__new__(SoftmaxRegression).__setstate__(state_of)


def test_parameters_change_while_it_learns():
    data, labels = stream(200, 4, seed=15)
    ours = SoftmaxRegression(optim.SGD(0.1))
    rivers = river.linear_model.SoftmaxRegression(river.optim.SGD(0.1))
    for i, (x, y) in enumerate(zip(data.dicts(), labels, strict=True)):
        if i == 100:
            ours.l2 = rivers.l2 = 0.05
            ours.mutate({"optimizer": {"lr": 0.02}})
            for rule in rivers.optimizers.values():
                rule.lr = river.optim.schedulers.Constant(0.02)
            rivers.optimizer = river.optim.SGD(0.02)
            rivers.optimizers.default_factory = lambda: river.optim.SGD(0.02)
        ours.learn_one(x, y)
        rivers.learn_one(x, y)
    assert worst(ours.weights, rivers.weights) < 1e-9
    before = ours.weights
    ours.optimizer = optim.Adam(0.01)  # starts its own state, the weights stay
    assert (ours.weights, ours.n_updates, ours.n_samples) == (before, 0, 200)
    ours.learn_one(data.dicts()[0], labels[0])
    assert ours.n_updates == 1
    with pytest.raises(ValueError, match="l2"):
        ours.l2 = -1.0
    ours.loss = {"class_weight": {"red": 4.0}}
    assert ours.loss.weight("red") == 4.0


def test_debug_one_adds_up():
    data, labels = stream(50, 3, seed=16)
    model = SoftmaxRegression(intercept_lr=0.1)
    for x, y in zip(data.dicts(), labels, strict=True):
        model.learn_one(x, y)
    x = data.dicts()[0]
    lines = model.debug_one(x, decimals=12).splitlines()
    assert lines[0].split() == ["Name", "Value", *map(str, model.labels_)]
    cells = np.array([[float(c) for c in line.split()[2:]] for line in lines[1:]])
    p = list(model.predict_proba_one(x).values())
    assert scipy.special.softmax(cells.sum(axis=0)) == pytest.approx(p, rel=1e-9)


# -- inside river, and the compiled pass ---------------------------------------------------------


def models():
    yield SoftmaxRegression()
    yield preprocessing.StandardScaler() | SoftmaxRegression(optim.Adam(0.01), l1=1e-3, l2=1e-3)
    yield preprocessing.MinMaxScaler() | SoftmaxRegression(intercept_lr=0.1)


CHECKS = [
    pytest.param(model, check, id=f"{i}-{check.__name__}-{j}")
    for i, model in enumerate(models())
    for j, check in enumerate(checks.yield_checks(model))
    if check.__name__ not in model._unit_test_skips()
]


@pytest.mark.parametrize(("model", "check"), CHECKS)
def test_river_checks(model, check):
    check(model.clone())


@pytest.mark.parametrize(
    "build",
    [
        lambda m: preprocessing.StandardScaler() | m,
        lambda m: preprocessing.StandardScaler() | ensemble.BaggingClassifier(m, n_models=3, seed=1),
    ],
    ids=["scaler", "bagging"],
)
def test_gives_rivers_results_inside_rivers_wrappers(build):
    scores = [
        evaluate.progressive_val_score(
            datasets.ImageSegments().take(700), build(model), metrics.CrossEntropy()
        ).get()
        for model in (SoftmaxRegression(), river.linear_model.SoftmaxRegression())
    ]
    assert scores[0] == pytest.approx(scores[1], rel=1e-9)


def test_one_versus_rest_still_works_and_the_third_label_names_both_ways():
    model = preprocessing.StandardScaler() | multiclass.OneVsRestClassifier(linear_model.LogisticRegression())
    for x, y in datasets.ImageSegments().take(200):
        model.learn_one(x, y)
    assert len(model.predict_proba_one(x)) == 7
    binary = linear_model.LogisticRegression()
    binary.learn_one({"a": 1.0}, "x")
    binary.learn_one({"a": 1.0}, "y")
    with pytest.raises(
        ValueError, match=r"a third one .*; for more classes use SoftmaxRegression.*OneVsRest"
    ):
        binary.learn_one({"a": 1.0}, "z")
    assert issubclass(SoftmaxRegression, base.MiniBatchClassifier)


@pytest.mark.parametrize(
    "metric",
    [
        metrics.Accuracy,
        metrics.ConfusionMatrix,
        metrics.MacroF1,
        metrics.CrossEntropy,
        lambda: metrics.Accuracy() + metrics.WeightedRecall(),
    ],
)
@pytest.mark.parametrize("skip", [False, True], ids=["clean", "skip"])
def test_compiled_progressive_validation_is_rivers(metric, skip):
    data, labels = stream(400, 5, seed=17)
    X, y = data.X.copy(), [str(label) for label in labels]
    if skip:
        X[[3, 250], 1] = np.nan
    good = ~np.isnan(X).any(axis=1)
    model = SoftmaxRegression(on_invalid="skip" if skip else "raise")
    twin, expected = SoftmaxRegression(), metric()
    found = streamgd.evaluate.progressive_val_score((X, y), model, metric())
    rows = [dict(enumerate(row)) for row in X[good].tolist()]
    evaluate.progressive_val_score(list(zip(rows, np.array(y)[good].tolist(), strict=True)), twin, expected)
    assert str(found) == str(expected)
    assert state(model) == state(twin)


def test_steps_of_a_compiled_pass_have_the_last_prediction():
    data, labels = stream(150, 4, seed=18)
    y = [str(label) for label in labels]
    model, twin = SoftmaxRegression(), SoftmaxRegression()
    steps = list(
        streamgd.evaluate.iter_progressive_val_score(
            (data.X, y), model, metrics.CrossEntropy(), step=50, yield_predictions=True
        )
    )
    predictions = []
    for x, label in zip(data.X.tolist(), y, strict=True):
        predictions.append(twin.predict_proba_one(dict(enumerate(x))))
        twin.learn_one(dict(enumerate(x)), label)
    for step in steps:
        assert step["Prediction"] == pytest.approx(predictions[step["Step"] - 1], rel=1e-12)
