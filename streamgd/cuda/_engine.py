"""Mini-batches on the device: a model's state in its memory, and the launches that take the steps."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamgd.kernels.pieces import SAMPLES, Pieces

from . import _linear
from ._backend import cuda, multiprocessors
from ._linear import COUNT, N_BATCHES, N_INFO, N_SAMPLES, N_STEPS, NOTHING_REFUSED, REFUSED, SKIPPED

Singles = NDArray[np.float32]

# Bytes of a mini-batch from which a launch of its own is short beside it; of smaller ones many are taken in
# one launch.
LARGE_BATCH = 8 << 20


class Outcome(NamedTuple):
    """What has become of some rows: mini-batches were taken up to the first that has one that is refused."""

    batches: int
    steps: int  # mini-batches with a row that counts
    samples: int  # rows that count, of those mini-batches or, without steps, of all
    skipped: int
    refused: tuple[int, int] | None  # a row, and the status that says why


class Engine:
    """A linear model on the device, while it sees rows of ``p`` columns.

    Calls come in this order: `begin`; `steps`, or `add` for parts of one mini-batch; `end`, or `sums`. What
    `steps` and `add` are given lies on the device; all is float32, but for the rows. All kernels run on
    ``stream``.

    Parameters
    ----------
    pieces
        What the model is made of.
    p
        Columns.
    itemsize
        Bytes of a value.
    aligned
        Whether rows begin at multiples of 16 bytes, and are float32.
    """

    def __init__(self, pieces: Pieces, p: int, itemsize: int, aligned: bool) -> None:
        self._pieces, self._p, self._threads = pieces, p, _linear.THREADS
        self._how = _linear.plan(pieces, p, aligned)
        self._row_bytes = p * itemsize
        self.stream = cuda.stream()
        n_slots = max(1, pieces.n_slots)
        self._ends = np.cumsum([p, n_slots * p, p, 2 * pieces.n_scalars])
        self._flat = cuda.device_array(int(self._ends[-1]), np.float32)
        a, b, c, d = self._ends.tolist()
        self._views = (
            self._flat[:a],
            self._flat[a:b].reshape(n_slots, p),
            self._flat[b:c],
            self._flat[c:d].reshape(2, pieces.n_scalars),
        )
        self._parts = cuda.device_array(_linear.BLOCKS * (p + 1), np.float32)
        self._sums = cuda.device_array(p + 1, np.float32)
        self._info = cuda.device_array(N_INFO, np.int64)
        self._ticket = cuda.to_device(np.zeros(1, np.uint32))
        self._turn = 0
        self._n_parts = 0
        self._base = 0  # rows seen since `begin`

    def begin(
        self,
        hp: Singles,
        weights: Singles,
        slots: Singles,
        charged: Singles,
        scalars: Singles,
        rates: Singles | None = None,
    ) -> None:
        """Take in the state, and for `steps` the rates ``(n, 3)`` of those; one row stands for all."""
        rates = np.zeros((1, 3), np.float32) if rates is None else np.ascontiguousarray(rates)
        words = np.stack([scalars, scalars])
        words[:, SAMPLES] = 0.0  # here: steps taken
        flat = np.concatenate([weights, slots.ravel(), charged, words.ravel()])
        nothing = np.zeros(self._p + 1, np.float32)
        self._flat.copy_to_device(flat, stream=self.stream)
        self._hp, self._rates = (cuda.to_device(a, stream=self.stream) for a in (hp, rates))
        info = np.zeros(N_INFO, np.int64)
        info[REFUSED] = NOTHING_REFUSED
        self._info.copy_to_device(info, stream=self.stream)
        self._turn = self._base = 0
        self._sums.copy_to_device(nothing, stream=self.stream)
        self.stream.synchronize()  # the arrays on the host go away

    def steps(self, X: Any, y: Any, w: Any, z: Any, skip: bool, size: int, n: int) -> None:
        """Take all mini-batches of ``size`` of ``n`` rows ``X (n * p,)``; ``z (n,)`` gets their outputs.

        In several calls all but the last have whole mini-batches.
        """
        how, state = self._how, (self._hp, *self._views)
        rest = self._parts, self._sums, self._rates, self._info
        if size * self._row_bytes < LARGE_BATCH:
            blocks = min(_linear.RESIDENT_BLOCKS, multiprocessors(), self._blocks(size, 4))
            kernel = _linear.chunk(self._pieces, how, blocks == 1)
            launch = kernel[blocks, how.threads, self.stream]
            launch(*state, X, y, w, z, *rest, self._base, self._turn, skip, size, n)
            self._turn ^= -(-n // size) & 1
        else:
            for first in range(0, n, size):
                self._step(X, y, w, z, skip, first, min(size, n - first))
        self._base += n

    def _step(self, X: Any, y: Any, w: Any, z: Any, skip: bool, first: int, n: int) -> None:
        """Take one large mini-batch."""
        if self._p <= _linear.ONE_STEP:
            kernel = _linear.step(self._pieces, self._how)
            launch = kernel[self._blocks(n), self._how.threads, self.stream]
            rest = self._parts, self._sums, self._rates, self._info, self._ticket
            launch(self._hp, *self._views, X, y, w, z, *rest, self._base, self._turn, skip, first, n)
        else:
            self._look(X, y, w, z, skip, first, n)
            _linear.meant(self._threads)[self._column_blocks, self._threads, self.stream](
                self._parts, self._n_parts, self._p, self._sums, self._info, self._turn
            )
            blocks = 1 if self._pieces.optimizer.n_sums else min(_linear.BLOCKS, -(-self._p // self._threads))
            _linear.apply(self._pieces, self._threads)[blocks, self._threads, self.stream](
                self._hp, *self._views, self._sums, self._rates, self._info, self._turn
            )
        self._turn ^= 1

    def add(self, X: Any, y: Any, w: Any, z: Any, skip: bool, n: int) -> None:
        """Add up the gradients of ``n`` rows, one part of a mini-batch."""
        self._look(X, y, w, z, skip, 0, n)
        launch = _linear.collected(self._threads)[self._column_blocks, self._threads, self.stream]
        launch(self._parts, self._n_parts, self._p, self._sums, self._info)
        self._base += n

    def _look(self, X: Any, y: Any, w: Any, z: Any, skip: bool, first: int, n: int) -> None:
        """Leave the sums of some rows in the blocks' parts."""
        self._n_parts = self._blocks(n)
        kernel = _linear.gradient(self._pieces, self._how)
        launch = kernel[self._n_parts, self._how.threads, self.stream]
        rest = self._parts, self._info, self._base, self._turn
        launch(self._hp, *self._views, X, y, w, z, *rest, skip, first, n)

    def _blocks(self, n: int, rounds: int = 1) -> int:
        """Blocks for ``n`` rows, each with at least so many rounds to do; the same on all devices."""
        return max(1, min(_linear.BLOCKS, -(-n // (rounds * self._how.rows_of_block))))

    @property
    def _column_blocks(self) -> int:
        return min(_linear.BLOCKS, -(-(self._p + 1) // _linear.WARP))

    def end(self) -> tuple[tuple[Singles, Singles, Singles], Singles, Outcome]:
        """Return the state, weights, slots and charges, the scalars, and what has become of the rows."""
        flat, info = (a.copy_to_host(stream=self.stream) for a in (self._flat, self._info))
        self.stream.synchronize()
        weights, slots, charged, scalars, _ = np.split(flat, self._ends)
        outcome = outcome_of(info, int(info[N_SAMPLES]))
        words = scalars.reshape(2, -1)[outcome.batches % 2]
        return (weights, slots.reshape(-1, self._p), charged), words, outcome

    def sums(self) -> tuple[Singles, Outcome]:
        """Return the sums of what was added, the intercept's first, and what has become of the rows."""
        sums, info = (a.copy_to_host(stream=self.stream) for a in (self._sums, self._info))
        self.stream.synchronize()
        return sums, outcome_of(info, int(info[COUNT]))


def outcome_of(info: NDArray[np.int64], samples: int) -> Outcome:
    key = int(info[REFUSED])
    refused = None if key == NOTHING_REFUSED else (key // _linear.CODES, -(key % _linear.CODES))
    return Outcome(int(info[N_BATCHES]), int(info[N_STEPS]), samples, int(info[SKIPPED]), refused)
