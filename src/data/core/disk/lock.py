"""Lock files that exclude other threads as well as other processes.

On POSIX they use ``flock``, which the system ties to the open file. A forked child inherits that
file and would keep the lock for as long as it lives, even after its parent ends, so a child closes
inherited lock files before it runs anything else. On Windows they use ``filelock``.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakSet

from ...errors import LockTimeoutError, StorageError
from ..runtime.compute_slots import waiting
from .calls import open_file, refused, short

if TYPE_CHECKING:
    from filelock import BaseFileLock

_POLL_S = 0.005
_NOTE_BYTES = 24


class Locks:
    """Lock files that are created when first needed and never deleted. Thread-safe and fork-aware.

    A file lock by itself would be enough, but waiting for it requires polling. Threads in one
    process therefore first queue for a thread lock, so that only one of them polls. After a fork
    the child starts without any locks, even if other threads of its parent held some.

    Args:
        file_mode: Permissions of a new lock file, before the umask.
    """

    def __init__(self, file_mode: int = 0o666) -> None:
        self._file_mode = file_mode
        self._pid = os.getpid()
        self._threads: dict[Path, threading.Lock] = {}
        self._held: set[tuple[Path, int, int]] = set()

    @contextmanager
    def hold(self, path: Path, timeout_s: float) -> Iterator[None]:
        """Hold the lock file ``path`` while the block runs; its folder must exist.

        A thread that holds it already goes on at once.

        Raises:
            LockTimeoutError: Another thread or process held the lock for longer than ``timeout_s``.
            StorageError: The lock file cannot be created or opened.
        """
        holder = path, threading.get_ident(), os.getpid()
        if holder in self._held:
            yield
            return
        deadline = time.monotonic() + timeout_s
        mine, acquired, lock = self._thread_lock(path), list[bool](), None
        try:
            # Done in one step, so that after an interrupt the list shows whether the lock was
            # taken.
            acquired.extend(map(mine.acquire, (False,)))
            if not acquired[0]:
                with waiting():
                    acquired.extend(map(mine.acquire, (True,), (max(0.0, timeout_s),)))
            if True not in acquired:
                raise _timeout_error(path, timeout_s)
            left_s = max(0.0, deadline - time.monotonic())
            lock = _acquire(path, left_s, timeout_s, self._file_mode)
            _leave_note(path)
            self._held.add(holder)
            yield
        finally:
            try:
                self._held.discard(holder)
                if lock is not None:
                    lock.release()
            except KeyboardInterrupt:
                self._held.discard(holder)
                if lock is not None:
                    lock.release()
                raise
            finally:
                if True in acquired:
                    mine.release()

    def _thread_lock(self, path: Path) -> threading.Lock:
        if os.getpid() != self._pid:
            self._pid, self._threads = os.getpid(), {}
        # This is atomic, and even with two thread locks the file lock would still exclude others.
        return self._threads.setdefault(path, threading.Lock())


def _acquire(path: Path, left_s: float, timeout_s: float, mode: int) -> FileLock | BaseFileLock:
    """Take the file lock with a new object, because an object inherited through a fork is useless."""
    deadline, name = time.monotonic() + left_s, os.fspath(path)
    try:
        while (lock := try_lock(name, mode)) is None:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise _timeout_error(path, timeout_s)
            with waiting():
                time.sleep(min(_POLL_S, left_s))
    except OSError as exc:
        if exc.errno not in NOT_THERE:
            raise _lock_error(path, exc) from exc
    else:
        return lock
    return _acquire_by_library(path, left_s, timeout_s, mode)


def _acquire_by_library(
    path: Path, left_s: float, timeout_s: float, mode: int
) -> FileLock | BaseFileLock:
    """Take the lock without flock, on Windows and on unusual file systems."""
    import filelock

    lock = filelock.FileLock(path, mode=mode)
    try:
        lock.acquire(timeout=left_s, poll_interval=_POLL_S)
    except filelock.Timeout as exc:
        raise _timeout_error(path, timeout_s) from exc
    except OSError as exc:
        raise _lock_error(path, exc) from exc
    return lock


def _timeout_error(path: Path, timeout_s: float) -> LockTimeoutError:
    holder = holder_of(path)
    owner = f"process {holder}" if holder else "another process"
    return LockTimeoutError(
        f"{short(path)} has been locked by {owner} for more than {timeout_s:g} s",
        hint="wait for that process, or stop it if it hangs, which also releases the lock",
    )


def _lock_error(path: Path, exc: OSError) -> StorageError:
    return refused("lock", path, exc)


def holder_of(path: Path) -> int | None:
    """Return the id of the process that last took the lock, or None if unknown."""
    try:
        fd = open_file(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        return int(os.read(fd, _NOTE_BYTES).decode("ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return None
    finally:
        os.close(fd)


def _leave_note(path: Path) -> None:
    """Write this process's id to the lock file, for the error messages of waiting processes."""
    try:
        fd = open_file(path, os.O_WRONLY)
    except OSError:
        return  # the note only helps people; the lock works without it
    try:
        os.write(fd, f"{os.getpid()}\n".ljust(_NOTE_BYTES).encode("ascii"))
    except OSError:
        return  # as above
    finally:
        os.close(fd)


# --- flock -------------------------------------------------------------------------------

# Error numbers if the file system, or the operating system, does not support such locks.
NOT_THERE = (errno.ENOSYS, errno.ENOTSUP)
_held_locks: WeakSet[FileLock] = WeakSet()
# Guards the set and the descriptors in it, even against a fork in between.
_guard = threading.RLock()


class FileLock:
    """An open lock file; :func:`try_lock` returns it locked."""

    _fd: int | None = None

    def __init__(self, path: str, mode: int = 0o666) -> None:
        with _guard:
            self._fd = _open_lock(path, mode)
            _held_locks.add(self)

    def __del__(self) -> None:
        if self._fd is not None:  # interrupted between locking and returning
            self.release()

    @property
    def is_locked(self) -> bool:
        """Whether this process still holds the lock."""
        return self._fd is not None

    def try_to_lock(self) -> bool:
        """Lock the file if it is free; return whether that succeeded."""
        fd = self._fd
        # A file that was deleted after it was opened guards nothing.
        return fd is not None and _lock(fd) and os.fstat(fd).st_nlink > 0

    def release(self) -> None:
        """Release the lock; does nothing in a child that inherited it."""
        with _guard:
            fd, self._fd = self._fd, None
            if fd is not None:
                try:
                    _unlock(fd)
                finally:
                    os.close(fd)

    def drop_inherited(self) -> None:
        """Close the file in a forked child, where the lock belongs to the parent."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def try_lock(path: str, mode: int = 0o666) -> FileLock | None:
    """Return the lock on ``path``, or None if another thread or process holds it.

    A new lock file gets ``mode``, before the umask.

    Raises:
        OSError: The file cannot be created or opened, or locks are not supported.
    """
    try:
        lock = FileLock(path, mode)
    except BlockingIOError:  # another program has a lease on it, which is being broken
        return None
    is_ours = False
    try:
        is_ours = lock.try_to_lock()
    finally:
        if not is_ours:
            lock.release()
    return lock if is_ours else None


def _open_lock(path: str, mode: int) -> int:
    try:
        return open_file(path, os.O_RDWR)
    except FileNotFoundError:
        return open_file(path, os.O_RDWR | os.O_CREAT, mode)


if sys.platform == "win32":

    def _lock(fd: int) -> bool:
        raise OSError(errno.ENOSYS, "there is no flock here")

    def _unlock(fd: int) -> None:
        """Do nothing, because nothing was locked."""

else:
    import fcntl

    def _lock(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # some file systems raise the latter
            return False
        return True

    def _unlock(fd: int) -> None:
        # Only closing it would leave the lock to a child that is about to run another program.
        fcntl.flock(fd, fcntl.LOCK_UN)

    def _drop_inherited() -> None:
        for lock in _held_locks:
            lock.drop_inherited()
        _release()

    def _release() -> None:
        with suppress(RuntimeError):  # this module was imported while a fork waited for that
            _guard.release()

    os.register_at_fork(
        before=_guard.acquire, after_in_parent=_release, after_in_child=_drop_inherited
    )
