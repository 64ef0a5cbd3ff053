"""Learning-rate schedules, closed forms of time: ``get(t)`` is the rate at time ``t``.

``t`` is in the schedule's own unit, ``per``: updates done, samples seen, or epochs done. A schedule
per epoch with an ``epoch_size`` takes samples and divides, which gives endless streams their epochs.
Names, defaults and values are PyTorch's where it has the schedule; each class says what happens at the
end of its horizon, because streams have none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ._composed import Product, Sequential, Warmup, milestones_of
from ._cycles import CosineAnnealing, CosineAnnealingWarmRestarts, Cyclic, OneCycle
from ._monitored import ReduceLROnPlateau, RestartOnDrift
from ._timed import Decay, Floats, Timed
from .base import Loss, Per, Scheduler

__all__ = [
    "Constant",
    "CosineAnnealing",
    "CosineAnnealingWarmRestarts",
    "Cyclic",
    "Exponential",
    "Function",
    "InverseScaling",
    "InverseSqrt",
    "InverseTime",
    "Linear",
    "MultiStep",
    "OneCycle",
    "Optimal",
    "Polynomial",
    "Product",
    "ReduceLROnPlateau",
    "RestartOnDrift",
    "Sequential",
    "StepDecay",
    "Warmup",
]


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
class StepDecay(Decay):
    r"""Decay by steps, :math:`\eta_0\, d^{\lfloor t / n \rfloor}`, for ever.

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
    min_lr
        The rate never falls below. Without it a model stops learning in the end, drift or not.

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
    min_lr: float = 0.0

    def check(self) -> None:
        super().check()
        self.require(0 < self.drop <= 1, "drop", "in (0, 1]")
        self.require(self.drop_every > 0, "drop_every", "positive")

    def at(self, t: Floats) -> Floats:
        return self.learning_rate * np.power(self.drop, np.floor(t / self.drop_every))


@dataclass(frozen=True)
class MultiStep(Decay):
    r"""Decay at given times, :math:`\eta_0\, \gamma^{n(t)}` after :math:`n(t)` milestones.

    The rate of the last milestone holds from then on.

    Parameters
    ----------
    learning_rate
        The first rate :math:`\eta_0`.
    milestones
        Times in rising order, in units of ``per``; one that is given twice counts twice.
    gamma
        Factor at each milestone; above 1 the rate rises. ``MultiStep(rate * f, [n], gamma=1 / f)`` is
        PyTorch's ``ConstantLR``.
    per, epoch_size, min_lr
        Unit of time, samples in an epoch, floor: as in `StepDecay`.
    """

    learning_rate: float
    milestones: tuple[int, ...]
    gamma: float = 0.1
    per: Per = "update"
    epoch_size: int | None = None
    min_lr: float = 0.0

    def check(self) -> None:
        super().check()
        object.__setattr__(self, "milestones", milestones_of(self, self.milestones))
        self.require(self.gamma > 0, "gamma", "positive")

    def at(self, t: Floats) -> Floats:
        return self.learning_rate * np.power(self.gamma, np.searchsorted(self.milestones, t, side="right"))


@dataclass(frozen=True)
class Exponential(Decay):
    r"""Exponential decay, :math:`\eta_0\, e^{-k t}`, for ever.

    Parameters
    ----------
    learning_rate
        The first rate :math:`\eta_0`.
    k
        Decay per unit of time; larger falls faster. PyTorch's ``gamma`` is :math:`e^{-k}`.
    per
        Unit of time: ``"epoch"``, ``"update"`` or ``"sample"``.
    epoch_size
        Samples in an epoch. Needed with ``per="epoch"`` where passes over the data are not counted.
    min_lr
        The rate never falls below. Without it a model stops learning in the end, drift or not.

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
    min_lr: float = 0.0

    def check(self) -> None:
        super().check()
        self.require(self.k >= 0, "k", "at least 0")

    def at(self, t: Floats) -> Floats:
        return self.learning_rate * np.exp(-self.k * t)


@dataclass(frozen=True)
class InverseTime(Decay):
    r"""Inverse time decay, :math:`\eta_0 / (1 + k t)^p`, for ever.

    With ``k=1`` it is `InverseScaling` in any unit of time; with ``p`` in (0.5, 1] rates add up to
    infinity and their squares do not, which convergence on a stationary stream asks for.

    Parameters
    ----------
    learning_rate
        The first rate :math:`\eta_0`.
    k
        The inverse of the time from which the rate falls.
    power
        The exponent ``p``; larger falls faster. Above 1 the sum of all rates is finite.
    per, epoch_size, min_lr
        Unit of time, samples in an epoch, floor: as in `StepDecay`.

    References
    ----------
    Xu, W. (2011). Towards optimal one pass large scale learning with averaged stochastic gradient
    descent, section 3.
    """

    learning_rate: float
    k: float
    power: float = 1.0
    per: Per = "update"
    epoch_size: int | None = None
    min_lr: float = 0.0

    def check(self) -> None:
        super().check()
        self.require(self.k >= 0, "k", "at least 0")
        self.require(self.power >= 0, "power", "at least 0")

    def at(self, t: Floats) -> Floats:
        return self.learning_rate / np.power(1.0 + self.k * t, self.power)


@dataclass(frozen=True)
class InverseSqrt(Timed):
    r"""Linear rise, then decay with the square root of time, for ever.

    :math:`\eta \min(k / w, \sqrt{w / k})` with :math:`k = t + 1`. It tends to 0, slowly enough to go on
    learning. The published form has the factor :math:`(d w)^{-1/2}`, ``d`` the model's width, in place
    of the rate :math:`\eta` at the peak.

    Parameters
    ----------
    learning_rate
        The rate :math:`\eta` at the peak, the ``w``-th unit of time.
    warmup
        Length ``w`` of the rise, in units of ``per``; 1 starts at the peak.
    per, epoch_size
        Unit of time, samples in an epoch: as in `StepDecay`.

    References
    ----------
    Vaswani, A. et al. (2017). Attention is all you need, eq. 3.
    """

    learning_rate: float
    warmup: float
    per: Per = "update"
    epoch_size: int | None = None

    def check(self) -> None:
        super().check()
        self.require(self.warmup >= 1, "warmup", "at least 1")

    def at(self, t: Floats) -> Floats:
        k = t + 1.0
        return self.learning_rate * np.minimum(k / self.warmup, np.sqrt(self.warmup / k))


@dataclass(frozen=True)
class Linear(Timed):
    """A straight line from one factor of the learning rate to another, where it stays.

    Parameters
    ----------
    learning_rate
        The rate that the factors multiply.
    start_factor, end_factor
        Factors at time 0 and from ``total_iters`` on, at least 0. PyTorch's defaults are a short
        warm-up; ``start_factor=1, end_factor=0.01`` is a decay.
    total_iters
        Length of the line, in units of ``per``.
    per, epoch_size
        Unit of time, samples in an epoch: as in `StepDecay`.
    """

    learning_rate: float
    start_factor: float = 1.0 / 3.0
    end_factor: float = 1.0
    total_iters: float = 5.0
    per: Per = "update"
    epoch_size: int | None = None

    def check(self) -> None:
        super().check()
        self.require(self.start_factor >= 0, "start_factor", "at least 0")
        self.require(self.end_factor >= 0, "end_factor", "at least 0")
        self.require(self.total_iters > 0, "total_iters", "positive")

    def at(self, t: Floats) -> Floats:
        done = np.minimum(t, self.total_iters) / self.total_iters
        return self.learning_rate * (self.start_factor + (self.end_factor - self.start_factor) * done)


@dataclass(frozen=True)
class Polynomial(Decay):
    r"""Decay :math:`\eta_0 (1 - t / T)^p`, which ends at ``min_lr`` and stays there.

    Parameters
    ----------
    learning_rate
        The first rate :math:`\eta_0`.
    total_iters
        The horizon ``T``, in units of ``per``. From then on the rate is ``min_lr``: with 0, PyTorch's
        end, nothing is learned any more.
    power
        The exponent ``p``; 1 is a straight line, larger falls faster at first.
    per, epoch_size, min_lr
        Unit of time, samples in an epoch, floor: as in `StepDecay`.
    """

    learning_rate: float
    total_iters: float = 5.0
    power: float = 1.0
    per: Per = "update"
    epoch_size: int | None = None
    min_lr: float = 0.0

    def check(self) -> None:
        super().check()
        self.require(self.total_iters > 0, "total_iters", "positive")
        self.require(self.power > 0, "power", "positive")

    def at(self, t: Floats) -> Floats:
        left = np.maximum(self.total_iters - t, 0.0) / self.total_iters
        return self.learning_rate * np.power(left, self.power)


@dataclass(frozen=True)
class Function(Timed):
    r"""A user's own function of time, :math:`\eta_0 f(t)`.

    Models with it are pickled where the function is: defined in a module, no ``lambda``. A model file
    cannot hold a function; for it, write a dataclass below `Scheduler` with ``get(t)``.

    Parameters
    ----------
    learning_rate
        The rate :math:`\eta_0` that the function's values multiply.
    function
        Takes the time, an int in units of ``per``, and returns a factor; called once for each time.
    per, epoch_size
        Unit of time, samples in an epoch: as in `StepDecay`.

    Examples
    --------
    >>> from streamgd import optim
    >>> rate = optim.schedulers.Function(0.1, lambda epoch: 0.5 if epoch % 2 else 1.0, per="epoch")
    >>> rate.get(0), rate.get(1)
    (0.1, 0.05)
    """

    learning_rate: float
    function: Callable[[int], float]
    per: Per = "update"
    epoch_size: int | None = None

    def check(self) -> None:
        super().check()
        self.require(callable(self.function), "function", "a function of the time")

    def at(self, t: Floats) -> Floats:
        return self.learning_rate * np.array([self.function(int(k)) for k in t], dtype=np.float64)
