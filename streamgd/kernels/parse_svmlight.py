"""Rows of svmlight text over a window of bytes, and what all rows that name their features need."""

# mypy: disable-error-code="no-untyped-def,misc"

from __future__ import annotations

from typing import Any, Final

import numpy as np

from streamgd._jit import borrowing

from .hashing import murmur3
from .parse import FULL, MORE, number

BAD_PAIR: Final = 5
QUERY_ID: Final = 6
UNSORTED: Final = 7

LABEL: Final = -1  # a place among the numbers of a row; those of values count from 0

_NEWLINE, _RETURN, _SPACE, _TAB, _HASH, _COLON, _ZERO, _NINE = 10, 13, 32, 9, 35, 58, 48, 57


@borrowing
def byte(text, k):
    """Return ``text[k]``; unsigned, since an index that may count from the end takes longer."""
    return text[np.uint64(k)]


@borrowing
def is_blank(c):
    """Tell whether a byte separates words of a line."""
    return c == _SPACE or c == _TAB or c == _RETURN


@borrowing
def _ends_word(c):
    return is_blank(c) or c == _NEWLINE or c == _HASH


@borrowing
def whole_lines(text, start, end, final):
    """Return where the last whole line of ``text[start:end]`` ends; the file's last needs no newline."""
    while not final and end > start and text[end - 1] != _NEWLINE:
        end -= 1
    return end


@borrowing
def svmlight_rows(
    text: Any,
    start: Any,
    end: Any,
    final: Any,
    first: Any,
    hashed: Any,
    labels: Any,
    indptr: Any,
    indices: Any,
    values: Any,
    odd: Any,
    out: Any,
) -> Any:
    """Read rows ``label index:value ... # comment`` of ``text[start:end]`` from row ``first`` on.

    ``final`` says that no bytes follow ``end``, where a newline must stand. ``indices`` get the numbers as
    they stand in the file, or where ``hashed`` the hash of each, written without leading zeros. A number that
    only ``float`` can judge is listed in ``odd``, which must have room for all, as (row, place in ``values``
    or `LABEL`, begin, end). ``out`` gets (status, rows filled, next byte to read, length of ``odd``, byte of
    the error); with `FULL` and rows missing, a row takes more than there is left of ``values``.
    """
    limit = whole_lines(text, start, end, final)
    r = first
    i = start
    n_odd = 0
    status = FULL
    where = 0
    while r < labels.shape[0]:
        if i >= limit:
            status = MORE
            break
        k = i
        while is_blank(byte(text, k)):
            k += 1
        if byte(text, k) == _NEWLINE or byte(text, k) == _HASH:
            while byte(text, k) != _NEWLINE:
                k += 1
            i = min(k + 1, limit)
            continue
        n = indptr[r]
        mark = n_odd
        begin = k
        value, k, exact = number(text, begin)
        if not exact or not _ends_word(byte(text, k)):
            k = begin
            while not _ends_word(byte(text, k)):
                k += 1
            odd[n_odd, 0], odd[n_odd, 1], odd[n_odd, 2], odd[n_odd, 3] = r, LABEL, begin, k
            n_odd += 1
        labels[r] = value
        previous = np.int64(-1)
        whole = False
        while True:
            while is_blank(byte(text, k)):
                k += 1
            if byte(text, k) == _NEWLINE or byte(text, k) == _HASH:
                whole = True
                break
            if n == values.shape[0]:
                break
            where = k
            index = np.int64(0)
            while _ZERO <= byte(text, k) <= _NINE and k - where < 18:
                index = index * 10 + np.int64(byte(text, k) - _ZERO)
                k += 1
            if k == where or byte(text, k) != _COLON:
                status = QUERY_ID if byte(text, where) == 113 and byte(text, where + 1) == 105 else BAD_PAIR
                break
            if index <= previous:
                status = UNSORTED
                break
            previous = index
            if hashed:
                while byte(text, where) == _ZERO and where + 1 < k:
                    where += 1
                index = np.int64(murmur3(text[where:k], 0))
            begin = k + 1
            value, k, exact = number(text, begin)
            if not exact or not _ends_word(byte(text, k)):
                k = begin
                while not _ends_word(byte(text, k)):
                    k += 1
                odd[n_odd, 0], odd[n_odd, 1], odd[n_odd, 2], odd[n_odd, 3] = r, n, begin, k
                n_odd += 1
            indices[n] = index
            values[n] = value
            n += 1
        if not whole:
            n_odd = mark
            break
        while byte(text, k) != _NEWLINE:
            k += 1
        i = min(k + 1, limit)
        r += 1
        indptr[r] = n
    out[0], out[1], out[2], out[3], out[4] = status, r, i, n_odd, where


@borrowing
def add_up(indptr: Any, columns: Any, values: Any, place: Any) -> Any:
    """Add up values of one row in one column, in place; ``place`` has an entry for each column.

    What is left in ``place`` by earlier rows does no harm: it counts only if it points into the row, at the
    column itself.
    """
    n = 0
    begin = 0
    for r in range(indptr.shape[0] - 1):
        row = n
        for k in range(begin, indptr[r + 1]):
            column = columns[k]
            at = place[column]
            if row <= at < n and columns[at] == column:
                values[at] += values[k]
                continue
            place[column] = n
            columns[n] = column
            values[n] = values[k]
            n += 1
        begin = indptr[r + 1]
        indptr[r + 1] = n
    return n
