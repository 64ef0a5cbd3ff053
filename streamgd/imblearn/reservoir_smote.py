"""SMOTE for streams: rows made from reservoirs of rare classes, learned by any classifier."""

from __future__ import annotations

import inspect
import math
import numbers
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _rows
from .._errors import InvalidRow, weight
from .._jit import LIMIT
from .._learner import LinearLearner
from ..kernels.resample import KINDS, Made
from ..kernels.reservoirs import SCHEMES
from ._reservoirs import Reservoirs, Sample
from ._wrapper import ClassifierWrapper, last_step, learn_made, where_classifier_has

Floats = NDArray[np.float64]


class ReservoirSMOTE(ClassifierWrapper):
    r"""SMOTE on a stream: a reservoir for each class, and synthetic samples after each real one.

    A classifier learns each sample, then the synthetic ones made on its arrival. Every class but the largest
    is topped up: with :math:`n_c` real samples and :math:`g_c` synthetic ones of class c, the class that
    lacks most of :math:`\rho \max_k n_k - (n_c + g_c)` gets one, and so on until none lacks a whole one or
    `max_per_arrival` were made. What a class lacks grows as samples of the largest one arrive, and most are
    made then: with a share of 1 % about one on each arrival. What could not be made yet, of a class with
    too few samples, is made up for later. Synthetic samples are made of real ones alone, weigh 1, and are
    seen by the classifier only: no class weight counts or weighs them, no schedule looks at their loss, no
    transformer before the last step of a pipeline and no drift detector learns from them.

    What is odd, and what happens then:

    - A class is topped up from the sixth of its samples on (from number `k_neighbors` + 1, or `capacity`, if
      that is less), so that not all is made of two or three. With fewer neighbours than `k_neighbors`, all
      there are are taken; where none is left to go to, and where all points are equal, samples are copies.
    - With one class nothing is made. Classes may turn up at any time, and the largest may change.
    - A feature that a sample lacks counts as 0, a text as one more category. A synthetic one has those that
      its base or the neighbour has. Late features are absent from what is stored.
    - Texts, in dicts, are categories; so are codes in `categorical_features`. Two that differ add to the
      squared distance the square of the median deviation of the other features in the class (SMOTE-NC), or 1
      where they are standardised; the synthetic sample has the commonest category of the neighbours.
    - None and NaN are features that are absent, to classifiers that take them. A sample that the classifier
      refuses, or skips for its label or values, or that holds an infinite number, is not stored and nothing
      is made on its arrival. The classifier learns the real one first: an error that a synthetic one leads
      to comes after that.
    - With a weight of 0 nothing happens. Other weights count as so many samples of the class.

    Neighbours are exact. Those of a row are remembered until a sample of the class comes between, if features
    are not standardised: a rare class is searched for a few of its synthetic samples only. Memory is bounded:
    classes times `capacity` times 9 bytes a feature and 16 a neighbour; 2 GiB are not exceeded. All of it is
    on the CPU: an arrival looks at a few stored rows, which takes less time than to launch a kernel on a GPU;
    only `fit_resample`, which has a whole table at once, takes a ``device``.

    Parameters
    ----------
    classifier
        Any classifier or pipeline of river's, or a compiled learner, whose ``learn_many`` and
        ``learn_rows`` are there too. None for `resample` and `fit_resample`.
    kind
        - "regular": between a sample of the class and one of its `k_neighbors` nearest in the class, either
          of which is drawn uniformly.
        - "borderline1": as that, from samples of which at least half, but not all, of the `m_neighbors`
          nearest are of other classes. "borderline2": as that, to neighbours of all classes, and less than
          half the way to those of others.
        - "adasyn": as "regular", from samples as often as the share of other classes among their
          `k_neighbors` nearest says.
        - "replay": copies of stored samples. By far the cheapest, and as good for many linear models.

        The two borderline kinds and "adasyn" look at what is stored of all classes, in which a large class is
        a sample of itself; each looks at 8 samples at most and then gives the synthetic one up.
    sampling_strategy
        :math:`\rho`, the share of the largest class that a class has with its synthetic samples, above 0 and
        at most 1: of all other classes, or a dict by label (classes that are not in it are left alone). A
        little is best for the ranking (PR AUC), 1 for a balance at a probability of one half.
    k_neighbors
        Neighbours in the class. More: synthetic samples spread further. (imbalanced-learn has 5.)
    m_neighbors
        Neighbours among all, which tell where the border is.
    capacity
        Samples stored of each class: about as many as a concept lasts. The default, and those of
        `sampling_strategy`, `k_neighbors` and `reservoir`, came out best on streams that drift
        (docs/imbalance.md); on one that does not, 200 and more are better. The time of an arrival grows with
        it, but for "replay".
    reservoir
        Which samples a class keeps. "biased": recent ones, exponentially so, as each sample of the
        class overwrites a random one (Aggarwal, 2006); "window": the last ones; "uniform": all that came,
        with the same probability (Li, 1994); "weighted" and "chao": by their weights (Efraimidis, Spirakis,
        2006; Chao, 1982); "time_biased": by `half_life` in samples of all classes, so that those of a class
        that is silent go, too (Hentschel, Haas, Tian, 2018).
    half_life
        Samples after which a sample counts half in what a class lacks, and in a "time_biased" reservoir; 0:
        never.
    max_per_arrival
        Synthetic samples on one arrival, at most: it bounds the time of an arrival.
    standardise
        Measure distances on standardised features: deviations are those of all real samples so far.
    categorical_features
        Names of features whose numbers are codes.
    drift_detector
        One of river's, of which a clone sees whether the classifier is wrong (1 or 0) on each real sample,
        before it is learned. When it detects drift, stored samples are dropped: those before its window
        (``width``, as of ADWIN), else those before it began to warn, else the older half of each class.
        With it rows of arrays are learned one by one.
    seed
        Seed of what is drawn; None: from the system.

    Raises
    ------
    ValueError, TypeError
        When parameters do not fit.

    Examples
    --------
    >>> from river import datasets, preprocessing
    >>> from streamgd import imblearn, linear_model
    >>> model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    >>> model = imblearn.ReservoirSMOTE(model, standardise=True, seed=1)
    >>> for x, y in datasets.Phishing():
    ...     model.learn_one(x, y)

    The sampler alone:

    >>> stream = [({"x": float(i)}, i % 10 == 0) for i in range(200)]
    >>> options = {"kind": "replay", "sampling_strategy": 1.0, "seed": 1}
    >>> balanced = list(imblearn.ReservoirSMOTE.resample(stream, **options))
    >>> sum(y for _, y in balanced), len(balanced)
    (180, 360)

    References
    ----------
    N. Chawla, K. Bowyer, L. Hall, W. Kegelmeyer, "SMOTE: synthetic minority over-sampling technique", JAIR
    16, 2002. H. Han, W. Wang, B. Mao, "Borderline-SMOTE", ICIC 2005. H. He, Y. Bai, E. Garcia, S. Li,
    "ADASYN", IJCNN 2008. A. Bernardo, H. Gomes, J. Montiel, B. Pfahringer, A. Bifet, E. Della Valle,
    "C-SMOTE: continuous synthetic minority oversampling for evolving data streams", IEEE BigData 2020, makes
    the whole of what is lacking at once, of a window.
    """

    def __init__(
        self,
        classifier: Any,
        kind: str = "regular",
        *,
        sampling_strategy: float | Mapping[Any, float] = 0.1,
        k_neighbors: int = 10,
        m_neighbors: int = 10,
        capacity: int = 15,
        reservoir: str = "window",
        half_life: float = 0.0,
        max_per_arrival: int = 10,
        standardise: bool = False,
        categorical_features: Sequence[Hashable] | None = None,
        drift_detector: Any = None,
        seed: int | None = None,
    ) -> None:
        if reservoir == "time_biased" and not half_life:
            raise ValueError("reservoir='time_biased' fades by half_life: say how many samples that is")
        if isinstance(categorical_features, str):
            raise TypeError(f"categorical_features={categorical_features!r}; it is a list of names")
        self.classifier = classifier
        self.kind = _one_of(kind, KINDS, "kind")
        self.sampling_strategy = _ratios(sampling_strategy)
        self.k_neighbors = _at_least_1(k_neighbors, "k_neighbors")
        self.m_neighbors = _at_least_1(m_neighbors, "m_neighbors")
        self.capacity = _at_least_1(capacity, "capacity")
        self.reservoir = _one_of(reservoir, SCHEMES, "reservoir")
        self.half_life = _from_0(half_life)
        self.max_per_arrival = _at_least_1(max_per_arrival, "max_per_arrival")
        self.standardise = standardise
        self.categorical_features = categorical_features
        self.drift_detector = drift_detector
        self.seed = seed
        self._reservoirs = Reservoirs(
            kind, reservoir, sampling_strategy, k_neighbors, m_neighbors, capacity, max_per_arrival,
            half_life, standardise, () if categorical_features is None else categorical_features, seed,
        )  # fmt: skip
        self._detector = None if drift_detector is None else drift_detector.clone()
        self._warned = 0  # the sample at which the detector began to warn; 0: it does not
        self._lock = threading.RLock()  # kernels write to reservoirs while other threads run
        self._lenient = not isinstance(_unwrapped(classifier), LinearLearner)
        self._takes_weights = classifier is None or _takes_weights(last_step(classifier))

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()

    @property
    def class_counts_(self) -> dict[Any, float]:
        """Real samples by label, the user's weights and forgetting included."""
        return self._reservoirs.counts

    def stored(self, label: Any) -> list[dict[Hashable, Any]]:
        """Return the samples that the reservoir of a class holds."""
        return self._reservoirs.stored(label)

    # -- the sampler alone ---------------------------------------------------------------------

    @classmethod
    def resample(cls, stream: Iterable[tuple[Any, Any]], **options: Any) -> Iterator[Sample]:
        """Yield the samples of a stream, each followed by the synthetic ones made on its arrival.

        Parameters
        ----------
        stream
            Pairs ``(x, y)``; a sample with None for a label is passed on, and not stored.
        options
            Parameters of the class, without ``drift_detector``: it would watch a classifier.
        """
        if options.get("drift_detector") is not None:
            raise ValueError("a drift_detector watches a classifier's errors, and there is none to resample")
        reservoirs = cls(None, **options)._reservoirs
        for x, y in stream:
            yield x, y
            if y is not None:
                yield from reservoirs.arrive(x, y, 1.0, True)

    def fit_resample(
        self, X: Any, y: Any, *, draws: str | None = None, device: str = "cpu"
    ) -> tuple[Any, Any]:
        """Return a table with rows added to its rare classes, as imbalanced-learn's samplers do.

        Kind, strategy, neighbours, categories and seed are those of this object, the reservoirs are not
        used; see `imblearn.fit_resample`. There a share is for two classes; 1 is "auto", for any number.
        """
        from ._tables import fit_resample

        strategy: Any = "auto" if self.sampling_strategy == 1.0 else self.sampling_strategy
        if isinstance(strategy, Mapping):
            counts = Counter(_rows.vector(y, len(y), "y").tolist())
            shares = {label: int(share * max(counts.values())) for label, share in strategy.items()}
            strategy = {label: n for label, n in shares.items() if n > counts[label]}
        return fit_resample(
            X, y, self.kind, sampling_strategy=strategy, k_neighbors=self.k_neighbors,
            m_neighbors=self.m_neighbors, categorical_features=self.categorical_features,
            random_state=self.seed, draws=draws, device=device,
        )  # fmt: skip

    # -- one sample ----------------------------------------------------------------------------

    def learn_one(self, x: dict[Any, Any], y: Any, w: float = 1.0, **kwargs: Any) -> None:
        """Update the classifier with one sample, and with the synthetic ones that it gives rise to.

        Parameters
        ----------
        x
            Features.
        y
            Label.
        w
            Weight of the sample, at least 0; with 0 nothing happens. Synthetic ones weigh 1.
        kwargs
            Passed to the classifier with the real sample.

        Raises
        ------
        ValueError, TypeError
            When the classifier refuses the sample; nothing is stored then.
        MemoryError
            When classes times `capacity` times features would take more than 2 GiB.
        """
        if w != 1.0:
            if self._lenient and weight(w) == 0.0:
                return
            if not self._takes_weights:
                raise TypeError(f"w={w!r}: {type(last_step(self.classifier)).__name__} takes no weights")
            kwargs["w"] = w
        self._learn_one(x, y, w, kwargs, lambda: None)

    def _learn_one(self, x: Any, y: Any, w: float, kwargs: Any, on_real: Callable[[], None]) -> None:
        """Learn a sample; ``on_real`` is called before the synthetic ones are learned."""
        with self._lock:
            wrong = self._detector is not None and self.classifier.predict_one(x) != y
            self.classifier.learn_one(x, y, **kwargs)
            on_real()
            if self._detector is not None and w:
                self._watch(bool(wrong))
            if self._reservoirs.is_new(y) and not _takes_label(self.classifier, y):
                return
            for made, label in self._reservoirs.arrive(x, y, w, self._lenient):
                learn_made(self.classifier, made, label)

    def _watch(self, wrong: bool) -> None:
        """Show the drift detector an error; on drift drop what is stale."""
        detector: Any = self._detector
        now = self._reservoirs.now + 1
        detector.update(int(wrong))
        if detector.drift_detected:
            width = getattr(detector, "width", None)
            since = (self._warned or None) if width is None else now + 1 - int(width)
            self._reservoirs.forget(since)
            self._warned = 0
        elif getattr(detector, "warning_detected", False):
            self._warned = self._warned or now
        else:
            self._warned = 0

    # -- rows ----------------------------------------------------------------------------------

    @where_classifier_has("_learn_made")
    def predict_learn_rows(
        self, X: Any, y: Any, w: Any = None, *, columns: Sequence[Hashable] | None = None, **kwargs: Any
    ) -> Any:
        """Learn from each row in turn, as `learn_one`; return outputs of the real ones before each update.

        Parameters
        ----------
        X, y, w, columns
            Rows ``(n, p)``, labels ``(n,)``, weights and names of columns, as the learner's method has them.
        kwargs
            None are known; river's wrappers take any.

        Returns
        -------
        Raw outputs ``(n,)`` or ``(n, k)``, as the learner's method returns them.

        Raises
        ------
        ValueError, TypeError
            At a bad row, with its position in the attribute ``row``. Rows before it are learned, and what
            is stored is as it was then.
        """
        with self._lock:
            if self._detector is not None:
                return self._one_by_one(X, y, w, columns)
            arrays = _Arrays(self.classifier, X, y, w, columns)
            outputs: list[Floats] = []
            start = self._row_reached = 0
            while start < arrays.n or not outputs:
                before = self._reservoirs.copy()
                self.classifier._row_reached = 0
                try:
                    stop, made = arrays.take(self._reservoirs, start, arrays.n)
                    z = arrays.learn(self.classifier._learn_made, made, self._reservoirs)
                except BaseException as error:
                    self._reservoirs = before
                    reached = self.classifier._row_reached
                    if reached:  # to where the learner stopped: behind a row that it has learned
                        start = arrays.take_up_to(before, start, int(made.origin[reached - 1]) + 1)
                    self._row_reached = start
                    if isinstance(error, InvalidRow) and error.row is not None:
                        raise arrays.refusal(error, made, outputs) from error
                    raise
                outputs.append(z[~made.made])
                start = self._row_reached = stop
            return _joined(outputs)

    @where_classifier_has("_learn_made")
    def learn_rows(
        self, X: Any, y: Any, w: Any = None, *, columns: Sequence[Hashable] | None = None, **kwargs: Any
    ) -> None:
        """Learn from each row in turn, as `learn_one`; see `predict_learn_rows`."""
        self.predict_learn_rows(X, y, w, columns=columns)

    def _one_by_one(self, X: Any, y: Any, w: Any, columns: Sequence[Hashable] | None) -> Any:
        """Learn rows as dicts, where predictions decide on what is stored."""
        arrays = _Arrays(self.classifier, X, y, w, columns)
        outputs: list[Any] = []
        learner = _unwrapped(self.classifier)

        def keep_output() -> None:
            outputs.append(np.atleast_1d(self.classifier._last_output()))

        for i, (x, label, h) in enumerate(arrays.samples()):
            self._row_reached = i
            before, now = learner.n_samples, self._reservoirs.now
            try:
                self._learn_one(x, label, h, {"w": h}, keep_output)
            except BaseException as error:
                if learner.n_samples > before:  # behind a row that it has learned
                    self._row_reached = i + 1
                    if self._reservoirs.now == now:
                        self._reservoirs.arrive(x, label, h, self._lenient)
                if not isinstance(error, InvalidRow):
                    raise
                bad = error.at(i)
                bad.outputs = self._stacked(outputs[:i])
                raise bad from error
            self._row_reached = i + 1
        return self._stacked(outputs)

    def _stacked(self, outputs: list[Floats]) -> Floats:
        """Return outputs of single samples as those of rows; of labels that were not known, none."""
        k = max(map(len, outputs), default=1)
        z = np.full((len(outputs), k), -np.inf)
        for i, output in enumerate(outputs):
            z[i, : len(output)] = output
        return z if self.classifier._multiclass else z[:, 0]

    # -- mini-batches --------------------------------------------------------------------------

    @where_classifier_has("learn_many")
    def learn_many(self, X: Any, y: Any, w: Any = 1, **kwargs: Any) -> None:
        """Update the classifier with a mini-batch: all rows and the synthetic ones of each, at once.

        Of a compiled learner, or any other classifier or pipeline of pandas frames. A drift detector sees
        none of it.

        Parameters
        ----------
        X, y
            Rows ``(n, p)`` and labels ``(n,)``.
        w
            One weight, or ``(n,)``; other than 1 for compiled learners only.
        kwargs
            Passed to the classifier; of compiled learners ``columns`` and ``threads``.

        Raises
        ------
        ValueError, TypeError
            When a row is bad, with its position in the attribute ``row``; all is as it was, if it is so for
            the classifier.
        """
        arrays = _Arrays(self.classifier, X, y, w, kwargs.pop("columns", None))
        with self._lock:
            before = self._reservoirs.copy()
            try:
                parts: list[Made] = []
                start = 0
                while start < arrays.n or not parts:
                    start, part = arrays.take(self._reservoirs, start, arrays.n)
                    parts.append(part)
                made = Made._make(map(np.concatenate, zip(*parts, strict=True)))
                if hasattr(self.classifier, "_learn_made_many"):
                    arrays.learn(self.classifier._learn_made_many, made, self._reservoirs, **kwargs)
                else:
                    made = Made._make(array[np.argsort(made.made, kind="stable")] for array in made)
                    _learn_frames(self.classifier, X, y, w, made, arrays, self._reservoirs, kwargs)
            except InvalidRow as error:
                self._reservoirs = before
                raise error if error.row is None else _of_row(error, int(made.origin[error.row])) from error
            except BaseException:
                self._reservoirs = before
                raise


class _Arrays:
    """Rows of arrays on their way through reservoirs to a learner."""

    def __init__(self, learner: Any, X: Any, y: Any, w: Any, columns: Sequence[Hashable] | None) -> None:
        self.rows = _rows.rows(X, columns)
        self.n = self.rows.n
        self.labels = _rows.vector(y, self.n, "y")
        self.w = LinearLearner._weights_of(w, self.n)
        learner = _unwrapped(learner)
        self._taken: Any = learner._targets.copy() if _skips(learner) else None  # to tell which labels are
        self.names: Sequence[Hashable]
        if isinstance(learner, LinearLearner):  # it may have an objection to numbers for names
            self.names = learner._column_names(self.rows)
        else:
            self.names = range(self.rows.n_columns) if self.rows.columns is None else self.rows.columns
        self._codes = np.full(self.n, -1)

    def take(self, reservoirs: Reservoirs, start: int, stop: int) -> tuple[int, Made]:
        """Take rows in, see `Reservoirs.take`; labels become known no earlier than they have to."""
        columns = reservoirs.columns_of(self.names)
        stop = min(stop, start + reservoirs.at_once)
        own = self.w[start:stop] if len(self.w) > 1 else self.w
        if self._taken is not None:
            good = self._good[start:stop]
            codes = self._taken.encode(self.labels[start:stop], good.__getitem__)
            own = np.where(good & ~np.isnan(codes), own, 0.0)
        self._codes[start:stop] = reservoirs.codes_of(self.labels[start:stop], own)
        return reservoirs.take(self.rows, columns, self._codes, self.w, start, stop)

    @cached_property
    def _good(self) -> NDArray[np.bool_]:
        """Which rows a learner does not skip for their weight or values."""
        good = np.broadcast_to((self.w > 0.0) & (self.w <= LIMIT), self.n).copy()
        bad = np.flatnonzero(~(np.abs(self.rows.values) <= LIMIT))
        dense = self.rows.values.ndim == 2
        at = bad // self.rows.n_columns if dense else np.searchsorted(self.rows.starts, bad, "right") - 1
        good[at] = False
        return good

    def learn(self, method: Any, made: Made, reservoirs: Reservoirs, **kwargs: Any) -> Any:
        """Give rows to a learner's method."""
        h = np.where(made.made, 1.0, self.w[made.origin if len(self.w) > 1 else 0])
        labels = self.labels_of(made, reservoirs)
        return method(reservoirs.table(made), labels, h, made.made, columns=reservoirs.names, **kwargs)

    def labels_of(self, made: Made, reservoirs: Reservoirs) -> NDArray[Any]:
        """Return labels of rows that were taken in and made."""
        labels = self.labels[made.origin]
        if made.made.any():
            known = reservoirs.labels_like(labels)
            labels = labels.astype(known.dtype, copy=False)
            labels[made.made] = known[made.codes[made.made]]
        return labels

    def take_up_to(self, reservoirs: Reservoirs, start: int, stop: int) -> int:
        """Take rows in, for a learner that has them already; return ``stop``."""
        while start < stop:
            start, _ = self.take(reservoirs, start, stop)
        return start

    @staticmethod
    def refusal(error: InvalidRow, made: Made, outputs: list[Floats]) -> InvalidRow:
        """Return the error of a learner as one of a real row."""
        assert error.row is not None
        refusal = _of_row(error, int(made.origin[error.row]))
        if error.outputs is not None:
            outputs = [*outputs, error.outputs[~made.made[: error.row]]]
        refusal.outputs = _joined(outputs) if outputs else None
        return refusal

    def samples(self) -> Iterator[tuple[dict[Hashable, Any], Any, float]]:
        """Return rows as dicts, labels and weights."""
        names, rows = list(self.names), self.rows
        weights = np.broadcast_to(self.w, (self.n,)).tolist()
        for i, (label, h) in enumerate(zip(self.labels.tolist(), weights, strict=True)):
            if rows.values.ndim == 2:
                yield dict(zip(names, rows.values[i].tolist(), strict=True)), label, h
            else:
                at = slice(*rows.starts[i : i + 2])
                own = [names[k] for k in rows.index[at]]
                yield dict(zip(own, rows.values[at].tolist(), strict=True)), label, h


def _of_row(error: InvalidRow, row: int) -> InvalidRow:
    """Return an error of one row as that of another."""
    return type(error)(str(error).removeprefix(f"row {error.row}: ")).at(row)


def _joined(outputs: list[Floats]) -> Floats:
    """Join outputs of parts; in those before a label was known, it has none."""
    if outputs[0].ndim == 1:
        return np.concatenate(outputs)
    joined = np.full((sum(map(len, outputs)), outputs[-1].shape[1]), -np.inf)
    start = 0
    for z in outputs:
        joined[start : start + len(z), : z.shape[1]] = z
        start += len(z)
    return joined


# -- classifiers of any kind -------------------------------------------------------------------


def _unwrapped(model: Any) -> Any:
    """Return the classifier in a wrapper."""
    while isinstance(model, ClassifierWrapper):
        model = model.classifier
    return model


def _skips(learner: Any) -> bool:
    """Tell whether a classifier is a compiled learner that passes over what is bad."""
    return isinstance(learner, LinearLearner) and learner.on_invalid == "skip"


def _takes_label(classifier: Any, y: Any) -> bool:
    """Tell whether a classifier learned a sample of a new label, and did not skip it."""
    learner = _unwrapped(last_step(_unwrapped(classifier)))
    if _skips(learner):
        try:
            learner._targets.copy().code(y)
        except InvalidRow:
            return False
    return True


def _takes_weights(classifier: Any) -> bool:
    kinds = inspect.signature(classifier.learn_one).parameters
    return "w" in kinds or any(kind.kind is kind.VAR_KEYWORD for kind in kinds.values())


def _learn_frames(
    model: Any, X: Any, y: Any, w: Any, made: Made, arrays: _Arrays, reservoirs: Reservoirs, kwargs: Any
) -> None:
    """Learn a pandas frame and the rows made of it, which a pipeline's transformers do not learn from."""
    if type(X).__module__.partition(".")[0] != "pandas":
        raise TypeError(
            f"learn_many of {type(model).__name__} with synthetic rows takes frames of pandas, not "
            f"{type(X).__name__}; use learn_one, or a compiled learner"
        )
    if not (isinstance(w, numbers.Real) and w == 1):
        raise TypeError(f"learn_many of {type(model).__name__} takes no weights here; use learn_one")
    import pandas as pd

    labels = arrays.labels_of(made, reservoirs)
    synthetic = pd.DataFrame(made.rows[made.made], columns=list(reservoirs.names))
    synthetic = synthetic[list(X.columns)]  # the model was not given others
    while hasattr(model, "steps"):
        *transformers, model = model.steps.values()
        for step in transformers:
            if not step._supervised:
                step.learn_many(X)
            before, X = X, step.transform_many(X)
            if step._supervised:
                step.learn_many(before, y)
            synthetic = step.transform_many(synthetic)
    X = pd.concat([X, synthetic], ignore_index=True) if len(synthetic) else X.reset_index(drop=True)
    y = pd.Series(labels, name=getattr(y, "name", None))
    if hasattr(model, "_learn_made_many"):
        model._learn_made_many(X, y, 1, made.made, **kwargs)
    else:
        model.learn_many(X, y, **kwargs)


# -- parameters --------------------------------------------------------------------------------


def _one_of(value: Any, names: Iterable[str], what: str) -> Any:
    if value not in names:
        raise ValueError(f"{what}={value!r}; it is one of {', '.join(map(repr, names))}")
    return value


def _from_0(half_life: Any) -> float:
    if not isinstance(half_life, numbers.Real) or not 0.0 <= float(half_life) < math.inf:
        raise ValueError(f"half_life={half_life!r}; it is a number of samples, or 0 to forget none")
    return float(half_life)


def _at_least_1(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"{what}={value!r}; it must be an integer of at least 1")
    return int(value)


def _ratios(value: Any) -> Any:
    given = value.values() if isinstance(value, Mapping) else [value]
    for ratio in given:
        if not isinstance(ratio, numbers.Real) or not 0.0 < float(ratio) <= 1.0:
            raise ValueError(
                f"sampling_strategy={value!r}: a class's share of the largest one, after what is made, is "
                "above 0 and at most 1; say it for all others, or in a dict by label"
            )
    return value
