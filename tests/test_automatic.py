"""`Auto` and `Bank`: their formulas, what they do not see, what they forgive, and what they are worth."""

from __future__ import annotations

import copy
import math
import pickle
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest
import samples
from numpy.typing import NDArray
from oracles import FORMULA, record

import streamgd
from streamgd import linear_model, optim
from streamgd.kernels import lanes
from streamgd.kernels.pieces import OPTIMIZER
from streamgd.optim import losses

RATES = (0.2, 0.6, 2.0, 6.0, 20.0, 60.0)
RESIDUAL = (losses.Squared, losses.Huber, losses.Absolute, losses.Quantile)


class Plain:
    """Both rules in dicts and loops, one lane for auto; lanes have their own weights and intercepts."""

    def __init__(self, loss: Any, *, bank: bool, residual: bool, centre: bool = True) -> None:
        self.loss, self.residual, self.bank, self.centre = loss, residual, bank, centre
        self.etas = RATES if bank else (2.0,)
        self.w: list[dict[Any, float]] = [{} for _ in self.etas]
        self.b = [0.0 for _ in self.etas]
        self.total: dict[Any, float] = {}
        self.scale: dict[Any, float] = {}
        self.mean: dict[Any, float] = {}
        self.count: dict[Any, int] = {}
        self.total_b = 0.0
        self.share = [1 / len(self.etas)] * len(self.etas)
        self.t, self.n, self.sum_h = 0, 0.0, 0.0
        self.targets: list[float] = []
        self.covariance = self.variance = self.last = self.mean_loss = 0.0

    def outputs(self, x: dict[Any, float]) -> list[float]:
        outputs = []
        for w, b in zip(self.w, self.b, strict=True):
            p = b
            for i, v in x.items():
                count = self.count.get(i, 0)
                c = self.mean[i] if count > 0 and count == self.t else 0.0
                z = v - c
                if abs(z) <= 1e-12 * (abs(v) + abs(c)):
                    z = 0.0
                s = self.scale.get(i, 0.0)
                z = min(max(z, -s), s)
                if count > 0 and count != self.t:
                    z -= self.mean[i]
                p += w.get(i, 0.0) * z
            if self.residual and self.t:
                p = min(max(p, min(self.targets)), max(self.targets))
            outputs.append(p)
        return outputs

    def mixed(self, outputs: list[float]) -> float:
        if self.bank and isinstance(self.loss, naive.Log):
            up = sum(s / (1 + math.exp(-p)) for s, p in zip(self.share, outputs, strict=True))
            down = sum(s / (1 + math.exp(p)) for s, p in zip(self.share, outputs, strict=True))
            return math.log(up / down)
        return sum(s * p for s, p in zip(self.share, outputs, strict=True))

    def learn(self, x: dict[Any, float], y: float, h: float = 1.0) -> float:
        outputs = self.outputs(x)
        z = self.mixed(outputs)
        if h == 0:
            return z
        if self.residual and self.t == 0 and self.centre:
            self.b = [y] * len(self.b)
            outputs = [y] * len(self.b)
        values = {i: self._enter(i, v) for i, v in x.items()}
        slopes = [self.loss.gradient(y, p) for p in outputs]
        slope = sum(s * g for s, g in zip(self.share, slopes, strict=True))
        squares = sum(s * g * g for s, g in zip(self.share, slopes, strict=True))
        boost = 1.0
        if self.bank:
            self._weigh(y, outputs)
        else:
            k = 1 / min(self.t + 1, 1000)
            self.covariance += (slope * self.last - self.covariance) * k
            self.variance += (slope**2 - self.variance) * k
            self.last = slope
            c = self.covariance / self.variance - math.sqrt(k) if self.variance else 0.0
            boost = 1 / (1 - min(max(c, 0.0), 0.9)) ** 3
        if self.residual:
            self.targets.append(y)
            boost *= float(np.std(self.targets))
        self.t += 1
        if squares < 1e-290 or boost == 0:
            return z
        self._step(values, outputs, y, h, squares, boost)
        return z

    def _enter(self, i: Any, v: float) -> float:
        s = self.scale.setdefault(i, 0.0)
        for w in self.w:
            w.setdefault(i, 0.0)
        limit = 2 * s if s > 0 else math.inf
        count, c = self.count.setdefault(i, 0), 0.0
        if count == self.t and self.centre:
            c = self.mean[i] if self.t else v
            self.count[i] += 1
            self.mean[i] = c + min(max(v - c, -limit), limit) / self.count[i]
        elif count > 0:
            for lane, w in enumerate(self.w):
                self.b[lane] -= w[i] * self.mean[i]
            self.count[i], self.mean[i] = -1, 0.0
        z = v - c
        if abs(z) <= 1e-12 * (abs(v) + abs(c)):
            z = 0.0
        z = min(max(z, -limit), limit)
        if abs(z) > s:
            for w in self.w:
                w[i] *= s / abs(z)
            self.scale[i] = abs(z)
        return z

    def _weigh(self, y: float, outputs: list[float]) -> None:
        costs = [self.loss.value(y, p) for p in outputs]
        pace = 1.0
        if not isinstance(self.loss, naive.Log | naive.Poisson):
            mixture = sum(s * p for s, p in zip(self.share, outputs, strict=True))
            if self.t:
                self.mean_loss += (self.loss.value(y, mixture) - self.mean_loss) / min(self.t, 1000)
            pace = 1 / (8 * self.mean_loss) if self.mean_loss else 0.0
        merits = [s * math.exp(pace * (min(costs) - c)) for s, c in zip(self.share, costs, strict=True)]
        self.share = [0.999 * m / sum(merits) + 0.001 / len(merits) for m in merits]

    def _step(
        self, values: dict[Any, float], outputs: list[float], y: float, h: float, squares: float, boost: float
    ) -> None:
        units, width, ppu = {}, 0.0, 0.0
        for i, z in values.items():
            if z != 0:
                self.total[i] = (1 - 1e-5) * self.total.get(i, 0.0) + h * squares * z**2
                units[i] = z / self.scale[i] / math.sqrt(self.total[i])
                width += (z / self.scale[i]) ** 2
                ppu += units[i] * z
        unit_b = 0.0
        if self.centre:
            self.total_b = (1 - 1e-5) * self.total_b + h * squares
            unit_b = 1 / math.sqrt(self.total_b)
            width += 1
            ppu += unit_b
        self.n += h * width
        self.sum_h += h
        narrow = math.sqrt(self.sum_h / self.n) if self.n else 0.0
        for lane, eta in enumerate(self.etas):
            u = self.loss.update(outputs[lane], y, eta * boost * h, ppu * narrow) * narrow
            self.b[lane] += u * unit_b
            for i, unit in units.items():
                self.w[lane][i] += u * unit


CASES = {
    "Log": (losses.Log(), naive.Log(), False),
    "Hinge": (losses.Hinge(), naive.Hinge(), False),
    "Squared": (losses.Squared(), naive.Squared(), True),
    "Huber": (losses.Huber(0.5), naive.Huber(0.5), True),
    "Poisson": (losses.Poisson(), naive.Poisson(), False),
}
LONG = {"Hinge", "Huber"}  # kernels of their own to compile, made in the same way
every_case = pytest.mark.parametrize(
    "loss", [pytest.param(loss, marks=[pytest.mark.slow] if loss in LONG else []) for loss in CASES]
)
every_kind = pytest.mark.parametrize("kind", ["auto", "bank"])


def pair(loss: str, kind: str, **more: Any) -> tuple[Any, Plain]:
    ours, plain, residual = CASES[loss]
    cls = linear_model.LogisticRegression if ours.binary else linear_model.LinearRegression
    centre = more.get("intercept_lr") != 0.0
    return cls(kind, ours, **more), Plain(plain, bank=kind == "bank", residual=residual, centre=centre)


def targets(loss: str, y: NDArray[Any]) -> NDArray[Any]:
    return np.floor(np.exp(np.clip(y, -3.0, 1.5))) if loss == "Poisson" else y


# -- the formulas ------------------------------------------------------------------------------


@every_case
@every_kind
def test_dense_rows_equal_the_formula(loss: str, kind: str) -> None:
    data = samples.dense(400, 6, binary=loss in ("Log", "Hinge"), seed=1)
    X = data.X * np.array([1.0, 100.0, 1.0, 0.01, 1.0, 1.0]) + np.array([0.0, 300.0, 5.0, 0.0, 0.0, -4.0])
    X[200, 2] *= 50.0  # a broken value
    X[:, 4] = 7.0  # constant
    y = targets(loss, data.y)
    model, plain = pair(loss, kind)
    rows = samples.Samples(X, y, data.w, data.names).dicts()
    expected = [plain.learn(x, float(t), h) for x, t, h in zip(rows, y, data.w, strict=True)]
    z = model.predict_learn_rows(X, y, data.w, columns=data.names)
    np.testing.assert_allclose(z, expected, rtol=1e-8, atol=1e-8)
    difference = float(np.max(np.abs(z - expected) / np.maximum(1.0, np.abs(expected))))
    record(kind.capitalize(), FORMULA, "", difference)
    x = rows[7]
    assert model.loss.mean(plain.mixed(plain.outputs(x))) == pytest.approx(
        model.predict_proba_one(x)[True] if loss in ("Log", "Hinge") else model.predict_one(x), rel=1e-7
    )


@every_case
@every_kind
@pytest.mark.parametrize("way", ["dicts", "rows"])
def test_features_that_are_absent_or_late_equal_the_formula(loss: str, kind: str, way: str) -> None:
    rows, _, ys, ws, _ = samples.sparse(400, 8, binary=loss in ("Log", "Hinge"), seed=2)
    ys = targets(loss, ys)
    rng = np.random.default_rng(2)
    for i, x in enumerate(rows):
        x["always"] = float(rng.normal(3.0))
        if i % 150 != 149:
            x["often"] = float(rng.normal(-20.0, 2.0))
    model, plain = pair(loss, kind)
    expected = [plain.learn(x, float(y), h) for x, y, h in zip(rows, ys, ws, strict=True)]
    if way == "dicts":
        z = []
        for x, y, h in zip(rows, ys.tolist(), ws.tolist(), strict=True):
            p = model.predict_proba_one(x)[True] if model.loss.binary else model.predict_one(x)
            z.append(p)
            model.learn_one(x, y, h)
        expected = [model.loss.mean(p) for p in expected]
    else:
        order = {name: k for k, name in enumerate(dict.fromkeys(name for x in rows for name in x))}
        matrix = samples.SparseRows(
            np.array([v for x in rows for v in x.values()]),
            np.array([order[name] for x in rows for name in x]),
            np.cumsum([0, *map(len, rows)]),
            len(order),
        )
        z = model.predict_learn_rows(matrix, ys, ws, columns=list(order)).tolist()
    np.testing.assert_allclose(z, expected, rtol=1e-8, atol=1e-8)


@every_kind
def test_a_fixed_intercept_centres_nothing(kind: str) -> None:
    data = samples.dense(200, 4, binary=False, seed=3)
    model, plain = pair("Squared", kind, intercept_lr=0.0)
    expected = [plain.learn(x, y) for x, y in zip(data.dicts(), data.y.tolist(), strict=True)]
    np.testing.assert_allclose(model.predict_learn_rows(data.X, data.y), expected, rtol=1e-9, atol=1e-9)
    assert model.intercept == 0.0


# -- what they do not see ----------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("loss", ["Log", "Squared"])
def test_units_of_features_and_targets_do_not_matter(loss: str, kind: str) -> None:
    data = samples.dense(400, 5, binary=loss == "Log", seed=4)
    scales = 2.0 ** np.array([0, 40, -35, 3, -10])
    z = pair(loss, kind)[0].predict_learn_rows(data.X, data.y)
    assert pair(loss, kind)[0].predict_learn_rows(data.X * scales, data.y).tolist() == z.tolist()
    shifted = pair(loss, kind)[0].predict_learn_rows(data.X + np.arange(5) * 10.0, data.y)
    np.testing.assert_allclose(shifted, z, rtol=1e-8, atol=1e-8)
    if loss == "Squared":
        scaled = pair(loss, kind)[0].predict_learn_rows(data.X, data.y * 2.0**20)
        assert scaled.tolist() == (z * 2.0**20).tolist()
        moved = pair(loss, kind)[0].predict_learn_rows(data.X, data.y + 1000.0)
        np.testing.assert_allclose(moved[1:], z[1:] + 1000.0, rtol=1e-9)


@every_kind
def test_one_broken_value_does_not_stop_a_feature(kind: str) -> None:
    data = samples.dense(4000, 3, binary=True, seed=5)
    X = data.X.copy()
    X[500, 2] = 1e9
    clean, broken = pair("Log", kind)[0], pair("Log", kind)[0]
    sign = np.where(data.y, 1.0, -1.0)
    after = slice(1000, None)
    best = np.logaddexp(0, -sign * clean.predict_learn_rows(data.X, data.y))[after].mean()
    got = np.logaddexp(0, -sign * broken.predict_learn_rows(X, data.y))[after].mean()
    assert got < 1.1 * best


@every_kind
@pytest.mark.parametrize("weight", [1.0, 1e9])
def test_no_step_goes_beyond_the_label(kind: str, weight: float) -> None:
    model = pair("Squared", kind, intercept_lr=0.0)[0]  # so that no mean moves in between
    for x, y in (({"a": 3.0}, 0.0), ({"a": 3.0}, 10.0), ({"a": 2.0}, 4.0)):
        model.learn_one(x, y)
    before = model.predict_one({"a": 2.5})
    model.learn_one({"a": 2.5}, 9.0, weight)
    assert before < model.predict_one({"a": 2.5}) <= 9.0 + 1e-12


# -- as pieces of a learner --------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("way", ["pickle", "deepcopy", "save", "clone"])
def test_copies_go_on_to_the_bit(kind: str, way: str, tmp_path: Path) -> None:
    rows, _, ys, _, _ = samples.sparse(200, 20, binary=True, seed=6)
    whole, first = pair("Log", kind)[0], pair("Log", kind)[0]
    for i, (x, y) in enumerate(zip(rows, ys.tolist(), strict=True)):
        whole.learn_one(x, y)
        if i < 90:
            first.learn_one(x, y)
    with pytest.raises(ValueError, match=r"x is nan|nan"):
        first.learn_one({"x0": math.nan}, True)  # what it left in scratch is not state
    if way == "pickle":
        second = pickle.loads(pickle.dumps(first))
    elif way == "deepcopy":
        second = copy.deepcopy(first)
    elif way == "save":
        streamgd.save(first, tmp_path / "model.safetensors")
        second = streamgd.load(tmp_path / "model.safetensors")
    else:
        second = first.clone(include_attributes=True)
    for x, y in zip(rows[90:], ys[90:].tolist(), strict=True):
        second.learn_one(x, y)
    assert second.weights == whole.weights
    assert second.intercept == whole.intercept


@every_kind
def test_weights_and_intercept_are_those_of_raw_values(kind: str) -> None:
    data = samples.dense(300, 4, binary=False, seed=7)
    X = data.X + 10.0
    model = pair("Squared", kind)[0]
    model.learn_rows(X, data.y)
    x = dict(enumerate(X[X.max(axis=1).argsort()[0]].tolist()))  # within what was seen, so nothing is bounded
    raw = sum(w * x[i] for i, w in model.weights.items()) + model.intercept
    assert model.predict_one(x) == pytest.approx(raw, rel=1e-9)
    model.intercept += 0.125
    assert model.predict_one(x) == pytest.approx(raw + 0.125, rel=1e-9)


def test_names_and_what_they_refuse() -> None:
    assert linear_model.LogisticRegression("auto").optimizer == optim.Auto()
    assert linear_model.LinearRegression(optimizer="bank").optimizer == optim.Bank()
    with pytest.raises(TypeError, match="'car' is not an optimizer"):
        linear_model.LinearRegression("car")
    with pytest.raises(ValueError, match="Auto takes no l1 or l2 penalty"):
        linear_model.LinearRegression("auto", l2=0.1)
    with pytest.raises(ValueError, match="Bank starts from weights of 0"):
        linear_model.LinearRegression("bank", initializer=optim.initializers.Constant(1.0))
    with pytest.raises(ValueError, match="Auto is defined sample by sample: call learn_rows"):
        linear_model.LinearRegression("auto").learn_many(np.ones((2, 1)), [1.0, 2.0])
    with pytest.raises(ValueError, match="horizon must be above 1"):
        optim.Auto(horizon=0.5)
    with pytest.raises(ValueError, match=r"share must be in \(0, 1\)"):
        optim.Bank(share=0.0)


def test_the_rate_may_be_a_schedule() -> None:
    data = samples.dense(200, 3, binary=True, seed=8)
    rate = optim.schedulers.InverseScaling(2.0, 0.3)
    scheduled = linear_model.LogisticRegression(optim.Auto(rate))
    by_hand = linear_model.LogisticRegression("auto")
    z = scheduled.predict_learn_rows(data.X, data.y)
    for i in range(200):
        by_hand.optimizer = {"lr": rate.get(i)}
        assert by_hand.predict_learn_rows(data.X[i : i + 1], data.y[i : i + 1])[0] == pytest.approx(
            z[i], rel=1e-12, abs=1e-15
        )


# -- what they are worth -----------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("binary", [True, False])
def test_untuned_they_are_near_the_best_tuned_rate_behind_a_scaler(kind: str, binary: bool) -> None:
    """On columns of very different size and offset, against SGD at 15 rates in hindsight."""
    rng = np.random.default_rng(9)
    n, p = 4000, 8
    X = rng.normal(size=(n, p))
    z = X @ rng.normal(size=p)
    y: NDArray[Any] = z > rng.logistic(size=n) if binary else 50.0 * (z + rng.normal(size=n)) + 300.0
    raw = X * np.geomspace(1e-3, 1e3, p) + np.geomspace(1e-3, 1e3, p) * rng.normal(size=p) * 3
    mean = np.cumsum(raw, axis=0) / np.arange(1, n + 1)[:, None]
    deviation = np.sqrt(np.cumsum(raw**2, axis=0) / np.arange(1, n + 1)[:, None] - mean**2)
    scaled = np.where(deviation > 0, (raw - mean) / np.where(deviation > 0, deviation, 1), 0)
    cls = linear_model.LogisticRegression if binary else linear_model.LinearRegression

    def progressive(optimizer: Any, X: NDArray[np.float64], **more: Any) -> float:
        out = cls(optimizer, **more).predict_learn_rows(X, y)
        if binary:
            return float(np.logaddexp(0, np.where(y, -out, out)).mean())
        return float(((out - y) ** 2).mean())

    rivals = []
    for rate in np.geomspace(1e-5, 1e1, 15):
        try:
            rivals.append(progressive(optim.SGD(float(rate)), scaled, intercept_lr=float(rate)))
        except ValueError:
            continue  # diverged
    assert len(rivals) >= 8
    assert progressive(kind, raw) < 1.1 * min(rivals)


@pytest.mark.parametrize("cls", [optim.Auto, optim.Bank])
def test_state_is_as_large_as_the_kernels_layout(cls: Any) -> None:
    assert cls.n_slots == lanes.WEIGHTS + cls.n_lanes - 1
    assert cls.n_scalars == lanes.LANES - OPTIMIZER + (lanes.MERITS + 1) * cls.n_lanes
