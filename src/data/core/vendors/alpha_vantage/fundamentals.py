"""Alpha Vantage: one overview with all fields, and statements without filing dates.

All values are strings; a missing one is ``None`` or ``-``. Yields and margins are fractions; the
share held by institutions is a percentage.
"""

from __future__ import annotations

from ..fundamentals_table import SYMBOL, Ask, Key, Pick, TableAnswer, VendorTable

_TTM = "=TTM"

_OVERVIEW = TableAnswer(
    Ask("/query", {"function": "OVERVIEW", "symbol": SYMBOL}),
    {
        "symbol": "Symbol",
        "company_name": "Name",
        "sector": "Sector",
        "industry": "Industry",
        "country": "Country",
        "exchange": "Exchange",
        "currency": "Currency",
        "quote_type": "AssetType",
        "description": "Description",
        "market_cap": "MarketCapitalization",
        "shares_outstanding": "SharesOutstanding",
        "float_shares": "SharesFloat",
        "pe_ratio": Pick("TrailingPE|PERatio", period=_TTM),
        "forward_pe": "ForwardPE",
        "peg_ratio": "PEGRatio",
        "price_to_book": "PriceToBookRatio",
        "price_to_sales": Pick("PriceToSalesRatioTTM", period=_TTM),
        "enterprise_value_to_ebitda": Pick("EVToEBITDA", period=_TTM),
        "enterprise_value_to_revenue": Pick("EVToRevenue", period=_TTM),
        "book_value": "BookValue",
        "earnings_per_share": Pick("EPS", period=_TTM),
        "diluted_earnings_per_share": Pick("DilutedEPSTTM", period=_TTM),
        # The currency of the statements may differ from that of the listing.
        "revenue": Pick("RevenueTTM", period=_TTM, currency=""),
        "gross_profit": Pick("GrossProfitTTM", period=_TTM, currency=""),
        "ebitda": Pick("EBITDA", period=_TTM, currency=""),
        "dividend_per_share": "DividendPerShare",
        "dividend_yield": "DividendYield",
        "payout_ratio": Pick("PayoutRatio", period=_TTM),
        "profit_margin": Pick("ProfitMargin", period=_TTM),
        "operating_margin": Pick("OperatingMarginTTM", period=_TTM),
        "return_on_assets": Pick("ReturnOnAssetsTTM", period=_TTM),
        "return_on_equity": Pick("ReturnOnEquityTTM", period=_TTM),
        "revenue_growth": Pick("QuarterlyRevenueGrowthYOY", period="=Q"),
        "net_income_growth": Pick("QuarterlyEarningsGrowthYOY", period="=Q"),
        "beta": "Beta",
        "fifty_two_week_high": "52WeekHigh",
        "fifty_two_week_low": "52WeekLow",
        "target_price": "AnalystTargetPrice",
        "short_ratio": "ShortRatio",
        "short_pct_float": "ShortPercentFloat",
        "institutional_pct": Pick("PercentInstitutions", scale=0.01),
    },
    symbol="Symbol",
    currency="Currency",
    period_end="LatestQuarter",
    block="overview",
)


def _statement(
    statement: str, function: str, fields: dict[str, str | Pick]
) -> tuple[TableAnswer, ...]:
    ask = Ask("/query", {"function": function, "symbol": SYMBOL})
    return tuple(
        TableAnswer(
            ask,
            fields,
            row=rows,
            symbol="symbol",
            currency="reportedCurrency",
            period=period,
            period_end="fiscalDateEnding",
            statement=statement,
            is_optional=statement != "income",
        )
        for rows, period in (("annualReports", "=FY"), ("quarterlyReports", "=Q"))
    )


_INCOME = _statement(
    "income",
    "INCOME_STATEMENT",
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
    "BALANCE_SHEET",
    {
        "total_assets": "totalAssets",
        "total_liabilities": "totalLiabilities",
        "total_equity": "totalShareholderEquity",
        "total_debt": "shortLongTermDebtTotal",
        "total_cash": "cashAndShortTermInvestments",
    },
)
_CASH_FLOW = _statement(
    "cash_flow",
    "CASH_FLOW",
    {
        "operating_cashflow": "operatingCashflow",
        "capital_expenditure": "capitalExpenditures",
    },
)

TABLE = VendorTable(
    vendor="alpha_vantage",
    asset_classes=frozenset({"stock"}),
    types={
        "profile": (_OVERVIEW,),
        "ratios": (_OVERVIEW,),
        "statements": (*_INCOME, *_BALANCE, *_CASH_FLOW),
    },
    keys=(Key("ALPHA_VANTAGE_API_KEY", param="apikey"),),
)
