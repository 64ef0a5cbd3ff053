"""``streamgd train`` on files, in a process of its own with all cores: rows a second, memory."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from compare import Effort, Row, equal
from data import matrix, names, stream
from machine import all_cores

import streamgd
from suites.learn_one import ours

# The command, which says at its end how much memory it had (what the system tells a parent about a child
# starts at the parent's own).
CODE = """
import atexit, re, pathlib
status = pathlib.Path("/proc/self/status")
if status.exists():
    atexit.register(lambda: print(re.search("VmHWM.*", status.read_text())[0]))
from streamgd.cli import main
main()
"""
P = 30


class Run(NamedTuple):
    """One run of the command."""

    seconds: float
    peak: str
    output: str


def train(file: Path, *options: str) -> Run:
    """Run the command; it must succeed."""
    arguments = ["train", str(file), "--target", "target", "--quiet", *options]
    with all_cores():
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", CODE, *arguments], capture_output=True, text=True)
        seconds = time.perf_counter() - start
    if done.returncode != 0:
        raise RuntimeError(f"streamgd {' '.join(arguments)}\n{done.stdout}{done.stderr}")
    peak = re.search(r"VmHWM:\s*(\d+) kB", done.stdout)
    return Run(seconds, f"{int(peak[1]) / 1000:,.0f} MB" if peak else "not known", done.stdout)


def cases(effort: Effort) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for n in (50_000,) if effort.quick else (200_000, 800_000):
            yield from generated(effort, folder, n)
        for stem in ("elec2",) if effort.quick else ("elec2", "fraud_handbook"):
            path = stream(f"{stem}.parquet")
            if path is None:
                yield Row(
                    f"train, {stem}", "row", failed="not found: set STREAMGD_DATA to the streams' folder"
                )
            else:
                yield from real(effort, folder, path)


def write(folder: Path, n: int) -> tuple[Path, Path]:
    """Write the same rows as CSV and as Parquet."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    X, y = matrix(n, P)
    table = pa.table({**dict(zip(names(P), X.T, strict=True)), "target": y})
    text, columns = folder / f"{n}.csv", folder / f"{n}.parquet"
    csv.write_csv(table, text)
    parquet.write_table(table, columns)
    return text, columns


def generated(effort: Effort, folder: Path, n: int) -> Iterator[Row]:
    X, y = matrix(n, P)
    expected = ours("SGD")
    expected.learn_rows(X, y, columns=names(P))
    for file in write(folder, n):
        saved = folder / "model.safetensors"
        options = ("--optimizer", "sgd", "--lr", "0.01")
        train(file, *options, "--save", str(saved))  # also the warm-up
        found = streamgd.load(saved).weights
        checked = equal(found, expected.weights, "weights, to learn_rows' on the array,")
        runs = [train(file, *options) for _ in range(1 if effort.quick else 3)]
        name = f"train, {n:,} rows x {P}, {'CSV' if file.suffix == '.csv' else 'Parquet'}"
        yield row(name, n, runs, checked)
        file.unlink()


def real(effort: Effort, folder: Path, path: Path) -> Iterator[Row]:
    from pyarrow import csv, parquet

    table = parquet.read_table(path)
    text = folder / f"{path.stem}.csv"
    csv.write_csv(table, text)
    for file in (path, text):
        train(file, "--limit", "1000")
        runs = [train(file) for _ in range(1 if effort.quick else 3)]
        name = f"train, {path.stem}, {len(table):,} rows, {'CSV' if file == text else 'Parquet'}"
        yield row(name, len(table), runs, "")


def row(name: str, n: int, runs: list[Run], checked: str) -> Row:
    """Sum up the runs; the command's own summary has the metrics."""
    seconds = [run.seconds / n for run in runs]
    middle = statistics.median(seconds)
    figures = {
        "rows": f"{1 / middle:,.0f} a second, start included",
        "peak memory": runs[-1].peak,
    }
    for line in runs[0].output.splitlines():
        found = re.fullmatch(r"(seconds|rocauc|logloss|accuracy|mae|rmse|r2)\s{2,}(\S.*)", line)
        if found:
            figures[found[1]] = found[2]
    return Row(name, "row", middle, checked=checked, figures=figures, repetitions={"ours": seconds})
