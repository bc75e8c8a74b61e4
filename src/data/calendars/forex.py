"""The calendar of spot currencies: Sunday to Friday 17:00 New York, by a rule."""

from __future__ import annotations

from datetime import date
from functools import cache
from zoneinfo import ZoneInfo

from ..model.instant import DAY_MS, HOUR_MS, date_of, day_ms, year_of, year_start
from ..model.span import Span
from .localtime import local_to_utc
from .session import FOREX
from .sessions import SessionCalendar, SessionTable

_NEW_YORK = ZoneInfo("America/New_York")
_ROLL_MS = 17 * HOUR_MS  # the trading day changes at 17:00 New York, summer and winter
_CLOSED = {(1, 1), (12, 25)}


class ForexCalendar(SessionCalendar):
    """Sessions Monday to Friday, each from 17:00 New York of the day before to 17:00.

    A session is dated by the day on which it closes. 1 January and 25 December have none. Intraday
    bars stand on the New York clock, so a ``4h`` bar may hold the change of day.
    """

    def __init__(self) -> None:
        super().__init__(FOREX, lambda: _NEW_YORK, _load, clock=True)


def trading_day(day: date) -> Span:
    """Return 17:00 New York of the day before ``day`` to 17:00 of it, as UTC instants."""
    rolls = (local_to_utc(_NEW_YORK, day_ms(day) + _ROLL_MS - back) for back in (DAY_MS, 0))
    return Span(*rolls)


def _load(first_ms: int, last_ms: int) -> SessionTable:
    years = range(year_of(first_ms), year_of(last_ms) + 1)
    return SessionTable.joined(_year(year) for year in years).dated(first_ms, last_ms)


@cache
def _year(year: int) -> SessionTable:
    days = map(date_of, range(year_start(year), year_start(year + 1), DAY_MS))
    trading = (d for d in days if d.weekday() < 5 and (d.month, d.day) not in _CLOSED)
    spans = ((day_ms(day), *trading_day(day)) for day in trading)
    return SessionTable.of((day, start, end, end, end) for day, start, end in spans)
