"""Reservoirs: which arriving items are kept, and in which slot, by one scheme or another.

Items live elsewhere: a reservoir only decides. Slots ``0 ... words[FILLED] - 1`` are in use. All state is in
arrays that are zeros at first: ``words`` int64 ``(N_WORDS,)``, ``floats`` float64 ``(N_FLOATS,)``, ``keys``
float64 and ``arrived`` int64, both ``(capacity,)``, at least 1. With n for the items so far, k for the
capacity, W for the sum of the weights so far, an item of weight w is in the reservoir with probability

=============== ==================================================================================
``UNIFORM_R``   k / n; a draw for each item (Vitter, 1985, algorithm R)
``UNIFORM``     k / n; draws how many items to skip (Li, 1994, algorithm L)
``WEIGHTED``    of k drawn one after the other, each time in proportion to weight among the rest
                (Efraimidis, Spirakis, 2006, A-ExpJ, which skips too)
``CHAO``        k w / W, or 1 where that is more, the others sharing what is left (Chao, 1982)
``BIASED``      p (1 - r) ** age, the age in arrivals (Aggarwal, 2006)
``WINDOW``      1 for the last k
``TIME_BIASED`` in proportion to 2 ** (-age / half-life), by the clock of the caller, however many items
                arrive or how few (Hentschel, Haas, Tian, 2018, R-TBS)
=============== ==================================================================================
"""

# mypy: disable-error-code="no-untyped-def,misc"

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from streamgd._jit import borrowing, strict
from streamgd.kernels.draws import below, unit

UNIFORM_R: Final = 0
UNIFORM: Final = 1
WEIGHTED: Final = 2
CHAO: Final = 3
BIASED: Final = 4
WINDOW: Final = 5
TIME_BIASED: Final = 6

SCHEMES: Final = {
    "uniform": UNIFORM,
    "uniform_r": UNIFORM_R,
    "weighted": WEIGHTED,
    "chao": CHAO,
    "biased": BIASED,
    "window": WINDOW,
    "time_biased": TIME_BIASED,
}

# Of the words
FILLED: Final = 0  # slots in use
ARRIVED: Final = 1  # items so far
NEXT: Final = 2  # UNIFORM: the item to store next; WEIGHTED: 1 + the slot to give up next; 0: not known yet
OLDEST: Final = 3  # WINDOW: the slot to overwrite next
SURE: Final = 4  # CHAO: slots whose items are in with certainty
PARTIAL: Final = 5  # TIME_BIASED: 1 + the slot of the item that only part of the samples have; 0: none
LAST: Final = 6  # TIME_BIASED: the time up to which weights have faded
N_WORDS: Final = 8

# Of the floats
TOP: Final = 0  # UNIFORM: the largest in use of the uniform keys that items would have
SKIP: Final = 1  # WEIGHTED: weight that has yet to go by until an item is stored
TOTAL: Final = 2  # WEIGHTED: weight of all; CHAO: of all not sure; TIME_BIASED: number of items, faded
LEAST: Final = 3  # CHAO: the least weight of those that are sure; 0: not known yet
N_FLOATS: Final = 4

_FAR = 2.0**62  # more items than ever arrive


@borrowing
def admit(
    scheme: Any, words: Any, floats: Any, keys: Any, arrived: Any, w: Any, parameter: Any, now: Any, rng: Any
) -> Any:
    """Decide on one arriving item.

    Parameters
    ----------
    scheme, words, floats, keys, arrived
        One of the schemes, and the state. ``arrived[slot]`` becomes ``now``.
    w
        Weight of the item. ``WEIGHTED`` and ``CHAO`` pass over what has none.
    parameter
        ``BIASED``: the half-life of items in arrivals, which makes ``r = 1 - 2 ** (-1 / half_life)`` and
        ``p = r * min(k, floor(1 / r))``; 0: ``r = 1 / k`` and ``p = 1``.
    now
        Time of the arrival, by any clock; an integer. ``TIME_BIASED``: call `fade` first, with the same.
    rng
        State of a generator, see `streamgd.kernels.draws.seeded`.

    Returns
    -------
    The slot to write the item to, over what is in it, or -1: it is not stored.
    """
    capacity = len(arrived)
    if (scheme == WEIGHTED or scheme == CHAO) and not w > 0.0:
        return np.int64(-1)
    words[ARRIVED] += 1
    if scheme == BIASED:
        slot = _biased(words, capacity, parameter, rng)
    elif scheme == TIME_BIASED:
        slot = _time_biased(words, floats, capacity, rng)
    elif scheme == WEIGHTED:
        slot = _weighted(words, floats, keys, w, rng)
    elif scheme == CHAO:
        slot = _chao(words, floats, keys, w, rng)
    elif words[FILLED] < capacity:
        slot = words[FILLED]
    elif scheme == UNIFORM:
        slot = _uniform(words, floats, capacity, rng)
    elif scheme == WINDOW:
        slot = words[OLDEST]
        words[OLDEST] = slot + 1 if slot + 1 < capacity else 0
    else:
        slot = below(rng, words[ARRIVED])
        if slot >= capacity:
            slot = np.int64(-1)
    if slot >= 0:
        arrived[slot] = now
        words[FILLED] = max(words[FILLED], slot + 1)
    return slot


# -- without weights ---------------------------------------------------------------------------


@borrowing
def _uniform(words, floats, capacity, rng):
    slot = np.int64(-1)
    if words[NEXT] == 0:
        floats[TOP] = math.exp(math.log(unit(rng)) / capacity)
        words[NEXT] = words[ARRIVED] + _skipped(floats[TOP], rng)
    if words[ARRIVED] == words[NEXT]:
        slot = below(rng, capacity)
        floats[TOP] *= math.exp(math.log(unit(rng)) / capacity)
        words[NEXT] = words[ARRIVED] + 1 + _skipped(floats[TOP], rng)
    return slot


@borrowing
def _skipped(top, rng):
    """Draw how many items in a row have keys above ``top``."""
    return np.int64(min(math.floor(math.log(unit(rng)) / math.log1p(-top)), _FAR))


@borrowing
def _biased(words, capacity, parameter, rng):
    """Take the item with a fixed probability; it appends itself where a random slot is not in use."""
    room = np.int64(capacity)
    if parameter > 0.0:
        rate = -math.expm1(-math.log(2.0) / parameter)
        room = np.int64(max(1.0, min(np.float64(capacity), math.floor(1.0 / rate))))
        if unit(rng) >= room * rate:
            return np.int64(-1)
    return min(below(rng, room), words[FILLED])


# -- with weights ------------------------------------------------------------------------------


@borrowing
def _weighted(words, floats, keys, w, rng):
    """Keep the largest of the keys ``log(u) / w``; the weight that goes by until one is larger is drawn."""
    floats[TOTAL] += w
    slot = words[FILLED]
    if slot < len(keys):
        keys[slot] = math.log(unit(rng)) / w
        return slot
    if words[NEXT] == 0:
        _jump(words, floats, keys, rng)
    floats[SKIP] -= w
    if floats[SKIP] > 0.0:
        return np.int64(-1)
    slot = words[NEXT] - 1
    keys[slot] = math.log1p(math.expm1(keys[slot] * w) * unit(rng)) / w  # uniform above the least key
    _jump(words, floats, keys, rng)
    return slot


@borrowing
def _jump(words, floats, keys, rng):
    least = 0
    for slot in range(len(keys)):
        if keys[slot] < keys[least]:
            least = slot
    words[NEXT] = least + 1
    floats[SKIP] = math.log(unit(rng)) / keys[least]


@borrowing
def _chao(words, floats, keys, w, rng):
    """Keys are the weights of the items that are sure; of the others, 0, only the sum of weights is known."""
    capacity = len(keys)
    slot = words[FILLED]
    if slot < capacity:
        keys[slot] = w
        words[SURE] += 1
        return slot
    others = capacity - words[SURE]
    total = floats[TOTAL] + w
    bar = total / others
    if w >= bar or floats[LEAST] < bar:
        return _sorted_out(words, floats, keys, w, others, rng)
    floats[TOTAL] = total
    if unit(rng) * total < others * w:
        return _nth_other(keys, below(rng, others), others)
    return np.int64(-1)


@borrowing
def _sorted_out(words, floats, keys, w, others, rng):
    """Admit an item that changes who is sure; before, ``others`` were not. Looks at all slots, some times."""
    for i in range(len(keys)):
        keys[i] = -keys[i]  # until it is found to be sure still
    room = len(keys)
    sure = False  # the new one
    found = 1
    while found > 0:
        total = floats[TOTAL] if sure else floats[TOTAL] + w
        for i in range(len(keys)):
            total -= min(keys[i], 0.0)
        bar = total / room
        found = 0
        if not sure and w >= bar:
            sure = True
            found = 1
        for i in range(len(keys)):
            if keys[i] < 0.0 and -keys[i] >= bar:
                keys[i] = -keys[i]
                found += 1
        room -= found
    words[SURE] = len(keys) - room
    floats[TOTAL] = total
    slot = np.int64(-1)
    u = unit(rng)
    if sure or u * total < room * w:
        for i in range(len(keys)):
            if keys[i] < 0.0 and u >= 0.0:
                slot = np.int64(i)
                u -= 1.0 + keys[i] * room / total  # what is no longer sure goes if it would not be drawn
        if u >= 0.0 and others > 0:
            slot = _nth_other(keys, below(rng, others), others)
    if slot >= 0:
        keys[slot] = w if sure else 0.0
    floats[LEAST] = math.inf
    for i in range(len(keys)):
        keys[i] = max(keys[i], 0.0)
        if keys[i] > 0.0:
            floats[LEAST] = min(floats[LEAST], keys[i])
    return slot


@borrowing
def _nth_other(keys, n, others):
    """Return the slot of the n-th of the ``others``, which have no key."""
    if others == len(keys):
        return n
    slot = np.int64(0)
    while n > 0 or keys[slot] != 0.0:
        if keys[slot] == 0.0:
            n -= 1
        slot += 1
    return slot


# -- by the clock ------------------------------------------------------------------------------


@borrowing
def _time_biased(words, floats, capacity, rng):
    before = floats[TOTAL]
    floats[TOTAL] = before + 1.0
    if floats[TOTAL] <= capacity:
        return words[FILLED]
    if before >= capacity:
        return below(rng, capacity) if unit(rng) * floats[TOTAL] < capacity else np.int64(-1)
    # One too many, of which one is partial: either that goes, or one of the others, the new one among them.
    partial = words[PARTIAL] - 1
    words[PARTIAL] = 0
    part = before - (capacity - 1.0)
    if unit(rng) >= part * capacity / floats[TOTAL]:
        return partial
    slot = below(rng, capacity)
    if slot == partial:
        return np.int64(-1)
    return slot


@borrowing
def fade(words: Any, floats: Any, arrived: Any, parameter: Any, now: Any, rng: Any, moves: Any) -> Any:
    """Let the items of a ``TIME_BIASED`` reservoir fade until ``now``, which gives up some of them.

    To be called before an item arrives; of a class that is silent, whenever its reservoir is looked at.

    Parameters
    ----------
    words, floats, arrived, now, rng
        As in `admit`; no time is before the last one.
    parameter
        Half-life of items, in units of ``now``; 0: they do not fade, and samples are uniform.
    moves
        Filled here, ``(capacity, 2)`` int64: the item of slot ``moves[i, 1]`` has to be moved to slot
        ``moves[i, 0]``, in this order. ``arrived`` is moved here.

    Returns
    -------
    The number of moves. ``words[FILLED]`` tells what is left.
    """
    capacity = np.float64(len(arrived))
    size = min(floats[TOTAL], capacity)
    if parameter > 0.0:
        floats[TOTAL] *= 2.0 ** ((words[LAST] - now) / parameter)
    words[LAST] = now
    after = min(floats[TOTAL], capacity)
    n_moves = 0
    if after >= size:
        return n_moves
    # Each stays with the probability after / size: floor(after) items, and a partial one for the rest.
    whole = words[FILLED] - (1 if words[PARTIAL] > 0 else 0)
    kept = np.int64(after)
    part, rest = size - whole, after - kept
    u = unit(rng)
    if kept == whole:
        if u > (1.0 - part * after / size) / (1.0 - rest):
            words[PARTIAL] = _any_whole(words, rng) + 1
    elif kept == 0:
        if u > part / size:
            words[PARTIAL] = _any_whole(words, rng) + 1
        n_moves = _thin(words, arrived, words[FILLED] - 1, rng, moves, n_moves)
    elif u <= part * after / size:
        n_moves = _thin(words, arrived, whole - kept, rng, moves, n_moves)
        words[PARTIAL] = _any_whole(words, rng) + 1
    else:
        n_moves = _thin(words, arrived, whole - kept - 1, rng, moves, n_moves)
        partial = words[PARTIAL] - 1
        words[PARTIAL] = _any_whole(words, rng) + 1
        if partial >= 0:
            n_moves = _give_up(words, arrived, partial, moves, n_moves)
    if rest == 0.0 and words[PARTIAL] > 0:
        n_moves = _give_up(words, arrived, words[PARTIAL] - 1, moves, n_moves)
    return n_moves


@borrowing
def _thin(words, arrived, n, rng, moves, n_moves):
    """Give up n items, none of them the partial one."""
    for _ in range(n):
        n_moves = _give_up(words, arrived, _any_whole(words, rng), moves, n_moves)
    return n_moves


@borrowing
def _any_whole(words, rng):
    """Draw a slot, not that of the partial item."""
    partial = words[PARTIAL] - 1
    if partial < 0:
        return below(rng, words[FILLED])
    slot = below(rng, words[FILLED] - 1)
    return slot + 1 if slot >= partial else slot


@borrowing
def _give_up(words, arrived, slot, moves, n_moves):
    """Empty a slot: the item of the last one moves there."""
    last = words[FILLED] - 1
    words[FILLED] = last
    if words[PARTIAL] == slot + 1:
        words[PARTIAL] = 0
    elif words[PARTIAL] == last + 1:
        words[PARTIAL] = slot + 1
    if slot == last:
        return n_moves
    arrived[slot] = arrived[last]
    moves[n_moves, 0] = slot
    moves[n_moves, 1] = last
    return n_moves + 1


@borrowing
def absent(words: Any, floats: Any, rng: Any) -> Any:
    """Draw which slot of a ``TIME_BIASED`` reservoir a sample leaves out: that of the partial item, or -1."""
    if words[PARTIAL] > 0 and unit(rng) >= floats[TOTAL] - (words[FILLED] - 1):
        return words[PARTIAL] - 1
    return np.int64(-1)


# -- after a change of the stream --------------------------------------------------------------


@strict
def drop(scheme: Any, words: Any, floats: Any, keys: Any, arrived: Any, keep: Any, order: Any) -> Any:
    """Forget all but some items, and go on as if those were all that ever arrived.

    ``BIASED`` and ``WINDOW`` just have free slots; what arrives next meets ``UNIFORM`` reservoirs as item
    number ``1 + left``. ``WEIGHTED`` and ``CHAO`` do not remember the weight of an item for which others had
    to go: it counts with the mean weight. Of ``TIME_BIASED``, no item is partial any longer.

    Parameters
    ----------
    scheme, words, floats, keys, arrived
        As in `admit`.
    keep
        Whether to keep the item of each slot, ``(capacity,)`` bool.
    order
        Filled here, ``(capacity,)`` int64: the item of slot ``order[i]`` has to be moved to slot i. All at
        once, because the items of a window are put in the order of their arrival.

    Returns
    -------
    How many are left: that many entries of ``order`` count.
    """
    filled = words[FILLED]
    mean = 1.0
    if (scheme == WEIGHTED or scheme == CHAO) and filled > 0:
        mean = floats[TOTAL] / max(1, words[ARRIVED] - words[SURE])
    if scheme == CHAO:
        for slot in range(filled):
            if keys[slot] == 0.0:
                keys[slot] = mean
    elif scheme == WEIGHTED and words[NEXT] > 0:
        # about the largest of the keys that were not kept, so that even the least of the others has a chance
        _spread(keys, keys[words[NEXT] - 1] - 1.0 / (mean * (words[ARRIVED] - filled)), mean)
    left = 0
    for i in range(filled):
        slot = (words[OLDEST] + i) % filled
        if keep[slot]:
            order[left] = slot
            left += 1
    keys[:left] = keys[order[:left]]
    arrived[:left] = arrived[order[:left]]
    words[FILLED] = words[ARRIVED] = left
    words[NEXT] = words[OLDEST] = words[PARTIAL] = 0
    words[SURE] = left if scheme == CHAO else 0
    floats[LEAST] = 0.0
    floats[TOTAL] = left * mean if scheme != CHAO else 0.0
    return left


@strict
def _spread(keys, least, mean):
    """Stretch keys above ``least`` to what those of items of weight ``mean`` are without such a bound."""
    for slot in range(len(keys)):
        keys[slot] = math.log1p(-math.expm1(keys[slot] * mean) / math.expm1(least * mean)) / mean
