"""What a compiled model is made of: parameters, the arrays of its state, the table of coming rates."""

from __future__ import annotations

import math
import numbers
import sys
import threading
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from . import _features as f
from ._errors import real
from ._targets import Labels, Numbers
from .kernels import linear
from .optim import SGD, _accept, initializers, penalties
from .optim.base import Initializer, Loss, Optimizer, Penalty, Scheduler

Floats = NDArray[np.float64]

N_RATES = 1024  # rates that are computed at once
LARGEST_RATE = 1e100


class NotBound:
    """Stands in for a kernel until it is needed, so that making a model compiles nothing."""

    @staticmethod
    def call(*_: Any) -> int:
        """Leave it to Python."""
        return f.NOT_READ


class NotBoundToPredict:
    """Stands in for the kernel that predicts."""

    @staticmethod
    def call(*_: Any) -> float:
        """Leave it to Python."""
        return math.nan


class CompiledModel:
    """Parameters and state of a linear learner. `LinearLearner` adds learning and predicting.

    The state is arrays that the learner owns: ``weights``, one row of ``slots`` for each float that
    the optimizer keeps of a coordinate, ``charged`` (L1 received), and a vector of scalars. All
    that has addresses in it (control block, kernels, scratch) is rebuilt, never copied.
    """

    # What each call reads. Slots, because attributes of a dict cost 5 ns more each.
    __slots__ = ("_control", "_kernel", "_negative", "_positive", "_predict_kernel")

    PARAMETERS: ClassVar[frozenset[str]] = frozenset(
        {"optimizer", "loss", "l2", "l1", "intercept_lr", "clip_gradient", "initializer", "on_invalid"}
    )
    _RUNTIME: ClassVar[frozenset[str]] = frozenset(
        {"_hp", "_pieces", "_rates", "_given"}
        | {"_scratch", "_scratch_slots", "_lock", "_last_columns", "_configured"}
    )
    _default_loss: ClassVar[type[Loss]]

    optimizer: Optimizer
    loss: Loss
    l2: float
    l1: float
    intercept_init: float
    intercept_lr: Scheduler
    clip_gradient: float
    initializer: Initializer
    on_invalid: Literal["raise", "skip"]
    _scratch: Floats
    _scratch_slots: NDArray[np.int64]

    def __init__(
        self,
        optimizer: Any,
        loss: Any,
        l2: float,
        l1: float,
        intercept_init: float,
        intercept_lr: Any,
        clip_gradient: float,
        initializer: Any,
        on_invalid: Literal["raise", "skip"],
        targets: Numbers | Labels,
    ) -> None:
        self._configured = False
        self.optimizer = SGD(0.01) if optimizer is None else optimizer
        self.loss = self._default_loss() if loss is None else loss
        self.l2 = l2
        self.l1 = l1
        self.intercept_init = real(intercept_init, "intercept_init")
        self.intercept_lr = intercept_lr
        self.clip_gradient = clip_gradient
        self.initializer = initializers.Zeros() if initializer is None else initializer
        self.on_invalid = on_invalid
        self.n_invalid = 0
        self._targets = targets
        self._features = f.Features()
        self._y_name: Any = None
        self._epochs: int | None = None
        self._scalars = np.zeros(linear.n_scalars(type(self.optimizer)))
        self._scalars[linear.INTERCEPT] = self.intercept_init
        self._weights = np.zeros(0)
        self._charged = np.zeros(0)
        self._slots = np.zeros((max(1, self.optimizer.n_slots), 0))
        self._start()

    # -- parameters ----------------------------------------------------------------------------

    @property
    def _mutable_attributes(self) -> set[str]:
        return set(self.PARAMETERS)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.PARAMETERS:
            object.__setattr__(self, name, value)
            return
        value = self._accept(name, value)
        if not self.__dict__.get("_configured"):
            object.__setattr__(self, name, value)
            return
        with self._exclusive():
            before = getattr(self, name)
            object.__setattr__(self, name, value)
            try:
                self._configure()
            except BaseException:
                object.__setattr__(self, name, before)
                raise

    def _accept(self, name: str, value: Any) -> Any:
        """Check and convert one parameter. A dict (river's ``mutate``) changes fields of a piece."""
        what = f"{type(self).__name__}({name}=...)"
        if isinstance(value, Mapping):
            return getattr(self, name).replace(**value)
        if name == "optimizer":
            return _accept.optimizer(value, what)
        if name == "loss":
            loss = _accept.loss(value, what)
            if loss.binary != self._default_loss.binary:
                kind = "a binary" if self._default_loss.binary else "a regression"
                raise ValueError(f"{what}: {type(loss).__name__} is not {kind} loss")
            return loss
        if name == "initializer":
            return _accept.initializer(value, what)
        if name == "intercept_lr":
            return _accept.scheduler(value, what)
        if name == "on_invalid":
            if value not in ("raise", "skip"):
                raise ValueError(f"{what}: got {value!r}; it is 'raise' or 'skip'")
            return value
        if not isinstance(value, numbers.Real) or not 0 <= float(value) < math.inf:
            raise ValueError(f"{what}: got {value!r}; it must be a finite number, at least 0")
        return float(value)

    def _penalty(self) -> Penalty:
        if (self.l1 or self.l2) and not self.optimizer.penalties:
            raise ValueError(
                f"{type(self.optimizer).__name__} takes no l1 or l2 penalty; leave them 0, or use AdaGrad"
            )
        return penalties.ElasticNet(self.l1, self.l2) if self.l1 else penalties.L2(self.l2)

    def _configure(self) -> None:
        """Bring what derives from the parameters up to date; kernels are bound when they are needed."""
        penalty = self._penalty()
        old = self.__dict__.get("_pieces")
        self._pieces: linear.Pieces = (type(self.loss), type(self.optimizer), type(penalty))
        hyper = (*self.loss.hyper(), *self.optimizer.hyper(), *penalty.hyper(), self.clip_gradient)
        if old is not None:
            n = len(self._features)
            self._weights[n:] = self.initializer.values(n, len(self._weights))  # may fail: before all else
        previous = [self.__dict__.get(name) for name in ("_hp", "_scalars", "_slots")]
        self._hp = np.array(hyper)
        self._kernel: Any = NotBound
        self._predict_kernel: Any = NotBoundToPredict
        if old is not None and old[1] is not self._pieces[1]:
            # Another optimizer starts anew, with its own count of updates, as in river.
            kept = self._scalars[: linear.OPTIMIZER].copy()
            self._scalars = np.zeros(linear.n_scalars(self._pieces[1]))
            self._scalars[: linear.OPTIMIZER] = kept
            self._scalars[linear.T] = 0.0
            self._slots = np.zeros((max(1, self.optimizer.n_slots), len(self._weights)))
        if old is not None:
            self._publish()
        self._control[f.N_RATES] = 0
        del previous  # alive until the control block had the new ones

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Hold the model while it changes, or while a kernel learns without the interpreter's lock.

        Other threads wait in learn_one, and predict from the arrays as they are.
        """
        with self._lock:
            if self._control[f.BUSY]:
                raise RuntimeError(
                    "this model is learning, and was called to learn or change from code that runs meanwhile "
                    "in the same thread (a key's __hash__ or __eq__, a scheduler, a signal handler)"
                )
            try:
                self._control[f.BUSY] = 1
                yield
            finally:
                self._control[f.BUSY] = 0

    # -- state ---------------------------------------------------------------------------------

    def _start(self) -> None:
        """Make what is never copied: control block, scratch, lock."""
        self._lock = threading.RLock()
        self._control = f.new_control()
        self._given = np.zeros(3)  # target, weight and output of a dict
        self._rates = np.zeros((1, 3))
        self._last_columns: tuple[list[Hashable], NDArray[np.int64], bool] | None = None
        self._configure()
        self._grow(16)
        self._configured = True

    def _grow(self, needed: int) -> None:
        """Make room for ``needed`` features."""
        capacity = len(self._weights)
        n = capacity
        if needed > capacity or not hasattr(self, "_scratch"):
            capacity = max(16, capacity)
            while capacity < needed:
                capacity *= 2
        # First all that can fail (memory, a user's initializer), then all changes at once: an error or an
        # interrupt half-way would leave a control block with the addresses of arrays that are freed.
        weights = np.empty(capacity)
        weights[:n] = self._weights
        weights[n:] = self.initializer.values(n, capacity)
        slots = np.zeros((len(self._slots), capacity))
        slots[:, :n] = self._slots
        charged = np.zeros(capacity)
        charged[:n] = self._charged
        new = {"_weights": weights, "_slots": slots, "_charged": charged}
        new["_scratch"], new["_scratch_slots"] = np.zeros(capacity), np.zeros(capacity, dtype=np.int64)
        # alive until the control block has the new ones: another thread may predict with them
        old = [self.__dict__.get(name) for name in new]
        old += [self._features.keys, self._features.order]
        self._features.reserve(capacity)
        self.__dict__.update(new)
        self._publish()
        del old

    def _publish(self) -> None:
        """Write all addresses into the control block at once: a kernel sees the old or the new ones."""
        control = self._control.copy()
        self._features.point(control)
        control[f.X] = self._scratch.ctypes.data
        control[f.SLOT] = self._scratch_slots.ctypes.data
        control[f.CAPACITY] = len(self._weights)
        control[f.WEIGHTS] = self._weights.ctypes.data
        control[f.SLOTS] = self._slots.ctypes.data
        control[f.CHARGED] = self._charged.ctypes.data
        control[f.SCALARS] = self._scalars.ctypes.data
        control[f.RATES] = self._rates.ctypes.data
        control[f.HYPER] = self._hp.ctypes.data
        control[f.GIVEN] = given = self._given.ctypes.data
        # A dict becomes the one row of a job: these are its arrays.
        control[f.VALUES] = control[f.X]
        control[f.STARTS] = self._control.ctypes.data + 8 * f.BEGIN
        control[f.TARGETS], control[f.SAMPLE_WEIGHTS], control[f.OUTPUTS] = given, given + 8, given + 16
        if isinstance(self._targets, Labels):
            self._negative, self._positive = self._targets.pair
            if self._positive is None:  # predictions cannot be named: Python has to look at each
                self._predict_kernel = NotBoundToPredict
            control[f.IS_BINARY] = 1
            for word, label in ((f.NEGATIVE, self._targets.negative), (f.POSITIVE, self._targets.positive)):
                control[word] = 0 if label is None else id(label)
        self._control[:] = control

    def __getstate__(self) -> dict[str, Any]:
        with self._exclusive():
            state = {k: v for k, v in self.__dict__.items() if k not in self._RUNTIME}
            n = len(self._features)
            state["_features"] = list(self._features.names)
            state["_weights"] = self._weights[:n].copy()
            state["_slots"] = self._slots[:, :n].copy()
            state["_charged"] = self._charged[:n].copy()
            state["_scalars"] = self._scalars.copy()
            state["_targets"] = self._targets.copy() if isinstance(self._targets, Labels) else Numbers()
            return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        features = f.Features(state["_features"])
        optimizer, n = type(state["optimizer"]), len(features)
        shapes = {
            "_weights": (n,),
            "_charged": (n,),
            "_slots": (max(1, optimizer.n_slots), n),
            "_scalars": (linear.n_scalars(optimizer),),
        }
        # Kernels check nothing: a state of another shape would have them write beyond it.
        for name, shape in shapes.items():
            array = state[name]
            if array.dtype != np.float64 or array.shape != shape or not np.isfinite(array).all():
                raise ValueError(
                    f"the state's {name[1:]} are {array.dtype} of shape {array.shape}; {optimizer.__name__} "
                    f"needs finite float64 of shape {shape}. Was the class edited after the model was saved?"
                )
        self.__dict__.update(state)
        self._features = features
        self._start()

    def clone(self, new_params: Any = None, include_attributes: bool = False) -> Any:
        """Return a model with the same parameters that has learned nothing (river's ``clone``).

        With ``include_attributes`` it also has what this one has learned.
        """
        clone = super().clone(new_params)  # type: ignore[misc]
        if include_attributes:
            parameters = self._get_params()  # type: ignore[attr-defined]
            kept = {k: v for k, v in self.__getstate__().items() if k not in parameters}
            if type(clone.optimizer) is not type(self.optimizer):
                kept = {k: v for k, v in kept.items() if k not in ("_slots", "_scalars")}
                kept["_slots"] = np.zeros((len(clone._slots), len(self._features)))
            clone.__setstate__({**clone.__getstate__(), **kept})
        return clone

    @property
    def _raw_memory_usage(self) -> int:
        """Bytes of the state and the names (without the compiled kernels, which models share)."""
        arrays = (self._weights, self._slots, self._charged, self._scalars, self._rates, self._control)
        more = (self._scratch, self._scratch_slots, self._features.keys, self._features.order)
        names = self._features.names
        return sum(a.nbytes for a in (*arrays, *more)) + sum(map(sys.getsizeof, names)) + 96 * len(names)

    @property
    def weights(self) -> dict[Hashable, float]:
        """The weights by feature, a new dict."""
        return dict(zip(self._features.names, self._weights.tolist(), strict=False))

    @property
    def intercept(self) -> float:
        """The intercept."""
        return float(self._scalars[linear.INTERCEPT])

    @intercept.setter
    def intercept(self, value: float) -> None:
        self._scalars[linear.INTERCEPT] = real(value, "the intercept")

    @property
    def n_updates(self) -> int:
        """Updates done (a mini-batch is one)."""
        return int(self._scalars[linear.T])

    @property
    def n_samples(self) -> int:
        """Samples learned from (those of weight 0 are not)."""
        return int(self._scalars[linear.SAMPLES])

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next update."""
        return float(self._rates_at(self.optimizer.scheduler, np.array([self.n_updates]))[0])

    # -- learning rates ------------------------------------------------------------------------

    def _rates_at(self, scheduler: Scheduler, updates: NDArray[np.int64]) -> Floats:
        """Rates when ``updates`` will have been done, one sample each from now on."""
        if scheduler.per == "update":
            time = updates
        elif scheduler.per == "sample" or scheduler.epoch_size is not None:
            time = updates + (self.n_samples - self.n_updates)
        elif self._epochs is None:
            raise ValueError(
                f"{scheduler!r} counts epochs, and a stream has none: give it epoch_size=..., the samples "
                "in an epoch, or per='sample'"
            )
        else:
            time = np.full_like(updates, self._epochs)
        return np.asarray(scheduler.get_many(time), dtype=np.float64)

    def _fill_rates(self) -> None:
        """Make sure that the table has the next update: its rate, the rate after it, the intercept's."""
        c = self._control
        position = (self.n_updates - int(c[f.RATES_START])) * int(c[f.RATE_STEP])
        if 0 <= position < c[f.N_RATES]:
            return
        schedule = self.optimizer.scheduler
        constant = schedule.constant and self.intercept_lr.constant
        # A table starts at a multiple of its length, so that its values do not depend on when it was made.
        start = 0 if constant else self.n_updates - self.n_updates % N_RATES
        n = 1 if constant else N_RATES
        position = 0 if constant else self.n_updates - start
        updates = np.arange(start, start + n + 1)
        rates = self._rates_at(schedule, updates)
        table = np.stack([rates[:-1], rates[1:], self._rates_at(self.intercept_lr, updates[:-1])], axis=1)
        # What comes after a bad rate is not used: the error waits until its time has come.
        for scheduler, column in ((schedule, 0), (self.intercept_lr, 2)):
            bad = ~(np.abs(table[position:n, column]) <= LARGEST_RATE)
            if bad[0]:
                rate = float(table[position, column])
                raise ValueError(f"{scheduler!r}: the rate at update {self.n_updates} is {rate!r}")
            n = position + int(bad.argmax()) if bad.any() else n
        self._control[f.N_RATES] = 0  # an interrupt would leave it with the address of the old table
        old, self._rates = self._rates, table
        control = self._control.copy()
        control[f.RATES] = table.ctypes.data
        control[f.N_RATES] = n
        control[f.RATE_STEP] = 0 if constant else 1
        control[f.RATES_START] = start
        self._control[:] = control
        del old  # alive until the control block had the new one

    def _clock_jumped(self) -> None:
        """Drop the table when a schedule counts samples: a mini-batch is one update of many."""
        if "sample" in (self.optimizer.scheduler.per, self.intercept_lr.per) or (
            self.optimizer.scheduler.epoch_size or self.intercept_lr.epoch_size
        ):
            self._control[f.N_RATES] = 0
