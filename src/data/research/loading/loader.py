"""Loads many series at once for a strategy."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any, Self
from weakref import WeakKeyDictionary

import numpy as np

from ...core.calendars.calendar import calendar_for
from ...core.calendars.grid import fitting_opens
from ...core.model.market.bars import PRICES, among
from ...core.model.request.query import check_no_string, distinct_symbols
from ...core.model.time.timeframe import Timeframe
from ...data_manager import current_selector
from ...errors import DataError, QueryError
from ..calls import own_call
from ..frames.frames import pl  # its error names the missing extra
from ..frames.prices import bounds_ms, empty_prices
from .data_cache import DataCache
from .prefetch import Prefetch

__all__ = ["SmartDataLoader"]

_AT_ONCE = 20
# Calendar days before the start that are loaded as well, for indicators.
_LOOK_BACK = {"1d": 200, "1h": 30, "15m": 7, "5m": 3, "1m": 1}
_USUAL_LOOK_BACK = 30
_MANY_MISSING = 0.05
# Prices are outliers beyond the quantiles multiplied or divided by the number.
_QUANTILES, _TIMES = (0.01, 0.99), 10
# Longer symbols are not tickers, but may be known.
_LONGEST_TICKER = 15
# First and last time that calendars know, as UTC microseconds.
_FIRST_US, _LAST_US = -(2**63) // 1000, (2**63 - 1) // 1000
_log = logging.getLogger("onetape.v2")
_Frames = dict[str, dict[str, "pl.DataFrame"]]


class SmartDataLoader:
    """Loads series for a strategy, at most 20 at a time across all calls.

    It can be constructed outside an event loop, and used from several event loops; each of these
    has its own limit of 20. With ``prefetch``, use it in one event loop at a time.

    Args:
        cache: Object with ``get_prices(symbol, timeframe, start, end)``, a coroutine function that
            returns a Polars frame; None means :class:`.DataCache`, which answers all symbols of a
            timeframe in one call.
        prefetch: Whether to fetch, while no call of this loader is running, the bars after the
            requested range for series that were requested at least twice. See :class:`.Prefetch`.

    Raises:
        QueryError: The cache has no ``get_prices``, or ``prefetch`` is set and the cache is not a
            :class:`.DataCache`, so its vendors' quotas are unknown.
    """

    def __init__(self, cache: Any = None, *, prefetch: bool = False) -> None:
        if cache is not None and not callable(getattr(cache, "get_prices", None)):
            raise QueryError(f"{type(cache).__name__} has no get_prices")
        self.cache = DataCache() if cache is None else cache
        if prefetch and not isinstance(self.cache, DataCache):
            raise QueryError(
                f"prefetch needs a DataCache, not {type(cache).__name__}: only its quotas are known",
                hint="SmartDataLoader(DataCache(), prefetch=True)",
            )
        self._is_prefetching = bool(prefetch)
        self._last: Prefetch | None = None
        self._slots: WeakKeyDictionary[Any, asyncio.Semaphore] = WeakKeyDictionary()

    async def load_strategy_data(
        self,
        symbols: Sequence[str],
        timeframes: Sequence[str],
        start: date | datetime,
        end: date | datetime,
    ) -> _Frames:
        """Return a frame per symbol and timeframe, as ``{symbol: {timeframe: frame}}``.

        Each frame begins before ``start``, so that indicators have values there: 200 calendar days
        for 1d, 30 for 1h, 7 for 15m, 3 for 5m, 1 for 1m, and 30 for any other timeframe.

        A series that fails has a frame without rows; the reason is logged as an error. If series
        have no bars, lack more than 5 % of the bars between their first and last one or have prices
        far outside their usual range, one warning that lists them is logged.

        Args:
            symbols, timeframes: Any number of symbols and timeframes; repetitions count once.
            start, end: First and last date or time, both inclusive.

        Raises:
            QueryError: A timeframe or the range is invalid; nothing was requested.
        """
        check_no_string(symbols, hint=f"[{symbols!r}]")
        check_no_string(timeframes, hint=f"[{timeframes!r}]")
        names = distinct_symbols(symbols)
        try:
            parsed = {label: Timeframe.parse(label) for label in timeframes}
        except TypeError as error:
            text = f"timeframes must be a list of strings, not {timeframes!r:.80}"
            raise QueryError(text) from error
        bounds_ms(start, end)
        starts = [
            self._compute_buffer_start(start, str(timeframe)) for timeframe in parsed.values()
        ]
        prefetch = self._prefetch()
        with prefetch.question() if prefetch else nullcontext():
            loading = map(self._load, [names] * len(parsed), parsed, starts, [end] * len(parsed))
            answers = dict(zip(parsed, await asyncio.gather(*loading), strict=True))
        results: _Frames = {name: {} for name in names}
        for label, frames in answers.items():
            for name in names:
                frame = frames[name]
                if isinstance(frame, Exception):
                    _log.error("Failed to load %s %s: %s", name, label, frame)
                    frame = empty_prices(parsed[label])
                elif prefetch is not None and self._is_prefetching:
                    prefetch.note(name, str(parsed[label]), start, end)
                results[name][label] = frame
        whole = {
            (name, label)
            for label, frames in answers.items()
            for name in getattr(frames, "without_gaps", ())
        }
        # In a thread: for many series it takes seconds, in which the loop must go on.
        await asyncio.to_thread(self._validate_data_quality, results, whole)
        return results

    async def aclose(self) -> None:
        """End prefetching, and wait at most 10 s for a series that is being fetched.

        The loader can still be used, without prefetching. May be called several times.
        """
        prefetch = self._prefetch()
        self._is_prefetching, self._last = False, None
        if prefetch is not None:
            await prefetch.close()

    async def __aenter__(self) -> Self:
        """Return the loader; the end of the block calls :meth:`aclose`."""
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _prefetch(self) -> Prefetch | None:
        """Return the running event loop's prefetch, or None if there is none."""
        is_here = self._last is not None and self._last.loop is asyncio.get_running_loop()
        if self._is_prefetching and not is_here:
            self._last = Prefetch(self.cache.manager)
        return self._last

    def _compute_buffer_start(self, start: date | datetime, timeframe: str) -> date | datetime:
        try:
            return start - timedelta(days=_LOOK_BACK.get(timeframe, _USUAL_LOOK_BACK))
        except OverflowError:
            return start

    async def _load(
        self, symbols: Sequence[str], timeframe: str, start: Any, end: Any
    ) -> Mapping[str, pl.DataFrame | Exception]:
        """Return each symbol's frame, or the error that prevented loading it."""
        if getattr(type(self.cache), "get_prices", None) is DataCache.get_prices:
            async with self._slot():
                return await self.cache.get_prices_batch(symbols, timeframe, start, end)
        series = (self._load_single_series(symbol, timeframe, start, end) for symbol in symbols)
        return dict(zip(symbols, await asyncio.gather(*series), strict=True))

    async def _load_single_series(self, *question: Any) -> pl.DataFrame | Exception:
        ask = partial(self.cache.get_prices, *question)
        try:
            async with self._slot():
                frame: pl.DataFrame = await own_call(type(self.cache).__name__, ask)
        except DataError as error:
            return error
        if not isinstance(frame, pl.DataFrame):
            type_name = f"{type(frame).__module__}.{type(frame).__qualname__}"
            return QueryError(f"get_prices returned a {type_name}, not a Polars frame")
        return frame

    def _slot(self) -> asyncio.Semaphore:
        return self._slots.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(_AT_ONCE))

    def _validate_data_quality(
        self, data: _Frames, whole: Collection[tuple[str, str]] = ()
    ) -> None:
        """Log a single warning about all problems with the frames.

        Args:
            data: Frames by symbol and timeframe.
            whole: Symbols and timeframes of the series that are known to lack no bars.
        """
        issues = [
            f"{symbol} {timeframe}: {issue}"
            for symbol, frames in data.items()
            for timeframe, frame in frames.items()
            for issue in _issues(frame, symbol, timeframe, (symbol, timeframe) in whole)
        ]
        if issues:
            _log.warning("Data quality issues found:\n%s", "\n".join(issues))


def _issues(frame: pl.DataFrame, symbol: str, timeframe: str, is_whole: bool) -> list[str]:
    """Return a frame's problems.

    Outliers are prices above ten times the 99% quantile or below a tenth of the 1% quantile.
    """
    if frame.is_empty():
        return ["No data"]
    prices = {column.name: column for column in frame.get_columns() if column.name in PRICES}
    texts = {name: column.dtype for name, column in prices.items() if not column.dtype.is_numeric()}
    if texts:
        return [f"{name} has the type {dtype}, not a number" for name, dtype in texts.items()]
    if is_whole and 0 < frame["high"].max() <= _TIMES * frame["low"].min():
        return []  # all prices and their quantiles are between these
    values = {name: column.cast(pl.Float64).to_numpy() for name, column in prices.items()}
    issues = []
    time = next((name for name in ("timestamp", "date") if name in frame.columns), None)
    if not is_whole and time is not None and len(values) == len(PRICES):
        is_known = ~np.isnan(list(values.values())).any(axis=0)
        share = _missing_share(frame[time], is_known, symbol, timeframe)
        issues = [f"{share:.1%} missing data"] if share > _MANY_MISSING else []
    for name, column in values.items():
        known = column[~np.isnan(column)]
        # All quantiles are between the lowest and the highest price; computing them takes longer.
        if not len(known) or 0 < known.max() <= _TIMES * known.min():
            continue
        low, high = np.quantile(known, _QUANTILES, method="nearest")
        count = np.count_nonzero((known > high * _TIMES) | (known < low / _TIMES))
        issues += [f"{count} price outliers in {name}"] if count else []
    return issues


def _missing_share(times: pl.Series, is_known: Any, symbol: str, timeframe: str) -> float:
    """Return the share of the expected bars that a series lacks; 0 if that cannot be known."""
    if not isinstance(times.dtype, pl.Date | pl.Datetime) or times.null_count():
        return 0.0
    stamps = times.cast(pl.Datetime("us")).cast(pl.Int64).to_numpy()
    in_range = stamps[0] >= _FIRST_US and stamps[-1] <= _LAST_US
    selector = current_selector()
    # An unknown symbol is not looked up, as that would search for the names that it resembles.
    may_be_known = selector.validate_ticker(symbol)["valid"] or len(symbol) > _LONGEST_TICKER
    if not (in_range and may_be_known and (stamps[1:] > stamps[:-1]).all()):
        return 0.0
    try:
        calendar = calendar_for(selector.instrument(symbol))
        expected = fitting_opens(stamps // 1000, calendar, Timeframe.parse(timeframe))
    except (DataError, ValueError):
        return 0.0  # no calendar applies
    present = stamps[is_known & (stamps % 1000 == 0)] // 1000
    return float((~among(expected, present)).mean()) if len(expected) else 0.0
