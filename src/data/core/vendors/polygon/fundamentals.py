"""Polygon: an American company, and its reports as filed, with their filing dates.

Money is in whole units; each number in a report has its unit (``USD``, ``USD / shares``). Each
share class has its own number of shares; the market capitalization covers all classes.
"""

from __future__ import annotations

from ..fundamentals_table import SYMBOL, Ask, Key, Pick, TableAnswer, VendorTable, american

_COMPANY = TableAnswer(
    Ask(f"/v3/reference/tickers/{SYMBOL}"),
    {
        "symbol": "ticker",
        "company_name": "name",
        "industry": "sic_description",
        "exchange": "primary_exchange",
        "currency": "currency_name",
        "quote_type": "type",
        "description": "description",
        "website": "homepage_url",
        "market_cap": Pick("market_cap", zero_is_unknown=True),
        "shares_outstanding": Pick(
            "share_class_shares_outstanding|weighted_shares_outstanding", zero_is_unknown=True
        ),
    },
    row="results",
    symbol="results.ticker",
    currency="currency_name",
    block="ticker_details",
)


def _reports(timeframe: str, count: int) -> Ask:
    return Ask(
        "/vX/reference/financials", {"ticker": SYMBOL, "timeframe": timeframe, "limit": count}
    )


_CLASSES = "results.0.tickers"
_ANNUAL, _QUARTERLY = _reports("annual", 5), _reports("quarterly", 8)


def _join_names(before: str, names: str, behind: str) -> str:
    return "|".join(before + name + behind for name in names.split("|"))


def _statements(statement: str, part: str, names: dict[str, str]) -> tuple[TableAnswer, ...]:
    prefix = f"financials.{part}."
    fields = {field: _join_names(prefix, name, ".value") for field, name in names.items()}
    money = "|".join(name for field, name in names.items() if not field.endswith("per_share"))
    return tuple(
        TableAnswer(
            ask,
            fields,
            row="results",
            symbol=_CLASSES,
            currency=_join_names(prefix, money, ".unit"),
            period="fiscal_period",
            period_end="end_date",
            filed_at="filing_date",
            statement=statement,
            is_optional=ask is _QUARTERLY,
        )
        for ask in (_ANNUAL, _QUARTERLY)
    )


# Not all reports contain symbols (2022); all of them contain the name.
_COMPANY_NAME = TableAnswer(_ANNUAL, {"company_name": "company_name"}, row="results.0")
_INCOME = _statements(
    "income",
    "income_statement",
    {
        "revenue": "revenues",
        "gross_profit": "gross_profit",
        "operating_income": "operating_income_loss",
        "net_income": "net_income_loss_attributable_to_parent|net_income_loss",
        "earnings_per_share": "basic_earnings_per_share",
        "diluted_earnings_per_share": "diluted_earnings_per_share",
    },
)
_BALANCE = _statements(
    "balance",
    "balance_sheet",
    {
        "total_assets": "assets",
        "total_liabilities": "liabilities",
        "total_equity": "equity_attributable_to_parent|equity",
    },
)
_CASH_FLOW = _statements(
    "cash_flow",
    "cash_flow_statement",
    {"operating_cashflow": "net_cash_flow_from_operating_activities"},
)


TABLE = VendorTable(
    vendor="polygon",
    asset_classes=frozenset({"stock"}),
    types={"profile": (_COMPANY,), "statements": (_COMPANY_NAME, *_INCOME, *_BALANCE, *_CASH_FLOW)},
    keys=(Key("POLYGON_API_KEY", header="Authorization", prefix="Bearer "),),
    markets=frozenset({"US"}),
    spelling=american("polygon", ".", "p"),
)
