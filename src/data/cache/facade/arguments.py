"""What the plain arguments of cache calls mean: symbols, and bounds of ranges."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any

from ...calendars.ranges import resolve_range
from ...config.rules_file import load_rules
from ...config.settings import find_rules, working_dir
from ...model.instant import DAY_MS
from ...model.instrument import Instrument
from ...model.span import Span
from ...model.timeframe import Timeframe
from ...symbols.classify import SymbolRefusal, classify

InstrumentOf = Callable[[str], Instrument]
DEFAULT_DAYS = 30


@cache
def _configured() -> InstrumentOf:
    rules = load_rules(find_rules(None, None, working_dir()))
    return lambda symbol: instrument_in(rules.classification, symbol)


def configured_instrument(symbol: str) -> Instrument:
    """Return what ``symbol`` is by the rules of this installation; see :func:`instrument_in`."""
    return _configured()(symbol)


def instrument_in(tables: Any, symbol: str) -> Instrument:
    """Return what ``symbol`` is; one that nobody knows trades around the clock in UTC.

    The cache holds whatever it is given, so an unknown or ambiguous symbol is no error here.
    """
    found = classify(symbol, tables)
    return Instrument(symbol, "crypto") if isinstance(found, SymbolRefusal) else found


def span_to_read(
    instrument: Instrument, timeframe: Timeframe, start: Any, end: Any, now_ms: int
) -> Span:
    """Return the stamps that a reader means by ``start`` and ``end``, both inclusive.

    Dates are whole sessions of the venue. An end at midnight is meant as the whole of that day
    where bars are shorter: programs write ``datetime(2024, 12, 31)`` for "to the end of the year".
    Without an end: now. Without a start: 30 days before the end.

    Raises:
        BadRangeError: a bound is no time, or the end lies before the start.
    """
    whole_day = timeframe.is_intraday and _is_midnight(end)
    if start is None:
        last = resolve_range(
            instrument, timeframe, datetime(1900, 1, 1), _day(end, whole_day), now_ms
        )
        return Span(last[0].end - DEFAULT_DAYS * DAY_MS, last[0].end)
    if _is_instant(start) and _is_instant(end) and not whole_day and start == end:
        far = resolve_range(instrument, timeframe, start, None, now_ms)[0]
        return Span(far.start, far.start + 1)
    return resolve_range(instrument, timeframe, start, _day(end, whole_day), now_ms)[0]


def _is_instant(value: Any) -> bool:
    return isinstance(value, datetime)


def _is_midnight(value: Any) -> bool:
    return (
        isinstance(value, datetime) and value.tzinfo is None and value.time() == datetime.min.time()
    )


def _day(value: Any, whole_day: bool) -> Any:
    return value.date() if whole_day else value
