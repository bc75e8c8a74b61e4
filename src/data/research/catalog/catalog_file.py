"""The SQLite file of a catalog: five documented tables, and those of bundles and of searches.

The file is the only record of what programs registered in it. One process writes at a time, and
readers do not wait for it (write-ahead log). A damaged file is set aside, and a new one is made.
"""

from __future__ import annotations

import errno
import sqlite3
import uuid
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from ...core.disk.database import (
    check_files,
    connect,
    connect_existing,
    connect_read_only,
    is_busy,
    is_damage,
    make_empty,
)
from ...core.disk.derived import mark_of, transact
from ...core.disk.files import Disk, errno_of
from ...core.model.words.caller import warn_user
from ...errors import LockTimeoutError, StorageError
from ..bundles.bundle_row import ROW, TABLE
from ..bundles.catalog_tables import CATALOG_ID, TABLES, check_owner, make

__all__ = ["CatalogFile", "remove"]

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
# Seconds to wait for another process that is writing.
BUSY_S = 30.0
# Runs whose reads are links, with the state of their records.
_RUNS = "CREATE TABLE IF NOT EXISTS catalog_runs (file TEXT PRIMARY KEY, state TEXT NOT NULL)"
# The options of the queries that datasets answer, as JSON; a dataset without a row has unknown ones.
_OPTIONS = "CREATE TABLE catalog_options (dataset_id TEXT PRIMARY KEY, options TEXT NOT NULL)"
_TABLES = (
    *TABLES,
    # Where the store has a lane.
    "CREATE TABLE catalog_lanes (dataset_id TEXT PRIMARY KEY, place TEXT NOT NULL)",
    # In this order, the best match comes first: the one with the fewest symbols, then the latest. The
    # resolution is followed by the options of the query, if they are known.
    """CREATE TABLE catalog_search (symbol TEXT, resolution TEXT, size INTEGER, newness INTEGER,
    dataset_id TEXT, start_date INTEGER, end_date INTEGER, source TEXT NOT NULL,
    PRIMARY KEY (symbol, resolution, size, newness, dataset_id, start_date, end_date))
    WITHOUT ROWID""",
    _RUNS,
    _OPTIONS,
    TABLE,
    "CREATE INDEX idx_bundle_metadata_dataset ON bundle_metadata(dataset_id)",
    """CREATE TABLE bundle_symbols (bundle_name TEXT NOT NULL, symbol_id INTEGER NOT NULL,
    symbol TEXT NOT NULL, asset_type TEXT, exchange TEXT, is_noted INTEGER NOT NULL,
    PRIMARY KEY (bundle_name, symbol))""",
)
_NOT_WRITABLE_ERRNOS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
_NOT_WRITABLE_CODES = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN)


class CatalogFile:
    """A catalog's SQLite file, which is opened for each call. Thread-safe, also between processes.

    If the file cannot be written, each reader gets a copy in memory, and a warning.

    Args:
        path: Path of the file; it and its folder are created at the first call.
        disk: File system.
    """

    def __init__(self, path: Path, disk: Disk | None = None) -> None:
        self.path, self._disk = path, disk or Disk()

    def read(self, work: Work[T]) -> T:
        """Return the result of ``work``, which gets a connection.

        Raises:
            BundleError: The file is a database of another program.
            FormatVersionError: A newer version of this library wrote the file.
            LockTimeoutError: Another process kept the file locked for 30 s.
            StorageError: The file cannot be read, or the path is not a regular file.

        Warns:
            UserWarning: The file was damaged, or cannot be written.
        """
        try:
            return self._call(work)
        except StorageError as exc:
            if not _is_not_writable(exc):
                raise
            warn_user(f"a copy of the catalog in memory is used: {exc}")
        with closing(connect(":memory:", BUSY_S)) as db:
            if self._inode() is None:
                _make(db)
            else:
                with closing(connect_read_only(self.path, BUSY_S, without_locks=True)) as file:
                    file.backup(db)
            return work(db)

    def write(self, work: Work[T]) -> T:
        """Return the result of ``work``, which changes rows in one transaction.

        The change is durable when this returns. Raises the errors of :meth:`read`, and
        ``StorageError`` if the file cannot be written.
        """
        return self._call(lambda db: transact(db, lambda: work(db)))

    def _call(self, work: Work[T]) -> T:
        for is_last in (False, True):
            inode = self._inode()
            try:
                with closing(self._opened()) as db:
                    return work(db)
            except (sqlite3.Error, UnicodeError, OverflowError) as exc:
                if is_busy(exc):
                    raise LockTimeoutError(
                        f"{self.path} was locked by another process for {BUSY_S:g} s"
                    ) from exc
                if is_last or not is_damage(exc):
                    raise StorageError(f"{self.path} cannot be used: {exc}") from exc
                self._set_aside(inode, str(exc))
        raise AssertionError("not reached")

    def _inode(self) -> int | None:
        state = self._disk.stat(self.path)
        return state.inode if state else None

    def _opened(self) -> sqlite3.Connection:
        check_files(self.path)
        if self._inode() is None:
            self._disk.make_folders(self.path.parent)
            make_empty(self._disk, self.path, with_log=True)
        db = connect_existing(self.path, BUSY_S)
        try:
            if not db.execute("SELECT 1 FROM sqlite_master").fetchone():
                transact(db, lambda: _make(db))
            application, version = mark_of(db)
            check_owner(application, version, str(self.path), CATALOG_ID)
            db.execute(_RUNS)
            columns = {row[1] for row in db.execute("PRAGMA table_info(bundle_metadata)")}
            if not db.execute("PRAGMA table_info(catalog_options)").fetchall():
                transact(db, lambda: _add_options(db))
            if added := ROW.keys() - columns:
                transact(db, lambda: _add_columns(db, added))
        except BaseException:
            db.close()
            raise
        return db

    def _set_aside(self, inode: int | None, reason: str) -> None:
        """Rename a damaged file, unless another process has just done so."""
        aside = self.path.with_name(f"{self.path.name}.damaged-{uuid.uuid4().hex[:8]}")
        with self._disk.lock(self.path.with_name(f".{self.path.name}.lock"), BUSY_S):
            if self._inode() != inode:
                return
            for suffix in ("-shm", "-wal", ""):
                if self._disk.stat(Path(f"{self.path}{suffix}")) is not None:
                    self._disk.replace(Path(f"{self.path}{suffix}"), Path(f"{aside}{suffix}"))
        warn_user(
            f"{self.path} cannot be used ({reason}): it is now {aside.name}, and what was "
            "registered in it is no longer in the catalog"
        )


def _make(db: sqlite3.Connection) -> None:
    """Create the tables, unless another process has just done so."""
    if not db.execute("SELECT 1 FROM sqlite_master").fetchone():
        make(db, _TABLES, CATALOG_ID)


def _add_options(db: sqlite3.Connection) -> None:
    """Add the table of options, unless another process has just done so, and mark all bundles as changed."""
    db.execute(_OPTIONS.replace("TABLE", "TABLE IF NOT EXISTS"))
    db.execute("UPDATE bundle_metadata SET state = ''")


def _add_columns(db: sqlite3.Connection, names: Iterable[str]) -> None:
    """Add the columns of fields that are new in this version, and mark all bundles as changed."""
    for name in names:
        db.execute(f"ALTER TABLE bundle_metadata ADD COLUMN {name} {ROW[name].sql}")
    db.execute("UPDATE bundle_metadata SET state = ''")


def remove(db: sqlite3.Connection, dataset_id: str) -> None:
    """Remove a dataset's rows; the links to it stay, in case the dataset comes back."""
    key = {"id": dataset_id}
    db.execute(
        "DELETE FROM catalog_search WHERE symbol IN (SELECT symbol FROM symbols WHERE dataset_id = :id) "
        "AND dataset_id = :id",
        key,
    )
    for table in ("symbols", "date_ranges", "checksums", "datasets", "catalog_options"):
        db.execute(f"DELETE FROM {table} WHERE dataset_id = :id", key)  # noqa: S608 - constant names


def _is_not_writable(exc: StorageError) -> bool:
    code = getattr(exc.__cause__, "sqlite_errorcode", 0) & 0xFF
    return code in _NOT_WRITABLE_CODES or errno_of(exc) in _NOT_WRITABLE_ERRNOS
