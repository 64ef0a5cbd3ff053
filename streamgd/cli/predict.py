"""``streamgd predict``: predictions for the rows of a file."""

from __future__ import annotations

import sys
from typing import Any

import click

from ._errors import BadInput, explained


@click.command()
@click.argument("model", type=click.Path(dir_okay=False))
@click.argument("file")
@click.option("--output", type=click.Path(dir_okay=False), help="File to write to; default: standard output.")
@click.option("--proba", is_flag=True, help="Probability of the positive label, instead of the label.")
def predict(model: str, file: str, output: str | None, proba: bool) -> None:
    """Predict the rows of FILE with MODEL, which ``streamgd train --save`` wrote.

    Writes a header and one prediction a line, in the order of the rows. FILE needs the columns that the
    model was trained on; others, such as the target, are left out.
    """
    from .. import load
    from ..stream import open_file

    with explained():
        try:
            learner, extra = load(model, with_extra=True)
        except FileNotFoundError as error:
            raise BadInput(f"no model file {model!r}") from error
        except ValueError as error:
            raise BadInput(str(error)) from error
        if not extra or "kinds" not in extra:
            raise BadInput(
                f"{model} does not say what columns it was trained on; use a model of streamgd train"
            )
        if proba and extra["task"] != "binary":
            raise click.UsageError("--proba is for binary models; this one predicts numbers")
        kinds = extra["kinds"]
        source = (
            open_file(file, columns=kinds, kinds=kinds, missing=extra["missing"])
            if kinds
            else open_file(file)
        )
        with click.open_file(output or "-", "w") as out:
            out.write(_header(learner, proba) + "\n")
            n = 0
            for batch in source:
                try:
                    answers = _answers(learner, batch, proba)
                except (ValueError, TypeError) as error:
                    row = getattr(error, "row", None)
                    if row is None:
                        raise
                    text = str(error).removeprefix(f"row {row}: ")
                    raise BadInput(f"{file}, row {batch.first + row + 1:,}: {text}") from error
                out.write("\n".join(map(str, answers)) + "\n")
                n += len(batch)
    if output:
        click.echo(f"{n:,} predictions in {output}", file=sys.stderr)


def _header(learner: Any, proba: bool) -> str:
    return f"probability_{learner.labels_[-1]}" if proba else "prediction"


def _answers(learner: Any, batch: Any, proba: bool) -> list[Any]:
    if proba:
        answers = learner.predict_proba_many(batch.X, columns=batch.columns)[:, -1]
    else:
        answers = learner.predict_many(batch.X, columns=batch.columns)
    return answers.tolist()  # type: ignore[no-any-return]
