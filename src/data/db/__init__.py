"""The optional database: symbols with their history, universes, records of bots.

It needs the ``db`` extra and, for PostgreSQL, also ``postgres``. The bar store never reads it.

This package is provisional: a minor release may change its names, results and stored data.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ..errors import MissingExtraError, install_line

if TYPE_CHECKING:
    from .core.database import Database, get_database
    from .symbols.processor import CorporateActionsProcessor
    from .universe.definition import UniverseDefinition
    from .universe.manager import UniverseManager

# Module of each name; the packages of the extra are imported on first use.
_HOMES = {
    "CorporateActionsProcessor": "symbols.processor",
    "Database": "core.database",
    "get_database": "core.database",
    "UniverseDefinition": "universe.definition",
    "UniverseManager": "universe.manager",
}

__all__ = (
    "CorporateActionsProcessor",
    "Database",
    "UniverseDefinition",
    "UniverseManager",
    "get_database",
)

# Every module of the database is imported through here.
if not (find_spec("sqlalchemy") and find_spec("alembic")):
    raise MissingExtraError("the database needs the `db` extra", hint=install_line("db"))


def __getattr__(name: str) -> Any:
    """Import the public name ``name`` from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
