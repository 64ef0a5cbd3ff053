"""``streamgd train``: learn from a file in one pass."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from ._errors import INTERRUPTED, BadInput, explained
from ._scores import BINARY, DEFAULTS, REGRESSION

if TYPE_CHECKING:
    from ..stream import Batch, Source

OPTIMIZERS = {
    "normalized": "Normalized",
    "sgd": "SGD",
    "momentum": "Momentum",
    "adagrad": "AdaGrad",
    "rmsprop": "RMSProp",
    "adam": "Adam",
}
LOSSES = {
    "binary": {"log": "Log", "hinge": "Hinge"},
    "regression": {"squared": "Squared", "huber": "Huber"},
}


@click.command()
@click.argument("file")
@click.option("--target", help="Column to predict. Not needed for svmlight, where a row begins with it.")
@click.option(
    "--task",
    type=click.Choice(["auto", "binary", "regression"]),
    default="auto",
    help="auto looks at the first batch: text, true/false or at most two different numbers are binary, "
    "more numbers regression.  [default: auto]",
)
@click.option(
    "--optimizer",
    type=click.Choice(list(OPTIMIZERS)),
    default="normalized",
    help="normalized needs no scaled columns and no tuned rate.  [default: normalized]",
)
@click.option(
    "--lr",
    type=click.FloatRange(min=0, min_open=True),
    help="Learning rate.  [default: the optimizer's; for normalized regression, half the standard deviation "
    "of the first 1,000 targets]",
)
@click.option(
    "--loss",
    type=click.Choice([name for names in LOSSES.values() for name in names]),
    help="log (default) or hinge for binary, squared (default) or huber for regression.",
)
@click.option("--l1", type=click.FloatRange(min=0), default=0.0, help="Penalty on absolute weights.")
@click.option("--l2", type=click.FloatRange(min=0), default=0.0, help="Penalty on squared weights.")
@click.option(
    "--metric",
    "metric_names",
    type=click.Choice([*BINARY, *REGRESSION]),
    multiple=True,
    help="Give it again for more: the first is in the table, all are in the summary.  "
    "[default: rocauc, logloss, accuracy; or mae, rmse, r2]",
)
@click.option("--drop", multiple=True, help="Column to leave out; give it again for more.")
@click.option("--category", multiple=True, help="Column of numbers that are codes, such as a zip code.")
@click.option(
    "--missing",
    type=click.Choice(["error", "zero"]),
    default="error",
    help="What an empty cell is.  [default: error]",
)
@click.option("--skip-invalid", is_flag=True, help="Skip and count rows the model cannot learn from.")
@click.option(
    "--batch-rows", type=click.IntRange(min=1), default=8192, help="Rows read at once.  [default: 8192]"
)
@click.option("--save", type=click.Path(dir_okay=False), help="File to write the model to.")
@click.option("--limit", type=click.IntRange(min=1), help="Stop after so many rows.")
@click.option("--quiet", is_flag=True, help="Only the summary: no table, no progress bar.")
@click.pass_context
def train(
    ctx: click.Context,
    file: str,
    target: str | None,
    task: str,
    optimizer: str,
    lr: float | None,
    loss: str | None,
    l1: float,
    l2: float,
    metric_names: tuple[str, ...],
    drop: tuple[str, ...],
    category: tuple[str, ...],
    missing: Any,
    skip_invalid: bool,
    batch_rows: int,
    save: str | None,
    limit: int | None,
    quiet: bool,
) -> None:
    """Learn from FILE (.csv, .tsv, .svm, each also .gz; .parquet) in one pass, row by row.

    Each row is predicted before it is learned, so the metrics tell how the model does on rows that it has
    not seen. Text columns become one feature a value. Memory does not grow with the file. Ctrl-C ends the
    pass early: the summary is printed and the model is saved.
    """
    from ._pass import run, summary
    from ._scores import Scores

    if save:
        _check_writable(save)
    with explained():
        source = _open(file, target, task, drop, category, missing, batch_rows)
        batches = source.batches()
        first = next(batches)
        task = _task(task, source, first)
        if lr is None and task == "regression" and optimizer == "normalized":
            lr = 0.5 * _spread(first)
        model = _model(task, optimizer, lr, loss, l1, l2, skip_invalid)
        scores = Scores(_metrics(task, metric_names, loss))
        if not quiet:
            click.echo(f"{file}: {task} on {source.target!r}, {type(model).__name__} with {model.optimizer}")
        outcome = run(source, labelled(task, first, batches), model, scores, limit=limit, quiet=quiet)
    if outcome.interrupted and not quiet:
        click.echo("interrupted: this is how far it got")
    for line in summary(outcome, model):
        click.echo(line)
    if save and outcome.rows:
        from .. import save as save_model

        extra = {
            "task": task,
            "target": source.target,
            "kinds": {name: kind for name, kind in source.kinds.items() if name != source.target},
            "missing": missing,
            "rows": outcome.rows,
            "position": outcome.position,
        }
        save_model(model, save, extra=extra)
        click.echo(f"{'saved':<19}{save}")
    if outcome.error:
        raise BadInput(_advice(outcome.error, file, task))
    if outcome.interrupted:
        ctx.exit(INTERRUPTED)


def _spread(first: Batch) -> float:
    """Return the standard deviation of the first 1,000 targets: a step's length is in their unit.

    With 0.5 itself, counts of bicycles (0 to 977) ended at R2 0.02 instead of 0.43.
    """
    return float(cast(Any, first.y)[:1000].astype(float).std()) or 1.0


def _check_writable(path: str) -> None:
    """Refuse a place where nothing can be saved before hours are spent on learning."""
    folder = Path(path).resolve().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise BadInput(f"--save {path}: the folder {folder} does not exist or cannot be written to")


def _open(
    file: str,
    target: str | None,
    task: str,
    drop: tuple[str, ...],
    category: tuple[str, ...],
    missing: Any,
    batch_rows: int,
) -> Source:
    from ..stream import InputError, open_file

    source = open_file(
        file,
        target,
        batch_rows=batch_rows,
        task=task,  # type: ignore[arg-type]
        drop=drop,
        kinds={name: "category" for name in category},
        missing=missing,
    )
    if source.target is None:
        names = ", ".join(map(repr, list(source.kinds)[-8:]))
        raise InputError(f"{file}: name the column to predict with --target; the last ones are {names}")
    for name in category:
        if name not in source.kinds:
            raise InputError(f"{file}: no column {name!r}, which --category names")
    return source


def _task(task: str, source: Source, first: Batch) -> str:
    """Return "binary" or "regression"."""
    import numpy as np

    y: Any = first.y
    if task != "auto":
        return task
    if source.kinds.get(source.target or "", "number") != "number":
        return "binary"
    return "binary" if len(np.unique(y)) <= 2 else "regression"


def labelled(task: str, first: Batch, rest: Iterator[Batch]) -> Iterator[Batch]:
    """Read whole numbers as such where they are labels, and truth values as numbers for regression."""
    import numpy as np

    for batch in chain([first], rest):
        y: Any = batch.y
        if task == "regression":
            y = y.astype(np.float64)
        elif y.dtype.kind == "f" and bool((y == np.round(y)).all()):
            y = y.astype(np.int64)
        yield replace(batch, y=y)


def _model(
    task: str, optimizer: str, lr: float | None, loss: str | None, l1: float, l2: float, skip_invalid: bool
) -> Any:
    from .. import linear_model, optim

    names = LOSSES[task]
    if loss is not None and loss not in names:
        raise click.UsageError(f"--loss {loss} is not for task {task}; choose {' or '.join(names)}")
    make = getattr(optim, OPTIMIZERS[optimizer])
    learner = linear_model.LogisticRegression if task == "binary" else linear_model.LinearRegression
    try:
        return learner(
            optimizer=make() if lr is None else make(lr),
            loss=None if loss is None else getattr(optim.losses, names[loss])(),
            l1=l1,
            l2=l2,
            on_invalid="skip" if skip_invalid else "raise",
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _metrics(task: str, names: tuple[str, ...], loss: str | None) -> tuple[str, ...]:
    known = BINARY if task == "binary" else REGRESSION
    for name in names:
        if name not in known:
            raise click.UsageError(f"--metric {name} is not for task {task}; choose from {', '.join(known)}")
    if names:
        return names
    # the hinge loss gives no probabilities, so their logarithm tells nothing
    return tuple(name for name in DEFAULTS[task] if not (loss == "hinge" and name == "logloss"))


def _advice(error: str, file: str, task: str) -> str:
    text = error if error.startswith(file) else f"{file}, {error}"
    if task == "binary" and "a third one" in error:
        text += "; if the target is a number to predict, use --task regression"
    return text
