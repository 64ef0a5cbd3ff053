"""``streamgd predict``: predictions for the rows of a file."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from ._errors import BadInput, explained, in_options, spare
from .train import READING, load_trained

if TYPE_CHECKING:
    from ..stream import Position, Source


@click.command()
@click.argument("model", type=click.Path(dir_okay=False))
@click.argument("file")
@click.option("--output", type=click.Path(dir_okay=False), help="File to write to; default: standard output.")
@click.option(
    "--proba", is_flag=True, help="Probability of the positive label, or of each of several, not the label."
)
@click.option("--format", help="csv, svm, vw, ..., where the name of FILE does not tell.")
def predict(model: str, file: str, output: str | None, proba: bool, format: str | None) -> None:
    """Predict the rows of FILE with MODEL, which ``streamgd train --save`` wrote.

    Writes a header and one prediction a line, in the order of the rows. FILE, or - for standard input, needs
    the columns that the model was trained on; others, such as the target, are left out. Missing values and
    interactions are as in training.
    """
    if output:
        spare("--output", output, MODEL=model, FILE=file)
    with explained():
        learner, saved = load_trained(model)
        if proba and saved["task"] == "regression":
            raise click.UsageError("--proba is for models of labels; this one predicts numbers")
        several = proba and saved["task"] == "multiclass"
        source = _open(file, format, model, saved)
        with click.open_file(output or "-", "w") as out:
            out.write(_header(learner, proba, several) + "\n")
            n = 0
            for batch in source.batches(_beginning(saved)):
                try:
                    answers = _answers(learner, batch, proba, several)
                except (ValueError, TypeError) as error:
                    row = getattr(error, "row", None)
                    if row is None:
                        raise
                    text = str(error).removeprefix(f"row {row}: ")
                    raise BadInput(f"{source.path}, row {batch.first + row + 1:,}: {text}") from error
                out.write("\n".join(answers) + "\n")
                out.flush()
                n += len(batch)
    if output not in (None, "-"):
        click.echo(f"{n:,} predictions in {output}", file=sys.stderr)


def _open(file: str, format: str | None, model: str, saved: Mapping[str, Any]) -> Any:
    """Open FILE as the model's rows were read, without targets and weights."""
    from ..stream import InputError, open_file
    from ._input import Until, input_of, is_pipe, layout_of, of_another_kind

    kinds, trained_on = saved["kinds"], saved["format"]
    reading = {name: saved["reading"][name] for name in READING[3:]}
    if kinds:
        reading |= {"columns": list(kinds), "kinds": kinds}
    elif trained_on == "vw":
        reading |= {"labels": False}
    if is_pipe(file) and not kinds:
        format = format or trained_on
    mismatch = of_another_kind(file, model, saved)
    try:
        source: Source = open_file(input_of(file, Until()), format=format, **reading)
    except TypeError as error:  # no `labels` there
        raise mismatch from error
    except InputError as error:  # no `columns` there
        raise mismatch if "has no meaning in" in str(error) else error from None
    except ValueError as error:
        raise BadInput(in_options(str(error))) from error
    if layout_of(source) != trained_on:
        raise mismatch
    return source


def _beginning(saved: Mapping[str, Any]) -> Position | None:
    """Return where to start: at the first row, with the means of training for missing values.

    Infinite counts keep the means where they are, so that a prediction does not depend on the rows before.
    """
    if saved["means"] is None:
        return None
    counts = dict.fromkeys(saved["means"], math.inf)
    return {"row": 0, "byte": 0, "line": 1, "encoder": {"counts": counts, "means": saved["means"]}}


def _header(learner: Any, proba: bool, several: bool) -> str:
    if not proba:
        return "prediction"
    labels = learner.labels_ if several else learner.labels_[-1:]
    return ",".join(_quoted(f"probability_{label}") for label in labels)


def _answers(learner: Any, batch: Any, proba: bool, several: bool) -> list[str]:
    """Return a line for each row."""
    if not proba:
        return [
            _quoted(str(label)) for label in learner.predict_many(batch.X, columns=batch.columns).tolist()
        ]
    shares = learner.predict_proba_many(batch.X, columns=batch.columns)
    shares = shares if several else shares[:, -1:]
    return [",".join(map(str, row)) for row in shares.tolist()]


def _quoted(text: str) -> str:
    """Return a cell as CSV has it."""
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n\r') else text
