"""Errors that are the user's to mend: one line and exit code 2, never a traceback."""

from __future__ import annotations

import glob
import os
import re
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
        raise BadInput(in_options(str(error))) from error
    except BrokenPipeError:
        raise  # `streamgd predict ... | head`: click ends quietly
    except OSError as error:
        place = f"{error.filename}: " if error.filename is not None else ""
        raise BadInput(f"{place}{error.strerror}" if error.strerror else str(error)) from error


def in_options(text: str) -> str:
    """Say an error of the library, which names both keywords and options, in options alone."""
    text = re.sub(r"\(\w+=[^()]*, (--[^()]*)\)", r"(\1)", text)
    text = re.sub(r"^format='(.*?)'", r"--format \1", text)
    text = re.sub(r"^interactions has '(.*?)'", r"--interaction \1", text)
    said = re.search(r"(\w+)=(.*) \(--\w+\) has no meaning in ", text)
    if said is None:
        return text
    # such as kinds={'zip': 'category'}, interactions=('a*b',), missing='zero'
    option = {"kinds": "--category", "interactions": "--interaction"}.get(said[1], "--" + said[1])
    values = ", ".join(re.findall(r"'([^']*)'", re.sub(r": '\w+'", "", said[2]))) or said[2]
    return text[: said.start()] + f"{option} {values} has no meaning in " + text[said.end() :]


def spare(option: str, path: str, **inputs: str) -> None:
    """Refuse to write over one of the inputs."""
    for name, given in inputs.items():
        files = (
            [given] if os.path.isfile(given) else [*glob.glob(given), *glob.glob(os.path.join(given, "*"))]
        )
        for file in [given, *files]:
            same = Path(path).resolve() == Path(file).resolve()
            if same or (os.path.exists(path) and os.path.exists(file) and os.path.samefile(path, file)):
                what = f"{name} itself" if file == given else f"one of the files of {name}"
                raise BadInput(f"{option} {path}: that is {what}, which would be lost; name another file")


def check_place(option: str, path: str) -> None:
    """Refuse a place where no file can be made, before hours are spent on what it should hold."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise BadInput(f"{option} {path}: that is not a file; name one")
    folder = Path(path).resolve().parent
    try:
        with TemporaryFile(dir=folder):  # os.access says yes to root where nothing can be made, as in /proc
            pass
    except OSError as error:
        raise BadInput(
            f"{option} {path}: the folder {folder} does not exist or cannot be written to ({error.strerror})"
        ) from error


def check_picture(option: str, path: str | None) -> None:
    """Refuse a picture that cannot be drawn, or (without a path) any, before the run it shows."""
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError as error:
        raise BadInput(f"{option} needs matplotlib: pip install 'streamgd[plot]'") from error
    if path is not None:
        known = sorted(FigureCanvasBase.get_supported_filetypes())
        if Path(path).suffix[1:].lower() not in known:
            raise BadInput(f"{option} {path}: the name must end in one of .{', .'.join(known)}")
