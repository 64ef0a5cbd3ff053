"""Arrays on a device, and copies to one, with stand-ins for their owners and for the device."""

from __future__ import annotations

import gc
import importlib
import random
import sys
import weakref
from collections import deque
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from river import compose, preprocessing

import streamgd
from streamgd import linear_model, stream
from streamgd._rows import is_device_array

# -- stand-ins ----------------------------------------------------------------------------------


class OnDevice:
    """An array of somebody's in device memory, told by the CUDA array interface."""

    def __init__(self, array: np.ndarray, **told: Any) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        contiguous = array.flags.c_contiguous
        self.told = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (array.ctypes.data, False),
            "strides": None if contiguous else array.strides,
            "version": 3,
        } | told

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return self.told


class Tensor(OnDevice):
    """As PyTorch's: version 2 of the interface, which raises for one with a gradient, and DLPack."""

    requires_grad = False

    def __init__(self, array: np.ndarray, device: tuple[int, int] = (2, 0), **told: Any) -> None:
        super().__init__(array, version=2, **told)
        self.device, self.asked = device, []

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if self.requires_grad:
            raise RuntimeError("use var.detach()")
        if self.device[0] != 2:
            raise AttributeError("not on CUDA")
        return self.told

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, *, stream: int | None = None) -> object:
        self.asked.append(stream)
        return object()


Tensor.__module__ = "torch"


class Raising:
    """Raises whatever it is asked."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    @property
    def __cuda_array_interface__(self) -> Any:
        raise RuntimeError("not now")

    def __dlpack_device__(self) -> Any:
        raise BufferError("nowhere")


class Stream:
    """What is queued happens later, in this order."""

    def __init__(self, number: int = 7) -> None:
        self.number = number
        self.queue: deque[Any] = deque()  # of functions that do something, or return False: not yet

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.number


class Event:
    def __init__(self, device: Device) -> None:
        self.device = device
        self.reached = [True]

    def record(self, stream: Any = 0) -> None:
        self.reached = reached = [False]
        self.device.stream_of(stream).queue.append(lambda: reached.__setitem__(0, True))

    def wait(self, stream: Any = 0) -> None:
        reached = self.reached
        self.device.stream_of(stream).queue.append(lambda: reached[0])

    def synchronize(self) -> None:
        self.device.run_until(lambda: self.reached[0])


class Memory:
    """An array on the device, which copies reach when their stream gets to them."""

    def __init__(self, data: np.ndarray) -> None:
        self.data = data

    def __getitem__(self, rows: slice) -> Memory:
        return Memory(self.data[rows])

    def copy_to_device(self, host: np.ndarray, stream: Stream) -> None:
        assert host.shape == self.data.shape
        assert host.dtype == self.data.dtype
        stream.queue.append(lambda: np.copyto(self.data, host))


class Device:
    """Numba's CUDA of an asynchronous device, on which whatever may happen happens in a random order."""

    def __init__(self, seed: int = 0, slow: str = "") -> None:
        self.random, self.slow = random.Random(seed), slow
        self.default, self.streams, self.steps = Stream(1), [], 0
        self.streams.append(self.default)
        self.adopted: list[Any] = []

    # -- what numba.cuda has

    def stream(self) -> Stream:
        self.streams.append(Stream(100 + len(self.streams)))
        return self.streams[-1]

    def external_stream(self, number: int) -> Stream:
        known = [s for s in self.streams if s.number == number]
        if not known:
            self.streams.append(Stream(number))
        return known[0] if known else self.streams[-1]

    def event(self, timing: bool = True) -> Event:
        return Event(self)

    def pinned_array(self, n: int, dtype: Any) -> np.ndarray:
        return np.full(n, 99, dtype)

    def device_array(self, n: int, dtype: Any) -> Memory:
        return Memory(np.full(n, 77, dtype))

    def get_current_device(self) -> Any:
        return SimpleNamespace(id=0)

    def from_cuda_array_interface(self, interface: Any, owner: Any, sync: bool) -> Any:
        assert not sync  # it would make the host wait
        assert interface["stream"] is None  # or later copies would go there, and not be waited for
        return SimpleNamespace(
            **interface | {"dtype": np.dtype(interface["typestr"]), "shape": tuple(interface["shape"])},
            owner=owner,
        )

    def synchronize(self) -> None:
        self.run_until(lambda: not any(s.queue for s in self.streams))

    # -- how it goes on

    def stream_of(self, stream: Any) -> Stream:
        return stream or self.default

    def run_until(self, reached: Any) -> None:
        while not reached():
            self.step()

    def step(self) -> None:
        """Do the next thing of one of the streams; slow ones only where nothing else can be done."""
        busy = [s for s in self.streams if s.queue]
        self.random.shuffle(busy)
        busy.sort(key=lambda s: (s is self.default) == (self.slow == "kernels") if self.slow else 0)
        for s in busy:
            if s.queue[0]() is not False:
                s.queue.popleft()
                self.steps += 1
                return
        raise RuntimeError("everything waits")


def backend(device: Any, simulated: bool) -> ModuleType:
    module = ModuleType("streamgd.cuda._backend")
    module.cuda, module.IS_SIMULATED = device, simulated  # type: ignore[attr-defined]
    return module


def modules_on(monkeypatch: pytest.MonkeyPatch, device: Device, name: str) -> Any:
    """A module of streamgd.cuda, imported anew on a stand-in for the device."""
    full = f"streamgd.cuda.{name}"
    importlib.import_module("streamgd.cuda")
    monkeypatch.setitem(sys.modules, "streamgd.cuda._backend", backend(device, name == "_upload"))
    before = sys.modules.pop(full, None)
    module = importlib.import_module(full)
    if before is None:
        monkeypatch.delitem(sys.modules, full)
    else:
        monkeypatch.setitem(sys.modules, full, before)
    return module


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def arrays(monkeypatch: pytest.MonkeyPatch, device: Device) -> Any:
    return modules_on(monkeypatch, device, "_arrays")


X = np.arange(12, dtype=np.float32).reshape(4, 3)


# -- what lies on a device ----------------------------------------------------------------------


def test_arrays_on_a_device_are_told_from_all_others():
    assert is_device_array(OnDevice(X))
    assert is_device_array(Tensor(X))
    assert is_device_array(Tensor(X, device=(13, 0)))  # managed
    needs_gradient = Tensor(X)
    needs_gradient.requires_grad = True  # its interface raises
    assert is_device_array(needs_gradient)
    only_dlpack = type("OnlyDLPack", (), {"__dlpack_device__": lambda self: (2, 1)})
    assert is_device_array(only_dlpack())


@pytest.mark.parametrize(
    "value",
    [
        X,
        np.ma.masked_array(X),
        X.tolist(),
        (1.0, 2.0),
        {"a": 1.0},
        None,
        "cuda",
        1.0,
        pd.DataFrame(X),
        pl.DataFrame(X),
        pa.array([1.0, None]),
        stream.SparseRows(X[0], np.arange(3), np.array([0, 3]), 3),
        linear_model.LogisticRegression(),
        compose.Pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()),
        MagicMock(),
        Raising(),
        Tensor(X, device=(1, 0)),
        OnDevice,
    ],
    ids=lambda value: type(value).__name__,
)
def test_nothing_else_is_taken_for_an_array_on_a_device(value):
    assert not is_device_array(value)


def test_tensors_of_the_host_lie_on_the_host():
    torch = pytest.importorskip("torch", reason="the owner: pip install torch")
    assert not is_device_array(torch.ones(2, 3))
    assert not is_device_array(torch.ones(2, 3, requires_grad=True))
    assert not is_device_array(torch.ones(2, 3, device="meta"))


# -- seen in place ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [OnDevice, Tensor])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8])
def test_rows_are_seen_in_place(arrays, kind, dtype):
    owner = kind(X.astype(dtype))
    rows = arrays.device_rows(owner)
    assert rows.data == (owner.array.ctypes.data, False)
    assert (rows.shape, rows.dtype, rows.owner) == ((4, 3), np.dtype(dtype), owner)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint8", "bool"])
def test_vectors_keep_their_type(arrays, dtype):
    owner = OnDevice(np.ones(4, dtype))
    v = arrays.device_vector(owner, 4, "y")
    assert (v.data[0], v.dtype) == (owner.array.ctypes.data, np.dtype(dtype))


def test_strides_that_matter_to_nobody_are_contiguous(arrays):
    for array in (X[:1], X[:, :1][:1], np.empty((0, 3), np.float32)):
        assert arrays.device_rows(OnDevice(array, strides=(1000, 4))).shape == array.shape
    with pytest.raises(ValueError, match="strides"):
        arrays.device_rows(OnDevice(X, strides=(1000, 4)))


def test_memory_lives_as_long_as_its_view(arrays):
    owner = OnDevice(X.copy())
    alive = weakref.ref(owner)
    rows = arrays.device_rows(owner)
    del owner
    gc.collect()
    assert alive() is not None
    del rows
    gc.collect()
    assert alive() is None


def requiring_gradient() -> Tensor:
    tensor = Tensor(X)
    tensor.requires_grad = True
    return tensor


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (Tensor(X.astype(np.float64)), TypeError, r"float64.*give X\.float\(\)"),
        (OnDevice(X.astype(np.float64)), TypeError, r"float64.*give X\.astype\('float32'\)"),
        (OnDevice(X > 1), TypeError, "bool"),
        (OnDevice(X.astype(np.int64)), TypeError, "int64"),
        (Tensor(np.asfortranarray(X)), ValueError, r"strides of \(4, 16\) bytes.*X\.contiguous\(\)"),
        (OnDevice(X[:, ::2]), ValueError, "ascontiguousarray"),
        (OnDevice(X[0]), ValueError, r"shape \(3,\).*rows, columns"),
        (OnDevice(X[None]), ValueError, r"shape \(1, 4, 3\)"),
        (OnDevice(X, mask=OnDevice(X > 1)), ValueError, "mask"),
        (Tensor(X, device=(1, 0)), TypeError, r"in the host's memory.*X\.cuda\(\)"),
        (X, TypeError, r"numpy\.ndarray.*torch\.as_tensor\(X, device='cuda'\)"),
        ([[1.0]], TypeError, r"builtins\.list"),
        (requiring_gradient(), ValueError, r"X\.detach\(\)"),
        (Tensor(X, device=(2, 1)), ValueError, r"device 1.*device 0.*select_device\(1\)"),
    ],
)
def test_rows_that_kernels_cannot_read_are_refused_with_the_way_out(arrays, given, error, said):
    with pytest.raises(error, match=said):
        arrays.device_rows(given)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (OnDevice(X[:3, 0].copy()), ValueError, "w has 3 values, X has 4 rows"),
        (OnDevice(X[:, :1].copy()), ValueError, r"w has shape \(4, 1\); it must be one-dimensional"),
        (OnDevice(X[:, 0]), ValueError, "strides"),
        (OnDevice(np.ones(4, np.complex64)), TypeError, "complex64"),
        (np.ones(4), TypeError, "w is numpy"),
    ],
)
def test_vectors_that_kernels_cannot_read_are_refused_with_the_way_out(arrays, given, error, said):
    with pytest.raises(error, match=said):
        arrays.device_vector(given, 4, "w")


# -- who waits for what the owner has still to do -------------------------------------------------


def test_the_reader_waits_for_the_stream_that_the_owner_tells(arrays, device):
    reader, writer = device.stream(), device.stream()
    happened = []
    writer.queue.append(lambda: happened.append("written"))
    arrays.device_rows(OnDevice(X, stream=writer.number), reader)
    reader.queue.append(lambda: happened.append("read"))
    assert not happened  # the host has not waited
    device.run_until(lambda: len(happened) == 2)
    assert happened == ["written", "read"]


def test_the_default_stream_need_not_wait_for_itself(arrays, device):
    arrays.device_rows(OnDevice(X, stream=1))  # as CuPy tells the default stream
    arrays.device_rows(OnDevice(X, stream=None))
    assert not any(s.queue for s in device.streams)


def test_an_owner_that_tells_no_stream_is_asked_to_make_the_reader_wait(arrays, device):
    tensor, reader = Tensor(X), device.stream()
    arrays.device_rows(tensor)
    arrays.device_rows(tensor, reader)
    assert tensor.asked == [1, reader.number]


# -- copies that overlap ------------------------------------------------------------------------


def chunks(rng: np.random.Generator, n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    sizes = rng.integers(1, 9, n)
    return [(rng.normal(size=(k, 3)), rng.integers(0, 5, k)) for k in sizes]


def upload_all(upload: Any, device: Device, given: list[Any], say_done: Any = lambda k: True) -> list[Any]:
    """Upload chunks and read each in a kernel, on a stream of its own; what the kernels have seen."""
    compute, seen = 0, []
    uploader = upload.Uploader(3, np.float32, 8)
    for k, (rows, codes) in enumerate(given):
        there = uploader.upload(rows), uploader.upload_vector("y", codes)
        rows[:], codes[:] = -1, -1  # the caller may do with them what he likes
        uploader.ready(compute)
        device.stream_of(compute).queue.append(lambda t=there: seen.append([v.data.copy() for v in t]))
        if say_done(k):
            uploader.done(compute)
        for _ in range(device.random.randrange(3)):
            if any(s.queue for s in device.streams):
                device.step()
    device.synchronize()
    return seen


def wrong(seen: list[Any], wanted: list[Any]) -> int:
    """How many chunks were not seen as they were given."""
    pairs = [(rows.astype(np.float32).ravel(), codes) for rows, codes in wanted]
    equal = [all(map(np.array_equal, a, b)) for a, b in zip(seen, pairs, strict=True)]
    return equal.count(False)


ORDERS = [(seed, slow) for seed in range(12) for slow in ("", "kernels", "copies")]


def uploads(monkeypatch: pytest.MonkeyPatch, **options: Any) -> int:
    """Chunks that kernels saw wrongly, over many orders in which things may happen."""
    bad = 0
    for seed, slow in ORDERS:
        device = Device(seed, slow)
        upload = modules_on(monkeypatch, device, "_upload")
        given = chunks(np.random.default_rng(seed), 9)
        wanted = [(rows.copy(), codes.copy()) for rows, codes in given]
        bad += wrong(upload_all(upload, device, given, **options), wanted)
    return bad


def test_kernels_see_each_chunk_whatever_is_slow(monkeypatch):
    assert uploads(monkeypatch) == 0


def test_a_chunk_of_which_nobody_says_that_it_was_read_is_not_overwritten_early(monkeypatch):
    assert uploads(monkeypatch, say_done=lambda k: k % 3) == 0


@pytest.mark.parametrize("wait", ["synchronize", "wait", "record"])
def test_every_wait_is_needed(monkeypatch, wait):
    monkeypatch.setattr(Event, wait, lambda self, stream=0: None)
    assert uploads(monkeypatch) > 10


def test_an_upload_does_not_wait_for_the_device(monkeypatch):
    device = Device(slow="kernels")
    upload = modules_on(monkeypatch, device, "_upload")
    uploader = upload.Uploader(3, np.float32, 8)
    for rows, codes in chunks(np.random.default_rng(0), 2):
        uploader.upload(rows)
        uploader.upload_vector("y", codes)
        uploader.ready(0)
        uploader.done(0)
    assert device.steps == 0
    waiting = len(device.default.queue)
    uploader.upload(X)  # waits until the pinned memory of the first chunk is free, not until it was read
    assert device.steps > 0
    assert len(device.default.queue) == waiting


def test_rows_in_pinned_memory_are_copied_from_there(monkeypatch):
    for seed, slow in ORDERS:
        device = Device(seed, slow)
        upload = modules_on(monkeypatch, device, "_upload")
        monkeypatch.setattr(upload, "_is_pinned", lambda X: True)
        monkeypatch.setattr(upload, "_copy", lambda to, values: None)  # nothing else is
        rows, compute, seen = np.arange(60, dtype=np.float32).reshape(20, 3), device.stream(), []
        uploader = upload.Uploader(3, np.float32, 4)
        for lo in range(0, 20, 4):
            there = uploader.upload(rows[lo : lo + 4])
            uploader.ready(compute)
            compute.queue.append(lambda t=there, to=seen: to.append(t.data.copy()))
            uploader.done(compute)
        device.synchronize()
        np.testing.assert_array_equal(np.concatenate(seen), rows.ravel())


@pytest.mark.parametrize("rows", [np.ones((4, 3)), np.ones((3, 4), np.float32).T], ids=["float64", "strided"])
def test_rows_in_pinned_memory_that_are_not_as_the_device_wants_them_are_converted(monkeypatch, device, rows):
    upload = modules_on(monkeypatch, device, "_upload")
    monkeypatch.setattr(upload, "_is_pinned", lambda X: True)
    there = upload.Uploader(3, np.float32, 4).upload(rows)
    rows[:] = 2  # a copy was made
    device.synchronize()
    assert (there.data == 1).all()


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "uint8", "bool"])
def test_any_numbers_become_float32(monkeypatch, device, dtype):
    upload = modules_on(monkeypatch, device, "_upload")
    rows = np.random.default_rng(0).normal(size=(8, 3), scale=50).astype(np.uint8).astype(dtype)
    there = upload.Uploader(3, np.float32, 8).upload(rows[::2])
    device.synchronize()
    np.testing.assert_array_equal(there.data, rows[::2].astype(np.float32).ravel())


def test_much_is_converted_in_shares(monkeypatch, device):
    upload = modules_on(monkeypatch, device, "_upload")
    monkeypatch.setattr(upload, "_FILLERS", 3)
    monkeypatch.setattr(upload, "_SHARE", 64)
    for n in (1, 5, 16, 17, 100, 101):
        rows = np.random.default_rng(n).normal(size=(n, 3))
        there = upload.Uploader(3, np.float32, 101).upload(rows)
        device.synchronize()
        np.testing.assert_array_equal(there.data, rows.astype(np.float32).ravel())


def test_what_is_too_large_for_float32_arrives_as_infinite(monkeypatch, device):
    upload = modules_on(monkeypatch, device, "_upload")
    there = upload.Uploader(3, np.float32, 8).upload(np.array([[1e200, -1e200, np.nan]]))
    device.synchronize()
    np.testing.assert_array_equal(there.data, np.array([np.inf, -np.inf, np.nan], np.float32))


def test_chunks_that_do_not_fit_are_refused(monkeypatch, device):
    upload = modules_on(monkeypatch, device, "_upload")
    uploader = upload.Uploader(3, np.uint8, 8)
    for rows in (np.ones((9, 3), np.uint8), np.ones((8, 2), np.uint8), np.ones((0, 3), np.uint8)):
        with pytest.raises(ValueError, match="1 to 8 rows of 3 columns"):
            uploader.upload(rows)
    for dtype in (np.float32, np.int8, np.int64):
        with pytest.raises(TypeError, match=f"{np.dtype(dtype)} do not fit into uint8"):
            uploader.upload(np.ones((8, 3), dtype))
    with pytest.raises(TypeError, match="object"):
        upload.Uploader(3, np.float32, 8).upload(np.ones((8, 3), object))
    uploader.upload(np.ones((8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"w has shape \(9,\)"):
        uploader.upload_vector("w", np.ones(9))
    uploader.upload_vector("w", np.ones(8))
    with pytest.raises(ValueError, match="w is on its way already"):
        uploader.upload_vector("w", np.ones(8))


@pytest.mark.parametrize("p", [1, 3, 8, 128, 8192, 1 << 26])
@pytest.mark.parametrize("itemsize", [1, 2, 4])
def test_chunks_have_16_to_64_mib_where_rows_are_worth_it(monkeypatch, device, p, itemsize):
    upload = modules_on(monkeypatch, device, "_upload")
    rows = upload.rows_of_chunk(p, itemsize)
    assert rows >= 1
    assert rows == 1 or rows * max(p * itemsize, 8) <= 64 << 20
    assert (rows + 1) * max(p * itemsize, 8) >= 16 << 20


# -- on the CPU ---------------------------------------------------------------------------------

MODEL_CALLS = {
    "learn_rows": lambda model, X, y: model.learn_rows(X, y),
    "predict_many": lambda model, X, y: model.predict_many(X),
    "predict_proba_many": lambda model, X, y: model.predict_proba_many(X),
    "Arrays": lambda model, X, y: stream.Arrays(X, y),
    "fit": lambda model, X, y: streamgd.fit(model, stream.Arrays(X, y), progress=False),
}


@pytest.mark.parametrize("call", MODEL_CALLS.values(), ids=MODEL_CALLS)
def test_rows_on_a_device_are_refused_on_the_cpu_with_the_way_out(call):
    model = linear_model.LogisticRegression()
    with pytest.raises(TypeError, match=r"X lies on a CUDA device \(torch\.Tensor\).*X\.cpu\(\)"):
        call(model, Tensor(X), [0, 1, 0, 1])
    assert model.n_samples == 0


@pytest.mark.parametrize("name", ["y", "w"])
def test_targets_and_weights_on_a_device_are_refused_on_the_cpu(name):
    given = {"y": [0, 1, 0, 1], "w": np.ones(4)} | {name: Tensor(np.ones(4, np.float32))}
    for call in (linear_model.LogisticRegression().learn_rows, stream.Arrays):
        with pytest.raises(TypeError, match=rf"{name} lies on a CUDA device.*{name}\.cpu\(\)"):
            call(X, **given)


def test_others_say_how_they_copy_to_the_host():
    cupys = type("ndarray", (OnDevice,), {"__module__": "cupy"})
    with pytest.raises(TypeError, match=r"give X\.get\(\)"):
        stream.Arrays(cupys(X))
    with pytest.raises(TypeError, match="give a copy on the host"):
        stream.Arrays(OnDevice(X))


# -- narrow rows of the host --------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.uint8])
def test_narrow_rows_stay_narrow_where_that_is_asked_for(dtype):
    narrow = np.arange(30).reshape(10, 3).astype(dtype)
    source = stream.Arrays(narrow, np.arange(10), batch_rows=4)
    kept = source.as_stored()
    for wrapped in (kept, stream.Rebatched(kept, 3), stream.Shuffled(kept, 5, seed=1), kept.taken([3, 1])):
        assert {batch.X.dtype for batch in wrapped} == {np.dtype(dtype)}
    assert all(np.shares_memory(batch.X, narrow) for batch in kept)
    np.testing.assert_array_equal(np.concatenate([batch.X for batch in kept]), narrow)
    assert {batch.X.dtype for batch in source} == {np.dtype(np.float64)}  # it is as it was


def test_other_types_are_as_ever():
    for given in (X, X.astype(np.float64), X.astype(np.int64), X.astype(">f2"), X.tolist()):
        plain, kept = (next(iter(s)).X for s in (stream.Arrays(given), stream.Arrays(given).as_stored()))
        assert plain.dtype == kept.dtype
        np.testing.assert_array_equal(plain, kept)


def test_strided_narrow_rows_come_contiguous():
    narrow = np.arange(60, dtype=np.uint8).reshape(10, 6)[:, ::2]
    (batch,) = stream.Arrays(narrow).as_stored()
    assert batch.X.flags.c_contiguous
    np.testing.assert_array_equal(batch.X, narrow)
