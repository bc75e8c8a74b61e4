"""Weekly and monthly bars: closed with their last session, absent while they run."""

from __future__ import annotations

import pytest

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from tests.vendor_server import VendorServer

from .oracle import assert_true, ms


@pytest.mark.parametrize(
    ("symbol", "timeframe", "adjustment"),
    [
        ("AAPL", "1w", "split"),
        ("AAPL", "1M", "split"),
        ("BTCUSDT", "1w", "raw"),
        ("BTCUSDT", "1M", "raw"),
    ],
)
def test_the_forming_week_and_month_are_absent(
    manager: DataManager, vendors: VendorServer, clock: ManualClock,
    symbol: str, timeframe: str, adjustment: str,
) -> None:  # fmt: skip
    frame = manager.get_ohlcv(symbol, timeframe, "2024-01-01")
    end = "2024-06-10" if timeframe == "1w" else "2024-06-01"
    assert_true(frame, vendors, clock, symbol, timeframe, "2024-01-01", end, adjustment)


@pytest.mark.parametrize(
    ("timeframe", "evening", "end"),
    [("1w", "2024-06-14T22:00:00", "2024-06-15"), ("1M", "2024-05-31T22:00:00", "2024-06-01")],
)
def test_the_week_and_month_are_complete_after_their_last_session(
    manager: DataManager,
    vendors: VendorServer,
    clock: ManualClock,
    timeframe: str,
    evening: str,
    end: str,
) -> None:
    clock.set(ms(evening))
    frame = manager.get_ohlcv("AAPL", timeframe, "2024-01-01")
    assert_true(frame, vendors, clock, "AAPL", timeframe, "2024-01-01", end, "split")


def test_a_request_for_months_without_bounds_returns_all_months_of_a_pair(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.truth.change("BTCUSDT", listed="2024-01-01")
    months = manager.get_ohlcv("BTCUSDT", "1M")
    assert 1 < len(months) < 500
