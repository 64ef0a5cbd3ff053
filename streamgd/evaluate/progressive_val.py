"""`progressive_val`: test-then-train with curves, for several models on one pass over one source."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from .._errors import InvalidRow
from .._jit import compilations
from ..stream import Batch, Position, Source, read_ahead, source, to_dicts
from ..stream._rebatch import BEGINNING
from ..stream._samples import Samples
from ._evaluation import Evaluation, Kept
from ._meter import Meter, default_metrics
from ._predictions import answered, asked, learner_of, reader

Sample = tuple[Any, Any, Any]  # x, y, w

_CHUNK = 1 << 15  # rows of one compiled pass: their predictions stay in the processor's cache
_POINTS = 128  # of a curve, where the number of rows is known
_EVERY = 256  # rows between points at least


def progressive_val(
    models: Any,
    data: Any,
    y: Any = None,
    w: Any = None,
    *,
    target: str | None = None,
    columns: Sequence[Hashable] | None = None,
    metrics: Sequence[Any] | None = None,
    window: int | None = 1000,
    fading: float | None = None,
    delay: int | None = None,
    every: int | None = None,
    max_rows: int | None = None,
    seeds: Sequence[int] | None = None,
    keep_predictions: bool = False,
    **options: Any,
) -> Evaluation:
    """Evaluate models on a stream: each row is predicted, then learned; curves show how it went.

    All models see the same rows, in one pass over the source. Learners of streamgd go through whole
    batches in compiled code; any other classifier, regressor or pipeline of river's gets dicts, one by one.
    The models are trained.

    Parameters
    ----------
    models
        A model, a list of them, or a dict by the names that results are to have.
    data
        Rows ``(n, p)``: a NumPy array, a frame, a SciPy sparse matrix; a file, folder or glob; an iterable
        of ``(x, y)`` or ``(x, y, w)`` with dicts x, such as river's datasets; a `stream.Source`. See
        `stream.source`.
    y, w
        Targets ``(n,)`` and weights ``(n,)`` of an array or a frame. Weights go to the models, not into
        metrics.
    target
        Name of the target column of a frame or a file.
    columns
        Names of an array's columns, or the columns to learn from.
    metrics
        Names such as "kappa-m" (see `streamgd.evaluate.metrics`), metrics of that module, or river's, of
        which each model gets clones. None: a few that suit all models.
    window
        Rows of the metrics' sliding windows; None: no windows.
    fading
        Factor in (0, 1) by which a row counts less with each one that follows, such as 0.999; None: no
        fading metrics.
    delay
        Rows that pass until a row's label is known and it is learned and scored: the model that predicts
        row i has learned the rows up to ``i - delay``, so in river. Learners of streamgd then go row by row,
        too. Default: at once.
    every
        Rows between two points of the curves. Default: 256, or more on a long stream. At 1,000 points
        neighbours are joined.
    max_rows
        Rows to read at most.
    seeds
        Evaluate once for each of these seeds. A model is then a function of a seed that returns one, or it
        has a parameter ``seed`` (as steps of pipelines may), with which it is cloned; others are cloned
        as they are. The data may be a function of a seed, too.
    keep_predictions
        Keep the predictions of all rows, in `Evaluation.predictions` (of the last seed).
    **options
        Of the source, such as ``drop``, ``kinds``, ``missing``; see `stream.source`.

    Returns
    -------
    The results: print them, ``plot()`` them, or turn them into a frame with ``to_frame()``.

    Raises
    ------
    ValueError, TypeError
        A metric does not suit a model; an option is wrong; a model refuses a row, which is then in the
        error's ``row``. Rows before it are learned.

    Examples
    --------
    >>> import numpy as np
    >>> from streamgd import evaluate, linear_model
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(5000, 3))
    >>> y = X[:, 0] + rng.logistic(size=5000) > 0
    >>> models = {"sgd": linear_model.LogisticRegression(), "auto": linear_model.LogisticRegression("auto")}
    >>> result = evaluate.progressive_val(models, X, y, metrics=["accuracy", "kappa-m"])
    >>> result.results["auto"].samples
    5000
    """
    plan = _Plan(metrics, window, fading, delay, every, max_rows, keep_predictions)
    plan.check()
    named = _named(models)

    def opened(rows: Any) -> Source:
        return source(rows, y, w, target=target, columns=columns, **options)

    if seeds is None:
        for name, model in named.items():
            if callable(model):
                raise TypeError(f"the model {name!r} is a function; say seeds=..., or pass what it returns")
        return Evaluation([_pass(named, opened(data), plan)], None)
    seeds = [int(seed) for seed in seeds]
    if not seeds:
        raise ValueError("seeds is empty; None is for a single pass")
    if not callable(data) and not any(map(_has_seed, named.values())):
        raise ValueError(
            "neither the data nor a model depends on the seed: pass functions of a seed, or models with a "
            "parameter seed"
        )
    runs = []
    for seed in seeds:
        rows = opened(data(seed) if callable(data) else data)
        if not (callable(data) or rows.repeatable or len(seeds) == 1):
            raise ValueError("the data can be read once only, and each seed needs a pass; pass a function")
        runs.append(_pass({name: _with_seed(model, seed) for name, model in named.items()}, rows, plan))
    return Evaluation(runs, tuple(seeds))


def _named(models: Any) -> dict[str, Any]:
    """Return the models by name; of the same kind, those after the first are numbered."""
    if isinstance(models, Mapping) and models:
        return {str(name): model for name, model in models.items()}
    named: dict[str, Any] = {}
    for model in models if isinstance(models, list | tuple | dict) else [models]:
        name = str(model) if hasattr(model, "steps") else type(model).__name__
        others = sum(other.split(" (")[0] == name for other in named)
        named[f"{name} ({others + 1})" if others else name] = model
    if not named:
        raise ValueError("there are no models to evaluate")
    return named


def _has_seed(model: Any) -> bool:
    return callable(model) or bool(_seeds_in(model._get_params(), 0))


def _with_seed(model: Any, seed: int) -> Any:
    return model(seed) if callable(model) else model.clone(_seeds_in(model._get_params(), seed))


def _seeds_in(parameters: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return parameters called seed, those of the steps of a pipeline included, with another value."""
    new: dict[str, Any] = {}
    for name, value in parameters.items():
        if name == "seed":
            new[name] = seed
        elif isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], Mapping):
            inner = _seeds_in(value[1], seed)
            if inner:
                new[name] = inner
    return new


class _Plan(NamedTuple):
    """What is asked for."""

    metrics: Sequence[Any] | None
    window: int | None
    fading: float | None
    delay: int | None
    every: int | None
    max_rows: int | None
    keep: bool

    def check(self) -> None:
        """Raise ValueError when a number is out of range."""
        for name, least in (("delay", 0), ("every", 1), ("max_rows", 1)):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | np.integer) and value >= least):
                raise ValueError(f"{name}={value!r}: a whole number of at least {least}, or None")

    @property
    def lag(self) -> int:
        """Rows whose labels are still to come while one is predicted; 0 and 1 are the same to the model."""
        return 0 if self.delay is None else max(1, self.delay)

    def meter(self, model: Any, everyone: Iterable[Any]) -> Meter:
        """Return metrics without any rows."""
        chosen = self.metrics
        if chosen is None:
            suited = [default_metrics(other) for other in everyone]
            chosen = [name for name in suited[0] if all(name in names for names in suited)]
        elif isinstance(chosen, str):
            chosen = [chosen]
        own = [metric if isinstance(metric, str) else metric.clone() for metric in chosen]
        return Meter(own, model, window=self.window, fading=self.fading, delay=self.lag)


# One pass


def _pass(models: Mapping[str, Any], opened: Source, plan: _Plan) -> dict[str, Course]:
    """Take all models through the stream."""
    compiled = not plan.lag and all(map(learner_of, models.values()))
    dicts = isinstance(opened, Samples) and not compiled
    courses = {
        name: Course(model, plan.meter(model, models.values()), plan, dicts) for name, model in models.items()
    }
    first = next(iter(courses.values()))

    def begin(position: Position) -> None:
        interval = plan.every or max(_EVERY, (opened.expected_rows(position) or 0) // _POINTS)
        for course in courses.values():
            course.history.interval = interval

    with closing(_parts(opened, dicts, plan, begin, lambda: first.history.due)) as parts:
        for part in parts:
            for course in courses.values():
                course.learn(part)
            if first.rows == first.history.due:
                for course in courses.values():
                    course.point()
    if not first.seen:
        raise ValueError("the data has no rows")
    for course in courses.values():
        course.finish()
    return courses


class _Part:
    """Some rows on their way to the models, as a matrix, as dicts, or both."""

    def __init__(self, first: int, batch: Batch | None, samples: list[Sample] | None) -> None:
        self.first = first
        self.batch = batch
        self._samples = samples

    @property
    def samples(self) -> list[Sample]:
        """The rows as ``(x, y, w)``."""
        if self._samples is None:
            assert self.batch is not None
            rows = self.batch
            w = [1.0] * len(rows) if rows.w is None else rows.w.tolist()
            self._samples = list(zip(to_dicts(rows), np.asarray(rows.y).tolist(), w, strict=True))
        return self._samples


def _parts(
    opened: Source, dicts: bool, plan: _Plan, begin: Callable[[Position], None], due: Callable[[], int]
) -> Generator[_Part]:
    """Yield the rows, cut where a point is due; ``begin`` is called once their number may be known."""
    seen = 0

    def most() -> int:
        left = _CHUNK if plan.max_rows is None else plan.max_rows - seen
        return min(_CHUNK, left, due() + plan.lag - seen)

    if dicts:
        assert isinstance(opened, Samples)
        samples = opened.samples()
        begin(BEGINNING)
        while chunk := list(islice(samples, max(0, most()))):
            yield _Part(seen, None, chunk)
            seen += len(chunk)
        return
    batches = read_ahead(opened.batches()) if opened.reads else opened.batches()
    try:
        for batch in batches:
            if batch.y is None:
                raise ValueError("there is no target; say target=... of a file or a frame, or pass y")
            if not seen:
                begin(batch.position)
            lo = 0
            while lo < len(batch) and most() > 0:
                hi = min(len(batch), lo + most())
                X, y, w = batch.part(lo, hi)
                yield _Part(seen, Batch(X, y, batch.columns, seen, batch.position, w), None)
                seen, lo = seen + hi - lo, hi
            if most() <= 0:
                return
    finally:  # lets go of files and threads also where an error keeps this frame
        getattr(batches, "close", lambda: None)()


class Course:
    """A model's way through the stream.

    Attributes
    ----------
    seen, rows
        Rows that came, and those of them whose labels did.
    """

    def __init__(self, model: Any, meter: Meter, plan: _Plan, dicts: bool) -> None:
        from .history import History

        self.model, self.meter = model, meter
        self.history = History(window=plan.window)
        self.kept = Kept() if plan.keep else None
        self.seen = self.rows = self._at = 0  # _at: the row at hand
        self._seconds = 0.0
        self._invalid = getattr(model, "n_invalid", 0)
        self._lag = plan.lag
        self._learner = learner_of(model)
        self._compiled = self._learner is not None and not dicts and not plan.lag
        self._ask, self._read = asked(model, meter.answer_kind)
        if self._compiled:
            self._read = reader(self._learner)
        self._waiting: deque[tuple[Any, Any, Any, Any]] = deque()  # x, y, w, answer

    def learn(self, part: _Part) -> None:
        """Predict rows, and learn those whose labels are known."""
        begin, made = time.perf_counter(), len(compilations)
        if self._compiled:
            self._learn_batch(part)
        else:
            self._learn_samples(part)
        compiling = sum(kernel.seconds for kernel in compilations[made:])
        self._seconds += max(0.0, time.perf_counter() - begin - compiling)

    def _learn_batch(self, part: _Part) -> None:
        batch = part.batch
        assert batch is not None
        y: Any = batch.y
        self.seen += len(y)
        try:
            self._count(y, self.model.predict_learn_rows(batch.X, y, batch.w, columns=batch.columns))
        except InvalidRow as error:
            if error.row is None:  # not of one row: a whole column is wrong
                raise
            if error.outputs is not None and error.row:
                self._count(y[: error.row], error.outputs)
            raise type(error)(str(error).removeprefix(f"row {error.row}: ")).at(
                part.first + error.row
            ) from error

    def _learn_samples(self, part: _Part) -> None:
        with self._judging() as judge:
            for x, y, w in part.samples:
                if self._lag and len(self._waiting) == self._lag:
                    judge()
                self._at = self.seen
                self._waiting.append((x, y, w, self._ask(x)))
                self.seen += 1
                if not self._lag:
                    judge()

    @contextmanager
    def _judging(self) -> Iterator[Callable[[], None]]:
        """Give what learns the row waiting for longest; at the end, also by an error, rows are counted."""
        truth: list[Any] = []
        answers: list[Any] = []
        learn, take = self.model.learn_one, self._waiting.popleft

        def judge() -> None:
            self._at = self.rows + len(truth)
            x, y, w, answer = take()
            if w == 1.0:
                learn(x, y)
            else:
                learn(x, y, w=w)
            truth.append(y)
            answers.append(answer)

        try:
            yield judge
        except InvalidRow as error:
            raise error.at(self._at) from error
        finally:
            self._count(truth, answers)

    def _count(self, y: Any, outputs: Any) -> None:
        predictions = self._read(y, outputs)
        self.rows += len(y)
        self.meter.update(predictions)
        self.history.classes = predictions.labels
        if self.kept is not None:
            self.kept.add(y, answered(outputs), predictions)

    def point(self) -> None:
        """Add a point to the curves."""
        values = {"samples": self.rows, "updates": self.rows, "seconds": self._seconds}
        if self._learner is not None and hasattr(self._learner.optimizer.rule, "lr"):
            values["learning_rate"] = self._learner.learning_rate
        self.history.add(values | self.meter.values())

    def finish(self) -> None:
        """Learn the rows that are still waiting for their labels, and add the last point."""
        if self._waiting:
            with self._judging() as judge:
                while self._waiting:
                    judge()
        if self.rows > self.history.samples or not len(self.history):
            self.point()
        self.history.n_invalid = getattr(self.model, "n_invalid", 0) - self._invalid
