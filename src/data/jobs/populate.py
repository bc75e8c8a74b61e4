"""Fill the cache for many symbols and timeframes: the function, and the older class.

Every series is committed as it arrives: an interrupted job loses nothing, and the next run asks
only for what is still missing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from ..model.instant import date_of, year_of, year_start
from ..model.printable import printable
from ..model.series import SeriesKey
from ..model.span import Span, gaps
from ..net.deadline import seconds_of
from ..wiring import Services, build
from .backfill import Job, Listener, When, fill

__all__ = ["DEFAULT_START", "DEFAULT_TIMEFRAMES", "CachePopulator", "populate_cache"]

DEFAULT_TIMEFRAMES = ("5m", "15m", "30m", "1h", "4h", "1d")
DEFAULT_START = date(2020, 1, 1)
# Names under which test doubles stored bars; these are no prices.
_SAMPLE_VENDORS = ("mock",)


def populate_cache(
    symbols: Iterable[str] | None = None,
    intervals: Iterable[str] | None = None,
    start_date: When | None = None,
    end_date: When | None = None,
    cache_dir: str | Path | None = None,
    *,
    start: When | None = None,
    end: When | None = None,
    config_path: str | Path | None = None,
    progress: Listener | None = None,
    timeout: float | None = None,
) -> dict[str, Any]:
    """Fill the cache and return a statistics dict.

    Args:
        symbols: what to fetch; by default every symbol that is cached already.
        intervals: timeframes; by default ``5m 15m 30m 1h 4h 1d``.
        start_date, end_date: session dates, both included; by default 2020-01-01 and today
            (UTC). ``start`` and ``end`` are the same under shorter names.
        cache_dir: folder of the cache, as for the data manager.
        config_path: rules file, as for the data manager.
        progress: told of each part of a series that has arrived, and of longer waits.
        timeout: seconds that a request goes on without a page of any vendor, waits for limits
            included; by default ``jobs.timeout_s`` of the rules (600).

    Returns:
        ``success`` and ``failed`` (lists of ``SYMBOL_timeframe``), ``cache_stats``,
        ``data_quality`` (series to score, gaps, rows and whether it is complete), ``errors``
        (series to reason), ``interrupted``, and ``results`` with all of it by series.

    Raises:
        QueryError: a timeframe, the range or ``timeout`` is wrong; nothing was asked. A symbol that
            is wrong only fails its own series.
        ConfigError: the configuration is wrong.
    """
    services = build(cache_dir, config_path)
    job = _job(services, symbols, intervals, start_date or start, end_date or end, timeout)
    report = fill(services.client, job, progress)
    services.cache.look_after()
    return report.statistics(dict(services.cache.get_stats()))


def _job(
    services: Services,
    symbols: Iterable[str] | None,
    timeframes: Iterable[str] | None,
    start: When | None,
    end: When | None,
    timeout: float | None = None,
) -> Job:
    """Return the checked job.

    What is left out means every cached symbol, the usual timeframes, 2020-01-01, today, and the
    time that the rules give to jobs.
    """
    seconds = seconds_of(timeout, "a job")
    now_ms = services.clock.now_ms()
    names = services.cache.list_symbols() if symbols is None else list(symbols)
    steps = DEFAULT_TIMEFRAMES if timeframes is None else list(timeframes)
    bounds = (start or DEFAULT_START, end or date_of(now_ms))
    job = Job.of(names, steps, bounds, now_ms)
    usual = services.selector.parsed_rules.jobs.timeout_s
    return replace(job, timeout_s=usual if seconds is None else seconds)


class CachePopulator:
    """The older, object-shaped face of the same job.

    Args:
        cache_dir: folder of the cache, as for the data manager.

    Attributes:
        cache: the cache on that folder.
    """

    def __init__(self, cache_dir: str | Path | None = None) -> None:
        self._services = build(cache_dir)
        self.cache = self._services.cache
        self._last: dict[str, dict[str, bool]] = {}

    def discover_existing_tickers(self) -> list[str]:
        """Return the symbols that are cached already."""
        return list(self.cache.list_symbols())

    def is_valid_cached_data(self, ticker: str, interval: str, year: int) -> bool:
        """Tell whether a year holds bars of a vendor; those of a test double are none."""
        info = self.cache.get_data_info(ticker, interval, year) or {}
        rows = (info.get("file_info") or {}).get("rows")
        return bool(rows) and info.get("data_source") not in _SAMPLE_VENDORS

    def analyze_missing_data(
        self,
        ticker: str,
        intervals: Sequence[str] | None = None,
        start_date: Any = None,
        end_date: Any = None,
    ) -> dict[str, list[int]]:
        """Return timeframe to the years of which something is missing; no vendor is asked."""
        job = _job(self._services, [ticker], intervals, start_date, end_date)
        return {
            step: self._lacking_years(symbol, step, job.start, job.end)
            for symbol, step in job.series
        }

    def _lacking_years(self, symbol: str, timeframe: str, start: Any, end: Any) -> list[int]:
        client = self._services.client
        query = client.query(symbol, timeframe, start, end)
        key, now = SeriesKey(query.instrument.symbol, query.timeframe), query.now_ms
        parts = client.coverage(key)
        standing = [part.span for part in parts if part.expires is None or now < part.expires]
        wanted = Span(query.span.start, min(query.span.end, now))
        lacking = gaps(wanted, standing)
        years = {y for s in lacking for y in range(year_of(s.start), year_of(s.end - 1) + 1)}
        return sorted(years)

    def populate_missing_data(
        self,
        ticker: str,
        missing: Mapping[str, Sequence[int]],
        start_date: Any = None,
        end_date: Any = None,
        *,
        timeout: float | None = None,
    ) -> dict[str, bool]:
        """Fetch what :meth:`analyze_missing_data` found; return timeframe to success.

        Without dates the years are meant whole, up to now. ``timeout``: see :func:`populate_cache`.
        """
        done: dict[str, bool] = {}
        for step, years in missing.items():
            first, last = start_date, end_date
            if years:
                first = first or date_of(year_start(min(years)))
                last = last or date_of(year_start(max(years) + 1) - 1)
            done[step] = True
            if years:
                done |= self.populate_ticker(ticker, [step], first, last, timeout=timeout)
        return done

    def populate_ticker(
        self,
        ticker: str,
        intervals: Sequence[str] | None = None,
        start_date: Any = None,
        end_date: Any = None,
        *,
        timeout: float | None = None,
    ) -> dict[str, bool]:
        """Fetch what is missing of one symbol; return timeframe to success.

        ``timeout``: see :func:`populate_cache`.
        """
        done = self.populate_cache([ticker], intervals, start_date, end_date, timeout=timeout)
        return done.get(ticker, {})

    def populate_cache(
        self,
        tickers: Sequence[str] | None = None,
        intervals: Sequence[str] | None = None,
        start_date: Any = None,
        end_date: Any = None,
        *,
        timeout: float | None = None,
    ) -> dict[str, dict[str, bool]]:
        """Fetch what is missing of many symbols; return symbol to timeframe to success.

        ``timeout``: see the function :func:`populate_cache`.

        Raises:
            QueryError: a timeframe, the range or ``timeout`` is wrong; nothing was asked.
            KeyboardInterrupt: the user ended it; what had arrived is stored.
        """
        job = _job(self._services, tickers, intervals, start_date, end_date, timeout)
        report = fill(self._services.client, job)
        done: dict[str, dict[str, bool]] = {}
        for result in report.results:
            done.setdefault(result.symbol, {})[result.timeframe] = result.ok
        self._last = done
        if report.interrupted:
            raise KeyboardInterrupt
        return done

    def print_summary(self, results: Mapping[str, Mapping[str, bool]] | None = None) -> None:
        """Print symbol by symbol what succeeded, of ``results`` or of the last run."""
        results_by_symbol = self._last if results is None else results
        outcomes = [ok for steps in results_by_symbol.values() for ok in steps.values()]
        lines = [f"{sum(outcomes)} of {len(outcomes)} series could be had"]
        for symbol, steps in results_by_symbol.items():
            states = ", ".join(f"{step} {'ok' if ok else 'FAILED'}" for step, ok in steps.items())
            lines.append(f"  {symbol}: {states}")
        sys.stdout.write(printable("\n".join(lines)) + "\n")
