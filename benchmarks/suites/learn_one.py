"""One dict at a time: learn_one and predict_proba_one against river, on 60 rows learned in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from compare import Case, Effort, Side, equal
from data import N_DICTS, dict_rows
from river import linear_model as river_models
from river import optim as river_optim

from streamgd import linear_model, optim

AIMS = {"SGD": {8: 11, 30: 13, 100: 17, 1000: 24}, "Adam": {8: 18, 30: 33, 100: 50, 1000: 75}}
PREDICT_AIMS = {8: 2.3, 1000: 4.5}
FRESH_AIM = 3


def ours(optimizer: str) -> Any:
    return linear_model.LogisticRegression(getattr(optim, optimizer)(0.01))


def rivers(optimizer: str) -> Any:
    return river_models.LogisticRegression(getattr(river_optim, optimizer)(0.01))


def cases(effort: Effort) -> Iterator[Case]:
    for optimizer, aims in AIMS.items():
        for p, aim in aims.items():
            yield learning(effort, optimizer, p, aim)
    for p in AIMS["SGD"]:
        yield learning(effort, "SGD", p, FRESH_AIM, fresh_keys=True)
    for p in AIMS["SGD"]:
        yield predicting(effort, p)


def learning(effort: Effort, optimizer: str, p: int, aim: float, *, fresh_keys: bool = False) -> Case:
    rows = dict_rows(p, fresh_keys=fresh_keys)
    a, b = ours(optimizer), rivers(optimizer)

    def check() -> str:
        for model in (a, b):
            repeat(model, rows, effort.checked)
        weights = equal(a.weights, b.weights, "weights")
        equal(a.intercept, b.intercept, "intercepts")
        return f"{weights} after {effort.checked:,} rows"

    def passing(model: Any) -> Callable[[], None]:
        learn = model.learn_one

        def go() -> None:
            for x, y in rows:
                learn(x, y)

        return go

    keys = ", new key objects in each row" if fresh_keys else ""
    return Case(
        f"learn_one, {optimizer}, {p} features{keys}",
        check,
        Side(passing(a), N_DICTS),
        "river",
        Side(passing(b), N_DICTS),
        aim=f"at least {aim}",
        headline=not fresh_keys or p == 30,
    )


def predicting(effort: Effort, p: int) -> Case:
    rows = dict_rows(p)
    a, b = ours("SGD"), rivers("SGD")

    def check() -> str:
        for model in (a, b):
            repeat(model, rows, effort.checked)
        found, expected = ([model.predict_proba_one(x)[True] for x, _ in rows] for model in (a, b))
        return equal(found, expected, "probabilities")

    def passing(model: Any) -> Callable[[], None]:
        predict = model.predict_proba_one

        def go() -> None:
            for x, _ in rows:
                predict(x)

        return go

    return Case(
        f"predict_proba_one, {p} features",
        check,
        Side(passing(a), N_DICTS),
        "river",
        Side(passing(b), N_DICTS),
        aim=f"at least {PREDICT_AIMS[p]}" if p in PREDICT_AIMS else "",
        headline=p in PREDICT_AIMS,
    )


def repeat(model: Any, rows: list[Any], n: int) -> None:
    """Learn ``n`` rows, from the first again after the last."""
    for k in range(n):
        model.learn_one(*rows[k % len(rows)])
