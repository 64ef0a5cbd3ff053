"""Products of matrices in float32: cuBLAS's where it is installed, or else a kernel of our own.

PyTorch, CuPy and CUDA's toolkit all bring cuBLAS. It is called as it is, with a handle of our own: that one
has its default mode, with all bits of float32, and what PyTorch or CuPy are told of TF32 is said to theirs.
Matrices are flat arrays, row by row.
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import ctypes
import functools
import math
import weakref
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from streamgd._single import single

from . import _linear
from ._arrays import address_of
from ._backend import IS_SIMULATED, cuda, float32, kernel

EACH = 4  # rows and columns of a tile that a thread has
DEPTH = 16  # products that are added up between two barriers
LEAST_DEPTH = 1 << 10  # of a sum that is split among blocks
DEFAULT_MATH, NO_TRANSPOSE, TRANSPOSE = 0, 0, 1  # cuBLAS's names for them


class Products(Protocol):
    """What can multiply matrices; ``A (n, k)`` in both."""

    def multiply(self, A: Any, B: Any, out: Any, n: int, k: int, m: int) -> None:
        """Make ``out (n, m)`` the product of A and ``B (k, m)``."""

    def add_transposed(self, A: Any, B: Any, out: Any, n: int, k: int, m: int) -> None:
        """Add the product of A, transposed, and ``B (n, m)`` to ``out (k, m)``."""


def products(stream: Any) -> Products:
    """Return cuBLAS, or what stands in for it, on a stream."""
    library = _cublas()
    return Tiles(stream) if library is None else CuBlas(library, stream)


@functools.cache
def _cublas() -> Any:
    """Return cuBLAS's library, None where it is not installed."""
    if IS_SIMULATED:
        return None
    from cuda.pathfinder import DynamicLibNotFoundError, load_nvidia_dynamic_lib

    try:
        found = load_nvidia_dynamic_lib("cublas")
    except DynamicLibNotFoundError:
        return None
    return None if found.abs_path is None else ctypes.CDLL(found.abs_path)


class CuBlas:
    """`Products` of cuBLAS, whose matrices stand column by column: what it sees is ours, transposed."""

    def __init__(self, library: Any, stream: Any) -> None:
        self._library, self._handle = library, ctypes.c_void_p()
        self._call("cublasCreate_v2", ctypes.byref(self._handle), of_handle=False)
        destroy = weakref.finalize(self, library.cublasDestroy_v2, self._handle)
        destroy.atexit = False  # the driver may be gone by then
        self._call("cublasSetMathMode", DEFAULT_MATH)
        self._stream = stream  # it lives as long as the handle
        self._call("cublasSetStream_v2", ctypes.c_void_p(int(stream)))

    def multiply(self, A: Any, B: Any, out: Any, n: int, k: int, m: int) -> None:
        """See `Products`."""
        self._sgemm(NO_TRANSPOSE, (m, n, k), B, (A, k), 0.0, out)

    def add_transposed(self, A: Any, B: Any, out: Any, n: int, k: int, m: int) -> None:
        """See `Products`."""
        self._sgemm(TRANSPOSE, (m, k, n), B, (A, k), 1.0, out)

    def _sgemm(
        self, how: int, shape: tuple[int, int, int], left: Any, right: tuple[Any, int], keep: float, out: Any
    ) -> None:
        (A, lead), m = right, shape[0]
        matrices = ctypes.c_void_p(address_of(left)), m, ctypes.c_void_p(address_of(A)), lead
        factors = ctypes.c_float(1.0), ctypes.c_float(keep)
        one, kept = map(ctypes.byref, factors)
        self._call(
            "cublasSgemm_v2", NO_TRANSPOSE, how, *shape, one, *matrices, kept,
            ctypes.c_void_p(address_of(out)), m,
        )  # fmt: skip

    def _call(self, name: str, *args: Any, of_handle: bool = True) -> None:
        status = getattr(self._library, name)(*((self._handle,) if of_handle else ()), *args)
        if status:
            raise RuntimeError(
                f"cuBLAS: {name} returned status {status}: it may not be for this driver; where it is not "
                "installed, a kernel of streamgd takes its place"
            )


# -- our own ------------------------------------------------------------------------------------


class Tiles:
    """`Products` of a plain kernel: right everywhere, and slower than cuBLAS."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._side = stream, math.isqrt(_linear.THREADS)
        self._threads = self._side**2
        self._info = cuda.to_device(np.full(_linear.N_INFO, _linear.NOTHING_REFUSED))
        self._parts = cuda.device_array(1, np.float32)

    def multiply(self, A: Any, B: Any, out: Any, n: int, k: int, m: int) -> None:
        """See `Products`."""
        self._launch(False, A, B, out, n, k, m, 1)

    def add_transposed(self, A: Any, B: Any, out: Any, n: int, k: int, m: int) -> None:
        """See `Products`; blocks share sums of many rows, and leave parts that are added up in order."""
        slices = max(1, min(_linear.BLOCKS // self._tiles(k, m), -(-n // LEAST_DEPTH)))
        if self._parts.size < slices * k * m:
            self._parts = cuda.device_array(slices * k * m, np.float32)
        self._launch(True, A, B, self._parts, k, n, m, slices)
        blocks = min(_linear.BLOCKS, -(-k * m // _linear.WARP))
        add = _linear.collected(self._threads)[blocks, self._threads, self._stream]
        add(self._parts, slices, k * m - 1, out, self._info)

    def _launch(
        self, transposed: bool, A: Any, B: Any, out: Any, rows: int, depth: int, columns: int, slices: int
    ) -> None:
        blocks = min(_linear.BLOCKS, self._tiles(rows, columns) * slices)
        launch = product(self._side, transposed)[blocks, self._threads, self._stream]
        launch(A, B, out, rows, depth, columns, slices)

    def _tiles(self, rows: int, columns: int) -> int:
        tile = self._side * EACH
        return -(-rows // tile) * -(-columns // tile)


def product_body(side: int, transposed: bool) -> Callable[..., Any]:
    """Build ``(A, B, out, rows, depth, columns, slices)``, by all threads of a launch.

    ``out (slices, rows, columns)`` gets parts of a product: each is that of some of the ``depth`` columns of
    A, which stands there ``transposed`` or not, and as many rows of B.
    """
    tile, threads = side * EACH, side * side
    n_tile, n_mine = DEPTH * tile, EACH * EACH

    def product(A, B, out, rows, depth, columns, slices):
        a = cuda.shared.array(n_tile, float32)
        b = cuda.shared.array(n_tile, float32)
        mine = cuda.local.array(n_mine, float32)
        thread = cuda.threadIdx.x
        down, across = thread // side, thread % side
        tiles_across = (columns + tile - 1) // tile
        tiles = tiles_across * ((rows + tile - 1) // tile)
        share = (depth + slices - 1) // slices
        for t in range(cuda.blockIdx.x, tiles * slices, cuda.gridDim.x):
            part = t // tiles
            row = t % tiles // tiles_across * tile
            column = t % tiles_across * tile
            end = min(depth, (part + 1) * share)
            for v in range(n_mine):
                mine[v] = 0.0
            for q in range(part * share, end, DEPTH):
                for v in range(thread, n_tile, threads):
                    d, j = q + v // tile, column + v % tile
                    b[v] = B[d * columns + j] if d < end and j < columns else 0.0
                    if transposed:  # neighbouring threads read neighbours
                        i = row + v % tile
                        a[v] = A[d * rows + i] if d < end and i < rows else 0.0
                    else:
                        d, i = q + v % DEPTH, row + v // DEPTH
                        a[v % DEPTH * tile + v // DEPTH] = A[i * depth + d] if d < end and i < rows else 0.0
                cuda.syncthreads()
                for d in range(DEPTH):
                    for i in range(EACH):
                        x = a[d * tile + down + i * side]
                        for j in range(EACH):
                            mine[i * EACH + j] += x * b[d * tile + across + j * side]
                cuda.syncthreads()
            for i in range(EACH):
                for j in range(EACH):
                    at, k = row + down + i * side, column + across + j * side
                    if at < rows and k < columns:
                        out[(part * rows + at) * columns + k] = mine[i * EACH + j]

    return product


@functools.cache
def product(side: int, transposed: bool) -> Any:
    """Kernel: parts of a product; see `product_body`."""
    return kernel(single(product_body(side, transposed)), threads=side * side, blocks=2)
