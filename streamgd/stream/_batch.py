"""What every source hands out: a batch of rows, and the protocol that sources keep to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from numpy.typing import NDArray

from .._rows import SparseRows

Kind: TypeAlias = Literal["number", "boolean", "category"]
Position: TypeAlias = dict[str, int]


class InputError(ValueError):
    """A source does not hold what it should; the message names the place and the way out."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive rows of a stream.

    Attributes
    ----------
    X
        Rows as a C-contiguous float matrix, or as `SparseRows` where there are categories.
    y
        Targets: float64, bool, or an object array of strings. None when no target was asked for.
    columns
        Names of the columns of ``X``. Later batches may have more at the end, never others before.
    first
        Number of the first row in the stream, counted from 0.
    position
        Where the next batch starts: pass it to `Source.batches` to continue there. It holds plain
        integers, so that it can be stored as JSON.
    """

    X: NDArray[Any] | SparseRows
    y: NDArray[Any] | None
    columns: tuple[str, ...]
    first: int
    position: Position

    def __len__(self) -> int:
        return self.position["row"] - self.first


@runtime_checkable
class Source(Protocol):
    """A stream of batches that can be continued from a position.

    Every batch but the last has the same number of rows, and memory does not grow with the stream.

    Attributes
    ----------
    batch_rows
        Rows of every batch but the last.
    """

    batch_rows: int

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """What each column is, the target included; empty where columns turn up on the way."""
        ...

    @property
    def target(self) -> str | None:
        """Name of the target column, or None."""
        ...

    def batches(self, start: Position | None = None) -> Iterator[Batch]:
        """Yield batches from ``start``, the position of an earlier batch (default: the beginning)."""
        ...

    def __iter__(self) -> Iterator[Batch]:
        """Yield all batches from the beginning."""
        ...

    def expected_rows(self, position: Position) -> int | None:
        """Rows in the whole stream as far as is known at ``position``; None without any idea."""
        ...
