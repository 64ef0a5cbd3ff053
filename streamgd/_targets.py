"""Targets: numbers as they are, the two labels of a binary learner as 0 and 1, of a softmax as 0, 1, 2 ..."""

from __future__ import annotations

import copy
import math
import reprlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._errors import InvalidRow, InvalidType, InvalidValue, real

Codes = NDArray[np.float64]
Counts = Callable[[int], bool]


def plain_label(y: Any) -> Any:
    """Return a label as a plain Python object, or raise."""
    if isinstance(y, np.generic) and not isinstance(y, np.datetime64 | np.timedelta64):
        y = y.item()
    if y is None:
        raise InvalidValue("the label is None; leave out samples without a label")
    if isinstance(y, float) and y != y:
        raise InvalidValue("the label is nan; leave out samples without a label")
    if not isinstance(y, bool | int | float | str | bytes):
        raise InvalidType(
            f"the label is {reprlib.repr(y)} ({type(y).__name__}); labels are bool, int, float, str or bytes"
        )
    return y


class Numbers:
    """Targets of regression.

    Parameters
    ----------
    lowest
        The least target that the loss makes sense for.
    """

    known: tuple[Any, ...] = ()  # labels, to be saved

    def __init__(self, lowest: float = -math.inf) -> None:
        self.lowest = lowest

    def copy(self) -> Numbers:
        """Return itself: there is nothing to learn."""
        return self

    draft = copy

    def code(self, y: Any) -> float:
        """Return the target as a float, or raise."""
        target = real(y, "the target")
        if target < self.lowest:
            raise InvalidValue(
                f"the target is {target!r}; the loss takes targets of at least {self.lowest:g}"
            )
        return target

    def encode(self, y: NDArray[Any], counts: Counts | None = None) -> Codes:
        """Return targets ``(n,)`` as floats, NaN where `code` would raise."""
        if y.dtype.kind in "biuf":
            numbers = np.ascontiguousarray(y, dtype=np.float64)
            return np.where(numbers < self.lowest, np.nan, numbers) if self.lowest > -math.inf else numbers
        codes = np.full(len(y), np.nan)
        for i, value in enumerate(y.tolist()):
            try:
                codes[i] = self.code(value)
            except InvalidRow:
                continue  # stays NaN: the kernel stops there and the error is raised with its row
        return codes


class Labels:
    """The two labels of a binary learner, found in the stream or given.

    Booleans are negative and positive by themselves; 1 is the positive of 0 and 1 and of -1 and 1; of
    any other pair the first one seen is the negative.
    """

    def __init__(self, given: Any = None) -> None:
        self.negative: Any = None  # None: not known yet (it is no label)
        self.positive: Any = None
        if given is not None:
            if not isinstance(given, tuple | list) or len(given) != 2:
                raise ValueError(f"labels={given!r}: labels must be a pair (negative, positive)")
            self.negative, self.positive = (plain_label(label) for label in given)
            if self.negative == self.positive:
                raise ValueError(f"labels={given!r}: the two labels must differ")

    @property
    def pair(self) -> tuple[Any, Any]:
        """(negative, positive) as predictions name them; positive is None while it is open."""
        if self.negative is None and self.positive is None:
            return (False, True)
        if self.negative is None:
            return (0, self.positive)
        if self.positive is None:
            return (self.negative, 1 if self._is_number(self.negative, 0, -1) else None)
        return (self.negative, self.positive)

    @property
    def seen(self) -> tuple[Any, ...]:
        """The labels that are known, the negative one first."""
        return tuple(label for label in (self.negative, self.positive) if label is not None)

    @staticmethod
    def _is_number(label: Any, *numbers: int) -> bool:
        return isinstance(label, int | float) and label in numbers

    def code(self, y: Any) -> float:
        """Return 0.0 or 1.0 for a label, learning it if it is new, or raise and learn nothing."""
        y = plain_label(y)
        if self.negative is not None and y == self.negative:
            return 0.0
        if self.positive is not None and y == self.positive:
            return 1.0
        if self.negative is None and self.positive is None:
            if isinstance(y, bool):
                self.negative, self.positive = False, True
                return float(y)
            if self._is_number(y, 1):
                self.positive = y
                return 1.0
            self.negative = y
            return 0.0
        if self.positive is None:
            self.positive = y
            return 1.0
        if self.negative is None and self._is_number(y, 0, -1):
            self.negative = y
            return 0.0
        if self.negative is None:
            raise InvalidValue(
                f"the second label is {y!r} after {self.positive!r}, and which of them is the positive is "
                f"not clear; say labels=(negative, positive), for instance labels=({self.positive!r}, {y!r})"
            )
        raise InvalidValue(
            f"the label is {y!r}, a third one beside {self.negative!r} and {self.positive!r}; for more "
            "classes use SoftmaxRegression, or wrap the learner in river's multiclass.OneVsRestClassifier"
        )

    def encode(self, y: NDArray[Any], counts: Counts | None = None) -> Codes:
        """Return labels ``(n,)`` as 0.0 and 1.0, learning new ones, NaN where `code` would raise.

        ``counts(i)`` tells whether row i will be learned from, if its label is good: only such rows make
        a label known.
        """
        only_seen = np.zeros(len(y), dtype=bool)  # their label would be new, but they do not count
        open_rows = ~self._known(y) if None in (self.negative, self.positive) else only_seen
        for i in np.flatnonzero(open_rows).tolist():
            if None not in (self.negative, self.positive):
                break
            if not open_rows[i]:
                continue  # its label is known by now
            try:
                if counts is None or counts(i):
                    self.code(y[i])
                    open_rows &= ~self._known(y)
                else:
                    self.copy().code(y[i])
                    only_seen[i] = True
            except InvalidRow:
                pass  # stays NaN below
        if y.dtype.kind == "b" and self.positive is True and self.negative is False:
            return y.astype(np.float64)
        positive = self._equal(y, self.positive)
        codes = positive.astype(np.float64)
        codes[~(positive | self._equal(y, self.negative))] = np.nan
        codes[only_seen] = 0.0
        return codes

    def _equal(self, y: NDArray[Any], label: Any) -> NDArray[np.bool_]:
        if label is None:
            return np.zeros(len(y), dtype=bool)
        if y.dtype.kind in "US" and not isinstance(label, str | bytes):
            return np.zeros(len(y), dtype=bool)
        if y.dtype.kind in "biuf" and isinstance(label, str | bytes):
            return np.zeros(len(y), dtype=bool)
        if y.dtype.kind == "b" and type(label) is int and label not in (0, 1):
            return np.zeros(len(y), dtype=bool)  # NumPy raises OverflowError from large ones
        return np.broadcast_to(np.asarray(y == label, dtype=bool), y.shape)

    def _known(self, y: NDArray[Any]) -> NDArray[np.bool_]:
        known = np.zeros(len(y), dtype=bool)
        for label in self.seen:
            known |= self._equal(y, label)
        return known

    def copy(self) -> Labels:
        """Return labels that can learn without these being changed."""
        return copy.copy(self)

    def draft(self) -> Labels:
        """Return a copy while a label is open."""
        return self.copy() if len(self.seen) < 2 else self

    @property
    def known(self) -> tuple[Any, ...]:
        """(negative, positive), None where it is open."""
        return self.negative, self.positive

    @known.setter
    def known(self, labels: tuple[Any, ...]) -> None:
        self.negative, self.positive = labels


class Classes:
    """The labels of a learner of several classes, numbered as they are found."""

    def __init__(self, known: Iterable[Any] = ()) -> None:
        self.codes: dict[Any, float] = {}  # floats, which kernels read fastest
        self.known = tuple(known)

    @property
    def known(self) -> tuple[Any, ...]:
        """The labels in the order of their codes."""
        return tuple(self.codes)

    @known.setter
    def known(self, labels: tuple[Any, ...]) -> None:
        self.codes = {label: float(k) for k, label in enumerate(labels)}

    def code(self, y: Any) -> float:
        """Return the number of a label, learning it if it is new, or raise and learn nothing."""
        y = plain_label(y)
        return self.codes.setdefault(y, float(len(self.codes)))

    def encode(self, y: NDArray[Any], counts: Counts | None = None) -> Codes:
        """Return the numbers of labels ``(n,)``; as `Labels.encode`."""
        codes = []
        for i, label in enumerate(y.tolist()):
            try:
                code = self.codes.get(label)
                if code is None:
                    label = plain_label(label)
                    code = self.code(label) if counts is None or counts(i) else 0.0
            except (InvalidRow, TypeError):  # TypeError: not hashable
                code = np.nan  # the kernel stops there
            codes.append(code)
        return np.array(codes, dtype=np.float64)

    def copy(self) -> Classes:
        """Return classes that can learn without these being changed."""
        return Classes(self.codes)

    draft = copy
