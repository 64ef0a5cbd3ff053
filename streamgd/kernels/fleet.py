"""Many linear models at once, each learning row by row: over the same rows, or each over its own."""
# ruff: noqa: B018
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numba import carray, types
from numpy.typing import NDArray

from streamgd import _features as f
from streamgd._jit import LIMIT, bind, doubles_at, fingerprint, inlined, jitable, singles_at, strict
from streamgd._single import SINGLE_LIMIT, single_inlined, single_jitable
from streamgd._threads import share

from . import access, coordinate
from .pieces import PENALTY, PENALTY_2, SAMPLES, Jit, Layout, Pieces, T, take_hyper

Floats = NDArray[Any]  # float64 or float32: all of a fleet's are of one kind
Words = NDArray[np.int64]

N_SUMS = 3
_AT_ONCE = 1 << 24  # values that all members of a pass go through: some 50 ms
_READ = 1 << 20  # values of a pass's rows: a copy of them, sorted by keys, is in the cache when it is learned
_NEAR = 1 << 14  # values of rows that stay in a core's cache while its members learn them
_SPANS = 4  # for each thread: members take different times


class State(NamedTuple):
    """What M members have learned, each a row of these arrays."""

    hp: Floats  # (M, n_hyper)
    weights: Floats  # (M, p)
    slots: Floats  # (M, max(1, n_slots), p)
    charged: Floats  # (M, p)
    scalars: Floats  # (M, n_scalars)


class Clock(NamedTuple):
    """What time it is for each member of a pass, and where its rates stand."""

    counts: NDArray[np.float64]  # (G, 2): updates and samples
    table: NDArray[np.float64]  # (R, 3): rate, rate after it, rate of the intercept
    first: Words  # (G,): row of the table for the member's next update
    step: Words  # (G,): 1, or 0 where rates never change


class Outcome(NamedTuple):
    """What becomes of each member of a pass, which adds to it."""

    stopped: Words  # (G,): row at which it overflowed, -1 while it learns
    learned: Words  # (G,): rows with a weight
    skipped: Words  # (G,): rows left out because they were refused
    sums: NDArray[np.float64]  # (G, 3): loss; right answers, or absolute errors; squared errors

    @classmethod
    def of(cls, n: int) -> Outcome:
        """Make that of ``n`` members which have done nothing."""
        learned, skipped = np.zeros((2, n), dtype=np.int64)
        return cls(np.full(n, -1), learned, skipped, np.zeros((n, N_SUMS)))


# -- kernels -----------------------------------------------------------------------------------


def fold_body(pieces: Pieces, jit: Jit, layout: Layout) -> Callable[..., Any]:
    """Build ``(hp, weights, charged, scalars, index, j, n)``: bring all weights up to date, if it is due.

    That is when the penalty's totals are full; they begin anew. Learners do it in Python; here it is done
    before a row is learned, for one coordinate after the other.
    """
    penalty_class = pieces.penalty
    make_penalty, penalty_hyper = penalty_class.struct, jit(take_hyper(penalty_class))
    _, penalty_start, _ = pieces.hyper_starts
    full, current, is_lazy = (
        jit(penalty_class.full),
        jit(penalty_class.current),
        penalty_class.overrides("current"),
    )
    slot_at = jit(layout[1])

    def fold(hp, weights, charged, scalars, index, j, n):
        penalty = make_penalty(*penalty_hyper(hp, penalty_start))
        totals = (scalars[PENALTY], scalars[PENALTY_2])
        if not full(penalty, totals):
            return
        for k in range(n):
            s = slot_at(index, j, k)
            if is_lazy:
                weights[s] = current(penalty, weights[s], charged[s], totals)
                charged[s] = 1.0  # as `settle` leaves it at totals of 0
            else:
                charged[s] = 0.0
        scalars[PENALTY] = 0.0
        scalars[PENALTY_2] = 0.0

    return fold


def span_body(pieces: Pieces, jit: Jit, inline: Jit) -> Callable[..., Any]:
    """Build the way of one member through rows ``i`` to ``last - 1``, whose outputs go to a column of ``z``.

    ``(hp, weights, slots, charged, scalars, table, r, step, values, y, h, skip, i, last, z, column) ->
    (row, learned, skipped, loss, first, second)``: it ends before ``last`` at a row that is refused.
    """
    learn_row = inline(coordinate.learn_row_body(pieces, jit, inline, access.DENSE_VECTOR))
    fold = jit(fold_body(pieces, jit, access.DENSE_VECTOR))
    loss_class = pieces.loss
    make_loss, loss_hyper = loss_class.struct, jit(take_hyper(loss_class))
    value, mean = jit(loss_class.value), jit(loss_class.mean)
    folds, binary = pieces.penalty.overrides("full"), loss_class.binary

    def span(
        hp, weights, slots, charged, scalars, table, r, step, values, y, h, skip, i, last, z, column
    ):  # fmt: skip
        p = weights.shape[0]
        h_step = 1 if h.shape[0] > 1 else 0
        keeps = z.shape[0] > 0
        learned = 0
        skipped = 0
        total = 0.0
        first = 0.0
        second = 0.0
        while i < last:
            weight = h[i * h_step]
            if folds and weight > 0.0:
                fold(hp, weights, charged, scalars, values, 0, p)
            status, output = learn_row(
                hp, weights, slots, charged, scalars, values, i * p, values, 0, p, y[i], weight, table, r
            )
            refused = status < 0
            if refused and not skip:
                break
            if keeps:
                z[i, column] = np.nan if refused else output
            if status == f.OK:
                learned += 1
                r += step
                loss = make_loss(*loss_hyper(hp, 0))
                total += value(loss, y[i], output)
                if binary:
                    first += 1.0 if (output > 0.0) == (y[i] > 0.0) else 0.0
                else:
                    error = mean(loss, output) - y[i]
                    first += abs(error)
                    second += error * error
            skipped += refused
            i += 1
        return i, learned, skipped, total, first, second

    return span


# Views of memory that nobody counts the users of. To pass on an array that is counted costs 7 ns, and a row
# is passed on with nine. They are functions of the module, since a closure over intrinsics is never cached.


def _doubles(address, start, shape):
    return carray(doubles_at(np.uintp(address + 8 * start)), shape)


def _singles(address, start, shape):
    return carray(singles_at(np.uintp(address + 4 * start)), shape)


_VIEWS = {"d": _doubles, "f": _singles}


def _state_types(dtype: str) -> tuple[Any, ...]:
    matrix, cube = (coordinate.values_type(dtype, ndim) for ndim in (2, 3))
    return matrix, matrix, cube, matrix, matrix


@functools.cache
def learn(pieces: Pieces, dtype: str, keyed: bool) -> Any:
    """Compiled pass of members, or of groups of rows with a member each, ``begin`` to ``end - 1``.

    ``(hp, weights, slots, charged, scalars, table, first, step, values, y, h, starts, members, near, skip,
    reached, stopped, learned, skipped, sums, z, begin, end)``. ``reached`` has, of each member or group, the
    next row and the rows learned: called again, a pass goes on from there. ``near`` rows are learned by one
    member after the other before the next.
    """
    jit, inline = (jitable, inlined) if dtype == "d" else (single_jitable, single_inlined)
    span, view = jitable(span_body(pieces, jit, inline)), jitable(_VIEWS[dtype])
    n_hyper, n_slots, n_scalars = pieces.n_hyper, max(1, pieces.n_slots), pieces.n_scalars
    sources = fingerprint(pieces.classes)

    def learn_fleet(
        hp, weights, slots, charged, scalars, table, first, step, values, y, h, starts, members, near, skip,
        reached, stopped, learned, skipped, sums, z, begin, end,
    ):  # fmt: skip
        sources
        hp_at, weights_at, slots_at = hp.ctypes.data, weights.ctypes.data, slots.ctypes.data
        charged_at, scalars_at, p, n = charged.ctypes.data, scalars.ctypes.data, weights.shape[1], y.shape[0]
        rates, rows = view(table.ctypes.data, 0, table.shape), view(values.ctypes.data, 0, values.shape)
        targets, sample_weights = view(y.ctypes.data, 0, y.shape), view(h.ctypes.data, 0, h.shape)
        outputs = view(z.ctypes.data, 0, z.shape)
        done = 0
        while done < n:
            block = n if keyed else min(n, done + near)
            for g in range(begin, end):
                m = members[g] if keyed else g
                last = starts[g + 1] if keyed else block
                i = reached[g, 0]
                if stopped[g] >= 0 or i >= last:
                    continue
                r = first[g] + step[g] * reached[g, 1]
                i, count, left_out, loss, right, squares = span(
                    view(hp_at, m * n_hyper, (n_hyper,)),
                    view(weights_at, m * p, (p,)),
                    view(slots_at, m * n_slots * p, (n_slots, p)),
                    view(charged_at, m * p, (p,)),
                    view(scalars_at, m * n_scalars, (n_scalars,)),
                    rates, r, step[g], rows, targets, sample_weights, skip, i, last, outputs,
                    0 if keyed else m,
                )  # fmt: skip
                reached[g, 0] = i
                reached[g, 1] += count
                learned[g] += count
                skipped[g] += left_out
                sums[g, 0] += loss
                sums[g, 1] += right
                sums[g, 2] += squares
                if i < last:
                    stopped[g] = i
            done = block

    vector, matrix = (coordinate.values_type(dtype, ndim) for ndim in (1, 2))
    words, pairs, doubles = coordinate.WORDS, types.int64[:, ::1], coordinate.MATRIX
    rows = (vector, vector, vector, words, words, types.int64, types.boolean)
    made = (pairs, words, words, words, doubles, matrix, types.int64, types.int64)
    variant = f"{pieces.variant}{keyed:d}"
    signature = (*_state_types(dtype), matrix, words, words, *rows, *made)
    return bind(learn_fleet, signature, pieces.classes, nogil=True, variant=variant)


@functools.cache
def _fold(pieces: Pieces, dtype: str) -> Any:
    """Compiled ``(hp, weights, slots, charged, scalars, members)``; see `fold_body`."""
    jit = jitable if dtype == "d" else single_jitable
    fold = jit(fold_body(pieces, jit, access.DENSE_VECTOR))
    sources = fingerprint(pieces.classes)

    def fold_fleet(hp, weights, slots, charged, scalars, members):
        sources
        for m in members:
            fold(hp[m], weights[m], charged[m], scalars[m], weights[m], 0, weights.shape[1])

    signature = (*_state_types(dtype), coordinate.WORDS)
    return bind(fold_fleet, signature, pieces.classes, nogil=True, variant=pieces.variant)


@functools.cache
def _first_bad(dtype: str) -> Any:
    """Compiled ``(values, p, y, h, limit) -> (row, status)``."""
    sources = fingerprint(())

    def first_bad(values, p, y, h, limit):
        sources
        h_step = 1 if h.shape[0] > 1 else 0
        for i in range(y.shape[0]):
            size = 0.0
            for k in range(p):
                size += abs(values[np.uintp(i * p + k)])
            if not (size <= limit):
                return i, f.BAD_ROW
            if not (abs(y[i]) <= limit):
                return i, f.BAD_TARGET
            if not (0.0 <= h[i * h_step] <= limit):
                return i, f.BAD_WEIGHT
        return y.shape[0], f.OK

    values = coordinate.values_type(dtype, 1)
    signature = (values, types.int64, coordinate.VECTOR, coordinate.VECTOR, types.float64)
    return bind(first_bad, signature, (), nogil=True)


@strict
def numbered(keys, low, span):
    """Return rows' keys as numbers, in the order of their appearance, and which key each number is.

    Keys are ``low`` to ``low + span - 1``.
    """
    numbers = np.full(span, -1, dtype=np.int64)
    codes, distinct = np.empty(len(keys), dtype=np.int64), np.empty(min(len(keys), span), dtype=np.int64)
    n = 0
    for i in range(len(keys)):
        k = keys[i] - low
        if numbers[k] < 0:
            numbers[k] = n
            distinct[n] = keys[i]
            n += 1
        codes[i] = numbers[k]
    return codes, distinct[:n]


@strict
def grouped(codes, n_members):
    """Sort rows by member: the rows in that order, where each member's begin, and the members that have any.

    Rows of a member stay in their order.
    """
    ends = np.zeros(n_members + 1, dtype=np.int64)
    for m in codes:
        ends[m + 1] += 1
    n_groups = 0
    for m in range(n_members):
        n_groups += ends[m + 1] > 0
        ends[m + 1] += ends[m]
    starts, members = np.zeros(n_groups + 1, dtype=np.int64), np.empty(n_groups, dtype=np.int64)
    g = 0
    for m in range(n_members):
        if ends[m + 1] > ends[m]:
            starts[g + 1] = ends[m + 1]
            members[g] = m
            g += 1
    order = np.empty(len(codes), dtype=np.int64)
    for i in range(len(codes)):
        order[ends[codes[i]]] = i
        ends[codes[i]] += 1
    return order, starts, members


# -- passes ------------------------------------------------------------------------------------


def hold(pieces: Pieces, state: State) -> State:
    """Take members' state in: here it stays where it is."""
    return State(*map(np.ascontiguousarray, state))


def fetch(pieces: Pieces, held: State) -> State:
    """Return members' state as host arrays."""
    return held


def fold(pieces: Pieces, state: State, members: Words) -> None:
    """Bring all weights of some members up to date with their penalties, where it is due."""
    _fold(pieces, state.hp.dtype.char).call(*state, members)


def rows_at_once(n_members: int, p: int) -> int:
    """Return how many rows a pass may have, for Ctrl-C to be heard."""
    return max(64, min(_READ, _AT_ONCE // n_members) // p)


def first_bad(X: Floats, y: Floats, h: Floats, single: bool = True) -> tuple[int, int]:
    """Return the first row that is refused for a value, its target or weight, and why; n if there is none.

    By the limits of float32 or, unless ``single``, of float64, whatever the arrays are.
    """
    y, h = (np.ascontiguousarray(column, dtype=np.float64) for column in (y, h))
    limit = SINGLE_LIMIT if single else LIMIT
    row, status = _first_bad(X.dtype.char).call(X.reshape(-1), X.shape[1], y, h, limit)
    return row, status


def grid_pass(
    pieces: Pieces,
    held: State,
    clock: Clock,
    X: Floats,
    y: Floats,
    h: Floats,
    skip: bool,
    outcome: Outcome,
    z: Floats | None,
    threads: int,
) -> None:
    """Let every member learn all rows ``X (n, p)``; outputs made before each update go to ``z (n, M)``."""
    n_members = len(held.hp)
    none = np.zeros(0, dtype=np.int64)
    bounds = np.linspace(0, n_members, min(n_members, _spans(threads)) + 1).astype(np.int64)
    reached = np.zeros((n_members, 2), dtype=np.int64)
    _pass(pieces, held, clock, X, y, h, none, none, skip, outcome, z, threads, bounds, reached)


def keyed_pass(
    pieces: Pieces,
    held: State,
    clock: Clock,
    X: Floats,
    y: Floats,
    h: Floats,
    starts: Words,
    members: Words,
    skip: bool,
    outcome: Outcome,
    z: Floats | None,
    threads: int,
) -> None:
    """Let ``members[g]`` learn rows ``starts[g]`` to ``starts[g + 1] - 1``, for each g; ``z`` is ``(n,)``."""
    shares = np.linspace(0, len(y), _spans(threads) + 1)
    bounds = np.unique(np.searchsorted(starts, shares))
    reached = np.stack([starts[:-1], np.zeros_like(members)], axis=1)
    column = None if z is None else z.reshape(-1, 1)
    _pass(pieces, held, clock, X, y, h, starts, members, skip, outcome, column, threads, bounds, reached)


def _spans(threads: int) -> int:
    return 1 if threads == 1 else _SPANS * threads


def _pass(
    pieces: Pieces,
    held: State,
    clock: Clock,
    X: Floats,
    y: Floats,
    h: Floats,
    starts: Words,
    members: Words,
    skip: bool,
    outcome: Outcome,
    z: Floats | None,
    threads: int,
    bounds: Words,
    reached: Words,
) -> None:
    kernel = learn(pieces, X.dtype.char, len(starts) > 0)
    places = members if len(starts) else np.arange(len(held.scalars))
    held.scalars[places, T], held.scalars[places, SAMPLES] = clock.counts.T
    with np.errstate(over="ignore"):  # infinite rates overflow, and that is found
        table = np.ascontiguousarray(clock.table, dtype=X.dtype)
    out = np.zeros((0, 1), dtype=X.dtype)
    if z is not None:
        z[:], out = np.nan, z
    near = max(16, _NEAR // max(1, X.shape[1]))
    n = len(bounds) - 1
    turns = [Lock() for _ in range(n)]

    def work(k: int) -> None:
        with turns[k]:
            kernel.call(
                *held, table, clock.first, clock.step, X.reshape(-1), y, h, starts, members, near, skip,
                reached, *outcome, out, bounds[k], bounds[k + 1],
            )  # fmt: skip

    try:
        share(work, n, threads)
    except BaseException:
        # Ctrl-C: no member may be left behind the others. Those that are done do nothing again, those that
        # another thread is at are waited for, and pressing it once more does not help.
        k = 0
        while k < n:
            with suppress(KeyboardInterrupt):
                work(k)
                k += 1
        raise
