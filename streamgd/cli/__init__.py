"""The ``streamgd`` command. Each sub-command imports what it runs on when it runs."""

from __future__ import annotations

import click

from .. import __version__
from .bench import bench
from .demo import demo
from .predict import predict
from .train import train
from .warmup import warmup

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="streamgd")
def main() -> None:
    """Gradient descent on data streams: one pass, one row at a time, compiled."""


for command in (train, predict, demo, warmup, bench):
    main.add_command(command)
