"""Imbalanced streams: class weights, reservoirs of rare classes, samplers, calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._tables import fit_resample
    from .online_calibration import OnlineCalibration
    from .online_class_weight import OnlineClassWeight
    from .random import RandomOverSampler, RandomSampler, RandomUnderSampler
    from .reservoir_smote import ReservoirSMOTE

__all__ = [
    "OnlineCalibration",
    "OnlineClassWeight",
    "RandomOverSampler",
    "RandomSampler",
    "RandomUnderSampler",
    "ReservoirSMOTE",
    "fit_resample",
]

_HOME = {
    "OnlineCalibration": "online_calibration",
    "OnlineClassWeight": "online_class_weight",
    "RandomOverSampler": "random",
    "RandomSampler": "random",
    "RandomUnderSampler": "random",
    "ReservoirSMOTE": "reservoir_smote",
    "fit_resample": "_tables",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
