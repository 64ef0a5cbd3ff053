"""Mini-batches on the device: what its memory can do, a large step, many small ones, what launches cost."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from gpu_bench import Bench, Row, Singles, Task, reached
from numpy.typing import NDArray
from report import seconds_as_text

from streamgd import linear_model, optim
from streamgd.cuda._backend import cuda, float32, kernel
from streamgd.cuda._engine import Engine

Floats = NDArray[np.float64]

AT_P, AT_N = 128, 1 << 20  # where the aims are
STEPS = ((8, 1 << 22), (AT_P, AT_N), (1000, 1 << 17), (4096, 1 << 16))
QUICK_STEPS = ((8, 40), (300, 6), (600, 3))
CHUNKS = ((32, 256), (32, 4096), (128, 256), (128, 4096))
QUICK_CHUNKS = ((8, 16),)
N_BATCHES = 100
LR, INTERCEPT_LR = 0.1, 0.01
EPS = 1e-3  # of Adam: so large that its steps are no mere signs, which rounding may turn


# -- the ceiling --------------------------------------------------------------------------------


def copy(x, out):  # type: ignore[no-untyped-def]
    i, step = cuda.grid(1), cuda.gridsize(1)
    while i + 3 * step < x.size:  # four reads under way
        a, b, c, d = x[i], x[i + step], x[i + 2 * step], x[i + 3 * step]
        out[i], out[i + step], out[i + 2 * step], out[i + 3 * step] = a, b, c, d
        i += 4 * step
    while i < x.size:
        out[i] = x[i]
        i += step


def read(x, out):  # type: ignore[no-untyped-def]
    i, step = cuda.grid(1), cuda.gridsize(1)
    a = b = c = d = float32(0.0)
    while i + 3 * step < x.size:
        a += x[i]
        b += x[i + step]
        c += x[i + 2 * step]
        d += x[i + 3 * step]
        i += 4 * step
    while i < x.size:
        a += x[i]
        i += step
    out[cuda.grid(1)] = (a + b) + (c + d)


def bandwidth(bench: Bench) -> Iterator[Task]:
    """What copies and reads of 1 GiB reach, in bytes read and written a second."""
    yield Task("copy", "copy kernel", partial(copy_rate, bench))
    yield Task("read", "read-only kernel", partial(read_rate, bench))
    if bench.torch:
        yield Task("torch copy", "PyTorch's copy_", partial(torch_rate, bench))
    yield Task("driver copy", "the driver's copy", partial(driver_rate, bench))


def _geometry(bench: Bench) -> tuple[int, int]:
    return (2, 32) if bench.quick else (1056, 256)


def _note(bench: Bench, rate: float) -> None:
    bench.copy_rate = max(bench.copy_rate, rate)


def copy_rate(bench: Bench) -> Row:
    x, out, (blocks, threads) = bench.normal(bench.here.size), bench.there, _geometry(bench)
    launch = kernel(copy, threads=256)[blocks, threads]
    launch(x, out)
    checked = bench.check("copies", out.copy_to_host(), x.copy_to_host, 0.0)
    rate = 8 * x.size / bench.device_time(lambda: launch(x, out))
    _note(bench, rate)
    return Row("copy", f"copy kernel, {bench.size}", rate, "B/s", checked=checked)


def read_rate(bench: Bench) -> Row:
    x, (blocks, threads) = bench.normal(bench.here.size), _geometry(bench)
    sums = cuda.device_array(blocks * threads, np.float32)
    launch = kernel(read, threads=256)[blocks, threads]
    launch(x, sums)
    size = np.sqrt(x.size)  # of a sum of random numbers, which may be next to nothing
    found = [sums.copy_to_host().sum(dtype=np.float64), size]
    checked = bench.check("sums", found, lambda: [x.copy_to_host().sum(dtype=np.float64), size], 1e-5)
    rate = 4 * x.size / bench.device_time(lambda: launch(x, sums))
    return Row("read", f"read-only kernel, {bench.size}", rate, "B/s", checked=checked)


def torch_rate(bench: Bench) -> Row:
    x = bench.torch.randn(bench.here.size, device=bench.tensor(bench.here).device)
    out = bench.torch.empty_like(x)
    out.copy_(x)
    checked = bench.check("copies", out.cpu(), x.cpu, 0.0)
    rate = 8 * bench.here.size / bench.device_time(lambda: out.copy_(x))
    _note(bench, rate)
    return Row("torch copy", f"PyTorch's copy_, {bench.size}", rate, "B/s", checked=checked)


def driver_rate(bench: Bench) -> Row:
    x, out = bench.normal(bench.here.size), bench.there
    out.copy_to_device(x)
    checked = bench.check("copies", out.copy_to_host(), x.copy_to_host, 0.0)
    rate = 8 * x.size / bench.device_time(lambda: out.copy_to_device(x))
    _note(bench, rate)
    return Row("driver copy", f"the driver's copy, {bench.size}", rate, "B/s", checked=checked)


# -- our side, the other side, and the truth ----------------------------------------------------


class Ours:
    """A model on the device, and rows ``(n, p)`` there."""

    def __init__(self, bench: Bench, rule: Any, p: int, n: int) -> None:
        self.p, self.n, self.rule = p, n, rule
        self.model = linear_model.LogisticRegression(rule, intercept_lr=INTERCEPT_LR)
        self.weights = bench.rng.standard_normal(p, dtype=np.float32) / np.float32(np.sqrt(p))
        self.X, self.y = bench.normal(n * p), bench.labels(n)
        self.one, self.z = cuda.to_device(np.ones(1, np.float32)), cuda.device_array(n, np.float32)
        self.engine = Engine(self.model._pieces, p, 4, aligned=True)
        self.begin()

    def begin(self) -> None:
        """Put the weights on the device."""
        model, p = self.model, self.p
        slots = np.zeros((max(1, model._pieces.n_slots), p))
        self.rule.prepare(slots, 0)
        arrays = model._hp, self.weights, slots, np.zeros(p), model._scalars, model._coming_rates(np.ones(1))
        self.engine.begin(*(np.ascontiguousarray(a, dtype=np.float32) for a in arrays))

    def take(self, size: int) -> None:
        """Take a step on each ``size`` rows."""
        self.engine.steps(self.X, self.y, self.one, self.z, False, size, self.n)

    def moved(self) -> Singles:
        """How far the weights have moved."""
        (weights, _, _), _, _ = self.engine.end()
        return weights - self.weights

    @property
    def bytes_of_rows(self) -> int:
        """What a pass must move at least: values, targets, outputs."""
        return 4 * self.n * (self.p + 2)


class Theirs:
    """The same model in PyTorch, on the same memory: a pass over the rows for outputs, one for gradients."""

    def __init__(self, bench: Bench, ours: Ours, *, compiled: bool = False) -> None:
        torch = self._torch = bench.torch
        self.X, self.y = bench.tensor(ours.X).reshape(ours.n, ours.p), bench.tensor(ours.y)
        self._start = torch.as_tensor(ours.weights, device=self.X.device)
        self.w, self.b = self._start.clone(), torch.zeros((), device=self.X.device)
        self._adam = None
        if isinstance(ours.rule, optim.Adam):
            # their epsilon is added to the root when its bias is corrected, as large after one step
            eps = EPS / float(np.sqrt(1.0 - ours.rule.beta_2))
            self._adam = torch.optim.Adam([self.w], lr=LR, eps=eps, fused=True)
        self._gradient = self._plain
        if compiled:
            backend = "eager" if bench.quick else "inductor"
            self._gradient = torch.compile(self._plain, backend=backend, dynamic=False)

    def _plain(self, X: Any, y: Any, w: Any, b: Any) -> tuple[Any, Any]:
        d = self._torch.sigmoid(X @ w + b) - y
        return X.T @ d / len(y), d.mean()

    def take(self, size: int) -> None:
        for lo in range(0, len(self.y), size):
            self._take_one(self.X[lo : lo + size], self.y[lo : lo + size])

    def _take_one(self, X: Any, y: Any) -> None:
        gradient, mean = self._gradient(X, y, self.w, self.b)
        if self._adam is None:
            self.w.sub_(gradient, alpha=LR)
        else:
            self.w.grad = gradient
            self._adam.step()
        self.b.sub_(mean, alpha=INTERCEPT_LR)

    def moved(self) -> Any:
        return (self.w - self._start).cpu()

    def as_graph(self, size: int) -> Any:
        """Return a CUDA graph of `take`."""
        torch, aside = self._torch, self._torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            self.take(size)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.take(size)
        return graph


def truth(ours: Ours, size: int) -> Floats:
    """Compute in float64, on the CPU, how far the weights move."""
    X, y = ours.X.copy_to_host().reshape(ours.n, ours.p), ours.y.copy_to_host()
    start = ours.weights.astype(np.float64)
    w, b, at_once = start.copy(), 0.0, max(1, (1 << 24) // ours.p)
    for lo in range(0, ours.n, size):
        hi = min(lo + size, ours.n)
        g, total = np.zeros(ours.p), 0.0
        for first in range(lo, hi, at_once):
            rows = X[first : min(first + at_once, hi)].astype(np.float64)
            d = 1.0 / (1.0 + np.exp(-(rows @ w + b))) - y[first : first + len(rows)]
            g += d @ rows
            total += d.sum()
        g /= hi - lo
        if isinstance(ours.rule, optim.Adam):  # its first step
            root = np.sqrt(1.0 - ours.rule.beta_2)
            w -= LR * root * g / (root * np.abs(g) + EPS)
        else:
            w -= LR * g
        b -= INTERCEPT_LR * total / (hi - lo)
    return w - start


# -- one large step -----------------------------------------------------------------------------


def steps(bench: Bench) -> Iterator[Task]:
    """One step on all rows, of which X is read once, against two passes of PyTorch."""
    rules = {"SGD": optim.SGD(LR), "Adam": optim.Adam(LR, eps=EPS)}
    for p, n in QUICK_STEPS if bench.quick else STEPS:
        for name, rule in rules.items():
            yield Task(
                f"step {p} {name}",
                f"step, p = {p}, B = {n:,}, {name}",
                partial(step, bench, name, rule, p, n),
            )


def step(bench: Bench, name: str, rule: Any, p: int, n: int) -> Row:
    if not (bench.copy_rate or bench.quick or bench.dry):
        copy_rate(bench)
    ours = Ours(bench, rule, p, n)
    ours.take(n)
    moved, expected = ours.moved(), None if bench.dry else truth(ours, n)
    checked = bench.check("steps", moved, lambda: expected, 1e-4)
    seconds = bench.device_time(lambda: ours.take(n), ours.engine.stream)
    share = ours.bytes_of_rows / seconds / bench.copy_rate if bench.copy_rate else math.nan
    figures = {
        "bandwidth": f"{ours.bytes_of_rows / seconds / 1e12:.2f} TB/s, {share:.0%} of the copy's",
        "as called": seconds_as_text(bench.called_time(lambda: ours.take(n))),
    }
    peers = {}
    if bench.torch:
        peers["torch eager"], called = _eager(bench, ours, expected)
        figures["torch eager, as called"] = seconds_as_text(called)
        if name == "SGD":  # that of Adam computes the same gradient
            try:
                peers["torch compiled"] = _compiled(bench, ours, expected)
            except Exception as error:  # of as many kinds as its compiler has parts
                figures["torch compiled failed"] = f"{type(error).__name__}: {str(error)[:200]}"
    else:
        figures["alone"] = bench.no_torch
    aim, met = "", None
    if (p, n, name) == (AT_P, AT_N, "SGD"):
        aim = "80 % of the copy's bandwidth, 1.6 times torch eager"
        met = reached((share, 0.8), (peers.get("torch eager", math.nan) / seconds, 1.6))
    return Row(
        f"step {p} {name}",
        f"step, p = {p}, B = {n:,}, {name}",
        seconds,
        "s",
        peers,
        aim,
        met,
        checked,
        figures,
    )


def _eager(bench: Bench, ours: Ours, expected: Any) -> tuple[float, float]:
    """Return seconds of the device, and from call to result."""
    theirs = Theirs(bench, ours)
    theirs.take(ours.n)
    bench.check("PyTorch's steps", theirs.moved(), lambda: expected, 1e-3)
    work = partial(theirs.take, ours.n)
    return bench.device_time(work), bench.called_time(work)


def _compiled(bench: Bench, ours: Ours, expected: Any) -> float:
    theirs = Theirs(bench, ours, compiled=True)
    theirs.take(ours.n)
    bench.check("PyTorch's compiled steps", theirs.moved(), lambda: expected, 1e-3)
    return bench.device_time(partial(theirs.take, ours.n))


# -- many small steps ---------------------------------------------------------------------------


def chunks(bench: Bench) -> Iterator[Task]:
    """One hundred mini-batches in one launch, against a loop of PyTorch's; seconds a mini-batch."""
    for p, size in QUICK_CHUNKS if bench.quick else CHUNKS:
        name = f"mini-batches of {size:,} in one launch, p = {p}"
        yield Task(f"chunk {p} {size}", name, partial(chunk, bench, name, p, size))


def chunk(bench: Bench, name: str, p: int, size: int) -> Row:
    many = 3 if bench.quick else N_BATCHES
    ours = Ours(bench, optim.SGD(LR), p, many * size)
    ours.take(size)
    moved, expected = ours.moved(), None if bench.dry else truth(ours, size)
    checked = bench.check(f"weights after {many} steps", moved, lambda: expected, 1e-4)
    seconds = bench.called_time(lambda: ours.take(size)) / many
    on_device = bench.device_time(lambda: ours.take(size), ours.engine.stream) / many
    figures = {"on the device alone": seconds_as_text(on_device)}
    peers: dict[str, float] = {}
    if bench.torch:
        theirs = Theirs(bench, ours)
        theirs.take(size)
        bench.check("weights of PyTorch's steps", theirs.moved(), lambda: expected, 1e-4)
        peers["torch's loop"] = bench.called_time(lambda: theirs.take(size)) / many
        try:
            graph = theirs.as_graph(size)
            peers["torch's loop as a CUDA graph"] = bench.called_time(graph.replay) / many
        except (RuntimeError, AssertionError) as error:  # in the simulator too: there is no CUDA
            figures["no CUDA graph"] = str(error).splitlines()[0]
    aim, met = "", None
    if size == 4096:
        aim = "4 times torch's loop"
        met = reached((peers.get("torch's loop", math.nan) / seconds, 4.0))
    return Row(f"chunk {p} {size}", name, seconds, "s", peers, aim, met, checked, figures)


# -- launches -----------------------------------------------------------------------------------


def nothing(a, b, c, d):  # type: ignore[no-untyped-def]
    pass


def launches(bench: Bench) -> Iterator[Task]:
    """What the host takes for a launch, which it does not wait for."""
    yield Task("launch empty", "launch of an empty kernel", partial(empty_launch, bench))
    yield Task("launch steps", "launch of a mini-batch", partial(step_launch, bench))


def empty_launch(bench: Bench) -> Row:
    arrays = [bench.normal(32) for _ in range(4)]
    launch = kernel(nothing, threads=32)[1, 32]
    peers = {}
    if bench.torch:
        x = bench.tensor(arrays[0])
        peers["torch's x.add_(1)"] = bench.host_time(lambda: x.add_(1.0))
    return Row(
        "launch empty",
        "launch of an empty kernel, 4 arrays",
        bench.host_time(lambda: launch(*arrays)),
        "s",
        peers,
    )


def step_launch(bench: Bench) -> Row:
    ours = Ours(bench, optim.SGD(LR), 32, 16)
    seconds = bench.host_time(lambda: ours.take(16))
    return Row("launch steps", "launch of a mini-batch, 13 arrays and 5 numbers", seconds, "s")
