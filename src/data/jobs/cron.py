"""Times described by a cron line (minute, hour, day, month, weekday), in UTC or a time zone.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ..errors import QueryError

__all__ = ["Cron", "cron_line"]

_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
_NAMES = {
    "month": "jan feb mar apr may jun jul aug sep oct nov dec".split(),
    "weekday": "sun mon tue wed thu fri sat".split(),
}
# Number of days to search; the next 29 February is never more than eight years away.
_MOST_DAYS = 8 * 366 + 1
# The zone prefix that other cron programs also use.
_ZONE = "CRON_TZ="
_HINT = "such as 09:30, mon-fri 09:30, or 30 9 * * 1-5; add a zone if not UTC, such as Europe/Paris"


@dataclass(frozen=True)
class Cron:
    """A schedule: the times at which a job is due.

    Attributes:
        minute, hour, day, month, weekday: Values that each field matches; Sunday is 0.
        is_either: Whether both day and weekday are restricted; a date then needs to match only one
            of them, as in cron.
        zone: Time zone of the fields. If a clock change makes a time occur twice, its first
            occurrence counts; if a clock change skips a time, the time is shifted forward by the
            same amount.
    """

    minute: frozenset[int]
    hour: frozenset[int]
    day: frozenset[int]
    month: frozenset[int]
    weekday: frozenset[int]
    is_either: bool
    zone: tzinfo = UTC

    @classmethod
    def parse(cls, line: str) -> Cron:
        """Parse a line such as ``30 9 * * 1-5``.

        Fields may contain ``*``, numbers, ranges, lists, steps and names. Times are in UTC, or in
        the zone named by a prefix such as ``CRON_TZ=Europe/Paris``.

        Raises:
            QueryError: The line is not a cron line, its time zone is unknown, or its days never
                occur, as with 31 February.
        """
        parts = line.split() if isinstance(line, str) else []
        has_zone = bool(parts) and parts[0].startswith(_ZONE)
        zone = _zone(parts.pop(0).removeprefix(_ZONE)) if has_zone else UTC
        if len(parts) != len(_FIELDS):
            hint = "minute, hour, day of the month, month, day of the week; such as 30 9 * * 1-5"
            raise QueryError(f"invalid cron line {line!r:.80}", hint=hint)
        values = [_values(part, *field) for part, field in zip(parts, _FIELDS, strict=True)]
        values[4] = frozenset(value % 7 for value in values[4])
        minute, hour, day, month, weekday = values
        is_either = parts[2][0] != "*" and parts[4][0] != "*"
        cron = cls(minute, hour, day, month, weekday, is_either, zone)
        cron.after(datetime(2024, 1, 1, tzinfo=UTC))
        return cron

    def after(self, moment: datetime) -> datetime:
        """Return the first matching time after ``moment`` (timezone-aware), in UTC.

        Raises:
            QueryError: There is no such time within eight years.
        """
        begin = moment.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        first = begin.astimezone(self.zone).date()
        for days in range(_MOST_DAYS):
            later = [due for due in self._times(first + timedelta(days=days)) if due >= begin]
            if later:
                return min(later)
        raise QueryError("this cron line never runs: no date matches its days")

    def last(self, moment: datetime) -> datetime:
        """Return the last matching time up to and including ``moment`` (timezone-aware), in UTC.

        Raises:
            QueryError: There is no such time within eight years.
        """
        last = moment.astimezone(self.zone).date()
        for days in range(_MOST_DAYS):
            earlier = [due for due in self._times(last - timedelta(days=days)) if due <= moment]
            if earlier:
                return max(earlier)
        raise QueryError("this cron line will never run: no date matches its day fields")

    def _times(self, day: date) -> Iterator[datetime]:
        """Yield the matching times on a day in the schedule's time zone, converted to UTC."""
        in_month, in_week = day.day in self.day, day.isoweekday() % 7 in self.weekday
        is_own = in_month or in_week if self.is_either else in_month and in_week
        if day.month not in self.month or not is_own:
            return
        for hour in self.hour:
            for minute in self.minute:
                yield datetime.combine(day, time(hour, minute), self.zone).astimezone(UTC)


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:  # also for folders and long names
        raise QueryError(
            f"unknown time zone {name!r:.80}", hint="use an IANA name such as Europe/Paris"
        ) from exc


def _values(part: str, name: str, least: int, most: int) -> frozenset[int]:
    """Parse one field of a cron line into the set of values that it matches."""
    chosen: set[int] = set()
    for item in part.split(","):
        span, _, step = item.partition("/")
        first, dash, last = span.partition("-")
        if span == "*":
            low, high = least, most
        else:
            low = _number(first, name, least, most)
            high = _number(last, name, least, most) if dash else (most if step else low)
        if high == 0 < low and name == "weekday":  # Sunday is also the last day of the week
            high = 7
        width = _number(step, name, 1, most) if "/" in item else 1
        if high < low:
            raise QueryError(f"in this cron line, {name} {item!r:.80} ends before it begins")
        chosen.update(range(low, high + 1, width))
    return frozenset(chosen)


def _number(text: str, name: str, least: int, most: int) -> int:
    names = _NAMES.get(name, [])
    if text.lower() in names:
        return names.index(text.lower()) + (1 if name == "month" else 0)
    if not (text.isascii() and text.isdigit() and len(text) <= 2 and least <= int(text) <= most):
        raise QueryError(f"in this cron line, {name} {text!r:.80} must be from {least} to {most}")
    return int(text)


def cron_line(times: str) -> str:
    """Convert a schedule as users write it into a cron line.

    Args:
        times: ``09:30`` (every day), ``mon-fri 09:30``, or a cron line; a time zone follows if it
            is not UTC.

    Raises:
        QueryError: The text, such as ``25:00``, is not a schedule, or the time zone is unknown.
    """
    words = times.split() if isinstance(times, str) else []
    if words and words[0].startswith(_ZONE):
        Cron.parse(times)
        return times
    has_zone = len(words) in (3, 6) or (len(words) == 2 and ":" in words[0])
    zone = words.pop() if has_zone else "UTC"
    match words:
        case [at]:
            fields = f"{_fields_of_day(at)} * * *"
        case [days, at]:
            fields = f"{_fields_of_day(at)} * * {days}"
        case [_, _, _, _, _]:
            fields = " ".join(words)
        case _:
            raise QueryError(f"invalid time of day {times!r:.80}", hint=_HINT)
    line = fields if zone == "UTC" else f"{_ZONE}{zone} {fields}"
    Cron.parse(line)
    return line


def _fields_of_day(text: str) -> str:
    """Convert ``HH:MM`` into the minute and hour fields of a cron line."""
    hour, colon, minute = text.partition(":")
    is_time = bool(colon) and len(minute) == 2 and (hour + minute).isascii()
    is_time = is_time and hour.isdigit() and minute.isdigit() and len(hour) <= 2
    if not is_time or int(hour) > 23 or int(minute) > 59:
        raise QueryError(f"invalid time of day {text!r:.80}", hint=_HINT)
    return f"{int(minute)} {int(hour)}"
