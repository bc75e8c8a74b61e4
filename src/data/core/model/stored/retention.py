"""How long replaced year files are kept, and ages such as ``90d``, ``18mo``, ``5y``."""

from __future__ import annotations

from dataclasses import dataclass

from ....errors import QueryError
from ..time.instant import DAY_MS, date_of, day_ms
from ..time.length import UNIT_MONTHS, UNIT_MS, months_before, split_length


@dataclass(frozen=True)
class Retention:
    """Limits on the replaced year files that are kept for reading with ``version=``.

    Attributes:
        versions: Number of replaced files kept for each year; 0 keeps none.
        days: Number of days for which these files are kept; None for no such limit.
    """

    versions: int = 8
    days: float | None = None


_ABOUT_DAYS = {"d": 1, "w": 7, "mo": 30, "y": 365}
_MOST_YEARS = 200
_WANTED = f"use an integer and a unit (d, w, mo or y) from 1d to {_MOST_YEARS}y, such as 5y"


@dataclass(frozen=True)
class Age:
    """An age in days, weeks, calendar months or calendar years.

    Attributes:
        count: Number of units, at least one.
        unit: ``d``, ``w``, ``mo`` or ``y``.
    """

    count: int
    unit: str

    @classmethod
    def parse(cls, text: object) -> Age:
        """Parse an age.

        Raises:
            QueryError: The text is not an age, or the age is below a day or above 200 years.
        """
        count, unit = split_length(text) or (0, "")
        age = cls(count, unit) if unit in _ABOUT_DAYS else None
        if age is None or not 0 < age._about_days <= _MOST_YEARS * 366:
            raise QueryError(f"invalid age {text!r:.40}", hint=_WANTED)
        return age

    def __str__(self) -> str:
        return f"{self.count}{self.unit}"

    @property
    def _about_days(self) -> int:
        return self.count * _ABOUT_DAYS[self.unit]

    def before(self, now_ms: int) -> int:
        """Return the instant that precedes ``now_ms`` by this age, in UTC milliseconds.

        Five years before 29 February is 28 February.
        """
        if self.unit in UNIT_MS:
            return now_ms - self.count * UNIT_MS[self.unit]
        day = months_before(date_of(now_ms), self.count * UNIT_MONTHS[self.unit])
        return day_ms(day) + now_ms % DAY_MS

    def after(self, now_ms: int) -> int:
        """Return the instant that follows ``now_ms`` by this age, in UTC milliseconds."""
        return Age(-self.count, self.unit).before(now_ms)
