"""Nearest neighbours of a row, exactly: a scan over all rows, sums of squares in lanes."""

# mypy: disable-error-code="no-untyped-def,misc"

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._jit import inlined, jitable, strict

# A scan may leave a row between two blocks of so many columns: where rows are shorter, a branch that
# is hard to predict costs more than the columns that it saves.
BLOCK: Final = 64

# Rows at once: with thirty columns, as many as a core's own cache holds.
TILE: Final = 512

_NO_COLUMNS: Final = np.empty(0, dtype=np.int64)
_0, _1, _2, _3, _4 = (np.uintp(k) for k in range(5))


@inlined
def _one(rows, i, scales, query, j):
    a = (rows[i, j] - query[j]) * scales[j]
    return a * a


@inlined
def _four(rows, i, scales, query, j):
    a, b = _one(rows, i, scales, query, j), _one(rows, i, scales, query, j + _1)
    c, d = _one(rows, i, scales, query, j + _2), _one(rows, i, scales, query, j + _3)
    return (a + b) + (c + d)


@inlined
def squared(rows, i, scales, query, bound):
    """Sum of ``((rows[i] - query) * scales) ** 2``, or of its first blocks if they exceed ``bound``.

    Eight at a time, because one after the other each would wait for the sum before it.
    """
    n = query.shape[0]
    i = np.uintp(i)
    total = 0.0
    start = 0
    while start + 8 <= n:
        j = np.uintp(start)
        total += _four(rows, i, scales, query, j) + _four(rows, i, scales, query, j + _4)
        start += 8
        if start % BLOCK == 0 and total > bound:
            return total
    if start + 4 <= n:
        total += _four(rows, i, scales, query, np.uintp(start))
        start += 4
    while start < n:
        total += _one(rows, i, scales, query, np.uintp(start))
        start += 1
    return total


@inlined
def _distance(rows, i, scales, nominal, penalty, query, bound):
    d = squared(rows, i, scales, query, bound)
    for c in nominal:
        if rows[i, c] != query[c]:
            d += penalty
    return d


@inlined
def _insert(index, distance, k, i, d):
    """Put a row that is nearer than the k-th in its place: the k-th falls out."""
    at = k - 1
    while at > 0 and distance[at - 1] > d:
        distance[at] = distance[at - 1]
        index[at] = index[at - 1]
        at -= 1
    distance[at] = d
    index[at] = i


@jitable
def nearest_mixed(rows, n, scales, nominal, penalty, query, exclude, k, index, distance):
    """Find the k nearest rows where some columns are categories: another category adds ``penalty``.

    As `nearest`, with the columns ``nominal`` (int64), whose scales must be 0.0. In SMOTE-NC (Chawla et al.,
    2002, section 6.1) ``penalty`` is the square of the median deviation of the other columns.
    """
    index[:k] = -1
    distance[:k] = np.inf
    found = 0
    for i in range(n):
        if i == exclude:
            continue
        d = _distance(rows, i, scales, nominal, penalty, query, distance[k - 1])
        if d < distance[k - 1]:
            _insert(index, distance, k, i, d)
            found += 1
    return min(found, k)


@jitable
def nearest(rows, n, scales, query, exclude, k, index, distance):
    """Find the k nearest of ``rows[:n]`` to a point, the nearest first; of equals the lower slot.

    Parameters
    ----------
    rows
        ``(capacity, d)`` float64, C-contiguous.
    n
        How many of them are searched.
    scales
        ``(d,)`` factors of the columns: the distance is ``sum(((a - b) * scales) ** 2)``.
    query
        The point ``(d,)``.
    exclude
        A slot that is left out, the point's own; -1: none.
    k
        How many are wanted, at least 1.
    index, distance
        ``(k,)`` int64 and float64: their slots and squared distances, written from the beginning.

    Returns
    -------
    How many there are: k, or all. The rest of ``index`` is -1, of ``distance`` infinite. A row with NaN, or
    so far off that the distance is infinite, is nobody's neighbour, and a point with NaN has none.
    """
    return nearest_mixed(rows, n, scales, _NO_COLUMNS, 0.0, query, exclude, k, index, distance)


# -- of many points ----------------------------------------------------------------------------


@jitable
def _multiply(pair, lengths, tile, n, below):
    """Write ``lengths[i] + sum(pair[:, j] * tile[j, i])`` to ``below``, four columns at a time."""
    d = tile.shape[0]
    below[0, :n] = below[1, :n] = lengths[:n]
    whole = d - d % 4
    for start in range(0, whole, 4):
        j = np.uintp(start)
        a, b, c, e = pair[0, j], pair[0, j + _1], pair[0, j + _2], pair[0, j + _3]
        p, q, r, s = pair[1, j], pair[1, j + _1], pair[1, j + _2], pair[1, j + _3]
        for row in range(n):
            i = np.uintp(row)
            t, u, v, w = tile[j, i], tile[j + _1, i], tile[j + _2, i], tile[j + _3, i]
            below[_0, i] += (a * t + b * u) + (c * v + e * w)
            below[_1, i] += (p * t + q * u) + (r * v + s * w)
    for start in range(whole, d):
        j = np.uintp(start)
        for row in range(n):
            i = np.uintp(row)
            below[_0, i] += pair[0, j] * tile[j, i]
            below[_1, i] += pair[1, j] * tile[j, i]


@strict
def _all_nearest(rows, scales, middle, nominal, penalty, queries, exclude, index, distance):
    """Fill in the nearest of each query.

    With a and b a row and a query relative to the middle, their distance is at least what `_multiply` makes
    of ``|a|^2`` and -2b, plus ``|b|^2``: both squares are taken less what rounding can have done, the first
    also less what is lost near zero. Only rows are looked at of which that is less than the k-th distance
    so far, or not known.
    """
    n, d = rows.shape
    n_queries, k = index.shape
    kept = 1.0 - 8.0 * (d + 4) * 2.0**-53
    tile, lengths = np.empty((d, TILE + 8)), np.empty(TILE)  # 4 KiB apart, columns would share cache sets
    pair, below, rest = np.empty((2, d)), np.empty((2, TILE)), np.empty(2)
    for first in range(0, n, TILE):
        m = min(TILE, n - first)
        for i in range(m):
            length = 0.0
            for j in range(d):
                a = (rows[first + i, j] - middle[j]) * scales[j]
                tile[j, i] = a
                length += a * a
            lengths[i] = kept * length - 1e-300 if length < np.inf else np.nan  # NaN: it is looked at
        for q in range(0, n_queries, 2):
            m_queries = min(2, n_queries - q)
            for h in range(m_queries):
                length = 0.0
                for j in range(d):
                    b = (queries[q + h, j] - middle[j]) * scales[j]
                    pair[h, j] = -2.0 * b
                    length += b * b
                rest[h] = kept * length if length < np.inf else np.nan
            _multiply(pair, lengths, tile, m, below)
            for h in range(m_queries):
                near, far, own = index[q + h], distance[q + h], exclude[q + h] - first
                limit = far[k - 1] - rest[h]
                for i in range(m):
                    if below[h, i] > limit or i == own:
                        continue
                    at = first + i
                    x = _distance(rows, at, scales, nominal, penalty, queries[q + h], far[k - 1])
                    if x < far[k - 1]:
                        _insert(near, far, k, at, x)
                        limit = far[k - 1] - rest[h]


def all_nearest(
    rows: ArrayLike,
    queries: ArrayLike,
    k: int,
    *,
    scales: ArrayLike | None = None,
    exclude: ArrayLike | None = None,
    nominal: ArrayLike = (),
    penalty: float = 0.0,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find the k nearest rows of each query, as `nearest` does, with most rows passed over unseen.

    Parameters
    ----------
    rows, queries
        ``(n, d)`` and ``(q, d)`` numbers.
    k
        How many are wanted, at least 1.
    scales
        ``(d,)`` factors of the columns; ones by default.
    exclude
        ``(q,)`` the row that each query is itself, -1 if it is none (the default).
    nominal, penalty
        Columns of codes, and what is added where two codes differ.

    Returns
    -------
    Rows ``(q, k)`` and squared distances ``(q, k)``, the nearest first and of equals the lower row; -1 and
    infinity where there are fewer than k.

    Raises
    ------
    ValueError
        Where shapes do not fit, or k is less than 1.
    """
    table, points = (np.ascontiguousarray(a, dtype=np.float64) for a in (rows, queries))
    if table.ndim != 2 or points.ndim != 2 or table.shape[1] != points.shape[1]:
        raise ValueError(f"rows {table.shape} and queries {points.shape} must have the same columns")
    if k < 1:
        raise ValueError(f"k={k}; at least one neighbour must be asked for")
    d = table.shape[1]
    factors = np.ones(d) if scales is None else np.array(scales, dtype=np.float64)
    own: Any = np.full(len(points), -1) if exclude is None else np.array(exclude)
    names = np.array(nominal, dtype=np.int64)
    if factors.shape != (d,) or own.shape != (len(points),):
        raise ValueError(f"scales {factors.shape} are one a column ({d}), exclude {own.shape} one a query")
    if names.ndim != 1 or not ((names >= 0) & (names < d)).all():
        raise ValueError(f"nominal={nominal!r}: positions of columns are from 0 to {d - 1}")
    factors[names] = 0.0
    with np.errstate(all="ignore"):  # whatever it is, results are the same
        middle = table.mean(axis=0) if len(table) else np.zeros(d)
    index = np.full((len(points), k), -1)
    distance = np.full((len(points), k), np.inf)
    own = own.astype(np.int64)
    _all_nearest(table, factors, middle, names, float(penalty), points, own, index, distance)
    return index, distance
