"""The type of JSON columns by its older name."""

from __future__ import annotations

from .types import JsonDocument as JsonType

__all__ = ["JsonType"]
