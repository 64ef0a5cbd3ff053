"""Dicts to features: the same as files, scikit-learn and river, behind river's interface."""

from __future__ import annotations

import copy
import datetime
import itertools
import math
import pickle
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
import test_encode
from hypothesis import given
from hypothesis import strategies as st
from river import checks, metrics, preprocessing, stats
from sklearn.feature_extraction import FeatureHasher

from streamgd import _errors, evaluate, linear_model, optim, stream
from streamgd.preprocessing import FeatureEncoder, feature_encoder
from streamgd.stream._encode import Recipe

NAN = math.nan


def transformed(encoder: FeatureEncoder, rows: Any) -> list[dict[Any, float]]:
    """Features of rows, each learned after it was transformed."""
    found = []
    for x in rows:
        found.append(encoder.transform_one(x))
        encoder.learn_one(x)
    return found


def assert_same(found: Any, expected: Any) -> None:
    assert [f.keys() for f in found] == [e.keys() for e in expected]
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-12, abs=1e-12)


# -- the same as columns -------------------------------------------------------------------------


@given(rows=test_encode.TABLES, recipe=test_encode.RECIPES)
def test_dicts_have_the_features_of_columns(rows, recipe):
    expected = test_encode.encoded(rows, recipe, 7)[0]
    options = (recipe.missing, recipe.interactions, recipe.n_features)
    assert_same(transformed(FeatureEncoder(*options, test_encode.KINDS), rows), expected)
    shuffled = [{"more": 1.0, **{name: x[name] for name in sorted(x)}} for x in rows]
    assert_same(transformed(FeatureEncoder(*options, test_encode.KINDS), shuffled), expected)
    # by the types of values, where NaN tells a missing number from a missing category
    typed = [
        {name: NAN if v is None and name not in test_encode.VALUES else v for name, v in x.items()}
        for x in rows
    ]
    assert_same(transformed(FeatureEncoder(*options), typed), expected)


def write(path: Any, frame: pd.DataFrame) -> Any:
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("n_features", [None, 50])
@pytest.mark.parametrize("missing", ["error", "zero", "mean"])
def test_dicts_have_the_features_of_files(tmp_path, suffix, missing, n_features):
    rng = np.random.default_rng(0)
    n = 200
    frame = pd.DataFrame({
        "alter": rng.normal(40.0, 9.0, n).round(3),
        "ort": rng.choice(["Köln", "東京", "x=1"], n),
        "flag": rng.random(n) < 0.5,
        "zip": rng.integers(10, 30, n),
        "y": rng.random(n) < 0.5,
    })  # fmt: skip
    if missing != "error":
        frame["alter"] = frame["alter"].where(rng.random(n) < 0.8)
        frame["ort"] = frame["ort"].where(rng.random(n) < 0.8, None)
    source = stream.open_file(
        write(tmp_path / f"a{suffix}", frame), "y", kinds={"zip": "category"}, batch_rows=64,
        missing=missing, interactions=["alter*flag", "ort*zip", "ort*alter"], n_features=n_features,
    )  # fmt: skip
    batches = list(source)
    expected = [row for batch in batches for row in test_encode.dicts(batch.X, batch.columns)]
    rows = frame.drop(columns="y").to_dict("records")
    encoder = FeatureEncoder.from_source(source)
    assert_same(transformed(encoder, rows), expected)
    # one that goes on in the middle of the file has the means up to there
    later = FeatureEncoder.from_source(source, batches[1].position)
    assert_same(transformed(later, rows[128:]), expected[128:])


def test_a_source_that_names_its_features_itself_has_no_encoder(tmp_path):
    (tmp_path / "a.svm").write_text("1 1:2\n")
    with pytest.raises(TypeError, match="SVMLight names its features itself"):
        FeatureEncoder.from_source(stream.open_file(tmp_path / "a.svm"))


# -- the same as others --------------------------------------------------------------------------


@pytest.mark.parametrize("n_features", [2, 64, 2**20])
def test_hashes_are_scikit_learns(n_features):
    rng = np.random.default_rng(1)
    rows = [
        {f"größe {k}": float(v) for k, v in enumerate(rng.normal(size=4))}
        | {f"色{k}": f"{rng.integers(9)}🙂" for k in range(3)}
        for _ in range(200)
    ]
    encoder = FeatureEncoder(n_features=n_features)
    matrix = FeatureHasher(n_features, dtype=np.float64).transform(rows)
    for x, row in zip(rows, matrix, strict=True):
        expected = dict(zip(row.indices.tolist(), row.data.tolist(), strict=True))
        assert encoder.transform_one(x) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_means_are_rivers_imputer():
    rng = np.random.default_rng(2)
    imputer = preprocessing.StatImputer(("a", stats.Mean()), ("b", stats.Mean()))
    encoder = FeatureEncoder("mean", kinds={"a": "number", "b": "number"})
    for _ in range(500):
        values = [None if rng.random() < 0.3 else float(rng.normal(5.0)) for _ in range(2)]
        x = dict(zip("ab", values, strict=True))
        assert encoder.transform_one(x) == pytest.approx(imputer.transform_one(x), rel=1e-12)
        encoder.learn_one(x)
        imputer.learn_one(x)


def test_categories_are_rivers_one_hot_encoder():
    rivers = preprocessing.OneHotEncoder(drop_zeros=True)
    for x in [{"a": "u", "b": "v w"}, {"b": ""}, {}]:
        found = FeatureEncoder().transform_one(x)
        assert {name.replace("=", "_"): value for name, value in found.items()} == rivers.transform_one(x)


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, {"a": 3.0}),
        (2.5, {"a": 2.5}),
        (True, {"a": 1.0}),
        (np.bool_(False), {"a": 0.0}),
        (np.float32(0.1), {"a": float(np.float32(0.1))}),
        (np.int8(-3), {"a": -3.0}),
        (Decimal("1.25"), {"a": 1.25}),
        (math.inf, {"a": math.inf}),  # for the learner to refuse
        ("3", {"a=3": 1.0}),
        (np.str_("u"), {"a=u": 1.0}),
    ],
)
def test_values(value, expected):
    assert FeatureEncoder().transform_one({"a": value}) == expected
    kinds = {"a": "category" if isinstance(value, str) else "number"}
    assert FeatureEncoder(kinds=kinds).transform_one({"a": value}) == expected


def test_numbers_may_be_categories_by_kind():
    encoder = FeatureEncoder(kinds={"zip": "category"})
    assert [encoder.transform_one({"zip": zip_}) for zip_ in (7, "7", True)] == [
        {"zip=7": 1.0}, {"zip=7": 1.0}, {"zip=True": 1.0}
    ]  # fmt: skip


MISSING = [None, NAN, np.float64("nan"), np.float32("nan"), Decimal("nan")]


@pytest.mark.parametrize("value", MISSING, ids=repr)
def test_missing_values(value):
    known = {"x": "number", "c": "category"}
    for kinds in (None, known):
        with pytest.raises(_errors.InvalidValue, match=r"feature 'x' is missing.*missing='zero' or 'mean'"):
            FeatureEncoder(kinds=kinds).transform_one({"x": value, "c": "u"})
    assert FeatureEncoder("zero", kinds=known).transform_one({"x": value, "c": value}) == {"x": 0.0}
    encoder = FeatureEncoder("mean")
    encoder.learn_one({"x": 4.0})
    encoder.learn_one({"x": 1, "z": math.inf})
    encoder.learn_one({"x": value})
    assert encoder.transform_one({"x": value, "c": "u"}) == {"x": 2.5, "c=u": 1.0}
    assert FeatureEncoder("mean", kinds=known).transform_one({"x": value}) == {
        "x": 0.0
    }  # before there is any


def test_a_none_of_which_nothing_is_known_is_no_feature():
    for missing in ("zero", "mean"):
        encoder = FeatureEncoder(missing, ["a*b"])
        assert encoder.transform_one({"a": None, "b": 1.0}) == {"b": 1.0}
        assert encoder.transform_one({"a": NAN, "b": 1.0}) == {"a": 0.0, "b": 1.0, "a*b": 0.0}


def test_features_that_are_not_there():
    encoder = FeatureEncoder(interactions=["a*b"])
    assert encoder.transform_one({"a": 2.0}) == {"a": 2.0}
    with pytest.raises(_errors.InvalidValue, match="feature 'b' is missing"):
        FeatureEncoder(kinds={"a": "number", "b": "category"}).transform_one({"a": 2.0})
    assert FeatureEncoder(kinds={"a": "number"}).transform_one({"a": 2.0, "c": "left out"}) == {"a": 2.0}


@pytest.mark.parametrize(
    "value", [datetime.date(2020, 1, 1), [1.0], 1j, b"u", pd.NA, pd.Timestamp(0)], ids=repr
)
def test_values_that_are_neither_number_nor_text_are_refused(value):
    for kinds in (None, {"a": "number"}):
        for missing in ("error", "mean"):
            encoder = FeatureEncoder(missing, kinds=kinds)
            with pytest.raises(_errors.InvalidType, match=r"feature 'a' is .*not a number and not a text"):
                encoder.transform_one({"a": value})


def test_a_text_in_a_feature_of_numbers_is_refused():
    encoder = FeatureEncoder("mean", kinds={"a": "number"})
    with pytest.raises(_errors.InvalidType, match="feature 'a' is 'tall', a text"):
        encoder.transform_one({"a": "tall"})


def test_parameters_out_of_range_are_refused():
    with pytest.raises(ValueError, match="missing='median'"):
        FeatureEncoder(missing="median")
    with pytest.raises(ValueError, match="n_features=1:"):
        FeatureEncoder(n_features=1)
    with pytest.raises(ValueError, match=r"interactions='a\*b': a list"):
        FeatureEncoder(interactions="a*b")
    with pytest.raises(ValueError, match="interactions need a feature 'b'"):
        FeatureEncoder(interactions=["a*b"], kinds={"a": "number"})


def test_hashes_that_are_kept_are_bounded(monkeypatch):
    monkeypatch.setattr(feature_encoder, "_REMEMBERED", 10)
    encoder, other = FeatureEncoder(n_features=1000), FeatureEncoder(n_features=1000)
    for k in range(100):
        assert encoder.transform_one({"a": f"{k}"}) == other.clone().transform_one({"a": f"{k}"})
        assert len(encoder._buckets) <= 10


# -- river's interface -----------------------------------------------------------------------------

ENCODERS = [
    FeatureEncoder(),
    FeatureEncoder("mean", ["three_sixteen*ipsos", "reuters*you_gov*gallup"], 32),
    FeatureEncoder("zero", kinds={"gallup": "number", "ipsos": "category"}),
]
CHECKS = [
    pytest.param(model, check, id=f"{i}-{check.__name__}-{j}")
    for i, model in enumerate(ENCODERS)
    for j, check in enumerate(checks.yield_checks(model))
    if check.__name__ not in model._unit_test_skips()
]


@pytest.mark.parametrize(("model", "check"), CHECKS)
def test_river_checks(model: Any, check: Any) -> None:
    check(model.clone())


def test_clone_forgets_and_pickle_remembers():
    encoder = FeatureEncoder("mean", ["a*b"], n_features=100)
    for k in range(5):
        encoder.learn_one({"a": float(k), "b": 2.0})
    x = {"a": NAN, "b": 1.0}
    found = encoder.transform_one(x)
    for same in (pickle.loads(pickle.dumps(encoder)), copy.deepcopy(encoder)):
        assert same.transform_one(x) == found
        assert same.interactions == ("a*b",)
    assert encoder.clone().transform_one(x) != found
    assert len(pickle.dumps(encoder)) < 1000


def test_in_a_pipeline():
    rng = np.random.default_rng(3)
    rows = [{"site": str(rng.choice(["a", "b", "c"])), "x": float(rng.normal())} for _ in range(500)]
    ys = [(x["site"] == "a") ^ (x["x"] > 0.0) for x in rows]  # only their product tells
    for encoder in (FeatureEncoder(interactions=["site*x"]), FeatureEncoder("mean", ["site*x"], 2**10)):
        model = encoder | linear_model.LogisticRegression(optim.SGD(0.3))
        score = evaluate.progressive_val_score(zip(rows, ys, strict=True), model, metrics.Accuracy())
        assert score.get() > 0.85
    names = FeatureEncoder(interactions=["site*x"]) | linear_model.LogisticRegression()
    names.learn_one(rows[0], True)
    assert set(names["LogisticRegression"].weights) == {
        f"site={rows[0]['site']}",
        "x",
        f"site={rows[0]['site']}*x",
    }


@given(x=st.dictionaries(st.text(max_size=3), st.floats(-9, 9) | st.text(max_size=3), max_size=4))
def test_transforming_leaves_the_row_and_the_encoder_alone(x):
    encoder = FeatureEncoder("mean", list(map("*".join, itertools.combinations(["a", "b", "c"], 2))))
    before = copy.deepcopy((x, encoder.__dict__))
    first = encoder.transform_one(x)
    assert (x, encoder.__dict__) == before
    assert encoder.transform_one(x) == first
    assert list(FeatureEncoder(**{"missing": Recipe().missing}).transform_one({}).items()) == []
