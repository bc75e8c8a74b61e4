"""Fill the cache for many symbols and timeframes, and say what came of it.

Every series is committed as it arrives: an interrupted job loses nothing, and the next run asks
only for what is still missing.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import DataError, IncompleteDataWarning
from ..model.provenance import ATTRS_KEY
from ..routing.asking import Wishes
from ..wiring import build

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("onetape.populate")

DEFAULT_TIMEFRAMES = ("5m", "15m", "30m", "1h", "4h", "1d")
DEFAULT_START = date(2020, 1, 1)


class Bars(Protocol):
    """What a job needs of the data manager."""

    cache: Any

    def get_ohlcv(self, symbol: str, timeframe: str, start: Any, end: Any) -> pd.DataFrame:
        """Return bars."""

    def get_cache_stats(self) -> dict[str, Any]:
        """Return what the cache holds."""


@dataclass(frozen=True)
class SeriesResult:
    """What came of one series.

    Attributes:
        rows: bars now held in the range.
        fetched: bars that were fetched for it now.
        complete: whether nothing is lacking.
        vendors: who supplied the bars held.
        gaps: stretches without bars.
        score: worst quality score of what was fetched now; None when nothing was.
        error: why there are no bars, empty when there are.
    """

    symbol: str
    timeframe: str
    rows: int = 0
    fetched: int = 0
    complete: bool = False
    vendors: Sequence[str] = ()
    gaps: int = 0
    score: float | None = None
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether the series could be had, in whole or in part."""
        return not self.error


@dataclass
class PopulateReport:
    """The results of a job, in the order of the work."""

    results: list[SeriesResult] = field(default_factory=list)
    interrupted: bool = False

    @property
    def all_ok(self) -> bool:
        """Whether every series could be had and none is lacking anything."""
        return not self.interrupted and all(r.ok and r.complete for r in self.results)

    def statistics(self, cache_stats: dict[str, Any]) -> dict[str, Any]:
        """Return the report as plain values under the keys older callers read."""
        good = [r for r in self.results if r.ok]
        return {
            "success": [f"{r.symbol}_{r.timeframe}" for r in good],
            "failed": [
                {"series": f"{r.symbol}_{r.timeframe}", "error": r.error}
                for r in self.results if not r.ok
            ],
            "cache_stats": cache_stats,
            "data_quality": {
                f"{r.symbol}_{r.timeframe}": {"score": r.score, "gaps": r.gaps, "rows": r.rows}
                for r in good
            },
            "interrupted": self.interrupted,
            "results": [asdict(r) for r in self.results],
        }  # fmt: skip


Progress = Callable[[int, int, SeriesResult], None]


def populate(
    manager: Bars,
    series: Sequence[tuple[str, str]],
    start: date | datetime | str,
    end: date | datetime | str,
    progress: Progress | None = None,
) -> PopulateReport:
    """Fetch what is missing of every ``(symbol, timeframe)`` between two session dates.

    Ctrl-C ends the job after what is committed; the report says so. ``progress`` is called
    after each series with its number, their count, and the result.
    """
    report = PopulateReport()
    for number, (symbol, timeframe) in enumerate(series, start=1):
        try:
            result = _one(manager, symbol, timeframe, start, end)
        except KeyboardInterrupt:
            report.interrupted = True
            log.warning("interrupted at %s %s; what was committed is kept", symbol, timeframe)
            break
        report.results.append(result)
        if progress is not None:
            progress(number, len(series), result)
    return report


def _one(manager: Bars, symbol: str, timeframe: str, start: Any, end: Any) -> SeriesResult:
    try:
        with warnings.catch_warnings():
            # The report says the same, series by series.
            warnings.simplefilter("ignore", IncompleteDataWarning)
            frame = manager.get_ohlcv(symbol, timeframe, start, end)
    except DataError as error:
        log.warning("%s %s: %s", symbol, timeframe, error)
        return SeriesResult(symbol, timeframe, error=str(error))
    told = frame.attrs.get(ATTRS_KEY, {})
    rows = len(frame)
    return SeriesResult(
        symbol, timeframe, rows=rows,
        fetched=round(rows * (1 - told.get("from_cache", 1.0))),
        complete=bool(told.get("complete", True)),
        vendors=tuple(told.get("vendors", ())),
        gaps=int(told.get("gaps_total", 0)),
        score=told.get("quality", {}).get("score"),
    )  # fmt: skip


class _Door:
    """The bars and the cache of one installation, without the facade, which stands above."""

    def __init__(self, cache_dir: str | Path | None, config_path: str | Path | None) -> None:
        self._services = build(cache_dir, config_path)
        self.cache = self._services.cache

    def get_ohlcv(self, symbol: str, timeframe: str, start: Any, end: Any) -> pd.DataFrame:
        """Return bars as the facade would."""
        asked = self._services.asking.query(symbol, timeframe, (start, end, None), Wishes())
        return self._services.bars.get(asked)

    def get_cache_stats(self) -> dict[str, Any]:
        """Return what the cache holds."""
        return dict(self.cache.get_stats())


def populate_cache(
    symbols: Iterable[str] | None = None,
    intervals: Iterable[str] | None = None,
    start_date: date | datetime | str | None = None,
    end_date: date | datetime | str | None = None,
    cache_dir: str | Path | None = None,
    *,
    start: date | datetime | str | None = None,
    end: date | datetime | str | None = None,
    config_path: str | Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Fill the cache and return a statistics dict.

    Args:
        symbols: what to fetch; by default every symbol that is cached already.
        intervals: timeframes; by default ``5m 15m 30m 1h 4h 1d``.
        start_date, end_date: session dates, both included; by default 2020-01-01 and today
            (UTC). ``start`` and ``end`` are the same under shorter names.
        cache_dir: folder of the cache, as for the data manager.
        config_path: rules file, as for the data manager.
        progress: called after each series with its number, their count and its result.

    Returns:
        ``success`` (list of ``SYMBOL_timeframe``), ``failed`` (list with the errors),
        ``cache_stats``, ``data_quality``, ``interrupted`` and ``results``.
    """
    manager = _Door(cache_dir, config_path)
    wanted = list(symbols) if symbols is not None else manager.cache.list_symbols()
    steps = list(intervals) if intervals is not None else list(DEFAULT_TIMEFRAMES)
    report = populate(
        manager,
        [(symbol, step) for symbol in wanted for step in steps],
        start_date or start or DEFAULT_START,
        end_date or end or datetime.now(UTC).date(),
        progress,
    )
    return report.statistics(manager.get_cache_stats())


class CachePopulator:
    """The older, object-shaped face of the same job.

    Args:
        cache_dir: folder of the cache, as for the data manager.
    """

    def __init__(self, cache_dir: str | Path | None = None) -> None:
        self._manager = _Door(cache_dir, None)
        self.cache = self._manager.cache

    def discover_existing_tickers(self) -> list[str]:
        """Return the symbols that are cached already."""
        return list(self.cache.list_symbols())

    def is_valid_cached_data(self, ticker: str, interval: str, year: int) -> bool:
        """Tell whether a year is held at all, from a vendor that is not a test double."""
        info = self.cache.get_data_info(ticker, interval, year)
        return bool(info) and info.get("data_source") != "mock"

    def populate_ticker(
        self, ticker: str, intervals: Sequence[str], start_date: Any, end_date: Any
    ) -> dict[str, bool]:
        """Fetch what is missing of one symbol; return timeframe to success."""
        series = [(ticker, step) for step in intervals]
        report = populate(self._manager, series, start_date, end_date)
        return {r.timeframe: r.ok for r in report.results}

    def populate_cache(
        self, tickers: Sequence[str] | None = None, intervals: Sequence[str] | None = None,
        start_date: Any = None, end_date: Any = None,
    ) -> dict[str, dict[str, bool]]:  # fmt: skip
        """Fetch what is missing of many symbols; return symbol to timeframe to success."""
        steps = list(intervals or DEFAULT_TIMEFRAMES)
        first, last = start_date or DEFAULT_START, end_date or datetime.now(UTC).date()
        names = list(tickers) if tickers is not None else self.discover_existing_tickers()
        return {name: self.populate_ticker(name, steps, first, last) for name in names}
