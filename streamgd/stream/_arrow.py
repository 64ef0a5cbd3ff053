"""Arrow: record batches of any size made into columns of constant batches."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._batch import InputError, Position
from ._encode import Codes, Column
from ._table import Look, Piece, Table, cut

# Rows are decoded and converted in larger pieces than batches: 131,072 rows at a time are decoded 1.7 times
# as fast as 8,192. A piece of a wide table is smaller.
_PIECE_ROWS = 1 << 17
_PIECE_CELLS = 1 << 22

# Of a category column, what is remembered from piece to piece: values, and their characters.
KEPT, _KEPT_CHARACTERS = 1 << 19, 64 << 20


def arrow(what: str) -> Any:
    """Return pyarrow, or say how to get it."""
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError(f"reading {what} needs pyarrow: pip install 'streamgd[io]'") from error
    return pyarrow


def look(type_: Any) -> Look:
    """Return what an Arrow type is to a learner."""
    from pyarrow import types

    value = type_.value_type if types.is_dictionary(type_) else type_
    if types.is_boolean(value):
        return Look("boolean", str(type_))
    if types.is_integer(value) or types.is_floating(value) or types.is_decimal(value):
        return Look("category" if value is not type_ else "number", str(type_))
    if types.is_string(value) or types.is_large_string(value) or types.is_string_view(value):
        return Look("category", str(type_))
    return Look(None, str(type_), types.is_temporal(value))


def rows_at_once(batch_rows: int, n_columns: int) -> int:
    """Return how many rows to decode at a time: whole batches, as many as fit."""
    most = min(_PIECE_ROWS, _PIECE_CELLS // max(n_columns, 1))
    return max(most // batch_rows, 1) * batch_rows


def rechunked(parts: Iterable[Any], rows: int, most: int) -> Iterator[list[Any]]:
    """Join and cut record batches into lists of them with a multiple of ``rows`` rows, at most ``most``.

    Only the last may have any other number, also where ``parts`` ends by an error. What comes whole stays
    whole, so that little is copied.
    """
    held: list[Any] = []
    n = 0
    error: Exception | None = None
    try:
        for part in parts:
            if held:
                missing = rows - n
                held.append(part.slice(0, missing))
                n += len(held[-1])
                part = part.slice(missing)
                if n < rows:
                    continue
                yield held
                held, n = [], 0
            while len(part) >= rows:
                size = min(len(part), most) // rows * rows
                yield [part.slice(0, size)]
                part = part.slice(size)
            if len(part):
                held, n = [part], len(part)
    except Exception as raised:
        error = raised
    if held:
        yield held
    if error is not None:
        raise error


def skipped(parts: Iterable[Any], rows: int) -> Iterator[Any]:
    """Yield record batches without their first ``rows`` rows."""
    for part in parts:
        size = len(part)
        if rows < size:
            yield part.slice(rows) if rows else part
        rows = max(rows - size, 0)


class Values(dict[Any, int]):
    """Numbers of a column's values, the same in every dictionary that lists them.

    Attributes
    ----------
    listed
        The value of each number: only ever appended to, so that numbers given out stay valid.
    """

    def __init__(self) -> None:
        self.listed: list[str] = []
        self._size = 0  # characters of them
        self.trim(-1)

    def trim(self, most: int) -> None:
        """Begin anew when there are many: a column of identifiers would otherwise fill the memory."""
        if len(self.listed) > most or self._size > _KEPT_CHARACTERS:
            self.clear()
            self[None] = -1
            self.listed, self._size = [], 0
            self._dictionary: Any = None
            self._codes: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def __missing__(self, value: Any) -> int:
        if value != value:
            return -1  # NaN
        text = str(value)
        if text != value:
            return self[text]
        code = self[text] = len(self.listed)
        self.listed.append(text)
        self._size += len(text)
        return code

    def encode(self, array: Any) -> NDArray[np.int64]:
        """Return the numbers of an Arrow array, -1 for null."""
        import pyarrow as pa

        if not pa.types.is_dictionary(array.type):
            coded = (array.cast(pa.large_string()) if _is_view(array) else array).dictionary_encode()
            numbers = np.array([*map(self.__getitem__, coded.dictionary.to_pylist()), -1], dtype=np.int64)
            return numbers[_index(coded)]
        dictionary, index = array.dictionary, _index(array)
        if self._dictionary is None or not _same(dictionary, self._dictionary):
            self._dictionary = dictionary
            self._codes = np.full(len(dictionary) + 1, -2, dtype=np.int64)  # -2: not met yet
            self._codes[-1] = -1
        found: NDArray[np.int64] = self._codes[index]
        if (new := found == -2).any():  # a dictionary may list values that no row has
            entries = np.unique(index[new])
            texts = dictionary.cast(pa.large_string()) if _is_view(dictionary) else dictionary
            self._codes[entries] = list(map(self.__getitem__, texts.take(pa.array(entries)).to_pylist()))
            found = self._codes[index]
        return found


def _index(array: Any) -> NDArray[np.int64]:
    """Return where in its dictionary an array has its values, -1 for null."""
    index: NDArray[np.int64] = array.indices.cast("int64").fill_null(-1).to_numpy(zero_copy_only=False)
    return index


def _same(a: Any, b: Any) -> bool:
    """Tell whether two dictionaries are one, without reading them where they lie in the same memory."""
    if len(a) != len(b) or a.offset != b.offset:
        return False
    addresses = [[buffer and buffer.address for buffer in x.buffers()] for x in (a, b)]
    return addresses[0] == addresses[1] or bool(a.equals(b))


def _is_view(array: Any) -> bool:
    from pyarrow import types

    return bool(types.is_string_view(array.type))  # of which Arrow can take nothing


def numbers(array: Any) -> NDArray[Any]:
    """Return an Arrow array of numbers or booleans as NumPy, NaN for null; a view where it can be one."""
    import pyarrow as pa

    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_decimal(array.type):  # by way of text: a direct cast makes 0.5700000000000001 of 0.57
        array = array.cast(pa.string()).cast(pa.float64())
    elif pa.types.is_boolean(array.type) and array.null_count:
        array = array.cast(pa.int8())
    elif pa.types.is_float16(array.type):
        array = array.cast(pa.float32())
    found: NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return found


def _joined(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


class ArrowTable(Table):
    """A table that comes in record batches."""

    @abstractmethod
    def _record_batches(self, row: int) -> Iterator[Any]:
        """Yield record batches of any size from row ``row`` of the table on."""

    @abstractmethod
    def _place(self, row: int) -> str:
        """Name a row of the table in errors."""

    def _first(self, start: Position | None) -> int:
        """Return the row of the table where ``start`` is."""
        return 0 if start is None else int(start["row"])

    def _position(self, row: int) -> Position:
        """Return what a position says besides the number of rows."""
        return {}

    def _pieces(self, start: Position | None) -> Iterator[Piece]:
        row = self._first(start)
        rows = self.batch_rows
        values = {name: Values() for name, kind in self.kinds.items() if kind == "category"}
        parts: Any
        for parts in rechunked(self._record_batches(row), rows, rows_at_once(rows, len(self._used))):
            n = sum(len(part) for part in parts)
            for known in values.values():
                known.trim(KEPT)
            whole: dict[str, Column] = {}
            for name in self._used:
                arrays = [part[name] for part in parts]
                if name in values:
                    try:
                        joined = _joined([values[name].encode(a) for a in arrays])
                    except UnicodeDecodeError as error:
                        raise InputError(
                            f"{self._place(row)}, or {n:,} rows on: column {name!r} is not UTF-8 text; "
                            "convert it"
                        ) from error
                    whole[name] = Codes(joined, values[name].listed)
                else:
                    whole[name] = _joined([numbers(a) for a in arrays])
            for lo in range(0, n, rows):
                hi = min(lo + rows, n)
                columns = {name: cut(column, lo, hi) for name, column in whole.items()}
                at = row + lo

                def place(i: int, at: int = at) -> str:
                    return self._place(at + i)

                def position(m: int, at: int = at) -> Position:
                    return self._position(at + m)

                yield Piece(columns, hi - lo, place, position)
            row += n


def record_batches(item: Any) -> Iterator[Any]:
    """Yield the record batches of one, of a table, or of anything with ``__arrow_c_stream__``."""
    pa = arrow("record batches")
    if isinstance(item, pa.RecordBatch):
        yield item
    elif hasattr(item, "__arrow_c_stream__"):
        yield from pa.RecordBatchReader.from_stream(item)
    else:
        raise TypeError(
            f"got {type(item).__name__} where a record batch was expected; give record batches, tables, or "
            "objects with __arrow_c_stream__"
        )


def library(value: Any) -> str:
    """Return the package that the type of ``value`` comes from."""
    return type(value).__module__.partition(".")[0]


def has_arrow() -> bool:
    """Tell whether pyarrow can be imported."""
    if sys.modules.get("pyarrow", ...) is None:
        return False
    import importlib.util

    return importlib.util.find_spec("pyarrow") is not None
