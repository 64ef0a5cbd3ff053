"""The update without a rate to tune: one lane of weights, or several with rates of their own.

Vowpal Wabbit's normalised, adaptive, importance-aware update (Ross, Mineiro, Langford 2013) on centred
features, with the scale of the target found on the way. All lanes share a coordinate's G (sum of
squared gradients), scale, mean and count; only the weights, and the intercepts, are their own.
Predictions mix the lanes by how well they have done.

What each coordinate keeps in ``slots``: see the names below. ``charged`` is scratch, because no penalty
joins in. Loops over features come inside loops over lanes, so that they vectorise.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamgd import _features as f
from streamgd._jit import LIMIT

from .pieces import INTERCEPT, OPTIMIZER, SAMPLES, Jit, Layout, Pieces, T, take_hyper

Floats = NDArray[np.float64]

# Rows of ``slots``: G; largest value used; mean; rows that made the mean (-1: a feature that was absent
# once, and is no longer centred); then the weights of all lanes but the first.
TOTAL, SCALE, MEAN, COUNT, WEIGHTS = range(5)

# The rule's scalars, from OPTIMIZER on; lanes' numbers (LANES floats each) follow.
(
    WIDTH, WEIGHT,  # sums of normalised squared rows, and of samples' weights
    Y_MEAN, Y_VARIANCE, Y_LOW, Y_HIGH,  # of the targets
    COVARIANCE, VARIANCE, LAST,  # of successive gradients
    MEAN_LOSS, INTERCEPT_TOTAL,
    LANES,
) = range(OPTIMIZER, OPTIMIZER + 12)  # fmt: skip
# Lanes' intercepts (beyond INTERCEPT), their shares of predictions less 1 / LANES; scratch: outputs,
# and how well they did.
OFFSETS, SHARES, OUTPUTS, MERITS = range(4)

WINDOW = 1000.0  # rows over which successive gradients, and the loss of the mixture, are averaged
BEYOND = 2.0  # a value counts at most as this many times the largest one so far
FLOOR = 1e-12  # what is left of a centred value counts as rounding below this share of it
SMALLEST = 1e-75  # smaller values count as 0: quotients of their squares would overflow


def report(pieces: Pieces, weights: Floats, slots: Floats, scalars: Floats) -> tuple[Floats, float]:
    """Return the weights ``(n,)`` and the intercept of the mixture, for values that are not centred."""
    n_lanes = pieces.optimizer.n_lanes
    offsets, shares = scalars[LANES : LANES + 2 * n_lanes].reshape(2, n_lanes)
    shares = shares + 1.0 / n_lanes
    mixed = shares @ np.vstack([weights, slots[WEIGHTS : WEIGHTS + n_lanes - 1]])
    centred = slots[COUNT] > 0.0
    intercept = scalars[INTERCEPT] + shares @ offsets - mixed[centred] @ slots[MEAN, centred]
    return mixed, float(intercept)


def clear_scratch(pieces: Pieces, scalars: Floats) -> None:
    """Write 0 where a row, learned or refused, leaves numbers that mean nothing to the next one."""
    n_lanes = pieces.optimizer.n_lanes
    scalars[..., LANES + OUTPUTS * n_lanes : LANES + (MERITS + 1) * n_lanes] = 0.0


def _bounded(value, limit):
    return min(max(value, -limit), limit)


def output_body(pieces: Pieces, jit: Jit, layout: Layout) -> Callable[..., Any]:
    """Build ``(hp, weights, slots, charged, scalars, own, values, i, index, j, n) -> (size, z)``."""
    value_at, slot_at = (jit(function) for function in layout)
    bounded, mix = jit(_bounded), jit(mix_body(pieces))
    n_lanes = pieces.optimizer.n_lanes
    residual = pieces.loss.residual

    def output(hp, weights, slots, charged, scalars, own, values, i, index, j, n):
        t = scalars[T]
        size = 0.0
        for k in range(n):
            size += abs(value_at(values, i, k))
        up, down = 0.0, 0.0
        for lane in range(n_lanes):
            p = 0.0
            for k in range(n):
                s = slot_at(index, j, k)
                x, mean, count = value_at(values, i, k), slots[MEAN, s], slots[COUNT, s]
                centre = mean if count > 0.0 and count == t else 0.0
                z = x - centre
                z = 0.0 if abs(z) <= FLOOR * (abs(x) + abs(centre)) else bounded(z, slots[SCALE, s])
                # a feature that was absent once, which is not folded in yet
                z -= mean if count > 0.0 and count != t else 0.0
                p += z * (weights[s] if lane == 0 else slots[WEIGHTS + lane - 1, s])
            p += scalars[INTERCEPT] + scalars[LANES + OFFSETS * n_lanes + lane]
            if residual and t > 0.0:
                p = min(max(p, scalars[Y_LOW]), scalars[Y_HIGH])
            up, down = mix(scalars, lane, p, up, down)
        return size, up if down == 0.0 else math.log(up / down)

    return output


def mix_body(pieces: Pieces) -> Callable[..., Any]:
    """Build ``(scalars, lane, p, up, down) -> (up, down)``, which adds a lane's output to the mixture.

    Outputs are mixed as they are; logits as probabilities, of both labels.
    """
    n_lanes = pieces.optimizer.n_lanes
    as_probabilities = pieces.loss.logistic and n_lanes > 1

    def mix(scalars, lane, p, up, down):
        share = 1.0 / n_lanes + scalars[LANES + SHARES * n_lanes + lane]
        if as_probabilities:
            e = math.exp(-abs(p))
            likely, other = share / (1.0 + e), share * max(e, 1e-300) / (1.0 + e)
            return (up + likely, down + other) if p >= 0.0 else (up + other, down + likely)
        return up + (p if n_lanes == 1 else share * p), 0.0

    return mix


def learn_row_body(pieces: Pieces, jit: Jit, inline: Jit, layout: Layout) -> Callable[..., Any]:
    """Build the update of one row.

    ``(hp, weights, slots, charged, scalars, values, i, index, j, n, y, h, rates, r) -> (status, z)``
    """
    make_loss, loss_hyper = pieces.loss.struct, jit(take_hyper(pieces.loss))
    make_optimizer, optimizer_hyper = pieces.optimizer.struct, jit(take_hyper(pieces.optimizer))
    optimizer_start, _, _ = pieces.hyper_starts
    value_at, slot_at = (jit(function) for function in layout)
    bounded, mix = jit(_bounded), jit(mix_body(pieces))
    value, gradient, loss_update = (
        jit(method) for method in (pieces.loss.value, pieces.loss.gradient, pieces.loss.update)
    )
    own_update = pieces.loss.overrides("update")
    tracks = not pieces.loss.binary  # the loss may change to one of a residual
    rate_of = jit(pieces.optimizer.rate_of)
    n_lanes = pieces.optimizer.n_lanes
    residual, likelihood, logistic = pieces.loss.residual, pieces.loss.likelihood, pieces.loss.logistic

    def learn_row(hp, weights, slots, charged, scalars, values, i, index, j, n, y, h, rates, r):
        loss = make_loss(*loss_hyper(hp, 0))
        optimizer = make_optimizer(*optimizer_hyper(hp, optimizer_start))
        t = scalars[T]
        learns_intercept = rates[r, 2] != 0.0
        offsets, shares = LANES + OFFSETS * n_lanes, LANES + SHARES * n_lanes
        outputs, merits = LANES + OUTPUTS * n_lanes, LANES + MERITS * n_lanes

        # The outputs, as `output` makes them, with nothing written but scratch.
        size, reach, gaps, jumps = 0.0, 0.0, 0.0, 0.0
        for k in range(n):
            s = slot_at(index, j, k)
            x, mean, count, scale = value_at(values, i, k), slots[MEAN, s], slots[COUNT, s], slots[SCALE, s]
            size += abs(x)
            centre = mean if count > 0.0 and count == t else 0.0
            v = x - centre
            v = 0.0 if abs(v) <= FLOOR * (abs(x) + abs(centre)) else v
            gap = mean if count > 0.0 and count != t else 0.0
            gaps += 1.0 if count > 0.0 and count != t else 0.0
            jumps += 1.0 if abs(v) > scale else 0.0
            reach += abs(v)
            charged[s] = bounded(v, scale) - gap
        # All that is made from a lane's output stands together: the compiler then takes one exponential.
        jump_start = residual and t == 0.0 and learns_intercept
        up, down, worst = 0.0, 0.0, 0.0
        squares, mean_gradient = 0.0, 0.0
        best, mixed = math.inf, 0.0
        for lane in range(n_lanes):
            p = 0.0
            for k in range(n):
                s = slot_at(index, j, k)
                p += charged[s] * (weights[s] if lane == 0 else slots[WEIGHTS + lane - 1, s])
            p += scalars[INTERCEPT] + scalars[offsets + lane]
            if residual and t > 0.0:
                p = min(max(p, scalars[Y_LOW]), scalars[Y_HIGH])
            worst = max(worst, abs(p)) if abs(p) <= LIMIT else math.inf
            p = p if abs(p) <= LIMIT else 0.0
            up, down = mix(scalars, lane, p, up, down)
            p = y if jump_start else p
            g = gradient(loss, y, p)
            share = 1.0 / n_lanes + scalars[shares + lane]
            mean_gradient += share * g
            squares += share * g * g
            scalars[outputs + lane] = p
            if n_lanes > 1 and logistic:
                e = math.exp(-abs(p))
                agrees = (p >= 0.0) == (y > 0.0)
                scalars[merits + lane] = (1.0 if agrees else max(e, 1e-300)) / (1.0 + e)
            elif n_lanes > 1:
                cost = value(loss, y, p)
                mixed += share * p
                best = min(best, cost)
                scalars[merits + lane] = cost
        z = up if down == 0.0 else math.log(up / down)
        if not (size <= LIMIT):
            return f.BAD_ROW, z
        if not (abs(y) <= LIMIT):
            return f.BAD_TARGET, z
        if not (0.0 <= h <= LIMIT):
            return f.BAD_WEIGHT, z
        if not (worst <= LIMIT):
            return f.OVERFLOW, z
        if h == 0.0:
            return f.NOOP, z
        if not (math.sqrt(h * squares) * (1.0 + reach) <= LIMIT):
            return f.OVERFLOW, z
        if jump_start:
            for lane in range(n_lanes):
                scalars[offsets + lane] = y - scalars[INTERCEPT]

        # Features: gaps are folded in, jumps of a scale rescale weights, means move, and `charged`
        # gets the centred value.
        if gaps > 0.0 or jumps > 0.0:
            for k in range(n):
                s = slot_at(index, j, k)
                x, mean, count = value_at(values, i, k), slots[MEAN, s], slots[COUNT, s]
                if count > 0.0 and count != t:
                    for lane in range(n_lanes):
                        w = weights[s] if lane == 0 else slots[WEIGHTS + lane - 1, s]
                        scalars[offsets + lane] -= w * mean
                    slots[MEAN, s] = 0.0
                    slots[COUNT, s] = -1.0
                    count = -1.0
                scale = slots[SCALE, s]
                centre = slots[MEAN, s] if count > 0.0 else 0.0
                a = abs(x - centre)
                a = min(a, BEYOND * scale) if scale > 0.0 else a
                if a > scale and a > FLOOR * (abs(x) + abs(centre)) + SMALLEST:
                    weights[s] *= scale / a
                    for lane in range(1, n_lanes):
                        slots[WEIGHTS + lane - 1, s] *= scale / a
        for k in range(n):
            s = slot_at(index, j, k)
            x, mean, count, scale = value_at(values, i, k), slots[MEAN, s], slots[COUNT, s], slots[SCALE, s]
            always = count == t and learns_intercept
            centre = (mean if t > 0.0 else x) if always else 0.0
            v = x - centre
            limit = BEYOND * scale if scale > 0.0 else math.inf
            inside = bounded(v, limit)
            slots[MEAN, s] = centre + inside / (count + 1.0) if always else mean
            slots[COUNT, s] = count + 1.0 if always else count
            v = 0.0 if abs(v) <= FLOOR * (abs(x) + abs(centre)) + SMALLEST else inside
            slots[SCALE, s] = max(scale, abs(v))
            charged[s] = v

        # How far to go: shares of the lanes by their losses, the scale of the target, and whether
        # successive gradients agree (a model that lags behind should take longer steps).
        if n_lanes > 1:
            if not logistic:  # whose merits are probabilities of the label
                pace = 1.0
                if not likelihood:
                    if t > 0.0:
                        scalars[MEAN_LOSS] += (value(loss, y, mixed) - scalars[MEAN_LOSS]) / min(t, WINDOW)
                    known = scalars[MEAN_LOSS] > SMALLEST * SMALLEST
                    pace = 1.0 / (8.0 * scalars[MEAN_LOSS]) if known else 0.0
                for lane in range(n_lanes):
                    scalars[merits + lane] = math.exp(pace * (best - scalars[merits + lane]))
            total = 0.0
            for lane in range(n_lanes):
                scalars[merits + lane] *= 1.0 / n_lanes + scalars[shares + lane]
                total += scalars[merits + lane]
            for lane in range(n_lanes):
                moved = scalars[merits + lane] / total
                scalars[shares + lane] = (1.0 - optimizer.share) * (moved - 1.0 / n_lanes)
        boost = 1.0
        if n_lanes == 1:
            step = 1.0 / min(t + 1.0, WINDOW)
            scalars[COVARIANCE] += (mean_gradient * scalars[LAST] - scalars[COVARIANCE]) * step
            scalars[VARIANCE] += (squares - scalars[VARIANCE]) * step
            scalars[LAST] = mean_gradient
            agree = 0.0
            if scalars[VARIANCE] > 0.0:
                agree = scalars[COVARIANCE] / scalars[VARIANCE] - math.sqrt(step)  # less its standard error
            rest = 1.0 - min(max(agree, 0.0), 0.9)
            boost = 1.0 / (rest * rest * rest)
        if tracks:
            from_mean = y - scalars[Y_MEAN]
            scalars[Y_MEAN] += from_mean / (t + 1.0)
            spread = from_mean * (y - scalars[Y_MEAN])
            scalars[Y_VARIANCE] += (spread - scalars[Y_VARIANCE]) / (t + 1.0)
            if residual:
                boost *= math.sqrt(scalars[Y_VARIANCE])
            scalars[Y_LOW] = min(scalars[Y_LOW], y) if t > 0.0 else y
            scalars[Y_HIGH] = max(scalars[Y_HIGH], y) if t > 0.0 else y
        scalars[T] = t + 1.0
        scalars[SAMPLES] += 1.0
        if squares < SMALLEST * SMALLEST or boost == 0.0:
            return f.OK, z

        # G, and how far the prediction moves per unit of update; then the step.
        forget = 1.0 - 1.0 / optimizer.horizon
        width, ppu = 0.0, 0.0
        for k in range(n):
            s = slot_at(index, j, k)
            x = charged[s]
            total = slots[TOTAL, s]
            total = forget * total + h * squares * x * x if x != 0.0 else total
            slots[TOTAL, s] = total
            lives = x != 0.0 and total > SMALLEST * SMALLEST
            q = x / slots[SCALE, s] if lives else 0.0
            unit = q / math.sqrt(total) if lives else 0.0
            width += q * q
            ppu += unit * x
            charged[s] = unit
        unit = 0.0
        if learns_intercept:
            scalars[INTERCEPT_TOTAL] = forget * scalars[INTERCEPT_TOTAL] + h * squares
            if scalars[INTERCEPT_TOTAL] > SMALLEST * SMALLEST:
                unit = 1.0 / math.sqrt(scalars[INTERCEPT_TOTAL])
                width += 1.0
                ppu += unit
        scalars[WIDTH] += h * width
        scalars[WEIGHT] += h if width > 0.0 else 0.0
        narrow = math.sqrt(scalars[WEIGHT] / scalars[WIDTH]) if scalars[WIDTH] > 0.0 else 0.0
        ppu *= narrow
        if ppu > 0.0:
            for lane in range(n_lanes):
                eta = rates[r, 0] * rate_of(optimizer, lane) * boost
                if own_update:
                    step = narrow * loss_update(loss, scalars[outputs + lane], y, eta * h, ppu)
                else:
                    step = -narrow * eta * h * gradient(loss, y, scalars[outputs + lane])
                scalars[offsets + lane] += step * unit
                for k in range(n):
                    s = slot_at(index, j, k)
                    if lane == 0:
                        weights[s] += step * charged[s]
                    else:
                        slots[WEIGHTS + lane - 1, s] += step * charged[s]
        return f.OK, z

    return learn_row
