"""Tables: Parquet and Arrow files, frames and record batches, against the libraries that made them."""

from __future__ import annotations

import decimal
import json
import random
import sys
import threading
import tracemalloc

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from streamgd import linear_model
from streamgd.stream import CSV, InputError, SparseRows, _arrow
from streamgd.stream._ahead import read_ahead
from streamgd.stream._frames import Frame, RecordBatches
from streamgd.stream._parquet import IPC, Parquet


def dicts(batches):
    """Every row as a dict, and its target."""
    rows, targets = [], []
    for b in batches:
        if isinstance(b.X, SparseRows):
            for lo, hi in zip(b.X.indptr[:-1], b.X.indptr[1:], strict=True):
                index, values = b.X.indices[lo:hi].tolist(), b.X.data[lo:hi].tolist()
                rows.append({b.columns[k]: v for k, v in zip(index, values, strict=True)})
        else:
            rows += [dict(zip(b.columns, x, strict=True)) for x in b.X.tolist()]
        targets += [None] * len(b) if b.y is None else b.y.tolist()
    return rows, targets


def wanted(frame: pd.DataFrame, target: str, categories):
    """Return the same from pandas' own rows."""
    rows = []
    for record in frame.drop(columns=[target]).to_dict("records"):
        row = {k: float(v) for k, v in record.items() if k not in categories}
        rows.append(row | {f"{k}={record[k]}": 1.0 for k in categories if record[k] is not None})
    return rows, frame[target].tolist()


def mixed(n: int, seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({
        "i": rng.integers(-5, 5, n).astype("int8"),
        "f": rng.normal(size=n).astype("float32"),
        "b": rng.random(n) < 0.5,
        "c": rng.choice(["u", "v", "w", "é"], n),
        "d": pd.Categorical(rng.choice(["p", "q"], n), categories=["none", "q", "p"]),
        "y": rng.normal(size=n),
    })  # fmt: skip


def single(n: int, p: int = 3, seed: int = 0) -> pd.DataFrame:
    X = np.random.default_rng(seed).normal(size=(n, p + 1)).astype("float32")
    return pd.DataFrame({f"x{j}": X[:, j] for j in range(p)} | {"y": X[:, p] > 0})


def save(frame: pd.DataFrame, path, rows: int):
    """Write a frame in the format of the name, in groups of ``rows`` rows."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=rows)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=rows)
    return path


def spread(frame: pd.DataFrame, folder, suffix: str, *cuts: int):
    """Write a frame into files of a folder, cut at some rows."""
    folder.mkdir(exist_ok=True)
    for k, (lo, hi) in enumerate(zip((0, *cuts), (*cuts, len(frame)), strict=True)):
        save(frame.iloc[lo:hi], folder / f"part-{k}{suffix}", 13)
    return folder


SUFFIXES = [".parquet", ".arrow"]


def reader_of(path):
    return IPC if ".arrow" in str(path) else Parquet


def source_of(path, *args, **options):
    return reader_of(path)(path, *args, **options)


# What holds the same 100 rows of `mixed`, each made anew from a folder for temporary files.
HOLDERS = {
    "parquet": lambda f, t: Parquet(save(f, t / "a.parquet", 17), "y", 30),
    "parquet, one group": lambda f, t: Parquet(save(f, t / "a.parquet", 1000), "y", 30),
    "ipc": lambda f, t: IPC(save(f, t / "a.arrow", 17), "y", 30),
    "parquet folder": lambda f, t: Parquet(spread(f, t / "d", ".parquet", 1, 40, 40, 77), "y", 30),
    "ipc folder": lambda f, t: IPC(spread(f, t / "d", ".arrow", 1, 40, 40, 77), "y", 30),
    "parquet glob": lambda f, t: Parquet(
        f"{spread(f, t / 'd', '.parquet', 50)}/part-*.parquet", "y", 30
    ),
    "pandas": lambda f, t: Frame(f, "y", 30),
    "polars": lambda f, t: Frame(pl.from_pandas(f), "y", 30),
    "arrow": lambda f, t: Frame(pa.Table.from_pandas(f), "y", 30),
    "chunked arrow": lambda f, t: Frame(
        pa.concat_tables([pa.Table.from_pandas(f[:7]), pa.Table.from_pandas(f[7:])]), "y", 30
    ),
    "record batches": lambda f, t: RecordBatches(pa.Table.from_pandas(f).to_batches(9), "y", 30),
    "reader": lambda f, t: RecordBatches(pa.Table.from_pandas(f).to_reader(11), "y", 30),
    "stream": lambda f, t: RecordBatches(pl.from_pandas(f), "y", 30),
    "frames": lambda f, t: RecordBatches((pl.from_pandas(f[k : k + 21]) for k in range(0, 100, 21)), "y", 30),
}  # fmt: skip


@pytest.fixture(params=HOLDERS)
def holder(request, tmp_path):
    frame = mixed(100)
    return lambda: HOLDERS[request.param](frame, tmp_path)


@pytest.fixture(params=[3, 1 << 17], ids=["small pieces", "one piece"])
def piece(request, monkeypatch):
    monkeypatch.setattr(_arrow, "_PIECE_ROWS", request.param)


# -- all of them --------------------------------------------------------------------------


def test_rows_equal_pandas_in_batches_of_constant_size(holder, piece):
    source = holder()
    batches = list(source)
    assert [len(b) for b in batches] == [30, 30, 30, 10]
    assert [b.first for b in batches] == [0, 30, 60, 90]
    assert dicts(batches) == wanted(mixed(100), "y", ["c", "d"])
    assert batches[0].columns[:4] == ("i", "f", "b", f"c={mixed(100)['c'][0]}")
    assert source.kinds == {
        "i": "number", "f": "number", "b": "boolean", "c": "category", "d": "category", "y": "number"
    }  # fmt: skip
    if isinstance(source, RecordBatches):
        assert not source.repeatable
        assert source.expected_rows(batches[0].position) is None
        with pytest.raises(InputError, match="come only once"):
            list(source)
    else:
        assert source.n_rows == source.expected_rows(batches[0].position) == 100
        assert dicts(source) == dicts(batches)
    assert source.reads


def test_every_position_continues_to_the_bit(holder, piece):
    batches = list(holder())
    rows, targets = dicts(batches)
    for batch in batches:
        position = json.loads(json.dumps(batch.position))
        rest = list(holder().batches(position))
        done = position["row"]
        assert dicts(rest) == (rows[done:], targets[done:])
        assert [b.position for b in rest] == [b.position for b in batches if b.first >= done]
    assert done == 100


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("rows", [1, 7, 1000])
@pytest.mark.parametrize("batch_rows", [1, 13, 64, 500])
def test_chunking_changes_nothing(tmp_path, suffix, rows, batch_rows):
    frame = single(130)
    path = save(frame, tmp_path / f"a{suffix}", rows)
    batches = list(source_of(path, "y", batch_rows))
    assert {len(b) for b in batches[:-1]} <= {batch_rows}
    X = np.concatenate([b.X for b in batches])
    assert X.dtype == np.float32
    assert all(b.X.flags.c_contiguous for b in batches)
    np.testing.assert_array_equal(X, frame[["x0", "x1", "x2"]].to_numpy())
    np.testing.assert_array_equal(np.concatenate([b.y for b in batches]), frame["y"])


@pytest.mark.parametrize("p", [1, 4, 5, 6, 9, 10, 31])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_matrices_of_any_width(p, dtype):
    X = np.random.default_rng(p).normal(size=(40, p)).astype(dtype)
    X[3, 0], X[4, p - 1] = np.inf, -np.inf
    for order in "CF":  # columns that are contiguous, and that are not
        frame = pd.DataFrame(np.array(X, order=order))
        batches = list(Frame(frame, batch_rows=16))
        assert batches[0].columns == tuple(range(p))
        np.testing.assert_array_equal(np.concatenate([b.X for b in batches]), X)
        assert batches[0].X.dtype == dtype
        for j in range(p):
            gaps = X.copy(order=order)
            gaps[21, j] = np.nan
            with pytest.raises(InputError, match=rf"row 22: column {j} is null or NaN"):
                list(Frame(pd.DataFrame(gaps), batch_rows=16))


@pytest.mark.parametrize("make", [
    pytest.param(lambda f: f, id="pandas"),
    pytest.param(pl.from_pandas, id="polars"),
    pytest.param(lambda f: pa.Table.from_pandas(f), id="arrow"),
    pytest.param(lambda f: pa.RecordBatch.from_pandas(f), id="record batch"),
])  # fmt: skip
def test_frames_of_float32_stay_float32_and_others_become_float64(make):
    frame = single(50)
    batch = next(iter(Frame(make(frame), "y", 20)))
    assert batch.X.dtype == np.float32
    assert batch.y.dtype == bool
    np.testing.assert_array_equal(batch.X, frame[["x0", "x1", "x2"]][:20])
    assert next(iter(Frame(make(frame.assign(k=1)), "y"))).X.dtype == np.float64


table_of = {
    "parquet": lambda t, p: Parquet(save_table(t, p / "a.parquet"), "y", 2, missing="zero"),
    "ipc": lambda t, p: IPC(save_table(t, p / "a.arrow"), "y", 2, missing="zero"),
    "arrow": lambda t, p: Frame(t, "y", 2, missing="zero"),
    "pandas": lambda t, p: Frame(t.to_pandas(), "y", 2, missing="zero"),
    "pandas of arrow": lambda t, p: Frame(t.to_pandas(types_mapper=pd.ArrowDtype), "y", 2, missing="zero"),
    "polars": lambda t, p: Frame(pl.from_arrow(t), "y", 2, missing="zero"),
}


def save_table(table, path):
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=2)
    else:
        pyarrow.feather.write_feather(table, path, compression="zstd")
    return path


# Of each type, cells that are hard to carry over.
CELLS = {
    "i8": (pa.int8(), [-128, 127, 0]),
    "u64": (pa.uint64(), [0, 2**53, 2**63]),
    "f32": (pa.float32(), [0.5, -1e38, 1.401298464324817e-45]),
    "f64": (pa.float64(), [0.1, 1e300, 5e-324, -0.0]),
    "flag": (pa.bool_(), [True, False]),
    "money": (pa.decimal128(9, 2), [decimal.Decimal("0.57"), decimal.Decimal("-42.73"), decimal.Decimal(7)]),
    "text": (pa.string(), ["", "u", "u=v", "\u6f22"]),
    "long": (pa.large_string(), ["a", "A", " a"]),
    "code": (pa.dictionary(pa.int8(), pa.string()), ["p", "q", ""]),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", table_of)
def test_any_cells_are_read_as_arrow_reads_them(tmp_path, kind, seed):
    rng = random.Random(seed)
    n = rng.choice([1, 2, 9, 30])
    columns = {}
    for name, (type_, cells) in CELLS.items():
        gaps = rng.choice([0.0, 0.3, 0.3, 1.0])
        if kind == "pandas" and name in ("flag", "money"):
            gaps = 0.0  # a column of objects without any tells nothing
        columns[name] = pa.array(
            [None if rng.random() < gaps else rng.choice(cells) for _ in range(n)], type_
        )
    columns["y"] = pa.array(range(n))
    rows, targets = dicts(table_of[kind](pa.table(columns), tmp_path))
    assert targets == list(range(n))
    for k, row in enumerate(rows):
        want = {}
        for name in CELLS:
            value = columns[name][k].as_py()
            if name not in ("text", "long", "code"):
                want[name] = 0.0 if value is None else float(value)
            elif value is not None:
                want[f"{name}={value}"] = 1.0
        assert row == want


@pytest.mark.parametrize("kind", ["parquet", "arrow", "pandas", "polars"])
def test_a_model_learns_the_same_from_each(tmp_path, kind):
    frame = mixed(400)
    frame["y"] = frame["y"] > 0
    source = {
        "parquet": lambda: Parquet(save(frame, tmp_path / "a.parquet", 100), "y", 64),
        "arrow": lambda: Frame(pa.Table.from_pandas(frame), "y", 64),
        "pandas": lambda: Frame(frame, "y", 64),
        "polars": lambda: Frame(pl.from_pandas(frame), "y", 64),
    }[kind]()
    model, naive = linear_model.LogisticRegression(), linear_model.LogisticRegression()
    for batch in read_ahead(source):
        model.learn_rows(batch.X, batch.y, columns=batch.columns)
    for x, y in zip(*wanted(frame, "y", ["c", "d"]), strict=True):
        naive.learn_one(x, y)
    assert model.weights == pytest.approx(naive.weights, rel=1e-9)


# -- options ------------------------------------------------------------------------------


@pytest.fixture(params=["parquet", "ipc", "pandas", "polars", "arrow", "record batches"])
def of_frame(request, tmp_path):
    def make(frame, *args, **options):
        table = pa.Table.from_pandas(frame, preserve_index=False)
        match request.param:
            case "parquet":
                return Parquet(save(frame, tmp_path / "a.parquet", 2), *args, **options)
            case "ipc":
                return IPC(save(frame, tmp_path / "a.arrow", 2), *args, **options)
            case "pandas":
                return Frame(frame, *args, **options)
            case "polars":
                return Frame(pl.from_arrow(table), *args, **options)
            case "arrow":
                return Frame(table, *args, **options)
        return RecordBatches(table.to_batches(2), *args, **options)

    return make


GAPS = pd.DataFrame({"x": [1.0, None, 3.0, 5.0], "c": ["u", "v", None, "u"], "y": [1, 0, 1, 1]})


def test_missing_values(of_frame):
    with pytest.raises(InputError, match=r", row 2: column 'x' is null or NaN.*missing='zero'"):
        list(of_frame(GAPS, "y"))
    with pytest.raises(InputError, match=r", row 3: column 'c' is null"):
        list(of_frame(GAPS, "y", drop=["x"]))
    rows, _ = dicts(of_frame(GAPS, "y", missing="zero"))
    assert rows == [{"x": 1.0, "c=u": 1.0}, {"x": 0.0, "c=v": 1.0}, {"x": 3.0}, {"x": 5.0, "c=u": 1.0}]
    rows, _ = dicts(of_frame(GAPS, "y", 1, missing="mean"))
    assert [row["x"] for row in rows] == [1.0, 1.0, 3.0, 5.0]
    for target, row in (("x", 2), ("c", 3)):
        with pytest.raises(InputError, match=f"row {row}: the target '{target}' is missing; take the row"):
            list(of_frame(GAPS, target, missing="zero"))


def test_means_go_on_at_a_position(of_frame):
    frame = pd.DataFrame({"x": [2.0, None, 4.0, None, 6.0, None], "z": np.arange(6.0), "y": [1.0] * 6})
    batches = list(of_frame(frame, "y", 2, missing="mean"))
    assert [row["x"] for row in dicts(batches)[0]] == [2.0, 2.0, 4.0, 3.0, 6.0, 4.0]
    for batch in batches:
        position = json.loads(json.dumps(batch.position))
        rest, _ = dicts(of_frame(frame, "y", 2, missing="mean").batches(position))
        assert rest == dicts(batches)[0][position["row"] :]


def test_batches_before_a_bad_row_are_handed_out(of_frame):
    batches = iter(of_frame(GAPS, "y", 1, columns=["x"]))
    assert next(batches).X.tolist() == [[1.0]]
    with pytest.raises(InputError, match="row 2"):
        next(batches)


def test_rows_before_a_bad_one_are_handed_out_wherever_it_stands(of_frame):
    frame = pd.DataFrame({"x": np.arange(10.0), "c": list("abcde") * 2, "h": np.ones(10), "y": np.ones(10)})
    for column, message in {
        "x": "row 8: column 'x'",
        "c": "row 8: column 'c'",
        "h": "row 8: the weight 'h' is missing",
        "y": "row 8: the target 'y' is missing",
    }.items():
        bad = frame.copy()
        bad.loc[7, column] = None
        bad.loc[8, "x"] = None
        source, batches = of_frame(bad, "y", 5, weight="h"), []
        with pytest.raises(InputError, match=message) as caught:
            batches.extend(source)
        assert caught.value.row == 7
        assert [len(b) for b in batches] == [5, 2]
        assert dicts(batches)[0] == [{"x": float(k), f"c={frame['c'][k]}": 1.0} for k in range(7)]
        mended = of_frame(frame, "y", 5, weight="h").batches(batches[-1].position)
        assert [row["x"] for row in dicts(mended)[0]] == [7.0, 8.0, 9.0]


def test_a_bad_row_among_plain_numbers(of_frame):
    frame = pd.DataFrame(np.arange(60.0).reshape(10, 6), columns=list("abcdef"))
    frame.loc[7, "b"] = None
    batches = []
    with pytest.raises(InputError, match="row 8: column 'b' is null") as caught:
        batches.extend(of_frame(frame, None, 5))
    assert caught.value.row == 7
    np.testing.assert_array_equal(np.concatenate([b.X for b in batches]), frame[:7])


def test_rows_before_an_error_of_what_yields_record_batches_are_handed_out():
    def parts():
        yield from pa.table({"x": np.arange(12.0)}).to_batches(4)
        raise OSError("gone")

    batches = []
    with pytest.raises(OSError, match="gone"):
        batches.extend(RecordBatches(parts(), batch_rows=5))
    assert [b.X.ravel().tolist() for b in batches] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]


def test_kinds_of_columns_that_are_not_there_are_refused(of_frame, tmp_path):
    frame = pd.DataFrame({"zip": [1, 2], "x": [1.0, 2.0], "w": [1.0, 1.0]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    for make in (of_frame, lambda _, *args, **options: CSV(tmp_path / "a.csv", *args, **options)):
        with pytest.raises(InputError, match=r"no column 'zp' .*--category zp.*did you mean 'zip'"):
            make(frame, None, kinds={"zp": "category"})
        source = make(frame, None, drop=["x"], weight="w", kinds={"x": "category", "w": "number"})
        assert source.kinds == {"zip": "number"}  # of one that is left out there is no need


def test_nan_is_no_category(of_frame):
    frame = pd.DataFrame({"zip": [1.5, np.nan, 2.0, np.nan], "x": np.arange(4.0)})
    table = pa.table({"zip": pa.array([1.5, float("nan"), 2.0, None]), "x": np.arange(4.0)})
    for held in (of_frame(frame, None, 3, kinds={"zip": "category"}, missing="zero"),
                 Frame(table, kinds={"zip": "category"}, missing="zero"),
                 Frame(pl.from_arrow(table), kinds={"zip": "category"}, missing="zero")):  # fmt: skip
        assert dicts(held)[0] == [
            {"x": 0.0, "zip=1.5": 1.0},
            {"x": 1.0},
            {"x": 2.0, "zip=2.0": 1.0},
            {"x": 3.0},
        ]
    with pytest.raises(InputError, match="row 2: column 'zip' is null or NaN"):
        list(Frame(table, kinds={"zip": "category"}))


def test_weights(of_frame):
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "h": [0, 2, 5], "y": [1, 0, 1]})
    source = of_frame(frame, "y", 2, weight="h")
    batches = list(source)
    assert [b.w.tolist() for b in batches] == [[0.0, 2.0], [5.0]]
    assert all(b.w.dtype == np.float64 for b in batches)
    assert batches[0].columns == ("x",)
    assert "h" not in source.kinds
    assert next(iter(of_frame(frame, "y"))).w is None
    for bad, word in ((-1.0, "-1.0"), (np.inf, "inf"), (np.nan, "missing")):
        frame["h"] = [1.0, 1.0, bad]
        with pytest.raises(InputError, match=rf", row 3: the weight 'h' is {word}; weights are finite"):
            list(of_frame(frame, "y", 2, weight="h"))
    with pytest.raises(InputError, match=r"no column 'hh'; did you mean 'h'|no column 'hh'; it has"):
        of_frame(frame, "y", weight="hh")
    with pytest.raises(InputError, match="column 'y' is the target and cannot hold the weights"):
        of_frame(frame, "y", weight="y")
    with pytest.raises(InputError, match=r"column 'c' has type .*; weights are numbers"):
        of_frame(GAPS, "y", weight="c")


def test_columns_kinds_interactions_and_hashing(of_frame):
    frame = pd.DataFrame({"id": [7, 8], "zip": [10, 20], "x": [0.5, 0.25], "y": [0, 1]})
    rows, _ = dicts(of_frame(frame, "y", drop=["id"], kinds={"zip": "category"}))
    assert rows == [{"x": 0.5, "zip=10": 1.0}, {"x": 0.25, "zip=20": 1.0}]
    assert dicts(of_frame(frame, columns=["x"]))[0] == [{"x": 0.5}, {"x": 0.25}]
    rows, _ = dicts(of_frame(frame, "y", drop=["id"], interactions=["zip*x"]))
    assert rows[1] == {"zip": 20.0, "x": 0.25, "zip*x": 5.0}
    batch = next(iter(of_frame(frame, "y", n_features=64)))
    assert set(batch.columns) <= set(range(64))
    with pytest.raises(InputError, match="cannot be read as boolean"):
        of_frame(frame, "y", kinds={"x": "boolean"})
    with pytest.raises(ValueError, match="batch_rows=0"):
        of_frame(frame, "y", 0)
    with pytest.raises(InputError, match="more than 3 columns and categories"):
        list(of_frame(frame, "y", kinds={"zip": "category"}, max_categories=3))


def test_dates_are_refused_with_advice(of_frame):
    frame = pd.DataFrame({"t": pd.to_datetime(["2020-01-01"]), "x": [1.0], "y": [1]})
    with pytest.raises(InputError, match=r"column 't' has type .*seconds, or hour and weekday.*--drop t"):
        of_frame(frame, "y")
    assert dicts(of_frame(frame, "y", drop=["t"]))[0] == [{"x": 1.0}]
    days = frame.assign(t=[pd.Timestamp("2020-01-01").date()])
    with pytest.raises(InputError, match=r"column 't' has type .*hour and weekday"):
        of_frame(days, "y")


def test_text_targets_and_boolean_ones(of_frame):
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "c": ["b", "a", "b"], "f": [True, False, True]})
    labels = [b.y for b in of_frame(frame, "c", 2, drop=["f"])]
    assert np.concatenate(labels).tolist() == ["b", "a", "b"]
    assert labels[0].dtype == object
    flags = [b.y for b in of_frame(frame, "f", 2, drop=["c"])]
    assert np.concatenate(flags).tolist() == [True, False, True]
    assert flags[0].dtype == bool


# -- files --------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_errors_name_the_file_and_the_row_in_it(tmp_path, suffix):
    frame = single(60)
    frame.loc[43, "x1"] = np.nan
    folder = spread(frame, tmp_path / "d", suffix, 10, 30)
    with pytest.raises(InputError, match=rf"part-2\{suffix}, row 14: column 'x1' is null or NaN"):
        list(source_of(folder / f"*{suffix}", "y", 25))
    weighted = single(60).assign(h=[1.0] * 12 + [-1.0] + [1.0] * 47)
    folder = spread(weighted, tmp_path / "e", suffix, 10, 30)
    with pytest.raises(InputError, match=rf"part-1\{suffix}, row 3: the weight 'h' is -1.0"):
        list(source_of(folder / f"*{suffix}", "y", 25, weight="h"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_must_have_one_schema(tmp_path, suffix):
    folder = spread(single(30), tmp_path / "d", suffix, 10, 20)
    save(single(5).drop(columns=["x1"]).assign(xl=1.0), folder / f"part-3{suffix}", 5)
    with pytest.raises(
        InputError, match=rf"part-3\{suffix}: no column 'x1', which .*part-0\{suffix} has; it has 'x0'"
    ):
        reader_of(suffix)(folder, "y")
    assert reader_of(suffix)(folder, "y", drop=["x2"], columns=["x0"]).n_rows == 35
    save(single(5).astype({"x1": "float64"}), folder / f"part-3{suffix}", 5)
    with pytest.raises(
        InputError, match=r"part-3.*: column 'x1' has type double, in .*part-0.* it has float"
    ):
        reader_of(suffix)(folder, "y")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_categories_may_be_stored_in_several_ways(tmp_path, suffix):
    frame = mixed(40)
    folder = tmp_path / "d"
    folder.mkdir()
    save(frame[:20], folder / f"a{suffix}", 7)
    other = frame[20:].astype({"c": "category"})
    other["d"] = other["d"].astype(str)
    save(other, folder / f"b{suffix}", 7)
    assert dicts(reader_of(suffix)(folder, "y", 15)) == wanted(frame, "y", ["c", "d"])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_in_a_folder(tmp_path, suffix):
    folder = tmp_path / "d"
    folder.mkdir()
    frame = single(30)
    for name, lo in (("b", 10), ("a", 0), ("c", 20)):
        save(frame[lo : lo + 10], folder / f"{name}{suffix}", 4)
    for name in ("_SUCCESS", f"_meta{suffix}", f".hidden{suffix}", "notes.txt"):
        (folder / name).write_text("no table")
    source = reader_of(suffix)(folder, "y", 8)
    np.testing.assert_array_equal(np.concatenate([b.X for b in source]), frame.drop(columns="y"))
    save(frame[:0], folder / f"aa{suffix}", 4)
    assert reader_of(suffix)(folder, "y").n_rows == 30
    (tmp_path / "e").mkdir()
    with pytest.raises(InputError, match=rf"no files in the folder that end in .*\*\*/\*\{suffix[:3]}"):
        reader_of(suffix)(tmp_path / "e", "y")
    with pytest.raises(FileNotFoundError, match="no file matches"):
        reader_of(suffix)(tmp_path / f"e/*{suffix}", "y")
    with pytest.raises(FileNotFoundError):
        reader_of(suffix)(tmp_path / f"nothing{suffix}", "y")
    with pytest.raises(InputError, match=r"no rows in the file$"):
        reader_of(suffix)(save(frame[:0], tmp_path / f"empty{suffix}", 4), "y")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_positions_know_the_file_and_outlive_changes_of_the_folder(tmp_path, suffix):
    frame = single(60)
    folder = spread(frame, tmp_path / "d", suffix, 10, 30)
    batches = list(reader_of(suffix)(folder, "y", 15))
    assert [b.position for b in batches] == [
        {"row": 15, "file": f"part-1{suffix}", "file_row": 5},
        {"row": 30, "file": f"part-1{suffix}", "file_row": 20},
        {"row": 45, "file": f"part-2{suffix}", "file_row": 15},
        {"row": 60, "file": f"part-2{suffix}", "file_row": 30},
    ]
    (folder / f"part-0{suffix}").unlink()  # done with, and taken away
    save(single(7, seed=1), folder / f"part-3{suffix}", 3)
    rest = list(reader_of(suffix)(folder, "y", 15).batches(batches[1].position))
    assert [b.first for b in rest] == [30, 45, 60]
    want = pd.concat([frame[30:], single(7, seed=1)]).drop(columns="y")
    np.testing.assert_array_equal(np.concatenate([b.X for b in rest]), want)
    (folder / f"part-1{suffix}").unlink()
    with pytest.raises(InputError, match=rf"no file 'part-1\{suffix}', where to continue; did you mean"):
        list(reader_of(suffix)(folder, "y").batches(batches[1].position))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_broken_files_are_named(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_text("x,y\n1,2\n")
    with pytest.raises(InputError, match=rf"a\{suffix}: not an? .* file that can be read"):
        source_of(path, "y")
    save(single(20_000), path, 20_000)
    whole = bytearray(path.read_bytes())
    if suffix == ".parquet":
        source = source_of(path, "y")
        whole[4:60_000] = bytes(59_996)
        path.write_bytes(whole)
        with pytest.raises(InputError, match=r"a\.parquet: cannot be read to the end"):
            list(source)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=rf"a\{suffix}: not an? .* file"):
        source_of(path, "y")


def test_the_arrow_stream_format_is_told_apart(tmp_path):
    table = pa.Table.from_pandas(single(10))
    with pa.ipc.new_stream(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(InputError, match=r"RecordBatches\(pyarrow\.ipc\.open_stream"):
        IPC(tmp_path / "a.arrow", "y")
    with pa.ipc.open_stream(tmp_path / "a.arrow") as reader:
        assert sum(len(b) for b in RecordBatches(reader, "y", 4)) == 10


@pytest.mark.parametrize("source", [Parquet, IPC])
def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch, source):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"needs pyarrow: pip install 'streamgd\[io\]'"):
        source(tmp_path / "a", "y")
    with pytest.raises(ImportError, match=r"record batches needs pyarrow: pip install 'streamgd\[io\]'"):
        RecordBatches([], "y")


@pytest.mark.parametrize("compression", ["uncompressed", "lz4"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch, suffix, compression):
    monkeypatch.setattr(_arrow, "_PIECE_ROWS", 1 << 14)
    monkeypatch.setattr(_arrow, "KEPT", 1 << 14)
    if suffix == ".arrow" and compression == "lz4":
        rows = 5_000  # a compressed record batch is decompressed as a whole
    else:
        rows = 10**9
    peaks = []
    for n in (60_000, 600_000):
        frame = pa.Table.from_pandas(single(n).assign(c=np.arange(n).astype(str)), preserve_index=False)
        path = tmp_path / f"{n}{suffix}"
        if suffix == ".parquet":
            pq.write_table(frame, path, row_group_size=rows, compression="none" if rows == 10**9 else "lz4")
        else:
            pyarrow.feather.write_feather(frame, path, compression=compression, chunksize=rows)
        del frame
        source = source_of(path, "y", n_features=1 << 10)
        before, most, seen = pa.total_allocated_bytes(), 0, 0
        tracemalloc.start()
        for batch in source:
            most = max(most, pa.total_allocated_bytes() - before)
            seen += len(batch)
        peaks.append((tracemalloc.get_traced_memory()[1], most))
        tracemalloc.stop()
        assert seen == n
    assert peaks[1][0] < 1.2 * peaks[0][0]
    assert peaks[1][1] < 1.5 * peaks[0][1] + (4 << 20)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_memory_does_not_grow_with_long_categories(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(_arrow, "_KEPT_CHARACTERS", 1 << 18)
    monkeypatch.setattr(_arrow, "_PIECE_ROWS", 100)
    peaks = []
    for n in (2_000, 20_000):
        frame = pd.DataFrame({"c": [f"{k}{'x' * 500}" for k in range(n)], "y": 1.0})
        source = source_of(save(frame, tmp_path / f"{n}{suffix}", 100), "y", 100, n_features=64)
        del frame
        tracemalloc.start()
        assert sum(len(b) for b in source) == n
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


def test_a_source_that_is_left_early_leaves_no_thread(tmp_path, monkeypatch):
    monkeypatch.setattr(_arrow, "_PIECE_ROWS", 10)
    batches = iter(Parquet(save(single(1000), tmp_path / "a.parquet", 100), "y", 10))
    next(batches)
    batches.close()
    assert not [t for t in threading.enumerate() if "read ahead" in t.name]


# -- frames -------------------------------------------------------------------------------


def test_targets_and_weights_given_separately():
    frame = single(10).drop(columns="y")
    y, w = np.arange(10), pd.Series(np.linspace(0, 1, 10), index=range(5, 15))
    batches = list(Frame(frame, y=y, w=w, batch_rows=4))
    assert np.concatenate([b.y for b in batches]).tolist() == y.tolist()
    assert batches[0].y.dtype == np.float64
    np.testing.assert_array_equal(np.concatenate([b.w for b in batches]), w)
    rest = list(Frame(frame, y=y, w=w, batch_rows=4).batches(batches[0].position))
    assert rest[0].y.tolist() == [4.0, 5.0, 6.0, 7.0]
    assert rest[0].w.tolist() == w[4:8].tolist()
    labels = next(iter(Frame(frame, y=pl.Series(["a", "b"] * 5)))).y
    assert labels.dtype == object
    assert labels.tolist() == ["a", "b"] * 5
    for missing in (None, np.nan):
        for values in ([1.0, 0.0, missing, *[1.0] * 7], ["a", "b", missing, *["a"] * 7]):
            with pytest.raises(InputError, match=r"frame, row 3: y is missing"):
                list(Frame(frame, y=pd.Series(values)))
    with pytest.raises(InputError, match=r"the pandas frame, row 2: the weight 'w' is -1\.0"):
        Frame(frame, y=y, w=[1.0, -1.0, *[1.0] * 8])
    with pytest.raises(ValueError, match="y has 3 values, X has 10 rows"):
        Frame(frame, y=[1, 2, 3])
    with pytest.raises(InputError, match="both the target 'y' and y"):
        Frame(single(3), "y", y=[1, 2, 3])
    with pytest.raises(InputError, match="both the weight 'x0' and w"):
        Frame(single(3), "y", w=[1, 2, 3], weight="x0")


@pytest.mark.parametrize("make", [
    pytest.param(lambda f: f, id="pandas"),
    pytest.param(pl.from_pandas, id="polars"),
    pytest.param(lambda f: pa.Table.from_pandas(f), id="arrow"),
])  # fmt: skip
def test_frames_are_not_copied_as_a_whole(make):
    frame = make(single(400_000, 10).assign(c=["some text", "other"] * 200_000))
    source = Frame(frame, "y", 1000)
    before, most = pa.total_allocated_bytes(), 0
    tracemalloc.start()
    for batch in source:
        assert len(batch) == 1000
        most = max(most, pa.total_allocated_bytes() - before)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak + most < 6 << 20  # the frame has 19 MB


@pytest.mark.parametrize("p", [1, 3, 8])
def test_a_frame_around_a_matrix_is_handed_out_without_copies(p):
    X = np.random.default_rng(0).normal(size=(50, p)).astype("float32")
    batches = list(Frame(pd.DataFrame(X, copy=False), y=X[:, 0] > 0, batch_rows=20))
    assert all(np.shares_memory(b.X, X) and b.X.flags.c_contiguous for b in batches)
    np.testing.assert_array_equal(np.concatenate([b.X for b in batches]), X)
    model, other = linear_model.LogisticRegression(), linear_model.LogisticRegression()
    for b in batches:
        model.learn_rows(b.X, b.y, columns=b.columns)
    other.learn_rows(X, X[:, 0] > 0)
    assert model.weights == other.weights
    backwards = pd.DataFrame(X, copy=False)[list(range(p))[::-1]]
    np.testing.assert_array_equal(np.concatenate([b.X for b in Frame(backwards)]), X[:, ::-1])


def test_pandas_types_that_numpy_lacks():
    frame = pd.DataFrame({
        "i": pd.array([1, None, 3], "Int64"),
        "f": pd.array([0.5, None, 2.5], "Float32"),
        "b": pd.array([True, None, False], "boolean"),
        "s": pd.array(["u", None, "v"], "string"),
        "o": np.array(["u", None, "v"], dtype=object),
        "t": np.array([True, None, False], dtype=object),
        "m": [decimal.Decimal("1.5"), None, decimal.Decimal("-2")],
        "n": np.array([1, pd.NA, 2], dtype=object),
        "a": np.array([True, pd.NA, None], dtype=object),
        "h": np.array([1, 2, 0.5], np.float16),
        "z": pd.arrays.SparseArray([0.0, 0.0, 4.0]),
        "y": pd.array([True, False, True], "boolean"),
    })  # fmt: skip
    rows, targets = dicts(Frame(frame, "y", 2, missing="zero"))
    assert targets == [True, False, True]
    assert rows == [
        {"i": 1.0, "f": 0.5, "b": 1.0, "t": 1.0, "m": 1.5, "n": 1.0, "a": 1.0,
         "h": 1.0, "z": 0.0, "s=u": 1.0, "o=u": 1.0},
        {"i": 0.0, "f": 0.0, "b": 0.0, "t": 0.0, "m": 0.0, "n": 0.0, "a": 0.0, "h": 2.0, "z": 0.0},
        {"i": 3.0, "f": 2.5, "b": 0.0, "t": 0.0, "m": -2.0, "n": 2.0, "a": 0.0,
         "h": 0.5, "z": 4.0, "s=v": 1.0, "o=v": 1.0},
    ]  # fmt: skip
    assert next(iter(Frame(frame[["f", "h", "y"]], "y", missing="zero"))).X.dtype == np.float32
    with pytest.raises(InputError, match=r"column 'k' has type object \(mixed.*\); turn it into numbers or"):
        Frame(pd.DataFrame({"k": [1, "a"], "y": [1, 2]}), "y")


def test_pandas_columns_may_have_names_that_are_no_text():
    frame = pd.DataFrame(np.arange(6.0).reshape(3, 2))
    batch = next(iter(Frame(frame, y=[0, 1, 0])))
    assert batch.columns == (0, 1)
    np.testing.assert_array_equal(batch.X, frame)


def test_means_of_columns_whose_names_are_numbers():
    frame = pd.DataFrame([[1.0, 10.0], [None, 20.0], [4.0, None], [None, None]])
    batches = list(Frame(frame, batch_rows=1, missing="mean"))
    assert np.concatenate([b.X for b in batches]).tolist() == [[1, 10], [1, 20], [4, 15], [2.5, 15]]
    for k, batch in enumerate(batches, 1):
        position = json.loads(json.dumps(batch.position))
        rest = Frame(frame, batch_rows=1, missing="mean").batches(position)
        assert [b.X.tolist() for b in rest] == [b.X.tolist() for b in batches[k:]]
    with pytest.raises(InputError, match="two columns have one name as text, such as 1 and '1'"):
        Frame(frame.set_axis([1, "1"], axis=1), missing="mean")


def test_frames_without_pyarrow(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    frame = mixed(20)
    frame["c"] = frame["c"].astype(object)
    assert dicts(Frame(frame, "y", 7)) == wanted(frame, "y", ["c", "d"])
    table = pl.DataFrame(
        {"x": [1, None, 3], "f": [True, None, False], "y": [True, False, True], "s": list("abc")}
    )
    rows, targets = dicts(Frame(table, "y", 2, drop=["s"], missing="zero"))
    assert rows == [{"x": 1.0, "f": 1.0}, {"x": 0.0, "f": 0.0}, {"x": 3.0, "f": 0.0}]
    assert targets == [True, False, True]
    with pytest.raises(ImportError, match=r"text columns of a polars frame needs pyarrow: pip install"):
        Frame(table, "y")


def test_what_is_no_frame_is_refused():
    with pytest.raises(TypeError, match=r"got builtins\.dict; a frame is one of pandas or polars"):
        Frame({"a": [1]})
    with pytest.raises(TypeError, match="got int; a reader or an iterable of record batches"):
        RecordBatches(3)
    with pytest.raises(TypeError, match="got int where a record batch was expected"):
        RecordBatches([3])


# -- record batches -----------------------------------------------------------------------


def test_record_batches_of_another_schema_are_refused():
    first, second = pa.RecordBatch.from_pandas(single(4)), pa.RecordBatch.from_pandas(single(4))
    wide = pa.RecordBatch.from_pandas(single(4).astype({"x0": "float64"}))
    with pytest.raises(
        InputError, match="in batch 3 column 'x0' has type double, in the first it has type f"
    ):
        list(RecordBatches([first, second, wide], "y", 4))
    with pytest.raises(InputError, match="in batch 2 column 'x1' is not there"):
        list(RecordBatches([first, second.drop_columns(["x1"])], "y", 4))
    with pytest.raises(InputError, match="there are none"):
        RecordBatches([], "y")
    assert dicts(RecordBatches([first, wide], "y", columns=["x1"])) == dicts(
        RecordBatches([first, second], "y", columns=["x1"])
    )


def test_record_batches_come_when_there_are_enough_rows():
    """A live stream is not read further than needed."""
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield pa.RecordBatch.from_pandas(single(5))

    batches = iter(RecordBatches(endless(), "y", 12))
    assert len(next(batches)) == 12
    assert taken == 3
    assert len(next(batches)) == 12
    assert taken == 5


def test_text_that_is_not_utf8_is_refused():
    text = pa.array([b"a", b"caf\xe9"]).view(pa.string())
    with pytest.raises(InputError, match=r"row 1, or 2 rows on: column 'c' is not UTF-8 text"):
        list(Frame(pa.table({"c": text, "y": [0, 1]}), "y"))


def test_dictionaries_that_change_on_the_way():
    """Codes mean other values in each record batch, and one dictionary is far larger than what rows use."""
    first = pa.DictionaryArray.from_arrays(pa.array([1, 0, None]), ["a", "b"])
    second = pa.DictionaryArray.from_arrays(pa.array([1, 0, 1]), ["c", "a"])
    third = pa.DictionaryArray.from_arrays(pa.array([9999, 1, 2]), [*map(str, range(9999)), None, "b"][1:])
    column = [pa.record_batch({"c": c, "y": pa.array([0, 1, 2])}) for c in (first, second, third)]
    batches = list(RecordBatches(column, "y", 2, missing="zero"))
    assert [list(row) for row in dicts(batches)[0]] == [
        ["c=b"], ["c=a"], [], ["c=a"], ["c=c"], ["c=a"], ["c=b"], ["c=2"], ["c=3"]
    ]  # fmt: skip
    assert batches[-1].columns == ("c=b", "c=a", "c=c", "c=2", "c=3")


def test_categories_are_forgotten_where_there_are_too_many(monkeypatch):
    monkeypatch.setattr(_arrow, "KEPT", 50)
    monkeypatch.setattr(_arrow, "_PIECE_ROWS", 20)
    frame = pd.DataFrame({"c": [f"v{k % 90}" for k in range(400)], "y": 1.0})
    for make in (lambda f: f, lambda f: pa.Table.from_pandas(f)):
        rows, _ = dicts(Frame(make(frame), "y", 10))
        assert rows == [{f"c=v{k % 90}": 1.0} for k in range(400)]
