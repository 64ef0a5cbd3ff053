"""Rows on their way to the device: copied in chunks while kernels work on the chunk before."""
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._threads import share
from ._backend import IS_SIMULATED, cuda

# Of a chunk: 0.6 ms on a bus of 55 GB/s, beside which a launch is short (10 us).
CHUNK_BYTES = 32 << 20
_LEAST_ROW = 8  # bytes to count for a row at least: its target and weight travel too

# One core fills pinned memory at 26 GB/s from float32, 14 from float64, 3 from float16, slower than the bus
# empties it; four are up to 2.4 times as fast.
_FILLERS = min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
_SHARE = 1 << 20  # bytes that are worth a thread


def rows_of_chunk(n_columns: int, itemsize: int) -> int:
    """Return the rows of a chunk: `CHUNK_BYTES` of them, at least one."""
    return max(1, CHUNK_BYTES // max(n_columns * itemsize, _LEAST_ROW))


class Uploader:
    """Copies chunks of host rows to the device while kernels work on the chunk before.

    Two chunks are on their way or in use at a time, each with its pinned and its device memory. For each
    chunk call, in this order: `upload`; `upload_vector` for what belongs to its rows; `ready`; the kernels;
    `done`. None of them waits for the device, but for pinned memory whose copy, two chunks ago, is not over.

    Parameters
    ----------
    n_columns
        Columns of the rows.
    dtype
        What they are on the device: float32, float16 or uint8.
    most_rows
        Rows of a chunk, at most; see `rows_of_chunk`.
    """

    def __init__(self, n_columns: int, dtype: Any, most_rows: int) -> None:
        self.n_columns, self.dtype, self.most_rows = n_columns, np.dtype(dtype), most_rows
        self._stream = _copy_stream()
        self._slots = _Slot(), _Slot()
        self._at = 1

    def upload(self, X: NDArray[Any]) -> Any:
        """Begin a chunk: copy rows ``(n, n_columns)``, and return them as they will lie there, ``(n * p,)``.

        Any numbers become float32. Rows that are to be float16 or uint8 on the device are of a type whose
        values it has. Rows of the right type that lie in pinned memory themselves are copied from there, at
        the speed of the bus: they must not change until the chunk is ready.
        """
        if X.ndim != 2 or X.shape[1] != self.n_columns or not 1 <= len(X) <= self.most_rows:
            raise ValueError(
                f"a chunk of shape {X.shape}; it has 1 to {self.most_rows} rows of {self.n_columns} columns"
            )
        narrow = self.dtype != np.float32
        if X.dtype.kind not in "biuf" or (narrow and not np.can_cast(X.dtype, self.dtype, "safe")):
            raise TypeError(
                f"rows of type {X.dtype} do not fit into {self.dtype}, which the chunks are made for"
            )
        self._at ^= 1
        self._slots[self._at].begin(self._stream)
        in_place = X.dtype == self.dtype and X.flags.c_contiguous and _is_pinned(X)
        return self._put("X", X, self.dtype, self.most_rows * self.n_columns, in_place)

    def upload_vector(self, name: str, v: NDArray[Any]) -> Any:
        """Copy a value for each row of the chunk at hand ``(n,)``, as it is; each name has its own memory."""
        if v.ndim != 1 or not 1 <= len(v) <= self.most_rows:
            raise ValueError(f"{name} has shape {v.shape}; it is one of 1 to {self.most_rows} values")
        return self._put(name, v, v.dtype, self.most_rows)

    def ready(self, stream: Any) -> None:
        """Make a stream wait for the chunk at hand."""
        self._slots[self._at].copied.wait(stream)

    def done(self, stream: Any) -> None:
        """Note on a stream that the chunk at hand has been read: the next but one waits for it."""
        slot = self._slots[self._at]
        slot.read.record(stream)
        slot.in_use = False

    def _put(self, name: str, values: NDArray[Any], dtype: Any, most: int, in_place: bool = False) -> Any:
        slot, n = self._slots[self._at], values.size
        pinned, there = slot.memory(name, dtype, most)
        here, there = pinned[:n], there[:n]
        if in_place:
            slot.others = here = values.reshape(n)
        else:
            self._fill(here.reshape(values.shape), values)
        there.copy_to_device(here, stream=self._stream)
        slot.copied.record(self._stream)
        return there

    def _fill(self, to: NDArray[Any], values: NDArray[Any]) -> None:
        """Copy and convert, in several threads where it is much: NumPy lets go of its lock meanwhile."""
        step = max(1, -(-len(values) // min(_FILLERS, max(1, to.nbytes // _SHARE))))

        def fill(k: int) -> None:
            rows = slice(k * step, (k + 1) * step)
            _copy(to[rows], values[rows])

        share(fill, -(-len(values) // step), _FILLERS)


def _copy_stream() -> Any:
    """Return a stream that goes on beside the default stream. Numba's own wait for it, and it for them."""
    if IS_SIMULATED:
        return cuda.stream()
    from cuda.core import Device, StreamOptions

    device = Device(cuda.current_context().device.id)
    device.set_current()
    return device.create_stream(options=StreamOptions(nonblocking=True))


def _is_pinned(X: NDArray[Any]) -> bool:
    """Tell whether the driver knows an array's memory: it is pinned."""
    if IS_SIMULATED:
        return False
    from cuda.bindings import driver

    asked = driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_MEMORY_TYPE
    error, kind = driver.cuPointerGetAttribute(asked, X.ctypes.data)
    return bool(error == driver.CUresult.CUDA_SUCCESS and kind == driver.CUmemorytype.CU_MEMORYTYPE_HOST)


def _copy(to: NDArray[Any], values: NDArray[Any]) -> None:
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, which kernels refuse
        np.copyto(to, values, casting="unsafe")


class _Slot:
    """The memory of a chunk, on both sides, and who waits for whom."""

    def __init__(self) -> None:
        self.copied, self.read = cuda.event(), cuda.event()
        self.in_use = False
        self.others: Any = None  # rows of somebody's that are copied in place, and must not go away
        self._memory: dict[str, tuple[NDArray[Any], Any]] = {}
        self._names: set[str] = set()  # of this chunk

    def begin(self, stream: Any) -> None:
        """Let the host write into the pinned memory, and then the stream into the device's."""
        self.copied.synchronize()
        self.others = None
        if self.in_use:  # nobody said when it was read: an error or Ctrl-C came in between
            cuda.synchronize()
        self.read.wait(stream)
        self.in_use = True
        self._names.clear()

    def memory(self, name: str, dtype: Any, most: int) -> tuple[NDArray[Any], Any]:
        if name in self._names:
            raise ValueError(f"{name} is on its way already, in this chunk")
        self._names.add(name)
        kept = self._memory.get(name)
        if kept is None or kept[0].dtype != dtype:
            kept = self._memory[name] = cuda.pinned_array(most, dtype), cuda.device_array(most, dtype)
        return kept
