"""The history of a run: thinning against pandas, what is printed, kept, and plotted."""

from __future__ import annotations

import json
import math
import pickle
import subprocess
import sys
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from streamgd.evaluate.history import MAX_POINTS, TABLE_WIDTH, History, number, printable

NASTY = ["_hidden", "$\\frac{1}", "<b>&amp;</b>", "a\nb", "\x00\x1b[0m", "\ud800", "--", "x" * 200, ""]


def run(n_points: int, seed: int = 0, **columns: Any) -> tuple[History, pd.DataFrame]:
    """Return a history of so many points, added when they are due, and all of them as a frame."""
    rng = np.random.default_rng(seed)
    history, points, total = History(window=1000), [], 0.0
    while len(points) < n_points:
        rows = history.due - history.samples
        recent = float(rng.gamma(2.0))
        total += rows * recent
        share = float(rng.uniform())
        point = {
            "samples": history.due,
            "updates": history.due // 4,
            "epoch": len(points) // 300,
            "seconds": history.due * 1e-6,
            "learning_rate": 1.0 / (1 + len(points)),
            "loss": total / history.due,
            "loss_recent": recent,
            "rocauc": float(rng.uniform()),
            "rocauc_window": float(rng.uniform()),
            "share a": share,
            "share b": 1.0 - share,
        }
        point |= {name: make(rng) for name, make in columns.items()}
        history.add(point)
        points.append(point)
    return history, pd.DataFrame(points)


def grouped(history: History, points: pd.DataFrame) -> Any:
    """The points as they came, by the point of the history that each went into, with their rows."""
    ends = np.searchsorted(history.columns["samples"], points["samples"])
    return points.assign(rows=points["samples"].diff().fillna(points["samples"])).groupby(ends)


# -- thinning ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n_points", [1, 999, 1000, 1001, 1500, 5321])
def test_thinned_points_are_pandas_groups_of_all_points(n_points: int):
    history, points = run(n_points)
    groups = grouped(history, points)
    for name, column in history.columns.items():
        if name == "loss_recent" or name.startswith("share "):
            expected = groups.apply(lambda part, name=name: np.average(part[name], weights=part["rows"]))
            np.testing.assert_allclose(column, expected, rtol=1e-12)
        else:
            assert column == groups[name].last().tolist()


def test_recent_losses_still_add_up_to_the_mean_of_all():
    history, _ = run(3000)
    rows = np.diff([0.0, *history.columns["samples"]])
    so_far = np.cumsum(rows * np.array(history.columns["loss_recent"])) / np.cumsum(rows)
    np.testing.assert_allclose(history.columns["loss"], so_far, rtol=1e-12)


def test_memory_is_flat_on_an_endless_stream():
    history, longest = History(), 0
    for _ in range(20_000):
        history.add({"samples": history.due, "loss": 1.0})
        longest = max(longest, len(history))
    assert longest < MAX_POINTS
    assert len(history) >= MAX_POINTS / 2
    # all points but the last few are as far apart as the interval says
    apart = set(np.diff([0.0, *history.columns["samples"]]))
    assert apart == {float(history.interval)}
    assert history.interval == 256 * 2 ** round(math.log2(history.interval / 256))
    assert history.due == history.samples + history.interval


def test_the_first_point_is_due_at_256_rows_and_a_late_one_does_not_move_the_next():
    history = History()
    assert history.due == 256
    history.add({"samples": 1000})
    assert history.due == 1024


def test_nan_is_left_out_when_points_are_joined():
    history, points = run(1000, loss_recent=lambda rng: math.nan if rng.random() < 0.5 else rng.random())
    groups = grouped(history, points)

    def mean(part: pd.DataFrame) -> float:
        there = part.dropna(subset="loss_recent")
        return float(np.average(there["loss_recent"], weights=there["rows"])) if len(there) else math.nan

    expected = groups.apply(mean)
    assert expected.isna().any()
    np.testing.assert_allclose(history.columns["loss_recent"], expected, rtol=1e-12)


def test_numbers_that_few_points_have_survive_thinning():
    history, points = run(4000, validation=lambda rng: rng.random() if rng.random() < 0.1 else math.nan)
    expected = grouped(history, points)["validation"].last()  # pandas' last leaves NaN out
    assert expected.notna().any()
    assert expected.isna().any()
    np.testing.assert_array_equal(history.columns["validation"], expected)


@given(st.lists(st.tuples(st.integers(1, 500), st.floats(-5, 5)), min_size=1, max_size=60))
def test_points_at_any_distance_keep_the_weighted_mean(steps: list[tuple[int, float]]):
    history, n, total = History(), 0, 0.0
    for _ in range(1 + MAX_POINTS // len(steps)):
        for rows, loss in steps:
            n += rows
            total += rows * loss
            history.add({"samples": n, "loss_recent": loss})
    rows = np.diff([0.0, *history.columns["samples"]])
    assert rows @ np.array(history.columns["loss_recent"]) == pytest.approx(total, abs=1e-6 * n)
    assert history.samples == n == history.columns["samples"][-1]


# -- adding ------------------------------------------------------------------------------------


def test_columns_may_come_later_and_be_left_out():
    history = History()
    history.add({"samples": 10, "loss": 1.0})
    history.add({"samples": 20, "mae": 2.0})
    np.testing.assert_array_equal(history.columns["loss"], [1.0, math.nan])
    np.testing.assert_array_equal(history.columns["mae"], [math.nan, 2.0])


def test_a_new_label_had_no_rows_before():
    history = History()
    history.add({"samples": 10})
    history.add({"samples": 20, "share a": 1.0})
    history.add({"samples": 30, "share a": 0.5, "share b": 0.5})
    history.add({"samples": 40, "share b": 1.0})
    np.testing.assert_array_equal(history.columns["share a"], [math.nan, 1.0, 0.5, 0.0])
    np.testing.assert_array_equal(history.columns["share b"], [math.nan, 0.0, 0.5, 1.0])
    assert history.shares.keys() == {"a", "b"}


def test_a_point_at_the_same_row_fills_in_what_it_has():
    history = History()
    history.add({"samples": 10, "loss": 1.0, "loss_recent": 3.0})
    history.add({"samples": 10, "loss": 2.0, "loss_recent": math.nan, "mae": 4.0})
    assert history.columns == {"samples": [10.0], "loss": [2.0], "loss_recent": [3.0], "mae": [4.0]}


def test_points_go_forward():
    history = History()
    history.add({"samples": 10_000})
    with pytest.raises(
        ValueError, match=r"9,999 samples comes after one at 10,000.*in the order of the rows"
    ):
        history.add({"samples": 9_999})


@pytest.mark.parametrize("bad", [{}, {"samples": math.nan}, {"samples": 9}, {"samples": 30, "loss": "low"}])
def test_a_bad_point_changes_nothing(bad: Any):
    history = History()
    history.add({"samples": 20, "loss": 1.0})
    with pytest.raises((KeyError, ValueError)):
        history.add({"mae": 1.0, **bad})
    assert history.columns == {"samples": [20.0], "loss": [1.0]}
    assert history.samples == 20


def test_counts_follow_the_last_point():
    history = History()
    history.add({"samples": 512, "updates": 16, "seconds": 0.25})
    assert (history.samples, history.updates, history.seconds) == (512, 16, 0.25)
    assert history.rows_per_second == 2048.0
    assert math.isnan(History().rows_per_second)


def test_metrics_are_named_once():
    history, _ = run(3)
    history.add({"samples": 10**6, "mae_window": 1.0, "kappa-m": 0.5, "kappa-m_fading": 0.25})
    assert history.metrics == ("rocauc", "mae", "kappa-m")


def test_marks_are_the_last_thousand():
    history = History()
    for i in range(2500):
        history.mark(i, "drift")
    assert history.marks == [(i, "drift") for i in range(1500, 2500)]


# -- keeping it --------------------------------------------------------------------------------


def full() -> History:
    history, _ = run(40, holes=lambda rng: rng.choice([math.nan, math.inf, -math.inf, 0.1]))
    history.mark(700, "drift")
    history.position = {"row": 3, "inner": {"offset": 7}}
    history.classes, history.batch_size, history.stopped = (False, "b", 3), "all", "time"
    history.epoch_losses, history.epochs, history.iterations_per_epoch = [0.5, math.nan], 2, 1
    return history


def test_json_brings_back_the_same():
    history = full()
    text = json.dumps(history.to_dict(), allow_nan=False)
    back = History.from_dict(json.loads(text))
    assert back == history
    assert back.to_dict() == history.to_dict()
    assert back.classes == (False, "b", 3)
    assert back.marks == [(700, "drift")]
    np.testing.assert_array_equal(back.columns["holes"], history.columns["holes"])


def test_labels_of_numpy_become_plain():
    history = History(classes=(np.int64(3), np.str_("b"), (1, 2)))
    assert json.loads(json.dumps(history.to_dict()))["classes"] == [3, "b", "(1, 2)"]


def test_pickle_brings_back_the_same_and_goes_on():
    history = full()
    copy = pickle.loads(pickle.dumps(history))
    assert copy == history
    copy.add({"samples": copy.due})
    assert copy != history


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h.columns["loss"].__setitem__(0, -1.0),
        lambda h: h.mark(1, "x"),
        lambda h: setattr(h, "epochs", 7),
        lambda h: setattr(h, "position", None),
    ],
)
def test_equal_means_all_of_it(change: Any):
    a, b = full(), full()
    assert a == b
    change(b)
    assert a != b
    assert a != "history"


def test_frame_has_the_columns():
    history = full()
    frame = history.to_frame()
    assert list(frame) == list(history.columns)
    for name, column in history.columns.items():
        np.testing.assert_array_equal(frame[name], column)
    assert [str(frame[name].dtype) for name in ("samples", "updates", "epoch")] == ["int64"] * 3
    assert frame["loss"].dtype == np.float64


def test_without_pandas_or_matplotlib_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    history = full()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        history.to_frame()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'streamgd\[plot\]'"):
        history.plot()


# -- printing ----------------------------------------------------------------------------------


class Cells(HTMLParser):
    """The texts of a page's cells, tags checked."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert tag in ("table", "tr", "td", "th", "p")
        self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1] in ("td", "th"):
            self.cells[-1] += data


@pytest.mark.parametrize("n_points", [1, 2, 20, 999, 5000])
def test_printed_it_fits_a_screen(n_points: int):
    history, _ = run(n_points)
    history.stopped, history.epochs, history.iterations_per_epoch = "rows", 3, 1000
    history.mark(5, "drift")
    for i in range(30):
        history.columns[f"metric-{i}"] = [0.5] * len(history)
    lines = str(history).splitlines()
    assert len(lines) <= 20
    assert max(map(len, lines)) <= TABLE_WIDTH
    table = lines[: lines.index("")]
    assert len({len(line) for line in table}) == 1  # aligned
    assert table[-1].split()[0] == f"{history.samples:,}"


def test_printed_rows_halve():
    history, _ = run(600)
    rows = [int(line.split()[0].replace(",", "")) for line in str(history).splitlines()[1:10]]
    for k, samples in enumerate(reversed(rows)):
        assert abs(samples - 256 * 600 / 2**k) <= 128


def test_summary_says_what_a_person_asks():
    history = History(batch_size=32, window=500)
    history.add({"samples": 3200, "updates": 100, "epoch": 2, "seconds": 0.5, "loss": 0.25})
    history.add({"samples": 3200, "mae": 0.125, "mae_window": 0.0625})
    history.stopped, history.epochs, history.iterations_per_epoch, history.n_invalid = "epochs", 2, 50, 7
    history.epoch_losses = [0.375, 0.125]
    history.mark(1234, "drift")
    assert history.summary() == {
        "rows": "3,200, 7 invalid ones skipped",
        "updates": "100, batch size 32",
        "epochs": "2 x 50 iterations",
        "seconds": "0.5 (6,400 rows/s)",
        "stopped": "all epochs are done",
        "loss": "0.2500 over all rows, 0.1250 in the last epoch",
        "metrics": "mae 0.1250 (last 500 rows 0.0625)",
        "marks": "1, the last one at row 1,234: drift",
    }
    for text in history.summary().values():
        assert text in str(history)
    history.stopped = "callback: no better for 3 epochs"
    assert "callback: no better for 3 epochs" in str(history)


def test_html_has_what_is_printed():
    history, _ = run(30)
    page = Cells()
    page.feed(history._repr_html_())
    page.close()
    assert not page.open
    head, *rows = history.table()
    expected = [*head, *(cell for row in rows for cell in row)]
    assert page.cells[: len(expected)] == expected
    assert page.cells[len(expected) :] == [text for item in history.summary().items() for text in item]


@pytest.mark.parametrize("name", NASTY)
def test_names_may_hold_anything(name: str):
    history = History()
    history.add({"samples": 10, "loss": 1.0, name: 0.5, f"share {name}": 1.0})
    history.mark(5, name)
    history.stopped = name
    assert len(str(history).splitlines()) <= 20
    str(history).encode()
    page = Cells()
    page.feed(history._repr_html_())
    assert printable(name) in page.cells
    history.plot().canvas.draw()


def test_an_empty_history_says_so():
    assert str(History()) == "History: no rows yet"
    assert "no rows yet" in History()._repr_html_()
    assert repr(full()).startswith("<History: 40 points, 10,240 rows")
    with pytest.raises(ValueError, match="no points to plot"):
        History().plot()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.nan, "-"), (0.0, "0.0000"), (0.12345, "0.1235"), (-2.5, "-2.5000"), (113.3607, "113.36"),
        (6787.947, "6,787.9"), (716581.3, "716,581"), (1.5e12, "1.5e+12"), (1e-5, "1e-05"), (math.inf, "inf"),
    ],
)  # fmt: skip
def test_numbers_are_short(value: float, text: str):
    assert number(value) == text


# -- plotting ----------------------------------------------------------------------------------


def labels(figure: Any) -> list[str]:
    return [axes.get_ylabel() for axes in figure.axes]


def legend(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def curves(axes: Any) -> list[Any]:
    """Lines of an axes that are no vertical ones."""
    return [line for line in axes.lines if len(set(line.get_xdata())) > 1 or len(line.get_xdata()) == 1]


def test_lines_are_the_columns():
    history, _ = run(700)
    figure = history.plot(title="a run")
    assert labels(figure) == ["progressive loss", "rocauc", "learning rate", "labels"]
    names = [["loss_recent", "loss"], ["rocauc_window", "rocauc"], ["learning_rate"], ["share b"]]
    for axes, columns in zip(figure.axes, names, strict=True):
        for line, name in zip(curves(axes), columns, strict=True):
            np.testing.assert_array_equal(line.get_xdata(), history.columns["samples"])
            np.testing.assert_array_equal(line.get_ydata(), history.columns[name])
    assert legend(figure.axes[1]) == ["all rows so far", "last 1,000 rows"]
    assert figure.get_suptitle() == "a run"
    figure.canvas.draw()
    ticks = [tick.get_text() for tick in figure.axes[-1].get_xticklabels()]
    assert "30,000" in ticks


def test_nan_is_left_out_of_lines():
    history, _ = run(50, mae=lambda rng: math.nan if rng.random() < 0.5 else rng.random())
    figure = history.plot(metrics=["mae"])
    (line,) = curves(figure.axes[1])
    frame = history.to_frame().dropna(subset="mae")
    np.testing.assert_array_equal(line.get_xdata(), frame["samples"])
    np.testing.assert_array_equal(line.get_ydata(), frame["mae"])


@pytest.mark.parametrize(
    ("spread", "scale"), [(1.0, "linear"), (10.0, "linear"), (10.5, "log"), (1e6, "log")]
)
def test_the_rate_has_a_log_axis_if_it_spans_more_than_a_factor_of_ten(spread: float, scale: str):
    history = History()
    for i in range(10):
        history.add({"samples": i + 1, "learning_rate": 0.5 * spread ** (-i / 9)})
    (axes,) = history.plot().axes
    assert axes.get_yscale() == scale


def test_a_start_of_another_size_does_not_press_the_rest_flat():
    steep, level = History(), History()
    for i in range(100):
        steep.add({"samples": i + 1, "loss_recent": 1e6 * math.exp(-i) + 50.0})
        level.add({"samples": i + 1, "loss_recent": 0.7 * math.exp(-i / 20) + 0.2})
    assert steep.plot().axes[0].get_yscale() == "log"
    assert level.plot().axes[0].get_yscale() == "linear"


def test_there_are_five_panels_at_most_unless_metrics_are_named():
    history, _ = run(5, **{f"m{i}": lambda rng: rng.random() for i in range(6)})
    assert labels(history.plot()) == ["progressive loss", "rocauc", "m0", "learning rate", "labels"]
    named = history.plot(metrics=["m5", "m1", "m2", "m3"])
    assert labels(named) == ["progressive loss", "m5", "m1", "m2", "m3", "learning rate", "labels"]
    assert labels(history.plot(metrics=[])) == ["progressive loss", "learning rate", "labels"]
    with pytest.raises(ValueError, match=r"no metric 'mse'.*it has rocauc, m0"):
        history.plot(metrics=["mse"])


@pytest.mark.parametrize("n_points", [1, 2])
@pytest.mark.parametrize("n_labels", [0, 1, 2, 12])
def test_few_points_are_dots(n_points: int, n_labels: int):
    history = History()
    for i in range(n_points):
        shares = {f"share {k}": 1.0 / n_labels for k in range(n_labels)}
        history.add({"samples": 10 * (i + 1), "loss": 1.0, "mae": 2.0, **shares})
    figure = history.plot()
    assert labels(figure) == ["progressive loss", "mae", *["labels"] * (n_labels > 0)]
    assert all(line.get_marker() == "o" for axes in figure.axes for line in curves(axes))
    figure.canvas.draw()


def test_a_history_of_counts_alone_is_drawn_too():
    history = History()
    history.add({"samples": 10, "updates": 10, "loss": math.nan, "mae": math.nan})
    assert labels(history.plot(metrics=[])) == ["no curves"]


def test_marks_are_lines_in_all_panels_and_counted_once():
    history, _ = run(100)
    for x in (1000, 7000):
        history.mark(x, "drift")
    history.mark(5000, "rate: 0.1 to 0.05")
    figure = history.plot()
    for axes in figure.axes:
        places = sorted(line.get_xdata()[0] for line in axes.lines if line not in curves(axes))
        assert places == [1000, 5000, 7000]
    assert legend(figure.axes[0]) == ["all rows so far", "since the last point", "drift (2)", "rate"]
    assert legend(figure.axes[1]) == ["all rows so far", "last 1,000 rows"]


def test_many_kinds_of_marks_are_summed_up():
    history, _ = run(10)
    for i, kind in enumerate("aabbbcdeee"):
        history.mark(i, kind)
    assert legend(history.plot().axes[0])[2:] == ["b (3)", "e (3)", "a (2)", "other marks (2)"]


def test_epochs_are_light_lines_unless_they_are_many():
    history, _ = run(950)  # an epoch has 300 points
    figure = history.plot()
    for axes in figure.axes:
        places = [line.get_xdata()[0] for line in axes.lines if line not in curves(axes)]
        assert places == [256 * 301, 256 * 601, 256 * 901]
    assert figure.axes[-1].get_xlabel() == "rows (light lines: ends of epochs)"
    many = History()
    for i in range(100):
        many.add({"samples": i + 1, "epoch": i, "loss": 1.0})
    assert len(many.plot().axes[0].lines) == 1


def test_many_labels_are_areas_that_fill_the_axes():
    history = History()
    for i in range(5):
        weights = np.arange(1.0, 13.0) / 78.0
        history.add({"samples": i + 1, **{f"share {k}": w for k, w in enumerate(weights)}})
    (axes,) = history.plot().axes
    assert legend(axes) == ["5 others", "5", "6", "7", "8", "9", "10", "11"]
    tops = [area.get_paths()[0].vertices[:, 1].max() for area in axes.collections]
    largest = np.sort(weights)[::-1]
    np.testing.assert_allclose(tops, [*np.cumsum(largest[:7]), 1.0], rtol=1e-12)
    assert len({tuple(area.get_facecolor()[0]) for area in axes.collections}) == 8


@pytest.mark.parametrize("classes", [None, ("b", "a")])
def test_two_labels_are_one_line_of_the_positive(classes: Any):
    history, _ = run(20)
    history.classes = classes
    axes = history.plot().axes[-1]
    positive = "a" if classes else "b"
    assert legend(axes) == [f"label {positive}"]
    np.testing.assert_array_equal(curves(axes)[0].get_ydata(), history.columns[f"share {positive}"])


@pytest.mark.parametrize(("suffix", "begin"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_files_are_the_same_each_time(tmp_path: Any, suffix: str, begin: bytes):
    history = full()
    first, second = tmp_path / f"1{suffix}", tmp_path / f"2{suffix}"
    assert isinstance(history.plot(first), Figure)
    history.plot(str(second))
    assert first.read_bytes()[:5].startswith(begin)
    assert first.read_bytes() == second.read_bytes()
    if suffix == ".svg":
        assert ElementTree.parse(first).getroot().tag.endswith("svg")


def test_it_is_drawn_into_a_figure_that_is_given():
    history = full()
    figure = Figure(figsize=(12, 6))
    left, right = figure.subfigures(1, 2)
    assert history.plot(figure=left) is left
    history.plot(figure=right, metrics=[])
    assert len(left.axes) == 5
    assert len(right.axes) == 3


def test_notebooks_get_a_picture_and_keep_their_backend():
    code = (
        "import sys, matplotlib\n"
        "from streamgd.training import History\n"
        "h = History(); h.add({'samples': 10, 'loss': 1.0})\n"
        "before = matplotlib.rcParams._get_backend_or_none()\n"
        "assert h.plot()._repr_png_()[:4] == b'\\x89PNG'\n"
        "assert matplotlib.rcParams._get_backend_or_none() == before\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_figures_are_pickled():
    figure = pickle.loads(pickle.dumps(full().plot()))
    assert len(figure.axes) == 5
    assert figure._repr_png_()[:4] == b"\x89PNG"
