"""Metrics, each a formula over sums: the same for all rows, for a window of the last ones, and fading.

They are metrics of river's, too: pass them to its `evaluate`, or add them to its own.
"""

from __future__ import annotations

import difflib
import math
import operator
import sys
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np
from river import base

from ._predictions import Answers, Floats, Numbers, Predictions
from ._statistics import (
    AllRows,
    Counts,
    Majority,
    Mean,
    Moments,
    NoChange,
    Ranks,
    Rival,
    Statistic,
    absolute_error,
    brier,
    log_loss,
    squared_error,
)

__all__ = [
    "F1", "MAE", "MCC", "MSE", "PRAUC", "R2", "RMSE", "ROCAUC", "Accuracy", "BalancedAccuracy", "Brier",
    "CohenKappa", "CrossEntropy", "GeometricMean", "KappaM", "KappaTemporal", "LogLoss", "MacroF1", "Metric",
    "Precision", "Recall", "by_name",
]  # fmt: skip

_NAN = float("nan")
_BUFFER = 512  # rows that `update` collects, because NumPy is slow at one


class Metric(base.Base, ABC):
    """A formula over sums of rows.

    ``update`` takes one row, as river's metrics do; compiled passes hand over whole columns. NaN where a
    metric is not defined, such as an area under a curve before both labels are there.

    Attributes
    ----------
    name : str
        What `progressive_val`, `fit` and the command call it.
    needs : {"label", "proba", "number"}
        What it needs to know of a prediction.
    bigger_is_better : bool
        Whether a higher value is better than a lower one.

    Examples
    --------
    >>> from river import datasets, evaluate, metrics
    >>> from streamgd import linear_model
    >>> from streamgd.evaluate.metrics import GeometricMean, KappaM
    >>> model = linear_model.LogisticRegression("auto")
    >>> metric = metrics.Accuracy() + GeometricMean() + KappaM()
    >>> evaluate.progressive_val_score(datasets.Phishing(), model, metric)
    Accuracy: 90.00%
    GeometricMean: 89.98%
    KappaM: 0.774368
    """

    name: ClassVar[str]
    needs: ClassVar[Literal["label", "proba", "number"]] = "label"
    bigger_is_better: ClassVar[bool] = True
    statistic: ClassVar[tuple[Any, ...]]  # its class, and what that is made with
    many: ClassVar[str | None] = None  # of a metric of two classes: what there is for more
    _fmt: ClassVar[str] = ".6f"

    def __init__(self) -> None:
        self._rows = AllRows(self.new_statistic())
        self._read = Numbers() if self.needs == "number" else Answers(numbers=self.needs == "proba")
        self._labels: tuple[Any, ...] | None = None
        self._pending: list[tuple[Any, Any, float]] = []
        self._reverted: list[tuple[Any, Any, float]] = []
        _join_river(type(self))

    @classmethod
    def new_statistic(cls, delay: int = 0) -> Statistic:
        """Return its sums, without any rows; labels come ``delay`` rows late."""
        kind, *args = cls.statistic
        made: Statistic = kind(delay) if issubclass(kind, Rival) else kind(*args)
        return made

    @abstractmethod
    def formula(self, sums: Floats, positive: int) -> float:
        """Return the metric of sums; ``positive`` is the code of the positive label of two."""

    def value(self, sums: Floats | None, labels: tuple[Any, ...] | None) -> float:
        """Return the metric of sums, NaN where it is not defined."""
        if sums is None:
            return _NAN
        self.check(labels)
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(self.formula(sums, self._positive_of(labels)))

    def check(self, labels: tuple[Any, ...] | None) -> None:
        """Raise ValueError where there are too many labels for the metric."""
        if self.many is not None and labels is not None and len(labels) > 2:
            some = ", ".join(map(repr, labels[:3]))
            more = ", ..." if len(labels) > 3 else ""
            raise ValueError(
                f"{self.name} is of two labels, and there are {len(labels)} ({some}{more}); "
                f"take {self.many!r}"
            )

    def _positive_of(self, labels: tuple[Any, ...] | None) -> int:
        return 1

    # -- as river has it -----------------------------------------------------------------------

    def update(self, y_true: Any, y_pred: Any, w: float = 1.0) -> None:
        """Count one row: its target, the prediction made before it was learned, and its weight."""
        self._pending.append((y_true, y_pred, w))
        if len(self._pending) >= _BUFFER:
            self._flush()

    def revert(self, y_true: Any, y_pred: Any, w: float = 1.0) -> None:
        """Take back a row, as river's `utils.Rolling` does."""
        if not self._rows.statistic.reverts:
            raise NotImplementedError(
                f"{type(self).__name__} compares with what was known before a row, which is gone when it is "
                f"taken back; for windows: evaluate.progressive_val(..., metrics=['{self.name}'], window=...)"
            )
        self._reverted.append((y_true, y_pred, -w))
        if len(self._reverted) >= _BUFFER:
            self._flush()

    def update_many(self, predictions: Predictions, weights: Floats | None = None) -> None:
        """Count rows, each with its weight ``(n,)``."""
        self._flush()
        self._add(predictions, weights)

    def update_columns(self, y_true: Any, y_pred: Any) -> None:
        """Count rows as `_bulk.update` has them: labels with their codes, probabilities, numbers."""
        self._flush()
        read, predictions = self._read, None
        if isinstance(read, Answers) and hasattr(y_pred, "labels"):
            if self.needs == "label":
                y_pred = y_pred._replace(p=y_pred.decided().code.astype(np.float64))
            predictions = read.of_pair(y_true.code, y_true.names, y_pred.p, y_pred.labels)
        if predictions is None:
            predictions = read(*(c.tolist() if hasattr(c, "tolist") else c for c in (y_true, y_pred)))
        self._add(predictions, None)

    def _flush(self) -> None:
        waiting = self._pending, self._reverted
        self._pending, self._reverted = [], []
        for rows in waiting:  # in this order: there is always something to take away from
            if rows:
                y, answers, w = zip(*rows, strict=True)
                self._add(self._read(y, answers), np.array(w, dtype=np.float64))

    def _add(self, predictions: Predictions, weights: Floats | None) -> None:
        self.check(predictions.labels)
        self._labels = predictions.labels
        self._rows.add(self._rows.statistic.facts(predictions), weights)

    def get(self) -> float:
        """Return the metric over all rows so far."""
        self._flush()
        return self.value(self._rows.sums(), self._labels)

    @property
    def requires_labels(self) -> bool:
        """Whether river should ask for a label, not for probabilities."""
        return self.needs == "label"

    @property
    def works_with_weights(self) -> bool:
        """Whether `update` takes weights."""
        return True

    def works_with(self, model: Any) -> bool:
        """Tell whether it suits a model."""
        return isinstance(model, base.Regressor if self.needs == "number" else base.Classifier)

    def is_better_than(self, other: Any) -> bool:
        """Tell whether its value is better than another's."""
        better = operator.gt if self.bigger_is_better else operator.lt
        return bool(better(self.get(), other.get()))

    __gt__ = is_better_than

    def __add__(self, other: Any) -> Any:
        from river.metrics.base import Metrics

        _join_river(type(self))
        return Metrics([self, other])  # type: ignore[no-untyped-call]

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {self.get():{self._fmt}}".rstrip("0")

    __str__ = __repr__


def _join_river(kind: type[Metric]) -> None:
    """Let river see one of its own, so that they can be added; without loading them (0.6 s)."""
    river = sys.modules.get("river.metrics.base")
    if river is not None:
        family = river.RegressionMetric if kind.needs == "number" else river.ClassificationMetric
        family.register(kind)


class _OfPositive(Metric):
    """Of the positive label among two.

    Parameters
    ----------
    positive
        The positive label. None: 1 or True, of other labels the second one. (River
        replaces labels by whether they are ``pos_val``, and then looks that up among the booleans: False is
        True again, and a word is never found.)
    """

    def __init__(self, positive: Any = None) -> None:
        super().__init__()
        self.positive = positive

    def _positive_of(self, labels: tuple[Any, ...] | None) -> int:
        if self.positive is None or labels is None or (self.positive not in labels and len(labels) < 2):
            return 1
        if self.positive not in labels:
            raise ValueError(f"{self.name} of positive={self.positive!r}: the labels are {labels}")
        return labels.index(self.positive)


# Counts of labels: right, true and guessed by class; rows of a label that is not known are wrong ones


def _ratio(a: float, b: float) -> float:
    """Return a / b, 0 where b is."""
    return a / b if b else 0.0


def _column(counts: Floats, code: int) -> tuple[float, float, float]:
    """Return how often a label was told right, was true, and was guessed."""
    if code + 1 >= counts.shape[1]:
        return 0.0, 0.0, 0.0
    right, true, guessed = counts[:, code + 1].tolist()
    return right, true, guessed


def _recalls(counts: Floats) -> Floats:
    """Return the share told right of each label that is there."""
    right, true, _ = counts[:, 1:]
    there = true > 0
    recalls: Floats = right[there] / true[there]
    return recalls


class Accuracy(Metric):
    """Share of rows whose label is predicted."""

    name = "accuracy"
    statistic = (Counts,)
    _fmt = ".2%"

    def formula(self, sums: Floats, positive: int) -> float:
        return sums[0].sum() / sums[1].sum()  # type: ignore[no-any-return]


class BalancedAccuracy(Metric):
    """Mean over the labels of the share told right; labels without rows do not count."""

    name = "balanced-accuracy"
    statistic = (Counts,)
    _fmt = ".2%"

    def formula(self, sums: Floats, positive: int) -> float:
        recalls = _recalls(sums)
        return recalls.mean() if len(recalls) else _NAN


class GeometricMean(Metric):
    """Geometric mean over the labels of the share told right: 0 as soon as one is never told right.

    Labels without rows do not count; in river's class of the same name one that was only guessed makes
    it 0.

    References
    ----------
    Kubat, M., Matwin, S. (1997). Addressing the curse of imbalanced training sets. ICML.
    """

    name = "gmean"
    statistic = (Counts,)
    _fmt = ".2%"

    def formula(self, sums: Floats, positive: int) -> float:
        recalls = _recalls(sums)
        return float(np.exp(np.log(recalls).mean())) if len(recalls) else _NAN


class Precision(_OfPositive):
    """Share of rows said to be positive that are; 0 if none is said to be."""

    name = "precision"
    statistic = (Counts,)
    many = "macro-f1"
    _fmt = ".2%"

    def formula(self, sums: Floats, positive: int) -> float:
        right, _, guessed = _column(sums, positive)
        return _ratio(right, guessed)


class Recall(_OfPositive):
    """Share of positive rows that are said to be; 0 if there is none."""

    name = "recall"
    statistic = (Counts,)
    many = "balanced-accuracy"
    _fmt = ".2%"

    def formula(self, sums: Floats, positive: int) -> float:
        right, true, _ = _column(sums, positive)
        return _ratio(right, true)


class F1(_OfPositive):
    """Harmonic mean of precision and recall; 0 without any positive row, true or said to be."""

    name = "f1"
    statistic = (Counts,)
    many = "macro-f1"
    _fmt = ".2%"

    def formula(self, sums: Floats, positive: int) -> float:
        right, true, guessed = _column(sums, positive)
        return _ratio(2.0 * right, true + guessed)


class MacroF1(Metric):
    """Mean of `F1` over the labels that are true or guessed somewhere."""

    name = "macro-f1"
    statistic = (Counts,)
    _fmt = ".2%"

    def formula(self, sums: Floats, positive: int) -> float:
        right, true, guessed = sums[:, 1:]
        both = true + guessed
        return (2.0 * right[both > 0] / both[both > 0]).mean() if both.any() else _NAN


class CohenKappa(Metric):
    r""":math:`(p - p_e) / (1 - p_e)`, p the accuracy and :math:`p_e` that of guessing at the model's rates.

    References
    ----------
    Cohen, J. (1960). A coefficient of agreement for nominal scales. Educational and Psychological
    Measurement 20(1), equation 1.
    """

    name = "kappa"
    statistic = (Counts,)

    def formula(self, sums: Floats, positive: int) -> float:
        right, true, guessed = sums
        n = true.sum()
        chance = true @ guessed / n**2
        return (right.sum() / n - chance) / (1.0 - chance)  # type: ignore[no-any-return]


class MCC(Metric):
    """Matthews correlation coefficient, of any number of labels; 0 if all rows have, or get, the same label.

    References
    ----------
    Gorodkin, J. (2004). Comparing two K-category assignments by a K-category correlation coefficient.
    Computational Biology and Chemistry 28(5-6).
    """

    name = "mcc"
    statistic = (Counts,)

    def formula(self, sums: Floats, positive: int) -> float:
        right, true, guessed = sums
        n = true.sum()
        spread = (n * n - true @ true) * (n * n - guessed @ guessed)
        return (right.sum() * n - true @ guessed) / math.sqrt(spread) if spread > 0.0 else 0.0


class _AgainstRival(Metric):
    def formula(self, sums: Floats, positive: int) -> float:
        _, ours, its = sums.tolist()
        return 1.0 - ours / its if its else _NAN


class KappaM(_AgainstRival):
    r""":math:`(p - p_m) / (1 - p_m)`, p the accuracy and :math:`p_m` that of always guessing the majority.

    The majority is that of all labels known when the row is predicted, without its own (which MOA counts
    as well), also in windows; before any is known, the guess is wrong. At most 0 if the model is no better.

    References
    ----------
    Bifet, A., De Francisci Morales, G., Read, J., Holmes, G., Pfahringer, B. (2015). Efficient online
    evaluation of big data stream classifiers. KDD.
    """

    name = "kappa-m"
    statistic = (Majority,)


class KappaTemporal(_AgainstRival):
    r""":math:`(p - p_e) / (1 - p_e)`, p the accuracy and :math:`p_e` that of always guessing the last label.

    That is the one known last when the row is predicted, which with delayed labels is an older one; before
    any is known, the guess is wrong. At most 0 if the model is no better.

    References
    ----------
    Zliobaite, I., Bifet, A., Read, J., Pfahringer, B., Holmes, G. (2015). Evaluation methods and decision
    theory for classification of streaming data with temporal dependence. Machine Learning 98(3).
    """

    name = "kappa-temporal"
    statistic = (NoChange,)


# Probabilities


class ROCAUC(Metric):
    """Area under the ROC curve: how often a positive row has the higher score of a pair; ties count half.

    Scores are counted in 16,384 bins, evenly wide near a probability of 1/2 and ever finer, as
    probabilities, towards 0 and 1. River's class of this name has ten, of equal width: where positives are
    rare all rows lie in the first (measured on card fraud, 0.8 % positives: 0.557, and 0.667 by sorting all
    rows, which this class meets to 1e-4). In windows it is exact.
    """

    name = "rocauc"
    needs = "proba"
    statistic = (Ranks, 1 << 14)
    many = "cross-entropy"
    _fmt = ".2%"

    def formula(self, sums: Floats, positive: int) -> float:
        negatives, positives = sums[:2, sums[:2].any(axis=0)]
        below = np.cumsum(negatives) - negatives
        pairs = positives.sum() * negatives.sum()
        return (positives * (below + 0.5 * negatives)).sum() / pairs  # type: ignore[no-any-return]


class PRAUC(_OfPositive):
    r"""Area under the precision-recall curve, as average precision.

    :math:`\sum_n (R_n - R_{n-1}) P_n` over all thresholds, from high to low: the precision at each positive
    row, on the average. The curve is not interpolated (`river.metrics.RollingPRAUC` joins its points by
    straight lines): between two of its points precision is no linear function of recall, so that straight
    lines give models credit that none of their thresholds has. Scores are counted as in `ROCAUC`, in four
    times as many bins; rows of one bin count as tied if their scores are the same, else as evenly mixed.

    References
    ----------
    Davis, J., Goadrich, M. (2006). The relationship between precision-recall and ROC curves. ICML,
    section 4.
    """

    name = "prauc"
    needs = "proba"
    statistic = (Ranks, 1 << 16)
    many = "cross-entropy"
    _fmt = ".2%"

    def formula(self, sums: Floats, positive: int) -> float:
        sums = sums[:, sums[:2].any(axis=0)]
        negatives, positives = sums[:2] if positive == 1 else sums[1::-1]
        both = negatives + positives
        spread = both * sums[3] - sums[2] ** 2 > 1e-9 * both**2
        if positive == 1:  # from high scores to low ones
            negatives, positives, both, spread = (a[::-1] for a in (negatives, positives, both, spread))
        there = positives > 0
        p, n, spread = positives[there], both[there], spread[there]
        above, of = (np.cumsum(a)[there] - a[there] for a in (positives, both))
        precision = (above + p) / (of + n)
        # the k-th positive of a bin has (k - 1/2) / p of the bin's rows before it: the mean over k
        r, a, b = (n / p)[spread], above[spread] + 0.5, of[spread] + 0.5
        precision[spread] = 1.0 / r + (a - b / r) / n[spread] * np.log1p(n[spread] / b)
        return (p * precision).sum() / p.sum()  # type: ignore[no-any-return]


class _MeanLoss(Metric):
    bigger_is_better = False

    def formula(self, sums: Floats, positive: int) -> float:
        return sums[1] / sums[0]  # type: ignore[no-any-return]


class CrossEntropy(_MeanLoss):
    """Mean of minus the logarithm of the true label's probability, which counts as at least 1e-15."""

    name = "cross-entropy"
    needs = "proba"
    statistic = (Mean, log_loss)


class LogLoss(CrossEntropy):
    """`CrossEntropy` of two labels."""

    name = "logloss"
    many = "cross-entropy"


class Brier(_MeanLoss):
    """Mean of half the squared distance of the probabilities from 1 for the true label and 0 for others.

    Of two labels that is the squared error of the positive one's probability.

    References
    ----------
    Brier, G. W. (1950). Verification of forecasts expressed in terms of probability. Monthly Weather
    Review 78(1), equation 2 (without the half).
    """

    name = "brier"
    needs = "proba"
    statistic = (Mean, brier)


# Numbers


class MAE(_MeanLoss):
    """Mean absolute error."""

    name = "mae"
    needs = "number"
    statistic = (Mean, absolute_error)


class MSE(_MeanLoss):
    """Mean squared error."""

    name = "mse"
    needs = "number"
    statistic = (Mean, squared_error)


class RMSE(_MeanLoss):
    """Square root of the mean squared error."""

    name = "rmse"
    needs = "number"
    statistic = (Mean, squared_error)

    def formula(self, sums: Floats, positive: int) -> float:
        return math.sqrt(sums[1] / sums[0]) if sums[0] else _NAN


class R2(Metric):
    """Share of the targets' variance that is explained; not defined while they are all equal."""

    name = "r2"
    needs = "number"
    statistic = (Moments,)

    def formula(self, sums: Floats, positive: int) -> float:
        _, _, deviations, residuals = sums.tolist()
        return 1.0 - residuals / deviations if deviations > 0.0 else _NAN


NAMES: dict[str, type[Metric]] = {
    kind.name: kind
    for kind in (
        Accuracy, BalancedAccuracy, GeometricMean, F1, Precision, Recall, MacroF1, CohenKappa, KappaM,
        KappaTemporal, MCC, ROCAUC, PRAUC, LogLoss, Brier, CrossEntropy, MAE, MSE, RMSE, R2,
    )
}  # fmt: skip


def by_name(name: str) -> Metric:
    """Return a metric without any rows by its name, such as "kappa-m".

    Raises
    ------
    ValueError
        There is none of that name.
    """
    if name not in NAMES:
        near = difflib.get_close_matches(name.lower().replace("_", "-"), NAMES, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"there is no metric {name!r}; {hint}The metrics are {', '.join(NAMES)}")
    return NAMES[name]()
