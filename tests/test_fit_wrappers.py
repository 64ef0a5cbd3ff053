"""fit and progressive_val drive wrappers of compiled learners in compiled passes, with the same results."""

from __future__ import annotations

import numpy as np
import pytest

import streamgd
from streamgd import evaluate, imblearn, linear_model, optim, training
from streamgd.training._drivers import RowByRow, driver

DIST = {False: 0.5, True: 0.5}


def table(n=3000, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 0.08
    return rng.normal(size=(n, 4)) + 0.8 * y[:, None], y


def learner():
    return linear_model.LogisticRegression(optim.SGD(0.05))


WRAPPERS = {
    "weight": lambda: imblearn.OnlineClassWeight(learner(), half_life=500),
    "over": lambda: imblearn.RandomOverSampler(learner(), DIST, seed=1),
    "under": lambda: imblearn.RandomUnderSampler(learner(), DIST, seed=1),
    "smote": lambda: imblearn.ReservoirSMOTE(learner(), seed=1),
    "smote round weights": lambda: imblearn.ReservoirSMOTE(imblearn.OnlineClassWeight(learner()), seed=1),
}


def by_hand(model, X, y):
    p = []
    for x, label in zip(X.tolist(), y.tolist(), strict=True):
        row = dict(enumerate(x))
        p.append(model.predict_proba_one(row)[True])
        model.learn_one(row, label)
    return np.array(p)


@pytest.mark.parametrize("name", WRAPPERS)
def test_fit_learns_what_learn_one_does(name):
    X, y = table()
    expected = WRAPPERS[name]()
    p = by_hand(expected, X, y)
    model = WRAPPERS[name]()
    assert isinstance(driver(model, 1, 1, "proba", dicts=False), RowByRow)
    history = streamgd.fit(model, X, y, metrics=["logloss", "gmean"])
    inside = model._read_by
    assert inside.weights == expected._read_by.weights
    assert inside.n_updates == history.updates == expected._read_by.n_updates
    losses = -np.log(np.where(y, p, 1.0 - p))
    assert history.columns["loss"][-1] == pytest.approx(losses.mean(), rel=1e-9)
    recalls = [np.mean(p[y] > 0.5), np.mean(p[~y] <= 0.5)]
    assert history.columns["gmean"][-1] == pytest.approx(np.sqrt(np.prod(recalls)), rel=1e-9)


@pytest.mark.parametrize("name", WRAPPERS)
def test_progressive_val_of_rows_is_that_of_dicts(name):
    X, y = table()
    rows = evaluate.progressive_val(WRAPPERS[name](), X, y, metrics=["logloss", "prauc"])
    samples = list(zip(map(dict, map(enumerate, X.tolist())), y.tolist(), strict=True))
    dicts = evaluate.progressive_val(WRAPPERS[name](), samples, metrics=["logloss", "prauc"])
    for metric, tolerance in (("logloss", 1e-9), ("prauc", 1e-6)):
        one, other = (next(iter(run.results.values())).columns[metric][-1] for run in (rows, dicts))
        assert one == pytest.approx(other, rel=tolerance)


def test_a_mini_batch_of_a_weighted_learner_is_the_learners():
    X, y = table()
    wrapped = imblearn.OnlineClassWeight(learner())
    plain = linear_model.LogisticRegression(optim.SGD(0.05), class_weight="balanced")
    for size in (100, "all"):
        a = streamgd.fit(wrapped, X, y, batch_size=size)
        b = streamgd.fit(plain, X, y, batch_size=size)
        assert a.updates == b.updates
    assert wrapped.classifier.weights == plain.weights


def test_a_calibrated_model_is_judged_by_its_own_answers():
    X, y = table()
    model = imblearn.OnlineCalibration(learner())
    assert not isinstance(driver(model, 1, 1, "proba", dicts=False), RowByRow)
    expected = by_hand(imblearn.OnlineCalibration(learner()), X, y)
    history = streamgd.fit(model, X, y, metrics=["logloss"])
    losses = -np.log(np.where(y, expected, 1.0 - expected))
    assert history.columns["logloss"][-1] == pytest.approx(losses.mean(), rel=1e-9)


@pytest.mark.parametrize("name", WRAPPERS)
def test_interrupted_rows_are_behind_or_ahead_and_never_both(name, monkeypatch):
    """Ctrl-C between two chunks of a kernel: what fit says it has seen is what the model has learned."""
    X, y = table(4000)
    model = WRAPPERS[name]()
    inside = model._read_by
    run = type(inside)._run
    calls = []

    def interrupted(self, job, state=None):
        status = run(self, job, state)
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return status

    monkeypatch.setattr("streamgd._learner.CHUNK", 4 * 250)  # rows of 4 values in a call of the kernel
    monkeypatch.setattr(type(inside), "_run", interrupted)
    with pytest.raises(KeyboardInterrupt) as error:
        streamgd.fit(model, X, y)
    seen = error.value.history.samples
    monkeypatch.undo()
    assert 0 < seen < 4000
    expected = WRAPPERS[name]()
    by_hand(expected, X[:seen], y[:seen])
    reached = inside.n_updates
    last = expected._read_by.n_updates
    by_hand(before := WRAPPERS[name](), X[: seen - 1], y[: seen - 1])
    assert before._read_by.n_updates <= reached <= last  # the last row's copies may be cut short
    if reached == last:
        assert inside.weights == expected._read_by.weights
    rest = streamgd.fit(model, X, y, start=error.value.history.position)
    assert rest.samples == 4000 - seen


def test_early_stopping_sees_the_losses_of_real_rows():
    X, y = table()
    model = imblearn.ReservoirSMOTE(learner(), seed=1)
    history = streamgd.fit(model, X, y, epochs=5, callbacks=[training.EarlyStopping(patience=1)])
    assert 1 < history.epochs <= 5
    assert history.samples == history.epochs * len(y)
