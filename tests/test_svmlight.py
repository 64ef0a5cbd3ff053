"""svmlight text: hashing, broken rows, pipes and files that grow; test_stream.py has the rest."""

from __future__ import annotations

import gzip
import io
import json

import numpy as np
import pytest
from sklearn.datasets import dump_svmlight_file, load_svmlight_file
from sklearn.feature_extraction import FeatureHasher

from streamgd.stream import InputError, SparseRows, _window
from streamgd.stream._svmlight import SVMLight
from streamgd.stream._window import Follow


def rows_of(batches):
    rows = []
    for b in batches:
        for lo, hi in zip(b.X.indptr[:-1], b.X.indptr[1:], strict=True):
            rows.append(
                {b.columns[k]: v for k, v in zip(b.X.indices[lo:hi], b.X.data[lo:hi].tolist(), strict=True)}
            )
    return rows


def dense(batches, names):
    """Return the rows as a matrix of the columns that are named."""
    return np.array([[row.get(name, 0.0) for name in names] for row in rows_of(batches)])


@pytest.fixture
def small_window(monkeypatch):
    monkeypatch.setattr(_window, "BLOCK", 61)


def text_of(n: int, seed: int) -> str:
    rng = np.random.default_rng(seed)
    lines = []
    for _ in range(n):
        index = np.sort(rng.choice(10**6, size=rng.integers(0, 9), replace=False))
        pairs = [
            f"{i}:{v!r}" for i, v in zip(index.tolist(), rng.normal(size=len(index)).tolist(), strict=True)
        ]
        lines.append(" ".join([f"{rng.normal():.4g}", *pairs]))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("n_features", [4, 1000, 2**20])
def test_hashed_indices_equal_scikit_learn(tmp_path, small_window, n_features):
    path = tmp_path / "a.svm"
    path.write_text(text_of(200, 1))
    source = SVMLight(path, 30, n_features=n_features)
    X, _ = load_svmlight_file(str(path), zero_based=True)
    hasher = FeatureHasher(n_features, input_type="pair")
    want = hasher.transform(
        [(str(i), v) for i, v in zip(row.indices.tolist(), row.data.tolist(), strict=True)] for row in X
    )
    got = rows_of(source)
    assert len(got) == want.shape[0]
    for row, wanted in zip(got, want, strict=True):
        wanted.sum_duplicates()
        expected = dict(zip(wanted.indices.tolist(), wanted.data.tolist(), strict=True))
        assert {k: v for k, v in row.items() if v} == pytest.approx(
            {k: v for k, v in expected.items() if v}, abs=1e-15
        )


def test_an_index_with_leading_zeros_hashes_as_the_number_it_is():
    text = b"1 007:2 8:1\n1 7:2 08:1\n0 0:1\n0 000:1\n"
    rows = rows_of(SVMLight(io.BytesIO(text), n_features=2**30))
    assert rows[0] == rows[1]
    assert rows[2] == rows[3]
    assert rows_of(SVMLight(io.BytesIO(text))) == [{"7": 2.0, "8": 1.0}] * 2 + [{"0": 1.0}] * 2


def test_indices_may_be_any_whole_number():
    rows = rows_of(SVMLight(io.BytesIO(b"1 3:1 999999999999999999:2\n1 99999999999:4\n")))
    assert rows == [{"3": 1.0, "999999999999999999": 2.0}, {"99999999999": 4.0}]


@pytest.mark.parametrize(
    "bad", ["1 2:x", "y 2:1", "1 2:1 1:1", "1 qid:3 2:1", "1 a:1", "1 1000000000000000000:1"]
)
@pytest.mark.parametrize("batch_rows", [2, 3, 100])
def test_rows_before_a_bad_one_come_first(small_window, bad, batch_rows):
    text = "# head\n1 2:1\n\n0 3:0.1000000000000000055511151231257827\n2 4:1\n" + bad + "\n3 5:1\n"
    got, error = [], ""
    try:
        for batch in SVMLight(io.BytesIO(text.encode()), batch_rows):
            got.append(batch)  # noqa: PERF402  those before the error are kept
    except InputError as refused:
        error = str(refused)
    assert "line 6: " in error
    assert rows_of(got) == [{"2": 1.0}, {"3": 0.1}, {"4": 1.0}]
    assert [y for b in got for y in b.y] == [1.0, 0.0, 2.0]
    assert got[-1].position == {"row": 3, "byte": text.index(bad), "line": 6}


def test_a_mended_file_continues_behind_the_rows_that_were_good(tmp_path):
    path = tmp_path / "a.svm"
    path.write_text("1 2:1\n1 3:x\n0 4:1\n")
    batches = iter(SVMLight(path))
    position = json.loads(json.dumps(next(batches).position))
    with pytest.raises(InputError, match="'x' is not a number"):
        next(batches)
    path.write_text("1 2:1\n1 3:7\n0 4:1\n")
    assert rows_of(SVMLight(path).batches(position)) == [{"3": 7.0}, {"4": 1.0}]


@pytest.mark.parametrize("suffix", [".svm", ".svm.gz", ".svm.zst"])
def test_compressed_files_and_file_objects_hold_the_same_rows(tmp_path, small_window, suffix):
    data = text_of(100, 2).encode()
    path = tmp_path / f"a{suffix}"
    if suffix.endswith("zst"):
        pa = pytest.importorskip("pyarrow", reason="reads .zst: pip install pyarrow")
        path.write_bytes(pa.compress(data, codec="zstd", asbytes=True))
    else:
        path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    want = rows_of(SVMLight(io.BytesIO(data)))
    source = SVMLight(path, 7)
    batches = list(source)
    assert rows_of(batches) == want
    assert rows_of(source.batches(batches[3].position)) == want[batches[3].position["row"] :]
    assert source.expected_rows(batches[-1].position) == (100 if suffix == ".svm" else None)


def test_a_file_that_grows_is_followed(tmp_path):
    path = tmp_path / "a.svm"
    path.write_text("1 2:1\n0 3:")
    grown = ["1\n1 4", ":1\n", "0 5:1\n0 9:9"]

    def stop() -> bool:
        if grown:
            with path.open("a") as file:
                file.write(grown.pop(0))
        return not grown

    source = SVMLight(path, follow=Follow(every=0.001, stop=stop))
    batches = list(source)
    assert rows_of(batches) == [{"2": 1.0}, {"3": 1.0}, {"4": 1.0}, {"5": 1.0}]  # the last line is not whole
    assert len(batches) > 2
    assert source.expected_rows(batches[-1].position) is None


def test_a_mark_at_the_beginning_is_skipped(tmp_path, small_window):
    path = tmp_path / "a.svm"
    path.write_text("1 2:1\n0 3:1\n", encoding="utf-8-sig")
    assert rows_of(SVMLight(path)) == [{"2": 1.0}, {"3": 1.0}]
    broken = "1 2:1\n\ufeff0 3:1\n".encode()
    with pytest.raises(InputError, match=r"line 2: .* is not a number"):
        rows_of(SVMLight(io.BytesIO(broken)))


def test_what_scikit_learn_writes_is_read_to_the_bit(tmp_path):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(500, 40)) * 10.0 ** rng.integers(-300, 300, size=(500, 40))
    X[rng.random(X.shape) < 0.5] = 0.0
    y = rng.normal(size=500)
    dump_svmlight_file(X, y, str(tmp_path / "a.svm"))
    again, _ = load_svmlight_file(str(tmp_path / "a.svm"), n_features=40, zero_based=True)
    batches = list(SVMLight(tmp_path / "a.svm", 64))
    np.testing.assert_array_equal(dense(batches, list(map(str, range(40)))), again.toarray())


@pytest.mark.parametrize(
    ("option", "message"), [({"batch_rows": 0}, "at least 1"), ({"n_features": 1}, "a whole number from 2")]
)
def test_options_are_checked(option, message):
    with pytest.raises(ValueError, match=message):
        SVMLight(io.BytesIO(b"1 2:1\n"), **option)


def test_columns_of_later_batches_only_grow_at_the_end():
    batches = list(SVMLight(io.BytesIO(b"1 5:1\n1 2:1 5:1\n1 1:1 2:2\n"), 1))
    assert [b.columns for b in batches] == [("5",), ("5", "2"), ("5", "2", "1")]
    assert all(isinstance(b.X, SparseRows) and b.X.n_columns == len(b.columns) for b in batches)
