"""Draw what imbalance does: ``python docs/plot_imbalance.py`` writes the picture of docs/imbalance.md.

The left half is of benchmarks/results/imbalance.json, the right one is computed here. Needs matplotlib
(``pip install ".[plot]"``).
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from streamgd import imblearn, linear_model

HERE = Path(__file__).parent
RESULTS = HERE.parent / "benchmarks" / "results" / "imbalance.json"
PICTURE = HERE / "plots" / "imbalance.png"
OURS, OTHERS, LINE = "#1f5fa8", "#777777", "#c8c8c8"
LEARNER = "auto"


def reached(rows: list[dict[str, Any]], measure: str) -> dict[str, float]:
    """Return what each method reaches of the best one's mean on a stream, the mean over the streams."""
    means: dict[str, dict[str, float]] = {}
    for row in rows:
        if row.get("learner") == LEARNER and row.get("values"):
            means.setdefault(row["stream"], {})[row["method"]] = statistics.mean(row["values"][measure])
    shares: dict[str, list[float]] = {}
    for of_method in means.values():
        best = max(of_method.values())
        for method, value in of_method.items():
            shares.setdefault(method, []).append(value / best)
    return {method: statistics.mean(values) for method, values in shares.items()}


def draw_methods(axes: Any) -> None:
    """Draw where methods stand between ranking and balance."""
    rows = json.loads(RESULTS.read_text())["rows"]
    ranking, balance = reached(rows, "prauc"), reached(rows, "gmean")
    labels: list[tuple[float, float]] = []
    for method, y in sorted(balance.items(), key=lambda item: item[1]):
        x = ranking[method]
        at = y + 0.008
        for other, height in labels:  # above the labels that are in the way
            if abs(other - x) < 0.16 and at < height + 0.024:
                at = height + 0.024
        labels.append((x, at))
        colour = OTHERS if method == "nothing" or method.startswith("river") else OURS
        axes.plot(x, y, "o", color=colour, markersize=5)
        axes.annotate(method, (x + 0.008, at), fontsize=7, color=colour)
    axes.set(
        xlabel="PR AUC", ylabel="G-mean", xlim=(None, 1.12), title="share of the best, mean over streams"
    )


def curves() -> dict[str, tuple[Any, Any]]:
    """Return said and true shares of the rare class, in tenths of the rows by what was said."""
    rng = np.random.default_rng(4)
    n = 60_000
    y = rng.random(n) < 0.05
    X = rng.normal(size=(n, 6)) + 0.7 * y[:, None]
    plain = linear_model.LogisticRegression("auto", labels=(False, True))
    weighted = plain.clone({"class_weight": "balanced"})
    found = {
        "plain": plain.loss.mean_func(plain.predict_learn_rows(X, y)),
        "class weights": weighted.loss.mean_func(weighted.predict_learn_rows(X, y)),
        "class weights, calibrated": imblearn.OnlineCalibration(
            plain.clone({"class_weight": "balanced"})
        ).predict_proba_learn_rows(X, y)[:, 1],
    }
    shares = {}
    for name, p in found.items():
        p, labels = p[5000:], y[5000:]
        parts = np.array_split(np.argsort(p), 12)
        shares[name] = [p[part].mean() for part in parts], [labels[part].mean() for part in parts]
    return shares


def draw_calibration(axes: Any) -> None:
    """Draw what probabilities are worth."""
    axes.plot([0, 1], [0, 1], color=LINE, linewidth=1)
    styles = (("o-", OTHERS), ("s-", "#b5651d"), ("^-", OURS))
    for (name, (said, true)), (style, colour) in zip(curves().items(), styles, strict=True):
        axes.plot(said, true, style, color=colour, markersize=4, linewidth=1, label=name)
    axes.set(xlabel="predicted probability", ylabel="share of the rare class", title="5 % of the rare class")
    axes.legend(frameon=False, fontsize=8)


def main() -> None:
    """Write the picture."""
    mpl.use("Agg")
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    draw_methods(left)
    draw_calibration(right)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=110)
    with Image.open(PICTURE) as picture:  # few colours: a smaller file
        picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=64).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
