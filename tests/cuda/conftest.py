"""Where tests of CUDA run: in the simulator, or on a device; a process of their own, as the simulator is.

``NUMBA_ENABLE_CUDASIM=1 pytest tests/cuda`` runs kernels in plain Python. ``pytest tests/cuda`` compiles
them (marker `compiles`: no device is needed), and runs them if there is a device (marker `gpu`: nowhere
else). What has no marker runs in the simulator and on a device.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
IS_SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")


def _why_not(config: pytest.Config) -> str | None:
    """Say why no test of this folder can even be imported here."""
    if importlib.util.find_spec("numba_cuda") is None:
        return "needs numba-cuda: pip install 'streamgd[cuda]'"
    asked = [Path(argument.partition("::")[0]).resolve() for argument in config.args]
    if not all(path.is_relative_to(HERE) for path in asked):
        return "needs a process of its own: pytest tests/cuda"
    if IS_SIMULATED and importlib.util.find_spec("greenlet") is None:
        return "the simulator needs greenlet: pip install 'streamgd[test]'"
    return None


class Unread(pytest.Module):
    """A file of tests that is skipped as a whole."""

    reason: str

    def collect(self) -> list[pytest.Item]:
        pytest.skip(self.reason, allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    reason = _why_not(parent.config)
    if reason is None:
        return None
    module: Unread = Unread.from_parent(parent, path=module_path)
    module.reason = reason
    return module


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items_here = [item for item in items if item.path.is_relative_to(HERE)]
    if not items_here:
        return
    from streamgd.cuda._errors import CudaUnavailable, require

    missing = ""
    try:
        require()
    except CudaUnavailable as error:
        missing = str(error).splitlines()[0]
    for item in items_here:
        if item.get_closest_marker("compiles"):
            if IS_SIMULATED:
                item.add_marker(
                    pytest.mark.skip(reason="the simulator compiles nothing: NUMBA_ENABLE_CUDASIM=0")
                )
        elif item.get_closest_marker("gpu") and IS_SIMULATED:
            item.add_marker(pytest.mark.skip(reason="needs a device, and this is the simulator"))
        elif missing:
            item.add_marker(pytest.mark.skip(reason=f"NUMBA_ENABLE_CUDASIM=1 would run it: {missing}"))


@pytest.fixture(scope="session")
def simulated() -> None:
    """For tests of what only the simulator can tell: reads of unwritten memory, threads that do not meet."""
    if not IS_SIMULATED:
        pytest.skip("needs the simulator: NUMBA_ENABLE_CUDASIM=1")


if IS_SIMULATED and importlib.util.find_spec("numba_cuda") and importlib.util.find_spec("greenlet"):
    import simulator

    simulator.install()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Write what kernels need on each architecture, where they were compiled."""
    reports = [r for key in ("passed", "failed") for r in terminalreporter.stats.get(key, [])]
    rows = [row for r in reports for row in dict(r.user_properties).get("compiled", [])]
    if not rows:
        return
    columns = ("doubles", "registers", "stack", "spills", "shared", "seconds")
    width = max(len(row["case"]) for row in rows)
    terminalreporter.section("kernels on GPUs")
    terminalreporter.line(f"{'':{width}} {'':7}" + "".join(f"{name:>11}" for name in columns))

    def line(name: str, architecture: str, values: list[Any]) -> None:
        cells = [f"{v:11.1f}" if isinstance(v, float) else f"{v:11}" for v in values]
        terminalreporter.line(f"{name:{width}} {architecture:7}" + "".join(cells))

    for row in sorted(rows, key=lambda row: (row["case"], row["architecture"])):
        line(row["case"], row["architecture"], [row[name] for name in columns])
    for architecture in sorted({row["architecture"] for row in rows}):
        those = [row for row in rows if row["architecture"] == architecture]
        most = [max(row[name] for row in those) for name in columns[:-1]]
        line(f"{len(those)} kernels: the most", architecture, [*most, sum(row["seconds"] for row in those)])
