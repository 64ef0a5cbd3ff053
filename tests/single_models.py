"""Learners of all pieces, and data in which float32 loses little: for tests of single precision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamgd import linear_model, optim
from streamgd.kernels.pieces import INTERCEPT
from streamgd.optim import losses, penalties
from streamgd.optim.base import Loss, Optimizer

LOGISTIC, LINEAR = linear_model.LogisticRegression, linear_model.LinearRegression
SOFTMAX = linear_model.SoftmaxRegression
BATCH = 256
CLOSE = 2e-6  # of the largest entry of an array, after one step


def every(family: type) -> Iterator[Any]:
    for cls in family.__subclasses__():
        if cls.__module__.startswith("streamgd."):
            yield cls
        yield from every(cls)


LOSSES = [cls() for cls in every(Loss)]
WITHOUT_RATE = {optim.AdaDelta, optim.FTRLProximal, optim.COCOB}
RATES = {optim.SGD: 0.1, optim.Newton: 0.3, optim.DoG: 1.0, optim.ScheduleFreeSGD: 0.2}
OPTIMIZERS = [
    cls() if cls in WITHOUT_RATE else cls(lr=RATES.get(cls, 0.02))
    for cls in every(Optimizer)
    if not cls.per_sample
]
PENALTIES = [
    penalties.L2(0.05),
    penalties.ElasticNet(0.01, 0.02),
    penalties.Proximal(0.01, 0.05),
    penalties.TruncatedGradient(0.01, every=3, theta=2.0),
]


def learner(loss: Loss, optimizer: Any = None, **more: Any) -> Any:
    cls = LOGISTIC if loss.binary else LINEAR
    return cls(optim.SGD(0.1) if optimizer is None else optimizer, loss=loss, **more)


@dataclass(frozen=True)
class Cubed(Loss):
    """A user's loss, with numbers of float64 in it and in what it calls."""

    scale: float = 0.3

    def value(self, y: float, p: float) -> float:
        return self.scale * abs(p - y) ** 3 / 3.0 + 1e-3 * (p - y) ** 2

    def gradient(self, y: float, p: float) -> float:
        return self.scale * (p - y) * abs(p - y) + 2e-3 * (p - y)


LOG = losses.Log()
OF_COORDINATES = [rule for rule in OPTIMIZERS if rule.kernel == "coordinate"]
ADAM = optim.Adam(0.02)
MODELS = {
    **{f"{type(loss).__name__}": learner(loss) for loss in [*LOSSES, Cubed()]},
    **{f"{type(rule).__name__} of Log": learner(LOG, rule) for rule in OPTIMIZERS},
    **{type(penalty).__name__: learner(LOG, penalty=penalty) for penalty in PENALTIES},
    **{f"Adam, {type(penalty).__name__}": learner(LOG, ADAM, penalty=penalty) for penalty in PENALTIES[1:3]},
    "averaged": learner(LOG, optim.Averager(optim.SGD(0.1))),
    "averaged Adam": learner(LOG, optim.Averager(ADAM, start=5, gamma=2.0)),
    "intercept by Adam": learner(LOG, ADAM, intercept_lr="optimizer"),
    "intercept by ScheduleFreeSGD": learner(LOG, optim.ScheduleFreeSGD(0.2), intercept_lr="optimizer"),
    "fresh Adam": learner(LOG, ADAM, late="fresh", l1=0.01),
    "clipped": learner(LOG, optim.Momentum(0.1), clip_gradient=0.3),
    "a clip that float32 has not": learner(LOG, clip_gradient=1e300),
    "class weight": learner(LOG, ADAM, class_weight="balanced"),
    "softmax": SOFTMAX(optim.SGD(0.1)),
    "softmax, weighted": SOFTMAX(ADAM, class_weight="balanced", intercept_lr=0.05),
    "softmax, ahead": SOFTMAX(optim.ScheduleFreeAdamW(0.02)),
    "softmax, lazy": SOFTMAX(ADAM, penalty=penalties.Proximal(0.01, 0.05), intercept_lr="optimizer"),
}

# The others come in the same ways, each with kernels of its own to compile: tests that compare with float64
# have them if they are asked for the slow ones.
COVERING = {
    "Log", "Huber", "Poisson", "BinaryFocalLoss", "Cubed", "Adam of Log", "AdaGrad of Log",
    "Momentum of Log", "FTRLProximal of Log", "DoG of Log", "NesterovMomentum of Log",
    "ScheduleFreeAdamW of Log", "Newton of Log", "ElasticNet", "TruncatedGradient", "Adam, Proximal",
    "averaged Adam", "intercept by ScheduleFreeSGD", "fresh Adam", "clipped",
    "a clip that float32 has not", "class weight", "softmax, weighted", "softmax, ahead",
}  # fmt: skip
EACH = [pytest.param(name, marks=[] if name in COVERING else pytest.mark.slow) for name in MODELS]

# -- data in which nothing cancels, and the twins that learn from it ---------------------------


def rows(n: int, p: int = 7, seed: int = 0) -> NDArray[np.float32]:
    """Positive values: gradients add up to many times what rounding leaves of them."""
    return np.random.default_rng(seed).uniform(0.2, 1.2, size=(n, p)).astype(np.float32)


def targets(model: Any, X: NDArray[Any], seed: int = 0) -> NDArray[Any]:
    """Targets that most rows lie to the same side of, so that derivatives do not cancel either."""
    rng = np.random.default_rng(seed + 1)
    if isinstance(model, SOFTMAX):
        return rng.choice(["a", "b", "c"], size=len(X), p=[0.8, 0.15, 0.05])
    if isinstance(model, LOGISTIC):
        return rng.random(len(X)) < 0.9
    y: NDArray[Any] = np.abs(rng.normal(5.0, 1.0, size=len(X))).astype(np.float32).astype(np.float64)
    return y


def off_jumps(model: Any, X: NDArray[Any], y: NDArray[Any]) -> NDArray[np.intp]:
    """Rows whose derivative is the same a little to both sides of the output."""
    if isinstance(model, SOFTMAX):
        return np.arange(len(X))
    z = model._raw_rows(X, None)[1]
    slope = [
        [model.loss.gradient(float(t), p + shift) for t, p in zip(y, z.tolist(), strict=True)]
        for shift in (-1e-4, 1e-4)
    ]
    return np.flatnonzero(np.abs(np.diff(slope, axis=0)[0]) < 0.05)


def begun(model: Any, n: int, seed: int = 0) -> tuple[Any, NDArray[np.float32], NDArray[Any]]:
    """Return a model some steps in float32 on its way, and rows for one more.

    So many that one more changes a mean of squares but a little: of the new square it gets 1 - 0.999, which
    is 1.3e-5 off in float32.
    """
    model = model.clone()
    gradient = model.accumulate("float32")
    for k in range(40):
        X = rows(BATCH, seed=100 + 10 * seed + k)
        gradient.add(X, targets(model, X, 100 + 10 * seed + k))
        gradient.step()
    X = rows(n, seed=seed)
    y = targets(model, X, seed)
    kept = off_jumps(model, X, y)
    assert len(kept) > 0.9 * n
    return model, X[kept], y[kept]


def state(model: Any) -> dict[str, NDArray[Any]]:
    """Arrays that a model has learned; slots one by one, classes together."""
    n = len(model._features)
    pieces = model._pieces
    arrays = {"weights": model._weights[:n], "scalars": model._scalars[..., INTERCEPT:]}
    if pieces.is_matrix:
        arrays["matrix"] = model._slots[:n, :n]
    else:
        arrays["charged"] = model._charged[:n]
        arrays |= {f"slot {k}": slot[:n] for k, slot in enumerate(model._slots)}
    return arrays


def assert_single(model: Any) -> None:
    """Check that all that a model has learned is float32, but for what it counts."""
    for name, array in state(model).items():
        np.testing.assert_array_equal(array, array.astype(np.float32), err_msg=name)


def distance(one: Any, other: Any) -> dict[str, float]:
    """Return the largest difference of each array, relative to its largest entry."""
    pairs = {name: (array, state(other)[name]) for name, array in state(one).items()}
    return {name: float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)) for name, (a, b) in pairs.items()}
