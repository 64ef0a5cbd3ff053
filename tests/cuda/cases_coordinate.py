"""The step on a gradient, one coordinate a thread: as other kernels have it in them."""

from __future__ import annotations

from collections.abc import Iterator

from gate import Case
from numba.cuda import types

from streamgd import optim
from streamgd._single import single, single_jitable
from streamgd.cuda._backend import cuda, float32, kernel
from streamgd.kernels import access, coordinate
from streamgd.kernels.pieces import Pieces
from streamgd.optim import losses, penalties


def step_of(pieces: Pieces):
    update = single_jitable(coordinate.update_body(pieces, single_jitable, access.DENSE_VECTOR))
    take = single_jitable(access.TAKE[pieces.n_own])
    n_scalars, start = pieces.n_scalars, coordinate.OPTIMIZER

    def step(hp, weights, slots, charged, scalars, sums, rates, index):
        j = cuda.grid(1)
        mine = cuda.local.array(n_scalars, float32)
        for k in range(n_scalars):
            mine[k] = scalars[k]
        if j < weights.shape[0]:
            own = take(mine, start)
            p = sums[0]
            update(
                hp, weights, slots, charged, mine, own, sums, j, index, j, 1, 1.0, p, p, p, 1.0, p, rates, 0
            )

    return kernel(single(step), pieces.classes, threads=256, blocks=2)


def gate_cases() -> Iterator[Case]:
    vector, matrix, index = float32[::1], float32[:, ::1], types.int64[::1]
    signature = types.void(vector, vector, matrix, vector, vector, vector, matrix, index)
    for optimizer, penalty in (
        (optim.SGD, penalties.L2),
        (optim.Adam, penalties.ElasticNet),
        (optim.FTRLProximal, penalties.L2),
    ):
        pieces = Pieces(losses.Log, optimizer, penalty)
        yield Case(f"step {optimizer.__name__} {penalty.__name__}", step_of(pieces), signature, registers=64)
