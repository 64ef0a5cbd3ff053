"""How far a sample's importance moves an output: the closed forms that losses' updates are made of.

Each solves dp/dtau = -ppu * gradient over time ``eta_h`` and returns the way, divided by ``ppu``
(Karampatziakis, Langford, 2011, section 4); no way where ``ppu`` is 0.
"""

from __future__ import annotations

import math

from streamgd._jit import jitable


@jitable
def slide(distance: float, speed: float, eta_h: float, ppu: float) -> float:
    """Return the step of a loss that falls by ``speed`` per unit until ``distance`` is gone."""
    if ppu <= 0.0:
        return 0.0
    return min(speed * eta_h, distance / ppu)


@jitable
def decay(distance: float, curvature: float, eta_h: float, ppu: float) -> float:
    """Return the step of the loss ``curvature / 2 * distance**2``; the step has the distance's sign."""
    if ppu <= 0.0:
        return 0.0
    return -distance * math.expm1(-curvature * eta_h * ppu) / ppu


@jitable
def slide_and_decay(distance: float, knee: float, curvature: float, eta_h: float, ppu: float) -> float:
    """Return the step of a loss that is linear beyond ``knee`` and squared within; distance >= 0."""
    if ppu <= 0.0:
        return 0.0
    near = min(distance, knee)
    speed = curvature * knee
    left = eta_h - (distance - near) / (speed * ppu)
    if left <= 0.0:
        return speed * eta_h
    return (distance - near) / ppu + decay(near, curvature, left, ppu)


@jitable
def householder(f: float, w: float) -> float:
    """Return what to subtract from d near a root of f = d + w + constant, where w is some multiple of exp(d).

    All derivatives of f above the first are w, so Householder's step of order 4 costs no more than Newton's.
    """
    newton = f / (1.0 + w)
    bend = newton * w / (1.0 + w)
    return newton * (1.0 - 0.5 * bend) / (1.0 - bend + newton * bend / 6.0)


@jitable
def rise(q: float, w: float, total: float) -> float:
    """Return the d that solves d + w (exp(d) - 1) = total, where w is exp(q).

    It is what the Wright omega function gives as log(omega(q + w + total)) - q (Lawrence, Corless,
    Jeffrey, 2012, ACM TOMS 38(3), algorithm 917), here without that difference's cancellation:
    relative error below 5e-15, with at most two exponentials or a logarithm and an exponential.
    """
    if abs(total) <= 0.4 * (1.0 + w):
        d = -householder(-total, w)
        if abs(total) < 1e-5 * (1.0 + w):  # another step would change nothing
            return d
        more = w * math.expm1(d)
    else:
        target = q + w + total
        if target > 1.0:
            start = math.log(target)
            risen = start - householder(start, target)
            d, more = risen - q, math.exp(risen) - w
        else:
            # the parabola of omega at 1; it is within 0.07 of omega below
            root = 0.25 * max(target + 3.0, 0.0)
            d = total + w - root * root
            more = math.exp(q + d) - w
            d -= householder(d + (more - total), w + more)
            more = math.exp(q + d) - w
    return d - householder(d + (more - total), w + more)


@jitable
def logistic_rise(margin: float, total: float) -> float:
    """Return how far dm/dtau = 1 / (1 + exp(m)) takes a margin in time ``total``."""
    if (
        margin < -1e15
    ):  # exp(margin) is nothing until the margin is near 0, where all but its sign is rounding
        return min(total, math.log(max(total + margin, 1.0)) - margin)
    if margin > 37.0:  # exp(margin) dwarfs the rise
        return math.log1p(total * math.exp(-margin))
    return rise(margin, math.exp(margin), total)
