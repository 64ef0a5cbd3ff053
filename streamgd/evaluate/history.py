"""What a run came to: its curves, thinned to fit into flat memory, and its summary."""

from __future__ import annotations

import html
import math
import os
import textwrap
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

NAN = math.nan
SHARE = "share "  # what the names of columns with a label's share begin with
MAX_POINTS = 1000
TABLE_ROWS, TABLE_WIDTH = 9, 100  # of a printed history
COUNTS = ("samples", "updates", "epoch")
CURVES = (*COUNTS, "seconds", "learning_rate", "loss", "loss_recent")  # and metrics, and shares
REASONS = {
    "epochs": "all epochs are done",
    "rows": "max_rows is reached",
    "time": "max_seconds are over",
    "interrupted": "interrupted",
}


@dataclass(eq=False)
class History:
    """Curves and summary of a run of `streamgd.fit`, or of one model in progressive validation.

    Print it, ``plot()`` it, or turn it into a frame with ``to_frame()``. A run keeps a point every 256 rows.
    At 1,000 points neighbours are joined into one, and from then on points are twice as far apart, so an
    endless stream fits into the same memory.

    Attributes
    ----------
    columns : dict of lists
        The points by name, one number each, NaN where a point has none: ``"samples"`` and ``"updates"`` so
        far, ``"epoch"`` (epochs finished), ``"seconds"``, ``"learning_rate"``, ``"loss"`` (mean
        progressive loss so far, before sample weights), ``"loss_recent"`` (since the last point), metrics
        (``"rocauc"``, ``"rocauc_window"``, ``"rocauc_fading"``), and ``"share <label>"`` (share of the
        label in the rows since the last point).
    marks : list of (int, str)
        What happened at which row: drifts, changes of the rate, stops. The last 1,000.
    samples, updates : int
        Rows seen, and updates made of them.
    epochs : int
        Epochs finished.
    iterations_per_epoch : int or None
        Updates of an epoch, once one is finished: its rows divided by ``batch_size``, rounded up.
    batch_size : int or "all"
        Rows of an update.
    seconds : float
        How long it took, reading and metrics included.
    stopped : str or None
        Why it ended: ``"epochs"``, ``"rows"``, ``"time"``, ``"interrupted"``, or a callback's own words.
    n_invalid : int
        Rows that were skipped (``on_invalid="skip"``).
    epoch_losses : list of float
        Mean progressive loss of each finished epoch.
    position : dict or None
        Where the source goes on, for ``fit(..., start=history.position)``.
    classes : tuple or None
        The labels of a classifier.
    window : int or None
        Rows of the metrics' sliding windows.

    Examples
    --------
    >>> history = History()
    >>> history.due
    256
    >>> history.add({"samples": 256, "updates": 256, "loss": 0.5, "seconds": 0.1})
    >>> history.mark(200, "drift")
    >>> history.samples, history.rows_per_second, history.due
    (256, 2560.0, 512)
    """

    columns: dict[str, list[float]] = field(default_factory=lambda: {"samples": []})
    marks: list[tuple[int, str]] = field(default_factory=list)
    samples: int = 0
    updates: int = 0
    epochs: int = 0
    iterations_per_epoch: int | None = None
    batch_size: int | Literal["all"] = 1
    seconds: float = 0.0
    stopped: str | None = None
    n_invalid: int = 0
    epoch_losses: list[float] = field(default_factory=list)
    position: dict[str, Any] | None = None
    classes: tuple[Hashable, ...] | None = None
    window: int | None = None
    interval: int = 256  # rows between points

    # -- filling it ----------------------------------------------------------------------------

    @property
    def due(self) -> int:
        """Number of samples at which the next point is due."""
        samples = self.columns["samples"]
        return (int(samples[-1]) // self.interval + 1) * self.interval if samples else self.interval

    def add(self, point: Mapping[str, float]) -> None:
        """Add a point, by the names of columns.

        ``"samples"`` must be there. A point at the samples of the last one fills in what it has. ``samples``,
        ``updates`` and ``seconds`` of the history follow.

        Raises
        ------
        ValueError
            The point lies before the last one.
        """
        samples = int(point["samples"])
        values = {name: float(value) for name, value in point.items()}
        there = self.columns["samples"]
        if there and samples < there[-1]:
            raise ValueError(
                f"a point at {samples:,} samples comes after one at {there[-1]:,.0f}; "
                "points are added in the order of the rows"
            )
        if there and samples == there[-1]:
            self._complete(values)
        else:
            self._append(values)
        self.samples = samples
        self.updates = int(values.get("updates", self.updates))
        self.seconds = values.get("seconds", self.seconds)
        if len(there) == MAX_POINTS:
            self._thin()

    def _append(self, values: dict[str, float]) -> None:
        for name in values:
            self._make(name)
        has_shares = any(name.startswith(SHARE) for name in values)
        for name, column in self.columns.items():
            # a label that is not mentioned has no rows
            column.append(values.get(name, 0.0 if has_shares and name.startswith(SHARE) else NAN))

    def _complete(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._make(name)
            if value == value:
                self.columns[name][-1] = value

    def _make(self, name: str) -> None:
        """Make a column for a name that is new: a new label's share was 0 wherever there were labels."""
        if name not in self.columns:
            others = [column for other, column in self.columns.items() if other.startswith(SHARE)]
            if name.startswith(SHARE) and others:
                self.columns[name] = [0.0 * share for share in others[0]]
            else:
                self.columns[name] = [NAN] * len(self.columns["samples"])

    def _thin(self) -> None:
        """Join points two by two: what is of the rows since the last point is averaged by rows."""
        ends = self.columns["samples"]
        rows = [end - begin for begin, end in zip([0.0, *ends], ends, strict=False)]
        for name, column in self.columns.items():
            pairs = zip(column[::2], column[1::2], rows[::2], rows[1::2], strict=True)
            if name == "loss_recent" or name.startswith(SHARE):
                column[:] = [_mean(*pair) for pair in pairs]
            else:
                column[:] = [first if later != later else later for first, later, _, _ in pairs]
        self.interval *= 2

    def mark(self, samples: int, what: str) -> None:
        """Note that something happened when so many samples had been seen.

        ``what`` is a word or a few. Marks of the same words, up to a colon, look alike in a plot.
        """
        self.marks.append((int(samples), str(what)))
        del self.marks[:-MAX_POINTS]

    # -- reading it ----------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.columns["samples"])

    @property
    def rows_per_second(self) -> float:
        """Rows seen a second, NaN before the first."""
        return self.samples / self.seconds if self.seconds > 0.0 else NAN

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics."""
        names = [name for name in self.columns if name not in CURVES and not name.startswith(SHARE)]
        return tuple(dict.fromkeys(_metric_of(name) for name in names))

    @property
    def shares(self) -> dict[str, list[float]]:
        """Share of each label in the rows since the last point, by the label as text."""
        return {
            name.removeprefix(SHARE): column
            for name, column in self.columns.items()
            if name.startswith(SHARE)
        }

    def last(self, name: str) -> float:
        """Return the last number of a column, NaN where there is none."""
        return next((value for value in reversed(self.columns.get(name, [])) if value == value), NAN)

    def plot(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        metrics: Sequence[str] | None = None,
        title: str | None = None,
        figure: Any = None,
    ) -> Any:
        """Plot the curves: progressive loss, metrics, learning rate and class balance, with marks as lines.

        Parameters
        ----------
        path
            File to write: ``.png``, ``.svg``, ``.pdf``, or what else matplotlib writes. The same history
            makes the same file.
        metrics
            Names of the metrics to plot. Default: the first ones, up to five panels in all.
        title
            A line above all panels.
        figure
            A figure or subfigure of matplotlib's to draw into. Default: a new one, of no backend.

        Returns
        -------
        The figure. Notebooks show it.

        Raises
        ------
        ImportError
            Without matplotlib.
        ValueError
            There is no such metric, or there are no points.
        """
        from ._plot import draw, write

        figure = draw(self, metrics, title, figure)
        if path is not None:
            write(figure, path)
        return figure

    def to_frame(self) -> Any:
        """Return the points as a pandas frame, a row each.

        Raises
        ------
        ImportError
            Without pandas.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "History.to_frame needs pandas: pip install pandas. History.columns has the same as lists"
            ) from error
        frame = pd.DataFrame(self.columns)
        whole = [name for name in COUNTS if name in frame and frame[name].notna().all()]
        return frame.astype(dict.fromkeys(whole, "int64"))

    def to_dict(self) -> dict[str, Any]:
        """Return it as what JSON can hold; NaN is None there, and infinities are their names."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        plain["columns"] = {name: [*map(_to_json, column)] for name, column in self.columns.items()}
        plain["epoch_losses"] = [*map(_to_json, self.epoch_losses)]
        plain["marks"] = [list(mark) for mark in self.marks]
        plain["classes"] = None if self.classes is None else [*map(_label_to_json, self.classes)]
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> History:
        """Return the history that ``to_dict`` made a dict of."""
        new = dict(plain)
        new["columns"] = {name: [*map(_from_json, column)] for name, column in plain["columns"].items()}
        new["epoch_losses"] = [*map(_from_json, plain["epoch_losses"])]
        new["marks"] = [(samples, what) for samples, what in plain["marks"]]
        new["classes"] = None if plain["classes"] is None else tuple(plain["classes"])
        return cls(**new)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, History):
            return NotImplemented
        return self.to_dict() == other.to_dict()  # where NaN equals NaN

    # -- showing it ----------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"<History: {len(self)} points, {self.samples:,} rows, {self.updates:,} updates>"

    def __str__(self) -> str:
        if not len(self):
            return "History: no rows yet"
        head, *rows = lines = list(self.table())
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        while sum(widths) + 2 * len(widths) > TABLE_WIDTH:
            widths.pop()
        table = ["  ".join(map(str.rjust, cells, widths)) for cells in (head, *rows)]
        return "\n".join([*table, "", *self._printed_summary()])

    def _printed_summary(self) -> Iterator[str]:
        for name, text in self.summary().items():
            most = 2 if name == "metrics" else 1
            wrapped = textwrap.wrap(text, TABLE_WIDTH - 12, max_lines=most, placeholder=" ...")
            yield from (f"{label:<12}{line}" for label, line in zip([name, ""], wrapped, strict=False))

    def _repr_html_(self) -> str:
        if not len(self):
            return "<p>History: no rows yet</p>"
        head, *rows = self.table()
        lines = [_html_row("th", head), *(_html_row("td", cells) for cells in rows)]
        summary = [
            f"<tr><th>{html.escape(name)}</th><td style='text-align: left'>{html.escape(text)}</td></tr>"
            for name, text in self.summary().items()
        ]
        return f"<table>{''.join(lines)}</table><table>{''.join(summary)}</table>"

    def table(self) -> Iterator[list[str]]:
        """Yield, as text, a head and some nine points: the last one, and those at 1/2, 1/4, ... of it."""
        shown = {"samples": "rows"}
        if any(epoch > 1.0 for epoch in self.columns.get("epoch", [])):
            shown["epoch"] = "epochs"
        shown |= {"learning_rate": "learning rate", "loss": "loss", "loss_recent": "recent"}
        for metric in self.metrics:
            shown |= {metric: metric, f"{metric}_window": "in window"}
        names = [name for name in shown if any(v == v for v in self.columns.get(name, []))]
        yield [printable(shown[name]) for name in names]
        for i in self._spread():
            yield [_cell(name, self.columns[name][i]) for name in names]

    def _spread(self) -> list[int]:
        ends, chosen = self.columns["samples"], {len(self) - 1}
        for k in range(1, TABLE_ROWS):
            goal = ends[-1] / 2.0**k
            chosen.add(min(range(len(ends)), key=lambda i: abs(ends[i] - goal)))
        return sorted(chosen)

    def summary(self) -> dict[str, str]:
        """Return what the run came to, in words by name."""
        skipped = f", {self.n_invalid:,} invalid ones skipped" if self.n_invalid else ""
        texts = {"rows": f"{self.samples:,}{skipped}"}
        texts["updates"] = f"{self.updates:,}, batch size {self.batch_size}"
        if self.epochs:
            each = self.iterations_per_epoch
            iterations = "" if each is None else f" x {each:,} iteration{'' if each == 1 else 's'}"
            texts["epochs"] = f"{self.epochs:,}{iterations}"
        if self.seconds > 0.0:
            texts["seconds"] = f"{self.seconds:,.3g} ({self.rows_per_second:,.0f} rows/s)"
        if self.stopped is not None:
            texts["stopped"] = printable(REASONS.get(self.stopped, self.stopped))
        if not math.isnan(loss := self.last("loss")):
            several = len(self.epoch_losses) > 1
            texts["loss"] = number(loss) + (
                f" over all rows, {number(self.epoch_losses[-1])} in the last epoch" if several else ""
            )
        metrics = []
        for metric in self.metrics:
            recent = self.last(f"{metric}_window")
            inside = f" ({self.window_words} {number(recent)})" if recent == recent else ""
            metrics.append(f"{printable(metric)} {number(self.last(metric))}{inside}")
        if metrics:
            texts["metrics"] = ", ".join(metrics)
        if self.marks:
            samples, what = self.marks[-1]
            texts["marks"] = f"{len(self.marks):,}, the last one at row {samples:,}: {printable(what)}"
        return texts

    @property
    def window_words(self) -> str:
        """What the metrics' sliding window is, in words."""
        return "window" if self.window is None else f"last {self.window:,} rows"


def number(value: float) -> str:
    """Write a number for a person, in some five digits; "-" for NaN."""
    if math.isnan(value):
        return "-"
    size = abs(value)
    if size == 0.0 or 1e-3 <= size < 10.0:
        return f"{value:.4f}"
    return f"{value:,.5g}" if 10.0 <= size < 1e4 else f"{value:,.0f}" if 1e4 <= size < 1e9 else f"{value:.4g}"


def _cell(name: str, value: float) -> str:
    if value == value and name in COUNTS:
        return f"{value:,.0f}"
    return f"{value:.4g}" if value == value and name == "learning_rate" else number(value)


def printable(value: object) -> str:
    """Return a name as text without line breaks, control characters and halves of surrogate pairs."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(value))


def _metric_of(name: str) -> str:
    return name.removesuffix("_window").removesuffix("_fading")


def _mean(a: float, b: float, rows_a: float, rows_b: float) -> float:
    """Mean of two numbers, weighted by rows; of one, where the other is NaN."""
    if a != a or b != b:
        return b if a != a else a
    return (a * rows_a + b * rows_b) / (rows_a + rows_b)


def _html_row(tag: str, cells: list[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"


def _to_json(value: float) -> float | str | None:
    if math.isfinite(value):
        return value
    return None if math.isnan(value) else str(value)


def _from_json(value: float | str | None) -> float:
    return NAN if value is None else float(value)


def _label_to_json(label: Any) -> Any:
    label = label.item() if hasattr(label, "item") else label
    return label if isinstance(label, bool | int | float | str) else str(label)
