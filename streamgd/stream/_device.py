"""Rows that lie on a CUDA device: arrays of PyTorch, CuPy, Numba."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

from .._rows import is_device_array
from ._arrays import vector_of, weights_of
from ._batch import Batch, Position, Source


class DeviceArrays(Source):
    """Rows that lie on a CUDA device, for ``fit(..., device="cuda")``; batches are views of them there.

    Targets and weights come to the host once, 4 to 8 bytes a row: labels and metrics need them there.

    Parameters
    ----------
    X
        Matrix ``(n, p)`` of float32, float16 or uint8, C-contiguous, on the current device: of PyTorch,
        CuPy, Numba, or with ``__cuda_array_interface__`` or DLPack. It is not copied; shuffled rows are, 32
        MiB of them at a time.
    y
        Targets ``(n,)``, on the device or the host; None for features only.
    w
        Weights ``(n,)``, likewise, finite and at least 0, or one for all; None: all are 1.
    columns
        Names of the columns; by default 0 to p - 1.
    batch_rows
        Rows a batch; None: all.

    Attributes
    ----------
    n_rows
        Rows in all.
    rows_at_once
        Rows that are gathered at a time where they are shuffled.

    Raises
    ------
    TypeError, ValueError
        ``X`` is no such matrix, lengths do not match, or a weight is not one.
    CudaUnavailable
        Package, driver or device are missing.
    """

    in_memory = True

    def __init__(
        self,
        X: Any,
        y: Any = None,
        w: Any = None,
        *,
        columns: Sequence[Hashable] | None = None,
        batch_rows: int | None = None,
    ) -> None:
        if batch_rows is not None and batch_rows < 1:
            raise ValueError(f"batch_rows={batch_rows}: a batch has at least 1")
        from ..cuda._arrays import device_rows
        from ..cuda._upload import rows_of_chunk

        self._X = device_rows(X)
        p = int(self._X.shape[1])
        self.n_rows = int(self._X.shape[0])
        if columns is not None and len(columns) != p:
            raise ValueError(f"columns has {len(columns)} names, X has {p} columns")
        self.columns: Sequence[Hashable] = range(p) if columns is None else tuple(columns)
        self.batch_rows = batch_rows or max(1, self.n_rows)
        self.rows_at_once = rows_of_chunk(p, self._X.dtype.itemsize)
        self._y = None if y is None else vector_of(_on_host(y, "y"), self.n_rows, "y")
        self._w = None if w is None else weights_of(_on_host(w, "w"), self.n_rows)

    def expected_rows(self, position: Position) -> int:
        """Rows in all."""
        return self.n_rows

    def batches(self, start: Position | None = None) -> Iterator[Batch]:
        """Yield batches from ``start``, the position of an earlier batch (default: the beginning)."""
        for lo in range(0 if start is None else start["row"], self.n_rows, self.batch_rows):
            hi = min(lo + self.batch_rows, self.n_rows)
            y = None if self._y is None else self._y[lo:hi]
            w = None if self._w is None else self._w[lo:hi]
            yield Batch(self._X[lo:hi], y, self.columns, lo, {"row": hi}, w)


def _on_host(v: Any, name: str) -> Any:
    if not is_device_array(v):
        return v
    from ..cuda._arrays import to_host

    return to_host(v, name)
