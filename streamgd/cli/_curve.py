"""Learning curves, as a picture or as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Curve = Sequence[tuple[int, float, float]]  # rows, metric so far, metric of the last batch


def picture(curve: Curve, name: str, title: str, path: str) -> None:
    """Write a picture of a learning curve; raises ImportError without matplotlib."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    rows, so_far, last = zip(*curve, strict=True)
    figure: Any
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    axes.plot(rows, last, color="#9ecae1", lw=1.2, label=f"batches of {rows[0]:,} rows")
    axes.plot(rows, so_far, color="#08519c", lw=2.2, label="all rows so far")
    axes.set(xlabel="rows learned", ylabel=name, title=title, xlim=(0, rows[-1]))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def text(curve: Curve, name: str, width: int = 64, height: int = 12) -> str:
    """Draw the metric over all rows so far with characters."""
    rows = curve[-1][0]
    columns: list[float | None] = [None] * width
    for n, so_far, _ in curve:
        columns[min(width - 1, n * width // (rows + 1))] = so_far
    value = curve[0][1]
    filled = [value := v if v is not None else value for v in columns]
    low, high = min(filled), max(filled)
    span = high - low or 1.0
    level = [round((v - low) / span * (height - 1)) for v in filled]
    lines = [f"  {name} over all rows so far"]
    for h in range(height - 1, -1, -1):
        mark = low + span * h / (height - 1)
        label = f"{mark:9.4f}" if h in (0, height // 2, height - 1) else " " * 9
        lines.append(f"{label} |" + "".join("*" if v == h else " " for v in level).rstrip())
    lines.append(" " * 10 + "+" + "-" * width)
    lines.append(" " * 11 + "0" + f"{rows:,} rows".rjust(width - 1))
    return "\n".join(lines)
