"""The source for a file, picked by its name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

from ._batch import InputError, Kind, Source
from ._columns import nearest
from ._csv import CSV
from ._parquet import Parquet
from ._svmlight import SVMLight

_TABLES: dict[str, Any] = {".csv": CSV, ".tsv": CSV, ".txt": CSV, ".parquet": Parquet, ".pq": Parquet}
_SPARSE = (".svm", ".svmlight", ".libsvm")


def _suffix(path: Path) -> str:
    """Return the end of a name that tells the format, without ``.gz``."""
    return (Path(path.stem) if path.suffix.lower() == ".gz" else path).suffix.lower()


def is_svmlight(path: str | Path) -> bool:
    """Return whether a file of this name is read as svmlight."""
    return _suffix(Path(path)) in _SPARSE


def open_file(
    path: str | Path,
    target: str | None = None,
    *,
    batch_rows: int = 8192,
    task: Literal["auto", "binary", "regression"] = "auto",
    drop: Collection[str] = (),
    columns: Collection[str] | None = None,
    kinds: Mapping[str, Kind] | None = None,
    missing: Literal["error", "zero"] = "error",
) -> Source:
    r"""Open a file as a stream of batches.

    Parameters
    ----------
    path
        ``.csv``, ``.tsv``, ``.parquet``, or ``.svm`` / ``.svmlight`` / ``.libsvm``; text files also
        compressed, with ``.gz`` at the end.
    target
        Column to predict; None reads features only. A row of an svmlight file begins with its target.
    batch_rows
        Rows a batch.
    task
        "regression" refuses a target that is not a number.
    drop, columns, kinds, missing
        As for `CSV`; svmlight files have no use for them.

    Raises
    ------
    FileNotFoundError
        No such file.
    InputError
        Not a file that can be read, or not one with these columns.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from streamgd import stream
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "clicks.csv"
    >>> _ = path.write_text("age,site,click\n31,a,0\n54,b,1\n")
    >>> batch = next(iter(stream.open_file(path, target="click")))
    >>> batch.columns, batch.y
    (('age', 'site=a', 'site=b'), array([0., 1.]))
    """
    path = Path(path)
    if not path.exists():
        folder = path.parent
        names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
        hint = nearest(path.name, names) if names else ""
        raise FileNotFoundError(f"no file {str(path)!r}" + (f"; {hint}" if hint.startswith("did") else ""))
    if path.is_dir():
        raise InputError(f"{path} is a folder; name one file")
    suffix = _suffix(path)
    if batch_rows < 1:
        raise ValueError(f"batch_rows={batch_rows}: at least 1 is needed")
    if suffix in _SPARSE:
        if drop or columns is not None or missing != "error":
            raise InputError(
                f"{path}: drop, columns and missing (--drop, --missing) have no meaning in an svmlight file"
            )
        return SVMLight(path, batch_rows)
    if suffix not in _TABLES or (suffix in (".parquet", ".pq") and path.suffix.lower() == ".gz"):
        raise InputError(
            f"{path}: the name must end in .csv, .tsv (or .gz after it), .parquet, .svm, .svmlight or .libsvm"
        )
    source: Source = _TABLES[suffix](
        path, target, batch_rows, drop=drop, columns=columns, kinds=kinds, missing=missing
    )
    if task == "regression" and target is not None and source.kinds[target] == "category":
        raise InputError(
            f"{path}: the target {target!r} holds text; regression needs numbers (or use task binary)"
        )
    return source
