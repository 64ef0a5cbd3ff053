"""Every kernel compiles for the architectures that we name: no float64, no spills, within its limits."""

from __future__ import annotations

import gate
import pytest

from streamgd.cuda._backend import IS_SIMULATED, cuda, float32, kernel

if IS_SIMULATED:
    pytest.skip("the simulator compiles nothing: run without NUMBA_ENABLE_CUDASIM", allow_module_level=True)
if (reason := gate.why_not()) is not None:
    pytest.skip(reason, allow_module_level=True)

pytestmark = pytest.mark.compiles


@pytest.mark.parametrize("case", gate.cases(), ids=lambda case: case.name)
def test_a_kernel_keeps_its_limits(case, record_property):
    compiled = gate.compiled(case)
    record_property("compiled", [vars(one) | {"case": case.name} for one in compiled])
    assert {one.architecture: one.broken(case) for one in compiled if one.broken(case)} == {}


# -- the gate itself ----------------------------------------------------------------------------


def case(body, registers=128, threads=64, blocks=1):
    from numba.cuda import types

    return gate.Case(
        body.__name__, kernel(body, threads=threads, blocks=blocks), types.void(float32[::1]), registers
    )


def broken(*args, **kwargs):
    made = case(*args, **kwargs)
    return gate.compiled(made)[-1].broken(made)


def test_float64_is_found_with_its_line():
    def body(values):
        i = cuda.grid(1)
        values[i] = 0.1 * values[i] + 1

    (said,) = broken(body)
    line = body.__code__.co_firstlineno + 2
    assert f"line {line} of test_gate.py" in said


def test_what_compiles_well_says_nothing():
    one = float32.cast_python_value(1.0)

    def body(values):
        i = cuda.grid(1)
        values[i] = one / values[i]

    assert broken(body) == []
    assert broken(body, registers=4) != []
    assert "launch bounds" in broken(body, threads=None)[0]


def test_spills_are_found():
    def body(values):
        mine = cuda.local.array(128, float32)
        for k in range(128):
            mine[k] = values[k]
        cuda.syncthreads()
        for k in range(128):
            values[k] = mine[127 - k] * mine[k]

    assert "spilled" in " ".join(broken(body, threads=1024, blocks=2))


def test_arrays_indexed_at_run_time_are_found():
    def body(values):
        mine = cuda.local.array(16, float32)
        for k in range(16):
            mine[k] = values[k]
        values[0] = mine[int(values[1])]

    assert broken(body) == ["stack: 64, more than 0"]


def test_shared_memory_is_counted():
    def make(n):
        def body(values):
            shared = cuda.shared.array(n, float32)
            shared[cuda.threadIdx.x] = values[cuda.threadIdx.x]
            cuda.syncthreads()
            values[cuda.threadIdx.x] = shared[63 - cuda.threadIdx.x]

        return case(body, blocks=4)

    fits, fills, exceeds = make(4096), make(12 * 1024), make(12 * 1024 + 1)
    (compiled, _) = gate.compiled(fits)
    assert (compiled.architecture, compiled.shared, compiled.broken(fits)) == ("sm_80", 16384, [])
    (old, new) = gate.compiled(fills)
    assert old.broken(fills) == ["4 blocks of 64 threads are to fit on a multiprocessor"]
    assert new.broken(fills) == []
    with pytest.raises(Exception, match="too much shared data"):
        gate.compiled(exceeds)


def test_cases_are_found_and_have_names_of_their_own():
    names = [c.name for c in gate.cases()]
    assert len(names) == len(set(names)) > 0
