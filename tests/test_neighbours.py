"""Nearest neighbours against plain loops over exact fractions, and scikit-learn's brute force."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgd._jit import strict
from streamgd.kernels.neighbours import BLOCK, TILE, all_nearest, nearest, nearest_mixed

SKLEARN = "the reference: pip install scikit-learn"


def naive(rows: Any, query: Any, k: int, exclude: int = -1, scales: Any = None) -> list[tuple[Any, int]]:
    """Return squared distances and slots in plain Python, exact where the numbers are fractions."""
    scales = [1] * len(query) if scales is None else scales
    found = [
        (sum(((a - b) * s) ** 2 for a, b, s in zip(row, query, scales, strict=True)), i)
        for i, row in enumerate(rows)
        if i != exclude
    ]
    return sorted(found)[:k]


@strict
def compiled(rows, n, scales, query, exclude, k, index, distance):
    return nearest(rows, n, scales, query, exclude, k, index, distance)


def one(how: Any, rows: Any, query: Any, k: int, exclude: int = -1, scales: Any = None, n: Any = None) -> Any:
    """Return the distances and slots that a call writes, and that it left the rest of the arrays alone."""
    rows = np.asarray(rows, dtype=float)
    scales = np.ones(rows.shape[1]) if scales is None else np.asarray(scales, dtype=float)
    index, distance = np.full(k + 2, 77), np.full(k + 2, 77.0)
    query = np.asarray(query, dtype=float)
    found = how(rows, len(rows) if n is None else n, scales, query, exclude, k, index, distance)
    assert (index[k:] == 77).all()
    assert (distance[k:] == 77.0).all()
    assert (index[found:k] == -1).all()
    assert np.isinf(distance[found:k]).all()
    return list(zip(distance[:found].tolist(), index[:found].tolist(), strict=True))


# Small integers are exact in floats, and equal distances are common.
tables = st.integers(1, 9).flatmap(
    lambda d: st.lists(st.lists(st.integers(-3, 3), min_size=d, max_size=d), min_size=1, max_size=12)
)


@given(rows=tables, data=st.data(), k=st.integers(1, 15))
def test_the_nearest_with_ties_are_those_of_a_plain_loop(rows, data, k):
    slot = data.draw(st.integers(0, len(rows) - 1))
    exclude = data.draw(st.sampled_from([-1, slot]))
    factors = st.sampled_from([0.0, 0.5, 1.0, 2.0])
    scales = data.draw(st.lists(factors, min_size=len(rows[0]), max_size=len(rows[0])))
    expected = naive(rows, rows[slot], k, exclude, scales)
    assert one(compiled, rows, rows[slot], k, exclude, scales) == expected
    assert one(nearest, rows, rows[slot], k, exclude, scales) == expected  # without Numba
    index, distance = all_nearest(rows, [rows[slot]], k, exclude=[exclude], scales=scales)
    assert list(zip(distance[0], index[0], strict=True))[: len(expected)] == expected
    assert (index[0, len(expected) :] == -1).all()
    assert np.isinf(distance[0, len(expected) :]).all()


@pytest.mark.parametrize("d", [1, 3, 7, 8, 12, 30, BLOCK, BLOCK + 5, 3 * BLOCK + 1])
@pytest.mark.parametrize("n", [20, TILE + 3])
def test_against_scikit_learn(d, n):
    neighbors = pytest.importorskip("sklearn.neighbors", reason=SKLEARN)
    rng = np.random.default_rng(d)
    rows = rng.normal(size=(n, d)) * rng.uniform(0.1, 10.0, d)
    queries = np.concatenate([rows[::7], rng.normal(size=(4, d))])
    exclude = np.concatenate([np.arange(n)[::7], [-1] * 4])
    index, distance = all_nearest(rows, queries, 6, exclude=exclude)
    search = neighbors.NearestNeighbors(n_neighbors=7, algorithm="brute").fit(rows)
    theirs, places = search.kneighbors(queries)
    lost = 1e-15 * (rows**2).sum(axis=1).max()  # theirs is a difference of squared lengths
    for q, own in enumerate(exclude):
        shift = int(own >= 0)  # it comes first there
        assert index[q].tolist() == places[q, shift : shift + 6].tolist()
        np.testing.assert_allclose(distance[q], theirs[q, shift : shift + 6] ** 2, rtol=1e-12, atol=lost)
        scanned = one(compiled, rows, queries[q], 6, own)
        assert [i for _, i in scanned] == index[q].tolist()
        assert [x for x, _ in scanned] == distance[q].tolist()  # to the bit


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, TILE + 40),
    d=st.integers(1, 20),
    n_queries=st.integers(1, 5),
    spread=st.sampled_from([1e-161, 1e-150, 1e-8, 1.0, 1e60, 3e153]),
    offset=st.sampled_from([0.0, 1.0, 1e9]),
    clustered=st.booleans(),
)
def test_rows_passed_over_are_not_among_the_nearest(seed, n, d, n_queries, spread, offset, clustered):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, d)) * spread + offset * spread
    if clustered:  # many ties and near ties
        rows = rows[rng.integers(0, max(1, n // 4), n)] * (1.0 + rng.integers(0, 2, (n, d)) * 2.0**-50)
    queries = rows[rng.integers(0, n, n_queries)]
    index, distance = all_nearest(rows, queries, 3)
    for q in range(n_queries):
        found = one(compiled, rows, queries[q], 3)
        assert found == list(zip(distance[q].tolist(), index[q].tolist(), strict=True))[: len(found)]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # squares are a few of the smallest floats, and what rounding does to them is as large
        ([[-3e-162, -1e-162], [0.0, 0.0], [0.0, -2e-162], [-2e-162, -3e-162], [-2e-162, 9e-162]], 3),
        # the square of the nearest row overflows, and its distance does not
        ([[0.6e154], [-0.3e154], [1.4e154], [-1.7e154]], 2),
    ],
)
def test_rows_are_not_passed_over_at_the_ends_of_floats(rows, expected):
    assert one(compiled, rows, rows[0], 1, exclude=0)[0][1] == expected
    assert all_nearest(rows, rows[:1], 1, exclude=[0])[0].tolist() == [[expected]]


def test_far_from_the_origin_distances_do_not_cancel():
    neighbors = pytest.importorskip("sklearn.neighbors", reason=SKLEARN)
    rows = np.random.default_rng(0).normal(size=(60, 20)) + 1e8
    fractions = [[Fraction(value) for value in row] for row in rows.tolist()]
    exact = [[i for _, i in naive(fractions, fractions[own], 5, own)] for own in range(8)]
    index, _ = all_nearest(rows, rows[:8], 5, exclude=np.arange(8))
    assert index.tolist() == exact
    search = neighbors.NearestNeighbors(n_neighbors=6, algorithm="brute").fit(rows)
    assert search.kneighbors(rows[:8], return_distance=False)[:, 1:].tolist() != exact  # |a|^2 + |b|^2 - 2ab


def test_equal_points_come_in_the_order_of_slots():
    rows = np.ones((TILE + 10, 4))
    assert one(compiled, rows, rows[0], 4, exclude=1) == [(0.0, 0), (0.0, 2), (0.0, 3), (0.0, 4)]
    assert all_nearest(rows, rows[:1], 4, exclude=[1])[0].tolist() == [[0, 2, 3, 4]]


def test_only_the_first_rows_are_searched():
    rows = np.arange(10.0)[:, None]
    assert one(compiled, rows, [9.0], 2, n=4) == [(36.0, 3), (49.0, 2)]
    assert one(compiled, rows, [9.0], 2, n=0) == []
    assert all_nearest(rows[:0], rows[:1], 2)[0].tolist() == [[-1, -1]]


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e200])
def test_rows_too_far_or_without_a_place_are_nobodys_neighbours(value):
    rows = np.array([[0.0, 0.0], [value, 0.0], [3.0, 4.0], [1.0, 0.0]])
    assert one(compiled, rows, rows[0], 4, exclude=0) == [(1.0, 3), (25.0, 2)]
    index, distance = all_nearest(rows, rows[:2], 4, exclude=[0, 1])
    assert index.tolist() == [[3, 2, -1, -1], [-1] * 4]
    assert distance.tolist() == [[1.0, 25.0, math.inf, math.inf], [math.inf] * 4]


def test_another_category_adds_the_penalty():
    neighbors = pytest.importorskip("sklearn.neighbors", reason=SKLEARN)
    rng = np.random.default_rng(1)
    numbers, codes, penalty = rng.normal(size=(80, 3)), rng.integers(0, 4, 80), 0.7
    rows = np.column_stack([numbers[:, 0], codes, numbers[:, 1:]])
    index, distance = all_nearest(rows, rows, 5, exclude=np.arange(80), nominal=[1], penalty=penalty)
    one_hot = np.column_stack([numbers, np.eye(4)[codes] * math.sqrt(penalty / 2.0)])
    theirs, places = neighbors.NearestNeighbors(n_neighbors=6, algorithm="brute").fit(one_hot).kneighbors()
    assert index.tolist() == places[:, :5].tolist()
    np.testing.assert_allclose(distance, theirs[:, :5] ** 2, rtol=1e-12, atol=1e-14)
    scales = np.array([1.0, 0.0, 1.0, 1.0])
    found, near = np.empty(5, dtype=np.int64), np.empty(5)
    nearest_mixed(rows, 80, scales, np.array([1]), penalty, rows[7], 7, 5, found, near)
    assert found.tolist() == index[7].tolist()


def test_what_does_not_fit_is_refused():
    rows = np.zeros((3, 2))
    with pytest.raises(ValueError, match=r"rows \(3, 2\) and queries \(1, 3\) must have the same columns"):
        all_nearest(rows, np.zeros((1, 3)), 1)
    with pytest.raises(ValueError, match="k=0"):
        all_nearest(rows, rows, 0)
    with pytest.raises(ValueError, match=r"scales \(3,\) are one a column \(2\)"):
        all_nearest(rows, rows, 1, scales=np.ones(3))
    with pytest.raises(ValueError, match=r"exclude \(1,\) one a query"):
        all_nearest(rows, rows, 1, exclude=[0])
    with pytest.raises(ValueError, match=r"nominal=\[2\]: positions of columns are from 0 to 1"):
        all_nearest(rows, rows, 1, nominal=[2])
