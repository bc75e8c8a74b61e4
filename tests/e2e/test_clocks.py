"""Tests two clocks, time zones, weekends and half days: when bars are closed, final and due."""

from __future__ import annotations

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataWarning
from tests.vendor_server import Fault, VendorServer

from .oracle import assert_true, ms
from .scripted_vendor import provenance, states

TODAY = "2024-06-12"


def hits(manager: DataManager, vendors: VendorServer, *request: str) -> bool:
    """Return whether a request sends no request to a vendor."""
    before = vendors.count()
    manager.get_ohlcv(*request)
    return vendors.count() == before


@pytest.mark.parametrize("skew", [3600, None])
def test_a_vendors_clock_ahead_or_absent_closes_no_bar_early(
    manager: DataManager, vendors: VendorServer, skew: float | None
) -> None:
    vendors.skew_date(skew)
    frame = manager.get_ohlcv("BTCUSDT", "1h", TODAY, strict=True)
    assert str(frame.index[-1]) == "2024-06-12 14:00:00"
    assert provenance(frame)["spans"][-1]["state"] == "provisional"


def test_a_bar_still_forming_by_a_vendors_slow_clock_is_not_stored(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.skew_date(-3600)
    with pytest.warns(IncompleteDataWarning, match="not published yet"):
        manager.get_ohlcv("BTCUSDT", "1h", TODAY)
    vendors.skew_date(0)
    frame = manager.get_ohlcv("BTCUSDT", "1h", TODAY, strict=True)
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", TODAY, "2024-06-12T15:00:00")


@pytest.mark.parametrize("refresh", [False, True])
def test_the_forming_bar_is_returned_on_request_and_never_stored(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, refresh: bool
) -> None:
    asked = manager.get_ohlcv("BTCUSDT", "1h", TODAY, force_refresh=refresh, include_forming=True)
    running = asked["close"].iloc[-1]
    assert str(asked.index[-1]) == "2024-06-12 15:00:00"
    assert "15:00" not in str(manager.get_ohlcv("BTCUSDT", "1h", TODAY, offline=True).index[-1])
    clock.set(ms("2024-06-12T16:10:00"))
    frame = manager.get_ohlcv("BTCUSDT", "1h", TODAY)
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", TODAY, "2024-06-12T16:00:00")
    assert frame["close"].iloc[-1] != running


def test_a_range_within_the_forming_bar_is_empty_unless_include_forming(
    manager: DataManager, vendors: VendorServer
) -> None:
    first = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-12T15:00:00", strict=True)
    assert first.empty
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-12T15:00:00", include_forming=True)
    assert len(frame) == 1
    assert provenance(frame)["spans"][0]["reason"] == "forming"
    assert provenance(frame)["from_cache"] == 0.0


def test_a_forming_bar_right_after_the_end_of_the_range_is_not_fetched(
    manager: DataManager, vendors: VendorServer
) -> None:
    question = ("BTCUSDT", "1h", "2024-06-12T10:00:00", "2024-06-12T14:59:59.999")
    plain = manager.get_ohlcv(*question)
    vendors.clear_log()
    assert len(manager.get_ohlcv(*question, include_forming=True)) == len(plain) == 5
    assert vendors.count() == 0


def test_an_impossible_forming_bar_does_not_mark_the_bar_once_closed(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    clock.set(ms("2024-06-12T15:30:00"))
    vendors.fault("binance", Fault.bad_ohlc(-1), times=1)
    manager.get_ohlcv("BTCUSDT", "1h", TODAY, include_forming=True)
    clock.set(ms("2024-06-12T16:05:00"))
    frame = manager.get_ohlcv("BTCUSDT", "1h", TODAY, strict=True)
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", TODAY, "2024-06-12T16:00:00")


def test_a_provisional_bar_before_a_later_fetch_is_refetched_by_a_wider_request(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    clock.set(ms("2024-06-07T22:00:00"))
    vendors.revise("AAPL", "1d", ms("2024-06-07"), 1.01, ms("2024-06-08"))
    manager.get_ohlcv("AAPL", "1d", "2024-06-07")
    clock.set(ms("2024-06-10T22:00:00"))
    manager.get_ohlcv("AAPL", "1d", "2024-06-10")  # is up to now, and knows nothing of Friday
    frame = manager.get_ohlcv("AAPL", "1d", "2024-06-07")
    assert_true(frame, vendors, clock, "AAPL", "1d", "2024-06-07", "2024-06-11", "split")
    assert states(frame)["2024-06-07T00:00:00Z"] == "final"


def test_days_of_a_stock_are_fetched_once_over_a_weekend(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    clock.set(ms("2024-06-07T22:00:00"))  # Friday, after the close
    request = ("AAPL", "1d", "2024-05-01")
    manager.get_ohlcv(*request)
    for moment in ("2024-06-08T12:00:00", "2024-06-09T23:59:00", "2024-06-10T13:29:59"):
        clock.set(ms(moment))
        assert hits(manager, vendors, *request), moment
    clock.set(ms("2024-06-10T13:30:01"))  # Monday opens: Friday's bar has settled
    assert not hits(manager, vendors, *request)
    assert hits(manager, vendors, *request)
    clock.set(ms("2024-06-10T20:00:01"))
    frame = manager.get_ohlcv(*request)
    assert_true(frame, vendors, clock, "AAPL", "1d", "2024-05-01", "2024-06-11", "split")


def test_bars_before_a_holiday_weekend_are_not_final_before_the_next_open(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    clock.set(ms("2024-05-24T22:00:00"))  # Memorial Day follows on Monday
    manager.get_ohlcv("AAPL", "1d", "2024-05-20")
    clock.set(ms("2024-05-27T18:00:00"))
    assert hits(manager, vendors, "AAPL", "1d", "2024-05-20")
    clock.set(ms("2024-05-28T13:31:00"))
    frame = manager.get_ohlcv("AAPL", "1d", "2024-05-20")
    assert set(states(frame).values()) == {"final"}


@pytest.mark.parametrize(
    ("friday", "before_open", "after_first_hour"),
    [
        ("2024-03-08T22:00:00", "2024-03-11T13:29:59", "2024-03-11T14:33:00"),  # to summer time
        ("2024-11-01T22:00:00", "2024-11-04T14:29:59", "2024-11-04T15:33:00"),  # and back
    ],
)
def test_hours_of_a_stock_settle_on_time_after_a_daylight_saving_change(
    manager: DataManager, vendors: VendorServer, clock: ManualClock,
    friday: str, before_open: str, after_first_hour: str,
) -> None:  # fmt: skip
    clock.set(ms(friday))
    day = friday[:10]
    manager.get_ohlcv("AAPL", "1h", day)
    clock.set(ms(before_open))
    assert hits(manager, vendors, "AAPL", "1h", day)
    clock.set(ms(after_first_hour))
    frame = manager.get_ohlcv("AAPL", "1h", day)
    assert len(frame) == 8
    assert_true(frame, vendors, clock, "AAPL", "1h", day, after_first_hour, "split")


def test_a_half_day_ends_early_without_a_hole(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    clock.set(ms("2024-07-03T17:05:00"))  # New York closes at 13:00, 17:00 UTC
    frame = manager.get_ohlcv("AAPL", "1h", "2024-07-03", strict=True)
    assert [t.strftime("%H:%M") for t in frame.index] == ["13:30", "14:30", "15:30", "16:30"]
    clock.set(ms("2024-07-05T13:00:00"))
    assert hits(manager, vendors, "AAPL", "1h", "2024-07-03")
    daily = manager.get_ohlcv("AAPL", "1d", "2024-07-02", "2024-07-05", strict=True)
    assert [d.day for d in daily.index] == [2, 3]


@pytest.mark.parametrize(
    ("symbol", "adjustment", "moment", "settled"),
    [
        ("AAPL", "split", "2024-06-14T20:05:00", "2024-06-17T13:31:00"),
        ("BTCUSDT", "raw", "2024-06-17T00:00:30", "2024-06-17T00:02:30"),
    ],
)
def test_a_week_becomes_provisional_and_then_final(
    manager: DataManager, vendors: VendorServer, clock: ManualClock,
    symbol: str, adjustment: str, moment: str, settled: str,
) -> None:  # fmt: skip
    manager.get_ohlcv(symbol, "1w", "2024-05-06")
    clock.set(ms(moment))
    frame = manager.get_ohlcv(symbol, "1w", "2024-05-06")
    assert str(frame.index[-1].date()) == "2024-06-10"
    assert provenance(frame)["spans"][-1]["state"] == "provisional"
    clock.set(ms(settled))
    frame = manager.get_ohlcv(symbol, "1w", "2024-05-06")
    assert set(states(frame).values()) == {"final"}
    assert_true(frame, vendors, clock, symbol, "1w", "2024-05-06", "2024-06-17", adjustment)


def test_a_range_from_the_last_bar_to_the_future_is_a_hit_the_second_time(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-12T14:00:00", "2025-01-01", strict=True)
    assert list(frame.index) == [pd.Timestamp("2024-06-12 14:00")]
    clock.set(ms("2024-06-12T15:05:00"))
    again = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-12T14:00:00", "2025-01-01", strict=True)
    assert hits(manager, vendors, "BTCUSDT", "1h", "2024-06-12T14:00:00", "2025-01-01")
    pd.testing.assert_frame_equal(frame, again)


def test_a_settled_bar_is_refetched_whole_even_if_the_range_ends_inside_the_bar(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    manager.get_ohlcv("BTCUSDT", "1h", TODAY)
    clock.set(ms("2024-06-12T15:10:00"))
    assert not hits(manager, vendors, "BTCUSDT", "1h", TODAY, "2024-06-12T14:30:00")
    assert hits(manager, vendors, "BTCUSDT", "1h", TODAY, "2024-06-12T14:59:00")


def test_a_revision_as_small_as_4e_7_replaces_the_stored_bar(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    stamp = ms("2024-06-12T14:00:00")
    vendors.revise("BTCUSDT", "1h", stamp, 1 + 4e-7, ms("2024-06-12T15:02:00"))
    first = manager.get_ohlcv("BTCUSDT", "1h", TODAY)
    clock.set(ms("2024-06-12T15:03:00"))
    second = manager.get_ohlcv("BTCUSDT", "1h", TODAY)
    assert first["close"].iloc[-1] != second["close"].iloc[-1]
    assert_true(second, vendors, clock, "BTCUSDT", "1h", TODAY, "2024-06-12T15:00:00")


def test_a_provisional_bar_that_the_vendor_drops_is_kept_as_suspect_and_refetched_daily(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    first = manager.get_ohlcv("BTCUSDT", "1h", TODAY)
    clock.set(ms("2024-06-12T15:10:00"))
    vendors.fault("binance", Fault.empty())
    frame = manager.get_ohlcv("BTCUSDT", "1h", TODAY, "2024-06-12T14:30:00")
    pd.testing.assert_frame_equal(first, frame)
    assert states(frame)["2024-06-12T14:00:00Z"] == "suspect"
    assert hits(manager, vendors, "BTCUSDT", "1h", TODAY, "2024-06-12T14:30:00")
    vendors.heal()
    clock.set(ms("2024-06-13T15:20:00"))
    frame = manager.get_ohlcv("BTCUSDT", "1h", TODAY, "2024-06-12T14:30:00")
    assert set(states(frame).values()) == {"final"}
