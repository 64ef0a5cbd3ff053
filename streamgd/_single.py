"""Rules in single precision: copies of functions whose numbers are float32, and a check that they are."""

from __future__ import annotations

import builtins
import functools
import math
from collections.abc import Callable, Iterable
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
from numba import njit, typeof, types

from ._jit import LIMIT, OPTIONS, doubles_in, inlined, jitable
from ._piece import KernelPiece

# As LIMIT for float64: above this the square of a sum overflows.
SINGLE_LIMIT = 1e15
_MARK = "is_single"
_LEAST, _LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


def number(value: float) -> np.float32:
    """Return a constant as float32: beyond it, as the smallest or largest there is; LIMIT as its own.

    A rule divides by a small one, or takes its logarithm, where nothing else is left; and asks whether
    something is larger than a large one.
    """
    if value == LIMIT:
        value = SINGLE_LIMIT
    if 0.0 < abs(value) < math.inf:
        value = math.copysign(min(max(abs(value), _LEAST), _LARGEST), value)
    return np.float32(value)


_copies: dict[Any, Callable[..., Any]] = {}
_modules: dict[ModuleType, ModuleType] = {}


def single(function: Any) -> Callable[..., Any]:
    """Return a copy of a rule with float32 in the place of all floats that it names, directly or in helpers.

    Numba multiplies a float32 by a literal ``1.0`` in float64: authors write ordinary Python, and this is
    what kernels in single precision compile. An int stays one, as it may be an index: in arithmetic it makes
    float64 of a float32; see `check_single`.
    """
    made: Callable[..., Any] | None = function if _MARK in function.__dict__ else _copies.get(function)
    if made is not None:
        return made
    code = function.__code__
    names: dict[str, Any] = {"__name__": function.__module__, "__builtins__": builtins}
    cells = tuple(CellType() for _ in function.__closure__ or ())
    copy = FunctionType(_constants(code), names, function.__name__, closure=cells)
    _copies[function] = copy  # before its helpers are copied: they may call it
    copy.__module__, copy.__qualname__ = function.__module__, function.__qualname__
    copy.__dict__[_MARK] = True

    named = _names(code)
    for name in named & function.__globals__.keys():
        names[name] = _converted(function.__globals__[name], named)
    if "float" in named:
        names.setdefault("float", np.float32)
    for cell, original in zip(cells, function.__closure__ or (), strict=True):
        cell.cell_contents = _converted(original.cell_contents, named)
    copy.__defaults__ = _converted(function.__defaults__, named)
    defaults = function.__kwdefaults__ or {}
    copy.__kwdefaults__ = {name: _converted(value, named) for name, value in defaults.items()}
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


def _converted(value: Any, names: Iterable[str] = ()) -> Any:
    """Return what a rule names as its copy is to see it; ``names`` are what may be looked up in a module."""
    value = getattr(value, "py_func", value)  # of a user's own @njit
    if type(value) in (float, np.float64):
        return number(float(value))
    if isinstance(value, tuple):
        items = [_converted(item, names) for item in value]
        if all(item is old for item, old in zip(items, value, strict=True)):
            return value
        return value._make(items) if hasattr(value, "_make") else tuple(items)
    if isinstance(value, np.ndarray) and value.dtype == np.float64:
        return np.array([number(v) for v in value.ravel()], np.float32).reshape(value.shape)
    if isinstance(value, ModuleType):
        return _module(value, names)
    if isinstance(value, FunctionType) and _MARK not in value.__dict__ and _is_rule(value):
        return single_jitable(value)
    return value


def _module(module: ModuleType, names: Iterable[str]) -> ModuleType:
    """Return a stand-in with what a rule names in a module (``math.pi``); itself, if nothing changes."""
    found = {name: vars(module)[name] for name in names if name in vars(module)}
    items = {name: _converted(value, names) for name, value in found.items()}
    if all(items[name] is found[name] for name in found):
        return module
    copy = _modules.setdefault(module, ModuleType(module.__name__))
    vars(copy).update(items)
    return copy


def _is_rule(function: FunctionType) -> bool:
    """Tell whether kernels compile a function; intrinsics and NumPy's are theirs to know."""
    return (function.__module__ or "").partition(".")[0] not in ("numba", "numpy")


# -- the check of rules from outside of the package ---------------------------------------------


def check_single(classes: Iterable[type[KernelPiece]]) -> None:
    """Raise TypeError where a rule computes in float64 though all it gets is float32, saying what to write.

    Of the loss, the optimizer and the penalty of a kernel; the package's own are known to be clean.
    """
    for cls in classes:
        outside = cls.__module__.partition(".")[0] != __package__
        if not outside or getattr(cls, "kernel", "coordinate") != "coordinate":  # others run on the CPU only
            continue
        places = doubles_of(cls)
        if places:
            raise TypeError(
                f"{cls.__qualname__} cannot be computed in float32: {'; '.join(places)}. In compiled code "
                "an int makes a float64 of a float32: write 1.0 for 1, and float(n) for an integer n"
            )


@functools.cache
def doubles_of(cls: type[KernelPiece]) -> list[str]:
    """Say where the rules of a loss, an optimizer or a penalty compute in float64, or do not compile."""
    own = [name for name in cls.contract if cls.overrides(name)]
    places: list[str] = []
    constants = _floats(1)  # of a row: its learning rate
    for name in sorted(own, key=lambda name: name == "step"):  # which gets what `row` returns
        rule = single(getattr(cls, name))
        arguments = tuple(_type(cls, parameter, constants) for parameter in cls.contract[name])
        try:
            found = doubles_in(rule, arguments)
            result = _result(rule, arguments)
        except Exception as error:  # Numba has many kinds, and none of them means anything else here
            raise TypeError(f"{cls.__qualname__}.{name} does not compile for float32: {error}") from error
        places += [f"{place}, is float64" for place in found]
        if not found and not all(_is_single(item, name == "full") for item in _leaves(result)):
            places.append(f"{cls.__qualname__}.{name} returns {result}")
        if name == "row":
            constants = _floats(len(result[1]))
    return list(dict.fromkeys(places))


def _type(cls: Any, parameter: str, constants: Any) -> Any:
    """Return Numba's type of a rule's parameter: families give the same names to the same things."""
    if parameter == "self":
        return typeof(cls.struct(*(np.float32(0.0) for _ in cls.struct._fields)))
    if parameter == "c":
        return constants
    lengths = {"totals": 2, "before": 2, "after": 2}
    if parameter in ("slots", "scalars", "sums"):
        lengths[parameter] = getattr(cls, f"n_{parameter}")
    if parameter in lengths:
        return _floats(lengths[parameter])
    return types.float32


def _floats(n: int) -> Any:
    return types.Tuple([types.float32] * n)


def _result(rule: Any, arguments: tuple[Any, ...]) -> Any:
    dispatcher = njit(error_model=OPTIONS["error_model"])(rule)
    dispatcher.compile(arguments)
    return dispatcher.nopython_signatures[0].return_type


def _leaves(result: Any) -> list[Any]:
    is_tuple = isinstance(result, types.BaseTuple)
    return [leaf for item in result for leaf in _leaves(item)] if is_tuple else [result]


def _is_single(leaf: Any, is_test: bool) -> bool:
    return leaf == types.float32 or (is_test and leaf == types.boolean)
