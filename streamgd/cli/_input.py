"""The rows of a command: where they come from, until when, and their targets as the task wants them."""

from __future__ import annotations

import os
import select
import stat
import sys
import time
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from ..stream import Batch, Pipe, Position, Source
from ._errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping

_LOOK = 0.1  # seconds between two looks whether to go on waiting for a pipe


class Ended(Exception):
    """No more is to be waited for."""


class Until:
    """Whether to go on waiting for rows: not after Ctrl-C, nor when the time is over.

    Attributes
    ----------
    pressed
        Whether Ctrl-C was pressed.
    """

    def __init__(self) -> None:
        self.pressed = False
        self._end = float("inf")

    def limit(self, seconds: float | None) -> None:
        """Let the time begin."""
        self._end = float("inf") if seconds is None else time.monotonic() + seconds

    def __call__(self) -> bool:
        return self.pressed or time.monotonic() >= self._end


class _Waiting:
    """Bytes of a pipe; raises `Ended` rather than wait for more for ever."""

    def __init__(self, number: int, until: Until) -> None:
        self._file = open(number, "rb", buffering=0, closefd=False)
        self._until = until
        self.fileno = self._file.fileno

    def readinto(self, view: memoryview) -> int | None:
        while not select.select([self._file], [], [], _LOOK)[0]:
            if self._until():
                raise Ended
        return self._file.readinto(view)


def is_pipe(file: str) -> bool:
    """Return whether what FILE names is read once, as it comes."""
    return file == "-" or (os.path.exists(file) and stat.S_ISFIFO(os.stat(file).st_mode))


def input_of(file: str, until: Until) -> str | Pipe:
    """Return what FILE names, in a form that sources take."""
    if not is_pipe(file):
        return file
    if file != "-":
        number = os.open(file, os.O_RDONLY)
        pipe = Pipe(_Waiting(number, until), file)
        weakref.finalize(pipe, os.close, number)
        return pipe
    name, buffer = "standard input", sys.stdin.buffer
    try:
        number = buffer.fileno()
    except OSError:  # no file of the system, but something in its place
        return Pipe(buffer, name)
    return Pipe(buffer if stat.S_ISREG(os.fstat(number).st_mode) else _Waiting(number, until), name)


class Prepared(Source):
    """Rows whose targets are whole numbers where they are labels, and numbers where those are wanted.

    The first batch, which tells what the task is, is read once: it may come through a pipe.

    Parameters
    ----------
    source
        Where the rows come from.
    name
        What errors call it; by default as the source does.
    """

    def __init__(self, source: Source, name: str = "-") -> None:
        self.source = source
        self.path = getattr(source, "path", None) if name == "-" else name
        self.batch_rows = source.batch_rows
        self.target, self.kinds = source.target, source.kinds
        self.repeatable, self.reads = source.repeatable, source.reads
        self.task = ""
        self.n_columns = 0
        self._rest: Iterator[Batch] | None = source.batches()
        self.first = next(self._rest, None)

    def expected_rows(self, position: Position) -> int | None:
        """Rows as the source expects them."""
        return self.source.expected_rows(position)

    def batches(self, start: Position | None = None) -> Iterator[Batch]:
        """Yield batches from ``start``, the position of an earlier batch (default: the beginning)."""
        if start is None and self._rest is not None and self.first is not None:
            batches: Iterator[Batch] = chain([self.first], self._rest)
            self._rest = None
        else:
            batches = self.source.batches(start)
        for batch in batches:
            self.n_columns = len(batch.columns)
            yield self.labelled(batch)

    def labelled(self, batch: Batch) -> Batch:
        """Read whole numbers as such where they are labels, and truth values as numbers for regression."""
        import numpy as np

        y: Any = batch.y
        if self.task == "regression":
            y = y.astype(np.float64)
        elif y.dtype.kind == "f" and _whole(y):
            y = y.astype(np.int64)
        return replace(batch, y=y)

    def distinct(self, batch: Batch) -> list[Any]:
        """Return the labels of a batch in the order in which they turn up."""
        import numpy as np

        labels, places = np.unique(cast(Any, self.labelled(batch).y), return_index=True)
        found: list[Any] = labels[np.argsort(places)].tolist()
        return found

    def labels(self, positive: str | None) -> tuple[Any, Any] | None:
        """Return the labels, negative and positive, where they do not depend on the order of the rows."""
        assert self.first is not None
        if self.task != "binary":
            if positive is not None:
                raise click.UsageError(f"--positive {positive} is for task binary; this one is {self.task}")
            return None
        found = self.distinct(self.first)
        if positive is None:
            clear = len(found) > 1 and not isinstance(found[0], str)
            return (min(found[:2]), max(found[:2])) if clear else None
        value = _label(positive, found[0])
        if value not in found and len(found) > 1:
            listed = ", ".join(map(repr, found[:8]))
            raise BadInput(f"--positive {positive}: no such label in the first rows, which have {listed}")
        for label in self._search():
            if label != value:
                return (label, value)
        raise BadInput(
            f"--positive {positive}: every row has this label, and there is nothing to tell it from"
        )

    def _search(self) -> Iterator[Any]:
        """Yield labels: a sorted file may begin with many rows of one, so read on to the first other."""
        assert self.first is not None
        yield from self.distinct(self.first)
        if self.repeatable:
            for batch in self.source.batches(self.first.position):
                yield from self.distinct(batch)

    def few_numbers(self) -> int | None:
        """Return how many different whole numbers the first targets are, if few enough for labels."""
        import numpy as np

        y: Any = cast(Batch, self.first).y
        n = len(np.unique(y))
        return n if n <= min(50, len(y) // 10) and _whole(y) else None

    def means(self, position: Mapping[str, Any] | None) -> dict[str, float] | None:
        """Return the means that missing values were read as, at a position of `fit`; None without any."""
        at: Any = position
        while at is not None and "encoder" not in at:
            at = at.get("inner")
        if at is None and self.first is not None:  # the run ended before the second batch
            at = self.first.position
        state = None if at is None else at.get("encoder")
        return None if state is None else state["means"]


def _whole(y: Any) -> bool:
    import numpy as np

    return bool(((y == np.round(y)) & (np.abs(y) < 2.0**53)).all())


def task_of(source: Prepared) -> str:
    """Tell from the first batch whether it is "binary", "multiclass" or "regression"."""
    import numpy as np

    y: Any = cast(Batch, source.first).y
    n = len(np.unique(y))
    if source.kinds.get(source.target or "", "number") != "number":
        return "binary" if n <= 2 else "multiclass"
    single = n == len(y) and not _whole(y)  # the first one or two rows of a pipe, and no labels by their look
    return "binary" if n <= 2 and not single else "regression"


_NAMES = {"svm": "svmlight text", "vw": "Vowpal Wabbit text"}


def layout_of(source: Source) -> str:
    """Return what rows are: "columns" with names, or those of svmlight ("svm") or Vowpal Wabbit ("vw")."""
    from ..stream import VW

    return "columns" if source.kinds else "vw" if isinstance(source, VW) else "svm"


def of_another_kind(file: str, model: str, saved: Mapping[str, Any]) -> BadInput:
    """Return the error that FILE is not of the kind that a saved model was trained on."""
    what = (
        "columns with names; give it a CSV, Parquet or Arrow file with those columns"
        if saved["kinds"]
        else f"{_NAMES[saved['format']]}; give it such a file"
    )
    return BadInput(f"{file}: {model} was trained on {what}")


def same_rows(file: str) -> str | None:
    """Return the name by which FILE is known when a run goes on later; None for a pipe."""
    return None if is_pipe(file) else str(Path(file).absolute())


def _label(text: str, like: Any) -> Any:
    """Return the label that is written as ``text``, of the type of another one."""
    if isinstance(like, str):
        return text
    if isinstance(like, bool):
        known = {"true": True, "false": False}
        if text.lower() in known:
            return known[text.lower()]
        raise BadInput(f"--positive {text}: the labels are true and false")
    try:
        value = float(text)
    except ValueError:
        raise BadInput(f"--positive {text}: the labels are numbers, such as {like}") from None
    return int(value) if value.is_integer() else value
