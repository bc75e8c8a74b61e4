"""From the bounds that callers give to the stamps that are meant.

A datetime is an instant: naive means UTC, aware is converted, and both ends are inclusive on the
bar's stamp. A date (``date``, ``"2024-12-31"``, a ``numpy.datetime64`` of days) is a whole session
date of the venue.
"""

from __future__ import annotations

import operator
import re
from datetime import date, datetime
from typing import Any, NamedTuple

import numpy as np

from ..errors import BadRangeError
from ..model.instant import DAY_MS, day_ms, iso, to_ms
from ..model.instrument import Instrument
from ..model.span import Span
from ..model.timeframe import Timeframe
from .calendar import FIRST_YEAR, LAST_YEAR, calendar_for, day_span, first_unclosed, session_date

DEFAULT_BARS = 500

# Weeks and ordinal days, which Python reads too, are no day anybody means: 2024-W05, 2024-200.
_TEXT = re.compile(r"(\d{4}-?\d{2}-?\d{2})([T ].+)?")
_ACCEPTED = "give a datetime (naive is UTC), a date, or ISO text such as 2024-12-31T14:30"
_LONGEST_TEXT = 80
_COARSE_UNITS = {"Y", "M", "W"}


def resolve_range(
    instrument: Instrument,
    timeframe: Timeframe,
    start: Any,
    end: Any,
    now_ms: int,
    bars: Any = None,
) -> tuple[Span, int | None]:
    """Return the stamps meant by the bounds, and the number of bars where that is what counts.

    Args:
        instrument: whose bars; its venue decides what a date is.
        timeframe: length of the bars.
        start: first stamp wanted; None together with ``bars`` None means the last 500 closed bars.
        end: last stamp wanted, inclusive; None, or anything in the future, means now. With a count
            it is the instant by which the bars must have closed.
        now_ms: UTC milliseconds.
        bars: number of bars wanted up to ``end``; not together with ``start``.

    Returns:
        The half-open span of stamps, and the count or None. With a count the span begins with the
        first bar that the calendar expects under the session anchor; its end is the first bar not
        closed by ``end``, or now.

    Raises:
        BadRangeError: a bound that is no time, or lies outside the years 1900 to 2261; a start in
            the future; an end before or at the start; a count that is no positive whole number,
            comes with a start, or reaches beyond 1900.
    """
    low, high = _bound("start", start, instrument), _bound("end", end, instrument)
    if low is None:
        count = DEFAULT_BARS if bars is None else _count(bars, instrument)
        return _last_bars(instrument, timeframe, high, now_ms, count), count
    if bars is not None:
        raise _refused(instrument, f"{low.text} and bars {bars!r} exclude each other",
                       hint="give start and end, or bars and end")  # fmt: skip
    return _between(instrument, timeframe, low, high, now_ms), None


class _Bound(NamedTuple):
    """One bound, understood.

    Attributes:
        text: its name and value, for messages.
        first_ms: the first millisecond not before it; of a date the begin of its hours.
        end_ms: the first millisecond behind it; of a date the end of its hours.
        day: the session date, where it is one.
    """

    text: str
    first_ms: int
    end_ms: int
    day: date | None = None

    def first_stamp(self, timeframe: Timeframe) -> int:
        """Return the first stamp it lets in as a start."""
        if self.day is None or timeframe.is_intraday:
            return self.first_ms
        return day_ms(self.day)

    def stamp_behind(self, timeframe: Timeframe) -> int:
        """Return the first stamp it keeps out as an end."""
        if self.day is None or timeframe.is_intraday:
            return self.end_ms
        return day_ms(self.day) + DAY_MS


def _between(
    instrument: Instrument, timeframe: Timeframe, low: _Bound, high: _Bound | None, now_ms: int
) -> Span:
    """Return the stamps from ``low`` to ``high``, cut at now."""
    if low.first_ms > now_ms:
        raise _refused(instrument, f"{low.text} lies in the future: now is {iso(now_ms)}")
    first, end = low.first_stamp(timeframe), _end_of_now(instrument, timeframe, now_ms)
    if high is not None:
        behind = high.stamp_behind(timeframe)
        if low.day is None and low[1:] == high[1:]:
            raise _refused(instrument, f"{high.text} equals {low.text}",
                           hint="an end is a later instant; equal dates are one session")  # fmt: skip
        if behind <= first:
            raise _refused(instrument, f"{high.text} lies before {low.text}")
        end = min(end, behind)
    return Span(first, end)


def _last_bars(
    instrument: Instrument, timeframe: Timeframe, high: _Bound | None, now_ms: int, count: int
) -> Span:
    """Return the stamps of the last ``count`` bars closed by ``high`` or now."""
    closed_by = now_ms
    if high is not None:
        closed_by = min(now_ms, high.end_ms if high.day else high.end_ms - 1)
    calendar = calendar_for(instrument)
    try:
        unclosed = first_unclosed(calendar, timeframe, closed_by)
        start = calendar.back(timeframe, unclosed, count)
    except BadRangeError as error:
        bound = high.text if high else f"now {iso(now_ms)}"
        raise _refused(instrument, f"bars {count} of {timeframe} up to {bound}: {error}") from error
    up_to_now = closed_by == now_ms
    return Span(start, _end_of_now(instrument, timeframe, now_ms) if up_to_now else unclosed)


def _end_of_now(instrument: Instrument, timeframe: Timeframe, now_ms: int) -> int:
    """Return the stamp behind the last one that can have begun by now.

    A session of Sydney or of FX begins before the UTC day that it is named after.
    """
    if timeframe.is_intraday:
        return now_ms + 1
    return max(now_ms, day_ms(session_date(instrument, now_ms))) + 1


# --- reading -------------------------------------------------------------------------------


def _bound(name: str, value: Any, instrument: Instrument) -> _Bound | None:
    """Read one bound; None stays None."""
    if value is None:
        return None
    shown = repr(value) if isinstance(value, str) else str(value)
    text = f"{name} {' '.join(shown.split())[:_LONGEST_TEXT]}"
    moment = _moment(value)
    if moment is None:
        raise _refused(instrument, f"{text} is not a time", hint=_ACCEPTED)
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise _refused(instrument, f"{text} lies outside the years {FIRST_YEAR} to {LAST_YEAR}")
    if not isinstance(moment, datetime):
        return _Bound(text, *day_span(instrument, moment), day=moment)
    floor = to_ms(moment)
    return _Bound(text, floor + _is_finer(moment, value), floor + 1)


def _moment(value: Any) -> date | datetime | None:
    """Return what ``value`` says as a date or a datetime, or None where it is neither."""
    if isinstance(value, np.datetime64):
        return _of_numpy(value)
    if isinstance(value, str):
        return _of_text(value.strip())
    if not isinstance(value, date):
        return None
    # Not a time is the one datetime (pandas says it is one) that differs from itself.
    return value if value == value else None


def _of_text(text: str) -> date | datetime | None:
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    try:
        return datetime.fromisoformat(text) if match[2] else date.fromisoformat(text)
    except ValueError:
        return None


def _of_numpy(value: np.datetime64) -> date | datetime | None:
    """Return a date for a unit of days, a datetime for finer ones; a year or month is no bound."""
    unit, _ = np.datetime_data(value.dtype)
    if np.isnat(value) or unit in _COARSE_UNITS:
        return None
    year = int(value.astype("datetime64[Y]").astype(np.int64)) + 1970
    if not 1 <= year <= 9999:
        return None
    moment = value.astype("datetime64[D]" if unit == "D" else "datetime64[us]").item()
    return moment if isinstance(moment, date) else None


def _is_finer(moment: datetime, value: Any) -> bool:
    """Tell whether an instant lies between two whole milliseconds."""
    if isinstance(value, np.datetime64):
        return bool(value != value.astype("datetime64[ms]"))
    return bool(moment.microsecond % 1000 or getattr(moment, "nanosecond", 0))


def _count(bars: Any, instrument: Instrument) -> int:
    """Read a number of bars."""
    try:
        count = 0 if isinstance(bars, bool) else operator.index(bars)
    except TypeError:
        count = 0
    if count < 1:
        raise _refused(instrument, f"bars {bars!r} is not a positive whole number")
    return count


def _refused(instrument: Instrument, what: str, hint: str | None = None) -> BadRangeError:
    return BadRangeError(f"{instrument.symbol}: {what}", symbol=instrument.symbol, hint=hint)
