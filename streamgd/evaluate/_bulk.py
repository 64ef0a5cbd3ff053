"""Updates river's metrics with whole columns, to the state that a loop of their own updates would leave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from river import metrics, stats
from river.metrics.base import BinaryMetric, ClassificationMetric, MeanMetric, Metric, Metrics

from streamgd._jit import strict

from .metrics import Metric as OwnMetric

Floats: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[Any]  # any integer type

# Whole numbers up to here are exact as float64.
_EXACT = 2.0**53

# Up to so many different labels, a comparison of the whole array for each is faster than a dict.
_FEW = 8


class Coded(NamedTuple):
    """A column of labels: row ``i`` has the label ``names[code[i]]``."""

    code: Codes
    names: Sequence[Any]

    def tolist(self) -> list[Any]:
        """Labels of the rows, as objects."""
        return [self.names[c] for c in self.code.tolist()]

    def last(self) -> Any:
        """Label of the last row."""
        return self.names[self.code[-1]]

    def renamed(self, rule: Callable[[Any], Any]) -> Coded:
        """Apply a rule to the labels."""
        return Coded(self.code, [rule(name) for name in self.names])


class Probabilities(NamedTuple):
    """Answers of a binary classifier: ``{negative: 1 - p, positive: p}`` in each row."""

    p: Floats
    labels: tuple[Any, Any] = (False, True)

    def tolist(self) -> list[dict[Any, float]]:
        """Answers as river's classifiers give them."""
        negative, positive = self.labels
        return [{negative: 1.0 - p, positive: p} for p in self.p.tolist()]

    def last(self) -> dict[Any, float]:
        """Answer of the last row."""
        return Probabilities(self.p[-1:], self.labels).tolist()[0]

    def decided(self) -> Coded:
        """Predict the likelier label of each row; the negative one at a tie, as ``predict_one`` does."""
        return Coded((self.p > 0.5).view(np.int8), self.labels)

    def of_true(self) -> Floats:
        """Probability of the label ``True``, which is the one that river's metrics look up."""
        negative, positive = self.labels
        if positive == True:  # noqa: E712  1 and 1.0 are the same dict key as True
            return self.p
        return 1.0 - self.p if negative == True else np.zeros_like(self.p)  # noqa: E712


def update(metric: Metric, y_true: Any, y_pred: Any) -> None:
    """
    Bring a metric to the state that ``metric.update(y_true=..., y_pred=...)`` on each row would give it.

    Counts are those of the loop exactly, and so are running means up to the rounding of the logarithm in
    ``LogLoss``. A metric that has no bulk rule goes through the loop, so every metric is right.

    Parameters
    ----------
    metric
        A metric of river, or several of them added up.
    y_true
        Labels, or numbers for a regression metric: an array or a sequence of n.
    y_pred
        What the model said before each update, n rows: labels for a metric that asks for labels, numbers
        for a regression metric, and for a metric of probabilities `Probabilities` or an array with the
        probability of the positive label. `Probabilities` do for labels, too.

    Raises
    ------
    ValueError
        ``y_true`` and ``y_pred`` differ in length.

    """
    n, answers = _rows(y_true), _rows(y_pred)
    if n != answers:
        raise ValueError(f"y_true has {n} rows and y_pred has {answers}: they must be as many")
    group = type(metric) is Metrics
    members = list(metric) if group else [metric]  # type: ignore[call-overload]
    if group and not getattr(metric, "requires_labels", True) and not isinstance(y_pred, Probabilities):
        y_pred = Probabilities(np.asarray(y_pred, dtype=np.float64))
    rules = [_rule(member) for member in members]
    if any(rule is None for rule in rules):
        _loop(metric, y_true, y_pred)
        return
    if any(
        member.needs != "number"
        if isinstance(member, OwnMetric)
        else isinstance(member, ClassificationMetric)
        for member in members
    ):
        y_true = encode(y_true)
    for member, rule in zip(members, rules, strict=True):
        if rule is None or not rule(member, y_true, y_pred):
            _loop(member, y_true, y_pred)


def encode(labels: Any) -> Coded:
    """Replace labels by numbers; equal labels (1 and True) have the same one, as they do in a dict."""
    if isinstance(labels, Coded):
        return labels
    if isinstance(labels, np.ndarray) and labels.dtype == np.bool_:
        return Coded(labels.view(np.int8), (False, True))
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "iuUS":
        code = np.full(len(labels), -1)
        names: list[Any] = []
        while len(names) < _FEW:
            left = code < 0
            row = int(left.argmax()) if len(left) else 0
            if not left[row:].any():
                return Coded(code, names)
            code[labels == labels[row]] = len(names)
            names.append(labels[row].item())
    seen: dict[Any, int] = {}
    codes = [seen.setdefault(label, len(seen)) for label in _items(labels)]
    return Coded(np.array(codes, dtype=np.int64), list(seen))


def _rule(metric: Metric) -> Callable[[Any, Any, Any], bool] | None:
    """Choose the rule by the very functions that an update runs, so that subclasses keep their own."""
    if isinstance(metric, OwnMetric):
        return _own
    kind = type(metric)
    ours: Any = kind.update
    if "update" in vars(metric):
        return None
    if ours is metrics.ConfusionMatrix.update:
        return _confusion
    if ours in (ClassificationMetric.update, BinaryMetric.update):
        by_counts = metric.requires_labels and type(metric.cm).update is metrics.ConfusionMatrix.update  # type: ignore[attr-defined]
        return _labels if by_counts else None
    if ours is metrics.ROCAUC.update:
        return _thresholds
    if ours is metrics.R2.update:
        return _explained if type(metric._y_var) is stats.Var else None  # type: ignore[attr-defined]
    if ours is MeanMetric.update and type(metric._mean) is stats.Mean:  # type: ignore[attr-defined]
        if kind._eval is metrics.LogLoss._eval:  # type: ignore[attr-defined]
            return _log_loss
        return _mean_error if kind._eval in _ERRORS else None  # type: ignore[attr-defined]
    return None


def _own(metric: Any, y_true: Any, y_pred: Any) -> bool:
    metric.update_columns(y_true, y_pred)
    return True


def _loop(metric: Metric, y_true: Any, y_pred: Any) -> None:
    """Do what river does."""
    if isinstance(y_pred, Probabilities) and metric.requires_labels:  # type: ignore[attr-defined]
        y_pred = y_pred.decided()
    for true, pred in zip(_items(y_true), _items(y_pred), strict=True):
        metric.update(y_true=true, y_pred=pred)


# Metrics of counts


def _labels(metric: Any, y_true: Coded, y_pred: Any) -> bool:
    y_pred = _decided(y_pred)
    if type(metric).update is BinaryMetric.update:
        y_true, y_pred = (y.renamed(lambda name: name == metric.pos_val) for y in (y_true, y_pred))
    return _confusion(metric.cm, y_true, y_pred)


def _confusion(cm: Any, y_true: Coded, y_pred: Any) -> bool:
    y_pred = _decided(y_pred)
    shape = len(y_true.names), len(y_pred.names)
    if shape[0] * shape[1] > 4 * len(y_true.code) + 64:
        return False  # more pairs of labels than rows: nothing to gain
    _add(cm, y_true.names, y_pred.names, *_cells(y_true.code, y_pred.code, shape))
    return True


def _thresholds(metric: Any, y_true: Coded, y_pred: Any) -> bool:
    p = _of_true(y_pred)
    thresholds = np.asarray(metric.thresholds, dtype=np.float64)
    counted = all(type(cm).update is metrics.ConfusionMatrix.update for cm in metric.cms)
    if p is None or not counted or len(metric.cms) != len(thresholds) or (np.diff(thresholds) < 0).any():
        return False
    y_true = y_true.renamed(lambda name: name == metric.pos_val)
    # p lies above just the first `above` thresholds, so one pass counts for all of them.
    above = np.searchsorted(thresholds, p, side="left")
    count, first = _cells(y_true.code, above, (len(y_true.names), len(thresholds) + 1))
    for i, cm in enumerate(metric.cms, start=1):
        total = np.stack([count[:, :i].sum(axis=1), count[:, i:].sum(axis=1)], axis=1)
        seen = np.stack([first[:, :i].min(axis=1), first[:, i:].min(axis=1)], axis=1)
        _add(cm, y_true.names, (False, True), total, seen)
    return True


def _cells(rows: Codes, columns: Codes, shape: tuple[int, int]) -> tuple[Codes, Codes]:
    """Count the pairs of codes, and find the row where each pair is seen first."""
    n = len(rows)
    pair = rows * np.int64(shape[1]) + columns
    first = np.full(shape[0] * shape[1], n)
    first[pair[::-1]] = np.arange(n - 1, -1, -1)  # of several values for one place the last one stays
    count = np.bincount(pair, minlength=shape[0] * shape[1])
    return count.reshape(shape), first.reshape(shape)


def _add(cm: Any, true: Sequence[Any], pred: Sequence[Any], count: Codes, first: Codes) -> None:
    """Add counts to a confusion matrix, whose dicts get labels in the order in which a loop meets them."""
    for cell in sorted(np.flatnonzero(count).tolist(), key=first.ravel().__getitem__):
        i, j = divmod(cell, len(pred))
        k = int(count[i, j])
        cm.n_samples += k
        weight = float(k)  # river adds the weight 1.0 of each row
        cm.data[true[i]][pred[j]] += weight
        cm.total_weight += weight
        cm.sum_row[true[i]] += weight
        cm.sum_col[pred[j]] += weight
        if true[i] == pred[j]:
            cm._total_true_positives += weight


# Metrics of running means


@strict  # no fast-math: the rounding of the loop is kept
def _welford(n: float, mean: float, s: float, values: Floats) -> tuple[float, float, float]:
    """Carry on river's running mean and sum of squared deviations, in its order of operations."""
    for x in values:
        n += 1.0
        old = mean
        mean += (1.0 / n) * (x - old)
        s += (x - old) * (x - mean)
    return n, mean, s


def _fold(mean: stats.Mean, values: Floats | None) -> bool:
    """Fold values into a running mean, unless one is not finite: what comes of that is river's to say."""
    if values is None or not np.isfinite(values).all():
        return False
    mean.n, mean._mean, _ = _welford(mean.n, mean._mean, 0.0, values)
    return True


def _log_loss(metric: Any, y_true: Coded, y_pred: Any) -> bool:
    p = _of_true(y_pred)
    if p is None:
        return False
    p = np.clip(p, metric._clamp_proba(0.0), metric._clamp_proba(1.0))
    positive = np.array([bool(name) for name in y_true.names], dtype=np.bool_)[y_true.code]
    return _fold(metric._mean, -np.log(np.where(positive, p, 1.0 - p)))


def _mean_error(metric: Any, y_true: Any, y_pred: Any) -> bool:
    true, pred = _numbers(y_true), _numbers(y_pred)
    if true is None or pred is None:
        return False
    with np.errstate(over="ignore"):
        return _fold(metric._mean, _ERRORS[type(metric)._eval](true - pred))


_ERRORS: dict[Any, Callable[[Floats], Floats]] = {
    metrics.MAE._eval: np.abs,
    metrics.MSE._eval: np.square,
}


def _explained(metric: Any, y_true: Any, y_pred: Any) -> bool:
    true, pred = _numbers(y_true), _numbers(y_pred)
    if true is None or pred is None:
        return False
    if not len(true):
        return True
    variance = metric._y_var
    mean = variance.mean
    mean.n, mean._mean, variance._S = _welford(mean.n, mean._mean, variance._S, true)
    with np.errstate(over="ignore"):
        squares = np.square(true - pred)
        # accumulate adds from left to right, as the loop does; sum would not
        total = np.add.accumulate(np.concatenate(([metric._residual_sum_of_squares], squares)))
    metric._residual_sum_of_squares = float(total[-1])
    return True


# Columns


def _rows(column: Any) -> int:
    return len(column[0]) if isinstance(column, (Coded, Probabilities)) else len(column)


def _items(column: Any) -> Iterable[Any]:
    """Give the rows of a column as the Python objects that a loop over it would see."""
    return column.tolist() if hasattr(column, "tolist") else column  # type: ignore[no-any-return]


def _decided(y_pred: Any) -> Coded:
    return y_pred.decided() if isinstance(y_pred, Probabilities) else encode(y_pred)


def _of_true(y_pred: Any) -> Floats | None:
    return _numbers(y_pred.of_true() if isinstance(y_pred, Probabilities) else y_pred)


def _numbers(column: Any) -> Floats | None:
    """Give a column as finite float64 that are equal to its values; None where that cannot be."""
    values = np.asarray(column)
    if values.dtype.kind not in "biuf" or values.dtype.itemsize > 8:
        return None
    numbers = values.astype(np.float64, copy=False)
    limit = _EXACT if values.dtype.kind in "iu" else np.inf
    return numbers if (np.abs(numbers) < limit).all() else None
