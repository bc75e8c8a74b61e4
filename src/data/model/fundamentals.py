"""Fundamentals of a company or coin: facts with unit, currency and period, statements, their vendor.

A :class:`Snapshot` is one vendor's answer, read. Money is in whole units of a major currency (GBP,
never GBp; dollars, never millions), yields, margins and growth are fractions (0.05 for 5 %).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

# ``money`` and ``price`` (per share or coin) have a currency; ``shares`` counts coins too.
Unit = Literal["text", "money", "price", "ratio", "fraction", "shares", "days", ""]
Value = float | str

_UNITS: dict[Unit, str] = {
    "text": "symbol ticker company_name sector industry country exchange currency quote_type "
    "description website next_earnings",
    "money": "market_cap revenue net_income free_cash_flow operating_cashflow enterprise_value "
    "total_cash total_debt gross_profit operating_income ebitda fully_diluted_valuation "
    "total_assets total_liabilities total_equity capital_expenditure",
    "price": "current_price earnings_per_share diluted_earnings_per_share book_value "
    "dividend_per_share fifty_two_week_high fifty_two_week_low all_time_high target_price",
    "ratio": "pe_ratio forward_pe price_to_book price_to_sales peg_ratio debt_to_equity "
    "current_ratio quick_ratio beta enterprise_value_to_ebitda enterprise_value_to_revenue",
    "fraction": "dividend_yield return_on_equity return_on_assets revenue_growth "
    "net_income_growth operating_margin profit_margin gross_margin payout_ratio "
    "short_pct_float institutional_pct",
    "shares": "shares_outstanding float_shares avg_volume volume circulating_supply total_supply "
    "max_supply",
    "days": "short_ratio",
}
# The fields of a record and their units; a field has the same unit at every vendor.
FIELDS: Mapping[str, Unit] = MappingProxyType(
    {name: unit for unit, names in _UNITS.items() for name in names.split()}
)
# Other names of the same fields in programs and files of old.
FIELD_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "pb_ratio": "price_to_book",
        "cash": "total_cash",
        "average_volume": "avg_volume",
        "eps": "earnings_per_share",
        "ps_ratio": "price_to_sales",
        "roe": "return_on_equity",
        "roa": "return_on_assets",
        "name": "company_name",
        "price": "current_price",
    }
)
# The ISO date of the next report as of the answer; once it has passed, the answer is out of date.
NEXT_REPORT = "next_earnings"
WITH_CURRENCY: frozenset[Unit] = frozenset({"money", "price"})

DATA_TYPES = (
    "profile",
    "ratios",
    "statements",
    "calendar",
    "dividends",
    "splits",
    "insider_trading",
    "analyst_estimates",
)
_TYPE_ALIASES = {
    "general": "profile",
    "company": "profile",
    "overview": "profile",
    "financial_statements": "statements",
    "income_statement": "statements",
    "balance_sheet": "statements",
    "cash_flow": "statements",
    "ttm_metrics": "ratios",
    "earnings": "calendar",
    "earnings_calendar": "calendar",
    "stock_splits": "splits",
    "insider_transactions": "insider_trading",
    "analyst_recommendations": "analyst_estimates",
    "price_targets": "analyst_estimates",
}


def canonical_type(data_type: str) -> str | None:
    """Return the data type that a name or alias means, or None where it means none."""
    name = data_type.strip().lower()
    if name in DATA_TYPES:
        return name
    if name.endswith("_ratios"):
        return "ratios"
    if name.startswith("dividend_"):
        return "dividends"
    return _TYPE_ALIASES.get(name)


def canonical_field(name: str) -> str:
    """Return the record's name of a field; names that are none of ours stay as they are."""
    return FIELD_ALIASES.get(name, name)


@dataclass(frozen=True)
class Fact:
    """One value and what it means.

    Attributes:
        value: a finite number, or a text where the unit is ``text``.
        unit: empty where it is unknown.
        currency: major ISO code of money and prices; empty where it is unknown.
        period: ``TTM``, ``FY``, ``Q1`` and so on; empty for what holds at the time of asking.
        period_end, filed_at: ISO dates, empty where they are unknown.
    """

    value: Value
    unit: Unit = ""
    currency: str = ""
    period: str = ""
    period_end: str = ""
    filed_at: str = ""


@dataclass(frozen=True)
class Statement:
    """One report of one period.

    Attributes:
        kind: ``income``, ``balance`` or ``cash_flow``.
        period: ``FY`` or a quarter, ``Q1`` to ``Q4``, or ``Q`` where the vendor does not number it.
        period_end: ISO date of its last day.
        filed_at: ISO date from which it was public; empty where the vendor does not give it.
        currency: of all its values.
        values: field to number.
    """

    kind: str
    period: str
    period_end: str
    filed_at: str
    currency: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Snapshot:
    """One vendor's answer about one symbol.

    Attributes:
        vendor: canonical name.
        symbol: canonical spelling.
        fetched_at_ms: time of the request, UTC milliseconds.
        facts: field to fact.
        statements: newest first.
        blocks: parts of its answers under their own names, as sent.
        dropped: field to why its value was rejected.
        data_types: the types requested; empty for files that do not record it.
        names_symbol: whether the answers themselves named the symbol.
        is_stale: whether it is older than its type may be, and stands in for a failed vendor.
    """

    vendor: str
    symbol: str
    fetched_at_ms: int
    facts: Mapping[str, Fact] = field(default_factory=dict)
    statements: tuple[Statement, ...] = ()
    blocks: Mapping[str, Any] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)
    data_types: tuple[str, ...] = ()
    names_symbol: bool = False
    is_stale: bool = False


# --- possible values, and the quality of an answer --------------

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
    """Return the weighted share of the main fields that have a possible value, 0 to 1."""
    fields = {canonical_field(name) for name, fact in facts.items() if not objection(name, fact)}
    return round(sum(weight for name, weight in _WEIGHTS.items() if name in fields), 4)
