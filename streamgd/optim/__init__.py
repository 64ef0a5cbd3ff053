"""Pieces that learners are made of: optimizers here, the rest in sub-modules named after their family."""

from __future__ import annotations

from . import base, initializers, losses, penalties, schedulers
from .averager import Averager
from .optimizers import SGD, AdaGrad, Adam, Momentum, Normalized, RMSProp

__all__ = [
    "SGD",
    "AdaGrad",
    "Adam",
    "Averager",
    "Momentum",
    "Normalized",
    "RMSProp",
    "base",
    "initializers",
    "losses",
    "penalties",
    "schedulers",
]
