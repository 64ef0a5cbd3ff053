"""Rows made for the rare class of a table, and the neighbours they are made from: equal to the bit first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from compare import Case, Effort, Side, UnequalError, equal
from imblearn.over_sampling import ADASYN, SMOTE, SMOTENC, BorderlineSMOTE
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from streamgd._jit import strict
from streamgd.imblearn import fit_resample
from streamgd.kernels.neighbours import all_nearest, nearest

P, K = 30, 5
RARE = 0.05
SAMPLERS: dict[str, Callable[[], Any]] = {
    "regular": lambda: SMOTE(random_state=1),
    "borderline1": lambda: BorderlineSMOTE(random_state=1),
    "borderline2": lambda: BorderlineSMOTE(random_state=1, kind="borderline-2"),
    "adasyn": lambda: ADASYN(random_state=1),
}


def cases(effort: Effort) -> Iterator[Case]:
    n = 2_000 if effort.quick else 20_000
    for p in (10, P):
        for kind in SAMPLERS:
            yield made(kind, n, p)
    yield made_with_categories(n // 4)
    for size in (1_000, 10_000) if effort.quick else (1_000, 10_000, 100_000):
        yield near(size)
    yield near_one(500)


def table(n: int, p: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Make two overlapping classes, one of them rare."""
    rng = np.random.default_rng(p)
    y = (rng.random(n) < RARE).astype(np.int64)
    return rng.normal(size=(n, p)) + 0.5 * y[:, None], y


def same(ours: Any, theirs: Any, n: int) -> str:
    """Say that tables are equal to the bit, or raise."""
    if not all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True)):
        raise UnequalError("other rows, or other labels")
    return f"{len(ours[0]) - n:,} rows made, equal to the bit"


def made(kind: str, n: int, p: int) -> Case:
    X, y = table(n, p)

    def our_rows() -> Any:
        return fit_resample(X, y, kind, random_state=1)

    def their_rows() -> Any:
        return SAMPLERS[kind]().fit_resample(X, y)

    units = len(our_rows()[0]) - n
    return Case(
        f"fit_resample, {kind}, {n:,} x {p}, {RARE:.0%} rare",
        lambda: same(our_rows(), their_rows(), n),
        Side(our_rows, units),
        "imbalanced-learn",
        Side(their_rows, units),
        unit="row made",
        headline=kind == "regular" and p == P,
    )


def made_with_categories(n: int) -> Case:
    X, y = table(n, P)
    X[:, ::5] = np.random.default_rng(0).integers(0, 6, (n, P // 5))
    columns = list(range(0, P, 5))

    def our_rows() -> Any:
        return fit_resample(X, y, categorical_features=columns, random_state=1)

    def their_rows() -> Any:
        return SMOTENC(columns, random_state=1).fit_resample(X, y)

    units = len(our_rows()[0]) - n
    return Case(
        f"fit_resample, {len(columns)} of {P} columns of categories, {n:,} rows, {RARE:.0%} rare",
        lambda: same(our_rows(), their_rows(), n),
        Side(our_rows, units),
        "imbalanced-learn, SMOTENC",
        Side(their_rows, units),
        unit="row made",
    )


def near(n: int) -> Case:
    rng = np.random.default_rng(n)
    rows, queries = rng.normal(size=(n, P)), rng.normal(size=(max(100, 2_000_000 // n), P))
    search = NearestNeighbors(n_neighbors=K, algorithm="brute").fit(rows)

    def check() -> str:
        index, distance = all_nearest(rows, queries, K)
        theirs, places = search.kneighbors(queries)
        equal(index, places, "neighbours", 0.0)
        return f"neighbours equal, {equal(np.sqrt(distance), theirs, 'distances')}"

    units = n * len(queries)
    return Case(
        f"{K} nearest of {n:,} x {P}, {len(queries):,} queries",
        check,
        Side(lambda: all_nearest(rows, queries, K), units),
        "scikit-learn, brute force",
        Side(lambda: search.kneighbors(queries), units),
        unit="distance",
    )


@strict
def _one_by_one(rows, queries, scales, index, distance):
    for q in range(queries.shape[0]):
        nearest(rows, rows.shape[0], scales, queries[q], -1, index.shape[1], index[q], distance)


def near_one(n: int) -> Case:
    """One query after the other, from compiled code, as streams have them."""
    rng = np.random.default_rng(n)
    rows, queries = rng.normal(size=(n, P)), rng.normal(size=(500, P))
    scales, index, distance = np.ones(P), np.empty((500, K), dtype=np.int64), np.empty(K)

    def numpy_pass() -> list[Any]:
        found = []
        for query in queries:
            squares = ((rows - query) ** 2).sum(axis=1)
            few = np.argpartition(squares, K)[:K]
            found.append(few[np.argsort(squares[few])])
        return found

    def check() -> str:
        _one_by_one(rows, queries, scales, index, distance)
        return equal(index, numpy_pass(), "neighbours", 0.0)

    return Case(
        f"{K} nearest of {n:,} x {P}, query by query",
        check,
        Side(lambda: _one_by_one(rows, queries, scales, index, distance), len(queries)),
        "NumPy",
        Side(numpy_pass, len(queries)),
        unit="query",
        bytes_per_unit=8 * P * n,
    )
