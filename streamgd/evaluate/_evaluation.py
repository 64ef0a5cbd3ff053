"""What progressive validation came to: curves, bands over seeds, predictions."""

from __future__ import annotations

import html
import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._predictions import Floats, Predictions

if TYPE_CHECKING:
    from .history import History
    from .progressive_val import Course

_ENDINGS = {"": "", "_window": "in window", "_fading": "fading"}
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe and Ito


class Band(NamedTuple):
    """A curve over seeds: at ``rows`` the ``mean``, and a band from ``low`` to ``high``, all ``(n,)``."""

    rows: Floats
    mean: Floats
    low: Floats
    high: Floats


class Kept:
    """Predictions of all rows, in the order of the stream.

    Attributes
    ----------
    y
        Targets ``(n,)``.
    output
        Of a regressor: numbers ``(n,)``. Of a classifier: probabilities ``(n,)`` of ``labels[1]``, or with
        more labels ``(n, k)``. NaN for rows without a prediction, such as skipped ones.
    labels
        The labels of a classifier, else None.
    """

    def __init__(self) -> None:
        self.labels: tuple[Any, ...] | None = None
        self._y: list[Any] = []
        self._outputs: list[Floats] = []

    def add(self, y: Any, known: NDArray[np.bool_], predictions: Predictions) -> None:
        """Keep rows, of which those that are ``known (n,)`` have predictions."""
        output = np.full((len(known), *predictions.output.shape[1:]), np.nan)
        output[known] = predictions.output
        self.labels = predictions.labels
        self._y.append(np.asarray(y))
        self._outputs.append(output)

    @property
    def y(self) -> NDArray[Any]:
        """Targets ``(n,)``."""
        return np.concatenate(self._y)

    @property
    def output(self) -> Floats:
        """Predictions ``(n,)`` or ``(n, k)``."""
        width = max(z.shape[1] if z.ndim == 2 else 1 for z in self._outputs)
        if width == 1:
            return np.concatenate(self._outputs)
        # of the rows before a third label there is but the probability of the second
        wide = [z if z.ndim == 2 else np.stack([1.0 - z, z], axis=1) for z in self._outputs]
        return np.concatenate([np.pad(z, [(0, 0), (0, width - z.shape[1])]) for z in wide])

    def __len__(self) -> int:
        return sum(map(len, self._y))


class Evaluation:
    """Results of `progressive_val`: print them, ``plot()`` them, or turn them into a frame.

    Attributes
    ----------
    results : dict of History
        Curves by model. With several seeds, means over them, at the rows that all have points at.
    runs : dict of tuple of History
        Curves by model, one for each seed.
    seeds : tuple of int, or None
        The seeds.
    metrics : tuple of str
        Names of the metrics.
    predictions : dict of Kept
        Predictions by model, if they were to be kept; of the last seed.
    models : dict
        The trained models; of the last seed.
    """

    def __init__(self, runs: Sequence[dict[str, Course]], seeds: tuple[int, ...] | None) -> None:
        last = runs[-1]
        self.seeds = seeds
        self.metrics = next(iter(last.values())).meter.names
        self.runs = {name: tuple(run[name].history for run in runs) for name in last}
        self.models = {name: course.model for name, course in last.items()}
        self.predictions = {name: course.kept for name, course in last.items() if course.kept is not None}
        self.results = {name: _mean(self, name) for name in last}

    def band(self, model: str, curve: str, quantiles: tuple[float, float] | None = None) -> Band:
        """Return a curve over the seeds, at the rows where all of them have a point.

        Parameters
        ----------
        model
            Name of the model.
        curve
            A metric, with ``_window`` or ``_fading`` for that form of it; or another column of the histories.
        quantiles
            Two quantiles for the band, such as (0.1, 0.9). None: the mean plus and minus its standard error.
        """
        rows, values = self._over_seeds(model, curve)
        mean = values.mean(axis=0)
        if quantiles is not None:
            low, high = np.quantile(values, quantiles, axis=0)
            return Band(rows, mean, low, high)
        error = values.std(axis=0, ddof=1) / math.sqrt(len(values)) if len(values) > 1 else 0.0 * mean
        return Band(rows, mean, mean - error, mean + error)

    def _over_seeds(self, model: str, curve: str) -> tuple[Floats, Floats]:
        """Return common rows ``(n,)``, and a curve at them ``(seeds, n)``."""
        if model not in self.runs:
            raise ValueError(f"there is no model {model!r}; there are {', '.join(self.runs)}")
        histories = self.runs[model]
        if curve not in histories[0].columns:
            raise ValueError(f"there is no curve {curve!r}; there are {', '.join(histories[0].columns)}")
        common = sorted(set.intersection(*(set(h.columns["samples"]) for h in histories)))
        values = [dict(zip(h.columns["samples"], h.columns[curve], strict=True)) for h in histories]
        return np.array(common), np.array([[run[rows] for rows in common] for run in values])

    def to_frame(self) -> Any:
        """Return all points as a pandas frame: a row for each point, with its model and seed.

        Raises
        ------
        ImportError
            Without pandas.
        """
        frames = []
        for name, histories in self.runs.items():
            for history, seed in zip(histories, self.seeds or (None,), strict=True):
                frame = history.to_frame()
                frame.insert(0, "model", name)
                if seed is not None:
                    frame.insert(1, "seed", seed)
                frames.append(frame)
        import pandas as pd

        return pd.concat(frames, ignore_index=True)

    def plot(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        metrics: Sequence[str] | None = None,
        quantiles: tuple[float, float] | None = None,
        figure: Any = None,
    ) -> Any:
        """Plot a panel for each metric, with a line for each model and, over seeds, a band.

        Lines are of the sliding windows where there are any, else fading, else of all rows so far.

        Parameters
        ----------
        path
            File to write: ``.png``, ``.svg``, ``.pdf``, or what else matplotlib writes.
        metrics
            What to plot: names of metrics, or of curves such as ``"rocauc_fading"``. Default: all metrics.
        quantiles
            As in `band`.
        figure
            A figure or subfigure of matplotlib's to draw into. Default: a new one, of no backend.

        Returns
        -------
        The figure.

        Raises
        ------
        ImportError
            Without matplotlib.
        ValueError
            There is no such metric.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError("Evaluation.plot needs matplotlib: pip install 'streamgd[plot]'") from error
        curves = [self._best_curve(name) for name in (metrics or self.metrics)]
        if figure is None:
            figure = Figure(figsize=(9.0, 0.8 + 2.2 * len(curves)), layout="constrained")
        panels = figure.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0]
        for axes, curve in zip(panels, curves, strict=True):
            for k, name in enumerate(self.runs):
                colour = _COLOURS[k % len(_COLOURS)]
                band = self.band(name, curve, quantiles)
                axes.plot(band.rows, band.mean, color=colour, linewidth=1.5, label=name)
                if self.seeds is not None and len(self.seeds) > 1:
                    axes.fill_between(band.rows, band.low, band.high, color=colour, alpha=0.2, linewidth=0.0)
            axes.set_ylabel(_in_words(curve))
            axes.grid(axis="y", alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
        panels[-1].set_xlabel("rows")
        panels[-1].xaxis.set_major_formatter("{x:,.0f}")
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=4, frameon=False
        )
        if path is not None:
            figure.savefig(path, dpi=150)
        return figure

    def _best_curve(self, name: str) -> str:
        columns = next(iter(self.results.values())).columns
        for ending in ("_window", "_fading", ""):
            if name + ending in columns:
                return name + ending
        raise ValueError(f"there is no metric {name!r}; there are {', '.join(self.metrics)}")

    def __repr__(self) -> str:
        seeds = "" if self.seeds is None else f", {len(self.seeds)} seeds"
        return f"<Evaluation of {', '.join(self.runs)}: {', '.join(self.metrics)}{seeds}>"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def __str__(self) -> str:
        columns = next(iter(self.results.values())).columns
        heads = {
            name + ending: words or name
            for name in self.metrics
            for ending, words in _ENDINGS.items()
            if name + ending in columns
        }
        lines = [["", "rows", *heads.values(), "rows/s"]]
        for name, history in self.results.items():
            speed = history.rows_per_second
            lines.append(
                [
                    name,
                    f"{history.samples:,}",
                    *(self._last_of(name, curve) for curve in heads),
                    f"{speed:,.0f}" if speed == speed else "-",
                ]
            )
        widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join([cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])]) for cells in lines
        )

    def _last_of(self, model: str, curve: str) -> str:
        band = self.band(model, curve)
        if not len(band.mean) or band.mean[-1] != band.mean[-1]:
            return "-"
        error = f" ± {band.high[-1] - band.mean[-1]:.4f}" if self.seeds and len(self.seeds) > 1 else ""
        return f"{band.mean[-1]:.4f}{error}"


def _in_words(curve: str) -> str:
    for ending, words in _ENDINGS.items():
        if ending and curve.endswith(ending):
            return f"{curve.removesuffix(ending)}\n{words}"
    return curve


def _mean(evaluation: Evaluation, name: str) -> History:
    """Return the curves of a model, or their means over the seeds."""
    from .history import History

    runs = evaluation.runs[name]
    if len(runs) == 1:
        return runs[0]
    first = runs[0]
    mean = History(interval=first.interval, window=first.window, classes=first.classes)
    curves = [curve for curve in first.columns if all(curve in run.columns for run in runs)]
    bands = {curve: evaluation.band(name, curve) for curve in curves}
    for i in range(len(bands["samples"].rows)):
        mean.add({curve: float(band.mean[i]) for curve, band in bands.items()})
    return mean
