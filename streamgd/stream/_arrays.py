"""Arrays in memory: matrices of NumPy and SciPy, and sparse rows."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _rows
from .._errors import InvalidRow, InvalidValue
from .._rows import SparseRows
from ._batch import Batch, Position, Source, rows_of


class Arrays(Source):
    """Rows that are in memory, or in a memory-mapped array; batches are views of them.

    What is neither float32 nor float64, or not C-contiguous, is converted batch by batch, as are the
    indices and values of sparse matrices; nothing is copied as a whole but sparse matrices in another
    form than CSR, or with duplicates.

    Parameters
    ----------
    X
        Matrix ``(n, p)`` of NumPy, or what makes one, such as lists of numbers; a sparse matrix of SciPy;
        or `SparseRows`.
    y
        Targets ``(n,)``: an array, a series or a list; None for features only.
    w
        Weights of the rows ``(n,)``, finite and at least 0, or one for all; None: all are 1.
    columns
        Names of the columns; by default 0 to p - 1.
    batch_rows
        Rows a batch.

    Attributes
    ----------
    n_rows
        Rows in all.

    Raises
    ------
    ValueError
        Lengths do not match, ``X`` has no two dimensions, or a weight is not one.
    InvalidType
        A value is no number; it has the row in ``row``.

    Examples
    --------
    >>> import numpy as np
    >>> from streamgd import stream
    >>> source = stream.Arrays(np.eye(3), ["a", "b", "a"], columns=["x", "y", "z"], batch_rows=2)
    >>> [(batch.first, batch.y.tolist()) for batch in source]
    [(0, ['a', 'b']), (2, ['a'])]
    """

    in_memory = True
    _narrow = False

    def __init__(
        self,
        X: Any,
        y: Any = None,
        w: Any = None,
        *,
        columns: Sequence[Hashable] | None = None,
        batch_rows: int = 65536,
    ) -> None:
        if batch_rows < 1:
            raise ValueError(f"batch_rows={batch_rows}: a batch has at least 1")
        self.batch_rows = batch_rows
        self._X = _matrix(X)
        rows = _rows.rows(rows_of(self._X, 0, 0), columns)  # types and names, before a row is read
        self.columns: Sequence[Hashable] = range(rows.n_columns) if columns is None else tuple(columns)
        self.n_rows = len(self._X.indptr) - 1 if isinstance(self._X, SparseRows) else len(self._X)
        self._y = None if y is None else vector_of(y, self.n_rows, "y")
        self._w = None if w is None else weights_of(w, self.n_rows)
        self._order: NDArray[np.int64] | None = None

    def taken(self, order: Any) -> Arrays:
        """Return a source of the rows numbered in ``order``, gathered batch by batch.

        Parameters
        ----------
        order
            Numbers of rows ``(m,)``, counted from 0; rows may be left out, and come more than once.
        """
        order = np.asarray(order)
        if order.ndim != 1 or (order.dtype.kind not in "iu" and len(order)):
            raise ValueError(f"order must be whole numbers (m,), not {order.dtype} of shape {order.shape}")
        order = order.astype(np.int64, copy=False)
        if len(order) and not 0 <= order.min() <= order.max() < self.n_rows:
            raise ValueError(
                f"order has row {order.min() if order.min() < 0 else order.max()}; there are rows 0 to "
                f"{self.n_rows - 1}"
            )
        other = copy.copy(self)
        other._order = order if self._order is None else self._order[order]
        other.n_rows = len(order)
        return other

    def as_stored(self) -> Arrays:
        """Return a source of the same rows that leaves matrices of float16 and uint8 what they are.

        Kernels of the CPU cannot read them. Those of a GPU can, and a half or a quarter of the bytes of
        float32 travel there.
        """
        other = copy.copy(self)
        other._narrow = True
        return other

    def expected_rows(self, position: Position) -> int:
        """Rows in all."""
        return self.n_rows

    def batches(self, start: Position | None = None) -> Iterator[Batch]:
        """Yield batches from ``start``, the position of an earlier batch (default: the beginning)."""
        for lo in range(0 if start is None else start["row"], self.n_rows, self.batch_rows):
            hi = min(lo + self.batch_rows, self.n_rows)
            rows: slice | NDArray[np.int64] = slice(lo, hi)
            if self._order is None:
                X = rows_of(self._X, lo, hi)
            else:
                rows = self._order[lo:hi]
                X = taken(self._X, rows)
            y = None if self._y is None else self._y[rows]
            w = None if self._w is None else self._w[rows]
            yield Batch(self._normal(X, lo), y, self.columns, lo, {"row": hi}, w)

    def _normal(self, X: Any, lo: int) -> NDArray[Any] | SparseRows:
        """Return rows, the first of which is ``lo``, as kernels read them."""
        if self._narrow and isinstance(X, np.ndarray) and X.dtype in _rows.NARROW and X.ndim == 2:
            return np.ascontiguousarray(X)
        try:
            rows = _rows.rows(X)
        except InvalidRow as error:
            if error.row is None:
                raise
            raise type(error)(str(error).removeprefix(f"row {error.row}: ")).at(lo + error.row) from error
        if rows.values.ndim == 2:
            return rows.values
        return SparseRows(rows.values, rows.index, rows.starts, rows.n_columns)


def _matrix(X: Any) -> Any:
    """Return rows that can be cut and taken, with no value converted where they are a matrix."""
    if isinstance(X, SparseRows):
        rows = _rows.rows(X)  # all are checked here: cutting trusts them
        return SparseRows(rows.values, rows.index, rows.starts, rows.n_columns)
    if hasattr(X, "tocsr"):
        X = X.tocsr(copy=False)
        if X.ndim != 2:
            raise ValueError(f"X has {X.ndim} dimension(s); rows are the first of two, columns the second")
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        return SparseRows(X.data, X.indices, X.indptr, X.shape[1])
    _rows.check_on_host(X, "X")
    return X if isinstance(X, np.ndarray) else np.asarray(X)


def vector_of(y: Any, n: int, what: str) -> NDArray[Any]:
    """Return targets or weights as an array, those of a tensor too."""
    _rows.check_on_host(y, what)
    is_tensor = hasattr(y, "__array__") and not isinstance(y, np.ndarray) and not hasattr(y, "to_numpy")
    return _rows.vector(np.asarray(y) if is_tensor else y, n, what)


def weights_of(w: Any, n: int) -> NDArray[np.float64]:
    """Return the weights of n rows."""
    _rows.check_on_host(w, "w")
    w = np.broadcast_to(w, n) if np.ndim(w) == 0 else vector_of(w, n, "w")
    try:
        if np.iscomplexobj(w):
            raise TypeError("they are complex")
        weights = np.asarray(w, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"w holds values that are not numbers: {error}") from error
    bad = ~((weights >= 0.0) & (weights < np.inf))
    if bad.any():
        row = int(np.argmax(bad))
        raise InvalidValue(f"the sample weight w is {weights[row]!r}; it must be finite and at least 0").at(
            row
        )
    return weights


def taken(X: Any, order: NDArray[np.int64]) -> Any:
    """Return the rows of a matrix or of `SparseRows` whose numbers are in ``order``, as a copy."""
    if _rows.is_device_array(X):
        from ..cuda._gather import gathered

        return gathered(X, order)
    if not isinstance(X, SparseRows):
        return np.take(X, order, axis=0)  # 4 times as fast as X[order]
    starts = X.indptr[order]
    lengths = X.indptr[order + 1] - starts
    indptr = np.zeros(len(order) + 1, dtype=np.int64)
    np.cumsum(lengths, out=indptr[1:])
    places = np.arange(indptr[-1]) + np.repeat(starts - indptr[:-1], lengths)
    return SparseRows(X.data[places], X.indices[places], indptr, X.n_columns)
