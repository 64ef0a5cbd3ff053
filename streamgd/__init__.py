"""Gradient descent on data streams at the speed of compiled code, behind river's interface."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import cuda, evaluate, imblearn, linear_model, optim, preprocessing, stream, training
    from ._save import load, save
    from .training import fit

__version__ = "0.1.0"
__all__ = [
    "__version__",
    "cuda",
    "evaluate",
    "fit",
    "imblearn",
    "linear_model",
    "load",
    "optim",
    "preprocessing",
    "save",
    "stream",
    "training",
]

_HOME = {"fit": "training._fit", "load": "_save", "save": "_save"}


def __getattr__(name: str) -> Any:
    """Load a sub-package or a top-level function on first use, so that importing stays cheap."""
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
