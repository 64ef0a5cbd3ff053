"""Gradients of many rows, added up by as many threads as wanted, and the step on their mean."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _features as f
from . import _rows
from ._errors import overflow
from ._single import number
from ._threads import share
from .kernels import class_weights
from .kernels.pieces import DOUBLE, INTERCEPT, SAMPLES, SINGLE, Precision, T

if TYPE_CHECKING:
    from ._learner import LinearLearner

Floats = NDArray[Any]  # float64, or what the precision says
Words = NDArray[np.int64]
State = tuple[Floats, Floats, Floats]  # weights, slots, what the penalty has charged
Answer = tuple[int, int, int, int]  # status, row where it stopped, rows that count, rows skipped

# Values in a block, on which a kernel works some 50 us: long beside a call, short beside a signal.
BLOCK = 1 << 17
FEWEST_ROWS, MOST_ROWS = 64, 4096  # of a block
# Compressed values for each thread: all of them look at all, so below this more threads are no faster.
SHARE = 1 << 19


def precision(dtype: Any) -> Precision:
    """Return what is meant by a dtype, None for float64."""
    known = {"float64": DOUBLE, "float32": SINGLE}
    name = "float64" if dtype is None else dtype if isinstance(dtype, str) else np.dtype(dtype).name
    if name not in known:
        raise ValueError(f'dtype={dtype!r}: steps are computed in "float64" or "float32"')
    return known[name]


@functools.lru_cache(64)
def _in_single(numbers: bytes) -> Floats:
    """Return hyper-parameters as rules in float32 see their constants."""
    return np.array([number(v) for v in np.frombuffer(numbers).tolist()], dtype=np.float32)


def block_rows(n_columns: int) -> int:
    """Rows of a matrix that are added up as a block, a power of two: `MOST_ROWS` are always whole blocks."""
    fair = 1 << max(1, BLOCK // max(1, n_columns)).bit_length() - 1
    return min(MOST_ROWS, max(FEWEST_ROWS, fair))


class Gradient:
    """The sum of many rows' gradients at a model's weights, and one step on their mean.

    Full-batch gradient descent over data of any size: `add` as often as there are parts, then `step`. The
    model learns in `step` and not before. It is made by a learner's ``accumulate()``, and can be used again
    after each step.

    Rows are added up in a fixed order, whatever the number of threads: those of a matrix in blocks (of
    `block_rows`, powers of two up to 4096), compressed ones singly. So parts, of a matrix if their sizes are
    multiples of the block, give the same as all rows at once, to the bit.

    With ``dtype="float32"`` rows, sums and the step are float32, as on a GPU: the state of the columns is
    rounded before it, and afterwards the model's arrays, float64 as ever, hold numbers that float32 has, so
    that the next step loses nothing. Counts of updates and of samples stay exact. Numbers above 1e15 are
    refused.

    Examples
    --------
    >>> from streamgd import linear_model
    >>> model = linear_model.LinearRegression()
    >>> gradient = model.accumulate()
    >>> for X, y in [([[1.0], [2.0]], [1.0, 3.0]), ([[3.0]], [5.0])]:
    ...     z = gradient.add(X, y)
    >>> gradient.step()
    >>> model.n_updates, model.n_samples
    (1, 3)
    """

    def __init__(self, model: LinearLearner, dtype: Any = None) -> None:
        rule = model.optimizer.rule
        if rule.per_sample:
            raise ValueError(
                f"{type(rule).__name__} is defined sample by sample: call learn_rows, or choose "
                "another optimizer for mini-batches"
            )
        self._model = model
        self._precision = precision(dtype)
        self._forget()

    def _forget(self) -> None:
        """Begin a new sum."""
        self._sums: Floats | None = None  # the intercept's, then each column's; classes are the last axis
        self._names: Sequence[Hashable] = []  # of the columns, in the order of their appearance
        self._slots: Words = np.zeros(0, dtype=np.int64)  # the model's of each, or those they will get
        self._same = True  # whether column k is slot k throughout
        self._n_new = 0  # features that the model does not know yet
        self._columns: tuple[Sequence[Hashable], Words] | None = (
            None  # of the last sparse rows, and their slots
        )
        self._targets = self._model._targets
        self._n_rows = self._n_skipped = 0
        self._losses: list[Floats] = []
        self._counted: tuple[Floats, Words, Floats] | None = None  # the class weight's counts with rows added
        self._y_name: Any = None

    @property
    def n_samples(self) -> int:
        """Rows added since the last step whose weight is not 0."""
        return self._n_rows

    # -- adding --------------------------------------------------------------------------------

    def add(
        self,
        X: Any,
        y: Any,
        w: Any = 1,
        *,
        columns: Sequence[Hashable] | None = None,
        threads: int = 1,
    ) -> Floats:
        """Add the gradients of rows, all of them or none.

        Parameters
        ----------
        X
            Rows ``(n, p)``, as for `predict_learn_rows`. All columns of all matrices take part in the step,
            new features too; of sparse rows those that any row has a value in, and new ones.
        y
            Targets ``(n,)``. New labels may turn up in any part.
        w
            One weight, or ``(n,)``. The mean is over the rows whose weight is not 0.
        columns
            Names of the columns of a bare array; by default 0 to p - 1.
        threads
            Threads to work with. The result is the same to the bit.

        Returns
        -------
        Raw outputs at the weights as they are, of the gradient's dtype: ``(n,)``, or ``(n, k)`` of the k
        labels that are known afterwards. NaN where a row was skipped (``on_invalid="skip"``).

        Raises
        ------
        ValueError, TypeError
            When a value is bad, with its row in the attribute ``row``; nothing was added.
        RuntimeError
            When the model has learned or changed since the first part was added.
        """
        with self._model._exclusive():
            self._check_model()
            return self._add(X, y, w, columns, threads)

    def _check_model(self) -> None:
        model = self._model
        if self._sums is None:
            self._seen = model._hp, model._scalars.copy()
        elif self._seen[0] is not model._hp or not np.array_equal(self._seen[1], self._known_scalars()):
            raise RuntimeError(
                "the model has learned or changed since rows were added to this gradient, which is that of "
                "its old weights; call step() first, or begin again with accumulate()"
            )

    def _known_scalars(self) -> Floats:
        """Scalars of the model, of the classes that there was room for when the first part was added."""
        scalars = self._model._scalars
        return scalars[: len(self._seen[1])] if scalars.ndim == 2 else scalars

    def _add(
        self,
        X: Any,
        y: Any,
        w: Any,
        columns: Sequence[Hashable] | None,
        threads: int,
        made: NDArray[np.bool_] | None = None,
    ) -> Floats:
        model = self._model
        if type(threads) is not int or threads < 1:
            raise ValueError(f"threads={threads!r}: it must be an int of at least 1")
        rows = self._read(X, columns)
        targets = _rows.vector(y, rows.n, "y")
        h = model._weights_of(w, rows.n)
        if rows.n == 0:
            return model._outputs(0, self._targets)
        if self._sums is None:
            self._targets = model._targets  # it may have learned since this was made
        draft = self._targets.draft()
        codes, h = model._encode(draft, targets, rows, h)
        before = self._names, self._slots, self._same, self._n_new
        if rows.values.ndim == 1 and not model._pieces.is_matrix:
            rows = self._used(rows)
        try:
            where = self._place(model._column_names(rows))
            if model._pieces.is_matrix and where is not None:
                rows, where = _rows.in_slots(rows, where, self._names), None
            model._make_room_for(draft)
            made = np.zeros(rows.n, dtype=bool) if made is None else made
            bad = np.zeros(rows.n, dtype=bool)
            while True:
                counts, weighted = self._weigh(codes, h, made | bad, len(draft.known))
                if bad.any():
                    weighted[bad] = np.nan  # refused again, also where their weight was at fault
                z, sums, answers = self._sum(rows, where, codes, weighted, draft, threads)
                if counts is None or any(status != f.OK for status, *_ in answers):
                    break
                skipped = np.isnan(z if z.ndim == 1 else z.sum(axis=1)) & ~made & ~bad
                if not skipped.any():
                    break
                bad |= skipped  # they are not learned, so they do not count
            for status, row, _, _ in answers:
                if status != f.OK:
                    limit = self._precision.limit
                    raise model._refused(status, row, rows, targets, h, self._targets, limit)
            seen = z.astype(np.float64, copy=False)
            losses = [model._losses_from(codes, seen, draft)] if model._pieces.monitored else []
        except BaseException:
            self._names, self._slots, self._same, self._n_new = before
            raise
        if losses:
            losses[0][made | (weighted == 0.0)] = np.nan
        self._sums, self._targets, self._counted = sums, draft, counts
        for _, _, count, skipped in answers:
            self._n_rows += count
            self._n_skipped += skipped
        self._losses += losses
        self._y_name = getattr(y, "name", None)
        return z

    def _read(self, X: Any, columns: Sequence[Hashable] | None) -> _rows.Rows:
        """Normalise rows."""
        return _rows.rows(X, columns)

    def _weigh(
        self, codes: Floats, h: Floats, left_out: NDArray[np.bool_], n_labels: int
    ) -> tuple[tuple[Floats, Words, Floats] | None, Floats]:
        """Return the counts of classes after these rows, and the rows' weights times their classes'."""
        model = self._model
        if model.class_weight is None:
            return None, h
        now = self._counted or (model._class_counts, model._recent_codes, model._recent)
        counts, window = np.zeros_like(model._class_counts), (now[1].copy(), now[2].copy())
        counts[:, : now[0].shape[1]] = now[0]
        new, out = np.zeros(n_labels), np.empty(len(codes))
        weigh = class_weights.weigh_rows(type(model.class_weight))
        weigh.call(model._weighing, model._factors, counts, *window, new, codes, h, left_out, out)
        return (counts, *window), out

    def _used(self, rows: _rows.Rows) -> _rows.Rows:
        """Return compressed rows with only the columns that they have values in, and new ones.

        Else a step would depend on which columns a source has met by now, and take time for all of them.
        """
        names = self._model._column_names(rows)
        slots = self._model._slots_of(names, np.arange(len(names)))
        columns, place = _rows.used(rows)
        chosen = np.union1d(columns, np.flatnonzero(slots < 0))
        self._columns = names, slots
        index = np.searchsorted(chosen, columns)[place]
        return rows._replace(index=index, n_columns=len(chosen), columns=[names[k] for k in chosen.tolist()])

    def _sort(self) -> None:
        """Put the columns into the order of the model's features: sums of any parts make the same step."""
        assert self._sums is not None
        order = np.argsort(self._slots)
        self._slots = self._slots[order]
        self._names = tuple(self._names[k] for k in order.tolist())
        self._sums = self._sums[np.concatenate([[0], order + 1])]
        self._same = bool((self._slots == np.arange(len(self._slots))).all())

    def _place(self, names: Sequence[Hashable]) -> Words | None:
        """Find a place for columns among those of the sum: None if it is the first ones, in their order."""
        model = self._model
        cached = model._last_columns
        if len(self._names):
            pass
        elif model._pieces.is_matrix:  # its features move together, so all take part
            self._names = tuple(model._features.names)
            self._slots = np.arange(len(self._names))
        elif cached is not None and cached[0] == names:
            self._names, self._slots, self._same = cached
            return None
        known = self._names if len(self._names) else names[:0]
        if isinstance(known, tuple) and isinstance(names, range):
            names = tuple(names)
        if _rows.begins(names, known):
            return None
        if _rows.begins(known, names):
            where, new, merged = None, names[len(known) :], names
        else:
            position = {name: k for k, name in enumerate(known)}
            new = [name for name in names if name not in position]
            merged = (*known, *new)
            position |= {name: k for k, name in enumerate(new, len(known))}
            where = np.array([position[name] for name in names], dtype=np.int64)
        if not isinstance(names, range) and len(set(names)) != len(names):
            twice = next(name for k, name in enumerate(names) if name in names[:k])
            raise ValueError(f"column {twice!r} stands twice")
        n = len(model._features)
        slots = list(map(model._features.get, new))
        for k, slot in enumerate(slots):
            if slot is None:
                slots[k], self._n_new = n + self._n_new, self._n_new + 1
        if n + self._n_new > len(model._weights):
            model._grow(n + self._n_new)
        self._slots = np.concatenate([self._slots, np.array(slots, dtype=np.int64)])
        self._same = bool((self._slots == np.arange(len(self._slots))).all())
        self._names = merged
        return where

    def _sum(
        self, rows: _rows.Rows, where: Words | None, codes: Floats, h: Floats, draft: Any, threads: int
    ) -> tuple[Floats, Floats, list[Answer]]:
        """Return outputs, the sums with those of these rows, and what the kernel answered for each block."""
        model = self._model
        kind = rows.values.dtype.char, rows.values.ndim
        look = self._compiled(model._kernels.derivatives, model._pieces, *kind)
        n = rows.n_columns
        same = where is None and self._same
        state = self._state_of(self._slots[:n] if where is None else self._slots[where], same)
        factors = model._class_factors(draft)
        z = np.empty_like(model._outputs(rows.n, draft), self._precision.dtype)
        d = np.empty_like(z)
        arrays = rows.values, rows.index, rows.starts
        scalars, codes, h, *more = self._rounded(model._scalars, codes, h, *factors)
        weights = self._hyper(model._hp), model.clip_gradient, *model._flat(state), scalars
        given = (*weights, *arrays, codes, h, model.on_invalid == "skip")
        sums = self._room_for(len(self._names), z.shape[1:])
        place = slice(n + 1) if where is None else np.concatenate([[0], where + 1])
        total = sums[place]

        dense = rows.values.ndim == 2
        if not dense:
            threads = min(threads, max(1, rows.values.size // SHARE))
        size = block_rows(n) if dense else max(1, BLOCK * rows.n // max(1, rows.values.size))
        blocks = [(i, min(i + size, rows.n)) for i in range(0, rows.n, size)]
        answers: list[Answer] = [(f.OK, 0, 0, 0)] * len(blocks)
        parts = [total]  # those of a first block are 0 plus themselves
        if dense and (len(blocks) > 1 or self._sums is not None):
            parts = list(np.zeros((len(blocks), *total.shape), total.dtype))

        def look_at(k: int) -> None:
            first, last = blocks[k]
            answers[k] = look(
                *given, first, last, z, d, dense or threads == 1, parts[k] if dense else total, *more
            )

        if len(blocks) == 1:
            look_at(0)
        else:
            share(look_at, len(blocks), threads)
        if parts[0] is not total:
            for part in parts:
                total += part
        if not dense and threads > 1 and not any(answer[0] for answer in answers):
            # each thread adds up columns of its own, of all rows
            add_rows, edges = self._compiled(model._kernels.add_rows), _edges(rows.index, n, threads)

            def add_columns(k: int) -> None:
                for first, last in blocks:
                    add_rows(*arrays, d, first, last, edges[k], edges[k + 1], total)

            share(add_columns, len(edges) - 1, threads)
        if where is not None:
            sums[place] = total
        return z, sums, answers

    def _room_for(self, n_columns: int, classes: tuple[int, ...]) -> Floats:
        """Return a copy of the sums with room for new columns and classes."""
        sums = np.zeros((n_columns + 1, *classes), self._precision.dtype)
        if self._sums is not None:
            sums[tuple(map(slice, self._sums.shape))] = self._sums
        return sums

    # -- in a precision ------------------------------------------------------------------------

    def _compiled(self, build: Callable[..., Any], *parts: Any) -> Callable[..., Any]:
        """Return a kernel's entry point."""
        kernel = build(*parts) if self._precision is DOUBLE else build(*parts, self._precision)
        call: Callable[..., Any] = kernel.call
        return call

    def _state_of(self, slots: Words, same: bool) -> State:
        """Return the state of columns: the model's own if they are the same, else a copy, rounded."""
        model = self._model
        state = model._weights, model._slots, model._charged
        if not (model._pieces.is_matrix or (same and self._precision is DOUBLE)):
            state = model._state_of(slots)
        weights, held, charged = self._rounded(*state)
        return weights, held, charged

    def _rounded(self, *arrays: Floats) -> tuple[Floats, ...]:
        """Return arrays in this precision: themselves, or copies."""
        if self._precision is DOUBLE:
            return arrays
        with np.errstate(over="ignore"):  # kernels refuse what is infinite
            return tuple(array.astype(self._precision.dtype) for array in arrays)

    def _hyper(self, numbers: Floats) -> Floats:
        """Return hyper-parameters in this precision."""
        return numbers if self._precision is DOUBLE else _in_single(numbers.tobytes())

    # -- the step ------------------------------------------------------------------------------

    def step(self) -> None:
        """Take one step on the mean gradient of all rows added; nothing happens if there is none.

        Raises
        ------
        ValueError
            When the sum is not finite or too large, or the schedule has no rate; the model is as it was.
        RuntimeError
            When the model has learned or changed since the first part was added.
        """
        with self._model._exclusive():
            if self._sums is not None:
                self._check_model()
                self._step()
                done = copy.copy(self)
                self._forget()
                done._report()

    def _step(self) -> None:
        model = self._model
        if self._sums is None or not self._n_rows:
            model.n_invalid += self._n_skipped
            return
        if self._columns is not None:
            self._sort()
        sums = self._sums
        n_before, updates = len(model._features), model.n_updates
        try:
            if self._n_new:
                for k in np.flatnonzero(self._slots >= n_before).tolist():
                    model._features.add(self._names[k])
                model._make_room()
            model._make_room_for(self._targets)
            model._fill_rates()
            penalty = model._bound_penalty
            if penalty.overrides("full"):
                full = self._precision.copy(type(penalty).full)
                if any(full(penalty, totals) for totals in model._penalty_totals):
                    model._fold_penalty(penalty, [])
            state = self._state_of(self._slots, self._same)
            c = model._control
            position = (model.n_updates - int(c[f.RATES_START])) * int(c[f.RATE_STEP])
            rates = model._rates if sums.ndim == 2 else model._rates[0]
            if self._precision is SINGLE:  # of a table only the rate of this step is rounded
                rates, position = np.ascontiguousarray(rates[..., position : position + 1, :]), 0
            scalars, rates = self._rounded(model._scalars, rates)
            step = self._compiled(model._kernels.step, model._pieces)
            hyper = self._hyper(model._rule_hp)
            status = step(hyper, *model._flat(state), scalars, sums, self._n_rows, rates, position)
            if status != f.OK:
                raise overflow(self._precision.limit)
            if scalars is not model._scalars:
                self._keep(scalars, sums.shape[-1])
        except BaseException:
            if model.n_updates > updates:  # Ctrl-C, which comes behind a kernel: the step is done
                self._take_over(state)
            else:
                model._forget_rows(n_before)
            raise
        self._take_over(state)

    def _keep(self, scalars: Floats, n_classes: int) -> None:
        """Make scalars the model's, but for the counts in them: float32 stops counting at 2^24."""
        new = self._model._scalars.copy()
        known = ... if new.ndim == 1 else slice(n_classes)  # lanes
        new[known, INTERCEPT:] = scalars[known, INTERCEPT:]
        new[known, T] += 1.0
        new[known, SAMPLES] += self._n_rows
        self._model._scalars[...] = new  # at once: Ctrl-C finds all of it done or nothing

    def _take_over(self, state: State) -> None:
        """Make what the kernel has written, and what the rows brought, the model's."""
        model = self._model
        if state[0] is not model._weights:
            slots = slice(None) if model._pieces.is_matrix else self._slots
            model._weights[slots], model._slots[:, slots], model._charged[slots] = state
        model.n_invalid += self._n_skipped
        if self._counted is not None:
            counts, model._recent_codes[:], model._recent[:] = self._counted
            model._class_counts[:, : counts.shape[1]] = counts
        model._clock_jumped()
        model._commit_targets(self._targets)
        model._y_name = self._y_name
        if self._columns is None:
            model._last_columns = self._names, self._slots, self._same
        else:
            names, slots = self._columns
            for k in np.flatnonzero(slots < 0).tolist():
                slots[k] = model._features.get(names[k]) or 0  # it is there by now
            model._last_columns = names, slots, bool((slots == np.arange(len(slots))).all())

    def _report(self) -> None:
        """Show the losses to the schedules: a user's code, which may fail, but the step is done."""
        if self._losses and self._n_rows:
            self._model._report(np.concatenate(self._losses))


def _edges(index: Words, n_columns: int, parts: int) -> list[int]:
    """Split columns into ranges of about as many values each, by a sample of them."""
    inner = []
    if parts > 1 and len(index):
        sample = np.sort(index[:: max(1, len(index) // 4096)])
        inner = sample[np.arange(1, parts) * len(sample) // parts].tolist()
    return [0, *dict.fromkeys(k for k in inner if 0 < k < n_columns), n_columns]
