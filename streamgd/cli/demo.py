"""``streamgd demo``: the main job on a real stream, from a file to a learning curve."""

from __future__ import annotations

import click

from ._errors import INTERRUPTED, BadInput


@click.command()
@click.option(
    "--output", type=click.Path(dir_okay=False), default="streamgd-demo.png", help="Picture to write.  "
    "[default: streamgd-demo.png]",
)  # fmt: skip
@click.pass_context
def demo(ctx: click.Context, output: str) -> None:
    """Learn which readings of a Space Shuttle's sensors are anomalies.

    49,097 rows of the Statlog (Shuttle) data set, which river brings along: nothing is downloaded. Each row
    is predicted, then learned. Ends with a learning curve: a picture where matplotlib is installed, text
    otherwise.
    """
    from pathlib import Path

    from river import datasets

    from .. import linear_model
    from ..stream import CSV
    from ._curve import picture, text
    from ._pass import run, summary
    from ._scores import Scores
    from .train import labelled

    path = Path(datasets.Shuttle().path)
    source = CSV(path, "anomaly", 1024)
    click.echo("Sensor readings of a Space Shuttle (Statlog): which rows are anomalies? 9 numbers a row.")
    click.echo("Every row is predicted first and learned then; nothing is scaled, and no rate is tuned.\n")
    model = linear_model.LogisticRegression("auto")
    batches = source.batches()
    first = next(batches)
    outcome = run(
        source,
        labelled("binary", first, batches),
        model,
        Scores(["f1", "rocauc", "logloss", "accuracy"]),
        curve=True,
    )
    for line in summary(outcome, model):
        click.echo(line)
    if outcome.interrupted:
        ctx.exit(INTERRUPTED)
    try:
        picture(
            outcome.curve, outcome.scores.name, "streamgd demo: anomalies in Shuttle sensor readings", output
        )
        click.echo(f"{'curve':<19}{output}")
    except OSError as error:
        raise BadInput(f"--output {output}: {error.strerror}") from error
    except ImportError:
        click.echo("\n" + text(outcome.curve, outcome.scores.name))
        click.echo("\nFor a picture: pip install 'streamgd[plot]'")
    click.echo("\nNext: streamgd train FILE --target COLUMN")
