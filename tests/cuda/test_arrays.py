"""Arrays on the device: of Numba, PyTorch and CuPy, as rows, gathered, stacked, as a source; copies to it."""

from __future__ import annotations

import numpy as np
import pytest

import streamgd
from streamgd import linear_model, optim, stream
from streamgd._rows import is_device_array
from streamgd.cuda import _upload
from streamgd.cuda._arrays import device_rows, device_vector, to_host
from streamgd.cuda._backend import IS_SIMULATED, cuda
from streamgd.cuda._gather import gathered, stacked
from streamgd.cuda._upload import Uploader, rows_of_chunk
from streamgd.training._cursor import Cursor

DTYPES = ["float32", "float16", "uint8"]


def matrix(n: int, p: int, dtype: str = "float32", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, (n, p)).astype(dtype)


# -- Numba's ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbas_arrays_are_rows_as_they_are(dtype):
    X = matrix(5, 3, dtype)
    there = cuda.to_device(X)
    rows = device_rows(there)
    assert is_device_array(there)
    assert is_device_array(rows)
    assert rows.dtype == dtype
    there[2:3].copy_to_device(X[:1])
    np.testing.assert_array_equal(to_host(rows), X[[0, 1, 0, 3, 4]])


def test_numbas_arrays_that_are_no_rows_are_refused():
    with pytest.raises(TypeError, match="float64"):
        device_rows(cuda.to_device(np.ones((2, 3))))
    with pytest.raises(ValueError, match="one-dimensional"):
        device_vector(cuda.to_device(matrix(2, 3)), 2, "y")
    with pytest.raises(ValueError, match="y has 3 values, X has 2 rows"):
        device_vector(cuda.to_device(np.ones(3)), 2, "y")
    with pytest.raises(ValueError, match="strides"):
        device_rows(cuda.to_device(matrix(4, 6))[:, 1:3])
    with pytest.raises(TypeError, match=r"X\.copy_to_host\(\)"):
        linear_model.LogisticRegression().learn_rows(cuda.to_device(matrix(2, 3)), [0, 1])


class Told:
    """Memory of the host, told as if it were a device's: which it is in the simulator."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    @property
    def __cuda_array_interface__(self) -> dict:
        return self.array.__array_interface__ | {"stream": None}


@pytest.mark.parametrize("dtype", DTYPES)
def test_memory_of_others_is_seen_in_place(simulated, dtype):
    owner = Told(matrix(4, 3, dtype))
    rows = device_rows(owner)
    owner.array[1] = 7
    np.testing.assert_array_equal(to_host(rows), owner.array)
    rows[2, 1] = 9
    assert owner.array[2, 1] == 9


class ByDLPack:
    """The same, told by DLPack alone."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.streams = array, []

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, *, stream: int | None = None, max_version: tuple[int, int] | None = None) -> object:
        self.streams.append(stream)
        return self.array.__dlpack__(max_version=max_version)


@pytest.mark.parametrize("dtype", DTYPES)
def test_memory_told_by_dlpack_alone_is_seen_in_place(simulated, dtype):
    owner = ByDLPack(matrix(4, 3, dtype))
    rows = device_rows(owner)
    assert owner.streams == [1]  # the default stream, as DLPack numbers it
    owner.array[1] = 7
    np.testing.assert_array_equal(to_host(rows), owner.array)
    assert rows.dtype == dtype
    with pytest.raises(ValueError, match="strides"):
        device_rows(ByDLPack(np.asfortranarray(owner.array)))


# -- gathered and stacked -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [1, 3, 31, 32, 33, 70])
def test_gathered_rows_are_those_of_numpy(p, dtype):
    X = matrix(23, p, dtype, seed=p)
    order = np.random.default_rng(p).integers(0, 23, 41)
    out = gathered(cuda.to_device(X), order, rows_a_block=2)
    assert out.dtype == X.dtype
    np.testing.assert_array_equal(out.copy_to_host(), X[order])


def test_more_rows_than_a_grid_has_are_gathered(monkeypatch):
    monkeypatch.setattr("streamgd.cuda._gather._BLOCKS", 3)
    X = matrix(10, 4)
    order = np.random.default_rng(1).permutation(10)
    np.testing.assert_array_equal(gathered(cuda.to_device(X), order, rows_a_block=1).copy_to_host(), X[order])


@pytest.mark.parametrize("dtype", DTYPES)
def test_stacked_rows_are_those_of_numpy(dtype):
    parts = [matrix(n, 5, dtype, seed=n) for n in (3, 1, 8)]
    out = stacked([cuda.to_device(part) for part in parts])
    np.testing.assert_array_equal(out.copy_to_host(), np.concatenate(parts))


# -- a source -----------------------------------------------------------------------------------


def taken(source: stream.Source, shuffle: bool | int, passes: int = 2) -> list[tuple]:
    """What two passes of a cursor hand out, on the host."""
    cursor = Cursor(source, shuffle, 5, None)
    found = []
    for _ in range(passes):
        while (rows := cursor.take(9, multiple=4)) is not None:
            X = to_host(rows.X) if is_device_array(rows.X) else rows.X
            found.append(
                (X.tolist(), rows.y.tolist(), rows.w.tolist(), list(rows.columns), cursor.position())
            )
        assert cursor.next_pass()
    return found


@pytest.mark.parametrize("shuffle", [False, True, 7])
@pytest.mark.parametrize("batch_rows", [None, 3, 8, 50])
def test_a_source_on_the_device_hands_out_the_rows_of_one_on_the_host(shuffle, batch_rows):
    X, y, w = matrix(26, 2), np.arange(26) % 3, np.linspace(0, 1, 26)
    there = stream.source(
        cuda.to_device(X), cuda.to_device(y), cuda.to_device(w), columns=["a", "b"], batch_rows=batch_rows
    )
    here = stream.source(X, y, w, columns=["a", "b"], batch_rows=batch_rows or 26)
    assert isinstance(there, stream.DeviceArrays)
    assert there.n_rows == there.expected_rows({}) == 26
    assert taken(there, shuffle) == taken(here, shuffle)


def test_batches_are_views():
    there = cuda.to_device(matrix(6, 2))
    (batch,) = stream.source(there)
    there[3:4].copy_to_device(matrix(1, 2, seed=9))
    np.testing.assert_array_equal(to_host(batch.X), to_host(there))
    np.testing.assert_array_equal(to_host(batch.part(3, 4)[0]), matrix(1, 2, seed=9))
    assert batch.y is batch.w is None


def test_shuffled_rows_are_gathered_some_at_a_time(monkeypatch):
    monkeypatch.setattr("streamgd.cuda._upload.CHUNK_BYTES", 5 * 8)
    source = stream.source(cuda.to_device(matrix(12, 2)))
    assert [len(batch) for batch in stream.Shuffled(source, 12, 0)] == [5, 5, 2]


def test_labels_and_weights_of_the_host_go_with_rows_on_the_device():
    X = cuda.to_device(matrix(3, 2))
    (batch,) = stream.source(X, ["b", "a", "b"], 2.0)
    assert batch.y.tolist() == ["b", "a", "b"]
    assert batch.w.tolist() == [2.0, 2.0, 2.0]
    (batch,) = stream.source((X, cuda.to_device(np.array([True, False, True]))))
    assert batch.y.tolist() == [True, False, True]


def test_what_a_source_on_the_device_refuses():
    X = cuda.to_device(matrix(3, 2))
    with pytest.raises(ValueError, match="columns has 3 names, X has 2 columns"):
        stream.source(X, columns=["a", "b", "c"])
    with pytest.raises(ValueError, match="y has 2 values, X has 3 rows"):
        stream.source(X, cuda.to_device(np.ones(2)))
    with pytest.raises(ValueError, match=r"row 1: the sample weight w is .*-1\.0"):
        stream.source(X, [0, 1, 0], cuda.to_device(np.array([1.0, -1.0, 1.0])))
    with pytest.raises(stream.InputError, match="drop="):
        stream.source(X, drop=["a"])
    with pytest.raises(ValueError, match="batch_rows=0"):
        stream.source(X, batch_rows=0)
    with pytest.raises(TypeError, match="X lies on a CUDA device"):
        next(stream.to_dicts(next(iter(stream.source(X)))))


def learned(X: object, y: object, w: object, shuffle: bool | int = False) -> list[float]:
    """Weights of a model that learned from rows on the device, in a pass."""
    model = linear_model.LogisticRegression(optim.SGD(0.5))
    options = {"batch_size": 16, "shuffle": shuffle, "seed": 1, "device": "cuda", "progress": False}
    assert streamgd.fit(model, X, y, w, columns=["a", "b", "c"], **options).samples == len(y)
    return [model.weights[name] for name in "abc"]


Y, W = np.arange(40) % 2, np.linspace(0, 1, 40)


@pytest.mark.parametrize("shuffle", [False, True, 25])
def test_a_model_learns_the_same_wherever_rows_lie(shuffle):
    X = matrix(40, 3)
    wanted = learned(X, Y, W, shuffle)
    assert np.all(wanted)
    assert learned(*map(cuda.to_device, (X, Y, W)), shuffle) == wanted


def test_a_model_learns_the_same_from_rows_of_any_type():
    X = matrix(40, 3)
    wanted = learned(X, Y, W)
    assert learned(X.astype(np.float64), Y, W) == wanted
    for dtype in ("float16", "uint8"):  # where kernels may add up a row in another order
        np.testing.assert_allclose(learned(X.astype(dtype), Y, W), wanted, rtol=1e-5)
        np.testing.assert_allclose(learned(cuda.to_device(X.astype(dtype)), Y, W), wanted, rtol=1e-5)


# -- copies to the device -----------------------------------------------------------------------


@pytest.mark.parametrize(("given", "dtype"), [("float64", "float32"), *zip(DTYPES, DTYPES, strict=True)])
def test_chunks_arrive(given, dtype):
    X, y = matrix(50, 3, given), np.arange(50, dtype=np.int32)
    uploader = Uploader(3, dtype, 8)
    found, codes = [], []
    for lo in range(0, 50, 8):
        there = uploader.upload(X[lo : lo + 8]), uploader.upload_vector("y", y[lo : lo + 8])
        uploader.ready(0)
        for part, kept in zip(there, (found, codes), strict=True):
            kept.append(part.copy_to_host())
        uploader.done(0)
    np.testing.assert_array_equal(np.concatenate(found), X.astype(dtype).ravel())
    np.testing.assert_array_equal(np.concatenate(codes), y)


# -- on a device --------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_are_seen_in_place(dtype):
    torch = pytest.importorskip("torch", reason="the owner: pip install torch")
    X = torch.as_tensor(matrix(1000, 7, dtype), device="cuda")
    rows = device_rows(X)
    assert rows.__cuda_array_interface__["data"][0] == X.data_ptr()
    X[3] = 1
    torch.cuda.synchronize()
    np.testing.assert_array_equal(to_host(rows), X.cpu().numpy())
    for bad, said in [
        (X.double(), "float"),
        (X.T, "contiguous"),
        (X.cpu(), "cuda"),
        (X.float().requires_grad_(), "detach"),
        (X.bfloat16(), "bfloat16"),
    ]:
        with pytest.raises((TypeError, ValueError), match=said):
            device_rows(bad)


@pytest.mark.gpu
def test_cupys_arrays_are_seen_in_place():
    cupy = pytest.importorskip("cupy", reason="the owner: pip install cupy-cuda13x")
    X = cupy.asarray(matrix(1000, 7))
    rows = device_rows(X)
    assert rows.__cuda_array_interface__["data"][0] == X.data.ptr
    np.testing.assert_array_equal(to_host(rows), X.get())


@pytest.mark.gpu
def test_rows_are_read_after_a_stream_of_their_owner_has_written_them():
    torch = pytest.importorskip("torch", reason="the owner: pip install torch")
    own, order = torch.cuda.Stream(), np.arange(1 << 20)
    for k in range(5):
        with torch.cuda.stream(own):
            X = torch.zeros((1 << 20, 4), device="cuda")
            torch.cuda._sleep(50_000_000)  # cycles: some 30 ms
            X += k + 1
        assert (gathered(device_rows(X), order).copy_to_host() == k + 1).all()


@pytest.mark.gpu
@pytest.mark.parametrize("pinned", [False, True])
def test_many_full_chunks_arrive_while_kernels_read(pinned):
    n = rows_of_chunk(128, 4)
    X = cuda.pinned_array((6 * n + 5, 128), np.float32) if pinned else np.empty((6 * n + 5, 128), np.float32)
    X[:] = np.random.default_rng(0).normal(size=X.shape)
    assert _upload._is_pinned(X[n:]) == pinned
    uploader, compute = Uploader(128, np.float32, n), cuda.stream()
    found = []
    for lo in range(0, len(X), n):
        there = uploader.upload(X[lo : lo + n])
        uploader.ready(compute)
        kept = cuda.device_array(there.shape, np.float32)
        kept.copy_to_device(there, stream=compute)
        uploader.done(compute)
        found.append(kept)
    compute.synchronize()
    np.testing.assert_array_equal(np.concatenate([kept.copy_to_host() for kept in found]), X.ravel())


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_million_gathered_rows_are_those_of_numpy(dtype):
    assert not IS_SIMULATED
    X = matrix(1 << 20, 17, dtype)
    order = np.random.default_rng(0).permutation(1 << 20)
    np.testing.assert_array_equal(gathered(cuda.to_device(X), order).copy_to_host(), X[order])
