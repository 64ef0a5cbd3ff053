"""Whatever finite numbers come: a row is learned or refused, and the state stays finite."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import COVERING, EACH, Case

from streamgd import linear_model, optim


def anything(rng: random.Random) -> float:
    """Return a number of any size, most often near where squares of it overflow or vanish."""
    exponents = [(-320, 150), (-3, 3), (-170, -140), (140, 150), (-80, -70)]
    return rng.choice([1.0, -1.0]) * 10.0 ** rng.uniform(*rng.choice(exponents))


def modest(rng: random.Random) -> float:
    return rng.choice([1.0, -1.0]) * 10.0 ** rng.uniform(-12, 12)


def stays_finite(model: Any, number: Callable[[random.Random], float], seed: int) -> None:
    rng = random.Random(seed)
    for i in range(60):
        x = {name: number(rng) for name in rng.sample("abcdef", rng.randint(0, 6))}
        y = rng.random() < 0.5 if model.loss.binary else number(rng)
        w = rng.choice([1.0, 1.0, abs(number(rng))])
        before = model.__getstate__()
        try:
            model.learn_one(x, y, w)
        except ValueError:
            after = model.__getstate__()
            assert after["_features"] == before["_features"], (i, x, y, w)
            for name in ("_weights", "_slots", "_scalars", "_charged"):
                assert after[name].tobytes() == before[name].tobytes(), (name, i, x, y, w)
        for name in ("_weights", "_slots", "_scalars", "_charged"):
            assert np.isfinite(getattr(model, name)).all() or name == "_charged", (name, i, x, y, w)


@pytest.mark.parametrize("number", [anything, modest])
@pytest.mark.parametrize("case", [*COVERING, *EACH], ids=str)
def test_the_state_stays_finite(case: Case, number: Any) -> None:
    for seed in range(12):
        stays_finite(case.ours(), number, seed)


@pytest.mark.parametrize("number", [anything, modest])
@pytest.mark.parametrize("optimizer", ["auto", "bank", optim.Newton(), optim.Averager(optim.SGD())], ids=str)
def test_the_state_of_other_rules_stays_finite(optimizer: Any, number: Any) -> None:
    for seed in range(12):
        stays_finite(linear_model.LogisticRegression(optimizer), number, seed)
        stays_finite(linear_model.LinearRegression(optimizer), number, seed)
