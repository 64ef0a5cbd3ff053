"""Sums of gradients of softmax regression on a GPU, beside NumPy in float64 and the CPU's kernel."""

from __future__ import annotations

import copy
import ctypes
from typing import Any, NamedTuple

import numpy as np
import pytest
from test_float32 import CLOSE

from streamgd import _features as f
from streamgd import linear_model, optim
from streamgd._rows import rows
from streamgd.cuda import _gemm, _linear, _softmax
from streamgd.cuda._backend import IS_SIMULATED, cuda
from streamgd.cuda._softmax import SoftmaxEngine
from streamgd.kernels.pieces import AVERAGED, INTERCEPT, SAMPLES, Pieces
from streamgd.optim import losses, penalties

PLAIN = Pieces(losses.Log, optim.SGD, penalties.L2)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Blocks that the simulator gets through, and parts of few rows."""
    monkeypatch.setattr(_softmax, "PART", 1)
    if IS_SIMULATED:
        monkeypatch.setattr(_linear, "THREADS", 64)
        monkeypatch.setattr(_linear, "BLOCKS", 3)
        monkeypatch.setattr(_gemm, "LEAST_DEPTH", 16)


@pytest.fixture
def many(monkeypatch):
    """Products of matrices, whatever the number of classes."""
    monkeypatch.setattr(_softmax, "MOST_CLASSES", 0)


class Given(NamedTuple):
    """A state and rows, as the engine gets them."""

    weights: Any  # (p, lanes)
    scalars: Any
    X: Any
    y: Any
    w: Any
    factors: Any
    clip: float = 1e12


def given(n: int, p: int, known: int, seed: int = 0, lanes: int = 0, dtype: Any = np.float32) -> Given:
    """Positive rows, most of them of the first class: sums are many times what rounding leaves of them."""
    rng = np.random.default_rng(seed)
    lanes = max(lanes, known)
    scalars = np.full((lanes, PLAIN.n_scalars), np.nan, np.float32)
    scalars[:, SAMPLES], scalars[:, INTERCEPT] = 1.0, rng.normal(size=lanes)
    X = rng.uniform(0.2, 1.2, size=(n, p))
    X = rng.integers(0, 255, (n, p)) if dtype == np.uint8 else X
    weights = rng.normal(size=(p, lanes)) / (300.0 * np.sqrt(p) if dtype == np.uint8 else np.sqrt(p))
    y = np.where(rng.random(n) < 0.6, 0, rng.integers(0, known, n))
    factors = rng.uniform(0.5, 2.0, known)
    singles = (a.astype(np.float32) for a in (weights, y, rng.uniform(0.5, 2.0, n), factors))
    weights, y, w, factors = singles
    return Given(weights, scalars, X.astype(dtype), y, w, factors)


def engine_of(pieces: Pieces, g: Given) -> SoftmaxEngine:
    itemsize = g.X.dtype.itemsize
    return SoftmaxEngine(pieces, g.X.shape[1], len(g.factors), itemsize, aligned=itemsize == 4)


def launch(
    engine: SoftmaxEngine, g: Given, skip: bool = False, cut: int = 0, slots: Any = None
) -> tuple[Any, Any, Any]:
    """Return outputs, sums and what has become of rows; with ``cut`` in two parts."""
    n = len(g.X)
    known = len(g.factors)
    hp = np.full(PLAIN.n_hyper, np.nan, np.float32)
    hp[PLAIN.hyper_starts[-1]] = g.clip
    nothing = np.full(g.weights.shape, np.nan, np.float32)
    engine.begin(hp, g.weights, nothing[None] if slots is None else slots, nothing, g.scalars, g.factors)
    z = cuda.to_device(np.full(n * known, np.nan, np.float32))
    for lo, hi in ((0, cut), (cut, n)):
        if hi > lo:
            X, y = cuda.to_device(g.X[lo:hi].reshape(-1)), cuda.to_device(g.y[lo:hi])
            w = cuda.to_device(g.w[lo:hi] if len(g.w) > 1 else g.w)
            engine.add(X, y, w, z[lo * known : hi * known], skip, hi - lo)
    total, outcome = engine.sums()
    return z.copy_to_host().reshape(n, known), total, outcome


def expected(g: Given) -> tuple[Any, Any]:
    """Return outputs and sums in float64, as their definition has them."""
    known = len(g.factors)
    seen = g.scalars[:known, SAMPLES] > 0.0
    X, w = g.X.astype(float), np.broadcast_to(g.w.astype(float), len(g.X))
    z = X @ g.weights[:, :known].astype(float) + g.scalars[:known, INTERCEPT]
    z[:, ~seen] = -np.inf
    share = np.exp(z - z.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    labels = g.y.astype(int)
    share[np.arange(len(X)), labels] -= 1.0
    d = np.clip(share * (w * g.factors[labels])[:, None], -g.clip, g.clip)
    return z, np.vstack([d.sum(axis=0), X.T @ d])


def assert_close(got: Any, wanted: Any, bound: float = CLOSE) -> None:
    finite = np.isfinite(wanted)
    np.testing.assert_array_equal(got[~finite], wanted[~finite])
    largest = np.abs(wanted[finite]).max()
    difference = np.abs(got[finite] - wanted[finite]).max()
    assert difference <= bound * largest, f"{difference / largest:.1e}"


def check(g: Given, **options: Any) -> None:
    z, total, outcome = launch(engine_of(PLAIN, g), g, **options)
    wanted_z, wanted = expected(g)
    assert_close(z, wanted_z)
    assert_close(total, wanted)
    assert outcome[2:] == (int((np.broadcast_to(g.w, len(g.X)) != 0.0).sum()), 0, None)


# -- against float64 ---------------------------------------------------------------------------

SHAPES = [
    (1, 1, 2), (37, 1, 13), (50, 2, 3), (41, 3, 5), (90, 4, 2), (33, 5, 7), (60, 8, 10), (23, 20, 4),
    (29, 31, 9), (70, 32, 6), (19, 33, 3), (31, 64, 11), (18, 100, 8), (21, 127, 2), (40, 128, 10),
    (17, 128, 16), (9, 130, 4), (15, 200, 8), (12, 255, 5), (13, 256, 2), (26, 300, 13), (5, 1, 1),
]  # fmt: skip


@pytest.mark.parametrize(("n", "p", "known"), SHAPES)
def test_sums_and_outputs_are_those_of_float64(n, p, known):
    check(given(n, p, known, seed=p))


@pytest.mark.parametrize(("n", "p", "known"), [*SHAPES[::3], (70, 3, 100)])
def test_products_of_matrices_are_those_of_float64(n, p, known, many):
    check(given(n, p, known, seed=p))


@pytest.mark.parametrize("dtype", [np.float16, np.uint8])
@pytest.mark.parametrize(("p", "known"), [(8, 3), (50, 5), (5, 17)])
def test_narrow_rows(p, known, dtype):
    check(given(30, p, known, dtype=dtype))


def test_few_classes_are_one_kernel_and_many_products():
    def ways(aligned, pieces=PLAIN):
        return [
            sum(_softmax.few(pieces, p, known, aligned) is not None for known in range(2, 40))
            for p in (8, 128, 256, 300)
        ]

    assert ways(True) == [15, 15, 7, 0]
    assert ways(False) == [15, 9, 4, 0]
    assert ways(True, PLAIN._replace(averaged=True)) == [11, 11, 5, 0]


@pytest.mark.parametrize("known", [3, 20])
def test_parts_are_added_up(known):
    g = given(45, 12, known)
    check(g, cut=17)
    engine = engine_of(PLAIN, g)
    first, again = (launch(engine, g)[1] for _ in range(2))
    np.testing.assert_array_equal(first, again)  # nothing is left of the first time


@pytest.mark.parametrize("known", [3, 20])
def test_one_weight_for_all_rows_classes_that_are_not_seen_and_lanes_to_spare(known):
    g = given(30, 10, known, lanes=known + 3)._replace(w=np.array([0.7], np.float32))
    g.scalars[1, SAMPLES] = 0.0
    g.weights[:, 1] = np.nan  # of no meaning
    check(g)
    g.scalars[:, SAMPLES] = 0.0
    z, total, _ = launch(engine_of(PLAIN, g), g)
    assert (z == -np.inf).all()
    rows = np.zeros((30, known))
    rows[np.arange(30), g.y.astype(int)] = -0.7 * g.factors[g.y.astype(int)]
    assert_close(total, np.vstack([rows.sum(axis=0), g.X.T @ rows]))


@pytest.mark.parametrize("known", [3, 20])
def test_equal_outputs_as_of_a_new_model(known):
    g = given(30, 4, known)
    g.weights[:], g.scalars[:, INTERCEPT] = 0.0, 0.0
    check(g)


@pytest.mark.parametrize("known", [4, 20])
def test_derivatives_are_clipped_and_a_sure_class_has_no_cancellation(known):
    g = given(40, 6, known)
    check(g._replace(clip=0.3))
    g.scalars[0, INTERCEPT] = 60.0  # its derivative is a sum of shares near 1e-26
    g = g._replace(y=np.zeros_like(g.y))
    _, total, _ = launch(engine_of(PLAIN, g), g)
    z = expected(g)[0]
    others = np.exp(z - z[:, :1])[:, 1:].sum(axis=1) * g.w * g.factors[0]
    assert total[0, 0] == pytest.approx(-others.sum(), rel=2e-5)  # outputs near 60 are 4e-6 off


# -- rows that are refused -----------------------------------------------------------------------

BAD = {
    "a row": (f.BAD_ROW, lambda g, i: g.X.__setitem__((i, 1), np.nan)),
    "an infinite row": (f.BAD_ROW, lambda g, i: g.X.__setitem__((i, 0), np.inf)),
    "a large row": (f.BAD_ROW, lambda g, i: g.X.__setitem__((i, 0), 2e15)),
    "a target": (f.BAD_TARGET, lambda g, i: g.y.__setitem__(i, np.nan)),
    "a weight": (f.BAD_WEIGHT, lambda g, i: g.w.__setitem__(i, -1.0)),
    "no weight": (f.BAD_WEIGHT, lambda g, i: g.w.__setitem__(i, np.nan)),
    "an output": (f.OVERFLOW, lambda g, i: g.X.__setitem__((i, slice(None)), 3e14)),
    "a gradient": (f.OVERFLOW, lambda g, i: (g.w.__setitem__(i, 9e14), g.X.__setitem__((i, 0), 9.0))),
}


@pytest.mark.parametrize("known", [3, 20])
@pytest.mark.parametrize("what", BAD)
def test_rows_are_refused_or_skipped(what, known):
    status, spoil = BAD[what]
    g = given(37, 3, known)._replace(clip=np.inf)
    g.weights[0], g.weights[1] = 3.0, 4.0
    for i in (29, 11, 30):
        spoil(g, i)
    for cut in (0, 20):
        _, _, outcome = launch(engine_of(PLAIN, g), g, cut=cut)
        assert outcome.refused == (11, status)

    z, total, outcome = launch(engine_of(PLAIN, g), g, skip=True)
    good = np.delete(np.arange(37), [11, 29, 30])
    wanted = expected(g._replace(X=g.X[good], y=g.y[good], w=g.w[good]))
    assert outcome == (0, 0, 34, 3, None)
    assert np.isnan(z[[11, 29, 30]]).all()
    assert_close(z[good], wanted[0])
    assert_close(total, wanted[1])


@pytest.mark.parametrize("known", [3, 20])
def test_rows_of_weight_0_have_outputs_and_do_not_count(known):
    g = given(20, 4, known)
    g.w[3] = g.w[8] = 0.0
    check(g)
    g.X[8] = np.nan  # but it is looked at
    assert launch(engine_of(PLAIN, g), g)[2].refused == (8, f.BAD_ROW)


@pytest.mark.parametrize("known", [3, 20])
@pytest.mark.parametrize("weight", [2.0, 9e14])
def test_outputs_that_gradients_are_taken_at_may_be_too_large(weight, known):
    g = given(9, 4, known)
    g.weights[:] = weight
    g.scalars[:, AVERAGED], g.scalars[:, -1] = 1.0, 0.0
    pieces = PLAIN._replace(averaged=True)
    z, _, outcome = launch(engine_of(pieces, g), g, slots=g.weights[None])  # they average to 0
    assert outcome.refused == (None if weight == 2.0 else (0, f.OVERFLOW))
    if weight == 2.0:
        assert_close(z, np.broadcast_to(g.scalars[:, INTERCEPT].astype(float), z.shape))


@pytest.mark.parametrize("known", [3, 20])
def test_an_intercept_that_float32_has_not_is_no_class_that_is_not_seen(known):
    g = given(5, 4, known)
    g.scalars[1, INTERCEPT] = -np.inf
    assert launch(engine_of(PLAIN, g), g)[2].refused == (0, f.OVERFLOW)


# -- beside the CPU --------------------------------------------------------------------------------

MODELS = {
    "plain": {},
    "averaged": {"optimizer": optim.Averager(optim.SGD(0.1)), "intercept_lr": 0.05},
    "averaged Adam": {"optimizer": optim.Averager(optim.Adam(0.02)), "intercept_lr": "optimizer"},
    "ahead": {"optimizer": optim.ScheduleFreeAdamW(0.02), "intercept_lr": "optimizer"},
    "FTRL": {"optimizer": optim.FTRLProximal()},
    "lazy": {"optimizer": optim.Adam(0.02), "penalty": penalties.Proximal(0.01, 0.05)},
    "truncated": {"penalty": penalties.TruncatedGradient(0.01, every=3, theta=2.0), "late": "fresh"},
    "weighted loss": {"loss": losses.CrossEntropy({"a": 2.0, "c": 0.0})},
    "clipped": {"clip_gradient": 0.2, "intercept_lr": 0.05},
}


def begun(options: dict[str, Any], labels: str) -> tuple[Any, Any, Any]:
    """Return a model some steps on its way, and rows for one more, with one label that is new."""
    rng = np.random.default_rng(3)
    model = linear_model.SoftmaxRegression(**options)
    X = rng.uniform(0.2, 1.2, size=(60, 7)).astype(np.float32)
    y = np.array(list(labels))[np.minimum(rng.geometric(0.4, 60) - 1, len(labels) - 1)]
    y[: len(labels)] = list(labels)
    seen = np.flatnonzero(y != labels[-1])
    for some in (seen, seen[::2], seen[1::2]):
        model.learn_many(X[some], y[some])
    for array in (model._weights, model._slots, model._charged, model._scalars[..., INTERCEPT:]):
        array[...] = array.astype(np.float32)
    return model, X, y


def sums_of(model: Any, X: Any, y: Any) -> tuple[Any, Any]:
    """Return outputs and sums of the engine, at the state of a model."""
    model, n = copy.deepcopy(model), X.shape[1]
    draft = model._targets.draft()
    codes, _ = model._encode(draft, y, rows(X, None), np.ones(1))
    model._make_room_for(draft)
    state = model._weights[:n], model._slots[:, :n], model._charged[:n]
    (factors,) = model._class_factors(draft)
    numbers = model._hp, *model._flat(state), model._scalars, factors
    engine = SoftmaxEngine(model._pieces, n, len(factors), 4, aligned=False)
    engine.begin(*(a.astype(np.float32) for a in numbers))
    z = cuda.to_device(np.full(len(y) * len(factors), np.nan, np.float32))
    given = X.reshape(-1), codes.astype(np.float32), np.ones(1, np.float32)
    engine.add(*map(cuda.to_device, given), z, False, len(y))
    return z.copy_to_host().reshape(len(y), -1), engine.sums()[0]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("labels", ["abcd", "abcdefghijklmnopqrs"], ids=["few", "many"])
def test_a_model_is_looked_at_as_on_the_cpu(name, labels):
    model, X, y = begun(MODELS[name], labels)
    on_cpu = copy.deepcopy(model).accumulate()
    wanted = on_cpu.add(X, y)
    z, total = sums_of(model, X, y)
    assert (z[:, -1] == -np.inf).all()
    assert_close(z, wanted)
    assert_close(total, on_cpu._sums)


# -- cuBLAS ----------------------------------------------------------------------------------------


class Library:
    """cuBLAS's functions over memory of the host, as its manual has them: columns, not rows, are runs."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.status = 0

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> int:
            self.calls.append(name)
            return self.status

        return call

    def cublasSgemm_v2(
        self, handle, transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc
    ) -> int:
        A = self._matrix(a, lda, m, k, transpose_a)
        B = self._matrix(b, ldb, k, n, transpose_b)
        C = self._matrix(c, ldc, m, n, 0)
        factor, kept = (argument._obj.value for argument in (alpha, beta))
        C[...] = factor * (A @ B) + (kept * C if kept else 0.0)
        return self.status

    @staticmethod
    def _matrix(address: Any, lead: int, rows: int, columns: int, transpose: int) -> Any:
        if transpose:
            rows, columns = columns, rows
        assert lead >= rows
        flat = np.ctypeslib.as_array((ctypes.c_float * (lead * columns)).from_address(address.value))
        matrix = flat.reshape(columns, lead).T[:rows]
        return matrix.T if transpose else matrix


@pytest.fixture
def library(simulated, monkeypatch):
    """cuBLAS, as the host can stand in for it."""
    stand_in = Library()
    monkeypatch.setattr(_gemm, "_cublas", lambda: stand_in)
    monkeypatch.setattr(_gemm, "address_of", lambda array: array._ary.ctypes.data)
    monkeypatch.setattr(type(cuda.stream()), "__int__", lambda stream: 0, raising=False)
    return stand_in


@pytest.mark.parametrize(("n", "p", "known"), [(40, 5, 3), (50, 300, 13), (70, 3, 40)])
def test_cublas_gets_matrices_as_it_wants_them(n, p, known, library, many):
    check(given(n, p, known))
    assert library.calls[:3] == ["cublasCreate_v2", "cublasSetMathMode", "cublasSetStream_v2"]


def test_an_error_of_cublas_says_where(library, many):
    library.status = 3
    with pytest.raises(RuntimeError, match="cublasCreate_v2 returned status 3"):
        engine_of(PLAIN, given(4, 3, 2))


# -- on a device -----------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize(("p", "known"), [(8, 3), (128, 10), (256, 8), (250, 5), (128, 40), (784, 10)])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8])
def test_many_rows_are_those_of_float64_and_the_same_each_time(p, known, dtype, monkeypatch):
    monkeypatch.setattr(_softmax, "PART", 16 << 20)
    g = given(100_003, p, known, dtype=dtype)
    engine = engine_of(PLAIN, g)
    z, total, outcome = launch(engine, g)
    wanted_z, wanted = expected(g)
    assert_close(z, wanted_z)
    assert_close(total, wanted, bound=1e-5)  # float32 adds up hundreds of rows one by one
    assert outcome.samples == len(g.X)
    for other in (engine, engine_of(PLAIN, g)):
        np.testing.assert_array_equal(launch(other, g)[1], total)


@pytest.mark.gpu
def test_cublas_and_our_own_products_agree_whatever_others_are_told_of_tf32(monkeypatch):
    if _gemm._cublas() is None:
        pytest.skip("needs cuBLAS: pip install nvidia-cublas, or PyTorch, or CUDA's toolkit")
    torch = pytest.importorskip("torch", reason="has a switch for TF32: pip install torch")
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        g = given(5000, 300, 20)
        total = launch(engine_of(PLAIN, g), g)[1]
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False
    monkeypatch.setattr(_gemm, "_cublas", lambda: None)
    assert_close(launch(engine_of(PLAIN, g), g)[1], total)
