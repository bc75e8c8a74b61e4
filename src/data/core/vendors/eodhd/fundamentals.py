"""EODHD: one response with all data, which costs ten calls; statements have filing dates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...model.identity.kind import HUNDREDTHS
from ..fundamentals_table import SYMBOL, Ask, Key, Pick, TableAnswer, VendorTable

_PARTS = (
    "General",
    "Highlights",
    "Valuation",
    "SharesStats",
    "Technicals",
    "SplitsDividends",
    "ETF_Data",
)
# Markers for missing values.
_EMPTY = ("Other", "NA", "0000-00-00")
_NO_TEXT = "There is no Profile data"
# Fields that may also be in hundredths if the shares are quoted in hundredths.
_IN_DOUBT = ("MarketCapitalization", "BookValue", "DividendShare", "EarningsShare", "DilutedEpsTTM")
# Ten years of quarters; the vendor's data goes back to 1985.
_MOST_REPORTS = 40


def parts_of(body: Any) -> dict[str, Any]:
    """Return the scalar values in a response, leaving out markers for missing values."""
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
    code, highlights = parts.get("General", {}).get("CurrencyCode"), parts.get("Highlights", {})
    for name in _IN_DOUBT if code in HUNDREDTHS else ():
        if highlights.get(name) is not None:
            highlights[name] = f"{highlights[name]} {code} or a hundred of them"
    coming = _next_report(body.get("Earnings"))
    return parts | ({"next_earnings": coming} if coming else {}) if any(parts.values()) else {}


def _next_report(earnings: Any) -> str:
    """Return the date of the next report: the first one after all reports that contain earnings."""
    history = earnings.get("History") if isinstance(earnings, Mapping) else None
    rows = [row for row in (history or {}).values() if row.get("reportDate")]
    last = max((r["reportDate"] for r in rows if r.get("epsActual") is not None), default="")
    return min((r["reportDate"] for r in rows if r["reportDate"] > last), default="")


def reports_of(rows: Any) -> list[dict[str, Any]]:
    """Return the latest reports."""
    return sorted(rows.values(), key=lambda row: str(row["date"]))[-_MOST_REPORTS:]


_TTM = "=TTM"
_ASK = Ask(f"/api/fundamentals/{SYMBOL}", {"fmt": "json"}, cost=10)

_HEAD = TableAnswer(
    _ASK,
    {
        "symbol": "General.Code",
        "company_name": "General.Name",
        "sector": "General.Sector",
        "industry": "General.Industry",
        "exchange": "General.Exchange",
        "currency": "General.CurrencyCode",
        "quote_type": "General.Type",
        "description": "General.Description",
        "website": "General.WebURL",
        "market_cap": "Highlights.MarketCapitalization",
        "pe_ratio": Pick("Valuation.TrailingPE|Highlights.PERatio", period=_TTM),
        "forward_pe": Pick("Valuation.ForwardPE", zero_is_unknown=True),
        "peg_ratio": Pick("Highlights.PEGRatio", zero_is_unknown=True),
        "price_to_book": "Valuation.PriceBookMRQ",
        "price_to_sales": Pick("Valuation.PriceSalesTTM", period=_TTM),
        "enterprise_value_to_ebitda": Pick("Valuation.EnterpriseValueEbitda", period=_TTM),
        "enterprise_value_to_revenue": Pick("Valuation.EnterpriseValueRevenue", period=_TTM),
        "book_value": "Highlights.BookValue",
        "earnings_per_share": Pick("Highlights.EarningsShare", period=_TTM),
        "diluted_earnings_per_share": Pick("Highlights.DilutedEpsTTM", period=_TTM),
        # The currency of the statements may differ from that of the listing.
        "revenue": Pick("Highlights.RevenueTTM", period=_TTM, currency=""),
        "gross_profit": Pick("Highlights.GrossProfitTTM", period=_TTM, currency=""),
        "ebitda": Pick("Highlights.EBITDA", period=_TTM, currency=""),
        "dividend_per_share": "Highlights.DividendShare",
        "dividend_yield": Pick("Highlights.DividendYield|ETF_Data.Yield", zero_is_unknown=True),
        "payout_ratio": Pick("SplitsDividends.PayoutRatio", period=_TTM),
        "profit_margin": Pick("Highlights.ProfitMargin", period=_TTM),
        "operating_margin": Pick("Highlights.OperatingMarginTTM", period=_TTM),
        "return_on_assets": Pick("Highlights.ReturnOnAssetsTTM", period=_TTM),
        "return_on_equity": Pick("Highlights.ReturnOnEquityTTM", period=_TTM),
        "revenue_growth": Pick("Highlights.QuarterlyRevenueGrowthYOY", period="=Q"),
        "net_income_growth": Pick("Highlights.QuarterlyEarningsGrowthYOY", period="=Q"),
        "shares_outstanding": Pick("SharesStats.SharesOutstanding", zero_is_unknown=True),
        "float_shares": Pick("SharesStats.SharesFloat", zero_is_unknown=True),
        "short_ratio": "SharesStats.ShortRatio",
        "short_pct_float": "SharesStats.ShortPercentFloat",
        "beta": "Technicals.Beta",
        "fifty_two_week_high": Pick("Technicals.52WeekHigh", zero_is_unknown=True),
        "fifty_two_week_low": Pick("Technicals.52WeekLow", zero_is_unknown=True),
        "target_price": Pick("Highlights.WallStreetTargetPrice", zero_is_unknown=True),
        "next_earnings": "next_earnings",
    },
    shape=parts_of,
    symbol="General.Code",
    is_bare=True,
    currency="General.CurrencyCode",
    period_end="Highlights.MostRecentQuarter",
    block="company",
)


def _statement(statement: str, name: str, fields: dict[str, str | Pick]) -> tuple[TableAnswer, ...]:
    return tuple(
        TableAnswer(
            _ASK,
            fields,
            row=f"Financials.{name}.{rows}",
            shape=reports_of,
            symbol="General.Code",
            is_bare=True,
            currency="currency_symbol",
            period=period,
            period_end="date",
            filed_at="filing_date",
            statement=statement,
        )
        for rows, period in (("yearly", "=FY"), ("quarterly", "=Q"))
    )


_INCOME = _statement(
    "income",
    "Income_Statement",
    {
        "revenue": "totalRevenue",
        "gross_profit": "grossProfit",
        "operating_income": "operatingIncome",
        "ebitda": "ebitda",
        "net_income": "netIncome",
    },
)
_BALANCE = _statement(
    "balance",
    "Balance_Sheet",
    {
        "total_assets": "totalAssets",
        "total_liabilities": "totalLiab",
        "total_equity": "totalStockholderEquity",
        "total_debt": "shortLongTermDebtTotal",
        "total_cash": "cashAndShortTermInvestments",
    },
)
_CASH_FLOW = _statement(
    "cash_flow",
    "Cash_Flow",
    {
        "operating_cashflow": "totalCashFromOperatingActivities",
        "capital_expenditure": "capitalExpenditures",
        "free_cash_flow": "freeCashFlow",
    },
)

TABLE = VendorTable(
    vendor="eodhd",
    asset_classes=frozenset({"stock"}),
    types={
        "profile": (_HEAD,),
        "ratios": (_HEAD,),
        "statements": (*_INCOME, *_BALANCE, *_CASH_FLOW),
    },
    keys=(Key("EODHD_API_KEY", param="api_token"),),
)
