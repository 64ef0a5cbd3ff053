"""What ``streamgd train`` can be told."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import click

from ._pieces import TASKS, PieceOption, class_weights, losses, metrics, optimizers, schedulers

LARGEST_RATE = 1e100  # the learners take no larger one


class BatchSize(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.2
    """A number of rows, or "all"."""

    name = "rows"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or "all"."""
        return value if value == "all" else click.IntRange(min=1).convert(value, param, ctx)


class Sections(click.Command):
    """A command whose help has its options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                sections.setdefault(getattr(parameter, "section", "Help"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def _joined(**sections: list[Callable[..., Any]]) -> Callable[..., Any]:
    """Join options under headings, in the order in which the help has them."""

    def join(function: Any) -> Any:
        for title, options in reversed(sections.items()):
            for option in reversed(options):
                function = option(function)
                function.__click_params__[-1].section = title
        return function

    return join


_ROWS = [
    click.option(
        "--target",
        metavar="COLUMN",
        help="Column to predict. Rows of svmlight and Vowpal Wabbit text have their target with them.",
    ),
    click.option("--weight", metavar="COLUMN", help="Column of weights: a row of weight 2 counts twice."),
    click.option(
        "--format",
        metavar="NAME",
        help="csv, svm, vw, ..., where the name of FILE does not tell.  [default: csv]",
    ),
    click.option(
        "--drop", metavar="COLUMN", multiple=True, help="Column to leave out; give it again for more."
    ),
    click.option(
        "--category",
        metavar="COLUMN",
        multiple=True,
        help="Column of numbers that are codes, such as a zip code.",
    ),
    click.option(
        "--missing",
        type=click.Choice(["error", "zero", "mean"]),
        default="error",
        help="What an empty cell is, and NA, N/A, NaN, null, None or ? in a column of numbers: an error, 0, "
        "or the mean of the rows before. (A missing category is none, with zero and mean.)  "
        "[default: error]",
    ),
    click.option(
        "--interaction",
        "interactions",
        multiple=True,
        metavar="A*B",
        help="Columns whose product is to be a feature, too; in Vowpal Wabbit text namespaces. Give it again "
        "for more.",
    ),
    click.option(
        "--n-features",
        metavar="N",
        type=click.IntRange(min=2),
        help="Hash the names of features into so many numbers, which bounds the memory.  "
        "[default: a feature a name]",
    ),
    click.option(
        "--batch-rows",
        metavar="N",
        type=click.IntRange(min=1),
        default=8192,
        help="Rows read at once.  [default: 8192]",
    ),
    click.option("--skip-invalid", is_flag=True, help="Skip and count rows the model cannot learn from."),
    click.option("--follow", is_flag=True, help="At the end of FILE wait for more rows, until Ctrl-C."),
]

_TASK = [
    click.option(
        "--task",
        type=click.Choice(["auto", *TASKS]),
        default="auto",
        help="auto looks at the first batch: true/false, two texts or at most two different numbers are "
        "binary, more texts multiclass, more numbers regression.  [default: auto]",
    ),
    click.option(
        "--positive",
        metavar="VALUE",
        help="The positive label of a binary target.  [default: the larger of two numbers, true; of two "
        "texts the one that comes second]",
    ),
    click.option(
        "--loss",
        cls=PieceOption,
        families={f"For {task}:": partial(losses, task) for task in TASKS if task != "multiclass"},
        help="What is to be small.  [default: log for binary, squared for regression]",
    ),
    click.option(
        "--class-weight",
        cls=PieceOption,
        families={"One of": class_weights},
        help="Weigh rows by how rare their label is so far, for instance balanced:half_life=10000; losses "
        "and metrics are as without.",
    ),
]

_DESCENT = [
    click.option(
        "--optimizer",
        cls=PieceOption,
        families={"One of": optimizers},
        help="How weights are updated; auto needs no scaled columns and no tuned rate, and learns row by "
        "row.  [default: auto; adam in mini-batches]",
    ),
    click.option(
        "--lr",
        metavar="RATE",
        type=click.FloatRange(min=0, max=LARGEST_RATE, min_open=True),
        help="Learning rate; for auto and bank a factor of all steps.  [default: the optimizer's]",
    ),
    click.option(
        "--schedule",
        cls=PieceOption,
        families={"One of": schedulers},
        help="How the learning rate goes on from its first value.  [default: constant]",
    ),
    click.option(
        "--l1",
        metavar="FACTOR",
        type=click.FloatRange(min=0),
        help="Penalty on absolute weights; auto takes none.",
    ),
    click.option(
        "--l2",
        metavar="FACTOR",
        type=click.FloatRange(min=0),
        help="Penalty on squared weights; auto takes none.",
    ),
    click.option(
        "--batch-size",
        type=BatchSize(),
        default=1,
        help="Rows an update: 1, a mini-batch of more, or all of an epoch.  [default: 1]",
    ),
    click.option(
        "--epochs",
        metavar="N",
        type=click.IntRange(min=1),
        default=1,
        help="Passes over the rows.  [default: 1]",
    ),
    click.option(
        "--shuffle",
        type=click.IntRange(min=1),
        metavar="ROWS",
        help="Shuffle the rows within blocks of so many, anew in each epoch.",
    ),
    click.option(
        "--seed", metavar="N", type=click.IntRange(min=0), default=0, help="Of the shuffles.  [default: 0]"
    ),
    click.option(
        "--threads",
        metavar="N",
        type=click.IntRange(min=1),
        default=1,
        help="Threads that share the gradient of a large mini-batch.  [default: 1]",
    ),
    click.option("--limit", metavar="ROWS", type=click.IntRange(min=1), help="Stop after so many rows."),
    click.option(
        "--max-seconds",
        metavar="SECONDS",
        type=click.FloatRange(min=0, min_open=True),
        help="Stop after so many seconds.",
    ),
]

_RESULTS = [
    click.option(
        "--metric",
        "metric_names",
        cls=PieceOption,
        families={f"For {task}:": partial(metrics, task) for task in TASKS},
        multiple=True,
        help="The first is in the table, all are in the summary; give it again for more.  "
        "[default: rocauc, logloss, accuracy; accuracy, macro-f1, cross-entropy; mae, rmse, r2]",
    ),
    click.option(
        "--window", metavar="ROWS", type=click.IntRange(min=1), default=1000,
        help="Rows of the sliding windows in curves.  [default: 1000]",
    ),
    click.option("--save", type=click.Path(dir_okay=False), help="File to write the model to."),
    click.option(
        "--checkpoint-every", type=click.IntRange(min=1), metavar="ROWS",
        help="Save also on the way, so that --resume goes on after a crash.",
    ),
    click.option(
        "--resume",
        type=click.Path(dir_okay=False),
        metavar="MODEL",
        help="Go on with a model that --save wrote, and with what was said then: behind the rows that it has "
        "seen if FILE is the same, else from the beginning.",
    ),
    click.option("--plot", type=click.Path(dir_okay=False), help="Picture of the curves (.png, .svg)."),
    click.option("--report", type=click.Path(dir_okay=False), help="Page with all results (.html)."),
    click.option("--quiet", is_flag=True, help="Only the summary: no table, no progress bar."),
]  # fmt: skip

train_options = _joined(
    **{"Rows": _ROWS, "What to learn": _TASK, "How to learn": _DESCENT, "Model and results": _RESULTS}
)
