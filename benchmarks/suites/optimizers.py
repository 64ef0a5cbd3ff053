"""Each optimizer: learn_one against river's of that name, and a pass of learn_rows against plain SGD's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from compare import Case, Effort, Side, equal
from data import N_DICTS, as_dicts, dict_rows, matrix, names
from river import linear_model as river_models
from river import optim as river_optim

from streamgd import linear_model, optim
from suites.learn_rows import n_rows, pass_of

EVERY = optim.optimizers.__all__
LATE = "FTRLProximal"  # river's computes weights one appearance late: timed, not equal


def ours(name: str, **rate: float) -> Any:
    loss = optim.losses.Hinge() if name == "PassiveAggressive" else optim.losses.Log()
    return linear_model.LogisticRegression(getattr(optim, name)(**rate), loss=loss)


def cases(effort: Effort) -> Iterator[Case]:
    for name in EVERY:
        if hasattr(river_optim, name):
            yield against_river(effort, name)
    for p in (30, 1000):
        for name in EVERY:
            if name != "SGD" and (name, p) != ("Newton", 1000):  # whose matrix has a million numbers
                yield against_sgd(effort, name, p)


def against_river(effort: Effort, name: str) -> Case:
    rows = dict_rows(30)
    # a low one, because river's logistic loss is an approximation where outputs are large
    rate = {"lr": 0.01} if hasattr(getattr(optim, name), "lr") else {}
    a, b = ours(name, **rate), river_models.LogisticRegression(getattr(river_optim, name)(**rate))

    def passing(model: Any) -> None:
        learn = model.learn_one
        for x, y in rows:
            learn(x, y)

    def check() -> str:
        for _ in range(effort.checked // N_DICTS):
            passing(a)
            passing(b)
        if name == LATE:
            return "not equal: river's weights are those of the appearance before"
        weights = equal(a.weights, b.weights, "weights")
        return f"{weights} after {effort.checked // N_DICTS * N_DICTS:,} rows"

    return Case(
        f"learn_one, {name}, 30 features",
        check,
        Side(lambda: passing(a), N_DICTS),
        "river",
        Side(lambda: passing(b), N_DICTS),
    )


def against_sgd(effort: Effort, name: str, p: int) -> Case:
    """Compare with our own SGD on the same rows: how much a rule costs over reading and the simplest step."""
    X, y = matrix(n_rows(effort, p), p)

    def check() -> str:
        n = min(effort.checked, len(X))
        by_rows, by_dict = ours(name), ours(name)
        by_rows.learn_rows(X[:n], y[:n], columns=names(p))
        for x, label in zip(as_dicts(X[:n]), y[:n].astype(bool).tolist(), strict=True):
            by_dict.learn_one(x, label)
        if not all(np.isfinite(list(by_rows.weights.values()))):
            raise ValueError(f"{name} has diverged")
        return f"to learn_one of the same rows: {equal(by_rows.weights, by_dict.weights, 'weights')}"

    return Case(
        f"learn_rows, {name}, {p} features",
        check,
        Side(pass_of(ours(name), X, y), len(X)),
        "our SGD",
        Side(pass_of(ours("SGD"), X, y), len(X)),
    )
