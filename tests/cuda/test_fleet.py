"""Fleets on the device: each member is the learner in float64, up to rounding, however lanes share it.

After a few rows, outputs and state differ from float64 by the rounding of sums of up to 130 products, some of
which a root or a quotient makes larger: 2e-6 relative to what is around 1.
"""

from __future__ import annotations

import copy
import math
import os
from dataclasses import dataclass
from inspect import isfunction
from typing import ClassVar

import numpy as np
import pytest

from streamgd import _features as f
from streamgd import linear_model, optim
from streamgd.cuda import _fleet
from streamgd.cuda._backend import cuda
from streamgd.cuda._fleet import Launch, plan
from streamgd.kernels import fleet as on_host
from streamgd.kernels.fleet import Clock, Outcome, State
from streamgd.kernels.pieces import PENALTY, PENALTY_2
from streamgd.optim import losses, penalties, schedulers
from streamgd.optim.base import Loss, Optimizer

CLOSE = 2e-6
SMALL = {1: 32, 4: 32, 8: 64, 32: 64}  # threads of a block in the simulator, by lanes

LOSSES = [name for name in losses.__all__ if issubclass(getattr(losses, name), Loss)]
BINARY = [name for name in LOSSES if getattr(losses, name).binary]
RULES = [name for name in optim.optimizers.__all__ if getattr(optim, name).kernel == "coordinate"]


def learners(m: int, p: int, *, binary: bool = True, seed: int = 0, **parameters):
    """Make learners with rates of their own, which have learned some rows, with numbers that float32 has."""
    rng = np.random.default_rng(seed)
    cls = linear_model.LogisticRegression if binary else linear_model.LinearRegression
    X, y, _ = rows(
        6, p, binary=binary, seed=seed + 1, lowest=getattr(parameters.get("loss"), "lowest", -math.inf)
    )
    models = []
    for _ in range(m):
        chosen = {name: value(rng) if isfunction(value) else value for name, value in parameters.items()}
        model = cls(initializer=optim.initializers.Normal(0, 0.1, seed=int(rng.integers(100))), **chosen)
        model.learn_rows(X, y)
        for array in (model._weights, model._slots, model._charged, model._scalars, model._hp):
            array[:] = array.astype(np.float32)
        models.append(model)
    return models


def rows(n: int, p: int, *, binary: bool = True, seed: int = 0, lowest: float = -math.inf):
    """Make rows, targets and weights of which one is 0."""
    rng = np.random.default_rng(seed)
    X = (rng.normal(size=(n, p)) / math.sqrt(p)).astype(np.float32).astype(np.float64)
    target = X @ rng.normal(size=p) + rng.normal(size=n) * 0.3
    w = rng.choice([0.5, 1.0, 2.0], n)
    w[n // 2] = 0.0
    y = (target > 0).astype(float) if binary else np.maximum(target.astype(np.float32), lowest).astype(float)
    return X, y, w


def state_of(models) -> State:
    p = len(models[0]._features)
    arrays = (
        [(m._hp, m._weights[:p], m._slots[:, :p], m._charged[:p], m._scalars) for m in models]
    )  # fmt: skip
    return State(*(np.array(parts, dtype=np.float32) for parts in zip(*arrays, strict=True)))


def clock_of(models, n: int) -> Clock:
    tables = []
    for model in models:
        t = np.arange(model.n_updates, model.n_updates + n + 1)
        lr = model.optimizer.scheduler.get_many(t)
        inside = model.intercept_lr == "optimizer"
        intercept = np.ones(len(t)) if inside else model.intercept_lr.get_many(t)
        tables.append(np.stack([lr[:-1], lr[1:], intercept[:-1]], axis=1))
    counts = np.array([(m.n_updates, m.n_samples) for m in models], dtype=float)
    first = np.arange(len(models)) * n
    return Clock(counts, np.concatenate(tables), first, np.ones(len(models), dtype=np.int64))


def differs(a, b) -> float:
    """Largest difference, relative to the numbers and to 1."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    assert (np.isnan(a) == np.isnan(b)).all()
    return float(np.nanmax(np.abs(a - b) / (1.0 + np.abs(b)), initial=0.0))


def as_it_is(model, state: State) -> State:
    """Return weights as a lazy penalty has made them, without its notes, which may have been folded in."""
    penalty = model._bound_penalty
    if not penalty.overrides("current"):
        return state
    weights, scalars = state.weights.astype(float), state.scalars.copy()
    for m, row in enumerate(weights):
        totals = tuple(map(float, scalars[m, [PENALTY, PENALTY_2]]))
        row[:] = [
            penalty.current(w, float(q), totals) for w, q in zip(row.tolist(), state.charged[m], strict=True)
        ]
    scalars[:, [PENALTY, PENALTY_2]] = 0.0
    return state._replace(weights=weights, scalars=scalars, charged=np.zeros_like(state.charged))


def compare(models, held, outcome, z, outputs) -> float:
    """Return the largest difference of members from learners, which have learned the same rows."""
    pieces = models[0]._pieces
    got, wanted = as_it_is(models[0], _fleet.fetch(pieces, held)), as_it_is(models[0], state_of(models))
    worst = [differs(z, outputs)]
    for name in State._fields[1:]:
        here, there = getattr(got, name), getattr(wanted, name)
        if name == "slots" and not pieces.n_slots:
            continue
        worst.append(differs(here, there))
    assert (outcome.learned + [m.learned_before for m in models] == [m.n_updates for m in models]).all()
    return max(worst)


def as_fleet(models, n: int):
    for model in models:
        model.learned_before = model.n_updates
    pieces = models[0]._pieces
    outcome = Outcome.of(len(models))
    return pieces, _fleet.hold(pieces, state_of(models)), clock_of(models, n), outcome


def grid(models, X, y, w, *, launch: Launch, skip: bool = False, writes: bool = True):
    pieces, held, clock, outcome = as_fleet(models, len(X))
    z = np.full((len(X), len(models)), 77.0, np.float32) if writes else None
    _fleet.grid_pass(pieces, held, clock, X, y, w, skip, outcome, z, launch=launch)
    return held, outcome, z


def check_grid(models, X, y, w, *, launch: Launch, skip: bool = False) -> float:
    held, outcome, z = grid(models, X.astype(np.float32), y, w, launch=launch, skip=skip)
    outputs = np.array([m.predict_learn_rows(X, y, w) for m in models]).T
    worst = compare(models, held, outcome, z, outputs)
    wanted = [sums_of(model, y, w, outputs[:, m]) for m, model in enumerate(models)]
    return max(worst, differs(outcome.sums, wanted))


def sums_of(model, y, w, outputs):
    """Add up what a learner's outputs give for metrics, of the rows that it has learned."""
    loss, result = model._compiled_loss, np.zeros(3)
    for target, weight, z in zip(y, np.broadcast_to(w, len(y)), outputs, strict=True):
        if weight > 0.0 and not np.isnan(z):
            error = abs(loss.mean(z) - target)
            more = ((z > 0) == (target > 0), 0.0) if loss.binary else (error, error * error)
            result += loss.value(target, z), *more
    return result


def rule(name: str):
    """Make an optimizer with a rate of its own, of a size that suits it."""
    cls = getattr(optim, name)
    return lambda rng: cls(lr=float(np.float32(rng.uniform(0.01, 0.05)))) if hasattr(cls, "lr") else cls()


# -- all members over the same rows ---------------------------------------------------------------


@pytest.mark.parametrize("name", RULES)
def test_each_optimizer(name):
    models = learners(5, 6, optimizer=rule(name), seed=len(name))
    X, y, w = rows(9, 6, seed=3)
    assert check_grid(models, X, y, w, launch=Launch(1, 32)) < CLOSE


@pytest.mark.parametrize("name", LOSSES)
def test_each_loss(name):
    binary, loss = name in BINARY, getattr(losses, name)
    models = learners(5, 5, binary=binary, optimizer=rule("SGD"), loss=loss(), seed=len(name))
    X, y, w = rows(9, 5, binary=binary, seed=4, lowest=loss.lowest)
    assert check_grid(models, X, y, w, launch=Launch(4, 32)) < CLOSE


MORE = {
    "l1": {"l1": 0.01, "l2": lambda rng: float(np.float32(rng.uniform(0.01, 0.1)))},
    "proximal": {"penalty": penalties.Proximal(l1=0.125, l2=0.25)},
    "proximal, folded": {"penalty": penalties.Proximal(l1=0.125, l2=256.0)},
    "truncated": {"penalty": penalties.TruncatedGradient(l1=0.125, every=2, theta=0.5)},
    "truncated, folded": {"penalty": penalties.TruncatedGradient(l1=65536.0, every=2, theta=0.0078125)},
    "averaged": {"optimizer": lambda rng: optim.Averager(optim.AdaGrad(0.125), start=3, gamma=2.0)},
    "fresh": {"late": "fresh", "l1": 0.01, "optimizer": rule("Adam")},
    "intercept inside": {"intercept_lr": "optimizer", "optimizer": rule("AdaGrad")},
    "clipped": {"clip_gradient": 0.25, "optimizer": rule("Momentum")},
    "scheduled": {
        "optimizer": lambda rng: optim.SGD(schedulers.InverseScaling(float(rng.uniform(0.1, 1)), 0.5))
    },
    "weighted": {"loss": losses.Log(weight_pos=2.0)},
}


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("name", MORE)
def test_what_else_a_learner_may_have(name, lanes):
    models = learners(4, 6, seed=5, **({"optimizer": rule("SGD")} | MORE[name]))
    X, y, w = rows(11, 6, seed=6)
    assert check_grid(models, X, y, w, launch=Launch(lanes, 32)) < CLOSE


@pytest.mark.parametrize(
    ("p", "lanes", "n", "name"),
    [
        (1, 1, 3, "SGD"), (13, 1, 40, "AdaGrad"), (13, 4, 5, "Adam"), (13, 8, 5, "SGD"), (33, 32, 3, "Coin"),
        (32, 8, 4, "Normalized"), (130, 32, 3, "DoG"), (16, 4, 34, "ScInOL2"), (40, 8, 2, "FTRLProximal"),
    ],
)  # fmt: skip
def test_lanes_share_members(p, lanes, n, name):
    models = learners(5, p, optimizer=rule(name), seed=p)
    X, y, w = rows(n, p, seed=n)
    pieces = models[0]._pieces
    assert plan(pieces, 5, p, True, Launch(lanes)).lanes == lanes
    assert check_grid(models, X, y, w, launch=Launch(lanes, SMALL[lanes])) < CLOSE


@pytest.mark.parametrize("name", ["Adam", "Normalized", "ScInOL1"])
def test_state_that_stays_in_memory(name, monkeypatch):
    monkeypatch.setattr(_fleet, "MOST_VALUES", 0)
    models = learners(3, 37, optimizer=rule(name), l2=0.01 if name == "Adam" else 0.0, seed=7)
    X, y, w = rows(5, 37, seed=8)
    assert plan(models[0]._pieces, 3, 37).values == 0
    assert check_grid(models, X, y, w, launch=Launch(0, 64, 1)) < CLOSE


def test_how_it_is_launched_changes_no_bit(monkeypatch):
    X, y, w = rows(20, 9, seed=1)
    results = []
    for threads, outputs, direct in (
        (32, 1 << 26, 1 << 18),
        (64, 15, 1 << 18),
        (32, 1 << 26, 0),
        (32, 28, 0),
    ):
        monkeypatch.setattr(_fleet, "OUTPUT_VALUES", outputs)  # chunks of some rows
        monkeypatch.setattr(_fleet, "DIRECT_VALUES", direct)  # through pinned memory
        models = learners(5, 9, optimizer=rule("Adam"), seed=2)
        held, outcome, z = grid(models, X.astype(np.float32), y, w, launch=Launch(4, threads))
        state = _fleet.fetch(models[0]._pieces, held)
        results.append([*state, outcome.learned, outcome.sums, z])
    for other in results[1:]:
        assert all((a == b).all() for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8])
@pytest.mark.parametrize("there", [False, True])
def test_rows_of_any_type_on_either_side(dtype, there):
    X = np.random.default_rng(0).integers(0, 4, (7, 5)).astype(dtype)
    _, y, w = rows(7, 5)
    models = learners(4, 5, optimizer=rule("SGD"), seed=3)
    to = cuda.to_device if there else np.asarray
    held, outcome, z = grid(models, to(X), to(y), to(w), launch=Launch(1, 32))
    outputs = np.array([m.predict_learn_rows(X.astype(float), y, w) for m in models]).T
    assert compare(models, held, outcome, z, outputs) < CLOSE


def test_refused_rows_are_left_out():
    X, y, w = rows(12, 6, seed=9)
    X[2, 3], X[4, 0], X[5, 1], y[7], w[9] = np.nan, np.inf, 2e15, np.nan, -1.0
    for lanes in (1, 4):
        models = learners(4, 6, optimizer=rule("AdaGrad"), seed=4)
        bad = np.isin(np.arange(12), [2, 4, 5, 7, 9])
        held, outcome, z = grid(models, X.astype(np.float32), y, w, launch=Launch(lanes, 32), skip=True)
        assert (np.isnan(z) == bad[:, None]).all()
        assert (outcome.skipped == 5).all()
        assert (outcome.stopped == -1).all()
        outputs = np.full(z.shape, np.nan)
        outputs[~bad] = np.array([m.predict_learn_rows(X[~bad], y[~bad], w[~bad]) for m in models]).T
        assert compare(models, held, outcome, z, outputs) < CLOSE


@pytest.mark.parametrize("lanes", [1, 8])
def test_a_member_that_fails_stops_alone(lanes):
    X, y, w = rows(40, 9, seed=9)
    X[35] *= 1e4
    models = learners(6, 9, optimizer=rule("SGD"), seed=4)
    models[3]._weights[:9] = 1e13
    held, outcome, z = grid(models, X.astype(np.float32), y, w, launch=Launch(lanes, 64))
    assert outcome.stopped.tolist() == [-1, -1, -1, 35, -1, -1]
    assert np.isnan(z[35:, 3]).all()
    ends = [35 if m == 3 else 40 for m in range(6)]
    outputs = np.full((40, 6), np.nan)
    for m, end in enumerate(ends):
        outputs[:end, m] = models[m].predict_learn_rows(X[:end], y[:end], w[:end])
    z[:35, 3] /= 1e13
    outputs[:35, 3] /= 1e13
    assert compare(models, held, outcome, z, outputs) < CLOSE
    again = outcome._replace(learned=np.zeros(6, np.int64))
    z = np.zeros((40, 6), np.float32)
    clock = clock_of(models, 40)
    _fleet.grid_pass(
        models[0]._pieces, held, clock, X.astype(np.float32), y, w, False, again, z, launch=Launch(1, 32)
    )
    assert np.isnan(z[:, 3]).all()
    assert again.learned[3] == 0


@pytest.mark.parametrize("name", ["SGD", "Coin", "ScheduleFreeAdamW"])
def test_rows_without_weight_change_nothing(name):
    X, y, _ = rows(6, 5)
    models = learners(3, 5, optimizer=rule(name), late="fresh", penalty=None, seed=5)
    before = state_of(models)
    held, outcome, z = grid(models, X.astype(np.float32), y, np.zeros(1), launch=Launch(4, 32))
    for name, array in zip(State._fields, _fleet.fetch(models[0]._pieces, held), strict=True):
        assert (array == getattr(before, name)).all()
    assert (outcome.learned == 0).all()
    assert (outcome.sums == 0.0).all()
    assert differs(z, np.array([m.predict_learn_rows(X, y, np.zeros(6)) for m in models]).T) < CLOSE


def test_no_rows_change_nothing():
    models = learners(3, 5, optimizer=rule("SGD"), seed=5)
    held, outcome, z = grid(
        models, np.zeros((0, 5), np.float32), np.zeros(0), np.ones(1), launch=Launch(1, 32)
    )
    assert z.shape == (0, 3)
    assert (outcome.learned == 0).all()
    assert (_fleet.fetch(models[0]._pieces, held).weights == state_of(models).weights).all()


def test_without_outputs_and_metrics():
    X, y, w = rows(9, 5)
    models = learners(3, 5, optimizer=rule("SGD"), seed=5)
    pieces, held, clock, outcome = as_fleet(models, 9)
    outcome = outcome._replace(sums=np.zeros((0, 3)))
    _fleet.grid_pass(
        pieces, held, clock, X.astype(np.float32), y, w, False, outcome, None, launch=Launch(1, 32)
    )
    outputs = np.array([m.predict_learn_rows(X, y, w) for m in models])
    assert compare(models, held, outcome, outputs, outputs) < CLOSE


@dataclass(frozen=True)
class Ratio(Optimizer):
    """Steps that a coordinate of value 0 makes no number of."""

    lr: float | schedulers.Scheduler = 0.1
    least: float = 0.0
    n_slots: ClassVar[int] = 1

    def step(self, w, slots, g, x, c):
        return w - c[0] * g * x / (x * x + self.least), (slots[0] + 1.0,)


@pytest.mark.parametrize("name", RULES)
def test_no_rule_of_ours_sees_a_coordinate_to_spare(name):
    model = linear_model.LogisticRegression(optimizer=getattr(optim, name)())
    assert _fleet.pads(model._pieces, model._hp.tolist())


def test_a_rule_that_divides_by_0_has_no_coordinates_to_spare():
    models = learners(3, 6, optimizer=Ratio(), seed=6)
    pieces, state = models[0]._pieces, state_of(models)
    assert _fleet.pads(
        learners(1, 6, optimizer=rule("Coin"))[0]._pieces, [1.0, 1.0, 4.0, 1.0, 0.0, 1e12, 0.0, 0.0]
    )
    assert not _fleet.pads(pieces, state.hp[0].tolist())
    chosen = [plan(pieces, 3, p, False) for p in (6, 40, 41)]
    assert [(how.lanes, how.values) for how in chosen] == [(1, 8), (8, 5), (32, 0)]
    X, y, w = rows(7, 6)
    for lanes in (1, 4):
        assert (
            check_grid(learners(3, 6, optimizer=Ratio(), seed=6), X, y, w, launch=Launch(lanes, 32)) < CLOSE
        )


def test_one_member_of_many_may_divide_by_0():
    X, y, w = rows(7, 6)
    models = [learners(1, 6, optimizer=Ratio(least=least), seed=6)[0] for least in (1.0, 0.0, 2.0)]
    assert check_grid(models, X, y, w, launch=Launch(4, 32)) < CLOSE


# -- each member over rows of its own -------------------------------------------------------------


def keyed(models, X, y, w, members, starts, *, launch: Launch, skip: bool = False):
    """Learn groups of rows on the device; the clock and the outcome are by group."""
    pieces, held, clock, _ = as_fleet(models, len(X))
    clock = clock._replace(counts=clock.counts[members], first=clock.first[members], step=clock.step[members])
    outcome, z = Outcome.of(len(members)), np.full(len(X), 77.0, np.float32)
    _fleet.keyed_pass(pieces, held, clock, X, y, w, starts, members, skip, outcome, z, launch=launch)
    return held, outcome, z


def check_keyed(models, counts, p, *, launch: Launch, seed: int = 0) -> float:
    members = np.random.default_rng(seed).permutation(len(models))[: len(counts)].astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    X, y, w = rows(int(starts[-1]), p, seed=seed)
    held, outcome, z = keyed(models, X.astype(np.float32), y, w, members, starts, launch=launch)
    outputs, learned, wanted = np.zeros(len(y)), np.zeros(len(models), np.int64), []
    for g, m in enumerate(members):
        part = slice(starts[g], starts[g + 1])
        if counts[g]:
            outputs[part] = models[m].predict_learn_rows(X[part], y[part], w[part])
        learned[m] = outcome.learned[g]
        wanted.append(sums_of(models[m], y[part], w[part], outputs[part]))
    worst = compare(models, held, outcome._replace(learned=learned), z, outputs)
    return max(worst, differs(outcome.sums, wanted))


@pytest.mark.parametrize(
    ("p", "lanes", "name"),
    [
        (6, 1, "AdaGrad"),
        (7, 4, "Adam"),
        (13, 4, "Normalized"),
        (20, 8, "SGD"),
        (37, 32, "Coin"),
        (5, 0, "Momentum"),
    ],
)
@pytest.mark.parametrize("blocks", [1, 3])
def test_members_with_rows_of_their_own(p, lanes, name, blocks):
    models = learners(9, p, optimizer=rule(name), seed=p)
    counts = [2, 0, 31, 1, 0, 3, 5]  # some keys without rows, one with most of them, two not at all
    assert check_keyed(models, counts, p, launch=Launch(lanes, SMALL[lanes or 1], blocks)) < CLOSE


def test_keys_whose_state_stays_in_memory(monkeypatch):
    monkeypatch.setattr(_fleet, "MOST_VALUES", 0)
    models = learners(5, 35, optimizer=rule("ScInOL2"), seed=7)
    assert check_keyed(models, [2, 0, 7, 1], 35, launch=Launch(0, 64, 1)) < CLOSE


def test_chunks_may_part_a_key(monkeypatch):
    monkeypatch.setattr(_fleet, "OUTPUT_VALUES", 7)
    models = learners(6, 5, optimizer=rule("Adam"), seed=7)
    assert check_keyed(models, [2, 0, 20, 1, 4], 5, launch=Launch(4, 32, 1)) < CLOSE


def test_a_key_that_fails_stops_alone():
    X, y, w = rows(30, 9, seed=9)
    X[14] *= 1e4
    models = learners(3, 9, optimizer=rule("SGD"), seed=4)
    models[2]._weights[:9] = 1e13
    starts, members = np.array([0, 10, 25, 30]), np.array([1, 2, 0])
    held, outcome, z = keyed(models, X.astype(np.float32), y, w, members, starts, launch=Launch(4, 32, 1))
    assert outcome.stopped.tolist() == [-1, 14, -1]
    assert (np.flatnonzero(np.isnan(z)) == np.arange(14, 25)).all()
    assert outcome.learned.tolist() == [10, 4, 5]
    got = _fleet.fetch(models[0]._pieces, held)
    models[2].learn_rows(X[10:14], y[10:14], w[10:14])
    assert differs(got.weights[2] / 1e13, models[2]._weights[:9] / 1e13) < CLOSE


def test_keys_leave_refused_rows_out():
    X, y, w = rows(12, 6, seed=9)
    X[2, 3], X[11, 0] = np.nan, np.inf
    models = learners(2, 6, optimizer=rule("SGD"), seed=4)
    starts, members = np.array([0, 7, 12]), np.array([1, 0])
    _, outcome, z = keyed(
        models, X.astype(np.float32), y, w, members, starts, launch=Launch(1, 32, 1), skip=True
    )
    assert np.flatnonzero(np.isnan(z)).tolist() == [2, 11]
    assert outcome.skipped.tolist() == [1, 1]


# -- all of it ------------------------------------------------------------------------------------


def test_as_the_cpu_in_single_precision():
    X, y, w = (a.astype(np.float32) for a in rows(12, 7, seed=3))
    models = learners(4, 7, optimizer=rule("Adam"), l1=0.01, seed=8)
    held, outcome, z = grid(models, X, y, w, launch=Launch(1, 32))
    pieces, _, clock, there = as_fleet(models, len(X))
    state, z_there = state_of(models), np.zeros_like(z)
    on_host.grid_pass(pieces, state, clock, X, y, w, False, there, z_there, 1)
    assert differs(z, z_there) < CLOSE
    for a, b in zip(_fleet.fetch(pieces, held), state, strict=True):
        assert differs(a, b) < CLOSE
    assert (outcome.learned == there.learned).all()
    assert differs(outcome.sums, there.sums) < CLOSE


SEED = int(os.environ.get("FLEET_SEED", "20"))


@pytest.mark.parametrize("k", range(20))
def test_random_combinations(k):
    rng = np.random.default_rng([SEED, k])
    name, loss = str(rng.choice(RULES)), str(rng.choice(LOSSES))
    lanes, p, m, n = int(rng.choice([1, 4, 8, 32])), int(rng.integers(1, 20)), int(rng.integers(1, 6)), 6
    cls = getattr(optim, name)
    parameters = {"optimizer": rule(name), "loss": getattr(losses, loss)()}
    if cls.penalties:
        parameters |= [{}, {"l1": 0.01}, {"l2": 0.1}, {"penalty": penalties.Proximal(0.01, 0.1)}][
            rng.integers(4)
        ]
    if rng.random() < 0.3 and not cls.intercept_feature:
        parameters["intercept_lr"] = "optimizer"
    if rng.random() < 0.3:
        parameters["late"] = "fresh"
    print(f"FLEET_SEED={SEED}, {k}: {name}, {loss}, {lanes} lanes, p={p}, M={m}, {parameters}")
    models = learners(m, p, binary=loss in BINARY, seed=k, **parameters)
    X, y, w = rows(n, p, binary=loss in BINARY, seed=k + 100, lowest=getattr(losses, loss).lowest)
    if rng.random() < 0.5:
        worst = check_grid(models, X, y, w, launch=Launch(lanes, SMALL[lanes]))
    else:
        worst = check_keyed(
            models, [n, 0, 3][: len(models)], p, launch=Launch(lanes, SMALL[lanes], 1), seed=k
        )
    print(f"largest difference {worst:.1e}")
    assert worst < CLOSE


def test_the_first_refused_row():
    X, y, w = (a.astype(np.float32) for a in rows(50, 40, seed=1))
    there = cuda.to_device

    def first(X, y, w):
        return _fleet.first_bad(there(X), y, w, blocks=2, threads=64)

    assert first(X, y, w) == (50, f.OK)
    assert first(X, y, np.ones(1, np.float32)) == (50, f.OK)
    w[31] = -1.0
    assert first(X, y, w) == (31, f.BAD_WEIGHT)
    y[31] = np.inf
    assert first(X, y, there(w)) == (31, f.BAD_TARGET)
    X[31, 39] = np.nan
    assert first(X, there(y), w) == (31, f.BAD_ROW)
    X[0] = 1e14
    assert first(X, y, w) == (0, f.BAD_ROW)
    assert first(X, y, np.full(1, np.nan)) == (0, f.BAD_ROW)


# -- on a device ----------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["SGD", "AdaGrad", "Adam", "Normalized", "Coin"])
@pytest.mark.parametrize(("p", "m"), [(7, 20000), (31, 20000), (127, 3000), (600, 300), (2000, 60)])
def test_a_large_grid_and_twice_the_same(name, p, m):
    models = learners(8, p, optimizer=rule(name), seed=p)
    X, y, w = rows(300, p, seed=3)
    many = [models[k % 8] for k in range(m)]
    results = []
    for _ in range(2):
        held, outcome, z = grid(many, X.astype(np.float32), y, w, launch=Launch())
        results.append((_fleet.fetch(models[0]._pieces, held).weights, z, outcome.sums))
    assert all((a == b).all() for a, b in zip(*results, strict=True))
    weights, z, _ = results[0]
    outputs = np.array([model.predict_learn_rows(X, y, w) for model in models]).T
    for k in range(m):
        assert (weights[k] == weights[k % 8]).all()
    assert differs(z[:, :8], outputs) < 1e-4  # after 300 rows


@pytest.mark.gpu
@pytest.mark.parametrize("p", [7, 31, 127, 2000])
def test_many_keys(p):
    models = learners(8, p, optimizer=rule("AdaGrad"), seed=p)
    rng = np.random.default_rng(p)
    counts = np.append(rng.integers(0, 9, 3000), 5000)
    many = [models[k % 8] for k in range(len(counts))]
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    X, y, w = rows(int(starts[-1]), p, seed=1)
    members = np.arange(len(counts), dtype=np.int64)
    results = [keyed(many, X.astype(np.float32), y, w, members, starts, launch=Launch())[2] for _ in range(2)]
    assert (results[0] == results[1]).all()
    for g in range(100):
        part = slice(starts[g], starts[g + 1])
        if counts[g]:
            outputs = copy.deepcopy(many[g]).predict_learn_rows(X[part], y[part], w[part])
            assert differs(results[0][part], outputs) < CLOSE
