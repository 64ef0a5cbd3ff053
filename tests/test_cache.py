"""Kernels on disk: found by the next process, made anew when a rule is edited, safe when shared.

Each test starts processes with a cache folder of their own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest

import streamgd
from streamgd import _jit, linear_model, optim
from streamgd.optim import losses

PACKAGE = Path(streamgd.__file__).parent

# What each process prints: the result, and which kernels came from the cache.
REPORT = """
import json
from streamgd import _jit
print(json.dumps([result, {made.name: made.cached for made in _jit.compilations}]))
"""

SQUARED = """
from streamgd import linear_model
model = linear_model.LinearRegression()
model.learn_one({"a": 2.0}, 1.0)
result = model.weights["a"]
"""

ALL = """
import numpy as np
from streamgd import linear_model, optim
X, y = np.arange(12.0).reshape(4, 3) / 10, np.array([1, 0, 1, 1])
model = linear_model.LogisticRegression(optim.AdaGrad(0.1))
model.learn_one({0: 1.0}, 1)
model.learn_rows(X, y)
model.learn_many(X, y)
result = [model.predict_proba_one({0: 1.0, 1: 2.0})[1], *model.predict_proba_many(X)[:, 1].tolist()]
"""

EIGHT = """
from streamgd import linear_model, optim
model = linear_model.LinearRegression(optim.Momentum(0.01, rho=0.5))
for k in range(200):
    model.learn_one({"a": k % 7 - 3.0, "b": k % 5 / 2.0}, k % 3 - 1.0)
result = [*model.weights.values(), model.intercept]
"""

SHAPES = """
from streamgd._jit import jitable

@jitable
def residual(y, p):
    return 1.0 * (p - y)
"""

MINE = """
from dataclasses import dataclass
from streamgd.optim.base import Loss
from shapes import residual

@dataclass(frozen=True)
class Mine(Loss):
    scale: float = 1.0
    spare: float = 7.0

    def value(self, y, p):
        return 0.5 * (p - y) * (p - y)

    def gradient(self, y, p):
        return self.scale * residual(y, p)
"""

USE_MINE = """
from streamgd import linear_model
from mine import Mine
model = linear_model.LinearRegression(loss=Mine())
model.learn_one({"a": 2.0}, 1.0)
result = model.weights["a"]
"""

Answer = tuple[Any, dict[str, bool]]
Run = Callable[..., Answer]


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Environment of a process that imports the package under test, and caches below ``folder``."""
    path = [str(folder), str(PACKAGE.parent), *(p for p in sys.path if p)]
    changes = {
        "PYTHONPATH": os.pathsep.join(path),
        "NUMBA_CACHE_DIR": str(folder / "cache"),
        "PYTHONDONTWRITEBYTECODE": "1",  # a module that is edited within a second would be read from it
    }
    return {**os.environ, **changes, **more}


def answer(output: str) -> Answer:
    result, cached = json.loads(output.splitlines()[-1])
    return result, cached


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(source: str, *, prefix: tuple[str, ...] = (), **more: str) -> Answer:
        done = subprocess.run(
            [*prefix, sys.executable, "-c", source + REPORT],
            cwd=tmp_path,
            env=environment(tmp_path, **more),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return answer(done.stdout)

    return run


def test_the_second_process_finds_every_kernel(run: Run) -> None:
    first, made = run(ALL)
    assert not any(made.values())
    kinds = {name.partition("[")[0] for name in made}
    assert kinds == {"learn", "derivatives", "step", "predict_one", "predict_rows"}
    second, found = run(ALL)
    assert found == dict.fromkeys(made, True)
    assert second == first


def test_an_edited_loss_is_compiled_anew_and_disturbs_no_other(run: Run, tmp_path: Path) -> None:
    module, shapes = tmp_path / "mine.py", tmp_path / "shapes.py"
    module.write_text(MINE)
    shapes.write_text(SHAPES)
    mine, squared = "learn[Mine, SGD, L2]", "learn[Squared, SGD, L2]"
    assert run(USE_MINE) == (0.02, {mine: False})
    assert run(SQUARED) == (0.04, {squared: False})
    assert run(USE_MINE) == (0.02, {mine: True})
    shapes.write_text(SHAPES.replace("1.0", "3.0"))  # a function of another module that the rule calls
    assert run(USE_MINE) == (0.06, {mine: False})
    # Edited in the time between a process's import and its first sample: that process has the old rule.
    edited = MINE.replace("self.scale *", "2.0 * self.scale *")
    edit = f"import mine\nopen({str(module)!r}, 'w').write({edited!r})\n"
    assert run(edit + USE_MINE)[0] == 0.06
    assert run(USE_MINE) == (0.12, {mine: False})
    fields = ["    scale: float = 1.0\n", "    spare: float = 7.0\n"]  # kernels know them by position
    module.write_text(edited.replace("".join(fields), "".join(reversed(fields))))
    assert run(USE_MINE) == (0.12, {mine: False})
    assert run(SQUARED) == (0.04, {squared: True})
    module.unlink()
    assert run(SQUARED) == (0.04, {squared: True})


def test_pieces_of_a_script_work_and_are_not_cached(run: Run, tmp_path: Path) -> None:
    script = SHAPES + MINE + USE_MINE
    for line in ("from shapes import residual\n", "from mine import Mine\n"):
        script = script.replace(line, "")
    assert run(script) == (0.02, {"learn[Mine, SGD, L2]": False})
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_eight_processes_at_once_on_a_cold_cache_agree(run: Run, tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", EIGHT + REPORT],
            cwd=tmp_path,
            env=environment(tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    outputs = [(*process.communicate(), process.returncode) for process in processes]
    assert [error for _, error, code in outputs if code] == []
    results = [answer(output)[0] for output, _, _ in outputs]
    assert results == results[:1] * 8
    plain = naive.Linear(naive.Momentum(0.5), naive.Squared(), naive.constant(0.01))
    for k in range(200):
        plain.learn({"a": k % 7 - 3.0, "b": k % 5 / 2.0}, k % 3 - 1.0)
    assert results[0] == pytest.approx([*plain.weights.values(), plain.intercept], rel=1e-12)
    assert run(EIGHT) == (results[0], {"learn[Squared, Momentum, L2]": True})


# -- an install that cannot be written to ------------------------------------------------------


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """A copy of the package in folders that may not be written to, and what makes root obey them."""
    site = tmp_path / "site"
    shutil.copytree(PACKAGE, site / "streamgd", ignore=shutil.ignore_patterns("__pycache__"))
    folders = [site, *(path for path in site.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    prefix: tuple[str, ...] = ()
    if os.access(site, os.W_OK):  # root: permissions bind it only without these capabilities
        dropped = "-dac_override,-dac_read_search"
        prefix = ("setpriv", f"--inh-caps={dropped}", f"--bounding-set={dropped}")
    try:
        probe = [*prefix, sys.executable, "-c", "import os, sys; sys.exit(os.access(sys.argv[1], os.W_OK))"]
        try:
            obeys = subprocess.run([*probe, str(site)], capture_output=True, check=False).returncode == 0
        except FileNotFoundError:
            obeys = False
        if not obeys:
            pytest.skip("runs as root and cannot give up root's right to write; run it as another user")
        yield site, prefix
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_a_read_only_install_caches_in_the_users_folder(
    run: Run, read_only: tuple[Path, tuple[str, ...]], tmp_path: Path
) -> None:
    site, prefix = read_only
    home = tmp_path / "home"
    home.mkdir()
    where = {
        "PYTHONPATH": os.pathsep.join([str(site), *(p for p in sys.path if p)]),
        "NUMBA_CACHE_DIR": "",
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
    }
    source = SQUARED + "import streamgd; assert streamgd.__file__.startswith(" + repr(str(site)) + ")\n"
    assert run(source, prefix=prefix, **where) == (0.04, {"learn[Squared, SGD, L2]": False})
    assert run(source, prefix=prefix, **where) == (0.04, {"learn[Squared, SGD, L2]": True})
    assert list(home.rglob("*.nbi"))


def test_an_install_without_any_folder_to_write_to_works(
    run: Run, read_only: tuple[Path, tuple[str, ...]], tmp_path: Path
) -> None:
    """As in a container whose root is read-only: nothing is cached, and nothing fails."""
    site, prefix = read_only
    where = {
        "PYTHONPATH": os.pathsep.join([str(site), *(p for p in sys.path if p)]),
        "NUMBA_CACHE_DIR": "",
        "HOME": str(site),
        "XDG_CACHE_HOME": str(site),
    }
    assert run(SQUARED, prefix=prefix, **where) == (0.04, {"learn[Squared, SGD, L2]": False})


# -- one kernel for all values -----------------------------------------------------------------


def test_values_of_other_types_need_no_other_kernel() -> None:
    """Hyper-parameters, rates, penalties, targets, weights, features and rows of any number type."""

    def use(make: Callable[[float], Any], X: Any, y: Any, w: Any) -> None:
        model = linear_model.LinearRegression(
            optim.SGD(make(0.0)), loss=losses.Huber(make(1.0)), l2=make(1.0), intercept_lr=make(0.0)
        )
        model.learn_one({"a": make(1.0), "b": 2.0}, make(1.0), make(1.0))
        model.predict_one({"a": make(1.0)})
        model.learn_rows(X, y, w, columns=["a", "b"])
        assert model.weights == {"a": 0.0, "b": 0.0}

    X, y, w = np.ones((3, 2)), np.ones(3), np.ones(3)
    use(float, X, y, w)
    before = len(_jit.compilations)
    use(int, X.astype(int), y.astype(int), 1)
    use(lambda v: bool(v) if v else 0, X.astype(bool), y.astype(bool), True)
    use(np.float64, X.astype(np.float32), y.astype(np.float32), np.float32(1))
    use(np.float32, np.asfortranarray(X), [1, True, 1.0], [1, 2, 3])
    use(np.int64, X.astype(np.int8), y.astype(np.uint8), w.astype(np.int16))
    assert len(_jit.compilations) == before
