"""How far each piece is from what others wrote, largest first: the table of parity is made of this."""

from __future__ import annotations

# (piece, oracle) -> (the oracle's version, largest relative difference)
differences: dict[tuple[str, str], tuple[str, float]] = {}


def record(piece: str, oracle: str, version: str, difference: float) -> None:
    """Keep the largest relative difference of a piece from an oracle."""
    _, largest = differences.get((piece, oracle), (version, 0.0))
    differences[piece, oracle] = (version, max(largest, difference))
