"""Softmax regression: dense dicts and rows of seven classes, and a sparse text stream of twenty."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from compare import Case, Effort, Side, equal
from data import N_DICTS, as_dicts, names, stream
from numpy.typing import NDArray
from river import linear_model as river_models
from river import optim as river_optim

from streamgd import linear_model, optim
from streamgd.stream import SparseRows, open_file

FEATURES, CLASSES = 30, 7
NEWS_AIM = "at least 50"


def ours(optimizer: str, lr: float = 0.1) -> Any:
    return linear_model.SoftmaxRegression(getattr(optim, optimizer)(lr))


def rivers(optimizer: str, lr: float = 0.1) -> Any:
    return river_models.SoftmaxRegression(getattr(river_optim, optimizer)(lr))


def cases(effort: Effort) -> Iterator[Case]:
    for optimizer in ("SGD", "Adam"):
        yield dense_dicts(effort, optimizer)
        yield dense_rows(effort, optimizer)
    if (path := stream("news20.svm.gz")) is not None:
        X, y = news(path)
        yield news_against_river(effort, X, y)
        with tempfile.TemporaryDirectory() as folder:
            yield news_against_vowpal_wabbit(X, y, Path(folder))


def matrix(n: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Make rows and noisy labels 0 to 6."""
    rng = np.random.default_rng(FEATURES)
    X = rng.normal(size=(n, FEATURES))
    z = X @ rng.normal(size=(FEATURES, CLASSES)) * (2.0 / FEATURES**0.5)
    return X, (z + rng.gumbel(size=z.shape)).argmax(axis=1)


def equal_models(a: Any, b: Any, pairs: list[tuple[dict[Any, float], Any]]) -> str:
    """Learn the same rows with both and compare probabilities and weights."""
    found, expected = [], []
    for i, (x, y) in enumerate(pairs):
        if i % 10 == 0:
            expected += b.predict_proba_one(x).values()
            found += a.predict_proba_one(x).values()
        a.learn_one(x, y)
        b.learn_one(x, y)
    equal(found, expected, "probabilities")
    if list(a.weights) != list(b.weights):
        raise ValueError("other labels, or in another order")
    features = list(next(iter(a.weights.values())))
    weights = ([row.get(i, 0.0) for row in model.weights.values() for i in features] for model in (a, b))
    return f"{equal(*weights, 'weights')}, probabilities too, after {len(pairs):,} rows"


def dense_dicts(effort: Effort, optimizer: str) -> Case:
    X, y = matrix(max(N_DICTS, effort.checked))
    pairs = list(zip(as_dicts(X), y.tolist(), strict=True))
    a, b = ours(optimizer), rivers(optimizer)

    def passing(model: Any) -> Callable[[], None]:
        learn = model.learn_one

        def go() -> None:
            for x, label in pairs[:N_DICTS]:
                learn(x, label)

        return go

    return Case(
        f"softmax, learn_one, {optimizer}, {FEATURES} features, {CLASSES} classes",
        lambda: equal_models(a, b, pairs),
        Side(passing(a), N_DICTS),
        "river",
        Side(passing(b), N_DICTS),
    )


def dense_rows(effort: Effort, optimizer: str) -> Case:
    X, y = matrix(max(20_000, effort.checked))
    pairs = list(zip(as_dicts(X[: effort.checked]), y[: effort.checked].tolist(), strict=True))
    a, b = ours(optimizer), rivers(optimizer)

    def check() -> str:
        a.learn_rows(X[: len(pairs)], y[: len(pairs)], columns=names(FEATURES))
        for x, label in pairs:
            b.learn_one(x, label)
        weights = ([w for row in model.weights.values() for w in row.values()] for model in (a, b))
        return f"{equal(*weights, 'weights')} after {len(pairs):,} rows"

    return Case(
        f"softmax, learn_rows, {optimizer}, {FEATURES} features, {CLASSES} classes",
        check,
        Side(lambda: a.predict_learn_rows(X, y, columns=names(FEATURES)), len(X)),
        "river, predict_proba_one + learn_one",
        Side(river_pass(b, pairs[:N_DICTS]), N_DICTS),
    )


def river_pass(model: Any, pairs: list[tuple[dict[Any, float], Any]]) -> Callable[[], None]:
    def go() -> None:
        for x, y in pairs:
            model.predict_proba_one(x)
            model.learn_one(x, y)

    return go


def news(path: Path) -> tuple[SparseRows, NDArray[np.int64]]:
    """Read the text stream, words as log(1 + count): with counts river's probabilities reach their clamp."""
    batches = list(open_file(path))
    parts: list[Any] = [batch.X for batch in batches]
    starts = np.cumsum([0, *(len(part.data) for part in parts)])
    indptr = [part.indptr[1:] + start for part, start in zip(parts, starts, strict=False)]
    X = SparseRows(
        np.log1p(np.concatenate([part.data for part in parts])),
        np.concatenate([part.indices for part in parts]),
        np.concatenate([[0], *indptr]),
        parts[-1].n_columns,
    )
    return X, np.concatenate([np.asarray(batch.y) for batch in batches]).astype(np.int64)


def some(X: SparseRows, n: int) -> SparseRows:
    return SparseRows(X.data[: X.indptr[n]], X.indices[: X.indptr[n]], X.indptr[: n + 1], X.n_columns)


def accuracy(model: Any, X: SparseRows, y: NDArray[np.int64]) -> float:
    """Learn one pass and return the share of labels that were predicted right before each update."""
    z = model.predict_learn_rows(X, y)
    return float((np.array(model.labels_)[z.argmax(axis=1)] == y).mean())


def news_against_river(effort: Effort, X: SparseRows, y: NDArray[np.int64]) -> Case:
    n = 100 if effort.quick else 1000
    pairs = []
    for i in range(n):
        part = slice(X.indptr[i], X.indptr[i + 1])
        pairs.append((dict(zip(X.indices[part].tolist(), X.data[part].tolist(), strict=True)), int(y[i])))
    a, b = ours("AdaGrad"), rivers("AdaGrad")

    def check() -> str:
        prefix = ours("AdaGrad")
        prefix.learn_rows(some(X, n), y[:n])
        for x, label in pairs:
            b.learn_one(x, label)
        used = {i for x, _ in pairs for i in x}
        weights = [[row.get(i, 0.0) for row in model.weights.values() for i in used] for model in (prefix, b)]
        said = equal(*weights, "weights")
        return f"{said} after {n:,} rows; accuracy of one pass {accuracy(ours('AdaGrad'), X, y):.1%}"

    return Case(
        f"softmax, learn_rows, AdaGrad, news20: {X.n_columns:,} features, 20 classes",
        check,
        Side(lambda: a.predict_learn_rows(X, y), len(y)),
        "river, predict_proba_one + learn_one",
        Side(river_pass(b, pairs[:50]), 50),
        aim=NEWS_AIM,
        headline=True,
    )


def news_against_vowpal_wabbit(X: SparseRows, y: NDArray[np.int64], folder: Path) -> Case:
    """Compare with Vowpal Wabbit's one-against-all by the same normalised update: not equal models."""
    from vowpalwabbit import pyvw

    text, cache, predictions = folder / "news.vw", folder / "news.cache", folder / "predictions"
    with text.open("w") as file:
        for i, label in enumerate(y.tolist()):
            part = slice(X.indptr[i], X.indptr[i + 1])
            values = zip(X.indices[part].tolist(), X.data[part].tolist(), strict=True)
            file.write(f"{label + 1} | {' '.join(f'{k}:{v:g}' for k, v in values)}\n")
    options = f"--oaa 20 --loss_function logistic --quiet -b 22 -d {text} --cache_file {cache}"
    pyvw.Workspace(f"{options} --kill_cache -p {predictions}").finish()
    model = ours("Normalized", 0.5)

    def check() -> str:
        theirs = float((np.loadtxt(predictions) == y + 1).mean())
        untuned = accuracy(linear_model.SoftmaxRegression("auto"), X, y)
        own = accuracy(ours("Normalized", 0.5), X, y)
        return f"accuracy {own:.1%} against {theirs:.1%}; that of auto is {untuned:.1%}"

    return Case(
        f"softmax, learn_rows, Normalized, news20: {X.n_columns:,} features, 20 classes",
        check,
        Side(lambda: model.predict_learn_rows(X, y), len(y)),
        "Vowpal Wabbit, --oaa, from its cache (reading it included)",
        Side(lambda: pyvw.Workspace(options).finish(), len(y), every_core=True),
    )
