"""Draws a history with matplotlib: one panel below the other over the rows seen."""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from .history import History, printable

# Okabe and Ito's colours, which colour-blind people tell apart.
BLUE, SKY, ORANGE, GREEN, RED, PURPLE, YELLOW = (
    "#0072b2", "#56b4e9", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#f0e442",
)  # fmt: skip
GREY = "#8c959f"
MARKS = ((RED, "--"), (PURPLE, "-."), (GREEN, ":"))
MORE = (GREY, ":")
MAX_PANELS, MAX_SHARES, MAX_EPOCH_LINES, NAME_LENGTH = 5, 8, 30, 24
FEW = 40  # points, which are drawn as dots, too


def draw(history: History, metrics: Sequence[str] | None, title: str | None, figure: Any) -> Any:
    """Draw a history into a figure, by default a new one; see `History.plot`."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise ImportError("History.plot needs matplotlib: pip install 'streamgd[plot]'") from error

    panels = _panels(history, metrics)
    if figure is None:
        # Not pyplot's: that would choose a backend, and keep the figure alive.
        figure = Figure(figsize=(9.0, 0.9 + sum(_height(panel) for panel in panels)), layout="constrained")
        figure._repr_png_ = partial(_png, figure)  # notebooks know pyplot's figures only
    grid = figure.subplots(
        len(panels), 1, sharex=True, squeeze=False, height_ratios=[_height(panel) for panel in panels]
    )
    turns = _turns(history)
    for axes, panel in zip(grid.flat, panels, strict=True):
        panel(history, axes)
        for x in turns:
            axes.axvline(x, color=GREY, linewidth=0.8, alpha=0.5, zorder=0.5)
    _lines_of_marks(history, grid[:, 0])
    for axes in grid.flat:
        axes.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
    bottom = grid[-1, 0]
    bottom.set_xlabel("rows (light lines: ends of epochs)" if turns else "rows")
    bottom.set_xlim(0, 1.01 * max(history.columns["samples"][-1], 1.0))
    bottom.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    bottom.xaxis.set_major_formatter("{x:,.0f}")
    figure.align_ylabels(grid[:, 0])
    if title is not None:
        figure.suptitle(printable(title), fontweight="bold", parse_math=False)
    return figure


def write(figure: Any, path: str | os.PathLike[str]) -> None:
    """Write a figure to a file, the same bytes for the same figure."""
    import matplotlib as mpl

    undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".ps": {"CreationDate": None}}
    ids: Any = {"svg.hashsalt": "streamgd"}
    with mpl.rc_context(ids):
        figure.savefig(path, dpi=150, metadata=undated.get(Path(path).suffix.lower()))


def svg(history: History, ink: str) -> str:
    """Return the plot as an SVG element for a page, in matplotlib's default style with text in ``ink``."""
    from matplotlib import style

    inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    look = {**dict.fromkeys(inked, ink), "svg.fonttype": "none", "svg.hashsalt": "streamgd"}
    buffer = io.StringIO()
    with style.context(["default", look]), warnings.catch_warnings():
        # the reader's fonts have what ours lacks
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        draw(history, None, None, None).savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


# -- panels ------------------------------------------------------------------------------------


def _panels(history: History, metrics: Sequence[str] | None) -> list[Any]:
    """Choose what there is to draw, each a function of history and axes."""
    if not len(history):
        raise ValueError("the history has no points to plot: no rows were learned yet")
    unknown = [name for name in metrics or () if name not in history.metrics]
    if unknown:
        raise ValueError(f"no metric {unknown[0]!r} in this history; it has {', '.join(history.metrics)}")
    columns = history.columns
    before = [_loss] if _any(columns.get("loss")) or _any(columns.get("loss_recent")) else []
    after = [_rate] if _any(columns.get("learning_rate")) else []
    after += [_balance] if any(map(_any, history.shares.values())) else []
    shown = history.metrics[: MAX_PANELS - len(before) - len(after)] if metrics is None else metrics
    panels = [*before, *(partial(_metric, name) for name in shown), *after]
    return panels or [_nothing]


def _height(panel: Any) -> float:
    return 1.4 if panel in (_rate, _balance) else 2.1


def _nothing(history: History, axes: Any) -> None:
    axes.set_yticks([])
    axes.set_ylabel("no curves")


def _loss(history: History, axes: Any) -> None:
    recent = _curve(axes, history, "loss_recent", color=SKY, linewidth=1.1)
    so_far = _curve(axes, history, "loss", color=BLUE, linewidth=2.0)
    axes.set_ylabel("progressive loss")
    _scale(axes, so_far, recent)
    _legend(axes, [(so_far, "all rows so far"), (recent, "since the last point")])


def _metric(name: str, history: History, axes: Any) -> None:
    window = _curve(axes, history, f"{name}_window", color=SKY, linewidth=1.1)
    fading = _curve(axes, history, f"{name}_fading", color=ORANGE, linewidth=1.3)
    so_far = _curve(axes, history, name, color=BLUE, linewidth=2.0)
    axes.set_ylabel(_short(name), parse_math=False)
    _scale(axes, so_far, window, fading)
    _legend(axes, [(so_far, "all rows so far"), (window, history.window_words), (fading, "fading")])


def _rate(history: History, axes: Any) -> None:
    _curve(axes, history, "learning_rate", color=GREEN, linewidth=1.6)
    rates = [rate for rate in history.columns["learning_rate"] if math.isfinite(rate) and rate > 0.0]
    axes.set_ylabel("learning rate")
    if rates and max(rates) > 10.0 * min(rates):
        axes.set_yscale("log")
    elif rates:
        axes.set_ylim(0.0, 1.15 * max(rates))


def _balance(history: History, axes: Any) -> None:
    """Draw one label's share where there are two, else areas of all."""
    import numpy as np
    from matplotlib.ticker import PercentFormatter

    columns = np.array(list(history.shares.values()))
    there = np.isfinite(columns).any(axis=0)
    shares = dict(zip(history.shares, np.nan_to_num(columns), strict=True))
    axes.set_ylabel("labels")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    x = np.array(history.columns["samples"])
    if len(shares) <= 2:
        positive = str(history.classes[-1]) if history.classes else list(shares)[-1]
        label = positive if positive in shares else list(shares)[-1]
        y = shares[label][there]
        (line,) = axes.plot(x[there], y, color=PURPLE, linewidth=1.3, **_dots(len(y)))
        axes.fill_between(x[there], 0.0, y, color=PURPLE, alpha=0.2, linewidth=0)
        axes.set_ylim(0.0, max(1.1 * float(y.max()), 1e-6))
        _legend(axes, [(line, f"label {_short(label)}")])
        return
    by_size = sorted(shares, key=lambda label: -float(shares[label][there].mean()))
    large = by_size if len(by_size) <= MAX_SHARES else by_size[: MAX_SHARES - 1]
    areas = {_short(label): shares[label][there] for label in large}
    if len(large) < len(by_size):
        rest = by_size[len(large) :]
        areas[f"{len(rest)} others"] = np.sum([shares[label][there] for label in rest], axis=0)
    colours = (BLUE, ORANGE, GREEN, PURPLE, SKY, YELLOW, RED, GREY)[: len(areas)]
    if len(x[there]) == 1:  # an area needs two ends
        x, areas = np.array([0.0, x[there][0]]), {label: np.repeat(y, 2) for label, y in areas.items()}
        there = np.array([True, True])
    drawn = axes.stackplot(x[there], *areas.values(), colors=colours, alpha=0.75, linewidth=0)
    axes.set_ylim(0.0, 1.0)
    _legend(axes, list(zip(drawn, areas, strict=True))[::-1])


def _curve(axes: Any, history: History, name: str, **look: Any) -> Any:
    """Draw the finite numbers of a column; None without any."""
    pairs = zip(history.columns["samples"], history.columns.get(name, ()), strict=False)
    points = [(x, y) for x, y in pairs if math.isfinite(y)]
    if not points:
        return None
    x, y = zip(*points, strict=True)
    (line,) = axes.plot(x, y, **look, **_dots(len(x)))
    return line


def _scale(axes: Any, *lines: Any) -> None:
    """Choose an axis for some curves: logarithmic where a start of another size would press one flat."""
    curves = [sorted(line.get_ydata()) for line in lines if line is not None]
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(5))
    if max((abs(y) for curve in curves for y in (curve[0], curve[-1])), default=0.0) >= 1e4:
        axes.yaxis.set_major_formatter("{x:,.0f}")
    medians = [curve[len(curve) // 2] for curve in curves]
    steep = any(curve[-1] > 30.0 * median for curve, median in zip(curves, medians, strict=True))
    if steep and all(curve[0] > 0.0 for curve in curves):
        axes.set_yscale("log")
        lowest = min(max(curve[0], 0.01 * m) for curve, m in zip(curves, medians, strict=True))
        axes.set_ylim(bottom=0.8 * lowest)


def _dots(n: int) -> dict[str, Any]:
    return {"marker": "o", "markersize": 3.5} if n <= FEW else {}


def _turns(history: History) -> list[float]:
    """Rows at which epochs ended, those of the last point left out; none where they are many."""
    ends = history.columns["samples"]
    epochs = [math.floor(e) if math.isfinite(e) else 0 for e in history.columns.get("epoch", ())]
    turns = [x for x, a, b in zip(ends[1:-1], epochs, epochs[1:], strict=False) if b > a]
    return turns if len(turns) <= MAX_EPOCH_LINES else []


def _lines_of_marks(history: History, column: Any) -> None:
    """Draw marks as vertical lines in all panels; the legend of the first one counts them."""
    places: dict[str, list[int]] = {}
    for x, what in history.marks:
        places.setdefault(what.partition(":")[0], []).append(x)
    kinds = sorted(places, key=lambda kind: -len(places[kind]))
    if len(kinds) > len(MARKS) + 1:
        places["other marks"] = sorted(x for kind in kinds[len(MARKS) :] for x in places.pop(kind))
        kinds = [*kinds[: len(MARKS)], "other marks"]
    handles = []
    for kind, (colour, dashes) in zip(kinds, (*MARKS, MORE), strict=False):
        look = {"color": colour, "linestyle": dashes, "linewidth": 1.0}
        look["alpha"] = 0.85 if len(places[kind]) <= 40 else 0.3
        for axes in column:
            lines = [axes.axvline(x, **look, zorder=1.5) for x in places[kind]]
        count = f" ({len(places[kind]):,})" if len(places[kind]) > 1 else ""
        handles.append((lines[0], _short(kind) + count))
    if handles:
        _legend(column[0], handles)


def _legend(axes: Any, handles: list[tuple[Any, str]]) -> None:
    """Put a legend beside a panel, or add to the one that it has."""
    before = axes.get_legend()
    there = [] if before is None else list(before.pairs)
    pairs = there + [(handle, text) for handle, text in handles if handle is not None]
    if not pairs:
        return
    legend = axes.legend(
        [handle for handle, _ in pairs],
        ["label"] * len(pairs),
        loc="upper left",
        bbox_to_anchor=(1.005, 1.03),
        borderaxespad=0.0,
        frameon=False,
        fontsize="small",
        handlelength=1.6,
    )
    for entry, (_, text) in zip(legend.get_texts(), pairs, strict=True):
        # set here, because a label that begins with "_" would be left out, and "$" begins a formula
        entry.set(text=text, parse_math=False)
    legend.pairs = pairs


def _short(name: object) -> str:
    text = printable(name)
    return text if len(text) <= NAME_LENGTH else text[: NAME_LENGTH - 3] + "..."


def _any(column: Sequence[float] | None) -> bool:
    return any(map(math.isfinite, column or ()))
