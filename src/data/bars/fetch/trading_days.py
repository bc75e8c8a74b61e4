"""Which session of a market opened last: splits and dividends count from the open of their ex-date."""

from __future__ import annotations

from datetime import date, timedelta
from typing import NamedTuple

from ...calendars.calendar import calendar_for, day_span, session_date
from ...clock import Clock
from ...model.instant import date_of, day_ms
from ...model.instrument import Instrument
from ...model.span import Span

_NEAR = timedelta(days=14)
_A_DAY = timedelta(days=1)


class TradingDay(NamedTuple):
    """A session date that has opened, and the next one that opens.

    Ex-dates up to ``day`` count, and none lies before ``coming``.
    """

    day: date
    coming: date

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
        self._days: dict[tuple[str, str], tuple[Span, TradingDay]] = {}

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
            stands = day_span(instrument, day), TradingDay(day, day + _A_DAY)
            self._days[market] = stands
        return stands[1]

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
        day = TradingDay(opened[-1].day, coming[0].day)
        stands = Span(opened[-1].open_ms, coming[0].open_ms), day
        self._days[instrument.calendar, instrument.timezone] = stands
        return day
