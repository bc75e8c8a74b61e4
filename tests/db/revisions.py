"""Databases at any revision, as an earlier version of the library would have left them."""

from __future__ import annotations

from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from src.data.db.core import schema
from src.data.db.core.base import SCHEMA
from src.data.db.core.database import Database
from src.data.db.core.engine import for_work
from src.data.db.models import METADATA


def config_of(connection: Connection) -> Config:
    """Return what Alembic's own commands take, for a connection."""
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS).replace("%", "%%"))
    attributes: dict[str, Any] = {
        "connection": connection,
        "metadata": METADATA,
        "version_table": schema.VERSION_TABLE,
        "schema": SCHEMA if connection.dialect.name == "postgresql" else None,
    }
    config.attributes.update(attributes)
    return config


def at_revision(url: str, revision: str, *, down: bool = False) -> None:
    """Bring a database up or down to a revision, in one transaction."""
    database = Database(url)
    if database.url.path is not None and not database.url.path.exists():
        database.url.path.touch()
    with for_work(database.engine, "migrating").begin() as connection:
        if database.dialect == "postgresql":
            connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        run = command.downgrade if down else command.upgrade
        run(config_of(connection), revision)
    database.close()
