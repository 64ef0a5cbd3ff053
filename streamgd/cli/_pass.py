"""One pass over a source: test on each row, then train on it, and report as it goes."""

from __future__ import annotations

import copy
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import click

from ._scores import Scores

if TYPE_CHECKING:
    from ..stream import Batch, Position, Source

_HEADER = ("rows", "so far", "since last", "learning rate", "rows/s")


@dataclass
class Outcome:
    """What a pass came to.

    Attributes
    ----------
    scores
        Metrics over all rows.
    rows, features
        Rows learned from, and features seen in them.
    seconds
        Reading, predicting, learning and scoring; without compiling.
    interrupted
        Whether Ctrl-C ended it.
    error
        The row that ended it, in words.
    curve
        (rows, metric so far, metric of the last batch) after each batch.
    position
        Where the source goes on, behind the last row learned from.
    """

    scores: Scores
    rows: int = 0
    features: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    error: str | None = None
    curve: list[tuple[int, float, float]] = field(default_factory=list)
    position: Position | None = None


def run(
    source: Source,
    batches: Iterator[Batch],
    model: Any,
    scores: Scores,
    *,
    limit: int | None = None,
    quiet: bool = False,
    curve: bool = False,
) -> Outcome:
    """Learn from ``batches`` of ``source`` in one pass.

    A bad row and Ctrl-C end the pass, not the program: what was learned before stands.
    """
    from tqdm import tqdm

    from ..stream import InputError

    first = next(batches)
    outcome = Outcome(scores)
    table = _Table(model, scores, quiet)
    _compile(model, scores, first, quiet)
    with (
        _ctrl_c() as pressed,
        tqdm(unit=" rows", unit_scale=True, leave=False, disable=quiet or not sys.stderr.isatty()) as bar,
    ):
        table.start()
        start = time.perf_counter()
        done = 0
        try:
            for batch in chain([first], batches):
                done = 0
                outcome.features = len(batch.columns)
                n = len(batch) if limit is None else min(len(batch), limit - outcome.rows)
                last = scores.fresh() if curve else None
                y = cast(Any, batch.y)
                for lo, hi in table.pieces(n):
                    z = _learn(model, batch, lo, hi)
                    scores.update(model, y[lo:hi], z)
                    if last is not None:
                        last.update(model, y[lo:hi], z)
                    outcome.rows += hi - lo
                    done = hi
                    table.advance(hi - lo)
                if n == len(batch):
                    outcome.position, done = batch.position, 0
                if last is not None:
                    outcome.curve.append((outcome.rows, scores.so_far(), last.so_far()))
                bar.total = limit or source.expected_rows(batch.position)
                bar.update(n)
                outcome.interrupted = bool(pressed)
                if pressed or outcome.rows == limit:
                    break
        except InputError as error:
            outcome.error = str(error)
        except (ValueError, TypeError) as error:
            row = getattr(error, "row", None)
            if row is None:
                raise
            place = batch.first + lo + row + 1
            outputs = getattr(error, "outputs", None)
            if outputs is not None and row:
                scores.update(model, y[lo : lo + row], outputs)
                table.count(row)
            outcome.rows += row
            done = lo + row
            outcome.error = f"row {place:,}: {str(error).removeprefix(f'row {row}: ')}"
        outcome.seconds = time.perf_counter() - start
        table.finish()
        if done:
            outcome.position = _behind(source, outcome.position, done)
    return outcome


def _behind(source: Source, start: Position | None, n: int) -> Position:
    """Return the position ``n`` rows behind another one, which need not be where a batch ends."""
    shorter = copy.copy(source)
    shorter.batch_rows = n
    return next(shorter.batches(start)).position


def _learn(model: Any, batch: Batch, lo: int, hi: int) -> Any:
    X, y, w = batch.part(lo, hi)
    return model.predict_learn_rows(X, y, w, columns=batch.columns)


def _compile(model: Any, scores: Scores, batch: Batch, quiet: bool) -> None:
    """Compile, or load, all that a batch needs on copies, so that the pass is timed without it."""
    from .._jit import compilations

    model, y, before = model.clone(), cast(Any, batch.y), len(compilations)
    try:
        scores.fresh(whole=True).update(model, y[:1], _learn(model, batch, 0, 1))
    except (ValueError, TypeError) as error:
        if getattr(error, "row", None) is None:
            raise
        # the pass meets the same row, and reports it
    seconds = sum(made.seconds for made in compilations[before:] if not made.cached)
    if seconds and not quiet:
        click.echo(f"compiled in {seconds:.1f} s, which the next run saves", err=True)


@contextmanager
def _ctrl_c() -> Iterator[list[int]]:
    """Collect the first Ctrl-C, so that a batch is finished before the pass ends; a second one interrupts."""
    pressed: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


class _Table:
    """Lines at 1, 2, 4, 8, ... rows, as Vowpal Wabbit prints them."""

    def __init__(self, model: Any, scores: Scores, quiet: bool) -> None:
        self._model = model
        self._scores = scores
        self._quiet = quiet
        self._rows = self._printed = 0
        self._next = 1
        self._clock = 0.0

    def start(self) -> None:
        """Print the head and start the clock."""
        self._print(_HEADER)
        self._clock = time.perf_counter()

    def pieces(self, n: int) -> Iterator[tuple[int, int]]:
        """Cut a batch of ``n`` rows where a line is due."""
        lo = 0
        while lo < n:
            hi = min(n, lo + self._next - self._rows)
            yield lo, hi
            lo = hi

    def advance(self, n: int) -> None:
        """Count rows, and print a line when it is due."""
        self.count(n)
        if self._rows == self._next:
            self._line()
            self._next *= 2

    def count(self, n: int) -> None:
        """Count rows that belong to the next line."""
        self._rows += n

    def finish(self) -> None:
        """Print a line for the rows since the last one."""
        if self._rows > self._printed:
            self._line()

    def _line(self) -> None:
        now = time.perf_counter()
        speed = (self._rows - self._printed) / max(now - self._clock, 1e-9)
        so_far, since = self._scores.so_far(), self._scores.since_last()
        rate = f"{self._model.learning_rate:.4g}" if hasattr(self._model.optimizer, "lr") else "-"
        self._print((f"{self._rows:,}", _number(so_far), _number(since), rate, f"{speed:,.0f}"))
        self._printed, self._clock = self._rows, time.perf_counter()

    def _print(self, cells: Sequence[str]) -> None:
        if self._quiet:
            return
        from tqdm import tqdm

        with tqdm.external_write_mode(file=sys.stdout):
            if cells is _HEADER:
                click.echo(f"{'':>12}  {self._scores.name:^22}")
            click.echo(f"{cells[0]:>12}  {cells[1]:>10}  {cells[2]:>10}  {cells[3]:>13}  {cells[4]:>11}")


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.4f}"


def summary(outcome: Outcome, model: Any) -> Iterable[str]:
    """Lines that close a pass."""
    import resource

    kilobyte = 1024 if sys.platform == "darwin" else 1  # macOS counts bytes, Linux kilobytes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / kilobyte / 1024
    speed = outcome.rows / max(outcome.seconds, 1e-9)
    yield f"{'rows':<19}{outcome.rows:,}"
    yield f"{'features':<19}{outcome.features:,}"
    undefined = "undefined: only one label was there" if outcome.scores.rows else "undefined: no rows"
    for name, value in outcome.scores.all():
        yield f"{name:<19}" + (f"{value:.6g}" if value == value else undefined)
    labels: tuple[Any, ...] = getattr(model, "labels_", ())
    if len(labels) == 2:
        yield f"{'positive label':<19}{labels[1]!r} (the other is {labels[0]!r})"
    if getattr(model, "n_invalid", 0):
        yield f"{'skipped':<19}{model.n_invalid:,} invalid rows"
    yield f"{'seconds':<19}{outcome.seconds:.2f} ({speed:,.0f} rows/s, reading included)"
    yield f"{'peak memory':<19}{peak:,.0f} MB"
