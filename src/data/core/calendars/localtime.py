"""Converts wall time at a venue to UTC and back, in milliseconds.

A *local* millisecond is a wall time counted as if it were UTC. Wall times skipped by a clock
change are read with the offset before the change, repeated ones as their first occurrence.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from ..model.time.instant import DAY_MS, date_of, day_ms, from_ms, to_ms
from ..model.time.span import Span

# Frames store nanoseconds in 64 bits, which end in April 2262.
FIRST_YEAR, LAST_YEAR = 1900, 2261
SUPPORTED = Span(day_ms(date(FIRST_YEAR, 1, 1)), day_ms(date(LAST_YEAR + 1, 1, 1)))

_MS = timedelta(milliseconds=1)


def local_to_utc(zone: ZoneInfo, local_ms: int) -> int:
    """Return the UTC instant of a local (wall) time in ``zone``."""
    offset = _wall(local_ms).replace(tzinfo=zone).utcoffset()
    return local_ms - (offset or timedelta()) // _MS


@lru_cache(8192)  # every series uses the same days
def offset_ms(zone: ZoneInfo, utc_ms: int) -> int:
    """Return the UTC offset of ``zone`` at ``utc_ms``, in milliseconds."""
    local = zone.fromutc(_wall(utc_ms).replace(tzinfo=zone))
    return to_ms(local.replace(tzinfo=None)) - to_ms(_wall(utc_ms))


def local_date(zone: ZoneInfo, utc_ms: int) -> date:
    """Return the local date in ``zone`` at the instant ``utc_ms``."""
    return date_of(utc_ms + offset_ms(zone, utc_ms))


def _wall(ms: int) -> datetime:
    """Convert milliseconds to a naive datetime, limited to the supported years."""
    return from_ms(min(max(ms, SUPPORTED.start - DAY_MS), SUPPORTED.end + DAY_MS))
