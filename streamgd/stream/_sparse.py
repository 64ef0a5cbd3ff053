"""Text whose rows name the features that they have: what its sources share."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._recipe import Recipe
from .._rows import Prefix, SparseRows
from ..kernels import parse
from ..kernels.hashing import Numbering
from ..kernels.parse_svmlight import add_up
from ._batch import Batch, InputError, Position, Source
from ._window import Follow, Pipe, Window, compressed

_MARK = b"\xef\xbb\xbf"  # which some editors begin a file with


class SparseText(Source):
    """Rows of a text that name their features; a subclass brings what reads them."""

    reads = True

    def __init__(self, path: Any, batch_rows: int, recipe: Recipe, follow: bool | Follow) -> None:
        if batch_rows < 1:
            raise ValueError(f"batch_rows={batch_rows}: at least 1 is needed")
        self.path: Path | Pipe
        if isinstance(path, str | os.PathLike):
            self.path = Path(path)
        else:
            self.path = path if isinstance(path, Pipe) else Pipe(path)
            self.repeatable = self.path.seekable
        self.batch_rows = batch_rows
        self.recipe = recipe
        self.follow = (Follow() if follow is True else follow) or None

    @abstractmethod
    def _reader(self, window: Window, n: int) -> SparseReader:
        """Return what reads ``n`` rows a batch."""

    def _check(self) -> None:
        """Read the first row, so that a file of another kind is refused at once."""
        if isinstance(self.path, Path) and self.follow is None:
            with Window(self.path) as window:
                reader = self._reader(window, 1)
                reader.read()
                if not reader.rows:
                    raise reader.error or InputError(f"{self.path}: no rows in the file")

    def expected_rows(self, position: Position) -> int | None:
        """Rows estimated from the bytes read so far; None where nobody knows how many bytes will come."""
        if isinstance(self.path, Pipe) or compressed(self.path) or self.follow is not None:
            return None
        if not position["byte"] or not position["row"]:
            return None
        rows: int = position["row"]
        return max(rows, round(self.path.stat().st_size * rows / int(position["byte"])))

    def batches(self, start: Position | None = None) -> Iterator[Batch]:
        """Yield batches from ``start``, the position of an earlier batch (default: the beginning).

        The rows before one that cannot be read are handed out before its error is raised.
        """
        at = {"row": 0, "byte": 0, "line": 1} if start is None else start
        row = at["row"]
        with Window(self.path, at["byte"], at["line"], follow=self.follow) as window:
            reader = self._reader(window, self.batch_rows)
            more = True
            while more:
                more = reader.read()
                if reader.rows:
                    yield reader.batch(row)
                    row += reader.rows
            if reader.error is not None:
                reader.error.row = row
                raise reader.error


class SparseReader(ABC):
    """One pass over a text: the rows of the present batch, and the features so far.

    Attributes
    ----------
    rows
        Rows of the batch that are read.
    error
        What is wrong with the row behind them.
    """

    def __init__(self, source: SparseText, window: Window, n: int) -> None:
        self.window = window
        self.rows = 0
        self.error: InputError | None = None
        self._where = str(source.path)
        self._n = n
        self._n_features = source.recipe.n_features
        self.labels: NDArray[np.float64] | None = None
        self.weights: NDArray[np.float64] | None = None
        self.indptr: NDArray[np.int64] = np.zeros(1, dtype=np.int64)
        self.indices: NDArray[np.int64] = np.empty(16 * n, dtype=np.int64)
        self.values: NDArray[np.float64] = np.empty(16 * n)
        self._names: list[Hashable] = []
        self._numbering = Numbering()
        self._place: NDArray[np.int64] = np.zeros(1024, dtype=np.int64)

    # -- what a format brings

    @abstractmethod
    def begin(self, n: int) -> None:
        """Make arrays for the targets and weights of ``n`` rows."""

    @abstractmethod
    def part(self) -> tuple[int, int]:
        """Read rows of the window, from `rows` on: why that ended (`MORE`, or `FULL`), and the next byte."""

    def columns(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[Hashable]]:
        """Return the columns of features as they were read, and the names of the new ones."""
        columns, new = self._numbering.number(indices)
        return columns, indices[new].tolist()

    # -- what it may use

    def grow(self, n: int) -> None:
        """Make room for ``n`` values."""
        n = max(n, 2 * len(self.values))
        self.indices, self.values = np.resize(self.indices, n), np.resize(self.values, n)

    def text(self, begin: int, end: int) -> str:
        """Return bytes of the window as text for a message, or for ``float``."""
        return self.window.bytes_at(begin, end).decode(errors="replace")

    def word(self, at: int) -> str:
        """Return what stands in the window from ``at`` to the next blank."""
        stop = at
        while stop < self.window.end and self.window.text[stop] > 32:
            stop += 1
        return self.text(at, stop)

    def refusal(self, row: int, at: int, message: str) -> InputError:
        """Return the error for a row, at a byte of the window; the batch ends before that row."""
        window = self.window
        error = InputError(f"{self._where}, line {window.line_of(at)}: {message}")
        self.rows = row
        window.skip(window.start + window.bytes_at(window.start, at).rfind(b"\n") + 1)
        return error

    # -- batches

    def read(self) -> bool:
        """Read the next batch; False when the text ends with it, or cannot be read further."""
        window = self.window
        self.rows = 0
        self.indptr = np.zeros(self._n + 1, dtype=np.int64)
        self.begin(self._n)
        try:
            while self.rows < self._n:
                status, at = self.part()
                window.skip(at)
                if status == parse.MORE:
                    if window.final:
                        return False
                    window.fill(wait=not self.rows)
                    if not window.offset and window.bytes_at(0, 3) == _MARK:
                        window.skip(3)
                    if window.idle:
                        break
        except InputError as error:
            self.error = error
            return False
        return True

    def batch(self, first: int) -> Batch:
        """Return the rows that are read, of which ``first`` came before."""
        m = self.rows
        indptr = self.indptr[: m + 1]
        indices, values = self.indices[: indptr[m]].copy(), self.values[: indptr[m]].copy()
        if self._n_features is not None:
            values[indices < 0] *= -1.0
            indices = np.abs(indices) % self._n_features
        columns, new = self.columns(indices)
        self._names += new
        if len(self._place) < len(self._names):
            self._place = np.resize(self._place, 2 * len(self._names))
        n = add_up(indptr, columns, values, self._place)
        X = SparseRows(values[:n], columns[:n], indptr, len(self._names))
        y = None if self.labels is None else self.labels[:m]
        w = None if self.weights is None or (self.weights[:m] == 1.0).all() else self.weights[:m]
        position = {"row": first + m, "byte": self.window.offset, "line": self.window.line}
        return Batch(X, y, Prefix(self._names), first, position, w)
