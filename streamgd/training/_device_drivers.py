"""The ways to learn from rows on a CUDA device: mini-batches and whole epochs."""

from __future__ import annotations

from typing import Any

from .._device import DeviceGradient
from .._errors import InvalidRow
from .._learner import LinearLearner
from ..stream import Batch
from ._drivers import BatchSize, CompiledDriver, Floats, FullBatch, stacked

CHUNK = 1 << 20  # rows at once: several parts of them are on their way to the device at a time


def device_driver(model: Any, batch_size: BatchSize, dtype: Any) -> CompiledDriver:
    """Return the way to learn on a device, or raise ValueError for what is not learned there."""
    if dtype not in (None, "float32"):
        raise ValueError(f'dtype={dtype!r} with device="cuda": kernels for GPUs compute in "float32"')
    if not isinstance(model, LinearLearner):
        raise ValueError(
            f'device="cuda": {type(model).__name__} has no kernels for a GPU; fit a linear learner of '
            "streamgd (without a wrapper round it), or leave device out"
        )
    if batch_size == 1:
        raise ValueError(
            'device="cuda" with batch_size=1: one model that learns row by row is faster on a CPU; learn in '
            'mini-batches (batch_size=4096, say, or "all"), or many models at once: see streamgd.cuda.Fleet'
        )
    if batch_size == "all":
        return DeviceFullBatch(model, 1, "float32")
    return DeviceMiniBatches(model, batch_size)


class DeviceMiniBatches(CompiledDriver):
    """One update a mini-batch; many of them go to the device at once."""

    chunk = CHUNK

    def __init__(self, model: LinearLearner, size: int) -> None:
        super().__init__(model)
        self.multiple, self._gradient = size, DeviceGradient(model)

    def learn(self, rows: Batch) -> tuple[Any, Any]:
        outputs: list[Floats] = []
        self.done = lo = 0
        size, n = self.multiple, len(rows)
        while lo < n:
            together = self._gradient.takes_several(size, rows.X, len(rows.columns))
            X, y, w = rows.part(lo, min(n, lo + (self._gradient.most_rows(size) if together else size)))
            h = 1 if w is None else w
            before = self._model.n_updates
            try:
                if together:
                    z = self._gradient.learn_batches(X, y, h, rows.columns, size)
                else:
                    z = self._gradient.learn_one_batch(X, y, h, rows.columns)
                outputs.append(z)
            except BaseException as error:
                if together:
                    self.done = lo + self._gradient.taken
                elif self._model.n_updates > before:
                    self.done = min(lo + size, n)
                if isinstance(error, InvalidRow):
                    bad = type(error)(str(error).removeprefix(f"row {error.row}: ")).at(lo + (error.row or 0))
                    bad.outputs = stacked(outputs if error.outputs is None else [*outputs, error.outputs])
                    raise bad from error
                raise
            lo = self.done = lo + len(z)
        return rows.y, stacked(outputs)


class DeviceFullBatch(FullBatch):
    """One update an epoch, on the mean gradient of all its rows."""

    chunk = CHUNK

    def _begin(self) -> DeviceGradient:
        return DeviceGradient(self._model)
