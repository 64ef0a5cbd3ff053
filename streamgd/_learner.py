"""The base of linear learners: the ways from a user's call to a kernel."""

from __future__ import annotations

import numbers
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from . import _features as f
from . import _rows
from ._errors import InvalidRow, InvalidType, InvalidValue, feature, overflow, weight
from ._gradient import Gradient
from ._jit import LIMIT
from ._job import Job
from ._model import CompiledModel, Floats, NotBound
from ._targets import Classes, Labels, Numbers, plain_label
from .kernels import linear

CHUNK = 1 << 23  # values a kernel reads before it returns to Python: some 20 to 50 ms
ONE = np.ones(1)
ONE_MADE = np.ones(1, dtype=np.int64)
NO_COLUMNS: tuple[Sequence[Hashable], NDArray[np.int64], bool] = ((), np.zeros(0, dtype=np.int64), True)


class LinearLearner(CompiledModel):
    """What linear learners do. Subclasses add river's base class and what a target is."""

    __slots__ = ()

    _kernels: ClassVar[ModuleType] = linear
    _row_reached = 0  # rows behind us of those that `predict_learn_rows` was given, also after Ctrl-C

    def _unit_test_skips(self) -> set[str]:
        # learn_many is one step on the mean gradient, not a step for each row: so in river.
        return {"check_learn_many_matches_learn_one"}

    @property
    def _read_by(self) -> LinearLearner:
        """What knows the meaning of the outputs that ``predict_learn_rows`` returns; see `learner_of`."""
        return self

    # -- one dict ------------------------------------------------------------------------------

    def learn_one(self, x: dict[Any, Any], y: Any, w: float = 1.0) -> None:
        """Update the model with one sample.

        Parameters
        ----------
        x
            Features, names to numbers. Features that are absent are 0.
        y
            Target.
        w
            Weight of the sample, at least 0; with 0 nothing happens.

        Raises
        ------
        ValueError, TypeError
            When a value is NaN, infinite, missing or not a number. The model is as it was.
        """
        if self._kernel.call(x, y, w, self._control):
            self._learn_in_python(x, y, w)

    def _learn_in_python(self, x: Any, y: Any, w: Any) -> None:
        """Read what kernels may not, add new features, renew the rates; then call the kernel."""
        self._keep_output(np.nan)
        try:
            names, values = self._read(x)
            h = weight(w)
            target = self._targets.code(y) if isinstance(self._targets, Numbers) else y
            with self._exclusive():
                self._learn_read(names, values, target, h)
                # Looked up again and again: the stream's key objects are not the model's. Take them
                # over, but ever more rarely, because they may be new ones in every row.
                if self._control[f.LOOKUPS] >= self._control[f.ADOPT_AT]:
                    if type(x) is dict:
                        self._features.adopt(x)
                    self._control[f.LOOKUPS] = 0
                    self._control[f.ADOPT_AT] *= 2
        except InvalidRow:
            if self.on_invalid == "raise":
                raise
            self.n_invalid += 1

    @staticmethod
    def _read(x: Any) -> tuple[list[Hashable], list[float]]:
        """Names and values of a mapping, as floats. Runs user code, so nothing is written here."""
        if not isinstance(x, Mapping):
            raise InvalidType(f"x is {type(x).__name__}; it must be a dict of features, names to numbers")
        items = list(x.items())
        values = [v if type(v) is float and abs(v) <= LIMIT else feature(v, k) for k, v in items]
        return [k for k, _ in items], values

    def _learn_read(self, names: list[Hashable], values: list[float], y: Any, h: float) -> None:
        """Learn from names and numbers."""
        draft = self._targets.draft()
        target = draft.code(y)
        if h == 0.0 or (draft.known != self._targets.known and self._ignores(y)):
            self._keep_output(self._output_of(names, values))
            return
        n_before = len(self._features)
        samples_before = self.n_samples
        try:
            index = np.array([self._features.add(name) for name in names], dtype=np.int64)
            self._make_room()
            self._make_room_for(draft)
            starts = np.array([0, len(index)])
            row = _rows.Rows(np.array(values, dtype=np.float64), index, starts, 1, len(index), None, None)
            if (index == np.arange(len(index))).all():  # as kernels would take it, to the bit
                row = row._replace(values=row.values.reshape(1, -1))
            job = Job(self._control)
            out = self._outputs(1, draft)
            job.go_through(row, np.array([target]), np.array([h]), out)
            job.words[f.LAST] = 1
            if (status := self._run(job)) != f.OK:
                raise self._no_weight(y, h) if status == f.BAD_WEIGHT else overflow()
            self._keep_output(out[0])
        except BaseException:
            if self.n_samples == samples_before:
                self._forget_features(n_before)
            else:  # interrupted after the kernel
                self._commit_targets(draft)
            raise
        self._commit_targets(draft)

    def _output_of(self, names: list[Hashable], values: list[float]) -> Any:
        """Return the raw output of a row of weight 0, by the kernel that learns: it changes nothing."""
        slots = map(self._features.get, names)
        known = [(slot, v) for slot, v in zip(slots, values, strict=True) if slot is not None]
        index = np.array([slot for slot, _ in known], dtype=np.int64)
        starts, given = np.array([0, len(index)]), np.array([v for _, v in known], dtype=np.float64)
        out = self._outputs(1, self._targets)
        job = Job(self._control)
        row = _rows.Rows(given, index, starts, 1, len(index), None, None)
        job.go_through(row, np.zeros(1), np.zeros(1), out)
        job.words[f.LAST] = job.words[f.N_RATES] = 1
        job.words[f.RATE_STEP], job.words[f.WINDOW] = 0, 1 << 60  # no rate is due, and no look at losses
        status = self._kernels.learn(self._pieces).call(None, None, None, job.words)
        if status == f.OVERFLOW:
            raise overflow()
        return out[0] if status == f.OK else np.nan

    def _make_room(self) -> None:
        """Grow for features that were added, and tell the reader about them."""
        if len(self._features) > len(self._weights):
            self._grow(len(self._features))
        elif len(self._features) > self._control[f.N_KEYS]:
            self._publish()

    def _run(self, job: Job, state: tuple[Floats, Floats, Floats] | None = None) -> int:
        """Run a job, on a copy of some features' ``state`` if it has one, to its end or to a refused row.

        The table of rates is renewed on the way, schedules look at losses, and penalties are folded in.
        """
        if self._kernel is NotBound:
            self._kernel = self._kernels.learn(self._pieces)
        while True:
            self._fill_rates()
            job.words[[f.RATES, f.N_RATES, f.RATE_STEP, f.RATES_START]] = self._control[
                [f.RATES, f.N_RATES, f.RATE_STEP, f.RATES_START]
            ]
            status: int = self._kernel.call(None, None, None, job.words)
            if status == f.NEW_CLASS:
                job.words[f.CLASSES] += 1
                self._control[f.N_RATES] = 0  # its clock starts now
            elif status != f.REFILL:
                return status
            penalty = self._bound_penalty
            if penalty.overrides("full") and any(map(penalty.full, self._penalty_totals)):
                self._fold_penalty(penalty, [] if state is None else [(state[0], state[2])])

    def _forget_features(self, n: int) -> None:
        if self._features.n_indexed > n:
            old = (self._features.keys, self._features.order)
            self._control[f.N_KEYS] = min(n, self._control[f.N_KEYS])  # before their key objects are freed
            self._features.truncate(n)
            self._publish()
            del old  # alive until the control block had the new ones

    def _commit_targets(self, draft: Any) -> None:
        """Make labels that were found the model's, now that a sample with them has been learned."""
        if draft is not self._targets:
            self._targets = draft
            self._publish()

    def _mean_one(self, x: Any, *out: Any) -> float | None:
        """Return what the kernel that predicts does, where it alone could not.

        None for a bad sample, where such samples are skipped.
        """
        try:
            if not isinstance(x, Mapping):
                raise InvalidType(f"x is {type(x).__name__}; it must be a dict of features, names to numbers")
            n = self._control[f.N_KEYS]
            slots = [(self._features.get(name), name, v) for name, v in x.items()]
            known = [(s, feature(v, name)) for s, name, v in slots if s is not None and s < n]
            with self._lock:
                kernel = self._kernels.predict_one(self._pieces)
                if self._names_are_known():
                    self._predict_kernel = kernel
                job = Job(self._control)
                job.predict(np.array([v for _, v in known]), np.array([s for s, _ in known], dtype=np.int64))
                mean = float(kernel.call(None, *out, job.words))
            if mean != mean:
                raise overflow()
        except InvalidRow:
            if self.on_invalid == "raise":
                raise
            return None
        return mean

    def _names_are_known(self) -> bool:
        """Whether predictions can be named; until then each of them goes through Python."""
        return not isinstance(self._targets, Labels) or self._targets.pair[1] is not None

    def debug_one(self, x: dict[Any, Any], decimals: int = 5) -> str:
        """Explain a prediction: a table of each feature's value, weight and contribution.

        Parameters
        ----------
        x
            Features, names to numbers.
        decimals
            Decimals to print.
        """
        from river.utils.pretty import print_table

        weights = self.weights
        names = list(x)
        by_feature = [weights.get(name, 0.0) for name in names] + [self.intercept]
        values = [float(v) for v in x.values()] + [1.0]
        shares = [v * w for v, w in zip(values, by_feature, strict=True)]
        columns = [[f"{v: ,.{decimals}f}" for v in column] for column in (values, by_feature, shares)]
        table: str = print_table(
            headers=["Name", "Value", "Weight", "Contribution"],
            columns=[[*map(str, names), "Intercept"], *columns],
            order=list(reversed(np.argsort(shares).tolist())),
        )
        return table

    # -- rows ----------------------------------------------------------------------------------

    def _column_names(self, rows: _rows.Rows) -> Sequence[Hashable]:
        if rows.columns is not None:
            return rows.columns if isinstance(rows.columns, _rows.Prefix) else tuple(rows.columns)
        names = range(rows.n_columns)
        if self._last_columns is not None and self._last_columns[0] == names:
            return names
        if len(self._features) and not all(type(name) is int for name in self._features.names):
            some = ", ".join(repr(name) for name in self._features.names[:3])
            raise ValueError(
                f"the columns of a bare array are features 0, 1, ..., but this model has names ({some}, "
                "...); say columns=[...]"
            )
        return names

    def _column_slots(self, rows: _rows.Rows) -> tuple[NDArray[np.int64], bool]:
        """Slot of each column, new ones added; and whether column k is slot k throughout."""
        names = self._column_names(rows)
        known, slots, same = self._last_columns or NO_COLUMNS
        if not _rows.begins(known, names):
            known, slots, same = NO_COLUMNS
        if len(known) == len(names):
            return slots, same
        # Only the names at the end are new where categories are found on the way.
        new = np.array([self._features.add(name) for name in names[len(known) :]], dtype=np.int64)
        same = same and bool((new == np.arange(len(slots), len(names))).all())
        if not same and (len(np.unique(new)) != len(new) or np.isin(new, slots).any()):
            twice = next(name for name, n in Counter(names).items() if n > 1)
            raise ValueError(f"column {twice!r} stands twice")
        self._make_room()
        slots = self._features.order[: len(names)] if same else np.concatenate([slots, new])
        self._last_columns = (names, slots, same)
        return slots, same

    @staticmethod
    def _weights_of(w: Any, n: int) -> Floats:
        """Sample weights as an array of one, or one for each row."""
        if w is None or (type(w) is int and w == 1):
            return ONE
        if isinstance(w, numbers.Real):
            return np.array([weight(w)])
        array = _rows.vector(w, n, "w")
        if array.dtype.kind in "biuf":
            return np.ascontiguousarray(array, dtype=np.float64)
        weights = np.full(n, np.nan)
        for i, value in enumerate(array.tolist()):
            try:
                weights[i] = weight(value)
            except InvalidValue:
                continue  # stays NaN: the kernel stops there
            except InvalidType as error:
                raise error.at(i) from error
        return weights

    def _refused(
        self,
        status: int,
        row: int,
        rows: _rows.Rows,
        y: NDArray[Any],
        w: Floats,
        targets: Any = None,
        limit: float = LIMIT,
    ) -> InvalidRow:
        """Say which value of a refused row was wrong.

        ``targets`` are those known before the rows, ``limit`` is what numbers must not exceed.
        """
        try:
            if status == f.BAD_TARGET:
                draft = (self._targets if targets is None else targets).draft()
                self._encode(draft, y[:row], rows, w)
                draft.code(y[row])
                self._factors_of(draft)
            elif status == f.BAD_WEIGHT:
                own = weight(float(w[row if len(w) > 1 else 0]))
                if own <= limit:
                    raise self._no_weight(y[row], own)
            elif status == f.BAD_ROW:
                names = self._column_names(rows)
                if rows.values.ndim == 2:
                    pairs = zip(names, rows.values[row].tolist(), strict=True)
                else:
                    begin, end = rows.starts[row : row + 2]
                    pairs = zip(
                        [names[k] for k in rows.index[begin:end]],
                        rows.values[begin:end].tolist(),
                        strict=True,
                    )
                for name, value in pairs:
                    feature(value, name)
        except InvalidRow as error:
            return error.at(row)
        return overflow(limit).at(row)

    def _no_weight(self, y: Any, own: float) -> InvalidValue:
        """Return the error for a sample whose own weight is fair, but not times that of its class."""
        return InvalidValue(
            f"the class weight of {plain_label(y)!r} times the sample's weight {own:g} is no finite number "
            f"of at least 0; see {self.class_weight!r}"
        )

    def _make_room_for(self, targets: Any) -> None:
        """Make room for the targets of a draft."""

    @staticmethod
    def _outputs(n: int, targets: Any) -> Floats:
        """Return an array for the raw outputs of ``n`` rows."""
        return np.empty(n)

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
            Targets ``(n,)``.
        w
            Weights: None (all 1), one number, or ``(n,)``.
        columns
            Names of the columns of a bare array; by default 0 to p - 1.

        Returns
        -------
        Raw outputs ``(n,)``, float64. ``loss.mean_func`` maps them to the target's scale. NaN where a
        row was skipped (``on_invalid="skip"``).

        Raises
        ------
        ValueError, TypeError
            At a bad row, with its position in the attribute ``row``. Rows before it are learned.
        """
        return self._learn_rows(X, y, w, columns, self._outputs)

    def _learn_rows(
        self,
        X: Any,
        y: Any,
        w: Any,
        columns: Sequence[Hashable] | None,
        outputs: Callable[[int, Any], Floats],
        made: NDArray[np.int64] | None = None,
    ) -> Floats:
        """Learn from each row in turn; return the array made by ``outputs``, filled.

        ``made (n,)`` is 1 where a row is synthetic: no class weight counts it, and no schedule sees its loss.
        """
        rows = _rows.rows(X, columns)
        targets = _rows.vector(y, rows.n, "y")
        h = self._weights_of(w, rows.n)
        if rows.n == 0:
            return outputs(0, self._targets)
        with self._exclusive():
            n_before = len(self._features)
            samples_before = self.n_samples
            draft = self._targets.draft()
            codes, h = self._encode(draft, targets, rows, h)
            out = outputs(rows.n, draft)
            try:
                self._make_room_for(draft)
                status, row = self._learn_normalised(rows, codes, h, out, made)
            except BaseException:
                if self.n_samples == samples_before:
                    self._forget_rows(n_before)
                else:
                    self._commit_targets_of(targets[: self._row_reached], rows, h)
                raise
            if status != f.OK:
                error = self._refused(status, row, rows, targets, h)
                if self.n_samples == samples_before:
                    self._forget_rows(n_before)
                else:
                    self._commit_targets_of(targets[:row], rows, h)
                error.outputs = self._of_known(out[:row])
                raise error
            if self.n_samples > samples_before:
                self._commit_targets(draft)
            else:
                self._forget_rows(n_before)
        return self._of_known(out)

    def _commit_targets_of(self, targets: NDArray[Any], rows: _rows.Rows, w: Floats) -> None:
        """Make the labels of the first rows the model's; those that only stand later are not known yet."""
        draft = self._targets.draft()
        self._encode(draft, targets, rows, w)
        self._commit_targets(draft)

    def _of_known(self, outputs: Floats) -> Floats:
        """Return the raw outputs without those of labels that turned out to have no good row."""
        return outputs

    def _encode(
        self, draft: Any, targets: NDArray[Any], rows: _rows.Rows, w: Floats
    ) -> tuple[Floats, Floats]:
        """Return targets as kernels see them, and the weights, 0 where a label is new and ignored.

        Only rows with a weight and finite values, which can be learned, make their labels known to the draft.
        """
        ignored: list[int] = []

        def counts(i: int) -> bool:
            if not w[i if len(w) > 1 else 0] > 0.0:
                return False
            if self._ignores(targets[i]):
                ignored.append(i)
                return False
            if rows.values.ndim == 2:
                values = rows.values[i]
            else:
                values = rows.values[rows.starts[i] : rows.starts[i + 1]]
            return bool(np.abs(values).sum(dtype=np.float64) <= LIMIT)

        codes = draft.encode(targets, counts)
        if ignored:
            w = np.array(np.broadcast_to(w, rows.n))
            w[ignored] = 0.0
        return codes, w

    def _ignores(self, y: Any) -> bool:
        """Tell whether samples of a label weigh nothing, by the class weight's factor, or raise."""
        rule = self.class_weight
        return rule is not None and rule.factors([plain_label(y)])[0] == 0.0

    def _forget_rows(self, n: int) -> None:
        self._last_columns = None
        self._forget_features(n)

    def _learn_normalised(
        self, rows: _rows.Rows, y: Floats, w: Floats, out: Floats, made: NDArray[np.int64] | None
    ) -> tuple[int, int]:
        """Run the kernel over all rows; return its last status and the row where it stopped."""
        self._row_reached = 0
        slots, same = self._column_slots(rows)
        if not same and (self._pieces.is_matrix or rows.values.ndim == 1):
            rows, same = _rows.in_slots(rows, slots, self._features.names), True
        job = Job(self._control)
        state = None
        if not same:
            # Columns in another order, or of some features: the kernel gets a copy of their state.
            state = self._state_of(slots)
            job.use_state(*state)
        job.go_through(rows, y, w, out)
        if made is not None:
            job.point(f.MADE, made)
        job.words[f.SKIP] = self.on_invalid == "skip"
        job.words[f.RELEASE] = 1
        chunk = max(1, CHUNK * rows.n // max(1, rows.values.size))
        status = f.OK
        try:
            while job.words[f.ROW] < rows.n and status == f.OK:
                job.words[f.LAST] = min(rows.n, job.words[f.ROW] + chunk)
                status = self._run(job, state)
        finally:
            self._row_reached = int(job.words[f.ROW])
            if state is not None:
                self._weights[slots], self._slots[:, slots], self._charged[slots] = state
            self.n_invalid += int(job.words[f.SKIPPED])
        return status, int(job.words[f.ROW])

    def _state_of(self, slots: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
        """Copy the state of some features: weights, slots, penalties charged."""
        return self._weights[slots], np.ascontiguousarray(self._slots[:, slots]), self._charged[slots]

    def learn_rows(self, X: Any, y: Any, w: Any = None, *, columns: Sequence[Hashable] | None = None) -> None:
        """Learn from each row in turn, as `learn_one`; see `predict_learn_rows` for the parameters."""
        self.predict_learn_rows(X, y, w, columns=columns)

    # -- synthetic rows ------------------------------------------------------------------------

    def _learn_made_one(self, x: dict[Any, Any], y: Any, w: float = 1.0) -> None:
        """Learn from a synthetic sample: no class weight counts or weighs it, no schedule sees its loss."""
        with self._lock:
            try:
                self._control[f.MADE] = ONE_MADE.ctypes.data
                self.learn_one(x, y, w)
            finally:
                self._control[f.MADE] = 0

    def _learn_made(
        self, X: Any, y: Any, w: Any, made: Any, *, columns: Sequence[Hashable] | None = None
    ) -> Floats:
        """As `predict_learn_rows`, with synthetic rows where ``made (n,)`` is true."""
        flags = np.ascontiguousarray(made, dtype=np.int64)
        return self._learn_rows(X, y, w, columns, self._outputs, _rows.vector(flags, len(y), "made"))

    def _learn_made_many(
        self,
        X: Any,
        y: Any,
        w: Any,
        made: Any,
        *,
        columns: Sequence[Hashable] | None = None,
        threads: int = 1,
        dtype: Any = None,
    ) -> Floats:
        """As `predict_learn_many`, in a dtype, with synthetic rows where ``made (n,)`` is true."""
        gradient = Gradient(self, dtype)
        if _rows.is_device_array(X):
            if made is not None:
                raise ValueError("synthetic rows are added up on the CPU: give rows on the host")
            outputs: Floats = self._on_device().learn_one_batch(X, y, w, columns)
            return outputs
        with self._exclusive():
            flags = None if made is None else np.asarray(made, bool)
            z: Floats = gradient._add(X, y, w, columns, threads, flags)
            gradient._step()
            gradient._report()
        return z

    # -- mini-batches --------------------------------------------------------------------------

    def _on_device(self) -> Any:
        """Return what takes mini-batches on a CUDA device; it is kept, and never copied nor saved."""
        kept = self.__dict__.get("_device_gradient")
        if kept is None or kept.pieces != self._pieces:
            from ._device import DeviceGradient

            kept = self.__dict__["_device_gradient"] = DeviceGradient(self)
        return kept

    def learn_many(
        self,
        X: Any,
        y: Any,
        w: Any = 1,
        *,
        columns: Sequence[Hashable] | None = None,
        threads: int = 1,
    ) -> None:
        """Take one step on the mean gradient of a mini-batch, all rows or nothing.

        Parameters
        ----------
        X
            Rows ``(n, p)``, as for `predict_learn_rows`. All columns of a matrix count as present in every
            row; of sparse rows those that any row has a value in, and new ones. Rows that lie on a CUDA
            device (float32, float16 or uint8, of PyTorch, CuPy or Numba) are added up there, in float32.
        y
            Targets ``(n,)``.
        w
            One weight, or ``(n,)``. The mean is over the rows whose weight is not 0.
        columns
            Names of the columns of a bare array; by default 0 to p - 1.
        threads
            Threads to work with. The result is the same to the bit; more than 1 help from some 500,000
            values on.

        Raises
        ------
        ValueError, TypeError
            When a value is bad, with its row in the attribute ``row``; the model is as it was.
        """
        self.predict_learn_many(X, y, w, columns=columns, threads=threads)

    def predict_learn_many(
        self,
        X: Any,
        y: Any,
        w: Any = 1,
        *,
        columns: Sequence[Hashable] | None = None,
        threads: int = 1,
    ) -> Floats:
        """Take one step on the mean gradient of a mini-batch, as `learn_many`; return the outputs before it.

        Returns
        -------
        Raw outputs of all rows, as `predict_learn_rows` returns them: ``(n,)``, or ``(n, k)`` of the k labels
        that are known afterwards. NaN where a row was skipped (``on_invalid="skip"``).
        """
        return self._learn_made_many(X, y, w, None, columns=columns, threads=threads)

    def accumulate(self, dtype: Any = None) -> Gradient:
        """Begin a step on the mean gradient of rows that come in parts; see `Gradient`.

        This is `learn_many` for data of any size, full-batch gradient descent over a file for instance.

        Parameters
        ----------
        dtype
            What is computed in: "float64" (None), or "float32".
        """
        return Gradient(self, dtype)

    @staticmethod
    def _flat(state: tuple[Floats, Floats, Floats]) -> tuple[Floats, Floats, Floats]:
        """State as kernels see it: with one axis for all coordinates."""
        return state

    def _class_factors(self, targets: Any) -> tuple[Floats, ...]:
        """Return what kernels of several classes need beside the state."""
        return ()

    # -- what drivers ask for ------------------------------------------------------------------

    def _losses_of(self, y: Any, z: Floats, known: Any = None) -> Floats:
        """Losses ``(n,)`` of raw outputs, before sample weights; NaN where output or label is none.

        ``known`` are the targets of a gradient whose step is still to come, the model's if None.
        """
        targets = _rows.vector(y, len(z), "y")
        known = (self._targets if known is None else known).copy()
        codes = known.encode(targets, lambda _: False)
        if isinstance(known, Classes):
            strange = np.fromiter((label not in known.codes for label in targets.tolist()), bool, len(z))
            codes[strange] = np.nan
        return self._losses_from(codes, np.ascontiguousarray(z, dtype=np.float64), known)

    def _losses_from(self, codes: Floats, z: Floats, targets: Any) -> Floats:
        """As `_losses_of`, from targets as kernels see them."""
        out = np.empty(len(z))
        self._kernels.losses(self._pieces).call(*(self._class_factors(targets) or (self._hp,)), codes, z, out)
        return out

    def _last_output(self) -> Any:
        """Return the raw output of the last `learn_one`, before its update; NaN if it skipped the row."""
        return float(self._given[2])

    def _keep_output(self, z: Any) -> None:
        """Write the raw output of a dict that Python has read where kernels write theirs."""
        self._given[2] = z

    def _raw_rows(self, X: Any, columns: Sequence[Hashable] | None) -> tuple[_rows.Rows, Floats]:
        """Raw outputs ``(n,)`` of rows, NaN for bad ones; unknown features are left out."""
        rows = _rows.rows(X, columns)
        with self._lock:
            out = self._outputs(rows.n, self._targets)
            names = self._column_names(rows)
            if rows.values.ndim == 1:  # of a million columns few may be there
                used, place = _rows.used(rows)
                slots = self._slots_of(names, used)
                known = _rows.with_index(rows, slots[place], len(self._weights))
                state = self._weights, self._slots, self._charged
            else:
                slots = self._slots_of(names, np.arange(len(names)))
                known = _rows.some_columns(rows, np.flatnonzero(slots >= 0).tolist())
                state = self._state_of(slots[slots >= 0])
            kernel = self._kernels.predict_rows(self._pieces, known.values.dtype.char, known.values.ndim)
            scalars = self._scalars.copy()
            bad = kernel.call(
                self._hp, *self._flat(state), scalars, known.values, known.index, known.starts, out
            )
        if bad < rows.n and self.on_invalid == "raise":
            raise self._refused(f.BAD_ROW, bad, rows, ONE, ONE)
        return rows, out

    def _slots_of(self, names: Sequence[Hashable], chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        """Slots of some columns, by their numbers; -1 where a feature is not known."""
        known, slots, _ = self._last_columns or NO_COLUMNS
        n = len(known) if _rows.begins(known, names) or _rows.begins(names, known) else 0
        found = np.empty(len(chosen), dtype=np.int64)
        seen = chosen < n
        found[seen] = slots[chosen[seen]]
        rest = [self._features.get(names[k]) for k in chosen[~seen].tolist()]
        found[~seen] = [-1 if slot is None else slot for slot in rest]
        return found

    def _like(self, rows: _rows.Rows, values: NDArray[Any]) -> Any:
        """Predictions as a series of the kind of frame that came in, or as an array."""
        return values if rows.frame is None else _rows.series_like(rows.frame, values, self._y_name)
