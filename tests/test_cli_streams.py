"""The command on all its sources, in all three ways to learn; pipes, growing files, crashes and resuming."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from river import linear_model, optim, stats
from sklearn.feature_extraction import FeatureHasher

import streamgd
from streamgd.cli import main

pytest.importorskip("pyarrow", reason="Parquet, Arrow and zst: pip install 'streamgd[io]'")

ROOT = Path(__file__).parents[1]
SGD = ("--optimizer", "sgd", "--lr", "0.05")
BEGIN = (sys.executable, "-c", "from streamgd.cli import main; main()")


def call(*args: object, given: bytes | None = None):
    return CliRunner().invoke(main, [str(a) for a in args], input=given)


def succeed(*args: object, given: bytes | None = None) -> str:
    result = call(*args, given=given)
    assert result.exit_code == 0, result.output
    return result.output


def fail(*args: object, given: bytes | None = None) -> str:
    result = call(*args, given=given)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)  # a message, no traceback
    return result.output


def summary(output: str) -> dict[str, str]:
    """Lines "name   value ..." at the end."""
    return dict(re.findall(r"^(\S+|peak memory) {2,}(\S+)", output, re.M))


@contextmanager
def process(*args: object, **options: object) -> Iterator[subprocess.Popen[str]]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    command = [*BEGIN, *map(str, args)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, **options
    ) as running:
        try:
            yield running
        finally:
            if running.poll() is None:
                running.kill()


def read_until(running: subprocess.Popen[str], row: str) -> None:
    """Read the table up to the line of a row."""
    assert running.stdout is not None
    for line in running.stdout:
        if line.split()[:1] == [row]:
            return
    raise AssertionError(f"no line of row {row}: {running.communicate()[1]}")


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(7)
    n = 600
    X = rng.normal(size=(n, 3)).round(3)
    z = X @ [1.0, -2.0, 0.5] + 0.3
    return pd.DataFrame({
        "a": X[:, 0],
        "b": X[:, 1],
        "c": X[:, 2],
        "y": (z + rng.logistic(size=n) > 0).astype(int),
        "t": (z + rng.normal(size=n)).round(4),
    })  # fmt: skip


@pytest.fixture
def rows(tmp_path, frame) -> Path:
    path = tmp_path / "rows.csv"
    frame.to_csv(path, index=False)
    return path


def dicts(frame: pd.DataFrame, *names: str):
    return frame[list(names)].to_dict("records")


# -- sources ------------------------------------------------------------------------------


def written(frame: pd.DataFrame, folder: Path, what: str) -> Path:
    """Write a frame in some format; return what to train on."""
    path = folder / f"data{what}"
    if what in (".csv", ".csv.gz", ".csv.zst"):
        if what == ".csv.zst":
            import pyarrow as pa

            with pa.CompressedOutputStream(str(path), "zstd") as file:
                file.write(frame.to_csv(index=False).encode())
        else:
            frame.to_csv(path, index=False)
    elif what in (".parquet", ".feather"):
        getattr(frame, f"to_{what[1:]}")(path)
    elif what == ".vw":
        lines = (
            f"{y} | a:{a} b:{b} c:{c}\n" for a, b, c, y in frame[["a", "b", "c", "y"]].itertuples(index=False)
        )
        path.write_text("".join(lines))
    else:
        parts = folder / "parts"
        parts.mkdir()
        for k in range(0, len(frame), 250):
            frame.iloc[k : k + 250].to_parquet(parts / f"{k:04d}.parquet")
        return parts if what == "folder" else parts / "*.parquet"
    return path


@pytest.mark.parametrize(
    "what", [".csv", ".csv.gz", ".csv.zst", ".parquet", ".feather", ".vw", "folder", "pattern"]
)
def test_every_source_gives_the_weights_of_rivers_loop(tmp_path, frame, what):
    path = written(frame.drop(columns="t"), tmp_path, what)
    named = () if what == ".vw" else ("--target", "y")
    output = succeed("train", path, *named, *SGD, "--save", tmp_path / "m")
    model = linear_model.LogisticRegression(optim.SGD(0.05))
    for x, y in zip(dicts(frame, "a", "b", "c"), frame["y"], strict=True):
        model.learn_one(x, y)
    assert streamgd.load(tmp_path / "m").weights == pytest.approx(model.weights, rel=1e-9)
    assert summary(output)["rows"] == "600"
    lines = succeed("predict", tmp_path / "m", path, "--proba").splitlines()[1:]
    want = [model.predict_proba_one(x)[True] for x in dicts(frame, "a", "b", "c")]
    assert [float(line) for line in lines] == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("format", ["csv", "vw"])
def test_standard_input_is_a_source(tmp_path, frame, format):
    path = written(frame.drop(columns="t"), tmp_path, f".{format}")
    options = ["--target", "y"] if format == "csv" else ["--format", "vw"]
    succeed("train", path, *options, "--save", tmp_path / "m", "--quiet")
    output = succeed("train", "-", *options, "--save", tmp_path / "p", given=path.read_bytes())
    assert f"-: binary on {'label' if format == 'vw' else 'y'!r}" in output
    assert streamgd.load(tmp_path / "p").weights == streamgd.load(tmp_path / "m").weights
    lines = succeed("predict", tmp_path / "m", "-", "--proba", given=path.read_bytes())
    assert lines == succeed("predict", tmp_path / "m", path, "--proba")


def test_a_pipe_of_the_system(tmp_path, rows):
    succeed("train", rows, "--target", "y", "--save", tmp_path / "m", "--quiet")
    with process("train", "-", "--target", "y", "--save", tmp_path / "p", stdin=subprocess.PIPE) as running:
        output, errors = running.communicate(rows.read_text(), timeout=120)
    assert running.returncode == 0, errors
    assert summary(output)["rows"] == "600"
    assert streamgd.load(tmp_path / "p").weights == streamgd.load(tmp_path / "m").weights


def test_a_named_pipe(tmp_path, rows):
    succeed("train", rows, "--target", "y", "--save", tmp_path / "m", "--quiet")
    for name, command in (
        ("1", ("train", tmp_path / "1", "--target", "y", "--save", tmp_path / "p")),
        ("2", ("predict", tmp_path / "m", tmp_path / "2")),
    ):
        os.mkfifo(tmp_path / name)
        writer = threading.Thread(target=(tmp_path / name).write_bytes, args=[rows.read_bytes()], daemon=True)
        writer.start()
        output = succeed(*command)
        writer.join()
    assert streamgd.load(tmp_path / "p").weights == streamgd.load(tmp_path / "m").weights
    assert output == succeed("predict", tmp_path / "m", rows)


def test_a_file_as_standard_input_may_be_read_again(tmp_path, rows):
    with rows.open() as file, process("train", "-", "--target", "y", "--epochs", "2", stdin=file) as running:
        output, errors = running.communicate(timeout=120)
    assert running.returncode == 0, errors
    assert summary(output)["rows"] == "1,200"
    output = fail("train", "-", "--target", "y", "--epochs", 2, given=b"")
    assert "standard input: the file is empty" in output


def test_ctrl_c_ends_the_wait_for_a_pipe_at_once(tmp_path):
    with process("train", "-", "--target", "y", "--save", tmp_path / "m", stdin=subprocess.PIPE) as running:
        assert running.stdin is not None
        running.stdin.write("x,y\n" + "1,0\n2,1\n" * 4)
        running.stdin.flush()
        read_until(running, "8")
        running.send_signal(signal.SIGINT)
        began = time.monotonic()
        output, errors = running.communicate(timeout=60)  # the pipe stays open until then
    assert running.returncode == 130, errors
    assert time.monotonic() - began < 20
    assert summary(output)["rows"] == "8"
    assert streamgd.load(tmp_path / "m").n_samples == 8


def test_the_time_ends_the_wait_for_a_pipe(tmp_path):
    with process("train", "-", "--target", "y", "--max-seconds", "1", stdin=subprocess.PIPE) as running:
        assert running.stdin is not None
        running.stdin.write("x,y\n" + "1,0\n2,1\n" * 4)
        running.stdin.flush()
        running.wait(timeout=60)
        assert running.returncode == 0
        assert summary(running.stdout.read())["rows"] == "8"  # type: ignore[union-attr]


@pytest.mark.parametrize("suffix", [".csv", ".vw", ".svm"])
def test_a_file_that_grows_is_followed(tmp_path, suffix):
    path, model = tmp_path / f"log{suffix}", tmp_path / "m"
    more = {".csv": "1,0\n2,1\n", ".vw": "-1 | x:1\n1 | x:2\n", ".svm": "-1 1:1\n1 1:2\n"}[suffix]
    path.write_text(("x,y\n" if suffix == ".csv" else "") + more * 2)
    named = ("--target", "y") if suffix == ".csv" else ()
    with process("train", path, *named, "--follow", "--save", model) as running:
        read_until(running, "4")
        for n in (8, 16):
            with path.open("a") as file:
                file.write(more * (n // 4))
            began = time.monotonic()
            read_until(running, str(n))
            assert time.monotonic() - began < 20  # it is the load of the machine that takes any time at all
        running.send_signal(signal.SIGINT)
        output, errors = running.communicate(timeout=60)
    assert running.returncode == 130, errors
    assert "Traceback" not in errors
    assert summary(output)["rows"] == "16"
    with path.open("a") as file:
        file.write(more)
    output = succeed("train", path, "--resume", model, "--save", model)
    assert "goes on behind row 16" in output
    assert summary(output)["rows"] == "2"
    assert streamgd.load(model).n_samples == 18


# -- weights, missing values, products, hashing -------------------------------------------------


def test_rows_count_by_their_weight(tmp_path, frame):
    frame["w"] = np.random.default_rng(1).integers(0, 4, len(frame))
    frame.to_csv(tmp_path / "a.csv", index=False)
    succeed(
        "train",
        tmp_path / "a.csv",
        "--target",
        "t",
        "--drop",
        "y",
        "--weight",
        "w",
        *SGD,
        "--save",
        tmp_path / "m",
    )
    model = linear_model.LinearRegression(optim.SGD(0.05))
    for x, y, w in zip(dicts(frame, "a", "b", "c"), frame["t"], frame["w"], strict=True):
        if w:
            model.learn_one(x, y, w=w)
    learner, extra = streamgd.load(tmp_path / "m", with_extra=True)
    assert learner.weights == pytest.approx(model.weights, rel=1e-9)
    assert list(extra["kinds"]) == ["a", "b", "c"]
    frame[["c", "b", "a"]].to_csv(tmp_path / "new.csv", index=False)  # no weights there
    lines = succeed("predict", tmp_path / "m", tmp_path / "new.csv").splitlines()[1:]
    want = [model.predict_one(x) for x in dicts(frame, "a", "b", "c")]
    assert [float(line) for line in lines] == pytest.approx(want, rel=1e-9)
    assert "no column 'v'" in fail("train", tmp_path / "a.csv", "--target", "t", "--weight", "v")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("batch_rows", [100, 8192])
def test_means_stand_for_what_is_missing(tmp_path, frame, suffix, batch_rows):
    rng = np.random.default_rng(2)
    for name in ("a", "b"):
        frame.loc[rng.random(len(frame)) < 0.3, name] = np.nan
    train, new = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    for part, path in ((frame[:400], train), (frame[400:], new)):
        part.to_csv(path, index=False) if suffix == ".csv" else part.to_parquet(path)
    args = ("train", train, "--target", "t", "--drop", "y", "--missing", "mean", *SGD)
    succeed(*args, "--batch-rows", batch_rows, "--save", tmp_path / "m")
    means = {name: stats.Mean() for name in ("a", "b", "c")}
    model = linear_model.LinearRegression(optim.SGD(0.05))

    def filled(x: dict[str, float]) -> dict[str, float]:
        return {name: value if value == value else means[name].get() for name, value in x.items()}

    every = dicts(frame, "a", "b", "c")
    for x, y in zip(every[:400], frame["t"][:400], strict=True):
        for name in ("a", "b", "c"):
            if x[name] == x[name]:
                means[name].update(x[name])
        model.learn_one(filled(x), y)
    assert streamgd.load(tmp_path / "m").weights == pytest.approx(model.weights, rel=1e-9)
    lines = succeed("predict", tmp_path / "m", new).splitlines()[1:]
    want = [model.predict_one(filled(x)) for x in every[400:]]  # with the means of training
    assert [float(line) for line in lines] == pytest.approx(want, rel=1e-9)


def test_products_of_columns(tmp_path, frame):
    frame["kind"] = np.random.default_rng(3).choice(["u", "v"], len(frame))
    frame.to_csv(tmp_path / "a.csv", index=False)
    args = ("train", tmp_path / "a.csv", "--target", "t", "--drop", "y", *SGD)
    succeed(*args, "--interaction", "a*b", "--interaction", "c*kind", "--save", tmp_path / "m")
    model = linear_model.LinearRegression(optim.SGD(0.05))
    every = [
        {**x, "a*b": x["a"] * x["b"], f"kind={kind}": 1.0, f"c*kind={kind}": x["c"]}
        for x, kind in zip(dicts(frame, "a", "b", "c"), frame["kind"], strict=True)
    ]
    for x, y in zip(every, frame["t"], strict=True):
        model.learn_one(x, y)
    assert streamgd.load(tmp_path / "m").weights == pytest.approx(model.weights, rel=1e-9)
    lines = succeed("predict", tmp_path / "m", tmp_path / "a.csv").splitlines()[1:]
    assert [float(line) for line in lines] == pytest.approx([model.predict_one(x) for x in every], rel=1e-9)


def test_hashed_features_are_those_of_scikit_learn(tmp_path, frame):
    frame["kind"] = np.random.default_rng(3).choice(list("uvwxyz"), len(frame))
    frame.to_csv(tmp_path / "a.csv", index=False)
    args = ("train", tmp_path / "a.csv", "--target", "t", "--drop", "y", *SGD)
    output = succeed(*args, "--n-features", 8, "--save", tmp_path / "m")
    model = linear_model.LinearRegression(optim.SGD(0.05))
    hashed = FeatureHasher(n_features=8).transform(dicts(frame, "a", "b", "c", "kind")).tocsr()
    every = [dict(zip(row.indices.tolist(), row.data.tolist(), strict=True)) for row in hashed]
    for x, y in zip(every, frame["t"], strict=True):
        model.learn_one(x, y)
    assert int(summary(output)["features"]) <= 8
    assert streamgd.load(tmp_path / "m").weights == pytest.approx(model.weights, rel=1e-9)
    lines = succeed("predict", tmp_path / "m", tmp_path / "a.csv").splitlines()[1:]
    assert [float(line) for line in lines] == pytest.approx([model.predict_one(x) for x in every], rel=1e-9)


# -- the three ways to learn ------------------------------------------------------------------


def descended(frame: pd.DataFrame, size: int, epochs: int, lr: float) -> np.ndarray:
    """Weights and intercept of gradient descent on the mean squared error, in plain NumPy."""
    X, t = frame[["a", "b", "c"]].to_numpy(), frame["t"].to_numpy()
    w, b = np.zeros(3), 0.0
    for _ in range(epochs):
        for k in range(0, len(X), size):
            part, error = X[k : k + size], X[k : k + size] @ w + b - t[k : k + size]
            w, b = w - lr * 2.0 * part.T @ error / len(part), b - 0.01 * 2.0 * error.mean()
    return np.array([*w, b])


@pytest.mark.parametrize(("size", "updates"), [(1, 600), (32, 19), (599, 2), (600, 1), ("all", 1)])
@pytest.mark.parametrize("epochs", [1, 3])
def test_batch_size_makes_all_three_kinds_of_descent(tmp_path, frame, rows, size, updates, epochs):
    args = ("train", rows, "--target", "t", "--drop", "y", "--optimizer", "sgd", "--lr", 0.02)
    output = succeed(*args, "--batch-size", size, "--epochs", epochs, "--save", tmp_path / "m")
    learner = streamgd.load(tmp_path / "m")
    want = descended(frame, 600 if size == "all" else size, epochs, 0.02)
    assert [*learner.weights.values(), learner.intercept] == pytest.approx(want, rel=1e-9)
    found = summary(output)
    assert int(found["rows"].replace(",", "")) == 600 * epochs
    assert found.get("updates", found["rows"]).replace(",", "") == str(updates * epochs)
    if epochs > 1:
        assert re.search(rf"^epochs +3 of {updates} updates?$", output, re.M)


def test_threads_do_not_change_the_weights(tmp_path, rows):
    options = ("--target", "y", "--drop", "t", "--batch-size", 256, "--epochs", 2, "--quiet")
    for threads in (1, 2):
        succeed("train", rows, *options, "--threads", threads, "--save", tmp_path / f"m{threads}")
    one, two = (streamgd.load(tmp_path / f"m{threads}") for threads in (1, 2))
    assert one.weights == two.weights
    assert type(one.optimizer).__name__ == "Adam"  # auto learns row by row only


def test_shuffles_depend_on_the_seed_alone(tmp_path, rows):
    weights = []
    for seed in (0, 0, 1):
        args = ("train", rows, "--target", "y", "--shuffle", 200, "--epochs", 2, *SGD, "--quiet")
        succeed(*args, "--seed", seed, "--save", tmp_path / "m")
        weights.append(streamgd.load(tmp_path / "m").weights)
    assert weights[0] == weights[1] != weights[2]


def test_limits_stop_the_run(tmp_path, rows):
    output = succeed("train", rows, "--target", "y", "--epochs", 5, "--limit", 1000, "--batch-size", 64)
    assert summary(output)["rows"] == "1,000"
    output = succeed("train", rows, "--target", "y", "--epochs", 10**9, "--max-seconds", "0.3")
    assert float(summary(output)["seconds"]) < 30  # instead of weeks


def test_labels_of_many_classes(tmp_path, frame):
    labels = np.select([frame["t"] > 1, frame["t"] > -1], ["high", "some, or few"], "low")
    frame[["a", "b", "c"]].assign(label=labels).to_csv(tmp_path / "a.csv", index=False)
    output = succeed("train", tmp_path / "a.csv", "--target", "label", "--save", tmp_path / "m")
    assert ": multiclass on 'label', SoftmaxRegression" in output
    assert {"accuracy", "macro-f1", "cross-entropy"} <= summary(output).keys()
    assert summary(output)["labels"] == "3"
    learner = streamgd.load(tmp_path / "m")
    table = list(csv.reader(io.StringIO(succeed("predict", tmp_path / "m", tmp_path / "a.csv", "--proba"))))
    assert table[0] == [f"probability_{label}" for label in learner.labels_]
    for line, x in zip(table[1:], dicts(frame, "a", "b", "c"), strict=True):
        shares = learner.predict_proba_one(x)
        assert [float(cell) for cell in line] == pytest.approx([shares[v] for v in learner.labels_], rel=1e-9)
    found = pd.read_csv(io.StringIO(succeed("predict", tmp_path / "m", tmp_path / "a.csv")))["prediction"]
    assert (found == labels).mean() > 0.6


def test_whole_numbers_may_be_labels(tmp_path, frame):
    frame[["a", "b"]].assign(y=np.digitize(frame["t"], [-1, 0, 1])).to_csv(tmp_path / "a.csv", index=False)
    output = succeed("train", tmp_path / "a.csv", "--target", "y")
    assert "regression on 'y'" in output
    assert "'y' has 4 different values, whole numbers; if they are labels, say --task multiclass" in output
    output = succeed(
        "train", tmp_path / "a.csv", "--target", "y", "--task", "multiclass", "--save", tmp_path / "m"
    )
    assert set(streamgd.load(tmp_path / "m").labels_) == {0, 1, 2, 3}
    assert "note" not in succeed("train", tmp_path / "a.csv", "--target", "y", "--task", "regression")


# -- results ----------------------------------------------------------------------------------


def test_a_picture_and_a_page(tmp_path, rows):
    output = succeed(
        "train", rows, "--target", "y", "--plot", tmp_path / "a.png", "--report", tmp_path / "a.html"
    )
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "a.html").read_text()
    assert "<svg" in page
    assert str(rows) in page
    assert summary(output)["plot"] == str(tmp_path / "a.png")


@pytest.mark.parametrize("option", ["--plot", "--report"])
def test_pictures_that_cannot_be_made_are_refused_before_the_run(tmp_path, rows, monkeypatch, option):
    output = fail("train", rows, "--target", "y", option, tmp_path / "no" / "a.png")
    assert "does not exist or cannot be written to" in output
    if option == "--plot":
        assert "the name must end in one of" in fail(
            "train", rows, "--target", "y", option, tmp_path / "a.doc"
        )
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backend_bases", None)
    output = fail("train", rows, "--target", "y", option, tmp_path / "a.png")
    assert output == f"Error: {option} needs matplotlib: pip install 'streamgd[plot]'\n"


# -- going on ----------------------------------------------------------------------------------


@pytest.fixture
def wide(tmp_path, frame) -> Path:
    """A file with categories that turn up late, and gaps."""
    frame["kind"] = [f"k{k // 90}" for k in range(len(frame))]
    frame.loc[::7, "b"] = np.nan
    frame.drop(columns="t").to_csv(tmp_path / "wide.csv", index=False)
    return tmp_path / "wide.csv"


@pytest.mark.parametrize("limit", [1, 250, 256, 600, 777])
@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--batch-size", 16, "--optimizer", "adam"),
        ("--shuffle", 100, "--seed", 3),
        ("--schedule", "inversescaling", "--optimizer", "sgd"),
    ],
)
def test_a_run_that_was_cut_goes_on_to_the_bit(tmp_path, wide, options, limit):
    args = ("train", wide, "--target", "y", "--missing", "mean", "--epochs", 2, "--batch-rows", 64, *options)
    succeed(*args, "--quiet", "--save", tmp_path / "whole")
    succeed(*args, "--quiet", "--save", tmp_path / "half", "--limit", limit)
    output = succeed("train", wide, "--resume", tmp_path / "half", "--save", tmp_path / "half")
    assert int(summary(output)["rows"].replace(",", "")) == 1200 - limit
    (whole, about), (half, extra) = (
        streamgd.load(tmp_path / name, with_extra=True) for name in ("whole", "half")
    )
    if "--batch-size" not in options or limit % 16 == 0:  # else one mini-batch became two
        assert half.weights == whole.weights
        assert half.intercept == whole.intercept
    assert extra["rows"] == about["rows"] == half.n_samples == 1200
    assert extra["options"] == about["options"]


def test_a_killed_run_goes_on_at_its_last_checkpoint(tmp_path, frame):
    path, model = tmp_path / "a.csv", tmp_path / "m"
    pd.concat([frame] * 400).to_csv(path, index=False)
    args = ("train", path, "--target", "y", "--drop", "t")
    with process(
        *args, "--save", model, "--checkpoint-every", 3000, "--batch-rows", 500, "--epochs", 50
    ) as running:
        read_until(running, "16,384")
        running.kill()
        running.communicate(timeout=60)
    assert running.returncode == -signal.SIGKILL
    _, extra = streamgd.load(model, with_extra=True)
    assert extra["rows"] >= 15_000
    assert extra["rows"] % 3000 == 0
    succeed(
        "train",
        path,
        "--resume",
        model,
        "--quiet",
        "--save",
        model,
        "--epochs",
        1,
        "--limit",
        240_000 - extra["rows"],
    )
    succeed(*args, "--quiet", "--save", tmp_path / "whole")
    assert streamgd.load(model).weights == streamgd.load(tmp_path / "whole").weights


def test_a_model_goes_on_with_new_rows_only(tmp_path, frame):
    path, model = tmp_path / "a.csv", tmp_path / "m"
    frame[:400].to_csv(path, index=False)
    succeed("train", path, "--target", "y", "--drop", "t", "--save", model)
    assert f"no rows in {path} that {model} has not seen" in succeed("train", path, "--resume", model)
    with path.open("a") as file:
        frame[400:].to_csv(file, index=False, header=False)
    assert summary(succeed("train", path, "--resume", model, "--save", model))["rows"] == "200"
    succeed("train", path, "--target", "y", "--drop", "t", "--save", tmp_path / "whole")
    assert streamgd.load(model).weights == streamgd.load(tmp_path / "whole").weights


def test_a_model_goes_on_with_another_file_from_its_beginning(tmp_path, frame, rows):
    succeed("train", rows, "--target", "y", "--drop", "t", "--save", tmp_path / "m")
    frame[::-1].to_parquet(tmp_path / "b.parquet")
    output = succeed("train", tmp_path / "b.parquet", "--resume", tmp_path / "m", "--save", tmp_path / "m2")
    assert "of 600 rows, goes on from the beginning" in output
    again, extra = streamgd.load(tmp_path / "m2", with_extra=True)
    assert again.n_samples == extra["rows"] == 1200
    assert json.dumps(extra["kinds"]) == '{"a": "number", "b": "number", "c": "number"}'


@pytest.mark.parametrize("option", ["--target", "--optimizer", "--missing", "--l2", "--seed"])
def test_what_a_model_has_settled_is_not_said_again(tmp_path, rows, option):
    succeed("train", rows, "--target", "y", "--save", tmp_path / "m", "--limit", 100, "--quiet")
    value = {"--target": "y", "--optimizer": "sgd", "--missing": "zero"}.get(option, 1)
    assert f"{option} is settled by --resume" in fail(
        "train", rows, "--resume", tmp_path / "m", option, value
    )


# -- what people err in -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--batch-size", "0"], "0 is not in the range x>=1"),
        (["--batch-size", "some"], "'some' is not a valid integer"),
        (["--batch-size", "8", "--optimizer", "auto"], "Auto learns row by row: leave --batch-size out"),
        (["--interaction", "a"], "--interaction a: names of columns with"),
        (["--interaction", "a*q"], "needs a column 'q'"),
        (["--n-features", "1"], "1 is not in the range x>=2"),
        (["--format", "xml"], "--format xml: it is one of csv, tsv"),
        (["--follow", "--epochs", "2"], "--follow waits at the end of FILE"),
        (["--follow", "--batch-size", "all"], "--follow waits at the end of FILE"),
        (["--checkpoint-every", "9"], "--checkpoint-every needs a file to write to: --save MODEL"),
        (["--resume", "nothing"], "no model file 'nothing'"),
    ],
)
def test_options_that_cannot_be_used(rows, args, message):
    assert message in fail("train", rows, "--target", "y", "--drop", "t", *args)


def test_follow_is_for_text_that_grows(tmp_path, frame):
    frame.to_parquet(tmp_path / "a.parquet")
    assert "--follow is for CSV" in fail("train", tmp_path / "a.parquet", "--target", "y", "--follow")
    assert "a pipe is read as its rows come" in fail(
        "train", "-", "--target", "y", "--follow", given=b"x,y\n"
    )


def test_a_pipe_is_read_once(rows):
    with process("train", "-", "--target", "y", "--epochs", "2", stdin=subprocess.PIPE) as running:
        _, errors = running.communicate(rows.read_text(), timeout=60)
    assert running.returncode == 2
    assert "standard input: can be read once, and --epochs 2 needs a file" in errors


def test_options_without_meaning_for_a_format(tmp_path):
    (tmp_path / "a.svm").write_text("1 1:2\n0 1:3\n")
    output = fail("train", tmp_path / "a.svm", "--interaction", "a*b")
    assert "--interaction a*b has no meaning in an svmlight file" in output
    assert "--missing zero has no meaning in" in fail("train", tmp_path / "a.svm", "--missing", "zero")
    assert "--drop 1 has no meaning in" in fail("train", tmp_path / "a.svm", "--drop", 1)


def test_no_file_of_a_folder_is_replaced(tmp_path, frame):
    path = written(frame, tmp_path, "folder")
    before = (path / "0000.parquet").read_bytes()
    for given in (path, path / "*.parquet"):
        output = fail("train", given, "--target", "y", "--save", path / "0000.parquet")
        assert "one of the files of FILE" in output
    assert (path / "0000.parquet").read_bytes() == before


def test_a_model_of_features_with_names_wants_such_a_file(tmp_path, rows):
    (tmp_path / "a.svm").write_text("1 1:2\n0 1:3\n")
    (tmp_path / "a.vw").write_text("1 | a:2\n-1 | a:3\n")
    for name, what in (("a.svm", "svmlight text"), ("a.vw", "Vowpal Wabbit text")):
        succeed("train", tmp_path / name, "--save", tmp_path / "m")
        assert f"was trained on {what}; give it such a file" in fail("predict", tmp_path / "m", rows)
    (tmp_path / "new.vw").write_text("| a:2\n| a:3 b:1\n")  # no labels there
    assert len(succeed("predict", tmp_path / "m", tmp_path / "new.vw").split()) == 3
    succeed("train", rows, "--target", "y", "--save", tmp_path / "m")
    assert "was trained on columns with names" in fail("predict", tmp_path / "m", tmp_path / "a.vw")


def test_resume_with_a_file_of_another_kind_says_what_the_model_was_trained_on(tmp_path):
    table, text, vw = tmp_path / "a.csv", tmp_path / "a.svm", tmp_path / "a.vw"
    table.write_text("a,y\n" + "".join(f"{k % 7},{k % 2}\n" for k in range(40)))
    text.write_text("".join(f"{k % 2} 1:{k % 7}\n" for k in range(40)))
    vw.write_text("".join(f"{k % 2} | a:{k % 7}\n" for k in range(40)))
    files = {"columns with names": (table, "--target", "y"), "svmlight text": (text,), "Wabbit text": (vw,)}
    for what, (file, *options) in files.items():
        model = tmp_path / "model.safetensors"
        succeed("train", file, *options, "--save", model, "--quiet")
        for other, *_ in files.values():
            if other != file:
                said = fail("train", other, "--resume", model)
                assert f"{model} was trained on" in " ".join(said.split())
                assert what in " ".join(said.split())
