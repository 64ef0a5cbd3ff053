"""``streamgd warmup``: compile the common kernels into the cache."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from ._pieces import PieceOption, build, find, learner, losses, optimizers

TASKS = ("binary", "regression")


@click.command()
@click.option(
    "--loss",
    "chosen_losses",
    cls=PieceOption,
    families={f"For {task}:": partial(losses, task) for task in TASKS},
    multiple=True,
    help="Loss; give it again for more.  [default: log, squared]",
)
@click.option(
    "--optimizer",
    "chosen_optimizers",
    cls=PieceOption,
    families={"One of": optimizers},
    multiple=True,
    help="Optimizer; give it again for more.  [default: all]",
)
def warmup(chosen_losses: tuple[str, ...], chosen_optimizers: tuple[str, ...]) -> None:
    """Compile kernels into the cache, so that later processes only load them.

    For single dicts, matrices of float64 and float32, and sparse rows; for the log and the squared loss with
    every optimizer (some minutes), or for those that are named.
    """
    import numpy as np

    from .._jit import compilations
    from .._rows import SparseRows

    one, zero = np.ones(1), np.zeros(1, dtype=np.int64)
    start, made = time.perf_counter(), 0
    _parsers()
    click.echo(f"text files           {time.perf_counter() - start:6.2f} s")
    for task, loss in _tasks(chosen_losses):
        for optimizer in chosen_optimizers or optimizers():
            before, clock = len(compilations), time.perf_counter()
            model = learner(task)(
                build("--optimizer", optimizer, optimizers()),
                loss and build("--loss", loss, losses(task)),
            )
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
            names = f"{type(model.loss).__name__:<25} {type(model.optimizer).__name__:<17}"
            click.echo(f"{names} {time.perf_counter() - clock:6.2f} s  {what}")
    click.echo(f"{made} kernels compiled, {time.perf_counter() - start:.1f} s")


def _tasks(chosen: tuple[str, ...]) -> Iterator[tuple[str, str | None]]:
    """Yield the task of each loss, or of each learner's default loss, which is None."""
    for task in TASKS:
        for loss in chosen or (None,):
            if loss is None or find(loss, losses(task)):
                yield task, loss


def _parsers() -> None:
    """Read a row of each kind of text file."""
    from ..stream import open_file

    with TemporaryDirectory() as folder:
        for name, text in (("a.csv", "x,y\n1,0\n"), ("a.svm", "1 1:1\n"), ("a.vw", "1 | x:1\n")):
            path = Path(folder) / name
            path.write_text(text)
            next(open_file(path).batches())
