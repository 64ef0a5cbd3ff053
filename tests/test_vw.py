"""Vowpal Wabbit text and the table of its names; test_parsers_agree.py has Vowpal Wabbit itself."""

from __future__ import annotations

import gzip
import io
import json
import math
import random
import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction import FeatureHasher

from streamgd import linear_model, optim
from streamgd.kernels.names import NO_ROOM, Names, enter, find
from streamgd.stream import InputError, _window
from streamgd.stream._vw import VW
from streamgd.stream._window import Follow


def read(text: str | bytes, batch_rows: int = 100, **options):
    data = text.encode() if isinstance(text, str) else text
    return list(VW(io.BytesIO(data), batch_rows, **options))


def rows_of(batches):
    rows = []
    for b in batches:
        assert b.X.n_columns == len(b.columns)
        for lo, hi in zip(b.X.indptr[:-1], b.X.indptr[1:], strict=True):
            columns = b.X.indices[lo:hi].tolist()
            assert len(set(columns)) == len(columns)
            rows.append({b.columns[k]: v for k, v in zip(columns, b.X.data[lo:hi].tolist(), strict=True)})
    return rows


def until_refused(source):
    """Return the batches that come before an error, and the error."""
    got = []
    try:
        for batch in source:
            got.append(batch)  # noqa: PERF402  those before the error are kept
    except InputError as error:
        return got, str(error)
    return got, ""


@pytest.fixture
def small_window(monkeypatch):
    """Windows that end inside rows and words."""
    monkeypatch.setattr(_window, "BLOCK", 61)


# -- the table of names --------------------------------------------------------------------


@given(st.lists(st.binary(max_size=20), max_size=60))
def test_names_are_numbered_as_a_dict_would(words):
    names, known = Names(1000), {}
    for word in words:
        assert names.number(word) == known.setdefault(word, len(known))
    assert names.since(0) == list(known)
    assert names.since(len(known)) == []
    assert len(names) == len(known)


def test_many_names_of_any_length_are_found_again():
    rng = random.Random(1)
    words = [rng.randbytes(rng.choice((0, 1, 7, 8, 9, 16, 300))) for _ in range(20_000)]
    names, known = Names(10**6), {}
    for word in words:
        assert names.number(word) == known.setdefault(word, len(known))
    for word, k in known.items():
        text = np.frombuffer(b"<" + word + b">", np.uint8)
        assert find(text, 1, 1 + len(word), names.table) == k
    assert find(np.frombuffer(b"no such name", np.uint8), 0, 12, names.table) == -1


def test_a_table_without_room_stays_as_it_was():
    names = Names(3)
    for word in (b"a", b"b", b"c"):
        names.number(word)
    before = [array.tobytes() for array in names.table]
    assert enter(np.frombuffer(b"d", np.uint8), 0, 1, names.table) == NO_ROOM
    assert [array.tobytes() for array in names.table] == before
    assert names.full
    assert enter(np.frombuffer(b"b", np.uint8), 0, 1, names.table) == 1


# -- rows ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ("1 |user anna age:0.5", {"user^anna": 1.0, "user^age": 0.5}),
        ("1 | anna age:0.5", {"anna": 1.0, "age": 0.5}),
        ("1 |  anna\tage:0.5 \r", {"anna": 1.0, "age": 0.5}),
        ("1 |a x |b x", {"a^x": 1.0, "b^x": 1.0}),
        ("1 |a x|b x| x", {"a^x": 1.0, "b^x": 1.0, "x": 1.0}),
        ("1 |a x |b y |a z", {"a^x": 1.0, "b^y": 1.0, "a^z": 1.0}),
        ("1 |a:2 x y:3 |b x", {"a^x": 2.0, "a^y": 6.0, "b^x": 1.0}),
        ("1 |a x:2 x:0.5 x", {"a^x": 3.5}),
        ("1 |a x:0 y:-0", {"a^x": 0.0, "a^y": 0.0}),
        ("1 |a x:1e400 y:-inf", {"a^x": math.inf, "a^y": -math.inf}),
        ("1 |", {}),
        ("1 |a |b", {}),
        ("1 ||", {}),
        ("1 |a^b c^d", {"a^b^c^d": 1.0}),
        ("1 |a é:2 名", {"a^é": 2.0, "a^名": 1.0}),
        ("1 |a x=y\u00a0z", {"a^x=y\u00a0z": 1.0}),
        ("1 |a 'x", {"a^'x": 1.0}),
    ],
)
def test_a_row_has_these_features(line, row):
    for text in (line, line + "\n", "0 |other z\n" + line + "\n\n", "\n \r\n" + line):
        assert row in rows_of(read(text))


@pytest.mark.parametrize(
    ("line", "y", "w"),
    [
        ("1 |a x", 1.0, 1.0),
        ("  -1.5\t|a x", -1.5, 1.0),
        ("3 2.5 |a x", 3.0, 2.5),
        ("3 0 |a x", 3.0, 0.0),
        ("3 2.5 0 |a x", 3.0, 2.5),
        ("1 'tag|a x", 1.0, 1.0),
        ("1 'tag |a x", 1.0, 1.0),
        ("1 2 tag|a x", 1.0, 2.0),
        ("1 2 0 12|a x", 1.0, 2.0),
        ("1 '|a x", 1.0, 1.0),
        ("123456789012345678901234567890 1e-5 |a", 123456789012345678901234567890.0, 1e-5),
    ],
)
def test_labels_importances_and_tags(line, y, w):
    (batch,) = read(line)
    assert batch.y.tolist() == [y]
    assert (batch.w is None) == (w == 1.0)
    assert batch.w is None or batch.w.tolist() == [w]


def test_rows_without_labels_are_read_where_none_are_needed():
    (batch,) = read("|a x\n'tag |a y\n1:0.5 2 |a z\n", labels=False)
    assert batch.y is None
    assert batch.w.tolist() == [1.0, 1.0, 2.0]
    assert rows_of([batch]) == [{"a^x": 1.0}, {"a^y": 1.0}, {"a^z": 1.0}]


BAD = {
    "no label": ("|a x", r"'\|a': no label; .*labels=False"),
    "a tag for a label": ("1|a x", r"'1\|a': no label; a word that touches the first '\|' is a tag"),
    "a label with cost": ("1:0.5 |a x", "label '1:0.5': labels with costs"),
    "text for a label": ("yes |a x", "'yes' is not a number"),
    "no bar": ("1 a x", r"no '\|' in this line"),
    "a negative importance": ("1 -2 |a x", "importance -2: it must be finite"),
    "an endless importance": ("1 inf |a x", "importance inf: it must be finite"),
    "an importance that is none": ("1 nan |a x", "importance nan: it must be finite"),
    "a base": ("1 1 0.5 |a x", "base 0.5: no learner here"),
    "too many words": ("1 1 0 0 |a x", "more than label, importance and base"),
    "a tag before the importance": ("1 'tag 2 |a x", '"\'tag" is not a number'),
    "a feature without a name": ("1 |a :0.5", "':0.5': a feature without a name"),
    "text for a value": ("1 |a color:red", "'red' is not a number"),
    "no value": ("1 |a x: y", "'' is not a number"),
    "two values": ("1 |a x:1:2", "'1:2' is not a number"),
    "text for a scale": ("1 |a:b x", "'b' is not a number"),
    "a scale without a namespace": ("1 |:2 x", "':2': a scale without a namespace"),
    "not UTF-8": (b"1 |a x \xff", r"feature b'a\^\\xff' is not UTF-8"),
    "one name too many": ("1 |a t u v w z", "more than 6 features; .*n_features"),
}


@pytest.mark.parametrize("batch_rows", [1, 3, 100])
@pytest.mark.parametrize("case", BAD)
def test_rows_before_a_bad_one_come_first(small_window, case, batch_rows):
    line, message = BAD[case]
    line = line if isinstance(line, bytes) else line.encode()
    text = b"1 |a x:0.10000000000000000555 y\n\n0 2 |a y\n" + line + b"\n1 |a x\n"
    got, error = until_refused(VW(io.BytesIO(text), batch_rows, max_categories=6))
    assert rows_of(got) == [{"a^x": 0.1, "a^y": 1.0}, {"a^y": 1.0}]
    assert [y for b in got for y in b.y] == [1.0, 0.0]
    assert re.search(f"line 4: .*{message}", error)


def test_the_position_of_a_bad_row_is_behind_the_good_ones(tmp_path):
    path = tmp_path / "a.vw"
    path.write_text("1 |a x\n1 |a x:one\n0 |a y\n")
    batches = iter(VW(path))
    first = next(batches)
    assert rows_of([first]) == [{"a^x": 1.0}]
    with pytest.raises(InputError, match="line 2: 'one' is not a number"):
        next(batches)
    path.write_text("1 |a x\n1 |a x:1\n0 |a y\n")
    assert rows_of(VW(path).batches(json.loads(json.dumps(first.position)))) == [{"a^x": 1.0}, {"a^y": 1.0}]


def test_numbers_equal_float_to_the_bit(small_window):
    rng = random.Random(4)
    texts = [repr(rng.gauss(0, 1) * 10.0 ** rng.randint(-320, 300)) for _ in range(500)]
    texts += [f"{rng.randint(0, 10**25)}e{rng.randint(-345, 300)}" for _ in range(500)]
    batches = read("".join(f"{t} |a x:{t}\n" for t in texts), 37)
    want = np.array([float(t) for t in texts])
    np.testing.assert_array_equal(np.concatenate([b.y for b in batches]).view(np.int64), want.view(np.int64))
    np.testing.assert_array_equal(
        np.concatenate([b.X.data for b in batches]).view(np.int64), want.view(np.int64)
    )


# -- products and hashes -------------------------------------------------------------------


def test_products_of_namespaces():
    text = "1 |user u1 age:0.5 |item:2 i7 |user u2\n1 |item i8\n"
    rows = rows_of(read(text, interactions=["user*item"]))
    assert rows[0] == {
        "user^u1": 1.0, "user^age": 0.5, "user^u2": 1.0, "item^i7": 2.0,
        "user^u1*item^i7": 2.0, "user^age*item^i7": 1.0, "user^u2*item^i7": 2.0,
    }  # fmt: skip
    assert rows[1] == {"item^i8": 1.0}


def test_products_of_a_namespace_with_itself_do_not_depend_on_the_order():
    first, second = rows_of(read("1 |a x:2 y:3\n1 |a y:3 x:2\n", interactions=["a*a"]))
    assert first == second
    assert first == {"a^x": 2.0, "a^y": 3.0, "a^x*a^x": 4.0, "a^x*a^y": 6.0, "a^y*a^y": 9.0}


def test_products_of_three_and_of_the_namespace_without_a_name():
    (row,) = rows_of(read("1 | x:2 |a y:3 z:5 |b v:7\n", interactions=[" *a*b", "a*b*a"]))
    assert {name: value for name, value in row.items() if "*" in name} == {
        "x*a^y*b^v": 42.0, "x*a^z*b^v": 70.0,
        "a^y*b^v*a^y": 63.0, "a^y*b^v*a^z": 105.0, "a^z*b^v*a^z": 175.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("spaces", "n"), [(["a", "a"], 12), (["a", "b"], 9), (["a", "a", "a"], 5), (["a", "a", "b"], 6)]
)
def test_there_are_as_many_products_as_combinations(spaces, n):
    words = {space: [f"{space}{k}" for k in range(n)] for space in dict.fromkeys(spaces)}
    line = "1 " + " ".join(f"|{space} {' '.join(some)}" for space, some in words.items())
    (row,) = rows_of(read(line, interactions=["*".join(spaces)]))
    want = math.prod(math.comb(n + spaces.count(s) - 1, spaces.count(s)) for s in words)
    assert len(row) == want + sum(map(len, words.values()))
    assert set(row.values()) == {1.0}


def test_too_many_products_are_refused():
    line = "1 |a " + " ".join(f"x{k}" for k in range(5000)) + " |b " + " ".join(f"y{k}" for k in range(5000))
    with pytest.raises(InputError, match="line 1: 25,000,000 products of features"):
        read(line, interactions=["a*b"])


@pytest.mark.parametrize("n_features", [3, 256, 2**22])
def test_hashed_names_equal_scikit_learn(small_window, n_features):
    rng = random.Random(5)
    text = ""
    for _ in range(100):
        words = " ".join(f"u{rng.randrange(99)}:{rng.gauss(0, 1)!r}" for _ in range(4))
        text += f"1 |a {words} |é v{rng.randrange(9)} | w\n"
    plain = rows_of(read(text, interactions=["a*é"]))
    hashed = rows_of(read(text, 7, interactions=["a*é"], n_features=n_features))
    want = FeatureHasher(n_features, input_type="dict").transform(plain).toarray()
    for row, expected in zip(hashed, want, strict=True):
        assert row == pytest.approx({k: expected[k] for k in row}, abs=1e-12)
        assert np.count_nonzero(expected) <= len(row)


# -- files ---------------------------------------------------------------------------------


def some_text(n: int) -> str:
    rng = random.Random(6)
    return "".join(
        f"{rng.choice((-1, 1))} {rng.choice(('', '2 '))}|a u{rng.randrange(40)} x:{rng.gauss(0, 1):.5g} "
        f"|b v{rng.randrange(9)}\n"
        for _ in range(n)
    )


@pytest.mark.parametrize("suffix", [".vw", ".vw.gz", ".vw.zst"])
def test_a_file_continues_from_any_position(tmp_path, small_window, suffix):
    data, path = some_text(95).encode(), tmp_path / f"a{suffix}"
    if suffix.endswith("zst"):
        pa = pytest.importorskip("pyarrow", reason="reads .zst: pip install pyarrow")
        path.write_bytes(pa.compress(data, codec="zstd", asbytes=True))
    else:
        path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    source = VW(path, 10, interactions=["a*b"])
    batches = list(source)
    everything = rows_of(batches)
    weights = [1.0 if b.w is None else b.w[k] for b in batches for k in range(len(b))]
    assert set(weights) == {1.0, 2.0}
    for batch in batches:
        rest = list(source.batches(json.loads(json.dumps(batch.position))))
        done = batch.position["row"]
        assert rows_of(rest) == everything[done:]
        assert [y for b in rest for y in b.y] == [y for b in batches for y in b.y][done:]
    assert done == 95
    assert source.expected_rows(batches[-1].position) == (95 if suffix == ".vw" else None)


def test_a_file_that_grows_is_followed(tmp_path):
    path = tmp_path / "a.vw"
    path.write_text("1 |a x\n0 |a y")
    grown = [":2\n1 |b", " z\n", "0 |b z:0.5\n1 |unfinis"]

    def stop() -> bool:
        if grown:
            with path.open("a") as file:
                file.write(grown.pop(0))
        return not grown

    batches = list(VW(path, follow=Follow(every=0.001, stop=stop)))
    assert rows_of(batches) == [{"a^x": 1.0}, {"a^y": 2.0}, {"b^z": 1.0}, {"b^z": 0.5}]
    assert len(batches) > 2


def test_a_row_longer_than_the_window_and_than_all_arrays_is_read(small_window):
    row = {f"a^{'w' * (k % 50)}{k}": float(k) for k in range(50_000)}
    text = "1 |a " + " ".join(f"{name[2:]}:{value}" for name, value in row.items())
    assert rows_of(read(f"0 |b y\n{text}\n1 |b y\n", 2)) == [{"b^y": 1.0}, row, {"b^y": 1.0}]
    many = "1 " + "|a x " * 40_000
    assert rows_of(read(many)) == [{"a^x": 40_000.0}]


def test_what_is_no_such_file_is_refused_at_once(tmp_path):
    path = tmp_path / "a.vw"
    for text, message in (("", "no rows"), ("\n\n", "no rows"), ("x,y\n1,2\n", r"line 1: 'x,y': no '\|'")):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            VW(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"interactions": "a*b"}, re.escape("['a*b']")),
        ({"interactions": ["ab"]}, r"interactions has 'ab'"),
        ({"interactions": ["*b"]}, r"interactions has '\*b'"),
        ({"n_features": 1}, "n_features=1: a whole number from 2"),
        ({"max_categories": 0}, "at least 1"),
        ({"batch_rows": 0}, "at least 1"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        VW(io.BytesIO(b"1 |a x\n"), **options)


def test_memory_does_not_grow_with_the_file(tmp_path):
    peaks = []
    for n in (20_000, 200_000):
        path = tmp_path / f"{n}.vw"
        path.write_text("1 |a x:0.123456 y:17 |b some_text z:3.25\n" * n)
        source = VW(path, 2000)
        tracemalloc.start()
        assert sum(len(b) for b in source) == n
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
    assert peaks[1] < 8 << 20  # a file of 8 MB


def test_learning_from_a_file_equals_learning_from_dicts():
    text = some_text(300)
    of_rows, of_dicts = (linear_model.LogisticRegression(optimizer=optim.SGD(0.1)) for _ in range(2))
    batches = read(text, 32)
    for b in batches:
        of_rows.learn_rows(b.X, b.y > 0, b.w, columns=b.columns)
    weights = [w for b in batches for w in (np.ones(len(b)) if b.w is None else b.w).tolist()]
    targets = [y > 0 for b in batches for y in b.y.tolist()]
    for x, y, w in zip(rows_of(batches), targets, weights, strict=True):
        of_dicts.learn_one(x, y, w)
    assert of_rows.weights == of_dicts.weights
