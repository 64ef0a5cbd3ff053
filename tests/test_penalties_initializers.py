"""Penalties and first weights: the papers' formulas, and river's numbers and draws."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import river
import river.linear_model
import river.optim
import samples
import sklearn
import sklearn.linear_model
from cases import Case
from hypothesis import given
from hypothesis import strategies as st
from oracles import FORMULA, record

from streamgd import linear_model, optim
from streamgd.optim import initializers, penalties

# -- penalties ---------------------------------------------------------------------------------


def largest(ours: Any, theirs: Any) -> float:
    """Largest difference between weights, relative to those larger than 1."""
    return max(abs(ours[k] - w) / max(1.0, abs(w)) for k, w in theirs.items())


weight = st.floats(-10.0, 10.0)
total = st.floats(0.0, 10.0)


@given(w=weight, l2=total)
def test_l2_is_the_gradient_of_half_the_square(w: float, l2: float) -> None:
    assert penalties.L2(l2).gradient(w) == l2 * w
    assert penalties.ElasticNet(1.0, l2).gradient(w) == l2 * w
    assert penalties.L2(l2).settle(w, 0.3, (2.0, 0.0), (2.5, 0.0)) == (w, 0.3)
    assert penalties.L2(l2).advance((2.0, 0.0), 0.1, 0.1) == (2.0, 0.0)


@given(w=weight, charged=weight, due=total)
def test_l1_pays_what_is_owed_and_stops_at_zero(w: float, charged: float, due: float) -> None:
    """The two branches of figure 2 of Tsuruoka, Tsujii and Ananiadou (2009)."""
    penalty = penalties.ElasticNet(0.5)
    charged = min(max(charged, -due), due)  # no weight has received more than all could have
    new, after = penalty.settle(w, charged, (0.0, 0.0), (due, 0.0))
    expected = max(0.0, w - (due + charged)) if w > 0 else min(0.0, w + (due - charged)) if w < 0 else w
    assert new == expected
    assert after == charged + (new - w)
    assert abs(new) <= abs(w)
    assert new * w >= 0
    assert penalty.advance((due, 0.0), 9.0, 0.1) == (due + 0.5 * 0.1, 0.0)


def test_l1_makes_useless_weights_zero() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 10))
    y = 2 * X[:, 0] - X[:, 1] + 0.01 * rng.normal(size=2000)
    model = linear_model.LinearRegression(optim.SGD(0.01), l1=0.1)
    model.learn_rows(X, y)
    assert [k for k, w in model.weights.items() if w != 0.0] == [0, 1]
    model = linear_model.LinearRegression(optim.SGD(0.01))
    model.learn_rows(X, y)
    assert all(model.weights.values())


@pytest.mark.parametrize("l2", [0.0, 0.05, 3.0])
def test_l2_equals_river(l2: float) -> None:
    rows, _, ys, _, _ = samples.sparse(800, 8, binary=False, seed=1)
    case = Case("Squared", "SGD", (0.05, 0.2), l2=l2)
    ours, theirs = case.ours(), case.rivers()
    for x, y in zip(rows, ys.tolist(), strict=True):
        ours.learn_one(x, y)
        theirs.learn_one(x, y)
    assert ours.weights == pytest.approx(theirs.weights, rel=1e-10)
    record("L2", "river", river.__version__, largest(ours.weights, theirs.weights))


@pytest.mark.parametrize("l1", [1e-4, 0.003, 0.1])
def test_l1_with_absent_and_late_features_equals_river(l1: float) -> None:
    rows, matrix, ys, _, names = samples.sparse(800, 8, binary=False, seed=2)
    case = Case("Huber", "SGD", (0.1, 0.1), l1=l1)
    ours, by_rows, theirs = case.ours(), case.ours(), case.rivers()
    for x, y in zip(rows, ys.tolist(), strict=True):
        ours.learn_one(x, y)
        theirs.learn_one(x, y)
    by_rows.learn_rows(matrix, ys, columns=names)
    assert ours.weights == pytest.approx(theirs.weights, rel=1e-10, abs=1e-14)
    assert by_rows.weights == pytest.approx(theirs.weights, rel=1e-10, abs=1e-14)
    assert [k for k, w in ours.weights.items() if w == 0] == [k for k, w in theirs.weights.items() if w == 0]
    record("ElasticNet, l1", "river", river.__version__, largest(ours.weights, theirs.weights))


@pytest.mark.parametrize(("l1", "l2"), [(0.0, 0.03), (0.02, 0.0), (0.02, 0.03)])
@pytest.mark.parametrize("binary", [False, True])
def test_both_penalties_equal_scikit_learn(binary: bool, l1: float, l2: float) -> None:
    """Its L1 penalty is the cumulative one too, and an elastic net decays a weight before its step."""
    data = samples.dense(800, 8, binary=binary, seed=9)
    case = Case("Log" if binary else "Squared", "SGD", 0.05, l1=l1, l2=l2, intercept_lr=0.05)
    ours = Case(**{**vars(case), "loss_fields": {} if binary else {"scale": 1.0}}).ours()
    ours.learn_rows(data.X, data.y)
    options = {"alpha": l1 + l2, "l1_ratio": l1 / (l1 + l2), "penalty": "elasticnet"}
    options |= {"learning_rate": "constant", "eta0": 0.05, "shuffle": False}
    if binary:
        theirs = sklearn.linear_model.SGDClassifier("log_loss", **options)
        theirs.partial_fit(data.X, data.y, [False, True])
    else:
        theirs = sklearn.linear_model.SGDRegressor("squared_error", **options).partial_fit(data.X, data.y)
    found = dict(enumerate([*ours.weights.values(), ours.intercept]))
    expected = dict(enumerate([*theirs.coef_.ravel().tolist(), theirs.intercept_.item()]))
    assert found == pytest.approx(expected, rel=1e-10, abs=1e-12)
    for piece in ("ElasticNet" if l1 else "L2", type(ours).__name__):
        record(piece, "scikit-learn", sklearn.__version__, largest(found, expected))


@pytest.mark.parametrize(
    ("penalty", "l1_ratio"),
    [(penalties.Proximal(0.1, 0.2), 1 / 3), (penalties.TruncatedGradient(0.3, every=1), 1.0)],
    ids=lambda value: type(value).__name__,
)
def test_full_batches_reach_the_optimum_of_scikit_learn(penalty: Any, l1_ratio: float) -> None:
    """Gradient steps and shrinkage in turn end where half the mean square plus the penalty is least."""
    data = samples.dense(200, 6, binary=False, seed=10)
    best = sklearn.linear_model.ElasticNet(
        alpha=0.3, l1_ratio=l1_ratio, fit_intercept=False, tol=1e-14, max_iter=100_000
    ).fit(data.X, data.y)
    halved = optim.losses.Squared(scale=1.0)
    model = linear_model.LinearRegression(optim.SGD(0.2), halved, penalty=penalty, intercept_lr=0.0)
    for _ in range(400):
        model.learn_many(data.X, data.y)
    expected = dict(enumerate(best.coef_.tolist()))
    assert 0.0 in expected.values()
    assert model.weights == pytest.approx(expected, rel=1e-7, abs=1e-9)
    record(
        f"{type(penalty).__name__}, optimum",
        "scikit-learn",
        sklearn.__version__,
        largest(model.weights, expected),
    )


def test_both_penalties_join() -> None:
    rows, _, ys, _, _ = samples.sparse(500, 8, binary=False, seed=3)
    case = Case("Huber", "SGD", 0.1, l1=0.002, l2=0.05)
    ours, plain = case.ours(), case.naive()
    for x, y in zip(rows, ys.tolist(), strict=True):
        ours.learn_one(x, y)
        plain.learn(x, y)
    assert ours.weights == pytest.approx(plain.weights, rel=1e-11, abs=1e-15)
    assert 0.0 in ours.weights.values()
    record("ElasticNet", FORMULA, "", largest(ours.weights, plain.weights))


def test_penalties_that_are_negative_are_errors() -> None:
    for make in (lambda: penalties.L2(-1.0), lambda: penalties.ElasticNet(0.1, -1.0)):
        with pytest.raises(ValueError, match=r"\(l2=-1.0\): l2 must be at least 0"):
            make()
    with pytest.raises(ValueError, match=r"ElasticNet\(l1=-0.5\): l1 must be at least 0"):
        penalties.ElasticNet(-0.5)
    for name in ("l1", "l2"):
        with pytest.raises(ValueError, match=rf"LinearRegression\({name}=...\): got -0.1; .* at least 0"):
            linear_model.LinearRegression(**{name: -0.1})


# -- initializers ------------------------------------------------------------------------------

STREAM = [{"a": 1.0}, {"b": 2.0, "a": 0.5}, {"c": -1.0}, {"d": 0.1, "a": 1.0, "e": 3.0}]

PAIRS: list[tuple[Any, Any]] = [
    (initializers.Zeros(), river.optim.initializers.Zeros()),
    (initializers.Constant(0.7), river.optim.initializers.Constant(0.7)),
    (initializers.Normal(0.1, 2.0, seed=42), river.optim.initializers.Normal(0.1, 2.0, seed=42)),
    (initializers.Normal(seed=7), river.optim.initializers.Normal(seed=7)),
]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda value: type(value).__name__)
def test_the_kth_feature_gets_rivers_kth_weight(ours: Any, theirs: Any) -> None:
    case = Case("Squared", "SGD", 0.05)
    model, river_model = case.ours(initializer=ours), case.rivers(initializer=theirs.clone())
    for x in STREAM * 40:
        model.learn_one(x, 1.5)
        river_model.learn_one(x, 1.5)
    assert list(model.weights) == list("abcde")
    assert model.weights == pytest.approx(river_model.weights, rel=1e-12)
    converted = case.ours(initializer=theirs.clone())  # river's object itself
    assert converted.initializer == ours
    for x in STREAM * 40:
        converted.learn_one(x, 1.5)
    assert converted.weights == model.weights


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda value: type(value).__name__)
def test_called_as_rivers(ours: Any, theirs: Any) -> None:
    first, many = ours(), ours(5)
    assert isinstance(first, float)
    assert first == theirs.clone()()
    assert many.tolist() == theirs.clone()(5).tolist()
    assert ours.values(2, 5).tolist() == ours.values(0, 5).tolist()[2:]
    record(f"initializers.{type(ours).__name__}", "river", river.__version__, 0.0)
    assert len(ours.values(3, 3)) == 0


def test_draws_go_on_after_growth_a_copy_and_a_file() -> None:
    initializer = initializers.Normal(seed=3)
    expected = initializer.values(0, 40)
    model = linear_model.LinearRegression(optim.SGD(0.0), initializer=initializer)
    for k in range(40):  # past the arrays' first 16 places
        if k == 10:
            model = pickle.loads(pickle.dumps(model))
        if k == 20:
            model = copy.deepcopy(model)
        model.learn_one({f"x{k}": 1.0}, 0.0)
    assert list(model.weights.values()) == expected.tolist()


def test_first_weights_in_rows_and_batches() -> None:
    """Columns are met from the left, whichever entry they come in by."""
    data = samples.dense(20, 3, binary=False, seed=4)
    initializer = initializers.Normal(seed=5)
    initial = initializer.values(0, 3).tolist()
    for way in ("learn_rows", "learn_many"):
        model = Case("Squared", "SGD", 0.05).ours(initializer=initializer)
        plain = Case("Squared", "SGD", 0.05).naive(initial=initial)
        getattr(model, way)(data.X, data.y, columns=data.names)
        if way == "learn_rows":
            for x, y in zip(data.dicts(), data.y.tolist(), strict=True):
                plain.learn(x, y)
        else:
            plain.learn_many(data.dicts(), data.y.tolist(), [1.0] * 20)
        assert model.weights == pytest.approx(plain.weights, rel=1e-12)


def test_a_feature_of_a_refused_row_takes_no_draw() -> None:
    initializer = initializers.Normal(seed=6)
    model = linear_model.LinearRegression(optim.SGD(0.0), initializer=initializer)
    model.learn_one({"a": 1.0}, 0.0)
    with pytest.raises(ValueError, match="feature 'c' is nan"):
        model.learn_one({"b": 1.0, "c": float("nan")}, 0.0)
    model.learn_one({"d": 1.0}, 0.0)
    assert list(model.weights.items()) == list(zip("ad", initializer.values(0, 2).tolist(), strict=True))


def test_normal_checks_its_deviation() -> None:
    with pytest.raises(ValueError, match=r"Normal\(sigma=-1.0\): sigma must be at least 0"):
        initializers.Normal(sigma=-1.0)
