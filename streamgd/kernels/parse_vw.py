"""Rows of Vowpal Wabbit text over a window of bytes: first their words, then their features.

Between the two, Python reads the numbers that only ``float`` can judge.
"""

# mypy: disable-error-code="no-untyped-def,misc"

from __future__ import annotations

from typing import Any, Final

import numpy as np

from streamgd._jit import borrowing

from .hashing import murmur3
from .names import NO_ROOM, enter, find
from .parse import FULL, MORE, number
from .parse_svmlight import LABEL, byte, is_blank, whole_lines

NO_BAR: Final = 5
NO_LABEL: Final = 6
TOO_MANY_WORDS: Final = 7
NO_NAME: Final = 8
NO_NAMESPACE: Final = 9

# Places of numbers that are no values; scales of namespaces count down from SCALE.
WEIGHT: Final = -2
BASE: Final = -3
SCALE: Final = -4

# Why `vw_features` returned, besides FULL: there is no room for ...
NAMES: Final = 1
VALUES: Final = 2
SCRATCH: Final = 3
PRODUCTS: Final = 4
MOST_PRODUCTS: Final = 1 << 24  # of a row

_NEWLINE, _COLON, _BAR, _QUOTE, _CARET, _STAR = 10, 58, 124, 39, 94, 42


def _separators() -> Any:
    table = np.zeros(256, dtype=np.bool_)
    table[list(b" \t\r\n|")] = True
    return table


_ENDS_WORD = _separators()
_ENDS_NAME = _separators()
_ENDS_NAME[_COLON] = True


@borrowing
def _word_end(text, k):
    while not _ENDS_WORD[byte(text, k)]:
        k += 1
    return k


@borrowing
def _name_end(text, k):
    while not _ENDS_NAME[byte(text, k)]:
        k += 1
    return k


@borrowing
def _note(odd, n_odd, r, place, begin, end):
    """List a number for Python to read."""
    odd[n_odd, 0], odd[n_odd, 1], odd[n_odd, 2], odd[n_odd, 3] = r, place, begin, end


@borrowing
def vw_words(
    text: Any,
    start: Any,
    end: Any,
    final: Any,
    first: Any,
    labelled: Any,
    labels: Any,
    weights: Any,
    spaces_of: Any,
    spaces: Any,
    scales: Any,
    words: Any,
    numbers: Any,
    odd: Any,
    out: Any,
) -> Any:
    """Read rows ``[label [importance [base]]] ['tag]|namespace[:scale] feature[:value] ... |...``.

    Row r, from ``first`` on, has the spaces ``spaces_of[r]:spaces_of[r + 1]``: (begin, end of the name,
    first word), and ``scales``. A word is a feature: (begin, end of its name) in ``words``, and its value in
    ``numbers``. Behind the last of ``spaces`` stands one without words. ``odd`` lists (row, place, begin,
    end), the place in ``numbers`` or `LABEL`, `WEIGHT`, `BASE`, `SCALE` - space; it must have room for all.
    The rest is as in `svmlight_rows`.
    """
    limit = whole_lines(text, start, end, final)
    r = first
    i = start
    f = g = n_odd = where = 0
    status = FULL
    spaces_of[first] = 0
    while r < labels.shape[0]:
        if i >= limit:
            status = MORE
            break
        k = i
        while is_blank(byte(text, k)):
            k += 1
        if byte(text, k) == _NEWLINE:
            i = min(k + 1, limit)
            continue
        row_f, row_g, mark = f, g, n_odd
        where = k
        whole = False
        n_words = 0
        labels[r] = np.nan
        weights[r] = 1.0
        while byte(text, k) != _BAR and byte(text, k) != _NEWLINE:
            begin = k
            k = _word_end(text, k)
            last = k
            while is_blank(byte(text, k)):
                k += 1
            if byte(text, k) == _BAR and (last == k or byte(text, begin) == _QUOTE):
                break  # a tag
            value, after, exact = number(text, begin)
            exact &= after == last
            if n_words == 0:
                labels[r] = value
                if labelled and not exact:
                    _note(odd, n_odd, r, LABEL, begin, last)
                    n_odd += 1
            elif n_words == 1:
                weights[r] = value
                if not exact or value < 0:
                    _note(odd, n_odd, r, WEIGHT, begin, last)
                    n_odd += 1
            elif n_words == 2:
                if not exact or value != 0:
                    _note(odd, n_odd, r, BASE, begin, last)
                    n_odd += 1
            n_words += 1
        if byte(text, k) != _BAR:
            status = NO_BAR
        elif n_words == 0 and labelled:
            status = NO_LABEL
        elif n_words > 3:
            status = TOO_MANY_WORDS
        while byte(text, k) == _BAR and status == FULL:
            if g + 1 == spaces.shape[0]:
                break
            begin = k + 1
            k = _name_end(text, begin)
            spaces[g, 0], spaces[g, 1], spaces[g, 2] = begin, k, f
            scales[g] = 1.0
            if byte(text, k) == _COLON:
                if k == begin:
                    status, where = NO_NAMESPACE, k
                    break
                begin = k + 1
                scales[g], k, exact = number(text, begin)
                if not exact or not _ENDS_WORD[byte(text, k)]:
                    k = _word_end(text, begin)
                    _note(odd, n_odd, r, SCALE - g, begin, k)
                    n_odd += 1
            g += 1
            while True:
                while is_blank(byte(text, k)):
                    k += 1
                if byte(text, k) == _BAR or byte(text, k) == _NEWLINE:
                    whole = byte(text, k) == _NEWLINE
                    break
                if f == words.shape[0]:
                    break
                begin = k
                k = _name_end(text, begin)
                if k == begin:
                    status, where = NO_NAME, k
                    break
                words[f, 0], words[f, 1] = begin, k
                value = 1.0
                if byte(text, k) == _COLON:
                    begin = k + 1
                    value, k, exact = number(text, begin)
                    if not exact or not _ENDS_WORD[byte(text, k)]:
                        k = _word_end(text, begin)
                        _note(odd, n_odd, r, f, begin, k)
                        n_odd += 1
                numbers[f] = value
                f += 1
        if not whole:
            f, g, n_odd = row_f, row_g, mark
            break
        i = min(k + 1, limit)
        r += 1
        spaces_of[r] = g
    out[0], out[1], out[2], out[3], out[4] = status, r, i, n_odd, where
    spaces[g, 2] = f


@borrowing
def _copied(source, begin, end, scratch, at):
    """Copy ``source[begin:end]`` to ``scratch[at:]`` and return where it ends."""
    for k in range(end - begin):
        scratch[np.uint64(at + k)] = byte(source, begin + k)
    return at + (end - begin)


@borrowing
def _numbered(source, begin, end, hashed, table):
    """Return the number of a name, or its hash."""
    return np.int64(murmur3(source[begin:end], 0)) if hashed else enter(source, begin, end, table)


@borrowing
def _before(scratch, a, b, names):
    """Tell whether the bytes of name ``a`` come before those of name ``b``."""
    n = names[a, 1] - names[a, 0]
    m = names[b, 1] - names[b, 0]
    for k in range(min(n, m)):
        c, d = scratch[names[a, 0] + k], scratch[names[b, 0] + k]
        if c != d:
            return c < d
    return n < m


@borrowing
def _sort(scratch, names, members):
    """Sort the features of a namespace by name: ``members[1:members[0] + 1]``."""
    for k in range(2, members[0] + 1):
        feature = members[k]
        j = k
        while j > 1 and _before(scratch, feature, members[j - 1], names):
            members[j] = members[j - 1]
            j -= 1
        members[j] = feature


@borrowing
def _n_products(factors, members):
    """Return how many products a row has at most; a float, since it may be any number."""
    total = 0.0
    for row in range(factors.shape[0]):
        product = 1.0
        for space in factors[row]:
            product *= members[space, 0] if space >= 0 else 1
        total += product
    return total


@borrowing
def _products(scratch, at, names, factors, members, picked, hashed, table, first, n, indices, values):
    """Append all products of a row's features: (`FULL` or `NAMES`, values now, bytes needed).

    The features' own values begin at ``values[first]``; ``scratch`` is free from ``at`` on.
    """
    for row in range(factors.shape[0]):
        order = 0
        empty = False
        while order < factors.shape[1] and factors[row, order] >= 0:
            space = factors[row, order]
            empty |= members[space, 0] == 0
            for earlier in range(order):
                if factors[row, earlier] == space:
                    _sort(scratch, names, members[space])
            order += 1
        if empty:
            continue
        picked[0] = 1
        p = 0  # the last factor that was picked anew: those after it begin again
        while p >= 0:
            for q in range(p + 1, order):
                picked[q] = 1
                for earlier in range(q):
                    if factors[row, earlier] == factors[row, q]:
                        picked[q] = picked[earlier]  # each pair of a namespace once
            to = at
            value = 1.0
            for q in range(order):
                f = members[factors[row, q], picked[q]]
                if q:
                    scratch[to] = _STAR
                    to += 1
                to = _copied(scratch, names[f, 0], names[f, 1], scratch, to)
                value *= values[first + f]
            k = _numbered(scratch, at, to, hashed, table)
            if k == NO_ROOM and not hashed:
                return NAMES, n, to - at
            indices[n] = k
            values[n] = value
            n += 1
            p = order - 1
            while p >= 0 and picked[p] == members[factors[row, p], 0]:
                p -= 1
            if p >= 0:
                picked[p] += 1
    return FULL, n, 0


@borrowing
def vw_features(
    text: Any,
    first: Any,
    last: Any,
    spaces_of: Any,
    spaces: Any,
    scales: Any,
    words: Any,
    numbers: Any,
    factors: Any,
    crossed: Any,
    names: Any,
    members: Any,
    picked: Any,
    scratch: Any,
    hashed: Any,
    table: Any,
    indptr: Any,
    indices: Any,
    values: Any,
    out: Any,
) -> Any:
    """Give features "namespace^word", and products of them, of rows ``first`` to ``last`` that were read.

    Parameters
    ----------
    factors, crossed
        Namespaces ``(n, k)`` whose features are multiplied with each other, by their numbers in the table of
        names ``crossed``; -1 behind the last.
    names, members, picked, scratch
        Room: (begin, end) of the name in ``scratch`` of each feature of a row; how many features each
        namespace has, and which; one of ``k`` features.
    hashed, table
        Whether ``indices`` get hashes of names; else numbers of names in the table.
    out
        Gets (`FULL` when all is done, else what has no room; rows done; how much is needed).
    """
    many = factors.shape[0] > 0
    status = FULL
    need = np.int64(0)
    r = first
    while r < last:
        a, b = spaces_of[r], spaces_of[r + 1]
        low, high = spaces[a, 2], spaces[b, 2]
        begin_of_row = indptr[r]
        n = begin_of_row
        size = words[high - 1, 1] - spaces[a, 0] + 1 if high > low else 0
        if many:
            members[:, 0] = 0
            size = 0
            for g in range(a, b):
                for f in range(spaces[g, 2], spaces[g + 1, 2]):
                    size += spaces[g, 1] - spaces[g, 0] + 1 + words[f, 1] - words[f, 0]
            size *= 1 + factors.shape[1]  # all names, and the longest product of them
        if size > scratch.shape[0] or (many and high - low >= members.shape[1]):
            status, need = SCRATCH, np.int64(max(size, high - low + 1))
            break
        if n + high - low > values.shape[0]:
            status, need = VALUES, n + high - low
            break
        at = 0
        for g in range(a, b):
            begin, end = spaces[g, 0], spaces[g, 1]
            head = end - begin + 1 if end > begin else 0  # bytes of "namespace^"
            space = find(text, begin, end, crossed) if many else -1
            for f in range(spaces[g, 2], spaces[g + 1, 2]):
                if head and (many or f == spaces[g, 2]):
                    scratch[_copied(text, begin, end, scratch, at)] = _CARET
                if head or many:
                    to = _copied(text, words[f, 0], words[f, 1], scratch, at + head)
                    size = to - at
                    k = _numbered(scratch, at, to, hashed, table)
                else:
                    size = words[f, 1] - words[f, 0]
                    k = _numbered(text, words[f, 0], words[f, 1], hashed, table)
                if k == NO_ROOM and not hashed:
                    status, need = NAMES, size
                    break
                indices[n] = k
                values[n] = numbers[f] * scales[g]
                n += 1
                if many:
                    names[f - low, 0], names[f - low, 1] = at, to
                    at = to
                if space >= 0:
                    members[space, 0] += 1
                    members[space, members[space, 0]] = f - low
            if status != FULL:
                break
        if many and status == FULL:
            total = _n_products(factors, members)
            if total > MOST_PRODUCTS:
                status, need = PRODUCTS, np.int64(min(total, 1e18))
            elif n + total > values.shape[0]:
                status, need = VALUES, n + np.int64(total)
            else:
                status, n, need = _products(
                    scratch,
                    at,
                    names,
                    factors,
                    members,
                    picked,
                    hashed,
                    table,
                    begin_of_row,
                    n,
                    indices,
                    values,
                )
        if status != FULL:
            break
        r += 1
        indptr[r] = n
    out[0], out[1], out[2] = status, r, need
