"""All that touches numba-cuda: how kernels are compiled, kept and launched, and memory of the device."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ._errors import check_package

check_package()

import numba_cuda  # noqa: E402
from numba import config, cuda, float32, int32, int64  # noqa: E402

from streamgd._jit import _contents, importable  # noqa: E402

__all__ = [
    "FULL_WARP",
    "IS_SIMULATED",
    "cuda",
    "float32",
    "int32",
    "int64",
    "kernel",
    "load4",
    "multiprocessors",
]

_settings: Any = config
IS_SIMULATED = bool(_settings.ENABLE_CUDASIM)
FULL_WARP = 0xFFFFFFFF


def multiprocessors() -> int:
    """Return how many blocks can certainly wait for each other."""
    return 1 << 10 if IS_SIMULATED else int(cuda.get_current_device().MULTIPROCESSOR_COUNT)


# -- kernels ------------------------------------------------------------------------------------


def kernel(
    body: Callable[..., Any], pieces: tuple[type, ...] = (), *, threads: int | None = None, blocks: int = 1
) -> Any:
    """Return a kernel, ``kernel[grid, block, stream](*args)``, compiled when it is first launched.

    Its machine code is kept on disk by the code that it is made from, as those of the CPU are. ``threads``
    and ``blocks`` bound its registers: so many blocks of so many threads are to fit on a multiprocessor.
    """
    # a name, and an index file, for each combination: see `_jit.bind`
    closed = sorted(str(v) for v in _constants_of(body))
    identity = "-".join([*(f"{p.__module__}.{p.__qualname__}" for p in pieces), *closed])
    name = f"{body.__name__}_{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    body.__name__ = body.__qualname__ = name
    if IS_SIMULATED:
        return cuda.jit(body)
    bounds = None if threads is None else (threads, blocks)
    dispatcher = cuda.jit(launch_bounds=bounds)(body)
    if all(map(importable, pieces)):
        dispatcher._cache = _kernel_cache(body, bounds)
    return Kernel(dispatcher)


class Kernel:
    """A kernel that is launched without a warning of small grids: those that it gets are meant."""

    def __init__(self, dispatcher: Any) -> None:
        self._dispatcher = dispatcher

    def __getitem__(self, grid: Any) -> Any:
        before = _settings.CUDA_LOW_OCCUPANCY_WARNINGS
        try:
            _settings.CUDA_LOW_OCCUPANCY_WARNINGS = 0
            return self._dispatcher[grid]
        finally:
            _settings.CUDA_LOW_OCCUPANCY_WARNINGS = before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dispatcher, name)


def _constants_of(body: Callable[..., Any]) -> list[Any]:
    cells = getattr(body, "__closure__", None) or ()
    return [c.cell_contents for c in cells if isinstance(c.cell_contents, bool | int | float | tuple | str)]


def _kernel_cache(body: Callable[..., Any], bounds: Any) -> Any:
    """Return a cache on disk for a kernel, or one that keeps nothing where there is no folder to write to."""
    from numba.cuda.core.caching import NullCache
    from numba.cuda.dispatcher import CUDACache

    class KernelCache(CUDACache):  # type: ignore[misc]
        """By all the code that a kernel reaches: numba-cuda would pickle closures, and find nothing again."""

        def _index_key(self, sig, codegen):
            digest = hashlib.sha256(Path(__file__).read_bytes())  # of `load4`, which is no plain function
            digest.update("\n".join(_contents(self._py_func, set())).encode())
            return sig, codegen.magic_tuple(), numba_cuda.__version__, bounds, digest.hexdigest()

    try:
        return KernelCache(body)
    except RuntimeError as error:
        if "no locator" not in str(error):
            raise
        return NullCache()


if IS_SIMULATED:

    def load4(array, start):
        """Read ``array[start:start + 4]`` of a flat float32 array at once."""
        return array[start], array[start + 1], array[start + 2], array[start + 3]

else:
    from llvmlite import ir
    from numba.cuda import types
    from numba.cuda.extending import intrinsic

    @intrinsic
    def load4(typing_context, array, start):
        """Read ``array[start:start + 4]`` of a flat float32 array at once.

        One load of 16 bytes: the array is aligned to 16 bytes, and ``start`` a multiple of 4.
        """
        signature = types.UniTuple(array.dtype, 4)(array, start)

        def generate(context, builder, signature, args):
            view = context.make_array(signature.args[0])(context, builder, args[0])
            index = context.cast(builder, args[1], signature.args[1], types.int64)
            four = ir.VectorType(context.get_data_type(array.dtype), 4)
            loaded = builder.load(builder.bitcast(builder.gep(view.data, [index]), four.as_pointer()))
            loaded.align = 16
            lanes = [builder.extract_element(loaded, ir.Constant(ir.IntType(32), k)) for k in range(4)]
            return context.make_tuple(builder, signature.return_type, lanes)

        return signature, generate
