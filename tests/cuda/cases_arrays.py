"""The kernel that gathers rows, as it is launched."""

from __future__ import annotations

from collections.abc import Iterator

from gate import Case


def gate_cases() -> Iterator[Case]:
    from numba.cuda import types

    from streamgd.cuda._gather import gather_kernel

    for kind in (types.float32, types.float16, types.uint8):
        signature = types.void(kind[::1], types.int64[::1], types.int64, kind[::1])
        yield Case(f"gather {kind}", gather_kernel(), signature, registers=40)
