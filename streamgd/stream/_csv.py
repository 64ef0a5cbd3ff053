"""CSV files, parsed by a compiled kernel."""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..kernels import parse
from ._batch import Batch, InputError, Kind, Position, Source
from ._columns import Categories, check_kinds, one_hot, select
from ._window import Window

SAMPLE = 1000  # rows that decide what a column is
_REMEMBERED = 1_000_000  # distinct cells of a column whose value is kept
_BOOLEANS = {"true": True, "false": False}
_MARKERS = frozenset(["na", "n/a", "nan", "null", "none", "?"])  # of a missing number, in any case


class CSV(Source):
    """Rows of a CSV file with a header, plain or gzip.

    What a column is gets decided by the first 1,000 rows: a number when every cell is one to Python's
    ``float`` (which every value equals to the bit), a boolean when every cell is "true" or "false" in any
    case, else a category. Empty cells do not count, nor do NA, N/A, NaN, null, None and ? (in any case)
    among numbers, where they are missing values, too. A later cell that breaks this is an error with its
    line, unless `kinds` says otherwise from the start. Cells may be quoted; a quoted cell may hold
    delimiters and newlines.

    Parameters
    ----------
    path
        The file; its name ends in ``.gz`` when it is compressed.
    target
        Column to predict, or None.
    batch_rows
        Rows a batch.
    drop
        Columns to leave out.
    columns
        Columns to learn from; None takes all but the target and `drop`.
    kinds
        Kinds of columns that the first rows do not show, such as ``{"zip": "category"}``.
    missing
        "error" refuses an empty cell, a NaN, and NA and the like in a column of numbers; "zero" reads it
        as 0, or as no category. A target may never be missing.
    delimiter
        One byte; None takes the most frequent of comma, semicolon, tab and bar in the header.
    max_categories
        Columns and categories allowed in all.

    Attributes
    ----------
    doubtful
        Columns that became categories though most of their cells are numbers, each with the first cell
        that is not.

    Raises
    ------
    InputError
        Names file, line, column and value. The batch that holds the bad row is not handed out.
    """

    reads = True

    def __init__(
        self,
        path: str | Path,
        target: str | None = None,
        batch_rows: int = 8192,
        *,
        drop: Collection[str] = (),
        columns: Collection[str] | None = None,
        kinds: Mapping[str, Kind] | None = None,
        missing: Literal["error", "zero"] = "error",
        delimiter: str | None = None,
        max_categories: int = 1_000_000,
    ) -> None:
        self.path = Path(path)
        self.target = target
        self.batch_rows = batch_rows
        self.missing = missing
        self.max_categories = max_categories
        with Window(self.path) as window:
            self._names = self._header(window, delimiter)
            self._features = select(str(self.path), self._names, target, drop, columns)
            self._start: Position = {"row": 0, "byte": window.offset, "line": window.line}
            used = [*self._features, *([] if target is None else [target])]
            given = check_kinds(str(self.path), used, kinds)
            sample = self._sample(window)
            self.kinds: dict[str, Kind] = {n: given.get(n) or _kind(sample[n]) for n in used}
            found = [n for n in self._features if self.kinds[n] == "category" and n not in given]
            self.doubtful = {n: cell for n in found if (cell := _odd_one(sample[n])) is not None}

    def expected_rows(self, position: Position) -> int | None:
        """Rows estimated from the bytes read so far; None for a compressed file."""
        read = position["byte"] - self._start["byte"]
        if self.path.suffix == ".gz" or not position["row"] or not read:
            return None
        total = self.path.stat().st_size - self._start["byte"]
        return max(int(position["row"]), round(total / read * position["row"]))

    # -- header and kinds ------------------------------------------------------------------

    def _header(self, window: Window, delimiter: str | None) -> list[str]:
        at = -1
        while at < 0 and not window.final:
            window.fill()
            head = window.bytes_at(0, window.end)
            if head.startswith(b"\xef\xbb\xbf"):
                head = b"   " + head[3:]
            quoted = False
            for k, c in enumerate(head):
                quoted ^= c == 34
                if c == 10 and not quoted and head[:k].strip():
                    at = k
                    break
                if c == 13 and not quoted and head[k + 1 : k + 2] not in (b"\n", b"\r", b""):
                    raise InputError(
                        f"{self.path}, line 1: a line ends with a carriage return alone, as on old Macs; "
                        "convert the line ends to newlines"
                    )
        line = head[: at if at >= 0 else len(head)]
        try:
            text = line.decode().lstrip(" \r\n")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{self.path}, line 1: not UTF-8 text ({error.reason}); convert the file"
            ) from error
        if not text.strip():
            raise InputError(f"{self.path}: the file is empty")
        if delimiter is None:
            delimiter = max(",;\t|", key=text.count)
        if len(delimiter.encode()) != 1:
            raise ValueError(f"delimiter={delimiter!r}: one ASCII character is needed")
        self._delimiter = ord(delimiter)
        window.skip(min(len(line) + 1, window.end))
        try:
            names = [n.strip() for n in next(csv.reader([text.rstrip("\r\n")], delimiter=delimiter))]
        except csv.Error as error:
            raise InputError(f"{self.path}, line 1: the header cannot be read ({error})") from error
        if all(_is_number(n) for n in names):
            raise InputError(
                f"{self.path}, line 1: {text.strip()[:60]!r} holds numbers; a header with names is needed"
            )
        return names

    def _sample(self, window: Window) -> dict[str, list[str]]:
        """Return the cells of the first rows, by column."""
        p = len(self._names)
        reader = _Reader(self, window, np.full(p, parse.TEXT, np.int8), np.arange(p), 0, p, SAMPLE)
        cells: dict[str, list[str]] = {name: [] for name in self._names}
        wanted = {*self._features, self.target}
        n = 0
        for first, last in reader.parts():
            n = last
            blob = reader.blob
            for j, name in enumerate(self._names):
                if name in wanted:
                    spans = reader.pairs(first, last, j)
                    cells[name] += [reader.decode(_cell(blob, s, e), reader.place(s), name) for s, e in spans]
        if not n:
            raise InputError(f"{self.path}: only a header, no rows")
        return cells

    # -- rows ------------------------------------------------------------------------------

    def batches(self, start: Position | None = None) -> Iterator[Batch]:
        """Yield batches from ``start``, the position of an earlier batch (default: the beginning)."""
        at = self._start if start is None else start
        numeric = [n for n in self._features if self.kinds[n] != "category"]
        categorical = [n for n in self._features if self.kinds[n] == "category"]
        categories = Categories(str(self.path), numeric, categorical, self.max_categories)
        texts = {name: self._text(name, categories) for name, kind in self.kinds.items() if kind != "number"}
        active = [texts[n] for n in categorical]
        booleans = [(j, texts[n]) for j, n in enumerate(numeric) if n in texts]
        numbers = [
            *numeric,
            *([self.target] if self.target in self.kinds and self.target not in texts else []),
        ]
        kinds = np.full(len(self._names), parse.SKIP, dtype=np.int8)
        slots = np.zeros(len(self._names), dtype=np.int64)
        for j, name in enumerate(self._names):
            if name in texts:
                kinds[j], slots[j] = parse.TEXT, list(texts).index(name)
            elif name in numbers:
                kinds[j], slots[j] = parse.NUMBER, numbers.index(name)

        with Window(self.path, at["byte"], at["line"]) as window:
            row = at["row"]
            while True:
                reader = _Reader(self, window, kinds, slots, len(numbers), len(texts), self.batch_rows)
                m = 0
                for first, m in reader.parts():
                    for k, column in enumerate(texts.values()):
                        column.fill(reader, k, first, m)
                if m == 0:
                    return
                for j, column in booleans:
                    reader.numbers[:m, j] = column.rows[:m]
                y: NDArray[Any] | None = None
                if self.target is not None:
                    column_of_y = texts[self.target].rows if self.target in texts else reader.numbers[:, -1]
                    y = column_of_y[:m].copy()
                X: Any = np.ascontiguousarray(reader.numbers[:m, : len(numeric)])
                if active:
                    X = one_hot(X, [column.rows[:m] for column in active], len(categories.names))
                position = {"row": row + m, "byte": window.offset, "line": window.line}
                yield Batch(X, y, categories.names, row, position)
                row += m

    def _text(self, name: str, categories: Categories) -> _Text:
        """Return the reader of a column that is not made of numbers."""
        n, boolean = self.batch_rows, self.kinds[name] == "boolean"
        none = None if self.missing == "error" else 0.0 if boolean else -1
        if name == self.target:
            return _Text(name, n, bool if boolean else object, _boolean if boolean else str, None)
        if boolean:
            return _Text(name, n, float, _boolean, none)
        return _Text(name, n, np.int64, functools.partial(categories.slot, name), none)


class _Reader:
    """Fills the arrays of one batch from a window."""

    def __init__(
        self,
        source: CSV,
        window: Window,
        kinds: NDArray[np.int8],
        slots: NDArray[np.int64],
        n_numbers: int,
        n_spans: int,
        n: int,
    ) -> None:
        self._source = source
        self._window = window
        self._kinds, self._slots = kinds, slots
        self.numbers = np.empty((n, n_numbers))
        self.spans = np.empty((n, n_spans, 2), dtype=np.int64)
        self._odd = np.empty((max(4096, len(kinds)), 4), dtype=np.int64)
        self.blob = b""  # the bytes that spans point into

    def parts(self) -> Iterator[tuple[int, int]]:
        """Yield (first, last) of rows as they are read; spans hold until the next part."""
        window, r, out = self._window, 0, np.zeros(6, dtype=np.int64)
        n = len(self.numbers)
        while r < n:
            parse.csv_rows(
                window.text, window.start, window.end, window.final, self._source._delimiter,
                self._kinds, self._slots, r, self.numbers, self.spans, self._odd, out,
            )  # fmt: skip
            status, last, at, n_odd, where, fields = out.tolist()
            for row, column, begin, end in self._odd[:n_odd].tolist():
                self.numbers[row, self._slots[column]] = self._judge(column, begin, end)
            if last > r:
                self.blob = window.bytes_at(window.start, at) if self.spans.size else b""
                yield r, last
                r = last
            if status not in (parse.FULL, parse.MORE):
                raise self._error(status, where, fields)
            window.skip(at)
            if status == parse.MORE:
                if window.final:
                    return
                window.fill()

    def _judge(self, column: int, begin: int, end: int) -> float:
        source, name = self._source, self._source._names[column]
        text = self.decode(self._window.bytes_at(begin, end), begin, name)
        try:
            value = float(text) if text and not _is_marker(text) else np.nan
        except ValueError:
            if name == source.target:
                advice = "the target must be a number in every row, as in the first ones"
            else:
                advice = f"where the first rows have numbers; {_category(name)}"
            raise InputError(f"{self.line(begin)}: column {name!r} is {text!r}, {advice}") from None
        if np.isnan(value):
            if source.missing == "zero" and name != source.target:
                return 0.0
            raise self.missing(begin, name, text)
        return value

    def _error(self, status: int, where: int, fields: int) -> InputError:
        source, line = self._source, self.line(where)
        p = len(source._names)
        if status == parse.OPEN_QUOTE:
            return InputError(f"{line}: a quote is opened and never closed")
        if status == parse.AFTER_QUOTE:
            return InputError(f"{line}: text after a closing quote; double a quote inside a cell")
        found = f"{fields}" if fields <= p else f"more than {p}"
        return InputError(f"{line}: {found} fields, where the header has {p}")

    def missing(self, at: int, name: str, text: str = "") -> InputError:
        """Return the error for a cell without a value, which is empty or says so in words."""
        if name == self._source.target:
            return InputError(f"{self.line(at)}: the target {name!r} is missing; take the row out")
        found = f"{text!r}, a missing value" if text else "empty"
        return InputError(
            f"{self.line(at)}: column {name!r} is {found}; fill it in, or read missing values as zero "
            "(missing='zero', --missing zero)"
        )

    def line(self, at: int) -> str:
        """Return file and line of a byte of the window."""
        return f"{self._source.path}, line {self._window.line_of(at)}"

    def pairs(self, first: int, last: int, column: int) -> Iterable[tuple[int, int]]:
        """Return (begin, end) of the cells of a text column, without a list for each."""
        spans = self.spans[first:last, column]
        return zip(spans[:, 0].tolist(), spans[:, 1].tolist(), strict=True)

    def place(self, begin: int) -> int:
        """Return the byte of the window where a span begins."""
        return self._window.start + (begin if begin >= 0 else -begin - 1)

    def decode(self, cell: bytes, at: int, name: str) -> str:
        """Return a cell as text."""
        try:
            return cell.decode()
        except UnicodeDecodeError as error:
            raise InputError(
                f"{self.line(at)}: column {name!r} is not UTF-8 text; convert the file"
            ) from error


class _Text(dict[bytes, Any]):
    """A column read as text: the value of each distinct cell, worked out once, and of each row.

    Parameters
    ----------
    read
        Makes a value of a cell that is not empty; ValueError where it cannot.
    missing
        Value of an empty cell; None: refused.
    """

    def __init__(self, name: str, n: int, dtype: Any, read: Callable[[str], Any], missing: Any) -> None:
        self.rows: NDArray[Any] = np.empty(n, dtype=dtype)  # (n,), the value of each row
        self._name = name
        self._read = read
        self._empty = missing

    def fill(self, reader: _Reader, k: int, first: int, last: int) -> None:
        """Set rows ``first`` to ``last`` from the spans of text column ``k``."""
        blob = reader.blob
        try:
            self.rows[first:last] = [
                self[blob[s:e] if s >= 0 else _cell(blob, s, e)] for s, e in reader.pairs(first, last, k)
            ]
        except InputError:
            raise
        except ValueError as error:  # a cell that cannot be decoded is one, too
            for s, e in reader.pairs(first, last, k):
                self._check(reader, reader.place(s), _cell(blob, s, e))
            raise error

    def _check(self, reader: _Reader, at: int, cell: bytes) -> None:
        """Raise for the cell that failed, with its line."""
        text = reader.decode(cell, at, self._name)
        if not text and self._empty is None:
            raise reader.missing(at, self._name)
        try:
            self[cell]
        except ValueError:
            raise InputError(
                f"{reader.line(at)}: column {self._name!r} is {text!r}, where the first rows have only true "
                f"and false; {_category(self._name)}"
            ) from None

    def __missing__(self, cell: bytes) -> Any:
        if cell:
            value = self._read(cell.decode())
        elif self._empty is None:
            raise ValueError("empty")
        else:
            value = self._empty
        if len(self) < _REMEMBERED:
            self[cell] = value
        return value


def _cell(blob: bytes, begin: int, end: int) -> bytes:
    return blob[begin:end] if begin >= 0 else blob[-begin - 1 : end].replace(b'""', b'"')


def _boolean(text: str) -> bool:
    value = _BOOLEANS.get(text.strip().lower())
    if value is None:
        raise ValueError(text)
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_marker(text: str) -> bool:
    return text.strip().lower() in _MARKERS


def _category(name: str) -> str:
    return f"if it is a category, say so (kinds={{{name!r}: 'category'}}, --category {name})"


def _odd_one(cells: list[str]) -> str | None:
    """Return the first cell that is not a number where most are, else None."""
    odd = [c for c in cells if c and not _is_marker(c) and not _is_number(c)]
    numbers = sum(map(_is_number, cells))
    return odd[0] if odd and numbers > len(odd) else None


def _kind(cells: list[str]) -> Kind:
    """Return what a column of these cells is; empty ones do not count, nor words for missing numbers."""
    filled = [c for c in cells if c]
    certain = [c for c in filled if not _is_marker(c)]
    if all(_is_number(c) for c in certain) and (certain or not filled):
        return "number"
    if all(c.strip().lower() in _BOOLEANS for c in filled):
        return "boolean"
    return "category"
