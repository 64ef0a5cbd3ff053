"""What a piece is: a frozen set of hyper-parameters with pure rules, and how kernels see it."""

from __future__ import annotations

import dataclasses
import dis
import functools
import inspect
import math
from abc import ABC
from collections import namedtuple
from typing import Any, ClassVar, Self

_SCALARS: dict[Any, type] = {
    "float": float, "int": int, "bool": bool, float: float, int: int, bool: bool,
}  # fmt: skip


@functools.cache
def scalar_fields(cls: type[Piece]) -> dict[str, type]:
    """Fields of ``cls`` annotated as float, int or bool, with that type, in order."""
    fields = {}
    for base in reversed(cls.__mro__):
        for name, annotation in inspect.get_annotations(base).items():
            if annotation in _SCALARS:
                fields[name] = _SCALARS[annotation]
    return fields


def _number(owner: str, name: str, value: Any, kind: type) -> float | int | bool:
    """Return ``value`` as ``kind``, or say what was wrong with it."""
    try:
        number: float | int | bool = kind(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{owner}({name}={value!r}): {name} must be a number") from error
    if not math.isfinite(number) or number != value:
        raise ValueError(f"{owner}({name}={value!r}): {name} must be a finite {kind.__name__}")
    return number


class Piece(ABC):  # noqa: B024  its families have the abstract methods
    """Base of losses, optimizers, schedulers, penalties and initializers.

    Pieces are frozen dataclasses: they hold hyper-parameters, never state, so models may share one.
    """

    def __post_init__(self) -> None:
        for name, kind in scalar_fields(type(self)).items():
            value = _number(type(self).__name__, name, getattr(self, name), kind)
            object.__setattr__(self, name, value)
        self.check()

    def check(self) -> None:  # noqa: B027  optional
        """Raise ValueError when hyper-parameters are out of range; called once they are numbers."""

    def require(self, condition: bool, name: str, rule: str) -> None:
        """Raise ValueError that names the hyper-parameter, its value and the rule unless it holds."""
        if not condition:
            value = getattr(self, name)
            raise ValueError(f"{type(self).__name__}({name}={value!r}): {name} must be {rule}")

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some hyper-parameters changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # immutable


class KernelPiece(Piece):
    """A piece whose rules are compiled into kernels.

    A family (a class that has its own ``contract``) names the methods that kernels call and their
    parameters; its subclasses are checked when they are defined, so that the error is in the
    author's file and not in a compiler's log.
    """

    struct: ClassVar[Any]
    contract: ClassVar[dict[str, tuple[str, ...]]] = {}
    family: ClassVar[type[KernelPiece]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "contract" in vars(cls):
            cls.family = cls
            return
        for name, expected in cls.contract.items():
            method = getattr(cls, name)
            got = tuple(inspect.signature(method).parameters)
            if getattr(method, "__isabstractmethod__", False) or got != expected:
                raise TypeError(
                    f"{cls.__qualname__} must define {name}({', '.join(expected)}): "
                    "compiled kernels call it with exactly these names"
                )
            own_rule = getattr(cls, "kernel", "coordinate") != "coordinate"
            if not own_rule and any(i.opname == "RAISE_VARARGS" for i in dis.get_instructions(method)):
                raise TypeError(
                    f"{cls.__qualname__}.{name} raises: compiled kernels run without the interpreter's lock, "
                    "where nobody could catch it; return math.nan, which is refused with its row"
                )
        for name, annotation in inspect.get_annotations(cls).items():
            if annotation not in _SCALARS and not any(
                word in str(annotation) for word in ("ClassVar", "Scheduler", "Mapping")
            ):
                raise TypeError(
                    f"{cls.__qualname__}.{name}: {annotation} cannot enter a kernel; "
                    "annotate hyper-parameters as float, int or bool"
                )
        if "lr" in scalar_fields(cls):
            raise TypeError(
                f"{cls.__qualname__}.lr: annotate it as float | Scheduler; it reaches kernels as a table"
            )
        cls.check_counts()
        # What `self` is inside a kernel. Named after its owner so that pickle finds it by name:
        # a class pickled by value gets a random id and would never hit Numba's cache.
        struct: Any = namedtuple("struct", tuple(scalar_fields(cls)))  # type: ignore[misc]
        struct.__module__ = cls.__module__
        struct.__qualname__ = f"{cls.__qualname__}.struct"
        cls.struct = struct

    @classmethod
    def check_counts(cls) -> None:
        """Raise TypeError when a class asks for more numbers than kernels have room for."""
        own_rule = getattr(cls, "kernel", "coordinate") != "coordinate"
        limits = {} if own_rule else {"n_slots": 6, "n_scalars": 4, "n_sums": 3}
        counts = {name: getattr(cls, name, 0) for name in limits}
        counts["hyper-parameters"], limits["hyper-parameters"] = len(scalar_fields(cls)), 8
        for name, limit in limits.items():
            if counts[name] > limit:
                raise TypeError(f"{cls.__qualname__} has {counts[name]} {name}; kernels take at most {limit}")

    @classmethod
    def overrides(cls, name: str) -> bool:
        """Tell whether ``cls`` replaces the family's default of a method (kernels leave defaults out)."""
        return getattr(cls, name) is not getattr(cls.family, name)

    def hyper(self) -> list[float]:
        """Hyper-parameters in the order of ``struct``. Inside kernels all of them are floats."""
        return [float(getattr(self, name)) for name in scalar_fields(type(self))]
