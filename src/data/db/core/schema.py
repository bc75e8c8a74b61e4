"""The tables of a database: their states, and their upgrade to this version.

=========  ==========================================================================================
state      what happens at the first use
=========  ==========================================================================================
empty      the tables are created
own        nothing: the tables have this version
older      SQLite: a backup next to the file, then the upgrade; PostgreSQL: an error names the command
newer      an error: a newer version of this library created them
foreign    an error: the database has other tables; ``onetape db init`` adds this library's
=========  ==========================================================================================

An upgrade applies all its revisions in one transaction. If several processes start at the same
time, one makes the change while holding a lock; the others wait, and then have nothing left to do.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, select, text
from sqlalchemy.sql.schema import BLANK_SCHEMA

from ...disk.database import check_files, copy_whole, make_empty
from ...disk.files import Disk
from ...errors import DatabaseError, SchemaError, StorageError
from ...forks import renew_after_fork
from ...model.texts import counted
from .base import SCHEMA
from .engine import RESTORE, for_work, typed_errors
from .settings import may_drop_tables
from .url import DatabaseUrl

if TYPE_CHECKING:
    from alembic.config import Config

StateName = Literal["empty", "own", "older", "newer", "foreign"]
VERSION_TABLE = "onetape_version"
_VERSION = Table(VERSION_TABLE, MetaData(), Column("version_num", String), schema=SCHEMA)
# Scripts for Alembic; `versions` contains the revisions, whose file names begin with their
# numbers.
MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"
_LOCK = 0x6F6E6574  # PostgreSQL lock for changes of the tables: any number that others do not use
_DISK = Disk(private=True)
_log = logging.getLogger(__name__)

TABLES = {
    "sqlite": text(
        "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND substr(name, 1, 7) <> 'sqlite_'"
    ),
    # Tables of extensions belong to the engine.
    "postgresql": text(
        """
        SELECT CASE WHEN nspname = :schema THEN '' ELSE nspname || '.' END || relname
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace
        WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
        AND nspname !~ '^pg_' AND nspname <> 'information_schema'
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')"""
    ).bindparams(schema=SCHEMA),
}


class _AlembicLock:
    """A lock for the use of Alembic, which keeps state in global variables. Fork-safe."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Replace the lock in the child process; another thread may have held it during the fork."""
        self.lock = threading.Lock()


_alembic = _AlembicLock()


class SchemaState(NamedTuple):
    """The state of a database's tables.

    Attributes:
        name: Name of the state; the module's docstring lists what happens in each state on first
            use.
        revision: Revision of this library's tables; empty if there are none.
        others: Tables of other programs, if this library's tables do not exist.
    """

    name: StateName
    revision: str = ""
    others: tuple[str, ...] = ()


def revisions() -> list[str]:
    """Return the names of all revisions, oldest first."""
    return sorted(path.name.partition("_")[0] for path in MIGRATIONS.glob("versions/[0-9]*.py"))


class Schema:
    """Reports and changes the state of one database's tables. Thread-safe.

    All methods raise :class:`~onetape.data.errors.DatabaseError` if the database cannot be used.

    Args:
        url: URL of the database.
        engine: Engine that connects to it.
    """

    def __init__(self, url: DatabaseUrl, engine: Engine) -> None:
        self._url = url
        self._engine = engine

    # --- the state ---------------------------------------------------------------------------

    def state(self) -> SchemaState:
        """Return the state of the tables, without creating anything, not even a file."""
        with typed_errors(self._url):
            if self._url.path is not None and not self._is_there():
                return SchemaState("empty")
            with for_work(self._engine, "reading").begin() as connection:
                return self._examine(connection)

    def _is_there(self) -> bool:
        """Return whether the SQLite file exists.

        Raises:
            DatabaseError: The file is missing or empty, but SQLite's log of its last changes
                exists.
            StorageError: The path is something other than a file.
        """
        path = self._url.path
        assert path is not None
        check_files(path)
        file, log = _DISK.stat(path), _DISK.stat(f"{path}-wal")
        if (file is None or not file.size) and log is not None and log.size:
            raise DatabaseError(
                (
                    f"database {self._url} is {'gone' if file is None else 'empty'}, but "
                    f"{path.name}-wal with its last changes is still there"
                ),
                hint="restore the database file or a backup, or move the -wal file away",
            )
        return file is not None

    def _examine(self, connection: Connection) -> SchemaState:
        tables = sorted(connection.scalars(TABLES[self._url.dialect]))
        if VERSION_TABLE not in tables:
            return SchemaState("foreign", "", tuple(tables)) if tables else SchemaState("empty")
        recorded = list(connection.scalars(select(_VERSION.c.version_num)))
        if len(recorded) > 1 or None in recorded:
            count = len(recorded) if None not in recorded else "no"
            raise SchemaError(
                (
                    f"database {self._url} has {count} revisions in {VERSION_TABLE}; exactly "
                    "one is allowed"
                ),
                hint=f"restore a backup; if it is a file, {RESTORE}",
            )
        revision, releases = "".join(recorded), revisions()
        if revision == releases[-1]:
            return SchemaState("own", revision)
        return SchemaState("older" if revision in ("", *releases) else "newer", revision)

    # --- changes -----------------------------------------------------------------------------

    def prepare(self) -> None:
        """Create or upgrade the tables if necessary; called on first use of a database.

        Raises:
            SchemaError: The tables belong to other programs or to a newer version, or they are from
                an older version and the database is PostgreSQL.
        """
        with typed_errors(self._url):
            self._make_file()
            with for_work(self._engine, "reading").begin() as connection:
                state = self._examine(connection)
        if state.name != "own":
            self._check(state, by_itself=True)
            self._migrate(by_itself=True)

    def init(self) -> bool:
        """Create the tables, even next to other programs' tables; return False if they already exist.

        Raises:
            SchemaError: This library's tables exist in another version, or other tables have the
                same names.
        """
        with typed_errors(self._url):
            self._make_file()
        state = self.state()
        if state.name == "own":
            return False
        if state.name in ("older", "newer"):
            self._check(state, by_itself=False)
            raise SchemaError(
                f"database {self._url} has tables from an earlier version ({state.revision or 'none'})",
                hint="run onetape db upgrade",
            )
        return self._migrate(by_itself=False)

    def upgrade(self) -> bool:
        """Upgrade the tables to this version; return False if they already have it.

        If the database is a file, a backup is made next to it.

        Raises:
            SchemaError: The tables are newer than this version, or none of them are this library's.
        """
        state = self.state()
        if state.name in ("empty", "foreign"):
            raise SchemaError(
                f"database {self._url} has no tables of this library",
                hint="run onetape db init",
            )
        self._check(state, by_itself=False)
        return state.name == "older" and self._migrate(by_itself=False)

    def _check(self, state: SchemaState, *, by_itself: bool) -> None:
        """Raise an error if tables in this state must not be changed.

        ``by_itself`` means that the change happens automatically, without a request from the user.
        """
        if error := self._state_error(state, by_itself=by_itself):
            raise error

    def refusal(self, state: SchemaState) -> SchemaError | None:
        """Return the error that a unit of work would raise for tables in this state, or None."""
        return self._state_error(state, by_itself=True)

    def _state_error(self, state: SchemaState, *, by_itself: bool) -> SchemaError | None:
        if state.name == "newer":
            return SchemaError(
                (
                    f"database {self._url} was created by a newer version of this library "
                    f"(revision {state.revision}; this version reads up to {revisions()[-1]})"
                ),
                hint="install the newer version, or restore a backup",
            )
        if state.name == "foreign" and by_itself:
            names = ", ".join(state.others[:3]) + (", …" if len(state.others) > 3 else "")
            return SchemaError(
                f"database {self._url} contains tables from other programs: {names}",
                hint="name another database, or add our tables to this one with onetape db init",
            )
        if state.name == "older" and by_itself and self._url.dialect == "postgresql":
            return SchemaError(
                (
                    f"database {self._url} has the tables of revision "
                    f"{state.revision or 'none'}; this version needs {revisions()[-1]}"
                ),
                hint="make a backup, then run onetape db upgrade",
            )
        return None

    def _make_file(self) -> None:
        """Create the SQLite file, accessible only to its owner, if there is none."""
        path = self._url.path
        if path is not None and not self._is_there():
            if self._url.source == "user data folder":
                _DISK.make_folders(path.parent)
            make_empty(_DISK, path, with_log=True)
            if _DISK.stat(path) is None:  # the file system has no links
                _DISK.close(_DISK.create(path))

    def _migrate(self, *, by_itself: bool) -> bool:
        """Create or upgrade the tables in one transaction; return False if it has already been done."""
        with (
            typed_errors(self._url),
            _alembic.lock,
            for_work(self._engine, "migrating").begin() as connection,
        ):
            if self._url.dialect == "postgresql":
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            state = self._examine(connection)
            if state.name == "own":
                return False
            self._check(state, by_itself=by_itself)
            self._refuse_taken(state)
            if state.name == "older" and self._url.path is not None:
                _log.info("%s: upgrading from revision %s", self._url, state.revision)
                self._back_up(self._backup_path(state.revision))
            if self._url.dialect == "postgresql":
                connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
            self._run(connection, lambda config: _upgrade(config, "head"))
            return True

    def _refuse_taken(self, state: SchemaState) -> None:
        from ..models import METADATA

        names = sorted({table.name for table in METADATA.tables.values()} & set(state.others))
        if names:
            raise SchemaError(
                (
                    f"database {self._url} contains tables from other programs under names that "
                    f"onetape uses: {', '.join(names)}"
                ),
                hint="rename those tables, or name another database",
            )

    def _run(self, connection: Connection, command: Callable[[Config], None]) -> None:
        """Run an Alembic command in the transaction of ``connection``, and check the result."""
        from alembic.config import Config

        from ..models import METADATA

        config = Config()
        # Percent signs are doubled, because in a configuration file they mark references. The
        # connection itself is used instead of its URL.
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        config.attributes.update(
            connection=connection,
            metadata=METADATA,
            version_table=VERSION_TABLE,
            schema=SCHEMA if self._url.dialect == "postgresql" else None,
        )
        command(config)
        if self._url.dialect == "sqlite":
            orphans = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
            if orphans:
                raise SchemaError(
                    f"changing the tables of {self._url} would leave {counted(len(orphans), 'row')} with "
                    f"references to missing rows, the first in {orphans[0][0]}; nothing was changed"
                )

    def drop_all_tables(self) -> None:
        """Drop only this library's tables and their contents; requires ``ALLOW_DROP_TABLES=1``.

        Raises:
            SchemaError: The variable is not 1, or a newer version created the tables.
        """
        if not may_drop_tables():
            raise SchemaError(
                f"dropping the tables of {self._url} is not enabled",
                hint="set ALLOW_DROP_TABLES=1 to enable it",
            )
        state = self.state()
        self._check(state, by_itself=False)
        if state.name in ("empty", "foreign"):
            return
        with (
            typed_errors(self._url),
            _alembic.lock,
            for_work(self._engine, "migrating").begin() as connection,
        ):
            self._run(connection, lambda config: _downgrade(config, "base"))
            _VERSION.drop(connection)

    # --- copies and checks -------------------------------------------------------------------

    def backup(self, target: Path | None = None) -> Path:
        """Copy the file to ``target``, or to a new file next to it; return the copy's path.

        Raises:
            DatabaseError: The file does not exist, ``target`` exists or cannot be written, or the
                database is PostgreSQL.
        """
        if self._url.path is None:
            raise DatabaseError(
                f"cannot back up {self._url}: it is a database server",
                hint=f"use pg_dump --schema={SCHEMA}",
            )
        state = self.state()
        if not state.revision:
            raise DatabaseError(f"database {self._url} has no tables of this library")
        if target is not None and target.exists():
            raise DatabaseError(f"{target} already exists", hint="name a new file")
        path = target or self._backup_path(state.revision)
        with typed_errors(self._url):
            self._back_up(path)
        return path

    def _backup_path(self, revision: str) -> Path:
        path = self._url.path
        assert path is not None
        return path.with_name(f"{path.name}.{revision}-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}.bak")

    def _back_up(self, target: Path) -> None:
        with for_work(self._engine, "reading").connect() as connection:
            driver: Any = connection.connection.driver_connection
            try:
                copy_whole(driver, _DISK, target)
            except StorageError as error:
                raise DatabaseError(
                    f"database {self._url} cannot be backed up: {error.args[0]}", hint=error.hint
                ) from error
        _log.info("%s: backup in %s", self._url, target)

    def differences(self) -> list[str]:
        """Return the faults in the tables: damage, orphaned rows, and differences from the models."""
        from alembic.autogenerate import compare_metadata
        from alembic.migration import MigrationContext

        from ..models import METADATA

        with typed_errors(self._url), for_work(self._engine, "reading").begin() as connection:
            wrong: list[str] = []
            options: dict[str, Any] = {"version_table": VERSION_TABLE, "compare_type": True}
            metadata = METADATA
            if self._url.dialect == "sqlite":
                wrong += _faults(connection)
                metadata = MetaData()
                for table in METADATA.tables.values():
                    # Removes the schema from foreign keys as well, where None would keep it.
                    table.to_metadata(metadata, schema=None, referred_schema_fn=_no_schema)  # type: ignore[arg-type]
            else:
                options |= {"version_table_schema": SCHEMA, "include_schemas": True}
                options["include_name"] = lambda name, type_, _: type_ != "schema" or name == SCHEMA
            context = MigrationContext.configure(connection, opts=options)
            with _alembic.lock:
                return wrong + [
                    _describe(difference) for difference in compare_metadata(context, metadata)
                ]


def _no_schema(*_: Any) -> Any:
    return BLANK_SCHEMA


def _upgrade(config: Config, revision: str) -> None:
    from alembic import command

    command.upgrade(config, revision)


def _downgrade(config: Config, revision: str) -> None:
    from alembic import command

    command.downgrade(config, revision)


def _faults(connection: Connection) -> list[str]:
    """Return the damage that SQLite finds in its file, and rows that refer to missing rows."""
    damage = [row[0] for row in connection.exec_driver_sql("PRAGMA integrity_check(10)")]
    orphans = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    return [line for line in damage if line != "ok"] + [
        f"{table}: row {row} refers to no row of {parent}" for table, row, parent, _ in orphans[:10]
    ]


def _describe(difference: Any) -> str:
    """Describe, in one line, a difference between the models and the tables."""
    if isinstance(difference, list):
        return "; ".join(_describe(inner) for inner in difference)
    change, *parts = difference
    names = [str(getattr(part, "name", part)) for part in parts if part is not None]
    return f"{change.replace('_', ' ')}: {' '.join(names)}"
