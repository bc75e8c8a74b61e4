"""What the system refuses, in words."""

from __future__ import annotations

import errno
from pathlib import Path

from ..errors import StorageError

_ADVICE = {
    errno.ENOSPC: "free some space on that disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "check the permissions of the cache folder",
    errno.EPERM: "check the permissions of the cache folder",
    errno.EROFS: "the cache lies on a read-only file system",
    errno.EMFILE: "too many files are open in this process; raise `ulimit -n`",
    errno.EIO: "the disk reports errors; look at the system log",
}


def refused(what: str, path: Path, error: OSError) -> StorageError:
    """Return the error that says what failed on which file, and what to do."""
    return StorageError(
        f"cannot {what} {short(path)}: {error.strerror or error}",
        hint=_ADVICE.get(error.errno or 0),
    )


def short(path: Path) -> str:
    """Return the end of a path that names the series and the file, for messages."""
    return Path(*path.parts[-3:]).as_posix()


def errno_of(error: StorageError) -> int | None:
    """Return the system's error number behind ``error``."""
    return error.__cause__.errno if isinstance(error.__cause__, OSError) else None
