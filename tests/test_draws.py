"""Random numbers of kernels against NumPy's generator, and their distributions against SciPy's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from streamgd._jit import strict
from streamgd.kernels.draws import below, next_word, poisson, seeded, unit

SEED = 20240607
SURE = 1e-4  # a right generator fails so rarely, and with fixed seeds always or never


@strict
def words_of(state, n):
    out = np.empty(n, dtype=np.uint64)
    for i in range(n):
        out[i] = next_word(state)
    return out


@strict
def units_of(state, n):
    out = np.empty(n)
    for i in range(n):
        out[i] = unit(state)
    return out


@strict
def numbers_below(state, bound, n):
    out = np.empty(n, dtype=np.int64)
    for i in range(n):
        out[i] = below(state, bound)
    return out


@strict
def poisson_numbers(state, rate, n):
    out = np.empty(n, dtype=np.int64)
    for i in range(n):
        out[i] = poisson(state, rate)
    return out


# -- words -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, SEED, 2**64 + 3])
def test_words_are_numpys_to_the_bit(seed):
    state, reference = seeded(seed), np.random.SFC64(seed)
    assert state.dtype == np.uint64
    np.testing.assert_array_equal(words_of(state, 5000), reference.random_raw(5000))
    np.testing.assert_array_equal(state, reference.state["state"]["state"])


def test_without_a_seed_each_generator_is_another():
    assert len({tuple(seeded()) for _ in range(20)}) == 20


def test_a_state_is_its_owners():
    first, second = seeded(5), seeded(5)
    words_of(first, 3)
    np.testing.assert_array_equal(words_of(second, 3), words_of(seeded(5), 3))


# -- uniform numbers ---------------------------------------------------------------------------


def test_unit_takes_the_upper_52_bits():
    words = np.random.SFC64(SEED).random_raw(1000)
    expected = [((int(word) >> 12) + 0.5) / 2**52 for word in words]
    assert units_of(seeded(SEED), 1000).tolist() == expected


@pytest.mark.parametrize(("word", "expected"), [(0, 2.0**-53), (2**64 - 1, 1.0 - 2.0**-53)])
def test_unit_never_reaches_an_end(word, expected):
    state = np.array([word, 0, 0, 0], dtype=np.uint64)  # whose next word is the first
    assert words_of(state.copy(), 1)[0] == word
    assert units_of(state, 1)[0] == expected


def test_unit_is_uniform():
    draws = units_of(seeded(SEED), 200_000)
    assert stats.kstest(draws, "uniform").pvalue > SURE
    assert stats.kstest(draws**1.02, "uniform").pvalue < SURE


# -- integers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bound", [2**32 + 1, 10**15 + 37, 3 * 2**61, 2**62 + 2**61 + 1, 2**63 - 1])
def test_large_integers_are_numpys(bound):
    reference = np.random.Generator(np.random.SFC64(SEED)).integers(0, bound, 5000)
    np.testing.assert_array_equal(numbers_below(seeded(SEED), bound, 5000), reference)


@pytest.mark.parametrize("bound", [1, 2, 3, 7, 500, 2**20 + 1])
def test_small_integers_are_the_rounded_down_product(bound):
    words = np.random.SFC64(SEED).random_raw(5000)
    expected = [int(word) * bound >> 64 for word in words]  # none of these words is rejected
    assert numbers_below(seeded(SEED), bound, 5000).tolist() == expected


@pytest.mark.parametrize("bound", [2, 3, 7, 10, 100, 1000])
def test_integers_are_equally_likely(bound):
    counts = np.bincount(numbers_below(seeded(SEED), bound, 400_000), minlength=bound)
    assert len(counts) == bound
    assert stats.chisquare(counts).pvalue > SURE


def test_a_bound_that_is_no_divisor_of_the_words_is_unbiased():
    bound = 3 * 2**61  # words modulo it would be in the first third half of the time
    thirds = np.bincount(numbers_below(seeded(SEED), bound, 100_000) >> 61, minlength=3)
    assert stats.chisquare(thirds).pvalue > SURE
    biased = np.bincount((words_of(seeded(SEED), 100_000) % np.uint64(bound) >> np.uint64(61)).astype(int))
    assert stats.chisquare(biased).pvalue < SURE


# -- Poisson numbers ---------------------------------------------------------------------------


def fits_poisson(draws, rate):
    """Return the p-value of a chi-square test with about forty cells that are equally likely."""
    law = stats.poisson(rate)
    edges = np.unique(law.ppf(np.linspace(0.0, 1.0, 41)[1:-1]))
    expected = np.diff(law.cdf(edges), prepend=0.0, append=1.0) * len(draws)
    observed = np.bincount(np.searchsorted(edges, draws), minlength=len(expected))
    return stats.chisquare(observed, expected).pvalue


@pytest.mark.parametrize("rate", [0.05, 0.5, 1.0, 3.0, 6.5, 9.99, 10.0, 12.5, 40.0, 300.0, 1e4, 1e7])
def test_poisson_numbers(rate):
    draws = poisson_numbers(seeded(SEED), rate, 300_000)
    assert fits_poisson(draws, rate) > SURE
    off = 12.0 * math.sqrt(rate / len(draws))  # standard errors of the mean
    assert fits_poisson(draws, rate + off) < SURE


@pytest.mark.parametrize("rate", [1.0, 10.0, 100.0])
def test_poisson_tails(rate):
    law = stats.poisson(rate)
    draws = poisson_numbers(seeded(SEED + 1), rate, 1_000_000)
    for few in (1e-2, 1e-3, 1e-4):
        bound = law.isf(few)
        assert stats.binomtest(int((draws > bound).sum()), len(draws), law.sf(bound)).pvalue > SURE
        bound = law.ppf(few) - 1.0
        if bound >= 0.0:
            assert stats.binomtest(int((draws <= bound).sum()), len(draws), law.cdf(bound)).pvalue > SURE


def test_a_rate_of_zero_gives_zero():
    assert not poisson_numbers(seeded(SEED), 0.0, 1000).any()


@pytest.mark.parametrize("rate", [0.05, 1.0, 9.99, 10.0, 15.0, 100.0, 1e4, 1e7])
def test_poisson_numbers_are_numpys(rate):
    """NumPy's uniform numbers are 2 ** -53 smaller or as large, which decides nothing here."""
    reference = np.random.Generator(np.random.SFC64(SEED)).poisson(rate, 50_000)
    np.testing.assert_array_equal(poisson_numbers(seeded(SEED), rate, 50_000), reference)
