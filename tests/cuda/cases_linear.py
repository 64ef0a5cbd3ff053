"""Kernels of mini-batches of linear models, for `gate.py`."""

from __future__ import annotations

from collections.abc import Iterator

from gate import Case
from numba.cuda import types

from streamgd import optim
from streamgd.cuda import _linear
from streamgd.kernels.pieces import Pieces
from streamgd.optim import losses, penalties
from streamgd.optim.base import Optimizer

single, integer, flag = types.float32, types.int64, types.boolean
vector, matrix, words = single[::1], single[:, ::1], integer[::1]
STATE = (vector, vector, matrix, vector, matrix)  # hp, weights, slots, charged, scalars
PARTS = (vector, vector, matrix, words)  # parts, sums, rates, info
PLACE = (integer, integer, flag, integer, integer)  # base, turn, skip, first, n

PLAIN = Pieces(losses.Log, optim.SGD, penalties.L2)
ADAM = Pieces(losses.Log, optim.Adam, penalties.L2)
# the most that a row has to do: two outputs, a loss with a power in it
HEAVY = Pieces(losses.BinaryFocalLoss, optim.ScheduleFreeAdamW, penalties.L2)
# the most that a step has to do: six floats of state, and a penalty that looks at each
FRESH = Pieces(losses.Cauchy, optim.AMSGrad, penalties.TruncatedGradient, intercept=True, fresh=True)


def rows(dtype: types.Type = single) -> tuple[types.Type, ...]:
    return (dtype[::1], vector, vector, vector)  # X, y, w, z


def mini_batch_optimizers() -> list[type[Optimizer]]:
    found = [getattr(optim, name) for name in optim.__all__]
    classes = [c for c in found if isinstance(c, type) and issubclass(c, Optimizer) and c is not Optimizer]
    return [c for c in classes if c.kernel == "coordinate" and not c.per_sample]


def gate_cases() -> Iterator[Case]:
    signature = types.void(*STATE, *rows(), vector, words, *PLACE)
    for p, aligned in (
        (1, False), (8, True), (31, False), (128, True), (250, False), (256, True), (300, False),
        (1024, True), (2047, False), (8192, True),
    ):  # fmt: skip
        # as many registers as there are for it in a warp, in a block, and where rows are read twice
        kinds = (("plain", PLAIN), ("heavy", HEAVY))
        for name, pieces in kinds if p in (31, 128, 256, 1024, 8192) else kinds[:1]:
            how = _linear.plan(pieces, p, aligned)
            ceiling = 65536 // (how.threads * how.blocks_at_once)
            yield Case(f"rows of {p}, {name}", _linear.gradient(pieces, how), signature, ceiling)
    how = _linear.plan(PLAIN, 128, aligned=False)
    for dtype in (types.float16, types.uint8):
        signature = types.void(*STATE, *rows(dtype), vector, words, *PLACE)
        yield Case(f"rows of 128, {dtype}", _linear.gradient(PLAIN, how), signature)

    in_one = types.void(*STATE, *rows(), *PARTS, types.uint32[::1], *PLACE)
    many = types.void(*STATE, *rows(), *PARTS, *PLACE)
    for name, pieces in (("Adam", ADAM), ("fresh AMSGrad", FRESH)):
        how = _linear.plan(pieces, 128, aligned=True)
        yield Case(f"a step in one launch, {name}", _linear.step(pieces, how), in_one)
        for alone in (False, True):
            kernel = _linear.chunk(pieces, how, alone)
            yield Case(f"many steps in one launch, {name}{' alone' if alone else ''}", kernel, many, 255)
    yield Case("sums of blocks", _linear.collected(256), types.void(vector, integer, integer, vector, words))
    meant = types.void(vector, integer, integer, vector, words, integer)
    yield Case("mean of blocks", _linear.meant(256), meant)
    step = types.void(*STATE, vector, matrix, words, integer)
    for optimizer in mini_batch_optimizers():
        pieces = Pieces(losses.Log, optimizer, penalties.ElasticNet)
        yield Case(f"step of {optimizer.__name__}", _linear.apply(pieces, 256), step)
