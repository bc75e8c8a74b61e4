"""The older class that fills the cache for many symbols and timeframes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...core.model.time.instant import date_of, year_of, year_start
from ...core.model.time.span import Span, uncovered
from ...core.model.words.printable import printable
from ...jobs.fill.populate import checked_job, fill, job_services
from ...jobs.run.other_hosts import pull_elsewhere

__all__ = ["CachePopulator"]

# Names of sources whose stored bars are test data, not real prices.
_SAMPLE_VENDORS = ("mock",)


class CachePopulator:
    """Fills the cache for many symbols and timeframes, using the job of ``onetape populate``.

    Args:
        cache_dir: Folder of the cache, as for the data manager.

    Attributes:
        cache: Cache object for that folder.
    """

    def __init__(self, cache_dir: str | Path | None = None) -> None:
        self._services = job_services(cache_dir)
        self.cache = self._services.cache
        self._last: dict[str, dict[str, bool]] = {}

    def discover_existing_tickers(self) -> list[str]:
        """Return the symbols that already have cached bars."""
        pull_elsewhere(self.cache.store)
        return list(self.cache.list_symbols())

    def is_valid_cached_data(self, ticker: str, interval: str, year: int) -> bool:
        """Return whether the cached year contains bars from a vendor, not only test data."""
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
        """Return the years with missing bars, for each timeframe, without querying a vendor."""
        job = checked_job(self._services, [ticker], intervals, start_date, end_date)
        return {
            series.timeframe: self._lacking_years(
                series.symbol, series.timeframe, job.start, job.end
            )
            for series in job.series
        }

    def _lacking_years(self, symbol: str, timeframe: str, start: Any, end: Any) -> list[int]:
        client = self._services.client
        query = client.query(symbol, timeframe, start, end)
        entries, now = client.coverage(client.series_of(query)), query.now_ms
        standing = [entry.span for entry in entries if entry.expires is None or now < entry.expires]
        wanted = Span(query.span.start, min(query.span.end, now))
        missing = uncovered(wanted, standing)
        years = {y for s in missing for y in range(year_of(s.start), year_of(s.end - 1) + 1)}
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
        """Fetch the years that :meth:`analyze_missing_data` returned.

        Return whether this succeeded, for each timeframe. Without dates, whole years are fetched,
        up to now. For ``timeout``, see the function :func:`populate_cache`.
        """
        done: dict[str, bool] = {}
        for label, years in missing.items():
            done[label] = True
            if years:
                first = start_date or date_of(year_start(min(years)))
                last = end_date or date_of(year_start(max(years) + 1) - 1)
                filled = self.populate_ticker(ticker, [label], first, last, timeout=timeout)
                done[label] = all(filled.values())
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
        """Fetch missing bars for one symbol; return whether this succeeded, for each timeframe.

        For ``timeout``, see the function :func:`populate_cache`.
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
        """Fetch missing bars for many symbols; return whether this succeeded, by symbol and timeframe.

        For ``timeout``, see the function :func:`populate_cache`.

        Raises:
            QueryError: A timeframe, the range or ``timeout`` is invalid; nothing was requested.
            KeyboardInterrupt: The user interrupted the run; the bars that had arrived are stored.
        """
        job = checked_job(self._services, tickers, intervals, start_date, end_date, timeout)
        report = fill(self._services.client, job)
        done: dict[str, dict[str, bool]] = {}
        for result in report.results:
            done.setdefault(result.symbol, {})[result.timeframe] = result.ok
        self._last = done
        if report.interrupted:
            raise KeyboardInterrupt
        return done

    def print_summary(self, results: Mapping[str, Mapping[str, bool]] | None = None) -> None:
        """Print which timeframes succeeded for each symbol in ``results``, or in the last run."""
        results_by_symbol = self._last if results is None else results
        outcomes = [ok for steps in results_by_symbol.values() for ok in steps.values()]
        lines = [f"{sum(outcomes)} of {len(outcomes)} series succeeded"]
        for symbol, steps in results_by_symbol.items():
            states = ", ".join(f"{label} {'ok' if ok else 'FAILED'}" for label, ok in steps.items())
            lines.append(f"  {symbol}: {states}")
        sys.stdout.write(printable("\n".join(lines)) + "\n")
