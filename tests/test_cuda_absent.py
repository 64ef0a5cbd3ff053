"""Without numba-cuda: everything imports, and what needs a GPU says what to install."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from streamgd.cuda._errors import CudaUnavailable, is_available, require


def without_numba_cuda(code: str) -> str:
    """What code prints in a process that does not find the package, installed or not."""
    hide = (
        "import importlib.util, sys\n"
        "sys.meta_path[:] = [f for f in sys.meta_path if type(f).__name__ != 'NumbaCudaFinder']\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'numba_cuda' else find(name, *rest)\n"
        "sys.modules['numba_cuda'] = None\n"
    )
    run = subprocess.run([sys.executable, "-c", hide + code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_package_has_its_part_for_gpus_and_imports_no_cuda():
    code = (
        "import streamgd, sys\n"
        "streamgd.cuda.Fleet\n"
        "print([m for m in ('numba.cuda', 'cuda') if m in sys.modules])"
    )
    assert without_numba_cuda(code) == "[]\n"


def test_requiring_a_device_names_the_extra():
    code = (
        "from streamgd.cuda._errors import CudaUnavailable, is_available, require\n"
        "assert not is_available()\n"
        "try: require()\n"
        "except CudaUnavailable as error: print(error)\n"
    )
    said = without_numba_cuda(code)
    assert "numba-cuda" in said
    assert "pip install 'streamgd[cuda]'" in said
    assert "'streamgd[cuda12]'" in said
    assert "device='cpu'" in said


def test_modules_with_kernels_say_so_too():
    code = (
        "from streamgd.cuda._errors import CudaUnavailable\n"
        "try: import streamgd.cuda._backend\n"
        "except CudaUnavailable as error: print(error)\n"
    )
    assert "pip install 'streamgd[cuda]'" in without_numba_cuda(code)


def test_the_error_is_no_import_error():
    """numba-cuda's own is: who guards an import with it would swallow a missing driver."""
    assert issubclass(CudaUnavailable, RuntimeError)
    assert not issubclass(CudaUnavailable, ImportError)


@pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is not None,
    reason="numba-cuda is here: the process above hides it",
)
def test_this_process_has_none():
    assert not is_available()
    with pytest.raises(CudaUnavailable, match="needs the package numba-cuda"):
        require()
    assert "numba.cuda" not in sys.modules
