"""Lengths of time as text (``90d``, ``18mo``, ``5y``): the one parser, and date arithmetic in months."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date

from .instant import DAY_MS, HOUR_MS, MINUTE_MS, WEEK_MS

# Milliseconds of the units that are always as long, months of the others.
UNIT_MS = {"m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS, "w": WEEK_MS}
UNIT_MONTHS = {"mo": 1, "y": 12}

_LENGTH = re.compile(r"([0-9]{1,6})(\s*[A-Za-z]{1,3})")


def split_length(text: object) -> tuple[int, str] | None:
    """Return the count of a length such as ``90d`` and its unit as written, spaces before it included.

    None for what is no text of this form. Which units count is the caller's decision.
    """
    match = _LENGTH.fullmatch(text.strip()) if isinstance(text, str) else None
    return (int(match[1]), match[2]) if match else None


def months_before(day: date, count: int) -> date:
    """Return the date so many months before ``day``: before 31 March it is the last of February.

    Raises:
        ValueError: it lies before year 1.
    """
    year, month = divmod(day.year * 12 + day.month - 1 - count, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))
