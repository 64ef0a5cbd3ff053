"""From columns to features: numbers, categories, missing values, products, and the hashing trick."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .._recipe import Recipe
from .._rows import Prefix, SparseRows
from ..kernels import hashing
from ._batch import InputError, Kind
from ._columns import nearest

__all__ = ["Codes", "Column", "Encoder", "Recipe"]

Words: TypeAlias = NDArray[np.int64]


class Codes(NamedTuple):
    """A column of categories: the code of each row (-1: missing), and the value of each code.

    A source may pass the same list of values again and again, with more at its end: what was worked out for a
    code is then kept.
    """

    codes: Words
    values: Sequence[str]


Column: TypeAlias = NDArray[Any] | Codes  # numbers or booleans, NaN where missing; or categories


class _Cross(NamedTuple):
    """An interaction: columns by number, of those of its kind, in the order of its name."""

    text: str
    parts: tuple[tuple[bool, int], ...]  # (is it one of categories, number)

    def of(self, categories: bool) -> list[int]:
        return [k for kind, k in self.parts if kind is categories]


@functools.cache
def _keep_memory() -> None:
    """Let the C library keep memory that is given back, up to 32 MiB a piece.

    It goes by the largest piece given back so far. Else a batch of some MiB would be made of fresh pages,
    which was measured to take 2.7 of 3.6 ms.
    """
    np.empty(31 << 20, dtype=np.uint8)


class Encoder:
    """Makes rows out of columns, through one pass over a source.

    Parameters
    ----------
    where
        Name of the source, for errors.
    kinds
        What each feature column is, in the order of the columns.
    recipe
        What to make of them.
    state
        `state` of an earlier encoder, to go on from there.

    Raises
    ------
    InputError
        An interaction names a column that is not there, or two features have one name; with means, also if
        they have one as text.
    """

    def __init__(
        self, where: str, kinds: Mapping[str, Kind], recipe: Recipe, state: Mapping[str, Any] | None = None
    ) -> None:
        _keep_memory()
        self._where = where
        self._recipe = recipe
        self._numeric = [name for name, kind in kinds.items() if kind != "category"]
        self._texts = [name for name, kind in kinds.items() if kind == "category"]
        crosses = [self._cross(text, kinds) for text in recipe.interactions]
        self._products = [cross for cross in crosses if not cross.of(True)]
        mixed = [cross for cross in crosses if cross.of(True)]
        self._factors: list[list[int]] = [[] for _ in self._texts] + [cross.of(False) for cross in mixed]
        fixed = [*self._numeric, *(cross.text for cross in self._products)]
        self._namer: _Slots | _Buckets
        if recipe.n_features is None:
            self._namer = _Slots(where, self._numeric, fixed, self._texts, mixed, recipe.max_categories)
        else:
            self._namer = _Buckets(recipe.n_features, self._numeric, fixed, self._texts, mixed)
        self._dense = recipe.n_features is None and not self._texts
        self._counts = np.zeros(len(self._numeric))
        self._means = np.zeros(len(self._numeric))
        if recipe.missing == "mean" and len({*map(str, self._numeric)}) < len(self._numeric):
            raise InputError(
                f"{where}: two columns have one name as text, such as 1 and '1', and their means cannot be "
                "told apart; rename one"
            )
        if state is not None:
            self._counts[:] = [state["counts"][str(name)] for name in self._numeric]
            self._means[:] = [state["means"][str(name)] for name in self._numeric]

    @property
    def state(self) -> dict[str, dict[str, float]] | None:
        """What an encoder that goes on from here needs to know, as plain numbers; None: nothing."""
        if self._recipe.missing != "mean" or not self._numeric:
            return None
        names = [*map(str, self._numeric)]  # as JSON has them: those of a frame may be numbers
        return {
            "counts": dict(zip(names, self._counts.tolist(), strict=True)),
            "means": dict(zip(names, self._means.tolist(), strict=True)),
        }

    def _cross(self, text: str, kinds: Mapping[str, Kind]) -> _Cross:
        parts = []
        for name in text.split("*"):
            if name not in kinds:
                raise InputError(
                    f"{self._where}: the interaction {text!r} needs a column {name!r} to learn from; "
                    f"{nearest(name, kinds)}"
                )
            of_text = kinds[name] == "category"
            parts.append((of_text, (self._texts if of_text else self._numeric).index(name)))
        return _Cross(text, tuple(parts))

    def rows(
        self, columns: Mapping[str, Column], n: int, place: Callable[[int], str]
    ) -> tuple[NDArray[Any] | SparseRows, Sequence[Hashable]]:
        """Return the rows of a batch, and the names of their columns.

        Parameters
        ----------
        columns
            The columns, each with ``n`` values; those that are no features are not looked at.
        n
            Rows of the batch.
        place
            Names a row of the batch, for errors.

        Returns
        -------
        A matrix where all columns are numbers that have names, float32 if all are that; else `SparseRows`.
        The names of a later batch begin with those of an earlier one.

        Raises
        ------
        InputError
            A row cannot be had. With its number in ``row``, those before it can, by another call.
        """
        before = self._counts.copy(), self._means.copy()
        try:
            return self._rows(columns, n, place)
        except InputError:
            self._counts, self._means = before
            raise

    def _rows(
        self, columns: Mapping[str, Column], n: int, place: Callable[[int], str]
    ) -> tuple[NDArray[Any] | SparseRows, Sequence[Hashable]]:
        texts: list[Any] = [columns[name] for name in self._texts]
        if self._recipe.missing == "error":
            self._refuse_missing(columns, place)
        numbers = self._numbers(columns, n)
        if self._dense:
            return numbers, self._namer.names
        slots, values = self._namer.find(texts, n)
        for j, factors in enumerate(self._factors):
            for k in factors:
                values[:, j] *= numbers[:, k]
        return self._namer.join(numbers, slots, values), self._namer.names

    def _numbers(self, columns: Mapping[str, Column], n: int) -> NDArray[Any]:
        """Return the columns of numbers and their products, nothing missing, as a matrix."""
        arrays: list[Any] = [columns[name] for name in self._numeric]
        single = self._dense and all(array.dtype == np.float32 for array in arrays)
        k = len(arrays)
        matrix = np.empty((n, k + len(self._products)), dtype=np.float32 if single else np.float64)
        for j, array in enumerate(arrays):
            matrix[:, j] = array
        if self._recipe.missing == "zero":
            matrix[np.isnan(matrix)] = 0.0
        elif self._recipe.missing == "mean":
            hashing.fill_means(matrix, self._counts, self._means)
        for j, cross in enumerate(self._products):
            matrix[:, k + j] = np.prod(matrix[:, cross.of(False)], axis=1, dtype=np.float64)
        return matrix

    def _refuse_missing(self, columns: Mapping[str, Column], place: Callable[[int], str]) -> None:
        """Raise for the first row that lacks a value."""
        found: list[tuple[int, str]] = []
        for name in (*self._numeric, *self._texts):
            column = columns[name]
            if isinstance(column, Codes):
                bad = column.codes < 0
            elif column.dtype.kind == "f":
                bad = np.isnan(column)
            else:
                continue
            if bad.any():
                found.append((int(np.argmax(bad)), name))
        if found:
            row, name = min(found, key=lambda item: item[0])
            error = InputError(
                f"{place(row)}: column {name!r} is null or NaN; fill it in, or read missing values as zero "
                "(missing='zero', --missing zero) or as the mean so far (missing='mean', --missing mean)"
            )
            error.row = row
            raise error


# -- names -------------------------------------------------------------------------------------

_NONE = np.empty(0, dtype=np.int64)


def _longer(table: Words, n: int) -> Words:
    """Return a table with entries for codes up to ``n``, new ones -1, and at its end -1 for code -1."""
    if n < len(table):
        return table
    longer = np.full(max(n + 1, 2 * len(table)), -1, dtype=np.int64)
    longer[: len(table)] = table
    return longer


class _Slots:
    """A column for each name, in the order in which they turn up, row by row.

    Parameters
    ----------
    numeric
        Names of the columns of numbers.
    fixed
        Names of the features that every row has.
    texts
        Names of the columns of categories.
    crosses
        The interactions that have categories.
    most
        Names allowed: a column of identifiers would otherwise fill the memory.
    """

    def __init__(
        self,
        where: str,
        numeric: Sequence[str],
        fixed: Sequence[str],
        texts: Sequence[str],
        crosses: Sequence[_Cross],
        most: int,
    ) -> None:
        self._where = where
        self._numeric, self._texts, self._crosses = numeric, texts, crosses
        self._most = most
        self._owners: dict[str, int] = {}  # by name: the feature that made it, -1 for those of `fixed`
        self._listed: list[Hashable] = []
        for name in fixed:
            self._enter(name, -1)
        self._vocabularies = [_Vocabulary() for _ in texts]
        self._folds = [[hashing.Numbering() for _ in cross.of(True)[1:]] for cross in crosses]
        # by feature, a column of categories or an interaction: the slot of each of its numbers
        self._slots = [_longer(_NONE, 0)] * (len(texts) + len(crosses))

    @property
    def names(self) -> Prefix:
        """Every name so far."""
        return Prefix(self._listed)

    def find(self, columns: Sequence[Codes], n: int) -> tuple[Words, NDArray[np.float64]]:
        """Return the slots of each row's categories and interactions, and their values."""
        ids = np.empty((n, len(self._slots)), dtype=np.int64)
        news: list[Words] = []  # by feature, the rows that have a new one
        for f, (vocabulary, column) in enumerate(zip(self._vocabularies, columns, strict=True)):
            ids[:, f], rows = vocabulary.read(column)
            news.append(rows)
        for f, (cross, folds) in enumerate(zip(self._crosses, self._folds, strict=True), len(self._texts)):
            first, *others = cross.of(True)
            ids[:, f], rows = ids[:, first], news[first]
            for fold, other in zip(folds, others, strict=True):
                left, right = ids[:, f], ids[:, other]
                keys = np.where((left < 0) | (right < 0), -1, (left << 32) | right)
                ids[:, f], rows = fold.number(keys)
            news.append(rows)
        self._name(news, ids, columns)
        slots = np.empty_like(ids)
        for f, by_number in enumerate(self._slots):
            slots[:, f] = np.take(by_number, ids[:, f])
        return slots, np.ones(slots.shape)

    def _name(self, news: Sequence[Words], ids: Words, columns: Sequence[Codes]) -> None:
        """Give slots to the features that are new in some rows."""
        names: list[list[str]] = []
        for f, rows in enumerate(news):
            parts = self._crosses[f - len(self._texts)].parts if f >= len(self._texts) else ((True, f),)
            named = [
                _named(self._texts[k], columns[k], rows) if text else itertools.repeat(self._numeric[k])
                for text, k in parts
            ]
            names.append(list(map("*".join, zip(*named, strict=False))) if len(rows) else [])
        order = sorted((row, f, k) for f, rows in enumerate(news) for k, row in enumerate(rows.tolist()))
        slots: list[list[int]] = [[] for _ in news]
        try:
            for row, f, k in order:  # noqa: B007  the error has it
                slots[f].append(self._enter(names[f][k], f))
        except InputError as error:
            error.row = row
            raise
        finally:
            for f, rows in enumerate(news):
                if len(rows):
                    numbers = ids[rows, f]  # they follow each other
                    table = self._slots[f] = _longer(self._slots[f], int(numbers[-1]) + 1)
                    table[numbers[: len(slots[f])]] = slots[f]

    def join(self, numbers: NDArray[Any], slots: Words, values: NDArray[np.float64]) -> SparseRows:
        """Put rows together."""
        data, indices, starts = hashing.join_rows(numbers, slots, values, _NONE, 0)
        return SparseRows(data, indices, starts, len(self._owners))

    def _enter(self, name: str, feature: int) -> int:
        """Give a new name the next slot."""
        slot = len(self._owners)
        if slot >= self._most:
            raise self._too_many(name, feature)
        if name in self._owners:
            twins = f"{self._described(name, feature)} and {self._described(name, self._owners[name])}"
            raise InputError(
                f"{self._where}: {twins} would both be the feature {name!r}; rename one of the columns"
            )
        self._owners[name] = feature
        self._listed.append(name)
        return slot

    def _described(self, name: str, feature: int) -> str:
        if feature < 0:
            return f"column {name!r}"
        if feature < len(self._texts):
            column = self._texts[feature]
            return f"{name.removeprefix(f'{column}=')!r} in column {column!r}"
        return f"the interaction {self._crosses[feature - len(self._texts)].text!r}"

    def _too_many(self, name: str, feature: int) -> InputError:
        head = f"{self._where}: more than {self._most:,} columns and categories"
        if feature < 0:
            return InputError(f"{head} (now {name!r}); raise max_categories")
        n = sum(owner == feature for owner in self._owners.values())
        if feature < len(self._texts):
            column = self._texts[feature]
            value = name.removeprefix(f"{column}=")
            where = (
                f"in column {column!r} (now {value!r}); leave that column out (drop=[{column!r}], "
                f"--drop {column})"
            )
        else:
            cross = self._crosses[feature - len(self._texts)]
            where = f"of the interaction {cross.text!r} (now {name!r}); leave it out"
        return InputError(
            f"{head}, {n:,} of them {where}, hash the features (n_features=2**20), or raise max_categories"
        )


def _named(name: str, column: Codes, rows: Words) -> list[str]:
    """Return the names of a column's values in some rows."""
    codes, values = column
    return [f"{name}={values[code]}" for code in codes[rows].tolist()]


class _Vocabulary:
    """Numbers 0, 1, 2 ... for the values of a column, in the order in which they turn up."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._values: Sequence[str] = ()
        self._table = _NONE  # number by code

    def read(self, column: Codes) -> tuple[Words, Words]:
        """Return the number of each row's value, -1 if it has none, and the rows where new values stand."""
        codes, values = column
        if values is not self._values:
            self._values, self._table = values, _NONE
        self._table = _longer(self._table, len(values))
        rows = hashing.first_seen(codes, self._table)
        numbers = self._numbers
        new = []
        for row, code in zip(rows.tolist(), codes[rows].tolist(), strict=True):
            value, known = values[code], len(numbers)
            self._table[code] = number = numbers.setdefault(value, known)
            if number == known:
                new.append(row)
        return np.take(self._table, codes), np.array(new, dtype=np.int64)


class _Buckets:
    """A column for each bucket that a name is hashed into, in the order in which they turn up."""

    def __init__(
        self,
        n_features: int,
        numeric: Sequence[str],
        fixed: Sequence[str],
        texts: Sequence[str],
        crosses: Sequence[_Cross],
    ) -> None:
        self._n_features = n_features
        self._texts = texts
        self._parts = [
            *([(True, k)] for k in range(len(texts))),
            *(cross.parts for cross in crosses),
        ]
        self._names = hashing.Texts(map(str, numeric))
        self._values: list[Sequence[str]] = [()] * len(texts)
        self._tables = [_NONE] * len(texts)  # number of the name, by code
        self._numbering = hashing.Numbering()
        self._buckets: list[Hashable] = []
        hashes = np.array([hashing.hash_of(str(name)) for name in fixed], dtype=np.int64)
        self._signs = np.where(hashes < 0, -1.0, 1.0)
        self._fixed = self._numbered(np.abs(hashes) % n_features).tolist()
        self._n_fixed = len(self._buckets)
        self._last = _NONE
        self._base = 0

    @property
    def names(self) -> Prefix:
        """Every bucket so far."""
        return Prefix(self._buckets)

    def _numbered(self, buckets: Words) -> Words:
        numbers, new = self._numbering.number(buckets)
        self._buckets += buckets[new].tolist()
        return numbers

    def find(self, columns: Sequence[Codes], n: int) -> tuple[Words, NDArray[np.float64]]:
        """Return the columns of each row's categories and interactions, and their values."""
        if any(column.values is not values for column, values in zip(columns, self._values, strict=True)):
            self._names.forget()
            self._values = [column.values for column in columns]
            self._tables = [_NONE] * len(columns)
        ids = [self._read(k, column) for k, column in enumerate(columns)]
        hashes = np.empty((n, len(self._parts)), dtype=np.int64)
        present = np.empty(hashes.shape, dtype=np.bool_)
        for f, parts in enumerate(self._parts):
            if len(parts) == 1:
                hashes[:, f] = np.take(self._names.hashes, ids[f])
                present[:, f] = ids[f] >= 0
            else:
                whole = np.empty((n, len(parts)), dtype=np.int64)
                for j, (of_text, k) in enumerate(parts):
                    whole[:, j] = ids[k] if of_text else k
                hashes[:, f], present[:, f] = self._names.joined(whole)
        buckets = np.abs(hashes) % self._n_features
        buckets[~present] = -1
        return self._numbered(buckets.ravel()).reshape(buckets.shape), np.where(hashes < 0, -1.0, 1.0)

    def _read(self, k: int, column: Codes) -> Words:
        """Return the number of each row's name, -1 if it has none."""
        codes, values = column
        table = self._tables[k] = _longer(self._tables[k], len(values))
        new = codes[hashing.first_seen(codes, table)]
        if len(new):
            first = self._names.add(f"{self._texts[k]}={values[code]}" for code in new.tolist())
            table[new] = np.arange(first, first + len(new))
        return np.take(table, codes)

    def join(self, numbers: NDArray[Any], slots: Words, values: NDArray[np.float64]) -> SparseRows:
        """Put rows together; what falls into one bucket is added up."""
        self._last = _longer(self._last, len(self._buckets))
        first = np.zeros((len(numbers), self._n_fixed))
        for j, column in enumerate(self._fixed):
            first[:, column] += self._signs[j] * numbers[:, j]
        data, indices, starts = hashing.join_rows(first, slots, values, self._last, self._base)
        self._base += len(data)
        return SparseRows(data, indices, starts, len(self._buckets))
