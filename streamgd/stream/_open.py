"""The source for what a user has, by the name of a file or the type of an object."""

from __future__ import annotations

import glob
import inspect
import io
import os
import reprlib
import stat
import sys
import weakref
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .._rows import SparseRows, is_device_array
from ._arrays import Arrays
from ._batch import InputError, Source
from ._columns import nearest
from ._csv import CSV
from ._device import DeviceArrays
from ._frames import Frame, RecordBatches
from ._parquet import IPC, Parquet
from ._rebatch import Rebatched
from ._samples import Samples
from ._svmlight import SVMLight
from ._table import Table
from ._vw import VW
from ._window import Pipe, compressed

_TEXT: dict[str, type[Source]] = {
    **dict.fromkeys((".csv", ".tsv", ".txt"), CSV),
    **dict.fromkeys((".svm", ".svmlight", ".libsvm"), SVMLight),
    ".vw": VW,
}
_BINARY: dict[str, type[Source]] = {
    **dict.fromkeys(Parquet.suffixes, Parquet),
    **dict.fromkeys(IPC.suffixes, IPC),
}
_FORMATS = _TEXT | _BINARY


def open_file(
    path: Any,
    target: str | None = None,
    *,
    format: str | None = None,
    task: Literal["auto", "binary", "regression"] = "auto",
    **options: Any,
) -> Source:
    r"""Open a file, or many, as a stream of batches.

    Parameters
    ----------
    path
        A file, whose format is told by the end of its name: ``.csv``, ``.tsv``; ``.svm``, ``.svmlight``,
        ``.libsvm``; ``.vw``; ``.parquet``, ``.pq``; ``.arrow``, ``.feather``, ``.ipc``. Text may be
        compressed, with ``.gz`` or ``.zst`` behind it. Of tables also a folder, or a pattern such as
        ``"day-*.parquet"``, whose files are read in the order of their names. "-" is standard input; it,
        named pipes, and file objects that are open for reading bytes are read as they come.
    target
        Column to predict; None reads features only. In svmlight and Vowpal Wabbit text, a row has its target.
    format
        What the name does not tell, as one of these ends: "csv", "svm", "vw", ...; pipes are CSV by default.
    task
        "regression" refuses a target that is not a number.
    **options
        Of the source, such as ``batch_rows``, ``drop``, ``kinds``, ``missing``, ``follow``: see the class of
        the format.

    Raises
    ------
    FileNotFoundError
        No such file.
    InputError
        Not a file that can be read, or not one with these columns, or an option that it has no use for.

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
    path = what = _pipe(path)
    if isinstance(path, Pipe):
        kind = _named(format or "csv")
        if kind not in _TEXT.values():
            raise InputError(f"{path}: {kind.__name__} is not read from a pipe; write it to a file first")
    else:
        kind, what = _found(path, None if format is None else _named(format))
    known = _known(kind, options, str(path))
    if "target" in _options(kind):
        known["target"] = target
    source: Source = kind(what, **known)
    if target is not None and target != source.target:
        raise InputError(
            f"{path}: target={target!r} (--target) has no meaning in {_PLAIN[kind]}, where a row begins with "
            "its target; leave it out"
        )
    if task == "regression" and target is not None and source.kinds.get(target) == "category":
        raise InputError(
            f"{path}: the target {target!r} holds text; regression needs numbers (or use task binary)"
        )
    return source


def _suffix(path: Path) -> str:
    """Return the end of a name that tells the format, without that of a compressed text file."""
    inner = Path(path.stem).suffix.lower()
    return inner if compressed(path) and inner in _TEXT else path.suffix.lower()


def _pipe(given: Any) -> Path | Pipe:
    """Return a path, or what is read once."""
    if str(given) == "-":
        return Pipe(sys.stdin.buffer, "standard input")
    if not isinstance(given, str | os.PathLike):
        return given if isinstance(given, Pipe) else Pipe(given)
    path = Path(given)
    if not path.exists() or not stat.S_ISFIFO(path.stat().st_mode):
        return path
    file = path.open("rb", buffering=0)
    pipe = Pipe(file)
    weakref.finalize(pipe, file.close)  # nobody else knows that it was opened here
    return pipe


def _named(format: str) -> Any:
    """Return the class for the end of a name that the user says."""
    kind = _FORMATS.get("." + format.lower().removeprefix("."))
    if kind is None:
        raise ValueError(f"format={format!r}: it is one of {', '.join(end[1:] for end in _FORMATS)}")
    return kind


def _found(path: Path, said: Any) -> tuple[Any, Any]:
    """Return the class that reads a file, a folder or a pattern, the one said if any; and what to give it."""
    if path.is_dir():
        files, what = [p for p in path.iterdir() if p.is_file() and p.name[0] not in "._"], "folder"
    elif path.exists():
        return said or _class_of(path), path
    elif glob.has_magic(str(path)):
        files, what = [p for p in map(Path, glob.glob(str(path), recursive=True)) if p.is_file()], "pattern"
    else:
        names = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = nearest(path.name, names) if names else ""
        raise FileNotFoundError(f"no file {str(path)!r}" + (f"; {hint}" if hint.startswith("did") else ""))
    if not files:
        raise FileNotFoundError(f"no files in {path}" if what == "folder" else f"no file matches '{path}'")
    if what == "folder":  # other files may lie beside those with rows
        known = [said] if said else _FORMATS.values()
        files = [p for p in files if _FORMATS.get(_suffix(p)) in known] or files
    files.sort()
    kind = said or _class_of(files[0])
    for file in files:
        if not said and _class_of(file) is not kind:
            pattern = str(file.parent / f"*{file.suffix}")
            raise InputError(
                f"{path} is a {what} of files in several formats, such as {files[0].name!r} and "
                f"{file.name!r}; give a pattern of those to read, such as {pattern!r}"
            )
    if kind is CSV:
        return kind, files
    if kind in _TEXT.values():
        raise InputError(f"{path} is a {what} of {kind.__name__} files, which are read one by one; name one")
    return kind, path


def _class_of(path: Path) -> Any:
    kind = _FORMATS.get(_suffix(path))
    if kind is None:
        many, text = ", ".join(_BINARY), ", ".join(_TEXT)
        raise InputError(
            f"{path}: the name must end in {text} (.gz or .zst may follow), {many}; or say format="
        )
    return kind


# -- options -----------------------------------------------------------------------------------

_PLAIN = {
    SVMLight: "an svmlight file",
    VW: "a Vowpal Wabbit file",
    Arrays: "an array",
    DeviceArrays: "an array on a device",
    Samples: "rows that are dicts",
}


def _known(kind: Any, options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the options that a source has; refuse the others, unless they ask for nothing."""
    if options.get("batch_rows", 1) < 1:
        raise ValueError(f"batch_rows={options['batch_rows']}: at least 1 is needed")
    has, tables = _options(kind), _options(Table)
    for name, value in options.items():
        if name in has:
            continue
        if name not in tables:
            raise TypeError(f"{kind.__name__} has no option {name!r}; {nearest(name, has)}")
        nothing = value is None or (isinstance(value, Collection) and not len(value))
        if not nothing and value != tables[name].default:
            what = _PLAIN.get(kind, f"a {kind.__name__} source")
            raise InputError(f"{where}: {name}={value!r} (--{name}) has no meaning in {what}")
    return {name: value for name, value in options.items() if name in has}


def _options(kind: Any) -> dict[str, inspect.Parameter]:
    """Return the keywords that a class takes, those that it passes on to its base included."""
    found: dict[str, inspect.Parameter] = {}
    for owner in kind.__mro__:
        if "__init__" in vars(owner):
            parameters = inspect.signature(owner.__init__).parameters
            found = dict(parameters) | found
            if all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
                break
    hidden = ("self", "path", "where", "names", "look")
    return {name: p for name, p in found.items() if p.kind is not p.VAR_KEYWORD and name not in hidden}


# -- objects -----------------------------------------------------------------------------------


def source(
    data: Any,
    y: Any = None,
    w: Any = None,
    *,
    target: str | None = None,
    columns: Sequence[Hashable] | None = None,
    batch_rows: int | None = None,
    **options: Any,
) -> Source:
    """Return a source of rows for whatever holds them.

    Parameters
    ----------
    data
        One of

        - a file, a folder or a pattern of files, by its name, or a file object: `open_file`;
        - a frame of pandas or polars, an Arrow table: `Frame`;
        - a reader of record batches, what has ``__arrow_c_stream__``, a list of record batches:
          `RecordBatches`;
        - a matrix ``(n, p)`` of NumPy, or what NumPy makes one of (a tensor, lists of numbers with ``y``),
          a sparse matrix of SciPy, or `SparseRows`: `Arrays`;
        - a matrix that lies on a CUDA device, of PyTorch, CuPy or Numba: `DeviceArrays`;
        - ``(X, y)`` or ``(X, y, w)`` of these frames and arrays;
        - an iterable of ``(x, y)`` or ``(x, y, w)`` with dicts ``x``, such as a dataset of river, a list or
          a generator: `Samples`;
        - a `Source`, which is given back.
    y, w
        Targets ``(n,)`` and weights ``(n,)`` of arrays and frames.
    target
        Column to predict, of a file or a frame.
    columns
        Names of an array's columns; the columns to learn from, of a file or a frame.
    batch_rows
        Rows a batch; None: as the source has it.
    **options
        Of the source, such as ``drop``, ``kinds``, ``missing``.

    Raises
    ------
    TypeError
        Nothing that rows can be read from, or an option that the source does not know.
    InputError
        An option that this source has no use for; a file that cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> from streamgd import stream
    >>> stream.source(np.eye(2), [0, 1]).n_rows
    2
    >>> len(next(iter(stream.source([({"a": 1.0}, True), ({"a": 0.5}, False)]))))
    2
    """
    if batch_rows is not None:
        options["batch_rows"] = batch_rows
    if type(data).__module__.startswith("narwhals"):
        data = data.to_native()
    if y is None and w is None and isinstance(data, tuple) and len(data) in (2, 3) and _is_table(data[0]):
        data, y, w = (*data, None)[:3]
    if isinstance(data, Source):
        return _again(data, {"y": y, "w": w, "target": target, "columns": columns} | options)
    if _is_frame(data):
        options |= {"columns": columns}
        return Frame(data, target, y=y, w=w, **_known(Frame, options, "the frame"))
    if _is_table(data) or (y is not None and _is_list_of_lists(data)):
        if target is not None:
            raise TypeError(
                f"target={target!r}: the columns of an array have no such name; give the targets as y"
            )
        if is_device_array(data):
            return DeviceArrays(data, y, w, columns=columns, **_known(DeviceArrays, options, "the array"))
        return Arrays(data, y, w, columns=columns, **_known(Arrays, options, "the array"))
    if y is not None or w is not None:
        raise TypeError(
            "y and w are for arrays and frames; files and record batches have them in columns (target=, "
            "weight=), rows that are dicts come with them: zip(X, y) or zip(X, y, w)"
        )
    if isinstance(data, str | os.PathLike | Pipe) or isinstance(data, io.IOBase):
        return open_file(data, target, columns=columns, **options)
    options |= {"columns": columns}
    if _has_batches(data):
        return RecordBatches(data, target, **_known(RecordBatches, options, "the record batches"))
    if isinstance(data, Iterable) and not isinstance(data, Mapping | bytes | np.ndarray):
        if target is not None:
            raise TypeError(f"target={target!r}: rows that are dicts come with their targets, (x, y)")
        return Samples(data, **_known(Samples, options, "the samples"))
    hint = "; it makes an iterator when called: give what it returns" if callable(data) else ""
    if hasattr(data, "collect_batches"):
        hint = ": give its collect_batches(), or collect it"
    raise TypeError(
        f"no rows can be read from {reprlib.repr(data)} ({type(data).__name__}){hint}. A source is a file, "
        "an array, a frame, a sparse matrix, (X, y), an iterable of (x, y) with dicts x, or a stream.Source"
    )


def _again(source: Source, said: dict[str, Any]) -> Source:
    """Return a source as it is, in batches of another size if one is said."""
    rows = said.pop("batch_rows", None)
    for name, value in said.items():
        if value is not None:
            raise TypeError(
                f"{name} is said where a source is made; this {type(source).__name__} is one already"
            )
    return source if rows in (None, source.batch_rows) else Rebatched(source, rows)


def _is_frame(data: Any) -> bool:
    library = type(data).__module__.partition(".")[0]
    return (library, type(data).__name__) in (
        ("pandas", "DataFrame"),
        ("polars", "DataFrame"),
        ("pyarrow", "Table"),
        ("pyarrow", "RecordBatch"),
    )


def _is_table(data: Any) -> bool:
    """Return whether something is rows and columns in memory."""
    if isinstance(data, SparseRows | np.ndarray) or _is_frame(data) or is_device_array(data):
        return True
    shape = getattr(data, "shape", None)
    return isinstance(shape, tuple) and len(shape) in (
        1,
        2,
    )  # one dimension: of an array that is refused for it


def _is_list_of_lists(data: Any) -> bool:
    return isinstance(data, list | tuple) and not (len(data) and isinstance(data[0], Mapping))


def _has_batches(data: Any) -> bool:
    first = data[0] if isinstance(data, list | tuple) and data else data
    return hasattr(first, "__arrow_c_stream__") or hasattr(first, "__arrow_c_array__")
