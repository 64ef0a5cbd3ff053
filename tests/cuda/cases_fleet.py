"""Kernels of fleets, for `gate.py`: lanes that share members, optimizers of different size, both streams."""

from __future__ import annotations

from collections.abc import Iterator

from gate import Case
from numba.cuda import types

from streamgd import optim
from streamgd.cuda import _fleet
from streamgd.kernels.pieces import Pieces
from streamgd.optim import losses, penalties
from streamgd.optim.base import Loss, Optimizer, Penalty

float32, int32, int64 = types.float32, types.int32, types.int64


def array(dtype, dimensions=1):
    return types.Array(dtype, dimensions, "C")


STATE = (array(float32, 2), array(float32, 2), array(float32, 3), array(float32, 2), array(float32, 2))
CLOCK = (array(int64, 2), array(float32, 2), array(int64), array(int64))
OUTCOME = (array(int64), array(int64), array(int64), array(float32, 2), array(float32))
GROUPS = (int64, int64, *[array(int64)] * 4, array(int32))


def rows(dtype):
    return array(dtype), array(float32), array(float32), int64, int64, types.boolean


def pieces_of(
    optimizer: type[Optimizer],
    loss: type[Loss] = losses.Log,
    penalty: type[Penalty] = penalties.L2,
    **flags: bool,
) -> Pieces:
    return Pieces(loss, optimizer, penalty, intercept=optimizer.intercept_feature, **flags)


def case(
    pieces: Pieces, p: int, lanes: int, *, keyed: bool = False, dtype=float32, registers: int = 128
) -> Case:
    how = _fleet.plan(pieces, 1, p, True, _fleet.Launch(lanes), keyed=keyed)
    names = ", ".join(piece.__name__ for piece in pieces.classes)
    kind = "keys" if keyed else "fleet"
    name = f"{kind} {names} {pieces.variant}, {p} columns, {how.lanes} lanes, {how.values} each, {dtype}"
    build = _fleet.keyed if keyed else _fleet.grid
    arguments = (*STATE, *CLOCK, *rows(dtype), *OUTCOME, *(GROUPS if keyed else ()))
    return Case(name, build(pieces, how, True, True), types.void(*arguments), registers)


def gate_cases() -> Iterator[Case]:
    sgd, adagrad, adam = (pieces_of(o) for o in (optim.SGD, optim.AdaGrad, optim.Adam))
    normalized, coin = pieces_of(optim.Normalized), pieces_of(optim.Coin)
    for p, lanes in ((7, 1), (31, 1), (31, 4), (31, 8), (127, 8), (511, 32)):
        yield case(sgd, p, lanes, registers=160 if lanes == 1 else 248)
    for pieces, p in ((adagrad, 320), (adam, 255), (normalized, 255)):
        yield case(pieces, 31, 1, registers=232)
        yield case(pieces, p, 32, registers=255)
    yield case(coin, 15, 1, registers=248)
    yield case(coin, 31, 8, registers=255)
    yield case(sgd, 31, 1, dtype=types.float16, registers=160)
    yield case(sgd, 31, 8, dtype=types.uint8, registers=200)
    yield case(pieces_of(optim.Adam, losses.Huber, penalties.Proximal, averaged=True), 31, 8, registers=255)
    yield case(
        pieces_of(optim.AdaGrad, losses.Poisson, penalties.ElasticNet, fresh=True), 31, 8, registers=255
    )
    for p, lanes in ((7, 1), (31, 4), (127, 32), (4000, 0)):
        yield case(adam, p, lanes, keyed=True, registers=216)
    yield case(coin, 4000, 0, keyed=True, registers=168)
    vector = array(float32)
    signature = types.void(vector, vector, vector, int64, int64, array(int64))
    yield Case("first refused row", _fleet.refused(256), signature, 80)
