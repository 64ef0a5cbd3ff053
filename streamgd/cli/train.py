"""``streamgd train``: learn from a file, a folder or a pipe."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ._errors import INTERRUPTED, BadInput, check_picture, check_place, explained, in_options, spare
from ._options import Sections, train_options
from ._pieces import (
    build,
    class_weights,
    described,
    find,
    learner,
    losses,
    metrics,
    optimizers,
    parameters,
    schedulers,
)

if TYPE_CHECKING:
    from ._input import Prepared, Until
    from ._pass import Outcome

DEFAULTS = {
    "binary": ("rocauc", "logloss", "accuracy"),
    "multiclass": ("accuracy", "macro-f1", "cross-entropy"),
    "regression": ("mae", "rmse", "r2"),
}
READING = ("target", "weight", "format", "missing", "interactions", "n_features")
# What a model that goes on has settled, but for its file.
SETTLED = (
    *READING, "drop", "category", "task", "positive", "loss", "optimizer", "lr", "schedule", "l1", "l2",
    "class_weight",
    "shuffle", "seed",
)  # fmt: skip


@click.command(cls=Sections)
@click.argument("file")
@train_options
@click.pass_context
def train(ctx: click.Context, /, file: str, **options: Any) -> None:
    """Learn from FILE, row by row, in mini-batches, or by full-batch gradient descent.

    FILE is text (.csv, .tsv, .svm, .vw; also .gz and .zst), .parquet or .arrow; a folder or a pattern of
    tables; or - for standard input.

    Each row is predicted before it is learned, so the metrics tell how the model does on rows that it has
    not seen. Memory does not grow with the file. Ctrl-C ends the run early: the summary is printed and the
    model is saved.

    An optimizer, loss or schedule may have parameters: adam:beta_1=0.95,eps=1e-6 or quantile:alpha=0.9.

    The first 1,000 rows of a CSV file tell what each column is: numbers, true/false, or else a category,
    which becomes one feature a value. The kinds found are printed before the run.
    """
    from ._input import Until
    from ._pass import run, summary

    quiet, save, until = options["quiet"], options["save"], Until()
    with explained():
        saved = _saved(ctx, options) if options["resume"] else None
        _check_options(file, options)
        source = _open(file, options, saved, until)
        model = _model(source, options) if saved is None else saved["model"]
        if options["skip_invalid"]:
            model.on_invalid = "skip"
        names = _metrics(source.task, options["metric_names"], model.loss)
        _announce(file, source, model, options, saved)
        note = _notes(file, source, options, saved)
        try:
            outcome = run(
                source, model, names, until=until, quiet=quiet, callbacks=_checkpoints(options, note),
                batch_size=options["batch_size"], epochs=options["epochs"],
                shuffle=options["shuffle"] or False, seed=options["seed"], threads=options["threads"],
                max_rows=options["limit"], max_seconds=options["max_seconds"], window=options["window"],
                start=_start(file, saved),
            )  # fmt: skip
        except ValueError as error:  # such as an optimizer that learns row by row only
            raise BadInput(_advice(str(error), source)) from error
    history = outcome.history
    if outcome.interrupted and not quiet:
        click.echo("interrupted: this is how far it got")
    if saved is not None and not history.samples and outcome.error is None:
        click.echo(f"no rows in {file} that {options['resume']} has not seen")
    else:
        for line in summary(outcome, source, model, names):
            click.echo(line)
    if save and history.samples:
        _save(model, save, note(history.samples, history.position))
        click.echo(f"{'saved':<19}{save}")
    if history.samples:
        _show(outcome, model, file, options)
    if outcome.error:
        raise BadInput(_advice(outcome.error, source))
    if outcome.interrupted:
        ctx.exit(INTERRUPTED)


def _check_options(file: str, options: Mapping[str, Any]) -> None:
    """Refuse what cannot come to a good end before anything is read."""
    from ._input import is_pipe

    for option in ("save", "plot", "report"):
        if path := options[option]:
            spare(f"--{option}", path, FILE=file)
            check_place(f"--{option}", path)
    if options["plot"]:
        check_picture("--plot", options["plot"])
    if options["report"]:
        check_picture("--report", None)
    if options["checkpoint_every"] and not options["save"]:
        raise click.UsageError("--checkpoint-every needs a file to write to: --save MODEL")
    if options["follow"]:
        if is_pipe(file):
            raise click.UsageError(
                "--follow is for a file that grows; a pipe is read as its rows come anyway"
            )
        if options["epochs"] > 1 or options["batch_size"] == "all":
            raise click.UsageError(
                "--follow waits at the end of FILE, so there is no second epoch (--epochs), and no update "
                "after all rows (--batch-size all)"
            )


# -- where rows come from, and where they go on ---------------------------------------------------


def _open(file: str, options: Mapping[str, Any], saved: Mapping[str, Any] | None, until: Until) -> Prepared:
    """Open FILE as the options say, or as it was read for a saved model."""
    from ..stream import Follow, InputError, open_file
    from ._input import Prepared, input_of, is_pipe, layout_of, of_another_kind, task_of

    reading = {name: options[name] for name in READING} | {"batch_rows": options["batch_rows"]}
    task = options["task"]
    if saved is not None:
        task, kinds = saved["task"], saved["kinds"]
        reading |= saved["reading"]
        if kinds:
            reading |= {"kinds": kinds, "columns": list(kinds)}
        elif is_pipe(file):
            reading["format"] = saved["format"]
    else:
        reading |= {"drop": options["drop"], "kinds": dict.fromkeys(options["category"], "category") or None}
    if options["follow"]:
        reading["follow"] = Follow(stop=until)
    try:
        source = open_file(
            input_of(file, until), task="regression" if task == "regression" else "auto", **reading
        )
    except TypeError as error:
        if not options["follow"]:
            raise
        raise BadInput(f"{file}: --follow is for CSV, svmlight and Vowpal Wabbit text") from error
    except ValueError as error:
        if saved is not None and "has no meaning in" in str(error):
            raise of_another_kind(file, options["resume"], saved) from error
        raise BadInput(in_options(str(error))) from error
    if saved is not None and layout_of(source) != saved["format"]:
        raise of_another_kind(file, options["resume"], saved)
    _check_columns(file, source, options)
    prepared = Prepared(source, file)
    if prepared.first is None:
        raise InputError(f"{file}: no rows in it")
    if options["epochs"] > 1 and not source.repeatable:
        raise InputError(f"{prepared.path}: can be read once, and --epochs {options['epochs']} needs a file")
    prepared.task = task if task != "auto" else task_of(prepared)
    return prepared


def _check_columns(file: str, source: Any, options: Mapping[str, Any]) -> None:
    """Refuse columns that are not there, or not named."""
    from ..stream import InputError

    if source.target is None:
        names = ", ".join(map(repr, list(source.kinds)[-8:]))
        raise InputError(f"{file}: name the column to predict with --target; the last ones are {names}")
    for name in options["category"]:
        if name not in source.kinds:
            raise InputError(f"{file}: no column {name!r}, which --category names")


def _saved(ctx: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """Return a saved model with what its file says of it; complete the options by that."""
    model, extra = load_trained(options["resume"])
    for parameter in ctx.command.params:
        name = parameter.name or ""
        said = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if name in SETTLED and said:
            raise click.UsageError(
                f"{parameter.opts[0]} is settled by --resume {options['resume']}; leave it out"
            )
        if name in extra["options"] and not said:
            options[name] = extra["options"][name]
    return extra | {"model": model}


def load_trained(path: str) -> tuple[Any, dict[str, Any]]:
    """Return a model that ``streamgd train`` saved, and what it was trained on."""
    from .. import load

    try:
        model, extra = load(path, with_extra=True)
    except FileNotFoundError as error:
        raise BadInput(f"no model file {path!r}") from error
    except ValueError as error:
        raise BadInput(str(error)) from error
    if not {"kinds", "format", "task", "reading", "options"} <= extra.keys():
        raise BadInput(f"{path} does not say what columns it was trained on; use a model of streamgd train")
    return model, extra


def _start(file: str, saved: Mapping[str, Any] | None) -> Any:
    """Return where to go on: behind the rows seen, if they are those of FILE; None: at the beginning."""
    from ._input import same_rows

    return saved["position"] if saved is not None and saved["file"] == same_rows(file) is not None else None


def _notes(
    file: str, source: Prepared, options: Mapping[str, Any], saved: Mapping[str, Any] | None
) -> Callable[[int, Any], dict[str, Any]]:
    """Return what makes the notes saved beside a model, of the rows of this run and its position."""
    from ._input import layout_of, same_rows

    weight = options["weight"]
    about = {
        "format": layout_of(source.source),
        "task": source.task,
        "target": source.target,
        "kinds": {n: kind for n, kind in source.kinds.items() if n not in (source.target, weight)},
        "reading": {name: options[name] for name in READING},
        "options": {name: options[name] for name in ("batch_size", "epochs", "shuffle", "seed")},
        "file": same_rows(file),
    }
    if saved is not None:
        about |= {"reading": saved["reading"]}
    before = 0 if saved is None else saved["rows"]

    def note(rows: int, position: Any) -> dict[str, Any]:
        return about | {"rows": before + rows, "position": position, "means": source.means(position)}

    return note


def _checkpoints(options: Mapping[str, Any], note: Callable[[int, Any], dict[str, Any]]) -> list[Any]:
    from ..training import Every

    rows, path = options["checkpoint_every"], options["save"]
    if rows is None:
        return []
    return [Every(rows, lambda run: _save(run.model, path, note(run.samples, run.position)))]


def _save(model: Any, path: str, extra: dict[str, Any]) -> None:
    from safetensors import SafetensorError

    from .. import save

    with explained():
        try:
            save(model, path, extra=extra)
        except (SafetensorError, ValueError) as error:
            raise BadInput(f"--save {path}: {error}") from error


# -- what is said and shown -----------------------------------------------------------------------


def _announce(
    file: str, source: Prepared, model: Any, options: Mapping[str, Any], saved: Mapping[str, Any] | None
) -> None:
    """Say what is going to be done, and what looks doubtful."""
    if not options["quiet"]:
        click.echo(
            f"{file}: {source.task} on {source.target!r}, {type(model).__name__} with {model.optimizer}"
        )
        if source.kinds:
            click.echo(f"columns: {_kinds(source)}")
        if saved is not None:
            start = _start(file, saved)
            where = "from the beginning" if start is None else f"behind row {start['row']:,}"
            click.echo(f"{options['resume']}, of {saved['rows']:,} rows, goes on {where}")
    for name, cell in getattr(source.source, "doubtful", {}).items():
        click.echo(
            f"note: most cells of column {name!r} are numbers, but {cell!r} is not, so each value became "
            "a category; mend the file (an empty cell or NA stands for a missing number), or say "
            f"--category {name} if that is right",
            err=True,
        )
    if options["task"] == "auto" and source.task == "regression" and saved is None:
        n = source.few_numbers()
        if n is not None:
            click.echo(
                f"note: {source.target!r} has {n} different values, whole numbers; if they are labels, say "
                "--task multiclass",
                err=True,
            )


def _show(outcome: Outcome, model: Any, file: str, options: Mapping[str, Any]) -> None:
    """Write the picture and the page that are asked for."""
    from ..training import write_report

    title = f"streamgd train {file}"
    for option in ("plot", "report"):
        path = options[option]
        if path is None:
            continue
        with explained():
            if option == "plot":
                outcome.history.plot(path, title=title)
            else:
                write_report(path, outcome.history, model, title=title, about={"rows from": file})
        click.echo(f"{option:<19}{path}")


def _kinds(source: Prepared) -> str:
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


# -- the learner -----------------------------------------------------------------------------------


def _model(source: Prepared, options: Mapping[str, Any]) -> Any:
    """Return a learner; what an optimizer has of its own of lr, l1 and l2 is the optimizer's."""
    task, schedule, loss = source.task, options["schedule"], options["loss"]
    optimizer = options["optimizer"] or ("auto" if options["batch_size"] == 1 else "adam")
    given = {name: options[name] for name in ("lr", "l1", "l2") if options[name] is not None}
    labels = source.labels(options["positive"])
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
            **({} if labels is None else {"labels": labels}),
            **_weighing(task, options["class_weight"]),
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return model


def _weighing(task: str, class_weight: str | None) -> dict[str, Any]:
    if class_weight is None:
        return {}
    if task == "regression":
        raise click.UsageError("--class-weight is for labels, and --task regression has none")
    return {"class_weight": build("--class-weight", class_weight, class_weights())}


def _metrics(task: str, names: tuple[str, ...], loss: Any) -> tuple[str, ...]:
    known = metrics(task)
    for name in names:
        if name.lower() not in known:
            raise click.UsageError(f"--metric {name} is not for task {task}; choose from {', '.join(known)}")
    if names:
        return tuple(dict.fromkeys(name.lower() for name in names))
    # the hinge loss, for one, gives no probabilities, so their logarithm tells nothing
    return tuple(name for name in DEFAULTS[task] if name != "logloss" or loss.likelihood)


def _advice(error: str, source: Prepared) -> str:
    """Put an error of the library, whose way out is a call in Python, in terms of this command."""
    text = in_options(error)
    if "a third one" in text:
        text = text.partition("; for more classes")[0] + "; take other rows out, or use --task multiclass"
        if source.kinds.get(source.target or "", "number") == "number":
            text += ", or, if the target is a number to predict, use --task regression"
    elif "which of them is the positive" in text:
        text = re.sub(r"; say labels=.*", "; say --positive VALUE", text)
    elif "lower the learning rate" in text:
        text = text.partition("lower the learning rate")[0]
        text += "lower --lr, or use --optimizer auto, which needs no scaled columns"
    elif re.search(r"row [\d,]+: (feature|the target is) ", text):
        text += "; --skip-invalid leaves such rows out"
    elif "sample by sample" in text:
        text = text.partition(" is ")[0] + " learns row by row: leave --batch-size out, or choose another"
        text += " --optimizer, such as adam"
    return text
