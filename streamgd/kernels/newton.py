"""The online Newton step: a matrix over all features, updated in place by a rank-one change."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .pieces import INTERCEPT, Jit, Layout, Pieces, T


def update_body(pieces: Pieces, jit: Jit, layout: Layout) -> Callable[..., Any]:
    r"""Build the step on one gradient; see `coordinate.update_body` for the parameters.

    ``slots`` is the inverse H of the accumulated matrix, ``(capacity, capacity)``. With :math:`u = Hg`,
    :math:`H \leftarrow H - u u^T / (1 + g^T u)` (Sherman and Morrison), and the step is the new
    :math:`H g = u / (1 + g^T u)`. Features that are absent move too, as far as H couples them.
    """
    value_at, slot_at = (jit(function) for function in layout)

    def update(
        hp, weights, slots, charged, scalars, own, values, i, index, j, n, one, p, y, d, h, g, rates, r
    ):
        capacity = weights.shape[0]
        u = charged  # free, because no penalty joins in
        for a in range(capacity):
            u[a] = 0.0
        for k in range(n):
            s = slot_at(index, j, k)
            part = g * value_at(values, i, k)
            for a in range(capacity):
                u[a] += part * slots[s, a]
        bend = 1.0
        for k in range(n):
            bend += g * value_at(values, i, k) * u[slot_at(index, j, k)]
        lr, intercept_lr = rates[r, 0], rates[r, 2]
        for a in range(capacity):
            share = u[a] / bend
            if share != 0.0:
                weights[a] -= lr * share
                for b in range(capacity):
                    slots[a, b] -= share * u[b]
        scalars[INTERCEPT] -= intercept_lr * (g * one)
        scalars[T] += 1.0

    return update
