"""Rows of CSV: the cells of a window's text, read into the arrays of a batch, by one thread or several."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, wait
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .._recipe import Missing
from ..kernels import parse
from ..kernels.names import Names
from ._batch import InputError, Position
from ._encode import Codes
from ._table import weights
from ._window import Pipe, Window

# Of a column, what is kept from batch to batch: distinct cells, and their bytes.
_REMEMBERED, _REMEMBERED_BYTES = 1_000_000, 64 << 20
_UNBOUNDED: Final = 1 << 62
_BOOLEANS = {"true": True, "false": False}
_MARKERS = frozenset(["na", "n/a", "nan", "null", "none", "?"])  # of a missing number, in any case
_ODD = 4096  # numbers that only float can judge, from one call of the kernel
_PART = 1 << 16  # bytes for which another thread is worth its while
_ALONE = 16  # rounds with one thread, after the parts of several did not fit together

Failure: TypeAlias = tuple[int, InputError]  # the row that cannot be read, and why


def boolean(text: str) -> bool:
    """Return what true or false, in any case, stands for."""
    value = _BOOLEANS.get(text.strip().lower())
    if value is None:
        raise ValueError(text)
    return value


def is_boolean(text: str) -> bool:
    """Return whether a cell is true or false, in any case."""
    return text.strip().lower() in _BOOLEANS


def is_number(text: str) -> bool:
    """Return whether ``float`` reads a cell."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_marker(text: str) -> bool:
    """Return whether a cell is a word for a missing number."""
    return text.strip().lower() in _MARKERS


def _category(name: str) -> str:
    return f"if it is a category, say so (kinds={{{name!r}: 'category'}}, --category {name})"


class Layout:
    """Where the cells of each column go, and what they must not be.

    Parameters
    ----------
    names
        All columns.
    numbers
        Those that make the matrix. A boolean is also a text, from which its place in the matrix is filled.
    apart
        Columns of numbers that each make an array: the target and the weights.
    texts
        Readers of the columns that are not made of numbers.
    """

    def __init__(
        self,
        names: Sequence[str],
        delimiter: int,
        numbers: Sequence[str] = (),
        apart: Sequence[str] = (),
        texts: Sequence[Text | Cells] = (),
        *,
        target: str | None = None,
        weight: str | None = None,
        missing: Missing = "error",
    ) -> None:
        self.names, self.delimiter = names, delimiter
        self.numbers, self.apart, self.texts = tuple(numbers), tuple(apart), tuple(texts)
        self.target, self.weight, self.missing = target, weight, missing
        self.kinds = np.full(len(names), parse.SKIP, dtype=np.int8)
        self.slots = np.zeros(len(names), dtype=np.int64)
        of_text = [text.name for text in texts]
        for kind, group in ((parse.NUMBER, numbers), (parse.APART, apart), (parse.TEXT, of_text)):
            for slot, name in enumerate(group):
                j = names.index(name)
                self.kinds[j], self.slots[j] = kind, slot


class _Part(NamedTuple):
    """What one call of the kernel did, as `parse.csv_rows` has it."""

    end: int
    status: int
    last: int
    at: int
    odd: list[list[int]]
    where: int
    fields: int
    newlines: int


class Reader:
    """Fills the arrays of one batch after the other from a window."""

    def __init__(
        self,
        file: Path | Pipe,
        window: Window,
        layout: Layout,
        threads: int = 1,
        pool: Executor | None = None,
    ) -> None:
        self.layout = layout
        self._threads = threads
        self._file = file
        self._window = window
        self._pool = pool
        self._alone = 0  # rounds to go with one thread
        self._row_bytes = 0.0  # of the last batch; 0: not known

    def read(self, n: int) -> tuple[int, InputError | None]:
        """Read up to ``n`` rows: how many they are, and what is wrong with the next one.

        They are fewer at the end of the text, before a row that is wrong, or when more are slow to come.
        """
        m, error = self._read(n)
        self._starts[m], self._lines[m] = self._window.offset, self._window.line
        return m, error

    def _read(self, n: int) -> tuple[int, InputError | None]:
        layout, window = self.layout, self._window
        self.numbers = np.empty((n, len(layout.numbers)))
        self.apart = np.empty((len(layout.apart), n))
        self._spans = np.empty((len(layout.texts), n, 2), dtype=np.int64)
        self._lines = np.empty(n + 1, dtype=np.int64)
        self._starts = np.empty(n + 1, dtype=np.int64)
        for text in layout.texts:
            text.begin(n)
        r, begin = 0, window.offset
        while r < n:
            part = self._parse(r, n)
            self._lines[r : part.last] += window.line
            failures = self._failures(part, r)
            row, error = min(failures, key=lambda failure: failure[0], default=(part.last, None))
            at, newlines = part.at, part.newlines
            if row < part.last:
                at, newlines = int(self._starts[row]), int(self._lines[row]) - window.line
            self._starts[r:row] += window.offset - window.start  # from now on counted in the file
            window.skip(at, newlines)
            if error is not None:
                return row, error
            r = part.last
            if part.status == parse.MORE and part.end == window.end:
                if window.final:
                    break
                try:
                    window.fill(wait=r == 0)
                except InputError as error:
                    return r, error
                if window.idle:
                    break
        self._row_bytes = (window.offset - begin) / max(r, 1)
        return r, None

    def place(self, row: int) -> str:
        """Return file and line where a row of the batch begins."""
        return f"{self._file}, line {self._lines[row]}"

    def before(self, row: int) -> Position:
        """Return the byte and the line where a row of the batch begins, or the one behind its last."""
        return {"byte": int(self._starts[row]), "line": int(self._lines[row])}

    # -- bytes to rows, in one thread or several ---------------------------------------------

    def _run(self, first: int, begin: int, end: int, limit: int) -> _Part:
        """Read rows ``first`` to ``limit`` from ``text[begin:end]``."""
        window, layout, out = self._window, self.layout, np.empty(7, dtype=np.int64)
        odd = np.empty((max(_ODD, len(layout.names)), 4), dtype=np.int64)
        final = window.final and window.whole and end == window.end
        parse.csv_rows(
            window.text, begin, end, final, layout.delimiter, layout.kinds, layout.slots,
            first, self.numbers[:limit], self.apart, self._spans, self._lines, self._starts, odd, out,
        )  # fmt: skip
        status, last, at, n_odd, where, fields, newlines = out.tolist()
        return _Part(end, status, last, at, odd[:n_odd].tolist(), where, fields, newlines)

    def _parse(self, r: int, n: int) -> _Part:
        """Read rows ``r`` to ``n``, or as many as the window has.

        Several threads read from newlines on that may stand in a quoted cell, and into rows that were counted
        as newlines. Where one did not end exactly where the next one begins, in bytes and in rows, what is
        behind it was misread and is not taken: it will be read again.
        """
        cuts = self._cuts(n - r)
        if self._pool is None or len(cuts) == 2:
            return self._run(r, cuts[0], cuts[1], n)
        counts = [parse.newlines(self._window.text, *ends) for ends in itertools.pairwise(cuts)]
        firsts = [r, *(r + np.cumsum(counts)).tolist()]
        jobs = [
            self._pool.submit(self._run, first, begin, end, min(limit, n))
            for first, limit, (begin, end) in zip(firsts, firsts[1:], itertools.pairwise(cuts), strict=False)
            if first < n
        ]
        wait(jobs)
        first, newlines, odd = r, 0, []
        for job, limit in zip(jobs, firsts[1:], strict=False):
            part = job.result()
            self._lines[first : part.last] += newlines
            first, newlines = part.last, newlines + part.newlines
            odd += part.odd
            if part.last != limit or part.at != part.end:
                self._alone = 0 if job is jobs[-1] and part.last > r else _ALONE
                break
        return part._replace(odd=odd, newlines=newlines)

    def _cuts(self, rows: int) -> list[int]:
        """Return where to divide the text for so many rows among the threads: begin, cuts, end."""
        window, threads = self._window, self._threads
        begin, end = window.start, window.end
        size = min(end - begin, int(1.02 * rows * self._row_bytes))
        parts = min(threads, size // _PART)
        if self._alone or parts < 2:
            self._alone = max(self._alone - 1, 0)
            return [begin, end]
        near = [begin + size * k // parts for k in range(1, parts + 1)]
        return [begin, *(parse.behind_newline(window.text, at, end) for at in near)]

    # -- what is wrong ---------------------------------------------------------------------

    def _failures(self, part: _Part, first: int) -> list[Failure]:
        """Read what the kernel could not, and return the first row that cannot be read, for each reason."""
        found: list[Failure | None] = [self._judge(part.odd)]
        texts, last = self.layout.texts, part.last
        each = map if self._pool is None else self._pool.map
        found += each(lambda k: texts[k].take(self, self._spans[k], first, last), range(len(texts)))
        if self.layout.weight in self.layout.apart:
            found.append(self._weigh(self.apart[-1], first, last))
        if part.status not in (parse.FULL, parse.MORE):
            found.append((last, self._error(part)))
        return [failure for failure in found if failure is not None]

    def _judge(self, odd: list[list[int]]) -> Failure | None:
        """Read numbers as ``float`` does."""
        layout = self.layout
        for row, column, begin, end in odd:
            try:
                value = self._float(layout.names[column], begin, end)
            except InputError as error:
                return row, error
            if layout.kinds[column] == parse.APART:
                self.apart[layout.slots[column], row] = value
            else:
                self.numbers[row, layout.slots[column]] = value
        return None

    def _float(self, name: str, begin: int, end: int) -> float:
        layout = self.layout
        text = self.decode(self._window.bytes_at(begin, end), begin, name)
        try:
            value = float(text) if text and not is_marker(text) else np.nan
        except ValueError:
            if name in (layout.target, layout.weight):
                what = "target" if name == layout.target else "weight"
                advice = f"the {what} must be a number in every row" + (
                    ", as in the first ones" if name == layout.target else ""
                )
            else:
                advice = f"where the first rows have numbers; {_category(name)}"
            raise InputError(f"{self.line(begin)}: column {name!r} is {text!r}, {advice}") from None
        if np.isnan(value) and name != layout.weight:
            if name == layout.target or layout.missing == "error":
                raise self.missing(begin, name, text)
            return 0.0 if layout.missing == "zero" else value
        return value

    def _weigh(self, w: NDArray[np.float64], first: int, last: int) -> Failure | None:
        """Refuse what cannot be a weight."""
        w = w[first:last]
        bad = ~(np.isfinite(w) & (w >= 0.0))
        if not bad.any():
            return None
        row = int(np.argmax(bad))
        try:
            weights(w[row : row + 1], self.layout.weight, lambda _: self.place(first + row))
        except InputError as error:
            return first + row, error
        return None

    def _error(self, part: _Part) -> InputError:
        line, p = self.line(part.where), len(self.layout.names)
        if part.status == parse.OPEN_QUOTE:
            return InputError(f"{line}: a quote is opened and never closed")
        if part.status == parse.AFTER_QUOTE:
            return InputError(f"{line}: text after a closing quote; double a quote inside a cell")
        found = f"{part.fields}" if part.fields <= p else f"more than {p}"
        return InputError(f"{line}: {found} fields, where the header has {p}")

    def missing(self, at: int, name: str, text: str = "") -> InputError:
        """Return the error for a cell without a value, which is empty or says so in words."""
        if name == self.layout.target:
            return InputError(f"{self.line(at)}: the target {name!r} is missing; take the row out")
        found = f"{text!r}, a missing value" if text else "empty"
        return InputError(
            f"{self.line(at)}: column {name!r} is {found}; fill it in, or read missing values as zero or as "
            "the mean so far (missing='zero' or 'mean', --missing zero)"
        )

    def line(self, at: int) -> str:
        """Return file and line of a byte of the window."""
        return f"{self._file}, line {self._window.line_of(at)}"

    def cell(self, span: NDArray[np.int64]) -> tuple[int, bytes]:
        """Return where a cell of text begins, and its bytes."""
        begin, end = span.tolist()
        if begin >= 0:
            return begin, self._window.bytes_at(begin, end)
        return -begin - 1, self._window.bytes_at(-begin - 1, end).replace(b'""', b'"')

    def decode(self, cell: bytes, at: int, name: str) -> str:
        """Return a cell as text."""
        try:
            return cell.decode()
        except UnicodeDecodeError as error:
            raise InputError(
                f"{self.line(at)}: column {name!r} is not UTF-8 text; convert the file"
            ) from error

    @property
    def text(self) -> NDArray[np.uint8]:
        """The bytes that spans point into."""
        return self._window.text


class Cells:
    """A column of the sample: its cells as text."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.cells: list[str] = []

    def begin(self, n: int) -> None:
        """Do nothing; there is one batch."""

    def take(self, reader: Reader, spans: NDArray[np.int64], first: int, last: int) -> Failure | None:
        """Append rows ``first`` to ``last``."""
        for row in range(first, last):
            at, cell = reader.cell(spans[row])
            try:
                self.cells.append(reader.decode(cell, at, self.name))
            except InputError as error:
                return row, error
        return None


class Text:
    """A column read as text: the value of each distinct cell, worked out once, and the cell of each row.

    Parameters
    ----------
    read
        Makes a value of a cell that is not empty; ValueError where it cannot.
    refuses
        Whether an empty cell is an error.
    """

    def __init__(self, name: str, read: Callable[[str], Any], refuses: bool) -> None:
        self.name = name
        self._read = read
        self._refuses = refuses
        self._names = Names(_UNBOUNDED)
        self._values: list[Any] = []  # by code

    def begin(self, n: int) -> None:
        """Make room for ``n`` rows, and forget values if they are too many to keep."""
        self._codes = np.empty(n, dtype=np.int64)
        if len(self._values) > _REMEMBERED or self._names.size > _REMEMBERED_BYTES:
            self._names, self._values = Names(_UNBOUNDED), []

    def take(self, reader: Reader, spans: NDArray[np.int64], first: int, last: int) -> Failure | None:
        """Set the codes of rows ``first`` to ``last``; returns the first row that has no value."""
        row = first
        while (row := parse.cell_codes(reader.text, spans, row, last, self._names.table, self._codes)) < last:
            self._names.grow(len(reader.cell(spans[row])[1]))
        codes = self._codes[first:last]
        failing = [_UNBOUNDED]
        if self._refuses:
            failing += np.flatnonzero(codes < 0)[:1].tolist()
        for cell in self._names.since(len(self._values)):
            try:
                self._values.append(self._read(cell.decode()))
            except ValueError:  # a cell that cannot be decoded is one, too
                failing += np.flatnonzero(codes == len(self._values))[:1].tolist()
                break
        row = min(failing)
        return None if row == _UNBOUNDED else (first + row, self._error(reader, spans[first + row]))

    def _error(self, reader: Reader, span: NDArray[np.int64]) -> InputError:
        at, cell = reader.cell(span)
        if not cell:
            return reader.missing(at, self.name)
        try:
            text = reader.decode(cell, at, self.name)
        except InputError as error:
            return error
        return InputError(
            f"{reader.line(at)}: column {self.name!r} is {text!r}, where the first rows have only true "
            f"and false; {_category(self.name)}"
        )

    def categories(self, m: int) -> Codes:
        """Return the first ``m`` rows as categories."""
        return Codes(self._codes[:m], self._values)

    def labels(self, m: int) -> NDArray[Any]:
        """Return the first ``m`` rows, none of them missing, as an array of what `read` makes."""
        dtype = bool if self._read is boolean else object
        return np.array(self._values, dtype=dtype)[self._codes[:m]]

    def floats(self, m: int, missing: float) -> NDArray[np.float64]:
        """Return the first ``m`` rows as numbers."""
        return np.array([*self._values, missing], dtype=np.float64)[self._codes[:m]]
