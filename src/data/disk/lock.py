"""One lock file, held against threads and processes alike."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from ..errors import LockTimeoutError, StorageError
from . import flock
from .calls import open_file
from .refusals import refused, short

_POLL_S = 0.005
_NOTE_BYTES = 24


class Locks:
    """Lock files that are made when first needed and never deleted. Thread-safe and fork-aware.

    A file lock alone would do, but waiting for it means polling: threads of one process queue on
    a thread lock first, and only one of them polls. After a fork the child starts with no locks
    held, whatever its parent's other threads were doing.

    Args:
        file_mode: permissions of a new lock file, before the umask.
    """

    def __init__(self, file_mode: int = 0o666) -> None:
        self._file_mode = file_mode
        self._pid = os.getpid()
        self._threads: dict[Path, threading.Lock] = {}

    @contextmanager
    def hold(self, path: Path, timeout_s: float) -> Iterator[None]:
        """Hold ``path`` while the block runs; its folder must exist.

        Raises:
            LockTimeoutError: somebody else holds it for longer than ``timeout_s``.
            StorageError: the lock file cannot be made or opened.
        """
        deadline = time.monotonic() + timeout_s
        mine, taken, held = self._thread_lock(path), list[bool](), None
        try:
            # In one step: an interrupt finds in the list whether the lock was taken.
            taken.extend(map(mine.acquire, (True,), (max(0.0, timeout_s),)))
            if not taken[0]:
                raise _too_long(path, timeout_s)
            left_s = max(0.0, deadline - time.monotonic())
            held = _acquire(path, left_s, timeout_s, self._file_mode)
            _leave_note(path)
            yield
        finally:
            try:
                if held is not None:
                    held.release()
            except KeyboardInterrupt:
                held.release()  # type: ignore[union-attr]
                raise
            finally:
                if True in taken:
                    mine.release()

    def _thread_lock(self, path: Path) -> threading.Lock:
        if os.getpid() != self._pid:
            self._pid, self._threads = os.getpid(), {}
        # At one stroke; and two of them would still meet at the file.
        return self._threads.setdefault(path, threading.Lock())


class _Held(Protocol):
    """A file lock that was taken."""

    def release(self) -> None:
        """Let go of it."""


def _acquire(path: Path, left_s: float, timeout_s: float, mode: int) -> _Held:
    """Take the file lock; a new object each time, for one inherited by a fork is useless."""
    deadline, name = time.monotonic() + left_s, os.fspath(path)
    try:
        while (held := flock.take(name, mode)) is None:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise _too_long(path, timeout_s)
            time.sleep(min(_POLL_S, left_s))
    except OSError as exc:
        if exc.errno not in flock.NOT_THERE:
            raise _refused(path, exc) from exc
    else:
        return held
    return _acquire_by_library(path, left_s, timeout_s, mode)


def _acquire_by_library(path: Path, left_s: float, timeout_s: float, mode: int) -> _Held:
    """Do the same where there is no flock, on Windows and on odd file systems."""
    from filelock import FileLock, Timeout

    lock = FileLock(path, mode=mode)
    try:
        lock.acquire(timeout=left_s, poll_interval=_POLL_S)
    except Timeout as exc:
        raise _too_long(path, timeout_s) from exc
    except OSError as exc:
        raise _refused(path, exc) from exc
    return lock


def _too_long(path: Path, timeout_s: float) -> LockTimeoutError:
    holder = holder_of(path)
    who = f"process {holder}" if holder else "another process"
    return LockTimeoutError(
        f"{short(path)} is locked by {who} for more than {timeout_s:g} s",
        hint="wait for that process, or stop it if it hangs; the lock goes with it",
    )


def _refused(path: Path, exc: OSError) -> StorageError:
    return refused("lock", path, exc)


def holder_of(path: Path) -> int | None:
    """Return the process that took the lock last, or None when nothing tells."""
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
    """Write our process id into the lock file, for the messages of those who wait."""
    try:
        fd = open_file(path, os.O_WRONLY)
    except OSError:
        return  # the note helps people; the lock holds without it
    try:
        os.write(fd, f"{os.getpid()}\n".ljust(_NOTE_BYTES).encode("ascii"))
    except OSError:
        return  # as above
    finally:
        os.close(fd)
