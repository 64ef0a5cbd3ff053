"""Class weights and random samplers: beside river's learner with the same weights and the same draws."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from compare import Case, Effort, Side, equal
from data import N_DICTS, as_dicts, dict_rows, matrix, names
from river import imblearn as river_imblearn
from river import linear_model as river_models

from streamgd import imblearn, linear_model

P = 30
SAMPLERS = ("RandomUnderSampler", "RandomOverSampler", "RandomSampler")


def cases(effort: Effort) -> Iterator[Case]:
    yield dicts(effort)
    yield rows(effort)
    for name in SAMPLERS:
        yield sampled(effort, name)


class Counted:
    """River's learner, told the weights that a loop in Python counts."""

    def __init__(self) -> None:
        self.model = river_models.LogisticRegression()
        self.counts = {False: 0.0, True: 0.0}

    def learn_one(self, x: dict[str, float], y: bool) -> None:
        counts = self.counts
        counts[y] += 1.0
        total = counts[False] + counts[True]
        classes = (counts[False] > 0.0) + (counts[True] > 0.0)
        self.model.learn_one(x, y, w=total / (classes * counts[y]))


def passing(model: Any, samples: list[Any]) -> None:
    learn = model.learn_one
    for x, y in samples:
        learn(x, y)


def dicts(effort: Effort) -> Case:
    samples = dict_rows(P)
    ours, peer = linear_model.LogisticRegression(class_weight="balanced"), Counted()

    def check() -> str:
        passes = effort.checked // N_DICTS
        for _ in range(passes):
            passing(ours, samples)
            passing(peer, samples)
        equal(ours.intercept, peer.model.intercept, "intercepts")
        return f"{equal(ours.weights, peer.model.weights, 'weights')} after {passes * N_DICTS:,} rows"

    return Case(
        f"learn_one, class_weight='balanced', {P} features",
        check,
        Side(lambda: passing(ours, samples), N_DICTS),
        "river, weights counted in Python",
        Side(lambda: passing(peer, samples), N_DICTS),
        headline=True,
    )


def table(effort: Effort) -> tuple[Any, Any, list[Any]]:
    """Return a matrix, labels of which few are true, and the same as river's samples."""
    X, y = matrix(effort.checked, P)
    y = (y > 0) & (X[:, 0] > 1.4)
    return X, y, list(zip(as_dicts(X), y.tolist(), strict=True))


def rows(effort: Effort) -> Case:
    X, y, samples = table(effort)
    ours, peer = linear_model.LogisticRegression(class_weight="balanced"), Counted()

    def check() -> str:
        ours.learn_rows(X, y, columns=names(P))
        passing(peer, samples)
        return f"{equal(ours.weights, peer.model.weights, 'weights')} after {len(X):,} rows"

    return Case(
        f"learn_rows, class_weight='balanced', {P} features",
        check,
        Side(lambda: ours.learn_rows(X, y, columns=names(P)), len(X)),
        "river, weights counted in Python",
        Side(lambda: passing(peer, samples), len(X)),
    )


def sampled(effort: Effort, name: str) -> Case:
    X, y, samples = table(effort)
    dist = {False: 0.5, True: 0.5}
    ours = getattr(imblearn, name)(linear_model.LogisticRegression(), dist, seed=1)
    peer = getattr(river_imblearn, name)(river_models.LogisticRegression(), dist, seed=1)

    def check() -> str:
        ours.learn_rows(X, y, columns=names(P))
        passing(peer, samples)
        weights = equal(ours.classifier.weights, peer.classifier.weights, "weights")
        return f"{weights} after {len(X):,} rows"

    return Case(
        f"learn_rows, {name}, {P} features, {y.mean():.0%} rare",
        check,
        Side(lambda: ours.learn_rows(X, y, columns=names(P)), len(X)),
        "river's, round river's learner",
        Side(lambda: passing(peer, samples), len(X)),
        headline=name == "RandomOverSampler",
    )
