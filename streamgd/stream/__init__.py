"""Streams of rows: where batches come from."""

from __future__ import annotations

from .._rows import SparseRows
from ._ahead import read_ahead
from ._arrays import Arrays
from ._batch import Batch, InputError, Kind, Missing, Position, Source
from ._csv import CSV
from ._device import DeviceArrays
from ._frames import Frame, RecordBatches
from ._open import open_file, source
from ._parquet import IPC, Parquet
from ._rebatch import Rebatched
from ._samples import Samples, to_dicts
from ._shuffle import Shuffled
from ._svmlight import SVMLight
from ._table import Table
from ._vw import VW
from ._window import Follow, Pipe

__all__ = [
    "CSV",
    "IPC",
    "VW",
    "Arrays",
    "Batch",
    "DeviceArrays",
    "Follow",
    "Frame",
    "InputError",
    "Kind",
    "Missing",
    "Parquet",
    "Pipe",
    "Position",
    "Rebatched",
    "RecordBatches",
    "SVMLight",
    "Samples",
    "Shuffled",
    "Source",
    "SparseRows",
    "Table",
    "open_file",
    "read_ahead",
    "source",
    "to_dicts",
]
