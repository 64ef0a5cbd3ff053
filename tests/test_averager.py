"""Averaged weights: predictions use the average that a plain loop over all weights makes."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest
import river.linear_model
import river.optim
import samples
import sklearn
import sklearn.linear_model
from oracles import FORMULA, record

import streamgd
from streamgd import linear_model, optim


class Averaged(naive.Linear):
    """The average over all weights after each update, and over the intercept, made explicitly."""

    def __init__(self, *args: Any, start: int = 0, gamma: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.start, self.gamma = start, gamma
        self.mean: dict[Any, float] = {}
        self.mean_intercept = self.intercept

    def learn(self, x: Any, y: float, h: float = 1.0) -> float:
        z = sum(self.mean.get(i, self.weights.get(i, 0.0)) * v for i, v in x.items()) + self.mean_intercept
        super().learn(x, y, h)
        if h:
            self.take()
        return z

    def take(self) -> None:
        k = self.updates - self.start
        share = (self.gamma + 1) / (self.gamma + k) if k > 0 else 1.0
        for i, w in self.weights.items():
            before = self.mean.get(i, 0.0)
            self.mean[i] = before + share * (w - before)
        self.mean_intercept += share * (self.intercept - self.mean_intercept)


OPTIONS = [{}, {"start": 100}, {"gamma": 8.0}, {"start": 7, "gamma": 2.5}]
OPTIMIZERS = {"SGD": 0.05, "Adam": 0.02}


def pair(name: str, options: dict[str, Any], **more: Any) -> tuple[Any, Averaged]:
    lr = OPTIMIZERS[name]
    model = linear_model.LogisticRegression(optim.Averager(getattr(optim, name)(lr), **options), **more)
    return model, Averaged(getattr(naive, name)(), naive.Log(), naive.constant(lr), **options, **more)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_dense_rows(name: str, options: dict[str, Any]) -> None:
    data = samples.dense(400, 5, binary=True, seed=1)
    model, plain = pair(name, options, l1=0.001, l2=0.01)
    expected = [plain.learn(x, float(y), h) for x, y, h in zip(data.dicts(), data.y, data.w, strict=True)]
    z = model.predict_learn_rows(data.X, data.y, data.w, columns=data.names)
    np.testing.assert_allclose(z, expected, rtol=1e-11, atol=1e-11)
    assert model.weights == pytest.approx(plain.mean, rel=1e-10, abs=1e-12)
    assert model.intercept == pytest.approx(plain.mean_intercept, rel=1e-11)
    record("Averager", FORMULA, "", float(np.max(np.abs(z - expected))))


@pytest.mark.parametrize("start", [0, 100])
def test_averages_are_those_of_scikit_learn(start: int) -> None:
    data = samples.dense(800, 6, binary=True, seed=7)
    ours = linear_model.LogisticRegression(optim.Averager(optim.SGD(0.05), start), intercept_lr=0.05)
    ours.learn_rows(data.X, data.y)
    options = {"penalty": None, "learning_rate": "constant", "eta0": 0.05, "shuffle": False}
    theirs = sklearn.linear_model.SGDClassifier("log_loss", average=start + 1, **options)  # the first one
    theirs.partial_fit(data.X, data.y, [False, True])
    found = np.array([*ours.weights.values(), ours.intercept])
    expected = np.array([*theirs.coef_[0], *theirs.intercept_])
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    record("Averager", "scikit-learn", sklearn.__version__, float(np.max(np.abs(found - expected))))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("way", ["dicts", "rows"])
def test_absent_weights_are_averaged_too(way: str, options: dict[str, Any]) -> None:
    rows, matrix, ys, ws, names = samples.sparse(400, 10, binary=True, seed=2)
    model, plain = pair("SGD", options)
    expected = [plain.learn(x, float(y), h) for x, y, h in zip(rows, ys, ws, strict=True)]
    if way == "rows":
        z = model.predict_learn_rows(matrix, ys, ws, columns=names).tolist()
    else:
        z = []
        for x, y, h in zip(rows, ys.tolist(), ws.tolist(), strict=True):
            p = model.predict_proba_one(x)[True]
            z.append(float(np.log(p / (1 - p))))
            model.learn_one(x, y, h)
    np.testing.assert_allclose(z, expected, rtol=1e-10, atol=1e-10)
    for i, w in model.weights.items():
        assert w == pytest.approx(plain.mean[i], rel=1e-10, abs=1e-12)


def test_mini_batches() -> None:
    data = samples.dense(120, 4, binary=True, seed=3)
    model, plain = pair("SGD", {"start": 2})
    rows = data.dicts()
    for i in range(0, 120, 12):
        part = slice(i, i + 12)
        model.learn_many(data.X[part], data.y[part], data.w[part], columns=data.names)
        plain.learn_many(rows[part], data.y[part].astype(float).tolist(), data.w[part].tolist())
        plain.take()
    assert model.weights == pytest.approx(plain.mean, rel=1e-11)
    assert model.intercept == pytest.approx(plain.mean_intercept, rel=1e-11)


def test_the_average_is_closer_to_the_optimum() -> None:
    """What it is for: with a constant rate the last weights wander about, and their average does not."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(20_000, 5))
    truth = np.arange(1.0, 6.0)
    y = X @ truth + 3.0 * rng.normal(size=len(X))
    distance = {}
    for name, optimizer in (("last", optim.SGD(0.02)), ("mean", optim.Averager(optim.SGD(0.02), 500))):
        model = linear_model.LinearRegression(optimizer)
        model.learn_rows(X, y)
        distance[name] = np.linalg.norm(np.array(list(model.weights.values())) - truth)
    assert distance["mean"] < distance["last"] / 4


def test_rivers_averager_has_no_effect_and_ours_has() -> None:
    data = samples.dense(300, 3, binary=True, seed=5)
    plain = river.linear_model.LogisticRegression(river.optim.SGD(0.1))
    theirs = river.linear_model.LogisticRegression(river.optim.Averager(river.optim.SGD(0.1)))
    ours = linear_model.LogisticRegression(river.optim.Averager(river.optim.SGD(0.1), 20))
    assert ours.optimizer == optim.Averager(optim.SGD(0.1), 20)
    for x, y in zip(data.dicts(), data.y.tolist(), strict=True):
        for model in (plain, theirs, ours):
            model.learn_one(x, y)
    assert dict(theirs.weights) == dict(plain.weights)
    assert ours.weights != pytest.approx(dict(plain.weights), rel=1e-3)


@pytest.mark.parametrize("way", ["pickle", "deepcopy", "save", "clone"])
def test_a_copy_goes_on_where_it_was(way: str, tmp_path: Path) -> None:
    data = samples.dense(100, 3, binary=True, seed=6)
    whole, first = (
        linear_model.LogisticRegression(optim.Averager(optim.Adam(0.02), 10), intercept_lr="optimizer")
        for _ in range(2)
    )
    z = whole.predict_learn_rows(data.X, data.y)
    first.learn_rows(data.X[:40], data.y[:40])
    if way == "pickle":
        second = pickle.loads(pickle.dumps(first))
    elif way == "deepcopy":
        second = copy.deepcopy(first)
    elif way == "save":
        streamgd.save(first, tmp_path / "model.safetensors")
        second = streamgd.load(tmp_path / "model.safetensors")
    else:
        second = first.clone(include_attributes=True)
    assert second.weights == first.weights
    assert second.predict_learn_rows(data.X[40:], data.y[40:]).tolist() == z[40:].tolist()
    assert second.intercept == whole.intercept


def test_the_intercept_can_be_set() -> None:
    model, _ = pair("SGD", {})
    model.learn_rows(np.ones((30, 2)), [True, False, True] * 10)
    model.intercept = 0.25
    assert model.intercept == pytest.approx(0.25, rel=1e-15)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.Averager(optim.Normalized()), "Normalized does not predict with stored weights"),
        (lambda: optim.Averager(optim.Averager(optim.SGD())), "Averager does not predict"),
        (lambda: optim.Averager(optim.SGD(), -1), "start must be at least 0"),
        (lambda: optim.Averager(optim.SGD(), gamma=-1.0), r"gamma must be in \[0, 20\]"),
        (
            lambda: linear_model.LinearRegression(
                optim.Averager(optim.SGD()), penalty=optim.penalties.Proximal(l1=0.1)
            ),
            "Proximal shrinks absent weights, which Averager cannot follow",
        ),
    ],
)
def test_what_cannot_be_averaged(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
