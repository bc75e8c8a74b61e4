"""What is kept, and for how long: replaced year files, and ages such as ``90d``, ``2w``, ``18mo``, ``5y``."""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import date

from ..errors import QueryError
from .instant import DAY_MS, WEEK_MS, date_of, day_ms


@dataclass(frozen=True)
class Retention:
    """How many year files that a rewrite replaced stay readable by ``version=``, and how long.

    Attributes:
        versions: how many files of each year; 0 keeps none.
        days: for how many days after they were replaced; None sets no such bound.
    """

    versions: int = 8
    days: float | None = None


_AGE = re.compile(r"([0-9]{1,5})(d|w|mo|y)")
_MONTHS_OF = {"mo": 1, "y": 12}
_MOST_YEARS = 200
_WANTED = f"an age is a whole number of d, w, mo or y from 1d to {_MOST_YEARS}y, such as 5y"


@dataclass(frozen=True)
class Age:
    """A length of time that ends now, in days and weeks or in months and years of the calendar.

    Attributes:
        count: how many, at least one.
        unit: ``d``, ``w``, ``mo`` or ``y``.
    """

    count: int
    unit: str

    @classmethod
    def parse(cls, text: object) -> Age:
        """Read an age.

        Raises:
            QueryError: it is none, is shorter than a day or longer than 200 years.
        """
        match = _AGE.fullmatch(text.strip()) if isinstance(text, str) else None
        age = cls(int(match[1]), match[2]) if match else None
        if age is None or not 0 < age._about_days <= _MOST_YEARS * 366:
            raise QueryError(f"{text!r:.40} is not an age", hint=_WANTED)
        return age

    def __str__(self) -> str:
        return f"{self.count}{self.unit}"

    @property
    def _about_days(self) -> int:
        return self.count * {"d": 1, "w": 7, "mo": 30, "y": 365}[self.unit]

    def before(self, now_ms: int) -> int:
        """Return the instant that lies so long before ``now_ms``, in UTC milliseconds.

        Five years before 29 February it is 28 February.
        """
        if self.unit in ("d", "w"):
            return now_ms - self.count * (DAY_MS if self.unit == "d" else WEEK_MS)
        today = date_of(now_ms)
        months = today.year * 12 + today.month - 1 - self.count * _MONTHS_OF[self.unit]
        year, month = months // 12, months % 12 + 1
        day = min(today.day, monthrange(year, month)[1])
        return day_ms(date(year, month, day)) + now_ms % DAY_MS
