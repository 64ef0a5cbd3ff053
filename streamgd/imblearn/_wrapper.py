"""What wrappers of a classifier have in common: they predict and can do what the classifier does and can."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import base

from .._rows import SparseRows


class where_classifier_has:  # noqa: N801  a decorator
    """A method that is there only where the classifier has one: ``hasattr`` tells which way to go.

    Parameters
    ----------
    needed
        Name of the classifier's method.
    """

    def __init__(self, needed: str) -> None:
        self._needed = needed

    def __call__(self, method: Callable[..., Any]) -> Any:
        """Decorate a method."""
        self._method = method
        self.__doc__ = method.__doc__
        return self

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, wrapper: Any, owner: type) -> Any:
        if wrapper is None:
            return self._method
        if not hasattr(wrapper.classifier, self._needed):
            raise AttributeError(
                f"{owner.__name__}.{self._name} needs a classifier with {self._needed}, which "
                f"{type(wrapper.classifier).__name__} has not; use learn_one"
            )
        return MethodType(self._method, wrapper)


class ClassifierWrapper(base.Wrapper[Any], base.Classifier):
    """A classifier round another, ``classifier``, that predicts as that one does."""

    classifier: Any
    _row_reached = 0  # rows behind us of those that `predict_learn_rows` was given, also after Ctrl-C

    @property
    def _read_by(self) -> Any:
        """What knows the meaning of the outputs that ``predict_learn_rows`` returns; None without it."""
        return getattr(self.classifier, "_read_by", None) if hasattr(self, "predict_learn_rows") else None

    @property
    def _wrapped_model(self) -> Any:
        return self.classifier

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        from streamgd.linear_model import LogisticRegression

        yield {"classifier": LogisticRegression()}

    def predict_proba_one(self, x: dict[Any, Any], **kwargs: Any) -> dict[Any, float]:
        """Predict the probability of each label, as the classifier does."""
        return self.classifier.predict_proba_one(x, **kwargs)  # type: ignore[no-any-return]

    def predict_one(self, x: dict[Any, Any], **kwargs: Any) -> Any:
        """Predict the label, as the classifier does."""
        return self.classifier.predict_one(x, **kwargs)

    @where_classifier_has("predict_proba_many")
    def predict_proba_many(self, X: Any, **kwargs: Any) -> Any:
        """Predict the probabilities of each label for rows, as the classifier does."""
        return self.classifier.predict_proba_many(X, **kwargs)

    @where_classifier_has("predict_many")
    def predict_many(self, X: Any, **kwargs: Any) -> Any:
        """Predict the labels of rows, as the classifier does."""
        return self.classifier.predict_many(X, **kwargs)

    # What `predict_learn_rows` is read by.
    labels_ = property(lambda self: self.classifier.labels_, doc="The classifier's labels.")
    loss = property(lambda self: self.classifier.loss, doc="The classifier's loss.")
    on_invalid = property(lambda self: self.classifier.on_invalid, doc="What it does with bad samples.")
    n_invalid = property(lambda self: self.classifier.n_invalid, doc="Bad samples that it skipped.")


def last_step(model: Any) -> Any:
    """Return what a pipeline ends in; of anything else itself."""
    while hasattr(model, "steps"):
        model = next(reversed(model.steps.values()))
    return model


def learn_made(model: Any, x: dict[Any, Any], y: Any) -> None:
    """Learn from a synthetic sample: a pipeline's last step alone, as a sample that counts nowhere."""
    while hasattr(model, "steps"):
        *transformers, model = model.steps.values()
        for step in transformers:
            if isinstance(step, base.Transformer):  # not a filter of anomalies
                x = step.transform_one(x)
    getattr(model, "_learn_made_one", model.learn_one)(x, y)


def n_rows(X: Any) -> int:
    """Return the number of rows, whatever they came as."""
    if isinstance(X, SparseRows):
        return len(X.indptr) - 1
    return int(X.shape[0]) if hasattr(X, "shape") else len(X)


def taken(table: Any, order: NDArray[np.int64]) -> Any:
    """Return some rows (or values) of a table, a column or a list, in its own kind."""
    if isinstance(table, SparseRows):
        lengths = np.diff(table.indptr)[order]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        at = np.repeat(np.asarray(table.indptr)[order] - starts[:-1], lengths) + np.arange(starts[-1])
        return SparseRows(np.asarray(table.data)[at], np.asarray(table.indices)[at], starts, table.n_columns)
    if isinstance(table, list | tuple):
        return [table[i] for i in order.tolist()]
    if hasattr(table, "iloc"):
        return table.iloc[order]
    if hasattr(table, "to_pylist"):  # Arrow
        return table.take(order)
    return table[order]
