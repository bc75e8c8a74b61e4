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

from ...config.database import may_drop_tables
from ...disk.files import Disk
from ...errors import DatabaseError, SchemaError
from ...forks import close_before_fork, renew_after_fork
from ...model.unit_of_work import inside_unit
from . import engine as engines
from .base import SCHEMA, Base
from .engine import WAIT_S, Work, for_work, typed_errors
from .schema import Schema
from .url import DatabaseUrl, database_url

__all__ = ["Database", "adapted", "get_database", "locked", "once_more"]

T = TypeVar("T")
P = ParamSpec("P")
_DEADLOCK = "40P01"


class Database:
    """One database. Thread-safe; a forked child connects anew.

    The tables are made or checked at the first unit, see :class:`~src.data.db.core.schema.Schema`.
    All methods raise :class:`~src.data.errors.DatabaseError` where it cannot be used.

    Args:
        url: as :func:`~src.data.db.core.url.database_url` takes it.

    Attributes:
        url: which database it is, without the password.
        schema: the state of its tables, and their upgrade.
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
        # Guards the two fields: of threads that come first together one makes the tables.
        self._lock = threading.Lock()
        self._is_ready = False
        self._inode: int | None = None

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's engine: its transactions are writing ones; the tables may not be there yet."""
        return self._engine

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self.url.dialect

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Give a session that sees one state of the database, and takes no lock; it cannot write."""
        with self._unit("reading") as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Give a session whose changes are kept together, at the end, or not at all.

        On SQLite no other unit writes meanwhile; on PostgreSQL read what will be changed by
        :func:`locked`. An error inside takes all back. Ask no vendor inside: others wait.
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
            # Another file may have its name now, such as a backup: it is looked at like the first.
            self._engine.dispose()
            self._is_ready = False
            self.schema.prepare()
            self._inode = None if path is None else _inode_of(path)
            self._is_ready = True

    def close(self) -> None:
        """Close the connections; the next unit opens new ones."""
        self._engine.dispose()

    # --- forks -------------------------------------------------------------------------------

    def before_fork(self) -> bool:
        """Let running units end, and close all connections: on an inherited one both would speak."""
        self._units.pause()
        self._engine.dispose()
        return True

    def after_fork_in_parent(self) -> None:
        """Let units begin again."""
        self._units.go_on()

    def after_fork(self) -> None:
        """Drop what is the parent's, without a word on its connections."""
        self._engine.dispose(close=False)
        self._start()


class _Units:
    """The units of this process: while it forks none begins, and those of other threads end first.

    A child would inherit their locks, and SQLite's in its memory are never given back. Thread-safe.
    """

    def __init__(self) -> None:
        self._count = self._forks = 0
        self._own = threading.local()
        # Guards the two counts: of all units, and of forks that are about to happen.
        self._change = threading.Condition()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the block as a unit; it begins after a fork, unless its thread has a unit already."""
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
        """Keep units from beginning, and wait for those of other threads, as long as for a lock."""
        own = getattr(self._own, "count", 0)
        with self._change:
            self._forks += 1
            self._change.wait_for(lambda: self._count <= own, WAIT_S)

    def go_on(self) -> None:
        """Let units begin again."""
        with self._change:
            self._forks -= 1
            self._change.notify_all()


def _inode_of(path: Any) -> int | None:
    state = Disk().stat(path)
    return None if state is None else state.inode


def adapted(session: Session) -> Session:
    """Let a session of the caller's own reach the tables: SQLite has them in no schema."""
    if session.get_bind().dialect.name == "sqlite":
        session.connection().execution_options(schema_translate_map={SCHEMA: None})
    return session


def locked(session: Session, statement: Select[T]) -> ScalarResult[T]:
    """Return the rows of a statement as they are now, locked until the unit ends.

    On PostgreSQL by FOR UPDATE; on SQLite a writing unit has the lock already. Rows that do not exist
    cannot be locked: let a unique constraint decide who inserts one.
    """
    return locked_rows(session, statement).scalars()


def locked_rows(session: Session, statement: Select[Any]) -> Result[Any]:
    """Return rows of several columns as :func:`locked` does those of one."""
    fresh = statement.with_for_update().execution_options(populate_existing=True)
    return session.execute(fresh)


def once_more(function: Callable[P, T]) -> Callable[P, T]:
    """Repeat a function that is one unit once, if the server ended the unit because of a deadlock."""

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
    """The databases of this process. Thread-safe; renewed in a forked child."""

    def __init__(self) -> None:
        self._made: dict[DatabaseUrl, Database] = {}
        # Guards the mapping: of threads that ask for one database at a time all get the same.
        self._lock = threading.Lock()
        renew_after_fork(self)

    def get(self, url: DatabaseUrl) -> Database:
        with self._lock:
            if url not in self._made:
                self._made[url] = Database(url)
            return self._made[url]

    def after_fork(self) -> None:
        """Have a lock that is free."""
        self._lock = threading.Lock()


_databases = _Databases()


def get_database(url: str | None = None) -> Database:
    """Return the database of this process for a URL, which is read as :class:`Database` reads it."""
    return _databases.get(database_url(url))


# --- older names, over the database that the environment names -------------------------------------


def get_database_url() -> str:
    """Return the URL of the database, with its password: show it nowhere."""
    return database_url(None).url.render_as_string(hide_password=False)


def make_engine(url: str | None = None, *, echo: bool | None = None) -> Engine:
    """Return an engine of its own for a database; nothing is opened yet.

    Args:
        url: as ``Database`` takes it.
        echo: log statements, without their values.
    """
    engine = engines.make_engine(database_url(url))
    engine.echo = bool(echo)
    return engine


def get_engine() -> Engine:
    """Return the engine of this process' database; its transactions are writing ones."""
    return get_database().engine


def get_session_factory() -> sessionmaker[Session]:
    """Return what makes sessions of this process' database, whose tables are made or checked."""
    database = get_database()
    with database.reading():
        pass
    return sessionmaker(database.engine, expire_on_commit=False)


def SessionLocal() -> Session:  # noqa: N802 - the older name
    """Return a session that the caller commits and closes."""
    return get_session_factory()()


@contextmanager
def session_scope() -> Iterator[Session]:
    """Give a session that is committed at the end, or taken back by an error, and closed."""
    with get_database().writing() as session:
        yield session


def create_all_tables(*bases: type[DeclarativeBase]) -> None:
    """Make our tables, and those of other bases, where they are not there."""
    database = get_database()
    database.schema.init()
    for base in bases:
        if base is not Base:
            base.metadata.create_all(database.engine)


def drop_all_tables(*bases: type[DeclarativeBase]) -> None:
    """Remove our tables and all that is in them, or those of the bases that are given.

    Raises:
        SchemaError: ``ALLOW_DROP_TABLES`` is not 1, or a newer version made the tables.
    """
    if not may_drop_tables():
        raise SchemaError("tables are not removed", hint="set ALLOW_DROP_TABLES=1 to do so")
    database = get_database()
    for base in bases or (Base,):
        if base is Base:
            database.schema.drop_all_tables()
        else:
            base.metadata.drop_all(database.engine)


def __getattr__(name: str) -> Any:
    """Resolve ``DB_URL``: the URL, with its password."""
    if name != "DB_URL":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return get_database_url()
