"""Rows in a random order: shuffled in blocks that fit into memory."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ._arrays import Arrays, taken
from ._batch import Batch, Position, Source
from ._device import DeviceArrays
from ._rebatch import BEGINNING, Rebatched


class Shuffled(Source):
    """The rows of another source, each block of them in a random order.

    The order depends on seed, pass and number of the block only, so that a pass can be continued anywhere,
    and is the same with every version of NumPy. All orders of a block are equally likely; rows of
    different blocks do not mix: where a file is sorted by its target, blocks should be long.

    Parameters
    ----------
    source
        Where the rows come from.
    rows
        Rows a block, all of which are held in memory; as many as the source has shuffle it as a whole.
    seed
        Chooses the orders, a whole number from 0.

    Notes
    -----
    `Batch.first` counts rows as they are handed out, not as they stand in the source.

    Examples
    --------
    >>> import numpy as np
    >>> from streamgd import stream
    >>> source = stream.Shuffled(stream.Arrays(np.arange(6.0)[:, None]), rows=3, seed=1)
    >>> [batch.X.ravel().tolist() for batch in source]
    [[2.0, 0.0, 1.0], [3.0, 5.0, 4.0]]
    """

    def __init__(self, source: Source, rows: int, seed: int) -> None:
        if rows < 1:
            raise ValueError(f"rows={rows}: a block has at least 1")
        if not 0 <= seed < 1 << 64:
            raise ValueError(f"seed={seed}: it is a whole number from 0 to 2**64 - 1")
        self.source = source
        self.rows = rows
        self.seed = seed
        self.batch_rows = min(source.batch_rows, rows)
        if isinstance(source, DeviceArrays):  # the whole is one batch of them, a view: shuffled rows are none
            self.batch_rows = min(self.batch_rows, source.rows_at_once)
        self.target = source.target
        self.kinds = source.kinds
        self.repeatable = source.repeatable
        self.reads = source.reads
        self._pass = 0

    def set_pass(self, number: int) -> None:
        """Choose the orders of pass ``number``, counted from 0, for what is read from the beginning."""
        self._pass = number

    def expected_rows(self, position: Position) -> int | None:
        """Rows as the source expects them."""
        return self._blocks().expected_rows(position.get("inner") or BEGINNING)

    def _blocks(self) -> Source:
        source = self.source
        if isinstance(source, Arrays | DeviceArrays):  # a block of them is a view
            source = copy.copy(source)
            source.batch_rows = self.rows
        return Rebatched(source, self.rows)

    def batches(self, start: Position | None = None) -> Iterator[Batch]:
        """Yield batches from ``start``, the position of an earlier batch (default: the beginning)."""
        inner, number, skip, k = None, 0, 0, self._pass
        if start is not None:
            inner, number, skip, k = (start[name] for name in ("inner", "block", "skip", "pass"))
        for block in self._blocks().batches(inner):
            n = len(block)
            order = _order(n, (self.seed, k), number)
            for lo in range(skip, n, self.batch_rows):
                rows = order[lo : lo + self.batch_rows]
                row = block.first + lo + len(rows)
                here: Position = {
                    "row": row,
                    "inner": inner,
                    "block": number,
                    "skip": lo + len(rows),
                    "pass": k,
                }
                if here["skip"] == n:
                    here |= {"inner": block.position, "block": number + 1, "skip": 0}
                y = None if block.y is None else block.y[rows]
                w = None if block.w is None else block.w[rows]
                yield Batch(taken(block.X, rows), y, block.columns, block.first + lo, here, w)
            inner, number, skip = block.position, number + 1, 0


def _order(n: int, key: tuple[int, int], block: int) -> NDArray[np.int64]:
    """Return a random order of n rows."""
    # Raw words of a bit generator never change between versions of NumPy; what is made of them may.
    words = np.random.Philox(
        key=np.array(key, dtype=np.uint64), counter=np.array([0, 0, 0, block], dtype=np.uint64)
    ).random_raw(n)
    return np.argsort(words)
