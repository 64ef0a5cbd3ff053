"""``streamgd predict``: predictions for the rows of a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ._errors import BadInput, explained, spare


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
    from ..stream._open import is_svmlight

    if output:
        spare("--output", output, MODEL=model, FILE=file)
    with explained():
        try:
            learner, extra = load(model, with_extra=True)
        except FileNotFoundError as error:
            raise BadInput(f"no model file {model!r}") from error
        except ValueError as error:
            raise BadInput(str(error)) from error
        if not extra or not {"kinds", "format", "task", "missing"} <= extra.keys():
            raise BadInput(
                f"{model} does not say what columns it was trained on; use a model of streamgd train"
            )
        if proba and extra["task"] != "binary":
            raise click.UsageError("--proba is for binary models; this one predicts numbers")
        sparse = extra["format"] == "svmlight"
        if Path(file).exists() and is_svmlight(file) != sparse:
            raise BadInput(
                f"{file}: {model} was trained on "
                + (
                    "an svmlight file, whose features are indices; give it one (.svm, .svmlight, .libsvm)"
                    if sparse
                    else "columns with names; give it a CSV or Parquet file with those columns"
                )
            )
        kinds = extra["kinds"]
        source = (
            open_file(file)
            if sparse
            else open_file(file, columns=kinds, kinds=kinds, missing=extra["missing"])
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
    if output not in (None, "-"):
        click.echo(f"{n:,} predictions in {output}", file=sys.stderr)


def _header(learner: Any, proba: bool) -> str:
    return f"probability_{learner.labels_[-1]}" if proba else "prediction"


def _answers(learner: Any, batch: Any, proba: bool) -> list[Any]:
    if proba:
        answers = learner.predict_proba_many(batch.X, columns=batch.columns)[:, -1]
    else:
        answers = learner.predict_many(batch.X, columns=batch.columns)
    return answers.tolist()  # type: ignore[no-any-return]
