"""Rules that update one coordinate at a time: the output of a row, and the step on a gradient.

A row is refused, with a status, before anything is written. The check is one sum of absolute values:
NaN and infinity survive in it, it vectorises, and the compiler may not remove it (it may remove
``x - x != 0``).
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from numba import types

from streamgd import _features as f
from streamgd._jit import LIMIT
from streamgd.optim.losses import Absolute
from streamgd.optim.optimizers import SGD
from streamgd.optim.penalties import L2

from . import access, newton
from .pieces import (
    AVERAGED,
    INTERCEPT,
    OPTIMIZER,
    PENALTY,
    PENALTY_2,
    SAMPLES,
    Jit,
    Layout,
    Pieces,
    T,
    take_hyper,
)

Total = Callable[[Any], Any] | None  # how threads that share a row add up what each has found


def _whole(x):
    """Return a sum over a row as it is: one thread has all of the row's coordinates."""
    return x


def each(total: Callable[..., Any], n: int, jit: Jit) -> Callable[..., Any]:
    """Return a function that applies ``total`` to each of ``n`` sums, at most 3."""
    one = jit(total)

    def of_1(sums):
        return (one(sums[0]),)

    def of_2(sums):
        return one(sums[0]), one(sums[1])

    def of_3(sums):
        return one(sums[0]), one(sums[1]), one(sums[2])

    return (_whole, of_1, of_2, of_3)[n]


def weight_body(pieces: Pieces, jit: Jit, *, ahead: bool = False) -> Callable[..., Any]:
    """Build ``(hp, w, held, x, charge, average, scalars, own) -> w``: the weight to predict with.

    ``w`` is the stored one, ``held`` its slots, ``charge`` what the penalty has charged it, ``average`` what
    its average is made from. With ``ahead`` it is the weight at which the gradient is taken.
    """
    _, optimizer_class, penalty_class = pieces.classes
    make_optimizer, make_penalty = optimizer_class.struct, penalty_class.struct
    optimizer_hyper, penalty_hyper = jit(take_hyper(optimizer_class)), jit(take_hyper(penalty_class))
    optimizer_start, penalty_start, _ = pieces.hyper_starts
    rule = "ahead" if ahead and optimizer_class.overrides("ahead") else "at"
    at, current = jit(getattr(optimizer_class, rule)), jit(penalty_class.current)
    changes_weight, is_lazy = optimizer_class.overrides(rule), penalty_class.overrides("current")
    averages = pieces.averaged and not ahead

    def weight(hp, w, held, x, charge, average, scalars, own):
        if is_lazy:
            penalty = make_penalty(*penalty_hyper(hp, penalty_start))
            w = current(penalty, w, charge, (scalars[PENALTY], scalars[PENALTY_2]))
        if changes_weight:
            w = at(make_optimizer(*optimizer_hyper(hp, optimizer_start)), w, held, x, own)
        if averages:
            w -= (1.0 / scalars[AVERAGED] if scalars[AVERAGED] > 0.0 else 0.0) * average
        return w

    return weight


def intercept_body(pieces: Pieces, jit: Jit, *, ahead: bool = False) -> Callable[..., Any]:
    """Build ``(hp, scalars, own) -> intercept``, as `weight_body`."""
    optimizer_class = pieces.optimizer
    make_optimizer, optimizer_hyper = optimizer_class.struct, jit(take_hyper(optimizer_class))
    optimizer_start, _, _ = pieces.hyper_starts
    take = jit(access.TAKE[optimizer_class.n_slots])
    rule = "ahead" if ahead and optimizer_class.overrides("ahead") else "at"
    at = jit(getattr(optimizer_class, rule))
    changes_weight = pieces.intercept and optimizer_class.overrides(rule)
    averages = pieces.averaged and not ahead
    first_slot, average = OPTIMIZER + optimizer_class.n_scalars, pieces.n_scalars - 1

    def intercept(hp, scalars, own):
        w = scalars[INTERCEPT]
        if changes_weight:
            optimizer = make_optimizer(*optimizer_hyper(hp, optimizer_start))
            w = at(optimizer, w, take(scalars, first_slot), 1.0, own)
        if averages:
            w -= (1.0 / scalars[AVERAGED] if scalars[AVERAGED] > 0.0 else 0.0) * scalars[average]
        return w

    return intercept


def output_body(
    pieces: Pieces, jit: Jit, layout: Layout, *, ahead: bool = False, total: Total = None
) -> Callable[..., Any]:
    """Build ``(hp, weights, slots, charged, scalars, own, values, i, index, j, n) -> (size, z)``.

    ``size`` is the sum of absolute values of the row, ``z`` its raw output: the prediction, or with
    ``ahead`` the output at which the gradient is taken. ``own`` are the optimizer's scalars.

    Where several threads share a row, each has ``n`` of its coordinates, and ``total`` adds up what each
    has found; all of them know the model's scalars.
    """
    optimizer_class, penalty_class = pieces.optimizer, pieces.penalty
    value_at, slot_at = (jit(function) for function in layout)
    load = jit(access.LOAD[optimizer_class.n_slots])
    weight, intercept = (jit(build(pieces, jit, ahead=ahead)) for build in (weight_body, intercept_body))
    rule = "ahead" if ahead and optimizer_class.overrides("ahead") else "at"
    averages = pieces.averaged and not ahead
    is_plain = not (optimizer_class.overrides(rule) or averages or penalty_class.overrides("current"))
    average_slot = max(0, pieces.n_slots - 1)
    all_of = jit(total or _whole)

    def output(hp, weights, slots, charged, scalars, own, values, i, index, j, n):
        size = 0.0
        z = 0.0
        if is_plain:
            for k in range(n):
                x = value_at(values, i, k)
                size += abs(x)
                z += weights[slot_at(index, j, k)] * x
        else:
            for k in range(n):
                x = value_at(values, i, k)
                s = slot_at(index, j, k)
                held, average = load(slots, s), slots[average_slot, s]
                w = weight(hp, weights[s], held, x, charged[s], average, scalars, own)
                size += abs(x)
                z += w * x
        return all_of(size), all_of(z) + intercept(hp, scalars, own)

    return output


def that_look(pieces: Pieces) -> Pieces:
    """Return the pieces that a row's output and what the loss makes of it depend on.

    Most optimizers and penalties have no say in that: one kernel serves all of them.
    """
    optimizer, penalty = pieces.optimizer, pieces.penalty
    own = optimizer.kernel == "lanes" or any(map(optimizer.overrides, ("at", "ahead")))
    if own or pieces.averaged or penalty.overrides("current"):
        return pieces._replace(monitored=False, class_weight=None)
    return Pieces(pieces.loss, SGD, L2)


def that_outputs(pieces: Pieces) -> Pieces:
    """Return the pieces that a row's output depends on, the loss only if numbers of others come after its."""
    pieces = that_look(pieces)
    return pieces._replace(loss=Absolute) if pieces[1:] == Pieces(pieces.loss, SGD, L2)[1:] else pieces


def that_predict(pieces: Pieces) -> Pieces:
    """Return the pieces that a prediction from a dict depends on."""
    return pieces._replace(monitored=False, class_weight=None)


def that_step(pieces: Pieces) -> Pieces:
    """Return the pieces that the step on a sum of gradients depends on: the loss has no say in it."""
    return pieces._replace(loss=Absolute, monitored=False, class_weight=None)


def made_of(reduce: Callable[[Pieces], Pieces]) -> Callable[..., Any]:
    """Make a kernel once for all pieces of which ``reduce`` returns the same."""

    def decorate(build: Callable[..., Any]) -> Any:
        made = functools.cache(build)
        return functools.cache(lambda pieces, *rows: made(reduce(pieces), *rows))

    return decorate


def slope_body(pieces: Pieces, jit: Jit) -> Callable[..., Any]:
    """Build ``(hp, clip, size, y, h, z, p) -> (status, g)``: what a row of a mini-batch adds to the gradient.

    ``g`` is the loss's derivative at the output ``p`` times the row's weight ``h``, clipped; ``size`` and
    ``z`` are its size and its prediction, as `output_body` returns them.
    """
    make_loss, loss_hyper = pieces.loss.struct, jit(take_hyper(pieces.loss))
    gradient = jit(pieces.loss.gradient)

    def slope(hp, clip, size, y, h, z, p):
        if not (size <= LIMIT):
            return f.BAD_ROW, 0.0
        if not (abs(y) <= LIMIT):
            return f.BAD_TARGET, 0.0
        if not (0.0 <= h <= LIMIT):
            return f.BAD_WEIGHT, 0.0
        if not (abs(z) <= LIMIT):
            return f.OVERFLOW, 0.0
        if h == 0.0:
            return f.OK, 0.0
        g = h * gradient(make_loss(*loss_hyper(hp, 0)), y, p)
        bounded = abs(p) <= LIMIT and abs(g) <= LIMIT
        g = clip if g > clip else (-clip if g < -clip else g)
        if not (bounded and abs(g) * (1.0 + size) <= LIMIT):
            return f.OVERFLOW, 0.0
        return f.OK, g

    return slope


def update_body(pieces: Pieces, jit: Jit, layout: Layout, *, total: Total = None) -> Callable[..., Any]:
    """Build the step on one gradient, of a row or of a mini-batch's mean.

    ``(hp, weights, slots, charged, scalars, own, values, i, index, j, n, one, p, y, d, h, g, rates, r)``:
    coordinate k has the gradient ``g * values[k]`` and the intercept ``g * one``; ``d`` is the
    loss's derivative without the sample's weight ``h``. For ``total`` see `output_body`: then each thread
    changes scalars of its own, all in the same way.
    """
    loss_class, optimizer_class, penalty_class = pieces.classes
    make_loss, make_optimizer, make_penalty = (piece.struct for piece in pieces.classes)
    loss_hyper, optimizer_hyper, penalty_hyper = (jit(take_hyper(piece)) for piece in pieces.classes)
    optimizer_start, penalty_start, clip_at = pieces.hyper_starts
    value_at, slot_at = (jit(function) for function in layout)
    loss_update = jit(loss_class.update)
    scan, row, step = jit(optimizer_class.scan), jit(optimizer_class.row), jit(optimizer_class.step)
    penalty_gradient, advance = jit(penalty_class.gradient), jit(penalty_class.advance)
    current, settle = jit(penalty_class.current), jit(penalty_class.settle)
    load, store = jit(access.LOAD[optimizer_class.n_slots]), jit(access.STORE[optimizer_class.n_slots])
    take, put = jit(access.TAKE[optimizer_class.n_slots]), jit(access.PUT[optimizer_class.n_slots])
    put_own = jit(access.PUT[optimizer_class.n_scalars])
    zero_sums, add = jit(access.TAKE[optimizer_class.n_sums]), jit(access.ADD[optimizer_class.n_sums])
    all_of = jit(each(total or _whole, optimizer_class.n_sums, jit))
    intercept_in_sums = optimizer_class.intercept_in_sums
    scans, own_row = optimizer_class.overrides("scan"), optimizer_class.overrides("row")
    importance_aware = optimizer_class.importance_aware
    own_update = loss_class.overrides("update")
    ahead, looks_ahead = jit(optimizer_class.ahead), optimizer_class.overrides("ahead")
    is_lazy, settles = penalty_class.overrides("current"), penalty_class.overrides("settle")
    advances = penalty_class.overrides("advance")
    with_intercept, averages, fresh = pieces.intercept, pieces.averaged, pieces.fresh
    counts = fresh and optimizer_class.bias_corrected
    owes = fresh and not is_lazy  # what a lazy penalty stores owes nothing of the past
    count_slot = optimizer_class.n_slots
    average_slot = pieces.n_slots - 1
    intercept_slots = OPTIMIZER + optimizer_class.n_scalars
    intercept_average = pieces.n_scalars - 1
    nothing = (0.0, 0.0, 0.0)

    def update(
        hp, weights, slots, charged, scalars, own, values, i, index, j, n, one, p, y, d, h, g, rates, r
    ):
        loss = make_loss(*loss_hyper(hp, 0))
        optimizer = make_optimizer(*optimizer_hyper(hp, optimizer_start))
        penalty = make_penalty(*penalty_hyper(hp, penalty_start))
        lr, next_lr, intercept_lr = rates[r, 0], rates[r, 1], rates[r, 2]
        if intercept_lr == 0.0:
            one = 0.0  # it is fixed

        sums = zero_sums(nothing, 0)
        if scans:
            for k in range(n):
                s = slot_at(index, j, k)
                w, new, part = scan(optimizer, weights[s], load(slots, s), value_at(values, i, k), d, h)
                weights[s] = w
                store(slots, s, new)
                sums = add(sums, part)
            sums = all_of(sums)
            if with_intercept:
                w, new, part = scan(optimizer, scalars[INTERCEPT], take(scalars, intercept_slots), one, d, h)
                scalars[INTERCEPT] = w
                put(scalars, intercept_slots, new)
                if intercept_in_sums:
                    sums = add(sums, part)

        t = scalars[T]
        if own_row:
            state, c = row(optimizer, own, sums, p, y, d, h, lr, t)
            put_own(scalars, OPTIMIZER, state)
        else:
            c = (lr,)
        if importance_aware:
            if own_update:
                c = (loss_update(loss, p, y, c[0], c[1]),) + c[1:]  # noqa: RUF005  Numba fails on *
            else:
                c = (-c[0] * d,) + c[1:]  # noqa: RUF005

        before = (scalars[PENALTY], scalars[PENALTY_2])
        after = before
        if advances:
            after = advance(penalty, before, lr, next_lr)
            scalars[PENALTY], scalars[PENALTY_2] = after
        past = scalars[AVERAGED]  # sum of the shares of all weights averaged so far
        for k in range(n):
            s = slot_at(index, j, k)
            x = value_at(values, i, k)
            old = weights[s]
            w = current(penalty, old, charged[s], before) if is_lazy else old
            if counts:
                _, c = row(optimizer, own, sums, p, y, d, h, lr, slots[count_slot, s])
            held = load(slots, s)
            there = ahead(optimizer, w, held, x, own) if looks_ahead else w
            w, new = step(optimizer, w, held, g * x + penalty_gradient(penalty, there), x, c)
            store(slots, s, new)
            if settles:
                if owes:
                    if slots[count_slot, s] == 0.0:
                        slots[count_slot + 1, s] = before[0]
                    owed = slots[count_slot + 1, s]
                    w, charged[s] = settle(
                        penalty, w, charged[s], (before[0] - owed, before[1]), (after[0] - owed, after[1])
                    )
                else:
                    w, charged[s] = settle(penalty, w, charged[s], before, after)
            if fresh:
                slots[count_slot, s] += 1.0
            if averages:
                slots[average_slot, s] += past * (w - old)
            weights[s] = w
        old = scalars[INTERCEPT]
        if with_intercept:
            if counts:
                _, c = row(optimizer, own, sums, p, y, d, h, lr, t)
            w, new = step(optimizer, old, take(scalars, intercept_slots), g * one, one, c)
            put(scalars, intercept_slots, new)
        else:
            w = old - intercept_lr * (g * one)
        scalars[INTERCEPT] = w
        if averages:
            # The k-th weight has the share (gamma + 1) / (gamma + k) of the average.
            scalars[intercept_average] += past * (w - old)
            start, gamma = hp[clip_at + 1], hp[clip_at + 2]
            k = t + 1.0 - start
            if k >= 1.0:
                scalars[AVERAGED] = past * (gamma + k) / (k - 1.0) if past > 0.0 else 1.0
        scalars[T] = t + 1.0
        return c

    return update


def step_body(pieces: Pieces, jit: Jit, layout: Layout, *, total: Total = None) -> Callable[..., Any]:
    """Build the step on one gradient, by coordinates or by a matrix."""
    if pieces.is_matrix:
        return newton.update_body(pieces, jit, layout)
    return update_body(pieces, jit, layout, total=total)


def learn_row_body(
    pieces: Pieces, jit: Jit, inline: Jit, layout: Layout, *, total: Total = None
) -> Callable[..., Any]:
    """Build the update of one row; for ``total`` see `output_body`.

    ``(hp, weights, slots, charged, scalars, values, i, index, j, n, y, h, rates, r) -> (status, z)``
    """
    loss_class, optimizer_class, _ = pieces.classes
    make_loss, make_optimizer = loss_class.struct, optimizer_class.struct
    loss_hyper, optimizer_hyper = jit(take_hyper(loss_class)), jit(take_hyper(optimizer_class))
    optimizer_start, _, clip_at = pieces.hyper_starts
    value_at, slot_at = (jit(function) for function in layout)
    output = jit(output_body(pieces, jit, layout, total=total))
    output_ahead = jit(output_body(pieces, jit, layout, ahead=True, total=total))
    update = inline(step_body(pieces, jit, layout, total=total))
    gradient = jit(loss_class.gradient)
    glance, begin = jit(optimizer_class.glance), jit(optimizer_class.begin)
    load = jit(access.LOAD[optimizer_class.n_slots])
    take = jit(access.TAKE[optimizer_class.n_slots])
    take_own = jit(access.TAKE[optimizer_class.n_scalars])
    zero_sums, add = jit(access.TAKE[optimizer_class.n_sums]), jit(access.ADD[optimizer_class.n_sums])
    all_of = jit(each(total or _whole, optimizer_class.n_sums, jit))
    glances, importance_aware = optimizer_class.overrides("glance"), optimizer_class.importance_aware
    looks_ahead = optimizer_class.overrides("ahead") or glances or pieces.averaged
    with_intercept = pieces.intercept
    intercept_slots = OPTIMIZER + optimizer_class.n_scalars
    nothing = (0.0, 0.0, 0.0)

    def learn_row(hp, weights, slots, charged, scalars, values, i, index, j, n, y, h, rates, r):
        loss = make_loss(*loss_hyper(hp, 0))
        own = take_own(scalars, OPTIMIZER)
        size, z = output(hp, weights, slots, charged, scalars, own, values, i, index, j, n)
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
        p = z
        if glances:
            optimizer = make_optimizer(*optimizer_hyper(hp, optimizer_start))
            sums = zero_sums(nothing, 0)
            for k in range(n):
                s = slot_at(index, j, k)
                sums = add(sums, glance(optimizer, weights[s], load(slots, s), value_at(values, i, k)))
            sums = all_of(sums)
            if with_intercept:
                one = 1.0 if rates[r, 2] != 0.0 else 0.0
                sums = add(sums, glance(optimizer, scalars[INTERCEPT], take(scalars, intercept_slots), one))
            own = begin(optimizer, own, sums, h)
        if looks_ahead:
            _, p = output_ahead(hp, weights, slots, charged, scalars, own, values, i, index, j, n)
            if not (abs(p) <= LIMIT):
                return f.OVERFLOW, z
        d = gradient(loss, y, p)
        g = h * d
        if not (abs(g) <= LIMIT):
            return f.OVERFLOW, z
        clip = hp[clip_at]
        if abs(g) > clip:
            g = clip if g > clip else -clip
            if not importance_aware:  # its steps end at the label, and look at the true derivative
                d = g / h
        if not (abs(g) * (1.0 + size) <= LIMIT):
            return f.OVERFLOW, z
        update(
            hp, weights, slots, charged, scalars, own, values, i, index, j, n, 1.0, p, y, d, h, g, rates, r
        )
        scalars[SAMPLES] += 1.0
        return f.OK, z

    return learn_row


# Arrays are those that learners allocate or normalise: C-contiguous, state in float64. Rows are a
# matrix, or (values, index, starts) of compressed sparse rows, where row i begins at `starts[i]`.

VECTOR = types.float64[::1]
MATRIX = types.float64[:, ::1]
WORDS = types.int64[::1]


def layout(ndim: int) -> Layout:
    """How rows of a matrix (2) or of compressed values (1) are reached."""
    return access.DENSE_ROW if ndim == 2 else access.SPARSE_ROW


def values_type(dtype: str, ndim: int) -> Any:
    """Numba's type of a C-contiguous array: dtype "d" or "f", a matrix or the values of sparse rows."""
    return types.Array({"d": types.float64, "f": types.float32}[dtype], ndim, "C")
