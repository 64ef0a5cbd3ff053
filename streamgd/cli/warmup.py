"""``streamgd warmup``: compile the common kernels into the cache."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from .train import LOSSES, OPTIMIZERS


@click.command()
@click.option(
    "--loss",
    "chosen_losses",
    type=click.Choice([name for names in LOSSES.values() for name in names]),
    multiple=True,
    help="Only this loss; give it again for more.",
)
@click.option(
    "--optimizer",
    "chosen_optimizers",
    type=click.Choice(list(OPTIMIZERS)),
    multiple=True,
    help="Only this optimizer; give it again for more.",
)
def warmup(chosen_losses: tuple[str, ...], chosen_optimizers: tuple[str, ...]) -> None:
    """Compile kernels into the cache, so that later processes only load them.

    For single dicts, matrices of float64 and float32, and sparse rows; for every loss with every optimizer
    (two minutes), or those that are named.
    """
    import numpy as np

    from .. import linear_model, optim
    from .._jit import compilations
    from .._rows import SparseRows

    learners = {"binary": linear_model.LogisticRegression, "regression": linear_model.LinearRegression}
    one, zero = np.ones(1), np.zeros(1, dtype=np.int64)
    start, made = time.perf_counter(), 0
    _parsers()
    click.echo(f"text files           {time.perf_counter() - start:6.2f} s")
    for task, losses in LOSSES.items():
        for loss in [losses[name] for name in losses if name in (chosen_losses or losses)]:
            for name in [OPTIMIZERS[key] for key in chosen_optimizers or OPTIMIZERS]:
                before, clock = len(compilations), time.perf_counter()
                model = learners[task](getattr(optim, name)(), getattr(optim.losses, loss)())
                model.learn_one({0: 1.0}, 1)
                model.predict_one({0: 1.0})
                for X in (
                    np.ones((1, 1)),
                    np.ones((1, 1), np.float32),
                    SparseRows(one, zero, np.array([0, 1]), 1),
                ):
                    model.learn_rows(X, one.astype(np.int64))
                new = sum(not c.cached for c in compilations[before:])
                made += new
                what = f"{new} compiled" if new else "all in the cache"
                click.echo(f"{loss:<8} {name:<11} {time.perf_counter() - clock:6.2f} s  {what}")
    click.echo(f"{made} kernels compiled, {time.perf_counter() - start:.1f} s")


def _parsers() -> None:
    """Read a row of each kind of text file."""
    from ..stream import open_file

    with TemporaryDirectory() as folder:
        for name, text in (("a.csv", "x,y\n1,0\n"), ("a.svm", "1 1:1\n")):
            path = Path(folder) / name
            path.write_text(text)
            next(open_file(path).batches())
