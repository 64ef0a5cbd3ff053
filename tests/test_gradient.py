"""Mini-batches of any size: by threads, in parts, and against closed forms."""

from __future__ import annotations

import copy
import itertools
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import samples
from cases import COVERING, EACH, Case
from numpy.typing import NDArray
from samples import compressed, learned

import streamgd
from streamgd import _gradient, _threads, linear_model, optim
from streamgd._rows import SparseRows
from streamgd.optim.base import Optimizer
from streamgd.optim.schedulers import Exponential, ReduceLROnPlateau

BLOCK = 64  # in place of thousands of rows
ROWS = 5 * BLOCK + 23


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gradient, "block_rows", lambda n_columns: BLOCK)
    monkeypatch.setattr(_gradient, "SHARE", 8)


class Newton(Case):
    @property
    def cls(self) -> type[Optimizer]:
        return optim.Newton


class Softmax(Case):
    binary = True

    def ours(self, **more: Any) -> Any:
        return linear_model.SoftmaxRegression(self.cls(self.lr), l1=self.l1, l2=self.l2, **more)


CASES = [
    *(case for case in [*COVERING, *EACH] if not case.cls.per_sample),
    Newton("Log", "Newton", 0.3, fields={"eps": 0.5}),
    Softmax("Softmax", "SGD"),
    Softmax("Softmax", "Adam", l1=0.001, l2=0.01),
]
FEW = [case for case in CASES if str(case) in ("Squared-AdaGrad-l1-l2", "Log-Newton", "Softmax-Adam-l1-l2")]


def three_labels(X: NDArray[Any]) -> NDArray[Any]:
    return np.array(["a", "b", "c"])[np.digitize(X[:, 0], [-0.2, 0.4])]


def rows(case: Case, kind: str, n: int = ROWS, p: int = 6) -> tuple[Any, NDArray[Any], NDArray[np.float64]]:
    data = samples.dense(n, p, binary=case.binary, seed=1)
    y = three_labels(data.X) if isinstance(case, Softmax) else data.y
    X = data.X.astype(np.float32) if kind == "float32" else data.X
    if kind == "sparse":
        return compressed(np.where(np.random.default_rng(0).random(X.shape) < 0.5, 0.0, X)), y, data.w
    return X, y, data.w


def part_of(X: Any, part: slice) -> Any:
    if not isinstance(X, SparseRows):
        return X[part]
    start, stop, _ = part.indices(len(X.indptr) - 1)
    begin, end = X.indptr[[start, stop]]
    return X._replace(
        data=X.data[begin:end], indices=X.indices[begin:end], indptr=X.indptr[start : stop + 1] - begin
    )


# -- the same to the bit -----------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=str)
def test_threads_and_parts_change_no_bit(case: Case) -> None:
    X, y, w = rows(case, "dense")
    one = case.ours()
    outputs = [one.predict_learn_many(X, y, w) for _ in range(3)]
    for threads in (2, 3, 4):
        model = case.ours()
        for z in outputs:
            np.testing.assert_array_equal(model.predict_learn_many(X, y, w, threads=threads), z)
        assert learned(model) == learned(one)
    model = case.ours()
    gradient = model.accumulate()
    for z in outputs:
        for lo, hi in ((0, BLOCK), (BLOCK, 4 * BLOCK), (4 * BLOCK, ROWS)):
            part = gradient.add(X[lo:hi], y[lo:hi], w[lo:hi], threads=hi // BLOCK)
            np.testing.assert_array_equal(part, z[lo:hi, : part.shape[1]] if part.ndim == 2 else z[lo:hi])
        assert gradient.n_samples == (w > 0).sum()
        gradient.step()
    assert learned(model) == learned(one)


@pytest.mark.parametrize("kind", ["float32", "sparse"])
@pytest.mark.parametrize("case", FEW, ids=str)
def test_other_rows_change_no_bit_either(case: Case, kind: str) -> None:
    X, y, w = rows(case, kind)
    one, threaded, parted = (case.ours() for _ in range(3))
    gradient = parted.accumulate()
    # compressed rows are added up singly: their parts may have any size
    cuts = [0, 1, 100, 101, ROWS] if kind == "sparse" else [0, BLOCK, 3 * BLOCK, ROWS]
    for _ in range(3):
        one.learn_many(X, y, w)
        threaded.learn_many(X, y, w, threads=3)
        for lo, hi in itertools.pairwise(cuts):
            gradient.add(part_of(X, slice(lo, hi)), y[lo:hi], w[lo:hi])
        gradient.step()
    assert learned(one) == learned(threaded) == learned(parted)


def test_blocks_of_real_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    sizes = {1: 4096, 30: 4096, 32: 4096, 33: 2048, 1000: 128, 10**6: 64}
    assert {p: _gradient.block_rows(p) for p in sizes} == sizes
    data = samples.dense(10_000, 40, binary=True, seed=2)
    one, parted = linear_model.LogisticRegression(), linear_model.LogisticRegression()
    one.learn_many(data.X, data.y, data.w, threads=2)
    gradient = parted.accumulate()
    for lo in (0, 4096, 8192):
        part = slice(lo, lo + 4096)
        gradient.add(data.X[part], data.y[part], data.w[part])
    gradient.step()
    assert learned(one) == learned(parted)


def test_columns_of_skewed_use_are_shared_fairly() -> None:
    index = np.minimum(np.random.default_rng(0).zipf(1.3, 50_000), 10_000) - 1
    edges = _gradient._edges(index, 10_000, 4)
    assert edges[0] == 0
    assert edges[-1] == 10_000
    counts = np.histogram(index, edges)[0]
    assert counts.sum() == 50_000
    assert counts[1:].max() < 25_000  # the first column alone has more than its share
    assert _gradient._edges(np.zeros(100, dtype=np.int64), 5, 4) == [0, 5]
    assert _gradient._edges(index[:0], 5, 4) == [0, 5]


def test_labels_that_the_model_learns_before_the_first_part_keep_their_codes() -> None:
    data = samples.dense(ROWS, 5, binary=True, seed=3)
    y = np.where(data.y > 0, "a", "b")
    model, reference = linear_model.LogisticRegression(), linear_model.LogisticRegression()
    gradient = model.accumulate()
    for label in ("b", "a"):
        model.learn_one({0: 1.0}, label)
        reference.learn_one({0: 1.0}, label)
    gradient.add(data.X, y)
    gradient.step()
    reference.learn_many(data.X, y)
    assert model.labels_ == reference.labels_ == ("b", "a")
    assert learned(model) == learned(reference)


# -- closed forms ------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["dense", "float32", "sparse", "parts"])
def test_full_batch_descent_follows_its_closed_form(way: str) -> None:
    r"""Gradient descent on least squares: :math:`w_k = (I - (I - \eta A)^k) A^{-1} b`."""
    data = samples.dense(ROWS, 5, binary=False, seed=3)
    X = data.X.astype(np.float32).astype(np.float64)
    A, b = 2 * (data.w[:, None] * X).T @ X, 2 * X.T @ (data.w * data.y)
    n, lr = (data.w > 0).sum(), 0.05  # the mean is over rows with a weight
    A, b = A / n, b / n
    model = linear_model.LinearRegression(optim.SGD(lr), intercept_lr=0.0)
    given = {"float32": X.astype(np.float32), "sparse": compressed(X)}.get(way, X)
    for k in range(1, 201):
        if way == "parts":
            gradient = model.accumulate()
            for lo in range(0, ROWS, 50):
                part = slice(lo, lo + 50)
                gradient.add(X[part], data.y[part], data.w[part])
            gradient.step()
        else:
            model.learn_many(given, data.y, data.w, threads=2)
        if k in (1, 10, 200):
            power = np.linalg.matrix_power(np.eye(5) - lr * A, k)
            expected = (np.eye(5) - power) @ np.linalg.solve(A, b)
            np.testing.assert_allclose(list(model.weights.values()), expected, rtol=1e-11)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_batches_of_one_are_rows(case: Case) -> None:
    """Not to the bit: of ``g * x`` a batch stores the rounded product, a row's step may fuse it."""
    X, y, w = rows(case, "dense", 60)
    X, y, w = X[w > 0], y[w > 0], w[w > 0]  # Newton's matrix would see a gradient of 0 as well
    single, batched = case.ours(), case.ours()
    z = single.predict_learn_rows(X, y, w)
    many = [batched.predict_learn_many(X[i : i + 1], y[i : i + 1], w[i : i + 1])[0] for i in range(len(y))]
    for given, expected in zip(many, z, strict=True):
        same = expected[: len(given)] if np.ndim(given) else expected
        np.testing.assert_allclose(given, same, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(batched._weights, single._weights, rtol=1e-10, atol=1e-12)
    assert (batched.n_updates, batched.n_samples) == (single.n_updates, single.n_samples)


def test_outputs_are_those_before_the_step() -> None:
    data = samples.dense(90, 4, binary=False, seed=4)
    model = linear_model.LinearRegression(optim.SGD(0.1))
    model.learn_rows(data.X[:40], data.y[:40])
    w, b = np.array(list(model.weights.values())), model.intercept
    z = model.predict_learn_many(data.X, data.y, data.w)  # of rows of weight 0 too
    np.testing.assert_allclose(z, data.X @ w + b, rtol=1e-12)
    assert model.predict_learn_many(data.X[:0], data.y[:0]).shape == (0,)


# -- parts that bring something new ------------------------------------------------------------


@pytest.mark.parametrize("case", [*FEW, Case("Log", "Adam", 0.02)], ids=str)
def test_features_and_labels_may_turn_up_in_later_parts(case: Case) -> None:
    X, y, w = rows(case, "dense", 200, 40)
    y = np.sort(y)  # labels one after the other
    parts = ((slice(70), 20), (slice(70, 80), 25), (slice(80, 200), 40))
    for part, known in parts:
        X[part, known:] = 0.0
    whole, parted = case.ours(), case.ours()
    gradient = parted.accumulate()
    for _ in range(2):
        for part, known in parts:
            z = gradient.add(compressed(X[part, :known]), y[part], w[part])
        fresh = not whole.n_updates
        assert len(parted.weights) == 0 or not fresh
        np.testing.assert_array_equal(z, whole.predict_learn_many(compressed(X), y, w)[80:])
        gradient.step()
        assert learned(parted) == learned(whole)
    if isinstance(case, Softmax):
        assert parted.labels_ == ("a", "b", "c")


@pytest.mark.parametrize("case", [*FEW, Case("Squared", "Momentum", 0.02)], ids=str)
def test_columns_in_any_order(case: Case) -> None:
    X, y, w = rows(case, "dense")
    names = [f"x{k}" for k in range(6)]
    whole, parted = case.ours(), case.ours()
    gradient = parted.accumulate()
    for model in (whole, parted):
        model.learn_rows(X[:30][:, [1, 4]], y[:30], columns=["x1", "x4"])
    full = X.copy()
    full[100:200, [0, 3]] = 0.0
    for _ in range(2):
        whole.learn_many(full, y, w, columns=names)
        for lo, hi, order in ((0, 100, [2, 0, 1, 4, 3, 5]), (100, 200, [5, 1, 4, 2]), (200, ROWS, range(6))):
            columns = [names[k] for k in order]
            gradient.add(full[lo:hi][:, list(order)], y[lo:hi], w[lo:hi], columns=columns)
        gradient.step()
    assert set(parted._features.names) == set(whole._features.names)
    slots = [parted._features.get(name) for name in whole._features.names]
    n = len(slots)
    np.testing.assert_allclose(parted._weights[slots], whole._weights[:n], rtol=1e-10, atol=1e-13)


# -- errors, and what is no step ---------------------------------------------------------------


@pytest.mark.parametrize("case", FEW, ids=str)
def test_a_bad_part_adds_nothing(case: Case) -> None:
    X, y, w = rows(case, "dense")
    whole, model = case.ours(), case.ours()
    gradient = model.accumulate()
    fresh = learned(model)
    bad = X.copy()
    bad[3 * BLOCK + 5, 2] = np.nan
    for part in (slice(0, 100), slice(100, ROWS)):
        for threads in (1, 3):
            with pytest.raises(ValueError, match="row 197: feature 'x2' is nan") as caught:
                gradient.add(bad, y, w, columns=[f"x{k}" for k in range(6)], threads=threads)
            assert caught.value.row == 3 * BLOCK + 5  # type: ignore[attr-defined]
        gradient.add(X[part], y[part], w[part])
        assert learned(model) == fresh
    whole_gradient = whole.accumulate()
    for part in (slice(0, 100), slice(100, ROWS)):
        whole_gradient.add(X[part], y[part], w[part])
    for each in (gradient, whole_gradient):
        each.step()
    assert learned(model) == learned(whole)
    assert list(model._features.names) == list(range(6))


def test_columns_that_stand_twice_are_refused() -> None:
    model = linear_model.LinearRegression()
    gradient = model.accumulate()
    fresh = learned(model)
    for columns in (["a", "b", "a"], ["b", "a", "a"]):
        with pytest.raises(ValueError, match="column 'a' stands twice"):
            gradient.add(np.ones((2, 3)), [1.0, 2.0], columns=columns)
    gradient.add(np.ones((2, 2)), [1.0, 2.0], columns=["a", "b"])
    with pytest.raises(ValueError, match="column 'b' stands twice"):
        gradient.add(np.ones((2, 3)), [1.0, 2.0], columns=["a", "b", "b"])
    assert learned(model) == fresh
    gradient.step()
    assert list(model.weights) == ["a", "b"]


def test_the_model_must_stay_as_it_was() -> None:
    data = samples.dense(20, 3, binary=False, seed=5)
    changes: list[Any] = [
        lambda m: m.learn_many(data.X, data.y),
        lambda m: m.learn_one({0: 1.0}, 1.0),
        lambda m: setattr(m, "l2", 0.3),
        lambda m: setattr(m, "intercept", m.intercept + 1.0),
    ]
    for change in changes:
        model = linear_model.LinearRegression()
        gradient = model.accumulate()
        gradient.step()
        change(model)
        gradient.add(data.X, data.y)
        gradient.add(data.X, data.y)
        change(model)
        before = learned(model)
        with pytest.raises(RuntimeError, match="has learned or changed since rows were added"):
            gradient.add(data.X, data.y)
        with pytest.raises(RuntimeError, match=r"call step\(\) first, or begin again"):
            gradient.step()
        assert learned(model) == before


@pytest.mark.parametrize("case", FEW, ids=str)
def test_nothing_added_or_no_weight_is_no_step(case: Case) -> None:
    X, y, _ = rows(case, "dense")
    model = case.ours()
    fresh = learned(model)
    gradient = model.accumulate()
    gradient.step()
    gradient.add(X[:0], y[:0])
    gradient.add(X, y, 0.0)
    gradient.add(X, y, np.zeros(ROWS))
    assert gradient.n_samples == 0
    gradient.step()
    assert learned(model) == fresh
    gradient.add(X, y)
    gradient.step()
    other = case.ours()
    other.learn_many(X, y)
    assert learned(model) == learned(other)


@pytest.mark.parametrize("kind", [linear_model.LogisticRegression, linear_model.SoftmaxRegression])
def test_ctrl_c_behind_the_kernel_leaves_a_whole_step(monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    data = samples.dense(200, 4, binary=True, seed=6)
    whole, model = kind(optim.Adam(0.1)), kind(optim.Adam(0.1))
    original = model._kernels.step

    class Interrupted:
        def __init__(self, pieces: Any) -> None:
            self.pieces = pieces

        def call(self, *args: Any) -> None:
            original(self.pieces).call(*args)
            raise KeyboardInterrupt

    for learner in (whole, model):
        learner.learn_many(data.X[:100, :3], data.y[:100], columns=["a", "b", "c"])
    more = {"columns": ["c", "a", "new", "b"]}  # not in the model's order, and a feature it does not know
    whole.learn_many(data.X, data.y, **more)
    with monkeypatch.context() as patch:
        patch.setattr(model._kernels, "step", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.learn_many(data.X, data.y, **more)
    assert learned(model) == learned(whole)
    assert model.weights == whole.weights
    for learner in (whole, model):
        learner.learn_many(data.X, data.y, **more)
    assert model.weights == whole.weights


def test_a_sum_that_is_too_large_is_refused() -> None:
    model = linear_model.LinearRegression()
    gradient = model.accumulate()
    for _ in range(40):  # each of them is fair
        gradient.add(np.full((1, 1), 3e149), [1.0])
    fresh = learned(model)
    with pytest.raises(ValueError, match="larger than 1e150"):
        gradient.step()
    assert learned(model) == fresh


@pytest.mark.parametrize("case", FEW, ids=str)
@pytest.mark.parametrize("kind", ["dense", "float32", "sparse"])
def test_bad_rows_may_be_skipped(case: Case, kind: str) -> None:
    X, y, w = rows(case, kind)
    bad = X.data if isinstance(X, SparseRows) else X.reshape(-1)
    bad[[200, 900]] = np.nan, np.inf
    where = np.array([200, 900]) // 6
    if isinstance(X, SparseRows):
        where = np.searchsorted(X.indptr, [200, 900], "right") - 1
    w = np.ones(ROWS)
    w[7] = -1.0
    skipped = [7, *where.tolist()]
    model, good = case.ours(on_invalid="skip"), case.ours()
    z = model.predict_learn_many(X, y, w, threads=2).reshape(ROWS, -1)
    assert np.flatnonzero(np.isnan(z).any(axis=1)).tolist() == skipped
    assert (model.n_invalid, model.n_samples) == (3, ROWS - 3)
    kept = np.setdiff1d(np.arange(ROWS), skipped)
    if isinstance(X, SparseRows):
        gradient = good.accumulate()
        for i in kept.tolist():
            gradient.add(part_of(X, slice(i, i + 1)), y[i : i + 1])
        gradient.step()
    else:
        good.learn_many(X[kept], y[kept])
    np.testing.assert_allclose(model._weights, good._weights, rtol=1e-10, atol=1e-13)


def test_what_threads_may_be() -> None:
    model = linear_model.LinearRegression()
    for threads in (0, -1, 2.0, True, None):
        with pytest.raises(ValueError, match=r"threads=.*: it must be an int of at least 1"):
            model.learn_many(np.ones((2, 1)), [1.0, 2.0], threads=threads)  # type: ignore[arg-type]


def test_an_error_or_interrupt_in_a_thread_ends_all_of_them() -> None:
    done = []

    def work(k: int) -> None:
        if k == 5:
            raise KeyboardInterrupt
        done.append(k)

    with pytest.raises(KeyboardInterrupt):
        _gradient.share(work, 10**6, 3)
    n = len(done)
    assert n < 10**6
    assert len(done) == n  # nobody works on
    _gradient.share(done.append, 100, 3)
    assert sorted(done[n:]) == list(range(100))


def test_an_interrupt_while_threads_are_waited_for_waits_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    at_work, interrupts, wait = set(), iter([KeyboardInterrupt, KeyboardInterrupt]), _threads.wait

    def interrupted(helpers: Any) -> Any:
        for interrupt in interrupts:
            raise interrupt
        return wait(helpers)

    def work(k: int) -> None:
        at_work.add(k)
        if threading.current_thread() is not threading.main_thread():
            time.sleep(0.2)
        at_work.discard(k)

    monkeypatch.setattr(_threads, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _threads.share(work, 100, 3)
    assert not at_work


@pytest.mark.skipif(sys.platform == "win32", reason="processes are not forked there")
def test_a_forked_process_has_threads_of_its_own() -> None:
    code = """
import os, signal
import numpy as np
from streamgd import linear_model
X, y = np.ones((20_000, 4)), np.ones(20_000)
model = linear_model.LinearRegression()
model.learn_many(X, y, threads=2)
child = os.fork()
if child == 0:
    signal.alarm(60)
    model.learn_many(X, y, threads=2)
    os._exit(model.n_updates)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) - 2)
"""
    subprocess.run([sys.executable, "-W", "ignore::DeprecationWarning", "-c", code], check=True, timeout=120)


# -- what drivers ask for ----------------------------------------------------------------------


@pytest.mark.parametrize("case", [CASES[0], CASES[4]], ids=str)
def test_losses_of_outputs(case: Case) -> None:
    X, y, w = rows(case, "dense", 50)
    model = case.ours()
    z = model.predict_learn_rows(X, y, w)
    z[3] = np.nan
    losses = model._losses_of(y, z)
    expected = [model.loss.value(float(t), p) for t, p in zip(y, z, strict=True)]
    expected[3] = np.nan
    np.testing.assert_allclose(losses, expected, rtol=1e-12)


def test_losses_of_several_classes() -> None:
    data = samples.dense(60, 3, binary=True, seed=6)
    y = three_labels(data.X)
    loss = optim.losses.CrossEntropy({"b": 3.0})
    model = linear_model.SoftmaxRegression(loss=loss)
    z = model.predict_learn_rows(data.X, y, data.w)
    z[3] = np.nan
    losses = model._losses_of(np.append(y, "new"), np.vstack([z, z[-1:]]))
    assert np.flatnonzero(np.isnan(losses)).tolist() == [3, 60]
    for i in range(60):
        if i != 3:
            p = dict(zip(model.labels_, loss.mean_func(z[i : i + 1])[0], strict=True))
            assert losses[i] == pytest.approx(loss(y[i], p), rel=1e-9)


@pytest.mark.parametrize("case", FEW, ids=str)
def test_the_last_output_is_that_of_the_row_as_rows_have_it(case: Case) -> None:
    X, y, w = rows(case, "dense", 60)
    one, many = case.ours(on_invalid="skip"), case.ours(on_invalid="skip")
    X[10, 2] = np.nan
    names = [f"x{k}" for k in range(6)]
    z = many.predict_learn_rows(X, y, w, columns=names)
    for i, (x, t, h) in enumerate(zip(X.tolist(), y.tolist(), w.tolist(), strict=True)):
        for _ in range(2 if h == 0 else 1):
            one.learn_one(dict(zip(names, x, strict=True)), t, h)
            last = np.atleast_1d(one._last_output())
            np.testing.assert_allclose(last, np.atleast_1d(z[i])[: len(last)], rtol=1e-9, atol=1e-12)
    one.learn_one({**dict.fromkeys(names, 1.0), "unseen": 5.0}, y[0].item(), 0.0)  # which only Python reads
    here = many.predict_learn_many(np.ones((1, 6)), y[:1], columns=names)[0]
    np.testing.assert_allclose(one._last_output(), here, rtol=1e-9)


EPOCHS = Exponential(0.1, k=0.5, per="epoch")


@pytest.mark.parametrize("way", ["pickle", "deepcopy", "save", "clone"])
def test_passes_are_epochs_where_a_schedule_has_no_size_of_them(way: str, tmp_path: Path) -> None:
    model = linear_model.LinearRegression(optim.SGD(EPOCHS))
    with pytest.raises(ValueError, match="counts epochs, and a stream has none"):
        model.learn_one({"a": 1.0}, 1.0)
    model._epochs = 0
    rates = []
    for _ in range(3):
        for _ in range(5):
            model.learn_one({"a": 1.0}, 1.0)
            rates.append(model.learning_rate)
        model._count_epoch()
    assert rates == [EPOCHS.get(k) for k in (0, 1, 2) for _ in range(5)]
    assert model._epochs == 3
    if way == "pickle":
        other = pickle.loads(pickle.dumps(model))
    elif way == "deepcopy":
        other = copy.deepcopy(model)
    elif way == "save":
        streamgd.save(model, tmp_path / "model.safetensors")
        other = streamgd.load(tmp_path / "model.safetensors")
    else:
        other = model.clone(include_attributes=True)
    for each in (model, other):
        each.learn_one({"a": 1.0}, 1.0)
    assert other.weights == model.weights
    assert other.learning_rate == EPOCHS.get(3)
    assert model.clone()._epochs is None


def test_schedules_see_the_losses_of_a_step_that_came_in_parts() -> None:
    X, y, w = rows(COVERING[0], "dense")

    def make() -> Any:
        return linear_model.LinearRegression(optim.SGD(ReduceLROnPlateau(0.01, patience=0, window=50)))

    whole, parted = make(), make()
    gradient = parted.accumulate()
    for _ in range(20):
        whole.learn_many(X, y, w)
        for part in (slice(0, BLOCK), slice(BLOCK, ROWS)):
            gradient.add(X[part], y[part], w[part])
        gradient.step()
        assert parted.learning_rate == whole.learning_rate
        assert parted._observed == whole._observed
    assert learned(parted) == learned(whole)
    assert whole.learning_rate < 0.01
