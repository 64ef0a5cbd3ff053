"""`fit` against loops of learn_one and learn_many, closed forms, and itself from every source."""

from __future__ import annotations

import itertools
import json
import math
import time

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import samples
from hypothesis import given, settings
from hypothesis import strategies as st
from river import linear_model as river_linear
from river import metrics as river_metrics
from river import optim as river_optim
from river import preprocessing

import streamgd
from streamgd import linear_model, optim, stream, training
from streamgd._gradient import Gradient

N, P = 1000, 4


@pytest.fixture(scope="module")
def table():
    return samples.dense(N, P, binary=True, seed=3)


@pytest.fixture(scope="module")
def line():
    return samples.dense(N, P, binary=False, seed=4)


def regression(lr=0.02, **options):
    return linear_model.LinearRegression(optim.SGD(lr), intercept_lr="optimizer", **options)


def classifier(**options):
    return linear_model.LogisticRegression(optim.SGD(0.1), **options)


def state(model):
    return [model.intercept, *model.weights.values()]


def silent(model, *data, **options):
    return streamgd.fit(model, *data, progress=False, **options)


# -- the three modes ---------------------------------------------------------------------------


def test_rows_one_by_one_are_learn_one(table):
    model, loop = classifier(), classifier()
    silent(model, table.X, table.y, table.w, columns=table.names)
    for x, y, w in zip(table.dicts(), table.y.tolist(), table.w.tolist(), strict=True):
        loop.learn_one(x, y, w)
    assert state(model) == state(loop)


def test_mini_batches_are_learn_many(table):
    model, loop = classifier(), classifier()
    silent(model, table.X, table.y, table.w, batch_size=32, epochs=2)
    for _ in range(2):
        for lo in range(0, N, 32):
            loop.learn_many(table.X[lo : lo + 32], table.y[lo : lo + 32], table.w[lo : lo + 32])
    assert state(model) == state(loop)


def test_mini_batches_of_one_are_rows(line):
    model, rows = regression(), regression()
    silent(model, Batches(line.X, line.y, 1), batch_size=1)
    loop = regression()
    for x, y in zip(line.X, line.y, strict=True):
        loop.learn_many(x[np.newaxis], [y])
    silent(rows, line.X, line.y)
    np.testing.assert_allclose(state(model), state(rows), rtol=0, atol=0)
    np.testing.assert_allclose(state(loop), state(rows), rtol=1e-12)


def test_all_rows_are_a_mini_batch_of_all_rows(line):
    model, batch = regression(), regression()
    silent(model, line.X, line.y, batch_size="all", epochs=7)
    silent(batch, line.X, line.y, batch_size=N, epochs=7)
    assert state(model) == state(batch)
    assert model.n_updates == 7


def test_full_batch_descent_follows_the_closed_form(line):
    """On the mean of squares, w_k = w* - (I - 2 lr A)^k w*, with A = X'X / n."""
    X = np.column_stack([np.ones(N), line.X])
    A = X.T @ X / N
    best = np.linalg.solve(A, X.T @ line.y / N)
    lr, k = 0.1, 60
    model = linear_model.LinearRegression(optim.SGD(lr), intercept_lr=lr)
    history = silent(model, line.X, line.y, batch_size="all", epochs=k)
    expected = best - np.linalg.matrix_power(np.eye(P + 1) - 2 * lr * A, k) @ best
    np.testing.assert_allclose(state(model), expected, rtol=1e-10)
    assert (history.updates, history.epochs, history.iterations_per_epoch) == (k, k, 1)


def test_full_batch_descent_converges_to_the_normal_equations(line):
    X = np.column_stack([np.ones(N), line.X])
    best, *_ = np.linalg.lstsq(X, line.y, rcond=None)
    model = linear_model.LinearRegression(optim.SGD(0.1), intercept_lr=0.1)
    silent(model, line.X, line.y, batch_size="all", epochs=2000)
    np.testing.assert_allclose(state(model), best, rtol=1e-9)


@pytest.mark.parametrize("threads", [2, 4])
@pytest.mark.parametrize("batch_size", [300, "all"])
def test_threads_do_not_change_a_bit(table, batch_size, threads):
    X, y = np.tile(table.X, (20, 1)), np.tile(table.y, 20)
    alone, together = classifier(), classifier()
    silent(alone, X, y, batch_size=batch_size, epochs=2)
    silent(together, X, y, batch_size=batch_size, epochs=2, threads=threads)
    assert state(alone) == state(together)


@pytest.mark.parametrize(
    ("optimizer", "batch_size"),
    [("auto", 1), *itertools.product([optim.Adam(0.01), optim.AdaGrad(0.1)], [1, 64, "all"])],
    ids=str,
)
def test_in_pieces_it_is_the_same(table, optimizer, batch_size):
    """Small batches of the source, joined or cut on the way, change nothing."""
    whole, pieces = linear_model.LogisticRegression(optimizer), linear_model.LogisticRegression(optimizer)
    silent(whole, table.X, table.y, table.w, batch_size=batch_size, epochs=2)
    silent(pieces, Batches(table.X, table.y, 37, table.w), batch_size=batch_size, epochs=2)
    if batch_size == "all":  # sums of blocks that begin elsewhere
        np.testing.assert_allclose(state(whole), state(pieces), rtol=1e-12)
    else:
        assert state(whole) == state(pieces)


class Batches(stream.Source):
    """A user's own source."""

    def __init__(self, X, y, size, w=None):
        self.X, self.y, self.w, self.size = X, y, w, size

    def batches(self, start=None):
        first = 0 if start is None else start["row"]
        for lo in range(first, len(self.X), self.size):
            part = slice(lo, lo + self.size)
            w = None if self.w is None else self.w[part]
            row = lo + len(self.y[part])
            yield stream.Batch(self.X[part], self.y[part], range(self.X.shape[1]), lo, {"row": row}, w)


# -- the same from every source ----------------------------------------------------------------


def sources(folder, table):
    """Ways to give the same rows; those that read text have the same numbers to the bit."""
    frame = pd.DataFrame(table.X, columns=table.names)
    whole = frame.assign(target=table.y.astype(int))
    arrow = pa.Table.from_pandas(whole, preserve_index=False)
    pq.write_table(arrow, folder / "rows.parquet", row_group_size=117)
    pa.feather.write_feather(arrow, folder / "rows.arrow", chunksize=211)
    whole.to_csv(folder / "rows.csv", index=False)
    whole.to_csv(folder / "rows.csv.gz", index=False)
    (folder / "parts").mkdir()
    for k, lo in enumerate(range(0, N, 300)):
        pq.write_table(arrow.slice(lo, 300), folder / "parts" / f"{k}.parquet")
    with open(folder / "rows.svm", "w") as svm, open(folder / "rows.vw", "w") as vw:
        for x, y in zip(table.X.tolist(), table.y.tolist(), strict=True):
            svm.write(f"{int(y)} " + " ".join(f"{k}:{v!r}" for k, v in enumerate(x)) + "\n")
            named = zip(table.names, x, strict=True)
            vw.write(f"{int(y)} | " + " ".join(f"{name}:{v!r}" for name, v in named) + "\n")
    labels = table.y.astype(int)
    by_name = {"target": "target"}
    return {
        "array": ((table.X, labels), {"columns": table.names}),
        "Fortran array": ((np.asfortranarray(table.X), labels), {"columns": table.names}),
        "pandas": ((whole,), by_name),
        "pandas and y": ((frame, labels), {}),
        "polars": ((pl.from_pandas(whole),), by_name),
        "Arrow": ((arrow,), by_name),
        "reader": ((arrow.to_reader(max_chunksize=99),), by_name),
        "Parquet": ((folder / "rows.parquet",), by_name),
        "folder": ((folder / "parts",), by_name),
        "glob": ((str(folder / "parts" / "*.parquet"),), by_name),
        "IPC": ((folder / "rows.arrow",), by_name),
        "CSV": ((folder / "rows.csv",), by_name),
        "CSV, gzip": ((str(folder / "rows.csv.gz"),), by_name),
        "svmlight": ((folder / "rows.svm",), {}),
        "VW": ((folder / "rows.vw",), {}),
        "dicts": ((list(zip(table.dicts(), labels.tolist(), strict=True)),), {}),
        "generator": ((zip(table.dicts(), labels.tolist(), strict=True),), {}),
        "own": ((Batches(table.X, labels, 64),), {}),
    }


ONE_PASS = {"reader", "generator"}
SPARSE = {"svmlight", "VW"}


@pytest.mark.parametrize("batch_size", [1, 50, "all"])
def test_the_same_from_every_source(tmp_path, table, batch_size):
    reference = classifier()
    silent(reference, table.X, table.y, batch_size=batch_size)
    for name, (data, options) in sources(tmp_path, table).items():
        model = classifier()
        if (name, batch_size) == ("generator", "all"):  # it might never end
            options = {"epoch_size": N}
        history = silent(model, *data, batch_size=batch_size, **options)
        if name in SPARSE:  # sums in another order
            np.testing.assert_allclose(state(model), state(reference), rtol=1e-12, err_msg=name)
        else:
            assert state(model) == state(reference), name
        assert history.iterations_per_epoch == (1 if batch_size == "all" else math.ceil(N / batch_size)), name


def test_a_source_of_one_pass_ends_the_run(tmp_path, table):
    for name, (data, options) in sources(tmp_path, table).items():
        history = silent(classifier(), *data, epochs=2, **options)
        assert history.epochs == (1 if name in ONE_PASS else 2), name
        assert history.stopped == ("end of the stream" if name in ONE_PASS else "epochs"), name


# -- epochs and limits -------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    n=st.integers(1, 60),
    batch_size=st.integers(1, 70),
    epochs=st.integers(1, 4),
    size=st.integers(1, 70),
)
def test_iterations_per_epoch(n, batch_size, epochs, size):
    X = np.arange(2.0 * n).reshape(n, 2) / n
    model = linear_model.LinearRegression(optim.SGD(0.001))
    history = silent(model, Batches(X, X[:, 0], size), batch_size=batch_size, epochs=epochs)
    assert history.iterations_per_epoch == math.ceil(n / batch_size)
    assert history.updates == model.n_updates == epochs * math.ceil(n / batch_size)
    assert (history.epochs, history.samples, len(history.epoch_losses)) == (epochs, n * epochs, epochs)
    assert history.stopped == "epochs"


@pytest.mark.parametrize("batch_size", [1, 7, 64, "all"])
def test_virtual_epochs_of_an_endless_stream(table, batch_size):
    endless = ((x, y) for x, y in itertools.cycle(zip(table.dicts(), table.y.tolist(), strict=True)))
    model = classifier()
    history = silent(model, endless, batch_size=batch_size, epoch_size=100, epochs=3)
    assert history.samples == 300
    assert history.iterations_per_epoch == (1 if batch_size == "all" else math.ceil(100 / batch_size))
    assert history.updates == model.n_updates == 3 * history.iterations_per_epoch


def test_virtual_epochs_longer_than_the_data(table):
    history = silent(classifier(), table.X, table.y, epoch_size=1500, epochs=2, batch_size=100)
    assert (history.samples, history.updates, history.iterations_per_epoch) == (3000, 30, 15)


def test_a_schedule_in_epochs_counts_those_of_fit(line):
    """The rate halves with each pass: two passes by hand."""
    schedule = optim.schedulers.Exponential(0.05, math.log(2.0), per="epoch")
    model = linear_model.LinearRegression(optim.SGD(schedule))
    silent(model, line.X, line.y, epochs=2)
    by_hand = linear_model.LinearRegression(optim.SGD(0.05))
    by_hand.learn_rows(line.X, line.y)
    by_hand.optimizer = optim.SGD(0.025)
    by_hand.learn_rows(line.X, line.y)
    assert state(model) == state(by_hand)
    silent(model, line.X, line.y)  # and goes on from there
    by_hand.optimizer = optim.SGD(0.0125)
    by_hand.learn_rows(line.X, line.y)
    assert state(model) == state(by_hand)


def test_limits(table):
    history = silent(classifier(), table.X, table.y, epochs=None)
    assert (history.samples, history.stopped) == (N, "end of the stream")
    history = silent(classifier(), table.X, table.y, max_rows=10)
    assert (history.samples, history.stopped, history.epochs) == (10, "rows", 0)
    endless = ((x, True) for x in itertools.repeat(table.dicts()[0]))
    history = silent(classifier(), endless, max_seconds=0.05)
    assert history.stopped == "time"
    assert 0.05 <= history.seconds < 5


# -- going on ----------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 48])
@pytest.mark.parametrize("shuffle", [False, True, 90])
def test_goes_on_to_the_bit(tmp_path, table, batch_size, shuffle):
    options = {"batch_size": batch_size, "shuffle": shuffle, "seed": 5}
    whole = classifier()
    silent(whole, table.X, table.y, epochs=3, **options)
    for rows in (1, 500, 999, 1000, 1001, 2040):
        model = classifier()
        history = silent(model, table.X, table.y, epochs=3, max_rows=rows, **options)
        streamgd.save(model, tmp_path / "model", extra={"position": history.position})
        model, extra = streamgd.load(tmp_path / "model", with_extra=True)
        if batch_size == 1 or rows % batch_size == 0 or rows in (1000,):
            last = silent(model, table.X, table.y, epochs=3, start=extra["position"], **options)
            assert state(model) == state(whole), rows
            assert (last.epochs, last.stopped) == (3, "epochs")


def test_checkpoints_resume_in_full_batch_descent(tmp_path, line):
    whole = regression()
    silent(whole, line.X, line.y, batch_size="all", epochs=5)

    class Crash(training.Callback):
        every = 2300

        def on_rows(self, run):
            raise RuntimeError("power cut")

    model = regression()
    path = tmp_path / "model.safetensors"
    with pytest.raises(RuntimeError, match="power cut") as caught:
        silent(
            model, Batches(line.X, line.y, 100), batch_size="all", epochs=5,
            callbacks=[training.Checkpoint(path, every=100), Crash()],
        )  # fmt: skip
    assert caught.value.history.stopped == "error"
    again, extra = streamgd.load(path, with_extra=True)
    assert again.n_updates == 2
    silent(again, line.X, line.y, batch_size="all", epochs=5, start=extra["position"])
    np.testing.assert_allclose(state(again), state(whole), rtol=1e-12)


def test_a_seed_of_numpy_is_kept_as_a_number(table):
    history = silent(classifier(), table.X, table.y, seed=np.int64(7))
    assert json.loads(json.dumps(history.position))["seed"] == 7


def test_a_position_is_json(table):
    history = silent(classifier(), Batches(table.X, table.y, 37), max_rows=100, batch_size=9, shuffle=50)
    assert json.loads(json.dumps(history.position)) == history.position


# -- shuffling ---------------------------------------------------------------------------------


def test_shuffles_are_reproducible_and_new_in_each_pass(table):
    seen = []

    class Look(training.Callback):
        def on_learned(self, run):
            seen.append(run.predictions.y.copy())

    models = [classifier() for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        silent(model, table.X, table.y, epochs=2, shuffle=True, seed=seed, callbacks=[Look()])
    rows = np.concatenate(seen).reshape(3, 2, N)
    assert state(models[0]) == state(models[1]) != state(models[2])
    assert (rows[0] == rows[1]).all()
    assert (rows[0, 0] != rows[0, 1]).any()
    assert (rows.sum(axis=2) == table.y.sum()).all()


def test_without_a_seed_the_drawn_one_is_kept(table):
    first, again = classifier(), classifier()
    history = silent(first, table.X, table.y, shuffle=True)
    silent(again, table.X, table.y, shuffle=True, seed=history.position["seed"])
    assert state(first) == state(again)


def test_a_file_is_not_shuffled_as_a_whole(tmp_path, table):
    (data, options) = sources(tmp_path, table)["CSV"]
    with pytest.raises(ValueError, match="shuffle=100_000"):
        silent(classifier(), *data, shuffle=True, **options)
    silent(classifier(), *data, shuffle=100, **options)


# -- what it reports ---------------------------------------------------------------------------


def test_progressive_loss_and_accuracy(table):
    model, loop = classifier(), classifier()
    history = silent(model, table.X, table.y, metrics=["accuracy"], window=100)
    losses, right = [], []
    for x, y in zip(table.X, table.y.tolist(), strict=True):
        p = loop.predict_proba_one(dict(enumerate(x.tolist())))[True]
        losses.append(-math.log(p if y else 1 - p))
        right.append((p > 0.5) == y)
        loop.learn_one(dict(enumerate(x.tolist())), y)
    ends = [int(n) for n in history.columns["samples"]]
    assert ends[-1] == N
    assert len(ends) >= 4
    np.testing.assert_allclose(history.columns["loss"], [np.mean(losses[:n]) for n in ends], rtol=1e-9)
    recent = [np.mean(losses[a:b]) for a, b in itertools.pairwise([0, *ends])]
    np.testing.assert_allclose(history.columns["loss_recent"], recent, rtol=1e-9)
    np.testing.assert_allclose(history.columns["accuracy"], [np.mean(right[:n]) for n in ends])
    in_window = [np.mean(right[max(0, n - 100) : n]) for n in ends]
    np.testing.assert_allclose(history.columns["accuracy_window"], in_window)
    np.testing.assert_allclose(
        history.columns["share True"], [table.y[a:b].mean() for a, b in itertools.pairwise([0, *ends])]
    )
    np.testing.assert_allclose(history.epoch_losses, [np.mean(losses)], rtol=1e-9)


@pytest.mark.parametrize("batch_size", [N, "all"])
def test_first_losses_know_the_labels_that_the_step_will_learn(table, batch_size):
    """All predictions are those of the first intercept, 2; by far not every row is negative."""
    model = linear_model.LogisticRegression(optim.SGD(0.1), intercept_init=2.0)
    history = silent(model, table.X, np.where(table.y, "yes", "no"), batch_size=batch_size)
    positive = np.where(table.y, "yes", "no") != ("yes" if table.y[0] else "no")  # the second one seen
    losses = np.where(positive, np.log1p(np.exp(-2.0)), np.log1p(np.exp(2.0)))
    assert history.columns["loss"][-1] == pytest.approx(losses.mean(), rel=1e-12)


def test_loss_is_before_weighting(line):
    a = silent(regression(), line.X, line.y, np.full(N, 0.0))
    assert a.columns["loss"][-1] == pytest.approx(np.mean(line.y**2))
    assert a.updates == 0


def test_mini_batches_report_outputs_before_their_step(line):
    model, loop = regression(), regression()
    history = silent(model, line.X, line.y, batch_size=100)
    errors = []
    for lo in range(0, N, 100):
        part = slice(lo, lo + 100)
        errors.extend((loop.predict_many(line.X[part]) - line.y[part]) ** 2)
        loop.learn_many(line.X[part], line.y[part])
    assert history.columns["loss"][-1] == pytest.approx(np.mean(errors))


def test_rates_are_those_of_the_next_update(line):
    model = regression(optim.schedulers.InverseScaling(0.1))
    history = silent(model, line.X, line.y)
    expected = [0.1 / (n + 1) ** 0.5 for n in history.columns["updates"]]
    np.testing.assert_allclose(history.columns["learning_rate"], expected)


def test_skipped_rows_are_counted(table):
    X = table.X.copy()
    X[::10, 1] = np.nan
    history = silent(classifier(on_invalid="skip"), X, table.y)
    assert history.n_invalid == N // 10
    assert history.samples == N
    assert history.updates == N - N // 10


def test_a_restart_on_drift_is_marked(line):
    from river import drift

    y = np.where(np.arange(N) < 500, line.y, line.y + 30.0)
    schedule = optim.schedulers.RestartOnDrift(optim.schedulers.InverseScaling(0.05), drift.PageHinkley())
    history = silent(regression(schedule), line.X, y)
    assert [500 < samples <= N for samples, what in history.marks if "restart" in what]


# -- callbacks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 30, "all"])
def test_callbacks_come_when_they_should(table, batch_size):
    calls = []
    silent(
        classifier(), table.X, table.y, epochs=2, batch_size=batch_size,
        callbacks=[
            training.Every(150, lambda run: calls.append(run.samples)),
            training.EveryEpoch(lambda run: calls.append(("epoch", run.epoch, run.samples))),
        ],
    )  # fmt: skip
    rows = [call for call in calls if isinstance(call, int)]
    assert [call for call in calls if not isinstance(call, int)] == [("epoch", 1, N), ("epoch", 2, 2 * N)]
    if batch_size == 1:
        assert rows == list(range(150, 2 * N, 150))
    elif batch_size == 30:
        assert rows == [150 * k if k <= 6 else rows[k - 1] for k in range(1, len(rows) + 1)]
        assert all(0 <= n - 150 * (n // 150) < 30 for n in rows)


def test_early_stopping_by_epochs_and_by_rows(line):
    stop = training.EarlyStopping(patience=2, min_delta=1e-6)
    history = silent(regression(0.01), line.X, line.y, epochs=500, callbacks=[stop])
    losses = history.epoch_losses
    assert 3 <= history.epochs < 500
    assert history.stopped.startswith("early stopping")
    best = int(np.argmin([*losses[:-2]]))
    assert best == len(losses) - 3
    assert all(loss > losses[best] - 1e-6 for loss in losses[-2:])
    noise = np.random.default_rng(0).normal(size=5000)
    X = np.random.default_rng(1).normal(size=(5000, 2))
    history = silent(regression(0.5), X, noise, callbacks=[training.EarlyStopping(patience=1, every=500)])
    assert history.samples < 5000
    assert history.samples % 500 == 0


def test_early_stopping_goes_back_to_the_best(line):
    """Rates that explode: what came last is bad."""
    kept = {}
    model = linear_model.LinearRegression(optim.SGD(0.01))
    rates = iter([0.01, 0.01, 1.0, 1.0, 1.0, 1.0])

    def keep(run):
        kept[run.epoch] = state(run.model)

    history = silent(
        model, line.X[:50], line.y[:50], epochs=6, batch_size=10,
        callbacks=[
            training.EveryEpoch(keep),
            training.SetRate(lambda run: next(rates)),
            training.EarlyStopping(patience=1, restore_best=True),
        ],
    )  # fmt: skip
    best = int(np.argmin(history.epoch_losses)) + 1
    assert best < history.epochs
    assert state(model) == kept[best]


def test_early_stopping_by_a_metric_that_is_to_be_large(table):
    stop = training.EarlyStopping("accuracy", patience=1, every=200)
    history = silent(classifier(), table.X, table.y, metrics=["accuracy"], epochs=20, callbacks=[stop])
    assert history.stopped.startswith("early stopping: accuracy")
    with pytest.raises(ValueError, match="monitor='rocauc'"):
        silent(classifier(), table.X, table.y, callbacks=[training.EarlyStopping("rocauc")])


def test_rates_can_be_set(line):
    model = regression(optim.schedulers.Constant(0.5))
    rates = [0.01, 0.02, 0.03, 0.04]
    silent(
        model, line.X, line.y, max_rows=400, batch_size=100,
        callbacks=[training.SetRate(lambda run: rates[run.samples // 100 - 1], every=100)],
    )  # fmt: skip
    loop = regression(0.5)
    for k, lo in enumerate(range(0, 400, 100)):
        loop.learn_many(line.X[lo : lo + 100], line.y[lo : lo + 100])
        loop.optimizer = optim.SGD(rates[k])
    assert state(model) == state(loop)
    assert model.learning_rate == 0.04


def test_drift_is_marked_where_a_detector_fires(line):
    from river import drift

    y = np.where(np.arange(N) < 500, line.y, line.y + 30.0)
    seen = []
    mark = training.DetectDrift(drift.ADWIN(), then=lambda run: seen.append(run.samples))
    model, losses = regression(0.001), []
    history = silent(model, line.X, y, callbacks=[mark])
    loop, detector = regression(0.001), drift.ADWIN()
    z = loop.predict_learn_rows(line.X, y)
    for row, loss in enumerate((z - y) ** 2, start=1):
        detector.update(loss)
        if detector.drift_detected:
            losses.append((row, "drift"))
    assert history.marks == losses != []
    assert len(seen) == len(losses)


def test_wrong_callbacks_are_named():
    with pytest.raises(TypeError, match=r"training\.Every"):
        silent(classifier(), np.ones((2, 2)), [0, 1], callbacks=[print])


# -- interrupted -------------------------------------------------------------------------------


def interrupt(monkeypatch, kind, method, call, behind):
    """Let Ctrl-C come before or behind a method's n-th call."""
    original, calls = getattr(kind, method), itertools.count(1)

    def interrupted(*args, **options):
        now = next(calls) == call
        if now and not behind:
            raise KeyboardInterrupt
        result = original(*args, **options)
        if now:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(kind, method, interrupted)


LEARNER = linear_model.LogisticRegression


@pytest.mark.parametrize(
    ("batch_size", "dicts", "kind", "method", "call", "behind"),
    [
        (1, False, LEARNER, "_fill_rates", 2, False),  # amid a chunk, behind row 1024
        (1, False, LEARNER, "_losses_of", 2, False),  # behind the kernel
        (1, False, LEARNER, "_count_epoch", 2, False),
        (1, True, LEARNER, "_last_output", 123, False),  # behind learn_one
        (1, True, LEARNER, "_learn_in_python", 2, False),  # before it
        (32, False, LEARNER, "_learn_made_many", 5, False),
        (32, False, LEARNER, "_learn_made_many", 5, True),
        (32, False, LEARNER, "_losses_of", 2, True),
        ("all", False, LEARNER, "_losses_of", 2, True),
        ("all", False, Gradient, "add", 2, True),
        ("all", False, Gradient, "step", 2, False),
        ("all", False, Gradient, "step", 2, True),
    ],
)
def test_where_ctrl_c_came_the_run_goes_on_to_the_bit(
    monkeypatch, table, batch_size, dicts, kind, method, call, behind
):
    X, y, w = np.tile(table.X, (3, 1)), np.tile(table.y, 3), np.tile(table.w, 3)
    w[::5] = 0.0
    data = (X, y, w)
    if dicts:
        data = (list(zip(table.dicts() * 3, y.tolist(), w.tolist(), strict=True)),)
    options = {"batch_size": batch_size, "epochs": 3, "callbacks": [training.Every(2500, lambda run: None)]}
    schedule = optim.schedulers.InverseScaling(0.5)
    whole, model = (LEARNER(optim.SGD(schedule)) for _ in range(2))
    silent(whole, *data, **options)
    with monkeypatch.context() as patch:
        interrupt(patch, kind, method, call, behind)
        with pytest.raises(KeyboardInterrupt) as caught:
            silent(model, *data, **options)
    history = caught.value.history
    assert history.stopped == "interrupted"
    assert history.updates == model.n_updates < whole.n_updates
    last = silent(model, *data, start=history.position, **options)
    assert state(model) == state(whole)
    assert (model.n_samples, model._epochs) == (whole.n_samples, whole._epochs)
    if batch_size != "all":
        assert history.samples + last.samples == 3 * len(y)


@pytest.mark.parametrize("batch_size", [1, 10])
def test_what_a_metric_cannot_count_is_learned_all_the_same(table, batch_size):
    class Broken(river_metrics.Accuracy):
        def update(self, *args, **options):
            raise ZeroDivisionError

    model, whole = classifier(), classifier()
    with pytest.raises(ZeroDivisionError) as caught:
        silent(model, table.X, table.y, metrics=[Broken()], batch_size=batch_size)
    assert caught.value.history.position["row"] == model.n_samples > 0
    silent(model, table.X, table.y, start=caught.value.history.position, batch_size=batch_size)
    silent(whole, table.X, table.y, batch_size=batch_size)
    assert state(model) == state(whole)


@pytest.mark.parametrize("batch_size", [1, 10])
def test_goes_on_where_an_epoch_was_over_and_not_counted(table, batch_size):
    class Crash(training.Callback):
        def on_learned(self, run):
            if run.samples == 300:
                raise RuntimeError("power cut")

    options = {"batch_size": batch_size, "epoch_size": 300, "epochs": 4}
    model, whole = classifier(), classifier()
    with pytest.raises(RuntimeError, match="power cut") as caught:
        silent(model, table.X, table.y, callbacks=[Crash()], **options)
    epochs = []
    history = silent(
        model, table.X, table.y, start=caught.value.history.position,
        callbacks=[training.EveryEpoch(lambda run: epochs.append(run.epoch))], **options,
    )  # fmt: skip
    silent(whole, table.X, table.y, **options)
    assert epochs == [1, 2, 3, 4]
    assert (history.samples, history.stopped) == (900, "epochs")
    assert state(model) == state(whole)
    assert model._epochs == whole._epochs


# -- errors ------------------------------------------------------------------------------------


def test_a_bad_row_has_its_number_and_the_history(table):
    X = table.X.copy()
    X[700, 2] = np.nan
    model, before = classifier(), classifier()
    with pytest.raises(ValueError, match="row 700: feature 2 is nan") as caught:
        silent(model, X, table.y)
    assert caught.value.row == 700
    history = caught.value.history
    assert (history.samples, history.stopped) == (700, "error")
    silent(before, X[:700], table.y[:700])
    assert state(model) == state(before)
    X[700, 2] = 0.0
    silent(model, X, table.y, start=history.position)
    silent(before, X[700:], table.y[700:])
    assert state(model) == state(before)


def test_a_bad_row_in_mini_batches(table):
    X = table.X.copy()
    X[700, 2] = np.inf
    model, before = classifier(), classifier()
    with pytest.raises(ValueError, match="row 700: feature 2 is inf") as caught:
        silent(model, X, table.y, batch_size=64)
    silent(before, X[:640], table.y[:640], batch_size=64)
    assert state(model) == state(before)
    assert caught.value.history.samples == 640
    X[700, 2] = 0.0
    silent(model, X, table.y, batch_size=64, start=caught.value.history.position)
    silent(before, X[640:], table.y[640:], batch_size=64)
    assert state(model) == state(before)


def test_a_bad_row_of_a_file_is_named(tmp_path, table):
    frame = pd.DataFrame(table.X, columns=table.names).assign(target=table.y.astype(int))
    frame.loc[77, "target"] = 5
    frame.to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(ValueError, match=r"rows\.csv, row 78: the label is 5"):
        silent(classifier(), tmp_path / "rows.csv", target="target")


def test_a_bad_dict_is_named(table):
    rows = [*zip(table.dicts(), table.y.tolist(), strict=True)]
    rows[123] = ({"x0": "text"}, True)
    with pytest.raises(TypeError, match="row 123: feature 'x0' is 'text'") as caught:
        silent(classifier(), iter(rows))
    assert caught.value.history.samples == 123


def test_rows_of_a_slow_stream_are_learned_as_they_come(table):
    """Each row is predicted and learned before the next one is asked for."""
    model, learned = classifier(), []

    def slow():
        for x, y in zip(table.dicts()[:4], table.y.tolist(), strict=False):
            learned.append(model.n_samples)
            time.sleep(0.06)
            yield x, y

    silent(model, slow())
    assert learned == [0, 1, 2, 3]


def test_rows_before_a_streams_error_are_learned(table):
    def breaks():
        yield from itertools.islice(zip(table.dicts(), table.y.tolist(), strict=True), 7)
        raise ConnectionError("gone")

    model = classifier()
    with pytest.raises(ConnectionError, match="gone") as caught:
        silent(model, breaks())
    assert model.n_samples == caught.value.history.samples == caught.value.history.position["row"] == 7


@pytest.mark.parametrize(
    "option",
    [
        {"batch_size": 0}, {"batch_size": "some"}, {"epochs": 0}, {"epoch_size": 0}, {"max_rows": -1},
        {"max_seconds": 0}, {"threads": 0}, {"window": 0}, {"batch_size": True}, {"shuffle": -1},
        {"shuffle": "yes"}, {"epochs": True}, {"start": {"row": 3}},
    ],
    ids=str,
)  # fmt: skip
def test_bad_options_are_named(table, option):
    model = classifier()
    with pytest.raises(ValueError, match=next(iter(option))):
        silent(model, table.X, table.y, **option)
    assert model.n_samples == 0


@pytest.mark.parametrize("every", [0, 2.5, "often"])
def test_a_wrong_every_is_named(table, every):
    with pytest.raises(ValueError, match=f"Every: every={every!r}"):
        silent(classifier(), table.X, table.y, callbacks=training.Every(every, print))


def test_without_a_target(table):
    with pytest.raises(ValueError, match="there is no target"):
        silent(classifier(), table.X)


def test_what_cannot_be_saved_is_told_before_the_first_row(tmp_path, table):
    river = river_linear.LogisticRegression()
    with pytest.raises(TypeError, match="not a streamgd learner"):
        silent(river, table.X, table.y, callbacks=[training.Checkpoint(tmp_path / "model")])
    with pytest.raises(FileNotFoundError):
        silent(classifier(), table.X, table.y, callbacks=[training.Checkpoint(tmp_path / "none" / "model")])
    assert not river.weights
    assert not list(tmp_path.iterdir())


def test_no_rows(table):
    with pytest.raises(ValueError, match="no rows"):
        silent(classifier(), table.X[:0], table.y[:0])


def test_all_rows_of_an_endless_stream_need_an_epoch_size(table):
    with pytest.raises(ValueError, match="epoch_size"):
        silent(classifier(), itertools.cycle(zip(table.dicts(), table.y, strict=True)), batch_size="all")


# -- models of river ---------------------------------------------------------------------------


def test_a_pipeline_of_river_is_driven_dict_by_dict(table):
    model = preprocessing.StandardScaler() | river_linear.LogisticRegression(river_optim.SGD(0.1))
    loop = model.clone()
    rows = list(zip(table.dicts(), table.y.tolist(), strict=True))
    history = silent(model, rows, metrics=["accuracy"])
    right = []
    for x, y in rows:
        right.append(loop.predict_one(x) == y)
        loop.learn_one(x, y)
    assert model["LogisticRegression"].weights == loop["LogisticRegression"].weights
    assert history.columns["accuracy"][-1] == pytest.approx(np.mean(right))
    assert history.updates == N
    from_frame = loop.clone()
    silent(from_frame, pd.DataFrame(table.X, columns=table.names), table.y)
    assert from_frame["LogisticRegression"].weights == loop["LogisticRegression"].weights


def test_river_learns_mini_batches(table):
    model, loop = river_linear.LogisticRegression(), river_linear.LogisticRegression()
    X = pd.DataFrame(table.X, columns=table.names)
    silent(model, X, table.y, batch_size=100)
    for lo in range(0, N, 100):
        loop.learn_many(X.iloc[lo : lo + 100], pd.Series(table.y[lo : lo + 100]))
    assert model.weights == pytest.approx(loop.weights)


def test_what_river_cannot_do_is_said(table):
    from river import tree

    with pytest.raises(ValueError, match="learn_many"):
        silent(tree.HoeffdingTreeClassifier(), table.X, table.y, batch_size=10)
    with pytest.raises(ValueError, match="batch_size='all'"):
        silent(river_linear.LogisticRegression(), table.X, table.y, batch_size="all")


def test_softmax_in_each_mode(table):
    y = np.where(table.X[:, 0] > 0.5, "a", np.where(table.y, "b", "c"))
    for batch_size in (1, 50, "all"):
        model, loop = linear_model.SoftmaxRegression(), linear_model.SoftmaxRegression()
        history = silent(model, table.X, y, batch_size=batch_size, epochs=2)
        for _ in range(2):
            if batch_size == 1:
                loop.learn_rows(table.X, y)
            else:
                step = N if batch_size == "all" else batch_size
                for lo in range(0, N, step):
                    loop.learn_many(table.X[lo : lo + step], y[lo : lo + step])
        assert model.weights == loop.weights
        assert set(history.columns) >= {"share a", "share b", "share c"}
