"""What the documentation says is true: its code runs, examples give what they print, tables are complete."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import oracles
import pytest

import streamgd
from streamgd import optim

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = ["streamgd"] + [info.name for info in pkgutil.walk_packages(streamgd.__path__, "streamgd.")]
if importlib.util.find_spec("numba_cuda") is None:  # then modules with kernels for GPUs cannot be imported
    paths = Path(streamgd.__file__).parent.glob("cuda/*.py")
    KERNELS = {"_backend"} | {path.stem for path in paths if "from ._backend" in path.read_text()}
    LAZY = {"_arrays", "_errors"}  # they import it where they use it
    MODULES = [n for n in MODULES if n.removeprefix("streamgd.cuda.") not in KERNELS - LAZY]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_there_are_docstring_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    tests = [test for name in MODULES for test in finder.find(importlib.import_module(name), name)]
    assert sum(bool(test.examples) for test in tests) >= 10


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_code_of_pages_runs(page: Path, tmp_path: Path):
    # One after the other in one process, as a reader would. A comment after a print says what it prints.
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks(page)))
    run = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    promised = re.findall(r"^ *print\(.*\)  # (.*)$", script.read_text(), re.M)
    assert len(promised) >= 3 or page.name != "README.md"
    assert run.stdout.splitlines() == promised


def test_readme_has_the_commands_that_ci_runs():
    # .ci/run takes the second set-up command from here
    commands = re.findall(r"^```sh\n(.*?)^```", README, re.M | re.S)[0].splitlines()
    assert [line.split("#")[0].strip() for line in commands] == [
        "pip install . && streamgd demo",
        'pip install ".[test]" && pytest',
    ]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_pages_exist(page: Path):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


# -- tables ------------------------------------------------------------------------------------


def test_readme_names_every_piece():
    table = re.search(r"^\| \| there is \|\n(.*?)\n\n", README, re.M | re.S)
    named = set(re.findall(r"`(\w+)`", table[1])) | {"Auto", "Bank", "L2", "ElasticNet"}  # "auto", l1 and l2
    assert named - {"l1", "l2"} == {name for names in oracles.pieces().values() for name in names}


def test_parity_of_every_piece_is_on_its_page():
    """`pytest --write-parity -m ''` writes it. A line without a version says why there is no oracle."""
    page = oracles.PAGE.read_text()
    assert page.startswith(oracles.HEAD)
    for family, names in oracles.pieces().items():
        section = page.split(f"## {oracles.heading(family)}\n")[1].split("\n## ")[0]
        for name in names:
            lines = re.findall(rf"^\| `{name}[`.,].*\| (.*?) \| (.*?) \| ([\d.e-]+) \|$", section, re.M)
            assert any(version for _, version, _ in lines), f"{family}.{name}"
            assert all(float(difference) < 1e-3 for *_, difference in lines)


def test_table_of_optimizers_is_that_of_the_classes():
    rows = re.findall(r"^\| `(\w+)(\(.*?\))` \|(.*)\|$", (ROOT / "docs" / "optimizers.md").read_text(), re.M)
    names = [name for name, _, _ in rows]
    assert sorted([*names, "Averager"]) == sorted(oracles.pieces()["optimizers"])
    for name, defaults, rest in rows:
        cls = getattr(optim, name)
        assert eval(f"cls{defaults}") == cls()
        floats, _, _, batches, penalties, _ = (cell.strip() for cell in rest.split("|")[1:])
        assert floats == ("features" if cls.kernel == "matrix" else str(cls.n_slots)), name
        assert (batches, penalties) == (
            "no" if cls.per_sample else "yes",
            "yes" if cls.penalties else "no",
        ), name


def test_readme_names_commands_and_options_that_exist():
    from streamgd.cli import main

    used = re.findall(r"^streamgd (\w+)(.*)$", README, re.M)
    assert used
    for name, rest in used:
        options = {option for parameter in main.commands[name].params for option in parameter.opts}
        for option in re.findall(r"--[\w-]+", rest.split("#")[0]):
            assert option in options, f"streamgd {name} has no {option}"
