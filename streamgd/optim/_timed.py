"""What schedules have in common: a form for many times at once, a unit of time, a floor."""

from __future__ import annotations

import numbers
from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .base import Scheduler

Floats = NDArray[np.float64]


class Vectorized(Scheduler):
    """Schedules whose closed form takes an array of times."""

    @abstractmethod
    def get_many(self, t: NDArray[np.int64]) -> Floats:
        """Return the rates at times ``t (n,)``."""

    def get(self, t: int) -> float:
        return float(self.get_many(np.array([t]))[0])


class Timed(Vectorized):
    """Schedules that let the user choose the unit of time."""

    def check(self) -> None:
        self.require(self.per in ("update", "sample", "epoch"), "per", "'update', 'sample' or 'epoch'")
        if self.epoch_size is not None:
            self.require(self.per == "epoch", "epoch_size", "None unless per='epoch'")
            size: Any = self.epoch_size
            whole = isinstance(size, numbers.Integral) and int(size) > 0
            self.require(whole, "epoch_size", "a positive int")
            object.__setattr__(self, "epoch_size", int(size))

    @abstractmethod
    def at(self, t: Floats) -> Floats:
        """Return the rates at whole times ``t (n,)`` in units of ``per``."""

    def get_many(self, t: NDArray[np.int64]) -> Floats:
        return self.at((t // (self.epoch_size or 1)).astype(np.float64))


class Decay(Timed):
    """Schedules whose rates may add up to so little that a model stops learning: they have a floor."""

    min_lr: float

    def check(self) -> None:
        super().check()
        self.require(self.min_lr >= 0, "min_lr", "at least 0")

    def get_many(self, t: NDArray[np.int64]) -> Floats:
        return np.maximum(super().get_many(t), self.min_lr)
