"""One store of Polars frames, and the two caches that are built on it.

A frame is one Parquet file that also contains the facts about it and a digest of the file. Frames
that can be made again are views: a damaged one is removed, and the least recently used ones are
dropped. A frame of a custom source whose values exist nowhere else is an only copy: it is never
dropped, and a damaged one is set aside.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import logging
import math
import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ...core.bars.client import Wishes
from ...core.calendars.finality import newest_settled
from ...core.clock import Clock, SystemClock
from ...core.disk.atomic import or_discarded, stage, write_atomically
from ...core.disk.calls import MOST_BYTES
from ...core.disk.files import Disk, FileState
from ...core.model.answer.frame import REQUIRED_COLUMNS
from ...core.model.time.instant import MINUTE_MS, from_ms
from ...core.model.time.timeframe import Timeframe
from ...core.model.words.caller import warn_user
from ...core.net.calls.call_threads import awaited
from ...core.runtime.forks import renew_after_fork
from ...core.runtime.lru_cache import LruCache
from ...core.runtime.resources import all_memory
from ...data_manager import DataManager
from ...errors import (
    CacheError,
    CorruptEntryError,
    DataError,
    QueryError,
    StorageError,
)
from ..catalog.catalog import DataCatalog
from ..frames.frames import pl  # its error names the missing extra
from ..frames.seal import BLANK, MARK, check_seal, sealed
from ..settings.catalog_settings import CacheSettings, catalog_settings
from ..settings.folder import frames_folder
from .identity import identity_of
from .source_due import (
    FETCHED,
    MAX_SIZE,
    NOW,
    FreshnessPolicyFactory,
    checked_settings,
    freshness_settings,
    is_fresh_by,
)
from .sources import (
    PATIENCE_S,
    BundlePath,
    DataSource,
    DataSourceMetadata,
    SourceQuestion,
    fetched,
    for_caller,
    ingested,
    started,
)
from .vendor_sources import VendorDataSource, bound_of, source_name

__all__ = ["CacheManager", "CachedDataSource", "FrameStore", "LRUCache", "StoredFrame"]

_MB = 1 << 20
_SHORT = 16
_KEY = re.compile(rf"[0-9a-f]{{{_SHORT}}}(?:[0-9a-f]{{48}})?")
_VIEW = re.compile(rf"cache_([0-9a-f]{{{_SHORT}}})\.parquet")
_ONLY = ".only"
# The facts are one text in the metadata of the file: JSON, and its seal.
_FACTS = "onetape"
_COLD, _STATISTICS = "cold_cache", "statistics.json"
# Above the limit, frames are dropped until this share of it is left. The folder is listed again
# after this share of the limit was written, and once an hour.
_NEARLY_FULL, _LISTED_AFTER = 0.9, 0.05
_HOUR_NS = 3600 * 10**9
# Number of files that this process remembers as checked.
_REMEMBERED = 100_000
# The frame to drop first has the highest value, by its size and the time since its last use.
_POLICIES: Mapping[str, Callable[[int, int], float]] = {
    "lru": lambda size, idle_ns: idle_ns,
    "size": lambda size, idle_ns: size,
    "hybrid": lambda size, idle_ns: size * idle_ns,
}
# A frame that another process stored may be dated this long after now.
_SKEW_S = 60.0
# Memory for a frame in addition to its values.
_ENTRY_BYTES = 2000
_LOCK_TIMEOUT_S = 60.0
_MOST_SOURCE_BYTES = 10 << 30
_log = logging.getLogger(__name__)


class StoredFrame(NamedTuple):
    """A frame from the store.

    Attributes:
        frame: Frame as it was passed to :meth:`FrameStore.put`.
        facts: Facts as they were passed, and those that the store adds.
        state: State of its file; None if there is no file.
    """

    frame: pl.DataFrame
    facts: dict[str, Any]
    state: FileState | None


class FrameStore:
    """Frames in a folder, limited by their total size. Thread-safe, and can be shared by processes.

    A frame is written under a temporary name and renamed, so readers see all of it or none. The
    digest of a file is checked once in each process, and again if the file changes. The access time
    of a file is the time at which its frame was last used.

    Args:
        folder: Folder of the frames; the first ``put`` creates it.
        max_bytes: Maximum total size; if it is exceeded, views other than the latest are dropped
            until the size is 90% of the maximum.
        disk: File access; None means ordinary files, with permissions according to the umask.
        policy: Which views are dropped first: ``lru`` (the least recently used), ``size`` (the
            largest), or ``hybrid`` (by size times the time since the last use).
    """

    def __init__(
        self, folder: Path, max_bytes: int, disk: Disk | None = None, *, policy: str = "lru"
    ) -> None:
        self.folder, self._max_bytes, self._rank = folder, max_bytes, _POLICIES[policy]
        self._disk, self._checked = disk or Disk(root=folder), LruCache(_REMEMBERED)
        self._room, self._listed_ns = -1.0, self._disk.now_ns()

    def path(self, key: str, *, is_only_copy: bool = False) -> Path:
        """Return the path of the file for a key (or for its first 16 digits).

        Raises:
            QueryError: The string is not a key.
        """
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise QueryError(
                f"invalid cache key {key!r:.80}",
                hint="use the 16 or 64 digits from generate_cache_key",
            )
        return self.folder / f"cache_{key[:_SHORT]}{_ONLY if is_only_copy else ''}.parquet"

    def get(self, key: str) -> StoredFrame | None:
        """Return the frame for a key, or None; it becomes the most recently used one.

        A damaged view is reported in the log, removed, and counts as missing.

        Raises:
            QueryError: The string is not a key.
            CorruptEntryError: An only copy is damaged; it has been set aside, and later calls return
                None.
            StorageError: The frame cannot be read.
        """
        for is_only_copy in (False, True):
            path = self.path(key, is_only_copy=is_only_copy)
            content = self._disk.read_with_state(path)
            if content is None:
                continue
            data, state = content
            try:
                if self._checked.get(path.name) != state:
                    check_seal(data)
                facts = _facts_of(io.BytesIO(data))
                frame = pl.read_parquet(io.BytesIO(data))
            except (ValueError, KeyError, pl.exceptions.PolarsError) as error:
                self._reject(path, state, error, is_only_copy=is_only_copy)
                continue
            self._checked.put(path.name, state, 1)
            if facts["cache_key"].startswith(key):
                stored = StoredFrame(frame, facts | _place(path, state.size), state)
                self.note_use(stored)
                self._list_if_due(path.name)
                return stored
        return None

    def facts(self, key: str) -> dict[str, Any] | None:
        """Return the facts about the frame for a key, without reading the frame; None if missing.

        Returns:
            The facts passed to :meth:`put`, with ``cache_key``, ``row_count``, ``sha256``,
            ``bundle_name``, ``bundle_path``, ``size_bytes`` and ``last_accessed`` (UTC seconds).

        Raises:
            QueryError: The string is not a key.
            StorageError: The folder cannot be read.
        """
        for is_only_copy in (False, True):
            path = self.path(key, is_only_copy=is_only_copy)
            state = self._disk.stat(path)
            if state is None:
                continue
            try:
                facts = _facts_of(path)
            except (ValueError, KeyError, OSError, pl.exceptions.PolarsError) as error:
                _log.warning("%s is damaged: %s", path.name, error)
                continue
            if facts["cache_key"].startswith(key):
                return facts | _place(path, state.size)
        return None

    def put(
        self, key: str, frame: pl.DataFrame, facts: Mapping[str, Any], *, is_only_copy: bool = False
    ) -> StoredFrame:
        """Store a frame, replacing an earlier one with its key; then drop views if necessary.

        Args:
            key: Cache key, 64 or 16 hex digits; the first 16 are part of the file's name.
            frame: Any frame that Parquet can hold.
            facts: Facts to record, as JSON.
            is_only_copy: Whether the values exist nowhere else: the frame is never dropped, and is
                safe from a power loss.

        Raises:
            QueryError: The string is not a key.
            StorageError: The frame cannot be stored; the earlier one is unchanged.
        """
        path = self.path(key, is_only_copy=is_only_copy)
        facts = {**facts, "cache_key": key, "row_count": frame.height}
        data, digest = _packed(frame, facts)
        self._disk.make_folders(self.folder, durable=is_only_copy)
        temp = stage(self._disk, path, data, durable=is_only_copy)
        with or_discarded(self._disk, temp):
            now = self._disk.now_ns()
            self._disk.set_times(temp, now, now)  # no other version has the same ones
            state = self._disk.stat(temp)
            self._disk.replace(temp, path)
        if is_only_copy:
            self._disk.sync_folder(self.folder)
        self._disk.remove(self.path(key, is_only_copy=not is_only_copy))
        self._room -= len(data)
        self._list_if_due(path.name)
        facts |= {"sha256": digest, **_place(path, len(data))}
        return StoredFrame(frame, facts, state)

    def remove(self, key: str) -> None:
        """Remove the view for a key or its first 16 digits; does nothing if it does not exist.

        Raises:
            QueryError: The string is not a key.
            StorageError: The frame cannot be removed.
        """
        self._disk.remove(self.path(key))

    def _reject(
        self, path: Path, state: FileState, error: Exception, *, is_only_copy: bool
    ) -> None:
        """Remove a damaged view, or set a damaged only copy aside.

        Raises:
            CorruptEntryError: The damaged file is an only copy.
        """
        if not is_only_copy:
            _log.warning("%s is damaged: the frame is made again: %s", path.name, error)
            try:
                self._disk.remove(path)
            except StorageError as refusal:
                _log.warning("%s cannot be removed: %s", path.name, refusal)
            return
        aside = path.with_name(f"{path.name}.{self._disk.now_ns()}.damaged")
        if self._disk.stat(path) == state:  # otherwise it was replaced meanwhile
            self._disk.replace(path, aside)
        raise CorruptEntryError(
            f"the only copy of a frame is damaged: {error}",
            hint=f"it was moved to {aside}; the next call requests the bars from the source",
        )

    # --- use and size ----------------------------------------------------------------------

    def note_use(self, stored: StoredFrame) -> None:
        """Make a frame the most recently used one."""
        if stored.state is not None:
            path, now = stored.facts["bundle_path"], self._disk.now_ns()
            with suppress(StorageError):  # read-only, or dropped meanwhile
                self._disk.set_times(path, now, stored.state.mtime_ns)

    def sizes(self) -> dict[str, int]:
        """Return the size of each frame's file in bytes, by name; other files are ignored.

        Raises:
            StorageError: The folder cannot be read.
        """
        names = self._disk.list(self.folder)
        ours = [name for name in names if _VIEW.fullmatch(name.replace(_ONLY, ""))]
        states = {name: self._disk.stat(self.folder / name) for name in ours}
        return {name: state.size for name, state in states.items() if state is not None}

    def keys(self) -> list[str]:
        """Return the first 16 digits of the key of each view.

        Raises:
            StorageError: The folder cannot be read.
        """
        return [
            found[1] for name in self._disk.list(self.folder) if (found := _VIEW.fullmatch(name))
        ]

    def _list_if_due(self, latest: str) -> None:
        """List the folder if much was written or an hour has passed, and drop views above the limit."""
        if self._room >= 0 and 0 <= self._disk.now_ns() - self._listed_ns < _HOUR_NS:
            return
        try:
            self._drop_above_limit(latest)
        except StorageError as error:
            _log.debug("%s was not listed: %s", self.folder, error)

    def _drop_above_limit(self, latest: str) -> None:
        sizes, now = self.sizes(), self._disk.now_ns()
        total = sum(sizes.values())
        self._listed_ns = now
        if total > self._max_bytes:
            views = [name for name in sizes if _VIEW.fullmatch(name) and name != latest]
            uses = {name: _used_ns(self.folder / name) for name in views}
            ranks = {name: self._rank(sizes[name], max(0, now - uses[name])) for name in views}
            for name in sorted(views, key=ranks.__getitem__, reverse=True):
                if total <= _NEARLY_FULL * self._max_bytes:
                    break
                try:
                    self._disk.remove(self.folder / name)
                    total -= sizes[name]
                except StorageError as error:
                    _log.warning("%s cannot be dropped: %s", name, error)
        self._room = min(self._max_bytes - total, _LISTED_AFTER * self._max_bytes)
        self._discard_leftovers(now)

    def _discard_leftovers(self, now: int) -> None:
        """Remove temporary files of writers that died."""
        for name in self._disk.list(self.folder):
            if name.startswith(".cache_") and name.endswith(".tmp"):
                state = self._disk.stat(self.folder / name)
                if state is not None and now - state.mtime_ns > _HOUR_NS:
                    self._disk.remove(self.folder / name)


def _packed(frame: pl.DataFrame, facts: Mapping[str, Any]) -> tuple[bytes, str]:
    """Return a frame and its facts as a Parquet file, and the digest in it.

    Raises:
        StorageError: The frame cannot be stored as Parquet, or is too large.
    """
    text, buffer = json.dumps(facts) + MARK + BLANK, io.BytesIO()
    try:
        frame.write_parquet(buffer, compression="lz4", metadata={_FACTS: text})
    except pl.exceptions.PolarsError as error:
        raise StorageError(f"the frame cannot be stored as Parquet: {error}") from error
    data = buffer.getvalue()
    if len(data) > MOST_BYTES:
        raise StorageError(
            f"the frame takes {len(data):,} bytes as Parquet, more than {MOST_BYTES:,}",
            hint="store fewer symbols or a shorter range in one frame",
        )
    return sealed(data)


def _place(path: Path, size: int) -> dict[str, Any]:
    """Return the facts about a frame's file, which may have been dropped meanwhile."""
    return {
        "bundle_name": path.name.split(".")[0],
        "bundle_path": str(path),
        "size_bytes": size,
        "last_accessed": _used_ns(path) // 10**9,
    }


def _used_ns(path: Path) -> int:
    """Return the time at which a file was last used, or 0 if it does not exist."""
    try:
        return os.stat(path).st_atime_ns
    except OSError:
        return 0


def _facts_of(file: Path | io.BytesIO) -> dict[str, Any]:
    """Return the facts in a Parquet file."""
    text, _, digest = pl.read_parquet_metadata(file)[_FACTS].rpartition(MARK)
    return {**json.loads(text), "sha256": digest}


# --- frames by request ----------------------------------------------------------------------------


class LRUCache:
    """Frames kept in memory by key, up to a total size; the least recently used are dropped first.

    Thread-safe. It is the in-memory part of :class:`CacheManager`, as a separate class for programs
    that use it directly.

    Args:
        max_size_bytes: Maximum total size of the frames, as Polars estimates it.
    """

    def __init__(self, max_size_bytes: int = 1 << 30) -> None:
        self.max_size_bytes = max_size_bytes
        self._frames = LruCache(max_size_bytes)

    @property
    def current_size_bytes(self) -> int:
        """The total size of the frames in bytes."""
        return self._frames.size

    def get(self, key: str) -> pl.DataFrame | None:
        """Return the frame for a key, or None; the frame becomes the most recently used one."""
        frame: pl.DataFrame | None = self._frames.get(key)
        return None if frame is None else frame.clone()

    def put(self, key: str, df: pl.DataFrame) -> None:
        """Keep a frame, dropping others to make room; a frame larger than the limit is not kept."""
        self._frames.put(key, df.clone(), df.estimated_size() + _ENTRY_BYTES)

    def clear(self) -> None:
        """Drop all frames."""
        self._frames.drop_where(lambda key, frame: True)

    def get_stats(self) -> dict[str, Any]:
        """Return ``entry_count`` and ``total_size_mb``."""
        return {"entry_count": len(self._frames), "total_size_mb": self._frames.size / _MB}


class CacheManager:
    """A cache of frames by request, in memory and as Parquet files. Thread-safe.

    It is meant for frames that are not stored in any other form: frames from a program's own
    sources, and the results of queries over bundles. Bars from vendors are in the data manager's
    store and do not need a second cache.

    Several processes may use the same folder: a frame that another process has replaced or removed
    is noticed at the next call. Frames in memory and files are limited by their total size; the
    least recently used ones are dropped. Once an hour, the total size of the files is checked.

    A frame is stale, and is removed, if it is older than ``ttl_seconds``, if its ``checksum`` or
    ``generation`` differs from the one passed to :meth:`get`, or after :meth:`invalidate`. A damaged
    file is reported in the log and removed. If frames cannot be stored, they are kept in memory
    only, with one warning.

    Each setting is taken from the first of these sources that has it: the argument, for the sizes the
    environment variable of older programs, the section ``cache`` of ``./config/data_catalog.yaml``, the
    default.

    Args:
        cache_dir: Folder; the frames are in ``cold_cache`` inside it. The default is in the user's
            cache folder, next to the cache of bars.
        hot_cache_size_mb: Maximum size of the frames in memory, in MB (default 1024); at most half
            of this machine's memory.
        cold_cache_size_mb: Maximum size of the files, in MB (default 51200).
        ttl_seconds: Seconds after which a frame is stale (default 7 days).
        eviction_policy: Which files are dropped first: ``lru`` (default), ``size`` (the largest) or
            ``hybrid`` (by size times the time since the last use).
        cache_directory: Alias of ``cache_dir``.
        db_path: SQLite file of the catalog to use, instead of ``data_catalog``.
        data_catalog: Object with ``get_dataset_info(dataset_id)``, such as a :class:`.DataCatalog`,
            for :meth:`check_cache_validity`.
        clock: Clock for the age of frames; None means the system clock.
        disk: File access; None means ordinary files, with permissions according to the umask.

    Attributes:
        cache_dir: Folder as it was given, or the default.
        hot_cache_size_mb, cold_cache_size_mb: Limits in effect, in MB.
        data_catalog: See the arguments; None without one.

    Raises:
        QueryError: An argument is invalid, or two names for one argument are used.
        ConfigError: A setting is invalid, or the folder is inside the bar cache, which could delete
            the frames.
    """

    def __init__(
        self,
        cache_dir: str | os.PathLike[str] | None = None,
        hot_cache_size_mb: float | None = None,
        cold_cache_size_mb: float | None = None,
        *,
        ttl_seconds: float | None = None,
        eviction_policy: str | None = None,
        cache_directory: str | os.PathLike[str] | None = None,
        db_path: str | os.PathLike[str] | None = None,
        data_catalog: Any = None,
        clock: Clock | None = None,
        disk: Disk | None = None,
    ) -> None:
        if cache_dir is not None and cache_directory is not None:
            raise QueryError("cache_dir and cache_directory are two names for one argument")
        if db_path is not None and data_catalog is not None:
            raise QueryError("db_path and data_catalog cannot be used together")
        settings = _with_arguments(
            catalog_settings().cache,
            cache_dir=cache_directory if cache_dir is None else cache_dir,
            hot_cache_size_mb=hot_cache_size_mb,
            cold_cache_size_mb=cold_cache_size_mb,
            ttl_seconds=ttl_seconds,
            eviction_policy=eviction_policy,
        )
        whole = frames_folder(settings.cache_dir)
        self.cache_dir = whole if settings.cache_dir is None else Path(settings.cache_dir)
        self.hot_cache_size_mb = settings.hot_cache_size_mb
        self.cold_cache_size_mb = settings.cold_cache_size_mb
        self.data_catalog = DataCatalog(db_path) if db_path is not None else data_catalog
        folder = whole / _COLD
        self._clock, self._disk = clock or SystemClock(), disk or Disk(root=folder)
        self._ttl_s = settings.ttl_seconds
        self._hot = LruCache(min(int(self.hot_cache_size_mb * _MB), all_memory() // 2))
        self._frames = FrameStore(
            folder,
            int(settings.cold_cache_size_mb * _MB),
            self._disk,
            policy=settings.eviction_policy,
        )
        # States of files that must not be returned, even if they cannot be removed.
        self._outdated = LruCache(_REMEMBERED)
        self._counts = {"hot_hits": 0, "cold_hits": 0, "miss_count": 0}
        self._recorded = dict[str, Any]()
        self._has_warned = False
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Create a new lock in a forked child."""
        self._guard = threading.Lock()

    # --- by request ------------------------------------------------------------------------

    def get(
        self,
        symbols: Sequence[str],
        start_date: Any,
        end_date: Any,
        resolution: str,
        source: str,
        *,
        checksum: str | None = None,
        generation: int | None = None,
    ) -> pl.LazyFrame | None:
        """Return the cached frame for a request, or None.

        Args:
            symbols: Symbols of the request, in any order.
            start_date, end_date: Bounds of the request: text, a date or a time; naive means UTC.
            resolution: Timeframe of the bars.
            source: Name of the source of the bars.
            checksum: Current checksum of the source's data; a frame that was stored with a
                different checksum, or with none, is stale. None means unknown.
            generation: Current version number of the source's data, used like ``checksum``.

        Returns:
            The frame that was passed to :meth:`put`, as a lazy frame. Changes to it do not affect
            the cache.

        Raises:
            QueryError: An argument is invalid.
        """
        key = self._generate_cache_key(symbols, start_date, end_date, resolution, source)
        frame = self._frame(key, checksum, generation)
        return None if frame is None else frame.lazy()

    def put(
        self,
        symbols: Sequence[str],
        start_date: Any,
        end_date: Any,
        resolution: str,
        source: str,
        data: pl.LazyFrame | pl.DataFrame,
        *,
        checksum: str | None = None,
        generation: int | None = None,
    ) -> None:
        """Cache the frame for a request, replacing an earlier one.

        Args:
            symbols, start_date, end_date, resolution, source: See :meth:`get`.
            data: Frame; a lazy one is collected.
            checksum, generation: Checksum and version number of the source's data before the frame
                was read from it.

        Raises:
            QueryError: An argument is invalid, or the frame cannot be collected.

        Warns:
            UserWarning: The frame is kept in memory only, because it cannot be stored.
        """
        key = self._generate_cache_key(symbols, start_date, end_date, resolution, source)
        facts = {
            "source": source,
            "symbols": list(symbols),
            "start": str(start_date),
            "end": str(end_date),
            "frequency": resolution,
            "source_checksum": checksum,
            "generation": generation,
        }
        self._keep(key, data, facts)

    def _generate_cache_key(
        self, symbols: Sequence[str], start_date: Any, end_date: Any, resolution: str, source: str
    ) -> str:
        """Return a request's cache key: the SHA-256 of its canonical JSON, as 64 hex digits."""
        if isinstance(symbols, str) or not isinstance(symbols, Iterable):
            raise QueryError(f"symbols must be a list, not {symbols!r:.80}", hint="['AAPL']")
        try:
            return _key(tuple(symbols), start_date, end_date, resolution, source)
        except TypeError as error:
            raise QueryError(f"the request cannot be a key: {error}") from error

    def invalidate(self, cache_key: str) -> None:
        """Remove the frame for a cache key, or for its first 16 digits, in memory and on disk.

        Raises:
            QueryError: The string is not a key.
            StorageError: The file cannot be removed; this object no longer returns the frame, but
                others may.
        """
        state = self._disk.stat(self._frames.path(cache_key))
        self._hot.drop(cache_key[:_SHORT])
        self._outdated.put(cache_key[:_SHORT], state, 1)
        self._frames.remove(cache_key)

    def clear(self) -> None:
        """Remove all frames, in memory and on disk.

        Raises:
            StorageError: See :meth:`invalidate`.
        """
        self._hot.drop_where(lambda key, entry: True)
        for key in self._frames.keys():
            self.invalidate(key)

    def check_cache_validity(self, cache_key: str, dataset_id: str) -> bool:
        """Return whether a frame is cached that still matches a dataset in the catalog.

        The frame is removed if it is older than the TTL, or if its checksum differs from the
        dataset's.

        Args:
            cache_key: Key of the frame, or its first 16 digits.
            dataset_id: Id of a dataset in ``data_catalog``.

        Raises:
            QueryError: The string is not a key, the dataset does not exist, or this cache has no
                catalog.
            StorageError: The file cannot be read.
        """
        if self.data_catalog is None:
            raise QueryError("this cache has no catalog", hint="CacheManager(data_catalog=...)")
        _, found = self._find(cache_key)
        if found is None:
            return False
        checksum = self.data_catalog.get_dataset_info(dataset_id)["checksum"]
        return self._unless_stale(cache_key, found, checksum, None) is not None

    def get_stats(self) -> dict[str, Any]:
        """Return figures about this object's calls, and about the cache.

        Returns:
            ``hit_rate`` (0.0 to 1.0), ``hit_count``, ``hot_hits``, ``cold_hits``, ``miss_count``;
            ``entry_count`` and ``total_size_mb`` of the files; ``hot_entry_count`` and
            ``hot_size_mb`` of the frames in memory.

        Raises:
            StorageError: The folder cannot be read.
        """
        return {
            **self.session_stats,
            **self._size_of_files(),
            "hot_entry_count": len(self._hot),
            "hot_size_mb": self._hot.size / _MB,
        }

    def _size_of_files(self) -> dict[str, Any]:
        sizes = self._frames.sizes()
        return {"entry_count": len(sizes), "total_size_mb": sum(sizes.values()) / _MB}

    # --- the two tiers ---------------------------------------------------------------------

    def _frame(self, key: str, checksum: str | None, generation: int | None) -> pl.DataFrame | None:
        """Return a key's frame, from memory or else from its file; None if missing or stale."""
        tier, found = self._find(key)
        if found is not None:
            found = self._unless_stale(key, found, checksum, generation)
        with self._guard:
            self._counts["miss_count" if found is None else tier] += 1
        return None if found is None else found.frame

    def _find(self, key: str) -> tuple[str, StoredFrame | None]:
        """Return the name of the tier that has a frame, and the frame; None if there is none."""
        held: StoredFrame | None = self._hot.get(key[:_SHORT])
        try:
            if (
                held is not None
                and held.facts["cache_key"].startswith(key)
                and self._disk.stat(held.facts["bundle_path"]) == held.state
            ):
                self._frames.note_use(held)
                return "hot_hits", held
            stored = self._frames.get(key)
        except CacheError as error:
            _log.warning("%s: %s", self._frames.folder, error)
            return "", None
        if stored is None or stored.state == self._outdated.get(key[:_SHORT]):
            return "", None
        self._hold(key, stored)
        return "cold_hits", stored

    def _hold(self, key: str, stored: StoredFrame) -> None:
        size = stored.frame.estimated_size() + _ENTRY_BYTES
        self._hot.put(key[:_SHORT], stored, size)

    def _keep(self, key: str, data: Any, details: Mapping[str, Any]) -> None:
        """Store a frame, and keep it in memory."""
        frame = _own_frame(data)
        facts = {**details, "stored_at": self._clock.now_ms() / 1000}
        try:
            stored = self._frames.put(key, frame, facts)
        except CacheError as error:
            if not self._has_warned:
                self._has_warned = True
                folder = self._frames.folder
                warn_user(f"frames are kept in memory only, not in {folder}: {error}")
            path = self._frames.path(key)
            state = self._disk.stat(path)
            self._outdated.put(key[:_SHORT], state, 1)
            facts |= {"cache_key": key, "bundle_path": str(path)}
            stored = StoredFrame(frame, facts, state)
        self._hold(key, stored)

    def _unless_stale(
        self, key: str, found: StoredFrame, checksum: str | None, generation: int | None
    ) -> StoredFrame | None:
        """Return a frame, or remove it and return None if it is stale."""
        facts = found.facts
        if (
            -_SKEW_S <= self._clock.now_ms() / 1000 - facts["stored_at"] < self._ttl_s
            and checksum in (None, facts.get("source_checksum"))
            and generation in (None, facts.get("generation"))
        ):
            return found
        with suppress(CacheError):  # it is not returned, even if it cannot be removed
            self.invalidate(key)
        return None

    # --- by key, as in older programs ------------------------------------------------------

    @property
    def session_stats(self) -> dict[str, Any]:
        """Counts of this object's calls: hits, hits by tier, misses, and ``hit_rate`` (0.0 to 1.0)."""
        with self._guard:
            counts = dict(self._counts)
        return _with_rate(counts["hot_hits"] + counts["cold_hits"], counts)

    def generate_cache_key(
        self,
        symbols: Sequence[str],
        start_date: Any,
        end_date: Any,
        resolution: str,
        data_source: str,
    ) -> str:
        """Return the first 16 digits of a request's cache key; for the arguments, see :meth:`get`.

        Raises:
            QueryError: An argument is invalid.
        """
        key = self._generate_cache_key(symbols, start_date, end_date, resolution, data_source)
        return key[:_SHORT]

    def lookup_cache(self, cache_key: str) -> dict[str, Any] | None:
        """Return the recorded facts about a stored frame by its key (or its first 16 digits), or None.

        Returns:
            A mapping with ``cache_key``, ``parquet_path``, ``size_bytes``, ``row_count``,
            ``checksum`` (the SHA-256 of the file), ``created_at`` and ``last_accessed`` (UTC
            seconds), ``dataset_id`` and ``backtest_id`` (None if not known), and others.

        Raises:
            QueryError: The string is not a key.
            StorageError: The file cannot be read.
        """
        state = self._disk.stat(self._frames.path(cache_key))
        facts = self._frames.facts(cache_key)
        if facts is None or state == self._outdated.get(cache_key[:_SHORT]):
            return None
        data = self._disk.read_if_exists(facts["bundle_path"]) or b""
        return {
            "dataset_id": None,
            "backtest_id": None,
            **facts,
            "checksum": hashlib.sha256(data).hexdigest(),
            "created_at": int(facts["stored_at"]),
            "parquet_path": facts["bundle_path"],
        }

    def get_cached_data(self, cache_key: str) -> pl.DataFrame | None:
        """Return the cached frame by its key (or its first 16 digits), or None.

        Raises:
            QueryError: The string is not a key.
        """
        self._frames.path(cache_key)
        frame = self._frame(cache_key, None, None)
        return None if frame is None else frame.clone()

    def put_cached_data(
        self,
        cache_key: str,
        df: pl.DataFrame | pl.LazyFrame,
        dataset_id: Any = None,
        backtest_id: str | None = None,
    ) -> None:
        """Cache a frame by its key.

        Args:
            cache_key: Key from :meth:`generate_cache_key`.
            df: Frame.
            dataset_id: Dataset that the frame is from, recorded with the frame. If it is in
                ``data_catalog``, its checksum is recorded with the frame.
            backtest_id: Backtest for which the frame is cached. If the dataset is in
                ``data_catalog``, the backtest is linked to it.

        Raises:
            QueryError: The string is not a key, or the frame cannot be collected.

        Warns:
            UserWarning: See :meth:`put`.
        """
        self._frames.path(cache_key)
        checksum = None
        if self.data_catalog is not None and isinstance(dataset_id, str):
            checksum = self.data_catalog.get_dataset_info(dataset_id)["checksum"]
            if backtest_id is not None:
                self.data_catalog.link_backtest_to_dataset(backtest_id, dataset_id)
        facts = {
            "dataset_id": dataset_id,
            "backtest_id": backtest_id,
            "source_checksum": checksum,
        }
        self._keep(cache_key, df, facts)

    def clear_cache(self, cache_key: str | None = None, backtest_id: str | None = None) -> None:
        """Remove the frame for a key, or the frames cached for a backtest, or all frames.

        Raises:
            QueryError, StorageError: See :meth:`invalidate`.
        """
        if cache_key is not None:
            self.invalidate(cache_key)
        elif backtest_id is None:
            self.clear()
        else:
            for key in self._frames.keys():
                facts = self._frames.facts(key)
                if facts is not None and facts.get("backtest_id") == backtest_id:
                    self.invalidate(key)

    def record_daily_statistics(self) -> None:
        """Add this object's hits and misses since the last call to the figures for today (UTC).

        The file ``statistics.json`` next to the frames contains the figures of all processes
        together.

        Raises:
            StorageError, LockTimeoutError: The figures cannot be stored.
        """
        today = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC).date().isoformat()
        size_mb = self._size_of_files()["total_size_mb"]
        path = self._frames.folder / _STATISTICS
        self._disk.make_folders(path.parent, durable=False)
        with self._disk.lock(path.with_name(f".{_STATISTICS}.lock"), _LOCK_TIMEOUT_S):
            days = self._days()
            row = days.setdefault(today, {"hit_count": 0, "miss_count": 0})
            counts = self.session_stats
            for name in ("hit_count", "miss_count"):
                row[name] += counts[name] - self._recorded.get(name, 0)
            row["total_size_mb"] = size_mb
            write_atomically(self._disk, path, json.dumps(days).encode(), durable=False)
            self._recorded = counts

    def get_cache_statistics(self, start_date: Any = None, end_date: Any = None) -> dict[str, Any]:
        """Return the recorded figures for a range of days, and the current size of the cache.

        Args:
            start_date, end_date: First and last day, both included; None means no bound.

        Returns:
            ``hit_count``, ``miss_count`` and ``hit_rate`` (0.0 to 1.0) of these days;
            ``entry_count`` and ``total_size_mb`` of the files; ``session_stats`` of this object.

        Raises:
            QueryError: A bound is not a date.
            StorageError: The folder cannot be read.
        """
        first, last = (
            default if bound is None else _time("bound", bound).date().isoformat()
            for bound, default in ((start_date, ""), (end_date, "~"))
        )
        days = [row for day, row in self._days().items() if first <= day <= last]
        hits = sum(row["hit_count"] for row in days)
        return {
            **_with_rate(hits, {"miss_count": sum(row["miss_count"] for row in days)}),
            **self._size_of_files(),
            "session_stats": self.session_stats,
        }

    def _days(self) -> dict[str, Any]:
        """Return the recorded statistics, keyed by day; empty if the file is damaged."""
        data = self._disk.read_if_exists(self._frames.folder / _STATISTICS) or b"{}"
        with suppress(ValueError):
            return dict(json.loads(data))
        return {}


def _with_rate(hits: int, counts: Mapping[str, int]) -> dict[str, Any]:
    total = hits + counts["miss_count"]
    return {"hit_rate": hits / total if total else 0.0, "hit_count": hits, **counts}


def _with_arguments(settings: CacheSettings, **given: Any) -> CacheSettings:
    """Return the settings with the arguments that are not None.

    Raises:
        QueryError: An argument is invalid.
    """
    passed = {name: value for name, value in given.items() if value is not None}
    for name in ("hot_cache_size_mb", "cold_cache_size_mb", "ttl_seconds"):
        value = passed.get(name, 0)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 <= value < math.inf:
            raise QueryError(
                f"{name} is {value!r:.80}, but must be a number of at least 0",
                hint="name the arguments, such as CacheManager(cache_dir=...)",
            )
    policy = passed.get("eviction_policy", "lru")
    if policy not in _POLICIES:
        raise QueryError(f"unknown eviction_policy {policy!r:.80}; use {', '.join(_POLICIES)}")
    return replace(settings, **passed)


def _own_frame(data: Any) -> pl.DataFrame:
    """Return ``data`` as a frame of its own, which later changes to ``data`` do not affect.

    Raises:
        QueryError: The value is not a Polars frame, or cannot be collected.
    """
    try:
        frame = data.collect() if isinstance(data, pl.LazyFrame) else data
    except pl.exceptions.PolarsError as error:
        raise QueryError(f"the frame cannot be collected: {error}") from error
    if not isinstance(frame, pl.DataFrame):
        raise QueryError(f"data must be a Polars frame, not {type(data).__name__}")
    return frame.clone()


@lru_cache(4096)
def _key(symbols: tuple[str, ...], start: Any, end: Any, resolution: str, source: str) -> str:
    texts = {"resolution": resolution, "source": source}
    for name, value in [*texts.items(), *(("symbol", symbol) for symbol in symbols)]:
        if not isinstance(value, str):
            raise QueryError(f"{name} must be a string, not {value!r:.80}")
    if not symbols:
        raise QueryError("a request needs at least one symbol")
    request = {
        "symbols": sorted(set(symbols)),
        "start_date": _time("start_date", start).isoformat(),
        "end_date": _time("end_date", end).isoformat(),
        **texts,
    }
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def _time(name: str, value: Any) -> pd.Timestamp:
    """Return a time as naive UTC.

    Raises:
        QueryError: The value is not a time.
    """
    try:
        if isinstance(value, int | float):
            raise ValueError("a number has no unit")
        if isinstance(value, str) and not any(map(str.isdigit, value)):
            raise ValueError("it has no date, and changes with each call")
        stamp = pd.Timestamp(value)
        if pd.isna(stamp):
            raise ValueError("the value is missing")
    except (ValueError, TypeError, OverflowError) as error:
        raise QueryError(
            f"{name} is not a time: {value!r:.80}", hint="use a date, a time or an ISO string"
        ) from error
    return stamp if stamp.tzinfo is None else stamp.tz_convert("UTC").tz_localize(None)


# --- bars of sources ------------------------------------------------------------------------------


class CachedDataSource(DataSource):
    """A source whose bars are cached, so that final bars are requested only once. Thread-safe.

    Packaged sources:

    - The bars come from the data manager and its store; no other files are created.
    - Final bars are fetched if they are missing. Once stored, they are never fetched again,
      regardless of the policy.
    - The freshness policy decides whether bars that are not final yet may be requested again.
      Without a policy, the data manager's rule applies: a bar is requested when it is due.

    Custom sources:

    - Their frames are cached in a folder, one file for each frame. Only one caller in a process
      requests a frame, while the others wait for it.
    - A frame with columns other than those of bars, or with Decimals, is an only copy: it is never
      dropped, and if its file is damaged, it is set aside with an error.
    - The policy decides whether the whole frame is requested again. Without a policy,
      :class:`.FreshnessPolicyFactory` chooses one.
    - To keep a custom source's bars in the data manager's store instead, which knows which bars are
      final or missing, register its class (:meth:`.DataSourceRegistry.register`) and pass
      ``VendorDataSource(provider=name)``.

    Args:
        adapter: A packaged source, or an object with ``fetch(symbols, start, end,
            frequency)``.
        cache_dir: Folder for the frames of a custom source; None means one next to the bars, in the
            user's cache folder.
        config: Settings that override ``./config/cache_freshness.yaml``: keys as in
            :meth:`.FreshnessPolicyFactory.create`, and ``cache.max_size_bytes``, by default 10 GiB,
            above which the least recently used frames are dropped.
        freshness_policy: Object with a method ``is_fresh``.
        clock: Clock for a custom source; None means the system clock.
        disk: File access for frames; None means ordinary files, with permissions according to the
            umask.

    Attributes:
        adapter, freshness_policy: See the arguments.
        name: Name of the source.
        cache_dir: Folder of the frames; None for packaged sources.
        config: Settings in effect.
        provider, adjustment: Vendor and price adjustment of the packaged source; None if the source
            is a custom one.

    Raises:
        QueryError: The source has no ``fetch`` or is already cached, or the policy has no
            ``is_fresh``.
        ConfigError: A setting is invalid, or the folder is inside the bar cache, which could delete
            the frames.

    Warns:
        UserWarning: A folder or a maximum size was given for a packaged source, where it has no
            effect.
    """

    def __init__(
        self,
        adapter: Any,
        cache_dir: str | os.PathLike[str] | None = None,
        config: Mapping[str, Any] | None = None,
        freshness_policy: Any = None,
        *,
        clock: Clock | None = None,
        disk: Disk | None = None,
    ) -> None:
        if isinstance(adapter, CachedDataSource) or not callable(getattr(adapter, "fetch", None)):
            what = "is cached already" if hasattr(adapter, "fetch") else "has no fetch"
            what = f"adapter of type {type(adapter).__name__} {what}"
            raise QueryError(what, hint="such as YFinanceDataSource()")
        decide = getattr(freshness_policy, "is_fresh", None)
        if freshness_policy is not None and not callable(decide):
            name = type(freshness_policy).__name__
            raise QueryError(f"freshness_policy of type {name} has no method is_fresh")
        self.adapter, self.freshness_policy = adapter, freshness_policy
        settings = checked_settings(config)
        self.config = freshness_settings() | settings
        self.name, self._clock = source_name(adapter), clock or SystemClock()
        self._packaged = adapter if isinstance(adapter, VendorDataSource) else None
        self.provider = getattr(self._packaged, "provider", None)
        self.adjustment = getattr(self._packaged, "adjustment", None)
        self.cache_dir: Path | None = None
        if self._packaged is not None:
            if cache_dir is not None or MAX_SIZE in settings:
                warn_user(
                    f"{'cache_dir' if cache_dir is not None else MAX_SIZE} has no effect: bars of "
                    f"{adapter.name} are stored by the data manager, which has its own limit"
                )
        else:
            self.cache_dir = folder = frames_folder(cache_dir)
            self._identity = identity_of(adapter, self.name)
            self._frames = FrameStore(
                folder, int(self.config.get(MAX_SIZE, _MOST_SOURCE_BYTES)), disk
            )
        self._hits = self._misses = 0
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Create a new lock in a forked child, where no request is in progress."""
        self._guard = threading.Lock()
        self._flights = dict[str, Future[Any]]()

    @property
    def manager(self) -> DataManager | None:
        """The data manager of the packaged source, from which a data portal reads directly.

        It is None if the source is a custom one.
        """
        return None if self._packaged is None else self._packaged.manager

    def _policy(self, timeframe: Timeframe) -> Any:
        """Return the freshness policy for a timeframe; None means the data manager's own rule."""
        is_configured = any(key.startswith(f"{self.name}.") for key in self.config)
        is_ruled = self._packaged is not None and not is_configured
        if self.freshness_policy is not None or is_ruled:
            return self.freshness_policy
        return FreshnessPolicyFactory.create(self.adapter, timeframe.label, self.config)

    # --- bars ------------------------------------------------------------------------------

    async def fetch(
        self, symbols: list[str], start: pd.Timestamp, end: pd.Timestamp, frequency: str
    ) -> pl.DataFrame:
        """Return cached or newly requested bars from ``start`` to ``end``, both inclusive.

        The event loop is not blocked.

        Args:
            symbols, start, end, frequency: See :meth:`.DataSource.fetch`.

        Returns:
            A frame as returned by :meth:`.DataSource.fetch`. A frame from a custom source keeps its
            original values and additional columns; its rows are grouped by symbol, in the order in
            which the symbols were first requested.

        Raises:
            NoDataAvailableError: No symbol has any bars in the range.
            CorruptEntryError: The only copy of a custom source's frame is damaged; it has been set
                aside, and the next call requests the bars from the source.
            DataError: The source failed, or returned invalid bars.
            QueryError: An argument is invalid (a ``ValueError``).

        Warns:
            IncompleteDataWarning: Bars from the packaged source are missing.
            UserWarning: A frame could not be cached, or contains rows that were not requested.
        """
        if self._packaged is None:
            frame, is_hit = await self._shared(SourceQuestion.of(symbols, start, end, frequency))
        else:
            work = partial(self._from_store, self._packaged, symbols, start, end, frequency)
            frame, is_hit = await awaited(for_caller(work))
        with self._guard:
            self._hits, self._misses = self._hits + is_hit, self._misses + (not is_hit)
        return frame

    def _from_store(
        self, source: VendorDataSource, symbols: Sequence[str], *question: Any
    ) -> tuple[pl.DataFrame, bool]:
        """Return bars from the store, and whether no vendor was queried for any of them.

        The latest bars are not requested if the freshness policy withholds them.
        """
        policy = self._policy(Timeframe.parse(question[-1]))
        is_held = policy is not None and _is_withheld(source, policy, symbols, *question)
        answer = source.answer(symbols, *question, refresh=False, offline=is_held)
        return answer.frame, answer.is_hit

    async def _shared(self, question: SourceQuestion) -> tuple[pl.DataFrame, bool]:
        """Return a frame, and whether it was cached; one caller requests it for all callers."""
        key, own = question.key(self._identity), Future[Any]()
        own.set_running_or_notify_cancel()  # one caller cannot cancel it for others
        while (flight := self._flights.setdefault(key, own)) is not own:
            frame = await asyncio.wrap_future(flight)
            if frame is not None:  # otherwise its caller was cancelled
                return frame, True
        frame, failure = None, None
        try:
            frame, is_hit = await self._from_folder(key, question)
        except Exception as error:
            failure = error
            raise
        finally:  # callers that wait must not wait forever
            self._flights.pop(key, None)
            own.set_result(frame) if failure is None else own.set_exception(failure)
        return frame, is_hit

    async def _from_folder(self, key: str, question: SourceQuestion) -> tuple[pl.DataFrame, bool]:
        """Return a frame, and whether it was cached; request and cache it if it was not."""
        try:
            stored = await awaited(partial(self._frames.get, key))
        except StorageError as error:
            warn_user(f"frames cannot be stored in {self.cache_dir}: {error}")
            stored = None
        policy, now_ms = self._policy(question.timeframe), self._clock.now_ms()
        if stored and stored.facts[FETCHED] * 1000 <= now_ms:  # otherwise a clock was wrong
            facts = {**stored.facts, NOW: now_ms / 1000}
            calendar = self.config.get(f"{self.name}.calendar")
            if is_fresh_by(policy, facts, question.timeframe.label, calendar):
                return stored.frame, True
        frame = await fetched(self.adapter, question, PATIENCE_S)
        facts = {
            "source": self.name,
            "symbols": list(question.symbols),
            "start": question.bounds[0],
            "end": question.bounds[1],
            "frequency": question.timeframe.label,
            FETCHED: now_ms / 1000,
        }
        keep = partial(self._frames.put, key, frame, facts, is_only_copy=_is_only_copy(frame))
        try:
            await awaited(keep)
        except StorageError as error:
            warn_user(f"{question} were not stored in {self.cache_dir}: {error}")
        return frame, False

    async def warm_cache(
        self, symbols: list[str], start: pd.Timestamp, end: pd.Timestamp, frequency: str
    ) -> None:
        """Fetch missing bars, so that later calls find them in the cache; see :meth:`fetch`."""
        await self.fetch(symbols, start, end, frequency)

    def ingest_to_bundle(  # type: ignore[override] # may be awaited, and need not
        self,
        bundle_name: str,
        symbols: list[str],
        start: pd.Timestamp,
        end: pd.Timestamp,
        frequency: str,
        **options: Any,
    ) -> BundlePath | asyncio.Task[BundlePath]:
        """Write the bars that :meth:`fetch` returns to a bundle, and return the bundle's folder.

        If an event loop is running in this thread, the result is a task, which begins immediately.
        Both a folder and a task can be awaited.

        Args:
            bundle_name: Name of the bundle; bars are added to an existing bundle from this source.
            symbols, start, end, frequency: See :meth:`fetch`.
            **options: ``folder``: folder that contains the bundles; None means the configured one.

        Raises:
            BundleError: The bundle belongs to another source.
            DataError: See :meth:`fetch`; nothing is written.
        """
        if self._packaged is not None:
            ingest = self._packaged.ingest_to_bundle
            return ingest(bundle_name, symbols, start, end, frequency, **options)
        question = SourceQuestion.of(symbols, start, end, frequency)
        return started(partial(ingested, self, bundle_name, question, **options))

    def get_metadata(self) -> DataSourceMetadata:
        """Return the source's description of itself."""
        metadata: DataSourceMetadata | None = self.adapter.get_metadata()
        return metadata or DataSourceMetadata(self.name)

    def supports_live(self) -> bool:
        """Return whether the source also streams live bars."""
        return bool(self.adapter.supports_live())

    @property
    def statistics(self) -> dict[str, float]:
        """Cache statistics of this object: ``hit_count``, ``miss_count`` and ``hit_rate`` (in percent).

        A hit is a call that did not request anything from the source.
        """
        with self._guard:
            total = self._hits + self._misses
            rate = 100.0 * self._hits / total if total else 0.0
            return {"hit_count": self._hits, "miss_count": self._misses, "hit_rate": rate}

    # --- keys ------------------------------------------------------------------------------

    def generate_cache_key(
        self, symbols: Sequence[str], start: Any, end: Any, frequency: str
    ) -> str:
        """Return the first 16 digits of a request's cache key, which are part of its file's name.

        Raises:
            QueryError: An argument is invalid.
        """
        return self._generate_cache_key(symbols, start, end, frequency)[:_SHORT]

    def _generate_cache_key(
        self, symbols: Sequence[str], start: Any, end: Any, frequency: str
    ) -> str:
        """Return the cache key for a request, as 64 hex digits.

        The key is the SHA-256 of the source with its arguments, the sorted symbols, the exact times
        and the timeframe.
        """
        question = SourceQuestion.of(symbols, start, end, frequency)
        return question.key(self.name if self._packaged is not None else self._identity)

    def find_cached_bundle(self, cache_key: str) -> dict[str, Any] | None:
        """Return the facts about the cached frame with this key, or None.

        The key may be given in full (64 digits) or as its first 16 digits.

        Returns:
            A mapping with ``cache_key``, ``bundle_name``, ``bundle_path``, ``source``, ``symbols``,
            ``start``, ``end``, ``frequency``, ``fetch_timestamp`` and ``last_accessed`` (UTC
            seconds), ``size_bytes``, ``row_count`` and others; None for packaged sources.

        Raises:
            QueryError: The string is not a key.
            StorageError: The folder cannot be read.
        """
        return None if self._packaged is not None else self._frames.facts(cache_key)


def _is_only_copy(frame: pl.DataFrame) -> bool:
    """Return whether a frame has columns or exact values that the store of bars does not keep."""
    bars = {"timestamp", "symbol", *REQUIRED_COLUMNS}
    return not bars.issuperset(frame.columns) or any(
        isinstance(kind, pl.Decimal) for kind in frame.dtypes
    )


# An intraday bar may change for this long after its close.
_SETTLE_MS = 2 * MINUTE_MS


def _is_withheld(
    source: VendorDataSource, policy: Any, symbols: Sequence[str], start: Any, end: Any, label: str
) -> bool:
    """Return whether the latest bars of all symbols must not be requested again, by a policy.

    No vendor is queried. The result is False if a symbol lacks bars before its latest ones, or if
    one of its bars has become final since the last fetch: the vendor is queried for these anyway.
    For the arguments, see :meth:`.VendorDataSource.answer`.
    """
    client, timeframe = source.manager.client, Timeframe.parse(label)
    first, last = bound_of(start, timeframe), bound_of(end, timeframe)
    wishes, now_ms = Wishes(source.provider, source.adjustment), client.clock.now_ms()
    for symbol in symbols:
        try:
            query = client.query(symbol, timeframe, first, last, wishes=wishes)
            outline = client.outline(client.series_of(query))
        except DataError:
            return False  # the answer reports the error
        newest = newest_settled(outline.grid, _SETTLE_MS, now_ms)
        since = query.span.end if newest is None else outline.grid.next_open(newest + 1)
        if query.span.end <= since or not outline.coverage:
            return False
        latest = max(outline.coverage, key=lambda covered: covered.span.end)
        facts = {FETCHED: latest.fetched_at / 1000, NOW: now_ms / 1000}
        if not is_fresh_by(policy, facts, timeframe.label, outline.grid.calendar):
            return False
        if query.span.start < since:
            history = client.query(symbol, timeframe, first, from_ms(since - 1), wishes=wishes)
            if not client.lookup(history).is_hit:
                return False
    return True
