"""What the documentation says is true: README's code runs, and docstrings' examples give what they print."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import streamgd

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MODULES = ["streamgd"] + [info.name for info in pkgutil.walk_packages(streamgd.__path__, "streamgd.")]
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_there_are_docstring_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    tests = [test for name in MODULES for test in finder.find(importlib.import_module(name), name)]
    assert sum(bool(test.examples) for test in tests) >= 10


def test_readme_code_runs(tmp_path: Path):
    assert len(BLOCKS) >= 3
    # One after the other in one process, as a reader would. A comment after a print says what it prints.
    script = tmp_path / "readme.py"
    script.write_text("\n".join(BLOCKS))
    run = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    promised = re.findall(r"^ *print\(.*\)  # (.*)$", script.read_text(), re.M)
    assert promised
    assert run.stdout.splitlines() == promised


def test_readme_has_the_commands_that_ci_runs():
    # .ci/run takes the second set-up command from here
    commands = re.findall(r"^```sh\n(.*?)^```", README, re.M | re.S)[0].splitlines()
    assert [line.split("#")[0].strip() for line in commands] == [
        "pip install . && streamgd demo",
        'pip install ".[test]" && pytest',
    ]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_readme_links_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_readme_names_commands_and_options_that_exist():
    from streamgd.cli import main

    used = re.findall(r"^streamgd (\w+)(.*)$", README, re.M)
    assert used
    for name, rest in used:
        options = {option for parameter in main.commands[name].params for option in parameter.opts}
        for option in re.findall(r"--[\w-]+", rest.split("#")[0]):
            assert option in options, f"streamgd {name} has no {option}"
