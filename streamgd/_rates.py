"""A model's clocks, its table of coming learning rates, and the losses that some schedules look at."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from . import _features as f
from .kernels.pieces import N_LOSSES, SAMPLES, T
from .optim.averager import Averager
from .optim.base import Monitored, Optimizer, Scheduler

Floats = NDArray[np.float64]
Clock = tuple[Any, Any]  # updates and samples: numbers, or of several classes (k, 1)

N_RATES = 1024  # rates that are computed at once
LARGEST_RATE = 1e100


class Timed:
    """The part of a model that knows what time it is and what the rates are.

    Kernels never see a schedule: they read a table of coming rates, and return when it is used up or
    when a `Monitored` schedule is to look at the losses they left in ``_losses``.
    """

    optimizer: Optimizer | Averager
    intercept_lr: Scheduler | Literal["optimizer"]
    _control: NDArray[np.int64]
    _scalars: Floats
    _rates: Floats
    _losses: Floats  # of the samples since monitored schedules last looked, before weighting
    _observed: tuple[Any, ...]  # states of the weights' and the intercept's schedule
    _monitored: tuple[Scheduler, Scheduler]
    _epochs: int | None

    @property
    def n_updates(self) -> int:
        """Updates done (a mini-batch is one)."""
        return int(self._scalars.flat[T])

    @property
    def n_samples(self) -> int:
        """Samples learned from (those of weight 0 are not)."""
        return int(self._scalars.flat[SAMPLES])

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next update."""
        now = np.array([self.n_updates])
        rates = self._rates_at(self.optimizer.scheduler, self._looked()[0], now, self._clock)
        return float(rates[0])

    @property
    def _schedules(self) -> tuple[Scheduler, Scheduler]:
        """Schedules of the weights and of the intercept (which is always 1 where it is a feature)."""
        intercept = self.intercept_lr
        if not isinstance(intercept, Scheduler):
            from .optim.schedulers import Constant

            intercept = Constant(1.0)
        return self.optimizer.scheduler, intercept

    @property
    def _constant_rates(self) -> bool:
        """Whether the rates never change."""
        return all(schedule.constant for schedule in self._schedules)

    @property
    def _clock(self) -> Clock:
        """Updates and samples so far, where each class has its clock those of the oldest, the first."""
        return self.n_updates, self.n_samples

    def _time(self, scheduler: Scheduler, updates: NDArray[np.int64], clock: Clock) -> NDArray[np.int64]:
        """Time in the schedule's unit when the model will have done ``updates``, one sample each from now on.

        A later clock lags behind the model's by as much as it does now, and stands at 0 before it began.
        Of several clocks ``(k, 1)``, the times ``(k, n)``.
        """
        updates = np.maximum(updates - (self.n_updates - clock[0]), 0)
        if scheduler.per == "update":
            return updates
        if scheduler.per == "sample" or scheduler.epoch_size is not None:
            samples: NDArray[np.int64] = updates + (clock[1] - clock[0])
            return samples
        if self._epochs is None:
            raise ValueError(
                f"{scheduler!r} counts epochs, and a stream has none: give it epoch_size=..., the samples "
                "in an epoch, or per='sample'"
            )
        times: NDArray[np.int64] = np.full_like(updates, self._epochs)
        return times

    def _rates_at(self, scheduler: Scheduler, state: Any, updates: NDArray[np.int64], clock: Clock) -> Floats:
        time = self._time(scheduler, updates, clock)
        if isinstance(scheduler, Monitored):
            rates = scheduler.rates(state, time.ravel())
        else:
            rates = scheduler.get_many(time.ravel())
        return np.asarray(rates, dtype=np.float64).reshape(time.shape)

    # -- schedules that look at the losses -----------------------------------------------------

    def _window(self) -> int:
        """Return the samples between two looks at the losses, 0 if no schedule wants them."""
        windows = {s.window for s in self._schedules if isinstance(s, Monitored)}
        if len(windows) > 1:
            raise ValueError(
                f"the schedules of weights and intercept look at {sorted(windows)} losses at a time; give "
                "both the same window"
            )
        return max(windows, default=0)

    def _monitors(self, restarts: bool, scalars: Floats) -> dict[str, Any]:
        """Return room for losses and states of the schedules, those kept that have not changed.

        They start anew when the count of updates does. ``scalars`` are the model's, to be.
        """
        schedules, window = self._schedules, self._window()
        before = self.__dict__.get("_monitored", (None, None))
        if restarts or (before != (None, None) and len(self._losses) != window):
            before = (None, None)
        if before == schedules:
            return {}
        states = tuple(
            (self._observed[k] if schedule == before[k] else schedule.start())
            if isinstance(schedule, Monitored)
            else None
            for k, schedule in enumerate(schedules)
        )
        new: dict[str, Any] = {"_observed": states, "_monitored": schedules}
        if before == (None, None):
            scalars[..., N_LOSSES] = 0.0
            new["_losses"] = np.zeros(window)
        return new

    def _looked(self) -> tuple[Any, ...]:
        """States of the schedules once they have seen a full window of losses."""
        if not len(self._losses) or self._scalars.flat[N_LOSSES] < len(self._losses):
            return self._observed
        now, clock, losses = np.array([self.n_updates]), self._clock, self._losses.copy()
        return tuple(
            s.observe(state, losses, int(self._time(s, now, clock)[0])) if isinstance(s, Monitored) else None
            for s, state in zip(self._schedules, self._observed, strict=True)
        )

    def _look(self) -> None:
        """Let the schedules look at a full window of losses."""
        states = self._looked()
        if states is not self._observed:
            self._observed = states
            self._scalars[..., N_LOSSES] = 0.0
            self._control[f.N_RATES] = 0

    def _report(self, losses: Floats) -> None:
        """Take in the losses of a mini-batch, NaN for rows that do not count."""
        losses = losses[~np.isnan(losses)]
        while len(losses):
            n = int(self._scalars.flat[N_LOSSES])
            part, losses = np.split(losses, [len(self._losses) - n])
            self._losses[n : n + len(part)] = part
            self._scalars[..., N_LOSSES] += len(part)
            self._look()

    # -- the table -----------------------------------------------------------------------------

    def _fill_rates(self) -> None:
        """Make sure that the table has the next update: its rate, the rate after it, the intercept's."""
        c = self._control
        self._look()
        position = (self.n_updates - int(c[f.RATES_START])) * int(c[f.RATE_STEP])
        if 0 <= position < c[f.N_RATES]:
            return
        schedules = self._schedules
        constant = self._constant_rates
        length = N_RATES
        while 0 < len(self._losses) <= length // 2:
            length //= 2  # it will be dropped when they have looked
        clocks = self._scalars.reshape(-1, self._scalars.shape[-1])[:, [T, SAMPLES]].astype(np.int64)
        while length > 16 and length * len(clocks) > 1 << 17:
            length //= 2
        # A table starts at a multiple of its length, so that its values do not depend on when it was made.
        start = 0 if constant else self.n_updates - self.n_updates % length
        n = 1 if constant else length
        position = 0 if constant else self.n_updates - start
        updates = np.arange(start, start + n + 1)
        distinct, which = clocks[:1], np.zeros(len(clocks), dtype=np.int64)
        if len(clocks) > 1 and not constant:
            distinct, which = np.unique(clocks, axis=0, return_inverse=True)
        rates, intercept_rates = (
            self._rates_at(schedule, state, updates, (distinct[:, :1], distinct[:, 1:]))
            for schedule, state in zip(schedules, self._observed, strict=True)
        )
        table = np.stack([rates[:, :-1], rates[:, 1:], intercept_rates[:, :-1]], axis=2)[which.reshape(-1)]
        # What comes after a bad rate is not used: the error waits until its time has come.
        for schedule, column in zip(schedules, (0, 2), strict=True):
            bad = ~np.all(np.abs(table[:, position:n, column]) <= LARGEST_RATE, axis=0, keepdims=True)[0]
            if bad[0]:
                rate = next(r for r in table[:, position, column].tolist() if not abs(r) <= LARGEST_RATE)
                raise ValueError(f"{schedule!r}: the rate at update {self.n_updates} is {rate!r}")
            n = position + int(bad.argmax()) if bad.any() else n
        self._control[f.N_RATES] = 0  # an interrupt would leave it with the address of the old table
        old, self._rates = self._rates, np.ascontiguousarray(table[:, :n])
        control = self._control.copy()
        control[f.RATES] = self._rates.ctypes.data
        control[f.N_RATES] = n
        control[f.RATE_STEP] = 0 if constant else 1
        control[f.RATES_START] = start
        self._control[:] = control
        del old  # alive until the control block had the new one

    def _coming_rates(self, samples: NDArray[np.int64]) -> Floats:
        """Rates ``(n, 3)`` of the coming updates, which see so many samples each, as in the table.

        One row stands for all if they never change. Where a schedule gives no rate there are fewer; if it has
        none now, it is an error.
        """
        if self._constant_rates:
            self._fill_rates()
            rates: Floats = self._rates.reshape(-1, 3)[:1]
            return rates
        updates = self.n_updates + np.arange(len(samples))
        before = self.n_samples + np.cumsum(samples) - samples
        clock = self.n_updates, before - updates + self.n_updates
        weights, intercept = self._schedules
        states = self._looked()
        table = np.stack(
            [
                self._rates_at(weights, states[0], updates, clock),
                self._rates_at(weights, states[0], updates + 1, clock),
                self._rates_at(intercept, states[1], updates, clock),
            ],
            axis=1,
        )
        bad: NDArray[np.bool_] = ~np.all(np.abs(table[:, [0, 2]]) <= LARGEST_RATE, axis=1, keepdims=True)[
            :, 0
        ]
        if bad[0]:
            self._fill_rates()  # says which
        return table[: int(bad.argmax())] if bad.any() else table

    def _count_epoch(self) -> None:
        """Count a pass over the data; schedules of epochs without a size go by that."""
        self._epochs = (self._epochs or 0) + 1
        self._control[f.N_RATES] = 0

    @property
    def _counts_samples(self) -> bool:
        """Whether a schedule counts samples: a mini-batch is one update of many."""
        return any(s.per == "sample" or s.epoch_size for s in self._monitored)

    def _clock_jumped(self) -> None:
        """Drop the table when a schedule counts samples."""
        if self._counts_samples:
            self._control[f.N_RATES] = 0
