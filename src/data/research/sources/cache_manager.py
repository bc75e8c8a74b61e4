"""A cache of query results: frames by request, in memory and as files of a store of frames."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from ...core.clock import Clock, SystemClock
from ...core.disk.atomic import write_atomically
from ...core.disk.files import Disk
from ...core.model.words.caller import warn_user
from ...core.runtime.forks import renew_after_fork
from ...core.runtime.lru_cache import LruCache
from ...core.runtime.resources import all_memory
from ...errors import CacheError, QueryError
from ..catalog.catalog import DataCatalog
from ..frames.frames import pl  # its error names the missing extra
from ..settings.catalog_settings import CacheSettings, catalog_settings
from ..settings.folder import frames_folder
from .frame_store import POLICIES, REMEMBERED, SHORT, FrameStore, StoredFrame

__all__ = ["CacheManager", "LRUCache"]

_MB = 1 << 20
_COLD, _STATISTICS = "cold_cache", "statistics.json"
# A frame that another process stored may be dated this long after now.
_SKEW_S = 60.0
# Memory for a frame in addition to its values.
_ENTRY_BYTES = 2000
_LOCK_TIMEOUT_S = 60.0
_log = logging.getLogger(__name__)


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
        self._outdated = LruCache(REMEMBERED)
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
        self._hot.drop(cache_key[:SHORT])
        self._outdated.put(cache_key[:SHORT], state, 1)
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
        held: StoredFrame | None = self._hot.get(key[:SHORT])
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
        if stored is None or stored.state == self._outdated.get(key[:SHORT]):
            return "", None
        self._hold(key, stored)
        return "cold_hits", stored

    def _hold(self, key: str, stored: StoredFrame) -> None:
        size = stored.frame.estimated_size() + _ENTRY_BYTES
        self._hot.put(key[:SHORT], stored, size)

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
            self._outdated.put(key[:SHORT], state, 1)
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
        state = self._disk.stat(self._frames.path(cache_key))
        facts = self._frames.facts(cache_key)
        if facts is None or state == self._outdated.get(cache_key[:SHORT]):
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
    if policy not in POLICIES:
        raise QueryError(f"unknown eviction_policy {policy!r:.80}; use {', '.join(POLICIES)}")
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
