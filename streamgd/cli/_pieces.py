"""Optimizers, losses and schedules as options say them: ``quantile``, or ``quantile:alpha=0.9``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from types import ModuleType
from typing import Any

import click

TASKS = ("binary", "multiclass", "regression")
Pieces = dict[str, Any]  # classes by their name in lower case


def _pieces(home: ModuleType) -> Pieces:
    return {name.lower(): getattr(home, name) for name in sorted(home.__all__, key=str.lower)}


def optimizers() -> Pieces:
    """Return all optimizers."""
    from ..optim import optimizers as home

    return _pieces(home)


def losses(task: str) -> Pieces:
    """Return the losses of "binary" or "regression"; "multiclass" has one only, which need not be said."""
    from ..optim import losses as home
    from ..optim.base import Loss

    return {
        name: loss
        for name, loss in _pieces(home).items()
        if issubclass(loss, Loss) and task != "multiclass" and loss.binary == (task == "binary")
    }


def metrics(task: str) -> Pieces:
    """Return the metrics of a task."""
    from ..evaluate.metrics import NAMES

    return {
        name: metric
        for name, metric in NAMES.items()
        if (metric.needs == "number") == (task == "regression")
        and (metric.many is None or task != "multiclass")
    }


def schedulers() -> Pieces:
    """Return the schedulers that are made from a learning rate and numbers."""
    from ..optim import schedulers as home

    def is_number(field: Field[Any]) -> bool:
        return str(field.type).split(" | ")[0] in ("float", "int")

    return {
        name: scheduler
        for name, scheduler in _pieces(home).items()
        if all(is_number(field) for field in parameters(scheduler).values() if field.default is MISSING)
    }


def class_weights() -> Pieces:
    """Return the class weights that are made from numbers."""
    from ..optim import class_weights as home

    return {piece.__name__.lower(): piece for piece in (home.Balanced, home.EffectiveNumber)}


def learner(task: str) -> Any:
    """Return the class that learns a task."""
    from .. import linear_model

    return {
        "binary": linear_model.LogisticRegression,
        "multiclass": linear_model.SoftmaxRegression,
        "regression": linear_model.LinearRegression,
    }[task]


def parameters(piece: Any) -> dict[str, Field[Any]]:
    """Return the fields that a class is made from."""
    return {field.name: field for field in fields(piece) if field.init}


def find(text: str, known: Pieces) -> Any:
    """Return the class that ``text`` names, None if it is not known."""
    return known.get(text.partition(":")[0].lower())


def described(piece: Any, *rate: float) -> str:
    """Say what parameters a class has, but for a rate that is given."""
    free = list(parameters(piece).values())[len(rate) :]
    names = (f.name if f.default is MISSING else f"{f.name}={f.default}" for f in free)
    return f"{piece.__name__} has {', '.join(names) or 'none'}"


def build(option: str, text: str, known: Pieces, *rate: float, **given: Any) -> Any:
    """Make the piece that ``text`` says, with what other options have ``given`` it."""
    name, _, rest = text.partition(":")
    piece = find(text, known)
    free = list(parameters(piece).values())[len(rate) :]
    for part in filter(None, rest.split(",")):
        key, _, value = part.partition("=")
        if key in given:
            raise click.UsageError(f"{option} {text}: {key} is given twice")
        if key not in [field.name for field in free] or not value:
            raise click.UsageError(f"{option} {text}: {part} sets no parameter; {described(piece, *rate)}")
        given[key] = _value(value)
    missing = [f"{f.name}=..." for f in free if f.default is MISSING and f.name not in given]
    if missing:
        raise click.UsageError(f"{option} {text}: say {option} {name}:{','.join(missing)}")
    try:
        return piece(*rate, **given)
    except (TypeError, ValueError) as error:
        raise click.UsageError(f"{option} {text}: {error}") from error


def _value(text: str) -> Any:
    """Return the number, the truth value or else the word that a text stands for."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)


class PieceOption(click.Option):
    """An option that says a piece. The library, which is slow to import, is asked when it is used."""

    def __init__(self, *args: Any, families: Mapping[str, Callable[[], Pieces]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs, metavar="NAME")
        self._families = families

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """Return the text, or texts, of pieces that there are."""
        given = super().type_cast_value(ctx, value)
        names = [name for family in self._families.values() for name in family()]
        for text in given if self.multiple else filter(None, [given]):
            click.Choice(names, case_sensitive=False).convert(text.partition(":")[0], self, ctx)
        return given

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Add the names to the help, before the default."""
        record = super().get_help_record(ctx)
        if record is None:
            return None
        text, bracket, default = record[1].partition("  [")
        names = " ".join(f"{what} {', '.join(family())}." for what, family in self._families.items())
        return record[0], f"{text} {names}{bracket}{default}"
