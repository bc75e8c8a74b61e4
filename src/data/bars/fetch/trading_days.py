"""Which session of a market opened last: splits and dividends count from the open of their ex-date."""

from __future__ import annotations

from datetime import date, timedelta
from typing import NamedTuple

from ...calendars.calendar import MarketCalendar, calendar_for, day_span, session_date
from ...clock import Clock
from ...model.instant import HOUR_MS, date_of, day_ms
from ...model.instrument import Instrument
from ...model.span import Span

_NEAR = timedelta(days=14)
_A_DAY = timedelta(days=1)
_NEVER = 1 << 62
# By then vendors have published the day's bar: Tiingo at 17:30 in New York.
_PUBLISHED_MS = 2 * HOUR_MS


class TradingDay(NamedTuple):
    """A session date that has opened, and the next one that opens.

    Ex-dates up to ``day`` count, and none lies before ``coming``. A vendor that tells an action with
    the bar of its day, and was asked at ``news_ms`` or later, need not be asked again for ``day``: until
    then it knows what counts in the session before, ``previous``.
    """

    day: date
    coming: date
    news_ms: int = _NEVER
    previous: date = date.min

    @property
    def end(self) -> int:
        """Stamp of the next session date."""
        return day_ms(self.coming)


class TradingDays:
    """The trading day of each market. Thread-safe.

    What a calendar says is remembered until the next session opens.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._days: dict[tuple[str, str], tuple[Span, TradingDay, int]] = {}

    def latest(self, instrument: Instrument) -> TradingDay:
        """Return the current trading day, or the date at the venue where no calendar is at hand.

        The date is never earlier than the trading day: before the open, on weekends and holidays
        it is later.
        """
        now = self._clock.now_ms()
        market = (instrument.calendar, instrument.timezone)
        stands = self._days.get(market)
        if stands is None or now not in stands[0]:
            day = session_date(instrument, now)
            stands = day_span(instrument, day), TradingDay(day, day + _A_DAY), _NEVER
            self._days[market] = stands
        return _with_news(stands[1], stands[2], now)

    def current(self, instrument: Instrument) -> TradingDay:
        """Return the current trading day by the market's calendar.

        Raises:
            ConfigError: there is no such calendar.
        """
        now = self._clock.now_ms()
        today = date_of(now)
        around = calendar_for(instrument).sessions(today - _NEAR, today + _NEAR)
        opened = [session for session in around if session.open_ms <= now]
        coming = [session for session in around if session.open_ms > now]
        if not opened or not coming:  # no market is closed for so long
            return TradingDay(today, today + _A_DAY)
        latest, published = opened[-1], opened[-1].close_ms + _PUBLISHED_MS
        stands = Span(latest.open_ms, coming[0].open_ms)
        day = TradingDay(latest.day, coming[0].day, latest.open_ms, opened[-2].day)
        self._days[instrument.calendar, instrument.timezone] = stands, day, published
        return _with_news(day, published, now)


def first_session(calendar: MarketCalendar, stamp_ms: int, latest: date) -> int | None:
    """Return the stamp of the first session from a date's stamp up to ``latest``, if there is one."""
    sessions = calendar.sessions(date_of(stamp_ms), latest) if stamp_ms <= day_ms(latest) else ()
    return day_ms(sessions[0].day) if sessions else None


def _with_news(day: TradingDay, published_ms: int, now_ms: int) -> TradingDay:
    """Return the day as it is once its bar has been published."""
    return day._replace(news_ms=published_ms) if now_ms >= published_ms else day
