"""Rows that come one by one as Python objects: river's streams, generators, lists."""

from __future__ import annotations

import os
import reprlib
from array import array
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence, Sized
from itertools import chain, islice, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _errors, _rows
from .._errors import InvalidRow, InvalidValue
from .._rows import Prefix, SparseRows
from ._batch import Batch, InputError, Position, Source, up_to_bad

Sample = tuple[Any, Any, Any]  # x, y, w


class Samples(Source):
    """Rows of any iterable of ``(x, y)`` or ``(x, y, w)``, with dicts ``x`` of features as river has them.

    Parameters
    ----------
    samples
        What yields the rows: a dataset of river, a list, a generator, what reads a socket. ``w`` is the
        weight of a row, or what river has in its place, ``{"w": weight}``. It may never end.
    batch_rows
        Rows a batch.

    Attributes
    ----------
    repeatable
        Whether there can be another pass: not so for an iterator, such as a generator, which is continued
        only where it stands, or within the batch before. A position in anything else is reached by
        skipping the rows before it.

    Raises
    ------
    InputError
        Names the row, counted from 1, and what is wrong with it. The rows before it are handed out first, as
        are those before an error that the iterator raises.

    Examples
    --------
    >>> from streamgd import stream
    >>> rows = [({"age": 31, "member": True}, 0), ({"age": 54, "member": False}, 1)]
    >>> batch = next(iter(stream.Samples(rows)))
    >>> batch.columns, batch.X.tolist(), batch.y.tolist()
    (('age', 'member'), [[31.0, 1.0], [54.0, 0.0]], [0, 1])
    """

    def __init__(self, samples: Iterable[Any], *, batch_rows: int = 8192) -> None:
        if batch_rows < 1:
            raise ValueError(f"batch_rows={batch_rows}: a batch has at least 1")
        if isinstance(samples, Mapping | str | bytes) or not isinstance(samples, Iterable):
            raise TypeError(f"samples is {type(samples).__name__}; it must yield rows (x, y) or (x, y, w)")
        self.batch_rows = batch_rows
        self.repeatable = not isinstance(samples, Iterator)
        self._samples = samples
        self.in_memory = isinstance(samples, Sequence)
        # where an iterator stands, and the items that it gave last, which can be read again
        self._row = 0
        self._last: tuple[int, list[Any]] = (0, [])

    @property
    def n_rows(self) -> int | None:
        """Rows that the samples say they have, by ``len`` or as river's datasets do, else None."""
        if isinstance(self._samples, Sized):
            return len(self._samples)
        n = getattr(self._samples, "n_samples", None)
        return n if isinstance(n, int) else None

    def expected_rows(self, position: Position) -> int | None:
        """Rows that the samples say they have, else None."""
        return self.n_rows

    def samples(self, start: Position | None = None) -> Iterator[Sample]:
        """Yield the rows as ``(x, y, w)``, the objects as they came; w is 1.0 where none was given.

        Parameters
        ----------
        start
            Position of an earlier batch, or ``{"row": n}`` with the number of rows before; by default the
            beginning.
        """
        row = 0 if start is None else start["row"]
        for at, item in enumerate(self._items(row), row):
            try:
                n = len(item)
            except TypeError:
                raise _no_sample(item, at) from None
            if n == 2:
                x, y = item
                w: Any = 1.0
            elif n == 3:
                x, y, w = item
                if type(w) is dict:
                    w = w["w"] if len(w) == 1 and "w" in w else _named_weight(w, at)
            else:
                raise _no_sample(item, at)
            yield x, y, w

    def batches(self, start: Position | None = None) -> Iterator[Batch]:
        """Yield batches from ``start``, the position of an earlier batch (default: the beginning).

        Rows become a float64 matrix as long as all have the same features in the same order, else
        `SparseRows`. None is a missing value, NaN.
        """
        row = 0 if start is None else start["row"]
        items = self._items(row)
        index = _Index()
        error: Exception | None = None
        while error is None:
            chunk, error = self._chunk(items, row)
            if not chunk:
                break
            batch, refused = up_to_bad(lambda n: _batch(chunk[:n], index, row), len(chunk), row)  # noqa: B023
            error = refused or error
            if batch is not None:
                yield batch
                row += len(batch)
        if error is not None:
            raise error

    def _items(self, row: int) -> Iterator[Any]:
        """Return an iterator over the items behind ``row`` rows."""
        if self.repeatable:
            items = iter(self._samples)
            next(islice(items, row, row), None)  # skips them
            return items
        end, last = self._last
        last = last if end == self._row else []
        if not 0 <= self._row - row <= len(last):
            raise InputError(
                f"the samples come from an iterator, which stands behind row {self._row:,} and cannot be "
                f"read from behind row {row:,}; pass what can be read again, such as a list or one of "
                "river's datasets, or an iterator that begins there, without a position"
            )
        return chain(last[len(last) - (self._row - row) :], self._counted())

    def _chunk(self, items: Iterator[Any], row: int) -> tuple[list[Any], Exception | None]:
        """Return the next items, the first of which is ``row``, and the error that comes behind them."""
        chunk: list[Any] = []
        error = None
        try:
            chunk.extend(islice(items, self.batch_rows))
        except Exception as raised:
            error = raised
        finally:  # Ctrl-C loses none either
            if not self.repeatable and row + len(chunk) == self._row:
                self._last = (self._row, chunk)
        return chunk, error

    def _counted(self) -> Iterator[Any]:
        for item in self._samples:
            self._row += 1
            yield item


class _Index(dict[Hashable, int]):
    """Column by name; a new name gets the next one.

    Attributes
    ----------
    names
        The name of each column.
    """

    def __init__(self) -> None:
        self.names: list[Hashable] = []

    def __missing__(self, name: Hashable) -> int:
        self[name] = column = len(self.names)
        self.names.append(name)
        return column


def _batch(chunk: list[Any], index: _Index, row: int) -> Batch:
    """Return items, the first of which is ``row``, as a batch."""
    n = len(chunk)
    xs, ys, w = _unzipped(chunk, row)
    X = _matrix(xs, index, row)
    y = None if all(value is None for value in ys) else _rows.vector(ys, n, "y")
    return Batch(X, y, Prefix(index.names), row, {"row": row + n}, w)


def _unzipped(
    chunk: list[Any], row: int
) -> tuple[Sequence[Mapping[Hashable, Any]], Sequence[Any], NDArray[np.float64] | None]:
    """Return features, targets and weights of items, the first of which is ``row``."""
    if not all(issubclass(kind, tuple | list) for kind in set(map(type, chunk))):
        k = next(k for k, item in enumerate(chunk) if not isinstance(item, tuple | list))
        raise _no_sample(chunk[k], row + k)
    sizes = set(map(len, chunk))
    if sizes == {2}:
        xs, ys = zip(*chunk, strict=True)
        w = None
    elif sizes <= {2, 3}:
        xs, ys, ws = zip(*(item if len(item) == 3 else (*item, 1.0) for item in chunk), strict=True)
        w = _weights(ws, row)
    else:
        k = next(k for k, item in enumerate(chunk) if len(item) not in (2, 3))
        raise _no_sample(chunk[k], row + k)
    if not all(issubclass(kind, dict) for kind in set(map(type, xs))):
        for k, x in enumerate(xs):
            if not isinstance(x, Mapping):
                text = (
                    f": x is {reprlib.repr(x)} ({type(x).__name__}); the features of a row are a dict by name"
                )
                raise _refusal(row + k, f"{text} (rows of numbers in one array: stream.Arrays)")
        xs = tuple(map(dict, xs))
    return xs, ys, w


def _refusal(row: int, text: str) -> InputError:
    """Return the error for a row, which it numbers from 1."""
    error = InputError(f"row {row + 1:,}{text}")
    error.row = row
    return error


def _no_sample(item: Any, row: int) -> InputError:
    hint = ""
    if hasattr(item, "__arrow_c_array__"):
        hint = "; for record batches there is stream.RecordBatches"
    elif isinstance(item, str | os.PathLike):
        hint = "; of several files give the folder or a pattern, or stream.CSV([...])"
    found = f"{reprlib.repr(item)} ({type(item).__name__})"
    return _refusal(row, f" is {found}; a row is (x, y) or (x, y, w){hint}")


def _named_weight(given: dict[str, Any], row: int) -> Any:
    """Return the weight in what river calls keyword arguments of ``learn_one``."""
    for name in given:
        if name != "w":
            raise _refusal(row, f" has {name!r} beside x and y; learners know the weight 'w' only")
    return given.get("w", 1.0)


def _weights(ws: Sequence[Any], row: int) -> NDArray[np.float64]:
    plain = [_named_weight(w, row + k) if isinstance(w, dict) else w for k, w in enumerate(ws)]
    weights = np.empty(len(plain))
    for k, w in enumerate(plain):
        try:
            weights[k] = _errors.weight(w)
        except InvalidRow as error:
            raise _refusal(row + k, f": {error}") from error
    return weights


def _matrix(xs: Sequence[Any], index: _Index, row: int) -> NDArray[np.float64] | SparseRows:
    """Return dicts as rows, the first of which is ``row``; new features get columns."""
    try:
        data = np.frombuffer(array("d", list(chain.from_iterable(map(dict.values, xs)))))
    except (TypeError, ValueError, OverflowError):
        data = np.array([_number(x, name, row + k) for k, x in enumerate(xs) for name in x])
    names = tuple(xs[0])
    if len(index) in (0, len(names)) and all(map(names.__eq__, map(tuple, xs))):
        if not index:
            for name in names:
                index[name]  # enters it
        if names == tuple(index):
            return data.reshape(len(xs), len(names))
    indices = np.fromiter(map(index.__getitem__, chain.from_iterable(xs)), np.int64, len(data))
    indptr = np.zeros(len(xs) + 1, dtype=np.int64)
    np.cumsum(np.fromiter(map(len, xs), np.int64, len(xs)), out=indptr[1:])
    return SparseRows(data, indices, indptr, len(index))


def _number(x: Mapping[Hashable, Any], name: Hashable, row: int) -> float:
    """Return a feature's value; NaN for None, which the learner refuses, or skips, with its row."""
    value = x[name]
    if isinstance(value, str):
        raise _refusal(
            row,
            f": feature {name!r} is {reprlib.repr(value)}, a string; numbers are needed: "
            "preprocessing.FeatureEncoder makes a category of it",
        )
    try:
        return _errors.feature(value, name)
    except InvalidValue:
        return np.nan
    except InvalidRow as error:
        text = f": {error}; preprocessing.FeatureEncoder makes categories of strings"
        raise _refusal(row, text) from error


def to_dicts(batch: Batch) -> Iterator[dict[Hashable, float]]:
    """Yield the rows of a batch as dicts, as `learn_one` and models of river take them.

    Examples
    --------
    >>> import numpy as np
    >>> from streamgd import stream
    >>> batch = next(iter(stream.Arrays(np.eye(2), columns=["a", "b"])))
    >>> list(stream.to_dicts(batch))
    [{'a': 1.0, 'b': 0.0}, {'a': 0.0, 'b': 1.0}]
    """
    names, X = batch.columns, batch.X
    _rows.check_on_host(X, "X")
    if len(names) <= (len(X.data) if isinstance(X, SparseRows) else X.size):
        names = tuple(names)  # faster to look into, where that is worth a copy
    if not isinstance(X, SparseRows):
        return (dict(zip(names, values, strict=True)) for values in X.tolist())
    present = list(map(names.__getitem__, X.indices.tolist()))
    data = X.data.tolist()
    return (dict(zip(present[i:j], data[i:j], strict=True)) for i, j in pairwise(X.indptr.tolist()))
