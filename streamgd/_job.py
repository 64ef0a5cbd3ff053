"""Jobs: a copy of a model's control block that also says which rows of which arrays to go through."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _features as f
from ._rows import Rows

Floats = NDArray[np.float64]
Words = NDArray[np.int64]


class Job:
    """Words for a kernel, and the arrays they point to, kept alive.

    Parameters
    ----------
    control
        The model's control block.
    """

    def __init__(self, control: Words) -> None:
        self.words = control.copy()
        self.words[f.BUSY] = 0
        self._arrays: list[NDArray[Any]] = []
        if self.words[f.LANES]:  # the model's own scratch belongs to predict_one, which may run meanwhile
            self.point(f.LANE_SCRATCH, np.empty(f.N_LANE_SCRATCH * int(self.words[f.LANES])))

    def point(self, word: int, array: NDArray[Any]) -> None:
        """Point a word to an array."""
        self._arrays.append(array)
        self.words[word] = array.ctypes.data

    def use_state(self, weights: Floats, slots: Floats, charged: Floats) -> None:
        """Learn into these arrays in place of the model's."""
        self.point(f.WEIGHTS, weights)
        self.point(f.SLOTS, slots)
        self.point(f.CHARGED, charged)
        self.words[f.CAPACITY] = len(weights)

    def go_through(self, rows: Rows, targets: Floats, sample_weights: Floats, outputs: Floats) -> None:
        """Set the rows to learn from."""
        w = self.words
        self.point(f.VALUES, rows.values)
        if rows.values.ndim == 1:
            w[f.KIND] = f.SPARSE
            self.point(f.COLUMNS, rows.index)
            self.point(f.STARTS, rows.starts)
        else:
            w[f.KIND] = f.DENSE32 if rows.values.dtype == np.float32 else f.DENSE64
            w[f.COLUMNS] = rows.n_columns
            if w[f.KIND] == f.DENSE32:
                self.point(f.X, np.empty(int(w[f.CAPACITY])))  # as above
        self.point(f.TARGETS, targets)
        self.point(f.SAMPLE_WEIGHTS, sample_weights)
        self.point(f.OUTPUTS, outputs)
        w[f.WEIGHT_STEP] = 1 if len(sample_weights) > 1 else 0
        w[f.OUTPUT_STEP] = outputs.shape[1] if outputs.ndim == 2 and len(outputs) else 0

    def predict(self, values: Floats, slots: Words) -> None:
        """Set the one row to predict."""
        self.point(f.X, values)
        self.point(f.SLOT, slots)
        self.words[f.LAST] = len(values) + 1
