"""The machine and the versions a measurement is made with, and the core it runs on."""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("numba", "numpy", "river", "scikit-learn", "vowpalwabbit", "pandas", "pyarrow")
CAN_PIN = hasattr(os, "sched_setaffinity")
CORES = os.sched_getaffinity(0) if CAN_PIN else set(range(os.cpu_count() or 1))


def pin() -> None:
    """Stay on the core that others use least, where the system lets us."""
    if CAN_PIN:
        os.sched_setaffinity(0, {_idlest_core()})


@contextmanager
def all_cores() -> Iterator[None]:
    """Use all cores for a while: for what runs in several threads or starts processes."""
    if not CAN_PIN:
        yield
        return
    pinned = os.sched_getaffinity(0)
    os.sched_setaffinity(0, CORES)
    try:
        yield
    finally:
        os.sched_setaffinity(0, pinned)


def _idlest_core() -> int:
    before = _idle_ticks()
    time.sleep(0.3)
    after = _idle_ticks()
    return max(CORES, key=lambda core: after[core] - before[core])


def _idle_ticks() -> dict[int, int]:
    lines = Path("/proc/stat").read_text().splitlines()
    return {int(line.split()[0][3:]): int(line.split()[4]) for line in lines if re.match(r"cpu\d", line)}


def describe() -> dict[str, Any]:
    """Return what a reader must know to repeat a measurement."""
    return {
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "git": _git_sha(),
        "cpu": _cpu(),
        "cores": len(CORES),
        "system": platform.platform(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _cpu() -> str:
    """Return the processor's name; virtual machines may hide its number, so family and model too."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.processor() or platform.machine()
    found = dict([part.strip() for part in line.split(":", 1)] for line in lines if ":" in line)
    name = found.get("model name", platform.machine())
    return f"{name} (family {found.get('cpu family', '?')}, model {found.get('model', '?')})"


def _git_sha() -> str:
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "../streamgd")
        return git("rev-parse", "--short", "HEAD") + (" with changes" if changed else "")
    except (FileNotFoundError, subprocess.CalledProcessError):
        return "no git repository"
