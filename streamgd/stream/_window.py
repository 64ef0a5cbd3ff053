"""A sliding window of bytes over text: a file, compressed or not, one that still grows, or a pipe."""

from __future__ import annotations

import gzip
import io
import os
import select
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from ._batch import InputError

BLOCK = 1 << 20
LONGEST_ROW = 64 << 20
PATIENCE = 0.2  # seconds that complete rows wait for more of them to come through a pipe

# What files raise that cannot be read: damaged gzip, and damaged zstd as pyarrow has it.
_FAILURES = (OSError, EOFError, zlib.error, ValueError)


# How files begin that hold no text: what they are, how their names end, and what makes text of a pipe's.
_BINARY = {
    b"PAR1\x15": ("Parquet", ".parquet", ""),
    b"ARROW1\0": ("Arrow IPC", ".arrow", ""),
    b"\x1f\x8b": ("gzip", ".gz", "gzip -dc"),
    b"\x28\xb5\x2f\xfd": ("zstd", ".zst", "zstd -dc"),
}


@dataclass(frozen=True)
class Follow:
    """How to follow a file that grows: at its end, wait for more instead of ending the stream.

    Complete rows are handed out as soon as there are no more of them, in batches that need not be full; a
    last line without a newline waits for the rest of it.

    Parameters
    ----------
    every
        Seconds between looks at the file.
    idle_seconds
        End the stream when the file has not grown for so long; None: never.
    stop
        A `threading.Event`, or a function without arguments that says whether to end the stream once the rows
        that are there have been read.
    """

    every: float = 0.2
    idle_seconds: float | None = None
    stop: threading.Event | Callable[[], bool] | None = None

    def __post_init__(self) -> None:
        if not self.every > 0.0:
            raise ValueError(f"every={self.every}: seconds between two looks, more than 0")

    def over(self, quiet: float) -> bool:
        """Return whether to stop, when nothing has come for ``quiet`` seconds; if not, wait a little."""
        stop = self.stop
        asked = stop.is_set() if isinstance(stop, threading.Event) else stop is not None and stop()
        if asked or (self.idle_seconds is not None and quiet >= self.idle_seconds):
            return True
        if isinstance(stop, threading.Event):
            stop.wait(self.every)
        else:
            time.sleep(self.every)
        return False


class Pipe:
    """Bytes that come once, such as those of standard input, or of any file object open for reading bytes.

    What a source reads to see what the columns are is kept for its first pass, and what a pass has read but
    not handed out for the next one that goes on from there. To go back further is an error, unless the file
    can seek. The file is never closed.

    Parameters
    ----------
    file
        A binary file object, such as ``sys.stdin.buffer``.
    name
        What errors call it; default: its own name.
    """

    def __init__(self, file: Any, name: str | None = None) -> None:
        if isinstance(file, io.TextIOBase) or not any(hasattr(file, m) for m in ("readinto", "read")):
            raise TypeError(f"{file!r} is no file of bytes, as sys.stdin.buffer or open(path, 'rb') are")
        found = getattr(file, "name", None)
        self.name = name or (found if isinstance(found, str) else "<pipe>")
        self._file = file
        self._kept = b""  # read once, and to be read again
        self.offset = 0  # bytes handed out, from where the file stood at first
        self.seekable = bool(getattr(file, "seekable", lambda: False)())
        self._origin = file.tell() if self.seekable else 0

    def __str__(self) -> str:
        return self.name

    def seek(self, offset: int) -> None:
        """Go to a byte, counted from where the file stood at first."""
        if offset < self.offset:
            if not self.seekable:
                raise InputError(
                    f"{self.name}: byte {offset:,} is asked for, and {self.offset:,} have gone by; what "
                    "comes through a pipe is read once (write it to a file to read it again)"
                )
            self._file.seek(self._origin + offset)
            self.offset, self._kept = offset, b""
        dropped = memoryview(bytearray(min(BLOCK, offset - self.offset)))
        while self.offset < offset:
            if not self.readinto(dropped[: offset - self.offset]):
                raise InputError(f"{self.name}: ends at byte {self.offset:,}, before {offset:,}")

    def readinto(self, view: memoryview) -> int:
        """Fill ``view`` with what is there, at least a byte; 0 at the end."""
        n = min(len(view), len(self._kept))
        if n:
            view[:n], self._kept = self._kept[:n], self._kept[n:]
        else:
            while (got := self._read(view)) is None:  # a file that does not block
                time.sleep(PATIENCE / 4)
            n = got
        self.offset += n
        return n

    def _read(self, view: memoryview) -> int | None:
        # one read of the system: `readinto` of a buffered file waits until the view is full
        read = getattr(self._file, "readinto1", None) or getattr(self._file, "readinto", None)
        if read is not None:
            return cast(int | None, read(view))
        data = self._file.read(len(view))
        if data is None:
            return None
        view[: len(data)] = data
        return len(data)

    def give_back(self, data: bytes) -> None:
        """Keep bytes for the next one who reads."""
        self._kept = data + self._kept
        self.offset -= len(data)

    def ready(self) -> bool:
        """Return whether something can be read soon, or the end has come, as far as the system can tell."""
        try:
            return bool(self._kept) or bool(select.select([self._file.fileno()], [], [], PATIENCE)[0])
        except (AttributeError, OSError, ValueError):  # no file of the system
            return True


class Window:
    """Bytes ``text[start:end]`` of a file, moved forward by `skip` and `fill`.

    Two newlines stand behind ``end``, so that a parser stops there without asking.

    Parameters
    ----------
    path
        The file, compressed when its name ends in ``.gz`` or ``.zst``, or a `Pipe`.
    offset
        Byte of the uncompressed text to start at.
    line
        Number of the line at ``offset``, counted from 1.
    follow
        Wait at the end of the file.
    peek
        Leave a pipe as it was.
    blocks
        MiB to hold.

    Attributes
    ----------
    final
        No more bytes will come.
    whole
        Whether what stands behind the last newline is a line; not so when following has stopped.
    idle
        There were no bytes to read when `fill` was last called, though more may come.
    """

    def __init__(
        self,
        path: Path | Pipe,
        offset: int = 0,
        line: int = 1,
        *,
        follow: Follow | None = None,
        peek: bool = False,
        blocks: int = 1,
    ) -> None:
        self._path = path
        self._follow = follow
        self._past: list[bytes] | None = [] if peek and isinstance(path, Pipe) else None
        self.text: NDArray[np.uint8] = np.full(BLOCK * blocks + 2, 10, dtype=np.uint8)
        self.start = self.end = 0
        self.offset = offset
        self.line = line
        self.final = self.idle = False
        self.whole = True
        self._grown = time.monotonic()
        self._file: Any = path if isinstance(path, Pipe) else _opened(path, follow)
        try:
            self._file.seek(offset)
        except InputError:
            raise
        except _FAILURES as error:
            self.__exit__(None, None, None)
            raise self._broken(error) from error

    def __enter__(self) -> Window:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(self._path, Pipe):
            self._path.give_back(b"".join(self._past or ()) + self.bytes_at(self.start, self.end))
        else:
            self._file.close()

    def _broken(self, error: BaseException) -> InputError:
        return InputError(f"{self._path}: cannot be read to the end ({error}); is the file complete?")

    def fill(self, wait: bool = True) -> None:
        """Read on, keeping the unread bytes; ``final`` tells when there are no more.

        Where bytes may come later, ``wait=False`` does not wait for them; ``idle`` tells that none came.
        """
        kept = self.end - self.start
        room = len(self.text) - 2
        if kept * 2 > room:  # a row longer than half the window
            if kept > LONGEST_ROW:
                raise InputError(
                    f"{self._path}, line {self.line}: a row of more than {LONGEST_ROW >> 20} MiB; "
                    "is a quote left open?"
                )
            room *= 2
        text = self.text if room + 2 == len(self.text) else np.empty(room + 2, dtype=np.uint8)
        text[:kept] = self.text[self.start : self.end].copy()
        try:
            n = self._read(memoryview(text)[kept:room], wait)  # type: ignore[arg-type]
        except InputError:
            raise
        except _FAILURES as error:
            raise self._broken(error) from error
        self.text, self.start, self.end = text, 0, kept + n
        self.text[self.end : self.end + 2] = 10
        self.idle = n == 0 and not self.final
        if not self.offset:
            self._refuse_binary()

    def _refuse_binary(self) -> None:
        """Raise when the text begins as a file of another kind does."""
        head = self.bytes_at(0, 8)
        for mark, (what, suffix, command) in _BINARY.items():
            if head.startswith(mark):
                way = f"give the file a name that ends in {suffix}"
                if isinstance(self._path, Pipe):
                    way = f"send it through {command}" if command else "write it to a file, and read that"
                raise InputError(f"{self._path}: this is {what}, not text; {way}")

    def _read(self, view: memoryview, wait: bool) -> int:
        """Read into ``view``; 0 at the end, which sets `final`, or when there is nothing to wait for."""
        if isinstance(self._path, Pipe) and not wait and not self._path.ready():
            return 0
        n: int = self._file.readinto(view)
        if n or self._follow is None:
            self.final = n == 0
            self._grown = time.monotonic()
            return n
        while wait and n == 0:
            self._refuse_another(cast(Path, self._path))
            over = self._follow.over(time.monotonic() - self._grown)
            n = self._file.readinto(view)  # also when it is over: something may have come just before
            if over and n == 0:
                self.final, self.whole = True, False
                return 0
        if n:
            self._grown = time.monotonic()
        return n

    def _refuse_another(self, path: Path) -> None:
        """Raise when the file that is followed is no longer the one that was opened, or got shorter."""
        mine = os.fstat(self._file.fileno())
        try:
            now = path.stat()
        except FileNotFoundError:
            raise InputError(f"{path}: the file was removed while it was followed") from None
        if (now.st_dev, now.st_ino) != (mine.st_dev, mine.st_ino):
            raise InputError(f"{path}: was replaced by another file while it was followed; start again")
        if now.st_size < self._file.tell():
            raise InputError(
                f"{path}: was cut to {now.st_size:,} bytes while it was followed, after "
                f"{self._file.tell():,} had been read; start again"
            )

    def skip(self, to: int, newlines: int | None = None) -> None:
        """Move the start of the window to ``text[to]``, counting bytes and lines, unless these are known."""
        self.line = self.line_of(to) if newlines is None else self.line + newlines
        if self._past is not None:
            self._past.append(self.bytes_at(self.start, to))
        self.offset += to - self.start
        self.start = to

    def line_of(self, at: int) -> int:
        """Return the number of the line that holds ``text[at]``."""
        return self.line + int(np.count_nonzero(self.text[self.start : at] == 10))

    def bytes_at(self, begin: int, end: int) -> bytes:
        """Return a copy of ``text[begin:end]``."""
        return self.text[begin:end].tobytes()


def compressed(path: Path) -> bool:
    """Return whether a file of this name is compressed."""
    return path.suffix.lower() in (".gz", ".zst")


def _opened(path: Path, follow: Follow | None) -> Any:
    """Open a file for reading its text as bytes."""
    if not compressed(path):
        return path.open("rb", buffering=0)
    if follow is not None:
        raise InputError(f"{path}: only a plain file can be followed, not a compressed one")
    return cast(IO[bytes], gzip.open(path)) if path.suffix.lower() == ".gz" else _Zstandard(path)


class _Zstandard:
    """The text of a ``.zst`` file, through pyarrow, from the beginning on."""

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow as pa
        except ImportError:
            raise ImportError(f"{path}: reading .zst needs pyarrow: pip install 'streamgd[io]'") from None
        self._file = pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")
        self.close = self._file.close

    def readinto(self, view: memoryview) -> int:
        return cast(int, self._file.readinto(view))

    def seek(self, offset: int) -> None:
        """Read and forget, since a compressed stream only goes on."""
        while offset:
            n = self.readinto(memoryview(bytearray(min(BLOCK, offset))))
            if not n:
                raise EOFError(f"{offset:,} bytes too short")
            offset -= n
