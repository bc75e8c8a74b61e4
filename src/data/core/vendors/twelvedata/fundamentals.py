"""Twelve Data: a quote in every plan, and statistics that cost fifty credits of a larger plan.

Yields, margins and growth are fractions; debt to equity is a percentage. Reported values (revenue,
cash, book value per share) are in a currency that is not stated and that, for a foreign company,
differs from the listing's currency. The following are left out: values that combine the two
currencies (price to sales, price to book, enterprise values: for TSMC's receipts they divided
dollars by Taiwan dollars); the trailing dividend and the float, which refer to the home market; and
all values of shares listed in London, because it is not stated which of them are in pence.

Statements are not requested: they have no filing dates, and cost a hundred credits each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...model.identity.instrument import Instrument
from ..fundamentals_table import Ask, Key, Pick, TableAnswer, VendorTable

_TTM, _QUARTER = "=TTM", "=Q"
_VALUE, _INCOME = "valuations_metrics", "financials.income_statement"
_BALANCE, _PAID = "financials.balance_sheet", "dividends_and_splits"


def _flat_statistics(body: Any) -> Any:
    """Return a response's statistics together with the listing they belong to; None if there are none."""
    return {**body["statistics"], "meta": body["meta"]} if body.get("statistics") else None


_QUOTE = TableAnswer(
    Ask("/quote"),
    {
        "symbol": "symbol",
        "company_name": "name",
        "exchange": "exchange",
        "currency": "currency",
        "current_price": Pick("close", zero_is_unknown=True),
        "volume": "volume",
        "avg_volume": Pick("average_volume", zero_is_unknown=True),
        "fifty_two_week_high": Pick("fifty_two_week.high", zero_is_unknown=True),
        "fifty_two_week_low": Pick("fifty_two_week.low", zero_is_unknown=True),
    },
    symbol="symbol",
    currency="currency",
    block="quote",
)
_STATISTICS = TableAnswer(
    Ask("/statistics", cost=50),
    {
        "company_name": "meta.name",
        "exchange": "meta.exchange",
        "currency": "meta.currency",
        "market_cap": Pick(f"{_VALUE}.market_capitalization", zero_is_unknown=True),
        "pe_ratio": Pick(f"{_VALUE}.trailing_pe", period=_TTM),
        "forward_pe": f"{_VALUE}.forward_pe",
        "gross_margin": Pick("financials.gross_margin", period=_TTM),
        "profit_margin": Pick("financials.profit_margin", period=_TTM),
        "operating_margin": Pick("financials.operating_margin", period=_TTM),
        "return_on_assets": Pick("financials.return_on_assets_ttm", period=_TTM),
        "return_on_equity": Pick("financials.return_on_equity_ttm", period=_TTM),
        "revenue": Pick(f"{_INCOME}.revenue_ttm", period=_TTM, currency=""),
        "gross_profit": Pick(f"{_INCOME}.gross_profit_ttm", period=_TTM, currency=""),
        "ebitda": Pick(f"{_INCOME}.ebitda", period=_TTM, currency=""),
        "net_income": Pick(f"{_INCOME}.net_income_to_common_ttm", period=_TTM, currency=""),
        "diluted_earnings_per_share": Pick(f"{_INCOME}.diluted_eps_ttm", period=_TTM, currency=""),
        "revenue_growth": Pick(f"{_INCOME}.quarterly_revenue_growth", period=_QUARTER),
        "net_income_growth": Pick(f"{_INCOME}.quarterly_earnings_growth_yoy", period=_QUARTER),
        "total_cash": Pick(f"{_BALANCE}.total_cash_mrq", period=_QUARTER, currency=""),
        "total_debt": Pick(f"{_BALANCE}.total_debt_mrq", period=_QUARTER, currency=""),
        "debt_to_equity": Pick(f"{_BALANCE}.total_debt_to_equity_mrq", scale=0.01, period=_QUARTER),
        "current_ratio": Pick(f"{_BALANCE}.current_ratio_mrq", period=_QUARTER),
        "book_value": Pick(f"{_BALANCE}.book_value_per_share_mrq", period=_QUARTER, currency=""),
        "operating_cashflow": Pick(
            "financials.cash_flow.operating_cash_flow_ttm", period=_TTM, currency=""
        ),
        "shares_outstanding": Pick("stock_statistics.shares_outstanding", zero_is_unknown=True),
        "avg_volume": Pick("stock_statistics.avg_90_volume", zero_is_unknown=True),
        "short_ratio": "stock_statistics.short_ratio",
        "institutional_pct": "stock_statistics.percent_held_by_institutions",
        "fifty_two_week_high": "stock_price_summary.fifty_two_week_high",
        "fifty_two_week_low": "stock_price_summary.fifty_two_week_low",
        "beta": "stock_price_summary.beta",
        "dividend_per_share": f"{_PAID}.forward_annual_dividend_rate",
        "dividend_yield": f"{_PAID}.forward_annual_dividend_yield",
        "payout_ratio": Pick(f"{_PAID}.payout_ratio", period=_TTM),
    },
    shape=_flat_statistics,
    symbol="meta.symbol",
    currency="meta.currency",
    period_end="financials.most_recent_quarter",
    block="statistics",
)


def _listing(instrument: Instrument) -> Mapping[str, str]:
    # Imported with the first request: an answer from the cache does not need it.
    from .bars import listing

    return listing(instrument)


TABLE = VendorTable(
    vendor="twelvedata",
    asset_classes=frozenset({"stock"}),
    types={
        "profile": (_QUOTE, replace(_STATISTICS, is_optional=True)),
        "ratios": (_STATISTICS,),
    },
    markets=frozenset({"US", "CANADA", "EU", "SWISS", "ASIA"}),
    keys=(Key("TWELVE_DATA_API_KEY", header="Authorization", prefix="apikey "),),
    spelling=lambda asset: _listing(asset)["symbol"],
    naming=_listing,
)
