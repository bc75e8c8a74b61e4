"""Converts the range bounds that callers pass into timestamps.

A datetime is an instant. Naive means UTC, aware is converted. A bar is included if its timestamp is
between the first and the last instant, both inclusive. Two equal instants therefore select one
intraday bar; for daily bars they are rejected. A date (``date``, ``"2024-12-31"``, a
``numpy.datetime64`` in days) is a whole session date of the venue. A year or a month (``"2024"``,
``"2024-06"``) means its first date as a start and its last one as an end. :mod:`.written_times`
handles times relative to now (``"today"``, ``"-30d"``).
"""

from __future__ import annotations

import operator
import re
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from ...errors import BadRangeError, DataError
from ..model.display.texts import written
from ..model.identity.instrument import Instrument
from ..model.time.instant import DAY_MS, date_of, day_ms, iso, to_ms
from ..model.time.span import Span
from ..model.time.timeframe import Timeframe
from .calendar import (
    FIRST_YEAR,
    LAST_YEAR,
    MarketCalendar,
    calendar_for,
    day_span,
    first_unclosed,
    session_date,
)
from .localtime import local_date
from .written_times import Period, days_of, period_start, relative

DEFAULT_BARS = 500
# Number of bars requested by default if bars are so long that 500 would go beyond the calendars: as
# many as fit into a century.
_CENTURY_MS, _MONTH_MS = 36_524 * DAY_MS, 31 * DAY_MS

# Excludes weeks and ordinal days, such as 2024-W05 and 2024-200, which Python parses but users do
# not mean.
_TEXT = re.compile(r"(\d{4}-?\d{2}-?\d{2})([T ].+)?")
_ACCEPTED = (
    "use a datetime (naive means UTC), a date, or text such as 2024-12-31T14:30, 2024-12-31, "
    "2024-12, 2024, today, yesterday, now, -30d, -12h"
)
_PERIODS = "use a form such as 90m, 12h, 30d, 2w, 6mo, 1y, ytd, max"
_LONGEST_TEXT = 80
# More than any series has. Larger numbers are rejected before they cause a calendar error.
_MOST_BARS = 1 << 62
_LONGEST_MONTH_MS = 31 * DAY_MS
_ANCHORS = ("session", "clock")
# These markets open at 17:00 in New York, within a bar of two hours or more by the clock.
_OPEN_IN_A_BAR = ("forex", "future")
_COARSE_UNITS = {"Y", "M", "W"}
_REMEMBERED = 4096


def resolve_range(
    instrument: Instrument,
    timeframe: Timeframe,
    start: Any,
    end: Any,
    now_ms: int,
    bars: Any = None,
    closed_by_ms: int | None = None,
) -> tuple[Span, int | None]:
    """Convert bounds to a span of timestamps; also return the number of bars, if one is requested.

    Args:
        instrument: Instrument of the bars; its venue defines what a date means.
        timeframe: Length of the bars.
        start: First timestamp requested, or a :class:`~.written_times.Period` before the end. If
            ``start`` and ``bars`` are both None, the range is the last 500 closed bars, or as many
            as fit into a century.
        end: Last timestamp requested, inclusive; None, or anything in the future, means now. If
            ``bars`` is given, ``end`` is the instant by which the bars must have closed.
        now_ms: Current time in UTC milliseconds.
        bars: Number of bars requested up to ``end``; cannot be combined with ``start``.
        closed_by_ms: Instant by which bars must have closed; see :func:`closing_time`. It may be
            outside the other bounds, in which case the result may be empty.

    Returns:
        The half-open span of timestamps, and the number of bars or None. With a number, the span
        begins with the first bar that the calendar expects under the session anchor. The span ends
        before the first timestamp whose bar, under either anchor, has not closed by ``end`` or by
        now.

    Raises:
        BadRangeError: A bound is not a time, or is outside the years 1900 to 2261; the start is in
            the future; the end is before the start or, for daily and longer bars, the same instant;
            or the count is not a positive integer, is combined with a start, or goes back beyond
            1900.
    """
    high = _bound("end", end, instrument, now_ms)
    low = _bound("start", start, instrument, now_ms, high)
    known_ms = now_ms if closed_by_ms is None else min(now_ms, closed_by_ms)
    if low is None:
        count = _usual_count(timeframe) if bars is None else _count(bars, instrument)
        span = _last_bars(instrument, timeframe, high, (now_ms, known_ms), count)
        return _closed_by(instrument, timeframe, span, (now_ms, known_ms)), count
    if bars is not None:
        raise _error(
            instrument,
            f"{low.text} and bars {bars!r} cannot be combined",
            hint="give start and end, or bars and end",
        )
    span = _span_between(instrument, timeframe, low, high, now_ms)
    return _closed_by(instrument, timeframe, span, (now_ms, known_ms)), None


def _usual_count(timeframe: Timeframe) -> int:
    length_ms = timeframe.step_ms or timeframe.count * _MONTH_MS
    return max(1, min(DEFAULT_BARS, _CENTURY_MS // length_ms))


def closing_time(instrument: Instrument, closed_by: Any, now_ms: int) -> int | None:
    """Convert ``closed_by`` to the instant by which bars must have closed; None for None.

    The result is never later than now. A date means the end of that session date at the venue.

    Raises:
        BadRangeError: The value is not a time, or is outside the years 1900 to 2261.
    """
    bound = _bound("closed_by", closed_by, instrument, now_ms)
    return None if bound is None else min(now_ms, bound.last_ms)


def resolve_instants(instrument: Instrument, start: Any, end: Any, now_ms: int) -> Span:
    """Convert two bounds, both inclusive, into a span of instants, which may be in the future.

    As for every range, a date means its hours at the venue.

    Raises:
        BadRangeError: A bound is not a time, or is outside the years 1900 to 2261, or the end is
            before the start.
    """
    high = _bound("end", end, instrument, now_ms)
    low = _bound("start", start, instrument, now_ms, high)
    if low is None or high is None:
        name = "start" if low is None else "end"
        raise _error(instrument, f"{name} must be a time, not None", hint=_ACCEPTED)
    if high.end_ms <= low.first_ms:
        raise _error(instrument, f"{high.text} is before {low.text}")
    return Span(low.first_ms, high.end_ms)


def resolve_days(
    instrument: Instrument, start: Any, end: Any, now_ms: int
) -> tuple[date | None, date | None]:
    """Convert two bounds into session dates, both inclusive; a bound of None remains None.

    An instant means the session date that it belongs to at the venue.

    Raises:
        BadRangeError: A bound is not a time, or is outside the years 1900 to 2261, or the end is
            before the start.
    """
    high = _bound("end", end, instrument, now_ms)
    low = _bound("start", start, instrument, now_ms, high)
    first, last = (
        None if bound is None else bound.day or session_date(instrument, bound.first_ms)
        for bound in (low, high)
    )
    if low and high and first and last and last < first:
        raise _error(instrument, f"{high.text} is before {low.text}")
    return first, last


def resolve_day(subject: str, name: str, value: Any, now_ms: int) -> date | None:
    """Convert a bound to a UTC date, for requests without a venue; None for None.

    Args:
        subject: Subject of the request, for messages.
        name: Name of the argument, for messages.
        value: Bound in any form that :func:`resolve_range` accepts. An instant means its UTC date.
            A month or year means its last date or, if ``name`` is ``start``, its first date.
        now_ms: Current time in UTC milliseconds.

    Raises:
        BadRangeError: The value is not a time, or is outside the years 1900 to 2261.
    """
    bound = _bound(name, value, Instrument(subject, "crypto"), now_ms)
    return None if bound is None else bound.day or date_of(bound.first_ms)


def resolve_moment(subject: str, name: str, value: Any, now_ms: int) -> tuple[int, date | None]:
    """Convert a point in time to UTC milliseconds; a date means its end (UTC), or now if that is earlier.

    Returns:
        The time, and the date if ``value`` is one.

    Raises:
        BadRangeError: The value is not a time, is outside the years 1900 to 2261, or is in the
            future.
    """
    bound = _bound(name, value, Instrument(subject, "crypto"), now_ms)
    if bound is None:
        raise BadRangeError(f"{subject}: {name} must be a time, not None", hint=_ACCEPTED)
    if bound.first_ms > now_ms:
        raise BadRangeError(f"{subject}: {bound.text} is in the future (now: {iso(now_ms)})")
    return min(bound.last_ms, now_ms), bound.day


def resolve_last_day(
    subject: str, name: str, value: Any, now_ms: int, zone: ZoneInfo
) -> date | None:
    """Convert a point in time to the last day in ``zone`` that is complete by then; None for None.

    A date means itself; an instant means the day before its date in ``zone``.

    Raises:
        BadRangeError: The value is not a time, or is outside the years 1900 to 2261.
    """
    bound = _bound(name, value, Instrument(subject, "crypto"), now_ms)
    if bound is None or bound.day:
        return bound and bound.day
    return local_date(zone, bound.first_ms) - timedelta(days=1)


class _Bound(NamedTuple):
    """One parsed bound.

    Attributes:
        text: The bound's name and value, for messages.
        first_ms: First millisecond at or after the bound; for a date, the start of its hours.
        end_ms: First millisecond after the bound; for a date, the end of its hours.
        day: Session date, if the bound is a date.
    """

    text: str
    first_ms: int
    end_ms: int
    day: date | None = None

    @property
    def last_ms(self) -> int:
        """The last instant at which a bar may close; for a date, the end of its hours."""
        return self.end_ms if self.day else self.end_ms - 1

    def first_stamp(self, timeframe: Timeframe) -> int:
        """Return the first timestamp that the bound includes if it is the start of a range."""
        if self.day is None or timeframe.is_intraday:
            return self.first_ms
        return day_ms(self.day)

    def stamp_behind(self, timeframe: Timeframe) -> int:
        """Return the first timestamp that the bound excludes if it is the end of a range."""
        if self.day is None or timeframe.is_intraday:
            return self.end_ms
        return day_ms(self.day) + DAY_MS


def _span_between(
    instrument: Instrument, timeframe: Timeframe, low: _Bound, high: _Bound | None, now_ms: int
) -> Span:
    """Return the span of timestamps from ``low`` to ``high``, or to now if that is earlier."""
    if low.first_ms > now_ms:
        raise _error(instrument, f"{low.text} is in the future (now: {iso(now_ms)})")
    first = low.first_stamp(timeframe)
    behind = None if high is None else high.stamp_behind(timeframe)
    if timeframe.is_intraday and instrument.asset_class in _OPEN_IN_A_BAR:
        first = _opening_bar(instrument, timeframe, first) if low.day else first
        # A bar in which the market opens belongs to the next date only.
        if high is not None and behind is not None and high.day:
            behind = _opening_bar(instrument, timeframe, behind)
    if high is not None and behind is not None:
        is_day = not timeframe.is_intraday
        if is_day and low.day is None and low[1:] == high[1:]:
            raise _error(
                instrument,
                f"{high.text} equals {low.text}",
                hint="equal dates mean one session; equal instants, one bar of minutes or hours",
            )
        if behind <= first:
            raise _error(instrument, f"{high.text} is before {low.text}")
        if behind <= now_ms:
            return Span(first, behind)
    end = _end_of_now(instrument, timeframe, now_ms)
    return Span(first, end if behind is None else min(end, behind))


def _opening_bar(instrument: Instrument, timeframe: Timeframe, first: int) -> int:
    """Return the start of the bar by the clock in which a date's hours begin.

    If the market is open before them, that bar belongs to the date before.
    """
    calendar = calendar_for(instrument)
    before = calendar.opens(timeframe, Span(first - timeframe.longest_ms + 1, first), "clock")
    opened = int(before[-1]) if len(before) else first
    sessions = calendar.sessions(date_of(opened - DAY_MS), date_of(first))
    return first if any(s.open_ms < first and s.close_ms > opened for s in sessions) else opened


def _last_bars(
    instrument: Instrument,
    timeframe: Timeframe,
    high: _Bound | None,
    times: tuple[int, int],
    count: int,
) -> Span:
    """Return the span of the last ``count`` bars that closed by ``high`` and by both ``times``.

    ``times`` are the current time and the time by which bars must have closed.
    """
    now_ms, closed_by = times
    if high is not None:
        closed_by = min(closed_by, high.last_ms)
    calendar = calendar_for(instrument)
    try:
        unclosed = first_unclosed(calendar, timeframe, closed_by)
        start = calendar.back(timeframe, unclosed, count)
    except BadRangeError as error:
        bound = high.text if high else f"now {iso(now_ms)}"
        raise _error(instrument, f"{count} {timeframe} bars up to {bound}: {error}") from error
    if closed_by == now_ms:
        return Span(start, _end_of_now(instrument, timeframe, now_ms))
    return Span(start, _first_unknown(calendar, timeframe, closed_by))


def _closed_by(
    instrument: Instrument, timeframe: Timeframe, span: Span, times: tuple[int, int]
) -> Span:
    """Limit ``span`` to bars that had closed by ``times[1]``; ``times[0]`` is the current time.

    Some vendors align bars to the session's open and others to the clock, so every bar before the
    end of the result must have closed under either anchor.
    """
    now_ms, known_ms = times
    longest = timeframe.step_ms or timeframe.count * _LONGEST_MONTH_MS
    # A session may end on the UTC day after its date.
    reach = longest if timeframe.is_intraday else longest + DAY_MS
    if known_ms == now_ms or span.end - 1 + reach <= known_ms:
        return span  # forming bars are never in the answer, so no calendar is needed
    unknown = _first_unknown(calendar_for(instrument), timeframe, known_ms)
    return Span(span.start, max(span.start, min(span.end, unknown)))


def _first_unknown(calendar: MarketCalendar, timeframe: Timeframe, known_ms: int) -> int:
    """Return the first timestamp whose bar may not have closed by ``known_ms``.

    Every expected bar before that timestamp has closed, whatever the vendor's anchor. While the
    market is closed, the next expected bar is far ahead, but an off-calendar bar may come earlier.
    """
    anchors = _ANCHORS if timeframe.is_intraday else _ANCHORS[:1]
    unclosed = (first_unclosed(calendar, timeframe, known_ms, anchor) for anchor in anchors)
    return min(known_ms, *unclosed)


def _end_of_now(instrument: Instrument, timeframe: Timeframe, now_ms: int) -> int:
    """Return the first timestamp whose bar cannot have begun by now.

    A session in Sydney, or an FX session, begins before the UTC day of its date.
    """
    if timeframe.is_intraday:
        return now_ms + 1
    return max(now_ms, day_ms(session_date(instrument, now_ms))) + 1


# --- parsing -------------------------------------------------------------------------------


def _start(
    value: Period, high: _Bound | None, instrument: Instrument, now_ms: int
) -> date | datetime | None:
    """Return the start of the period ``value``, counted back from ``high`` or else from now."""
    end_ms = now_ms if high is None else min(now_ms, high.last_ms)
    day = high.day if high is not None and high.day else session_date(instrument, end_ms)
    day = min(day, session_date(instrument, now_ms))
    return period_start(value.value, day, end_ms)


def _bound(
    name: str, value: Any, instrument: Instrument, now_ms: int, high: _Bound | None = None
) -> _Bound | None:
    """Parse one bound; return None for None. A period is counted back from ``high``.

    Raises:
        BadRangeError: The value is not a time, or is outside the supported years.
    """
    if value is None:
        return None
    is_plain = type(value) is str or type(value) is date
    if not is_plain and isinstance(value, Period):
        text, moment = _spell("period", value.value), _start(value, high, instrument, now_ms)
        if moment is None:
            raise _error(instrument, f"{text} is not a duration", hint=_PERIODS)
        return _bound_of(text, moment, value, instrument)
    if not is_plain and isinstance(value, datetime) and value.tzinfo is not None:
        try:
            to_ms(value)
        except OverflowError:
            pass  # the year is rejected below
        except ValueError as exc:
            raise _error(instrument, f"{name} is not a time: {exc}", hint=_ACCEPTED) from exc
    venue = instrument.asset_class, instrument.calendar, instrument.timezone
    bound = _remembered(name, value, *venue) if is_plain else False
    if bound is False:
        bound = _read(name, value, instrument)
    if bound is not None:
        return bound
    text, today = _spell(name, value), session_date(instrument, now_ms)
    moment = relative(value, today, now_ms)
    if moment is None:
        raise _error(instrument, f"{text} is not a time", hint=_ACCEPTED)
    return _bound_of(text, moment, value, instrument)


def _read(name: str, value: Any, instrument: Instrument) -> _Bound | None:
    """Parse a bound whose meaning does not depend on the current time; return None for other bounds.

    Raises:
        BadRangeError: The value is outside the supported years.
    """
    moment = moment_of(value)
    if moment is None and isinstance(value, str) and (days := days_of(value.strip())):
        moment = days.first if name == "start" else days.last
    return None if moment is None else _bound_of(_spell(name, value), moment, value, instrument)


# The same dates are requested again and again, for one symbol after another.
@lru_cache(_REMEMBERED, typed=True)
def _remembered(name: str, value: Any, *venue: Any) -> _Bound | Literal[False] | None:
    """Return the result of :func:`_read` for all symbols of a venue; False if it raises an error."""
    try:
        return _read(name, value, Instrument("", *venue))
    except DataError:  # each symbol's own error names the symbol
        return False


def _bound_of(text: str, moment: date | datetime, value: Any, instrument: Instrument) -> _Bound:
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise _error(instrument, f"{text} is outside the years {FIRST_YEAR} to {LAST_YEAR}")
    if not isinstance(moment, datetime):
        return _Bound(text, *day_span(instrument, moment), day=moment)
    floor = to_ms(moment)
    return _Bound(text, floor + _is_finer(moment, value), floor + 1)


def _spell(name: str, value: Any) -> str:
    text = written(value) if isinstance(value, str | int) else str(value)
    return f"{name} {' '.join(text.split())[:_LONGEST_TEXT]}"


def moment_of(value: Any) -> date | datetime | None:
    """Convert a time or an ISO string to a date or a datetime; None for any other value."""
    if isinstance(value, np.datetime64):
        return _parse_numpy(value)
    if isinstance(value, str):
        return _parse_text(value.strip())
    if not isinstance(value, date):
        return None
    # NaT, which pandas makes a datetime, is the only one that does not equal itself.
    return value if value == value else None


def _parse_text(text: str) -> date | datetime | None:
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    try:
        return datetime.fromisoformat(text) if match[2] else date.fromisoformat(text)
    except ValueError:
        return None


def _parse_numpy(value: np.datetime64) -> date | datetime | None:
    """Convert to a date if the unit is days, or a datetime if it is smaller; None if it is larger."""
    unit, _ = np.datetime_data(value.dtype)
    if np.isnat(value) or unit in _COARSE_UNITS:
        return None
    year = int(value.astype("datetime64[Y]").astype(np.int64)) + 1970
    if not 1 <= year <= 9999:
        return None
    moment = value.astype("datetime64[D]" if unit == "D" else "datetime64[us]").item()
    return moment if isinstance(moment, date) else None


def _is_finer(moment: datetime, value: Any) -> bool:
    """Return whether an instant is more precise than a millisecond."""
    if isinstance(value, np.datetime64):
        return bool(value != value.astype("datetime64[ms]"))
    return bool(moment.microsecond % 1000 or getattr(moment, "nanosecond", 0))


def _count(bars: Any, instrument: Instrument) -> int:
    """Return ``bars`` after checking that it is a positive integer of plausible size."""
    try:
        count = 0 if isinstance(bars, bool) else operator.index(bars)
    except TypeError:
        count = 0
    if not 0 < count <= _MOST_BARS:
        what = "more than there can be" if count > 0 else "not a positive integer"
        raise _error(instrument, f"bars {written(bars)} is {what}")
    return count


def _error(instrument: Instrument, what: str, hint: str | None = None) -> BadRangeError:
    return BadRangeError(f"{instrument.symbol}: {what}", symbol=instrument.symbol, hint=hint)
