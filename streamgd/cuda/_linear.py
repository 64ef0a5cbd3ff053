"""Mini-batches of a linear model: rows are read once, for their outputs and for their gradients.

A warp (of few columns) or a block (of many) has some rows in registers at a time: it adds up their outputs,
then the derivatives of the loss times the same registers. Each block leaves the sum of its rows, and sums
are added up in an order that depends on nothing but the numbers of rows and columns: no float is added
atomically, and results are the same to the bit whenever they are computed.

The model's scalars are there twice: a step reads one copy and one of its threads writes the other, so no
thread can read what is changed already. ``turn`` says which; it changes with each mini-batch.
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from streamgd import _features as f
from streamgd._single import single, single_inlined, single_jitable
from streamgd.kernels import access, coordinate
from streamgd.kernels.pieces import OPTIMIZER, SAMPLES, Pieces

from ._backend import FULL_WARP, cuda, float32, int32, int64, kernel, load4

WARP = 32
NARROW = 256  # columns that a warp can have in registers, with their weights and sums
MOST_COLUMNS = 8192
THREADS = 256
BLOCKS = 264  # at most, in a launch: two for each multiprocessor of an H100, and the same everywhere
RESIDENT_BLOCKS = 64  # of a launch whose blocks wait for each other: one on each multiprocessor, if so many
ONE_STEP = 1 << 10  # columns up to which the block that finishes last takes the step itself

# The words of ``info``. A row is refused as ``row * CODES - status``; the smallest such number is kept.
REFUSED, COUNT, COUNT_2, SKIPPED, N_SAMPLES, N_STEPS, N_BATCHES, N_INFO = range(8)
NOTHING_REFUSED = (1 << 63) - 1
CODES = 16


class Plan(NamedTuple):
    """How threads share rows of ``columns`` values."""

    columns: int
    lanes: int  # threads that have one row: of a warp, or all of a block
    chunks: int  # groups of neighbouring columns that each has of it
    width: int  # columns of a group: 4, read at once, or 1
    rows: int  # that each thread has at a time, so that enough reads are under way
    threads: int  # of a block
    wide: bool

    @property
    def values(self) -> int:
        """Columns that a thread has of a row, some beyond the last."""
        return self.chunks * self.width

    @property
    def far(self) -> bool:
        """Whether a thread has more of a row than it has registers for."""
        return self.wide and self.values > 8

    @property
    def blocks_at_once(self) -> int:
        """Blocks that are to fit on a multiprocessor side by side, which limits their registers."""
        return 2 if self.far or self.values < 8 else 1

    @property
    def rows_of_block(self) -> int:
        """Rows that a block has at a time."""
        return self.rows * (1 if self.wide else self.threads // self.lanes)


def plan(pieces: Pieces, columns: int, aligned: bool) -> Plan:
    """Choose how rows are shared; those that are ``aligned`` are read 16 bytes at once."""
    if not 1 <= columns <= MOST_COLUMNS:
        raise ValueError(f"{columns} columns: kernels for the GPU take 1 to {MOST_COLUMNS}; use device='cpu'")
    width = 4 if aligned and columns % 4 == 0 else 1
    groups = -(-columns // width)
    wide = columns > NARROW
    threads = THREADS
    lanes = threads if wide else min(WARP, 1 << (groups - 1).bit_length())
    chunks = -(-groups // lanes)
    # as many as registers have room for
    room = (16 if width == 4 and not wide else 8) // (2 if pieces.looks_ahead else 1)
    rows = max(1, min(8, room // (chunks * width)))
    return Plan(columns, lanes, chunks, width, rows, threads, wide)


def add_over_warp(x, first, end):
    """Add up over lanes whose numbers differ in the bits from ``first`` to below ``end``."""
    step = first
    while step < end:
        x += cuda.shfl_xor_sync(FULL_WARP, x, step)
        step <<= 1
    return x


def tally_row(status, h, row, count, skipped, refused):
    """Count a row of weight ``h``, or that it is skipped, and keep it if it is the first that is refused."""
    if status == f.OK:
        return count + (int32(1) if h != 0.0 else int32(0)), skipped, refused
    return count, skipped + int32(1), min(refused, row * CODES - status)


def leave_counts(info, turn, skip, count, skipped, refused):
    """Add up a warp's counts of rows, and keep the first row that is refused. Integers: any order will do."""
    step = 1
    while step < WARP:
        count += cuda.shfl_xor_sync(FULL_WARP, count, step)
        skipped += cuda.shfl_xor_sync(FULL_WARP, skipped, step)
        step <<= 1
    if cuda.threadIdx.x % WARP == 0 and count > 0:
        cuda.atomic.add(info, COUNT + turn, int64(count))
    if cuda.threadIdx.x % WARP == 0 and skipped > 0 and skip:
        cuda.atomic.add(info, SKIPPED, int64(skipped))
    if refused < NOTHING_REFUSED and not skip:
        cuda.atomic.min(info, REFUSED, refused)


def gradient_body(pieces: Pieces, how: Plan) -> Callable[..., Any]:
    """Build the sums of rows ``first`` to ``first + n - 1``; all threads of a launch run it.

    ``(hp, weights, slots, charged, scalars, turn, X, y, w, z, skip, base, first, n, parts, info)``: ``parts``
    gets a block's sums, the intercept's first, then each column's; ``z`` the outputs. There were ``base``
    rows before ``X``.
    """
    return far_body(pieces, how) if how.far else near_body(pieces, how)


def near_body(pieces: Pieces, how: Plan) -> Callable[..., Any]:
    """Build `gradient_body` for rows that fit into registers, with their weights and sums."""
    jit, inline = single_jitable, single_inlined
    ahead_too = pieces.looks_ahead
    weight, weight_ahead = (jit(coordinate.weight_body(pieces, jit, ahead=a)) for a in (False, True))
    intercept, intercept_ahead = (jit(coordinate.intercept_body(pieces, jit, ahead=a)) for a in (False, True))
    slope = inline(coordinate.slope_body(pieces, jit))
    load, take_own = jit(access.LOAD[pieces.optimizer.n_slots]), jit(access.TAKE[pieces.n_own])
    average_slot, nan = max(0, pieces.n_slots - 1), math.nan
    clip_at = pieces.hyper_starts[-1]
    add, tally, leave = jit(add_over_warp), jit(tally_row), jit(leave_counts)
    p, lanes, chunks, width, rows, threads, wide = how
    values, sums_at_once = how.values, 3 if ahead_too else 2
    n_ahead, row_values = values if ahead_too else 1, rows * values
    warps = threads // WARP
    n_warps_of_row = warps if wide else 1
    groups = 1 if wide else threads // lanes  # rows that a block has side by side
    over = WARP if wide else lanes
    n_exchange = 2 * rows * sums_at_once * warps if wide else 1
    n_shared = 1 if wide else warps * (p + 1)

    def column(lane, v):
        return (lane + (v // width) * lanes) * width + v % width

    column_of = jit(column)

    def gradient(hp, weights, slots, charged, scalars, turn, X, y, w, z, skip, base, first, n, parts, info):
        thread = cuda.threadIdx.x
        lane = thread % lanes
        group = thread // lanes
        known = scalars[turn]
        own = take_own(known, OPTIMIZER)
        mine = cuda.local.array(values, float32)
        mine_ahead = cuda.local.array(n_ahead, float32)
        total = cuda.local.array(values, float32)
        x = cuda.local.array(row_values, float32)
        size = cuda.local.array(rows, float32)
        out = cuda.local.array(rows, float32)
        ahead = cuda.local.array(rows, float32)
        exchange = cuda.shared.array(n_exchange, float32)
        for v in range(values):
            j = column_of(lane, v)
            total[v] = 0.0
            mine[v] = 0.0
            if ahead_too:
                mine_ahead[v] = 0.0
            if j < p:
                held, average = load(slots, j), slots[average_slot, j]
                mine[v] = weight(hp, weights[j], held, 1.0, charged[j], average, known, own)
                if ahead_too:
                    mine_ahead[v] = weight_ahead(hp, weights[j], held, 1.0, charged[j], average, known, own)
        bias = intercept(hp, known, own)
        bias_ahead = intercept_ahead(hp, known, own)
        total_bias = 0.0
        clip = hp[clip_at]
        w_step = 1 if w.shape[0] > 1 else 0
        refused = int64(NOTHING_REFUSED)
        count = int32(0)
        skipped = int32(0)
        turn_of_exchange = 0

        at_row = int64(cuda.blockIdx.x) * groups * rows
        while at_row < n:  # the same for all threads of a warp, and of a block where they share a row
            for k in range(rows):
                i = at_row + k * groups + group
                start = (first + i) * p
                for c in range(chunks):
                    j = (lane + c * lanes) * width
                    at = k * values + c * width
                    there = i < n and j < p
                    if width == 4:
                        if there:
                            x[at], x[at + 1], x[at + 2], x[at + 3] = load4(X, start + j)
                        else:
                            x[at], x[at + 1], x[at + 2], x[at + 3] = 0.0, 0.0, 0.0, 0.0
                    else:
                        x[at] = float32(X[start + j]) if there else 0.0
            for k in range(rows):
                size[k] = 0.0
                out[k] = 0.0
                ahead[k] = 0.0
                for v in range(values):
                    q = x[k * values + v]
                    size[k] += abs(q)
                    out[k] += q * mine[v]
                    if ahead_too:
                        ahead[k] += q * mine_ahead[v]
                size[k] = add(size[k], 1, over)
                out[k] = add(out[k], 1, over)
                if ahead_too:
                    ahead[k] = add(ahead[k], 1, over)
            if wide:
                warp = thread // WARP
                if thread % WARP == 0:
                    for k in range(rows):
                        at = turn_of_exchange + (k * sums_at_once) * warps + warp
                        exchange[at] = size[k]
                        exchange[at + warps] = out[k]
                        if ahead_too:
                            exchange[at + 2 * warps] = ahead[k]
                cuda.syncthreads()  # one each time: meanwhile the next sums go into the other half
                for k in range(rows):
                    at = turn_of_exchange + (k * sums_at_once) * warps
                    size[k] = 0.0
                    out[k] = 0.0
                    ahead[k] = 0.0
                    for q in range(n_warps_of_row):
                        size[k] += exchange[at + q]
                        out[k] += exchange[at + warps + q]
                        if ahead_too:
                            ahead[k] += exchange[at + 2 * warps + q]
                turn_of_exchange = n_exchange // 2 - turn_of_exchange
            for k in range(rows):
                i = at_row + k * groups + group
                if i < n:
                    row = first + i
                    h = float32(w[row * w_step])
                    q = out[k] + bias
                    q_ahead = ahead[k] + bias_ahead if ahead_too else q
                    status, g = slope(hp, clip, size[k], float32(y[row]), h, q, q_ahead)
                    if lane == 0:
                        count, skipped, refused = tally(status, h, base + row, count, skipped, refused)
                        z[row] = q if status == f.OK else nan
                        total_bias += g
                    if g != 0.0:  # of a row that is refused, not all values are numbers
                        for v in range(values):
                            total[v] += g * x[k * values + v]
            at_row += int64(cuda.gridDim.x) * groups * rows

        # the rows side by side in a warp, the lanes that count, then the warps of the block
        shared = cuda.shared.array(n_shared, float32)
        if not wide:
            for v in range(values):
                total[v] = add(total[v], lanes, WARP)
            total_bias = add(total_bias, lanes, WARP)
        leave(info, turn, skip, count, skipped, refused)
        own_part = int64(cuda.blockIdx.x) * (p + 1)
        if wide:
            for v in range(values):
                j = column_of(lane, v)
                if j < p:
                    parts[own_part + 1 + j] = total[v]
            if thread == 0:
                parts[own_part] = total_bias
        else:
            warp = thread // WARP
            if thread % WARP < lanes:
                for v in range(values):
                    j = column_of(lane, v)
                    if j < p:
                        shared[warp * (p + 1) + 1 + j] = total[v]
                if lane == 0:
                    shared[warp * (p + 1)] = total_bias
            cuda.syncthreads()
            j = thread
            while j < p + 1:
                s = 0.0
                for q in range(warps):
                    s += shared[q * (p + 1) + j]
                parts[own_part + j] = s
                j += threads

    return gradient


def far_body(pieces: Pieces, how: Plan) -> Callable[..., Any]:
    """Build `gradient_body` for longer rows: a block reads one twice, the second time from its cache."""
    jit = single_jitable
    ahead_too = pieces.looks_ahead
    weight, weight_ahead = (jit(coordinate.weight_body(pieces, jit, ahead=a)) for a in (False, True))
    intercept, intercept_ahead = (jit(coordinate.intercept_body(pieces, jit, ahead=a)) for a in (False, True))
    slope = jit(coordinate.slope_body(pieces, jit))
    load, take_own = jit(access.LOAD[pieces.optimizer.n_slots]), jit(access.TAKE[pieces.n_own])
    average_slot, nan = max(0, pieces.n_slots - 1), math.nan
    clip_at = pieces.hyper_starts[-1]
    total_of, tally, leave = jit(over_block(how.threads)), jit(tally_row), jit(leave_counts)
    p, threads = how.columns, how.threads

    def gradient(hp, weights, slots, charged, scalars, turn, X, y, w, z, skip, base, first, n, parts, info):
        thread = cuda.threadIdx.x
        known = scalars[turn]
        own = take_own(known, OPTIMIZER)
        total = cuda.shared.array(p, float32)  # each thread has its own columns of it
        for j in range(thread, p, threads):
            total[j] = 0.0
        bias = intercept(hp, known, own)
        bias_ahead = intercept_ahead(hp, known, own)
        total_bias = 0.0
        w_step = 1 if w.shape[0] > 1 else 0
        refused = int64(NOTHING_REFUSED)
        count = int32(0)
        skipped = int32(0)
        for i in range(int64(cuda.blockIdx.x), n, int64(cuda.gridDim.x)):
            row = first + i
            start = row * p
            size = 0.0
            q = 0.0
            q_ahead = 0.0
            for j in range(thread, p, threads):
                x = float32(X[start + j])
                held, average = load(slots, j), slots[average_slot, j]
                size += abs(x)
                q += x * weight(hp, weights[j], held, 1.0, charged[j], average, known, own)
                if ahead_too:
                    q_ahead += x * weight_ahead(hp, weights[j], held, 1.0, charged[j], average, known, own)
            size = total_of(size)
            q = total_of(q) + bias
            q_ahead = total_of(q_ahead) + bias_ahead if ahead_too else q
            h = float32(w[row * w_step])
            status, g = slope(hp, hp[clip_at], size, float32(y[row]), h, q, q_ahead)
            if thread == 0:
                count, skipped, refused = tally(status, h, base + row, count, skipped, refused)
                z[row] = q if status == f.OK else nan
                total_bias += g
            if g != 0.0:
                for j in range(thread, p, threads):
                    total[j] += g * float32(X[start + j])
        leave(info, turn, skip, count, skipped, refused)
        own_part = int64(cuda.blockIdx.x) * (p + 1)
        for j in range(thread, p, threads):
            parts[own_part + 1 + j] = total[j]
        if thread == 0:
            parts[own_part] = total_bias

    return gradient


def collect_body(threads: int) -> Callable[..., Any]:
    """Build the sums over blocks, which all threads of a block run: its block ``block`` of ``n_blocks``.

    ``(parts, n_parts, p, share, adds, sums, block, n_blocks)``: each column's sum is made in an order of its
    own, times ``share``; ``adds`` says to add it to what is there.
    """
    slices = threads // WARP

    def collect(parts, n_parts, p, share, adds, sums, block, n_blocks):
        some = cuda.shared.array(threads, float32)
        thread = cuda.threadIdx.x
        part = thread // WARP
        j = block * WARP + thread % WARP
        while j - thread % WARP < p + 1:  # the same for all threads
            s = 0.0
            if j < p + 1:
                q = part
                while q < n_parts:
                    s += cuda.ldcg(parts, int64(q) * (p + 1) + j)
                    q += slices
            some[thread] = s
            cuda.syncthreads()
            if part == 0 and j < p + 1:
                for q in range(1, slices):
                    s += some[q * WARP + thread]
                sums[j] = ((sums[j] + s) if adds else s) * share
            cuda.syncthreads()
            j += n_blocks * WARP

    return collect


def over_block(threads: int) -> Callable[..., Any]:
    """Build the sum over all threads of a block, the same for each of them."""
    warps = threads // WARP
    add = single_jitable(add_over_warp)

    def total(x):
        sums = cuda.shared.array(warps, float32)
        x = add(x, 1, WARP)
        if cuda.threadIdx.x % WARP == 0:
            sums[cuda.threadIdx.x // WARP] = x
        cuda.syncthreads()
        x = 0.0
        for q in range(warps):
            x += sums[q]
        cuda.syncthreads()
        return x

    return total


def apply_body(pieces: Pieces, threads: int) -> Callable[..., Any]:
    """Build the step on the mean gradient.

    ``(hp, weights, slots, charged, scalars, turn, p, sums, rates, info, first, stride)``: a thread does
    columns ``first``, ``first + stride`` and so on; the one whose ``first`` is 0 writes the scalars. Rules
    that add up over columns want all threads in one block.
    """
    jit = single_jitable
    total = over_block(threads) if pieces.optimizer.n_sums else None
    update = single_inlined(coordinate.update_body(pieces, jit, access.STRIDED, total=total))
    take_own = jit(access.TAKE[pieces.n_own])
    n_scalars = pieces.n_scalars

    def apply(hp, weights, slots, charged, scalars, turn, p, sums, rates, info, first, stride):
        mine = cuda.local.array(n_scalars, float32)
        for k in range(n_scalars):
            mine[k] = scalars[turn, k]
        count = info[COUNT + turn]
        if count > 0:
            n = (p - first + stride - 1) // stride if first < p else 0
            r = min(int(mine[SAMPLES]), rates.shape[0] - 1)
            update(
                hp, weights, slots, charged, mine, take_own(mine, OPTIMIZER), sums, (1 + first, stride), 0,
                (first, stride), n, sums[0], 0.0, 0.0, 1.0, 1.0, 1.0, rates, r,
            )  # fmt: skip
            mine[SAMPLES] += 1.0  # here: steps since the table of rates began
        if first == 0:
            for k in range(n_scalars):
                scalars[1 - turn, k] = mine[k]
            info[N_SAMPLES] += count
            info[N_STEPS] += 1 if count > 0 else 0
            info[N_BATCHES] += 1
            info[COUNT + 1 - turn] = 0

    return apply


def finish_body(pieces: Pieces, threads: int) -> Callable[..., Any]:
    """Build what one block does when all have left their sums: the mean of the gradients, and the step on it.

    ``(hp, weights, slots, charged, scalars, turn, p, parts, n_parts, sums, rates, info)``
    """
    collect = single_jitable(collect_body(threads))
    move = single_jitable(apply_body(pieces, threads))

    def finish(hp, weights, slots, charged, scalars, turn, p, parts, n_parts, sums, rates, info):
        if info[REFUSED] == NOTHING_REFUSED:
            count = info[COUNT + turn]
            if count > 0:
                collect(parts, n_parts, p, 1.0 / float32(count), False, sums, 0, 1)
            thread = cuda.threadIdx.x
            move(hp, weights, slots, charged, scalars, turn, p, sums, rates, info, thread, threads)

    return finish


# -- kernels ------------------------------------------------------------------------------------


@functools.cache
def gradient(pieces: Pieces, how: Plan) -> Any:
    """Kernel: the sums of some rows, block by block; see `gradient_body`."""
    look = single_jitable(gradient_body(pieces, how))

    def gradient(hp, weights, slots, charged, scalars, X, y, w, z, parts, info, base, turn, skip, first, n):
        if info[REFUSED] >= (base + first) * CODES:
            look(hp, weights, slots, charged, scalars, turn, X, y, w, z, skip, base, first, n, parts, info)

    return kernel(single(gradient), pieces.classes, threads=how.threads, blocks=how.blocks_at_once)


@functools.cache
def collected(threads: int) -> Any:
    """Kernel: what blocks have left, added to ``sums``."""
    collect = single_jitable(collect_body(threads))

    def collected(parts, n_parts, p, sums, info):
        if info[REFUSED] == NOTHING_REFUSED:
            collect(parts, n_parts, p, 1.0, True, sums, cuda.blockIdx.x, cuda.gridDim.x)

    return kernel(single(collected), threads=threads)


@functools.cache
def meant(threads: int) -> Any:
    """Kernel: the mean of the gradients that blocks have left."""
    collect = single_jitable(collect_body(threads))

    def meant(parts, n_parts, p, sums, info, turn):
        count = info[COUNT + turn]
        if info[REFUSED] == NOTHING_REFUSED and count > 0:
            share = 1.0 / float32(count)
            collect(parts, n_parts, p, share, False, sums, cuda.blockIdx.x, cuda.gridDim.x)

    return kernel(single(meant), threads=threads)


@functools.cache
def apply(pieces: Pieces, threads: int) -> Any:
    """Kernel: the step on the mean gradient; for one block where the rule adds up over columns."""
    move = single_jitable(apply_body(pieces, threads))

    def apply(hp, weights, slots, charged, scalars, sums, rates, info, turn):
        if info[REFUSED] == NOTHING_REFUSED:
            first, stride = cuda.grid(1), cuda.gridsize(1)
            p = weights.shape[0]
            move(hp, weights, slots, charged, scalars, turn, p, sums, rates, info, first, stride)

    return kernel(single(apply), pieces.classes, threads=threads)


@functools.cache
def step(pieces: Pieces, how: Plan) -> Any:
    """Kernel: one mini-batch. The block that comes last adds up what all have left, and takes the step."""
    look = single_jitable(gradient_body(pieces, how))
    finish = single_jitable(finish_body(pieces, how.threads))
    p = how.columns

    def step(
        hp, weights, slots, charged, scalars, X, y, w, z, parts, sums, rates, info, ticket, base, turn, skip,
        first, n,
    ):  # fmt: skip
        number = cuda.shared.array(1, int32)
        if info[REFUSED] >= (base + first) * CODES:
            look(hp, weights, slots, charged, scalars, turn, X, y, w, z, skip, base, first, n, parts, info)
        cuda.syncthreads()
        if cuda.threadIdx.x == 0:
            cuda.threadfence()  # what its threads have left is there before the block takes a number
            number[0] = int32(cuda.atomic.inc(ticket, 0, cuda.gridDim.x - 1))
        cuda.syncthreads()
        if number[0] == cuda.gridDim.x - 1:
            cuda.threadfence()
            finish(hp, weights, slots, charged, scalars, turn, p, parts, cuda.gridDim.x, sums, rates, info)

    return kernel(single(step), pieces.classes, threads=how.threads, blocks=how.blocks_at_once)


def _grid_sync():
    cuda.threadfence()
    cuda.cg.this_grid().sync()
    cuda.threadfence()


def _block_sync():
    cuda.threadfence()
    cuda.syncthreads()


@functools.cache
def chunk(pieces: Pieces, how: Plan, alone: bool) -> Any:
    """Kernel: all mini-batches of ``size`` rows, one after the other; by one block if ``alone``."""
    look = single_jitable(gradient_body(pieces, how))
    finish = single_jitable(finish_body(pieces, how.threads))
    sync = single_jitable(_block_sync if alone else _grid_sync)
    p = how.columns

    def chunk(
        hp, weights, slots, charged, scalars, X, y, w, z, parts, sums, rates, info, base, turn, skip, size, n
    ):
        first = int64(0)
        # What others refuse meanwhile in these rows is not below their first: all threads see the same.
        while first < n and info[REFUSED] >= (base + first) * CODES:
            m = min(size, n - first)
            look(hp, weights, slots, charged, scalars, turn, X, y, w, z, skip, base, first, m, parts, info)
            sync()
            if cuda.blockIdx.x == 0:
                finish(
                    hp, weights, slots, charged, scalars, turn, p, parts, cuda.gridDim.x, sums, rates, info
                )
            sync()
            first += m
            turn = 1 - turn

    return kernel(single(chunk), pieces.classes, threads=how.threads)  # one on each multiprocessor
