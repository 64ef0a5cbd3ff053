"""``streamgd warmup``: compile the common kernels into the cache."""

from __future__ import annotations

import time

import click


@click.command()
def warmup() -> None:
    """Compile the kernels of every loss with every optimizer, so that later processes only load them.

    For single dicts, for matrices of float64 and float32, and for sparse rows.
    """
    import numpy as np

    from .. import linear_model, optim
    from .._jit import compilations
    from .._rows import SparseRows
    from .train import LOSSES, OPTIMIZERS

    learners = {"binary": linear_model.LogisticRegression, "regression": linear_model.LinearRegression}
    one, zero = np.ones(1), np.zeros(1, dtype=np.int64)
    start, made = time.perf_counter(), 0
    for task, losses in LOSSES.items():
        for loss in losses.values():
            for name in OPTIMIZERS.values():
                before, clock = len(compilations), time.perf_counter()
                model = learners[task](getattr(optim, name)(), getattr(optim.losses, loss)())
                model.learn_one({0: 1.0}, 1)
                model.predict_one({0: 1.0})
                for X in (np.ones((1, 1)), np.ones((1, 1), np.float32), SparseRows(one, zero, np.array([0, 1]), 1)):
                    model.learn_rows(X, one.astype(np.int64))
                new = sum(not c.cached for c in compilations[before:])
                made += new
                what = f"{new} compiled" if new else "all in the cache"
                click.echo(f"{loss:<8} {name:<11} {time.perf_counter() - clock:6.2f} s  {what}")
    click.echo(f"{made} kernels compiled, {time.perf_counter() - start:.1f} s")
