"""A sliding window of bytes over a text file, compressed or not."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from types import TracebackType
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from ._batch import InputError

BLOCK = 1 << 20
LONGEST_ROW = 64 << 20


class Window:
    """Bytes ``text[start:end]`` of a file, moved forward by `skip` and `fill`.

    Two newlines stand behind ``end``, so that a parser stops there without asking.

    Parameters
    ----------
    path
        The file; gzip when its name ends in ``.gz``.
    offset
        Byte of the uncompressed text to start at.
    line
        Number of the line at ``offset``, counted from 1.
    """

    def __init__(self, path: Path, offset: int = 0, line: int = 1) -> None:
        self._path = path
        self._file = cast(IO[bytes], gzip.open(path) if path.suffix == ".gz" else path.open("rb"))
        self.text: NDArray[np.uint8] = np.full(BLOCK + 2, 10, dtype=np.uint8)
        self.start = self.end = 0
        self.offset = offset
        self.line = line
        self.final = False
        try:
            self._file.seek(offset)
        except (OSError, EOFError, zlib.error) as error:
            self._file.close()
            raise self._broken(error) from error

    def __enter__(self) -> Window:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _broken(self, error: BaseException) -> InputError:
        return InputError(f"{self._path}: cannot be read to the end ({error}); is the file complete?")

    def fill(self) -> None:
        """Read on, keeping the unread bytes; ``final`` tells when there are no more."""
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
            n = self._file.readinto(memoryview(text)[kept:room])  # type: ignore[attr-defined,arg-type]
        except (OSError, EOFError, zlib.error) as error:
            raise self._broken(error) from error
        self.text, self.start, self.end = text, 0, kept + n
        self.text[self.end : self.end + 2] = 10
        self.final = n == 0

    def skip(self, to: int) -> None:
        """Move the start of the window to ``text[to]``, counting lines and bytes."""
        self.line = self.line_of(to)
        self.offset += to - self.start
        self.start = to

    def line_of(self, at: int) -> int:
        """Return the number of the line that holds ``text[at]``."""
        return self.line + int(np.count_nonzero(self.text[self.start : at] == 10))

    def bytes_at(self, begin: int, end: int) -> bytes:
        """Return a copy of ``text[begin:end]``."""
        return self.text[begin:end].tobytes()
