"""Rules in single precision: copies of plain functions whose numbers are float32."""

from __future__ import annotations

import builtins
import functools
from collections.abc import Callable
from types import CellType, CodeType, FunctionType
from typing import Any

import numpy as np

from ._jit import LIMIT, inlined, jitable

# As LIMIT for float64: above this the square of a sum overflows.
SINGLE_LIMIT = 1e15
_MARK = "is_single"
_LEAST = float(np.finfo(np.float32).tiny)


def number(value: float) -> np.float32:
    """Return a constant as float32: one that is too small for it as the smallest there is, LIMIT as its own.

    A rule divides by such a constant, or takes its logarithm, where nothing else is left.
    """
    if value == LIMIT:
        value = SINGLE_LIMIT
    if 0.0 < abs(value) < _LEAST:
        value = _LEAST if value > 0.0 else -_LEAST
    with np.errstate(over="ignore"):
        return np.float32(value)


@functools.cache
def single(function: FunctionType) -> Callable[..., Any]:
    """Return a copy of a rule with float32 in the place of all floats that it names, directly or in helpers.

    Numba multiplies a float32 by a literal ``1.0`` in float64: authors write ordinary Python, and this is what
    kernels in single precision compile. What cannot be copied (an int in arithmetic, ``math.pi``) shows as
    float64 in the types of the result; see `_jit.doubles_in`.
    """
    code = function.__code__
    names = {name: function.__globals__[name] for name in _names(code) if name in function.__globals__}
    changed = {name: _converted(value) for name, value in names.items()}
    changed |= {"__name__": function.__module__, "__builtins__": builtins}
    cells = tuple(CellType(_converted(cell.cell_contents)) for cell in function.__closure__ or ())
    defaults = _converted(function.__defaults__) if function.__defaults__ else None
    copy = FunctionType(_constants(code), changed, function.__name__, defaults, cells)
    copy.__module__, copy.__qualname__ = function.__module__, function.__qualname__
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__dict__[_MARK] = True
    return copy


def single_jitable(function: Any) -> Any:
    """As `jitable`, in single precision."""
    return jitable(single(function))


def single_inlined(function: Any) -> Any:
    """As `inlined`, in single precision."""
    return inlined(single(function))


def _constants(code: CodeType) -> CodeType:
    return code.replace(
        co_consts=tuple(_constants(c) if isinstance(c, CodeType) else _converted(c) for c in code.co_consts)
    )


def _names(code: CodeType) -> set[str]:
    inner = (_names(c) for c in code.co_consts if isinstance(c, CodeType))
    return set(code.co_names).union(*inner)


def _converted(value: Any) -> Any:
    """Return what a rule names as its copy is to see it."""
    value = getattr(value, "py_func", value)  # of a user's own @njit
    if type(value) in (float, np.float64):
        return number(float(value))
    if type(value) is tuple:
        return tuple(map(_converted, value))
    if isinstance(value, FunctionType) and _MARK not in value.__dict__ and _is_rule(value):
        return single_jitable(value)
    return value


def _is_rule(function: FunctionType) -> bool:
    """Tell whether kernels compile a function; intrinsics and NumPy's are theirs to know."""
    return not function.__module__.startswith(("numba", "numpy", "math"))
