"""The system calls that this library makes, with the same behaviour on every operating system.

Files are opened only through :func:`open_file`, which never blocks and never follows a link.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from ...errors import StorageError
from ..runtime.compute_slots import waiting_with_locks

T = TypeVar("T")
# Assumed if the number of files that a process may have open is unknown.
_MOST_OPEN = 1024
# This library's files are never longer; a longer one is not read into memory.
MOST_BYTES = 1 << 28
# Flags so that opening never blocks (as it would for a pipe), and so that a link is an error.
_AT_ONCE = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


class FileState(NamedTuple):
    """The attributes that distinguish one version of a file from another."""

    inode: int
    size: int
    mtime_ns: int


class Space(NamedTuple):
    """Free space available to this user, and total space, on a folder's disk, in bytes."""

    free: int
    total: int


def or_none(call: Callable[..., T], *args: object) -> T | None:
    """Return the result of ``call``, or None if the file does not exist."""
    try:
        return call(*args)
    except (FileNotFoundError, NotADirectoryError):
        return None


def is_file(path: Path) -> bool:
    """Return whether ``path`` is a file; raises ``OSError`` if this user may not search its folder.

    For such a folder, ``Path.is_file`` returns False since Python 3.14.
    """
    return (facts := or_none(path.stat)) is not None and stat.S_ISREG(facts.st_mode)


def state_of(facts: os.stat_result) -> FileState:
    """Return the attributes that distinguish this version of a file from another."""
    # Without a call in Python, because every answer from the cache comes through here.
    return tuple.__new__(FileState, (facts.st_ino, facts.st_size, facts.st_mtime_ns))


def state_at(path: Path | str) -> FileState | None:
    """Return the state of ``path``, or None if it does not exist."""
    try:
        facts = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    # The same as `state_of`, inlined because every answer from the cache comes through here.
    return tuple.__new__(FileState, (facts.st_ino, facts.st_size, facts.st_mtime_ns))


def mode_of(path: str) -> int:
    """Return the mode of ``path`` without following a link; 0 if it does not exist or is inaccessible."""
    try:
        return os.lstat(path).st_mode
    except (OSError, ValueError):  # ValueError: the name is impossible
        return 0


def what_bars(path: str) -> str:
    """Return the type of a path that is not a regular file, such as ``a folder``; otherwise empty."""
    mode = mode_of(path)
    if not mode or stat.S_ISREG(mode):
        return ""
    file_types = {stat.S_IFDIR: "a folder", stat.S_IFLNK: "a link", stat.S_IFIFO: "a pipe"}
    return file_types.get(stat.S_IFMT(mode), "a socket or a device")


def open_file(path: Path | str, flags: int, mode: int = 0o666, *, follow: bool = False) -> int:
    """Open a regular file without blocking.

    Args:
        path: Path of the file.
        flags: ``O_RDONLY`` or ``O_RDWR``, with ``O_CREAT`` and ``O_EXCL`` for a new one.
        mode: Permissions of a new file.
        follow: Whether ``path`` may be a link, for files that the user has named.

    Raises:
        OSError: The file does not exist, or is a link, a folder, a pipe or a device.
    """
    return opened(path, flags | (0 if follow else _NO_LINK), mode)[0]


def opened(path: Path | str, flags: int, mode: int) -> tuple[int, os.stat_result]:
    """Open a regular file; return its descriptor and its attributes."""
    try:
        fd = os.open(path, flags | _AT_ONCE, mode)
    except OSError as exc:
        if exc.errno == errno.ENXIO:  # a pipe or a socket
            raise OSError(errno.ENXIO, "it is not a regular file") from exc
        raise
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(errno.ENXIO, "it is not a regular file")
    except BaseException:
        os.close(fd)
        raise
    return fd, facts


def check_folders(path: str, root: str) -> None:
    """Reject a path below ``root`` if one of its folders is a link, which could lead out of it.

    Raises:
        OSError: A folder on the path is a link.
    """
    end = path.find(os.sep, len(root) + 1)
    while end != -1:
        try:
            is_link = stat.S_ISLNK(os.lstat(path[:end]).st_mode)
        except (
            OSError,
            ValueError,
        ):  # nothing exists below it either; ValueError: an impossible name
            return
        if is_link:
            raise OSError(errno.ELOOP, f"the folder {os.path.basename(path[:end])} is a link")
        end = path.find(os.sep, end + 1)


def content_of(path: Path | str, flags: int) -> tuple[bytes, FileState] | None:
    """Return the whole file and its state, or None if it does not exist."""
    try:
        fd, facts = opened(path, flags | _NO_LINK, 0)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        state, size = state_of(facts), facts.st_size
        check_size(size)
        content = pread(fd, size, 0)
        while content and len(content) < size:  # some systems return less than there is
            more = pread(fd, size - len(content), len(content))
            if not more:
                break
            content += more
        return content, state
    finally:
        os.close(fd)


def check_size(size: int) -> None:
    """Reject a file larger than any cache file can be, such as a huge sparse file.

    Raises:
        OSError: The file is too large.
    """
    if size > MOST_BYTES:
        raise OSError(errno.EFBIG, f"it has {size:,} bytes, more than any cache file")


def space_of(folder: Path) -> Space:
    """Return the free and total space on the disk of an existing folder."""
    if hasattr(os, "statvfs"):  # Windows has none
        facts = os.statvfs(folder)
        return Space(facts.f_bavail * facts.f_frsize, facts.f_blocks * facts.f_frsize)
    usage = shutil.disk_usage(folder)
    return Space(usage.free, usage.total)


def most_open() -> int:
    """Return the maximum number of files that this process may have open."""
    try:
        most = os.sysconf("SC_OPEN_MAX")
    except (AttributeError, OSError, ValueError):
        return _MOST_OPEN  # Windows has no such setting
    return most if most > 0 else _MOST_OPEN


def remove_whole(path: Path) -> None:
    """Remove a file, or a folder with everything in it, without following links."""
    try:
        os.unlink(path)
    except (IsADirectoryError, PermissionError):
        if not stat.S_ISDIR(mode_of(os.fspath(path))):
            raise
        shutil.rmtree(path)


def make_folder(path: Path, mode: int) -> None:
    """Create a folder; an existing one is not an error."""
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        # If another process has created the folder in the meantime, that is fine; a file with that name
        # is not.
        if not path.is_dir():
            raise


def full_sync(fd: int, sync: Callable[[int], None]) -> None:
    """Sync to the physical medium; on macOS ``fsync`` would sync only to the drive's cache."""
    with waiting_with_locks("the disk"):
        if sys.platform == "darwin":
            import fcntl

            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        else:
            sync(fd)


def sync_folder(folder: Path) -> None:
    """Make a folder's directory entries durable."""
    if os.name == "nt":  # folders cannot be opened there, and names need no sync
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK)
    try:
        full_sync(fd, os.fsync)
    finally:
        os.close(fd)


def _pread(fd: int, count: int, offset: int) -> bytes:
    """Return up to ``count`` bytes from ``offset``."""
    os.lseek(fd, offset, os.SEEK_SET)
    return os.read(fd, count)


pread: Callable[[int, int, int], bytes] = getattr(os, "pread", _pread)  # Windows has none


def pwrite(fd: int, data: memoryview, offset: int) -> int:
    """Write at least a part of ``data`` at ``offset``; return the number of bytes written."""
    if hasattr(os, "pwrite"):
        return os.pwrite(fd, data, offset)
    os.lseek(fd, offset, os.SEEK_SET)
    return os.write(fd, data)


# --- refusals ----------------------------------------------------------------------------

_ADVICE = {
    errno.ENOSPC: "free some space on that disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "check the permissions of the cache folder",
    errno.EPERM: "check the permissions of the cache folder",
    errno.EROFS: "the cache is on a read-only file system",
    errno.EMFILE: "too many files are open in this process; raise `ulimit -n`",
    errno.ELOOP: (
        "replace the link with the file or folder itself, because nothing in the cache may lead out "
        "of it"
    ),
    errno.ENXIO: "it is a folder, a pipe or a device; move it out of the cache",
    errno.EISDIR: "remove the folder with that name",
    errno.EFBIG: "remove it: it is not a cache file, or its file system is damaged",
    errno.EIO: "the disk reports errors; check the system log",
}


def refused(what: str, path: Path, error: OSError) -> StorageError:
    """Return an error that names the failed operation and the file, with a hint."""
    hint = _ADVICE.get(error.errno or 0)
    if error.errno == errno.EFBIG and what in ("write", "truncate"):
        hint = "raise the limit of this process for files (`ulimit -f`), or use another file system"
    return StorageError(f"cannot {what} {short(path)}: {_error_text(error)}", hint=hint)


def _error_text(error: OSError) -> str:
    if error.errno == errno.ELOOP and error.strerror == os.strerror(errno.ELOOP):
        return "it is a link"
    return error.strerror or str(error)


def short(path: Path) -> str:
    """Return the last three parts of a path, which name the series and the file, for messages."""
    return Path(*path.parts[-3:]).as_posix()


def errno_of(error: StorageError) -> int | None:
    """Return the operating system's error number that caused ``error``, or None if unknown."""
    return error.__cause__.errno if isinstance(error.__cause__, OSError) else None


# After these errors nothing more can be stored in any file.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def is_disk_done(error: Exception) -> bool:
    """Return whether an error means that nothing more can be stored: disk full or read-only."""
    return isinstance(error, StorageError) and errno_of(error) in _FULL
