"""One company, three vendors: the example of the documentation. All numbers are made up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from src.data.data_manager import DataManager
from tests.core.fundamentals.conftest import (
    KEY,
    Vendors,
    asking,
    fmp_profile,
    yahoo_chart,
    yahoo_series,
)

FINNHUB = {
    "/api/v1/stock/profile2": {
        "ticker": "AAPL", "name": "Apple Inc", "country": "US", "currency": "USD",
        "marketCapitalization": 3_020_000.0, "shareOutstanding": 15_300.0,
        "finnhubIndustry": "Technology",
    },
    "/api/v1/stock/metric": {
        "symbol": "AAPL",
        "metric": {
            "peTTM": 37.0, "beta": 1.08, "currentDividendYieldTTM": 0.51, "52WeekHigh": 220.2,
            "netProfitMarginTTM": 26.4, "3MonthAverageTradingVolume": 49.1,
        },
    },
}  # fmt: skip
TRAILING: dict[str, float | None] = {
    "trailingMarketCap": 3.01e12, "trailingPeRatio": 31.2, "trailingPbRatio": 41.0,
    "trailingTotalRevenue": 385.6e9, "trailingNetIncome": 100.4e9, "trailingPegRatio": None,
}  # fmt: skip


@pytest.fixture
def record(
    vendors: Vendors, say: Callable[[dict[str, Any]], None], manager: DataManager,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, Any]:  # fmt: skip
    """Return what is told of Apple by three vendors, one of which needs no key."""
    monkeypatch.setenv("FINNHUB_API_KEY", KEY)
    say(asking("fmp", "yahoo", "finnhub"))
    chart = yahoo_chart("AAPL", regularMarketPrice=200.5, fiftyTwoWeekHigh=220.2)
    vendors.bodies |= FINNHUB | chart | yahoo_series("AAPL", TRAILING)
    vendors.bodies["/stable/profile"] = fmp_profile()
    return manager.get_fundamentals("AAPL")


def test_a_record_has_its_symbol_even_if_no_vendor_sent_it(
    vendors: Vendors, say: Callable[[dict[str, Any]], None], manager: DataManager
) -> None:
    say(asking("yahoo"))
    vendors.bodies |= yahoo_series("AAPL", TRAILING)
    record = manager.get_fundamentals("AAPL", data_type="ratios")
    assert (record["symbol"], record["ticker"], record["pe_ratio"]) == ("AAPL", "AAPL", 31.2)


def test_one_record_of_three(record: dict[str, Any]) -> None:
    told = record["_metadata"]
    assert told["providers_asked"] == told["providers_used"] == ["fmp", "yahoo", "finnhub"]
    assert told["providers_failed"] == {}
    assert told["missing"] == []
    shown = {
        "company_name": ("Apple Inc.", "fmp"),
        "market_cap": (3.0e12, "fmp"),
        "pe_ratio": (31.2, "yahoo"),
        "price_to_book": (41.0, "yahoo"),
        "fifty_two_week_high": (220.2, "yahoo"),
        "revenue": (380.0e9, "fmp"),
        "dividend_yield": (0.0051, "finnhub"),
        "profit_margin": (0.264, "finnhub"),
        "shares_outstanding": (15.3e9, "finnhub"),
    }
    for name, (value, source) in shown.items():
        assert record[name] == (pytest.approx(value) if isinstance(value, float) else value), name
        assert told["field_sources"][name] == source, name
    assert told["fields"]["revenue"] == {
        "unit": "money", "currency": "USD", "period": "FY", "period_end": "2023-09-30",
        "filed_at": "2023-11-03", "source": "fmp", "fetched_at": "2024-06-12T15:00:30Z",
    }  # fmt: skip


def test_a_differing_value_of_one_vendor_is_listed_as_conflict(record: dict[str, Any]) -> None:
    """Capitalisations within a tenth agree, and years of reports are no rivals of twelve months."""
    assert record["_metadata"]["conflicts"] == [
        {"field": "pe_ratio", "vendor": "finnhub", "value": 37.0, "currency": "", "unit": "ratio",
         "why": "differs by 16%", "chosen": 31.2, "chosen_vendor": "yahoo", "chosen_currency": ""}
    ]  # fmt: skip


def test_the_blocks_of_all_three_stand_side_by_side(record: dict[str, Any]) -> None:
    assert record["profile"]["marketCap"] == 3.0e12
    assert record["chart"]["regularMarketPrice"] == 200.5
    assert record["valuation"]["PeRatio"] == 31.2
    assert record["profile2"]["marketCapitalization"] == 3_020_000.0
    assert record["metric"]["currentDividendYieldTTM"] == 0.51
