"""Mini-batches of a learner on a CUDA device: rows go there, or lie there, and the state comes back."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _features as f
from . import _rows
from ._gradient import Answer, Floats, Gradient, Words
from ._single import check_single
from .kernels.pieces import INTERCEPT, SAMPLES, Pieces, T

if TYPE_CHECKING:
    from ._learner import LinearLearner

MOST_STEPS = 1 << 12  # of one look at the clock: so long is the table of rates
# Penalties on absent features store weights in a form that loses precision as their totals grow.
MOST_STEPS_OF_LAZY = 64


class DeviceRows:
    """Rows on the device, or on the host in a type that only kernels of the device read; seen row by row."""

    ndim = 2

    def __init__(self, X: Any) -> None:
        self.X = X

    def __getitem__(self, i: int) -> Floats:
        row = self.X[i] if isinstance(self.X, np.ndarray) else self.X[i].copy_to_host()
        return np.asarray(row, dtype=np.float64)


def _check(pieces: Pieces) -> None:
    """Raise ValueError or TypeError for what has no kernel for a GPU."""
    if pieces.is_matrix:
        raise ValueError(
            f"{pieces.optimizer.__name__} keeps a matrix over features, which has no kernel for a GPU; use "
            "device='cpu', or another optimizer"
        )
    check_single(pieces.classes)


def _stored(rows: _rows.Rows) -> Any:
    """Return rows as they lie on the host or the device."""
    values: Any = rows.values
    return values.X if isinstance(values, DeviceRows) else values


def _type_there(X: Any) -> Any:
    """Return the type of rows on the device: their own, or float32."""
    keeps = _rows.is_device_array(X) or X.dtype in _rows.NARROW
    return np.dtype(X.dtype if keeps else np.float32)


def _on_host(v: Any) -> Any:
    if not _rows.is_device_array(v):
        return v
    from .cuda._arrays import to_host

    return to_host(v)


class DeviceGradient(Gradient):
    """As `Gradient`, added up on a CUDA device in float32; and whole runs of mini-batches taken there.

    Rows are dense: NumPy arrays of any type of number, frames, or arrays on the device. The model's own
    arrays stay on the host, and have the result when a call returns.
    """

    def __init__(self, model: LinearLearner) -> None:
        from .cuda._errors import require

        _check(model._pieces)
        require()
        super().__init__(model, "float32")
        self.pieces = model._pieces
        self._engines: dict[Any, Any] = {}
        self._uploaders: dict[Any, Any] = {}
        self.taken = 0  # rows of the last `learn_batches` that are behind us

    # -- rows ----------------------------------------------------------------------------------

    def _read(self, X: Any, columns: Sequence[Hashable] | None) -> _rows.Rows:
        """Normalise rows; those on the device, and narrow ones, stay what they are."""
        if _rows.is_device_array(X):
            from .cuda._arrays import device_rows

            values: Any = DeviceRows(device_rows(X))
        elif isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype in _rows.NARROW:
            values = DeviceRows(np.ascontiguousarray(X))
        else:
            rows = _rows.rows(X, columns)
            if rows.values.ndim == 1:
                raise ValueError(
                    "sparse rows have no kernel for a GPU, and categories make rows sparse: use "
                    "device='cpu', or X.toarray() if there are few columns"
                )
            return rows
        n, p = values.X.shape
        if columns is not None and len(columns) != p:
            raise ValueError(f"columns has {len(columns)} names, X has {p} columns")
        rows = _rows.rows(np.empty((0, p)), columns)
        return rows._replace(values=values, n=int(n))

    # -- one step ------------------------------------------------------------------------------

    def _sum(
        self, rows: _rows.Rows, where: Words | None, codes: Floats, h: Floats, draft: Any, threads: int
    ) -> tuple[Floats, Floats, list[Answer]]:
        model, n = self._model, rows.n_columns
        slots = self._slots[:n] if where is None else self._slots[where]
        weights, held, charged = self._state_of(slots, same=False)
        (z,) = self._rounded(model._outputs(rows.n, draft))
        engine = self._engine_for(rows, z.shape[1:])
        scalars, *more = self._rounded(model._scalars, *model._class_factors(draft))
        engine.begin(self._hyper(model._hp), weights, held, charged, scalars, *more)
        skip = model.on_invalid == "skip"
        self._run(engine, rows, codes, h, z, 1, lambda *part: engine.add(*part[:4], skip, part[4]))
        total, outcome = engine.sums()
        sums = self._room_for(len(self._names), z.shape[1:])
        place = slice(n + 1) if where is None else np.concatenate([[0], where + 1])
        sums[place] += total
        row, status = outcome.refused or (0, f.OK)
        return z, sums, [(status, row, outcome.samples, outcome.skipped)]

    # -- mini-batches --------------------------------------------------------------------------

    def learn_one_batch(self, X: Any, y: Any, w: Any, columns: Sequence[Hashable] | None) -> Floats:
        """Take one step on the mean gradient of all rows, as ``predict_learn_many``; return their outputs."""
        with self._model._exclusive():
            self._forget()
            try:
                z = self._add(X, _on_host(y), _on_host(w), columns, 1)
                self._step()
                self._report()
            finally:
                self._forget()
        return z

    def takes_several(self, size: int, X: Any, n_columns: int) -> bool:
        """Tell whether mini-batches of ``size`` go to the device many at a time, as `learn_batches` has them.

        Not where the host is to look at something between two of them (losses, how many rows were skipped),
        for several classes, nor where one does not fit into the memory that rows travel through.
        """
        from .cuda._upload import rows_of_chunk

        model, skips = self._model, self._model.on_invalid == "skip"
        looks = model._pieces.monitored or (skips and (model.class_weight or model._counts_samples))
        fits = _rows.is_device_array(X) or size <= rows_of_chunk(n_columns, 4)
        return not looks and model._scalars.ndim == 1 and fits

    def most_rows(self, size: int) -> int:
        """Return how many rows `learn_batches` takes at most."""
        is_lazy = self._model._bound_penalty.overrides("current")
        return size * (MOST_STEPS_OF_LAZY if is_lazy else MOST_STEPS)

    def learn_batches(self, X: Any, y: Any, w: Any, columns: Sequence[Hashable] | None, size: int) -> Floats:
        """Take a step on the mean gradient of each ``size`` rows, as many as go together.

        Returns
        -------
        The outputs of the rows learned ``(n,)``, float32, each made before the step that it was part of.

        Raises
        ------
        ValueError, TypeError
            At a mini-batch with a bad row, whose position is in ``row``; those before it are taken, and their
            outputs are in ``outputs``. After whatever ends it early, `taken` rows are behind us.
        """
        self.taken = 0
        with self._model._exclusive():
            self._forget()
            n_before, updates = len(self._model._features), self._model.n_updates
            try:
                return self._take(X, _on_host(y), _on_host(w), columns, size)
            except BaseException:
                if self._model.n_updates == updates:
                    self._model._forget_rows(n_before)
                raise
            finally:
                self._forget()

    def _take(self, X: Any, y: Any, w: Any, columns: Sequence[Hashable] | None, size: int) -> Floats:
        model, known = self._model, self._model._targets
        self._targets = known
        rows = self._read(X, columns)
        targets = _rows.vector(y, rows.n, "y")
        own = model._weights_of(w, rows.n)
        self._place(model._column_names(rows))
        codes, h = self._encoded(targets, rows, own)
        rates, n = self._plan_of(h, rows.n, size)
        if model._bound_penalty.overrides("current"):
            model._fold_penalty(model._bound_penalty, [])  # totals begin anew: in float32 they grow coarse
        engine = self._engine_for(rows, ())
        state = self._state_of(self._slots, same=False)
        engine.begin(self._hyper(model._hp), *state, *self._rounded(model._scalars, rates))
        z: Floats = np.empty(n, np.float32)
        skip = model.on_invalid == "skip"
        self._run(engine, rows, codes, h, z, size, lambda *part: engine.steps(*part[:4], skip, size, part[4]))
        new, scalars, outcome = engine.end()
        taken = min(outcome.batches * size, n)
        self._n_rows, self._n_skipped = outcome.samples, outcome.skipped
        if outcome.samples:
            if taken < rows.n:  # labels and counts of what comes later are not known yet
                self._encoded(targets[:taken], rows, own)
            self._y_name = getattr(y, "name", None)
            self._commit(new, scalars, outcome.steps, taken)
        else:
            model.n_invalid += outcome.skipped
            self.taken = taken
        if outcome.refused is not None:
            row, status = outcome.refused
            error = model._refused(status, row, rows, targets, own, known, self._precision.limit)
            error.outputs = z[:taken]
            raise error
        return z[:taken]

    def _encoded(self, targets: Any, rows: _rows.Rows, own: Floats) -> tuple[Floats, Floats]:
        """Return targets and weights as kernels see them; keep the labels and counts that they bring."""
        model, draft = self._model, self._model._targets.draft()
        self._counted = None  # counting begins with the model's own
        codes, own = model._encode(draft, targets, rows, own)
        model._make_room_for(draft)
        self._counted, h = self._weigh(codes, own, np.zeros(len(codes), bool), len(draft.known))
        self._targets = draft
        return codes, h

    def _plan_of(self, h: Floats, n: int, size: int) -> tuple[Floats, int]:
        """Return the rates of the coming steps, and how many of ``n`` rows can go together."""
        model = self._model
        n = min(n, self.most_rows(size))
        starts = np.arange(0, n, size)
        if len(h) > 1:
            samples = np.add.reduceat((h[:n] != 0.0).astype(np.int64), starts)
        else:
            samples = np.diff(np.append(starts, n)) * int(h[0] != 0.0)
        with_rows = np.flatnonzero(samples)  # others are no step, and use up no rate
        if not len(with_rows):
            return np.zeros((1, 3)), n
        rates = model._coming_rates(samples[with_rows])
        if len(rates) < len(with_rows) and not model._constant_rates:
            n = int(
                starts[with_rows[len(rates)]]
            )  # there are no more: the error waits until its time has come
        return rates, n

    def _commit(self, state: Any, scalars: Floats, steps: int, taken: int) -> None:
        """Make the state that has come back the model's."""
        model, n_before = self._model, len(self._model._features)
        for k in np.flatnonzero(self._slots >= n_before).tolist():
            model._features.add(self._names[k])
        model._make_room()
        model._make_room_for(self._targets)
        words = model._scalars.copy()
        words[INTERCEPT:] = scalars[INTERCEPT:]
        words[T] += steps
        words[SAMPLES] += self._n_rows
        model._scalars[...] = words
        invalid, self._n_skipped = model.n_invalid + self._n_skipped, 0
        try:
            self._take_over(state)
        except BaseException:  # Ctrl-C: the step is done
            self._take_over(state)
            raise
        finally:
            model.n_invalid, self.taken = invalid, taken

    # -- the device ----------------------------------------------------------------------------

    def _engine_for(self, rows: _rows.Rows, classes: tuple[int, ...]) -> Any:
        """Return what computes on the device for such rows, and classes if there are several."""
        X = _stored(rows)
        itemsize = _type_there(X).itemsize
        aligned = itemsize == 4 and rows.n_columns % 4 == 0
        if _rows.is_device_array(X):
            from .cuda._arrays import address_of

            aligned &= address_of(X) % 16 == 0
        key = self._model._pieces, rows.n_columns, itemsize, aligned, classes
        if key not in self._engines:
            _check(self._model._pieces)  # a callback may have changed it
            self._engines.clear()  # their memory
            if classes:
                from .cuda._softmax import SoftmaxEngine

                self._engines[key] = SoftmaxEngine(key[0], rows.n_columns, classes[0], itemsize, aligned)
            else:
                from .cuda._engine import Engine

                self._engines[key] = Engine(key[0], rows.n_columns, itemsize, aligned)
        return self._engines[key]

    def _run(
        self,
        engine: Any,
        rows: _rows.Rows,
        codes: Floats,
        h: Floats,
        z: Floats,
        multiple: int,
        launch: Callable[..., None],
    ) -> None:
        """Fill ``z``: call ``launch(X, y, w, z, n)`` for its rows, in parts of whole mini-batches."""
        from .cuda._backend import cuda

        stream, n, lanes = engine.stream, len(z), z[0].size
        given = self._rounded(codes, h)  # which live until they are read
        y, w = (cuda.to_device(v, stream=stream) for v in given)
        out = cuda.device_array(n * lanes, np.float32)
        for lo, hi, X in self._parts(_stored(rows), n, multiple, stream):
            launch(X, y[lo:hi], w[lo:hi] if len(h) > 1 else w, out[lo * lanes : hi * lanes], hi - lo)
        host = out.copy_to_host(stream=stream)
        stream.synchronize()
        z[...] = host.reshape(z.shape)

    def _parts(self, X: Any, n: int, multiple: int, stream: Any) -> Iterator[tuple[int, int, Any]]:
        """Yield ``n`` rows in parts, each on the device and flat; one is on its way while another is read."""
        p = X.shape[1]
        if _rows.is_device_array(X):
            yield 0, n, X[:n].reshape(n * p)
            return
        from .cuda._upload import Uploader, rows_of_chunk

        dtype = _type_there(X)
        most = max(multiple, rows_of_chunk(p, dtype.itemsize) // multiple * multiple)
        uploader = self._uploaders.get((p, dtype.str))
        if uploader is None or uploader.most_rows < min(n, most):
            self._uploaders.clear()  # their memory
            uploader = self._uploaders[p, dtype.str] = Uploader(p, dtype, min(n, most))
        for lo in range(0, n, most):
            hi = min(lo + most, n)
            there = uploader.upload(X[lo:hi])
            uploader.ready(stream)
            yield lo, hi, there
            uploader.done(stream)
