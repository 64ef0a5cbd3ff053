"""`fit`: gradient descent by rows, mini-batches or whole passes, over any source."""

from __future__ import annotations

import contextlib
import math
import secrets
import time
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Literal

from .. import stream
from .._errors import InvalidRow
from .._rows import check_on_host
from ..evaluate._meter import Meter, default_metrics
from ..evaluate.history import History
from ..stream import Position, Source
from ..stream._samples import Samples
from ._cursor import Cursor, SampleCursor
from ._drivers import BatchSize, Driver, driver
from ._recorder import Recorder
from .callbacks import Callback, Hooks

_POINTS = 128  # of a history, where the number of rows is known
_SPREAD = 64  # from so many times 256 rows on points lie ever further apart: each costs time


class Run:
    """What callbacks see of a training run, and how they steer it.

    Attributes
    ----------
    model
        The model, which may be changed between two calls.
    source
        Where rows come from.
    history
        The history so far.
    epoch
        Epochs finished, those before ``start`` included.
    position
        Where the run stands: ``fit(..., start=position)`` goes on from there.
    """

    def __init__(
        self, model: Any, source: Source, cursor: Cursor | SampleCursor, driver: Driver, recorder: Recorder
    ) -> None:
        self.model = model
        self.source = source
        self.history = recorder.history
        self.epoch = 0
        self._cursor, self._driver, self._recorder = cursor, driver, recorder
        self._begin = time.perf_counter()
        self._epoch_rows = 0
        self._seed = 0
        self._reason: str | None = None

    @property
    def samples(self) -> int:
        """Rows seen in this run."""
        return self._recorder.samples

    @property
    def predictions(self) -> Any:
        """Targets and predictions of the rows seen last, made before they were learned."""
        return self._recorder.predictions

    @property
    def losses(self) -> Any:
        """Losses of the rows seen last, before weighting, NaN where a row was skipped; ``(n,)``.

        Empty for models that are not streamgd's.
        """
        return self._recorder.losses

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self._begin

    @property
    def position(self) -> Position:
        """Where the run stands."""
        position = self.history.position
        assert position is not None
        return position

    def loss_since(self, mark: tuple[float, int] = (0.0, 0)) -> float:
        """Mean progressive loss since `mark` was taken; by default since the beginning."""
        return self._recorder.loss_since(mark)

    @property
    def mark(self) -> tuple[float, int]:
        """Where the sum of losses stands, for `loss_since`."""
        return self._recorder.mark

    @property
    def meter(self) -> Meter:
        """The metrics."""
        return self._recorder.meter

    def stop(self, reason: str) -> None:
        """End the run when the rows at hand are learned."""
        self._reason = self._reason or reason

    # -- what `fit` does -----------------------------------------------------------------------

    def _go(self, hooks: Hooks, plan: _Plan, bar: Any) -> None:
        """Learn until there is a reason to stop."""
        self._keep_position()
        hooks.on_start(self)
        if plan.epoch_size is not None and self._epoch_rows >= plan.epoch_size:  # `start` lies at its end
            self._end_epoch(hooks)
            plan.check(self)
        while self._reason is None:
            stop = hooks.due(min(self.samples + self._driver.chunk, self.history.due))
            most = max(1, stop - self.samples)
            rows = self._cursor.take(most, self._driver.multiple, plan.limit(self))
            if rows is None:
                self._end_pass(hooks, plan)
                continue
            if rows.y is None:
                raise stream.InputError("there is no target; say target=... of a file or a frame, or pass y")
            self._learn(rows)
            bar.update(len(rows))
            hooks.on_learned(self)
            if self._epoch_rows == plan.epoch_size:
                self._end_epoch(hooks)
            if self.samples >= self.history.due:
                self._recorder.point(self._driver, self.epoch, self.seconds)
                self.history.interval = max(self.history.interval, self.samples // _SPREAD)
            hooks.on_rows(self)
            plan.check(self)

    def _learn(self, rows: Any) -> None:
        seen = self.samples
        try:
            y, outputs = self._driver.learn(rows)
            self._recorder.rows(y, outputs, self._driver.targets)
        except InvalidRow as error:
            if error.row is None:  # not of one row: a whole column is wrong
                raise
            if error.outputs is not None and len(error.outputs):
                self._recorder.rows(rows.y[: len(error.outputs)], error.outputs)
            raise self._placed(error, self._cursor.row - len(rows) + error.row) from error
        finally:  # whatever comes in between, Ctrl-C too: the model has learned these rows
            done = self._driver.done
            self._recorder.samples = seen + done
            self._epoch_rows += done
            self._keep_position(None if done == len(rows) else done)

    def _placed(self, error: InvalidRow, row: int) -> InvalidRow:
        """Return an error with its row counted from the beginning of the pass."""
        text = str(error).removeprefix(f"row {error.row}: ")
        path = getattr(self.source, "path", None)
        placed = type(error)(text if path is None else f"{path}, row {row + 1:,}: {text}")
        if path is None:
            return placed.at(row)
        placed.row = row
        return placed

    def _keep_position(self, n: int | None = None) -> None:
        """Note where the run stands: behind all rows that were taken, or the first ``n`` of the last."""
        if not self._driver.pending:
            more = {"seed": self._seed, "epoch": self.epoch, "epoch_rows": self._epoch_rows}
            self.history.position = self._cursor.position(n) | more

    def _end_pass(self, hooks: Hooks, plan: _Plan) -> None:
        """Finish the epoch if it is a pass, and begin the next pass or stop."""
        if not self._cursor.row:
            raise stream.InputError("the source has no rows")
        if plan.epoch_size is None and self._epoch_rows:
            self._end_epoch(hooks)
        plan.check(self)  # also where `start` lies at the end, and no rows have come since
        if plan.epochs is None:
            self.stop("end of the stream")
        elif self._reason is None and not self._cursor.next_pass():
            self.stop("end of the stream")

    def _end_epoch(self, hooks: Hooks) -> None:
        updates = self._driver.n_updates
        try:
            self._driver.end_epoch()
        except BaseException:
            if self._driver.n_updates > updates:  # Ctrl-C came behind the step
                self._count_epoch()
            raise
        self._count_epoch()
        hooks.on_epoch(self)

    def _count_epoch(self) -> None:
        if (learner := self._driver.learner) is not None:
            learner._count_epoch()
        self.epoch += 1
        self.history.epochs = self.epoch
        self.history.iterations_per_epoch = _iterations(self._epoch_rows, self.history.batch_size)
        self._epoch_rows = 0
        self._recorder.end_epoch()
        self._keep_position()

    def _finish(self, reason: str) -> None:
        self.history.stopped = reason
        labels = getattr(self.model, "labels_", None)
        self.history.classes = None if labels is None else tuple(labels)
        if self.samples:
            self._recorder.point(self._driver, self.epoch, self.seconds)


def fit(
    model: Any,
    data: Any,
    y: Any = None,
    w: Any = None,
    *,
    target: str | None = None,
    columns: Sequence[Hashable] | None = None,
    batch_size: BatchSize = 1,
    epochs: int | None = 1,
    epoch_size: int | None = None,
    shuffle: bool | int = False,
    seed: int | None = None,
    metrics: Sequence[Any] | None = None,
    window: int | None = 1000,
    callbacks: Iterable[Callback] = (),
    max_rows: int | None = None,
    max_seconds: float | None = None,
    threads: int = 1,
    dtype: str | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
    progress: bool = True,
    start: Position | None = None,
    **options: Any,
) -> History:
    """Learn from any source, row by row, by mini-batches, or by full-batch gradient descent.

    The model goes on from what it has learned already; clone it for a fresh start. Every row is
    predicted before it is learned: the losses and metrics are progressive.

    Parameters
    ----------
    model
        A learner of streamgd. Other models and pipelines of river's are driven dict by dict, and by
        mini-batches where they have ``learn_many``.
    data
        Rows ``(n, p)``: a NumPy array, a frame, a SciPy sparse matrix; a file, folder or glob; an
        iterable of ``(x, y)`` or ``(x, y, w)`` with dicts x; a `stream.Source`. See `stream.source`.
    y, w
        Targets ``(n,)`` and weights ``(n,)`` of an array or a frame.
    target
        Name of the target column of a frame or a file.
    columns
        Names of an array's columns, or the columns to learn from.
    batch_size
        Rows an update: 1 for stochastic gradient descent (as ``learn_one``), n for mini-batches (as
        ``learn_many``: the mean gradient), "all" for one update an epoch, at its end (there is none of an
        epoch in which the run or the stream ends). The last mini-batch of an epoch or a pass may be smaller.
    epochs
        Epochs to train for, those before ``start`` included; None: until the stream ends or something
        stops the run.
    epoch_size
        Rows of an epoch; by default a pass over the source. On an endless stream, "all" needs it.
    shuffle
        Order of the rows, anew in each pass. True shuffles all rows (which must be in memory), a number
        the rows within blocks of so many, which works on any source.
    seed
        Of the shuffles. None draws one, which the history keeps.
    metrics
        Names such as "rocauc", metrics of `streamgd.evaluate` or of river (which are updated themselves, and
        go on counting in another run). None: accuracy, or mae. An empty list: none.
    window
        Rows of the metrics' sliding windows; None: no windows.
    callbacks
        See `streamgd.training`.
    max_rows, max_seconds
        Limits of this run. The last chunk is finished, so seconds are exceeded a little.
    threads
        Threads that share the gradient of a mini-batch; results do not depend on it. It pays for large
        batches of rows with many features or classes (1.3 to 1.4 times with two), not for 30 features.
        (Files are read ahead in a thread of their own anyway, where there is a second core.)
    dtype
        What mini-batches are computed in: "float64" (None), or "float32", as on a GPU, which can do nothing
        else. On a CPU it is no faster. See `accumulate` of the learners.
    device
        "cuda" computes mini-batches, or "all", on a GPU: see docs/cuda.md. Rows are dense (arrays, frames,
        files of numbers), or lie there already (arrays of PyTorch, CuPy, Numba); the model stays on the
        host. It pays for rows that are there, and for many features.
    progress
        Show a progress bar, if standard error is a terminal.
    start
        ``history.position`` of an earlier run over the same source and with the same options: go on
        behind it.
    **options
        Of the source, such as ``drop``, ``kinds``, ``missing``; see `stream.source`.

    Returns
    -------
    The history: progressive loss, metrics, learning rate and class balance over time, and the counts of
    rows, updates and epochs. Print it, ``plot()`` it, or turn it into a frame with ``to_frame()``.

    Raises
    ------
    ValueError, TypeError
        A bad option; or a bad row, with its number in the pass in ``row``. Rows before it are learned (in
        mini-batches: whole mini-batches before it). Like any exception that ends the run, Ctrl-C's too,
        it carries the history so far in ``history``, whose position lies behind the last row learned. (Of
        river's models it is not known how much they learned of a row amid which Ctrl-C came.)

    Examples
    --------
    >>> import numpy as np
    >>> import streamgd
    >>> from streamgd import linear_model
    >>> X = np.random.default_rng(0).normal(size=(1000, 3))
    >>> model = linear_model.LinearRegression("auto")
    >>> history = streamgd.fit(model, X, X @ [1.0, 2.0, 3.0], batch_size=1, epochs=2)
    >>> history.epochs, history.updates, history.iterations_per_epoch
    (2, 2000, 1000)
    """
    plan = _Plan(batch_size, epochs, epoch_size, max_rows, max_seconds, threads, shuffle)
    if device not in ("cpu", "cuda"):
        raise ValueError(f'device={device!r}: it is "cpu" or "cuda"')
    source = stream.source(data, y, w, target=target, columns=columns, **options)
    if device == "cuda" and isinstance(source, stream.Arrays):
        source = source.as_stored()
    if device == "cpu" and isinstance(source, stream.DeviceArrays):
        check_on_host(data, "X")
    if batch_size == "all" and epoch_size is None and isinstance(source, Samples) and not source.repeatable:
        raise ValueError('batch_size="all" of an iterator, which may never end, needs epoch_size=...')
    meter = Meter(_default(model) if metrics is None else metrics, model, window=window)
    by_dicts = isinstance(source, Samples) and batch_size == 1 and not shuffle
    learning = driver(model, batch_size, threads, meter.answer_kind, by_dicts, dtype, device)
    if start is not None and not {"pass", "row", "inner", "skip"} <= start.keys():
        raise ValueError(f"start={start!r}: the position of a history is needed")
    state = {"seed": secrets.randbits(32) if seed is None else int(seed), "epoch": 0, "epoch_rows": 0}
    state |= start or {}
    cursor: Cursor | SampleCursor
    if isinstance(source, Samples) and by_dicts:
        cursor = SampleCursor(source, start)
    else:
        cursor = Cursor(source, shuffle, state["seed"], start)
    history = History(batch_size=batch_size, window=window)
    rows = cursor.expected_rows()
    history.interval = max(history.interval, math.ceil((rows or 0) / _POINTS))
    run = Run(model, source, cursor, learning, Recorder(model, learning.learner, meter, history))
    run._seed, run.epoch, run._epoch_rows = (state[name] for name in ("seed", "epoch", "epoch_rows"))
    if (learner := learning.learner) is not None and learner._epochs is None:
        learner._epochs = 0  # from now on they are counted
    hooks = Hooks(callbacks)
    with contextlib.closing(cursor), _bar(progress, plan.rows(rows)) as bar:
        try:
            run._go(hooks, plan, bar)
            run._finish(run._reason or "")
            hooks.on_end(run)
        except BaseException as error:
            error.history = history  # type: ignore[attr-defined]
            with contextlib.suppress(Exception):  # a metric that fails again would hide why
                run._finish("interrupted" if isinstance(error, KeyboardInterrupt) else "error")
            raise
    return history


def _default(model: Any) -> tuple[str, ...]:
    """Return the one metric that costs next to nothing."""
    suitable = default_metrics(model)
    return ("accuracy",) if "accuracy" in suitable else suitable[:1]


class _Plan:
    """How long a run is to be."""

    def __init__(
        self,
        batch_size: BatchSize,
        epochs: int | None,
        epoch_size: int | None,
        max_rows: int | None,
        max_seconds: float | None,
        threads: int,
        shuffle: bool | int,
    ) -> None:
        if batch_size != "all" and not _whole(batch_size):
            raise ValueError(f'batch_size={batch_size!r}: the rows of an update, at least 1, or "all"')
        limits = {"epochs": epochs, "epoch_size": epoch_size, "max_rows": max_rows}
        for name, value in limits.items():
            if value is not None and not _whole(value):
                raise ValueError(f"{name}={value!r}: a whole number of at least 1, or None")
        if max_seconds is not None and not max_seconds > 0:
            raise ValueError(f"max_seconds={max_seconds!r}: a positive number, or None")
        if not _whole(threads):
            raise ValueError(f"threads={threads!r}: a whole number of at least 1")
        if not (isinstance(shuffle, bool) or _whole(shuffle)):
            raise ValueError(f"shuffle={shuffle!r}: True, False, or the rows to shuffle within")
        self.epochs, self.epoch_size = epochs, epoch_size
        self.max_rows, self.max_seconds = max_rows, max_seconds

    def limit(self, run: Run) -> int | None:
        """Return how many rows may come next, at most."""
        left = []
        if self.epoch_size is not None:
            left.append(self.epoch_size - run._epoch_rows)
        if self.max_rows is not None:
            left.append(self.max_rows - run.samples)
        return min(left, default=None)

    def check(self, run: Run) -> None:
        """Stop a run that is long enough."""
        if self.epochs is not None and run.epoch >= self.epochs and not run._epoch_rows:
            run.stop("epochs")
        elif self.max_rows is not None and run.samples >= self.max_rows:
            run.stop("rows")
        elif self.max_seconds is not None and run.seconds >= self.max_seconds:
            run.stop("time")

    def rows(self, of_pass: int | None) -> int | None:
        """Rows to come, as far as is known."""
        of_epoch = self.epoch_size or of_pass
        known = [] if self.max_rows is None else [self.max_rows]
        if of_epoch is not None and self.epochs is not None:
            known.append(of_epoch * self.epochs)
        return min(known, default=None)


def _whole(value: Any) -> bool:
    return type(value) is int and value >= 1


def _iterations(rows: int, batch_size: BatchSize) -> int:
    """Return the updates of an epoch."""
    return 1 if batch_size == "all" else math.ceil(rows / batch_size)


def _bar(progress: bool, total: int | None) -> Any:
    from tqdm import tqdm

    # None: only where standard error is a terminal
    return tqdm(total=total, unit=" rows", unit_scale=True, leave=False, disable=None if progress else True)
