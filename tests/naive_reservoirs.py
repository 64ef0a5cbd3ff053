"""Reservoirs in plain Python: each scheme's decisions for given draws, and the exact law of its samples.

Imports nothing from streamgd. A law is a dict: the set of items (numbers of rows) in a sample, and its
probability, found by following every branch that a stream of a few items can take.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

Law = dict[frozenset[int], float]
State = TypeVar("State")


class Draws:
    """Numbers from the words of NumPy's SFC64, by arithmetic of whole numbers without limits."""

    def __init__(self, seed: int) -> None:
        self._source = np.random.SFC64(seed)

    def word(self) -> int:
        return int(self._source.random_raw())

    def unit(self) -> float:
        return ((self.word() >> 12) + 0.5) / 2**52

    def below(self, n: int) -> int:
        while True:
            product = self.word() * n
            if product % 2**64 >= 2**64 % n:
                return product // 2**64


# -- decisions ---------------------------------------------------------------------------------


def uniform_r(n: int, capacity: int, draws: Draws) -> list[int]:
    slots = list(range(min(n, capacity)))
    for number in range(capacity + 1, n + 1):
        slot = draws.below(number)
        slots.append(slot if slot < capacity else -1)
    return slots


def uniform(n: int, capacity: int, draws: Draws) -> list[int]:
    slots = [item if item < capacity else -1 for item in range(n)]
    top = math.exp(math.log(draws.unit()) / capacity)
    item = capacity - 1
    while True:
        item += math.floor(math.log(draws.unit()) / math.log1p(-top)) + 1
        if item >= n:
            return slots
        slots[item] = draws.below(capacity)
        top *= math.exp(math.log(draws.unit()) / capacity)


def biased(n: int, capacity: int, half_life: float, draws: Draws) -> list[int]:
    rate = 1.0 - 0.5 ** (1.0 / half_life) if half_life else 1.0 / capacity
    room = min(capacity, math.floor(1.0 / rate)) if half_life else capacity
    slots, filled = [], 0
    for _ in range(n):
        if half_life and draws.unit() >= room * rate:
            slots.append(-1)
            continue
        slot = min(draws.below(room), filled)
        filled = max(filled, slot + 1)
        slots.append(slot)
    return slots


def weighted(weights: Sequence[float], capacity: int, draws: Draws) -> list[int]:
    slots = []
    keys = [0.0] * capacity
    to_go = math.inf
    for item, w in enumerate(weights):
        slot = item
        if item >= capacity:
            if item == capacity:
                to_go = math.log(draws.unit()) / min(keys)
            to_go -= w
            if to_go > 0.0:
                slots.append(-1)
                continue
            slot = keys.index(min(keys))
            keys[slot] = math.log1p(math.expm1(keys[slot] * w) * draws.unit()) / w
            to_go = math.log(draws.unit()) / min(keys)
        else:
            keys[slot] = math.log(draws.unit()) / w
        slots.append(slot)
    return slots


def window(n: int, capacity: int) -> list[int]:
    return [item % capacity for item in range(n)]


# -- laws --------------------------------------------------------------------------------------


def inclusion(law: Law, n: int) -> list[float]:
    """Return the probability that each of the items 0 ... n - 1 is in the sample."""
    return [sum(p for sample, p in law.items() if item in sample) for item in range(n)]


def added_up(branches: Iterable[tuple[State, float]]) -> dict[State, float]:
    law: dict[State, float] = defaultdict(float)
    for state, p in branches:
        if p > 0.0:
            law[state] += p
    return dict(law)


def law_uniform(items: Iterable[int], size: int) -> Law:
    samples = list(itertools.combinations(items, size))
    return {frozenset(sample): 1.0 / len(samples) for sample in samples}


def law_weighted(weights: Mapping[int, float], size: int) -> Law:
    """Draw one after the other, in proportion to weight among those that are left."""
    if size == 0:
        return {frozenset(): 1.0}
    total = sum(weights.values())
    return added_up(
        (sample | {first}, w / total * p)
        for first, w in weights.items()
        for sample, p in law_weighted({k: v for k, v in weights.items() if k != first}, size - 1).items()
    )


def law_biased(n: int, room: int, p_in: float) -> Law:
    """Insert with ``p_in``; overwrite a random item with the filled part of ``room`` as probability."""
    law: Law = {frozenset(): 1.0}
    for item in range(n):
        law = added_up(
            branch
            for sample, p in law.items()
            for branch in (
                (sample, p * (1.0 - p_in)),
                (sample | {item}, p * p_in * (1.0 - len(sample) / room)),
                *((sample - {old} | {item}, p * p_in / room) for old in sample),
            )
        )
    return law


def shares(weights: Sequence[float], size: int) -> list[float]:
    """Return ``size * w / sum``, or 1 where that is more and the others share what is left."""
    sure: set[int] = set()
    while True:
        rest = sum(w for item, w in enumerate(weights) if item not in sure)
        room = size - len(sure)
        more = {item for item, w in enumerate(weights) if item not in sure and rest > 0 and room * w >= rest}
        if not more:
            return [1.0 if item in sure else room * w / rest for item, w in enumerate(weights)]
        sure |= more


def law_chao(weights: Sequence[float], size: int) -> Law:
    """Let each item that must make room go in proportion to how much its probability shrinks."""
    law: Law = {frozenset(range(size)): 1.0}
    before = [1.0] * size
    for item in range(size, len(weights)):
        after = shares(weights[: item + 1], size)
        law = added_up(
            branch
            for sample, p in law.items()
            for branch in (
                (sample, p * (1.0 - after[item])),
                *((sample - {old} | {item}, p * (1.0 - after[old] / before[old])) for old in sample),
            )
        )
        before = after
    return law


Parts = tuple[frozenset[int], int | None]  # whole items, the partial one


def law_time_biased(times: Sequence[int], end: int, size: int, half_life: float) -> Law:
    """R-TBS by its definition, in batches: an empty one that takes the time, then one with the item."""
    law: dict[Parts, float] = {(frozenset(), None): 1.0}
    total, now = 0.0, 0
    for item, time in enumerate([*times, end]):
        faded = total * 0.5 ** ((time - now) / half_life)
        law, total, now = shrunk(law, min(total, size), min(faded, size)), faded, time
        if item == len(times):
            break
        total += 1.0
        if total - 1.0 < size:
            law = {(whole | {item}, partial): p for (whole, partial), p in law.items()}
            law = shrunk(law, total, min(total, size))
        else:
            law = added_up(
                branch
                for (whole, _), p in law.items()
                for branch in (
                    ((whole, None), p * (1.0 - size / total)),
                    *(((whole - {old} | {item}, None), p / total) for old in whole),
                )
            )
    part = total - math.floor(total) if total < size else 0.0
    return added_up(
        branch
        for (whole, partial), p in law.items()
        for branch in (
            [(whole, p)] if partial is None else [(whole, p * (1.0 - part)), (whole | {partial}, p * part)]
        )
    )


def shrunk(law: Mapping[Parts, float], c: float, after: float) -> dict[Parts, float]:
    """Multiply each item's probability by ``after / c``."""
    if after >= c:
        return dict(law)
    return added_up(branch for state, p in law.items() for branch in _shrunk(state, p, c, after))


def _shrunk(state: Parts, p: float, c: float, after: float) -> Iterable[tuple[Parts, float]]:
    whole, partial = state
    part, rest, kept = c - math.floor(c), after - math.floor(after), math.floor(after)

    def swapped(whole: frozenset[int], p: float) -> Iterable[tuple[Parts, float]]:
        old = frozenset() if partial is None else frozenset({partial})
        for item in whole:
            yield (whole - {item} | old, item), p / len(whole)

    def some(n: int, p: float) -> Iterable[tuple[frozenset[int], float]]:
        for chosen in itertools.combinations(whole, n):
            yield frozenset(chosen), p / math.comb(len(whole), n)

    if kept == 0:
        branches = [((frozenset(), partial), p * part / c)]
        branches += [((frozenset(), new), q) for (_, new), q in swapped(whole, p * (1.0 - part / c))]
    elif kept == math.floor(c):
        stays = (1.0 - after / c * part) / (1.0 - rest)
        branches = [(state, p * stays), *swapped(whole, p * (1.0 - stays))]
    else:
        joins = after / c * part
        branches = [new for fewer, q in some(kept, p * joins) for new in swapped(fewer, q)]
        branches += [
            ((fewer - {item}, item), q / len(fewer))
            for fewer, q in some(kept + 1, p * (1.0 - joins))
            for item in fewer
        ]
    return [((whole, None if rest == 0.0 else partial), p) for (whole, partial), p in branches]
