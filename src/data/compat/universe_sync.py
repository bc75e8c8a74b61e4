"""Bringing the cache up to date for a universe of symbols, as an awaited call with a count of what failed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from ..clock import SystemClock
from ..data_manager import get_universes
from ..errors import QueryError
from ..jobs.populate import DEFAULT_START, populate_cache
from ..jobs.universe import members_asked
from ..model.caller import called_from, working_for
from ..model.universe import Universes

__all__ = ["DataSyncManager", "SyncReport"]


@dataclass(frozen=True)
class SyncReport:
    """What came of it.

    Attributes:
        universe: its name.
        symbols_synced, timeframes_synced: how many there were.
        successful_syncs, failed_syncs: series (a symbol in a timeframe) that every vendor asked
            answered, and the others.
        sync_duration: seconds.
        details: the report of the job, as ``populate_cache`` returns it.
    """

    universe: str
    symbols_synced: int
    timeframes_synced: int
    successful_syncs: int
    failed_syncs: int
    sync_duration: float
    details: Mapping[str, Any]


class DataSyncManager:
    """Fetches what is missing of every symbol of a universe.

    A face of the job behind ``onetape populate``: several vendors at once, four requests each, within
    their limits.

    Args:
        data_cache: the cache folder, or an object with ``cache_dir`` (a ``UnifiedCache``); by
            default as for the data manager.
        universes: name to symbols, or an object with ``members`` such as ``StoredUniverses``; by
            default the universes of the default database (extra ``db``).
        start_date: first session; by default 2020-01-01.
        config_path: the rules file, as for the data manager.
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
            self._universes = {name: list(symbols) for name, symbols in universes.items()}
        else:
            self._universes = universes
        self._start, self._config_path = start_date, config_path

    async def sync_universe(self, universe_name: str, timeframes: Sequence[str]) -> SyncReport:
        """Bring a universe up to date; the event loop goes on meanwhile.

        Of a universe with a history each symbol is meant that was a member on any day from the first
        session on, delisted ones included. What fails of a series is counted, not raised.

        Raises:
            QueryError: there is no such universe, or a timeframe is none; nothing was asked.
            ConfigError: the configuration is wrong, or the extra ``db`` is not installed.
            DatabaseError: the database cannot be used.

        Warns:
            SurvivorshipWarning: the members are not point-in-time.
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
            return members_asked(universes, name, None, SystemClock().now_ms(), bounds)
        if name not in universes:
            names = ", ".join(universes) or "none"
            raise QueryError(f"there is no universe {name!r:.80}", hint=f"known: {names}")
        return universes[name]
