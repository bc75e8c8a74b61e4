"""Financial Modeling Prep: profile, ratios, metrics, and statements with their filing dates.

Ratios and margins are fractions; money is in whole units. Names differ between the current address
(``/stable``) and the older one; both are supported.
"""

from __future__ import annotations

from ..fundamentals_table import SYMBOL, Ask, Key, Pick, TableAnswer, VendorTable

_SYMBOL_PARAM = {"symbol": SYMBOL}
_YEARLY: dict[str, str | int] = {"symbol": SYMBOL, "period": "annual", "limit": 5}

_PROFILE = TableAnswer(
    Ask("/stable/profile", _SYMBOL_PARAM),
    {
        "symbol": "symbol",
        "company_name": "companyName",
        "current_price": "price",
        "market_cap": Pick("marketCap|mktCap", zero_is_unknown=True),
        "beta": "beta",
        "avg_volume": Pick("averageVolume|volAvg", zero_is_unknown=True),
        "volume": "volume",
        "dividend_per_share": "lastDividend|lastDiv",
        "sector": "sector",
        "industry": "industry",
        "country": "country",
        "exchange": "exchangeShortName|exchange",
        "currency": "currency",
        "description": "description",
        "website": "website",
    },
    row="0",
    symbol="0.symbol",
    currency="currency",
    block="profile",
    also={"mktCap": "marketCap", "volAvg": "averageVolume", "lastDiv": "lastDividend"},
)
_RATIOS = TableAnswer(
    Ask("/stable/ratios-ttm", _SYMBOL_PARAM),
    {
        "pe_ratio": "priceToEarningsRatioTTM|peRatioTTM|priceEarningsRatio",
        "price_to_book": "priceToBookRatioTTM|priceToBookRatio",
        "price_to_sales": "priceToSalesRatioTTM|priceToSalesRatio",
        "peg_ratio": "priceToEarningsGrowthRatioTTM|priceEarningsToGrowthRatio",
        "debt_to_equity": "debtToEquityRatioTTM|debtEquityRatio",
        "current_ratio": "currentRatioTTM|currentRatio",
        "quick_ratio": "quickRatioTTM|quickRatio",
        "gross_margin": "grossProfitMarginTTM|grossProfitMargin",
        "operating_margin": "operatingProfitMarginTTM|operatingProfitMargin",
        "profit_margin": "netProfitMarginTTM|netProfitMargin",
        "payout_ratio": "dividendPayoutRatioTTM|payoutRatioTTM|payoutRatio",
        "dividend_yield": "dividendYieldTTM|dividendYield",
        "return_on_equity": "returnOnEquityTTM|returnOnEquity",
        "return_on_assets": "returnOnAssetsTTM|returnOnAssets",
    },
    row="0",
    symbol="0.symbol",
    period="period|=TTM",
    period_end="date",
    block="ratios",
    also={
        "priceEarningsRatio": "priceToEarningsRatioTTM",
        "priceToBookRatio": "priceToBookRatioTTM",
        "priceToSalesRatio": "priceToSalesRatioTTM",
        "priceEarningsToGrowthRatio": "priceToEarningsGrowthRatioTTM",
        "debtEquityRatio": "debtToEquityRatioTTM",
        "currentRatio": "currentRatioTTM",
        "quickRatio": "quickRatioTTM",
        "operatingProfitMargin": "operatingProfitMarginTTM",
        "netProfitMargin": "netProfitMarginTTM",
        "payoutRatio": "dividendPayoutRatioTTM",
    },
    is_optional=True,
)
_METRICS = TableAnswer(
    Ask("/stable/key-metrics-ttm", _SYMBOL_PARAM),
    {
        "enterprise_value": "enterpriseValueTTM|enterpriseValue",
        "enterprise_value_to_ebitda": "evToEBITDATTM|enterpriseValueOverEBITDA",
        "enterprise_value_to_revenue": "evToSalesTTM|evToSales",
        "return_on_equity": "returnOnEquityTTM|roe",
        "return_on_assets": "returnOnAssetsTTM",
    },
    row="0",
    symbol="0.symbol",
    period="period|=TTM",
    period_end="date",
    block="metrics",
    also={"enterpriseValue": "enterpriseValueTTM", "enterpriseValueOverEBITDA": "evToEBITDATTM"},
    is_optional=True,
)


def _statement(statement: str, path: str, fields: dict[str, str | Pick]) -> TableAnswer:
    return TableAnswer(
        Ask(f"/stable/{path}", _YEARLY),
        fields,
        symbol="0.symbol",
        currency="reportedCurrency",
        period="period",
        period_end="date",
        filed_at="filingDate|fillingDate",
        statement=statement,
        is_optional=statement != "income",
    )


_INCOME = _statement(
    "income",
    "income-statement",
    {
        "revenue": "revenue",
        "gross_profit": "grossProfit",
        "operating_income": "operatingIncome",
        "ebitda": "ebitda",
        "net_income": "netIncome",
        "earnings_per_share": "eps",
        "diluted_earnings_per_share": "epsDiluted|epsdiluted",
    },
)
_BALANCE = _statement(
    "balance",
    "balance-sheet-statement",
    {
        "total_assets": "totalAssets",
        "total_liabilities": "totalLiabilities",
        "total_equity": "totalStockholdersEquity",
        "total_debt": "totalDebt",
        "total_cash": "cashAndShortTermInvestments",
    },
)
_CASH_FLOW = _statement(
    "cash_flow",
    "cash-flow-statement",
    {
        "operating_cashflow": "netCashProvidedByOperatingActivities|operatingCashFlow",
        "capital_expenditure": "capitalExpenditure",
        "free_cash_flow": "freeCashFlow",
    },
)

TABLE = VendorTable(
    vendor="fmp",
    asset_classes=frozenset({"stock"}),
    types={
        "profile": (_PROFILE, _RATIOS, _METRICS, _INCOME),
        "ratios": (_RATIOS, _METRICS),
        "statements": (_INCOME, _BALANCE, _CASH_FLOW),
    },
    keys=(Key("FMP_API_KEY", param="apikey"),),
)
