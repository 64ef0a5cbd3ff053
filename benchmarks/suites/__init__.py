"""The suites: each module has ``cases(effort)``, which yields what is timed one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module

from compare import Case, Effort, Row

SUITES = (
    "learn_one",
    "learn_rows",
    "learn_many",
    "stream",
    "fit",
    "fleet",
    "optimizers",
    "learners",
    "weights",
    "smote",
    "reservoirs",
    "arrivals",
    "softmax",
    "quality",
    "imbalance",
    "drift",
    "evaluate",
    "start",
    "cli",
)


def suite(name: str) -> Callable[[Effort], Iterator[Case | Row]]:
    """Return a suite's ``cases``."""
    cases: Callable[[Effort], Iterator[Case | Row]] = import_module(f"suites.{name}").cases
    return cases


def page(name: str) -> Callable[..., str] | None:
    """Return what writes a suite's page, or None: then it is a table of times."""
    return getattr(import_module(f"suites.{name}"), "page", None)
