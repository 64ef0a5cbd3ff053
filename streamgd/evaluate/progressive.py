"""Progressive validation as river has it; in one compiled pass where the rows are a table."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from river import base

from .._errors import InvalidRow
from .._rows import vector

# Rows of one compiled pass without a checkpoint: their predictions stay in the processor's cache.
_CHUNK = 1 << 15

# With checkpoints closer than this, one row at a time is as fast as a pass of so few rows.
_DENSE = 32


def progressive_val_score(
    dataset: Any,
    model: Any,
    metric: Any,
    moment: str | Callable[..., Any] | None = None,
    delay: str | int | dt.timedelta | Callable[..., Any] | None = None,
    print_every: int = 0,
    show_time: bool = False,
    show_memory: bool = False,
    **print_kwargs: Any,
) -> Any:
    """
    Evaluate a model on a stream: test on each row, then train on it.

    This is river's function and takes all that river's takes. Besides, ``dataset`` may be a table,
    ``(X, y)`` or ``(X, y, w)``. For a learner of streamgd, prediction and update then run in one compiled
    pass, and the metric ends in the state that river's loop over the same rows would give it. With delayed
    labels, or with any other model (a pipeline, a model of river), river's loop gets the rows as dicts.

    Parameters
    ----------
    dataset
        A stream of ``(x, y)`` or ``(x, y, kwargs)``, as river takes it; or a tuple of n rows (a NumPy array,
        a frame of pandas, polars or Arrow, a sparse matrix of SciPy), n labels or numbers, and perhaps
        a weight for all rows or one for each. Columns of a bare array are the features 0, 1, 2, ...
    model
        The model to evaluate; it is trained.
    metric
        A metric of river, or several added up. It is updated without weights, as river does.
    moment, delay
        When a row arrives and how much later its label does, as in river. Default: at once.
    print_every
        Rows between two lines of progress. Default 0: none is printed.
    show_time, show_memory
        Whether these lines have the time since the start and the memory of the model.
    **print_kwargs
        Passed to ``print``, for instance ``file``.

    Returns
    -------
    The metric.

    Raises
    ------
    ValueError
        The metric does not suit the model; ``X`` and ``y`` differ in length; the model refuses a row. The
        error then has the number of the row in ``row``; the rows before it are learned and counted.

    Examples
    --------
    >>> import numpy as np
    >>> from river import metrics
    >>> from streamgd import evaluate, linear_model
    >>> X = np.random.default_rng(0).normal(size=(1000, 3))
    >>> y = X[:, 0] > X[:, 1]
    >>> model = linear_model.LogisticRegression()
    >>> evaluate.progressive_val_score((X, y), model, metrics.Accuracy())
    Accuracy: 95.50%

    """
    table = _table(dataset)
    if table is None or not _compiled(table, model, moment, delay, print_every):
        from river import evaluate

        return evaluate.progressive_val_score(
            dataset if table is None else _samples(table),
            model,
            metric,
            moment=moment,
            delay=delay,
            print_every=print_every,
            show_time=show_time,
            show_memory=show_memory,
            **print_kwargs,
        )
    from river.utils.pretty import humanize_bytes

    for state in _by_chunks(table, model, metric, print_every, show_time, show_memory, predictions=False):
        line = f"[{state['Step']:,d}] {metric}"
        if show_time:
            minutes, seconds = divmod(state["Time"].seconds, 60)
            hours, minutes = divmod(minutes, 60)
            line += f" – {hours:02d}:{minutes:02d}:{seconds:02d}"
        if show_memory:
            line += f" – {humanize_bytes(state['Memory'])}"
        print(line, **print_kwargs)
    return metric


def iter_progressive_val_score(
    dataset: Any,
    model: Any,
    metric: Any,
    moment: str | Callable[..., Any] | None = None,
    delay: str | int | dt.timedelta | Callable[..., Any] | None = None,
    step: int = 1,
    measure_time: bool = False,
    measure_memory: bool = False,
    yield_predictions: bool = False,
) -> Iterator[dict[str, Any]]:
    """
    Evaluate a model as `progressive_val_score` does, and yield the results on the way.

    Parameters
    ----------
    dataset, model, metric, moment, delay
        As in `progressive_val_score`.
    step
        Rows between two results; at each, the model has learned just the rows so far. Compiled passes are
        as short; below 32 rows there are none. 0: no results.
    measure_time, measure_memory, yield_predictions
        Whether results have the time since the start, the model's size in bytes, the last prediction.

    Yields
    ------
    The metrics by name (the objects themselves, which go on changing), ``Step`` and what was asked for.

    """
    table = _table(dataset)
    if table is not None and _compiled(table, model, moment, delay, step):
        yield from _by_chunks(table, model, metric, step, measure_time, measure_memory, yield_predictions)
        return
    from river import evaluate

    yield from evaluate.iter_progressive_val_score(
        dataset if table is None else _samples(table),
        model,
        metric,
        moment=moment,
        delay=delay,
        step=step,
        measure_time=measure_time,
        measure_memory=measure_memory,
        yield_predictions=yield_predictions,
    )


class _Table(NamedTuple):
    """Rows to learn from: a matrix or a frame, its labels or numbers, and weights."""

    X: Any
    y: NDArray[Any]
    w: Any

    def part(self, start: int, stop: int) -> _Table:
        """Take the rows from ``start`` up to ``stop``."""
        X = self.X.iloc if hasattr(self.X, "iloc") else self.X
        w = self.w if self.w is None or np.ndim(self.w) == 0 else self.w[start:stop]
        return _Table(X[start:stop], self.y[start:stop], w)


def _table(dataset: Any) -> _Table | None:
    """Tell a table from a stream: the items of a stream are tuples, its first one is never a matrix."""
    if not isinstance(dataset, tuple | list) or len(dataset) not in (2, 3):
        return None
    X, y, *rest = dataset
    if len(getattr(X, "shape", ())) != 2:
        return None
    n = X.shape[0]
    if hasattr(X, "tocsr"):
        X = X.tocsr()
        if not X.has_canonical_format:  # one value for a feature, as in a dict
            X = X.copy()
            X.sum_duplicates()
    w = rest[0] if rest else None
    return _Table(X, vector(y, n, "y"), w if w is None or np.ndim(w) == 0 else vector(w, n, "w"))


def _compiled(table: _Table, model: Any, moment: Any, delay: Any, step: int) -> bool:
    at_once = moment is None and delay is None
    return at_once and hasattr(model, "predict_learn_rows") and (not step or step >= _DENSE)


def _samples(table: _Table) -> Iterator[tuple[Any, ...]]:
    """Give the rows of a table as river takes them, a few at a time."""
    start, size = 0, 1
    while start < len(table.y):
        X, y, w = table.part(start, start + size)
        start, size = start + size, min(2 * size, 1024)  # often the first row is all that is asked for
        if w is None:
            yield from zip(_dicts(X), y.tolist(), strict=True)
        else:
            weights = np.broadcast_to(w, len(y)).tolist()
            yield from zip(_dicts(X), y.tolist(), ({"w": weight} for weight in weights), strict=True)


def _dicts(X: Any) -> Iterator[dict[Any, Any]]:
    if isinstance(X, np.ndarray):
        names = range(X.shape[1])
        return (dict(zip(names, row, strict=True)) for row in X.tolist())
    if hasattr(X, "indptr"):
        names, values = X.indices.tolist(), X.data.tolist()
        return (dict(zip(names[i:j], values[i:j], strict=True)) for i, j in pairwise(X.indptr.tolist()))
    if hasattr(X, "to_pylist"):
        return iter(X.to_pylist())
    from river import stream

    return (x for x, _ in stream.iter_frame(X))


def _by_chunks(
    table: _Table, model: Any, metric: Any, step: int, with_time: bool, with_memory: bool, predictions: bool
) -> Iterator[dict[str, Any]]:
    """Run compiled passes from checkpoint to checkpoint, and yield there what river's loop yields."""
    from river.metrics.base import Metrics

    if not metric.works_with(model):
        raise ValueError(f"{type(metric).__name__} metric is not compatible with {model}")
    begin = time.perf_counter()
    n = len(table.y)
    done = 0
    answer: Any = None
    while done < n:
        checkpoint = (done // step + 1) * step if step else n
        stop = min(checkpoint, done + _CHUNK, n)
        try:
            for given in _until_labels_are_known(table.part(done, stop), model, metric):
                done, answer = done + 1, given
            if done < stop:
                answer = _pass(table.part(done, stop), model, metric)
        except InvalidRow as error:
            if error.row is None:  # not of one row: a whole column is wrong
                raise
            # Counted from the first row of the table, not of this pass.
            raise type(error)(str(error).removeprefix(f"row {error.row}: ")).at(done + error.row) from error
        done = stop
        at_checkpoint = step > 0 and done == checkpoint
        if at_checkpoint or (step and done == n > step):
            members = metric if isinstance(metric, Metrics) else [metric]
            state = {type(member).__name__: member for member in members}
            state["Step"] = done
            if with_time:
                state["Time"] = dt.timedelta(seconds=time.perf_counter() - begin)
            if with_memory:
                state["Memory"] = model._raw_memory_usage
            if predictions:
                state["Prediction"] = answer if at_checkpoint else None
            yield state


def _classifies(model: Any) -> bool:
    return isinstance(model, base.Classifier)


def _has_classes(model: Any) -> bool:
    """Tell whether raw outputs are rows, one for each of several classes."""
    return _classifies(model) and bool(model._multiclass)


def _until_labels_are_known(table: _Table, model: Any, metric: Any) -> Iterator[Any]:
    """Go row by row while a classifier's answers depend on which labels it has met; yield the answers."""
    if not _classifies(model) or _has_classes(model) or len(model.labels_) == 2:
        return
    predict = model.predict_one if metric.requires_labels else model.predict_proba_one
    refused = (InvalidRow,) if model.on_invalid == "skip" else ()
    for x, label, *weight in _samples(table):
        n_invalid = model.n_invalid
        answer = None
        try:
            with suppress(*refused):
                answer = predict(x)
            model.learn_one(x, label, **dict(*weight))
        except InvalidRow as error:
            raise error.at(0) from error
        if model.n_invalid > n_invalid:
            answer = None
        else:
            metric.update(y_true=label, y_pred=answer)
        yield answer
        if len(model.labels_) == 2:
            return


def _pass(table: _Table, model: Any, metric: Any) -> Any:
    """Predict and learn rows in one call, update the metric, and return the last answer."""
    try:
        z = model.predict_learn_rows(*table)
    except InvalidRow as error:
        if error.row and error.outputs is not None:
            _count(table.y[: error.row], error.outputs, model, metric)
        raise
    return _count(table.y, z, model, metric)


def _count(y: NDArray[Any], z: NDArray[np.float64], model: Any, metric: Any) -> Any:
    """Update the metric with the outputs made before each update, and return the last answer."""
    from . import _bulk

    if _has_classes(model):
        return _count_classes(y, z, model, metric)
    known = ~np.isnan(z)  # no number for a row that the model was told to skip
    skipped_last = not known[-1]
    if not known.all():
        y, z = y[known], z[known]
    means = model.loss.mean_func(z)
    if not _classifies(model):
        _bulk.update(metric, y, means)
        return None if skipped_last else float(means[-1])
    labels = model.labels_
    truth = _bulk.Coded((y == labels[1]).view(np.int8), labels)
    probabilities = _bulk.Probabilities(means, labels)
    answers = probabilities.decided() if metric.requires_labels else probabilities
    _bulk.update(metric, truth, answers)
    return None if skipped_last else answers.last()


def _count_classes(y: NDArray[Any], z: NDArray[np.float64], model: Any, metric: Any) -> Any:
    """As `_count`, for outputs ``(n, classes)``; minus infinity where a class was not known yet."""
    from . import _bulk

    # not so where a row was skipped, nor before the first label
    known = z.max(axis=1, initial=-np.inf) > -np.inf
    y, z = y[known], z[known]
    if not len(y):
        return None
    labels = model.labels_
    if metric.requires_labels:
        answers = _bulk.Coded(z.argmax(axis=1), labels)
        _bulk.update(metric, y, answers)
        return answers.last() if known[-1] else None
    shares = model.loss.mean_func(z).tolist()
    seen = (z > -np.inf).sum(axis=1).tolist()  # classes become known in their order
    for label, row, n in zip(y.tolist(), shares, seen, strict=True):
        answer = dict(zip(labels[:n], row, strict=False))
        metric.update(y_true=label, y_pred=answer)
    return answer if known[-1] else None
