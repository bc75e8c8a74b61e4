"""Polygon's fundamentals, from the tests of its own client; made-up values are marked as such."""

from __future__ import annotations

from typing import Any

import pytest

from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.market.fundamentals import Fact, Snapshot
from src.data.core.vendors.polygon.fundamentals import TABLE
from src.data.errors import ResponseFormatError
from tests.core.fundamentals.conftest import answered
from tests.core.fundamentals.test_reading import recorded
from tests.reference import needs_reference


def reports(*rows: dict[str, Any], symbol: str = "GOOG") -> Snapshot:
    """Read made-up reports of years."""
    return answered(TABLE, {"annual": {"results": list(rows)}}, "statements", symbol)


def report(**changes: Any) -> dict[str, Any]:
    """Make up one: it tells its revenue alone."""
    income = {"revenues": {"value": 7.0e9, "unit": "USD"}}
    return {
        "fiscal_period": "FY", "end_date": "2023-12-31", "filing_date": "2024-01-31",
        "company_name": "Alphabet Inc.", "tickers": ["GOOGL", "GOOG"],
        "financials": {"income_statement": income},
    } | changes  # fmt: skip


@needs_reference
def test_a_recorded_ticker_gives_the_companys_fundamentals() -> None:
    said = answered(
        TABLE, {"reference/tickers": recorded("polygon", "reference-ticker-details-AAPL")}
    )
    assert said.names_symbol
    assert said.facts["market_cap"] == Fact(2_488_795_282_370, "money", "USD")
    assert said.facts["shares_outstanding"] == Fact(16_319_440_000, "shares")
    assert said.facts["currency"].value == "USD"  # sent as usd
    assert said.facts["company_name"].value == "Apple Inc."
    assert said.blocks["ticker_details"]["cik"] == "0000320193"


@needs_reference
def test_reports_tell_period_currency_and_day_of_filing() -> None:
    said = answered(
        TABLE, {"quarterly": recorded("polygon", "reference-financials")}, "statements", "NXPI"
    )
    assert {(s.period, s.period_end, s.filed_at, s.currency) for s in said.statements} == {
        ("Q1", "2022-04-03", "2022-05-03", "USD")
    }
    told = {s.kind: dict(s.values) for s in said.statements}
    assert told == {
        "income": {
            "revenue": 3.136e9, "gross_profit": 1.777e9, "operating_income": 0.873e9,
            "net_income": 0.657e9, "earnings_per_share": 2.5, "diluted_earnings_per_share": 2.48,
        },
        "balance": {
            "total_assets": 21.321e9, "total_liabilities": 14.561e9, "total_equity": 6.509e9,
        },
        "cash_flow": {"operating_cashflow": 0.856e9},
    }  # fmt: skip


def test_a_part_that_a_report_lacks_is_no_statement() -> None:
    assert [s.kind for s in reports(report()).statements] == ["income"]


def test_a_company_that_owns_all_of_itself() -> None:
    balance = {"equity": {"value": 5.0e9, "unit": "USD"}}
    [only] = reports(report(financials={"balance_sheet": balance})).statements
    assert (only.values, only.currency) == ({"total_equity": 5.0e9}, "USD")


def test_a_report_that_was_never_filed_has_no_day() -> None:
    [only] = reports(report(filing_date=None, fiscal_period="Q4")).statements
    assert (only.period, only.filed_at) == ("Q4", "")


def test_reports_are_of_all_classes_of_a_share() -> None:
    assert reports(report()).names_symbol
    assert reports(report(), symbol="GOOGL").names_symbol
    with pytest.raises(ResponseFormatError, match="for 'GOOGL', 'GOOG' instead of MSFT"):
        reports(report(), symbol="MSFT")
    untold = reports(report(tickers=None), symbol="MSFT")
    assert not untold.names_symbol
    assert untold.facts["company_name"].value == "Alphabet Inc."


def test_classes_of_shares_are_spelled_as_for_bars() -> None:
    assert TABLE.spelled(Instrument("BRK-B", "stock")) == "BRK.B"
