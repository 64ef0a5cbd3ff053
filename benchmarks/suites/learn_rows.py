"""Rows of an array in one compiled pass, each predicted and then learned, against three peers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from compare import Case, Effort, Side, equal
from data import N_DICTS, as_dicts, matrix, names
from sklearn.linear_model import SGDClassifier

from suites.learn_one import ours, rivers

FEATURES = (8, 30, 100, 1000)
RIVER_AIM = {30: "at least 110"}
SKLEARN_AIM = {30: "at least 2.5"}
ADAM_AIM = {100: "at least 1.4", 1000: "at least 1.4"}
VW_AIM = {30: "at least 12"}
BANDWIDTH_AIM = "at least 0.8"


def n_rows(effort: Effort, p: int) -> int:
    """Rows of a pass: about 10 MB, some 3 MB for a quick run."""
    return (400_000 if effort.quick else 1_200_000) // p


def cases(effort: Effort) -> Iterator[Case]:
    for optimizer in ("SGD", "Adam"):
        for p in FEATURES:
            yield against_river(effort, optimizer, p)
    for p in FEATURES:
        yield against_sklearn(effort, p, np.float64)
    for p in FEATURES:
        yield against_sklearn(effort, p, np.float32)
    for p in ADAM_AIM:
        yield adam_against_sklearn(effort, p)
    with tempfile.TemporaryDirectory() as folder:
        for p in (30,) if effort.quick else (8, 30, 100):
            yield against_vowpal_wabbit(effort, p, Path(folder))
    for dtype in (np.float64, np.float32):
        yield bandwidth(effort, dtype)


def pass_of(model: Any, X: Any, y: Any) -> Callable[[], Any]:
    return lambda: model.predict_learn_rows(X, y, columns=names(X.shape[1]))


def equals_river(effort: Effort, optimizer: str, X: Any, y: Any) -> str:
    """Learn and predict some rows with river and compare all that comes out."""
    n = min(effort.checked, len(X), 5_000_000 // X.shape[1] // 10)
    a, b = ours(optimizer), rivers(optimizer)
    outputs = a.predict_learn_rows(X[:n], y[:n], columns=names(X.shape[1]))
    expected = []
    for x, label in zip(as_dicts(X[:n]), y[:n].tolist(), strict=True):
        expected.append(b.predict_proba_one(x)[True])
        b.learn_one(x, label)
    equal(a.loss.mean_func(outputs), expected, "predictions")
    return f"{equal(a.weights, b.weights, 'weights')}, predictions too, after {n:,} rows"


def against_river(effort: Effort, optimizer: str, p: int) -> Case:
    X, y = matrix(n_rows(effort, p), p)
    b = rivers(optimizer)
    pairs = list(zip(as_dicts(X[:N_DICTS]), y[:N_DICTS].astype(bool).tolist(), strict=True))

    def river_pass() -> None:
        for x, label in pairs:
            b.predict_proba_one(x)
            b.learn_one(x, label)

    return Case(
        f"learn_rows, {optimizer}, {p} features",
        lambda: equals_river(effort, optimizer, X, y),
        Side(pass_of(ours(optimizer), X, y), len(X)),
        "river, predict_proba_one + learn_one",
        Side(river_pass, N_DICTS),
        aim=RIVER_AIM.get(p, "") if optimizer == "SGD" else "",
        headline=p in RIVER_AIM,
    )


def plain_sgd() -> SGDClassifier:
    """Make scikit-learn's learner of the same model with the same update."""
    return SGDClassifier(loss="log_loss", penalty=None, learning_rate="constant", eta0=0.01, shuffle=False)


def sklearn_pass(model: SGDClassifier, X: Any, y: Any) -> Callable[[], Any]:
    classes = np.array([0, 1])
    return lambda: model.partial_fit(X, y, classes=classes)


def against_sklearn(effort: Effort, p: int, dtype: Any) -> Case:
    X, y = matrix(n_rows(effort, p), p)
    X = X.astype(dtype)
    # scikit-learn's weights are float32 for float32 rows, ours float64
    tolerance = 1e-9 if dtype is np.float64 else 1e-3

    def check() -> str:
        a, b = ours("SGD"), plain_sgd()
        pass_of(a, X, y)()
        sklearn_pass(b, X, y)()
        equal(a.intercept, b.intercept_, "intercepts", tolerance)
        return f"{equal(list(a.weights.values()), b.coef_, 'weights', tolerance)} after {len(X):,} rows"

    return Case(
        f"learn_rows, SGD, {p} features, {dtype.__name__}",
        check,
        Side(pass_of(ours("SGD"), X, y), len(X)),
        "scikit-learn, SGDClassifier, one partial_fit",
        Side(sklearn_pass(plain_sgd(), X, y), len(X)),
        aim=SKLEARN_AIM.get(p, "") if dtype is np.float64 else "",
        headline=p == 30 and dtype is np.float64,
    )


def adam_against_sklearn(effort: Effort, p: int) -> Case:
    X, y = matrix(n_rows(effort, p), p)
    return Case(
        f"learn_rows, Adam, {p} features",
        lambda: "to river's Adam: " + equals_river(effort, "Adam", X, y),
        Side(pass_of(ours("Adam"), X, y), len(X)),
        "scikit-learn, plain SGD, one partial_fit",
        Side(sklearn_pass(plain_sgd(), X, y), len(X)),
        aim=ADAM_AIM[p],
    )


VW_OPTIONS = "--loss_function logistic --sgd -l 0.01 --power_t 0 --quiet -b 18"
VW_CONSTANT = 11650396  # the index of its intercept


def against_vowpal_wabbit(effort: Effort, p: int, folder: Path) -> Case:
    """Compare with a pass of Vowpal Wabbit over its own binary cache; its numbers are float32.

    It has no other way in for whole files, so start-up and reading are in its time, and its two
    threads (one reads, one learns) may use all cores.
    """
    from vowpalwabbit import pyvw

    X, y = matrix(max(20_000, 2 * n_rows(effort, p)), p)
    X = X.astype(np.float32).astype(np.float64)
    text, cache = folder / f"{p}.vw", folder / f"{p}.cache"
    with text.open("w") as file:
        for values, label in zip(X.tolist(), y.tolist(), strict=True):
            pairs = " ".join([f"{k}:{value:.9g}" for k, value in enumerate(values)])
            file.write(f"{2 * label - 1} | {pairs}\n")
    options = f"{VW_OPTIONS} -d {text} --cache_file {cache}"
    pyvw.Workspace(f"{options} --kill_cache").finish()

    def check() -> str:
        a, b = ours("SGD"), pyvw.Workspace(options)
        pass_of(a, X, y)()
        weights = [b.get_weight(k) for k in range(p)]
        constant = b.get_weight(VW_CONSTANT)
        b.finish()
        equal(a.intercept, constant, "intercepts", 1e-3)
        return f"{equal(list(a.weights.values()), weights, 'weights', 1e-3)} after {len(X):,} rows"

    return Case(
        f"learn_rows, SGD, {p} features",
        check,
        Side(pass_of(ours("SGD"), X, y), len(X)),
        "Vowpal Wabbit, from its cache (reading it included)",
        Side(lambda: pyvw.Workspace(options).finish(), len(X), every_core=True),
        aim=VW_AIM.get(p, ""),
        headline=p in VW_AIM,
    )


def bandwidth(effort: Effort, dtype: Any) -> Case:
    """Compare with reading alone: a sum of the same matrix, which is too large for any cache."""
    X, y = matrix(10_000 if effort.quick else 40_000, 1000)
    X = X.astype(dtype)

    def check() -> str:
        if dtype is np.float64:
            return equals_river(effort, "SGD", X, y)
        a, b = ours("SGD"), ours("SGD")
        pass_of(a, X, y)()
        pass_of(b, X.astype(np.float64), y)()
        return equal(a.weights, b.weights, "weights, to those from the same numbers in float64,")

    return Case(
        f"learn_rows, SGD, 1000 features, {X.nbytes / 1e6:,.0f} MB of {dtype.__name__}",
        check,
        Side(pass_of(ours("SGD"), X, y), len(X)),
        "NumPy, sum of the matrix",
        Side(X.sum, len(X)),
        aim=BANDWIDTH_AIM if dtype is np.float64 else "",
        bytes_per_unit=X.dtype.itemsize * X.shape[1],
        headline=dtype is np.float64,
    )
