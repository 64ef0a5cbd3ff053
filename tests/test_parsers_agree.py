"""The text parsers against those of river, scikit-learn, pandas and Vowpal Wabbit, and plain readers."""

from __future__ import annotations

import collections
import csv
import io
import itertools
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from river import stream as river_stream
from sklearn.datasets import load_svmlight_file

from streamgd import linear_model, optim, stream
from streamgd.stream._svmlight import SVMLight
from streamgd.stream._vw import VW

HERE = Path(__file__).parent


def rows_of(batches):
    """Return all rows as dicts, and their targets."""
    rows, targets = [], []
    for b in batches:
        if isinstance(b.X, np.ndarray):
            rows += [dict(zip(b.columns, x, strict=True)) for x in b.X.tolist()]
        else:
            indptr, indices, data = b.X.indptr.tolist(), b.X.indices.tolist(), b.X.data.tolist()
            for lo, hi in itertools.pairwise(indptr):
                rows.append({b.columns[k]: v for k, v in zip(indices[lo:hi], data[lo:hi], strict=True)})
        targets += b.y.tolist()
    return rows, targets


# -- CSV -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A file with numbers of any size, booleans and cells that must be quoted."""
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    rng = random.Random(1)
    words = ["red", "blue", "a,b", 'say "no"', "two\nlines", "é", " blank ", "'", "1"]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["x", "word", "big", "flag", "y"])
        for _ in range(2000):
            big = repr(rng.gauss(0, 1) * 10.0 ** rng.randint(-300, 300))
            writer.writerow(
                [rng.randint(-99, 99), rng.choice(words), big, rng.choice(["true", "false"]), rng.random()]
            )
    return path


def test_csv_equals_river(table):
    converters = {"x": float, "big": float, "y": float, "flag": lambda cell: float(cell == "true")}
    rows, targets = rows_of(stream.open_file(table, target="y", kinds={"word": "category"}))
    theirs = list(river_stream.iter_csv(str(table), target="y", converters=converters))
    assert targets == [y for _, y in theirs]
    for row, (x, _) in zip(rows, theirs, strict=True):
        assert row == {k: v for k, v in x.items() if k != "word"} | {f"word={x['word']}": 1.0}


def test_csv_equals_pandas(table):
    frame = pd.read_csv(table, keep_default_na=False)
    rows, targets = rows_of(stream.open_file(table, target="y", kinds={"word": "category"}))
    assert targets == frame["y"].tolist()
    for row, (_, x) in zip(rows, frame.iterrows(), strict=True):
        assert row == {"x": x["x"], "big": x["big"], "flag": float(x["flag"]), f"word={x['word']}": 1.0}


# -- svmlight ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sparse(tmp_path_factory):
    """Rows with at least one feature, single blanks and no comments, as river needs them."""
    path = tmp_path_factory.mktemp("svmlight") / "a.svm"
    rng = np.random.default_rng(2)
    with path.open("w") as file:
        for _ in range(1000):
            index = np.sort(rng.choice(500, size=rng.integers(1, 12), replace=False)).tolist()
            pairs = [f"{i}:{v!r}" for i, v in zip(index, rng.normal(size=len(index)).tolist(), strict=True)]
            file.write(f"{rng.choice([-1, 1])} {' '.join(pairs)}\n")
    return path


def test_svmlight_equals_river(sparse):
    rows, targets = rows_of(SVMLight(sparse))
    theirs = list(river_stream.iter_libsvm(str(sparse)))
    assert rows == [x for x, _ in theirs]
    assert targets == [y for _, y in theirs]


def test_svmlight_equals_scikit_learn(sparse):
    rows, targets = rows_of(SVMLight(sparse, 77))
    X, y = load_svmlight_file(str(sparse), zero_based=True)
    assert targets == y.tolist()
    for row, (lo, hi) in zip(rows, zip(X.indptr[:-1], X.indptr[1:], strict=True), strict=True):
        assert row == dict(zip(map(str, X.indices[lo:hi].tolist()), X.data[lo:hi].tolist(), strict=True))


@pytest.mark.parametrize("line", ["1\n", "1 2:3  4:5\n", "1 2:3 # note\n", "1\t2:3\n"])
def test_svmlight_that_river_cannot_read_equals_scikit_learn(tmp_path, line):
    """A row without features, two blanks, a blank before a comment, a tab: river raises at each."""
    path = tmp_path / "a.svm"
    path.write_text(line)
    with pytest.raises(ValueError, match=r"not enough values|could not convert"):
        list(river_stream.iter_libsvm(io.StringIO(line)))
    (row,), (target,) = rows_of(SVMLight(path))
    X, y = load_svmlight_file(str(path), zero_based=True, n_features=9)
    assert target == y[0]
    assert row == {str(k): X[0, k] for k in X.indices.tolist()}


# -- Vowpal Wabbit -------------------------------------------------------------------------

AUDIT = "import sys, vowpalwabbit; vowpalwabbit.Workspace(sys.argv[1]).finish()"


def vw_lines(n: int, seed: int, *, distinct: bool) -> list[str]:
    """Rows with all that simple labels may have; ``distinct``: no feature stands twice in a row."""
    rng = random.Random(seed)
    lines = []
    for _ in range(n):
        line = rng.choice(["1", "-1", "-1 2.5", "1 0.5"]) + rng.choice([" ", "  ", " 'tag", " 'tag ", " tag"])
        for space in rng.sample(
            ["user", "item", ""] if distinct else ["user", "item", "", "item", "user"], 2
        ):
            names = [f"{space[:1]}{k}" for k in range(30)]
            line += f"|{space}{rng.choice(['', ':2', ':0.25']) if space else ''} "
            for name in (rng.sample if distinct else rng.choices)(names, k=rng.randint(1, 5)):
                line += (
                    name
                    + rng.choice(["", f":{rng.gauss(0, 1):.4f}", ":3e-1", ":-2"])
                    + rng.choice([" ", "  "])
                )
        lines.append(line)
    return lines


def audited(path: Path, options: str) -> list[collections.Counter[str]]:
    """Return what Vowpal Wabbit says each row's features are: values by name, those of one name added up."""
    arguments = f"-d {path} --audit --quiet --noconstant -b 30 -l 0 {options}"
    run = subprocess.run(
        [sys.executable, "-c", AUDIT, arguments], capture_output=True, text=True, timeout=120, check=True
    )
    rows = []
    for line in run.stdout.splitlines():
        if not line.startswith("\t"):
            continue
        row: collections.Counter[str] = collections.Counter()
        for feature in line.split("\t")[1:]:
            if feature.strip():
                name, _, value, _ = feature.rsplit(":", 3)
                row[name] += float(value)
        rows.append(row)
    return rows


def in_order(row):
    """Name the factors of products in alphabetical order, and leave out what is 0, as Vowpal Wabbit does."""
    result: collections.Counter[str] = collections.Counter()
    for name, value in row.items():
        result["*".join(sorted(name.split("*")))] += value
    return {name: value for name, value in result.items() if value}


@pytest.mark.parametrize("distinct", [True, False])
@pytest.mark.parametrize(
    ("options", "interactions"),
    [("", ()), ("-q ui", ["user*item"]), ("-q uu --cubic uui", ["user*user", "user*user*item"])],
)
def test_features_are_those_that_vowpal_wabbit_audits(tmp_path, options, interactions, distinct):
    pytest.importorskip("vowpalwabbit", reason="the reference: pip install vowpalwabbit")
    path = tmp_path / "a.vw"
    path.write_text("\n".join(vw_lines(300, 3, distinct=distinct)) + "\n")
    theirs = audited(path, options)
    rows, _ = rows_of(VW(path, interactions=interactions))
    assert len(rows) == len(theirs) == 300
    for row, audit in zip(rows, theirs, strict=True):
        assert in_order(row) == pytest.approx(in_order(audit), rel=1e-5, abs=1e-5)  # six digits of a float32


@pytest.mark.parametrize("importance", [False, True])
def test_a_pass_of_plain_descent_equals_vowpal_wabbit(tmp_path, importance):
    vw = pytest.importorskip("vowpalwabbit", reason="the reference: pip install vowpalwabbit")
    lines = vw_lines(1000, 4, distinct=True)
    if not importance:
        lines = [re.sub(r"^(-?1) [\d.]+", r"\1", line) for line in lines]
    path, out = tmp_path / "a.vw", tmp_path / "out"
    path.write_text("\n".join(lines) + "\n")
    vw.Workspace(
        f"-d {path} --loss_function logistic --sgd -l 0.05 --power_t 0 --noconstant --quiet -b 24 -q ui "
        f"-p {out} --min_prediction -1000 --max_prediction 1000"
    ).finish()
    theirs = [float(line.split()[0]) for line in out.read_text().splitlines()]
    model = linear_model.LogisticRegression(optimizer=optim.SGD(0.05), intercept_lr=0.0)
    ours = []
    for b in VW(path, 64, interactions=["user*item"]):
        assert (b.w is not None) == importance
        ours += model.predict_learn_rows(b.X, b.y > 0, b.w, columns=b.columns).tolist()
    assert len(ours) == 1000
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)  # it learns in float32
    assert np.std(theirs) > 0.1


# -- all of them, against plain readers ----------------------------------------------------


def test_no_text_crashes_or_fools_a_parser():
    run = subprocess.run(
        [sys.executable, str(HERE / "parse_fuzz.py"), "--cases", "1500"],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, f"exit status {run.returncode}\n{run.stdout}{run.stderr}"
    report = json.loads(run.stdout.splitlines()[-1])
    assert report["failures"] == []
    for parser in ("csv", "svmlight", "vw"):
        assert report["counts"][parser] == 1500
        assert 100 < report["counts"][f"{parser}, refused"] < 1400
