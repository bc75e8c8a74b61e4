"""The database interface for programs: units of work, each in one transaction."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import Engine, Result, Select
from sqlalchemy.engine import ScalarResult
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

from ...disk.files import Disk
from ...errors import DatabaseError, SchemaError, StorageError
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
    """One database. Thread-safe; a forked child process opens its own connections.

    The tables are created or checked when the first unit of work (a transaction) begins; see
    :class:`~onetape.data.db.core.schema.Schema`. All methods raise
    :class:`~onetape.data.errors.DatabaseError` if the database cannot be used.

    Args:
        url: URL as for :func:`~onetape.data.db.core.url.database_url`.

    Attributes:
        url: URL of the database, without the password.
        schema: Object that reports the state of the tables, and creates or upgrades them.
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
        # Threads of running units, and whether each unit needs the lock of a file.
        self._running = list[tuple[int, bool]]()
        self._forks = 0  # for which new units wait
        # Guards the two.
        self._change = threading.Condition()
        # Guards the two fields, so that only one of several threads creates the tables.
        self._lock = threading.Lock()
        self._is_ready = False
        # Inodes of the file and of its -wal.
        self._inodes: tuple[int | None, int | None] = (None, None)

    @property
    def engine(self) -> Engine:
        """The SQLAlchemy engine. Its transactions can write; the tables may not exist yet."""
        return self._engine

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
        query vendors inside the block, because other writers would have to wait.
        """
        with self._unit("writing") as session:
            yield session

    @contextmanager
    def _unit(self, work: Work) -> Iterator[Session]:
        session = Session(for_work(self._engine, work), expire_on_commit=False)
        inside = inside_unit(str(self.url), writes=work == "writing")
        with inside, self._noted(work), typed_errors(self.url):
            self._prepare()
            with session, session.begin():
                session.connection()  # the transaction begins here, not with the first statement
                self._note_log()  # which SQLite may have created now, or anew
                yield session

    @contextmanager
    def _noted(self, work: Work) -> Iterator[None]:
        """Note a running unit of work, for which forks wait, as it does for them.

        Raises:
            DatabaseError: The unit would wait for the lock of a file that another task of its thread
                holds, and that task would wait for the unit.
        """
        unit = threading.get_ident(), work == "writing" and self.url.path is not None
        with self._change:
            if unit[1] and unit in self._running:
                raise DatabaseError(
                    "another task of this thread has a unit of work that writes to the same file",
                    hint="do not await inside a unit, or run units in threads",
                )
            is_inner = any(thread == unit[0] for thread, _ in self._running)
            self._change.wait_for(lambda: is_inner or not self._forks)
            self._running.append(unit)
        try:
            yield
        finally:
            with self._change:
                self._running.remove(unit)
                self._change.notify_all()

    def _prepare(self) -> None:
        with self._lock:
            path = self.url.path
            inode, log = (None, None) if path is None else _inodes_of(path)
            if self._is_ready and (path is None or self._inodes[0] == inode):
                return
            is_of_old = log is not None and log == self._inodes[1]
            if path and inode not in (None, self._inodes[0]) and is_of_old and _has_log(path):
                raise DatabaseError(
                    f"database {self.url} is not the same file as before, but {path.name}-wal "
                    "belongs to the old one and would damage it",
                    hint="move the -wal and -shm files away",
                )
            # The path may now be another file, such as a backup, which is checked like the first
            # one.
            self._engine.dispose()
            self._is_ready = False
            self.schema.prepare()
            self._inodes = (None, None) if path is None else _inodes_of(path)
            self._is_ready = True

    def _note_log(self) -> None:
        """Remember the inode of the -wal, as long as the file is the same."""
        if self.url.path is not None:
            inode, log = _inodes_of(self.url.path)
            if inode == self._inodes[0]:
                self._inodes = inode, log

    def close(self) -> None:
        """Close the connections; the next unit of work opens new ones."""
        self._engine.dispose()
        with suppress(StorageError):  # which the next unit of work reports
            self._note_log()  # SQLite may have deleted it, so that another file can get its inode

    # --- forks -------------------------------------------------------------------------------

    def before_fork(self) -> bool:
        """Close the connections to a file after other threads' units: no child may inherit them."""
        if self.url.path is None:
            return False
        own = threading.get_ident()
        with self._change:
            self._forks += 1
            self._change.wait_for(lambda: all(thread == own for thread, _ in self._running), WAIT_S)
        self.close()
        return True

    def after_fork_in_parent(self) -> None:
        """Allow new units of work again in the parent process after a fork."""
        with self._change:
            self._forks -= 1
            self._change.notify_all()

    def after_fork(self) -> None:
        """Discard the parent's connections in a forked child process, without closing them."""
        self._engine.dispose(close=False)
        self._start()


def _inodes_of(path: Path) -> tuple[int | None, int | None]:
    """Return the inodes of a SQLite file and of its -wal, None for one that does not exist."""
    file, log = Disk().stat(path), Disk().stat(f"{path}-wal")
    return file and file.inode, log and log.inode


def _has_log(path: Path) -> bool:
    """Return whether the -wal of a SQLite file has content."""
    log = Disk().stat(f"{path}-wal")
    return log is not None and log.size > 0


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
    return locked_rows(session, statement).scalars()


def locked_rows(session: Session, statement: Select[Any]) -> Result[Any]:
    """Return rows with several columns, and lock them as :func:`locked` does."""
    fresh = statement.with_for_update().execution_options(populate_existing=True)
    return session.execute(fresh)


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


class _Databases:
    """This process's databases by URL. Thread-safe; the lock is replaced in a forked child process."""

    def __init__(self) -> None:
        self._made: dict[DatabaseUrl, Database] = {}
        # Guards the mapping, so that threads which request a database at the same time get the same
        # object.
        self._lock = threading.Lock()
        renew_after_fork(self)

    def get(self, url: DatabaseUrl) -> Database:
        """Return the database for a URL, creating it on first use."""
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
    """Return the database URL, including the password, for ``DB_URL``; reject other names."""
    if name != "DB_URL":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return get_database_url()
