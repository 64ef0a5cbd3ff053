"""Optimizers in compiled learners: equal to the plain loops, to river, and to Vowpal Wabbit."""

from __future__ import annotations

from typing import Any

import naive
import numpy as np
import pytest
import river.optim
import samples
from cases import COVERING, Case

from streamgd import linear_model, optim
from streamgd.optim.base import Optimizer

every_case = pytest.mark.parametrize("case", COVERING, ids=str)
OURS = [cls for cls in Optimizer.__subclasses__() if cls.__module__.startswith("streamgd.")]


def close(ours: Any, theirs: Any, rtol: float) -> None:
    """Compare numbers, small ones by the size of the largest (sums are made in another order)."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol * max(1.0, np.abs(theirs).max()))


def same_weights(model: Any, plain: Any, rtol: float) -> None:
    expected = {k: v for k, v in plain.weights.items() if k != naive.INTERCEPT}
    assert model.weights.keys() == expected.keys()
    close(list(model.weights.values()), [expected[k] for k in model.weights], rtol)
    assert model.intercept == pytest.approx(plain.intercept, rel=rtol, abs=rtol)


def test_every_optimizer_is_in_the_selection() -> None:
    assert {cls.__name__ for cls in OURS} == {case.optimizer for case in COVERING}
    assert {cls.__name__ for cls in OURS} == set(optim.optimizers.__all__)


# -- the formulas ------------------------------------------------------------------------------


@every_case
def test_dense_rows_equal_the_formula(case: Case) -> None:
    data = samples.dense(500, 7, binary=case.binary, seed=1)
    model, plain = case.ours(), case.naive()
    expected = [plain.learn(x, float(y), h) for x, y, h in zip(data.dicts(), data.y, data.w, strict=True)]
    z = model.predict_learn_rows(data.X, data.y, data.w, columns=data.names)
    close(z, expected, 1e-12)
    same_weights(model, plain, 1e-12)
    assert model.n_updates == np.count_nonzero(data.w)


@every_case
def test_dicts_with_absent_and_late_features_equal_the_formula(case: Case) -> None:
    rows, _, ys, ws, _ = samples.sparse(500, 10, binary=case.binary, seed=2)
    model, plain = case.ours(), case.naive()
    means, expected = [], []
    for x, y, h in zip(rows, ys.tolist(), ws.tolist(), strict=True):
        means.append(model.predict_proba_one(x)[True] if case.binary else model.predict_one(x))
        expected.append(model.loss.mean(plain.output(x)))
        plain.learn(x, float(y), h)
        model.learn_one(x, y, h)
    close(means, expected, 1e-12)
    known = {k: v for k, v in plain.weights.items() if k in model.weights or v != 0.0}
    plain.weights = known  # features that only stood in rows of weight 0 are not the model's
    same_weights(model, plain, 1e-12)


@every_case
def test_sparse_rows_equal_the_formula(case: Case) -> None:
    rows, matrix, ys, ws, names = samples.sparse(500, 10, binary=case.binary, seed=3)
    model, plain = case.ours(), case.naive()
    expected = [plain.learn(x, float(y), h) for x, y, h in zip(rows, ys, ws, strict=True)]
    z = model.predict_learn_rows(matrix, ys, ws, columns=names)
    close(z, expected, 1e-12)
    same_weights(model, plain, 1e-12)


# -- river -------------------------------------------------------------------------------------

RIVERS = [case for case in COVERING if case.optimizer != "Normalized"]


def rivers_case(case: Case) -> Case:
    """The case without L2 where it has both penalties, which river refuses."""
    return Case(**{**vars(case), "l2": 0.0}) if case.l1 else case


@pytest.mark.parametrize("case", RIVERS, ids=str)
def test_learn_one_equals_river(case: Case) -> None:
    case = rivers_case(case)
    data = samples.dense(1200, 6, binary=case.binary, seed=4)
    model, theirs = case.ours(), case.rivers()
    predictions, expected = [], []
    for x, y, h in zip(data.dicts(), data.y.tolist(), data.w.tolist(), strict=True):
        for learner, output in ((model, predictions), (theirs, expected)):
            output.append(learner.predict_proba_one(x)[True] if case.binary else learner.predict_one(x))
        if h:  # river's optimizers take a step, and count it, at weight 0
            model.learn_one(x, y, h)
            theirs.learn_one(x, y, h)
    close(predictions, expected, 1e-9)
    assert model.weights.keys() == theirs.weights.keys()
    close([model.weights[k] for k in theirs.weights], list(theirs.weights.values()), 1e-9)
    assert model.intercept == pytest.approx(theirs.intercept, rel=1e-9)


@pytest.mark.parametrize("case", [c for c in RIVERS if not c.l1][:4], ids=str)
def test_absent_and_late_features_equal_river(case: Case) -> None:
    rows, _, ys, _, _ = samples.sparse(1000, 10, binary=case.binary, seed=5)
    model, theirs = case.ours(), case.rivers()
    for x, y in zip(rows, ys.tolist(), strict=True):
        model.learn_one(x, y)
        theirs.learn_one(x, y)
    assert model.weights.keys() == theirs.weights.keys()
    close([model.weights[k] for k in theirs.weights], list(theirs.weights.values()), 1e-9)


@pytest.mark.parametrize("name", ["SGD", "Momentum", "AdaGrad", "RMSProp", "Adam"])
def test_defaults_are_those_of_river(name: str) -> None:
    ours, theirs = getattr(optim, name)(), getattr(river.optim, name)()
    for field, value in vars(ours).items():
        if field == "lr":
            assert value == optim.schedulers.Constant(theirs.lr.learning_rate)
        else:
            assert value == getattr(theirs, field), field


# -- properties --------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", OURS)
def test_zero_gradient_leaves_a_fresh_weight(cls: type[Optimizer]) -> None:
    optimizer = cls()
    slots, zeros = (0.0,) * cls.n_slots, (0.0,) * cls.n_sums
    for w in (0.0, 1.5, -1e-3):
        assert optimizer.at(w, slots, 2.0, (0.0,) * cls.n_scalars) == w
        w_scanned, scanned, _ = optimizer.scan(w, slots, 2.0, 0.0, 1.0)
        scalars, c = optimizer.row((0.0,) * cls.n_scalars, zeros, 0.0, 0.0, 0.0, 1.0, 0.1, 0.0)
        if cls.importance_aware:
            c = (0.0, *c[1:])
        new, after = optimizer.step(w_scanned, scanned, 0.0, 2.0, c)
        assert (new, after, scalars) == (w, slots, (0.0,) * cls.n_scalars)


@pytest.mark.parametrize("case", [c for c in COVERING if c.loss == "Hinge"], ids=str)
def test_samples_beyond_the_margin_leave_fresh_weights(case: Case) -> None:
    model = Case(**{**vars(case), "intercept_init": 9.0, "l1": case.l1 and 1e-9}).ours()
    model.learn_rows(np.ones((5, 3)), [True] * 5)
    assert model.weights == {0: 0.0, 1: 0.0, 2: 0.0}
    assert model.intercept == 9.0


# -- Vowpal Wabbit's update --------------------------------------------------------------------

NORMALIZED = [case for case in COVERING if case.optimizer == "Normalized"]


@pytest.mark.parametrize("case", NORMALIZED, ids=str)
def test_normalized_does_not_see_the_scale_of_a_feature(case: Case) -> None:
    data = samples.dense(300, 6, binary=case.binary, seed=6)
    scales = 2.0 ** np.array([0, 40, -35, 3, -1, 10])
    z = case.ours().predict_learn_rows(data.X, data.y, data.w)
    scaled = case.ours().predict_learn_rows(data.X * scales, data.y, data.w)
    assert z.tolist() == scaled.tolist()  # to the bit


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
    same_weights(model, plain, 1e-11)


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


def test_normalized_is_not_for_mini_batches() -> None:
    model = linear_model.LinearRegression(optim.Normalized())
    with pytest.raises(ValueError, match="Normalized is defined sample by sample: call learn_rows"):
        model.learn_many(np.ones((2, 1)), [1.0, 2.0])
    assert model.weights == {}


@pytest.mark.parametrize("penalty", [{"l1": 0.1}, {"l2": 0.1}])
def test_normalized_takes_no_penalty(penalty: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Normalized takes no l1 or l2 penalty"):
        linear_model.LinearRegression(optim.Normalized(), **penalty)


@pytest.mark.parametrize("order", ["rescale first", "rescale last"])
@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_normalized_equals_vowpal_wabbit(loss: str, order: str) -> None:
    """Its predictions are float32. With features as large as they get in the first row both orders agree."""
    vw = pytest.importorskip("vowpalwabbit", reason="the reference: pip install vowpalwabbit")
    binary = loss == "logistic"
    data = samples.dense(400, 5, binary=binary, seed=9)
    X = data.X * np.array([1.0, 100.0, 0.01, 5.0, 1.0])
    if order == "rescale first":
        X[0] = np.abs(X).max(axis=0)
    X = X.astype(np.float32).astype(np.float64)
    y = data.y.astype(float)
    labels = 2 * y - 1 if binary else y
    options = "" if binary else " --min_prediction -1000 --max_prediction 1000"
    workspace = vw.Workspace(f"--quiet --loss_function {loss}{options}")
    expected = []
    for row, label, h in zip(X.tolist(), labels.tolist(), data.w.tolist(), strict=True):
        features = " ".join(f"x{k}:{v!r}" for k, v in enumerate(row))
        example = workspace.parse(f"{label!r} {h} | {features}")
        expected.append(workspace.predict(example))
        workspace.learn(example)
        workspace.finish_example(example)
    workspace.finish()
    if order == "rescale first":
        model = Case("Log" if binary else "Squared", "Normalized", 0.5).ours()
        z = model.predict_learn_rows(X, data.y, data.w)
    else:
        plain = naive.Normalized(
            naive.Log() if binary else naive.Squared(), naive.constant(0.5), rescale_first=False
        )
        rows = samples.Samples(X, data.y, data.w, data.names).dicts()
        z = np.array([plain.learn(x, float(t), h) for x, t, h in zip(rows, y, data.w, strict=True)])
    np.testing.assert_allclose(z, expected, rtol=1e-4, atol=1e-4)
