"""``onetape sync``: bring every stored series up to date."""

from __future__ import annotations

from .populate import configure_sync as configure

EXAMPLES = ("sync", "sync '* 1d' --every 1h --report night.json")

__all__ = ["EXAMPLES", "configure"]
