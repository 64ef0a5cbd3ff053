"""Errors that are the user's to mend: one line and exit code 2, never a traceback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

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
    except (InputError, ImportError) as error:
        raise BadInput(str(error)) from error
    except BrokenPipeError:
        raise  # `streamgd predict ... | head`: click ends quietly
    except OSError as error:
        place = f"{error.filename}: " if error.filename is not None else ""
        raise BadInput(f"{place}{error.strerror}" if error.strerror else str(error)) from error


def spare(option: str, path: str, **inputs: str) -> None:
    """Refuse to write over one of the inputs."""
    for name, given in inputs.items():
        same = Path(path).resolve() == Path(given).resolve()
        if same or (os.path.exists(path) and os.path.exists(given) and os.path.samefile(path, given)):
            raise BadInput(f"{option} {path}: that is {name} itself, which would be lost; name another file")


def check_place(option: str, path: str) -> None:
    """Refuse a place where no file can be made, before hours are spent on what it should hold."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise BadInput(f"{option} {path}: that is not a file; a model cannot be saved there")
    folder = Path(path).resolve().parent
    try:
        with TemporaryFile(dir=folder):  # os.access says yes to root where nothing can be made, as in /proc
            pass
    except OSError as error:
        raise BadInput(
            f"{option} {path}: the folder {folder} does not exist or cannot be written to ({error.strerror})"
        ) from error
