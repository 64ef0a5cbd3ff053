"""Walks through a source pass after pass, and hands out as many rows as are asked for."""

from __future__ import annotations

import os
import time
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

from ..stream import Batch, Position, Source
from ..stream._ahead import read_ahead
from ..stream._rebatch import cut, joined
from ..stream._samples import Samples
from ..stream._shuffle import Shuffled

_PATIENCE = 0.05  # seconds that rows of a slow stream are collected


@dataclass(frozen=True, slots=True)
class Dicts:
    """Rows to learn from, as ``(x, y, w)`` with a dict of features."""

    samples: list[tuple[dict[Hashable, Any], Any, float]]

    @property
    def y(self) -> list[Any]:
        """Targets of the rows."""
        return [y for _, y, _ in self.samples]

    def __len__(self) -> int:
        return len(self.samples)


class Cursor:
    """A place in a source that is passed over again and again.

    Parameters
    ----------
    source
        Where rows come from.
    shuffle
        False, True (all rows of each pass), or the rows of a block that is shuffled.
    seed
        Of the shuffles; each pass has its own order.
    start
        State of an earlier cursor over the same source.
    """

    def __init__(
        self, source: Source, shuffle: bool | int, seed: int, start: Position | None, threads: bool = True
    ) -> None:
        self._source = _shuffled(source, shuffle, seed) if shuffle else source
        self._ahead = threads and source.reads and _n_cores() > 1
        at = start or {"pass": 0, "row": 0, "inner": None, "skip": 0}
        self.passes = int(at["pass"])
        self.row = int(at["row"])  # of the pass
        self._before: Position | None = at["inner"]  # where the batch at hand begins
        self._done = int(at["skip"])  # rows of it that were handed out
        self._taken: tuple[int, Position | None, int] = (self.row, self._before, self._done)
        self._batches: Iterator[Batch] | None = None
        self._batch: Batch | None = None

    def position(self, n: int | None = None) -> Position:
        """Return the state to go on from: behind all rows, or behind the first ``n`` of those taken last."""
        if n is None:
            row, before, skip = self.row, self._before, self._done
        else:
            row, before, skip = self._taken
            row, skip = row + n, skip + n
        return {"pass": self.passes, "row": row, "inner": before, "skip": skip}

    def expected_rows(self) -> int | None:
        """Rows of a pass, as far as is known."""
        at = self._batch.position if self._batch is not None else {"row": 0, "byte": 0}
        return self._source.expected_rows(at)

    def take(self, most: int, multiple: int = 1, limit: int | None = None) -> Batch | None:
        """Return the next rows, or None at the end of a pass.

        A multiple of ``multiple`` rows and about ``most``, never above ``limit``; fewer where the pass
        or the limit ends.
        """
        self._taken = self.row, self._before, self._done
        goal = max(multiple, most // multiple * multiple)
        if limit is not None and limit < goal:
            goal = limit if limit < multiple else limit // multiple * multiple
        parts: list[Batch] = []
        while goal and self._fill():
            assert self._batch is not None
            left = len(self._batch) - self._done
            if not parts:
                if left >= min(goal, multiple):  # enough to go on without joining any
                    return self._part(goal if left >= goal else left // multiple * multiple)
                goal = min(goal, multiple)
            parts.append(self._part(min(left, goal)))
            goal -= len(parts[-1])
        return joined(parts) if parts else None

    def _part(self, n: int) -> Batch:
        batch, lo = self._batch, self._done
        assert batch is not None
        self._done += n
        self.row += n
        if self._done == len(batch):
            self._before, self._done, self._batch = batch.position, 0, None
        return cut(batch, lo, lo + n)

    def _fill(self) -> bool:
        """Have a batch with rows left at hand; tell whether there is one."""
        if self._batches is None:
            self._batches = self._open()
        while self._batch is None:
            batch = next(self._batches, None)
            if batch is None:
                return False
            if self._done < len(batch):
                self._batch = batch
            else:  # continuing behind it
                self._done -= len(batch)
                self._before = batch.position
        return True

    def _open(self) -> Iterator[Batch]:
        if isinstance(self._source, Shuffled):
            self._source.set_pass(self.passes)
        batches = self._source.batches(self._before)
        return read_ahead(batches) if self._ahead else batches

    def next_pass(self) -> bool:
        """Go back to the source's beginning; tell whether that can be."""
        self.close()
        if not self._source.repeatable:
            return False
        self.passes += 1
        self.row, self._before, self._done, self._batch = 0, None, 0, None
        return True

    def close(self) -> None:
        """Let go of the source, and of the thread that reads it."""
        close = getattr(self._batches, "close", None)
        if close is not None:
            close()
        self._batches = None


class SampleCursor:
    """As `Cursor`, over dicts one by one."""

    def __init__(self, source: Samples, start: Position | None) -> None:
        self._source = source
        at = start or {"pass": 0, "row": 0}
        self.passes, self.row = int(at["pass"]), int(at["row"])
        self._taken = self.row
        self._error: Exception | None = None
        self._samples: Iterator[Any] | None = None

    def position(self, n: int | None = None) -> Position:
        """Return the state to go on from: behind all rows, or behind the first ``n`` of those taken last."""
        row = self.row if n is None else self._taken + n
        return {"pass": self.passes, "row": row, "inner": None, "skip": 0}

    def expected_rows(self) -> int | None:
        """Rows of a pass, as far as is known."""
        return self._source.expected_rows({"row": self.row})

    def take(self, most: int, multiple: int = 1, limit: int | None = None) -> Dicts | None:
        """Return the next rows, or None at the end of a pass."""
        self._taken = self.row
        if self._error is not None:
            raise self._error
        if self._samples is None:
            self._samples = iter(self._source.samples({"row": self.row} if self.row else None))
        goal = most if limit is None else min(most, limit)
        samples: list[Any] = []
        begin = time.perf_counter()
        try:
            for sample in self._samples:
                samples.append(sample)
                # a slow stream's rows are learned as they come
                if len(samples) == goal or time.perf_counter() - begin > _PATIENCE:
                    break
        except Exception as error:  # behind the rows before it
            if not samples:
                raise
            self._error = error
        self.row += len(samples)
        return Dicts(samples) if samples else None

    def next_pass(self) -> bool:
        """Go back to the source's beginning; tell whether that can be."""
        self.close()
        if not self._source.repeatable:
            return False
        self.passes, self.row = self.passes + 1, 0
        return True

    def close(self) -> None:
        """Let go of the source."""
        self._samples = None


def _shuffled(source: Source, shuffle: bool | int, seed: int) -> Shuffled:
    """Return a source shuffled as a whole (True), or in blocks of so many rows."""
    if shuffle is not True:
        return Shuffled(source, shuffle, seed)
    rows = getattr(source, "n_rows", None)
    if rows is None or not getattr(source, "in_memory", False):
        raise ValueError(
            "shuffle=True is for rows in memory; for others say within how many rows to shuffle, such as "
            "shuffle=100_000"
        )
    return Shuffled(source, max(1, rows), seed)


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
