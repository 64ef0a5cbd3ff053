"""Perceptron and passive-aggressive learners: one dict at a time against river's of the same names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from compare import Case, Effort, Side, equal
from data import N_DICTS, dict_rows
from river import linear_model as river_models

from streamgd import linear_model

EVERY = ("Perceptron", "PAClassifier", "PARegressor")
P = 30


def cases(effort: Effort) -> Iterator[Case]:
    for name in EVERY:
        yield learning(effort, name)


def rivers(name: str) -> Any:
    model = getattr(river_models, name)()
    if name == "PARegressor":  # river's is the loss of 2y - 1
        model.loss = lambda y, p: max(abs(p - y) - model.eps, 0.0)
    return model


def learning(effort: Effort, name: str) -> Case:
    rows: list[Any] = dict_rows(P)
    if name == "PARegressor":
        rows = [(x, 2.0 * y + x["f0"]) for x, y in rows]
    a, b = getattr(linear_model, name)(), rivers(name)

    def passing(model: Any) -> None:
        learn = model.learn_one
        for x, y in rows:
            learn(x, y)

    def check() -> str:
        for _ in range(effort.checked // N_DICTS):
            passing(a)
            passing(b)
        weights = equal(a.weights, b.weights, "weights")
        equal(a.intercept, b.intercept, "intercepts")
        return f"{weights} after {effort.checked // N_DICTS * N_DICTS:,} rows"

    return Case(
        f"learn_one, {name}, {P} features",
        check,
        Side(lambda: passing(a), N_DICTS),
        "river, its loss corrected" if name == "PARegressor" else "river",
        Side(lambda: passing(b), N_DICTS),
        headline=True,
    )
