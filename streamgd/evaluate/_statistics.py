"""Sums over rows that metrics are functions of: of all rows, of a window, or fading.

Products are added up by ``sum``, not by ``@``, which goes to threads of a library: on a busy machine they
wait for each other (measured: 2,000 ns a row for 3).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .._jit import strict
from ._predictions import Codes, Floats, Predictions

Facts: TypeAlias = tuple[NDArray[Any], ...]  # what a row brings to the sums, each (n,)

FLOOR = 1e-15  # the least probability that has a finite logarithm


class Statistic(ABC):
    """Sums over rows. Sums of several parts of a stream are merged into those of the whole."""

    reverts: ClassVar[bool] = True  # whether a row's part can be told without the rows before it

    @abstractmethod
    def facts(self, predictions: Predictions) -> Facts:
        """Return what the next rows bring."""

    @abstractmethod
    def sums(self, facts: Facts, weights: Floats | None = None) -> Floats:
        """Return the sums of rows, each counted ``weights (n,)`` times."""

    def exact_sums(self, facts: Facts) -> Floats:
        """Return the sums of rows that are all there."""
        return self.sums(facts)

    def add(self, total: Floats, facts: Facts, weights: Floats | None = None, keep: float = 1.0) -> Floats:
        """Return sums ``total``, of rows that now count ``keep`` times as much, with those of new rows.

        It may write to ``total``.
        """
        return self.merge(total, self.sums(facts, weights), keep)

    def merge(self, total: Floats, new: Floats, keep: float = 1.0) -> Floats:
        """Return the sums of rows that count ``keep`` times as much as they did, and of new ones."""
        if total.shape != new.shape:
            shape = np.maximum(total.shape, new.shape)
            total, new = (np.pad(a, [(0, more) for more in shape - a.shape]) for a in (total, new))
        return keep * total + new


class Counts(Statistic):
    """Rows by label, ``(3, 1 + k)``: told right, with that label, told to have it. Column 0: not known."""

    def facts(self, predictions: Predictions) -> Facts:
        return predictions.y + 1, predictions.guesses() + 1

    def sums(self, facts: Facts, weights: Floats | None = None) -> Floats:
        truth, guess = facts
        counts = np.zeros((3, 1 + max(truth.max(initial=0), guess.max(initial=0))))
        _count(truth, guess, np.ones(1) if weights is None else weights, counts)
        return counts


@strict
def _count(truth: Codes, guess: Codes, weights: Floats, counts: Floats) -> None:
    for i in range(len(truth)):
        w = weights[i if len(weights) > 1 else 0]
        counts[1, truth[i]] += w
        counts[2, guess[i]] += w
        if truth[i] == guess[i]:
            counts[0, truth[i]] += w


class Mean(Statistic):
    """Weight, and weighted sum of a loss of each row: ``(2,)``."""

    def __init__(self, loss: Callable[[Predictions], Floats]) -> None:
        self._loss = loss

    def facts(self, predictions: Predictions) -> Facts:
        return (self._loss(predictions),)

    def sums(self, facts: Facts, weights: Floats | None = None) -> Floats:
        (loss,) = facts
        if weights is None:
            return np.array([len(loss), loss.sum()], dtype=np.float64)
        return np.array([weights.sum(), (weights * loss).sum()])


class Moments(Statistic):
    """Weight, mean and squared deviations of the targets, and squared residuals: ``(4,)``."""

    def facts(self, predictions: Predictions) -> Facts:
        return predictions.y, np.square(predictions.y - predictions.output)

    def sums(self, facts: Facts, weights: Floats | None = None) -> Floats:
        y, squares = facts
        w = np.ones(len(y)) if weights is None else weights
        total = w.sum()
        mean = (w * y).sum() / total if total else 0.0
        return np.array([total, mean, (w * np.square(y - mean)).sum(), (w * squares).sum()])

    def merge(self, total: Floats, new: Floats, keep: float = 1.0) -> Floats:
        """Merge as Chan, Golub, LeVeque (1979) do, which loses no digits to a large mean."""
        n, m = keep * total[0], new[0]
        share = m / (n + m) if n + m else 0.0
        gap = new[1] - total[1]
        deviations = keep * total[2] + new[2] + gap * gap * n * share
        return np.array([n + m, total[1] + gap * share, deviations, keep * total[3] + new[3]])


class Ranks(Statistic):
    """Rows by score, in narrow bins from low to high: ``(4, bins)``.

    Negative rows, positive ones, and the sums of where in its bin a row lies, 0 to 1, and of its square: they
    tell whether all scores of a bin are the same. Of a window, the bins are the scores that are there.

    Parameters
    ----------
    bins
        How many there are.
    """

    def __init__(self, bins: int) -> None:
        self._bins = bins

    def facts(self, predictions: Predictions) -> Facts:
        known = predictions.y >= 0
        return predictions.y[known], predictions.scores()[known]

    def sums(self, facts: Facts, weights: Floats | None = None) -> Floats:
        return self.add(np.zeros((4, self._bins)), facts, weights)

    def add(self, total: Floats, facts: Facts, weights: Floats | None = None, keep: float = 1.0) -> Floats:
        """Add rows in place: there are more bins than rows in most chunks."""
        positive, score = facts
        # Even steps near 0, even ratios further out: of 16,384, 0.0001 wide at 0, 0.2 % of the score beyond.
        place = (np.arcsinh(16.0 * np.clip(score, -2e5, 2e5)) / 32.0 + 0.5) * self._bins
        if keep != 1.0:
            total *= keep
        _scatter(positive, place, np.ones(1) if weights is None else weights, total)
        return total

    def exact_sums(self, facts: Facts) -> Floats:
        positive, score = facts
        distinct, bins = np.unique(score, return_inverse=True)
        sums = np.zeros((4, len(distinct)))
        sums[:2] = np.bincount(positive * len(distinct) + bins, minlength=2 * len(distinct)).reshape(2, -1)
        return sums


@strict
def _scatter(positive: Codes, place: Floats, weights: Floats, sums: Floats) -> None:
    for i in range(len(place)):
        w = weights[i if len(weights) > 1 else 0]
        k = int(place[i])
        within = place[i] - k
        sums[positive[i], k] += w
        sums[2, k] += w * within
        sums[3, k] += w * within * within


class Rival(Statistic):
    """Weight, the model's errors, and those of a classifier that looks at labels only: ``(3,)``.

    Parameters
    ----------
    delay
        Rows by which labels come late. 0 and 1: a row's label is known when the next one is predicted.
    """

    reverts = False

    def __init__(self, delay: int = 0) -> None:
        self._late = np.full(max(1, delay), -1)  # labels that are to be known

    def facts(self, predictions: Predictions) -> Facts:
        y = predictions.y
        labels = np.concatenate([self._late, y])
        self._late = labels[len(y) :]
        wrong = self._guess(labels[: len(y)]) != y
        return (predictions.guesses() != y).astype(np.float64), wrong.astype(np.float64)

    @abstractmethod
    def _guess(self, labels: Codes) -> Codes:
        """Return what is guessed when each of ``labels (n,)`` has become known; -2 without any."""

    def sums(self, facts: Facts, weights: Floats | None = None) -> Floats:
        ours, its = facts
        if weights is None:
            return np.array([len(ours), ours.sum(), its.sum()], dtype=np.float64)
        return np.array([weights.sum(), (weights * ours).sum(), (weights * its).sum()])


class NoChange(Rival):
    """Guesses the label known last."""

    def _guess(self, labels: Codes) -> Codes:
        return np.where(labels < 0, -2, labels)


class Majority(Rival):
    """Guesses the label that is most frequent so far; of equals the one that has been so for longer."""

    def __init__(self, delay: int = 0) -> None:
        super().__init__(delay)
        self._counts = np.zeros(0, dtype=np.int64)
        self._best = -2

    def _guess(self, labels: Codes) -> Codes:
        more = int(labels.max(initial=-1)) + 1 - len(self._counts)
        self._counts = np.pad(self._counts, (0, max(0, more)))
        guesses = np.empty(len(labels), dtype=np.int64)
        self._best = _most_frequent(labels, self._counts, self._best, guesses)
        return guesses


@strict
def _most_frequent(labels: Codes, counts: Codes, best: int, guesses: Codes) -> int:
    for i in range(len(labels)):
        label = labels[i]
        if label >= 0:
            counts[label] += 1
            if best < 0 or counts[label] > counts[best]:
                best = label
        guesses[i] = best
    return best


# Losses of a row


def log_loss(predictions: Predictions) -> Floats:
    """Minus the logarithm of the true label's probability."""
    return -np.log(np.clip(predictions.of_true(), FLOOR, 1.0 - FLOOR))


def brier(predictions: Predictions) -> Floats:
    """Half the squared distance of the probabilities from 1 for the true label and 0 for others."""
    p = predictions.output
    if p.ndim == 1:
        return np.square(1.0 - predictions.of_true())
    distance: Floats = np.square(p).sum(axis=1) - 2.0 * predictions.of_true() + 1.0
    return 0.5 * distance


def absolute_error(predictions: Predictions) -> Floats:
    """Distance of the target."""
    return np.abs(predictions.y - predictions.output)


def squared_error(predictions: Predictions) -> Floats:
    """Squared distance of the target."""
    return np.square(predictions.y - predictions.output)


# Rows that count


class AllRows:
    """Sums of all rows."""

    def __init__(self, statistic: Statistic) -> None:
        self.statistic = statistic
        self.rows = 0
        self._total: Floats | None = None

    def add(self, facts: Facts, weights: Floats | None = None) -> None:
        """Take in rows."""
        self.rows += len(facts[0])
        if self._total is None:
            self._total = self.statistic.sums(facts, weights)
        else:
            self._total = self.statistic.add(self._total, facts, weights)

    def sums(self) -> Floats | None:
        """Return the sums, None without any rows."""
        return self._total


class FadingRows(AllRows):
    """Sums in which a row counts ``factor`` times as much with every row that follows."""

    def __init__(self, statistic: Statistic, factor: float) -> None:
        super().__init__(statistic)
        self._factor = factor
        self._powers = np.ones(1)

    def add(self, facts: Facts, weights: Floats | None = None) -> None:
        n = len(facts[0])
        if n > len(self._powers):
            self._powers = self._factor ** np.arange(n, dtype=np.float64)
        faded = self._powers[:n][::-1]
        faded = faded if weights is None else faded * weights
        self.rows += n
        if self._total is None:
            self._total = self.statistic.sums(facts, faded)
        else:
            self._total = self.statistic.add(self._total, facts, faded, self._factor**n)


class LastRows:
    """Sums of the last ``size`` rows, which are kept."""

    def __init__(self, statistic: Statistic, size: int) -> None:
        self.statistic = statistic
        self._size = size
        self.rows = 0
        self._ring: Facts | None = None

    def add(self, facts: Facts) -> None:
        """Take in rows."""
        if self._ring is None:
            self._ring = tuple(np.empty(self._size, fact.dtype) for fact in facts)
        n = len(facts[0])
        skip = max(0, n - self._size)
        places = np.arange(self.rows + skip, self.rows + n) % self._size
        for kept, fact in zip(self._ring, facts, strict=True):
            kept[places] = fact[skip:]
        self.rows += n

    def sums(self) -> Floats | None:
        """Return the sums, None without any rows."""
        if self._ring is None or not self.rows:
            return None
        return self.statistic.exact_sums(tuple(kept[: self.rows] for kept in self._ring))
