"""Kernels in plain Python: threads that take turns, and stop where a GPU's answer would be undefined.

numba-cuda has a simulator, which knows nothing of warps and runs a system thread for each of a kernel's.
`install` replaces its launch: threads are greenlets, which run one after the other, in an order that is
shuffled at each meeting (a barrier, a shuffle), the same in every run; no kernel may rest on it. What CUDA
leaves undefined is NaN (or an absurd integer) or raises: memory that nobody has written, a barrier that some
threads do not reach, a shuffle from a lane that does not take part.

Types are NumPy's, which are close to compiled ones but not the same: `gate.py` looks at those.
"""

from __future__ import annotations

import builtins
import dataclasses
import math
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from types import CellType, FunctionType, ModuleType
from typing import Any, ClassVar, NamedTuple

import greenlet
import numba.cuda
import numpy as np
from numba.cuda.simulator import kernel as launching
from numba.cuda.simulator import kernelapi
from numba.cuda.simulator.args import ArgHint, In

WARP = 32
SHARED_LIMIT = 48 * 1024
THREADS_LIMIT = 1024
WATCHED = 2  # launches of a kernel whose shared memory is watched for races, which takes three times as long


class UndefinedError(RuntimeError):
    """A kernel did what CUDA gives no meaning to."""


# -- functions as kernels see them --------------------------------------------------------------


class Math(ModuleType):
    """``math`` as a GPU has it: float32 in, float32 out, and infinity or NaN where Python raises."""

    _NUMPY: ClassVar = {
        "pow": "power", "fabs": "abs", "acos": "arccos", "asin": "arcsin", "atan": "arctan",
        "atan2": "arctan2", "acosh": "arccosh", "asinh": "arcsinh", "atanh": "arctanh",
    }  # fmt: skip
    _SAME: ClassVar = ("floor", "ceil", "trunc")  # integers

    def __getattr__(self, name: str) -> Any:
        if name in self._SAME or not callable(getattr(math, name)):
            return getattr(math, name)
        function = getattr(np, self._NUMPY.get(name, name), None)
        if function is not None:
            return function

        def rounded(*args: Any) -> Any:
            result = getattr(math, name)(*args)
            return type(args[0])(result) if isinstance(args[0], np.floating) else result

        return rounded


def _greatest(*values: Any) -> Any:
    return _extreme(max, np.fmax, values)


def _least(*values: Any) -> Any:
    return _extreme(min, np.fmin, values)


def _extreme(of_any: Callable[..., Any], of_floats: Any, values: tuple[Any, ...]) -> Any:
    """As a GPU's instruction: of a number and NaN it returns the number, in either order."""
    if len(values) == 1 or not all(isinstance(v, float | np.floating) for v in values):
        return of_any(*values)
    result = values[0]
    for value in values[1:]:
        result = of_floats(result, value)
    return result


_seen: dict[FunctionType, FunctionType] = {}


def on_gpu(function: FunctionType) -> FunctionType:
    """Return a copy of a function that finds this grid for ``cuda``, as do all that it calls."""
    if function in _seen:
        return _seen[function]
    names: dict[str, Any] = {"__builtins__": vars(builtins) | {"max": _greatest, "min": _least}}
    cells = tuple(CellType() for _ in function.__closure__ or ())
    # a code object of its own, by which shared arrays are known
    code = function.__code__.replace()
    copy = _seen[function] = FunctionType(code, names, function.__name__, closure=cells or None)
    for name in _named(code) & function.__globals__.keys():
        names[name] = _swapped(function.__globals__[name])
    for cell, original in zip(cells, function.__closure__ or (), strict=True):
        cell.cell_contents = _swapped(original.cell_contents)
    copy.__defaults__ = _swapped(function.__defaults__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _named(code: Any) -> set[str]:
    inner = (_named(c) for c in code.co_consts if hasattr(c, "co_names"))
    return set(code.co_names).union(*inner)


def _swapped(value: Any) -> Any:
    if value is numba.cuda:
        return grid
    if isinstance(value, ModuleType) and value.__name__ == "math":  # or its stand-in in single precision
        return Math("math")
    if isinstance(value, tuple):
        return tuple(map(_swapped, value)) if type(value) is tuple else value
    if isinstance(value, launching.FakeCUDAKernel):
        return on_gpu(value.fn)
    value = getattr(value, "py_func", value)  # of @njit
    if isinstance(value, FunctionType) and not value.__module__.startswith(("numpy", "numba")):
        return on_gpu(value)
    return value


# -- threads ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Meeting:
    """Where a thread waits for others: which operation, which lanes (0: the whole block), at which line."""

    operation: str
    mask: int
    place: str

    def __str__(self) -> str:
        return f"{self.operation} ({self.place}{f', mask {self.mask:#x}' if self.mask else ''})"


class Thread(greenlet.greenlet):
    """One thread of a block."""

    def __init__(self, block: Block, index: tuple[int, int, int], number: int) -> None:
        super().__init__(self._work, greenlet.getcurrent())
        self.block, self.number = block, number
        self.threadIdx = kernelapi.Dim3(*index)
        self.blockIdx = kernelapi.Dim3(*block.index)
        self.warp, self.lane = divmod(number, WARP)
        self.waits: Meeting | None = None
        self.atomic = False  # whether an atomic operation is under way
        self.value: Any = None  # what it brings to a meeting
        self.others: dict[int, Any] = {}  # what all brought, by lane or number

    def _work(self) -> None:
        with np.errstate(all="ignore"):  # that belongs to each greenlet
            self.block.body(*self.block.arguments)

    def meet(self, operation: str, value: Any = None, mask: int = 0) -> dict[int, Any]:
        """Wait until all that are to take part have come, and return what they brought."""
        self.waits, self.value = Meeting(operation, mask, _place(sys._getframe(2))), value
        self.parent.switch()
        return self.others

    def __str__(self) -> str:
        state = "has returned" if self.dead else f"waits in {self.waits}"
        return f"thread {tuple(self.threadIdx)} {state}"


class Block:
    """Threads that share memory and barriers."""

    def __init__(
        self, body: FunctionType, arguments: tuple[Any, ...], index: Any, launch: Launch, order: random.Random
    ) -> None:
        self.body, self.arguments, self.index, self.order = body, arguments, tuple(index), order
        self.shared: dict[Any, Any] = {}
        self.dynamic = _unwritten(launch.dynamic, np.uint8)
        width, height, depth = launch.block
        # x runs fastest, as in CUDA
        points = [(x, y, z) for z in range(depth) for y in range(height) for x in range(width)]
        self.threads = [Thread(self, point, number) for number, point in enumerate(points)]
        self.warps = [self.threads[k : k + WARP] for k in range(0, len(points), WARP)]
        self.barriers, self.turns = 0, [0] * len(self.warps)  # that ordered accesses to memory
        self.is_watched = launch.is_watched
        self.ready = list(self.threads)

    def run(self) -> bool:
        """Let threads run until all have returned (True), or wait for the grid (False)."""
        hurries = self.order.random() < 0.5  # whether a warp goes as far as it can before the next begins
        while True:
            self.order.shuffle(self.ready)
            some, later = self.ready, []
            if hurries and self.ready:
                first = min(thread.warp for thread in self.ready)
                some = [thread for thread in self.ready if thread.warp == first]
                later = [thread for thread in self.ready if thread.warp != first]
            for thread in some:
                _run(thread)
            self.ready = later + self._gathered_block()
            for warp in self.warps:
                self.ready += self._gathered_warp(warp)
            if not self.ready:
                break
        waiting = [thread for thread in self.threads if not thread.dead]
        if not waiting:
            return True
        if len(waiting) == len(self.threads) and all(t.waits.operation == "grid sync" for t in waiting):
            return False
        raise UndefinedError(f"threads of block {self.index} wait for each other: {self._summary()}")

    def _gathered_block(self) -> list[Thread]:
        """Release all threads if all of them wait at the same barrier."""
        first = self.threads[0].waits
        if first is None or first.mask or first.operation == "grid sync":
            return []
        if any(thread.waits != first for thread in self.threads):
            return []
        self.barriers += 1
        return _released(self.threads, {thread.number: thread.value for thread in self.threads})

    def _gathered_warp(self, warp: list[Thread]) -> list[Thread]:
        """Release lanes of a warp whose meeting is complete; nobody waits for those that have returned."""
        gathered = defaultdict(list)
        for thread in warp:
            if thread.waits is not None and thread.waits.mask:
                gathered[thread.waits].append(thread)
        free = []
        for meeting, came in gathered.items():
            named = [thread for thread in warp if meeting.mask >> thread.lane & 1 and not thread.dead]
            if len(came) == len(named):
                self.turns[came[0].warp] += meeting.operation == "syncwarp"  # others order no memory
                free += _released(came, {thread.lane: thread.value for thread in came})
        return free

    def release(self) -> None:
        """Let threads that wait for the grid go on."""
        self.barriers += 1
        self.ready = _released(self.threads, {})

    def _summary(self) -> str:
        groups = defaultdict(list)
        for thread in self.threads:
            groups[str(thread).partition(") ")[2]].append(thread.number)
        return "; ".join(f"threads {_runs(numbers)}: {state}" for state, numbers in groups.items())


def _runs(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:8])) + (f" and {len(numbers) - 8} more" if len(numbers) > 8 else "")


def _released(threads: list[Thread], brought: dict[int, Any]) -> list[Thread]:
    for thread in threads:
        thread.waits, thread.others = None, brought
    return list(threads)


def _run(thread: Thread) -> None:
    try:
        thread.switch()
    except Exception as error:
        error.add_note(f"in thread {tuple(thread.threadIdx)} of block {tuple(thread.blockIdx)}")
        raise


def _place(frame: Any) -> str:
    return f"line {frame.f_lineno} of {frame.f_code.co_filename.rpartition('/')[2]}"


def _here() -> Thread:
    thread = greenlet.getcurrent()
    if not isinstance(thread, Thread):
        raise UndefinedError("this is for kernels: no grid runs")
    return thread


# -- memory -------------------------------------------------------------------------------------


def _unwritten(shape: Any, dtype: Any) -> Any:
    """Return memory that nobody has written: NaN, or an integer that is far out of every range."""
    array = np.empty(shape, _dtype(dtype))
    if array.dtype.kind == "f":
        array.fill(np.nan)
    elif array.dtype.kind in "iu":
        array.fill(np.iinfo(array.dtype).max // 3 * 2)
    return array


def _dtype(dtype: Any) -> Any:
    from numba import types
    from numba.np.numpy_support import as_dtype

    return np.dtype(as_dtype(dtype) if isinstance(dtype, types.Type) else dtype)


class Access(NamedTuple):
    """Which thread read or wrote something in shared memory, and when."""

    thread: Thread
    barriers: int
    turn: int
    atomic: bool
    code: Any  # of the function that did it
    line: int

    def is_before(self, other: Access) -> bool:
        """Tell whether a barrier, or the same thread's order, puts this before a later access."""
        one, two = self.thread, other.thread
        in_warp = one.warp == two.warp and self.turn < other.turn
        return one is two or self.barriers < other.barriers or in_warp or (self.atomic and other.atomic)

    def __str__(self) -> str:
        return f"thread {self.thread.number} (line {self.line} of {Path(self.code.co_filename).name})"


class Watched(np.ndarray):
    """Shared memory that knows who read and wrote each of its elements since the last barrier."""

    numbers: Any = None  # of the elements, where this is a view of some
    written: dict[int, Access]
    read: dict[int, list[Access]]

    def __getitem__(self, index: Any) -> Any:
        value = super().__getitem__(index)
        if self.numbers is None:
            return value
        number = self.numbers[index]
        if isinstance(value, Watched):
            value.numbers, value.written, value.read = number, self.written, self.read
        else:
            access = self._access()
            if number in self.written:
                self._check(self.written[number], access, "read")
            readers = self.read.setdefault(number, [])
            if readers and readers[0].barriers < access.barriers:
                readers.clear()
            readers.append(access)
        return value

    def __setitem__(self, index: Any, value: Any) -> None:
        number = None if self.numbers is None else self.numbers[index]
        if number is None or number.ndim:
            super().__setitem__(index, value)
            return
        access, before = self._access(), super().__getitem__(index)
        super().__setitem__(index, value)
        if super().__getitem__(index) != before:  # several may write the same
            others = self.read.pop(number, [])
            for other in [*others, self.written[number]] if number in self.written else others:
                self._check(other, access, "wrote")
        self.written[number] = access

    @staticmethod
    def _access() -> Access:
        thread, frame = _here(), sys._getframe(2)
        while frame.f_code.co_filename in (__file__, kernelapi.__file__):
            frame = frame.f_back
        block = thread.block
        turn = block.turns[thread.warp]
        return Access(thread, block.barriers, turn, thread.atomic, frame.f_code, frame.f_lineno)

    @staticmethod
    def _check(first: Access, second: Access, did: str) -> None:
        if not first.is_before(second):
            raise UndefinedError(
                f"no barrier between {first}, and {second} which {did} the same shared element"
            )


def _watched(array: Any) -> Any:
    watched = array.view(Watched)
    watched.numbers, watched.written, watched.read = np.arange(array.size).reshape(array.shape), {}, {}
    return watched


class Local:
    def array(self, shape: Any, dtype: Any, alignment: int | None = None) -> Any:
        return _unwritten(shape, dtype)


class Shared:
    """One array a block for each place in the code that asks for one."""

    def array(self, shape: Any, dtype: Any, alignment: int | None = None) -> Any:
        block, frame = _here().block, sys._getframe(1)
        if shape == 0:
            size = _dtype(dtype).itemsize
            return block.dynamic[: len(block.dynamic) // size * size].view(_dtype(dtype))
        key = (id(frame.f_code), frame.f_lasti)
        if key not in block.shared:
            array = _unwritten(shape, dtype)
            block.shared[key] = _watched(array) if block.is_watched else array
            used = sum(array.nbytes for array in block.shared.values()) + len(block.dynamic)
            if used > SHARED_LIMIT:
                raise UndefinedError(f"a block has {SHARED_LIMIT} bytes of shared memory, and this is {used}")
        return block.shared[key]


def _argument(value: Any) -> Any:
    """Return an argument as a kernel gets it: device arrays and host arrays as they are."""
    if isinstance(value, ArgHint):
        only_read = isinstance(value, In) and isinstance(value.value, np.ndarray)
        return value.value.copy() if only_read else _argument(value.value)
    if isinstance(value, tuple):
        items = [_argument(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return getattr(value, "_ary", value)


class Atomic:
    """Numba's atomic operations, known as such."""

    def __getattr__(self, name: str) -> Any:
        operation = getattr(kernelapi.FakeCUDAAtomic(), name)

        def atomic(*args: Any) -> Any:
            thread = _here()
            thread.atomic = True
            try:
                return operation(*args)
            finally:
                thread.atomic = False

        return atomic


# -- the module ---------------------------------------------------------------------------------


def _bits(value: Any) -> int:
    return 8 * value.itemsize if isinstance(value, np.integer) else 64


def _unsigned(value: Any) -> int:
    return int(value) & (1 << _bits(value)) - 1


def _signed(mask: int) -> np.int32:
    """Return a mask of lanes in the type that votes return it in."""
    return np.uint32(mask).astype(np.int32)


class GridGroup:
    def sync(self) -> None:
        _here().meet("grid sync")


class Groups:
    def this_grid(self) -> GridGroup:
        return GridGroup()


class Grid(kernelapi.FakeCUDAModule):
    """What kernels know as ``cuda``."""

    def __init__(self) -> None:
        super().__init__((1, 1, 1), (1, 1, 1), 0)
        self._cg, self._local, self._shared, self._atomic = Groups(), Local(), Shared(), Atomic()

    @property
    def threadIdx(self) -> Any:
        return _here().threadIdx

    @property
    def blockIdx(self) -> Any:
        return _here().blockIdx

    @property
    def laneid(self) -> int:
        return _here().lane

    def lanemask_lt(self) -> np.uint32:
        return np.uint32((1 << _here().lane) - 1)

    def nanosleep(self, nanoseconds: Any) -> None:
        pass

    # barriers

    def syncthreads(self) -> None:
        _here().meet("syncthreads")

    def syncthreads_count(self, value: Any) -> int:
        return sum(map(bool, _here().meet("syncthreads_count", value).values()))

    def syncthreads_and(self, value: Any) -> int:
        return int(all(_here().meet("syncthreads_and", value).values()))

    def syncthreads_or(self, value: Any) -> int:
        return int(any(_here().meet("syncthreads_or", value).values()))

    def syncwarp(self, mask: Any = 0xFFFFFFFF) -> None:
        _here().meet("syncwarp", mask=self._mask(mask))

    # warps

    @staticmethod
    def _mask(mask: Any) -> int:
        lanes, own = int(mask) & 0xFFFFFFFF, _here().lane
        if not lanes >> own & 1:
            raise UndefinedError(f"lane {own} takes part in what is for the lanes of mask {lanes:#x}")
        return lanes

    @staticmethod
    def _lane_of(values: dict[int, Any], lane: int, own: Any) -> Any:
        """Return a lane's value; of one that takes no part, something that cannot be meant."""
        if lane in values:
            return type(own)(values[lane])
        return type(own)(math.nan if isinstance(own, float | np.floating) else 0x55555555)

    @staticmethod
    def _shuffled(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float | np.int32 | np.int64 | np.float32):
            raise TypeError(f"shuffles take float32, float64, int32 and int64, not {type(value).__name__}")
        return value

    def shfl_sync(self, mask: Any, value: Any, lane: Any) -> Any:
        values = _here().meet("shfl_sync", self._shuffled(value), self._mask(mask))
        return self._lane_of(values, int(lane) % WARP, value)

    def shfl_xor_sync(self, mask: Any, value: Any, other: Any) -> Any:
        values = _here().meet("shfl_xor_sync", self._shuffled(value), self._mask(mask))
        return self._lane_of(values, (_here().lane ^ int(other)) % WARP, value)

    def shfl_up_sync(self, mask: Any, value: Any, distance: Any) -> Any:
        values = _here().meet("shfl_up_sync", self._shuffled(value), self._mask(mask))
        lane = _here().lane - int(distance)
        return self._lane_of(values, lane, value) if lane >= 0 else value

    def shfl_down_sync(self, mask: Any, value: Any, distance: Any) -> Any:
        values = _here().meet("shfl_down_sync", self._shuffled(value), self._mask(mask))
        lane = _here().lane + int(distance)
        return self._lane_of(values, lane, value) if lane < WARP else value

    def all_sync(self, mask: Any, value: Any) -> bool:
        return all(_here().meet("all_sync", bool(value), self._mask(mask)).values())

    def any_sync(self, mask: Any, value: Any) -> bool:
        return any(_here().meet("any_sync", bool(value), self._mask(mask)).values())

    def eq_sync(self, mask: Any, value: Any) -> bool:
        return len(set(_here().meet("eq_sync", bool(value), self._mask(mask)).values())) == 1

    def ballot_sync(self, mask: Any, value: Any) -> np.int32:
        values = _here().meet("ballot_sync", bool(value), self._mask(mask))
        return _signed(sum(1 << lane for lane, vote in values.items() if vote))

    def match_any_sync(self, mask: Any, value: Any) -> np.int32:
        values = _here().meet("match_any_sync", value, self._mask(mask))
        return _signed(sum(1 << lane for lane, other in values.items() if other == value))

    def match_all_sync(self, mask: Any, value: Any) -> tuple[np.int32, bool]:
        values = _here().meet("match_all_sync", value, self._mask(mask))
        agree = all(other == value for other in values.values())
        return _signed(sum(1 << lane for lane in values) if agree else 0), agree

    # bits

    def popc(self, value: Any) -> int:
        return _unsigned(value).bit_count()

    def clz(self, value: Any) -> int:
        return _bits(value) - _unsigned(value).bit_length()

    def ffs(self, value: Any) -> int:
        number = _unsigned(value)
        return (number & -number).bit_length()

    def brev(self, value: Any) -> Any:
        bits = _bits(value)
        number = int(f"{_unsigned(value):0{bits}b}"[::-1], 2)
        return type(value)(number) if isinstance(value, np.unsignedinteger) else number


def _load(self: Grid, array: Any, index: Any) -> Any:
    return array[index]


def _store(self: Grid, array: Any, index: Any, value: Any) -> None:
    array[index] = value


for _name in ("ldca", "ldcg", "ldcs", "ldlu", "ldcv"):
    setattr(Grid, _name, _load)
for _name in ("stcg", "stcs", "stwb", "stwt"):
    setattr(Grid, _name, _store)

grid = Grid()


# -- launches -----------------------------------------------------------------------------------


_launches: Counter[FunctionType] = Counter()


class Launch:
    """A kernel, and how it is to be launched: one object for each configuration, as on a GPU."""

    def __init__(self, body: FunctionType, configuration: tuple[Any, ...]) -> None:
        self.body = body
        self.grid, self.block = launching.normalize_kernel_dimensions(*configuration[:2])
        self.dynamic = configuration[3] if len(configuration) > 3 else 0
        if math.prod(self.block) > THREADS_LIMIT:
            raise UndefinedError(f"a block has at most {THREADS_LIMIT} threads, not {math.prod(self.block)}")

    def __call__(self, *args: Any) -> None:
        if isinstance(greenlet.getcurrent(), Thread):
            raise UndefinedError("a kernel launches a kernel")
        arguments = tuple(_argument(argument) for argument in args)
        order = random.Random(_launches.total())
        grid.gridDim, grid.blockDim = kernelapi.Dim3(*self.grid), kernelapi.Dim3(*self.block)
        body, indices = on_gpu(self.body), list(np.ndindex(*self.grid))
        _launches[body] += 1
        self.is_watched = _launches[body] <= WATCHED
        order.shuffle(indices)
        blocks = (Block(body, arguments, index, self, order) for index in indices)
        at_sync = [block for block in blocks if not block.run()]
        while at_sync:
            if len(at_sync) < math.prod(self.grid):
                raise UndefinedError(f"{len(at_sync)} of {math.prod(self.grid)} blocks wait for the grid")
            for block in at_sync:
                block.release()
            at_sync = [block for block in at_sync if not block.run()]


def _configured(kernel: Any, configuration: tuple[Any, ...]) -> Launch:
    return Launch(kernel.fn, configuration)


def _device_array(*args: Any, **kwargs: Any) -> Any:
    array = _made(*args, **kwargs)
    array._ary[...] = _unwritten(array.shape, array.dtype)
    return array


_made = numba.cuda.device_array


def install() -> None:
    """Replace the launch of numba-cuda's simulator, and what it gives for new memory."""
    launching.FakeCUDAKernel.__getitem__ = _configured
    numba.cuda.device_array = _device_array
