"""How well a rare class is found: class weights and ReservoirSMOTE against river's samplers and C-SMOTE."""

from __future__ import annotations

import hashlib
import math
import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from compare import Effort, Row, equal
from data import as_dicts
from data import stream as file_of
from numba import njit
from numpy.typing import NDArray
from river import tree
from streams import real

from streamgd import imblearn, linear_model, optim
from streamgd.evaluate import metrics
from streamgd.evaluate._predictions import Predictions
from suites.quality import standardised

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

SEEDS = 10
SHARES = (0.05, 0.01, 0.002)  # of the rare class
N_ROWS = {0.05: 20_000, 0.01: 20_000, 0.002: 50_000}
N_FRAUD = 50_000  # rows of a part
N_QUICK = 10_000
P = 10  # features of a generated stream

DAY = 86_400
HALF_LIVES = (1 * DAY, 7 * DAY, 30 * DAY)  # the page names them
REPORTED = 7 * DAY  # a fraud is known that much later


class Part(NamedTuple):
    """One seed's rows, scaled by what has been seen, and which of them are of the rare class."""

    Z: Floats
    y: Flags


class Family(NamedTuple):
    """A stream under each seed."""

    name: str
    part: Callable[[int], Part]


# -- streams ---------------------------------------------------------------------------------


def families(effort: Effort) -> Iterator[Family | str]:
    """Yield the streams, or the name of a file that is not there."""
    yield bank()
    yield from frauds()
    for name, make in GENERATED.items():
        for share in SHARES:
            n = N_ROWS[share] // 10 if effort.quick else N_ROWS[share]
            yield Family(
                f"{name}, {100 * share:g} %", lambda seed, make=make, n=n, share=share: make(n, share, seed)
            )


def bank() -> Family | str:
    """Return random halves of the rows, in order: the whole stream's drift, at half its pace."""
    found = next(stream for stream in real(quick=True) if "bank_marketing" in getattr(stream, "name", stream))
    if isinstance(found, str):
        return found

    def half(seed: int) -> Part:
        rows = np.sort(np.random.default_rng(seed).permutation(len(found.y))[::2])
        return Part(standardised(found.X[rows]), found.y[rows] > 0)

    return Family("bank_marketing", half)


def frauds() -> Iterator[Family | str]:
    """Yield ten parts without common rows, a tenth of the stream from one to the next."""
    path = file_of("fraud_handbook.parquet")
    if path is None:
        yield "fraud_handbook"
        return
    import pandas as pd

    table = pd.read_parquet(path)
    y = table.pop("target").to_numpy() > 0
    time, customer, terminal, amount = (table[name].to_numpy(np.float64) for name in table)
    hour, weekday = time % DAY / 3600, time // DAY % 7
    customers, terminals = customer.astype(np.int64), terminal.astype(np.int64)
    columns = [amount, hour, weekday]
    for half_life in HALF_LIVES:
        columns += decayed(time, customers, amount, 0, half_life)
        columns += decayed(time, terminals, y.astype(float), REPORTED, half_life)
    for name, X in {
        "fraud_handbook": table.to_numpy(np.float64),
        "fraud_handbook, history": np.column_stack(columns),
    }.items():

        def part(seed: int, X: Floats = X) -> Part:
            start = seed * (len(y) // SEEDS)
            rows = slice(start, start + N_FRAUD)
            return Part(standardised(X[rows]), y[rows])

        yield Family(name, part)


@njit
def decayed(
    time: Floats, key: NDArray[np.int64], value: Floats, delay: float, half_life: float
) -> tuple[Floats, Floats]:
    """Return how many earlier rows have a row's key, and their mean value, shrunk to 0 by a row of 0.

    A row is known ``delay`` seconds later, and counts half after each ``half_life``.
    """
    last, count, total = np.zeros(key.max() + 1), np.zeros(key.max() + 1), np.zeros(key.max() + 1)
    counts, means = np.empty(len(key)), np.empty(len(key))
    known = 0
    for i in range(len(key)):
        while known < i and time[known] <= time[i] - delay:
            k = key[known]
            keep = 0.5 ** ((time[known] - last[k]) / half_life)
            count[k] = count[k] * keep + 1.0
            total[k] = total[k] * keep + value[known]
            last[k] = time[known]
            known += 1
        k = key[i]
        keep = 0.5 ** ((time[i] - last[k]) / half_life)
        counts[i] = count[k] * keep
        means[i] = total[k] * keep / (counts[i] + 1.0)
    return counts, means


def abrupt(n: int, share: float, seed: int) -> Part:
    """Two Gaussians; where the rare one lies is drawn anew after each third of the rows."""
    rng = np.random.default_rng(seed)
    y = rng.random(n) < share
    centres = rng.standard_normal((3, P))
    centres *= 2.0 / np.linalg.norm(centres, axis=1)[:, None]
    X = rng.standard_normal((n, P)) + y[:, None] * centres[np.arange(n) * 3 // n]
    return Part(standardised(X), y)


def turning(n: int, share: float, seed: int) -> Part:
    """Two Gaussians; the rare one goes half round the other, and its share falls from double to half."""
    rng = np.random.default_rng(seed)
    when = np.arange(n) / n
    y = rng.random(n) < share * 2.0 ** (1.0 - 2.0 * when)
    plane = np.linalg.qr(rng.standard_normal((P, 2)))[0]
    centres = 2.0 * np.column_stack([np.cos(np.pi * when), np.sin(np.pi * when)]) @ plane.T
    return Part(standardised(rng.standard_normal((n, P)) + y[:, None] * centres), y)


def clusters(n: int, share: float, seed: int) -> Part:
    """Four rare sub-concepts that move among four common ones; half-way a new one replaces the largest."""
    rng = np.random.default_rng(seed)
    when = np.arange(n) / n
    y = rng.random(n) < share
    common, rare = rng.standard_normal((4, P)), rng.standard_normal((5, P))
    rare *= 2.0 / np.linalg.norm(rare, axis=1)[:, None]
    paths = 0.5 * rng.standard_normal((5, P))
    which = rng.choice(4, size=n, p=(0.4, 0.3, 0.2, 0.1))
    which[(which == 0) & (when >= 0.5)] = 4
    moved = rare[which] + when[:, None] * paths[which] + 0.5 * rng.standard_normal((n, P))
    X = common[rng.integers(4, size=n)] + rng.standard_normal((n, P))
    return Part(standardised(np.where(y[:, None], moved, X)), y)


GENERATED: dict[str, Callable[[int, float, int], Part]] = {
    "abrupt": abrupt,
    "turning": turning,
    "clusters": clusters,
}


# -- answers: log-odds of the rare class, before each row is learned ---------------------------

LEARNERS = ("SGD(0.01)", "auto", "Hoeffding tree")
TREE = LEARNERS[-1]


def learner(name: str) -> Any:
    if name == TREE:
        return tree.HoeffdingTreeClassifier()
    return linear_model.LogisticRegression(
        optim.SGD(0.01) if name == LEARNERS[0] else name, labels=(False, True)
    )


def answers(model: Any, part: Part) -> Floats:
    """Predict and learn each row in turn, in one pass if the model has it."""
    if hasattr(model, "predict_learn_rows"):
        return np.asarray(model.predict_learn_rows(part.Z, part.y))
    p = []
    for x, y in zip(as_dicts(part.Z), part.y.tolist(), strict=True):
        p.append(model.predict_proba_one(x).get(True, 0.0))
        model.learn_one(x, y)
    return log_odds(np.array(p))


def log_odds(p: Floats) -> Floats:
    p = np.clip(p, 1e-15, 1.0 - 1e-15)
    return np.asarray(np.log(p) - np.log1p(-p))


SETTINGS: dict[str, Any] = {
    "reservoir": "window",
    "capacity": 15,
    "k_neighbors": 10,
    "sampling_strategy": 0.1,
}


def smote(kind: str, **options: Any) -> Callable[[Any, int], Any]:
    return lambda model, seed: imblearn.ReservoirSMOTE(model, kind, seed=seed, **SETTINGS | options)


def river_sampler(kind: str) -> Callable[[Any, int], Any]:
    return lambda model, seed: Repeated(model, kind, seed)


class Repeated:
    """River's sampler in one pass: how often it lets a row be learned does not depend on the learner."""

    def __init__(self, model: Any, kind: str, seed: int) -> None:
        self.model, self.kind, self.seed = model, kind, seed

    def predict_learn_rows(self, X: Floats, y: Flags) -> Floats:
        times = copies(self.kind, y, self.seed)
        # a row that weighs 0 is predicted and not learned
        each = np.maximum(times, 1)
        rows = np.repeat(np.arange(len(times)), each)
        first = np.cumsum(each) - each
        z = self.model.predict_learn_rows(X[rows], y[rows], (times[rows] > 0).astype(float))
        return np.asarray(z)[first]


class Counter:
    """A classifier that counts what it is to learn."""

    times = 0

    def learn_one(self, x: Any, y: Any) -> None:
        self.times += 1


def copies(kind: str, y: Flags, seed: int) -> NDArray[np.int64]:
    from river import imblearn as river_imblearn

    counter, found = Counter(), []
    sampler = getattr(river_imblearn, kind)(counter, {False: 0.5, True: 0.5}, seed=seed)
    for label in y.tolist():
        counter.times = 0
        sampler.learn_one({}, label)
        found.append(counter.times)
    return np.array(found)


def check_river(part: Part, n: int) -> str:
    """Compare with river's sampler round the same learner, row by row."""
    from river import imblearn as river_imblearn

    part = Part(part.Z[:n], part.y[:n])
    for kind in RIVER:
        peer = getattr(river_imblearn, kind)(learner("auto"), {False: 0.5, True: 0.5}, seed=0)
        equal(answers(Repeated(learner("auto"), kind, 0), part), answers(peer, part), kind, 1e-9)
    return f"river's samplers row by row, first {n:,} rows"


RIVER = ("RandomUnderSampler", "RandomOverSampler", "RandomSampler")
CSMOTE = {LEARNERS[0]: "functions.SGD -o 1 -r 0.01 -l 0", TREE: "trees.HoeffdingTree"}  # of MOA
DEFAULT = "SMOTE"
METHODS: dict[str, Callable[[Any, int], Any]] = {
    "nothing": lambda model, seed: model,
    "weights": lambda model, seed: imblearn.OnlineClassWeight(model),
    "weights, cap 10": lambda model, seed: imblearn.OnlineClassWeight(model, cap=10.0),
    "replay": smote("replay"),
    DEFAULT: smote("regular"),
    "SMOTE, k=5": smote("regular", k_neighbors=5),
    "SMOTE, ratio 1": smote("regular", sampling_strategy=1.0),
    "SMOTE, ratio 1, biased 500": smote("regular", sampling_strategy=1.0, reservoir="biased", capacity=500),
    "borderline 1": smote("borderline1"),
    "borderline 2": smote("borderline2"),
    "ADASYN": smote("adasyn"),
    **{f"river {kind}": river_sampler(kind) for kind in RIVER},
}
OF_TREES = ("nothing", "weights", DEFAULT)  # river's tree takes its time


def csmote(parts: Sequence[Part], command: str, seconds: float) -> list[Floats] | str:
    """Return C-SMOTE's log-odds of each part, or why there are none.

    It runs in an environment of its own, the Python that STREAMGD_CAPYMOA names. What it has answered is
    kept among temporary files, as it takes hours; 0.5 stands for no answer.
    """
    python = os.environ.get("STREAMGD_CAPYMOA")
    found = []
    for part in parts:
        key = hashlib.sha256(part.Z.tobytes() + part.y.tobytes() + command.encode()).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / "streamgd-csmote" / key
        if not (folder / "part.npy").exists():
            if not python:
                return "not run: set STREAMGD_CAPYMOA to a Python that has capymoa"
            folder.mkdir(parents=True, exist_ok=True)
            np.savez(folder / "part.npz", Z=part.Z, y=part.y)
            script = Path(__file__).parents[1] / "csmote.py"
            run = [python, str(script), str(folder), command, str(seconds)]
            subprocess.run(run, check=True, capture_output=True)
        p = np.load(folder / "part.npy")
        if len(p) < len(part.y):
            return f"{len(p):,} of {len(part.y):,} rows in {seconds:.0f} s"
        found.append(log_odds(np.nan_to_num(p, nan=0.5)))
    return found


# -- measures --------------------------------------------------------------------------------


class Measure(NamedTuple):
    title: str
    digits: int
    bigger_is_better: bool = True


MEASURES = {
    "prauc": Measure("PR AUC", 4),
    "gmean": Measure("G-mean", 3),
    "balanced": Measure("Balanced accuracy", 3),
    "logloss": Measure("Log loss as predicted", 4, False),
    "recalibrated": Measure("Log loss after recalibration", 4, False),
    "gmean at the share": Measure("G-mean after recalibration, decided at the class's share", 3),
}


def measured(z: Floats, y: Flags) -> dict[str, float]:
    from sklearn.metrics import average_precision_score

    calibrated = recalibrated(z, y)
    shares = (np.cumsum(y) - y + 1.0) / (np.arange(len(y)) + 2.0)
    at_share = calibrated - np.log(shares) + np.log1p(-shares)
    return {
        # by sorting: ours counts in bins, and differences of methods are small
        "prauc": float(average_precision_score(y, z)),
        "gmean": value(metrics.GeometricMean(), z, y),
        "balanced": value(metrics.BalancedAccuracy(), z, y),
        "logloss": value(metrics.LogLoss(), z, y),
        "recalibrated": value(metrics.LogLoss(), calibrated, y),
        "gmean at the share": value(metrics.GeometricMean(), at_share, y),
    }


def value(metric: metrics.Metric, z: Floats, y: Flags) -> float:
    with np.errstate(over="ignore"):
        p = 1.0 / (1.0 + np.exp(-z))
    metric.update_many(Predictions(y.astype(np.int64), p, (False, True), z, y))
    return metric.get()


def recalibrated(z: Floats, y: Flags) -> Floats:
    """Return the log-odds that `OnlineCalibration` makes of log-odds, each before its row is learned."""
    p = imblearn.OnlineCalibration(Answered(z)).predict_proba_learn_rows(z[:, None], y)[:, 1]
    return np.asarray(np.log(p) - np.log1p(-p))


class Answered:
    """A classifier whose log-odds are known beforehand."""

    loss = optim.losses.Log()

    def __init__(self, z: Floats) -> None:
        self.z = z

    def predict_proba_one(self, x: Any) -> dict[bool, float]:
        return {False: 0.5, True: 0.5}

    def predict_learn_rows(self, X: Any, y: Any, w: Any = None, *, columns: Any = None) -> Floats:
        return self.z


def check_measures(z: Floats, y: Flags) -> str:
    from sklearn.metrics import average_precision_score, balanced_accuracy_score, log_loss

    z = np.clip(z, -20.0, 20.0)  # nearer to 1, probabilities have few digits
    recalls = [np.mean(z[y] > 0), np.mean(z[~y] <= 0)]
    balanced = balanced_accuracy_score(y, z > 0)
    expected = [balanced, log_loss(y, 1.0 / (1.0 + np.exp(-z))), math.sqrt(np.prod(recalls))]
    found = measured(z, y)
    exact = ("balanced", "logloss", "gmean")
    same = equal([found[name] for name in exact], expected, "measures to scikit-learn's,", 1e-9)
    off = value(metrics.PRAUC(), z, y) - average_precision_score(y, z)
    return f"{same}; PR AUC in bins off by {off:.0e}"


# -- rows ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scores(Row):
    """A method on a stream: what was measured, seed by seed."""

    stream: str = ""
    learner: str = ""
    method: str = ""
    values: dict[str, list[float]] = field(default_factory=dict)


LIMIT = 300.0  # seconds of processor time for C-SMOTE on a part


def cases(effort: Effort) -> Iterator[Row]:
    seeds = range(2 if effort.quick else SEEDS)
    for family in families(effort):
        if isinstance(family, str):
            yield Row(family, "", failed="not found: set STREAMGD_DATA to the streams' folder")
            continue
        parts = [family.part(seed) for seed in seeds]
        if effort.quick:
            parts = [Part(part.Z[:N_QUICK], part.y[:N_QUICK]) for part in parts]
        checked = check_river(parts[0], effort.checked // 5)
        for name in LEARNERS:
            for method in OF_TREES if name == TREE else METHODS:
                models = [METHODS[method](learner(name), seed) for seed in seeds]
                found = [answers(model, part) for model, part in zip(models, parts, strict=True)]
                yield scores(family.name, name, method, parts, found, checked)
        if not effort.quick:
            for name, command in CSMOTE.items():
                yield scores(family.name, name, "C-SMOTE", parts, csmote(parts, command, LIMIT))


def scores(
    stream: str, name: str, method: str, parts: Sequence[Part], found: list[Floats] | str, checked: str = ""
) -> Scores:
    title = f"{stream}, {name}, {method}"
    who = {"stream": stream, "learner": name, "method": method}
    if isinstance(found, str):
        return Scores(title, "", figures={"no answers": found}, **who)
    by_seed = [measured(z, part.y) for z, part in zip(found, parts, strict=True)]
    values = {measure: [round(one[measure], 6) for one in by_seed] for measure in MEASURES}
    means = {MEASURES[m].title: f"{statistics.mean(values[m]):.4f}" for m in ("prauc", "gmean")}
    checks = [checked, check_measures(found[0], parts[0].y)]
    return Scores(title, "", checked="; ".join(filter(None, checks)), figures=means, values=values, **who)


# -- the page --------------------------------------------------------------------------------


def said(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name}={value!r}`" for name, value in settings.items())


HEAD = f"""\
Each row is predicted, then learned. What to measure was fixed before anything ran: PR AUC first, G-mean
second, both over all rows. Rows are scaled by what has been seen, once for all methods, which share the
learner: logistic regression with `SGD(0.01)`, the same with `auto`, and for some river's Hoeffding tree.
C-SMOTE is CapyMOA's, round MOA's Hoeffding tree, its default, and round MOA's logistic SGD. River's
samplers are to make both classes equal. `{DEFAULT}` is `ReservoirSMOTE` with
{said(SETTINGS)}; other kinds differ in
the kind only. That a short memory and few synthetic rows do well was seen first on these very streams; the
numbers were then set on other seeds, of `fraud_handbook` on other rows, of `bank_marketing` on other
halves, which share rows with these.

There are {SEEDS} seeds of each stream. Of `bank_marketing` a seed is a random half of the rows, in order,
so that each sees the whole drift; halves overlap, so that their standard error is too small, and a
difference beyond it says little. Of `fraud_handbook` it is {N_FRAUD:,} rows, which no two seeds share; once
with the columns of the file, once with sums of what was known by then of the customer (amounts) and of
the terminal (frauds, {REPORTED // DAY} days late), which fade with half-lives of 1, 7 and 30 days. Generated
streams are drawn anew for each seed: {P} features, and a share of the rare class.

- `abrupt`: {abrupt.__doc__}
- `turning`: {turning.__doc__}
- `clusters`: {clusters.__doc__}

Cells are means over seeds, with the standard error. **Bold** is the best of a row, and what is within one
standard error of it: that of the paired differences over the seeds.
"""


def page(machine: str, rows: Iterable[Row]) -> str:
    """Write a summary, and a table for each measure and learner."""
    rows = list(rows)
    kept = [row for row in rows if isinstance(row, Scores)]
    by_learner = {name: of_learner(kept, name) for name in LEARNERS}
    lines = ["# imbalance", "", machine, "", "`python benchmarks/run.py --suite imbalance`.", "", HEAD]
    lines += ["## In short", "", SHORT, ""]
    for name, streams in by_learner.items():
        lines += [*summary(streams, name), ""]
    for measure, what in MEASURES.items():
        for name, streams in by_learner.items():
            lines += [f"## {what.title}, {name}", "", *table(streams, measure), ""]
    without = [
        (row.name, row.failed or row.figures["no answers"])
        for row in rows
        if not getattr(row, "values", None)
    ]
    if without:
        lines += ["## Without results", "", *(f"- {name}: {why}" for name, why in without)]
    return "\n".join(lines).rstrip() + "\n"


SHORT = """\
On how many streams a method is the best or within one standard error of it; in brackets what it reaches
of the best one's value, the geometric mean over the streams."""


def of_learner(rows: Iterable[Scores], name: str) -> dict[str, dict[str, Scores]]:
    """Return rows with answers, by stream and method."""
    found: dict[str, dict[str, Scores]] = {}
    for row in rows:
        if row.learner == name and row.values:
            found.setdefault(row.stream, {})[row.method] = row
    return found


def behind(rows: dict[str, Scores], method: str, measure: str) -> tuple[str, float, float]:
    """Return the best method, by how much another is worse, and the standard error of that."""
    sign = 1.0 if MEASURES[measure].bigger_is_better else -1.0
    having = {name: row.values[measure] for name, row in rows.items()}
    best = max(having, key=lambda name: sign * statistics.mean(having[name]))
    differences = [sign * (a - b) for a, b in zip(having[best], having[method], strict=True)]
    return best, statistics.mean(differences), error_of(differences)


def error_of(values: Sequence[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values))


def summary(streams: dict[str, dict[str, Scores]], name: str) -> list[str]:
    """Write how often each method is best, and what it reaches of the best."""
    shown = ("prauc", "gmean", "recalibrated", "gmean at the share")
    lines = [f"| {name} | " + " | ".join(MEASURES[measure].title for measure in shown) + " |"]
    lines.append("|---|" + "---:|" * len(shown))
    for method in methods_of(streams):
        rows = [found for found in streams.values() if method in found]
        cells = [f"**{method}**" if method == DEFAULT else method]
        for measure in shown:
            close, ratios = 0, []
            for found in rows:
                best, difference, error = behind(found, method, measure)
                close += difference <= error
                means = [statistics.mean(found[one].values[measure]) for one in (method, best)]
                ratio = means[0] / means[1]
                ratios.append(ratio if MEASURES[measure].bigger_is_better else 1.0 / ratio)
            reached = f"{statistics.geometric_mean(ratios):.3f}" if all(ratios) else "0"
            cells.append(f"{close} of {len(rows)} ({reached})")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def methods_of(streams: dict[str, dict[str, Scores]]) -> list[str]:
    return list(dict.fromkeys(method for found in streams.values() for method in found))


def table(streams: dict[str, dict[str, Scores]], measure: str) -> list[str]:
    methods = methods_of(streams)
    lines = ["| | " + " | ".join(methods) + " |", "|---|" + "---:|" * len(methods)]
    for stream, found in streams.items():
        cells = [stream]
        for method in methods:
            row = found.get(method)
            if row is None:
                cells.append("")
                continue
            values, digits = row.values[measure], MEASURES[measure].digits
            text = f"{statistics.mean(values):.{digits}f} ({error_of(values):.{digits}f})"
            _, difference, error = behind(found, method, measure)
            cells.append(f"**{text}**" if difference <= error else text)
        lines.append("| " + " | ".join(cells) + " |")
    return lines
