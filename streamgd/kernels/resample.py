"""Streaming SMOTE: an arriving row is stored with its class, and rows are made from what is stored."""

# mypy: disable-error-code="no-untyped-def,misc"

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._jit import LIMIT, jitable, strict
from . import reservoirs
from .draws import below, unit
from .neighbours import nearest_mixed, squared
from .reservoirs import FILLED, TIME_BIASED, admit, fade
from .smote import between, hardness, in_danger, median_deviation, mode

Floats = NDArray[np.float64]
Words = NDArray[np.int64]
Flags = NDArray[np.bool_]

REPLAY, REGULAR, BORDERLINE_1, BORDERLINE_2, ADASYN = range(5)
KINDS: Final = {
    "regular": REGULAR,
    "borderline1": BORDERLINE_1,
    "borderline2": BORDERLINE_2,
    "adasyn": ADASYN,
    "replay": REPLAY,
}

# Of the words
(
    KIND, SCHEME,  # what is made, and how reservoirs choose
    NEIGHBOURS, AROUND,  # of a class; and of all classes, for what tells where the border is
    MOST, FEWEST,  # rows made on an arrival, at most; rows that a class must have before any is made
    STANDARDISES, STALE,  # whether distances are on standardised columns; whether their scales are old
    NOW,  # rows that arrived
) = range(9)  # fmt: skip
N_WORDS: Final = 9

# Of the counts, by class
(
    REAL, MADE,  # real samples, and made ones, both faded
    RATIO,  # the share of the largest class that is wanted
    LISTED,  # rows whose neighbours are remembered
) = range(4)  # fmt: skip

# What `arrive` returns in place of a number of rows; nothing was written.
FULL: Final = -1
BAD: Final = -2

# Bases that are looked at before a made row is given up, where a kind takes few rows as bases.
TRIES: Final = 8

_SLACK: Final = 1e-9  # rounding of faded counts


class State(NamedTuple):
    """All that a sampler keeps: K classes of room for at most C rows each, r so far, of d columns."""

    words: Words  # (N_WORDS,)
    fading: Floats  # (2,) factor of all counts at each arrival; the half-life that it comes from
    rng: NDArray[np.uint64]  # (4,)
    counts: Floats  # (4, K)
    rows: Floats  # (K, r, d) features that a row lacks are 0
    present: Flags  # (K, r, d)
    slots: Words  # (K, reservoirs.N_WORDS)
    floats: Floats  # (K, reservoirs.N_FLOATS)
    keys: Floats  # (K, C)
    arrived: Words  # (K, C)
    moments: Floats  # (2, d) means, and sums of squared deviations from them
    scales: Floats  # (d,) factors of columns in distances
    penalty: Floats  # (K,) what two codes that differ add to a squared distance; NaN: to be worked out
    row: Floats  # (d,) the arriving row
    there: Flags  # (d,)
    near: Words  # (3, k) scratch: slots of neighbours, those of one class, their classes
    distance: Floats  # (2, k or d)
    known: Words  # (K, r) how many of a row's neighbours are listed; 0: to be looked for
    listed: Words  # (K, r, k or 0) their slots, the nearest first
    away: Floats  # (K, r, k or 0) and squared distances
    moves: Words  # (C, 2) scratch
    nominal: Words  # columns of codes
    numeric: Words  # the others


class Made(NamedTuple):
    """Rows for a learner: room for n of exactly the d columns that are known."""

    rows: Floats  # (n, d)
    present: Flags  # (n, d)
    whole: Flags  # (n,) all are present
    codes: Words  # (n,) class of a made row
    origin: Words  # (n,) the real row that this is, or on whose arrival it was made
    made: Flags  # (n,)


def state_room(
    capacity: int, neighbours: int, listed: int, classes: int = 0, rows: int = 0, width: int = 0
) -> list[NDArray[Any]]:
    """Return what a state has from its counts on: nothing stored, and room for so much."""
    flags, words = np.bool_, np.int64
    return [
        np.zeros((4, classes)),
        np.zeros((classes, rows, width)),
        np.zeros((classes, rows, width), flags),
        np.zeros((classes, reservoirs.N_WORDS), words),
        np.zeros((classes, reservoirs.N_FLOATS)),
        np.zeros((classes, capacity)),
        np.zeros((classes, capacity), words),
        np.zeros((2, width)),
        np.ones(width),
        np.full(classes, np.nan),
        np.zeros(width),
        np.zeros(width, flags),
        np.zeros((3, neighbours), words),
        np.zeros((2, max(neighbours, width))),
        np.zeros((classes, rows), words),
        np.zeros((classes, rows, listed), words),
        np.zeros((classes, rows, listed)),
        np.zeros((capacity, 2), words),
        np.zeros(0, words),
        np.zeros(0, words),
    ]


def made_room(n: int, d: int) -> Made:
    """Return room for n rows of d features."""
    words, flags = np.zeros((2, n), np.int64), np.zeros((2, n), np.bool_)
    return Made(np.zeros((n, d)), np.zeros((n, d), np.bool_), flags[0], words[0], words[1], flags[1])


# -- making a row ------------------------------------------------------------------------------


@jitable
def _rescale(s):
    """Bring the factors of columns up to date: one over the deviation of all rows so far."""
    if s.words[STANDARDISES] != 0 and s.words[STALE] != 0:
        n = s.words[NOW]
        for j in s.numeric:
            deviation = math.sqrt(s.moments[1, j] / n)
            s.scales[j] = 1.0 / deviation if deviation > 0.0 else 0.0
        s.words[STALE] = 0


@jitable
def _penalty(s, c):
    """Return what two codes that differ add to a squared distance in a class (SMOTE-NC)."""
    if s.nominal.shape[0] == 0:
        return 0.0
    if s.words[STANDARDISES] != 0:
        return 1.0  # the deviation of every standardised column
    if s.penalty[c] != s.penalty[c]:
        s.penalty[c] = 1.0
        if s.numeric.shape[0] > 0:
            s.penalty[c] = median_deviation(s.rows[c], s.slots[c, FILLED], s.numeric, s.distance[1]) ** 2
    return s.penalty[c]


@jitable
def _around(s, c, base, k):
    """Find the k nearest rows of all classes; return how many there are, and how many of other classes."""
    found = 0
    index, owner, distance = s.near[0], s.near[2], s.distance[0]
    for other in range(s.rows.shape[0]):
        filled = s.slots[other, FILLED]
        if filled == 0:
            continue
        got = nearest_mixed(
            s.rows[other], filled, s.scales, s.nominal, _penalty(s, c), s.rows[c, base],
            base if other == c else -1, min(k, filled), s.near[1], s.distance[1],
        )  # fmt: skip
        for i in range(got):
            at = min(found, k - 1)
            if found == k and not s.distance[1, i] < distance[at]:
                break
            while at > 0 and distance[at - 1] > s.distance[1, i]:
                distance[at], index[at], owner[at] = distance[at - 1], index[at - 1], owner[at - 1]
                at -= 1
            distance[at], index[at], owner[at] = s.distance[1, i], s.near[1, i], other
            found = min(found + 1, k)
    others = 0
    for i in range(found):
        others += owner[i] != c
    return found, others


@jitable
def _base(s, c):
    """Draw the row that a new one is made from, as the kind says; -1 if it was not found."""
    kind, filled = s.words[KIND], s.slots[c, FILLED]
    for _ in range(TRIES):
        base = below(s.rng, filled)
        if kind == REPLAY or kind == REGULAR:
            return base
        found, others = _around(s, c, base, s.words[AROUND])
        if kind == ADASYN:
            if found > 0 and unit(s.rng) < hardness(others, found):
                return base
        elif in_danger(others, found):
            return base
    return np.int64(-1)


@jitable
def _copy(s, c, base, out, at):
    for j in range(out.rows.shape[1]):
        out.rows[at, j] = s.rows[c, base, j]
        out.present[at, j] = s.present[c, base, j]


@jitable
def _neighbours(s, c, base):
    """Write the neighbours of a row in its class to the scratch; return how many there are.

    A search is remembered until it is no longer true: the same row is a base again and again while no other
    of a rare class arrives.
    """
    if s.listed.shape[2] == 0:
        return nearest_mixed(
            s.rows[c], s.slots[c, FILLED], s.scales, s.nominal, _penalty(s, c), s.rows[c, base], base,
            min(s.words[NEIGHBOURS], s.slots[c, FILLED]), s.near[0], s.distance[0],
        )  # fmt: skip
    if s.known[c, base] == 0:
        s.known[c, base] = nearest_mixed(
            s.rows[c], s.slots[c, FILLED], s.scales, s.nominal, _penalty(s, c), s.rows[c, base], base,
            s.listed.shape[2], s.listed[c, base], s.away[c, base],
        )  # fmt: skip
        s.counts[LISTED, c] += 1.0
    for i in range(s.known[c, base]):
        s.near[0, i] = s.listed[c, base, i]
    return s.known[c, base]


@jitable
def _unlist(s, c, slot):
    """Forget a row's neighbours."""
    if s.known[c, slot] != 0:
        s.known[c, slot] = 0
        s.counts[LISTED, c] -= 1.0


@jitable
def _list(s, c, slot):
    """Bring what is remembered of neighbours up to date after a row was written to a slot."""
    _unlist(s, c, slot)
    if s.counts[LISTED, c] == 0.0:
        return
    rows, row, known, listed, away = s.rows[c], s.rows[c, slot], s.known[c], s.listed[c], s.away[c]
    k = listed.shape[1]
    for i in range(s.slots[c, FILLED]):
        found = known[i]
        if found == 0:
            continue
        gone = s.nominal.shape[0] > 0  # what codes add to distances has changed
        for n in range(found):
            gone = gone or listed[i, n] == slot
        if gone:
            _unlist(s, c, i)
            continue
        distance = squared(rows, i, s.scales, row, away[i, k - 1] if found == k else np.inf)
        at = found
        while at > 0 and (
            away[i, at - 1] > distance or (away[i, at - 1] == distance and listed[i, at - 1] > slot)
        ):
            if at < k:
                away[i, at], listed[i, at] = away[i, at - 1], listed[i, at - 1]
            at -= 1
        if at < k:
            away[i, at], listed[i, at] = distance, slot
            known[i] = min(found + 1, k)


@jitable
def _interpolate(s, c, base, out, at):
    """Make a row between a base and one of its neighbours; of codes, take the commonest nearby."""
    row = s.rows[c, base]
    if s.words[KIND] == BORDERLINE_2:
        found, _ = _around(s, c, base, s.words[NEIGHBOURS])
        chosen = below(s.rng, found)
        slot, owner = s.near[0, chosen], s.near[2, chosen]
        share = 1.0 if owner == c else 0.5 * unit(s.rng)
    else:
        found = _neighbours(s, c, base)
        slot, owner, share = s.near[0, below(s.rng, found)], c, 1.0
    between(row, s.rows[owner, slot], unit(s.rng), share, out.rows[at])
    for j in range(out.rows.shape[1]):
        out.present[at, j] = s.present[c, base, j] or s.present[owner, slot, j]
    for j in s.nominal:
        if s.words[KIND] == BORDERLINE_2:  # its neighbours may be of any class
            out.rows[at, j] = row[j]
        else:
            out.rows[at, j] = mode(s.rows[c], j, s.near[0], found, unit(s.rng))


@jitable
def _make(s, c, out, at):
    """Make a row of a class; tell whether one was made."""
    _rescale(s)
    base = _base(s, c)
    if base < 0:
        return False
    if s.words[KIND] == REPLAY or s.slots[c, FILLED] == 1:
        _copy(s, c, base, out, at)
    else:
        _interpolate(s, c, base, out, at)
    whole = True
    for j in range(out.rows.shape[1]):
        whole = whole and out.present[at, j]
    out.whole[at] = whole
    out.codes[at] = c
    out.made[at] = True
    return True


# -- one arrival -------------------------------------------------------------------------------


@jitable
def _neediest(s, largest):
    """Return the class that lacks most, -1 if none lacks a row."""
    neediest, most = -1, 0.0
    wanted = s.counts[REAL, largest]
    for c in range(s.counts.shape[1]):
        lacks = s.counts[RATIO, c] * wanted - s.counts[REAL, c] - s.counts[MADE, c]
        if c != largest and lacks >= 1.0 - _SLACK and lacks > most and s.slots[c, FILLED] >= s.words[FEWEST]:
            neediest, most = c, lacks
    return neediest


@jitable
def _top_up(s, out, at, origin):
    """Make rows of the classes that lack some, one of the neediest at a time; return where they end."""
    largest = 0
    for c in range(s.counts.shape[1]):
        if s.counts[REAL, c] > s.counts[REAL, largest]:
            largest = c
    for _ in range(s.words[MOST]):
        c = _neediest(s, largest)
        if c < 0:
            break
        s.counts[MADE, c] += 1.0  # one that is given up is not owed later
        if _make(s, c, out, at):
            out.origin[at] = origin
            at += 1
    return at


@jitable
def _fade(s, c):
    """Give up stored rows of a class as time goes by."""
    filled = s.slots[c, FILLED]
    n = fade(s.slots[c], s.floats[c], s.arrived[c], s.fading[1], s.words[NOW], s.rng, s.moves)
    for i in range(n):
        to, at = s.moves[i, 0], s.moves[i, 1]
        s.rows[c, to] = s.rows[c, at]
        s.present[c, to] = s.present[c, at]
    if s.slots[c, FILLED] < filled:
        s.penalty[c] = np.nan
        s.known[c] = 0
        s.counts[LISTED, c] = 0.0


@jitable
def _store(s, c, w):
    """Count the arriving row, and offer it to the reservoir of its class."""
    s.words[NOW] += 1
    if s.fading[0] < 1.0:
        for k in range(s.counts.shape[1]):
            s.counts[REAL, k] *= s.fading[0]
            s.counts[MADE, k] *= s.fading[0]
    s.counts[REAL, c] += w
    if s.words[STANDARDISES] != 0:
        for j in range(s.row.shape[0]):
            change = s.row[j] - s.moments[0, j]
            s.moments[0, j] += change / s.words[NOW]
            s.moments[1, j] += change * (s.row[j] - s.moments[0, j])
        s.words[STALE] = 1
    if s.words[SCHEME] == TIME_BIASED:
        for k in range(s.counts.shape[1]):
            _fade(s, k)
    slot = admit(
        s.words[SCHEME], s.slots[c], s.floats[c], s.keys[c], s.arrived[c], w, 0.0, s.words[NOW], s.rng
    )
    if slot >= 0:
        s.penalty[c] = np.nan
        for j in range(s.row.shape[0]):
            s.rows[c, slot, j] = s.row[j]
            s.present[c, slot, j] = s.there[j]
        if s.listed.shape[2] > 0:
            _list(s, c, slot)


@jitable
def _is_full(s, c):
    """Whether a class needs room that it may have."""
    return s.slots[c, FILLED] == s.rows.shape[1] < s.arrived.shape[1]


@strict
def arrive(s: Any, c: Any, w: Any, out: Any) -> Any:
    """Take in the row that was written to the state; return how many rows were made.

    Parameters
    ----------
    s
        The `State`.
    c, w
        Class of the row and its weight, above 0.
    out
        Room for as many rows as may be made.

    Returns
    -------
    FULL for lack of room in the class, BAD if a value is not finite or too large.
    """
    for j in range(s.row.shape[0]):
        if not abs(s.row[j]) <= LIMIT:
            return BAD
    if _is_full(s, c):
        return FULL
    _store(s, c, w)
    return _top_up(s, out, 0, 0)


@strict
def arrive_all(
    s: Any, values: Any, index: Any, starts: Any, width: Any, columns: Any, codes: Any, weights: Any,
    start: Any, out: Any,
) -> Any:  # fmt: skip
    """Take in rows of arrays in turn, and write each and those that it gave rise to.

    A row is only written, for the learner to say what is wrong, where its class is unknown (-1), a value is
    not finite or too large, or its weight is not above 0.

    Parameters
    ----------
    s
        The `State`.
    values, index, starts, width
        Compressed rows, and -1; or those of a matrix of ``width`` columns one after the other, and nothing.
    columns
        The state's column of each of theirs.
    codes, weights
        Of each row; one weight may stand for all.
    start
        The first row.
    out
        Room for the rows written, at least for one and the most that are made on its arrival.

    Returns
    -------
    The row to go on with, whether that is for lack of room in a class, and how many rows were written.
    """
    i, at = start, 0
    while i < codes.shape[0] and at + s.words[MOST] < out.made.shape[0]:
        c, w = codes[i], weights[i if weights.shape[0] > 1 else 0]
        if c >= 0 and _is_full(s, c):
            return i, True, at
        s.row[:] = 0.0
        s.there[:] = False
        begin, end = (i * width, (i + 1) * width) if width >= 0 else (starts[i], starts[i + 1])
        good = c >= 0 and 0.0 < w <= LIMIT
        for k in range(begin, end):
            j = columns[k - begin if width >= 0 else index[k]]
            s.row[j] = values[k]
            s.there[j] = True
            good = good and abs(s.row[j]) <= LIMIT
        out.whole[at] = end - begin == out.rows.shape[1]
        for j in range(out.rows.shape[1]):
            out.rows[at, j] = s.row[j]
            out.present[at, j] = s.there[j]
        out.origin[at] = i
        out.made[at] = False
        at += 1
        if good:
            _store(s, c, w)
            at = _top_up(s, out, at, i)
        i += 1
    return i, False, at
