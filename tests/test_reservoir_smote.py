"""`ReservoirSMOTE` on streams: where synthetic rows lie, how many there are, and what they touch."""

from __future__ import annotations

import copy
import math
import pickle
from collections import Counter
from concurrent import futures

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from river import base, checks, compose, drift, ensemble, metrics, preprocessing, stats, tree
from river import linear_model as river_linear
from scipy import sparse

from streamgd import evaluate, imblearn, linear_model, optim
from streamgd._errors import InvalidRow
from streamgd.imblearn import _reservoirs
from streamgd.kernels.neighbours import all_nearest
from streamgd.kernels.reservoirs import SCHEMES


class ReservoirSMOTE(imblearn.ReservoirSMOTE):
    """With room for many rows, and as many of each class, where a test does not say otherwise."""

    def __init__(
        self,
        classifier,
        kind="regular",
        *,
        sampling_strategy=1.0,
        k_neighbors=5,
        m_neighbors=10,
        capacity=500,
        reservoir="biased",
        half_life=0.0,
        max_per_arrival=10,
        standardise=False,
        categorical_features=None,
        drift_detector=None,
        seed=None,
    ):
        super().__init__(
            classifier,
            kind,
            sampling_strategy=sampling_strategy,
            k_neighbors=k_neighbors,
            m_neighbors=m_neighbors,
            capacity=capacity,
            reservoir=reservoir,
            half_life=half_life,
            max_per_arrival=max_per_arrival,
            standardise=standardise,
            categorical_features=categorical_features,
            drift_detector=drift_detector,
            seed=seed,
        )


KINDS = ("regular", "borderline1", "borderline2", "adasyn", "replay")


def stream(n, shares=(0.9, 0.1), d=4, seed=0, labels=(False, True)):
    """Rows ``(n, d)`` of overlapping classes, and labels."""
    rng = np.random.default_rng(seed)
    codes = rng.choice(len(shares), size=n, p=shares)
    X = rng.normal(size=(n, d)) + codes[:, None] * np.linspace(0.2, 1.0, d)
    return X, np.array(labels)[codes]


def dicts(X, names=None):
    names = range(X.shape[1]) if names is None else names
    return [dict(zip(names, row, strict=True)) for row in X.tolist()]


class Recorder(base.Classifier):
    """Learns nothing, and remembers what it was given to learn."""

    def __init__(self):
        self.seen = []

    def learn_one(self, x, y, w=1.0):
        self.seen.append((dict(x), y, w, False))

    def _learn_made_one(self, x, y, w=1.0):
        self.seen.append((dict(x), y, w, True))

    def predict_one(self, x, **kwargs):
        return False

    @property
    def _multiclass(self):
        return True

    @property
    def arrivals(self):
        """Each real sample with the synthetic ones that followed."""
        groups = []
        for x, y, _, made in self.seen:
            groups[-1][1].append((x, y)) if made else groups.append(((x, y), []))
        return groups


def recorded(X, y, *args, **kwargs):
    model = ReservoirSMOTE(Recorder(), *args, **{"seed": 1} | kwargs)
    for x, label in zip(dicts(X), y.tolist(), strict=True):
        model.learn_one(x, label)
    return model


# -- river's checks ----------------------------------------------------------------------------


def wrapped():
    yield linear_model.LogisticRegression()
    yield linear_model.SoftmaxRegression()
    yield river_linear.LogisticRegression()
    yield tree.HoeffdingTreeClassifier()
    yield ensemble.BaggingClassifier(tree.HoeffdingTreeClassifier(), n_models=2, seed=1)
    yield preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.Adam(0.01))
    yield preprocessing.StandardScaler() | river_linear.LogisticRegression()


CASES = [
    pytest.param(model, check, id=f"{i}-{type(model.classifier).__name__}-{check.__name__}-{j}")
    for i, classifier in enumerate(wrapped())
    for model in [ReservoirSMOTE(classifier, seed=3), imblearn.ReservoirSMOTE(classifier, seed=3)]
    for j, check in enumerate(checks.yield_checks(model))
    if check.__name__ not in model._unit_test_skips()
]


@pytest.mark.parametrize(("model", "check"), CASES)
def test_river_checks(model, check):
    check(model.clone())


def test_no_check_is_left_out():
    assert all(ReservoirSMOTE(classifier)._unit_test_skips() == set() for classifier in wrapped())


# -- where synthetic rows lie ------------------------------------------------------------------


def on_segment(point, base_row, other):
    """How far along the segment from one row to another a point lies, NaN if it does not."""
    way = other - base_row
    j = int(np.abs(way).argmax())
    gap = (point[j] - base_row[j]) / way[j] if way[j] else 0.0
    return gap if np.allclose(base_row + gap * way, point, rtol=0, atol=1e-12) else np.nan


@pytest.mark.parametrize("kind", KINDS)
def test_made_rows_lie_where_the_kind_says(kind):
    # With reservoirs that hold all, what is stored is what came: every synthetic row is looked for.
    X, y = stream(300)
    k, m = 3, 6
    model = recorded(X, y, kind, k_neighbors=k, m_neighbors=m, capacity=1000, reservoir="uniform")
    rows, labels = np.empty((0, 4)), np.empty(0, dtype=bool)
    n_made, others = 0, 0
    for (x, label), made in model.classifier.arrivals:
        rows, labels = np.vstack([rows, list(x.values())]), np.append(labels, label)
        own, rest = rows[labels], rows[~labels]
        for point, made_label in made:
            assert made_label is True
            point = np.array(list(point.values()))
            n_made += 1
            found = False
            for i, one in enumerate(own):
                if kind == "replay":
                    found = found or bool((one == point).all())
                    continue
                near = np.argsort(((own - one) ** 2).sum(axis=1), kind="stable")
                near = near[near != i][:k]
                all_rows, is_own = np.vstack([own, rest]), np.arange(len(rows)) < len(own)
                order = np.argsort(((all_rows - one) ** 2).sum(axis=1), kind="stable")
                order = order[order != i]
                of_others = (~is_own[order[: k if kind == "adasyn" else m]]).sum()
                if kind.startswith("borderline") and not m / 2 <= of_others < m:
                    continue
                if kind == "adasyn" and of_others == 0:
                    continue
                ends = [(own[j], 1.0) for j in near]
                if kind == "borderline2":
                    ends = [(all_rows[j], 1.0 if is_own[j] else 0.5) for j in order[:k]]
                for end, furthest in ends:
                    gap = on_segment(point, one, end)
                    if 0.0 <= gap < furthest:
                        found = True
                        others += furthest == 0.5
            assert found
    assert n_made > 100
    assert (others > 10) == (kind == "borderline2")


def test_bases_neighbours_and_gaps_are_uniform():
    # Seven points of a class, then the other class alone: all that is made is made of the seven.
    rng = np.random.default_rng(5)
    own = rng.normal(size=(7, 3))
    X = np.vstack([own, rng.normal(size=(6000, 3))])
    model = recorded(X, np.arange(len(X)) < 7, k_neighbors=2, capacity=10, reservoir="uniform")
    points = [np.array([*x.values()]) for _, made in model.classifier.arrivals for x, label in made if label]
    assert len(points) == 6000 - 7
    segments = Counter()  # in either direction
    gaps = []
    for i in range(7):
        for j in np.argsort(((own - own[i]) ** 2).sum(axis=1))[1:3].tolist():
            segments[min(i, j), max(i, j)] += 1
    found = Counter()
    for point in points:
        for i, j in segments:
            gap = on_segment(point, own[i], own[j])
            if 0.0 <= gap <= 1.0:
                found[i, j] += 1
                gaps.append(gap)
    assert sum(found.values()) == len(points)
    expected = np.array([n * len(points) / 14 for n in segments.values()])
    got = np.array([found[segment] for segment in segments])
    assert len(segments) < 14  # some pairs are each other's neighbours
    assert scipy.stats.chisquare(got, expected).pvalue > 0.001
    assert scipy.stats.kstest(gaps, "uniform").pvalue > 0.001


@pytest.mark.parametrize("reservoir", SCHEMES)
def test_neighbours_that_are_remembered_are_the_nearest(reservoir):
    X, y = stream(3000, (0.7, 0.3), d=3)
    X = X.round(1)  # many are as far away
    model = recorded(X[:100], y[:100], reservoir=reservoir, capacity=60, half_life=100.0)
    looked_at = 0
    for x, label in zip(dicts(X[100:]), y[100:].tolist(), strict=True):
        model.learn_one(x, label)
        state = model._reservoirs._state
        for c in range(2):
            n = state.slots[c, 0]
            known = np.flatnonzero(state.known[c, :n])[:3]
            index, distance = all_nearest(state.rows[c, :n], state.rows[c, known], 5, exclude=known)
            np.testing.assert_array_equal(state.listed[c, known], index)
            np.testing.assert_array_equal(state.away[c, known], distance)
            looked_at += len(known)
    assert looked_at > (1000 if reservoir == "time_biased" else 5000)


@pytest.mark.parametrize("standardise", [False, True])
def test_distances_on_standardised_features(standardise):
    # The second feature decides on raw distances, both do where they are standardised.
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=400), 1000.0 * rng.normal(size=400)])
    y = np.arange(400) % 20 == 0
    model = recorded(X, y, standardise=standardise, k_neighbors=1, capacity=50, reservoir="uniform")
    looked_at, raw = 0, 0
    for n, (_, made) in enumerate(model.classifier.arrivals, 1):
        own = X[:n][y[:n]]
        for point, _ in made:
            looked_at += 1
            point = np.array(list(point.values()))
            ways = []
            for scale in (X[:n].std(axis=0) if standardise else np.ones(2), np.ones(2)):
                distances = (((own[:, None] - own) / scale) ** 2).sum(axis=2)
                np.fill_diagonal(distances, np.inf)
                pairs = enumerate(distances.argmin(axis=1))
                ways.append(any(0.0 <= on_segment(point, own[i], own[j]) < 1.0 for i, j in pairs))
            assert ways[0]
            raw += ways[1]
    assert looked_at > 300
    assert (raw == looked_at) != standardise


# -- how many ----------------------------------------------------------------------------------


def naive_numbers(y, ratio, most, fewest, half_life, weights):
    """Labels of synthetic rows after each row, by the rule as the documentation states it."""
    fading = 2.0 ** (-1.0 / half_life) if half_life else 1.0
    real, made, stored = {}, {}, Counter()
    numbers = []
    for label, w in zip(y, weights, strict=True):
        real = {c: n * fading for c, n in real.items()}
        made = {c: n * fading for c, n in made.items()}
        real[label] = real.get(label, 0.0) + w
        stored[label] += 1
        largest = max(real, key=lambda c: real[c])
        row = []
        for _ in range(most):
            lacks = {
                c: (ratio.get(c, 0.0) if isinstance(ratio, dict) else ratio) * real[largest]
                - n
                - made.get(c, 0.0)
                for c, n in real.items()
                if c != largest and stored[c] >= fewest
            }
            if not lacks or max(lacks.values()) < 1.0 - 1e-9:
                break
            chosen = max(lacks, key=lambda c: lacks[c])
            made[chosen] = made.get(chosen, 0.0) + 1.0
            row.append(chosen)
        numbers.append(row)
    return numbers


@pytest.mark.parametrize("most", [1, 3, 10])
@pytest.mark.parametrize("ratio", [1.0, 0.3, {"b": 0.5, "d": 0.2}])
@pytest.mark.parametrize("half_life", [0.0, 100.0])
def test_numbers_follow_the_rule(ratio, most, half_life):
    X, y = stream(1500, (0.8, 0.12, 0.05, 0.03), labels=("a", "b", "c", "d"))
    y[1000:] = np.where(y[1000:] == "a", "b", np.where(y[1000:] == "b", "a", y[1000:]))  # another majority
    weights = np.random.default_rng(3).choice([0.5, 1.0, 2.0], size=len(y))
    model = ReservoirSMOTE(
        Recorder(), "replay", sampling_strategy=ratio, max_per_arrival=most, half_life=half_life, seed=0
    )
    for x, label, w in zip(dicts(X), y.tolist(), weights.tolist(), strict=True):
        model.learn_one(x, label, w)
    got = [[label for _, label in made] for _, made in model.classifier.arrivals]
    expected = naive_numbers(y.tolist(), ratio, most, 6, half_life, weights)
    assert [sorted(row) for row in got] == [sorted(row) for row in expected]
    assert max(map(len, got)) <= most
    assert sum(map(len, got)) > 100


@pytest.mark.parametrize("kind", ["regular", "replay"])
@pytest.mark.parametrize("ratio", [1.0, 0.25])
def test_the_target_is_reached(kind, ratio):
    X, y = stream(3000, (0.9, 0.07, 0.03), labels=(0, 1, 2))
    model = recorded(X, y, kind, sampling_strategy=ratio)
    learned = Counter(label for _, label, _, _ in model.classifier.seen)
    real = Counter(y.tolist())
    assert learned[0] == real[0]
    for label in (1, 2):
        # real ones that come while nothing is lacking are on top
        assert ratio * real[0] - 1.0 < learned[label] < ratio * real[0] + 4.0
    assert model.class_counts_ == {label: float(real[label]) for label in model.class_counts_}


def test_synthetic_rows_come_with_the_majority_evenly():
    X, y = stream(4000, (0.98, 0.02))
    model = recorded(X, y, "replay")
    numbers = [len(made) for _, made in model.classifier.arrivals][2000:]
    assert max(numbers) <= 2
    assert np.mean(numbers) == pytest.approx(1 - 2 * y[2000:].mean(), abs=0.01)


# -- what is stored ----------------------------------------------------------------------------


@pytest.mark.parametrize("reservoir", sorted(SCHEMES.keys() - {"time_biased"}))
def test_a_reservoir_larger_than_the_class_holds_all_of_it(reservoir):
    X, y = stream(200)
    model = recorded(X, y, reservoir=reservoir, capacity=2000)
    for label in (False, True):
        stored = sorted(tuple(x.values()) for x in model.stored(label))
        own = sorted(map(tuple, X[y == label].tolist()))
        if reservoir == "biased":  # overwrites from the start, with the probability that it is filled
            assert set(stored) <= set(own)
            assert len(stored) > 0.8 * len(own)
        else:
            assert stored == own


def test_a_class_that_is_silent_fades():
    X, _ = stream(600)
    y = np.arange(600) < 60
    y[:60:3] = False
    model = ReservoirSMOTE(Recorder(), "replay", reservoir="time_biased", half_life=20.0, seed=0)
    stored = []
    for i, (x, label) in enumerate(zip(dicts(X), y.tolist(), strict=True)):
        model.learn_one(x, label)
        stored.append(len(model.stored(True)))
        own = {tuple(row) for row in X[: i + 1][y[: i + 1]].tolist()}
        assert {tuple(x.values()) for x in model.stored(True)} <= own
    assert 15 < stored[59] <= 40
    assert 0 < stored[100] < 0.5 * stored[59]
    assert stored[-1] <= 1  # the one that is partial: stored with a probability near 0
    assert not any(made for _, made in model.classifier.arrivals[300:])


def test_only_real_rows_are_stored():
    X, y = stream(1000)
    model = recorded(X, y, capacity=50, reservoir="window")
    own = X[y].tolist()
    assert [list(x.values()) for x in model.stored(True)] == [own[i] for i in _ring(len(own), 50)]
    assert model.stored("none such") == []


def _ring(n, capacity):
    """Which of n items each slot of a ring holds."""
    return [max(range(slot, n, capacity)) for slot in range(min(n, capacity))]


def test_memory_is_flat():
    X, y = stream(6000, d=5)
    model = ReservoirSMOTE(linear_model.LogisticRegression(), capacity=64, seed=0)
    sizes = []
    for start in range(0, len(y), 1000):
        model.learn_rows(X[start : start + 1000], y[start : start + 1000])
        state = model._reservoirs._state
        sizes.append((sum(array.nbytes for array in state), model._raw_memory_usage))
    assert sizes[1] == sizes[-1]
    assert state.rows.shape == (2, 64, 8)


def test_what_would_take_too_much_memory_is_refused(monkeypatch):
    monkeypatch.setattr(_reservoirs, "LARGEST", 1 << 20)
    model = ReservoirSMOTE(tree.HoeffdingTreeClassifier(), capacity=1000, seed=0)
    model.learn_one({"a": 1.0}, 1)
    with pytest.raises(
        MemoryError, match=r"1 classes of up to 1000 rows with 201 features take .* smaller capacity"
    ):
        model.learn_one({str(k): 1.0 for k in range(200)}, 1)
    model.learn_one({"a": 2.0}, 1)
    assert model.class_counts_ == {1: 2.0}


# -- what is odd -------------------------------------------------------------------------------


def test_one_class_only():
    X, _ = stream(100)
    model = recorded(X, np.ones(100, dtype=bool))
    assert not any(made for _, made in model.classifier.arrivals)


def test_equal_points_give_copies():
    X, y = stream(200)
    X[y] = 1.5
    model = recorded(X, y)
    made = [x for _, points in model.classifier.arrivals for x, _ in points]
    assert len(made) > 100
    assert all(set(x.values()) == {1.5} for x in made)


def test_more_neighbours_than_the_class_has():
    X, y = stream(120)
    model = recorded(X, y, k_neighbors=1000)
    numbers = [len(made) for _, made in model.classifier.arrivals]
    sixth = np.flatnonzero(y)[5]
    assert sum(numbers[:sixth]) == 0 < numbers[sixth]
    one = ReservoirSMOTE(Recorder(), capacity=1, seed=0)
    for i in range(20):
        one.learn_one({"x": float(i)}, i == 3)
    assert {x["x"] for _, made in one.classifier.arrivals for x, _ in made} == {3.0}


def test_late_and_missing_features():
    rng = np.random.default_rng(0)
    model = ReservoirSMOTE(Recorder(), seed=0, capacity=10, reservoir="window")
    for i in range(300):
        x = {"a": float(rng.normal()), "b": float(rng.normal())}
        if i >= 150:
            x["late"] = float(rng.normal()) + 5.0
        if i % 3 == 0:
            del x["b"]
        model.learn_one(x, i % 10 == 0)
    groups = model.classifier.arrivals
    assert all("late" not in x for _, made in groups[:150] for x, _ in made)
    assert any("late" in x and "b" not in x for _, made in groups[150:] for x, _ in made)
    assert all("late" in x for _, made in groups[260:] for x, _ in made)
    assert all(set(x) <= {"a", "b", "late"} and "a" in x for _, made in groups for x, _ in made)
    assert all("late" in x for x in model.stored(True))


def test_absent_features_count_as_zero():
    # The neighbour of {} is at 0 in "b", so a point between it and {"b": 4} is between 0 and 4.
    model = ReservoirSMOTE(Recorder(), seed=0, k_neighbors=1)
    for _ in range(6):
        model.learn_one({"a": 1.0}, True)
        model.learn_one({"a": 1.0, "b": 4.0}, True)
    model = ReservoirSMOTE(Recorder(), seed=0, k_neighbors=1, capacity=2, reservoir="uniform")
    model.learn_one({"a": 1.0}, True)
    model.learn_one({"a": 1.0, "b": 4.0}, True)
    for _ in range(50):
        model.learn_one({"a": -1.0, "b": 0.0}, False)
    made = [x for _, points in model.classifier.arrivals for x, _ in points]
    assert len(made) == 48
    assert all(x["a"] == 1.0 and 0.0 <= x["b"] <= 4.0 for x in made)
    assert len({x["b"] for x in made}) == 48


def test_texts_are_categories():
    rng = np.random.default_rng(1)
    model = ReservoirSMOTE(Recorder(), seed=0)
    for i in range(400):
        rare = i % 10 == 0
        colour = rng.choice(["red", "green"]) if rare else "blue"
        model.learn_one({"x": float(rng.normal()), "colour": str(colour)}, rare)
    made = [x for _, points in model.classifier.arrivals for x, _ in points]
    assert Counter(x["colour"] for x in made).keys() == {"red", "green"}
    assert all(isinstance(x["x"], float) for x in made)
    with pytest.raises(TypeError, match=r"'colour' is 3.0, and was a text before: .*FeatureEncoder"):
        model.learn_one({"x": 0.0, "colour": 3.0}, True)
    with pytest.raises(TypeError, match=r"'x' is 'one', and was a number before"):
        model.learn_one({"x": "one", "colour": "red"}, True)


def test_an_absent_text_is_none_of_the_texts():
    rng = np.random.default_rng(0)

    def stream_of_texts():
        for i in range(400):
            x = {"x": float(rng.normal()), "colour": "green" if i % 10 == 0 else "red"}
            if i % 20 == 0:
                del x["colour"]
            yield x, i % 10 == 0

    colours = Counter(x.get("colour") for x, y in ReservoirSMOTE.resample(stream_of_texts(), seed=1) if y)
    assert colours.keys() == {"green", None}
    assert min(colours.values()) > 50


def test_texts_are_bounded_in_number(monkeypatch):
    monkeypatch.setattr(_reservoirs, "MOST_TEXTS", 3)
    model = ReservoirSMOTE(Recorder(), seed=0)
    for text in "abcabc":
        model.learn_one({"x": 1.0, "text": text}, True)
    for _ in range(2):
        with pytest.raises(ValueError, match="feature 'text' has had 3 texts and now 'd'"):
            model.learn_one({"x": 1.0, "text": "d"}, True)
    assert {x["text"] for x in model.stored(True)} <= set("abc")


def test_a_sample_that_is_refused_for_a_text_leaves_the_others():
    model = ReservoirSMOTE(Recorder(), seed=0)
    model.learn_one({"x": 1.0, "text": "a"}, True)
    with pytest.raises(TypeError, match="'x' is 'bad', and was a number before"):
        model.learn_one({f"new {k}": "b" for k in range(20)} | {"x": "bad"}, True)
    assert model.stored(True) == [{"x": 1.0, "text": "a"}]


def test_codes_take_the_commonest_value_and_the_median_deviation():
    # A code that differs adds the square of the median deviation: here it is worth more than the other
    # feature, so that neighbours have the same code, and a made row has it too.
    rng = np.random.default_rng(2)
    X = np.column_stack([np.arange(60.0), rng.integers(0, 2, 60), 100.0 * rng.normal(size=60)])
    own = np.arange(60) < 20
    model = recorded(
        X[np.r_[:60, [59] * 200]],
        np.append(own, [False] * 200),
        categorical_features=[1],
        capacity=100,
        reservoir="uniform",
    )
    rows = X[own]
    median = np.median(rows[:, [0, 2]].std(axis=0))
    for (_, _), made in model.classifier.arrivals[60:]:
        for point, _ in made:
            point = np.array(list(point.values()))
            assert point[1] in (0.0, 1.0)
            found = False
            for i, one in enumerate(rows):
                distance = ((rows - one)[:, [0, 2]] ** 2).sum(axis=1) + median**2 * (rows[:, 1] != one[1])
                distance[i] = np.inf
                near = np.argsort(distance)[:5]
                modes = Counter(rows[near, 1].tolist())
                if modes[point[1]] == max(modes.values()):
                    gaps = [on_segment(point[[0, 2]], one[[0, 2]], rows[j][[0, 2]]) for j in near]
                    found = found or any(0.0 <= gap < 1.0 for gap in gaps)
            assert found


def test_values_that_are_missing():
    model = ReservoirSMOTE(Recorder(), seed=0)
    for i in range(40):
        model.learn_one({"a": float(i), "b": None if i % 2 else math.nan}, i % 4 == 0)
    model.learn_one({"a": math.inf}, True)
    assert len(model.stored(True)) == 10
    assert all(x.keys() == {"a"} for x in model.stored(True))
    assert all(x.keys() == {"a"} for _, made in model.classifier.arrivals for x, _ in made)


# -- errors and weights ------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, None])
def test_a_refused_sample_leaves_the_reservoir_as_it_was(bad):
    X, y = stream(200)
    model = ReservoirSMOTE(linear_model.LogisticRegression(), seed=0)
    for x, label in zip(dicts(X), y.tolist(), strict=True):
        model.learn_one(x, label)
    before = pickle.dumps(model._reservoirs)
    with pytest.raises(ValueError, match="feature 2 is"):
        model.learn_one({0: 1.0, 1: 1.0, 2: bad}, True)
    with pytest.raises(ValueError, match="the label is None"):
        model.learn_one({0: 1.0}, None)
    with pytest.raises(ValueError, match="w is -1"):
        model.learn_one({0: 1.0}, True, -1)
    model.learn_one({0: 1.0}, True, 0)
    assert pickle.dumps(model._reservoirs) == before


def test_samples_that_are_skipped_are_not_stored():
    X, y = stream(400)
    X[50:60, 1] = np.nan
    models = [ReservoirSMOTE(linear_model.LogisticRegression(on_invalid="skip"), seed=0) for _ in range(2)]
    for x, label in zip(dicts(X), y.tolist(), strict=True):
        models[0].learn_one(x, label)
    z = models[1].predict_learn_rows(X, y)
    assert np.flatnonzero(np.isnan(z)).tolist() == list(range(50, 60))
    assert [m.n_invalid for m in models] == [10, 10]
    assert models[0].class_counts_ == models[1].class_counts_
    assert sum(models[0].class_counts_.values()) == 390
    assert models[0].classifier.weights == models[1].classifier.weights


@pytest.mark.parametrize("label", [None, math.nan, 2, [1]])
@pytest.mark.parametrize("in_pipeline", [False, True])
def test_samples_whose_label_is_skipped_are_not_stored(label, in_pipeline):
    learner = linear_model.LogisticRegression(on_invalid="skip", labels=(0, 1))
    model = ReservoirSMOTE(preprocessing.StandardScaler() | learner if in_pipeline else learner, seed=0)
    for i in range(60):
        model.learn_one({"a": float(i)}, i % 2)
        model.learn_one({"a": float(i)}, label)
    assert model.class_counts_ == {0: 30.0, 1: 30.0}
    assert (model.classifier["LogisticRegression"] if in_pipeline else learner).n_invalid == 60


@pytest.mark.parametrize("as_what", [np.asarray, sparse.csr_matrix])
def test_rows_whose_label_is_skipped_are_not_stored(as_what, monkeypatch):
    X, y = stream(300, (0.5, 0.3, 0.2), labels=(0, 1, 2))
    X[0, 0] = np.nan
    y[:3] = 2, 0, 1  # the first row does not make its label known
    models = [ReservoirSMOTE(linear_model.LogisticRegression(on_invalid="skip"), seed=0) for _ in range(3)]
    for x, label in zip(dicts(X), y.tolist(), strict=True):
        models[0].learn_one(x, label)
    z = models[1].predict_learn_rows(as_what(X), y)
    monkeypatch.setattr(_reservoirs, "_AT_ONCE", 1)
    models[2].learn_many(as_what(X), y)
    expected = {0: float((y == 0).sum()), 1: float((y == 1).sum())}
    assert [m.class_counts_ for m in models] == [expected] * 3
    assert [m.n_invalid for m in models] == [(y == 2).sum()] * 3
    assert np.isnan(z).sum() == (y == 2).sum()
    assert models[0].classifier.weights == models[1].classifier.weights


def test_a_label_without_a_good_sample_is_not_counted():
    X = np.array([[1.0], [np.nan], [2.0]])
    model = ReservoirSMOTE(linear_model.SoftmaxRegression(on_invalid="skip"))
    model.learn_rows(X, np.array(["a", "b", "a"]))
    assert model.class_counts_ == {"a": 2.0}


def test_weights_go_through_and_synthetic_samples_weigh_one():
    X, y = stream(100)
    model = ReservoirSMOTE(Recorder(), seed=0)
    for i, (x, label) in enumerate(zip(dicts(X), y.tolist(), strict=True)):
        model.learn_one(x, label, w=i % 3)
    seen = model.classifier.seen
    assert [w for _, _, w, made in seen if not made] == [i % 3 for i in range(100) if i % 3]
    assert {w for _, _, w, made in seen if made} == {1.0}
    assert model.class_counts_[True] == sum(i % 3 for i in range(100) if y[i])

    class Unweighted(Recorder):
        def learn_one(self, x, y):
            super().learn_one(x, y)

    with pytest.raises(TypeError, match="Unweighted takes no weights"):
        ReservoirSMOTE(Unweighted()).learn_one({"a": 1.0}, True, 2.0)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"kind": "smote"}, ValueError, "kind='smote'; it is one of 'regular'"),
        ({"reservoir": "full"}, ValueError, "reservoir='full'; it is one of"),
        ({"capacity": 0}, ValueError, "capacity=0; it must be an integer of at least 1"),
        ({"k_neighbors": 2.5}, ValueError, "k_neighbors=2.5"),
        ({"k_neighbors": True}, ValueError, "k_neighbors=True; it must be an integer"),
        ({"half_life": "5"}, ValueError, "half_life='5'; it is a number of samples"),
        ({"max_per_arrival": -1}, ValueError, "max_per_arrival=-1"),
        ({"sampling_strategy": 2.0}, ValueError, "sampling_strategy=2.0: a class's share"),
        ({"sampling_strategy": {True: 0.0}}, ValueError, "at most 1; say it for all others, or in a dict"),
        ({"half_life": -1.0}, ValueError, "half_life=-1.0"),
        ({"reservoir": "time_biased"}, ValueError, "say how many samples"),
        ({"categorical_features": "abc"}, TypeError, "'abc'; it is a list of names"),
    ],
)
def test_parameters_are_checked(options, error, says):
    with pytest.raises(error, match=says):
        ReservoirSMOTE(Recorder(), **options)


def test_parameters_of_numpy():
    categorical = np.array(["a", "b"])
    model = ReservoirSMOTE(Recorder(), sampling_strategy=np.float32(0.5), categorical_features=categorical)
    assert model.clone().sampling_strategy == 0.5


# -- what synthetic rows must not touch ----------------------------------------------------------


def test_transformers_of_a_pipeline_learn_from_real_rows_only():
    X, y = stream(1000)
    model = ReservoirSMOTE(preprocessing.StandardScaler() | linear_model.LogisticRegression(), seed=0)
    plain = preprocessing.StandardScaler()
    for x, label in zip(dicts(X), y.tolist(), strict=True):
        model.learn_one(x, label)
        plain.learn_one(x)
    scaler = model.classifier["StandardScaler"]
    assert scaler.counts == plain.counts == dict.fromkeys(range(4), 1000)
    assert dict(scaler.means) == dict(plain.means)
    assert dict(scaler.vars) == dict(plain.vars)


def test_a_pipeline_learns_synthetic_rows_as_it_would_see_them():
    X, y = stream(500)
    recorder = Recorder()
    model = ReservoirSMOTE(compose.FuncTransformer(_doubled) | recorder, seed=0)
    for x, label in zip(dicts(X), y.tolist(), strict=True):
        model.learn_one(x, label)
    other = recorded(X, y, seed=0)
    doubled = [(_doubled(x), *rest) for x, *rest in other.classifier.seen]
    assert recorder.seen == doubled


def _doubled(x):
    return {name: 2 * value for name, value in x.items()}


def test_class_weights_and_schedules_see_real_rows_only():
    X, y = stream(800)
    model = ReservoirSMOTE(linear_model.LogisticRegression(class_weight="balanced"), seed=0)
    for x, label in zip(dicts(X), y.tolist(), strict=True):
        model.learn_one(x, label)
    assert model.classifier.class_counts_ == {False: float((~y).sum()), True: float(y.sum())}


def test_class_weights_in_a_wrapper_between():
    X, y = stream(600)
    one = ReservoirSMOTE(imblearn.OnlineClassWeight(linear_model.LogisticRegression()), "replay", seed=0)
    many = one.clone()
    for x, label in zip(dicts(X), y.tolist(), strict=True):
        one.learn_one(x, label)
    many.learn_rows(X, y)
    assert one.classifier.class_counts_ == many.classifier.class_counts_ == one.class_counts_
    assert one.classifier.classifier.weights == many.classifier.classifier.weights


# -- drift ---------------------------------------------------------------------------------------


class Scripted(drift.DummyDriftDetector):
    """Detects drift and warns where it was told to; remembers what it was shown."""

    def __init__(self, drifts, warnings=()):
        super().__init__(t_0=10**9)
        self.drifts, self.warnings = drifts, warnings
        self.shown = []
        self.warning_detected = False

    def update(self, x):
        self.shown.append(x)
        self._drift_detected = len(self.shown) in self.drifts
        self.warning_detected = len(self.shown) in self.warnings

    def clone(self, *args, **kwargs):
        return type(self)(self.drifts, self.warnings)


class Wide(Scripted):
    width = 30


@pytest.mark.parametrize(
    ("detector", "first"),
    [
        (Scripted((200,), (180, 190, 191, 192)), {False: 190, True: 190}),
        (Wide((200,)), {False: 171, True: 171}),
    ],
)
def test_drift_drops_what_is_stale(detector, first):
    warned = detector.warnings
    if warned:
        detector.warnings = (*warned, *range(193, 200))
    X, y = stream(260, (0.5, 0.5))
    X[:, 0] = np.arange(1, 261)
    model = recorded(X[:200], y[:200], drift_detector=detector, reservoir="window", capacity=1000)
    for label in (False, True):
        kept = sorted(x[0] for x in model.stored(label))
        assert kept == [i for i in X[:200, 0] if y[int(i) - 1] == label and i >= first[label]]
    for x, label in zip(dicts(X[200:]), y[200:].tolist(), strict=True):
        model.learn_one(x, label)
    assert len(model.stored(True)) + len(model.stored(False)) == 260 - first[True] + 1
    assert model._detector.shown == [int(label) for label in y]  # the recorder says False
    assert detector.shown == []


def test_drift_without_a_warning_drops_the_older_half():
    X, y = stream(200, (0.7, 0.3))
    X[:, 0] = np.arange(200)
    for reservoir in ("window", "uniform", "biased"):
        model = recorded(X, y, drift_detector=Scripted((200,)), reservoir=reservoir, capacity=1000)
        whole = recorded(X[:199], y[:199], reservoir=reservoir, capacity=1000)
        for label in (False, True):
            before = sorted(x[0] for x in whole.stored(label))
            kept = sorted({x[0] for x in model.stored(label)} - {199.0})
            assert set(kept) <= set(before[len(before) // 2 :])
            assert len(kept) >= len(before) // 2 - 1


def test_a_detector_of_river_finds_drift_and_old_rows_go():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 3))
    y = X[:, 0] > 0.8
    y[1500:] = X[1500:, 0] < -0.8
    model = ReservoirSMOTE(
        linear_model.LogisticRegression(optim.SGD(0.1)), drift_detector=drift.ADWIN(), reservoir="uniform",
        capacity=5000, seed=0,
    )  # fmt: skip
    for x, label in zip(dicts(X[:1900]), y[:1900].tolist(), strict=True):
        model.learn_one(x, label)
    positive = [x[0] for x in model.stored(True)]
    assert sum(value > 0 for value in positive) < 0.2 * (y[:1500].sum())
    assert sum(value < 0 for value in positive) > 50


# -- rows and mini-batches -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_learned_as_dicts_are_to_the_bit(kind):
    X, y = stream(1200, d=6)
    w = np.random.default_rng(1).choice([0.0, 0.5, 1.0, 2.0], size=len(y))
    one = ReservoirSMOTE(
        linear_model.LogisticRegression(optim.Adam(0.01)), kind, seed=3, capacity=40, standardise=True
    )
    many, parts = one.clone(), one.clone()
    raw = []
    for x, label, weight in zip(dicts(X), y.tolist(), w.tolist(), strict=True):
        one.learn_one(x, label, weight)
    z = many.predict_learn_rows(X, y, w)
    for i, j in ((0, 1), (1, 400), (400, 1200)):
        raw.append(parts.predict_learn_rows(X[i:j], y[i:j], w[i:j]))
        parts = copy.deepcopy(pickle.loads(pickle.dumps(parts)))
    for model in (many, parts):
        assert model.classifier.weights == one.classifier.weights
        assert model.classifier.intercept == one.classifier.intercept
        for a, b in zip(model._reservoirs._state[:12], one._reservoirs._state[:12], strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(np.concatenate(raw), z)
    assert len(z) == len(y)


@pytest.mark.parametrize("labels", [(0, 1, 2), ("a", "b", "c")])
def test_rows_of_several_classes(labels):
    X, y = stream(900, (0.8, 0.15, 0.05), labels=labels)
    one = ReservoirSMOTE(linear_model.SoftmaxRegression(), seed=3)
    many, parts = one.clone(), one.clone()
    for x, label in zip(dicts(X), y.tolist(), strict=True):
        one.learn_one(x, label)
    z = many.predict_learn_rows(X, y)
    assert z.shape == (900, 3)
    parts.learn_rows(X[:5], y[:5])
    parts.learn_rows(X[5:], y[5:])
    assert many.classifier.weights == one.classifier.weights == parts.classifier.weights


def test_chunks_change_nothing(monkeypatch):
    X, y = stream(700, (0.8, 0.15, 0.05), labels=("a", "b", "c"))
    whole = ReservoirSMOTE(linear_model.SoftmaxRegression(), seed=3, capacity=20)
    cut = whole.clone()
    z = whole.predict_learn_rows(X, y)
    monkeypatch.setattr(_reservoirs, "_AT_ONCE", 1)
    np.testing.assert_array_equal(cut.predict_learn_rows(X, y), z)
    assert cut.classifier.weights == whole.classifier.weights


@pytest.mark.parametrize("as_what", ["float32", "pandas", "csr", "list"])
def test_rows_of_any_kind(as_what):
    X, y = stream(600, d=5)
    X = np.float32(X).astype(float)
    X[X < 0] = 0.0
    names = list("abcde") if as_what == "pandas" else None
    given = {
        "float32": np.float32(X), "pandas": pd.DataFrame(X, columns=names), "csr": sparse.csr_matrix(X),
        "list": X.tolist(),
    }[as_what]  # fmt: skip
    one = ReservoirSMOTE(linear_model.LogisticRegression(), seed=3, capacity=30)
    many = one.clone()
    for x, label in zip(dicts(X, names), y.tolist(), strict=True):
        one.learn_one({k: v for k, v in x.items() if v} if as_what == "csr" else x, label)
    many.learn_rows(given, y)
    left, right = one.classifier.weights, many.classifier.weights
    assert left.keys() == right.keys()
    assert all(right[name] == pytest.approx(left[name], rel=1e-12) for name in left)


@pytest.mark.parametrize("empty", [np.empty((60, 0)), sparse.csr_matrix((60, 0)), sparse.csr_matrix((60, 2))])
def test_rows_without_features(empty):
    y = np.arange(60) % 5 == 0
    one = ReservoirSMOTE(linear_model.LogisticRegression(), seed=3)
    many, batch = one.clone(), one.clone()
    for label in y.tolist():
        one.learn_one({}, label)
    many.learn_rows(empty, y)
    batch.learn_many(empty, y)
    assert many.class_counts_ == batch.class_counts_ == one.class_counts_ == {True: 12.0, False: 48.0}
    assert many.stored(True) == one.stored(True)
    assert many.classifier.intercept == one.classifier.intercept


def test_sparse_rows_with_late_columns():
    X, y = stream(400, d=3)
    model = ReservoirSMOTE(linear_model.LogisticRegression(), seed=3)
    model.learn_rows(X[:200, :2], y[:200])
    model.learn_rows(X[200:], y[200:])
    assert model.classifier.weights.keys() == {0, 1, 2}
    assert {frozenset(x) for x in model.stored(True)} == {frozenset((0, 1)), frozenset((0, 1, 2))}


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda X, y: X.__setitem__((300, 2), np.nan), "row 300: feature 2 is nan"),
        (lambda X, y: y.__setitem__(300, None), "row 300: the label is None"),
        (lambda X, y: y.__setitem__(300, "x"), "row 300: the label is 'x', a third one"),
        (lambda X, y: X.__setitem__((300, slice(None)), 1e149), "row 300: the raw output or the gradient"),
    ],
)
@pytest.mark.parametrize("at_once", [1, 1 << 21])
def test_rows_up_to_a_bad_one_are_learned(spoil, says, at_once, monkeypatch):
    monkeypatch.setattr(_reservoirs, "_AT_ONCE", at_once)
    X, y = stream(500)
    good, labels = X[:300].copy(), y[:300].astype(object)
    y = y.astype(object)
    spoil(X, y)
    model = ReservoirSMOTE(linear_model.LogisticRegression(optim.SGD(10.0)), seed=3)
    plain = model.clone()
    z = plain.predict_learn_rows(good, labels)
    with pytest.raises(InvalidRow, match=says) as raised:
        model.learn_rows(X, y)
    assert raised.value.row == 300
    np.testing.assert_array_equal(raised.value.outputs, z)
    assert model.classifier.weights == plain.classifier.weights
    assert pickle.dumps(model._reservoirs) == pickle.dumps(plain._reservoirs)


def test_a_mini_batch_is_one_step():
    X, y = stream(400, d=3)
    model = ReservoirSMOTE(linear_model.LogisticRegression(optim.SGD(0.1)), seed=3)
    recorder = recorded(X, y, seed=3)
    for start in range(0, 400, 100):
        model.learn_many(X[start : start + 100], y[start : start + 100])
    plain = linear_model.LogisticRegression(optim.SGD(0.1))
    rows = 0
    for start in range(0, 400, 100):
        groups = recorder.classifier.arrivals[start : start + 100]
        batch = [pair for real, made in groups for pair in (real, *made)]
        rows += len(batch)
        plain.learn_many(
            np.array([list(x.values()) for x, _ in batch]), np.array([label for _, label in batch])
        )
    assert rows > 600
    assert model.classifier.weights == pytest.approx(plain.weights, rel=1e-12)
    before = pickle.dumps(model)
    bad = X[:100].copy()
    bad[70, 1] = np.inf
    with pytest.raises(ValueError, match="row 70: feature 1 is inf") as raised:
        model.learn_many(bad, y[:100])
    assert raised.value.row == 70
    assert pickle.dumps(model._reservoirs) == pickle.dumps(pickle.loads(before)._reservoirs)
    assert model.classifier.weights == pickle.loads(before).classifier.weights


def test_a_mini_batch_of_a_pipeline_of_rivers():
    X, y = stream(300, d=3)
    frame, labels = pd.DataFrame(X, columns=list("abc")), pd.Series(y)
    for last in (river_linear.LogisticRegression(), linear_model.LogisticRegression(class_weight="balanced")):
        model = ReservoirSMOTE(preprocessing.StandardScaler() | last.clone(), seed=3)
        for start in range(0, 300, 100):
            model.learn_many(frame[start : start + 100], labels[start : start + 100])
        scaler = preprocessing.StandardScaler()
        scaler.learn_many(frame)
        assert model.classifier["StandardScaler"].counts == scaler.counts
        assert sum(model.class_counts_.values()) == 300
        assert model.predict_many(frame).mean() > 1.5 * y.mean()
    with pytest.raises(TypeError, match="takes no weights here"):
        model.learn_many(frame, labels, w=2.0)


def test_a_frame_of_fewer_columns_than_before():
    X, y = stream(200, d=3)
    frame, labels = pd.DataFrame(X, columns=list("abc")), pd.Series(y)
    model = ReservoirSMOTE(river_linear.LogisticRegression(), seed=3)
    model.learn_many(frame[:100], labels[:100])
    before = model.classifier.weights["c"]
    model.learn_many(frame.loc[100:, ["b", "a"]], labels[100:])
    assert model.classifier.weights["c"] == before
    assert np.isfinite(list(model.classifier.weights.values())).all()


def test_ways_that_the_classifier_lacks_are_not_there():
    model = ReservoirSMOTE(tree.HoeffdingTreeClassifier())
    for name in ("learn_many", "learn_rows", "predict_learn_rows", "predict_many"):
        assert not hasattr(model, name)
        assert hasattr(ReservoirSMOTE(linear_model.LogisticRegression()), name)


def test_rows_with_a_drift_detector_are_as_dicts():
    X, y = stream(800)
    one = ReservoirSMOTE(linear_model.LogisticRegression(), drift_detector=Scripted((300,)), seed=1)
    many = one.clone()
    for x, label in zip(dicts(X), y.tolist(), strict=True):
        one.learn_one(x, label)
    z = many.predict_learn_rows(X, y)
    assert many.classifier.weights == one.classifier.weights
    assert z.shape == (800,)
    assert len(one.stored(False)) < 500
    bad = X.copy()
    bad[5, 1] = np.nan
    with pytest.raises(InvalidRow, match="row 5: feature 1 is nan") as raised:
        one.clone().learn_rows(bad, y)
    np.testing.assert_array_equal(raised.value.outputs, z[:5])


def test_rows_that_a_drift_detector_interrupts_are_learned_once():
    class Interrupting(Scripted):
        def update(self, x):
            super().update(x)
            if len(self.shown) == 50:
                raise KeyboardInterrupt

    X, y = stream(200)
    model = ReservoirSMOTE(linear_model.LogisticRegression(), drift_detector=Interrupting(()), seed=1)
    with pytest.raises(KeyboardInterrupt):
        model.predict_learn_rows(X, y)
    assert model._row_reached == 50
    model.learn_rows(X[50:], y[50:])
    assert sum(model.class_counts_.values()) == 200
    assert len(model.stored(True)) + len(model.stored(False)) == len(
        {tuple(x.values()) for label in (True, False) for x in model.stored(label)}
    )


def test_threads_take_turns():
    X, y = stream(2000, (0.7, 0.3), d=3)
    model = ReservoirSMOTE(linear_model.LogisticRegression(), "replay", capacity=5000, seed=0)

    def learn_rows():
        for start in range(0, len(y), 50):
            model.learn_rows(X[start : start + 50], y[start : start + 50])

    def learn_dicts():
        for x, label in zip(dicts(X), y.tolist(), strict=True):
            model.learn_one(x, label)

    with futures.ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(learn) for learn in (learn_rows, learn_dicts) * 2]:
            done.result()
    assert model.class_counts_ == {label: 4.0 * (y == label).sum() for label in (False, True)}
    real = set(map(tuple, X.tolist()))
    assert {tuple(x.values()) for label in (False, True) for x in model.stored(label)} <= real


def test_progressive_validation_sees_real_rows_only():
    X, y = stream(2000)
    model = ReservoirSMOTE(linear_model.LogisticRegression(optim.SGD(0.05)), seed=1)
    scores = [
        evaluate.progressive_val_score(data, model.clone(), metrics.GeometricMean() + metrics.LogLoss())
        for data in ((X, y), list(zip(dicts(X), y.tolist(), strict=True)))
    ]
    assert scores[0].get() == pytest.approx(scores[1].get(), rel=1e-12)
    plain = linear_model.LogisticRegression(optim.SGD(0.05))
    alone = evaluate.progressive_val_score((X, y), plain, metrics.GeometricMean())
    assert scores[0][0].get() > alone.get() + 0.1
    assert scores[0][0].cm.n_samples == 2000


# -- the sampler alone ---------------------------------------------------------------------------


def test_resample():
    X, y = stream(500)
    pairs = list(ReservoirSMOTE.resample(zip(dicts(X), y.tolist(), strict=True), seed=1, k_neighbors=3))
    model = recorded(X, y, k_neighbors=3)
    assert pairs == [(x, label) for x, label, _, _ in model.classifier.seen]
    assert list(ReservoirSMOTE.resample([({"a": 1.0}, None)])) == [({"a": 1.0}, None)]
    with pytest.raises(ValueError, match="a drift_detector watches a classifier's errors"):
        next(ReservoirSMOTE.resample([], drift_detector=drift.ADWIN()))


def test_fit_resample():
    X, y = stream(200)
    for kind in ("regular", "replay"):
        made = ReservoirSMOTE(None, kind, k_neighbors=3, seed=5).fit_resample(X, y)
        expected = imblearn.fit_resample(X, y, kind, k_neighbors=3, random_state=5)
        np.testing.assert_array_equal(made[0], expected[0])
        np.testing.assert_array_equal(made[1], expected[1])
    _, labels = ReservoirSMOTE(None, sampling_strategy={True: 0.5}, seed=5).fit_resample(X, y)
    assert labels.sum() == (~y).sum() // 2


def test_seeds():
    X, y = stream(300)
    seen = [recorded(X, y, seed=seed).classifier.seen for seed in (1, 1, 2, None)]
    assert seen[0] == seen[1]
    assert seen[0] != seen[2] != seen[3]


@pytest.mark.parametrize("kinds", [(str, int), (int, str), (str, float), (bytes, str), (float, bool)])
def test_labels_of_another_type_later(kinds):
    X, y = stream(400)
    before, after = (
        {str: list("ab"), bytes: [b"a", b"b"], int: [7, 8], float: [1.5, 2.0], bool: [False, True]}[k]
        for k in kinds
    )
    one = ReservoirSMOTE(linear_model.SoftmaxRegression(), seed=1)
    many = one.clone()
    for part, labels in ((slice(0, 200), before), (slice(200, 400), after)):
        own = np.array(labels)[y[part].astype(int)]
        many.learn_rows(X[part], own)
        for x, label in zip(dicts(X[part]), own.tolist(), strict=True):
            one.learn_one(x, label)
    assert many.class_counts_ == one.class_counts_
    assert many.classifier.weights == one.classifier.weights


def test_labels_stay_what_they_are():
    X, _ = stream(200)
    y = np.where(np.arange(200) % 10, "usual", "rare")
    model = ReservoirSMOTE(linear_model.LogisticRegression(), seed=1)
    model.learn_rows(X, y)
    for x, label in zip(dicts(X), y.tolist(), strict=True):
        model.learn_one(x, label)
    assert set(model.class_counts_) == {"usual", "rare"} == set(model.labels_)
    mean = stats.Mean()
    for x in dicts(X):
        mean.update(model.predict_proba_one(x)["rare"])
    assert 0.2 < mean.get() < 0.8


@pytest.mark.parametrize("learner", [linear_model.LogisticRegression, linear_model.SoftmaxRegression])
def test_a_detector_that_never_fires_changes_no_output(learner):
    """Outputs are those of the real rows before their updates, also where synthetic ones follow."""
    rng = np.random.default_rng(3)
    y = rng.random(600) < 0.1
    X = rng.normal(size=(600, 3)) + y[:, None]
    plain = imblearn.ReservoirSMOTE(learner(), seed=1)
    watched = imblearn.ReservoirSMOTE(learner(), seed=1, drift_detector=drift.NoDrift())
    outputs = watched.predict_learn_rows(X, y)
    assert outputs.tolist() == plain.predict_learn_rows(X, y).tolist()
    assert plain.classifier.n_samples > 600
    assert watched.classifier.weights == plain.classifier.weights


def test_threads_of_a_mini_batch_change_nothing():
    rng = np.random.default_rng(2)
    y = rng.random(9000) < 0.1
    X = rng.normal(size=(9000, 4)) + y[:, None]
    one, two = (imblearn.ReservoirSMOTE(linear_model.LogisticRegression(), seed=1) for _ in range(2))
    one.learn_many(X, y)
    two.learn_many(X, y, threads=2)
    assert two.classifier.weights == one.classifier.weights
    assert two.classifier.n_updates == one.classifier.n_updates == 1
