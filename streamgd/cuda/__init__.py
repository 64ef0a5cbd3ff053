"""Many models, and large ones, on an NVIDIA GPU; `Fleet` and `KeyedFleet` on the CPU too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._errors import CudaUnavailable, is_available, require

if TYPE_CHECKING:
    from .fleet import Fleet as Fleet
    from .fleet import KeyedFleet as KeyedFleet

__all__ = ["CudaUnavailable", "Fleet", "KeyedFleet", "is_available", "require"]


def __getattr__(name: str) -> Any:
    if name in ("Fleet", "KeyedFleet"):
        from . import fleet

        return getattr(fleet, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
