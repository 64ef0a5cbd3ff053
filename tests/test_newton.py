"""The online Newton step: river's where river runs, the matrix inverse everywhere."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pytest
import river
import river.linear_model
import river.optim
import samples
from numpy.typing import NDArray

import streamgd
from streamgd import linear_model, optim


class Plain:
    """Squared loss, with A itself, inverted at each step."""

    def __init__(self, p: int, lr: float, eps: float, intercept_lr: float = 0.01) -> None:
        self.A = eps * np.eye(p)
        self.w = np.zeros(p)
        self.intercept, self.lr, self.intercept_lr = 0.0, lr, intercept_lr

    def learn(self, x: NDArray[np.float64], y: float, h: float = 1.0) -> float:
        z = float(self.w @ x + self.intercept)
        if h:
            self.move(2 * h * (z - y) * x, 2 * h * (z - y))
        return z

    def move(self, g: NDArray[np.float64], slope: float) -> None:
        self.A += np.outer(g, g)
        self.w -= self.lr * np.linalg.solve(self.A, g)
        self.intercept -= self.intercept_lr * slope


def test_equals_river() -> None:
    data = samples.dense(1200, 6, binary=True, seed=1)
    schedule = (0.5, 0.1)
    ours = linear_model.LogisticRegression(optim.Newton(optim.schedulers.InverseScaling(*schedule), 1e-3))
    theirs = river.linear_model.LogisticRegression(
        river.optim.Newton(river.optim.schedulers.InverseScaling(*schedule), 1e-3)
    )
    difference = 0.0
    for x, y in zip(data.dicts(), data.y.tolist(), strict=True):
        p, q = ours.predict_proba_one(x)[True], theirs.predict_proba_one(x)[True]
        difference = max(difference, abs(p - q))
        ours.learn_one(x, y)
        theirs.learn_one(x, y)
    assert difference < 1e-9
    assert ours.weights == pytest.approx(dict(theirs.weights), rel=1e-8)
    oracles.record("Newton", "river", river.__version__, difference)


def test_defaults_are_rivers() -> None:
    assert optim.Newton().eps == river.optim.Newton().eps
    assert optim.Newton().scheduler.get(0) == river.optim.Newton().learning_rate
    assert linear_model.LinearRegression(river.optim.Newton(0.3)).optimizer == optim.Newton(0.3)


@pytest.mark.parametrize("way", ["dicts", "rows"])
def test_absent_and_late_features(way: str) -> None:
    rows, matrix, ys, ws, names = samples.sparse(300, 25, binary=False, seed=2)
    model, plain = linear_model.LinearRegression(optim.Newton(0.5, 0.1)), Plain(25, 0.5, 0.1)
    dense = np.array([[x.get(name, 0.0) for name in names] for x in rows])
    expected = [plain.learn(x, y, h) for x, y, h in zip(dense, ys, ws, strict=True)]
    if way == "rows":
        z = model.predict_learn_rows(matrix, ys, ws, columns=names).tolist()
    else:
        z = []
        for x, y, h in zip(rows, ys.tolist(), ws.tolist(), strict=True):
            z.append(model.predict_one(x))
            model.learn_one(x, y, h)
    np.testing.assert_allclose(z, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_columns_in_another_order_and_mini_batches(dtype: Any) -> None:
    data = samples.dense(200, 5, binary=False, seed=3)
    X = data.X.astype(dtype)
    model, plain = linear_model.LinearRegression(optim.Newton(0.5, 0.1)), Plain(5, 0.5, 0.1)
    model.learn_rows(X[:50], data.y[:50], columns=data.names)
    for x, y in zip(X[:50].astype(float), data.y, strict=False):
        plain.learn(x, y)
    for begin, chosen in ((50, [3, 0, 1]), (100, [4, 3, 2, 1, 0]), (150, [0, 1, 2, 3, 4])):
        columns = [data.names[k] for k in chosen]
        part = np.zeros((25, 5))
        part[:, chosen] = X[begin : begin + 25][:, chosen]
        model.learn_rows(X[begin : begin + 25][:, chosen], data.y[begin : begin + 25], columns=columns)
        for x, y in zip(part, data.y[begin:], strict=False):
            plain.learn(x, y)
        rest = slice(begin + 25, begin + 50)
        part[:, chosen] = X[rest][:, chosen]
        model.learn_many(X[rest][:, chosen], data.y[rest], columns=columns)
        slopes = 2 * (part @ plain.w + plain.intercept - data.y[rest])
        plain.move((slopes[:, None] * part).mean(axis=0), slopes.mean())
    assert list(model.weights.values()) == pytest.approx(plain.w.tolist(), rel=1e-8)
    assert model.intercept == pytest.approx(plain.intercept, rel=1e-9)


@pytest.mark.parametrize("way", ["pickle", "deepcopy", "save", "clone"])
def test_a_copy_goes_on_where_it_was(way: str, tmp_path: Path) -> None:
    rows, _, ys, _, _ = samples.sparse(120, 30, binary=False, seed=4)  # more features than the first 16
    whole, first = (linear_model.LinearRegression(optim.Newton(0.5, 0.1)) for _ in range(2))
    for i, (x, y) in enumerate(zip(rows, ys.tolist(), strict=True)):
        whole.learn_one(x, y)
        if i < 50:
            first.learn_one(x, y)
    if way == "pickle":
        second = pickle.loads(pickle.dumps(first))
    elif way == "deepcopy":
        second = copy.deepcopy(first)
    elif way == "save":
        streamgd.save(first, tmp_path / "model.safetensors")
        second = streamgd.load(tmp_path / "model.safetensors")
    else:
        second = first.clone(include_attributes=True)
    for x, y in zip(rows[50:], ys[50:].tolist(), strict=True):
        second.learn_one(x, y)
    assert second.weights == pytest.approx(whole.weights, rel=1e-12)


def test_another_optimizer_and_back() -> None:
    data = samples.dense(60, 20, binary=False, seed=5)
    model = linear_model.LinearRegression(optim.SGD(0.01))
    model.learn_rows(data.X, data.y)
    model.optimizer = optim.Newton(0.5)
    model.learn_rows(data.X, data.y)
    assert np.isfinite(list(model.weights.values())).all()
    assert model._slots.shape[0] == model._slots.shape[1]
    model.optimizer = optim.Adam(0.01)
    model.learn_rows(data.X, data.y)
    assert model.n_updates == 60


def test_what_newton_does_not_take() -> None:
    with pytest.raises(ValueError, match="Newton takes no l1 or l2 penalty"):
        linear_model.LinearRegression(optim.Newton(), l2=0.1)
    with pytest.raises(ValueError, match="give the samples a constant feature"):
        linear_model.LinearRegression(optim.Newton(), intercept_lr="optimizer")
    with pytest.raises(ValueError, match="Newton does not predict with stored weights"):
        optim.Averager(optim.Newton())
