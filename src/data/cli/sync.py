"""``onetape sync``: bring every stored series up to date."""

from __future__ import annotations

from .populate import configure_sync as configure

__all__ = ["configure"]
