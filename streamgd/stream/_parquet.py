"""Parquet and Arrow IPC files, one or many, read in pieces by pyarrow."""

from __future__ import annotations

import bisect
import glob
import itertools
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Unpack

from ._ahead import read_ahead
from ._arrow import ArrowTable, arrow, look, rows_at_once, skipped
from ._batch import InputError, Position
from ._columns import nearest
from ._table import Options


class Files(ArrowTable):
    """Rows of one file, or of several with one schema, as if they were one.

    A position holds the number of rows, and in a folder or a glob the name of the file and the rows before
    it in there, so that files may be added behind, or taken away before it.
    """

    format: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        path: str | Path,
        target: str | None = None,
        batch_rows: int = 8192,
        **options: Unpack[Options],
    ) -> None:
        self.path = Path(path)
        arrow(self.format)
        self._paths = self._listed()
        schemas, sizes = zip(*map(self._measured, self._paths), strict=True)
        self._starts: list[int] = [0, *itertools.accumulate(sizes)]
        self.n_rows = self._starts[-1]
        schema = schemas[0]
        super().__init__(
            str(self.path), schema.names, lambda n: look(schema.field(n).type), target, batch_rows, **options
        )
        for file, other in zip(self._paths, schemas, strict=True):
            self._compare(file, other, schema)
        if not self.n_rows:
            raise InputError(f"{self.path}: no rows in the file{'s' if len(self._paths) > 1 else ''}")

    def _listed(self) -> list[Path]:
        """Return the files to read, sorted by name."""
        path, ends = self.path, " or ".join(self.suffixes)
        if path.is_dir():
            found = [p for p in path.iterdir() if p.name[0] not in "._" and p.suffix.lower() in self.suffixes]
            if not found:
                raise InputError(
                    f"{path}: no files in the folder that end in {ends}; for those in folders below, give a "
                    f"pattern such as {str(path / '**' / ('*' + self.suffixes[0]))!r}"
                )
            return sorted(found)
        if not path.exists() and glob.has_magic(str(path)):
            found = [p for p in map(Path, glob.glob(str(path), recursive=True)) if p.is_file()]
            if not found:
                raise FileNotFoundError(f"no file matches {str(path)!r}")
            return sorted(found)
        return [path]

    def _compare(self, file: Path, schema: Any, first: Any) -> None:
        """Raise where a column is not what it is in the first file; how categories are stored may differ."""
        for name in self._used:
            if name not in schema.names:
                raise InputError(
                    f"{file}: no column {name!r}, which {self._paths[0]} has; {nearest(name, schema.names)}"
                )
            here, there = schema.field(name).type, first.field(name).type
            if here != there and not look(here).kind == look(there).kind == "category":
                raise InputError(
                    f"{file}: column {name!r} has type {here}, in {self._paths[0]} it has {there}; write the "
                    "files with one schema"
                )

    @abstractmethod
    def _measured(self, file: Path) -> tuple[Any, int]:
        """Return the schema of a file and its number of rows."""

    @abstractmethod
    def _read(self, file: Path, row: int) -> Iterator[Any]:
        """Yield record batches from row ``row`` of a file on."""

    def _broken(self, file: Path, error: Exception) -> InputError:
        return InputError(f"{file}: cannot be read to the end ({error}); is the file complete?")

    def _record_batches(self, row: int) -> Iterator[Any]:
        return read_ahead(self._decoded(row), depth=1)  # 1.3 times as fast: it waits for pyarrow's threads

    def _decoded(self, row: int) -> Iterator[Any]:
        """Yield record batches from a row of the table on."""
        import pyarrow as pa

        for k in range(self._file_of(row), len(self._paths)):
            try:
                yield from self._read(self._paths[k], max(row - self._starts[k], 0))
            except (pa.ArrowException, OSError) as error:
                raise self._broken(self._paths[k], error) from error

    def _file_of(self, row: int) -> int:
        return min(bisect.bisect_right(self._starts, row) - 1, len(self._paths) - 1)

    def _place(self, row: int) -> str:
        k = self._file_of(row)
        return f"{self._paths[k]}, row {row - self._starts[k] + 1}"

    def _name(self, k: int) -> str:
        """Return the name of a file in a position: from the folder, so that the folder may be moved."""
        file = self._paths[k]
        return file.name if self.path.is_dir() else file.as_posix()

    def _position(self, row: int) -> Position:
        if self._paths == [self.path]:
            return {}
        k = self._file_of(row - 1)  # the end of a file, not the start of the next: another may come between
        return {"file": self._name(k), "file_row": row - self._starts[k]}

    def _first(self, start: Position | None) -> int:
        if start is None or "file" not in start:
            return super()._first(start)
        names = [self._name(k) for k in range(len(self._paths))]
        if start["file"] not in names:
            raise InputError(
                f"{self.path}: no file {start['file']!r}, where to continue; {nearest(start['file'], names)}"
            )
        return self._starts[names.index(start["file"])] + int(start["file_row"])


class Parquet(Files):
    """Rows of a Parquet file, or of the Parquet files of a folder or a glob; needs the extra ``io``.

    Row groups are decoded by pyarrow's threads, some 100,000 rows at a time however large they are.

    Parameters
    ----------
    path
        A file; a folder, of which all ``.parquet`` and ``.pq`` files are read but hidden ones and those
        whose name begins with ``_``; or a pattern such as ``"clicks/2026-*/*.parquet"``. Files follow one
        another as their names sort, and must have the same types.
    target, batch_rows, options
        As for `Table`: target, batch_rows=8192, weight, drop, columns, kinds, missing, interactions,
        n_features, max_categories.

    Raises
    ------
    InputError
        Names file, row (counted from 1), column and value. The rows before a bad one are handed out first.
    """

    format = "Parquet"
    suffixes = (".parquet", ".pq")

    def _open(self, file: Path) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            # Read as the rows are asked for: a row group may be as large as the file. Not mapped: a file
            # that is overwritten meanwhile would end the process.
            return pq.ParquetFile(file, buffer_size=1 << 16, pre_buffer=False, memory_map=False)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # not there, not allowed
            raise InputError(f"{file}: not a Parquet file that can be read ({error})") from error

    def _measured(self, file: Path) -> tuple[Any, int]:
        with self._open(file) as opened:
            return opened.schema_arrow, opened.metadata.num_rows

    def _read(self, file: Path, row: int) -> Iterator[Any]:
        with self._open(file) as opened:
            metadata = opened.metadata
            group = 0
            while group < metadata.num_row_groups and row >= (size := metadata.row_group(group).num_rows):
                row -= size
                group += 1
            if group < metadata.num_row_groups:
                rows = rows_at_once(self.batch_rows, len(self._used))
                groups = range(group, metadata.num_row_groups)
                yield from skipped(opened.iter_batches(rows, row_groups=groups, columns=self._used), row)


class IPC(Files):
    """Rows of an Arrow IPC file (Feather), or of those of a folder or a glob; needs the extra ``io``.

    A file is mapped into memory and read as its rows are asked for: do not write to it meanwhile. One that is
    compressed is decompressed a record batch at a time.

    Parameters
    ----------
    path
        A file; a folder, of which all ``.arrow``, ``.feather`` and ``.ipc`` files are read but hidden ones
        and those whose name begins with ``_``; or a pattern. Files follow one another as their names sort,
        and must have the same types.
    target, batch_rows, options
        As for `Table`: target, batch_rows=8192, weight, drop, columns, kinds, missing, interactions,
        n_features, max_categories.

    Raises
    ------
    InputError
        Names file, row (counted from 1), column and value. The rows before a bad one are handed out first.
    """

    format = "Arrow IPC"
    suffixes = (".arrow", ".feather", ".ipc")

    def _open(self, mapped: Any, file: Path) -> Any:
        import pyarrow as pa

        try:
            return pa.ipc.open_file(mapped)
        except pa.ArrowException as error:
            raise InputError(
                f"{file}: not an Arrow IPC file that can be read ({error}); for the stream format give "
                "RecordBatches(pyarrow.ipc.open_stream(path)), and write Feather V1 anew"
            ) from error

    def _measured(self, file: Path) -> tuple[Any, int]:
        import pyarrow as pa
        from pyarrow.dataset import IpcFileFormat
        from pyarrow.fs import LocalFileSystem

        with pa.memory_map(str(file)) as mapped, self._open(mapped, file) as opened:
            schema = opened.schema
        # Of all ways to count the rows, only this reads no record batch in older versions of pyarrow.
        return schema, IpcFileFormat().make_fragment(str(file), LocalFileSystem()).count_rows()

    def _read(self, file: Path, row: int) -> Iterator[Any]:
        import pyarrow as pa

        # All columns: to name some makes Arrow copy them out of the mapped file.
        with pa.memory_map(str(file)) as mapped, self._open(mapped, file) as opened:
            parts = (opened.get_batch(k) for k in range(opened.num_record_batches))
            yield from skipped(parts, row)
