"""The arguments of a yfinance call, and the range of bars that they stand for."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pandas as pd

from ...core.bars.client import BarsClient
from ...core.calendars.buckets import bucket_at
from ...core.interface import seconds_of
from ...core.model.identity.instrument import Instrument
from ...core.model.identity.kind import AskedSession
from ...core.model.time.instant import DAY_MS, MINUTE_MS, SECOND_MS, day_ms, from_ms, to_ms
from ...core.model.time.span import Span
from ...core.model.time.timeframe import Timeframe
from ...errors import BadRangeError, BadTimeframeError, QueryError

__all__ = ["Arguments", "Bounds", "NotServedError", "symbols_of", "zone_of"]

When = str | date | int | None

# Maps each yfinance interval to our timeframe.
INTERVALS = {
    "1m": "1m",
    "2m": "2m",
    "5m": "5m",
    "15m": "15m",
    "30m": "30m",
    "60m": "1h",
    "90m": "90m",
    "1h": "1h",
    "1d": "1d",
    "1wk": "1w",
    "1mo": "1M",
    "3mo": "3M",
}
# Number of days for which Yahoo has intraday bars (`period="max"`), less one in which they may end.
_DEPTH_DAYS = {"1m": 8, "1h": 729, "60m": 729}
_OTHER_DEPTH_DAYS = 59
# Maximum number of days that a period of trading days may reach back, including long holidays.
_DAYS_AROUND = 15
# Extended hours of US shares: from 04:00, and four hours after the close.
_BEFORE_OPEN_MS, _AFTER_CLOSE_MS = 330 * MINUTE_MS, 240 * MINUTE_MS
_PERIOD = re.compile(r"([1-9]\d{0,4})(d|wk|mo|y)")
_PERIODS = "1d, 5d, 1mo, 3mo, 6mo, 1y, 2y, 5y, 10y, ytd or max"
_ISIN = re.compile(r"[A-Z]{2}[A-Z0-9]{9}[0-9]")
# Time zones in which Yahoo dates bars of markets that are not in one place.
_ZONES = {"forex": "Europe/London", "crypto": "UTC"}
_FIRST_DAY = date(1900, 1, 1)
_LAST_YEAR = 9998


class NotServedError(QueryError, AttributeError):
    """A yfinance name is not supported here; the message names a replacement."""


class Bounds(NamedTuple):
    """The range of a request to the data manager, and other settings that depend on the instrument.

    Attributes:
        start, end: Bounds as for ``get_ohlcv``, both inclusive; an end of None means now.
        provider: Only vendor to query; None for the vendors in the rules.
        session: Trading hours.
        may_be_forming: Whether the last bar may still be forming.
        is_traded: Whether trading has begun today, so that a vendor should have the forming bar.
    """

    start: date
    end: date | None
    provider: str | None
    session: AskedSession
    may_be_forming: bool
    is_traded: bool


@dataclass(frozen=True)
class Arguments:
    """Checked arguments of ``download`` and ``history``, apart from the tickers.

    Attributes:
        interval, period, start, end: Range and length of the bars, as in yfinance. The first two
            are kept in lower case.
        prepost, actions, auto_adjust, repair, keepna, rounding: Options as in yfinance.
        timeout: Maximum seconds for each request; None means the data manager's own limit.

    Raises:
        QueryError: An argument is invalid, or asks for something that is not supported.
    """

    interval: str
    period: str | None
    start: When
    end: When
    prepost: bool
    actions: bool
    auto_adjust: bool
    repair: bool
    keepna: bool
    rounding: bool
    timeout: float | None

    def __post_init__(self) -> None:
        if self.interval in ("1M", "3M"):  # in lower case, this would be minutes
            hint = f"use {self.interval[0]}mo for months"
            raise BadTimeframeError(f"interval {self.interval!r} is not supported", hint=hint)
        for name in ("interval", "period"):
            if isinstance(value := getattr(self, name), str):
                object.__setattr__(self, name, value.lower())  # any case is accepted by yfinance
        if not isinstance(self.interval, str) or self.interval not in INTERVALS:
            hint = "use 1wk" if self.interval == "5d" else f"intervals: {', '.join(INTERVALS)}"
            raise BadTimeframeError(f"interval {self.interval!r} is not supported", hint=hint)
        seconds_of(self.timeout, "yfinance's arguments")
        given = [moment for moment in (self.start, self.end) if moment is not None]
        for moment in given:
            _moment(moment, ZoneInfo("UTC"))
        period = self.period
        if period is None:
            return
        if not isinstance(period, str) or not (
            period in ("ytd", "max") or _PERIOD.fullmatch(period)
        ):
            raise BadRangeError(f"invalid period {period!r}; use {_PERIODS}")
        if len(given) == 2:
            raise BadRangeError("period, start and end cannot be combined; omit one of them")
        if period == "ytd" and given:
            raise BadRangeError("period 'ytd' begins with the year; omit start and end")

    @property
    def timeframe(self) -> str:
        """The bar length, in the data manager's notation."""
        return INTERVALS[self.interval]

    @property
    def is_intraday(self) -> bool:
        """Whether bars are shorter than a day."""
        return self.timeframe[-1] in "mh"

    @property
    def _is_long(self) -> bool:
        """Whether bars are longer than a day."""
        return not self.is_intraday and self.timeframe != "1d"

    def market(self, ticker: str, instrument: Instrument) -> tuple[str, ...]:
        """Return the properties of a ticker on which the result of :meth:`bounds` depends."""
        provider = provider_of(ticker, instrument) or ""
        return instrument.asset_class, instrument.calendar, instrument.timezone, provider

    def bounds(self, ticker: str, instrument: Instrument, client: BarsClient) -> Bounds | None:
        """Return the requested range for an instrument, or None if the range is empty.

        Times without a time zone are local to the exchange. The requested end is exclusive, as in
        yfinance.
        """
        zone, now_ms = ZoneInfo(zone_of(instrument)), client.clock.now_ms()
        first, last = self._ends(zone, now_ms, instrument, client)
        if self.start is None and self.is_intraday:
            # A session that began this evening has tomorrow's date.
            first = min(first, datetime.combine(_local_time(now_ms, zone).date(), time(), zone))
        ends = last if last is not None and to_ms(last) <= now_ms else None
        is_coming = self.start is not None and to_ms(first) > now_ms
        if is_coming or (ends is not None and ends <= first):
            return None
        provider = provider_of(ticker, instrument)
        session: AskedSession = "regular"
        if self.prepost and self.is_intraday and instrument.asset_class == "stock":
            session = "extended"
        if self.is_intraday:
            start: date = _utc_time(first)
            end: date | None = ends and _utc_time(ends - timedelta(milliseconds=1))
        else:
            # Days are labelled with their open, weeks and months with their first midnight.
            by_open = self.timeframe == "1d"
            start = self._first_date(first, instrument, client, by_open=by_open)
            end = None
            if ends is not None:
                after = self._first_date(ends, instrument, client, by_open=by_open)
                end = after - timedelta(days=1)
                if end < start:
                    return None
        is_late = end is None or self._is_late(end, _local_time(now_ms, zone).date())
        is_traded = is_late and self._is_traded(instrument, session, now_ms, client)
        may_be_forming = is_traded or (is_late and self._is_long)
        return Bounds(start, end, provider, session, may_be_forming, is_traded)

    def _is_late(self, end: date, today: date) -> bool:
        """Return whether a range that ends in the past overlaps the current week, month or quarter.

        Shorter timeframes need no such check: yfinance drops the current day or hour if it ends
        after the range.
        """
        if not self._is_long:
            return False
        timeframe = Timeframe.parse(self.timeframe)
        return bucket_at(timeframe, day_ms(end)) >= bucket_at(timeframe, day_ms(today))

    def _is_traded(
        self, instrument: Instrument, session: AskedSession, now: int, client: BarsClient
    ) -> bool:
        """Return whether a session is open now or, for weekly and longer bars, was open today."""
        before, after = (_BEFORE_OPEN_MS, _AFTER_CLOSE_MS) if session == "extended" else (0, 0)
        after = DAY_MS // 2 if self._is_long else after
        near = client.sessions(instrument, Span(now - after, now + before + 1))
        return any(session.open_ms - before <= now < session.close_ms + after for session in near)

    def _ends(
        self, zone: ZoneInfo, now: int, instrument: Instrument, client: BarsClient
    ) -> tuple[datetime, datetime | None]:
        """Return the start and the exclusive end of the range, in the exchange's time zone."""
        start = None if self.start is None else _moment(self.start, zone)
        end = None if self.end is None else _moment(self.end, zone)
        period = self.period or (None if start else "1mo")
        if period is None or period == "max":
            return start or self._earliest_start(zone, now), end
        if period == "ytd":
            return datetime(_local_time(now, zone).year, 1, 1, tzinfo=zone), None
        if start is not None:
            return start, _shift(start, period, 1)
        if end is not None:
            return _shift(end, period, -1), end
        if period in ("1d", "5d"):
            return _last_days(int(period[0]), zone, now, instrument, client), None
        today = datetime.combine(_local_time(now, zone).date(), time(), zone)
        return _shift(today, period, -1), None

    def _earliest_start(self, zone: ZoneInfo, now: int) -> datetime:
        """Return the start of the longest possible range, for the period ``max``."""
        if not self.is_intraday:
            return datetime.combine(_FIRST_DAY, time(), zone)
        days = _DEPTH_DAYS.get(self.interval, _OTHER_DEPTH_DAYS)
        return _local_time(now, zone) - timedelta(days=days)

    def _first_date(
        self, moment: datetime, instrument: Instrument, client: BarsClient, *, by_open: bool
    ) -> date:
        """Return the first date whose bar has a label at or after an instant."""
        day = moment.date()
        if moment.timetz().replace(tzinfo=None) == time():
            return day
        midnight = to_ms(datetime.combine(day, time(), moment.tzinfo))
        around = client.sessions(instrument, Span(midnight, midnight + DAY_MS))
        opens = next((session.open_ms for session in around if session.day == day), None)
        is_before = by_open and opens is not None and to_ms(moment) <= opens
        return day if is_before else day + timedelta(days=1)


def _last_days(
    count: int, zone: ZoneInfo, now: int, instrument: Instrument, client: BarsClient
) -> datetime:
    """Return the local midnight at the start of the last ``count`` sessions."""
    reach = Span(now - (_DAYS_AROUND + 2 * count) * DAY_MS, now + 1)
    days = [session.day for session in client.sessions(instrument, reach)]
    return datetime.combine(days[-count:][0], time(), zone)


def _moment(value: Any, zone: ZoneInfo) -> datetime:
    """Convert a start or end to an instant in the exchange's zone, which also applies to naive times."""
    try:
        if value is pd.NaT or isinstance(value, bool):
            raise TypeError
        if isinstance(value, int):
            return _local_time(value * SECOND_MS, zone)
        if isinstance(value, str):
            value = datetime.strptime(value, "%Y-%m-%d")
        if not isinstance(value, datetime):
            value = datetime.combine(value, time())
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRangeError(
            f"invalid start or end {value!r:.80}; use YYYY-MM-DD, a date or a datetime"
        ) from error
    moment: datetime = value.to_pydatetime(warn=False) if isinstance(value, pd.Timestamp) else value
    if moment.year < _FIRST_DAY.year:
        raise BadRangeError(f"start or end {value!s:.80} is before {_FIRST_DAY.year}")
    # The last hours of the last year cannot be converted to UTC from every zone.
    moment = moment if moment.year <= _LAST_YEAR else moment.replace(_LAST_YEAR, 12, 31)
    return moment.replace(tzinfo=zone) if moment.tzinfo is None else moment.astimezone(zone)


def _shift(moment: datetime, period: str, sign: int) -> datetime:
    """Move an instant by a period, according to the calendar in its time zone."""
    match = _PERIOD.fullmatch(period)
    assert match is not None  # checked with the arguments
    count, unit = sign * int(match[1]), match[2]
    try:
        if unit in ("d", "wk"):
            return moment + timedelta(days=count * (7 if unit == "wk" else 1))
        moved = pd.Timestamp(moment.replace(tzinfo=None)) + pd.DateOffset(
            months=count * (12 if unit == "y" else 1)
        )
    except (ValueError, OverflowError) as error:
        raise BadRangeError(f"period {period!r} reaches beyond the years 1 to 9999") from error
    return moved.to_pydatetime().replace(tzinfo=moment.tzinfo)


def _local_time(ms: int, zone: ZoneInfo) -> datetime:
    return from_ms(ms).replace(tzinfo=UTC).astimezone(zone)


def _utc_time(moment: datetime) -> datetime:
    return from_ms(to_ms(moment))


def provider_of(ticker: str, instrument: Instrument) -> str | None:
    """Return Yahoo for a pair that only Yahoo has, such as BTC-USD but not BTC-USDT; otherwise None."""
    is_yahoos = instrument.asset_class == "crypto" and instrument.spelling("yahoo") == ticker
    return "yahoo" if is_yahoos and "-" in ticker else None


def zone_of(instrument: Instrument) -> str:
    """Return the time zone for the index of an instrument's bars, which is its exchange's zone."""
    return _ZONES.get(instrument.asset_class, instrument.timezone)


def symbols_of(tickers: Any) -> list[str]:
    """Return tickers as a list, from a string with spaces or commas or a collection of strings.

    Raises:
        QueryError: No ticker was passed, or one of them is not a string.
    """
    if isinstance(tickers, str):
        tickers = tickers.replace(",", " ").split()
    if not isinstance(tickers, Collection) or not all(
        isinstance(ticker, str) for ticker in tickers
    ):
        raise QueryError(f"tickers must be strings such as 'AAPL MSFT', not {tickers!r:.80}")
    if not len(tickers):  # an array of several has no truth value
        raise QueryError("no tickers were passed", hint="such as 'AAPL MSFT'")
    return list(dict.fromkeys(ticker.strip().upper() for ticker in tickers))


def is_isin(ticker: str) -> bool:
    """Return whether a ticker is a security's ISIN rather than its symbol."""
    return _ISIN.fullmatch(ticker) is not None


def refuse(name: str, is_asked: bool, why: str) -> None:
    """Reject an argument that would otherwise be ignored.

    Args:
        name: Name of the argument.
        is_asked: Whether the argument was passed.
        why: Reason for the message.

    Raises:
        QueryError: The argument was passed.
    """
    if is_asked:
        raise QueryError(f"{name} is not supported: {why}")
