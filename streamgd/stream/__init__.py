"""Streams of rows: where batches come from."""

from __future__ import annotations

from .._rows import SparseRows
from ._batch import Batch, InputError, Kind, Position, Source
from ._csv import CSV
from ._open import open_file
from ._parquet import Parquet
from ._svmlight import SVMLight

__all__ = [
    "CSV",
    "Batch",
    "InputError",
    "Kind",
    "Parquet",
    "Position",
    "SVMLight",
    "Source",
    "SparseRows",
    "open_file",
]
