"""Sources against readers we did not write: csv, float, pandas, pyarrow and scikit-learn."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import random
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_svmlight_file

from streamgd import linear_model, stream
from streamgd.kernels import parse
from streamgd.stream import InputError, _window


def rows_of(batches):
    """Every row as the dict a dict learner would see."""
    rows, targets = [], []
    for b in batches:
        if isinstance(b.X, np.ndarray):
            rows += [dict(zip(b.columns, map(float, x), strict=True)) for x in b.X]
        else:
            assert b.X.n_columns == len(b.columns)
            for lo, hi in zip(b.X.indptr[:-1], b.X.indptr[1:], strict=True):
                rows.append(
                    {b.columns[k]: float(v) for k, v in zip(b.X.indices[lo:hi], b.X.data[lo:hi], strict=True)}
                )
        targets += [None] * len(b) if b.y is None else list(b.y)
    return rows, targets


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    data = text.encode(encoding)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.fixture
def small_window(monkeypatch):
    """Windows that end inside rows and cells."""
    monkeypatch.setattr(_window, "BLOCK", 61)


# -- numbers ------------------------------------------------------------------------------


def number_texts(n: int, seed: int):
    rng = random.Random(seed)
    for _ in range(n):
        bits = np.frombuffer(rng.randbytes(8), np.float64)[0]
        yield repr(float(bits))
        yield repr(rng.gauss(0, 1))
        yield f"{rng.randint(0, 10 ** rng.randint(1, 19) - 1)}e{rng.randint(-345, 310)}"
        yield f"{rng.uniform(-1000, 1000):.{rng.randint(0, 17)}f}"
        yield str(2 * rng.randint(2**52, 2**54) + 1)  # half-way between two floats, or next to it
        yield f"{(2 * rng.randint(2**52, 2**53) + 1) / 1:.0f}"[:4] + "." + str(rng.randint(0, 10**13))
    yield from [
        "0",
        "-0",
        "+1",
        ".5",
        "5.",
        "1e5",
        "1E-5",
        "-1.5e+3",
        "00012",
        "0.1",
        "1e22",
        "1e23",
        "9007199254740993",
    ]
    yield from [
        "2.2250738585072011e-308",
        "4.9e-324",
        "1.7976931348623157e308",
        "123456789012345678901234567890",
    ]


def test_numbers_equal_float_to_the_bit():
    exact = total = 0
    for text in number_texts(15_000, seed=1):
        if text in ("nan", "inf", "-inf"):
            continue
        value, end, settled = parse.number(np.frombuffer(text.encode() + b"\n\n", np.uint8), 0)
        total += 1
        if settled:
            exact += 1
            assert end == len(text)
            assert np.float64(value).tobytes() == np.float64(float(text)).tobytes(), text
    assert exact > 0.9 * total  # the rest is read by float itself


def test_csv_numbers_equal_float_to_the_bit(tmp_path, small_window):
    texts = [t for t in number_texts(500, seed=2) if math.isfinite(float(t))]
    texts = texts[: len(texts) // 3 * 3]
    lines = [",".join(texts[k : k + 3]) for k in range(0, len(texts), 3)]
    path = write(tmp_path / "n.csv", "a,b,c\n" + "\n".join(lines))
    got = np.concatenate([b.X for b in stream.open_file(path, batch_rows=37)])
    want = np.array([float(t) for t in texts]).reshape(-1, 3)
    np.testing.assert_array_equal(got.view(np.int64), want.view(np.int64))


# -- CSV ----------------------------------------------------------------------------------


def csv_reference(text: str, target: str, categories: set[str]):
    rows, targets = [], []
    for record in csv.DictReader(io.StringIO(text, newline="")):
        targets.append(record.pop(target))
        row = {k: float(v) for k, v in record.items() if k not in categories}
        row |= {f"{k}={v}": 1.0 for k, v in record.items() if k in categories}
        rows.append(row)
    return rows, targets


MIXED = (
    'age,"job, title",note,"the ""y""",score\n'
    "31,clerk,plain,no,0.5\n"
    '"44","cook, head","two\nlines",yes,-1e-3\n'
    '52,"said ""hi""","e",no,7\n'
    "\n60,clerk,plain,yes, 2.25 \n"
    '61,"clerk",é漢,no,.5\n'
)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("ending", ["", "newline"])
@pytest.mark.parametrize("name", ["m.csv", "m.csv.gz"])
@pytest.mark.parametrize("batch_rows", [1, 2, 100])
def test_quoted_cells_read_as_the_csv_module_reads_them(
    tmp_path, small_window, newline, ending, name, batch_rows
):
    text = (MIXED if ending else MIXED.rstrip("\n")).replace("\n", newline)
    path = write(tmp_path / name, "\ufeff" + text)
    source = stream.open_file(path, target='the "y"', batch_rows=batch_rows)
    rows, targets = rows_of(source)
    want_rows, want_targets = csv_reference(text, 'the "y"', {"job, title", "note"})
    assert rows == want_rows
    assert targets == want_targets
    assert source.kinds == {
        "age": "number",
        "job, title": "category",
        "note": "category",
        "score": "number",
        'the "y"': "category",
    }


cells = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    table=st.lists(
        st.tuples(st.floats(allow_nan=False, allow_infinity=False), cells, st.booleans()), min_size=1
    ),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    batch_rows=st.integers(1, 5),
)
def test_any_table_that_the_csv_module_writes_is_read_back(tmp_path, monkeypatch, table, quoting, batch_rows):
    monkeypatch.setattr(_window, "BLOCK", 64)
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=quoting)
    writer.writerows([("x", "c", "y"), *table])
    path = write(tmp_path / "t.csv", out.getvalue())
    source = stream.open_file(path, target="y", batch_rows=batch_rows, kinds={"c": "category"})
    rows, targets = rows_of(source)
    assert rows == [{"x": x, f"c={c}": 1.0} for x, c, _ in table]
    assert targets == [y for _, _, y in table]
    assert all(b.y.dtype == bool for b in source)


def test_dense_batches_have_constant_size_and_names(tmp_path):
    path = write(tmp_path / "a.csv", "a,b,y\n" + "".join(f"{k},{k / 7},{k % 2}\n" for k in range(25)))
    batches = list(stream.open_file(path, target="y", batch_rows=10))
    assert [len(b) for b in batches] == [10, 10, 5]
    assert [b.first for b in batches] == [0, 10, 20]
    assert {b.columns for b in batches} == {("a", "b")}
    X = np.concatenate([b.X for b in batches])
    frame = pd.read_csv(path, dtype=str).astype(float)
    np.testing.assert_array_equal(X, frame[["a", "b"]].to_numpy())
    assert all(b.X.flags.c_contiguous for b in batches)
    assert np.concatenate([b.y for b in batches]).tolist() == frame["y"].tolist()


def test_booleans_are_zero_and_one_and_categories_stand_behind_numbers(tmp_path):
    path = write(tmp_path / "a.csv", "c,flag,x,y\nu,true,0,A\nv,False,2.5,B\nu,TRUE,1,A\n")
    batches = list(stream.open_file(path, target="y", batch_rows=2))
    assert [b.columns for b in batches] == [("flag", "x", "c=u", "c=v")] * 2
    rows, targets = rows_of(batches)
    assert rows[0] == {"flag": 1.0, "x": 0.0, "c=u": 1.0}  # a zero stays a value
    assert targets == ["A", "B", "A"]


def test_new_categories_extend_the_names(tmp_path):
    path = write(tmp_path / "a.csv", "c,x\n" + "".join(f"k{k},1\n" for k in range(6)))
    widths = [b.columns for b in stream.open_file(path, batch_rows=2)]
    assert widths[-1] == ("x", *(f"c=k{k}" for k in range(6)))
    assert all(widths[-1][: len(w)] == w for w in widths)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_the_delimiter_is_found_in_the_header(tmp_path, delimiter):
    path = write(tmp_path / "a.csv", "a,b,y\n1,2,0\n3,4,1\n".replace(",", delimiter))
    assert rows_of(stream.open_file(path, target="y"))[0] == [{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 4.0}]


def test_quotes_in_the_header(tmp_path):
    """One amid a name is a part of it, as the csv module has it; delimiters in quotes are none."""
    for text, names in {
        'width 5",y\n1,2\n': ['width 5"', "y"],
        '"a, b, c";y\n1;2\n': ["a, b, c", "y"],
        '\ufeff"a\n1",y\n1,2\n': ["a\n1", "y"],
        'w 5",h 6",y\n1,2,3\n': ['w 5"', 'h 6"', "y"],
    }.items():
        source = stream.CSV(write(tmp_path / "a.csv", text), "y")
        assert rows_of(source)[0] == [{name: k + 1.0 for k, name in enumerate(names[:-1])}]


def test_choice_of_columns_and_kinds(tmp_path):
    path = write(tmp_path / "a.csv", "id,zip,x,y\n1,10,0.5,0\n2,20,0.25,1\n")
    source = stream.open_file(path, target="y", drop=["id"], kinds={"zip": "category"})
    assert rows_of(source)[0] == [{"x": 0.5, "zip=10": 1.0}, {"x": 0.25, "zip=20": 1.0}]
    assert rows_of(stream.open_file(path, columns=["x"]))[0] == [{"x": 0.5}, {"x": 0.25}]


def test_missing_cells_as_zero(tmp_path):
    path = write(tmp_path / "a.csv", "x,c,b,y\n,u,true,1\n2,,false,0\nnan,u,,1\n")
    rows, _ = rows_of(stream.open_file(path, target="y", missing="zero"))
    assert rows == [{"x": 0.0, "b": 1.0, "c=u": 1.0}, {"x": 2.0, "b": 0.0}, {"x": 0.0, "b": 0.0, "c=u": 1.0}]


@pytest.mark.parametrize("word", ["NA", "null", "?", "nan", "N/A", "None"])
def test_words_for_missing_numbers_leave_a_column_one_of_numbers(tmp_path, word):
    path = write(tmp_path / "a.csv", f"x,c,y\n1,{word},0\n{word},u,1\n2.5,v,0\n")
    source = stream.open_file(path, target="y", missing="zero")
    assert source.kinds == {"x": "number", "c": "category", "y": "number"}
    assert source.doubtful == {}
    frame = pd.read_csv(path, na_values=["?"], dtype={"c": str}, keep_default_na=True)
    assert [row["x"] for row in rows_of(source)[0]] == frame["x"].fillna(0.0).tolist()
    assert rows_of(source)[0][0][f"c={word}"] == 1.0  # among texts it is a value like any other
    with pytest.raises(InputError, match=rf"line 3: column 'x' is '{re.escape(word)}', a missing value"):
        list(stream.open_file(path, target="y"))


def test_columns_of_numbers_with_a_stray_text_are_doubtful(tmp_path):
    rows = "".join(f"{k},{k},{'uvw'[k % 3] if k % 2 else k},{k}\n" for k in range(20)).replace(
        "7,7", "7,7 kg"
    )
    path = write(tmp_path / "a.csv", "x,weight,code,y\n" + rows)
    source = stream.CSV(path, "y")
    assert source.kinds["weight"] == source.kinds["code"] == "category"
    assert source.doubtful == {"weight": "7 kg"}
    assert stream.CSV(path, "y", kinds={"weight": "category"}).doubtful == {}


@pytest.mark.parametrize(
    ("text", "twin"),
    [
        ("c,c=x,y\nu,1,0\nx,2,1\n", "column 'c=x'"),
        ("a,a=b,y\nb=c,u,0\nv,c,1\n", "'b=c' in column 'a'"),
        ("a,a=b,y\nu,c,0\nb=c,v,1\n", "'c' in column 'a=b'"),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_two_columns_that_make_the_same_feature_are_refused(tmp_path, text, twin, name):
    write(tmp_path / "a.csv", text)
    pd.read_csv(tmp_path / "a.csv").to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"would both be the feature '(c=x|a=b=c)'; rename") as caught:
        list(stream.open_file(tmp_path / name, target="y", batch_rows=1))
    assert twin in str(caught.value)


HEAD = "".join(f"{k},{k},a,true,{k % 2}\n" for k in range(1200))  # kinds are settled by the first 1,000 rows

BAD = {
    "empty": ("", "the file is empty"),
    "blank": ("\n\n", "the file is empty"),
    "header only": ("x,z,c,b,y\n", "only a header"),
    "no header": ("1,2,3\n4,5,6\n", "a header with names is needed"),
    "ragged short": (f"x,z,c,b,y\n{HEAD}1,2,a,true\n", "line 1202: 4 fields, where the header has 5"),
    "ragged long": (f"x,z,c,b,y\n{HEAD}1,2,a,true,1,9\n", "line 1202: more than 5 fields"),
    "text in a number": (f"x,z,c,b,y\n{HEAD}1,tall,a,true,1\n", r"line 1202: column 'z' is 'tall'.*category"),
    "text in a boolean": (f"x,z,c,b,y\n{HEAD}1,2,a,maybe,1\n", r"line 1202: column 'b' is 'maybe'"),
    "text in the target": (
        f"x,z,c,b,y\n{HEAD}1,2,a,true,yes\n",
        r"line 1202: column 'y' is 'yes', the target must",
    ),
    "empty number": (f"x,z,c,b,y\n{HEAD}1,,a,true,1\n", r"line 1202: column 'z' is empty.*--missing zero"),
    "NaN": (f"x,z,c,b,y\n{HEAD}NaN,1,a,true,1\n", r"line 1202: column 'x' is 'NaN', a missing value"),
    "a word for a missing number": (
        f"x,z,c,b,y\n{HEAD}1,N/A,a,true,1\n",
        r"line 1202: column 'z' is 'N/A', a missing value; .*--missing zero",
    ),
    "carriage returns": ("x,y\r1,0\r2,1\r", "carriage return alone"),
    "a header that csv refuses": ("x" * 140_000 + ",y\n1,0\n", "the header cannot be read .*field larger"),
    "the target left out": ("x,y\n1,0\n", "column 'y' is the target"),
    "empty category": (f"x,z,c,b,y\n{HEAD}1,2,,true,1\n", r"line 1202: column 'c' is empty"),
    "empty target": (f"x,z,c,b,y\n{HEAD}1,2,a,true,\n", r"line 1202: the target 'y' is missing"),
    "open quote": (f'x,z,c,b,y\n{HEAD}1,2,"a,true,1\n', "line 1202: a quote is opened and never closed"),
    "after a quote": (f'x,z,c,b,y\n{HEAD}1,2,"a"b,true,1\n', "line 1202: text after a closing quote"),
    "line of a long cell": (f'x,z,c,b,y\n{HEAD}1,2,"a\n\nb",true,1\n1,2\n', "line 1205: 2 fields"),
    "twice the name": ("x,x,y\n1,2,3\n", "two columns are named 'x'"),
    "no such target": ("x,z,c,b,yy\n" + HEAD, "no column 'y'; it has 'x', 'z', 'c', 'b', 'yy'"),
    "only a target": ("y\n1\n", "no columns left"),
    "open quote in the header": ('x,"y\n1,2\n3,4\n', "line 1: a quote is opened in the header and never"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_csv_is_refused_with_its_place(tmp_path, case):
    text, message = BAD[case]
    path = write(tmp_path / "bad.csv", text)
    with pytest.raises(InputError, match=message) as caught:
        list(stream.open_file(path, target="y", drop=["y"] if "left out" in case else []))
    assert str(path) in str(caught.value)


def test_text_that_is_not_utf8_is_refused(tmp_path):
    path = write(tmp_path / "a.csv", "c,x\ncafé,1\n", "latin-1")
    with pytest.raises(InputError, match=r"line 2: column 'c' is not UTF-8"):
        list(stream.open_file(path))


@pytest.mark.parametrize("kind", [stream.CSV, stream.SVMLight, stream.VW])
@pytest.mark.parametrize("form", ["Parquet", "Arrow IPC", "gzip", "zstd"])
def test_what_is_no_text_is_named(tmp_path, kind, form):
    pa = pytest.importorskip("pyarrow")
    frame, path = pd.DataFrame({"x": [1.0, 2.0], "y": [0, 1]}), tmp_path / "a"
    text, end = b"x,y\n1,0\n2,1\n", {"Parquet": "parquet", "Arrow IPC": "arrow", "gzip": "gz", "zstd": "zst"}
    if form == "Parquet":
        frame.to_parquet(path)
    elif form == "Arrow IPC":
        frame.to_feather(path)
    else:
        path.write_bytes(gzip.compress(text) if form == "gzip" else pa.compress(text, form, asbytes=True))
    with pytest.raises(InputError, match=rf"a: this is {form}, not text; .* that ends in \.{end[form]}$"):
        list(kind(path))
    way = f"send it through {form} -dc$" if form in ("gzip", "zstd") else "write it to a file"
    with pytest.raises(InputError, match=f"<pipe>: this is {form}, not text; {way}"):
        list(kind(io.BytesIO(path.read_bytes())))


def test_a_cut_gzip_file_is_refused(tmp_path):
    rng = np.random.default_rng(0)
    whole = gzip.compress(("x,y\n" + "".join(f"{v},1\n" for v in rng.random(20_000))).encode())
    (tmp_path / "a.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is the file complete"):
        list(stream.open_file(tmp_path / "a.csv.gz"))


def test_a_column_of_identifiers_is_stopped(tmp_path):
    path = write(tmp_path / "a.csv", "id,x\n" + "".join(f"u{k},1\n" for k in range(100)))
    with pytest.raises(InputError, match=r"more than 50 columns and categories.*'id'"):
        list(stream.CSV(path, max_categories=50))


def test_a_row_longer_than_the_window_is_read(tmp_path, small_window):
    long = "w" * 1000
    path = write(tmp_path / "a.csv", f"c,x\n{long},1\nv,2\n")
    assert rows_of(stream.open_file(path))[0] == [{f"c={long}": 1.0, "x": 1.0}, {"c=v": 1.0, "x": 2.0}]


def test_an_endless_row_is_stopped(tmp_path, small_window, monkeypatch):
    monkeypatch.setattr(_window, "LONGEST_ROW", 10_000)
    path = write(tmp_path / "a.csv", 'c,x\nv,1\n"' + "w" * 30_000)
    with pytest.raises(InputError, match="line 3: a row of more than"):
        list(stream.open_file(path))


# -- svmlight -----------------------------------------------------------------------------


def svmlight_text(n: int, seed: int, first_index: int) -> str:
    rng = np.random.default_rng(seed)
    lines = ["# a comment"]
    for k in range(n):
        index = np.sort(rng.choice(500, size=rng.integers(0, 12), replace=False)) + first_index
        pairs = " ".join(
            f"{i}:{v!r}" for i, v in zip(index.tolist(), rng.normal(size=len(index)).tolist(), strict=True)
        )
        lines.append(f"{rng.choice([-1, 1])} {pairs}" + ("  # note" if k % 7 == 0 else ""))
    return "\n".join(lines)


@pytest.mark.parametrize("first_index", [0, 1])
@pytest.mark.parametrize("name", ["a.svm", "a.svmlight.gz"])
@pytest.mark.parametrize("batch_rows", [3, 1000])
def test_svmlight_equals_scikit_learn(tmp_path, small_window, first_index, name, batch_rows):
    path = write(tmp_path / name, svmlight_text(200, 5, first_index))
    rows, targets = rows_of(stream.open_file(path, batch_rows=batch_rows))
    X, y = load_svmlight_file(str(path), zero_based=True)
    assert targets == y.tolist()
    for k, row in enumerate(rows):
        lo, hi = X.indptr[k : k + 2]
        assert row == dict(zip(map(str, X.indices[lo:hi].tolist()), X.data[lo:hi].tolist(), strict=True))


def test_real_svmlight_equals_scikit_learn(data):
    path = data / "news20.svm.gz"
    X, y = load_svmlight_file(str(path), zero_based=False)
    at = 0
    for batch in stream.open_file(path, batch_rows=4096):
        part = X[at : at + len(batch)]
        np.testing.assert_array_equal(batch.y, y[at : at + len(batch)])
        np.testing.assert_array_equal(batch.X.indptr, part.indptr)
        np.testing.assert_array_equal(batch.X.data, part.data)
        names = np.array(batch.columns, dtype=np.int64)
        np.testing.assert_array_equal(names[batch.X.indices], part.indices + 1)
        at += len(batch)
    assert at == len(y)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows"),
        ("# nothing\n", "no rows"),
        ("1 2:1\n1 qid:3 2:1\n", "line 2: 'qid:3': query ids"),
        ("1 2:1\n1 a:1\n", "line 2: 'a:1': a feature is written"),
        ("1 2:1\n1 3:1 2:1\n", "line 2: '2:1': indices must rise"),
        ("1 2:1\n1 3:1 3:1\n", "line 2: '3:1': indices must rise"),
        ("1 2:1\n1 3:x\n", "line 2: 'x' is not a number"),
        ("1 2:1\n1,2 3:1\n", "line 2: '1,2' is not a number"),
        ("1 2:1\n1 1234567890123456789:1\n", "line 2: '1234567890123456789:1'.* of at most 18 digits"),
    ],
)
def test_bad_svmlight_is_refused_with_its_place(tmp_path, text, message):
    path = write(tmp_path / "bad.svm", text)
    with pytest.raises(InputError, match=message):
        list(stream.open_file(path))


# -- Parquet ------------------------------------------------------------------------------


def test_parquet_equals_pandas_whatever_the_row_groups(tmp_path):
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({
        "i": rng.integers(-5, 5, 100).astype("int8"),
        "f": rng.normal(size=100).astype("float32"),
        "b": rng.random(100) < 0.5,
        "c": rng.choice(["u", "v", "w"], 100),
        "d": pd.Categorical(rng.choice(["p", "q"], 100)),
        "y": rng.normal(size=100),
    })  # fmt: skip
    path = tmp_path / "a.parquet"
    frame.to_parquet(path, row_group_size=17)
    source = stream.open_file(path, target="y", batch_rows=30)
    batches = list(source)
    assert [len(b) for b in batches] == [30, 30, 30, 10]
    rows, targets = rows_of(batches)
    assert targets == frame["y"].tolist()
    assert rows == [
        {"i": float(r.i), "f": float(r.f), "b": float(r.b), f"c={r.c}": 1.0, f"d={r.d}": 1.0}
        for r in frame.itertuples()
    ]
    assert source.expected_rows(batches[0].position) == 100


def test_float32_stays_float32_and_mixed_becomes_float64(tmp_path):
    frame = pd.DataFrame({"a": np.float32([1, 2]), "b": np.float32([3, 4]), "y": [True, False], "k": [1, 2]})
    frame.to_parquet(tmp_path / "a.parquet")
    narrow = next(iter(stream.open_file(tmp_path / "a.parquet", target="y", drop=["k"])))
    assert narrow.X.dtype == np.float32
    assert narrow.y.dtype == bool
    assert next(iter(stream.open_file(tmp_path / "a.parquet", target="y"))).X.dtype == np.float64


def test_parquet_missing_values(tmp_path):
    frame = pd.DataFrame({"x": [1.0, None, 3.0], "c": ["u", "v", None], "y": [1, 0, 1]})
    frame.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match="row 2: column 'x' is null or NaN"):
        list(stream.open_file(tmp_path / "a.parquet", target="y"))
    with pytest.raises(InputError, match="row 3: column 'c' is null"):
        list(stream.open_file(tmp_path / "a.parquet", target="y", drop=["x"]))
    rows, _ = rows_of(stream.open_file(tmp_path / "a.parquet", target="y", missing="zero"))
    assert rows == [{"x": 1.0, "c=u": 1.0}, {"x": 0.0, "c=v": 1.0}, {"x": 3.0}]
    for target, row in (("x", 2), ("c", 3)):
        with pytest.raises(InputError, match=f"row {row}: the target '{target}' is missing"):
            list(stream.open_file(tmp_path / "a.parquet", target=target, missing="zero"))


def test_parquet_times_are_refused_with_advice(tmp_path):
    pd.DataFrame({"t": pd.to_datetime(["2020-01-01"]), "x": [1.0], "y": [1]}).to_parquet(
        tmp_path / "a.parquet"
    )
    with pytest.raises(InputError, match=r"column 't' has type timestamp.*hour and weekday.*--drop t"):
        stream.open_file(tmp_path / "a.parquet", target="y")
    assert rows_of(stream.open_file(tmp_path / "a.parquet", target="y", drop=["t"]))[0] == [{"x": 1.0}]


def test_not_a_parquet_file(tmp_path):
    with pytest.raises(InputError, match="not a Parquet file"):
        stream.open_file(write(tmp_path / "a.parquet", "x,y\n1,2\n"), target="y")


# -- every source -------------------------------------------------------------------------


@pytest.fixture(params=["a.csv", "a.csv.gz", "a.parquet", "a.svm"])
def any_source(request, tmp_path):
    path = tmp_path / request.param
    if path.suffix == ".svm":
        write(path, svmlight_text(95, 9, 1))
    else:
        rng = np.random.default_rng(1)
        frame = pd.DataFrame(
            {"x": rng.normal(size=95), "c": rng.choice(list("uvw"), 95), "y": rng.integers(0, 2, 95)}
        )
        if path.suffix == ".parquet":
            frame.to_parquet(path, row_group_size=40)
        else:
            frame.to_csv(path, index=False)
    target = None if path.suffix == ".svm" else "y"
    return lambda: stream.open_file(path, target=target, batch_rows=10)


def test_a_source_continues_from_any_position(any_source, small_window):
    batches = list(any_source())
    assert isinstance(any_source(), stream.Source)
    everything = rows_of(batches)
    for batch in batches:
        position = json.loads(json.dumps(batch.position))
        rest = rows_of(any_source().batches(position))
        done = position["row"]
        assert rest == (everything[0][done:], everything[1][done:])
    assert done == 95


def test_sparse_rows_can_be_imported_from_where_batches_come_from(tmp_path):
    path = write(tmp_path / "a.svm", "1 2:0.5 4:1\n0 4:3\n")
    X = next(iter(stream.open_file(path))).X
    assert isinstance(X, stream.SparseRows)
    assert "SparseRows" in stream.__all__
    model = linear_model.LogisticRegression()
    model.learn_rows(stream.SparseRows(X.data, X.indices, X.indptr, 2), [1, 0], columns=["2", "4"])
    assert set(model.weights) == {"2", "4"}


def test_a_source_is_read_again_from_the_beginning(any_source):
    source = any_source()
    assert rows_of(source) == rows_of(source)


def test_open_file_names_what_is_wrong(tmp_path):
    write(tmp_path / "clicks.csv", "x,c,y\n1,a,0\n")
    with pytest.raises(FileNotFoundError, match=r"no file .*clix\.csv'; did you mean 'clicks\.csv'"):
        stream.open_file(tmp_path / "clix.csv")
    with pytest.raises(InputError, match=r"must end in \.csv"):
        stream.open_file(write(tmp_path / "a.xlsx", "x"))
    write(tmp_path / "a.svm", "1 2:1\n")
    assert stream.open_file(tmp_path / "a.svm", target="label").target == "label"
    with pytest.raises(InputError, match=r"target='y' \(--target\) has no meaning in an svmlight file"):
        stream.open_file(tmp_path / "a.svm", target="y")
    with pytest.raises(InputError, match="the target 'c' holds text; regression needs numbers"):
        stream.open_file(tmp_path / "clicks.csv", target="c", task="regression")
    write(tmp_path / "sales.csv", "price,amount\n1,2\n")
    for typed in ("Amount", "amout"):
        with pytest.raises(InputError, match=f"no column '{typed}'; did you mean 'amount'"):
            stream.open_file(tmp_path / "sales.csv", target=typed)


def test_memory_does_not_grow_with_the_file(tmp_path):
    line = "0.123456,17,some_text,3.25,1\n"
    peaks = []
    for n in (40_000, 400_000):
        path = write(tmp_path / f"{n}.csv", "a,b,c,d,y\n" + line * n)
        source = stream.open_file(path, target="y")
        tracemalloc.start()
        assert sum(len(b) for b in source) == n
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
    assert peaks[1] < 8 << 20  # a file of 11 MB
