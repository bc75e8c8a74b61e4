"""Finnhub: a profile and a long list of metrics, limited to data that a free key may request.

Only American companies are covered. Market capitalization, shares and volumes are sent in millions;
yields, margins, returns, growth rates and the payout ratio are sent as percentages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..fundamentals_table import SYMBOL, Ask, Key, Pick, TableAnswer, VendorTable, american

_TTM, _QUARTER = "=TTM", "=Q"
_MILLION, _PERCENT = 1e6, 0.01
_PROFILE_ASK = Ask("/api/v1/stock/profile2", {"symbol": SYMBOL})


def _domestic_row(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the row if it describes an American company, otherwise an empty mapping.

    The row's currency is the currency of the company's reports. The market capitalization of
    foreign companies was sometimes in that currency, sometimes in the listing's currency, and
    sometimes in neither (2021).
    """
    return row if row.get("country") == "US" else {}


_PROFILE = TableAnswer(
    _PROFILE_ASK,
    {
        "symbol": "ticker",
        "company_name": "name",
        "industry": "finnhubIndustry",
        "country": "country",
        "exchange": "exchange",
        "website": "weburl",
        "shares_outstanding": Pick("shareOutstanding", scale=_MILLION, zero_is_unknown=True),
    },
    symbol="ticker",
    block="profile2",
)
_WORTH = TableAnswer(
    _PROFILE_ASK,
    {"market_cap": Pick("marketCapitalization", scale=_MILLION, zero_is_unknown=True)},
    shape=_domestic_row,
    symbol="ticker",
    currency="currency",
)
# Values without a currency; the first value found for a field is used.
_WORTH_ABROAD = TableAnswer(_PROFILE_ASK, _WORTH.fields, symbol="ticker")

_METRICS = TableAnswer(
    Ask("/api/v1/stock/metric", {"symbol": SYMBOL, "metric": "all"}),
    {
        "enterprise_value": Pick("enterpriseValue", scale=_MILLION),
        "pe_ratio": Pick("peTTM", period=_TTM),
        "forward_pe": "forwardPE",
        "peg_ratio": "pegTTM",
        "price_to_book": "pb",
        "price_to_sales": Pick("psTTM", period=_TTM),
        "enterprise_value_to_ebitda": Pick("evEbitdaTTM", period=_TTM),
        "enterprise_value_to_revenue": Pick("evRevenueTTM", period=_TTM),
        "earnings_per_share": Pick("epsTTM", period=_TTM),
        "book_value": "bookValuePerShareQuarterly",
        "dividend_per_share": Pick("dividendPerShareTTM", period=_TTM),
        "dividend_yield": Pick("currentDividendYieldTTM", scale=_PERCENT, period=_TTM),
        "payout_ratio": Pick("payoutRatioTTM", scale=_PERCENT, period=_TTM),
        "gross_margin": Pick("grossMarginTTM", scale=_PERCENT, period=_TTM),
        "operating_margin": Pick("operatingMarginTTM", scale=_PERCENT, period=_TTM),
        "profit_margin": Pick("netProfitMarginTTM", scale=_PERCENT, period=_TTM),
        "return_on_assets": Pick("roaTTM", scale=_PERCENT, period=_TTM),
        "return_on_equity": Pick("roeTTM", scale=_PERCENT, period=_TTM),
        "revenue_growth": Pick("revenueGrowthQuarterlyYoy", scale=_PERCENT, period=_QUARTER),
        "debt_to_equity": "totalDebt/totalEquityQuarterly",
        "current_ratio": "currentRatioQuarterly",
        "quick_ratio": "quickRatioQuarterly",
        "beta": "beta",
        # These values are for a listing in the USA; the currency of the other fields is not given.
        "fifty_two_week_high": Pick("52WeekHigh", currency="=USD"),
        "fifty_two_week_low": Pick("52WeekLow", currency="=USD"),
        "avg_volume": Pick("3MonthAverageTradingVolume", scale=_MILLION, zero_is_unknown=True),
    },
    row="metric",
    symbol="symbol",
    block="metric",
)
# A plan may include the profile but not the metrics.
_MORE = replace(_METRICS, is_optional=True)

TABLE = VendorTable(
    vendor="finnhub",
    asset_classes=frozenset({"stock"}),
    types={"profile": (_PROFILE, _WORTH, _WORTH_ABROAD, _MORE), "ratios": (_METRICS,)},
    keys=(Key("FINNHUB_API_KEY", header="X-Finnhub-Token"),),
    markets=frozenset({"US"}),
    spelling=american("finnhub", ".", "-P"),
)
