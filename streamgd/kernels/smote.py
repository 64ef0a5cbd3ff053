"""SMOTE and its kin in formulas: which rows points are made from, and what a made point is.

All kinds make a point `between` a row, the base, and one of its k nearest of the same class. They differ in
the bases. SMOTE (Chawla et al., 2002): every row, as likely. Borderline-SMOTE (Han et al., 2005): rows
`in_danger`, as likely; its second kind takes neighbours of other classes too, and goes at most half the way
to them. ADASYN (He et al., 2008): every row, as often as its `hardness` says. SMOTE-NC (Chawla et al., 2002,
section 6.1): every row; two categories are `median_deviation` apart, and the made one is the neighbours'
`mode`.
"""

# mypy: disable-error-code="no-untyped-def,misc"

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._jit import jitable, strict


@jitable
def between(base, neighbour, gap, share, made):
    """Write ``base + gap * share * (neighbour - base)`` to ``made``.

    Parameters
    ----------
    base, neighbour, made
        Rows ``(d,)``; ``made`` may be neither of the others.
    gap
        Uniform in [0, 1), one for all columns.
    share
        1.0; to a neighbour of another class, in the second kind of Borderline-SMOTE, uniform in [0, 0.5).
    """
    for j in range(made.shape[0]):
        made[j] = base[j] + gap * ((neighbour[j] - base[j]) * share)


@jitable
def in_danger(others: Any, m: Any) -> Any:
    """Tell whether a row with so many rows of other classes among its m nearest is at the border.

    At least half are; where all are, the row is noise (Han et al., 2005, section 3).
    """
    return m <= 2.0 * others and others < m


@jitable
def hardness(others: Any, k: Any) -> Any:
    """Share of rows of other classes among a row's k nearest: it says how many points are made there.

    Their number is the share of this in the sum over the class (He et al., 2008, equations 3 to 5).
    """
    return others / k


@jitable
def median_deviation(rows, n, numeric, deviations):
    """Median over columns of the standard deviation (that of a population) in ``rows[:n]``, n at least 1.

    Parameters
    ----------
    numeric
        Positions (int64) of the columns that hold numbers, at least one.
    deviations
        Room for as many float64.
    """
    m = numeric.shape[0]
    for k in range(m):
        j = numeric[k]
        mean = 0.0
        for i in range(n):
            mean += rows[i, j]
        mean /= n
        total = 0.0
        for i in range(n):
            total += (rows[i, j] - mean) ** 2
        at = k  # its place among those before
        deviation = math.sqrt(total / n)
        while at > 0 and deviations[at - 1] > deviation:
            deviations[at] = deviations[at - 1]
            at -= 1
        deviations[at] = deviation
    return 0.5 * (deviations[(m - 1) // 2] + deviations[m // 2])


@jitable
def _count(rows, column, index, found, value):
    count = 0
    for k in range(found):
        count += rows[index[k], column] == value
    return count


@jitable
def _is_first(rows, column, index, k):
    for earlier in range(k):
        if rows[index[earlier], column] == rows[index[k], column]:
            return False
    return True


@jitable
def mode(rows, column, index, found, draw):
    """Return the commonest value of a column in the rows ``index[:found]``, found at least 1.

    ``draw``, uniform in [0, 1), chooses among values that are as common, in order of appearance.
    """
    most = ties = 0
    for k in range(found):
        count = _count(rows, column, index, found, rows[index[k], column])
        if count > most:
            most, ties = count, 0
        ties += count == most and _is_first(rows, column, index, k)
    left = min(int(draw * ties), ties - 1)  # to pass over
    k = 0
    while True:
        value = rows[index[k], column]
        if _count(rows, column, index, found, value) == most and _is_first(rows, column, index, k):
            if left == 0:
                return value
            left -= 1
        k += 1


@strict
def make(table: Any, bases: Any, neighbours: Any, gaps: Any, shares: Any) -> Any:
    """Make the points between rows ``bases`` and rows ``neighbours`` of a table ``(n, d)``."""
    made = np.empty((bases.shape[0], table.shape[1]))
    for i in range(bases.shape[0]):
        between(table[bases[i]], table[neighbours[i]], gaps[i], shares[i], made[i])
    return made


@strict
def median_deviation_of(table: Any, numeric: Any) -> Any:
    """`median_deviation` of all rows of a table."""
    return median_deviation(table, table.shape[0], numeric, np.empty(numeric.shape[0]))
