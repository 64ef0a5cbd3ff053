"""Losses of a label among several."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamgd._piece import Piece

__all__ = ["CrossEntropy"]

FLOOR = 1e-15  # the least probability that has a finite loss


def _clamped(probability: float) -> float:
    return min(max(probability, FLOOR), 1.0 - FLOOR)


@dataclass(frozen=True)
class CrossEntropy(Piece):
    r"""Minus the log-probability of the true class, :math:`c_y (\log \sum_k e^{z_k} - z_y)`.

    The derivative in the raw output of class k is :math:`c_y (p_k - [k = y])`, p the softmax of z.
    river multiplies its k-th component by :math:`c_k`, which is the gradient of no loss; without
    weights both are the same.

    Parameters
    ----------
    class_weight
        Factors :math:`c` of the loss of samples by their label; 1 for labels that are not in it.

    Examples
    --------
    >>> from streamgd import optim
    >>> loss = optim.losses.CrossEntropy()
    >>> loss("b", {"a": 0.25, "b": 0.5, "c": 0.25})
    0.6931471805599453
    >>> loss.gradient("b", {"a": 0.25, "b": 0.5, "c": 0.25})
    {'a': 0.25, 'b': -0.5, 'c': 0.25}
    """

    class_weight: Mapping[Any, float] | None = field(default=None, hash=False)

    def check(self) -> None:
        weights = self.class_weight or {}
        if not isinstance(weights, Mapping):
            raise TypeError(
                f"CrossEntropy(class_weight={weights!r}): class_weight must be a dict, labels to factors"
            )
        for label, weight in weights.items():
            if not 0.0 <= weight < math.inf:
                raise ValueError(
                    f"CrossEntropy(class_weight={{{label!r}: {weight!r}}}): factors must be finite and at "
                    "least 0"
                )
        own = {label: float(weight) for label, weight in weights.items()}
        object.__setattr__(self, "class_weight", own)  # a copy: pieces do not change

    def weight(self, label: Any) -> float:
        """Return the factor of a label."""
        return (self.class_weight or {}).get(label, 1.0)

    def value(self, y: Any, p: Mapping[Any, float]) -> float:
        """Return the loss of label ``y`` where labels have the probabilities ``p``, clamped to 1e-15."""
        return -self.weight(y) * math.log(_clamped(p.get(y, 0.0)))

    def gradient(self, y: Any, p: Mapping[Any, float]) -> dict[Any, float]:
        """Return the derivatives in the raw outputs, by label; ``y`` is among them even if not in ``p``."""
        weight = self.weight(y)
        labels = [*p, *(() if y in p else (y,))]
        return {label: weight * (_clamped(p.get(label, 0.0)) - (label == y)) for label in labels}

    def mean_func(self, y_pred: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map raw outputs ``(..., classes)`` to probabilities; 0 for a class at minus infinity."""
        z = np.asarray(y_pred, dtype=np.float64)
        highest = z.max(axis=-1, keepdims=True, initial=-np.inf)
        e = np.exp(z - np.where(np.isfinite(highest), highest, 0.0))
        total = e.sum(axis=-1, keepdims=True)
        return e / np.where(total == 0.0, 1.0, total)

    def __call__(self, y_true: Any, y_pred: Mapping[Any, float]) -> float:
        """Return the loss, as river's does."""
        return self.value(y_true, y_pred)
