"""svmlight files (``label index:value ...``), parsed by a compiled kernel."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._recipe import Recipe
from ..kernels import parse, parse_svmlight
from ._sparse import SparseReader, SparseText
from ._window import Follow, Window

_RULES = {
    parse_svmlight.QUERY_ID: "query ids are for ranking, which no learner here does; take them out",
    parse_svmlight.BAD_PAIR: "a feature is written index:value, the index a whole number from 0 of at most "
    "18 digits",
    parse_svmlight.UNSORTED: "indices must rise within a row, none twice",
}


class SVMLight(SparseText):
    """Rows of an svmlight file, plain or compressed.

    A feature is named by its index as it stands in the file, whether that counts from 0 or 1; indices rise
    within a row. Text behind ``#`` is a comment. The first thing in a row is its target.

    Parameters
    ----------
    path
        The file, compressed when its name ends in ``.gz`` or ``.zst``; or a file object open for reading
        bytes.
    batch_rows
        Rows a batch.
    n_features
        Put the features into so many columns by the hash of their index, written as text, as `CSV` does with
        names; those of a row that meet are added up.
    follow
        Wait for more rows at the end of the file: True, or a `Follow` that says how.

    Raises
    ------
    InputError
        Names file and line; rows before that one come first. Query ids (``qid:``) are refused: a learner of
        single rows has no use for them.
    """

    target = "label"

    def __init__(
        self,
        path: str | Path | Any,
        batch_rows: int = 8192,
        *,
        n_features: int | None = None,
        follow: bool | Follow = False,
    ) -> None:
        super().__init__(path, batch_rows, Recipe(n_features=n_features), follow)
        self._check()

    def _reader(self, window: Window, n: int) -> SparseReader:
        return _Reader(self, window, n)


class _Reader(SparseReader):
    labels: NDArray[np.float64]

    def begin(self, n: int) -> None:
        self.labels = np.empty(n)
        self._odd = np.empty((n + len(self.values), 4), dtype=np.int64)

    def part(self) -> tuple[int, int]:
        window, out = self.window, np.zeros(5, dtype=np.int64)
        if len(self._odd) < len(self.labels) + len(self.values):
            self._odd = np.empty((len(self.labels) + len(self.values), 4), dtype=np.int64)
        parse_svmlight.svmlight_rows(
            window.text, window.start, window.end, window.final and window.whole, self.rows,
            self._n_features is not None, self.labels, self.indptr, self.indices, self.values, self._odd, out,
        )  # fmt: skip
        status, rows, at, n_odd, where = out.tolist()
        for row, place, begin, end in self._odd[:n_odd].tolist():
            text = self.text(begin, end)
            try:
                value = float(text)
            except ValueError:
                message = f"{text!r} is not a number; a row is 'label index:value index:value ...'"
                raise self.refusal(row, begin, message) from None
            if place == parse_svmlight.LABEL:
                self.labels[row] = value
            else:
                self.values[place] = value
        if status in _RULES:
            raise self.refusal(rows, where, f"{self.word(where)!r}: {_RULES[status]}")
        if status == parse.FULL and rows == self.rows:
            self.grow(0)
        self.rows = rows
        return status, at

    def columns(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[Hashable]]:
        columns, new = super().columns(indices)
        return columns, new if self._n_features is not None else list(map(str, new))
