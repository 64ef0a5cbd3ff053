"""Learning-rate schedules, closed forms of time: ``get(t)`` is the rate at time ``t``.

``t`` is in the schedule's own unit, ``per``: updates done, samples seen, or epochs done. A schedule
per epoch with an ``epoch_size`` takes samples and divides, which gives endless streams their epochs.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .base import Loss, Per, Scheduler

__all__ = ["Constant", "Exponential", "InverseScaling", "Optimal", "StepDecay"]


class _Timed(Scheduler):
    """Schedules that let the user choose the unit of time."""

    def check(self) -> None:
        self.require(self.per in ("update", "sample", "epoch"), "per", "'update', 'sample' or 'epoch'")
        if self.epoch_size is not None:
            self.require(self.per == "epoch", "epoch_size", "None unless per='epoch'")
            size: Any = self.epoch_size
            whole = isinstance(size, numbers.Integral) and int(size) > 0
            self.require(whole, "epoch_size", "a positive int")
            object.__setattr__(self, "epoch_size", int(size))

    def elapsed(self, t: NDArray[np.int64]) -> NDArray[np.float64]:
        """Time in units of ``per``."""
        return (t // (self.epoch_size or 1)).astype(np.float64)

    def get(self, t: int) -> float:
        return float(self.get_many(np.array([t]))[0])


@dataclass(frozen=True)
class Constant(Scheduler):
    """Always the same learning rate.

    Parameters
    ----------
    learning_rate
        The rate.
    """

    learning_rate: float
    per: Per = field(default="update", init=False, repr=False)
    epoch_size: int | None = field(default=None, init=False, repr=False)

    def get(self, t: int) -> float:
        return self.learning_rate

    def get_many(self, t: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.full(len(t), self.learning_rate)

    @property
    def constant(self) -> bool:
        return True


@dataclass(frozen=True)
class InverseScaling(Scheduler):
    r"""Power decay, :math:`\eta / (t + 1)^p` with ``t`` updates done.

    Parameters
    ----------
    learning_rate
        The first rate.
    power
        The exponent; larger falls faster. It tends to 0, never below.
    """

    learning_rate: float
    power: float = 0.5
    per: Per = field(default="update", init=False, repr=False)
    epoch_size: int | None = field(default=None, init=False, repr=False)

    def get(self, t: int) -> float:
        return self.learning_rate / math.pow(t + 1, self.power)

    def get_many(self, t: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(self.learning_rate / np.power(t + 1.0, self.power))


@dataclass(frozen=True)
class Optimal(Scheduler):
    r"""Bottou's schedule, :math:`1 / (\alpha (t_0 + t))` with ``t`` updates done, as river has it.

    Parameters
    ----------
    loss
        The loss that sets :math:`t_0`, so that the first steps are of the size of typical weights.
    alpha
        Strength of the L2 penalty it is meant for.

    References
    ----------
    Bottou, L. (2012). Stochastic gradient descent tricks. Neural Networks: Tricks of the Trade, 5.2.
    """

    loss: Loss
    alpha: float = 1e-4
    per: Per = field(default="update", init=False, repr=False)
    epoch_size: int | None = field(default=None, init=False, repr=False)

    def check(self) -> None:
        self.require(self.alpha > 0, "alpha", "positive")

    @property
    def t0(self) -> float:
        """Time offset: the inverse of the first rate, divided by ``alpha``."""
        typical = math.sqrt(1.0 / math.sqrt(self.alpha))
        return 1.0 / (typical / max(1.0, self.loss.gradient(1.0, -typical)) * self.alpha)

    def get(self, t: int) -> float:
        return 1.0 / (self.alpha * (self.t0 + t))

    def get_many(self, t: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(1.0 / (self.alpha * (self.t0 + t)), dtype=np.float64)


@dataclass(frozen=True)
class StepDecay(_Timed):
    r"""Decay by steps, :math:`\eta_0\, d^{\lfloor t / n \rfloor}`.

    Parameters
    ----------
    learning_rate
        The first rate :math:`\eta_0`.
    drop
        Factor ``d`` of each step, in (0, 1].
    drop_every
        Time ``n`` between steps, in units of ``per``.
    per
        Unit of time: ``"epoch"``, ``"update"`` or ``"sample"``.
    epoch_size
        Samples in an epoch. Needed with ``per="epoch"`` where passes over the data are not counted.

    Examples
    --------
    >>> from streamgd import optim
    >>> rate = optim.schedulers.StepDecay(0.1, drop=0.5, drop_every=10)
    >>> rate.get(9), rate.get(10), rate.get(20)
    (0.1, 0.05, 0.025)
    """

    learning_rate: float
    drop: float
    drop_every: float
    per: Per = "epoch"
    epoch_size: int | None = None

    def check(self) -> None:
        super().check()
        self.require(0 < self.drop <= 1, "drop", "in (0, 1]")
        self.require(self.drop_every > 0, "drop_every", "positive")

    def get_many(self, t: NDArray[np.int64]) -> NDArray[np.float64]:
        return self.learning_rate * np.power(self.drop, np.floor(self.elapsed(t) / self.drop_every))


@dataclass(frozen=True)
class Exponential(_Timed):
    r"""Exponential decay, :math:`\eta_0\, e^{-k t}`.

    Parameters
    ----------
    learning_rate
        The first rate :math:`\eta_0`.
    k
        Decay per unit of time; larger falls faster.
    per
        Unit of time: ``"epoch"``, ``"update"`` or ``"sample"``.
    epoch_size
        Samples in an epoch. Needed with ``per="epoch"`` where passes over the data are not counted.

    Examples
    --------
    >>> from streamgd import optim
    >>> optim.schedulers.Exponential(0.1, k=0.0).get(1000)
    0.1
    """

    learning_rate: float
    k: float
    per: Per = "epoch"
    epoch_size: int | None = None

    def check(self) -> None:
        super().check()
        self.require(self.k >= 0, "k", "at least 0")

    def get_many(self, t: NDArray[np.int64]) -> NDArray[np.float64]:
        return self.learning_rate * np.exp(-self.k * self.elapsed(t))
