"""Rows that are learned again and again: dicts of float objects, matrices, names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

N_DICTS = 60  # more rows measure the memory: with 1000 features a row is 56 kB of objects


def names(p: int) -> list[str]:
    return [f"f{k}" for k in range(p)]


def dict_rows(p: int, *, fresh_keys: bool = False) -> list[tuple[dict[str, float], bool]]:
    """Make rows with a label. Some stand twice with both labels, so that gradients do not vanish.

    With ``fresh_keys`` each row has key objects of its own, as rows that come from a file.
    """
    rng = np.random.default_rng(p)
    X = rng.normal(size=(N_DICTS // 2, p))
    labels = X @ rng.normal(size=p) > 0
    keys = names(p)
    rows = []
    for half in range(2):
        for i, values in enumerate(X.tolist()):
            label = bool(labels[i]) != bool(half and i % 3 == 0)
            fresh = [+value * 1.0 for value in values]  # float objects of their own
            rows.append((dict(zip(names(p) if fresh_keys else keys, fresh, strict=True)), label))
    return rows


def matrix(n: int, p: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Make rows ``(n, p)`` and noisy labels 0 and 1."""
    rng = np.random.default_rng(p)
    X = rng.normal(size=(n, p))
    z = X @ rng.normal(size=p) * (3.0 / p**0.5)
    return X, (z + rng.logistic(size=n) > 0).astype(np.int64)


def as_dicts(X: Any) -> list[dict[str, float]]:
    """Turn a matrix into a dict a row, with shared keys."""
    keys = names(X.shape[1])
    return [dict(zip(keys, values, strict=True)) for values in X.tolist()]


def stream(name: str) -> Path | None:
    """Return a real stream's file, in the folder that STREAMGD_DATA names or ../shared/data."""
    beside = Path(__file__).parents[1] / ".." / "shared" / "data"
    path = Path(os.environ.get("STREAMGD_DATA", beside)) / name
    return path.resolve() if path.exists() else None
