"""Turn what users pass, numbers and river's own objects included, into our pieces."""

from __future__ import annotations

import dataclasses
import numbers
from typing import TYPE_CHECKING, Any, TypeVar

from streamgd._piece import Piece

from . import _multiclass
from ._multiclass import CrossEntropy
from .base import Initializer, Loss, Optimizer, Penalty, Scheduler

if TYPE_CHECKING:
    from .averager import Averager

P = TypeVar("P", bound=Piece)


def _from_river(value: Any, family: type[Piece], home: Any, what: str) -> Any:
    """Convert river's object to our class of the same name, hyper-parameters only."""
    name = type(value).__name__
    ours = getattr(home, name, None)
    if name not in home.__all__ or not (isinstance(ours, type) and issubclass(ours, family)):
        known = ", ".join(n for n in home.__all__ if issubclass(getattr(home, n), family))
        raise ValueError(f"{what}: river's {name} has no compiled counterpart; there are {known}")
    if getattr(value, "n_iterations", 0):
        raise ValueError(
            f"{what}: this {name} has done {value.n_iterations} steps, and its state cannot move into "
            "a compiled learner; pass optimizer.clone()"
        )
    names = [f.name for f in dataclasses.fields(ours) if f.init]  # type: ignore[arg-type]
    fields = {name: getattr(value, name) for name in names if hasattr(value, name)}
    if "loss" in fields:
        fields["loss"] = loss(fields["loss"], f"{what}.loss")
    return ours(**fields)


def _of_river(value: Any) -> bool:
    return type(value).__module__.startswith("river.optim")


def scheduler(value: Any, what: str) -> Scheduler:
    """Return a scheduler from a number, a scheduler, or river's."""
    from . import schedulers

    if isinstance(value, Scheduler):
        return value
    if isinstance(value, numbers.Real) and value is not True and value is not False:
        return schedulers.Constant(float(value))
    if _of_river(value):
        return _from_river(value, Scheduler, schedulers, what)  # type: ignore[no-any-return]
    raise TypeError(f"{what}: {value!r} is neither a number nor an optim.base.Scheduler")


def _piece(value: Any, family: type[P], home: Any, what: str) -> P:
    if isinstance(value, family):
        options = getattr(type(value), "__dataclass_params__", None)
        if options is None or not options.frozen:
            raise TypeError(f"{what}: {type(value).__name__} must be a @dataclass(frozen=True)")
        return value
    if _of_river(value):
        return _from_river(value, family, home, what)  # type: ignore[no-any-return]
    hint = "; pass an instance, not the class" if isinstance(value, type) else ""
    name = family.__name__.lower()
    raise TypeError(f"{what}: {value!r} is not {'an' if name[0] in 'aeiou' else 'a'} {name}{hint}")


def optimizer(value: Any, what: str) -> Optimizer | Averager:
    """Return an optimizer, or an average over one, ours or converted from river's."""
    from . import automatic, optimizers
    from .averager import Averager

    if isinstance(value, Averager):
        return value
    if isinstance(value, str) and value in ("auto", "bank"):
        return automatic.Auto() if value == "auto" else automatic.Bank()
    if _of_river(value) and type(value).__name__ == "Averager":
        return Averager(value.optimizer, value.start)
    return _piece(value, Optimizer, optimizers, what)  # type: ignore[type-abstract]


def loss(value: Any, what: str) -> Loss:
    """Return a loss, ours or converted from river's."""
    from . import losses

    return _piece(value, Loss, losses, what)  # type: ignore[type-abstract]


def multiclass_loss(value: Any, what: str) -> CrossEntropy:
    """Return a loss of a label among several, ours or converted from river's."""
    return _piece(value, CrossEntropy, _multiclass, what)


def initializer(value: Any, what: str) -> Initializer:
    """Return an initializer, ours or converted from river's."""
    from . import initializers

    return _piece(value, Initializer, initializers, what)  # type: ignore[type-abstract]


def penalty(value: Any, what: str) -> Penalty:
    """Return a penalty."""
    from . import penalties

    return _piece(value, Penalty, penalties, what)
