"""Writes a run as one page that needs nothing else: curves, metrics, weights and parameters."""

from __future__ import annotations

import heapq
import html
import math
import numbers
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .._model import CompiledModel
from ..kernels import lanes
from ..optim.automatic import Auto, Bank
from ..optim.importance_aware import Normalized
from ..optim.parameter_free import Coin, ScInOL1, ScInOL2
from ._plot import BLUE, SKY, svg
from .history import History, number, printable

MOST_WEIGHTS = 30
MOST_CLASSES = 24
MOST_MARKS = 20
INK = "#24292f"  # in the plot; the page gives it the colour of its text

# The optimizers that keep the largest absolute value of a feature, and in which row of their slots.
SCALES = {Auto: lanes.SCALE, Bank: lanes.SCALE, Normalized: 1, Coin: 2, ScInOL1: 2, ScInOL2: 2}

BY_SCALE = (
    "Importance is |weight| x the largest absolute value of the feature that was learned from: how far the "
    "feature alone can move the raw output."
)
CENTRED = " Values of features that are in every row are taken from their mean."
BY_WEIGHT = (
    "Importance is |weight|. This model does not keep the scale of features, so those in different units "
    "do not compare."
)

STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #24292f; --soft: #59636e; --line: #d1d9e0;
  --card: #f6f8fa; --so-far: #0072b2; --recent: #56b4e9; --minus: #d55e00; }
@media (prefers-color-scheme: dark) { :root { --paper: #0d1117; --ink: #e6edf3; --soft: #9198a1;
  --line: #3d444d; --card: #161b22; --so-far: #8fd0ff; --recent: #3a80b2; --minus: #f0883e; } }
body { margin: 0 auto; padding: 1.5rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }
h1 { margin: 0; font-size: 1.6rem; overflow-wrap: anywhere; }
h2 { margin: 2rem 0 .5rem; font-size: 1.15rem; border-bottom: 1px solid var(--line); }
h3 { margin: 1rem 0 .3rem; font-size: 1rem; overflow-wrap: anywhere; }
p { margin: .3rem 0; color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: .75rem;
  margin: 1.25rem 0; }
.card { padding: .6rem .9rem; border: 1px solid var(--line); border-radius: .5rem; background: var(--card); }
.card b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.card span { display: block; color: var(--soft); font-size: .85rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .8rem .2rem 0; text-align: right; vertical-align: top; }
tr { border-bottom: 1px solid var(--line); }
th { font-weight: 600; }
td:first-child, th:first-child, .words td, .words th { text-align: left; overflow-wrap: anywhere; }
.words th { white-space: nowrap; font-weight: 600; }
.weights { width: 100%; table-layout: fixed; }
.weights col.name { width: 34%; }
.weights col.figure { width: 8rem; }
.bar { height: .9em; margin-top: .3em; border-radius: 2px; background: var(--so-far); }
.bar.minus { background: var(--minus); }
.classes { display: grid; grid-template-columns: repeat(auto-fill, minmax(26rem, 1fr)); gap: 0 2rem; }
svg { width: 100%; height: auto; color: var(--ink); }
svg text { font-family: inherit !important; }
@media print { body { max-width: none; padding: 0; font-size: 11px; } h2 { break-after: avoid; }
  .card, tr, svg { break-inside: avoid; } .bar { print-color-adjust: exact; } }
"""


def write_report(
    path: str | os.PathLike[str],
    history: History,
    model: Any,
    *,
    title: str | None = None,
    about: Mapping[str, object] | None = None,
) -> None:
    """Write one HTML page about a run; it loads nothing, from nowhere.

    It has the curves, metrics, the model's parameters and, of linear models, the most important weights.
    The same history and model make the same page.

    Parameters
    ----------
    path
        The file.
    history
        What `streamgd.fit` returned.
    model
        The model that learned: any of streamgd's or river's. Of a pipeline, the weights of its last step.
    title
        Default: the name of the model's class.
    about
        What else to say: names to texts, for instance the file and the command.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    title = type(model).__name__ if title is None else title
    sections = {
        "Curves": _curves(history),
        "Metrics": _metrics(history),
        "Along the way": _along(history),
        "Weights": _weights(model),
        "Model": _parameters(model),
        "About": _words(about or {}),
    }
    body = "\n".join(f"<h2>{name}</h2>\n{text}" for name, text in sections.items() if text)
    page = (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{_text(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{_text(title)}</h1>\n{_cards(history, model)}\n"
        f"{body}\n</body>\n</html>\n"
    )
    Path(path).write_text(page, encoding="utf-8", newline="\n")


def _text(value: object) -> str:
    return html.escape(printable(value))


# -- the run -----------------------------------------------------------------------------------


def _cards(history: History, model: Any) -> str:
    cards = [("rows", f"{history.samples:,}", "")]
    if history.seconds > 0.0:
        cards.append(("rows/s", f"{history.rows_per_second:,.0f}", f"{history.seconds:,.3g} s in all"))
    if not math.isnan(loss := history.last("loss")):
        cards.append(("progressive loss", number(loss), ""))
    for name in history.metrics:
        window = history.last(f"{name}_window")
        beside = "" if math.isnan(window) else f"{history.window_words}: {number(window)}"
        cards.append((name, number(history.last(name)), beside))
    each = (
        f'<div class="card"><span>{_text(name)}</span><b>{_text(value)}</b><span>{_text(beside)}</span></div>'
        for name, value, beside in cards
    )
    summary = {k: v for k, v in history.summary().items() if k not in ("rows", "seconds", "loss", "metrics")}
    return (
        f'<p>{_text(type(model).__name__)}</p>\n<div class="cards">{"".join(each)}</div>\n{_words(summary)}'
    )


def _curves(history: History) -> str:
    if not len(history):
        return "<p>No rows were learned.</p>"
    drawn = svg(history, INK)
    for colour, of_page in {INK: "currentColor", BLUE: "var(--so-far)", SKY: "var(--recent)"}.items():
        drawn = drawn.replace(f": {colour}", f": {of_page}")
    head, _, rest = drawn.partition(">")
    head = re.sub(' (width|height)="[^"]*"', "", head)  # the page says how large it is
    return f'{head} role="img" aria-label="Curves of the run over its rows">{rest}'


def _metrics(history: History) -> str:
    columns = {"": "all rows so far", "_window": history.window_words, "_fading": "fading"}
    found = {
        (name, end): history.last(name + end)
        for name in history.metrics
        for end in columns
        if name + end in history.columns
    }
    shown = [end for end in columns if any(key[1] == end for key in found)]
    head = ["metric", *(columns[end] for end in shown)]
    rows = [[name, *(number(found.get((name, e), math.nan)) for e in shown)] for name in history.metrics]
    return _table(head, rows) if rows else ""


def _along(history: History) -> str:
    if not len(history):
        return ""
    head, *rows = history.table()
    marks = [[f"{samples:,}", what] for samples, what in history.marks[-MOST_MARKS:]]
    text = _table(head, rows)
    return text + (f"\n<h3>Marks</h3>\n{_table(['row', 'what'], marks)}" if marks else "")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(tag: str, cells: Sequence[str]) -> str:
        return f"<tr>{''.join(f'<{tag}>{_text(cell)}</{tag}>' for cell in cells)}</tr>"

    lines = [line("th", head), *(line("td", cells) for cells in rows)]
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def _words(items: Mapping[str, object]) -> str:
    rows = (f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in items.items())
    return f'<table class="words">{"".join(rows)}</table>' if items else ""


# -- the model ---------------------------------------------------------------------------------


class _Weight(NamedTuple):
    name: object
    weight: float
    importance: float


def _weights(model: Any) -> str:
    """Tables of the most important weights, one a class; nothing of a model without any."""
    linear = _last_step(model)
    groups = dict(_groups(linear))
    if not any(groups.values()):
        return ""
    scaled = _scales(linear) is not None
    centred = scaled and linear.optimizer.rule.kernel == "lanes"
    note = (BY_SCALE + (CENTRED if centred else "")) if scaled else BY_WEIGHT
    most = max(5, MOST_WEIGHTS // len(groups))
    shown = dict(list(groups.items())[:MOST_CLASSES])
    tables = [
        (f"<h3>{_text(label)}</h3>\n" if label is not _ONE else "") + _bars(weights, most)
        for label, weights in shown.items()
    ]
    if len(tables) == 1:
        text = tables[0]
    else:
        text = f'<div class="classes">{"".join(f"<div>{table}</div>" for table in tables)}</div>'
    left_out = len(groups) - len(shown)
    return f"<p>{note}</p>\n{text}" + (f"<p>And {left_out:,} more classes.</p>" if left_out else "")


def _bars(weights: Sequence[_Weight], most: int) -> str:
    best = heapq.nlargest(most, weights, key=lambda weight: weight.importance)
    largest = best[0].importance if best else 0.0
    rows = []
    for name, weight, importance in best:
        width = 100.0 * importance / largest if 0.0 < largest < math.inf else 0.0
        bar = f'<div class="bar{" minus" if weight < 0.0 else ""}" style="width: {width:.1f}%"></div>'
        cells = f"<td>{_text(name)}</td><td>{weight:.4g}</td><td>{importance:.4g}</td><td>{bar}</td>"
        rows.append(f"<tr>{cells}</tr>")
    head = "<tr><th>feature</th><th>weight</th><th>importance</th><th></th></tr>"
    columns = '<colgroup><col class="name"><col class="figure"><col class="figure"><col></colgroup>'
    count = f"<p>{len(best)} of {len(weights):,} features.</p>" if len(best) < len(weights) else ""
    return f'<table class="weights">{columns}{head}{"".join(rows)}</table>{count}'


_ONE = object()  # stands for the label of a model that has one output


def _groups(model: Any) -> Iterator[tuple[object, list[_Weight]]]:
    """Yield the weights by label, with their importance."""
    weights = getattr(model, "weights", None)
    if not isinstance(weights, Mapping):
        return
    scales = _scales(model)
    nested = bool(weights) and all(isinstance(of_label, Mapping) for of_label in weights.values())
    by_label: Mapping[Any, Any] = weights if nested else {_ONE: weights}
    for k, (label, of_label) in enumerate(by_label.items()):
        if all(isinstance(weight, numbers.Real) for weight in of_label.values()):
            of_lane = None if scales is None else scales[:, k]
            yield (
                label,
                [
                    _Weight(
                        name, float(weight), abs(float(weight)) * (1.0 if of_lane is None else of_lane[j])
                    )
                    for j, (name, weight) in enumerate(of_label.items())
                ],
            )


def _scales(model: Any) -> Any:
    """Largest absolute values ``(n_features, n_labels)`` where the optimizer keeps them, else None."""
    if not isinstance(model, CompiledModel):
        return None
    row = SCALES.get(type(model.optimizer.rule))
    n = len(model._features)
    return None if row is None else model._slots[row, :n].reshape(n, -1)


def _parameters(model: Any) -> str:
    steps = getattr(model, "steps", None)
    if isinstance(steps, Mapping):  # a pipeline
        return _words({name: _shown(step) for name, step in steps.items()})
    parameters = model._get_params() if hasattr(model, "_get_params") else {}
    return _words({name: _shown(getattr(model, name, value)) for name, value in parameters.items()})


def _last_step(model: Any) -> Any:
    steps = getattr(model, "steps", None)
    return list(steps.values())[-1] if isinstance(steps, Mapping) and steps else model


def _shown(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 500 else f"{text[:500]} ..."
