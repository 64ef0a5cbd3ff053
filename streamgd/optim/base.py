"""The families of pieces: what a loss, an optimizer, a penalty, a scheduler, an initializer must offer."""

from __future__ import annotations

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


class Loss(KernelPiece):
    """A loss of the raw output ``p`` against the target ``y`` (0 or 1 in binary classification)."""

    contract: ClassVar[dict[str, tuple[str, ...]]] = {
        "value": ("self", "y", "p"),
        "gradient": ("self", "y", "p"),
        "mean": ("self", "p"),
        "update": ("self", "p", "y", "eta_h", "ppu"),
    }
    binary: ClassVar[bool] = False

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
        if isinstance(y_pred, np.ndarray):
            flat = [self.mean(p) for p in np.asarray(y_pred, dtype=np.float64).ravel().tolist()]
            return np.array(flat, dtype=np.float64).reshape(y_pred.shape)
        return self.mean(float(y_pred))

    def __call__(self, y_true: float, y_pred: float) -> float:
        """Return the loss, as river's losses do."""
        return self.value(float(y_true), float(y_pred))


class Optimizer(KernelPiece):
    """An update rule for one coordinate: pure functions of scalars that return the new values.

    For each row, kernels call ``at`` and ``scan`` (where a class replaces them) for each feature
    that is present, then ``row`` once, then ``step`` for each feature.

    ``n_slots`` floats of state belong to each coordinate, ``n_scalars`` to the model; ``scan``
    returns ``n_sums`` floats that are added up over the row. With ``importance_aware``, the first
    two constants that ``row`` returns are ``eta_h`` and ``ppu``, and kernels replace the first
    by ``loss.update(p, y, eta_h, ppu)`` before they call ``step``. With ``intercept_feature`` the
    intercept is a feature of value 1 that follows the same rules, otherwise it follows plain SGD
    at the learner's ``intercept_lr``.
    """

    contract: ClassVar[dict[str, tuple[str, ...]]] = {
        "at": ("self", "w", "slots", "x"),
        "scan": ("self", "w", "slots", "x", "g", "h"),
        "row": ("self", "scalars", "sums", "p", "y", "g", "h", "lr", "t"),
        "step": ("self", "w", "slots", "g", "x", "c"),
    }
    n_slots: ClassVar[int] = 0
    n_scalars: ClassVar[int] = 0
    n_sums: ClassVar[int] = 0
    importance_aware: ClassVar[bool] = False
    intercept_feature: ClassVar[bool] = False
    penalties: ClassVar[bool] = True  # whether an L1 or L2 penalty may join in

    lr: float | Scheduler

    def __post_init__(self) -> None:
        super().__post_init__()
        from ._accept import scheduler

        object.__setattr__(self, "lr", scheduler(self.lr, f"{type(self).__name__}(lr=...)"))

    @property
    def scheduler(self) -> Scheduler:
        """The learning rate as a scheduler."""
        assert isinstance(self.lr, Scheduler)
        return self.lr

    def at(self, w: float, slots: Slots, x: float) -> float:
        """Return the weight to predict with (by default the stored one)."""
        return w

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
    """A penalty on the weights: a gradient that joins the loss's, and a shrinkage after the step."""

    contract: ClassVar[dict[str, tuple[str, ...]]] = {
        "gradient": ("self", "w"),
        "accrue": ("self", "total", "lr"),
        "shrink": ("self", "w", "charged", "total"),
    }

    @abstractmethod
    def gradient(self, w: float) -> float:
        """Return what is added to a present coordinate's gradient."""

    def accrue(self, total: float, lr: float) -> float:
        """Return the penalty that every weight could have received so far; called once a row."""
        return total

    def shrink(self, w: float, charged: float, total: float) -> tuple[float, float]:
        """Return a present weight after shrinkage, and the penalty it has received so far."""
        return w, charged


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
