"""Schedules that go along cosines or between two rates, once or again and again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ._timed import Floats, Timed
from .base import Per


def _half_cosine(left: Floats) -> Floats:
    """From 0 to 1 along half a cosine as ``left``, the share of the way still to go, does.

    The square of a sine: exact at both ends, and no digit is lost near 0, where ``1 + cos`` loses most.
    """
    return np.asarray(np.sin(0.5 * math.pi * left) ** 2)


@dataclass(frozen=True)
class CosineAnnealing(Timed):
    r"""Half a cosine from the first rate to ``eta_min``, and back: period ``2 T_max``.

    :math:`\eta_{min} + (\eta_0 - \eta_{min})(1 + \cos(\pi t / T_{max})) / 2`. As in PyTorch the rate rises
    again after ``T_max``; with ``hold`` it stays at ``eta_min``.

    Parameters
    ----------
    learning_rate
        The first rate :math:`\eta_0`.
    T_max
        Time to fall to ``eta_min``, in units of ``per``.
    eta_min
        The lowest rate.
    per, epoch_size
        Unit of time, samples in an epoch: as in `StepDecay`.
    hold
        Stay at ``eta_min`` from ``T_max`` on.

    References
    ----------
    Loshchilov, I., Hutter, F. (2017). SGDR: stochastic gradient descent with warm restarts, eq. 5.
    """

    learning_rate: float
    T_max: float
    eta_min: float = 0.0
    per: Per = "update"
    epoch_size: int | None = None
    hold: bool = False

    def check(self) -> None:
        super().check()
        self.require(self.T_max > 0, "T_max", "positive")
        self.require(self.eta_min >= 0, "eta_min", "at least 0")

    def at(self, t: Floats) -> Floats:
        phase = np.minimum(t, self.T_max) if self.hold else np.mod(t, 2.0 * self.T_max)
        left = np.abs(self.T_max - phase) / self.T_max
        return self.eta_min + (self.learning_rate - self.eta_min) * _half_cosine(left)


@dataclass(frozen=True)
class CosineAnnealingWarmRestarts(Timed):
    r"""Half a cosine from the first rate down, and again from the top: cycles that may grow and sink.

    Cycle ``i`` takes :math:`T_i = T_0 T_{mult}^i`, and :math:`\tau` units into it the rate is
    :math:`\eta_{min} + d^i (\eta_0 - \eta_{min}) (1 + \cos(\pi \tau / T_i)) / 2`. It restarts for ever.

    Cycles are counted in whole numbers, as PyTorch's ``step()`` does; its ``step(epoch)`` takes
    logarithms, and misses some restarts by a cycle.

    Parameters
    ----------
    learning_rate
        The first rate :math:`\eta_0`.
    T_0
        Length of the first cycle, in units of ``per``.
    T_mult
        Factor of the length from cycle to cycle, a whole number.
    eta_min
        The rate that cycles fall to.
    decay
        Factor ``d`` of the height from cycle to cycle, in (0, 1]; PyTorch has only 1.
    per, epoch_size
        Unit of time, samples in an epoch: as in `StepDecay`.

    References
    ----------
    Loshchilov, I., Hutter, F. (2017). SGDR: stochastic gradient descent with warm restarts, eq. 5.

    Examples
    --------
    >>> from streamgd import optim
    >>> rate = optim.schedulers.CosineAnnealingWarmRestarts(0.1, T_0=10, T_mult=2, decay=0.5)
    >>> rate.get(0), rate.get(10), rate.get(30)
    (0.1, 0.05, 0.025)
    """

    learning_rate: float
    T_0: int
    T_mult: int = 1
    eta_min: float = 0.0
    decay: float = 1.0
    per: Per = "update"
    epoch_size: int | None = None

    def check(self) -> None:
        super().check()
        self.require(self.T_0 > 0, "T_0", "positive")
        self.require(self.T_mult >= 1, "T_mult", "at least 1")
        self.require(self.eta_min >= 0, "eta_min", "at least 0")
        self.require(0 < self.decay <= 1, "decay", "in (0, 1]")

    def at(self, t: Floats) -> Floats:
        if self.T_mult == 1:
            cycle, tau = np.divmod(t, self.T_0)
            length = np.full_like(t, self.T_0)
        else:
            starts, lengths = [0], [self.T_0]
            while starts[-1] + lengths[-1] <= t.max(initial=0.0):
                starts.append(starts[-1] + lengths[-1])
                lengths.append(lengths[-1] * self.T_mult)
            number = np.searchsorted(starts, t, side="right") - 1
            cycle, tau = number.astype(np.float64), t - np.array(starts)[number]
            length = np.array(lengths, dtype=np.float64)[number]
        height = (self.learning_rate - self.eta_min) * np.power(self.decay, cycle)
        return self.eta_min + height * _half_cosine((length - tau) / length)


@dataclass(frozen=True)
class Cyclic(Timed):
    r"""Up and down between two rates, for ever.

    A cycle rises in a straight line from ``base_lr`` for ``step_size_up`` and falls for
    ``step_size_down``. Its height, at first ``max_lr - base_lr``, stays (``"triangular"``), is halved from
    cycle to cycle (``"triangular2"``), or decays as :math:`\gamma^t` (``"exp_range"``), to ``base_lr``
    in the end. PyTorch subtracts the number of the cycle from ``1 + t / length``, and loses the
    digits that the number has.

    Parameters
    ----------
    base_lr, max_lr
        The lowest and the highest rate.
    step_size_up, step_size_down
        Times of rise and fall, in units of ``per``; ``None`` falls as long as it rises.
    mode
        ``"triangular"``, ``"triangular2"`` or ``"exp_range"``.
    gamma
        Decay :math:`\gamma` per unit of time with ``"exp_range"``, in (0, 1].
    per, epoch_size
        Unit of time, samples in an epoch: as in `StepDecay`.

    References
    ----------
    Smith, L. N. (2017). Cyclical learning rates for training neural networks, section 3.
    """

    base_lr: float
    max_lr: float
    step_size_up: float = 2000.0
    step_size_down: float | None = None
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular"
    gamma: float = 1.0
    per: Per = "update"
    epoch_size: int | None = None

    def check(self) -> None:
        super().check()
        if self.step_size_down is not None:
            object.__setattr__(self, "step_size_down", float(self.step_size_down))
        modes = ("triangular", "triangular2", "exp_range")
        self.require(self.mode in modes, "mode", "'triangular', 'triangular2' or 'exp_range'")
        self.require(self.step_size_up > 0, "step_size_up", "positive")
        self.require(0 < self.down < math.inf, "step_size_down", "positive, or None")
        self.require(0 < self.gamma <= 1, "gamma", "in (0, 1]")

    @property
    def down(self) -> float:
        """Time that the rate falls in each cycle."""
        return self.step_size_up if self.step_size_down is None else self.step_size_down

    def at(self, t: Floats) -> Floats:
        length = self.step_size_up + self.down
        cycle, tau = np.divmod(t, length)
        height = np.minimum(tau / self.step_size_up, (length - tau) / self.down)
        if self.mode == "triangular2":
            height *= np.exp2(-cycle)
        elif self.mode == "exp_range":
            height *= np.power(self.gamma, t)
        return self.base_lr + (self.max_lr - self.base_lr) * height


@dataclass(frozen=True)
class OneCycle(Timed):
    r"""One rise to ``max_lr``, and one long fall far below the first rate, where it stays.

    The last time of the cycle is ``total_steps - 1``; its rate holds from then on, while PyTorch goes
    on along the curve for one step, to rates that may be negative, and then raises an error.

    Parameters
    ----------
    max_lr
        The highest rate.
    total_steps
        Length of the cycle, in units of ``per``.
    pct_start
        Share of the cycle that rises, in [0, 1], with three phases in [0, 0.5].
    anneal_strategy
        ``"cos"``, half a cosine, or ``"linear"``.
    div_factor
        The first rate is ``max_lr / div_factor``.
    final_div_factor
        The last rate is the first divided by it.
    three_phase
        Fall back to the first rate as fast as it rose, and only then to the last one.
    per, epoch_size
        Unit of time, samples in an epoch: as in `StepDecay`.

    References
    ----------
    Smith, L. N., Topin, N. (2018). Super-convergence: very fast training of neural networks using
    large learning rates, section 2.
    """

    max_lr: float
    total_steps: int
    pct_start: float = 0.3
    anneal_strategy: Literal["cos", "linear"] = "cos"
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    three_phase: bool = False
    per: Per = "update"
    epoch_size: int | None = None

    def check(self) -> None:
        super().check()
        self.require(self.total_steps > 0, "total_steps", "positive")
        most = 0.5 if self.three_phase else 1.0
        self.require(0 <= self.pct_start <= most, "pct_start", f"in [0, {most:g}]")
        self.require(self.anneal_strategy in ("cos", "linear"), "anneal_strategy", "'cos' or 'linear'")
        self.require(self.div_factor > 0, "div_factor", "positive")
        self.require(self.final_div_factor > 0, "final_div_factor", "positive")

    def at(self, t: Floats) -> Floats:
        first, last = self.max_lr / self.div_factor, self.max_lr / self.div_factor / self.final_div_factor
        peak, end = self.pct_start * self.total_steps - 1.0, self.total_steps - 1.0
        if self.three_phase:
            times = np.array([0.0, peak, 2.0 * peak, end])
            rates = np.array([first, self.max_lr, first, last])
        else:
            times = np.array([0.0, peak, end])
            rates = np.array([first, self.max_lr, last])
        t = np.minimum(t, end)
        phase = np.searchsorted(times[1:-1], t)
        start, stop = times[phase], times[phase + 1]
        # a phase of no length is over at once
        left = (stop - t) / np.where(stop > start, stop - start, 1.0)
        if self.anneal_strategy == "cos":
            left = _half_cosine(left)
        begin, finish = rates[phase], rates[phase + 1]
        return np.asarray(finish + (begin - finish) * left)
