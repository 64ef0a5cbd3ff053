"""Many independent learners at once: a grid of parameters over one stream, or a model for each key."""

from __future__ import annotations

import operator
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from streamgd.kernels.fleet import Outcome, State

from . import _settings
from ._members import Columns, Device, Floats, Keys, Members, Words, is_missing, rows_of
from ._tables import Tables

__all__ = ["Fleet", "KeyedFleet"]

_FIRST_ROOM = 4  # keys that there is room for at first


class Fleet(Members):
    """Learners that differ in their numbers, all learning the same rows: a grid over one stream.

    Each member is the learner that it would be alone (from the same arrays, in float64 on the CPU: to the
    bit), but rows are read once for all of them, by as many threads as wanted, or on a GPU. Their metrics are
    kept on the way, of the outputs made before each update: `best` says which parameters were good so far.

    A grid may have rates that are too large. Where gradients are clipped such a member just has large losses.
    One whose raw output or gradient is no number, or too large for its dtype, stops before that row, where a
    learner would raise; the others go on. It is in `failed`, its outputs are NaN from then on, and so are its
    metrics. When no member is left, `learn_rows` raises. With ``on_invalid="skip"`` members leave such rows
    out, as learners do, and never stop.

    Parameters
    ----------
    model
        With a grid a linear learner of one output, as a template. Without, a learner or a list of learners,
        which differ in numbers, not in classes of pieces: members go on from what they have learned.
    grid
        Parameters by name, each with a list of values, of which members have all combinations, the last name
        varying fastest; or a list of dicts, one for each member. ``"optimizer.lr"`` is a number of a piece.
    device
        ``"cpu"`` or ``"cuda"``.
    dtype
        ``"float64"``, the default on the CPU, or ``"float32"``, the only one on CUDA. In float32 values,
        outputs and gradients of 1e15 are too large, in float64 of 1e150.
    threads
        Threads of the CPU that members are shared among. The results are the same.

    Raises
    ------
    ValueError, TypeError
        For learners of several outputs, `Newton`, "auto", schedules that look at losses, class weights; and
        for members of different classes, saying which and how.
    CudaUnavailable
        For ``device="cuda"`` where there is none.

    Examples
    --------
    >>> import numpy as np
    >>> from streamgd import cuda, linear_model
    >>> X = np.random.default_rng(1).normal(size=(1000, 2))
    >>> y = X @ [1.0, -2.0]
    >>> fleet = cuda.Fleet(linear_model.LinearRegression(), {"optimizer.lr": [0.001, 0.1, 10.0]})
    >>> fleet.learn_rows(X, y)
    >>> fleet.params(fleet.best("mae"))
    {'optimizer.lr': 0.1}
    >>> model = fleet[1]
    >>> round(model.weights[1], 3)
    -2.0
    """

    def __init__(
        self,
        model: Any,
        grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]] | None = None,
        *,
        device: Device = "cpu",
        dtype: Any = None,
        threads: int = 1,
    ) -> None:
        learners = list(model) if isinstance(model, list | tuple) else []
        if isinstance(model, list | tuple):
            if grid is not None:
                raise ValueError("give a grid, and the one model that it varies; or learners, and no grid")
            settings, model = _settings.of_learners(learners), learners[0]
        else:
            settings = _settings.of_grid(model, grid)
            if grid is None:
                learners = [model]
        super().__init__(model, settings, len(settings), device, dtype, threads)
        for m, learner in enumerate(learners):
            self._take_in(m, learner)

    def __len__(self) -> int:
        return len(self._settings)

    def __repr__(self) -> str:
        name = type(self._model).__name__
        return f"Fleet({len(self)} x {name}, device={self.device!r}, dtype={self.dtype.name!r})"

    def clone(self) -> Self:
        """Return a fleet of the same members that have learned nothing."""
        fleet = object.__new__(type(self))
        Members.__init__(
            fleet, self._model, self._settings, len(self), self._device, self._dtype, self.threads
        )
        return fleet

    # -- members -------------------------------------------------------------------------------

    def __getitem__(self, m: int) -> Any:
        """Return a member as an ordinary learner, a copy: it predicts, learns, is pickled and saved."""
        return self._learner(self._place(m))

    def __setitem__(self, m: int, learner: Any) -> None:
        """Take in a learner, with its numbers and all that it has learned; its metrics begin anew."""
        m = self._place(m)
        _settings.check(learner)
        setting = _settings.of_learner(learner, self._model, f"the learner for member {m}")
        difference = _settings.unlike(setting, self._settings[0])
        if difference:
            raise ValueError(f"the learner for member {m} has {difference}: members differ in numbers only")
        before = self._settings
        self._settings = [*before[:m], setting, *before[m + 1 :]]
        try:
            self._take_in(m, learner)
        except BaseException:
            self._settings = before
            raise
        self._tables = Tables(self._model, self._settings)

    def _place(self, m: int) -> int:
        try:
            place = operator.index(m)
        except TypeError:
            raise TypeError(f"member {m!r}: members are numbered, from 0 to {len(self) - 1}") from None
        if not -len(self) <= place < len(self):
            raise IndexError(f"member {place} of {len(self)}")
        return place % len(self)

    def params(self, m: int) -> dict[str, Any]:
        """Return what the grid says of a member, or how it differs from the first of a list of learners."""
        return dict(self._settings[self._place(m)].params)

    @property
    def failed(self) -> dict[int, int]:
        """Members that have stopped learning, with the samples that they had learned."""
        return {m: int(self._counts[m, 1]) for m in np.flatnonzero(self._has_failed).tolist()}

    def best(self, metric: str = "loss") -> int:
        """Return the member with the best value of a metric so far, of those that have not failed.

        Losses of members that differ in the loss itself are no measure of them: choose another metric.
        """
        values = self.metrics.get(metric)
        if values is None:
            raise ValueError(f"{metric!r} is none of the metrics {', '.join(self.metrics)}")
        if np.isnan(values).all():
            raise ValueError("no member has learned a row yet, or all have failed: none is the best")
        return int(np.nanargmax(values) if metric == "accuracy" else np.nanargmin(values))

    # -- rows ----------------------------------------------------------------------------------

    def _outputs(self, n: int) -> Floats:
        return np.empty((n, len(self)), dtype=self._dtype)

    def _members_of(self, keys: Keys | None, learns: bool) -> Words | None:
        return None

    def learn_rows(self, X: Any, y: Any, w: Any = None, *, columns: Columns = None) -> None:
        """Let every member learn each row in turn; see `predict_learn_rows`, which also returns outputs."""
        self._learn(X, y, w, columns, outputs=False)

    def predict_learn_rows(self, X: Any, y: Any, w: Any = None, *, columns: Columns = None) -> Floats:
        """Let every member learn each row in turn, and return the outputs made before each update.

        Parameters
        ----------
        X
            Rows ``(n, p)``: a NumPy array, a frame of pandas, polars or Arrow; with ``device="cuda"`` also a
            matrix there (PyTorch, CuPy, ...) of float32, float16 or uint8, which is not copied.
        y
            Targets ``(n,)``. Labels are those of learners: ``labels=`` of the model, or as they are found.
        w
            Weights: None (all 1), one number, or ``(n,)``; at weight 0 nothing is learned.
        columns
            Names of the columns of a bare array; by default 0 to p - 1.

        Returns
        -------
        Raw outputs ``(n, M)``, of the fleet's dtype; NaN where a row was skipped, and from the row on at
        which a member has failed.

        Raises
        ------
        ValueError, TypeError
            At a bad row, with its position in the attribute ``row``: all members have learned those before
            it. When no member learns any more.
        """
        z = self._learn(X, y, w, columns, outputs=True)
        assert z is not None
        return z

    def learn_one(self, x: dict[Any, Any], y: Any, w: float = 1.0) -> None:
        """Let every member learn one sample; absent features are 0. Rows in arrays are faster by far."""
        self._learn_dict(x, y, w)

    def predict_many(self, X: Any, *, columns: Columns = None) -> Any:
        """Return predictions of rows by all members ``(n, M)``: labels or numbers.

        Members that have failed predict from what they had learned.
        """
        z = self._raw(X, columns)
        predictions = self._predictions(z)
        if predictions is None:
            means = [s.loss.mean_func(np.float64(z[:, m])) for m, s in enumerate(self._settings)]
            predictions = np.stack(means, axis=1)
        return predictions


class KeyedFleet(Members):
    """A learner for each key of a stream, all with the same parameters: one for each user, shop, sensor.

    What `Fleet` is for many parameters, this is for many streams in one: a row is learned by the learner of
    its key alone, in the order of the stream. A key that is new gets a fresh learner. Each member is what a
    dict of learners would have under its key, except that all know the same columns and labels.

    A member whose raw output or gradient becomes too large stops and is in `failed`; the others go on.

    Parameters
    ----------
    model
        A linear learner of one output, as a template.
    device, dtype, threads
        As those of `Fleet`. Keys are shared among threads.

    Examples
    --------
    >>> import numpy as np
    >>> from streamgd import cuda, linear_model
    >>> X = np.random.default_rng(1).normal(size=(1000, 2))
    >>> keys = np.where(np.arange(1000) % 3 > 0, "north", "south")
    >>> y = X[:, 0] * np.where(keys == "north", 1.0, -1.0)
    >>> fleet = cuda.KeyedFleet(linear_model.LinearRegression(intercept_lr=0.0))
    >>> fleet.learn_rows(keys, X, y)
    >>> {key: round(fleet[key].weights[0], 1) for key in fleet}
    {'south': -1.0, 'north': 1.0}
    """

    def __init__(self, model: Any, *, device: Device = "cpu", dtype: Any = None, threads: int = 1) -> None:
        settings = _settings.of_grid(model, None)
        super().__init__(model, settings, _FIRST_ROOM, device, dtype, threads)
        self._numbers: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self.keys())

    def __contains__(self, key: object) -> bool:
        return key in self._numbers

    def __repr__(self) -> str:
        name = type(self._model).__name__
        return f"KeyedFleet({len(self)} x {name}, device={self.device!r}, dtype={self.dtype.name!r})"

    def clone(self) -> Self:
        """Return a fleet of the same parameters that has met no key."""
        return type(self)(self._model, device=self._device, dtype=self._dtype, threads=self.threads)

    # -- members -------------------------------------------------------------------------------

    def keys(self) -> list[Hashable]:
        """Return the keys, in the order in which they came: that of the arrays of `metrics`."""
        return list(self._numbers)

    def __getitem__(self, key: Hashable) -> Any:
        """Return a key's learner as an ordinary one, a copy: it predicts, learns, is pickled and saved."""
        return self._learner(self._numbers[key])

    def __setitem__(self, key: Hashable, learner: Any) -> None:
        """Take in what a learner with the fleet's parameters has learned, for a key; metrics begin anew."""
        if is_missing(key):
            raise ValueError(f"{key!r} is no key")
        _settings.check(learner)
        setting = _settings.of_learner(learner, self._model, f"the learner for {key!r}")
        if setting.changes:
            raise ValueError(
                f"the learner for {key!r} has {setting.changes}, other than the fleet's model: all keys have "
                "the same parameters"
            )
        known = key in self._numbers
        m = self._add_key(key)
        try:
            self._take_in(m, learner)
        except BaseException:
            if not known:
                del self._numbers[key]
            raise

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_numbers": self._numbers.copy()}

    def _add_key(self, key: Hashable) -> int:
        m = self._numbers.get(key, -1)
        if m < 0:
            m = self._numbers[key] = len(self._numbers)
            if m + 1 == len(self._counts):  # one is left over: keys that are not known are predicted with it
                self._reserve(2 * len(self._counts))
        return m

    def _reserve(self, room: int) -> None:
        """Make room for more members."""
        more = room - len(self._counts)
        state, new = self._fetched(), rows_of(self._fresh(0), np.zeros(more, dtype=np.int64))
        self._host = State(*map(np.concatenate, zip(state, new, strict=True)))
        both = zip(self._outcome, Outcome.of(more), strict=True)
        self._outcome = Outcome._make(np.concatenate(pair) for pair in both)
        self._counts = np.concatenate([self._counts, np.zeros((more, 2))])
        self._which = np.zeros(room, dtype=np.int64)

    @property
    def failed(self) -> dict[Hashable, int]:
        """Keys whose members have stopped learning, with the samples that they had learned."""
        keys = self.keys()
        return {keys[m]: int(self._counts[m, 1]) for m in np.flatnonzero(self._has_failed).tolist()}

    @property
    def overall(self) -> dict[str, float]:
        """Metrics over the rows of all keys, those of keys that have failed up to then."""
        sums, n = self._outcome.sums[: len(self)].sum(axis=0), self._outcome.learned[: len(self)].sum()
        return {name: float(value) for name, value in self._means(sums, n).items()}

    # -- rows ----------------------------------------------------------------------------------

    def _outputs(self, n: int) -> Floats:
        return np.empty(n, dtype=self._dtype)

    def _members_of(self, keys: Keys | None, learns: bool) -> Words | None:
        assert keys is not None
        distinct = keys.distinct[: keys.codes.max(initial=-1) + 1]  # of the rows that are to be learned
        if learns:
            places = [self._add_key(key) for key in distinct]
        else:
            places = [self._numbers.get(key, len(self._numbers)) for key in distinct]
        return np.array(places, dtype=np.int64)[keys.codes]

    def learn_rows(self, keys: Any, X: Any, y: Any, w: Any = None, *, columns: Columns = None) -> None:
        """Let each row's member learn it; see `predict_learn_rows`, which also returns outputs."""
        self._learn(X, y, w, columns, keys, outputs=False)

    def predict_learn_rows(
        self, keys: Any, X: Any, y: Any, w: Any = None, *, columns: Columns = None
    ) -> NDArray[Any]:
        """Let each row be learned by the member of its key; return the outputs made before each update.

        Parameters
        ----------
        keys
            Keys ``(n,)``: a list, an array or a series of what can be hashed.
        X, y, w, columns
            As those of `Fleet.predict_learn_rows`.

        Returns
        -------
        Raw outputs ``(n,)``, in the order of the rows.

        Raises
        ------
        ValueError, TypeError
            At a bad row, with its position in the attribute ``row``: those before it are learned.
        """
        z = self._learn(X, y, w, columns, keys, outputs=True)
        assert z is not None
        return z

    def learn_one(self, key: Hashable, x: dict[Any, Any], y: Any, w: float = 1.0) -> None:
        """Let a key's member learn one sample; absent features are 0. Rows in arrays are faster by far."""
        self._learn_dict(x, y, w, [key])

    def predict_many(self, keys: Any, X: Any, *, columns: Columns = None) -> NDArray[Any]:
        """Return predictions of rows ``(n,)`` by their keys' members; a key not met by a fresh learner."""
        z = self._raw(X, columns, keys)
        predictions = self._predictions(z)
        if predictions is None:
            predictions = self._settings[0].loss.mean_func(np.float64(z))
        return predictions  # type: ignore[no-any-return]
