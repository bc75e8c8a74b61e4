"""Files that SQLite keeps: opened, told apart from damaged, busy and newer ones, and nothing odd opened.

Nothing but SQLite may open such a file: closing a second descriptor would drop SQLite's locks.
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

from ..errors import FormatVersionError, StorageError
from .atomic import NO_LINKS, discard, or_discarded, stage
from .calls import mode_of
from .files import Disk, errno_of

if TYPE_CHECKING:
    import sqlite3  # otherwise imported with the first file, not by a hit in the cache


def check_places(path: Path) -> None:
    """Refuse what is not an ordinary file in the place of one: SQLite would wait for it, or follow.

    Raises:
        StorageError: a pipe, a link, a folder or a device lies there, or beside it where SQLite
            keeps its own files.
    """
    for suffix in ("", "-wal", "-shm", "-journal"):
        mode = mode_of(f"{path}{suffix}")
        if mode and not stat.S_ISREG(mode):
            raise StorageError(
                f"{path.name}{suffix} in {path.parent} is not an ordinary file",
                hint="remove it",
            )


def make_empty(disk: Disk, path: Path, *, with_log: bool = False) -> None:
    """Make the file, empty, where there is none: SQLite would leave its mode to the umask.

    It gets its name when it is closed, for by then nothing can hold a lock on it. SQLite's own
    files beside it take their modes from it.

    Args:
        disk, path: where.
        with_log: whether its changes are logged beside it, so that readers and a writer do not wait for
            each other; later several processes would have to agree on that.

    Raises:
        StorageError: it cannot be made.
    """
    if disk.stat(path) is not None:
        return
    empty = stage(disk, path, b"", durable=False)
    try:
        if with_log:
            _keep_log(empty)
        disk.link(empty, path)
    except StorageError as exc:
        # Another process was faster, or there are no links: such file systems have no modes either.
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
    """Open a file, or ``:memory:``; transactions begin and end only where the caller says so.

    Args:
        path: of the file.
        wait_s: how long to wait for another process that writes.
        synchronous: what a power loss may do: take back the last second; or tear the file.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    import sqlite3

    db = sqlite3.connect(path, timeout=wait_s, isolation_level=None, check_same_thread=False)
    try:
        db.execute(f"PRAGMA synchronous = {synchronous}")
    except BaseException:
        db.close()
        raise
    return db


def connect_read_only(path: Path, wait_s: float) -> sqlite3.Connection:
    """Open a file to read it alone: it is not made, and not changed; raises as :func:`connect`."""
    import sqlite3

    return sqlite3.connect(_uri(path, "ro"), timeout=wait_s, uri=True)


def connect_existing(path: Path, wait_s: float) -> sqlite3.Connection:
    """Open a file as :func:`connect` does, but make none where it is gone; raises as that does."""
    import sqlite3

    return sqlite3.connect(
        _uri(path, "rw"), timeout=wait_s, uri=True, isolation_level=None, check_same_thread=False
    )


def _uri(path: Path, mode: str) -> str:
    return f"file:{quote(os.path.abspath(path).replace(os.sep, '/'))}?mode={mode}"


def copy_whole(db: sqlite3.Connection, disk: Disk, target: Path) -> None:
    """Write what a database holds at this moment to a new file, which appears whole or not at all.

    Raises:
        StorageError: there is a file of that name already, the database cannot be read, or the copy not be
            written.
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
    """Tell whether a file has the tables of this version; those of an older one, or none, are not it.

    Raises:
        FormatVersionError: a newer version of this library wrote the file, whose name is ``name``.
    """
    recorded = int(db.execute("PRAGMA user_version").fetchone()[0])
    if recorded > version:
        raise FormatVersionError(f"{name} was written by a newer version of this library")
    return recorded == version


def make_tables(db: sqlite3.Connection, statements: Iterable[str], version: int) -> None:
    """Make tables and record their version, in the transaction of the caller."""
    for statement in statements:
        db.execute(statement)
    db.execute(f"PRAGMA user_version = {version}")


def is_damage(exc: Exception) -> bool:
    """Tell whether an error says that the file is torn, or no database."""
    import sqlite3

    return _code(exc) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT)


def is_busy(exc: Exception) -> bool:
    """Tell whether an error says that another process holds the file."""
    import sqlite3

    return _code(exc) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _code(exc: Exception) -> int:
    # Extended codes hold the plain one in their lowest byte.
    return (getattr(exc, "sqlite_errorcode", None) or 0) & 0xFF
