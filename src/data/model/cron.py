"""Times of a cron line: minute, hour, day of the month, month, day of the week; UTC. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from ..errors import QueryError

__all__ = ["Cron", "daily"]

_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
_NAMES = {
    "month": "jan feb mar apr may jun jul aug sep oct nov dec".split(),
    "weekday": "sun mon tue wed thu fri sat".split(),
}
# A 29 February lies at most eight years away.
_MOST_DAYS = 8 * 366 + 1


@dataclass(frozen=True)
class Cron:
    """When a job is due.

    Attributes:
        minute, hour, day, month, weekday: the values of each field; Sunday is 0.
        is_either: both days are restricted: one of them is enough, as cron has it.
    """

    minute: frozenset[int]
    hour: frozenset[int]
    day: frozenset[int]
    month: frozenset[int]
    weekday: frozenset[int]
    is_either: bool

    @classmethod
    def parse(cls, line: str) -> Cron:
        """Read a line such as ``30 9 * * 1-5``: ``*``, numbers, ranges, lists, steps, names.

        Raises:
            QueryError: it is none, or its days never come, such as 31 February.
        """
        parts = line.split() if isinstance(line, str) else []
        if len(parts) != len(_FIELDS):
            hint = "minute, hour, day of the month, month, day of the week; such as 30 9 * * 1-5"
            raise QueryError(f"{line!r:.80} is no cron line", hint=hint)
        values = [_values(part, *field) for part, field in zip(parts, _FIELDS, strict=True)]
        values[4] = frozenset(value % 7 for value in values[4])
        minute, hour, day, month, weekday = values
        is_either = parts[2][0] != "*" and parts[4][0] != "*"
        cron = cls(minute, hour, day, month, weekday, is_either)
        cron.after(datetime(2024, 1, 1, tzinfo=UTC))
        return cron

    def after(self, moment: datetime) -> datetime:
        """Return the first time after ``moment`` (aware) that the line names, in UTC.

        Raises:
            QueryError: there is none within eight years.
        """
        begin = moment.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        for days in range(_MOST_DAYS):
            day = begin.date() + timedelta(days=days)
            in_month, in_week = day.day in self.day, day.isoweekday() % 7 in self.weekday
            is_own = in_month or in_week if self.is_either else in_month and in_week
            if day.month not in self.month or not is_own:
                continue
            for hour in sorted(self.hour):
                for minute in sorted(self.minute):
                    due = datetime.combine(day, time(hour, minute), UTC)
                    if due >= begin:
                        return due
        raise QueryError("the days of this cron line never come")


def _values(part: str, name: str, least: int, most: int) -> frozenset[int]:
    """Return the values of one field."""
    chosen: set[int] = set()
    for item in part.split(","):
        span, _, step = item.partition("/")
        first, dash, last = span.partition("-")
        if span == "*":
            low, high = least, most
        else:
            low = _number(first, name, least, most)
            high = _number(last, name, least, most) if dash else (most if step else low)
        width = _number(step, name, 1, most) if "/" in item else 1
        if high < low:
            raise QueryError(f"{name} {item!r:.80} of a cron line ends before it begins")
        chosen.update(range(low, high + 1, width))
    return frozenset(chosen)


def _number(text: str, name: str, least: int, most: int) -> int:
    names = _NAMES.get(name, [])
    if text.lower() in names:
        return names.index(text.lower()) + (1 if name == "month" else 0)
    if not (text.isascii() and text.isdigit() and len(text) <= 2 and least <= int(text) <= most):
        raise QueryError(f"{name} {text!r:.80} of a cron line is not from {least} to {most}")
    return int(text)


def daily(hours_and_minutes: str) -> str:
    """Return the cron line of a time of each day, ``HH:MM``.

    Raises:
        QueryError: it is none, such as ``25:00``.
    """
    hour, colon, minute = (
        hours_and_minutes.partition(":") if isinstance(hours_and_minutes, str) else ("", "", "")
    )
    is_time = bool(colon) and len(minute) == 2 and (hour + minute).isascii()
    is_time = is_time and hour.isdigit() and minute.isdigit() and len(hour) <= 2
    if not is_time or int(hour) > 23 or int(minute) > 59:
        raise QueryError(
            f"{hours_and_minutes!r:.80} is no time of the day", hint="such as 09:30, in UTC"
        )
    return f"{int(minute)} {int(hour)} * * *"
