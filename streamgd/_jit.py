"""All that touches Numba: what kernels are compiled with, their cache key, and direct entry points."""

from __future__ import annotations

import functools
import hashlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.caching import FunctionCache
from numba.extending import (
    NativeValue,
    intrinsic,
    models,
    register_jitable,
    register_model,
    unbox,
)

F = TypeVar("F", bound=Callable[..., Any])

# The default error model costs 4 to 6 times in every rule that divides, and can raise half-way
# through an update. The set of fastmath flags keeps NaN and infinity as they are ("nnan" and
# "ninf" are left out), but lets sums be reordered, which vectorises them.
OPTIONS: dict[str, Any] = {
    "error_model": "numpy",
    "fastmath": {"reassoc", "contract", "arcp", "nsz"},
}

# Above this a sum of squares overflows: kernels refuse the row before they write anything.
LIMIT = 1e150


class Compilation(NamedTuple):
    """One kernel made ready in this process: its name, seconds, and whether the disk cache had it."""

    name: str
    seconds: float
    cached: bool


compilations: list[Compilation] = []


_register = functools.cache(register_jitable)
_register_inlined = functools.cache(register_jitable(forceinline=True))


def jitable(function: F) -> F:
    """Let kernels that close over ``function`` compile it; it stays a plain function."""
    return cast(F, _register(function))


def inlined(function: F) -> F:
    """As `jitable`, always inlined: for what has one place in a kernel and too many arguments to pass."""
    return cast(F, _register_inlined(function))


def strict(function: F) -> F:
    """Compile a function on its first call, rounding as Python does: for parsing and counting."""
    return cast(F, _kept(njit(nogil=True, error_model=OPTIONS["error_model"])(function)))


def borrowing(function: F) -> F:
    """Compile as `strict` does a function that makes no arrays: those that it gets are not counted."""
    options = {"error_model": OPTIONS["error_model"], "forceinline": True, "_nrt": False}
    return cast(F, _kept(njit(nogil=True, **options)(function)))


def _kept(dispatcher: Any) -> Any:
    """Let a function's machine code be kept on disk, if there is a folder to write to."""
    try:
        dispatcher._cache = _Cache(dispatcher.py_func)
    except RuntimeError as error:
        if "no locator" not in str(error):
            raise
    return dispatcher


class _Cache(FunctionCache):
    """Machine code by all the code that a function reaches: Numba looks at the one file that defines it."""

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        digest = hashlib.sha256("\n".join(_contents(self._py_func, set())).encode()).hexdigest()
        return (*super()._index_key(sig, codegen), digest)


def importable(cls: type) -> bool:
    """Tell whether another process finds ``cls`` by its name (and a cached kernel may refer to it)."""
    found: Any = sys.modules.get(cls.__module__)
    if cls.__module__ == "__main__" or getattr(found, "__file__", None) is None:
        return False
    for part in cls.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is cls


@functools.cache
def _digest_of_package() -> bytes:
    """Hash of the package's modules whose functions kernels can reach."""
    here = Path(__file__).parent
    files = [here / "_jit.py", here / "_single.py", here / "_features.py", here / "_piece.py"]
    digest = hashlib.sha256()
    for path in [*files, *sorted((here / "kernels").glob("*.py")), *sorted((here / "optim").glob("*.py"))]:
        digest.update(path.read_bytes())
    return digest.digest()


def _contents(value: Any, seen: set[Any]) -> Iterator[str]:
    """Yield what compiled code takes from a value: a constant, or a function's code and all it names."""
    value = getattr(value, "py_func", value)  # of a user's own @njit
    if isinstance(value, np.ndarray | np.generic):  # arrays of a module are frozen into kernels
        yield f"{value.dtype} {value.shape} {value.tobytes().hex()}"
    elif isinstance(value, int | float | complex | str | bytes):
        yield repr(value)
    elif isinstance(value, tuple | frozenset):
        yield f"{type(value).__name__} of {len(value)}"
        for item in sorted(value, key=repr) if isinstance(value, frozenset) else value:
            yield from _contents(item, seen)
    elif isinstance(value, CodeType):
        yield value.co_code.hex()
    elif isinstance(value, FunctionType) and value not in seen:
        seen.add(value)
        code = value.__code__
        yield f"{value.__qualname__} {code.co_code.hex()} {code.co_varnames} {code.co_names}"
        defaults = (*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values())
        for constant in (*code.co_consts, *defaults):
            yield from _contents(constant, seen)
        for cell in value.__closure__ or ():
            yield from _contents(cell.cell_contents, seen)
        for name in code.co_names:
            yield from _named(value.__globals__.get(name), code.co_names, seen)


def _named(value: Any, names: tuple[str, ...], seen: set[Any]) -> Iterator[str]:
    """Yield the contents of a global, and of what ``names`` may mean in it if it is a module."""
    yield from _contents(value, seen)
    if isinstance(value, ModuleType) and (value, names) not in seen:
        seen.add((value, names))
        for name in names:
            yield from _named(vars(value).get(name), names, seen)  # getattr would warn of old names


def fingerprint(pieces: Iterable[Any]) -> str:
    """Hash of what a kernel is made from: closed over, it is part of Numba's cache key.

    Numba pickles importable functions by name only, so without it an edited rule, or an edited
    function or constant that the rule names, would be served from the cache in its old form. What is
    hashed is the code in memory, because that is what is compiled: the file may have changed since.
    """
    seen: set[Any] = set()
    digest = hashlib.sha256(_digest_of_package())
    for piece in pieces:
        digest.update(repr(piece.struct._fields).encode())  # kernels know fields by position
        for cls in piece.__mro__[:-1]:
            for name, value in sorted(vars(cls).items(), key=lambda item: item[0]):
                if not name.startswith("__"):
                    for text in _contents(value, seen):
                        digest.update(f"{name} {text}\n".encode())
    return digest.hexdigest()[:16]


def bind(
    body: Callable[..., Any],
    signature: tuple[Any, ...],
    pieces: tuple[type, ...],
    *,
    nogil: bool,
    variant: str = "",
    borrows: bool = False,
    reorders: bool = True,
) -> Any:
    """Compile ``body`` for ``signature`` and return a class whose ``call`` is the compiled entry point.

    Calling it directly saves 170 ns a call and checks almost nothing: only learners may call it,
    with arrays that they allocated or normalised and scalars that they made. One that ``borrows`` its arrays
    makes none, and does not count who has them: to pass an array on costs 7 ns otherwise. Unless it
    ``reorders``, sums and products are those that are written, as on a GPU: float32 has no digits to spare.
    """
    # A name of its own for each combination gives each an index file of its own in the cache:
    # processes that compile different combinations at once cannot overwrite each other's.
    identity = "-".join(f"{p.__module__}.{p.__qualname__}" for p in pieces) + variant + str(signature)
    identity += f" borrows={borrows} reorders={reorders}"  # which Numba's key does not have
    name = f"{body.__name__}_{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    body.__name__ = body.__qualname__ = name
    cached = all(importable(p) for p in pieces)
    start = time.perf_counter()
    options = OPTIONS | ({"_nrt": False} if borrows else {})
    if not reorders:
        options["fastmath"] = {"contract"}
    try:
        kernel = njit(body, cache=cached, nogil=nogil, **options)
    except RuntimeError as error:
        if "no locator" not in str(error):
            raise
        kernel = njit(body, nogil=nogil, **options)  # no folder to write to: compile in each process
    kernel.compile(signature)
    label = f"{name.rpartition('_')[0]}[{', '.join(p.__name__ for p in pieces)}]"
    seconds = time.perf_counter() - start
    compilations.append(Compilation(label, seconds, sum(kernel.stats.cache_hits.values()) > 0))
    # A class, because what walks over a model's memory (river does) stops at classes; from the entry
    # point it would go on through all of Numba.
    return type(label, (), {"call": kernel.overloads[signature].entry_point})


def doubles_in(function: Any, arguments: tuple[Any, ...]) -> list[str]:
    """Places in a function, or in those that it calls, which compute in float64 what they get in float32.

    Each is "name, line n of file". ``arguments`` are Numba's types of what it is called with.
    """
    found: dict[str, None] = {}
    _look_for_doubles(function, arguments, found, set())
    return list(found)


def _look_for_doubles(function: Any, arguments: Any, found: dict[str, None], seen: set[Any]) -> None:
    if (function, arguments) in seen:
        return
    seen.add((function, arguments))
    dispatcher = njit(error_model=OPTIONS["error_model"])(function)
    dispatcher.compile(arguments)
    typed = dispatcher.overloads[arguments].type_annotation
    file = Path(function.__code__.co_filename).name
    for block in typed.blocks.values():
        for statement in block.body:
            name = getattr(getattr(statement, "target", None), "name", None)
            if typed.typemap.get(name) == types.float64:
                found[f"{function.__qualname__}, line {statement.loc.line} of {file}"] = None
            call: Any = getattr(statement, "value", None)
            if getattr(call, "op", None) != "call":
                continue
            called = getattr(typed.typemap.get(call.func.name), "typing_key", None)
            if isinstance(called, FunctionType):
                _look_for_doubles(called, typed.calltypes[call].args, found, seen)


# -- Python objects and raw memory inside kernels ---------------------------------------------


class PyObject(types.Opaque):
    """Any Python object, passed to a kernel as its bare pointer: no boxing, no reference counting."""

    def __init__(self) -> None:
        super().__init__("streamgd.PyObject")


py_object = PyObject()


@register_model(PyObject)
class _PyObjectModel(models.OpaqueModel):
    pass


@unbox(PyObject)
def _unbox_pointer(typ, value, context):
    return NativeValue(value)


_WORD = ir.IntType(64)


@intrinsic
def address_of(typing_context, value):
    """Address of a ``py_object``."""

    def generate(context, builder, signature, args):
        return builder.ptrtoint(args[0], _WORD)

    return types.uintp(py_object), generate


@intrinsic
def load_word(typing_context, address):
    """Read the 64-bit word at ``address``."""

    def generate(context, builder, signature, args):
        return builder.load(builder.inttoptr(args[0], _WORD.as_pointer()))

    return types.uintp(types.uintp), generate


@intrinsic
def store_word(typing_context, address, value):
    """Write a 64-bit word to ``address``."""

    def generate(context, builder, signature, args):
        builder.store(args[1], builder.inttoptr(args[0], _WORD.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp), generate


@intrinsic
def load_double(typing_context, address):
    """Read the float64 at ``address``."""

    def generate(context, builder, signature, args):
        return builder.load(builder.inttoptr(args[0], ir.DoubleType().as_pointer()))

    return types.float64(types.uintp), generate


@intrinsic
def doubles_at(typing_context, address):
    """Pointer to float64 at ``address``, for ``carray``."""
    pointer = types.CPointer(types.float64)

    def generate(context, builder, signature, args):
        return builder.inttoptr(args[0], ir.DoubleType().as_pointer())

    return pointer(types.uintp), generate


@intrinsic
def singles_at(typing_context, address):
    """Pointer to float32 at ``address``, for ``carray``."""
    pointer = types.CPointer(types.float32)

    def generate(context, builder, signature, args):
        return builder.inttoptr(args[0], ir.FloatType().as_pointer())

    return pointer(types.uintp), generate


@intrinsic
def words_at(typing_context, address):
    """Pointer to int64 at ``address``, for ``carray``."""
    pointer = types.CPointer(types.int64)

    def generate(context, builder, signature, args):
        return builder.inttoptr(args[0], _WORD.as_pointer())

    return pointer(types.uintp), generate


@intrinsic
def stack_words(typing_context):
    """Address of three 64-bit words on the stack: no allocation, and safe when a model is re-entered."""

    def generate(context, builder, signature, args):
        return builder.ptrtoint(cgutils.alloca_once(builder, ir.ArrayType(_WORD, 3)), _WORD)

    return types.uintp(), generate


def _c_function(name: str, result: Any, *arguments: Any) -> Any:
    return types.ExternalFunction(name, result(*arguments))


dict_next = _c_function("PyDict_Next", types.int32, *[types.uintp] * 4)
dict_get = _c_function("PyDict_GetItemWithError", types.uintp, types.uintp, types.uintp)
int_as_int64 = _c_function("PyLong_AsLongLong", types.int64, types.uintp)
int_as_double = _c_function("PyLong_AsDouble", types.float64, types.uintp)
float_as_double = _c_function("PyFloat_AsDouble", types.float64, types.uintp)
error_occurred = _c_function("PyErr_Occurred", types.uintp)
error_clear = _c_function("PyErr_Clear", types.void)
release_gil = _c_function("PyEval_SaveThread", types.uintp)
acquire_gil = _c_function("PyEval_RestoreThread", types.void, types.uintp)
