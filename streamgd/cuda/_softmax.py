"""Sums of gradients of softmax regression: few classes in one kernel, many by products of matrices.

The weights to predict with are made once, as a table ``(1 + columns, classes)``, the intercepts first:
averages and penalties have no say in what comes after. A class that has not been seen has an intercept of
minus infinity there, and so its outputs are.

Of few classes a warp has some rows in registers at a time, as in ``_linear``, and the table in shared memory.
Of many, outputs are the product of rows and table, a warp makes derivatives of each row's outputs, and their
sums are the product of rows, transposed, and derivatives; rows come in parts that a device's cache can hold.
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from streamgd import _features as f
from streamgd._jit import LIMIT
from streamgd._single import single, single_inlined, single_jitable
from streamgd.kernels import access, coordinate
from streamgd.kernels.pieces import OPTIMIZER, SAMPLES, Pieces
from streamgd.kernels.softmax import all_but

from . import _gemm, _linear
from ._backend import FULL_WARP, cuda, float32, int32, int64, kernel, load4
from ._engine import Outcome, Singles, outcome_of
from ._linear import (
    COUNT,
    N_INFO,
    NOTHING_REFUSED,
    REFUSED,
    WARP,
    Plan,
    add_over_warp,
    leave_counts,
    tally_row,
)

MOST_CLASSES = 16  # of one kernel
# Sums that a thread of it has registers for: of rows read 4 values at once, or one by one; less where
# gradients are taken ahead.
MOST_SUMS, MOST_SUMS_SINGLY, LESS_AHEAD = 64, 40, 16
PART = 16 << 20  # bytes of rows or derivatives that are worked on at a time: an H100's cache has 50 MB


def few(pieces: Pieces, columns: int, known: int, aligned: bool) -> Plan | None:
    """Return how threads share rows if one kernel is to do all, None for products of matrices.

    One kernel reads rows once, and does as long as registers have room for its sums: of 16 classes and 128
    columns, or 8 and 256. Where products are faster nobody has measured yet: the limits are the compiler's.
    """
    how = _linear.plan(pieces, columns, aligned)
    n_sums, most = known * how.values, MOST_SUMS if how.width == 4 else MOST_SUMS_SINGLY
    if pieces.looks_ahead:
        most -= LESS_AHEAD
    if how.wide or known > MOST_CLASSES or n_sums > most:
        return None
    return how._replace(rows=2 if 2 * known <= MOST_CLASSES and 2 * n_sums <= most else 1)


# -- what both ways share -----------------------------------------------------------------------


def table_body(pieces: Pieces) -> Callable[..., Any]:
    """Build ``(hp, weights, slots, charged, scalars, known, table)``, by all threads of a launch.

    Of the state, coordinate s of class k stands at ``s * lanes + k``; ``lanes`` is the number of rows of
    scalars. ``table`` gets what predictions are made with, and behind it, if rules look ahead, what gradients
    are taken at.
    """
    jit = single_jitable
    weight, weight_ahead = (jit(coordinate.weight_body(pieces, jit, ahead=a)) for a in (False, True))
    intercept, intercept_ahead = (jit(coordinate.intercept_body(pieces, jit, ahead=a)) for a in (False, True))
    load, take_own = jit(access.LOAD[pieces.optimizer.n_slots]), jit(access.TAKE[pieces.n_own])
    average_slot = max(0, pieces.n_slots - 1)
    ahead_too = pieces.looks_ahead
    unseen, nan = -math.inf, math.nan

    def table(hp, weights, slots, charged, scalars, known, table):
        lanes = scalars.shape[0]
        n = weights.shape[0] // lanes
        size = (1 + n) * known
        for at in range(cuda.grid(1), size, cuda.gridsize(1)):
            row, lane = at // known, at % known
            mine = scalars[lane]
            own = take_own(mine, OPTIMIZER)
            if mine[SAMPLES] == 0.0:
                w = unseen if row == 0 else 0.0
                w_ahead = w
            elif row == 0:
                w = intercept(hp, mine, own)
                w_ahead = intercept_ahead(hp, mine, own)
                if w == unseen:  # of a class that has been seen: its rows are refused
                    w = nan
                if w_ahead == unseen:
                    w_ahead = nan
            else:
                s = (row - 1) * lanes + lane
                held, average = load(slots, s), slots[average_slot, s]
                w = weight(hp, weights[s], held, 1.0, charged[s], average, mine, own)
                w_ahead = weight_ahead(hp, weights[s], held, 1.0, charged[s], average, mine, own)
            table[at] = w
            if ahead_too:
                table[size + at] = w_ahead

    return table


def judge(size, y, h, bound, bound_ahead, weight, clip):
    """Return a row's status, and what its derivatives are multiplied by; ``bound`` is its outputs' size."""
    if not (size <= LIMIT):
        return f.BAD_ROW, 0.0
    if not (abs(y) <= LIMIT):
        return f.BAD_TARGET, 0.0
    if not (0.0 <= h <= LIMIT):
        return f.BAD_WEIGHT, 0.0
    if not (bound <= LIMIT):
        return f.OVERFLOW, 0.0
    if h == 0.0:
        return f.OK, 0.0
    steepest = h * weight
    if not (bound_ahead <= LIMIT and steepest <= LIMIT and min(steepest, clip) * (1.0 + size) <= LIMIT):
        return f.OVERFLOW, 0.0
    return f.OK, steepest


# -- few classes --------------------------------------------------------------------------------


def sums_body(how: Plan, known: int, ahead_too: bool) -> Callable[..., Any]:
    """Build ``(table, factors, clip, X, y, w, z, skip, base, n, parts, info)``, by all threads of a launch.

    ``parts`` gets each block's sums ``(1 + columns, known)``, ``z`` the outputs; ``factors`` are the weights
    of classes. There were ``base`` rows before ``X``.
    """
    jit = single_jitable
    add, tally, leave = jit(add_over_warp), jit(tally_row), jit(leave_counts)
    judge_row, others = single_inlined(judge), single_inlined(all_but)
    p, lanes, chunks, width, rows, threads, _ = how
    values, warps, groups = how.values, threads // WARP, threads // lanes
    padded = lanes * values
    n_out = 2 * known if ahead_too else known  # of a row: to predict with, and at last to take gradients at
    n_weights, size = n_out * padded, (1 + p) * known
    n_x, n_outs, n_mine = rows * values, rows * n_out, known * values
    n_bias = -(-known // lanes)
    n_known, unseen, nan = float(known), -math.inf, math.nan

    def sums(table, factors, clip, X, y, w, z, skip, base, n, parts, info):
        thread = cuda.threadIdx.x
        lane, group = thread % lanes, thread // lanes
        weights = cuda.shared.array(n_weights, float32, alignment=16)  # output by output
        biases = cuda.shared.array(n_out, float32)
        total = cuda.shared.array(size, float32)
        x = cuda.local.array(n_x, float32)
        length = cuda.local.array(rows, float32)
        out = cuda.local.array(n_outs, float32)
        mine = cuda.local.array(n_mine, float32)
        bias = cuda.local.array(n_bias, float32)  # of class k the lane k % lanes has the sum
        for v in range(thread, n_weights, threads):
            j, k = v % padded, v // padded
            weights[v] = table[k // known * size + (1 + j) * known + k % known] if j < p else 0.0
        for k in range(thread, n_out, threads):
            biases[k] = table[k // known * size + k % known]
        for v in range(n_mine):
            mine[v] = 0.0
        for k in range(n_bias):
            bias[k] = 0.0
        cuda.syncthreads()
        w_step = 1 if w.shape[0] > 1 else 0
        refused = int64(NOTHING_REFUSED)
        count = int32(0)
        skipped = int32(0)

        at_row = int64(cuda.blockIdx.x) * groups * rows
        while at_row < n:  # the same for all threads of a block
            for r in range(rows):
                i = at_row + r * groups + group
                start = i * p
                for c in range(chunks):
                    j = (lane + c * lanes) * width
                    at = r * values + c * width
                    there = i < n and j < p
                    if width == 4:
                        if there:
                            x[at], x[at + 1], x[at + 2], x[at + 3] = load4(X, start + j)
                        else:
                            x[at], x[at + 1], x[at + 2], x[at + 3] = 0.0, 0.0, 0.0, 0.0
                    else:
                        x[at] = float32(X[start + j]) if there else 0.0
            for r in range(rows):
                length[r] = 0.0
                for v in range(values):
                    length[r] += abs(x[r * values + v])
                length[r] = add(length[r], 1, lanes)
            for k in range(n_out):
                for r in range(rows):
                    out[r * n_out + k] = 0.0
                for c in range(chunks):
                    j = k * padded + (lane + c * lanes) * width
                    if width == 4:
                        a0, a1, a2, a3 = load4(weights, j)
                        for r in range(rows):
                            at = r * values + c * 4
                            q = x[at] * a0 + x[at + 1] * a1 + x[at + 2] * a2 + x[at + 3] * a3
                            out[r * n_out + k] += q
                    else:
                        for r in range(rows):
                            out[r * n_out + k] += x[r * values + c] * weights[j]
                for r in range(rows):
                    out[r * n_out + k] = add(out[r * n_out + k], 1, lanes)
            for r in range(rows):
                i = at_row + r * groups + group
                if i < n:
                    first, last = r * n_out, (r + 1) * n_out - known
                    bound = 0.0
                    bound_ahead = 0.0
                    for k in range(n_out):
                        seen = biases[k] != unseen
                        q = out[first + k] + biases[k] if seen else unseen
                        out[first + k] = q
                        q = abs(q) if seen else 0.0
                        bound += q if k < known else 0.0
                        bound_ahead += q if k >= known else 0.0
                    label = int32(y[i]) if 0.0 <= y[i] < n_known else int32(0)
                    h = float32(w[i * w_step])
                    status, steepest = judge_row(
                        length[r], float32(y[i]), h, bound, bound_ahead, factors[label], clip
                    )
                    if lane == 0:
                        count, skipped, refused = tally(status, h, base + i, count, skipped, refused)
                    for k in range(known):
                        if lane == k % lanes:
                            z[i * known + k] = out[first + k] if status == f.OK else nan
                    if steepest != 0.0:  # of a row that is refused, not all values are numbers
                        top = int32(-1)
                        best = unseen
                        for k in range(known):
                            if out[last + k] > best:
                                best = out[last + k]
                                top = int32(k)
                        rest = 0.0
                        for k in range(known):
                            q = out[last + k]
                            q = math.exp(q - best) if q > unseen else 0.0
                            out[last + k] = q
                            rest += q if k != top else 0.0
                        share = steepest / (1.0 + rest)  # one division: they are long
                        for k in range(known):
                            missing = others(out, last + top, rest, last + k)
                            g = share * (-missing if k == label else out[last + k])
                            g = min(max(g, -clip), clip)
                            bias[k // lanes] += g if lane == k % lanes else 0.0
                            for v in range(values):
                                mine[k * values + v] += g * x[r * values + v]
            at_row += int64(cuda.gridDim.x) * groups * rows

        # the rows side by side in a warp, then the warps of the block, one after the other
        for v in range(n_mine):
            mine[v] = add(mine[v], lanes, WARP)
        for k in range(n_bias):
            bias[k] = add(bias[k], lanes, WARP)
        leave(info, 0, skip, count, skipped, refused)
        for v in range(thread, size, threads):
            total[v] = 0.0
        for q in range(warps):
            cuda.syncthreads()
            if thread // WARP == q and thread % WARP < lanes:
                for k in range(known):
                    for v in range(values):
                        j = (lane + v // width * lanes) * width + v % width
                        if j < p:
                            total[(1 + j) * known + k] += mine[k * values + v]
                    if lane == k % lanes:
                        total[k] += bias[k // lanes]
        cuda.syncthreads()
        own_part = int64(cuda.blockIdx.x) * size
        for v in range(thread, size, threads):
            parts[own_part + v] = total[v]

    return sums


# -- many classes -------------------------------------------------------------------------------


def lengths_body() -> Callable[..., Any]:
    """Build ``(X, n, columns, copies, clean, lengths)``, a warp for each row: sums of absolute values.

    If it ``copies``, ``clean`` gets the rows in float32, and zeros for one that is refused: its derivatives
    are 0, but not all of its values may be numbers.
    """
    add = single_jitable(add_over_warp)

    def lengths(X, n, columns, copies, clean, lengths):
        lane = cuda.threadIdx.x % WARP
        for i in range(int64(cuda.grid(1) // WARP), n, cuda.gridsize(1) // WARP):
            start = i * columns
            length = 0.0
            for j in range(lane, columns, WARP):
                length += abs(float32(X[start + j]))
            length = add(length, 1, WARP)
            if lane == 0:
                lengths[i] = length
            if copies:
                good = length <= LIMIT
                for j in range(lane, columns, WARP):
                    clean[start + j] = float32(X[start + j]) if good else 0.0

    return lengths


def first_highest(best, top):
    """Return the highest of all lanes, and where it stands; of equals the first."""
    step = 1
    while step < WARP:
        other = cuda.shfl_xor_sync(FULL_WARP, best, step)
        place = cuda.shfl_xor_sync(FULL_WARP, top, step)
        if other > best or (other == best and place < top):
            best, top = other, place
        step <<= 1
    return best, top


def derivatives_body(ahead_too: bool) -> Callable[..., Any]:
    """Build ``(table, size, factors, clip, y, w, lengths, z, d, skip, base, n, info)``, a warp for each row.

    ``z (n, known)`` has rows times weights, and gets the outputs; ``d`` the derivatives. Where gradients are
    taken ahead, ``d`` has rows times those weights. A table has ``size`` numbers, the biases first.
    """
    jit = single_jitable
    add, tally, leave = jit(add_over_warp), jit(tally_row), jit(leave_counts)
    highest = jit(first_highest)
    judge_row, others = jit(judge), jit(all_but)
    unseen, nan = -math.inf, math.nan

    def derivatives(table, size, factors, clip, y, w, lengths, z, d, skip, base, n, info):
        lane = cuda.threadIdx.x % WARP
        known = factors.shape[0]
        w_step = 1 if w.shape[0] > 1 else 0
        refused = int64(NOTHING_REFUSED)
        count = int32(0)
        skipped = int32(0)
        for i in range(int64(cuda.grid(1) // WARP), n, cuda.gridsize(1) // WARP):
            start = i * known
            bound = 0.0
            bound_ahead = 0.0
            best = unseen
            top = int32(known)
            for k in range(lane, known, WARP):
                seen = table[k] != unseen
                q = z[start + k] + table[k] if seen else unseen
                z[start + k] = q
                bound += abs(q) if seen else 0.0
                if ahead_too:
                    seen = table[size + k] != unseen
                    q = d[start + k] + table[size + k] if seen else unseen
                    bound_ahead += abs(q) if seen else 0.0
                d[start + k] = q
                if q > best:
                    best = q
                    top = int32(k)
            bound = add(bound, 1, WARP)
            bound_ahead = add(bound_ahead, 1, WARP)
            best, top = highest(best, top)
            label = int32(y[i]) if 0.0 <= y[i] < float32(known) else int32(0)
            h = float32(w[i * w_step])
            status, steepest = judge_row(lengths[i], y[i], h, bound, bound_ahead, factors[label], clip)
            if lane == 0:
                count, skipped, refused = tally(status, h, base + i, count, skipped, refused)
            rest = 0.0
            for k in range(lane, known, WARP):
                if status != f.OK:
                    z[start + k] = nan
                q = d[start + k]
                q = math.exp(q - best) if q > unseen else 0.0
                d[start + k] = q
                rest += q if k != top else 0.0
            rest = add(rest, 1, WARP)
            share = steepest / (1.0 + rest)
            for k in range(lane, known, WARP):
                g = -others(d, start + top, rest, start + k) if k == label else d[start + k]
                d[start + k] = min(max(share * g, -clip), clip) if steepest != 0.0 else 0.0
        leave(info, 0, skip, count, skipped, refused)

    return derivatives


# -- kernels ------------------------------------------------------------------------------------


@functools.cache
def table(pieces: Pieces, threads: int) -> Any:
    """Kernel: the weights that rows are multiplied by; see `table_body`."""
    return kernel(single(table_body(pieces)), pieces.classes, threads=threads)


@functools.cache
def sums(how: Plan, known: int, ahead_too: bool) -> Any:
    """Kernel: the sums of rows' gradients, block by block; see `sums_body`."""
    return kernel(single(sums_body(how, known, ahead_too)), threads=how.threads)


@functools.cache
def lengths(threads: int) -> Any:
    """Kernel: what rows add up to; see `lengths_body`."""
    return kernel(single(lengths_body()), threads=threads)


@functools.cache
def derivatives(ahead_too: bool, threads: int) -> Any:
    """Kernel: derivatives in rows' outputs; see `derivatives_body`."""
    return kernel(single(derivatives_body(ahead_too)), threads=threads)


# -- the engine ---------------------------------------------------------------------------------


class SoftmaxEngine:
    """Softmax regression on the device, while gradients of rows of ``p`` columns are added up.

    Calls come in this order: `begin`, `add` for each part, `sums`. All kernels run on ``stream``. Sums are
    the same to the bit whenever they are computed; where cuBLAS is used, on the same kind of device.

    Parameters
    ----------
    pieces
        What the model is made of.
    p
        Columns.
    known
        Classes.
    itemsize
        Bytes of a value: 4 if it is a float32.
    aligned
        Whether rows begin at multiples of 16 bytes, and are float32.
    """

    def __init__(self, pieces: Pieces, p: int, known: int, itemsize: int, aligned: bool) -> None:
        self._clip_at = pieces.hyper_starts[-1]
        self._pieces = coordinate.that_look(pieces)
        self._p, self._known, self._is_single = p, known, itemsize == 4
        self._threads, self._size = _linear.THREADS, (1 + p) * known
        self._ahead_too = self._pieces.looks_ahead
        self.stream = cuda.stream()
        self._info = cuda.device_array(N_INFO, np.int64)
        self._sums = cuda.device_array(self._size, np.float32)
        self._table = cuda.device_array((2 if self._ahead_too else 1) * self._size, np.float32)
        self._how = few(self._pieces, p, known, aligned)
        if self._how is not None:
            self._parts = cuda.device_array(_linear.BLOCKS * self._size, np.float32)
        else:
            self._products = _gemm.products(self.stream)
            self._most = max(WARP, PART // (4 * max(p, known)))  # rows of a part
            self._rows = 0  # that there is room for
            self._clean = cuda.device_array(1, np.float32)

    def begin(
        self,
        hp: Singles,
        weights: Singles,
        slots: Singles,
        charged: Singles,
        scalars: Singles,
        class_weights: Singles,
    ) -> None:
        """Take in the state; ``weights (p, lanes)`` have at least as many lanes as there are classes."""
        n_slots = max(1, self._pieces.n_slots)
        arrays = hp, weights.reshape(-1), slots[:n_slots].reshape(n_slots, -1), charged.reshape(-1), scalars
        state = [cuda.to_device(np.ascontiguousarray(a), stream=self.stream) for a in arrays]
        self._factors = cuda.to_device(np.ascontiguousarray(class_weights), stream=self.stream)
        self._clip = np.float32(hp[self._clip_at])
        blocks = self._blocks(self._size, self._threads)
        launch = table(self._pieces, self._threads)[blocks, self._threads, self.stream]
        launch(*state, self._known, self._table)
        info = np.zeros(N_INFO, np.int64)
        info[REFUSED] = NOTHING_REFUSED
        self._info.copy_to_device(info, stream=self.stream)
        self._sums.copy_to_device(np.zeros(self._size, np.float32), stream=self.stream)
        self._base = 0  # rows seen
        self.stream.synchronize()  # the arrays on the host go away

    def add(self, X: Any, y: Any, w: Any, z: Any, skip: bool, n: int) -> None:
        """Add up the gradients of ``n`` rows ``X (n * p,)``; ``z (n * known,)`` gets their outputs."""
        if self._how is not None:
            self._add_few(self._how, X, y, w, z, skip, n)
            return
        for lo in range(0, n, self._most):
            hi = min(lo + self._most, n)
            rows, out = (a[lo * k : hi * k] for a, k in ((X, self._p), (z, self._known)))
            self._add_many(rows, y[lo:hi], w[lo:hi] if w.shape[0] > 1 else w, out, skip, hi - lo)

    def _add_few(self, how: Plan, X: Any, y: Any, w: Any, z: Any, skip: bool, n: int) -> None:
        given, rest = (self._table, self._factors, self._clip, X, y, w, z, skip), (self._parts, self._info)
        blocks = self._blocks(n, how.rows_of_block)
        launch = sums(how, self._known, self._ahead_too)[blocks, self._threads, self.stream]
        launch(*given, self._base, n, *rest)
        add = _linear.collected(self._threads)[self._blocks(self._size, WARP), self._threads, self.stream]
        add(self._parts, blocks, self._size - 1, self._sums, self._info)
        self._base += n

    def _add_many(self, X: Any, y: Any, w: Any, z: Any, skip: bool, n: int) -> None:
        p, known, products = self._p, self._known, self._products
        copies = skip or not self._is_single
        self._make_room(n, copies)
        blocks = self._blocks(n, self._threads // WARP)
        measure = lengths(self._threads)[blocks, self._threads, self.stream]
        measure(X, n, p, copies, self._clean, self._lengths)
        rows = self._clean if copies else X
        products.multiply(rows, self._table[known : self._size], z, n, p, known)
        if self._ahead_too:
            products.multiply(rows, self._table[self._size + known :], self._slopes, n, p, known)
        derive = derivatives(self._ahead_too, self._threads)[blocks, self._threads, self.stream]
        given = self._table, self._size, self._factors, self._clip, y, w, self._lengths, z, self._slopes
        derive(*given, skip, self._base, n, self._info)
        products.add_transposed(rows, self._slopes, self._sums[known:], n, p, known)
        products.add_transposed(self._ones, self._slopes, self._sums[:known], n, 1, known)
        self._base += n

    def _make_room(self, n: int, copies: bool) -> None:
        """See that there is memory for a part of ``n`` rows."""
        if n > self._rows:
            self._rows = n
            self._slopes = cuda.device_array(n * self._known, np.float32)
            self._lengths = cuda.device_array(n, np.float32)
            self._ones = cuda.to_device(np.ones(n, np.float32), stream=self.stream)
        if copies and self._clean.size < self._rows * self._p:
            self._clean = cuda.device_array(self._rows * self._p, np.float32)

    @staticmethod
    def _blocks(n: int, of_block: int) -> int:
        """Blocks for so many things; the same on all devices."""
        return max(1, min(_linear.BLOCKS, -(-n // of_block)))

    def sums(self) -> tuple[Singles, Outcome]:
        """Return the sums ``(1 + p, known)`` of what was added, and what has become of the rows."""
        total, info = (a.copy_to_host(stream=self.stream) for a in (self._sums, self._info))
        self.stream.synchronize()
        return total.reshape(-1, self._known), outcome_of(info, int(info[COUNT]))
