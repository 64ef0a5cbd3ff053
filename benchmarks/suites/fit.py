"""`fit`: threads of a mini-batch, full batches of files, peers, and what it adds to learning itself."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from compare import Case, Effort, Row, Side, UnequalError, equal
from data import matrix, names
from numpy.typing import NDArray
from report import line

import streamgd
from streamgd import linear_model, optim, stream
from suites.learn_one import ours
from suites.learn_rows import plain_sgd, sklearn_pass
from suites.stream import TARGET, every_core, table, write_parquet

HEAD = (
    "`streamgd.fit` of `LogisticRegression(SGD(0.01))`, or `SoftmaxRegression` where there are classes, on "
    "float32 numbers, one pass, `metrics=[]` where nothing else is said. Both sides have all cores and give "
    "equal weights before they are timed, as the notes say; they are run in turn, and medians stand here. A "
    "ratio is how many times longer the other side takes. A batch of a small matrix is one block of work, "
    "which one thread does; where few operations meet each byte, memory is the limit of several."
)
SHAPES = ((1_000_000, 30), (100_000, 1000))
CLASSES = 10
MINI = 4096
SMALL = 256
METRICS = {"no metrics": [], "the default metric": None, "three metrics": ["rocauc", "logloss", "accuracy"]}


def cases(effort: Effort) -> Iterator[Case]:
    shrink = 10 if effort.quick else 1
    with every_core():
        n, p = SHAPES[0]
        X, y = floats(n // shrink, p)
        yield from overhead(X, y)
        yield from against_torch(X[: len(X) // 10], y[: len(X) // 10])
        yield against_sklearn(X[: len(X) // 10], y[: len(X) // 10])
        with tempfile.TemporaryDirectory() as folder:
            yield from full_batches(X, y, Path(folder))
        yield from threads(X, y)
        yield single(X, y)
        n, p = SHAPES[1]
        yield from threads(*floats(n // shrink, p))
        yield single(*floats(n // shrink, p))
        X, y = floats(200_000 // shrink, 100)
        labels = np.digitize(X[:, 0], np.linspace(-2.0, 2.0, CLASSES - 1))
        yield from threads(X, labels, linear_model.SoftmaxRegression)


def floats(n: int, p: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Make rows of float32."""
    X, y = matrix(n, p)
    return X.astype(np.float32), y


def fitted(data: Any, y: Any = None, *, make: Any = linear_model.LogisticRegression, **options: Any) -> Any:
    """Return a model after one pass."""
    model = make(optim.SGD(0.01))
    streamgd.fit(model, data, y, **({"metrics": [], "progress": False} | options))
    return model


def same(models: list[Any]) -> None:
    """Refuse models that differ in a bit."""
    first, *others = models
    for model in others:
        if model.intercept != first.intercept or model.weights != first.weights:
            raise UnequalError("weights differ in some bit")


def case(
    name: str, check: Callable[[], str], side: Callable[[], object], n: int, peer_name: str,
    peer: Callable[[], object], **more: Any,
) -> Case:  # fmt: skip
    """Make a case of which both sides have all cores."""
    return Case(
        name, check, Side(side, n, every_core=True), peer_name, Side(peer, n, every_core=True), **more
    )


# -- threads -----------------------------------------------------------------------------------


def threads(X: NDArray[Any], y: NDArray[Any], make: Any = linear_model.LogisticRegression) -> Iterator[Case]:
    for size in (MINI, "all"):
        for count in (2, 4):
            yield sharing(X, y, make, size, count)


def sharing(X: NDArray[Any], y: NDArray[Any], make: Any, size: Any, count: int) -> Case:
    """Compare with one thread; bytes read a second tell where memory is the limit."""

    def go(threads: int) -> Any:
        return fitted(X, y, make=make, batch_size=size, threads=threads)

    def check() -> str:
        same([go(1), go(2), go(4)])
        return "weights of 1, 2 and 4 threads equal to the bit"

    batch = "one batch" if size == "all" else f"batches of {size:,}"
    more = "" if make is linear_model.LogisticRegression else f", {CLASSES} classes"
    return case(
        f"{batch}, {len(X):,} rows x {X.shape[1]}{more}, {count} threads",
        check, lambda: go(count), len(X), "1 thread", lambda: go(1),
        bytes_per_unit=X.itemsize * X.shape[1],
    )  # fmt: skip


def single(X: NDArray[Any], y: NDArray[Any]) -> Case:
    """Compare steps in float32 with steps in float64, on the same rows."""

    def go(dtype: str) -> Any:
        return fitted(X, y, batch_size=MINI, dtype=dtype)

    def check() -> str:
        one, other = (np.array([*m.weights.values(), m.intercept]) for m in map(go, ("float32", "float64")))
        return equal(one, other, "weights after a pass", tolerance=1e-5)

    return case(
        f"batches of {MINI:,} in float32, {len(X):,} rows x {X.shape[1]}",
        check, lambda: go("float32"), len(X), "in float64", lambda: go("float64"),
        bytes_per_unit=X.itemsize * X.shape[1],
    )  # fmt: skip


# -- full batches ------------------------------------------------------------------------------


def full_batches(X: NDArray[Any], y: NDArray[Any], folder: Path) -> Iterator[Case]:
    """One step on the mean gradient of a file that is read in parts."""
    path = folder / "rows.parquet"
    write_parquet(table(X, y), path)

    def check() -> str:
        options = {"batch_size": "all", "epochs": 3}
        whole = fitted(X, y, columns=names(X.shape[1]), **options)
        same([fitted(stream.Parquet(path, TARGET), **options), whole])
        return "weights after 3 epochs equal to the bit"

    yield case(
        f"one batch of a Parquet file, {len(X):,} rows x {X.shape[1]}",
        check,
        lambda: fitted(stream.Parquet(path, TARGET), batch_size="all"), len(X),
        "the same array in memory",
        lambda: fitted(X, y, batch_size="all"),
    )  # fmt: skip


# -- peers -------------------------------------------------------------------------------------


def against_torch(X: NDArray[Any], y: NDArray[Any]) -> Iterator[Case]:
    """Compare with the loop that a user of PyTorch writes, on one thread, which is its fastest here."""
    import torch

    torch.set_num_threads(1)
    for dtype, tolerance in ((np.float64, 1e-9), (np.float32, 1e-5)):
        rows = X.astype(dtype)
        inputs, targets = torch.from_numpy(rows), torch.from_numpy(y.astype(dtype))

        def peer_pass(inputs: Any = inputs, targets: Any = targets) -> Any:
            model = torch.nn.Linear(inputs.shape[1], 1, dtype=inputs.dtype)
            torch.nn.init.zeros_(model.weight)
            torch.nn.init.zeros_(model.bias)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
            loss = torch.nn.BCEWithLogitsLoss()
            for lo in range(0, len(inputs), SMALL):
                optimizer.zero_grad()
                loss(model(inputs[lo : lo + SMALL])[:, 0], targets[lo : lo + SMALL]).backward()
                optimizer.step()
            return model

        def our_pass(rows: Any = rows) -> Any:
            return fitted(rows, y, batch_size=SMALL)

        def check(our_pass: Any = our_pass, peer_pass: Any = peer_pass, tolerance: float = tolerance) -> str:
            a, b = our_pass(), peer_pass()
            equal(a.intercept, b.bias.detach().numpy(), "intercepts", tolerance)
            weights = equal(list(a.weights.values()), b.weight.detach().numpy(), "weights", tolerance)
            return f"{weights} after {a.n_updates:,} batches"

        yield case(
            f"fit, batches of {SMALL}, {len(X):,} rows x {X.shape[1]}, {dtype.__name__}",
            check, our_pass, len(X),
            "PyTorch, a loop of torch.optim.SGD on slices of a tensor", peer_pass,
            headline=dtype is np.float32,
        )  # fmt: skip


def against_sklearn(X: NDArray[Any], y: NDArray[Any]) -> Case:
    """Compare row by row, in batches of the source: scikit-learn takes no step on a mean gradient."""
    X = X.astype(np.float64)
    parts = [slice(lo, lo + SMALL) for lo in range(0, len(X), SMALL)]

    def our_pass() -> Any:
        return fitted(stream.Arrays(X, y, batch_rows=SMALL))

    def peer_pass() -> Any:
        model = plain_sgd()
        for part in parts:
            sklearn_pass(model, X[part], y[part])()
        return model

    def check() -> str:
        a, b = our_pass(), peer_pass()
        equal(a.intercept, b.intercept_, "intercepts")
        return equal(list(a.weights.values()), b.coef_, "weights")

    return case(
        f"row by row in a source's batches of {SMALL}, {len(X):,} rows x {X.shape[1]}",
        check, our_pass, len(X), "scikit-learn, partial_fit a batch", peer_pass,
    )  # fmt: skip


# -- what fit adds -----------------------------------------------------------------------------


def overhead(X: NDArray[Any], y: NDArray[Any]) -> Iterator[Case]:
    """Compare with one call that only learns; the ratio is the share of its speed that is left."""

    def alone() -> Any:
        model = ours("SGD")
        model.predict_learn_rows(X, y)
        return model

    for what, metrics in METRICS.items():

        def check(metrics: Any = metrics) -> str:
            same([fitted(X, y, metrics=metrics), alone()])
            return "weights equal to the bit"

        yield case(
            f"row by row, {what}, {len(X):,} rows x {X.shape[1]} array",
            check,
            lambda metrics=metrics: fitted(X, y, metrics=metrics), len(X),
            "one predict_learn_rows", alone,
        )  # fmt: skip


# -- page --------------------------------------------------------------------------------------


def page(machine: str, rows: Iterable[Row]) -> str:
    """Write the table, and what is timed."""
    lines = ["# fit", "", machine, "", f"`python benchmarks/run.py --suite fit`. {HEAD}", ""]
    lines += ["| what | streamgd | other side | ratio | aim | notes |", "|---|---:|---:|---:|---|---|"]
    return "\n".join([*lines, *(line(asdict(row)) for row in rows)]) + "\n"
