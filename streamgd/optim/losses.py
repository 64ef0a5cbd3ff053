"""Losses. Binary ones take ``y`` as 0 or 1; ``p`` is always the raw output."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from streamgd._jit import jitable

from .base import Loss

__all__ = ["Hinge", "Huber", "Log", "Squared"]


@jitable
def sigmoid(p: float) -> float:
    """Return 1 / (1 + exp(-p)) without overflow."""
    e = math.exp(-abs(p))
    return (1.0 if p >= 0.0 else e) / (1.0 + e)


@jitable
def softplus(p: float) -> float:
    """Return log(1 + exp(p)) without overflow."""
    return max(p, 0.0) + math.log1p(math.exp(-abs(p)))


@dataclass(frozen=True)
class Squared(Loss):
    r"""Squared error, :math:`(p - y)^2`; the gradient has the factor 2, as in river, VW and PyTorch.

    scikit-learn halves the loss: its ``eta0`` is twice our learning rate for the same step.

    Examples
    --------
    >>> from streamgd import optim
    >>> optim.losses.Squared().gradient(1.0, 4.0)
    6.0
    """

    def value(self, y: float, p: float) -> float:
        return (p - y) * (p - y)

    def gradient(self, y: float, p: float) -> float:
        return 2.0 * (p - y)

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        if ppu <= 0.0:
            return 0.0
        return -(y - p) * math.expm1(-2.0 * eta_h * ppu) / ppu


class _Binary(Loss):
    """Losses of a binary label."""

    contract: ClassVar[dict[str, tuple[str, ...]]] = Loss.contract
    binary: ClassVar[bool] = True

    def mean_func(self, y_pred: Any) -> Any:
        """Map raw outputs, a float or an array of any shape, to probabilities of the positive label."""
        if isinstance(y_pred, np.ndarray):
            e = np.exp(-np.abs(y_pred))
            return np.where(y_pred >= 0.0, 1.0, e) / (1.0 + e)
        return self.mean(float(y_pred))


@dataclass(frozen=True)
class Log(_Binary):
    r"""Logistic loss, :math:`\log(1 + e^{-sp})` with :math:`s = 2y - 1`, in its stable form.

    river's switches to approximations at ``|p| > 18``; this one does not (relative difference 1.5e-8).

    Parameters
    ----------
    weight_pos, weight_neg
        Factors of the loss of positive and negative samples.

    Examples
    --------
    >>> from streamgd import optim
    >>> optim.losses.Log().gradient(1.0, 0.0)
    -0.5
    """

    weight_pos: float = 1.0
    weight_neg: float = 1.0

    def check(self) -> None:
        self.require(self.weight_pos >= 0, "weight_pos", "at least 0")
        self.require(self.weight_neg >= 0, "weight_neg", "at least 0")

    def value(self, y: float, p: float) -> float:
        return self.weight_pos * softplus(-p) if y > 0.0 else self.weight_neg * softplus(p)

    def gradient(self, y: float, p: float) -> float:
        return -self.weight_pos * sigmoid(-p) if y > 0.0 else self.weight_neg * sigmoid(p)

    def mean(self, p: float) -> float:
        return sigmoid(p)

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        if ppu <= 0.0:
            return 0.0
        sign = 1.0 if y > 0.0 else -1.0
        margin = sign * p
        eta_h = eta_h * (self.weight_pos if y > 0.0 else self.weight_neg)
        total = eta_h * ppu
        if margin > 30.0:  # exp(margin) dwarfs q - margin
            return sign * math.log1p(total * math.exp(-margin)) / ppu
        if total < 1e-6:
            return sign * eta_h * sigmoid(-margin)
        # Solve q + exp(q) = total + margin + exp(margin): convex, and the start is right of the
        # root, so Newton's steps fall monotonically (at most 6 to 1e-14).
        target = total + margin + math.exp(margin)
        q = target if target < 1.0 else math.log(target)
        for _ in range(8):
            e = math.exp(q)
            q -= (q + e - target) / (1.0 + e)
        return sign * (q - margin) / ppu


@dataclass(frozen=True)
class Hinge(_Binary):
    r"""Hinge loss, :math:`\max(0, \theta - sp)` with :math:`s = 2y - 1`.

    A point on the margin counts as a violation, as in river and scikit-learn: with ``threshold=0``
    (the perceptron's loss) a model of zeros would never start to learn otherwise.

    Parameters
    ----------
    threshold
        The margin: 1 for support vector machines, 0 for the perceptron.

    Examples
    --------
    >>> from streamgd import optim
    >>> optim.losses.Hinge().gradient(1.0, 0.2)
    -1.0
    """

    threshold: float = 1.0

    def value(self, y: float, p: float) -> float:
        return max(self.threshold - (2.0 * y - 1.0) * p, 0.0)

    def gradient(self, y: float, p: float) -> float:
        sign = 2.0 * y - 1.0
        return -sign if sign * p <= self.threshold else 0.0

    def mean(self, p: float) -> float:
        return sigmoid(p)

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        if ppu <= 0.0:
            return 0.0
        sign = 2.0 * y - 1.0
        return sign * min(eta_h, max(self.threshold - sign * p, 0.0) / ppu)


@dataclass(frozen=True)
class Huber(Loss):
    r"""Squared near zero, absolute beyond ``epsilon``: robust to outliers.

    Parameters
    ----------
    epsilon
        Residual, in units of the target, beyond which the gradient stops growing.

    Examples
    --------
    >>> from streamgd import optim
    >>> optim.losses.Huber(0.5).gradient(0.0, 2.0)
    0.5

    References
    ----------
    Huber, P. J. (1964). Robust estimation of a location parameter. Annals of Mathematical
    Statistics 35(1).
    """

    epsilon: float = 0.1

    def check(self) -> None:
        self.require(self.epsilon > 0, "epsilon", "positive")

    def value(self, y: float, p: float) -> float:
        r = abs(p - y)
        return 0.5 * r * r if r <= self.epsilon else self.epsilon * (r - 0.5 * self.epsilon)

    def gradient(self, y: float, p: float) -> float:
        return min(max(p - y, -self.epsilon), self.epsilon)

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        if ppu <= 0.0:
            return 0.0
        distance = abs(p - y)
        near = min(distance, self.epsilon)
        sign = -1.0 if p > y else 1.0
        # at constant speed to where the loss is squared, then with what time is left exponentially
        left = eta_h - (distance - near) / (self.epsilon * ppu)
        if left <= 0.0:
            return sign * self.epsilon * eta_h
        return sign * ((distance - near) - near * math.expm1(-ppu * left)) / ppu
