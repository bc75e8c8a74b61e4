"""An SQLite file that is derived from other files: opened, or rebuilt if it cannot be used.

Such a file is never authoritative. A damaged or outdated file is replaced; a file from another
program or from a newer version is not.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .atomic import or_discarded, stage
from .database import check_files, connect, connect_existing, connect_read_only, is_damage
from .files import Disk

if TYPE_CHECKING:
    import sqlite3

__all__ = ["DerivedFile", "is_unusable", "mark_of", "transact"]

T = TypeVar("T")
# Seconds to wait for the locks of SQLite, which other programs may hold.
BUSY_S = 2.0
_SIBLINGS = ("-journal", "-wal", "-shm")


class DerivedFile:
    """An SQLite file that can be rebuilt from other data.

    Connections belong to the callers; this class does not keep any. Writers must hold
    :meth:`alone`.

    Args:
        path: Path of the file.
        disk: File system.
        make: Function that creates the tables in an empty database, and records its
            ``application_id`` and ``user_version``.
        check: Function that takes the ``application_id`` and ``user_version`` of a file, and returns
            whether they are current; raises an error if the file must not be replaced.
        lock: Path of the file that writers lock.

    Attributes:
        path: Path of the file.
        is_damaged: Whether the file must be rebuilt even though it can be opened.
    """

    def __init__(
        self,
        path: Path,
        disk: Disk,
        make: Callable[[sqlite3.Connection], object],
        check: Callable[[int, int], bool],
        *,
        lock: str,
    ) -> None:
        self.path, self._disk, self._make, self._check = path, disk, make, check
        self._lock = lock
        self.is_damaged = False

    def alone(self) -> AbstractContextManager[None]:
        """Return a lock that keeps other processes from writing to the file or replacing it."""
        return self._disk.lock(self.path.with_name(self._lock), BUSY_S)

    def opened(self, *, read_only: bool = False) -> sqlite3.Connection | None:
        """Return a connection, or None if the file does not exist or must be rebuilt.

        Raises:
            sqlite3.Error: The file cannot be opened now.
            StorageError: The path is not a regular file, or leads out of the disk's root.
            DataError: The file must not be replaced, see ``check``.
        """
        import sqlite3

        if self.is_damaged and not read_only:
            return None
        self._disk.check_inside(self.path)
        check_files(self.path)
        state = self._disk.stat(self.path)
        if state is None or not state.size:
            return None
        db = (connect_read_only if read_only else connect_existing)(self.path, BUSY_S)
        is_current = False
        try:
            is_current = self._check(*mark_of(db))
            if not read_only:
                db.execute("PRAGMA synchronous = OFF")
        except (sqlite3.Error, UnicodeError) as exc:
            if not isinstance(exc, UnicodeError) and not is_damage(exc):
                raise
        finally:
            if not is_current:
                db.close()
        return db if is_current else None

    def remade(self) -> sqlite3.Connection:
        """Build the database in a temporary file, replace the file atomically, and return a connection.

        Raises:
            sqlite3.Error: The file cannot be opened.
            StorageError: The file cannot be written, or the path is not a regular file.
        """
        check_files(self.path)
        for suffix in _SIBLINGS:  # belong to the removed file
            self._disk.remove(self.path.with_name(self.path.name + suffix))
        temp = stage(self._disk, self.path, b"", durable=False)
        with or_discarded(self._disk, temp):
            with closing(connect(temp, BUSY_S, "OFF")) as db:
                self._make(db)
            self._disk.replace(temp, self.path)
        self.is_damaged = False
        db = connect_existing(self.path, BUSY_S)
        db.execute("PRAGMA synchronous = OFF")
        return db


def is_unusable(exc: Exception) -> bool:
    """Return whether an error means that a file is damaged or lacks tables of this version."""
    import sqlite3

    code = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return is_damage(exc) or code == sqlite3.SQLITE_ERROR


def transact(db: sqlite3.Connection, work: Callable[[], T]) -> T:
    """Return the result of ``work`` in one transaction, which is rolled back if it raises an error."""
    db.execute("BEGIN IMMEDIATE")
    try:
        result = work()
        db.execute("COMMIT")
        return result
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def mark_of(db: sqlite3.Connection) -> tuple[int, int]:
    """Return the ``application_id`` and ``user_version`` of a database."""
    names = "application_id", "user_version"
    application, version = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
    return int(application), int(version)
