"""Columns of a table: which are read, what each is, and the slots of categories found on the way."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .._rows import SparseRows
from ._batch import InputError, Kind


def nearest(name: str, names: Iterable[str]) -> str:
    """Return a hint that names the most similar of ``names``, or lists some of them."""
    names = list(names)
    found = difflib.get_close_matches(name, names, n=1, cutoff=0.7)
    if not found:
        folded = {n.casefold(): n for n in names}
        found = [folded[f] for f in difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.7)]
    if found:
        return f"did you mean {found[0]!r}?"
    listed = ", ".join(map(repr, names[:12])) + (", ..." if len(names) > 12 else "")
    return f"it has {listed}"


def select(
    where: str,
    names: Sequence[str],
    target: str | None,
    drop: Collection[str],
    columns: Collection[str] | None,
) -> list[str]:
    """Return the columns to learn from, in the order of the table, after checking every name."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"{where}: two columns are named {name!r}; rename one")
        seen.add(name)
    asked = [*([] if target is None else [target]), *drop, *(columns or ())]
    for name in asked:
        if name not in seen:
            raise InputError(f"{where}: no column {name!r}; {nearest(name, names)}")
    if target is not None and target in drop:
        raise InputError(f"{where}: column {target!r} is the target and cannot be left out as well")
    chosen = [n for n in names if n != target and n not in drop and (columns is None or n in columns)]
    if not chosen:
        raise InputError(f"{where}: no columns left to learn from besides the target {target!r}")
    return chosen


class Categories:
    """Slots of "column=value" names, given out in the order in which values turn up.

    Parameters
    ----------
    numeric
        Names of the columns that take the first slots.
    categorical
        Names of the columns whose values will come.
    most
        Slots allowed in all: a column of identifiers would otherwise fill the memory.
    """

    def __init__(self, where: str, numeric: Sequence[str], categorical: Sequence[str], most: int) -> None:
        self._where = where
        self._names = list(numeric)
        self._numeric = frozenset(numeric)
        # Two columns can make the same name only if one's own begins with the other's and "=".
        self._rivals = {
            c: [d for d in categorical if c.startswith(f"{d}=") or d.startswith(f"{c}=")] for c in categorical
        }
        self._slots: dict[str, dict[str, int]] = {}
        self._most = most
        self._frozen: tuple[str, ...] = tuple(self._names)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name so far."""
        if len(self._frozen) != len(self._names):
            self._frozen = tuple(self._names)
        return self._frozen

    def slot(self, column: str, value: str) -> int:
        """Return the slot of a value of a column, a new one at its first sight."""
        slots = self._slots.setdefault(column, {})
        found = slots.get(value)
        if found is None:
            if len(self._names) >= self._most:
                raise InputError(
                    f"{self._where}: more than {self._most:,} columns and categories, {len(slots):,} of them "
                    f"in column {column!r} (now {value!r}); leave that column out (drop=[{column!r}], "
                    f"--drop {column}), or raise max_categories"
                )
            self._refuse_twin(column, value)
            found = slots[value] = len(self._names)
            self._names.append(f"{column}={value}")
        return found

    def _refuse_twin(self, column: str, value: str) -> None:
        """Raise when another column already has the name that a value makes."""
        name = f"{column}={value}"
        twins = [f"column {name!r}"] if name in self._numeric else []
        for rival in self._rivals[column]:
            other = name.removeprefix(f"{rival}=")
            if other != name and other in self._slots.get(rival, ()):
                twins.append(f"{other!r} in column {rival!r}")
        if twins:
            raise InputError(
                f"{self._where}: {value!r} in column {column!r} and {twins[0]} would both be the feature "
                f"{name!r}; rename one of the columns"
            )


def one_hot(numbers: NDArray[np.float64], active: Sequence[NDArray[np.int64]], n_columns: int) -> SparseRows:
    """Join numeric columns and the active slot of each categorical one (-1: none) into rows."""
    n, k = numbers.shape
    indices = np.empty((n, k + len(active)), dtype=np.int64)
    data = np.ones(indices.shape)
    indices[:, :k] = np.arange(k)
    data[:, :k] = numbers
    for j, slots in enumerate(active):
        indices[:, k + j] = slots
    present = indices >= 0
    indptr = np.zeros(n + 1, dtype=np.int64)
    np.cumsum(present.sum(axis=1), out=indptr[1:])
    if indptr[-1] == indices.size:
        return SparseRows(data.ravel(), indices.ravel(), indptr, n_columns)
    return SparseRows(data[present], indices[present], indptr, n_columns)


def check_kinds(where: str, names: Sequence[str], kinds: Mapping[str, Kind] | None) -> dict[str, Kind]:
    """Return the kinds that the caller insists on, for columns that exist."""
    given = dict(kinds or {})
    for name, kind in given.items():
        if kind not in ("number", "boolean", "category"):
            raise ValueError(f"kinds[{name!r}]={kind!r}: a column is 'number', 'boolean' or 'category'")
    return {name: kind for name, kind in given.items() if name in set(names)}
