"""Bringing the cache up to date for a universe of symbols, as an awaited call with a count of what failed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from ..errors import QueryError
from ..jobs.populate import DEFAULT_START, populate_cache

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
        universes: name to symbols.
        start_date: first session; by default 2020-01-01.
        config_path: the rules file, as for the data manager.
    """

    def __init__(
        self,
        data_cache: Any = None,
        universes: Mapping[str, Iterable[str]] | None = None,
        *,
        start_date: date | datetime | str = DEFAULT_START,
        config_path: str | Path | None = None,
    ) -> None:
        self._cache_dir = getattr(data_cache, "cache_dir", data_cache)
        self._universes = {name: list(symbols) for name, symbols in (universes or {}).items()}
        self._start, self._config_path = start_date, config_path

    async def sync_universe(self, universe_name: str, timeframes: Sequence[str]) -> SyncReport:
        """Bring a universe up to date; the event loop goes on meanwhile.

        What fails of a series is counted, not raised.

        Raises:
            QueryError: there is no such universe, or a timeframe is none; nothing was asked.
            ConfigError: the configuration is wrong.
        """
        if universe_name not in self._universes:
            names = ", ".join(self._universes) or "none"
            raise QueryError(f"there is no universe {universe_name!r:.80}", hint=f"known: {names}")
        symbols, began_s = self._universes[universe_name], time.monotonic()
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
