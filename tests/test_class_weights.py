"""Class weights: scikit-learn's balanced weights, the papers' formulas, and counts made anew at each row."""

from __future__ import annotations

import collections
import copy
import math
import pickle
import random
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass
from fractions import Fraction
from typing import Any

import numba
import numpy as np
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from oracles import FORMULA, record
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from streamgd.optim import class_weights
from streamgd.optim.class_weights import (
    Balanced,
    ClassWeight,
    EffectiveNumber,
    Static,
    Tally,
    TargetDistribution,
)

Sample = tuple[Any, float]

labels = st.sampled_from(["a", "b", "c", "d"])
streams = st.lists(st.tuples(labels, st.floats(0.01, 100.0)), min_size=1, max_size=60)
patterns = st.lists(st.integers(1, 400), min_size=1, max_size=12)  # how often each class is there
count_arrays = st.lists(st.one_of(st.just(0.0), st.floats(1e-6, 1e6)), min_size=1, max_size=8)


def weights_of(piece: ClassWeight, samples: list[Sample]) -> list[float]:
    """What each sample of a stream is learned with."""
    tally, h = Tally(piece), []
    for label, w in samples:
        h.append(tally.weigh(label, w))
        tally.add(label, w)
    return h


def tallied(piece: ClassWeight, samples: list[Sample]) -> dict[Any, float]:
    tally = Tally(piece)
    for label, w in samples:
        tally.add(label, w)
    return tally.counts


def largest(ours: Mapping[int, float], theirs: np.ndarray) -> float:
    return max(abs(ours[k] - value) / max(1.0, value) for k, value in enumerate(theirs.tolist()))


# -- balanced ----------------------------------------------------------------------------------


@given(counts=patterns, seed=st.integers(0, 9))
def test_balanced_ends_at_the_weights_of_scikit_learn(counts: list[int], seed: int) -> None:
    y = [k for k, n in enumerate(counts) for _ in range(n)]
    random.Random(seed).shuffle(y)
    ours = Balanced().by_label(tallied(Balanced(), [(label, 1.0) for label in y]))
    classes = np.arange(len(counts))
    theirs = compute_class_weight("balanced", classes=classes, y=np.array(y))
    assert [ours[k] for k in range(len(counts))] == pytest.approx(theirs.tolist(), rel=1e-12)
    record("Balanced", "scikit-learn", sklearn.__version__, largest(ours, theirs))
    assert [ours[k] for k in y] == pytest.approx(compute_sample_weight("balanced", y).tolist(), rel=1e-12)


@given(y=st.lists(labels, min_size=1, max_size=80))
def test_each_sample_weighs_what_scikit_learn_gives_the_stream_so_far(y: list[str]) -> None:
    h = weights_of(Balanced(), [(label, 1.0) for label in y])
    for i in range(len(y)):
        so_far = compute_sample_weight("balanced", y[: i + 1])
        assert h[i] == pytest.approx(so_far[-1], rel=1e-12)


@given(samples=streams)
def test_balanced_counts_the_weights_of_samples(samples: list[Sample]) -> None:
    counts = tallied(Balanced(), samples)
    ours = Balanced().by_label(counts)
    y, w = (np.array(column) for column in zip(*samples, strict=True))
    theirs = compute_class_weight("balanced", classes=np.array(list(counts)), y=y, sample_weight=w)
    assert [ours[label] for label in counts] == pytest.approx(theirs.tolist(), rel=1e-12)


@given(counts=patterns, a=st.floats(0.0, 20.0))
def test_smoothing_is_samples_that_each_class_has_had(counts: list[int], a: float) -> None:
    array = np.array(counts, dtype=np.float64)
    for y in range(len(counts)):
        more = [n + a for n in counts]
        expected = math.fsum(more) / (len(more) * more[y])
        assert Balanced(smoothing=a).weight(y, array) == pytest.approx(expected, rel=1e-12)


def test_first_sample_of_a_class_weighs_the_samples_per_class() -> None:
    stream: list[Sample] = [("a", 1.0)] * 9999 + [("b", 1.0)]
    assert weights_of(Balanced(), stream)[-2:] == [1.0, 5000.0]
    assert weights_of(Balanced(smoothing=5.0), stream)[-1] == pytest.approx(10010 / 12)
    assert weights_of(Balanced(cap=50.0), stream)[-1] == 50.0


def test_a_class_without_samples_is_no_class() -> None:
    assert Balanced().weight(0, np.array([6.0, 0.0, 3.0])) == 9.0 / (2 * 6.0)
    assert Balanced().by_label({"a": 6.0, "b": 0.0, "c": 3.0})["b"] == 0.0


# -- the other formulas ------------------------------------------------------------------------


@given(counts=patterns, beta=st.sampled_from([0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.999999]))
def test_effective_number_is_that_of_the_paper(counts: list[int], beta: float) -> None:
    """Equation 2 of Cui et al. in exact fractions; here the mean over the samples is 1."""
    b = Fraction(beta)
    paper = [(1 - b) / (1 - b**n) for n in counts]  # 1 / E_n
    mean = sum(n * w for n, w in zip(counts, paper, strict=True)) / sum(counts)
    array = np.array(counts, dtype=np.float64)
    for y in range(len(counts)):
        expected = float(paper[y] / mean)
        found = EffectiveNumber(beta).weight(y, array)
        assert found == pytest.approx(expected, rel=1e-12)
        record("EffectiveNumber", FORMULA, "", abs(found - expected) / max(1.0, expected))


@given(counts=patterns)
def test_effective_number_lies_between_equal_and_balanced(counts: list[int]) -> None:
    array = np.array(counts, dtype=np.float64)
    for y in range(len(counts)):
        assert EffectiveNumber(0.0).weight(y, array) == 1.0
        near_one = EffectiveNumber(1.0 - 2.0**-50).weight(y, array)
        assert near_one == pytest.approx(Balanced().weight(y, array), rel=1e-9)


@given(samples=streams, shares=st.lists(st.floats(0.01, 10.0), min_size=4, max_size=4))
def test_target_distribution_gives_classes_their_shares(samples: list[Sample], shares: list[float]) -> None:
    desired = dict(zip("abcd", shares, strict=True))
    piece = TargetDistribution(desired)
    counts = tallied(piece, samples)
    weights = piece.by_label(counts)
    total = math.fsum(counts.values())
    for label, n in counts.items():
        expected = desired[label] / math.fsum(shares) * total / n
        assert weights[label] == pytest.approx(expected, rel=1e-12)
        record("TargetDistribution", FORMULA, "", abs(weights[label] - expected) / max(1.0, expected))


def test_equal_shares_are_balanced() -> None:
    counts = {"a": 7.0, "b": 2.5, "c": 90.0}
    equal = TargetDistribution({"a": 2, "b": 2, "c": 2})
    assert equal.by_label(counts) == pytest.approx(Balanced().by_label(counts), rel=1e-15)


def test_static_weights_are_those_of_scikit_learn() -> None:
    y = np.array(list("abbccc"))
    given_weights = {"a": 3.0, "b": 0.5, "c": 1.0}
    theirs = compute_class_weight(given_weights, classes=np.array(list("abc")), y=y)
    ours = Static(given_weights).factors("abc")
    assert ours == theirs.tolist()
    record("Static", "scikit-learn", sklearn.__version__, 0.0)


def test_static_weights_do_not_look_at_the_stream() -> None:
    piece = Static({"a": 2.5, "b": 0.0}, cap=2.0)
    assert weights_of(piece, [("a", 1.0), ("c", 3.0), ("b", 1.0), ("a", 0.5)]) == [2.0, 3.0, 0.0, 1.0]


# -- counting ----------------------------------------------------------------------------------


@given(samples=streams, half_life=st.floats(0.5, 1e4))
def test_forgetting_is_a_closed_form(samples: list[Sample], half_life: float) -> None:
    counts = tallied(Balanced(half_life=half_life), samples)
    last = len(samples) - 1
    for label, count in counts.items():
        terms = [w * 2.0 ** (-(last - i) / half_life) for i, (k, w) in enumerate(samples) if k == label]
        assert count == pytest.approx(math.fsum(terms), rel=1e-12, abs=1e-200)


def test_counts_of_a_long_stream_are_steady() -> None:
    piece = Balanced(half_life=100.0)
    counts = tallied(piece, [("ab"[i % 4 == 0], 1.0) for i in range(20_000)])
    assert math.fsum(counts.values()) == pytest.approx(1.0 / (1.0 - piece.forgetting), rel=1e-12)
    assert Balanced(half_life=1.0).forgetting == 0.5
    assert Balanced().forgetting == 1.0


def test_a_class_that_has_faded_away_is_as_never_seen() -> None:
    piece = Balanced(half_life=2.0)
    long_ago: list[Sample] = [("a", 1.0), *[("b", 1.0)] * 1400]
    assert tallied(piece, long_ago)["a"] == 0.0
    assert weights_of(piece, long_ago)[-1] == 1.0
    b = piece.forgetting / (1.0 - piece.forgetting)  # of all its samples, without the last
    assert weights_of(piece, [*long_ago, ("a", 1.0)])[-1] == pytest.approx((b + 1.0) / 2.0, rel=1e-12)


@given(samples=st.lists(st.tuples(labels, st.floats(1e-6, 1e6)), max_size=80), window=st.integers(1, 12))
def test_window_is_a_recount_of_its_samples(samples: list[Sample], window: int) -> None:
    tally = Tally(Balanced(window=window))
    inside: collections.deque[Sample] = collections.deque(maxlen=window)
    for label, w in samples:
        inside.append((label, w))
        own = {k: math.fsum(v for name, v in inside if name == k) for k, _ in inside}
        weight = math.fsum(own.values()) / (len(own) * own[label])
        assert tally.weigh(label, w) == pytest.approx(w * weight, rel=1e-12)
        tally.add(label, w)
        counts = tally.counts
        assert {k: n for k, n in counts.items() if n} == pytest.approx(own, rel=1e-12)
        assert all(counts[k] == 0.0 for k in counts if k not in own)  # nothing is left of it


def test_a_window_forgets_large_samples_without_a_trace() -> None:
    """Where 1e16 has been subtracted from a sum, a sample of 1 is lost."""
    samples: list[Sample] = [("a", 1e16), ("a", 1.0), ("b", 1.0), ("b", 1.0)]
    assert tallied(Balanced(window=3), samples) == {"a": 1.0, "b": 2.0}


def test_weighing_counts_nothing() -> None:
    for piece in (Balanced(), Balanced(half_life=3.0), Balanced(window=2)):
        tally = Tally(piece)
        for label in "aabac":
            tally.add(label, 1.0)
        before = pickle.dumps(tally)
        assert tally.weigh("a", 2.0) == tally.weigh("a", 2.0)
        tally.weigh("new", 1.0)
        assert pickle.dumps(tally) == before
        other = tally.copy()
        other.add("d", 1.0)
        assert pickle.dumps(tally) == before
        assert pickle.loads(before).weigh("c", 1.0) == tally.weigh("c", 1.0)


# -- one's own, and compiled -------------------------------------------------------------------


@dataclass(frozen=True)
class RootInverse(ClassWeight):
    """Inverse to the square root of the count, at most 1."""

    power: float = 0.5

    def weight(self, y: int, counts: Any) -> float:
        largest = 0.0
        for k in range(len(counts)):
            largest = max(largest, counts[k])
        return (largest / counts[y]) ** self.power if counts[y] > 0.0 else 0.0


EVERY = [
    Balanced(),
    Balanced(smoothing=2.0),
    EffectiveNumber(0.0),
    EffectiveNumber(0.99),
    TargetDistribution({0: 0.3, 1: 0.7}),
    Static({0: 2.0}),
    RootInverse(),
    RootInverse(power=1.0, half_life=3.0, cap=2.0),
]


def test_ones_own_class_weight() -> None:
    piece = class_weights.of(RootInverse(power=0.5, cap=2.5), "class_weight")
    assert isinstance(piece, ClassWeight)
    assert piece.by_label({"a": 900.0, "b": 100.0, "c": 25.0}) == {"a": 1.0, "b": 3.0 - 0.5, "c": 2.5}
    assert weights_of(piece, [("a", 1.0)] * 4 + [("b", 2.0)])[-1] == pytest.approx(2.0 * 2.0**0.5)


@pytest.mark.parametrize("piece", EVERY, ids=repr)
def test_compiled_weights_are_those_of_python(piece: ClassWeight) -> None:
    compiled = numba.njit(error_model="numpy")(type(piece).weight)
    numbers = piece.struct(*piece.hyper())

    @given(counts=count_arrays)
    def check(counts: list[float]) -> None:
        array = np.array(counts)
        for y in range(len(counts)):
            assert compiled(numbers, y, array) == pytest.approx(piece.weight(y, array), rel=1e-14)
            assert piece.weight(y, array) >= 0.0

    check()
    assert len(compiled.signatures) == 1


def test_a_rule_with_other_arguments_is_refused_where_it_is_written() -> None:
    with pytest.raises(TypeError, match=r"must define weight\(self, y, counts\)"):

        @dataclass(frozen=True)
        class Mine(ClassWeight):
            def weight(self, label: int, n: Any) -> float:  # type: ignore[override]
                return 1.0


def test_a_weight_that_is_none_is_refused() -> None:
    @dataclass(frozen=True)
    class Negative(ClassWeight):
        def weight(self, y: int, counts: Any) -> float:
            return 1.0 - counts[y]

    tally = Tally(Negative())
    tally.add("a", 1.0)
    with pytest.raises(ValueError, match=r"the weight -1\.0; weights must be finite and at least 0"):
        tally.weigh("a", 1.0)
    assert tally.counts == {"a": 1.0}


# -- as pieces ---------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", EVERY, ids=repr)
def test_pieces_are_values(piece: ClassWeight) -> None:
    assert copy.deepcopy(piece) is piece
    again = pickle.loads(pickle.dumps(piece))
    assert again == piece == piece.replace()
    assert hash(again) == hash(piece)
    assert piece != piece.replace(cap=7.0)
    with pytest.raises(FrozenInstanceError):
        piece.cap = 3.0  # type: ignore[misc]


def test_dicts_are_copied() -> None:
    given_weights = {"a": 2.0}
    piece = Static(given_weights)
    given_weights["a"] = 9.0
    assert piece.weights == {"a": 2.0}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("balanced", Balanced()),
        ("effective_number", EffectiveNumber()),
        ({True: 3}, Static({True: 3.0})),
        (Balanced(window=5), Balanced(window=5)),
    ],
)
def test_what_users_pass(value: Any, expected: ClassWeight | None) -> None:
    assert class_weights.of(value, "class_weight") == expected


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        ("balance", ValueError, "learner: 'balance' is not None, 'balanced'"),
        (2.0, TypeError, "learner: 2.0 is not None"),
        (Balanced, TypeError, "pass an instance, not the class"),
        ({"a": -1}, ValueError, r"\{'a': -1\}\): weights must be finite and at least 0"),
        ({"a": math.nan}, ValueError, "weights must be finite"),
        ({"a": "b"}, TypeError, "weights must be numbers"),
    ],
)
def test_what_is_no_class_weight(value: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        class_weights.of(value, "learner")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Balanced(half_life=-1), r"Balanced\(half_life=-1.0\): half_life must be at least 0"),
        (lambda: Balanced(window=-1), "window must be at least 0"),
        (lambda: Balanced(window=1.5), "window must be a finite int"),
        (lambda: Balanced(cap=-1), "cap must be at least 0"),
        (lambda: Balanced(cap=math.inf), "cap must be a finite float"),
        (lambda: Balanced(half_life=5, window=5), "window must be 0 with a half_life"),
        (lambda: Balanced(smoothing=-1), "smoothing must be at least 0"),
        (lambda: EffectiveNumber(1.0), "beta must be at least 0 and below 1"),
        (lambda: EffectiveNumber(-0.1), "beta must be at least 0 and below 1"),
        (lambda: TargetDistribution({}), "with a positive sum"),
        (lambda: TargetDistribution({"a": 0.0}), "with a positive sum"),
        (lambda: TargetDistribution({"a": -0.5}), "shares must be finite and at least 0"),
        (lambda: Static({"a": 1.0}, half_life=3), "given weights count nothing"),
        (lambda: Static({"a": 1.0}, window=3), "given weights count nothing"),
    ],
)
def test_hyper_parameters_out_of_range(make: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()


@pytest.mark.parametrize("cls", [Static, TargetDistribution])
def test_dicts_must_be_dicts(cls: Any) -> None:
    with pytest.raises(TypeError, match="must be a dict, labels to"):
        cls([1.0, 2.0])


def test_a_label_without_a_share_is_refused() -> None:
    tally = Tally(TargetDistribution({"a": 1, "b": 1}))
    tally.add("a", 1.0)
    for count in (tally.weigh, tally.add):
        with pytest.raises(ValueError, match=r"the label is 'c', which has no share .*\(it has 'a', 'b'\)"):
            count("c", 1.0)
    assert tally.counts == {"a": 1.0}


def test_factors_are_those_of_the_labels_given() -> None:
    assert Balanced().factors(["a", "b"]) == [1.0, 1.0]
    assert Static({"b": 3}).factors(["a", "b"]) == [1.0, 3.0]
    assert TargetDistribution({"a": 1, "b": 3}).factors(["b", "a"]) == [0.75, 0.25]
    shares: Mapping[Any, float] = TargetDistribution({"a": 1, "b": 3}).desired_dist
    assert shares == {"a": 0.25, "b": 0.75}
