"""Times described by a cron line (minute, hour, day, month, weekday), in UTC or a time zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import CroniterError, croniter

from ..errors import QueryError

__all__ = ["Cron", "cron_line"]

# The zone prefix that other cron programs also use.
_ZONE = "CRON_TZ="
_HINT = "such as 09:30, mon-fri 09:30, or 30 9 * * 1-5; add a zone if not UTC, such as Europe/Paris"
# The next 29 February is never more than eight years away.
_MOST_YEARS = 8
# Longest change of a zone's clocks, by which the order of local times and of times in UTC can differ.
_SHIFT = timedelta(hours=2)


@dataclass(frozen=True)
class Cron:
    """A schedule: the times at which a job is due.

    If both day fields are restricted, a date needs to match only one of them, as in cron.

    Attributes:
        line: The five fields of the cron line.
        zone: Time zone of the fields. If a clock change makes a time occur twice, its first
            occurrence counts; if a clock change skips a time, the time is shifted forward by the
            same amount.
    """

    line: str
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
        fields = " ".join(parts)
        # croniter draws random times for the letter R.
        if len(parts) != 5 or not fields.isascii() or {*fields.lower().split()} & {"r", "h"}:
            hint = "minute, hour, day of the month, month, day of the week; such as 30 9 * * 1-5"
            raise QueryError(f"invalid cron line {line!r:.80}", hint=hint)
        cron = cls(fields, zone)
        cron.after(datetime(2024, 1, 1, tzinfo=UTC))
        return cron

    def after(self, moment: datetime) -> datetime:
        """Return the first matching time after ``moment`` (timezone-aware), in UTC.

        Raises:
            QueryError: There is no such time within eight years.
        """
        return self._nearest(moment, is_later=True)

    def last(self, moment: datetime) -> datetime:
        """Return the last matching time up to and including ``moment`` (timezone-aware), in UTC.

        Raises:
            QueryError: There is no such time within eight years.
        """
        return self._nearest(moment, is_later=False)

    def _nearest(self, moment: datetime, *, is_later: bool) -> datetime:
        """Return the matching time next to ``moment``, among local times up to two hours further away."""
        local = moment.astimezone(self.zone).replace(tzinfo=None)
        begin = local - _SHIFT if is_later else local + _SHIFT
        found, bound, naive = list[datetime](), begin, begin
        try:
            times: Any = croniter(self.line, begin, max_years_between_matches=_MOST_YEARS)
            step = times.get_next if is_later else times.get_prev
            while not found or (bound > naive) is is_later:
                naive = step(datetime)
                due = naive.replace(tzinfo=self.zone).astimezone(UTC)
                if (due > moment) is is_later:
                    bound = bound if found else naive + (_SHIFT if is_later else -_SHIFT)
                    found.append(due)
        except CroniterError as error:
            raise QueryError(f"invalid cron line {self.line!r:.80}: {error}", hint=_HINT) from None
        return min(found) if is_later else max(found)


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:  # also for folders and long names
        raise QueryError(
            f"unknown time zone {name!r:.80}", hint="use an IANA name such as Europe/Paris"
        ) from exc


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
