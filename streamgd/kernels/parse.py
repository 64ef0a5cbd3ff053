"""Text to numbers: exact float parsing, CSV rows and svmlight rows over a window of bytes."""

# mypy: disable-error-code="no-untyped-def,misc"

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamgd._jit import strict

# What a CSV column is, and why a kernel returned.
SKIP: Final = 0
NUMBER: Final = 1
TEXT: Final = 2

FULL: Final = 0  # the output has no more room
MORE: Final = 1  # the window ends inside a row, or where one ends
RAGGED: Final = 2
OPEN_QUOTE: Final = 3
AFTER_QUOTE: Final = 4
BAD_PAIR: Final = 5
QUERY_ID: Final = 6
UNSORTED: Final = 7

_NEWLINE, _RETURN, _SPACE, _TAB, _QUOTE, _HASH, _COLON = 10, 13, 32, 9, 34, 35, 58
_PLUS, _MINUS, _DOT, _ZERO, _NINE = 43, 45, 46, 48, 57

_EXACT = np.array([10.0**k for k in range(23)])
_LOWEST, _HIGHEST = -342, 308


def _powers_of_five() -> NDArray[np.uint64]:
    """Return the leading 128 bits of 5**q, as (high, low), for every decimal exponent of a float64.

    Rounded down for q >= 0 and up for q < 0, as the error bound of the conversion asks (Lemire, "Number
    parsing at a gigabyte per second", Software: Practice and Experience 51(8), 2021, section 5).
    """
    table = np.empty((_HIGHEST - _LOWEST + 1, 2), dtype=np.uint64)
    for q in range(_LOWEST, _HIGHEST + 1):
        power = 5 ** abs(q)
        if q >= 0:
            shift = 128 - power.bit_length()
            c = power << shift if shift >= 0 else power >> -shift
        else:
            c = (1 << (power.bit_length() + 127)) // power + 1
            c >>= c.bit_length() - 128
        table[q - _LOWEST] = c >> 64, c & (2**64 - 1)
    return table


_FIVES = _powers_of_five()
_LOW32 = np.uint64(0xFFFFFFFF)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_ONE = np.uint64(1)


@strict
def _product(a, b):
    """Return the high and the low 64 bits of a * b."""
    s = np.uint64(32)
    a1, a0, b1, b0 = a >> s, a & _LOW32, b >> s, b & _LOW32
    low = a0 * b0
    middle = a1 * b0 + (low >> s)
    other = a0 * b1 + (middle & _LOW32)
    return a1 * b1 + (middle >> s) + (other >> s), (other << s) | (low & _LOW32)


@strict
def _scaled(m, q):
    """Return (m * 10**q correctly rounded, True), or (0, False) where 128 bits do not settle it."""
    zeros = np.uint64(0)
    w = m
    for k in (32, 16, 8, 4, 2, 1):
        if w >> np.uint64(64 - k) == np.uint64(0):
            w <<= np.uint64(k)
            zeros += np.uint64(k)
    high, low = _product(w, _FIVES[q - _LOWEST, 0])
    if high & np.uint64(0x1FF) == np.uint64(0x1FF):  # the bits below the rounding bit could still carry
        carry, _ = _product(w, _FIVES[q - _LOWEST, 1])
        low += carry
        if low < carry:
            high += _ONE
        if low == _ALL and (q < -27 or q > 55):
            return 0.0, False
    top = high >> np.uint64(63)
    shift = top + np.uint64(9)
    fraction = high >> shift
    exponent = ((217706 * q) >> 16) + 63 + np.int64(top) - np.int64(zeros) + 1023  # 217706 / 2**16 = log2(10)
    if exponent <= 0:
        return 0.0, False
    if low <= _ONE and -4 <= q <= 23 and fraction & np.uint64(3) == _ONE and fraction << shift == high:
        fraction &= ~_ONE  # exactly half-way: to even
    fraction = (fraction + (fraction & _ONE)) >> _ONE
    if fraction >> np.uint64(53) != np.uint64(0):
        fraction >>= _ONE
        exponent += 1
    if exponent >= 2047:
        return 0.0, False
    bits = np.uint64((np.uint64(exponent) << np.uint64(52)) | (fraction & ((_ONE << np.uint64(52)) - _ONE)))
    return np.uint64(bits).view(np.float64), True


@strict
def number(text, i):
    """Read a number at ``text[i]``: (value, first byte after it, whether it is what ``float`` would give).

    ``text`` must hold a byte that no number has, such as a newline, behind the last one to read.
    """
    negative = text[i] == _MINUS
    if negative or text[i] == _PLUS:
        i += 1
    m = np.uint64(0)
    digits = 0  # significant ones; 19 always fit 64 bits
    point = 0
    first = i
    while _ZERO <= text[i] <= _NINE:
        m = m * np.uint64(10) + np.uint64(text[i] - _ZERO)
        digits += m != np.uint64(0)
        i += 1
    seen = i - first
    if text[i] == _DOT:
        i += 1
        first = i
        while _ZERO <= text[i] <= _NINE:
            m = m * np.uint64(10) + np.uint64(text[i] - _ZERO)
            digits += m != np.uint64(0)
            i += 1
        point = i - first
        seen += point
    if seen == 0 or digits > 19:
        return 0.0, i, False
    q = -point
    if text[i] == 101 or text[i] == 69:
        k = i + 1
        down = text[k] == _MINUS
        if down or text[k] == _PLUS:
            k += 1
        first = k
        power = 0
        while _ZERO <= text[k] <= _NINE:
            if power < 100_000:
                power = power * 10 + (text[k] - _ZERO)
            k += 1
        if k == first:
            return 0.0, i, False
        i = k
        q += -power if down else power
    if m == np.uint64(0):
        value, exact = 0.0, True
    elif m >> np.uint64(53) == np.uint64(0) and -22 <= q <= 22:
        # both factors are exact, so the one rounding is the right one
        value, exact = float(m) / _EXACT[-q] if q < 0 else float(m) * _EXACT[q], True
    elif _LOWEST <= q <= _HIGHEST:
        value, exact = _scaled(m, q)
    else:
        return 0.0, i, False
    return -value if negative else value, i, exact


@strict
def csv_rows(
    text: Any,
    start: Any,
    end: Any,
    final: Any,
    delimiter: Any,
    kinds: Any,
    slots: Any,
    first: Any,
    numbers: Any,
    spans: Any,
    odd: Any,
    out: Any,
) -> Any:
    """Read rows of ``text[start:end]`` into ``numbers`` and ``spans`` from row ``first`` on.

    Column j goes to ``numbers[row, slots[j]]`` when ``kinds[j]`` is NUMBER. When it is TEXT, (begin, end) of
    its bytes, counted from ``start``, go to ``spans[row, slots[j]]``; begin is ``-begin - 1`` where doubled
    quotes stand inside. A number that only Python's ``float`` can judge is listed in ``odd`` as (row,
    column, begin, end).
    ``final`` says that no bytes follow ``end``; ``text[end]`` and ``text[end + 1]`` must be newlines.
    ``out`` gets (status, rows filled, next byte to read, length of ``odd``, byte of the error, fields found).
    """
    p = kinds.shape[0]
    r = first
    i = start
    n_odd = 0
    status = FULL
    where = 0
    j = 0
    while r < numbers.shape[0]:
        while i < end and (text[i] == _NEWLINE or (text[i] == _RETURN and text[i + 1] == _NEWLINE)):
            i += 1
        if i >= end:
            status = MORE
            break
        row = i
        mark = n_odd
        if mark + p > odd.shape[0]:
            status = FULL
            break
        status = FULL
        j = 0
        while True:
            if j == p:
                status, where, j = RAGGED, row, p + 1
                break
            kind = kinds[j]
            k = i
            plain = False
            if kind == NUMBER:
                value, k, exact = number(text, i)
                c = text[k]
                if exact and (c == delimiter or c == _NEWLINE or (c == _RETURN and text[k + 1] == _NEWLINE)):
                    numbers[r, slots[j]] = value
                    plain = True
            if not plain:
                doubled = False
                k = i
                if text[i] == _QUOTE and i < end:
                    k = i + 1
                    while True:
                        while k < end and text[k] != _QUOTE:
                            k += 1
                        if k + 1 < end and text[k + 1] == _QUOTE:
                            doubled = True
                            k += 2
                            continue
                        break
                    if k >= end:
                        status, where = OPEN_QUOTE if final else MORE, row
                        break
                    begin, close = i + 1, k
                    k += 1
                    c = text[k]
                    if c != delimiter and c != _NEWLINE and not (c == _RETURN and text[k + 1] == _NEWLINE):
                        status, where = AFTER_QUOTE, k
                        break
                else:
                    while k < end and text[k] != delimiter and text[k] != _NEWLINE:
                        k += 1
                    begin, close = i, k
                    if close > begin and text[k] == _NEWLINE and text[close - 1] == _RETURN:
                        close -= 1
                        k -= 1
                if kind == TEXT:
                    spans[r, slots[j], 0] = start - begin - 1 if doubled else begin - start
                    spans[r, slots[j], 1] = close - start
                elif kind == NUMBER:
                    while begin < close and text[begin] == _SPACE:
                        begin += 1
                    while begin < close and text[close - 1] == _SPACE:
                        close -= 1
                    value, after, exact = number(text, begin)
                    if exact and after == close:
                        numbers[r, slots[j]] = value
                    else:
                        odd[n_odd, 0], odd[n_odd, 1], odd[n_odd, 2], odd[n_odd, 3] = r, j, begin, close
                        n_odd += 1
            if k >= end and not final:
                status = MORE
                break
            j += 1
            if k < end and text[k] == delimiter:
                i = k + 1
                continue
            i = min(k + (2 if text[k] == _RETURN else 1), end)
            break
        if status == FULL and j < p:
            status, where = RAGGED, row
        if status != FULL:
            i = row
            n_odd = mark
            break
        r += 1
    out[0], out[1], out[2], out[3], out[4], out[5] = status, r, i, n_odd, where, j


@strict
def _is_space(c):
    return c == _SPACE or c == _TAB or c == _RETURN


@strict
def svmlight_rows(
    text: Any,
    start: Any,
    end: Any,
    final: Any,
    first: Any,
    labels: Any,
    indptr: Any,
    indices: Any,
    values: Any,
    odd: Any,
    out: Any,
) -> Any:
    """Read rows ``label index:value ... # comment`` of ``text[start:end]`` from row ``first`` on.

    Same conventions as `csv_rows`; ``odd`` lists (row, -1, begin, end) for a label and (row, place in
    ``values``, begin, end) for a value. ``indices`` are the numbers as they stand in the file. Where a line
    does not fit, the fifth number of ``out`` is the room it takes.
    """
    r = first
    i = start
    n_odd = 0
    status = FULL
    where = 0
    while r < labels.shape[0]:
        line_end = i
        while line_end < end and text[line_end] != _NEWLINE:
            line_end += 1
        if line_end >= end and (not final or i >= end):
            status = MORE
            break
        stop = i
        while stop < line_end and text[stop] != _HASH:
            stop += 1
        k = i
        while k < stop and _is_space(text[k]):
            k += 1
        if k == stop:
            i = min(line_end + 1, end)
            continue
        # a pair takes at least three bytes and a blank: room for the whole line, or the caller empties first
        n = indptr[r]
        most = (stop - k) // 3 + 2
        if n + most > values.shape[0] or n_odd + most > odd.shape[0]:
            status = FULL
            where = most
            break
        mark = n_odd
        begin = k
        value, k, exact = number(text, begin)
        if not exact or not (_is_space(text[k]) or k == stop):
            k = begin
            while k < stop and not _is_space(text[k]):
                k += 1
            odd[n_odd, 0], odd[n_odd, 1], odd[n_odd, 2], odd[n_odd, 3] = r, -1, begin, k
            n_odd += 1
        labels[r] = value
        previous = np.int64(-1)
        bad = False
        while True:
            while k < stop and _is_space(text[k]):
                k += 1
            if k >= stop:
                break
            where = k
            index = np.int64(0)
            digits = 0
            while _ZERO <= text[k] <= _NINE and digits < 18:
                index = index * 10 + np.int64(text[k] - _ZERO)
                k += 1
                digits += 1
            if digits == 0 or text[k] != _COLON:
                status = QUERY_ID if text[where] == 113 and text[where + 1] == 105 else BAD_PAIR
                bad = True
                break
            if index <= previous:
                status = UNSORTED
                bad = True
                break
            previous = index
            begin = k + 1
            value, k, exact = number(text, begin)
            if not exact or not (_is_space(text[k]) or k == stop):
                k = begin
                while k < stop and not _is_space(text[k]):
                    k += 1
                odd[n_odd, 0], odd[n_odd, 1], odd[n_odd, 2], odd[n_odd, 3] = r, n, begin, k
                n_odd += 1
            indices[n] = index
            values[n] = value
            n += 1
        if bad:
            n_odd = mark
            break
        indptr[r + 1] = n
        i = min(line_end + 1, end)
        r += 1
    out[0], out[1], out[2], out[3], out[4], out[5] = status, r, i, n_odd, where, 0


@strict
def number_columns(indices: Any, table: Any, known: Any) -> Any:
    """Replace each index by its column, giving new ones the next; returns the number of columns known now.

    ``table[index]`` is the column of an index, -1 where it was not seen.
    """
    for k in range(indices.shape[0]):
        index = indices[k]
        if table[index] < 0:
            table[index] = known
            known += 1
        indices[k] = table[index]
    return known
