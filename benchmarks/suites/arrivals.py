"""What an arrival costs that is learned together with the rows made of it, and what the slowest cost."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from compare import Effort, Row, UnequalError
from numpy.typing import NDArray

from streamgd import imblearn, linear_model, optim

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

P = 30
RARE = 0.01
CAPACITIES = (1_000, 10_000, 100_000)
KINDS = ("regular", "replay")


def cases(effort: Effort) -> Iterator[Row]:
    for kind in KINDS:
        for capacity in CAPACITIES[:2] if effort.quick else CAPACITIES:
            yield arrivals(effort, kind, capacity)
    for capacity in CAPACITIES[:2]:
        yield against_imblearn(effort, capacity)
    yield against_csmote(effort)
    yield memory(effort)


def stream(n: int, rare: float, seed: int) -> tuple[Floats, Flags]:
    rng = np.random.default_rng(seed)
    y = rng.random(n) < rare
    return rng.normal(size=(n, P)) + 0.5 * y[:, None], y


def smote(kind: str, capacity: int, **options: Any) -> Any:
    learner = linear_model.LogisticRegression(optim.SGD(0.01), labels=(False, True))
    whole = {"sampling_strategy": 1.0, "reservoir": "window", "capacity": capacity, "seed": 1}
    return imblearn.ReservoirSMOTE(learner, kind, **whole | options)


def timed(model: Any, X: Floats, y: Flags) -> Floats:
    """Learn dicts; return the seconds of each."""
    rows = [dict(enumerate(row)) for row in X.tolist()]
    labels, spent = y.tolist(), np.empty(len(y))
    for i, x in enumerate(rows):
        start = time.perf_counter()
        model.learn_one(x, labels[i])
        spent[i] = time.perf_counter() - start
    return spent


def figures(spent: Floats) -> dict[str, str]:
    median, high = (1e6 * float(np.quantile(spent, q)) for q in (0.5, 0.999))
    return {"median, us": f"{median:.1f}", "99.9 %, us": f"{high:.0f}"}


def arrivals(effort: Effort, kind: str, capacity: int) -> Row:
    """Fill both classes' reservoirs, then let one of them be rare."""
    model = smote(kind, capacity)
    X, y = stream(2 * capacity + 1000, 0.5, 0)
    model.learn_rows(X, y)
    warm, n = (2_000, 2_000) if effort.quick else (min(30 * capacity, 300_000), 20_000)
    for seed in range(1, 1 + -(-warm // 30_000)):  # until most of the neighbours are known
        model.learn_rows(*stream(min(warm, 30_000), RARE, seed))
    before = model.classifier.n_updates
    spent = timed(model, *stream(n, RARE, 99))
    made = model.classifier.n_updates - before - n
    if abs(made - (1.0 - 2.0 * RARE) * n) > 0.05 * n:
        raise UnequalError(f"{made:,} rows were made on {n:,} arrivals")
    return Row(
        f"ReservoirSMOTE, {kind}, {capacity:,} stored, {P} features, {RARE:.0%} rare",
        "arrival",
        ours=float(spent.mean()),
        checked=f"{made:,} rows made on {n:,} arrivals",
        figures=figures(spent),
    )


def against_imblearn(effort: Effort, stored: int) -> Row:
    """A table's sampler on a stream: asked on each arrival for the one row that is due."""
    from imblearn.over_sampling import SMOTE
    from threadpoolctl import threadpool_limits

    X, y = stream(2 * stored + 1000, 0.5, 0)
    model = smote("regular", stored)
    model.learn_rows(X, y)
    model.learn_rows(*stream(30 * stored, RARE, 1))
    ours = timed(model, *stream(2_000 if effort.quick else 20_000, RARE, 2))
    rare = np.vstack([X[y][:stored], X[~y][: stored + 1]])
    labels = np.arange(len(rare)) < stored
    theirs = []
    for seed in range(5 if effort.quick else 50):
        with threadpool_limits(1):  # more of them wait for each other here
            start = time.perf_counter()
            made, _ = SMOTE(random_state=seed).fit_resample(rare, labels)
            theirs.append(time.perf_counter() - start)
        if len(made) != len(rare) + 1:
            raise UnequalError(f"{len(made) - len(rare)} rows made, not 1")
    return Row(
        f"ReservoirSMOTE, a row made of {stored:,} stored on each arrival, {P} features",
        "arrival",
        ours=float(ours.mean()),
        peer_name="imbalanced-learn, SMOTE.fit_resample of what is stored, for one row",
        peer=float(np.median(theirs)),
        ratio=float(np.median(theirs) / ours.mean()),
        aim="at least 100",
        checked="one row an arrival; ours with learn_one of both rows",
        figures=figures(ours),
    )


def against_csmote(effort: Effort) -> Row:
    name = f"ReservoirSMOTE, {P} features, {RARE:.0%} rare, from the first row on"
    python = os.environ.get("STREAMGD_CAPYMOA")
    if not python:
        return Row(name, "arrival", failed="not run: set STREAMGD_CAPYMOA to a Python that has capymoa")
    n = 12_000 if effort.quick else 20_000  # its first row is made once 100 rare ones have arrived
    X, y = stream(n, RARE, 5)
    model = smote("regular", 1000)
    ours = timed(model, X, y)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npz"
        np.savez(path, X=X, y=y)
        script = Path(__file__).parents[1] / "csmote_arrivals.py"
        run = [python, str(script), str(path), "120" if effort.quick else "900"]
        subprocess.run(run, check=True, capture_output=True)
        theirs = np.load(path.with_suffix(".npy"))
    ours = ours[: len(theirs)]
    return Row(
        name,
        "arrival",
        ours=float(ours.mean()),
        peer_name="CapyMOA, C-SMOTE",
        peer=float(theirs.mean()),
        ratio=float(theirs.mean() / ours.mean()),
        aim="at least 100",
        checked=f"the same {len(theirs):,} rows; not the same synthetic ones",
        figures=figures(ours) | {f"C-SMOTE: {k}": v for k, v in figures(theirs).items()},
    )


def memory(effort: Effort) -> Row:
    """Bytes of the model after a tenth of the arrivals, and after all."""
    part, parts = (20_000, 5) if effort.quick else (100_000, 100)
    model = smote("regular", 1000)
    sizes = []
    start = time.perf_counter()
    for seed in range(parts):
        model.learn_rows(*stream(part, RARE, seed))
        sizes.append(sum(array.nbytes for array in model._reservoirs._state))
    seconds = time.perf_counter() - start
    early, late = sizes[max(1, parts // 10)], sizes[-1]
    if late != early:
        raise UnequalError(f"{early:,} bytes after a tenth of the rows, {late:,} after all")
    return Row(
        f"ReservoirSMOTE, rows of arrays, 1,000 stored, {P} features, {RARE:.0%} rare",
        "arrival",
        ours=seconds / (part * parts),
        checked=f"{late:,} bytes stored after {part * parts // 10:,} arrivals and after {part * parts:,}",
    )
