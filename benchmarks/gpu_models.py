"""Many models at once, softmax regression, and neighbours on the device."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from gpu_bench import Bench, Row, Task, reached
from machine import CORES
from numpy.typing import NDArray

from streamgd import linear_model, optim
from streamgd.cuda import _fleet, _neighbours, _settings
from streamgd.cuda._backend import IS_SIMULATED, cuda
from streamgd.cuda._softmax import SoftmaxEngine
from streamgd.kernels import fleet as on_cpu
from streamgd.kernels.fleet import Clock, Outcome, State
from streamgd.kernels.pieces import SAMPLES

RATES = tuple(np.geomspace(1e-4, 1e-2, 8).tolist())  # small: errors of rounding do not grow
FLEETS = tuple((p, m) for p in (31, 127) for m in (1, 100, 1000, 10_000, 1 << 15, 1 << 17))
QUICK_FLEETS = ((7, 3),)
AT = (31, 1 << 15)  # where the aim is
KEYED = ((8, 100_000, 1 << 24), (32, 100_000, 1 << 24))  # columns, keys, events
QUICK_KEYED = ((5, 3, 20),)
SEVERAL = (3, 10, 100)  # classes
QUICK_SEVERAL = (3, 20)
NEAREST = (1024, 100_000, 64, 5)  # queries, rows, columns, neighbours
QUICK_NEAREST = (11, 60, 6, 3)
FEW = _neighbours.Launch(_neighbours.Tile(8, 16, 4, 4), 4, 32, 32)  # for the simulator


# -- fleets -------------------------------------------------------------------------------------


class Fleet(NamedTuple):
    """Models that differ in their rates, as passes on both devices take them."""

    pieces: Any
    state: State
    clock: Clock

    @classmethod
    def of(cls, p: int, m: int, n_settings: int = len(RATES)) -> Fleet:
        """Make ``m`` models of ``p`` columns that have learned nothing."""
        model = linear_model.LogisticRegression(optim.SGD())
        settings = _settings.of_grid(model, {"optimizer.lr": RATES[:n_settings]})
        which = np.arange(m) % n_settings
        hyper, scalars = ([getattr(s, name) for s in settings] for name in ("hyper", "first"))
        arrays = np.array(hyper)[which], np.zeros((m, p)), np.zeros((m, 1, p)), np.zeros((m, p))
        state = State(*(a.astype(np.float32) for a in (*arrays, np.array(scalars)[which])))
        rates = np.array([[schedule.get(0) for schedule in s.schedules] for s in settings])[:, [0, 0, 1]]
        still = np.zeros(m, dtype=np.int64)
        return cls(settings[0].pieces, state, Clock(np.zeros((m, 2)), rates, which, still))

    def copy(self) -> Fleet:
        return self._replace(state=State(*(a.copy() for a in self.state)))

    def of_groups(self, n: int) -> Clock:
        counts, table, first, step = self.clock
        return Clock(counts[:n], table, first[:n], step[:n])


def fleets(bench: Bench) -> Iterator[Task]:
    """Members x rows a second, with their metrics, against all cores of the CPU."""
    for p, m in QUICK_FLEETS if bench.quick else FLEETS:
        yield Task(f"fleet {p} {m}", f"grid of {m:,} models, p = {p}", partial(grid, bench, p, m))
    yield Task("Fleet", "streamgd.cuda.Fleet", partial(public, bench))
    for p, m, n in QUICK_KEYED if bench.quick else KEYED:
        name = f"{n:,} events of {m:,} keys, p = {p}"
        yield Task(f"keyed {p}", name, partial(keyed, bench, name, p, m, n))


def _launch(bench: Bench) -> Any:
    return _fleet.Launch(0, 32, 4) if bench.quick and IS_SIMULATED else _fleet.LAUNCH


def grid(bench: Bench, p: int, m: int) -> Row:
    few = 12 if bench.quick else 128  # rows for the check
    n = 12 if bench.quick else min(1 << 17, max(1 << 15, (1 << 32) // m))
    X, y = bench.normal(n * p).reshape(n, p), bench.labels(n)
    weight, launch = np.ones(1, np.float32), _launch(bench)
    fleet = Fleet.of(p, m)
    pieces, _, clock = fleet
    held = _fleet.hold(pieces, fleet.state)

    def pass_over(rows: int) -> None:
        _fleet.grid_pass(
            pieces, held, clock, X[:rows], y[:rows], weight, False, Outcome.of(m), None, launch=launch
        )

    pass_over(few)
    host_X, host_y = (np.empty((0, p)), np.empty(0)) if bench.dry else (X.copy_to_host(), y.copy_to_host())
    copy = fleet.copy()

    def pass_of_cpu(rows: int) -> None:
        on_cpu.grid_pass(
            pieces,
            copy.state,
            clock,
            host_X[:rows],
            host_y[:rows],
            weight,
            False,
            Outcome.of(m),
            None,
            len(CORES),
        )

    def expected() -> Any:
        pass_of_cpu(few)
        return copy.state.weights

    checked = bench.check(f"weights after {few} rows", _fleet.fetch(pieces, held).weights, expected, 1e-4)
    rate = m * n / bench.called_time(lambda: pass_over(n))
    peers = {}
    if not bench.dry:
        rows = few if bench.quick else min(n, max(64, (1 << 26) // m))  # two seconds of one core
        cores = f"{len(CORES)} cores"
        peers[cores] = m * rows / bench.called_time(lambda: pass_of_cpu(rows))
    aim, met = "", None
    if (p, m) == AT:
        aim, met = "20 G model-samples/s", reached((rate, 20e9))
    lanes = _fleet.plan(pieces, m, p, held.can_pad, launch).lanes
    figures = {"rows": f"{n:,}", "lanes a model": str(lanes)}
    name = f"grid of {m:,} models, p = {p}"
    return Row(f"fleet {p} {m}", name, rate, "model-samples/s", peers, aim, met, checked, figures)


def public(bench: Bench) -> Row:
    """The class itself: labels, tables of rates and metrics are in the time."""
    from streamgd.cuda import Fleet as PublicFleet

    p, m, n = (5, 3, 10) if bench.quick else (31, 1000, 1 << 17)
    X = bench.normal(n * p).reshape(n, p)
    y = bench.rng.random(n) < 0.5
    name = f"streamgd.cuda.Fleet of {m:,}, learn_rows as called, p = {p}"
    make = partial(
        PublicFleet, linear_model.LogisticRegression(), {"optimizer.lr": np.geomspace(1e-3, 1e-1, m).tolist()}
    )
    few, fleet = n // 100 + 2, make(device="cuda")
    fleet.learn_rows(X[:few], y[:few])
    if bench.dry:
        return Row("Fleet", name)
    cpu, host = make(dtype="float32", threads=len(CORES)), X.copy_to_host()
    cpu.learn_rows(host[:few], y[:few])
    ours, theirs = (f.metrics["loss"] for f in (fleet, cpu))
    checked = bench.check(f"losses after {few:,} rows", ours, lambda: theirs, 1e-4)
    rate = m * n / bench.called_time(lambda: fleet.learn_rows(X, y))
    part = n // 8
    peer = m * part / bench.called_time(lambda: cpu.learn_rows(host[:part], y[:part]))
    return Row("Fleet", name, rate, "model-samples/s", {f"{len(CORES)} cores": peer}, "", None, checked)


def keyed(bench: Bench, name: str, p: int, m: int, n: int) -> Row:
    counts = bench.rng.multinomial(n, np.full(m, 1.0 / m))
    starts = np.concatenate([[0], np.cumsum(counts)])
    members, weight, launch = np.arange(m), np.ones(1, np.float32), _launch(bench)
    X, y = bench.normal(n * p).reshape(n, p), bench.labels(n)
    fleet = Fleet.of(p, m, 1)
    pieces = fleet.pieces
    held = _fleet.hold(pieces, fleet.state)

    def pass_over(groups: int) -> None:
        rows = int(starts[groups])
        _fleet.keyed_pass(
            pieces, held, fleet.of_groups(groups), X[:rows], y[:rows], weight, starts[: groups + 1],
            members[:groups], False, Outcome.of(groups), None, launch=launch,
        )  # fmt: skip

    few = max(2, m // 100)
    pass_over(few)
    share = few if bench.quick or bench.dry else m // 8
    host_X, host_y = (a[: int(starts[share])].copy_to_host() for a in (X, y))
    copy = fleet.copy()

    def pass_of_cpu(groups: int) -> None:
        rows = int(starts[groups])
        on_cpu.keyed_pass(
            pieces, copy.state, fleet.of_groups(groups), host_X[:rows], host_y[:rows], weight,
            starts[: groups + 1], members[:groups], False, Outcome.of(groups), None, len(CORES),
        )  # fmt: skip

    def expected() -> Any:
        pass_of_cpu(few)
        return copy.state.weights[:few]

    weights = _fleet.fetch(pieces, held).weights[:few]
    checked = bench.check(f"weights of {few:,} keys", weights, expected, 1e-4)
    rate = n / bench.called_time(lambda: pass_over(m))
    peers = {}
    if not bench.dry:
        seconds = bench.called_time(lambda: pass_of_cpu(share))
        peers[f"{len(CORES)} cores"] = int(starts[share]) / seconds
    return Row(f"keyed {p}", name, rate, "events/s", peers, "", None, checked)


# -- softmax regression -------------------------------------------------------------------------


def softmax(bench: Bench) -> Iterator[Task]:
    """Sums of gradients of all classes, which one kernel makes of few, and products of matrices of many."""
    p, n = (8, 20) if bench.quick else (128, 1 << 20)
    for known in QUICK_SEVERAL if bench.quick else SEVERAL:
        name = f"gradients of {known} classes, p = {p}, B = {n:,}"
        yield Task(f"softmax {known}", name, partial(classes, bench, name, p, n, known))


def classes(bench: Bench, name: str, p: int, n: int, known: int) -> Row:
    model = linear_model.SoftmaxRegression()
    pieces = model._pieces
    weights = bench.rng.standard_normal((p, known), dtype=np.float32) / np.float32(np.sqrt(p))
    scalars = np.zeros((known, pieces.n_scalars), np.float32)
    scalars[:, SAMPLES] = 1.0  # all classes have been seen
    slots = np.zeros((max(1, pieces.n_slots), p, known), np.float32)
    X, y = bench.normal(n * p), bench.rng.integers(0, known, n).astype(np.float32)
    labels, one = cuda.to_device(y), cuda.to_device(np.ones(1, np.float32))
    z = cuda.device_array(n * known, np.float32)
    engine = SoftmaxEngine(pieces, p, known, 4, aligned=True)
    hyper = model._hp.astype(np.float32)
    engine.begin(hyper, weights, slots, np.zeros_like(weights), scalars, np.ones(known, np.float32))

    def add() -> None:
        engine.add(X, labels, one, z, False, n)

    add()
    sums, _ = engine.sums()

    def truth() -> Any:
        rows, total = X.copy_to_host().reshape(n, p), np.zeros((p, known))
        for lo in range(0, n, 1 << 17):
            part = rows[lo : lo + (1 << 17)].astype(np.float64)
            d = np.exp(part @ weights)
            d /= d.sum(axis=1, keepdims=True)
            d[np.arange(len(d)), y[lo : lo + len(d)].astype(int)] -= 1.0
            total += part.T @ d
        return total

    expected = None if bench.dry else truth()
    checked = bench.check("gradients", sums[1:], lambda: expected, 1e-4)
    seconds = bench.device_time(add, engine.stream)
    figures = {"way": "one kernel" if engine._how is not None else "products of matrices"}
    peers = {}
    if bench.torch:
        torch, rows = bench.torch, bench.tensor(X).reshape(n, p)
        W = torch.as_tensor(weights, device=rows.device)
        truly = bench.tensor(labels).long()

        def gradient() -> Any:
            d = torch.softmax(rows @ W, dim=1)
            d.scatter_add_(1, truly[:, None], minus)
            return rows.T @ d, d.sum(dim=0)

        minus = torch.full((n, 1), -1.0, device=rows.device)
        for tf32 in (False, True):
            torch.backends.cuda.matmul.allow_tf32 = tf32
            kind = "torch eager, TF32" if tf32 else "torch eager"
            bench.check(f"gradients of {kind}", gradient()[0].cpu(), lambda: expected, 1e-2 if tf32 else 1e-4)
            peers[kind] = bench.device_time(gradient)
        torch.backends.cuda.matmul.allow_tf32 = False
    return Row(f"softmax {known}", name, seconds, "s", peers, "", None, checked, figures)


# -- neighbours ---------------------------------------------------------------------------------


def neighbours(bench: Bench) -> Iterator[Task]:
    """Nearest rows of some rows of a table that is on the device, and lists of them on the host."""
    yield Task("neighbours", "nearest rows", partial(nearest, bench))


def nearest(bench: Bench) -> Row:
    q, n, p, k = QUICK_NEAREST if bench.quick else NEAREST
    values = bench.rng.standard_normal((n, p)).astype(np.float32).astype(np.float64)
    table = _neighbours.Table(values, launch=FEW if bench.quick and IS_SIMULATED else _neighbours.LAUNCH)
    queries = np.arange(q)

    def search() -> Any:
        return table.nearest(queries, queries, n, k)

    few = min(q, 16)

    def expected() -> NDArray[np.float64]:
        squares = ((values[:few, np.newaxis] - values[np.newaxis]) ** 2).sum(axis=2)
        squares[queries[:few], queries[:few]] = np.inf
        return np.sort(squares, axis=1)[:, :k]

    _, squares = search()
    checked = bench.check(f"distances of {few} rows", squares[:few], expected, 1e-5)
    seconds = bench.called_time(search)
    peers = {}
    if bench.torch:
        torch = bench.torch
        rows = bench.tensor(cuda.to_device(values.astype(np.float32)))

        def cdist() -> Any:
            near = torch.cdist(rows[:q], rows).topk(k + 1, largest=False)
            return near.indices.cpu(), near.values.cpu()

        _, distances = cdist()
        bench.check("distances of PyTorch", distances[:few, 1:] ** 2, expected, 1e-3)
        peers["torch.cdist, topk"] = bench.called_time(cdist)
    name = f"{k} nearest of {n:,} rows, {q:,} queries, p = {p}"
    figures = {"pairs": f"{q * n / seconds / 1e9:.0f} G/s"}
    return Row("neighbours", name, seconds, "s", peers, "", None, checked, figures)
