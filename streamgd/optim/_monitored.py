"""Schedules that look at the progressive loss, every so many samples. Their state is the learner's."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ._timed import Floats
from .base import Monitored, Per, Scheduler

# rate or factor, best, steps without a better one, steps to wait, fading sum, its weight
PlateauState = tuple[float, float, int, int, float, float]
# time taken off, samples to wait, losses since the last alarm and their sum, fading sum and weight, detector
DriftState = tuple[int, int, int, float, float, float, Any]

_RECENT = 0.02  # of each loss in the fading mean that stands for the losses after an alarm: about 50 of them


def _inner(piece: Monitored, schedule: Any, name: str) -> Scheduler:
    """Return the schedule that a monitored one works on, and take over its unit of time."""
    from ._accept import scheduler

    what = f"{type(piece).__name__}({name}=...)"
    inner = scheduler(schedule, what)
    if isinstance(inner, Monitored):
        raise ValueError(f"{what}: {type(inner).__name__} itself depends on losses; give a schedule of time")
    object.__setattr__(piece, name, inner)
    object.__setattr__(piece, "per", inner.per)
    object.__setattr__(piece, "epoch_size", inner.epoch_size)
    return inner


def _faded(total: float, weight: float, losses: Floats, alpha: float) -> tuple[float, float]:
    """Return a fading sum of losses and its weight after more of them; their ratio is the mean."""
    kept = (1.0 - alpha) ** len(losses)
    shares = alpha * (1.0 - alpha) ** np.arange(len(losses) - 1, -1, -1)
    return kept * total + float(shares @ losses), kept * weight + (1.0 - kept)


@dataclass(frozen=True)
class ReduceLROnPlateau(Monitored):
    r"""Reduce the rate when the progressive loss has stopped getting better, as PyTorch's class does.

    Every ``window`` samples is one of its steps, with the mean of the window's losses as the metric: a
    single loss would be noise. More than ``patience`` steps in a row that are not better than the best
    one reduce the rate. The standard error of a window's mean is :math:`\sigma / \sqrt{window}`; with a
    ``threshold`` below two of them the best mean is a lucky one, and the rate falls for no reason.

    There is no horizon, and no way up: after a drift losses stay above the best one, and the rate
    falls to ``min_lr``. For streams that drift, see `RestartOnDrift`.

    Parameters
    ----------
    lr
        A rate, or a schedule that reductions are factors on.
    mode
        ``"min"``, or ``"max"`` if larger is better.
    factor
        What a reduction multiplies the rate by, in (0, 1).
    patience
        Steps without a better one that are let pass.
    threshold
        How much better is better.
    threshold_mode
        ``"rel"``: ``threshold`` is a share of the best (which must not be negative: then worse
        values pass as better), or ``"abs"``.
    cooldown
        Steps after a reduction that do not count.
    min_lr
        No reduction goes below; the rate that a schedule asks for by itself may.
    eps
        Reductions of the rate by no more than this are left out.
    window
        Samples in a step.
    fading
        Take a fading mean of all losses, in which each counts for ``fading`` and the older ones for
        ``1 - fading`` of what they did (bias-corrected), instead of the window's mean. At least
        ``1 / window`` keeps steps nearly independent. Windows with losses that are no numbers are left
        out of it, and count as steps that are not better.
    """

    lr: float | Scheduler
    mode: Literal["min", "max"] = "min"
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    threshold_mode: Literal["rel", "abs"] = "rel"
    cooldown: int = 0
    min_lr: float = 0.0
    eps: float = 1e-8
    window: int = 1000
    fading: float | None = None
    per: Per = field(default="update", init=False, repr=False)
    epoch_size: int | None = field(default=None, init=False, repr=False)

    def check(self) -> None:
        _inner(self, self.lr, "lr")
        self.require(self.mode in ("min", "max"), "mode", "'min' or 'max'")
        self.require(0 < self.factor < 1, "factor", "in (0, 1)")
        self.require(self.patience >= 0, "patience", "at least 0")
        self.require(self.threshold >= 0, "threshold", "at least 0")
        self.require(self.threshold_mode in ("rel", "abs"), "threshold_mode", "'rel' or 'abs'")
        self.require(self.cooldown >= 0, "cooldown", "at least 0")
        self.require(self.min_lr >= 0, "min_lr", "at least 0")
        self.require(self.eps >= 0, "eps", "at least 0")
        self.require(self.window > 0, "window", "positive")
        if self.fading is not None:
            self.require(0 < self.fading <= 1, "fading", "in (0, 1], or None")
            object.__setattr__(self, "fading", float(self.fading))

    @property
    def schedule(self) -> Scheduler:
        """What reductions multiply."""
        assert isinstance(self.lr, Scheduler)
        return self.lr

    def start(self) -> PlateauState:
        rate = self.schedule.get(0) if self.schedule.constant else 1.0
        return rate, math.inf if self.mode == "min" else -math.inf, 0, 0, 0.0, 0.0

    def observe(self, state: PlateauState, losses: Floats, t: int) -> PlateauState:
        rate, best, bad, wait, total, weight = state
        with np.errstate(invalid="ignore", over="ignore"):
            value = float(np.mean(losses))
        if self.fading is not None and math.isfinite(value):
            total, weight = _faded(total, weight, losses, self.fading)
            value = total / weight
        better = self._better(value, best)
        best, bad = (value, 0) if better else (best, bad + 1)
        if wait > 0:
            wait, bad = wait - 1, 0
        if bad > self.patience:
            rate, wait, bad = self._reduced(rate, t), self.cooldown, 0
        return rate, best, bad, wait, total, weight

    def _better(self, value: float, best: float) -> bool:
        """Tell whether a step's value is better than the best one (what is no number never is)."""
        if self.threshold_mode == "rel":
            least = best * (1.0 - self.threshold if self.mode == "min" else 1.0 + self.threshold)
        else:
            least = best - self.threshold if self.mode == "min" else best + self.threshold
        return value < least if self.mode == "min" else value > least

    def _reduced(self, rate: float, t: int) -> float:
        """Return the rate, or the factor on the schedule, after a reduction at time ``t``."""
        scale = 1.0 if self.schedule.constant else self.schedule.get(t)
        old = rate * scale
        new = max(old * self.factor, self.min_lr)
        return new / scale if old - new > self.eps else rate

    def rates(self, state: PlateauState, t: NDArray[np.int64]) -> Floats:
        if self.schedule.constant:
            return np.full(len(t), state[0])
        return state[0] * self.schedule.get_many(t)


@dataclass(frozen=True)
class RestartOnDrift(Monitored):
    """A schedule that starts again, or goes back some way, when a drift detector fires on the losses.

    The detector gets the progressive losses one by one, in Python, every ``every`` samples; those that
    are no numbers are left out. An alarm takes effect at the next update. Weights stay as they are,
    and so does the optimizer's state: this is for optimizers whose steps the schedule makes small, not
    for those whose sums do.

    The horizon is that of the schedule, counted from the last restart.

    Parameters
    ----------
    schedule
        Any schedule of time.
    detector
        A detector of changes of a number, such as river's ``drift.ADWIN()``, ``drift.PageHinkley()`` or
        ``drift.KSWIN(seed=1)``: anything with ``update(x)``, ``drift_detected`` and ``clone()``. It is a
        template: each model has its own clone. Thresholds such as PageHinkley's are in the loss's unit;
        ADWIN's bound is one for bounded values, so losses with a heavy tail give false alarms.
    back
        Share of the time since the last start that is gone back, in (0, 1]; 1 is a restart.
    every
        Samples between two looks at the losses. Fewer react sooner, and cost more.
    cooldown
        Samples after a restart during which alarms change nothing.
    only_increases
        Ignore alarms when losses went down: a fading mean over about the last 50 losses is compared
        with that of all losses since the last alarm.
    """

    schedule: Scheduler
    detector: Any = field(hash=False)
    back: float = 1.0
    every: int = 32
    cooldown: int = 0
    only_increases: bool = True
    per: Per = field(default="update", init=False, repr=False)
    epoch_size: int | None = field(default=None, init=False, repr=False)

    def check(self) -> None:
        from river.base import BinaryDriftDetector

        _inner(self, self.schedule, "schedule")
        offered = all(hasattr(self.detector, name) for name in ("update", "drift_detected", "clone"))
        usable = offered and not isinstance(self.detector, type | BinaryDriftDetector)
        rule = "a detector of changes of a number, with update(x), drift_detected and clone()"
        self.require(usable, "detector", rule)
        self.require(0 < self.back <= 1, "back", "in (0, 1]")
        self.require(self.every > 0, "every", "positive")
        self.require(self.cooldown >= 0, "cooldown", "at least 0")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RestartOnDrift):
            return NotImplemented
        return self._values() == other._values()

    def _values(self) -> tuple[Any, ...]:
        """Hyper-parameters, a detector by its own (river's detectors are equal only to themselves)."""
        detector = self.detector
        own = detector._get_params() if hasattr(detector, "_get_params") else detector
        options = (self.back, self.every, self.cooldown, self.only_increases)
        return (self.schedule, type(detector), own, *options)

    @property
    def window(self) -> int:
        """Samples between two looks at the losses."""
        return self.every

    def start(self) -> DriftState:
        return 0, 0, 0, 0.0, 0.0, 0.0, self.detector.clone()

    def observe(self, state: DriftState, losses: Floats, t: int) -> DriftState:
        offset, wait, count, total, recent, weight, detector = state
        detector = copy.deepcopy(detector)  # an error or an interrupt must leave the old state whole
        losses = losses[np.isfinite(losses)]
        alarm = False
        for loss in losses.tolist():
            detector.update(loss)
            alarm = alarm or detector.drift_detected
        count, total = count + len(losses), total + float(losses.sum())
        recent, weight = _faded(recent, weight, losses, _RECENT)
        if alarm:
            rose = recent * count > total * weight
            if wait <= 0 and (rose or not self.only_increases):
                offset += round(self.back * (t - offset))
                wait = self.cooldown + self.every
            count, total, recent, weight = 0, 0.0, 0.0, 0.0
        return offset, max(wait - self.every, 0), count, total, recent, weight, detector

    def restarted(self, state: DriftState) -> int:
        return state[0]

    def rates(self, state: DriftState, t: NDArray[np.int64]) -> Floats:
        return self.schedule.get_many(np.maximum(t - state[0], 0))
