"""The metrics of one model on one stream: of all rows so far, of the last ones, and fading."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Any, Literal

import numpy as np
from river import base

from . import metrics as own
from ._predictions import Predictions
from ._statistics import AllRows, Facts, FadingRows, LastRows, Statistic
from .metrics import Metric

KINDS = ("", "_window", "_fading")  # endings of the names of values


def default_metrics(model: Any) -> tuple[str, ...]:
    """Return the names of metrics that suit a model."""
    if isinstance(model, base.Regressor):
        return ("mae", "rmse", "r2")
    if isinstance(model, base.Classifier):
        # which of two labels or more there are going to be, one that takes more does not tell
        return (
            ("accuracy", "macro-f1", "cross-entropy")
            if _multiclass(model)
            else ("rocauc", "logloss", "accuracy")
        )
    raise TypeError(
        f"{type(model).__name__} is neither a classifier nor a regressor; evaluate.progressive_val_score "
        "takes it, with a metric of river's that suits it"
    )


def _multiclass(model: Any) -> bool:
    return bool(getattr(model, "_multiclass", False))


class Meter:
    """Metrics of predictions, chunk by chunk.

    Parameters
    ----------
    metrics
        Names such as "kappa-m", metrics of `streamgd.evaluate.metrics`, or river's. Those of river's are
        updated themselves.
    model
        The model, which they must suit.
    window
        Rows of the sliding windows, at least 1; None: no windows.
    fading
        Factor in (0, 1) by which a row counts less with every row that follows, after Gama, Sebastiao,
        Rodrigues (2013, On evaluating stream learning algorithms, Machine Learning 90(3)):
        about the last ``1 / (1 - fading)`` rows count. None: no fading.
    delay
        Rows by which labels come late, for those metrics that compare with guesses from earlier labels.

    Attributes
    ----------
    names : tuple of str
        Of the metrics.
    """

    def __init__(
        self,
        metrics: Sequence[Any],
        model: Any,
        *,
        window: int | None = 1000,
        fading: float | None = None,
        delay: int = 0,
    ) -> None:
        if window is not None and not (isinstance(window, int | np.integer) and window >= 1):
            raise ValueError(f"window={window!r}: the rows of a window, at least 1, or None")
        if fading is not None and not 0.0 < fading < 1.0:
            raise ValueError(f"fading={fading!r}: a factor between 0 and 1, or None")
        metrics = [metrics] if isinstance(metrics, str) else metrics
        self.metrics = [own.by_name(m) if isinstance(m, str) else m for m in metrics]
        self.names = tuple(_name(metric) for metric in self.metrics)
        for metric, name in zip(self.metrics, self.names, strict=True):
            if self.names.count(name) > 1:
                raise ValueError(f"the metric {name!r} stands twice")
            if not metric.works_with(model):
                raise ValueError(
                    f"{name} does not suit {type(model).__name__}, for which there are "
                    f"{', '.join(default_metrics(model))} and others"
                )
        self._window, self._fading = window, fading
        self._labels: tuple[Any, ...] | None = None
        self._tallies: dict[Any, _Tally] = {}
        self._foreign: dict[str, _Foreign] = {}
        for name, metric in zip(self.names, self.metrics, strict=True):
            if not isinstance(metric, Metric):
                self._foreign[name] = _Foreign(metric, window, fading)
            elif metric.statistic not in self._tallies:
                self._tallies[metric.statistic] = _Tally(metric.new_statistic(delay), window, fading)
        self._classifies = isinstance(model, base.Classifier)

    @property
    def answer_kind(self) -> Literal["proba", "label", "number"]:
        """What to ask a model for that is not compiled."""
        if not self._classifies:
            return "number"
        return "label" if self.metrics and all(metric.requires_labels for metric in self.metrics) else "proba"

    def bigger_is_better(self, name: str) -> bool:
        """Tell whether a higher value of a metric is better than a lower one."""
        return bool(self.metrics[self.names.index(name)].bigger_is_better)

    def update(self, predictions: Predictions) -> None:
        """Count rows."""
        if not len(predictions.y):
            return
        self._labels = predictions.labels
        for metric in self.metrics:
            if isinstance(metric, Metric):
                metric.check(predictions.labels)
        for tally in self._tallies.values():
            tally.add(predictions)
        for foreign in self._foreign.values():
            foreign.add(predictions)

    def values(self) -> dict[str, float]:
        """Return the values by name: ``rocauc`` of all rows, ``rocauc_window``, ``rocauc_fading``."""
        sums = {key: tally.sums() for key, tally in self._tallies.items()}
        values: dict[str, float] = {}
        for name, metric in zip(self.names, self.metrics, strict=True):
            if isinstance(metric, Metric):
                for ending, of_rows in sums[metric.statistic].items():
                    values[name + ending] = metric.value(of_rows, self._labels)
            else:
                values |= {name + ending: value for ending, value in self._foreign[name].values().items()}
        return values


def _name(metric: Any) -> str:
    return metric.name if isinstance(metric, Metric) else type(metric).__name__


class _Tally:
    """A statistic in all ways that a meter wants it."""

    def __init__(self, statistic: Statistic, window: int | None, fading: float | None) -> None:
        self._statistic = statistic
        self._all = AllRows(statistic)
        self._ways: dict[str, AllRows | LastRows] = {"": self._all}
        if window is not None:
            self._ways["_window"] = LastRows(statistic, window)
        if fading is not None:
            self._ways["_fading"] = FadingRows(statistic, fading)

    def add(self, predictions: Predictions) -> None:
        facts: Facts = self._statistic.facts(predictions)
        for way in self._ways.values():
            way.add(facts)

    def sums(self) -> dict[str, Any]:
        return {ending: way.sums() for ending, way in self._ways.items()}


class _Foreign:
    """A metric of river's; for its window, the rows as it takes them."""

    def __init__(self, metric: Any, window: int | None, fading: float | None) -> None:
        if fading is not None:
            same = getattr(own, type(metric).__name__, None)
            instead = (
                f"take {same.name!r}"
                if same is not None
                else f"the metrics that have it are {', '.join(own.NAMES)}"
            )
            raise ValueError(
                f"fading={fading}: river's {type(metric).__name__} has no fading form; {instead}"
            )
        self._metric = metric
        self._last: deque[tuple[Any, Any]] | None = None if window is None else deque(maxlen=window)
        self.rows = 0

    def add(self, predictions: Predictions) -> None:
        from . import _bulk

        truth, answers = _as_river(predictions, self._metric)
        self.rows += len(predictions.y)
        if self._last is not None:
            skip = max(0, len(predictions.y) - (self._last.maxlen or 0))
            self._last.extend(islice(zip(*map(_objects, (truth, answers)), strict=True), skip, None))
        _bulk.update(self._metric, truth, answers)

    def values(self) -> dict[str, float]:
        value = {"": float(self._metric.get()) if self.rows else float("nan")}
        if self._last is not None:
            fresh = self._metric.clone()
            for y, answer in self._last:
                fresh.update(y_true=y, y_pred=answer)
            value["_window"] = float(fresh.get()) if self._last else float("nan")
        return value


def _objects(column: Any) -> list[Any]:
    return column.tolist() if hasattr(column, "tolist") else list(column)


def _as_river(predictions: Predictions, metric: Any) -> tuple[Any, Any]:
    """Return targets and answers as `_bulk.update` takes them for a metric."""
    from . import _bulk

    y, labels, output = predictions.y_true, predictions.labels, predictions.output
    if labels is None:
        return np.asarray(y), output
    if output.ndim == 1:
        both = _bulk.Probabilities(output, (*labels, None)[:2])
        return _bulk.encode(y), both.decided() if metric.requires_labels else both
    if metric.requires_labels:
        return _bulk.encode(y), _bulk.Coded(predictions.guesses(), labels)
    # a label that is not known yet has no share, in river no entry
    rows = [dict(zip(labels, row, strict=False)) for row in output.tolist()]
    return y, [{label: share for label, share in row.items() if share > 0.0} for row in rows]
