"""Which range holds the last so many closed bars."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from ...calendars.calendar import MarketCalendar, first_unclosed
from ...errors import BadRangeError, ConfigError
from ...model.instant import DAY_MS, date_of, from_ms
from ...model.timeframe import Timeframe

_MONTH_MS = 31 * DAY_MS
_MOST = 10_000_000


def check_lookback(count: object) -> None:
    """Refuse what is no count of bars to begin with.

    Raises:
        ConfigError: it is no whole number, or none that history can be asked for.
    """
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= _MOST:
        raise ConfigError(
            f"lookback_bars is {count!r}", hint=f"a whole number from 1 to {_MOST:,} is wanted"
        )


def lookback_range(
    market: MarketCalendar | None, timeframe: Timeframe, count: int, now_ms: int
) -> dict[str, Any]:
    """Return ``start_date`` and ``end_date`` of the last ``count`` closed bars, both included.

    Days and longer bars are named by dates, others by naive UTC times. Where the market is not
    known, or there were not so many bars, the range is as long as so many bars last.
    """
    start, end = _stamps(market, timeframe, count, now_ms)
    return {"start_date": _named(timeframe, start), "end_date": _named(timeframe, end)}


def _stamps(
    market: MarketCalendar | None, timeframe: Timeframe, count: int, now_ms: int
) -> tuple[int, int]:
    if market is not None:
        try:
            coming = first_unclosed(market, timeframe, now_ms)
            start, end = market.back(timeframe, coming, count), market.back(timeframe, coming, 1)
            return start, max(end, start + 1)  # one bar is a range too, and none may be empty
        except BadRangeError:
            pass  # before all calendars: there is not so much of anything
    step = timeframe.step_ms or _MONTH_MS * timeframe.count
    return now_ms - count * step, now_ms


def _named(timeframe: Timeframe, stamp_ms: int) -> datetime | date:
    return from_ms(stamp_ms) if timeframe.is_intraday else date_of(stamp_ms)
