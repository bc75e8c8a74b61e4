"""Instants as integers: milliseconds since 1970-01-01 UTC, and their text forms.

Inside the library a time is always such an integer (``*_ms``). Naive datetimes mean UTC; aware ones
are converted.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import lru_cache

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS
# Later than every time, so that a span that ends with it is open; its negative is earlier than all.
NEVER_MS = 1 << 62

_EPOCH = datetime(1970, 1, 1)
_EPOCH_DATE = date(1970, 1, 1)


# Errors that a broken time zone class in a user's program may raise.
_OF_ZONES = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def to_ms(moment: datetime) -> int:
    """Convert a datetime to UTC milliseconds; naive means UTC, and microseconds are truncated.

    Raises:
        ValueError: The time zone is a custom one that does not work.
        OverflowError: The time is outside the years 1 to 9999 in UTC.
    """
    if moment.tzinfo is not None:
        moment = moment.replace(tzinfo=None) - _offset_of(moment)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _offset_of(moment: datetime) -> timedelta:
    """Return the datetime's offset from UTC; for errors, see :func:`to_ms`."""
    try:
        return moment.utcoffset() or timedelta(0)
    except _OF_ZONES as exc:
        raise ValueError(f"its time zone cannot be used ({type(exc).__name__}: {exc})") from exc


def from_ms(ms: int) -> datetime:
    """Convert UTC milliseconds to a naive UTC datetime."""
    return _EPOCH + timedelta(milliseconds=ms)


def day_ms(day: date) -> int:
    """Return midnight UTC at the start of ``day`` in milliseconds, the timestamp of a session date."""
    return (day - _EPOCH_DATE).days * DAY_MS


def date_of(ms: int) -> date:
    """Return the UTC date of an instant in milliseconds."""
    return _EPOCH_DATE + timedelta(days=ms // DAY_MS)


def year_of(ms: int) -> int:
    """Return the UTC year of an instant in milliseconds."""
    return date_of(ms).year


def year_start(year: int) -> int:
    """Return the start of ``year`` in UTC milliseconds."""
    return day_ms(date(year, 1, 1))


# The same bounds are reported with every answer.
@lru_cache(4096)
def iso(ms: int) -> str:
    """Format an instant as ``YYYY-MM-DDTHH:MM:SSZ``, with ``.mmm`` only if it has milliseconds."""
    seconds, rest = divmod(ms, SECOND_MS)
    text = (_EPOCH + timedelta(seconds=seconds)).isoformat()
    return f"{text}.{rest:03d}Z" if rest else f"{text}Z"


def parse_iso(text: str) -> int:
    """Parse an ISO 8601 string into UTC milliseconds; a string without a zone is in UTC."""
    return to_ms(datetime.fromisoformat(text))
