"""Streams to measure how well a learner learns: real ones, river's, small tables, generated ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from data import stream as file_of
from numpy.typing import NDArray
from scipy.sparse import csr_array

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

LOG, SQUARED = "log", "squared"
N_FRAUD = 200_000  # of 1.75 million
N_TAXI_PLACES = 30_000  # with a column a place


@dataclass(frozen=True)
class Stream:
    """Rows in their order. A peer gets the whole matrix, a learner of sparse rows what is present."""

    name: str
    loss: str
    X: Floats  # (n, p), 0 where a dict would have no such key
    y: Floats  # (n,): 0 and 1 with log loss, else numbers
    present: Mask | None = None  # None: everything
    limitless: bool = False  # labels without noise, or in runs: the larger the rate the better

    @property
    def rows(self) -> Floats | csr_array:
        """What a dict a row would have; zeros that are present are stored."""
        if self.present is None:
            return self.X
        starts = np.concatenate([[0], np.cumsum(self.present.sum(axis=1))])
        parts = self.X[self.present], np.nonzero(self.present)[1], starts
        return csr_array(parts, shape=self.X.shape)

    def first(self, n: int) -> Stream:
        present = None if self.present is None else self.present[:n]
        return replace(self, X=self.X[:n], y=self.y[:n], present=present)

    def shuffled(self) -> Stream:
        order = np.random.default_rng(0).permutation(len(self.y))
        return replace(self, name=f"{self.name}, shuffled", X=self.X[order], y=self.y[order])


def streams(*, quick: bool) -> Iterator[Stream | str]:
    """Yield the streams one after the other, or the name of a file that is not there."""
    for make in (real, rivers, tables, generated):
        for item in make(quick):
            yield item.first(1_000) if quick and isinstance(item, Stream) else item


def real(quick: bool) -> Iterator[Stream | str]:
    yield from _from_file("elec2", LOG)
    yield from _from_file("sea", LOG)
    yield from _from_file("bank_marketing", LOG)
    if not quick:
        yield from _from_file("fraud_handbook", LOG, N_FRAUD)
    yield from _from_file("bike_hour", SQUARED)
    yield from _from_file("nyc_green_taxi", SQUARED)
    if not quick:
        places = ("PULocationID", "DOLocationID")
        yield from _from_file("nyc_green_taxi", SQUARED, N_TAXI_PLACES, places)


def _from_file(
    stem: str, loss: str, n: int | None = None, one_hot: Iterable[str] = ()
) -> Iterator[Stream | str]:
    """Read a file. Categories become columns of which each row has one; a date becomes a number."""
    path = file_of(f"{stem}.parquet")
    if path is None:
        yield stem
        return
    import pandas as pd

    table = pd.read_parquet(path).iloc[:n]
    y = table.pop("target").to_numpy(dtype=float)
    numbers, categories = [], []
    for name, column in table.items():
        if name in one_hot or isinstance(column.dtype, pd.CategoricalDtype):
            codes = pd.factorize(column)[0]
            categories.append(codes[:, None] == np.arange(codes.max() + 1))
        elif pd.api.types.is_datetime64_any_dtype(column):
            numbers.append(column.astype("datetime64[s]").astype(np.int64))
            if column.dt.normalize().ne(column).any():
                numbers += [column.dt.hour + column.dt.minute / 60, column.dt.dayofweek]
        else:
            numbers.append(column)
    X = np.column_stack(numbers).astype(float)
    name = f"{stem}, first {n:,} rows" if n else stem
    if not categories:
        yield Stream(name, loss, X, y)
        return
    hot = np.hstack(categories)
    present = np.hstack([np.ones(X.shape, dtype=bool), hot])
    name += f", {' and '.join(one_hot)} one-hot" if one_hot else ""
    yield Stream(name, loss, np.hstack([X, hot]), y, present)


def rivers(quick: bool) -> Iterator[Stream]:
    """Yield the data sets that come with river."""
    from river import datasets

    yield _from_river("Phishing", datasets.Phishing(), LOG)
    yield _from_river("Bananas", datasets.Bananas(), LOG)
    for kind in ("cement",) if quick else ("cement", "foliage", "window"):
        name, rows = f"ImageSegments, {kind} or not", datasets.ImageSegments()
        yield _from_river(name, rows, LOG, lambda y, kind=kind: y == kind)
    yield _from_river("TrumpApproval", datasets.TrumpApproval(), SQUARED)
    yield _from_river("ChickWeights", datasets.ChickWeights(), SQUARED)
    if not quick:
        yield _from_river("ChickWeights", datasets.ChickWeights(), SQUARED).shuffled()
        yield _from_river("AirlinePassengers", datasets.AirlinePassengers(), SQUARED)
        yield _from_river("WaterFlow", datasets.WaterFlow(), SQUARED)


def _from_river(
    name: str, rows: Iterable[Any], loss: str, target: Callable[[Any], Any] = float, **more: Any
) -> Stream:
    pairs = list(rows)
    X = [[number for value in x.values() for number in _numbers_of(value)] for x, _ in pairs]
    return Stream(
        name, loss, np.array(X, dtype=float), np.array([float(target(y)) for _, y in pairs]), **more
    )


def _numbers_of(value: Any) -> tuple[float, ...]:
    """Return a number as it is, and of a date the day, the month, the day of the week and the hour."""
    if hasattr(value, "toordinal"):
        return value.toordinal(), value.month, value.weekday(), value.hour
    return (value,)


def tables(quick: bool) -> Iterator[Stream]:
    """Yield small tables in random order."""
    from sklearn import datasets

    kinds: list[tuple[str, str, str, Callable[[Floats], Any]]] = [
        ("wine", ", class 1 or not", LOG, lambda y: y == 1),
        ("diabetes", "", SQUARED, lambda y: y),
    ]
    if not quick:
        kinds += [
            ("breast_cancer", "", LOG, lambda y: y),
            ("iris", ", class 1 or not", LOG, lambda y: y == 1),
            ("digits", ", odd or even", LOG, lambda y: y % 2),
            ("digits", ", 8 or not", LOG, lambda y: y == 8),
        ]
    for name, what, loss, target in kinds:
        table = getattr(datasets, f"load_{name}")()
        y = np.asarray(target(table.target), dtype=float)
        yield Stream(name + what, loss, table.data, y).shuffled()
    if not quick:
        from river.datasets import synth

        yield _from_river("STAGGER", synth.STAGGER(seed=1).take(10_000), LOG, limitless=True)
        table = datasets.load_breast_cancer()
        order = np.argsort(table.target, kind="stable")
        y = table.target[order].astype(float)
        yield Stream("breast_cancer, sorted by class", LOG, table.data[order], y, limitless=True)


FEATURES = {
    "plain": "normal features of one scale",
    "scales": "features of scales 10^U(-3, 3)",
    "offsets": "and up to 5 deviations from 0",
    "heavy tails": "features with tails of Student's t, 2 degrees of freedom",
    "appearing": "300 sparse features, which appear one after the other",
    "drift": "other weights from the middle on",
    "walk": "weights walk, features autocorrelated",
    "autocorrelated": "features and what they do not explain autocorrelated",
}
TARGETS = ("in thousandths", "in thousands", "far from 0", "with heavy tails")


def generated(quick: bool, *, seed: int = 7, n: int = 10_000) -> Iterator[Stream]:
    """Yield a linear truth behind features of all kinds, then targets of all kinds."""
    for kind in FEATURES:
        for loss in (LOG, SQUARED):
            yield _generated(kind, loss, n, seed)
    for kind in TARGETS:
        base = _generated("plain", SQUARED, n, seed)
        noise = np.random.default_rng(seed).standard_t(3, n)
        y = {
            "in thousandths": base.y / 1000,
            "in thousands": base.y * 1000,
            "far from 0": base.y + 10_000,
            "with heavy tails": base.y + 4 * noise,
        }[kind]
        yield replace(base, name=f"generated, target {kind}", y=y)


def _generated(kind: str, loss: str, n: int, seed: int) -> Stream:
    rng = np.random.default_rng(seed)
    p, present = 20, None
    Z = rng.standard_normal((n, p))
    if kind == "heavy tails":
        Z = np.clip(rng.standard_t(2, (n, p)), -1e3, 1e3)
    elif kind in ("walk", "autocorrelated"):
        Z = _smooth(Z, 0.98)
    elif kind == "appearing":
        p = 300
        begin = (rng.random(p) * n * 0.8 * (np.arange(p) > p // 15)).astype(int)
        chance = np.minimum(1.0, 3.0 / np.arange(1, p + 1) ** 0.8)
        present = (rng.random((n, p)) < chance) & (np.arange(n)[:, None] >= begin)
        Z = np.exp(rng.standard_normal((n, p))) * rng.choice([-1, 1], (n, p)) * present
    truth = rng.standard_normal(p)
    W = np.tile(truth, (n, 1))
    if kind == "drift":
        W[n // 2 :] = rng.standard_normal(p) - truth
    elif kind == "walk":
        W += np.cumsum(0.02 * rng.standard_normal((n, p)), axis=0)
    signal = np.sum(W * np.clip(Z, -5, 5), axis=1)
    signal /= signal.std()
    if kind == "autocorrelated":
        signal += 0.7 * _smooth(rng.standard_normal((n, 1)), 0.95)[:, 0]
    scales = np.ones(p) if kind == "plain" else 10 ** rng.uniform(-3, 3, p)
    offsets = rng.uniform(-5, 5, p) if kind == "offsets" else 0.0
    if loss == LOG:
        y = (rng.logistic(size=n) < 4 * signal - 1).astype(float)
    else:
        y = 10 * (signal + 0.2 * rng.standard_normal(n)) + 20
    return Stream(f"generated, {kind}", loss, scales * (Z + offsets), y, present)


def _smooth(Z: Floats, keep: float) -> Floats:
    """Make each column an autoregression of order 1 with variance 1."""
    Z = Z.copy()
    for t in range(1, len(Z)):
        Z[t] = keep * Z[t - 1] + (1 - keep**2) ** 0.5 * Z[t]
    return Z
