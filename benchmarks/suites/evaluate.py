"""Progressive validation of a table against river's own function on the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from compare import Case, Effort, Side, equal
from data import as_dicts, matrix, names
from river import evaluate as river_evaluate
from river import metrics, stream

from streamgd import evaluate
from suites.learn_one import ours, rivers

P = 30
METRICS = ("Accuracy", "LogLoss", "ROCAUC", "F1")
AIM = "at least 100"


def cases(effort: Effort) -> Iterator[Case]:
    n = 10_000 if effort.quick else 100_000
    X, y = matrix(n, P)
    y = y.astype(bool)
    prepared = list(zip(as_dicts(X), y.tolist(), strict=True))
    for name in METRICS:
        yield case(name, X, y, prepared, "river, its dicts made beforehand")
    for name in METRICS[:1]:
        yield case(name, X, y, None, "river, dicts made by stream.iter_array")


def case(name: str, X: Any, y: Any, prepared: Any, peer_name: str) -> Case:
    make = getattr(metrics, name)

    def our_score() -> Any:
        return evaluate.progressive_val_score((X, y), ours("SGD"), make())

    def river_score() -> Any:
        rows = prepared or stream.iter_array(X, y, feature_names=names(X.shape[1]))
        return river_evaluate.progressive_val_score(rows, rivers("SGD"), make())

    def check() -> str:
        a, b = our_score(), river_score()
        return f"{equal(a.get(), b.get(), 'metrics')} after {len(y):,} rows"

    return Case(
        f"progressive_val_score, {name}, {len(y):,} x {P} array",
        check,
        Side(our_score, len(y)),
        peer_name,
        Side(river_score, len(y)),
        aim=AIM if prepared else "",
        headline=name == "Accuracy" and bool(prepared),
    )
