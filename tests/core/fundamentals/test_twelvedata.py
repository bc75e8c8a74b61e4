"""Twelve Data's fundamentals: recorded answers; the others are made up."""

from __future__ import annotations

from typing import Any

import pytest

from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.market.fundamentals import Fact, Snapshot
from src.data.core.vendors.fundamentals_request import VendorAnswers, read
from src.data.core.vendors.twelvedata.fundamentals import TABLE
from src.data.errors import CapabilityError, ResponseFormatError
from tests.core.fundamentals.test_reading import NOW, recorded
from tests.reference import needs_reference

QUOTE, STATISTICS = (answer.ask for answer in TABLE.types["profile"])


def said_by(bodies: dict[Any, Any], symbol: str, data_type: str = "profile") -> Snapshot:
    """Read answers to these requests."""
    return read(TABLE, VendorAnswers(symbol, symbol, data_type, NOW, bodies))


@needs_reference
def test_a_quote_of_every_plan() -> None:
    said = said_by({QUOTE: recorded("twelvedata", "quote-IBM")}, "IBM")
    assert said.names_symbol
    assert said.facts["current_price"] == Fact(146.84, "price", "USD")
    assert said.facts["avg_volume"] == Fact(3733229, "shares")
    assert said.facts["fifty_two_week_high"] == Fact(152.84, "price", "USD")
    assert said.facts["company_name"].value == "International Business Machines Corp"
    assert "market_cap" not in said.facts


@needs_reference
def test_statistics_of_receipts_of_a_foreign_company() -> None:
    said = said_by({STATISTICS: recorded("twelvedata", "statistics-TSM")}, "TSM", "ratios")
    assert said.facts["market_cap"] == Fact(953495257088, "money", "USD")
    # It reports in Taiwan dollars, which is not told: never as the dollars of the listing.
    assert said.facts["revenue"] == Fact(2161735800000, "money", "", "TTM", "2024-09-30")
    assert said.facts["book_value"] == Fact(153.888, "price", "", "Q", "2024-09-30")
    assert said.facts["debt_to_equity"].value == pytest.approx(0.24081)  # sent as percent
    assert said.facts["dividend_yield"].value == pytest.approx(0.0135, abs=1e-4)
    assert said.facts["dividend_per_share"] == Fact(2.463356, "price", "USD")
    assert said.facts["institutional_pct"].value == pytest.approx(0.1642)
    assert said.facts["profit_margin"].value == pytest.approx(0.39123002)
    mixed = {"price_to_sales", "price_to_book", "enterprise_value", "float_shares", "peg_ratio",
             "enterprise_value_to_ebitda", "total_cash"}  # fmt: skip
    assert mixed.isdisjoint(said.facts)
    assert said.blocks["statistics"]["stock_price_summary"]["beta"] == 1.232


@needs_reference
def test_statistics_about_somebody_else_are_refused() -> None:
    with pytest.raises(ResponseFormatError, match="answered for 'TSM' instead of AAPL"):
        said_by({STATISTICS: recorded("twelvedata", "statistics-TSM")}, "AAPL", "ratios")


def test_a_listing_is_named_by_more_than_its_symbol() -> None:
    assert TABLE.naming is not None
    siemens = Instrument("SIE.DE", "stock", "XETR")
    assert TABLE.naming(siemens) == {"symbol": "SIE", "mic_code": "XETR"}
    assert TABLE.spelled(siemens) == "SIE"
    assert TABLE.spelled(Instrument("BRK-B", "stock", "XNYS")) == "BRK.B"
    with pytest.raises(CapabilityError, match=r"listings with \.AX"):
        TABLE.spelled(Instrument("BHP.AX", "stock", "XASX"))
