"""Finnhub's fundamentals, as recorded in 2026; made-up values are marked as such."""

from __future__ import annotations

from typing import Any

import pytest

from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.market.fundamentals import Fact, Snapshot
from src.data.core.vendors.finnhub.fundamentals import TABLE
from src.data.errors import SymbolNotFoundError
from tests.core.fundamentals.conftest import answered
from tests.core.fundamentals.test_reading import recorded
from tests.reference import needs_reference


def profile(**changes: Any) -> Snapshot:
    """Read a made-up profile of a company from abroad."""
    row = {"ticker": "ASML", "country": "NL", "currency": "EUR", "marketCapitalization": 350_000.0,
           "shareOutstanding": 390.0}  # fmt: skip
    return answered(TABLE, {"profile2": row | changes}, symbol="ASML")


@needs_reference
def test_millions_are_made_whole_and_percent_fractions() -> None:
    said = answered(
        TABLE,
        {"profile2": recorded("finnhub", "profile2-AAPL"),
         "metric": recorded("finnhub", "metric-AAPL-all")},
    )  # fmt: skip
    facts = said.facts
    assert said.names_symbol
    assert facts["market_cap"] == Fact(4535749.272209372 * 1e6, "money", "USD")
    assert facts["shares_outstanding"] == Fact(14_687_360_000.0, "shares")
    # Both in the same millions: the one over the other is the price.
    price = float(facts["market_cap"].value) / float(facts["shares_outstanding"].value)
    assert price == pytest.approx(308.82, rel=1e-3)  # the recorded quote of that day
    assert facts["avg_volume"].value == pytest.approx(47_061_800)
    assert facts["enterprise_value"] == Fact(4574888.5e6, "money")
    assert facts["profit_margin"] == Fact(pytest.approx(0.2715), "fraction", "", "TTM")
    assert facts["return_on_equity"].value == pytest.approx(1.4669)
    assert facts["dividend_yield"].value == pytest.approx(0.003428)
    assert facts["revenue_growth"] == Fact(pytest.approx(0.166), "fraction", "", "Q")
    assert facts["debt_to_equity"] == Fact(0.7955, "ratio")
    assert facts["pe_ratio"] == Fact(37.0039, "ratio", "", "TTM")
    assert facts["fifty_two_week_high"] == Fact(311.4, "price", "USD")
    assert facts["earnings_per_share"] == Fact(8.2666, "price", "", "TTM")
    assert said.blocks["profile2"]["marketCapitalization"] == 4535749.272209372
    assert said.blocks["metric"]["52WeekHighDate"] == "2026-05-22"


@needs_reference
def test_a_request_for_ratios_gives_no_market_cap() -> None:
    said = answered(TABLE, {"metric": recorded("finnhub", "metric-AAPL-all")}, "ratios")
    assert said.names_symbol
    assert said.facts["price_to_book"].value == 42.5928
    assert "market_cap" not in said.facts


def test_the_currency_of_a_company_from_abroad_is_not_guessed() -> None:
    assert profile().facts["market_cap"] == Fact(350_000.0e6, "money")
    assert profile(country="US").facts["market_cap"] == Fact(350_000.0e6, "money", "EUR")
    assert "market_cap" not in profile(marketCapitalization=0).facts


def test_classes_of_shares_have_a_dot() -> None:
    assert TABLE.spelled(Instrument("BRK-B", "stock")) == "BRK.B"


def test_an_empty_profile_is_an_unknown_symbol() -> None:
    with pytest.raises(SymbolNotFoundError, match="finnhub has no profile for AAPL"):
        answered(TABLE, {"profile2": {}})
