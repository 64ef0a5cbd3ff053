"""Rows as dicts to features, by the rules that files are read with."""

from __future__ import annotations

import math
import numbers
import reprlib
from collections.abc import Hashable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from river import base

from .._errors import InvalidType, InvalidValue
from .._recipe import Kind, Missing, Recipe
from ..kernels import hashing

_REMEMBERED = 100_000  # names whose hash is kept


class FeatureEncoder(base.Transformer):
    """Numbers, categories, missing values, products of them and the hashing trick, for rows that are dicts.

    A number is a feature as it is, True and False are 1 and 0, a text is the feature "name=text" of value 1.
    Read from a file with the same options, the same row has the same features.

    Parameters
    ----------
    missing
        What None and NaN are. "error" refuses them; "zero" reads them as 0; "mean" as the mean of that
        feature in the rows learned so far (0 before there is any). A missing category is no feature; nor is
        a None in a feature of which nothing else is known.
    interactions
        Products such as ``"age*income"``: of numbers the product; of categories the feature "a=red*b=blue";
        of both the feature "a=red*b" with the value of b. Where a part is not there, neither is the product.
    n_features
        None names features as above. A number, such as ``2**18``, uses the hashing trick: feature number
        ``abs(h) % n_features``, with the sign of h, the MurmurHash3 of the name; values that share a number
        are added up. It bounds the memory of a model, which is less exact the more names share a number.
    kinds
        What each feature is: "number", "boolean" or "category". Then other features are left out, one that a
        row lacks is missing, and numbers may be categories. None goes by the types of the values.

    Raises
    ------
    InvalidValue
        A value is missing and `missing` is "error" (a ValueError).
    InvalidType
        A value is no number, no text and not missing (a TypeError).

    Examples
    --------
    >>> from streamgd import preprocessing
    >>> encoder = preprocessing.FeatureEncoder(missing="mean", interactions=["age*site"])
    >>> for x in ({"age": 31, "site": "a"}, {"age": float("nan"), "site": "b"}):
    ...     encoder.learn_one(x)
    ...     print(encoder.transform_one(x))
    {'age': 31, 'site=a': 1.0, 'age*site=a': 31.0}
    {'age': 31.0, 'site=b': 1.0, 'age*site=b': 31.0}
    >>> preprocessing.FeatureEncoder(n_features=16).transform_one({"age": 31, "site": "a"})
    {1: 31.0, 2: 1.0}

    References
    ----------
    K. Weinberger, A. Dasgupta, J. Langford, A. Smola, J. Attenberg, "Feature hashing for large scale
    multitask learning", ICML 2009, section 2. The hash is A. Appleby's MurmurHash3 (2011), used as by
    scikit-learn's ``FeatureHasher``.
    """

    def __init__(
        self,
        missing: Missing = "error",
        interactions: Sequence[str] | None = None,
        n_features: int | None = None,
        kinds: Mapping[str, Kind] | None = None,
    ) -> None:
        given: Any = () if interactions is None else interactions
        recipe = Recipe(missing, given, n_features)
        self.missing = missing
        self.interactions = recipe.interactions or None  # river cannot read an empty tuple
        self.n_features = n_features
        self.kinds = kinds
        self._crosses = [tuple(text.split("*")) for text in recipe.interactions]
        for name in {name for cross in self._crosses for name in cross}:
            if kinds is not None and name not in kinds:
                raise ValueError(f"interactions need a feature {name!r}, which kinds does not list")
        self._numeric = [name for name, kind in (kinds or {}).items() if kind != "category"]
        self._texts = [name for name, kind in (kinds or {}).items() if kind == "category"]
        self._counts: dict[Hashable, float] = {}
        self._means: dict[Hashable, float] = {}
        self._buckets = _Buckets(n_features)

    @classmethod
    def from_source(cls, source: Any, position: Mapping[str, Any] | None = None) -> FeatureEncoder:
        """Return the encoder whose features of a dict are those that ``source`` gives to the same row.

        Parameters
        ----------
        source
            A table, such as `stream.CSV`.
        position
            Position of a batch of that source: with ``missing="mean"``, the means go on from there.
        """
        recipe = getattr(source, "recipe", None)
        if recipe is None or not source.kinds:
            raise TypeError(
                f"{type(source).__name__} names its features itself; those of tables are made of columns"
            )
        kinds = {name: kind for name, kind in source.kinds.items() if name != source.target}
        encoder = cls(recipe.missing, recipe.interactions, recipe.n_features, kinds)
        state = (position or {}).get("encoder")
        if state is not None:
            encoder._counts = {name: state["counts"][str(name)] for name in encoder._numeric}
            encoder._means = {name: state["means"][str(name)] for name in encoder._numeric}
        return encoder

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_buckets": _Buckets(self.n_features)}  # found again by hashing

    def learn_one(self, x: dict[Hashable, Any]) -> None:
        """Take the numbers of a row into the means, where `missing` is "mean"."""
        if self.missing != "mean":
            return
        counts, means = self._counts, self._means
        for name in x if self.kinds is None else self._numeric:
            value = _plain(name, x.get(name))
            if type(value) is float and math.isfinite(value):
                count = counts[name] = counts.get(name, 0.0) + 1.0
                mean = means.get(name, 0.0)
                means[name] = mean + (value - mean) / count

    def transform_one(self, x: dict[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the features of a row."""
        features = self._found(x) if self.kinds is None else self._expected(x)
        if self._crosses:
            features |= self._products(x, features)
        return features if self.n_features is None else self._hashed(features)

    def _found(self, x: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return features by name, each as the type of its value says."""
        features: dict[Hashable, Any] = {}
        for name, value in x.items():
            kind = type(value)
            if kind is str:
                features[f"{name}={value}"] = 1.0
            elif (kind is float or kind is int) and value == value:
                features[name] = value
            else:
                self._enter(features, name, _plain(name, value))
        return features

    def _expected(self, x: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return features by name, each as its kind says: numbers first, as in a file."""
        features: dict[Hashable, Any] = {}
        for name in self._numeric:
            value = x.get(name)
            kind = type(value)
            if (kind is float or kind is int) and value == value:
                features[name] = value
            elif isinstance(value, str):
                raise InvalidType(f"feature {name!r} is {value!r}, a text, where kinds says that it is not")
            else:
                self._enter(features, name, math.nan if value is None else _plain(name, value))
        for name in self._texts:
            value = x.get(name)
            if value is None or value != value:
                self._enter(features, name, None)
            else:
                features[f"{name}={value}"] = 1.0
        return features

    def _hashed(self, features: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return features by the number of their names; those of one number are added up."""
        buckets = self._buckets
        hashed: dict[Hashable, Any] = {}
        for name, value in features.items():
            bucket, sign = buckets[name]
            if bucket in hashed:
                hashed[bucket] += sign * value
            else:
                hashed[bucket] = sign * value
        return hashed

    def _enter(self, features: dict[Hashable, Any], name: Hashable, value: float | str | None) -> None:
        """Enter a value; NaN is a missing number, None is missing and may be a category."""
        if isinstance(value, str):
            features[f"{name}={value}"] = 1.0
        elif value is not None and not math.isnan(value):
            features[name] = value
        elif self.missing == "error":
            raise InvalidValue(
                f"feature {name!r} is missing (None, NaN, or not there at all); fill it in, or read missing "
                "values as zero or as the mean so far (missing='zero' or 'mean')"
            )
        elif value is not None or name in self._means:
            features[name] = self._means.get(name, 0.0)

    def _products(self, x: Mapping[Hashable, Any], features: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the interactions of which all parts are there."""
        products: dict[Hashable, Any] = {}
        for cross in self._crosses:
            names, product = [], 1.0
            for name in cross:
                of_text = isinstance(x.get(name), str) if self.kinds is None else name in self._texts
                label = f"{name}={x.get(name)}" if of_text else name
                if label not in features:
                    break
                names.append(label)
                product *= features[label]
            else:
                products["*".join(names)] = product
        return products


class _Buckets(dict[Hashable, tuple[int, float]]):
    """Number and sign of features by name, worked out when they are asked for."""

    def __init__(self, n_features: int | None) -> None:
        super().__init__()
        self._n_features = n_features or 1

    def __missing__(self, name: Hashable) -> tuple[int, float]:
        h = hashing.hash_of(str(name))
        if len(self) >= _REMEMBERED:
            self.clear()
        found = self[name] = abs(h) % self._n_features, -1.0 if h < 0 else 1.0
        return found


def _plain(name: Hashable, value: Any) -> float | str | None:
    """Return a value as a float, or as the text or None that it is."""
    if type(value) is float or value is None or isinstance(value, str):
        return value
    if isinstance(value, numbers.Real | np.bool_ | Decimal):
        return float(value)
    raise InvalidType(
        f"feature {name!r} is {reprlib.repr(value)} ({type(value).__name__}), not a number and not a text; "
        "turn it into one (a date into seconds, or hour and weekday), or leave it out"
    )
