"""Universes: named lists of symbols with dated membership."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .definition import UniverseDefinition
    from .manager import StoredUniverses, UniverseManager, open_universes

# Maps each public name to its module, which is imported on first use, since it may need SQLAlchemy.
_HOMES = {
    "StoredUniverses": "manager",
    "UniverseDefinition": "definition",
    "UniverseManager": "manager",
    "open_universes": "manager",
}

__all__ = ("StoredUniverses", "UniverseDefinition", "UniverseManager", "open_universes")


def __getattr__(name: str) -> Any:
    """Import a name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
