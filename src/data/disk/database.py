"""Files that SQLite keeps: made with the permissions of this library's files, and nothing odd opened.

Nothing but SQLite may open such a file: closing a second descriptor would drop SQLite's locks.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from urllib.parse import quote

from ..errors import StorageError
from .atomic import NO_LINKS, discard, stage
from .calls import mode_of
from .files import Disk, errno_of


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


def make_empty(disk: Disk, path: Path) -> None:
    """Make the file, empty, where there is none: SQLite would leave its mode to the umask.

    It gets its name when it is closed, for by then nothing can hold a lock on it. SQLite's own
    files beside it take their modes from it.

    Raises:
        StorageError: it cannot be made.
    """
    if disk.stat(path) is not None:
        return
    empty = stage(disk, path, b"", durable=False)
    try:
        disk.link(empty, path)
    except StorageError as exc:
        # Another process was faster, or there are no links: such file systems have no modes either.
        if errno_of(exc) not in (errno.EEXIST, *NO_LINKS):
            raise
    finally:
        discard(disk, empty)


def read_only_uri(path: Path) -> str:
    """Return what SQLite opens the file by to read it alone."""
    return f"file:{quote(os.path.abspath(path).replace(os.sep, '/'))}?mode=ro"
