"""Logistic regression."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal

import numpy as np
from river import base

from streamgd import _rows
from streamgd._learner import LinearLearner
from streamgd._targets import Labels
from streamgd.optim import losses
from streamgd.optim.base import Penalty


class LogisticRegression(LinearLearner, base.MiniBatchClassifier):
    """Logistic regression by stochastic gradient descent, compiled.

    Parameters, defaults and results are those of river's class of the same name; river's own
    optimizers, losses, schedulers and initializers are accepted and converted. Labels may be any two
    values: of 0 and 1, and of -1 and 1, 1 is the positive; of others the first one seen is the negative
    (where that is 1, say ``labels``).

    Parameters
    ----------
    optimizer
        How weights are updated. Default ``optim.SGD(0.01)``.
    loss
        A binary loss. Default ``optim.losses.Log()``.
    l2
        Strength of the L2 penalty on the features that are present.
    l1
        Strength of the cumulative L1 penalty. It may be joined with ``l2``.
    intercept_init
        First value of the intercept.
    intercept_lr
        Learning rate of the intercept, a number or a scheduler; 0 keeps it fixed, and ``"optimizer"``
        makes it a feature of value 1, learned like any other.
    clip_gradient
        Largest absolute value of the loss's derivative times the sample's weight.
    initializer
        First weights. Default ``optim.initializers.Zeros()``.
    labels
        The labels, ``(negative, positive)``, if they are not to be found in the stream.
    penalty
        A penalty in place of ``l1`` and ``l2``, for instance ``optim.penalties.Proximal(l1=1e-4)``.
    late
        What a feature owes that appears late: ``"global"`` counts updates for bias corrections and L1
        over the whole stream (river), ``"fresh"`` from the feature's own first appearance.
    on_invalid
        What to do with a bad sample: ``"raise"``, or ``"skip"`` and count it in ``n_invalid``.

    Attributes
    ----------
    weights : dict
        Weights by feature.
    intercept : float
        The intercept.
    labels_ : tuple
        The labels known so far, the negative one first.
    n_invalid : int
        Bad samples that were skipped.

    Examples
    --------
    >>> from river import datasets, evaluate, metrics, preprocessing
    >>> from streamgd import linear_model, optim
    >>> model = preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(0.1))
    >>> evaluate.progressive_val_score(datasets.Phishing(), model, metrics.Accuracy())
    Accuracy: 88.96%
    """

    _default_loss = losses.Log

    def __init__(
        self,
        optimizer: Any = None,
        loss: Any = None,
        l2: float = 0.0,
        l1: float = 0.0,
        intercept_init: float = 0.0,
        intercept_lr: Any = 0.01,
        clip_gradient: float = 1e12,
        initializer: Any = None,
        *,
        labels: tuple[Any, Any] | None = None,
        penalty: Penalty | None = None,
        late: Literal["global", "fresh"] = "global",
        on_invalid: Literal["raise", "skip"] = "raise",
    ) -> None:
        self.labels = labels
        super().__init__(
            optimizer, loss, l2, l1, intercept_init, intercept_lr, clip_gradient, initializer,
            penalty, late, on_invalid, Labels(labels),
        )  # fmt: skip

    @property
    def labels_(self) -> tuple[Any, ...]:
        """The labels known so far, the negative one first."""
        assert isinstance(self._targets, Labels)
        return self._targets.seen

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
