"""Tiingo's terms: dates to ask for, rows to bars, what stands beside days to actions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

from ..model.actions import Action
from ..model.bars import NAN, Bar
from ..model.capabilities import FetchQuery
from ..model.instant import DAY_MS, date_of, day_ms, parse_iso
from ..model.span import Span
from .dated import amount, number
from .usa import days_of, dividend, split

# A week is labelled with its last day, a month with its own: that many days behind our stamp.
_LABEL_DAYS = {"w": 6, "M": 30}
_PRICES = ("open", "high", "low", "close")


def asked_of(query: FetchQuery) -> tuple[date, date]:
    """Return the first and the last date to ask for, both inclusive.

    Raises:
        NoDataError: no day begins in the span of days asked for.
    """
    span = query.span
    if not query.timeframe.is_intraday:
        span = days_of(span)
    more = timedelta(_LABEL_DAYS.get(query.timeframe.unit, 0))
    return date_of(span.start), date_of(span.end - 1) + more


def read_bars(rows: Iterable[Mapping[str, Any]], query: FetchQuery) -> Sequence[Bar]:
    """Read rows; what came only because whole dates were asked for is left out.

    Rows from elsewhere are handed on: they show that the answer is not what was asked.
    """
    first, last = asked_of(query)
    days = _LABEL_DAYS.get(query.timeframe.unit, 0)
    margin = Span(day_ms(first) - days * DAY_MS, day_ms(last) + DAY_MS)
    bars = (_bar(row, query) for row in rows)
    return [b for b in bars if b.stamp_ms in query.span or b.stamp_ms not in margin]


def tells(rows: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether every one of these days says what happened on it."""
    return all(row.get(name) is not None for row in rows for name in ("splitFactor", "divCash"))


def read_actions(rows: Iterable[Mapping[str, Any]]) -> list[Action]:
    """Read the splits and cash dividends of days; they stand on their ex-date."""
    found: list[Action] = []
    for row in rows:
        if (new := amount(row["splitFactor"])) != 1.0:
            ratio = _exact(new)
            found.append(split(row["date"][:10], ratio.numerator, ratio.denominator))
        if (cash := amount(row["divCash"])) != 0.0:
            found.append(dividend(row["date"][:10], cash))
    return found


def _exact(factor: float) -> Fraction:
    """Return 1/3 for 0.333333: splits are of small whole numbers."""
    said = Fraction(str(factor))
    near = said.limit_denominator(100)
    return near if abs(near / said - 1) < Fraction(1, 10_000) else said


def _bar(row: Mapping[str, Any], query: FetchQuery) -> Bar:
    """Read one row.

    A raw week or month with a split inside is of two bases at once: its prices are left out, so
    that it is missing rather than wrong.
    """
    unit = query.timeframe.unit
    is_mixed = unit in "wM" and amount(row.get("splitFactor") or 1.0) != 1.0
    stamp = _stamp(parse_iso(row["date"]), unit)
    if is_mixed:
        return Bar(stamp, NAN, NAN, NAN, NAN, NAN)
    values = (number(row.get(name)) for name in ("volume", "adjClose"))
    return Bar(stamp, *(number(row[name]) for name in _PRICES), *values)


def _stamp(label: int, unit: str) -> int:
    """Return our stamp of a label: the instant, the date, its Monday, or the 1st of its month."""
    if unit in "mh":
        return label
    day = date_of(label)
    if unit == "w":
        day -= timedelta(days=day.weekday())
    return day_ms(day.replace(day=1) if unit == "M" else day)
