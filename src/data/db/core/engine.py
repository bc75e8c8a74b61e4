"""Creates engines, which set up connections, begin units of work and map errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import Any, Literal

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    SQLAlchemyError,
    StatementError,
    TimeoutError,
)

from ...core.disk.database import connect_existing, is_busy, is_damage
from ...errors import (
    DatabaseError,
    DataError,
    MissingExtraError,
    QueryError,
    StorageError,
    install_line,
)
from .base import SCHEMA
from .url import DatabaseUrl

Work = Literal["reading", "writing", "migrating"]
# Seconds that a unit waits for the locks of others, and that a connection waits for the server.
WAIT_S = 30.0
_CONNECT_S = 10
# SQLite would apply the changes in the -wal file to the backup, which would damage it.
RESTORE = "move it with its -wal and -shm away, and put a backup in its place"
_WORK = "onetape_work"
_HINTS = {
    "55P03": "close the program that holds the lock, or try again",
    "53100": "free up space on the server's disk",
    "42501": "grant this user rights on the schema, or use another user",
}


def make_engine(url: DatabaseUrl) -> Engine:
    """Return the SQLAlchemy engine for a database; no connection is opened yet.

    Every transaction has one of the types in :data:`Work`; by default it can write. Errors and log
    records never contain the values in a statement.

    Raises:
        MissingExtraError: The database is PostgreSQL, and its driver is not installed.
    """
    if url.path is not None:
        engine = create_engine(
            url.url,
            creator=partial(connect_existing, url.path, WAIT_S),
            hide_parameters=True,
            execution_options={"schema_translate_map": {SCHEMA: None}},
        )
        event.listen(engine, "connect", _set_sqlite)
        event.listen(engine, "begin", begin_sqlite)
        return engine
    if find_spec("psycopg") is None:
        raise MissingExtraError(
            "PostgreSQL needs the `postgres` extra", hint=install_line("postgres")
        )
    defaults = {"connect_timeout": _CONNECT_S, "application_name": "onetape"}
    # The URL that the engine displays has neither the password nor the options, which may contain
    # one.
    public_url = url.url.set(password="", query={})
    _, options = public_url.get_dialect()().create_connect_args(url.url)
    engine = create_engine(
        public_url,
        connect_args={**defaults, **options},
        hide_parameters=True,
        pool_pre_ping=True,
        pool_recycle=1800,
    )
    event.listen(engine, "connect", _set_postgresql)
    return engine


def for_work(engine: Engine, work: Work) -> Engine:
    """Return an engine that uses the same connections for transactions of the type ``work``."""
    if engine.dialect.name == "postgresql" and work == "reading":
        # All statements of the unit see one state of the database, as on SQLite.
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return engine.execution_options(**{_WORK: work})


def _set_sqlite(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA synchronous = NORMAL")


def begin_sqlite(connection: Connection) -> None:
    """Begin a transaction explicitly.

    The driver itself would not begin a transaction for a SELECT, so an update based on its result
    could be lost. A writing transaction takes the writers' lock immediately, because a transaction
    that reads first would not wait for the lock later. The pragmas come first, because they have no
    effect in a transaction.
    """
    work = connection.get_execution_options().get(_WORK, "writing")
    if connection.info.get(_WORK) != work:
        connection.info[_WORK] = ""  # of neither, if one of the two fails
        cursor = connection.connection.cursor()
        cursor.execute(f"PRAGMA query_only = {work == 'reading':d}")
        cursor.execute(f"PRAGMA foreign_keys = {work != 'migrating':d}")
        cursor.close()
        connection.info[_WORK] = work
    # Not with the cursor: if SQLAlchemy executes it, failures are SQLAlchemy's errors, even while
    # waiting.
    connection.exec_driver_sql("BEGIN" if work == "reading" else "BEGIN IMMEDIATE")


def _set_postgresql(connection: Any, _: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET TIME ZONE 'UTC'; SET lock_timeout = {int(WAIT_S * 1000)}")
    connection.commit()


# --- errors --------------------------------------------------------------------------------------


@contextmanager
def typed_errors(url: DatabaseUrl) -> Iterator[None]:
    """Convert errors from the database or its file into this library's typed errors."""
    try:
        yield
    except (SQLAlchemyError, StorageError) as exc:
        raise _typed_error(exc, url) from exc
    except UnicodeEncodeError as exc:  # from a driver, which does not wrap it
        raise QueryError(f"a string contains an unpaired surrogate: {exc.object[:40]!a}") from exc


def _typed_error(exc: Exception, url: DatabaseUrl) -> DataError:
    where = f"database {url}"
    origin = getattr(exc, "orig", None) or exc
    if isinstance(exc, StatementError) and isinstance(origin, DataError):
        return type(origin)(str(origin.args[0]), hint=origin.hint)
    text = str(origin).strip().partition("\n")[0] or type(origin).__name__
    if isinstance(exc, IntegrityError):
        return DatabaseError(f"{where} rejected a row: {text}")
    if isinstance(exc, TimeoutError):
        hint = "finish units of work sooner, or use fewer threads"
        return DatabaseError(f"{where}: all connections are in use", hint=hint)
    if is_busy(origin):
        return DatabaseError(
            f"{where} has been locked by another program for more than {WAIT_S:g} s",
            hint="close the program that holds the lock, or try again",
        )
    if is_damage(origin):
        return DatabaseError(
            f"{where} is damaged, or the file is not a database: {text}",
            hint=f"the file was not changed; {RESTORE}, or name another file",
        )
    advice = _HINTS.get(getattr(origin, "sqlstate", None) or "")
    if isinstance(exc, DBAPIError) and exc.connection_invalidated and advice is None:
        advice = (
            "check whether the server is running; the unit of work was rolled back, and the "
            "next one reconnects"
        )
    return DatabaseError(f"{where} cannot be used: {text}", hint=advice)
