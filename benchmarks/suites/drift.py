"""What schedules that look at the losses bring and cost: RestartOnDrift's progressive loss, times of both."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, islice
from typing import Any, NamedTuple

import numpy as np
from compare import Case, Effort, Row, Side, UnequalError, equal
from data import N_DICTS, as_dicts, dict_rows, matrix, names
from numpy.typing import NDArray
from report import seconds_as_text
from river import drift
from streams import LOG, Stream, real

from streamgd import linear_model, optim
from streamgd.optim.schedulers import (
    Constant,
    Exponential,
    InverseScaling,
    InverseTime,
    ReduceLROnPlateau,
    RestartOnDrift,
    Scheduler,
)
from suites.learn_rows import n_rows, pass_of
from suites.quality import mean_loss, outputs, standardised

Floats = NDArray[np.float64]

SEEDS = 10
CONCEPTS = 4  # of a generated stream
CONCEPT = 10_000  # rows of each, on average
N_REAL = 2  # elec2 and sea, the first of the real streams
SEA_CONCEPT = 12_500
SOON = 1_000  # a restart within so many rows after a drift has found it
EVERY = 32  # RestartOnDrift's default

FIRST = 0.3  # a step overshoots where squares of features add up to more than 4 / FIRST
SCHEDULES: dict[str, Scheduler] = {
    "InverseScaling": InverseScaling(FIRST, 0.5),
    "InverseTime": InverseTime(FIRST, 0.01),
    "Exponential": Exponential(FIRST, math.log(100.0) / CONCEPT, per="sample"),
}
CONSTANT = FIRST / 10.0

DETECTORS: dict[str, Callable[[], Any]] = {
    "ADWIN": drift.ADWIN,
    "PageHinkley": drift.PageHinkley,
    "KSWIN": lambda: drift.KSWIN(seed=1),
}
SLOW = "KSWIN"  # real streams and one schedule only
KNOWN = "at the drifts"


@dataclass
class At:
    """A detector that fires after given numbers of losses, whatever they are."""

    times: tuple[int, ...]
    n: int = 0
    drift_detected: bool = False

    def update(self, x: float) -> None:
        self.n += 1
        self.drift_detected = self.n in self.times

    def clone(self) -> At:
        return At(self.times)


class Drifting(NamedTuple):
    """One seed's stream."""

    stream: Stream
    Z: Floats  # its rows, scaled by what has been seen
    drifts: tuple[int, ...] | None  # first rows of new concepts; None if nobody knows


class Family(NamedTuple):
    """A stream under each seed, and a real one with all its rows."""

    name: str
    seeds: list[Drifting]
    whole: Drifting | None = None


@dataclass(frozen=True)
class Restarted(Row):
    """Mean losses with and without restarts, seed by seed."""

    stream: str = ""
    schedule: str = ""
    detector: str = ""
    rows: int = 0
    plain: list[float] = field(default_factory=list)
    restarted: list[float] = field(default_factory=list)
    blindly: list[float] = field(default_factory=list)  # with as many restarts, at random rows
    restarts: list[int] = field(default_factory=list)
    found: list[int] = field(default_factory=list)  # drifts with a restart soon after
    drifts: int | None = None
    whole: tuple[float, float] | None = None  # without and with, on all rows of a real stream


@dataclass(frozen=True)
class Beside(Row):
    """Mean losses, seed by seed, of learners that restart nothing."""

    stream: str = ""
    losses: dict[str, list[float]] = field(default_factory=dict)


def cases(effort: Effort) -> Iterator[Case | Row]:
    for family in families(effort):
        if isinstance(family, str):
            yield Row(family, "", failed="not found: set STREAMGD_DATA to the streams' folder")
        else:
            yield from restarted(family)
            yield beside(family)
    for way in ("learn_rows", "learn_one"):
        for name, schedule, n in costly(effort):
            yield cost(effort, way, name, schedule, n)


# -- streams ---------------------------------------------------------------------------------


def families(effort: Effort) -> Iterator[Family | str]:
    """Yield the streams, or the name of a file that is not there."""
    seeds = range(2 if effort.quick else SEEDS)
    for stream in islice(real(quick=True), N_REAL):
        if isinstance(stream, str):
            yield stream
            continue
        stream = stream.first(4_000) if effort.quick else stream
        whole = np.arange(len(stream.y))
        halves = [np.sort(np.random.default_rng(seed).permutation(whole)[::2]) for seed in seeds]
        yield Family(stream.name, [part(stream, rows) for rows in halves], part(stream, whole))
    for name, make in GENERATED.items():
        concept = CONCEPT // 10 if effort.quick else CONCEPT
        yield Family(name, [make(name, seed, concept) for seed in seeds])


def part(stream: Stream, rows: NDArray[np.int64]) -> Drifting:
    """Keep some rows of a real stream, in order."""
    drifts = None
    if stream.name == "sea":
        drifts = tuple(np.searchsorted(rows, range(SEA_CONCEPT, len(stream.y), SEA_CONCEPT)).tolist())
    X, y = stream.X[rows], stream.y[rows]
    return Drifting(Stream(stream.name, LOG, X, y), standardised(X), drifts)


def of_river(kind: Callable[[int, int], Any]) -> Callable[[str, int, int], Drifting]:
    """Make streams of river's generators, one after the other."""

    def make(name: str, seed: int, concept: int) -> Drifting:
        sizes = lengths(seed, concept)
        pairs = [row for k, n in enumerate(sizes) for row in kind(k, CONCEPTS * seed + k).take(n)]
        X = np.array([[float(value) for value in x.values()] for x, _ in pairs])
        y = np.array([float(y) for _, y in pairs])
        return Drifting(Stream(name, LOG, X, y), standardised(X), boundaries(sizes))

    return make


def linear(name: str, seed: int, concept: int, *, drifts: bool = True) -> Drifting:
    """Make a stream with a logistic truth, whose weights are drawn anew for each concept."""
    rng, p, sizes = np.random.default_rng(seed), 10, lengths(seed, concept)
    X = rng.normal(size=(sum(sizes), p))
    W = np.repeat(rng.normal(size=(CONCEPTS, p)), sizes, axis=0)
    signal = 3.0 / p**0.5 * np.sum((W if drifts else W[0]) * X, axis=1)
    y = (rng.logistic(size=len(X)) < signal).astype(float)
    return Drifting(Stream(name, LOG, X, y), standardised(X), boundaries(sizes) if drifts else ())


def lengths(seed: int, concept: int) -> list[int]:
    """Draw the rows of each concept."""
    return np.random.default_rng(seed).integers(concept // 2, 3 * concept // 2, CONCEPTS).tolist()


def boundaries(sizes: Sequence[int]) -> tuple[int, ...]:
    return tuple(accumulate(sizes[:-1]))


def sea(variant: int, seed: int) -> Any:
    from river.datasets import synth

    return synth.SEA(variant=variant, noise=0.1, seed=seed)


def agrawal(function: int, seed: int) -> Any:
    from river.datasets import synth

    return synth.Agrawal(classification_function=function, perturbation=0.05, seed=seed)


GENERATED = {
    "SEA": of_river(sea),
    "Agrawal": of_river(agrawal),
    "new weights": linear,
    "no drift": partial(linear, drifts=False),
}


# -- losses ----------------------------------------------------------------------------------


def restarted(family: Family) -> Iterator[Restarted]:
    for name, schedule in SCHEDULES.items():
        plain = [learned(data, schedule)[0] for data in family.seeds]
        for detector, make in DETECTORS.items():
            if detector != SLOW or (family.whole and schedule is next(iter(SCHEDULES.values()))):
                yield compared(family, name, plain, detector, lambda data, make=make: make())
        if family.seeds[0].drifts:
            yield compared(family, name, plain, KNOWN, lambda data: At(data.drifts))


def compared(
    family: Family, name: str, plain: list[float], detector: str, make: Callable[[Drifting], Any]
) -> Restarted:
    schedule = SCHEDULES[name]

    def restarting(data: Drifting) -> RestartOnDrift:
        # restarts at given times are no alarms: nothing is asked about the losses
        return RestartOnDrift(schedule, make(data), every=EVERY, only_increases=detector != KNOWN)

    found = [(data, *learned(data, restarting(data))) for data in family.seeds]
    blindly = []
    for seed, (data, loss, restarts) in enumerate(found):
        times = np.random.default_rng(seed).integers(len(data.stream.y), size=len(restarts))
        control = RestartOnDrift(schedule, At(tuple(times.tolist())), every=EVERY, only_increases=False)
        blindly.append(learned(data, control)[0] if restarts else loss)
    whole = None
    if family.whole is not None:
        whole = learned(family.whole, schedule)[0], learned(family.whole, restarting(family.whole))[0]
    drifts = family.seeds[0].drifts
    losses = [loss for _, loss, _ in found]
    return Restarted(
        f"{family.name}, {name}, {detector}",
        unit="",
        checked="" if detector == KNOWN else equals_river(family.seeds[0], schedule, make),
        figures={"without": f"{statistics.mean(plain):.4f}", "with": f"{statistics.mean(losses):.4f}"},
        stream=family.name,
        schedule=name,
        detector=detector,
        rows=round(statistics.mean(len(data.stream.y) for data in family.seeds)),
        plain=plain,
        restarted=losses,
        blindly=blindly,
        restarts=[len(restarts) for _, _, restarts in found],
        found=[n_found(data.drifts or (), restarts) for data, _, restarts in found],
        drifts=None if drifts is None else len(drifts),
        whole=whole,
    )


def learned(data: Drifting, schedule: Scheduler) -> tuple[float, list[int]]:
    """Return the progressive loss, and the numbers of rows after which the rate had not fallen."""
    model = linear_model.LogisticRegression(
        optim.SGD(schedule), labels=(False, True), intercept_lr="optimizer"
    )
    found, restarts, rate = [], [], math.inf
    labels = data.stream.y > 0
    for start in range(0, len(labels), EVERY):
        rows = slice(start, start + EVERY)
        found.append(model.predict_learn_rows(data.Z[rows], labels[rows]))
        before, rate = rate, model.learning_rate
        if rate >= before:
            restarts.append(start + EVERY)
    return mean_loss(data.stream, np.concatenate(found)), restarts


def n_found(drifts: Sequence[int], restarts: Sequence[int]) -> int:
    return sum(any(0 <= restart - row <= SOON for restart in restarts) for row in drifts)


def equals_river(data: Drifting, schedule: Scheduler, make: Callable[[Drifting], Any]) -> str:
    """Compare with river's learner and detector, and restarts that set its count of steps to 0."""
    from river import linear_model as river_models
    from river import optim as river_optim

    rule = river_optim.SGD(schedule)
    model, detector = river_models.LogisticRegression(rule, intercept_lr=schedule), make(data)
    losses: list[float] = []  # since the last alarm
    alarm, restarts, total = False, [], 0.0
    labels = (data.stream.y > 0).tolist()
    for n, (x, y) in enumerate(zip(as_dicts(data.Z), labels, strict=True), 1):
        z = model._raw_dot_one(x)
        losses.append(float(np.logaddexp(0.0, -z if y else z)))
        total += losses[-1]
        detector.update(losses[-1])
        alarm = alarm or detector.drift_detected
        model.learn_one(x, y)
        if alarm and n % EVERY == 0:
            recent = 0.98 ** np.arange(len(losses))[::-1]
            if np.average(losses, weights=recent) > np.mean(losses):
                rule.n_iterations = 0
                restarts.append(n)
            alarm, losses = False, []
    piece = RestartOnDrift(schedule, make(data), every=EVERY)
    loss, found = learned(data, piece)
    if found != restarts:
        raise UnequalError(f"restarts after {found[:5]}... rows, and river's after {restarts[:5]}...")
    return equal(loss, total / len(labels), f"loss, and {len(found)} restarts, to river's,")


def beside(family: Family) -> Beside:
    losses = {
        f"SGD({CONSTANT:g})": [learned(data, Constant(CONSTANT))[0] for data in family.seeds],
        **{
            name: [mean_loss(data.stream, outputs(name, data.stream, data.stream.X)) for data in family.seeds]
            for name in ("auto", "bank")
        },
    }
    figures = {name: f"{statistics.mean(values):.4f}" for name, values in losses.items()}
    return Beside(f"{family.name}, without restarts", "", figures=figures, stream=family.name, losses=losses)


# -- times -----------------------------------------------------------------------------------


def costly(effort: Effort) -> Iterator[tuple[str, Scheduler, int]]:
    """Yield schedules that look at the losses, and how many rows to time them on."""
    plain, n = SCHEDULES["InverseScaling"], n_rows(effort, 30)
    yield "ReduceLROnPlateau, window=1000", ReduceLROnPlateau(plain), n
    yield "RestartOnDrift, ADWIN, every=1", RestartOnDrift(plain, drift.ADWIN(), every=1), n // 10
    for every in (32, 256):
        yield f"RestartOnDrift, ADWIN, every={every}", RestartOnDrift(plain, drift.ADWIN(), every=every), n
    yield "RestartOnDrift, PageHinkley, every=32", RestartOnDrift(plain, drift.PageHinkley()), n
    yield "RestartOnDrift, KSWIN, every=32", RestartOnDrift(plain, drift.KSWIN(seed=1)), n // 20


def cost(effort: Effort, way: str, name: str, schedule: Scheduler, n: int) -> Case:
    """Compare with the same schedule when it looks at nothing."""
    X, y = matrix(n, 30)
    dicts = dict_rows(30)

    def model(rate: Scheduler) -> Any:
        return linear_model.LogisticRegression(optim.SGD(rate))

    def one_by_one(learner: Any) -> None:
        learn = learner.learn_one
        for x, label in dicts:
            learn(x, label)

    def side(rate: Scheduler) -> Side:
        learner = model(rate)
        if way == "learn_one":
            return Side(lambda: one_by_one(learner), N_DICTS)
        return Side(pass_of(learner, X, y), n)

    def check() -> str:
        few = min(effort.checked, n)
        by_rows, by_dict = model(schedule), model(schedule)
        by_rows.learn_rows(X[:few], y[:few], columns=names(30))
        for x, label in zip(as_dicts(X[:few]), y[:few].astype(bool).tolist(), strict=True):
            by_dict.learn_one(x, label)
        return f"rows to dicts: {equal(by_rows.weights, by_dict.weights, 'weights')}"

    return Case(
        f"{way}, {name}",
        check,
        side(schedule),
        "InverseScaling alone",
        side(SCHEDULES["InverseScaling"]),
    )


# -- the page --------------------------------------------------------------------------------

HEAD = f"""\
Mean log loss of predictions made before the row is learned, by logistic regression with SGD on features
scaled by what has been seen, without and with `RestartOnDrift(schedule, detector)` at its defaults. The
intercept has the weights' rate; detectors have river's defaults. Schedules begin at {FIRST} and were not
tuned: `InverseScaling({FIRST}, 0.5)`, `InverseTime({FIRST}, 0.01)`, and `Exponential({FIRST}, k)` with
the k that leaves a hundredth after {CONCEPT:,} rows.

A seed of a real stream is a random half of its rows, in order; the whole stream stands beside. These
halves overlap: the standard error says how well seeds agree, not how another stream would turn out.
Generated streams are drawn anew for each seed: {CONCEPTS} concepts, each of {CONCEPT // 2:,} to
{CONCEPT * 3 // 2:,} rows, one right after the other. `SEA` and `Agrawal` are river's (10 % of labels,
5 % of features disturbed), `new weights` draws the weights of 10 features anew, `no drift` does not.

- **difference**: with less without, mean and standard error over seeds. Below 0 restarts help.
- **restarts**: looks at the losses after which the rate had not fallen.
- **found**: drifts that had a restart within {SOON:,} rows.
- **to random ones**: with less a control that restarts as often, at random rows. Near 0 the losses say
  little about when to restart, and higher rates are all that helps.
- **{KNOWN}**: without a detector, where the concept changes: what there is to win.
"""


def page(machine: str, rows: Iterable[Row]) -> str:
    """Write losses, what stands beside them, and times."""
    rows = list(rows)
    every = [row for row in rows if isinstance(row, Restarted)]
    lines = ["# drift", "", machine, "", "`python benchmarks/run.py --suite drift`.", "", HEAD]
    lines += [*summary(every), "", *table(every), ""]
    lines += ["Without restarts, and `auto` and `bank` on features as they are:", ""]
    lines += [*others([row for row in rows if isinstance(row, Beside)]), ""]
    lines += [
        "Times for a row of 30 features, compiled and warm, run in turn with the same schedule alone:",
        "",
        "| | with | alone | more |",
        "|---|---:|---:|---:|",
    ]
    for row in rows:
        if row.ours is not None and row.peer is not None:
            times = map(seconds_as_text, (row.ours, row.peer, max(0.0, row.ours - row.peer)))
            lines.append(f"| {row.name} | {' | '.join(times)} |")
    lines += [f"\n{row.name}: {row.failed}" for row in rows if row.failed]
    return "\n".join(lines) + "\n"


def summary(rows: list[Restarted]) -> list[str]:
    """Count the lines of the table that are beyond two standard errors."""
    lines = [
        "| restarts by | lines | better by 2 standard errors | worse | neither |",
        "|---|---:|---:|---:|---:|",
    ]
    for detector in dict.fromkeys(row.detector for row in rows):
        pairs = [paired(row.restarted, row.plain) for row in rows if row.detector == detector]
        better = sum(mean < -2 * error for mean, error in pairs)
        worse = sum(mean > 2 * error for mean, error in pairs)
        lines.append(f"| {detector} | {len(pairs)} | {better} | {worse} | {len(pairs) - better - worse} |")
    return lines


def table(rows: list[Restarted]) -> list[str]:
    head = (
        "stream", "schedule", "restarts by", "without", "with", "difference", "better seeds", "restarts",
        "found", "to random ones", "whole: without, with",
    )  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|---|---|---|" + "---:|" * (len(head) - 3)]
    for row in rows:
        better = sum(a < b for a, b in zip(row.restarted, row.plain, strict=True))
        cells = [
            f"{row.stream}, {row.rows:,} rows",
            row.schedule,
            row.detector,
            f"{statistics.mean(row.plain):.4f}",
            f"{statistics.mean(row.restarted):.4f}",
            difference(row.restarted, row.plain),
            f"{better} of {len(row.plain)}",
            f"{statistics.mean(row.restarts):.1f}",
            f"{sum(row.found)} of {row.drifts * len(row.found)}" if row.drifts else "",
            difference(row.restarted, row.blindly),
            "{:.4f}, {:.4f}".format(*row.whole) if row.whole else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def others(rows: list[Beside]) -> list[str]:
    columns = list(dict.fromkeys(name for row in rows for name in row.losses))
    lines = [f"| stream | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    for row in rows:
        cells = [f"{statistics.mean(row.losses[name]):.4f}" for name in columns]
        lines.append(f"| {row.stream} | {' | '.join(cells)} |")
    return lines


def paired(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Return mean and standard error of the differences, seed by seed."""
    differences = [x - y for x, y in zip(a, b, strict=True)]
    return statistics.mean(differences), statistics.stdev(differences) / len(differences) ** 0.5


def difference(a: Sequence[float], b: Sequence[float]) -> str:
    mean, error = paired(a, b)
    return f"{mean:+.4f} ± {error:.4f}" if mean or error else "0"
