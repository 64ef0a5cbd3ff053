"""How columns become features, as the user asked for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

Kind: TypeAlias = Literal["number", "boolean", "category"]
Missing: TypeAlias = Literal["error", "zero", "mean"]

MOST_BUCKETS = 2**31 - 1


@dataclass(frozen=True)
class Recipe:
    """How columns become features; plain values, so that it can be stored as JSON.

    Attributes
    ----------
    missing
        "error" refuses missing values; "zero" reads them as 0, "mean" as the mean of the column in earlier
        rows (0 before there is any). With both a missing category is none of them.
    interactions
        Products of columns, such as ``"age*income"``: the product of numbers; of categories the feature
        "a=red*b=blue"; of both "a=red*b" with the value of b.
    n_features
        None: each feature has a name. Else the hashing trick: a feature is one of this many numbers, by
        the hash of its name, and half of the names count negative.
    max_categories
        Named features allowed in all.
    """

    missing: Missing = "error"
    interactions: tuple[str, ...] = ()
    n_features: int | None = None
    max_categories: int = 1_000_000

    def __post_init__(self) -> None:
        if self.missing not in get_args(Missing):
            raise ValueError(f"missing={self.missing!r}: it is 'error', 'zero' or 'mean'")
        given: Any = self.interactions
        if isinstance(given, str):
            raise ValueError(f"interactions={given!r}: a list is needed, [{given!r}]")
        object.__setattr__(self, "interactions", tuple(given))
        for text in self.interactions:
            if "*" not in text or not all(text.split("*")):
                raise ValueError(f"interactions has {text!r}: names of columns with * between, such as 'a*b'")
        n = self.n_features
        if n is not None and not (isinstance(n, int) and 2 <= n <= MOST_BUCKETS):
            raise ValueError(f"n_features={n!r}: a whole number from 2 to {MOST_BUCKETS:,}, such as 2**18")
        if self.max_categories < 1:
            raise ValueError(f"max_categories={self.max_categories}: at least 1 is needed")
