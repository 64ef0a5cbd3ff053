"""Compiled hashing and numbering against scikit-learn, published values and plain dicts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction import FeatureHasher
from sklearn.utils import murmurhash3_32

from streamgd.kernels import hashing
from streamgd.stream._encode import Codes, Encoder, Recipe

NAMES = st.text(st.characters(codec="utf-8"), max_size=40)


def hashed(text: bytes, seed: int) -> int:
    return int(hashing.murmur3(np.frombuffer(text, dtype=np.uint8), seed))


# -- MurmurHash3 -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seed", "expected"),
    [  # verification values that circulate with the reference implementation
        (b"", 0, 0x00000000),
        (b"", 1, 0x514E28B7),
        (b"", 0xFFFFFFFF, 0x81F16F39),
        (b"\xff\xff\xff\xff", 0, 0x76293B50),
        (b"\x21\x43\x65\x87", 0x5082EDEE, 0x2362F9DE),
        (b"\x21\x43\x65", 0, 0x7E4A8634),
        (b"\x21\x43", 0, 0xA0F7B07A),
        (b"\x21", 0, 0x72661CF4),
        (b"Hello, world!", 0x9747B28C, 0x24884CBA),
    ],
)
def test_published_values(text, seed, expected):
    assert hashed(text, seed) % 2**32 == expected


@given(text=st.binary(max_size=80), seed=st.integers(0, 2**32 - 1))
def test_murmur3_is_scikit_learns(text, seed):
    assert hashed(text, seed) == murmurhash3_32(text, seed)


@given(name=NAMES)
def test_names_are_hashed_as_utf8(name):
    assert hashing.hash_of(name) == murmurhash3_32(name, 0)


def test_half_a_surrogate_pair_has_a_hash():
    assert hashing.hash_of("a\ud800") == murmurhash3_32(b"a\xed\xa0\x80", 0)


@given(rows=st.lists(st.tuples(NAMES, NAMES, NAMES), min_size=1, max_size=20))
def test_joined_names_are_hashed_without_being_made(rows):
    texts = hashing.Texts(["begins with this"])
    first = texts.add(name for row in rows for name in row)
    assert first == 1
    parts = np.arange(first, first + 3 * len(rows)).reshape(-1, 3)
    hashes, present = texts.joined(parts)
    assert hashes.tolist() == [murmurhash3_32("*".join(row), 0) for row in rows]
    assert present.all()
    names = ["begins with this", *(name for row in rows for name in row)]
    assert texts.hashes[: len(names)].tolist() == [murmurhash3_32(name, 0) for name in names]


def test_a_name_with_a_missing_part_is_none():
    texts = hashing.Texts(["a", "b"])
    hashes, present = texts.joined(np.array([[0, 1], [-1, 1], [1, -1]]))
    assert present.tolist() == [True, False, False]
    assert hashes[0] == murmurhash3_32("a*b", 0)


def test_forgotten_names_leave_the_first_ones():
    texts = hashing.Texts(["a"])
    texts.add(f"long name {k}" for k in range(1000))
    texts.forget()
    assert texts.add(["b"]) == 1
    assert texts.joined(np.array([[0, 1]]))[0].tolist() == [murmurhash3_32("a*b", 0)]


# -- numbers in order of appearance ------------------------------------------------------------


@given(
    batches=st.lists(st.lists(st.integers(-1, 2**62) | st.integers(-1, 30), max_size=200), max_size=5),
    seed=st.integers(0, 99),
)
def test_numbering_is_a_dict(batches, seed):
    numbering, known = hashing.Numbering(), {}
    more = np.random.default_rng(seed).integers(0, 2000, 1500).tolist()  # the table grows twice
    for keys in [*batches, more]:
        new = [i for i, key in enumerate(keys) if key >= 0 and key not in known and key not in keys[:i]]
        for i in new:
            known[keys[i]] = len(known)
        numbers, rows = numbering.number(np.array(keys, dtype=np.int64))
        assert numbers.tolist() == [known.get(key, -1) for key in keys]
        assert rows.tolist() == new
        assert numbering.known == len(known)


def test_first_seen_rows_are_in_order_and_come_once():
    table = np.array([-1, 5, -1, -1, -1])
    codes = np.array([2, 1, -1, 0, 2, 3, 0])
    assert hashing.first_seen(codes, table).tolist() == [0, 3, 5]
    assert hashing.first_seen(codes, table).tolist() == []


# -- rows --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_means_are_of_earlier_rows(dtype):
    rng = np.random.default_rng(0)
    numbers = rng.normal(3.0, 2.0, (500, 4)).astype(dtype)
    numbers[rng.random(numbers.shape) < 0.3] = math.nan
    numbers[7, 2] = math.inf  # no mean would survive it
    expected = numbers.copy()
    for j in range(4):
        for i in range(500):
            if math.isnan(expected[i, j]):
                before = numbers[:i, j].astype(np.float64)
                before = before[np.isfinite(before)]
                expected[i, j] = before.mean() if len(before) else 0.0
    counts, means = np.zeros(4), np.zeros(4)
    parts = [numbers[:100].copy(), numbers[100:101].copy(), numbers[101:].copy()]
    for part in parts:
        hashing.fill_means(part, counts, means)
    np.testing.assert_allclose(
        np.concatenate(parts), expected, rtol=1e-12 if dtype == np.float64 else 1e-7, atol=0.0
    )


@given(data=st.data(), n=st.integers(1, 8), k=st.integers(0, 3), m=st.integers(0, 5))
def test_rows_are_joined_and_twice_given_columns_added_up(data, n, k, m):
    last, base = np.full(k + 6, -1), 0
    for _ in range(3):
        numbers = np.arange(1.0, n * k + 1).reshape(n, k)
        slots = np.array(data.draw(st.lists(st.integers(-1, k + 5), min_size=n * m, max_size=n * m)))
        slots, values = slots.astype(np.int64).reshape(n, m), 0.5 + np.arange(n * m).reshape(n, m)
        found, columns, starts = hashing.join_rows(numbers, slots, values, last, base)
        for i in range(n):
            row = dict(enumerate(numbers[i].tolist()))
            for slot, value in zip(slots[i].tolist(), values[i].tolist(), strict=True):
                if slot >= 0:
                    row[slot] = row.get(slot, 0.0) + value
            here = slice(starts[i], starts[i + 1])
            assert list(zip(columns[here], found[here], strict=True)) == list(row.items())
        base += len(found)


# -- the hashing trick ---------------------------------------------------------------------------

ALPHABETS = ["abc", "äöüß", "日本語", "🙂🚀", "a=*,b"]


@pytest.mark.parametrize("n_features", [2, 7, 64, 1000, 2**20])
@pytest.mark.parametrize("batch_rows", [1, 64, 300])
def test_columns_are_hashed_as_by_scikit_learn(n_features, batch_rows):
    rng = np.random.default_rng(n_features)
    n = 300
    words = ["".join(rng.choice(list(ALPHABETS[k % 5]), 1 + k % 9)) + str(k) for k in range(50)]
    values = {f"größe {k}": rng.normal(size=n) for k in range(3)}
    texts = {name: rng.integers(-1, 50, n) for name in ("farbe", "色", "c=1")}
    rows = [
        {name: column[i] for name, column in values.items()}
        | {name: words[codes[i]] for name, codes in texts.items() if codes[i] >= 0}
        for i in range(n)
    ]
    hasher = FeatureHasher(n_features, dtype=np.float64).transform(rows)
    expected = [dict(zip(row.indices.tolist(), row.data.tolist(), strict=True)) for row in hasher]

    kinds = dict.fromkeys(values, "number") | dict.fromkeys(texts, "category")
    encoder = Encoder("here", kinds, Recipe(missing="zero", n_features=n_features))
    for first in range(0, n, batch_rows):
        part = slice(first, first + batch_rows)
        columns = {name: column[part] for name, column in values.items()}
        columns |= {name: Codes(codes[part], words) for name, codes in texts.items()}
        X, names = encoder.rows(columns, len(rows[part]), str)
        assert len(set(names)) == len(names) == X.n_columns
        for begin, end, row in zip(X.indptr, X.indptr[1:], expected[part], strict=False):
            buckets = [names[column] for column in X.indices[begin:end]]
            assert len(set(buckets)) == len(buckets)
            found = dict(zip(buckets, X.data[begin:end].tolist(), strict=True))
            assert found == pytest.approx(row, rel=1e-12, abs=1e-12)


def test_the_smallest_hash_has_a_bucket():
    name = "1051996714"  # searched for: abs(h) is no number of 32 bits
    assert hashing.hash_of(name) == murmurhash3_32(name, 0) == -(2**31)
    for n_features in (3, 1000):
        (bucket,) = FeatureHasher(n_features).transform([{name: 1.0}]).indices.tolist()
        encoder = Encoder("here", {name: "number"}, Recipe(n_features=n_features))
        X, names = encoder.rows({name: np.ones(1)}, 1, str)
        assert names == (bucket,)
        assert X.data.tolist() == [-1.0]
