"""Yahoo Finance: company information from a chart, and time series of figures and reports.

Neither needs a browser's cookie and crumb. The endpoint ``quoteSummary`` requires these, so data
that only that endpoint has (sector, industry, beta, the yield) is not available. Ratios are plain
numbers; money is in whole units of the currency given next to each number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from ..fundamentals_table import NOW, SYMBOL, Ask, Pick, TableAnswer, VendorTable

_TODAY = {
    "market_cap": "MarketCap",
    "enterprise_value": "EnterpriseValue",
    "forward_pe": "ForwardPeRatio",
    "peg_ratio": "PegRatio",
    "price_to_book": "PbRatio",
}
_BY_YEAR = {
    "pe_ratio": "PeRatio",
    "price_to_sales": "PsRatio",
    "enterprise_value_to_ebitda": "EnterprisesValueEBITDARatio",
    "enterprise_value_to_revenue": "EnterprisesValueRevenueRatio",
}
_INCOME = {
    "revenue": "TotalRevenue",
    "gross_profit": "GrossProfit",
    "operating_income": "OperatingIncome",
    "ebitda": "EBITDA",
    "net_income": "NetIncome",
    "earnings_per_share": "BasicEPS",
    "diluted_earnings_per_share": "DilutedEPS",
}
_BALANCE = {
    "total_assets": "TotalAssets",
    "total_liabilities": "TotalLiabilitiesNetMinorityInterest",
    "total_equity": "StockholdersEquity",
    "total_debt": "TotalDebt",
    "total_cash": "CashCashEquivalentsAndShortTermInvestments",
    "shares_outstanding": "OrdinarySharesNumber",
}
_CASH_FLOW = {
    "operating_cashflow": "OperatingCashFlow",
    "capital_expenditure": "CapitalExpenditure",
    "free_cash_flow": "FreeCashFlow",
}
_EARNED = _INCOME | _CASH_FLOW
_SERIES, _SYMBOL_PATH = "timeseries.result", "timeseries.result.0.meta.symbol"


def _series(names: Mapping[str, str], *lengths: str) -> Ask:
    types = ",".join(length + name for length in lengths for name in names.values())
    return Ask(
        f"/ws/fundamentals-timeseries/v1/finance/timeseries/{SYMBOL}",
        {"symbol": SYMBOL, "type": types, "merge": "false", "period1": 493_590_046, "period2": NOW},
    )


def _rows(result: Any, prefix: str, wanted: Iterable[str]) -> list[dict[str, Any]]:
    """Return a row of values for each day, newest first.

    In the response, each series is a separate list, whose name begins with ``prefix``: the period
    that its values cover, such as "annual". A row has a currency if all its values share it.
    """
    rows: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    currencies: defaultdict[str, set[str]] = defaultdict(set)
    names = {prefix + name: name for name in wanted}
    for series in result:
        for series_name in names.keys() & set(series["meta"]["type"]):
            for point in filter(None, series.get(series_name) or ()):
                day = point["asOfDate"]
                rows[day][names[series_name]] = point["reportedValue"]["raw"]
                currencies[day] |= {point.get("currencyCode") or ""} - {""}
    return [
        rows[day] | {"date": day, "currency": currency if not others else ""}
        for day in sorted(rows, reverse=True)
        for currency, *others in [sorted(currencies[day]) or [""]]
    ]


def _newest_row(result: Any, wanted: Iterable[str]) -> dict[str, Any]:
    return next(iter(_rows(result, "trailing", wanted)), {})


def _table_of(block: str, now: Mapping[str, str], year: Mapping[str, str]) -> TableAnswer:
    return TableAnswer(
        _TRAILING,
        {**now, **{name: Pick(at, period="=TTM") for name, at in year.items()}},
        row=_SERIES,
        symbol=_SYMBOL_PATH,
        currency="currency",
        period_end="" if now else "date",
        shape=partial(_newest_row, wanted=[*now.values(), *year.values()]),
        block=block,
    )


def _reports(statement: str, names: Mapping[str, str]) -> tuple[TableAnswer, ...]:
    return tuple(
        TableAnswer(
            _REPORTED,
            names,
            row=_SERIES,
            symbol=_SYMBOL_PATH,
            currency="currency",
            period_end="date",
            shape=partial(_rows, prefix=prefix, wanted=names.values()),
            period=period,
            statement=statement,
        )
        for prefix, period in (("annual", "=FY"), ("quarterly", "=Q"))
    )


_TRAILING = _series(_TODAY | _BY_YEAR | _EARNED, "trailing")
_REPORTED = _series(_EARNED | _BALANCE, "annual", "quarterly")
_CHART = TableAnswer(
    Ask(f"/v8/finance/chart/{SYMBOL}", {"range": "1d", "interval": "1d"}),
    {
        "symbol": "symbol",
        "company_name": "longName|shortName",
        "exchange": "fullExchangeName|exchangeName",
        "exchange_code": "exchangeName",
        "currency": "currency",
        "quote_type": "instrumentType",
        "current_price": "regularMarketPrice",
        "fifty_two_week_high": "fiftyTwoWeekHigh",
        "fifty_two_week_low": "fiftyTwoWeekLow",
        "volume": "regularMarketVolume",
    },
    row="chart.result.0.meta",
    symbol="chart.result.0.meta.symbol",
    currency="currency",
    block="chart",
)
_WORTH, _YEAR = _table_of("valuation", _TODAY, _BY_YEAR), _table_of("trailing", {}, _EARNED)

TABLE = VendorTable(
    vendor="yahoo",
    asset_classes=frozenset({"stock"}),
    types={
        "profile": (_CHART, *(replace(answer, is_optional=True) for answer in (_WORTH, _YEAR))),
        "ratios": (_WORTH, _YEAR),
        "statements": (
            *_reports("income", _INCOME),
            *_reports("balance", _BALANCE),
            *_reports("cash_flow", _CASH_FLOW),
        ),
    },
)
