"""SMOTE and its kin on a table that is there as a whole, on the CPU or a GPU."""

from __future__ import annotations

import numbers
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _rows
from .._rows import Floats, Words
from ..cuda._errors import require
from ..kernels import smote
from ..kernels.neighbours import all_nearest
from ._draws import DRAWS, Counter, Draws, Flags, draws_of

KINDS: Final = ("regular", "borderline1", "borderline2", "adasyn", "replay")
STRATEGIES: Final = ("auto", "minority", "not minority", "not majority", "all")
DEVICES: Final = ("cpu", "cuda")

_NO_PLACES: Final = np.empty(0, dtype=np.int64)


def fit_resample(
    X: Any,
    y: Any,
    kind: str = "regular",
    *,
    sampling_strategy: Any = "auto",
    k_neighbors: int = 5,
    m_neighbors: int = 10,
    categorical_features: Any = None,
    random_state: int | np.random.RandomState | None = None,
    draws: str | None = None,
    device: str = "cpu",
) -> tuple[Any, Any]:
    """Return a table with rows added to its rare classes.

    A made row lies between a row of its class and one of that row's nearest neighbours: on raw columns, so
    scale them first. Without ``draws`` and ``device``, results are imbalanced-learn's of the same
    ``random_state``, those of its ``SMOTE``, ``BorderlineSMOTE``, ``ADASYN``, ``SMOTENC`` and
    ``RandomOverSampler``, but where it is wrong: a row is left out of its own neighbours by its place, not
    as the first of them, which may be its duplicate; of equally near rows the earlier one is taken;
    distances are sums of squares in float64, which do not cancel where columns are far from 0, and whose
    share of categories is never rounded to an integer (its are, where all other columns are integers) nor
    all ties (where deviations are below 1e-8).

    Parameters
    ----------
    X
        Rows (n, p): an array, a frame of pandas, polars or Arrow, or a sequence of rows.
    y
        Their labels (n,), of any type that can be sorted.
    kind
        - "regular": from all rows of a class, as likely.
        - "borderline1": from rows of which at least half, but not all, of ``m_neighbors`` are of other
          classes. Where there are none, no rows are added.
        - "borderline2": as that, to neighbours of other classes too, and at most half the way to them.
        - "adasyn": from each row in proportion to the share of other classes among its neighbours. Numbers
          are rounded row by row, so that a class may get a few more or less than asked for.
        - "replay": copies of rows, drawn at random.
    sampling_strategy
        Which classes get rows, until they have as many as the largest: "not majority" or "auto" (all but
        the largest), "minority" (the smallest), "not minority", "all". With two classes a float in (0, 1]:
        the rare one's share of the other after that. A dict: label to the number of rows after that; or a
        function of y that returns one.
    k_neighbors
        Neighbours of its class that a made row may lie towards. More: made rows spread further.
    m_neighbors
        Of the two borderline kinds: neighbours among all rows that tell where the border is.
    categorical_features
        Columns of categories, for "regular" (SMOTE-NC: the commonest category among the neighbours, drawn
        at random where several are): positions, names, a bool for each column, or "auto", the categorical
        columns of a frame.
    random_state
        Seed, with which each class sees the same draws (but in "adasyn" and "replay"); a RandomState, which
        goes on; None: from the system.
    draws
        - "sequential": one after the other, as imbalanced-learn draws them. The default on the CPU.
        - "counter": what a row is made from is a function of the seed, its class and its number in the class
          (Philox; Salmon et al., 2011), so that both devices make the same rows, and more rows of a class
          begin with those that were fewer (but in "adasyn"). On a GPU this is the default, and all there is.
    device
        "cuda": neighbours are found and rows are made on a GPU, all kinds of them, in float32. It pays where
        a class has many rows (for "borderline1", "borderline2" and "adasyn": where the table has). Of two
        neighbours whose distances differ by the rounding of float32 alone it may take the other; numbers are
        rounded to 2 ** -24 of their column's largest. `k_neighbors` and `m_neighbors` are 32 at most.

    Returns
    -------
    The rows followed by those made, in the order of labels, and their labels: of the kinds that came in
    (arrays for sequences), with the types of their columns. Made numbers in a column of integers lose their
    fractions.

    Raises
    ------
    ValueError
        For a class that is too small for so many neighbours, for values that are not finite, for one class
        alone, and where a parameter does not fit the data or the device.
    CudaUnavailable
        With "cuda", where there is no package, driver or device for it.

    References
    ----------
    N. Chawla et al., SMOTE, JAIR 16, 2002. H. Han et al., Borderline-SMOTE, ICIC 2005. H. He et al., ADASYN,
    IJCNN 2008. J. Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from streamgd import imblearn
    >>> X, y = np.random.RandomState(1).normal(size=(100, 3)), np.repeat(["rare", "usual"], [10, 90])
    >>> X_more, y_more = imblearn.fit_resample(X, y, random_state=1)
    >>> X_more.shape, int((y_more == "rare").sum())
    ((180, 3), 90)
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}; it is one of {', '.join(KINDS)}")
    for name, value in (("k_neighbors", k_neighbors), ("m_neighbors", m_neighbors)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"{name}={value!r}; it is an integer from 1")
    if categorical_features is not None and kind not in ("regular", "replay"):
        raise ValueError(f'kind={kind!r} has no rule for categorical_features; kind="regular" has')
    if not hasattr(X, "shape"):
        X = np.asarray(X, dtype=None if categorical_features is None else object)
    n = X.shape[0]
    draws = _checked_draws(draws, device)
    labels, codes = _classes(y, n)
    wanted = {c: m for c, m in _wanted(sampling_strategy, y, labels, np.bincount(codes)).items() if m}
    drawn = draws_of(draws, random_state)
    if kind in ("adasyn", "replay"):
        drawn = drawn.going_on()
    if kind == "replay":
        copies = [drawn.copies(c, m, np.flatnonzero(codes == c)) for c, m in wanted.items()]
        order = np.concatenate([np.arange(n), *copies])
        return _taken(X, order), _taken(y, order)
    table = _read(X, categorical_features)
    where = _Device(table, drawn.seed) if device == "cuda" and isinstance(drawn, Counter) else None
    rule = _Rule(table, codes, labels, k_neighbors, m_neighbors, drawn, where)
    found = [made for c, m in wanted.items() if (made := _RULES[kind](rule, c, m)) is not None]
    if not found:
        return _taken(X, np.arange(n)), _taken(y, np.arange(n))
    bases, rows = map(np.concatenate, zip(*found, strict=True))
    return _joined(X, table, rows), _taken(y, np.concatenate([np.arange(n), bases]))


# -- what is asked for -------------------------------------------------------------------------


def _checked_draws(draws: str | None, device: str) -> str:
    if device not in DEVICES:
        raise ValueError(f"device={device!r}; it is one of {', '.join(DEVICES)}")
    if draws is not None and draws not in DRAWS:
        raise ValueError(f"draws={draws!r}; it is one of {', '.join(DRAWS)}, or None")
    if device == "cpu":
        return draws or "sequential"
    if draws == "sequential":
        raise ValueError(
            "draws='sequential' is for device='cpu': a GPU makes rows all at once, not one after the other; "
            "take draws='counter', which makes the same ones on both"
        )
    require()
    return "counter"


def _classes(y: Any, n: int) -> tuple[list[Any], Words]:
    """Return the labels, sorted, and the position of each row's label among them."""
    array = _rows.vector(y, n, "y")
    missing = _missing(array)
    if missing.any():
        raise ValueError(f"row {missing.argmax()} of y has no label; leave such rows out")
    if array.dtype.kind == "f" and (array % 1.0 != 0.0).any():
        raise ValueError(f"y has numbers such as {array[array % 1.0 != 0.0][0]}, which are no labels")
    try:
        labels, codes = np.unique(array, return_inverse=True)
    except TypeError as error:
        raise TypeError(
            f"y has labels that cannot be sorted ({error}); make them all str, or all int"
        ) from error
    if len(labels) < 2:
        raise ValueError(f"y has {len(labels)} classes; there must be two or more to balance")
    return labels.tolist(), codes.reshape(-1)


def _wanted(strategy: Any, y: Any, labels: list[Any], counts: Words) -> dict[int, int]:
    """Return how many rows each class gets, the classes in order."""
    if callable(strategy):
        strategy = strategy(y)
    if isinstance(strategy, Mapping):
        return _totals(strategy, labels, counts)
    largest, smallest = int(counts.argmax()), int(counts.argmin())
    missing = {c: int(counts[largest] - count) for c, count in enumerate(counts)}
    if isinstance(strategy, str) and strategy in STRATEGIES:
        left_out = {"not minority": smallest, "all": -1}.get(strategy, largest)
        return {smallest: missing[smallest]} if strategy == "minority" else _without(missing, left_out)
    if isinstance(strategy, numbers.Real):
        return _ratio(float(strategy), labels, counts)
    raise ValueError(
        f"sampling_strategy={strategy!r}; it is one of {', '.join(STRATEGIES)}, a float for two classes, a "
        "dict of label to number of rows, or a function of y that returns one"
    )


def _without(missing: dict[int, int], left_out: int) -> dict[int, int]:
    return {c: n for c, n in missing.items() if c != left_out}


def _totals(totals: Mapping[Any, Any], labels: list[Any], counts: Words) -> dict[int, int]:
    unknown = [label for label in totals if label not in labels]
    if unknown:
        raise ValueError(f"sampling_strategy has the label {unknown[0]!r}; y has {labels}")
    wanted = {labels.index(label): int(total) for label, total in totals.items()}
    for c, total in sorted(wanted.items()):
        if total < counts[c]:
            raise ValueError(
                f"sampling_strategy asks for {total} rows of class {labels[c]!r}, which has {counts[c]} "
                "already; rows are only added, so ask for as many at least"
            )
    return {c: total - int(counts[c]) for c, total in sorted(wanted.items())}


def _ratio(ratio: float, labels: list[Any], counts: Words) -> dict[int, int]:
    if len(labels) > 2:
        raise ValueError(f"sampling_strategy={ratio} is for two classes; y has {len(labels)}: pass a dict")
    if not 0.0 < ratio <= 1.0:
        raise ValueError(f"sampling_strategy={ratio}; a ratio is above 0, and 1 at most")
    large = int(counts.argmax())
    n = int(counts[large] * ratio - counts[1 - large])
    if n <= 0:
        raise ValueError(
            f"sampling_strategy={ratio} adds nothing: class {labels[1 - large]!r} has {counts[1 - large]} "
            f"rows, {counts[1 - large] / counts[large]:.3g} of the other's; ask for a larger ratio"
        )
    return {1 - large: n}


# -- which rows are made -----------------------------------------------------------------------


class _Table(NamedTuple):
    """Rows as numbers; a column of categories as the codes of its categories, sorted."""

    values: Floats  # (n, p)
    nominal: Words
    numeric: Words
    rows: list[Words]  # of each column of categories: for each code, a row that has it


class _Made(NamedTuple):
    """Rows made for a class."""

    bases: Words  # the row of the table that each is made from
    values: Floats  # (n, p)


class _Near(NamedTuple):
    """The nearest of some rows."""

    rows: Words  # (q,)
    near: Words  # (q, k) rows of the table, too
    among: Words  # all that were looked at


class _Rule(NamedTuple):
    """What the kinds have in common: the table, its classes, and the parameters."""

    table: _Table
    codes: Words
    labels: list[Any]
    k: int
    m: int
    draws: Draws
    device: _Device | None  # None: the CPU

    def own(self, c: int) -> Words:
        """Rows of a class."""
        return np.flatnonzero(self.codes == c)

    def everyone(self) -> Words:
        return np.arange(len(self.codes))

    def near(self, rows: Words, among: Words, k: int, parameter: str, c: int) -> _Near:
        """Return the k nearest of each of ``rows``, which are some of ``among``."""
        if len(among) <= k:
            whose = f"class {self.labels[c]!r} has" if len(among) < len(self.codes) else "there are"
            fewer = f"take {parameter}={len(among) - 1}" if len(among) > 1 else "a row alone has none"
            raise ValueError(
                f"{whose} {len(among)} rows, and {parameter}={k} needs {k + 1}, a row and its neighbours: "
                f'{fewer}; or take kind="replay", or leave class {self.labels[c]!r} out with a dict as '
                "sampling_strategy"
            )
        values, nominal = self.table.values[among], self.table.nominal
        penalty = smote.median_deviation_of(values, self.table.numeric) ** 2 if len(nominal) else 0.0
        places = np.searchsorted(among, rows)
        if self.device is not None:
            index = self.device.nearest(among, places, k, parameter, penalty)
        else:
            index, _ = all_nearest(
                values, values[places], k, exclude=places, nominal=nominal, penalty=penalty
            )
        return _Near(rows, among[index], among)

    def foreign(self, near: Words, c: int) -> Flags:
        """Tell which neighbours are of other classes."""
        foreign: Flags = self.codes[near] != c
        return foreign

    def made(
        self, c: int, n: int, found: _Near, foreign: Flags | None = None, places: Words = _NO_PLACES
    ) -> _Made:
        """Make n rows, between rows and their neighbours: see `Draws.picks`."""
        rows, near, _ = found
        foreign = np.empty((0, near.shape[1]), dtype=np.bool_) if foreign is None else foreign
        values, nominal = self.table.values, self.table.nominal
        if self.device is not None:
            made, at = self.device.made(c, n, found, foreign, places)
        else:
            at, which, gaps, shares = self.draws.picks(c, n, near, foreign, places)
            made = smote.make(values, rows[at], near[at, which], gaps, shares)
        if len(nominal):
            made[:, nominal] = self.draws.modes(c, values, nominal, near, at)
        return _Made(rows[at], made)


class _Device:
    """Where tables are on a GPU: one of all rows, and of the class that is looked at."""

    def __init__(self, table: _Table, seed: int) -> None:
        self._table, self._seed = table, seed
        self._kept: dict[bool, tuple[Words, Any]] = {}

    def _of(self, among: Words) -> Any:
        """Return the table of some rows, in which they have the numbers of their places."""
        from ..cuda._neighbours import Table

        everyone = len(among) == len(self._table.values)
        if everyone not in self._kept or not np.array_equal(self._kept[everyone][0], among):
            self._kept[everyone] = among, Table(self._table.values[among], self._table.nominal)
        return self._kept[everyone][1]

    def nearest(self, among: Words, places: Words, k: int, parameter: str, penalty: float) -> Words:
        from ..cuda._neighbours import check_neighbours

        check_neighbours(parameter, k)
        index: Words = self._of(among).nearest(places, places, len(among), k, penalty)[0]
        return index

    def made(self, c: int, n: int, found: _Near, foreign: Flags, places: Words) -> tuple[Floats, Words]:
        """Return n rows and the positions of their bases."""
        from ..cuda._smote import make_rows

        rows, near = (np.searchsorted(found.among, a) for a in (found.rows, found.near))
        return make_rows(self._of(found.among), self._seed, c, n, rows, near, foreign, places)[:2]


def _regular(rule: _Rule, c: int, n: int) -> _Made:
    own = rule.own(c)
    return rule.made(c, n, rule.near(own, own, rule.k, "k_neighbors", c))


def _border(rule: _Rule, c: int) -> Words:
    """Rows of a class in danger."""
    own = rule.own(c)
    near = rule.near(own, rule.everyone(), rule.m, "m_neighbors", c).near
    others = rule.foreign(near, c).sum(axis=1)
    border: Words = own[np.array([smote.in_danger(number, rule.m) for number in others.tolist()])]
    return border


def _borderline1(rule: _Rule, c: int, n: int) -> _Made | None:
    rows = _border(rule, c)
    if not len(rows):
        return None
    return rule.made(c, n, rule.near(rows, rule.own(c), rule.k, "k_neighbors", c))


def _borderline2(rule: _Rule, c: int, n: int) -> _Made | None:
    rows = _border(rule, c)
    if not len(rows):
        return None
    found = rule.near(rows, rule.everyone(), rule.k, "k_neighbors", c)
    return rule.made(c, n, found, rule.foreign(found.near, c))


def _adasyn(rule: _Rule, c: int, n: int) -> _Made:
    own = rule.own(c)
    near = rule.near(own, rule.everyone(), rule.k, "k_neighbors", c).near
    hardness = smote.hardness(rule.foreign(near, c).sum(axis=1), rule.k)
    if not hardness.any():
        raise ValueError(
            f"no row of class {rule.labels[c]!r} has another class among its k_neighbors={rule.k} nearest, "
            'and "adasyn" finds no place to add rows; take kind="regular", or more neighbours'
        )
    hardness /= hardness.sum()
    each = np.rint(hardness * n).astype(np.int64)
    n = int(each.sum())
    if n == 0:
        raise ValueError(
            f'"adasyn" adds no row to class {rule.labels[c]!r}: its {len(own)} rows share too few, each less '
            'than a half; ask for more with sampling_strategy, or take kind="regular"'
        )
    found = rule.near(own, own, rule.k, "k_neighbors", c)
    return rule.made(c, n, found, places=np.repeat(np.arange(len(own)), each))


_RULES: Final[dict[str, Callable[[_Rule, int, int], _Made | None]]] = {
    "regular": _regular,
    "borderline1": _borderline1,
    "borderline2": _borderline2,
    "adasyn": _adasyn,
}


# -- tables of any kind ------------------------------------------------------------------------


def _library(X: Any) -> str:
    return type(X).__module__.partition(".")[0]


def _columns(X: Any, positions: Words) -> Any:
    """Return some columns of a table, as a table of its kind."""
    if isinstance(X, np.ndarray):
        return X[:, positions]
    if _library(X) == "pandas":
        return X.iloc[:, positions]
    from river.utils import dataframe

    return dataframe.into_frame(X)[:, positions.tolist()].to_native()


def _column(X: Any, position: int) -> NDArray[Any]:
    one = _columns(X, np.array([position]))
    return np.asarray(one.to_numpy() if hasattr(one, "to_numpy") else one)[:, 0]


def _taken(table: Any, order: Words) -> Any:
    """Return some rows of a table, or values of a column, as one of its kind."""
    library = _library(table)
    if library == "pandas":
        return table.iloc[order].reset_index(drop=True)
    if library == "pyarrow":
        return table.take(order)
    return table[order] if hasattr(table, "shape") else np.asarray(table)[order]


def _names(X: Any) -> list[Any]:
    return list(X.column_names if _library(X) == "pyarrow" else X.columns)


def _nominal(chosen: Any, X: Any, p: int) -> Words:
    """Return the positions of the columns of categories."""
    if isinstance(chosen, str) and chosen == "auto":
        if not _rows.is_frame(X):
            raise ValueError('categorical_features="auto" looks at the types of a frame; X is an array')
        from river.utils import dataframe

        types = dataframe.into_frame(X).schema.values()
        marks = [str(dtype).startswith(("Categorical", "Enum")) for dtype in types]
        return np.flatnonzero(marks)
    if isinstance(chosen, str) or not isinstance(chosen, Sequence | np.ndarray):
        raise TypeError(f'categorical_features={chosen!r}; it is "auto" or a list of columns')
    items = np.asarray(chosen, dtype=object).tolist()
    if items and all(isinstance(item, bool | np.bool_) for item in items):
        if len(items) != p:
            raise ValueError(f"categorical_features has {len(items)} bools, X has {p} columns")
        return np.flatnonzero(items)
    names = _names(X) if _rows.is_frame(X) else []
    positions = []
    for item in items:
        if isinstance(item, int | np.integer) and -p <= item < p:
            positions.append(int(item) % p)
        elif item in names:
            positions.append(names.index(item))
        else:
            has = f"the columns {names}" if names else f"{p} columns"
            raise ValueError(f"categorical_features has {item!r}; X has {has}")
    return np.unique(np.array(positions, dtype=np.int64))


def _read(X: Any, categorical_features: Any) -> _Table:
    if hasattr(X, "tocsr"):
        raise TypeError("X is sparse, and what lies between its rows is not: pass X.toarray()")
    if isinstance(X, np.ndarray) and X.ndim != 2:
        raise ValueError(f"X has shape {X.shape}; rows are the first of two dimensions, columns the second")
    n, p = X.shape
    nominal = np.empty(0, dtype=np.int64)
    if categorical_features is not None:
        nominal = _nominal(categorical_features, X, p)
        if len(nominal) in (0, p):
            which, remedy = (
                ("all", 'take kind="replay"') if len(nominal) else ("none", "leave categorical_features out")
            )
            raise ValueError(
                f"categorical_features are {which} of X's {p} columns; SMOTE-NC makes rows from some numbers "
                f"and some categories: {remedy}"
            )
    numeric = np.setdiff1d(np.arange(p), nominal)
    plain = _rows.rows(_columns(X, numeric) if len(nominal) else X).values
    if not np.isfinite(plain).all():
        bad = np.argwhere(~np.isfinite(plain))
        i, k = int(bad[0, 0]), int(numeric[bad[0, 1]])
        name = _names(X)[k] if _rows.is_frame(X) else k
        raise ValueError(
            f"row {i}, column {name!r} is {plain[i, bad[0, 1]]}; fill in such values, or leave rows out"
        )
    if not len(nominal):
        return _Table(plain.astype(np.float64, copy=False), nominal, numeric, [])
    values, rows = np.empty((n, p)), []
    values[:, numeric] = plain
    for column in nominal:
        values[:, column], first = _coded(_column(X, int(column)))
        rows.append(first)
    return _Table(values, nominal, numeric, rows)


def _missing(column: NDArray[Any]) -> NDArray[np.bool_]:
    if column.dtype == object:
        return np.array([value is None or value != value for value in column], dtype=np.bool_)
    return np.asarray(column != column, dtype=np.bool_)  # NaN


def _coded(column: NDArray[Any]) -> tuple[Words, Words]:
    """Return the codes of a column's categories, sorted, a missing one last; and a row that has each."""
    missing = _missing(column)
    codes = np.empty(len(column), dtype=np.int64)
    present = np.flatnonzero(~missing)
    _, first, codes[present] = np.unique(column[present], return_index=True, return_inverse=True)
    codes[missing] = len(first)
    return codes, np.concatenate([present[first], np.flatnonzero(missing)[:1]])


def _joined(X: Any, table: _Table, made: Floats) -> Any:
    """Return a table and the rows made, of its kind and with its columns' types.

    Fractions are taken off first where a column has integers: some libraries refuse to.
    """
    given = {
        int(column): rows[made[:, column].astype(np.int64)]
        for column, rows in zip(table.nominal, table.rows, strict=True)
    }
    if isinstance(X, np.ndarray):
        made = made.astype(X.dtype, copy=False)
        for column, rows in given.items():
            made[:, column] = X[rows, column]
        return np.concatenate([X, made])
    if _library(X) == "pandas":
        pd = sys.modules["pandas"]
        columns = []
        for k, dtype in enumerate(X.dtypes):
            if k in given:
                columns.append(X.iloc[given[k], k].reset_index(drop=True))
            else:
                whole = pd.api.types.is_integer_dtype(dtype)
                columns.append(pd.Series(np.trunc(made[:, k]) if whole else made[:, k]).astype(dtype))
        new = pd.concat(columns, axis=1)
        new.columns = X.columns
        return pd.concat([X, new], ignore_index=True)
    import narwhals.stable.v2 as nw

    frame = nw.from_native(X, eager_only=True)
    library = frame.implementation
    added = {}
    for k, (name, dtype) in enumerate(frame.schema.items()):
        if k in given:
            added[name] = frame[name][given[k].tolist()]
        else:
            values = np.trunc(made[:, k]) if dtype.is_integer() else made[:, k]
            added[name] = nw.new_series(name, values, backend=library).cast(dtype)
    return nw.concat([frame, nw.from_dict(added, backend=library)]).to_native()
