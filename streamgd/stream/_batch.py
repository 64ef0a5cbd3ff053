"""What every source hands out: batches of rows, and the base class that sources are built on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .._recipe import Kind as Kind
from .._recipe import Missing as Missing
from .._rows import SparseRows

Position: TypeAlias = dict[str, Any]


class InputError(ValueError):
    """A source does not hold what it should; the message names the place and the way out."""

    row: int | None = None  # number of the bad one in its pass, counted from 0; the rows before it are good


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive rows of a stream.

    Attributes
    ----------
    X
        Rows as a C-contiguous float32 or float64 matrix ``(n, p)``, or as `SparseRows` where most
        features are absent, as with categories. For a GPU also float16 and uint8 (`Arrays.as_stored`), and
        matrices that lie there (`DeviceArrays`).
    y
        Targets ``(n,)``: float64, bool, or an object array of labels. None when no target was asked for.
    columns
        Names of the columns of ``X``. Later batches may have more at the end, never others before.
    first
        Number of the first row in the stream, counted from 0.
    position
        Where the next batch starts: pass it to `Source.batches` to continue there. It holds plain
        numbers, strings, lists and dicts of them, so that it can be stored as JSON; ``"row"`` is the
        number of the row.
    w
        Weights of the rows ``(n,)``, float64; None: all are 1.
    """

    X: NDArray[Any] | SparseRows
    y: NDArray[Any] | None
    columns: Sequence[Hashable]
    first: int
    position: Position
    w: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.X.indptr) - 1 if isinstance(self.X, SparseRows) else len(self.X)

    def part(
        self, lo: int, hi: int
    ) -> tuple[NDArray[Any] | SparseRows, NDArray[Any] | None, NDArray[np.float64] | None]:
        """Return X, y and w of rows ``lo`` to ``hi``, counted from the batch's first, without copies."""
        y = None if self.y is None else self.y[lo:hi]
        w = None if self.w is None else self.w[lo:hi]
        return rows_of(self.X, lo, hi), y, w


def rows_of(X: Any, lo: int, hi: int) -> Any:
    """Return rows ``lo`` to ``hi`` of a matrix or of `SparseRows`."""
    if not isinstance(X, SparseRows):
        return X[lo:hi]
    begin, end = X.indptr[lo], X.indptr[hi]
    return SparseRows(X.data[begin:end], X.indices[begin:end], X.indptr[lo : hi + 1] - begin, X.n_columns)


def up_to_bad(make: Callable[[int], Batch], n: int, first: int = 0) -> tuple[Batch | None, InputError | None]:
    """Return what ``make`` makes of ``n`` rows; else of those before a bad one, which may be none, and why.

    An error of ``make`` that has the number of a row, counted from ``first``, says that those before it are
    good.
    """
    error: InputError | None = None
    while n:
        try:
            return make(n), error
        except InputError as refused:
            if refused.row is None:
                raise
            n, error = refused.row - first, refused
    return None, error


class Source(ABC):
    """A stream of batches that can be continued from a position.

    A source of your own is a subclass with one method, `batches`. The attributes have defaults that are
    right for an endless stream whose columns turn up on the way.

    Attributes
    ----------
    batch_rows
        Rows a batch, where the source is the one that decides; what drives it evens out the sizes.
    target
        Name of the target column, or None.
    kinds
        What each column is, the target included; empty where columns turn up on the way.
    repeatable
        Whether `batches` may be called again, for another pass over the same rows.
    reads
        Whether getting a batch takes work that a thread may do ahead of the learner: reading files does,
        slicing arrays does not.

    Examples
    --------
    >>> import numpy as np
    >>> from streamgd import stream
    >>> class Noise(stream.Source):
    ...     def batches(self, start=None):
    ...         row = 0 if start is None else start["row"]
    ...         while True:
    ...             X = np.random.default_rng(row).normal(size=(100, 2))
    ...             yield stream.Batch(X, X[:, 0] > 0, ("a", "b"), row, {"row": row + 100})
    ...             row += 100
    >>> next(iter(Noise())).X.shape
    (100, 2)
    """

    batch_rows: int = 8192
    target: str | None = None
    kinds: Mapping[str, Kind] = {}  # never written to
    repeatable: bool = True
    reads: bool = False

    @abstractmethod
    def batches(self, start: Position | None = None) -> Iterator[Batch]:
        """Yield batches from ``start``, the position of an earlier batch (default: the beginning)."""

    def __iter__(self) -> Iterator[Batch]:
        """Yield all batches from the beginning."""
        return self.batches()

    def expected_rows(self, position: Position) -> int | None:
        """Rows in the whole stream as far as is known at ``position``; None without any idea."""
        return None
