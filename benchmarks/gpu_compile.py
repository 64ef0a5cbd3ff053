"""Kernels compiled as they are launched, where there is no GPU: arrays are shapes, and nothing runs.

The gate of tests/cuda says what is wrong with a kernel.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np

ARCHITECTURE = "sm_90"

compiled: dict[tuple[str, str], Any] = {}  # by kernel and signature: what it needs, what is wrong


class Shape:
    """An array on a device that is not there: it has a shape and a type, and no memory."""

    __cuda_ndarray__ = True
    stream = 0

    def __init__(self, shape: Any, dtype: Any = np.float64) -> None:
        # one number, seen everywhere: indexing tells shapes
        self._seen = np.broadcast_to(np.zeros((), np.dtype(dtype)), shape)
        self.shape, self.dtype, self.size, self.ndim = (
            self._seen.shape, self._seen.dtype, self._seen.size, self._seen.ndim,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self._seen)

    def __getitem__(self, index: Any) -> Shape:
        return Shape(self._seen[index].shape, self.dtype)

    def reshape(self, *shape: Any) -> Shape:
        shape = shape[0] if isinstance(shape[0], tuple) else shape
        known = -int(np.prod(shape))
        return Shape([self.size // known if n == -1 else n for n in shape], self.dtype)

    def ravel(self) -> Shape:
        return Shape(self.size, self.dtype)

    def bind(self) -> Shape:
        return self

    @property
    def strides(self) -> None:
        return None

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": self.shape, "typestr": self.dtype.str, "data": (256, False), "version": 3}

    def copy_to_host(self, out: Any = None, stream: Any = 0) -> Any:
        if out is None:
            out = np.empty(self.shape, self.dtype)
        out[...] = 0
        return out

    def copy_to_device(self, values: Any, stream: Any = 0) -> None:
        if values.size != self.size:
            raise ValueError(f"{values.size} values are copied to {self.size}")


class Idle:
    """A stream or an event of a device that is not there."""

    def synchronize(self) -> None: ...
    def record(self, stream: Any = 0) -> None: ...
    def wait(self, stream: Any = 0) -> None: ...
    def elapsed_time(self, event: Any) -> float:
        return 0.0


class Compiling:
    """What a kernel's launch becomes."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel

    def __call__(self, *args: Any) -> None:
        import gate
        from numba.cuda import types

        signature = types.void(*map(_type_of, args))
        key = self._kernel.py_func.__name__, str(signature)
        if key not in compiled:
            case = gate.Case(key[0], self._kernel, signature, registers=255, stack=1 << 10)
            found = next(one for one in gate.compiled(case) if one.architecture == ARCHITECTURE)
            compiled[key] = found, found.broken(case)
            click.echo(
                f"    {key[0]}: {found.registers} registers, {found.stack} bytes of stack, "
                f"{found.shared} shared"
            )


def _type_of(value: Any) -> Any:
    from numba.cuda import types
    from numba.cuda.np.numpy_support import from_dtype

    if isinstance(value, Shape):
        return types.Array(from_dtype(value.dtype), value.ndim, "C")
    if isinstance(value, np.generic):
        return from_dtype(value.dtype)
    return {bool: types.boolean, int: types.int64, float: types.float64}[type(value)]


def stand_in() -> None:
    """Let what asks for a device from now on find none of its memory, and compile its kernels."""
    sys.path.insert(1, str(Path(__file__).parents[1] / "tests" / "cuda"))
    from numba import cuda
    from numba.cuda import dispatcher

    from streamgd.cuda import _errors, _gemm, _upload

    cuda.to_device = lambda a, stream=0: Shape(np.shape(a), np.asarray(a).dtype)
    cuda.device_array = lambda shape, dtype=np.float64, **_: Shape(shape, dtype)
    cuda.pinned_array = lambda shape, dtype=np.float64, **_: np.empty(shape, dtype)
    cuda.stream = cuda.event = lambda *_, **__: Idle()
    cuda.synchronize = lambda: None
    cuda.cuda_error = lambda: None
    cuda.get_current_device = lambda: SimpleNamespace(
        compute_capability=(9, 0), id=0, MULTIPROCESSOR_COUNT=132
    )
    dispatcher.CUDADispatcher.__getitem__ = lambda kernel, _: Compiling(kernel)
    _errors.require = lambda: None
    _upload._copy_stream, _upload._is_pinned = Idle, lambda X: False
    _gemm._cublas = lambda: None  # its stand-in has kernels


def report() -> list[str]:
    """Print what was compiled, and return what is wrong."""
    most = max((found.registers for found, _ in compiled.values()), default=0)
    click.echo(f"\n{len(compiled)} kernels for {ARCHITECTURE}, at most {most} registers")
    wrong = [f"{name}: {'; '.join(said)}" for (name, _), (_, said) in compiled.items() if said]
    for said in wrong:
        click.echo(said)
    return wrong
