"""Mini-batches on a GPU: `fit(device="cuda")` beside the CPU's float32, and kernels beside NumPy."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
import random
from dataclasses import dataclass

import numpy as np
import pytest
import river.linear_model
from single_models import (
    CLOSE,
    LOGISTIC,
    LOSSES,
    MODELS,
    OF_COORDINATES,
    Cubed,
    assert_single,
    begun,
    distance,
    learner,
    state,
)

import streamgd
from streamgd import _device, linear_model, optim, training
from streamgd._rows import SparseRows
from streamgd.cuda import _engine, _linear, _upload
from streamgd.cuda._backend import IS_SIMULATED, cuda
from streamgd.kernels.pieces import INTERCEPT
from streamgd.optim import losses, penalties, schedulers

N = 48  # rows of a mini-batch: few, where a thread is a Python function


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Blocks that the simulator gets through."""
    if IS_SIMULATED:
        monkeypatch.setattr(_linear, "THREADS", 64)
        monkeypatch.setattr(_linear, "BLOCKS", 3)


def silent(model, *data, device="cuda", **options):
    return streamgd.fit(model, *data, device=device, progress=False, **options)


def both(model, X, y, w=None, **options):
    """Twins of a model, after `fit` on the device and on the CPU."""
    one, other = copy.deepcopy(model), copy.deepcopy(model)
    silent(one, X, y, w, **options)
    silent(other, X, y, w, device="cpu", dtype="float32", **options)
    return one, other


def assert_close(one, other, bound=CLOSE):
    for name, difference in distance(one, other).items():
        assert difference <= bound, f"{name}: {difference:.1e}"
    counts = [(m.n_updates, m.n_samples, m.n_invalid) for m in (one, other)]
    assert counts[0] == counts[1]


def assert_close_weights(one, other, bound=1e-5):
    """For penalties that store weights in a form of their own."""
    n = len(one._features)
    a, b = (m._current(m._weights[:n], m._charged[:n]) for m in (one, other))
    np.testing.assert_allclose(a, b, rtol=0, atol=bound * np.abs(b).max())
    np.testing.assert_allclose(one._scalars[..., INTERCEPT], other._scalars[..., INTERCEPT], atol=bound)


# -- one step, all pieces ----------------------------------------------------------------------

ONE_STEP = {name: model for name, model in MODELS.items() if "Newton" not in name}


@pytest.mark.parametrize("name", ONE_STEP)
def test_a_step_is_that_of_the_cpu(name):
    model, X, y = begun(ONE_STEP[name], N)
    one, other = both(model, X, y, batch_size=N)
    if model.penalty is not None and model.penalty.overrides("current"):
        assert_close_weights(one, other, CLOSE)
    else:
        assert_close(one, other)
    assert_single(one)


def pairs():
    return list(itertools.product([*LOSSES, Cubed()], OF_COORDINATES))


def check_pair(loss, rule):
    model, X, y = begun(learner(loss, rule), N)
    assert_close(*both(model, X, y, batch_size=N))


def test_random_pairs(request):
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")
    for loss, rule in random.Random(seed).sample(pairs(), 20):
        print(loss, rule)
        check_pair(loss, rule)


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "rule"), pairs())
def test_all_pairs(loss, rule):
    check_pair(loss, rule)


# -- many steps, all ways through the kernels --------------------------------------------------

RULES = {
    "SGD": optim.SGD(0.1),
    "Adam": optim.Adam(0.02),
    "DoG": optim.DoG(),  # adds up over columns
    "averaged": optim.Averager(optim.Momentum(0.05)),
    "schedule free": optim.ScheduleFreeSGD(0.2),  # looks ahead
}


def data(n, p, seed=0, dtype=np.float32):
    """Rows and labels that a line separates, but for some."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)).astype(dtype)
    return X, X.astype(float) @ rng.normal(size=p) + rng.normal(size=n) > 0


@pytest.mark.parametrize("large", [False, True], ids=["together", "one by one"])
@pytest.mark.parametrize("p", [1, 2, 3, 4, 7, 8, 31, 33, 64, 100, 130, 256, 257, 300, 1030, 1100, 2049])
def test_any_number_of_columns(monkeypatch, p, large):
    monkeypatch.setattr(_engine, "LARGE_BATCH", 0 if large else 1 << 30)
    X, y = data(21, p, seed=p)
    rule = list(RULES)[p % len(RULES)]
    one, other = both(LOGISTIC(RULES[rule]), X, y, batch_size=8)
    assert one.n_updates == 3
    assert_close(one, other, 2e-5)  # three steps, and sums of both signs


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("large", [False, True], ids=["together", "one by one"])
def test_after_200_steps_losses_agree(monkeypatch, rule, large):
    monkeypatch.setattr(_engine, "LARGE_BATCH", 0 if large else 1 << 30)
    X, y = data(200 * 16, 6)
    histories = []
    for device in ("cuda", "cpu"):
        model = LOGISTIC(RULES[rule])
        options = {} if device == "cuda" else {"dtype": "float32"}
        histories.append(silent(model, X, y, device=device, batch_size=16, **options))
        assert model.n_updates == 200
    one, other = (history.last("loss") for history in histories)
    assert one == pytest.approx(other, rel=1e-4)


@pytest.mark.parametrize("rule", RULES)
def test_blocks_that_wait_for_each_other(rule):
    X, y = data(450, 31)
    assert min(_linear.RESIDENT_BLOCKS, _linear.BLOCKS) > 2  # there are three, of 16 rows at a time
    assert_close(*both(LOGISTIC(RULES[rule]), X, y, batch_size=200), 2e-5)


@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 63, 64, 65, 200])
def test_any_number_of_rows(n):
    X, y = data(n, 5)
    y[:1] = True
    assert_close(*both(LOGISTIC(optim.SGD(0.1), labels=(False, True)), X, y, batch_size=64), 2e-5)


def test_the_whole_stream_is_one_step_an_epoch():
    X, y = data(150, 9)
    one, other = both(LOGISTIC(optim.Adam(0.1)), X, y, batch_size="all", epochs=3)
    assert one.n_updates == 3
    assert_close(one, other, 1e-5)


@pytest.mark.parametrize("batch_size", [16, 150, "all"])
def test_rows_go_in_parts_of_whatever_size(monkeypatch, batch_size):
    X, y = data(150, 9)
    whole, parts = (LOGISTIC(optim.SGD(0.1)) for _ in range(2))
    a = silent(whole, X, y, batch_size=batch_size)
    monkeypatch.setattr(_upload, "CHUNK_BYTES", 50 * 9 * 4)
    b = silent(parts, X, y, batch_size=batch_size)
    assert_close(
        parts, whole, 1e-6 if batch_size != 16 else 0.0
    )  # sums of parts are added up in another order
    assert a.last("loss") == pytest.approx(b.last("loss"), rel=1e-6)


def test_results_are_the_same_to_the_bit_each_time():
    X, y = data(300, 40)
    states = []
    for _ in range(2):
        model = LOGISTIC(optim.Adam(0.05))
        silent(model, X, y, batch_size=64)
        states.append({name: array.tobytes() for name, array in state(model).items()})
    assert states[0] == states[1]


# -- weights, labels, schedules, bad rows ------------------------------------------------------


@pytest.mark.parametrize("batch_size", [16, "all"])
def test_weights_of_rows_and_classes(batch_size):
    X, y = data(160, 5)
    w = np.random.default_rng(1).integers(0, 3, size=160).astype(float)
    w[32:48] = 0.0  # a mini-batch without a step
    model = LOGISTIC(optim.SGD(optim.schedulers.InverseScaling(0.5)), class_weight="balanced")
    one, other = both(model, X, y, w, batch_size=batch_size)
    assert one.n_updates == (9 if batch_size == 16 else 1)
    assert_close(one, other, 1e-5)
    np.testing.assert_array_equal(one._class_counts, other._class_counts)


BALANCED = [
    "balanced",
    optim.class_weights.Balanced(half_life=50.0),
    optim.class_weights.Balanced(window=30),
    optim.class_weights.EffectiveNumber(),
    {True: 3.0, False: 0.5},
]


@pytest.mark.parametrize("most", [2, 4096])
@pytest.mark.parametrize("class_weight", BALANCED, ids=str)
def test_class_weights_count_as_row_by_row(monkeypatch, class_weight, most):
    """The counts that weigh rows are the same in every mode, on a device too."""
    monkeypatch.setattr(_device, "MOST_STEPS", most)
    X, y = data(120, 4)
    model = LOGISTIC(optim.SGD(0.1), class_weight=class_weight)
    one, other = both(model, X, y, batch_size=32)
    assert_close(one, other, 1e-5)
    by_rows = model.clone()
    by_rows.learn_rows(X, y)
    assert one.class_counts_ == other.class_counts_ == by_rows.class_counts_


def test_class_weights_count_up_to_a_bad_row():
    X, y = data(96, 4)
    labels = np.where(y, "a", "b")
    X[70, 1] = np.nan
    for class_weight in ("balanced", {"a": 1.0, "b": 0.0}):
        one, other = (LOGISTIC(optim.SGD(0.1), class_weight=class_weight) for _ in range(2))
        for model, options in ((one, {}), (other, {"device": "cpu", "dtype": "float32"})):
            with pytest.raises(ValueError, match="nan") as caught:
                silent(model, X, labels, np.ones(96), batch_size=32, **options)
            assert caught.value.row == 70
        assert one.class_counts_ == other.class_counts_
        assert_close(one, other, 1e-5)


SCHEDULES = [
    schedulers.InverseScaling(0.5),
    schedulers.CosineAnnealing(0.3, T_max=7),
    schedulers.CosineAnnealing(0.5, T_max=60, per="sample"),
    schedulers.Exponential(0.3, 0.9, per="epoch", epoch_size=40),
    schedulers.Exponential(0.3, 0.9, per="epoch"),
    schedulers.ReduceLROnPlateau(0.5, window=25, patience=1),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: f"{type(s).__name__}-{s.per}")
def test_schedules(schedule):
    X, y = data(130, 4)
    w = np.ones(130)
    w[::7] = 0.0
    model = LOGISTIC(optim.SGD(schedule), intercept_lr=schedulers.InverseScaling(0.1), l1=0.01)
    one, other = both(model, X, y, w, batch_size=16, epochs=2)
    assert one.learning_rate == other.learning_rate
    assert_close(one, other, 1e-5)


def test_a_schedule_without_a_rate_stops_the_run_where_it_would_on_the_cpu():
    class Ends(optim.base.Scheduler):
        def get(self, t):
            return 0.1 if t < 3 else float("nan")

    X, y = data(100, 4)
    model = LOGISTIC(optim.SGD(Ends()))
    with pytest.raises(ValueError, match="the rate at update 3 is nan"):
        silent(model, X, y, batch_size=16)
    assert (model.n_updates, model.n_samples) == (3, 48)


@pytest.mark.parametrize("large", [False, True], ids=["together", "one by one"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -1e16])
def test_a_bad_row_is_refused_with_its_mini_batch(monkeypatch, bad, large):
    monkeypatch.setattr(_engine, "LARGE_BATCH", 0 if large else 1 << 30)
    X, y = data(100, 5)
    X[[37, 41, 60], [3, 0, 1]] = bad
    good, model = (LOGISTIC(optim.Adam(0.1)) for _ in range(2))
    silent(good, X[:32], y[:32], batch_size=16)
    with pytest.raises(ValueError, match=r"finite|larger than 1e15") as caught:
        silent(model, X, y, batch_size=16)
    assert caught.value.row == 37
    assert_close(model, good, 0.0)
    assert caught.value.history.position["row"] == 32
    assert caught.value.history.samples == 32


@pytest.mark.parametrize("rows_of_blocks", [(3, 1501), (470, 1400)])
def test_a_bad_row_is_found_by_whatever_thread_comes_first(rows_of_blocks):
    """Warps and blocks that run ahead must not see what others find in the same rows."""
    X, y = data(3000, 5)
    X[list(rows_of_blocks), 1] = np.nan
    for seed in range(4):  # launches have orders of their own
        model = LOGISTIC(optim.SGD(0.1))
        with pytest.raises(ValueError, match="nan") as caught:
            silent(model, X, y, batch_size=1500)
        assert caught.value.row == rows_of_blocks[0], seed
        assert model.n_updates == 0


def test_bad_rows_are_left_out_on_request():
    X, y = data(100, 5)
    X[37, 3], X[41, 0] = np.nan, np.inf
    w = np.ones(100)
    w[41] = 0.0
    one, other = both(LOGISTIC(optim.Adam(0.1), on_invalid="skip"), X, y, w, batch_size=16)
    assert (one.n_invalid, one.n_samples) == (2, 98)
    assert_close(one, other, 1e-5)
    one, other = both(LOGISTIC(class_weight="balanced", on_invalid="skip"), X, y, batch_size=16)
    assert_close(one, other, 1e-5)


def test_a_rate_that_is_too_large_is_refused():
    X, y = data(300, 5)
    model = linear_model.LinearRegression(optim.SGD(10.0))
    with pytest.raises(ValueError, match="lower the learning rate"):
        silent(model, X * 10, y.astype(float), batch_size=16)
    assert np.isfinite(model._weights).all()


@pytest.mark.parametrize("penalty", [penalties.Proximal(1e-3, 1e-2), penalties.TruncatedGradient(1e-3)])
def test_lazy_penalties_are_folded_in_on_the_way(monkeypatch, penalty):
    monkeypatch.setattr(_device, "MOST_STEPS_OF_LAZY", 4)
    X, y = data(200, 6)
    one, other = both(LOGISTIC(optim.SGD(0.1), penalty=penalty), X, y, batch_size=16)
    assert_close_weights(one, other)


def test_new_columns_and_columns_in_another_order():
    X, y = data(64, 4)
    one, other = LOGISTIC(optim.Adam(0.1)), LOGISTIC(optim.Adam(0.1))
    for names, columns in (("ab", [0, 1]), ("cab", [2, 0, 1]), ("db", [3, 1])):
        for model, options in ((one, {"device": "cuda"}), (other, {"device": "cpu", "dtype": "float32"})):
            silent(
                model, np.ascontiguousarray(X[:, columns]), y, columns=list(names), batch_size=16, **options
            )
    assert list(one.weights) == ["a", "b", "c", "d"]
    assert_close(one, other, 2e-5)


def test_labels_of_any_kind():
    X, y = data(64, 4)
    labels = np.where(y, "yes", "no")
    one, other = both(LOGISTIC(optim.SGD(0.1)), X, labels, batch_size=16)
    assert one.labels_ == other.labels_
    assert_close(one, other, 1e-5)
    with pytest.raises(ValueError, match="SoftmaxRegression"):
        silent(one, X, np.where(y, "yes", "maybe"), batch_size=16)


# -- copies, and going on ----------------------------------------------------------------------


def test_copies_hold_host_arrays_only_and_go_on_on_either_device():
    X, y = data(400, 5)
    copies = []

    def keep(run):
        copies.append((copy.deepcopy(run.model), pickle.dumps(run.model), run.model.clone(), run.position))

    whole, model = (LOGISTIC(optim.Adam(0.05)) for _ in range(2))
    silent(whole, X, y, batch_size=20)
    silent(model, X, y, batch_size=20, callbacks=[training.Every(100, keep)])
    assert len(copies) == 4
    middle, pickled, clone, position = copies[1]
    assert clone.n_updates == 0
    assert b"numba" not in pickled
    assert middle.n_updates == pickle.loads(pickled).n_updates == 10
    on_device, on_host = middle, pickle.loads(pickled)
    silent(on_device, X, y, batch_size=20, start=position)
    silent(on_host, X, y, batch_size=20, start=position, device="cpu", dtype="float32")
    assert_close(on_device, whole, 0.0)
    assert_close(on_host, whole, 1e-5)
    again = pickle.loads(pickle.dumps(model))
    again.learn_one({k: 0.5 for k in range(5)}, True)
    assert again.n_updates == model.n_updates + 1


def test_after_the_device_the_model_is_any_model():
    X, y = data(100, 5)
    model = LOGISTIC(optim.SGD(0.1))
    silent(model, X, y, batch_size=10)
    one = {k: float(v) for k, v in enumerate(X[0])}
    z = X[0] @ np.array(list(model.weights.values())) + model.intercept
    assert model.predict_proba_one(one)[True] == pytest.approx(1 / (1 + np.exp(-z)))
    model.learn_one(one, True)
    model.learn_rows(X, y)
    assert model.n_updates == 111


# -- rows on the device, and of few bytes ------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8])
@pytest.mark.parametrize("on_device", [False, True])
def test_rows_of_few_bytes_stay_what_they_are(dtype, on_device):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 9, size=(96, 12)).astype(dtype)
    y = X.astype(float).sum(axis=1) > 48
    wide, model = (LOGISTIC(optim.SGD(0.01)) for _ in range(2))
    silent(wide, X.astype(np.float32), y, batch_size=32)
    silent(model, cuda.to_device(X) if on_device else X, y, batch_size=32)
    assert_close(model, wide, 1e-6)


def test_learn_many_of_rows_on_the_device():
    X, y = data(64, 6)
    one, other = (LOGISTIC(optim.Adam(0.05)) for _ in range(2))
    for lo in range(0, 64, 16):
        part = X[lo : lo + 16], y[lo : lo + 16]
        one.learn_many(cuda.to_device(part[0]), part[1])
        gradient = other.accumulate("float32")
        gradient.add(*part)
        gradient.step()
    assert_close(one, other, 1e-5)
    assert pickle.loads(pickle.dumps(one)).weights == one.weights


# -- a user's own loss, and what cannot be -----------------------------------------------------


def test_a_users_loss_from_another_module():
    X, _ = data(64, 5)
    y = X @ np.arange(5.0) + 1.0
    model = linear_model.LinearRegression(optim.SGD(0.05), loss=Cubed())
    assert_close(*both(model, X, y, batch_size=16), 1e-5)


def test_what_has_no_kernel_says_so():
    X, y = data(40, 3)
    with pytest.raises(ValueError, match=r"batch_size=1.*Fleet"):
        silent(LOGISTIC(), X, y)
    with pytest.raises(ValueError, match="matrix over features"):
        silent(LOGISTIC(optim.Newton()), X, y, batch_size=8)
    with pytest.raises(ValueError, match="sample by sample"):
        silent(LOGISTIC("auto"), X, y, batch_size=8)
    with pytest.raises(ValueError, match=r"dtype='float64'.*float32"):
        silent(LOGISTIC(), X, y, batch_size=8, dtype="float64")
    sparse = SparseRows(np.ones(2), np.array([0, 1]), np.array([0, 1, 2]), 2)
    with pytest.raises(ValueError, match="sparse rows"):
        silent(LOGISTIC(), sparse, y[:2], batch_size=2)
    with pytest.raises(ValueError, match="no kernels for a GPU"):
        silent(river.linear_model.LogisticRegression(), X, y, batch_size=8)
    with pytest.raises(ValueError, match="device='gpu'"):
        silent(LOGISTIC(), X, y, batch_size=8, device="gpu")
    with pytest.raises(ValueError, match="8193 columns"):
        silent(LOGISTIC(), np.zeros((4, 8193), np.float32), [0, 1, 0, 1], batch_size=2)


@dataclass(frozen=True)
class Careless(losses.Loss):
    """A user's loss with an int where a float was meant."""

    def value(self, y: float, p: float) -> float:
        return 1 / (1 + math.exp(-p)) - y

    def gradient(self, y: float, p: float) -> float:
        q = 1 / (1 + math.exp(-p))
        return q * (1.0 - q)


def test_a_loss_that_would_be_float64_says_where():
    X, y = data(40, 3)
    model = linear_model.LinearRegression(loss=Careless())
    with pytest.raises(TypeError, match=r"Careless.gradient, line \d+ of test_minibatch.py"):
        silent(model, X, y.astype(float), batch_size=8)
