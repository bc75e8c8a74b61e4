"""A database as programs use it: units of work, each in one transaction."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import Engine, Result, Select
from sqlalchemy.engine import ScalarResult
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

from ...disk.files import Disk
from ...errors import DatabaseError, SchemaError
from ...forks import close_before_fork, renew_after_fork
from ...model.unit_of_work import inside_unit
from . import engine as engines
from .base import SCHEMA, Base
from .engine import WAIT_S, Work, for_work, typed_errors
from .schema import Schema
from .settings import may_drop_tables
from .url import DatabaseUrl, database_url

__all__ = ["Database", "adapted", "get_database", "locked", "once_more"]

T = TypeVar("T")
P = ParamSpec("P")
_DEADLOCK = "40P01"


class Database:
    """One database. Thread-safe; a forked child reconnects.

    The tables are created or checked when the first unit begins, see
    :class:`~src.data.db.core.schema.Schema`. All methods raise
    :class:`~src.data.errors.DatabaseError` if the database cannot be used.

    Args:
        url: URL as for :func:`~src.data.db.core.url.database_url`.

    Attributes:
        url: URL of the database, without the password.
        schema: State of its tables, and their upgrade.
    """

    def __init__(self, url: str | DatabaseUrl | None = None) -> None:
        self.url = database_url(url)
        self._engine = engines.make_engine(self.url)
        self.schema = Schema(self.url, self._engine)
        self._start()
        close_before_fork(self)

    def __repr__(self) -> str:
        return f"Database({str(self.url)!r})"

    def _start(self) -> None:
        self._units = _Units()
        # Guards the two fields, so that only one of several threads creates the tables.
        self._lock = threading.Lock()
        self._is_ready = False
        self._inode: int | None = None

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's engine. Its transactions can write; the tables may not exist yet."""
        return self._engine

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self.url.dialect

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Provide a session that sees one state of the database, takes no lock and cannot write."""
        with self._unit("reading") as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Provide a session whose changes are all kept at the end, or not at all.

        On SQLite no other unit writes meanwhile; on PostgreSQL use :func:`locked` to read rows
        that will be changed. An error inside the block rolls everything back. Do not query
        vendors inside it, because others are waiting.
        """
        with self._unit("writing") as session:
            yield session

    @contextmanager
    def _unit(self, work: Work) -> Iterator[Session]:
        session = Session(for_work(self._engine, work), expire_on_commit=False)
        inside = inside_unit(str(self.url), writes=work == "writing")
        with inside, self._units.running(), typed_errors(self.url):
            self._prepare()
            with session, session.begin():
                session.connection()  # the transaction begins here, not with the first statement
                yield session

    def _prepare(self) -> None:
        with self._lock:
            path = self.url.path
            if self._is_ready and (path is None or self._inode == _inode_of(path)):
                return
            # The path may now be another file, such as a backup, which is checked like the first
            # one.
            self._engine.dispose()
            self._is_ready = False
            self.schema.prepare()
            self._inode = None if path is None else _inode_of(path)
            self._is_ready = True

    def close(self) -> None:
        """Close the connections; the next unit of work opens new ones."""
        self._engine.dispose()

    # --- forks -------------------------------------------------------------------------------

    def before_fork(self) -> bool:
        """Wait for running units, and close all connections, which a child must not share."""
        self._units.pause()
        self._engine.dispose()
        return True

    def after_fork_in_parent(self) -> None:
        """Allow new transactions again in the parent of a fork."""
        self._units.go_on()

    def after_fork(self) -> None:
        """Drop the parent's connections in a forked child, without using or closing them."""
        self._engine.dispose(close=False)
        self._start()


class _Units:
    """Keeps units and forks apart: a fork waits for running units, and new units wait for it.

    Otherwise a child would inherit the units' locks, and SQLite's in-memory locks would never be
    released. Thread-safe.
    """

    def __init__(self) -> None:
        self._count = self._forks = 0
        self._own = threading.local()
        # Guards the counts of running units and of imminent forks.
        self._change = threading.Condition()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the block as a unit of work; wait for a fork first, unless it is inside another unit."""
        around = getattr(self._own, "count", 0)
        with self._change:
            self._change.wait_for(lambda: around or not self._forks)
            self._count += 1
        self._own.count = around + 1
        try:
            yield
        finally:
            self._own.count = around
            with self._change:
                self._count -= 1
                self._change.notify_all()

    def pause(self) -> None:
        """Keep units of work from beginning, and wait for other threads' units, with a time limit."""
        own = getattr(self._own, "count", 0)
        with self._change:
            self._forks += 1
            self._change.wait_for(lambda: self._count <= own, WAIT_S)

    def go_on(self) -> None:
        """Allow new transactions again in the parent of a fork."""
        with self._change:
            self._forks -= 1
            self._change.notify_all()


def _inode_of(path: Any) -> int | None:
    state = Disk().stat(path)
    return None if state is None else state.inode


def adapted(session: Session) -> Session:
    """Prepare the caller's own session for this library's tables, which have no schema on SQLite."""
    if session.get_bind().dialect.name == "sqlite":
        session.connection().execution_options(schema_translate_map={SCHEMA: None})
    return session


def locked(session: Session, statement: Select[T]) -> ScalarResult[T]:
    """Return the current rows of a statement, locked until the unit of work ends.

    PostgreSQL uses FOR UPDATE; on SQLite a writing unit already has the lock. Rows that do not
    exist cannot be locked; use a unique constraint to decide which unit inserts one.
    """
    return locked_rows(session, statement).scalars()


def locked_rows(session: Session, statement: Select[Any]) -> Result[Any]:
    """Return rows of several columns, locked as in :func:`locked`."""
    fresh = statement.with_for_update().execution_options(populate_existing=True)
    return session.execute(fresh)


def once_more(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function that is one unit of work: run it once more if it fails with a deadlock."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except DatabaseError as error:
            origin = getattr(error.__cause__, "orig", None)
            if getattr(origin, "sqlstate", None) != _DEADLOCK:
                raise
        return function(*args, **kwargs)

    return run


# --- one for each URL ----------------------------------------------------------------------------


class _Databases:
    """The databases of this process by URL. Thread-safe; its lock is replaced in a forked child."""

    def __init__(self) -> None:
        self._made: dict[DatabaseUrl, Database] = {}
        # Guards the mapping, so that threads which request a database at the same time get the same
        # object.
        self._lock = threading.Lock()
        renew_after_fork(self)

    def get(self, url: DatabaseUrl) -> Database:
        with self._lock:
            if url not in self._made:
                self._made[url] = Database(url)
            return self._made[url]

    def after_fork(self) -> None:
        """Replace the lock in a forked child, because a thread of the parent may have held it."""
        self._lock = threading.Lock()


_databases = _Databases()


def get_database(url: str | None = None) -> Database:
    """Return this process's database for a URL; see :class:`Database` for the URL."""
    return _databases.get(database_url(url))


# --- older names, for the database that the environment names -----------------------------------


def get_database_url() -> str:
    """Return the URL of the database, with its password; it must not be shown anywhere."""
    return database_url(None).url.render_as_string(hide_password=False)


def make_engine(url: str | None = None, *, echo: bool | None = None) -> Engine:
    """Return a separate engine for a database; nothing is opened yet.

    Args:
        url: URL as for ``Database``.
        echo: Whether to log statements, without their values.
    """
    engine = engines.make_engine(database_url(url))
    engine.echo = bool(echo)
    return engine


def get_engine() -> Engine:
    """Return the engine of this process's database; its transactions can write."""
    return get_database().engine


def get_session_factory() -> sessionmaker[Session]:
    """Return a session factory for this process's database; its tables are created or checked."""
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
    """Create this library's tables, and those of other bases, if they do not exist."""
    database = get_database()
    database.schema.init()
    for base in bases:
        if base is not Base:
            base.metadata.create_all(database.engine)


def drop_all_tables(*bases: type[DeclarativeBase]) -> None:
    """Drop this library's tables with their content, or the tables of the given bases.

    Raises:
        SchemaError: ``ALLOW_DROP_TABLES`` is not 1, or a newer version created the tables.
    """
    if not may_drop_tables():
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
    """Return the URL with its password for ``DB_URL``; any other name is an error."""
    if name != "DB_URL":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return get_database_url()
