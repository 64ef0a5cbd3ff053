"""Matrices on the device made of rows of others there: chosen ones, or all of several."""
# mypy: disable-error-code="no-untyped-def,attr-defined"

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._single import single
from ._backend import cuda, kernel

_LANES = 32  # threads that share a row
_ROWS = 8  # a block
_BLOCKS = 1 << 12


def gathered(X: Any, order: NDArray[np.int64], *, rows_a_block: int = _ROWS) -> Any:
    """Return the rows of a matrix ``(n, p)`` whose numbers are in ``order``, on the default stream."""
    n_columns = X.shape[1]
    out = cuda.device_array((len(order), n_columns), X.dtype)
    if len(order) and n_columns:
        blocks = min(_BLOCKS, -(-len(order) // rows_a_block))
        launch = gather_kernel()[(1, blocks), (_LANES, rows_a_block)]
        launch(X.ravel(), cuda.to_device(order), n_columns, out.ravel())
    return out


def stacked(parts: Sequence[Any]) -> Any:
    """Return matrices of equal width and type one below the other, on the default stream."""
    out = cuda.device_array((sum(map(len, parts)), parts[0].shape[1]), parts[0].dtype)
    lo = 0
    for part in parts:
        out[lo : lo + len(part)].copy_to_device(part)
        lo += len(part)
    return out


@functools.cache
def gather_kernel() -> Any:
    """Return the kernel, ``gather(X, order, n_columns, out)`` of flat arrays."""
    body: Any = gather
    return kernel(single(body), threads=_LANES * _ROWS)


def gather(X, order, n_columns, out):
    column, row = cuda.grid(2)
    next_column, next_row = cuda.gridsize(2)
    for i in range(row, order.shape[0], next_row):
        begin = order[i] * n_columns
        for k in range(column, n_columns, next_column):
            out[i * n_columns + k] = X[begin + k]
