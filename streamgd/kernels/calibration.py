"""A map from a classifier's probabilities to calibrated ones, learned row by row."""

# mypy: disable-error-code="no-untyped-def,misc"

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from streamgd._jit import jitable, strict

_CLOSE: Final = 1e-3  # Newton's method converges quadratically: what is left is its square
_MOST_STEPS: Final = 20


@jitable
def _predict(map_, logs, i, since, q):
    """Write the probabilities of row ``i`` to ``q``, 0 for classes that are not there yet."""
    top = -math.inf
    for k in range(len(q)):
        q[k] = map_[0] * logs[i, k] + map_[1 + k] if since[k] <= i else -math.inf
        top = max(top, q[k])
    total = 0.0
    for k in range(len(q)):
        q[k] = math.exp(q[k] - top)
        total += q[k]
    for k in range(len(q)):
        q[k] /= total


@jitable
def _add_curvature(logs, i, q, h, matrix):
    """Add the second derivative of the log loss of row ``i``, times ``h``, to a matrix's lower half."""
    mean = 0.0
    for k in range(len(q)):
        mean += q[k] * logs[i, k]
    for k in range(len(q)):
        beside = logs[i, k] - mean
        matrix[0, 0] += h * q[k] * beside * beside
        matrix[1 + k, 0] += h * q[k] * beside
        matrix[1 + k, 1 + k] += h * q[k]
        for j in range(k + 1):
            matrix[1 + k, 1 + j] -= h * q[k] * q[j]


@jitable
def _solve(matrix, right):
    """Solve for ``right`` in place by Cholesky's method; the matrix's lower half is used up."""
    m = len(right)
    for j in range(m):
        for k in range(j):
            matrix[j, j] -= matrix[j, k] * matrix[j, k]
        matrix[j, j] = math.sqrt(matrix[j, j])
        for i in range(j + 1, m):
            for k in range(j):
                matrix[i, j] -= matrix[i, k] * matrix[j, k]
            matrix[i, j] /= matrix[j, j]
    for j in range(m):
        for k in range(j):
            right[j] -= matrix[j, k] * right[k]
        right[j] /= matrix[j, j]
    for j in range(m - 1, -1, -1):
        for k in range(j + 1, m):
            right[j] -= matrix[k, j] * right[k]
        right[j] /= matrix[j, j]


@strict
def learn(
    logs: Any, codes: Any, weights: Any, since: Any, forgetting: Any, prior: Any, map_: Any,
    precision: Any, out: Any,
) -> None:  # fmt: skip
    """Calibrate each row, then learn from it.

    Parameters
    ----------
    logs
        Logarithms of the classifier's probabilities ``(n, k)``.
    codes, weights
        True classes ``(n,)``, -1 for a row that is not to be learned; sample weights ``(n,)``.
    since
        The row from which on each class ``(k,)`` is there.
    forgetting
        Factor of what was learned, at each row.
    prior
        Precision ``(1 + k,)`` of what is believed before any row.
    map_, precision
        The slope and the biases ``(1 + k,)``; the log likelihood's curvature in them, its lower half.
    out
        Filled with calibrated probabilities ``(n, k)``, made before each update.
    """
    m = len(map_)
    q, matrix = np.empty(m - 1), np.empty((m, m))
    right, at, tried, pull = np.empty(m), np.empty(m), np.empty(m), np.zeros(m)
    for i in range(len(codes)):
        _predict(map_, logs, i, since, q)
        out[i] = q
        y, h = codes[i], weights[i]
        if y < 0 or since[y] > i or not h > 0.0 or q[y] != q[y]:
            continue
        if forgetting < 1.0:  # what is forgotten gives way to the prior, so that the precision stays bounded
            for j in range(m):
                for k in range(j + 1):
                    precision[j, k] *= forgetting
                fresh = (1.0 - forgetting) * prior[j]
                precision[j, j] += fresh
                pull[j] = fresh * ((1.0 if j == 0 else 0.0) - map_[j])
        # The map that is best for this row and for what all before said, by Newton's method. One step of it,
        # an extended Kalman filter, goes much too far at the first sample of a rare class.
        at[:] = map_
        value = -h * math.log(max(q[y], 1e-300))
        for _ in range(_MOST_STEPS):
            matrix[:] = precision
            _add_curvature(logs, i, q, h, matrix)
            for j in range(m):
                right[j] = pull[j]
                for k in range(m):
                    entry = precision[j, k] if k <= j else precision[k, j]
                    right[j] -= entry * (at[k] - map_[k])
            for k in range(m - 1):
                error = h * ((1.0 if k == y else 0.0) - q[k])
                right[0] += error * logs[i, k]
                right[1 + k] += error
            _solve(matrix, right)
            size, share = 0.0, 1.0
            for j in range(m):
                size = max(size, abs(right[j]))
            while True:
                for j in range(m):
                    tried[j] = at[j] + share * right[j]
                _predict(tried, logs, i, since, q)
                worth = -h * math.log(max(q[y], 1e-300))
                for j in range(m):
                    moved = tried[j] - map_[j]
                    worth += moved * (0.5 * precision[j, j] * moved - pull[j])
                    for k in range(j):
                        worth += moved * precision[j, k] * (tried[k] - map_[k])
                if worth <= value or share < 1e-3:
                    break
                share *= 0.5
            at[:] = tried
            value = worth
            if size < _CLOSE:
                break
        _add_curvature(logs, i, q, h, precision)
        map_[:] = at
