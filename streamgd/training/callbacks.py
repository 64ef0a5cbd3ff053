"""What may happen beside learning: every so many rows, at the end of an epoch, or to stop."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._fit import Run

__all__ = ["Callback", "Checkpoint", "DetectDrift", "EarlyStopping", "Every", "EveryEpoch", "SetRate"]


class Callback:
    """Something that `fit` calls on the way. A subclass says what, by overriding some of these.

    All get the run: its model, history, metrics, losses, and `Run.stop`. What they raise ends the run.

    Attributes
    ----------
    every
        Rows between two calls of `on_rows`; None: it is not called.
    """

    every: int | None = None

    def due(self, samples: int) -> int | None:
        """Return when `on_rows` is to be called next, when the run has seen ``samples`` rows; None: never."""
        return None if self.every is None else (samples // self.every + 1) * self.every

    def on_start(self, run: Run) -> None:
        """Before the first row."""

    def on_learned(self, run: Run) -> None:
        """When some rows were learned, however many: their losses are in `Run.losses`."""

    def on_rows(self, run: Run) -> None:
        """When `every` more rows were learned (in mini-batches: at the end of the one they end in)."""

    def on_epoch(self, run: Run) -> None:
        """At the end of an epoch."""

    def on_end(self, run: Run) -> None:
        """At the end of the run, unless an exception ends it."""


class Hooks:
    """All callbacks of a run, and when they are due."""

    def __init__(self, callbacks: Iterable[Callback] | Callback) -> None:
        given: list[Any] = [callbacks] if isinstance(callbacks, Callback) else list(callbacks)
        for callback in given:
            if not isinstance(callback, Callback):
                raise TypeError(
                    f"callbacks holds {callback!r}, which is no Callback; for a function say "
                    "training.Every(rows, function) or training.EveryEpoch(function)"
                )
            every = callback.every
            if every is not None and not (type(every) is int and every >= 1):
                name = type(callback).__name__
                raise ValueError(
                    f"{name}: every={every!r} must be a whole number of rows, at least 1, or None"
                )
        self._all: list[Callback] = given
        self._next = [callback.due(0) for callback in self._all]

    def due(self, most: int) -> int:
        """Return the number of rows at which an `on_rows` is to be called next, ``most`` at most."""
        return min([most, *(n for n in self._next if n is not None)])

    def on_start(self, run: Run) -> None:
        """Tell all."""
        for callback in self._all:
            callback.on_start(run)

    def on_learned(self, run: Run) -> None:
        """Tell all."""
        for callback in self._all:
            callback.on_learned(run)

    def on_rows(self, run: Run) -> None:
        """Tell those that are due."""
        for k, callback in enumerate(self._all):
            due = self._next[k]
            if due is not None and run.samples >= due:
                self._next[k] = callback.due(run.samples)
                callback.on_rows(run)

    def on_epoch(self, run: Run) -> None:
        """Tell all."""
        for callback in self._all:
            callback.on_epoch(run)

    def on_end(self, run: Run) -> None:
        """Tell all."""
        for callback in self._all:
            callback.on_end(run)


class Every(Callback):
    """Call a function every so many rows.

    Parameters
    ----------
    rows
        Rows between two calls.
    function
        Gets the run.
    """

    def __init__(self, rows: int, function: Callable[[Run], Any]) -> None:
        self.every = rows
        self.function = function

    def on_rows(self, run: Run) -> None:
        self.function(run)


class EveryEpoch(Callback):
    """Call a function at the end of each epoch.

    Parameters
    ----------
    function
        Gets the run.
    """

    def __init__(self, function: Callable[[Run], Any]) -> None:
        self.function = function

    def on_epoch(self, run: Run) -> None:
        self.function(run)


class _Periodic(Callback, ABC):
    """Does something every so many rows, or at the end of each epoch."""

    def __init__(self, every: int | None) -> None:
        self.every = every

    def on_rows(self, run: Run) -> None:
        self.act(run)

    def on_epoch(self, run: Run) -> None:
        if self.every is None:
            self.act(run)

    @abstractmethod
    def act(self, run: Run) -> None:
        """Do it."""


class EarlyStopping(_Periodic):
    """Stop when the progressive loss, or a metric, has not become better for a while.

    Parameters
    ----------
    monitor
        "loss", the mean progressive loss since the last look; or the name of one of the run's metrics,
        in its window where there is one.
    patience
        Looks without an improvement before the run is stopped.
    min_delta
        What counts as an improvement, in the monitor's unit.
    every
        Rows between two looks; None: at the end of each epoch.
    restore_best
        Go back to what the model knew at the best look.
    """

    def __init__(
        self,
        monitor: str = "loss",
        patience: int = 3,
        *,
        min_delta: float = 0.0,
        every: int | None = None,
        restore_best: bool = False,
    ) -> None:
        super().__init__(every)
        if patience < 1:
            raise ValueError(f"patience={patience}: at least 1 look is needed")
        if not min_delta >= 0:
            raise ValueError(f"min_delta={min_delta}: at least 0")
        self.monitor = monitor
        self.patience = patience
        self.min_delta = min_delta
        self.restore_best = restore_best

    def on_start(self, run: Run) -> None:
        self._sign = 1.0
        if self.monitor != "loss":
            if self.monitor not in run.meter.names:
                raise ValueError(
                    f"monitor={self.monitor!r}: neither 'loss' nor one of the run's metrics {run.meter.names}"
                )
            self._sign = -1.0 if run.meter.bigger_is_better(self.monitor) else 1.0
        if self.restore_best and not hasattr(run.model, "_control"):
            raise ValueError("restore_best=True needs a learner of streamgd")
        self._best, self._bad = math.inf, 0
        self._state: Any = None
        self._mark = run.mark

    def _value(self, run: Run) -> float:
        if self.monitor == "loss":
            value, self._mark = run.loss_since(self._mark), run.mark
            return value
        values = run.meter.values()
        return values.get(f"{self.monitor}_window", values[self.monitor])

    def act(self, run: Run) -> None:
        value = self._sign * self._value(run)
        if value < self._best - self.min_delta:  # NaN never is
            self._best, self._bad = value, 0
            if self.restore_best:
                self._state = run.model.__getstate__()
            return
        self._bad += 1
        if self._bad >= self.patience:
            run.stop(f"early stopping: {self.monitor} has not improved for {self.patience} looks")

    def on_end(self, run: Run) -> None:
        if self.restore_best and self._state is not None:
            run.model.__setstate__(self._state)


class SetRate(_Periodic):
    """Set the learning rate by a function of the run.

    For rates that are known beforehand a scheduler is simpler, and exact to the update.

    Parameters
    ----------
    function
        Gets the run; returns a rate, a scheduler, or None to leave it.
    every
        Rows between two calls; None: at the end of each epoch.
    """

    def __init__(self, function: Callable[[Run], Any], *, every: int | None = None) -> None:
        super().__init__(every)
        self.function = function

    def on_start(self, run: Run) -> None:
        if not hasattr(run.model, "_control"):
            raise ValueError(f"SetRate needs a learner of streamgd, and this is {type(run.model).__name__}")

    def act(self, run: Run) -> None:
        rate = self.function(run)
        if rate is not None:
            rule = run.model.optimizer
            inner = getattr(rule, "optimizer", None)  # of an Averager
            changed = dataclasses.replace(rule if inner is None else inner, lr=rate)
            run.model.optimizer = changed if inner is None else dataclasses.replace(rule, optimizer=changed)
            run.history.mark(run.samples, "learning rate set")


class DetectDrift(Callback):
    """Mark in the history where a drift detector fires on the progressive losses.

    To react as well, see `optim.schedulers.RestartOnDrift`.

    Parameters
    ----------
    detector
        A detector of changes of a number, such as river's ``drift.ADWIN()``. It is cloned.
    then
        Gets the run at each alarm.
    """

    def __init__(self, detector: Any, then: Callable[[Run], Any] | None = None) -> None:
        self.detector = detector
        self.then = then

    def on_start(self, run: Run) -> None:
        self._detector = self.detector.clone()

    def on_learned(self, run: Run) -> None:
        first = run.samples - len(run.losses)
        for row, loss in enumerate(run.losses.tolist(), start=first + 1):
            if loss == loss:
                self._detector.update(loss)
                if self._detector.drift_detected:
                    run.history.mark(row, "drift")
                    if self.then is not None:
                        self.then(run)


class Checkpoint(_Periodic):
    """Save the model, and where the run stands, to a file.

    A crash leaves the file of the last save. ``model, extra = streamgd.load(path, with_extra=True)``, then
    ``fit(model, data, start=extra["position"], ...)`` goes on as if nothing had happened.

    Parameters
    ----------
    path
        The file, written anew each time: under another name first, then moved into place.
    every
        Rows between two saves; None: at the end of each epoch. The end of the run saves as well.
    """

    def __init__(self, path: str | Path, *, every: int | None = None) -> None:
        super().__init__(every)
        self.path = Path(path)

    def on_start(self, run: Run) -> None:
        from .._save import save

        trial = self.path.with_name(f"{self.path.name}.trial")
        save(run.model, trial)  # what cannot be saved, or where, is to be known now, not after hours
        trial.unlink()

    def act(self, run: Run) -> None:
        from .._save import save

        extra = {"position": run.position, "epoch": run.epoch, "history": run.history.to_dict()}
        save(run.model, self.path, extra=extra)

    def on_end(self, run: Run) -> None:
        self.act(run)
