"""Parameters that change in mid-stream: the state goes over, or the model stays as it was."""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import samples
from numpy.typing import NDArray

from streamgd import linear_model, optim
from streamgd.optim import penalties
from streamgd.optim.base import Loss, Monitored
from streamgd.optim.schedulers import InverseScaling, ReduceLROnPlateau


def regression(*args: Any, **more: Any) -> linear_model.LinearRegression:
    return linear_model.LinearRegression(*args, **more)


def state(model: Any) -> dict[str, bytes]:
    return {k: v.tobytes() for k, v in model.__getstate__().items() if isinstance(v, np.ndarray)}


# -- what fails leaves all as it was -----------------------------------------------------------


@dataclass(frozen=True)
class Broken(Monitored):
    window: int = 5  # type: ignore[assignment]

    def start(self) -> Any:
        raise RuntimeError("no start")

    def observe(self, state: Any, losses: NDArray[np.float64], t: int) -> Any:
        return state

    def rates(self, state: Any, t: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.full(len(t), 0.1)


def test_a_schedule_that_cannot_start_changes_nothing() -> None:
    data = samples.dense(50, 3, binary=False, seed=1)
    model, other = regression(optim.SGD(0.05)), regression(optim.SGD(0.05))
    for m in (model, other):
        m.learn_rows(data.X[:20], data.y[:20])
    with pytest.raises(RuntimeError, match="no start"):
        model.optimizer = optim.Adam(Broken())
    assert model.optimizer == optim.SGD(0.05)
    for m in (model, other):
        m.learn_rows(data.X[20:], data.y[20:])
    assert state(model) == state(other)


def test_a_matrix_that_does_not_fit_in_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = regression(optim.SGD(0.05))
    model.learn_one({"a": 1.0}, 1.0)
    before = state(model)

    def full(self: Any, slots: Any, n: int) -> None:
        raise MemoryError

    monkeypatch.setattr(optim.Newton, "prepare", full)
    with pytest.raises(MemoryError):
        model.optimizer = optim.Newton()
    assert (model.optimizer, state(model)) == (optim.SGD(0.05), before)
    model.learn_one({"a": 1.0, "b": 2.0}, 1.0)


def test_counts_of_a_broken_file_are_refused() -> None:
    model = regression(optim.SGD(ReduceLROnPlateau(0.1, window=5)))
    model.learn_rows(np.ones((7, 1)), np.ones(7))
    for name, value in (("_scalars", -1e12), ("_scalars", 6.0), ("_losses", None)):
        broken = model.__getstate__()
        if value is None:
            broken[name] = broken[name].astype(np.float32)
        else:
            broken[name][2] = value
        with pytest.raises(ValueError, match="counts of updates, samples or losses"):
            copy.copy(model).__setstate__(broken)


# -- another optimizer -------------------------------------------------------------------------

OPTIMIZERS = ["SGD", "Adam", "ScInOL2", "COCOB", "Coin", "Normalized", "FTRLProximal", "ScheduleFreeSGD"]


@pytest.mark.parametrize("name", [*OPTIMIZERS, "Auto", "Bank", "Averager", "Newton"])
def test_predictions_stay_when_another_optimizer_goes_on(name: str) -> None:
    data = samples.dense(200, 3, binary=False, seed=2)
    X = data.X + 2.0
    optimizer = optim.Averager(optim.SGD(0.01), 5) if name == "Averager" else getattr(optim, name)()
    model = regression(optimizer)
    model.learn_rows(X, data.y)
    x = X[np.abs(X).max(axis=1).argsort()[:5]]  # within what was seen: nothing is bounded
    before, intercept = model.predict_many(x), model.intercept
    model.optimizer = optim.Momentum(0.001) if name == "SGD" else optim.SGD(0.001)
    np.testing.assert_allclose(model.predict_many(x), before, rtol=1e-9)
    assert model.intercept == pytest.approx(intercept, rel=1e-12)
    assert model.n_updates == (200 if name == "Averager" else 0)  # SGD itself has gone on there
    model.learn_rows(X[:20], data.y[:20])
    assert pickle.loads(pickle.dumps(model)).weights == model.weights


def test_auto_does_not_take_over_what_another_has_learned() -> None:
    model = regression()
    model.optimizer = "auto"
    assert model.optimizer == optim.Auto()
    model = regression()
    model.learn_one({"a": 1.0}, 1.0)
    with pytest.raises(ValueError, match="Auto cannot go on from weights that another optimizer has learned"):
        model.optimizer = "auto"
    assert model.optimizer == optim.SGD(0.01)


@pytest.mark.parametrize("name", ["AdaGrad", "Adam", "ScInOL2"])
def test_late_changes_nothing_but_how_features_count(name: str) -> None:
    data = samples.dense(100, 3, binary=False, seed=3)
    optimizer = getattr(optim, name)()
    model, other = regression(optimizer), regression(optimizer)
    for m in (model, other):
        m.learn_rows(data.X[:50], data.y[:50])
    model.late = "fresh"
    assert model.weights == other.weights
    for m in (model, other):
        m.learn_rows(data.X[50:], data.y[50:])
    # all features are as old as the model: their own counts are the model's
    assert model.weights == pytest.approx(other.weights, rel=1e-12)
    assert model.n_updates == 100


def test_the_average_starts_anew_with_other_options() -> None:
    data = samples.dense(300, 2, binary=False, seed=4)
    model = regression(optim.Averager(optim.SGD(0.02), 1000))
    model.learn_rows(data.X[:100], data.y[:100])
    for averager in (optim.Averager(optim.SGD(0.02), 0), optim.Averager(optim.SGD(0.02), 150, gamma=3.0)):
        before = model.weights
        model.optimizer = averager
        assert model.weights == pytest.approx(before, rel=1e-12)
        model.learn_rows(data.X[100:200], data.y[100:200])
        assert model._scalars[6] > 0.0  # the average has begun
        assert max(map(abs, model.weights.values())) < 10
    with pytest.raises(ValueError, match=r"gamma must be in \[0, 20\]"):
        optim.Averager(optim.SGD(), gamma=100.0)


# -- penalties ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "penalty", [penalties.Proximal(0.01, 0.1), penalties.TruncatedGradient(0.02, every=3)], ids=repr
)
def test_lazy_penalties_ask_nothing_of_the_past(penalty: Any) -> None:
    rows, _, ys, _, _ = samples.sparse(300, 8, binary=False, seed=5)
    late, early = (regression(optim.SGD(0.05), penalty=penalty, late=late) for late in ("fresh", "global"))
    for x, y in zip(rows, ys.tolist(), strict=True):
        late.learn_one(x, y)
        early.learn_one(x, y)
    assert late.weights == pytest.approx(early.weights, rel=1e-12, abs=1e-15)


def test_debts_do_not_become_credit() -> None:
    model = regression(optim.SGD(0.1), intercept_lr=0, l1=0.1)
    for _ in range(100):
        model.learn_one({"a": 1.0}, 1.0)
    model.late = "fresh"
    model.learn_one({"a": 1.0}, 1.0)
    assert model.weights["a"] == pytest.approx(0.95, abs=0.01)
    model = regression(optim.SGD(0.1), intercept_lr=0, l1=0.1, late="fresh")
    for name in ("z", "a"):
        for _ in range(100):
            model.learn_one({name: 1.0}, 1.0)
    for l1 in (0.0, 0.1):
        model.l1 = l1
        model.learn_one({"a": 1.0}, 1.0)
    assert model.weights["a"] == pytest.approx(0.95, abs=0.02)


def test_mini_batches_fold_totals_too() -> None:
    model = regression(
        optim.SGD(0.1), optim.losses.Squared(1.0), intercept_lr=0, penalty=penalties.Proximal(l2=1.0)
    )
    for _ in range(9000):
        model.learn_many(np.ones((1, 1)), np.ones(1))
    assert model.weights == pytest.approx({0: 0.5}, rel=1e-3)


def test_another_threshold_does_not_act_on_the_past() -> None:
    model = regression(optim.SGD(0.1), intercept_lr=0, penalty=penalties.TruncatedGradient(0.05))
    for _ in range(40):
        model.learn_one({"a": 1.0}, 1.0)
    for _ in range(40):
        model.learn_one({"b": 1.0}, 1.0)
    before = model.weights
    model.penalty = {"theta": 0.5}
    assert model.weights == pytest.approx(before, rel=1e-14)
    with pytest.raises(TypeError, match="is not a penalty"):
        regression().penalty = {"l1": 0.1}  # type: ignore[assignment]


# -- schedules ---------------------------------------------------------------------------------


def test_a_plateau_goes_on_when_only_the_intercepts_rate_changes() -> None:
    rng = np.random.default_rng(6)
    model = regression(optim.SGD(ReduceLROnPlateau(0.01, patience=0, window=20)))
    model.learn_rows(rng.normal(size=(2000, 2)), rng.normal(size=2000))
    rate = model.learning_rate
    assert rate < 0.005
    model.intercept_lr = 0.005
    assert model.learning_rate == rate
    model.optimizer = optim.AdaGrad(model.optimizer.scheduler)  # its count of updates starts anew
    assert model.learning_rate == 0.01


# -- copies with other parameters --------------------------------------------------------------


def test_clones_with_other_parameters_are_copies_on_which_they_are_set() -> None:
    rows, _, ys, _, _ = samples.sparse(100, 6, binary=False, seed=7)
    model = regression(optim.SGD(0.05), penalty=penalties.Proximal(0.01, 0.1))
    for x, y in zip(rows, ys.tolist(), strict=True):
        model.learn_one(x, y)
    clone = model.clone({"penalty": None}, include_attributes=True)
    assert clone.penalty is None
    assert clone.weights == pytest.approx(model.weights, rel=1e-14)
    assert model.clone({"optimizer": optim.Adam()}, include_attributes=True).weights == model.weights
    machine = linear_model.PAClassifier(C=1.0)
    machine.learn_one({"a": 1.0}, True)
    clone = machine.clone({"C": 0.25}, include_attributes=True)
    assert (clone.C, clone.optimizer.C) == (0.25, 0.25)
    assert clone.weights == machine.weights
    labels = linear_model.LogisticRegression()
    assert labels.clone({"labels": ("no", "yes")}, include_attributes=True).labels_ == ("no", "yes")
    labels.learn_one({"a": 1.0}, "maybe")
    with pytest.raises(ValueError, match=r"this model has learned \['maybe'\]"):
        labels.clone({"labels": ("no", "yes")}, include_attributes=True)


# -- users' losses, refused rows ---------------------------------------------------------------


@dataclass(frozen=True)
class Fourth(Loss):
    """A loss without an importance-aware update of its own."""

    def value(self, y: float, p: float) -> float:
        return (p - y) ** 4

    def gradient(self, y: float, p: float) -> float:
        return 4.0 * (p - y) ** 3


@pytest.mark.parametrize("optimizer", ["auto", "bank", optim.Normalized()], ids=str)
def test_losses_without_an_update_of_their_own(optimizer: Any) -> None:
    data = samples.dense(300, 3, binary=False, seed=8)
    model = regression(optimizer, Fourth())
    z = model.predict_learn_rows(data.X, data.y / 4)
    assert np.mean((z[200:] - data.y[200:] / 4) ** 2) < np.mean((data.y / 4) ** 2)
    focal = linear_model.LogisticRegression(optimizer, optim.losses.Focal())
    focal.learn_one({"a": 1.0}, True)
    assert focal.predict_proba_one({"a": 1.0})[True] > 0.5


@pytest.mark.parametrize("kind", ["auto", "bank"])
@pytest.mark.parametrize("late", ["global", "fresh"])
def test_a_refused_row_leaves_a_state_that_can_be_copied(kind: str, late: Any) -> None:
    model = regression(kind, late=late)
    model.learn_rows(np.ones((3, 2)), [1.0, 2.0, 3.0])
    before = state(model)
    for X, y in ((np.ones((1, 2)), math.nan), (np.array([[math.nan, 1.0]]), 1.0)):
        with pytest.raises(ValueError, match="nan"):
            model.learn_rows(X, [y])
    assert state(model) == before
    assert pickle.loads(pickle.dumps(model)).weights == model.weights
    model.optimizer = optim.SGD(0.01)
    assert pickle.loads(pickle.dumps(model)).weights == model.weights


def test_labels_are_known_although_a_schedule_failed() -> None:
    @dataclass(frozen=True)
    class Fails(Broken):
        def start(self) -> Any:
            return ()

        def observe(self, state: Any, losses: NDArray[np.float64], t: int) -> Any:
            raise RuntimeError("no look")

    X = np.arange(8.0).reshape(-1, 1)
    model = linear_model.LogisticRegression(optim.SGD(Fails(window=4)))
    with pytest.raises(RuntimeError, match="no look"):
        model.learn_many(X, ["a", "b"] * 4)
    assert (model.labels_, model.n_samples) == (("a", "b"), 8)
    model = linear_model.LogisticRegression(optim.SGD(Fails(window=4)))
    with pytest.raises(RuntimeError, match="no look"):
        model.learn_rows(X, ["a"] * 6 + ["b"] * 2)
    assert (model.labels_, model.n_samples) == (("a",), 4)


def test_rates_of_another_schedule_are_used_at_once() -> None:
    model = regression(optim.SGD(InverseScaling(0.1)))
    model.learn_rows(np.ones((5, 1)), np.ones(5))
    model.optimizer = {"lr": 0.25}
    assert model.learning_rate == 0.25
    assert model.n_updates == 5


def test_passive_steps_to_the_label_need_a_loss_that_knows_where_it_is() -> None:
    with pytest.raises(
        ValueError, match=r"PassiveAggressive\(mode=0\) needs a loss .*Focal has none; use mode=1"
    ):
        linear_model.LogisticRegression(optim.PassiveAggressive(mode=0), optim.losses.Focal())
    linear_model.LogisticRegression(optim.PassiveAggressive(mode=1), optim.losses.Focal())


@pytest.mark.parametrize("kind", ["auto", "bank"])
def test_a_loss_of_a_residual_after_another(kind: str) -> None:
    data = samples.dense(200, 3, binary=False, seed=9)
    y = np.floor(np.exp(np.clip(data.y, -3.0, 1.5)))
    model = regression(kind, optim.losses.Poisson())
    model.learn_rows(data.X[:100], y[:100])
    model.loss = optim.losses.Squared()
    z = model.predict_learn_rows(data.X[100:], y[100:])
    assert z.min() >= 0.0
    assert np.mean((z[20:] - y[120:]) ** 2) < 2 * y.var()
