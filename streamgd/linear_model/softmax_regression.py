"""Softmax regression."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from types import ModuleType
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from river import base

from streamgd import _features as f
from streamgd import _rows
from streamgd._learner import LinearLearner
from streamgd._model import Floats
from streamgd._targets import Classes
from streamgd.kernels import softmax
from streamgd.kernels.pieces import SAMPLES, Pieces
from streamgd.optim import SGD, _accept, losses
from streamgd.optim._multiclass import CrossEntropy
from streamgd.optim.base import Loss, Penalty


class SoftmaxRegression(LinearLearner, base.MiniBatchClassifier):
    """Multinomial logistic regression by stochastic gradient descent, compiled.

    Parameters, defaults and results are those of river's class of the same name; those after ``l2``, and
    mini-batches, are ours. A class may appear at any time: it starts with weights of 0 and with its own
    count of updates, on which bias corrections and schedules depend, and in its first sample its
    probability counts as 0 (so in river).

    Parameters
    ----------
    optimizer
        How weights are updated, those of each class by themselves. Default ``optim.SGD(0.01)``.
    loss
        Default ``optim.losses.CrossEntropy()``.
    l2
        Strength of the L2 penalty on the features that are present.
    l1
        Strength of the cumulative L1 penalty. It may be joined with ``l2``.
    intercept_lr
        Learning rate of the intercepts, one a class: a number or a scheduler, 0 for none, or
        ``"optimizer"`` to learn them as the weights of a feature of value 1. Default: none, as in river,
        unless the optimizer's own rule has one (``"auto"``, `Normalized`, ...).
    clip_gradient
        Largest absolute value of the loss's derivative in a raw output times the sample's weight.
    penalty
        A penalty in place of ``l1`` and ``l2``.
    late
        ``"fresh"`` to count updates, and L1 owed, from a feature's first appearance and not the class's.
    on_invalid
        What to do with a bad sample: ``"raise"``, or ``"skip"`` and count it in ``n_invalid``.
    class_weight
        What the weights of samples are multiplied by, by their class: ``"balanced"``, a dict of labels and
        factors, or a piece of `optim.class_weights`. Losses that are reported do not see it, as they do
        see ``CrossEntropy(class_weight=...)``, which is a part of the loss.

    Attributes
    ----------
    weights : dict
        Weights by label, then by feature.
    intercept : dict
        Intercepts by label.
    labels_ : tuple
        The labels known so far, in order of appearance.
    n_invalid : int
        Bad samples that were skipped.

    Examples
    --------
    >>> from river import datasets, evaluate, metrics, preprocessing
    >>> from streamgd import linear_model
    >>> model = preprocessing.StandardScaler() | linear_model.SoftmaxRegression()
    >>> evaluate.progressive_val_score(datasets.ImageSegments(), model, metrics.MacroF1())
    MacroF1: 81.88%
    """

    __slots__ = ("_answer", "_codes")

    _default_loss = CrossEntropy  # type: ignore[assignment]
    _kernels: ClassVar[ModuleType] = softmax
    _RUNTIME = LinearLearner._RUNTIME | {"_lanes", "_lane_scratch", "_class_weights", "_last"}

    _targets: Classes
    _lanes = 4
    _lane_scratch: Floats
    _class_weights: Floats
    _last: Floats  # raw outputs of the last dict that was learned

    def __init__(
        self,
        optimizer: Any = None,
        loss: Any = None,
        l2: float = 0.0,
        *,
        l1: float = 0.0,
        intercept_lr: Any = None,
        clip_gradient: float = 1e12,
        penalty: Penalty | None = None,
        late: Literal["global", "fresh"] = "global",
        on_invalid: Literal["raise", "skip"] = "raise",
        class_weight: Any = None,
    ) -> None:
        if intercept_lr is None:
            chosen = SGD() if optimizer is None else optimizer
            rule = _accept.optimizer(chosen, f"{type(self).__name__}(optimizer=...)").rule
            intercept_lr = "optimizer" if rule.intercept_feature else 0.0
        super().__init__(
            optimizer, loss, l2, l1, 0.0, intercept_lr, clip_gradient, None,
            penalty, late, on_invalid, Classes(), class_weight,
        )  # fmt: skip

    @property
    def _multiclass(self) -> bool:
        return True

    # -- parameters and state ------------------------------------------------------------------

    def _accept(self, name: str, value: Any) -> Any:
        if name == "loss" and not isinstance(value, Mapping):
            return _accept.multiclass_loss(value, f"{type(self).__name__}(loss=...)")
        return super()._accept(name, value)

    @property
    def _compiled_loss(self) -> Loss:
        """The loss of one class's output, which depends on how a rule is told of the others."""
        whole = self.optimizer.rule.kernel == "lanes"
        return softmax.Beside() if whole else losses.Log()  # type: ignore[return-value]

    def _chosen_pieces(self) -> Pieces:
        rule = self.optimizer.rule
        if rule.kernel not in ("coordinate", "lanes"):
            raise ValueError(
                f"{type(rule).__name__} has no form for several classes; choose an optimizer of single "
                "weights (SGD, AdaGrad, Adam, ...), or wrap LogisticRegression in river's "
                "multiclass.OneVsRestClassifier"
            )
        return super()._chosen_pieces()

    def _state_shapes(self, pieces: Pieces, n: int) -> dict[str, tuple[int, ...]]:
        lanes = self._lanes
        return {
            "_weights": (n, lanes),
            "_slots": (max(1, pieces.n_slots), n, lanes),
            "_charged": (n, lanes),
            "_scalars": (lanes, pieces.n_scalars),
        }

    def _new_scratch(self, capacity: int) -> dict[str, NDArray[Any]]:
        class_weights = np.ones(self._lanes)
        before = self.__dict__.get("_class_weights", class_weights)
        class_weights[: len(before)] = before
        more = {"_lane_scratch": np.zeros(f.N_LANE_SCRATCH * self._lanes), "_class_weights": class_weights}
        more["_last"] = np.full(self._lanes, np.nan)
        return super()._new_scratch(capacity) | more

    def _make_room_for(self, targets: Classes) -> None:
        lanes = self._lanes
        if len(targets.codes) > lanes:
            wanted = max(len(targets.codes), lanes + lanes // 2)
            try:
                self._lanes = -(-wanted // 4) * 4
                self._grow(len(self._weights))
            except BaseException:
                self._lanes = self._weights.shape[1]
                raise
        if len(targets.codes) > len(self._codes):
            self._control[f.N_RATES] = 0  # the table has no rates of theirs
        self._factors[:] = self._factors_of(targets)
        self._weigh(targets)

    def _weigh(self, targets: Classes) -> None:
        """Write the factors of the loss of each class."""
        for k, label in enumerate(targets.codes):
            self._class_weights[k] = self.loss.weight(label)  # type: ignore[attr-defined]

    def _publish_targets(self, control: NDArray[np.int64]) -> None:
        self._weigh(self._targets)
        self._codes = self._targets.codes
        # one attribute, because another thread may find a label: the kernel reads from `out` how long it is
        self._answer = self._targets.known, np.full(max(1, len(self._codes)), float(len(self._codes)))
        control[f.CLASSES], control[f.LANES] = len(self._codes), self._weights.shape[1]
        control[f.LANE_SCRATCH] = self._lane_scratch.ctypes.data
        control[f.CLASS_WEIGHTS] = self._class_weights.ctypes.data
        control[f.OUTPUTS], control[f.OUTPUT_STEP] = self._last.ctypes.data, len(self._last)

    def _commit_targets(self, draft: Classes) -> None:
        n_learned = int((self._scalars[:, SAMPLES] > 0.0).sum())
        if n_learned != len(self._codes):
            super()._commit_targets(Classes(draft.known[:n_learned]))

    def __setstate__(self, state: dict[str, Any]) -> None:
        weights, known = np.asarray(state["_weights"]), len(state["_targets"].codes)
        self._lanes = weights.shape[1] if weights.ndim == 2 and weights.shape[1] >= max(1, known) else 0
        super().__setstate__(state)

    @property
    def labels_(self) -> tuple[Any, ...]:
        """The labels known so far, in order of appearance."""
        return self._targets.known

    @property
    def class_counts_(self) -> dict[Any, float]:
        """What the class weight has counted: samples by label, the user's weights, forgetting included."""
        return dict(zip(self.labels_, self._class_counts[0].tolist(), strict=False))

    @property
    def weights(self) -> dict[Any, dict[Hashable, float]]:  # type: ignore[override]
        """The weights by label, then by feature: new dicts."""
        with self._lock:  # another thread may add features and classes
            n = len(self._features)
            current = self._current(self._weights[:n], self._charged[:n])
            return {
                label: self._named(self._to_predict(current[:, k], self._slots[:, :n, k], self._scalars[k]))
                for k, label in enumerate(self.labels_)
            }

    @property  # type: ignore[misc]
    def intercept(self) -> dict[Any, float]:  # type: ignore[override]
        """The intercepts by label, a new dict."""
        with self._lock:
            n = len(self._features)
            weights, slots = self._weights[:n], self._slots[:, :n]
            return {
                label: self._intercept_of(weights[:, k], slots[..., k], self._scalars[k])
                for k, label in enumerate(self.labels_)
            }

    # -- one dict ------------------------------------------------------------------------------

    def learn_one(self, x: dict[Any, Any], y: Any, w: float = 1.0) -> None:
        """Update the model with one sample; see `LogisticRegression.learn_one`."""
        try:
            code = self._codes.get(y)
        except TypeError:
            code = None  # not hashable: refused by its name
        if self._kernel.call(x, code, w, self._control):
            self._learn_in_python(x, y, w)

    def _last_output(self) -> Floats:
        return self._last[: len(self._codes)].copy()

    def _keep_output(self, z: Any) -> None:
        self._last[: np.size(z) if np.ndim(z) else None] = z

    def predict_proba_one(self, x: dict[Any, Any]) -> dict[Any, float]:  # type: ignore[override]
        """Predict the probability of each label.

        Parameters
        ----------
        x
            Features, names to numbers. Features that the model has not met count as absent.

        Returns
        -------
        Labels to probabilities; empty before the first label is known, and for a bad sample with
        ``on_invalid="skip"``.
        """
        labels, template = self._answer
        out = template.copy()
        best = self._predict_kernel.call(x, out, self._control)
        if best != best and self._mean_one(x, out) is None:
            return {}
        return dict(zip(labels, out.tolist(), strict=False))

    def predict_one(self, x: dict[Any, Any]) -> Any:  # type: ignore[override]
        """Predict the most probable label of one sample, of equals the one that was known first.

        None before the first label is known, and for a bad sample with ``on_invalid="skip"``.
        """
        best: float | None = self._predict_kernel.call(x, None, self._control)
        if best != best:
            best = self._mean_one(x, None)
        return None if best is None or best < 0.0 else self._answer[0][int(best)]

    def debug_one(self, x: dict[Any, Any], decimals: int = 5) -> str:
        """Explain a prediction: a table of what each feature contributes to each label's raw output.

        Parameters
        ----------
        x
            Features, names to numbers.
        decimals
            Decimals to print.
        """
        from river.utils.pretty import print_table

        weights, intercepts = self.weights, self.intercept
        columns = [[float(v) for v in x.values()] + [1.0]]
        for label, by_feature in weights.items():
            shares = [float(v) * by_feature.get(name, 0.0) for name, v in x.items()]
            columns.append([*shares, intercepts[label]])
        table: str = print_table(
            headers=["Name", "Value", *map(str, weights)],
            columns=[
                [*map(str, x), "Intercept"],
                *([f"{v: ,.{decimals}f}" for v in column] for column in columns),
            ],
        )
        return table

    # -- rows ----------------------------------------------------------------------------------

    @staticmethod
    def _outputs(n: int, targets: Classes) -> Floats:
        return np.empty((n, len(targets.codes)))

    def _of_known(self, outputs: Floats) -> Floats:
        return np.ascontiguousarray(outputs[:, : len(self._codes)])

    def learn_rows(self, X: Any, y: Any, w: Any = None, *, columns: Sequence[Hashable] | None = None) -> None:
        """Learn from each row in turn, as `learn_one`; see `predict_learn_rows` for the parameters."""
        self._learn_rows(X, y, w, columns, lambda n, targets: np.empty((0, len(targets.codes))))

    def predict_learn_rows(
        self, X: Any, y: Any, w: Any = None, *, columns: Sequence[Hashable] | None = None
    ) -> Floats:
        """Learn from each row in turn, as `learn_one`, and return the outputs made before each update.

        Parameters
        ----------
        X
            Rows ``(n, p)``: a NumPy array (C-contiguous float32 or float64 is not copied), a frame of
            pandas, polars or Arrow, a SciPy sparse matrix, or `SparseRows`.
        y
            Labels ``(n,)``.
        w
            Weights: None (all 1), one number, or ``(n,)``.
        columns
            Names of the columns of a bare array; by default 0 to p - 1.

        Returns
        -------
        Raw outputs ``(n, k)``, float64, of the k labels that are known afterwards, in the order of
        ``labels_``. Minus infinity where a label was not known yet, as its probability was 0;
        ``loss.mean_func`` maps them to probabilities. NaN where a row was skipped
        (``on_invalid="skip"``).

        Raises
        ------
        ValueError, TypeError
            At a bad row, with its position in the attribute ``row``. Rows before it are learned.
        """
        return self._learn_rows(X, y, w, columns, self._outputs)

    @staticmethod
    def _flat(state: tuple[Floats, Floats, Floats]) -> tuple[Floats, Floats, Floats]:
        weights, slots, charged = state
        return weights.reshape(-1), slots.reshape(len(slots), -1), charged.reshape(-1)

    def _class_factors(self, targets: Classes) -> tuple[Floats, ...]:
        return (self._class_weights[: len(targets.codes)],)

    def predict_proba_many(self, X: Any, *, columns: Sequence[Hashable] | None = None) -> Any:
        """Predict the probabilities of each label for rows ``(n, p)``.

        Returns a frame of the kind that came in with a column for each label, or an array ``(n, k)`` in
        the order of ``labels_``.
        """
        labels = self.labels_
        rows, raw = self._raw_rows(X, columns)
        p = self.loss.mean_func(raw)
        if rows.frame is None:
            return p
        return _rows.frame_like(rows.frame, {label: p[:, k] for k, label in enumerate(labels)})

    def predict_many(self, X: Any, *, columns: Sequence[Hashable] | None = None) -> Any:
        """Predict the labels of rows ``(n, p)``, None where `predict_one` returns it.

        Returns a series of the kind of the frame that came in (pandas, polars, Arrow), or an array ``(n,)``.
        """
        rows, raw = self._raw_rows(X, columns)
        known = list(self.labels_[: raw.shape[1]])
        one_type = len({type(label) for label in known}) == 1
        if not known:
            return self._like(rows, np.full(rows.n, None))
        names = np.array(known) if one_type else np.array([*known, None], dtype=object)[:-1]
        chosen = names[raw.argmax(axis=1)]
        skipped = np.isnan(raw).any(axis=1)
        if skipped.any():
            chosen = chosen.astype(object)
            chosen[skipped] = None
        return self._like(rows, chosen)
