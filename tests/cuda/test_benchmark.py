"""The command that measures a GPU, run where there is none: in the simulator, and through the compiler."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import gate
import pytest
from click.testing import CliRunner

from streamgd.cuda import _linear
from streamgd.cuda._backend import IS_SIMULATED

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(1, str(BENCHMARKS))

import gpu  # noqa: E402
import gpu_bench  # noqa: E402
from compare import UnequalError  # noqa: E402


@pytest.fixture(autouse=True)
def small(monkeypatch):
    if IS_SIMULATED:  # where a thread takes as long as thousands do on a device
        monkeypatch.setattr(_linear, "THREADS", 64)
        monkeypatch.setattr(_linear, "BLOCKS", 3)


@pytest.mark.parametrize("section", list(gpu.sections()))
def test_all_of_it_runs(section, tmp_path):
    result = CliRunner().invoke(gpu.main, ["--quick", "--section", section, "--results", str(tmp_path)])
    print(result.output)
    assert result.exit_code == 0
    (path,) = tmp_path.glob("gpu-*.json")
    rows = json.loads(path.read_text())["rows"]
    page = (tmp_path / "gpu.md").read_text()
    assert rows
    assert all(row["failed"] == "" and row["name"] in page for row in rows)
    assert all(" equal to " in row["checked"] for row in rows if section != "launch")


class Full(gpu_bench.Bench):
    """As it is without --quick, but for the memory that it would take."""

    def __init__(self) -> None:
        self.quick, self.dry, self.torch = False, False, True


def test_every_prediction_is_of_something_that_is_measured():
    measured = {task.key for section in gpu.sections().values() for task in section(Full())}
    assert set(gpu.PREDICTIONS) == measured - {"start"}


def test_times_are_medians_of_as_many_calls_as_there_is_time_for():
    bench, calls = Full(), []
    assert 0.01 <= bench.called_time(lambda: calls.append(time.sleep(0.01))) < 0.1
    assert len(calls) == bench.WARM + bench.REPETITIONS
    bench.SECONDS = 0.0
    calls.clear()
    assert 0.005 <= bench.host_time(lambda: calls.append(time.sleep(0.005)), 2) < 0.05
    assert len(calls) == bench.WARM + 2 * bench.FEWEST


def test_what_is_not_equal_is_not_timed():
    bench = Full()
    assert bench.check("x", [1.0, 2.0], lambda: [1.0, 2.0], 0.0) == "x equal to 0e+00"
    for wrong in ([1.0, 2.1], [1.0, math.nan], [1.0]):
        with pytest.raises(UnequalError, match="x"):
            bench.check("x", wrong, lambda: [1.0, 2.0], 1e-3)


def test_what_fails_is_in_the_table_and_the_rest_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("gpu_batches.read_rate", lambda bench: 1 / 0)
    args = ["--quick", "--section", "bandwidth", "--results", str(tmp_path)]
    result = CliRunner().invoke(gpu.main, args)
    assert result.exit_code == 1
    page = (tmp_path / "gpu.md").read_text()
    assert "| read-only kernel |  | **FAILED** |  |  | ZeroDivisionError: division by zero |" in page
    assert "the driver's copy" in page


def test_a_prediction_that_was_missed_says_so():
    predicted = gpu.Prediction(1e-3, 2e-3, "why")
    assert gpu.line(gpu_bench.Row("", "x", 0.5e-3), predicted).startswith(
        "| x | 1 ms to 2 ms: why | 500 us (faster) |"
    )
    assert "| 3 ms (slower) |" in gpu.line(gpu_bench.Row("", "x", 3e-3), predicted)
    assert "| 1.5 ms |" in gpu.line(gpu_bench.Row("", "x", 1.5e-3), predicted)
    rate = gpu.Prediction(1e12, 2e12, "why")
    assert "| 3 TB/s (faster) |" in gpu.line(gpu_bench.Row("", "x", 3e12, "B/s", {"y": 1e12}), rate)
    assert "y: 1 TB/s, 3.00" in gpu.line(gpu_bench.Row("", "x", 3e12, "B/s", {"y": 1e12}), rate)
    assert "aim: **not reached**" in gpu.line(gpu_bench.Row("", "x", 1.0, aim="aim", met=False), None)


@pytest.mark.compiles
@pytest.mark.skipif(gate.why_not() is not None, reason=gate.why_not() or "")
def test_kernels_compile_as_they_are_launched(tmp_path):
    sections = ["--section", "start", "--section", "bandwidth", "--section", "neighbours"]
    run = subprocess.run(
        [sys.executable, BENCHMARKS / "gpu.py", "--compile-only", *sections],
        capture_output=True,
        text=True,
        env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "5 kernels for sm_90" in run.stdout
