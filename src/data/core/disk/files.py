"""File access, one system call at a time, through a method that tests can override to inject faults.

Everything that reaches the disk goes through :meth:`Disk.perform`, with one :class:`DiskStep` per
call. A subclass that overrides it sees every call and its arguments before it is made, and may
raise ``OSError`` instead or record it to replay a crash. Every ``OSError`` becomes a
:class:`StorageError` that names the failed operation and the file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from mmap import ACCESS_COPY, ACCESS_READ, mmap
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ...errors import StorageError
from . import calls
from .calls import FileState, Space, errno_of, is_disk_done, refused, short
from .lock import Locks

__all__ = ["Disk", "FileState", "Handle", "Space", "DiskStep", "errno_of", "is_disk_done", "short"]

T = TypeVar("T")

_READ = os.O_RDONLY
_WRITE = os.O_RDWR
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL
# Steps that act on a path; the others act on an open file, or only read a path's state.
_ON_NAMES = frozenset({"open", "create", "replace", "link", "unlink", "mkdir", "list"})


class DiskStep(NamedTuple):
    """One system call about to be made.

    Attributes:
        name: Name of the call. Calls that change something: ``open`` ``create`` ``write``
            ``truncate`` ``fsync`` ``fdatasync`` ``fsync_dir`` ``close`` ``replace`` ``link``
            ``unlink`` ``mkdir``. Calls that only read: ``read`` ``fstat`` ``stat`` ``list`` ``map``
            ``space``.
        path: File or folder.
        target: New name, for ``replace`` and ``link``.
        data: Bytes, for ``write``.
        at: Offset for ``write`` and ``read``, new size for ``truncate``.
    """

    name: str
    path: Path
    target: Path | None = None
    data: memoryview | None = None
    at: int | None = None


class Handle(NamedTuple):
    """An open file."""

    fd: int
    path: Path | str


class Disk:
    """The file operations that the store needs.

    Thread-safe, because it contains only settings and locks. If a path should be a regular file but
    is a pipe, a device, a link or a huge file, an error is raised; the call never blocks.

    Args:
        private: Whether new files and folders are accessible only to their owner, with modes 0600
            and 0700 from the start. Otherwise the umask decides.
        root: Folder that the paths below it must not leave through a link; the folder itself may
            be a link.
    """

    def __init__(self, *, private: bool = False, root: Path | None = None) -> None:
        self._root = None if root is None else os.fspath(root)
        self._file_mode = 0o600 if private else 0o666
        self._folder_mode = 0o700 if private else 0o777
        self._locks = Locks(self._file_mode)

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        """Make one system call; overridden by tests."""
        return call()

    @property
    def _is_watched(self) -> bool:
        # Every answer from the cache checks files, so steps are created only if a subclass watches
        # them.
        return getattr(self.perform, "__func__", None) is not _UNWATCHED

    def now_ns(self) -> int:
        """Return the current time in nanoseconds, for comparison with file times."""
        return time.time_ns()

    def most_open(self) -> int:
        """Return the maximum number of files that this process may have open."""
        return calls.most_open()

    def lock(self, path: Path, timeout_s: float) -> AbstractContextManager[None]:
        """Hold the lock file ``path`` against all threads and processes.

        Raises:
            LockTimeoutError: Another thread or process held the lock for longer than ``timeout_s``.
            StorageError: The lock file cannot be created or opened.
        """
        self.check_inside(path)
        return self._locks.hold(path, timeout_s)

    def check_inside(self, path: Path) -> None:
        """Reject a path that leads out of the root through a link, before another library opens it.

        Raises:
            StorageError: A folder on the path is a link.
        """
        try:
            self._check(path)
        except OSError as exc:
            raise refused("open", path, exc) from exc

    # --- reading ---------------------------------------------------------------------------

    def stat(self, path: Path | str) -> FileState | None:
        """Return the state of ``path``, or None if it does not exist."""
        return self._run("stat", path, calls.state_at, path)

    def are_unchanged(self, states: Mapping[str, FileState | None]) -> bool:
        """Return whether every path is still in the given state; None means that it does not exist."""
        for path, state in states.items():  # noqa: SIM110 - no generator in each answer from the cache
            if self.stat(path) != state:
                return False
        return True

    def list(self, folder: Path | str) -> list[str]:
        """Return the sorted names in ``folder``; empty if it does not exist."""
        return sorted(self._run("list", folder, calls.or_none, os.listdir, folder) or ())

    def space(self, folder: Path) -> Space | None:
        """Return the space on the disk of ``folder``; None if the folder does not exist."""
        return self._run("space", folder, calls.or_none, calls.space_of, folder)

    def open_read(self, path: Path | str) -> Handle | None:
        """Open ``path`` for reading, or return None if it does not exist."""
        fd = self._run("open", path, calls.or_none, calls.open_file, path, _READ)
        return None if fd is None else Handle(fd, path)

    def fstat(self, handle: Handle) -> FileState:
        """Return the state of an open file."""
        return calls.state_of(self._run("fstat", handle.path, os.fstat, handle.fd))

    def read_at(self, handle: Handle, offset: int, count: int) -> bytes:
        """Return ``count`` bytes from ``offset``, fewer only at the end of the file."""
        try:
            calls.check_size(count)
        except OSError as exc:
            raise refused("read", Path(handle.path), exc) from exc
        pieces: list[bytes] = []
        while count > 0:
            piece = self._run("read", handle.path, calls.pread, handle.fd, count, offset, at=offset)
            if not piece:
                break
            pieces.append(piece)
            offset, count = offset + len(piece), count - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read_with_state(self, path: Path | str) -> tuple[bytes, FileState] | None:
        """Return the whole file and its state when it was opened; None if it does not exist."""
        folder, separator, name = os.fspath(path).rpartition(os.sep)
        return self.read_all(folder if separator else os.curdir, (name,))[0]

    def read_all(
        self, folder: str, names: Iterable[str]
    ) -> Sequence[tuple[bytes, FileState] | None]:
        """Read the content and state (see :meth:`read_with_state`) of several files in a folder."""
        start = folder + os.sep
        if self._is_watched:
            return [self._read_by_steps(Path(start + name)) for name in names]
        contents: list[tuple[bytes, FileState] | None] = []
        path = folder
        try:
            self._check(folder, is_folder=True)
            for name in names:
                path = start + name
                contents.append(calls.content_of(path, _READ))
        except OSError as exc:
            raise refused("read", Path(path), exc) from exc
        return contents

    def _read_by_steps(self, path: Path) -> tuple[bytes, FileState] | None:
        """Return a file's content and state, running each step through :meth:`perform`."""
        handle = self.open_read(path)
        if handle is None:
            return None
        try:
            state = self.fstat(handle)
            return self.read_at(handle, 0, state.size), state
        finally:
            self.close(handle)

    def read(self, path: Path) -> bytes:
        """Return the whole file.

        Raises:
            StorageError: The file does not exist or cannot be read.
        """
        content = self.read_if_exists(path)
        if content is None:
            raise StorageError(f"cannot read {short(path)}: it does not exist")
        return content

    def read_if_exists(self, path: Path | str) -> bytes | None:
        """Return the whole file, or None if it does not exist."""
        content = self.read_with_state(path)
        return None if content is None else content[0]

    def map(self, handle: Handle, size: int, *, private: bool) -> mmap:
        """Map the first ``size`` bytes into memory; the map remains valid if the file is removed.

        Args:
            handle: Open file, which may be closed afterwards.
            size: Number of bytes, at most the size of the file.
            private: Whether the map may be written to; writes are visible only in this map.
        """
        access = ACCESS_COPY if private else ACCESS_READ
        return self._run("map", handle.path, partial(mmap, handle.fd, size, access=access))

    # --- writing one file ------------------------------------------------------------------

    def create(self, path: Path) -> Handle:
        """Create ``path``, which must not exist, and open it."""
        return Handle(
            self._run("create", path, calls.open_file, path, _CREATE, self._file_mode), path
        )

    def create_all(self, folder: str, files: Iterable[tuple[str, bytes | memoryview]]) -> None:
        """Create several files in a folder, none of which may exist yet; nothing is made durable."""
        start, path = folder + os.sep, folder
        try:
            self._check(folder, is_folder=True)
            for name, data in files:
                path = start + name
                if self._is_watched:
                    handle = self.create(Path(path))
                else:
                    handle = Handle(calls.open_file(path, _CREATE, self._file_mode), path)
                try:
                    self.write(handle, data, 0)
                finally:
                    self.close(handle)
        except OSError as exc:
            raise refused("create", Path(path), exc) from exc

    def open_write(self, path: Path | str) -> Handle:
        """Open ``path``, which must exist, for writing."""
        return Handle(self._run("open", path, calls.open_file, path, _WRITE), path)

    def write(self, handle: Handle, data: bytes | memoryview, offset: int) -> None:
        """Write all of ``data`` at ``offset``."""
        rest = memoryview(data)
        while len(rest):
            written = self._run(
                "write", handle.path, calls.pwrite, handle.fd, rest, offset, data=rest, at=offset
            )
            if written <= 0:
                raise StorageError(f"cannot write {short(Path(handle.path))}: 0 bytes written")
            rest, offset = rest[written:], offset + written

    def truncate(self, handle: Handle, size: int) -> None:
        """Truncate the file to ``size`` bytes."""
        self._run("truncate", handle.path, os.ftruncate, handle.fd, size, at=size)

    def sync(self, handle: Handle) -> None:
        """Make the file's bytes and metadata durable."""
        self._run("fsync", handle.path, calls.full_sync, handle.fd, os.fsync)

    def sync_data(self, handle: Handle) -> None:
        """Make the file's bytes and size durable."""
        sync = getattr(os, "fdatasync", os.fsync)
        self._run("fdatasync", handle.path, calls.full_sync, handle.fd, sync)

    def close(self, handle: Handle) -> None:
        """Close the file."""
        self._run("close", handle.path, os.close, handle.fd)

    # --- names -----------------------------------------------------------------------------

    def replace(self, source: Path, target: Path) -> None:
        """Rename ``source`` to ``target`` atomically, replacing any file with that name."""
        self._run("replace", source, os.replace, source, target, target=target)

    def set_times(self, path: Path | str, used_ns: int, changed_ns: int) -> None:
        """Set the times of the last use and the last change of ``path``."""
        self._run("utime", path, partial(os.utime, ns=(used_ns, changed_ns)), path)

    def link(self, source: Path, target: Path) -> None:
        """Give the file ``source`` the additional name ``target``, which must not exist."""
        self._run("link", source, os.link, source, target, target=target)

    def remove(self, path: Path) -> None:
        """Remove the file ``path``; does nothing if it does not exist."""
        self._run("unlink", path, calls.or_none, os.unlink, path)

    def remove_whole(self, path: Path) -> None:
        """Remove ``path``, including a folder's content; does nothing if it does not exist."""
        self._run("unlink", path, calls.or_none, calls.remove_whole, path)

    def sync_folder(self, folder: Path) -> None:
        """Make the folder's directory entries durable, so that created and renamed files survive."""
        self._run("fsync_dir", folder, calls.sync_folder, folder)

    def make_folders(self, folder: Path, *, durable: bool = True) -> None:
        """Create ``folder`` and its missing parents; if ``durable``, they survive a power loss."""
        missing: list[Path] = []
        while self.stat(folder) is None:
            missing.append(folder)
            folder = folder.parent
        for path in reversed(missing):
            self._run("mkdir", path, calls.make_folder, path, self._folder_mode)
            if durable:
                self.sync_folder(path.parent)

    def _run(
        self,
        name: str,
        path: Path | str,
        call: Callable[..., T],
        *args: Any,
        target: Path | None = None,
        data: memoryview | None = None,
        at: int | None = None,
    ) -> T:
        """Make the system call ``call``; the other arguments describe it for :class:`DiskStep`."""
        try:
            if self._root is not None and name in _ON_NAMES:
                self._check(path, is_folder=name == "list")
                if target is not None and os.path.dirname(target) != os.path.dirname(path):
                    self._check(target)
            if not self._is_watched:
                return call(*args)
            if isinstance(path, str):
                path = Path(path)
            return self.perform(DiskStep(name, path, target, data, at), partial(call, *args))
        except OSError as exc:
            raise refused(name, Path(path), exc) from exc

    def _check(self, path: Path | str, *, is_folder: bool = False) -> None:
        """Raise ``OSError`` if a path leads out of the root through a link."""
        root, text = self._root, os.fspath(path)
        if root is not None and text.startswith(root + os.sep):
            calls.check_folders(text + os.sep if is_folder else text, root)


_UNWATCHED = Disk.perform
