"""``streamgd bench``: river and streamgd side by side on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click


@click.command()
@click.option("--rows", type=click.IntRange(min=200), default=20_000, help="Rows.  [default: 20000]")
@click.option("--features", type=click.IntRange(min=1), default=30, help="Features a row.  [default: 30]")
def bench(rows: int, features: int) -> None:
    """Compare logistic regression with river's on this machine.

    Both learn the same rows with the same optimizer, and their weights must be equal before anything is
    timed. Times are the best of three.
    """
    import numpy as np
    from river import linear_model as river_models
    from river import optim as river_optim

    from .. import linear_model, optim

    rng = np.random.default_rng(1)
    X = rng.normal(size=(rows, features))
    y = X @ rng.normal(size=features) + rng.logistic(size=rows) > 0
    names = [f"f{k}" for k in range(features)]
    # few dicts, learned again and again: with many, the time to fetch them from memory is measured
    dicts = [dict(zip(names, x, strict=True)) for x in X[:60].tolist()]
    labels = y[:60].tolist()

    click.echo(f"logistic regression, {rows:,} rows, {features} features; microseconds a row")
    click.echo(f"{'':<34}{'river':>10}{'streamgd':>10}{'ratio':>8}")
    for name, rate in (("SGD", 0.01), ("Adam", 0.01)):

        def theirs(name: str = name, rate: float = rate) -> Any:
            return river_models.LogisticRegression(getattr(river_optim, name)(rate))

        def ours(name: str = name, rate: float = rate) -> Any:
            return linear_model.LogisticRegression(getattr(optim, name)(rate))

        a, b, c = theirs(), ours(), ours()
        many = range(min(rows, 5000))
        for k in many:
            a.learn_one(dicts[k % 60], labels[k % 60])
            b.learn_one(dicts[k % 60], labels[k % 60])
        order = np.array(many) % 60
        c.learn_rows(X[order], y[order], columns=names)
        _equal(a.weights, b.weights, f"learn_one, {name}")
        _equal(a.weights, c.weights, f"learn_rows, {name}")

        def dict_pass(make: Callable[[], Any]) -> float:
            model = make()
            learn = model.learn_one
            start = time.perf_counter()
            for k in range(rows):
                learn(dicts[k % 60], labels[k % 60])
            return time.perf_counter() - start

        def river_array_pass(make: Callable[[], Any]) -> float:
            model = make()
            start = time.perf_counter()
            for x, label in zip(X.tolist(), y.tolist(), strict=True):
                row = dict(zip(names, x, strict=True))
                model.predict_proba_one(row)
                model.learn_one(row, label)
            return time.perf_counter() - start

        def array_pass(make: Callable[[], Any]) -> float:
            model = make()
            start = time.perf_counter()
            model.predict_learn_rows(X, y, columns=names)
            return time.perf_counter() - start

        _line(f"{name}: learn_one, dicts", dict_pass, theirs, dict_pass, ours, rows)
        _line(f"{name}: predict + learn, matrix", river_array_pass, theirs, array_pass, ours, rows)


def _equal(expected: Any, found: Any, what: str) -> None:
    """Stop unless both models learned the same weights."""
    worst = max(abs(expected[k] - found[k]) for k in expected)
    if not worst <= 1e-9 or len(found) != len(expected):
        raise click.ClickException(
            f"{what}: weights differ by {worst:.3g}; nothing was timed. Please report this."
        )


def _line(
    what: str,
    river_pass: Callable[[Any], float],
    theirs: Callable[[], Any],
    our_pass: Callable[[Any], float],
    ours: Callable[[], Any],
    rows: int,
) -> None:
    river = min(river_pass(theirs) for _ in range(3)) / rows * 1e6
    streamgd = min(our_pass(ours) for _ in range(3)) / rows * 1e6
    click.echo(f"{what:<34}{river:>10.2f}{streamgd:>10.3f}{river / streamgd:>7.1f}x")
