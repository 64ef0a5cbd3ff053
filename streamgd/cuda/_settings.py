"""The parameters of a fleet's members: from a learner and a grid, all of the same classes of pieces."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from streamgd._piece import Piece, scalar_fields
from streamgd._targets import Classes
from streamgd.kernels.pieces import Pieces
from streamgd.optim.base import Initializer, Loss, Monitored, Optimizer, Scheduler

Params = Mapping[str, Any]

_GRIDS = 'a grid is a dict of lists, {"optimizer.lr": [0.01, 0.1]}, or a list of dicts, one for each member'


class Setting(NamedTuple):
    """The parameters of one member, and what kernels and tables are made from."""

    params: dict[str, Any]  # as they were asked for, by dotted name
    changes: dict[str, Any]  # against the fleet's model: whole parameters
    pieces: Pieces
    loss: Loss
    rule: Optimizer
    initializer: Initializer
    schedules: tuple[Scheduler, Scheduler]  # of the weights and of the intercept
    hyper: list[float]
    first: list[float]  # scalars of a model that has learned nothing

    @property
    def constant(self) -> bool:
        """Whether its rates never change."""
        return all(schedule.constant for schedule in self.schedules)

    @property
    def by_samples(self) -> bool:
        """Whether its rates depend on how many samples there were, beside updates."""
        return any(s.per == "sample" or s.epoch_size is not None for s in self.schedules)


def check(model: Any) -> None:
    """Raise TypeError or ValueError for what no fleet is made of, saying why."""
    if not isinstance(getattr(model, "_pieces", None), Pieces):
        raise TypeError(
            f"a fleet is made of linear learners, not of {type(model).__name__}: give the learner itself, "
            "and columns that are transformed already"
        )
    name, pieces = type(model).__name__, model._pieces
    if isinstance(model._targets, Classes):
        raise ValueError(
            f"{name} has an output for each class, and a fleet's members have one: use LogisticRegression"
        )
    if pieces.optimizer.kernel != "coordinate":
        raise ValueError(
            f"{pieces.optimizer.__name__} is no rule of one coordinate, and a fleet's members need one: SGD, "
            "AdaGrad, Adam, Coin, ... A fleet of rates does what 'auto' is for"
        )
    watching = [s for s in model._schedules if isinstance(s, Monitored)]
    if watching:
        raise ValueError(
            f"{watching[0]!r} looks at a model's losses, which a fleet's pass does not stop for: use a "
            "schedule of time alone, or learners of their own"
        )
    if model.class_weight is not None:
        raise ValueError(
            f"class_weight={model.class_weight!r}: a fleet counts no classes; give the rows their weights, "
            "learn_rows(X, y, w)"
        )


def of_grid(model: Any, grid: Params | Sequence[Params] | None) -> list[Setting]:
    """Return the settings of a grid: the product of a dict's values, or each of a list of dicts."""
    check(model)
    if grid is None:
        points: Iterable[Params] = [{}]
    elif isinstance(grid, Mapping):
        for name, values in grid.items():
            if isinstance(values, str) or not isinstance(values, Iterable):
                raise TypeError(f"grid[{name!r}] is {values!r}; a list of values is needed, even of one")
        points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    elif isinstance(grid, Iterable):
        points = grid
    else:
        raise TypeError(f"grid={grid!r}; {_GRIDS}")
    made = []
    for params in points:
        if not isinstance(params, Mapping) or not all(isinstance(name, str) for name in params):
            raise TypeError(f"grid has {params!r}; {_GRIDS}")
        changes = _changes(model, params)
        changed = model.clone(changes)
        check(changed)
        made.append(_setting(changed, params, changes))
    if not made:
        raise ValueError(f"grid={grid!r} has no point: a fleet needs a member")
    _alike(made)
    return made


def of_learners(learners: Sequence[Any]) -> list[Setting]:
    """Return the settings of learners, which differ in numbers only; the first is the fleet's model."""
    if not learners:
        raise ValueError("a fleet needs a member: the list of learners is empty")
    model = learners[0]
    for learner in learners:
        check(learner)
    made = [of_learner(learner, model, f"member {m}") for m, learner in enumerate(learners)]
    _alike(made)
    return made


def of_learner(learner: Any, model: Any, what: str) -> Setting:
    """Return the setting of a learner, as it differs from the model."""
    if type(learner) is not type(model):
        raise ValueError(
            f"{what} is a {type(learner).__name__}, and the fleet's model a {type(model).__name__}: members "
            "are of one class"
        )
    ours, others = model._get_params(), learner._get_params()
    changes = {name: value for name, value in others.items() if value != ours[name]}
    for name in ("on_invalid", "labels"):
        if name in changes:
            raise ValueError(
                f"{what} has {name}={changes[name]!r}, and the fleet's model {name}={ours[name]!r}: members "
                "see the same rows, and agree on what is one"
            )
    return _setting(learner.clone(), changes, changes)


def unlike(setting: Setting, other: Setting) -> str:
    """Say in which class of pieces a setting differs from another; empty if in none."""
    for name in ("loss", "optimizer", "penalty"):
        one, two = getattr(setting.pieces, name), getattr(other.pieces, name)
        if one is not two:
            way = (
                "l1=0 needs another rule than l1 > 0: give the model penalty=ElasticNet(...) and vary "
                "'penalty.l1'"
                if name == "penalty"
                else "make a fleet for each class"
            )
            return f"the {name} {one.__name__}, and not {two.__name__} ({way})"
    for flag, text in (
        ("averaged", "Averager"),
        ("intercept", "intercept_lr='optimizer'"),
        ("fresh", "late='fresh'"),
    ):
        one, two = getattr(setting.pieces, flag), getattr(other.pieces, flag)
        if one != two:
            return f"{'' if one else 'no '}{text} (make a fleet for each)"
    return ""


def _alike(made: Sequence[Setting]) -> None:
    for m, setting in enumerate(made):
        difference = unlike(setting, made[0])
        if difference:
            raise ValueError(
                f"member {m}, {setting.params}, has {difference}: members may differ from member 0 in "
                "numbers, not in classes"
            )


def _setting(fresh: Any, params: Params, changes: Params) -> Setting:
    """Return the setting of a learner that has learned nothing."""
    return Setting(
        dict(params),
        dict(changes),
        fresh._pieces,
        fresh._compiled_loss,
        fresh.optimizer.rule,
        fresh.initializer,
        fresh._schedules,
        fresh._hp.tolist(),
        fresh._scalars.tolist(),
    )


def _changes(model: Any, params: Params) -> dict[str, Any]:
    """Return a learner's parameters, whole, that dotted names change."""
    known = model._get_params()
    changes: dict[str, Any] = {}
    for name in sorted(params, key=lambda name: name.count(".")):  # pieces, before what is changed in them
        first, *path = name.split(".")
        if first not in known:
            raise ValueError(f"{name!r}: {type(model).__name__} has no {first}; it has {', '.join(known)}")
        if first in ("on_invalid", "labels", "class_weight"):
            raise ValueError(f"{name!r} is the same for all members: give it to the model")
        value = params[name]
        whole = _replaced(changes.get(first, known[first]), path, value, name) if path else value
        changes[first] = model._accept(first, whole) if first in model.PARAMETERS else whole
    return changes


def _replaced(piece: Any, path: Sequence[str], value: Any, name: str) -> Any:
    """Return a piece with what stands at the end of the path changed."""
    first, *rest = path
    if not isinstance(piece, Piece):
        raise ValueError(f"{name!r}: {piece!r} has no parameters; give the whole of it")
    if not hasattr(piece, first):
        fields = ", ".join(scalar_fields(type(piece))) or "none"
        raise ValueError(f"{name!r}: {type(piece).__name__} has no {first}; its numbers are {fields}")
    return piece.replace(**{first: _replaced(getattr(piece, first), rest, value, name) if rest else value})
