"""Calibrated probabilities: a classifier's, mapped by a logistic regression that learns as it goes."""

from __future__ import annotations

import math
import numbers
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from river import base

from .. import _rows
from .._errors import InvalidRow, weight
from .._learner import LinearLearner
from ..kernels import calibration
from ._wrapper import ClassifierWrapper, n_rows, where_classifier_has

__all__ = ["OnlineCalibration"]

Floats = NDArray[np.float64]

# What is believed of the map before any sample: it is the identity, give or take so much.
SLOPE_DEVIATION: Final = 0.5
BIAS_DEVIATION: Final = 5.0


class OnlineCalibration(ClassifierWrapper):
    r"""Map a classifier's probabilities to calibrated ones, by a map that is learned from the stream.

    Class weights, over- and under-sampling and SMOTE make a classifier believe that rare classes are common,
    and its probabilities say so. Where a model has converged on samples drawn with other shares of the
    classes, the correction is known: :math:`p_k \propto p_k^{(s)} \pi_k / \pi_k^{(s)}`, of the true and the
    sampled shares (Saerens et al. 2002); :math:`p = \beta p_s / (\beta p_s - p_s + 1)` if a share
    :math:`\beta` of the negatives is kept (Dal Pozzolo et al. 2015). A model that goes on learning has not
    converged: its weights change, gradients are clipped, synthetic samples have no known shares, and early or
    with small rates its probabilities are too near to each other, later too far apart. So the map is fitted:

    .. math:: q_k \propto \exp(a \log p_k + b_k),

    with one slope a and one bias for each class (temperature scaling with biases; Alexandari et al. 2020).
    Biases undo other shares, the correction above being the one with a = 1, and the slope over- and
    under-confidence. Of two classes it is Platt's logistic regression on the log-odds (Platt 1999); without
    biases it is temperature scaling (Guo et al. 2017). Of two classes the order of samples stays as it is, as
    long as the map itself does and its slope is positive.

    It has nothing to tune. The map starts as the identity, within deviations of 0.5 for a and 5 for b, and
    each sample makes it the mode of a posterior: that of all before, approximated by a normal distribution,
    times its own likelihood (Ollivier's online natural gradient as a Kalman filter, 2018, but with the mode
    found exactly). Without forgetting it ends close to a logistic regression on all samples. It learns from
    the probability that was predicted *before* the classifier learned the sample, and the classifier learns
    as without it. The first sample of a label that the classifier has no probability for is left out. The
    time of a sample grows with :math:`K^3` of K classes; of two it is half a microsecond in rows.

    Parameters
    ----------
    classifier
        A classifier that predicts probabilities, be it the sigmoid of a margin. Class weights and samplers
        belong inside, round the classifier, so that the map sees the stream as it is.
    half_life
        Samples after which a sample counts half in the map; 0 to forget nothing. A classifier that learns
        needs other corrections later, also on a stream that stays the same. On two real and three generated
        streams with 11 to 0.2 % of positives and three optimizers, weighted or not, 2000 came within 1.1 % of
        the log loss of the best of 500 to 100,000 and none, but for bank_marketing with SGD: 3.7 %.
    predict
        What `predict_one` and `predict_many` answer: ``"classifier"``, what the classifier itself does, so
        that only probabilities change, and the balance that weights have brought about is kept;
        ``"calibrated"``, the label of the highest calibrated probability, which of rare classes is rarely
        theirs; ``"balanced"``, the label whose calibrated probability is the highest beside its share of the
        stream so far, which treats all classes alike (G-mean, balanced accuracy); or a dict of labels to the
        costs of missing them (1 for others), the label of the highest cost times probability, which is the
        choice of least cost to be expected (Elkan 2001).
    clip
        Probabilities below this count as this. 0.001 suits classifiers that are often sure and wrong, such as
        nearest neighbours of two classes.

    Attributes
    ----------
    slope_ : float
        The slope a.
    bias_ : dict
        The biases by label; their mean is 0.

    Examples
    --------
    >>> from river import datasets, evaluate, metrics, preprocessing
    >>> from streamgd import imblearn, linear_model
    >>> def loss(model):
    ...     metric = evaluate.progressive_val_score(datasets.Phishing(), model, metrics.LogLoss())
    ...     return round(metric.get(), 3)
    >>> weights = {False: 1.0, True: 20.0}
    >>> model = linear_model.LogisticRegression("auto", class_weight=weights)
    >>> loss(preprocessing.StandardScaler() | model.clone())
    0.512
    >>> loss(preprocessing.StandardScaler() | imblearn.OnlineCalibration(model.clone()))
    0.28

    References
    ----------
    Alexandari, A., Kundaje, A. and Shrikumar, A. (2020). Maximum likelihood with bias-corrected calibration
    is hard-to-beat at label shift adaptation. ICML, section 3.

    Dal Pozzolo, A., Caelen, O., Johnson, R. A. and Bontempi, G. (2015). Calibrating probability with
    undersampling for unbalanced classification. IEEE SSCI, equation 4.

    Elkan, C. (2001). The foundations of cost-sensitive learning. IJCAI, section 1.

    Guo, C., Pleiss, G., Sun, Y. and Weinberger, K. Q. (2017). On calibration of modern neural networks. ICML,
    section 4.2.

    Ollivier, Y. (2018). Online natural gradient as a Kalman filter. Electronic Journal of Statistics 12.

    Platt, J. (1999). Probabilistic outputs for support vector machines and comparisons to regularized
    likelihood methods. Advances in Large Margin Classifiers.

    Saerens, M., Latinne, P. and Decaestecker, C. (2002). Adjusting the outputs of a classifier to new a
    priori probabilities. Neural Computation 14, equation 2.4.
    """

    def __init__(
        self,
        classifier: base.Classifier,
        *,
        half_life: float = 2000.0,
        predict: Literal["classifier", "calibrated", "balanced"] | Mapping[Any, float] = "classifier",
        clip: float = 1e-6,
    ) -> None:
        if not 0.0 <= half_life < math.inf:
            raise ValueError(
                f"half_life={half_life!r}; it must be a number of samples, or 0 to forget nothing"
            )
        if not 0.0 < clip < 0.5:
            raise ValueError(f"clip={clip!r}; it must be a probability above 0 and below 0.5")
        _check(predict)
        self.classifier = classifier
        self.half_life = half_life
        self.predict = predict
        self.clip = clip
        self._codes: dict[Any, int] = {}
        self._map = np.ones(1)  # the slope, then the biases by code
        self._counts = np.zeros(0)  # samples by code, weights and all
        self._prior = np.array([SLOPE_DEVIATION**-2])
        self._precision = np.diag(self._prior)

    @property
    def slope_(self) -> float:
        """The slope."""
        return float(self._map[0])

    @property
    def bias_(self) -> dict[Any, float]:
        """The biases by label, a new dict."""
        biases = self._map[1:]
        return dict(zip(self._codes, (biases - biases.mean()).tolist(), strict=True)) if len(biases) else {}

    # -- one dict ------------------------------------------------------------------------------

    def learn_one(self, x: dict[Any, Any], y: Any, **kwargs: Any) -> None:
        """Let the classifier learn a sample, and the map from what it had predicted.

        Parameters
        ----------
        x
            Features.
        y
            Label.
        **kwargs
            Passed on to the classifier. The map takes ``w`` as the sample's weight, too.
        """
        p = self.classifier.predict_proba_one(x)
        self.classifier.learn_one(x, y, **kwargs)
        try:
            h, known = weight(kwargs.get("w", 1.0)), y in p or y in self._codes
        except (InvalidRow, TypeError):
            return  # a weight or a label that is none, and the classifier has skipped it
        if p and known:
            self._make_known(p)
            logs = [[math.log(max(p.get(label, 0.0), self.clip)) for label in self._codes]]
            since = np.zeros(len(self._codes), dtype=np.int64)
            self._run(np.array(logs), np.array([self._codes[y]]), np.array([h]), since)

    def predict_proba_one(self, x: dict[Any, Any], **kwargs: Any) -> dict[Any, float]:
        """Predict the calibrated probability of each label."""
        p = self.classifier.predict_proba_one(x, **kwargs)
        if not p:
            return {}
        slope, *biases = self._map.tolist()
        bias = dict(zip(self._codes, biases, strict=True))
        scores = {
            k: slope * math.log(max(p.get(k, 0.0), self.clip)) + bias.get(k, 0.0) for k in {**p, **bias}
        }
        top = max(scores.values())
        q = {label: math.exp(score - top) for label, score in scores.items()}
        total = math.fsum(q.values())
        return {label: share / total for label, share in q.items()}

    def predict_one(self, x: dict[Any, Any], **kwargs: Any) -> Any:
        """Predict the label as the parameter ``predict`` says."""
        if self.predict == "classifier":
            return self.classifier.predict_one(x, **kwargs)
        q = self.predict_proba_one(x, **kwargs)
        costs = self._costs(q)
        return max(q, key=lambda label: q[label] * costs[label]) if q else None

    def _costs(self, labels: Iterable[Any]) -> dict[Any, float]:
        """Return what probabilities are multiplied by before the largest is chosen."""
        if self.predict == "balanced":
            known = dict(zip(self._codes, self._counts.tolist(), strict=True))
            return {label: 1.0 / (known.get(label, 0.0) + 1.0) for label in labels}
        given = self.predict if isinstance(self.predict, Mapping) else {}
        return {label: float(given.get(label, 1.0)) for label in labels}

    # -- rows ----------------------------------------------------------------------------------

    @where_classifier_has("predict_learn_rows")
    def learn_rows(self, X: Any, y: Any, w: Any = None, *, columns: Sequence[Hashable] | None = None) -> None:
        """Learn from each row in turn, as `learn_one`; see `predict_proba_learn_rows`."""
        self.predict_proba_learn_rows(X, y, w, columns=columns)

    @where_classifier_has("predict_learn_rows")
    def predict_proba_learn_rows(
        self, X: Any, y: Any, w: Any = None, *, columns: Sequence[Hashable] | None = None
    ) -> Floats:
        """Learn from each row in turn; return the probabilities that were predicted before each update.

        Parameters
        ----------
        X, y, w, columns
            As the classifier's `predict_learn_rows` takes them.

        Returns
        -------
        Calibrated probabilities ``(n, k)`` of the k labels that `predict_proba_one` then has, in its order: 0
        where a label was not known yet, NaN where a row was skipped.

        Raises
        ------
        ValueError, TypeError
            At a bad row, with its position in the attribute ``row``. Rows before it are learned.
        """
        n = n_rows(X)
        targets = _rows.vector(y, n, "y")
        weights = np.broadcast_to(LinearLearner._weights_of(w, n), (n,))
        before = self.classifier.predict_proba_one({})
        try:
            z = self.classifier.predict_learn_rows(X, targets, weights, columns=columns)
        except InvalidRow as error:
            if error.row and error.outputs is not None:
                self._learn_outputs(error.outputs, targets[: error.row], weights[: error.row], before)
            raise
        return self._learn_outputs(z, targets, weights, before)

    def _learn_outputs(self, z: Floats, targets: NDArray[Any], weights: Floats, before: Any) -> Floats:
        """Learn from the raw outputs of rows; ``before`` has the labels that were known before them."""
        labels = tuple(self.classifier.predict_proba_one({}))
        p = self.classifier.loss.mean_func(z)
        if p.ndim == 1:
            p = np.stack([1.0 - p, p], axis=1) if len(labels) == 2 else np.ones((len(p), 1))
        return self._learn(p, labels, targets.tolist(), weights, before)

    @where_classifier_has("learn_many")
    def learn_many(self, X: Any, y: Any, **kwargs: Any) -> None:
        """Let the classifier learn a mini-batch, and the map row by row from what it had predicted.

        Parameters
        ----------
        X, y
            Rows and labels as the classifier takes them.
        **kwargs
            Passed on to the classifier. The map takes ``w``, one number or one for each row, too.
        """
        n = n_rows(X)
        targets = _rows.vector(y, n, "y").tolist()
        before = self.classifier.predict_proba_one({})
        asked = {key: value for key, value in kwargs.items() if key == "columns"}
        p, labels = self._of_many(self.classifier.predict_proba_many(X, **asked))
        self.classifier.learn_many(X, y, **kwargs)
        weights = np.broadcast_to(LinearLearner._weights_of(kwargs.get("w"), n), (n,))
        self._learn(p, labels, targets, weights, before)

    def _of_many(self, answer: Any) -> tuple[Floats, tuple[Any, ...]]:
        """Return probabilities of rows ``(n, k)`` and their labels, from what the classifier answered."""
        labels = tuple(self.classifier.predict_proba_one({}))
        if not _rows.is_frame(answer):
            return answer, labels
        named = {str(label): label for label in labels}  # some frames have only str for names
        rows = _rows.rows(answer)
        return rows.values, tuple(named.get(str(name), name) for name in rows.columns or ())

    @where_classifier_has("predict_proba_many")
    def predict_proba_many(self, X: Any, **kwargs: Any) -> Any:
        """Predict the calibrated probabilities of rows.

        Returns what the classifier does: a frame with a column for each label, or an array ``(n, k)``.
        """
        answer = self.classifier.predict_proba_many(X, **kwargs)
        p, labels = self._of_many(answer)
        q = self._calibrated(p, labels)
        if not _rows.is_frame(answer):
            return q
        return _rows.frame_like(answer, {label: q[:, k] for k, label in enumerate(labels)})

    @where_classifier_has("predict_proba_many")
    def predict_many(self, X: Any, **kwargs: Any) -> Any:
        """Predict the labels of rows as the parameter ``predict`` says."""
        if self.predict == "classifier":
            return self.classifier.predict_many(X, **kwargs)
        answer = self.classifier.predict_proba_many(X, **kwargs)
        p, labels = self._of_many(answer)
        q = self._calibrated(p, labels) * [*self._costs(labels).values()]
        if not labels:
            chosen: NDArray[Any] = np.full(len(q), None)
        else:
            one_type = len({type(label) for label in labels}) == 1
            chosen = np.array(labels, dtype=None if one_type else object)[q.argmax(axis=1)]
            skipped = np.isnan(q).any(axis=1)
            if skipped.any():
                chosen = chosen.astype(object)
                chosen[skipped] = None
        return _rows.series_like(answer, chosen, None) if _rows.is_frame(answer) else chosen

    # -- the map -------------------------------------------------------------------------------

    def _calibrated(self, p: Floats, labels: Sequence[Any]) -> Floats:
        """Return calibrated probabilities of rows ``(n, k)``, whose columns are ``labels``."""
        if not p.size:
            return p
        bias = [self._map[1 + self._codes[label]] if label in self._codes else 0.0 for label in labels]
        scores = self._map[0] * np.log(np.maximum(p, self.clip)) + bias
        q = np.exp(scores - scores.max(axis=1, keepdims=True))
        return q / q.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]

    def _learn(
        self, p: Floats, labels: tuple[Any, ...], targets: list[Any], weights: Floats, before: Iterable[Any]
    ) -> Floats:
        """Calibrate rows ``(n, k)`` one after the other, and learn from each; return calibrated ones.

        ``before`` has the labels that the classifier knew before the first of them.
        """
        known = {*self._codes, *before}
        self._make_known(labels)
        codes = np.array([self._codes.get(y, -1) for y in targets], dtype=np.int64)
        at = [self._codes[label] for label in labels]
        logs = np.full((len(p), len(self._codes)), math.log(self.clip))
        logs[:, at] = np.log(np.maximum(p, self.clip))
        since = np.zeros(len(self._codes), dtype=np.int64)
        for label, code in self._codes.items():
            if label not in known:  # from its first sample on the classifier knows it
                first = (codes == code) & (weights > 0.0) & ~np.isnan(p[:, 0])
                since[code] = first.argmax() + 1 if first.any() else len(p) + 1
        q = self._run(logs, codes, np.array(weights), since)  # a copy: the kernel is for writable arrays
        return q[:, [*at, *(code for code in range(len(self._codes)) if code not in at)]]

    def _run(
        self, logs: Floats, codes: NDArray[np.int64], weights: Floats, since: NDArray[np.int64]
    ) -> Floats:
        """Let the kernel learn; return the calibrated probabilities before each update."""
        forgetting = 2.0 ** (-1.0 / self.half_life) if self.half_life else 1.0
        q = np.empty_like(logs)
        state = self._prior, self._map, self._precision
        calibration.learn(logs, codes, weights, since, forgetting, *state, q)
        if not len(self._counts):
            return q
        counted = (codes >= 0) & (np.arange(len(codes)) >= since[codes]) & ~np.isnan(logs).any(axis=1)
        self._counts += np.bincount(codes[counted], weights[counted], minlength=len(self._counts))
        return q

    def _make_known(self, labels: Iterable[Any]) -> None:
        """Give each new label a bias of 0, of which nothing is known yet."""
        new = [label for label in labels if label not in self._codes]
        if new:
            k = len(self._map)
            self._codes |= {label: k - 1 + i for i, label in enumerate(new)}
            self._map = np.concatenate([self._map, np.zeros(len(new))])
            self._counts = np.concatenate([self._counts, np.zeros(len(new))])
            self._prior = np.concatenate([self._prior, np.full(len(new), BIAS_DEVIATION**-2)])
            before, self._precision = self._precision, np.diag(self._prior)
            self._precision[:k, :k] = before


def _check(predict: Any) -> None:
    """Refuse what is no way to choose labels."""
    if isinstance(predict, Mapping):
        for label, cost in predict.items():
            if not isinstance(cost, numbers.Real) or not 0.0 < float(cost) < math.inf:
                raise ValueError(
                    f"predict={predict!r}: the cost of missing {label!r} must be a positive number"
                )
    elif predict not in ("classifier", "calibrated", "balanced"):
        raise ValueError(
            f"predict={predict!r}; it is 'classifier', 'calibrated', 'balanced' or a dict of labels to costs"
        )
