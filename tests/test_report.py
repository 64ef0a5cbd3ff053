"""The report of a run: valid HTML that loads nothing, with weights as the models have them."""

from __future__ import annotations

import math
import random
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from river import dummy, preprocessing, tree
from river import linear_model as river_models

from streamgd import linear_model, optim
from streamgd.evaluate.history import History, number, printable
from streamgd.evaluate.report import write_report

VOID = {"meta", "col", "link", "br", "img"}
LOADS = {"src", "href", "xlink:href", "srcset", "data", "action", "background", "poster"}


class Page(HTMLParser):
    """Reads a page strictly: tags closed in order, ids once, nothing loaded, no scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: set[str] = set()
        self.used: set[str] = set()
        self.texts: dict[str, list[str]] = {}
        self.rows: list[list[str]] = []
        self.bars: list[tuple[str, float]] = []
        self.feed(text)
        self.close()
        assert not self.open
        assert self.used <= self.ids

    def handle_decl(self, decl: str) -> None:
        assert decl == "DOCTYPE html"
        assert not self.tags

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "iframe", "object", "embed", "link", "img", "image")
        self._look(tag, dict(attrs))
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in self.open  # elsewhere HTML has none
        self._look(tag, dict(attrs))

    def _look(self, tag: str, attrs: dict[str, str | None]) -> None:
        self.tags.append(tag)
        if "id" in attrs:
            assert attrs["id"] not in self.ids
            self.ids.add(str(attrs["id"]))
        for name, value in attrs.items():
            assert not name.startswith("on")
            if name in LOADS:
                assert str(value).startswith("#")
                self.used.add(str(value)[1:])
            for target in re.findall(r"url\(([^)]*)\)", str(value)):
                assert target.startswith("#")
                self.used.add(target[1:])
        if "bar" in str(attrs.get("class")).split():
            width = re.fullmatch(r"width: ([0-9.]+)%", str(attrs["style"]))
            assert width
            self.bars.append((str(attrs["class"]), float(width[1])))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in self.texts:
            self.texts[self.open[-1]][-1] += data
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def history(name: str = "rocauc", label: str = "1") -> History:
    made = History(window=500, batch_size=32)
    for i in range(20):
        made.add(
            {
                "samples": 256 * (i + 1),
                "updates": 8 * (i + 1),
                "seconds": 0.001 * (i + 1),
                "learning_rate": 0.1,
                "loss": 1.0 / (i + 1),
                "loss_recent": 1.0 / (i + 2),
                name: 0.5 + i / 100,
                f"{name}_window": 0.6 + i / 100,
                f"share {label}": 0.25,
                "share other": 0.75,
            }
        )
    made.mark(700, f"drift: {label}")
    made.stopped, made.epochs, made.iterations_per_epoch = "epochs", 1, 160
    return made


def report(path: Path, model: Any, made: History | None = None, **options: Any) -> Page:
    write_report(path / "report.html", history() if made is None else made, model, **options)
    return Page((path / "report.html").read_text(encoding="utf-8"))


def rows(n: int = 200, seed: int = 1) -> list[tuple[dict[str, float], int]]:
    rng = random.Random(seed)
    return [
        ({"a": (a := rng.gauss(0, 1)), "b": 64.0 * rng.uniform(-1, 1), "c": rng.random()}, int(a + 0.3 > 0))
        for _ in range(n)
    ]


def learned(model: Any, stream: Any = None) -> Any:
    for x, y in rows() if stream is None else stream:
        model.learn_one(x, y)
    return model


def weight_table(page: Page) -> list[tuple[str, float, float]]:
    """Name, weight and importance in each row of the tables of weights."""
    found: list[tuple[str, float, float]] = []
    inside = False
    for row in page.rows:
        if row == ["feature", "weight", "importance", ""]:
            inside = True
        elif inside := inside and len(row) == 4:
            found.append((row[0], float(row[1]), float(row[2])))
    return found


# -- the page ----------------------------------------------------------------------------------


def test_the_page_has_the_run(tmp_path: Path):
    made = history()
    page = report(tmp_path, learned(linear_model.LogisticRegression("auto")), made, title="Elec2 <today>")
    assert page.texts["title"] == page.texts["h1"] == ["Elec2 <today>"]
    assert page.texts["h2"] == ["Curves", "Metrics", "Along the way", "Weights", "Model"]
    assert page.tags.count("svg") == 1
    assert {"progressive loss", "rocauc", "learning rate", "labels"} <= set(page.texts["text"])
    cards = {"5,120", "256,000", number(made.last("loss")), "0.6900"}
    assert cards <= set(page.texts["b"])
    assert "last 500 rows: 0.7900" in page.texts["span"]
    cells = page.texts["td"]
    for text in ("160, batch size 32", "all epochs are done", "drift: 1", "1 x 160 iterations"):
        assert text in cells
    for cell in (cell for row in list(made.table())[1:] for cell in row):
        assert cell in cells


def test_it_is_one_file_without_addresses(tmp_path: Path):
    write_report(tmp_path / "report.html", history(), learned(linear_model.LogisticRegression("auto")))
    text = (tmp_path / "report.html").read_text()
    assert set(re.findall(r'[^\s"\']*//[^\s"\']*', text)) <= {
        "http://www.w3.org/2000/svg",  # names, which nobody fetches
        "http://www.w3.org/1999/xlink",
    }
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_the_plot_follows_the_colours_of_the_page(tmp_path: Path):
    write_report(tmp_path / "report.html", history(), linear_model.LinearRegression())
    text = (tmp_path / "report.html").read_text()
    drawing = text[text.index("<svg") : text.index("</svg>")]
    assert "currentColor" in drawing
    assert "var(--so-far)" in drawing
    assert "#000000" not in drawing
    assert "#ffffff" not in drawing
    assert 'width="' not in drawing[: drawing.index(">")]


def test_the_same_run_makes_the_same_page(tmp_path: Path):
    model = learned(linear_model.LogisticRegression("auto"))
    for name in "12":
        write_report(tmp_path / name, history(), model, about={"file": "x.csv"})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_a_run_without_rows_is_reported(tmp_path: Path):
    page = report(tmp_path, linear_model.LogisticRegression(), History(), about={"file": "empty.csv"})
    assert page.texts["h2"] == ["Curves", "Model", "About"]
    assert "svg" not in page.tags
    assert "No rows were learned." in page.texts["p"]
    assert page.texts["h1"] == ["LogisticRegression"]


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "&lt;&amp;", "'", "</style></title>",
        "--> <!--", "]]>", "$\\frac{1}", "a\nb\tc", "\x00\x08\x1b", "\ud800\udc00", "\u202eabc", "x" * 300,
    ],
)  # fmt: skip
def test_names_may_hold_anything(tmp_path: Path, name: str):
    model = learned(linear_model.LogisticRegression(labels=(name, "other")), [({name: 1.0, "b": 2.0}, name)])
    page = report(tmp_path, model, history(name, name), title=name, about={name: name})
    shown = printable(name)
    assert page.texts["title"] == page.texts["h1"] == [shown]
    assert shown in [row[0] for row in weight_table(page)]
    assert page.texts["th"].count(shown) >= 2  # as a metric, and in the section about
    assert shown in page.texts["td"]
    assert shown in page.texts["span"]


def test_about_says_what_it_was_told(tmp_path: Path):
    about = {"file": "data/elec2.parquet", "rows per batch": 8192}
    page = report(tmp_path, linear_model.LinearRegression(), about=about)
    assert page.texts["h2"][-1] == "About"
    assert page.texts["th"][-2:] == ["file", "rows per batch"]
    assert page.texts["td"][-2:] == ["data/elec2.parquet", "8192"]


# -- the model ---------------------------------------------------------------------------------


def test_parameters_are_those_of_the_model(tmp_path: Path):
    model = linear_model.LogisticRegression(optim.AdaGrad(0.25), l2=0.125)
    page = report(tmp_path, model)
    parameters = dict(row for row in page.rows if len(row) == 2)
    assert parameters.keys() >= set(model._get_params())
    assert parameters["l2"] == "0.125"
    assert parameters["optimizer"].startswith("AdaGrad(lr=Constant(learning_rate=0.25)")


def test_importance_is_the_weight_where_there_is_no_scale(tmp_path: Path):
    model = learned(linear_model.LogisticRegression(optim.SGD(0.01)))
    page = report(tmp_path, model)
    expected = sorted(model.weights.items(), key=lambda item: -abs(item[1]))
    assert [name for name, _, _ in weight_table(page)] == [name for name, _ in expected]
    for (_, weight, importance), (_, value) in zip(weight_table(page), expected, strict=True):
        assert weight == pytest.approx(value, rel=1e-3)
        assert importance == pytest.approx(abs(value), rel=1e-3)
    largest = abs(expected[0][1])
    for (kind, width), (_, value) in zip(page.bars, expected, strict=True):
        assert kind == ("bar minus" if value < 0 else "bar")
        assert width == pytest.approx(100 * abs(value) / largest, abs=0.05)
    assert any("does not keep the scale" in text for text in page.texts["p"])


@pytest.mark.parametrize(
    "optimizer", [optim.Normalized(), optim.Coin(), optim.ScInOL1(), optim.ScInOL2()], ids=repr
)
def test_importance_is_the_weight_times_the_largest_value(tmp_path: Path, optimizer: Any):
    model = learned(linear_model.LogisticRegression(optimizer))
    page = report(tmp_path, model)
    largest = {name: max(abs(x[name]) for x, _ in rows()) for name in "abc"}
    expected = {name: abs(model.weights[name]) * largest[name] for name in "abc"}
    table = {name: importance for name, _, importance in weight_table(page)}
    assert table == pytest.approx(expected, rel=1e-3)
    assert list(table) == sorted(expected, key=lambda name: -expected[name])
    assert any("largest absolute value" in text for text in page.texts["p"])


@pytest.mark.parametrize("optimizer", ["auto", "bank"])
def test_importance_does_not_depend_on_the_unit(tmp_path: Path, optimizer: str):
    tables = []
    for unit in (1.0, 1024.0):
        stream = [({**x, "a": unit * x["a"]}, y) for x, y in rows()]
        page = report(tmp_path, learned(linear_model.LogisticRegression(optimizer), stream))
        tables.append({name: importance for name, _, importance in weight_table(page)})
    assert tables[0] == tables[1]
    assert next(iter(tables[0])) == "a"


def test_auto_takes_scales_from_the_mean(tmp_path: Path):
    # of a feature of 1000 with a small spread, that spread is what moves the output
    stream = [({**x, "b": 1000.0 + x["c"]}, y) for x, y in rows()]
    model = learned(linear_model.LogisticRegression("auto"), stream)
    page = report(tmp_path, model)
    table = {name: (weight, importance) for name, weight, importance in weight_table(page)}
    assert 0.3 < table["b"][1] / abs(table["b"][0]) < 1.5
    assert any("taken from their mean" in text for text in page.texts["p"])


@pytest.mark.parametrize("optimizer", ["auto", optim.SGD(0.1)], ids=repr)
def test_several_classes_have_a_table_each(tmp_path: Path, optimizer: Any):
    stream = [(x, ("low", "mid", "high")[(x["a"] > 0.5) + (x["a"] > -0.5)]) for x, _ in rows()]
    model = learned(linear_model.SoftmaxRegression(optimizer), stream)
    page = report(tmp_path, model)
    labels = page.texts["h3"][1:]  # after the marks
    assert labels == list(model.labels_)
    table = weight_table(page)
    assert len(table) == 9
    for k, label in enumerate(labels):
        part = table[3 * k : 3 * k + 3]
        assert {name: weight for name, weight, _ in part} == pytest.approx(model.weights[label], rel=1e-3)
        importance = [number for _, _, number in part]
        assert importance == sorted(importance, reverse=True)
        if optimizer != "auto":
            assert importance == pytest.approx([abs(weight) for _, weight, _ in part])
        else:
            assert part[0][0] == "a" or label == "mid"


def test_only_the_largest_are_shown(tmp_path: Path):
    model = linear_model.LinearRegression(optim.SGD(0.01))
    model.learn_one({f"f{i}": float(i) for i in range(100)}, 1.0)
    page = report(tmp_path, model)
    assert [name for name, _, _ in weight_table(page)] == [f"f{i}" for i in range(99, 69, -1)]
    assert "30 of 100 features." in page.texts["p"]


def test_of_many_classes_some_are_shown(tmp_path: Path):
    model = linear_model.SoftmaxRegression()
    for i in range(30):
        model.learn_one({f"f{j}": float(j) for j in range(10)}, f"label {i}")
    page = report(tmp_path, model)
    assert page.texts["h3"][1:] == [f"label {i}" for i in range(24)]
    assert len(weight_table(page)) == 24 * 5
    assert "And 6 more classes." in page.texts["p"]


def test_weights_of_zero_have_no_bars(tmp_path: Path):
    model = linear_model.LinearRegression()
    model.learn_one({"a": 1.0}, 0.0)
    page = report(tmp_path, model)
    assert weight_table(page) == [("a", 0.0, 0.0)]
    assert page.bars == [("bar", 0.0)]


def test_river_s_models_are_reported_too(tmp_path: Path):
    model = learned(preprocessing.StandardScaler() | river_models.LogisticRegression())
    page = report(tmp_path, model)
    weights = model["LogisticRegression"].weights
    assert {name: weight for name, weight, _ in weight_table(page)} == pytest.approx(weights, rel=1e-3)
    assert "StandardScaler" in page.texts["th"]
    assert page.texts["h1"] == ["Pipeline"]


@pytest.mark.parametrize(
    "model",
    [tree.HoeffdingTreeClassifier(), dummy.NoChangeClassifier(), object()],
    ids=lambda m: type(m).__name__,
)
def test_models_without_weights_have_no_such_section(tmp_path: Path, model: Any):
    page = report(tmp_path, model)
    assert "Weights" not in page.texts["h2"]
    assert "Metrics" in page.texts["h2"]


def test_weights_that_are_not_finite_are_shown(tmp_path: Path):
    diverged = SimpleNamespace(weights={"a": math.inf, "b": math.nan, "c": -1.0})
    page = report(tmp_path, diverged)
    assert {name for name, _, _ in weight_table(page)} == {"a", "b", "c"}
    assert all(0.0 <= width <= 100.0 for _, width in page.bars)


def test_arrays_of_names_of_numpy(tmp_path: Path):
    model = linear_model.LinearRegression("auto")
    X = np.random.default_rng(0).normal(size=(300, 3))
    model.learn_rows(X, X @ [1.0, 0.0, -4.0])
    page = report(tmp_path, model)
    assert [name for name, _, _ in weight_table(page)] == ["2", "0", "1"]
    assert page.bars[0][0] == "bar minus"
