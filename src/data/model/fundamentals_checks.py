"""Which values can be true at all, and how much of what matters a vendor tells."""

from __future__ import annotations

import math
from collections.abc import Mapping

from .fundamentals import FIELDS, Fact, canonical_field

_POSITIVE = frozenset(
    {"market_cap", "price_to_book", "revenue", "shares_outstanding", "book_value"}
)
# A company may well have no debt, and none of these can be less than nothing.
_NOT_NEGATIVE = frozenset(
    {
        "total_debt",
        "total_cash",
        "current_price",
        "avg_volume",
        "volume",
        "float_shares",
        "circulating_supply",
        "total_supply",
        "max_supply",
        "fifty_two_week_high",
        "fifty_two_week_low",
        "dividend_per_share",
    }
)
_BETWEEN = {"pe_ratio": (-1000.0, 1000.0), "forward_pe": (-1000.0, 1000.0)}
# Paying out more than the price in a year is no dividend; other programs keep percent here.
_MOST_YIELD = {"fraction": 1.0, "": 100.0}
_WEIGHTS = {
    "market_cap": 0.15,
    "pe_ratio": 0.12,
    "price_to_book": 0.12,
    "dividend_yield": 0.08,
    "revenue": 0.10,
    "net_income": 0.10,
    "total_debt": 0.08,
    "total_cash": 0.08,
    "shares_outstanding": 0.08,
    "book_value": 0.09,
}


def objection(name: str, fact: Fact) -> str:
    """Return why a value cannot be true, or an empty text."""
    field, value = canonical_field(name), fact.value
    if isinstance(value, str):
        is_text = FIELDS.get(field, "text") == "text" or _is_number(value)
        return "" if is_text else f"{value[:40]!r} is no number"
    if field in _POSITIVE and value <= 0:
        return f"{value:g} is not more than 0"
    if field in _NOT_NEGATIVE and value < 0:
        return f"{value:g} is less than 0"
    if field in _BETWEEN:
        low, high = _BETWEEN[field]
        return "" if low < value < high else f"{value:g} is not between {low:g} and {high:g}"
    if field == "dividend_yield":
        most = _MOST_YIELD.get(fact.unit, 100.0)
        return "" if 0 <= value <= most else f"{value:g} is not from 0 to {most:g}"
    return ""


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def quality(facts: Mapping[str, Fact]) -> float:
    """Return how much of what matters is told, 0 to 1; values that cannot be true do not count."""
    told = {canonical_field(name) for name, fact in facts.items() if not objection(name, fact)}
    return round(sum(weight for name, weight in _WEIGHTS.items() if name in told), 4)
