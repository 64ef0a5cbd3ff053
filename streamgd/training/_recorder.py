"""Turns what was predicted before rows were learned into the points of a history."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._rows import vector
from ..evaluate._meter import Meter
from ..evaluate._predictions import Predictions, reader
from ..evaluate.history import History
from ..optim.base import Monitored

if TYPE_CHECKING:
    from .._learner import LinearLearner
    from ._drivers import Driver


class Recorder:
    """Fills a history while a model learns.

    Parameters
    ----------
    model
        The model, as it is before the first row.
    learner
        What its outputs before each update are raw outputs of, None where they are answers.
    meter
        Its metrics.
    history
        What to fill.
    """

    def __init__(self, model: Any, learner: LinearLearner | None, meter: Meter, history: History) -> None:
        self.history = history
        self.meter = meter
        self.samples = 0  # rows seen
        self.losses: NDArray[np.float64] = np.empty(0)  # of the rows seen last
        self.predictions: Predictions | None = None
        self._model = model
        self._read = reader(model if learner is None else learner)
        self._learner = learner
        self._total, self._count = 0.0, 0
        self._epoch = self._recent = (0.0, 0)  # what these were when the epoch, the point, began
        self._shares: dict[Any, int] = {}
        self._invalid = getattr(model, "n_invalid", 0)
        self._restarts = self._restarted()

    @property
    def loss(self) -> float:
        """Mean progressive loss of all rows so far, before weighting."""
        return _mean(self._total, self._count)

    def loss_since(self, mark: tuple[float, int]) -> float:
        """Mean progressive loss since `mark` was taken."""
        return _mean(self._total - mark[0], self._count - mark[1])

    @property
    def mark(self) -> tuple[float, int]:
        """Where the sums of losses stand."""
        return self._total, self._count

    def rows(self, y: Any, outputs: Any, targets: Any = None) -> None:
        """Take in rows that were learned: targets, and outputs or answers made before each update.

        ``targets`` knows their labels, where the model will learn them with a step still to come.
        """
        n = len(y)
        self.samples += n
        if self._learner is not None:
            y = vector(y, n, "y")
            self.losses = self._learner._losses_of(y, outputs, targets)
            known = self.losses[~np.isnan(self.losses)]
            self._total += float(known.sum())
            self._count += len(known)
            self._mark_restarts()
        self.predictions = predictions = self._read(y, outputs)
        self.meter.update(predictions)
        if predictions.labels is not None:
            self._count_labels(predictions.y, predictions.labels)

    def _restarted(self) -> list[int]:
        """Return when schedules that react to drift last started again."""
        if self._learner is None:
            return []
        pairs = zip(self._learner._schedules, self._learner._observed, strict=True)
        return [s.restarted(state) for s, state in pairs if isinstance(s, Monitored)]

    def _mark_restarts(self) -> None:
        before, self._restarts = self._restarts, self._restarted()
        if self._restarts != before:
            self.history.mark(self.samples, "restart of the rate")

    def _count_labels(self, codes: NDArray[Any], labels: Sequence[Any]) -> None:
        for label, n in zip(labels, np.bincount(codes[codes >= 0], minlength=len(labels)), strict=False):
            self._shares[label] = self._shares.get(label, 0) + int(n)

    def point(self, driver: Driver, epoch: int, seconds: float) -> None:
        """Add a point to the history."""
        rows = sum(self._shares.values())
        # what the last rows came to says little where they are but a few, and makes curves end in a jump
        before = self.history.columns["samples"]
        telling = not before or 8 * (self.samples - before[-1]) >= self.history.interval
        learner = self._learner
        has_rate = learner is not None and hasattr(learner.optimizer.rule, "lr")
        rate = learner.learning_rate if learner is not None and has_rate else None
        self.history.add(
            {
                "samples": self.samples,
                "updates": driver.n_updates,
                "epoch": epoch,
                "seconds": seconds,
                **({} if rate is None else {"learning_rate": rate}),
                **(
                    {"loss": self.loss, "loss_recent": self.loss_since(self._recent) if telling else math.nan}
                    if learner is not None
                    else {}
                ),
                **self.meter.values(),
                **{f"share {label}": n / rows for label, n in self._shares.items() if rows and telling},
            }
        )
        self._recent = self.mark
        self._shares = dict.fromkeys(self._shares, 0)
        self.history.n_invalid = getattr(self._model, "n_invalid", 0) - self._invalid

    def end_epoch(self) -> None:
        """Keep the epoch's mean loss."""
        if self._learner is not None:
            self.history.epoch_losses.append(self.loss_since(self._epoch))
        self._epoch = self.mark


def _mean(total: float, n: int) -> float:
    return total / n if n else float("nan")
