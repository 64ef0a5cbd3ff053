"""Transformers of rows that are dicts."""

from __future__ import annotations

from .feature_encoder import FeatureEncoder

__all__ = ["FeatureEncoder"]
