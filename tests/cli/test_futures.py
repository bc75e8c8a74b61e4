from __future__ import annotations

import pytest

from tests.cli.conftest import Run
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.binance_futures import funding_rate


def test_funding_rates_are_shown_as_table_and_json(run: Run, vendors: VendorServer) -> None:
    shown = run("futures", "BTCUSDT", "--start", "2024-06-01", "--end", "2024-06-02")
    assert shown.code == 0
    assert "BTCUSDT funding rate" in shown.out and "6 rows" in shown.out
    assert "2024-06-01 08:00" in shown.out and "fundingRate" in shown.out
    asked = vendors.count()
    told = run("futures", "BTCUSDT", "--start", "2024-06-01", "--end", "2024-06-02", "--json").json
    assert vendors.count() == asked
    assert told["provenance"]["from_cache"] == 1.0
    first = told["rows"][0]
    assert first == {
        "timestamp": "2024-06-01T00:00:00Z",
        "fundingRate": funding_rate(1717200000000),
    }


@pytest.mark.parametrize(
    "what, column", [("open-interest", "sumOpenInterest"), ("long-short", "longShortRatio")]
)
def test_statistics_of_the_last_month(run: Run, what: str, column: str) -> None:
    told = run("futures", "ETHUSDT", "4h", "--what", what, "--json").json
    assert 29 * 6 - 1 <= len(told["rows"]) <= 29 * 6 + 1
    assert column in told["rows"][0]


def test_missing_figures_are_reported(run: Run, vendors: VendorServer) -> None:
    lacking = run("futures", "BTCUSDT", "1h", "--what", "long-short", "--start", "2024-05-01")
    assert lacking.code == 1
    assert "only for the last 30 days" in lacking.err
    vendors.fault("binance", Fault.status(503))
    failed = run("futures", "BTCUSDT", "--start", "2024-01-01", "--end", "2024-01-02")
    assert failed.code == 1 and "All providers failed" in failed.err
    assert run("futures", "AAPL").code == 2


def test_the_error_of_an_unserved_period_lists_the_served_ones(run: Run) -> None:
    failed = run("futures", "BTCUSDT", "7m", "--what", "open-interest")
    assert failed.code == 1
    assert "binance has open interest every 5m 15m" in failed.err
