"""Kernels compiled for architectures that are not here: float64, registers, spills and shared memory.

Each file ``cases_*.py`` of this folder has a function ``gate_cases()`` that yields a `Case` for each kernel,
with a signature that it is launched with: ``test_gate.py`` compiles all of them.
"""

from __future__ import annotations

import importlib
import math
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ARCHITECTURES = ("sm_80", "sm_90")
LEAST = (8, 0)  # PTX is made for it: assembled for a later one, it takes the registers that its own takes
SHARED_LIMIT = 48 * 1024  # of a block, without asking for more
REGISTERS = 64 * 1024  # of a multiprocessor
SHARED = {"sm_80": 164 * 1024, "sm_90": 228 * 1024}  # of a multiprocessor
OF_EACH_BLOCK = 1024  # that it takes beside what it uses


@dataclass(frozen=True)
class Case:
    """A kernel as it is launched, and the most that it may use."""

    name: str
    kernel: Any  # of streamgd.cuda._backend.kernel, which has its launch bounds
    signature: Any  # numba.cuda.types.void(...)
    registers: int = 128  # of a thread
    stack: int = 0  # bytes of local memory: arrays that are indexed at run time


@dataclass(frozen=True)
class Compiled:
    """What one kernel needs on one architecture."""

    architecture: str
    doubles: int
    registers: int
    stack: int
    spills: int
    shared: int
    bounds: tuple[int, int] | None  # threads of a block, blocks of a multiprocessor
    seconds: float  # of the processor, the compiler's with the first architecture

    def broken(self, case: Case) -> list[str]:
        """Say which limits are broken."""
        said = []
        if self.doubles:
            where = ", ".join(f"{place} ({n})" for place, n in doubles_at(case).items())
            said.append(f"{self.doubles} instructions in float64: {where}")
        if self.spills:
            said.append(
                f"{self.spills} bytes of registers are spilled: fewer values in flight, or fewer threads"
            )
        for what, limit in (("registers", case.registers), ("stack", case.stack), ("shared", SHARED_LIMIT)):
            if getattr(self, what) > limit:
                said.append(f"{what}: {getattr(self, what)}, more than {limit}")
        if self.bounds is None:
            said.append("no launch bounds: kernel(threads=) says how many threads a block has at most")
        elif self.blocks_that_fit() < self.bounds[1]:
            said.append(f"{self.bounds[1]} blocks of {self.bounds[0]} threads are to fit on a multiprocessor")
        return said

    def blocks_that_fit(self) -> int:
        """How many blocks of the most threads fit on a multiprocessor."""
        assert self.bounds is not None
        warps = math.ceil(self.bounds[0] / 32)
        registers = 256 * math.ceil(self.registers * 32 / 256) * warps  # they are given out by 256
        shared = SHARED[self.architecture] // (self.shared + OF_EACH_BLOCK)
        return min(REGISTERS // registers, 64 // warps, shared)


def cases() -> list[Case]:
    """All cases of this folder."""
    found = []
    for path in sorted(Path(__file__).parent.glob("cases_*.py")):
        found += list(importlib.import_module(path.stem).gate_cases())
    twice = [name for name, n in Counter(case.name for case in found).items() if n > 1]
    if twice:
        raise ValueError(f"cases need names of their own: {twice}")
    return found


def why_not() -> str | None:
    """Say why nothing can be compiled here."""
    try:
        import cuda.core
        from numba.cuda.cudadrv.nvvm import NVVM

        NVVM()
        assert cuda.core.Linker
    except Exception as error:  # of as many kinds as there are ways not to be installed
        return f"needs CUDA's compiler: pip install 'streamgd[cuda]' ({type(error).__name__}: {error})"
    return None


@contextmanager
def _device(capability: tuple[int, int]) -> Iterator[None]:
    """Let functions that a kernel calls compile without a driver, which numba-cuda asks for the device."""
    from numba.cuda import dispatcher

    asked, dispatcher.get_current_device = (
        dispatcher.get_current_device,
        lambda: SimpleNamespace(compute_capability=capability),
    )
    try:
        yield
    finally:
        dispatcher.get_current_device = asked


def ptx_of(case: Case, *, lines: bool = False) -> str:
    """Compile a kernel; with ``lines``, each instruction says which line of source it is from."""
    from numba import cuda

    with _device(LEAST):
        text, _ = cuda.compile(
            case.kernel.py_func,
            case.signature,
            device=False,
            abi="numba",
            cc=LEAST,
            lineinfo=lines,
            launch_bounds=case.kernel.targetoptions.get("launch_bounds"),
        )
    return text


def compiled(case: Case) -> list[Compiled]:
    """Compile a kernel, and assemble it for each architecture."""
    start = time.process_time()
    ptx = ptx_of(case)
    threads = re.search(r"^\.maxntid\s+(\d+)", ptx, re.MULTILINE)
    blocks = re.search(r"^\.minnctapersm\s+(\d+)", ptx, re.MULTILINE)
    found = []
    for architecture in ARCHITECTURES:
        log = _link(ptx, architecture)
        end = time.process_time()
        found.append(
            Compiled(
                architecture,
                doubles=len(re.findall(r"\.f64\b", ptx)),
                registers=_most(r"Used (\d+) registers", log),
                stack=_most(r"(\d+) bytes stack frame", log),
                spills=_most(r"(\d+) bytes spill stores", log) + _most(r"(\d+) bytes spill loads", log),
                # the log leaves out what is declared outside of the kernel, as all of it is
                shared=sum(map(int, re.findall(r"\.shared .*\[(\d+)\];", ptx))),
                bounds=(int(threads[1]), int(blocks[1]) if blocks else 1) if threads else None,
                seconds=end - start,
            )
        )
        start = end
    return found


def _most(pattern: str, log: str) -> int:
    return max(map(int, re.findall(pattern, log)), default=0)


def _link(ptx: str, architecture: str) -> str:
    """Link to machine code, and return what the assembler says of it."""
    from cuda.core import Linker, LinkerOptions, ObjectCode

    code = [ObjectCode.from_ptx(ptx.encode())]
    if "cudaCGSynchronize" in ptx:  # a grid that meets as a whole needs the device's runtime
        from numba.cuda.cudadrv.libs import get_cudalib

        code.append(ObjectCode.from_library(Path(get_cudalib("cudadevrt", static=True)).read_bytes()))
    linker = Linker(*code, options=LinkerOptions(arch=architecture, ptxas_options=["-v"]))
    linker.link("cubin")
    return linker.get_info_log()


def doubles_at(case: Case) -> dict[str, int]:
    """Lines of source that computed in float64, and how many instructions each has."""
    ptx = ptx_of(case, lines=True)
    files = {
        number: Path(name).name
        for number, name in re.findall(r'^\s*\.file\s+(\d+)\s+"([^"]*)"', ptx, re.MULTILINE)
    }
    found: Counter[str] = Counter()
    place = "?"
    for line in ptx.splitlines():
        if at := re.match(r"\s*\.loc\s+(\d+)\s+(\d+)", line):
            place = f"line {at[2]} of {files[at[1]]}"
        elif ".f64" in line and ".reg" not in line:
            found[place] += line.count(".f64")
    return dict(found.most_common(5))
