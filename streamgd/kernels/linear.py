"""Linear models: the loops over rows, from a dict or from arrays, that every rule shares."""
# ruff: noqa: B018
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
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

from . import access, class_weights, coordinate, lanes
from .pieces import (
    DOUBLE,
    N_LOSSES,
    OPTIMIZER,
    PENALTY,
    PENALTY_2,
    SAMPLES,
    Pieces,
    Precision,
    T,
    take_hyper,
)

# The rules, by an optimizer's `kernel`: each module has `output_body` and `learn_row_body`.
RULES: dict[str, ModuleType] = {"coordinate": coordinate, "matrix": coordinate, "lanes": lanes}


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
    weighs = pieces.class_weight is not None
    weigh = jitable(class_weights.weigh_body(pieces.class_weight, jitable))
    keep, n_weighing = class_weights.keep, class_weights.n_numbers(pieces.class_weight)
    sources = fingerprint(pieces.sources)

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
        numbers = carray(doubles_at(c[f.WEIGHING]), (n_weighing,))
        factors = carray(doubles_at(c[f.FACTORS]), (2,))
        counts = carray(doubles_at(c[f.COUNTS]), (2, 2))
        new = carray(doubles_at(c[f.NEW_COUNTS]), (2,))
        codes = carray(words_at(c[f.CODES]), (2 + c[f.N_RECENT],))
        recent = carray(doubles_at(c[f.RECENT]), (c[f.N_RECENT],))
        made = carray(words_at(c[f.MADE]), (last,))
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
            w = sample_weights[i * weight_step]
            is_real = c[f.MADE] == 0 or made[i] == 0
            h = weigh(numbers, factors, counts, codes, recent, new, y, w) if weighs and is_real else w
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
                if weighs and is_real:
                    keep(counts, codes, recent, new, y, w)
                if monitored and is_real:
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

    return bind(learn, (py_object,) * 4, pieces.sources, nogil=False, variant=pieces.variant)


# -- prediction --------------------------------------------------------------------------------


@coordinate.made_of(coordinate.that_look)
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


@coordinate.made_of(coordinate.that_outputs)
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


# -- mini-batches ------------------------------------------------------------------------------

SPAN = (types.int64, types.int64)
NEAR = 16  # rows that are still in the nearest cache when they are added up


@functools.cache
def losses(pieces: Pieces) -> Any:
    """Compiled ``(hp, y, z, out)``: the loss of each raw output ``z (n,)``, NaN where a number is."""
    loss_class = pieces.loss
    make_loss, loss_hyper = loss_class.struct, jitable(take_hyper(loss_class))
    value = jitable(loss_class.value)
    sources = fingerprint((loss_class,))

    def losses(hp, y, z, out):
        sources
        loss = make_loss(*loss_hyper(hp, 0))
        for i in range(z.shape[0]):
            good = abs(y[i]) <= LIMIT and abs(z[i]) <= LIMIT
            out[i] = value(loss, y[i], z[i]) if good else np.nan

    return bind(losses, (coordinate.VECTOR,) * 4, (loss_class,), nogil=True)


def add_rows_body(ndim: int, precision: Precision) -> Callable[..., Any]:
    """Build ``(values, index, starts, d, first, last, low, high, sums)``, which adds up rows' gradients.

    ``sums[1 + k]`` gets column k times ``d``, of rows ``first`` to ``last - 1``, and ``sums[0]`` the ``d``;
    of compressed rows only columns ``low`` to ``high - 1``, and with ``low`` 0 also ``sums[0]``: each sum
    is made in the order of the rows.
    """
    value_at, slot_at = map(precision.jit, precision.layout(coordinate.layout(ndim)))
    is_dense = ndim == 2

    def add_rows(values, index, starts, d, first, last, low, high, sums):
        columns = sums[1:]
        total = sums[0]
        i = first
        while i < last:
            g = d[i]
            if is_dense and i + 4 <= last and g != 0.0:
                g2, g3, g4 = d[i + 1], d[i + 2], d[i + 3]
                if g2 != 0.0 and g3 != 0.0 and g4 != 0.0:  # each sum is loaded and stored once for them
                    total += g + g2 + g3 + g4
                    for k in range(values.shape[1]):
                        columns[np.uintp(k)] += (
                            (g * value_at(values, i, k) + g2 * value_at(values, i + 1, k))
                            + (g3 * value_at(values, i + 2, k) + g4 * value_at(values, i + 3, k))
                        )  # fmt: skip
                    i += 4
                    continue
            if g != 0.0:  # of a row that was skipped, not all values are numbers
                total += g
                if is_dense:
                    for k in range(values.shape[1]):
                        columns[np.uintp(k)] += g * value_at(values, i, k)
                else:
                    for k in range(starts[i + 1] - starts[i]):
                        s = slot_at(index, starts[i], k)
                        if low <= s < high:
                            columns[s] += g * value_at(values, starts[i], k)
            i += 1
        if low == 0:
            sums[0] = total

    return add_rows


@functools.cache
def add_rows(precision: Precision = DOUBLE) -> Any:
    """Compiled sums of compressed rows' gradients by columns; see `add_rows_body`."""
    add = precision.inline(add_rows_body(1, precision))
    vector = precision.vector
    sources = fingerprint(())

    def add_rows(values, index, starts, d, first, last, low, high, sums):
        sources
        add(values, index, starts, d, first, last, low, high, sums)

    rows = (coordinate.VECTOR, coordinate.WORDS, coordinate.WORDS)
    return bind(precision.copy(add_rows), (*rows, vector, *SPAN, *SPAN, vector), (), nogil=True)


@coordinate.made_of(coordinate.that_look)
def derivatives(pieces: Pieces, dtype: str, ndim: int, precision: Precision = DOUBLE) -> Any:
    """Compiled derivatives of the loss in the raw outputs of rows ``first`` to ``last - 1``, and their sums.

    ``(hp, clip, weights, slots, charged, scalars, values, index, starts, y, w, skip, first, last, z, d, adds,
    sums) -> (status, row, count, skipped)``. ``z`` gets the outputs, ``d`` the derivatives times the samples'
    weights; ``count`` rows have one that is not 0. With ``adds``, ``sums`` get the gradients: see
    `add_rows_body`. It stops at a row that is refused, unless told to ``skip`` those: then their output is
    NaN. All but the rows' values are in ``precision``.
    """
    jit, layout = precision.jit, precision.layout(coordinate.layout(ndim))
    output_body = coordinate.output_body
    output = precision.inline(output_body(pieces, jit, layout))
    output_ahead = precision.inline(output_body(pieces, jit, layout, ahead=True))
    slope = precision.inline(coordinate.slope_body(pieces, jit))
    take_own = jit(access.TAKE[pieces.n_own])
    looks_ahead = pieces.looks_ahead
    add_rows = precision.inline(add_rows_body(ndim, precision))
    is_dense = ndim == 2
    sources = fingerprint(pieces.classes)

    def derivatives(
        hp, clip, weights, slots, charged, scalars, values, index, starts, y, w, skip, first, last, z, d,
        adds, sums,
    ):  # fmt: skip
        sources
        own = take_own(scalars, OPTIMIZER)
        w_step = 1 if w.shape[0] > 1 else 0
        count = 0
        skipped = 0
        added = first
        for i in range(first, last):
            if is_dense:
                begin, n = i, values.shape[1]
            else:
                begin, n = starts[i], starts[i + 1] - starts[i]
            size, p = output(hp, weights, slots, charged, scalars, own, values, begin, index, begin, n)
            h = w[i * w_step]
            z[i] = p
            if looks_ahead:
                _, p = output_ahead(hp, weights, slots, charged, scalars, own, values, begin, index, begin, n)
            status, d[i] = slope(hp, clip, size, y[i], h, z[i], p)
            if status == f.OK:
                count += 1 if h != 0.0 else 0
            elif skip:
                z[i] = np.nan
                d[i] = 0.0
                skipped += 1
            else:
                return status, i, count, skipped
            if adds and (i + 1 == last or i + 1 - added == NEAR):
                add_rows(values, index, starts, d, added, i + 1, 0, sums.shape[0], sums)
                added = i + 1
        return f.OK, last, count, skipped

    number, vector = precision.number, precision.vector
    state = (vector, precision.matrix, vector, vector)
    rows = (coordinate.values_type(dtype, ndim), coordinate.WORDS, coordinate.WORDS)
    given, made = (vector, vector, types.boolean, *SPAN), (vector, vector, types.boolean, vector)
    signature = (vector, number, *state, *rows, *given, *made)
    body = precision.copy(derivatives)
    return bind(body, signature, pieces.classes, nogil=True, variant=pieces.variant)


@coordinate.made_of(coordinate.that_step)
def step(pieces: Pieces, precision: Precision = DOUBLE) -> Any:
    """Compiled step on the mean of ``count`` rows' gradients; see `add_rows_body` for ``sums``.

    ``(hp, weights, slots, charged, scalars, sums, count, rates, r) -> status``. ``hp`` are the numbers after
    the loss's. The state is that of the batch's columns only; all of them take the step.
    """
    update = precision.inline(coordinate.step_body(pieces, precision.jit, access.DENSE_VECTOR))
    take_own = precision.jit(access.TAKE[pieces.optimizer.n_scalars])
    sources = fingerprint(pieces.classes)

    def step(hp, weights, slots, charged, scalars, sums, count, rates, r):
        sources
        bound = 0.0
        for k in range(sums.shape[0]):
            bound += abs(sums[k])
        if not (bound <= LIMIT):
            return f.OVERFLOW
        share = 1.0 / sums.dtype.type(count)
        for k in range(sums.shape[0]):
            sums[k] *= share
        update(
            hp, weights, slots, charged, scalars, take_own(scalars, OPTIMIZER), sums, 1, sums, 0,
            sums.shape[0] - 1, sums[0], 0.0, 0.0, 1.0, 1.0, 1.0, rates, r,
        )  # fmt: skip
        scalars[SAMPLES] += count
        return f.OK

    vector, matrix = precision.vector, precision.matrix
    signature = (vector, vector, matrix, vector, vector, vector, types.int64, matrix, types.int64)
    body, reorders = precision.copy(step), precision is DOUBLE  # (1 - b) g may not become g - b g
    return bind(body, signature, pieces.classes, nogil=True, variant=pieces.variant, reorders=reorders)
