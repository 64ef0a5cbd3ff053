"""Kernels of softmax regression, for `gate.py`."""

from __future__ import annotations

from collections.abc import Iterator

from gate import Case
from numba.cuda import types

from streamgd import optim
from streamgd.cuda import _gemm, _softmax
from streamgd.kernels.pieces import Pieces
from streamgd.optim import losses, penalties

single, integer, flag = types.float32, types.int64, types.boolean
vector, matrix, words = single[::1], single[:, ::1], integer[::1]

PLAIN = Pieces(losses.Log, optim.SGD, penalties.L2)
AHEAD = Pieces(losses.Log, optim.ScheduleFreeAdamW, penalties.L2)
LAZY = Pieces(losses.Log, optim.FTRLProximal, penalties.Proximal, averaged=True, intercept=True)


def sums_of(dtype: types.Type = single) -> types.Type:
    given = (vector, vector, single, dtype[::1], vector, vector, vector, flag)  # table ... skip
    return types.void(*given, integer, integer, vector, words)


def gate_cases() -> Iterator[Case]:
    """Of each way to read rows the most classes that one kernel takes, and some that are half of that."""
    for p, known, aligned in (
        (8, 16, True), (124, 16, True), (128, 8, True), (252, 8, True), (256, 4, True), (1, 2, False),
        (31, 16, False), (61, 16, False), (90, 13, False), (125, 10, False), (250, 5, False), (128, 5, False),
        (31, 8, False),
    ):  # fmt: skip
        yield rows_of(PLAIN, p, known, aligned)
    for p, known, aligned in (
        (12, 12, True), (124, 12, True), (252, 6, True), (124, 6, True), (31, 16, False), (61, 12, False),
        (125, 6, False), (250, 3, False), (31, 8, False),
    ):  # fmt: skip
        yield rows_of(AHEAD, p, known, aligned)
    for dtype in (types.float16, types.uint8):
        yield rows_of(PLAIN, 128, 10, aligned=False, dtype=dtype)

    state = types.void(vector, vector, matrix, vector, matrix, integer, vector)
    for name, pieces in (("plain", PLAIN), ("ahead", AHEAD), ("lazy", LAZY)):
        yield Case(f"a table of weights, {name}", _softmax.table(pieces, 256), state)
    for dtype in (single, types.float16, types.uint8):
        signature = types.void(dtype[::1], integer, integer, flag, vector, vector)
        yield Case(f"lengths of rows, {dtype}", _softmax.lengths(256), signature)
    signature = types.void(
        vector, integer, vector, single, vector, vector, vector, vector, vector, flag, integer, integer, words
    )
    for ahead in (False, True):
        kernel = _softmax.derivatives(ahead, 256)
        yield Case(f"derivatives of many classes{', ahead' if ahead else ''}", kernel, signature)
    signature = types.void(vector, vector, vector, *[integer] * 4)
    for transposed in (False, True):
        name = f"product{' of a transposed matrix' if transposed else ''}"
        yield Case(name, _gemm.product(16, transposed), signature)


def rows_of(pieces: Pieces, p: int, known: int, aligned: bool, dtype: types.Type = single) -> Case:
    how, ahead = _softmax.few(pieces, p, known, aligned), pieces is AHEAD
    assert how is not None
    name = f"{known} classes of {p} columns{' at once' * aligned}{', ahead' * ahead}, {dtype}"
    return Case(name, _softmax.sums(how, known, ahead), sums_of(dtype), registers=255)
