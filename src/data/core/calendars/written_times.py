"""Parses times as people write them (``2024``, ``2024-06``, ``today``, ``-30d``), and durations.

Units are ``m`` or ``min``, ``h``, ``d``, ``w`` or ``wk``, ``M`` or ``mo``, ``y``. Case matters only
for ``m`` and ``M``. A length is a number and a unit, such as ``1y``. Counting back minutes or hours
gives an instant; counting back days or longer units gives a date, which means the whole session
date of the venue. One month before 31 March is the last day of February.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from ..model.time.instant import from_ms
from ..model.time.length import UNIT_MONTHS, UNIT_MS, months_before, split_length

_UNITS = {"min": "m", "wk": "w", "M": "mo"} | {unit: unit for unit in (*UNIT_MS, *UNIT_MONTHS)}
_YEAR_OR_MONTH = re.compile(r"([0-9]{4})(?:-([0-9]{2}))?")
# A range in freqtrade's notation; either end may be omitted.
_TIMERANGE = re.compile(r"([0-9]{8})?-([0-9]{8})?")
# Start of a range that goes back as far as possible.
FIRST_DAY = date(1900, 1, 1)


class Days(NamedTuple):
    """The first and last date that a string stands for, both inclusive."""

    first: date
    last: date


class Length(NamedTuple):
    """A length of time: a number of months (twelve for a year), or a fixed duration."""

    months: int = 0
    time: timedelta = timedelta()
    is_of_days: bool = False

    def before(self, day: date, now_ms: int) -> date | datetime:
        """Return the date or instant this long before ``day`` or ``now_ms``, but not before year 1."""
        try:
            if self.months:
                return months_before(day, self.months)
            return day - self.time if self.is_of_days else from_ms(now_ms) - self.time
        except (OverflowError, ValueError):
            return date.min


class Period(NamedTuple):
    """The argument ``period``, which determines how far a range goes back from its end.

    The object is passed to :func:`~.ranges.resolve_range` as the start.
    """

    value: Any

    def __str__(self) -> str:
        return str(self.value)


def length_of(value: Any) -> Length | None:
    """Parse a duration, a string such as ``30d`` or a timedelta; return None for other values.

    The sign of a timedelta is ignored.
    """
    if isinstance(value, timedelta):
        return None if value != value else Length(time=abs(value))
    count, written = split_length(value) or (0, "")
    unit = _UNITS.get(written.strip()) or _UNITS.get(written.strip().lower())
    if unit is None:
        return None
    if unit in UNIT_MONTHS:
        return Length(months=count * UNIT_MONTHS[unit], is_of_days=True)
    return Length(time=timedelta(milliseconds=count * UNIT_MS[unit]), is_of_days=unit in "dw")


def days_of(text: str) -> Days | None:
    """Parse ``2024``, ``2024-06``, ``20200101-`` or ``-20200131`` into its first and last date."""
    if match := _YEAR_OR_MONTH.fullmatch(text):
        year, month = int(match[1]), int(match[2] or 0)
        if year < 1 or month > 12 or match[2] == "00":
            return None
        last = monthrange(year, month or 12)[1]
        return Days(date(year, month or 1, 1), date(year, month or 12, last))
    match = _TIMERANGE.fullmatch(text)
    if match is None or bool(match[1]) == bool(match[2]):
        return None
    day = _date_of(match[1] or match[2])
    return None if day is None else Days(day, day)


def relative(value: Any, today: date, now_ms: int) -> date | datetime | None:
    """Resolve a time relative to now; return None if the value is not a relative time.

    Args:
        value: ``now``, ``today``, ``yesterday``, a duration after a minus sign (``-30d``), or a
            timedelta. A timedelta always means a time before now, regardless of its sign.
        today: Current date at the venue.
        now_ms: Current time in UTC milliseconds.
    """
    if isinstance(value, timedelta):
        length = length_of(value)
        return None if length is None else length.before(today, now_ms)
    if not isinstance(value, str):
        return None
    text = value.strip()
    words = {"now": from_ms(now_ms), "today": today, "yesterday": today - timedelta(1)}
    if text.lower() in words:
        return words[text.lower()]
    length = length_of(text[1:]) if text.startswith("-") else None
    return None if length is None else length.before(today, now_ms)


def period_start(value: Any, day: date, now_ms: int) -> date | datetime | None:
    """Return the start of a period that ends with ``day`` or at ``now_ms``; None if invalid.

    Args:
        value: Duration above zero (``1y``, ``6mo``, ``90d``, a timedelta), ``ytd`` (since 1 January
            of the year in which the period ends), or ``max`` (since 1900-01-01).
        day: Date on which the period ends, at the venue.
        now_ms: Instant at which the period ends, UTC milliseconds.
    """
    if isinstance(value, str) and value.strip().lower() in ("ytd", "max"):
        return date(day.year, 1, 1) if value.strip().lower() == "ytd" else FIRST_DAY
    if isinstance(value, timedelta) and value <= timedelta():
        return None
    length = length_of(value)
    if length is None or not (length.months or length.time):
        return None
    return length.before(day, now_ms)


def _date_of(digits: str) -> date | None:
    try:
        return date.fromisoformat(digits)
    except ValueError:
        return None
