"""Closed and final bars: running bars are never stored, provisional ones are fetched again."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataWarning
from tests.vendor_server import Fault, VendorServer, split

from .oracle import assert_true, ms

TODAY = "2024-06-12"


def states(frame: object) -> dict[str, str]:
    """Return the state of each stretch, by its first stamp."""
    return {s["start"]: s["state"] for s in frame.attrs["onetape"]["spans"]}  # type: ignore[attr-defined]


def test_the_forming_bar_is_absent_until_its_close(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    frame = manager.get_ohlcv("BTCUSDT", "1h", TODAY)
    assert str(frame.index[-1]) == "2024-06-12 14:00:00"
    asked = vendors.count()
    clock.set(ms("2024-06-12T15:59:59"))
    manager.get_ohlcv("BTCUSDT", "1h", TODAY)
    clock.set(ms("2024-06-12T16:05:00"))
    frame = manager.get_ohlcv("BTCUSDT", "1h", TODAY)
    assert str(frame.index[-1]) == "2024-06-12 15:00:00"
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", TODAY, "2024-06-12T16:00:00")
    assert vendors.count() <= asked + 2


def test_a_request_up_to_now_is_a_hit_until_the_next_bar_closes(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    clock.set(ms("2024-06-12T15:10:00"))
    manager.get_ohlcv("BTCUSDT", "1h", TODAY)
    vendors.clear_log()
    clock.set(ms("2024-06-12T15:59:00"))
    manager.get_ohlcv("BTCUSDT", "1h", TODAY)
    assert vendors.count() == 0


def test_a_provisional_bar_is_marked_and_refetched_after_settling(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, tmp_path: Path
) -> None:
    stamp = ms("2024-06-12T14:00:00")
    vendors.revise("BTCUSDT", "1h", stamp, 1.01, ms("2024-06-12T15:02:00"))
    first = manager.get_ohlcv("BTCUSDT", "1h", TODAY)
    assert states(first)["2024-06-12T14:00:00Z"] == "provisional"
    clock.set(ms("2024-06-12T15:03:00"))
    second = manager.get_ohlcv("BTCUSDT", "1h", TODAY)
    assert first["close"].iloc[-1] != second["close"].iloc[-1]
    assert_true(second, vendors, clock, "BTCUSDT", "1h", TODAY, "2024-06-12T15:00:00")
    assert set(states(second).values()) == {"final"}
    vendors.clear_log()
    manager.get_ohlcv("BTCUSDT", "1h", TODAY)
    assert vendors.count() == 0


def test_a_provisional_bar_found_equal_changes_no_data(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, tmp_path: Path
) -> None:
    manager.get_ohlcv("BTCUSDT", "1h", TODAY)
    file = tmp_path / "cache" / "ohlcv" / "BTCUSDT" / "1h" / "2024.csv.gz"
    before = file.read_bytes()
    clock.set(ms("2024-06-12T15:03:00"))
    frame = manager.get_ohlcv("BTCUSDT", "1h", TODAY)
    assert set(states(frame).values()) == {"final"}
    assert file.read_bytes() == before


def test_a_nightly_job_gets_todays_session_and_appends_a_bar_a_day(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    clock.set(ms("2024-06-10T22:00:00"))
    frame = manager.get_ohlcv("AAPL", "1d", "2024-05-01")
    assert str(frame.index[-1].date()) == "2024-06-10"
    for day in ("2024-06-11", "2024-06-12", "2024-06-13"):
        clock.set(ms(f"{day}T22:00:00"))
        frame = manager.get_ohlcv("AAPL", "1d", "2024-05-01")
        assert str(frame.index[-1].date()) == day
        assert_true(frame, vendors, clock, "AAPL", "1d", "2024-05-01", "2024-06-14", "split")
    assert vendors.count("yahoo") == 4
    assert frame.attrs["onetape"]["spans"][-1]["state"] == "provisional"


def test_todays_daily_bar_is_absent_while_the_market_is_open(manager: DataManager) -> None:
    frame = manager.get_ohlcv("AAPL", "1d", "2024-06-10")
    assert [str(d.date()) for d in frame.index] == ["2024-06-10", "2024-06-11"]


def test_the_forming_bar_on_request_is_marked_and_never_stored(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, tmp_path: Path
) -> None:
    frame = manager.get_ohlcv("BTCUSDT", "1h", TODAY, include_forming=True)
    assert str(frame.index[-1]) == "2024-06-12 15:00:00"
    assert frame.attrs["onetape"]["spans"][-1]["reason"] == "forming"
    assert vendors.count() == 1, "the forming bar was sent with the closed ones"
    again = manager.get_ohlcv("BTCUSDT", "1h", TODAY)
    assert str(again.index[-1]) == "2024-06-12 14:00:00"


@pytest.mark.parametrize("closed", [0, 3], ids=["alone", "with closed bars"])
def test_a_vendor_without_the_forming_bar_gets_one_request(
    manager: DataManager, vendors: VendorServer, closed: int
) -> None:
    running = ms("2024-06-12T15:00:00")
    minutes = range(running - closed * 60_000, running + 1, 60_000)
    vendors.fault("yahoo", Fault.drop_stamps(*minutes))
    manager.get_ohlcv("AAPL", "1m", "2024-06-12T14:57", include_forming=True)
    assert vendors.count("yahoo") == 1


def test_a_request_for_older_bars_does_not_mark_the_forming_bar_as_fetched(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    clock.advance(600)
    for first, last in (("10:00", "11:00"), ("13:00", "14:00")):
        manager.get_ohlcv("BTCUSDT", "1h", f"2024-06-12T{first}", f"2024-06-12T{last}")
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-12T10:00", include_forming=True)
    assert [str(stamp)[11:16] for stamp in frame.index[-4:]] == ["12:00", "13:00", "14:00", "15:00"]


def test_a_vendor_clock_behind_ours_decides_which_bars_have_closed(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.skew_date(-3600)
    with pytest.warns(IncompleteDataWarning):
        frame = manager.get_ohlcv("BTCUSDT", "1h", TODAY)
    assert str(frame.index[-1]) == "2024-06-12 13:00:00"


def test_a_bar_not_yet_available_at_the_vendor_is_not_a_hole(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.fault("binance", Fault.drop_stamps(ms("2024-06-12T14:00:00")), times=1)
    with pytest.warns(IncompleteDataWarning, match="not published yet"):
        frame = manager.get_ohlcv("BTCUSDT", "1h", TODAY)
    assert str(frame.index[-1]) == "2024-06-12 13:00:00"
    frame = manager.get_ohlcv("BTCUSDT", "1h", TODAY, strict=True)
    assert str(frame.index[-1]) == "2024-06-12 14:00:00"


def test_a_split_between_two_fetches_leaves_no_jump_and_appends_to_the_year_file(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, tmp_path: Path
) -> None:
    vendors.truth.act("AAPL", split("2024-06-12", 4))
    clock.set(ms("2024-06-11T22:00:00"))
    before = manager.get_ohlcv("AAPL", "1d", "2024-05-01")
    file = tmp_path / "cache" / "ohlcv" / "AAPL" / "1d" / "2024.csv.gz"
    stored = file.read_bytes()
    clock.set(ms("2024-06-12T22:00:00"))
    after = manager.get_ohlcv("AAPL", "1d", "2024-05-01")
    assert file.read_bytes().startswith(stored), "the split caused an append, not a rewrite"
    assert after["close"].iloc[-2] == pytest.approx(before["close"].iloc[-1] / 4)
    assert_true(after, vendors, clock, "AAPL", "1d", "2024-05-01", "2024-06-13", "split")
    assert after["close"].pct_change().abs().max() < 0.3


def test_all_adjustments_are_computed_from_the_same_stored_bars(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    bounds = ("NVDA", "1d", "2024-06-03", "2024-06-11")
    split_adjusted = manager.get_ohlcv(*bounds)
    raw = manager.get_ohlcv(*bounds, adjustment="raw")
    asked = vendors.count("yahoo")
    assert asked == 2, "bars once, and once the actions from the last bar until the fetch"
    manager.get_ohlcv(*bounds, adjustment="raw")
    assert vendors.count("yahoo") == asked
    truth = vendors.truth.expected(
        "NVDA", "1d", ms("2024-06-03"), ms("2024-06-12"), "raw", clock.now_ms()
    )
    assert list(raw["close"]) == pytest.approx([row[4] for row in truth])
    assert raw["close"].iloc[0] == pytest.approx(split_adjusted["close"].iloc[0] * 10)


def test_datetimes_are_inclusive_on_both_ends(manager: DataManager) -> None:
    frame = manager.get_ohlcv("BTCUSDT", "1h", datetime(2024, 6, 1, 3), datetime(2024, 6, 1, 5))
    assert [t.hour for t in frame.index] == [3, 4, 5]
