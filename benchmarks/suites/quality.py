"""How well models learn without tuning: progressive loss of ``auto`` and ``bank`` against tuned peers.

Each peer runs at its default and at the best of 15 rates, chosen in hindsight for each stream.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from compare import Effort, Row, equal
from data import as_dicts
from numpy.typing import NDArray
from streams import LOG, Stream, streams

from streamgd import linear_model, optim

Floats = NDArray[np.float64]

GRID = tuple(10.0 ** (k / 2) for k in range(-10, 5))
UNTUNED = ("auto", "bank")
AIMS = {"auto": (1.10, 1.5), "bank": (1.05, 1.25)}
SKLEARN_ALPHA = 1e-4  # its default
DIVERGED = 1e6  # times the loss of the best
N_CHECKED = 50_000  # numbers in the dicts that peers are compared with


@dataclass(frozen=True)
class Losses(Row):
    """One stream: the mean loss of predictions made before learning, over the whole stream."""

    rows: int = 0
    features: int = 0
    loss: str = ""
    limitless: bool = False
    untuned: Mapping[str, float] = field(default_factory=dict)
    default: Mapping[str, float | None] = field(default_factory=dict)  # None: it diverged
    tuned: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # loss, and the rate it took

    @property
    def best(self) -> str:
        """The peer with the least loss at its best rate."""
        return min(self.tuned, key=lambda peer: self.tuned[peer][0])

    def against_best(self, loss: float | None) -> float:
        """Compare a loss with that of the best peer."""
        return math.inf if loss is None else loss / self.tuned[self.best][0]


class Peer(NamedTuple):
    """A peer: the loss at a rate, at the default if that is None."""

    loss: Callable[[float | None], float]
    check: Callable[[], str] | None = None


def cases(effort: Effort) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        for stream in streams(quick=effort.quick):
            if isinstance(stream, str):
                missing = "not found: set STREAMGD_DATA to the streams' folder"
                yield Row(stream, "", failed=missing)
            else:
                yield compared(stream, effort, Path(folder))


def compared(stream: Stream, effort: Effort, folder: Path) -> Losses:
    untuned = {name: mean_loss(stream, outputs(name, stream, stream.rows)) for name in UNTUNED}
    default, tuned, checks = {}, {}, []
    for name, peer in peers(stream, effort, folder).items():
        if peer.check is not None:
            checks.append(peer.check())
        loss = peer.loss(None)
        default[name] = loss if math.isfinite(loss) else None
        tuned[name] = min((peer.loss(rate), rate) for rate in GRID)
    best = min(loss for loss, _ in tuned.values())
    return Losses(
        f"{stream.name}, {stream.loss} loss",
        unit="",
        checked="; ".join(checks),
        figures={name: f"{loss / best:.3f} times the best peer's loss" for name, loss in untuned.items()},
        rows=len(stream.y),
        features=stream.X.shape[1],
        loss=stream.loss,
        limitless=stream.limitless,
        untuned=untuned,
        default=default,
        tuned=tuned,
    )


def mean_loss(stream: Stream, outputs: Floats) -> float:
    """Return the mean loss of raw outputs, inf where they are no numbers."""
    if stream.loss == LOG:
        losses = np.logaddexp(0.0, np.where(stream.y > 0, -outputs, outputs))
    else:
        losses = (outputs - stream.y) ** 2
    mean = float(np.mean(losses))
    return mean if math.isfinite(mean) else math.inf


def learner(stream: Stream, optimizer: Any, **options: Any) -> Any:
    if stream.loss == LOG:
        return linear_model.LogisticRegression(optimizer, labels=(False, True), **options)
    return linear_model.LinearRegression(optimizer, **options)


def outputs(optimizer: Any, stream: Stream, rows: Any, y: Floats | None = None, **options: Any) -> Floats:
    """Predict and learn each row in turn; NaN for all when the weights leave the range of numbers."""
    targets = stream.y > 0 if stream.loss == LOG else stream.y if y is None else y
    try:
        return np.asarray(learner(stream, optimizer, **options).predict_learn_rows(rows, targets))
    except ValueError as error:
        if not hasattr(error, "row"):
            raise
        return np.full(len(stream.y), np.nan)


def peers(stream: Stream, effort: Effort, folder: Path) -> dict[str, Peer]:
    Z = standardised(stream.X)
    found = {f"river {name}": river_peer(stream, Z, name, effort) for name in ("SGD", "AdaGrad", "Adam")}
    if stream.loss != LOG:
        for name in ("SGD", "AdaGrad", "Adam"):
            found[f"river {name}, target scaled"] = scaled_target_peer(stream, Z, name, effort)
    found["scikit-learn SGD"] = sklearn_peer(stream, Z, effort)
    file = vw_file(stream, folder)
    found["Vowpal Wabbit"] = vw_peer(stream, file, "-l")
    found["Vowpal Wabbit --coin"] = vw_peer(stream, file, "--coin --ftrl_alpha")
    return found


def standardised(X: Floats) -> Floats:
    """Scale each row by the mean and the deviation up to and including it, as river's StandardScaler."""
    means, variances, Z = np.zeros(X.shape[1]), np.zeros(X.shape[1]), np.empty(X.shape)
    for t, x in enumerate(X):
        old = means
        means = old + (x - old) / (t + 1)
        variances = variances + ((x - old) * (x - means) - variances) / (t + 1)
        deviations = np.sqrt(variances)
        np.divide(x - means, deviations, out=Z[t], where=deviations > 0)
        Z[t, deviations <= 0] = 0.0
    return Z


def n_checked(stream: Stream, effort: Effort) -> int:
    return min(len(stream.y), effort.checked // 5, N_CHECKED // stream.X.shape[1])


def river_peer(stream: Stream, Z: Floats, name: str, effort: Effort) -> Peer:
    """Return river's pipeline of a scaler, which looks at a row before it is predicted, and a model.

    Its losses are those of our compiled learner on the scaled rows, after a look at whether both agree.
    """
    from river import compose, preprocessing
    from river import linear_model as river_models
    from river import optim as river_optim

    def check() -> str:
        n = n_checked(stream, effort)
        kind = "LogisticRegression" if stream.loss == LOG else "LinearRegression"
        optimizer = getattr(river_optim, name)(0.03)
        model = preprocessing.StandardScaler() | getattr(river_models, kind)(optimizer)
        expected = []
        with compose.learn_during_predict():
            for x, y in zip(as_dicts(stream.X[:n]), stream.y[:n].tolist(), strict=True):
                if stream.loss == LOG:
                    expected.append(model.predict_proba_one(x)[True])
                else:
                    expected.append(model.predict_one(x))
                model.learn_one(x, bool(y) if stream.loss == LOG else y)
        part = stream.first(n)
        found = outputs(getattr(optim, name)(0.03), part, Z[:n])
        if stream.loss == LOG:
            found = 1.0 / (1.0 + np.exp(-found))
        return equal(found, expected, f"river's {name}", 1e-6) + f" after {n:,} rows"

    optimizer = getattr(optim, name)
    return Peer(
        lambda rate: mean_loss(stream, outputs(optimizer() if rate is None else optimizer(rate), stream, Z)),
        check,
    )


def scaled_target_peer(stream: Stream, Z: Floats, name: str, effort: Effort) -> Peer:
    """Return the same within river's TargetStandardScaler, which scales the target by what it has seen."""
    from river import compose, preprocessing
    from river import linear_model as river_models
    from river import optim as river_optim

    means, deviations = means_and_deviations(stream.y)
    scaled = np.zeros(len(stream.y))
    np.divide(stream.y - means[1:], deviations[1:], out=scaled, where=deviations[1:] > 0)
    optimizer = getattr(optim, name)

    def unscaled(rate: float | None) -> Floats:
        rule = optimizer() if rate is None else optimizer(rate)
        return outputs(rule, stream, Z, scaled) * deviations[:-1] + means[:-1]

    def check() -> str:
        n = n_checked(stream, effort)
        model = preprocessing.StandardScaler() | preprocessing.TargetStandardScaler(
            river_models.LinearRegression(getattr(river_optim, name)(0.03))
        )
        expected = []
        with compose.learn_during_predict():
            for x, y in zip(as_dicts(stream.X[:n]), stream.y[:n].tolist(), strict=True):
                expected.append(model.predict_one(x))
                model.learn_one(x, y)
        return equal(unscaled(0.03)[:n], expected, "with a scaled target", 1e-6)

    return Peer(lambda rate: mean_loss(stream, unscaled(rate)), check)


def means_and_deviations(y: Floats) -> tuple[Floats, Floats]:
    """Return mean and deviation (n - 1) of the first 0, 1, ... n targets."""
    means, deviations = np.zeros(len(y) + 1), np.zeros(len(y) + 1)
    mean, squares = 0.0, 0.0
    for n, value in enumerate(y.tolist(), 1):
        old = mean
        mean += (value - old) / n
        squares += (value - old) * (value - mean)
        means[n], deviations[n] = mean, math.sqrt(squares / max(1, n - 1))
    return means, deviations


def sklearn_peer(stream: Stream, Z: Floats, effort: Effort) -> Peer:
    """Return scikit-learn's SGD learner on the same scaled rows, one at a time.

    Its rule compiled: a call of partial_fit a row takes 200 us. The rates of the grid are constant ones
    for the classifier, whose own schedule has none, and first ones of the regressor's schedule.
    """
    from sklearn.linear_model import SGDClassifier, SGDRegressor

    squares = 1.0 if stream.loss == LOG else 2.0  # its squared loss is half of ours

    def rule(rate: float | None) -> Any:
        schedulers = optim.schedulers
        if stream.loss == LOG:
            optimal = schedulers.Optimal(optim.losses.Log(), SKLEARN_ALPHA)
            return optimal if rate is None else schedulers.Constant(rate)
        return schedulers.InverseScaling((0.01 if rate is None else rate) / squares, 0.25)

    def found(rate: float | None) -> Floats:
        options = {"l2": SKLEARN_ALPHA * squares, "intercept_lr": "optimizer"}
        return outputs(optim.SGD(rule(rate)), stream, Z, **options)

    def check() -> str:
        n = min(n_checked(stream, effort), 300)
        expected: list[float] = []
        if stream.loss == LOG:
            model = SGDClassifier(loss="log_loss", alpha=SKLEARN_ALPHA)
            output, options = model.decision_function, {"classes": [0, 1]}
        else:
            model = SGDRegressor(alpha=SKLEARN_ALPHA)
            output, options = model.predict, {}
        for z, y in zip(Z[:n, None], stream.y[:n, None], strict=True):
            expected.append(float(output(z)[0]) if expected else 0.0)
            model.partial_fit(z, y, **options)
        return equal(found(None)[:n], expected, "scikit-learn's", 1e-6)

    return Peer(lambda rate: mean_loss(stream, found(rate)), check)


def vw_file(stream: Stream, folder: Path) -> Path:
    """Write a stream as Vowpal Wabbit reads it, with what is present only, and make its cache.

    Features are called by numbers, which it does not hash.
    """
    from vowpalwabbit import pyvw

    file = folder / "stream.vw"
    present = np.ones(stream.X.shape, dtype=bool) if stream.present is None else stream.present
    with file.open("w") as lines:
        for x, here, y in zip(stream.X, present, stream.y.tolist(), strict=True):
            label = (1 if y > 0 else -1) if stream.loss == LOG else y
            pairs = " ".join([f"{k}:{x[k]:.9g}" for k in np.flatnonzero(here)])
            lines.write(f"{label:.9g} | {pairs}\n")
    cache = file.with_suffix(".cache")
    pyvw.Workspace(f"-d {file} --cache_file {cache} --kill_cache --quiet").finish()
    return file


def vw_peer(stream: Stream, file: Path, option: str) -> Peer:
    """Return a learner of Vowpal Wabbit itself, on rows as they are, with the loss that it reports.

    It knows the range of targets up to the row it predicts, that row's own included.
    """
    from vowpalwabbit import pyvw

    kind = "logistic" if stream.loss == LOG else "squared"
    *flags, rate_option = option.split()
    base = f"--loss_function {kind} -d {file} --cache_file {file.with_suffix('.cache')} --quiet -b 18"

    def loss(rate: float | None) -> float:
        options = [base, *flags, *([] if rate is None else [f"{rate_option} {rate:.9g}"])]
        model = pyvw.Workspace(" ".join(options))
        total = model.get_sum_loss() / model.get_weighted_examples()
        model.finish()
        return total if math.isfinite(total) else math.inf

    return Peer(loss)


HEAD = """\
Mean loss of predictions that are made before the row is learned, over whole streams, divided by that of the
best tuned peer of the stream: 1 is as good as the best of {peers} peers at the best of 15 rates (10^-5 to
100, in half decades), chosen in hindsight for each stream. `auto` and `bank` are used as they are, without a
scaler. River and scikit-learn have river's StandardScaler in front, which sees a row before it is predicted;
of categories they get zeros for what is absent. Where targets are numbers, river also runs within its
TargetStandardScaler. Losses of river and scikit-learn are those of our compiled learners, after a check on
the stream's first rows that the predictions are theirs; Vowpal Wabbit runs itself. Means and worst cases
leave out streams where a peer diverges: a million times the best loss.
"""


def page(machine: str, rows: Iterable[Losses | Row]) -> str:
    """Write the whole result: summaries, then each stream."""
    every = [row for row in rows if isinstance(row, Losses)]
    lines = ["# quality", "", machine, "", "`python benchmarks/run.py --suite quality`. "]
    lines[-1] += HEAD.format(peers=len({name for row in every for name in row.tuned}))
    usual = [row for row in every if not row.limitless]
    lines += ["", *summary(usual), "", *table(usual)]
    limitless = [row for row in every if row.limitless]
    if limitless:
        lines += [
            "",
            "Where labels have no noise, or come in runs, the larger the rate the better. Losses are small "
            "there, and the grid ends at 100. These streams are not in the summary.",
            "",
            *table(limitless),
        ]
    failed = [row for row in rows if row.failed]
    lines += [f"\n{row.name}: {row.failed}" for row in failed]
    return "\n".join(lines) + "\n"


def summary(rows: list[Losses]) -> list[str]:
    """Write geometric mean and worst case of ours, and of each peer at its default and tuned."""
    lines = ["| | streams | geometric mean | worst | diverged | below all tuned peers | aim |"]
    lines.append("|---|---:|---:|---:|---:|---:|---|")
    groups = {"": rows}
    for loss in sorted({row.loss for row in rows}):
        groups[f", {loss} loss"] = [row for row in rows if row.loss == loss]
    for name in UNTUNED:
        for what, group in groups.items():
            ratios = [row.against_best(row.untuned[name]) for row in group]
            aim = "at most {} and {}".format(*AIMS[name]) if not what else ""
            lines.append(_summary(f"`{name}`{what}", ratios, f"{sum(r < 1 for r in ratios)}", aim))
    for peer in dict.fromkeys(name for row in rows for name in row.tuned):
        having = [row for row in rows if peer in row.tuned]
        lines.append(_summary(f"{peer}, default", [row.against_best(row.default[peer]) for row in having]))
        lines.append(_summary(f"{peer}, best rate", [row.against_best(row.tuned[peer][0]) for row in having]))
    return lines


def _summary(name: str, ratios: list[float], wins: str = "", aim: str = "") -> str:
    kept = [ratio for ratio in ratios if ratio < DIVERGED]
    mean = math.exp(sum(map(math.log, kept)) / len(kept))
    worst = _ratio(max(kept))
    return (
        f"| {name} | {len(ratios)} | {_ratio(mean)} | {worst} | {len(ratios) - len(kept)} | {wins} | {aim} |"
    )


def table(rows: list[Losses]) -> list[str]:
    lines = [
        "| stream | rows x features | loss | `auto` | `bank` | best default | best tuned peer | its loss |"
    ]
    lines.append("|---|---:|---|---:|---:|---|---|---:|")
    for row in rows:
        loss, rate = row.tuned[row.best]
        defaults = {peer: value for peer, value in row.default.items() if value is not None}
        default = min(defaults, key=lambda peer: defaults[peer])
        cells = [
            row.name.removesuffix(f", {row.loss} loss"),
            f"{row.rows:,} x {row.features}",
            row.loss,
            *(_ratio(row.against_best(row.untuned[name])) for name in UNTUNED),
            f"{_ratio(row.against_best(defaults[default]))} {default}",
            f"{row.best}, {rate:.2g}",
            f"{loss:.4g}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _ratio(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.2f}"
