"""Class weights round a classifier: set as its parameter where it is compiled, else multiplied onto ``w``."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from river import base

from .. import _rows
from .._errors import InvalidRow, weight
from .._learner import LinearLearner
from .._targets import plain_label
from ..optim import class_weights
from ..optim.class_weights import Balanced, ClassWeight, Tally
from ._wrapper import ClassifierWrapper, last_step, learn_made, n_rows, where_classifier_has

# They do more with a sample than hand it on, for which it has no other weight: they belong outside.
OUTSIDE = frozenset(
    {"DriftRetrainingClassifier", "EntropySampler", "HardSamplingClassifier", "SRPClassifier"}
    | {"RandomOverSampler", "RandomSampler", "RandomUnderSampler", "ReservoirSMOTE", "OnlineCalibration"}
)


class OnlineClassWeight(ClassifierWrapper):
    r"""Weights of samples by their class, from counts of the classes so far.

    By default :math:`n / (K n_y)`, scikit-learn's ``class_weight="balanced"`` as far as the stream has
    come. A sample is counted, then weighed, then learned; one that cannot be learned is not counted.

    Round a learner of streamgd, or a pipeline that ends in one, this is another way to say its parameter
    ``class_weight``: it is set on the object given, and all modes of learning are weighted in compiled
    code. Round any other classifier whose ``learn_one`` takes ``w``, that becomes w times the class's
    weight; a sample that weighs 0 is not passed on.

    Parameters
    ----------
    classifier
        The classifier; its ``learn_one`` takes ``w``.
    class_weight
        ``"balanced"``, ``"effective_number"``, a dict of weights by label (1 for others), or any piece of
        `optim.class_weights`.
    half_life
        Samples after which a sample counts half; 0 to forget nothing.
    window
        Count the last so many samples only; 0 to count all.
    cap
        The largest weight; 0 for none.
    smoothing
        Of ``"balanced"``: samples that each class is taken to have had before the first one, which
        lowers the weight of its first ones.

    Raises
    ------
    ValueError
        When options are given beside a piece, which has its own, or where they do not fit; when the
        learner already has another class weight.
    TypeError
        When the classifier takes no weights.

    Examples
    --------
    >>> from river import datasets, evaluate, metrics, preprocessing, tree
    >>> from streamgd import imblearn, linear_model
    >>> model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    >>> model = imblearn.OnlineClassWeight(model, half_life=1000)
    >>> evaluate.progressive_val_score(datasets.Phishing(), model, metrics.GeometricMean())
    GeometricMean: 89.26%
    >>> model = imblearn.OnlineClassWeight(tree.HoeffdingTreeClassifier())
    >>> for x, y in datasets.Phishing():
    ...     model.learn_one(x, y)
    >>> model.class_counts_
    {True: 548.0, False: 702.0}
    """

    def __init__(
        self,
        classifier: Any,
        class_weight: Any = "balanced",
        *,
        half_life: float = 0.0,
        window: int = 0,
        cap: float = 0.0,
        smoothing: float = 0.0,
    ) -> None:
        self.classifier = classifier
        self.class_weight = class_weight
        self.half_life = half_life
        self.window = window
        self.cap = cap
        self.smoothing = smoothing
        self._piece = self._chosen_piece()
        learner = last_step(classifier)
        if not isinstance(learner, base.Classifier):
            raise TypeError(
                f"OnlineClassWeight({type(classifier).__name__}(...)): weights by class are for classifiers, "
                "and pipelines that end in one"
            )
        self._tally: Tally | None = None
        if isinstance(learner, LinearLearner):
            if learner.class_weight not in (None, self._piece):
                raise ValueError(
                    f"{type(learner).__name__} already has class_weight={learner.class_weight!r}; give it "
                    "none, or leave out the wrapper"
                )
            learner.class_weight = self._piece
        else:
            _check_takes_weight(learner)
            self._tally = Tally(self._piece)

    def _chosen_piece(self) -> ClassWeight:
        """Return the piece that the parameters stand for."""
        what = "OnlineClassWeight(class_weight=...)"
        piece = class_weights.of(self.class_weight, what)
        if piece is None:
            raise ValueError(f"{what}: got None; leave out the wrapper")
        names = ("half_life", "window", "cap", "smoothing")
        given = {name: getattr(self, name) for name in names if getattr(self, name)}
        if piece is self.class_weight and given:
            options = ", ".join(f"{name}={value!r}" for name, value in given.items())
            raise ValueError(
                f"OnlineClassWeight({options}) beside a piece; say it there: "
                f"{type(piece).__name__}(..., {options})"
            )
        if not isinstance(piece, Balanced) and "smoothing" in given:
            raise ValueError(
                f"OnlineClassWeight(smoothing={self.smoothing!r}): only 'balanced' has a smoothing"
            )
        return piece.replace(**given)

    # -- as river's wrappers -------------------------------------------------------------------

    @property
    def _multiclass(self) -> bool:
        return bool(self.classifier._multiclass)

    def _unit_test_skips(self) -> set[str]:
        skips: set[str] = self.classifier._unit_test_skips()
        return skips

    def _get_params(self) -> dict[str, Any]:
        # Without what was set on the learner: a clone has it from its own wrapper's parameters.
        params: dict[str, Any] = super()._get_params()
        if self._tally is None:
            kind, own = params["classifier"]
            params["classifier"] = kind, _without_class_weight(self.classifier, own)
        return params

    # What other wrappers ask a compiled learner for.
    _column_names = property(lambda self: self.classifier._column_names)
    _last_output = property(lambda self: self.classifier._last_output)
    _learn_made = property(lambda self: self.classifier._learn_made)
    _row_reached = property(
        lambda self: self.classifier._row_reached,
        lambda self, row: setattr(self.classifier, "_row_reached", row),
    )

    # -- counts --------------------------------------------------------------------------------

    @property
    def class_counts_(self) -> dict[Any, float]:
        """Counts by label, faded or of the window."""
        if self._tally is not None:
            return self._tally.counts
        counts: dict[Any, float] = last_step(self.classifier).class_counts_
        return counts

    @property
    def class_weights_(self) -> dict[Any, float]:
        """Weights by label, from the counts as they are; 0 where a label counts 0."""
        return self._piece.by_label(self.class_counts_)

    # -- learning ------------------------------------------------------------------------------

    def learn_one(self, x: dict[Any, Any], y: Any, w: float = 1.0, **kwargs: Any) -> None:
        """Update the classifier with one sample.

        Parameters
        ----------
        x
            Features.
        y
            Label.
        w
            Weight of the sample, at least 0, which that of its class is multiplied onto; with 0 nothing
            happens.
        kwargs
            Passed to the classifier.

        Raises
        ------
        ValueError, TypeError
            When the label or the weight is bad; nothing is counted then.
        """
        if self._tally is None:
            self.classifier.learn_one(x, y, w=w, **kwargs)
            return
        label, own = plain_label(y), weight(w)
        h = self._tally.weigh(label, own) if own else 0.0
        if h:
            self.classifier.learn_one(x, y, w=h, **kwargs)
            self._tally.add(label, own)

    @where_classifier_has("learn_many")
    def learn_many(self, X: Any, y: Any, w: Any = 1, **kwargs: Any) -> None:
        """Update the classifier with a mini-batch.

        Each row is counted, in order, and weighted by the counts up to it; if the classifier refuses the
        rows, none is counted.

        Parameters
        ----------
        X
            Rows ``(n, p)``.
        y
            Labels ``(n,)``.
        w
            One weight, or ``(n,)``.
        kwargs
            Passed to the classifier.
        """
        if self._tally is None:
            self.classifier.learn_many(X, y, w=w, **kwargs)
            return
        _check_takes_weight(last_step(self.classifier), "learn_many")
        n = n_rows(X)
        own = np.broadcast_to(LinearLearner._weights_of(w, n), (n,)).tolist()
        tally, h = self._tally.copy(), np.zeros(n)
        for i, label in enumerate(_rows.vector(y, n, "y").tolist()):
            try:
                label, w_i = plain_label(label), weight(own[i])
                h[i] = tally.weigh(label, w_i) if w_i else 0.0
            except InvalidRow as error:
                raise error.at(i) from error
            if h[i]:
                tally.add(label, w_i)
        self.classifier.learn_many(X, y, w=_rows.series_like(X, h, "w") if _rows.is_frame(X) else h, **kwargs)
        self._tally = tally

    @where_classifier_has("_learn_made")  # compiled
    def learn_rows(
        self, X: Any, y: Any, w: Any = None, *, columns: Sequence[Hashable] | None = None, **kwargs: Any
    ) -> None:
        """Learn from each row in turn, in one compiled pass; as the learner's own."""
        self.classifier.learn_rows(X, y, w, columns=columns, **kwargs)

    @where_classifier_has("_learn_made")
    def predict_learn_rows(
        self, X: Any, y: Any, w: Any = None, *, columns: Sequence[Hashable] | None = None, **kwargs: Any
    ) -> Any:
        """Learn from each row in turn; return the outputs made before each update, as the learner's own."""
        return self.classifier.predict_learn_rows(X, y, w, columns=columns, **kwargs)

    def _learn_made_one(self, x: dict[Any, Any], y: Any) -> None:
        """Learn from a synthetic sample, which is not counted and weighs 1."""
        learn_made(self.classifier, x, y)

    def _learn_made_many(self, *rows: Any, **kwargs: Any) -> Any:
        """Learn a mini-batch with synthetic rows, which only a compiled learner tells from others."""
        if not isinstance(self.classifier, LinearLearner):
            raise TypeError(
                f"OnlineClassWeight({type(self.classifier).__name__}(...)) takes no mini-batches with "
                "synthetic rows; use learn_one, or a learner of streamgd with class_weight"
            )
        return self.classifier._learn_made_many(*rows, **kwargs)

    @where_classifier_has("debug_one")
    def debug_one(self, x: dict[Any, Any], **kwargs: Any) -> str:
        """Explain a prediction, as the classifier does."""
        table: str = self.classifier.debug_one(x, **kwargs)
        return table


def _without_class_weight(model: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Return river's parameters of a learner, or of a pipeline that ends in one, without its class weight."""
    if not hasattr(model, "steps"):
        return params | {"class_weight": None}
    name, last = next(reversed(model.steps.items()))
    return params | {name: _without_class_weight(last, params[name])}


def _check_takes_weight(model: Any, method: str = "learn_one") -> None:
    """Raise TypeError unless ``method`` of a classifier takes ``w``, or hands it on to one that does."""
    name = type(model).__name__
    inside = model._wrapped_model if isinstance(model, base.Wrapper) else None
    if inside is not None and name in OUTSIDE:
        raise TypeError(
            f"{name} does more with samples than hand them on with their weight; it belongs outside: "
            f"{name}(OnlineClassWeight(...), ...)"
        )
    parameters = inspect.signature(getattr(type(model), method, lambda: None)).parameters.values()
    if any(p.name == "w" for p in parameters):
        return
    if inside is not None and any(p.kind is p.VAR_KEYWORD for p in parameters):
        _check_takes_weight(last_step(inside), method)
        return
    raise TypeError(
        f"{name}.{method} takes no sample weight w, so that of its class cannot reach it; use "
        "imblearn.ReservoirSMOTE or imblearn.RandomOverSampler, which repeat rare samples"
    )
