"""Reservoirs of a stream's classes: rows as users have them on one side, a sampler's arrays on the other."""

from __future__ import annotations

import copy
import reprlib
import struct
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .._errors import InvalidRow, InvalidType, InvalidValue, feature
from .._jit import LIMIT
from .._rows import Floats, Prefix, Rows, SparseRows, Words
from .._targets import plain_label
from ..kernels import resample as kernel
from ..kernels import reservoirs
from ..kernels.draws import seeded
from ..kernels.resample import Made, State, made_room, state_room

LARGEST: Final = 1 << 31  # bytes of all rows that may come to be stored
FEWEST: Final = 6  # rows that a class has before any is made of them
MOST_LISTED: Final = 32  # neighbours of a row that are remembered
MOST_TEXTS: Final = 100_000  # of one feature
_LANES: Final = 8  # columns come in multiples of this
_AT_ONCE: Final = 1 << 21  # values written before a learner has them, where reservoirs are smaller

Sample = tuple[dict[Hashable, Any], Any]


class Reservoirs:
    """What a stream's classes keep, and the rows made of it.

    Parameters
    ----------
    kind, reservoir
        Names among `kernel.KINDS` and `reservoirs.SCHEMES`.
    ratio
        Wanted share of the largest class: of all others, or by label.
    categorical
        Features whose numbers are codes.

    The rest are those of `ReservoirSMOTE`.
    """

    def __init__(
        self,
        kind: str,
        reservoir: str,
        ratio: float | Mapping[Any, float],
        k_neighbors: int,
        m_neighbors: int,
        capacity: int,
        most: int,
        half_life: float,
        standardise: bool,
        categorical: Sequence[Hashable],
        seed: int | None,
    ) -> None:
        self._ratio = ratio
        self._capacity = capacity
        self._categorical = frozenset(categorical)
        self._codes: dict[Any, int] = {}
        self._names: list[Hashable] = []
        self._columns: dict[Hashable, int] = {}
        self._texts: dict[int, dict[str, float]] = {}  # codes of texts, by column; 0: the feature is absent
        self._spelled: dict[int, list[str]] = {}  # texts by code, less 1
        words = np.zeros(kernel.N_WORDS, dtype=np.int64)
        words[kernel.KIND] = kernel.KINDS[kind]
        words[kernel.SCHEME] = reservoirs.SCHEMES[reservoir]
        words[kernel.NEIGHBOURS] = k_neighbors
        words[kernel.AROUND] = k_neighbors if kind == "adasyn" else m_neighbors
        words[kernel.MOST] = most
        words[kernel.FEWEST] = min(k_neighbors + 1, FEWEST, capacity)
        words[kernel.STANDARDISES] = standardise
        fading = np.array([2.0 ** (-1.0 / half_life) if half_life else 1.0, half_life])
        near = max(k_neighbors, m_neighbors)
        # Not where distances change all the time, nor to no end.
        listed = (
            0
            if standardise or kind in ("replay", "borderline2") or k_neighbors > MOST_LISTED
            else k_neighbors
        )
        self._state = State(words, fading, seeded(seed), *state_room(capacity, near, listed))
        self._made = made_room(most, 0)

    def copy(self) -> Reservoirs:
        """Return reservoirs that go on as these would, without these being changed.

        As `copy.deepcopy`, which takes five times as long where reservoirs are small.
        """
        other = copy.copy(self)
        other._codes, other._columns, other._names = (
            self._codes.copy(),
            self._columns.copy(),
            self._names.copy(),
        )
        other._texts = {column: codes.copy() for column, codes in self._texts.items()}
        other._spelled = {column: texts.copy() for column, texts in self._spelled.items()}
        other._state = State._make(array.copy() for array in self._state)
        other._made = Made._make(array.copy() for array in self._made)
        return other

    @property
    def names(self) -> Sequence[Hashable]:
        """The features that are known, by column."""
        return Prefix(self._names)

    @property
    def counts(self) -> dict[Any, float]:
        """Real samples by label, faded; of labels that have some."""
        counts = zip(self._codes, self._state.counts[kernel.REAL].tolist(), strict=False)
        return {label: n for label, n in counts if n > 0.0}

    def is_new(self, label: Any) -> bool:
        """Tell whether a class has not been seen."""
        return label.__hash__ is None or label not in self._codes

    @property
    def now(self) -> int:
        """How many samples have arrived."""
        return int(self._state.words[kernel.NOW])

    def stored(self, label: Any) -> list[dict[Hashable, Any]]:
        """Return what is stored of a class, by slot."""
        if label not in self._codes:
            return []
        self._grow_if_names_are_new()
        state, c, d = self._state, self._codes[label], len(self._names)
        n = int(state.slots[c, reservoirs.FILLED])
        pairs = zip(state.rows[c, :n, :d], state.present[c, :n, :d], strict=True)
        return [self._as_dict(values, present) for values, present in pairs]

    # -- room ----------------------------------------------------------------------------------

    def _grow(self, n_classes: int = 0, n_rows: int = 0) -> None:
        """Make room for so many classes and rows of each, and for the features that are known."""
        old, d = self._state, len(self._names)
        classes, rows, width = old.rows.shape
        if d > width:
            width = -(-max(d, width + width // 4) // _LANES) * _LANES
        if n_classes > classes:
            classes = max(n_classes, classes + classes // 2)
        rows = min(max(n_rows, rows), self._capacity)
        near, listed = old.near.shape[1], old.listed.shape[2]
        size = classes * self._capacity * (9 * width + 16 * listed)
        if size > LARGEST:
            self._forget_names(self._made.rows.shape[1])
            raise MemoryError(
                f"{classes} classes of up to {self._capacity} rows with {d} features take "
                f"{size / 1e9:.1f} GB, above the bound of {LARGEST / 1e9:.1f} GB: take a smaller capacity, "
                "hash the features (preprocessing.FeatureEncoder(n_features=...)), or weigh classes instead "
                "(OnlineClassWeight)"
            )
        room = state_room(self._capacity, near, listed, classes, rows, width)
        new = State(old.words, old.fading, old.rng, *room)
        for before, after in zip(old[3:-2], new[3:-2], strict=True):
            after[tuple(map(slice, before.shape))] = before
        nominal = {self._columns[name] for name in self._categorical & self._columns.keys()}
        codes = np.array(sorted(nominal | self._texts.keys()), dtype=np.int64)
        new.scales[codes] = 0.0
        new.penalty[:] = np.nan
        if len(codes) > len(old.nominal):
            new.known[:] = new.counts[kernel.LISTED] = 0
        self._state = new._replace(nominal=codes, numeric=np.setdiff1d(np.arange(d), codes))
        if d != self._made.rows.shape[1]:
            self._made = made_room(len(self._made.made), d)

    def _grow_if_names_are_new(self) -> None:
        if len(self._names) != self._made.rows.shape[1]:
            self._grow()

    def _code(self, label: Any) -> int:
        """Return the number of a class, with room for it."""
        code = self._codes.get(label)
        if code is None:
            label = plain_label(label)
            code = len(self._codes)
            if code >= len(self._state.rows):
                self._grow(n_classes=code + 1)
            self._codes[label] = code
            wanted = self._ratio.get(label, 0.0) if isinstance(self._ratio, Mapping) else self._ratio
            self._state.counts[kernel.RATIO, code] = wanted
        return code

    def _column(self, name: Hashable) -> int:
        """Return the column of a feature; of a new one, room is still to be made."""
        column = self._columns.setdefault(name, len(self._names))
        if column == len(self._names):
            self._names.append(name)
        return column

    def _forget_names(self, n: int) -> None:
        """Forget the features from column n on, which there is no room for."""
        for name in self._names[n:]:
            column = self._columns.pop(name)
            self._texts.pop(column, None)
            self._spelled.pop(column, None)
        del self._names[n:]

    def _more_rows(self) -> None:
        self._grow(n_rows=max(64, 2 * self._state.rows.shape[1]))

    # -- dicts ---------------------------------------------------------------------------------

    def arrive(self, x: Mapping[Hashable, Any], y: Any, w: float, lenient: bool) -> Iterator[Sample]:
        """Take in a sample that was learned; return those made on its arrival.

        Parameters
        ----------
        x, y, w
            The sample and its weight.
        lenient
            Whether None and NaN are features that are absent; else such a sample is not taken in.
        """
        if not 0.0 < w <= LIMIT:
            return iter(())
        code = self._codes.get(y)
        if (code is None or not self._pack(x)) and not self._read(x, lenient):
            return iter(())
        if code is None:
            code = self._code(y)
        n = self._arrive(code, w)
        if n == kernel.BAD and lenient and self._read(x, lenient):
            n = self._arrive(code, w)
        if n == kernel.FULL:
            self._more_rows()
            n = self._arrive(code, w)
        return self._samples(n) if n > 0 else iter(())

    def _arrive(self, code: int, w: float) -> int:
        """Take in the row that was written; return how many were made, or what stood in the way."""
        done: int = kernel.arrive(self._state, code, float(w), self._made)
        return done

    def _pack(self, x: Mapping[Hashable, Any]) -> bool:
        """Write numbers to the arriving row, if they are of all features in their order."""
        if self._texts or list(x) != self._names:
            return False
        try:
            struct.pack_into(f"{len(x)}d", self._state.row.data, 0, *x.values())
        except (struct.error, TypeError, ValueError, OverflowError):
            return False  # for a closer look
        self._state.there[: len(x)] = True
        return True

    def _read(self, x: Mapping[Hashable, Any], lenient: bool) -> bool:
        """Write any features to the arriving row; tell whether all of them are fair."""
        values: dict[Hashable, float] = {}
        for name, value in x.items():
            if type(value) is float and abs(value) <= LIMIT:
                values[name] = value
            elif isinstance(value, str):
                values[name] = self._text(name, value)
                continue
            elif not lenient or not (value is None or value != value):
                try:
                    values[name] = feature(value, name)
                except InvalidValue:
                    return False
            if self._texts and self._columns.get(name) in self._texts:
                raise self._mixed(name, value)
        columns = [self._column(name) for name in values]
        self._grow_if_names_are_new()
        row, there = self._state.row, self._state.there
        row[:] = 0.0
        there[:] = False
        row[columns] = list(values.values())
        there[columns] = True
        return True

    def _text(self, name: Hashable, text: str) -> float:
        """Return the code of a text, which makes its feature a categorical one."""
        column = self._columns.get(name)
        if column is None:
            column = self._column(name)
            self._texts[column], self._spelled[column] = {}, []
        elif column not in self._texts:
            raise self._mixed(name, text)
        codes, spelled = self._texts[column], self._spelled[column]
        if text not in codes:
            if len(spelled) == MOST_TEXTS:
                raise InvalidValue(
                    f"feature {name!r} has had {MOST_TEXTS} texts and now {reprlib.repr(text)}: leave it "
                    "out, or hash the features with preprocessing.FeatureEncoder(n_features=...)"
                )
            spelled.append(text)
            codes[text] = float(len(spelled))
        return codes[text]

    @staticmethod
    def _mixed(name: Hashable, value: Any) -> InvalidType:
        before = "a number" if isinstance(value, str) else "a text"
        return InvalidType(
            f"feature {name!r} is {reprlib.repr(value)}, and was {before} before: encode it first with "
            "preprocessing.FeatureEncoder"
        )

    def _samples(self, n: int) -> Iterator[Sample]:
        """Return the rows made on one arrival."""
        made, labels = self._made, list(self._codes)
        for i in range(n):
            present = None if made.whole[i] else made.present[i]
            yield self._as_dict(made.rows[i], present), labels[made.codes[i]]

    def _as_dict(self, row: Floats, present: NDArray[np.bool_] | None) -> dict[Hashable, Any]:
        values: list[Any] = row.tolist()
        if present is None and not self._texts:
            return dict(zip(self._names, values, strict=True))
        is_in = [True] * len(values) if present is None else present.tolist()
        for column, spelled in self._spelled.items():
            code = int(values[column])
            is_in[column] = code > 0
            values[column] = spelled[code - 1]
        return {name: v for name, v, there in zip(self._names, values, is_in, strict=True) if there}

    # -- rows of arrays ------------------------------------------------------------------------

    def columns_of(self, names: Sequence[Hashable]) -> Words:
        """Return the columns of features, with room for new ones."""
        columns: list[Any] = list(map(self._columns.get, names))
        if None in columns:
            columns = [self._column(name) for name in names]
        self._grow_if_names_are_new()
        return np.array(columns, dtype=np.int64)

    def codes_of(self, labels: NDArray[Any], w: Floats) -> Words:
        """Return the numbers of labels ``(n,)``; -1 of those that are none, or stand on rows of no weight."""
        counted = np.broadcast_to(w > 0.0, len(labels))
        codes = np.full(len(labels), -1)
        if labels.dtype.kind in "biufUS":  # found in the order of their first rows
            kinds, first, which = np.unique(labels[counted], return_index=True, return_inverse=True)
            numbers = np.empty(len(kinds), dtype=np.int64)
            for k in np.argsort(first).tolist():
                numbers[k] = self._code_or_none(kinds[k])
            codes[counted] = numbers[which]
        else:
            codes[counted] = [self._code_or_none(label) for label in labels[counted].tolist()]
        return codes

    def _code_or_none(self, label: Any) -> int:
        try:
            return self._code(label)
        except (InvalidRow, TypeError):  # TypeError: not hashable
            return -1

    def labels_like(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Return the labels by their numbers, of the type of an array of labels where that holds them."""
        known = list(self._codes)
        array = np.empty(len(known), dtype=object)
        array[:] = known
        alike = np.array(known) if known else labels[:0]
        if alike.dtype.kind == labels.dtype.kind or (
            alike.dtype.kind in "biu" and labels.dtype.kind in "biuf"
        ):
            same = alike.astype(labels.dtype)
            if same.tolist() == known:
                return same
        return array

    def take(
        self, rows: Rows, columns: Words, codes: Words, w: Floats, start: int, stop: int
    ) -> tuple[int, Made]:
        """Take in rows from ``start`` on, at most up to ``stop``.

        Returns
        -------
        The row to go on with; and the rows taken in, each followed by those made on its arrival.
        """
        most = int(self._state.words[kernel.MOST])
        made = made_room(min(self.at_once, (stop - start) * (most + 1)), len(self._names))
        width = rows.n_columns if rows.values.ndim == 2 else -1
        given = [rows.values.reshape(-1), rows.index.view(), rows.starts.view(), w.view()]
        for array in given:
            array.flags.writeable = False  # as those of a user may be: one kernel serves all
        values, index, starts, weights = given
        written, full = 0, True
        while full:
            rest = Made._make(array[written:] for array in made)
            start, full, n = kernel.arrive_all(
                self._state, values, index, starts, width, columns, codes[:stop], weights, start, rest
            )
            written += n
            if full:
                self._more_rows()
        return start, Made._make(array[:written] for array in made)

    @property
    def at_once(self) -> int:
        """Rows that a learner is given at once; as many as are stored, since a copy may be kept meanwhile."""
        state, d = self._state, max(1, len(self._names))
        return max(int(state.words[kernel.MOST]) + 1, _AT_ONCE // d, state.rows.size // d)

    @staticmethod
    def table(made: Made) -> Any:
        """Return rows that were made as a matrix, or sparse where they lack features."""
        if made.whole.all():
            return made.rows
        _, columns = np.nonzero(made.present)
        ends = np.cumsum(made.present.sum(axis=1))
        return SparseRows(made.rows[made.present], columns, np.concatenate([[0], ends]), made.rows.shape[1])

    # -- drift ---------------------------------------------------------------------------------

    def forget(self, since: int | None) -> None:
        """Drop what arrived before a time; for None, the older half of each class."""
        s = self._state
        order = np.empty(self._capacity, dtype=np.int64)
        for c in range(len(self._codes)):
            n, arrived = int(s.slots[c, reservoirs.FILLED]), s.arrived[c]
            if n == 0:
                continue
            keep = arrived >= (np.median(arrived[:n]) if since is None else since)
            scheme = s.words[kernel.SCHEME]
            left = reservoirs.drop(scheme, s.slots[c], s.floats[c], s.keys[c], arrived, keep, order)
            kept = order[:left]
            s.rows[c, :left], s.present[c, :left] = s.rows[c, kept], s.present[c, kept]
            s.penalty[c] = np.nan
            s.known[c] = s.counts[kernel.LISTED, c] = 0
