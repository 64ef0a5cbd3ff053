"""What a process pays before its first update: import, compiling, loading what was compiled."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from compare import Effort, Row, in_turn

_IMPORT = """
import time
start = time.perf_counter()
import {module}
print(time.perf_counter() - start)
"""

_FIRST = """
import json, time
from streamgd import _jit, linear_model, optim
x = {{f"f{{k}}": 0.5 * k for k in range(8)}}
start = time.perf_counter()
model = linear_model.LogisticRegression(optim.{optimizer}(0.01))
model.learn_one(x, True)
seconds = time.perf_counter() - start
again = linear_model.LogisticRegression(optim.{optimizer}(0.01))
again.learn_one(x, True)
assert again.weights == model.weights and any(model.weights.values())
made = [c for c in _jit.compilations if not c.cached]
print(json.dumps([seconds, len(made), sum(c.seconds for c in made), len(_jit.compilations)]))
"""


def cases(effort: Effort) -> Iterator[Row]:
    yield from imports(3 if effort.quick else 9)
    for optimizer in ("SGD",) if effort.quick else ("SGD", "Adam"):
        yield from first_updates(optimizer, 1 if effort.quick else 3)


def output_of(code: str, **environment: str) -> Any:
    """Run code in a process of its own; return what it prints, read as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def imports(repetitions: int) -> Iterator[Row]:
    modules = ("numba", "streamgd", "streamgd.linear_model")
    for module in modules:
        output_of(_IMPORT.format(module=module))  # byte code and files are in the cache from now on
    times = in_turn([lambda m=module: output_of(_IMPORT.format(module=m)) for module in modules], repetitions)  # type: ignore[misc]
    numba = statistics.median(times[0])
    for module, seconds in zip(modules[1:], times[1:], strict=True):
        ours = statistics.median(seconds)
        yield Row(
            f"import {module}", "process", ours, "import numba", numba, aim="at most 0.3 s more",
            figures={"difference": f"{ours - numba:+.2f} s"},
            repetitions={"ours": seconds, "peer": times[0]},
        )  # fmt: skip


def first_updates(optimizer: str, repetitions: int) -> Iterator[Row]:
    code = _FIRST.format(optimizer=optimizer)
    cold, warm = [], []
    for _ in range(repetitions):
        with tempfile.TemporaryDirectory() as folder:
            cold.append(output_of(code, NUMBA_CACHE_DIR=folder))
            warm.append(output_of(code, NUMBA_CACHE_DIR=folder))
            warm.append(output_of(code, NUMBA_CACHE_DIR=folder))
    for name, runs, aim in (
        ("cold cache", cold, "at most 3 s"),
        ("second process", warm, "at most 0.45 s"),
    ):
        seconds = [run[0] for run in runs]
        compiling = statistics.median(run[2] for run in runs)
        yield Row(
            f"first learn_one, {optimizer}, {name}", "process", statistics.median(seconds), aim=aim,
            figures={"kernels": f"{runs[0][1]} of {runs[0][3]} compiled, {compiling:.2f} s"},
            repetitions={"ours": seconds},
        )  # fmt: skip
