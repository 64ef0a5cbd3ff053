"""What sources of tables share: their options, and columns made into batches."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from ..kernels.columns import matrix
from ._batch import Batch, InputError, Kind, Missing, Position, Source, up_to_bad
from ._columns import check_kinds, select
from ._encode import Codes, Column, Encoder, Recipe


class Options(TypedDict, total=False):
    """The keywords of `Table`, which every table takes."""

    weight: str | None
    drop: Collection[str]
    columns: Collection[str] | None
    kinds: Mapping[str, Kind] | None
    missing: Missing
    interactions: Collection[str]
    n_features: int | None
    max_categories: int


class Look(NamedTuple):
    """What a column's type says it is."""

    kind: Kind | None  # None: nothing to learn from
    type: str
    temporal: bool = False


class Piece(NamedTuple):
    """Columns of consecutive rows, the target's and the weights' among them."""

    columns: Mapping[str, Column]
    n: int
    place: Callable[[int], str]  # of the i-th row, for errors
    position: Callable[[int], Position]  # behind so many of the rows, without "row"


def cut(column: Column, lo: int, hi: int) -> Column:
    """Return rows ``lo`` to ``hi`` of a column, without copies."""
    return Codes(column.codes[lo:hi], column.values) if isinstance(column, Codes) else column[lo:hi]


class Table(Source):
    """A source whose rows have the same columns, each of one type.

    Numbers and decimals are numbers (float32 where all columns are that, else float64), booleans 0 and 1,
    strings and dictionaries categories. Other types are refused.

    Parameters
    ----------
    target
        Column to predict, or None.
    batch_rows
        Rows a batch; only the last has fewer.
    weight
        Column of sample weights, finite and not negative. It is no feature.
    drop
        Columns to leave out.
    columns
        Columns to learn from; None takes all but the target, the weights and `drop`.
    kinds
        ``{"zip": "category"}`` reads a column of numbers as categories; no other change is possible.
    missing
        What a null or a NaN is: "error" refuses it, "zero" reads it as 0, or as no category, "mean" as the
        mean of the column so far. A target or a weight may never be missing.
    interactions
        Products of columns, such as ``"age*income"``.
    n_features
        Hash the names of features into so many; None numbers them as they turn up.
    max_categories
        Columns and categories allowed in all.

    Attributes
    ----------
    recipe
        What the options make of the columns.
    n_rows
        Rows in the whole stream; None where nothing tells.

    Raises
    ------
    InputError
        Names the table, row (counted from 1), column and value. The rows before a bad one are handed out
        first.
    """

    reads = True
    n_rows: int | None = None

    def __init__(
        self,
        where: str,
        names: list[str],
        look: Callable[[str], Look],
        target: str | None = None,
        batch_rows: int = 8192,
        *,
        weight: str | None = None,
        drop: Collection[str] = (),
        columns: Collection[str] | None = None,
        kinds: Mapping[str, Kind] | None = None,
        missing: Missing = "error",
        interactions: Collection[str] = (),
        n_features: int | None = None,
        max_categories: int = 1_000_000,
    ) -> None:
        if batch_rows < 1:
            raise ValueError(f"batch_rows={batch_rows}: at least 1 is needed")
        self._where = where
        self.target = target
        self.weight = weight
        self.batch_rows = batch_rows
        self.recipe = Recipe(missing, tuple(interactions), n_features, max_categories)
        self._features = tuple(select(where, names, target, weight, drop, columns))
        used = [*self._features, *([] if target is None else [target])]
        given = check_kinds(where, names, used, kinds)
        self.kinds: dict[str, Kind] = {n: self._kind(n, look(n), given.get(n)) for n in used}
        self._used = [*used, *([] if weight is None else [weight])]
        if weight is not None and (found := look(weight)).kind not in ("number", "boolean"):
            raise InputError(f"{where}: column {weight!r} has type {found.type}; weights are numbers")
        self._encoder(None)  # refuses what the columns cannot give
        # A matrix of floats where nothing is missing needs no encoder.
        self._plain = missing != "mean" and not self.recipe.interactions and n_features is None
        self._plain &= all(self.kinds[n] == "number" for n in self._features)

    def _kind(self, name: str, found: Look, given: Kind | None) -> Kind:
        if found.kind is None:
            advice = "turn it into numbers" + (
                " (such as seconds, or hour and weekday)" if found.temporal else " or strings"
            )
            raise InputError(
                f"{self._where}: column {name!r} has type {found.type}; {advice}, or leave it out "
                f"(drop=[{name!r}], --drop {name})"
            )
        if given in (None, found.kind, "category"):
            return given or found.kind
        raise InputError(
            f"{self._where}: column {name!r} has type {found.type}, which cannot be read as {given}"
        )

    def _encoder(self, start: Position | None) -> Encoder:
        state = None if start is None else start.get("encoder")
        return Encoder(self._where, {n: self.kinds[n] for n in self._features}, self.recipe, state)

    def expected_rows(self, position: Position) -> int | None:
        """Rows in the whole stream, where that is known."""
        return self.n_rows

    @abstractmethod
    def _pieces(self, start: Position | None) -> Iterator[Piece]:
        """Yield pieces of `batch_rows` rows from ``start`` on."""

    def batches(self, start: Position | None = None) -> Iterator[Batch]:
        """Yield batches from ``start``, the position of an earlier batch (default: the beginning)."""
        encoder = self._encoder(start)
        row = 0 if start is None else start["row"]
        for piece in self._pieces(start):
            batch, error = up_to_bad(functools.partial(self._batch, encoder, piece, row), piece.n)
            if batch is not None:
                yield batch
                row += len(batch)
            if error is not None:
                error.row = row
                raise error

    def _batch(self, encoder: Encoder, piece: Piece, row: int, n: int) -> Batch:
        """Make a batch of the first ``n`` rows of a piece; ``row`` came before them."""
        columns, place = piece.columns, piece.place
        if n < piece.n:
            columns = {name: cut(column, 0, n) for name, column in columns.items()}
        y = None
        if self.target is not None:
            y = self._labels(columns[self.target], self.kinds[self.target] == "boolean", place)
        w = None if self.weight is None else weights(columns[self.weight], self.weight, place)
        names: Sequence[Any] = self._features
        X: Any = matrix([columns[name] for name in names], n) if self._plain else None
        if X is None:
            X, names = encoder.rows(columns, n, place)
        position = {"row": row + n, **piece.position(n)}
        if (state := encoder.state) is not None:
            position["encoder"] = state
        return Batch(X, y, names, row, position, w)

    def _labels(self, column: Column, of_truth: bool, place: Callable[[int], str]) -> NDArray[Any]:
        labels: NDArray[Any]
        if isinstance(column, Codes):
            labels = np.array([*column.values, None], dtype=object)[column.codes]
            bad = column.codes < 0
        else:
            labels = column.astype(np.float64)
            bad = np.isnan(labels)
        if bad.any():
            i = int(np.argmax(bad))
            error = InputError(f"{place(i)}: the target {self.target!r} is missing; take the row out")
            error.row = i
            raise error
        return labels.astype(bool) if of_truth else labels


def weights(column: Any, name: Hashable, place: Callable[[int], str]) -> NDArray[np.float64]:
    """Return sample weights as floats, or name the first that cannot be one."""
    try:
        if column.dtype.kind == "c":
            raise TypeError(f"they are {column.dtype}")
        w: NDArray[np.float64] = column.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the weights {name!r} are no numbers ({error}); give finite ones, 0 or more"
        ) from error
    bad = ~(np.isfinite(w) & (w >= 0.0))
    if bad.any():
        i = int(np.argmax(bad))
        found = "missing" if np.isnan(w[i]) else f"{w[i]!s}"
        refused = InputError(
            f"{place(i)}: the weight {name!r} is {found}; weights are finite numbers, 0 or more"
        )
        refused.row = i
        raise refused
    return w
