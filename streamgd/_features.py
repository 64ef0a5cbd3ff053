"""Names of features and their slots, and the dict reader that runs inside kernels.

The reader's rule: no Python code may run in a kernel. It takes exact ``float``, ``int`` and
``bool`` values, and keys that either *are* objects the model owns or are exact ``str`` or ``int``
looked up in a dict of such keys. All else makes it return a status before anything is written, and
Python goes on: ``__float__``, ``__hash__`` and ``__eq__`` may change the dict, re-enter the model or
raise.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np
from numba import carray
from numpy.typing import NDArray

from ._jit import (
    LIMIT,
    dict_get,
    dict_next,
    doubles_at,
    error_clear,
    error_occurred,
    float_as_double,
    int_as_double,
    int_as_int64,
    jitable,
    load_double,
    load_word,
    singles_at,
    stack_words,
    store_word,
    words_at,
)

# Words of the control block: one int64 array a model, so that a call has one argument for all.
# A job (rows of arrays) is a copy of it with the job's words set.
(
    FLOAT, INT, BOOL, DICT, STR, NONE,  # addresses of types, and of None
    FLOAT64, FLOAT32, INT64,  # addresses of NumPy's types, 0 where their numbers lie elsewhere
    FLOAT_OFFSET,  # of the number in a float object; 0: ask CPython
    INDEX,  # address of the dict: name -> slot, exact str and int keys only
    KEYS, ORDER, N_KEYS,  # addresses of names by slot, slot expected at each position, how many
    N_OTHERS,  # names of other types, which only Python finds
    X, SLOT, CAPACITY,  # scratch: the values read and their slots
    GIVEN,  # scratch: target, weight and output of a dict
    BEGIN, END,  # scratch: where the row of a dict begins and ends
    LOOKUPS, ADOPT_AT,  # rows in a row that needed look-ups; at how many Python adopts the keys
    BUSY,  # a job runs, without the interpreter's lock
    NEGATIVE, POSITIVE, IS_BINARY,  # addresses of the labels that the model owns
    WEIGHTS, SLOTS, CHARGED, SCALARS,  # addresses of the state
    RATES, N_RATES, RATE_STEP, RATES_START,  # table of coming rates
    HYPER,  # address of the hyper-parameters
    LOSSES, WINDOW,  # address of the losses that a scheduler will look at, and how many it wants
    ROW, LAST, SKIPPED,  # of a job: the next row, the end, rows skipped so far
    KIND, VALUES, COLUMNS, STARTS,  # of a job: layout, values, column of each (or how many), row starts
    TARGETS, SAMPLE_WEIGHTS, WEIGHT_STEP, OUTPUTS, SKIP, RELEASE,
    CLASSES, LANES,  # of a learner of several classes: how many are known, and how many there is room for
    CLASS_WEIGHTS, LANE_SCRATCH, OUTPUT_STEP,  # addresses; columns of a job's outputs, 0: not kept
    WEIGHING, FACTORS,  # addresses: the class weight's numbers, and what labels are multiplied by
    COUNTS, NEW_COUNTS, CODES, RECENT, N_RECENT,  # of samples by class, scratch for them; the window
    MADE,  # of a job: address of flags, 1 for a synthetic row; 0: there are none
) = range(64)  # fmt: skip
N_WORDS = 64
N_LANE_SCRATCH = 8  # floats a lane that kernels work on

# Layouts of a job's rows.
DENSE64, DENSE32, SPARSE = range(3)

# What kernels return. Python goes on from any but OK and NOOP, with nothing written.
OK = 0
NOOP = 1  # weight 0
NOT_READ = -1  # not an exact dict, or a key or value that only Python may read
NOT_TARGET = -2  # a label or target that only Python may read
NOT_WEIGHT = -3
BAD_ROW = -4  # a feature is NaN, infinite or too large
BAD_TARGET = -5
BAD_WEIGHT = -6
OVERFLOW = -7  # the raw output or the gradient is not finite or too large
REFILL = -8  # the table of rates is used up, losses are to be looked at, or penalties folded in
IS_BUSY = -9
ADOPT = -10  # the stream has other key objects than the model: take them over
NEW_CLASS = -11  # a class is to be learned for the first time

DENSE = 1 << 40  # flag in the reader's count: every value stands in its slot's position

FIRST_ADOPTION = 32  # rows of look-ups before keys are adopted; doubles each time


@jitable
def read_number(v, c):
    """Return the number in the object at ``v``, NaN where only Python may read it."""
    kind: Any = load_word(v + 8)
    if kind == c[FLOAT]:
        if c[FLOAT_OFFSET] != 0:
            return load_double(v + c[FLOAT_OFFSET])
        return float_as_double(v)
    if kind == c[INT] or kind == c[BOOL]:
        number = int_as_double(v)
        if number == -1.0 and error_occurred() != 0:
            # An int beyond float's range. To make the error CPython may have collected garbage and run
            # finalizers: the kernel must return at once, as it does on NaN.
            error_clear()
            return np.nan
        return number
    if kind == c[FLOAT64]:
        return load_double(v + HEAD)
    if kind == c[FLOAT32]:
        return float(carray(singles_at(v + HEAD), (1,))[0])
    if kind == c[INT64]:
        return float(carray(words_at(v + HEAD), (1,))[0])
    return np.nan


def read_dict(d, c, learning):
    """Read the dict at ``d`` into the scratch ``x`` and ``slot``; ``learning`` is a literal.

    Returns the number of values, with the DENSE flag when each stands in its slot's position (then
    ``slot`` may not be written), or a status. To learn, all names must be known; to predict, unknown
    ones are left out, whatever their values.

    A module's function and not a closure: Numba would pickle a closure with the C functions it uses,
    whose pickles differ from process to process, and no kernel would be found in the cache.
    """
    if load_word(d + 8) != c[DICT]:
        return NOT_READ
    cursor = stack_words()
    store_word(cursor, 0)
    x = carray(doubles_at(c[X]), (c[CAPACITY],))
    keys = carray(words_at(c[KEYS]), (c[CAPACITY],))
    n_keys = c[N_KEYS]
    float_type = c[FLOAT]
    offset = c[FLOAT_OFFSET]
    # First, as long as the keys are the model's own objects in the order of their slots.
    i = 0
    more = dict_next(d, cursor, cursor + 8, cursor + 16)
    while more != 0:
        if i >= n_keys or load_word(cursor + 8) != keys[i]:
            break
        v = load_word(cursor + 16)
        if load_word(v + 8) == float_type and offset != 0:
            x[i] = load_double(v + offset)
        else:
            number = read_number(v, c)
            if not (abs(number) <= LIMIT):
                return NOT_READ
            x[i] = number
        i += 1
        more = dict_next(d, cursor, cursor + 8, cursor + 16)
    if more == 0:
        return i | DENSE
    # Then by the slot that stood at this position last time, or by look-up.
    slot = carray(words_at(c[SLOT]), (c[CAPACITY],))
    order = carray(words_at(c[ORDER]), (c[CAPACITY],))
    for k in range(i):
        slot[k] = k
    position = i
    dense = True
    looked_up = 0
    while more != 0:
        key = load_word(cursor + 8)
        j = order[position] if position < n_keys else np.int64(-1)
        if j < 0 or j >= n_keys or key != keys[j]:
            kind = load_word(key + 8)
            if kind != c[STR] and kind != c[INT]:
                return NOT_READ
            found = dict_get(c[INDEX], key)
            if found == 0 and error_occurred() != 0:
                error_clear()
                return NOT_READ
            j = int_as_int64(found) if found != 0 else np.int64(-1)
            if j >= n_keys:  # being added by another thread: not there yet
                j = np.int64(-1)
            elif j >= 0 and position < n_keys:
                order[position] = j
            elif j < 0 and c[N_OTHERS] != 0:
                return NOT_READ
            looked_up = 1
        if j >= 0:
            if i >= n_keys:
                return NOT_READ
            v = load_word(cursor + 16)
            if load_word(v + 8) == float_type and offset != 0:
                number = load_double(v + offset)
            else:
                number = read_number(v, c)
                if not (abs(number) <= LIMIT):
                    return NOT_READ
            x[i] = number
            slot[i] = j
            if j != i:
                dense = False
            i += 1
        elif learning:
            return NOT_READ
        position += 1
        more = dict_next(d, cursor, cursor + 8, cursor + 16)
    if learning and looked_up != 0:
        c[LOOKUPS] += 1
        if c[LOOKUPS] >= c[ADOPT_AT]:
            return ADOPT
    return i | DENSE if dense else i


# Size of an object's head. Behind it lie the number of a float and of NumPy's scalars, and the address
# of an array's data; each is checked on one object.
HEAD = object.__basicsize__


def _native_reader() -> bool:
    """Tell whether objects lie in memory as the reader expects: CPython with a GIL, 64 bits."""
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    return sys.implementation.name == "cpython" and bool(gil) and sys.maxsize > 2**32


def _lies_at_offset(sample: Any, kind: Any) -> bool:
    """Check on one object that its number is where the reader looks for it."""
    return NATIVE and bool(kind.from_address(id(sample) + HEAD).value == sample)


NATIVE = _native_reader()

_array = np.zeros(1)
if ctypes.c_void_p.from_address(id(_array) + HEAD).value != _array.ctypes.data:
    raise ImportError(
        "NumPy's arrays do not have the layout that kernels rely on; please report your versions"
    )


def _plain(name: Hashable) -> Hashable:
    """Return a NumPy scalar as the Python object that is equal to it, if there is one."""
    if isinstance(name, np.generic):
        plain = name.item()
        if type(plain) in (str, bytes, int, float, bool) and plain == name and hash(plain) == hash(name):
            return plain  # type: ignore[no-any-return]
    return name


class Features:
    """Names of features in the order they were met, and where kernels find them.

    Owns every key object whose address is in ``keys``: an address of an object that may have
    been freed would soon be another name's.
    """

    def __init__(self, names: Iterable[Hashable] = ()) -> None:
        self.names: list[Hashable] = []
        self._index: dict[Hashable, int] = {}  # exact str and int: comparing them runs no Python code
        self._others: dict[Hashable, int] = {}
        self.keys = np.zeros(0, dtype=np.int64)
        self.order = np.zeros(0, dtype=np.int64)
        for name in names:
            self.add(name)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def n_indexed(self) -> int:
        """Names that are indexed: one more than `names` where an interrupt came between."""
        return len(self._index) + len(self._others)

    def get(self, name: Hashable) -> int | None:
        """Slot of ``name``, None when it is not known. May run the key's own ``__eq__``."""
        slot = self._index.get(name)
        return self._others.get(name) if slot is None and self._others else slot

    def add(self, name: Hashable) -> int:
        """Slot of ``name``, a new one when it is not known. May run the key's own methods."""
        slot = self.get(name)
        if slot is None:
            slot = len(self.names)
            name = _plain(name)
            # first the dict, which may run the key's own methods and raise
            (self._index if type(name) in (str, int) else self._others)[name] = slot
            self.names.append(name)
            if slot < len(self.keys):
                self._place(slot)
        return slot

    def truncate(self, n: int) -> None:
        """Forget the names from slot ``n`` on. Runs none of the keys' methods."""
        for table in (self._index, self._others):
            while table and next(reversed(table.values())) >= n:
                table.popitem()
        del self.names[n:]
        self.reserve(len(self.keys))

    def adopt(self, x: dict[Hashable, Any]) -> None:
        """Own the key objects of ``x`` in place of the equal ones: later rows with them are read faster."""
        for key in x:
            if type(key) is str or type(key) is int:
                slot = self._index.get(key)
                if slot is not None:
                    self.keys[slot] = id(key)  # before the object that is there may be freed
                    self.names[slot] = key

    def _place(self, slot: int) -> None:
        self.keys[slot] = id(self.names[slot])

    def reserve(self, capacity: int) -> None:
        """Make room for ``capacity`` names in the arrays that kernels read."""
        keys = np.zeros(capacity, dtype=np.int64)
        keys[: len(self.names)] = [id(name) for name in self.names]
        order = np.arange(capacity, dtype=np.int64)
        self.keys, self.order = keys, order

    def point(self, control: NDArray[np.int64]) -> None:
        """Write the addresses that the reader needs."""
        control[INDEX] = id(self._index)
        control[KEYS] = self.keys.ctypes.data
        control[ORDER] = self.order.ctypes.data
        control[N_KEYS] = len(self.names)
        control[N_OTHERS] = len(self._others)


def new_control() -> NDArray[np.int64]:
    """Return a control block with what is the same for all models."""
    control = np.zeros(N_WORDS, dtype=np.int64)
    for word, owned in ((FLOAT, float), (INT, int), (BOOL, bool), (STR, str), (NONE, None)):
        control[word] = id(owned)
    # Without a native reader no object's type equals DICT, and every row goes through Python.
    control[DICT] = id(dict) if NATIVE else -1
    control[FLOAT_OFFSET] = HEAD if _lies_at_offset(1234.5678, ctypes.c_double) else 0
    scalars: tuple[tuple[int, Any, Any], ...] = (
        (FLOAT64, np.float64(0.1), ctypes.c_double),
        (FLOAT32, np.float32(0.5), ctypes.c_float),
        (INT64, np.int64(2**53 + 1), ctypes.c_int64),
    )
    for word, sample, c_type in scalars:
        control[word] = id(type(sample)) if _lies_at_offset(sample, c_type) else 0
    control[ADOPT_AT] = FIRST_ADOPTION
    return control
