"""The command for a GPU: what was predicted, what is measured, and what it is measured against."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import click
import gpu_compile
import machine
import numpy as np
import report

HERE = Path(__file__).parent
sys.path.insert(1, str(HERE.parent))  # the package of this checkout is measured

PACKAGES = ("numba-cuda", "cuda-core", "cuda-bindings", "cuda-toolkit", "torch", "triton")
CUPY = ("cupy", "cupy-cuda13x", "cupy-cuda12x")
SECONDS = 540  # after so many no other section is begun


class Prediction(NamedTuple):
    """What was expected of an H100 before one was asked, and why."""

    low: float
    high: float
    why: str


# Seconds, or bytes or things a second. 3.0 TB/s is what a copy on an H100 was seen to move, 55 GB/s what one
# from pinned memory over PCIe 5 moves; nothing else here rests on a measurement on a GPU.
PREDICTIONS = {
    "copy": Prediction(2.7e12, 3.1e12, "3.0 TB/s"),
    "read": Prediction(2.8e12, 3.2e12, "no writes in between"),
    "torch copy": Prediction(2.8e12, 3.1e12, "as the driver's"),
    "driver copy": Prediction(2.8e12, 3.1e12, "3.0 TB/s"),
    "step 8 SGD": Prediction(56e-6, 80e-6, "168 MB; 32 bytes a row make targets and outputs count"),
    "step 8 Adam": Prediction(56e-6, 80e-6, "as SGD: the rule has 8 columns"),
    "step 128 SGD": Prediction(182e-6, 225e-6, "545 MB; 2 of 4 issue slots are free"),
    "step 128 Adam": Prediction(182e-6, 230e-6, "as SGD"),
    "step 1000 SGD": Prediction(175e-6, 240e-6, "525 MB; a barrier for each row"),
    "step 1000 Adam": Prediction(175e-6, 245e-6, "as SGD"),
    "step 4096 SGD": Prediction(360e-6, 550e-6, "1074 MB; rows come a second time from the cache"),
    "step 4096 Adam": Prediction(360e-6, 560e-6, "as SGD"),
    "chunk 32 256": Prediction(4e-6, 9e-6, "one block: latency of reads, sums and rule, no grid barrier"),
    "chunk 32 4096": Prediction(5e-6, 12e-6, "two grid barriers of 1.5 us, and the step by one block"),
    "chunk 128 256": Prediction(4e-6, 10e-6, "two blocks, two grid barriers"),
    "chunk 128 4096": Prediction(7e-6, 14e-6, "2 MB by 32 blocks, 23 GB/s each"),
    "launch empty": Prediction(20e-6, 32e-6, "21 us of Python for 4 arrays, and the driver"),
    "launch steps": Prediction(60e-6, 100e-6, "5 us of Python for each of 13 arrays"),
    "fleet 31 1": Prediction(3e6, 7e6, "150 to 300 ns of latency a row"),
    "fleet 31 100": Prediction(3e8, 6e8, "as many at once as there are, a warp each"),
    "fleet 31 1000": Prediction(2e9, 5e9, "the same"),
    "fleet 31 10000": Prediction(1e10, 2.5e10, "four lanes each: 82 G/s by issue slots, two warps in each"),
    "fleet 31 32768": Prediction(2e10, 6e10, "a lane each, 155 G/s by issue slots, two warps in each"),
    "fleet 31 131072": Prediction(4e10, 9e10, "issue slots, checks and IEEE division among them"),
    "fleet 127 1": Prediction(3e6, 6e6, "latency"),
    "fleet 127 100": Prediction(2e8, 5e8, "latency"),
    "fleet 127 1000": Prediction(2e9, 4e9, "latency"),
    "fleet 127 10000": Prediction(5e9, 1.5e10, "11 to 29 G/s by issue slots"),
    "fleet 127 32768": Prediction(6e9, 2e10, "issue slots"),
    "fleet 127 131072": Prediction(8e9, 2.5e10, "issue slots"),
    "Fleet": Prediction(1e9, 4e9, "as the grid of 1,000, and the host's work on labels and rates"),
    "keyed 8": Prediction(4e8, 1.2e9, "75 G/s by bandwidth; the keys' clocks, by the host, take 20 ms"),
    "keyed 32": Prediction(4e8, 1.2e9, "22 G/s by bandwidth; else the same"),
    "softmax 3": Prediction(190e-6, 280e-6, "541 MB"),
    "softmax 10": Prediction(300e-6, 600e-6, "5.4 GFLOP, and weights from shared memory for each row"),
    "softmax 100": Prediction(3e-3, 7e-3, "32 parts of five launches, 150 us of Python each"),
    "neighbours": Prediction(0.8e-3, 1.8e-3, "0.5 ms by issue slots; lists to the host"),
    "pinned": Prediction(50e9, 56e9, "PCIe 5"),
    "pageable": Prediction(8e9, 25e9, "three to five times slower"),
    "stream pinned": Prediction(48e9, 55e9, "the bus; kernels take a fiftieth of the time"),
    "stream float32": Prediction(40e9, 55e9, "four cores fill pinned memory at 60 GB/s"),
    "stream float64": Prediction(25e9, 40e9, "four cores convert at 35 GB/s"),
    "stream float16": Prediction(40e9, 55e9, "as float32: nothing is converted on the host"),
    "stream uint8": Prediction(40e9, 55e9, "as float32: nothing is converted on the host"),
    "fit host": Prediction(1e7, 4e7, "labels and outputs on the host, 20 ns a row and more"),
    "fit device": Prediction(2e7, 6e7, "the same, but no copies of rows"),
}  # fmt: skip


@click.command()
@click.option("--section", "chosen", multiple=True, help="Only this; may be repeated.")
@click.option("--quick", is_flag=True, help="Small sizes, no timings worth a look: does all of it run?")
@click.option("--compile-only", "dry", is_flag=True, help="Compile the kernels, for sm_90; needs no device.")
@click.option("--results", type=click.Path(path_type=Path), help="Where results go.")
def main(chosen: tuple[str, ...], quick: bool, dry: bool, results: Path | None) -> None:
    """Measure streamgd on this machine's GPU, within ten minutes; the table comes last.

    Results are written where there is a device, or with --results. Exit code 1 when something failed or gave
    results that were not equal; a slow row is no failure.
    """
    from streamgd.cuda import CudaUnavailable, _errors

    try:
        if dry:
            gpu_compile.stand_in()
        _errors.require()
    except CudaUnavailable as error:
        raise click.ClickException(str(error)) from error
    from gpu_bench import Bench

    from streamgd.cuda._backend import IS_SIMULATED

    for name in chosen:
        if name not in sections():
            raise click.BadParameter(f"{name!r} is none of {', '.join(sections())}")
    found = machine.describe()
    found["gpu"] = {"name": "none: --compile-only"} if dry else environment()
    click.echo(f"{described(found)}\n")
    where = results or HERE / "results" / ("quick" if quick else "")
    keeps = not dry and (results is not None or not IS_SIMULATED)
    start, bench, rows = time.perf_counter(), Bench(quick, dry), []
    for name in chosen or sections():
        begun = time.perf_counter()
        for row in measured(name, bench, begun - start):
            click.echo(f"  {row.name}: {row.failed or amount(row.value, row.unit)}")
            rows.append(row)
        click.echo(f"{name}: {time.perf_counter() - begun:.0f} s")
        if keeps:  # what is measured, if this is cut off
            write(where, found, rows, quick)
    failed = [row.failed for row in rows if row.failed]
    if dry:
        failed += gpu_compile.report()
    else:
        click.echo("\n" + "\n".join(table(rows, quick)))
    if failed:
        click.echo(f"{len(failed)} failed", err=True)
        sys.exit(1)


def sections() -> dict[str, Callable[..., Iterator[Any]]]:
    """Return what can be measured, in its order: rates that others are compared with come before them."""
    import gpu_batches
    import gpu_models
    import gpu_stream

    return {
        "start": started,
        "bandwidth": gpu_batches.bandwidth,
        "step": gpu_batches.steps,
        "chunk": gpu_batches.chunks,
        "launch": gpu_batches.launches,
        "fleet": gpu_models.fleets,
        "softmax": gpu_models.softmax,
        "neighbours": gpu_models.neighbours,
        "stream": gpu_stream.streaming,
    }


def measured(name: str, bench: Any, elapsed: float) -> Iterator[Any]:
    """Yield a section's rows. One that fails says so in its place, and the next ones are measured."""
    from gpu_bench import Row

    if elapsed > SECONDS:
        yield Row(name, name, failed=f"not begun: {elapsed:.0f} s have gone by")
        return
    try:
        for task in sections()[name](bench):
            try:
                yield task.run()
            except Exception as error:
                yield Row(task.key, task.name, failed=explained(error))
    except Exception as error:
        yield Row(name, name, failed=explained(error))


def explained(error: Exception) -> str:
    """Print where an error came from, and return its first line for the table."""
    traceback.print_exception(error)
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]}"


# -- the machine --------------------------------------------------------------------------------


def started(bench: Any) -> Iterator[Any]:
    """The first kernel: how long it takes to compile one."""
    from gpu_bench import Row, Task

    from streamgd.cuda._backend import cuda, kernel

    def double(x):  # type: ignore[no-untyped-def]
        i = cuda.grid(1)
        if i < x.size:
            x[i] += x[i]

    def first() -> Row:
        host = bench.rng.random(32, dtype=np.float32)
        x = cuda.to_device(host)
        start = time.perf_counter()
        kernel(double, threads=32)[1, 32](x)
        cuda.synchronize()
        seconds = time.perf_counter() - start
        checked = bench.check("results", x.copy_to_host(), lambda: 2.0 * host, 0.0)
        return Row("start", "first kernel, compiled and run", seconds, checked=checked)

    yield Task("start", "first kernel", first)


def environment() -> dict[str, Any]:
    """Return what there is: device, driver, versions."""
    from streamgd.cuda._backend import IS_SIMULATED

    versions = {name: machine._version(name) for name in PACKAGES}
    versions["cupy"] = next((f"{name} {v}" for name in CUPY if (v := installed(name))), "not installed")
    if IS_SIMULATED:
        return {"name": "none: the simulator", "versions": versions}
    asked = {"name": named, "capability": capability, "memory": memory, "driver": driver, "CUDA": toolkit}
    return {key: told(answer) for key, answer in asked.items()} | {"versions": versions}


def told(answer: Callable[[], str]) -> str:
    """Return an answer, or why there is none: what cannot be told is no reason not to measure."""
    try:
        return answer()
    except Exception as error:
        return f"unknown ({type(error).__name__}: {error})"


def named() -> str:
    from streamgd.cuda._backend import cuda

    name = cuda.get_current_device().name
    return name.decode() if isinstance(name, bytes) else str(name)


def capability() -> str:
    from streamgd.cuda._backend import cuda

    device = cuda.get_current_device()
    return f"{'.'.join(map(str, device.compute_capability))}, {device.MULTIPROCESSOR_COUNT} multiprocessors"


def memory() -> str:
    from streamgd.cuda._backend import cuda

    return f"{cuda.current_context().get_memory_info()[1] / 2**30:.0f} GiB"


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def driver() -> str:
    """Return the driver's version, as nvidia-smi has it."""
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()[0]


def toolkit() -> str:
    """Return the versions of CUDA that the compiler is of, and that the driver can run."""
    from cuda.bindings import driver as api
    from cuda.bindings import nvrtc

    _, major, minor = nvrtc.nvrtcVersion()
    _, number = api.cuDriverGetVersion()
    return f"{major}.{minor} (driver {number // 1000}.{number % 1000 // 10})"


def described(found: dict[str, Any]) -> str:
    """Say in a line what is measured on."""
    gpu = dict(found["gpu"])
    versions = gpu.pop("versions", {})
    what = [gpu.pop("name"), *(f"{key} {value}" for key, value in gpu.items())]
    numbers = ", ".join(f"{name} {number}" for name, number in versions.items())
    return "; ".join(filter(None, [", ".join(what), numbers, report.machine_as_text(found)]))


# -- the table ----------------------------------------------------------------------------------

HEAD = (
    "Both sides give results that are equal to float64's on the CPU, as the notes say how equal, before they "
    "are timed, on random data that no cache of the device holds. Medians of up to 30, warm. Steps, softmax "
    "and bandwidth are timed by events of the device, which is busy until the host has asked for all of it; "
    "the rest by the clock, from the call until the device is through. Bandwidth counts bytes read and "
    "written. Predictions, for an H100, were written before, with their reasons in `benchmarks/gpu.py`; "
    "where they were missed, it says on which side. A ratio is how many times faster we are."
)


def table(rows: list[Any], quick: bool) -> list[str]:
    """Write all rows as Markdown; predictions and aims are not for quick runs."""
    head = ["| what | predicted | measured | others | aim | notes |", "|---|---:|---:|---|---|---|"]
    if quick:
        return head + [line(replace(row, aim=""), None) for row in rows]
    return head + [line(row, PREDICTIONS.get(row.key)) for row in rows]


def line(row: Any, predicted: Prediction | None) -> str:
    expected = ""
    if predicted:
        expected = f"{amount(predicted.low, row.unit)} to {amount(predicted.high, row.unit)}: {predicted.why}"
    if row.failed:
        cells = [row.name, expected, "**FAILED**", "", row.aim, row.failed]
    else:
        measured = amount(row.value, row.unit)
        if predicted and not predicted.low <= row.value <= predicted.high:
            faster = (row.value < predicted.low) == (row.unit == "s")
            measured += f" ({'faster' if faster else 'slower'})"
        others = [
            f"{name}: {amount(value, row.unit)}, {report.ratio_as_text(row.times(name))}"
            for name, value in row.peers.items()
        ]
        aim = row.aim + {None: "", True: ": reached", False: ": **not reached**"}[row.met] if row.aim else ""
        notes = [*(f"{key}: {value}" for key, value in row.figures.items()), row.checked]
        cells = [row.name, expected, measured, "; ".join(others), aim, "; ".join(filter(None, notes))]
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"


def amount(value: float | None, unit: str) -> str:
    """Write seconds, or things a second, with three digits."""
    if value is None or math.isnan(value):
        return "not timed"
    if unit == "s":
        return report.seconds_as_text(value)
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {prefix}{'' if unit == 'B/s' else ' '}{unit}"
    return f"{value:.3g} {unit}"


def write(folder: Path, found: dict[str, Any], rows: list[Any], quick: bool) -> None:
    """Write one device's results, and the page of all devices."""
    from gpu_bench import Row

    folder.mkdir(parents=True, exist_ok=True)
    device = re.sub(r"[^a-z0-9]+", "-", found["gpu"]["name"].lower()).strip("-")
    predicted = {key: made._asdict() for key, made in PREDICTIONS.items()}
    result = {"suite": "gpu", "quick": quick, "machine": found, "rows": [asdict(row) for row in rows]}
    (folder / f"gpu-{device}.json").write_text(report.as_json(result | {"predicted": predicted}))
    page = ["# gpu", "", f"`python benchmarks/gpu.py`. {HEAD}"]
    for path in sorted(folder.glob("gpu-*.json")):
        one = json.loads(path.read_text())
        found, rows = one["machine"], [Row(**row) for row in one["rows"]]
        begun = f"Begun at {found['date'][11:]} with load {'/'.join(map(str, found['load']))}."
        page += ["", f"## {found['gpu']['name']}", "", f"{described(found)} {begun}", ""]
        page += table(rows, one["quick"])
    (folder / "gpu.md").write_text("\n".join(page) + "\n")


if __name__ == "__main__":
    main()
