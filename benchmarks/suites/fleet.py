"""Fleets: a grid of rates on one pass, and a model for each key, against learners one by one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from compare import Case, Effort, Side, equal
from data import as_dicts, matrix, names

from streamgd import cuda, linear_model, optim
from suites.learn_one import ours, rivers

MEMBERS, FEATURES = 64, 30
KEYS = 1000
RATES = np.geomspace(1e-4, 1e-1, MEMBERS).tolist()
RIVER_AIM = "at least 10"


def cases(effort: Effort) -> Iterator[Case]:
    for optimizer in ("SGD", "Adam"):
        for dtype in ("float64", "float32"):
            yield grid(effort, optimizer, dtype, threads=1)
    yield grid(effort, "SGD", "float64", threads=os.cpu_count() or 1)
    yield keyed(effort, "river", rivers, aim=RIVER_AIM)
    yield keyed(effort, "a dict of our learners", ours)


def learners(optimizer: str) -> list[Any]:
    """Return a learner for each rate."""
    return [linear_model.LogisticRegression(getattr(optim, optimizer)(rate)) for rate in RATES]


def grid(effort: Effort, optimizer: str, dtype: str, threads: int) -> Case:
    """Compare a fleet with the same learners one after the other, progressive loss and accuracy included."""
    X, y = matrix(1_000 if effort.quick else 10_000, FEATURES)
    fleet = cuda.Fleet(learners(optimizer), dtype=dtype, threads=threads)
    alone, sign = learners(optimizer), np.where(y > 0, -1.0, 1.0)

    def check() -> str:
        z = fleet.clone().predict_learn_rows(X, y)
        expected = np.stack([model.predict_learn_rows(X, y) for model in learners(optimizer)], axis=1)
        return f"{equal(z, expected, 'outputs', 1e-9 if dtype == 'float64' else 2e-2)}, {z.size:,} of them"

    def one_by_one() -> None:
        for model in alone:
            z = model.predict_learn_rows(X, y)
            np.logaddexp(0.0, sign * z).mean()
            ((z > 0.0) == (y > 0)).mean()

    threaded = f", {threads} threads" if threads > 1 else ""
    return Case(
        f"fleet, {MEMBERS} rates of {optimizer}, {FEATURES} features, {dtype}{threaded}",
        check,
        Side(lambda: fleet.learn_rows(X, y), len(X) * MEMBERS, every_core=threads > 1),
        "as many learners in turn, predict_learn_rows and the metrics",
        Side(one_by_one, len(X) * MEMBERS),
        unit="row and member",
    )


def keyed(effort: Effort, name: str, make: Callable[[str], Any], aim: str = "") -> Case:
    """Compare a model for each key with a dict of models, which is given one row at a time."""
    n = 20_000 if effort.quick else 200_000
    X, y = matrix(n, FEATURES)
    keys = np.random.default_rng(1).integers(0, KEYS, n)
    columns = names(FEATURES)
    fleet = cuda.KeyedFleet(ours("SGD"))
    few = min(n, 4 * KEYS)
    rows = list(zip(keys[:few].tolist(), as_dicts(X[:few]), y[:few].astype(bool).tolist(), strict=True))
    models: dict[int, Any] = {}

    def by_dict(kept: dict[int, Any]) -> list[float]:
        p = []
        for key, x, label in rows:
            model = kept.get(key)
            if model is None:
                model = kept[key] = make("SGD")
            p.append(model.predict_proba_one(x).get(True, 0.5))
            model.learn_one(x, label)
        return p

    def check() -> str:
        z = fleet.clone().predict_learn_rows(keys[:few], X[:few], y[:few].astype(bool), columns=columns)
        return equal(1.0 / (1.0 + np.exp(-z)), by_dict({}), f"predictions of {KEYS:,} models")

    return Case(
        f"keyed fleet, {KEYS:,} keys, SGD, {FEATURES} features",
        check,
        Side(lambda: fleet.predict_learn_rows(keys, X, y, columns=columns), n),
        name + ", predict_proba_one + learn_one" if name == "river" else name,
        Side(lambda: by_dict(models), few),
        aim=aim,
    )
