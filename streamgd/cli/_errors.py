"""Errors that are the user's to mend: one line and exit code 2, never a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

INTERRUPTED = 130  # what shells give for a process ended by Ctrl-C


class BadInput(click.ClickException):
    """A file or an option that cannot be used as it is."""

    exit_code = 2


@contextmanager
def explained() -> Iterator[None]:
    """Turn errors about files, options and missing extras into a line for the user."""
    from ..stream import InputError

    try:
        yield
    except (InputError, FileNotFoundError, PermissionError, ImportError) as error:
        raise BadInput(str(error)) from error
