"""The ``streamgd`` command. Each sub-command imports what it runs on when it runs."""

from __future__ import annotations

from typing import Any

import click

from .. import __version__
from ._errors import INTERRUPTED
from .bench import bench
from .demo import demo
from .predict import predict
from .train import train
from .warmup import warmup

__all__ = ["main"]


class _Commands(click.Group):
    """Ends with the exit code that shells give for Ctrl-C, whatever command it stopped."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, package_name="streamgd")
def main() -> None:
    """Gradient descent on data streams: one pass, one row at a time, compiled."""


for command in (train, predict, demo, warmup, bench):
    main.add_command(command)
