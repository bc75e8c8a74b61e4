"""A folder of cached frames from custom sources; a frame is stored completely or not at all.

Each frame is in ``cache_<key>/data.parquet``. ``metadata.json`` next to it describes the frame and
contains its SHA-256; if the digest does not match, the frame counts as missing.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ..disk.atomic import sweep, write_atomically
from ..disk.files import Disk
from ..errors import CacheError, LockTimeoutError, QueryError, StorageError
from ..polars import pl  # its error names the missing extra

__all__ = ["CachedFrame", "FrameCache", "KeyTurn"]

T = TypeVar("T")

_SHORT = 16
_KEY = re.compile(rf"[0-9a-f]{{{_SHORT}}}(?:[0-9a-f]{{48}})?")
_FOLDER = re.compile(rf"cache_[0-9a-f]{{{_SHORT}}}")
_DATA, _METADATA, _ACCESSED, _LOCKS = "data.parquet", "metadata.json", "last_accessed", ".locks"
_VERSION, _CHECKSUM = 1, "checksum"
# Time to wait for another process that holds a key: it queries its source and then writes the
# frame.
_LOCK_TIMEOUT_S = 60.0
_NEARLY_FULL = 0.9
_MOST_DIGITS = 19  # digits of nanoseconds since 1970
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


class FrameCache:
    """A cache of frames in a folder. Thread-safe, and can be shared by processes.

    Only the holder of a key's :meth:`lock` may call ``get`` and ``put`` for that key.

    Args:
        folder: Folder of the frames; the first ``put`` creates it.
        max_bytes: Maximum total size; above it, the least recently used frames are dropped, but
            never the latest.
        disk: File access; None means ordinary files, with permissions according to the umask.
    """

    def __init__(self, folder: Path, max_bytes: int, disk: Disk | None = None) -> None:
        self.folder, self._max_bytes = folder, max_bytes
        self._disk = disk or Disk(root=folder)
        self._is_alerted = False

    def lock(self, key: str) -> AbstractContextManager[None]:
        """Lock a key against all other threads and processes.

        Raises:
            LockTimeoutError: Another thread or process held the key for a minute.
            StorageError: The folder cannot be written.
        """
        locks = self.folder / _LOCKS
        self._disk.make_folders(locks, durable=False)
        return self._disk.lock(locks / key[:_SHORT], _LOCK_TIMEOUT_S)

    def metadata(self, key: str) -> dict[str, Any] | None:
        """Return the metadata of the frame for a key or its first 16 digits; None if there is no frame.

        Raises:
            QueryError: The string is not a key.
            StorageError: The metadata cannot be read.
        """
        if not _KEY.fullmatch(key):
            raise QueryError(
                f"invalid cache key {key!r:.80}",
                hint="use the 16 or 64 digits from generate_cache_key",
            )
        path = self._path(key)
        data = self._disk.read_if_exists(path / _METADATA)
        metadata = None if data is None else _parsed(data)
        if metadata is None or not metadata["cache_key"].startswith(key):
            if data is not None and metadata is None:
                _log.warning("%s: %s is damaged: the frame is fetched again", path.name, _METADATA)
            return None
        facts = {"bundle_name": path.name, "bundle_path": str(path)}
        return metadata | facts | {"last_accessed": self._accessed_ns(path) // 1_000_000_000}

    def get(self, key: str) -> CachedFrame | None:
        """Return the frame for a key, or None; the frame becomes the most recently used one.

        A damaged frame is reported in the log and counts as missing.

        Raises:
            StorageError: The frame cannot be read.
        """
        metadata = self.metadata(key)
        if metadata is None or metadata["cache_key"] != key:
            return None
        path = self._path(key)
        data = self._disk.read_if_exists(path / _DATA)
        if data is None:
            return None
        if hashlib.sha256(data).hexdigest() != metadata["sha256"]:
            _log.warning("%s: %s is damaged: the frame is fetched again", path.name, _DATA)
            return None
        try:
            frame = pl.read_parquet(io.BytesIO(data))
        except pl.exceptions.PolarsError as error:
            _log.warning(
                "%s: %s cannot be read, so the frame is fetched again: %s", path.name, _DATA, error
            )
            return None
        self._touch(path)
        return CachedFrame(frame, metadata)

    def put(self, key: str, frame: pl.DataFrame, metadata: Mapping[str, Any]) -> None:
        """Store a frame, replacing an earlier one with its key; then drop old frames if necessary.

        Args:
            key: Cache key, 64 hex digits; the first 16 are part of the folder's name.
            frame: Any frame that Parquet can hold.
            metadata: Further metadata to record, as JSON.

        Raises:
            StorageError: The frame cannot be stored; either the earlier frame is still there, or
                none.
        """
        path = self._path(key)
        buffer = io.BytesIO()
        try:
            frame.write_parquet(buffer, compression="zstd", compression_level=3)
        except pl.exceptions.PolarsError as error:
            raise StorageError(f"the frame cannot be stored as Parquet: {error}") from error
        data = buffer.getvalue()
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
        self._touch(path)  # marks the folder as this library's
        # Not synced: the frame can be fetched again, and a file torn by a power loss does not match
        # its checksum.
        write_atomically(self._disk, path / _DATA, data, durable=False)
        write_atomically(self._disk, path / _METADATA, text, durable=False)
        self._evict()

    def _path(self, key: str) -> Path:
        return self.folder / f"cache_{key[:_SHORT]}"

    # --- least recently used ---------------------------------------------------------------

    def _touch(self, path: Path) -> None:
        """Record that a frame was used just now, unless the folder is read-only."""
        try:
            stamp = str(self._disk.now_ns()).encode()
            write_atomically(self._disk, path / _ACCESSED, stamp, durable=False)
        except StorageError as error:
            _log.debug("%s: its use was not recorded: %s", path.name, error)

    def _accessed_ns(self, path: Path) -> int:
        """Return the time at which a frame was last used, or 0 if that is unknown."""
        data = self._disk.read_if_exists(path / _ACCESSED) or b""
        return int(data) if data.isdigit() and len(data) <= _MOST_DIGITS else 0

    def size_bytes(self) -> int:
        """Return the total size of all frames.

        Raises:
            StorageError: The folder cannot be read.
        """
        return sum(self._sizes().values())

    def _sizes(self) -> dict[str, int]:
        """Return the size of each frame in bytes, by folder name; other programs' folders are ignored."""
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

    def _evict(self) -> None:
        """Drop the least recently used frames until the others are within the size limit.

        A frame whose key is locked is not dropped; the latest frame's key is always locked.
        """
        sizes = self._sizes()
        total = sum(sizes.values())
        if total > self._max_bytes:
            order = sorted(sizes, key=lambda name: self._accessed_ns(self.folder / name))
            for name in order:
                if total > self._max_bytes and self._drop(name):
                    total -= sizes[name]
        is_much = total >= _NEARLY_FULL * self._max_bytes
        if is_much and not self._is_alerted:
            _log.warning(
                "%s takes %d of %d bytes: the least recently used frames are dropped; "
                "cache.max_size_bytes allows more",
                self.folder,
                total,
                self._max_bytes,
            )
        self._is_alerted = is_much

    def _drop(self, name: str) -> bool:
        """Remove a frame unless it is in use; return whether it was removed."""
        lock = self.folder / _LOCKS / name.removeprefix("cache_")
        try:
            with self._disk.lock(lock, 0.0):
                self._disk.remove_whole(self.folder / name)
        except LockTimeoutError:
            return False
        except CacheError as error:
            _log.warning("%s cannot be dropped: %s", name, error)
            return False
        return True


def _parsed(data: bytes) -> dict[str, Any] | None:
    """Return the metadata of a frame, or None if it is damaged or from another version."""
    try:
        metadata = dict(json.loads(data))
        checksum = metadata.pop(_CHECKSUM)
        if metadata["version"] != _VERSION or checksum != _checksum(metadata):
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
        """Release the lock, immediately or as soon as the work that is running under it is done."""
        with self._guard:
            self._is_over = True
            is_busy = self._is_busy
        if not is_busy:
            self._give_back()

    def _give_back(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.__exit__(None, None, None)
