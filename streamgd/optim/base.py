"""The families of pieces: what a loss, an optimizer, a penalty, a scheduler, an initializer must offer."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from streamgd._piece import KernelPiece, Piece

Slots = tuple[float, ...]
Per = Literal["update", "sample", "epoch"]


class Scheduler(Piece):
    """A learning rate as a closed form of time, so that a stream resumes without replay.

    Schedulers never enter a kernel: learners fill a table of coming rates with `get_many`.
    """

    per: Per = "update"
    epoch_size: int | None = None

    @abstractmethod
    def get(self, t: int) -> float:
        """Return the learning rate at time ``t`` (0-based, in units of ``per``; see the class)."""

    def get_many(self, t: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the rates at times ``t (n,)``, int64; override it where NumPy has the closed form."""
        return np.array([self.get(int(k)) for k in t], dtype=np.float64)

    @property
    def constant(self) -> bool:
        """Whether the rate never changes (learners then need no table)."""
        return False


class Monitored(Scheduler):
    """Rates that depend on the progressive loss as well as on time.

    Pieces hold no state: it is the learner's, and these methods are its steps. The learner keeps what
    `start` returned, replaces it by what `observe` returns after every ``window`` samples, and fills
    its table of rates with `rates`. Without losses, `get` and `get_many` are the rates of the first state.
    """

    @property
    @abstractmethod
    def window(self) -> int:
        """Samples between two looks at the losses."""

    @abstractmethod
    def start(self) -> Any:
        """Return the first state: a tuple of plain numbers and strings, or one with river's detector."""

    @abstractmethod
    def observe(self, state: Any, losses: NDArray[np.float64], t: int) -> Any:
        """Return the state after ``losses (window,)``; ``state`` itself must stay as it was.

        The losses are those of the last samples, each before the model learned from it and before
        weighting; ``t`` is the time of the next update, in the unit of `get_many`.
        """

    @abstractmethod
    def rates(self, state: Any, t: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the rates at times ``t (n,)`` as long as the state is ``state``."""

    def restarted(self, state: Any) -> int:
        """Return the time at which the schedule last started again, 0 if it never did."""
        return 0

    def get(self, t: int) -> float:
        return float(self.get_many(np.array([t]))[0])

    def get_many(self, t: NDArray[np.int64]) -> NDArray[np.float64]:
        return self.rates(self.start(), t)


class Loss(KernelPiece):
    """A loss of the raw output ``p`` against the target ``y`` (0 or 1 in binary classification)."""

    contract: ClassVar[dict[str, tuple[str, ...]]] = {
        "value": ("self", "y", "p"),
        "gradient": ("self", "y", "p"),
        "mean": ("self", "p"),
        "update": ("self", "p", "y", "eta_h", "ppu"),
    }
    binary: ClassVar[bool] = False
    # Of the distance to the target, in the target's unit; not of a margin or a logarithm.
    residual: ClassVar[bool] = True
    logistic: ClassVar[bool] = False  # the output is the logit of a probability
    likelihood: ClassVar[bool] = False  # minus the logarithm of one, up to what does not depend on the output
    lowest: ClassVar[float] = -math.inf  # target that it makes sense for

    @abstractmethod
    def value(self, y: float, p: float) -> float:
        """Return the loss."""

    @abstractmethod
    def gradient(self, y: float, p: float) -> float:
        """Return the derivative of the loss in ``p``."""

    def mean(self, p: float) -> float:
        """Map a raw output to the scale of the target (the inverse link; identity by default)."""
        return p

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        """Return the importance-aware step along ``x``.

        The solution of ``dp/dtau = -ppu * gradient(y, p)`` over time ``eta_h``, divided by ``ppu``
        (Karampatziakis, Langford, 2011, section 4). By default the plain ``-eta_h * gradient``.
        """
        return -eta_h * self.gradient(y, p)

    def mean_func(self, y_pred: Any) -> Any:
        """Map raw outputs, a float or an array of any shape, to the scale of the target (river's name)."""
        if isinstance(y_pred, np.ndarray) and not self.overrides("mean"):
            return np.array(y_pred, dtype=np.float64)
        if isinstance(y_pred, np.ndarray):
            flat = [self.mean(p) for p in np.asarray(y_pred, dtype=np.float64).ravel().tolist()]
            return np.array(flat, dtype=np.float64).reshape(y_pred.shape)
        return self.mean(float(y_pred))

    def __call__(self, y_true: float, y_pred: float) -> float:
        """Return the loss, as river's losses do."""
        return self.value(float(y_true), float(y_pred))


class Optimizer(KernelPiece):
    """An update rule for one coordinate: pure functions of scalars that return the new values.

    For each row, kernels call ``at`` for each feature that is present, which gives the prediction;
    then, where a class replaces them, ``glance`` and ``begin``, ``ahead``, ``scan``; then ``row`` once
    and ``step`` for each feature.

    ``n_slots`` floats of state belong to each coordinate, ``n_scalars`` to the model, all 0 at first;
    ``glance`` and ``scan`` return ``n_sums`` floats that are added up over the row. With
    ``importance_aware``, the first two constants that ``row`` returns are ``eta_h`` and ``ppu``, and
    kernels replace the first by ``loss.update(p, y, eta_h, ppu)`` before they call ``step``. With
    ``intercept_feature`` the intercept is a feature of value 1 that follows the same rules; otherwise
    it follows plain SGD at the learner's ``intercept_lr``, unless that is ``"optimizer"``.

    A rule that has no learning rate has no field ``lr``; its ``row`` gets 1.
    """

    contract: ClassVar[dict[str, tuple[str, ...]]] = {
        "at": ("self", "w", "slots", "x", "scalars"),
        "glance": ("self", "w", "slots", "x"),
        "begin": ("self", "scalars", "sums", "h"),
        "ahead": ("self", "w", "slots", "x", "scalars"),
        "scan": ("self", "w", "slots", "x", "g", "h"),
        "row": ("self", "scalars", "sums", "p", "y", "g", "h", "lr", "t"),
        "step": ("self", "w", "slots", "g", "x", "c"),
    }
    kernel: ClassVar[str] = "coordinate"  # the rule in `kernels` that it is made for: see `Newton`, `Auto`
    n_slots: ClassVar[int] = 0
    n_scalars: ClassVar[int] = 0
    n_sums: ClassVar[int] = 0
    importance_aware: ClassVar[bool] = False
    intercept_feature: ClassVar[bool] = False
    intercept_in_sums: ClassVar[bool] = True  # whether an intercept that is a feature counts in ``n_sums``
    penalties: ClassVar[bool] = True  # whether the learner's penalty may join in
    per_sample: ClassVar[bool] = False  # the rule looks at ``x``, so it has no step for a mean gradient
    bias_corrected: ClassVar[bool] = False  # ``row`` counts updates, and may be given a feature's own count

    def __post_init__(self) -> None:
        super().__post_init__()
        if hasattr(self, "lr"):
            from ._accept import scheduler

            object.__setattr__(self, "lr", scheduler(self.lr, f"{type(self).__name__}(lr=...)"))

    @property
    def rule(self) -> Optimizer:
        """What kernels compile: the optimizer itself, or what a wrapper wraps."""
        return self

    @property
    def scheduler(self) -> Scheduler:
        """The learning rate as a scheduler, always 1 for a rule that has none."""
        from .schedulers import Constant

        lr = getattr(self, "lr", None)
        return lr if isinstance(lr, Scheduler) else Constant(1.0)

    def check_loss(self, loss: type[Loss]) -> None:
        """Raise ValueError when the rule cannot go with a loss."""

    def prepare(self, slots: NDArray[np.float64], n: int) -> None:
        """Fill in the first state of features ``n`` and up, where it is not 0."""

    def at(self, w: float, slots: Slots, x: float, scalars: Slots) -> float:
        """Return the weight to predict with (by default the stored one)."""
        return w

    def glance(self, w: float, slots: Slots, x: float) -> Slots:
        """Look at a coordinate of the row to learn, before anything else."""
        return ()

    def begin(self, scalars: Slots, sums: Slots, h: float) -> Slots:
        """Return the scalars that `ahead` sees, from what ``glance`` summed up."""
        return scalars

    def ahead(self, w: float, slots: Slots, x: float, scalars: Slots) -> float:
        """Return the weight at which the gradient is taken; by default where predictions are made."""
        return self.at(w, slots, x, scalars)

    def scan(self, w: float, slots: Slots, x: float, g: float, h: float) -> tuple[float, Slots, Slots]:
        """Look at a coordinate once ``g``, the loss's derivative, and the row's weight ``h`` are known."""
        return w, slots, ()

    def row(
        self, scalars: Slots, sums: Slots, p: float, y: float, g: float, h: float, lr: float, t: float
    ) -> tuple[Slots, Slots]:
        """Return the new scalars and the constants of the row, by default the learning rate."""
        return scalars, (lr,)

    @abstractmethod
    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        """Return the new weight and slots; ``g`` is ``h * gradient * x`` plus the penalty's gradient."""


class Penalty(KernelPiece):
    """A penalty on the weights: a gradient that joins the loss's, or a shrinkage after the step.

    ``totals`` are two floats of the model, ``charged`` one of each coordinate, all 0 at first. A
    penalty that also falls on absent features stores weights in a form from which ``current`` finds
    out what has become of them, so that a row costs what it has features.
    """

    contract: ClassVar[dict[str, tuple[str, ...]]] = {
        "gradient": ("self", "w"),
        "advance": ("self", "totals", "lr", "next_lr"),
        "current": ("self", "w", "charged", "totals"),
        "settle": ("self", "w", "charged", "before", "after"),
        "full": ("self", "totals"),
    }

    def gradient(self, w: float) -> float:
        """Return what is added to a present coordinate's gradient."""
        return 0.0

    def advance(self, totals: Slots, lr: float, next_lr: float) -> Slots:
        """Return the totals after this update; called once a row."""
        return totals

    def current(self, w: float, charged: float, totals: Slots) -> float:
        """Return the weight that a stored one stands for now."""
        return w

    def settle(self, w: float, charged: float, before: Slots, after: Slots) -> tuple[float, float]:
        """Return what to store of a present weight after its step, and what it is charged."""
        return w, charged

    def full(self, totals: Slots) -> bool:
        """Tell whether all weights must be brought up to date, because the totals lose precision."""
        return False


@dataclass(frozen=True)
class Initializer(Piece):
    """Initial weights: the k-th feature that a model meets gets the k-th value."""

    @abstractmethod
    def values(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return initial weights of features ``start`` to ``stop - 1``, float64 ``(stop - start,)``."""

    def __call__(self, shape: int = 1) -> Any:
        """Return ``shape`` initial weights, a scalar for 1, as river's initializers do."""
        values = self.values(0, shape)
        return float(values[0]) if shape == 1 else values
