"""Errors about one row: they name the feature or the target, its value, and the way out."""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


class InvalidRow(Exception):
    """A row that a learner refuses; the model is as it was before that row.

    Attributes
    ----------
    row
        Position of the row in the rows given, 0-based; None for a single dict.
    outputs
        Raw outputs of the rows before it, made before each update; None where nothing was learned.
    """

    row: int | None = None
    outputs: NDArray[np.float64] | None = None

    def at(self, row: int) -> InvalidRow:
        """Return the same error with the row's position in its text and in ``row``."""
        error = type(self)(f"row {row}: {self}")
        error.row = row
        return error


class InvalidValue(InvalidRow, ValueError):
    """A value out of range: NaN, infinite, too large, a third label, a negative weight."""


class InvalidType(InvalidRow, TypeError):
    """A value of the wrong type."""


SCALE = "scale the features first, for instance with river's preprocessing.StandardScaler"


class _Feature:
    """A feature as errors call it; its name is printed only there, because that may run user code."""

    def __init__(self, name: Any) -> None:
        self.name = name

    def __str__(self) -> str:
        return f"feature {self.name!r}"


def feature(value: Any, name: Any) -> float:
    """Return a feature's value as a finite float, or raise an error that names it."""
    return real(value, _Feature(name))


def real(value: Any, what: Any) -> float:
    """Return ``value`` as a finite float, or raise an error that calls it ``what``."""
    if value is None:
        raise InvalidValue(
            f"{what} is None (missing); fill it in first, for instance with river's "
            "preprocessing.StatImputer, or leave it out of the dict"
        )
    if isinstance(value, str | bytes | bytearray):
        raise InvalidType(
            f"{what} is {reprlib.repr(value)}, a {type(value).__name__}; encode it as numbers first, for "
            "instance with river's preprocessing.OneHotEncoder"
        )
    if isinstance(value, complex | np.complexfloating | np.datetime64 | np.timedelta64):
        raise InvalidType(f"{what} is {value!r} ({type(value).__name__}), which is not a real number")
    try:
        number = float(value)
    except OverflowError as error:
        raise InvalidValue(f"{what} is {reprlib.repr(value)}, too large for a float") from error
    except (TypeError, ValueError) as error:
        raise InvalidType(
            f"{what} is {reprlib.repr(value)} ({type(value).__name__}), which is not a number"
        ) from error
    if not abs(number) <= 1e150:
        raise InvalidValue(f"{what} is {number!r}; it must be finite and at most 1e150 in size")
    return number


def weight(value: Any) -> float:
    """Return a sample's weight as a float."""
    number = real(value, "the sample weight w")
    if number < 0.0:
        raise InvalidValue(f"the sample weight w is {number!r}; it must be at least 0")
    return number


def overflow(limit: float = 1e150) -> InvalidValue:
    """Return the error for a row of fair values whose raw output or gradient is beyond the limit."""
    largest = f"{limit:g}".replace("+", "")
    more = "" if limit == 1e150 else ", or compute in float64"
    return InvalidValue(
        f"the raw output or the gradient is larger than {largest} or not a number: the weights have diverged "
        f"or the values are too large; lower the learning rate, or {SCALE}{more}"
    )
