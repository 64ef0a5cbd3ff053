"""The nearest rows of a table on the device, exactly: tiles in shared memory, a list for each thread."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import functools
import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._jit import jitable
from .._rows import Floats, Words
from .._single import single
from ._backend import cuda, float32, kernel, load4

MOST_NEIGHBOURS: Final = 32

# Lists have one of these lengths, as they are in registers, and with all but the longest two blocks fit on a
# multiprocessor: one computes while the other waits for memory.
LENGTHS: Final = (5, 10, 16, MOST_NEIGHBOURS)

# Columns in shared memory at once: the most that pad rows by no more than a fifth beyond a multiple of four.
CHUNKS: Final = (16, 8, 4)
_PADDING: Final = 1.2

# Rows are numbered by int32; codes of categories are float32, which has all integers up to this.
_MOST_ROWS: Final = 2**31 - 1
_MOST_CODES: Final = 2**24

# A column is moved to its middle where that is so many times its spread away from 0; by so many of its rows.
_FAR: Final = 4.0
_SAMPLE: Final = 1024
_PORTION: Final = 1 << 11
_HIGHEST: Final = 1023  # power of two that a float64 has

_INFINITY: Final = np.float32(np.inf)
_ZERO: Final = np.float32(0.0)
_NOBODY: Final = np.int32(-1)


class Tile(NamedTuple):
    """What a block does at once: distances of so many queries and rows, each thread so many of both."""

    queries: int = 64
    rows: int = 128
    queries_of_thread: int = 4
    rows_of_thread: int = 8

    @property
    def threads(self) -> int:
        return self.queries // self.queries_of_thread * (self.rows // self.rows_of_thread)

    @property
    def lanes(self) -> int:
        """Threads that look through the distances of a query."""
        return self.threads // self.queries


class Launch(NamedTuple):
    """How a search is spread over the device; results depend on none of it."""

    tile: Tile = Tile()
    blocks: int = 528  # four for each multiprocessor of the largest devices: rows are split to get as many
    queries: int = 1 << 17  # searched for at once, with lists of 1 KiB each, at most
    threads: int = 128  # of a block that merges


LAUNCH: Final = Launch()
_NO_COLUMNS: Final = np.empty(0, dtype=np.int64)


# -- kernels ------------------------------------------------------------------------------------


def _inserter(k: int) -> Any:
    """Return the function that puts a row in its place in a sorted list of k, the last of which falls out."""

    def insert(distances, indices, distance, index):
        # Constant subscripts keep lists in registers.
        for j in range(k):
            if distance < distances[j] or (distance == distances[j] and index < indices[j]):
                farther, other = distances[j], indices[j]
                distances[j], indices[j] = distance, index
                distance, index = farther, other

    return jitable(insert)


def nearest_body(k: int, chunk: int, mixed: bool, tile: Tile) -> Any:
    """Return the body of the kernel that lists the k nearest rows of each query, for parts of the rows.

    A block takes a tile of queries and, tile by tile, the rows of its part. Squares of differences are added
    up column by column, in float32: nothing cancels. Each of a query's lanes then looks through its share of
    the tile's rows. Where columns are ``mixed``, those from ``numeric`` on are codes.
    """
    n_queries, n_rows, queries_of_thread, rows_of_thread = tile
    threads, lanes = tile.threads, tile.lanes
    across, span = n_rows // rows_of_thread, n_rows // lanes
    pairs, fours = queries_of_thread * rows_of_thread, chunk // 4
    query_room, row_room = chunk * n_queries, chunk * n_rows
    stride = n_rows + lanes  # lanes of eight queries read from as many banks
    distance_room = n_queries * stride
    insert = _inserter(k)

    def nearest(table, width, numeric, penalty, n, queries, left_out, size, distances, indices):
        query_tile = cuda.shared.array(query_room, float32, alignment=16)  # (chunk, queries)
        row_tile = cuda.shared.array(row_room, float32, alignment=16)
        found = cuda.shared.array(distance_room, float32)
        far = cuda.local.array(k, np.float32)
        near = cuda.local.array(k, np.int32)
        total = cuda.local.array(pairs, np.float32)
        of_query = cuda.local.array(queries_of_thread, np.float32)
        of_row = cuda.local.array(rows_of_thread, np.float32)
        thread = cuda.threadIdx.x
        column, line = thread % across, thread // across
        query, lane = thread // lanes, thread % lanes
        first_query = cuda.blockIdx.x * n_queries
        start = cuda.blockIdx.y * size
        end = min(n, start + size)
        own = _NOBODY
        if first_query + query < queries.shape[0]:
            own = left_out[first_query + query]
        for j in range(k):
            far[j] = _INFINITY
            near[j] = _NOBODY
        while start < end:
            for pair in range(pairs):
                total[pair] = _ZERO
            at = 0
            while at < width:
                cuda.syncthreads()
                i = thread
                while i < n_queries * fours:
                    r, j = i % n_queries, i // n_queries * 4
                    a, b, c, d = _ZERO, _ZERO, _ZERO, _ZERO
                    if first_query + r < queries.shape[0]:
                        a, b, c, d = load4(table, np.int64(queries[first_query + r]) * width + at + j)
                    query_tile[j * n_queries + r], query_tile[(j + 1) * n_queries + r] = a, b
                    query_tile[(j + 2) * n_queries + r], query_tile[(j + 3) * n_queries + r] = c, d
                    i += threads
                i = thread
                while i < n_rows * fours:
                    r, j = i % n_rows, i // n_rows * 4
                    a, b, c, d = _ZERO, _ZERO, _ZERO, _ZERO
                    if start + r < end:
                        a, b, c, d = load4(table, (start + r) * width + at + j)
                    row_tile[j * n_rows + r], row_tile[(j + 1) * n_rows + r] = a, b
                    row_tile[(j + 2) * n_rows + r], row_tile[(j + 3) * n_rows + r] = c, d
                    i += threads
                cuda.syncthreads()
                for j in range(chunk):
                    for u in range(0, queries_of_thread, 4):
                        of_query[u], of_query[u + 1], of_query[u + 2], of_query[u + 3] = load4(
                            query_tile, j * n_queries + line * queries_of_thread + u
                        )
                    for v in range(0, rows_of_thread, 4):
                        of_row[v], of_row[v + 1], of_row[v + 2], of_row[v + 3] = load4(
                            row_tile, j * n_rows + column * 4 + v * across
                        )
                    if mixed and at >= numeric:
                        for u in range(queries_of_thread):
                            for v in range(rows_of_thread):
                                if of_query[u] != of_row[v]:
                                    total[u * rows_of_thread + v] += penalty
                    else:
                        for u in range(queries_of_thread):
                            for v in range(rows_of_thread):
                                away = of_query[u] - of_row[v]
                                total[u * rows_of_thread + v] += away * away
                at += chunk
            for u in range(queries_of_thread):
                for v in range(rows_of_thread):
                    place = column * 4 + v // 4 * 4 * across + v % 4
                    found[(line * queries_of_thread + u) * stride + place] = total[u * rows_of_thread + v]
            cuda.syncthreads()
            for s in range(span):
                place = start + s * lanes + lane
                distance = found[query * stride + s * lanes + lane]
                if distance < far[k - 1] and place < end and place != own:
                    insert(far, near, distance, np.int32(place))
            start += n_rows
        if first_query + query < queries.shape[0]:
            part = cuda.blockIdx.y * lanes + lane
            for j in range(k):
                distances[part, j, first_query + query] = far[j]
                indices[part, j, first_query + query] = near[j]

    return nearest


def merge_body(k: int) -> Any:
    """Return the body of the kernel that makes one list of each query's."""
    insert = _inserter(k)

    def merge(part_distances, part_indices, distances, indices):
        query = cuda.grid(1)
        if query < distances.shape[0]:
            far = cuda.local.array(k, np.float32)
            near = cuda.local.array(k, np.int32)
            for j in range(k):
                far[j] = _INFINITY
                near[j] = _NOBODY
            for part in range(part_distances.shape[0]):
                j = 0
                while j < k:
                    distance, index = part_distances[part, j, query], part_indices[part, j, query]
                    if index < 0 or distance > far[k - 1]:
                        break  # those that follow are farther
                    insert(far, near, distance, index)
                    j += 1
            for j in range(k):
                if j < distances.shape[1]:
                    distances[query, j] = far[j]
                    indices[query, j] = near[j]

    return merge


def blocks_at_once(k: int) -> int:
    """Return how many blocks of the search are to fit on a multiprocessor, by their registers."""
    return 1 if k == MOST_NEIGHBOURS else 2


@functools.cache
def _search(k: int, chunk: int, mixed: bool, tile: Tile) -> Any:
    body = single(nearest_body(k, chunk, mixed, tile))
    return kernel(body, threads=tile.threads, blocks=blocks_at_once(k))


@functools.cache
def _merge(k: int, threads: int) -> Any:
    return kernel(single(merge_body(k)), threads=threads)


# -- tables -------------------------------------------------------------------------------------


class Table:
    """Rows on the device, as float32.

    Columns far from 0 are moved by a value that they have, and all are multiplied by a power of two that
    brings them into [-1, 1]: differences keep 24 bits of the largest, no square overflows, and equal
    distances between small integers stay equal.

    Parameters
    ----------
    values
        ``(n, p)``, finite.
    nominal
        Columns of codes, integers from 0.
    launch
        How kernels are launched.

    Raises
    ------
    ValueError
        For more rows or codes than there are numbers for.
    """

    def __init__(self, values: Floats, nominal: Words = _NO_COLUMNS, launch: Launch = LAUNCH) -> None:
        n, p = values.shape
        if n > _MOST_ROWS:
            raise ValueError(f"{n} rows are too many for device='cuda', which has {_MOST_ROWS}; take 'cpu'")
        codes = values[:, nominal]
        odd = codes[(codes < 0.0) | (codes > _MOST_CODES)]
        if odd.size:
            raise ValueError(
                f"a column of categories has the code {odd[0]}; with device='cuda' they are from 0 to "
                f"{_MOST_CODES}: leave the column out, or take 'cpu'"
            )
        self.n_columns, self.columns = p, np.setdiff1d(np.arange(p), nominal)
        self.launch = launch
        numbers = values[:, self.columns] if len(nominal) else values
        self.middle, self.unit = _middle_and_unit(numbers)
        self.chunk, self.numeric = _chunks(len(self.columns))
        self.width = self.numeric + -(-len(nominal) // self.chunk) * self.chunk
        rows = np.zeros((n, self.width), dtype=np.float32)
        for start in range(0, n, _PORTION):
            part = slice(start, start + _PORTION)
            rows[part, : len(self.columns)] = numbers[part] * self.unit - self.middle * self.unit
        rows[:, self.numeric : self.numeric + len(nominal)] = codes
        self.rows = cuda.to_device(rows.reshape(-1))

    def nearest(
        self, queries: Words, left_out: Words, n: int, k: int, penalty: float = 0.0
    ) -> tuple[Words, Floats]:
        """Find the k nearest of the first n rows to some rows; of equally near ones, the lower.

        Parameters
        ----------
        queries
            ``(q,)`` rows.
        left_out
            ``(q,)`` a row that is no neighbour of each, -1: none.
        n, k
            n from 1, k from 1 to 32.
        penalty
            What is added to a squared distance where two codes differ.

        Returns
        -------
        Rows ``(q, k)``, -1 where there are fewer than k; their squared distances, or infinity.
        """
        length = next(room for room in LENGTHS if room >= k)
        tile, most_blocks, portion, threads = self.launch
        search = _search(length, self.chunk, self.width > self.numeric, tile)
        merge = _merge(length, threads)
        with np.errstate(over="ignore"):
            within = np.float32(penalty * self.unit * self.unit)
        index = np.empty((len(queries), k), dtype=np.int64)
        distance = np.empty((len(queries), k))
        for start in range(0, len(queries), portion):
            part = slice(start, start + portion)
            asked = cuda.to_device(queries[part].astype(np.int32))
            own = cuda.to_device(left_out[part].astype(np.int32))
            tiles, tiles_of_rows = -(-len(asked) // tile.queries), -(-n // tile.rows)
            size = -(-tiles_of_rows // max(1, most_blocks // tiles)) * tile.rows
            splits = -(-n // size)
            lists = (splits * tile.lanes, length, len(asked))
            distances, indices = (cuda.device_array(lists, t) for t in (np.float32, np.int32))
            search[(tiles, splits), tile.threads](
                self.rows, self.width, self.numeric, within, n, asked, own, size, distances, indices
            )  # fmt: skip
            nearest, rows = (cuda.device_array((len(asked), k), t) for t in (np.float32, np.int32))
            merge[-(-len(asked) // threads), threads](distances, indices, nearest, rows)
            index[part], distance[part] = rows.copy_to_host(), nearest.copy_to_host()
        with np.errstate(over="ignore"):  # too far for a float64 is infinitely far, as on the CPU
            return index, distance / self.unit / self.unit


def _middle_and_unit(values: Floats) -> tuple[Floats, float]:
    if not values.size:
        return np.zeros(values.shape[1]), 1.0
    sample = np.sort(values[:: -(-len(values) // _SAMPLE)], axis=0)
    middle = sample[len(sample) // 2]
    with np.errstate(over="ignore"):
        middle = np.where(np.abs(middle) > _FAR * (sample[-1] - sample[0]), middle, 0.0)
        reach = np.maximum(values.max(axis=0) - middle, middle - values.min(axis=0)).max()
    exponent = int(np.frexp(min(reach, np.finfo(np.float64).max))[1])
    return middle, math.ldexp(1.0, min(-exponent, _HIGHEST))


def _chunks(p: int) -> tuple[int, int]:
    """Return how many columns are in shared memory at once, and the p columns with their padding."""
    fours = -(-p // 4) * 4
    for chunk in CHUNKS:
        padded = -(-p // chunk) * chunk
        if padded <= _PADDING * fours:
            break
    return chunk, padded


def all_nearest(
    rows: ArrayLike,
    queries: ArrayLike,
    k: int,
    *,
    scales: ArrayLike | None = None,
    exclude: ArrayLike | None = None,
    nominal: ArrayLike = (),
    penalty: float = 0.0,
    launch: Launch = LAUNCH,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find the k nearest rows of each query: `kernels.neighbours.all_nearest` on the device, in float32.

    Rows that are equally near in float32 come in their order. k is 32 at most, values are finite, codes
    integers from 0. The other parameters, and what is returned, are as there.
    """
    table, points = (np.asarray(a, dtype=np.float64) for a in (rows, queries))
    if table.ndim != 2 or points.ndim != 2 or table.shape[1] != points.shape[1]:
        raise ValueError(f"rows {table.shape} and queries {points.shape} must have the same columns")
    check_neighbours("k", k)
    d, n, q = table.shape[1], len(table), len(points)
    factors = np.ones(d) if scales is None else np.array(scales, dtype=np.float64)
    own = np.full(q, -1) if exclude is None else np.asarray(exclude)
    names = np.asarray(nominal, dtype=np.int64)
    if factors.shape != (d,) or own.shape != (q,):
        raise ValueError(f"scales {factors.shape} are one a column ({d}), exclude {own.shape} one a query")
    if names.ndim != 1 or not ((names >= 0) & (names < d)).all():
        raise ValueError(f"nominal={nominal!r}: positions of columns are from 0 to {d - 1}")
    if not n or not q:
        return np.full((q, k), -1), np.full((q, k), np.inf)
    factors[names] = 1.0
    both = np.concatenate([table, points]) * factors
    if not np.isfinite(both).all():
        raise ValueError(
            "rows and queries have numbers that are not finite; fill them in, or take device='cpu'"
        )
    return Table(both, names, launch).nearest(np.arange(n, n + q), own, n, k, penalty)


def check_neighbours(name: str, k: int) -> None:
    """Raise ValueError unless so many neighbours can be found on the device."""
    if not 1 <= k <= MOST_NEIGHBOURS:
        raise ValueError(f"{name}={k}; device='cuda' finds from 1 to {MOST_NEIGHBOURS}: take 'cpu' for more")
