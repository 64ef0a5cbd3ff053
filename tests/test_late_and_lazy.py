"""What falls on features that are absent or appear late: lazy penalties, own counts, the intercept as one."""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from typing import Any

import naive
import numpy as np
import pytest
import samples
from oracles import FORMULA, record

from streamgd import linear_model, optim
from streamgd.optim import penalties

# -- penalties on all features, brought up to date when read -----------------------------------


class Everywhere(naive.Linear):
    """After each update a penalty changes every weight of the model, present or absent."""

    def __init__(self, penalize: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.penalize = penalize

    def _move(self, gradient: naive.Row, slope: float, n: int) -> None:
        lr = self.lr(self.updates, self.samples)
        super()._move(gradient, slope, n)
        for i, w in self.weights.items():
            self.weights[i] = self.penalize(w, lr, self.updates)


def proximal(l1: float, l2: float) -> Any:
    return lambda w, lr, k: math.copysign(max(0.0, abs(w) - lr * l1) / (1 + lr * l2), w)


def truncated(l1: float, every: int, theta: float) -> Any:
    def penalize(w: float, lr: float, k: int) -> float:
        if k % every or abs(w) > (theta or math.inf):
            return w
        return math.copysign(max(0.0, abs(w) - every * lr * l1), w)

    return penalize


PENALTIES = [
    (penalties.Proximal(l1=0.02), proximal(0.02, 0.0)),
    (penalties.Proximal(l2=0.3), proximal(0.0, 0.3)),
    (penalties.Proximal(0.01, 0.1), proximal(0.01, 0.1)),
    (penalties.TruncatedGradient(0.02), truncated(0.02, 1, 0.0)),
    (penalties.TruncatedGradient(0.02, every=7, theta=0.25), truncated(0.02, 7, 0.25)),
]
every_penalty = pytest.mark.parametrize(("penalty", "penalize"), PENALTIES, ids=lambda v: str(v)[:30])


def pair(penalty: Any, penalize: Any, **more: Any) -> tuple[Any, Everywhere]:
    schedule = optim.schedulers.InverseScaling(0.2, 0.3)
    model = linear_model.LinearRegression(optim.SGD(schedule), penalty=penalty, **more)

    def lr(updates: int, samples: int) -> float:
        return float(0.2 / (updates + 1) ** 0.3)

    return model, Everywhere(penalize, naive.SGD(), naive.Squared(), lr)


@every_penalty
@pytest.mark.parametrize("way", ["dicts", "rows", "dense"])
def test_lazy_forms_equal_the_dense_computation(penalty: Any, penalize: Any, way: str) -> None:
    model, plain = pair(penalty, penalize)
    if way == "dense":
        data = samples.dense(400, 6, binary=False, seed=1)
        expected = [plain.learn(x, y, h) for x, y, h in zip(data.dicts(), data.y, data.w, strict=True)]
        z = model.predict_learn_rows(data.X, data.y, data.w, columns=data.names).tolist()
    else:
        rows, matrix, ys, ws, names = samples.sparse(400, 10, binary=False, seed=2)
        expected = [plain.learn(x, y, h) for x, y, h in zip(rows, ys, ws, strict=True)]
        z = []
        if way == "rows":
            z = model.predict_learn_rows(matrix, ys, ws, columns=names).tolist()
        for x, y, h in zip(rows, ys.tolist(), ws.tolist(), strict=True) if way == "dicts" else []:
            z.append(model.predict_one(x))
            model.learn_one(x, y, h)
    np.testing.assert_allclose(z, expected, rtol=1e-11, atol=1e-11)
    for i, w in model.weights.items():
        assert w == pytest.approx(plain.weights[i], rel=1e-11, abs=1e-13)
    record(type(penalty).__name__, FORMULA, "", float(np.max(np.abs(np.subtract(z, expected)))))


@pytest.mark.parametrize(
    "penalty", [penalties.Proximal(l1=2.0), penalties.TruncatedGradient(2.0, every=10, theta=1.0)], ids=repr
)
def test_useless_weights_become_exactly_zero(penalty: Any) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 10))
    y = 3 * X[:, 0] - 2 * X[:, 1] + 0.1 * rng.normal(size=3000)
    model = linear_model.LinearRegression(optim.SGD(0.01), penalty=penalty)
    model.learn_rows(X, y)
    assert [k for k, w in model.weights.items() if abs(w) > 0.1] == [0, 1]
    assert sum(w == 0.0 for w in model.weights.values()) >= 2  # the last row has just moved the others


@every_penalty
def test_mini_batches_and_columns_in_another_order(penalty: Any, penalize: Any) -> None:
    data = samples.dense(300, 5, binary=False, seed=3)
    model, plain = pair(penalty, penalize)
    rows = data.dicts()
    for i in range(0, 300, 30):
        part, columns = slice(i, i + 10), [4, 0, 2]
        some = [data.names[k] for k in columns]
        model.learn_many(data.X[part], data.y[part], columns=data.names)
        plain.learn_many(rows[part], data.y[part].tolist(), [1.0] * 10)
        part = slice(i + 10, i + 30)
        model.learn_rows(data.X[part][:, columns], data.y[part], columns=some)
        for x, y in zip(rows[part], data.y[part].tolist(), strict=True):
            plain.learn({name: x[name] for name in some}, y)
    for i, w in model.weights.items():
        assert w == pytest.approx(plain.weights[i], rel=1e-11, abs=1e-13)


@pytest.mark.parametrize("subset", [False, True])
@pytest.mark.parametrize(
    ("penalty", "penalize"),
    [
        (penalties.Proximal(20.0, 30.0), proximal(20.0, 30.0)),
        (penalties.Proximal(l1=50.0), proximal(50.0, 0.0)),
        (penalties.TruncatedGradient(300.0, every=3, theta=40.0), truncated(300.0, 3, 40.0)),
    ],
)
def test_totals_are_folded_in_before_they_lose_precision(penalty: Any, penalize: Any, subset: bool) -> None:
    """Strong penalties on large targets: the totals fill up many times, also while a job has copies."""
    data = samples.dense(1500, 4, binary=False, seed=4)
    y = data.y * 1e3
    model, plain = pair(penalty, penalize)
    folds = []
    fold = model._fold_penalty
    object.__setattr__(model, "_fold_penalty", lambda *a: (folds.append(a), fold(*a)))
    expected = []
    for i, (x, t) in enumerate(zip(data.dicts(), y.tolist(), strict=True)):
        part = {"x2": x["x2"], "x0": x["x0"]} if subset and i >= 100 else x
        expected.append(plain.learn(part, t))
    z = model.predict_learn_rows(data.X[:100], y[:100], columns=data.names).tolist()
    rest, columns = (data.X[100:][:, [2, 0]], ["x2", "x0"]) if subset else (data.X[100:], data.names)
    z += model.predict_learn_rows(rest, y[100:], columns=columns).tolist()
    assert len(folds) >= 2
    np.testing.assert_allclose(z, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())
    for name, w in model.weights.items():
        assert w == pytest.approx(plain.weights[name], rel=1e-9, abs=1e-9)


def test_another_penalty_takes_over_weights_as_they_are() -> None:
    data = samples.dense(300, 4, binary=False, seed=5)
    model = linear_model.LinearRegression(optim.SGD(0.05), penalty=penalties.Proximal(0.01, 0.1))
    model.learn_rows(data.X[:100], data.y[:100])
    before = model.weights
    for penalty in (None, penalties.TruncatedGradient(0.05, every=2), penalties.ElasticNet(0.01)):
        model.penalty = penalty
        assert model.weights == pytest.approx(before, rel=1e-14)
        clone = model.clone(include_attributes=True)
        model.learn_rows(data.X[100:], data.y[100:])
        clone.learn_rows(data.X[100:], data.y[100:])
        assert clone.weights == model.weights
        before = model.weights


def test_copies_have_the_totals() -> None:
    rows, _, ys, _, _ = samples.sparse(200, 8, binary=False, seed=6)
    model, _ = pair(*PENALTIES[2])
    for x, y in zip(rows[:100], ys.tolist(), strict=False):
        model.learn_one(x, y)
    again = copy.deepcopy(model)
    assert again.weights == model.weights
    for x, y in zip(rows[100:], ys[100:].tolist(), strict=True):
        again.learn_one(x, y)
        model.learn_one(x, y)
    assert again.weights == model.weights


def test_penalty_beside_l1_or_l2_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"penalty=Proximal.* beside l1=0.1 and l2=0"):
        linear_model.LinearRegression(l1=0.1, penalty=penalties.Proximal())
    with pytest.raises(TypeError, match="is not a penalty"):
        linear_model.LinearRegression(penalty=0.1)


# -- features that appear late -----------------------------------------------------------------


class OwnCounts(naive.Linear):
    """Each feature counts its updates, and owes L1, from its own first appearance."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.counts: dict[Any, int] = defaultdict(int)
        self.start: dict[Any, float] = {}

    def _move(self, gradient: naive.Row, slope: float, n: int) -> None:
        lr = self.lr(self.updates, self.samples)
        self.intercept -= self.intercept_lr(self.updates, self.samples) * slope
        before = self.total
        self.total += self.l1 * self.lr(self.updates + 1, self.samples + 1)
        for i, g in gradient.items():
            self.counts[i] += 1
            owed = self.total - self.start.setdefault(i, before)
            old = self.weights[i]
            w = self.optimizer.step(i, old, g + self.l2 * old, lr, self.counts[i])
            if self.l1:
                down, up = w - (owed + self.charged[i]), w + (owed - self.charged[i])
                new = max(0.0, down) if w > 0 else min(0.0, up) if w < 0 else w
                self.charged[i] += new - w
                w = new
            self.weights[i] = w
        self.updates += 1
        self.samples += n


@pytest.mark.parametrize(
    ("name", "l1", "l2"), [("Adam", 0.0, 0.01), ("Adam", 0.002, 0.0), ("SGD", 0.01, 0.0)]
)
@pytest.mark.parametrize("way", ["dicts", "rows"])
def test_fresh_features_count_for_themselves(name: str, l1: float, l2: float, way: str) -> None:
    rows, matrix, ys, ws, names = samples.sparse(500, 10, binary=False, seed=7)
    optimizer = getattr(optim, name)(0.05)
    model = linear_model.LinearRegression(optimizer, l1=l1, l2=l2, late="fresh")
    plain = OwnCounts(getattr(naive, name)(), naive.Squared(), naive.constant(0.05), l1=l1, l2=l2)
    expected = [plain.learn(x, y, h) for x, y, h in zip(rows, ys, ws, strict=True)]
    if way == "rows":
        z = model.predict_learn_rows(matrix, ys, ws, columns=names).tolist()
    else:
        z = []
        for x, y, h in zip(rows, ys.tolist(), ws.tolist(), strict=True):
            z.append(model.predict_one(x))
            model.learn_one(x, y, h)
    np.testing.assert_allclose(z, expected, rtol=1e-11, atol=1e-11)
    for i, w in model.weights.items():
        assert w == pytest.approx(plain.weights[i], rel=1e-10, abs=1e-13)
    record("LinearRegression, late='fresh'", FORMULA, "", float(np.max(np.abs(np.subtract(z, expected)))))


def test_the_first_step_of_a_late_feature() -> None:
    """Adam's is the rate if the feature counts for itself, and 3.16 times as much if the model counts."""
    steps = {}
    for late in ("global", "fresh"):
        model = linear_model.LinearRegression(optim.Adam(0.01), late=late, intercept_lr=0.0)
        for _ in range(20_000):
            model.learn_one({"a": 0.0}, 0.0)
        model.learn_one({"a": 0.0, "late": 1.0}, 1.0)
        steps[late] = model.weights["late"]
    assert steps["fresh"] == pytest.approx(0.01, rel=1e-6)
    assert steps["global"] == pytest.approx(0.01 * 0.1 / math.sqrt(0.001), rel=1e-6)


def test_late_is_global_or_fresh() -> None:
    with pytest.raises(ValueError, match="it is 'global' or 'fresh'"):
        linear_model.LinearRegression(late="never")  # type: ignore[arg-type]


# -- the intercept as a feature ----------------------------------------------------------------


@pytest.mark.parametrize(
    "optimizer", [optim.SGD(0.05), optim.AdaGrad(0.2), optim.Adam(0.02), optim.Averager(optim.SGD(0.05), 5)]
)
@pytest.mark.parametrize("late", ["global", "fresh"])
def test_an_intercept_of_the_optimizer_is_a_constant_feature(optimizer: Any, late: Any) -> None:
    data = samples.dense(300, 4, binary=True, seed=8)
    model = linear_model.LogisticRegression(optimizer, intercept_lr="optimizer", late=late)
    other = linear_model.LogisticRegression(optimizer, intercept_lr=0.0, late=late)
    X = np.column_stack([data.X, np.ones(len(data.X))])
    z = model.predict_learn_rows(data.X, data.y, data.w)
    np.testing.assert_allclose(other.predict_learn_rows(X, data.y, data.w), z, rtol=1e-11, atol=1e-12)
    model.learn_many(data.X[:50], data.y[:50])
    other.learn_many(X[:50], data.y[:50])
    *weights, constant = other.weights.values()
    assert list(model.weights.values()) == pytest.approx(weights, rel=1e-11)
    assert model.intercept == pytest.approx(constant, rel=1e-11)
