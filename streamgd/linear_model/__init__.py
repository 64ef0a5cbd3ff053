"""Linear models."""

from __future__ import annotations

from .linear_regression import LinearRegression
from .logistic_regression import LogisticRegression

__all__ = ["LinearRegression", "LogisticRegression"]
