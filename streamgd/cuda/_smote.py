"""Rows of SMOTE made on the device, each by its number alone."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import functools
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .._rows import Floats, Words
from .._single import single
from ..kernels.picks import picked
from ..kernels.smote import between
from ._backend import cuda, kernel
from ._neighbours import Table

THREADS: Final = 256
BLOCKS: Final = 1056  # all that a device holds at once and more; each warp goes on to further rows
_WARP: Final = 32
_PORTION: Final = 1 << 28  # bytes of rows made at once


def make(table, width, p, bases, near, foreign, places, seed, c, first, made, at):
    """Make the rows from number ``first`` on, a warp each: see `picked` and `between`."""
    lane = cuda.threadIdx.x % _WARP
    i = cuda.grid(1) // _WARP
    while i < made.shape[0]:
        number = first + i
        base, which, gap, share = picked(seed, c, number, near, foreign, places)
        start, end = np.int64(bases[base]) * width, np.int64(near[base, which]) * width
        between(
            table[start + lane : start + p : _WARP], table[end + lane : end + p : _WARP], gap, share,
            made[i, lane::_WARP],
        )  # fmt: skip
        if lane == 0:
            at[i, 0], at[i, 1] = base, which
        i += cuda.gridsize(1) // _WARP


@functools.cache
def _maker(threads: int) -> Any:
    return kernel(single(make), threads=threads)


def make_rows(
    table: Table,
    seed: int,
    c: int,
    n: int,
    bases: Words,
    near: Words,
    foreign: NDArray[np.bool_],
    places: Words,
    *,
    blocks: int = BLOCKS,
    threads: int = THREADS,
    portion: int = _PORTION,
) -> tuple[Floats, Words, Words]:
    """Make the rows 0 to n - 1 of class c.

    Parameters
    ----------
    table
        What they are made from.
    seed, foreign, places
        As `picked` has them.
    bases, near
        Rows of the table, ``(q,)``, and the rows near each, ``(q, k)``.
    blocks, threads, portion
        Of a launch, and the bytes of rows that it makes: nothing depends on them.

    Returns
    -------
    The rows ``(n, p)``, with 0 in columns of codes; of each the position of its base among ``bases``, and of
    the neighbour among the base's.
    """
    p = len(table.columns)
    rows, picks = np.zeros((n, table.n_columns)), np.empty((n, 2), dtype=np.int64)
    given = [cuda.to_device(a) for a in (bases.astype(np.int32), near.astype(np.int32), foreign, places)]
    step = max(1, portion // (4 * p))
    for first in range(0, n, step):
        part = slice(first, min(first + step, n))
        m = part.stop - first
        made, at = cuda.device_array((m, p), np.float32), cuda.device_array((m, 2), np.int64)
        _maker(threads)[min(blocks, -(-m * _WARP // threads)), threads](
            table.rows, table.width, p, *given, np.uint64(seed), c, first, made, at
        )
        # in float64: a float32 has no room for what is very large or small in the end
        rows[part, table.columns] = made.copy_to_host().astype(np.float64) / table.unit + table.middle
        picks[part] = at.copy_to_host()
    return rows, picks[:, 0], picks[:, 1]
