"""Sources in memory, and what wraps sources, against plain lists of rows."""

from __future__ import annotations

import gc
import io
import itertools
import json
import os
import signal
import threading
import time
import traceback
from collections import Counter, OrderedDict
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from streamgd import linear_model, stream
from streamgd.stream import Arrays, Batch, InputError, Rebatched, Samples, Shuffled, SparseRows, read_ahead


def rows_of(batches):
    """Every row as ``(first, {name: value}, y, w)``, without `to_dicts`."""
    rows = []
    for b in batches:
        if isinstance(b.X, SparseRows):
            assert b.X.n_columns == len(b.columns)
            xs = [
                {b.columns[k]: v for k, v in zip(b.X.indices[lo:hi], b.X.data[lo:hi], strict=True)}
                for lo, hi in itertools.pairwise(b.X.indptr)
            ]
        else:
            assert b.X.shape[1] == len(b.columns)
            xs = [dict(zip(b.columns, x, strict=True)) for x in b.X]
        assert len(xs) == len(b) == b.position["row"] - b.first
        y = [None] * len(b) if b.y is None else b.y.tolist()
        w = [1.0] * len(b) if b.w is None else b.w.tolist()
        rows += [(b.first + k, *row) for k, row in enumerate(zip(xs, y, w, strict=True))]
    return rows


def continues_everywhere(source):
    """Check that a source goes on behind each batch with the same rows, from a position through JSON."""
    whole = list(source)
    rows = rows_of(whole)
    for batch in whole:
        position = json.loads(json.dumps(batch.position))
        assert rows_of(source.batches(position)) == rows[batch.position["row"] :]
    return whole


class Pieces(stream.Source):
    """A source of ready batches, whose positions are a count of them."""

    def __init__(self, pieces):
        self.pieces = pieces

    def batches(self, start=None):
        at = 0 if start is None else start["piece"]
        row = 0 if start is None else start["row"]
        for k, (X, y, w, columns) in enumerate(self.pieces[at:], at + 1):
            n = len(X.indptr) - 1 if isinstance(X, SparseRows) else len(X)
            yield Batch(X, y, columns, row, {"row": row + n, "piece": k}, w)
            row += n


@st.composite
def pieces(draw):
    """Batches of any size, dense and sparse, whose columns grow, with or without weights."""
    sizes = draw(st.lists(st.integers(0, 9), max_size=8))
    seed = draw(st.integers(0, 99))
    kind = draw(st.sampled_from(["float32", "float64", "grows", "mixed"]))
    rng = np.random.default_rng(seed)
    made, p = [], 3
    for n in sizes:
        if kind in ("grows", "mixed"):
            p += int(rng.integers(0, 3))
        X = rng.normal(size=(n, p)).astype("float32" if kind == "float32" else "float64")
        X[rng.random(X.shape) < 0.3] = 0.0
        if kind == "mixed" and rng.random() < 0.5:
            csr = sp.csr_array(X)
            X = SparseRows(csr.data, csr.indices.astype(np.int64), csr.indptr.astype(np.int64), p)
        y = (
            rng.normal(size=n)
            if seed % 3
            else np.array([f"c{v}" for v in rng.integers(0, 3, n)], dtype=object)
        )
        w = rng.random(n) if rng.random() < 0.5 else None
        made.append((X, y, w, tuple(f"x{k}" for k in range(p))))
    return Pieces(made)


# -- arrays ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_are_not_copied(dtype):
    X, y = np.arange(20, dtype=dtype).reshape(10, 2), np.arange(10.0)
    batches = continues_everywhere(Arrays(X, y, np.ones(10), batch_rows=4))
    assert [len(b) for b in batches] == [4, 4, 2]
    assert all(np.shares_memory(b.X, X) and np.shares_memory(b.y, y) and b.X.dtype == dtype for b in batches)
    assert batches[0].columns == range(2)
    csr = sp.csr_array(X.astype(np.float64))
    csr.indices, csr.indptr = csr.indices.astype(np.int64), csr.indptr.astype(np.int64)
    assert all(np.shares_memory(b.X.data, csr.data) for b in Arrays(csr))
    assert all(np.shares_memory(b.X.indices, csr.indices) for b in Arrays(csr))


DENSE = np.random.default_rng(0).integers(-2, 3, size=(23, 4))


@pytest.mark.parametrize(
    "X",
    [
        DENSE,
        DENSE.astype(np.float16),
        DENSE.astype(object),
        np.asfortranarray(DENSE.astype(np.float64)),
        np.repeat(DENSE, 2, axis=0)[::2].astype(np.float64),
        DENSE.tolist(),
        pytest.param(np.ma.masked_array(DENSE, mask=False), id="masked"),
    ],
    ids=lambda X: f"{type(X).__name__}-{getattr(X, 'dtype', '')}",
)
def test_arrays_of_any_kind_become_floats(X):
    batches = continues_everywhere(Arrays(X, range(23), batch_rows=5, columns=["a", "b", "c", "d"]))
    assert all(b.X.flags.c_contiguous and b.X.dtype == np.float64 for b in batches)
    np.testing.assert_array_equal(np.concatenate([b.X for b in batches]), DENSE)
    assert batches[0].columns == ("a", "b", "c", "d")


@pytest.mark.parametrize("form", ["csr_array", "csc_matrix", "coo_array", "twice", "int32", "SparseRows"])
def test_sparse_matrices(form):
    X = sp.csr_array(DENSE.astype(np.float64))
    if form == "twice":  # duplicates are added up
        X = sp.csr_array((np.repeat(X.data / 2, 2), np.repeat(X.indices, 2), X.indptr * 2), shape=X.shape)
    elif form == "int32":
        X = X.astype(np.int32)
    elif form == "SparseRows":
        X = SparseRows(X.data, X.indices, X.indptr, 4)
    else:
        X = getattr(sp, form)(X)
    batches = continues_everywhere(Arrays(X, DENSE[:, 0] > 0, batch_rows=6))
    want = [{k: float(v) for k, v in enumerate(row) if v} for row in DENSE.tolist()]
    assert [x for _, x, _, _ in rows_of(batches)] == want
    assert all(b.X.indices.dtype == b.X.indptr.dtype == np.int64 for b in batches)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array, lambda X: np.asfortranarray(X, dtype=object)])
def test_rows_in_another_order(form):
    order = np.random.default_rng(1).permutation(23)[:20]
    source = Arrays(form(DENSE), np.arange(23), np.arange(23) / 7, batch_rows=6).taken(order)
    assert source.n_rows == 20
    whole = continues_everywhere(source)
    assert [len(b) for b in whole] == [6, 6, 6, 2]
    want = rows_of(Arrays(form(DENSE), np.arange(23), np.arange(23) / 7))
    assert [row[1:] for row in rows_of(whole)] == [want[k][1:] for k in order]
    assert [row[2] for row in rows_of(source.taken([3, 3, 0]))] == order[[3, 3, 0]].tolist()


def test_a_whole_shuffle_holds_a_batch_at_a_time(tmp_path):
    X = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.float32, (5000, 4))
    X[:] = np.arange(20_000).reshape(5000, 4)
    for batch in Shuffled(Arrays(X, batch_rows=100), 5000, 1):
        assert batch.X.base is None or batch.X.base.nbytes == batch.X.nbytes
        assert len(batch) == 100
        assert batch.X.dtype == np.float32


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: Arrays(np.ones((3, 2)), [1, 2]), ValueError, "y has 2 values, X has 3 rows"),
        (lambda: Arrays(np.ones((3, 2)), [1, 2, 3], [1.0]), ValueError, "w has 1 values, X has 3 rows"),
        (lambda: Arrays(np.ones(3)), ValueError, "X has 1 dimension"),
        (lambda: Arrays(sp.coo_array(np.ones(3))), ValueError, "X has 1 dimension"),
        (lambda: Arrays(np.ones((3, 2)), columns=["a"]), ValueError, "columns has 1 names, X has 2 columns"),
        (lambda: Arrays(np.array([["a"]])), TypeError, "which are not numbers"),
        (lambda: Arrays(np.ones((3, 2)), w=[1, -1, 1]), ValueError, r"row 1: the sample weight w is .*-1\.0"),
        (lambda: Arrays(np.ones((3, 2)), w=[1, np.inf, 1]), ValueError, "row 1: the sample weight w is"),
        (lambda: Arrays(np.ones((3, 2)), w=["a"] * 3), ValueError, "w holds values that are not numbers"),
        (lambda: Arrays(np.ones((3, 2)), batch_rows=0), ValueError, "batch_rows=0"),
        (lambda: Arrays(np.ones((3, 2))).taken([0, 3]), ValueError, "order has row 3; there are rows 0 to 2"),
        (lambda: Arrays(np.ones((3, 2))).taken([0.5]), ValueError, "order must be whole numbers"),
        (
            lambda: Arrays(SparseRows(np.ones(2), np.array([0, 5]), np.array([0, 2]), 3)),
            ValueError,
            "must be in",
        ),
    ],
)
def test_arrays_say_what_is_wrong(make, error, match):
    with pytest.raises(error, match=match):
        make()


def test_a_value_that_is_no_number_is_named_with_its_row():
    X = np.full((10, 2), 1.0, dtype=object)
    X[7, 1] = "seven"
    with pytest.raises(TypeError, match=r"^row 7: feature in column 1 is 'seven'") as caught:
        list(Arrays(X, batch_rows=3))
    assert caught.value.row == 7


def test_weights_and_targets_as_they_come():
    X = np.ones((3, 1))
    (batch,) = Arrays(X, pd.Series(["a", "b", None]), 2)
    assert batch.y.tolist() == ["a", "b", None]
    assert batch.w.tolist() == [2.0, 2.0, 2.0]
    (batch,) = Arrays(X, np.ma.masked_array([1.0, 2.0, 3.0], mask=[0, 1, 0]))
    assert batch.y.tolist() == [1.0, None, 3.0]
    (batch,) = Arrays(X, [1, 2, 3])
    assert batch.y.dtype.kind == "i"
    assert batch.w is None
    assert next(iter(Arrays(X))).y is None


# -- samples -----------------------------------------------------------------------------------

ROWS = [({"a": float(k), "b": k % 3, "c": k % 2 == 0}, k % 2 == 1) for k in range(25)]


def test_rows_with_the_same_features_become_a_matrix():
    batches = continues_everywhere(Samples(ROWS, batch_rows=10))
    assert [len(b) for b in batches] == [10, 10, 5]
    assert all(b.X.dtype == np.float64 and b.columns == ("a", "b", "c") for b in batches)
    assert [row[1:] for row in rows_of(batches)] == [(x, y, 1.0) for x, y in ROWS]
    assert batches[0].y.dtype == bool


@given(
    rows=st.lists(
        st.dictionaries(
            st.one_of(st.sampled_from("abcdef"), st.integers(0, 3)),
            st.one_of(st.floats(-9, 9), st.integers(-3, 3), st.booleans()),
            max_size=5,
        ),
        max_size=30,
    ),
    size=st.integers(1, 12),
)
def test_rows_with_other_features_keep_all_of_them_in_their_order(rows, size):
    source = Samples([(x, k) for k, x in enumerate(rows)], batch_rows=size)
    whole = continues_everywhere(source)
    got = rows_of(whole)
    assert [x for _, x, _, _ in got] == rows
    assert [list(x) for _, x, _, _ in got] == [list(x) for x in rows]
    assert [x for b in whole for x in stream.to_dicts(b)] == rows
    assert [(x, y, w) for x, y, w in source.samples()] == [(x, k, 1.0) for k, x in enumerate(rows)]


def test_a_matrix_only_where_the_order_is_the_same():
    turned = [({"a": 1, "b": 2}, 0), ({"b": 2, "a": 1}, 1)]
    (batch,) = Samples(turned)
    assert isinstance(batch.X, SparseRows)
    dense, late, again = Samples([({"a": 1}, 0), ({"z": 1}, 1), ({"a": 3}, 1)], batch_rows=1)
    assert isinstance(dense.X, np.ndarray)
    assert isinstance(late.X, SparseRows)
    assert isinstance(again.X, SparseRows)  # a matrix would lack the column z
    assert again.columns == ("a", "z")


def test_weights_as_rivers_and_as_ours():
    x = {"a": 1.0}
    given = [(x, 0), (x, 1, 2.0), [x, 1, {"w": 3}], (x, 0, {})]
    assert [w for *_, w in Samples(given).samples()] == [1.0, 2.0, 3, 1.0]
    assert next(iter(Samples(given))).w.tolist() == [1.0, 2.0, 3.0, 1.0]
    assert next(iter(Samples(given[:1]))).w is None


def test_targets_of_any_kind():
    def y(*values):
        return next(iter(Samples([({"a": 1.0}, value) for value in values]))).y

    assert y(1.5, 2.0).dtype == np.float64
    assert y(1, 2).tolist() == [1, 2]
    assert y("a", 1).tolist() == ["a", 1]
    assert y(True, None).tolist() == [True, None]
    assert y(None, None) is None


def test_rivers_datasets():
    from river import datasets

    data = datasets.Phishing()
    source = stream.source(data, batch_rows=300)
    assert source.repeatable
    assert source.expected_rows({"row": 0}) == 1250
    batches = continues_everywhere(source)
    assert [row[1:3] for row in rows_of(batches)] == list(data)
    assert isinstance(batches[0].X, np.ndarray)


def test_an_iterator_is_continued_where_it_stands():
    source = Samples((row for row in ROWS), batch_rows=10)
    assert not source.repeatable
    batches = source.batches()
    first = next(batches)
    batches.close()
    assert rows_of(source.batches(first.position)) == rows_of(Samples(ROWS))[10:]
    for start, match in ((None, "behind row 0;"), (first.position, "behind row 10;")):
        with pytest.raises(InputError, match=f"stands behind row 25 and cannot be read from {match}"):
            next(source.batches(start))
    one_by_one = Samples(iter(ROWS))
    assert list(itertools.islice(one_by_one.samples(), 3)) == [(x, y, 1.0) for x, y in ROWS[:3]]
    assert list(one_by_one.samples({"row": 3})) == [(x, y, 1.0) for x, y in ROWS[3:]]


@given(reads=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 30)), max_size=12))
def test_an_iterator_goes_back_within_its_last_batch(reads):
    source, want = Samples(iter(ROWS)), rows_of(Samples(ROWS))
    read = begin = 0  # rows that the iterator gave, and where the last batch began
    for size, row in reads:
        source.batch_rows = size
        if not begin <= row <= read:
            with pytest.raises(
                InputError, match=f"stands behind row {read} and cannot be read from behind row"
            ):
                next(source.batches({"row": row}))
            continue
        batch = next(source.batches({"row": row}), None)
        assert ([] if batch is None else rows_of([batch])) == want[row : row + size]
        if row + size >= read:
            read, begin = min(row + size, 25), row


def test_an_iterator_that_fails_loses_no_rows():
    class Flaky:
        def __init__(self):
            self.rows, self.calls = iter(ROWS), 0

        def __iter__(self):
            return self

        def __next__(self):
            self.calls += 1
            if self.calls == 8:
                raise OSError("gone")
            return next(self.rows)

    source, batches = Samples(Flaky(), batch_rows=5), []
    with pytest.raises(OSError, match="gone"):
        batches.extend(source)  # what came before the error stays in the list
    assert [len(batch) for batch in batches] == [5, 2]
    for batch in batches[::-1]:
        assert rows_of(source.batches(batch.position)) == rows_of(Samples(ROWS))[batch.position["row"] :]
        source, batches = Samples(Flaky(), batch_rows=5), []
        with pytest.raises(OSError, match="gone"):
            batches.extend(source)


@pytest.mark.parametrize("form", [list, iter])
def test_rows_before_a_bad_one_are_handed_out(form):
    rows = [({"a": float(k)}, k) for k in range(20)]
    rows[12], rows[13], rows[14] = ({"a": "high"}, 12), ({"a": 1.0},), ({"a": 1.0}, 1, -1.0)
    source, batches = Samples(form(rows), batch_rows=8), []
    with pytest.raises(InputError, match="row 13: feature 'a' is 'high'") as caught:
        batches.extend(source)
    assert [len(batch) for batch in batches] == [8, 4]
    assert [y for _, _, y, _ in rows_of(batches)] == list(range(12))
    assert caught.value.row == 12
    with pytest.raises(InputError, match="row 13: feature 'a' is 'high'"):
        next(source.batches(batches[-1].position))


def test_names_of_later_batches_are_told_apart_without_comparing(tmp_path):
    """A batch has a few new names, and there may be a million before it."""
    rows = [({f"n{k}": 1.0}, k % 2) for k in range(40)]
    (tmp_path / "a.csv").write_text("c,y\n" + "".join(f"n{k},{k % 2}\n" for k in range(40)))
    (tmp_path / "a.svm").write_text("".join(f"{k % 2} {k}:1\n" for k in range(40)))
    (tmp_path / "a.vw").write_text("".join(f"{k % 2} |n n{k}\n" for k in range(40)))
    for source in (
        Samples(rows, batch_rows=10),
        stream.CSV(tmp_path / "a.csv", "y", 10),
        stream.CSV(tmp_path / "a.csv", "y", 10, n_features=1000),
        stream.SVMLight(tmp_path / "a.svm", 10),
        stream.VW(tmp_path / "a.vw", 10),
    ):
        batches = list(source)
        for batch, after in itertools.pairwise(batches):
            assert len(batch.columns) < len(after.columns)
            assert batch.columns.begins(after.columns)
            assert tuple(batch.columns) == tuple(after.columns)[: len(batch.columns)]
        assert [len(x) for batch in batches for x in stream.to_dicts(batch)] == [1] * 40


def test_endless_streams():
    source = Samples((({"a": k}, k) for k in itertools.count()), batch_rows=4)
    assert [b.y.tolist() for b in itertools.islice(source, 2)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert source.n_rows is None


def test_mappings_that_are_no_dicts():
    rows = [(MappingProxyType({"a": 1.0}), 0), (OrderedDict(a=2.0), 1), (Counter("ab"), 1)]
    assert [x for _, x, _, _ in rows_of(Samples(rows))] == [{"a": 1.0}, {"a": 2.0}, {"a": 1.0, "b": 1.0}]


@pytest.mark.parametrize(
    ("item", "match"),
    [
        (
            ({"site": "google"}, 1),
            "row 3: feature 'site' is 'google', a string.*FeatureEncoder makes a category",
        ),
        (({"when": [1]}, 1), r"row 3: feature 'when' is \[1\] \(list\), which is not a number"),
        (({"z": 1j}, 1), "row 3: feature 'z' is 1j"),
        (([1.0, 2.0], 1), r"row 3: x is \[1\.0, 2\.0\] \(list\); the features of a row are a dict"),
        ({"a": 1.0, "b": 2.0}, r"row 3 is \{.*\(dict\); a row is \(x, y\) or \(x, y, w\)"),
        (7, r"row 3 is 7 \(int\); a row is"),
        ("a.csv", r"row 3 is 'a\.csv' \(str\); .*of several files give the folder or a pattern"),
        (({"a": 1.0},), r"row 3 is \(\{'a': 1\.0\},\) \(tuple\); a row is"),
        (({"a": 1.0}, 1, -1.0), "row 3: the sample weight w is -1"),
        (({"a": 1.0}, 1, {"w": "x"}), "row 3: the sample weight w is 'x'"),
        (({"a": 1.0}, 1, {"t": 3}), "row 3 has 't' beside x and y"),
    ],
)
def test_samples_say_what_is_wrong(item, match):
    rows = [({"a": 1.0}, 0), ({"a": 2.0}, 1), item]
    with pytest.raises(InputError, match=match):
        list(Samples(rows))
    with pytest.raises(InputError, match=match):
        list(Samples(rows, batch_rows=2))


@pytest.mark.parametrize("item", [7, ({"a": 1.0},), ({"a": 1.0}, 1, {"t": 3}), ({"a": 1.0}, 1, 1.0, 1.0)])
def test_rows_one_by_one_say_what_is_wrong(item):
    with pytest.raises(InputError, match="row 2 "):
        list(Samples([({"a": 1.0}, 0), item]).samples())


def test_none_is_left_to_the_learner():
    source = Samples([({"a": 1.0, "b": 2}, 1), ({"a": None, "b": 1}, 0)])
    (batch,) = source
    np.testing.assert_array_equal(batch.X, [[1.0, 2.0], [np.nan, 1.0]])
    with pytest.raises(ValueError, match="row 1: feature 'a' is nan"):
        linear_model.LogisticRegression().learn_rows(batch.X, batch.y, columns=batch.columns)


def test_batches_teach_what_samples_teach():
    rng = np.random.default_rng(3)
    rows = [
        ({f"x{k}": float(v) for k, v in enumerate(rng.normal(size=6)) if rng.random() < 0.7}, bool(y), w)
        for y, w in zip(rng.random(300) < 0.5, rng.choice([0.5, 1.0, 2.0], 300), strict=True)
    ]
    one, many = linear_model.LogisticRegression(), linear_model.LogisticRegression()
    for x, y, w in Samples(rows).samples():
        one.learn_one(x, y, w)
    for b in Samples(rows, batch_rows=64):
        many.learn_rows(b.X, b.y, b.w, columns=b.columns)
    assert one.weights == many.weights
    assert one.intercept == many.intercept


# -- constant sizes ----------------------------------------------------------------------------


@given(source=pieces(), rows=st.integers(1, 20))
def test_rebatched_has_the_same_rows_in_constant_sizes(source, rows):
    want = rows_of(source)
    whole = continues_everywhere(Rebatched(source, rows))
    assert rows_of(whole) == want
    assert all(len(b) == rows for b in whole[:-1])
    assert not whole or 0 < len(whole[-1]) <= rows
    if {X.dtype for X, *_ in source.pieces if isinstance(X, np.ndarray)} == {np.dtype(np.float32)}:
        assert all(b.X.dtype == np.float32 for b in whole)
    for earlier, later in itertools.pairwise(whole):
        assert later.columns[: len(earlier.columns)] == earlier.columns


def test_rebatched_continues_where_the_source_cuts_otherwise():
    X = np.arange(60.0).reshape(30, 2)
    whole = list(Rebatched(Arrays(X, batch_rows=11), 4))
    for batch in whole:
        for inner in (1, 3, 7, 30):
            rest = rows_of(Rebatched(Arrays(X, batch_rows=inner), 4).batches(batch.position))
            assert rest == rows_of(Arrays(X))[batch.position["row"] :]


def test_rebatched_copies_only_what_it_must():
    X = np.arange(60.0).reshape(30, 2)
    for inner in (4, 12, 30):
        assert all(np.shares_memory(b.X, X) for b in Rebatched(Arrays(X, batch_rows=inner), 4))
    sparse = Arrays(sp.csr_array(X), batch_rows=30)
    data = next(iter(sparse)).X.data
    assert all(np.shares_memory(b.X.data, data) for b in Rebatched(sparse, 7))


def test_targets_of_several_types_stay_what_they_are():
    x = np.ones((1, 1))
    parts = [(x, np.array([1]), None, ("a",)), (x, np.array(["1"]), None, ("a",)), (x, None, None, ("a",))]
    (batch,) = Rebatched(Pieces(parts), 3)
    assert batch.y.tolist() == [1, "1", None]


def test_wrappers_look_like_what_they_wrap():
    source = Samples((row for row in ROWS), batch_rows=3)
    source.target, source.kinds, source.reads = "y", {"a": "number"}, True
    for wrapper in (Rebatched(source, 5), Shuffled(source, 5, 1)):
        assert (wrapper.target, wrapper.kinds, wrapper.reads, wrapper.repeatable) == (
            "y",
            source.kinds,
            True,
            False,
        )
    assert Rebatched(Arrays(np.ones((9, 1))), 2).expected_rows({"row": 0}) == 9
    assert Shuffled(Arrays(np.ones((9, 1))), 2, 1).expected_rows({"row": 0}) == 9
    with pytest.raises(ValueError, match="rows=0"):
        Rebatched(source, 0)


# -- shuffling ---------------------------------------------------------------------------------


@given(source=pieces(), rows=st.integers(1, 20), seed=st.integers(0, 2**64 - 1), k=st.integers(0, 5))
def test_shuffled_has_each_block_in_another_order(source, rows, seed, k):
    def plain(rows):
        return [(sorted((name, v) for name, v in x.items()), y, w) for _, x, y, w in rows]

    want = plain(rows_of(source))
    shuffled = Shuffled(source, rows, seed)
    shuffled.set_pass(k)
    got = plain(rows_of(continues_everywhere(shuffled)))
    assert len(got) == len(want)
    for lo in range(0, len(want), rows):
        block = got[lo : lo + rows]
        left = want[lo : lo + rows]
        for row in block:
            left.remove(row)
        assert not left


def orders(n, rows, seed, passes, batch_rows=8192):
    source = Shuffled(Arrays(np.arange(float(n))[:, None], batch_rows=batch_rows), rows, seed)
    for k in passes:
        source.set_pass(k)
        yield np.concatenate([b.X[:, 0] for b in source]).astype(int)


def test_orders_depend_on_seed_pass_and_block_alone():
    one, two = orders(40, 20, 1, [0, 1])
    assert not np.array_equal(one, two)
    assert not np.array_equal(one[:20], one[20:] - 20)
    assert not np.array_equal(one, next(orders(40, 20, 2, [0])))
    for inner in (1, 7, 64):
        assert np.array_equal(next(orders(40, 20, 1, [1], inner)), two)
    # written down: an order must not change from one version to the next
    assert one[:20].tolist() == [3, 5, 2, 9, 7, 10, 14, 0, 16, 15, 8, 13, 17, 12, 6, 18, 11, 1, 4, 19]


def test_a_position_has_its_pass():
    source = Shuffled(Arrays(np.arange(30.0)[:, None], batch_rows=4), 12, 5)
    source.set_pass(3)
    whole = list(source)
    source.set_pass(9)
    assert rows_of(source.batches(whole[1].position)) == rows_of(whole)[8:]


@pytest.mark.parametrize(("n", "rows"), [(4, 4), (10, 6), (3, 8)])
def test_orders_are_equally_likely(n, rows):
    last = n % rows or rows  # of the last block, which is short but for the first case
    counts = Counter(tuple(order[n - last :] - (n - last)) for order in orders(n, rows, 7, range(12_000)))
    seen = [counts[order] for order in itertools.permutations(range(last))]
    assert scipy.stats.chisquare(seen).pvalue > 0.01


def test_a_seed_is_a_whole_number_from_0():
    for seed in (-1, 2**64):
        with pytest.raises(ValueError, match=f"seed={seed}"):
            Shuffled(Arrays(np.ones((9, 1))), 1, seed)


# -- reading ahead -----------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def within(seconds, f):
    """Run ``f`` in a thread that may take so long, and return what it does."""
    result = []
    thread = threading.Thread(target=lambda: result.append(f()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert result, "it hangs, or failed"
    return result[0]


@pytest.mark.parametrize("depth", [1, 2, 7])
@pytest.mark.parametrize("n", [0, 1, 2, 100])
def test_read_ahead_yields_the_same(n, depth):
    assert within(10, lambda: list(read_ahead(range(n), depth))) == list(range(n))


def test_read_ahead_is_as_deep_as_it_says():
    made = []

    def source():
        for k in range(100):
            made.append(k)
            yield k

    items = read_ahead(source(), 3)
    assert not made  # nothing runs before the first item is asked for
    assert next(items) == 0
    deadline = time.monotonic() + 5
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    assert len(made) == 4  # one is out, three wait
    items.close()


def test_an_error_comes_in_its_place_with_its_traceback():
    def source():
        yield 1
        yield 2
        raise LookupError("here")

    items = read_ahead(source())
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(LookupError, match="here") as caught:
        next(items)
    assert "source" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]


def test_an_error_before_the_first_item():
    class Broken:
        def __iter__(self):
            raise ValueError("not open")

    with pytest.raises(ValueError, match="not open"):
        next(read_ahead(Broken()))
    with pytest.raises(ValueError, match="depth=0"):
        read_ahead([], 0)


@pytest.mark.parametrize("how", ["close", "error", "interrupt", "forgotten"])
def test_stopping_early_ends_the_thread_and_closes_the_source(how):
    closed = []

    def source():
        try:
            yield from itertools.count()
        finally:
            closed.append(threading.current_thread().name)

    def consume():
        items = read_ahead(source())
        if how == "forgotten":
            next(items)
            del items
            gc.collect()
            return
        try:
            for item in items:
                if item == 5:
                    if how == "close":
                        items.close()
                    elif how == "error":
                        raise LookupError
                    else:
                        raise KeyboardInterrupt
        except (LookupError, KeyboardInterrupt):
            items.close()

    within(10, lambda: consume() or True)
    assert closed == ["streamgd read ahead"]


def test_ctrl_c_while_waiting_does_not_hang():
    release = threading.Event()

    def slow():
        yield 1
        release.wait(20)
        yield 2

    items = read_ahead(slow())
    assert next(items) == 1
    timer = threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT])
    timer.start()
    begin = time.monotonic()

    def let_go(number, frame):
        release.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, let_go)
    try:
        with pytest.raises(KeyboardInterrupt):
            next(items)
    finally:
        signal.signal(signal.SIGINT, before)
    timer.join()
    assert time.monotonic() - begin < 10
    assert list(items) == []  # ended


def test_a_reader_that_is_stuck_is_left_behind(monkeypatch):
    from streamgd.stream import _ahead

    monkeypatch.setattr(_ahead, "_PATIENCE", 0.05)
    release = threading.Event()

    def stuck():
        yield 1
        release.wait(20)

    items = read_ahead(stuck())
    next(items)
    within(5, lambda: items.close() or True)
    (thread,) = [t for t in threading.enumerate() if t.name == "streamgd read ahead"]
    assert thread.daemon
    release.set()
    thread.join(5)


def test_read_ahead_within_read_ahead():
    nested = read_ahead(b * 2 for b in read_ahead(iter(range(50)), 1))
    assert within(10, lambda: list(nested)) == list(range(0, 100, 2))
    nested = read_ahead(b for b in read_ahead(itertools.count()))
    assert within(10, lambda: [next(nested), nested.close()]) == [0, None]


@given(source=pieces(), rows=st.integers(1, 9))
def test_wrappers_on_wrappers(source, rows):
    stack = Rebatched(Shuffled(Rebatched(source, 5), 10, 3), rows)
    whole = continues_everywhere(stack)
    assert rows_of(read_ahead(stack)) == rows_of(whole)
    assert all(len(b) == rows for b in whole[:-1])


# -- whatever the user has ---------------------------------------------------------------------


def test_source_takes_arrays():
    X, y = DENSE.astype(np.float64), DENSE[:, 0] > 0
    for what in ((X, y), ((X, y),), (X.tolist(), y.tolist()), (sp.csr_array(X), y)):
        source = stream.source(*what, batch_rows=7)
        assert isinstance(source, Arrays)
        assert source.batch_rows == 7
        assert np.concatenate([b.y for b in source]).tolist() == y.tolist()
    assert stream.source((X, y, np.ones(23))).n_rows == 23
    (batch,) = stream.source(X, y, 2.0, columns="abcd")
    assert batch.columns == ("a", "b", "c", "d")
    assert batch.w.tolist() == [2.0] * 23
    assert stream.source(SparseRows(np.ones(1), np.zeros(1, int), np.array([0, 1]), 1)).n_rows == 1


def test_source_takes_tensors_and_wrapped_frames():
    import narwhals as nw

    class Tensor:
        def __init__(self, values):
            self.values, self.shape = values, values.shape

        def __array__(self, dtype=None, copy=None):
            return self.values

    X, y = DENSE.astype(np.float32), DENSE[:, 0] > 0
    (batch,) = stream.source(Tensor(X), Tensor(y), Tensor(X[:, 0] ** 2))
    assert np.shares_memory(batch.X, X)
    assert np.shares_memory(batch.y, y)
    assert batch.w.tolist() == (X[:, 0] ** 2).tolist()
    assert rows_of(stream.source(nw.from_native(TABLE), target="y")) == rows_of(
        stream.source(TABLE, target="y")
    )


def test_source_takes_sources_and_samples():
    source = Arrays(np.ones((5, 1)))
    assert stream.source(source) is source
    assert [len(b) for b in stream.source(source, batch_rows=2)] == [2, 2, 1]
    assert isinstance(stream.source(ROWS), Samples)
    assert isinstance(stream.source(iter(ROWS), batch_rows=3), Samples)


def test_source_takes_files(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,0\n2,1\n")
    for path in (tmp_path / "a.csv", str(tmp_path / "a.csv")):
        (batch,) = stream.source(path, target="y")
        assert batch.y.tolist() == [0.0, 1.0]
    assert len(next(iter(stream.source(tmp_path / "a.csv", target="y", batch_rows=1)))) == 1


TABLE = pd.DataFrame({"a": [1.0, 2.0, 3.0], "c": ["u", "v", "u"], "y": [False, True, True]})
TABLE_ROWS = [({"a": 1.0, "c=u": 1.0}, False), ({"a": 2.0, "c=v": 1.0}, True), ({"a": 3.0, "c=u": 1.0}, True)]


@pytest.mark.parametrize(
    "kind", ["pandas", "polars", "arrow", "batch", "reader", "list", "parquet", "feather"]
)
def test_source_takes_tables(kind, tmp_path):
    pa = pytest.importorskip("pyarrow")
    import polars as pl
    import pyarrow.feather
    import pyarrow.parquet

    table = pa.Table.from_pandas(TABLE, preserve_index=False)
    if kind == "parquet":
        pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    elif kind == "feather":
        pyarrow.feather.write_feather(table, tmp_path / "a.feather")
    data = {
        "pandas": lambda: TABLE,
        "polars": lambda: pl.from_pandas(TABLE),
        "arrow": lambda: table,
        "batch": lambda: table.to_batches()[0],
        "reader": lambda: table.to_reader(),
        "list": lambda: table.to_batches(),
    }.get(kind, lambda: tmp_path / f"a.{kind}")
    for rows in (None, 2):
        source = stream.source(data(), target="y", batch_rows=rows)
        assert [row[1:3] for row in rows_of(source)] == TABLE_ROWS
    assert [row[1] for row in rows_of(stream.source(data(), columns=["a"]))] == [
        {"a": v} for v in (1.0, 2.0, 3.0)
    ]
    with pytest.raises(TypeError, match="has no option 'mising'; did you mean 'missing'"):
        stream.source(data(), mising="zero")


def test_source_takes_frames_with_targets_beside_them():
    X, y = TABLE[["a", "c"]], TABLE["y"]
    for what in ((X, y, [1.0, 2.0, 3.0]), ((X, y, [1.0, 2.0, 3.0]),)):
        rows = rows_of(stream.source(*what, batch_rows=2))
        assert [row[1:3] for row in rows] == TABLE_ROWS
        assert [row[3] for row in rows] == [1.0, 2.0, 3.0]


def test_folders_and_patterns_are_read_as_one(tmp_path):
    pytest.importorskip("pyarrow")
    for k in range(3):
        TABLE.assign(a=float(k)).to_parquet(tmp_path / f"{k}.parquet")
    (tmp_path / "_SUCCESS").write_text("")
    (tmp_path / "README.md").write_text("what this is")
    for path in (tmp_path, tmp_path / "*.parquet", str(tmp_path / "?.parquet")):
        rows = rows_of(stream.open_file(path, target="y", batch_rows=4))
        assert [x["a"] for _, x, _, _ in rows] == [0.0] * 3 + [1.0] * 3 + [2.0] * 3


def test_folders_and_patterns_of_csv_files_are_read_as_one(tmp_path):
    for k in range(3):
        TABLE.assign(a=float(k)).to_csv(tmp_path / f"{k}.csv.gz", index=False)
    for path in (tmp_path, tmp_path / "*.gz", str(tmp_path / "?.csv.gz")):
        whole = continues_everywhere(stream.source(path, target="y", batch_rows=2))
        assert [x["a"] for _, x, _, _ in rows_of(whole)] == [0.0] * 3 + [1.0] * 3 + [2.0] * 3


def test_folders_and_patterns_of_files_whose_names_tell_no_format(tmp_path):
    for k in range(3):
        TABLE.assign(a=float(k)).to_csv(tmp_path / f"{k}.log", index=False)
    for path in (tmp_path, tmp_path / "*.log", str(tmp_path / "?.log")):
        rows = rows_of(stream.open_file(path, target="y", format="csv"))
        assert [x["a"] for _, x, _, _ in rows] == [0.0] * 3 + [1.0] * 3 + [2.0] * 3
    with pytest.raises(FileNotFoundError, match=r"no file .*3\.log'; did you mean"):
        stream.open_file(tmp_path / "3.log", format="csv")
    with pytest.raises(InputError, match="is a folder of SVMLight files, which are read one by one"):
        stream.open_file(tmp_path, format="svm")


def test_pipes_and_file_objects(tmp_path, monkeypatch):
    text = b"x,y\n1,0\n2,1\n"
    want = [({"x": 1.0}, 0.0), ({"x": 2.0}, 1.0)]

    def read(path, **options):
        return [row[1:3] for row in rows_of(stream.source(path, target="y", **options))]

    assert read(io.BytesIO(text)) == want
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert read("-") == want
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(text))
    writer.start()
    assert read(tmp_path / "pipe") == want
    writer.join()
    (tmp_path / "rows.log").write_bytes(text)
    assert read(tmp_path / "rows.log", format="csv") == want
    assert rows_of(stream.source(io.BytesIO(b"1 3:2\n"), format="svm"))[0][1:3] == ({"3": 2.0}, 1.0)
    (batch,) = stream.source(io.BytesIO(b"1 2 |u a:3 b\n"), format=".vw")
    assert rows_of([batch]) == [(0, {"u^a": 3.0, "u^b": 1.0}, 1.0, 2.0)]
    with pytest.raises(InputError, match="Parquet is not read from a pipe"):
        stream.source(io.BytesIO(text), format="parquet")
    with pytest.raises(ValueError, match="format='xls': it is one of csv, tsv"):
        stream.source(io.BytesIO(text), format="xls")


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: stream.source(7), TypeError, r"no rows can be read from 7 \(int\)"),
        (lambda: stream.source({"a": [1]}), TypeError, "no rows can be read from"),
        (lambda: stream.source(lambda: iter(ROWS)), TypeError, "it makes an iterator when called"),
        (lambda: stream.source([{"a": 1.0}], [1]), TypeError, r"zip\(X, y\)"),
        (lambda: stream.source(io.StringIO("x,y")), TypeError, "no file of bytes"),
        (lambda: stream.source(pd.Series([1.0])), ValueError, "X has 1 dimension"),
        (lambda: stream.source(DENSE, target="y"), TypeError, "target='y': the columns of an array"),
        (lambda: stream.source("a.csv", [1, 2]), TypeError, r"have them in columns \(target=, weight=\)"),
        (lambda: stream.source(iter(ROWS), [1]), TypeError, r"zip\(X, y\)"),
        (lambda: stream.source(Arrays(DENSE), [1]), TypeError, "y is said where a source is made"),
        (lambda: stream.source(Arrays(DENSE), missing="zero"), TypeError, "missing is said where"),
        (lambda: stream.source(DENSE, missing="zero"), InputError, "missing='zero'.* no meaning in an array"),
        (lambda: stream.source(ROWS, columns=["a"]), InputError, "no meaning in rows that are dicts"),
        (lambda: stream.source(DENSE, mising="zero"), TypeError, "no option 'mising'"),
        (lambda: stream.source(DENSE, batch_rows=0), ValueError, "batch_rows=0"),
        (lambda: stream.source(np.ones(3)), ValueError, "X has 1 dimension"),
    ],
)
def test_source_says_what_is_wrong(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_options_that_ask_for_nothing_are_no_error():
    stream.source(DENSE, missing="error", drop=(), kinds={}, interactions=None)


def test_folders_and_patterns_say_what_is_wrong(tmp_path):
    with pytest.raises(FileNotFoundError, match="no files in "):
        stream.open_file(tmp_path)
    with pytest.raises(FileNotFoundError, match="no file matches"):
        stream.open_file(tmp_path / "*.parquet")
    (tmp_path / "a.svm").write_text("1 1:2\n")
    with pytest.raises(
        InputError, match=r"is a folder of SVMLight files, which are read one by one; name one"
    ):
        stream.open_file(tmp_path)
    with pytest.raises(InputError, match=r"missing='zero'.* no meaning in an svmlight file"):
        stream.open_file(tmp_path / "a.svm", missing="zero")
    (tmp_path / "a.svm").unlink()
    (tmp_path / "a.csv").write_text("x\n1\n")
    (tmp_path / "b.parquet").write_text("")
    with pytest.raises(InputError, match=r"formats, such as 'a\.csv' and 'b\.parquet'; .*/\*\.parquet'"):
        stream.open_file(tmp_path)
    (tmp_path / "c.xlsx").write_text("")
    with pytest.raises(InputError, match=r"c\.xlsx: the name must end in \.csv"):
        stream.open_file(tmp_path / "*.xlsx")
    with pytest.raises(TypeError, match="no option 'targt'; did you mean 'target'"):
        stream.open_file(tmp_path / "a.csv", targt="y")
