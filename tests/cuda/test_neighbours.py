"""Neighbours and rows made on the device, beside brute force in float64 and beside the CPU's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgd.cuda import _neighbours, _smote
from streamgd.cuda._neighbours import Launch, Table, Tile, all_nearest
from streamgd.imblearn import ReservoirSMOTE, fit_resample
from streamgd.kernels import neighbours, picks, smote

# Blocks of 8 threads, two of them a query, so that a few rows are many tiles.
SMALL = Launch(Tile(8, 16, 4, 4), blocks=6, queries=24, threads=32)
SINGLE = 2.0**-24  # what rounding to float32 does to a number, at most


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill arrays that kernels write with what can be no result."""

    def device_array(shape: Any, dtype: Any) -> Any:
        what = np.nan if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max // 3
        return _neighbours.cuda.to_device(np.full(shape, what, dtype))

    monkeypatch.setattr(_neighbours.cuda, "device_array", device_array)


def brute_force(
    rows: Any, queries: Any, k: int, exclude: Any, nominal: Any, penalty: float
) -> tuple[Any, Any]:
    """Sort all rows by distance, then by number."""
    numeric = np.setdiff1d(np.arange(rows.shape[1]), nominal)
    index, distance = np.full((len(queries), k), -1), np.full((len(queries), k), np.inf)
    for q, query in enumerate(queries):
        away = ((rows[:, numeric] - query[numeric]) ** 2).sum(axis=1)
        away += penalty * (rows[:, nominal] != query[nominal]).sum(axis=1)
        order = np.lexsort((np.arange(len(rows)), away))
        order = order[order != exclude[q]][:k]
        index[q, : len(order)], distance[q, : len(order)] = order, away[order]
    return index, distance


def check(
    rows: Any, queries: Any, k: int, exclude: Any, nominal: Any = (), penalty: float = 0.0, **options: Any
):
    """Compare indices, and distances where they are exact."""
    nominal = np.array(nominal, dtype=np.int64)
    index, distance = all_nearest(
        rows, queries, k, exclude=exclude, nominal=nominal, penalty=penalty, **{"launch": SMALL} | options
    )
    expected = brute_force(rows, queries, k, exclude, nominal, penalty)
    np.testing.assert_array_equal(index, expected[0])
    np.testing.assert_array_equal(distance, expected[1])


# -- neighbours --------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(1, 70),
    p=st.sampled_from([1, 2, 3, 4, 5, 8, 9, 13, 16, 17, 23]),
    q=st.integers(1, 30),
    k=st.sampled_from([1, 2, 5, 6, 10, 11, 16, 17, 32]),
    levels=st.integers(1, 4),
    mixed=st.booleans(),
)
def test_neighbours_with_ties_and_duplicates_are_those_of_brute_force(seed, n, p, q, k, levels, mixed):
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, levels, size=(n, p)).astype(float)  # distances are exact
    queries = np.where(
        rng.random((q, 1)) < 0.7, rows[rng.integers(0, n, q)], rng.integers(-1, 3, size=(q, p))
    )
    nominal = np.flatnonzero(rng.random(p) < 0.4) if mixed else []
    queries[:, nominal] = np.abs(queries[:, nominal])
    check(rows, queries, k, rng.integers(-1, n, q), nominal, 2.0)


def test_a_row_of_which_all_others_are_duplicates():
    rows = np.full((50, 3), 7.25)
    check(rows, rows, 5, np.arange(50))
    index, _ = all_nearest(rows, rows[:1], 5, launch=SMALL)
    assert index.tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("k", [3, 4, 5, 10, 32])
def test_as_many_neighbours_as_rows_and_more(k):
    rows = np.random.default_rng(0).integers(-2, 3, size=(4, 5)).astype(float)
    check(rows, rows, k, np.arange(4))
    check(rows, rows, k, np.full(4, -1))


def test_no_rows_and_no_queries():
    rows = np.zeros((3, 2))
    index, distance = all_nearest(rows[:0], rows, 2)
    assert (index == -1).all()
    assert np.isinf(distance).all()
    assert all_nearest(rows, rows[:0], 2)[0].shape == (0, 2)


@pytest.mark.parametrize("p", [130, 1025])
def test_many_columns(p):
    rng = np.random.default_rng(p)
    rows = rng.integers(-1, 2, size=(20, p)).astype(float)
    check(rows, rows[:6], 3, np.arange(6))


@pytest.mark.parametrize(
    "launch",
    [
        SMALL._replace(blocks=1),
        SMALL._replace(blocks=50),
        SMALL._replace(queries=8),
        SMALL._replace(queries=10_000, threads=64),
        Launch(Tile(16, 16, 4, 4), threads=32),
        Launch(Tile(8, 32, 4, 8), blocks=3, threads=32),
    ],
    ids=repr,
)
def test_results_depend_on_no_split(launch):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(90, 6)).astype(np.float32)
    rows[rng.integers(0, 90, 40)] = rows[rng.integers(0, 90, 40)]
    rows[:, 2] = rng.integers(0, 3, 90)
    options: Any = {"exclude": np.arange(90), "nominal": [2], "penalty": 0.7}
    ours, theirs = (all_nearest(rows, rows, 7, **options, launch=each) for each in (SMALL, launch))
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[1], theirs[1])


def test_the_launch_of_real_tables():
    rng = np.random.default_rng(2)
    rows = rng.integers(0, 3, size=(150, 7)).astype(float)
    check(rows, rows[:70], 10, np.arange(70), launch=_neighbours.LAUNCH)


@pytest.mark.parametrize("scale", [2.0**k for k in (-1000, -40, 0, 40, 990)], ids=str)
@pytest.mark.parametrize("shift", [0.0, 3.0, 2e6], ids=str)
def test_distances_of_columns_of_any_size_and_far_from_0(scale, shift):
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(60, 9)) + shift * np.arange(9)
    expected, exact = neighbours.all_nearest(rows, rows, 5, exclude=np.arange(60))
    index, distance = all_nearest(rows * scale, rows * scale, 5, exclude=np.arange(60), launch=SMALL)
    np.testing.assert_array_equal(index, expected)
    if 2.0**-100 < scale < 2.0**100:
        np.testing.assert_allclose(distance, exact * scale**2, rtol=1e-5)


def test_scales_are_factors_of_columns():
    rng = np.random.default_rng(4)
    rows, scales = rng.normal(size=(40, 5)), np.array([1.0, 0.0, 2.0, 1e-3, 50.0])
    options: Any = {"scales": scales, "exclude": np.arange(40)}
    ours, theirs = (
        all_nearest(rows, rows, 6, launch=SMALL, **options),
        neighbours.all_nearest(rows, rows, 6, **options),
    )
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-4)
    mixed: Any = options | {"nominal": [1, 4], "penalty": 3.0}
    rows[:, [1, 4]] = rng.integers(0, 3, size=(40, 2))
    ours, theirs = (
        all_nearest(rows, rows, 6, launch=SMALL, **mixed),
        neighbours.all_nearest(rows, rows, 6, **mixed),
    )
    np.testing.assert_array_equal(ours[0], theirs[0])


def test_what_cannot_be_searched_is_refused():
    rows = np.zeros((4, 2))
    for k in (0, 33):
        with pytest.raises(ValueError, match=rf"k={k}; device='cuda' finds from 1 to 32"):
            all_nearest(rows, rows, k)
    with pytest.raises(ValueError, match="must have the same columns"):
        all_nearest(rows, np.zeros((1, 3)), 1)
    with pytest.raises(ValueError, match="one a column"):
        all_nearest(rows, rows, 1, scales=np.ones(3))
    with pytest.raises(ValueError, match="one a query"):
        all_nearest(rows, rows, 1, exclude=[0])
    with pytest.raises(ValueError, match="from 0 to 1"):
        all_nearest(rows, rows, 1, nominal=[2])
    with pytest.raises(ValueError, match="not finite"):
        all_nearest(rows, np.full((1, 2), np.inf), 1)
    for code, said in ((2.0**24 + 2.0, "16777218.0"), (-1.0, "-1.0")):
        with pytest.raises(ValueError, match=rf"the code {said}; .* they are from 0 to 16777216"):
            all_nearest(rows + code, rows, 1, nominal=[1])


# -- rows made ---------------------------------------------------------------------------------


def made(values: Any, n: int, foreign: Any = None, places: Any = None, **launch: Any) -> Any:
    rng = np.random.default_rng(5)
    bases, near = rng.permutation(len(values))[:9], rng.integers(0, len(values), size=(9, 4))
    foreign = np.empty((0, 4), dtype=np.bool_) if foreign is None else foreign
    places = np.empty(0, dtype=np.int64) if places is None else places
    ours = _smote.make_rows(Table(values), 2**63 + 7, 3, n, bases, near, foreign, places, **launch)
    at, which, gaps, shares = picks.pick(np.uint64(2**63 + 7), 3, n, near, foreign, places)
    return ours, (smote.make(values, bases[at], near[at, which], gaps, shares), at, which)


@pytest.mark.parametrize("p", [1, 5, 32, 70])
def test_rows_are_made_of_the_same_pairs_as_on_the_cpu(p):
    rng = np.random.default_rng(6)
    values = rng.normal(size=(30, p)) * rng.uniform(0.1, 3.0, p) + rng.integers(-1000, 1000, p)
    for foreign in (None, rng.random((9, 4)) < 0.5):
        for places in (None, rng.integers(0, 9, 41)):
            ours, cpu = made(values, 41, foreign, places, blocks=2, threads=64)
            np.testing.assert_array_equal(ours[1], cpu[1])
            np.testing.assert_array_equal(ours[2], cpu[2])
            reach = np.abs(values - Table(values).middle).max()
            assert np.abs(ours[0] - cpu[0]).max() < 4.0 * SINGLE * reach


@pytest.mark.parametrize("size", [-1040, -200, 200, 1020])
def test_rows_as_small_and_large_as_float64_has_them(size):
    whole = np.random.default_rng(10).integers(-7, 8, size=(30, 5)).astype(float)
    values = np.ldexp(whole, size)
    ours, cpu = made(values, 23, blocks=2, threads=64)
    assert np.abs(np.ldexp(ours[0], -size) - np.ldexp(cpu[0], -size)).max() < 4.0 * SINGLE * 7.0
    found, expected = (all_nearest(rows, rows, 3, launch=SMALL)[0] for rows in (values, whole))
    np.testing.assert_array_equal(found, expected)


def test_rows_made_depend_on_no_launch():
    values = np.random.default_rng(7).normal(size=(30, 6))
    first, _ = made(values, 23, blocks=1, threads=32)
    for launch in (
        {"blocks": 5, "threads": 64},
        {"blocks": 40, "threads": 32},
        {"portion": 100, "blocks": 1},
    ):
        again, _ = made(values, 23, **{"threads": 32} | launch)
        for one, other in zip(first, again, strict=True):
            np.testing.assert_array_equal(one, other)


# -- tables ------------------------------------------------------------------------------------


def table(seed: int = 0, counts: Any = (60, 25, 18), p: int = 5) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    return rng.normal(size=(len(y), p)) * rng.uniform(0.5, 5.0, p) + 0.4 * y[:, None], y


@pytest.mark.parametrize("kind", ["regular", "borderline1", "borderline2", "adasyn", "replay"])
@pytest.mark.parametrize("seed", range(3))
def test_a_table_gets_the_rows_that_it_gets_on_the_cpu(kind, seed):
    X, y = table(seed)
    options: Any = {"k_neighbors": 3 + seed, "m_neighbors": 6 + seed, "random_state": seed}
    ours, labels = fit_resample(X, y, kind, device="cuda", **options)
    theirs, y_more = fit_resample(X, y, kind, draws="counter", **options)
    np.testing.assert_array_equal(labels, y_more)
    np.testing.assert_array_equal(ours[: len(X)], X)
    assert len(ours) > len(X)
    assert np.abs(ours - theirs).max() < 4.0 * SINGLE * np.abs(X).max()
    reservoirs = ReservoirSMOTE(
        None, kind, sampling_strategy=1.0, k_neighbors=3 + seed, m_neighbors=6 + seed, seed=seed
    )
    np.testing.assert_array_equal(reservoirs.fit_resample(X, y, device="cuda")[0], ours)


def test_a_frame_with_categories_gets_the_rows_that_it_gets_on_the_cpu():
    X, y = table(4, p=3)
    rng = np.random.default_rng(4)
    frame = pd.DataFrame(X, columns=["a", "b", "c"]).astype({"b": np.float32})
    frame.insert(1, "x", np.array(["one", "two", "three"])[(y + rng.integers(0, 2, len(y))) % 3])
    frame["z"] = pd.Categorical(np.array(["u", "v", "w"])[rng.integers(0, 3, len(y))])
    frame["whole"] = rng.integers(-5, 6, len(y))
    options: Any = {"categorical_features": ["x", "z"], "random_state": 1}
    ours, labels = fit_resample(frame, y, device="cuda", **options)
    theirs, _ = fit_resample(frame, y, draws="counter", **options)
    assert ours.dtypes.tolist() == frame.dtypes.tolist()
    pd.testing.assert_frame_equal(ours[["x", "z", "whole"]], theirs[["x", "z", "whole"]])
    pd.testing.assert_frame_equal(ours, theirs, rtol=0.0, atol=4.0 * SINGLE * np.abs(X).max())
    assert len(ours) == len(labels) == 180


def test_what_a_table_cannot_have_on_a_device_is_named():
    X, y = table(5)
    with pytest.raises(ValueError, match=r"k_neighbors=33; device='cuda' finds from 1 to 32: take 'cpu'"):
        fit_resample(X, y, sampling_strategy={0: 70}, k_neighbors=33, device="cuda")
    with pytest.raises(ValueError, match=r"m_neighbors=40; device='cuda' finds"):
        fit_resample(X, y, "borderline1", m_neighbors=40, device="cuda")
    with pytest.raises(ValueError, match="draws='sequential' is for device='cpu'"):
        fit_resample(X, y, draws="sequential", device="cuda")
    with pytest.raises(ValueError, match="k_neighbors=5 needs 6"):
        fit_resample(X[:45], np.repeat([0, 1], [40, 5]), device="cuda")


# -- at full size, on a device -----------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize(("n", "q", "p"), [(100_000, 1_000, 64), (30_000, 30_000, 30), (3_000, 500, 8_192)])
def test_neighbours_at_full_size(n, q, p):
    rng = np.random.default_rng(8)
    rows = rng.normal(size=(n, p)).astype(np.float32)
    rows[rng.integers(0, n, n // 10)] = rows[rng.integers(0, n, n // 10)]
    nearest, exact = neighbours.all_nearest(rows, rows[:q], 32, exclude=np.arange(q))
    for k in (5, 10, 16, 32):
        index, distance = all_nearest(rows, rows[:q], k, exclude=np.arange(q))
        again = all_nearest(rows, rows[:q], k, exclude=np.arange(q))
        np.testing.assert_array_equal(index, again[0])
        np.testing.assert_array_equal(distance, again[1])
        np.testing.assert_allclose(distance, exact[:, :k], rtol=1e-4, atol=1e-9)
        assert (index != nearest[:, :k]).mean() < 1e-3  # distances that differ in float64 alone
        for j in range(k):  # what was found is as near as what is nearest
            away = ((rows[:q].astype(np.float64) - rows[index[:, j]]) ** 2).sum(axis=1)
            np.testing.assert_allclose(away, exact[:, j], rtol=1e-4, atol=1e-9)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["regular", "borderline1", "borderline2", "adasyn"])
def test_tables_at_full_size(kind):
    X, y = table(9, (40_000, 4_000), 30)
    X = np.rint(2.0 * X)  # distances are exact, and many are equal
    ours, labels = fit_resample(X, y, kind, random_state=0, device="cuda")
    again, _ = fit_resample(X, y, kind, random_state=0, device="cuda")
    np.testing.assert_array_equal(ours, again)
    theirs, y_more = fit_resample(X, y, kind, random_state=0, draws="counter")
    np.testing.assert_array_equal(labels, y_more)
    assert np.abs(ours - theirs).max() < 4.0 * SINGLE * np.abs(X).max()
