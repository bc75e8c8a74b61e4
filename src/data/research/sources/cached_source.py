"""A source whose bars are cached: final bars are requested once, and the latest ones by a policy."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from ...core.bars.client import Wishes
from ...core.calendars.finality import newest_settled
from ...core.clock import Clock, SystemClock
from ...core.disk.files import Disk
from ...core.interface import awaited
from ...core.model.answer.frame import REQUIRED_COLUMNS
from ...core.model.time.instant import MINUTE_MS, from_ms
from ...core.model.time.timeframe import Timeframe
from ...core.model.words.caller import warn_user
from ...core.runtime.forks import renew_after_fork
from ...data_manager import DataManager
from ...errors import DataError, QueryError, StorageError
from ..frames.frames import pl  # its error names the missing extra
from ..settings.folder import frames_folder
from .frame_store import SHORT, FrameStore
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

__all__ = ["CachedDataSource"]

_MOST_SOURCE_BYTES = 10 << 30


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
        return self._generate_cache_key(symbols, start, end, frequency)[:SHORT]

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
    wishes = Wishes(provider=source.provider, adjustment=source.adjustment)
    now_ms = client.clock.now_ms()
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
