"""Parquet files, read in pieces by pyarrow."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ._batch import Batch, InputError, Kind, Position, Source
from ._columns import Categories, check_kinds, one_hot, select


class Parquet(Source):
    """Rows of a Parquet file; needs the extra ``io``.

    Numbers and decimals are numbers (float32 where all columns are that, else float64), booleans 0 and 1,
    strings and dictionaries categories. Other types are refused.

    Parameters
    ----------
    path
        The file.
    target
        Column to predict, or None.
    batch_rows
        Rows a batch, whatever the file's row groups.
    drop
        Columns to leave out.
    columns
        Columns to learn from; None takes all but the target and `drop`.
    kinds
        ``{"zip": "category"}`` reads a column of numbers as categories; no other change is possible.
    missing
        "error" refuses a null or a NaN, "zero" reads it as 0, or as no category. A target may never be
        missing.
    max_categories
        Columns and categories allowed in all.

    Raises
    ------
    InputError
        Names file, row (counted from 1), column and value.
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
        max_categories: int = 1_000_000,
    ) -> None:
        self.path = Path(path)
        self.target = target
        self.batch_rows = batch_rows
        self.missing = missing
        self.max_categories = max_categories
        with self._open() as file:
            schema = file.schema_arrow
            self.n_rows: int = file.metadata.num_rows
        self._features = select(str(self.path), schema.names, target, drop, columns)
        if not self.n_rows:
            raise InputError(f"{self.path}: no rows in the file")
        used = [*self._features, *([] if target is None else [target])]
        given = check_kinds(str(self.path), used, kinds)
        self.kinds: dict[str, Kind] = {n: self._kind(n, schema.field(n).type, given.get(n)) for n in used}
        is_float32 = [str(schema.field(n).type) == "float" for n in self._features]
        self._dtype = np.float32 if all(is_float32) else np.float64

    def expected_rows(self, position: Position) -> int | None:
        """Rows of the file."""
        return self.n_rows

    def _open(self) -> Any:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise ImportError("reading Parquet needs pyarrow: pip install 'streamgd[io]'") from error
        try:
            # read as the rows are asked for: a row group may be as large as the file
            return pq.ParquetFile(self.path, buffer_size=1 << 20, pre_buffer=False, memory_map=False)
        except pa.ArrowException as error:
            raise InputError(f"{self.path}: not a Parquet file that can be read ({error})") from error

    def _kind(self, name: str, kind: Any, given: Kind | None) -> Kind:
        from pyarrow import types

        value = kind.value_type if types.is_dictionary(kind) else kind
        found: Kind
        if types.is_boolean(value):
            found = "boolean"
        elif types.is_integer(value) or types.is_floating(value) or types.is_decimal(value):
            found = "category" if types.is_dictionary(kind) else "number"
        elif types.is_string(value) or types.is_large_string(value) or types.is_string_view(value):
            found = "category"
        else:
            advice = (
                "turn it into numbers (such as seconds, or hour and weekday)"
                if types.is_temporal(value)
                else ("turn it into numbers or strings")
            )
            raise InputError(
                f"{self.path}: column {name!r} has type {kind}; {advice}, or leave it out "
                f"(drop=[{name!r}], --drop {name})"
            )
        if given in (None, found, "category"):
            return given or found
        raise InputError(f"{self.path}: column {name!r} has type {kind}, which cannot be read as {given}")

    def batches(self, start: Position | None = None) -> Iterator[Batch]:
        """Yield batches from ``start``, the position of an earlier batch (default: the beginning)."""
        row = 0 if start is None else start["row"]
        numeric = [n for n in self._features if self.kinds[n] != "category"]
        texts = [n for n in self._features if self.kinds[n] == "category"]
        categories = Categories(str(self.path), numeric, texts, self.max_categories)
        for table in self._tables(row):
            n = table.num_rows
            numbers = np.empty((n, len(numeric)), dtype=self._dtype if not texts else np.float64)
            for j, name in enumerate(numeric):
                numbers[:, j] = self._numbers(table, name, row)
            X: Any = numbers
            if texts:
                active = [self._slots(table, name, row, categories) for name in texts]
                X = one_hot(numbers, active, len(categories.names))
            y = None if self.target is None else self._labels(table, self.target, row)
            yield Batch(X, y, categories.names, row, {"row": row + n})
            row += n

    def _tables(self, row: int) -> Iterator[Any]:
        """Yield tables of `batch_rows` rows from ``row`` on: row groups end anywhere."""
        import pyarrow as pa

        with self._open() as file:
            sizes = [file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)]
            group = 0
            while group < len(sizes) and row >= sizes[group]:
                row -= sizes[group]
                group += 1
            groups = range(group, len(sizes))
            parts: list[Any] = []
            held = 0
            names = list(self.kinds)
            for part in (
                file.iter_batches(self.batch_rows, row_groups=groups, columns=names) if groups else ()
            ):
                if row:
                    skipped = min(row, part.num_rows)
                    part, row = part.slice(skipped), row - skipped
                while held + part.num_rows >= self.batch_rows:
                    cut = self.batch_rows - held
                    yield pa.Table.from_batches([*parts, part.slice(0, cut)])
                    parts, held, part = [], 0, part.slice(cut)
                if part.num_rows:
                    parts.append(part)
                    held += part.num_rows
            if held:
                yield pa.Table.from_batches(parts)

    def _numbers(self, table: Any, name: str, row: int) -> NDArray[Any]:
        import pyarrow as pa

        column = table[name]
        if pa.types.is_decimal(column.type) or pa.types.is_boolean(column.type):
            column = column.cast(pa.float64() if pa.types.is_decimal(column.type) else pa.int8())
        values: NDArray[Any] = column.to_numpy()  # nulls become NaN
        if values.dtype.kind == "f":
            bad = np.isnan(values)
            if bad.any():
                self._refuse_missing(name, row + int(np.argmax(bad)))
                values = np.where(bad, values.dtype.type(0.0), values)
        return values

    def _dictionary(self, table: Any, name: str) -> tuple[NDArray[np.int64], list[str]]:
        """Return code (-1: null) by row, and the value by code."""
        import pyarrow as pa

        column = table[name]
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        whole = column.unify_dictionaries().combine_chunks()
        if isinstance(whole, pa.ChunkedArray):
            whole = whole.chunk(0)
        codes: NDArray[np.int64] = whole.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
        return codes, [str(v) for v in whole.dictionary.to_pylist()]

    def _slots(self, table: Any, name: str, row: int, categories: Categories) -> NDArray[np.int64]:
        codes, values = self._dictionary(table, name)
        if len(codes) and codes.min() < 0:
            self._refuse_missing(name, row + int(np.argmax(codes < 0)))
        used, places = np.unique(codes, return_inverse=True)  # a dictionary may list values that no row has
        slots = [-1 if c < 0 else categories.slot(name, values[c]) for c in used.tolist()]
        found: NDArray[np.int64] = np.array(slots, dtype=np.int64)[places]
        return found

    def _labels(self, table: Any, name: str, row: int) -> NDArray[Any]:
        column = table[name]
        if self.kinds[name] == "category":
            codes, values = self._dictionary(table, name)
            bad = codes < 0
            labels: NDArray[Any] = np.array([*values, None], dtype=object)[codes]
        else:
            numbers = column.fill_null(False) if self.kinds[name] == "boolean" else None
            if numbers is not None:
                bad = column.is_null().to_numpy()
                labels = numbers.to_numpy().astype(bool)
            else:
                labels = column.cast("float64", safe=False).to_numpy()
                bad = np.isnan(labels)
        if bad.any():
            raise InputError(
                f"{self.path}, row {row + int(np.argmax(bad)) + 1}: the target {name!r} is missing; "
                "take the row out"
            )
        return labels

    def _refuse_missing(self, name: str, row: int) -> None:
        if self.missing == "error":
            raise InputError(
                f"{self.path}, row {row + 1}: column {name!r} is null or NaN; fill it in, or read missing "
                "values as zero (missing='zero', --missing zero)"
            )
