"""One step on the mean gradient of a mini-batch, from an array and from a DataFrame, against river."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from compare import Case, Effort, Side, equal
from data import matrix, names
from river import linear_model as river_models
from river import optim as river_optim

from streamgd import linear_model, optim

N, P = 256, 30
OPTIMIZERS = ("SGD", "Momentum", "AdaGrad", "RMSProp", "Adam")
AIM = "at least 3"


def cases(effort: Effort) -> Iterator[Case]:
    for kind in ("NumPy", "DataFrame"):
        for optimizer in OPTIMIZERS:
            yield case(effort, kind, optimizer)
        yield case(effort, kind, "SGD", l2=0.01)
        yield case(effort, kind, "SGD", weighted=True)


def case(effort: Effort, kind: str, optimizer: str, *, l2: float = 0.0, weighted: bool = False) -> Case:
    n_batches = 20
    X, y = matrix(N * n_batches, P)
    w = np.random.default_rng(0).uniform(0.5, 2.0, len(y))
    a = linear_model.LogisticRegression(getattr(optim, optimizer)(0.01), l2=l2)
    b = river_models.LogisticRegression(getattr(river_optim, optimizer)(0.01), l2=l2)
    arrays, frames = [], []
    for start in range(0, len(y), N):
        part = slice(start, start + N)
        frame = pd.DataFrame(X[part], columns=names(P))
        labels = pd.Series(y[part].astype(bool), name="y")
        weights = (pd.Series(w[part]),) if weighted else ()
        frames.append((frame, labels, *weights))
        arrays.append((X[part], y[part].astype(bool), *((w[part],) if weighted else ())))
    keywords: dict[str, Any] = {"columns": names(P)} if kind == "NumPy" else {}
    batches = arrays if kind == "NumPy" else frames

    def our_pass() -> None:
        for batch in batches:
            a.learn_many(*batch, **keywords)

    def river_pass() -> None:
        for batch in frames:
            b.learn_many(*batch)

    def check() -> str:
        for _ in range(max(1, effort.checked // len(y))):
            our_pass()
            river_pass()
        equal(a.intercept, b.intercept, "intercepts")
        return equal(a.weights, b.weights, "weights") + f" after {a.n_updates} batches"

    more = f", l2={l2}" if l2 else ", weighted" if weighted else ""
    return Case(
        f"learn_many, {optimizer}{more}, {N} x {P} from {kind}",
        check,
        Side(our_pass, n_batches),
        "river, from DataFrame",
        Side(river_pass, n_batches),
        unit="batch",
        aim=AIM,
        headline=optimizer == "SGD" and not more,
    )
