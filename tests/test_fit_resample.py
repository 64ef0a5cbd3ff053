"""Rows made for a table, beside imbalanced-learn's of the same seed: equal to the bit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import sparse

from streamgd._jit import strict
from streamgd.imblearn import fit_resample
from streamgd.kernels import smote

IMBLEARN = "the reference: pip install imbalanced-learn"
KINDS = ("regular", "borderline1", "borderline2", "adasyn", "replay")


def reference(kind: str, k: int = 5, m: int = 10, **options: Any) -> Any:
    """Return imbalanced-learn's sampler."""
    them = pytest.importorskip("imblearn.over_sampling", reason=IMBLEARN)
    if kind == "regular":
        return them.SMOTE(k_neighbors=k, **options)
    if kind == "adasyn":
        return them.ADASYN(n_neighbors=k, **options)
    if kind == "replay":
        return them.RandomOverSampler(**options)
    which = f"borderline-{kind[-1]}"
    return them.BorderlineSMOTE(k_neighbors=k, m_neighbors=m, kind=which, **options)


def table(seed: int, counts: Any, d: int) -> tuple[Any, Any]:
    """Overlapping Gaussian classes, shuffled: no two distances are equal."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    return rng.normal(size=(len(y), d)) * rng.uniform(0.5, 5.0, d) + y[:, None] * 0.3, y


# -- equal to imbalanced-learn -----------------------------------------------------------------


@settings(max_examples=60)
@given(
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**31),
    counts=st.lists(st.integers(9, 60), min_size=2, max_size=4),
    d=st.sampled_from([1, 2, 5, 16, 23]),
    k=st.integers(1, 8),
    m=st.integers(1, 12),
    going_on=st.booleans(),
)
def test_rows_made_equal_those_of_imbalanced_learn(kind, seed, counts, d, k, m, going_on):
    X, y = table(seed, counts, d)

    def state() -> Any:
        return np.random.RandomState(seed) if going_on else seed

    try:
        theirs, labels = reference(kind, k, m, random_state=state()).fit_resample(X, y)
    except (RuntimeError, ValueError):
        assume(kind == "adasyn")  # no neighbours of other classes, or too few rows asked for
        with pytest.raises(ValueError, match="adasyn"):
            fit_resample(X, y, kind, k_neighbors=k, m_neighbors=m, random_state=state())
        return
    ours, y_more = fit_resample(X, y, kind, k_neighbors=k, m_neighbors=m, random_state=state())
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(y_more, labels)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "strategy",
    [
        "auto",
        "minority",
        "not minority",
        "not majority",
        "all",
        {2: 30, 0: 120},
        lambda y: {1: int(len(y) / 2)},
    ],
)
def test_strategies_equal_those_of_imbalanced_learn(kind, strategy):
    X, y = table(0, [70, 25, 12], 4)
    theirs, labels = reference(kind, sampling_strategy=strategy, random_state=3).fit_resample(X, y)
    ours, y_more = fit_resample(X, y, kind, sampling_strategy=strategy, random_state=3)
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(y_more, labels)
    assert len(ours) > len(X)


@pytest.mark.parametrize("ratio", [0.35, 0.5, 1.0, 1])
def test_a_ratio_equals_that_of_imbalanced_learn(ratio):
    X, y = table(0, [70, 21], 4)
    theirs, labels = reference("regular", sampling_strategy=ratio, random_state=3).fit_resample(X, y)
    ours, y_more = fit_resample(X, y, sampling_strategy=ratio, random_state=3)
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(y_more, labels)


@pytest.mark.parametrize(
    "names", [["no", "yes"], [False, True], [7, -3], ["maybe a longer one", "b"]], ids=repr
)
def test_labels_of_any_kind(names):
    X, y = table(5, [40, 15], 3)
    y = np.array(names)[y]
    theirs, labels = reference("regular", random_state=1).fit_resample(X, y)
    for given_labels in (y, y.tolist(), pd.Series(y), y.astype(object)):
        ours, y_more = fit_resample(X, given_labels, random_state=1)
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(np.asarray(y_more), labels)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8])
def test_types_of_arrays_are_kept(dtype):
    X, y = table(6, [40, 15], 6)
    X = (X * 20.0 + 100.0).astype(dtype)
    theirs, _ = reference("regular", random_state=1).fit_resample(X.astype(np.float64), y)
    ours, _ = fit_resample(X, y, random_state=1)
    assert ours.dtype == dtype
    np.testing.assert_array_equal(ours[: len(X)], X)
    np.testing.assert_array_equal(ours, theirs.astype(dtype))  # computed in float64, rounded once


def mixed(seed: int, n: int = 150) -> tuple[Any, Any]:
    """Make a frame of three columns of numbers and two of categories, and labels of three classes."""
    X, y = table(seed, [n // 2, n // 3, n - n // 2 - n // 3], 3)
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(X, columns=["a", "c", "e"])
    frame.insert(1, "b", np.array(["x", "y", "z"])[(y + rng.integers(0, 2, n)) % 3])
    frame["d"] = pd.Categorical(np.array(["u", "v", "w", "t"])[rng.integers(0, 4, n)])
    return frame, pd.Series(np.array(["no", "perhaps", "yes"])[y], name="target")


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("going_on", [False, True])
def test_smote_nc_equals_that_of_imbalanced_learn_ties_included(seed, going_on):
    them = pytest.importorskip("imblearn.over_sampling", reason=IMBLEARN)
    X, y = mixed(seed)
    state = np.random.RandomState if going_on else int
    for k in (1, 2, 5):
        sampler = them.SMOTENC(["b", "d"], k_neighbors=k, random_state=state(seed))
        theirs, labels = sampler.fit_resample(X, y)
        ours, y_more = fit_resample(
            X, y, k_neighbors=k, categorical_features=["b", "d"], random_state=state(seed)
        )
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
        pd.testing.assert_series_equal(y_more, labels)


def test_smote_nc_where_numbers_say_nothing():
    them = pytest.importorskip("imblearn.over_sampling", reason=IMBLEARN)
    X, y = mixed(1)
    X[["a", "c"]] = 2.0  # the median deviation is 0, and categories are at no distance
    theirs, _ = them.SMOTENC(["b", "d"], random_state=0).fit_resample(X, y)
    ours, _ = fit_resample(X, y, categorical_features=["b", "d"], random_state=0)
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


# -- where imbalanced-learn is wrong -----------------------------------------------------------


def test_a_row_is_left_out_of_its_neighbours_by_its_place_and_not_its_duplicate():
    X, y = table(3, [60, 40, 14], 3)
    X[y == 2] = X[y == 1][:14]  # each row of the rare class has a duplicate in another
    alone, _ = fit_resample(X, y, "borderline1", m_neighbors=1, random_state=0, sampling_strategy={2: 30})
    assert len(alone) == len(X)  # the one neighbour of each is of another class: all are noise
    ours, _ = fit_resample(X, y, "borderline1", m_neighbors=6, random_state=0, sampling_strategy={2: 300})
    danger = []
    for row in np.flatnonzero(y == 2):
        rest = np.delete(np.arange(len(X)), row)
        nearest = rest[np.argsort([math.dist(X[i], X[row]) for i in rest], kind="stable")[:6]]
        if 3 <= (y[nearest] != 2).sum() < 6:
            danger.append(row)
    assert danger
    bases = np.array(danger)[np.random.RandomState(0).randint(0, 5 * len(danger), size=286) // 5]
    own = X[y == 2]
    assert all(along(row, base, own).any() for row, base in zip(ours[len(X) :], X[bases], strict=True))


def along(row: Any, base: Any, ends: Any) -> Any:
    """Tell on which of the ways from a row to others a point lies."""
    detour = np.linalg.norm(row - base) + np.linalg.norm(row - ends, axis=1)
    return np.abs(detour - np.linalg.norm(base - ends, axis=1)) < 1e-12 * np.abs(ends).max()


def test_small_deviations_do_not_make_all_categories_ties():
    X, y = mixed(2)
    X["a"], X["c"], X["e"] = X["a"] * 1e-10, X["c"] * 1e-10, X["e"] * 1e-10
    near, _ = fit_resample(X, y, k_neighbors=1, categorical_features=["b", "d"], random_state=0)
    X["a"], X["c"], X["e"] = X["a"] * 2.0**40, X["c"] * 2.0**40, X["e"] * 2.0**40
    far, _ = fit_resample(X, y, k_neighbors=1, categorical_features=["b", "d"], random_state=0)
    pd.testing.assert_frame_equal(near[["b", "d"]], far[["b", "d"]])


def test_distances_to_categories_are_not_rounded_where_numbers_are_integers():
    X, y = mixed(4)
    X[["a", "c", "e"]] = (X[["a", "c", "e"]] * 5.0).astype(np.int64)
    whole, _ = fit_resample(X, y, categorical_features=["b", "d"], random_state=0)
    floats = X.astype({"a": float, "c": float, "e": float})
    plain, _ = fit_resample(floats, y, categorical_features=["b", "d"], random_state=0)
    pd.testing.assert_frame_equal(whole, plain.astype(whole.dtypes))
    assert list(whole.dtypes) == list(X.dtypes)


# -- what rows are made -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["regular", "borderline1", "adasyn"])
def test_rows_made_lie_between_two_rows_of_their_class(kind):
    X, y = table(8, [80, 30, 20], 4)
    ours, labels = fit_resample(X, y, kind, random_state=0)
    np.testing.assert_array_equal(ours[: len(X)], X)
    assert (np.diff(labels[len(X) :]) >= 0).all()  # class by class
    for row, label in zip(ours[len(X) :], labels[len(X) :], strict=True):
        own = X[y == label]
        assert any(along(row, base, own).any() for base in own)


def test_at_most_half_the_way_to_rows_of_other_classes():
    X, y = table(9, [60, 20], 2)
    ours, labels = fit_resample(X, y, "borderline2", k_neighbors=60, random_state=0)
    own, other = X[y == 1], X[y == 0]
    ways = []
    for row in ours[len(X) :]:
        if any(along(row, base, own).any() for base in own):
            continue
        ways += [
            np.linalg.norm(row - base) / np.linalg.norm(end - base)
            for base in own
            for end in other[along(row, base, other)]
        ]
    assert labels[len(X) :].tolist() == [1] * 40
    assert len(ways) > 15
    assert max(ways) < 0.5
    assert max(ways) > 0.25


def test_the_point_between_is_a_share_of_the_way():
    made = np.empty(2)
    smote.between(np.array([1.0, 2.0]), np.array([3.0, -2.0]), 0.25, 1.0, made)
    assert made.tolist() == [1.5, 1.0]
    smote.between(np.array([1.0, 2.0]), np.array([3.0, -2.0]), 0.5, 0.25, made)
    assert made.tolist() == [1.25, 1.5]


def test_danger_is_half_of_the_neighbours_but_not_all():
    assert [others for others in range(6) if smote.in_danger(others, 5)] == [3, 4]
    assert [others for others in range(7) if smote.in_danger(others, 6)] == [3, 4, 5]
    assert smote.hardness(3, 4) == 0.75


@strict
def compiled_mode(rows, column, index, found, draw):
    return smote.mode(rows, column, index, found, draw)


@given(
    values=st.lists(st.integers(-2, 2), min_size=1, max_size=9),
    draws=st.lists(st.floats(0.0, 1.0, exclude_max=True), min_size=1, max_size=5),
)
def test_the_mode_is_one_of_the_commonest_values(values, draws):
    rows = np.array([[0.0, value] for value in values])
    index = np.arange(len(values))
    commonest = [v for v in dict.fromkeys(values) if values.count(v) == max(map(values.count, values))]
    for draw in draws:
        expected = commonest[int(draw * len(commonest))]  # in order of appearance
        assert smote.mode(rows, 1, index, len(values), draw) == expected
        assert compiled_mode(rows, 1, index, len(values), draw) == expected
    assert {compiled_mode(rows, 1, index, len(values), u) for u in np.arange(0.0, 1.0, 0.05)} == set(
        commonest
    )


@pytest.mark.parametrize("columns", [[2], [0, 2], [3, 0, 1], [0, 1, 2, 3]])
def test_the_median_deviation(columns):
    X, _ = table(2, [30, 20], 4)
    expected = np.median(X[:, columns].std(axis=0))
    assert smote.median_deviation_of(X, np.array(columns)) == pytest.approx(expected, rel=1e-14)
    room = np.empty(len(columns))
    half = smote.median_deviation(X, 25, np.array(columns), room)
    assert half == pytest.approx(np.median(X[:25, columns].std(axis=0)), rel=1e-14)


def test_borderline_without_a_border_adds_nothing():
    X = np.concatenate([np.zeros((30, 2)), np.full((12, 2), 50.0)]) + np.arange(42)[:, None] * 0.01
    y = np.repeat([0, 1], [30, 12])
    for kind in ("borderline1", "borderline2"):
        ours, labels = fit_resample(pd.DataFrame(X, index=range(1, 43)), y, kind)
        assert ours.index.tolist() == list(range(42))
        np.testing.assert_array_equal(ours.to_numpy(), X)
        assert labels.tolist() == y.tolist()


def test_without_a_seed_no_two_tables_are_equal():
    X, y = table(0, [40, 15], 3)
    assert (fit_resample(X, y)[0] != fit_resample(X, y)[0]).any()


# -- tables of any kind ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_frames_come_back_as_frames(kind):
    X, y = table(0, [50, 20], 3)
    X[:, 2] = np.round(X[:, 2] * 10.0)
    expected, labels = fit_resample(X, y, kind, random_state=0)
    expected[:, 2] = np.trunc(expected[:, 2])
    frame = pd.DataFrame(X, columns=["a", "b", "c"], index=np.arange(70) * 2).astype({"a": "f4", "c": "i8"})
    by_pandas, y_pandas = fit_resample(frame, pd.Series(y, index=frame.index), kind, random_state=0)
    assert by_pandas.dtypes.tolist() == frame.dtypes.tolist()
    assert by_pandas.index.tolist() == y_pandas.index.tolist() == list(range(len(expected)))
    np.testing.assert_array_equal(by_pandas["b"], expected[:, 1])
    np.testing.assert_array_equal(by_pandas["c"], expected[:, 2])
    np.testing.assert_allclose(by_pandas["a"], expected[:, 0], rtol=1e-6)
    nullable, _ = fit_resample(frame.astype({"c": "Int64", "b": "Float64"}), y, kind, random_state=0)
    assert [str(dtype) for dtype in nullable.dtypes] == ["float32", "Float64", "Int64"]
    assert nullable["c"].tolist() == by_pandas["c"].tolist()
    frame_polars = pl.from_pandas(frame)
    by_polars, y_polars = fit_resample(frame_polars, pl.Series("y", y), kind, random_state=0)
    assert by_polars.schema == frame_polars.schema
    pd.testing.assert_frame_equal(by_polars.to_pandas(), by_pandas)
    assert y_polars.to_list() == y_pandas.tolist() == labels.tolist()
    by_arrow, y_arrow = fit_resample(frame_polars.to_arrow(), pa.array(y), kind, random_state=0)
    assert by_arrow.schema == frame_polars.to_arrow().schema
    pd.testing.assert_frame_equal(by_arrow.to_pandas(), by_pandas)
    assert y_arrow.to_pylist() == labels.tolist()
    by_lists, y_lists = fit_resample(X.tolist(), y.tolist(), kind, random_state=0)
    np.testing.assert_array_equal(np.trunc(by_lists[:, 2]), expected[:, 2])
    np.testing.assert_array_equal(y_lists, labels)


def test_categories_of_any_table():
    X, y = mixed(3)
    expected, labels = fit_resample(X, y, categorical_features=["b", "d"], random_state=0)
    for chosen in (
        [1, 4],
        [-1, "b"],
        np.array([1, 4]),
        [False, True, False, False, True],
        np.arange(5) % 3 == 1,
    ):
        again, _ = fit_resample(X, y, categorical_features=chosen, random_state=0)
        pd.testing.assert_frame_equal(again, expected)
    X["b"] = X["b"].astype("category")
    auto, _ = fit_resample(X, y, categorical_features="auto", random_state=0)
    pd.testing.assert_frame_equal(auto.astype({"b": str}), expected.astype({"b": str}))
    frame = pl.from_pandas(X)
    by_polars, y_polars = fit_resample(frame, y.tolist(), categorical_features="auto", random_state=0)
    assert by_polars.schema == frame.schema
    for name in X:
        assert by_polars[name].to_list() == expected[name].tolist()
    np.testing.assert_array_equal(y_polars, labels)
    by_arrow, _ = fit_resample(
        pl.from_pandas(X.astype(object).astype({"a": float, "c": float, "e": float})).to_arrow(),
        y, categorical_features=["b", -1], random_state=0,
    )  # fmt: skip
    for name in X:
        assert by_arrow[name].to_pylist() == expected[name].tolist()
    objects = X.astype(object).to_numpy()
    by_objects, _ = fit_resample(objects, y, categorical_features=[1, 4], random_state=0)
    assert by_objects.tolist() == expected.astype(object).to_numpy().tolist()
    codes = X.assign(b=X["b"].cat.codes, d=X["d"].cat.codes).to_numpy(dtype=np.float64)
    by_codes, _ = fit_resample(codes, y, categorical_features=[1, 4], random_state=0)
    assert set(by_codes[:, 1]) == {0.0, 1.0, 2.0}
    np.testing.assert_array_equal(by_codes[:, [0, 2, 3]], expected[["a", "c", "e"]])


def test_a_missing_category_is_a_category():
    X, y = mixed(5)
    X["b"] = X["b"].where(X["b"] != "y", None)
    ours, _ = fit_resample(X, y, categorical_features=["b", "d"], random_state=0)
    assert ours["b"][len(X) :].isna().any()
    plain, _ = fit_resample(X.fillna({"b": "zz"}), y, categorical_features=["b", "d"], random_state=0)
    pd.testing.assert_frame_equal(ours.fillna({"b": "zz"}), plain)


def test_sparse_rows_can_be_copied_only():
    X, y = table(0, [40, 15], 3)
    ours, _ = fit_resample(sparse.csr_matrix(X), y, "replay", random_state=0)
    np.testing.assert_array_equal(ours.toarray(), fit_resample(X, y, "replay", random_state=0)[0])
    with pytest.raises(TypeError, match=r"X is sparse.*toarray"):
        fit_resample(sparse.csr_matrix(X), y)


# -- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["regular", "borderline1", "adasyn"])
def test_a_class_that_is_too_small_is_named(kind):
    X, y = table(0, [40, 5], 3)
    with pytest.raises(
        ValueError, match=r"class 1 has 5 rows, and k_neighbors=5 needs 6.*take k_neighbors=4"
    ):
        fit_resample(X, y, kind, random_state=0)
    with pytest.raises(ValueError, match="n_samples"):  # so does imbalanced-learn
        reference(kind, random_state=0).fit_resample(X, y)
    fit_resample(X, y, kind, k_neighbors=4, random_state=0)
    with pytest.raises(ValueError, match=r"class 1 has 1 rows, .*a row alone has none"):
        fit_resample(X[3:], [1] + [0] * 41, k_neighbors=1)


def test_a_table_that_is_too_small_is_named():
    X, y = table(0, [6, 4], 3)
    for kind in ("borderline1", "borderline2"):
        with pytest.raises(ValueError, match=r"there are 10 rows, and m_neighbors=10 needs 11"):
            fit_resample(X, y, kind)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "svm"}, "kind='svm'; it is one of regular"),
        ({"k_neighbors": 0}, "k_neighbors=0"),
        ({"m_neighbors": 2.5}, "m_neighbors=2.5"),
        ({"sampling_strategy": "majority"}, "sampling_strategy='majority'"),
        ({"sampling_strategy": 1.5}, "above 0, and 1 at most"),
        ({"sampling_strategy": 0.2}, "adds nothing: class 1 has 15 rows, 0.375 of"),
        ({"sampling_strategy": {1: 10}}, "asks for 10 rows of class 1, which has 15"),
        ({"sampling_strategy": {1: -10}}, "asks for -10 rows"),
        ({"sampling_strategy": {7: 10}}, r"the label 7; y has \[0, 1\]"),
        ({"categorical_features": []}, "none of X's 3 columns"),
        ({"categorical_features": [0, 1, 2]}, "all of X's 3 columns"),
        ({"categorical_features": [3]}, "has 3; X has 3 columns"),
        ({"categorical_features": ["a"]}, "has 'a'; X has 3 columns"),
        ({"categorical_features": [True]}, "has 1 bools"),
        ({"categorical_features": "auto"}, "X is an array"),
        ({"categorical_features": [0], "kind": "adasyn"}, "kind='adasyn' has no rule"),
    ],
)
def test_what_does_not_fit_is_refused(options, said):
    X, y = table(0, [40, 15], 3)
    with pytest.raises(ValueError, match=said):
        fit_resample(X, y, **options)


def test_values_and_labels_that_are_none_are_named():
    X, y = table(0, [40, 15], 3)
    with pytest.raises(TypeError, match="random_state"):
        fit_resample(X, y, random_state=np.random.default_rng(0))
    with pytest.raises(TypeError, match='"auto" or a list of columns'):
        fit_resample(X, y, categorical_features="b")
    with pytest.raises(ValueError, match="is for two classes; y has 3"):
        fit_resample(*table(0, [20, 20, 10], 2), sampling_strategy=0.5)
    with pytest.raises(ValueError, match="1 classes"):
        fit_resample(X, np.zeros(55))
    with pytest.raises(ValueError, match="which are no labels"):
        fit_resample(X, y + 0.5)
    with pytest.raises(ValueError, match="row 2 of y has no label"):
        fit_resample(X, ["a", "b", None] * 18 + ["a"])
    with pytest.raises(TypeError, match="cannot be sorted"):
        fit_resample(X, np.array(["a", 1] * 27 + [1], dtype=object))
    with pytest.raises(ValueError, match="y has 55 values, X has 54 rows"):
        fit_resample(X[1:], y)
    X[4, 1] = np.nan
    with pytest.raises(ValueError, match="row 4, column 1 is nan"):
        fit_resample(X, y)
    with pytest.raises(ValueError, match="row 4, column 'b' is nan"):
        fit_resample(pd.DataFrame(X, columns=["a", "b", "c"]), y)
    far = np.where(y == 1, 1e6, 0.0)[:, None] + np.nan_to_num(X)
    with pytest.raises(ValueError, match="no row of class 1 has another class among its k_neighbors=5"):
        fit_resample(far, y, "adasyn")
