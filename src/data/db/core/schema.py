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
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    inspect,
    select,
    text,
)
from sqlalchemy.schema import CreateSchema
from sqlalchemy.sql.schema import BLANK_SCHEMA

from ...core.config.donotshare import variable_of
from ...core.disk.database import check_files, copy_whole, make_empty
from ...core.disk.files import Disk
from ...errors import DatabaseError, SchemaError, StorageError
from .base import SCHEMA
from .engine import for_work, typed_errors
from .url import DatabaseUrl

StateName = Literal["empty", "own", "older", "newer", "foreign"]
Action = Literal["use", "init", "upgrade"]
VERSION_TABLE = "onetape_version"
_VERSION = Table(
    VERSION_TABLE,
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
    schema=SCHEMA,
)
# Scripts for Alembic; `versions` contains the revisions, whose file names begin with their
# numbers.
MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"
_LOCK = 0x6F6E6574  # PostgreSQL lock for changes of the tables: any number that others do not use
_DISK = Disk(private=True)
_log = logging.getLogger(__name__)
_alembic = threading.Lock()  # Alembic keeps state in global variables


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

    All methods raise :class:`~onetape.errors.DatabaseError` if the database cannot be used.

    Args:
        url: URL of the database.
        engine: Engine that connects to it.
    """

    def __init__(self, url: DatabaseUrl, engine: Engine) -> None:
        self._url = url
        self._engine = engine
        self._schema = SCHEMA if url.path is None else None

    def metadata(self, *, with_version: bool = False) -> MetaData:
        """Return metadata with this library's tables, which have no schema on SQLite.

        Args:
            with_version: Whether to include the table that contains the revision.
        """
        from ..models import METADATA

        metadata, schema = MetaData(naming_convention=METADATA.naming_convention), self._schema
        # A function, because None as a schema would keep that of foreign keys.
        more: Any = {"schema": schema, "referred_schema_fn": lambda *_: schema or BLANK_SCHEMA}
        for table in [*METADATA.tables.values(), *[_VERSION] * with_version]:
            table.to_metadata(metadata, **more)
        return metadata

    # --- the state ---------------------------------------------------------------------------

    def state(self) -> SchemaState:
        """Return the state of the tables, without creating anything, not even a file."""
        with typed_errors(self._url):
            if self._url.path is not None and not self._has_file(self._url.path):
                return SchemaState("empty")
            with for_work(self._engine, "reading").begin() as connection:
                return self._examine(connection)

    def _has_file(self, path: Path) -> bool:
        """Return whether the SQLite file exists.

        Raises:
            DatabaseError: The file is missing or empty, but SQLite's log of its last changes
                exists, and would be lost with a new file.
            StorageError: The path is something other than a file.
        """
        check_files(path)
        file, log = _DISK.stat(path), _DISK.stat(f"{path}-wal")
        if (file is None or not file.size) and log is not None and log.size:
            raise DatabaseError(
                f"database {self._url} is missing or empty, but {path.name}-wal with its last "
                "changes is still there",
                hint="restore the database file or a backup, or move the -wal file away",
            )
        return file is not None

    def _examine(self, connection: Connection) -> SchemaState:
        tables, known = inspect(connection), revisions()
        # Read without Alembic, whose import would slow down the first unit of every process.
        if tables.has_table(VERSION_TABLE, self._schema) and (
            recorded := connection.scalars(select(_VERSION.c.version_num)).all()
        ):
            revision = ", ".join(map(str, recorded))
            if revision == known[-1]:
                return SchemaState("own", revision)
            return SchemaState("older" if revision in known else "newer", revision)
        names = {*tables.get_table_names(), *tables.get_table_names(self._schema)}
        others = tuple(sorted(names - {VERSION_TABLE}))
        if others and {table.name for table in self.metadata().tables.values()} <= names:
            return SchemaState("own", known[-1])  # a program's own Alembic made the tables
        return SchemaState("foreign" if others else "empty", "", others)

    def refusal(self, state: SchemaState, action: Action = "use") -> SchemaError | None:
        """Return the error that an action raises for tables in this state, or None.

        Args:
            state: State of the tables.
            action: ``use`` (the first unit of work), ``init`` or ``upgrade``.
        """
        match state.name, action:
            case "newer", _:
                problem = (
                    f"was created by a newer version of this library (revision {state.revision}; "
                    f"this version reads up to {revisions()[-1]})"
                )
                hint = "install the newer version, or restore a backup"
            case "foreign", "use":
                problem = f"contains tables from other programs: {', '.join(state.others[:3])}"
                hint = "name another database, or add our tables to this one with onetape db init"
            case (("empty" | "foreign"), "upgrade"):
                problem, hint = "has no tables of this library", "run onetape db init"
            case "older", ("use" | "init") if self._url.path is None:
                problem = f"has the tables of the older revision {state.revision}"
                hint = "make a backup, then run onetape db upgrade"
            case _:
                return None
        return SchemaError(f"database {self._url} {problem}", hint=hint)

    # --- changes -----------------------------------------------------------------------------

    def prepare(self) -> None:
        """Create or upgrade the tables if necessary; called on first use of a database.

        Raises:
            SchemaError: The tables belong to other programs or to a newer version, or they are from
                an older version and the database is PostgreSQL.
        """
        self._change("use")

    def init(self) -> bool:
        """Create the tables, even next to other programs' tables; return False if they already exist.

        Raises:
            SchemaError: The tables belong to a newer version, or they are from an older version and
                the database is PostgreSQL.
        """
        return self._change("init")

    def upgrade(self) -> bool:
        """Upgrade the tables to this version; return False if they already have it.

        If the database is a file, a backup is made next to it.

        Raises:
            SchemaError: The tables are newer than this version, or none of them are this library's.
        """
        return self._change("upgrade")

    def _change(self, action: Action) -> bool:
        """Create or upgrade the tables in one transaction; return False if it has already been done."""
        if self._checked(self.state(), action) == "own":
            return False
        with typed_errors(self._url):
            path = self._url.path
            if path is not None and not self._has_file(path):
                if self._url.source == "user data folder":
                    _DISK.make_folders(path.parent)
                make_empty(_DISK, path, with_log=True)
                if _DISK.stat(path) is None:  # the file system has no links
                    _DISK.close(_DISK.create(path))
            with for_work(self._engine, "migrating").begin() as connection:
                if self._schema is not None:
                    connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
                    connection.execute(CreateSchema(self._schema, if_not_exists=True))
                state = self._examine(connection)
                if self._checked(state, action) == "own":
                    return False  # another process was faster
                if state.name == "older" and path is not None:
                    self.backup()
                self._run(connection, "upgrade", "head")
        return True

    def _checked(self, state: SchemaState, action: Action) -> StateName:
        """Return the name of a state; raise the error if it forbids the action."""
        if error := self.refusal(state, action):
            raise error
        return state.name

    def _run(self, connection: Connection, command: str, *arguments: str) -> None:
        """Run an Alembic command in the transaction of ``connection``."""
        import alembic.command
        from alembic.config import Config

        attributes = {
            "connection": connection,
            "metadata": self.metadata(),
            "version_table": VERSION_TABLE,
            "schema": self._schema,
        }
        config = Config(stdout=StringIO(), attributes=attributes)
        # Percent signs are doubled, because in a configuration file they mark references.
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        with _alembic:
            getattr(alembic.command, command)(config, *arguments)

    def drop_all_tables(self) -> None:
        """Drop only this library's tables and their contents; requires ``ALLOW_DROP_TABLES=1``.

        Raises:
            SchemaError: The variable is not 1, or a newer version created the tables.
        """
        if variable_of("ALLOW_DROP_TABLES", None) != "1":
            raise SchemaError(
                f"dropping the tables of {self._url} is not enabled",
                hint="set ALLOW_DROP_TABLES=1 to enable it",
            )
        if self._checked(self.state(), "init") in ("empty", "foreign"):
            return
        with typed_errors(self._url), for_work(self._engine, "migrating").begin() as connection:
            self.metadata(with_version=True).drop_all(connection)

    # --- copies and checks -------------------------------------------------------------------

    def backup(self, target: Path | None = None) -> Path:
        """Copy the file to ``target``, or to a new file next to it; return the copy's path.

        Raises:
            DatabaseError: The file does not exist, ``target`` exists or cannot be written, or the
                database is PostgreSQL.
        """
        path, database = self._url.path, f"database {self._url}"
        if path is None:
            raise DatabaseError(
                f"cannot back up {self._url}: it is a database server",
                hint=f"use pg_dump --schema={SCHEMA}",
            )
        if not (revision := self.state().revision):
            raise DatabaseError(f"{database} has no tables of this library")
        moment = f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
        copy = target or path.with_name(f"{path.name}.{revision}-{moment}.bak")
        if copy.exists():
            raise DatabaseError(f"{copy} already exists", hint="name a new file")
        with typed_errors(self._url), for_work(self._engine, "reading").connect() as connection:
            driver: Any = connection.connection.driver_connection
            try:
                copy_whole(driver, _DISK, copy)
            except StorageError as error:
                message = f"{database} cannot be backed up: {error.args[0]}"
                raise DatabaseError(message, hint=error.hint) from error
        _log.info("%s: backup in %s", self._url, copy)
        return copy

    def differences(self) -> list[str]:
        """Return the faults in the tables: damage, orphaned rows, and differences from the models."""
        from alembic.autogenerate import compare_metadata
        from alembic.migration import MigrationContext

        if (name := self.state().name) != "own":
            return [f"the tables are not those of this version, but {name}"]
        options = {
            "version_table": VERSION_TABLE,
            "version_table_schema": self._schema,
            "include_schemas": True,
            "include_name": lambda name, type_, _: type_ != "schema" or name == self._schema,
            # Tables of other programs are not compared.
            "include_object": lambda _, __, type_, is_read, own: (
                type_ != "table" or not is_read or own is not None
            ),
        }
        with typed_errors(self._url), for_work(self._engine, "reading").begin() as connection:
            wrong = [] if self._url.path is None else _faults(connection)
            context = MigrationContext.configure(connection, opts=options)
            with _alembic:
                return [*wrong, *map(_describe, compare_metadata(context, self.metadata()))]


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
