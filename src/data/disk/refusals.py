"""What the system refuses, in words."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ..errors import StorageError

_ADVICE = {
    errno.ENOSPC: "free some space on that disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "check the permissions of the cache folder",
    errno.EPERM: "check the permissions of the cache folder",
    errno.EROFS: "the cache lies on a read-only file system",
    errno.EMFILE: "too many files are open in this process; raise `ulimit -n`",
    errno.ELOOP: "put the file or folder itself there: nothing in the cache may lead out of it",
    errno.ENXIO: "remove what lies there: it is a folder, a pipe or a device",
    errno.EISDIR: "remove the folder that lies there",
    errno.EFBIG: "remove it: it is none of ours, or its file system is damaged",
    errno.EIO: "the disk reports errors; look at the system log",
}


def refused(what: str, path: Path, error: OSError) -> StorageError:
    """Return the error that says what failed on which file, and what to do."""
    return StorageError(
        f"cannot {what} {short(path)}: {_words(error)}",
        hint=_ADVICE.get(error.errno or 0),
    )


def _words(error: OSError) -> str:
    if error.errno == errno.ELOOP and error.strerror == os.strerror(errno.ELOOP):
        return "it is a link"
    return error.strerror or str(error)


def short(path: Path) -> str:
    """Return the end of a path that names the series and the file, for messages."""
    return Path(*path.parts[-3:]).as_posix()


def errno_of(error: StorageError) -> int | None:
    """Return the system's error number behind ``error``."""
    return error.__cause__.errno if isinstance(error.__cause__, OSError) else None
