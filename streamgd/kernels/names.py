"""Names in bytes to numbers: a table that compiled parsers look up and add to.

A kernel takes the ``table`` of a `Names` as an argument and calls ``enter(text, begin, end, table)`` for the
number of the name ``text[begin:end]``. Where that is `NO_ROOM`, nothing was written: the kernel returns to
Python, which calls ``names.grow(end - begin)`` and then the kernel again, with the new ``names.table``.
"""

# mypy: disable-error-code="no-untyped-def,misc"

from __future__ import annotations

import itertools
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamgd._jit import borrowing, strict

NO_ROOM: Final = -1

_FIRST_NAMES, _FIRST_BYTES = 1024, 1 << 14
_EMPTY: Final = -1

# Odd multipliers without pattern: the golden ratio's, and those of MurmurHash3's 64-bit finalizer.
_A, _B, _C = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_0, _1, _2, _3, _4, _5, _6, _7, _8 = (np.uint64(k) for k in range(9))
_16, _24, _29, _32, _33, _40, _48, _56 = (np.uint64(k) for k in (16, 24, 29, 32, 33, 40, 48, 56))


class Table(NamedTuple):
    """The arrays of a `Names`, as kernels take them."""

    slots: NDArray[np.int64]  # number of a name, or -1; a power of two of them, at most half in use
    hashes: NDArray[np.uint64]  # of each name; as long as names are allowed before the table must grow
    starts: NDArray[np.int64]  # where each name begins in the arena, and where the last one ends
    arena: NDArray[np.uint8]
    held: NDArray[np.int64]  # (1,), names so far


@borrowing
def eight_bytes(text, i):
    """Return ``text[i:i + 8]`` as a word, the first byte lowest; one load, for an unsigned ``i``."""
    word = np.uint64(text[i]) | np.uint64(text[i + _1]) << _8
    word |= np.uint64(text[i + _2]) << _16 | np.uint64(text[i + _3]) << _24
    word |= np.uint64(text[i + _4]) << _32 | np.uint64(text[i + _5]) << _40
    return word | np.uint64(text[i + _6]) << _48 | np.uint64(text[i + _7]) << _56


@borrowing
def hashed(text, begin, end):
    """Return a 64-bit hash of ``text[begin:end]``: eight bytes a step, mixed as MurmurHash3 ends."""
    h = np.uint64(end - begin) * _A
    i, stop = np.uint64(begin), np.uint64(end)  # unsigned: an index that may count from the end takes longer
    while i + _8 <= stop:
        h = (h ^ eight_bytes(text, i)) * _A
        h ^= h >> _29
        i += _8
    tail = _0
    while i < stop:
        tail = tail << _8 | np.uint64(text[i])
        i += _1
    h = (h ^ tail) * _B
    h = (h ^ (h >> _33)) * _C
    return h ^ (h >> _33)


@borrowing
def _place(text, begin, end, h, table):
    """Return the slot that has a name, or the empty one where it belongs."""
    slots, hashes, starts, arena, _ = table
    mask = np.uint64(slots.shape[0] - 1)
    at = h & mask
    low, size = np.uint64(begin), np.uint64(end - begin)
    while True:
        k = slots[at]
        if k == _EMPTY:
            return at
        first = np.uint64(starts[k])
        if hashes[k] == h and np.uint64(starts[k + 1]) - first == size:
            i = _0
            while i < size and arena[first + i] == text[low + i]:
                i += _1
            if i == size:
                return at
        at = (at + _1) & mask


@borrowing
def find(text, begin, end, table):
    """Return the number of the name ``text[begin:end]``, or -1 if the table does not have it."""
    return table.slots[_place(text, begin, end, hashed(text, begin, end), table)]


@borrowing
def enter(text, begin, end, table):
    """Return the number of the name ``text[begin:end]``, a new one at its first sight.

    `NO_ROOM` is returned, before anything is written, where a new name does not fit.
    """
    h = hashed(text, begin, end)
    at = _place(text, begin, end, h, table)
    slots, hashes, starts, arena, held = table
    if slots[at] != _EMPTY:
        return slots[at]
    k = held[0]
    first = starts[k]
    if k >= hashes.shape[0] or end - begin > arena.shape[0] - first:
        return np.int64(NO_ROOM)
    for i in range(end - begin):
        arena[first + i] = text[begin + i]
    starts[k + 1] = first + (end - begin)
    hashes[k] = h
    slots[at] = k
    held[0] = k + 1
    return k


@strict
def _fill(slots: Any, hashes: Any, count: Any) -> Any:
    """Put ``count`` numbers into empty slots."""
    mask = slots.shape[0] - 1
    for k in range(count):
        at = np.int64(hashes[k] & np.uint64(mask))
        while slots[at] != _EMPTY:
            at = (at + 1) & mask
        slots[at] = k


class Names:
    """Byte strings, numbered from 0 in the order of their first appearance.

    Parameters
    ----------
    most
        Names allowed. Where `enter` gives `NO_ROOM`, look at `full` first: no growing helps then.
    """

    def __init__(self, most: int) -> None:
        n = min(_FIRST_NAMES, most)
        self.most = most
        self.table = Table(
            np.full(2 * _FIRST_NAMES, _EMPTY, dtype=np.int64),
            np.empty(n, dtype=np.uint64),
            np.zeros(n + 1, dtype=np.int64),
            np.empty(_FIRST_BYTES, dtype=np.uint8),
            np.zeros(1, dtype=np.int64),
        )

    def __len__(self) -> int:
        return int(self.table.held[0])

    @property
    def size(self) -> int:
        """Bytes of all names."""
        return int(self.table.starts[len(self)])

    @property
    def full(self) -> bool:
        """Whether no name may be added."""
        return len(self) >= self.most

    def number(self, name: bytes) -> int:
        """Return the number of one name, a new one at its first sight."""
        text = np.frombuffer(name + b"\n", dtype=np.uint8)
        if int(enter(text, 0, len(name), self.table)) == NO_ROOM:
            self.grow(len(name))
        return int(enter(text, 0, len(name), self.table))

    def grow(self, size: int) -> None:
        """Make room for a name of ``size`` bytes more, at least."""
        slots, hashes, starts, arena, held = self.table
        n = len(self)
        if n == len(hashes) and not self.full:
            room = min(2 * n, self.most)
            hashes = np.concatenate([hashes, np.empty(room - n, dtype=np.uint64)])
            starts = np.concatenate([starts, np.zeros(room - n, dtype=np.int64)])
            slots = np.full(2 * len(slots), _EMPTY, dtype=np.int64)
            _fill(slots, hashes, n)
        used = int(starts[n])
        if size > len(arena) - used:
            more = max(len(arena), size)
            arena = np.concatenate([arena[:used], np.empty(len(arena) - used + more, dtype=np.uint8)])
        self.table = Table(slots, hashes, starts, arena, held)

    def since(self, first: int) -> list[bytes]:
        """Return the names from number ``first`` on."""
        _, _, starts, arena, _ = self.table
        ends = starts[first : len(self) + 1].tolist()
        if len(ends) < 2:
            return []
        base = ends[0]
        text = arena[base : ends[-1]].tobytes()
        return [text[a - base : b - base] for a, b in itertools.pairwise(ends)]
