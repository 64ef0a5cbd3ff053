"""Initializers: the weight a feature starts with, by the order in which features appear."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .base import Initializer

__all__ = ["Constant", "Normal", "Zeros"]


@dataclass(frozen=True)
class Zeros(Initializer):
    """All weights start at 0."""

    def values(self, start: int, stop: int) -> NDArray[np.float64]:
        return np.zeros(stop - start)


@dataclass(frozen=True)
class Constant(Initializer):
    """All weights start at ``value``."""

    value: float

    def values(self, start: int, stop: int) -> NDArray[np.float64]:
        return np.full(stop - start, self.value)


@dataclass(frozen=True)
class Normal(Initializer):
    """Weights start as draws from a normal distribution.

    The k-th feature gets the k-th draw of the seed, as in river, whatever happened between: a
    model that is saved and loaded goes on with the same draws.

    Parameters
    ----------
    mu, sigma
        Mean and standard deviation.
    seed
        Seed of NumPy's ``RandomState``; None for draws that differ from model to model.
    """

    mu: float = 0.0
    sigma: float = 1.0
    seed: int | None = None

    def check(self) -> None:
        self.require(self.sigma >= 0, "sigma", "at least 0")

    def values(self, start: int, stop: int) -> NDArray[np.float64]:
        # river's legacy generator, for the same draws from the same seed
        draws = np.random.RandomState(self.seed).normal(self.mu, self.sigma, size=stop)
        return draws[start:]
