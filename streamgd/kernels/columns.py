"""Columns put side by side: the rows of a matrix out of arrays of floats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from .._jit import strict

_AT_ONCE = 5  # columns: their cells share a line of the cache or two


@strict
def _five(X, k, a, b, c, d, e):
    """Set columns ``k`` to ``k + 4``; tell whether a NaN is among them."""
    bad = False
    for i in range(X.shape[0]):
        X[i, k] = a[i]
        X[i, k + 1] = b[i]
        X[i, k + 2] = c[i]
        X[i, k + 3] = d[i]
        X[i, k + 4] = e[i]
        total = a[i] + b[i] + c[i] + d[i] + e[i]
        bad |= total != total
    return bad


def matrix(columns: Sequence[Any], n: int) -> NDArray[Any] | None:
    """Return columns as rows, where all are float32 or all float64 and no NaN is there; else None.

    Columns of one matrix that lie side by side are not copied. Contiguous ones are, twice as fast as one
    by one, and in few pieces of work for a thread; fewer than five are not worth it. Infinities of both
    signs in a row may count as NaN.
    """
    dtype = columns[0].dtype
    if dtype not in (np.float32, np.float64) or any(c.dtype != dtype or not c.flags.aligned for c in columns):
        return None
    size, p = dtype.itemsize, len(columns)
    if all(c.strides == (p * size,) for c in columns):
        at = np.array([c.ctypes.data for c in columns], dtype=np.uintp)
        if (np.diff(at) == size).all():
            whole: NDArray[Any] = as_strided(columns[0], (n, p), (p * size, size), writeable=False)
            return None if np.isnan(whole).any() else whole
    if p < _AT_ONCE or not all(c.flags.c_contiguous for c in columns):
        return None
    X = np.empty((n, p), dtype=dtype)
    sources = [c.view() for c in columns]
    for source in sources:
        source.flags.writeable = False  # as those of Arrow are: one kernel serves all
    bad = False
    for first in range(0, p, _AT_ONCE):
        k = min(first, p - _AT_ONCE)  # the last ones may have some of those before
        bad |= _five(X, k, *sources[k : k + _AT_ONCE])
    return None if bad else X
