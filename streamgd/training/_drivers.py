"""The ways to learn from rows: one update a row, a mini-batch or an epoch, compiled or as river does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .._errors import InvalidRow
from .._gradient import MOST_ROWS, Gradient, precision
from .._learner import LinearLearner
from ..evaluate._predictions import learner_of
from ..imblearn.online_class_weight import OnlineClassWeight
from ..kernels.pieces import SINGLE
from ..stream import Batch
from ..stream._samples import to_dicts
from ._cursor import Dicts

Floats = NDArray[np.float64]
BatchSize = int | Literal["all"]


class Driver(ABC):
    """Makes a model learn, and tells what it predicted before."""

    multiple = 1  # rows are wanted in multiples of this
    chunk = 1 << 16  # and at most so many of them at once: between two looks at the clock
    n_updates = 0
    done = 0  # of the rows given last, those behind us: all, unless there was an error or Ctrl-C
    learner: LinearLearner | None = None  # whose raw outputs `learn` returns; None: answers of the model
    pending = False  # whether rows were seen whose update is still to come

    @abstractmethod
    def learn(self, rows: Any) -> tuple[Any, Any]:
        """Learn rows; return targets, and outputs or answers made before each update.

        An `InvalidRow` has the position of the row, and ``outputs`` of those before it that count.
        """

    @property
    def targets(self) -> Any:
        """What knows the labels of an update that is still to come; None: the model does."""
        return None

    def end_epoch(self) -> None:  # noqa: B027  most have nothing to do
        """Do what is left to do at the end of an epoch."""


def driver(
    model: Any,
    batch_size: BatchSize,
    threads: int,
    ask: str,
    dicts: bool,
    dtype: str | None = None,
    device: str = "cpu",
) -> Driver:
    """Return the way to learn: rows come as dicts if ``dicts``; ``ask`` is what river's models are asked."""
    learner = learner_of(model)
    if isinstance(model, OnlineClassWeight) and learner is not None:
        model = learner  # with the parameter set, all that the wrapper would do
    if device == "cuda":
        from ._device_drivers import device_driver

        return device_driver(model, batch_size, dtype)
    if precision(dtype) is SINGLE:
        _check_single(model, batch_size)
    if batch_size == 1 and learner is not None and not dicts:
        return RowByRow(model, learner)
    if isinstance(model, LinearLearner):
        if batch_size == 1:
            return SampleBySample(model)
        if batch_size == "all":
            return FullBatch(model, threads, dtype)
        return MiniBatches(model, batch_size, threads, dtype)
    if batch_size == 1:
        return AnyModel(model, ask)
    if batch_size == "all" or not hasattr(model, "learn_many"):
        raise ValueError(
            f"batch_size={batch_size!r}: {type(model).__name__} "
            + ("has no learn_many; " if batch_size != "all" else "takes no step on the sum of all rows; ")
            + "use batch_size=1, or a learner of streamgd"
        )
    return Frames(model, batch_size, ask)


def _check_single(model: Any, batch_size: BatchSize) -> None:
    """Raise ValueError unless a model has steps in float32, of that many rows."""
    if not isinstance(model, LinearLearner):
        raise ValueError(
            f'dtype="float32": {type(model).__name__} computes in numbers of its own; leave dtype out, or '
            "fit a learner of streamgd"
        )
    if batch_size == 1:
        raise ValueError(
            'dtype="float32" with batch_size=1: row by row is float64; leave dtype out, or learn in '
            'mini-batches (batch_size=256, say, or "all")'
        )


class CompiledDriver(Driver):
    """A learner's own updates."""

    def __init__(self, model: LinearLearner) -> None:
        self._model = self.learner = model
        self._before = model.n_updates

    @property
    def n_updates(self) -> int:  # type: ignore[override]
        """Updates so far."""
        return self._model.n_updates - self._before


class RowByRow(Driver):
    """One update a row, in one compiled pass over an array; of a learner, or of one in a wrapper."""

    def __init__(self, model: Any, learner: LinearLearner) -> None:
        self._model, self._learner, self.learner = model, learner, learner
        self._before = learner.n_updates

    @property
    def n_updates(self) -> int:  # type: ignore[override]
        """Updates so far."""
        return self._learner.n_updates - self._before

    def learn(self, rows: Batch) -> tuple[Any, Any]:
        self._model._row_reached = self.done = 0
        try:
            outputs = self._model.predict_learn_rows(rows.X, rows.y, rows.w, columns=rows.columns)
        except BaseException:
            self.done = self._model._row_reached
            raise
        self.done = len(rows)
        return rows.y, outputs


class SampleBySample(CompiledDriver):
    """One update a dict."""

    def learn(self, rows: Dicts) -> tuple[Any, Any]:
        learn, output = self._model.learn_one, self._model._last_output
        outputs: list[Any] = []
        before = self._model.n_samples
        try:
            for x, y, w in rows.samples:
                learn(x, y, w)
                outputs.append(output())
        except InvalidRow as error:
            bad = error.at(len(outputs))
            bad.outputs = _of_samples(outputs)
            raise bad from error
        finally:
            self.done = len(outputs)
            if self.done < len(rows):  # Ctrl-C may come when a row is learned, and its output is not read
                known = [
                    not np.isnan(z).any() and w != 0
                    for z, (*_, w) in zip(outputs, rows.samples, strict=False)
                ]
                self.done += self._model.n_samples - before > sum(known)
        return rows.y, _of_samples(outputs)


def _of_samples(outputs: list[Any]) -> Floats:
    """Join the outputs of single samples: numbers, or one for each class that was known."""
    if outputs and isinstance(outputs[0], np.ndarray):
        return stacked([z[np.newaxis] for z in outputs])
    return np.array(outputs, dtype=np.float64)


class MiniBatches(CompiledDriver):
    """One update a mini-batch, on its mean gradient."""

    def __init__(self, model: LinearLearner, size: int, threads: int, dtype: str | None) -> None:
        super().__init__(model)
        self.multiple, self._threads, self._dtype = size, threads, dtype

    def learn(self, rows: Batch) -> tuple[Any, Any]:
        outputs: list[Floats] = []
        self.done = 0
        for lo in range(0, len(rows), self.multiple):
            hi = min(lo + self.multiple, len(rows))
            X, y, w = rows.part(lo, hi)
            before = self._model.n_updates
            try:
                h, columns = 1 if w is None else w, rows.columns
                z = self._model._learn_made_many(
                    X, y, h, None, columns=columns, threads=self._threads, dtype=self._dtype
                )
            except InvalidRow as error:
                bad = type(error)(str(error).removeprefix(f"row {error.row}: ")).at(lo + (error.row or 0))
                bad.outputs = stacked(outputs)
                raise bad from error
            except BaseException:
                self.done = hi if self._model.n_updates > before else lo
                raise
            outputs.append(z)
            self.done = hi
        return rows.y, stacked(outputs)


class FullBatch(CompiledDriver):
    """One update an epoch, on the mean gradient of all its rows, which need not be in memory."""

    def __init__(self, model: LinearLearner, threads: int, dtype: str | None) -> None:
        super().__init__(model)
        self.multiple = MOST_ROWS  # whole blocks: sums do not depend on the source
        self._threads, self._dtype = threads, dtype
        self._gradient: Any = None

    @property
    def pending(self) -> bool:  # type: ignore[override]
        """Whether rows were seen whose update is still to come."""
        return self._gradient is not None

    @property
    def targets(self) -> Any:
        """What knows the labels of an update that is still to come; None: the model does."""
        return None if self._gradient is None else self._gradient._targets

    def learn(self, rows: Batch) -> tuple[Any, Any]:
        self.done = 0
        if self._gradient is None:
            self._gradient = self._begin()
        w = 1 if rows.w is None else rows.w
        z = self._gradient.add(rows.X, rows.y, w, columns=rows.columns, threads=self._threads)
        self.done = len(rows)
        return rows.y, z

    def _begin(self) -> Gradient:
        return self._model.accumulate(self._dtype)

    def end_epoch(self) -> None:
        gradient, self._gradient = self._gradient, None
        if gradient is not None:
            gradient.step()


class AnyModel(Driver):
    """One update a dict, for whatever has river's interface."""

    def __init__(self, model: Any, ask: str) -> None:
        self._model = model
        self._ask = getattr(model, "predict_proba_one" if ask == "proba" else "predict_one")

    def learn(self, rows: Batch | Dicts) -> tuple[Any, Any]:
        samples = rows.samples if isinstance(rows, Dicts) else list(_triples(rows))
        answers = []
        self.done = 0
        for x, y, w in samples:
            answers.append(self._ask(x))
            if w == 1.0:
                self._model.learn_one(x, y)
            elif w:
                self._model.learn_one(x, y, w=w)
            self.done += 1
            self.n_updates += w != 0
        return [y for _, y, _ in samples], answers


class Frames(Driver):
    """One update a mini-batch, through river's ``learn_many`` and a DataFrame."""

    def __init__(self, model: Any, size: int, ask: str) -> None:
        self._model, self.multiple = model, size
        self._proba = ask == "proba"

    def learn(self, rows: Batch) -> tuple[Any, Any]:
        answers: list[Any] = []
        self.done = 0
        for lo in range(0, len(rows), self.multiple):
            hi = min(lo + self.multiple, len(rows))
            X, y, w = rows.part(lo, hi)
            X, y = _frame(X, y, rows.columns)
            if self._proba:
                answers += self._model.predict_proba_many(X).to_dict(orient="records") or [{}] * len(y)
            else:
                answers += list(self._model.predict_many(X)) or [None] * len(y)
            if w is None:
                self._model.learn_many(X, y)
            else:
                self._model.learn_many(X, y, w=w)
            self.done = hi
            self.n_updates += 1
        return rows.y, answers


def _frame(X: Any, y: Any, columns: Sequence[Hashable]) -> tuple[Any, Any]:
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("river's learn_many takes DataFrames: pip install pandas") from error
    if not isinstance(X, np.ndarray):
        raise ValueError(
            "mini-batches of river's models are DataFrames, and these rows are sparse (categories or many "
            "features): use batch_size=1, or a learner of streamgd"
        )
    return pd.DataFrame(X, columns=list(columns)), pd.Series(y)


def _triples(rows: Batch) -> Iterator[tuple[Any, Any, float]]:
    weights = [1.0] * len(rows) if rows.w is None else rows.w.tolist()
    return zip(to_dicts(rows), np.asarray(rows.y).tolist(), weights, strict=True)


def stacked(outputs: Sequence[Floats]) -> Floats:
    """Join raw outputs; minus infinity for the classes that the earlier of them did not know yet."""
    if not outputs:
        return np.empty(0)
    if outputs[0].ndim == 2:
        width = outputs[-1].shape[1]
        if outputs[0].shape[1] < width:
            gaps = [[(0, 0), (0, width - z.shape[1])] for z in outputs]
            outputs = [np.pad(z, gap, constant_values=-np.inf) for z, gap in zip(outputs, gaps, strict=True)]
    return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)
