"""Coming learning rates of a fleet's members, whose clocks may lie far apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamgd.kernels.fleet import Clock

from ._settings import Setting

Floats = NDArray[np.float64]
Words = NDArray[np.int64]

BLOCK = 1024  # rates that are computed at once: as learners do, so that they are equal to the bit
MOST = 1 << 21  # rates that are kept
LARGEST_RATE = 1e100


class Tables:
    """Makes one table of the rates that members of a pass will need, and says where each one's begin.

    Parameters
    ----------
    model
        A learner of the fleet's class that has learned nothing.
    settings
        Those of the members: rates are computed once for each.
    """

    def __init__(self, model: Any, settings: Sequence[Setting]) -> None:
        self._model, self._settings = model, settings
        self._moving = [s for s, setting in enumerate(settings) if not setting.constant]
        self._n = BLOCK
        while self._n > 16 and self._n * len(self._moving) > MOST:
            self._n //= 2
        self._blocks: dict[tuple[int, int, int], Floats] = {}
        rates = [[s.get(0) if s.constant else np.nan for s in one.schedules] for one in settings]
        self._constant = np.array(rates)[:, [0, 0, 1]]  # of each setting

    @property
    def most_rows(self) -> int:
        """Rows for which the tables of all settings are of a fair size."""
        return max(64, MOST // max(1, len(self._moving)))

    def clock(self, which: Words, counts: Floats, lengths: Words) -> Clock:
        """Return what time it is for members, and the rates of as many coming rows of each.

        Parameters
        ----------
        which
            Each member's setting ``(G,)``; where there are several settings, each has one member.
        counts
            Updates and samples of each ``(G, 2)``.
        lengths
            Rows that each is to go through ``(G,)``.

        Raises
        ------
        ValueError
            When a rate that is due is not a number, or too large.
        """
        tables, size = [self._constant], len(self._settings)
        first, step = which.copy(), np.zeros_like(which)
        for s in self._moving:
            mine = np.flatnonzero(which == s) if len(self._settings) == 1 else np.array([s])
            now = counts[mine, 0].astype(np.int64)
            lags = counts[mine, 1].astype(np.int64) - now if self._settings[s].by_samples else 0 * now
            for lag in np.unique(lags).tolist():
                of, begin = mine[lags == lag], now[lags == lag]
                low, high = begin // self._n, (begin + lengths[of] - 1) // self._n
                spans = set(zip(low.tolist(), high.tolist(), strict=True))
                numbers = np.unique(np.concatenate([np.arange(a, b + 1) for a, b in spans]))
                table = np.concatenate([self._block(s, lag, number) for number in numbers.tolist()])
                place = np.searchsorted(numbers, low) * self._n + begin - low * self._n
                self._check(s, table, place, lengths[of])
                first[of], step[of] = size + place, 1
                tables.append(table)
                size += len(table)
        return Clock(counts, np.concatenate(tables), first, step)

    @staticmethod
    def standing(counts: Floats) -> Clock:
        """Return the clock of members that are only to predict."""
        nothing = np.zeros(len(counts), dtype=np.int64)
        return Clock(counts, np.zeros((1, 3)), nothing, nothing)

    def _block(self, s: int, lag: int, number: int) -> Floats:
        """Return rates ``(n, 3)`` of a run of updates; samples are ahead of updates by ``lag``."""
        key = (s, lag, number)
        if key not in self._blocks:
            if len(self._blocks) * self._n > MOST:
                self._blocks.clear()
            updates = np.arange(number * self._n, (number + 1) * self._n + 1)
            rates, intercept = (
                self._model._rates_at(schedule, None, updates, (0, lag))
                for schedule in self._settings[s].schedules
            )
            self._blocks[key] = np.stack([rates[:-1], rates[1:], intercept[:-1]], axis=1)
        return self._blocks[key]

    def _check(self, s: int, table: Floats, place: Words, lengths: Words) -> None:
        bad = ~(np.abs(table[:, [0, 2]]) <= LARGEST_RATE)
        if not bad.any():
            return
        before = np.concatenate([[0], np.cumsum(bad.any(axis=1))])
        if (before[place + lengths] > before[place]).any():
            row, column = np.argwhere(bad)[0].tolist()
            schedule = self._settings[s].schedules[column]
            raise ValueError(f"{schedule!r}: a rate that is due is {float(table[row, 2 * column])!r}")
