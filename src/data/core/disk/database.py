"""Opens SQLite files safely, and recognizes files that are damaged, busy or from a newer version.

Only SQLite itself may open such a file, because closing a second descriptor would drop SQLite's
locks.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from ...errors import FormatVersionError, StorageError
from .atomic import NO_LINKS, discard, or_discarded, stage
from .calls import mode_of
from .files import Disk, errno_of

if TYPE_CHECKING:
    import sqlite3  # imported when a file is first opened, because cache hits do not need it


def check_files(path: Path) -> None:
    """Reject a path that should hold a regular file but is, for example, a folder or a device.

    SQLite would block on such a path, or follow it to another file.

    Raises:
        StorageError: The path, or one of the paths next to it where SQLite keeps its own files, is
            a pipe, a link, a folder or a device.
    """
    for suffix in ("", "-wal", "-shm", "-journal"):
        mode = mode_of(f"{path}{suffix}")
        if mode and not stat.S_ISREG(mode):
            raise StorageError(
                f"{path.name}{suffix} in {path.parent} is not a regular file",
                hint="remove it, or name another path",
            )


def make_empty(disk: Disk, path: Path, *, with_log: bool = False) -> None:
    """Create an empty database file with the right mode if it does not exist.

    On its own, SQLite would let the umask decide the mode. The files that SQLite creates next to
    this one get the same mode. The file gets its name only after it is closed, so that nothing can
    hold a lock on it.

    Args:
        disk, path: Location of the file.
        with_log: Whether to use a write-ahead log, so that readers and a writer do not wait for
            each other. This is decided here because processes would have to agree to change it
            later.

    Raises:
        StorageError: The file cannot be created.
    """
    if disk.stat(path) is not None:
        return
    empty = stage(disk, path, b"", durable=False)
    try:
        if with_log:
            _keep_log(empty)
        disk.link(empty, path)
    except StorageError as exc:
        # Another process was faster, or the file system has no links; such a file system has no
        # modes either.
        if errno_of(exc) not in (errno.EEXIST, *NO_LINKS):
            raise
    finally:
        discard(disk, empty)


def _keep_log(path: Path) -> None:
    import sqlite3

    try:
        with closing(connect(path, 0, "OFF")) as db:
            db.execute("PRAGMA journal_mode = WAL")
    except sqlite3.Error as exc:
        raise StorageError(f"{path.name} cannot be written: {exc}") from exc


def connect(
    path: Path | str, wait_s: float, synchronous: Literal["OFF", "NORMAL"] = "NORMAL"
) -> sqlite3.Connection:
    """Open a file, or ``:memory:``; the caller begins and ends transactions explicitly.

    Args:
        path: Path of the file.
        wait_s: Seconds to wait for another process that is writing.
        synchronous: SQLite setting. After a power loss, ``NORMAL`` may lose the last second, and
            ``OFF`` may corrupt the file.

    Raises:
        sqlite3.Error: The file cannot be opened.
    """
    import sqlite3

    db = sqlite3.connect(path, timeout=wait_s, isolation_level=None, check_same_thread=False)
    try:
        db.execute(f"PRAGMA synchronous = {synchronous}")
    except BaseException:
        db.close()
        raise
    return db


def connect_read_only(
    path: Path, wait_s: float, *, without_locks: bool = False
) -> sqlite3.Connection:
    """Open a file read-only, without creating or changing it; raises the same errors as :func:`connect`.

    Args:
        path, wait_s: See :func:`connect`.
        without_locks: Whether to ignore other writers. In a folder that is not writable, SQLite can
            open a file with a write-ahead log only in this way.
    """
    import sqlite3

    mode = "ro&immutable=1" if without_locks else "ro"
    return sqlite3.connect(_uri(path, mode), timeout=wait_s, uri=True)


def connect_existing(path: Path, wait_s: float) -> sqlite3.Connection:
    """Open a file like :func:`connect`, but do not create it; raises the same errors."""
    import sqlite3

    return sqlite3.connect(
        _uri(path, "rw"), timeout=wait_s, uri=True, isolation_level=None, check_same_thread=False
    )


def _uri(path: Path, mode: str) -> str:
    return f"file:{quote(os.path.abspath(path).replace(os.sep, '/'))}?mode={mode}"


def copy_whole(db: sqlite3.Connection, disk: Disk, target: Path) -> None:
    """Write a database's current content to a new file, atomically.

    Raises:
        StorageError: A file with that name exists, the database cannot be read, or the copy cannot
            be written.
    """
    import sqlite3

    temp = stage(disk, target, b"", durable=False)
    with or_discarded(disk, temp):
        try:
            with closing(connect(temp, 0, "OFF")) as copy:
                db.backup(copy)
        except sqlite3.Error as exc:
            raise StorageError(f"{target.name} cannot be written: {exc}") from exc
        handle = disk.open_write(temp)
        try:
            disk.sync(handle)
        finally:
            disk.close(handle)
        try:
            disk.link(temp, target)
        except StorageError as exc:
            if errno_of(exc) not in NO_LINKS or disk.stat(target) is not None:
                raise
            disk.replace(temp, target)
    discard(disk, temp)
    disk.sync_folder(target.parent)


def is_of_version(db: sqlite3.Connection, version: int, name: str) -> bool:
    """Return whether a file's tables are of this version; False if they are older or missing.

    Raises:
        FormatVersionError: A newer version of this library wrote the file, whose name is ``name``.
    """
    recorded = int(db.execute("PRAGMA user_version").fetchone()[0])
    if recorded > version:
        raise FormatVersionError(f"{name} was written by a newer version of this library")
    return recorded == version


def make_tables(db: sqlite3.Connection, statements: Iterable[str], version: int) -> None:
    """Create tables and record their version, within the caller's transaction."""
    for statement in statements:
        db.execute(statement)
    db.execute(f"PRAGMA user_version = {version}")


def is_damage(exc: Exception) -> bool:
    """Return whether an error means that the file is damaged or is not a database."""
    import sqlite3

    return _code(exc) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT)


def is_busy(exc: Exception) -> bool:
    """Return whether an error means that another process has locked the file."""
    import sqlite3

    return _code(exc) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _code(exc: Exception) -> int:
    # Extended error codes have the basic one in their lowest byte.
    return (getattr(exc, "sqlite_errorcode", None) or 0) & 0xFF
