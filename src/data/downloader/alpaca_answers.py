"""Alpaca's terms: labels to ask for, rows to bars, corporate actions to splits and dividends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import CapabilityError
from ..model.actions import Action
from ..model.bars import Bar
from ..model.capabilities import FetchQuery
from ..model.instant import MINUTE_MS, parse_iso
from ..model.span import Span
from .dated import amount, number
from .usa import days_of, dividend, midnight_ms, session_ms, split

# The free plan serves the consolidated tape of what is older than a quarter of an hour; a request
# for a newer minute is refused as a whole (2025-12).
_BEHIND_MS = 16 * MINUTE_MS


def asked_of(query: FetchQuery) -> Span:
    """Return the labels to ask for.

    Raises:
        CapabilityError: they are too new, or days that begin at another hour than ours.
        NoDataError: no day begins in the span.
    """
    is_stock, span = query.instrument.asset_class == "stock", query.span
    if not query.timeframe.is_intraday:
        if not is_stock:
            raise CapabilityError("Alpaca's days of crypto begin at midnight in New York")
        days = days_of(span)
        span = Span(midnight_ms(days.start), midnight_ms(days.end))
    newest = query.now_ms - _BEHIND_MS if is_stock else span.end
    span = Span(span.start, min(span.end, newest))
    if span.is_empty:
        raise CapabilityError("Alpaca's stock bars of the last 16 minutes need a paid plan")
    return span


def read_bar(row: Mapping[str, Any], *, is_day: bool) -> Bar:
    """Read one row; days are labelled with midnight in New York."""
    label = parse_iso(row["t"])
    values = (number(row[name]) for name in "ohlcv")
    return Bar(session_ms(label) if is_day else label, *values)


def read_actions(told: Mapping[str, Any]) -> Iterator[Action]:
    """Read corporate actions by type; a stock dividend changes the price as a split does."""
    for row in (*told.get("forward_splits", ()), *told.get("reverse_splits", ())):
        yield split(row["ex_date"], row["new_rate"], row["old_rate"])
    for row in told.get("stock_dividends", ()):
        yield split(row["ex_date"], round(1 + amount(row["rate"]), 10), 1)
    for row in told.get("cash_dividends", ()):
        yield dividend(row["ex_date"], row["rate"])
