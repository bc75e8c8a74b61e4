"""A folder of cached Polars frames; a frame is stored completely or not at all.

Each frame is in ``cache_<key>/data.parquet``. ``metadata.json`` next to it describes the frame and
contains its SHA-256; if the digest does not match, the frame is removed and counts as missing.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import logging
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ..disk.atomic import sweep, write_atomically
from ..disk.calls import MOST_BYTES
from ..disk.files import Disk, FileState, errno_of
from ..errors import CacheError, LockTimeoutError, QueryError, StorageError
from ..lru_cache import LruCache
from . import pl  # its error names the missing extra

__all__ = ["CachedFrame", "FrameCache", "KeyTurn"]

T = TypeVar("T")

SHORT = 16
_KEY = re.compile(rf"[0-9a-f]{{{SHORT}}}(?:[0-9a-f]{{48}})?")
_FOLDER = re.compile(rf"cache_[0-9a-f]{{{SHORT}}}")
_DATA, _METADATA, _ACCESSED, _LOCKS = "data.parquet", "metadata.json", "last_accessed", ".locks"
# The running total of the frames' sizes, and the time of the last sweep; its lock has the same name.
_TOTAL = ".total"
_VERSION, _CHECKSUM = 1, "checksum"
# Time to wait for another process that holds a key: it queries its source and then writes the
# frame.
_LOCK_TIMEOUT_S = 60.0
# Above the limit, frames are dropped until this share of it is left, so that not every frame that
# is stored lists all others.
_NEARLY_FULL = 0.9
_MOST_DIGITS = 19  # digits of nanoseconds since 1970
_MINUTE_NS, _HOUR_NS = 60 * 10**9, 3600 * 10**9
# A file as young as this may be replaced once more within the resolution of file times.
_YOUNG_NS = 20_000_000
# Memory for what is known about frames, and the number of frames whose last use is known.
_KNOWN_BYTES, _KNOWN_USES = 16 << 20, 100_000
# The frame to drop first has the highest value, by its size and the time since its last use.
_POLICIES: Mapping[str, Callable[[int, int], float]] = {
    "lru": lambda size, idle_ns: idle_ns,
    "size": lambda size, idle_ns: size,
    "hybrid": lambda size, idle_ns: size * idle_ns,
}
POLICIES = tuple(_POLICIES)
_log = logging.getLogger(__name__)


class CachedFrame(NamedTuple):
    """A frame from the cache.

    Attributes:
        frame: Frame as it was passed to :meth:`FrameCache.put`.
        metadata: Metadata as it was passed to :meth:`FrameCache.put`, with ``bundle_name``,
            ``bundle_path``, ``size_bytes`` and ``row_count`` added.
    """

    frame: pl.DataFrame
    metadata: Mapping[str, Any]


class _KnownFrame(NamedTuple):
    """A frame's metadata as read by this process, and the state of the checked data file."""

    state: FileState
    metadata: dict[str, Any]
    data: FileState | None = None


class _LastUse(NamedTuple):
    """The time of a frame's last use, and that of the last use noted in its file, in nanoseconds."""

    used: int
    noted: int


class _DamagedFrameError(CacheError):
    """A file of a frame does not match the digest that was recorded for it."""


class FrameCache:
    """A cache of frames in a folder. Thread-safe, and can be shared by processes.

    Only the holder of a key's :meth:`lock` may call ``get``, ``put`` and ``remove`` for that key.

    The digest of a file is checked once in each process, and again if the file changes. The use of
    a frame is noted in its file at most once a minute. The total size is a stored number that each
    ``put`` updates; once an hour, all frames are listed to correct it.

    Args:
        folder: Folder of the frames; the first ``put`` creates it.
        max_bytes: Maximum total size; if it is exceeded, frames other than the latest are dropped
            until the size is 90% of the maximum.
        disk: File access; None means ordinary files, with permissions according to the umask.
        policy: Which frames are dropped first: ``lru`` (the least recently used), ``size`` (the
            largest), or ``hybrid`` (by size times the time since the last use).
        setting: Name of the setting for the maximum size, for the message that it is nearly
            reached.
    """

    def __init__(
        self,
        folder: Path,
        max_bytes: int,
        disk: Disk | None = None,
        *,
        policy: str = "lru",
        setting: str = "cache.max_size_bytes",
    ) -> None:
        self.folder, self._max_bytes = folder, max_bytes
        self._disk = disk or Disk(root=folder)
        self._rank, self._setting = _POLICIES[policy], setting
        self._is_alerted = False
        self._known, self._uses = LruCache(_KNOWN_BYTES), LruCache(_KNOWN_USES)
        self._looked_ns = self._disk.now_ns()

    def lock(self, key: str, timeout_s: float = _LOCK_TIMEOUT_S) -> AbstractContextManager[None]:
        """Lock a key against all other threads and processes.

        Raises:
            LockTimeoutError: Another thread or process held the key for longer than ``timeout_s``.
            StorageError: The folder cannot be written.
        """
        return self._lock_key(key[:SHORT], timeout_s)

    def _lock_key(self, name: str, timeout_s: float) -> AbstractContextManager[None]:
        locks = self.folder / _LOCKS
        self._disk.make_folders(locks, durable=False)
        return self._disk.lock(locks / name, timeout_s)

    def metadata(self, key: str) -> dict[str, Any] | None:
        """Return the metadata of the frame for a key or its first 16 digits, or None.

        Raises:
            QueryError: The string is not a key.
            StorageError: The metadata cannot be read.
        """
        path = self._path(key)
        try:
            known = self._lookup(key, path)
        except _DamagedFrameError as damage:
            _log.warning("%s", damage)
            return None
        return None if known is None else self._facts(known, path)

    def _facts(self, known: _KnownFrame, path: Path) -> dict[str, Any]:
        """Return a copy of a frame's metadata, which the caller may change."""
        return deepcopy(known.metadata) | {
            "bundle_name": path.name,
            "bundle_path": str(path),
            "last_accessed": self._used_ns(path) // 1_000_000_000,
        }

    def state(self, key: str) -> FileState | None:
        """Return the state of the file that is replaced whenever a key's frame changes, or None.

        Raises:
            StorageError: The folder cannot be read.
        """
        return self._disk.stat(self.metadata_path(key))

    def metadata_path(self, key: str) -> Path:
        """Return the path of the file that is replaced whenever a key's frame changes.

        Raises:
            QueryError: The string is not a key.
        """
        return self._path(key) / _METADATA

    def note_use(self, key: str) -> None:
        """Make a frame the most recently used one, without reading it."""
        self._note_use(self._path(key))

    def is_settled(self, state: FileState) -> bool:
        """Return whether a file is so old that replacing it is certain to change its state."""
        return not 0 <= self._disk.now_ns() - state.mtime_ns < _YOUNG_NS

    def get(self, key: str) -> CachedFrame | None:
        """Return the frame for a key, or None; the frame becomes the most recently used one.

        A damaged frame is reported in the log, removed, and counts as missing.

        Raises:
            QueryError: The string is not a key.
            StorageError: The frame cannot be read.
        """
        try:
            return self._read(key)
        except _DamagedFrameError as damage:
            _log.warning("%s", damage)
        try:
            self.remove(key)
        except StorageError as error:
            _log.warning("%s cannot be removed: %s", self._path(key).name, error)
        return None

    def peek(self, key: str) -> CachedFrame | None:
        """Return a frame as :meth:`get` does, but for callers that do not hold the key's lock.

        Raises:
            QueryError, StorageError: See :meth:`get`.
            LockTimeoutError: The frame is damaged, and another process has held its key for a
                minute.
        """
        try:
            return self._read(key)
        except _DamagedFrameError:
            pass  # or it is being replaced at this moment, which the lock rules out
        try:
            lock = self.lock(key)
        except StorageError as error:
            _log.warning("%s is damaged and cannot be removed: %s", self._path(key).name, error)
            return None
        with lock:
            return self.get(key)

    def _read(self, key: str) -> CachedFrame | None:
        """Return the frame for a key, or None.

        Raises:
            _DamagedFrameError: A file does not match its digest, or cannot be read as Parquet.
        """
        path = self._path(key)
        known = self._lookup(key, path)
        if known is None:
            return None
        content = self._disk.read_with_state(path / _DATA)
        if content is None:
            return None
        data, state = content
        if state != known.data:
            if hashlib.sha256(data).hexdigest() != known.metadata["sha256"]:
                raise _DamagedFrameError(
                    f"{path.name}: {_DATA} is damaged: the frame is fetched again"
                )
            self._remember(path, known._replace(data=state))
        try:
            frame = pl.read_parquet(io.BytesIO(data))
        except pl.exceptions.PolarsError as error:
            raise _DamagedFrameError(
                f"{path.name}: {_DATA} cannot be read, so the frame is fetched again: {error}"
            ) from error
        facts = self._facts(known, path)
        self._note_use(path)
        self._sweep_if_due()
        return CachedFrame(frame, facts)

    def _lookup(self, key: str, path: Path) -> _KnownFrame | None:
        """Return the recorded facts about the frame for a key, or None.

        Raises:
            _DamagedFrameError: The metadata do not match their digest, or are from another version.
        """
        known: _KnownFrame | None = self._known.get(path.name)
        if known is None or self._disk.stat(path / _METADATA) != known.state:
            content = self._disk.read_with_state(path / _METADATA)
            if content is None:
                return None
            metadata = _parse_metadata(content[0])
            if metadata is None:
                raise _DamagedFrameError(
                    f"{path.name}: {_METADATA} is damaged: the frame is fetched again"
                )
            known = _KnownFrame(content[1], metadata)
            self._remember(path, known)
        return known if known.metadata["cache_key"].startswith(key) else None

    def _remember(self, path: Path, known: _KnownFrame) -> None:
        states = [state for state in (known.state, known.data) if state is not None]
        if all(map(self.is_settled, states)):
            self._known.put(path.name, known, known.state.size)

    def put(self, key: str, frame: pl.DataFrame, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
        """Store a frame, replacing an earlier one with its key; then drop others if necessary.

        Args:
            key: Cache key, 64 or 16 hex digits; the first 16 are part of the folder's name.
            frame: Any frame that Parquet can hold.
            metadata: Further metadata to record, as JSON.

        Returns:
            All recorded metadata, such as ``sha256`` and ``size_bytes``.

        Raises:
            QueryError: The string is not a key.
            StorageError: The frame cannot be stored; the earlier frame is either still stored or
                gone.
        """
        path = self._path(key)
        buffer = io.BytesIO()
        try:
            frame.write_parquet(buffer, compression="zstd", compression_level=3)
        except pl.exceptions.PolarsError as error:
            raise StorageError(f"the frame cannot be stored as Parquet: {error}") from error
        data = buffer.getvalue()
        if len(data) > MOST_BYTES:
            raise StorageError(
                f"the frame takes {len(data):,} bytes as Parquet, more than {MOST_BYTES:,}",
                hint="store fewer symbols or a shorter range in one frame",
            )
        facts = {
            "version": _VERSION,
            "cache_key": key,
            "sha256": hashlib.sha256(data).hexdigest(),
            "size_bytes": len(data),
            "row_count": frame.height,
        }
        whole = dict(metadata) | facts
        text = json.dumps(whole | {_CHECKSUM: _checksum(whole)}).encode()
        self._disk.make_folders(path, durable=False)
        sweep(self._disk, path)
        before = self._size(path)
        self._note_use(path, is_new=True)  # marks the folder as this library's
        # Not synced: the frame can be fetched again, and a file torn by a power loss does not match
        # its checksum.
        write_atomically(self._disk, path / _DATA, data, durable=False)
        write_atomically(self._disk, path / _METADATA, text, durable=False)
        self._account(len(data) + len(text) - before)
        return whole

    def remove(self, key: str) -> None:
        """Remove the frame for a key or its first 16 digits; does nothing if it does not exist.

        Raises:
            QueryError: The string is not a key.
            StorageError: The frame cannot be removed.
        """
        path = self._path(key)
        size = self._size(path)
        if self._disk.stat(path) is not None:
            self._remove_folder(path)
            self._account(-size)

    def _remove_folder(self, path: Path) -> None:
        """Remove a frame's folder; try again if a reader noted a use in it at the same moment."""
        for is_last in (False, False, True):
            try:
                self._disk.remove_whole(path)
            except StorageError as error:
                if is_last or errno_of(error) != errno.ENOTEMPTY:
                    raise
            else:
                break

    def keys(self) -> list[str]:
        """Return the first 16 digits of each frame's key.

        Raises:
            StorageError: The folder cannot be read.
        """
        return [name.removeprefix("cache_") for name in self.sizes()]

    def _path(self, key: str) -> Path:
        """Return the folder for a key, which is always inside the folder of frames.

        Raises:
            QueryError: The string is not a key.
        """
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise QueryError(
                f"invalid cache key {key!r:.80}",
                hint="use the 16 or 64 digits from generate_cache_key",
            )
        return self.folder / f"cache_{key[:SHORT]}"

    # --- use and size ----------------------------------------------------------------------

    def _note_use(self, path: Path, *, is_new: bool = False) -> None:
        """Note that a frame was used just now.

        The use is noted in the frame's file only once a minute, and not if the folder is read-only.
        """
        now, last = self._disk.now_ns(), self._uses.get(path.name)
        noted = now if last is None else last.noted
        if is_new or last is None or not 0 <= now - noted < _MINUTE_NS:
            noted = now
            try:
                write_atomically(self._disk, path / _ACCESSED, str(now).encode(), durable=False)
            except StorageError as error:
                _log.debug("%s: its use was not recorded: %s", path.name, error)
        self._uses.put(path.name, _LastUse(now, noted), 1)

    def _accessed_ns(self, path: Path) -> int:
        """Return the time at which a frame was last used, or 0 if that is unknown."""
        data = self._disk.read_if_exists(path / _ACCESSED) or b""
        return int(data) if data.isdigit() and len(data) <= _MOST_DIGITS else 0

    def size_bytes(self) -> int:
        """Return the total size of all frames, computed by listing all of them.

        Raises:
            StorageError: The folder cannot be read.
        """
        return sum(self.sizes().values())

    def sizes(self) -> dict[str, int]:
        """Return each frame's size in bytes, keyed by folder name; other programs' folders are ignored.

        Raises:
            StorageError: The folder cannot be read.
        """
        names = [name for name in self._disk.list(self.folder) if _FOLDER.fullmatch(name)]
        paths = {name: self.folder / name for name in names}
        return {
            name: self._size(path)
            for name, path in paths.items()
            if self._disk.stat(path / _ACCESSED) is not None
        }

    def _size(self, path: Path) -> int:
        states = (self._disk.stat(path / name) for name in (_DATA, _METADATA))
        return sum(state.size for state in states if state is not None)

    def _account(self, change: int) -> None:
        """Add to the running total, and sweep the folder if it is too large or an hour has passed.

        If the total cannot be stored, the next sweep corrects it.
        """
        try:
            with self._lock_key(_TOTAL, _LOCK_TIMEOUT_S):
                total, swept_ns = self._stored_total()
                total += change
                if swept_ns is None or total > self._max_bytes or self._is_due(swept_ns):
                    self._sweep()
                else:
                    self._store_total(total, swept_ns)
                    self._alert(total)
        except CacheError as error:
            _log.debug("%s: the total size was not updated: %s", self.folder.name, error)

    def _sweep_if_due(self) -> None:
        """Sweep the folder if no process has done so for an hour; this is checked once an hour."""
        if not self._is_due(self._looked_ns):
            return
        self._looked_ns = self._disk.now_ns()
        try:
            with self._lock_key(_TOTAL, 0.0):
                _, swept_ns = self._stored_total()
                if swept_ns is None or self._is_due(swept_ns):
                    self._sweep()
        except CacheError as error:  # another process sweeps, or the folder is read-only
            _log.debug("%s was not swept: %s", self.folder.name, error)

    def _is_due(self, last_ns: int) -> bool:
        return not 0 <= self._disk.now_ns() - last_ns < _HOUR_NS

    def _stored_total(self) -> tuple[int, int | None]:
        """Return the running total and the time of the last sweep (None if the file is invalid)."""
        data = self._disk.read_if_exists(self.folder / _TOTAL) or b""
        numbers = data.split()
        if len(numbers) != 2 or not all(n.isdigit() and len(n) <= _MOST_DIGITS for n in numbers):
            return 0, None
        return int(numbers[0]), int(numbers[1])

    def _store_total(self, total: int, swept_ns: int) -> None:
        text = f"{max(0, total)} {swept_ns}".encode()
        write_atomically(self._disk, self.folder / _TOTAL, text, durable=False)

    def _sweep(self) -> None:
        """List all frames, drop some if their total size is too large, and store the total.

        The caller holds the lock of the total. A frame whose key is locked is not dropped; the
        latest frame's key is always locked.
        """
        sizes, now = self.sizes(), self._disk.now_ns()
        total = sum(sizes.values())
        self._alert(total)
        if total > self._max_bytes:
            idle = {n: now - min(now, self._used_ns(self.folder / n)) for n in sizes}
            order = sorted(sizes, key=lambda name: -self._rank(sizes[name], idle[name]))
            for name in order:
                if total > _NEARLY_FULL * self._max_bytes and self._drop(name):
                    total -= sizes[name]
        self._store_total(total, now)

    def _used_ns(self, path: Path) -> int:
        """Return the time at which a frame was last used, by this or another process.

        A use by another process within the last minute may be missing.
        """
        here: _LastUse | None = self._uses.get(path.name)
        if here is not None and 0 <= self._disk.now_ns() - here.noted < _MINUTE_NS:
            return here.used
        noted = self._accessed_ns(path)
        return noted if here is None else max(here.used, noted)

    def _alert(self, total: int) -> None:
        if total >= _NEARLY_FULL * self._max_bytes and not self._is_alerted:
            self._is_alerted = True
            _log.warning(
                "%s takes %d of %d bytes: frames are dropped; %s allows more",
                self.folder,
                total,
                self._max_bytes,
                self._setting,
            )

    def _drop(self, name: str) -> bool:
        """Remove a frame unless it is in use; return whether it was removed."""
        try:
            with self.lock(name.removeprefix("cache_"), 0.0):
                self._remove_folder(self.folder / name)
        except LockTimeoutError:
            return False
        except CacheError as error:
            _log.warning("%s cannot be dropped: %s", name, error)
            return False
        return True


def _parse_metadata(data: bytes) -> dict[str, Any] | None:
    """Return the metadata of a frame, or None if it is damaged or from another version."""
    try:
        metadata = dict(json.loads(data))
        checksum = metadata.pop(_CHECKSUM)
        if metadata["version"] != _VERSION or checksum != _checksum(metadata):
            return None
        if not _KEY.fullmatch(metadata["cache_key"]) or not isinstance(metadata["sha256"], str):
            return None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return metadata


def _checksum(metadata: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(metadata, sort_keys=True).encode()).hexdigest()


class KeyTurn:
    """A caller's turn to hold the lock for a key; the lock can be released from any thread.

    If the caller is cancelled while another thread is still waiting for the lock or writing, the
    lock is held until that work is done.

    Args:
        lock: Function that creates the lock when it is first needed.
    """

    def __init__(self, lock: Callable[[], AbstractContextManager[None]]) -> None:
        self._make, self._guard = lock, threading.Lock()
        self._lock: AbstractContextManager[None] | None = None
        self._is_over = self._is_busy = False

    def run(self, work: Callable[[], T]) -> T:
        """Call ``work`` while holding the lock, and return its result.

        Raises:
            CancelledError: The turn had already ended.
            LockTimeoutError, StorageError: The lock could not be taken.
        """
        with self._guard:
            if self._is_over:
                raise CancelledError
            self._is_busy = True
        try:
            if self._lock is None:
                lock = self._make()
                lock.__enter__()
                self._lock = lock
            return work()
        finally:
            with self._guard:
                self._is_busy = False
                is_over = self._is_over
            if is_over:
                self._give_back()

    def end(self) -> None:
        """Release the lock immediately or, if work is running under it, once that is done."""
        with self._guard:
            self._is_over = True
            is_busy = self._is_busy
        if not is_busy:
            self._give_back()

    def _give_back(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.__exit__(None, None, None)
