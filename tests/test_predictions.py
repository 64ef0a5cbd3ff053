"""Predictions are those that a loop of predict and learn makes, whatever a model says them in."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from river import linear_model as rivers_linear
from river import preprocessing, tree

from streamgd import linear_model
from streamgd.evaluate._predictions import Answers, Predictions, answered, asked, reader

PAIRS = [(False, True), (0, 1), (-1, 1), (1, 0), ("no", "yes"), (2.5, 3.5)]


@pytest.fixture(scope="module")
def X() -> Any:
    return np.random.default_rng(0).normal(size=(300, 3))


@pytest.fixture(scope="module")
def truth(X) -> Any:
    return X[:, 0] + np.random.default_rng(1).normal(size=len(X)) > 0


def chunks(n: int, *sizes: int) -> list[slice]:
    bounds = np.minimum(np.cumsum([0, *sizes, n]), n).tolist()
    return [slice(a, b) for a, b in pairwise(bounds) if b > a]


def joined(parts: list[Predictions]) -> tuple[Any, Any]:
    """Codes and outputs; probabilities in full, by the labels known in the end."""
    k = len(parts[-1].labels or ())
    outputs = []
    for part in parts:
        z = part.output
        if part.labels is not None and k > 2:
            z = z if z.ndim == 2 else np.stack([1 - z, z], axis=1)
            z = np.pad(z, [(0, 0), (0, k - z.shape[1])])
        outputs.append(z)
    return np.concatenate([part.y for part in parts]), np.concatenate(outputs)


@pytest.mark.parametrize("pair", PAIRS, ids=str)
@pytest.mark.parametrize("sizes", [(), (1, 1, 1, 5), (100, 100)], ids=str)
@pytest.mark.parametrize(
    "kind", [linear_model.LogisticRegression, linear_model.PAClassifier, linear_model.Perceptron]
)
def test_binary_learners(kind, pair, sizes, X, truth):
    y = np.array([pair[k] for k in truth.astype(int)])
    given_labels = {} if kind is linear_model.Perceptron or pair != (1, 0) else {"labels": pair}
    model, loop = kind(**given_labels), kind(**given_labels)
    read = reader(model)
    parts = [read(y[s], model.predict_learn_rows(X[s], y[s])) for s in chunks(len(X), *sizes)]
    codes, p = joined(parts)
    labels = parts[-1].labels
    assert labels == model.labels_
    assert [labels[k] for k in codes] == y.tolist()
    assert np.concatenate([part.y_true for part in parts]).tolist() == y.tolist()
    for row, label, q in zip(X.tolist(), y.tolist(), p.tolist(), strict=True):
        x = dict(enumerate(row))
        answer = loop.predict_proba_one(x)
        if len(loop.labels_) == 2:
            assert q == pytest.approx(answer[labels[1]], rel=1e-12)
            assert (labels[1] if q > 0.5 else labels[0]) == loop.predict_one(x)
        loop.learn_one(x, label)
    last = parts[-1]
    assert last.guesses().tolist() == (last.output > 0.5).tolist()
    assert last.of_true().tolist() == np.where(last.y, last.output, 1 - last.output).tolist()
    assert last.scores() is last.raw


def test_before_both_labels_are_known(X):
    for label, code, labels in (
        ("a", 0, ("a",)), (True, 1, (False, True)), (False, 0, (False, True)), (1, 1, (0, 1)), (0, 0, (0, 1)),
        (7, 0, (7,)),
    ):  # fmt: skip
        y = np.array([label] * 3, dtype=object)
        for model in (linear_model.LogisticRegression(), linear_model.SoftmaxRegression()):
            predictions = reader(model)(y, model.predict_learn_rows(X[:3], y))
            found = predictions.labels
            assert set(predictions.y.tolist()) == {code}
            if type(model) is linear_model.LogisticRegression:
                assert found == labels
                assert predictions.output[0] == 0.5
            elif code:
                assert found == (False, label)
            else:
                assert found == (label,)
        answers = [{False: 0.75, True: 0.25}, {label: 1.0}]
        predictions = Answers()(y[:2], answers)
        assert predictions.y.tolist() == [code] * 2
        assert predictions.output[1] == code
        assert predictions.output[0] == (0.25 if label in (0, 1) else 1.0)


def test_a_gradient_that_is_not_applied_yet(X):
    """A full-batch step knows the labels when it is made; predictions are read before."""
    y = np.array(["ham", "spam", "eggs"])[np.arange(300) % 3]
    for kind, labels in ((linear_model.LogisticRegression, 2), (linear_model.SoftmaxRegression, 3)):
        model = kind()
        of = y[y != "eggs"] if labels == 2 else y
        read = reader(model)
        for s in chunks(len(of), 1, 1, 20):
            z = np.zeros(len(of[s])) if labels == 2 else np.zeros((len(of[s]), len(np.unique(of[: s.stop]))))
            predictions = read(of[s], z)
            assert [predictions.labels[k] for k in predictions.y] == of[s].tolist()


@pytest.mark.parametrize("sizes", [(), (1, 1, 1, 5), (100, 100)], ids=str)
@pytest.mark.parametrize("labels", ["abcd", (1, 0, 2, 3), (True, False), (3, 1)], ids=str)
def test_softmax(labels, sizes, X):
    k = np.random.default_rng(2).integers(0, len(labels), len(X))
    k[:40] %= 2  # the others appear late
    y = np.array(list(labels))[k]
    model, loop = linear_model.SoftmaxRegression(), linear_model.SoftmaxRegression()
    read, answers = reader(model), []
    parts = [read(y[s], model.predict_learn_rows(X[s], y[s])) for s in chunks(len(X), *sizes)]
    for row, label in zip(X.tolist(), y.tolist(), strict=True):
        x = dict(enumerate(row))
        answers.append(loop.predict_proba_one(x))
        loop.learn_one(x, label)
    codes, shares = joined(parts)
    found = parts[-1].labels
    kept = y[1:]  # the first row has no answer
    assert [found[c] for c in codes] == kept.tolist()
    for row, answer in zip(shares.tolist(), answers[1:], strict=True):
        by_label = dict(zip(found, row if len(found) > 2 else [1 - row, row], strict=True))
        for label, share in answer.items():
            assert by_label[label] == pytest.approx(share, rel=1e-12, abs=1e-15)
        assert all(by_label[label] == 0.0 for label in found if label not in answer)
    if len(found) == 2:
        last = parts[-1]
        assert 1 / (1 + np.exp(-last.scores())) == pytest.approx(last.output, rel=1e-12)
        assert found[1] in (True, 1)
    mine = asked(loop, "proba")[1](y, answers)
    assert mine.y.tolist() == codes.tolist()
    assert mine.output == pytest.approx(shares, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(
    "model", [linear_model.LogisticRegression(), linear_model.SoftmaxRegression()], ids=repr
)
def test_rows_that_were_skipped(model, X, truth):
    model = model.clone({"on_invalid": "skip"})
    spoiled = X.copy()
    spoiled[[0, 5, 299], 1] = math.nan
    z = model.predict_learn_rows(spoiled, truth)
    good = answered(z)
    missing = {0, 5, 299} | ({1} if z.ndim == 2 else set())  # no answer before the first label
    assert set(np.flatnonzero(~good).tolist()) == missing
    predictions = reader(model)(truth, z)
    assert predictions.y.tolist() == truth[good].astype(int).tolist()
    assert np.isfinite(predictions.output).all()
    assert len(reader(model)(truth[:1], z[:1]).y) == 0


def test_numbers(X):
    y = X @ [1.0, 2.0, 3.0]
    model, loop = (linear_model.LinearRegression(on_invalid="skip") for _ in range(2))
    spoiled = X.copy()
    spoiled[3, 0] = math.inf
    predictions = reader(model)(y, model.predict_learn_rows(spoiled, y))
    answers = []
    for row, target in zip(spoiled.tolist(), y.tolist(), strict=True):
        answers.append(loop.predict_one(dict(enumerate(row))))
        loop.learn_one(dict(enumerate(row)), target)
    assert answers[3] is None
    same = asked(loop, "proba")[1](y.tolist(), answers)
    for one in (predictions, same):
        assert one.labels is None
        assert one.y.tolist() == np.delete(y, 3).tolist()
        assert one.output.tolist() == [a for a in answers if a is not None]
    assert reader(rivers_linear.LinearRegression())([1, 2], [None, 2.5]).output.tolist() == [2.5]


def test_links_other_than_the_identity(X):
    from streamgd.optim import losses

    y = np.random.default_rng(3).poisson(1.0, len(X))
    model = linear_model.LinearRegression(loss=losses.Poisson())
    z = model.predict_learn_rows(X, y)
    predictions = reader(model)(y, z)
    assert predictions.output == pytest.approx(np.exp(z))
    assert predictions.raw is z


LABELS = st.sampled_from(["a", "b", "c", 0, 1, True, -1])


@settings(max_examples=100)
@example(rows=[(1, {}), ("a", {})], cuts=[1])
@given(
    rows=st.lists(
        st.tuples(LABELS, st.dictionaries(LABELS, st.floats(0.01, 1.0), min_size=0, max_size=4)), max_size=30
    ),
    cuts=st.lists(st.integers(0, 30), max_size=3),
)
def test_answers_by_label(rows, cuts):
    """Codes are dense and stay; shares of the labels that are known are where they belong."""
    read = Answers()
    bounds = [0, *sorted(min(k, len(rows)) for k in cuts), len(rows)]
    before: tuple[Any, ...] = ()
    met = 0
    for a, b in pairwise(bounds):
        part = [row for row in rows[a:b] if row[1]]
        predictions = read([row[0] for row in rows[a:b]], [row[1] for row in rows[a:b]])
        labels = predictions.labels
        assert len(predictions.y) == len(part)
        assert [labels[k] for k in predictions.y] == [label for label, _ in part]
        assert len(set(labels)) == len(labels)
        if met > 1:  # of a single 1, False stands in for the other
            assert labels[: len(before)] == before
        before, met = labels, len(read._codes)
        if len(labels) > 2 and predictions.output.ndim == 2:
            for row, (_, answer) in zip(predictions.output, part, strict=True):
                if len(answer) > 2:
                    assert {labels[k]: p for k, p in enumerate(row.tolist()) if p} == answer


def test_answers_that_are_labels_or_numbers():
    labels = Answers()(["a", "b", "b"], ["a", "a", "b"])
    assert labels.labels == ("a", "b")
    assert labels.guesses().tolist() == [0, 0, 1]
    three = Answers()(["a", "b", "c", "c"], ["a", "b", "c", "a"])
    assert three.guesses().tolist() == [0, 1, 2, 0]
    p = Answers(numbers=True)(["a", "b", "b"], [0.1, 0.4, 0.7])
    assert p.output.tolist() == [0.1, 0.4, 0.7]
    assert p.scores() == pytest.approx(np.log(np.array([0.1, 0.4, 0.7]) / [0.9, 0.6, 0.3]))
    assert len(Answers()([], []).y) == 0


def test_models_of_river(X, truth):
    y = np.array(["no", "yes", "so"])[truth.astype(int) + (X[:, 1] > 1)]
    model = preprocessing.StandardScaler() | tree.HoeffdingTreeClassifier(grace_period=20)
    read, parts, right = reader(model), [], 0
    for s in chunks(len(X), 1, 50, 100):
        answers = []
        for row, label in zip(X[s].tolist(), y[s].tolist(), strict=True):
            x = dict(enumerate(row))
            answers.append(model.predict_proba_one(x))
            right += bool(answers[-1]) and max(answers[-1], key=answers[-1].get) == label
            model.learn_one(x, label)
        parts.append(read(y[s], answers))
    assert sum((part.guesses() == part.y).sum() for part in parts) == right
    assert set(parts[-1].labels) == {"no", "yes", "so"}
