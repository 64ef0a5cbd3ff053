"""Kernels of neighbours and of rows made from them, for `gate.py`."""

from __future__ import annotations

from collections.abc import Iterator

from gate import Case
from numba.cuda import types

from streamgd.cuda import _neighbours, _smote

float32, int32, int64 = types.float32, types.int32, types.int64


def array(dtype, dimensions=1):
    return types.Array(dtype, dimensions, "C")


SEARCH = types.void(
    array(float32), int64, int64, float32, int64, array(int32), array(int32), int64, array(float32, 3),
    array(int32, 3),
)  # fmt: skip
MERGE = types.void(array(float32, 3), array(int32, 3), array(float32, 2), array(int32, 2))
MAKE = types.void(
    array(float32), int64, int64, array(int32), array(int32, 2), array(types.boolean, 2), array(int64),
    types.uint64, int64, int64, array(float32, 2), array(int64, 2),
)  # fmt: skip


def gate_cases() -> Iterator[Case]:
    launch = _neighbours.LAUNCH
    for k in _neighbours.LENGTHS:
        ceiling = 65536 // (launch.tile.threads * _neighbours.blocks_at_once(k))
        for chunk in _neighbours.CHUNKS if k == 10 else _neighbours.CHUNKS[:1]:  # registers are the same
            for mixed in (False, True):
                name = f"neighbours, {k} of columns by {chunk}{', some nominal' if mixed else ''}"
                search = _neighbours._search(k, chunk, mixed, launch.tile)
                yield Case(name, search, SEARCH, min(ceiling, 200))
        yield Case(f"neighbours, lists of {k} merged", _neighbours._merge(k, launch.threads), MERGE, 96)
    yield Case("rows made between neighbours", _smote._maker(_smote.THREADS), MAKE, 80)
