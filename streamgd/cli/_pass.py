"""A training run of a command: a line each time the rows double, and a summary."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from ..evaluate._meter import Meter
from ..training import Callback
from ._input import Ended, Prepared, Until

if TYPE_CHECKING:
    from ..training import History, Run

_HEADER = ("rows", "so far", "since last", "learning rate", "rows/s")


@dataclass
class Outcome:
    """What a run came to.

    Attributes
    ----------
    history
        What `fit` returned, or the error that ended the run had.
    error
        The row that ended it, in words.
    """

    history: History
    error: str | None = None

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended it."""
        return self.history.stopped == "interrupted"


def run(
    source: Prepared,
    model: Any,
    metrics: Sequence[str],
    *,
    until: Until,
    quiet: bool = False,
    callbacks: Iterable[Callback] = (),
    **options: Any,
) -> Outcome:
    """Learn from a source, with the ``options`` of `fit`.

    A bad row and Ctrl-C end the run, not the program: what was learned before stands. ``until`` is told of
    Ctrl-C and of the time, for a source that waits.
    """
    from .._errors import InvalidRow
    from ..stream import InputError
    from ..training import fit

    lines = Lines(model, metrics[0], quiet)
    _compile(source, model, metrics, options, quiet)
    until.limit(options.get("max_seconds"))
    with _ctrl_c(until):
        try:
            history = fit(
                model, source, metrics=metrics, callbacks=[_Interrupt(until), lines, *callbacks],
                progress=not quiet, **options,
            )  # fmt: skip
            outcome = Outcome(history)
        except Ended as error:
            outcome = Outcome(error.history)  # type: ignore[attr-defined]
            outcome.history.stopped = "time"
        except (InputError, InvalidRow) as error:
            if not hasattr(error, "history") or (isinstance(error, InvalidRow) and error.row is None):
                raise
            outcome = Outcome(error.history, str(error))
    if until.pressed and outcome.error is None:
        outcome.history.stopped = "interrupted"
    lines.finish(model, outcome.history)
    return outcome


def _compile(
    source: Prepared, model: Any, metrics: Sequence[str], options: dict[str, Any], quiet: bool
) -> None:
    """Compile, or load, all that a batch needs on copies, so that the run is timed without it."""
    from .._errors import InvalidRow
    from .._jit import compilations
    from ..stream import Arrays
    from ..training import fit

    assert source.first is not None
    before = len(compilations)
    batch = source.labelled(source.first)
    X, y, w = batch.part(0, 1)
    row = Arrays(X, y, w, columns=batch.columns)
    size = options.get("batch_size", 1)
    try:
        fit(model.clone(), row, metrics=metrics, batch_size=size, progress=False)
    except InvalidRow as error:
        if error.row is None:
            raise
        # the run meets the same row, and reports it
    seconds = sum(made.seconds for made in compilations[before:] if not made.cached)
    if seconds and not quiet:
        click.echo(f"compiled in {seconds:.1f} s, which the next run saves", err=True)


@contextmanager
def _ctrl_c(until: Until) -> Iterator[None]:
    """Note the first Ctrl-C, so that a batch is finished before the run ends; a second one interrupts."""
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        until.pressed = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Interrupt(Callback):
    """Stops the run behind the rows at hand when Ctrl-C was pressed."""

    def __init__(self, until: Until) -> None:
        self._until = until

    def on_learned(self, run: Run) -> None:
        if self._until.pressed:
            run.stop("interrupted")


class Lines(Callback):
    """Lines at 1, 2, 4, 8, ... rows, as Vowpal Wabbit prints them."""

    def __init__(self, model: Any, name: str, quiet: bool) -> None:
        self._name, self._quiet = name, quiet
        self._since = Meter([name], model, window=None)
        self._printed = 0
        self._clock = 0.0

    def due(self, samples: int) -> int | None:
        return 1 << samples.bit_length()

    def on_start(self, run: Run) -> None:
        self._print(_HEADER)
        self._clock = time.perf_counter()

    def on_learned(self, run: Run) -> None:
        self._since.update(run.predictions)

    def on_rows(self, run: Run) -> None:
        self._line(run.model, run.samples, run.meter.values()[self._name])

    def finish(self, model: Any, history: History) -> None:
        """Print a line for the rows since the last one."""
        if history.samples > self._printed:
            self._line(model, history.samples, history.last(self._name))

    def _line(self, model: Any, rows: int, so_far: float) -> None:
        now = time.perf_counter()
        speed = (rows - self._printed) / max(now - self._clock, 1e-9)
        rate = f"{model.learning_rate:.4g}" if hasattr(model.optimizer, "lr") else "-"
        since = self._since.values()[self._name]
        self._print((f"{rows:,}", _number(so_far), _number(since), rate, f"{speed:,.0f}"))
        self._since = Meter([self._name], model, window=None)
        self._printed, self._clock = rows, time.perf_counter()

    def _print(self, cells: Sequence[str]) -> None:
        if self._quiet:
            return
        from tqdm import tqdm

        with tqdm.external_write_mode(file=sys.stdout):
            if cells is _HEADER:
                click.echo(f"{'':>12}  {self._name:^22}")
            click.echo(f"{cells[0]:>12}  {cells[1]:>10}  {cells[2]:>10}  {cells[3]:>13}  {cells[4]:>11}")


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.4f}"


def summary(outcome: Outcome, source: Prepared, model: Any, metrics: Sequence[str]) -> Iterable[str]:
    """Lines that close a run."""
    history = outcome.history
    yield f"{'rows':<19}{history.samples:,}"
    if history.updates != history.samples:
        yield f"{'updates':<19}{history.updates:,}"
    if history.epochs > 1:
        n = history.iterations_per_epoch or 0
        yield f"{'epochs':<19}{history.epochs} of {n:,} update{'s'[: n != 1]}"
    yield f"{'features':<19}{source.n_columns if history.samples else 0:,}"
    undefined = "undefined: only one label was there" if history.samples else "undefined: no rows"
    for name in metrics:
        value = history.last(name)
        yield f"{name:<19}" + (f"{value:.6g}" if value == value else undefined)
    labels: tuple[Any, ...] = getattr(model, "labels_", ())
    if len(labels) == 2:
        yield f"{'positive label':<19}{labels[1]!r} (the other is {labels[0]!r})"
    elif len(labels) > 2:
        yield f"{'labels':<19}{len(labels)}"
    if model.n_invalid:
        yield f"{'skipped':<19}{model.n_invalid:,} invalid rows"
    speed = history.samples / max(history.seconds, 1e-9)
    yield f"{'seconds':<19}{history.seconds:.2f} ({speed:,.0f} rows/s, reading included)"
    yield f"{'peak memory':<19}{_peak():,.0f} MB"


def _peak() -> float:
    """Return the most memory that the process has had, in MB."""
    import resource

    kilobyte = 1024 if sys.platform == "darwin" else 1  # macOS counts bytes, Linux kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / kilobyte / 1024
