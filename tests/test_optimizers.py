"""Optimizers in compiled learners: equal to the plain loops, to river, to PyTorch, to Vowpal Wabbit.

Random pairs of loss and optimizer are drawn with the seed in the environment's STREAMGD_SEED, 0 by default.
"""

from __future__ import annotations

import importlib.metadata
import os
import random
from collections.abc import Callable
from typing import Any

import naive
import numpy as np
import pytest
import river.linear_model
import river.optim
import samples
from cases import COVERING, EACH, Case
from oracles import FORMULA, record

from streamgd import linear_model, optim
from streamgd.kernels.pieces import OPTIMIZER
from streamgd.optim.base import Loss, Optimizer

ALL = COVERING + EACH
every_case = pytest.mark.parametrize("case", ALL, ids=str)
OURS = [cls for cls in Optimizer.__subclasses__() if cls.__module__.startswith("streamgd.")]
OURS = [cls for cls in OURS if cls.kernel == "coordinate"]
LOSSES = sorted(name for name in optim.losses.__all__ if issubclass(getattr(optim.losses, name), Loss))


def close(ours: Any, theirs: Any, rtol: float) -> float:
    """Compare numbers, small ones by the size of the largest (sums are made in another order)."""
    ours, theirs = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    scale = max(1.0, np.abs(theirs).max())
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol * scale)
    return float(np.abs(ours - theirs).max() / scale)


def same_weights(model: Any, weights: dict[Any, float], intercept: float, rtol: float) -> float:
    expected = {k: v for k, v in weights.items() if k != naive.INTERCEPT}
    assert model.weights.keys() == expected.keys()
    assert model.intercept == pytest.approx(intercept, rel=rtol, abs=rtol)
    return close(list(model.weights.values()), [expected[k] for k in model.weights], rtol)


def equals_formula(case: Case, data: samples.Samples, rtol: float) -> None:
    """Learn dense rows with the kernel and with the plain loops, and compare all that comes out."""
    model, plain = case.ours(), case.naive()
    hs = data.w.tolist()
    expected = [plain.learn(x, float(y), h) for x, y, h in zip(data.dicts(), data.y, hs, strict=True)]
    z = model.predict_learn_rows(data.X, data.y, data.w, columns=data.names)
    difference = max(close(z, expected, rtol), same_weights(model, plain.weights, plain.intercept, rtol))
    record(case.optimizer, FORMULA, "", difference)


def test_every_optimizer_and_loss_is_in_the_selection() -> None:
    assert {cls.__name__ for cls in OURS} == {case.optimizer for case in ALL}
    assert {cls.__name__ for cls in OURS} <= set(optim.optimizers.__all__)
    # Poisson takes counts: tests/test_more_learners.py has it in every mode
    assert {case.loss for case in ALL} == set(LOSSES) - {"Poisson"}
    assert all(getattr(optim, name) is getattr(optim.optimizers, name) for name in optim.optimizers.__all__)


# -- the formulas ------------------------------------------------------------------------------


@every_case
def test_dense_rows_equal_the_formula(case: Case) -> None:
    equals_formula(case, samples.dense(500, 7, binary=case.binary, seed=1), 1e-12)


@every_case
def test_dicts_with_absent_and_late_features_equal_the_formula(case: Case) -> None:
    rows, _, ys, ws, _ = samples.sparse(500, 10, binary=case.binary, seed=2)
    model, plain = case.ours(), case.naive()
    predicts = case in COVERING or case.cls.overrides("at")  # the others predict as those do
    means, expected = [], []
    for x, y, h in zip(rows, ys.tolist(), ws.tolist(), strict=True):
        if predicts:
            means.append(model.predict_proba_one(x)[True] if case.binary else model.predict_one(x))
            expected.append(model.loss.mean(plain.output(x)))
        plain.learn(x, float(y), h)
        model.learn_one(x, y, h)
    if predicts:
        close(means, expected, 1e-12)
    # features that only stood in rows of weight 0 are not the model's
    known = {k: v for k, v in plain.weights.items() if k in model.weights or v != 0.0}
    same_weights(model, known, plain.intercept, 1e-12)


@every_case
def test_sparse_rows_equal_the_formula(case: Case) -> None:
    rows, matrix, ys, ws, names = samples.sparse(500, 10, binary=case.binary, seed=3)
    model, plain = case.ours(), case.naive()
    expected = [plain.learn(x, float(y), h) for x, y, h in zip(rows, ys, ws.tolist(), strict=True)]
    z = model.predict_learn_rows(matrix, ys, ws, columns=names)
    close(z, expected, 1e-12)
    same_weights(model, plain.weights, plain.intercept, 1e-12)


BATCHED = {case.optimizer: case for case in EACH[::-1] if not case.cls.per_sample}.values()


@pytest.mark.parametrize("case", BATCHED, ids=str)
def test_mini_batches_equal_the_formula(case: Case) -> None:
    """Those of `COVERING` are with the kernels' tests."""
    data = samples.dense(240, 5, binary=case.binary, seed=13)
    model, plain = case.ours(), case.naive()
    for i in range(0, 240, 12):
        part = slice(i, i + 12)
        rows = samples.Samples(data.X[part], data.y[part], data.w[part], data.names)
        plain.learn_many(rows.dicts(), rows.y.astype(float).tolist(), rows.w.tolist())
        model.learn_many(rows.X, rows.y, rows.w, columns=rows.names)
        if i % 48 == 0:  # and a row between them
            x = data.dicts()[i]
            plain.learn(x, float(data.y[i]), 0.5)
            model.learn_one(x, data.y[i].item(), 0.5)
    same_weights(model, plain.weights, plain.intercept, 1e-11)
    assert (model.n_updates, model.n_samples) == (plain.updates, plain.samples)


@pytest.mark.parametrize("cls", [cls for cls in OURS if cls.per_sample])
def test_rules_that_look_at_values_are_not_for_mini_batches(cls: type[Optimizer]) -> None:
    model = linear_model.LinearRegression(cls())
    with pytest.raises(ValueError, match=f"{cls.__name__} is defined sample by sample: call learn_rows"):
        model.learn_many(np.ones((2, 1)), [1.0, 2.0])
    assert model.weights == {}


@pytest.mark.parametrize("penalty", [{"l1": 0.1}, {"l2": 0.1}])
@pytest.mark.parametrize("cls", [cls for cls in OURS if not cls.penalties])
def test_rules_that_take_no_penalty_say_so(cls: type[Optimizer], penalty: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{cls.__name__} takes no l1 or l2 penalty"):
        linear_model.LinearRegression(cls(), **penalty)


# -- random pairs ------------------------------------------------------------------------------

SEED = int(os.environ.get("STREAMGD_SEED", "0"))


def may_meet(loss: str, name: str) -> bool:
    """Poisson's exponential overflows where first steps are long; two methods ask for more of a loss."""
    if name == "PassiveAggressive":
        return loss in ("Hinge", "EpsilonInsensitiveHinge")
    return loss != "Poisson" and (name != "Normalized" or hasattr(getattr(naive, loss), "update"))


def random_pairs(n: int) -> list[Case]:
    """Pairs that are not in the selection. The clip bounds gradients, which ScInOL needs."""
    seen = {(case.loss, case.optimizer) for case in ALL}
    pairs = [(loss, cls.__name__) for loss in LOSSES for cls in OURS]
    pairs = sorted(pair for pair in pairs if pair not in seen and may_meet(*pair))
    chosen = random.Random(SEED).sample(pairs, n)
    return [Case(loss, name, 0.02, clip_gradient=1.0, intercept_init=0.1) for loss, name in chosen]


@pytest.mark.parametrize("case", random_pairs(20), ids=lambda case: f"{case}-seed{SEED}")
def test_random_pairs_equal_the_formula(case: Case) -> None:
    print(f"STREAMGD_SEED={SEED}")
    equals_formula(case, samples.dense(300, 6, binary=case.binary, seed=SEED + 20), 1e-11)


# -- river -------------------------------------------------------------------------------------

OTHERWISE = ("FTRLProximal",)  # river's is another method: see below
RIVERS = [
    case
    for case in ALL
    if hasattr(river.optim, case.optimizer)
    and case.optimizer not in OTHERWISE
    and hasattr(river.optim.losses, case.loss)
]
RIVER = importlib.metadata.version("river")


def rivers_case(case: Case) -> Case:
    """The case without L2 where it has both penalties, which river refuses."""
    return Case(**{**vars(case), "l2": 0.0}) if case.l1 else case


def test_all_of_rivers_optimizers_are_compared() -> None:
    theirs = {name for name in river.optim.__all__ if name[0].isupper()}
    theirs -= {"Averager", "Newton", "Optimizer"}  # no rules of one coordinate
    assert theirs == {case.optimizer for case in RIVERS} | set(OTHERWISE)


@pytest.mark.parametrize("case", RIVERS, ids=str)
def test_learn_one_equals_river(case: Case) -> None:
    case = rivers_case(case)
    data = samples.dense(1200, 6, binary=case.binary, seed=4)
    model, by_rows, theirs = case.ours(), case.ours(), case.rivers()
    expected = []
    for x, y, h in zip(data.dicts(), data.y.tolist(), data.w.tolist(), strict=True):
        expected.append(theirs.predict_proba_one(x)[True] if case.binary else theirs.predict_one(x))
        if h:  # river's optimizers take a step, and count it, at weight 0
            model.learn_one(x, y, h)
            theirs.learn_one(x, y, h)
    z = by_rows.predict_learn_rows(data.X, data.y, data.w, columns=data.names)
    difference = close(by_rows.loss.mean_func(z), expected, 1e-9)
    for ours in (model, by_rows):
        difference = max(difference, same_weights(ours, theirs.weights, theirs.intercept, 1e-9))
    record(case.optimizer, "river", RIVER, difference)
    record(type(model).__name__, "river", RIVER, difference)


@pytest.mark.parametrize("case", [case for case in RIVERS if not case.l1], ids=str)
def test_absent_and_late_features_equal_river(case: Case) -> None:
    rows, _, ys, _, _ = samples.sparse(1000, 10, binary=case.binary, seed=5)
    model, theirs = case.ours(), case.rivers()
    for x, y in zip(rows, ys.tolist(), strict=True):
        model.learn_one(x, y)
        theirs.learn_one(x, y)
    difference = same_weights(model, theirs.weights, theirs.intercept, 1e-9)
    record(case.optimizer, "river", RIVER, difference)


@pytest.mark.parametrize("name", sorted({case.optimizer for case in RIVERS} | set(OTHERWISE)))
def test_defaults_and_conversion_are_rivers(name: str) -> None:
    ours, theirs = getattr(optim, name)(), getattr(river.optim, name)()
    for field, value in vars(ours).items():
        if field == "lr":
            assert value == optim.schedulers.Constant(theirs.lr.learning_rate)
        else:
            assert value == getattr(theirs, field), field
    assert linear_model.LinearRegression(theirs).optimizer == ours


def test_adabound_ends_at_its_final_rate_where_rivers_stops() -> None:
    """river multiplies its final rate by eta_t / eta_0 at each step again."""
    case = next(c for c in EACH if c.optimizer == "AdaBound")
    case = Case(**{**vars(case), "lr": (0.1, 0.5)})
    rows = samples.dense(300, 3, binary=False, seed=15)
    model, theirs, plain = case.ours(), case.rivers(), case.naive()
    for x, y in zip(rows.dicts(), rows.y.tolist(), strict=True):
        model.learn_one(x, y)
        theirs.learn_one(x, y)
        plain.learn(x, y)
    same_weights(model, plain.weights, plain.intercept, 1e-12)
    assert theirs.optimizer.final_lr < 1e-100
    final = case.fields["final_lr"] / 300**0.5
    first = model._scalars[OPTIMIZER]
    assert first == 0.1
    _, c = model.optimizer.row((first,), (), 0.0, 0.0, 0.0, 1.0, first / 300**0.5, 1e9)
    assert c[1:] == pytest.approx((final, final), rel=1e-6)


def test_ftrl_gives_zeros_where_rivers_keeps_old_weights() -> None:
    """Twenty times one sign, then the other: the sum of gradients passes through the L1 band."""
    ours = linear_model.LinearRegression(optim.FTRLProximal(alpha=0.5, l1=2.0), intercept_lr=0.0)
    theirs = river.linear_model.LinearRegression(
        river.optim.FTRLProximal(alpha=0.5, l1=2.0), intercept_lr=0.0
    )
    weights, rivers_weights = [], []
    for y in [3.0] * 20 + [-3.0] * 20:
        for model, seen in ((ours, weights), (theirs, rivers_weights)):
            model.learn_one({"a": 1.0}, y)
            seen.append(model.weights.get("a", 0.0))
    assert weights[0] != 0.0  # one row is enough: |z| = 6
    assert rivers_weights[0] == 0.0  # found out when the feature comes back
    turned = next(k for k, w in enumerate(weights) if w < 0.0)
    assert 0.0 in weights[20:turned]
    assert 0.0 not in rivers_weights[20:]


def test_ftrl_makes_useless_weights_zero() -> None:
    rng = np.random.default_rng(16)
    X = rng.normal(size=(2000, 12))
    y = X[:, 0] - 2.0 * X[:, 1] + rng.normal(size=2000) > 0
    model = linear_model.LogisticRegression(optim.FTRLProximal(alpha=0.2, l1=60.0, l2=0.0))
    model.learn_rows(X, y)
    weights = np.array(list(model.weights.values()))
    assert np.count_nonzero(weights[:2]) == 2
    assert np.count_nonzero(weights[2:]) == 0


@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("learns_intercept", [True, False])
@pytest.mark.parametrize("binary", [True, False])
def test_passive_aggressive_equals_river(binary: bool, learns_intercept: bool, mode: int) -> None:
    data = samples.dense(1000, 6, binary=binary, seed=17)
    models = river.linear_model
    cls, ours = models.PAClassifier, linear_model.LogisticRegression
    loss: Any = optim.losses.Hinge()
    if not binary:
        cls, ours = models.PARegressor, linear_model.LinearRegression
        loss = optim.losses.EpsilonInsensitiveHinge(eps=0.1)
    theirs = cls(C=0.05, mode=mode, learn_intercept=learns_intercept)
    if not binary:  # river's loss takes targets to be labels, and maps them to 2y - 1
        theirs.loss = lambda y, p: max(abs(y - p) - 0.1, 0.0)
    rate = 1.0 if learns_intercept else 0.0
    model = ours(optim.PassiveAggressive(0.05, mode), loss=loss, intercept_lr=rate)
    for x, y in zip(data.dicts(), data.y.tolist(), strict=True):
        theirs.learn_one(x, y)
        model.learn_one(x, y)
    difference = same_weights(model, theirs.weights, theirs.intercept, 1e-9)
    record("PassiveAggressive", "river", RIVER, difference)


# -- PyTorch, and what its users wrote for it ----------------------------------------------------

# what to import, its distribution, (module, fields of ours) -> optimizer of parameters
Make = Callable[[Any, dict[str, Any]], Callable[[Any], Any]]
TINY = 1e-300  # where an epsilon stands elsewhere


def torch_adam(name: str, **more: Any) -> Make:
    def make(module: Any, f: dict[str, Any]) -> Callable[[Any], Any]:
        decay = {key: f[key] for key in ("weight_decay", "amsgrad") if key in f}
        eps = 0.0 if f["eps"] == TINY else f["eps"]
        betas = (f["beta_1"], f["beta_2"])
        return lambda w: getattr(module.optim, name)([w], lr=1.0, betas=betas, eps=eps, **decay, **more)

    return make


def torch_sgd(**more: Any) -> Make:
    return lambda module, f: lambda w: module.optim.SGD([w], lr=1.0, momentum=f.get("rho", 0.0), **more)


def schedule_free(name: str) -> Make:
    def make(module: Any, f: dict[str, Any]) -> Callable[[Any], Any]:
        more = {key: f[key] for key in ("weight_decay", "warmup_steps", "r", "weight_lr_power")}
        if "eps" in f:
            more |= {"eps": f["eps"], "betas": (f["beta_1"], f["beta_2"])}
        else:
            more["momentum"] = f["beta"]
        return lambda w: getattr(module, name)([w], lr=1.0, **more)

    return make


TORCH: list[tuple[str, dict[str, float], str, str, Make]] = [
    ("SGD", {}, "torch", "torch", torch_sgd()),
    ("Momentum", {}, "torch", "torch", torch_sgd()),
    ("NesterovMomentum", {}, "torch", "torch", torch_sgd(nesterov=True)),
    (
        "AdaGrad",
        {"eps": TINY},
        "torch",
        "torch",
        lambda m, f: lambda w: m.optim.Adagrad([w], lr=1.0, eps=0.0),
    ),
    (
        "AdaDelta",
        {},
        "torch",
        "torch",
        lambda m, f: lambda w: m.optim.Adadelta([w], lr=1.0, rho=f["rho"], eps=f["eps"]),
    ),
    (
        "RMSProp",
        {"eps": TINY},
        "torch",
        "torch",
        lambda m, f: lambda w: m.optim.RMSprop([w], lr=1.0, alpha=f["rho"], eps=0.0),
    ),
    ("Adam", {"eps": TINY}, "torch", "torch", torch_adam("Adam")),
    ("AdaMax", {"eps": TINY}, "torch", "torch", torch_adam("Adamax")),
    ("AMSGrad", {"eps": TINY}, "torch", "torch", torch_adam("Adam", amsgrad=True)),
    ("AdamW", {"amsgrad": False}, "torch", "torch", torch_adam("AdamW")),
    ("AdamW", {"amsgrad": True}, "torch", "torch", torch_adam("AdamW")),
    (
        "Lion",
        {},
        "lion_pytorch",
        "lion-pytorch",
        lambda m, f: (
            lambda w: m.Lion([w], lr=1.0, betas=(f["beta_1"], f["beta_2"]), weight_decay=f["weight_decay"])
        ),
    ),
    ("ScheduleFreeSGD", {}, "schedulefree", "schedulefree", schedule_free("SGDScheduleFree")),
    ("ScheduleFreeAdamW", {}, "schedulefree", "schedulefree", schedule_free("AdamWScheduleFree")),
    (
        "DoG",
        {},
        "dog",
        "dog-optimizer",
        lambda m, f: lambda w: m.DoG([w], reps_rel=f["reps_rel"], eps=f["eps"]),
    ),
    (
        "COCOB",
        {},
        "parameterfree",
        "parameterfree",
        lambda m, f: lambda w: m.COCOB([w], alpha=f["alpha"], eps=f["eps"]),
    ),
]


@pytest.mark.parametrize(
    ("name", "fields", "module", "package", "make"),
    TORCH,
    ids=[f"{t[0]}-{t[3]}-{k}" for k, t in enumerate(TORCH)],
)
def test_dense_rows_equal_pytorch(
    name: str, fields: dict[str, float], module: str, package: str, make: Make
) -> None:
    torch = pytest.importorskip("torch", reason="the reference: pip install torch")
    theirs = pytest.importorskip(module, reason=f"the reference: pip install {package}")
    case = next(c for c in ALL if c.optimizer == name and not c.l1)
    case = Case(
        **{**vars(case), "fields": {**case.fields, **fields}, "l2": 0.0, "clip_gradient": 1e12}
        | {"intercept_lr": 0.0, "intercept_init": 0.0, "lr": 1.0 if name == "DoG" else 0.02}
    )
    data = samples.dense(500, 6, binary=case.binary, seed=18)
    model = case.ours(initializer=optim.initializers.Constant(0.1))
    w = torch.full((6,), 0.1, dtype=torch.float64, requires_grad=True)
    optimizer = make(theirs, vars(model.optimizer))(w)
    lr = getattr(model.optimizer, "lr", None)
    averages = name.startswith("ScheduleFree")
    outputs = []
    for x, y, h in zip(torch.from_numpy(data.X), data.y.tolist(), data.w.tolist(), strict=True):
        if averages:
            optimizer.eval()
        outputs.append(float(w.detach() @ x))
        if h == 0.0:
            continue
        if averages:
            optimizer.train()
        w.grad = h * model.loss.gradient(float(y), float(w.detach() @ x)) * x
        for group in optimizer.param_groups:
            if lr is not None:
                group["lr"] = lr.get(0)
        optimizer.step()
    if averages:
        optimizer.eval()
    z = model.predict_learn_rows(data.X, data.y, data.w)
    weights = np.array(list(model.weights.values()))
    if name == "NesterovMomentum":  # PyTorch's weights are where ours takes gradients
        weights = weights - model.optimizer.rho * model._slots[0, :6]
        difference = 0.0
    else:
        difference = close(z, outputs, 1e-9)
    difference = max(difference, close(weights, w.detach().numpy(), 1e-9))
    record(name, package, importlib.metadata.version(package), difference)


# -- properties --------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", OURS)
def test_zero_gradient_leaves_a_fresh_weight(cls: type[Optimizer]) -> None:
    optimizer = cls(**({"weight_decay": 0.0} if hasattr(cls, "weight_decay") else {}))
    slots, zeros = (0.0,) * cls.n_slots, (0.0,) * cls.n_scalars
    for w in (0.0, 1.5, -1e-3):
        assert optimizer.at(w, slots, 2.0, zeros) == w
        begun = optimizer.begin(zeros, optimizer.glance(w, slots, 2.0), 1.0)
        assert optimizer.ahead(w, slots, 2.0, begun) == w
        w_scanned, scanned, sums = optimizer.scan(w, slots, 2.0, 0.0, 1.0)
        scalars, c = optimizer.row(begun, sums, 0.0, 0.0, 0.0, 1.0, 0.1, 0.0)
        if cls.importance_aware:
            c = (0.0, *c[1:])
        new, after = optimizer.step(w_scanned, scanned, 0.0, 2.0, c)
        assert new == w
        for x in (0.5, 2.0, 3.0):
            assert optimizer.at(new, after, x, scalars) == w
            assert optimizer.ahead(new, after, x, scalars) == w


@pytest.mark.parametrize("case", [c for c in ALL if c.loss == "Hinge"], ids=str)
def test_samples_beyond_the_margin_leave_fresh_weights(case: Case) -> None:
    model = Case(**{**vars(case), "intercept_init": 9.0, "l1": case.l1 and 1e-9}).ours()
    model.learn_rows(np.ones((5, 3)), [True] * 5)
    assert model.weights == {0: 0.0, 1: 0.0, 2: 0.0}
    assert model.intercept == 9.0


SCALE_FREE = [c for c in ALL if c.optimizer in ("Normalized", "Coin", "ScInOL1", "ScInOL2")]


@pytest.mark.parametrize("exponents", [[0, 40, -35, 3, -1, 10], [200, -200, 0, 100, -100, 1]], ids=str)
@pytest.mark.parametrize("case", SCALE_FREE, ids=str)
def test_the_scale_of_a_feature_does_not_matter(case: Case, exponents: list[int]) -> None:
    data = samples.dense(300, 6, binary=case.binary, seed=6)
    z = case.ours().predict_learn_rows(data.X, data.y, data.w)
    scaled = case.ours().predict_learn_rows(data.X * 2.0 ** np.array(exponents), data.y, data.w)
    assert z.tolist() == scaled.tolist()  # to the bit


def test_scheduled_averages_of_absent_features_move_on() -> None:
    """A feature that is gone still has its average drawn to its last iterate."""
    model = linear_model.LinearRegression(optim.ScheduleFreeSGD(0.1), intercept_lr=0.0)
    model.learn_one({"a": 1.0}, 1.0)
    model.learn_one({"a": 1.0}, 1.0)
    before = model.weights["a"]
    for _ in range(1000):
        model.learn_one({"b": 0.0}, 1.0)
    assert before < model.weights["a"] == pytest.approx(model._weights[0], rel=1e-2)


def test_dog_keeps_its_distance_over_many_rows() -> None:
    rng = np.random.default_rng(19)
    X = rng.normal(size=(50_000, 3))
    model = linear_model.LinearRegression(optim.DoG(reps_rel=1e-3))
    model.learn_rows(X, X @ [1.0, -2.0, 3.0] + rng.normal(size=len(X)))
    way = sum(w * w for w in [*model.weights.values(), model.intercept])
    assert model._scalars[OPTIMIZER + 2] == pytest.approx(way, rel=1e-12)


# -- Vowpal Wabbit's update --------------------------------------------------------------------

NORMALIZED = [case for case in COVERING if case.optimizer == "Normalized"]


@pytest.mark.parametrize("case", NORMALIZED, ids=str)
def test_normalized_with_jumping_scales_and_zeros_equals_the_formula(case: Case) -> None:
    data = samples.dense(300, 5, binary=case.binary, seed=7)
    X = data.X * np.where(np.arange(300)[:, None] % 50 == 49, 30.0, 1.0)
    X[:100, 2] = 0.0
    plain = case.naive()
    rows = samples.Samples(X, data.y, data.w, data.names).dicts()
    expected = [plain.learn(x, float(y), h) for x, y, h in zip(rows, data.y, data.w, strict=True)]
    model = case.ours()
    close(model.predict_learn_rows(X, data.y, data.w, columns=data.names), expected, 1e-11)
    same_weights(model, plain.weights, plain.intercept, 1e-11)


@pytest.mark.parametrize("weight", [1.0, 10.0, 1e6])
def test_normalized_never_overshoots_the_label(weight: float) -> None:
    model = linear_model.LinearRegression(optim.Normalized(10.0))
    x = {"a": 3.0, "b": -0.2}
    before = model.predict_one(x)
    model.learn_one(x, 5.0, weight)
    after = model.predict_one(x)
    assert before < after <= 5.0
    if weight == 1e6:
        assert after == pytest.approx(5.0)


def test_a_fixed_intercept_is_no_feature() -> None:
    data = samples.dense(200, 4, binary=False, seed=8)
    plain = naive.Normalized(naive.Squared(), naive.constant(0.3), intercept=0.7, constant=False)
    model = Case("Squared", "Normalized", 0.3, intercept_init=0.7, intercept_lr=0.0).ours()
    expected = [plain.learn(x, float(y)) for x, y in zip(data.dicts(), data.y, strict=True)]
    close(model.predict_learn_rows(data.X, data.y), expected, 1e-12)
    assert model.intercept == 0.7


def vowpal_wabbit(options: str, data: samples.Samples, *, binary: bool) -> list[float]:
    """Predictions, each before the row is learned, of a model with these options. They are float32."""
    vw = pytest.importorskip("vowpalwabbit", reason="the reference: pip install vowpalwabbit")
    y = data.y.astype(float)
    labels = 2 * y - 1 if binary else y
    loss = "logistic" if binary else "squared --min_prediction -1000 --max_prediction 1000"
    workspace = vw.Workspace(f"--quiet --loss_function {loss} {options}")
    predictions = []
    for row, label, h in zip(data.X.tolist(), labels.tolist(), data.w.tolist(), strict=True):
        features = " ".join(f"x{k}:{v!r}" for k, v in enumerate(row))
        example = workspace.parse(f"{label!r} {h} | {features}")
        predictions.append(workspace.predict(example))
        workspace.learn(example)
        workspace.finish_example(example)
    workspace.finish()
    return predictions


def badly_scaled(n: int, *, binary: bool, seed: int) -> samples.Samples:
    """Samples in float32, whose first row has the largest values."""
    data = samples.dense(n, 5, binary=binary, seed=seed)
    X = data.X * np.array([1.0, 100.0, 0.01, 5.0, 1.0])
    X[0] = np.abs(X).max(axis=0)
    return data._replace(X=X.astype(np.float32).astype(np.float64))


def recorded(name: str, ours: Any, theirs: Any) -> None:
    version = importlib.metadata.version("vowpalwabbit")
    record(name, "vowpalwabbit", version, close(ours, theirs, 1e-4))


@pytest.mark.parametrize("binary", [True, False])
def test_normalized_equals_vowpal_wabbit(binary: bool) -> None:
    """With features as large as they get in the first row both orders of rescaling agree."""
    data = badly_scaled(400, binary=binary, seed=9)
    model = Case("Log" if binary else "Squared", "Normalized", 0.5).ours()
    z = model.predict_learn_rows(data.X, data.y, data.w)
    recorded("Normalized", z, vowpal_wabbit("", data, binary=binary))


@pytest.mark.parametrize("binary", [True, False])
def test_the_formula_in_vowpal_wabbits_order_equals_it(binary: bool) -> None:
    data = badly_scaled(400, binary=binary, seed=9)
    data = data._replace(X=data.X[1:], y=data.y[1:], w=data.w[1:])  # from here on scales jump
    loss = naive.Log() if binary else naive.Squared()
    plain = naive.Normalized(loss, naive.constant(0.5), rescale_first=False)
    rows = zip(data.dicts(), data.y.astype(float), data.w.tolist(), strict=True)
    close([plain.learn(x, y, h) for x, y, h in rows], vowpal_wabbit("", data, binary=binary), 1e-4)


@pytest.mark.parametrize("binary", [True, False])
def test_coin_equals_vowpal_wabbit(binary: bool) -> None:
    """Its reports are one update late, as ``stored`` is; kernels are held against the model in time."""
    data = badly_scaled(400, binary=binary, seed=20)
    case = next(c for c in EACH if c.optimizer == "Coin" and c.binary == binary)
    plain = Case(case.loss, "Coin", fields={"alpha": 4.0, "beta": 1.0}).naive()
    late = []
    for x, y, h in zip(data.dicts(), data.y.astype(float).tolist(), data.w.tolist(), strict=True):
        late.append(sum(plain.method.stored[i] * v for i, v in {**x, naive.INTERCEPT: 1.0}.items()))
        plain.learn(x, y, h)
    recorded("Coin", late, vowpal_wabbit("--coin", data, binary=binary))


@pytest.mark.parametrize("l1", [0.0, 3.0])
def test_ftrl_equals_vowpal_wabbit(l1: float) -> None:
    data = samples.dense(400, 5, binary=True, seed=21)
    data = data._replace(X=data.X.astype(np.float32).astype(np.float64))
    options = f"--ftrl --ftrl_alpha 0.3 --ftrl_beta 1 --l1 {l1} --l2 0.5 --noconstant"
    fields = {"alpha": 0.3, "beta": 1.0, "l1": l1, "l2": 0.5}
    model = Case("Log", "FTRLProximal", fields=fields, intercept_lr=0.0).ours()
    z = model.predict_learn_rows(data.X, data.y, data.w)
    recorded("FTRLProximal", z, vowpal_wabbit(options, data, binary=True))
    assert l1 == 0.0 or 0.0 in z.tolist()
