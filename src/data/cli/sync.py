"""``onetape sync``: bring every stored series up to date."""

from .populate import configure_sync as configure

__all__ = ["configure"]
