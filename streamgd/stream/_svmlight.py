"""svmlight files (``label index:value ...``), parsed by a compiled kernel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .._rows import SparseRows
from ..kernels import parse
from ._batch import Batch, InputError, Kind, Position, Source
from ._window import Window

_LARGEST_TABLE = 1 << 26  # entries of the index -> column table: 256 MiB


class SVMLight(Source):
    """Rows of an svmlight file, plain or gzip.

    A feature is named by its index as it stands in the file, whether that counts from 0 or 1; indices rise
    within a row. Text behind ``#`` is a comment. The first thing in a row is its target.

    Parameters
    ----------
    path
        The file; its name ends in ``.gz`` when it is compressed.
    batch_rows
        Rows a batch.

    Raises
    ------
    InputError
        Names file and line. Query ids (``qid:``) are refused: a learner of single rows has no use for them.
    """

    reads = True

    def __init__(self, path: str | Path, batch_rows: int = 8192) -> None:
        self.path = Path(path)
        self.target: str | None = "label"
        self.kinds: Mapping[str, Kind] = {}
        self.batch_rows = batch_rows
        first = next(iter(SVMLight._batches(self, None, 1)), None)
        if first is None:
            raise InputError(f"{self.path}: no rows in the file")

    def expected_rows(self, position: Position) -> int | None:
        """Rows estimated from the bytes read so far; None for a compressed file."""
        if self.path.suffix == ".gz" or not position["byte"] or not position["row"]:
            return None
        return max(int(position["row"]), round(self.path.stat().st_size / position["byte"] * position["row"]))

    def batches(self, start: Position | None = None) -> Iterator[Batch]:
        """Yield batches from ``start``, the position of an earlier batch (default: the beginning)."""
        return self._batches(start, self.batch_rows)

    def _batches(self, start: Position | None, n: int) -> Iterator[Batch]:
        at = {"row": 0, "byte": 0, "line": 1} if start is None else start
        out = np.zeros(6, dtype=np.int64)
        odd = np.empty((4096, 4), dtype=np.int64)
        indices = np.empty(16 * n, dtype=np.int64)
        values = np.empty(16 * n)
        table = np.full(1024, -1, dtype=np.int32)
        names: tuple[str, ...] = ()
        with Window(self.path, at["byte"], at["line"]) as window:
            row = at["row"]
            while True:
                labels = np.empty(n)
                indptr = np.zeros(n + 1, dtype=np.int64)
                m = 0
                while m < n:
                    parse.svmlight_rows(
                        window.text,
                        window.start,
                        window.end,
                        window.final,
                        m,
                        labels,
                        indptr,
                        indices,
                        values,
                        odd,
                        out,
                    )
                    status, m, to, n_odd, where, _ = out.tolist()
                    for i, place, begin, end in odd[:n_odd].tolist():
                        value = self._judge(window, begin, end)
                        (labels if place < 0 else values)[i if place < 0 else place] = value
                    if status not in (parse.FULL, parse.MORE):
                        raise self._error(window, status, where)
                    window.skip(to)
                    if status == parse.MORE:
                        if window.final:
                            break
                        window.fill()
                    elif m < n:  # no room for the next line
                        size = max(2 * len(values), int(indptr[m]) + where)
                        indices, values = np.resize(indices, size), np.resize(values, size)
                        if where > len(odd):
                            odd = np.empty((where, 4), dtype=np.int64)
                if m == 0:
                    return
                nnz = int(indptr[m])
                columns = indices[:nnz].copy()
                table = self._grown(table, int(columns.max(initial=0)))
                known = parse.number_columns(columns, table, len(names))
                if known > len(names):
                    names = _names(table, known)
                X = SparseRows(values[:nnz].copy(), columns, indptr[: m + 1], known)
                position = {"row": row + m, "byte": window.offset, "line": window.line}
                yield Batch(X, labels[:m], names, row, position)
                row += m

    def _grown(self, table: NDArray[np.int32], largest: int) -> NDArray[np.int32]:
        if largest < len(table):
            return table
        if largest >= _LARGEST_TABLE:
            raise InputError(
                f"{self.path}: feature index {largest:,} is above {_LARGEST_TABLE - 1:,}; "
                "number the features without gaps"
            )
        grown = np.full(1 << largest.bit_length(), -1, dtype=np.int32)
        grown[: len(table)] = table
        return grown

    def _judge(self, window: Window, begin: int, end: int) -> float:
        text = window.bytes_at(begin, end).decode(errors="replace")
        try:
            return float(text)
        except ValueError:
            raise InputError(
                f"{self.path}, line {window.line_of(begin)}: {text!r} is not a number; a row is "
                "'label index:value index:value ...'"
            ) from None

    def _error(self, window: Window, status: int, where: int) -> InputError:
        stop = where
        while stop < window.end and window.text[stop] > 32:
            stop += 1
        text = window.bytes_at(where, stop).decode(errors="replace")
        rule = {
            parse.QUERY_ID: "query ids are for ranking, which no learner here does; take them out",
            parse.BAD_PAIR: "a feature is written index:value, the index a whole number from 0",
            parse.UNSORTED: "indices must rise within a row, none twice",
        }[status]
        return InputError(f"{self.path}, line {window.line_of(where)}: {text!r}: {rule}")


def _names(table: NDArray[np.int32], known: int) -> tuple[str, ...]:
    """Return the indices in the order of their columns, as text."""
    seen = np.flatnonzero(table >= 0)
    order = np.empty(known, dtype=np.int64)
    order[table[seen]] = seen
    return tuple(map(str, order.tolist()))
