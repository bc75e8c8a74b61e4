"""Updates the cache for a universe of symbols: an awaitable method that counts failures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from ...core.clock import SystemClock
from ...core.members import named_members
from ...core.model.identity.universe import Universes
from ...core.model.request.query import distinct_symbols
from ...core.model.words.caller import called_from, working_for
from ...data_manager import get_universes
from ...errors import QueryError
from ...jobs.fill.populate import DEFAULT_START, populate_cache

__all__ = ["DataSyncManager", "SyncReport"]


@dataclass(frozen=True)
class SyncReport:
    """The result of updating a universe.

    Attributes:
        universe: Name of the universe.
        symbols_synced, timeframes_synced: Number of symbols and timeframes.
        successful_syncs, failed_syncs: Number of series (a symbol in a timeframe) for which every
            queried vendor answered, and number of the other series.
        sync_duration: Duration in seconds.
        details: Report of the job, as ``populate_cache`` returns it.
    """

    universe: str
    symbols_synced: int
    timeframes_synced: int
    successful_syncs: int
    failed_syncs: int
    sync_duration: float
    details: Mapping[str, Any]


class DataSyncManager:
    """Fetches missing bars for every symbol of a universe.

    The work is done by the job of ``onetape populate``, which queries several vendors in parallel,
    with up to four requests to each at a time, within their rate limits.

    Args:
        data_cache: Cache folder, or an object with ``cache_dir`` (such as ``UnifiedCache``); by
            default, the data manager's folder.
        universes: Mapping from each universe's name to its symbols, or an object with ``members``
            such as ``StoredUniverses``; by default, the universes in the default database (extra
            ``db``).
        start_date: First session date to fetch; by default, 2020-01-01.
        config_path: Rules file, as for the data manager.

    Raises:
        QueryError: A universe in the mapping is a string instead of a list.
    """

    def __init__(
        self,
        data_cache: Any = None,
        universes: Mapping[str, Iterable[str]] | Universes | None = None,
        *,
        start_date: date | datetime | str = DEFAULT_START,
        config_path: str | Path | None = None,
    ) -> None:
        self._cache_dir = getattr(data_cache, "cache_dir", data_cache)
        self._universes: Mapping[str, Sequence[str]] | Universes | None
        if isinstance(universes, Mapping):
            self._universes = {n: distinct_symbols(symbols) for n, symbols in universes.items()}
        else:
            self._universes = universes
        self._start, self._config_path = start_date, config_path

    async def sync_universe(self, universe_name: str, timeframes: Sequence[str]) -> SyncReport:
        """Bring a universe up to date, without blocking the event loop.

        For a universe with a history, this includes every symbol that was a member on any day since
        the first session, even delisted ones. If a series fails, this is counted, not raised.

        Raises:
            QueryError: The universe does not exist, or a timeframe is invalid; nothing was
                requested.
            ConfigError: The configuration is invalid, or the ``db`` extra is not installed.
            DatabaseError: The database cannot be used.

        Warns:
            SurvivorshipWarning: The universe's past members are not known, only its present ones.
        """
        began_s = time.monotonic()
        with working_for(called_from()):
            symbols = await asyncio.to_thread(self._symbols, universe_name)
        summary = await asyncio.to_thread(
            populate_cache,
            symbols,
            timeframes,
            self._start,
            cache_dir=self._cache_dir,
            config_path=self._config_path,
        )
        return SyncReport(
            universe_name,
            len(set(symbols)),
            len(set(timeframes)),
            len(summary["success"]),
            len(summary["failed"]),
            time.monotonic() - began_s,
            summary,
        )

    def _symbols(self, name: str) -> Sequence[str]:
        universes = self._universes
        if not isinstance(universes, Mapping):
            universes = get_universes() if universes is None else universes
            bounds = self._start, None
            return named_members(universes, name, None, SystemClock().now_ms(), bounds)
        if name not in universes:
            names = ", ".join(universes)
            hint = f"use one of {names}" if names else "the mapping of universes is empty"
            raise QueryError(f"the universe does not exist: {name!r:.80}", hint=hint)
        return universes[name]
