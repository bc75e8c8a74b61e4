"""EODHD's fundamentals, recorded in 2019; changes to them and the reports are made up."""

from __future__ import annotations

import copy
from datetime import date
from typing import Any

import pytest

from src.data.core.fundamentals.point_in_time import as_known
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.market.fundamentals import Fact, Snapshot
from src.data.core.vendors.eodhd.fundamentals import TABLE
from src.data.core.vendors.fundamentals_request import VendorAnswers, read
from src.data.errors import SymbolNotFoundError
from tests.core.fundamentals.test_reading import NOW, recorded
from tests.reference import needs_reference

ASK = TABLE.types["profile"][0].ask


def said_by(body: Any, spelled: str = "AAPL.US", data_type: str = "profile") -> Snapshot:
    """Read one answer."""
    return read(TABLE, VendorAnswers("X", spelled, data_type, NOW, {ASK: body}))


@needs_reference
def test_a_recorded_share_gives_its_fundamentals() -> None:
    said = said_by(recorded("eodhd", "fundamentals-AAPL.US-share-excerpt"))
    assert said.names_symbol
    assert said.facts["market_cap"] == Fact(989519609856, "money", "USD")
    assert said.facts["pe_ratio"] == Fact(18.5922, "ratio", "", "TTM", "2019-06-29")
    assert said.facts["dividend_yield"] == Fact(0.0137, "fraction")
    assert said.facts["profit_margin"].value == 0.2150
    assert said.facts["shares_outstanding"] == Fact(4519179776.0, "shares")
    assert said.facts["revenue"] == Fact(259034005504.0, "money", "", "TTM", "2019-06-29")
    assert said.facts["fifty_two_week_low"] == Fact(142.0, "price", "USD")
    assert {"price_to_sales", "country", "institutional_pct"}.isdisjoint(said.facts)
    assert said.dropped == {}
    assert "NumberDividendsByYear" not in said.blocks["company"]["SplitsDividends"]


@needs_reference
def test_a_recorded_fund_gives_its_yield_and_no_company_values() -> None:
    said = said_by(recorded("eodhd", "fundamentals-VTI.US-etf"), "VTI.US")
    assert said.facts["quote_type"].value == "ETF"
    assert said.facts["dividend_yield"] == Fact(0.0187, "fraction")
    assert said.facts["beta"].value == 1.02
    assert {"revenue", "market_cap", "pe_ratio"}.isdisjoint(said.facts)
    assert "Holdings" not in said.blocks["company"]["ETF_Data"]


@needs_reference
def test_an_answer_that_says_hardly_anything() -> None:
    thin = recorded("eodhd", "fundamentals-E6Z.BE-thin")
    said = said_by(thin, "E6Z.BE")
    assert set(said.facts) == {"symbol", "company_name", "exchange", "currency", "quote_type",
                               "fifty_two_week_high", "fifty_two_week_low"}  # fmt: skip
    assert said.facts["fifty_two_week_high"] == Fact(39.6, "price", "EUR")
    with pytest.raises(SymbolNotFoundError, match="eodhd has no statements for X"):
        said_by(thin, "E6Z.BE", "statements")


@needs_reference
def test_of_a_share_in_pence_what_may_be_pence_or_pounds_is_absent_with_its_reason() -> None:
    body = copy.deepcopy(recorded("eodhd", "fundamentals-AAPL.US-share-excerpt"))
    body["General"]["CurrencyCode"] = "GBX"
    said = said_by(body)
    high = said.facts["fifty_two_week_high"]
    assert (high.value, high.currency) == (pytest.approx(2.3347), "GBP")
    assert {"market_cap", "book_value", "earnings_per_share"}.isdisjoint(said.facts)
    assert said.dropped["book_value"] == "'21.2860 GBX or a hundred of them' is not a number"
    assert said.facts["pe_ratio"].value == 18.5922


def reports() -> dict[str, Any]:
    """Make up three years and the days of four reports."""
    filed = {"2021-12-31": "2022-02-11", "2022-12-31": "2022-12-31", "2023-12-31": "2024-02-09"}
    rows = {
        day: {"date": day, "filing_date": when, "currency_symbol": "EUR", "totalRevenue": "7.00",
              "netIncome": None}
        for day, when in filed.items()
    }  # fmt: skip
    told = {"2024-02-09": 1.5, "2023-11-09": None, "2024-05-09": None, "2024-08-08": None}
    return {
        "General": {"Code": "ACME", "CurrencyCode": "USD", "Name": "Acme"},
        "Financials": {"Income_Statement": {"yearly": rows, "quarterly": {}}},
        "Earnings": {"History": {d: {"reportDate": d, "epsActual": e} for d, e in told.items()}},
    }


def test_reports_tell_their_own_currency_and_when_they_were_filed() -> None:
    said = said_by(reports(), "ACME.US", "statements")
    assert [(s.period, s.period_end, s.currency) for s in said.statements] == [
        ("FY", "2023-12-31", "EUR"), ("FY", "2022-12-31", "EUR"), ("FY", "2021-12-31", "EUR"),
    ]  # fmt: skip
    # Nobody files on the last day of the year: that day is no knowledge of anything.
    assert [s.filed_at for s in said.statements] == ["2024-02-09", "", "2022-02-11"]
    known, withheld = as_known(said, date(2023, 6, 30))
    assert [s.period_end for s in known.statements] == ["2021-12-31"]
    assert withheld["statements"] == "1 filed after 2023-06-30, 1 without a date"


def test_the_next_report_is_the_first_behind_all_that_were_told() -> None:
    assert said_by(reports(), "ACME.US").facts["next_earnings"] == Fact("2024-05-09", "text")
    body = reports()
    del body["Earnings"]
    assert "next_earnings" not in said_by(body, "ACME.US").facts


def test_a_request_costs_ten_calls_once_for_any_types() -> None:
    asks = {a.ask for answers in TABLE.types.values() for a in answers}
    assert [ask.cost for ask in asks] == [10]
    vodafone = Instrument("VOD.L", "stock", spellings={"eodhd": "VOD.LSE"})
    assert TABLE.spelled(vodafone) == "VOD.LSE"
