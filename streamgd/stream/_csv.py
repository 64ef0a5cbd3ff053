"""CSV files, parsed by a compiled kernel."""

from __future__ import annotations

import contextlib
import csv
import functools
import os
import re
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .._recipe import Kind, Missing, Recipe
from ._batch import Batch, InputError, Position, Source, up_to_bad
from ._columns import check_kinds, select
from ._csv_rows import Cells, Layout, Reader, Text, boolean, is_boolean, is_marker, is_number
from ._encode import Column, Encoder
from ._window import Follow, Pipe, Window, compressed

SAMPLE = 1000  # rows that decide what a column is
_DELIMITERS = ",;\t|"
File: TypeAlias = str | os.PathLike[str] | Pipe | Any


class CSV(Source):
    """Rows of a CSV file with a header, plain or compressed, of several of them, or of a pipe.

    What a column is gets decided by the first 1,000 rows: a number when every cell is one to Python's
    ``float`` (which every value equals to the bit), a boolean when every cell is "true" or "false" in any
    case, else a category. Empty cells do not count, nor do NA, N/A, NaN, null, None and ? (in any case)
    among numbers, where they are missing values, too. A later cell that breaks this is an error with its
    line, unless `kinds` says otherwise from the start. Of a pipe, and of a file that grows, the rows that are
    there decide, up to 1,000. Cells may be quoted; a quoted cell may hold delimiters and newlines.

    Parameters
    ----------
    path
        The file; its name ends in ``.gz`` or ``.zst`` when it is compressed. A list of files with the same
        header is read as one stream, in that order, with the columns of the first; no batch has rows of two.
        A `Pipe` or a binary file object, such as ``sys.stdin.buffer``, is read as its bytes come.
    target
        Column to predict, or None.
    batch_rows
        Rows a batch.
    weight
        Column of sample weights, finite and not negative. It is no feature.
    drop
        Columns to leave out.
    columns
        Columns to learn from; None takes all but the target, the weights and `drop`.
    kinds
        Kinds of columns that the first rows do not show, such as ``{"zip": "category"}``.
    missing
        "error" refuses an empty cell, a NaN, and NA and the like in a column of numbers; "zero" reads it
        as 0, or as no category, "mean" as the mean of the column so far, or as no category. A target or a
        weight may never be missing.
    interactions
        Products of columns, such as ``"age*income"``.
    n_features
        Hash the names of features into so many; None numbers them as they turn up.
    max_categories
        Columns and categories allowed in all.
    delimiter
        One byte; None takes the most frequent of comma, semicolon, tab and bar in the header.
    follow
        Wait at the end of a file for more rows, as `Follow` says; True waits without end.
    threads
        Threads that parse. The rows are the same whatever their number.

    Attributes
    ----------
    doubtful
        Columns that became categories though most of their cells are numbers, each with the first cell
        that is not.
    recipe
        What the options make of the columns.

    Raises
    ------
    InputError
        Names file, line, column and value. The rows before a bad one are handed out first.
    """

    reads = True

    def __init__(
        self,
        path: File | Sequence[File],
        target: str | None = None,
        batch_rows: int = 8192,
        *,
        weight: str | None = None,
        drop: Collection[str] = (),
        columns: Collection[str] | None = None,
        kinds: Mapping[str, Kind] | None = None,
        missing: Missing = "error",
        interactions: Collection[str] = (),
        n_features: int | None = None,
        max_categories: int = 1_000_000,
        delimiter: str | None = None,
        follow: bool | Follow = False,
        threads: int = 1,
    ) -> None:
        for option, value in (("batch_rows", batch_rows), ("threads", threads)):
            if value < 1:
                raise ValueError(f"{option}={value}: at least 1 is needed")
        self.files = _files(path)
        self.path = self.files[0]
        self.target = target
        self.weight = weight
        self.batch_rows = batch_rows
        self.threads = threads
        self.recipe = Recipe(missing, tuple(interactions), n_features, max_categories)
        self.repeatable = all(not isinstance(file, Pipe) or file.seekable for file in self.files)
        self._follow = Follow() if follow is True else follow or None
        if self._follow is not None and (len(self.files) > 1 or isinstance(self.path, Pipe)):
            raise ValueError("follow is for one file that grows; a pipe is followed as it is")
        more = len(self.files) - 1
        self._where = f"{self.path}" + (f" and {more} more file{'s'[: more > 1]}" if more else "")
        with Window(self.path, follow=self._follow, peek=True) as window:
            self._names, self.delimiter = _header(window, self.path, delimiter)
            self._features = select(str(self.path), self._names, target, weight, drop, columns)
            self._start: Position = {"row": 0, "byte": window.offset, "line": window.line}
            used = [*self._features, *([] if target is None else [target])]
            given = check_kinds(str(self.path), self._names, used, kinds)
            sample = self._sample(window, used)
            self.kinds: dict[str, Kind] = {n: given.get(n) or _kind(sample[n]) for n in used}
            found = [n for n in self._features if self.kinds[n] == "category" and n not in given]
            self.doubtful = {n: cell for n in found if (cell := _odd_one(sample[n])) is not None}
        self._encoder(None)  # refuses interactions of columns that are not there

    def expected_rows(self, position: Position) -> int | None:
        """Rows estimated from the bytes read so far; None for a pipe, and compressed or growing files."""
        plain = [file for file in self.files if isinstance(file, Path) and not compressed(file)]
        if len(plain) < len(self.files) or self._follow is not None or not position["row"]:
            return None
        sizes = [file.stat().st_size for file in plain]
        header = self._start["byte"]
        read = sum(sizes[: position.get("file", 0)]) + position["byte"] - header
        if read <= 0:
            return None
        share: float = read / (sum(sizes) - header)
        return max(int(position["row"]), int(position["row"] / share))

    def _encoder(self, start: Position | None) -> Encoder:
        state = None if start is None else start.get("encoder")
        return Encoder(self._where, {n: self.kinds[n] for n in self._features}, self.recipe, state)

    def _sample(self, window: Window, names: Sequence[str]) -> dict[str, list[str]]:
        """Return the cells of the first rows, by column."""
        texts = [Cells(name) for name in names]
        reader = Reader(self.path, window, Layout(self._names, self.delimiter, texts=texts))
        m, error = reader.read(SAMPLE)
        if m == 0:
            raise error or InputError(f"{self.path}: only a header, no rows")
        return {text.name: text.cells for text in texts}

    # -- rows ------------------------------------------------------------------------------

    def batches(self, start: Position | None = None) -> Iterator[Batch]:
        """Yield batches from ``start``, the position of an earlier batch (default: the beginning)."""
        at = self._start if start is None else start
        encoder = self._encoder(start)
        extra = [name for name in (self.target, self.weight) if name is not None]
        texts = {n: self._text(n) for n, kind in self.kinds.items() if kind != "number"}
        layout = Layout(
            self._names,
            self.delimiter,
            [n for n in self._features if self.kinds[n] != "category"],
            [n for n in extra if n not in texts],
            list(texts.values()),
            target=self.target,
            weight=self.weight,
            missing=self.recipe.missing,
        )
        row, number = at["row"], at.get("file", 0)
        with contextlib.ExitStack() as stack:
            pool: Executor | None = None
            if self.threads > 1:
                pool = stack.enter_context(ThreadPoolExecutor(self.threads, thread_name_prefix="csv"))
            blocks = 1 if pool is None else 2 * self.threads
            while True:
                file = self.files[number]
                with Window(file, at["byte"], at["line"], follow=self._follow, blocks=blocks) as window:
                    if at["byte"] == 0:
                        self._check_header(window, file)
                    reader = Reader(file, window, layout, self.threads, pool)
                    error = None
                    while error is None:
                        m, error = reader.read(self.batch_rows)
                        if m == 0:
                            break
                        make = functools.partial(self._batch, encoder, reader, texts, number, row)
                        batch, refused = up_to_bad(make, m)
                        error = refused or error
                        if batch is not None:
                            yield batch
                            row += len(batch)
                    if error is not None:
                        error.row = row
                        raise error
                number += 1
                if number == len(self.files):
                    return
                at = {"byte": 0, "line": 1}

    def _batch(
        self,
        encoder: Encoder,
        reader: Reader,
        texts: Mapping[str, Text],
        number: int,
        row: int,
        m: int,
    ) -> Batch:
        """Make a batch of the first ``m`` rows that were read of a file; ``row`` came before them."""
        position: Position = {"row": row + m} | reader.before(m)
        if len(self.files) > 1:
            position["file"] = number
        X: Any = reader.numbers[:m]
        names = reader.layout.numbers
        for j, name in enumerate(names):
            if name in texts:
                X[:, j] = texts[name].floats(m, 0.0 if self.recipe.missing == "zero" else np.nan)
        columns: Sequence[Hashable] = names
        if len(names) < len(self._features) or self._encodes:
            cells: dict[str, Column] = {name: X[:, j] for j, name in enumerate(names)}
            cells |= {name: texts[name].categories(m) for name in self._features if name not in cells}
            X, columns = encoder.rows(cells, m, reader.place)
            if (state := encoder.state) is not None:
                position["encoder"] = state
        y: NDArray[Any] | None = None
        if self.target is not None:
            y = texts[self.target].labels(m) if self.target in texts else reader.apart[0, :m]
        return Batch(X, y, columns, row, position, None if self.weight is None else reader.apart[-1, :m])

    @property
    def _encodes(self) -> bool:
        """Whether a matrix of the columns is not yet what the recipe asks for."""
        recipe = self.recipe
        return bool(recipe.interactions) or recipe.n_features is not None or recipe.missing == "mean"

    def _check_header(self, window: Window, file: Path | Pipe) -> None:
        """Read the header of a further file."""
        names, _ = _header(window, file, chr(self.delimiter))
        if names != self._names:
            more = next((n for n in names if n not in self._names), None)
            less = next((n for n in self._names if n not in names), None)
            if more is not None:
                found = f"a column {more!r}, which {self.path} does not have"
            elif less is not None:
                found = f"no column {less!r}, which {self.path} has"
            else:
                found = f"the columns are not in the order of {self.path}"
            raise InputError(f"{file}, line 1: {found}; files that are read as one need the same header")

    def _text(self, name: str) -> Text:
        """Return the reader of a column that is not made of numbers."""
        refuses = name == self.target or self.recipe.missing == "error"
        return Text(name, boolean if self.kinds[name] == "boolean" else str, refuses)


# -- the header and what columns are -------------------------------------------------------------


def _files(path: Any) -> tuple[Path | Pipe, ...]:
    """Return what there is to read."""
    if isinstance(path, Pipe):
        return (path,)
    if isinstance(path, str | os.PathLike):
        return (Path(path),)
    if hasattr(path, "read") or hasattr(path, "readinto"):
        return (Pipe(path),)
    files = tuple(file for item in path for file in _files(item))
    if not files:
        raise ValueError("no files: the list is empty")
    return files


def _header(window: Window, where: Path | Pipe, delimiter: str | None) -> tuple[list[str], int]:
    """Read the first line: names of the columns, and the delimiter."""
    before_quotes = [c.encode() for c in (_DELIMITERS if delimiter is None else delimiter)]
    at = -1
    while at < 0 and not window.final:
        window.fill()
        head = window.bytes_at(0, window.end)
        if head.startswith(b"\xef\xbb\xbf"):
            head = b"   " + head[3:]
        quoted = False
        for k, c in enumerate(head):
            if c == 34 and (quoted or not head[:k].strip() or head[k - 1 : k] in before_quotes):
                quoted = not quoted  # a quote amid a name is a part of it
            if c == 10 and not quoted and head[:k].strip():
                at = k
                break
            if c == 13 and not quoted and head[k + 1 : k + 2] not in (b"\n", b"\r", b""):
                raise InputError(
                    f"{where}, line 1: a line ends with a carriage return alone, as on old Macs; "
                    "convert the line ends to newlines"
                )
    if at < 0 and quoted:
        raise InputError(f"{where}, line 1: a quote is opened in the header and never closed")
    line = head[: at if at >= 0 else len(head)]
    try:
        text = line.decode().lstrip(" \r\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}, line 1: not UTF-8 text ({error.reason}); convert the file") from error
    if not text.strip():
        raise InputError(f"{where}: the file is empty")
    if delimiter is None:
        outside = re.sub(rf'(^|[{_DELIMITERS}])"[^"]*"', r"\1", text)  # a quoted name may hold any of them
        delimiter = max(_DELIMITERS, key=outside.count)
    if len(delimiter.encode()) != 1:
        raise ValueError(f"delimiter={delimiter!r}: one ASCII character is needed")
    window.skip(min(len(line) + 1, window.end))
    try:
        names = [n.strip() for n in next(csv.reader([text.rstrip("\r\n")], delimiter=delimiter))]
    except csv.Error as error:
        raise InputError(f"{where}, line 1: the header cannot be read ({error})") from error
    if all(is_number(n) for n in names):
        raise InputError(
            f"{where}, line 1: {text.strip()[:60]!r} holds numbers; a header with names is needed"
        )
    return names, ord(delimiter)


def _odd_one(cells: list[str]) -> str | None:
    """Return the first cell that is not a number where most are, else None."""
    odd = [c for c in cells if c and not is_marker(c) and not is_number(c)]
    numbers = sum(map(is_number, cells))
    return odd[0] if odd and numbers > len(odd) else None


def _kind(cells: list[str]) -> Kind:
    """Return what a column of these cells is; empty ones do not count, nor words for missing numbers."""
    filled = [c for c in cells if c]
    certain = [c for c in filled if not is_marker(c)]
    if all(is_number(c) for c in certain) and (certain or not filled):
        return "number"
    if all(map(is_boolean, filled)):
        return "boolean"
    return "category"
