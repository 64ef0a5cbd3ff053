"""Columns of a table: which are read, and what each is."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence

from ._batch import InputError, Kind


def nearest(name: Hashable, names: Iterable[Hashable]) -> str:
    """Return a hint that names the most similar of ``names``, or lists some of them."""
    names = list(names)
    texts = {str(n): n for n in names}  # those of a frame may be numbers
    found = difflib.get_close_matches(str(name), texts, n=1, cutoff=0.7)
    if not found:
        folded = {n.casefold(): n for n in texts}
        found = [folded[f] for f in difflib.get_close_matches(str(name).casefold(), folded, n=1, cutoff=0.7)]
    if found:
        return f"did you mean {texts[found[0]]!r}?"
    listed = ", ".join(map(repr, names[:12])) + (", ..." if len(names) > 12 else "")
    return f"it has {listed}"


def select(
    where: str,
    names: Sequence[str],
    target: str | None,
    weight: str | None,
    drop: Collection[str],
    columns: Collection[str] | None,
) -> list[str]:
    """Return the columns to learn from, in the order of the table, after checking every name."""
    for option, given in (("drop", drop), ("columns", columns)):
        if isinstance(given, str):
            raise ValueError(f"{option}={given!r}: a list is needed, [{given!r}]")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"{where}: two columns are named {name!r}; rename one")
        seen.add(name)
    asked = [*(name for name in (target, weight) if name is not None), *drop, *(columns or ())]
    for name in asked:
        if name not in seen:
            raise InputError(f"{where}: no column {name!r}; {nearest(name, names)}")
    if target is not None and target in drop:
        raise InputError(f"{where}: column {target!r} is the target and cannot be left out as well")
    if target is not None and target == weight:
        raise InputError(f"{where}: column {weight!r} is the target and cannot hold the weights as well")
    left_out = {target, weight, *drop}
    chosen = [n for n in names if n not in left_out and (columns is None or n in columns)]
    if not chosen:
        raise InputError(f"{where}: no columns left to learn from besides the target {target!r}")
    return chosen


def check_kinds(
    where: str, names: Sequence[str], used: Collection[str], kinds: Mapping[str, Kind] | None
) -> dict[str, Kind]:
    """Return the kinds that the caller insists on, of the columns that are used."""
    given = dict(kinds or {})
    for name, kind in given.items():
        if kind not in ("number", "boolean", "category"):
            raise ValueError(f"kinds[{name!r}]={kind!r}: a column is 'number', 'boolean' or 'category'")
        if name not in names:
            raise InputError(
                f"{where}: no column {name!r} (kinds={{{name!r}: {kind!r}}}, --category {name}); "
                f"{nearest(name, names)}"
            )
    return {name: kind for name, kind in given.items() if name in used}
