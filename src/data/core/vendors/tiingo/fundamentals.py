"""Tiingo: a company's daily valuation, and its reports, for American listings.

A free key may request only the companies in the Dow Jones; the name is available with any key.
Returns, margins and growth rates are fractions, although the vendor's own list calls them
percentages; its ``profitMargin`` is the gross margin. Reports of foreign companies may be in their
own currency, which is not stated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..fundamentals_table import SYMBOL, Ask, Key, Pick, TableAnswer, VendorTable, american

_TTM = "=TTM"


def _newest_row(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    return max(rows, key=lambda row: str(row["date"]), default={})


def _plain_rows(reports: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Convert each report to a row that maps the vendor's codes to values."""
    return [
        {
            "date": report["date"],
            "period": f"Q{report['quarter']}" if report["quarter"] else "FY",
            **{
                item["dataCode"]: item["value"]
                for part in report["statementData"].values()
                for item in part
            },
        }
        for report in reports
    ]


def _last_quarter(reports: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the latest quarterly report; annual reports contain no ratios."""
    return _newest_row([row for row in _plain_rows(reports) if row["period"] != "FY"])


_COMPANY = TableAnswer(
    Ask(f"/tiingo/daily/{SYMBOL}"),
    {
        "symbol": "ticker",
        "company_name": "name",
        "exchange": "exchangeCode",
        "description": "description",
    },
    symbol="ticker",
    block="meta",
)
_DAILY = TableAnswer(
    Ask(f"/tiingo/fundamentals/{SYMBOL}/daily"),
    {
        "market_cap": Pick("marketCap", zero_is_unknown=True),
        "enterprise_value": "enterpriseVal",
        "pe_ratio": Pick("peRatio", period=_TTM),
        "price_to_book": "pbRatio",
        "peg_ratio": "trailingPEG1Y",
    },
    shape=_newest_row,
    currency="=USD",
    block="daily",
    is_optional=True,
)
# The numbers have been restated since, so the filing date would belong to other numbers.
_REPORTS = Ask(f"/tiingo/fundamentals/{SYMBOL}/statements", {"asReported": "false"})
_QUARTER = TableAnswer(
    _REPORTS,
    {
        "return_on_equity": Pick("roe", period=_TTM),
        "return_on_assets": Pick("roa", period=_TTM),
        "gross_margin": "grossMargin",
        "operating_margin": "opMargin",
        "profit_margin": "netMargin",
        # Named quarter over quarter, but compared with the same quarter of the previous year.
        "revenue_growth": Pick("revenueQoQ", period="=Q"),
        "debt_to_equity": "debtEquity",
        "current_ratio": "currentRatio",
        "book_value": "bvps",
    },
    shape=_last_quarter,
    period="period",
    period_end="date",
    is_optional=True,
)


def _statement(statement: str, fields: dict[str, str | Pick]) -> TableAnswer:
    return TableAnswer(
        _REPORTS, fields, shape=_plain_rows, period="period", period_end="date", statement=statement
    )


_STATEMENTS = (
    _statement(
        "income",
        {
            "revenue": "revenue",
            "gross_profit": "grossProfit",
            "operating_income": "opinc",
            "ebitda": "ebitda",
            "net_income": "netinc",
            "earnings_per_share": "eps",
            "diluted_earnings_per_share": "epsDil",
        },
    ),
    _statement(
        "balance",
        {
            "total_assets": "totalAssets",
            "total_liabilities": "totalLiabilities",
            "total_equity": "equity",
            "total_debt": "debt",
            "shares_outstanding": "sharesBasic",
        },
    ),
    _statement(
        "cash_flow",
        {
            "operating_cashflow": "ncfo",
            "capital_expenditure": "capex",
            "free_cash_flow": "freeCashFlow",
        },
    ),
)


TABLE = VendorTable(
    vendor="tiingo",
    asset_classes=frozenset({"stock"}),
    types={
        "profile": (_COMPANY, _DAILY),
        "ratios": (_COMPANY, replace(_DAILY, is_optional=False), _QUARTER),
        "statements": (_COMPANY, *_STATEMENTS),
    },
    keys=(Key("TIINGO_API_KEY", header="Authorization", prefix="Token "),),
    markets=frozenset({"US"}),
    spelling=american("tiingo", "-", "-P-"),
)
