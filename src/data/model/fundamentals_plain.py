"""Fundamentals as plain JSON values and back; also read from files of other programs.

Facts stand flat, so that any program reads them; what they mean stands beside them under
``_metadata``. Without it units and periods are unknown, and none is guessed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .fundamentals import (
    FIELDS,
    WITH_CURRENCY,
    Fact,
    Snapshot,
    Statement,
    canonical_field,
)
from .instant import iso

METADATA = "_metadata"
_STATEMENTS = "statements"
_MEANING = ("unit", "currency", "period", "period_end", "filed_at")
_HEADS = ("kind", "period", "period_end", "filed_at", "currency")
# Fields that older payloads hold only inside their blocks, by the names they have there.
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
    """Return ``snapshot`` as JSON values; :func:`snapshot_of` reads it back."""
    plain: dict[str, Any] = {
        name: block for name, block in snapshot.blocks.items() if name not in snapshot.facts
    }
    plain |= {name: fact.value for name, fact in snapshot.facts.items()}
    if snapshot.statements:
        plain[_STATEMENTS] = [plain_statement(s) for s in snapshot.statements]
    plain[METADATA] = {
        "provider": snapshot.vendor,
        "symbol": snapshot.symbol,
        "fetched_at": iso(snapshot.fetched_at_ms),
        "data_types": list(snapshot.data_types),
        "names_symbol": snapshot.names_symbol,
        "fields": {name: meaning_of(fact) for name, fact in snapshot.facts.items()},
        "dropped": dict(snapshot.dropped),
    }
    return plain


def snapshot_of(
    vendor: str, symbol: str, data: Mapping[str, Any], fetched_at_ms: int = 0
) -> Snapshot:
    """Read a payload: one of :func:`plain_of`, or any mapping of fields.

    Values that are neither finite numbers nor texts are not facts; mappings and lists are blocks.
    """
    stored = data.get(METADATA)
    metadata: Mapping[str, Any] = stored if isinstance(stored, Mapping) else {}
    fields = metadata.get("fields")
    meanings: Mapping[str, Any] = fields if isinstance(fields, Mapping) else {}
    reported = tuple(s for row in _rows(data) if (s := statement_of(row)) is not None)
    blocks = {
        name: value
        for name, value in data.items()
        if isinstance(value, dict | list)
        and name != METADATA
        and not (name == _STATEMENTS and reported)
    }
    facts = _facts(data, meanings)
    if not meanings:
        facts = _nested(blocks) | facts
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
    """Return unit, currency, period and dates of a fact; unknown ones are left out."""
    texts = (fact.unit, fact.currency, fact.period, fact.period_end, fact.filed_at)
    return {name: text for name, text in zip(_MEANING, texts, strict=True) if text}


def plain_statement(statement: Statement) -> dict[str, Any]:
    """Return a statement as one flat row."""
    heads = (statement.kind, statement.period, statement.period_end, statement.filed_at)
    return dict(zip(_HEADS, (*heads, statement.currency), strict=True)) | dict(statement.values)


def copied(value: Any) -> Any:
    """Return a copy of JSON values that shares nothing that can be changed."""
    if isinstance(value, dict):
        return {name: copied(one) for name, one in value.items()}
    return [copied(one) for one in value] if isinstance(value, list) else value


def statement_of(row: Any) -> Statement | None:
    """Return the statement that a row of :func:`plain_statement` holds; None for anything else."""
    if not isinstance(row, Mapping) or not row.get("kind") or not row.get("period_end"):
        return None
    kind, period, period_end, filed_at, currency = (str(row.get(name) or "") for name in _HEADS)
    values = {n: float(v) for n, v in row.items() if n not in _HEADS and _is_number(v)}
    return Statement(kind, period, period_end, filed_at, currency, values)


def _facts(data: Mapping[str, Any], meanings: Mapping[str, Any]) -> dict[str, Fact]:
    listed = data.get("currency")
    currency = listed if isinstance(listed, str) else ""
    facts: dict[str, Fact] = {}
    for name, value in data.items():
        if not isinstance(value, str) and not _is_number(value):
            continue
        meaning = meanings.get(name)
        if isinstance(meaning, Mapping):
            facts[name] = _meant(value, meaning)
        else:
            facts.setdefault(canonical_field(name), _bare(name, value, currency))
    return facts


def _meant(value: Any, meaning: Mapping[str, Any]) -> Fact:
    attributes = {name: str(meaning[name]) for name in _MEANING if meaning.get(name)}
    return Fact(value, **attributes)  # type: ignore[arg-type]


def _bare(name: str, value: Any, currency: str) -> Fact:
    """Return a fact of unknown unit; money is taken to be in the payload's currency."""
    usual = FIELDS.get(canonical_field(name), "")
    if isinstance(value, str):
        return Fact(value, "text")
    return Fact(value, currency=currency if usual in WITH_CURRENCY else "")


def _nested(blocks: Mapping[str, Any]) -> dict[str, Fact]:
    inner = [block for block in blocks.values() if isinstance(block, Mapping)]
    facts: dict[str, Fact] = {}
    for field, names in _NESTED.items():
        values = (block.get(name) for block in inner for name in names)
        value = next((v for v in values if isinstance(v, str) or _is_number(v)), None)
        # A text where a number belongs ("None", "N/A") is nothing.
        if value is not None and (isinstance(value, str) == (FIELDS[field] == "text")):
            facts[field] = _bare(field, value, "")
    return facts


def _rows(data: Mapping[str, Any]) -> list[Any]:
    rows = data.get(_STATEMENTS)
    return rows if isinstance(rows, list) else []


def _texts(mapping: Any) -> dict[str, str]:
    return {str(k): str(v) for k, v in mapping.items()} if isinstance(mapping, Mapping) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
