"""Linear models."""

from __future__ import annotations

from .linear_regression import LinearRegression
from .linear_svc import LinearSVC
from .logistic_regression import LogisticRegression
from .passive_aggressive import PAClassifier, PARegressor
from .perceptron import Perceptron
from .softmax_regression import SoftmaxRegression

__all__ = [
    "LinearRegression",
    "LinearSVC",
    "LogisticRegression",
    "PAClassifier",
    "PARegressor",
    "Perceptron",
    "SoftmaxRegression",
]
