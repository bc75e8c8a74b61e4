"""From the arguments of a call to a checked question."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from ..errors import QueryError
from ..model.fundamentals import DATA_TYPES, canonical_type
from ..model.instant import to_ms
from .point_in_time import last_day_of

log = logging.getLogger(__name__)

_SYMBOL = re.compile(r"[A-Z0-9.-]+")
# Share classes A and B; other letters behind a dot are venues.
_CLASS = re.compile(r"\.([AB])$")
_OLDEST_DAYS = 100_000.0

When = datetime | date | str | None


@dataclass(frozen=True)
class Wish:
    """How fundamentals are wanted; the arguments of the facade, unchecked."""

    providers: Any = None
    force_refresh: bool = False
    strategy: str = "priority_based"
    data_type: Any = "general"
    max_age_days: Any = None
    as_of: When = None
    timeout: Any = None


def normalized(symbol: Any) -> str:
    """Return a symbol upper case, its share class behind a dash; empty where it cannot be one.

    Whether there is such a symbol is not asked.
    """
    text = symbol.strip().upper() if isinstance(symbol, str) else ""
    return _CLASS.sub(r"-\1", text) if _SYMBOL.fullmatch(text) else ""


def data_type_of(said: Any) -> str:
    """Return the canonical data type.

    Raises:
        QueryError: there is no such type.
    """
    found = canonical_type(said) if isinstance(said, str) else None
    if found is None:
        raise QueryError(
            f"there is no data type {said!r:.40} of fundamentals",
            hint=f"there are {', '.join(DATA_TYPES)}",
        )
    return found


def vendors_of(said: Any) -> tuple[str, ...] | None:
    """Return the vendors that were named; None where nobody was.

    Raises:
        QueryError: it is no list of names.
    """
    if said is None:
        return None
    names = [said] if isinstance(said, str) else said
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise QueryError(f"providers are a list of names, not {said!r:.60}")
    return tuple(names) or None


def age_of(said: Any) -> float | None:
    """Return the greatest age in days, None where it is as usual.

    Raises:
        QueryError: it is no number of days.
    """
    if said is None:
        return None
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 <= said < math.inf:
        raise QueryError(f"max_age_days is {said!r:.40}, a number of days from 0 on is needed")
    return min(float(said), _OLDEST_DAYS)


def day_of(said: When) -> date | None:
    """Return the last day whose knowledge counts; of an instant, the day before.

    Raises:
        QueryError: it is no time.
    """
    if said is None:
        return None
    try:
        moment = _moment(said)
        return last_day_of(to_ms(moment) if isinstance(moment, datetime) else moment)
    except (ValueError, OverflowError) as exc:
        raise QueryError(
            f"as_of is {said!r:.40}, which is no date", hint="write it as 2024-06-30"
        ) from exc


def _moment(said: Any) -> date:
    if isinstance(said, str):
        text = said.strip()
        return date.fromisoformat(text) if len(text) <= 10 else datetime.fromisoformat(text)
    if not isinstance(said, date):
        raise ValueError("neither a date nor a text")
    return said
