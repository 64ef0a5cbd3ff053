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
    from ._curve import text
    from ._input import Prepared, Until
    from ._pass import run, summary

    source = Prepared(CSV(Path(datasets.Shuttle().path), "anomaly", 1024))
    source.task = "binary"
    click.echo("Sensor readings of a Space Shuttle (Statlog): which rows are anomalies? 9 numbers a row.")
    click.echo("Every row is predicted first and learned then; nothing is scaled, and no rate is tuned.\n")
    model = linear_model.LogisticRegression("auto")
    metrics = ["f1", "rocauc", "logloss", "accuracy"]
    outcome = run(source, model, metrics, until=Until())
    history = outcome.history
    for line in summary(outcome, source, model, metrics):
        click.echo(line)
    if outcome.interrupted:
        ctx.exit(INTERRUPTED)
    try:
        history.plot(output, metrics=["f1"], title="streamgd demo: anomalies in Shuttle sensor readings")
        click.echo(f"{'curve':<19}{output}")
    except OSError as error:
        raise BadInput(f"--output {output}: {error.strerror}") from error
    except ImportError:
        curve = [*zip(map(int, history.columns["samples"]), history.columns["f1"], strict=True)]
        click.echo("\n" + text(curve, "f1"))
        click.echo("\nFor a picture: pip install 'streamgd[plot]'")
    click.echo("\nNext: streamgd train FILE --target COLUMN")
