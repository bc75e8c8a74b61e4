"""Tests that exactly the missing bars are requested, and that the answer is correct."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError, IncompleteDataError, IncompleteDataWarning
from tests.vendor_server import Fault, VendorServer

from .oracle import assert_true, ms
from .scripted_vendor import ScriptedVendor, beside

DAY = (datetime(2024, 6, 1), datetime(2024, 6, 1, 23))


def test_the_first_call_sends_one_request_and_the_second_none(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, tmp_path: Path
) -> None:
    first = manager.get_ohlcv("BTCUSDT", "1h", *DAY)
    assert vendors.count("binance") == 1
    assert_true(first, vendors, clock, "BTCUSDT", "1h", "2024-06-01", "2024-06-02")
    second = manager.get_ohlcv("BTCUSDT", "1h", *DAY)
    assert vendors.count("binance") == 1
    pd.testing.assert_frame_equal(first, second)
    lane = tmp_path / "cache" / "ohlcv" / "BTCUSDT" / "1h"
    assert (lane / "2024.csv.gz").is_file()
    assert (lane / "2024.metadata.json").is_file()


def test_the_metadata_name_the_vendor_for_other_tools(manager: DataManager) -> None:
    manager.get_ohlcv("BTCUSDT", "1h", *DAY)
    info = manager.cache.get_data_info("BTCUSDT", "1h", 2024)
    assert info is not None
    assert info["provider_info"] == {
        "name": "binance", "reliability": 1.0, "rate_limit": "1200/minute",
    }  # fmt: skip


def test_bars_stored_by_one_process_are_read_by_the_next(
    make: Callable[[], DataManager], vendors: VendorServer
) -> None:
    first = make().get_ohlcv("BTCUSDT", "1h", *DAY)
    second = make().get_ohlcv("BTCUSDT", "1h", *DAY)
    assert vendors.count() == 1
    pd.testing.assert_frame_equal(first, second)


def test_a_long_range_takes_one_request_a_page(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-03-01", "2024-05-31")
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-03-01", "2024-06-01")
    assert vendors.count("binance") == 3, "2,208 bars are three pages of 1,000"


def test_only_the_hole_between_two_stored_ranges_is_fetched(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-05-03")
    manager.get_ohlcv("BTCUSDT", "1h", "2024-05-06", "2024-05-08")
    vendors.clear_log()
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-05-08")
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-05-01", "2024-05-09")
    (asked,) = vendors.log("binance")
    assert int(asked.params["startTime"]) == ms("2024-05-04")
    assert int(asked.params["endTime"]) < ms("2024-05-06")
    reported = frame.attrs["onetape"]
    assert reported["from_cache"] == pytest.approx(1 - 48 / 192, abs=1e-3)


def test_only_head_and_tail_around_a_stored_range_are_fetched(
    manager: DataManager, vendors: VendorServer
) -> None:
    manager.get_ohlcv("BTCUSDT", "1h", "2024-05-04", "2024-05-05")
    vendors.clear_log()
    manager.get_ohlcv("BTCUSDT", "1h", "2024-05-03", "2024-05-06")
    asked = [(int(r.params["startTime"]), int(r.params["endTime"])) for r in vendors.log("binance")]
    assert [a for a, _ in asked] == [ms("2024-05-03"), ms("2024-05-06")]
    assert all(b < a + 86_400_000 for a, b in asked)


def test_days_of_a_stock_need_no_request_for_weekends_and_holidays(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    frame = manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-01-31")
    assert_true(frame, vendors, clock, "AAPL", "1d", "2024-01-02", "2024-02-01", "split")
    assert len(frame) == 21
    asked = vendors.count("yahoo")
    for start, end in [("2024-01-06", "2024-01-07"), ("2024-01-15", "2024-01-15")]:
        assert manager.get_ohlcv("AAPL", "1d", start, end).empty
    assert vendors.count("yahoo") == asked


def test_hours_of_a_stock_are_counted_from_the_open(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    frame = manager.get_ohlcv("AAPL", "1h", "2024-06-03", "2024-06-05")
    assert_true(frame, vendors, clock, "AAPL", "1h", "2024-06-03", "2024-06-06", "split")
    assert frame.index[0] == pd.Timestamp("2024-06-03 13:30")
    assert len(frame) == 21


def test_a_window_outside_sessions_of_a_new_series_takes_one_request(
    manager: DataManager, vendors: VendorServer
) -> None:
    for _ in range(2):
        assert manager.get_ohlcv("AAPL", "1d", "2024-01-06", "2024-01-07").empty
    assert vendors.count("yahoo") == 1


def test_a_range_before_the_listing_is_requested_once(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside(
        monkeypatch, manager, ScriptedVendor(vendors)
    )  # the word of one vendor proves no listing
    frame = manager.get_ohlcv("NEWUSDT", "1h", "2024-06-01", "2024-06-04")
    assert_true(frame, vendors, clock, "NEWUSDT", "1h", "2024-06-01", "2024-06-05")
    vendors.clear_log()
    again = manager.get_ohlcv("NEWUSDT", "1h", "2024-06-01", "2024-06-04", strict=True)
    assert vendors.count() == 0
    pd.testing.assert_frame_equal(frame, again)
    (gap,) = again.attrs["onetape"]["gaps"]
    assert gap["reason"] == "before the first bar"


def test_an_outage_of_the_venue_is_a_gap_with_its_reason(
    manager: DataManager, vendors: VendorServer
) -> None:
    bounds = ("HALTUSDT", "1h", "2024-03-04", "2024-03-06")
    with pytest.warns(IncompleteDataWarning, match="the vendor has no bar"):
        frame = manager.get_ohlcv(*bounds)
    (gap,) = frame.attrs["onetape"]["gaps"]
    assert (gap["start"], gap["end"]) == ("2024-03-05T02:00:00Z", "2024-03-05T05:00:00Z")
    vendors.clear_log()
    with pytest.raises(IncompleteDataError) as caught:
        manager.get_ohlcv(*bounds, strict=True)
    assert vendors.count() == 0, "the answer of the vendor is used for a while"
    assert caught.value.frame is not None
    pd.testing.assert_frame_equal(caught.value.frame, frame)


def test_cached_bars_are_returned_while_every_vendor_is_down(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    first = manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-05-03")
    vendors.fault("binance", Fault.status(503))
    vendors.fault("yahoo", Fault.status(503))
    pd.testing.assert_frame_equal(
        first, manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-05-03")
    )
    with pytest.warns(IncompleteDataWarning, match="binance"):
        more = manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-05-04")
    pd.testing.assert_frame_equal(first, more)
    reported = more.attrs["onetape"]
    assert not reported["complete"]
    assert "503" in reported["gaps"][0]["reason"]
    vendors.heal()
    healed = manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-05-04", strict=True)
    assert len(healed) == 96


def test_every_vendor_down_without_cached_bars_is_an_error(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.fault("binance", Fault.status(503))
    vendors.fault("yahoo", Fault.lie("html"))
    with pytest.raises(AllProvidersFailedError, match="All providers failed") as caught:
        manager.get_ohlcv("BTCUSDT", "1h", *DAY)
    assert isinstance(caught.value, RuntimeError)
    assert [a.provider for a in caught.value.attempts] == ["binance", "yahoo"]


def test_the_error_of_an_unknown_symbol_begins_with_the_symbol(
    manager: DataManager, vendors: VendorServer
) -> None:
    with pytest.raises(
        AllProvidersFailedError, match=r"^unknown symbol 'ZZZZQ'.*All providers failed"
    ):
        manager.get_ohlcv("ZZZZQ", "1d", "2024-06-03", "2024-06-05")


def test_a_refresh_that_returns_equal_bars_rewrites_no_file(
    manager: DataManager, vendors: VendorServer, tmp_path: Path
) -> None:
    manager.get_ohlcv("BTCUSDT", "1h", *DAY)
    file = tmp_path / "cache" / "ohlcv" / "BTCUSDT" / "1h" / "2024.csv.gz"
    before = (file.read_bytes(), file.stat().st_ino)
    manager.get_ohlcv("BTCUSDT", "1h", *DAY, force_refresh=True)
    assert vendors.count("binance") == 2
    assert (file.read_bytes(), file.stat().st_ino) == before


def test_offline_answers_from_the_cache_or_raises_without_a_request(
    manager: DataManager, vendors: VendorServer
) -> None:
    with pytest.raises(AllProvidersFailedError, match="1h is not cached in this range"):
        manager.get_ohlcv("BTCUSDT", "1h", *DAY, offline=True)
    manager.get_ohlcv("BTCUSDT", "1h", *DAY)
    vendors.clear_log()
    assert len(manager.get_ohlcv("BTCUSDT", "1h", *DAY, offline=True)) == 24
    with pytest.warns(IncompleteDataWarning, match="offline"):
        manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-02", offline=True)
    assert vendors.count() == 0


def test_a_count_of_bars_reaches_back_over_the_weekend(
    manager: DataManager, vendors: VendorServer
) -> None:
    frame = manager.get_ohlcv("AAPL", "1d", bars=5)
    assert [str(d.date()) for d in frame.index] == [
        "2024-06-05", "2024-06-06", "2024-06-07", "2024-06-10", "2024-06-11",
    ]  # fmt: skip
    assert len(manager.get_ohlcv("BTCUSDT", "1h")) == 500
    assert len(manager.get_ohlcv("BTCUSDT", "1h", end_date="2024-06-10", bars=7)) == 7


def test_a_batch_has_every_symbol_and_fails_per_symbol(
    manager: DataManager, vendors: VendorServer
) -> None:
    symbols = ["BTCUSDT", "AAPL", "ZZZZQ", "not a symbol", "BTCUSDT"]
    frames = manager.get_ohlcv_batch(symbols, "1d", "2024-06-03", "2024-06-05")
    assert list(frames) == ["BTCUSDT", "AAPL", "ZZZZQ", "not a symbol"]
    assert [len(f) for f in frames.values()] == [3, 3, 0, 0]
    assert frames["ZZZZQ"].attrs["onetape"]["error"]["type"] == "UnknownSymbolError"
    assert frames["not a symbol"].attrs["onetape"]["error"]["type"] == "BadSymbolError"
    with pytest.raises(ValueError, match="timeframe"):
        manager.get_ohlcv_batch(symbols, "1x", "2024-06-03", "2024-06-05")
    with pytest.raises(ValueError, match="end"):
        manager.get_ohlcv_batch(symbols, "1d", "2024-06-05", "2024-06-03")


def test_changing_a_frame_does_not_change_the_next_answer(manager: DataManager) -> None:
    first = manager.get_ohlcv("BTCUSDT", "1h", *DAY)
    kept = first.copy()
    first.loc[:, "close"] = 0.0
    pd.testing.assert_frame_equal(manager.get_ohlcv("BTCUSDT", "1h", *DAY), kept)


def test_a_range_of_one_instant_returns_the_bar_that_opens_then(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    for symbol, label, at in (
        ("BTCUSDT", "1h", "2024-06-07T10:00"),
        ("AAPL", "5m", "2024-06-07T14:00"),
    ):
        frame = manager.get_ohlcv(symbol, label, at, at, strict=True)
        assert [str(stamp)[:16].replace(" ", "T") for stamp in frame.index] == [at]
    assert manager.get_ohlcv("BTCUSDT", "1h", "2024-06-07T10:30", "2024-06-07T10:30").empty
