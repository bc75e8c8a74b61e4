"""The classes of ``exchange_calendars``, corrected so that their declarations work under every pandas.

The library declares holidays and changed weeks by subclassing pandas offsets. From pandas 3 on, the
overridden methods are not called: Orthodox Easter raises, Passover falls on Easter, and changed
weeks are silently treated as Monday to Friday. This module applies such rules one date at a time,
and passes the trading days as plain dates. Hours, breaks and half days are used as the library
declares them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError
from ..model.time.instant import DAY_MS, date_of
from ..model.time.span import Span
from ..runtime.once import cached_property
from .corrections import CLOSE_TIMES, CLOSED, LATE_OPENS, PAUSES


@cache
def library_class(name: str) -> Any:
    """Return a corrected subclass of the ``exchange_calendars`` class for an exchange.

    The package's public ``get_calendar`` is not used because it builds a calendar immediately and
    keeps one per name for the whole process. The subclass does not affect a user's own calendars.

    Raises:
        ConfigError: ``exchange_calendars`` does not know the code.
    """
    import exchange_calendars
    from exchange_calendars import calendar_utils, errors

    try:
        exchange = PAUSES[name].exchange if name in PAUSES else name
        code = exchange_calendars.resolve_alias(exchange)
        declared = calendar_utils.global_calendar_dispatcher._calendar_factories[code]
    except (errors.InvalidCalendarName, KeyError) as error:
        raise ConfigError(
            f"unknown calendar {name!r}",
            hint="use 24/7, FX, or a code from exchange_calendars such as XNYS",
        ) from error
    return _add_corrections(_mend_calendar(declared), code)


def days_of_trading(calendar: Any, dates: Span) -> NDArray[np.datetime64]:
    """Return the dates in ``[start, end)`` on which an exchange trades, as ``datetime64[D]``.

    Args:
        calendar: Instance of an ``exchange_calendars`` class, which need not have been built.
        dates: Half-open range of dates, in milliseconds.
    """
    days = np.arange(dates.start // DAY_MS, dates.end // DAY_MS, dtype=np.int64).astype("M8[D]")
    weekdays = (days.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
    trading = _mask(calendar.weekmask)[weekdays]
    for first, last, mask in getattr(calendar, "special_weekmasks", None) or ():
        inside = np.ones(len(days), dtype=bool)
        inside &= first is None or days >= np.datetime64(first, "D")
        inside &= last is None or days <= np.datetime64(last, "D")
        trading[inside] = _mask(mask)[weekdays[inside]]
    trading &= ~np.isin(days, _dates(calendar.adhoc_holidays))
    if calendar.regular_holidays is not None and len(days):
        ends = (date_of(ms).isoformat() for ms in (dates.start, dates.end - DAY_MS))
        trading &= ~np.isin(days, _dates(calendar.regular_holidays.holidays(*_stamps(ends))))
    return np.asarray(days[trading])


def _mask(text: str) -> NDArray[np.bool_]:
    return np.array([mark == "1" for mark in text], np.bool_)


def _dates(moments: Iterable[Any]) -> NDArray[np.datetime64]:
    return np.array([np.datetime64(moment, "D") for moment in moments], dtype="M8[D]")


def _stamps(days: Iterable[Any]) -> list[Any]:
    import pandas as pd

    return [pd.Timestamp(day) for day in days]


def _mend_calendar(declared: Any) -> Any:
    """Return a subclass that applies holiday rules one date at a time and lists its trading days."""

    class Mended(declared):  # type: ignore[misc]
        dates = Span(0, 0)  # dates for which the calendar is built; set by a subclass

        @cached_property  # cached because it keeps the dates that it found
        def regular_holidays(self) -> Any:
            return _repaired_rules(super().regular_holidays)

        @property
        def special_opens(self) -> list[Any]:
            return [(time, _repaired_rules(days)) for time, days in super().special_opens]

        @property
        def special_closes(self) -> list[Any]:
            return [(time, _repaired_rules(days)) for time, days in super().special_closes]

        @property
        def day(self) -> Any:
            """Return the offset from one trading day to the next."""
            from pandas.tseries.offsets import CustomBusinessDay

            first, end = self.dates.start // DAY_MS, self.dates.end // DAY_MS
            days = np.arange(first, end, dtype=np.int64).astype("M8[D]")
            closed = np.setdiff1d(days, days_of_trading(self, self.dates), assume_unique=True)
            return CustomBusinessDay(holidays=closed.tolist(), weekmask="1111111")

    return Mended


def _add_corrections(declared: Any, code: str) -> Any:
    """Return a subclass that adds an exchange's dates and times missing in ``exchange_calendars``."""
    if not any(code in table for table in (CLOSED, LATE_OPENS, CLOSE_TIMES)):
        return declared

    class Corrected(declared):  # type: ignore[misc]
        @property
        def adhoc_holidays(self) -> list[Any]:
            return [*super().adhoc_holidays, *_stamps(CLOSED.get(code, ()))]

        @property
        def special_opens_adhoc(self) -> list[Any]:
            """Return the times of late opens, each with its dates."""
            late = LATE_OPENS.get(code, {})
            corrected = [(time, _index([day])) for day, time in late.items()]
            return [*corrected, *super().special_opens_adhoc]

    if code in CLOSE_TIMES:
        import pandas as pd

        Corrected.close_times = tuple(
            (None if since is None else pd.Timestamp(since), time)
            for since, time in CLOSE_TIMES[code]
        )
    return Corrected


def built(name: str, dates: Span) -> Any:
    """Build the ``exchange_calendars`` calendar for an exchange, with corrections.

    Args:
        name: Code of the exchange.
        dates: Half-open range of dates, in milliseconds, within those that the package covers.
    """
    base = library_class(name)
    bounds = (date_of(ms).isoformat() for ms in (dates.start, dates.end - DAY_MS))
    return type(base.__name__, (base,), {"dates": dates})(*bounds)


def _index(days: Iterable[Any]) -> Any:
    import pandas as pd

    return pd.DatetimeIndex(_stamps(days))


# --- holiday rules ----------------------------------------------------------------------------


def _repaired_rules(days: Any) -> Any:
    """Return a holiday calendar whose rules work even if pandas would ignore their overrides.

    A value that is not such a calendar is returned unchanged.
    """
    rules = getattr(days, "rules", ())
    if not any(map(_is_overridden, rules)):
        return days
    return type(days)([_rule_by_date(rule) if _is_overridden(rule) else rule for rule in rules])


def _is_overridden(rule: Any) -> bool:
    return any(map(_applies_itself, _offsets(rule)))


def _applies_itself(offset: Any) -> bool:
    """Return whether an offset's class in ``exchange_calendars`` overrides how pandas applies offsets."""
    return any(
        "_apply" in vars(base) and base.__module__.startswith("exchange_calendars")
        for base in type(offset).__mro__
    )


def _offsets(rule: Any) -> list[Any]:
    offset = getattr(rule, "offset", None)
    return offset if isinstance(offset, list) else [offset]


def _rule_by_date(rule: Any) -> Any:
    """Return an equivalent rule that calls its offsets' overridden methods for one date at a time."""
    from pandas import Timestamp
    from pandas.tseries.holiday import Holiday

    def observed(day: Any) -> Any:
        """Return the date on which a holiday that falls on ``day`` is observed."""
        for offset in _offsets(rule):
            day = Timestamp(offset._apply(day)) if _applies_itself(offset) else day + offset
        return day

    return Holiday(
        rule.name,
        month=rule.month,
        day=rule.day,
        observance=observed,
        start_date=rule.start_date,
        end_date=rule.end_date,
        days_of_week=rule.days_of_week,
    )
