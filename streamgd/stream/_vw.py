"""Vowpal Wabbit text (``label importance 'tag|namespace feature:value ...``), parsed by compiled kernels."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._recipe import Recipe
from ..kernels import parse, parse_vw
from ..kernels.names import Names
from ..kernels.parse_svmlight import LABEL
from ._sparse import SparseReader, SparseText
from ._window import Follow, Window

_WORDS = 1 << 15  # features read before they are named: arrays that stay in the processor's cache
_NAMELESS = " "  # what interactions call the namespace without a name
_FORM = "a row is 'label [importance] ['tag] |namespace feature:value ...'"
_RULES = {
    parse_vw.NO_BAR: f"no '|' in this line; {_FORM}",
    parse_vw.NO_LABEL: "no label; a word that touches the first '|' is a tag, so put a blank behind a label. "
    "To read features only, say labels=False",
    parse_vw.TOO_MANY_WORDS: f"more than label, importance and base before the '|'; {_FORM}",
    parse_vw.NO_NAME: "a feature without a name; give it one, such as 'x:0.5'",
    parse_vw.NO_NAMESPACE: "a scale without a namespace; write '|name:2'",
}


class VW(SparseText):
    r"""Rows of a text file in the format of Vowpal Wabbit, plain or compressed.

    A row is ``[label [importance]] ['tag]|namespace[:scale] feature[:value] ... |namespace ...``. The
    importance is the row's weight, 1 where there is none; tags are skipped. A feature is named
    "namespace^feature", or "feature" where the namespace has no name; its value is 1 where there is none,
    times the scale. What stands twice in a row is added up. Numbers equal Python's ``float`` to the bit,
    where Vowpal Wabbit has float32; features of value 0 are kept, which it leaves out.

    Labels are single numbers: labels with costs (``1:0.5``), rows of several lines and a base (a third
    number) other than 0 are refused, and so are features without a name (``:0.5``) or with words for values.

    Parameters
    ----------
    path
        The file, compressed when its name ends in ``.gz`` or ``.zst``; or a file object open for reading
        bytes.
    batch_rows
        Rows a batch.
    labels
        False: rows need no label, and those that they have are not read.
    interactions
        Products of features, as names of namespaces joined by ``*``: ``"user*item"`` adds "user^a*item^b" for
        each pair of features, whose value is the product of theirs. With ``"user*user"`` each pair of a
        namespace is taken once, a feature with itself included, and named in alphabetical order (Vowpal
        Wabbit has another weight for each order in the row). The namespace without a name is " ".
    n_features
        Put the features into so many columns by the hash of their names, as `CSV` does; those of a row that
        meet are added up.
    max_categories
        Names allowed in all, without `n_features`.
    follow
        Wait for more rows at the end of the file: True, or a `Follow` that says how.

    Raises
    ------
    InputError
        Names file and line; rows before that one come first.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from streamgd import stream
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "clicks.vw"
    >>> _ = path.write_text("1 2.0 |user anna age:0.3 |item shoe\n-1 |user ben |item hat\n")
    >>> batch = next(iter(stream.VW(path, interactions=["user*item"])))
    >>> batch.columns[:5]
    ('user^anna', 'user^age', 'item^shoe', 'user^anna*item^shoe', 'user^age*item^shoe')
    >>> batch.y, batch.w
    (array([ 1., -1.]), array([2., 1.]))
    """

    def __init__(
        self,
        path: str | Path | Any,
        batch_rows: int = 8192,
        *,
        labels: bool = True,
        interactions: Sequence[str] = (),
        n_features: int | None = None,
        max_categories: int = 1_000_000,
        follow: bool | Follow = False,
    ) -> None:
        given: Any = interactions  # a recipe makes a tuple of it, and refuses a str
        recipe = Recipe(interactions=given, n_features=n_features, max_categories=max_categories)
        super().__init__(path, batch_rows, recipe, follow)
        self.target = "label" if labels else None
        self._check()

    def _reader(self, window: Window, n: int) -> SparseReader:
        return _Reader(self, window, n)


class _Fault(NamedTuple):
    """What is wrong with a row, and at which byte of the window."""

    row: int
    at: int
    message: str


class _Reader(SparseReader):
    weights: NDArray[np.float64]

    def __init__(self, source: VW, window: Window, n: int) -> None:
        super().__init__(source, window, n)
        self._labelled = source.target is not None
        self._table = Names(source.recipe.max_categories)
        self._found: list[Hashable] = []  # names that no batch has shown yet
        self._spaces_of = np.zeros(n + 1, dtype=np.int64)
        self._make_words(_WORDS)

        products = [product.split("*") for product in source.recipe.interactions]
        self._crossed = Names(sum(map(len, products)))
        self._factors = np.full((len(products), max(map(len, products), default=1)), -1, dtype=np.int64)
        for k, product in enumerate(products):
            self._factors[k, : len(product)] = [
                self._crossed.number(space.encode() if space != _NAMELESS else b"") for space in product
            ]
        self._picked = np.zeros(self._factors.shape[1], dtype=np.int64)
        self._make_room(1 << 12)

    def _make_words(self, n: int) -> None:
        """Make arrays for rows of so many features, as `vw_words` gives them."""
        self._spaces = np.zeros((n + 1, 3), dtype=np.int64)
        self._scales = np.empty(n)
        self._words = np.empty((n, 2), dtype=np.int64)
        self._numbers = np.empty(n)
        self._odd = np.empty((3 * self._n + 2 * n, 4), dtype=np.int64)

    def _make_room(self, n: int) -> None:
        """Make room for a row of ``n`` features, or of ``n`` bytes."""
        self._scratch = np.empty(n, dtype=np.uint8)
        self._spans = np.empty((n, 2), dtype=np.int64)
        self._members = np.empty((len(self._crossed), n), dtype=np.int64)

    def begin(self, n: int) -> None:
        self._targets, self.weights = np.empty(n), np.empty(n)
        self.labels = self._targets if self._labelled else None

    def part(self) -> tuple[int, int]:
        window, out, first = self.window, np.zeros(5, dtype=np.int64), self.rows
        parse_vw.vw_words(
            window.text, window.start, window.end, window.final and window.whole, first, self._labelled,
            self._targets, self.weights, self._spaces_of, self._spaces, self._scales, self._words,
            self._numbers, self._odd, out,
        )  # fmt: skip
        status, last, at, n_odd, where = out.tolist()
        fault = None
        if status not in (parse.FULL, parse.MORE):
            found = self.word(where)
            fault = _Fault(last, where, f"{found!r}: {_RULES[status]}" if found else _RULES[status])
        elif status == parse.FULL and last == first:
            self._make_words(2 * len(self._words))
        fault = self._judge(n_odd) or fault
        fault = self._name(first, last if fault is None else fault.row) or fault
        if fault is not None:
            raise self.refusal(*fault)
        self.rows = last
        return status, at

    def _judge(self, n: int) -> _Fault | None:
        """Read the numbers that the kernel leaves to ``float``; tell of the first that is wrong."""
        for row, place, begin, end in self._odd[:n].tolist():
            text = self.text(begin, end)
            try:
                value = float(text)
            except ValueError:
                if place == LABEL and ":" in text:
                    return _Fault(
                        row, begin, f"label {text!r}: labels with costs are not read; one number is"
                    )
                return _Fault(row, begin, f"{text!r} is not a number; {_FORM}")
            if place == LABEL:
                self._targets[row] = value
            elif place == parse_vw.WEIGHT:
                if not 0.0 <= value < np.inf:
                    return _Fault(row, begin, f"importance {text}: it must be finite and not negative")
                self.weights[row] = value
            elif place == parse_vw.BASE:
                if value != 0.0:
                    return _Fault(
                        row, begin, f"base {text}: no learner here begins with a prediction; take it out"
                    )
            elif place <= parse_vw.SCALE:
                self._scales[parse_vw.SCALE - place] = value
            else:
                self._numbers[place] = value
        return None

    def _name(self, first: int, last: int) -> _Fault | None:
        """Give the rows that were read their features; tell of the first that cannot have them."""
        known, done, out = len(self._table), first, np.zeros(3, dtype=np.int64)
        fault = None
        while done < last and fault is None:
            parse_vw.vw_features(
                self.window.text, done, last, self._spaces_of, self._spaces, self._scales, self._words,
                self._numbers, self._factors, self._crossed.table, self._spans, self._members, self._picked,
                self._scratch, self._n_features is not None, self._table.table, self.indptr, self.indices,
                self.values, out,
            )  # fmt: skip
            status, done, need = out.tolist()
            if status == parse_vw.VALUES:
                self.grow(need)
            elif status == parse_vw.SCRATCH:
                self._make_room(2 * need)
            elif status == parse_vw.PRODUCTS:
                fault = self._fault(
                    done, f"{need:,} products of features, more than {parse_vw.MOST_PRODUCTS:,}"
                )
            elif status == parse_vw.NAMES and self._table.full:
                fault = self._fault(
                    done,
                    f"more than {self._table.most:,} features; let their hashes share columns "
                    "(n_features=2**20), or raise max_categories",
                )
            elif status == parse_vw.NAMES:
                self._table.grow(need)
        return self._decode(known, first, done) or fault

    def _decode(self, known: int, first: int, last: int) -> _Fault | None:
        for k, name in enumerate(self._table.since(known), known):
            try:
                self._found.append(name.decode())
            except UnicodeDecodeError:
                begin, end = self.indptr[first], self.indptr[last]
                uses = np.flatnonzero(self.indices[begin:end] == k)
                if not len(uses):
                    return None  # it stands in a row that is refused already
                row = int(np.searchsorted(self.indptr[: last + 1], begin + uses[0], side="right")) - 1
                return self._fault(row, f"feature {name!r} is not UTF-8 text; convert the file")
        return None

    def _fault(self, row: int, message: str) -> _Fault:
        return _Fault(row, int(self._spaces[self._spaces_of[row], 0]), message)

    def columns(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[Hashable]]:
        if self._n_features is not None:
            return super().columns(indices)
        found, self._found = self._found, []
        return indices, found
