"""The state of a fleet's members, as arrays with a row for each, and their passes over rows."""

from __future__ import annotations

import copy
import threading
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from streamgd import _features as f
from streamgd import _rows
from streamgd._errors import InvalidRow, InvalidValue
from streamgd._single import number
from streamgd._targets import Labels, Numbers
from streamgd.kernels import fleet as on_cpu
from streamgd.kernels.fleet import Outcome, State
from streamgd.kernels.pieces import SAMPLES, Pieces, T

from ._errors import require
from ._settings import Setting
from ._tables import Tables

if TYPE_CHECKING:
    from types import ModuleType

Floats = NDArray[Any]
Words = NDArray[np.int64]
Device = Literal["cpu", "cuda"]
Columns = Sequence[Hashable] | None

_DTYPES = {"cpu": ("float64", "float32"), "cuda": ("float32",)}  # the first is the default
_NO_WORDS = np.zeros(0, dtype=np.int64)
_SPREAD = 16  # a table of the keys from the least to the largest may have so many times the rows
_NO_WEIGHT = np.zeros(1)  # rows are predicted, and no more


class OnDevice(NamedTuple):
    """A matrix on the device as the host sees it: a row at a time, where a value in it is looked for."""

    array: Any
    ndim: int = 2

    def __getitem__(self, row: Any) -> Any:
        return self.array[row].copy_to_host()


class Keys(NamedTuple):
    """A column of keys: row i has ``distinct[codes[i]]``."""

    distinct: list[Hashable]
    codes: Words


class Members(ABC):
    """Many learners that differ in numbers only. Subclasses say which rows are whose."""

    def __init__(
        self, model: Any, settings: list[Setting], room: int, device: Device, dtype: Any, threads: int
    ) -> None:
        if type(threads) is not int or threads < 1:
            raise ValueError(f"threads={threads!r}: it must be an int of at least 1")
        self._device: Device = _known(device)
        self._dtype = np.dtype(dtype or _DTYPES[device][0])
        if self._dtype not in _DTYPES[device]:
            raise ValueError(
                f"dtype={dtype!r} on {device!r}: members compute in float32, or on the CPU in float64, the "
                "default there"
            )
        self.threads = threads
        self._model = model.clone()  # reads columns and labels for all members; it never learns
        self._settings = settings
        self._which = np.arange(room) % len(settings)
        self._counts = np.zeros((room, 2))  # updates and samples, exactly
        self._outcome = Outcome.of(room)  # of all passes together
        self._start(None)

    def _start(self, host: State | None) -> None:
        """Make what is never copied."""
        self._tables = Tables(self._model, self._settings)
        self._host = rows_of(self._fresh(0), self._which) if host is None else host
        self._held: Any = None  # the state where passes work on it; None: it is in `_host`
        self._reached = 0  # rows behind us of those that a call was given
        self._lock = threading.RLock()

    @abstractmethod
    def _outputs(self, n: int) -> Floats:
        """Return an array for the raw outputs of ``n`` rows."""

    @abstractmethod
    def _members_of(self, keys: Keys | None, learns: bool) -> Words | None:
        """Return the member of each row; None: all of them."""

    @abstractmethod
    def __len__(self) -> int: ...

    # -- state ---------------------------------------------------------------------------------

    @property
    def _pieces(self) -> Pieces:
        return self._settings[0].pieces

    @property
    def _module(self) -> ModuleType:
        """What makes passes."""
        if self._device == "cpu":
            return on_cpu
        require()
        from . import _fleet

        return _fleet

    def _fresh(self, begin: int, settings: Sequence[Setting] = ()) -> State:
        """Return the state of settings (all) before they learn, of features ``begin`` and up."""
        settings = settings or self._settings
        p, n = len(self._model._features), len(settings)
        slots = np.zeros((n, max(1, self._pieces.n_slots), p))
        weights = np.empty((n, p - begin))
        for s, setting in enumerate(settings):
            setting.rule.prepare(slots[s], begin)
            weights[s] = setting.initializer.values(begin, p)
        hyper: Any = [setting.hyper for setting in settings]
        if self._dtype == np.float32:
            hyper = [list(map(number, row)) for row in hyper]
        first = [setting.first for setting in settings]
        arrays = (hyper, weights, slots[:, :, begin:], np.zeros((n, p - begin)), first)
        with np.errstate(over="ignore"):
            return State(*(np.ascontiguousarray(array, dtype=self._dtype) for array in arrays))

    def _fetched(self) -> State:
        """Return the state as host arrays, to read or to change; the next pass takes it in again."""
        if self._held is not None:
            self._host, self._held = self._module.fetch(self._pieces, self._held), None
        return self._host

    @property
    def _width(self) -> int:
        """Features that there is state for."""
        return len(self._host.weights[0])

    def _widen(self) -> None:
        """Make room for features that were added."""
        begin = self._width
        if begin < len(self._model._features):
            state, new = self._fetched(), rows_of(self._fresh(begin), self._which)
            weights, slots, charged = (
                np.concatenate(pair, axis=-1) for pair in zip(state[1:4], new[1:4], strict=True)
            )
            self._host = State(state.hp, weights, slots, charged, state.scalars)

    def to(self, device: Device) -> Self:
        """Move to ``"cpu"`` or ``"cuda"``; return the fleet itself.

        Members that compute in float64 go over to float32 on CUDA, and stay with it.
        """
        with self._lock:
            state = self._fetched()
            self._device = _known(device)
            if device == "cuda" and self._dtype == np.float64:
                self._dtype = np.dtype(np.float32)
                hp = rows_of(self._fresh(0), self._which).hp
                with np.errstate(over="ignore"):
                    self._host = State(hp, *(array.astype(np.float32) for array in state[1:]))
        return self

    @property
    def device(self) -> str:
        """Where members learn: ``"cpu"`` or ``"cuda"``."""
        return self._device

    @property
    def dtype(self) -> np.dtype[Any]:
        """What members compute in."""
        return self._dtype

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            host = State(*(array.copy() for array in self._fetched()))
            outcome = Outcome._make(array.copy() for array in self._outcome)
            learned = {"_host": host, "_outcome": outcome, "_counts": self._counts.copy()}
            state = {k: v for k, v in self.__dict__.items() if k not in ("_held", "_tables", "_lock")}
            return state | learned | {"_model": copy.deepcopy(self._model)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start(self._host)

    def _learner(self, m: int) -> Any:
        """Return a member as an ordinary learner: a copy."""
        with self._lock:
            state = self._fetched()
            learner = self._model.clone(self._settings[self._which[m]].changes)
            learned = {f"_{name}": getattr(state, name)[m].astype(np.float64) for name in State._fields[1:]}
            learned["_scalars"][[T, SAMPLES]] = self._counts[m]
            shared = {"_features": list(self._model._features.names), "_targets": self._model._targets.copy()}
            own = {"n_invalid": int(self._outcome.skipped[m])}
            learner.__setstate__(learner.__getstate__() | learned | shared | own)
            return learner

    def _take_in(self, m: int, learner: Any) -> None:
        """Make a learner's state that of a member with the same setting."""
        given, model = learner.__getstate__(), self._model
        targets = _joined(model._targets, learner._targets)
        with self._lock:
            slots = np.array([model._features.add(name) for name in given["_features"]], dtype=np.int64)
            model._make_room()
            model._last_columns = None
            self._widen()
            model._commit_targets(targets)
            state, fresh = self._fetched(), self._fresh(0, [self._settings[self._which[m]]])
            for ours, new, name in zip(state, fresh, State._fields, strict=True):
                ours[m] = new[0]
                if name == "scalars":
                    ours[m] = given["_scalars"]
                elif name != "hp":
                    ours[m][..., slots] = given[f"_{name}"]
            self._counts[m] = given["_scalars"][[T, SAMPLES]]
            for ours, new in zip(self._outcome, Outcome.of(1), strict=True):
                ours[m] = new[0]
            self._outcome.skipped[m] = given["n_invalid"]

    # -- what has become of them ---------------------------------------------------------------

    @property
    def n_updates(self) -> Words:
        """Updates of each member ``(M,)``."""
        return self._counts[: len(self), 0].astype(np.int64)

    @property
    def n_samples(self) -> Words:
        """Samples that each member has learned from ``(M,)``: those of weight 0 are not."""
        return self._counts[: len(self), 1].astype(np.int64)

    @property
    def n_invalid(self) -> Words:
        """Rows that each member has skipped ``(M,)``, with ``on_invalid="skip"``."""
        return self._outcome.skipped[: len(self)].copy()

    @property
    def _has_failed(self) -> NDArray[np.bool_]:
        return self._outcome.stopped[: len(self)] >= 0

    @property
    def metrics(self) -> dict[str, NDArray[np.float64]]:
        """Means over the rows that each member has learned, of its outputs made before: by name ``(M,)``.

        ``"loss"``, of labels ``"accuracy"``, of numbers ``"mae"`` and ``"rmse"``. Sample weights do not
        count in them, but rows of weight 0 are left out. NaN for a member that has failed or learned nothing.
        """
        n = np.where(self._has_failed, 0, self._outcome.learned[: len(self)])
        return self._means(self._outcome.sums[: len(self)], n)

    def _means(self, sums: Any, n: Any) -> dict[str, Any]:
        with np.errstate(invalid="ignore", divide="ignore"):
            loss, first, second = np.where(n > 0, sums.T / n, np.nan)
        if self._pieces.loss.binary:
            return {"loss": loss, "accuracy": first}
        return {"loss": loss, "mae": first, "rmse": np.sqrt(second)}

    # -- rows ----------------------------------------------------------------------------------

    def _read(self, X: Any, columns: Columns) -> _rows.Rows:
        """Normalise rows; those of a matrix on the device stay there."""
        if self._device == "cuda" and _rows.is_device_array(X):
            from . import _arrays

            array = _arrays.device_rows(X)
            n, p = array.shape
            if columns is not None and len(columns) != p:
                raise ValueError(f"columns has {len(columns)} names, X has {p} columns")
            seen: Any = OnDevice(array)  # the matrix that it stands for
            return _rows.Rows(seen, _NO_WORDS, _NO_WORDS, n, p, columns, None)
        rows = _rows.rows(X, columns)
        if rows.values.ndim == 1:
            raise TypeError("these rows are compressed, and members read a matrix: give X.toarray()")
        return rows

    def _first_bad(self, values: Any, y: Floats, h: Floats) -> tuple[int, int]:
        if isinstance(values, OnDevice):
            return self._module.first_bad(values.array, y, h)  # type: ignore[no-any-return]
        return on_cpu.first_bad(values, y, h, self._dtype == np.float32)

    def _refused(
        self, status: int, row: int, rows: _rows.Rows, y: NDArray[Any], h: Floats, codes: Floats
    ) -> InvalidRow:
        """Say which value of a refused row was wrong."""
        values = np.asarray(rows.values[row], dtype=np.float64).reshape(1, -1)
        weight = h[row : row + 1] if len(h) > 1 else h
        if on_cpu.first_bad(values, codes[row : row + 1], weight, single=False)[1] == f.OK:
            return InvalidValue(
                "the values, the target or the weight are larger than 1e15 in size, and members compute in "
                "float32: scale them first, or say dtype='float64' on the CPU"
            ).at(row)
        error: InvalidRow = self._model._refused(status, row, rows, y, h)
        return error

    def _learn(
        self, X: Any, y: Any, w: Any, columns: Columns, keys: Any = None, *, outputs: bool
    ) -> Floats | None:
        """Let members learn: all of them each row, or each the rows with its key."""
        model = self._model
        rows = self._read(X, columns)
        targets = _rows.vector(_on_host(y), rows.n, "y")
        h = model._weights_of(_on_host(w), rows.n)
        named = None if keys is None else _keys(keys, rows.n)
        with self._lock:
            draft = model._targets.draft()
            codes, h = model._encode(draft, targets, rows, h)
            skip = model.on_invalid == "skip"
            n, status = (rows.n, f.OK) if skip else self._first_bad(rows.values, codes, h)
            z = self._outputs(n) if outputs else None
            self._reached = 0
            try:
                slots, _ = model._column_slots(rows)
                if n:
                    self._widen()
                    known = named and Keys(named.distinct, named.codes[:n])
                    members = self._members_of(known, learns=True)
                    self._pass(rows.values, n, slots, codes, h, members, skip, z)
            finally:
                if self._reached == rows.n:
                    model._commit_targets(draft)
                elif self._reached:
                    model._commit_targets_of(targets[: self._reached], rows, h)
                if len(model._features) > self._width:
                    model._forget_rows(self._width)
            if status != f.OK:
                error = self._refused(status, n, rows, targets, h, codes)
                error.outputs = z
                raise error
            if keys is None and n and self._has_failed.all():
                raise InvalidValue(
                    "no member learns any more: the raw outputs or gradients of all of them have become too "
                    "large, or not a number; lower the learning rates, or scale the features first"
                )
        return z

    def _learn_dict(self, x: Any, y: Any, w: Any, keys: Any = None) -> None:
        """Let members learn one sample, or skip it; an error says nothing of rows, as that of a learner."""
        target = np.empty(1, dtype=object)  # a label of whatever kind, as it is
        target[0] = y
        try:
            names, values = self._model._read(x)
            self._learn([values], target, w, names, keys, outputs=False)
        except InvalidRow as error:  # so bad that there was no pass, which would have skipped it
            if self._model.on_invalid == "raise":
                raise type(error)(str(error).removeprefix("row 0: ")) from None
            with self._lock:
                members = self._members_of(keys and _keys(keys, 1), learns=True)
                self._outcome.skipped[slice(None) if members is None else members] += 1

    def _raw(self, X: Any, columns: Columns, keys: Any = None) -> Floats:
        """Return raw outputs of rows; features that are not known are left out."""
        model = self._model
        rows = self._read(X, columns)
        named = None if keys is None else _keys(keys, rows.n)
        with self._lock:
            nothing = np.zeros(rows.n)
            row, status = self._first_bad(rows.values, nothing, _NO_WEIGHT)
            if status != f.OK and model.on_invalid == "raise":
                raise self._refused(status, row, rows, nothing, _NO_WEIGHT, nothing)
            names = model._column_names(rows)
            slots = model._slots_of(names, np.arange(len(names)))
            values: Any = rows.values
            if (slots < 0).any():
                if isinstance(values, OnDevice):
                    raise ValueError("X has unknown columns: on the device give those that were learned")
                values, slots = np.ascontiguousarray(values[:, slots >= 0]), slots[slots >= 0]
            z = self._outputs(rows.n)
            members = self._members_of(named, learns=False)
            self._pass(values, rows.n, slots, nothing, _NO_WEIGHT, members, True, z, learns=False)
        return z

    def _predictions(self, z: Floats) -> Any:
        """Return what raw outputs mean: labels, None where there is no output, or numbers."""
        targets = self._model._targets
        if not isinstance(targets, Labels):
            return z if not self._pieces.loss.overrides("mean") else None
        negative, positive = targets.pair
        both = [negative, negative if positive is None else positive]
        pair = np.array(both, dtype=None if type(both[0]) is type(both[1]) else object)
        labels = pair[(z > 0.0).astype(np.intp)]
        if np.isnan(z).any():
            labels = labels.astype(object)
            labels[np.isnan(z)] = None
        return labels

    # -- passes --------------------------------------------------------------------------------

    def _pass(
        self, values: Any, n: int, slots: Words, y: Floats, h: Floats, members: Words | None, skip: bool,
        z: Floats | None, *, learns: bool = True,
    ) -> None:  # fmt: skip
        """Go through the first ``n`` rows, in parts."""
        whole = len(slots) == self._width and bool((slots == np.arange(len(slots))).all())
        at_once = self._module.rows_at_once(1 if members is not None else len(self), max(1, len(slots)))
        size = min(at_once, self._tables.most_rows)
        if not whole and self._pieces.penalty.overrides("full"):
            size = 1  # for a pass that sees only some weights may not bring them up to date alone
        for begin in range(0, n, size):
            part = slice(begin, min(n, begin + size))
            self._part(values, part, None if whole else slots, y, h, members, skip, z, learns)

    def _part(
        self, values: Any, part: slice, slots: Words | None, y: Floats, h: Floats, members: Words | None,
        skip: bool, z: Floats | None, learns: bool,
    ) -> None:  # fmt: skip
        n = part.stop - part.start
        y, h = y[part], h[part] if len(h) > 1 else h
        if members is None:
            order, starts, of = None, _NO_WORDS, np.arange(len(self))
            lengths = np.full(len(of), n)
        else:
            order, starts, of = _grouped(members[part], len(self._counts))
            lengths = np.diff(starts)
            y, h = y[order], h[order] if len(h) > 1 else h
        with np.errstate(over="ignore"):  # what is too large is refused
            y, h = y.astype(self._dtype), h.astype(self._dtype)
            X = self._taken(values, part, order)
        outcome = Outcome.of(len(of))
        failed = self._outcome.stopped[of] >= 0
        if learns:
            outcome.stopped[failed] = 0
            clock = self._tables.clock(self._which[of], self._counts[of], lengths)
        else:
            clock = self._tables.standing(self._counts[of])
        made = z if z is None else z[part] if order is None else np.empty(n, dtype=self._dtype)
        held, places = self._seen(slots, of)
        try:
            if order is None:
                self._module.grid_pass(self._pieces, held, clock, X, y, h, skip, outcome, made, self.threads)
            else:
                self._module.keyed_pass(
                    self._pieces, held, clock, X, y, h, starts, places, skip, outcome, made, self.threads
                )
        finally:
            if learns:
                self._add(of, outcome, failed)
                self._reached = part.stop
                if slots is not None:
                    self._put_back(held, slots, of)
        if z is not None and order is not None:
            z[part][order] = made

    def _taken(self, values: Any, part: slice, order: Words | None) -> Any:
        """Return a part's rows as passes read them, sorted if they are to be."""
        if isinstance(values, OnDevice):
            from . import _gather

            array = values.array[part]
            return array if order is None else _gather.gathered(array, order)
        X = values[part]
        return np.ascontiguousarray(X if order is None else X[order], dtype=self._dtype)

    def _seen(self, slots: Words | None, of: Words) -> tuple[Any, Words]:
        """Return the state that a pass works on, and where the members stand in it."""
        if slots is None:
            if self._held is None:
                self._held = self._module.hold(self._pieces, self._host)
            return self._held, of
        state = self._fetched()
        if self._pieces.penalty.overrides("full"):
            on_cpu.fold(self._pieces, state, of)
        weights, held, charged = (array[of][..., slots] for array in state[1:4])
        seen = State(state.hp[of], weights, held, charged, state.scalars[of])
        return self._module.hold(self._pieces, seen), np.arange(len(of))

    def _put_back(self, held: Any, slots: Words, of: Words) -> None:
        """Write what a pass has made of a copy of some features' state to where it is from."""
        seen, host = self._module.fetch(self._pieces, held), self._host
        host.weights[np.ix_(of, slots)] = seen.weights
        host.slots[np.ix_(of, np.arange(seen.slots.shape[1]), slots)] = seen.slots
        host.charged[np.ix_(of, slots)] = seen.charged
        host.scalars[of] = seen.scalars

    def _add(self, of: Words, outcome: Outcome, failed: NDArray[np.bool_]) -> None:
        """Add up what a pass has done."""
        ours = self._outcome
        ours.stopped[of[~failed & (outcome.stopped >= 0)]] = 0
        ours.learned[of] += outcome.learned
        ours.skipped[of] += outcome.skipped
        ours.sums[of] += outcome.sums
        self._counts[of] += outcome.learned[:, np.newaxis]


def _known(device: Any) -> Device:
    if device == "cuda":
        require()
    elif device != "cpu":
        raise ValueError(f"device={device!r}: it is 'cpu' or 'cuda'")
    return device  # type: ignore[no-any-return]


def rows_of(state: State, which: Words) -> State:
    return State(*(array[which] for array in state))


def _on_host(column: Any) -> Any:
    """Return a column that lies on the device as one on the host, any other as it is."""
    if not _rows.is_device_array(column):
        return column
    from . import _arrays

    return _arrays.to_host(column)


def _keys(column: Any, n: int) -> Keys:
    """Return keys of ``n`` rows, numbered in the order of their appearance."""
    column = _on_host(column)
    keys = column if isinstance(column, list | tuple) else _rows.vector(column, n, "keys")
    if len(keys) != n:
        raise ValueError(f"keys has {len(keys)} values, X has {n} rows")
    if isinstance(keys, np.ndarray):
        if n and keys.dtype.kind == "i":
            low, high = int(keys.min()), int(keys.max())
            if high - low < _SPREAD * n:
                numbered: Any = on_cpu.numbered
                codes, distinct = numbered(keys.astype(np.int64), low, high - low + 1)
                return Keys(distinct.tolist(), codes)
        keys = keys.tolist()
    numbers = {key: k for k, key in enumerate(dict.fromkeys(keys))}
    for key in numbers:
        if is_missing(key):
            row = next(i for i, one in enumerate(keys) if one is key)
            raise ValueError(f"keys: row {row} has {key!r}, which is no key")
    return Keys(list(numbers), np.fromiter(map(numbers.__getitem__, keys), dtype=np.int64, count=n))


def is_missing(key: Hashable) -> bool:
    """Tell whether a key is None or not equal to itself: a new member in each call."""
    try:
        return key is None or bool(key != key)
    except TypeError:  # pandas.NA
        return True


def _grouped(members: Words, n: int) -> tuple[Words, Words, Words]:
    """Sort rows by member; see `kernels.fleet.grouped`. Of many members few may have rows."""
    grouped: Any = on_cpu.grouped
    if n <= 4 * len(members):
        order, starts, of = grouped(members, n)
    else:
        of, codes = np.unique(members, return_inverse=True)
        order, starts, _ = grouped(codes.reshape(-1), len(of))
    return order, starts, of


def _joined(ours: Labels | Numbers, others: Labels | Numbers) -> Labels | Numbers:
    """Return the labels of both, which may not contradict each other."""
    if not isinstance(ours, Labels):
        return ours
    pairs = list(zip(ours.known, others.known, strict=True))
    known = tuple(b if a is None else a for a, b in pairs)
    if any(None not in pair and pair[0] != pair[1] for pair in pairs) or (
        None not in known and known[0] == known[1]
    ):
        raise ValueError(
            f"the fleet's labels are {ours.known}, negative and positive, and the learner's {others.known}: "
            "members agree on them; say labels= when learners are made"
        )
    joined = ours.copy()
    joined.known = known
    return joined
