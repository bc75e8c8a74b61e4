"""Converts the arguments of a call to a checked question."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from ...errors import QueryError
from ..model.market.fundamentals import DATA_TYPES, canonical_type
from ..model.time.instant import DAY_MS, day_ms, to_ms
from .point_in_time import last_day_of

log = logging.getLogger(__name__)

_SYMBOL = re.compile(r"[A-Z0-9.-]+")
# Share classes A and B; other letters after a dot are venues.
_CLASS = re.compile(r"\.([AB])$")
_OLDEST_DAYS = 100_000.0

When = datetime | date | str | None


@dataclass(frozen=True)
class Wish:
    """The facade's arguments for a request for fundamentals, before they are validated.

    With ``needs_filing_days``, vendors whose statements have no filing days are left out. Between
    ``times`` (UTC milliseconds), it matters when reports became public, to the second; by default, at
    ``as_of``.
    """

    providers: Any = None
    force_refresh: bool = False
    strategy: str = "priority_based"
    data_type: Any = "general"
    max_age_days: Any = None
    as_of: When = None
    timeout: Any = None
    needs_filing_days: bool = False
    times: tuple[int, int] | None = None


def normalized(symbol: Any) -> str:
    """Return a symbol in uppercase with a dash before its share class; empty if the symbol is invalid.

    Whether the symbol exists is not checked.
    """
    text = symbol.strip().upper() if isinstance(symbol, str) else ""
    return _CLASS.sub(r"-\1", text) if _SYMBOL.fullmatch(text) else ""


def data_type_of(data_type: Any) -> str:
    """Return the canonical data type.

    Raises:
        QueryError: The type does not exist.
    """
    canonical = canonical_type(data_type) if isinstance(data_type, str) else None
    if canonical is None:
        raise QueryError(
            f"unknown data type {data_type!r:.40}",
            hint=f"use one of {', '.join(DATA_TYPES)}",
        )
    return canonical


def vendors_of(providers: Any) -> tuple[str, ...] | None:
    """Return the vendors named by the caller, or None if no vendor is named.

    Raises:
        QueryError: The value is not a list of names, or the list is empty.
    """
    if providers is None:
        return None
    names = [providers] if isinstance(providers, str) else providers
    is_list = isinstance(names, Sequence) and all(isinstance(name, str) for name in names)
    if not is_list or not names:
        raise QueryError(f"providers must be a list of at least one name, not {providers!r:.60}")
    return tuple(names)


def age_of(max_age_days: Any) -> float | None:
    """Return the maximum age in days, or None for the default.

    Raises:
        QueryError: The value is not a number of days.
    """
    if max_age_days is None:
        return None
    if (
        isinstance(max_age_days, bool)
        or not isinstance(max_age_days, int | float)
        or not 0 <= max_age_days < math.inf
    ):
        raise QueryError(f"max_age_days is {max_age_days!r:.40}, but must be 0 or more days")
    return float(min(max_age_days, _OLDEST_DAYS))  # some integers are larger than any float


def day_of(as_of: When) -> date | None:
    """Return the day by which data had to be public; for a point in time, the day before it.

    Raises:
        QueryError: The value is not a time.
    """
    if as_of is None:
        return None
    try:
        moment = _moment(as_of)
        return last_day_of(to_ms(moment) if isinstance(moment, datetime) else moment)
    except (ValueError, OverflowError) as exc:
        raise QueryError(f"invalid as_of {as_of!r:.40}", hint="write it as 2024-06-30") from exc


def instant_of(as_of: When, now_ms: int) -> int:
    """Return the instant before which data had to be public: that of a datetime, or the end of a date.

    Args:
        as_of: Value that :func:`day_of` accepts.
        now_ms: Result for None.
    """
    if as_of is None:
        return now_ms
    moment = _moment(as_of)
    return to_ms(moment) if isinstance(moment, datetime) else day_ms(moment) + DAY_MS


def _moment(as_of: Any) -> date:
    if isinstance(as_of, str):
        text = as_of.strip()
        return date.fromisoformat(text) if len(text) <= 10 else datetime.fromisoformat(text)
    # NaT, which pandas makes a datetime, does not equal itself.
    if not isinstance(as_of, date) or as_of != as_of:
        raise ValueError("it must be a date or a string")
    return as_of
