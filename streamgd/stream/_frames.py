"""Frames in memory and streams of record batches: pandas, polars, Arrow."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias, Unpack

import numpy as np
from numpy.typing import NDArray

from .. import _rows
from . import _arrow
from ._arrow import (
    ArrowTable,
    Values,
    arrow,
    has_arrow,
    library,
    look,
    numbers,
    record_batches,
    rows_at_once,
    skipped,
)
from ._batch import Batch, InputError, Kind, Position
from ._encode import Codes, Column
from ._table import Look, Options, Piece, weights

Cutter: TypeAlias = Callable[[int, int], Column]  # (lo, hi) -> these rows of a column


class Frame(ArrowTable):
    """Rows of a frame of pandas or polars, or of an Arrow table.

    The frame is not copied: it is converted a few rows at a time. Text columns of polars, and Arrow itself,
    need the extra ``io``.

    Parameters
    ----------
    df
        A pandas or polars DataFrame, a pyarrow Table or RecordBatch. For other frames, and lazy ones, see
        `RecordBatches`.
    target
        Column to predict, or None.
    batch_rows
        Rows a batch.
    y
        Targets ``(n,)`` that are no column: an array, a series or a list.
    w
        Weights ``(n,)`` that are no column.
    options
        As for `Table`: weight, drop, columns, kinds, missing, interactions, n_features, max_categories.

    Raises
    ------
    InputError
        Names row (counted from 1), column and value. The rows before a bad one are handed out
        first.

    Examples
    --------
    >>> import pandas as pd
    >>> from streamgd import stream
    >>> df = pd.DataFrame({"age": [31, 54], "site": ["a", "b"], "click": [False, True]})
    >>> batch = next(iter(stream.Frame(df, "click")))
    >>> batch.columns, batch.y
    (('age', 'site=a', 'site=b'), array([False,  True]))
    """

    n_rows: int

    def __init__(
        self,
        df: Any,
        target: str | None = None,
        batch_rows: int = 8192,
        *,
        y: Any = None,
        w: Any = None,
        **options: Unpack[Options],
    ) -> None:
        if y is not None and target is not None:
            raise InputError(f"got both the target {target!r} and y; give one")
        if w is not None and options.get("weight") is not None:
            raise InputError(f"got both the weight {options['weight']!r} and w; give one")
        self._view = _view(df)
        self.n_rows = len(df)
        super().__init__(self._view.where, self._view.names, self._view.look, target, batch_rows, **options)
        if isinstance(self._view, _PlainPolars) and "category" in self.kinds.values():
            arrow("text columns of a polars frame")
        self._y = None if y is None else self._targets(_rows.vector(y, self.n_rows, "y"))
        self._w = None if w is None else weights(_rows.vector(w, self.n_rows, "w"), "w", self._place)

    def _place(self, row: int) -> str:
        return f"{self._where}, row {row + 1}"

    def batches(self, start: Position | None = None) -> Iterator[Batch]:
        """Yield batches from ``start``, the position of an earlier batch (default: the beginning)."""
        for batch in super().batches(start):
            lo, hi = batch.first, batch.first + len(batch)
            if self._y is not None:
                batch = dataclasses.replace(batch, y=self._y[lo:hi])
            if self._w is not None:
                batch = dataclasses.replace(batch, w=self._w[lo:hi])
            yield batch

    def _targets(self, y: NDArray[Any]) -> NDArray[Any]:
        if y.dtype.kind == "b":
            return y
        y = y.astype(np.float64 if y.dtype.kind in "iuf" else object, copy=False)
        bad = (y != y) | (y == np.array(None))
        if bad.any():
            raise InputError(f"{self._place(int(np.argmax(bad)))}: y is missing; take the row out")
        return y

    def _record_batches(self, row: int) -> Iterator[Any]:
        assert isinstance(self._view, _Arrow | _Polars)
        return self._view.record_batches(self._used, row, rows_at_once(self.batch_rows, len(self._used)))

    def _pieces(self, start: Position | None) -> Iterator[Piece]:
        if isinstance(self._view, _Arrow | _Polars):
            yield from super()._pieces(start)
            return
        columns = {name: self._view.column(name, self.kinds.get(name)) for name in self._used}
        for lo in range(self._first(start), self.n_rows, self.batch_rows):
            hi = min(lo + self.batch_rows, self.n_rows)

            def place(i: int, lo: int = lo) -> str:
                return self._place(lo + i)

            yield Piece({name: cut(lo, hi) for name, cut in columns.items()}, hi - lo, place, lambda _: {})


def _view(df: Any) -> _Arrow | _Polars | _PlainPolars | _Pandas:
    kind = (library(df), type(df).__name__)
    if kind == ("pandas", "DataFrame"):
        return _Pandas(df)
    if kind == ("polars", "DataFrame"):
        return _Polars(df) if has_arrow() else _PlainPolars(df)
    if kind in (("pyarrow", "Table"), ("pyarrow", "RecordBatch")):
        return _Arrow(df)
    raise TypeError(
        f"got {type(df).__module__}.{type(df).__name__}; a frame is one of pandas or polars, or an Arrow "
        "table. For other objects with __arrow_c_stream__ use RecordBatches, for arrays Arrays"
    )


# -- what frames look like ---------------------------------------------------------------------


class _Arrow:
    """An Arrow table."""

    where = "the Arrow table"

    def __init__(self, table: Any) -> None:
        import pyarrow as pa

        self._table = pa.Table.from_batches([table]) if isinstance(table, pa.RecordBatch) else table
        self.names: list[str] = self._table.schema.names

    def look(self, name: str) -> Look:
        """Return what a column is."""
        return look(self._table.schema.field(name).type)

    def record_batches(self, names: list[str], row: int, rows: int) -> Iterator[Any]:
        """Yield record batches of some columns from a row on, without copies."""
        yield from self._table.select(names).slice(row).to_batches()


class _Polars:
    """A polars frame, turned into Arrow a few rows at a time: text would be copied as a whole."""

    where = "the polars frame"

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self._schema = frame.slice(0, 0).to_arrow().schema
        self.names: list[str] = frame.columns

    def look(self, name: str) -> Look:
        """Return what a column is."""
        return look(self._schema.field(name).type)

    def record_batches(self, names: list[str], row: int, rows: int) -> Iterator[Any]:
        """Yield record batches of some columns from a row on."""
        frame = self._frame.select(names)
        for lo in range(row, len(frame), rows):
            yield from frame.slice(lo, rows).to_arrow().to_batches()


class _PlainPolars:
    """A polars frame where there is no pyarrow: its numbers and booleans."""

    where = "the polars frame"

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self.names: list[str] = frame.columns

    def look(self, name: str) -> Look:
        """Return what a column is."""
        dtype = self._frame.schema[name]
        if dtype.is_numeric():
            return Look("number", str(dtype))
        if str(dtype) == "Boolean":
            return Look("boolean", str(dtype))
        is_text = str(dtype).startswith(("String", "Categorical", "Enum"))
        return Look("category" if is_text else None, str(dtype), dtype.is_temporal())

    def column(self, name: str, kind: Kind | None) -> Cutter:
        """Return what gives rows ``lo`` to ``hi`` of a column."""
        series = self._frame.get_column(name)

        def cut(lo: int, hi: int) -> Column:
            part = series.slice(lo, hi - lo)
            if part.dtype.is_decimal():
                return np.array(part.to_list(), dtype=np.float64)
            if part.null_count() and not part.dtype.is_numeric():
                part = part.cast(float)
            found: NDArray[Any] = part.to_numpy()  # null becomes NaN
            return found

        return cut


class _Pandas:
    """A pandas frame."""

    where = "the pandas frame"

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self.names: list[str] = list(frame.columns)

    def look(self, name: str) -> Look:
        """Return what a column is."""
        pandas = sys.modules["pandas"]
        types = pandas.api.types
        dtype = self._frame[name].dtype
        if isinstance(dtype, pandas.ArrowDtype):
            return look(dtype.pyarrow_dtype)
        objects = types.is_object_dtype(dtype)
        found = types.infer_dtype(self._frame[name], skipna=True) if objects else ""
        text = f"{dtype} ({found})" if found else str(dtype)
        if isinstance(dtype, pandas.CategoricalDtype) or found == "string":
            return Look("category", text)
        if found == "boolean" or types.is_bool_dtype(dtype):
            return Look("boolean", text)
        if found in _NUMBERS or (types.is_numeric_dtype(dtype) and dtype.kind != "c"):
            return Look("number", text)
        if not objects and types.is_string_dtype(dtype):
            return Look("category", text)
        temporal = dtype.kind in "mM" or isinstance(dtype, pandas.PeriodDtype) or found in _TIMES
        return Look(None, text, temporal)

    def column(self, name: str, kind: Kind | None) -> Cutter:
        """Return what gives rows ``lo`` to ``hi`` of a column."""
        series = self._frame[name]
        dtype = series.dtype
        if isinstance(dtype, sys.modules["pandas"].ArrowDtype):
            return _of_arrow(series, kind == "category")
        if kind == "category":
            return _categories(series)
        if isinstance(dtype, np.dtype) and dtype.kind in "biuf" and dtype != np.float16:
            whole = series.to_numpy()  # a view
            return lambda lo, hi: whole[lo:hi]
        to = np.float32 if str(dtype).lower() in ("float16", "float32") else np.float64
        return lambda lo, hi: series.iloc[lo:hi].to_numpy(dtype=to, na_value=np.nan)


# pandas' words for columns of objects
_NUMBERS = ("integer", "floating", "mixed-integer-float", "decimal")
_TIMES = ("date", "datetime", "datetime64", "time", "timedelta", "timedelta64", "period")


def _of_arrow(series: Any, is_category: bool) -> Cutter:
    values = Values()

    def cut(lo: int, hi: int) -> Column:
        array = series.array[lo:hi].__arrow_array__().combine_chunks()
        if not is_category:
            return numbers(array)
        values.trim(_arrow.KEPT)
        return Codes(values.encode(array), values.listed)

    return cut


def _categories(series: Any) -> Cutter:
    pandas = sys.modules["pandas"]
    if isinstance(series.dtype, pandas.CategoricalDtype):
        listed = [str(value) for value in series.cat.categories]
        places = series.cat.codes.to_numpy()  # -1: missing
        return lambda lo, hi: Codes(places[lo:hi].astype(np.int64), listed)
    values = Values()

    def factorized(lo: int, hi: int) -> Column:
        values.trim(_arrow.KEPT)
        places, found = pandas.factorize(series.iloc[lo:hi])  # -1: missing
        known = np.array([*map(values.__getitem__, found.tolist()), -1], dtype=np.int64)
        return Codes(known[places], values.listed)

    return factorized


# -- streams -----------------------------------------------------------------------------------


class RecordBatches(ArrowTable):
    """Rows of record batches that come one after the other, once; needs the extra ``io``.

    Batches are of constant size whatever the sizes of the record batches. There is one pass: give
    what makes the batches anew for another. Continuing at a position skips the rows before it.

    Parameters
    ----------
    batches
        A pyarrow RecordBatchReader, any object with ``__arrow_c_stream__`` (such as a DuckDB relation), or an
        iterable of record batches, tables or frames with that method, all of one schema (such as
        ``polars.scan_parquet(...).collect_batches()``).
    target, batch_rows, options
        As for `Table`: target, batch_rows=8192, weight, drop, columns, kinds, missing, interactions,
        n_features, max_categories.

    Raises
    ------
    InputError
        Names row (counted from 1), column and value. The rows before a bad one are handed out
        first.
    """

    repeatable = False

    def __init__(
        self,
        batches: Any,
        target: str | None = None,
        batch_rows: int = 8192,
        **options: Unpack[Options],
    ) -> None:
        pa = arrow("record batches")
        where = "the record batches"
        self._begun = False
        if hasattr(batches, "__arrow_c_stream__") and not isinstance(batches, pa.RecordBatchReader):
            batches = pa.RecordBatchReader.from_stream(batches)
        self._parts: Iterator[Any]
        if isinstance(batches, pa.RecordBatchReader):
            self._parts, self._schema = iter(batches), batches.schema
        else:
            if not isinstance(batches, Iterable):
                raise TypeError(
                    f"got {type(batches).__name__}; a reader or an iterable of record batches is needed"
                )
            self._parts = (part for item in batches for part in record_batches(item))
            first = next(self._parts, None)
            if first is None:
                raise InputError(f"{where}: there are none, so nothing tells the columns")
            self._schema = first.schema
            self._parts = _chained(first, self._parts)
        super().__init__(where, self._schema.names, self._look, target, batch_rows, **options)

    def _look(self, name: str) -> Look:
        return look(self._schema.field(name).type)

    def _place(self, row: int) -> str:
        return f"{self._where}, row {row + 1}"

    def _record_batches(self, row: int) -> Iterator[Any]:
        if self._begun:
            raise InputError(
                f"{self._where} were read already, and come only once; for several passes give a table or "
                "a file, or a new reader for each"
            )
        self._begun = True
        return skipped(self._checked(), row)

    def _checked(self) -> Iterator[Any]:
        for k, part in enumerate(self._parts):
            for name in self._used:
                here = part.schema.field(name).type if name in part.schema.names else None
                there = self._schema.field(name).type
                if here != there and not (here and look(here).kind == look(there).kind == "category"):
                    found = f"has type {here}" if here else "is not there"
                    raise InputError(
                        f"{self._where}: in batch {k + 1} column {name!r} {found}, in the first it has type "
                        f"{there}"
                    )
            yield part.select(self._used)


def _chained(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest
