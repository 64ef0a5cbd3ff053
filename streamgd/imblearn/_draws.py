"""How rows of a table that SMOTE makes are drawn: one after the other, or each by its number."""

from __future__ import annotations

import numbers
import secrets
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._rows import Floats, Words
from ..kernels import picks

Flags = NDArray[np.bool_]

DRAWS: Final = ("sequential", "counter")

_MOST_SEED: Final = 2**64 - 1


class Picks(NamedTuple):
    """What n rows are made from."""

    at: Words  # positions among the bases
    which: Words  # positions among the neighbours of each
    gaps: Floats
    shares: Floats


class Draws(ABC):
    """What is drawn for rows of a class, which is named by its position."""

    @abstractmethod
    def going_on(self) -> Draws:
        """Return draws that differ between classes."""

    @abstractmethod
    def copies(self, c: int, n: int, rows: Words) -> Words:
        """Return n of some rows, each as likely."""

    @abstractmethod
    def picks(self, c: int, n: int, near: Words, foreign: Flags, places: Words) -> Picks:
        """Return what n rows are made from.

        Parameters
        ----------
        near
            ``(q, k)`` neighbours of q bases.
        foreign
            ``(q, k)``: to which of them a row goes less than half the way; ``(0, k)``: to none.
        places
            ``(n,)`` the base of each row; ``(0,)``: it is drawn, each as likely.
        """

    @abstractmethod
    def modes(self, c: int, values: Floats, columns: Words, near: Words, at: Words) -> Words:
        """Return the commonest code of each of some columns in a table's rows ``near[at]``, ties drawn."""


@dataclass(frozen=True)
class Sequential(Draws):
    """In the order of imbalanced-learn, from NumPy's old generator.

    Numbers begin anew at each use of an int, and go on with a RandomState.
    """

    seed: int | np.random.RandomState

    def _state(self) -> np.random.RandomState:
        return np.random.RandomState(self.seed) if isinstance(self.seed, int) else self.seed

    def going_on(self) -> Sequential:
        return Sequential(self._state())

    def copies(self, c: int, n: int, rows: Words) -> Words:
        copies: Words = self._state().choice(rows, size=n)
        return copies

    def picks(self, c: int, n: int, near: Words, foreign: Flags, places: Words) -> Picks:
        state = self._state()
        if len(places):
            at, which = places, state.choice(near.shape[1], size=n)
        else:
            at, which = np.divmod(state.randint(0, near.size, size=n), near.shape[1])
        gaps, shares = state.uniform(size=n), np.ones(n)
        if len(foreign):
            short = foreign[at, which]
            shares[short] = self._state().uniform(0.0, 0.5, size=int(short.sum()))
        return Picks(at, which, gaps, shares)

    def modes(self, c: int, values: Floats, columns: Words, near: Words, at: Words) -> Words:
        state, around = self._state(), near[at]
        n = len(around)
        modes = np.empty((n, len(columns)), dtype=np.int64)
        for j, column in enumerate(columns):
            codes = values[:, column].astype(np.int64)
            n_codes = int(codes.max()) + 1
            held = np.arange(n)[:, None] * n_codes + codes[around]
            counts = np.bincount(held.ravel(), minlength=n * n_codes).reshape(n, n_codes)
            most = np.argwhere(counts == counts.max(axis=1, keepdims=True))
            most = most[state.permutation(len(most))]
            modes[:, j] = most[np.unique(most[:, 0], return_index=True)[1], 1]
        return modes


@dataclass(frozen=True)
class Counter(Draws):
    """Each row's by its class and its number in it: the same on every device."""

    seed: int

    def going_on(self) -> Counter:
        return self

    def copies(self, c: int, n: int, rows: Words) -> Words:
        copies: Words = rows[picks.copies(np.uint64(self.seed), c, n, len(rows))]
        return copies

    def picks(self, c: int, n: int, near: Words, foreign: Flags, places: Words) -> Picks:
        return Picks(*picks.pick(np.uint64(self.seed), c, n, near, foreign, places))

    def modes(self, c: int, values: Floats, columns: Words, near: Words, at: Words) -> Words:
        modes: Words = picks.modes(np.uint64(self.seed), c, values, columns, near, at)
        return modes


def draws_of(draws: str, random_state: Any) -> Draws:
    """Return draws as `fit_resample` names them."""
    if isinstance(random_state, numbers.Integral):
        seed = int(random_state)
        if draws == "counter" and not 0 <= seed <= _MOST_SEED:
            raise ValueError(f"random_state={seed}; it is from 0 to {_MOST_SEED}")
        return Counter(seed) if draws == "counter" else Sequential(seed)
    if random_state is not None and not isinstance(random_state, np.random.RandomState):
        raise TypeError(f"random_state={random_state!r}; it is an int, a numpy.random.RandomState or None")
    if draws == "sequential":
        return Sequential(np.random.RandomState() if random_state is None else random_state)
    if random_state is None:
        return Counter(secrets.randbits(64))
    return Counter(int.from_bytes(random_state.bytes(8), "little"))
