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

from ...config.credentials import note_key
from ...errors import DatabaseUrlError
from .settings import (
    DATABASE_URL,
    DB_URL,
    SERVER_PARTS,
    database_file,
    database_url_text,
    server_parts,
)

_log = logging.getLogger(__name__)
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
    if text := database_url_text(DB_URL, environ):
        return _parsed(text, DB_URL)
    parts = server_parts(environ)
    if len(parts) == len(SERVER_PARTS):
        return _url_of_parts(parts)
    if parts:
        _warn_once(", ".join(name for part, name in SERVER_PARTS.items() if part not in parts))
    if text := database_url_text(DATABASE_URL, environ):
        return _parsed(text, DATABASE_URL)
    return _file_url(database_file(environ), "user data folder")


@lru_cache
def _warn_once(lacking: str) -> None:
    _log.warning("POSTGRES_* is ignored because these variables are not set: %s", lacking)


def _url_of_parts(parts: Mapping[str, str]) -> DatabaseUrl:
    """Return the database that ``POSTGRES_*`` values describe, without decoding URL escapes."""
    source = "POSTGRES_*"
    if not parts["port"].isascii() or not parts["port"].isdigit():
        raise DatabaseUrlError(
            "POSTGRES_PORT is not a port number", hint="use a number such as 5432"
        )
    _check_texts(source, *parts.values())
    url = URL.create(
        "postgresql",
        parts["user"],
        parts["password"],
        parts["host"],
        int(parts["port"]),
        parts["database"],
    )
    return _server_url(url, source)


def _parsed(text: str, source: str) -> DatabaseUrl:
    """Parse a URL; errors do not contain any part of it, not even as their cause."""
    if not isinstance(text, str):
        raise DatabaseUrlError(f"the database URL ({source}) is not a string", hint=_FORMS)
    text = text.strip()
    _check_texts(source, text)
    url = _read(text)
    engine = text.partition("://")[0].lower() if "://" in text else ""
    if engine not in _SQLITE | _POSTGRESQL:
        raise DatabaseUrlError(
            f"the database URL ({source}) does not begin with sqlite:/// or postgresql://",
            hint=_FORMS,
        )
    if url is None or text.partition("?")[0].count("@") > 1:
        raise DatabaseUrlError(
            f"the database URL ({source}) cannot be parsed",
            hint=f"{_FORMS}; in a password, write @ as %40, : as %3A, / as %2F, ? as %3F, % as %25",
        )
    if engine in _POSTGRESQL:
        return _server_url(url, source)
    if url.host or url.username or url.query:
        raise DatabaseUrlError(
            (
                f"the SQLite URL ({source}) contains more than a path; only three slashes and a "
                "path are accepted"
            ),
            hint="such as sqlite:///onetape.db in this folder, or sqlite:////data/onetape.db",
        )
    if not url.database or url.database == ":memory:":
        raise DatabaseUrlError(
            f"the database URL ({source}) does not name a file",
            hint="name a file; a database in memory would be a different one in each process",
        )
    return _file_url(Path(url.database), source)


def _read(text: str) -> URL | None:
    try:
        return make_url(text)
    except (ArgumentError, ValueError):  # their text may quote the URL
        return None


def _check_texts(source: str, *texts: str) -> None:
    """Refuse characters that an address cannot contain: control characters and lone surrogates."""
    for text in texts:
        if not text.isprintable():
            raise DatabaseUrlError(
                f"the database URL ({source}) contains characters that cannot be printed",
                hint=_FORMS,
            )


def _server_url(url: URL, source: str) -> DatabaseUrl:
    if url.port is not None and not 0 < url.port < 65_536:
        raise DatabaseUrlError(
            f"the database URL ({source}) has an invalid port", hint="use a number such as 5432"
        )
    passwords = [url.password, url.query.get("password")]
    for password in passwords:
        if isinstance(password, str):
            note_key(password)
    return DatabaseUrl("postgresql", source, None, url.set(drivername="postgresql+psycopg"))


def _file_url(path: Path, source: str) -> DatabaseUrl:
    try:
        resolved = path.expanduser().resolve()
        bytes(resolved)
    except (OSError, RuntimeError, ValueError) as exc:
        raise DatabaseUrlError(
            f"the database path ({source}) cannot be used: {exc}",
            hint="use a file name in UTF-8",
        ) from exc
    return DatabaseUrl("sqlite", source, resolved, URL.create("sqlite", database=str(resolved)))
