"""Linear models: the loops over rows, from a dict or from arrays, that every rule shares."""
# ruff: noqa: B018
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import numpy as np
from numba import carray

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

from . import access, coordinate, lanes
from .pieces import N_LOSSES, OPTIMIZER, PENALTY, PENALTY_2, Pieces, T, take_hyper

# The rules, by an optimizer's `kernel`: each module has `output_body` and `learn_row_body`.
RULES: dict[str, ModuleType] = {"coordinate": coordinate, "matrix": coordinate, "lanes": lanes}

learn_batch = coordinate.learn_batch


# -- learning ----------------------------------------------------------------------------------

_read = jitable(read_dict)


@jitable
def dict_as_job(x_address, y_address, w_address, c):
    """Make the dict the one row of a job, whose other words never change; return OK or a status.

    A module's function for the reason that `read_dict` is one.
    """
    count = _read(x_address, c, True)
    if count < 0:
        return count
    if y_address == c[f.POSITIVE]:
        y = 1.0
    elif y_address == c[f.NEGATIVE]:
        y = 0.0
    else:
        y = np.nan if c[f.IS_BINARY] != 0 else read_number(y_address, c)
    if not (abs(y) <= LIMIT):
        return f.NOT_TARGET
    h = read_number(w_address, c)
    if not (0.0 <= h <= LIMIT):
        return f.NOT_WEIGHT
    given = carray(doubles_at(c[f.GIVEN]), (3,))
    given[0] = y
    given[1] = h
    n = count & 0xFFFFFFFF
    c[f.END] = n
    c[f.KIND] = f.SPARSE if n == count else f.DENSE64
    c[f.COLUMNS] = c[f.SLOT] if n == count else n
    return f.OK


@functools.cache
def learn(pieces: Pieces) -> Any:
    """Compiled ``(x, y, w, control) -> status``: updates from one dict, or from rows of arrays.

    All four are Python objects, seen as bare pointers: to unbox an int would cost 30 ns.

    With ``x`` None the control block is a job: rows ROW to LAST of arrays. One kernel has both, and a
    rule stands in it once for each layout, so that learn_one and learn_rows run the same
    instructions and agree to the bit. A job runs without the interpreter's lock, and stops, with ROW
    at the row in question, where one is refused, the table of rates is used up, a scheduler is to
    look at the losses, or the penalty's totals are full.
    """
    rule = RULES[pieces.optimizer.kernel]
    dense = inlined(rule.learn_row_body(pieces, jitable, inlined, access.DENSE_VECTOR))
    sparse = inlined(rule.learn_row_body(pieces, jitable, inlined, access.SPARSE_ROW))
    make_job = jitable(dict_as_job)
    make_loss, loss_hyper = pieces.loss.struct, jitable(take_hyper(pieces.loss))
    make_penalty, penalty_hyper = pieces.penalty.struct, jitable(take_hyper(pieces.penalty))
    value, full = jitable(pieces.loss.value), jitable(pieces.penalty.full)
    _, penalty_start, _ = pieces.hyper_starts
    lowest, bounded = pieces.loss.lowest, pieces.loss.lowest > -np.inf
    monitored, fills = pieces.monitored, pieces.penalty.overrides("full")
    n_slots, is_matrix = max(1, pieces.n_slots), pieces.is_matrix
    length = pieces.n_scalars
    n_hyper = pieces.n_hyper
    sources = fingerprint(pieces.classes)

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
            status = make_job(address_of(x_object), address_of(y_object), address_of(w_object), c)
            if status != f.OK:
                return status
            if bounded and carray(doubles_at(c[f.GIVEN]), (1,))[0] < lowest:
                return f.NOT_TARGET
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
        losses = carray(doubles_at(c[f.LOSSES]), (c[f.WINDOW],))
        weights = carray(doubles_at(c[f.WEIGHTS]), (capacity,))
        charged = carray(doubles_at(c[f.CHARGED]), (capacity,))
        slots = carray(doubles_at(c[f.SLOTS]), (capacity if is_matrix else n_slots, capacity))
        hp = carray(doubles_at(c[f.HYPER]), (n_hyper,))
        n_rates = c[f.N_RATES]
        rate_step = c[f.RATE_STEP]
        rates = carray(doubles_at(c[f.RATES]), (n_rates, 3))
        r = (int(scalars[T]) - c[f.RATES_START]) * rate_step

        thread = release_gil() if is_job and c[f.RELEASE] != 0 else np.uintp(0)
        skipped = 0
        status = f.OK
        while i < last:
            if r >= n_rates or (monitored and scalars[N_LOSSES] >= c[f.WINDOW]):
                status = f.REFILL
                break
            if fills:
                penalty = make_penalty(*penalty_hyper(hp, penalty_start))
                if full(penalty, (scalars[PENALTY], scalars[PENALTY_2])):
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
                if monitored:
                    losses[int(scalars[N_LOSSES])] = value(make_loss(*loss_hyper(hp, 0)), y, z)
                    scalars[N_LOSSES] += 1.0
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

    return bind(learn, (py_object,) * 4, pieces.classes, nogil=False, variant=pieces.variant)


# -- prediction --------------------------------------------------------------------------------


@functools.cache
def predict_one(pieces: Pieces) -> Any:
    """Compiled ``(x, control) -> mean``: prediction from a dict, NaN where Python must go on.

    With ``x`` None the control block is a job of one row, LAST - 1 values in its scratch.
    """
    output_body = RULES[pieces.optimizer.kernel].output_body
    dense = inlined(output_body(pieces, jitable, access.DENSE_VECTOR))
    sparse = inlined(output_body(pieces, jitable, access.SPARSE_ROW))
    take_own = jitable(access.TAKE[pieces.n_own])
    mean, make_loss, loss_hyper = (
        jitable(pieces.loss.mean), pieces.loss.struct, jitable(take_hyper(pieces.loss)),
    )  # fmt: skip
    read = jitable(read_dict)
    n_slots, is_matrix = max(1, pieces.n_slots), pieces.is_matrix
    length = pieces.n_scalars
    n_hyper = pieces.n_hyper
    sources = fingerprint(pieces.classes)

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
        slots = carray(doubles_at(c[f.SLOTS]), (capacity if is_matrix else n_slots, capacity))
        charged = carray(doubles_at(c[f.CHARGED]), (capacity,))
        hp = carray(doubles_at(c[f.HYPER]), (n_hyper,))
        own = take_own(scalars, OPTIMIZER)
        n = count & 0xFFFFFFFF
        if n == count:
            size, z = sparse(hp, weights, slots, charged, scalars, own, values, 0, index, 0, n)
        else:
            size, z = dense(hp, weights, slots, charged, scalars, own, values, 0, index, 0, n)
        if not (size <= LIMIT) or not (abs(z) <= LIMIT):
            return np.nan
        return mean(make_loss(*loss_hyper(hp, 0)), z)

    return bind(predict_one, (py_object,) * 2, pieces.classes, nogil=False, variant=pieces.variant)


@functools.cache
def predict_rows(pieces: Pieces, dtype: str, ndim: int) -> Any:
    """Compiled raw outputs of all rows.

    ``(hp, weights, slots, charged, scalars, values, index, starts, out) -> row``: the first row that is
    refused, or the number of rows. The outputs of refused rows are NaN.
    """
    output_body = RULES[pieces.optimizer.kernel].output_body
    output = inlined(output_body(pieces, jitable, coordinate.layout(ndim)))
    take_own = jitable(access.TAKE[pieces.n_own])
    is_dense = ndim == 2
    sources = fingerprint(pieces.classes)

    def predict_rows(hp, weights, slots, charged, scalars, values, index, starts, out):
        sources
        own = take_own(scalars, OPTIMIZER)
        first_bad = out.shape[0]
        for i in range(out.shape[0]):
            if is_dense:
                begin, n = i, values.shape[1]
            else:
                begin, n = starts[i], starts[i + 1] - starts[i]
            size, z = output(hp, weights, slots, charged, scalars, own, values, begin, index, begin, n)
            if not (size <= LIMIT) or not (abs(z) <= LIMIT):
                first_bad = min(first_bad, i)
                z = np.nan
            out[i] = z
        return first_bad

    state = (coordinate.VECTOR, coordinate.MATRIX, coordinate.VECTOR, coordinate.VECTOR)
    rest = (coordinate.values_type(dtype, ndim), coordinate.WORDS, coordinate.WORDS, coordinate.VECTOR)
    signature = (coordinate.VECTOR, *state, *rest)
    return bind(predict_rows, signature, pieces.classes, nogil=True, variant=pieces.variant)
