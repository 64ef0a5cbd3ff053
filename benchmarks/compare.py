"""What a comparison is, and how two sides are timed: equal results first, then in turn, A B A B."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from machine import all_cores


class Effort(NamedTuple):
    """How long to measure, and on how much."""

    quick: bool
    repetitions: int
    fewest: int  # repetitions of what takes long
    seconds: float  # the least that one repetition of one side takes
    most: float  # seconds for one case, unless the fewest repetitions take longer
    checked: int  # rows that both sides learn before their results are compared


QUICK = Effort(quick=True, repetitions=5, fewest=3, seconds=0.003, most=1.0, checked=500)
FULL = Effort(quick=False, repetitions=31, fewest=7, seconds=0.02, most=4.0, checked=5000)


class UnequalError(Exception):
    """Two sides that are about to be timed give different results."""


class Side(NamedTuple):
    """One side: a pass over the data, and what it goes through."""

    run: Callable[[], object]
    units: int
    every_core: bool = False  # else it stays on the one core that the process is pinned to


@dataclass(frozen=True)
class Case:
    """Two sides that give equal results."""

    name: str
    check: Callable[[], str]  # returns in words what was equal, or raises UnequalError
    ours: Side
    peer_name: str
    peer: Side
    unit: str = "row"
    aim: str = ""
    bytes_per_unit: int = 0
    headline: bool = False  # stands in README's table


@dataclass(frozen=True)
class Row:
    """One line of a table: medians in seconds a unit. What is not known is None."""

    name: str
    unit: str
    ours: float | None = None
    peer_name: str = ""
    peer: float | None = None
    ratio: float | None = None  # how many times longer the peer takes
    aim: str = ""
    checked: str = ""
    headline: bool = False
    failed: str = ""
    figures: Mapping[str, str] = field(default_factory=dict)
    repetitions: Mapping[str, list[float]] = field(default_factory=dict)


def measure(case: Case, effort: Effort) -> Row:
    """Check a case, then time it."""
    checked = case.check()
    sides = [_repetition(case.ours, effort), _repetition(case.peer, effort)]
    start = time.perf_counter()
    in_turn(sides, 1)
    affordable = int(effort.most / (time.perf_counter() - start))
    ours, peer = in_turn(sides, max(effort.fewest, min(effort.repetitions, affordable)))
    middle, peer_middle = statistics.median(ours), statistics.median(peer)
    figures = {}
    if case.bytes_per_unit:
        rates = (f"{case.bytes_per_unit / seconds / 1e9:.1f} GB/s" for seconds in (middle, peer_middle))
        figures["reads"] = " against ".join(rates)
    return Row(
        case.name, case.unit, middle, case.peer_name, peer_middle, peer_middle / middle, case.aim, checked,
        case.headline, figures=figures, repetitions={"ours": ours, "peer": peer},
    )  # fmt: skip


def in_turn(sides: Iterable[Callable[[], float]], repetitions: int) -> list[list[float]]:
    """Call the sides one after the other, again and again: a slow minute of the machine meets all."""
    sides = list(sides)
    results: list[list[float]] = [[] for _ in sides]
    for _ in range(repetitions):
        for side, seconds in zip(sides, results, strict=True):
            seconds.append(side())
    return results


def _repetition(side: Side, effort: Effort) -> Callable[[], float]:
    """Return a function that takes seconds a unit over as many passes as are long enough to time."""
    side.run()
    passes = max(1, round(effort.seconds / _timed(side, 1)))

    def repetition() -> float:
        if passes > 1:
            side.run()  # the other side has emptied the processor's caches
        return _timed(side, passes) / passes / side.units

    return repetition


def _timed(side: Side, passes: int) -> float:
    run = side.run
    gc.collect(0)
    gc.disable()
    try:
        if side.every_core:
            with all_cores():
                return _clock(run, passes)
        return _clock(run, passes)
    finally:
        gc.enable()


def _clock(run: Callable[[], object], passes: int) -> float:
    start = time.perf_counter()
    for _ in range(passes):
        run()
    return time.perf_counter() - start


def equal(ours: Any, peer: Any, what: str, tolerance: float = 1e-9) -> str:
    """Say how far two vectors, dicts or numbers are apart, or raise.

    Distances are relative where numbers are larger than 1.
    """
    import numpy as np

    if isinstance(peer, Mapping):
        if set(ours) != set(peer):
            raise UnequalError(f"{what}: other names")
        ours, peer = [ours[name] for name in peer], list(peer.values())
    a, b = np.asarray(ours, dtype=float).ravel(), np.asarray(peer, dtype=float).ravel()
    if a.shape != b.shape:
        raise UnequalError(f"{what}: {a.shape} against {b.shape}")
    worst = float(np.max(np.abs(a - b) / np.maximum(1.0, np.abs(b)), initial=0.0))
    if not worst <= tolerance:
        raise UnequalError(f"{what} differ by {worst:.3g}, and {tolerance:.0e} is allowed")
    return f"{what} equal to {worst:.0e}"
