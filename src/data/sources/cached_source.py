"""Sources that cache bars: packaged sources in the store, custom sources as frames in a folder."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from ..bundles.folder import frames_folder
from ..clock import Clock, SystemClock
from ..data_manager import DataManager
from ..errors import QueryError
from ..forks import renew_after_fork
from ..model.caller import warn_user
from ..model.timeframe import Timeframe
from .base import DataSource, DataSourceMetadata
from .foreign_frames import ForeignFrames
from .foreign_source import BundlePath, SourceQuestion
from .freshness import FreshnessPolicyFactory, source_name
from .freshness_settings import MAX_SIZE, checked_settings, freshness_settings
from .stored_answers import StoredAnswers
from .vendor_source import VendorDataSource

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from ..disk.files import Disk

__all__ = ["CachedDataSource"]

_SHORT_KEY_LENGTH = 16


class CachedDataSource(DataSource):
    """A source whose bars are cached, so that final bars are requested only once. Thread-safe.

    Packaged sources:

    - The bars come from the data manager and its store; no other files are created.
    - Final bars are fetched if they are missing. Once stored, they are never fetched again,
      regardless of the policy.
    - The freshness policy decides whether bars that are not final yet may be requested again.
      Without a policy, the data manager's rule applies: a bar is requested when it is due.

    Custom sources:

    - Their frames are cached in a folder, one file for each frame. Only one caller, across all
      threads and processes, requests a frame, while the others wait for it.
    - If the calendar is known (from ``<source>.calendar`` in the configuration, or from the
      policy), a frame whose bars were all final when it arrived is kept permanently. For other
      frames, bars are requested again from the first one that was missing or not final.
    - If the calendar is unknown, the policy decides whether the whole frame is requested again.
    - Without a policy, :class:`.FreshnessPolicyFactory` chooses one.

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
        cache_dir: str | PathLike[str] | None = None,
        config: Mapping[str, Any] | None = None,
        freshness_policy: Any = None,
        *,
        clock: Clock | None = None,
        disk: Disk | None = None,
    ) -> None:
        if isinstance(adapter, CachedDataSource) or not callable(getattr(adapter, "fetch", None)):
            what = "is cached already" if hasattr(adapter, "fetch") else "has no fetch"
            class_name = type(adapter).__name__
            raise QueryError(
                f"adapter of type {class_name} {what}", hint="such as YFinanceDataSource()"
            )
        decide = getattr(freshness_policy, "is_fresh", None)
        if freshness_policy is not None and not callable(decide):
            class_name = type(freshness_policy).__name__
            raise QueryError(f"freshness_policy of type {class_name} has no method is_fresh")
        self.adapter, self.freshness_policy = adapter, freshness_policy
        settings = checked_settings(config)
        self.config = freshness_settings() | settings
        self.name, self._policies = source_name(adapter), dict[str, Any]()
        self._bars: StoredAnswers | ForeignFrames
        if isinstance(adapter, VendorDataSource):
            self._bars = StoredAnswers(adapter, self._policy)
            if cache_dir is not None or MAX_SIZE in settings:
                warn_user(
                    f"{'cache_dir' if cache_dir is not None else MAX_SIZE} has no effect: bars of "
                    f"{adapter.name} are stored by the data manager, which has its own limit"
                )
        else:
            self._bars = ForeignFrames(
                adapter,
                self.name,
                frames_folder(cache_dir),
                self.config,
                self._policy,
                clock or SystemClock(),
                disk,
            )
        self.cache_dir = self._bars.cache_dir
        self._hits = self._misses = 0
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Create a new lock in a forked child."""
        self._guard = threading.Lock()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.name}>"

    @property
    def manager(self) -> DataManager | None:
        """The data manager of the packaged source, from which a data portal reads directly.

        It is None if the source is a custom one.
        """
        return self._bars.manager

    @property
    def provider(self) -> str | None:
        """The vendor of the packaged source, or None if the source is a custom one."""
        return self._bars.provider

    @property
    def adjustment(self) -> str | None:
        """The price adjustment of the packaged source, or None if the source is a custom one."""
        return self._bars.adjustment

    def _policy(self, timeframe: Timeframe) -> Any:
        """Return the freshness policy for a timeframe; None means the data manager's own rule."""
        if self.freshness_policy is not None:
            return self.freshness_policy
        is_configured = any(key.startswith(f"{self.name}.") for key in self.config)
        if isinstance(self._bars, StoredAnswers) and not is_configured:
            return None
        label = timeframe.label
        if label not in self._policies:
            create = FreshnessPolicyFactory.create
            self._policies[label] = create(self.adapter, label, self.config)
        return self._policies[label]

    # --- bars ------------------------------------------------------------------------------

    async def fetch(
        self, symbols: list[str], start: pd.Timestamp, end: pd.Timestamp, frequency: str
    ) -> pl.DataFrame:
        """Return cached or newly requested bars from ``start`` to ``end``, both inclusive.

        The event loop is not blocked. Bars that arrive after the call was cancelled are also
        cached.

        Args:
            symbols, start, end, frequency: See :meth:`.DataSource.fetch`.

        Returns:
            A frame as returned by :meth:`.DataSource.fetch`. A frame from a custom source keeps its
            original values and additional columns; its rows are grouped by symbol, in the order in
            which the symbols were first requested.

        Raises:
            NoDataAvailableError: No symbol has any bars in the range.
            DataError: The source failed, or returned invalid bars.
            QueryError: An argument is invalid (a ``ValueError``).
            LockTimeoutError: Another process has been requesting the same bars for more than a
                minute.

        Warns:
            IncompleteDataWarning: Bars from the packaged source are missing.
            UserWarning: A frame could not be cached, or contains rows that were not requested.
        """
        frame, is_hit = await self._bars.answer(symbols, start, end, frequency)
        self._count(is_hit)
        return frame

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
        return self._bars.ingest(self, bundle_name, symbols, start, end, frequency, **options)

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

    def _count(self, is_hit: bool) -> None:
        with self._guard:
            self._hits, self._misses = self._hits + is_hit, self._misses + (not is_hit)

    # --- keys ------------------------------------------------------------------------------

    def generate_cache_key(
        self, symbols: Sequence[str], start: Any, end: Any, frequency: str
    ) -> str:
        """Return the first 16 digits of a request's cache key, which are part of its folder's name.

        Raises:
            QueryError: An argument is invalid.
        """
        return self._generate_cache_key(symbols, start, end, frequency)[:_SHORT_KEY_LENGTH]

    def _generate_cache_key(
        self, symbols: Sequence[str], start: Any, end: Any, frequency: str
    ) -> str:
        """Return the cache key for a request, as 64 hex digits.

        The key is the SHA-256 of the source with its arguments, the sorted symbols, the exact times
        and the timeframe.
        """
        return self._bars.key(SourceQuestion.of(symbols, start, end, frequency))

    def find_cached_bundle(self, cache_key: str) -> dict[str, Any] | None:
        """Return the metadata of the cached frame with this key, or None.

        The key may be given in full (64 digits) or as its first 16 digits.

        Returns:
            A mapping with ``cache_key``, ``bundle_name``, ``bundle_path``, ``source``, ``symbols``,
            ``start``, ``end``, ``frequency``, ``fetch_timestamp`` and ``last_accessed`` (UTC
            seconds), ``size_bytes``, ``row_count`` and others.

        Raises:
            QueryError: The string is not a key.
            StorageError: The folder cannot be read.
        """
        return self._bars.metadata(cache_key)
