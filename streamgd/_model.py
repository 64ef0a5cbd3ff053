"""What a compiled model is made of: parameters, and the arrays of its state."""

from __future__ import annotations

import math
import numbers
import sys
import threading
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from . import _features as f
from ._errors import real
from ._piece import Piece
from ._rates import Timed
from ._targets import Classes, Labels, Numbers
from .kernels import lanes
from .kernels.pieces import AVERAGED, INTERCEPT, N_LOSSES, OPTIMIZER, PENALTY, PENALTY_2, SAMPLES, Pieces, T
from .optim import SGD, _accept, class_weights, initializers, penalties
from .optim.averager import Averager
from .optim.base import Initializer, Loss, Optimizer, Penalty
from .optim.class_weights import ClassWeight

Floats = NDArray[np.float64]


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


class CompiledModel(Timed):
    """Parameters and state of a linear learner. `LinearLearner` adds learning and predicting.

    The state is arrays that the learner owns: ``weights``, one row of ``slots`` for each float that
    the optimizer keeps of a coordinate, ``charged`` (L1 received), and a vector of scalars. All
    that has addresses in it (control block, kernels, scratch) is rebuilt, never copied.
    """

    # What each call reads. Slots, because attributes of a dict cost 5 ns more each.
    __slots__ = ("_control", "_kernel", "_negative", "_positive", "_predict_kernel")

    PARAMETERS: ClassVar[frozenset[str]] = frozenset(
        {"optimizer", "loss", "l2", "l1", "intercept_lr", "clip_gradient", "initializer", "on_invalid"}
        | {"penalty", "late", "class_weight"}
    )
    _RUNTIME: ClassVar[frozenset[str]] = frozenset(
        {"_hp", "_rule_hp", "_bound_rule", "_bound_penalty", "_rates", "_given"}
        | {"_weighing", "_factors", "_new_counts"}
        | {
            "_scratch",
            "_scratch_slots",
            "_lock",
            "_last_columns",
            "_configured",
            "_row_reached",
            "_device_gradient",
        }
    )
    _default_loss: ClassVar[type[Loss]]

    optimizer: Optimizer | Averager
    loss: Loss
    l2: float
    l1: float
    penalty: Penalty | None
    late: Literal["global", "fresh"]
    intercept_init: float
    clip_gradient: float
    initializer: Initializer
    on_invalid: Literal["raise", "skip"]
    class_weight: ClassWeight | None
    # What kernels were last bound to; the parameters are ahead of it while they change.
    _pieces: Pieces
    _bound_rule: Optimizer
    _bound_penalty: Penalty
    _hp: Floats  # the loss's numbers and those of the rule, see `pieces`
    _rule_hp: Floats  # without the loss's
    _weights: Floats
    _slots: Floats
    _charged: Floats
    _class_counts: Floats  # see `kernels.class_weights`, as for the next five
    _recent_codes: NDArray[np.int64]
    _recent: Floats
    _weighing: Floats
    _factors: Floats
    _new_counts: Floats
    _lanes: int = 2  # classes that there is room for
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
        penalty: Penalty | None,
        late: Literal["global", "fresh"],
        on_invalid: Literal["raise", "skip"],
        targets: Numbers | Labels | Classes,
        class_weight: Any = None,
    ) -> None:
        self._configured = False
        self.optimizer = SGD(0.01) if optimizer is None else optimizer
        self.loss = self._default_loss() if loss is None else loss
        self.l2 = l2
        self.l1 = l1
        self.intercept_init = real(intercept_init, "intercept_init")
        self.intercept_lr = intercept_lr
        self.clip_gradient = clip_gradient
        self.penalty = penalty
        self.late = late
        self.initializer = initializers.Zeros() if initializer is None else initializer
        self.on_invalid = on_invalid
        self.class_weight = class_weight
        self.n_invalid = 0
        self._targets = targets
        self._features = f.Features()
        self._y_name: Any = None
        self._epochs: int | None = None
        self._pieces = self._chosen_pieces()
        for name, shape in self._state_shapes(self._pieces, 0).items():
            self.__dict__[name] = np.zeros(shape)
        self._class_counts = np.zeros((2, 0))
        self._recent_codes, self._recent = np.zeros(2, dtype=np.int64), np.zeros(0)
        self._scalars[..., INTERCEPT] = self.intercept_init
        self._start()

    # -- parameters ----------------------------------------------------------------------------

    @property
    def _mutable_attributes(self) -> set[str]:
        return set(self._get_params()) - {"intercept_init", "labels"}  # type: ignore[attr-defined]

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.PARAMETERS:
            object.__setattr__(self, name, value)
            return
        if self.__dict__.get("_configured") and name not in self._get_params():  # type: ignore[attr-defined]
            # A clone and a file would not know of it.
            raise AttributeError(
                f"{type(self).__name__} has no parameter {name}, its {name} is {getattr(self, name)!r}; "
                "to choose it use LogisticRegression, LinearRegression or SoftmaxRegression"
            )
        self._change(name, value)

    def _change(self, name: str, value: Any) -> None:
        """Set a parameter and bring what derives from it up to date, or leave all as it was."""
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
        if name == "class_weight":  # where a dict has labels
            return class_weights.of(value, what)
        if isinstance(value, Mapping) and isinstance(getattr(self, name), Piece):
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
            return value if value == "optimizer" else _accept.scheduler(value, what)
        if name == "penalty":
            return value if value is None else _accept.penalty(value, what)
        if name == "late":
            if value not in ("global", "fresh"):
                raise ValueError(f"{what}: got {value!r}; it is 'global' or 'fresh'")
            return value
        if name == "on_invalid":
            if value not in ("raise", "skip"):
                raise ValueError(f"{what}: got {value!r}; it is 'raise' or 'skip'")
            return value
        if not isinstance(value, numbers.Real) or not 0 <= float(value) < math.inf:
            raise ValueError(f"{what}: got {value!r}; it must be a finite number, at least 0")
        return float(value)

    def _penalty(self) -> Penalty:
        if (self.l1 or self.l2) and self.penalty is not None:
            raise ValueError(f"penalty={self.penalty!r} beside l1={self.l1} and l2={self.l2}; give it both")
        if self.penalty is not None:
            chosen = self.penalty
        else:
            chosen = penalties.ElasticNet(self.l1, self.l2) if self.l1 else penalties.L2(self.l2)
        rule = self.optimizer.rule
        if rule.kernel == "matrix" and self.intercept_lr == "optimizer":
            raise ValueError(
                f"{type(rule).__name__} keeps a matrix over features; for an intercept in it, give the "
                "samples a constant feature and say intercept_lr=0"
            )
        if rule.kernel == "lanes" and self.initializer != initializers.Zeros():
            raise ValueError(f"{type(rule).__name__} starts from weights of 0; leave out the initializer")
        if chosen != penalties.L2(0.0) and not rule.penalties:
            advice = (
                "give it its own l1 and l2" if hasattr(rule, "l1") else "say l1=0 and l2=0, or use AdaGrad"
            )
            raise ValueError(f"{type(rule).__name__} takes no l1 or l2 penalty; {advice}")
        if isinstance(self.optimizer, Averager) and chosen.overrides("current"):
            raise ValueError(
                f"{type(chosen).__name__} shrinks absent weights, which Averager cannot follow; use l1, l2"
            )
        return chosen

    @property
    def _compiled_loss(self) -> Loss:
        """The loss that kernels are made from."""
        return self.loss

    def _chosen_pieces(self) -> Pieces:
        """Return what kernels are compiled from, by the parameters as they are."""
        rule = self.optimizer.rule
        rule.check_loss(type(self._compiled_loss))
        return Pieces(
            type(self._compiled_loss),
            type(rule),
            type(self._penalty()),
            averaged=isinstance(self.optimizer, Averager),
            intercept=rule.intercept_feature or self.intercept_lr == "optimizer",
            fresh=self.late == "fresh",
            monitored=self._window() > 0,
            class_weight=None if self.class_weight is None else type(self.class_weight),
        )

    def _state_shapes(self, pieces: Pieces, n: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the state's arrays for ``n`` features (or room for as many), all float64."""
        return {
            "_weights": (n,),
            "_slots": (n if pieces.is_matrix else max(1, pieces.n_slots), n),
            "_charged": (n,),
            "_scalars": (pieces.n_scalars,),
        }

    def _configure(self) -> None:
        """Bring what derives from the parameters up to date; kernels are bound when they are needed.

        First all that can fail (memory, a user's initializer or schedule), then all changes at once: a kernel
        of one rule on the state of another would write beyond it.
        """
        penalty, pieces = self._penalty(), self._chosen_pieces()
        averager = self.optimizer if isinstance(self.optimizer, Averager) else None
        average = (averager.start, averager.gamma) if averager else (0, 0)
        parts = (self._compiled_loss, self.optimizer.rule, penalty)
        hyper = [*(number for part in parts for number in part.hyper()), self.clip_gradient, *average]
        new: dict[str, Any] = {"_pieces": pieces, "_hp": np.array(hyper)}
        new["_rule_hp"] = new["_hp"][pieces.hyper_starts[0] :]
        new |= {"_bound_rule": self.optimizer.rule, "_bound_penalty": penalty}
        changes = self.__dict__.get("_configured", False)
        restarts = changes and self._pieces.optimizer is not pieces.optimizer
        if changes:
            new |= self._state_for(pieces, penalty, new["_hp"])
        new |= self._monitors(restarts, new.get("_scalars", self._scalars))
        new |= self._counting(changes)
        if isinstance(self._targets, Numbers):
            new["_targets"] = Numbers(self.loss.lowest)
        previous = [self.__dict__.get(name) for name in new]
        self.__dict__.update(new)
        self._kernel: Any = NotBound
        self._predict_kernel: Any = NotBoundToPredict
        if changes:
            self._publish()
        self._control[f.N_RATES] = 0
        del previous  # alive until the control block had the new ones

    def _counting(self, changes: bool) -> dict[str, NDArray[Any]]:
        """Return the class weight's numbers, and new counts if they are made in another way."""
        rule = self.class_weight
        factors = self._factors_of(self._targets)
        before = self.__dict__.get("_weighing", np.ones(2))
        weighing = np.array([1.0, 0.0] if rule is None else [rule.forgetting, rule.cap, *rule.hyper()])
        window = 0 if rule is None else rule.window
        if window == len(self._recent) and (not changes or weighing[0] == before[0]):
            return {"_weighing": weighing, "_factors": factors}
        codes, counts = np.zeros(2 + window, dtype=np.int64), np.zeros_like(self._class_counts)
        return {
            "_weighing": weighing,
            "_factors": factors,
            "_class_counts": counts,
            "_recent_codes": codes,
            "_recent": np.zeros(window),
        }

    def _state_for(self, pieces: Pieces, penalty: Penalty, hyper: Floats) -> dict[str, Floats]:
        """Return the state as other pieces need it: predictions stay, as far as a rule can take them over.

        Another optimizer starts anew, with its own count of updates (so in river), from the weights that
        the old one predicted with.
        """
        old, n = self._pieces, len(self._features)
        weights, charged, scalars = self._weights.copy(), self._charged.copy(), self._scalars.copy()
        slots = self._slots
        weights.T[..., n:] = self.initializer.values(n, len(weights))
        another = old.optimizer is not pieces.optimizer
        if another and pieces.optimizer.kernel == "lanes" and self.n_samples:
            raise ValueError(
                f"{pieces.optimizer.__name__} cannot go on from weights that another optimizer has learned; "
                "begin with model.clone({'optimizer': ...})"
            )
        lazy = self._bound_penalty.overrides("current")
        folds = old.penalty is not pieces.penalty or (lazy and (another or penalty != self._bound_penalty))
        if folds or old.optimizer.kernel != "coordinate":
            weights[:n] = self._current(weights[:n], charged[:n])
            charged[:] = 0.0
            charged[:n] = 1.0 if penalty.overrides("current") else 0.0
            scalars[..., [PENALTY, PENALTY_2]] = 0.0
        same_average = old.averaged == pieces.averaged and (hyper[-2:] == self._hp[-2:]).all()
        if another or (old.averaged and not same_average):
            words_of = scalars.reshape(-1, scalars.shape[-1])  # a row for each class, or just one
            lanes_of = (weights[:n].reshape(n, len(words_of)).T, words_of)
            by_lane = slots[:, :n].reshape(len(slots), n, len(words_of))
            for k, (lane, words) in enumerate(zip(*lanes_of, strict=True)):
                intercept = self._intercept_of(lane, by_lane[..., k], words)
                lane[:] = self._to_predict(lane, by_lane[..., k], words)
                words[INTERCEPT] = intercept
        k, kept = old.optimizer.n_slots, OPTIMIZER + old.optimizer.n_scalars + old.optimizer.n_slots
        if old.layout != pieces.layout or not same_average:
            shapes = self._state_shapes(pieces, len(weights))
            before, slots = slots, np.zeros(shapes["_slots"])
            words, scalars = scalars, np.zeros(shapes["_scalars"])
            if another:
                self.optimizer.rule.prepare(slots, 0)
                scalars[..., :OPTIMIZER] = words[..., :OPTIMIZER]
                scalars[..., T] = 0.0
            else:
                slots[:k], scalars[..., :kept] = before[:k], words[..., :kept]
                if pieces.fresh:  # features that are known count as the model does
                    slots[k : k + 2, :n] = before[k : k + 2, :n] if old.fresh else 0.0
                    slots[k, :n] = slots[k, :n] if old.fresh else scalars[..., T]
            scalars[..., AVERAGED] = 0.0
        elif folds and pieces.fresh:
            slots = slots.copy()
        if folds and pieces.fresh:
            slots[k + 1] = 0.0  # totals began anew
        return {"_weights": weights, "_charged": charged, "_scalars": scalars, "_slots": slots}

    def _fold_penalty(self, following: Penalty, copies: list[tuple[Floats, Floats]]) -> None:
        """Bring weights up to date with the penalty, and begin its totals, or those of another, anew.

        ``copies`` are weights and charges of some features that a job works on in place of the model's.
        """
        n = len(self._features)
        for weights, charged in [(self._weights[:n], self._charged[:n]), *copies]:
            weights[:] = self._current(weights, charged)
            # as `settle` leaves it at totals of 0
            charged[:] = 1.0 if following.overrides("current") else 0.0
        self._scalars[..., [PENALTY, PENALTY_2]] = 0.0

    def _current(self, weights: Floats, charged: Floats) -> Floats:
        """Return stored weights as they are now, with the penalty that they owe."""
        penalty, n = self._bound_penalty, len(weights)
        if not penalty.overrides("current") or not n:
            return weights
        now = np.empty_like(weights)
        lanes = (array.reshape(n, -1).T for array in (weights, charged, now))
        for stored, owed, lane, totals in zip(*lanes, self._penalty_totals, strict=True):
            lane[:] = [
                penalty.current(w, q, totals) for w, q in zip(stored.tolist(), owed.tolist(), strict=True)
            ]
        return now

    @property
    def _penalty_totals(self) -> list[tuple[float, float]]:
        """Totals of the penalty, of each class where there are several."""
        words = self._scalars.reshape(-1, self._scalars.shape[-1])
        return [(a, b) for a, b in words[:, [PENALTY, PENALTY_2]].tolist()]

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
        self._bound_penalty = self._penalty()
        self._last_columns: tuple[Sequence[Hashable], NDArray[np.int64], bool] | None = None
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
        shapes = self._state_shapes(self._pieces, capacity)
        new: dict[str, NDArray[Any]] = {name: np.zeros(shape) for name, shape in shapes.items()}
        for name, array in new.items():
            before = getattr(self, name)
            array[tuple(map(slice, before.shape))] = before
        new["_weights"].T[..., n:] = self.initializer.values(n, capacity)
        self.optimizer.rule.prepare(new["_slots"], n)
        new |= self._new_scratch(capacity)
        # alive until the control block has the new ones: another thread may predict with them
        old = [self.__dict__.get(name) for name in new]
        old += [self._features.keys, self._features.order]
        self._features.reserve(capacity)
        self.__dict__.update(new)
        self._publish()
        del old

    def _new_scratch(self, capacity: int) -> dict[str, NDArray[Any]]:
        """Return new arrays that kernels work on, by attribute."""
        counts = np.zeros((2, self._lanes))
        counts[:, : self._class_counts.shape[1]] = self._class_counts
        factors = np.ones(self._lanes)
        factors[: len(self._factors)] = self._factors
        return {
            "_scratch": np.zeros(capacity),
            "_scratch_slots": np.zeros(capacity, dtype=np.int64),
            "_class_counts": counts,
            "_new_counts": np.zeros(self._lanes),
            "_factors": factors,
        }

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
        control[f.LOSSES], control[f.WINDOW] = self._losses.ctypes.data, len(self._losses)
        control[f.GIVEN] = given = self._given.ctypes.data
        # A dict becomes the one row of a job: these are its arrays.
        control[f.VALUES] = control[f.X]
        control[f.STARTS] = self._control.ctypes.data + 8 * f.BEGIN
        control[f.TARGETS], control[f.SAMPLE_WEIGHTS], control[f.OUTPUTS] = given, given + 8, given + 16
        control[f.WEIGHING], control[f.FACTORS] = self._weighing.ctypes.data, self._factors.ctypes.data
        control[f.COUNTS] = self._class_counts.ctypes.data
        control[f.NEW_COUNTS] = self._new_counts.ctypes.data
        control[f.CODES] = self._recent_codes.ctypes.data
        control[f.RECENT], control[f.N_RECENT] = self._recent.ctypes.data, len(self._recent)
        self._publish_targets(control)
        self._control[:] = control

    def _factors_of(self, targets: Any) -> Floats:
        """Return what the class weight multiplies each label by: a user's code, which may fail."""
        factors = np.ones(max(self._lanes, len(targets.known)))
        if self.class_weight is not None:
            codes = [k for k, label in enumerate(targets.known) if label is not None]
            factors[codes] = self.class_weight.factors([targets.known[k] for k in codes])
        return factors

    def _publish_targets(self, control: NDArray[np.int64]) -> None:
        """Write what kernels know of labels into a control block."""
        if isinstance(self._targets, Labels):
            self._negative, self._positive = self._targets.pair
            if self._positive is None:  # predictions cannot be named: Python has to look at each
                self._predict_kernel = NotBoundToPredict
            control[f.IS_BINARY] = 1
            for word, label in ((f.NEGATIVE, self._targets.negative), (f.POSITIVE, self._targets.positive)):
                control[word] = 0 if label is None else id(label)

    def __getstate__(self) -> dict[str, Any]:
        with self._exclusive():
            state = {k: v for k, v in self.__dict__.items() if k not in self._RUNTIME}
            n = len(self._features)
            state["_features"] = list(self._features.names)
            for name, shape in self._state_shapes(self._pieces, n).items():
                state[name] = getattr(self, name)[tuple(map(slice, shape))].copy()
            if self._pieces.optimizer.kernel != "coordinate":
                state["_charged"][:] = 0.0  # scratch
            if self._pieces.optimizer.kernel == "lanes":
                lanes.clear_scratch(self._pieces, state["_scalars"])
            for name in ("_losses", "_class_counts", "_recent_codes", "_recent"):
                state[name] = getattr(self, name).copy()
            state["_targets"] = self._targets.copy()
            return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        features, pieces = f.Features(state["_features"]), state["_pieces"]
        # Kernels check nothing: a state of another shape would have them write beyond it.
        for name, shape in self._state_shapes(pieces, len(features)).items():
            array = state[name]
            if array.dtype != np.float64 or array.shape != shape or not np.isfinite(array).all():
                raise ValueError(
                    f"the state's {name[1:]} are {array.dtype} of shape {array.shape}; "
                    f"{pieces.optimizer.__name__} needs finite float64 of shape {shape}. "
                    "Was the class edited after the model was saved?"
                )
        counting = state["_class_counts"], state["_recent_codes"], state["_recent"]
        self._check_counts(*counting, len(state["_targets"].known))
        losses, words = state["_losses"], np.atleast_2d(state["_scalars"])[:, [T, SAMPLES, N_LOSSES]]
        if (
            losses.dtype != np.float64
            or losses.ndim != 1
            or words.min() < 0
            or words[:, 2].max() > len(losses)
        ):
            raise ValueError("the state's counts of updates, samples or losses are none")
        self._configured = False
        self.__dict__.update(state)
        self._features = features
        self._start()

    def _check_counts(self, counts: Floats, codes: NDArray[np.int64], recent: Floats, n_labels: int) -> None:
        """Raise ValueError unless a class weight's counts are some: kernels trust the codes in the window."""
        good = counts.ndim == 2 and len(counts) == 2 and counts.shape[1] <= self._lanes and recent.ndim == 1
        good = good and counts.dtype == recent.dtype == np.float64 and codes.dtype == np.int64
        good = good and codes.shape == (2 + len(recent),) and 0 <= codes[0] <= max(0, len(recent) - 1)
        good = good and all(np.isfinite(a).all() and (a >= 0.0).all() for a in (counts, recent, codes))
        if not (good and codes[2:].max(initial=0) < max(1, n_labels)):
            raise ValueError("the state's counts of classes are none")

    def clone(self, new_params: Any = None, include_attributes: bool = False) -> Any:
        """Return a model with the same parameters that has learned nothing (river's ``clone``).

        With ``include_attributes`` it also has what this one has learned; where ``new_params`` has other
        parameters, that is as if they had been set on a copy.
        """
        clone = super().clone(new_params)  # type: ignore[misc]
        if not include_attributes:
            return clone
        copy = super().clone()  # type: ignore[misc]
        copy.__setstate__(self.__getstate__())
        for name in (*clone._get_params(), *self.PARAMETERS):
            if name in clone.__dict__:
                object.__setattr__(copy, name, clone.__dict__[name])
        if (new_params or {}).get("labels") is not None:
            learned = [label for label in copy._targets.known if label is not None]
            if learned and tuple(learned) != clone._targets.known:
                raise ValueError(f"labels={clone._targets.known}: this model has learned {learned}")
            copy._targets = clone._targets
        copy._configure()
        return copy

    @property
    def _raw_memory_usage(self) -> int:
        """Bytes of the state and the names (without the compiled kernels, which models share)."""
        arrays = (self._weights, self._slots, self._charged, self._scalars, self._rates, self._control)
        counts = (self._class_counts, self._recent_codes, self._recent)
        more = (self._scratch, self._scratch_slots, self._features.keys, self._features.order)
        names = self._features.names
        n_bytes = sum(a.nbytes for a in (*arrays, *counts, *more))
        return n_bytes + sum(map(sys.getsizeof, names)) + 96 * len(names)

    @property
    def weights(self) -> dict[Hashable, float]:
        """The weights by feature, a new dict."""
        with self._lock:  # another thread may add features
            n = len(self._features)
            weights = self._current(self._weights[:n], self._charged[:n])
            return self._named(self._to_predict(weights, self._slots[:, :n], self._scalars))

    def _named(self, weights: list[float]) -> dict[Hashable, float]:
        """Weights by feature, a new dict."""
        return dict(zip(self._features.names, weights, strict=False))

    def _to_predict(self, weights: Floats, slots: Floats, scalars: Floats) -> list[float]:
        """Return the weights that predictions use, from current ones and the rest of their state."""
        rule = self._bound_rule
        if rule.kernel == "lanes":
            weights, _ = lanes.report(self._pieces, weights, slots, scalars)
        elif self._pieces.averaged and scalars[AVERAGED] > 0.0:
            weights = weights - slots[-1] / scalars[AVERAGED]
        elif rule.overrides("at"):
            own = tuple(scalars[OPTIMIZER:][: rule.n_scalars].tolist())
            states = zip(*slots[: rule.n_slots].tolist(), strict=True)
            return [rule.at(w, state, 0.0, own) for w, state in zip(weights.tolist(), states, strict=True)]
        return weights.tolist()  # type: ignore[no-any-return]

    @property
    def intercept(self) -> float:
        """The intercept."""
        with self._lock:
            n = len(self._features)
            return self._intercept_of(self._weights[:n], self._slots[:, :n], self._scalars)

    @intercept.setter
    def intercept(self, value: float) -> None:
        self._scalars[INTERCEPT] += real(value, "the intercept") - self.intercept

    def _intercept_of(self, weights: Floats, slots: Floats, scalars: Floats) -> float:
        """Return the intercept that predictions use."""
        intercept = float(scalars[INTERCEPT])
        rule = self._bound_rule
        if rule.kernel == "lanes":
            return lanes.report(self._pieces, weights, slots, scalars)[1]
        if self._pieces.averaged and scalars[AVERAGED] > 0.0:
            return intercept - float(scalars[-1] / scalars[AVERAGED])
        if self._pieces.intercept and rule.overrides("at"):
            own, state = np.split(scalars[OPTIMIZER:], [rule.n_scalars])
            return rule.at(intercept, tuple(state[: rule.n_slots].tolist()), 1.0, tuple(own.tolist()))
        return intercept
