"""How rules reach values, slots and scalars: one tiny function for each layout, inlined by the compiler.

State is one array a slot (``slots[k, j]``), because a rule that returns new scalars vectorises
over such arrays, and one that writes to a row view does not (measured: 3 times slower).
"""
# ruff: noqa: D103
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def _load0(slots, j):
    return ()


def _load1(slots, j):
    return (slots[0, j],)


def _load2(slots, j):
    return (slots[0, j], slots[1, j])


def _load3(slots, j):
    return (slots[0, j], slots[1, j], slots[2, j])


def _load4(slots, j):
    return (slots[0, j], slots[1, j], slots[2, j], slots[3, j])


def _load5(slots, j):
    return (slots[0, j], slots[1, j], slots[2, j], slots[3, j], slots[4, j])


def _load6(slots, j):
    return (slots[0, j], slots[1, j], slots[2, j], slots[3, j], slots[4, j], slots[5, j])


def _store0(slots, j, new):
    pass


def _store1(slots, j, new):
    slots[0, j] = new[0]


def _store2(slots, j, new):
    slots[0, j] = new[0]
    slots[1, j] = new[1]


def _store3(slots, j, new):
    slots[0, j] = new[0]
    slots[1, j] = new[1]
    slots[2, j] = new[2]


def _store4(slots, j, new):
    slots[0, j] = new[0]
    slots[1, j] = new[1]
    slots[2, j] = new[2]
    slots[3, j] = new[3]


def _store5(slots, j, new):
    slots[0, j] = new[0]
    slots[1, j] = new[1]
    slots[2, j] = new[2]
    slots[3, j] = new[3]
    slots[4, j] = new[4]


def _store6(slots, j, new):
    slots[0, j] = new[0]
    slots[1, j] = new[1]
    slots[2, j] = new[2]
    slots[3, j] = new[3]
    slots[4, j] = new[4]
    slots[5, j] = new[5]


def _add0(a, b):
    return ()


def _add1(a, b):
    return (a[0] + b[0],)


def _add2(a, b):
    return (a[0] + b[0], a[1] + b[1])


def _add3(a, b):
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2])


def _take0(vector, start):
    return ()


def _take1(vector, start):
    return (vector[start],)


def _take2(vector, start):
    return (vector[start], vector[start + 1])


def _take3(vector, start):
    return (vector[start], vector[start + 1], vector[start + 2])


def _take4(vector, start):
    return (vector[start], vector[start + 1], vector[start + 2], vector[start + 3])


def _take5(v, k):
    return (v[k], v[k + 1], v[k + 2], v[k + 3], v[k + 4])


def _take6(v, k):
    return (v[k], v[k + 1], v[k + 2], v[k + 3], v[k + 4], v[k + 5])


def _take7(v, k):
    return (v[k], v[k + 1], v[k + 2], v[k + 3], v[k + 4], v[k + 5], v[k + 6])


def _take8(v, k):
    return (v[k], v[k + 1], v[k + 2], v[k + 3], v[k + 4], v[k + 5], v[k + 6], v[k + 7])


def _put0(vector, start, new):
    pass


def _put1(vector, start, new):
    vector[start] = new[0]


def _put2(vector, start, new):
    vector[start] = new[0]
    vector[start + 1] = new[1]


def _put3(vector, start, new):
    vector[start] = new[0]
    vector[start + 1] = new[1]
    vector[start + 2] = new[2]


def _put4(vector, start, new):
    vector[start] = new[0]
    vector[start + 1] = new[1]
    vector[start + 2] = new[2]
    vector[start + 3] = new[3]


def _put5(vector, start, new):
    vector[start] = new[0]
    vector[start + 1] = new[1]
    vector[start + 2] = new[2]
    vector[start + 3] = new[3]
    vector[start + 4] = new[4]


def _put6(vector, start, new):
    vector[start] = new[0]
    vector[start + 1] = new[1]
    vector[start + 2] = new[2]
    vector[start + 3] = new[3]
    vector[start + 4] = new[4]
    vector[start + 5] = new[5]


# By the number of floats: of a coordinate's slots, of sums over a row, of a run in a vector.
LOAD: tuple[Callable[..., Any], ...] = (_load0, _load1, _load2, _load3, _load4, _load5, _load6)
STORE: tuple[Callable[..., Any], ...] = (
    _store0, _store1, _store2, _store3, _store4, _store5, _store6,
)  # fmt: skip
ADD: tuple[Callable[..., Any], ...] = (_add0, _add1, _add2, _add3)
TAKE: tuple[Callable[..., Any], ...] = (
    _take0, _take1, _take2, _take3, _take4, _take5, _take6, _take7, _take8,
)  # fmt: skip
PUT: tuple[Callable[..., Any], ...] = (_put0, _put1, _put2, _put3, _put4, _put5, _put6)


# The k-th value of a row, and the slot it belongs to. A row is addressed, never sliced: a view such
# as X[i] costs 10 ns a row. Positions are unsigned, because a test for negative ones, which count
# from the end, would keep the loops from being vectorised.
def matrix_value(values, i, k):
    return values[np.uintp(i), np.uintp(k)]


def vector_value(values, i, k):
    return values[np.uintp(i + k)]


def same_slot(index, i, k):
    return np.uintp(k)


def strided_value(values, i, k):
    return values[np.uintp(i[0] + k * i[1])]


def strided_slot(index, j, k):
    return np.uintp(j[0] + k * j[1])


def index_slot(index, i, k):
    return np.uintp(index[np.uintp(i + k)])


DENSE_ROW = (matrix_value, same_slot)  # X[i, :] in slot order
DENSE_VECTOR = (vector_value, same_slot)  # a run of a vector, in slot order
STRIDED = (strided_value, strided_slot)  # each so many, of a vector: what one of several threads has
SPARSE_ROW = (vector_value, index_slot)  # compressed sparse rows
