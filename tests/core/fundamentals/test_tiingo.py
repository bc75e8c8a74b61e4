"""Tiingo's fundamentals for Alphabet, as recorded in 2021; made-up values are marked as such."""

from __future__ import annotations

import pytest

from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.market.fundamentals import Fact
from src.data.core.vendors.tiingo.fundamentals import TABLE
from tests.core.fundamentals.conftest import answered
from tests.core.fundamentals.test_reading import recorded
from tests.reference import needs_reference

META = {"ticker": "GOOGL", "name": "Alphabet Inc - Class A", "exchangeCode": "NASDAQ"}  # made up


@needs_reference
def test_of_its_days_the_newest_counts() -> None:
    days = recorded("tiingo", "fundamentals-daily")
    said = answered(
        TABLE,
        {"tiingo/daily/": recorded("tiingo", "metadata-GOOGL"), "}/daily": days[::-1]},
        symbol="GOOGL",
    )
    newest = max(days, key=lambda day: day["date"])
    assert said.facts["market_cap"] == Fact(newest["marketCap"], "money", "USD")
    assert said.facts["pe_ratio"] == Fact(23.4554255748, "ratio", "", "TTM")
    assert said.facts["price_to_book"] == Fact(3.9815496679, "ratio")
    assert said.facts["company_name"].value == 'Alphabet Inc.("Google") - Class A'
    assert said.names_symbol
    assert said.blocks["daily"] == newest


def test_a_key_that_may_not_ask_for_days_still_tells_the_name() -> None:
    said = answered(TABLE, {"tiingo/daily/": META}, symbol="GOOGL")
    assert said.facts["exchange"].value == "NASDAQ"
    assert "market_cap" not in said.facts


@needs_reference
def test_ratios_are_fractions_and_each_tells_its_period() -> None:
    reports = recorded("tiingo", "fundamentals-statements")
    said = answered(
        TABLE, {"tiingo/daily/": META, "}/daily": [], "/statements": reports}, "ratios", "GOOGL"
    )
    facts = said.facts
    assert facts["gross_margin"] == Fact(
        pytest.approx(22177 / 41159), "fraction", "", "Q1", "2020-03-31"
    )
    assert facts["revenue_growth"].value == pytest.approx(0.1326, abs=1e-4)
    assert facts["book_value"] == Fact(
        pytest.approx(203659e6 / 687286090), "price", "", "Q1", "2020-03-31"
    )
    # The report of a year, of the same day as its last quarter's, tells no ratios.
    older = answered(
        TABLE, {"tiingo/daily/": META, "/statements": reports[:0:-1]}, "ratios", "GOOGL"
    )
    assert older.facts["gross_margin"].period == "Q4"
    # A return of a year, not of the quarter: a quarter's income would be a fifth of it.
    year = next(r for r in reports if r["quarter"] == 0)["statementData"]["incomeStatement"]
    income = next(one["value"] for one in year if one["dataCode"] == "netinc")
    assert float(facts["return_on_equity"].value) * 203659e6 == pytest.approx(income, rel=0.1)
    assert facts["return_on_equity"].period == "TTM"
    # What it calls the profit margin is the gross margin.
    assert "profit_margin" not in facts


@needs_reference
def test_reports_of_years_and_quarters() -> None:
    said = answered(
        TABLE,
        {"tiingo/daily/": META, "/statements": recorded("tiingo", "fundamentals-statements")},
        "statements", "GOOGL",
    )  # fmt: skip
    income = [s for s in said.statements if s.kind == "income"]
    assert {(s.period, s.period_end) for s in income} == {
        ("Q1", "2020-03-31"), ("Q4", "2019-12-31"), ("FY", "2019-12-31")
    }  # fmt: skip
    by_period = {s.period: s.values for s in income}
    assert by_period["Q4"]["revenue"] == 46.075e9
    assert by_period["FY"]["revenue"] == pytest.approx(161.857e9)  # as in the report of the year
    # Neither the currency nor the day of filing is told.
    assert {(s.currency, s.filed_at) for s in said.statements} == {("", "")}
    first = next(s for s in said.statements if s.kind == "cash_flow")
    assert first.values["free_cash_flow"] == pytest.approx(
        first.values["operating_cashflow"] + first.values["capital_expenditure"]
    )


def test_classes_of_shares_are_spelled_as_for_bars() -> None:
    assert TABLE.spelled(Instrument("BAC-PK", "stock")) == "BAC-P-K"
