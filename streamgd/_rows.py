"""Rows as users have them, arrays, frames, sparse matrices, made into what kernels read."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._errors import InvalidType, InvalidValue, real

Floats = NDArray[np.float64]
Words = NDArray[np.int64]

_NO_WORDS = np.zeros(1, dtype=np.int64)
NARROW = (np.float16, np.uint8)  # types of rows that only kernels of a GPU read as they are
_ON_CUDA = (2, 13)  # CUDA's memory, and CUDA's managed memory, as DLPack numbers them
_TO_HOST = {"torch": ".cpu()", "cupy": ".get()", "numba": ".copy_to_host()"}


class Prefix(Sequence[Hashable]):
    """The first names of a list to which others are only appended: equal to the tuple of them.

    It takes no time to make, nor to compare with another of that list: columns that turn up on the way may
    be a million, while a batch has a few new ones.
    """

    __slots__ = ("_n", "_names")

    def __init__(self, names: list[Hashable]) -> None:
        self._names, self._n = names, len(names)

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, k: Any) -> Any:
        if isinstance(k, slice):
            return tuple(map(self._names.__getitem__, range(*k.indices(self._n))))
        if not -self._n <= k < self._n:
            raise IndexError(f"name {k} of {self._n}")
        return self._names[k if k >= 0 else k + self._n]

    def __iter__(self) -> Iterator[Hashable]:
        return itertools.islice(self._names, self._n)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Prefix) and other._names is self._names:
            return other._n == self._n
        return isinstance(other, Prefix | tuple) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))

    def __reduce__(self) -> Any:
        return tuple, (tuple(self),)

    def begins(self, others: Sequence[Hashable]) -> bool:
        """Tell whether others have these names at their beginning, where that takes no comparing."""
        return isinstance(others, Prefix) and others._names is self._names and others._n >= self._n


def begins(names: Sequence[Hashable], others: Sequence[Hashable]) -> bool:
    """Tell whether ``others`` has ``names`` at its beginning."""
    if names is others or (isinstance(names, Prefix) and names.begins(others)):
        return True
    return len(names) <= len(others) and names == others[: len(names)]


class SparseRows(NamedTuple):
    """Compressed sparse rows: row i has ``data[indptr[i]:indptr[i + 1]]`` in columns ``indices[...]``.

    A column must not stand twice in a row. Zeros that are stored count as present features.
    """

    data: Floats  # (n_values,)
    indices: Words  # (n_values,)
    indptr: Words  # (n_rows + 1,)
    n_columns: int


class Rows(NamedTuple):
    """What kernels read: a matrix, or values with an index and where each row starts."""

    values: NDArray[Any]  # (n, p) or (n_values,), float64 or float32, C-contiguous
    index: Words  # type: ignore[assignment]  # NamedTuple has a method of this name
    starts: Words
    n: int
    n_columns: int
    columns: Sequence[Hashable] | None  # names of the columns; None: a bare array
    frame: Any  # the frame the rows came from, to give the same kind back


def is_frame(value: Any) -> bool:
    """Tell whether ``value`` is a DataFrame or a table of a library that narwhals knows."""
    return hasattr(value, "__dataframe__") or hasattr(value, "column_names") or hasattr(value, "columns")


def is_device_array(x: Any) -> bool:
    """Tell whether an array lies on a CUDA device: one of PyTorch, CuPy, Numba, or with their protocols."""
    kind = type(x)  # is asked first: an object may make up attributes, or raise
    if issubclass(kind, np.ndarray):
        return False
    if hasattr(kind, "__cuda_ndarray__"):  # Numba's, which has no other sign of it in the simulator
        return True
    try:
        if hasattr(kind, "__dlpack_device__") and x.__dlpack_device__()[0] in _ON_CUDA:
            return True
        return hasattr(kind, "__cuda_array_interface__") and x.__cuda_array_interface__ is not None
    except Exception:  # tensors of the host raise what their library likes
        return False


def check_on_host(x: Any, what: str) -> None:
    """Raise TypeError for an array that lies on a CUDA device."""
    if is_device_array(x):
        copied = _TO_HOST.get(_library(x))
        raise TypeError(
            f"{what} lies on a CUDA device ({_library(x)}.{type(x).__name__}), and this computes on the CPU: "
            f"give {what + copied if copied else 'a copy on the host'}, or learn there with "
            "streamgd.fit(..., device='cuda')"
        )


def _matrix(X: Any, what: str) -> NDArray[Any]:
    """Return a C-contiguous float matrix; float32 and float64 stay as they are."""
    check_on_host(X, what)
    if isinstance(X, np.ma.MaskedArray):
        X = np.ma.filled(X.astype(np.float64), np.nan)
    X = np.asarray(X)
    if X.ndim != 2:
        raise ValueError(
            f"{what} has {X.ndim} dimension(s); rows are the first of two, columns the second. For dicts use "
            "learn_one, or make a frame of them"
        )
    if X.dtype == object:
        X = _numbers(X)
    elif X.dtype.kind not in "biuf":
        raise InvalidType(f"{what} has values of type {X.dtype}, which are not numbers")
    if X.dtype not in (np.float32, np.float64):
        X = X.astype(np.float64)
    return np.ascontiguousarray(X)


def _numbers(X: NDArray[Any]) -> Floats:
    """Convert an array of objects, NaN for None; or name the first value that is not a number."""
    numbers = np.empty(X.shape)
    for (i, k), value in np.ndenumerate(X):
        try:
            numbers[i, k] = np.nan if value is None else real(value, f"feature in column {k}")
        except InvalidValue:
            numbers[i, k] = np.nan  # refused, or skipped, with its row
        except InvalidType as error:
            raise error.at(i) from error
    return numbers


def _library(X: Any) -> str:
    return type(X).__module__.partition(".")[0]


def _frame(X: Any) -> tuple[NDArray[Any], list[Hashable]]:
    """Values and column names of a frame."""
    library = _library(X)
    if library in ("pandas", "polars"):
        values = X.to_numpy()
        if values.dtype in (np.float32, np.float64):  # all are numbers: no need to look at each column
            names = X.columns.tolist() if library == "pandas" else X.columns
            return np.ascontiguousarray(values), names
    from river.utils import dataframe

    frame = dataframe.into_frame(X)
    for name, dtype in frame.schema.items():
        if not dtype.is_numeric() and str(dtype) != "Boolean":
            raise InvalidType(
                f"column {name!r} is of type {dtype}, not numeric; encode it first, for instance with "
                "river's preprocessing.OneHotEncoder"
            )
    single = {str(dtype) for dtype in frame.schema.values()} == {"Float32"}
    values = dataframe.to_numpy(frame, dtype=np.float32 if single else np.float64)
    return np.ascontiguousarray(values), list(frame.columns)


def frame_like(X: Any, columns: dict[Any, NDArray[Any]]) -> Any:
    """Make a frame of the kind of ``X``, with its index; names other than str stay in pandas only."""
    if _library(X) == "pandas":  # 100 us less than through narwhals
        return type(X)(columns, index=X.index)
    from river.utils import dataframe

    return dataframe.to_native_frame(columns, like=dataframe.into_frame(X))


def series_like(X: Any, values: NDArray[Any], name: Any) -> Any:
    """Make a series of the kind of the frame ``X``, with its index."""
    if _library(X) == "pandas":
        return sys.modules["pandas"].Series(values, index=X.index, name=name)
    from river.utils import dataframe

    return dataframe.to_native_series(values, name=name, like=dataframe.into_frame(X))


def _sparse(X: SparseRows) -> Rows:
    for name, array, kinds in (
        ("data", X.data, "biuf"),
        ("indices", X.indices, "iu"),
        ("indptr", X.indptr, "iu"),
    ):
        kind = np.asarray(array).dtype
        if kind.kind not in kinds and len(array):
            raise InvalidType(f"the {name} of sparse rows are of type {kind}")
    data = np.ascontiguousarray(X.data, dtype=np.float64)
    indices = np.ascontiguousarray(X.indices, dtype=np.int64)
    indptr = np.ascontiguousarray(X.indptr, dtype=np.int64)
    if data.ndim != 1 or indices.shape != data.shape or indptr.ndim != 1 or len(indptr) == 0:
        raise ValueError("SparseRows needs data (n,), indices (n,) and indptr (n_rows + 1,)")
    if indptr[0] != 0 or indptr[-1] != len(data) or (np.diff(indptr) < 0).any():
        raise ValueError("SparseRows.indptr must rise from 0 to len(data)")
    if len(indices) and (indices.min() < 0 or indices.max() >= X.n_columns):
        raise ValueError(f"SparseRows.indices must be in [0, {X.n_columns}), the columns")
    return Rows(data, indices, indptr, len(indptr) - 1, int(X.n_columns), None, None)


def rows(X: Any, columns: Sequence[Hashable] | None = None) -> Rows:
    """Normalise rows.

    Parameters
    ----------
    X
        NumPy array (n, p), DataFrame or table of pandas, polars or Arrow, SciPy sparse matrix,
        `SparseRows`, or a sequence of rows of numbers. A C-contiguous float32 or float64 array
        is not copied.
    columns
        Names of the columns; a frame has its own.
    """
    scipy_sparse = sys.modules.get("scipy.sparse")
    if isinstance(X, SparseRows):
        result = _sparse(X)
    elif scipy_sparse is not None and scipy_sparse.issparse(X) and X.ndim == 2:
        matrix = X.tocsr(copy=False)
        if not matrix.has_canonical_format:
            matrix = matrix.copy()
            matrix.sum_duplicates()
        result = _sparse(SparseRows(matrix.data, matrix.indices, matrix.indptr, matrix.shape[1]))
    elif not isinstance(X, np.ndarray) and is_frame(X):
        if _library(X) == "pyarrow" and type(X).__name__ == "RecordBatch":
            X = sys.modules["pyarrow"].Table.from_batches([X])  # narwhals knows tables only
        values, names = _frame(X)
        if columns is not None and list(columns) != names:
            raise ValueError("columns= names the columns of a bare array; this frame has its own")
        return Rows(values, _NO_WORDS, _NO_WORDS, len(values), values.shape[1], names, X)
    else:
        values = _matrix(X, "X")
        result = Rows(values, _NO_WORDS, _NO_WORDS, len(values), values.shape[1], None, None)
    if columns is None:
        return result
    if len(columns) != result.n_columns:
        raise ValueError(f"columns has {len(columns)} names, X has {result.n_columns} columns")
    return result._replace(columns=columns)


def some_columns(rows: Rows, chosen: list[int]) -> Rows:
    """Return the rows of a matrix with only some of its columns."""
    if len(chosen) == rows.n_columns:
        return rows
    return rows._replace(values=np.ascontiguousarray(rows.values[:, chosen]), n_columns=len(chosen))


def used(rows: Rows) -> tuple[Words, Words]:
    """Return the columns that compressed rows have values in, and by value which of these its column is."""
    if 16 * len(rows.index) < rows.n_columns:
        columns, place = np.unique(rows.index, return_inverse=True)
        return columns, place.reshape(-1)
    seen = np.zeros(rows.n_columns, dtype=np.bool_)
    seen[rows.index] = True
    columns = np.flatnonzero(seen)
    places = np.empty(rows.n_columns, dtype=np.int64)
    places[columns] = np.arange(len(columns))
    return columns, places[rows.index]


def with_index(rows: Rows, index: Words, n_columns: int) -> Rows:
    """Return compressed rows with their values in other columns, without those whose column is negative."""
    rows = rows._replace(n_columns=n_columns)
    kept = index >= 0
    if kept.all():
        return rows._replace(index=index)
    starts = np.concatenate([[0], np.cumsum(kept)])[rows.starts]
    return rows._replace(values=rows.values[kept], index=index[kept], starts=starts)


def in_slots(rows: Rows, slots: Words, names: Sequence[Hashable]) -> Rows:
    """Return rows, compressed, whose columns are all of a model's features in its own order."""
    rows = rows._replace(columns=names)
    if rows.values.ndim == 1:
        return with_index(rows, slots[rows.index], len(names))
    starts = np.arange(rows.n + 1) * rows.n_columns
    values = rows.values.astype(np.float64).ravel()
    return rows._replace(values=values, index=np.tile(slots, rows.n), starts=starts, n_columns=len(names))


def _with_none(array: NDArray[Any], missing: NDArray[np.bool_]) -> NDArray[Any]:
    """Put None where values are missing."""
    if missing.any():
        array = array.astype(object)
        array[missing] = None
    return array


def vector(y: Any, n: int, what: str) -> NDArray[Any]:
    """Return a target or weight column as an array ``(n,)``, whatever it came as; missing is None."""
    if isinstance(y, np.ma.MaskedArray):
        array = _with_none(y.data, np.ma.getmaskarray(y))
    elif isinstance(y, np.ndarray):
        array = y
    elif _library(y) == "pyarrow":
        array = np.asarray(y.to_pylist() if y.null_count else y.to_numpy(zero_copy_only=False))
    elif hasattr(y, "to_numpy") and hasattr(y, "__len__"):  # pandas, polars
        array = np.asarray(y.to_numpy())
        if array.dtype == object and _library(y) == "pandas":
            array = _with_none(array, np.asarray(sys.modules["pandas"].isna(array)))
    elif isinstance(y, Sequence) and not isinstance(y, str | bytes):
        array = np.asarray(y)
        kinds = {type(value) for value in y}
        if len(kinds) > 1 or (kinds == {int} and array.dtype.kind not in "iu"):
            array = np.asarray(y, dtype=object)  # NumPy has turned them into one type, or into floats
    else:
        check_on_host(y, what)
        raise TypeError(
            f"{what} is {type(y).__name__}; it must be an array, a series or a list of {n} values"
        )
    if array.dtype.kind in "mM":
        dates = list(array)  # no numbers and no labels: each is refused with its row
        array = np.empty(len(dates), dtype=object)
        array[:] = dates
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"{what} has shape {array.shape}; it must be one-dimensional")
    if len(array) != n:
        raise ValueError(f"{what} has {len(array)} values, X has {n} rows")
    return array
