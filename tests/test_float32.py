"""Mini-batches and full-batch descent in float32: against float64, and against NumPy's float32."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from samples import compressed, learned
from single_models import (
    ADAM,
    CLOSE,
    EACH,
    LINEAR,
    LOGISTIC,
    MODELS,
    SOFTMAX,
    assert_single,
    begun,
    distance,
)

import streamgd
from streamgd import _gradient, optim
from streamgd.imblearn import ReservoirSMOTE
from streamgd.kernels.pieces import PENALTY, PENALTY_2, SAMPLES, T
from streamgd.optim import penalties


def steps(model: Any, X: Any, y: Any, w: Any = None, **more: Any) -> tuple[Any, Any]:
    """Return twins of a model after one step on the same rows, in float32 and in float64."""
    one, other = copy.deepcopy(model), copy.deepcopy(model)
    for twin, dtype in ((one, "float32"), (other, None)):
        gradient = twin.accumulate(dtype)
        gradient.add(X, y, 1 if w is None else w, **more)
        gradient.step()
    return one, other


# -- against float64 ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", EACH)
def test_one_step_agrees_with_float64(name: str) -> None:
    number = list(MODELS).index(name)
    n = int(np.random.default_rng(number).choice([64, 257, 1000, 4096]))
    model, X, y = begun(MODELS[name], n, number)
    one, other = steps(model, X, y)
    far = distance(one, other)
    assert max(far.values()) < CLOSE, far
    assert distance(model, other)["weights"] > 10 * CLOSE  # else there was no step
    assert_single(one)
    np.testing.assert_array_equal(one._scalars[..., [T, SAMPLES]], other._scalars[..., [T, SAMPLES]])
    np.testing.assert_array_equal(one._class_counts, other._class_counts)


def some(model: Any, n: int, seed: int) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Rows of a model that can be learned, but not without errors."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 6)).astype(np.float32)
    z = X @ np.linspace(-1.0, 1.5, 6) + 0.3 + rng.normal(size=n)
    if isinstance(model, SOFTMAX):
        return X, np.array(["a", "b", "c"])[np.digitize(z, [-0.5, 0.8])]
    if isinstance(model, LOGISTIC):
        return X, z > 0
    return X, np.maximum(z, 0.0) if model.loss.lowest == 0 else z


@pytest.mark.parametrize("name", EACH)
def test_losses_agree_after_200_steps(name: str) -> None:
    one, other = MODELS[name].clone(), MODELS[name].clone()
    X, y = some(one, 5000, 1)
    for model, dtype in ((one, "float32"), (other, None)):
        streamgd.fit(
            model,
            X,
            y,
            batch_size=100,
            epochs=4,
            dtype=dtype,
            metrics=[],
            shuffle=True,
            seed=2,
            progress=False,
        )
    assert one.n_updates == other.n_updates == 200
    in_float32, in_float64 = (
        np.mean(model._losses_of(y, model._raw_rows(X, None)[1])) for model in (one, other)
    )
    assert in_float32 == pytest.approx(in_float64, rel=1e-4)
    assert_single(one)


# -- against NumPy -----------------------------------------------------------------------------


def test_sgd_is_that_of_numpy_to_the_bit() -> None:
    """Quarters and batches of 64 are such that no order of adding rounds, so all that rounds is the step."""
    rng = np.random.default_rng(0)
    X = (rng.integers(-8, 8, size=(5, 64, 3)) / 4).astype(np.float32)
    y = rng.integers(-8, 8, size=(5, 64)) / 4
    model = LINEAR(optim.SGD(0.1), intercept_lr=0.05)
    w, intercept = np.zeros(3, np.float32), np.float32(0.0)
    for k in range(5):
        z = (X[k] * w).sum(axis=1, dtype=np.float64).astype(np.float32) + intercept
        given = model.accumulate("float32").add(X[k], y[k])
        assert given.dtype == np.float32
        np.testing.assert_allclose(given, z, rtol=1e-6, atol=1e-6)
        d = np.float32(2.0) * (given - y[k].astype(np.float32))
        gradient = (X[k] * d[:, np.newaxis]).sum(axis=0, dtype=np.float32) / np.float32(64.0)
        model._learn_made_many(X[k], y[k], 1, None, dtype="float32")
        w_next = w - np.float32(0.1) * gradient
        intercept = intercept - np.float32(0.05) * d.mean(dtype=np.float32)
        ours = model._weights[:3]
        if k == 0:  # later sums are of numbers with all their digits
            np.testing.assert_array_equal(ours, w_next)
            assert model.intercept == intercept
        np.testing.assert_allclose(ours, w_next, rtol=1e-6, atol=1e-7)
        w, intercept = ours.astype(np.float32), np.float32(model.intercept)


def test_adam_is_that_of_numpy_in_float32() -> None:
    rng = np.random.default_rng(1)
    one = np.float32(1.0)
    rate, b1, b2, eps = (np.float32(v) for v in (0.02, 0.9, 0.999, 1e-8))
    model = LINEAR(optim.Adam(0.02), intercept_lr=0.0)
    w, m, v = np.zeros(4, np.float32), np.zeros(4, np.float32), np.zeros(4, np.float32)
    for t in range(1, 30):
        X = rng.uniform(0.5, 1.5, size=(128, 4)).astype(np.float32)
        y = (X.sum(axis=1) + 9.0).astype(np.float32)
        d = np.float32(2.0) * (X @ w - y)
        g = (X * d[:, np.newaxis]).mean(axis=0, dtype=np.float32)
        m, v = b1 * m + (one - b1) * g, b2 * v + (one - b2) * g * g
        w = w - rate * (m / (one - b1**t)) / (np.sqrt(v / (one - b2**t)) + eps)
        model._learn_made_many(X, y, 1, None, dtype="float32")
        np.testing.assert_allclose(model._slots[:, :4], [m, v], rtol=1e-6)
        np.testing.assert_allclose(model._weights[:4], w, atol=3e-7)
    # float64 is another number: the new square's part of the mean is 1 - b2, in float32 1.3e-5 more or less
    double = LINEAR(optim.Adam(0.02), intercept_lr=0.0)
    rng = np.random.default_rng(1)
    for _ in range(29):
        X = rng.uniform(0.5, 1.5, size=(128, 4)).astype(np.float32)
        double.learn_many(X, (X.sum(axis=1) + 9.0).astype(np.float32))
    assert np.abs(double._slots[1, :4] / v - 1.0).min() > 1e-5


# -- rows, parts and threads -------------------------------------------------------------------

BLOCK = 64


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gradient, "block_rows", lambda n_columns: BLOCK)
    monkeypatch.setattr(_gradient, "SHARE", 8)


@pytest.mark.parametrize("name", ["Adam, Proximal", "Newton of Log", "softmax, weighted"])
@pytest.mark.parametrize("kind", ["float32", "float64", "sparse"])
@pytest.mark.usefixtures("small_blocks")
def test_threads_and_parts_change_no_bit(name: str, kind: str) -> None:
    fresh = MODELS[name]
    X, y = some(fresh, 5 * BLOCK + 23, 3)
    w = np.random.default_rng(0).choice([0.0, 0.5, 1.0], size=len(X))
    given: Any = {"float32": X, "float64": X.astype(np.float64), "sparse": compressed(X)}[kind]
    one, threaded, parted, single = (fresh.clone() for _ in range(4))
    for _ in range(3):
        one._learn_made_many(given, y, w, None, dtype="float32")
        threaded._learn_made_many(given, y, w, None, threads=3, dtype="float32")
        single._learn_made_many(X, y, w, None, dtype="float32")
        gradient = parted.accumulate("float32")
        for lo, hi in ((0, BLOCK), (BLOCK, 4 * BLOCK), (4 * BLOCK, len(X))):
            part = X[lo:hi]
            gradient.add(
                compressed(part) if kind == "sparse" else given[lo:hi], y[lo:hi], w[lo:hi], threads=2
            )
        gradient.step()
    assert learned(one) == learned(threaded) == learned(parted)
    if kind == "float64":  # rounded as they are read
        assert max(distance(one, single).values()) < 1e-5


@pytest.mark.parametrize("dtype", ["float16", "uint8", "int32"])
def test_rows_of_other_types(dtype: str) -> None:
    X = np.random.default_rng(2).integers(0, 200, size=(500, 5)).astype(dtype)
    y = X[:, 0] > X[:, 1]
    one, other = LOGISTIC(ADAM), LOGISTIC(ADAM)
    for model, given in ((one, X), (other, X.astype(np.float64))):
        streamgd.fit(model, given, y, batch_size=100, dtype="float32", progress=False)
    assert learned(one) == learned(other)


def test_columns_in_another_order_and_new_ones() -> None:
    X, y = some(LOGISTIC(), 300, 4)
    names = ["a", "b", "c", "d", "e", "f"]
    one, other = LOGISTIC(ADAM), LOGISTIC(ADAM)
    for model, dtype in ((one, "float32"), (other, None)):
        model._learn_made_many(X[:, :3], y, 1, None, columns=names[:3], dtype=dtype)
        model._learn_made_many(X[:, ::-1], y, 1, None, columns=names[::-1], dtype=dtype)
        model._learn_made_many(X[:, [1, 4]], y, 1, None, columns=["b", "e"], dtype=dtype)
    assert one.weights.keys() == other.weights.keys()
    assert list(one.weights.values()) == pytest.approx(list(other.weights.values()), abs=1e-6)
    assert_single(one)


def test_only_the_columns_of_a_batch_are_rounded() -> None:
    X, y = some(LOGISTIC(), 200, 5)
    model = LOGISTIC(optim.SGD(0.1))
    model.learn_many(X, y)
    before = model._weights[:6].copy()
    model._learn_made_many(X[:, [0, 2]], y, 1, None, columns=[0, 2], dtype="float32")
    np.testing.assert_array_equal(model._weights[[1, 3, 4, 5]], before[[1, 3, 4, 5]])
    assert (model._weights[[0, 2]] == model._weights[[0, 2]].astype(np.float32)).all()
    assert not (before == before.astype(np.float32)).all()


# -- what float32 cannot count, reach or hold --------------------------------------------------


@pytest.mark.parametrize("kind", [LOGISTIC, SOFTMAX])
def test_counts_stay_exact(kind: Any) -> None:
    X, y = some(kind(), 101, 6)
    model = kind(ADAM)
    model.learn_many(X, y)
    model._scalars[..., T], model._scalars[..., SAMPLES] = 2.0**24, 2.0**25 + 1.0
    for _ in range(3):
        model._learn_made_many(X, y, 1, None, dtype="float32")
    known = slice(len(model.labels_)) if kind is SOFTMAX else ...
    assert (model._scalars[known, T] == 2.0**24 + 3.0).all()
    assert (model._scalars[known, SAMPLES] == 2.0**25 + 304.0).all()


@pytest.mark.parametrize(
    "penalty",
    [
        penalties.Proximal(l2=1.0),
        penalties.Proximal(l1=0.05),
        penalties.Proximal(l1=0.02, l2=0.1),
        penalties.TruncatedGradient(0.05, every=3),
    ],
    ids=repr,
)
def test_lazy_penalties_are_folded_in_before_float32_is_full(penalty: Any) -> None:
    X, y = some(LINEAR(), 64, 7)
    one, other = (LINEAR(optim.SGD(0.1), penalty=penalty, intercept_lr=0.05) for _ in range(2))
    for k in range(3000):
        one._learn_made_many(X, y, 1, None, dtype="float32")
        other.learn_many(X, y)
        if k % 50 == 0:
            factor, paid = one._scalars[[PENALTY, PENALTY_2]]
            assert max(factor, paid) < 1e17
            if isinstance(penalty, penalties.TruncatedGradient):
                assert factor <= 1.1
            elif not penalty.l2:
                assert paid <= 1.1
    assert np.abs(list(other.weights.values())).max() > 0.1
    np.testing.assert_allclose(list(one.weights.values()), list(other.weights.values()), atol=2e-6)


@pytest.mark.parametrize("kind", [LOGISTIC, LINEAR, SOFTMAX])
def test_what_is_too_large_for_float32_is_refused(kind: Any) -> None:
    X, y = some(kind(), 100, 8)
    model = kind(ADAM, clip_gradient=1e30)
    model._learn_made_many(X, y, 1, None, dtype="float32")
    fresh = learned(model)
    for value in (2e15, 1e39, 1e149):
        bad = X.astype(np.float64)
        bad[7, 2] = value
        with pytest.raises(ValueError, match=r"row 7: .* larger than 1e15 .* float64") as caught:
            model._learn_made_many(bad, y, 1, None, dtype="float32")
        assert caught.value.row == 7
    for w in (1e16, 1e100):
        weights = np.ones(100)
        weights[4] = w
        with pytest.raises(ValueError, match=r"row 4: .* larger than 1e15"):
            model._learn_made_many(X, y, weights, None, dtype="float32")
    for value in (np.nan, np.inf):
        bad = X.copy()
        bad[3, 1] = value
        with pytest.raises(ValueError, match="row 3: feature 1 is"):
            model._learn_made_many(bad, y, 1, None, dtype="float32")
    if kind is LINEAR:
        far = y.copy()
        far[5] = 1e20
        with pytest.raises(ValueError, match=r"row 5: .* larger than 1e15"):
            model._learn_made_many(X, far, 1, None, dtype="float32")
    assert learned(model) == fresh
    gradient = model.accumulate("float32")
    for _ in range(200):  # each of them is fair
        gradient.add(X[:2], y[:2], 1e13)
    with pytest.raises(ValueError, match="larger than 1e15"):
        gradient.step()
    assert learned(model) == fresh


def test_weights_that_float32_has_not_are_refused() -> None:
    model = LINEAR()
    model.learn_many(np.ones((2, 2)), [1.0, 2.0])
    model._weights[0] = 1e60
    fresh = learned(model)
    with pytest.raises(ValueError, match="larger than 1e15"):
        model._learn_made_many(np.ones((2, 2)), [1.0, 2.0], 1, None, dtype="float32")
    assert learned(model) == fresh


@pytest.mark.parametrize("kind", [LOGISTIC, SOFTMAX])
def test_bad_rows_are_skipped(kind: Any) -> None:
    X, y = some(kind(), 300, 9)
    bad = X.copy()
    bad[[3, 70, 299]] = [[np.nan], [np.inf], [3e15]]
    good = np.setdiff1d(np.arange(300), [3, 70, 299])
    one, other = (kind(ADAM, on_invalid="skip", class_weight="balanced") for _ in range(2))
    for _ in range(3):
        z = one._learn_made_many(bad, y, 1, None, dtype="float32")
        other._learn_made_many(X[good], y[good], 1, None, dtype="float32")
        assert np.isnan(z[[3, 70, 299]]).all()
        assert not np.isnan(z[good]).any()
    assert one.n_invalid == 9
    assert one.n_samples == other.n_samples == 3 * 297
    np.testing.assert_array_equal(one._class_counts, other._class_counts)
    assert max(distance(one, other).values()) < 1e-5  # they are added up four by four


def test_tiny_hyper_parameters_do_not_become_0() -> None:
    """An eps below float32's smallest number keeps 0 / 0 away, as it is there to do."""
    X = np.zeros((10, 2), np.float32)
    X[:, 0] = 1.0
    model = LINEAR(optim.Adam(0.1, eps=1e-60))
    model._learn_made_many(X, np.ones(10), 1, None, dtype="float32")
    assert np.isfinite(model._weights[:2]).all()


# -- through fit -------------------------------------------------------------------------------


def fitted(model: Any, X: Any, y: Any, **options: Any) -> Any:
    return streamgd.fit(model, X, y, **{"dtype": "float32", "progress": False, "metrics": [], **options})


@pytest.mark.parametrize("batch_size", [50, "all"])
@pytest.mark.parametrize("name", ["averaged Adam", "fresh Adam", "softmax, lazy"])
def test_a_fit_in_pieces_is_the_same_to_the_bit(name: str, batch_size: Any) -> None:
    X, y = some(MODELS[name], 1010, 10)
    options = {"batch_size": batch_size, "shuffle": True, "seed": 4}
    whole = MODELS[name].clone()
    fitted(whole, X, y, epochs=4, **options)
    model = MODELS[name].clone()
    first = fitted(model, X, y, epochs=2, **options)
    if batch_size != "all":
        first = fitted(model, X, y, epochs=4, start=first.position, max_rows=350, **options)
    for copied in (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        model.clone(include_attributes=True),
    ):
        fitted(copied, X, y, epochs=4, start=first.position, **options)
        assert learned(copied) == learned(whole)
    assert whole._weights.dtype == np.float64  # float32 is in the numbers only
    assert_single(whole)


def test_the_history_is_that_of_float64() -> None:
    X, y = some(LOGISTIC(), 2000, 11)
    one, other = (
        fitted(LOGISTIC(ADAM), X, y, batch_size=64, epochs=3, metrics=["rocauc"], dtype=dtype)
        for dtype in ("float32", "float64")
    )
    assert one.updates == other.updates == 96
    assert one.epoch_losses == pytest.approx(other.epoch_losses, rel=1e-5)
    assert one.columns["rocauc"] == pytest.approx(other.columns["rocauc"], abs=1e-4)


def test_float64_is_what_it_is_without() -> None:
    X, y = some(LOGISTIC(), 500, 12)
    models = []
    for dtype in (None, "float64", np.float64):
        model = LOGISTIC(ADAM)
        fitted(model, X, y, batch_size=64, dtype=dtype)
        models.append(learned(model))
    assert models[0] == models[1] == models[2]


def test_schedules_that_look_at_losses() -> None:
    X, y = some(LOGISTIC(), 2000, 13)
    rate = optim.schedulers.ReduceLROnPlateau(0.5, patience=1, factor=0.5, window=100)
    one, other = (LOGISTIC(optim.SGD(rate)) for _ in range(2))
    for model, dtype in ((one, "float32"), (other, None)):
        fitted(model, X, y, batch_size=50, epochs=3, dtype=dtype)
    assert one.learning_rate == other.learning_rate < 0.5


def test_what_cannot_be_is_said() -> None:
    from river import linear_model as rivers
    from river import preprocessing

    X, y = some(LOGISTIC(), 100, 14)
    with pytest.raises(ValueError, match=r"batch_size=1: row by row is float64; .* mini-batches"):
        fitted(LOGISTIC(), X, y)
    for model in (
        rivers.LogisticRegression(),
        preprocessing.StandardScaler() | LOGISTIC(),
        ReservoirSMOTE(LOGISTIC()),
    ):
        with pytest.raises(ValueError, match="a learner of streamgd"):
            fitted(model, X, y, batch_size=32)
    for dtype in ("float16", "int8", np.int64):
        with pytest.raises(ValueError, match='"float64" or "float32"'):
            fitted(LOGISTIC(), X, y, batch_size=32, dtype=dtype)


@pytest.mark.parametrize("kind", [LOGISTIC, SOFTMAX])
def test_ctrl_c_behind_the_kernel_leaves_the_model_as_it_was(
    monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    X, y = some(kind(), 200, 15)
    model = kind(ADAM)
    model._learn_made_many(X[:, :3], y, 1, None, columns=["a", "b", "c"], dtype="float32")
    fresh = learned(model)
    original = model._kernels.step

    class Interrupted:
        def __init__(self, *parts: Any) -> None:
            self.parts = parts

        def call(self, *args: Any) -> None:
            original(*self.parts).call(*args)
            raise KeyboardInterrupt

    more = {"columns": ["c", "a", "new", "b", "d", "e"], "dtype": "float32"}
    with monkeypatch.context() as patch:
        patch.setattr(model._kernels, "step", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            model._learn_made_many(X, y, 1, None, **more)
    assert learned(model) == fresh
    model._learn_made_many(X, y, 1, None, **more)
    assert model.n_updates == 2


def test_the_next_process_finds_the_kernels(tmp_path: Path) -> None:
    code = """
import json, numpy as np, streamgd
from streamgd import _jit, linear_model
model = linear_model.LogisticRegression()
X = np.random.default_rng(0).normal(size=(100, 3))
streamgd.fit(model, X, X[:, 0] > 0, batch_size=10, dtype="float32", progress=False, metrics=[])
print(json.dumps([model.weights[0], [made.cached for made in _jit.compilations]]))
"""
    answers = []
    for _ in range(2):
        run = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        answers.append(json.loads(run.stdout))
    (first, made), (second, found) = answers
    assert first == second
    assert not any(made)
    assert all(found)
    assert len(found) == len(made) >= 2
