"""Text to numbers: exact float parsing, and the rows of CSV over a window of bytes."""

# mypy: disable-error-code="no-untyped-def,misc"

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamgd._jit import borrowing, strict

from .names import NO_ROOM, eight_bytes, enter

# What a CSV column is, and why a kernel returned.
SKIP: Final = 0
NUMBER: Final = 1
TEXT: Final = 2
APART: Final = 3  # numbers that are no features

FULL: Final = 0  # the output has no more room
MORE: Final = 1  # the window ends inside a row, or where one ends
RAGGED: Final = 2
OPEN_QUOTE: Final = 3
AFTER_QUOTE: Final = 4

_NEWLINE, _RETURN, _SPACE, _QUOTE = 10, 13, 32, 34
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


# Eight digits at once, one in each byte of a word: pairs of digits become numbers up to 99, then pairs of
# these numbers up to 9,999, then up to 99,999,999 (Lemire, section 3).
_BYTES = np.uint64(0x0101010101010101)
_ZEROS, _SIXES, _HIGH_BITS = _BYTES * np.uint64(_ZERO), _BYTES * np.uint64(0x76), _BYTES * np.uint64(0x80)
_TENS = np.array([10**k for k in range(9)], dtype=np.uint64)
_BY_TEN, _PAIRS = np.uint64(10 << 8 | 1), np.uint64(0x00FF00FF00FF00FF)
_BY_HUNDRED, _FOURS = np.uint64(100 << 16 | 1), np.uint64(0x0000FFFF0000FFFF)
_BY_TEN_THOUSAND = np.uint64(10_000 << 32 | 1)
_4, _7, _8, _16, _32, _56 = (np.uint64(k) for k in (4, 7, 8, 16, 32, 56))


@borrowing
def _leading_digits(word):
    """Return (the number that the leading digits of eight bytes make, how many they are)."""
    word ^= _ZEROS  # a digit is now 0 to 9, and only then adding 0x76 leaves the byte's high bit clear
    others = ((word + _SIXES) | word) & _HIGH_BITS
    n = ((((others & (~others + _ONE)) >> _7) - _ONE & _BYTES) * _BYTES) >> _56  # bytes before the lowest
    half = _32 - _4 * n  # a shift by all 64 bits, of a word without digits, would be undefined
    word = word << half << half  # leading zeros instead of what follows
    word = (word * _BY_TEN >> _8) & _PAIRS
    word = (word * _BY_HUNDRED >> _16) & _FOURS
    return word * _BY_TEN_THOUSAND >> _32, n


@strict
def _times_power(m, q):
    """Return (m * 10**q correctly rounded, True), or (0, False) where only ``float`` can tell."""
    if m >> np.uint64(53) == np.uint64(0) and -22 <= q <= 22:
        # both factors are exact, so the one rounding is the right one
        return float(m) / _EXACT[-q] if q < 0 else float(m) * _EXACT[q], True
    if m == np.uint64(0):
        return 0.0, True
    if _LOWEST <= q <= _HIGHEST:
        return _scaled(m, q)
    return 0.0, False


@borrowing
def number(text, start):
    """Read a number at ``text[start]``: (value, first byte behind it, whether ``float`` gives that value).

    ``text`` must hold a byte that no number has, such as a newline, behind the last one to read.
    """
    size = np.uint64(text.shape[0])
    i = np.uint64(start)  # unsigned: an index that may count from the end costs a third of the time
    negative = text[i] == _MINUS
    i += np.uint64(negative | (text[i] == _PLUS))  # no branch: signs are as good as random
    m = np.uint64(0)
    first = i
    c = text[i]
    while _ZERO <= c <= _NINE:
        m = m * np.uint64(10) + np.uint64(c - _ZERO)
        i += _ONE
        c = text[i]
    seen = np.int64(i - first)
    point = np.int64(0)
    if c == _DOT:
        i += _ONE
        begin = i
        n = _8
        while n == _8 and i + _8 <= size:
            digits, n = _leading_digits(eight_bytes(text, i))
            m = m * _TENS[n] + digits
            i += n
        while n == _8 and _ZERO <= text[i] <= _NINE:
            m = m * np.uint64(10) + np.uint64(text[i] - _ZERO)
            i += _ONE
        point = np.int64(i - begin)
        seen += point
        c = text[i]
    good = seen > 0
    if seen > 19:  # 19 always fit 64 bits; zeros in front do not count
        while text[first] == _ZERO or text[first] == _DOT:
            seen -= text[first] == _ZERO
            first += _ONE
        good = seen <= 19
    q = -point
    if c == 101 or c == 69:
        i += _ONE
        down = text[i] == _MINUS
        i += np.uint64(down | (text[i] == _PLUS))
        begin = i
        power = 0
        while _ZERO <= text[i] <= _NINE:
            if power < 100_000:
                power = power * 10 + (text[i] - _ZERO)
            i += _ONE
        good = good and i > begin
        q += -power if down else power
    value, exact = _times_power(m, q)
    return -value if negative else value, np.int64(i), good and exact


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
    apart: Any,
    spans: Any,
    lines: Any,
    starts: Any,
    odd: Any,
    out: Any,
) -> Any:
    """Read rows of ``text[start:end]``, from row ``first`` of the arrays on.

    Column j goes to ``numbers[row, slots[j]]`` when ``kinds[j]`` is NUMBER, to ``apart[slots[j], row]`` when
    it is APART. When it is TEXT, (begin, end) of its bytes go to ``spans[slots[j], row]``; begin is
    ``-begin - 1`` where doubled quotes stand inside. A number that only Python's ``float`` can judge is
    listed in ``odd`` as (row, column, begin, end). The row begins at ``text[starts[row]]``, ``lines[row]``
    newlines behind ``start``.
    ``final`` says that no bytes follow ``end``; ``text[end]`` and ``text[end + 1]`` must be newlines.
    ``out`` gets (status, rows filled, byte behind the last row, length of ``odd``, byte of the error, fields
    found, newlines up to the byte behind the last row).
    """
    p = kinds.shape[0]
    r = first
    i = start
    n_odd = 0
    status = FULL
    where = 0
    j = 0
    line = 0
    done, done_lines = start, 0
    while r < numbers.shape[0]:
        while i < end and (text[i] == _NEWLINE or (text[i] == _RETURN and text[i + 1] == _NEWLINE)):
            line += text[i] == _NEWLINE
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
        lines[r], starts[r] = line, row
        j = 0
        while True:
            if j == p:
                status, where, j = RAGGED, row, p + 1
                break
            kind = kinds[j]
            k = i
            plain = False
            if kind == NUMBER or kind == APART:
                value, k, exact = number(text, i)
                c = text[k]
                plain = exact and (
                    c == delimiter or c == _NEWLINE or (c == _RETURN and text[k + 1] == _NEWLINE)
                )
            if not plain:
                doubled = False
                k = i
                if text[i] == _QUOTE and i < end:
                    k = i + 1
                    while True:
                        while k < end and text[k] != _QUOTE:
                            line += text[k] == _NEWLINE
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
                    spans[slots[j], r, 0] = -begin - 1 if doubled else begin
                    spans[slots[j], r, 1] = close
                elif kind != SKIP:
                    while begin < close and text[begin] == _SPACE:
                        begin += 1
                    while begin < close and text[close - 1] == _SPACE:
                        close -= 1
                    value, after, exact = number(text, begin)
                    if not exact or after != close:
                        odd[n_odd, 0], odd[n_odd, 1], odd[n_odd, 2], odd[n_odd, 3] = r, j, begin, close
                        n_odd += 1
            if kind == NUMBER:
                numbers[r, slots[j]] = value
            elif kind == APART:
                apart[slots[j], r] = value
            newline = k + (text[k] == _RETURN)  # if the row ends here
            if newline >= end and not final:
                status = MORE
                break
            j += 1
            if k < end and text[k] == delimiter:
                i = k + 1
                continue
            line += newline < end
            i = min(newline + 1, end)
            break
        if status == FULL and j < p:
            status, where = RAGGED, row
        if status != FULL:
            n_odd = mark
            break
        r += 1
        done, done_lines = i, line
    out[0], out[1], out[2], out[3], out[4], out[5], out[6] = status, r, done, n_odd, where, j, done_lines


@strict
def cell_codes(text: Any, spans: Any, first: Any, last: Any, table: Any, codes: Any) -> Any:
    """Set ``codes`` of rows ``first`` to ``last`` to the numbers of their cells, -1 for an empty one.

    ``spans`` are those that `csv_rows` gave for one column, ``table`` is that of a `Names`. Returns the first
    row that is not done: before ``last``, the table must grow.
    """
    for r in range(first, last):
        begin, end = spans[r, 0], spans[r, 1]
        if begin >= 0:
            codes[r] = enter(text, begin, end, table) if end > begin else -1
            if end > begin and codes[r] == NO_ROOM:
                return r
            continue
        begin = -begin - 1
        cell = np.empty(end - begin, dtype=np.uint8)
        n = 0
        while begin < end:
            cell[n] = text[begin]
            begin += 2 if text[begin] == _QUOTE else 1
            n += 1
        codes[r] = enter(cell, 0, n, table)
        if codes[r] == NO_ROOM:
            return r
    return last


@strict
def newlines(text: Any, begin: Any, end: Any) -> Any:
    """Return how many newlines ``text[begin:end]`` has."""
    part = text[begin:end]  # indices from 0 on, which LLVM vectorises: 12 times as fast
    n = 0
    for i in range(part.shape[0]):
        n += part[i] == _NEWLINE
    return n


@strict
def behind_newline(text: Any, i: Any, end: Any) -> Any:
    """Return the byte behind the first newline of ``text[i:end]``, ``end`` if it has none."""
    while i < end and text[i] != _NEWLINE:
        i += 1
    return min(i + 1, end)
