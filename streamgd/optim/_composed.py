"""Schedules made of other schedules, which they evaluate at times of their own."""

from __future__ import annotations

import numbers
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamgd._piece import Piece

from ._timed import Floats, Vectorized
from .base import Monitored, Per, Scheduler


def milestones_of(piece: Piece, values: Any) -> tuple[int, ...]:
    """Return milestones as a tuple of ints, or say what is wrong with them."""
    whole = isinstance(values, Sequence | np.ndarray) and all(isinstance(m, numbers.Integral) for m in values)
    rising = whole and all(0 < a <= b for a, b in zip((1, *values), values, strict=False))
    piece.require(rising, "milestones", "positive ints in rising order")
    return tuple(int(m) for m in values)


@dataclass(frozen=True)
class _Composed(Vectorized):
    """Schedules made of others. Their time is that of their parts, which must share it."""

    per: Per = field(default="update", init=False, repr=False)
    epoch_size: int | None = field(default=None, init=False, repr=False)

    @property
    @abstractmethod
    def parts(self) -> tuple[Scheduler, ...]:
        """The schedules that it is made of."""

    def check(self) -> None:
        name = type(self).__name__
        for part in self.parts:
            if isinstance(part, Monitored):
                raise ValueError(
                    f"{name}: {type(part).__name__} depends on losses and cannot be a part; "
                    f"put the {name} into it instead"
                )
        clocks = {(part.per, part.epoch_size): part for part in self.parts if not part.constant}
        if len(clocks) > 1:
            first, second, *_ = clocks.values()
            raise ValueError(
                f"{name}: {first!r} and {second!r} do not count the same time; "
                "give them the same per and epoch_size"
            )
        for per, epoch_size in clocks:
            object.__setattr__(self, "per", per)
            object.__setattr__(self, "epoch_size", epoch_size)

    @property
    def unit(self) -> int:
        """Times of `get_many` in one unit of ``per``: samples in an epoch, otherwise 1."""
        return self.epoch_size or 1


def _schedules(piece: _Composed, values: Any) -> tuple[Scheduler, ...]:
    """Return schedules from what users pass, numbers and river's schedulers too."""
    from ._accept import scheduler

    given = isinstance(values, Sequence) and len(values) > 1
    piece.require(given, "schedules", "a sequence of two or more schedules")
    return tuple(
        scheduler(value, f"{type(piece).__name__}(schedules[{i}])") for i, value in enumerate(values)
    )


@dataclass(frozen=True)
class Warmup(_Composed):
    """A linear rise in front of any schedule, whose own time starts when the rise is over.

    To warm up to a constant rate, use `Linear`, which also chooses the unit of time.

    Parameters
    ----------
    schedule
        The schedule, from whose rate at time 0 the rise's rates are fractions.
    steps
        Length of the rise, in units of the schedule's ``per``; at the end of it all is the schedule's.
    start_factor
        The first rate as a fraction of the schedule's, in [0, 1]; with 0 the first step is lost.

    Examples
    --------
    >>> from streamgd import optim
    >>> decay = optim.schedulers.StepDecay(0.5, drop=0.5, drop_every=100, per="update")
    >>> rate = optim.schedulers.Warmup(decay, steps=10, start_factor=0.5)
    >>> rate.get(0), rate.get(5), rate.get(10), rate.get(110)
    (0.25, 0.375, 0.5, 0.25)
    """

    schedule: Scheduler
    steps: int
    start_factor: float = 0.01

    def check(self) -> None:
        from ._accept import scheduler

        object.__setattr__(self, "schedule", scheduler(self.schedule, "Warmup(schedule=...)"))
        super().check()
        self.require(self.steps > 0, "steps", "positive")
        self.require(0 <= self.start_factor <= 1, "start_factor", "in [0, 1]")

    @property
    def parts(self) -> tuple[Scheduler, ...]:
        return (self.schedule,)

    def get_many(self, t: NDArray[np.int64]) -> Floats:
        own = t - self.steps * self.unit
        rise = self.start_factor + (1.0 - self.start_factor) * ((t // self.unit) / self.steps)
        return np.where(own < 0, rise, 1.0) * self.schedule.get_many(np.maximum(own, 0))


@dataclass(frozen=True)
class Sequential(_Composed):
    """Schedules one after the other, each with a time of its own that starts at its milestone.

    The last one goes on for ever.

    Parameters
    ----------
    schedules
        Two or more. Those that are not constant must share the unit of time.
    milestones
        When the second schedule takes over from the first, the third from the second, ...: rising
        times in units of the schedules' ``per``.

    Examples
    --------
    >>> from streamgd import optim
    >>> line = optim.schedulers.Linear(0.5, start_factor=1.0, end_factor=0.0, total_iters=4)
    >>> rate = optim.schedulers.Sequential([line, optim.schedulers.Constant(0.01)], milestones=[3])
    >>> rate.get(0), rate.get(2), rate.get(3)
    (0.5, 0.25, 0.01)
    """

    schedules: Sequence[Scheduler]
    milestones: Sequence[int]

    def check(self) -> None:
        object.__setattr__(self, "schedules", _schedules(self, self.schedules))
        super().check()
        milestones = milestones_of(self, self.milestones)
        object.__setattr__(self, "milestones", milestones)
        right = len(set(milestones)) == len(milestones) == len(self.schedules) - 1
        self.require(right, "milestones", "one for each schedule but the first, all different")

    @property
    def parts(self) -> tuple[Scheduler, ...]:
        return tuple(self.schedules)

    def get_many(self, t: NDArray[np.int64]) -> Floats:
        starts = self.unit * np.array((0, *self.milestones))
        active = np.searchsorted(starts, t, side="right") - 1
        rates = np.empty(len(t))
        for i, (schedule, start) in enumerate(zip(self.schedules, starts, strict=True)):
            rates[active == i] = schedule.get_many(t[active == i] - start)
        return rates


@dataclass(frozen=True)
class Product(_Composed):
    """The product of schedules at each time, for instance a decay times a cycle.

    One of them has the learning rate and the others a ``learning_rate`` of 1, which makes factors of
    them. It is what PyTorch's ``ChainedScheduler`` gives for schedules that multiply the rate; there,
    others overwrite what ran before them, or depend on the order. Here all are functions of time, and
    only floors do not compose: the other factors would pull a part's ``min_lr`` or ``eta_min`` down
    with them. Give the floor to the product.

    Parameters
    ----------
    schedules
        Schedules without floors. Those that are not constant must share the unit of time.
    min_lr
        The rate never falls below.
    """

    schedules: Sequence[Scheduler]
    min_lr: float = 0.0

    def check(self) -> None:
        object.__setattr__(self, "schedules", _schedules(self, self.schedules))
        super().check()
        self.require(self.min_lr >= 0, "min_lr", "at least 0")
        for part in self.parts:
            if _floored(part):
                raise ValueError(
                    f"Product: {part!r} has a floor, which the other factors would pull down; "
                    "give min_lr to the Product instead"
                )

    @property
    def parts(self) -> tuple[Scheduler, ...]:
        return tuple(self.schedules)

    def get_many(self, t: NDArray[np.int64]) -> Floats:
        rates = [schedule.get_many(t) for schedule in self.schedules]
        return np.asarray(np.maximum(np.prod(rates, axis=0), self.min_lr))


def _floored(schedule: Scheduler) -> bool:
    """Tell whether a schedule, or a part of it, has a lowest rate that is no multiple of its first one."""
    own = any(getattr(schedule, name, 0.0) for name in ("min_lr", "eta_min"))
    return own or (isinstance(schedule, _Composed) and any(map(_floored, schedule.parts)))
