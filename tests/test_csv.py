"""CSV from files and pipes, in one thread and several, against csv, float, pandas and polars."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import itertools
import json
import math
import os
import random
import subprocess
import sys
import threading
import time
import tracemalloc

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from streamgd import stream
from streamgd.stream import InputError, _csv, _csv_rows, _window
from streamgd.stream._window import Follow, Pipe


def rows_of(batches):
    """Every row as a dict, and every target and weight."""
    rows, targets, weights = [], [], []
    for b in batches:
        if isinstance(b.X, np.ndarray):
            rows += [dict(zip(b.columns, map(float, x), strict=True)) for x in b.X]
        else:
            for lo, hi in itertools.pairwise(b.X.indptr.tolist()):
                pairs = zip(b.X.indices[lo:hi].tolist(), b.X.data[lo:hi].tolist(), strict=True)
                rows.append({b.columns[k]: v for k, v in pairs})
        targets += [] if b.y is None else b.y.tolist()
        weights += [] if b.w is None else b.w.tolist()
    return rows, targets, weights


def table_text(n: int, seed: int) -> str:
    """Numbers, booleans and texts, quoted where it is needed and where it is not."""
    rng = random.Random(seed)
    out = io.StringIO(newline="")
    out.write("x,flag,word,z,w,y\n")
    for _ in range(n):
        word = rng.choice(
            ["red", "blue", "two\nlines", 'say "hi"', "a,b", "", "漢字", f"id{rng.randrange(40)}"]
        )
        cells = [repr(rng.gauss(0, 10 ** rng.randrange(-8, 9))), rng.choice(["true", "False"])]
        cells += [
            f'"{word.replace(chr(34), chr(34) * 2)}"',
            rng.choice(["", "NA", "1", "2.5", "-3e-7", " 7 "]),
        ]
        cells += [str(rng.randrange(4)), rng.choice("ab")]
        out.write(",".join(cells) + rng.choice(["\n", "\n", "\r\n", "\n\n"]))
    return out.getvalue()


OPTIONS = {"target": "y", "weight": "w", "missing": "zero"}


def table_reference(text: str):
    rows, targets, weights = [], [], []
    for record in csv.DictReader(io.StringIO(text, newline="")):
        z = record["z"].strip()
        row = {"x": float(record["x"]), "flag": float(record["flag"].lower() == "true")}
        row["z"] = 0.0 if z in ("", "NA") else float(z)
        if record["word"]:
            row[f"word={record['word']}"] = 1.0
        rows.append(row)
        targets.append(record["y"])
        weights.append(float(record["w"]))
    return rows, targets, weights


@pytest.fixture
def small_window(monkeypatch):
    """Windows that end inside rows and cells."""
    monkeypatch.setattr(_window, "BLOCK", 61)


# -- against other readers --------------------------------------------------------------------


@pytest.mark.parametrize("batch_rows", [1, 7, 1000])
def test_a_table_of_everything_equals_the_csv_module_and_float(tmp_path, small_window, batch_rows):
    text = table_text(300, 0)
    (tmp_path / "a.csv").write_text(text, newline="")
    assert rows_of(stream.CSV(tmp_path / "a.csv", batch_rows=batch_rows, **OPTIONS)) == table_reference(text)


def test_numbers_equal_pandas_and_polars_to_the_bit(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 6)) * 10.0 ** rng.integers(-12, 12, size=6)
    X[:, 0] = X[:, 0].round(6)
    X[:, 1] = rng.integers(-(10**12), 10**12, 2000)
    frame = pd.DataFrame(X, columns=list("abcdef"))
    frame.to_csv(tmp_path / "a.csv", index=False)
    got = np.concatenate([b.X for b in stream.CSV(tmp_path / "a.csv", batch_rows=300)])
    assert np.array_equal(got, pd.read_csv(tmp_path / "a.csv", dtype=str).astype(float).to_numpy())
    assert np.array_equal(got, pl.read_csv(tmp_path / "a.csv").to_numpy())
    assert np.array_equal(got, X)


@pytest.mark.parametrize("digits", range(1, 30))
def test_digits_of_any_number_in_any_place(tmp_path, digits):
    """Words of eight digits, in cells that begin and end anywhere in them."""
    rng = random.Random(digits)
    cells = []
    for _ in range(60):
        text = "".join(rng.choice("0123456789") for _ in range(digits))
        point = rng.randrange(digits + 1)
        cells.append(
            rng.choice(["", "-", "+"]) + text[:point] + "." + text[point:] + rng.choice(["", "e-3", "E+12"])
        )
        cells.append("0" * rng.randrange(25) + text + rng.choice(["", ".", "e5"]))
        cells.append("0." + "0" * rng.randrange(25) + text)
    (tmp_path / "a.csv").write_text(
        "a,b,c\n" + "\n".join(",".join(c) for c in zip(*[iter(cells)] * 3, strict=True))
    )
    got = np.concatenate([b.X for b in stream.CSV(tmp_path / "a.csv")]).ravel()
    want = np.array([float(c) for c in cells])
    assert np.array_equal(got.view(np.int64), want.view(np.int64))


@pytest.mark.parametrize(
    "cell", [".", "-", "+", "-.", ".e5", "1e", "1e+", "1.2.3", "0x10", "1_0_", "--1", "1-", "e5"]
)
def test_what_is_no_number_is_refused(tmp_path, cell):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n" * 1 + "1,2\n" * 1200 + f"{cell},1\n")
    with pytest.raises(InputError, match=r"line 1203: column 'x' is '"):
        list(stream.CSV(tmp_path / "a.csv", "y"))


# -- weights, missing values, interactions, hashing -------------------------------------------


def test_weights_are_no_feature(tmp_path):
    (tmp_path / "a.csv").write_text("x,w,y\n1,0.5,0\n2,0,1\n3,2e3,1\n")
    (batch,) = stream.CSV(tmp_path / "a.csv", "y", weight="w")
    assert batch.columns == ("x",)
    assert batch.w.tolist() == [0.5, 0.0, 2000.0]
    assert batch.y.tolist() == [0.0, 1.0, 1.0]
    assert batch.w.flags.c_contiguous
    assert batch.y.flags.c_contiguous


@pytest.mark.parametrize(
    ("cell", "message"),
    [("-1", "is -1.0; weights are"), ("inf", "is inf; weights"), ("", "is missing"), ("NA", "is missing"),
     ("heavy", "'heavy', the weight must be a number in every row")],
)  # fmt: skip
def test_a_weight_that_is_none_is_refused(tmp_path, cell, message):
    (tmp_path / "a.csv").write_text("x,w,y\n" + "1,0.5,0\n" * 1500 + f"1,{cell},0\n")
    with pytest.raises(InputError, match=f"line 1502: .*{message}"):
        list(stream.CSV(tmp_path / "a.csv", "y", weight="w", missing="zero"))
    with pytest.raises(InputError, match="is the target and cannot hold the weights"):
        stream.CSV(tmp_path / "a.csv", "y", weight="y")
    with pytest.raises(InputError, match="no column 'v'"):
        stream.CSV(tmp_path / "a.csv", "y", weight="v")


def test_missing_as_the_mean_so_far_equals_river_also_from_the_middle(tmp_path):
    from river import preprocessing, stats

    rng = np.random.default_rng(1)
    cells = [
        ["" if rng.random() < 0.3 else repr(v) for v in row] for row in rng.normal(size=(500, 2)).tolist()
    ]
    (tmp_path / "a.csv").write_text("a,b\n" + "\n".join(",".join(c) for c in cells) + "\n")
    imputer = preprocessing.StatImputer(("a", stats.Mean()), ("b", stats.Mean()))
    want = []
    for cell in cells:
        x = {name: float(v) if v else None for name, v in zip("ab", cell, strict=True)}
        want.append(list(imputer.transform_one(x).values()))
        imputer.learn_one(x)
    batches = list(stream.CSV(tmp_path / "a.csv", missing="mean", batch_rows=60))
    got = np.concatenate([b.X for b in batches])
    np.testing.assert_allclose(got, np.array(want, dtype=float), rtol=1e-12, atol=1e-15)
    for batch in batches[:-1]:
        position = json.loads(json.dumps(batch.position))
        rest = stream.CSV(tmp_path / "a.csv", missing="mean", batch_rows=60).batches(position)
        assert np.array_equal(np.concatenate([b.X for b in rest]), got[position["row"] :])


def test_interactions_and_hashing_are_the_encoders(tmp_path):
    from sklearn.feature_extraction import FeatureHasher

    (tmp_path / "a.csv").write_text("a,b,c\n2,3,u\n5,7,v\n")
    rows, _, _ = rows_of(stream.CSV(tmp_path / "a.csv", interactions=["a*b", "c*a"]))
    assert rows == [
        {"a": 2.0, "b": 3.0, "a*b": 6.0, "c=u": 1.0, "c=u*a": 2.0},
        {"a": 5.0, "b": 7.0, "a*b": 35.0, "c=v": 1.0, "c=v*a": 5.0},
    ]
    with pytest.raises(InputError, match=r"the interaction 'aa\*b' needs a column 'aa'"):
        stream.CSV(tmp_path / "a.csv", interactions=["aa*b"])
    hashed, _, _ = rows_of(stream.CSV(tmp_path / "a.csv", n_features=16))
    names = [{"a": 2.0, "b": 3.0, "c=u": 1.0}, {"a": 5.0, "b": 7.0, "c=v": 1.0}]
    dense = FeatureHasher(16).transform(names).toarray()
    assert [[row.get(k, 0.0) for k in range(16)] for row in hashed] == dense.tolist()


def test_many_distinct_cells_are_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(_csv_rows, "_REMEMBERED", 50)
    text = "c,y\n" + "".join(f"u{k % 300},{k % 2}\n" for k in range(1000))
    (tmp_path / "a.csv").write_text(text)
    rows, _, _ = rows_of(stream.CSV(tmp_path / "a.csv", "y", 40))
    assert rows == [{f"c=u{k % 300}": 1.0} for k in range(1000)]
    hashed, _, _ = rows_of(stream.CSV(tmp_path / "a.csv", "y", 40, n_features=64))
    once, _, _ = rows_of(stream.CSV(tmp_path / "a.csv", "y", 1000, n_features=64))
    assert hashed == once


# -- rows before a bad one --------------------------------------------------------------------

BAD_ROWS = {
    "ragged": ("1,a,true,2\n", "line 25: 4 fields"),
    "no number": ("tall,a,true,1,0\n", "line 25: column 'x' is 'tall'"),
    "no boolean": ("1,a,maybe,1,0\n", "line 25: column 'b' is 'maybe'"),
    "not UTF-8": (b"1,\xff\xfe,true,1,0\n", "line 25: column 'c' is not UTF-8"),
    "empty": (",a,true,1,0\n", "line 25: column 'x' is empty"),
    "no category": ("1,,true,1,0\n", "line 25: column 'c' is empty"),
    "target": ("1,a,true,1,\n", "line 25: the target 'y' is missing"),
    "weight": ("1,a,true,-2,1\n", r"line 25: the weight 'w' is -2\.0"),
    "open quote": ('1,"a,true,1,0\n', "line 25: a quote is opened"),
    "after a quote": ('1,"a"b,true,1,0\n', "line 25: text after a closing quote"),
    "two": ("1,a,maybe,1,0\ntall,a,true,1,0\n", "line 25: column 'b' is 'maybe'"),
}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("case", BAD_ROWS)
def test_rows_before_a_bad_one_are_handed_out(tmp_path, monkeypatch, case, threads):
    monkeypatch.setattr(_csv, "SAMPLE", 5)
    monkeypatch.setattr(_csv_rows, "_PART", 40)
    bad, message = BAD_ROWS[case]
    good = [f"{k},{'uv'[k % 2]},true,{k},{k % 2}\n" for k in range(40)]
    good[20] = "1e400,u,true,20,0\n"  # a number that only float can read
    data = ["x,c,b,w,y\n", *good[:21], '8,"two\n",true,1,1\n', bad, *good[21:]]
    path = tmp_path / "a.csv"
    path.write_bytes(b"".join(d if isinstance(d, bytes) else d.encode() for d in data))
    source = stream.CSV(path, "y", 8, weight="w", threads=threads)
    batches = []
    with pytest.raises(InputError, match=message):
        batches.extend(source)  # what came before the error stays in the list
    assert [len(b) for b in batches] == [8, 8, 6]
    assert [r["x"] for r in rows_of(batches)[0]] == [*range(20), math.inf, 8.0]
    with pytest.raises(InputError, match=message):  # the position is that of the bad row
        next(stream.CSV(path, "y", 8, weight="w").batches(batches[-1].position))


def test_the_number_of_a_bad_row_is_that_in_the_pass(tmp_path):
    """Whoever finds it: the parser, or what makes features of the cells."""
    good = [f"c{k % 5},{k},{k % 2}\n" for k in range(60)]
    for bad, options in (
        ("c1,tall,0\n", {}),
        ("c1,,0\n", {}),
        ("c1\n", {}),
        ("new,1,0\n", {"max_categories": 6}),
    ):
        path = tmp_path / "a.csv"
        path.write_text("c,x,y\n" + "".join([*good[:45], bad, *good]))
        source, batches = stream.CSV(path, "y", 20, **options), []
        source.kinds["x"] = "number"
        with pytest.raises(InputError) as caught:
            batches.extend(source)
        assert caught.value.row == 45
        assert [len(b) for b in batches] == [20, 20, 5]
        assert rows_of(batches)[0] == [{"x": float(k), f"c=c{k % 5}": 1.0} for k in range(45)]
        rest = stream.CSV(path, "y", 20, kinds={"x": "number"}, **options).batches(batches[-1].position)
        if options:
            assert rows_of([next(rest)])[0][0] == {"x": 1.0, "c=new": 1.0}
        else:
            with pytest.raises(InputError, match="line 47"):
                next(rest)


# -- threads ----------------------------------------------------------------------------------


def same(a, b):
    """Whether two lists of batches are equal, to the bit, positions included."""
    assert len(a) == len(b)
    for one, two in zip(a, b, strict=True):
        assert one.position == two.position
        assert one.columns == two.columns
        for left, right in ((one.y, two.y), (one.w, two.w)):
            assert np.array_equal(left, right)
        if isinstance(one.X, np.ndarray):
            assert one.X.tobytes() == two.X.tobytes()
        else:
            for field in ("data", "indices", "indptr"):
                assert getattr(one.X, field).tobytes() == getattr(two.X, field).tobytes()
    return True


@pytest.mark.parametrize("threads", [2, 3, 8])
@pytest.mark.parametrize("part", [30, 200])
@pytest.mark.parametrize("batch_rows", [16, 301, 5000])
def test_threads_change_nothing(tmp_path, monkeypatch, threads, part, batch_rows):
    """Also where newlines in cells and blank lines make every guess of the threads wrong."""
    monkeypatch.setattr(_csv_rows, "_PART", part)
    monkeypatch.setattr(_csv_rows, "_ALONE", 1)
    (tmp_path / "a.csv").write_text(table_text(1500, 2), newline="")
    one = list(stream.CSV(tmp_path / "a.csv", batch_rows=batch_rows, **OPTIONS))
    monkeypatch.setattr(_window, "BLOCK", 2048)
    assert same(one, list(stream.CSV(tmp_path / "a.csv", batch_rows=batch_rows, threads=threads, **OPTIONS)))


def outcome(path, **options):
    """Everything that reading gives: the batches, and the error that ends them."""
    batches = []
    try:
        batches.extend(stream.CSV(path, **options))
    except InputError as error:
        return batches, str(error)
    return batches, None


@pytest.mark.parametrize("seed", range(60))
def test_neither_windows_nor_threads_change_what_damaged_text_gives(tmp_path, monkeypatch, seed):
    rng = random.Random(seed)
    data = bytearray(table_text(rng.randrange(1, 120), seed).encode())
    for _ in range(rng.randrange(4)):
        at = rng.randrange(20, len(data))
        data[at : at + rng.randrange(3)] = rng.choice(
            [b'"', b"\n", b"\r", b"\r\n\n", b",", b"\xff", b"", b"nan"]
        )
    (tmp_path / "a.csv").write_bytes(data)
    options = dict(
        OPTIONS, batch_rows=rng.choice([1, 16, 1000]), missing=rng.choice(["error", "zero", "mean"])
    )
    monkeypatch.setattr(_csv, "SAMPLE", 4)
    want, message = outcome(tmp_path / "a.csv", **options)
    for threads, block in ((1, rng.randrange(8, 200)), (3, rng.randrange(100, 900))):
        monkeypatch.setattr(_window, "BLOCK", block)
        monkeypatch.setattr(_csv_rows, "_PART", rng.randrange(1, 60))
        monkeypatch.setattr(_csv_rows, "_ALONE", 1)
        batches, found = outcome(tmp_path / "a.csv", threads=threads, **options)
        assert found == message
        assert same(want, batches)


def test_threads_share_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(_csv_rows, "_PART", 100)
    used = set()
    run = _csv_rows.Reader._run

    together = threading.Barrier(4)

    def watched(self, *arguments):
        name = threading.current_thread().name
        if name.startswith("csv") and name not in used:
            used.add(name)
            together.wait(timeout=60)  # breaks where fewer than four are at work
        return run(self, *arguments)

    monkeypatch.setattr(_csv_rows.Reader, "_run", watched)
    (tmp_path / "a.csv").write_text("a,b\n" + "1.5,2\n" * 2000)
    before = threading.active_count()
    assert sum(len(b) for b in stream.CSV(tmp_path / "a.csv", "b", 500, threads=4)) == 2000
    assert len(used) == 4
    assert threading.active_count() == before


def test_closing_a_pass_early_leaves_no_thread(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n" + "1.5,2\n" * 20000)
    before = threading.active_count()
    batches = stream.CSV(tmp_path / "a.csv", "b", 100, threads=4).batches()
    for _ in range(5):
        next(batches)
    batches.close()
    assert threading.active_count() == before


# -- compressed, and several files ------------------------------------------------------------


def compress(path, text: str):
    if path.suffix == ".zst":
        with pa.CompressedOutputStream(str(path), "zstd") as out:
            out.write(text.encode())
    else:
        path.write_bytes(gzip.compress(text.encode()))
    return path


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_files_equal_plain_ones(tmp_path, suffix):
    text = table_text(400, 3)
    (tmp_path / "a.csv").write_text(text, newline="")
    path = compress(tmp_path / f"a.csv{suffix}", text)
    plain = list(stream.CSV(tmp_path / "a.csv", batch_rows=90, **OPTIONS))
    source = stream.CSV(path, batch_rows=90, **OPTIONS)
    assert same(plain, list(source))
    assert source.expected_rows(plain[0].position) is None
    for batch, rest in zip(plain, itertools.accumulate([plain], lambda a, _: a), strict=False):
        got = rows_of(source.batches(batch.position))
        assert got == tuple(part[batch.position["row"] :] for part in rows_of(rest))


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_cut_or_foreign_compressed_file_is_refused(tmp_path, suffix):
    rng = np.random.default_rng(0)
    text = "x,y\n" + "".join(f"{v},1\n" for v in rng.random(200_000).tolist())
    path = compress(tmp_path / f"a.csv{suffix}", text)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    batches = iter(stream.CSV(path, batch_rows=10**6))
    assert len(next(batches)) > 10_000  # those that could be read
    with pytest.raises(InputError, match="is the file complete"):
        next(batches)
    path.write_bytes(b"x,y\n1,2\n" * 100)
    with pytest.raises(InputError, match="is the file complete"):
        stream.CSV(path)


def test_zstd_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    path = compress(tmp_path / "a.csv.zst", "x,y\n1,2\n")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"needs pyarrow: pip install 'streamgd\[io\]'"):
        stream.CSV(path)


def test_several_files_are_one_stream(tmp_path):
    rng = np.random.default_rng(4)
    frame = pd.DataFrame(
        {"a": rng.normal(size=100), "c": rng.choice(list("uvw"), 100), "y": rng.normal(size=100)}
    )
    paths = []
    for k, (lo, hi) in enumerate([(0, 30), (30, 31), (31, 100)]):
        paths.append(tmp_path / f"{k}.csv")
        frame[lo:hi].to_csv(paths[-1], index=False)
    source = stream.CSV(paths, "y", 20)
    batches = list(source)
    assert [len(b) for b in batches] == [20, 10, 1, 20, 20, 20, 9]
    assert [b.first for b in batches] == [0, 20, 30, 31, 51, 71, 91]
    rows, targets, _ = rows_of(batches)
    assert targets == frame["y"].tolist()
    assert rows == [{"a": r.a, f"c={r.c}": 1.0} for r in frame.itertuples()]
    assert source.expected_rows(batches[2].position) == pytest.approx(100, rel=0.1)
    for batch in batches:
        rest = rows_of(source.batches(json.loads(json.dumps(batch.position))))
        assert rest == (rows[batch.position["row"] :], targets[batch.position["row"] :], [])
    (tmp_path / "1.csv").write_text("a,d,y\n1,2,3\n")
    with pytest.raises(InputError, match=r"1\.csv, line 1: a column 'd'.*need the same header"):
        list(source)
    (tmp_path / "1.csv").write_text("a,y\n1,3\n")
    with pytest.raises(InputError, match=r"1\.csv, line 1: no column 'c', which .*0\.csv has"):
        list(source)
    (tmp_path / "1.csv").write_text("c,a,y\nu,1,3\n")
    with pytest.raises(InputError, match=r"1\.csv, line 1: the columns are not in the order of .*0\.csv"):
        list(source)
    (tmp_path / "1.csv").write_text("a,c,y\n1,u,3\n1,u\n")
    with pytest.raises(InputError, match=r"1\.csv, line 3: 2 fields"):
        list(source)
    with pytest.raises(ValueError, match="the list is empty"):
        stream.CSV([])


# -- pipes ------------------------------------------------------------------------------------


@contextlib.contextmanager
def written(pieces, pause: float = 0.0):
    """A pipe into which a thread writes pieces of text."""
    read_end, write_end = os.pipe()

    def write():
        with open(write_end, "wb", buffering=0) as out, contextlib.suppress(BrokenPipeError):
            for piece in pieces:
                out.write(piece)
                time.sleep(pause)

    writer = threading.Thread(target=write)
    writer.start()
    with open(read_end, "rb") as file:
        yield file
    writer.join()


def cut(data: bytes, seed: int, most: int) -> list[bytes]:
    """Cut bytes anywhere, also inside lines and inside characters."""
    rng = random.Random(seed)
    pieces, at = [], 0
    while at < len(data):
        to = at + rng.randrange(1, most)
        pieces.append(data[at:to])
        at = to
    return pieces


@pytest.mark.parametrize(
    ("rows", "most", "pause"), [(30, 100, 0.002), (1500, 5000, 0.0), (3000, 60_000, 0.0)]
)
def test_a_pipe_equals_the_file(tmp_path, rows, most, pause):
    """The header and the rows that settle the kinds included, though they are read before the first pass."""
    text = table_text(rows, 5)
    with written(cut(text.encode(), 6, most), pause) as file:
        source = stream.CSV(file, batch_rows=100, **OPTIONS)
        assert not source.repeatable
        assert rows_of(source) == table_reference(text)
        assert source.expected_rows({"row": 10, "byte": 100}) is None
        with pytest.raises(InputError, match="through a pipe is read once"):
            next(source.batches())


def test_a_pipe_goes_on_from_where_a_pass_was_left(tmp_path):
    text = "a,y\n" + "".join(f"{k},{k % 2}\n" for k in range(5000))
    with written([text.encode()]) as file:
        source = stream.CSV(Pipe(file, "the feed"), "y", 100)
        batches = source.batches()
        next(batches)
        second = next(batches)
        batches.close()
        rest = source.batches(second.position)
        assert [r["a"] for r in rows_of(rest)[0]] == list(map(float, range(200, 5000)))
        with pytest.raises(InputError, match=r"the feed: byte .* have gone by"):
            next(source.batches(second.position))


def test_a_pipe_can_be_started_again_at_a_later_byte(tmp_path):
    text = "a,y\n" + "".join(f"{k},{k % 2}\n" for k in range(3000))
    (tmp_path / "a.csv").write_text(text)
    position = next(iter(stream.CSV(tmp_path / "a.csv", "y", 1700))).position
    with written([text.encode()]) as file:
        rest = stream.CSV(file, "y").batches(position)
        assert [r["a"] for r in rows_of(rest)[0]] == list(map(float, range(1700, 3000)))
    with (
        written([text.encode()[:9000]]) as file,
        pytest.raises(InputError, match="ends at byte 9,000, before"),
    ):
        next(stream.CSV(file, "y").batches(position))


def test_rows_that_came_are_not_held_back_by_a_slow_pipe():
    read_end, write_end = os.pipe()
    with open(read_end, "rb") as file, open(write_end, "wb", buffering=0) as out:
        out.write(b"a,y\n1,0\n2,1\n3,")
        batches = iter(stream.CSV(file, "y", 1000))
        assert next(batches).X.ravel().tolist() == [1.0, 2.0]
        out.write(b"1\n4,0\n5")
        assert next(batches).X.ravel().tolist() == [3.0, 4.0]
        out.close()
        with pytest.raises(InputError, match="line 6: 1 fields"):
            next(batches)


def test_file_objects_that_can_seek_are_read_again():
    source = stream.CSV(io.BytesIO(b"a,y\n1,0\n2,1\n"), "y")
    assert source.repeatable
    assert rows_of(source) == rows_of(source) == ([{"a": 1.0}, {"a": 2.0}], [0.0, 1.0], [])
    with pytest.raises(TypeError, match="no file of bytes"):
        stream.CSV(io.StringIO("a,y\n1,0\n"))


class Trickle:
    """A file of a kind of its own: it only reads, not always anything, and cannot say where it stands."""

    def __init__(self, pieces):
        self._pieces = [p for piece in pieces for p in (None, piece)]

    def read(self, n):
        if not self._pieces:
            return b""
        piece = self._pieces.pop(0)
        if piece is not None and len(piece) > n:
            self._pieces.insert(0, piece[n:])
        return piece if piece is None else piece[:n]


def test_file_objects_with_no_more_than_read():
    text = table_text(50, 7)
    assert rows_of(stream.CSV(Trickle(cut(text.encode(), 8, 500)), **OPTIONS)) == table_reference(text)


def test_standard_input_of_a_process():
    code = (
        "import sys; from streamgd import stream;"
        "print(sum(len(b) for b in stream.CSV(sys.stdin.buffer, 'y')), stream.CSV.__name__)"
    )
    data = b"x,y\n" + b"1,0\n" * 30_000
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True)
    assert done.stdout.split() == [b"30000", b"CSV"]


# -- files that grow --------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
def test_a_growing_file_equals_the_whole(tmp_path, threads):
    """Pieces are appended that end inside lines, quoted cells and characters."""
    text = table_text(400, 9)
    pieces = cut(text.encode(), 10, 800)
    path = tmp_path / "a.csv"
    path.write_bytes(pieces[0])
    done = threading.Event()

    def append():
        with path.open("ab", buffering=0) as out:
            for piece in pieces[1:]:
                out.write(piece)
                time.sleep(0.003)
        done.set()

    writer = threading.Thread(target=append)
    writer.start()
    kinds = {"x": "number", "flag": "boolean", "word": "category", "z": "number", "y": "category"}
    follow = Follow(every=0.001, stop=done)
    source = stream.CSV(path, batch_rows=50, kinds=kinds, follow=follow, threads=threads, **OPTIONS)
    assert rows_of(source) == table_reference(text)
    writer.join()


def test_rows_are_handed_out_when_they_are_complete(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,c,y\n1,u,0\n2,")
    batches = iter(stream.CSV(path, "y", 1000, follow=Follow(0.001, idle_seconds=1.0)))
    assert rows_of([next(batches)]) == ([{"a": 1.0, "c=u": 1.0}], [0.0], [])
    begin = time.monotonic()
    with path.open("ab", buffering=0) as out:
        out.write(b"\xc3")
        threading.Timer(0.05, lambda: out.write(b"\xa9,1\n3,v,0")).start()
        batch = next(batches)
        assert rows_of([batch]) == ([{"a": 2.0, "c=é": 1.0}], [1.0], [])
        assert list(batches) == []  # a line without its newline is no row yet
        assert time.monotonic() - begin >= 1.0
        out.write(b"7\n")
    assert rows_of(stream.CSV(path, "y").batches(batch.position)) == ([{"a": 3.0, "c=v": 1.0}], [7.0], [])


@pytest.mark.parametrize("stop", [lambda: True, "event"])
def test_following_stops_when_asked(tmp_path, stop):
    path = tmp_path / "a.csv"
    path.write_bytes(b'a,y\n1,0\n2,"open')
    if stop == "event":
        stop = threading.Event()
        threading.Timer(0.1, stop.set).start()
    batches = list(stream.CSV(path, "y", kinds={"y": "category"}, follow=Follow(stop=stop)))
    assert [len(b) for b in batches] == [1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.write_bytes(b"a,y\n"), "was cut to 4 bytes while it was followed, after 12"),
        (lambda path: path.unlink(), "was removed while"),
        (lambda path: os.replace(path.with_suffix(".new"), path), "was replaced by another file"),
    ],
)
def test_another_file_in_its_place_is_refused(tmp_path, change, message):
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,y\n1,0\n2,1\n")
    path.with_suffix(".new").write_bytes(b"a,y\n1,0\n2,1\n3,0\n")
    batches = iter(stream.CSV(path, "y", follow=Follow(0.01)))
    assert len(next(batches)) == 2
    change(path)
    with pytest.raises(InputError, match=message):
        next(batches)


def test_what_cannot_be_followed_is_refused(tmp_path):
    path = compress(tmp_path / "a.csv.gz", "a,y\n1,0\n")
    with pytest.raises(InputError, match="only a plain file can be followed"):
        stream.CSV(path, follow=True)
    with pytest.raises(ValueError, match="follow is for one file that grows"):
        stream.CSV(io.BytesIO(b"a,y\n1,0\n"), follow=True)
    with pytest.raises(ValueError, match=r"every=0"):
        Follow(every=0)


# -- memory -----------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("how", ["file", "pipe", "zst"])
def test_memory_does_not_grow_with_the_text(tmp_path, how, threads):
    line = "0.123456,17,some_text,3.25,1\n"
    peaks = []
    for n in (50_000, 500_000):
        text = "a,b,c,d,y\n" + line * n
        if how == "zst":
            data = compress(tmp_path / f"{n}.csv.zst", text)
        else:
            data = tmp_path / f"{n}.csv"
            data.write_text(text)
        with contextlib.ExitStack() as stack:
            if how == "pipe":
                copier = subprocess.Popen(["cat", str(data)], stdout=subprocess.PIPE)
                data = stack.enter_context(copier).stdout
            tracemalloc.start()
            assert sum(len(b) for b in stream.CSV(data, "y", threads=threads)) == n
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
    assert peaks[1] < (8 + 8 * (threads - 1)) << 20  # a file of 14 MB


def test_memory_does_not_grow_with_long_cells(tmp_path, monkeypatch):
    monkeypatch.setattr(_csv_rows, "_REMEMBERED_BYTES", 1 << 18)
    path = tmp_path / "a.csv"
    for n in (200, 20_000):  # the first time, modules and kernels are loaded
        path.write_text("c,y\n" + "".join(f"{k}{'x' * 500},{k % 2}\n" for k in range(n)))
        tracemalloc.start()
        assert sum(len(b) for b in stream.CSV(path, "y", 100, n_features=64)) == n
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 5 << 20  # a file of 10 MB, whose cells would take five times as much
