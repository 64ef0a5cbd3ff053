"""What a kernel is made of, and where its numbers stand in the vectors that it gets.

``hp`` is one vector: the hyper-parameters of loss, optimizer and penalty, then the gradient's clip, then
how averages are taken (a tuple of them costs 20 ns a number to unbox). ``scalars`` is the model's
small vector: the words below, then the optimizer's own, then the slots of an intercept that is a
feature, then what its average is made from.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
from numba import types

from streamgd._jit import LIMIT, inlined, jitable
from streamgd._single import SINGLE_LIMIT, single, single_inlined, single_jitable
from streamgd.optim.base import Loss, Optimizer, Penalty
from streamgd.optim.class_weights import ClassWeight

from . import access

Jit = Callable[[Callable[..., Any]], Callable[..., Any]]  # how a target takes in a plain function
Layout = tuple[Callable[..., Any], Callable[..., Any]]

T, SAMPLES, N_LOSSES, INTERCEPT, PENALTY, PENALTY_2, AVERAGED, OPTIMIZER = range(8)


class Pieces(NamedTuple):
    """What a kernel is made of. What need not be compiled in is not here: it is data."""

    loss: type[Loss]
    optimizer: type[Optimizer]
    penalty: type[Penalty]
    averaged: bool = False  # predictions use an average of the weights
    intercept: bool = False  # the intercept is a feature of value 1
    fresh: bool = False  # a feature counts updates, and owes L1, from its first appearance
    monitored: bool = False  # losses are kept for a scheduler
    class_weight: type[ClassWeight] | None = None  # only the kernel that learns rows has it compiled in

    @property
    def classes(self) -> tuple[type[Loss], type[Optimizer], type[Penalty]]:
        """The pieces proper."""
        return self.loss, self.optimizer, self.penalty

    @property
    def sources(self) -> tuple[type[Loss | Optimizer | Penalty | ClassWeight], ...]:
        """All that the kernel which learns rows is made of."""
        return self.classes if self.class_weight is None else (*self.classes, self.class_weight)

    @property
    def layout(self) -> tuple[object, ...]:
        """What decides the shapes and the meaning of the state."""
        return self.optimizer, self.averaged, self.fresh

    @property
    def variant(self) -> str:
        """What a kernel's name needs beside its pieces."""
        return "".join(str(int(flag)) for flag in self[3:7])

    @property
    def n_slots(self) -> int:
        """Floats of state of each coordinate.

        The optimizer's, then updates done and L1 total at its first appearance if it is fresh, then what
        its average is made from.
        """
        return self.optimizer.n_slots + 2 * self.fresh + self.averaged

    @property
    def n_own(self) -> int:
        """Scalars of the optimizer that a rule of one coordinate gets as a tuple."""
        return self.optimizer.n_scalars if self.optimizer.kernel == "coordinate" else 0

    @property
    def looks_ahead(self) -> bool:
        """Whether gradients of a mini-batch are taken at another output than the prediction."""
        return self.optimizer.overrides("ahead") or self.averaged

    @property
    def is_matrix(self) -> bool:
        """Whether ``slots`` is a matrix over features, not floats of each."""
        return self.optimizer.kernel == "matrix"

    @property
    def n_scalars(self) -> int:
        """Length of ``scalars``."""
        return OPTIMIZER + self.optimizer.n_scalars + self.optimizer.n_slots + 1

    @property
    def hyper_starts(self) -> tuple[int, int, int]:
        """Where the optimizer's, the penalty's hyper-parameters and the clip begin in ``hp``."""
        loss, optimizer, penalty = (len(piece.struct._fields) for piece in self.classes)
        return loss, loss + optimizer, loss + optimizer + penalty

    @property
    def n_hyper(self) -> int:
        """Length of ``hp``: after the clip come the average's start and its gamma."""
        return self.hyper_starts[-1] + 3


def take_hyper(piece: type[Loss | Optimizer | Penalty]) -> Callable[..., Any]:
    """Reader of a piece's hyper-parameters: ``(hp, start) -> tuple``."""
    return access.TAKE[len(piece.struct._fields)]


# -- precision ---------------------------------------------------------------------------------


class Precision(NamedTuple):
    """What a kernel computes in, and how plain functions enter it: each rule is written once."""

    dtype: str
    number: Any  # Numba's type of its floats
    limit: float  # what is larger is refused
    jit: Jit
    inline: Jit
    copy: Jit  # of a kernel's own body
    reader: Jit  # of a layout's first function, which reads values of rows in float64 or float32

    @property
    def vector(self) -> Any:
        """Numba's type of a vector."""
        return self.number[::1]

    @property
    def matrix(self) -> Any:
        """Numba's type of a matrix."""
        return self.number[:, ::1]

    def layout(self, functions: Layout) -> Layout:
        """Return how rows are reached, with values in this precision whatever theirs is."""
        return self.reader(functions[0]), functions[1]


def _whole(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


@functools.cache
def _rounding(value_at: Callable[..., Any]) -> Callable[..., Any]:
    """Return a reader that rounds to float32: rows in float64 need no copy."""
    read = jitable(value_at)

    def value(values, i, k):
        return np.float32(read(values, i, k))

    return value


DOUBLE = Precision("float64", types.float64, LIMIT, jitable, inlined, _whole, _whole)
SINGLE = Precision(
    "float32", types.float32, SINGLE_LIMIT, single_jitable, single_inlined, cast(Jit, single), _rounding
)
