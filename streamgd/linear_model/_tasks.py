"""What a linear learner's raw output means: a number, or one of two labels."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from river import base

from streamgd import _rows
from streamgd._learner import LinearLearner
from streamgd._targets import Labels, Numbers


class LinearRegressor(LinearLearner, base.Regressor):
    """A linear learner of numbers. Subclasses add the defaults."""

    __slots__ = ()

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**parameters, targets=Numbers())

    def predict_one(self, x: dict[Any, Any]) -> float:
        """Predict the target of one sample.

        Parameters
        ----------
        x
            Features, names to numbers. Features that the model has not met count as absent.

        Returns
        -------
        The prediction; None for a bad sample with ``on_invalid="skip"``.
        """
        mean = self._predict_kernel.call(x, self._control)
        return mean if mean == mean else self._mean_one(x)  # type: ignore[return-value]

    def predict_many(self, X: Any, *, columns: Sequence[Hashable] | None = None) -> Any:
        """Predict the targets of rows ``(n, p)``.

        Returns a series of the kind of the frame that came in (pandas, polars, Arrow), or an array ``(n,)``.
        """
        rows, raw = self._raw_rows(X, columns)
        return self._like(rows, self.loss.mean_func(raw))


class LinearClassifier(LinearLearner, base.Classifier):
    """A linear learner of two labels. Subclasses add the defaults."""

    __slots__ = ()

    labels: tuple[Any, Any] | None

    def __init__(self, *, labels: tuple[Any, Any] | None, **parameters: Any) -> None:
        self.labels = labels
        super().__init__(**parameters, targets=Labels(labels))

    @property
    def labels_(self) -> tuple[Any, ...]:
        """The labels known so far, the negative one first."""
        assert isinstance(self._targets, Labels)
        return self._targets.seen

    @property
    def class_counts_(self) -> dict[Any, float]:
        """What the class weight has counted: samples by label, the user's weights, forgetting included."""
        labels = self._targets.known
        counts = zip(labels, self._class_counts[0].tolist(), strict=False)
        return {label: n for label, n in counts if label is not None}

    def _make_room_for(self, targets: Labels) -> None:
        self._factors[:] = self._factors_of(targets)

    def predict_proba_one(self, x: dict[Any, Any]) -> dict[Any, float]:  # type: ignore[override]
        """Predict the probability of each label.

        Parameters
        ----------
        x
            Features, names to numbers. Features that the model has not met count as absent.

        Returns
        -------
        Labels to probabilities; ``False`` and ``True`` before the first label is known. Empty for a bad
        sample with ``on_invalid="skip"``.
        """
        p = self._predict_kernel.call(x, self._control)
        if p != p:
            p = self._mean_one(x)
            if p is None:
                return {}
            if self._positive is None:  # only one label so far, and its other is open
                return {self._negative: 1.0}
        return {self._negative: 1.0 - p, self._positive: p}

    def predict_one(self, x: dict[Any, Any]) -> Any:  # type: ignore[override]
        """Predict the label of one sample; the negative one at a probability of exactly one half.

        None for a bad sample with ``on_invalid="skip"``.
        """
        p = self._predict_kernel.call(x, self._control)
        if p != p:
            p = self._mean_one(x)
            if p is None:
                return None
            if self._positive is None:
                return self._negative
        return self._positive if p > 0.5 else self._negative

    def predict_proba_many(self, X: Any, *, columns: Sequence[Hashable] | None = None) -> Any:
        """Predict the probabilities of each label for rows ``(n, p)``.

        Returns a frame of the kind that came in with a column for each label, as river's, or an array
        ``(n, 2)``, the negative label first.
        """
        rows, raw = self._raw_rows(X, columns)
        p = self.loss.mean_func(raw)
        negative, positive = self._negative, self._positive
        shares = {negative: np.ones_like(p)} if positive is None else {negative: 1.0 - p, positive: p}
        if rows.frame is None:
            return np.stack(list(shares.values()), axis=1)
        return _rows.frame_like(rows.frame, shares)

    def predict_many(self, X: Any, *, columns: Sequence[Hashable] | None = None) -> Any:
        """Predict the labels of rows ``(n, p)``.

        Returns a series of the kind of the frame that came in (pandas, polars, Arrow), or an array ``(n,)``.
        """
        rows, raw = self._raw_rows(X, columns)
        chosen = self.loss.mean_func(raw) > 0.5
        negative, positive = self._negative, self._positive
        both = [negative, negative if positive is None else positive]
        pair = np.array(both, dtype=None if type(both[0]) is type(both[1]) else object)
        labels = chosen if positive is True else pair[chosen.astype(np.intp)]
        skipped = np.isnan(raw)
        if skipped.any():
            labels = labels.astype(object)
            labels[skipped] = None
        return self._like(rows, labels)
