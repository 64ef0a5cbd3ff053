"""Features to numbers: MurmurHash3 of names, numbers in order of appearance, rows put together from both."""

# mypy: disable-error-code="no-untyped-def,misc"

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamgd._jit import strict

UNSEEN: Final = -1  # of a table: nothing is known of this code yet; of codes and numbers: missing
_STAR: Final = 42

_LOW = np.uint64(0xFFFFFFFF)
_C1, _C2 = np.uint64(0xCC9E2D51), np.uint64(0x1B873593)
_M1, _M2 = np.uint64(0x85EBCA6B), np.uint64(0xC2B2AE35)
_FIVE, _ADDED = np.uint64(5), np.uint64(0xE6546B64)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_1, _8, _13, _15, _16, _17, _19, _24, _32 = (np.uint64(k) for k in (1, 8, 13, 15, 16, 17, 19, 24, 32))
_ZERO = np.uint64(0)


# -- MurmurHash3 -------------------------------------------------------------------------------


@strict
def _scrambled(word):
    word = (word * _C1) & _LOW
    word = ((word << _15) | (word >> _17)) & _LOW
    return (word * _C2) & _LOW


@strict
def _fed(h, word, length, byte):
    """Take in one byte: the hash so far, the word being filled (its first byte lowest), and the length."""
    word = (word >> _8) | (np.uint64(byte) << _24)
    if length & 3 == 3:
        h ^= _scrambled(word)
        h = ((h << _13) | (h >> _19)) & _LOW
        h = (h * _FIVE + _ADDED) & _LOW
    return h, word, length + 1


@strict
def _finished(h, word, length):
    """Return the hash as a signed number of 32 bits."""
    left = length & 3
    if left:
        h ^= _scrambled(word >> np.uint64(32 - 8 * left))
    h ^= np.uint64(length)
    h = ((h ^ (h >> _16)) * _M1) & _LOW
    h = ((h ^ (h >> _13)) * _M2) & _LOW
    h ^= h >> _16
    signed = np.int64(h)
    return signed - 4294967296 if signed >= 2147483648 else signed


@strict
def murmur3(text: Any, seed: Any) -> Any:
    """Return MurmurHash3 (Appleby, 2011; its variant x86_32) of bytes, as a signed number of 32 bits."""
    h, word, length = np.uint64(seed) & _LOW, _ZERO, 0
    for k in range(text.shape[0]):
        h, word, length = _fed(h, word, length, text[k])
    return _finished(h, word, length)


@strict
def hash_joined(parts: Any, starts: Any, text: Any) -> Any:
    """Return the hashes of names made of parts with ``*`` between them.

    Parameters
    ----------
    parts
        Numbers of the parts of each name, ``(n, k)``; `UNSEEN` in any of them: there is no such name.
    starts, text
        Part number i is ``text[starts[i]:starts[i + 1]]``.

    Returns
    -------
    Hashes ``(n,)``, and whether there is such a name.
    """
    n, k = parts.shape
    hashes = np.zeros(n, dtype=np.int64)
    present = np.ones(n, dtype=np.bool_)
    for i in range(n):
        h, word, length = _ZERO, _ZERO, 0
        for j in range(k):
            part = parts[i, j]
            if part < 0:
                present[i] = False
                break
            if j:
                h, word, length = _fed(h, word, length, _STAR)
            for at in range(starts[part], starts[part + 1]):
                h, word, length = _fed(h, word, length, text[at])
        hashes[i] = _finished(h, word, length)
    return hashes, present


def encoded(name: str) -> bytes:
    """Return the bytes of a name that are hashed: UTF-8, also of half a surrogate pair."""
    return name.encode("utf-8", "surrogatepass")


def hash_of(name: str) -> int:
    """Return the hash of one name."""
    return int(murmur3(np.frombuffer(encoded(name), dtype=np.uint8), 0))


class Texts:
    """Names in one block of bytes, which kernels hash.

    Attributes
    ----------
    hashes
        Of each name, ``(n,)`` and room for more.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._text = np.zeros(1024, dtype=np.uint8)
        self._starts = np.zeros(64, dtype=np.int64)
        self.hashes = np.zeros(63, dtype=np.int64)
        self._n = 0
        self.add(names)
        self._fixed = self._n

    def add(self, names: Iterable[str]) -> int:
        """Take names in and return the number of the first; the others follow."""
        parts = [encoded(name) for name in names]
        first, self._n = self._n, self._n + len(parts)
        begin = int(self._starts[first])
        lengths = np.fromiter(map(len, parts), dtype=np.int64, count=len(parts))
        end = begin + int(lengths.sum())
        self._text = _with_room(self._text, end)
        self._starts = _with_room(self._starts, self._n + 1)
        self.hashes = _with_room(self.hashes, self._n)
        self._text[begin:end] = np.frombuffer(b"".join(parts), dtype=np.uint8)
        np.cumsum(lengths, out=self._starts[first + 1 : self._n + 1])
        self._starts[first + 1 : self._n + 1] += begin
        self.hashes[first : self._n] = self.joined(np.arange(first, self._n)[:, None])[0]
        return first

    def forget(self) -> None:
        """Drop all names but those it began with."""
        self._n = self._fixed

    def joined(self, parts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the hashes of names made of parts, as `hash_joined`."""
        hashes, present = hash_joined(parts, self._starts, self._text)
        return hashes, present


def _with_room(array: NDArray[Any], n: int) -> NDArray[Any]:
    """Return an array with at least ``n`` places that begins with what was there."""
    if n <= len(array):
        return array
    larger = np.zeros(max(n, 2 * len(array)), dtype=array.dtype)
    larger[: len(array)] = array
    return larger


# -- numbers in order of appearance ------------------------------------------------------------


@strict
def first_seen(codes: Any, table: Any) -> Any:
    """Find the codes whose entry in ``table`` is `UNSEEN`: the rows where they turn up first, in order."""
    rows = np.empty(min(codes.shape[0], table.shape[0]), dtype=np.int64)
    n = 0
    for i in range(codes.shape[0]):
        code = codes[i]
        if 0 <= code < table.shape[0] and table[code] == UNSEEN:
            table[code] = -2  # until the caller knows better
            rows[n] = i
            n += 1
    return rows[:n]


@strict
def _home(key, mask):
    """Return the place of a table where a key is looked for first."""
    h = np.uint64(key) * _GOLDEN
    return (h ^ (h >> _32)) & mask


@strict
def _number(keys, start, held, ids, known, numbers, rows, n_rows):
    """Give numbers to keys from ``start`` on until the table is half full: (next key, known, n_rows)."""
    mask = np.uint64(held.shape[0] - 1)
    for i in range(start, keys.shape[0]):
        key = keys[i]
        if key < 0:
            numbers[i] = UNSEEN
            continue
        place = _home(key, mask)
        while held[place] != key:
            if held[place] == UNSEEN:
                if 2 * known >= held.shape[0]:
                    return i, known, n_rows
                held[place] = key
                ids[place] = known
                rows[n_rows] = i
                known += 1
                n_rows += 1
                break
            place = (place + _1) & mask
        numbers[i] = ids[place]
    return keys.shape[0], known, n_rows


@strict
def _move(held, ids, larger, moved):
    """Copy a table into an empty larger one."""
    mask = np.uint64(larger.shape[0] - 1)
    for k in range(held.shape[0]):
        if held[k] != UNSEEN:
            place = _home(held[k], mask)
            while larger[place] != UNSEEN:
                place = (place + _1) & mask
            larger[place] = held[k]
            moved[place] = ids[k]


class Numbering:
    """Numbers 0, 1, 2 ... for keys (int64, not negative), in the order in which they turn up."""

    def __init__(self) -> None:
        self._held = np.full(1024, UNSEEN, dtype=np.int64)  # a power of two, at most half in use
        self._ids = np.empty(1024, dtype=np.int64)
        self.known = 0

    def number(self, keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the number of each key, `UNSEEN` for negative ones, and the places of the new ones."""
        numbers = np.empty(len(keys), dtype=np.int64)
        rows = np.empty(len(keys), dtype=np.int64)
        at = n_rows = 0
        while at < len(keys):
            at, self.known, n_rows = _number(
                keys, at, self._held, self._ids, self.known, numbers, rows, n_rows
            )
            if at < len(keys):
                held = np.full(4 * len(self._held), UNSEEN, dtype=np.int64)
                ids = np.empty(len(held), dtype=np.int64)
                _move(self._held, self._ids, held, ids)
                self._held, self._ids = held, ids
        return numbers, rows[:n_rows]


# -- rows --------------------------------------------------------------------------------------


@strict
def fill_means(numbers: Any, counts: Any, means: Any) -> Any:
    """Replace each NaN of the first columns by their mean in earlier rows; go on with counts and means."""
    for i in range(numbers.shape[0]):
        for j in range(counts.shape[0]):
            value = np.float64(numbers[i, j])
            if np.isnan(value):
                numbers[i, j] = means[j]
            elif np.isfinite(value):
                counts[j] += 1.0
                means[j] += (value - means[j]) / counts[j]


@strict
def join_rows(numbers: Any, slots: Any, values: Any, last: Any, base: Any) -> Any:
    """Put rows together, compressed.

    Parameters
    ----------
    numbers
        Values ``(n, k)`` of the first k columns, which every row has.
    slots, values
        Columns ``(n, m)``, negative where a value is missing, of values ``(n, m)``.
    last, base
        Where a row may have a column twice, which is then added up: the place of each column's last value
        plus that batch's ``base``, which rises by the number of values. Else ``last`` is empty.

    Returns
    -------
    Values, their columns, and where each row starts.
    """
    n, k, m = numbers.shape[0], numbers.shape[1], slots.shape[1]
    data = np.empty(n * (k + m))
    indices = np.empty(n * (k + m), dtype=np.int64)
    starts = np.zeros(n + 1, dtype=np.int64)
    twice = last.shape[0] > 0
    at = 0
    for i in range(n):
        begin = at
        for j in range(k):
            data[begin + j] = numbers[i, j]
            indices[begin + j] = j
        at += k
        for j in range(m):
            slot = slots[i, j]
            if slot < 0:
                continue
            if twice:
                if slot < k:
                    data[begin + slot] += values[i, j]
                    continue
                if last[slot] >= base + begin:
                    data[last[slot] - base] += values[i, j]
                    continue
                last[slot] = base + at
            data[at] = values[i, j]
            indices[at] = slot
            at += 1
        starts[i + 1] = at
    return data[:at], indices[:at], starts
