"""What all tests share: real streams, deterministic hypothesis, the compilers' bill, parity."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import oracles
import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run, and no limit that a slow machine could miss.
settings.register_profile(
    "suite", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")

DATA = Path(os.environ.get("STREAMGD_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of the real streams."""
    if not DATA.is_dir():
        pytest.skip(f"no folder of real streams at {DATA}; set STREAMGD_DATA to one")
    return DATA


# -- kernels compiled and differences from oracles, of all processes that run tests ------------

_bill = pytest.StashKey[list[list[Any]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-parity", action="store_true", help="write docs/parity.md from this run")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_bill] = []


def _compilations() -> list[list[Any]]:
    from streamgd._jit import compilations

    return [list(compilation) for compilation in compilations]


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None:  # a worker of xdist: it travels to the process that reports
        output["compilations"] = _compilations()
        output["differences"] = [[*key, *kept] for key, kept in oracles.differences.items()]
    else:
        session.config.stash[_bill] += _compilations()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: Any) -> None:
    if error is None:
        node.config.stash[_bill] += node.workeroutput["compilations"]
        for difference in node.workeroutput["differences"]:
            oracles.record(*difference)


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int, config: pytest.Config) -> None:
    made = [(name, seconds) for name, seconds, cached in config.stash[_bill] if not cached]
    loaded = [seconds for _, seconds, cached in config.stash[_bill] if cached]
    terminalreporter.section("kernels")
    terminalreporter.line(
        f"{len(made)} kernels compiled in {sum(seconds for _, seconds in made):.1f} s, "
        f"{len(loaded)} loaded from the cache in {sum(loaded):.1f} s (the tests' own processes; "
        "not those that tests start)"
    )
    if config.getoption("--write-parity") and not hasattr(config, "workerinput"):
        if exitstatus:
            pytest.exit(f"{oracles.PAGE} is not written: tests failed", returncode=1)
        try:
            oracles.PAGE.write_text(oracles.page())
        except LookupError as error:
            pytest.exit(f"{oracles.PAGE} is not written: {error}", returncode=1)
        terminalreporter.line(f"{len(oracles.differences)} comparisons written to {oracles.PAGE}")
