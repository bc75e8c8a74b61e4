"""The index of a catalog: an SQLite file that is built from ``catalog.jsonl`` and the bundles.

It contains nothing that cannot be derived from these. A faulty index is rebuilt; if it cannot be
written, the process keeps an index in memory. Any SQLite program may read the file.
"""

from __future__ import annotations

import errno
import logging
import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from ..disk.derived import DerivedFile, is_unusable, transact
from ..disk.files import Disk, FileState, errno_of
from ..errors import BundleError, StorageError
from ..forks import renew_after_fork
from .catalog_bundles import BundleSource
from .catalog_lines import LineSource
from .catalog_rows import INDEX_TABLES
from .catalog_tables import APPLICATION_ID, check_owner, header_of, make

__all__ = ["CatalogIndex"]

_log = logging.getLogger(__name__)
T = TypeVar("T")

_LOCK_TIMEOUT_S = 30.0
_NOT_WRITABLE_ERRNOS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
_NOT_WRITABLE_CODES = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN)
# Errors of a damaged file, which may also contain names that are not valid text.
_DAMAGE_ERRORS = (sqlite3.Error, UnicodeError)
# Enough memory to apply many lines at once.
_LARGE_CACHE = "PRAGMA cache_size = -65536"


class _MakeAnew(Exception):  # noqa: N818 - not an error of a call
    """Raised if the index must be rebuilt, because it was built from a different log."""


class _Moment(NamedTuple):
    """The inode of the index file and the states of its sources, compared to notice changes."""

    inode: int | None
    log: FileState | None
    changes: FileState | None
    folder: FileState | None


_NO_MOMENT = _Moment(None, None, None, None)


class CatalogIndex:
    """The SQLite index of a bundles folder, or of one bundle in it.

    Thread-safe; several processes may use the same index.

    Args:
        path: Path of the SQLite file, or None to keep the index in memory.
        lines: Lines of the catalog log.
        bundles: Bundles of the folder.
        disk: File system.

    Attributes:
        is_new: Whether the file was opened or rebuilt since this was last set to False.
    """

    def __init__(
        self,
        path: Path | None,
        lines: LineSource,
        bundles: BundleSource,
        disk: Disk,
    ) -> None:
        self._lines, self._bundles, self._disk = lines, bundles, disk
        self._file = DerivedFile(
            path,
            disk,
            partial(make, more=INDEX_TABLES),
            lambda application, version: check_owner(application, version, str(self._file.path)),
            lock="" if path is None else f".{path.name}.lock",
            lock_s=_LOCK_TIMEOUT_S,
        )
        self._paths = [str(path) for path in (lines.path, *bundles.paths)]
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._seen, self.is_new = _NO_MOMENT, False
        renew_after_fork(self)

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return the result of calling ``work`` on the up-to-date index.

        Raises:
            BundleError: The path of the index is a file of another program.
            FormatVersionError: A newer version of this library wrote the file, or a line of the
                log.
            LockTimeoutError: Another process was building the index and kept it locked for 30 s.
            StorageError: The log cannot be read, or the path of the index is not a regular file.
        """
        with self._lock:
            for is_last in (False, True):
                try:
                    return work(self._current_db())
                except _DAMAGE_ERRORS as exc:
                    self.close()
                    if is_last:
                        raise StorageError(f"{self._file.path} cannot be used: {exc}") from exc
                    if getattr(exc, "sqlite_errorcode", 0) & 0xFF in _NOT_WRITABLE_CODES:
                        self._keep_in_memory(exc)
                    # Also if another program keeps the file locked; that program then has the old
                    # file.
                    self._file.is_damaged = True
        raise AssertionError("not reached")

    def write(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Call ``work`` to change rows in one transaction; raises the errors of :meth:`read`."""

        def change(db: sqlite3.Connection) -> None:
            """Call ``work``, unless another process has just replaced the index file."""
            with self._file.alone():
                if self._moment().inode == self._seen.inode:  # otherwise just recreated
                    transact(db, lambda: work(db))

        self.read(change)

    def doubt(self) -> None:
        """Make the next call rebuild the index, because one of its rows has proved wrong."""
        with self._lock:
            self.close()
            self._file.is_damaged = True

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        with self._lock:
            if self._db is not None:
                self._db.close()
            self._db = None

    def __del__(self) -> None:
        self.close()

    def after_fork(self) -> None:
        """Make a forked child reopen the file, since it must not use or close the connection."""
        self._lock, self._db, self._inherited = threading.RLock(), None, self._db

    # --- updates ---------------------------------------------------------------------------

    def _current_db(self) -> sqlite3.Connection:
        now = self._moment()
        if self._db is None or now != self._seen:
            try:
                self._update(now)
            except StorageError as exc:
                if self._file.path is None or errno_of(exc) not in _NOT_WRITABLE_ERRNOS:
                    raise
                self._keep_in_memory(exc)
                self._update(now)
        assert self._db is not None
        return self._db

    def _moment(self) -> _Moment:
        path = self._file.path
        index = None if path is None else self._disk.stat(path)
        inode = index.inode if index else None
        return _Moment(inode, *(self._disk.stat(path) for path in self._paths))

    def _keep_in_memory(self, exc: Exception) -> None:
        path = self._file.path
        _log.warning("%s cannot be written (%s): the index is kept in memory", path, exc)
        self.close()
        self._file.keep_in_memory()

    def _update(self, now: _Moment) -> None:
        """Open the index and apply the changes in its sources; rebuild it if necessary."""
        path = self._file.path
        if path is not None:
            self._disk.make_folders(path.parent)
            self._bundles.note_changes()
        with self._file.alone():
            db = self._open_index(now)
            if db is None or not self._is_applied(db):
                self._rebuild()
        # The state before the read is kept, so that the next call reads changes made meanwhile.
        self._seen = now._replace(inode=None if path is None else self._moment().inode)

    def _open_index(self, now: _Moment) -> sqlite3.Connection | None:
        """Return the connection to the index, or None if the index must be rebuilt."""
        is_same = self._file.path is None or now.inode == self._seen.inode
        if self._db is not None and is_same and not self._file.is_damaged:
            return self._db
        self.close()
        self._db = self._file.opened()
        if self._db is not None:
            self._bundles.restart()
            self.is_new = True
            self._db.execute(_LARGE_CACHE)
        return self._db

    def _is_applied(self, db: sqlite3.Connection) -> bool:
        """Apply the changes in the sources; return False if the index must be rebuilt instead."""
        try:
            self._apply(db)
        except _MakeAnew:
            return False
        except sqlite3.DatabaseError as exc:
            if not is_unusable(exc):
                raise
            return False
        return True

    def _rebuild(self) -> None:
        """Build the index from its sources, and replace the file."""
        self._check_replaceable()
        self.close()
        self._bundles.restart()
        self._db, self.is_new = self._file.remade(self._apply), True
        self._db.execute(_LARGE_CACHE)

    def _check_replaceable(self) -> None:
        """Raise an error if the file belongs to another program; a damaged file may be replaced."""
        path, data = self._file.path, self._file.head()
        is_database, application, version = header_of(data)
        if is_database and len(data) >= 100:
            check_owner(application, version, str(path))
        elif data and application != APPLICATION_ID:
            raise BundleError(f"{path} is not an onetape database", hint="name another file")

    def _apply(self, db: sqlite3.Connection) -> None:
        def work() -> None:
            """Read new log lines and changed bundles, and rewrite the rows of all bundles concerned."""
            bundles = self._lines.apply(db)
            if bundles is None:
                raise _MakeAnew
            for name in sorted(bundles | self._bundles.apply(db)):
                self._bundles.describe(db, name)

        transact(db, work)
