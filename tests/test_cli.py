"""The command: against river's loop over the same rows, and what it tells people who err."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from river import datasets, evaluate, linear_model, metrics, optim, stream
from sklearn.datasets import dump_svmlight_file
from sklearn.metrics import roc_auc_score

import streamgd
from streamgd.cli import bench, main
from streamgd.cli._curve import text

ROOT = Path(__file__).parents[1]


def call(*args: object):
    return CliRunner().invoke(main, [str(a) for a in args])


def succeed(*args: object) -> str:
    result = call(*args)
    assert result.exit_code == 0, result.output
    return result.output


def fail(*args: object, code: int = 2) -> str:
    result = call(*args)
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit)  # a message, no traceback
    return result.output


def summary(output: str) -> dict[str, str]:
    """Lines "name   value ..." at the end."""
    return dict(re.findall(r"^(\S+|peak memory) {2,}(\S+)", output, re.M))


def table(output: str) -> list[list[str]]:
    return [line.split() for line in output.splitlines() if re.match(r"^ +[\d,]+ +(-|\d)", line)]


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    n = 700
    X = rng.normal(size=(n, 3)).round(3)
    z = X @ [1.0, -2.0, 0.5] + 0.3
    return pd.DataFrame({
        "a": X[:, 0],
        "b": X[:, 1],
        "c": X[:, 2],
        "kind": rng.choice(["u", "v", "w"], n),
        "y": (z + rng.logistic(size=n) > 0).astype(int),
        "t": (z + rng.normal(size=n)).round(4),
    })  # fmt: skip


@pytest.fixture
def rows(tmp_path, frame) -> Path:
    path = tmp_path / "rows.csv"
    frame.to_csv(path, index=False)
    return path


def numeric(path: Path, target: str):
    """The rows as river reads them, numbers only."""
    drop = ["kind", *({"y", "t"} - {target})]
    converters = dict.fromkeys(["a", "b", "c", target], float)
    return stream.iter_csv(path, target=target, drop=drop, converters=converters)


# -- train --------------------------------------------------------------------------------


def test_binary_training_equals_rivers_own_loop(rows):
    output = succeed(
        "train", rows, "--target", "y", "--drop", "t", "--drop", "kind", "--optimizer", "sgd", "--lr", "0.05",
        "--metric", "accuracy", "--metric", "logloss", "--metric", "f1", "--metric", "precision",
        "--metric", "recall", "--metric", "balanced-accuracy",
    )  # fmt: skip
    model = linear_model.LogisticRegression(optim.SGD(0.05))
    parts = [metrics.Accuracy(), metrics.LogLoss(), metrics.F1(), metrics.Precision(), metrics.Recall()]
    parts.append(metrics.BalancedAccuracy())
    for x, y in numeric(rows, "y"):
        p = model.predict_proba_one(x)
        for metric in parts:
            metric.update(bool(y), p if isinstance(metric, metrics.LogLoss) else p[True] > 0.5)
        model.learn_one(x, bool(y))
    found = summary(output)
    for name, metric in zip(["accuracy", "logloss", "f1", "precision", "recall"], parts[:5], strict=True):
        assert float(found[name]) == pytest.approx(metric.get(), rel=1e-5)
    assert float(found["balanced-accuracy"]) == pytest.approx(parts[5].get(), rel=1e-5)
    assert found["rows"] == "700"
    assert found["features"] == "3"


def test_regression_training_equals_rivers_own_loop_line_by_line(rows):
    output = succeed(
        "train", rows, "--target", "t", "--drop", "y", "--drop", "kind", "--optimizer", "sgd", "--lr", "0.01"
    )
    model = linear_model.LinearRegression(optim.SGD(0.01))
    metric, wanted, last = metrics.MAE(), [], metrics.MAE()
    for k, (x, y) in enumerate(numeric(rows, "t"), start=1):
        p = model.predict_one(x)
        metric.update(y, p)
        last.update(y, p)
        model.learn_one(x, y)
        if k & (k - 1) == 0 or k == 700:
            wanted.append([f"{k:,}", metric.get(), last.get()])
            last = metrics.MAE()
    found = table(output)
    assert [line[0] for line in found] == ["1", "2", "4", "8", "16", "32", "64", "128", "256", "512", "700"]
    for line, (n, so_far, since) in zip(found, wanted, strict=True):
        assert line[0] == n
        assert float(line[1]) == pytest.approx(so_far, abs=1e-4)
        assert float(line[2]) == pytest.approx(since, abs=1e-4)
        assert line[3] == "0.01"
    assert float(summary(output)["mae"]) == pytest.approx(metric.get(), rel=1e-5)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
@pytest.mark.parametrize("batch_rows", [50, 8192])
def test_the_same_rows_give_the_same_model_from_every_format(tmp_path, frame, suffix, batch_rows):
    path, model = tmp_path / f"rows{suffix}", tmp_path / "m"
    if suffix == ".parquet":
        frame.to_parquet(path, row_group_size=90)
    else:
        frame.to_csv(path, index=False)
    succeed(
        "train", path, "--target", "y", "--drop", "t", "--save", model, "--quiet", "--batch-rows", batch_rows
    )
    reference = streamgd.linear_model.LogisticRegression("auto")
    for row in frame.drop(columns="t").to_dict("records"):
        y, kind = row.pop("y"), row.pop("kind")
        reference.learn_one({**row, f"kind={kind}": 1.0}, y)
    loaded, extra = streamgd.load(model, with_extra=True)
    assert loaded.weights == pytest.approx(reference.weights, rel=1e-9)
    assert loaded.n_samples == extra["rows"] == 700
    assert (extra["target"], extra["task"]) == ("y", "binary")
    assert extra["kinds"] == {"a": "number", "b": "number", "c": "number", "kind": "category"}
    assert extra["position"]["row"] == 700  # the pass ended where the file ends
    history = streamgd.fit(loaded, path, target="y", drop=["t"], start=extra["position"], progress=False)
    assert (history.samples, loaded.n_samples) == (0, 700)


def test_svmlight_needs_no_target(tmp_path):
    path = tmp_path / "a.svm"
    path.write_text("".join(f"{(-1) ** k} 1:{k % 5} 7:{k % 3}\n" for k in range(60)))
    output = succeed("train", path, "--metric", "accuracy")
    assert "binary on 'label'" in output
    assert summary(output)["features"] == "2"


@pytest.mark.parametrize(
    ("column", "values", "task"),
    [
        ("text", ["no", "yes"], "binary"),
        ("truth", ["True", "False"], "binary"),
        ("two numbers", ["3", "7"], "binary"),
        ("numbers", ["1", "2", "3"], "regression"),
        ("fractions", ["0.5", "1.5", "2.25"], "regression"),
    ],
)
def test_auto_task(tmp_path, column, values, task):
    path = tmp_path / "a.csv"
    path.write_text("x,target\n" + "".join(f"{k % 7},{values[k % len(values)]}\n" for k in range(50)))
    assert f": {task} on 'target'" in succeed("train", path, "--target", "target")


@pytest.mark.parametrize("unit", [1e-9, 1000.0, 1e140])
def test_a_regression_is_in_the_unit_of_its_target(tmp_path, frame, unit):
    errors = []
    for factor in (1.0, unit):
        frame["t"] *= factor
        frame.to_csv(tmp_path / "a.csv", index=False)
        output = succeed("train", tmp_path / "a.csv", "--target", "t", "--drop", "y", "--metric", "mae")
        errors.append(float(summary(output)["mae"]))
    assert errors[1] / unit == pytest.approx(errors[0], rel=1e-4)
    assert errors[0] < 0.6 * (frame["t"] / unit).abs().mean()


@pytest.mark.parametrize("limit", [100, 128, 700, 10])
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet", ".svm"])
def test_a_pass_that_was_cut_goes_on_where_it_stopped(tmp_path, frame, limit, suffix):
    path, model = tmp_path / f"rows{suffix}", tmp_path / "m"
    named = ("--target", "t", "--drop", "y")
    if suffix == ".parquet":
        frame.to_parquet(path, row_group_size=90)
    elif suffix == ".svm":
        dump_svmlight_file(frame[["a", "b", "c"]], frame["t"], str(path), zero_based=False)
        named = ()
    else:
        frame.to_csv(path, index=False)
    succeed("train", path, *named, "--save", model, "--limit", limit, "--batch-rows", 64, "--quiet")
    half, extra = streamgd.load(model, with_extra=True)
    assert extra["rows"] == limit
    whole = streamgd.linear_model.LinearRegression("auto")
    source = {} if suffix == ".svm" else {"target": "t", "drop": ["y"]}
    assert streamgd.fit(whole, path, **source, progress=False).samples == 700
    history = streamgd.fit(half, path, **source, start=extra["position"], progress=False)
    assert history.samples == 700 - limit
    assert half.weights == whole.weights


def test_a_pass_that_a_bad_row_ended_goes_on_at_that_row(tmp_path):
    path, model = tmp_path / "a.csv", tmp_path / "m"
    path.write_text("x,y\n" + "".join(f"{k % 5},{k % 2}\n" for k in range(150)) + "inf,1\n4,0\n")
    output = fail("train", path, "--target", "y", "--save", model, "--batch-rows", 100)
    assert "row 151: feature 'x' is inf" in output
    assert "--skip-invalid" in output
    assert table(output)[-1][0] == "150"  # the rows before it are scored as well
    learner, extra = streamgd.load(model, with_extra=True)
    with pytest.raises(ValueError, match=r"a.csv, row 151: feature 'x' is inf"):
        streamgd.fit(learner, path, target="y", start=extra["position"], progress=False)
    output = succeed("train", path, "--resume", model, "--skip-invalid", "--quiet")
    assert (summary(output)["rows"], summary(output)["skipped"]) == ("2", "1")


def test_no_metric_is_told_of_no_rows(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\ninf,1\n1,0\n")
    output = fail("train", tmp_path / "a.csv", "--target", "y")
    assert re.search("^logloss +undefined: no rows$", output, re.M)
    assert re.search("^accuracy +undefined: no rows$", output, re.M)


def test_limit_quiet_and_number_of_columns(rows):
    output = succeed(
        "train", rows, "--target", "y", "--drop", "t", "--limit", "100", "--quiet", "--batch-rows", "64"
    )
    assert summary(output)["rows"] == "100"
    assert summary(output)["features"] == "6"  # three numbers, three kinds
    assert not table(output)


def test_a_bad_row_ends_the_pass_but_what_was_learned_is_saved(tmp_path):
    path, model = tmp_path / "a.csv", tmp_path / "m"
    path.write_text("x,y\n" + "".join(f"{k % 5},{k % 2}\n" for k in range(1500)) + "inf,1\n1,0\n")
    output = fail("train", path, "--target", "y", "--save", model)
    assert "row 1,501: feature 'x' is inf" in output
    assert summary(output)["rows"] == "1,500"
    assert streamgd.load(model).n_samples == 1500
    output = succeed("train", path, "--target", "y", "--skip-invalid", "--metric", "accuracy")
    assert summary(output)["skipped"] == "1"


def test_a_file_that_breaks_later_is_learned_up_to_there(tmp_path):
    path, model = tmp_path / "a.csv", tmp_path / "m"
    path.write_text("x,y\n" + "".join(f"{k % 5},{k % 2}\n" for k in range(1500)) + "1,0,9\n")
    output = fail("train", path, "--target", "y", "--save", model, "--batch-rows", "100")
    assert f"{path}, line 1502: more than 2 fields, where the header has 2" in output
    assert streamgd.load(model).n_samples == 1500


def test_a_third_label_says_what_to_do(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x,y\n" + "".join(f"{k % 5},{k % 2}\n" for k in range(200)) + "1,2\n")
    output = fail("train", path, "--target", "y", "--batch-rows", "100")
    assert "row 201: the label is 2" in output
    assert "--task regression" in output
    assert "river" not in output
    path.write_text("x,y\n" + "".join(f"{k % 5},{'no yes'.split()[k % 2]}\n" for k in range(200)) + "1,so\n")
    output = fail("train", path, "--target", "y", "--batch-rows", "100")
    assert "row 201: the label is 'so'" in output
    assert "take other rows out" in output
    assert "regression" not in output


# -- pieces -------------------------------------------------------------------------------


NUMBERS = ("--target", "t", "--drop", "y", "--drop", "kind")
LABELS = ("--target", "y", "--drop", "t", "--drop", "kind")


@pytest.mark.parametrize(
    ("options", "optimizer", "loss"),
    [
        (["--optimizer", "adam", "--lr", 0.02], optim.Adam(0.02), None),
        (["--optimizer", "Adam:beta_1=0.5,lr=0.02"], optim.Adam(0.02, beta_1=0.5), None),
        (["--optimizer", "adagrad"], optim.AdaGrad(0.1), None),
        (["--loss", "quantile:alpha=0.8", "--optimizer", "sgd"], optim.SGD(0.01), optim.losses.Quantile(0.8)),
        (["--schedule", "inversescaling:power=0.7", "--optimizer", "sgd", "--lr", 0.1],
         optim.SGD(optim.schedulers.InverseScaling(0.1, 0.7)), None),
    ],
)  # fmt: skip
def test_pieces_with_parameters_are_those_of_rivers_loop(rows, options, optimizer, loss):
    output = succeed("train", rows, *NUMBERS, "--quiet", *options)
    model = linear_model.LinearRegression(optimizer, loss=loss or optim.losses.Squared())
    metric = metrics.MAE()
    for x, y in numeric(rows, "t"):
        metric.update(y, model.predict_one(x))
        model.learn_one(x, y)
    assert float(summary(output)["mae"]) == pytest.approx(metric.get(), rel=1e-5)


def test_errors_of_poisson_regression_are_those_of_the_mean(tmp_path, rows, frame):
    frame["t"] = np.random.default_rng(1).poisson(np.exp(0.5 * frame["a"]))
    frame.to_csv(rows, index=False)
    output = succeed(
        "train", rows, *NUMBERS, "--loss", "poisson", "--optimizer", "sgd", "--save", tmp_path / "m"
    )
    model, metric = linear_model.LinearRegression(optim.SGD(0.01), loss=optim.losses.Poisson()), metrics.MAE()
    for x, y in numeric(rows, "t"):
        metric.update(y, model.predict_one(x))
        model.learn_one(x, y)
    assert float(summary(output)["mae"]) == pytest.approx(metric.get(), rel=1e-5)
    lines = succeed("predict", tmp_path / "m", rows).splitlines()[1:]
    want = [model.predict_one(x) for x, _ in numeric(rows, "t")]
    assert [float(v) for v in lines] == pytest.approx(want, rel=1e-9)


def test_the_rate_of_a_schedule_is_in_the_table(rows):
    schedule = "stepdecay:drop=0.5,drop_every=100,per=sample"
    output = succeed("train", rows, *NUMBERS, "--optimizer", "sgd", "--lr", "0.08", "--schedule", schedule)
    rates = {line[0]: line[3] for line in table(output)}
    assert [rates[n] for n in ("64", "128", "256", "512", "700")] == [
        "0.08", "0.04", "0.02", "0.0025", "0.000625",
    ]  # fmt: skip
    output = succeed("train", rows, *NUMBERS, "--optimizer", "adadelta")
    assert {line[3] for line in table(output)} == {"-"}  # it has none


def test_a_schedule_may_count_the_epochs(rows):
    args = (*NUMBERS, "--optimizer", "sgd", "--lr", "0.08", "--schedule", "stepdecay:drop=0.5,drop_every=1")
    rates = {line[0]: line[3] for line in table(succeed("train", rows, *args, "--epochs", 2))}
    assert (rates["1"], rates["512"], rates["1,024"]) == ("0.08", "0.08", "0.04")


def test_class_weights_multiply_the_weights_of_rivers_loop(rows):
    weighed = ["--class-weight", "balanced:half_life=50", "--optimizer", "sgd", "--lr", 0.1]
    output = succeed("train", rows, *LABELS, "--quiet", "--metric", "logloss", *weighed)
    model, metric, counts = linear_model.LogisticRegression(optim.SGD(0.1)), metrics.LogLoss(), [0.0, 0.0]
    for x, y in numeric(rows, "y"):
        counts = [n * 0.5 ** (1 / 50) for n in counts]
        counts[int(y)] += 1.0
        metric.update(y, model.predict_proba_one(x))
        model.learn_one(x, y, w=sum(counts) / (sum(n > 0 for n in counts) * counts[int(y)]))
    assert float(summary(output)["logloss"]) == pytest.approx(metric.get(), rel=1e-5)
    assert "for labels" in fail("train", rows, *NUMBERS, "--class-weight", "balanced")


def test_penalties_are_the_optimizers_own_where_it_has_them(tmp_path, rows):
    args = ("train", rows, *LABELS, "--quiet", "--l1", "60", "--save", tmp_path / "m")
    succeed(*args, "--optimizer", "ftrlproximal:l2=0.5")
    model = streamgd.load(tmp_path / "m")
    assert (model.optimizer.l1, model.optimizer.l2, model.l1, model.l2) == (60.0, 0.5, 0.0, 0.0)
    assert 0.0 in model.weights.values()
    succeed(*args, "--optimizer", "adagrad", "--l2", "0.1")
    model = streamgd.load(tmp_path / "m")
    assert (model.l1, model.l2) == (60.0, 0.1)


@pytest.mark.parametrize("loss", ["hinge", "Focal:gamma=1"])
def test_the_logarithm_of_what_is_no_probability_is_not_among_the_metrics(rows, loss):
    found = summary(succeed("train", rows, *LABELS, "--quiet", "--loss", loss))
    assert "logloss" not in found
    assert {"rocauc", "accuracy"} <= found.keys()


def test_help_names_all_pieces_of_the_library():
    found = {name.strip(",.") for name in succeed("train", "--help").split()}
    pieces = [*streamgd.optim.optimizers.__all__, *streamgd.optim.losses.__all__]
    pieces.remove("CrossEntropy")  # of a label among several
    assert {name.lower() for name in (*pieces, "InverseScaling", "StepDecay", "OneCycle")} <= found
    assert not {"crossentropy", "averager", "optimal", "warmup", "function", "multistep"} & found


# -- labels -------------------------------------------------------------------------------


def labelled_file(path: Path, labels: list[object]) -> Path:
    path.write_text("x,y\n" + "".join(f"{k % 7},{label}\n" for k, label in enumerate(labels)))
    return path


@pytest.mark.parametrize("first", [1, 2])
def test_the_larger_of_two_numbers_is_the_positive_in_any_order(tmp_path, first):
    labels = [3 - first, *([first, 3 - first] * 30)]
    output = succeed(
        "train", labelled_file(tmp_path / "a.csv", labels), "--target", "y", "--save", tmp_path / "m"
    )
    assert "positive label     2 (the other is 1)" in output
    assert streamgd.load(tmp_path / "m").labels_ == (1, 2)


def test_labels_of_libsvm_files_may_be_1_and_2(tmp_path):
    (tmp_path / "a.svm").write_text("".join(f"{2 - k % 2} 1:{k % 5}\n" for k in range(40)))
    succeed("train", tmp_path / "a.svm", "--save", tmp_path / "m")
    assert streamgd.load(tmp_path / "m").labels_ == (1, 2)


@pytest.mark.parametrize(
    ("labels", "value", "pair"),
    [
        (["yes", "no"], "yes", ("no", "yes")),
        (["yes", "no"], "no", ("yes", "no")),
        ([3, 7], "3", (7, 3)),
        ([0, 1], "0", (1, 0)),
        ([0.5, 1.5], "0.5", (1.5, 0.5)),
        (["True", "False"], "false", (True, False)),
    ],
)
@pytest.mark.parametrize("order", ["mixed", "sorted", "sorted the other way"])
def test_the_positive_label_can_be_chosen(tmp_path, labels, value, pair, order):
    many = (
        labels * 30
        if order == "mixed"
        else [v for v in labels[:: -1 if "way" in order else 1] for _ in range(30)]
    )
    path = labelled_file(tmp_path / "a.csv", many)
    args = ("train", path, "--target", "y", "--positive", value, "--task", "binary", "--batch-rows", 8)
    output = succeed(*args, "--save", tmp_path / "m", "--metric", "recall")
    assert streamgd.load(tmp_path / "m").labels_ == pair
    assert f"positive label     {pair[1]!r} (the other is {pair[0]!r})" in output
    assert f"probability_{pair[1]}" in succeed("predict", tmp_path / "m", path, "--proba")


def test_a_positive_label_that_is_not_there(tmp_path):
    texts = labelled_file(tmp_path / "t.csv", ["yes", "no"] * 9)
    assert "no such label in the first rows, which have 'yes', 'no'" in fail(
        "train", texts, "--target", "y", "--positive", "maybe"
    )
    numbers = labelled_file(tmp_path / "n.csv", [1, 2] * 9)
    assert "the labels are numbers" in fail("train", numbers, "--target", "y", "--positive", "two")
    truths = labelled_file(tmp_path / "b.csv", ["true", "false"] * 9)
    assert "the labels are true and false" in fail("train", truths, "--target", "y", "--positive", "1")
    alone = labelled_file(tmp_path / "a.csv", ["yes"] * 9)
    assert "every row has this label" in fail("train", alone, "--target", "y", "--positive", "yes")
    amounts = labelled_file(tmp_path / "r.csv", [1, 2, 3] * 9)
    assert "is for task binary" in fail("train", amounts, "--target", "y", "--positive", "1")


def test_labels_whose_order_is_not_clear_say_what_to_do(tmp_path):
    path = labelled_file(tmp_path / "a.csv", [1] * 20 + [2] * 20)
    args = ("train", path, "--target", "y", "--batch-rows", 8, "--save", tmp_path / "m")
    output = fail(*args)
    assert "say --positive VALUE" in output
    assert "labels=" not in output
    succeed(*args, "--positive", 2)
    assert streamgd.load(tmp_path / "m").labels_ == (1, 2)


@pytest.mark.parametrize("value", ["inf", "-inf", "1e300", "1e160"])
@pytest.mark.parametrize("task", ["regression", "binary"])
def test_a_target_beyond_numbers_is_named_with_its_row(tmp_path, value, task):
    path = labelled_file(tmp_path / "a.csv", [1, 2, 1, value, 2])
    output = fail("train", path, "--target", "y", "--task", task)
    assert "row 4: " in output
    assert "nan" not in output


# -- columns ------------------------------------------------------------------------------


def test_the_kinds_of_the_columns_are_told(tmp_path, rows):
    assert "columns: 4 numbers, 1 category (kind)" in succeed("train", rows, "--target", "y")
    path = tmp_path / "a.csv"
    path.write_text(
        "b,x,y\n" + "".join(f"{k % 9},1,{k % 2}\n" for k in range(90)).replace("\n4,", "\n4 cm,", 1)
    )
    output = succeed("train", path, "--target", "y")
    assert "columns: 1 number, 1 category (b)" in output
    assert "most cells of column 'b' are numbers, but '4 cm' is not" in output
    assert "--category b" in output
    assert "note:" not in succeed("train", path, "--target", "y", "--category", "b")


def test_advice_is_in_terms_of_the_command(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,y\n" + "".join(f"{k},{k % 2}\n" for k in range(1100)) + "tall,1\n")
    assert "--category a" in fail("train", path, "--target", "y")
    path.write_text("a,y\n" + "".join(f"{k}e40,{k % 3}\n" for k in range(9)))
    output = fail("train", path, "--target", "y", "--optimizer", "sgd", "--lr", "1e100")
    assert "the weights have diverged" in output
    assert "lower --lr, or use --optimizer auto" in output
    assert "river" not in output
    path.write_text("a,y\n" + "".join(f"{k},{k % 2}\n" for k in range(1100)) + "NA,1\n")
    assert "--missing zero" in fail("train", path, "--target", "y")
    assert summary(succeed("train", path, "--target", "y", "--missing", "zero"))["rows"] == "1,101"


def test_columns_that_make_the_same_feature(tmp_path):
    (tmp_path / "a.csv").write_text("c,c=x,y\nx,1,0\nu,2,1\n")
    assert "'x' in column 'c' and column 'c=x' would both" in fail(
        "train", tmp_path / "a.csv", "--target", "y"
    )


def test_carriage_returns_alone(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"x,y\r1,0\r2,1\r")
    assert "carriage return" in fail("train", tmp_path / "a.csv", "--target", "y")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--target", "yy"], "no column 'yy'; it has 'a', 'b', 'c', 'kind', 'y', 't'"),
        (["--target", "Kind"], "no column 'Kind'; did you mean 'kind'"),
        ([], "name the column to predict with --target"),
        (["--target", "kind", "--task", "regression"], "target 'kind' holds text; regression needs numbers"),
        (["--target", "y", "--drop", "kin"], "no column 'kin'; did you mean 'kind'"),
        (
            ["--target", "y", "--category", "kin"],
            r"no column 'kin' \(--category kin\); did you mean 'kind'\?",
        ),
        (["--target", "y", "--loss", "squared"], "--loss squared is not for task binary"),
        (["--target", "y", "--metric", "mae"], "--metric mae is not for task binary"),
        (["--target", "t", "--metric", "f1"], "--metric f1 is not for task regression"),
        (["--target", "y", "--loss", "quantile"], "choose from binaryfocalloss, focal, hinge, log,"),
        (["--target", "t", "--loss", "log"], "--loss log is not for task regression"),
        (["--target", "y", "--l1", "0.1"], "Auto takes no l1 or l2"),
        (["--target", "y", "--optimizer", "newton", "--l2", "1"], "Newton takes no l1 or l2"),
        (["--target", "y", "--optimizer", "newtons"], "'newtons' is not one of .*'newton',"),
        (["--target", "y", "--loss", "crossentropy"], "'crossentropy' is not one of"),
        (["--target", "y", "--schedule", "product"], "'product' is not one of"),
        (["--target", "y", "--optimizer", "adadelta", "--lr", "1"], "--lr sets lr, which AdaDelta lacks"),
        (
            ["--target", "y", "--optimizer", "coin", "--schedule", "constant"],
            "--schedule sets lr, which Coin",
        ),
        (["--target", "y", "--optimizer", "sgd:lr=1", "--lr", "1"], "sgd:lr=1: lr is given twice"),
        (
            ["--target", "y", "--optimizer", "rmsprop:rho"],
            "rho sets no parameter; RMSProp has lr=0.1, rho=0.9",
        ),
        (["--target", "y", "--optimizer", "rmsprop:tau=1"], "tau=1 sets no parameter"),
        (["--target", "y", "--optimizer", "rmsprop:rho=2"], r"rho must be in \[0, 1\)"),
        (["--target", "y", "--optimizer", "rmsprop:rho=x"], "rho must be a number"),
        (["--target", "y", "--schedule", "stepdecay"], "say --schedule stepdecay:drop=...,drop_every=..."),
        (["--target", "y", "--lr", "0"], "--lr"),
        (["--target", "y", "--lr", "1e101"], "--lr"),
        (["--target", "y", "--save", "/nowhere/at/all"], "the folder /nowhere/at does not exist"),
        (["--target", "y", "--save", os.devnull], "that is not a file"),
        (["--target", "y", "--save", "/proc/m"], "the folder /proc does not exist or cannot be written to"),
        (["--target", "y", "--drop", "y"], "column 'y' is the target and cannot be left out"),
    ],
)
def test_options_that_cannot_be_used(rows, args, message):
    assert re.search(message, fail("train", rows, *args))


def test_the_data_are_not_replaced_by_the_model(tmp_path, rows, monkeypatch):
    before = rows.read_bytes()
    (tmp_path / "link").symlink_to(rows)
    (tmp_path / "twin").hardlink_to(rows)
    monkeypatch.chdir(tmp_path)
    for name in (rows, "rows.csv", "./rows.csv", "link", "twin"):
        assert "that is FILE itself" in fail("train", rows, "--target", "y", "--save", name)
    assert rows.read_bytes() == before


def test_saving_that_fails_in_the_end_is_a_message(rows, tmp_path, monkeypatch):
    for error in (OSError(28, "No space left on device"), ValueError("no space for the names")):

        def save(*args: object, error: Exception = error, **kwargs: object) -> None:
            raise error

        monkeypatch.setattr(streamgd, "save", save)
        output = fail("train", rows, "--target", "y", "--save", tmp_path / "m")
        assert "o space" in output.splitlines()[-1]
        assert summary(output)["rows"] == "700"


def test_an_svmlight_file_takes_no_target(tmp_path):
    (tmp_path / "a.svm").write_text("1 1:2\n0 1:3\n")
    output = fail("train", tmp_path / "a.svm", "--target", "foo")
    assert "--target foo has no meaning in an svmlight file" in output
    assert "--category 1 has no meaning" in fail("train", tmp_path / "a.svm", "--category", 1)


def test_files_that_cannot_be_used(tmp_path, rows):
    assert "no file" in (output := fail("train", tmp_path / "rows.cvs", "--target", "y"))
    assert "did you mean 'rows.csv'" in output
    (tmp_path / "empty.csv").write_text("")
    assert "the file is empty" in fail("train", tmp_path / "empty.csv", "--target", "y")
    (tmp_path / "head.csv").write_text("x,y\n")
    assert "only a header, no rows" in fail("train", tmp_path / "head.csv", "--target", "y")
    (tmp_path / "ragged.csv").write_text("x,y\n1,0\n2\n")
    assert "ragged.csv, line 3: 1 fields, where the header has 2" in fail(
        "train", tmp_path / "ragged.csv", "--target", "y"
    )
    (tmp_path / "folder").mkdir()
    assert "no files in" in fail("train", tmp_path / "folder", "--target", "y")


def test_parquet_without_pyarrow_names_the_extra(tmp_path, frame, monkeypatch):
    frame.to_parquet(tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    output = fail("train", tmp_path / "a.parquet", "--target", "y")
    assert "reading Parquet needs pyarrow: pip install 'streamgd[io]'" in output


def test_ctrl_c_prints_the_summary_and_saves(tmp_path):
    path, model = tmp_path / "a.csv", tmp_path / "m"
    path.write_text("x,z,y\n" + "".join(f"{k % 5},{k % 11},{k % 2}\n" for k in range(600_000)))
    command = [sys.executable, "-c", "from streamgd.cli import main; main()", "train", path, "--target", "y"]
    command += ["--save", model, "--batch-rows", "16"]  # small, so that the pass takes a while
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    ) as process:
        assert process.stdout is not None
        seen = ""
        for line in process.stdout:
            seen += line
            if line.startswith("       1,024"):
                process.send_signal(signal.SIGINT)
                break
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "interrupted" in rest
    n = int(summary(rest)["rows"].replace(",", ""))
    assert 1024 <= n < 600_000
    assert n % 16 == 0
    assert streamgd.load(model).n_samples == n


# -- predict ------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path, rows) -> Path:
    succeed("train", rows, "--target", "y", "--drop", "t", "--save", tmp_path / "m", "--quiet")
    return tmp_path / "m"


def dict_rows(frame: pd.DataFrame):
    for row in frame[["a", "b", "c", "kind"]].to_dict("records"):
        kind = row.pop("kind")
        yield {**row, f"kind={kind}": 1.0}


def test_predictions_equal_those_of_dicts(tmp_path, frame, model):
    learner = streamgd.load(model)
    other = frame.drop(columns=["y"]).iloc[::-1]
    other.loc[other.index[3], "kind"] = "never seen"
    other[["kind", "t", "c", "b", "a"]].to_csv(tmp_path / "new.csv", index=False)
    lines = succeed("predict", model, tmp_path / "new.csv", "--proba").splitlines()
    assert lines[0] == "probability_1"
    want = [learner.predict_proba_one(x)[1] for x in dict_rows(other)]
    assert [float(v) for v in lines[1:]] == pytest.approx(want, rel=1e-12)
    lines = succeed("predict", model, tmp_path / "new.csv").splitlines()
    assert lines == ["prediction", *(str(learner.predict_one(x)) for x in dict_rows(other))]


@pytest.mark.parametrize("optimizer", ["auto", "bank", "adam", "ftrlproximal"])
def test_models_of_any_optimizer_predict_and_go_on(tmp_path, frame, rows, optimizer):
    args = ("train", rows, "--target", "y", "--drop", "t", "--optimizer", optimizer, "--quiet")
    succeed(*args, "--save", tmp_path / "whole")
    succeed(*args, "--save", tmp_path / "half", "--limit", 350)
    whole, half = streamgd.load(tmp_path / "whole"), streamgd.load(tmp_path / "half")
    for x, y in list(zip(dict_rows(frame), frame["y"], strict=True))[350:]:
        half.learn_one(x, y)
    assert half.weights == pytest.approx(whole.weights, rel=1e-9)
    lines = succeed("predict", tmp_path / "whole", rows, "--proba").splitlines()[1:]
    want = [half.predict_proba_one(x)[1] for x in dict_rows(frame)]
    assert [float(v) for v in lines] == pytest.approx(want, rel=1e-9)
    assert roc_auc_score(frame["y"], want) > 0.8


def test_predictions_of_text_labels_to_a_file(tmp_path, frame):
    frame["y"] = np.where(frame["y"] == 1, "yes", "no")
    frame.to_parquet(tmp_path / "a.parquet")
    succeed(
        "train", tmp_path / "a.parquet", "--target", "y", "--drop", "t", "--save", tmp_path / "m", "--quiet"
    )
    succeed("predict", tmp_path / "m", tmp_path / "a.parquet", "--output", tmp_path / "p.csv")
    found = pd.read_csv(tmp_path / "p.csv")["prediction"]
    assert set(found) == {"yes", "no"}
    assert (found == frame["y"]).mean() > 0.75


def test_columns_keep_the_kind_they_had_in_training(tmp_path):
    codes = "".join(f"{10 + k % 3},{int(k % 3 == 1)}\n" for k in range(300))
    (tmp_path / "a.csv").write_text("zip,y\n" + codes)
    succeed(
        "train", tmp_path / "a.csv", "--target", "y", "--category", "zip", "--save", tmp_path / "m", "--quiet"
    )
    (tmp_path / "new.csv").write_text("zip\n10\n11\n12\n")
    lines = succeed("predict", tmp_path / "m", tmp_path / "new.csv").split()
    assert lines == ["prediction", "0", "1", "0"]


def test_regression_predictions(tmp_path, rows, frame):
    succeed("train", rows, "--target", "t", "--drop", "y", "--save", tmp_path / "r", "--quiet")
    lines = succeed("predict", tmp_path / "r", rows).splitlines()
    learner = streamgd.load(tmp_path / "r")
    assert [float(v) for v in lines[1:]] == pytest.approx([learner.predict_one(x) for x in dict_rows(frame)])
    assert "--proba is for models of labels" in fail("predict", tmp_path / "r", rows, "--proba")


def test_predict_says_what_is_missing(tmp_path, rows, model):
    assert "no model file" in fail("predict", tmp_path / "nothing", rows)
    assert "not a model file" in fail("predict", rows, rows)
    (tmp_path / "short.csv").write_text("a,b,kind\n1,2,u\n")
    assert "no column 'c'" in fail("predict", model, tmp_path / "short.csv")
    (tmp_path / "bad.csv").write_text("a,b,c,kind\n1,2,3,u\n1,2,inf,u\n")
    assert "row 2: " in fail("predict", model, tmp_path / "bad.csv")
    streamgd.save(streamgd.linear_model.LogisticRegression(), tmp_path / "bare")
    assert "does not say what columns" in fail("predict", tmp_path / "bare", rows)


def test_predict_wants_the_kind_of_file_the_model_was_trained_on(tmp_path, rows, model):
    (tmp_path / "a.svm").write_text("1 1:2\n0 1:3\n")
    succeed("train", tmp_path / "a.svm", "--save", tmp_path / "s")
    assert succeed("predict", tmp_path / "s", tmp_path / "a.svm").splitlines()[0] == "prediction"
    assert "trained on svmlight text; give it such a file" in fail("predict", tmp_path / "s", rows)
    assert "trained on columns with names" in fail("predict", model, tmp_path / "a.svm")
    assert "no file" in fail("predict", model, tmp_path / "nothing.svm")


def test_predictions_replace_neither_the_data_nor_the_model(tmp_path, rows, model):
    before = rows.read_bytes(), model.read_bytes()
    assert "that is FILE itself" in fail("predict", model, rows, "--output", rows)
    assert "that is MODEL itself" in fail("predict", model, rows, "--output", model)
    assert (rows.read_bytes(), model.read_bytes()) == before
    assert "/proc/p: " in fail("predict", model, rows, "--output", "/proc/p")
    assert succeed("predict", model, rows, "--output", "-") == succeed("predict", model, rows)
    if Path("/dev/full").exists():
        assert "No space left" in fail("predict", model, rows, "--output", "/dev/full")


# -- metrics, curve, demo, warmup, bench ----------------------------------------------------


def test_text_curve_rises_where_the_metric_does():
    drawn = text([(n, n / 1000) for n in range(10, 1001, 10)], "accuracy", width=40, height=8)
    grid = [line[11:] for line in drawn.splitlines()[1:9]]
    heights = [max(h for h, line in enumerate(reversed(grid)) if line[k : k + 1] == "*") for k in range(40)]
    assert heights == sorted(heights)
    assert (heights[0], heights[-1]) == (0, 7)
    assert "1,000 rows" in drawn


def shuttle_f1() -> float:
    model = streamgd.linear_model.LogisticRegression("auto")
    return evaluate.progressive_val_score(datasets.Shuttle(), model, metrics.F1()).get()


def test_demo_draws_a_curve_and_its_metric_is_that_of_rivers_loop(tmp_path):
    output = succeed("demo", "--output", tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert summary(output)["rows"] == "49,097"
    assert float(summary(output)["f1"]) == pytest.approx(shuttle_f1(), rel=1e-5)


def test_demo_says_where_it_cannot_write(tmp_path):
    assert "No such file or directory" in fail("demo", "--output", tmp_path / "nowhere" / "curve.png")


def test_demo_without_matplotlib_draws_text(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    output = succeed("demo", "--output", tmp_path / "curve.png")
    assert "f1 over all rows so far" in output
    assert "streamgd[plot]" in output
    assert not (tmp_path / "curve.png").exists()


def test_warmup_fills_the_cache_for_the_next_process(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", "from streamgd.cli import main; main()", "warmup"]
    command += ["--loss", "log", "--optimizer", "sgd"]
    first, second = (
        subprocess.run(command, env=env, capture_output=True, text=True, check=True) for _ in range(2)
    )
    assert re.search(r"^Log +SGD .* \d+ compiled$", first.stdout, re.M)
    assert "all in the cache" in second.stdout
    assert "0 kernels compiled" in second.stdout


def test_bench_prints_ratios():
    output = succeed("bench", "--rows", "300", "--features", "4")
    assert len(re.findall(r"^(SGD|Adam): .* +[\d.]+ +[\d.]+ +[\d.]+x$", output, re.M)) == 4


def test_bench_times_nothing_when_weights_differ():
    with pytest.raises(click.ClickException, match=r"weights differ by 0\.5"):
        sys.modules[bench.callback.__module__]._equal({"a": 1.0}, {"a": 1.5}, "learn_one")


def test_the_command_starts_without_heavy_imports():
    heavy = {"numba", "river", "pandas", "pyarrow", "scipy", "matplotlib"}
    code = f"import sys, streamgd.cli; print(*{heavy} & set(sys.modules))"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


def test_help_and_version():
    for command in ("train", "predict", "demo", "warmup", "bench"):
        assert command in succeed("--help")
        assert "Usage" in succeed(command, "--help")
    assert streamgd.__version__ in succeed("--version")
