"""``streamgd train``: learn from a file in one pass."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

import click

from ._errors import INTERRUPTED, BadInput, check_place, explained, spare
from ._pieces import (
    TASKS,
    PieceOption,
    build,
    described,
    find,
    learner,
    losses,
    optimizers,
    parameters,
    schedulers,
)
from ._scores import BINARY, DEFAULTS, REGRESSION

if TYPE_CHECKING:
    from ..stream import Batch, Source

LARGEST_RATE = 1e100  # the learners take no larger one


@click.command()
@click.argument("file")
@click.option("--target", help="Column to predict. Not needed for svmlight, where a row begins with it.")
@click.option(
    "--task",
    type=click.Choice(["auto", *TASKS]),
    default="auto",
    help="auto looks at the first batch: text, true/false or at most two different numbers are binary, "
    "more numbers regression.  [default: auto]",
)
@click.option(
    "--positive",
    metavar="VALUE",
    help="The positive label of a binary target.  [default: the larger of two numbers, true; of two texts "
    "the one that comes second]",
)
@click.option(
    "--optimizer",
    cls=PieceOption,
    families={"One of": optimizers},
    default="auto",
    help="How weights are updated; auto needs no scaled columns and no tuned rate.  [default: auto]",
)
@click.option(
    "--lr",
    type=click.FloatRange(min=0, max=LARGEST_RATE, min_open=True),
    help="Learning rate; for auto and bank a factor of all steps.  [default: the optimizer's]",
)
@click.option(
    "--schedule",
    cls=PieceOption,
    families={"One of": schedulers},
    help="How the learning rate goes on from its first value.  [default: constant]",
)
@click.option(
    "--loss",
    cls=PieceOption,
    families={f"For {task}:": partial(losses, task) for task in TASKS},
    help="What is to be small.  [default: log for binary, squared for regression]",
)
@click.option("--l1", type=click.FloatRange(min=0), help="Penalty on absolute weights; auto takes none.")
@click.option("--l2", type=click.FloatRange(min=0), help="Penalty on squared weights; auto takes none.")
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
    help="What an empty cell is, and NA, N/A, NaN, null, None or ? in a column of numbers; zero reads it as "
    "0, or as no category.  [default: error]",
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
    positive: str | None,
    optimizer: str,
    lr: float | None,
    schedule: str | None,
    loss: str | None,
    l1: float | None,
    l2: float | None,
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
    not seen. Memory does not grow with the file. Ctrl-C ends the pass early: the summary is printed and the
    model is saved.

    An optimizer, loss or schedule may have parameters: adam:beta_1=0.95,eps=1e-6 or quantile:alpha=0.9.

    The first 1,000 rows of a text file tell what each column is: numbers, true/false, or else a category,
    which becomes one feature a value. The kinds found are printed before the pass.
    """
    from ._pass import run, summary
    from ._scores import Scores

    if save:
        spare("--save", save, FILE=file)
        check_place("--save", save)
    with explained():
        source = _open(file, target, task, drop, category, missing, batch_rows)
        batches = source.batches()
        first = next(batches)
        task = _task(task, source, first)
        labels = _labels(task, source, first, positive)
        model = _model(
            task,
            optimizer,
            schedule,
            loss,
            {name: value for name, value in {"lr": lr, "l1": l1, "l2": l2}.items() if value is not None},
            on_invalid="skip" if skip_invalid else "raise",
            **({} if labels is None else {"labels": labels}),
        )
        scores = Scores(_metrics(task, metric_names, model.loss))
        if not quiet:
            click.echo(f"{file}: {task} on {source.target!r}, {type(model).__name__} with {model.optimizer}")
            if source.kinds:
                click.echo(f"columns: {_kinds(source)}")
        for name, cell in getattr(source, "doubtful", {}).items():
            click.echo(
                f"note: most cells of column {name!r} are numbers, but {cell!r} is not, so each value became "
                "a category; mend the file (an empty cell or NA stands for a missing number), or say "
                f"--category {name} if that is right",
                err=True,
            )
        outcome = run(source, labelled(task, first, batches), model, scores, limit=limit, quiet=quiet)
    if outcome.interrupted and not quiet:
        click.echo("interrupted: this is how far it got")
    for line in summary(outcome, model):
        click.echo(line)
    if save and outcome.rows:
        extra = {
            "format": "columns" if source.kinds else "svmlight",
            "task": task,
            "target": source.target,
            "kinds": {name: kind for name, kind in source.kinds.items() if name != source.target},
            "missing": missing,
            "rows": outcome.rows,
            "position": outcome.position,
        }
        _save(model, save, extra)
        click.echo(f"{'saved':<19}{save}")
    if outcome.error:
        raise BadInput(_advice(outcome.error, file, source))
    if outcome.interrupted:
        ctx.exit(INTERRUPTED)


def _save(model: Any, path: str, extra: dict[str, Any]) -> None:
    from safetensors import SafetensorError

    from .. import save

    with explained():
        try:
            save(model, path, extra=extra)
        except (SafetensorError, ValueError) as error:
            raise BadInput(f"--save {path}: {error}") from error


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
    from ..stream._open import is_svmlight

    if is_svmlight(file) and (target is not None or category):
        option = f"--target {target}" if target is not None else f"--category {category[0]}"
        raise InputError(
            f"{file}: {option} has no meaning in an svmlight file, where a row begins with its target and "
            "all features are numbers; leave it out"
        )
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


def _kinds(source: Source) -> str:
    """Say what the columns to learn from are."""
    by_kind: dict[str, list[str]] = {"number": [], "boolean": [], "category": []}
    for name, kind in source.kinds.items():
        if name != source.target:
            by_kind[kind].append(name)
    plural = {"number": "numbers", "boolean": "booleans", "category": "categories"}
    parts = []
    for what, names in by_kind.items():
        if names:
            listed = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
            counted = f"{len(names)} {what if len(names) == 1 else plural[what]}"
            parts.append(counted if what == "number" else f"{counted} ({listed})")
    return ", ".join(parts)


def _labels(task: str, source: Source, first: Batch, positive: str | None) -> tuple[Any, Any] | None:
    """Return the labels, negative and positive, where they do not depend on the order of the rows."""
    if task != "binary":
        if positive is not None:
            raise click.UsageError(f"--positive {positive} is for task binary; this one is {task}")
        return None
    found = _distinct(first)
    if positive is None:
        clear = len(found) > 1 and not isinstance(found[0], str)
        return (min(found[:2]), max(found[:2])) if clear else None
    value = _label(positive, found[0])
    if value not in found and len(found) > 1:
        listed = ", ".join(map(repr, found[:8]))
        raise BadInput(f"--positive {positive}: no such label in the first rows, which have {listed}")
    # a sorted file may begin with many rows of one label: read on to its first other one
    for batch in chain([first], source.batches(first.position)):
        for label in _distinct(batch):
            if label != value:
                return (label, value)
    raise BadInput(f"--positive {positive}: every row has this label, and there is nothing to tell it from")


def _distinct(batch: Batch) -> list[Any]:
    """Return the labels of a batch in the order in which they turn up, as `labelled` reads them."""
    import numpy as np

    (batch,) = labelled("binary", batch, iter(()))
    labels, places = np.unique(cast(Any, batch.y), return_index=True)
    found: list[Any] = labels[np.argsort(places)].tolist()
    return found


def _label(text: str, like: Any) -> Any:
    """Return the label that is written as ``text``, of the type of another one."""
    if isinstance(like, str):
        return text
    if isinstance(like, bool):
        known = {"true": True, "false": False}
        if text.lower() in known:
            return known[text.lower()]
        raise BadInput(f"--positive {text}: the labels are true and false")
    try:
        value = float(text)
    except ValueError:
        raise BadInput(f"--positive {text}: the labels are numbers, such as {like}") from None
    return int(value) if value.is_integer() else value


def labelled(task: str, first: Batch, rest: Iterator[Batch]) -> Iterator[Batch]:
    """Read whole numbers as such where they are labels, and truth values as numbers for regression."""
    import numpy as np

    for batch in chain([first], rest):
        y: Any = batch.y
        if task == "regression":
            y = y.astype(np.float64)
        elif y.dtype.kind == "f" and bool(((y == np.round(y)) & (np.abs(y) < 2.0**53)).all()):
            y = y.astype(np.int64)
        yield replace(batch, y=y)


def _model(
    task: str, optimizer: str, schedule: str | None, loss: str | None, given: dict[str, float], **others: Any
) -> Any:
    """Return a learner; what an optimizer has of its own of ``given`` (lr, l1, l2) is the optimizer's."""
    rule = find(optimizer, optimizers())
    own: dict[str, Any] = {name: value for name, value in given.items() if name in parameters(rule)}
    if "lr" not in parameters(rule) and (schedule is not None or "lr" in given):
        option = "--lr" if "lr" in given else "--schedule"
        raise click.UsageError(f"{option} sets lr, which {rule.__name__} lacks; {described(rule)}")
    if schedule is not None:
        own["lr"] = build("--schedule", schedule, schedulers(), given.get("lr", rule.lr))
    if loss is not None and not find(loss, losses(task)):
        raise click.UsageError(f"--loss {loss} is not for task {task}; choose from {', '.join(losses(task))}")
    try:
        model = learner(task)(
            optimizer=build("--optimizer", optimizer, optimizers(), **own),
            loss=None if loss is None else build("--loss", loss, losses(task)),
            **{name: value for name, value in given.items() if name not in own},
            **others,
        )
        _ = model.learning_rate  # raises for a schedule in epochs that lacks epoch_size
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return model


def _metrics(task: str, names: tuple[str, ...], loss: Any) -> tuple[str, ...]:
    known = BINARY if task == "binary" else REGRESSION
    for name in names:
        if name not in known:
            raise click.UsageError(f"--metric {name} is not for task {task}; choose from {', '.join(known)}")
    if names:
        return names
    # the hinge loss, for one, gives no probabilities, so their logarithm tells nothing
    return tuple(name for name in DEFAULTS[task] if loss.likelihood or name != "logloss")


def _advice(error: str, file: str, source: Source) -> str:
    """Put an error of the learner, whose way out is a call in Python, in terms of this command."""
    text = error if error.startswith(file) else f"{file}, {error}"
    if "a third one" in text:
        text = (
            text.partition("; for more classes")[0] + "; the command learns two labels: take other rows out"
        )
        if source.kinds.get(source.target or "", "number") == "number":
            text += ", or, if the target is a number to predict, use --task regression"
    elif "which of them is the positive" in text:
        text = re.sub(r"; say labels=.*", "; say --positive VALUE", text)
    elif "lower the learning rate" in text:
        text = text.partition("lower the learning rate")[0]
        text += "lower --lr, or use --optimizer auto, which needs no scaled columns"
    elif re.search(r"row [\d,]+: (feature|the target is) ", text):
        text += "; --skip-invalid leaves such rows out"
    return text
