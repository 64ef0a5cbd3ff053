"""Fleets: each member is the learner that it would be alone, whatever shares its pass."""

from __future__ import annotations

import copy
import itertools
import pickle
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
import river.linear_model
import river.optim
import samples
import sklearn.metrics
from cases import COVERING, EACH, Case
from hypothesis import given, settings
from hypothesis import strategies as st

import streamgd
from streamgd import _threads, cuda, linear_model, optim
from streamgd.kernels import fleet as kernels
from streamgd.optim import initializers, penalties, schedulers
from streamgd.optim.base import Loss

NUMBERS = {"clip_gradient": [1e12, 0.4], "intercept_init": [0.0, 0.7]}


def points(**values: list[Any]) -> list[dict[str, Any]]:
    """Make the product of some values by plain loops."""
    made: list[dict[str, Any]] = [{}]
    for name, choices in values.items():
        made = [point | {name: choice} for point in made for choice in choices]
    return made


def state(model: Any) -> dict[str, Any]:
    """Return all that a learner has learned."""
    pickled = model.__getstate__()
    return {name: pickled[name].tolist() for name in ("_weights", "_slots", "_charged", "_scalars")} | {
        "features": pickled["_features"],
        "labels": model._targets.known,
        "n_invalid": model.n_invalid,
    }


def assert_equal(fleet: cuda.Fleet, learners: list[Any]) -> None:
    for m, learner in enumerate(learners):
        assert state(fleet[m]) == state(learner)
        assert fleet[m].learning_rate == learner.learning_rate
    assert fleet.n_updates.tolist() == [model.n_updates for model in learners]
    assert fleet.n_samples.tolist() == [model.n_samples for model in learners]


def learn(learners: list[Any], *rows: Any, **options: Any) -> Any:
    return np.stack([model.predict_learn_rows(*rows, **options) for model in learners], axis=1)


# -- a grid over one stream --------------------------------------------------------------------


# One for each optimizer: of the other combinations kernels are made in the same way.
OPTIMIZERS = {case.optimizer: case for case in [*EACH, *COVERING]}


QUICK = {"SGD", "AdaGrad", "Adam", "Momentum", "NesterovMomentum", "FTRLProximal", "ScheduleFreeSGD", "DoG"}
QUICK |= {
    "Normalized",
    "Coin",
    "ScInOL1",
}  # the others have kernels of their own to compile, made in the same way


def marked(case: Case) -> Any:
    return pytest.param(case, marks=[] if case.optimizer in QUICK else pytest.mark.slow, id=str(case))


@pytest.mark.parametrize("case", [marked(case) for case in OPTIMIZERS.values()])
def test_members_are_the_learners_that_they_would_be_alone(case: Case):
    X, y, w, names = samples.dense(160, 5, binary=case.binary, seed=3)
    model = case.ours()
    grid = NUMBERS | ({"optimizer.lr": [0.01, 0.03]} if isinstance(case.lr, float) and case.cls.__name__ in (
        "SGD", "AdaGrad", "Adam") else {})  # fmt: skip
    fleet = cuda.Fleet(model, grid)
    learners = []
    for point in points(**grid):
        changes = {name: value for name, value in point.items() if "." not in name}
        if "optimizer.lr" in point:
            changes["optimizer"] = model.optimizer.replace(lr=point["optimizer.lr"])
        learners.append(model.clone(changes))
    assert [fleet.params(m) for m in range(len(fleet))] == points(**grid)
    for part in (slice(0, 90), slice(90, 160)):
        z = fleet.predict_learn_rows(X[part], y[part], w[part], columns=names)
        assert z.tolist() == learn(learners, X[part], y[part], w[part], columns=names).tolist()
    assert_equal(fleet, learners)
    member = fleet[1]
    member.learn_rows(X, y, columns=names)
    learners[1].learn_rows(X, y, columns=names)
    assert state(member) == state(learners[1])


VARIANTS = {
    "average": {"optimizer": optim.Averager(optim.SGD(0.05), start=20, gamma=2.0)},
    "intercept": {"optimizer": optim.Adam(0.02), "intercept_lr": "optimizer"},
    "fresh": {"optimizer": optim.Adam(0.02), "late": "fresh", "l1": 0.001},
    "proximal": {"optimizer": optim.SGD(0.05), "penalty": penalties.Proximal(0.01, 0.02)},
    # (1 + 0.05 * 100) ** 129 is beyond 1e100: totals are folded in on the way
    "folded": {"optimizer": optim.SGD(0.05), "penalty": penalties.Proximal(0.001, 100.0)},
    "truncated": {"optimizer": optim.SGD(0.05), "penalty": penalties.TruncatedGradient(0.01, every=7)},
    "initial": {"optimizer": optim.AdaGrad(0.05), "initializer": initializers.Normal(0.0, 0.3, seed=4)},
    "schedule": {"optimizer": optim.SGD(schedulers.CosineAnnealing(0.1, 120)), "intercept_lr": 0.2},
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_so_in_every_mode(name: str):
    binary = list(VARIANTS).index(name) % 2 == 0
    X, y, w, names = samples.dense(300, 6, binary=binary, seed=5)
    cls = linear_model.LogisticRegression if binary else linear_model.LinearRegression
    model = cls(**VARIANTS[name])
    fleet = cuda.Fleet(model, {"clip_gradient": [1e12, 0.5]})
    learners = [model.clone({"clip_gradient": clip}) for clip in (1e12, 0.5)]
    # Columns that appear later, and rows with some of the columns, in another order.
    for part, k in ((slice(0, 200), [0, 1, 2]), (slice(200, 260), range(6)), (slice(260, 300), [4, 0, 2])):
        named = {"columns": [names[j] for j in k]}
        z = fleet.predict_learn_rows(X[part][:, k], y[part], w[part], **named)
        expected = learn(learners, X[part][:, k], y[part], w[part], **named)
        np.testing.assert_allclose(z, expected, rtol=1e-11, atol=1e-13)
    for m, learner in enumerate(learners):
        weights = [fleet[m].weights[name] for name in names]
        expected = [learner.weights[name] for name in names]
        np.testing.assert_allclose(weights, expected, rtol=1e-11, atol=1e-13)
        assert fleet[m].intercept == pytest.approx(learner.intercept, rel=1e-11)


def test_penalties_are_folded_in_where_learners_do_it(monkeypatch: pytest.MonkeyPatch):
    folded = []
    fold = linear_model.LinearRegression._fold_penalty
    monkeypatch.setattr(
        linear_model.LinearRegression, "_fold_penalty", lambda *a: (folded.append(1), fold(*a))[1]
    )
    X, y, _, _ = samples.dense(300, 4, binary=False, seed=5)
    learner = linear_model.LinearRegression(**VARIANTS["folded"])
    fleet = cuda.Fleet(learner)
    learner.learn_rows(X, y)
    fleet.learn_rows(X, y)
    assert folded
    np.testing.assert_allclose(list(fleet[0].weights.values()), list(learner.weights.values()), rtol=1e-12)


@pytest.mark.parametrize("cls", [linear_model.LinearSVC, linear_model.Perceptron, linear_model.PAClassifier])
def test_other_learners(cls: Any):
    X, y, w, _ = samples.dense(200, 4, binary=True, seed=8)
    fleet, learner = cuda.Fleet(cls()), cls()
    fleet.learn_rows(X, y, w)
    learner.learn_rows(X, y, w)
    assert_equal(fleet, [learner])


@dataclass(frozen=True)
class Cube(Loss):
    """The third power of the distance, a loss of the user's own."""

    scale: float = 1.0

    def value(self, y: float, p: float) -> float:
        return self.scale * abs(p - y) ** 3

    def gradient(self, y: float, p: float) -> float:
        return 3.0 * self.scale * (p - y) * abs(p - y)


def test_frames_and_losses_of_the_users_own():
    X, y, _, names = samples.dense(100, 3, binary=False, seed=2)
    frame = pd.DataFrame(X, columns=names)
    model = linear_model.LinearRegression(optim.SGD(0.01), loss=Cube(), clip_gradient=3.0)
    fleet = cuda.Fleet(model, {"loss.scale": [0.5, 1.0]})
    z = fleet.predict_learn_rows(frame, pd.Series(y))
    learners = [model.clone({"loss": Cube(scale)}) for scale in (0.5, 1.0)]
    assert z.tolist() == learn(learners, frame, y).tolist()
    assert_equal(fleet, learners)
    losses = [np.mean(scale * np.abs(z[:, m] - y) ** 3) for m, scale in enumerate((0.5, 1.0))]
    assert fleet.metrics["loss"] == pytest.approx(losses)
    assert fleet.predict_many(frame)[:, 1].tolist() == learners[1].predict_many(X, columns=names).tolist()


def test_a_member_is_rivers_model():
    X, y, _, names = samples.dense(400, 5, binary=True, seed=2)
    fleet = cuda.Fleet(linear_model.LogisticRegression(), {"optimizer.lr": [0.01, 0.1], "l2": [0.0, 0.1]})
    for x, label in zip(samples.dense(400, 5, binary=True, seed=2).dicts(), y.tolist(), strict=True):
        fleet.learn_one(x, label)
    for m, point in enumerate(points(lr=[0.01, 0.1], l2=[0.0, 0.1])):
        theirs = river.linear_model.LogisticRegression(river.optim.SGD(point["lr"]), l2=point["l2"])
        for x, label in zip(X.tolist(), y.tolist(), strict=True):
            theirs.learn_one(dict(zip(names, x, strict=True)), label)
        assert fleet[m].weights == pytest.approx(dict(theirs.weights), rel=1e-9)
        assert fleet[m].intercept == pytest.approx(theirs.intercept, rel=1e-9)


def test_dicts_with_absent_and_late_features():
    rows, _, y, w, _ = samples.sparse(150, 8, binary=False, seed=6)
    model = linear_model.LinearRegression(optim.AdaGrad(0.1), l1=0.001)
    fleet = cuda.Fleet(model, {"l1": [0.001, 0.01]})
    learners = [model.clone({"l1": l1}) for l1 in (0.001, 0.01)]
    for x, target, weight in zip(rows, y.tolist(), w.tolist(), strict=True):
        fleet.learn_one(x, target, weight)
        for learner in learners:
            learner.learn_one(x, target, weight)
    for m, learner in enumerate(learners):
        assert fleet[m].weights == pytest.approx(learner.weights, rel=1e-12)
        assert fleet[m].n_updates == learner.n_updates


@pytest.mark.parametrize(
    ("cls", "y", "w"),
    [
        (linear_model.LinearRegression, np.nan, 1.0),
        (linear_model.LinearRegression, "q", 1.0),
        (linear_model.LinearRegression, 1.0, -1.0),
        (linear_model.LogisticRegression, None, 1.0),
        (linear_model.LogisticRegression, (1, 2), 1.0),
    ],
)
def test_one_sample_is_refused_in_the_words_of_learners(cls: Any, y: Any, w: float):
    errors = []
    for learns in (
        cls().learn_one,
        cuda.Fleet(cls()).learn_one,
        partial(cuda.KeyedFleet(cls()).learn_one, 0),
    ):
        with pytest.raises((ValueError, TypeError)) as caught:
            learns({"a": 1.0}, y, w)
        errors.append((type(caught.value), str(caught.value), caught.value.row))
    assert errors[1:] == errors[:1] * 2


def test_one_sample_is_skipped_where_learners_do():
    learner = linear_model.LinearRegression(on_invalid="skip")
    fleet, keyed = cuda.Fleet(learner, {"l2": [0.0, 0.1]}), cuda.KeyedFleet(learner)
    good = {"a": 1.0}
    for x, y, w in [
        (good, 1.0, 1.0), ({"a": np.nan}, 1.0, 1.0), ({"a": "b"}, 1.0, 1.0), (good, np.nan, 1.0),
        (good, "b", 1.0), (good, 1.0, -1.0), ([1.0], 1.0, 1.0), (good, 2.0, 1.0),
    ]:  # fmt: skip
        for one in (learner, fleet, partial(keyed.learn_one, 0)):
            getattr(one, "learn_one", one)(x, y, w)
        assert fleet.n_invalid.tolist() == [learner.n_invalid] * 2
        assert keyed.n_invalid.tolist() == [learner.n_invalid]
    assert learner.n_invalid == 6
    assert state(fleet[0]) == state(keyed[0]) == state(learner)
    keyed.learn_one("new", {"a": np.nan}, 1.0)
    assert (keyed["new"].n_invalid, keyed.n_samples.tolist()) == (1, [2, 0])


def test_predictions_are_those_of_members():
    X, y, _, names = samples.dense(200, 5, binary=True, seed=2)
    labels = np.where(y, "yes", "no")
    fleet = cuda.Fleet(linear_model.LogisticRegression(), {"optimizer.lr": [0.01, 0.1]})
    fleet.learn_rows(X[:, :4], labels, columns=names[:4])
    before = state(fleet[0])
    assert fleet.clone().predict_many(X).tolist() == [[False, False]] * 200
    predicted = fleet.predict_many(X, columns=names)  # the last column is not known
    for m in range(2):
        assert predicted[:, m].tolist() == fleet[m].predict_many(X, columns=names).tolist()
    assert state(fleet[0]) == before
    assert fleet.metrics["accuracy"].tolist() == copy.deepcopy(fleet).metrics["accuracy"].tolist()
    counts = linear_model.LinearRegression(optim.SGD(0.01), loss=optim.losses.Poisson())
    fleet = cuda.Fleet(counts, {"optimizer.lr": [0.01, 0.02]})
    fleet.learn_rows(X, np.arange(200) % 3)
    predicted = fleet.predict_many(X)
    for m in range(2):
        assert predicted[:, m].tolist() == fleet[m].predict_many(X).tolist()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_metrics_are_those_of_the_outputs_made_before(dtype: str):
    X, y, w, _ = samples.dense(500, 4, binary=True, seed=7)
    learned = w > 0
    fleet = cuda.Fleet(linear_model.LogisticRegression(), {"optimizer.lr": [0.01, 0.1, 0.3]}, dtype=dtype)
    z = np.concatenate(
        [fleet.predict_learn_rows(X[k:][:100], y[k:][:100], w[k:][:100]) for k in range(0, 500, 100)]
    )
    assert z.dtype == dtype
    for m in range(3):
        p = 1.0 / (1.0 + np.exp(-z[learned, m].astype(np.float64)))
        assert fleet.metrics["loss"][m] == pytest.approx(sklearn.metrics.log_loss(y[learned], p), rel=1e-5)
        assert fleet.metrics["accuracy"][m] == sklearn.metrics.accuracy_score(y[learned], p > 0.5)
    assert fleet.best("accuracy") == fleet.metrics["accuracy"].argmax()
    assert fleet.best() == fleet.metrics["loss"].argmin()
    X, y, w, _ = samples.dense(500, 4, binary=False, seed=7)
    fleet = cuda.Fleet(linear_model.LinearRegression(), {"optimizer.lr": [0.01, 0.1]}, dtype=dtype)
    z = fleet.predict_learn_rows(X, y, w)
    for m in range(2):
        mae = sklearn.metrics.mean_absolute_error(y[learned], z[learned, m])
        rmse = sklearn.metrics.root_mean_squared_error(y[learned], z[learned, m])
        assert fleet.metrics["mae"][m] == pytest.approx(mae, rel=1e-5)
        assert fleet.metrics["rmse"][m] == pytest.approx(rmse, rel=1e-5)
    with pytest.raises(ValueError, match="'roc' is none of the metrics loss, mae, rmse"):
        fleet.best("roc")
    with pytest.raises(ValueError, match="no member has learned a row yet"):
        fleet.clone().best()


def test_threads_change_no_bit():
    X, y, w, _ = samples.dense(700, 9, binary=True, seed=7)
    model = linear_model.LogisticRegression(optim.Adam(0.01), l1=0.001)
    rates = np.geomspace(0.001, 0.1, 13).tolist()
    fleets = [cuda.Fleet(model, {"optimizer.lr": rates}, threads=threads) for threads in (1, 3)]
    a, b = (fleet.predict_learn_rows(X, y, w) for fleet in fleets)
    assert a.tolist() == b.tolist()
    assert [state(fleets[0][m]) for m in range(13)] == [state(fleets[1][m]) for m in range(13)]
    keyed = [cuda.KeyedFleet(model, threads=threads) for threads in (1, 3)]
    keys = np.random.default_rng(3).integers(0, 20, 700)
    a, b = (fleet.predict_learn_rows(keys, X, y, w) for fleet in keyed)
    assert a.tolist() == b.tolist()


@pytest.mark.parametrize("parts", [[300], [1, 64, 235], [100, 100, 100]], ids=str)
def test_parts_of_a_stream_are_the_stream(parts: list[int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kernels, "_AT_ONCE", 1)  # and passes have 64 rows
    X, y, w, _ = samples.dense(300, 4, binary=False, seed=7)
    rate = schedulers.InverseScaling(0.1, 0.3)
    model = linear_model.LinearRegression(optim.SGD(rate), intercept_lr=schedulers.CosineAnnealing(0.1, 200))
    fleet, learner = cuda.Fleet(model), model.clone()
    expected = learner.predict_learn_rows(X, y, w)
    bounds = np.cumsum([0, *parts])
    z = [fleet.predict_learn_rows(X[a:b], y[a:b], w[a:b]) for a, b in itertools.pairwise(bounds)]
    assert np.concatenate(z)[:, 0].tolist() == expected.tolist()
    assert_equal(fleet, [learner])


def test_schedules_differ_and_may_count_samples():
    X, y, w, _ = samples.dense(1500, 3, binary=False, seed=7)
    rates = [
        schedulers.InverseScaling(0.1, 0.3),
        schedulers.InverseScaling(0.1, 0.6),
        schedulers.Constant(0.02),
        schedulers.StepDecay(0.1, 0.5, 400, per="sample"),
    ]
    learners = [linear_model.LinearRegression(optim.SGD(rate)) for rate in rates]
    for model in learners[1:]:
        model.learn_many(X[:50], y[:50])  # one update of 50 samples: two clocks
    fleet = cuda.Fleet(learners)
    z = fleet.predict_learn_rows(X, y, w)
    assert z.tolist() == learn(learners, X, y, w).tolist()
    assert_equal(fleet, learners)


def test_rates_that_are_none_are_refused_in_time():
    model = linear_model.LinearRegression(optim.SGD(schedulers.StepDecay(0.1, 0.5, 4)))
    with pytest.raises(ValueError, match="counts epochs, and a stream has none"):
        cuda.Fleet(model).learn_rows([[1.0]], [1.0])

    class Falls(schedulers.Scheduler):
        def get(self, t: int) -> float:
            return 0.1 if t < 20 else np.nan

    X, y, _, _ = samples.dense(30, 3, binary=False, seed=7)
    fleet = cuda.Fleet(linear_model.LinearRegression(optim.SGD(Falls())))
    fleet.learn_rows(X[:20], y[:20])
    with pytest.raises(ValueError, match=r"Falls.*: a rate that is due is nan"):
        fleet.learn_rows(X[20:], y[20:])
    assert fleet.n_updates.tolist() == [20]


def test_float32_is_near_float64():
    X, y, w, _ = samples.dense(300, 6, binary=True, seed=9)
    model = linear_model.LogisticRegression(optim.Adam(0.01), l2=0.001)
    grid = {"optimizer.lr": [0.001, 0.01]}
    single, double = cuda.Fleet(model, grid, dtype="float32"), cuda.Fleet(model, grid)
    z = single.predict_learn_rows(X, y, w)
    np.testing.assert_allclose(z, double.predict_learn_rows(X, y, w), rtol=1e-4, atol=1e-5)
    assert {a.dtype for a in single._host} == {np.dtype(np.float32)}
    assert single[1].n_samples == double[1].n_samples
    single[1].learn_rows(X, y)
    single.learn_rows(X.astype(np.float32), y)
    with pytest.raises(ValueError, match=r"row 1: .*larger than 1e15 in size.*float32") as raised:
        single.learn_rows([[1.0] * 6, [1e16] * 6], [0, 1])
    assert raised.value.row == 1
    with pytest.raises(ValueError, match="row 0: feature 0 is inf"):
        single.predict_many([[np.inf] * 6])


# -- rows that are refused ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ((0, np.nan), "row 70: feature 'x2' is nan"),
        ((1, np.inf), "row 70: the target is inf"),
        ((2, -1.0), "row 70: the sample weight w is -1.0"),
    ],
)
def test_rows_before_a_bad_one_are_learned_by_all(spoil: tuple[int, float], message: str):
    X, y, w, names = samples.dense(100, 4, binary=False, seed=4)
    which, value = spoil
    (X[70:71, 2], y[70:71], w[70:71])[which][:] = value
    model = linear_model.LinearRegression()
    fleet = cuda.Fleet(model, {"optimizer.lr": [0.01, 0.05]})
    with pytest.raises(ValueError, match=message) as raised:
        fleet.predict_learn_rows(X, y, w, columns=names)
    assert raised.value.row == 70
    learners = [linear_model.LinearRegression(optim.SGD(lr)) for lr in (0.01, 0.05)]
    expected = learn(learners, X[:70], y[:70], w[:70], columns=names)
    assert raised.value.outputs.tolist() == expected.tolist()
    assert_equal(fleet, learners)
    keyed = cuda.KeyedFleet(model)
    with pytest.raises(ValueError, match=message):
        keyed.learn_rows(np.arange(100) % 80, X, y, w, columns=names)
    assert len(keyed) == 70
    assert keyed.n_samples.sum() == np.count_nonzero(w[:70])


def test_nothing_is_known_of_a_first_row_that_is_refused():
    fleet = cuda.Fleet(linear_model.LogisticRegression())
    with pytest.raises(ValueError, match="row 0: feature 0 is nan"):
        fleet.learn_rows([[np.nan]], ["yes"])
    assert state(fleet[0]) == state(linear_model.LogisticRegression())
    fleet.learn_rows([[1.0]], ["no"], columns=["other"])
    assert list(fleet[0].weights) == ["other"]
    assert fleet[0].labels_ == ("no",)


def test_a_third_label_is_refused_as_learners_do():
    fleet, learner = (make(linear_model.LogisticRegression()) for make in (cuda.Fleet, copy.copy))
    X, y = [[1.0], [2.0], [3.0], [4.0]], ["a", "b", "c", "a"]
    texts = []
    for model in (fleet, learner):
        with pytest.raises(ValueError, match="third one beside 'a' and 'b'") as raised:
            model.learn_rows(X, y)
        texts.append(str(raised.value))
    assert texts[0] == texts[1]
    assert_equal(fleet, [learner])


@pytest.mark.parametrize("keyed", [False, True], ids=["grid", "keyed"])
def test_bad_rows_are_skipped_where_learners_do(keyed: bool):
    X, y, w, _ = samples.dense(100, 4, binary=False, seed=4)
    X[20, 1], y[40], X[60:63], w[70] = np.nan, np.inf, 1e149, -1.0
    model = linear_model.LinearRegression(on_invalid="skip")
    learner = model.clone()
    expected = learner.predict_learn_rows(X, y, w)
    assert learner.n_invalid == 6
    if keyed:
        fleet: Any = cuda.KeyedFleet(model)
        z = fleet.predict_learn_rows(["only"] * 100, X, y, w)
        member = fleet["only"]
    else:
        fleet = cuda.Fleet(model)
        z = fleet.predict_learn_rows(X, y, w)[:, 0]
        member = fleet[0]
    np.testing.assert_array_equal(z, expected)
    assert state(member) == state(learner)
    assert fleet.n_invalid.tolist() == [6]


def diverging() -> tuple[Any, Any]:
    """Return a stream of which the output overflows at a rate of 1e60, and the learner."""
    X, y, _, _ = samples.dense(100, 4, binary=False, seed=4)
    return linear_model.LinearRegression(clip_gradient=1e140), (X, y)


def test_a_member_that_overflows_stops_and_the_others_go_on():
    model, (X, y) = diverging()
    fleet = cuda.Fleet(model, {"optimizer.lr": [0.01, 1e60, 0.02]})
    z = fleet.predict_learn_rows(X, y)
    learners = [model.clone({"optimizer": optim.SGD(lr)}) for lr in (0.01, 1e60, 0.02)]
    with pytest.raises(ValueError, match="the weights have diverged") as raised:
        learners[1].predict_learn_rows(X, y)
    row = raised.value.row
    assert 0 < row < 10
    assert fleet.failed == {1: row}
    assert z[:row, 1].tolist() == raised.value.outputs.tolist()
    assert np.isnan(z[row:, 1]).all()
    assert z[:, [0, 2]].tolist() == learn(learners[::2], X, y).tolist()
    assert state(fleet[1]) == state(learners[1])
    assert np.isnan(fleet.metrics["mae"]).tolist() == [False, True, False]
    assert fleet.best("mae") in (0, 2)
    z = fleet.predict_learn_rows(X, y)
    assert np.isnan(z).all(axis=0).tolist() == [False, True, False]
    assert fleet.n_updates.tolist() == [200, row, 200]
    fleet[1] = learners[2]
    assert fleet.failed == {}
    assert fleet.params(1) == {"optimizer": optim.SGD(0.02)}
    fleet.learn_rows(X, y)
    assert fleet.n_updates.tolist() == [300, 200, 300]
    assert fleet.metrics["mae"][1] > 0.0


def test_when_no_member_is_left_it_is_an_error():
    model, (X, y) = diverging()
    fleet = cuda.Fleet(model, {"optimizer.lr": [1e60, 1e70]})
    for _ in range(2):
        with pytest.raises(ValueError, match="no member learns any more"):
            fleet.learn_rows(X, y)
    with pytest.raises(ValueError, match="all have failed"):
        fleet.best()


def test_no_member_is_left_behind_by_an_interrupt(monkeypatch: pytest.MonkeyPatch):
    def interrupted(work: Any, n: int, threads: int) -> None:
        work(0)
        raise KeyboardInterrupt

    X, y, w, _ = samples.dense(100, 4, binary=True, seed=4)
    fleet = cuda.Fleet(linear_model.LogisticRegression(), {"optimizer.lr": [0.01, 0.1, 0.2]}, threads=2)
    other = fleet.clone()
    other.learn_rows(X, y, w)
    monkeypatch.setattr(kernels, "share", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fleet.learn_rows(X, y, w)
    monkeypatch.undo()
    assert kernels.share is _threads.share
    assert [state(fleet[m]) for m in range(3)] == [state(other[m]) for m in range(3)]
    assert fleet.metrics["loss"].tolist() == other.metrics["loss"].tolist()


class Watched:
    """A compiled pass, of which the calls are watched."""

    def __init__(self, kernel: Any, around: Callable[[int, Callable[[], None]], None]) -> None:
        self.kernel, self.around = kernel, around

    def call(self, *args: Any) -> None:
        self.around(int(args[-2]), lambda: self.kernel.call(*args))


def watch(monkeypatch: pytest.MonkeyPatch, around: Callable[[int, Callable[[], None]], None]) -> None:
    learn = kernels.learn
    monkeypatch.setattr(kernels, "learn", lambda *args: Watched(learn(*args), around))


def interrupted_passes() -> tuple[cuda.Fleet, cuda.Fleet, tuple[Any, ...]]:
    """Return a fleet that is to be interrupted, and one that has learned the same rows."""
    X, y, w, _ = samples.dense(100, 4, binary=True, seed=4)
    fleet = cuda.Fleet(linear_model.LogisticRegression(), {"optimizer.lr": [0.01, 0.1, 0.2]}, threads=2)
    other = fleet.clone()
    other.learn_rows(X, y, w)
    return fleet, other, (X, y, w)


def test_no_member_is_left_behind_by_many_interrupts(monkeypatch: pytest.MonkeyPatch):
    fleet, other, rows = interrupted_passes()
    spans = []

    def around(begin: int, call: Callable[[], None]) -> None:
        call()
        spans.append(begin)
        if len(spans) < 6:
            raise KeyboardInterrupt

    watch(monkeypatch, around)
    monkeypatch.setattr(kernels, "share", lambda work, n, threads: work(0))
    with pytest.raises(KeyboardInterrupt):
        fleet.learn_rows(*rows)
    assert set(spans) == {0, 1, 2}
    assert [state(fleet[m]) for m in range(3)] == [state(other[m]) for m in range(3)]


def test_an_interrupt_waits_for_what_another_thread_is_at(monkeypatch: pytest.MonkeyPatch):
    fleet, other, rows = interrupted_passes()
    begun, second = threading.Event(), threading.Event()
    at, twice = set(), []

    def around(begin: int, call: Callable[[], None]) -> None:
        if begin in at:
            twice.append(begin)
            second.set()
        at.add(begin)
        if not begun.is_set():
            begun.set()
            second.wait(0.2)
        call()
        at.discard(begin)

    def share(work: Any, n: int, threads: int) -> None:
        helper.submit(work, 0)
        begun.wait()
        raise KeyboardInterrupt

    watch(monkeypatch, around)
    monkeypatch.setattr(kernels, "share", share)
    with ThreadPoolExecutor(1) as helper, pytest.raises(KeyboardInterrupt):
        fleet.learn_rows(*rows)
    assert twice == []
    assert [state(fleet[m]) for m in range(3)] == [state(other[m]) for m in range(3)]


# -- members come and go -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda fleet: pickle.loads(pickle.dumps(fleet))]
)
def test_copies_go_on_and_are_their_own(copied: Any):
    X, y, w, names = samples.dense(200, 4, binary=True, seed=4)
    model = linear_model.LogisticRegression(optim.Adam(0.02))
    fleet = cuda.Fleet(model, {"optimizer.lr": [0.01, 0.1]})
    keyed = cuda.KeyedFleet(model)
    keys = (np.arange(200) * 7) % 5
    fleet.learn_rows(X[:100], y[:100], w[:100], columns=names)
    keyed.learn_rows(keys[:100], X[:100], y[:100], w[:100], columns=names)
    fleet_2, keyed_2 = copied(fleet), copied(keyed)
    before = state(fleet[0]), state(keyed[0])
    z, z_keyed = (
        f.predict_learn_rows(*k, X[100:], y[100:], w[100:], columns=names)
        for f, k in ((fleet_2, ()), (keyed_2, (keys[100:],)))
    )
    assert (state(fleet[0]), state(keyed[0])) == before
    assert z.tolist() == fleet.predict_learn_rows(X[100:], y[100:], w[100:], columns=names).tolist()
    expected = keyed.predict_learn_rows(keys[100:], X[100:], y[100:], w[100:], columns=names)
    assert z_keyed.tolist() == expected.tolist()
    assert fleet.metrics["loss"].tolist() == fleet_2.metrics["loss"].tolist()
    assert keyed.overall == keyed_2.overall
    fresh = fleet.clone()
    assert state(fresh[1]) == state(model.clone({"optimizer": optim.Adam(0.1)}))
    assert len(keyed.clone()) == 0
    moved = fleet.to("cpu")
    assert moved is fleet


def test_learned_learners_are_taken_in(tmp_path: Any):
    X, y, w, names = samples.dense(300, 6, binary=True, seed=4)
    learners = [linear_model.LogisticRegression(optim.AdaGrad(lr), l2=0.01 * lr) for lr in (0.1, 0.2, 0.3)]
    for k, learner in enumerate(learners):  # each with columns of its own, in its own order
        learner.learn_rows(X[:100][:, [k, k + 1, 0][: 3 - (k == 0)]], y[:100], columns=[
            names[j] for j in [k, k + 1, 0][: 3 - (k == 0)]])  # fmt: skip
    fleet = cuda.Fleet(learners)
    assert [fleet.params(m) for m in range(2)] == [{}, {"optimizer": optim.AdaGrad(0.2), "l2": 0.002}]
    for m, learner in enumerate(learners):
        for name, weight in learner.weights.items():
            assert fleet[m].weights[name] == weight
    z = fleet.predict_learn_rows(X[100:], y[100:], w[100:], columns=names)
    expected = learn(learners, X[100:], y[100:], w[100:], columns=names)
    np.testing.assert_allclose(z, expected, rtol=1e-12)
    streamgd.save(fleet[2], tmp_path / "member.safetensors")
    assert state(streamgd.load(tmp_path / "member.safetensors")) == state(fleet[2])
    learned = learners[0]
    fleet[1] = learned
    assert fleet[1].weights == pytest.approx(learned.weights)
    assert fleet[1].n_samples == learned.n_samples
    with pytest.raises(IndexError, match="member 3 of 3"):
        fleet[3] = learned
    assert [model.n_samples for model in fleet] == fleet.n_samples.tolist()
    assert fleet[-1].n_samples == fleet[2].n_samples


# -- what is no fleet --------------------------------------------------------------------------

LOGISTIC, LINEAR = linear_model.LogisticRegression, linear_model.LinearRegression
REFUSED = {
    "several outputs": (linear_model.SoftmaxRegression(), None, "an output for each class"),
    "a matrix": (LOGISTIC(optim.Newton()), None, "Newton is no rule of one coordinate"),
    "lanes": (LOGISTIC("auto"), None, "Auto is no rule of one coordinate"),
    "losses": (LOGISTIC(optim.SGD(schedulers.ReduceLROnPlateau(0.1))), None, "looks at a model's losses"),
    "class weights": (LOGISTIC(class_weight="balanced"), None, "a fleet counts no classes"),
    "no learner": (river.linear_model.LogisticRegression(), None, "made of linear learners, not of Logistic"),
    "no parameter": (LOGISTIC(), {"rate": [1]}, "'rate': LogisticRegression has no rate; it has optimizer"),
    "no number": (LOGISTIC(), {"optimizer.rate": [1]}, "'optimizer.rate': SGD has no rate"),
    "nothing in it": (LOGISTIC(), {"l2.lr": [1]}, "0.0 has no parameters"),
    "no list": (LOGISTIC(), {"l2": 0.1}, r"grid\['l2'\] is 0.1; a list of values is needed"),
    "no point": (LOGISTIC(), {"l2": []}, "no point"),
    "a bad value": (LOGISTIC(), {"l2": [-1.0]}, "l2=...*got -1.0"),
    "a number": (LOGISTIC(), 5, "grid=5; a grid is a dict of lists"),
    "a word": (LOGISTIC(), "l2", "grid has 'l'; a grid is a dict of lists"),
    "numbers": (LOGISTIC(), [0.1, 0.2], "grid has 0.1; .* or a list of dicts"),
    "no name": (LOGISTIC(), {1: [0.1]}, "grid has {1: 0.1}; a grid is a dict of lists"),
    "labels": (LOGISTIC(), {"labels": [(0, 1)]}, "'labels' is the same for all members"),
    "classes": (
        LOGISTIC(),
        {"optimizer": [optim.SGD(), optim.Adam()]},
        "member 1, .* has the optimizer Adam, and not SGD",
    ),
    "penalties": (LOGISTIC(), {"l1": [0.0, 0.1]}, "the penalty ElasticNet, and not L2 .*'penalty.l1'"),
    "averages": (
        LOGISTIC(),
        {"optimizer": [optim.SGD(), optim.Averager(optim.SGD())]},
        "member 1, .* has Averager",
    ),
    "intercepts": (LOGISTIC(), {"intercept_lr": ["optimizer", 0.1]}, "has no intercept_lr='optimizer'"),
    "late": (LOGISTIC(), {"late": ["global", "fresh"]}, "has late='fresh'"),
    "mixed learners": ([LOGISTIC(), linear_model.LinearSVC()], None, "member 1 is a LinearSVC, and the"),
    "mixed answers": ([LINEAR(), LINEAR(on_invalid="skip")], None, "member 1 has on_invalid='skip'"),
    "no learners": ([], None, "the list of learners is empty"),
    "both": ([LINEAR()], {"l2": [0.1]}, "or learners, and no grid"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_fleet_is_made_of(name: str):
    model, grid, message = REFUSED[name]
    with pytest.raises((ValueError, TypeError), match=message):
        cuda.Fleet(model, grid)


def test_what_is_refused_later():
    with pytest.raises(ValueError, match="device='gpu': it is 'cpu' or 'cuda'"):
        cuda.Fleet(LINEAR(), device="gpu")
    with pytest.raises(ValueError, match="dtype='float16' on 'cpu'"):
        cuda.Fleet(LINEAR(), dtype="float16")
    for threads in (0, -1, 1.5, "2"):
        with pytest.raises(ValueError, match=f"threads={threads!r}: it must be an int of at least 1"):
            cuda.KeyedFleet(LINEAR(), threads=threads)
    for m in ("a", 1.0, slice(2)):
        with pytest.raises(TypeError, match=re.escape(f"member {m!r}: members are numbered, from 0 to 0")):
            _ = cuda.Fleet(LINEAR())[m]
    with pytest.raises(AttributeError, match="has no attribute 'Fleets'"):
        _ = cuda.Fleets
    fleet = cuda.Fleet(LOGISTIC(labels=("a", "b")))
    with pytest.raises(TypeError, match=r"give X.toarray\(\)"):
        fleet.learn_rows(samples.sparse(5, 3, binary=True, seed=1)[1], np.zeros(5))
    with pytest.raises(ValueError, match=r"labels=.*'b', 'a'"):
        fleet[0] = LOGISTIC(labels=("b", "a"))
    with pytest.raises(ValueError, match="has the optimizer Adam, and not SGD"):
        fleet[0] = LOGISTIC(optim.Adam(), labels=("a", "b"))
    seen = cuda.Fleet(LOGISTIC())
    seen.learn_rows([[1.0]], ["a"])
    learner = LOGISTIC()
    learner.learn_rows([[1.0]], ["b"])
    with pytest.raises(ValueError, match="members agree on them"):
        seen[0] = learner
    keyed = cuda.KeyedFleet(LOGISTIC())
    with pytest.raises(ValueError, match="all keys have the same parameters"):
        keyed["x"] = LOGISTIC(l2=0.1)
    assert "x" not in keyed
    with pytest.raises(ValueError, match="keys has 1 values, X has 2 rows"):
        keyed.learn_rows(["x"], [[1.0], [2.0]], [0, 1])
    with pytest.raises(ValueError, match="row 1 has nan, which is no key"):
        keyed.learn_rows([1.0, np.nan], [[1.0], [2.0]], [0, 1])
    with pytest.raises(ValueError, match="row 1 has <NA>, which is no key"):
        keyed.learn_rows(["x", pd.NA], [[1.0], [2.0]], [0, 1])
    for missing in (None, np.nan, pd.NA):
        with pytest.raises(ValueError, match=f"{missing!r} is no key"):
            keyed[missing] = LOGISTIC()
    assert len(keyed) == 0
    with pytest.raises(TypeError, match="unhashable"):
        keyed.learn_rows([["x"], ["y"]], [[1.0], [2.0]], [0, 1])
    with pytest.raises(KeyError):
        _ = keyed["x"]


@pytest.mark.skipif(cuda.is_available(), reason="there is a CUDA device: nothing is refused")
def test_without_a_device_the_error_says_so():
    fleet = cuda.Fleet(LINEAR())
    for attempt in (lambda: cuda.KeyedFleet(LINEAR(), device="cuda"), lambda: fleet.to("cuda")):
        with pytest.raises(cuda.CudaUnavailable, match="device='cpu'"):
            attempt()
    fleet.learn_rows([[1.0]], [1.0])
    # One that comes from a machine with a device: the state is on the host.
    fleet._fetched()
    fleet._device = "cuda"
    moved = pickle.loads(pickle.dumps(fleet))
    with pytest.raises(cuda.CudaUnavailable):
        moved.learn_rows([[1.0]], [1.0])
    assert moved.to("cpu").n_samples.tolist() == [1]
    moved.learn_rows([[1.0]], [1.0])
    assert moved[0].n_samples == 2


# -- a model for each key ----------------------------------------------------------------------


def by_key(model: Any, keys: list[Any], X: Any, y: Any, w: Any, **options: Any) -> tuple[Any, dict[Any, Any]]:
    """Return what a dict of learners, each given its rows one by one, predicts and is."""
    learners: dict[Any, Any] = {}
    z = []
    for i, key in enumerate(keys):
        learner = learners.setdefault(key, model.clone())
        z.append(learner.predict_learn_rows(X[i : i + 1], y[i : i + 1], w[i : i + 1], **options)[0])
    return np.array(z), learners


KEYS = {
    "numbers": lambda rng: rng.integers(0, 40, 400),
    "strings": lambda rng: rng.choice(["north", "south", "east", "west"], 400),
    "tuples": lambda rng: list(zip("ab" * 200, rng.integers(0, 5, 400).tolist(), strict=True)),
    "dates": lambda rng: np.datetime64("2026-01-01") + rng.integers(0, 9, 400),
    "many": lambda rng: rng.permutation(400),
    "far": lambda rng: rng.choice(np.array([-(2**62), -1, 2**62]), 400),
    "short": lambda rng: rng.choice(np.array([-128, 127], dtype=np.int8), 400),
    "booleans": lambda rng: rng.random(400) < 0.3,
}


@pytest.mark.parametrize("kind", KEYS)
def test_a_keyed_fleet_is_a_dict_of_learners(kind: str):
    X, y, w, _ = samples.dense(400, 5, binary=True, seed=11)
    keys = KEYS[kind](np.random.default_rng(6))
    plain = list(keys) if kind in ("tuples", "dates") else keys.tolist()
    model = linear_model.LogisticRegression(
        optim.Adam(schedulers.InverseScaling(0.1, 0.5)), l1=0.001, labels=(False, True)
    )
    fleet = cuda.KeyedFleet(model)
    z = np.concatenate([
        fleet.predict_learn_rows(keys[k : k + 80], X[k : k + 80], y[k : k + 80], w[k : k + 80])
        for k in range(0, 400, 80)
    ])  # fmt: skip
    expected, learners = by_key(model, plain, X, y, w)
    assert z.tolist() == expected.tolist()
    assert list(fleet) == fleet.keys() == list(learners)
    for key, learner in learners.items():
        assert key in fleet
        assert fleet[key].n_samples == learner.n_samples
        if learner.n_samples:  # otherwise it knows no feature, unlike the fleet
            assert state(fleet[key]) == state(learner)
    assert fleet.n_samples.tolist() == [model.n_samples for model in learners.values()]
    learned = w > 0
    right = (z > 0) == y
    assert fleet.overall["accuracy"] == pytest.approx(right[learned].mean(), rel=1e-12)
    for m, key in enumerate(learners):
        mine = learned & np.array([k == key for k in plain])
        if mine.any():
            assert fleet.metrics["accuracy"][m] == pytest.approx(right[mine].mean(), rel=1e-12)
        else:
            assert np.isnan(fleet.metrics["accuracy"][m])


@settings(max_examples=30, deadline=None)
@given(
    keys=st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=4),
    threads=st.sampled_from([1, 2]),
)
def test_in_whatever_order_keys_come(keys: list[str], cuts: list[int], threads: int):
    n = len(keys)
    X, y, w, _ = samples.dense(n, 3, binary=False, seed=n)
    model = linear_model.LinearRegression(optim.AdaGrad(0.3))
    fleet = cuda.KeyedFleet(model, threads=threads)
    bounds = [0, *sorted(min(cut, n) for cut in cuts), n]
    z = [fleet.predict_learn_rows(keys[a:b], X[a:b], y[a:b], w[a:b]) for a, b in itertools.pairwise(bounds)]
    expected, learners = by_key(model, keys, X, y, w)
    assert np.concatenate(z).tolist() == expected.tolist()
    assert fleet.keys() == list(learners)


def test_keys_meet_features_and_labels_of_all():
    X, y, w, names = samples.dense(300, 5, binary=True, seed=11)
    labels = np.where(y, "yes", "no")
    keys = np.arange(300) % 7
    fleet = cuda.KeyedFleet(linear_model.LogisticRegression(optim.AdaGrad(0.1), labels=("no", "yes")))
    model = linear_model.LogisticRegression(optim.AdaGrad(0.1), labels=("no", "yes"))
    learners: dict[int, Any] = {}
    for a, b, k in ((0, 100, [0, 1, 2]), (100, 200, [3, 1]), (200, 300, range(5))):
        named = {"columns": [names[j] for j in k]}
        z = fleet.predict_learn_rows(keys[a:b], X[a:b][:, k], labels[a:b], w[a:b], **named)
        for i in range(a, b):
            learner = learners.setdefault(keys[i].item(), model.clone())
            row = X[i : i + 1][:, k], labels[i : i + 1], w[i : i + 1]
            expected = learner.predict_learn_rows(*row, **named)[0]
            assert z[i - a] == pytest.approx(expected, rel=1e-12, abs=1e-15)
    new = X[:3] * 2
    predicted = fleet.predict_many([3, 4, 99], new, columns=names)
    expected = [learners[3].predict_many(new[:1], columns=names)[0]]
    expected += [learners[4].predict_many(new[1:2], columns=names)[0], "no"]
    assert predicted.tolist() == expected
    assert 99 not in fleet


def test_a_key_is_learned_from_dicts_and_taken_in_and_out():
    fleet = cuda.KeyedFleet(linear_model.LinearRegression())
    learner = linear_model.LinearRegression()
    for k in range(20):
        x = {"a": float(k % 3), "b": 1.0}
        fleet.learn_one("left", x, 2.0 * k)
        fleet.learn_one("right", x, -k)
        learner.learn_one(x, 2.0 * k)
    assert fleet["left"].weights == pytest.approx(learner.weights, rel=1e-12)
    fleet["copy"] = learner
    assert fleet["copy"].weights == learner.weights
    assert fleet.keys() == ["left", "right", "copy"]
    assert np.isnan(fleet.metrics["mae"][2])
    assert fleet.predict_many(["left", "copy"], [[1.0, 1.0]] * 2, columns=["a", "b"]) == pytest.approx(
        [learner.predict_one({"a": 1.0, "b": 1.0})] * 2
    )
    assert repr(fleet) == "KeyedFleet(3 x LinearRegression, device='cpu', dtype='float64')"
    assert repr(cuda.Fleet(learner)) == "Fleet(1 x LinearRegression, device='cpu', dtype='float64')"


def test_a_key_that_overflows_leaves_the_others_alone():
    model, (X, y) = diverging()
    keys = np.arange(100) % 4
    X, y = np.where(keys == 2, X.T * 1e20, X.T).T, np.where(keys == 2, y * 1e120, y)
    fleet = cuda.KeyedFleet(model)
    z = fleet.predict_learn_rows(keys, X, y)
    rows = np.flatnonzero(keys == 2)
    (key, learned), = fleet.failed.items()  # fmt: skip
    assert (key, learned) == (2, 1)
    assert np.isnan(z[rows[learned:]]).all()
    assert np.isfinite(z[rows[:learned]]).all()
    assert np.isfinite(z[keys != 2]).all()
    assert np.isnan(fleet.metrics["mae"]).tolist() == [False, False, True, False]


def test_there_is_room_for_many_keys():
    n = 5000
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(n, 2)), rng.normal(size=n)
    fleet = cuda.KeyedFleet(linear_model.LinearRegression())
    fleet.learn_rows(np.arange(n), X, y)
    fleet.learn_rows([17, 17, 4000], X[:3], y[:3])  # few of many: they are found by sorting
    assert len(fleet) == n
    assert fleet.n_samples.sum() == n + 3
    learner = linear_model.LinearRegression()
    learner.learn_rows(X[[17, 0, 1]], y[[17, 0, 1]])
    assert state(fleet[17]) == state(learner)
    assert len(fleet._counts) > n
