"""Yahoo's fundamentals, as recorded in 2025; made-up values are marked as such."""

from __future__ import annotations

from typing import Any

import pytest

from src.data.core.model.market.fundamentals import Fact, Snapshot
from src.data.core.vendors.yahoo.fundamentals import TABLE
from src.data.errors import ResponseFormatError
from tests.core.fundamentals.conftest import answered, yahoo_chart, yahoo_series
from tests.core.fundamentals.test_reading import recorded
from tests.reference import needs_reference


def series(values: dict[str, float | None], data_type: str = "ratios", **more: str) -> Snapshot:
    """Read made-up points, one a type."""
    [body] = yahoo_series("AAPL", values, **more).values()
    return answered(TABLE, {"timeseries": body}, data_type)


def point(raw: float, day: str = "2024-03-31", currency: str = "USD") -> dict[str, Any]:
    return {"asOfDate": day, "currencyCode": currency, "reportedValue": {"raw": raw}}


def joined(**types: list[dict[str, Any] | None]) -> dict[str, Any]:
    """Make up a body of series of several points."""
    result = [{"meta": {"symbol": ["AAPL"], "type": [n]}, n: rows} for n, rows in types.items()]
    return {"timeseries": {"result": result, "error": None}}


@needs_reference
def test_prices_in_pence_are_pounds() -> None:
    chart = recorded("yahoo", "chart-OCDO.L-1d-2020-01-pence")
    said = answered(TABLE, {"chart": chart}, symbol="OCDO.L")
    assert said.names_symbol
    assert said.facts["current_price"] == Fact(pytest.approx(3.053), "price", "GBP")
    assert said.facts["fifty_two_week_high"] == Fact(pytest.approx(5.41346), "price", "GBP")
    assert said.facts["currency"].value == "GBP"
    assert said.facts["company_name"].value == "Ocado Group plc"
    assert said.facts["volume"] == Fact(145121, "shares")
    assert said.blocks["chart"]["regularMarketPrice"] == 305.3  # as sent


@needs_reference
def test_recorded_annual_reports_become_statements() -> None:
    body = recorded("yahoo", "fundamentalsTimeSeries-AAPL-financials-annual")
    said = answered(TABLE, {"timeseries": body}, "statements")
    assert said.names_symbol
    assert [(s.kind, s.period, s.period_end, s.currency) for s in said.statements] == [
        ("income", "FY", f"{year}-09-30", "USD") for year in (2024, 2023, 2022)
    ]
    newest = said.statements[0].values
    assert newest["revenue"] == 391_035_000_000
    assert newest["net_income"] == 93_736_000_000
    assert newest["earnings_per_share"] == 6.11
    assert {s.filed_at for s in said.statements} == {""}


def test_current_and_twelve_month_values_keep_their_period() -> None:
    said = series({"trailingMarketCap": 3.0e12, "trailingPeRatio": 31.2, "trailingForwardPeRatio": 28.0,
                   "trailingTotalRevenue": 385.0e9, "trailingDilutedEPS": 6.4})  # fmt: skip
    assert said.facts == {
        "market_cap": Fact(3.0e12, "money", "USD"),
        "pe_ratio": Fact(31.2, "ratio", "", "TTM"),
        "forward_pe": Fact(28.0, "ratio"),
        "revenue": Fact(385.0e9, "money", "USD", "TTM", "2024-03-31"),
        "diluted_earnings_per_share": Fact(6.4, "price", "USD", "TTM", "2024-03-31"),
    }
    assert said.blocks["trailing"]["TotalRevenue"] == 385.0e9


def test_of_a_series_the_newest_point_counts() -> None:
    body = joined(
        trailingTotalRevenue=[point(2.0, "2024-03-31"), None, point(1.0, "2023-12-31")],
        trailingNetIncome=[point(0.5, "2023-12-31")],
    )
    facts = answered(TABLE, {"timeseries": body}, "ratios").facts
    # Of one day alone: an income of another year would make a margin of nothing.
    assert facts == {"revenue": Fact(2.0, "money", "USD", "TTM", "2024-03-31")}


def test_years_and_quarters_lie_apart() -> None:
    body = joined(
        annualTotalAssets=[point(9.0)], quarterlyTotalAssets=[point(8.0)],
        quarterlyOperatingCashFlow=[point(7.0)],
    )  # fmt: skip
    said = answered(TABLE, {"timeseries": body}, "statements")
    assert {(s.kind, s.period, *s.values.items()) for s in said.statements} == {
        ("balance", "FY", ("total_assets", 9.0)), ("balance", "Q", ("total_assets", 8.0)),
        ("cash_flow", "Q", ("operating_cashflow", 7.0)),
    }  # fmt: skip


def test_values_in_several_currencies_tell_none() -> None:
    body = joined(annualTotalRevenue=[point(9.0)], annualNetIncome=[point(1.0, currency="EUR")])
    [only] = answered(TABLE, {"timeseries": body}, "statements").statements
    assert only.currency == ""


def test_another_companys_series_are_refused() -> None:
    [body] = yahoo_series("MSFT", {"trailingMarketCap": 1.0}).values()
    with pytest.raises(ResponseFormatError, match="yahoo answered for 'MSFT'"):
        answered(TABLE, {"timeseries": body}, "ratios")


def test_a_chart_is_enough() -> None:
    [chart] = yahoo_chart().values()
    [empty] = yahoo_series("AAPL", {"trailingMarketCap": None}).values()
    said = answered(TABLE, {"chart": chart, "timeseries": empty})
    assert said.facts["current_price"].value == 200.0
    assert "market_cap" not in said.facts
