"""A folder of frames that programs' own sources gave, each by its key: kept whole, or not at all.

``cache_<key>/data.parquet`` is a frame, ``metadata.json`` beside it says which, with the SHA256 of the
frame: what does not fit together counts as not there.
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
from ..polars import pl  # says which extra is missing

__all__ = ["CachedFrame", "FrameCache", "KeyTurn"]

T = TypeVar("T")

_SHORT = 16
_KEY = re.compile(rf"[0-9a-f]{{{_SHORT}}}(?:[0-9a-f]{{48}})?")
_FOLDER = re.compile(rf"cache_[0-9a-f]{{{_SHORT}}}")
_DATA, _METADATA, _ACCESSED, _LOCKS = "data.parquet", "metadata.json", "last_accessed", ".locks"
_VERSION, _CHECKSUM = 1, "checksum"
# Another process that holds a key asks its source: as long as that may take, and to write.
_LOCK_TIMEOUT_S = 60.0
_NEARLY_FULL = 0.9
_MOST_DIGITS = 19  # of nanoseconds since 1970
_log = logging.getLogger(__name__)


class CachedFrame(NamedTuple):
    """A frame of the cache.

    Attributes:
        frame: as it was put.
        metadata: as it was put, with ``bundle_name``, ``bundle_path``, ``size_bytes``, ``row_count``.
    """

    frame: pl.DataFrame
    metadata: Mapping[str, Any]


class FrameCache:
    """Frames in a folder. Thread-safe, and shared by processes.

    ``get`` and ``put`` of a key are for those that hold its :meth:`lock`.

    Args:
        folder: where; made by the first ``put``.
        max_bytes: what all frames may take: the least used are dropped. The newest one stays.
        disk: reads and writes; None: permissions by the umask.
    """

    def __init__(self, folder: Path, max_bytes: int, disk: Disk | None = None) -> None:
        self.folder, self._max_bytes = folder, max_bytes
        self._disk = disk or Disk(root=folder)
        self._is_alerted = False

    def lock(self, key: str) -> AbstractContextManager[None]:
        """Hold a key against all threads and processes.

        Raises:
            LockTimeoutError: another one holds it for a minute.
            StorageError: the folder cannot be written.
        """
        locks = self.folder / _LOCKS
        self._disk.make_folders(locks, durable=False)
        return self._disk.lock(locks / key[:_SHORT], _LOCK_TIMEOUT_S)

    def metadata(self, key: str) -> dict[str, Any] | None:
        """Return what is recorded of a key, or of its first 16 digits; None where nothing is.

        Raises:
            QueryError: it is no key.
            StorageError: it cannot be read.
        """
        if not _KEY.fullmatch(key):
            raise QueryError(
                f"{key!r:.80} is no key", hint="16 or 64 digits, of generate_cache_key"
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
        """Return the frame of a key, which is the last to be dropped then; None where there is none.

        A damaged one is named in the log, and counts as none.

        Raises:
            StorageError: it cannot be read.
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
            _log.warning("%s: %s cannot be read, it is fetched again: %s", path.name, _DATA, error)
            return None
        self._touch(path)
        return CachedFrame(frame, metadata)

    def put(self, key: str, frame: pl.DataFrame, metadata: Mapping[str, Any]) -> None:
        """Keep a frame in place of the one before; then the least used are dropped, if need be.

        Args:
            key: 64 digits; the first 16 name its folder.
            frame: any that Parquet can hold.
            metadata: what else is recorded; JSON.

        Raises:
            StorageError: it cannot be kept; nothing is there, or the frame before.
        """
        path = self._path(key)
        buffer = io.BytesIO()
        try:
            frame.write_parquet(buffer, compression="zstd", compression_level=3)
        except pl.exceptions.PolarsError as error:
            raise StorageError(f"Parquet cannot hold the frame: {error}") from error
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
        self._touch(path)  # marks it as one of ours
        # Not synced: it can be fetched again, and what a power loss leaves fits no checksum.
        write_atomically(self._disk, path / _DATA, data, durable=False)
        write_atomically(self._disk, path / _METADATA, text, durable=False)
        self._evict()

    def _path(self, key: str) -> Path:
        return self.folder / f"cache_{key[:_SHORT]}"

    # --- the least used --------------------------------------------------------------------

    def _touch(self, path: Path) -> None:
        """Note that a frame is used now; a folder that cannot be written has no order then."""
        try:
            stamp = str(self._disk.now_ns()).encode()
            write_atomically(self._disk, path / _ACCESSED, stamp, durable=False)
        except StorageError as error:
            _log.debug("%s: its use is not noted: %s", path.name, error)

    def _accessed_ns(self, path: Path) -> int:
        """Return when a frame was used last; 0 where that is not known."""
        data = self._disk.read_if_exists(path / _ACCESSED) or b""
        return int(data) if data.isdigit() and len(data) <= _MOST_DIGITS else 0

    def size_bytes(self) -> int:
        """Return what all frames take.

        Raises:
            StorageError: the folder cannot be read.
        """
        return sum(self._sizes().values())

    def _sizes(self) -> dict[str, int]:
        """Return what each frame takes; folders of other programs are none."""
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
        """Drop the least used frames until the others fit; none whose key is held, as the newest one's is."""
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
                "%s takes %d of %d bytes: the least used frames are dropped; "
                "cache.max_size_bytes allows more",
                self.folder,
                total,
                self._max_bytes,
            )
        self._is_alerted = is_much

    def _drop(self, name: str) -> bool:
        """Remove a frame that is not in use, and tell whether it is gone."""
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
    """Return the metadata of a frame; None where it is damaged, or of another version."""
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
    """The lock of a key, taken in one thread and given back from any, at the end of what runs under it.

    A caller that is cancelled gives it back while a thread may still be waiting for it, or writing.

    Args:
        lock: which is made when it is first needed.
    """

    def __init__(self, lock: Callable[[], AbstractContextManager[None]]) -> None:
        self._make, self._guard = lock, threading.Lock()
        self._lock: AbstractContextManager[None] | None = None
        self._is_over = self._is_busy = False

    def run(self, work: Callable[[], T]) -> T:
        """Return what ``work`` does under the lock.

        Raises:
            CancelledError: the turn was over before.
            LockTimeoutError, StorageError: as of the lock.
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
        """Give the lock back, at once or when what runs under it is done."""
        with self._guard:
            self._is_over = True
            is_busy = self._is_busy
        if not is_busy:
            self._give_back()

    def _give_back(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.__exit__(None, None, None)
