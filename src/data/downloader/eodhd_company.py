"""Lay out flat what EODHD answers about a company, and leave out what says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PARTS = (
    "General",
    "Highlights",
    "Valuation",
    "SharesStats",
    "Technicals",
    "SplitsDividends",
    "ETF_Data",
)
# What it writes where there is nothing.
_EMPTY = ("Other", "NA", "0000-00-00")
_NO_TEXT = "There is no Profile data"
# Of shares that are quoted in hundredths it is not told whether these are in hundredths as well.
_IN_HUNDREDTHS = ("GBX", "GBp", "ZAC", "ZAc", "ILA")
_IN_DOUBT = ("MarketCapitalization", "BookValue", "DividendShare", "EarningsShare", "DilutedEpsTTM")
# Ten years of quarters; it goes back to 1985.
_MOST_REPORTS = 40


def parts_of(body: Any) -> dict[str, Any]:
    """Return what the answer says in single values, without what says nothing."""
    parts = {
        name: {
            k: v
            for k, v in part.items()
            if not isinstance(v, dict | list)
            and v not in _EMPTY
            and not str(v).startswith(_NO_TEXT)
        }
        for name in _PARTS
        if isinstance(part := body.get(name), dict)
    }
    code, told = parts.get("General", {}).get("CurrencyCode"), parts.get("Highlights", {})
    for name in _IN_DOUBT if code in _IN_HUNDREDTHS else ():
        if told.get(name) is not None:
            told[name] = f"{told[name]} {code} or a hundred of them"
    coming = _next_report(body.get("Earnings"))
    return parts | ({"next_earnings": coming} if coming else {}) if any(parts.values()) else {}


def _next_report(earnings: Any) -> str:
    """Return the day of the first report that tells no earnings yet and comes after all that do."""
    history = earnings.get("History") if isinstance(earnings, Mapping) else None
    rows = [row for row in (history or {}).values() if row.get("reportDate")]
    told = max((r["reportDate"] for r in rows if r.get("epsActual") is not None), default="")
    return min((r["reportDate"] for r in rows if r["reportDate"] > told), default="")


def reports_of(rows: Any) -> list[dict[str, Any]]:
    """Return the newest reports; one that was filed before its period was over was filed some day."""
    newest = sorted(rows.values(), key=lambda row: str(row["date"]))[-_MOST_REPORTS:]
    return [
        row if str(row.get("filing_date") or "") > str(row["date"]) else row | {"filing_date": None}
        for row in newest
    ]
