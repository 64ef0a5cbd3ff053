"""Progressive validation: test on each row, then train on it."""

from __future__ import annotations

from . import metrics
from ._evaluation import Evaluation
from .progressive import iter_progressive_val_score, progressive_val_score
from .progressive_val import progressive_val

__all__ = ["Evaluation", "iter_progressive_val_score", "metrics", "progressive_val", "progressive_val_score"]
