"""What the suites of `gpu.py` share: rows of the table, clocks, data on the device, PyTorch beside it."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from compare import UnequalError
from numpy.typing import NDArray

from streamgd.cuda._backend import IS_SIMULATED, cuda

Singles = NDArray[np.float32]


@dataclass(frozen=True)
class Row:
    """One line of the table: seconds (unit "s"), or something a second."""

    key: str  # of its prediction
    name: str
    value: float | None = None
    unit: str = "s"
    peers: Mapping[str, float] = field(default_factory=dict)  # in the same unit
    aim: str = ""
    met: bool | None = None
    checked: str = ""
    figures: Mapping[str, str] = field(default_factory=dict)
    failed: str = ""

    def times(self, peer: str) -> float:
        """How many times faster than another side."""
        assert self.value is not None
        ours, theirs = self.value, self.peers[peer]
        return theirs / ours if self.unit == "s" else ours / theirs


class Task(NamedTuple):
    """Something to measure, which may fail without harm to the others."""

    key: str
    name: str
    run: Callable[[], Row]


class Bench:
    """A device, or what stands in for one, and how long to measure on it.

    Parameters
    ----------
    quick
        Small sizes, few repetitions.
    dry
        Kernels are compiled and nothing runs: there are no results to compare, and no times.
    """

    WARM, REPETITIONS, FEWEST = 3, 30, 5
    SECONDS = 2.0  # for the repetitions of one thing, unless the fewest take longer

    def __init__(self, quick: bool = False, dry: bool = False) -> None:
        self.quick, self.dry = quick, dry
        self.rng = np.random.default_rng(1)
        self.copy_rate = self.pinned_rate = 0.0  # bytes a second, once they are measured
        size = 1 << 10 if quick else 1 << 28  # floats: 1 GiB
        self.size = f"{4 * size >> 10:,} KiB" if quick else "1 GiB"
        self.here, self.there = (cuda.device_array(size, np.float32) for _ in range(2))
        self.torch, self.no_torch = (None, "") if dry else _torch()

    # -- data ----------------------------------------------------------------------------------

    def normal(self, n: int) -> Any:
        """Random numbers on the device; beyond 64 MiB they come again, which no cache can make use of."""
        out = cuda.device_array(n, np.float32)
        block = cuda.to_device(self.rng.standard_normal(min(n, 1 << 24), dtype=np.float32))
        for lo in range(0, n, len(block)):
            hi = min(n, lo + len(block))
            out[lo:hi].copy_to_device(block[: hi - lo])
        return out

    def labels(self, n: int) -> Any:
        """Labels 0 and 1 on the device."""
        return cuda.to_device((self.rng.random(n) < 0.5).astype(np.float32))

    def tensor(self, array: Any) -> Any:
        """The same memory as PyTorch sees it; in the simulator a copy."""
        assert self.torch is not None
        if IS_SIMULATED:
            return self.torch.from_numpy(array.copy_to_host())
        return self.torch.as_tensor(array, device="cuda")

    # -- clocks --------------------------------------------------------------------------------

    def device_time(self, work: Callable[[], object], stream: Any = 0) -> float:
        """Median of the seconds that the device takes for ``work``, which the host puts on ``stream``.

        The device is busy with a copy while the host does so, which also leaves nothing of use in its cache:
        what is measured has no gaps in which it would wait for the host.
        """
        first, last = cuda.event(), cuda.event()

        def once() -> float:
            self.there.copy_to_device(self.here, stream=stream)
            first.record(stream)
            work()
            last.record(stream)
            last.synchronize()
            milliseconds = float(first.elapsed_time(last))
            return milliseconds * 1e-3 if milliseconds >= 0.0 else math.nan  # the simulator knows no time

        return self._median(work, once)

    def called_time(self, work: Callable[[], object]) -> float:
        """Median of the seconds from a call until the device has done what it asked for."""

        def once() -> float:
            cuda.synchronize()
            start = time.perf_counter()
            work()
            cuda.synchronize()
            return time.perf_counter() - start

        return self._median(work, once)

    def host_time(self, work: Callable[[], object], n: int = 1000) -> float:
        """Median of the seconds that the host takes to ask for ``work``, of ``n`` in a row."""
        n = 2 if self.quick else n

        def once() -> float:
            cuda.synchronize()
            start = time.perf_counter()
            for _ in range(n):
                work()
            return (time.perf_counter() - start) / n

        return self._median(work, once)

    def _median(self, work: Callable[[], object], once: Callable[[], float]) -> float:
        if self.dry:
            work()
            return math.nan
        if self.quick:
            return once()
        for _ in range(self.WARM):
            work()
        cuda.synchronize()
        begun, seconds = time.perf_counter(), []
        while len(seconds) < self.FEWEST or (
            len(seconds) < self.REPETITIONS and time.perf_counter() - begun < self.SECONDS
        ):
            seconds.append(once())
        return statistics.median(seconds)

    # -- results -------------------------------------------------------------------------------

    def check(self, what: str, ours: Any, truth: Callable[[], Any], tolerance: float) -> str:
        """Say how far a result is from the truth, by the norm of the difference, or raise."""
        if self.dry:
            return ""
        a, b = (np.asarray(v, dtype=np.float64).ravel() for v in (ours, truth()))
        if a.shape != b.shape:
            raise UnequalError(f"{what}: {a.shape} against {b.shape}")
        apart = float(np.linalg.norm(a - b) / max(np.linalg.norm(b), np.finfo(float).tiny))
        if not apart <= tolerance:
            raise UnequalError(f"{what} differ by {apart:.3g}, and {tolerance:.0e} is allowed")
        return f"{what} equal to {apart:.0e}"


def _torch() -> tuple[Any, str]:
    """Return PyTorch, or why there is none that can stand beside."""
    try:
        import torch
    except ImportError:
        return None, "PyTorch is not installed"
    if IS_SIMULATED or torch.cuda.is_available():
        return torch, ""
    return None, f"PyTorch {torch.__version__} sees no device"


def reached(*aims: tuple[float, float]) -> bool | None:
    """Tell whether values are as large as they are to be; unknown where one was not measured."""
    if any(math.isnan(value) for value, _ in aims):
        return None
    return all(value >= least for value, least in aims)
