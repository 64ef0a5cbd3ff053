"""Reservoirs against the laws of their schemes, each a chi-square test that another scheme fails."""

from __future__ import annotations

import math

import naive_reservoirs as naive
import numpy as np
import pytest
from naive_reservoirs import Draws, inclusion
from scipy import stats

from streamgd._jit import strict
from streamgd.kernels import reservoirs
from streamgd.kernels.draws import seeded
from streamgd.kernels.reservoirs import (
    ARRIVED,
    CHAO,
    FILLED,
    N_FLOATS,
    N_WORDS,
    SCHEMES,
    TIME_BIASED,
    TOTAL,
    absent,
    admit,
    drop,
    fade,
)

SEED = 77
RUNS = 60_000
SURE = 1e-4  # a right reservoir fails so rarely, and with a fixed seed always or never

WEIGHTS = np.array([5.0, 1.0, 1.0, 2.0, 0.5, 9.0, 3.0, 1.0])
TIMES = np.array([1, 2, 2, 3, 10, 11, 11, 11, 12])  # bursts and gaps


@strict
def slots_of(scheme, weights, capacity, parameter, rng):
    """Return where each item goes, and when the items that are left have arrived."""
    words, floats = np.zeros(N_WORDS, dtype=np.int64), np.zeros(N_FLOATS)
    keys, arrived = np.zeros(capacity), np.zeros(capacity, dtype=np.int64)
    slots = np.empty(len(weights), dtype=np.int64)
    for i in range(len(weights)):
        slots[i] = admit(scheme, words, floats, keys, arrived, weights[i], parameter, i, rng)
    return slots, arrived


@strict
def samples(scheme, weights, times, end, capacity, parameter, since, runs, rng):
    """Return which items are in a sample, (runs, items); ``since`` drops those before it."""
    n = len(weights)
    found = np.zeros((runs, n), dtype=np.bool_)
    items = np.empty(capacity, dtype=np.int64)
    order, moves = np.empty(capacity, dtype=np.int64), np.empty((capacity, 2), dtype=np.int64)
    for run in range(runs):
        words, floats = np.zeros(N_WORDS, dtype=np.int64), np.zeros(N_FLOATS)
        keys, arrived = np.zeros(capacity), np.zeros(capacity, dtype=np.int64)
        for i in range(n + 1):
            if i == since:
                left = drop(scheme, words, floats, keys, arrived, arrived >= times[i], order)
                items[:left] = items[order[:left]]
            if scheme == TIME_BIASED:
                now = times[i] if i < n else end
                for k in range(fade(words, floats, arrived, parameter, now, rng, moves)):
                    items[moves[k, 0]] = items[moves[k, 1]]
            if i < n:
                slot = admit(scheme, words, floats, keys, arrived, weights[i], parameter, times[i], rng)
                if slot >= 0:
                    items[slot] = i
        for slot in range(words[FILLED]):
            if arrived[slot] != times[items[slot]]:
                return found[:0]
            found[run, items[slot]] = True
        out = absent(words, floats, rng)
        if out >= 0:
            found[run, items[out]] = False
    return found


def drawn(scheme, n, capacity, parameter=0.0, *, weights=None, times=None, end=0, since=-1, runs=RUNS):
    weights = np.ones(n) if weights is None else np.array(weights, dtype=np.float64)
    times = np.arange(n) if times is None else np.asarray(times)
    state = (SCHEMES[scheme], weights, times, end, capacity, float(parameter), since, runs, seeded(SEED))
    found = samples(*state)
    assert len(found) == runs, "an item was lost, or its time"
    assert found.sum(axis=1).max() <= capacity
    return found


def fits(found, law):
    """Return the p-value of a chi-square test of whole samples; rare ones share a cell."""
    place = 1 << np.arange(found.shape[1])
    masks, counts = np.unique(found @ place, return_counts=True)
    observed = dict(zip(masks.tolist(), counts.tolist(), strict=True))
    expected = {sum(1 << item for item in sample): p * len(found) for sample, p in law.items()}
    if observed.keys() - expected.keys():
        return 0.0
    cells = [(observed.get(mask, 0), e) for mask, e in expected.items() if e >= 5.0]
    rare = [(observed.get(mask, 0), e) for mask, e in expected.items() if e < 5.0]
    if rare:
        cells.append((sum(o for o, _ in rare), sum(e for _, e in rare)))
    observed_counts, expected_counts = np.array(cells).T
    return stats.chisquare(observed_counts, expected_counts).pvalue if len(cells) > 1 else 1.0


def farthest(found, p):
    """Return the smallest of the items' p-values (two-sided, normal), times the number of items."""
    p = np.asarray(p)
    z = (found.mean(axis=0) - p) / np.sqrt(p * (1.0 - p) / len(found))
    return len(p) * 2.0 * stats.norm.sf(np.abs(z).max())


# -- decisions for given draws -----------------------------------------------------------------


@pytest.mark.parametrize("capacity", [1, 7, 50])
@pytest.mark.parametrize("scheme", [s for s in SCHEMES if s not in ("chao", "time_biased")])
def test_decisions_are_those_of_plain_python(scheme, capacity):
    n, draws = 3000, Draws(SEED)
    weights = np.random.default_rng(SEED).exponential(size=n)
    expected = {
        "uniform_r": lambda: naive.uniform_r(n, capacity, draws),
        "uniform": lambda: naive.uniform(n, capacity, draws),
        "biased": lambda: naive.biased(n, capacity, 0.0, draws),
        "weighted": lambda: naive.weighted(weights, capacity, draws),
        "window": lambda: naive.window(n, capacity),
    }[scheme]()
    slots, arrived = slots_of(SCHEMES[scheme], weights, capacity, 0.0, seeded(SEED))
    assert slots.tolist() == expected
    last = {slot: item for item, slot in enumerate(expected) if slot >= 0}
    assert arrived.tolist() == [last.get(slot, 0) for slot in range(capacity)]


@pytest.mark.parametrize("half_life", [0.4, 3.0, 20.0, 1e6])
def test_biased_decisions_with_a_half_life(half_life):
    slots, _ = slots_of(SCHEMES["biased"], np.ones(3000), 7, half_life, seeded(SEED))
    assert slots.tolist() == naive.biased(3000, 7, half_life, Draws(SEED))


# -- whole samples of few items: every set with its probability --------------------------------


@pytest.mark.parametrize("scheme", ["uniform", "uniform_r"])
@pytest.mark.parametrize(("n", "capacity"), [(3, 3), (4, 3), (8, 3), (9, 1), (6, 5)])
def test_uniform_sets_are_equally_likely(scheme, n, capacity):
    assert fits(drawn(scheme, n, capacity), naive.law_uniform(range(n), capacity)) > SURE


@pytest.mark.parametrize(("half_life", "room", "p_in"), [(0.0, 3, 1.0), (1.0, 2, 1.0), (6.0, 3, None)])
def test_biased_sets(half_life, room, p_in):
    rate = 1.0 - 0.5 ** (1.0 / half_life) if half_life else 1.0 / 3.0
    p_in = 3.0 * rate if p_in is None else p_in
    law = naive.law_biased(8, room, p_in)
    assert inclusion(law, 8) == pytest.approx([p_in * (1.0 - rate) ** (7 - item) for item in range(8)])
    assert fits(drawn("biased", 8, 3, half_life), law) > SURE


def test_weighted_sets_are_drawn_one_after_the_other():
    law = naive.law_weighted(dict(enumerate(WEIGHTS)), 3)
    assert fits(drawn("weighted", 8, 3, weights=WEIGHTS), law) > SURE
    keys = np.log(np.random.default_rng(SEED).uniform(size=(RUNS, 8))) / WEIGHTS
    assert fits(keys >= np.sort(keys, axis=1)[:, [-3]], law) > SURE  # the definition by keys


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize(
    "weights",
    [WEIGHTS, WEIGHTS[::-1], np.ones(8), np.array([1e9, 1.0, 1e-9, 1.0, 1e9, 1.0, 1.0, 50.0])],
    ids=["mixed", "reversed", "equal", "extreme"],
)
def test_chao_sets(size, weights):
    law = naive.law_chao(weights, size)
    assert inclusion(law, 8) == pytest.approx(naive.shares(weights, size), abs=1e-12)
    assert fits(drawn("chao", 8, size, weights=weights), law) > SURE


@pytest.mark.parametrize("capacity", [1, 2, 6, 15])
def test_chao_knows_who_is_sure(capacity):
    rng, n = np.random.default_rng(SEED), 60
    for spread in (0.1, 0.5, 1.0, 2.0, 4.0):
        weights = rng.lognormal(sigma=spread, size=n)
        sure, total = sure_of(weights, capacity, seeded(SEED))
        for item in range(capacity, n):
            share = np.array(naive.shares(weights[: item + 1], capacity))
            certain = weights[: item + 1][share == 1.0]
            assert sure[item][sure[item] > 0.0].tolist() == pytest.approx(sorted(certain))
            assert total[item] == pytest.approx(weights[: item + 1].sum() - certain.sum(), rel=1e-9)


@strict
def sure_of(weights, capacity, rng):
    """Return the weights of the sure items after each arrival, in order, and the weight of the others."""
    sure, total = np.empty((len(weights), capacity)), np.empty(len(weights))
    words, floats = np.zeros(N_WORDS, dtype=np.int64), np.zeros(N_FLOATS)
    keys, arrived = np.zeros(capacity), np.zeros(capacity, dtype=np.int64)
    for i in range(len(weights)):
        admit(CHAO, words, floats, keys, arrived, weights[i], 0.0, i, rng)
        sure[i] = np.sort(keys)
        total[i] = floats[TOTAL]
    return sure, total


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("end", [12, 13, 14, 20, 30])
def test_time_biased_sets(size, end):
    law = naive.law_time_biased(TIMES, end, size, 4.0)
    faded = 0.5 ** ((end - TIMES) / 4.0)
    shares = np.array(inclusion(law, 9)) / faded
    assert shares == pytest.approx(np.full(9, shares[0]), rel=1e-12)
    assert shares[0] == pytest.approx(1.0) if end == 30 else shares[0] < 1.0 + 1e-12
    found = drawn("time_biased", 9, size, 4.0, times=TIMES, end=end)
    assert fits(found, law) > SURE


def test_window_has_the_last_items():
    found = drawn("window", 20, 6, runs=3)
    assert (found == (np.arange(20) >= 14)).all()


def test_another_law_is_rejected():
    by_weight = {"weights": WEIGHTS}
    chao, weighted = naive.law_chao(WEIGHTS, 3), naive.law_weighted(dict(enumerate(WEIGHTS)), 3)
    uniform, biased = naive.law_uniform(range(8), 3), naive.law_biased(8, 3, 1.0)
    assert fits(drawn("weighted", 8, 3, **by_weight), chao) < SURE
    assert fits(drawn("chao", 8, 3, **by_weight), weighted) < SURE
    assert fits(drawn("uniform", 8, 3), biased) < SURE
    assert fits(drawn("uniform_r", 8, 3), naive.law_weighted({i: 1.0 + i / 20 for i in range(8)}, 3)) < SURE
    assert fits(drawn("biased", 8, 3), uniform) < SURE
    clock = {"times": TIMES, "end": 20}
    assert fits(drawn("time_biased", 9, 3, 4.0, **clock), naive.law_time_biased(TIMES, 20, 3, 4.2)) < SURE


# -- longer streams ----------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["uniform", "uniform_r"])
def test_uniform_inclusion_of_each_and_of_pairs(scheme):
    n, k = 250, 20
    found = drawn(scheme, n, k, runs=20_000).astype(np.float64)
    p, pair = k / n, k * (k - 1) / (n * (n - 1))
    spread = ((found.sum(axis=0) - len(found) * p) ** 2).sum() / (len(found) * p * (1.0 - p))
    assert SURE < stats.chi2(n - 1).sf(spread * (n - 1) / n) < 1.0 - SURE
    both = (found.T @ found)[np.triu_indices(n, 1)]
    z = (both - len(found) * pair) / math.sqrt(len(found) * pair * (1.0 - pair))
    assert len(z) * 2.0 * stats.norm.sf(np.abs(z).max()) > SURE
    biased = drawn("biased", n, k, runs=20_000)
    assert farthest(biased, np.full(n, p)) < SURE


@pytest.mark.parametrize(("half_life", "capacity"), [(0.0, 20), (10.0, 40), (100.0, 20)])
def test_biased_inclusion_by_age(half_life, capacity):
    n = 200
    rate = 1.0 - 0.5 ** (1.0 / half_life) if half_life else 1.0 / capacity
    p_in = rate * min(capacity, math.floor(1.0 / rate))
    expected = p_in * (1.0 - rate) ** np.arange(n - 1.0, -1.0, -1.0)
    found = drawn("biased", n, capacity, half_life, runs=20_000)
    common = slice(n - 60, n - 1)  # where the normal law holds; the last is certain if p is 1
    assert farthest(found[:, common], expected[common]) > SURE
    assert farthest(found[:, common], expected[common] ** 1.1) < SURE
    assert found[:, -1].mean() == pytest.approx(p_in, abs=0.02)
    assert found.sum(axis=1).mean() == pytest.approx(expected.sum(), rel=0.01)


def test_weighted_inclusion_is_that_of_the_largest_keys():
    weights = np.random.default_rng(SEED).exponential(size=120) + 0.05
    found = drawn("weighted", 120, 15, weights=weights, runs=20_000)
    keys = np.log(np.random.default_rng(SEED + 1).uniform(size=(20_000, 120))) / weights
    reference = keys >= np.sort(keys, axis=1)[:, [-15]]
    counts = np.array([found.sum(axis=0), reference.sum(axis=0)])
    z = (counts[0] - counts[1]) / np.sqrt(counts.sum(axis=0) * (1.0 - counts.sum(axis=0) / 40_000))
    assert 120 * 2.0 * stats.norm.sf(np.abs(z).max()) > SURE
    assert farthest(found, 15 * weights / weights.sum()) < SURE  # in proportion to weight it is not


def test_chao_inclusion_is_in_proportion_to_weight():
    weights = np.random.default_rng(SEED).exponential(size=120) + 0.05
    found = drawn("chao", 120, 15, weights=weights, runs=20_000)
    share = 15 * weights / weights.sum()
    assert share.max() < 1.0
    assert farthest(found, share) > SURE
    assert farthest(drawn("uniform", 120, 15, runs=20_000), share) < SURE
    assert (found.sum(axis=1) == 15).all()


def test_time_biased_inclusion_fades_by_the_clock_within_the_bound():
    rng = np.random.default_rng(SEED)
    bursts = rng.choice([0, 0, 0, 0, 1, 1, 2, 30], size=200, p=[0.2, 0.2, 0.2, 0.2, 0.1, 0.05, 0.04, 0.01])
    times = np.cumsum(bursts)
    end = int(times[-1])
    found = drawn("time_biased", 200, 12, 15.0, times=times, end=end, runs=20_000)
    total = 0.0
    for gap in np.diff(times, prepend=0):
        total = total * 0.5 ** (gap / 15.0) + 1.0
    expected = min(1.0, 12 / total) * 0.5 ** ((end - times) / 15.0)
    common = (expected > 2e-3) & (expected < 1.0)
    assert common.sum() > 40
    assert farthest(found[:, common], expected[common]) > SURE
    assert farthest(found[:, common], expected[common] ** 1.1) < SURE
    assert found.sum(axis=1).max() == 12


def test_a_silent_class_fades_away():
    found = drawn("time_biased", 9, 5, 4.0, times=TIMES, end=40, runs=20_000)
    expected = (0.5 ** ((40 - TIMES) / 4.0)).sum()
    assert found.sum(axis=1).mean() == pytest.approx(expected, rel=0.1)
    assert set(found.sum(axis=1)) == {0, 1}


def test_items_without_weight_are_passed_over():
    weights = np.array([0.0, 1.0, 0.0, 2.0, 0.0, 1.0, -1.0, math.nan, 3.0])
    for scheme in ("weighted", "chao"):
        found = drawn(scheme, 9, 2, weights=weights, runs=2000)
        assert (found.sum(axis=1) == 2).all()
        assert not found[:, ~(weights > 0.0)].any()


# -- after a change of the stream --------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "half_life"),
    [(s, 0.0) for s in ("uniform", "uniform_r", "weighted", "chao", "window")]
    + [("time_biased", 1.2), ("time_biased", 5.0)],  # not full before the change, and full
)
def test_a_dropped_reservoir_is_as_good_as_new(scheme, half_life):
    """With all dropped, what follows has the law of a stream that begins there."""
    n, size = 8, 3
    weights = np.concatenate([np.full(19, 2.0), [500.0], WEIGHTS])
    law = {
        "weighted": lambda: naive.law_weighted(dict(enumerate(WEIGHTS)), size),
        "chao": lambda: naive.law_chao(WEIGHTS, size),
        "window": lambda: {frozenset(range(n - size, n)): 1.0},
        "time_biased": lambda: naive.law_time_biased(list(range(20, 28)), 28, size, half_life),
    }.get(scheme, lambda: naive.law_uniform(range(n), size))()
    found = drawn(scheme, 28, size, half_life, weights=weights, end=28, since=20)
    assert not found[:, :20].any()
    assert fits(found[:, 20:], law) > SURE


@pytest.mark.parametrize("scheme", ["uniform", "uniform_r"])
def test_what_is_kept_counts_as_all_that_arrived(scheme):
    """One of three slots is kept; then 5 items arrive: as a stream of 6."""
    found = kept_and_more(SCHEMES[scheme], np.ones(30), 5, 3, RUNS, seeded(SEED))
    assert fits(found, naive.law_uniform(range(6), 3)) > SURE


def test_what_is_kept_counts_with_the_mean_weight():
    found = kept_and_more(SCHEMES["weighted"], np.full(3000, 2.0), 5, 3, 20_000, seeded(SEED))
    assert found.mean(axis=0) == pytest.approx(np.full(6, 0.5), abs=0.03)  # keys are spread, not drawn anew


@pytest.mark.parametrize(("heavy", "weight"), [(0, 50_000.0), (1, 3.0), (None, 3.0)])
def test_what_is_kept_counts_with_its_weight_if_it_is_sure(heavy, weight):
    """The item of slot 0 is kept: the heavy one, else one like all others."""
    weights = np.full(3000, 3.0)
    if heavy is not None:
        weights[heavy] = 50_000.0
    found = kept_and_more(SCHEMES["chao"], weights, 5, 3, 20_000, seeded(SEED))
    assert fits(found, naive.law_chao([weight, 2.0, 2.0, 2.0, 2.0, 2.0], 3)) > SURE


@strict
def kept_and_more(scheme, weights, after, capacity, runs, rng):
    """Keep the first slot of a full reservoir; tell which of that and of the next items are left."""
    found = np.zeros((runs, 1 + after), dtype=np.bool_)
    order = np.empty(capacity, dtype=np.int64)
    keep = np.arange(capacity) < 1
    for run in range(runs):
        words, floats = np.zeros(N_WORDS, dtype=np.int64), np.zeros(N_FLOATS)
        keys, arrived = np.zeros(capacity), np.zeros(capacity, dtype=np.int64)
        for i in range(len(weights)):
            admit(scheme, words, floats, keys, arrived, weights[i], 0.0, -1, rng)
        drop(scheme, words, floats, keys, arrived, keep, order)
        arrived[0] = 0
        for i in range(1, after + 1):
            admit(scheme, words, floats, keys, arrived, 2.0, 0.0, i, rng)
        for slot in range(words[FILLED]):
            found[run, arrived[slot]] = True
    return found


def test_dropping_leaves_the_law_of_a_biased_reservoir():
    found = drawn("biased", 60, 10, since=40, runs=20_000)
    expected = 0.9 ** np.arange(19.0, -1.0, -1.0)
    assert not found[:, :40].any()
    assert farthest(found[:, 40:-1], expected[:-1]) > SURE


def state_of(scheme, weights, capacity):
    words, floats = np.zeros(N_WORDS, dtype=np.int64), np.zeros(N_FLOATS)
    keys, arrived = np.zeros(capacity), np.zeros(capacity, dtype=np.int64)
    rng = seeded(SEED)
    for i, w in enumerate(weights.tolist()):
        admit(SCHEMES[scheme], words, floats, keys, arrived, w, 0.0, i, rng)
    return words, floats, keys, arrived, rng


@pytest.mark.parametrize("scheme", SCHEMES)
def test_order_tells_where_items_were(scheme):
    weights = np.random.default_rng(SEED).exponential(size=300)
    words, floats, keys, arrived, _ = state_of(scheme, weights, 12)
    keep = np.random.default_rng(1).uniform(size=12) < 0.5
    before, filled, order = arrived.copy(), int(words[FILLED]), np.full(12, -1)
    left = drop(SCHEMES[scheme], words, floats, keys, arrived, keep, order)
    assert left == words[FILLED] == words[ARRIVED] == keep[:filled].sum()
    assert sorted(order[:left]) == np.flatnonzero(keep[:filled]).tolist()
    np.testing.assert_array_equal(arrived[:left], before[order[:left]])
    assert (order[left:] == -1).all()


def test_a_window_goes_on_in_the_order_of_arrival():
    words, floats, keys, arrived, rng = state_of("window", np.ones(20), 6)
    order = np.empty(6, dtype=np.int64)
    left = drop(SCHEMES["window"], words, floats, keys, arrived, arrived != 16, order)
    assert arrived[:left].tolist() == [14, 15, 17, 18, 19]
    for i in range(20, 25):
        admit(SCHEMES["window"], words, floats, keys, arrived, 1.0, 0.0, i, rng)
    assert sorted(arrived.tolist()) == [19, 20, 21, 22, 23, 24]


def test_weighted_items_keep_their_rank():
    weights = np.random.default_rng(SEED).exponential(size=3000)
    words, floats, keys, arrived, _ = state_of("weighted", weights, 12)
    before, order = keys.copy(), np.empty(12, dtype=np.int64)
    drop(SCHEMES["weighted"], words, floats, keys, arrived, np.ones(12, dtype=bool), order)
    assert (np.argsort(keys) == np.argsort(before)).all()
    assert keys.max() < 0.0
    assert np.median(keys) < 100.0 * np.median(before)  # they were close to 0 after so many items


def test_a_full_reservoir_stays_full_whatever_the_weights():
    weights = np.random.default_rng(SEED).pareto(0.3, size=5000) + 1e-12
    for scheme in ("weighted", "chao", "uniform", "uniform_r"):
        words, _, _, arrived, _ = state_of(scheme, weights, 40)
        assert words[FILLED] == 40
        assert len(set(arrived.tolist())) == 40


def test_every_scheme_has_a_name():
    constants = {name.lower(): code for name, code in vars(reservoirs).items() if name.lower() in SCHEMES}
    assert constants == SCHEMES
    assert sorted(SCHEMES.values()) == list(range(len(SCHEMES)))
