"""Random under-sampling, over-sampling and both: river's three samplers, also for many rows at once."""

from __future__ import annotations

import math
import numbers
import random
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from river import base

from .. import _rows
from .._errors import InvalidRow, InvalidValue
from .._jit import jitable, strict
from .._learner import LinearLearner
from ._wrapper import ClassifierWrapper, n_rows, taken, where_classifier_has

__all__ = ["RandomOverSampler", "RandomSampler", "RandomUnderSampler"]

UNDER, OVER, MIXED = range(3)
PIVOT, SEEN, DRAWN = range(3)  # words of a state: the pivot's code (-1: none), samples, draws used up
_BLOCK: Final = 256  # draws made at once, at least
_MOST: Final = 1 << 16  # and at most


@jitable
def _poisson(rate: Any, draws: Any, at: Any) -> Any:
    """Return a number of Poisson's distribution as river does, -1 if draws are lacking; and the next draw."""
    least = math.exp(-rate)
    k, p = 0, 1.0
    while p > least:
        if at >= len(draws):
            return -1, at
        k += 1
        p *= draws[at]
        at += 1
    return k - 1, at


def _decide(
    kind: Any, codes: Any, start: Any, rate: Any, shares: Any, counts: Any, words: Any,
    draws: Any, first: Any, copies: Any,
) -> Any:  # fmt: skip
    """Say how often each row from ``start`` on is learned.

    Compiled for many rows, where all that has a length is an array; for one, plain Python is as fast as the
    call would be, and has lists.

    Parameters
    ----------
    kind
        UNDER, OVER or MIXED.
    codes
        Classes ``(n,)``, numbered as they appeared.
    rate
        Of MIXED: wanted samples per sample.
    shares, counts
        Of each class: what is desired, if anything is, and samples so far.
    words
        The rest of the state.
    draws, first
        Uniform numbers, and the number of the first of them.
    copies
        Filled ``(n,)``.

    Returns
    -------
    The row that more draws are needed for, n if there is none; the state is as before that row.
    """
    n, known = len(codes), len(counts)
    for i in range(start, n):
        y = codes[i]
        at = words[DRAWN] - first
        pivot = words[PIVOT]
        counts[y] += 1.0
        k = 1
        if len(shares) == 0:
            k, at = _poisson(rate, draws, at)
        elif kind == MIXED:
            k, at = _poisson(rate * shares[y] / (counts[y] / (words[SEEN] + 1)), draws, at)
        elif y != pivot:
            best = -1.0
            for c in range(known):
                if counts[c] > 0.0:
                    size = shares[c] / counts[c] if kind == UNDER else counts[c] / shares[c]
                    if size > best:
                        best, pivot = size, c
            if kind == OVER:
                k, at = _poisson(best * shares[y] / counts[y], draws, at)
            else:
                ratio = shares[y] / (best * counts[y])
                k = 0
                if ratio < 1.0 and at >= len(draws):
                    k = -1
                elif ratio < 1.0:
                    k = 1 if draws[at] < ratio else 0
                    at += 1
        if k < 0:
            counts[y] -= 1.0
            return i
        copies[i] = k
        words[PIVOT] = pivot
        words[SEEN] += 1
        words[DRAWN] = at + first
    return n


_decide_rows = strict(_decide)


class _Draws:
    """The numbers that ``random.Random(seed).random()`` gives, many at once."""

    def __init__(self, seed: Any) -> None:
        *key, position = random.Random(seed).getstate()[1]
        twister = np.random.MT19937()
        state: Any = {"key": np.array(key, dtype=np.uint32), "pos": position}
        twister.state = {"bit_generator": "MT19937", "state": state}
        self._generator = np.random.Generator(twister)
        self.values = np.empty(0)
        self.first = 0  # the number of the first of them
        self.listed: list[float] = []  # some of them, for one sample after the other
        self.listed_from = 0

    def extend(self, used: int, more: int) -> None:
        """Make some more; the first ``used`` of all will not be asked for again."""
        self.forget(used)
        more = min(max(more, _BLOCK), _MOST)
        self.values = np.concatenate([self.values, self._generator.random(more)])

    def forget(self, used: int) -> None:
        """Drop the first ``used`` of all."""
        if used > self.first:
            self.values, self.first = self.values[used - self.first :].copy(), used

    def list_more(self, used: int) -> None:
        """List those after the first ``used``, twice as many if that is what there is."""
        n = 2 * len(self.listed) if used == self.listed_from and self.listed else _BLOCK
        while used + n > self.first + len(self.values):
            self.extend(used, n)
        start = used - self.first
        self.listed, self.listed_from = self.values[start : start + n].tolist(), used


class _Decisions:
    """The state of a sampler: what it has seen, and so how often it learns what comes."""

    def __init__(self, draws: _Draws) -> None:
        self.codes: dict[Any, int] = {}
        self.counts: list[float] = []
        self.shares: list[float] = []  # desired, by code; empty: none are
        self.words = [-1, 0, 0]
        self._draws = draws

    def draft(self) -> _Decisions:
        """Return a copy that may go on, and become the state once the samples are learned."""
        draft = _Decisions(self._draws)
        draft.codes, draft.shares = self.codes, self.shares
        draft.counts, draft.words = self.counts[:], self.words[:]
        return draft

    def codes_of(self, labels: Sequence[Any], desired: Mapping[Any, float] | None) -> NDArray[np.int64]:
        """Return the numbers of labels ``(n,)``, making new ones known, or raise with the row."""
        codes = list(map(self.codes.get, labels))
        row = 0
        while None in codes:
            row = codes.index(None, row)
            y = labels[row]
            if desired is not None:
                if y not in desired:
                    raise InvalidValue(
                        f"the label is {y!r}, which is not in desired_dist ({[*desired]}); "
                        "give it a share there, or leave such samples out"
                    ).at(row)
                self.shares = [*self.shares, float(desired[y])]
            self.codes = {**self.codes, y: len(self.codes)}
            self.counts.append(0.0)
            codes[row:] = map(self.codes.get, labels[row:])
        return np.array(codes, dtype=np.int64)

    def copies(self, kind: int, rate: float, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Decide how often each sample is learned, ``(n,)``, and count it."""
        used, draws = self.words[DRAWN], self._draws
        shares, counts, words = np.array(self.shares), np.array(self.counts), np.array(self.words)
        copies = np.empty(len(codes), dtype=np.int64)
        row, n = 0, len(codes)
        while row < n:
            state = shares, counts, words, draws.values, draws.first
            row = _decide_rows(kind, codes, row, rate, *state, copies)
            if row < n:
                draws.extend(used, n - row)
        self.counts, self.words = counts.tolist(), words.tolist()
        return copies

    def copies_of_one(self, kind: int, rate: float, code: int) -> int:
        """Decide how often a sample is learned, and count it."""
        used, draws, copies = self.words[DRAWN], self._draws, [0]
        state = self.shares, self.counts, self.words
        while not _decide(kind, (code,), 0, rate, *state, draws.listed, draws.listed_from, copies):
            draws.list_more(used)
        return copies[0]

    def forget(self) -> None:
        """Drop the draws that are used up."""
        self._draws.forget(self.words[DRAWN])


class ClassificationSampler(ClassifierWrapper):
    """A classifier that learns a sample not at all, once or several times, by chance."""

    _kind: ClassVar[int]
    _rate = 1.0

    def __init__(
        self, classifier: base.Classifier, desired_dist: Mapping[Any, float] | None, seed: int | None = None
    ) -> None:
        self.classifier = classifier
        self.desired_dist = desired_dist
        self.seed = seed
        if desired_dist is not None or self._kind != MIXED:
            _check(desired_dist, type(self).__name__)
        self._decisions = _Decisions(_Draws(seed))

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        for params in super()._unit_test_params():
            yield params | {"desired_dist": {False: 0.4, True: 0.6}}

    def learn_one(self, x: dict[Any, Any], y: Any, **kwargs: Any) -> None:
        """Learn a sample as often as chance will have it.

        Parameters
        ----------
        x
            Features.
        y
            Label.
        **kwargs
            Passed on to the classifier, ``w`` for instance.

        Raises
        ------
        ValueError
            When the label is not in ``desired_dist``; nothing is counted then, nor when the classifier
            refuses the sample.
        """
        state = self._decisions
        code = state.codes.get(y)
        if code is None:
            try:
                (code,) = state.codes_of((y,), self.desired_dist)
            except InvalidRow as error:
                raise _alone(error) from None
        words = state.words[:]
        copies = state.copies_of_one(self._kind, self._rate, code)
        try:
            for _ in range(copies):
                self.classifier.learn_one(x, y, **kwargs)
        except BaseException:
            state.words = words
            state.counts[code] -= 1.0
            raise

    @where_classifier_has("learn_many")
    def learn_many(self, X: Any, y: Any, **kwargs: Any) -> None:
        """Learn a mini-batch of those rows that chance chooses, each as often as it chooses it.

        Parameters
        ----------
        X, y
            Rows and labels as the classifier takes them.
        **kwargs
            Passed on to the classifier; ``w`` may be one number, or a weight for each row.

        Raises
        ------
        ValueError
            When a label is not in ``desired_dist``, with its row in the attribute ``row``; nothing is
            learned or counted then.
        """
        n = n_rows(X)
        draft = self._decisions.draft()
        codes = draft.codes_of(_rows.vector(y, n, "y").tolist(), self.desired_dist)
        order = np.repeat(np.arange(n), draft.copies(self._kind, self._rate, codes))
        if np.ndim(kwargs.get("w", 1)):
            _rows.vector(kwargs["w"], n, "w")
            kwargs = kwargs | {"w": taken(kwargs["w"], order)}
        if len(order):
            self.classifier.learn_many(taken(X, order), taken(y, order), **kwargs)
        self._commit(draft)

    @where_classifier_has("predict_learn_rows")
    def learn_rows(self, X: Any, y: Any, w: Any = None, *, columns: Sequence[Hashable] | None = None) -> None:
        """Learn from each row in turn, as `learn_one`; see `predict_learn_rows`."""
        self.predict_learn_rows(X, y, w, columns=columns)

    @where_classifier_has("predict_learn_rows")
    def predict_learn_rows(
        self, X: Any, y: Any, w: Any = None, *, columns: Sequence[Hashable] | None = None
    ) -> NDArray[np.float64]:
        """Learn from each row in turn, as `learn_one`, and return the outputs made before each update.

        Parameters
        ----------
        X, y, w, columns
            As the classifier's `predict_learn_rows` takes them.

        Returns
        -------
        The classifier's raw outputs of all rows, also of those that are not learned.

        Raises
        ------
        ValueError, TypeError
            At a bad row (also where chance would have left it out), or at a label that is not in
            ``desired_dist``, with the row in the attribute ``row``. Rows before it are learned.
        """
        n = n_rows(X)
        labels = _rows.vector(y, n, "y")
        weights = np.broadcast_to(LinearLearner._weights_of(w, n), (n,))
        draft = self._decisions.draft()
        try:
            codes = draft.codes_of(labels.tolist(), self.desired_dist)
        except InvalidRow as error:
            good = np.arange(error.row or 0)
            error.outputs = self.predict_learn_rows(
                taken(X, good), labels[good], weights[good], columns=columns
            )
            raise
        copies = draft.copies(self._kind, self._rate, codes)
        # Those that are not learned stand there with a weight of 0, for their outputs; bad ones stay bad.
        times = np.maximum(copies, 1)
        order, first = np.repeat(np.arange(n), times), np.cumsum(times) - times
        again = len(order) > n
        chosen = np.where((copies > 0) | ~((weights >= 0.0) & (weights < math.inf)), weights, 0.0)
        given = (taken(X, order), labels[order], chosen[order]) if again else (X, labels, chosen)
        self.classifier._row_reached = self._row_reached = 0
        try:
            z: NDArray[np.float64] = self.classifier.predict_learn_rows(*given, columns=columns)
        except BaseException as error:
            reached = self.classifier._row_reached
            # a row of which the first copies are learned is behind us
            self._row_reached = row = int(order[reached - 1]) + 1 if reached else 0
            done = self._decisions.draft()
            done.copies(self._kind, self._rate, done.codes_of(labels[:row].tolist(), self.desired_dist))
            self._commit(done)
            if not isinstance(error, InvalidRow) or error.row is None:
                raise
            refusal = _alone(error).at(row)
            if error.outputs is not None:
                refusal.outputs = error.outputs[first[:row]]
            raise refusal from error
        self._row_reached = n
        self._commit(draft)
        return z[first] if again else z

    def _commit(self, draft: _Decisions) -> None:
        """Take over the decisions on rows that have been learned."""
        self._decisions = draft
        draft.forget()


class RandomUnderSampler(ClassificationSampler):
    r"""Learn only some samples of the classes that there are too many of.

    Parameters, decisions (for the same seed) and so predictions are river's; learning many rows at once, and
    the checks, are ours. A sample is kept with the probability :math:`(f_y / n_y) / \max_c (f_c / n_c)` of
    desired shares f and counts n so far. As in river, a sample at which its own class becomes the one with
    the largest ratio is left out, although that probability is 1; the very first sample is among them.

    Parameters
    ----------
    classifier
        The classifier that learns what is kept.
    desired_dist
        Labels to the shares that they shall have, positive numbers whose sum is 1. A label that is not in it
        is refused (river counts it, and then raises a KeyError).
    seed
        Of ``random.Random``; None for another at each run.

    Examples
    --------
    >>> from river import datasets, evaluate, metrics, preprocessing
    >>> from streamgd import imblearn, linear_model
    >>> model = preprocessing.StandardScaler() | imblearn.RandomUnderSampler(
    ...     linear_model.LogisticRegression(), desired_dist={False: 0.4, True: 0.6}, seed=42
    ... )
    >>> evaluate.progressive_val_score(datasets.Phishing(), model, metrics.BalancedAccuracy())
    BalancedAccuracy: 88.72%
    """

    _kind = UNDER


class RandomOverSampler(ClassificationSampler):
    r"""Learn samples of the classes that there are too few of several times.

    Parameters, decisions (for the same seed) and so predictions are river's; learning many rows at once, and
    the checks, are ours. A sample is learned Poisson(:math:`\max_c (n_c / f_c)\, f_y / n_y`) times, of
    desired shares f and counts n so far; once if its class has the largest ratio, and had it before. As in
    river, the numbers of Poisson's distribution end near 745, where :math:`e^{-\lambda}` becomes 0: a bound
    on how often the first sample of a very rare class is learned.

    Parameters
    ----------
    classifier
        The classifier that learns.
    desired_dist
        Labels to the shares that they shall have, positive numbers whose sum is 1. A label that is not in it
        is refused (river counts it, and then raises a KeyError).
    seed
        Of ``random.Random``; None for another at each run.

    Examples
    --------
    >>> from river import datasets, evaluate, metrics, preprocessing
    >>> from streamgd import imblearn, linear_model
    >>> model = preprocessing.StandardScaler() | imblearn.RandomOverSampler(
    ...     linear_model.LogisticRegression(), desired_dist={False: 0.4, True: 0.6}, seed=42
    ... )
    >>> evaluate.progressive_val_score(datasets.Phishing(), model, metrics.BalancedAccuracy())
    BalancedAccuracy: 88.84%
    """

    _kind = OVER


class RandomSampler(ClassificationSampler):
    """Learn samples more or less often, so that classes have the desired shares of a desired number.

    Parameters, decisions (for the same seed) and so predictions are river's; learning many rows at once, and
    the checks, are ours. A sample is learned Poisson(:math:`r f_y / (n_y / n)`) times, of the rate r, desired
    shares f and counts n so far.

    Parameters
    ----------
    classifier
        The classifier that learns.
    desired_dist
        Labels to the shares that they shall have, positive numbers whose sum is 1; a label that is not in it
        is refused. None: each sample is learned Poisson(r) times, as in online bagging. (river means that
        too, but takes counts for shares, and learns the n-th sample Poisson(r n) times.)
    sampling_rate
        How many samples are to be learned per sample that comes.
    seed
        Of ``random.Random``; None for another at each run.

    Examples
    --------
    >>> from river import datasets, evaluate, metrics, preprocessing
    >>> from streamgd import imblearn, linear_model
    >>> model = preprocessing.StandardScaler() | imblearn.RandomSampler(
    ...     linear_model.LogisticRegression(), desired_dist={False: 0.4, True: 0.6}, seed=42
    ... )
    >>> evaluate.progressive_val_score(datasets.Phishing(), model, metrics.BalancedAccuracy())
    BalancedAccuracy: 87.88%
    """

    _kind = MIXED

    def __init__(
        self,
        classifier: base.Classifier,
        desired_dist: Mapping[Any, float] | None,
        sampling_rate: float = 1.0,
        seed: int | None = None,
    ) -> None:
        if not 0.0 < sampling_rate < math.inf:
            raise ValueError(f"sampling_rate={sampling_rate!r}; it must be a positive number")
        super().__init__(classifier, desired_dist, seed)
        self.sampling_rate = sampling_rate

    @property
    def _rate(self) -> float:  # type: ignore[override]
        return float(self.sampling_rate)


def _alone(error: InvalidRow) -> InvalidRow:
    """Return the same error without its row."""
    return type(error)(str(error).removeprefix(f"row {error.row}: "))


def _check(desired_dist: Any, what: str) -> None:
    """Refuse what are no shares."""
    if not isinstance(desired_dist, Mapping) or not desired_dist:
        raise TypeError(f"{what}(desired_dist={desired_dist!r}): it must be a dict of labels to shares")
    for label, share in desired_dist.items():
        if not isinstance(share, numbers.Real) or not 0.0 < float(share) < math.inf:
            raise ValueError(
                f"{what}(desired_dist=...): the share of {label!r} is {share!r}; it must be positive"
            )
    total = math.fsum(desired_dist.values())
    if not math.isclose(total, 1.0, rel_tol=1e-6):
        raise ValueError(f"{what}(desired_dist=...): the shares add up to {total!r}; they must add up to 1")
