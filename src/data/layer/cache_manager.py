"""A cache of query results: Polars frames in memory, above Parquet files in a folder.

It is meant for frames that are not stored in any other form: frames from a program's own sources,
and the results of queries over bundles. Bars from vendors are in the data manager's store and do
not need a second cache.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl

from ..bundles.data_catalog_settings import CacheSettings, cache_settings
from ..bundles.folder import can_be_used, frames_folder
from ..clock import Clock, SystemClock
from ..disk.atomic import write_atomically
from ..disk.calls import all_memory
from ..disk.files import Disk, FileState
from ..errors import CacheError, LockTimeoutError, QueryError, StorageError
from ..forks import renew_after_fork
from ..lru_cache import LruCache
from ..model.caller import warn_user
from ..polars.frame_cache import POLICIES, SHORT, FrameCache
from .catalog import DataCatalog

__all__ = ["CacheManager", "LRUCache"]

_MB = 1 << 20
_COLD, _STATISTICS = "cold_cache", "statistics.json"
# A frame that another process stored may be dated this long after now.
_SKEW_S = 60.0
_MINUTE_MS = 60_000
# A later time (UTC seconds) cannot be when a frame was stored.
_LATEST_S = 1e11
# Memory for a frame in addition to its values.
_ENTRY_BYTES = 2000
# The facts that distinguish one version of a frame from another.
_VERSION_FACTS = ("sha256", "stored_at", "source_checksum", "generation")
_log = logging.getLogger(__name__)


@dataclass
class _Entry:
    """A frame in memory, and the version of the stored frame of which it is a copy.

    Attributes:
        key: Cache key under which the frame was stored.
        frame: The frame; callers only get copies of it.
        facts: Recorded facts about the frame.
        path: Path of the file that is replaced whenever the stored frame changes.
        state: State of that file; None if the frame could not be stored.
        is_settled: Whether the state alone shows that the stored frame is still the same.
        noted_ms: Time at which the use of the stored frame was last noted.
    """

    key: str
    frame: pl.DataFrame
    facts: Mapping[str, Any]
    path: str
    state: FileState | None
    is_settled: bool
    noted_ms: int


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

    Several processes may use the same folder: a frame that another process has replaced or removed
    is noticed at the next call. Frames in memory and files are limited by their total size; the
    least recently used ones are dropped. Once an hour, the total size of the files is checked.

    A frame is stale, and is removed, if it is older than ``ttl_seconds``, if its ``checksum`` or
    ``generation`` differs from the one passed to :meth:`get`, or after :meth:`invalidate`. A damaged
    file is reported in the log and removed. If frames cannot be stored, they are kept in memory
    only, with one warning: at construction, if the folder can be neither read nor created.

    Each setting is taken from the first of these sources that has it: the argument, the environment
    (``RUSTYBT_HOT_CACHE_SIZE_MB``, ``RUSTYBT_COLD_CACHE_SIZE_MB``), the section ``cache`` of
    ``./config/data_catalog.yaml``, the default.

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
        cache_dir: Folder of the frames.
        data_catalog: See the arguments; None without one.

    Raises:
        QueryError: An argument is invalid, or two names for one argument are used.
        ConfigError: A setting is invalid, or the folder is inside the bar cache, which could delete
            the frames.

    Warns:
        UserWarning: The folder can be neither read nor created.
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
            cache_settings(),
            cache_dir=cache_directory if cache_dir is None else cache_dir,
            hot_cache_size_mb=hot_cache_size_mb,
            cold_cache_size_mb=cold_cache_size_mb,
            ttl_seconds=ttl_seconds,
            eviction_policy=eviction_policy,
        )
        self.cache_dir = frames_folder(settings.cache_dir) / _COLD
        self.data_catalog = DataCatalog(db_path) if db_path is not None else data_catalog
        self._clock, self._disk = clock or SystemClock(), disk or Disk(root=self.cache_dir)
        self._ttl_s = settings.ttl_seconds
        self._hot = LruCache(_hot_bytes(settings.hot_cache_size_mb))
        self._frames = FrameCache(
            self.cache_dir,
            int(settings.cold_cache_size_mb * _MB),
            self._disk,
            policy=settings.eviction_policy,
            setting="cache.cold_cache_size_mb",
        )
        # States of stored frames that could not be removed and must not be returned.
        self._outdated: dict[str, FileState] = {}
        self._counts = {"hot_hits": 0, "cold_hits": 0, "miss_count": 0}
        self._recorded = dict(self._counts)
        self._has_warned = False
        self.after_fork()
        renew_after_fork(self)
        if not can_be_used(self.cache_dir):
            self._warn_once("no permission to read or create it")

    def after_fork(self) -> None:
        """Create a new lock in a forked child."""
        self._guard = threading.Lock()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} in {self.cache_dir}>"

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
        entry = self._entry(key, checksum, generation)
        return None if entry is None else entry.frame.lazy()

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
        self,
        symbols: Sequence[str],
        start_date: Any,
        end_date: Any,
        resolution: str,
        source: str,
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
            StorageError, LockTimeoutError: The file cannot be removed; this object no longer returns
                the frame, but others may.
        """
        self._frames.state(cache_key)  # rejects a string that is not a key
        self._hot.drop(cache_key[:SHORT])
        try:
            with self._frames.lock(cache_key):
                self._frames.remove(cache_key)
        except CacheError:
            self._mark_outdated(cache_key)
            raise

    def clear(self) -> None:
        """Remove all frames, in memory and on disk.

        Raises:
            StorageError, LockTimeoutError: See :meth:`invalidate`; the other frames are removed.
        """
        self._hot.drop_where(lambda key, entry: True)
        errors = list[CacheError]()
        for key in self._frames.keys():
            try:
                self.invalidate(key)
            except CacheError as error:
                errors.append(error)
        if errors:
            raise errors[0]

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
        entry = self._current_entry(cache_key)
        facts = self._stored_facts(cache_key) if entry is None else entry.facts
        if facts is None:
            return False
        checksum = self.data_catalog.get_dataset_info(dataset_id)["checksum"]
        if not self._is_stale(facts, checksum, None):
            return True
        self._drop(cache_key, self._frames.state(cache_key))
        return False

    def get_stats(self) -> dict[str, Any]:
        """Return figures about this object's calls, and about the cache.

        Returns:
            ``hit_rate`` (0.0 to 1.0), ``hit_count``, ``hot_hits``, ``cold_hits``, ``miss_count``;
            ``entry_count`` and ``total_size_mb`` of the files; ``hot_entry_count`` and
            ``hot_size_mb`` of the frames in memory.

        Raises:
            StorageError: The folder cannot be read.
        """
        sizes = self._frames.sizes()
        return {
            **self.session_stats,
            "entry_count": len(sizes),
            "total_size_mb": sum(sizes.values()) / _MB,
            "hot_entry_count": len(self._hot),
            "hot_size_mb": self._hot.size / _MB,
        }

    # --- the two tiers ---------------------------------------------------------------------

    def _entry(self, key: str, checksum: str | None, generation: int | None) -> _Entry | None:
        """Return a key's frame, from memory or else from its file; None if missing or stale."""
        tier, entry = "hot_hits", self._current_entry(key)
        if entry is None:
            tier, entry = "cold_hits", self._load(key)
        if entry is not None and self._is_stale(entry.facts, checksum, generation):
            self._drop(key, entry.state)
            entry = None
        with self._guard:
            self._counts["miss_count" if entry is None else tier] += 1
        return entry

    def _current_entry(self, key: str) -> _Entry | None:
        """Return the frame in memory; None if there is none or the stored one has changed."""
        entry: _Entry | None = self._hot.get(key[:SHORT])
        if entry is None or not entry.key.startswith(key):
            return None
        try:
            if self._disk.stat(entry.path) != entry.state:
                return None
            if not entry.is_settled and entry.state is not None:
                facts = self._frames.metadata(entry.key)
                if facts is None or any(facts.get(n) != entry.facts.get(n) for n in _VERSION_FACTS):
                    return None
                entry.is_settled = self._frames.is_settled(entry.state)
            now_ms = self._clock.now_ms()
            if not 0 <= now_ms - entry.noted_ms < _MINUTE_MS and entry.state is not None:
                entry.noted_ms = now_ms
                self._frames.note_use(entry.key)
        except CacheError as error:
            _log.warning("%s: %s", self.cache_dir, error)
            return None
        return entry

    def _load(self, key: str) -> _Entry | None:
        """Load the stored frame and keep it in memory; None if missing, outdated or unreadable."""
        try:
            state = self._frames.state(key)
            if state is None or state == self._outdated.get(key[:SHORT]):
                return None
            stored = self._frames.peek(key)
        except CacheError as error:
            _log.warning("%s: %s", self.cache_dir, error)
            return None
        if stored is None:
            return None
        return self._remember(stored.metadata["cache_key"], stored.frame, stored.metadata, state)

    def _keep(self, key: str, data: Any, details: Mapping[str, Any]) -> None:
        """Store a frame, and keep it in memory."""
        frame = _own_frame(data)
        details = {**details, "stored_at": self._clock.now_ms() / 1000}
        try:
            with self._frames.lock(key):
                facts = self._frames.put(key, frame, details)
                state = self._frames.state(key)
            self._outdated.pop(key[:SHORT], None)
        except CacheError as error:
            facts, state = details, self._mark_outdated(key)
            self._warn_once(error)
        self._remember(key, frame, facts, state)

    def _warn_once(self, reason: object) -> None:
        """Warn, once, that frames cannot be stored."""
        if not self._has_warned:
            self._has_warned = True
            warn_user(f"frames are kept in memory only, not in {self.cache_dir}: {reason}")

    def _remember(
        self, key: str, frame: pl.DataFrame, facts: Mapping[str, Any], state: FileState | None
    ) -> _Entry:
        path = os.fspath(self._frames.metadata_path(key))
        entry = _Entry(key, frame, facts, path, state, False, self._clock.now_ms())
        entry.is_settled = state is not None and self._frames.is_settled(state)
        self._hot.put(key[:SHORT], entry, frame.estimated_size() + _ENTRY_BYTES)
        return entry

    def _is_stale(
        self, facts: Mapping[str, Any], checksum: str | None, generation: int | None
    ) -> bool:
        age_s = self._clock.now_ms() / 1000 - _stored_s(facts)
        return (
            not -_SKEW_S <= age_s < self._ttl_s
            or (checksum is not None and facts.get("source_checksum") != checksum)
            or (generation is not None and facts.get("generation") != generation)
        )

    def _drop(self, key: str, state: FileState | None) -> None:
        """Remove a stale frame, unless another process has replaced it in the meantime."""
        self._hot.drop(key[:SHORT])
        if state is None:
            return
        try:
            with self._frames.lock(key, 0.0):
                if self._frames.state(key) == state:
                    self._frames.remove(key)
        except LockTimeoutError:
            pass  # it is being replaced
        except CacheError as error:
            self._mark_outdated(key)
            _log.warning("%s: a stale frame cannot be removed: %s", self.cache_dir, error)

    def _mark_outdated(self, key: str) -> FileState | None:
        """Mark a stored frame that cannot be removed as outdated; return its state, if known."""
        try:
            state = self._frames.state(key)
        except CacheError:
            return None
        if state is not None:
            self._outdated[key[:SHORT]] = state
        return state

    def _stored_facts(self, key: str) -> Mapping[str, Any] | None:
        state = self._frames.state(key)
        if state is None or state == self._outdated.get(key[:SHORT]):
            return None
        return self._frames.metadata(key)

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
        return key[:SHORT]

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
        facts = self._stored_facts(cache_key)
        if facts is None:
            return None
        return {
            "dataset_id": None,
            "backtest_id": None,
            **facts,
            "checksum": facts["sha256"],
            "created_at": int(_stored_s(facts)),
            "parquet_path": str(Path(facts["bundle_path"], "data.parquet")),
        }

    def get_cached_data(self, cache_key: str) -> pl.DataFrame | None:
        """Return the cached frame by its key (or its first 16 digits), or None.

        Raises:
            QueryError: The string is not a key.
        """
        self._frames.metadata_path(cache_key)
        entry = self._entry(cache_key, None, None)
        return None if entry is None else entry.frame.clone()

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
        self._frames.metadata_path(cache_key)
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
            QueryError, StorageError, LockTimeoutError: See :meth:`invalidate`.
        """
        if cache_key is not None:
            self.invalidate(cache_key)
        elif backtest_id is None:
            self.clear()
        else:
            for key in self._frames.keys():
                facts = self._frames.metadata(key)
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
        size_mb = self._frames.size_bytes() / _MB
        with self._frames.lock(_STATISTICS):
            days = self._days()
            row = days.get(today, {"hit_count": 0, "miss_count": 0})
            with self._guard:
                new = {name: n - self._recorded[name] for name, n in self._counts.items()}
                before, self._recorded = self._recorded, dict(self._counts)
            days[today] = {
                "hit_count": row["hit_count"] + new["hot_hits"] + new["cold_hits"],
                "miss_count": row["miss_count"] + new["miss_count"],
                "total_size_mb": size_mb,
            }
            try:
                data = json.dumps(days).encode()
                write_atomically(self._disk, self.cache_dir / _STATISTICS, data, durable=False)
            except StorageError:
                self._recorded = before
                raise

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
            None if bound is None else _time("bound", bound).date().isoformat()
            for bound in (start_date, end_date)
        )
        days = [
            row
            for day, row in self._days().items()
            if (first is None or first <= day) and (last is None or day <= last)
        ]
        sizes = self._frames.sizes()
        hits = sum(row["hit_count"] for row in days)
        return {
            **_with_rate(hits, {"miss_count": sum(row["miss_count"] for row in days)}),
            "entry_count": len(sizes),
            "total_size_mb": sum(sizes.values()) / _MB,
            "session_stats": self.session_stats,
        }

    def _days(self) -> dict[str, Any]:
        """Return the recorded statistics, keyed by day; empty if the file is damaged."""
        data = self._disk.read_if_exists(self.cache_dir / _STATISTICS) or b"{}"
        try:
            days = json.loads(data)
            for row in days.values():
                row["hit_count"] + row["miss_count"] + 0  # raises if one is not a number
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            _log.warning("%s in %s is damaged and starts again", _STATISTICS, self.cache_dir)
            return {}
        return dict(days)


def _stored_s(facts: Mapping[str, Any]) -> float:
    """Return the UTC seconds at which a frame was stored; 0 if the value is not a valid time."""
    seconds = facts.get("stored_at")
    return seconds if isinstance(seconds, int | float) and 0 <= seconds < _LATEST_S else 0


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
                hint=None
                if is_number
                else "name the arguments, such as CacheManager(cache_dir=...)",
            )
    policy = passed.get("eviction_policy", "lru")
    if policy not in POLICIES:
        raise QueryError(f"unknown eviction_policy {policy!r:.80}; use {', '.join(POLICIES)}")
    return settings._replace(**passed)


def _hot_bytes(size_mb: float) -> int:
    """Return the limit for frames in memory in bytes, at most half of the machine's memory."""
    wanted, most = int(size_mb * _MB), all_memory() // 2
    if wanted > most:
        _log.warning(
            "hot_cache_size_mb is %g, but half of this machine's memory is %d MB, which is used",
            size_mb,
            most // _MB,
        )
    return min(wanted, most)


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
