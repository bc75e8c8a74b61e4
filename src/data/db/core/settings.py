"""Database settings from the environment: the URL and the user's data folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...config.donotshare import variable_of
from ...config.settings import APP, user_folder

# Variables with the parts of a server's address, in this order; all of them must be set.
DB_URL, DATABASE_URL = "DB_URL", "DATABASE_URL"
SERVER_PARTS = {
    "user": "POSTGRES_USER",
    "password": "POSTGRES_PASSWORD",
    "host": "POSTGRES_HOST",
    "port": "POSTGRES_PORT",
    "database": "POSTGRES_DATABASE",
}
_FILE = "onetape.db"


def database_url_text(name: str, environ: Mapping[str, str] | None = None) -> str:
    """Return the database URL from an environment variable or the user's private module.

    The result is empty if the variable is not set.
    """
    return variable_of(name, environ)


def server_parts(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the parts of the server's address that are set in ``POSTGRES_*`` variables."""
    values = {part: variable_of(name, environ) for part, name in SERVER_PARTS.items()}
    return {part: value for part, value in values.items() if value}


def database_file(environ: Mapping[str, str] | None = None) -> Path:
    """Return the path of the database file in the user's data folder; nothing is created.

    Raises:
        ConfigError: The user has no home folder.
    """
    return user_folder("data", environ) / APP / _FILE


def may_drop_tables(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether the variable ``ALLOW_DROP_TABLES`` is 1."""
    return variable_of("ALLOW_DROP_TABLES", environ) == "1"
