"""Market calendars: which bars to expect, and when each of them closes and settles.

Three kinds of calendar have the same interface: ``24/7`` by arithmetic, ``FX`` by a rule, and an
exchange by ``exchange_calendars``. None of them reads a clock. Heavy imports are deferred until an
exchange's calendar is used: importing this module, using ``24/7`` or ``FX``, and calling
:func:`day_span` for a share do not load pandas.

Timestamps ("stamps") are those of :mod:`.market.bars`: the UTC instant at which an intraday bar
opens, and 00:00 of the session date, as if it were UTC, for daily and longer bars. Bars of several
days such as ``3d`` are counted in calendar days from 1970-01-01, and have the timestamp of the
first day of their bucket even without trading on it. Weeks start on Monday, with ``2w`` counted
from Monday 1969-12-29; months are counted from January 1970.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache, lru_cache
from typing import Any, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, QueryError
from ..model.identity.instrument import EXTENDED, Instrument
from ..model.market.bars import Stamps
from ..model.time.instant import DAY_MS, date_of, day_ms
from ..model.time.span import Span
from ..model.time.timeframe import Timeframe
from .buckets import bucket_at, start_at
from .localtime import FIRST_YEAR, LAST_YEAR, local_date, local_to_utc
from .session import ALWAYS_OPEN, FOREX, Session

__all__ = [
    "ALWAYS_OPEN",
    "FIRST_YEAR",
    "FOREX",
    "LAST_YEAR",
    "MarketCalendar",
    "Session",
    "calendar_for",
    "closes_early",
    "day_span",
    "first_unclosed",
    "named_calendar",
    "opened_and_coming",
    "opened_day",
    "price_calendar",
    "session_date",
]

# Number of results kept, because a request needs the same one in several places.
_MOST_UNCLOSED = 32
# A market has a session within this time in either direction.
_NEAR = timedelta(days=15)
# Calendars whose day does not depend on the instrument's listing.
_RULED_ZONES = {ALWAYS_OPEN: "UTC", FOREX: "America/New_York"}


class MarketCalendar(Protocol):
    """The calendar of a market: when its bars open, close and settle.

    Thread-safe. No clock is read: every time is passed as an argument.

    ``stamps`` are int64 arrays of shape (n,) in UTC milliseconds, in any order; results for them
    have the same shape. ``span`` is half-open. ``settle_ms`` is the time after an intraday bar
    closes during which the vendor may still change it.

    ``anchor`` matters only for intraday bars. ``session`` means that bars are counted from the
    session's open, and again from the end of each break. ``clock`` means that bars whose length
    divides a day begin at multiples of that length after midnight at the venue, so the bar that
    contains the open may begin before the open.
    """

    def __hash__(self) -> int:
        """Return a hash of the object's identity, because results are cached by calendar."""

    @property
    def name(self) -> str:
        """The calendar's code, such as ``24/7``, ``FX`` or ``XNYS``."""

    @property
    def timezone(self) -> str:
        """The IANA name of the venue's local time."""

    def sessions(self, first: date, last: date) -> list[Session]:
        """Return the sessions dated ``first`` to ``last``, both inclusive."""

    def unrecorded(self, span: Span) -> list[Span]:
        """Return the parts of ``span`` whose holidays are unknown, in ascending order.

        In these parts, every weekday counts as a session, so a bar may be missing because of a
        holiday.
        """

    def opens(self, timeframe: Timeframe, span: Span, anchor: str = "session") -> Stamps:
        """Return the timestamps of all expected bars in ``[start, end)``, in ascending order."""

    def required(self, timeframe: Timeframe, span: Span, anchor: str = "session") -> Stamps:
        """Return the timestamps, ascending, of the expected bars that every vendor must have.

        Around Christmas and New Year, when currency dealers keep different hours, this returns
        fewer timestamps than ``opens``. If a vendor sends a bar at one of the omitted times, it
        counts like any other; if it does not, the missing bar is not a gap.
        """

    def aligned(
        self, timeframe: Timeframe, stamps: Stamps, anchor: str = "session"
    ) -> NDArray[np.bool_]:
        """Return for each timestamp whether a bar could open then if the market were open.

        A daily or longer bar opens on the first date of its period. Under the ``clock`` anchor, an
        intraday bar opens a whole number of steps after midnight. Under the ``session`` anchor, it
        opens a whole number of steps from the open of the trading period that contains the
        timestamp or, outside trading hours, of the period before or after it. Steps are counted in
        the venue's local time.
        """

    def closes(self, timeframe: Timeframe, stamps: Stamps, anchor: str = "session") -> Stamps:
        """Return the UTC instant at which each bar closes.

        An intraday bar closes one step after it opens, or with its session if that is earlier. A
        week or month closes with its last session. For a timestamp outside trading hours, the
        result is one step later or, for daily and longer bars, the end of the bar's last local day.
        """

    def settles(
        self, timeframe: Timeframe, stamps: Stamps, settle_ms: int, anchor: str = "session"
    ) -> Stamps:
        """Return the UTC instant from which each bar no longer changes.

        Intraday bars, and all bars of a 24/7 market, settle ``settle_ms`` after their close. Daily
        and longer bars from an exchange or from FX settle when the next session opens, but not
        before ``settle_ms`` after their close.
        """

    def next_open(self, timeframe: Timeframe, stamp_ms: int, anchor: str = "session") -> int:
        """Return the first expected timestamp at or after ``stamp_ms``.

        Raises:
            BadRangeError: No bar is expected before the year 2262.
        """

    def back(self, timeframe: Timeframe, end_ms: int, count: int, anchor: str = "session") -> int:
        """Return the timestamp of the ``count``-th expected bar before ``end_ms`` (exclusive).

        Raises:
            BadRangeError: ``count`` is not positive, or the bar would be before 1900.
        """


def calendar_for(instrument: Instrument) -> MarketCalendar:
    """Return the calendar for an instrument; a process creates only one object per calendar.

    An unknown exchange raises ``ConfigError`` on first use, because checking the code earlier would
    require importing ``exchange_calendars``.
    """
    return _calendar(instrument.calendar)


def price_calendar(instrument: Instrument) -> MarketCalendar:
    """Return the calendar of regular hours, by which an instrument's splits and dividends apply.

    In extended hours, a date has bars before its session opens, but vendors report and apply its
    splits from the open of regular hours on.
    """
    return calendar_for(instrument.in_session("regular"))


@cache
def _calendar(name: str) -> MarketCalendar:
    # Imported here because the calendars themselves import the values above.
    if name == ALWAYS_OPEN:
        from .continuous import ContinuousCalendar

        return ContinuousCalendar()
    if name == FOREX:
        from .sessions import ForexCalendar

        return ForexCalendar()
    from .corrections import PAUSES
    from .exchange import ExchangeCalendar, ExtendedCalendar, PausedCalendar

    if name in PAUSES:
        return PausedCalendar(name)
    exchange = name.removesuffix(EXTENDED)
    return ExchangeCalendar(name) if exchange == name else ExtendedCalendar(exchange)


def named_calendar(calendar: Any) -> MarketCalendar | None:
    """Return the calendar for a name, or for an object that has a ``name``; None for None.

    Raises:
        QueryError: The value is neither a name nor an object that has a name.
        ConfigError: No calendar has that name.
    """
    if calendar is None:
        return None
    name = calendar if isinstance(calendar, str) else getattr(calendar, "name", None)
    if not isinstance(name, str) or not name:
        raise QueryError(f"{calendar!r:.80} has no calendar name", hint="use a name such as XNYS")
    market = _calendar(name)
    market.sessions(date(2024, 1, 2), date(2024, 1, 2))  # raises if the calendar is unknown
    return market


def day_span(instrument: Instrument, day: date) -> Span:
    """Return the UTC span ``[start, end)`` of a date at the venue.

    For 24/7 markets, the span is the UTC day. For FX, it extends from 17:00 New York time on the
    previous day to 17:00, on any day of the week. For futures, it extends from the session's open
    to its close, or between the usual times on a day without a session. For all other instruments,
    it is the venue's local day, which depends only on the time zone and not on the calendar.

    Raises:
        ConfigError: The instrument's time zone does not exist.
    """
    if instrument.calendar == ALWAYS_OPEN:
        return Span(day_ms(day), day_ms(day) + DAY_MS)
    if instrument.calendar == FOREX:
        from .sessions import trading_day

        return trading_day(day)
    if instrument.asset_class == "future":
        from .exchange import trading_hours

        return trading_hours(instrument.calendar, day)
    zone = _zone(instrument)
    return Span(local_to_utc(zone, day_ms(day)), local_to_utc(zone, day_ms(day) + DAY_MS))


@lru_cache(_MOST_UNCLOSED)
def first_unclosed(
    calendar: MarketCalendar, timeframe: Timeframe, now_ms: int, anchor: str = "session"
) -> int:
    """Return the timestamp of the first expected bar that has not closed by ``now_ms``.

    All expected bars before it have closed; the bar itself may be forming or in the future.

    Args:
        calendar: Calendar of the market.
        timeframe: Timeframe of the bars.
        now_ms: Current time in UTC milliseconds.
        anchor: Anchor of the bars, ``session`` or ``clock``; see :class:`MarketCalendar`.

    Raises:
        BadRangeError: No bar is expected before the year 2262.
    """
    if timeframe.is_intraday:
        start = now_ms - (timeframe.step_ms or 0)
    else:
        # A session may end on the UTC day after its date, so the second-to-last bucket may still be
        # running.
        start = start_at(timeframe, bucket_at(timeframe, now_ms) - 1)
    while True:
        stamp = calendar.next_open(timeframe, start, anchor)
        if int(calendar.closes(timeframe, np.array([stamp], np.int64), anchor)[0]) > now_ms:
            return stamp
        start = stamp + 1


def session_date(instrument: Instrument, now_ms: int) -> date:
    """Return the venue's session date at ``now_ms``, even when the market is closed.

    Raises:
        ConfigError: The instrument's time zone does not exist.
    """
    day = local_date(_zone(instrument), now_ms)
    return day if now_ms < day_span(instrument, day).end else day + timedelta(days=1)


def opened_and_coming(
    calendar: MarketCalendar, time_ms: int
) -> tuple[list[Session], list[Session]]:
    """Return the sessions within 15 days of a time: those that have opened by then, and the others.

    Both are in ascending order. A session that has opened may have a date after the UTC date of
    ``time_ms`` (UTC milliseconds), because it may open on the evening before.

    Raises:
        ConfigError: The calendar does not exist.
    """
    near = calendar.sessions(date_of(time_ms) - _NEAR, date_of(time_ms) + _NEAR)
    count = sum(session.open_ms <= time_ms for session in near)
    return near[:count], near[count:]


def opened_day(instrument: Instrument, time_ms: int) -> date:
    """Return the latest session date that had opened by a time, which is the last ex-date to have come.

    If no session opened in the 15 days before, the result is the date at the venue.

    Raises:
        ConfigError: The instrument's calendar does not exist.
    """
    opened, _ = opened_and_coming(price_calendar(instrument), time_ms)
    return opened[-1].day if opened else session_date(instrument, time_ms)


def closes_early(instrument: Instrument, session: Session) -> bool:
    """Return whether an exchange's session closes earlier than usual for that day.

    Raises:
        ConfigError: The instrument's calendar does not exist.
    """
    if instrument.calendar in _RULED_ZONES:
        return False
    from .exchange import usual_close

    return session.close_ms < usual_close(instrument.calendar, session.day)


def _zone(instrument: Instrument) -> ZoneInfo:
    name = _RULED_ZONES.get(instrument.calendar, instrument.timezone)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(
            f"unknown time zone {name!r} for {instrument.symbol}",
            symbol=instrument.symbol,
            hint="use an IANA name such as America/New_York",
        ) from error
