"""Softmax regression: the rules of one coordinate, in a lane for each class.

In lane k the loss is the logistic one of a margin ``p_k = z_k - log(sum of exp(z_j), j not k)``, because
that makes ``sigmoid(p_k)`` the softmax: value, gradient and importance-aware update are its own. So each
lane runs `coordinate`'s rules, with its own scalars and its own clock, which starts when its class is
first seen (river copies an optimizer for each label).

Classes are the last axis of the state: a sparse row then touches one run of memory a feature. Kernels
see flat arrays, in which coordinate s of lane k stands at ``s * lanes + k``. How many classes are known
is data: a new one compiles nothing.
"""
# ruff: noqa: B018
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import carray, types

from streamgd import _features as f
from streamgd._features import read_dict
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
from streamgd.optim._travel import logistic_rise
from streamgd.optim.base import Optimizer
from streamgd.optim.losses import sigmoid, softplus

from . import access, class_weights, coordinate, linear
from .pieces import (
    DOUBLE,
    INTERCEPT,
    N_LOSSES,
    OPTIMIZER,
    PENALTY,
    PENALTY_2,
    SAMPLES,
    Jit,
    Layout,
    Pieces,
    Precision,
    T,
    take_hyper,
)

N_OWN = f.N_LANE_SCRATCH - 4  # floats of scratch a lane for the optimizer: its scalars, or its constants

# The margin of a class in the row that makes it known: the log-odds of 1e-15, at which river puts a
# probability of 0. The others are finite, but so far out that the gradient there is 0.
UNSEEN = -math.log(1e15 - 1.0)
FARTHEST = 750.0

MODEST = 1e70  # products of two such numbers and some features are below LIMIT


# The slot of a row's k-th value in a lane; ``j`` is (where the row begins, lanes, lane).
def same_slot(index, j, k):  # noqa: D103
    return np.uintp(k * j[1] + j[2])


def index_slot(index, j, k):  # noqa: D103
    return np.uintp(index[np.uintp(j[0] + k)] * j[1] + j[2])


# The k-th value of a lane where each lane has its own; ``i`` is (lanes, lane).
def lane_value(values, i, k):  # noqa: D103
    return values[np.uintp(k * i[0] + i[1])]


DENSE_ROW = (access.matrix_value, same_slot)
DENSE_VECTOR = (access.vector_value, same_slot)
SPARSE_ROW = (access.vector_value, index_slot)
EACH_LANE = (lane_value, same_slot)


@jitable
def shares(z, e, known):
    """Write ``exp(z - highest)``; return where the highest is, -1 for nowhere, and the sum of the others.

    Minus infinity is the output of a class that has not been seen.
    """
    top = -1
    for k in range(known):
        if z[k] > (z[top] if top >= 0 else -np.inf):
            top = k
    rest = 0.0
    for k in range(known):
        e[k] = math.exp(z[k] - z[top]) if z[k] > -np.inf else 0.0
        rest += e[k] if k != top else 0.0
    return top, rest


@jitable
def all_but(e, top, rest, k):
    """Return the sum of all shares but the k-th, without cancellation."""
    return rest if k == top else (1.0 - e[k]) + rest


@jitable
def derivative(e, top, rest, k, is_label):
    """Return the derivative of the cross-entropy in the k-th output: its softmax, minus 1 for the label."""
    return (-all_but(e, top, rest, k) if is_label else e[k]) / (1.0 + rest)


@jitable
def margin(z, e, top, rest, k):
    """Return the k-th output minus the logarithm of the sum of exponentials of the others."""
    if not z[k] > -np.inf:
        return UNSEEN
    others = all_but(e, top, rest, k)
    if not others > 0.0:
        return FARTHEST
    return min(max(z[k] - z[top] - math.log(others), -FARTHEST), FARTHEST)


class Beside:
    """The loss of a lane whose rule makes a whole row's update by itself: the others only shift its output.

    What kernels need of a `Loss`; it is none, because ``rest`` changes from row to row.
    """

    class struct(NamedTuple):  # noqa: N801, D106
        weight: float
        rest: float  # the logarithm of the sum of exponentials of the other outputs

    weight: float
    rest: float
    binary, residual, logistic, likelihood = True, False, False, True

    @classmethod
    def overrides(cls, name: str) -> bool:
        """Tell whether it has a rule of its own: all that it has."""
        return hasattr(cls, name)

    def hyper(self) -> list[float]:
        return [1.0, 0.0]

    def value(self, y: float, p: float) -> float:
        return self.weight * softplus((1.0 - 2.0 * y) * (p - self.rest))

    def gradient(self, y: float, p: float) -> float:
        sign = 1.0 - 2.0 * y
        return sign * self.weight * sigmoid(sign * (p - self.rest))

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        if ppu <= 0.0:
            return 0.0
        sign = 2.0 * y - 1.0
        return sign * logistic_rise(sign * (p - self.rest), self.weight * eta_h * ppu) / ppu


def steps_alone(pieces: Pieces) -> bool:
    """Tell whether a coordinate's update needs no more than the optimizer's step and `N_OWN` constants.

    Then classes are the inner loop, which vectorises; otherwise each lane goes through the row by itself.
    """
    optimizer, penalty = pieces.optimizer, pieces.penalty
    more = (
        *map(optimizer.overrides, ("at", "glance", "ahead", "scan")),
        *map(penalty.overrides, ("current", "settle", "advance")),
    )
    if optimizer.kernel != "coordinate" or optimizer.importance_aware or any(more):
        return False
    return not pieces.averaged and not pieces.fresh and n_constants(optimizer) <= N_OWN


def n_constants(optimizer: type[Optimizer]) -> int:
    """Tell how many constants a row has, which only the rule itself knows."""
    rule = optimizer.struct(*[0.5] * len(optimizer.struct._fields))
    own, sums = (0.5,) * optimizer.n_scalars, (0.5,) * optimizer.n_sums
    return len(optimizer.row(rule, own, sums, 0.5, 1.0, 0.5, 1.0, 0.5, 1.0)[1])


def outputs_body(pieces: Pieces, jit: Jit, layout: Layout, *, ahead: bool = False) -> Callable[..., Any]:
    """Build ``(hp, weights, slots, charged, scalars, begun, values, i, index, begin, n, known, z) -> bound``.

    ``z`` gets the outputs of the classes that have been seen, of the others minus infinity; ``bound`` is
    their sum of absolute values. ``scalars`` are ``(lanes, ...)``, ``begun (N_OWN, lanes)`` what the
    optimizer's `begin` returned, for outputs ``ahead``.
    """
    build = linear.RULES[pieces.optimizer.kernel].output_body
    output = jit(build(pieces, jit, layout, ahead=True) if ahead else build(pieces, jit, layout))
    take_own = jit(access.TAKE[pieces.n_own])
    load_own = jit(access.LOAD[pieces.n_own])
    value_at, slot_at = (jit(function) for function in layout)
    together = steps_alone(pieces)

    def outputs(hp, weights, slots, charged, scalars, begun, values, i, index, begin, n, known, z):
        lanes = scalars.shape[0]
        if together:
            for lane in range(known):
                z[lane] = scalars[lane, INTERCEPT]
            for k in range(n):
                x = value_at(values, i, k)
                first = slot_at(index, (begin, lanes, 0), k)
                for lane in range(known):
                    z[np.uintp(lane)] += weights[first + np.uintp(lane)] * x
        bound = 0.0
        for lane in range(known):
            if scalars[lane, SAMPLES] == 0.0:
                z[lane] = -np.inf
                continue
            if not together:
                own = load_own(begun, lane) if ahead else take_own(scalars[lane], OPTIMIZER)
                _, z[lane] = output(
                    hp, weights, slots, charged, scalars[lane], own, values, i, index,
                    (begin, lanes, lane), n,
                )  # fmt: skip
            bound += abs(z[lane])
        return bound

    return outputs


def look_body(pieces: Pieces, jit: Jit, inline: Jit, layout: Layout) -> Callable[..., Any]:
    """Build ``(hp, weights, ..., y, h, known, z, e) -> (status, size, top, rest)``: it writes only scratch.

    ``z`` are the outputs, ``e``, ``top`` and ``rest`` their `shares`.
    """
    value_at = jit(layout[0])
    outputs = inline(outputs_body(pieces, jit, layout))

    def look(hp, weights, slots, charged, scalars, values, i, index, begin, n, y, h, known, z, e):
        size = 0.0
        for k in range(n):
            size += abs(value_at(values, i, k))
        bound = outputs(hp, weights, slots, charged, scalars, scalars, values, i, index, begin, n, known, z)
        top, rest = shares(z, e, known)
        status = f.OK
        if not (size <= LIMIT):
            status = f.BAD_ROW
        elif not (abs(y) <= LIMIT):
            status = f.BAD_TARGET
        elif not (0.0 <= h <= LIMIT):
            status = f.BAD_WEIGHT
        elif not (bound <= LIMIT):
            status = f.OVERFLOW
        elif h == 0.0:
            status = f.NOOP
        elif int(y) >= known:
            status = f.NEW_CLASS
        return status, size, top, rest

    return look


def learn_whole_row_body(pieces: Pieces, jit: Jit, inline: Jit, layout: Layout) -> Callable[..., Any]:
    """Build the update of one row by a rule that makes each lane's by itself; as `learn_row_body`."""
    look = inline(look_body(pieces, jit, inline, layout))
    learn_lane = jit(linear.RULES[pieces.optimizer.kernel].learn_row_body(pieces, jit, inline, layout))
    monitored = pieces.monitored

    def learn_row(
        hp, weights, slots, charged, scalars, values, i, index, begin, n, y, h, rates, r, known,
        z, ahead, e, d, own,
    ):  # fmt: skip
        status, size, top, rest = look(
            hp, weights, slots, charged, scalars, values, i, index, begin, n, y, h, known, z, e
        )
        if status != f.OK:
            return status, 0.0
        # The lanes check for themselves, but one after the other: what any could refuse is refused here.
        if not (size <= MODEST) or not (h * hp[0] * hp[0] <= MODEST):
            return f.OVERFLOW, 0.0
        seen = margin(z, e, top, rest, int(y)) if monitored else 0.0
        lanes = scalars.shape[0]
        for lane in range(known):
            own_output = z[lane] if z[lane] > -np.inf else 0.0
            hp[1] = own_output - margin(z, e, top, rest, lane)
            learn_lane(
                hp, weights, slots, charged, scalars[lane], values, i, index, (begin, lanes, lane), n,
                1.0 if lane == int(y) else 0.0, h, rates[lane], r,
            )  # fmt: skip
        hp[1] = 0.0
        return f.OK, seen

    return learn_row


def learn_row_body(pieces: Pieces, jit: Jit, inline: Jit, layout: Layout) -> Callable[..., Any]:
    """Build the update of one row.

    ``(hp, weights, slots, charged, scalars, values, i, index, begin, n, y, h, rates, r, known, z, ahead,
    e, d, own) -> (status, margin)``: ``y`` is the code of the label, ``margin`` that of its class before
    the update, if losses are monitored; the last five, ``own`` of them ``(N_OWN, lanes)``, are scratch, and
    ``z`` has the row's outputs afterwards.
    """
    _, optimizer_class, penalty_class = pieces.classes
    make_optimizer, make_penalty = optimizer_class.struct, penalty_class.struct
    optimizer_hyper, penalty_hyper = jit(take_hyper(optimizer_class)), jit(take_hyper(penalty_class))
    optimizer_start, penalty_start, clip_at = pieces.hyper_starts
    value_at, slot_at = (jit(function) for function in layout)
    look = inline(look_body(pieces, jit, inline, layout))
    outputs_ahead = inline(outputs_body(pieces, jit, layout, ahead=True))
    update = jit(coordinate.update_body(pieces, jit, layout))
    glance, begin_row = jit(optimizer_class.glance), jit(optimizer_class.begin)
    step, penalty_gradient = jit(optimizer_class.step), jit(penalty_class.gradient)
    load, store = jit(access.LOAD[optimizer_class.n_slots]), jit(access.STORE[optimizer_class.n_slots])
    take = jit(access.TAKE[optimizer_class.n_slots])
    together = steps_alone(pieces)
    load_constants, store_constants = (
        jit(functions[n_constants(optimizer_class) if together else 0])
        for functions in (access.LOAD, access.STORE)
    )
    take_own = jit(access.TAKE[pieces.n_own])
    load_own, store_own = jit(access.LOAD[pieces.n_own]), jit(access.STORE[pieces.n_own])
    zero_sums, add = jit(access.TAKE[optimizer_class.n_sums]), jit(access.ADD[optimizer_class.n_sums])
    glances, importance_aware = optimizer_class.overrides("glance"), optimizer_class.importance_aware
    looks_ahead = optimizer_class.overrides("ahead") or glances or pieces.averaged
    with_intercept, monitored = pieces.intercept, pieces.monitored
    intercept_slots = OPTIMIZER + optimizer_class.n_scalars
    nothing = (0.0, 0.0, 0.0)

    def learn_row(
        hp, weights, slots, charged, scalars, values, i, index, begin, n, y, h, rates, r, known,
        z, ahead, e, d, own,
    ):  # fmt: skip
        status, size, top, rest = look(
            hp, weights, slots, charged, scalars, values, i, index, begin, n, y, h, known, z, e
        )
        if status != f.OK:
            return status, 0.0
        label = int(y)
        lanes = scalars.shape[0]
        seen = margin(z, e, top, rest, label) if monitored else 0.0
        if glances:
            optimizer = make_optimizer(*optimizer_hyper(hp, optimizer_start))
        for lane in range(known):
            state = take_own(scalars[lane], OPTIMIZER)
            if glances:
                sums = zero_sums(nothing, 0)
                for k in range(n):
                    s = slot_at(index, (begin, lanes, lane), k)
                    sums = add(sums, glance(optimizer, weights[s], load(slots, s), value_at(values, i, k)))
                if with_intercept:
                    one = 1.0 if rates[lane, r, 2] != 0.0 else 0.0
                    intercept = scalars[lane, INTERCEPT]
                    sums = add(sums, glance(optimizer, intercept, take(scalars[lane], intercept_slots), one))
                state = begin_row(optimizer, state, sums, h)
            store_own(own, lane, state)
        if looks_ahead:
            bound = outputs_ahead(
                hp, weights, slots, charged, scalars, own, values, i, index, begin, n, known, ahead
            )
            if not (bound <= LIMIT):
                return f.OVERFLOW, seen
            top, rest = shares(ahead, e, known)

        clip = hp[clip_at]
        weight = hp[0]  # the class's: see `learn`
        steepest = h * weight
        if not (steepest <= LIMIT) or not (min(steepest, clip) * (1.0 + size) <= LIMIT):
            return f.OVERFLOW, seen
        for k in range(known):
            d[k] = weight * derivative(e, top, rest, k, k == label)
        for k in range(known):
            g = h * d[k]
            if abs(g) > clip:
                g = clip if g > clip else -clip
                if not importance_aware:
                    d[k] = g / h
            constants = update(
                hp, weights, slots, charged, scalars[k], load_own(own, k), values, i, index,
                (begin, lanes, k), 0 if together else n, 1.0,
                margin(ahead if looks_ahead else z, e, top, rest, k), 1.0 if k == label else 0.0, d[k], h, g,
                rates[k], r,
            )  # fmt: skip
            scalars[k, SAMPLES] += 1.0
            if together:
                store_constants(own, k, constants)
                d[k] = g
        if together:
            optimizer = make_optimizer(*optimizer_hyper(hp, optimizer_start))
            penalty = make_penalty(*penalty_hyper(hp, penalty_start))
            for k in range(n):
                x = value_at(values, i, k)
                first = slot_at(index, (begin, lanes, 0), k)
                for lane in range(known):
                    s = first + np.uintp(lane)
                    w = weights[s]
                    slope = d[np.uintp(lane)] * x + penalty_gradient(penalty, w)
                    c = load_constants(own, np.uintp(lane))
                    w, new = step(optimizer, w, load(slots, s), slope, x, c)
                    weights[s] = w
                    store(slots, s, new)
        return f.OK, seen

    return learn_row


# -- learning ----------------------------------------------------------------------------------


@functools.cache
def learn(pieces: Pieces) -> Any:
    """Compiled ``(x, y, w, control) -> status``, as `linear.learn`; ``y`` is the code of the label.

    It stops as well, with nothing written, where a class is to be learned for the first time.
    """
    build = learn_row_body if pieces.optimizer.kernel == "coordinate" else learn_whole_row_body
    dense = inlined(build(pieces, jitable, inlined, DENSE_VECTOR))
    sparse = inlined(build(pieces, jitable, inlined, SPARSE_ROW))
    make_job = jitable(linear.dict_as_job)
    make_loss, loss_hyper = pieces.loss.struct, jitable(take_hyper(pieces.loss))
    make_penalty, penalty_hyper = pieces.penalty.struct, jitable(take_hyper(pieces.penalty))
    value, full = jitable(pieces.loss.value), jitable(pieces.penalty.full)
    _, penalty_start, _ = pieces.hyper_starts
    monitored, fills = pieces.monitored, pieces.penalty.overrides("full")
    both = pieces.optimizer.kernel == "coordinate"
    n_slots = max(1, pieces.n_slots)
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
            last = 1
        capacity, kind, n_values = c[f.CAPACITY], c[f.KIND], c[f.COLUMNS]
        weight_step, skip = c[f.WEIGHT_STEP], c[f.SKIP] != 0
        lanes, known = c[f.LANES], c[f.CLASSES]
        row_scratch = carray(doubles_at(c[f.X]), (capacity,))
        values = carray(doubles_at(c[f.VALUES]), (last,))
        singles = carray(singles_at(c[f.VALUES]), (last,))
        index = carray(words_at(c[f.COLUMNS]), (last,))
        starts = carray(words_at(c[f.STARTS]), (last,))
        targets = carray(doubles_at(c[f.TARGETS]), (last,))
        sample_weights = carray(doubles_at(c[f.SAMPLE_WEIGHTS]), (last,))
        outputs = carray(doubles_at(c[f.OUTPUTS]), (last,))
        output_step = c[f.OUTPUT_STEP]
        scalars = carray(doubles_at(c[f.SCALARS]), (lanes, length))
        losses = carray(doubles_at(c[f.LOSSES]), (c[f.WINDOW],))
        weights = carray(doubles_at(c[f.WEIGHTS]), (capacity * lanes,))
        charged = carray(doubles_at(c[f.CHARGED]), (capacity * lanes,))
        slots = carray(doubles_at(c[f.SLOTS]), (n_slots, capacity * lanes))
        class_weights = carray(doubles_at(c[f.CLASS_WEIGHTS]), (lanes,))
        hp = carray(doubles_at(c[f.HYPER]), (n_hyper,))
        scratch = carray(doubles_at(c[f.LANE_SCRATCH]), (f.N_LANE_SCRATCH, lanes))
        z, ahead, e, d, own = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4:]
        numbers = carray(doubles_at(c[f.WEIGHING]), (n_weighing,))
        factors = carray(doubles_at(c[f.FACTORS]), (known,))
        counts = carray(doubles_at(c[f.COUNTS]), (2, lanes))
        new = carray(doubles_at(c[f.NEW_COUNTS]), (known,))
        codes = carray(words_at(c[f.CODES]), (2 + c[f.N_RECENT],))
        recent = carray(doubles_at(c[f.RECENT]), (c[f.N_RECENT],))
        made = carray(words_at(c[f.MADE]), (last,))
        n_rates, rate_step = c[f.N_RATES], c[f.RATE_STEP]
        rates = carray(doubles_at(c[f.RATES]), (lanes, n_rates, 3))
        r = (int(scalars[0, T]) - c[f.RATES_START]) * rate_step

        thread = release_gil() if is_job and c[f.RELEASE] != 0 else np.uintp(0)
        skipped = 0
        status = f.OK
        while i < last:
            if r >= n_rates or (monitored and scalars[0, N_LOSSES] >= c[f.WINDOW]):
                status = f.REFILL
                break
            if fills:
                penalty = make_penalty(*penalty_hyper(hp, penalty_start))
                for k in range(known):
                    if full(penalty, (scalars[k, PENALTY], scalars[k, PENALTY_2])):
                        status = f.REFILL
                if status == f.REFILL:
                    break
            y = targets[i]
            w = sample_weights[i * weight_step]
            is_real = c[f.MADE] == 0 or made[i] == 0
            h = weigh(numbers, factors, counts, codes, recent, new, y, w) if weighs and is_real else w
            hp[0] = class_weights[int(y)] if 0.0 <= y < known else 1.0
            if both:  # the weight of the row's class is that of both labels of each lane's loss
                hp[1] = hp[0]
            if kind == f.SPARSE:
                begin = starts[i]
                status, margin = sparse(
                    hp, weights, slots, charged, scalars, values, begin, index, begin, starts[i + 1] - begin,
                    y, h, rates, r, known, z, ahead, e, d, own,
                )  # fmt: skip
            else:
                row, begin = values, i * n_values
                if kind == f.DENSE32:
                    for k in range(n_values):
                        row_scratch[np.uintp(k)] = singles[np.uintp(begin + k)]
                    row, begin = row_scratch, 0
                status, margin = dense(
                    hp, weights, slots, charged, scalars, row, begin, index, 0, n_values,
                    y, h, rates, r, known, z, ahead, e, d, own,
                )  # fmt: skip
            if status == f.NEW_CLASS:
                break
            bad = status < 0
            if bad and not skip:
                break
            for k in range(output_step):
                outputs[np.uintp(i * output_step + k)] = np.nan if bad else (z[k] if k < known else -np.inf)
            if bad:
                skipped += 1
            elif status == f.OK:
                r += rate_step
                if weighs and is_real:
                    keep(counts, codes, recent, new, y, w)
                if monitored and is_real:
                    losses[int(scalars[0, N_LOSSES])] = value(make_loss(*loss_hyper(hp, 0)), 1.0, margin)
                    scalars[0, N_LOSSES] += 1.0
            i += 1
        if status > 0 or (skip and status != f.REFILL and status != f.NEW_CLASS):
            status = f.OK
        if thread != 0:
            acquire_gil(thread)
        if is_job:
            c[f.ROW] = i
            c[f.SKIPPED] += skipped
        return status

    return bind(learn, (py_object,) * 4, pieces.sources, nogil=False, variant=pieces.variant)


# -- prediction --------------------------------------------------------------------------------


@coordinate.made_of(coordinate.that_predict)
def predict_one(pieces: Pieces) -> Any:
    """Compiled ``(x, out, control) -> code`` of the most probable class, NaN where Python must go on.

    ``out``, unless it is None, gets the probabilities of as many classes as its first number says. With
    ``x`` None the control block is a job of one row, LAST - 1 values in its scratch.
    """
    dense = inlined(outputs_body(pieces, jitable, DENSE_VECTOR))
    sparse = inlined(outputs_body(pieces, jitable, SPARSE_ROW))
    read = jitable(read_dict)
    n_slots = max(1, pieces.n_slots)
    length = pieces.n_scalars
    n_hyper = pieces.n_hyper
    sources = fingerprint(pieces.classes)

    def predict_one(x_object, out_object, control_object):
        sources
        control: Any = load_word(address_of(control_object) + f.HEAD)
        c = carray(words_at(control), (f.N_WORDS,))
        x_address = address_of(x_object)
        count = read(x_address, c, False) if x_address != c[f.NONE] else c[f.LAST] - 1
        if count < 0:
            return np.nan
        capacity, lanes, known = c[f.CAPACITY], c[f.LANES], c[f.CLASSES]
        scalars = carray(doubles_at(c[f.SCALARS]), (lanes, length))
        values = carray(doubles_at(c[f.X]), (capacity,))
        index = carray(words_at(c[f.SLOT]), (capacity,))
        weights = carray(doubles_at(c[f.WEIGHTS]), (capacity * lanes,))
        slots = carray(doubles_at(c[f.SLOTS]), (n_slots, capacity * lanes))
        charged = carray(doubles_at(c[f.CHARGED]), (capacity * lanes,))
        hp = carray(doubles_at(c[f.HYPER]), (n_hyper,))
        scratch = carray(doubles_at(c[f.LANE_SCRATCH]), (2, lanes))
        z, p = scratch[0], scratch[1]
        if address_of(out_object) != c[f.NONE]:
            out: Any = load_word(address_of(out_object) + f.HEAD)
            p = carray(doubles_at(out), (lanes,))
            known = min(known, int(p[0]))
        n = count & 0xFFFFFFFF
        if n == count:
            bound = sparse(hp, weights, slots, charged, scalars, scalars, values, 0, index, 0, n, known, z)
        else:
            bound = dense(hp, weights, slots, charged, scalars, scalars, values, 0, index, 0, n, known, z)
        for k in range(n):
            bound += abs(values[np.uintp(k)])
        if not (bound <= LIMIT):
            return np.nan
        best, rest = shares(z, p, known)
        for k in range(known):
            p[k] = p[k] / (1.0 + rest)
        return float(best)

    return bind(predict_one, (py_object,) * 3, pieces.classes, nogil=False, variant=pieces.variant)


STATE = (coordinate.VECTOR, coordinate.MATRIX, coordinate.VECTOR, coordinate.MATRIX)


@coordinate.made_of(coordinate.that_outputs)
def predict_rows(pieces: Pieces, dtype: str, ndim: int) -> Any:
    """Compiled raw outputs of all rows ``(n, known)``.

    ``(hp, weights, slots, charged, scalars, values, index, starts, out) -> row``: as
    `linear.predict_rows`.
    """
    is_matrix = ndim == 2
    layout = DENSE_ROW if is_matrix else SPARSE_ROW
    outputs = inlined(outputs_body(pieces, jitable, layout))
    value_at = jitable(layout[0])
    sources = fingerprint(pieces.classes)

    def predict_rows(hp, weights, slots, charged, scalars, values, index, starts, out):
        sources
        first_bad, known = out.shape
        for i in range(out.shape[0]):
            if is_matrix:
                begin, n = i, values.shape[1]
            else:
                begin, n = starts[i], starts[i + 1] - starts[i]
            z = out[i]
            bound = outputs(
                hp, weights, slots, charged, scalars, scalars, values, begin, index, begin, n, known, z
            )
            for k in range(n):
                bound += abs(value_at(values, begin, k))
            if not (bound <= LIMIT):
                first_bad = min(first_bad, i)
                z[:] = np.nan
        return first_bad

    rest = (coordinate.values_type(dtype, ndim), coordinate.WORDS, coordinate.WORDS, coordinate.MATRIX)
    signature = (coordinate.VECTOR, *STATE, *rest)
    return bind(predict_rows, signature, pieces.classes, nogil=True, variant=pieces.variant)


# -- mini-batches ------------------------------------------------------------------------------


@functools.cache
def losses(pieces: Pieces) -> Any:
    """Compiled ``(class_weights, y, z, out)``: as `linear.losses`, of outputs ``z (n, known)``."""
    sources = fingerprint(())

    def losses(class_weights, y, z, out):
        sources
        e = np.empty(z.shape[1])
        for i in range(z.shape[0]):
            good = abs(y[i]) <= LIMIT
            for k in range(z.shape[1]):
                good &= z[i, k] <= LIMIT
            out[i] = np.nan
            if good:
                label = int(y[i])
                top, rest = shares(z[i], e, z.shape[1])
                own = margin(z[i], e, top, rest, label) if label < z.shape[1] else UNSEEN
                out[i] = class_weights[label] * softplus(-own)

    vector = coordinate.VECTOR
    return bind(losses, (vector, vector, coordinate.MATRIX, vector), (), nogil=True, variant="softmax")


def add_rows_body(ndim: int, precision: Precision) -> Callable[..., Any]:
    """Build what adds up rows' gradients; as `linear.add_rows_body`, with ``sums (1 + columns, known)``."""
    value_at, slot_at = map(precision.jit, precision.layout(coordinate.layout(ndim)))
    is_dense = ndim == 2

    def add_rows(values, index, starts, d, first, last, low, high, sums):
        known = sums.shape[1]
        for i in range(first, last):
            g = d[i]
            bound = 0.0
            for lane in range(known):
                bound += abs(g[np.uintp(lane)])
            if bound == 0.0:  # of a row that was skipped, not all values are numbers
                continue
            if low == 0:
                for lane in range(known):
                    sums[0, np.uintp(lane)] += g[np.uintp(lane)]
            begin, n = (i, values.shape[1]) if is_dense else (starts[i], starts[i + 1] - starts[i])
            for k in range(n):
                s = slot_at(index, begin, k)
                if is_dense or low <= s < high:
                    x = value_at(values, begin, k)
                    for lane in range(known):
                        sums[s + np.uintp(1), np.uintp(lane)] += g[np.uintp(lane)] * x

    return add_rows


@functools.cache
def add_rows(precision: Precision = DOUBLE) -> Any:
    """Compiled sums of compressed rows' gradients by columns; see `add_rows_body`."""
    add = precision.inline(add_rows_body(1, precision))
    sources = fingerprint(())

    def add_rows(values, index, starts, d, first, last, low, high, sums):
        sources
        add(values, index, starts, d, first, last, low, high, sums)

    matrix, words, span = precision.matrix, coordinate.WORDS, linear.SPAN
    signature = (coordinate.VECTOR, words, words, matrix, *span, *span, matrix)
    return bind(precision.copy(add_rows), signature, (), nogil=True, variant="softmax")


@coordinate.made_of(coordinate.that_look)
def derivatives(pieces: Pieces, dtype: str, ndim: int, precision: Precision = DOUBLE) -> Any:
    """Compiled derivatives of the loss in each class's output, and their sums; as `linear.derivatives`.

    ``z`` and ``d`` are ``(n, known)``, and a last argument the ``class_weights`` of the known classes.
    """
    is_matrix = ndim == 2
    jit, layout = precision.jit, precision.layout(DENSE_ROW if is_matrix else SPARSE_ROW)
    value_at = jit(layout[0])
    outputs = precision.inline(outputs_body(pieces, jit, layout))
    outputs_ahead = precision.inline(outputs_body(pieces, jit, layout, ahead=True))
    take_own = jit(access.TAKE[pieces.n_own])
    store_own = jit(access.STORE[pieces.n_own])
    add_rows = precision.inline(add_rows_body(ndim, precision))
    looks_ahead = pieces.optimizer.overrides("ahead") or pieces.averaged
    sources = fingerprint(pieces.classes)

    def derivatives(
        hp, clip, weights, slots, charged, scalars, values, index, starts, y, w, skip, first, last, z, d,
        adds, sums, class_weights,
    ):  # fmt: skip
        sources
        known, lanes = class_weights.shape[0], scalars.shape[0]
        w_step = 1 if w.shape[0] > 1 else 0
        if looks_ahead:
            scratch = np.empty((N_OWN + 1, lanes), z.dtype)
        count = 0
        skipped = 0
        for i in range(first, last):
            if is_matrix:
                begin, n = i, values.shape[1]
            else:
                begin, n = starts[i], starts[i + 1] - starts[i]
            size = 0.0
            for k in range(n):
                size += abs(value_at(values, begin, k))
            own_z, own_d = z[i], d[i]
            bound = outputs(
                hp, weights, slots, charged, scalars, scalars, values, begin, index, begin, n, known, own_z
            )
            h = w[i * w_step]
            status = f.OK
            if not (size <= LIMIT):
                status = f.BAD_ROW
            elif not (abs(y[i]) <= LIMIT):
                status = f.BAD_TARGET
            elif not (0.0 <= h <= LIMIT):
                status = f.BAD_WEIGHT
            elif not (bound <= LIMIT):
                status = f.OVERFLOW
            elif h == 0.0:
                status = f.NOOP
            else:
                label = int(y[i])
                if looks_ahead:
                    ahead, own = scratch[N_OWN], scratch[:N_OWN]
                    for k in range(known):
                        store_own(own, k, take_own(scalars[k], OPTIMIZER))
                    bound = outputs_ahead(
                        hp,
                        weights,
                        slots,
                        charged,
                        scalars,
                        own,
                        values,
                        begin,
                        index,
                        begin,
                        n,
                        known,
                        ahead,
                    )
                    top, rest = shares(ahead, own_d, known)
                else:
                    top, rest = shares(own_z, own_d, known)
                steepest = h * class_weights[label]
                bounded = bound <= LIMIT and steepest <= LIMIT
                if not (bounded and min(steepest, clip) * (1.0 + size) <= LIMIT):
                    status = f.OVERFLOW
                for k in range(known):
                    slope = steepest * derivative(own_d, top, rest, k, k == label)
                    own_d[k] = min(max(slope, -clip), clip)
            if status == f.OK:
                count += 1
                if adds:
                    add_rows(values, index, starts, d, i, i + 1, 0, sums.shape[0], sums)
                continue
            own_d[:] = 0.0
            if status < 0:
                if not skip:
                    return status, i, count, skipped
                own_z[:] = np.nan
                skipped += 1
        return f.OK, last, count, skipped

    vector, matrix = precision.vector, precision.matrix
    state, rows = (vector, matrix, vector, matrix), (coordinate.values_type(dtype, ndim),)
    words, given = (coordinate.WORDS,) * 2, (vector, vector, types.boolean, *linear.SPAN)
    made = (matrix, matrix, types.boolean, matrix, vector)
    signature = (vector, precision.number, *state, *rows, *words, *given, *made)
    body = precision.copy(derivatives)
    return bind(body, signature, pieces.classes, nogil=True, variant=pieces.variant)


@coordinate.made_of(coordinate.that_step)
def step(pieces: Pieces, precision: Precision = DOUBLE) -> Any:
    """Compiled step of each known class; as `linear.step`, with ``sums (1 + columns, known)``."""
    update = precision.inline(coordinate.update_body(pieces, precision.jit, EACH_LANE))
    take_own = precision.jit(access.TAKE[pieces.n_own])
    sources = fingerprint(pieces.classes)

    def step(hp, weights, slots, charged, scalars, sums, count, rates, r):
        sources
        known, lanes = sums.shape[1], scalars.shape[0]
        values = sums.reshape(-1)
        bound = 0.0
        for k in range(values.shape[0]):
            bound += abs(values[k])
        if not (bound <= LIMIT):
            return f.OVERFLOW
        share = 1.0 / sums.dtype.type(count)
        for k in range(values.shape[0]):
            values[k] *= share
        for k in range(known):
            update(
                hp, weights, slots, charged, scalars[k], take_own(scalars[k], OPTIMIZER), values[known:],
                (known, k), sums, (0, lanes, k), sums.shape[0] - 1, sums[0, k], 0.0, 0.0, 1.0, 1.0, 1.0,
                rates[k], r,
            )  # fmt: skip
            scalars[k, SAMPLES] += count
        return f.OK

    vector, matrix, table = precision.vector, precision.matrix, precision.number[:, :, ::1]
    state, rest = (vector, matrix, vector, matrix), (matrix, types.int64, table, types.int64)
    signature, body, reorders = (vector, *state, *rest), precision.copy(step), precision is DOUBLE
    return bind(body, signature, pieces.classes, nogil=True, variant=pieces.variant, reorders=reorders)
