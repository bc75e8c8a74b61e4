"""Fundamentals of a company or coin: facts with unit, currency and period, and statements.

A :class:`Snapshot` is one vendor's answer, parsed. Money is in whole units of a major currency
(GBP, never GBp; dollars, never millions); yields, margins and growth are fractions (0.05 for 5 %).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import Any, Literal

from ..time.instant import DAY_MS, day_ms, iso

# ``money`` and ``price`` (per share or coin) have a currency; ``shares`` also counts coins.
Unit = Literal["text", "money", "price", "ratio", "fraction", "shares", "days", ""]
Value = float | str
# A report that is accepted in the evening or before holidays is dated some days later.
_LONGEST_MS = 11 * DAY_MS

_UNITS: dict[Unit, str] = {
    "text": "symbol ticker company_name sector industry country exchange exchange_code currency "
    "quote_type description website next_earnings",
    "money": "market_cap revenue net_income free_cash_flow operating_cashflow enterprise_value "
    "total_cash total_debt gross_profit operating_income ebitda fully_diluted_valuation "
    "total_assets total_liabilities total_equity capital_expenditure cost_of_revenue "
    "long_term_debt short_term_debt",
    "price": "current_price earnings_per_share diluted_earnings_per_share book_value "
    "dividend_per_share fifty_two_week_high fifty_two_week_low all_time_high target_price",
    "ratio": "pe_ratio forward_pe price_to_book price_to_sales peg_ratio debt_to_equity "
    "current_ratio quick_ratio beta enterprise_value_to_ebitda enterprise_value_to_revenue",
    "fraction": "dividend_yield return_on_equity return_on_assets revenue_growth "
    "net_income_growth operating_margin profit_margin gross_margin payout_ratio "
    "short_pct_float institutional_pct",
    "shares": "shares_outstanding float_shares avg_volume volume circulating_supply total_supply "
    "max_supply weighted_shares diluted_weighted_shares",
    "days": "short_ratio",
}
# The fields of a record and their units; a field has the same unit for every vendor.
FIELDS: Mapping[str, Unit] = MappingProxyType(
    {name: unit for unit, names in _UNITS.items() for name in names.split()}
)
# Other names for the same fields in programs and older files.
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
# The ISO date of the next report, as of the answer; once it has passed, the answer is outdated.
NEXT_REPORT = "next_earnings"
# The date that programs write for an unknown one.
_NO_FILING = "1970-01-01"
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
    """Return the data type for a name or alias; None if the name is unknown."""
    name = data_type.strip().lower()
    if name in DATA_TYPES:
        return name
    if name.endswith("_ratios"):
        return "ratios"
    if name.startswith("dividend_"):
        return "dividends"
    return _TYPE_ALIASES.get(name)


def canonical_field(name: str) -> str:
    """Return the canonical name of a field; unknown names are returned unchanged."""
    return FIELD_ALIASES.get(name, name)


class _Filed:
    """Base of the types that have a filing date."""

    period_end: str
    filed_at: str

    def __post_init__(self) -> None:
        """Clear an impossible filing date; nothing is filed by the last day of its period."""
        try:
            filed_at = date.fromisoformat(self.filed_at[:10]).isoformat() if self.filed_at else ""
        except ValueError:
            filed_at = ""
        if filed_at <= (self.period_end[:10] or _NO_FILING):
            filed_at = ""
        object.__setattr__(self, "filed_at", filed_at)


@dataclass(frozen=True)
class Fact(_Filed):
    """One value from a company's fundamentals, with its unit, currency and period.

    Attributes:
        value: Finite number, or a string if the unit is ``text``.
        unit: Unit of the value; empty if unknown.
        currency: ISO code of the major currency, for money and prices; empty if unknown.
        period: ``TTM``, ``FY``, ``Q1`` and so on; empty for values as of the time of the request.
        period_end: ISO date of the last day of the period; empty if unknown.
        filed_at: ISO date on which the report became public, after ``period_end``; empty if
            unknown.
    """

    value: Value
    unit: Unit = ""
    currency: str = ""
    period: str = ""
    period_end: str = ""
    filed_at: str = ""


@dataclass(frozen=True)
class Statement(_Filed):
    """One financial statement for one period.

    Attributes:
        kind: ``income``, ``balance`` or ``cash_flow``.
        period: ``FY`` or a quarter, ``Q1`` to ``Q4``, or ``Q`` if the vendor does not give its
            number.
        period_end: ISO date of the last day of the period.
        filed_at: ISO date on which the report became public, after ``period_end``; empty if the
            vendor does not give it.
        currency: Currency of all values.
        values: Maps each field of the statement to its number.
        accepted_at: Instant from which the report was public (ISO, UTC); empty if only its day is
            known.
        source: Further facts about the filing, as JSON values, such as its accession number.
    """

    kind: str
    period: str
    period_end: str
    filed_at: str
    currency: str
    values: Mapping[str, float]
    accepted_at: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Snapshot:
    """One vendor's response about one symbol.

    Attributes:
        vendor: Canonical name of the vendor.
        symbol: Canonical spelling of the symbol.
        fetched_at_ms: Time of the request, UTC milliseconds.
        facts: Maps each field to its fact.
        statements: Reports, the latest period first and, for one period, the one filed last first.
        blocks: Unparsed parts of the answers, keyed by the vendor's names for these parts.
        dropped: Maps each rejected field to the reason.
        data_types: Data types that were requested; empty if the snapshot is from a file that does
            not record them.
        names_symbol: Whether the vendor's answers contained the symbol.
        is_stale: Whether the snapshot is older than its type allows, and was returned because a
            vendor failed.
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


def may_be_public_within(filed: str, times: tuple[int, int] | None) -> bool:
    """Return whether a report filed on an ISO date may have become public within a span.

    Args:
        filed: Date of filing, which is at most ten days after the report became public.
        times: First and last instant of the span (UTC milliseconds); None for an empty one.
    """
    end_ms = day_ms(date.fromisoformat(filed)) + DAY_MS
    return times is not None and end_ms - _LONGEST_MS <= times[1] and times[0] <= end_ms


# --- possible values, and the quality of an answer --------------

_POSITIVE = frozenset({"market_cap", "shares_outstanding"})
# Equity and earnings may be negative, but 0 is what vendors send for an unknown value.
_NOT_ZERO = frozenset({"price_to_book", "book_value", "pe_ratio", "forward_pe"})
# These may be zero (a company may well have no debt) but not negative.
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
# A yield above 100 % a year is not a dividend; other programs use percent here.
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
    """Return the reason why a fact's value cannot be right, or an empty string if it can."""
    field, value = canonical_field(name), fact.value
    if isinstance(value, str):
        is_text = FIELDS.get(field, "text") == "text" or _is_number(value)
        return "" if is_text else f"{value[:40]!r} is not a number"
    if field in _POSITIVE and value <= 0:
        return f"{value:g} is not above 0"
    if field in _NOT_NEGATIVE and value < 0:
        return f"{value:g} is less than 0"
    if field in _NOT_ZERO and value == 0:
        return "it cannot be 0"
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
    """Return the weighted fraction, 0 to 1, of the main fields that have a plausible value."""
    fields = {canonical_field(name) for name, fact in facts.items() if not objection(name, fact)}
    return round(sum(weight for name, weight in _WEIGHTS.items() if name in fields), 4)


# --- to and from plain JSON values; also reads files from other programs ---------------------
#
# Facts are at the top level, so that any program can read them; their meaning is stored next to
# them under ``_metadata``. Without it units and periods are unknown, and none is guessed.

METADATA = "_metadata"
_STATEMENTS = "statements"
_MEANING = ("unit", "currency", "period", "period_end", "filed_at")
_HEADS = ("kind", "period", "period_end", "filed_at", "currency")
_SOURCE = ("accepted_at", "source")
# Fields that older payloads contain only inside their blocks, with their names there.
_NESTED = {
    "company_name": ("companyName",),
    "current_price": ("price",),
    "beta": ("beta",),
    "market_cap": ("marketCap", "mktCap", "market_cap"),
    "avg_volume": ("averageVolume", "volAvg", "avgVolume"),
    "shares_outstanding": ("sharesOutstanding",),
    "sector": ("sector",),
    "industry": ("industry",),
    "country": ("country",),
    "exchange": ("exchange",),
    "currency": ("currency",),
    "revenue": ("revenue",),
    "net_income": ("netIncome",),
    "free_cash_flow": ("freeCashFlow",),
    "enterprise_value": ("enterpriseValue",),
    "pe_ratio": ("priceEarningsRatio", "peRatio"),
    "price_to_book": ("priceToBookRatio",),
    "price_to_sales": ("priceToSalesRatio",),
    "debt_to_equity": ("debtEquityRatio",),
    "current_ratio": ("currentRatio",),
    "quick_ratio": ("quickRatio",),
    "return_on_equity": ("returnOnEquity",),
    "return_on_assets": ("returnOnAssets",),
    "dividend_yield": ("dividendYield",),
}


def plain_of(snapshot: Snapshot) -> dict[str, Any]:
    """Convert ``snapshot`` to a dictionary of JSON values that :func:`snapshot_of` can read."""
    profile: dict[str, Any] = {
        name: block for name, block in snapshot.blocks.items() if name not in snapshot.facts
    }
    profile |= {name: fact.value for name, fact in snapshot.facts.items()}
    if snapshot.statements:
        profile[_STATEMENTS] = [plain_statement(s) for s in snapshot.statements]
    profile[METADATA] = {
        "provider": snapshot.vendor,
        "symbol": snapshot.symbol,
        "fetched_at": iso(snapshot.fetched_at_ms),
        "data_types": list(snapshot.data_types),
        "names_symbol": snapshot.names_symbol,
        "fields": {name: meaning_of(fact) for name, fact in snapshot.facts.items()},
        "dropped": dict(snapshot.dropped),
    }
    return profile


def snapshot_of(
    vendor: str, symbol: str, data: Mapping[str, Any], fetched_at_ms: int = 0
) -> Snapshot:
    """Build a snapshot from a payload, such as the output of :func:`plain_of`.

    The payload can be any mapping of fields. Finite numbers and strings become facts, mappings and
    lists become blocks, and other values are ignored.

    Args:
        vendor, symbol: Canonical names of the vendor and the symbol.
        data: Payload to read.
        fetched_at_ms: Time of the request, UTC milliseconds; 0 if unknown.
    """
    stored = data.get(METADATA)
    metadata: Mapping[str, Any] = stored if isinstance(stored, Mapping) else {}
    fields = metadata.get("fields")
    meanings: Mapping[str, Any] = fields if isinstance(fields, Mapping) else {}
    rows = data[_STATEMENTS] if isinstance(data.get(_STATEMENTS), list) else []
    reported = tuple(s for row in rows if (s := statement_of(row)) is not None)
    blocks = {
        name: value
        for name, value in data.items()
        if isinstance(value, dict | list)
        and name != METADATA
        and not (name == _STATEMENTS and reported)
    }
    facts = _facts(data, meanings)
    if not meanings:
        facts = _facts_in(blocks) | facts
    return Snapshot(
        vendor=vendor,
        symbol=symbol,
        fetched_at_ms=fetched_at_ms,
        facts=facts,
        statements=reported,
        blocks=blocks,
        dropped=_texts(metadata.get("dropped")),
        data_types=tuple(map(str, metadata.get("data_types") or ())),
        names_symbol=metadata.get("names_symbol") is True,
    )


def meaning_of(fact: Fact) -> dict[str, str]:
    """Return a fact's unit, currency, period and dates, as far as they are known."""
    return {name: text for name in _MEANING if (text := getattr(fact, name))}


def plain_statement(statement: Statement) -> dict[str, Any]:
    """Return a statement as a flat dictionary."""
    heads = {name: getattr(statement, name) for name in _HEADS}
    more = {name: text for name in _SOURCE if (text := getattr(statement, name))}
    return heads | more | dict(statement.values)


def copied(value: Any) -> Any:
    """Return a deep copy of JSON values."""
    if isinstance(value, dict):
        return {name: copied(inner) for name, inner in value.items()}
    return [copied(inner) for inner in value] if isinstance(value, list) else value


def statement_of(row: Any) -> Statement | None:
    """Parse a row written by :func:`plain_statement`; return None for anything else."""
    if not isinstance(row, Mapping) or not row.get("kind") or not row.get("period_end"):
        return None
    report, period, period_end, filed_at, currency = (str(row.get(name) or "") for name in _HEADS)
    values = {n: float(v) for n, v in row.items() if n not in _HEADS and _is_finite(v)}
    source, accepted = row.get("source"), str(row.get("accepted_at") or "")
    more = (accepted, source if isinstance(source, Mapping) else {})
    return Statement(report, period, period_end, filed_at, currency, values, *more)


def _facts(data: Mapping[str, Any], meanings: Mapping[str, Any]) -> dict[str, Fact]:
    listed = data.get("currency")
    currency = listed if isinstance(listed, str) else ""
    facts: dict[str, Fact] = {}
    for name, value in data.items():
        if not isinstance(value, str) and not _is_finite(value):
            continue
        meaning = meanings.get(name)
        if isinstance(meaning, Mapping):
            facts[name] = _fact_of(value, meaning)
        else:
            facts.setdefault(canonical_field(name), _bare_fact(name, value, currency))
    return facts


def _fact_of(value: Any, meaning: Mapping[str, Any]) -> Fact:
    attributes = {name: str(meaning[name]) for name in _MEANING if meaning.get(name)}
    return Fact(value, **attributes)  # type: ignore[arg-type]


def _bare_fact(name: str, value: Any, currency: str) -> Fact:
    """Return a fact whose unit is unknown; money is assumed to be in the payload's currency."""
    usual = FIELDS.get(canonical_field(name), "")
    if isinstance(value, str):
        return Fact(value, "text")
    return Fact(value, currency=currency if usual in WITH_CURRENCY else "")


def _facts_in(blocks: Mapping[str, Any]) -> dict[str, Fact]:
    inner = [block for block in blocks.values() if isinstance(block, Mapping)]
    facts: dict[str, Fact] = {}
    for name, vendor_names in _NESTED.items():
        values = (block.get(key) for block in inner for key in vendor_names)
        value = next((v for v in values if isinstance(v, str) or _is_finite(v)), None)
        # A string in place of a number ("None", "N/A") is ignored.
        if value is not None and (isinstance(value, str) == (FIELDS[name] == "text")):
            facts[name] = _bare_fact(name, value, "")
    return facts


def _texts(mapping: Any) -> dict[str, str]:
    return {str(k): str(v) for k, v in mapping.items()} if isinstance(mapping, Mapping) else {}


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
