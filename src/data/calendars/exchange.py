"""The calendars of exchanges, taken from ``exchange_calendars``.

Sessions are built in eras of twenty years, each when first asked for, so that neither the clock nor
the range of one request decides what a date is. Where the library has no record (beyond its bounds,
or a calendar that it cannot build) every weekday trades at the usual times.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import date
from functools import cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from ..errors import ConfigError
from ..model.bars import Stamps
from ..model.instant import DAY_MS, MINUTE_MS, date_of, day_ms, to_ms, year_of
from ..model.span import Span
from ..once import once
from .localtime import FIRST_YEAR, LAST_YEAR, local_to_utc
from .sessions import SessionCalendar, SessionTable

_ERA_YEARS = 20  # about 0.1 s to build for New York
_AN_ERA_BEGINS = 1990
_NS_PER_MS = 1_000_000

_BEFORE_OPEN_MS, _AFTER_CLOSE_MS = 330 * MINUTE_MS, 240 * MINUTE_MS

_EVER = day_ms(date(FIRST_YEAR, 1, 1)) - 2 * DAY_MS

# Minutes after midnight, each with the stamp from which it is in force; None where there is none.
_Times = tuple[tuple[int, int | None], ...]


class ExchangeCalendar(SessionCalendar):
    """The calendar of one exchange by its code, such as ``XNYS``; built when first asked.

    Every question raises ``ConfigError`` when the library does not know the code.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            name, lambda: _usual(name).zone, lambda first, last: _load(name, first, last)
        )


class ExtendedCalendar(SessionCalendar):
    """The calendar of an exchange with the trading before its open and behind its close.

    New York trades from 04:00 to 20:00, on half days to 17:00: as long before any open and behind any
    close as there.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            name, lambda: _usual(name).zone, lambda first, last: _widened(_load(name, first, last))
        )


def _widened(table: SessionTable) -> SessionTable:
    ends = table.closes + _AFTER_CLOSE_MS
    return SessionTable(table.days, table.opens - _BEFORE_OPEN_MS, ends, ends, ends)


def trading_hours(name: str, day: date) -> Span:
    """Return open and close of the session dated ``day``, at the latest the usual close.

    The hours behind an early close are still of that date: what is traded by the calendar of its
    exchange need not close as early. Where there is no session they are the usual ones.

    Raises:
        ConfigError: the library does not know the code.
    """
    stamp = day_ms(day)
    _, opened, closed, _, _ = _usual(name).session(stamp)
    table = _load(name, stamp, stamp)
    if len(table.days):
        return Span(int(table.opens[0]), max(int(table.closes[0]), closed))
    return Span(opened, closed)


def usual_close(name: str, day: date) -> int:
    """Return the instant at which the exchange closes on ``day`` where nothing is special.

    Raises:
        ConfigError: the library does not know the code.
    """
    return _usual(name).session(day_ms(day))[2]


class _Usual(NamedTuple):
    """Hours of an exchange on an ordinary day, through the years, as the library declares them."""

    zone: ZoneInfo
    weekmask: str
    weekmasks: tuple[tuple[int, int, str], ...]  # first day, last day, mask
    opens: _Times
    closes: _Times
    break_starts: _Times
    break_ends: _Times

    def sessions(self, first_ms: int, last_ms: int) -> Iterator[tuple[int, int, int, int, int]]:
        """Return a session at the usual times for every weekday in ``[first, last]``."""
        for day in range(first_ms, last_ms + 1, DAY_MS):
            if self._mask(day)[date_of(day).weekday()] == "1":
                yield self.session(day)

    def session(self, day: int) -> tuple[int, int, int, int, int]:
        """Return day, open, close, break start and break end of an ordinary session."""
        opened = self._utc(day, _in_force(self.opens, day) or 0)
        closed = self._utc(day, _in_force(self.closes, day) or 0)
        start, end = _in_force(self.break_starts, day), _in_force(self.break_ends, day)
        if start is None or end is None:
            return day, opened, closed, closed, closed
        return day, opened, closed, self._utc(day, start), self._utc(day, end)

    def _utc(self, day: int, minutes: int) -> int:
        return local_to_utc(self.zone, day + minutes * MINUTE_MS)

    def _mask(self, day: int) -> str:
        return next((m for first, last, m in self.weekmasks if first <= day <= last), self.weekmask)


def _in_force(times: _Times, day: int) -> int | None:
    return [minutes for since, minutes in times if since <= day][-1]


def _load(name: str, first_ms: int, last_ms: int) -> SessionTable:
    """Return the sessions of an exchange dated ``[first, last]``."""
    eras = range(_era_of(first_ms), _era_of(last_ms) + 1)
    return SessionTable.joined(_era(name, era) for era in eras).dated(first_ms, last_ms)


def _era_of(ms: int) -> int:
    return (year_of(ms) - _AN_ERA_BEGINS) // _ERA_YEARS


@once
def _era(name: str, era: int) -> SessionTable:
    """Return all sessions of one era: the recorded ones, and usual ones where none are."""
    year = _AN_ERA_BEGINS + era * _ERA_YEARS
    first = day_ms(date(max(year, FIRST_YEAR), 1, 1))
    last = day_ms(date(min(year + _ERA_YEARS - 1, LAST_YEAR), 12, 31))
    bounds = _bounds(name).clip(Span(first, last + DAY_MS))
    recorded = None if bounds.end - bounds.start <= DAY_MS else _recorded(name, bounds)
    usual = _usual(name)
    if recorded is None:
        return SessionTable.of(usual.sessions(first, last))
    before = SessionTable.of(usual.sessions(first, bounds.start - DAY_MS))
    after = SessionTable.of(usual.sessions(bounds.end, last))
    return SessionTable.joined([before, recorded, after])


def _recorded(name: str, dates: Span) -> SessionTable | None:
    """Return the library's sessions with dates in ``dates``, or None where it cannot build them."""
    bounds = {"start": dates.start, "end": dates.end - DAY_MS}
    try:
        with warnings.catch_warnings():
            # Warnings about the library's own use of pandas do not concern our caller.
            warnings.simplefilter("ignore", DeprecationWarning)
            calendar = _class(name)(**{k: date_of(ms).isoformat() for k, ms in bounds.items()})
    except (ValueError, NotImplementedError):
        # exchange_calendars 4.13 under pandas 3.1: five calendars with Orthodox holidays or a
        # changed week (ASEX, XBEL, XBSE, XCYS, XTAE) fail inside the library. Weekdays then.
        return None
    days: Stamps = calendar.schedule.index.as_unit("ms").asi8
    opens, closes = calendar.opens_nanos // _NS_PER_MS, calendar.closes_nanos // _NS_PER_MS
    starts, ends = (
        nanos // _NS_PER_MS for nanos in (calendar.break_starts_nanos, calendar.break_ends_nanos)
    )
    none = calendar.schedule["break_start"].isna().to_numpy()
    starts[none], ends[none] = closes[none], closes[none]
    return SessionTable(days, opens, closes, starts, ends)


@cache
def _usual(name: str) -> _Usual:
    """Read what the exchange declares, without building its calendar."""
    declared = _class(name).__new__(_class(name))
    weekmasks = getattr(declared, "special_weekmasks", None) or ()
    return _Usual(
        zone=ZoneInfo(str(declared.tz)),
        weekmask=declared.weekmask,
        weekmasks=tuple((_since(a), _until(b), mask) for a, b, mask in weekmasks),
        opens=_times(declared.open_times, declared.open_offset),
        closes=_times(declared.close_times, declared.close_offset),
        break_starts=_times(declared.break_start_times, 0),
        break_ends=_times(declared.break_end_times, 0),
    )


def _times(declared: Any, days: int) -> _Times:
    """Read times of day as ``(in force from, time)``; ``days`` is how far they lie off the date."""
    shift = days * DAY_MS // MINUTE_MS
    return tuple(
        (_since(since), None if at is None else shift + at.hour * 60 + at.minute)
        for since, at in declared or ((None, None),)
    )


@cache
def _bounds(name: str) -> Span:
    """Return the dates for which the library vouches."""
    return Span(_since(_class(name).bound_min()), _until(_class(name).bound_max()) + DAY_MS)


@cache
def _class(name: str) -> Any:
    """Return the library's class of an exchange.

    The public ``get_calendar`` builds at once, and keeps one calendar per name for the whole
    process; the class leaves a user's own calendars alone.
    """
    import exchange_calendars
    from exchange_calendars import calendar_utils, errors

    try:
        code = exchange_calendars.resolve_alias(name)
        return calendar_utils.global_calendar_dispatcher._calendar_factories[code]
    except (errors.InvalidCalendarName, KeyError) as error:
        raise ConfigError(
            f"unknown calendar {name!r}",
            hint="24/7, FX, or a code of exchange_calendars such as XNYS",
        ) from error


def _since(day: Any) -> int:
    """Return the stamp of a first date as the library writes it; None means ever since."""
    return _EVER if day is None else to_ms(day)


def _until(day: Any) -> int:
    """Return the stamp of a last date as the library writes it; None means for ever."""
    return day_ms(date(LAST_YEAR, 12, 31)) if day is None else to_ms(day)
