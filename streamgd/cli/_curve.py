"""Learning curves as text, where there is no matplotlib."""

from __future__ import annotations

from collections.abc import Sequence

Curve = Sequence[tuple[int, float]]  # rows, metric so far


def text(curve: Curve, name: str, width: int = 64, height: int = 12) -> str:
    """Draw the metric over all rows so far with characters."""
    rows = curve[-1][0]
    columns: list[float | None] = [None] * width
    for n, so_far in curve:
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
