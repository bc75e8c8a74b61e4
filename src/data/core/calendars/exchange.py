"""The calendars of exchanges, taken from ``exchange_calendars``.

Sessions are built in eras of twenty years, each when it is first needed, so that they depend
neither on the clock nor on the range of a request. If the library has no record (beyond its bounds,
or for a calendar that it cannot build), every weekday counts as a session at the usual times, and
``unrecorded`` reports this.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import date, time
from functools import cache, lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from ..model.identity.instrument import EXTENDED
from ..model.market.bars import Stamps
from ..model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, date_of, day_ms, to_ms, year_of
from ..model.time.span import Span, uncovered
from ..model.time.timeframe import Timeframe
from ..runtime.once import once
from .corrections import PAUSES
from .library import built, library_class
from .localtime import FIRST_YEAR, LAST_YEAR, local_to_utc
from .session import Session
from .sessions import SessionCalendar, SessionTable

_MARGIN_MS = 31 * DAY_MS
_ERA_YEARS = 20  # about 0.1 s to build for New York
_AN_ERA_BEGINS = 1990
_NS_PER_MS = 1_000_000
# Number of tables kept, for jobs whose series often request the same dates.
_MOST_TABLES = 32

_BEFORE_OPEN_MS, _AFTER_CLOSE_MS = 330 * MINUTE_MS, 240 * MINUTE_MS

_EVER = day_ms(date(FIRST_YEAR, 1, 1)) - 2 * DAY_MS

# Times of day in minutes after midnight, each with the date from which it applies; None if there is
# no such time.
_Times = tuple[tuple[int, int | None], ...]


class ExchangeCalendar(SessionCalendar):
    """The calendar of one exchange, named by its code, such as ``XNYS``; built on first use.

    Every method raises ``ConfigError`` if ``exchange_calendars`` does not know the code.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            name,
            lambda: _usual_hours(name).zone,
            lambda first, last: _load(name, first, last),
            unrecorded=lambda span: _unrecorded_spans(name, span),
        )

    def _end_of(self, day: int) -> int:
        """Return the end of a date without a session.

        The end is the usual close if sessions begin on the previous evening, and midnight
        otherwise.
        """
        usual = _usual_hours(self.name)
        begins_before = day >= _EVER and (_minute_on(usual.opens, day) or 0) < 0
        return usual.session(day)[2] if begins_before else super()._end_of(day)


class PausedCalendar(ExchangeCalendar):
    """The calendar of products whose trading pauses during their exchange's sessions.

    Bars are counted through the pause, because vendors do the same; only a bar that is entirely
    within the pause is not expected.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._pause = PAUSES[name]

    def sessions(self, first: date, last: date) -> list[Session]:
        """Return the sessions dated ``first`` to ``last``, both inclusive, with their pauses."""
        sessions = super().sessions(first, last)
        return [session._replace(breaks=self._breaks(session)) for session in sessions]

    def opens(self, timeframe: Timeframe, span: Span, anchor: str = "session") -> Stamps:
        """Return the timestamps of all expected bars in ``[start, end)``, in ascending order."""
        stamps = super().opens(timeframe, span, anchor)
        step_ms = timeframe.step_ms
        if not timeframe.is_intraday or step_ms is None or not len(stamps):
            return stamps
        clock = (stamps + self._offsets(stamps)) % DAY_MS
        start, end = _ms_of_day(self._pause.start), _ms_of_day(self._pause.end)
        has_none = (clock < start) | (clock + step_ms > end)
        return stamps[has_none | (stamps >= day_ms(self._pause.until))]

    def _breaks(self, session: Session) -> tuple[Span, ...]:
        if session.day >= self._pause.until:
            return ()
        ends = (day_ms(session.day) + _ms_of_day(at) for at in (self._pause.start, self._pause.end))
        pause = Span(*(local_to_utc(self._zone(), ms) for ms in ends))
        return (pause,) if pause.end < session.close_ms else ()


def _ms_of_day(wall_time: time) -> int:
    return (wall_time.hour * 60 + wall_time.minute) * MINUTE_MS


class ExtendedCalendar(SessionCalendar):
    """An exchange's calendar that includes the trading before its open and after its close.

    New York trades from 04:00 to 20:00, and until 17:00 on half days. Other exchanges are assumed
    to trade for the same time before their open and after their close.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name}{EXTENDED}",
            lambda: _usual_hours(name).zone,
            lambda first, last: _widen_sessions(_load(name, first, last)),
            unrecorded=lambda span: _unrecorded_spans(name, span),
        )
        self._regular = ExchangeCalendar(name)

    def required(self, timeframe: Timeframe, span: Span, anchor: str = "session") -> Stamps:
        """Return the timestamps of the expected bars in regular hours, which every vendor must have.

        Before the open and after the close, minutes without a trade are common. All bars of an hour
        or longer are required.
        """
        stamps = self.opens(timeframe, span, anchor)
        step_ms = timeframe.step_ms
        if step_ms is None or step_ms >= HOUR_MS or not len(stamps):
            return stamps
        begins, ends = self._regular.open_spans(span)
        at = np.searchsorted(begins, stamps, side="right") - 1
        inside = at >= 0
        inside[inside] = stamps[inside] < ends[at[inside]]
        return stamps[inside]


def _widen_sessions(table: SessionTable) -> SessionTable:
    ends = table.closes + _AFTER_CLOSE_MS
    return SessionTable(table.days, table.opens - _BEFORE_OPEN_MS, ends, ends, ends)


def trading_hours(name: str, day: date) -> Span:
    """Return the trading hours on ``day``, with the usual close in place of an early one.

    The hours after an early close still belong to that date, because products that follow the
    exchange's calendar need not close as early. On a day without a session, the result is the usual
    hours.

    Raises:
        ConfigError: ``exchange_calendars`` does not know the code.
    """
    stamp = day_ms(day)
    _, opened, closed, _, _ = _usual_hours(name).session(stamp)
    table = _load(name, stamp, stamp)
    if len(table.days):
        return Span(int(table.opens[0]), max(int(table.closes[0]), closed))
    return Span(opened, closed)


def usual_close(name: str, day: date) -> int:
    """Return the instant at which the exchange would close on ``day`` if it were an ordinary day.

    Raises:
        ConfigError: ``exchange_calendars`` does not know the code.
    """
    return _usual_hours(name).session(day_ms(day))[2]


class _Usual(NamedTuple):
    """The regular trading hours of an exchange in each period, according to exchange_calendars."""

    zone: ZoneInfo
    weekmask: str
    weekmasks: tuple[tuple[int, int, str], ...]  # first day, last day, mask
    opens: _Times
    closes: _Times
    break_starts: _Times
    break_ends: _Times

    def sessions(self, first_ms: int, last_ms: int) -> Iterator[tuple[int, int, int, int, int]]:
        """Yield a session at the usual times for every weekday in ``[first, last]``."""
        for day in range(first_ms, last_ms + 1, DAY_MS):
            if self._mask(day)[date_of(day).weekday()] == "1":
                yield self.session(day)

    def session(self, day: int) -> tuple[int, int, int, int, int]:
        """Return the day, open, close, break start and break end of a regular-hours session."""
        opened = self._utc(day, _minute_on(self.opens, day) or 0)
        closed = self._utc(day, _minute_on(self.closes, day) or 0)
        start, end = _minute_on(self.break_starts, day), _minute_on(self.break_ends, day)
        if start is None or end is None:
            return day, opened, closed, closed, closed
        return day, opened, closed, self._utc(day, start), self._utc(day, end)

    def _utc(self, day: int, minutes: int) -> int:
        return local_to_utc(self.zone, day + minutes * MINUTE_MS)

    def _mask(self, day: int) -> str:
        return next((m for first, last, m in self.weekmasks if first <= day <= last), self.weekmask)


def _minute_on(times: _Times, day: int) -> int | None:
    return [minutes for since, minutes in times if since <= day][-1]


@lru_cache(_MOST_TABLES)
def _load(name: str, first_ms: int, last_ms: int) -> SessionTable:
    """Return an exchange's sessions dated ``[first, last]``."""
    eras = range(_era_of(first_ms), _era_of(last_ms) + 1)
    return SessionTable.joined(era_sessions(name, era) for era in eras).dated(first_ms, last_ms)


def _era_of(ms: int) -> int:
    return (year_of(ms) - _AN_ERA_BEGINS) // _ERA_YEARS


@once
def era_sessions(name: str, era: int) -> SessionTable:
    """Return all sessions in an era of twenty years.

    Dates for which ``exchange_calendars`` has no record get a session with regular hours on every
    weekday.
    """
    whole, (dates, recorded) = _dates_of(era), _recorded_dates(name, era)
    usual = _usual_hours(name)
    if dates.is_empty:
        return SessionTable.of(usual.sessions(whole.start, whole.end - DAY_MS))
    before = SessionTable.of(usual.sessions(whole.start, dates.start - DAY_MS))
    after = SessionTable.of(usual.sessions(dates.end, whole.end - DAY_MS))
    return SessionTable.joined([before, recorded, after])


def _dates_of(era: int) -> Span:
    """Return the dates of an era (twenty years), within the supported years, as a half-open span."""
    year = _AN_ERA_BEGINS + era * _ERA_YEARS
    first = day_ms(date(max(year, FIRST_YEAR), 1, 1))
    return Span(first, day_ms(date(min(year + _ERA_YEARS - 1, LAST_YEAR), 12, 31)) + DAY_MS)


@once
def _recorded_dates(name: str, era: int) -> tuple[Span, SessionTable]:
    """Return the dates in an era (twenty years) that ``exchange_calendars`` covers, and their sessions.

    Dates and sessions are both empty if the package cannot build the calendar.
    """
    empty = Span(0, 0), SessionTable.of([])
    bounds = _bounds(name)
    dates = bounds.clip(_dates_of(era))
    if dates.end - dates.start <= DAY_MS:
        return empty
    try:
        # Seoul's special hours corrupt the last session that is built.
        table = table_of(name, bounds.clip(Span(dates.start, dates.end + _MARGIN_MS)))
    except Exception:  # noqa: BLE001 - its bugs must not prevent an answer; `unrecorded` reports them
        return empty
    return dates, table.dated(dates.start, dates.end - DAY_MS)


def table_of(name: str, dates: Span) -> SessionTable:
    """Return an exchange's sessions as recorded in ``exchange_calendars``.

    Args:
        name: Code of the exchange.
        dates: Half-open span of session dates, within the dates that ``exchange_calendars`` covers.
    """
    with warnings.catch_warnings():
        # Warnings about the library's own use of pandas do not concern callers.
        warnings.simplefilter("ignore", DeprecationWarning)
        calendar = built(name, dates)
    days: Stamps = calendar.schedule.index.as_unit("ms").asi8
    opens, closes = calendar.opens_nanos // _NS_PER_MS, calendar.closes_nanos // _NS_PER_MS
    starts, ends = (
        nanos // _NS_PER_MS for nanos in (calendar.break_starts_nanos, calendar.break_ends_nanos)
    )
    # On a day with a late open, the break may already be over.
    none = calendar.schedule["break_start"].isna().to_numpy() | (ends <= opens)
    starts[none], ends[none] = closes[none], closes[none]
    return SessionTable(days, opens, closes, starts, ends)


def _unrecorded_spans(name: str, span: Span) -> list[Span]:
    """Return the parts of ``span`` with unknown holidays, in which every weekday counts as a session."""
    eras = range(_era_of(span.start), _era_of(span.end - 1) + 1)
    return uncovered(span, [dates for era in eras for dates, _ in [_recorded_dates(name, era)]])


@cache
def _usual_hours(name: str) -> _Usual:
    """Return an exchange's regular hours as declared by ``exchange_calendars``.

    The hours are read without building the calendar, which would take much longer.
    """
    declared = library_class(name).__new__(library_class(name))
    weekmasks = getattr(declared, "special_weekmasks", None) or ()
    return _Usual(
        zone=ZoneInfo(str(declared.tz)),
        weekmask=declared.weekmask,
        weekmasks=tuple((_start(a), _end(b), mask) for a, b, mask in weekmasks),
        opens=_times(declared.open_times, declared.open_offset),
        closes=_times(declared.close_times, declared.close_offset),
        break_starts=_times(declared.break_start_times, 0),
        break_ends=_times(declared.break_end_times, 0),
    )


def _times(declared: Any, days: int) -> _Times:
    """Convert the times of day in ``declared`` to minutes after midnight, shifted by ``days`` days."""
    shift = days * DAY_MS // MINUTE_MS
    return tuple(
        (_start(since), None if at is None else shift + at.hour * 60 + at.minute)
        for since, at in declared or ((None, None),)
    )


@cache
def _bounds(name: str) -> Span:
    """Return the dates that ``exchange_calendars`` covers for an exchange."""
    return Span(
        _start(library_class(name).bound_min()), _end(library_class(name).bound_max()) + DAY_MS
    )


def _start(day: Any) -> int:
    """Convert the first date of a period to milliseconds; None means from the beginning."""
    return _EVER if day is None else to_ms(day)


def _end(day: Any) -> int:
    """Convert the last date of a period to milliseconds; None means forever."""
    return day_ms(date(LAST_YEAR, 12, 31)) if day is None else to_ms(day)
