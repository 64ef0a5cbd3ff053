"""What models said of some rows, in one form, whatever they said it in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from river import base

from .._learner import LinearLearner

Floats: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]
Reader: TypeAlias = "Callable[[Any, Any], Predictions]"


class Predictions(NamedTuple):
    """Targets of rows, and what was predicted for them before they were learned.

    Attributes
    ----------
    y
        Of a classifier: codes of the labels, -1 for a label that the model has never learned. Of a
        regressor: the targets as float64.
    output
        Of a regressor: predicted numbers ``(n,)``. Of a classifier with at most two labels: probabilities
        ``(n,)`` of ``labels[1]``. With more: probabilities ``(n, k)``, 0 for labels not known by then.
    labels
        Labels by code, as many as are known; None of a regressor. 1 and True have the code 1, so that they
        are the positive label of two; of other pairs that is the one which was met second.
    raw
        Raw outputs ``(n,)`` of a compiled learner, with at most two labels the log-odds of ``labels[1]``.
    y_true
        The targets as they came.
    """

    y: NDArray[Any]
    output: Floats
    labels: tuple[Any, ...] | None
    raw: Floats | None
    y_true: Any

    def guesses(self) -> Codes:
        """Codes of the likeliest labels; of two equals the one with the lower code."""
        likelier = self.output > 0.5 if self.output.ndim == 1 else self.output.argmax(axis=1)
        return np.asarray(likelier, dtype=np.int64)

    def of_true(self) -> Floats:
        """Probabilities of the true labels, 0 where the label was not known."""
        if self.output.ndim == 1:
            p = np.where(self.y == 1, self.output, 1.0 - self.output)
        else:
            p = self.output[np.arange(len(self.y)), self.y]
        return np.where(self.y < 0, 0.0, p)

    def scores(self) -> Floats:
        """Log-odds of ``labels[1]``."""
        if self.raw is not None:
            return self.raw
        with np.errstate(divide="ignore"):
            return np.log(self.output) - np.log1p(-self.output)


def learner_of(model: Any) -> LinearLearner | None:
    """Return the learner whose raw outputs ``model.predict_learn_rows`` returns, None if there is none.

    It is the model itself, or what a wrapper of `imblearn` has inside.
    """
    return getattr(model, "_read_by", None)


def reader(model: Any) -> Reader:
    """Return what makes predictions of ``(y, outputs)`` of ``model``, chunk by chunk, in the stream's order.

    ``outputs`` of a compiled learner are raw ones, made before each update: minus infinity for a class not
    known yet, NaN for a row that was skipped. Any other model's are its answers, a list of what
    ``predict_proba_one`` or ``predict_one`` returned. Rows without an answer are left out.
    """
    if not isinstance(model, LinearLearner):
        return Answers() if isinstance(model, base.Classifier) else Numbers()
    if not isinstance(model, base.Classifier):
        return _numbers_of(model)
    return _ReadsClasses(model) if model._multiclass else _ReadsPairs(model)


def asked(model: Any, kind: str) -> tuple[Callable[[Any], Any], Reader]:
    """Return what asks a model about a dict, for ``kind`` "proba", "label" or "number"; and what reads it.

    A compiled learner of two labels is asked for the probability of the positive one, known or not yet.
    """
    if not isinstance(model, base.Classifier):
        return model.predict_one, Numbers()
    if not isinstance(model, LinearLearner) or model._multiclass:
        return (model.predict_proba_one if kind == "proba" else model.predict_one), Answers()
    pairs = _ReadsPairs(model)

    def ask(x: Any) -> float | None:
        p = model._predict_kernel.call(x, model._control)
        return p if p == p else model._mean_one(x)

    def read(y: Any, answers: Any) -> Predictions:
        y, answers = _of_rows(y, answers)
        return pairs.of_probabilities(y, np.array(answers, dtype=np.float64))

    return ask, read


def answered(outputs: Any) -> NDArray[np.bool_]:
    """Tell which rows have an output or an answer ``(n,)``."""
    if isinstance(outputs, np.ndarray):
        known: NDArray[np.bool_]
        known = ~np.isnan(outputs) if outputs.ndim == 1 else outputs.max(axis=1, initial=-np.inf) > -np.inf
        return known
    return np.array([answer is not None and answer != {} for answer in outputs], dtype=np.bool_)


def _of_rows(y: Any, outputs: Any) -> tuple[Any, Any]:
    """Leave out rows without an output or an answer."""
    known = answered(outputs)
    if known.all():
        return y, outputs
    if isinstance(outputs, np.ndarray):
        return np.asarray(y)[known], outputs[known]
    kept = np.flatnonzero(known).tolist()
    return [y[i] for i in kept], [outputs[i] for i in kept]


# Compiled learners


def _numbers_of(model: Any) -> Reader:
    def read(y: Any, z: Any) -> Predictions:
        y, z = _of_rows(y, z)
        return Predictions(np.asarray(y, dtype=np.float64), model.loss.mean_func(z), None, z, y)

    return read


class _ReadsPairs:
    """Outputs of a binary learner. While it knows no label, those it is going to know."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._draft = model._targets.copy()

    def __call__(self, y: Any, z: Any) -> Predictions:
        y, z = _of_rows(y, z)
        return self.of_probabilities(y, self._model.loss.mean_func(z), z)

    def of_probabilities(self, y: Any, p: Floats, raw: Floats | None = None) -> Predictions:
        """Return predictions from probabilities ``(n,)`` of the positive label."""
        known = self._model._targets
        targets = known.draft() if known.seen else self._draft
        codes = targets.encode(np.asarray(y))
        codes[np.isnan(codes)] = -1.0
        labels = targets.pair if targets.pair[1] is not None else targets.pair[:1]
        return Predictions(codes.astype(np.int64), p, labels, raw, y)


class _Labels(dict[Any, int]):
    """Codes of labels in the order in which they are met; but 1 and True get the code 1 if it is free."""

    def __missing__(self, label: Any) -> int:
        taken = set(self.values())
        first = 1 if label == 1 and 1 not in taken else 0
        self[label] = code = next(k for k in range(first, len(self) + 2) if k not in taken)
        return code

    def pair(self) -> tuple[Any, Any]:
        """Labels with the codes 0 and 1, None where there is none."""
        by_code = {code: label for label, code in self.items()}
        return by_code.get(0), by_code.get(1)

    def by_code(self) -> tuple[Any, ...]:
        """Labels in the order of their codes; False stands in for one that must be there yet."""
        if len(self) == 1 and 1 in self.values():
            return (False, *self)
        return tuple(sorted(self, key=self.__getitem__))


class _ReadsClasses:
    """Outputs of `SoftmaxRegression`: a column for each label, in the order in which the model met them."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._labels = _Labels()
        self._met: dict[Any, None] = {}  # in that order, too; a gradient's labels are the model's only later

    def __call__(self, y: Any, z: Any) -> Predictions:
        self._met.update(dict.fromkeys(np.asarray(y).tolist()))
        y, z = _of_rows(y, z)
        columns = list(dict.fromkeys([*self._model.labels_, *self._met]))[: z.shape[1]]
        order = [self._labels[label] for label in columns]
        codes = np.array([self._labels.get(label, -1) for label in np.asarray(y).tolist()], dtype=np.int64)
        shares = _in_order(self._model.loss.mean_func(z), order)
        return Predictions(codes, shares, self._labels.by_code(), self._log_odds(z, order), y)

    @staticmethod
    def _log_odds(z: Floats, order: list[int]) -> Floats | None:
        if len(order) != 2:
            return None
        return z[:, order.index(1)] - z[:, order.index(0)]


def _in_order(shares: Floats, order: list[int]) -> Floats:
    """Return probabilities with columns in the order of codes, or those of code 1 alone."""
    if len(order) == 2:
        return shares[:, order.index(1)]
    if len(order) < 2:
        return np.full(len(shares), float(1 in order))
    ordered = np.empty_like(shares)
    ordered[:, order] = shares
    return ordered


# Answers of any model


class Numbers:
    """Predicted numbers."""

    def __call__(self, y: Any, answers: Sequence[Any]) -> Predictions:
        """Return predictions of targets ``y (n,)`` and answers ``(n,)``."""
        y, answers = _of_rows(y, answers)
        return Predictions(np.asarray(y, np.float64), np.asarray(answers, np.float64), None, None, y)


class Answers:
    """Answers of a classifier: probabilities by label, the probability of the positive one, or labels.

    Labels are numbered as they turn up among the targets, and among answers once there are more than two:
    a binary classifier may name others before it knows its own.

    Parameters
    ----------
    numbers
        Whether an answer that is a number is a probability, not a label.
    """

    def __init__(self, numbers: bool = False) -> None:
        self._numbers = numbers
        self._codes = _Labels()

    def __call__(self, y: Any, answers: Sequence[Any]) -> Predictions:
        """Return predictions of labels ``y (n,)`` and answers ``(n,)``."""
        table = self._table(y.tolist() if isinstance(y, np.ndarray) else y, answers)
        y, _ = _of_rows(y, answers)
        codes = np.array([self._codes[label] for label in y], dtype=np.int64)
        output = table[:, 1] if len(self._codes) < 3 else table
        return Predictions(codes, output, self._codes.by_code(), None, y)

    def of_pair(self, y: Codes, names: Sequence[Any], p: Floats, pair: tuple[Any, Any]) -> Predictions | None:
        """Return predictions of rows with the labels ``names[y]``, and probabilities ``p`` of ``pair[1]``.

        None if there are more than two labels.
        """
        codes = self._codes
        of_names, (_, positive) = ([codes[label] for label in labels] for labels in (names, pair))
        if len(codes) > 2:
            return None
        output = p if positive == 1 else 1.0 - p
        return Predictions(np.array(of_names)[y], output, codes.by_code(), None, y)

    def _table(self, truth: Sequence[Any], answers: Sequence[Any]) -> Floats:
        """Return the probabilities in answers ``(n, k)`` by code; labels become known row by row."""
        codes = self._codes
        rows: list[int] = []
        columns: list[int] = []
        shares: list[float] = []
        first, second = codes.pair()
        row = -1
        for label, answer in zip(truth, answers, strict=True):
            if label not in codes:
                codes[label]
                first, second = codes.pair()
            if answer is None or answer == {}:
                continue
            row += 1
            whole = isinstance(answer, Mapping)
            if not whole and not self._numbers:
                answer, whole = {answer: 1.0}, True
            if not whole or (len(codes) < 3 and len(answer) < 3):
                p = answer
                if whole:  # of a label not met yet: what the other leaves
                    p = 1.0 - answer.get(first, 0.0) if second is None else answer.get(second, 0.0)
                rows += (row, row)
                columns += (0, 1)
                shares += (1.0 - p, p)
            else:
                rows += [row] * len(answer)
                columns += [codes[name] for name in answer]
                shares += answer.values()
        table = np.zeros((row + 1, max(2, len(codes))))
        table[rows, columns] = shares
        return table
