"""The database interface for programs: units of work, each in one transaction."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import Engine, MetaData, Select
from sqlalchemy.engine import ScalarResult
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from sqlalchemy.pool import Pool

from ...core.config.donotshare import variable_of
from ...core.model.request.unit_of_work import inside_unit
from ...core.runtime.forks import renew_after_fork
from ...errors import DatabaseError, SchemaError
from . import engine as engines
from .base import SCHEMA, Base
from .engine import Work, for_work, typed_errors
from .schema import Schema
from .url import DatabaseUrl, database_url

__all__ = ["Database", "adapted", "get_database", "locked", "once_more"]

T = TypeVar("T")
P = ParamSpec("P")
_DEADLOCK = "40P01"


class Database:
    """One database. Thread-safe; a forked child process opens its own connections.

    The tables are created or checked when the first unit of work (a transaction) begins; see
    :class:`~onetape.data.db.core.schema.Schema`. All methods raise
    :class:`~onetape.errors.DatabaseError` if the database cannot be used.

    Args:
        url: URL as for :func:`~onetape.data.db.core.url.database_url`.

    Attributes:
        url: URL of the database, without the password.
        engine: SQLAlchemy engine. Its transactions can write; the tables may not exist yet.
        schema: Object that reports the state of the tables, and creates or upgrades them.
    """

    def __init__(self, url: str | DatabaseUrl | None = None) -> None:
        self.url = database_url(url)
        self.engine = engines.make_engine(self.url)
        self.schema = Schema(self.url, self.engine)
        # Guards the field, so that only one of several threads creates the tables.
        self._lock = threading.Lock()
        self._is_ready = False
        renew_after_fork(self)

    def __repr__(self) -> str:
        return f"Database({str(self.url)!r})"

    @property
    def metadata(self) -> MetaData:
        """SQLAlchemy metadata with all tables, for a program's own Alembic."""
        return self.schema.metadata(with_version=True)

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self.url.dialect

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Provide a read-only session that sees one snapshot of the database and takes no locks."""
        with self._unit("reading") as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Provide a session whose changes are committed all together at the end, or not at all.

        On SQLite no other unit of work can write at the same time; on PostgreSQL use :func:`locked`
        to read rows that will be changed. An error inside the block rolls everything back. Do not
        query vendors or await inside the block, because other writers would have to wait.
        """
        with self._unit("writing") as session:
            yield session

    @contextmanager
    def _unit(self, work: Work) -> Iterator[Session]:
        session = Session(for_work(self.engine, work), expire_on_commit=False)
        with inside_unit(str(self.url), writes=work == "writing"), typed_errors(self.url):
            with self._lock:
                if not self._is_ready:
                    self.schema.prepare()
                    self._is_ready = True
            with session, session.begin():
                session.connection()  # the transaction begins here, not with the first statement
                yield session

    def close(self) -> None:
        """Close the connections; the next unit of work opens new ones, and checks the tables again."""
        self.engine.dispose()
        self._is_ready = False

    def after_fork(self) -> None:
        """Discard the parent's connections in a forked child process, without closing them."""
        _parents.append(self.engine.pool)
        self.engine.dispose(close=False)
        self._lock = threading.Lock()


# Pools of the processes that this one was forked from. Collecting a connection would close it.
_parents: list[Pool] = []


def adapted(session: Session) -> Session:
    """Prepare the caller's own session for this library's tables, which have no schema on SQLite."""
    if session.get_bind().dialect.name == "sqlite":
        session.connection().execution_options(schema_translate_map={SCHEMA: None})
    return session


def locked(session: Session, statement: Select[T]) -> ScalarResult[T]:
    """Return the current rows that a statement selects, locked until the unit of work ends.

    PostgreSQL uses FOR UPDATE; on SQLite, a unit of work that writes already holds the database
    lock. Rows that do not exist yet cannot be locked; a unique constraint must decide which unit of
    work inserts such a row.
    """
    fresh = statement.with_for_update().execution_options(populate_existing=True)
    return session.execute(fresh).scalars()


def once_more(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function that is one unit of work: retry it once if it fails with a deadlock."""

    @wraps(function)
    def _run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except DatabaseError as error:
            origin = getattr(error.__cause__, "orig", None)
            if getattr(origin, "sqlstate", None) != _DEADLOCK:
                raise
        return function(*args, **kwargs)

    return _run


# --- one for each URL ----------------------------------------------------------------------------


@cache
def _database(url: DatabaseUrl) -> Database:
    return Database(url)


def get_database(url: str | None = None) -> Database:
    """Return this process's database for a URL; see :class:`Database` for the URL."""
    return _database(database_url(url))


# --- older names, for the database that the environment names -----------------------------------


def get_database_url() -> str:
    """Return the URL of the database, including the password; never log or display it."""
    return database_url(None).url.render_as_string(hide_password=False)


def make_engine(url: str | None = None, *, echo: bool | None = None) -> Engine:
    """Return a separate SQLAlchemy engine for a database; no connection is opened yet.

    Args:
        url: URL as for ``Database``.
        echo: Whether to log SQL statements, without the values in them.
    """
    engine = engines.make_engine(database_url(url))
    engine.echo = bool(echo)
    return engine


def get_engine() -> Engine:
    """Return the SQLAlchemy engine of this process's database; its transactions can write."""
    return get_database().engine


def get_session_factory() -> sessionmaker[Session]:
    """Return a session factory for this process's database, after creating or checking the tables."""
    database = get_database()
    with database.reading():
        pass
    return sessionmaker(database.engine, expire_on_commit=False)


def SessionLocal() -> Session:  # noqa: N802 - the older name
    """Return a session that the caller must commit and close."""
    return get_session_factory()()


@contextmanager
def session_scope() -> Iterator[Session]:
    """Provide a session that is committed at the end, rolled back on an error, and closed."""
    with get_database().writing() as session:
        yield session


def create_all_tables(*bases: type[DeclarativeBase]) -> None:
    """Create this library's tables and the tables of ``bases`` if they do not exist."""
    database = get_database()
    database.schema.init()
    for base in bases:
        if base is not Base:
            base.metadata.create_all(database.engine)


def drop_all_tables(*bases: type[DeclarativeBase]) -> None:
    """Drop this library's tables or, if given, the tables of ``bases``, and all their contents.

    Raises:
        SchemaError: ``ALLOW_DROP_TABLES`` is not 1, or a newer version created the tables.
    """
    if variable_of("ALLOW_DROP_TABLES", None) != "1":
        raise SchemaError(
            "dropping tables is not enabled", hint="set ALLOW_DROP_TABLES=1 to enable it"
        )
    database = get_database()
    for base in bases or (Base,):
        if base is Base:
            database.schema.drop_all_tables()
        else:
            base.metadata.drop_all(database.engine)


def __getattr__(name: str) -> Any:
    """Return the database URL, including the password, for ``DB_URL``; reject other names."""
    if name != "DB_URL":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return get_database_url()
