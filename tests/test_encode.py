"""From columns to features: held against plain Python, pandas and river, whatever the batches."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import preprocessing, stats
from sklearn.utils import murmurhash3_32

from streamgd._rows import SparseRows
from streamgd.stream import InputError
from streamgd.stream._encode import Codes, Encoder, Recipe

KINDS = {"x": "number", "c": "category", "flag": "boolean", "d": "category", "z": "number"}
VALUES = {"c": ["red", "blue", "", "grün", "a*b"], "d": [f"v{k}" for k in range(9)]}
INTERACTIONS = ("x*z", "c*d", "x*c", "d*flag*c", "z*x*z", "c*d*x")


def naive(rows: list[dict[str, Any]], recipe: Recipe) -> list[dict[Any, float]]:
    """Return features of rows: a number, a text or None for each column."""
    seen: dict[str, list[float]] = {}
    result = []
    for row in rows:
        parts: dict[str, tuple[str, float] | None] = {}
        for name, kind in KINDS.items():
            value = row[name]
            if kind == "category":
                parts[name] = None if value is None else (f"{name}={value}", 1.0)
                continue
            earlier = seen.setdefault(name, [])
            if value is None:
                parts[name] = (
                    name,
                    math.fsum(earlier) / len(earlier) if recipe.missing == "mean" and earlier else 0.0,
                )
            else:
                parts[name] = (name, float(value))
                earlier.append(float(value))
        named = [parts[name] for name in KINDS]
        for text in recipe.interactions:
            factors = [parts[name] for name in text.split("*")]
            if None not in factors:
                named.append(("*".join(f[0] for f in factors), math.prod(f[1] for f in factors)))
        features: dict[Any, float] = {}
        for name, value in filter(None, named):
            if recipe.n_features is None:
                features[name] = value
            else:
                h = murmurhash3_32(name, 0)
                bucket = abs(int(h)) % recipe.n_features
                features[bucket] = features.get(bucket, 0.0) + (value if h >= 0 else -value)
        result.append(features)
    return result


def columns_of(rows: list[dict[str, Any]], values: Mapping[str, list[str]]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name, kind in KINDS.items():
        cells = [row[name] for row in rows]
        if kind == "category":
            codes = [-1 if cell is None else values[name].index(cell) for cell in cells]
            columns[name] = Codes(np.array(codes, dtype=np.int64), values[name])
        else:
            columns[name] = np.array([math.nan if cell is None else float(cell) for cell in cells])
    return columns


def dicts(X: Any, names: Any) -> list[dict[Any, float]]:
    if not isinstance(X, SparseRows):
        return [dict(zip(names, row, strict=True)) for row in X.tolist()]
    rows = []
    for begin, end in itertools.pairwise(X.indptr.tolist()):
        columns = X.indices[begin:end].tolist()
        assert len(set(columns)) == len(columns)
        rows.append({names[j]: v for j, v in zip(columns, X.data[begin:end].tolist(), strict=True)})
    return rows


def encoded(
    rows: list[dict[str, Any]], recipe: Recipe, batch_rows: int, dictionary: str = "one"
) -> tuple[list[dict[Any, float]], Any, Encoder]:
    """Encode rows in batches, with one dictionary for all, one that grows, or a new one for each batch."""
    encoder = Encoder("here", KINDS, recipe)
    found: list[dict[Any, float]] = []
    names: Any = ()
    values: dict[str, list[str]] = {name: [] for name in VALUES}
    for first in range(0, len(rows), batch_rows):
        part = rows[first : first + batch_rows]
        if dictionary == "one":
            values = VALUES
        else:
            if dictionary == "new":
                values = {name: ["a value that no row has"] for name in VALUES}
            for name in VALUES:
                for row in part:
                    if row[name] is not None and row[name] not in values[name]:
                        values[name].append(row[name])
        X, more = encoder.rows(columns_of(part, values), len(part), str)
        assert more[: len(names)] == names
        names = more
        if isinstance(X, SparseRows):
            assert len(names) == X.n_columns
        found += dicts(X, names)
    return found, names, encoder


def cell(name: str) -> Any:
    if KINDS[name] == "category":
        return st.none() | st.sampled_from(VALUES[name])
    if KINDS[name] == "boolean":
        return st.none() | st.booleans()
    return st.none() | st.floats(-1e3, 1e3, width=32) | st.just(0.0)


TABLES = st.lists(st.fixed_dictionaries({name: cell(name) for name in KINDS}), min_size=1, max_size=25)
RECIPES = st.builds(
    Recipe,
    missing=st.sampled_from(["zero", "mean"]),
    interactions=st.lists(st.sampled_from(INTERACTIONS), unique=True, max_size=4).map(tuple),
    n_features=st.none() | st.sampled_from([2, 5, 1000, 2**31 - 1]),
)


# -- the same as plain Python --------------------------------------------------------------------


@given(
    rows=TABLES,
    recipe=RECIPES,
    batch_rows=st.integers(1, 9),
    dictionary=st.sampled_from(["one", "grows", "new"]),
)
def test_features_are_those_of_plain_python(rows, recipe, batch_rows, dictionary):
    found, names, _ = encoded(rows, recipe, batch_rows, dictionary)
    expected = naive(rows, recipe)
    assert [f.keys() for f in found] == [e.keys() for e in expected]
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-12, abs=1e-12)
    # neither the batches nor the dictionaries change a bit, or the order of the columns
    assert (found, names) == encoded(rows, recipe, len(rows))[:2]


@given(rows=TABLES, recipe=RECIPES, at=st.integers(0, 25))
def test_an_encoder_goes_on_where_another_stopped(rows, recipe, at):
    at = min(at, len(rows))
    whole = encoded(rows, recipe, len(rows))[0]
    first, _, encoder = encoded(rows[:at], recipe, 7)
    state = json.loads(json.dumps(encoder.state))
    assert (state is None) == (recipe.missing != "mean")
    second = Encoder("here", KINDS, recipe, state)
    rest = second.rows(columns_of(rows[at:], VALUES), len(rows) - at, str) if at < len(rows) else None
    assert first + (dicts(*rest) if rest else []) == whole


def test_names_stand_in_the_order_of_rows_and_columns():
    rows = [
        {"x": 1.0, "c": None, "flag": True, "d": "v3", "z": 2.0},
        {"x": 1.0, "c": "blue", "flag": True, "d": "v3", "z": 2.0},
        {"x": 1.0, "c": "red", "flag": False, "d": "v0", "z": 2.0},
    ]
    names = encoded(rows, Recipe(missing="zero", interactions=("d*c", "z*x", "c*z")), 3)[1]
    fixed, second = ("x", "flag", "z", "z*x", "d=v3"), ("c=blue", "d=v3*c=blue", "c=blue*z")
    assert names == (*fixed, *second, "c=red", "d=v0", "d=v0*c=red", "c=red*z")


# -- the same as others --------------------------------------------------------------------------


def test_means_are_rivers_imputer():
    rng = np.random.default_rng(0)
    numbers = np.where(rng.random((400, 2)) < 0.3, np.nan, rng.normal(5.0, 3.0, (400, 2)))
    imputer = preprocessing.StatImputer(("a", stats.Mean()), ("b", stats.Mean()))
    expected = []
    for row in numbers.tolist():
        x = {name: None if math.isnan(v) else v for name, v in zip("ab", row, strict=True)}
        expected.append(list(imputer.transform_one(x).values()))
        imputer.learn_one(x)
    for n in (1, 7, 400):
        encoder = Encoder("here", dict.fromkeys("ab", "number"), Recipe(missing="mean"))
        parts = [numbers[k : k + n] for k in range(0, 400, n)]
        found = [encoder.rows({"a": p[:, 0], "b": p[:, 1]}, len(p), str)[0] for p in parts]
        np.testing.assert_allclose(np.concatenate(found), expected, rtol=1e-12)


def test_categories_are_rivers_one_hot_encoder():
    rng = np.random.default_rng(1)
    values = [f"v{k}" for k in range(30)]
    codes = rng.integers(0, 30, (200, 3))
    encoder = Encoder("here", dict.fromkeys("abc", "category"), Recipe())
    X, names = encoder.rows({n: Codes(codes[:, k], values) for k, n in enumerate("abc")}, 200, str)
    rivers = preprocessing.OneHotEncoder(drop_zeros=True)
    for found, row in zip(dicts(X, names), codes.tolist(), strict=True):
        x = {name: values[code] for name, code in zip("abc", row, strict=True)}
        assert {name.replace("=", "_"): v for name, v in found.items()} == rivers.transform_one(x)


def test_products_are_those_of_pandas():
    rng = np.random.default_rng(2)
    frame = pd.DataFrame(rng.normal(size=(100, 3)), columns=list("abc"))
    columns = {name: frame[name].to_numpy() for name in frame}
    encoder = Encoder("here", dict.fromkeys("abc", "number"), Recipe(interactions=("a*b", "c*b*a", "b*b")))
    X, names = encoder.rows(columns, 100, str)
    expected = frame.assign(
        **{"a*b": frame.a * frame.b, "c*b*a": frame[["c", "b", "a"]].prod(axis=1), "b*b": frame.b**2}
    )
    assert names == tuple(expected)
    np.testing.assert_allclose(X, expected.to_numpy(), rtol=1e-15)


# -- what rows are made of -----------------------------------------------------------------------


def test_float32_stays_float32_where_only_numbers_are_named():
    single, double = np.arange(3, dtype=np.float32), np.arange(3.0)
    kinds = {"a": "number", "b": "number"}

    def made(recipe: Recipe, b: Any = single, kind: str = "number") -> Any:
        encoder = Encoder("here", kinds | {"b": kind}, recipe)
        return encoder.rows({"a": single, "b": b, "not asked for": None}, 3, str)[0]

    for recipe in (Recipe(), Recipe(missing="mean"), Recipe(missing="zero", interactions=("a*b",))):
        assert made(recipe).dtype == np.float32
        assert made(recipe, double).dtype == np.float64
        assert made(recipe, np.array([True, False, True]), "boolean").dtype == np.float64
        assert made(recipe, np.arange(3)).dtype == np.float64
    assert made(Recipe(n_features=8)).data.dtype == np.float64
    mixed = made(Recipe(), Codes(np.arange(3), ["u", "v", "w"]), "category")
    assert mixed.data.dtype == np.float64
    assert mixed.indptr.tolist() == [0, 2, 4, 6]  # a number of 0 is a value, too


def test_float32_products_are_rounded_once():
    columns = {"a": np.float32([1.1]), "b": np.float32([1.7]), "c": np.float32([2.3])}
    encoder = Encoder("here", dict.fromkeys(columns, "number"), Recipe(interactions=("a*b*c",)))
    X, _ = encoder.rows(columns, 1, str)
    assert X[0, 3] == np.float32(math.prod(float(column[0]) for column in columns.values()))


def test_empty_batches_and_columns_without_a_value():
    recipe = Recipe(missing="zero", interactions=("c*d", "c*x"))
    for n_features in (None, 16):
        encoder = Encoder("here", KINDS, Recipe("zero", recipe.interactions, n_features))
        none = columns_of([], VALUES)
        X, _ = encoder.rows(none, 0, str)
        assert X.indptr.tolist() == [0]
        X, names = encoder.rows(columns_of([dict.fromkeys(KINDS)], {"c": [], "d": []}), 1, str)
        assert set(dicts(X, names)[0].values()) <= {0.0}


def test_dictionaries_may_repeat_values():
    # two codes of one value, as where dictionaries of several row groups are put together
    for n_features in (None, 1000):
        encoder = Encoder("here", {"c": "category"}, Recipe(n_features=n_features))
        X, names = encoder.rows({"c": Codes(np.array([0, 1, 2]), ["u", "v", "u"])}, 3, str)
        assert len(names) == 2
        assert X.indices.tolist() == [0, 1, 0]


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(("column", "row"), [("x", 1), ("c", 0), ("flag", 2)])
def test_missing_values_are_refused_at_the_first_row(column, row):
    rows = [{"x": 1.0, "c": "red", "flag": True, "d": "v1", "z": 0.0} for _ in range(5)]
    rows[row][column] = rows[3]["d"] = rows[4]["x"] = None
    encoder = Encoder("a.csv", KINDS, Recipe())
    place = "a.csv, line {}".format
    with pytest.raises(
        InputError, match=rf"^a.csv, line {row}: column '{column}' is null or NaN.*missing='mean'"
    ):
        encoder.rows(columns_of(rows, VALUES), 5, place)


TWINS = {
    "'x' in column 'c' and column 'c=x' would both be the feature 'c=x'": {"c": ["x"], "c=x": 1.0},
    "'c' in column 'a=b' and 'b=c' in column 'a'": {"a": ["b=c"], "a=b": ["c"]},
    "'x.b=y' in column 'a' and the interaction 'a.b'": {"a": ["x", "x*b=y"], "b": ["y", None]},
    "the interaction 'a.b' and 'x.b=y' in column 'a'": {"a": ["x*b=y", "x"], "b": [None, "y"]},
    "column 'a.b' and column 'a.b'": {"a": 1.0, "b": 2.0, "a*b": 3.0},
}


@pytest.mark.parametrize("message", TWINS)
def test_two_features_of_one_name_are_refused(message):
    table = TWINS[message]
    kinds = {name: "category" if isinstance(cells, list) else "number" for name, cells in table.items()}
    columns = {name: _column(cells) for name, cells in table.items()}

    def refused() -> None:
        encoder = Encoder("here", kinds, Recipe("zero", ("a*b",) if "b" in table else ()))
        encoder.rows(columns, len(next(iter(columns.values()))[0]), str)

    with pytest.raises(InputError, match=f"^here: {message}"):
        refused()


def _column(cells: Any) -> Any:
    if not isinstance(cells, list):
        return np.array([cells])
    return Codes(np.array([-1 if cell is None else k for k, cell in enumerate(cells)]), cells)


def many(n: int) -> Codes:
    return Codes(np.arange(n), [f"u{k}" for k in range(n)])


def test_too_many_categories_are_refused():
    encoder = Encoder("a.csv", {"x": "number", "id": "category"}, Recipe(max_categories=50))
    rows = {"x": np.ones(50), "id": many(50)}
    message = (
        r"^a.csv: more than 50 columns and categories, 49 .* 'id' \(now 'u49'\).*drop=\['id'\].*n_features"
    )
    with pytest.raises(InputError, match=message):
        encoder.rows(rows, 50, str)
    encoder = Encoder("a.csv", {"x": "number", "id": "category"}, Recipe(max_categories=51))
    assert len(encoder.rows(rows, 50, str)[1]) == 51
    with pytest.raises(InputError, match=r"more than 1 columns and categories.*raise max_categories"):
        Encoder("a.csv", {"x": "number", "z": "number"}, Recipe(max_categories=1))


def test_too_many_features_of_one_interaction_are_refused():
    columns = {
        "a": Codes(np.arange(100) // 10, many(10).values),
        "b": Codes(np.arange(100) % 10, many(10).values),
    }
    kinds = dict.fromkeys(columns, "category")
    encoder = Encoder("a.csv", kinds, Recipe(interactions=("a*b",), max_categories=50))
    message = r"of them of the interaction 'a\*b' \(now 'a=u\d\*b=u\d'\); leave it out.*n_features=2\*\*20"
    with pytest.raises(InputError, match=message):
        encoder.rows(columns, 100, str)
    hashed = Encoder("a.csv", kinds, Recipe(interactions=("a*b",), max_categories=50, n_features=2**20))
    assert len(hashed.rows(columns, 100, str)[1]) == 120


@pytest.mark.parametrize(
    ("text", "hint"),
    [("x*flags", "did you mean 'flag'"), ("x*z*target", "it has 'x', 'c', 'flag', 'd', 'z'")],
)
def test_interactions_of_columns_that_are_not_there_are_refused(text, hint):
    message = f"^a.csv: the interaction '{text.replace('*', '.')}' needs a column.*{hint}"
    with pytest.raises(InputError, match=message):
        Encoder("a.csv", KINDS, Recipe(interactions=(text,)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"missing": "median"}, "missing='median': it is 'error', 'zero' or 'mean'"),
        ({"interactions": "a*b"}, r"interactions='a\*b': a list is needed"),
        ({"interactions": ["a"]}, "interactions has 'a': names of columns with"),
        ({"interactions": ["a*"]}, "interactions has 'a.'"),
        ({"n_features": 1}, r"n_features=1: a whole number from 2 to 2,147,483,647"),
        ({"n_features": 2**31}, "n_features=2147483648"),
        ({"n_features": 1e6}, "n_features=1000000.0"),
        ({"max_categories": 0}, "max_categories=0: at least 1"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**options)


def test_a_recipe_is_stored_as_json():
    recipe = Recipe("mean", ("a*b",), 2**18)
    assert Recipe(**json.loads(json.dumps(recipe.__dict__))) == recipe
