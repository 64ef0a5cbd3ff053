"""Rows that come from the host's memory, and `fit` as it is called."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from gpu_batches import INTERCEPT_LR
from gpu_bench import Bench, Row, Task, reached
from machine import CORES
from numpy.typing import NDArray

import streamgd
from streamgd import linear_model, optim
from streamgd.cuda._backend import cuda
from streamgd.cuda._engine import Engine
from streamgd.cuda._upload import CHUNK_BYTES, Uploader, rows_of_chunk

P = 128
BYTES = 1 << 31  # of rows on the device: 64 chunks
BATCH = 1 << 16  # 32 MiB of float32: a chunk
EPOCHS = 5
LR = 1e-6  # uint8 has values of 255
KINDS = {
    "float32": ("float32", "float32"),  # of the array; on the device
    "float64": ("float64", "float32"),
    "float16": ("float16", "float16"),
    "uint8": ("uint8", "uint8"),
}


def sizes(bench: Bench, kind: str = "float32") -> tuple[int, int, int]:
    """Rows, columns, rows of a mini-batch."""
    if bench.quick:
        return 48, 6, 16
    _, dtype = KINDS[kind]
    return 2 * BATCH if bench.dry else BYTES // (P * np.dtype(dtype).itemsize), P, BATCH


def streaming(bench: Bench) -> Iterator[Task]:
    """Copies of pinned memory, what comes near them, and whole fits."""
    pinned = partial(copies, bench, pinned=True)
    yield Task("pinned", "copies of pinned memory", pinned)
    yield Task("pageable", "copies of memory as it is", partial(copies, bench, pinned=False))
    yield Task("stream pinned", "mini-batches of pinned float32", partial(pipeline, bench, "float32", True))
    for kind in KINDS:
        yield Task(f"stream {kind}", f"mini-batches of {kind}", partial(pipeline, bench, kind, False))
    yield Task("fit host", "fit of an array on the host", partial(fit_host, bench))
    yield Task("fit device", "fit of an array on the device", partial(fit_device, bench))


def copies(bench: Bench, *, pinned: bool) -> Row:
    """Copy chunks as large as ours, one behind the other."""
    n, many = (1 << 8, 2) if bench.quick else (CHUNK_BYTES // 4, 32)
    host = cuda.pinned_array(n, np.float32) if pinned else np.empty(n, np.float32)
    host[:] = bench.rng.standard_normal(n, dtype=np.float32)
    there, stream = cuda.device_array(n, np.float32), cuda.stream()

    def copy() -> None:
        for _ in range(many):
            there.copy_to_device(host, stream=stream)

    copy()
    cuda.synchronize()
    checked = bench.check("copies", there.copy_to_host(), lambda: host, 0.0)
    rate = many * host.nbytes / bench.called_time(copy)
    if pinned:
        bench.pinned_rate = rate
    name = f"copies of {'pinned' if pinned else 'pageable'} memory, {host.nbytes >> 20} MiB each"
    return Row("pinned" if pinned else "pageable", name, rate, "B/s", checked=checked)


def host_rows(bench: Bench, kind: str, pinned: bool = False) -> NDArray[Any]:
    """Random rows on the host."""
    n, p, size = sizes(bench, kind)
    block: NDArray[Any]
    if kind == "uint8":
        block = bench.rng.integers(0, 256, (size, p), dtype=np.uint8)
    else:
        block = bench.rng.standard_normal((size, p), dtype=np.float32).astype(KINDS[kind][0])
    rows = cuda.pinned_array((n, p), block.dtype) if pinned else np.empty((n, p), block.dtype)
    for lo in range(0, n, size):
        rows[lo : lo + size] = block
    return rows


class Model:
    """A model on the device that learns rows of some type, wherever they are."""

    def __init__(self, p: int, dtype: Any, y: Any) -> None:
        model = linear_model.LogisticRegression(optim.SGD(LR), intercept_lr=INTERCEPT_LR)
        self.engine = Engine(model._pieces, p, np.dtype(dtype).itemsize, np.dtype(dtype) == np.float32)
        nothing = np.zeros((1, p))
        arrays = model._hp, nothing[0], nothing, nothing[0], model._scalars, model._coming_rates(np.ones(1))
        self.engine.begin(*(np.ascontiguousarray(a, dtype=np.float32) for a in arrays))
        self.y, self.one = cuda.to_device(y), cuda.to_device(np.ones(1, np.float32))
        self.z = cuda.device_array(len(y), np.float32)

    def learn(self, X: Any, lo: int, hi: int, size: int) -> None:
        """Take steps on rows that are there, flat, and are rows ``lo`` to ``hi - 1`` of all."""
        self.engine.steps(X, self.y[lo:hi], self.one, self.z[lo:hi], False, size, hi - lo)

    def weights(self) -> Any:
        return self.engine.end()[0][0]


def pipeline(bench: Bench, kind: str, pinned: bool) -> Row:
    """Copy and learn, at the level of `Uploader` and `Engine`."""
    _, p, size = sizes(bench)
    _, dtype = KINDS[kind]
    X = host_rows(bench, kind, pinned)
    y = (bench.rng.random(len(X)) < 0.5).astype(np.float32)
    most = max(size, rows_of_chunk(p, np.dtype(dtype).itemsize) // size * size) if not bench.quick else size
    uploader = Uploader(p, dtype, most)

    def pass_over(model: Model, n: int) -> None:
        for lo in range(0, n, most):
            hi = min(lo + most, n)
            there = uploader.upload(X[lo:hi])
            uploader.ready(model.engine.stream)
            model.learn(there, lo, hi, size)
            uploader.done(model.engine.stream)

    few = min(len(X), 2 * most)
    model, resident = (Model(p, dtype, y) for _ in range(2))
    pass_over(model, few)
    resident.learn(cuda.to_device(X[:few].astype(dtype).reshape(-1)), 0, few, size)
    checked = bench.check(f"weights after {few:,} rows", model.weights(), resident.weights, 0.0)
    seconds = bench.called_time(lambda: pass_over(model, len(X)))
    on_device = X.size * np.dtype(dtype).itemsize
    share = on_device / seconds / bench.pinned_rate if bench.pinned_rate else math.nan
    figures = {"rows": f"{len(X) / seconds / 1e6:.0f} M/s", "of the pinned copy's": f"{share:.0%}"}
    key = "stream pinned" if pinned else f"stream {kind}"
    name = f"mini-batches of {size:,} from {'pinned ' if pinned else ''}{kind} on the host, p = {p}"
    aim, met = "", None
    if kind == "float32":
        aim, met = "within 10 % of the pinned copy", reached((share, 0.9))
    return Row(key, name, on_device / seconds, "B/s", {}, aim, met, checked, figures)


# -- fit ----------------------------------------------------------------------------------------


def fitted(X: Any, y: Any, size: int, epochs: int = 1, **options: Any) -> Any:
    model = linear_model.LogisticRegression(optim.SGD(0.1), labels=(False, True))
    streamgd.fit(model, X, y, batch_size=size, epochs=epochs, metrics=[], progress=False, **options)
    return model


def weights_of(model: Any) -> list[float]:
    return list(model.weights.values())


def fit_host(bench: Bench) -> Row:
    """`fit` on an array of the host: labels, batches and outputs are in the time."""
    X = host_rows(bench, "float32")
    return _fits(bench, "fit host", "fit of float32 on the host", X, X, 1)


def fit_device(bench: Bench) -> Row:
    """`fit` on an array that is on the device, several times over."""
    n, p, _ = sizes(bench)
    X = bench.normal(n * p).reshape(n, p)
    host = np.empty((0, p)) if bench.dry else X.copy_to_host()
    return _fits(bench, "fit device", "fit of float32 on the device", X, host, EPOCHS)


def _fits(bench: Bench, key: str, name: str, X: Any, on_host: Any, epochs: int) -> Row:
    n, p, size = sizes(bench)
    y = bench.rng.random(n) < 0.5
    few = min(n, 4 * size)
    name = f"{name}, mini-batches of {size:,}, {epochs} epoch{'s' if epochs > 1 else ''}, p = {p}"
    if bench.dry:  # fit wants results, and the kernels are those of `pipeline`
        return Row(key, name)
    ours = fitted(X[:few], y[:few], size, device="cuda")
    cpu = {"dtype": "float32", "threads": len(CORES)}
    theirs = fitted(on_host[:few], y[:few], size, **cpu)
    checked = bench.check(f"weights after {few:,} rows", weights_of(ours), lambda: weights_of(theirs), 1e-4)
    rate = n * epochs / bench.called_time(partial(fitted, X, y, size, epochs, device="cuda"))
    start = time.perf_counter()  # once: it takes long, and has just been compiled
    fitted(on_host, y, size, **cpu)
    peers = {f"{len(CORES)} cores, float32": n / (time.perf_counter() - start)}
    share = 4 * p * rate / bench.pinned_rate if bench.pinned_rate else math.nan
    figures = {"of the pinned copy's": f"{share:.0%}"}
    return Row(key, name, rate, "rows/s", peers, "", None, checked, figures)
