"""The type of JSON columns, under its older name."""

from __future__ import annotations

from .types import JsonDocument as JsonType

__all__ = ["JsonType"]
