"""What SMOTE makes a row from, drawn by the row's number: whoever makes it, and after whatever others."""

# mypy: disable-error-code="no-untyped-def,misc"

from __future__ import annotations

from typing import Any, Final

import numpy as np

from .._jit import jitable, strict
from .philox import below_of, unit_of, words_at
from .smote import mode

# Blocks of a row's words.
_PAIR: Final = 0
_WAY: Final = 1
_CATEGORIES: Final = 2  # and on, one for each column

_HALF, _WHOLE = np.float32(0.5), np.float32(1.0)


@jitable
def picked(seed, c, number, near, foreign, places):
    """Return what row ``number`` of class c is made from: base, neighbour, gap and share.

    Parameters
    ----------
    seed
        From 0, below 2 ** 64.
    c, number
        Position of the class, and the row's number in it from 0.
    near
        ``(n, k)`` neighbours of n bases.
    foreign
        ``(n, k)`` bool: of which class the share is less than a half; or ``(0, k)``, none.
    places
        The base of each number, int64; or ``(0,)``: it is drawn, each as likely.

    Returns
    -------
    Row and column of ``near``, int64, and two float32: see `smote.between`.
    """
    first, second, third, fourth = words_at(seed, number, c, _PAIR)
    at = below_of(first, second, near.shape[0])
    if places.shape[0] > 0:
        at = places[number]
    which = below_of(third, fourth, near.shape[1])
    gap, share, _, _ = words_at(seed, number, c, _WAY)
    if foreign.shape[0] > 0 and foreign[at, which]:
        return at, which, unit_of(gap), _HALF * unit_of(share)
    return at, which, unit_of(gap), _WHOLE


@strict
def pick(seed: Any, c: Any, n: Any, near: Any, foreign: Any, places: Any) -> Any:
    """Return what the rows 0 to n - 1 of a class are made from: `picked` of each, in four arrays."""
    at, which = np.empty(n, np.int64), np.empty(n, np.int64)
    gaps, shares = np.empty(n), np.empty(n)
    for number in range(n):
        at[number], which[number], gaps[number], shares[number] = picked(
            seed, c, number, near, foreign, places
        )
    return at, which, gaps, shares


@strict
def copies(seed: Any, c: Any, n: Any, among: Any) -> Any:
    """Return which of so many rows the copies 0 to n - 1 of a class are of."""
    rows = np.empty(n, np.int64)
    for number in range(n):
        first, second, _, _ = words_at(seed, number, c, _PAIR)
        rows[number] = below_of(first, second, among)
    return rows


@strict
def modes(seed: Any, c: Any, table: Any, columns: Any, near: Any, at: Any) -> Any:
    """Return the commonest code among the neighbours ``near[at]`` of each row made, in some columns."""
    codes = np.empty((at.shape[0], columns.shape[0]), np.int64)
    for number in range(at.shape[0]):
        around = near[at[number]]
        for j in range(columns.shape[0]):
            word, _, _, _ = words_at(seed, number, c, _CATEGORIES + j)
            codes[number, j] = mode(table, columns[j], around, around.shape[0], np.float64(unit_of(word)))
    return codes
