"""Numbers by their place: Random123's known answers, NumPy's wider Philox, SciPy's distributions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from streamgd._jit import strict
from streamgd.imblearn import fit_resample
from streamgd.kernels import picks, smote
from streamgd.kernels.philox import below_of, philox, unit_of, words_at

SURE = 1e-4  # a right generator fails so rarely, and with fixed seeds always or never
ONES = 0xFFFFFFFF

# philox4x32 with 10 rounds in kat_vectors of Random123 (D. E. Shaw Research): counter, key, words
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES, ONES, ONES, ONES), (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]  # fmt: skip

CONSTANTS = {
    32: (0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85),
    64: (0xD2E7470EE14C6C93, 0xCA5A826395121157, 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B),
}


def naive(bits: int, counter: Any, key: Any) -> tuple[int, ...]:
    """Philox4x32-10 or Philox4x64-10 in the paper's words: a product's halves, exchanged."""
    m0, m1, w0, w1 = CONSTANTS[bits]
    mask = (1 << bits) - 1
    (a, b, c, d), (j, k) = counter, key
    for _ in range(10):
        (high0, low0), (high1, low1) = divmod(m0 * a, mask + 1), divmod(m1 * c, mask + 1)
        a, b, c, d = high1 ^ b ^ j, low1, high0 ^ d ^ k, low0
        j, k = (j + w0) & mask, (k + w1) & mask
    return a, b, c, d


@strict
def compiled(c0, c1, c2, c3, k0, k1):
    return philox(c0, c1, c2, c3, k0, k1)


@strict
def compiled_words_at(seed, place, stream, block):
    return words_at(seed, place, stream, block)


@strict
def compiled_below_of(high, low, n):
    return below_of(high, low, n)


def words(function: Any, *numbers: int) -> tuple[int, ...]:
    return tuple(map(int, function(*map(np.uint64, numbers))))


# -- words -------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [philox, compiled], ids=["plain", "compiled"])
@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_known_answers(function, counter, key, expected):
    assert words(function, *counter, *key) == expected
    assert naive(32, counter, key) == expected


word32, word64 = st.integers(0, ONES), st.integers(0, 2**64 - 1)


@given(counter=st.tuples(*[word64] * 4), key=st.tuples(*[word64] * 2))
def test_the_reference_is_numpys_where_words_have_64_bits(counter, key):
    number = sum(word << 64 * k for k, word in enumerate(counter))
    before = (number - 1) % 2**256  # NumPy counts first
    generator = np.random.Philox(counter=before, key=np.array(key, dtype=np.uint64))
    assert tuple(generator.random_raw(4).tolist()) == naive(64, counter, key)


@given(counter=st.tuples(*[word32] * 4), key=st.tuples(*[word32] * 2))
def test_words_are_those_of_the_reference(counter, key):
    assert words(philox, *counter, *key) == words(compiled, *counter, *key) == naive(32, counter, key)


@given(seed=word64, place=word64, stream=word32, block=word32)
def test_seed_and_place_are_key_and_counter(seed, place, stream, block):
    expected = naive(32, (place & ONES, place >> 32, block, stream), (seed & ONES, seed >> 32))
    assert words(words_at, seed, place, stream, block) == expected
    assert words(compiled_words_at, seed, place, stream, block) == expected


def test_places_and_seeds_of_any_integer_type():
    plain = words_at(7, 9, 3, 0)
    assert plain == words_at(np.int64(7), np.int32(9), np.int64(3), 0) == compiled_words_at(7, 9, 3, 0)


# -- numbers of words --------------------------------------------------------------------------


def test_unit_takes_the_upper_24_bits():
    for word, expected in ((0, 0.0), (255, 0.0), (256, 2.0**-24), (ONES, 1.0 - 2.0**-24)):
        assert unit_of(np.uint64(word)) == np.float32(expected)
        assert unit_of(np.uint64(word)).dtype == np.float32


@given(high=word32, low=word32, n=st.integers(1, 2**32))
def test_below_is_a_share_of_64_bits(high, low, n):
    expected = ((high << 32) + low) * n >> 64
    assert below_of(np.uint64(high), np.uint64(low), n) == expected
    assert compiled_below_of(np.uint64(high), np.uint64(low), n) == expected


def test_below_ends_where_it_should():
    for n in (1, 2, 3, 10**6, 2**31, 2**32):
        assert below_of(np.uint64(0), np.uint64(0), n) == 0
        assert below_of(np.uint64(ONES), np.uint64(ONES), n) == n - 1


@strict
def draws(seed, n, below):
    units, numbers = np.empty((n, 4)), np.empty(n, np.int64)
    for place in range(n):
        a, b, c, d = words_at(seed, place, 0, 0)
        units[place] = unit_of(a), unit_of(b), unit_of(c), unit_of(d)
        numbers[place] = below_of(a, b, below)
    return units, numbers


@pytest.mark.parametrize("seed", [0, 1, 2**63 + 5])
def test_numbers_are_uniform_and_independent(seed):
    units, numbers = draws(np.uint64(seed), 20_000, 37)
    for word in units.T:
        assert stats.kstest(word, "uniform").pvalue > SURE
        assert stats.pearsonr(word[1:], word[:-1]).pvalue > SURE
    assert stats.chisquare(np.bincount(numbers, minlength=37)).pvalue > SURE
    pairs = np.histogram2d(units[:, 0], units[:, 2], bins=20)[0]
    assert stats.chisquare(pairs.ravel()).pvalue > SURE


# -- what rows are made from -------------------------------------------------------------------

NEAR = np.arange(12).reshape(4, 3)
NONE, DRAWN = np.empty((0, 3), dtype=np.bool_), np.empty(0, dtype=np.int64)


def test_picks_are_uniform():
    n = 30_000
    at, which, gaps, shares = picks.pick(np.uint64(3), 1, n, NEAR, NONE, DRAWN)
    assert stats.chisquare(np.bincount(at * 3 + which, minlength=12)).pvalue > SURE
    assert stats.kstest(gaps, "uniform").pvalue > SURE
    assert (shares == 1.0).all()
    again = picks.pick(np.uint64(3), 1, n, NEAR, np.ones((4, 3), dtype=np.bool_), DRAWN)
    for one, other in zip((at, which, gaps), again, strict=False):
        np.testing.assert_array_equal(one, other)
    assert stats.kstest(2.0 * again[3], "uniform").pvalue > SURE
    assert stats.pearsonr(gaps, again[3]).pvalue > SURE


def test_picks_compiled_are_those_of_plain_python():
    foreign = np.random.default_rng(0).random((4, 3)) < 0.5
    for places in (DRAWN, np.array([3, 0, 0, 2, 1])):
        compiled_ones = picks.pick(np.uint64(11), 2, 5, NEAR, foreign, places)
        plain = [picks.picked(11, 2, number, NEAR, foreign, places) for number in range(5)]
        assert [tuple(map(float, row)) for row in zip(*compiled_ones, strict=True)] == [
            tuple(map(float, row)) for row in plain
        ]
        if len(places):
            np.testing.assert_array_equal(compiled_ones[0], places)


def test_streams_of_classes_are_others():
    first, second = (picks.pick(np.uint64(0), c, 1000, NEAR, NONE, DRAWN)[2] for c in (0, 1))
    assert stats.pearsonr(first, second).pvalue > SURE
    assert (first != second).all()


def test_modes_are_the_commonest_codes_ties_drawn():
    values = np.array([[0.0, 5.0], [0.0, 6.0], [1.0, 6.0], [1.0, 7.0]])
    near, at = np.array([[0, 1, 2, 3], [1, 2, 0, 1]]), np.repeat([0, 1], 2000)
    codes = picks.modes(np.uint64(0), 0, values, np.array([0, 1]), near, at)
    assert (codes[:, 1] == 6).all()
    assert (codes[2000:, 0] == 0).all()
    assert stats.chisquare(np.bincount(codes[:2000, 0])).pvalue > SURE
    around = picks.modes(np.uint64(0), 0, values, np.array([0]), near[:, :1], at)
    assert (around[:, 0] == values[near[at, 0], 0]).all()


def test_copies_are_uniform():
    copies = picks.copies(np.uint64(0), 0, 20_000, 23)
    assert stats.chisquare(np.bincount(copies, minlength=23)).pvalue > SURE


# -- tables ------------------------------------------------------------------------------------


def table(seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat([0, 1, 2], [70, 30, 20]))
    return rng.normal(size=(120, 3)) + 0.4 * y[:, None], y


@pytest.mark.parametrize("kind", ["regular", "borderline1", "borderline2", "adasyn", "replay"])
def test_rows_made_by_number_are_a_function_of_the_seed(kind):
    X, y = table()
    first, labels = fit_resample(X, y, kind, random_state=5, draws="counter")
    again, _ = fit_resample(X, y, kind, random_state=5, draws="counter")
    np.testing.assert_array_equal(first, again)
    assert len(first) == len(labels) > len(X)
    assert (first[len(X) :] != fit_resample(X, y, kind, random_state=6, draws="counter")[0][len(X) :]).any()
    in_turn, _ = fit_resample(X, y, kind, random_state=5)
    np.testing.assert_array_equal(fit_resample(X, y, kind, random_state=5, draws="sequential")[0], in_turn)
    assert first.shape == in_turn.shape
    assert (first[len(X) :] != in_turn[len(X) :]).any()


@pytest.mark.parametrize("kind", ["regular", "borderline1", "borderline2", "replay"])
def test_more_rows_of_a_class_begin_with_those_of_fewer(kind):
    X, y = table()
    options: Any = {"random_state": 5, "draws": "counter"}
    fewer, _ = fit_resample(X, y, kind, sampling_strategy={1: 50}, **options)
    more, labels = fit_resample(X, y, kind, sampling_strategy={1: 90, 2: 33}, **options)
    np.testing.assert_array_equal(fewer[120:], more[120:140])
    np.testing.assert_array_equal(labels[120:], np.repeat([1, 2], [60, 13]))
    alone, _ = fit_resample(X, y, kind, sampling_strategy={2: 33}, **options)
    np.testing.assert_array_equal(alone[120:], more[180:])


def test_rows_of_a_class_are_made_as_picked():
    X, y = table(2)
    ours, _ = fit_resample(X, y, k_neighbors=2, sampling_strategy={2: 300}, random_state=9, draws="counter")
    own = X[y == 2]
    away = ((own[:, None] - own[None]) ** 2).sum(axis=2)
    np.fill_diagonal(away, np.inf)
    near = np.argsort(away, axis=1)[:, :2]
    for number, row in enumerate(ours[120:]):
        at, which, gap, share = picks.picked(9, 2, number, near, np.empty((0, 2), dtype=np.bool_), DRAWN)
        expected = np.empty(3)
        smote.between(own[at], own[near[at, which]], float(gap), float(share), expected)
        np.testing.assert_array_equal(row, expected)


def test_seeds_of_any_kind():
    X, y = table()

    def made(state: Any) -> Any:
        return fit_resample(X, y, random_state=state, draws="counter")[0]

    assert (made(None) != made(None)).any()
    state = np.random.RandomState(0)
    first = made(state)
    np.testing.assert_array_equal(first, made(np.random.RandomState(0)))
    assert (first != made(state)).any()  # it went on
    assert (made(0) != made(2**64 - 1)).any()
    for seed in (-1, 2**64):
        with pytest.raises(ValueError, match=r"it is from 0 to 18446744073709551615"):
            made(seed)
    with pytest.raises(TypeError, match="random_state"):
        made(np.random.default_rng(0))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"draws": "philox"}, "draws='philox'; it is one of sequential, counter, or None"),
        ({"device": "gpu"}, "device='gpu'; it is one of cpu, cuda"),
        (
            {"device": "cuda", "draws": "sequential"},
            "take draws='counter', which makes the same ones on both",
        ),
    ],
)
def test_draws_and_devices_that_are_none_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        fit_resample(*table(), **options)
