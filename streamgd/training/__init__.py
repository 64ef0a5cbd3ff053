"""Training: one call for any source, what may happen on the way, and what it leaves behind."""

from __future__ import annotations

from ..evaluate.history import History
from ..evaluate.report import write_report
from ._fit import Run, fit
from .callbacks import Callback, Checkpoint, DetectDrift, EarlyStopping, Every, EveryEpoch, SetRate

__all__ = [
    "Callback",
    "Checkpoint",
    "DetectDrift",
    "EarlyStopping",
    "Every",
    "EveryEpoch",
    "History",
    "Run",
    "SetRate",
    "fit",
    "write_report",
]
