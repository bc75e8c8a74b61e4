"""A lock on an open file, which goes with the process that took it.

The system ties it to the open file, and a child inherits that by a fork: it would keep the lock
for as long as it lives, whatever becomes of its parent. So a child closes the lock files that it
inherits, before anything else runs in it.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from weakref import WeakSet

from .calls import open_file

# What is answered where the file system, or the system, knows no such locks.
NOT_THERE = (errno.ENOSYS, errno.ENOTSUP)
_held: WeakSet[FileLock] = WeakSet()
# Guards the set and the descriptors in it, also against a fork in between.
_guard = threading.RLock()


class FileLock:
    """A lock file that is open; :func:`take` returns it locked."""

    _fd: int | None = None

    def __init__(self, path: str, mode: int = 0o666) -> None:
        with _guard:
            self._fd = _opened(path, mode)
            _held.add(self)

    def __del__(self) -> None:
        if self._fd is not None:  # who took it was interrupted before he had it
            self.release()

    @property
    def is_locked(self) -> bool:
        """Whether it is still held, by this very process."""
        return self._fd is not None

    def try_to_lock(self) -> bool:
        """Lock the file if nobody else has, and tell whether that was done."""
        fd = self._fd
        # A file that has lost its name since it was opened guards nothing.
        return fd is not None and _lock(fd) and os.fstat(fd).st_nlink > 0

    def release(self) -> None:
        """Let go of it; nothing happens in a child that inherited it."""
        with _guard:
            fd, self._fd = self._fd, None
            if fd is not None:
                try:
                    _unlock(fd)
                finally:
                    os.close(fd)

    def drop_inherited(self) -> None:
        """Close the file in a child: the lock is its parent's."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def take(path: str, mode: int = 0o666) -> FileLock | None:
    """Return the lock on ``path``, or None where somebody else holds it.

    A new lock file gets ``mode``, before the umask.

    Raises:
        OSError: the file cannot be made or opened, or there are no such locks.
    """
    try:
        lock = FileLock(path, mode)
    except BlockingIOError:  # somebody has a lease on it, which is being broken
        return None
    is_ours = False
    try:
        is_ours = lock.try_to_lock()
    finally:
        if not is_ours:
            lock.release()
    return lock if is_ours else None


def _opened(path: str, mode: int) -> int:
    try:
        return open_file(path, os.O_RDWR)
    except FileNotFoundError:
        return open_file(path, os.O_RDWR | os.O_CREAT, mode)


if sys.platform == "win32":

    def _lock(fd: int) -> bool:
        raise OSError(errno.ENOSYS, "there is no flock here")

    def _unlock(fd: int) -> None:
        """Do nothing: nothing was locked."""

else:
    import fcntl

    def _lock(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # some file systems answer with the latter
            return False
        return True

    def _unlock(fd: int) -> None:
        # Closing alone would leave it to a child on its way to another program.
        fcntl.flock(fd, fcntl.LOCK_UN)

    def _drop_inherited() -> None:
        for lock in _held:
            lock.drop_inherited()
        _guard.release()

    os.register_at_fork(
        before=_guard.acquire, after_in_parent=_guard.release, after_in_child=_drop_inherited
    )
