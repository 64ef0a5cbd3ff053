"""Random numbers inside kernels against NumPy's, and what an arriving item costs a reservoir."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from compare import Case, Effort, Row, Side, UnequalError, in_turn
from numpy.typing import NDArray

from streamgd._jit import strict
from streamgd.kernels.draws import below, poisson, seeded
from streamgd.kernels.reservoirs import N_FLOATS, N_WORDS, SCHEMES, TIME_BIASED, admit, fade

SEED = 1
N = 100_000  # numbers
CAPACITIES = (1_000, 10_000, 100_000)
ARRIVALS = 20  # times the capacity


def cases(effort: Effort) -> Iterator[Case | Row]:
    for rate in (1.0, 6.0, 100.0):
        yield numbers(f"Poisson numbers, rate {rate:g}", poisson_numbers, rate, "poisson", rate)
    yield numbers("integers below 10 ** 12", numbers_below, 10**12, "integers", 0, 10**12)
    for capacity in CAPACITIES[: 1 if effort.quick else None]:
        for scheme in SCHEMES:
            if scheme == "chao" and capacity > 10_000:
                continue  # minutes: each item that stops being sure is looked for in all slots
            yield arrivals(scheme, capacity, 3 if effort.quick else 7)


@strict
def poisson_numbers(rate: Any, out: Any, rng: Any) -> None:
    for i in range(len(out)):
        out[i] = poisson(rng, rate)


@strict
def numbers_below(n: Any, out: Any, rng: Any) -> None:
    for i in range(len(out)):
        out[i] = below(rng, n)


def numbers(name: str, fill: Any, parameter: float, method: str, *arguments: float) -> Case:
    out, rng = np.empty(N, dtype=np.int64), seeded(SEED)
    generator = np.random.Generator(np.random.SFC64(SEED))

    def ours() -> None:
        fill(parameter, out, rng)

    def numpys() -> NDArray[np.int64]:
        drawn: NDArray[np.int64] = getattr(generator, method)(*arguments, size=N)
        return drawn

    def check() -> str:
        ours()
        if not np.array_equal(out, numpys()):
            raise UnequalError(f"{name} of the same seed differ")
        return f"{N:,} numbers of the same seed are equal"

    return Case(name, check, Side(ours, N), "NumPy, Generator(SFC64)", Side(numpys, N), unit="number")


@strict
def stored(scheme: Any, weights: Any, capacity: Any, parameter: Any, rng: Any) -> Any:
    """Return how many of the items are stored in a new reservoir."""
    words, floats = np.zeros(N_WORDS, dtype=np.int64), np.zeros(N_FLOATS)
    keys, arrived = np.zeros(capacity), np.zeros(capacity, dtype=np.int64)
    moves = np.empty((capacity, 2), dtype=np.int64)
    n = 0
    for i in range(len(weights)):
        if scheme == TIME_BIASED:
            fade(words, floats, arrived, parameter, i, rng, moves)
        n += admit(scheme, words, floats, keys, arrived, weights[i], parameter, i, rng) >= 0
    return n


def arrivals(scheme: str, capacity: int, repetitions: int) -> Row:
    weights = np.random.default_rng(SEED).exponential(size=ARRIVALS * capacity)
    parameter = 5.0 * capacity if scheme == "time_biased" else 0.0  # its half-life
    kept = [stored(SCHEMES[scheme], weights, capacity, parameter, seeded(SEED))]

    def seconds() -> float:
        start = time.perf_counter()
        kept.append(stored(SCHEMES[scheme], weights, capacity, parameter, seeded(SEED)))
        return (time.perf_counter() - start) / len(weights)

    times = in_turn([seconds], repetitions)[0]
    return Row(
        f"{scheme} reservoir of {capacity:,}", "arrival", statistics.median(times),
        figures={"stored": f"{kept[0]:,} of {len(weights):,}"}, repetitions={"ours": times},
    )  # fmt: skip
