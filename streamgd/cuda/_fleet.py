"""Fleets on the device: many linear models that learn row by row, their state in registers all the while.

One lane of a warp, or a few, have a member: each has some of its coordinates, and all of its scalars, which
they compute alike. Members that learn the same rows share them in a block's shared memory; those with rows of
their own are drawn by whoever has finished one, the longest first. State too large for registers stays in the
device's memory. What a member learns depends on its rows alone, but for how its lanes' sums are rounded.
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamgd import _features as f
from streamgd._jit import LIMIT
from streamgd._single import single, single_inlined, single_jitable
from streamgd.kernels import access, coordinate
from streamgd.kernels import fleet as on_host
from streamgd.kernels.fleet import N_SUMS, Clock, Outcome, State
from streamgd.kernels.pieces import PENALTY, PENALTY_2, SAMPLES, Pieces, T, take_hyper

from ._arrays import device_rows, device_vector, is_device_array
from ._backend import FULL_WARP, cuda, float32, int32, kernel, load4
from ._upload import Uploader, rows_of_chunk

WARP: Final = 32
THREADS: Final = 128
BLOCKS: Final = 1056  # of members with rows of their own: eight for each multiprocessor of an H100
LANES: Final = (1, 4, 8, WARP)

# A lane has so many coordinates at most, and so many floats of them in registers: values, weights and slots.
# Beyond that the compiler runs out of registers: sooner where lanes share a member, because for GPUs before
# Hopper it keeps some 70 of them for shuffles of lanes that may have parted.
MOST_VALUES: Final = 32
MOST_FLOATS: Final = 128
MOST_FLOATS_SHARED: Final = 32

# With one lane a member, scalars are computed once, not by several lanes alike: that is best where there are
# as many members as threads that keep an H100's schedulers busy.
BUSY: Final = 16384

SHARED: Final = 32 << 10  # bytes of rows in shared memory, at most: some blocks are to fit side by side
MOST_ROWS: Final = 32
OUTPUT_VALUES: Final = 1 << 26  # of a chunk's outputs on the device, at most
DIRECT_VALUES: Final = 1 << 18  # of rows that are copied at once: pinned memory would cost more

CODES: Final = 16  # a row is refused as ``row * CODES - status``; the smallest such number is kept
NOTHING_REFUSED: Final = (1 << 63) - 1


class Launch(NamedTuple):
    """How kernels are launched; results do not depend on it, but for ``lanes`` (0: as `plan` chooses)."""

    lanes: int = 0
    threads: int = THREADS
    blocks: int = BLOCKS


LAUNCH: Final = Launch()


class Plan(NamedTuple):
    """How lanes share the coordinates of a member, and members a block."""

    columns: int
    lanes: int  # of a warp, that have a member
    width: int  # neighbouring coordinates that a lane has: 4, read at once, or 1
    values: int  # coordinates of a lane, some beyond the last; 0: they stay in the device's memory
    rows: int  # in shared memory at a time
    threads: int  # of a block

    @property
    def members(self) -> int:
        """Members that a block has side by side."""
        return self.threads // self.lanes

    @property
    def row_length(self) -> int:
        """Floats of a row in shared memory."""
        return self.lanes * -(-self.values // self.width) * self.width

    @property
    def n(self) -> int:
        """Coordinates that rules see: all of a lane's, but a single lane has none beyond the last."""
        return self.columns if self.lanes == 1 else self.values


def plan(
    pieces: Pieces,
    n_members: int,
    columns: int,
    can_pad: bool = True,
    launch: Launch = LAUNCH,
    *,
    keyed: bool = False,
) -> Plan:
    """Choose how lanes share members; for ``can_pad`` see `pads`."""
    floats = 2 + pieces.n_slots + charges(pieces)
    best = None
    for count in LANES:
        width = 4 if not keyed and _four_pay(columns, count) else 1
        values = width * -(-columns // (width * count))
        n = columns if count == 1 else values
        most = min(MOST_VALUES, (MOST_FLOATS if count == 1 else MOST_FLOATS_SHARED) // floats)
        if not 0 < n <= most or (n * count > columns and not can_pad):
            continue
        rows = max(1, min(MOST_ROWS, SHARED // (4 * count * values)))
        best = Plan(columns, count, width, values, rows, launch.threads)
        # rows of its own are read together by a member's lanes: a single one would read 32 rows at a time
        alone = keyed and count == 1 and columns > 8
        busy = n_members * count >= BUSY or columns <= 4 * count
        if count == launch.lanes or (not launch.lanes and busy and not alone):
            return best
    return best or Plan(columns, WARP, 1, 0, 1, launch.threads)


def _four_pay(columns: int, lanes: int) -> bool:
    """Tell whether one read of 16 bytes, for four, pays for the coordinates that it adds."""
    return lanes == 1 or 4 * -(-columns // (4 * lanes)) * 6 <= -(-columns // lanes) * 7


def charges(pieces: Pieces) -> bool:
    """Tell whether the penalty has numbers of each coordinate."""
    return any(map(pieces.penalty.overrides, ("current", "settle")))


def pads(pieces: Pieces, hp: list[float]) -> bool:
    """Tell whether a coordinate that is always 0 changes nothing, so that lanes may have some to spare.

    Found out by learning a few rows with it and without, in plain Python.
    """
    learn = coordinate.learn_row_body(pieces, _whole, _whole, access.DENSE_VECTOR)

    def outputs(p: int) -> Iterator[Any]:
        state = [np.zeros(shape) for shape in (p, (max(1, pieces.n_slots), p), p, pieces.n_scalars)]
        rates = np.array([[0.5, 0.5, 0.5]])
        for y, x in ((1.0, 0.5), (0.0, -1.5), (1.0, 2.0)):
            row = np.array([x] + [0.0] * (p - 1))
            status, z = learn(hp, *state, row, 0, row, 0, p, y, 1.0, rates, 0)
            yield status, float(z), state[3].tolist()

    with np.errstate(all="ignore"):
        try:
            return repr(list(outputs(1))) == repr(list(outputs(3)))
        except (ArithmeticError, ValueError):  # 0 / 0 or log(0), from which compiled code goes on
            return False


def kinds_of(hp: NDArray[np.float32]) -> list[list[float]]:
    """Return numbers of some members: those of any other are 0 where one's of these are."""
    zeros = (hp == 0.0) @ np.exp2(np.arange(hp.shape[1]))
    kinds: list[list[float]] = hp[np.unique(zeros, return_index=True)[1]].tolist()
    return kinds


def _whole(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


# -- what lanes do ------------------------------------------------------------------------------


def of_group(lanes: int) -> Callable[..., Any]:
    """Build ``() -> mask``: the lanes of the member at hand; those of the warp's others may be elsewhere."""
    bits = (1 << lanes) - 1

    def mask():
        return bits << (cuda.threadIdx.x & (WARP - lanes))

    def all_lanes():
        return FULL_WARP

    return all_lanes if lanes == WARP else mask


def over_group(lanes: int) -> Callable[..., Any] | None:
    """Build the sum over a member's lanes, the same to the bit in all of them; none for a single lane."""
    if lanes == 1:
        return None
    group, half = single_jitable(of_group(lanes)), lanes // 2

    def total(x):
        step = half
        while step > 0:
            x += cuda.shfl_xor_sync(group(), x, step)
            step >>= 1
        return x

    return total


def draw_body(lanes: int) -> Callable[..., Any]:
    """Build ``(counter, lane) -> number``: the next of all, for a member's lanes together."""
    group = single_jitable(of_group(lanes))

    def draw(counter, lane):
        number = int32(0)
        if lane == 0:
            number = int32(cuda.atomic.add(counter, 0, 1))
        if lanes > 1:
            number = cuda.shfl_sync(group(), number, cuda.threadIdx.x & (WARP - lanes))
        return number

    return draw


def add_exactly(tally, k, x):
    """Add to a sum, of which ``tally[k + N_SUMS]`` has what rounding took away (Kahan)."""
    more = x - tally[k + N_SUMS]
    total = tally[k] + more
    tally[k + N_SUMS] = (total - tally[k]) - more
    tally[k] = total


def measure_body(pieces: Pieces) -> Callable[..., Any]:
    """Build ``(hp, y, z, tally)``, which adds up a row's loss and errors, as `kernels.fleet` does."""
    jit, loss_class = single_jitable, pieces.loss
    make_loss, loss_hyper = loss_class.struct, jit(take_hyper(loss_class))
    value, mean, add = jit(loss_class.value), jit(loss_class.mean), jit(add_exactly)
    binary = loss_class.binary

    def measure(hp, y, z, tally):
        loss = make_loss(*loss_hyper(hp, 0))
        add(tally, 0, value(loss, y, z))
        if binary:
            add(tally, 1, 1.0 if (z > 0.0) == (y > 0.0) else 0.0)
        else:
            error = mean(loss, z) - y
            add(tally, 1, abs(error))
            add(tally, 2, error * error)

    return measure


def advance_body(pieces: Pieces, how: Plan, measures: bool) -> Callable[..., Any]:
    """Build the update of one row of a member: ``(own, m, held, X, at, lane, y, h, tally) -> (status, z)``.

    ``own`` is what a lane has of the member, and its part of the row; ``held`` are all members' weights,
    slots and charges, for members that stay there, whose row begins at ``X[at]``.
    """
    jit, inline = single_jitable, single_inlined
    layout = access.DENSE_VECTOR if how.values else _OF_ROWS
    learn_row = inline(coordinate.learn_row_body(pieces, jit, inline, layout, total=over_group(how.lanes)))
    fold = jit(on_host.fold_body(pieces, jit, layout))
    penalty_class = pieces.penalty
    make_penalty, penalty_hyper = penalty_class.struct, jit(take_hyper(penalty_class))
    full, fills = jit(penalty_class.full), penalty_class.overrides("full")
    _, penalty_start, _ = pieces.hyper_starts
    measure = jit(measure_body(pieces))
    n, columns, lanes = how.n, how.columns, how.lanes

    def is_full(hp, scalars, h):
        totals = scalars[PENALTY], scalars[PENALTY_2]
        penalty = make_penalty(*penalty_hyper(hp, penalty_start))
        return h > 0.0 and (full(penalty, totals) or not (totals[0] <= LIMIT))

    must_fold = jit(is_full)

    def near(own, m, held, X, at, lane, y, h, tally):
        hp, weights, slots, charged, scalars, x, rates = own
        if fills and must_fold(hp, scalars, h):
            fold(hp, weights, charged, scalars, x, 0, n)
        status, z = learn_row(hp, weights, slots, charged, scalars, x, 0, x, 0, n, y, h, rates, 0)
        if measures and status == f.OK:
            measure(hp, y, z, tally)
        return int32(status), z

    def far(own, m, held, X, at, lane, y, h, tally):
        hp, _, _, _, scalars, _, rates = own
        weights, slots, charged = held[0][m], held[1][m], held[2][m]
        count = (columns - lane + lanes - 1) // lanes
        place = (lane, lanes)
        if fills and must_fold(hp, scalars, h):
            fold(hp, weights, charged, scalars, 0, place, count)
        status, z = learn_row(
            hp, weights, slots, charged, scalars, X, (at + lane, lanes), 0, place, count, y, h, rates, 0
        )
        if measures and status == f.OK:
            measure(hp, y, z, tally)
        return int32(status), z

    return near if how.values else far


def _number_at(values, i, k):
    return np.float32(values[np.uintp(i[0] + k * i[1])])


_OF_ROWS: Final = (_number_at, access.strided_slot)


def column_of(lane, k, lanes, width):
    """Return the column that is a lane's k-th coordinate."""
    return ((k // width) * lanes + lane) * width + k % width


def take_body(pieces: Pieces, how: Plan) -> Callable[..., Any]:
    """Build ``(own, m, state, g, counts, table, r, learned, sums, lane, tally)``, which takes a member in.

    ``m`` is its place in the state, ``g`` in what the pass is told of it.
    """
    n_hyper, n_scalars, n_slots = pieces.n_hyper, pieces.n_scalars, pieces.n_slots
    columns, lanes, width, values = how.columns, how.lanes, how.width, how.values
    charged_too, column, recall = charges(pieces), single_jitable(column_of), single_jitable(recall_rates)
    n_tally = 2 * N_SUMS

    def take(own, m, state, g, counts, table, r, learned, sums, lane, tally):
        hp, weights, slots, charged, scalars, _, rates = own
        for k in range(n_hyper):
            hp[k] = state[0][m, k]
        for k in range(n_scalars):
            scalars[k] = state[4][m, k]
        scalars[T] = np.float32(counts[g, 0] + learned[g])
        scalars[SAMPLES] = np.float32(counts[g, 1] + learned[g])
        recall(table, r, rates)
        for k in range(n_tally):
            tally[k] = sums[g, k]
        for k in range(values):
            j = column(lane, k, lanes, width)
            there = j < columns
            j = min(j, columns - 1)
            weights[k] = state[1][m, j] if there else 0.0
            for s in range(n_slots):
                slots[s, k] = state[2][m, s, j] if there else 0.0
            charged[k] = state[3][m, j] if charged_too and there else 0.0

    return take


def put_body(pieces: Pieces, how: Plan) -> Callable[..., Any]:
    """Build ``(own, m, state, g, sums, lane, tally)``, which writes back what `take_body` has taken."""
    n_scalars, n_slots = pieces.n_scalars, pieces.n_slots
    columns, lanes, width, values = how.columns, how.lanes, how.width, how.values
    charged_too, column = charges(pieces), single_jitable(column_of)
    n_tally = 2 * N_SUMS

    def put(own, m, state, g, sums, lane, tally):
        _, weights, slots, charged, scalars, _, _ = own
        for k in range(values):
            j = column(lane, k, lanes, width)
            if j < columns:
                state[1][m, j] = weights[k]
                for s in range(n_slots):
                    state[2][m, s, j] = slots[s, k]
                if charged_too:
                    state[3][m, j] = charged[k]
        if lane == 0:
            for k in range(n_scalars):
                state[4][m, k] = scalars[k]
            for k in range(n_tally):
                sums[g, k] = tally[k]

    return put


def read_body(how: Plan) -> Callable[..., Any]:
    """Build ``(X, at, lane, x)``, which reads a lane's part of the row that begins at ``X[at]``."""
    columns, lanes, width, values = how.columns, how.lanes, how.width, how.values
    column = single_jitable(column_of)

    def read(X, at, lane, x):
        for k in range(values):
            j = column(lane, k, lanes, width)
            x[k] = np.float32(X[np.uintp(at + j)]) if j < columns else 0.0

    return read


def blank_body(writes: bool) -> Callable[..., Any]:
    """Build ``(z, place, step, n, lane)``, which says that n rows have no output, if any is asked for."""
    nan = math.nan

    def blank(z, place, step, n, lane):
        if writes and lane == 0:
            for _ in range(n):
                z[place] = nan
                place += np.uintp(step)

    return blank


def recall_rates(table, r, rates):
    """Read the rates of the next update."""
    for k in range(3):
        rates[0, k] = table[r, k]


# -- kernels ------------------------------------------------------------------------------------


@functools.cache
def grid(pieces: Pieces, how: Plan, writes: bool, measures: bool) -> Any:
    """Kernel: all members learn all rows of a chunk, in step; a block stages rows that its members share."""
    inline = single_inlined
    take, put = inline(take_body(pieces, how)), inline(put_body(pieces, how))
    advance, recall = inline(advance_body(pieces, how, measures)), single_jitable(recall_rates)
    columns, lanes, width, values, rows, threads = how
    row_length, n_members = how.row_length, how.members
    n_hyper, n_scalars, n_tally, nan = pieces.n_hyper, pieces.n_scalars, 2 * N_SUMS, math.nan
    slots_shape, n_shared, n_values = (max(1, pieces.n_slots), values), rows * row_length, row_length // lanes
    chunks = n_values // width

    def learn_grid(
        hp, weights, slots, charged, scalars, counts, table, first, step, X, y, h, h_step, origin, skip,
        stopped, learned, skipped, sums, z,
    ):  # fmt: skip
        xs = cuda.shared.array(n_shared, float32, alignment=16)
        ys = cuda.shared.array(rows, float32)
        hs = cuda.shared.array(rows, float32)
        x = cuda.local.array(n_values, float32)
        tally = cuda.local.array(n_tally, float32)
        rates = cuda.local.array((1, 3), float32)
        own = (
            cuda.local.array(n_hyper, float32), cuda.local.array(values, float32),
            cuda.local.array(slots_shape, float32), cuda.local.array(values, float32),
            cuda.local.array(n_scalars, float32), x, rates,
        )  # fmt: skip
        state, held = (hp, weights, slots, charged, scalars), (weights, slots, charged)
        thread = int32(cuda.threadIdx.x)
        lane = int32(thread % lanes)
        m = cuda.blockIdx.x * n_members + thread // lanes
        exists = m < weights.shape[0]
        if not exists:
            m = 0
        learns = exists and stopped[m] < 0
        r = first[m] + step[m] * learned[m]
        take(own, m, state, m, counts, table, r, learned, sums, lane, tally)
        moves = step[m] != 0
        speaks = writes and exists and lane == 0
        at = np.uintp(m)
        done = int32(0)
        left_out = int32(0)
        n = y.shape[0]
        base = 0
        while base < n:
            count = int32(min(rows, n - base))
            cuda.syncthreads()
            i = thread
            while i < count * row_length:
                q = i // row_length
                j = i - q * row_length
                xs[np.uintp(i)] = np.float32(X[np.uintp((base + q) * columns + j)]) if j < columns else 0.0
                i += int32(threads)
            i = thread
            while i < count:
                ys[i] = np.float32(y[base + i])
                hs[i] = np.float32(h[(base + i) * h_step])
                i += int32(threads)
            cuda.syncthreads()
            q = int32(0)
            while q < count:
                for c in range(chunks):
                    begin = np.uintp(q * row_length + (c * lanes + lane) * width)
                    if width == 4:
                        x[4 * c], x[4 * c + 1], x[4 * c + 2], x[4 * c + 3] = load4(xs, begin)
                    else:
                        x[c] = xs[begin]
                # whoever has stopped goes along with the others: shuffles want all lanes of a warp
                weight = hs[np.uintp(q)] if learns else 0.0
                status, out = advance(own, m, held, X, 0, lane, ys[np.uintp(q)], weight, tally)
                if status == f.OK:
                    done = int32(done + 1)
                    if moves:
                        r += 1
                        recall(table, r, rates)
                elif status < 0 and learns:
                    if skip:
                        left_out = int32(left_out + 1)
                    else:
                        learns = False
                        if lane == 0:
                            stopped[m] = origin + base + q
                if speaks:
                    z[at] = out if learns and status >= 0 else nan
                    at += np.uintp(weights.shape[0])
                q = int32(q + 1)
            base += rows
        if exists:
            put(own, m, state, m, sums, lane, tally)
            if lane == 0:
                learned[m] += done
                skipped[m] += left_out

    return kernel(single(learn_grid), pieces.classes, threads=threads)


@functools.cache
def keyed(pieces: Pieces, how: Plan, writes: bool, measures: bool) -> Any:
    """Kernel: each member learns rows of its own, ``begins[k]`` to ``ends[k] - 1`` for group ``groups[k]``.

    Its lanes draw another as soon as they are through; which they are given changes nothing. Group g is of
    member ``members[g]``; the output of row i, of member m, goes to ``z[i * z_row + m * z_member]``.
    """
    inline = single_inlined
    take, put = inline(take_body(pieces, how)), inline(put_body(pieces, how))
    advance, recall = inline(advance_body(pieces, how, measures)), single_jitable(recall_rates)
    draw, read = single_jitable(draw_body(how.lanes)), inline(read_body(how))
    blank = single_jitable(blank_body(writes))
    columns, lanes, _, values, _, threads = how
    n_hyper, n_scalars, n_tally, nan = pieces.n_hyper, pieces.n_scalars, 2 * N_SUMS, math.nan
    n_values = max(1, values)
    slots_shape = (max(1, pieces.n_slots), n_values)

    def learn_keyed(
        hp, weights, slots, charged, scalars, counts, table, first, step, X, y, h, h_step, origin, skip,
        stopped, learned, skipped, sums, z, z_row, z_member, members, groups, begins, ends, counter,
    ):  # fmt: skip
        x = cuda.local.array(n_values, float32)
        coming = cuda.local.array(n_values, float32)
        tally = cuda.local.array(n_tally, float32)
        rates = cuda.local.array((1, 3), float32)
        own = (
            cuda.local.array(n_hyper, float32), cuda.local.array(n_values, float32),
            cuda.local.array(slots_shape, float32), cuda.local.array(n_values, float32),
            cuda.local.array(n_scalars, float32), x, rates,
        )  # fmt: skip
        state, held = (hp, weights, slots, charged, scalars), (weights, slots, charged)
        lane = int32(cuda.threadIdx.x % lanes)
        g = -1
        m = 0
        i = 0
        last = 0
        r = 0
        done = 0
        left_out = 0
        place = np.uintp(0)
        moves = False
        target = np.float32(0.0)
        weight = np.float32(0.0)
        while True:
            if i >= last:
                if g >= 0:
                    put(own, m, state, g, sums, lane, tally)
                    if lane == 0:
                        learned[g] += done
                        skipped[g] += left_out
                number = draw(counter, lane)
                if number >= groups.shape[0]:
                    break
                g = groups[number]
                m = members[g]
                i = begins[number]
                last = ends[number]
                r = first[g] + step[g] * learned[g]
                moves = step[g] != 0
                done = 0
                left_out = 0
                take(own, m, state, g, counts, table, r, learned, sums, lane, tally)
                place = np.uintp(i * z_row + m * z_member)
                if stopped[g] >= 0:
                    blank(z, place, z_row, last - i, lane)
                    i = last
                if i < last:
                    read(X, i * columns, lane, coming)
                    target = np.float32(y[np.uintp(i)])
                    weight = np.float32(h[np.uintp(i * h_step)])
            if i < last:
                at = i * columns
                i += 1
                for k in range(values):
                    x[k] = coming[k]
                now, share = target, weight
                if i < last:  # on its way while this row is learned
                    read(X, at + columns, lane, coming)
                    target = np.float32(y[np.uintp(i)])
                    weight = np.float32(h[np.uintp(i * h_step)])
                status, out = advance(own, m, held, X, at, lane, now, share, tally)
                if status == f.OK:
                    done += 1
                    if moves:
                        r += 1
                        recall(table, r, rates)
                elif status < 0:
                    out = nan
                    if skip:
                        left_out += 1
                    else:
                        if lane == 0:
                            stopped[g] = origin + i - 1
                        blank(z, place, z_row, last - i + 1, lane)
                        i = last
                if writes and lane == 0:
                    z[place] = out
                place += np.uintp(z_row)

    return kernel(single(learn_keyed), pieces.classes, threads=threads)


@functools.cache
def refused(threads: int) -> Any:
    """Kernel: the first row with a bad number, as ``row * CODES - status`` in ``found``; a warp for a row."""
    total = single_jitable(over_group(WARP))

    def refused(X, y, h, h_step, columns, found):
        lane = cuda.threadIdx.x % WARP
        i = cuda.grid(1) // WARP
        while i < y.shape[0]:
            size = np.float32(0.0)
            k = lane
            while k < columns:
                size += abs(np.float32(X[i * columns + k]))
                k += WARP
            size = total(size)
            target, weight = np.float32(y[i]), np.float32(h[i * h_step])
            status = f.OK
            if not (size <= LIMIT):
                status = f.BAD_ROW
            elif not (abs(target) <= LIMIT):
                status = f.BAD_TARGET
            elif not (0.0 <= weight <= LIMIT):
                status = f.BAD_WEIGHT
            if status != f.OK and lane == 0:
                cuda.atomic.min(found, 0, i * CODES - status)
            i += cuda.gridsize(1) // WARP

    return kernel(single(refused), threads=threads)


# -- passes -------------------------------------------------------------------------------------


class Held:
    """The members' state on the device, where passes change it."""

    def __init__(self, pieces: Pieces, state: State) -> None:
        self.state: Any = State(*(cuda.to_device(np.ascontiguousarray(a, np.float32)) for a in state))
        self.can_pad = all(pads(pieces, hp) for hp in kinds_of(state.hp))
        self._uploaders: dict[Any, Uploader] = {}

    @property
    def shape(self) -> tuple[int, int]:
        """Members and columns."""
        return self.state.weights.shape  # type: ignore[no-any-return]

    def uploader(self, dtype: Any) -> Uploader:
        """Return what copies rows of a type, with its memory from the passes before."""
        if dtype not in self._uploaders:
            columns = self.shape[1]
            self._uploaders[dtype] = Uploader(columns, dtype, rows_of_chunk(columns, dtype.itemsize))
        return self._uploaders[dtype]


def hold(pieces: Pieces, state: State) -> Held:
    """Copy members' state to the device."""
    return Held(pieces, state)


def fetch(pieces: Pieces, held: Held) -> State:
    """Return a copy of the state, on the host."""
    return State(*(array.copy_to_host() for array in held.state))


def rows_at_once(n_members: int, p: int) -> int:
    """Return how many rows a pass may have, so that they and their outputs fit into the host's memory."""
    return max(1024, (1 << 28) // max(1, n_members + p))


def first_bad(X: Any, y: Any, h: Any, *, blocks: int = BLOCKS, threads: int = 256) -> tuple[int, int]:
    """Return the first row that is refused for a value, its target or weight, and why; n if there is none."""
    if not is_device_array(X):
        return on_host.first_bad(X, y, h)
    n, columns = X.shape
    if n == 0:
        return n, f.OK
    found = cuda.to_device(np.array([NOTHING_REFUSED]))
    rows = device_rows(X).reshape(n * columns)
    refused(threads)[min(blocks, -(-n * WARP // threads)), threads](
        rows, _column(y, n), _column(h, h.shape[0]), int(h.shape[0] > 1), columns, found
    )
    first = int(found.copy_to_host()[0])
    return (n, f.OK) if first == NOTHING_REFUSED else (first // CODES, -(first % CODES))


def _column(values: Any, n: int) -> Any:
    """Return targets or weights on the device."""
    if is_device_array(values):
        return device_vector(values, n, "y or w")
    return cuda.to_device(_single(values))


def _single(values: Any) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which kernels refuse
        return np.ascontiguousarray(values, dtype=np.float32)


class _Chunk(NamedTuple):
    """Rows ``first`` to ``last - 1`` of a pass, on the device."""

    first: int
    last: int
    values: Any  # one row behind the other
    targets: Any
    weights: Any
    h_step: int  # 0 for one weight of all


def _chunks(held: Held, X: Any, y: Any, h: Any, most: int) -> Iterator[_Chunk]:
    """Bring rows to the device, so many at a time at most; a chunk is good until the next is asked for."""
    n, columns = X.shape
    h_step = int(h.shape[0] > 1)
    if not is_device_array(X):
        dtype = np.dtype(X.dtype if X.dtype in (np.float16, np.uint8) else np.float32)
        if X.size > DIRECT_VALUES:
            yield from _uploaded(held.uploader(dtype), X, y, h, most)
            return
        X = cuda.to_device(np.ascontiguousarray(X, dtype))
    values, targets, weights = device_rows(X).reshape(n * columns), _column(y, n), _column(h, h.shape[0])
    for lo in range(0, n, most):
        hi = min(n, lo + most)
        here = weights[lo:hi] if h_step else weights
        yield _Chunk(lo, hi, values[lo * columns : hi * columns], targets[lo:hi], here, h_step)


def _uploaded(uploader: Uploader, X: Any, y: Any, h: Any, most: int) -> Iterator[_Chunk]:
    most = min(most, uploader.most_rows)
    h_step = int(h.shape[0] > 1)
    weight = None if h_step else _column(h, 1)
    for lo in range(0, len(X), most):
        hi = min(len(X), lo + most)
        values, targets = uploader.upload(X[lo:hi]), uploader.upload_vector("y", _single(y[lo:hi]))
        weights = uploader.upload_vector("w", _single(h[lo:hi])) if weight is None else weight
        uploader.ready(0)
        yield _Chunk(lo, hi, values, targets, weights, h_step)
        uploader.done(0)


class _Books(NamedTuple):
    """What a pass is told of each member, and what it notes, on the device: as kernels are given it."""

    counts: Any
    table: Any
    first: Any
    step: Any
    stopped: Any
    learned: Any
    skipped: Any
    sums: Any

    @classmethod
    def of(cls, clock: Clock, outcome: Outcome) -> _Books:
        nothing, n = np.zeros_like(outcome.learned), len(outcome.learned)
        table = np.concatenate([clock.table, clock.table[-1:]])  # one more row is read after the last update
        host = (
            clock.counts.astype(np.int64), table.astype(np.float32), clock.first, clock.step,
            outcome.stopped, nothing, nothing, np.zeros((n, 2 * N_SUMS), np.float32),
        )  # fmt: skip
        return cls(*map(cuda.to_device, host))

    def arguments(self, chunk: _Chunk, skip: bool) -> tuple[Any, ...]:
        """Return what kernels want between the state and the outputs."""
        rows = (chunk.values, chunk.targets, chunk.weights, chunk.h_step, chunk.first, skip)
        return (*self[:4], *rows, *self[4:])

    def add_to(self, outcome: Outcome) -> None:
        """Add what has happened in the pass, once kernels are through."""
        outcome.stopped[:] = self.stopped.copy_to_host()
        outcome.learned[:] += self.learned.copy_to_host()
        outcome.skipped[:] += self.skipped.copy_to_host()
        if outcome.sums.size:
            sums = self.sums.copy_to_host().astype(np.float64)
            outcome.sums[:] += sums[:, :N_SUMS] - sums[:, N_SUMS:]


def grid_pass(
    pieces: Pieces,
    held: Held,
    clock: Clock,
    X: Any,
    y: Any,
    h: Any,
    skip: bool,
    outcome: Outcome,
    z: NDArray[np.float32] | None,
    threads: int = 1,
    *,
    launch: Launch = LAUNCH,
) -> None:
    """Let every member learn all rows ``X (n, p)``; outputs made before each update go to ``z (n, M)``.

    ``X`` is on the host or the device, in float32, float16 or uint8. ``outcome.sums`` of no elements: losses
    and errors are not added up.
    """
    n_members, columns = held.shape
    if not n_members or not len(y):
        return
    how = plan(pieces, n_members, columns, held.can_pad, launch)
    if not how.values:
        everyone, none = np.arange(n_members), np.zeros(n_members, dtype=np.int64)
        members = cuda.to_device(everyone)
    books, writes, measures = _Books.of(clock, outcome), z is not None, outcome.sums.size > 0
    most = min(len(y), max(1, OUTPUT_VALUES // n_members)) if writes else len(y)
    room = cuda.device_array(n_members * most if writes else 1, np.float32)
    for chunk in _chunks(held, X, y, h, most):
        arguments = (*held.state, *books.arguments(chunk, skip), room)
        if how.values:
            blocks = -(-n_members // how.members)
            grid(pieces, how, writes, measures)[blocks, how.threads](*arguments)
        else:
            groups = everyone, none, none + (chunk.last - chunk.first)
            kernel = keyed(pieces, how, writes, measures)
            _draw(kernel, how, launch, (*arguments, n_members, 1, members), groups)
        if z is not None:
            part = z[chunk.first : chunk.last].reshape(-1)
            room[: part.size].copy_to_host(part)
    books.add_to(outcome)


def keyed_pass(
    pieces: Pieces,
    held: Held,
    clock: Clock,
    X: Any,
    y: Any,
    h: Any,
    starts: NDArray[np.int64],
    members: NDArray[np.int64],
    skip: bool,
    outcome: Outcome,
    z: NDArray[np.float32] | None,
    threads: int = 1,
    *,
    launch: Launch = LAUNCH,
) -> None:
    """Let ``members[g]`` learn rows ``starts[g]`` to ``starts[g + 1] - 1``, for each g; ``z`` is ``(n,)``."""
    if not len(y):
        return
    how = plan(pieces, len(members), held.shape[1], held.can_pad, launch, keyed=True)
    books, writes, measures = _Books.of(clock, outcome), z is not None, outcome.sums.size > 0
    room = cuda.device_array(min(len(y), OUTPUT_VALUES) if writes else 1, np.float32)
    there, kernel = cuda.to_device(members), keyed(pieces, how, writes, measures)
    for chunk in _chunks(held, X, y, h, OUTPUT_VALUES):
        bounds = np.clip(starts, chunk.first, chunk.last) - chunk.first
        groups = np.flatnonzero(bounds[1:] > bounds[:-1])
        arguments = (*held.state, *books.arguments(chunk, skip), room, 1, 0, there)
        _draw(kernel, how, launch, arguments, (groups, bounds[groups], bounds[groups + 1]))
        if z is not None:
            part = z[chunk.first : chunk.last]
            room[: part.size].copy_to_host(part)
    books.add_to(outcome)


def _draw(
    kernel: Any, how: Plan, launch: Launch, arguments: tuple[Any, ...], groups: tuple[NDArray[np.int64], ...]
) -> None:
    """Launch `keyed`; members with most rows come first, so that none is left to itself in the end."""
    _, begins, ends = groups
    order = np.argsort(begins - ends, kind="stable")
    there = (cuda.to_device(part[order]) for part in groups)
    counter = cuda.to_device(np.zeros(1, dtype=np.int32))
    blocks = max(1, min(launch.blocks, -(-len(order) // how.members)))
    kernel[blocks, how.threads](*arguments, *there, counter)
