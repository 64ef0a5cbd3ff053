"""Batches of another size than the ones a source hands out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._rows import SparseRows, is_device_array
from ._batch import Batch, Position, Source

BEGINNING: Position = {"row": 0, "byte": 0}  # what any source can tell its expected rows from


class Rebatched(Source):
    """The rows of another source in batches of one size; the last one may be shorter.

    Batches that have the size already are passed on, larger ones are cut without copies, smaller ones
    joined. Where dense batches meet sparse ones, or columns that they do not have, their rows become
    sparse ones that have all of their columns.

    Parameters
    ----------
    source
        Where the rows come from. A position of this source holds one of that.
    rows
        Rows a batch, at least 1.

    Examples
    --------
    >>> import numpy as np
    >>> from streamgd import stream
    >>> X, y = np.arange(10.0).reshape(5, 2), np.arange(5.0)
    >>> [len(batch) for batch in stream.Rebatched(stream.Arrays(X, y, batch_rows=3), 2)]
    [2, 2, 1]
    """

    def __init__(self, source: Source, rows: int) -> None:
        if rows < 1:
            raise ValueError(f"rows={rows}: a batch has at least 1")
        self.source = source
        self.batch_rows = rows
        self.target = source.target
        self.kinds = source.kinds
        self.repeatable = source.repeatable
        self.reads = source.reads

    def expected_rows(self, position: Position) -> int | None:
        """Rows as the source expects them."""
        return self.source.expected_rows(position.get("inner") or BEGINNING)

    def batches(self, start: Position | None = None) -> Iterator[Batch]:
        """Yield batches from ``start``, the position of an earlier batch (default: the beginning)."""
        size = self.batch_rows
        # where the batch at hand begins in the source, and how many of its rows are behind us
        inner, skip = (None, 0) if start is None else (start["inner"], start["skip"])
        parts: list[Batch] = []
        held = 0
        for batch in self.source.batches(inner):
            n = len(batch)
            lo, skip = min(skip, n), max(skip - n, 0)  # a batch to skip in may come in other pieces now
            while held + n - lo >= size:
                hi = lo + size - held
                whole = joined([*parts, cut(batch, lo, hi)])
                yield _ending(whole, batch.position, 0) if hi == n else _ending(whole, inner, hi)
                parts, held, lo = [], 0, hi
            if lo < n:
                parts.append(cut(batch, lo, n))
                held += n - lo
            inner = batch.position
        if parts:
            yield _ending(joined(parts), inner, 0)


def cut(batch: Batch, lo: int, hi: int) -> Batch:
    """Return rows ``lo`` to ``hi`` of a batch, without copies; the position stays that of the batch."""
    if hi - lo == len(batch):
        return batch
    X, y, w = batch.part(lo, hi)
    return Batch(X, y, batch.columns, batch.first + lo, batch.position, w)


def _ending(batch: Batch, inner: Position | None, skip: int) -> Batch:
    """Return a batch that ends ``skip`` rows behind a position of the source."""
    position = {"row": batch.first + len(batch), "inner": inner, "skip": skip}
    return Batch(batch.X, batch.y, batch.columns, batch.first, position, batch.w)


def joined(parts: Sequence[Batch]) -> Batch:
    """Return consecutive batches as one, with the position of the last; one alone is not copied."""
    first, last = parts[0], parts[-1]
    if len(parts) == 1:
        return first
    X = _joined_rows([part.X for part in parts], len(last.columns))
    y = None
    if any(part.y is not None for part in parts):
        y = _joined_targets([np.full(len(part), None) if part.y is None else part.y for part in parts])
    w = None
    if any(part.w is not None for part in parts):
        w = np.concatenate([np.ones(len(part)) if part.w is None else part.w for part in parts])
    return Batch(X, y, last.columns, first.first, last.position, w)


def _joined_rows(parts: list[Any], n_columns: int) -> Any:
    """Stack rows; later ones may have more columns."""
    if is_device_array(parts[0]):
        from ..cuda._gather import stacked

        return stacked(parts)
    if all(isinstance(X, np.ndarray) and X.shape[1] == n_columns for X in parts):
        return np.concatenate(parts)
    rows = [X if isinstance(X, SparseRows) else _sparse(X) for X in parts]
    ends = np.cumsum([0] + [X.indptr[-1] for X in rows])
    return SparseRows(
        np.concatenate([X.data for X in rows]),
        np.concatenate([X.indices for X in rows]),
        np.concatenate([[0], *(X.indptr[1:] + end for X, end in zip(rows, ends, strict=False))]),
        n_columns,
    )


def _sparse(X: NDArray[Any]) -> SparseRows:
    """Return the rows of a matrix with all of their columns, zeros included."""
    n, p = X.shape
    return SparseRows(X.astype(np.float64).ravel(), np.tile(np.arange(p), n), np.arange(n + 1) * p, p)


def _joined_targets(parts: list[NDArray[Any]]) -> NDArray[Any]:
    """Stack targets, of different types as objects: NumPy would turn 1 beside "a" into "1"."""
    if len({y.dtype.kind for y in parts}) > 1:
        parts = [y.astype(object) for y in parts]
    joined: NDArray[Any] = np.concatenate(parts)
    return joined
