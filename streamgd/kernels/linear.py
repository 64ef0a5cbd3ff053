"""Linear models: the update of one row, and the loops over rows that call it.

``hp`` is one vector: the hyper-parameters of loss, optimizer and penalty, then the gradient's clip
(a tuple of them costs 20 ns a number to unbox). ``scalars`` is the model's small vector, laid out
below. A row is refused, with a status, before anything is
written. The check is one sum of absolute values: NaN and infinity survive in it, it vectorises,
and the compiler may not remove it (it may remove ``x - x != 0``).
"""
# ruff: noqa: B018
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import carray, types

from streamgd import _features as f
from streamgd._features import read_dict, read_number
from streamgd._jit import (
    LIMIT,
    acquire_gil,
    address_of,
    bind,
    doubles_at,
    fingerprint,
    inlined,
    jitable,
    load_word,
    py_object,
    release_gil,
    singles_at,
    words_at,
)
from streamgd.optim.base import Loss, Optimizer, Penalty

from . import access

Pieces = tuple[type[Loss], type[Optimizer], type[Penalty]]
Jit = Callable[[Callable[..., Any]], Callable[..., Any]]  # how a target takes in a plain function
Layout = tuple[Callable[..., Any], Callable[..., Any]]

# The model's scalars. The optimizer's own follow, then the slots of an intercept that is a feature.
T, SAMPLES, INTERCEPT, L1_TOTAL, OPTIMIZER = range(5)


def n_scalars(optimizer: type[Optimizer]) -> int:
    """Length of ``scalars`` for an optimizer."""
    return OPTIMIZER + optimizer.n_scalars + optimizer.n_slots


def hyper_parts(pieces: Pieces) -> tuple[int, int, int]:
    """Where the optimizer's, the penalty's hyper-parameters and the clip begin in ``hp``."""
    loss, optimizer, penalty = (len(piece.struct._fields) for piece in pieces)
    return loss, loss + optimizer, loss + optimizer + penalty


def take_hyper(piece: type[Loss | Optimizer | Penalty]) -> Callable[..., Any]:
    """Reader of a piece's hyper-parameters: ``(hp, start) -> tuple``."""
    return access.TAKE[len(piece.struct._fields)]


def output_body(pieces: Pieces, jit: Jit, layout: Layout) -> Callable[..., Any]:
    """Build ``(hp, weights, slots, scalars, values, i, index, j, n) -> (size, z)``.

    ``size`` is the sum of absolute values of the row, ``z`` its raw output.
    """
    optimizer_class = pieces[1]
    make_optimizer = optimizer_class.struct
    value_at, slot_at = (jit(function) for function in layout)
    load = jit(access.LOAD[optimizer_class.n_slots])
    take = jit(access.TAKE[optimizer_class.n_slots])
    at = jit(optimizer_class.at)
    changes_weight = optimizer_class.overrides("at")
    with_intercept = optimizer_class.intercept_feature
    intercept_slots = OPTIMIZER + optimizer_class.n_scalars
    optimizer_hyper = jit(take_hyper(optimizer_class))
    optimizer_start, _, _ = hyper_parts(pieces)

    def output(hp, weights, slots, scalars, values, i, index, j, n):
        optimizer = make_optimizer(*optimizer_hyper(hp, optimizer_start))
        size = 0.0
        z = 0.0
        if changes_weight:
            for k in range(n):
                x = value_at(values, i, k)
                s = slot_at(index, j, k)
                size += abs(x)
                z += at(optimizer, weights[s], load(slots, s), x) * x
        else:
            for k in range(n):
                x = value_at(values, i, k)
                size += abs(x)
                z += weights[slot_at(index, j, k)] * x
        if with_intercept and changes_weight:
            z += at(optimizer, scalars[INTERCEPT], take(scalars, intercept_slots), 1.0)
        else:
            z += scalars[INTERCEPT]
        return size, z

    return output


def learn_row_body(pieces: Pieces, jit: Jit, layout: Layout) -> Callable[..., Any]:
    """Build the update of one row.

    ``(hp, weights, slots, charged, scalars, values, i, index, j, n, y, h, rates, r) -> (status, z)``
    """
    loss_class, optimizer_class, penalty_class = pieces
    make_loss, make_optimizer, make_penalty = (piece.struct for piece in pieces)
    loss_hyper, optimizer_hyper, penalty_hyper = (jit(take_hyper(piece)) for piece in pieces)
    optimizer_start, penalty_start, clip_at = hyper_parts(pieces)
    value_at, slot_at = (jit(function) for function in layout)
    output = jit(output_body(pieces, jit, layout))
    gradient, update = jit(loss_class.gradient), jit(loss_class.update)
    scan, row, step = jit(optimizer_class.scan), jit(optimizer_class.row), jit(optimizer_class.step)
    penalty_gradient = jit(penalty_class.gradient)
    accrue, shrink = jit(penalty_class.accrue), jit(penalty_class.shrink)
    load, store = jit(access.LOAD[optimizer_class.n_slots]), jit(access.STORE[optimizer_class.n_slots])
    take, put = jit(access.TAKE[optimizer_class.n_slots]), jit(access.PUT[optimizer_class.n_slots])
    take_scalars = jit(access.TAKE[optimizer_class.n_scalars])
    put_scalars = jit(access.PUT[optimizer_class.n_scalars])
    zero_sums, add = jit(access.TAKE[optimizer_class.n_sums]), jit(access.ADD[optimizer_class.n_sums])
    scans, own_row = optimizer_class.overrides("scan"), optimizer_class.overrides("row")
    importance_aware = optimizer_class.importance_aware
    own_update = loss_class.overrides("update")
    with_intercept = optimizer_class.intercept_feature
    shrinks = penalty_class.overrides("shrink")
    intercept_slots = OPTIMIZER + optimizer_class.n_scalars
    nothing = (0.0, 0.0, 0.0)

    def learn_row(hp, weights, slots, charged, scalars, values, i, index, j, n, y, h, rates, r):
        loss = make_loss(*loss_hyper(hp, 0))
        optimizer = make_optimizer(*optimizer_hyper(hp, optimizer_start))
        penalty = make_penalty(*penalty_hyper(hp, penalty_start))
        clip = hp[clip_at]
        size, z = output(hp, weights, slots, scalars, values, i, index, j, n)
        if not (size <= LIMIT):
            return f.BAD_ROW, z
        if not (abs(y) <= LIMIT):
            return f.BAD_TARGET, z
        if not (0.0 <= h <= LIMIT):
            return f.BAD_WEIGHT, z
        if not (abs(z) <= LIMIT):
            return f.OVERFLOW, z
        if h == 0.0:
            return f.NOOP, z
        d = gradient(loss, y, z)
        if not (abs(h * d) <= LIMIT):
            return f.OVERFLOW, z
        g = clip if h * d > clip else (-clip if h * d < -clip else h * d)
        if not (abs(g) * (1.0 + size) <= LIMIT):
            return f.OVERFLOW, z
        lr, next_lr, intercept_lr = rates[r, 0], rates[r, 1], rates[r, 2]
        one = 1.0 if intercept_lr != 0.0 else 0.0  # the value of an intercept that is a feature

        sums = ()
        if scans:
            sums = zero_sums(nothing, 0)
            for k in range(n):
                s = slot_at(index, j, k)
                w, new, part = scan(optimizer, weights[s], load(slots, s), value_at(values, i, k), d, h)
                weights[s] = w
                store(slots, s, new)
                sums = add(sums, part)
            if with_intercept:
                w, new, part = scan(optimizer, scalars[INTERCEPT], take(scalars, intercept_slots), one, d, h)
                scalars[INTERCEPT] = w
                put(scalars, intercept_slots, new)
                sums = add(sums, part)

        if own_row:
            state, c = row(optimizer, take_scalars(scalars, OPTIMIZER), sums, z, y, d, h, lr, scalars[T])
            put_scalars(scalars, OPTIMIZER, state)
        else:
            c = (lr,)
        if importance_aware:
            if own_update:
                c = (update(loss, z, y, c[0], c[1]),) + c[1:]  # noqa: RUF005  Numba fails on *
            else:
                c = (-c[0] * d,) + c[1:]  # noqa: RUF005

        for k in range(n):
            s = slot_at(index, j, k)
            x = value_at(values, i, k)
            w = weights[s]
            w, new = step(optimizer, w, load(slots, s), g * x + penalty_gradient(penalty, w), x, c)
            weights[s] = w
            store(slots, s, new)
        if with_intercept:
            w, new = step(optimizer, scalars[INTERCEPT], take(scalars, intercept_slots), g * one, one, c)
            scalars[INTERCEPT] = w
            put(scalars, intercept_slots, new)
        else:
            scalars[INTERCEPT] -= intercept_lr * g

        if shrinks:
            total = accrue(penalty, scalars[L1_TOTAL], next_lr)
            scalars[L1_TOTAL] = total
            for k in range(n):
                s = slot_at(index, j, k)
                weights[s], charged[s] = shrink(penalty, weights[s], charged[s], total)
        scalars[T] += 1.0
        scalars[SAMPLES] += 1.0
        return f.OK, z

    return learn_row


# -- learning ----------------------------------------------------------------------------------


@functools.cache
def learn(pieces: Pieces) -> Any:
    """Compiled ``(x, y, w, control) -> status``: updates from one dict, or from rows of arrays.

    All four are Python objects, seen as bare pointers: to unbox an int would cost 30 ns.

    With ``x`` None the control block is a job: rows ROW to LAST of arrays. One kernel has both, and a
    rule stands in it once for each layout, so that learn_one and learn_rows run the same
    instructions and agree to the bit. A job runs without the interpreter's lock, and stops, with ROW
    at the row in question, where one is refused or the table of rates is used up.
    """
    dense = inlined(learn_row_body(pieces, jitable, access.DENSE_VECTOR))
    sparse = inlined(learn_row_body(pieces, jitable, access.SPARSE_ROW))
    read = jitable(read_dict)
    n_slots = max(1, pieces[1].n_slots)
    length = n_scalars(pieces[1])
    n_hyper = hyper_parts(pieces)[-1] + 1
    sources = fingerprint(pieces)

    def learn(x_object, y_object, w_object, control_object):
        sources
        control: Any = load_word(address_of(control_object) + f.HEAD)
        c = carray(words_at(control), (f.N_WORDS,))
        is_job = address_of(x_object) == c[f.NONE]
        if is_job and c[f.LAST] == 0:
            return f.NOT_READ  # a user's None
        if c[f.BUSY] != 0:
            return f.IS_BUSY
        i, last = c[f.ROW], c[f.LAST]
        if not is_job:
            # Make the dict the one row of a job; the rest of its words never change.
            count = read(address_of(x_object), c, True)
            if count < 0:
                return count
            y_address = address_of(y_object)
            if y_address == c[f.POSITIVE]:
                y = 1.0
            elif y_address == c[f.NEGATIVE]:
                y = 0.0
            else:
                y = np.nan if c[f.IS_BINARY] != 0 else read_number(y_address, c)
            if not (abs(y) <= LIMIT):
                return f.NOT_TARGET
            h = read_number(address_of(w_object), c)
            if not (0.0 <= h <= LIMIT):
                return f.NOT_WEIGHT
            given = carray(doubles_at(c[f.GIVEN]), (3,))
            given[0] = y
            given[1] = h
            n = count & 0xFFFFFFFF
            c[f.END] = n
            c[f.KIND] = f.SPARSE if n == count else f.DENSE64
            c[f.COLUMNS] = c[f.SLOT] if n == count else n
            last = 1
        capacity, kind, n_values = c[f.CAPACITY], c[f.KIND], c[f.COLUMNS]
        weight_step, skip = c[f.WEIGHT_STEP], c[f.SKIP] != 0
        scratch = carray(doubles_at(c[f.X]), (capacity,))
        values = carray(doubles_at(c[f.VALUES]), (last,))
        singles = carray(singles_at(c[f.VALUES]), (last,))
        index = carray(words_at(c[f.COLUMNS]), (last,))
        starts = carray(words_at(c[f.STARTS]), (last,))
        targets = carray(doubles_at(c[f.TARGETS]), (last,))
        sample_weights = carray(doubles_at(c[f.SAMPLE_WEIGHTS]), (last,))
        outputs = carray(doubles_at(c[f.OUTPUTS]), (last,))
        scalars = carray(doubles_at(c[f.SCALARS]), (length,))
        weights = carray(doubles_at(c[f.WEIGHTS]), (capacity,))
        charged = carray(doubles_at(c[f.CHARGED]), (capacity,))
        slots = carray(doubles_at(c[f.SLOTS]), (n_slots, capacity))
        hp = carray(doubles_at(c[f.HYPER]), (n_hyper,))
        n_rates = c[f.N_RATES]
        rate_step = c[f.RATE_STEP]
        rates = carray(doubles_at(c[f.RATES]), (n_rates, 3))
        r = (int(scalars[T]) - c[f.RATES_START]) * rate_step

        thread = release_gil() if is_job and c[f.RELEASE] != 0 else np.uintp(0)
        skipped = 0
        status = f.OK
        while i < last:
            if r >= n_rates:
                status = f.REFILL
                break
            y = targets[i]
            h = sample_weights[i * weight_step]
            if kind == f.SPARSE:
                begin = starts[i]
                n = starts[i + 1] - begin
                status, z = sparse(
                    hp, weights, slots, charged, scalars, values, begin, index, begin, n, y, h, rates, r
                )
            else:
                row, begin = values, i * n_values
                if kind == f.DENSE32:
                    for k in range(n_values):
                        scratch[np.uintp(k)] = singles[np.uintp(begin + k)]
                    row, begin = scratch, 0
                status, z = dense(
                    hp, weights, slots, charged, scalars, row, begin, index, 0, n_values, y, h, rates, r
                )
            outputs[i] = z
            if status == f.OK:
                r += rate_step
            elif status < 0:
                if not skip:
                    break
                outputs[i] = np.nan
                skipped += 1
            i += 1
        if status > 0 or (skip and status != f.REFILL):
            status = f.OK
        if thread != 0:
            acquire_gil(thread)
        if is_job:
            c[f.ROW] = i
            c[f.SKIPPED] += skipped
        return status

    return bind(learn, (py_object,) * 4, pieces, nogil=False)


# -- prediction --------------------------------------------------------------------------------


@functools.cache
def predict_one(pieces: Pieces) -> Any:
    """Compiled ``(x, control) -> mean``: prediction from a dict, NaN where Python must go on.

    With ``x`` None the control block is a job of one row, LAST - 1 values in its scratch.
    """
    dense = inlined(output_body(pieces, jitable, access.DENSE_VECTOR))
    sparse = inlined(output_body(pieces, jitable, access.SPARSE_ROW))
    mean, make_loss, loss_hyper = jitable(pieces[0].mean), pieces[0].struct, jitable(take_hyper(pieces[0]))
    read = jitable(read_dict)
    n_slots = max(1, pieces[1].n_slots)
    length = n_scalars(pieces[1])
    n_hyper = hyper_parts(pieces)[-1] + 1
    sources = fingerprint(pieces)

    def predict_one(x_object, control_object):
        sources
        control: Any = load_word(address_of(control_object) + f.HEAD)
        c = carray(words_at(control), (f.N_WORDS,))
        x_address = address_of(x_object)
        count = read(x_address, c, False) if x_address != c[f.NONE] else c[f.LAST] - 1
        if count < 0:
            return np.nan
        capacity = c[f.CAPACITY]
        scalars = carray(doubles_at(c[f.SCALARS]), (length,))
        values = carray(doubles_at(c[f.X]), (capacity,))
        index = carray(words_at(c[f.SLOT]), (capacity,))
        weights = carray(doubles_at(c[f.WEIGHTS]), (capacity,))
        slots = carray(doubles_at(c[f.SLOTS]), (n_slots, capacity))
        hp = carray(doubles_at(c[f.HYPER]), (n_hyper,))
        n = count & 0xFFFFFFFF
        if n == count:
            size, z = sparse(hp, weights, slots, scalars, values, 0, index, 0, n)
        else:
            size, z = dense(hp, weights, slots, scalars, values, 0, index, 0, n)
        if not (size <= LIMIT) or not (abs(z) <= LIMIT):
            return np.nan
        return mean(make_loss(*loss_hyper(hp, 0)), z)

    return bind(predict_one, (py_object,) * 2, pieces, nogil=False)


# Arrays are those that learners allocate or normalise: C-contiguous, state in float64. Rows are a
# matrix, or (values, index, starts) of compressed sparse rows, where row i begins at `starts[i]`.

VECTOR = types.float64[::1]
MATRIX = types.float64[:, ::1]
WORDS = types.int64[::1]


def _layout(ndim: int) -> Layout:
    return access.DENSE_ROW if ndim == 2 else access.SPARSE_ROW


def _values(dtype: str, ndim: int) -> Any:
    """Numba's type of a C-contiguous array: dtype "d" or "f", a matrix or the values of sparse rows."""
    return types.Array({"d": types.float64, "f": types.float32}[dtype], ndim, "C")


@functools.cache
def predict_rows(pieces: Pieces, dtype: str, ndim: int) -> Any:
    """Compiled raw outputs of all rows.

    ``(hp, weights, slots, scalars, values, index, starts, out) -> row``: the first row that is
    refused, or the number of rows. The outputs of refused rows are NaN.
    """
    output = inlined(output_body(pieces, jitable, _layout(ndim)))
    is_matrix = ndim == 2
    sources = fingerprint(pieces)

    def predict_rows(hp, weights, slots, scalars, values, index, starts, out):
        sources
        first_bad = out.shape[0]
        for i in range(out.shape[0]):
            if is_matrix:
                begin, n = i, values.shape[1]
            else:
                begin, n = starts[i], starts[i + 1] - starts[i]
            size, z = output(hp, weights, slots, scalars, values, begin, index, begin, n)
            if not (size <= LIMIT) or not (abs(z) <= LIMIT):
                first_bad = min(first_bad, i)
                z = np.nan
            out[i] = z
        return first_bad

    signature = (VECTOR, VECTOR, MATRIX, VECTOR, _values(dtype, ndim), WORDS, WORDS, VECTOR)
    return bind(predict_rows, signature, pieces, nogil=True)


# -- one mini-batch ----------------------------------------------------------------------------


@functools.cache
def learn_batch(pieces: Pieces, dtype: str, ndim: int) -> Any:
    """Compiled step on the mean gradient of all rows, all or nothing.

    ``(hp, weights, slots, charged, scalars, values, index, starts, y, w, rates, r, total) ->
    (status, row)``. The state is that of the batch's columns only; all of them take the step.
    ``total`` is scratch of their number. The mean is over the rows whose weight is not 0.
    """
    loss_class, optimizer_class, penalty_class = pieces
    make_loss, make_optimizer, make_penalty = (piece.struct for piece in pieces)
    loss_hyper, optimizer_hyper, penalty_hyper = (jitable(take_hyper(piece)) for piece in pieces)
    optimizer_start, penalty_start, clip_at = hyper_parts(pieces)
    layout = _layout(ndim)
    value_at, slot_at = (jitable(function) for function in layout)
    output = inlined(output_body(pieces, jitable, layout))
    gradient = jitable(loss_class.gradient)
    row, step = jitable(optimizer_class.row), jitable(optimizer_class.step)
    penalty_gradient = jitable(penalty_class.gradient)
    accrue, shrink = jitable(penalty_class.accrue), jitable(penalty_class.shrink)
    load, store = (
        jitable(access.LOAD[optimizer_class.n_slots]),
        jitable(access.STORE[optimizer_class.n_slots]),
    )
    take_scalars = jitable(access.TAKE[optimizer_class.n_scalars])
    put_scalars = jitable(access.PUT[optimizer_class.n_scalars])
    no_sums = jitable(access.TAKE[optimizer_class.n_sums])
    shrinks = penalty_class.overrides("shrink")
    is_matrix = ndim == 2
    nothing = (0.0, 0.0, 0.0)
    sources = fingerprint(pieces)

    def learn_batch(hp, weights, slots, charged, scalars, values, index, starts, y, w, rates, r, total):
        sources
        loss = make_loss(*loss_hyper(hp, 0))
        optimizer = make_optimizer(*optimizer_hyper(hp, optimizer_start))
        penalty = make_penalty(*penalty_hyper(hp, penalty_start))
        clip = hp[clip_at]
        w_step = 1 if w.shape[0] > 1 else 0
        total[:] = 0.0
        sum_g = 0.0
        count = 0
        for i in range(y.shape[0]):
            if is_matrix:
                begin, n = i, values.shape[1]
            else:
                begin, n = starts[i], starts[i + 1] - starts[i]
            size, z = output(hp, weights, slots, scalars, values, begin, index, begin, n)
            h = w[i * w_step]
            if not (size <= LIMIT):
                return f.BAD_ROW, i
            if not (abs(y[i]) <= LIMIT):
                return f.BAD_TARGET, i
            if not (0.0 <= h <= LIMIT):
                return f.BAD_WEIGHT, i
            if not (abs(z) <= LIMIT):
                return f.OVERFLOW, i
            if h != 0.0:
                d = h * gradient(loss, y[i], z)
                if not (abs(d) <= LIMIT):
                    return f.OVERFLOW, i
                g = clip if d > clip else (-clip if d < -clip else d)
                if not (abs(g) * (1.0 + size) <= LIMIT):
                    return f.OVERFLOW, i
                for k in range(n):
                    total[slot_at(index, begin, k)] += g * value_at(values, begin, k)
                sum_g += g
                count += 1
        if count == 0:
            return f.NOOP, 0
        share = 1.0 / count
        bound = abs(sum_g)
        for k in range(total.shape[0]):
            bound += abs(total[k])
        if not (bound <= LIMIT):
            return f.OVERFLOW, -1
        lr, next_lr, intercept_lr = rates[r, 0], rates[r, 1], rates[r, 2]
        state, sums = take_scalars(scalars, OPTIMIZER), no_sums(nothing, 0)
        state, c = row(optimizer, state, sums, 0.0, 0.0, sum_g * share, 1.0, lr, scalars[T])
        put_scalars(scalars, OPTIMIZER, state)
        for k in range(total.shape[0]):
            wk = weights[k]
            wk, new = step(
                optimizer, wk, load(slots, k), total[k] * share + penalty_gradient(penalty, wk), 1.0, c
            )
            weights[k] = wk
            store(slots, k, new)
        scalars[INTERCEPT] -= intercept_lr * (sum_g * share)
        if shrinks:
            all_l1 = accrue(penalty, scalars[L1_TOTAL], next_lr)
            scalars[L1_TOTAL] = all_l1
            for k in range(total.shape[0]):
                weights[k], charged[k] = shrink(penalty, weights[k], charged[k], all_l1)
        scalars[T] += 1.0
        scalars[SAMPLES] += count
        return f.OK, count

    state = (VECTOR, VECTOR, MATRIX, VECTOR, VECTOR)
    rest = (_values(dtype, ndim), WORDS, WORDS, VECTOR, VECTOR, MATRIX, types.int64, VECTOR)
    return bind(learn_batch, (*state, *rest), pieces, nogil=True)
