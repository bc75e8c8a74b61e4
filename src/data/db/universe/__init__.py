"""Universes: named lists of symbols with dated membership, which say how they are known."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .definition import UniverseDefinition
    from .manager import StoredUniverses, UniverseManager, open_universes

# Where each name lives; SQLAlchemy is imported with the first that needs it.
_HOMES = {
    "StoredUniverses": "manager",
    "UniverseDefinition": "definition",
    "UniverseManager": "manager",
    "open_universes": "manager",
}

__all__ = ("StoredUniverses", "UniverseDefinition", "UniverseManager", "open_universes")


def __getattr__(name: str) -> Any:
    """Resolve a name at its home."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
