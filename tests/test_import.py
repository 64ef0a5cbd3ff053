"""The architecture as the sources have it: imports go one way, and importing stays cheap."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import streamgd

ROOT = Path(streamgd.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# From the ground up: a module may import those of earlier lines, and those of its own package.
LAYERS = [
    {"_errors", "_threads", "_piece", "_jit", "_single"},
    {"optim"},
    {"_features", "_recipe", "_rows", "_targets"},
    {"kernels"},
    {"_job"},
    {"cuda"},
    {"_rates", "_model", "_gradient", "_device", "_learner"},
    {"linear_model", "preprocessing"},
    {"imblearn"},
    {"_save", "stream"},
    {"evaluate"},
    {"training"},
    {""},  # streamgd/__init__.py: the names of the package itself
    {"cli"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

# Loaded inside the functions that need them; river.base, and its metrics where they are filled, are cheap.
HEAVY = ("pandas", "polars", "pyarrow", "scipy", "matplotlib", "sklearn", "narwhals", "safetensors", "tqdm")
RIVER_AT_THE_TOP = {"evaluate/_bulk.py": {"river", "river.metrics.base"}}  # itself loaded on first use


class Import(NamedTuple):
    """A module that a file imports: its dotted name, and whether that happens when the file is imported."""

    module: str
    at_top: bool
    line: int


def part(path: Path) -> str:
    """Name of the part of the package that a file belongs to."""
    first = path.relative_to(ROOT).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def statements(tree: ast.AST, at_top: bool = True) -> Iterator[tuple[ast.stmt, bool]]:
    """Statements that import, those in functions and in ``if TYPE_CHECKING`` marked as not at the top."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, at_top
        lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or (
            isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        )
        yield from statements(node, at_top and not lazy)


def imports(path: Path) -> list[Import]:
    package = ("streamgd", *path.relative_to(ROOT).parent.parts)
    found = []
    for node, at_top in statements(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, at_top, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            # `from . import name`: the name is the module, as in `from numba import cuda`
            names = [alias.name for alias in node.names] if module in ("streamgd", "numba") else [""]
            found += [Import(f"{module}.{name}".rstrip("."), at_top, node.lineno) for name in names]
    return found


def names(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_part_has_its_layer():
    assert {part(path) for path in FILES} == set(RANK)


@pytest.mark.parametrize("path", FILES, ids=names)
def test_imports_go_one_way(path: Path):
    here = part(path)
    for module, _, line in imports(path):
        owner, *rest = module.split(".")
        if owner != "streamgd" or here == "":
            continue
        there = rest[0] if rest and rest[0] in RANK else ""
        same_layer_file = there.startswith("_") and RANK[there] == RANK[here]
        assert there == here or RANK[there] < RANK[here] or same_layer_file, (
            f"{names(path)}:{line} imports {module}, which stands above it"
        )


@pytest.mark.parametrize("path", FILES, ids=names)
def test_heavy_modules_are_not_imported_at_import_time(path: Path):
    allowed = {"river.base"} | RIVER_AT_THE_TOP.get(names(path), set())
    for module, at_top, line in imports(path):
        if at_top and module.startswith("river") and module not in allowed:
            # `from river import base` reads as the module river
            source = path.read_text().splitlines()[line - 1].strip()
            assert source == "from river import base", f"{names(path)}:{line}: {source}"
        assert not (at_top and module.split(".")[0] in HEAVY), f"{names(path)}:{line} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=names)
def test_only_jit_touches_what_is_unsafe_and_only_the_backend_cuda(path: Path):
    tree = ast.parse(path.read_text())
    inside, backend = names(path) == "_jit.py", names(path) == "cuda/_backend.py"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            assert inside or node.attr not in ("entry_point", "overloads"), f"line {node.lineno}"
        # True would let the compiler remove the checks for NaN
        flags = [node.value] if isinstance(node, ast.keyword) and node.arg == "fastmath" else []
        if isinstance(node, ast.Dict):
            flags = [
                v for k, v in zip(node.keys, node.values, strict=True) if k and ast.unparse(k) == "'fastmath'"
            ]
        for value in flags:
            assert not isinstance(value, ast.Constant), f"line {value.lineno}: name the flags"
            assert not {"'nnan'", "'ninf'", "'fast'"} & {ast.unparse(n) for n in ast.walk(value)}
    for module, _, line in imports(path):
        assert inside or backend or module.split(".")[0] != "llvmlite", f"line {line}"
        assert inside or not module.startswith(("numba.core", "numba.extending")), f"line {line}"
        assert backend or not re.match(r"numba[._]cuda\b", module), f"line {line}"
        assert part(path) == "cuda" or module.split(".")[0] != "cuda", f"line {line}"
        # a file from a stranger must not run code
        assert module.split(".")[0] not in ("pickle", "dill", "cloudpickle", "marshal", "shelve"), (
            f"line {line}"
        )


def loaded(statement: str, *modules: str) -> set[str]:
    """Which of ``modules`` a fresh interpreter has loaded after ``statement``."""
    code = f"{statement}\nimport sys\nprint(*(m for m in {modules!r} if m in sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.splitlines()[-1].split())


def test_importing_streamgd_is_cheap():
    heavy = (*HEAVY, "numpy", "numba", "numba.cuda", "river", "click")
    assert loaded("import streamgd", *heavy) == set()


def test_importing_learners_loads_no_more_than_numba():
    parts = "from streamgd import optim, linear_model, evaluate, stream, save, load"
    # numba itself looks for scipy
    unwanted = [m for m in (*HEAVY, "numba.cuda", "river.optim", "river.metrics") if m != "scipy"]
    assert "numba" in loaded(parts, "numba")  # the question can be answered with yes
    assert loaded(parts, *unwanted) == loaded("import numba, river.base", *unwanted) == set()


def test_importing_what_needs_a_gpu_does_not_look_for_one():
    assert loaded("import streamgd.cuda", "numba_cuda", "numba.cuda", "cuda") == set()


def test_the_command_answers_before_numba_is_loaded():
    code = "from streamgd.cli import main\nmain(['--help'], standalone_mode=False)"
    assert not loaded(code, "numba", *HEAVY)
