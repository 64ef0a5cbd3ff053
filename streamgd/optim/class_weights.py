"""Class weights: what a sample counts for by its label, from the labels seen so far; and their counting."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from streamgd._errors import InvalidValue
from streamgd._jit import jitable
from streamgd._piece import KernelPiece

__all__ = ["Balanced", "ClassWeight", "EffectiveNumber", "Static", "Tally", "TargetDistribution", "of"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FORGOTTEN = 1e-200  # a class whose count has faded below it is as one never seen


@dataclass(frozen=True)
class ClassWeight(KernelPiece):
    r"""A weight of samples by their class, from running counts of the classes.

    A sample of class y and weight w is counted first, in :math:`n_y`, and then weighs

    .. math:: h = w \min(\mathtt{cap}, f_y \, \mathtt{weight}(y, n)),

    with the factor :math:`f_y` of its label. Counts are of samples' weights, from the first one learned
    on, unless they fade or have a window.

    Parameters
    ----------
    half_life
        Samples after which a sample counts half: all counts are multiplied by ``2 ** (-1 / half_life)``
        at each one. 0 to forget nothing. Between two samples of a class that is every m-th, its count
        falls by ``2 ** (-m / half_life)``: weights are steady when ``half_life`` is well above m.
    window
        Count the last so many samples only. 0 to count all.
    cap
        The largest weight. 0 for none.
    """

    contract: ClassVar[dict[str, tuple[str, ...]]] = {"weight": ("self", "y", "counts")}

    half_life: float = field(default=0.0, kw_only=True)
    window: int = field(default=0, kw_only=True)
    cap: float = field(default=0.0, kw_only=True)

    def check(self) -> None:
        self.require(self.half_life >= 0, "half_life", "at least 0")
        self.require(self.window >= 0, "window", "at least 0")
        self.require(self.cap >= 0, "cap", "at least 0")
        self.require(not (self.window and self.half_life), "window", "0 with a half_life: counts fade or end")

    @property
    def forgetting(self) -> float:
        """Factor of all counts at each sample, 1 to forget nothing."""
        return 2.0 ** (-1.0 / self.half_life) if self.half_life else 1.0

    def factors(self, labels: Iterable[Any]) -> list[float]:
        """Return what `weight` is multiplied by, for each label; called as labels become known."""
        return [1.0 for _ in labels]

    def effective(self, y: int, counts: Floats, factor: float) -> float:
        """Return what a sample's own weight is multiplied by, with its label's factor and the cap."""
        weight = float(self.weight(y, counts)) * factor
        if not 0.0 <= weight < math.inf:
            raise InvalidValue(
                f"{self!r} gives class {y} of the counts {counts.tolist()} the weight {weight!r}; weights "
                "must be finite and at least 0"
            )
        return min(weight, self.cap) if self.cap else weight

    def by_label(self, counts: Mapping[Any, float]) -> dict[Any, float]:
        """Return what a sample of each label would weigh, from counts by label that have it in them."""
        array, factors = np.array(list(counts.values()), dtype=np.float64), self.factors(counts)
        return {label: self.effective(y, array, factors[y]) for y, label in enumerate(counts)}

    @abstractmethod
    def weight(self, y: int, counts: Floats) -> float:
        """Return the weight of a sample of class ``y``.

        ``counts (classes,)`` are the classes' counts, this sample's in them; 0 for a class that has left
        the window or was forgotten. It is compiled: loops over ``range(len(counts))`` are fine, calls of
        NumPy are not.
        """


@dataclass(frozen=True)
class Balanced(ClassWeight):
    r"""Weights that give all classes the same sum, :math:`(n + K a) / (K (n_y + a))`.

    n is the sum of the counts of the K classes seen. At the end of a stream, without smoothing, the
    weights are scikit-learn's for ``class_weight="balanced"``. The first sample of a class weighs
    :math:`n / K`, which smoothing lowers.

    Parameters
    ----------
    smoothing
        Samples a that each class is taken to have had before the first one.
    half_life, window, cap
        As in `ClassWeight`.

    References
    ----------
    King, G. and Zeng, L. (2001). Logistic regression in rare events data. Political Analysis 9.

    Examples
    --------
    >>> from streamgd.optim import class_weights
    >>> class_weights.Balanced().weight(1, [90.0, 10.0])
    5.0
    """

    smoothing: float = 0.0

    def check(self) -> None:
        super().check()
        self.require(self.smoothing >= 0, "smoothing", "at least 0")

    def weight(self, y: int, counts: Floats) -> float:
        total, classes = 0.0, 0.0
        for k in range(len(counts)):
            if counts[k] > 0.0:
                total += counts[k]
                classes += 1.0
        own: float = counts[y]
        if own <= 0.0:
            return 0.0
        return (total + classes * self.smoothing) / (classes * (own + self.smoothing))


@dataclass(frozen=True)
class EffectiveNumber(ClassWeight):
    r"""Inverse effective number of samples, with :math:`E_y = (1 - \beta^{n_y}) / (1 - \beta)`.

    :math:`1 / E_y` is scaled by :math:`n / \sum_k (n_k / E_k)`, which makes the mean weight of the samples
    1. The paper makes that of the classes 1: the same ratios, but the samples' mean falls as a class
    gets rare.

    Parameters
    ----------
    beta
        From 0, where all weights are 1, to 1 (excluded), near which they are inverse to the counts.
    half_life, window, cap
        As in `ClassWeight`.

    References
    ----------
    Cui, Y., Jia, M., Lin, T.-Y., Song, Y. and Belongie, S. (2019). Class-balanced loss based on effective
    number of samples. CVPR, equations 2 and 3.
    """

    beta: float = 0.999

    def check(self) -> None:
        super().check()
        self.require(0 <= self.beta < 1, "beta", "at least 0 and below 1")

    def weight(self, y: int, counts: Floats) -> float:
        if counts[y] <= 0.0:
            return 0.0
        if self.beta <= 0.0:
            return 1.0
        rate = math.log(self.beta)
        total, weighted = 0.0, 0.0
        for k in range(len(counts)):
            if counts[k] > 0.0:
                total += counts[k]
                weighted += counts[k] / -math.expm1(rate * counts[k])  # 1 - beta cancels out
        return total / (weighted * -math.expm1(rate * counts[y]))


@dataclass(frozen=True)
class TargetDistribution(ClassWeight):
    r"""Weights that give each class its share of their sum, :math:`s_y n / n_y`.

    What river's samplers of the same ``desired_dist`` do on average by leaving out or repeating samples.
    Equal shares are `Balanced`, except that before all classes have been seen the absent ones' shares
    are missing.

    Parameters
    ----------
    desired_dist
        Shares s by label, scaled to the sum 1. Every label must be in it: a learner refuses others.
    half_life, window, cap
        As in `ClassWeight`.
    """

    desired_dist: Mapping[Any, float] = field(hash=False)

    def check(self) -> None:
        super().check()
        shares = _numbers(self, "desired_dist", "shares")
        total = math.fsum(shares.values())
        self.require(total > 0, "desired_dist", "a dict of shares with a positive sum")
        shares = {label: share / total for label, share in shares.items()}
        object.__setattr__(self, "desired_dist", shares)

    def factors(self, labels: Iterable[Any]) -> list[float]:
        return [self._share(label) for label in labels]

    def _share(self, label: Any) -> float:
        if label not in self.desired_dist:
            known = ", ".join(map(repr, self.desired_dist))
            raise InvalidValue(
                f"the label is {label!r}, which has no share in desired_dist (it has {known}); give it one, "
                "0 to ignore it"
            )
        return self.desired_dist[label]

    def weight(self, y: int, counts: Floats) -> float:
        total, own = 0.0, counts[y]
        for k in range(len(counts)):
            total += counts[k]
        return total / own if own > 0.0 else 0.0


@dataclass(frozen=True)
class Static(ClassWeight):
    """Given weights, whatever the stream has.

    Parameters
    ----------
    weights
        Weights by label; 1 for labels that are not in it.
    cap
        As in `ClassWeight`.
    """

    weights: Mapping[Any, float] = field(hash=False)

    def check(self) -> None:
        super().check()
        self.require(not self.half_life, "half_life", "0: given weights count nothing")
        self.require(not self.window, "window", "0: given weights count nothing")
        object.__setattr__(self, "weights", _numbers(self, "weights", "weights"))

    def factors(self, labels: Iterable[Any]) -> list[float]:
        return [self.weights.get(label, 1.0) for label in labels]

    def weight(self, y: int, counts: Floats) -> float:
        return 1.0


def _numbers(piece: ClassWeight, name: str, what: str) -> dict[Any, float]:
    """Return a copy of a piece's dict by label, as floats."""
    given = getattr(piece, name)
    head = f"{type(piece).__name__}({name}="
    if not isinstance(given, Mapping):
        raise TypeError(f"{head}{given!r}): {name} must be a dict, labels to {what}")
    numbers = {}
    for label, value in given.items():
        try:
            numbers[label] = float(value)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{head}{{{label!r}: {value!r}}}): {what} must be numbers") from error
        if not 0.0 <= numbers[label] < math.inf:
            raise ValueError(f"{head}{{{label!r}: {value!r}}}): {what} must be finite and at least 0")
    return numbers


NAMES: dict[str, type[ClassWeight]] = {"balanced": Balanced, "effective_number": EffectiveNumber}


def of(value: Any, what: str) -> ClassWeight | None:
    """Return a class weight from None, a name, a dict of weights by label, or a class weight."""
    if value is None:
        return None
    if isinstance(value, str) and value in NAMES:
        return NAMES[value]()
    if isinstance(value, Mapping):
        return Static(value)
    if isinstance(value, ClassWeight):
        return value
    hint = "; pass an instance, not the class" if isinstance(value, type) else ""
    names = ", ".join(map(repr, NAMES))
    rule = f"None, {names}, a dict of weights by label or an optim.class_weights.ClassWeight"
    error = ValueError if isinstance(value, str) else TypeError
    raise error(f"{what}: {value!r} is not {rule}{hint}")


# -- counting: the sample's count is in before it is weighed, and stays only if it is learned ---------------


@jitable
def fade(counts: Floats, forgetting: float) -> None:
    """Let all classes' counts fade, before a sample is counted."""
    for k in range(len(counts)):
        left = counts[k] * forgetting
        counts[k] = left if left >= FORGOTTEN else 0.0


# A window is a ring of `codes` and `kept`, and `place`: the slot to write next, and whether the ring has
# been full. Slots behind that one are of this round: `kept` has their samples' weights, and `recent` the
# sum of these by class. Those ahead are of the round before: `kept` has how much of the sample's class is
# left among them once it leaves. So nothing is subtracted: no rounding builds up, and a class without
# samples counts 0.


@jitable
def leave(counts: Floats, codes: Ints, kept: Floats, place: Ints, recent: Floats) -> None:
    """Take the oldest sample of a full window out of the counts, before one is counted."""
    if place[1] > 0:
        k = codes[place[0]]
        counts[k] = kept[place[0]] + recent[k]


@jitable
def store(counts: Floats, codes: Ints, kept: Floats, place: Ints, recent: Floats, y: int, w: float) -> None:
    """Write a sample that has been counted and learned into the window."""
    at = place[0]
    codes[at] = y
    kept[at] = w
    recent[y] += w
    place[0] = at + 1
    if place[0] < len(codes):
        return
    for k in range(len(recent)):
        recent[k] = 0.0
    for i in range(len(codes) - 1, -1, -1):
        k = codes[i]
        own = kept[i]
        kept[i] = recent[k]
        recent[k] += own
    for k in range(len(recent)):
        counts[k] = recent[k]
        recent[k] = 0.0
    place[0] = 0
    place[1] = 1


class Tally:
    """Counts of classes in Python, for learners that are not compiled.

    Parameters
    ----------
    piece
        Says what is counted, and what a sample weighs by it.
    """

    def __init__(self, piece: ClassWeight) -> None:
        self.piece = piece
        self._labels: dict[Any, int] = {}
        self._factors: list[float] = []
        self._counts = np.zeros(0)
        self._recent = np.zeros(0)
        self._codes = np.zeros(piece.window, dtype=np.int64)
        self._kept = np.zeros(piece.window)
        self._place = np.zeros(2, dtype=np.int64)

    @property
    def counts(self) -> dict[Any, float]:
        """Counts by label."""
        return dict(zip(self._labels, self._counts.tolist(), strict=True))

    def copy(self) -> Tally:
        """Return a tally that counts on by itself."""
        return copy.deepcopy(self)

    def weigh(self, label: Any, w: float) -> float:
        """Return what a sample of weight ``w`` would weigh by its label, and count nothing."""
        known = label in self._labels
        y = self._labels[label] if known else len(self._labels)
        factor = self._factors[y] if known else self.piece.factors([label])[0]
        counts = self._counts.copy() if known else np.append(self._counts, 0.0)
        self._count(counts, y, w)
        return w * self.piece.effective(y, counts, factor)

    def add(self, label: Any, w: float) -> None:
        """Count a sample."""
        if label not in self._labels:
            self._factors += self.piece.factors([label])
            self._labels[label] = len(self._labels)
            self._counts, self._recent = np.append(self._counts, 0.0), np.append(self._recent, 0.0)
        y = self._labels[label]
        self._count(self._counts, y, w)
        if self.piece.window:
            store(self._counts, self._codes, self._kept, self._place, self._recent, y, w)

    def _count(self, counts: Floats, y: int, w: float) -> None:
        if self.piece.window:
            leave(counts, self._codes, self._kept, self._place, self._recent)
        else:
            fade(counts, self.piece.forgetting)
        counts[y] += w
