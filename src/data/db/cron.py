"""Times described by a cron line (minute, hour, day, month, weekday), in UTC or a time zone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
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
_TIME = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")


@dataclass(frozen=True)
class Cron:
    """A schedule: the times at which a job is due.

    If both day fields are restricted, a date needs to match only one of them, as in cron.

    Attributes:
        line: The five fields of the cron line.
        zone: Time zone of the fields. A time that a clock change repeats is due twice, and one that
            it skips is due right after the change.
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
        local = moment.astimezone(self.zone)
        try:
            times: Any = croniter(self.line, local, max_years_between_matches=_MOST_YEARS)
            due: datetime = times.get_next(datetime)
        except CroniterError as error:
            raise QueryError(f"invalid cron line {self.line!r:.80}: {error}", hint=_HINT) from None
        return due.astimezone(UTC)


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
    if (match := _TIME.fullmatch(text)) is None:
        raise QueryError(f"invalid time of day {text!r:.80}", hint=_HINT)
    hour, minute = match.groups()
    return f"{int(minute)} {int(hour)}"
