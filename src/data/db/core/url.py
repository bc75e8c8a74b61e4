"""Determines the database to use: from an argument, the environment, or the user's data folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from ...core.config.credentials import note_key
from ...core.config.donotshare import variable_of
from ...core.config.settings import APP, user_folder
from ...errors import DatabaseUrlError

_log = logging.getLogger(__name__)
# Variables with the parts of a server's address, in this order; all of them must be set.
_SERVER_PARTS = {
    "user": "POSTGRES_USER",
    "password": "POSTGRES_PASSWORD",
    "host": "POSTGRES_HOST",
    "port": "POSTGRES_PORT",
    "database": "POSTGRES_DATABASE",
}
_FORMS = "such as sqlite:////data/onetape.db or postgresql://user:password@host:5432/name"
# Common names for the engines; each engine has one driver, which comes with the extras.
_SQLITE = frozenset({"sqlite", "sqlite+pysqlite", "sqlite+aiosqlite"})
_POSTGRESQL = frozenset(
    f"{name}{driver}"
    for name in ("postgres", "postgresql")
    for driver in ("", "+psycopg", "+psycopg2", "+asyncpg")
)


@dataclass(frozen=True)
class DatabaseUrl:
    """The address of a database; ``repr`` and ``str`` hide its password and its URL options.

    Attributes:
        dialect: Database engine.
        source: Origin of the URL: ``argument``, the name of an environment variable, ``POSTGRES_*``
            or ``user data folder``.
        path: Absolute path of the file, with symbolic links resolved; None for PostgreSQL.
        url: URL for SQLAlchemy, including the password.
    """

    dialect: Literal["sqlite", "postgresql"]
    source: str = field(compare=False)
    path: Path | None
    url: URL = field(repr=False)

    def __str__(self) -> str:
        if self.path is not None:
            return f"sqlite:///{self.path}"
        user = f"{self.url.username}@" if self.url.username else ""
        port = f":{self.url.port}" if self.url.port else ""
        return f"postgresql://{user}{self.url.host or ''}{port}/{self.url.database or ''}"

    def __repr__(self) -> str:
        return f"DatabaseUrl({str(self)!r}, source={self.source!r})"


def database_url(
    url: str | DatabaseUrl | None = None, environ: Mapping[str, str] | None = None
) -> DatabaseUrl:
    """Return the database to use; nothing is opened or created.

    Args:
        url: ``sqlite:///`` and a path, or ``postgresql://`` (or ``postgres://``) with user,
            password, host and database name. None means the first of these that is set: ``DB_URL``;
            all of ``POSTGRES_USER``, ``POSTGRES_PASSWORD``, ``POSTGRES_HOST``, ``POSTGRES_PORT``
            and ``POSTGRES_DATABASE``; ``DATABASE_URL``; else the file ``onetape.db`` in the user's
            data folder. Blank variables are ignored.
        environ: Environment variables to read; None means the process's own.

    Raises:
        DatabaseUrlError: The URL is invalid.
        ConfigError: The user has no home folder.
    """
    if isinstance(url, DatabaseUrl):
        return url
    if url is not None:
        return _parsed(url, "argument")
    if text := variable_of("DB_URL", environ):
        return _parsed(text, "DB_URL")
    parts = {part: variable_of(name, environ) for part, name in _SERVER_PARTS.items()}
    if all(parts.values()):
        return _url_of_parts(parts)
    if any(parts.values()):
        _warn_once(", ".join(name for part, name in _SERVER_PARTS.items() if not parts[part]))
    if text := variable_of("DATABASE_URL", environ):
        return _parsed(text, "DATABASE_URL")
    return _file_url(user_folder("data", environ) / APP / "onetape.db", "user data folder")


@lru_cache
def _warn_once(lacking: str) -> None:
    _log.warning("POSTGRES_* is ignored because these variables are not set: %s", lacking)


def _error(source: str, what: str, hint: str = _FORMS) -> DatabaseUrlError:
    """Return the error for a URL, which contains no part of it."""
    return DatabaseUrlError(f"the database URL ({source}) {what}", hint=hint)


def _url_of_parts(parts: Mapping[str, str]) -> DatabaseUrl:
    """Return the database that ``POSTGRES_*`` values describe, without decoding URL escapes."""
    source, port = "POSTGRES_*", parts["port"]
    if not (port.isascii() and port.isdigit()):
        raise _error(source, "has an invalid port", "use a number such as 5432")
    if not all(text.isprintable() for text in parts.values()):
        raise _error(source, "contains characters that cannot be printed")
    user, password, host, database = (parts[n] for n in ("user", "password", "host", "database"))
    return _server_url(URL.create("postgresql", user, password, host, int(port), database), source)


def _parsed(text: str, source: str) -> DatabaseUrl:
    """Parse a URL."""
    if not isinstance(text, str) or not text.strip().isprintable():
        raise _error(source, "is not a string of characters that can be printed")
    text = text.strip()
    engine = text.partition("://")[0].lower() if "://" in text else ""
    if engine not in _SQLITE | _POSTGRESQL:
        raise _error(source, "does not begin with sqlite:/// or postgresql://")
    url = _read(text)
    if url is None or text.partition("?")[0].count("@") > 1:
        escapes = "in a password, write @ as %40, : as %3A, / as %2F, ? as %3F, % as %25"
        raise _error(source, "cannot be parsed", f"{_FORMS}; {escapes}")
    if engine in _POSTGRESQL:
        return _server_url(url, source)
    if url.host or url.username or url.query or url.database in (None, "", ":memory:"):
        raise _error(
            source,
            "does not consist of three slashes and the path of a file",
            "such as sqlite:///onetape.db in this folder, or sqlite:////data/onetape.db",
        )
    return _file_url(Path(str(url.database)), source)


def _read(text: str) -> URL | None:
    try:
        return make_url(text)
    except (ArgumentError, ValueError):  # their text may quote the URL
        return None


def _server_url(url: URL, source: str) -> DatabaseUrl:
    if url.port is not None and not 0 < url.port < 65_536:
        raise _error(source, "has an invalid port", "use a number such as 5432")
    for password in (url.password, url.query.get("password")):
        if isinstance(password, str):
            note_key(password)
    return DatabaseUrl("postgresql", source, None, url.set(drivername="postgresql+psycopg"))


def _file_url(path: Path, source: str) -> DatabaseUrl:
    try:
        resolved = path.expanduser().resolve()
        bytes(resolved)
    except (OSError, RuntimeError, ValueError) as exc:
        raise _error(source, f"cannot be used: {exc}", "use a file name in UTF-8") from exc
    return DatabaseUrl("sqlite", source, resolved, URL.create("sqlite", database=str(resolved)))
