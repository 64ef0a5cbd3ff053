"""Kernels: nothing is written before a row is accepted, and all ways in run the same arithmetic."""

from __future__ import annotations

import platform
import re
from typing import Any

import numpy as np
import pytest
import samples
from cases import COVERING, Case
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from streamgd import linear_model, optim
from streamgd._jit import OPTIONS
from streamgd._rows import SparseRows
from streamgd.kernels import linear
from streamgd.kernels.pieces import Pieces
from streamgd.optim import losses, penalties

every_case = pytest.mark.parametrize("case", COVERING, ids=str)
# one for each optimizer: mini-batches are kernels of their own
BATCHED = [next(c for c in COVERING if c.optimizer == name) for name in ("SGD", "AdaGrad")] + [
    next(c for c in COVERING if c.optimizer == name and c.l1) for name in ("Adam", "Momentum", "RMSProp")
]


def state(model: Any) -> list[bytes]:
    """All that a model has learned, to the bit."""
    arrays = (model._weights, model._slots, model._charged, model._scalars)
    return [array.tobytes() for array in arrays] + [repr(list(model.weights)).encode()]


def learned(model: Any) -> list[bytes]:
    """As `state`, without the places that no feature has taken."""
    n = len(model.weights)
    arrays = (model._weights[:n], model._slots[:, :n], model._charged[:n], model._scalars)
    return [array.tobytes() for array in arrays] + [repr(list(model.weights)).encode()]


def csr(X: np.ndarray) -> SparseRows:
    """All values of a matrix, zeros too, as compressed rows."""
    n, p = X.shape
    return SparseRows(X.ravel(), np.tile(np.arange(p), n), np.arange(n + 1) * p, p)


# -- refused rows ------------------------------------------------------------------------------

BAD = [np.nan, np.inf, -np.inf, 1e200, -1e200]


@every_case
def test_a_refused_row_writes_nothing(case: Case) -> None:
    data = samples.dense(30, 5, binary=case.binary, seed=1)
    model = case.ours()
    model.learn_rows(data.X[:20], data.y[:20], data.w[:20], columns=data.names)
    before = state(model)
    X, y = data.X[20:21], data.y[20:21]
    for bad in BAD:
        for k in range(5):
            row = X.copy()
            row[0, k] = bad
            x = dict(zip(data.names, row[0].tolist(), strict=True))
            for attempt in (
                lambda row=row: model.learn_rows(row, y, columns=data.names),
                lambda row=row: model.learn_rows(csr(row), y, columns=data.names),
                lambda x=x: model.learn_one(x, y[0].item()),
                lambda x=x: model.learn_one({"new": 1.0, **x}, y[0].item()),
            ):
                with pytest.raises(ValueError, match=f"feature 'x{k}' is"):
                    attempt()
                assert state(model) == before
            if not abs(bad) == 1e200:
                with pytest.raises(ValueError, match=f"feature 'x{k}' is"):
                    model.learn_rows(row.astype(np.float32), y, columns=data.names)
                assert state(model) == before
        with pytest.raises(ValueError, match="weight"):
            model.learn_rows(X, y, abs(bad), columns=data.names)
        with pytest.raises(ValueError, match="weight"):
            model.learn_one({"x0": 1.0}, y[0].item(), bad)
        with pytest.raises(ValueError, match=r"label|target"):
            model.learn_rows(X, np.array([bad]), columns=data.names)
        with pytest.raises(ValueError, match=r"label|target"):
            model.learn_one({"x0": 1.0}, bad)
        assert state(model) == before


@every_case
def test_fair_values_whose_sum_or_gradient_overflows_write_nothing(case: Case) -> None:
    data = samples.dense(20, 4, binary=case.binary, seed=2)
    model = case.ours()
    model.learn_rows(data.X, data.y, columns=data.names)
    before = state(model)
    y = data.y[0].item()
    large = {"x0": 9e149, "x1": 9e149}  # each of them is accepted, their sum is not
    with pytest.raises(ValueError, match=r"larger than 1e150|scale the features"):
        model.learn_one(large, y)
    with pytest.raises(ValueError, match=r"larger than 1e150|scale the features"):
        model.learn_rows(np.array([[9e149, 9e149, 0.0, 0.0]]), [y], columns=data.names)
    assert state(model) == before
    # A feature and a gradient of which each is accepted, their product is not. Wrong labels, because at
    # right ones the gradient is 0; a squared loss needs no large weight unless features are rescaled.
    x = {"x0": 1e140}
    wrong = not model.predict_one(x) if case.binary else y
    h = 1.0 if case.loss == "Squared" and case.optimizer != "Normalized" else 1e60
    if case.clip_gradient == 1e12:
        with pytest.raises(ValueError, match=r"larger than 1e150|scale the features"):
            model.learn_one(x, wrong, h)
        with pytest.raises(ValueError, match=r"larger than 1e150|scale the features"):
            model.learn_rows(np.array([[1e140]]), [wrong], h, columns=["x0"])
        assert state(model) == before


@every_case
def test_rows_before_a_bad_one_are_learned(case: Case) -> None:
    data = samples.dense(40, 4, binary=case.binary, seed=3)
    X = data.X.copy()
    X[25, 2] = np.nan
    model, prefix = case.ours(), case.ours()
    with pytest.raises(ValueError, match="row 25: feature 'x2' is nan") as caught:
        model.learn_rows(X, data.y, data.w, columns=data.names)
    assert caught.value.row == 25
    prefix.learn_rows(X[:25], data.y[:25], data.w[:25], columns=data.names)
    assert learned(model) == learned(prefix)


@pytest.mark.parametrize("case", BATCHED, ids=str)
def test_a_refused_batch_writes_nothing(case: Case) -> None:
    data = samples.dense(40, 4, binary=case.binary, seed=4)
    model = case.ours()
    model.learn_many(data.X[:20], data.y[:20], columns=data.names)
    before = state(model)
    for bad in BAD:
        X = data.X[20:].copy()
        X[13, 1] = bad
        for names in (data.names, ["x3", "x2", "x1", "new"]):
            with pytest.raises(ValueError, match=rf"row 13: feature '{names[1]}' is"):
                model.learn_many(X, data.y[20:], columns=names)
            assert state(model) == before
        w = np.where(np.arange(20) == 7, bad, 1.0)
        with pytest.raises(ValueError, match="weight"):
            model.learn_many(data.X[20:], data.y[20:], w, columns=data.names)
        assert state(model) == before
        if not case.binary:
            y = np.where(np.arange(20) == 3, bad, 1.0)
            with pytest.raises(ValueError, match="row 3: the target is"):
                model.learn_many(data.X[20:], y, columns=data.names)
            assert state(model) == before
    if not case.binary:  # rows that are fair each, their sum is not
        with pytest.raises(ValueError, match="1e150"):
            model.learn_many(np.full((20, 4), 4e149), np.zeros(20), columns=data.names)
        assert state(model) == before


@every_case
def test_rows_of_weight_zero_write_nothing(case: Case) -> None:
    data = samples.dense(30, 4, binary=case.binary, seed=5)
    model = case.ours()
    model.learn_rows(data.X, data.y, columns=data.names)
    before = state(model)
    model.learn_one(data.dicts()[0], data.y[0].item(), 0)
    model.learn_one({"new": 1.0}, data.y[0].item(), 0.0)
    model.learn_rows(data.X, data.y, 0.0, columns=data.names)
    if case.optimizer != "Normalized":
        model.learn_many(data.X, data.y, 0.0, columns=data.names)
    assert state(model) == before


# -- the same arithmetic whatever the way in -----------------------------------------------------


@every_case
def test_dicts_equal_rows_to_the_bit(case: Case) -> None:
    data = samples.dense(200, 9, binary=case.binary, seed=6)
    by_rows, by_dict, fresh, by_parts = case.ours(), case.ours(), case.ours(), case.ours()
    z = by_rows.predict_learn_rows(data.X, data.y, data.w, columns=data.names)
    for x, y, h in zip(data.dicts(), data.y.tolist(), data.w.tolist(), strict=True):
        by_dict.learn_one(x, y, h)
        fresh.learn_one({"".join(list(k)): v for k, v in x.items()}, y, h)  # other key objects
    parts = []
    for i in range(0, 200, 7):
        X, y, w = data.X[i : i + 7], data.y[i : i + 7], data.w[i : i + 7]
        parts.append(by_parts.predict_learn_rows(X, y, w, columns=data.names))
    assert learned(by_dict) == learned(by_rows)
    assert learned(fresh) == learned(by_rows)
    assert learned(by_parts) == learned(by_rows)
    assert np.concatenate(parts).tolist() == z.tolist()


@every_case
def test_float32_rows_equal_float64_rows_to_the_bit(case: Case) -> None:
    data = samples.dense(200, 9, binary=case.binary, seed=7)
    X = data.X.astype(np.float32)
    single, double = case.ours(), case.ours()
    z = single.predict_learn_rows(X, data.y, data.w)
    assert z.tolist() == double.predict_learn_rows(X.astype(np.float64), data.y, data.w).tolist()
    assert learned(single) == learned(double)


@every_case
def test_compressed_rows_equal_dicts(case: Case) -> None:
    rows, matrix, ys, ws, names = samples.sparse(200, 8, binary=case.binary, seed=8)
    by_rows, by_dict = case.ours(), case.ours()
    by_rows.learn_rows(matrix, ys, ws, columns=names)
    for x, y, h in zip(rows, ys.tolist(), ws.tolist(), strict=True):
        by_dict.learn_one(x, y, h)
    weights = by_rows.weights
    assert by_dict.weights == pytest.approx({k: weights[k] for k in by_dict.weights}, rel=1e-12, abs=1e-14)
    assert by_dict.intercept == pytest.approx(by_rows.intercept, rel=1e-12)


@every_case
def test_columns_in_another_order_or_only_some(case: Case) -> None:
    data = samples.dense(300, 6, binary=case.binary, seed=9)
    by_rows, by_dict = case.ours(), case.ours()
    order = [4, 1, 5, 0, 3, 2]
    z = []
    for start, columns in ((0, [2, 1, 0, 3]), (100, order), (200, [5, 1]), (250, [0, 1, 2, 3, 4, 5])):
        stop = {0: 100, 100: 200, 200: 250, 250: 300}[start]
        names = [data.names[k] for k in columns]
        X = np.ascontiguousarray(data.X[start:stop, columns])
        z += by_rows.predict_learn_rows(X, data.y[start:stop], columns=names).tolist()
        for row, y in zip(X.tolist(), data.y[start:stop].tolist(), strict=True):
            by_dict.learn_one(dict(zip(names, row, strict=True)), y)
    assert list(by_rows.weights) == list(by_dict.weights)
    assert by_rows.weights == pytest.approx(by_dict.weights, rel=1e-12, abs=1e-14)
    assert np.isfinite(z).all()


@every_case
def test_a_prefix_of_a_stream_gives_a_prefix(case: Case) -> None:
    data = samples.dense(120, 5, binary=case.binary, seed=10)
    whole = case.ours().predict_learn_rows(data.X, data.y, data.w)
    prefix = case.ours().predict_learn_rows(data.X[:70], data.y[:70], data.w[:70])
    assert prefix.tolist() == whole[:70].tolist()


@settings(max_examples=25)
@given(order=st.permutations(range(6)))
def test_the_order_of_features_is_irrelevant(order: list[int]) -> None:
    data = samples.dense(50, 6, binary=False, seed=11)
    models = [Case("Squared", "SGD", 0.02).ours() for _ in range(2)]
    for x, y in zip(data.dicts(), data.y.tolist(), strict=True):
        models[0].learn_one(x, y)
        models[1].learn_one({data.names[k]: x[data.names[k]] for k in order}, y)
    assert models[0].weights == pytest.approx(models[1].weights, rel=1e-12)


# -- predictions -------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [COVERING[0], COVERING[8]], ids=str)
def test_predictions_of_rows_equal_those_of_dicts_and_the_formula(case: Case) -> None:
    data = samples.dense(150, 5, binary=case.binary, seed=12)
    model, plain = case.ours(), case.naive()
    model.learn_rows(data.X[:100], data.y[:100], columns=data.names)
    for x, y in zip(data.dicts()[:100], data.y[:100], strict=True):
        plain.learn(x, float(y))
    X, names = data.X[100:] * 3.0, [*data.names[::-1], "unseen"]
    rows = [dict(zip(data.names, row, strict=True)) for row in X.tolist()]
    reversed_and_more = np.hstack([X[:, ::-1], np.full((50, 1), 7.0)])
    expected = [model.loss.mean(plain.output(x)) for x in rows]
    before = state(model)
    for matrix, columns in (
        (X, data.names),
        (X.astype(np.float32), data.names),
        (csr(X), data.names),
        (reversed_and_more, names),
    ):
        if case.binary:
            got = model.predict_proba_many(matrix, columns=columns)[:, 1]
        else:
            got = model.predict_many(matrix, columns=columns)
        rtol = 1e-5 if getattr(matrix, "dtype", None) == np.float32 else 1e-11
        np.testing.assert_allclose(got, expected, rtol=rtol, atol=rtol)
    for x, value in zip(rows, expected, strict=True):
        for given_x in (x, {**x, "unseen": 7.0}, dict(reversed(x.items()))):
            one = model.predict_proba_one(given_x)[True] if case.binary else model.predict_one(given_x)
            assert one == pytest.approx(value, rel=1e-11, abs=1e-11)
    assert state(model) == before  # a prediction writes nothing


# -- mini-batches ------------------------------------------------------------------------------


@pytest.mark.parametrize("case", BATCHED, ids=str)
def test_mini_batches_equal_the_formula(case: Case) -> None:
    data = samples.dense(260, 6, binary=case.binary, seed=13)
    model, plain = case.ours(), case.naive()
    order = [3, 0, 5, 1, 2, 4]
    names = [data.names[k] for k in order]
    ys = data.y.astype(float).tolist()
    for i in range(0, 260, 20):
        part = slice(i, i + 20)
        plain.learn_many(data.dicts()[part], ys[part], data.w[part].tolist())
        if i % 40:
            X = np.ascontiguousarray(data.X[part][:, order])
            model.learn_many(X, data.y[part], data.w[part], columns=names)
        else:
            model.learn_many(data.X[part], data.y[part], data.w[part], columns=data.names)
        if i % 60 == 0:  # and a row between them
            x = data.dicts()[i]
            plain.learn(x, ys[i], 0.5)
            model.learn_one(x, data.y[i].item(), 0.5)
    assert model.weights == pytest.approx(plain.weights, rel=1e-11, abs=1e-13)
    assert model.intercept == pytest.approx(plain.intercept, rel=1e-11)
    assert (model.n_updates, model.n_samples) == (plain.updates, plain.samples)


@pytest.mark.parametrize("case", BATCHED[:1], ids=str)
def test_compressed_and_float32_batches_equal_dense_ones(case: Case) -> None:
    """Every column takes the step, also where a compressed row has no value for it."""
    data = samples.dense(100, 6, binary=case.binary, seed=14)
    X = np.where(np.random.default_rng(0).random(data.X.shape) < 0.5, 0.0, data.X).astype(np.float32)
    present = X != 0
    model, double, single = case.ours(), case.ours(), case.ours()
    for i in range(0, 100, 25):
        part = slice(i, i + 25)
        indptr = np.cumsum([0, *present[part].sum(axis=1)])
        rows = SparseRows(X[part][present[part]].astype(float), np.nonzero(present[part])[1], indptr, 6)
        model.learn_many(rows, data.y[part], data.w[part])
        double.learn_many(X[part].astype(np.float64), data.y[part], data.w[part])
        single.learn_many(X[part], data.y[part], data.w[part])
    assert model.weights == pytest.approx(double.weights, rel=1e-12)
    assert single.weights == pytest.approx(double.weights, rel=1e-12)


# -- machine code ------------------------------------------------------------------------------


@pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"),
    reason="looks for instructions of x86; another machine needs its own pattern",
)
@pytest.mark.parametrize(
    "pieces",
    [
        Pieces(losses.Log, optim.AdaGrad, penalties.L2),
        Pieces(losses.Squared, optim.Adam, penalties.ElasticNet),
        Pieces(losses.Squared, optim.AdaGrad, penalties.Proximal, intercept=True),
    ],
    ids=lambda pieces: pieces.optimizer.__name__,
)
def test_dense_loops_take_several_roots_at_once(pieces: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that is not vectorised still gives the right numbers, only some times later."""
    assembly = []

    def bind(body: Any, signature: Any, pieces: Any, *, nogil: bool, variant: str) -> None:
        kernel = njit(body, nogil=nogil, **OPTIONS)
        kernel.compile(signature)
        assembly.append(kernel.inspect_asm(signature))

    monkeypatch.setattr(linear, "bind", bind)
    linear.learn.__wrapped__(pieces)
    assert re.search(r"\bv?sqrtpd\b", assembly[0]), "no packed square root in the kernel"


def test_zeros_of_a_row_are_features() -> None:
    """An explicit zero counts as present: its weight pays L2."""
    model = linear_model.LinearRegression(optim.SGD(0.1), l2=0.5)
    model.learn_one({"a": 1.0, "b": 1.0}, 1.0)
    before = model.weights
    row = SparseRows(np.array([0.0]), np.array([1]), np.array([0, 1]), 2)
    model.learn_rows(row, [0.0], columns=["a", "b"])
    assert model.weights["a"] == before["a"]
    assert model.weights["b"] == pytest.approx(before["b"] * (1 - 0.1 * 0.5))
