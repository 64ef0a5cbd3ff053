"""`fit` from every source: beside reading the same source alone, beside peers on the same files, memory.

Everything here has all cores, as a user has: sources that read do so in a thread of their own.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from compare import Case, Effort, Row, Side, equal, in_turn
from data import as_dicts, matrix, names
from machine import CORES, all_cores
from numpy.typing import NDArray
from report import line, ratio_as_text

import streamgd
from streamgd import stream
from suites.learn_one import ours, rivers
from suites.learn_rows import VW_CONSTANT, VW_OPTIONS, plain_sgd

P = 30
TARGET = "target"
AIMS = {"Parquet": "at least 0.60", "CSV": "at least 0.90", "svmlight": "at least 0.90"}
SHARDS = 16
CHUNK = 65_536

HEAD = (
    "One pass of `streamgd.fit(LogisticRegression(SGD(0.01)), source, metrics=[])`: every row is predicted, "
    "its loss is added up, and it is learned, one update a row. Opening a file or wrapping an object is in "
    "the time, making it is not; files are in the system's cache. All is warm and has all cores. The weights "
    "are compared with one `learn_rows` over the same numbers in memory before anything is timed. The sides "
    "are run in turn, and medians stand here."
)
ALONE = (
    "Beside `for batch in source: pass`, in one thread, or what the notes say: the ratio is the share of the "
    "source's speed that is left when the rows are learned. Reading ahead overlaps the two, so 1 can be met."
)
PEERS = "Peers on the same files; the ratio is how many times longer they take."

# What a process prints at its end: what the system tells a parent about a child starts at the parent's own.
MEMORY = """
import pathlib, re, sys, warnings
import streamgd
from streamgd import linear_model, optim
path, target = sys.argv[1:]
more = {} if path.endswith(".svm") else {"target": target}
model = linear_model.LogisticRegression(optim.SGD(0.01))
history = streamgd.fit(model, path, metrics=[], progress=False, **more)
status = pathlib.Path("/proc/self/status").read_text()
print(history.samples, re.search(r"VmHWM:\\s*(\\d+)", status)[1])
"""


class Beside(NamedTuple):
    """A source, and what is timed beside learning from it."""

    name: str
    make: Callable[[], Any]
    X: NDArray[Any]
    y: NDArray[Any]
    alone: Callable[[Any], object]
    alone_name: str = "its batches alone"


def cases(effort: Effort) -> Iterator[Case | Row]:
    import pyarrow as pa

    n = 100_000 if effort.quick else 2_000_000
    with tempfile.TemporaryDirectory() as name, every_core():
        pa.set_cpu_count(len(CORES))
        folder = Path(name)
        floats, y = matrix(n, P)
        X = floats.astype(np.float32)
        # numbers that text, too, has to the bit, in about as many digits as a float32 needs
        Z = (np.round(floats * 256) / 256).astype(np.float32)
        del floats
        for source in in_memory(X, y):
            yield row(source, effort)
        yield row(samples(Z, y, 2_000 if effort.quick else 50_000), effort)
        for source in binary_files(folder, X, y):
            yield row(source, effort)
        files = Files(folder, Z, y)
        for source in text_files(files):
            yield row(source, effort)
        small = Files(folder, Z[: n // 10], y[: n // 10])
        yield row(compressed(small), effort)
        yield from peers(small, effort)
        for kind in ("parquet", "csv", "svm"):
            yield memory(small.path(kind), files.path(kind), n)


@contextmanager
def every_core() -> Iterator[None]:
    """Use all cores, in the threads of libraries too that began when there was one."""
    with all_cores():
        tasks = Path("/proc/self/task")
        for task in tasks.iterdir() if tasks.exists() else ():
            os.sched_setaffinity(int(task.name), CORES)
        yield


# -- files -------------------------------------------------------------------------------------


class Files:
    """The same rows in files of several formats, which are written when they are asked for."""

    def __init__(self, folder: Path, X: NDArray[np.float32], y: NDArray[np.int64]) -> None:
        self.X, self.y = X, y
        self._folder = folder

    def path(self, kind: str) -> Path:
        """Return the file whose name ends in ``kind``."""
        path = self._folder / f"{len(self.X)}.{kind}"
        if not path.exists():
            getattr(self, "_write_" + kind.replace(".", "_"))(path)
        return path

    def _write_parquet(self, path: Path) -> None:
        write_parquet(table(self.X, self.y), path)

    def _write_csv(self, path: Path) -> None:
        from pyarrow import csv

        # as float64: the shortest text of a float32 is another number
        whole = table(self.X.astype(np.float64), self.y)
        csv.write_csv(whole, path, csv.WriteOptions(quoting_style="none"))

    def _write_csv_gz(self, path: Path) -> None:
        with self.path("csv").open("rb") as text, gzip.open(path, "wb", compresslevel=1) as file:
            shutil.copyfileobj(text, file, 1 << 20)

    def _write_svm(self, path: Path) -> None:
        write_pairs(path, self.X, self.y, "", [f"{k}:" for k in range(1, P + 1)])

    def _write_vw(self, path: Path) -> None:
        write_pairs(path, self.X, 2 * self.y - 1, " |", [f"{k}:" for k in range(P)])


def table(X: NDArray[Any], y: NDArray[Any]) -> Any:
    import pyarrow as pa

    return pa.table({**dict(zip(names(P), np.ascontiguousarray(X.T), strict=True)), TARGET: y})


def write_parquet(table: Any, path: Path) -> None:
    """Write as pyarrow does by default, but plain: dictionaries suit numbers that are few."""
    from pyarrow import parquet

    parquet.write_table(table, path, use_dictionary=False)


def write_pairs(
    path: Path, X: NDArray[np.float32], y: NDArray[np.int64], behind: str, before: list[str]
) -> None:
    """Write a line a row: the target, and each number behind its name."""
    import pyarrow as pa
    import pyarrow.compute as pc

    with path.open("w") as file:
        for lo in range(0, len(X), CHUNK):
            cells = [pa.array(y[lo : lo + CHUNK]).cast(pa.string()), behind]
            for name, column in zip(before, X[lo : lo + CHUNK].T.astype(np.float64), strict=True):
                cells += [f" {name}", pa.array(column).cast(pa.string())]
            file.write("\n".join(pc.binary_join_element_wise(*cells, "").to_pylist()) + "\n")


# -- sources beside themselves -----------------------------------------------------------------


def batches(source: Any) -> None:
    """Read a source and nothing else."""
    for _ in stream.source(source):
        pass


def copied(source: Any) -> None:
    """Read an array, whose batches are views of it."""
    for batch in stream.source(source):
        np.array(batch.X)


def in_memory(X: NDArray[Any], y: NDArray[Any]) -> Iterator[Beside]:
    """Yield what users hold in memory."""
    import polars

    def of(data: Any) -> Callable[[], Any]:
        return lambda: stream.source(data, target=TARGET)

    yield Beside("NumPy array", lambda: stream.source(X, y), X, y, copied, "copying its batches")
    whole = table(X, y)
    yield Beside("Arrow table", of(whole), X, y, batches)
    yield Beside("record-batch reader", lambda: of(whole.to_reader(max_chunksize=CHUNK))(), X, y, batches)
    yield Beside("pandas frame", of(whole.to_pandas()), X, y, batches)
    yield Beside("polars frame", of(polars.from_arrow(whole)), X, y, batches)


def samples(X: NDArray[Any], y: NDArray[Any], n: int) -> Beside:
    """Return dicts, one by one; their peer is the loop that a user would write."""
    X, y = X[:n].astype(np.float64), y[:n]
    pairs = list(zip(as_dicts(X), y.tolist(), strict=True))

    def loop(_: Any) -> None:
        learn = ours("SGD").learn_one
        for x, label in pairs:
            learn(x, label)

    return Beside(
        "Samples, dicts made beforehand", lambda: stream.source(pairs), X, y, loop, "learn_one in a loop"
    )


def binary_files(folder: Path, X: NDArray[Any], y: NDArray[Any]) -> Iterator[Beside]:
    """Write and yield files of float32 numbers, one after the other."""
    import pyarrow as pa

    path = folder / "rows.npy"
    np.save(path, X)
    yield Beside(
        "memory-mapped .npy",
        lambda: stream.source(np.load(path, mmap_mode="r"), y),
        X, y, copied, "copying its batches",
    )  # fmt: skip
    path.unlink()

    def of(path: Path) -> Callable[[], Any]:
        return lambda: stream.source(path, target=TARGET)

    whole = table(X, y)
    path = folder / "rows.arrow"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, whole.schema) as writer:
        writer.write_table(whole, max_chunksize=CHUNK)
    yield Beside("Arrow IPC file", of(path), X, y, batches)
    path.unlink()

    shards = folder / "shards"
    shards.mkdir()
    size = -(-len(X) // SHARDS)
    for k in range(SHARDS):
        write_parquet(whole.slice(k * size, size), shards / f"{k:03}.parquet")
    yield Beside(f"Parquet, folder of {SHARDS} files", of(shards), X, y, batches)
    shutil.rmtree(shards)

    path = folder / "rows.parquet"
    write_parquet(whole, path)
    yield Beside("Parquet, one file", of(path), X, y, batches)
    yield Beside("Parquet, one file", of(path), X, y, lambda _: decoded(path), "pyarrow's iter_batches alone")
    path.unlink()


def decoded(path: Path) -> None:
    """Decode a file with pyarrow, into columns."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        for _ in file.iter_batches(131_072):
            pass


def text_files(files: Files) -> Iterator[Beside]:
    """Yield text, whose numbers are float64."""
    X, y = files.X.astype(np.float64), files.y
    path = files.path("csv")
    yield Beside("CSV", lambda: stream.source(path, target=TARGET), X, y, batches)
    yield Beside(
        "CSV, parsed by 4 threads", lambda: stream.source(path, target=TARGET, threads=4), X, y, batches
    )
    yield Beside("svmlight", lambda: stream.source(files.path("svm")), X, y, batches)
    yield Beside("Vowpal Wabbit text", lambda: stream.source(files.path("vw")), X, y, batches)


def compressed(files: Files) -> Beside:
    path = files.path("csv.gz")
    X = files.X.astype(np.float64)
    return Beside("CSV.gz", lambda: stream.source(path, target=TARGET), X, files.y, batches)


def learned(source: Any, **options: Any) -> Any:
    """Return a model after one pass."""
    model = ours("SGD")
    streamgd.fit(model, source, metrics=[], progress=False, **options)
    return model


def row(source: Beside, effort: Effort) -> Row:
    """Compare weights, then time both sides; a row that fails says so."""
    name, n = f"{source.name}, {len(source.y):,} rows", len(source.y)
    aim = AIMS.get(source.name.partition(",")[0], "")
    aim = aim if source.alone_name == "its batches alone" and "threads" not in source.name else ""
    try:
        checked = same_weights(learned(source.make()), source.X, source.y)
        sides = [lambda: learned(source.make()), lambda: source.alone(source.make())]
        sides[1]()
        start = time.perf_counter()
        in_turn([seconds(side) for side in sides], 1)
        affordable = int(effort.most / (time.perf_counter() - start))
        fits, alone = in_turn([seconds(side) for side in sides], max(3, min(effort.repetitions, affordable)))
    except Exception as error:
        traceback.print_exception(error)
        return Row(name, "row", peer_name=source.alone_name, aim=aim, failed=f"{error!r}")
    fits, alone = ([total / n for total in side] for side in (fits, alone))
    ours, peer = median(fits), median(alone)
    return Row(
        name, "row", ours, source.alone_name, peer, peer / ours, aim, checked,
        repetitions={"ours": fits, "peer": alone},
    )  # fmt: skip


def seconds(side: Callable[[], object]) -> Callable[[], float]:
    def timed() -> float:
        start = time.perf_counter()
        side()
        return time.perf_counter() - start

    return timed


def same_weights(model: Any, X: NDArray[Any], y: NDArray[Any]) -> str:
    """Compare with one call on the array."""
    expected = ours("SGD")
    expected.learn_rows(X, y)
    equal(model.intercept, expected.intercept, "intercepts")
    return equal(list(model.weights.values()), list(expected.weights.values()), "weights")


# -- peers -------------------------------------------------------------------------------------


def peers(files: Files, effort: Effort) -> Iterator[Case]:
    yield from against_vowpal_wabbit(files)
    yield against_sklearn(files)
    yield against_river(files, 500 if effort.quick else 5_000)


def our_pass(path: Path) -> Any:
    """Learn a file from its beginning to its end."""
    return learned(stream.source(path, **({} if path.suffix in (".vw", ".svm") else {"target": TARGET})))


def against_vowpal_wabbit(files: Files) -> Iterator[Case]:
    """Compare with its text, and our Parquet with its cache: what each reads fastest from disk."""
    from vowpalwabbit import pyvw

    text = files.path("vw")
    cache = text.with_suffix(".cache")
    on_text = f"{VW_OPTIONS} -d {text}"
    on_cache = f"{on_text} --cache_file {cache}"
    pyvw.Workspace(f"{on_cache} --kill_cache").finish()
    for name, path, options in (
        ("its text", text, on_text),
        ("its cache", files.path("parquet"), on_cache),
    ):

        def check(path: Path = path, options: str = options) -> str:
            model, peer = our_pass(path), pyvw.Workspace(options)
            weights = [peer.get_weight(k) for k in range(P)]
            constant = peer.get_weight(VW_CONSTANT)
            peer.finish()
            equal(model.intercept, constant, "intercepts", 1e-3)
            return equal(list(model.weights.values()), weights, "weights", 1e-3)

        yield Case(
            f"fit from {'the same text' if path is text else 'Parquet'}, {len(files.y):,} rows x {P}",
            check,
            Side(lambda path=path: our_pass(path), len(files.y), every_core=True),
            f"Vowpal Wabbit, {name}",
            Side(lambda options=options: pyvw.Workspace(options).finish(), len(files.y), every_core=True),
            headline=True,
        )


def against_sklearn(files: Files) -> Case:
    import pandas as pd

    path = files.path("csv")

    def peer_pass() -> Any:
        model = plain_sgd()
        with pd.read_csv(path, chunksize=CHUNK) as chunks:
            for chunk in chunks:
                y = chunk.pop(TARGET).to_numpy()
                model.partial_fit(chunk.to_numpy(), y, classes=np.array([0, 1]))
        return model

    def check() -> str:
        model, peer = our_pass(path), peer_pass()
        equal(model.intercept, peer.intercept_, "intercepts")
        return equal(list(model.weights.values()), peer.coef_, "weights")

    return Case(
        f"fit from CSV, {len(files.y):,} rows x {P}",
        check,
        Side(lambda: our_pass(path), len(files.y), every_core=True),
        "scikit-learn, partial_fit of pandas' chunks",
        Side(peer_pass, len(files.y), every_core=True),
        headline=True,
    )


def against_river(files: Files, n: int) -> Case:
    from itertools import islice

    from river import stream as river_stream

    path = files.path("csv")
    converters = {**dict.fromkeys(names(P), float), TARGET: int}

    def peer_pass() -> Any:
        model = rivers("SGD")
        with path.open() as file:
            for x, label in islice(river_stream.iter_csv(file, TARGET, converters=converters), n):
                model.learn_one(x, bool(label))
        return model

    def check() -> str:
        model, peer = learned(stream.source(path, target=TARGET), max_rows=n), peer_pass()
        equal(model.intercept, peer.intercept, "intercepts")
        return equal(model.weights, dict(peer.weights), "weights") + f" after {n:,} rows"

    return Case(
        f"fit from CSV, {len(files.y):,} rows x {P}",
        check,
        Side(lambda: our_pass(path), len(files.y), every_core=True),
        f"river, iter_csv and learn_one, {n:,} rows",
        Side(peer_pass, n, every_core=True),
        headline=True,
    )


# -- memory ------------------------------------------------------------------------------------


def memory(small: Path, large: Path, n: int) -> Row:
    """Compare the most memory that processes had which learned one file, and one ten times longer."""
    peaks = []
    for path, rows in ((small, n // 10), (large, n)):
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, str(path), TARGET], capture_output=True, text=True, check=False
        )
        if done.returncode:
            return Row(f"peak memory, {path.suffix[1:]}", "", failed=done.stderr.strip().splitlines()[-1])
        seen, peak = map(int, done.stdout.split())
        assert seen == rows
        peaks.append(peak / 1000)
    sizes = f"files of {small.stat().st_size / 1e6:,.0f} and {large.stat().st_size / 1e6:,.0f} MB"
    return Row(
        f"peak memory, {large.suffix[1:]}, {n:,} rows beside {n // 10:,}",
        "",
        ratio=peaks[1] / peaks[0],
        aim="at most 1.2",
        figures={"whole process": f"{peaks[1]:,.0f} MB beside {peaks[0]:,.0f} MB", sizes: "flat if 1"},
    )


# -- page --------------------------------------------------------------------------------------


def page(machine: str, rows: Iterable[Row]) -> str:
    """Write rates beside reading alone, then peers, then memory."""
    rows = list(rows)
    beside = [r for r in rows if not r.headline and not r.failed and r.unit]
    rest = [r for r in rows if r not in beside]
    lines = ["# stream", "", machine, "", f"`python benchmarks/run.py --suite stream`. {HEAD}", "", ALONE, ""]
    lines += [f"{P} float32 columns; million rows a second:", ""]
    lines += ["| source | fit | alone | ratio | aim | notes |", "|---|---:|---:|---:|---|---|"]
    for r in beside:
        assert r.ours is not None
        assert r.peer is not None
        alone = f"{1e-6 / r.peer:.3g}" + ("" if r.peer_name == "its batches alone" else f" ({r.peer_name})")
        lines.append(
            f"| {r.name} | {1e-6 / r.ours:.3g} | {alone} | {ratio_as_text(r.ratio)} | {r.aim} | {r.checked} |"
        )
    lines += [
        "",
        PEERS,
        "",
        "| what | streamgd | peer | ratio | aim | notes |",
        "|---|---:|---:|---:|---|---|",
    ]
    lines += [line(asdict(r)) for r in rest]
    return "\n".join(lines) + "\n"
