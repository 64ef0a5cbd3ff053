"""Progressive validation: test on each row, then train on it."""

from __future__ import annotations

from .progressive import iter_progressive_val_score, progressive_val_score

__all__ = ["iter_progressive_val_score", "progressive_val_score"]
