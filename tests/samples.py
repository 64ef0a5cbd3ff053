"""Seeded samples that tests share."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamgd._rows import SparseRows


class Samples(NamedTuple):
    X: NDArray[np.float64]  # (n, p)
    y: NDArray[Any]  # (n,), float or bool
    w: NDArray[np.float64]  # (n,) weights, some of them 0
    names: list[str]

    def dicts(self) -> list[dict[str, float]]:
        return [dict(zip(self.names, row, strict=True)) for row in self.X.tolist()]


def dense(n: int, p: int, *, binary: bool, seed: int, noise: float = 0.3) -> Samples:
    """Samples of a linear model, features of different size, all of them present."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * np.geomspace(0.3, 1.5, p) + rng.normal(size=p) * 0.3
    z = X @ rng.normal(size=p) + 0.5 + noise * rng.normal(size=n)
    w = rng.choice([0.0, 0.5, 1.0, 2.0], size=n, p=[0.05, 0.25, 0.5, 0.2])
    return Samples(X, z > 0 if binary else z, w, [f"x{k}" for k in range(p)])


def sparse(
    n: int, p: int, *, binary: bool, seed: int
) -> tuple[list[dict[str, float]], SparseRows, NDArray[Any], NDArray[np.float64], list[str]]:
    """Rows with some features absent, the second half of which appear late, some of value 0.

    As dicts, and as compressed rows whose columns are named in the order of appearance.
    """
    rng = np.random.default_rng(seed)
    full = dense(n, p, binary=binary, seed=seed)
    present = rng.random((n, p)) < 0.4
    present[: n // 2, p // 2 :] = False
    X = np.where(rng.random((n, p)) < 0.1, 0.0, full.X)
    rows, order = [], {}
    for i in range(n):
        columns = rng.permutation(np.flatnonzero(present[i]))
        rows.append({f"x{k}": float(X[i, k]) for k in columns})
        for k in columns:
            order.setdefault(f"x{k}", len(order))
    names = list(order)
    indptr = np.cumsum([0, *map(len, rows)])
    indices = np.array([order[name] for row in rows for name in row], dtype=np.int64)
    data = np.array([v for row in rows for v in row.values()], dtype=np.float64)
    return rows, SparseRows(data, indices, indptr, len(names)), full.y, full.w, names


def without_addresses(value: object) -> str:
    """Name a test's parameter, alike in every process."""
    return re.sub(" at 0x[0-9a-f]+", "", str(value))


def learned(model: Any) -> list[bytes]:
    """All that a model has learned, to the bit."""
    n = len(model._features)
    arrays = (model._weights[:n], model._slots[:, :n], model._charged[:n], model._scalars)
    return [array.tobytes() for array in arrays] + [repr(list(model._features.names)).encode()]


def compressed(X: NDArray[Any]) -> SparseRows:
    """All that is not 0 of a matrix."""
    present = X != 0
    starts = np.cumsum([0, *present.sum(axis=1)])
    return SparseRows(X[present].astype(float), np.nonzero(present)[1], starts, X.shape[1])
