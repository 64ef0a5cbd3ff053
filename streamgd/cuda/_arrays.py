"""Arrays of others that lie on the device: checked, and seen in place."""
# mypy: disable-error-code="no-untyped-call,call-arg,attr-defined"

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._rows import is_device_array as is_device_array

ROW_TYPES = ("float32", "float16", "uint8")
VECTOR_TYPES = ("float32", "float64", "int32", "int64", "uint8", "bool")

_LEGACY = 1  # the default stream's number in protocols, where 0 stands for nothing


def device_rows(X: Any, stream: Any = 0) -> Any:
    """Return rows on the device as an array of Numba's, a view of the same memory.

    ``stream``, which is to read them, waits for what their owner has still to do with them on a stream that
    it tells; the host waits for nothing.

    Parameters
    ----------
    X
        Matrix ``(n, p)`` of float32, float16 or uint8, C-contiguous, on the current device: of PyTorch,
        CuPy, Numba, or with ``__cuda_array_interface__`` or DLPack.
    stream
        A stream of Numba's or cuda.core's; 0 is the default stream.

    Raises
    ------
    TypeError, ValueError
        No such matrix; the message says how to make one.
    """
    return _seen(X, "X", stream, 2, ROW_TYPES)


def device_vector(v: Any, n: int, name: str, stream: Any = 0) -> Any:
    """Return a target or weight column ``(n,)`` on the device; as `device_rows`, of any usual type."""
    array = _seen(v, name, stream, 1, VECTOR_TYPES)
    if array.shape[0] != n:
        raise ValueError(f"{name} has {array.shape[0]} values, X has {n} rows")
    return array


def to_host(array: Any, name: str = "the array") -> NDArray[Any]:
    """Return a copy, on the host, of a contiguous array on the device."""
    copy: NDArray[Any] = _seen(array, name, 0).copy_to_host()
    return copy


def _seen(x: Any, name: str, stream: Any, n_dimensions: int = 0, types: tuple[str, ...] = ()) -> Any:
    """Return an array on the device in Numba's terms; of so many dimensions and one of the types, if said."""
    torch = type(x).__module__.partition(".")[0] == "torch"
    if not is_device_array(x):
        way = f"{name}.cuda()" if torch else f"torch.as_tensor({name}, device='cuda')"
        raise TypeError(
            f"{name} is {type(x).__module__}.{type(x).__name__} in the host's memory; it must lie "
            f"on the CUDA device: give {way}"
        )
    if getattr(x, "requires_grad", False) is True:
        raise ValueError(f"{name} requires grad, and no gradient goes back from here: give {name}.detach()")
    _check_device(x, name)
    interface, owner = _interface(x, stream)
    shape, dtype = tuple(interface["shape"]), np.dtype(interface["typestr"])
    if n_dimensions and len(shape) != n_dimensions:
        wanted = "(n, p): rows, columns" if n_dimensions == 2 else "one-dimensional"
        raise ValueError(f"{name} has shape {shape}; it must be {wanted}")
    if types and dtype.name not in types:
        way = f"{name}.float()" if torch else f"{name}.astype('float32')"
        raise TypeError(
            f"{name} has values of type {getattr(x, 'dtype', dtype)}; on the device they are "
            f"{', '.join(types[:-1])} or {types[-1]}: give {way}"
        )
    if interface.get("mask") is not None:
        raise ValueError(f"{name} has a mask; fill in what is missing, or leave those rows out")
    if not _is_contiguous(shape, interface.get("strides"), dtype.itemsize):
        way = f"{name}.contiguous()" if torch else f"a copy, such as cupy.ascontiguousarray({name})"
        raise ValueError(
            f"{name} of shape {shape} has strides of {tuple(interface['strides'])} bytes; kernels read rows "
            f"that lie one behind the other (C order): give {way}"
        )
    return x.bind() if _is_numbas(x) else _adopted(interface, owner)


def address_of(array: Any) -> int:
    """Return where an array of Numba's begins in the device's memory; 0 in the simulator."""
    from ._backend import IS_SIMULATED

    return 0 if IS_SIMULATED else int(array.__cuda_array_interface__["data"][0])


def _is_numbas(x: Any) -> bool:
    return hasattr(type(x), "__cuda_ndarray__")


def _check_device(x: Any, name: str) -> None:
    from ._backend import IS_SIMULATED, cuda

    if IS_SIMULATED or not hasattr(type(x), "__dlpack_device__"):
        return
    device, current = x.__dlpack_device__()[1], cuda.get_current_device().id
    if device != current:
        raise ValueError(
            f"{name} lies on CUDA device {device}, and kernels run on device {current}: copy it there, or "
            f"call numba.cuda.select_device({device}) before the first kernel"
        )


def _interface(x: Any, stream: Any) -> tuple[dict[str, Any], Any]:
    """Return the CUDA array interface of an array, which ``stream`` may read from now on, and who owns it."""
    if _is_numbas(x):
        if x.stream:
            _wait(stream, _number(x.stream))
        return {"shape": x.shape, "strides": x.strides, "typestr": x.dtype.str}, x
    if not hasattr(type(x), "__cuda_array_interface__"):
        return _by_dlpack(x, stream)
    interface = x.__cuda_array_interface__
    if interface.get("stream") is not None:
        _wait(stream, interface["stream"])
    elif interface["version"] < 3 and hasattr(type(x), "__dlpack__"):
        # Version 2, which PyTorch has, says nothing of streams. Asked for DLPack for a stream, the owner
        # makes that stream wait; the capsule is not used, and frees itself.
        x.__dlpack__(stream=_number(stream))
    return interface, x


def _by_dlpack(x: Any, stream: Any) -> tuple[dict[str, Any], Any]:
    from cuda.core.utils import StridedMemoryView

    view = StridedMemoryView.from_dlpack(x, stream_ptr=_number(stream))
    size = view.dtype.itemsize
    return {
        "shape": view.shape,
        "strides": None if view.strides is None else tuple(step * size for step in view.strides),
        "typestr": view.dtype.str,
        "data": (view.ptr, view.readonly),
        "version": 3,
    }, view


def _number(stream: Any) -> int:
    """Return what protocols call a stream; the default stream is 0, and the simulator's have no number."""
    return (stream.__cuda_stream__()[1] if hasattr(stream, "__cuda_stream__") else 0) or _LEGACY


def _wait(stream: Any, producer: int) -> None:
    """Make a stream wait for all that has been begun on another, of which the number is known."""
    from ._backend import cuda

    if producer != _number(stream):
        event = cuda.event(timing=False)
        event.record(cuda.external_stream(producer))
        event.wait(stream)


def _is_contiguous(shape: tuple[int, ...], strides: Any, size: int) -> bool:
    if strides is None or 0 in shape:
        return True
    for length, step in zip(reversed(shape), reversed(strides), strict=True):
        if length > 1 and step != size:
            return False
        size *= length
    return True


def _adopted(interface: dict[str, Any], owner: Any) -> Any:
    """Return an array of Numba's over memory that others own, and that lives as long as it."""
    from ._backend import IS_SIMULATED, cuda

    interface = interface | {"strides": None, "stream": None}  # it was waited for: copies need not go there
    if IS_SIMULATED:  # where the device's memory is the host's
        array = np.asarray(SimpleNamespace(__array_interface__=interface, owner=owner))
        return cuda.cudadrv.devicearray.FakeCUDAArray(array)
    return cuda.from_cuda_array_interface(interface, owner=owner, sync=False)
