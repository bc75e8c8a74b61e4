"""Lengths of time as text (``90d``, ``18mo``, ``5y``): parser, and date arithmetic in months."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date

from .instant import DAY_MS, HOUR_MS, MINUTE_MS, WEEK_MS

# Units with a fixed length, in milliseconds, and the other units, in months.
UNIT_MS = {"m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS, "w": WEEK_MS}
UNIT_MONTHS = {"mo": 1, "y": 12}

_LENGTH = re.compile(r"([0-9]{1,6})(\s*[A-Za-z]{1,3})")


def split_length(text: object) -> tuple[int, str] | None:
    """Split a length such as ``90d`` into its count and its unit.

    Any space before the unit is part of it. The result is None if ``text`` is not a string of this
    form. The unit is not checked, because the caller decides which units are valid.
    """
    match = _LENGTH.fullmatch(text.strip()) if isinstance(text, str) else None
    return (int(match[1]), match[2]) if match else None


def months_before(day: date, count: int) -> date:
    """Return the date ``count`` months before ``day``.

    One month before 31 March is the end of February.

    Raises:
        ValueError: The date is before year 1.
    """
    year, month = divmod(day.year * 12 + day.month - 1 - count, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))
