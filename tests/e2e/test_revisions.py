"""Late revisions of final bars: found by requests for newer bars, without an extra request."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import HOUR_MS, iso
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataError
from tests.vendor_server import Fault, VendorServer

from .oracle import assert_true, ms
from .scripted_vendor import ScriptedVendor, provenance, route_to, states

START = "2024-06-01"
LATE = ms("2024-06-12T11:00:00")  # final when it was fetched, revised in the night


def hours(manager: DataManager, clock: ManualClock, at: str, **wishes: Any) -> pd.DataFrame:
    """Ask for all hours up to ``at``, ten minutes past the hour: the last bar is final."""
    clock.set(ms(at))
    return manager.get_ohlcv("BTCUSDT", "1h", START, **wishes)


def asked_from(vendors: VendorServer) -> list[str]:
    return [iso(int(e.params["startTime"])) for e in vendors.log("binance")]


@pytest.fixture
def revised(manager: DataManager, vendors: VendorServer, clock: ManualClock) -> DataManager:
    """Return a manager that holds a bar which its vendor changes in the coming night."""
    vendors.revise("BTCUSDT", "1h", LATE, 1.01, ms("2024-06-13T01:00:00"))
    hours(manager, clock, "2024-06-12T15:10:00")
    vendors.clear_log()
    return manager


def test_a_late_revision_replaces_the_stored_bar_without_a_further_request(
    revised: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    before = hours(revised, clock, "2024-06-13T14:10:00")
    assert asked_from(vendors) == ["2024-06-12T15:00:00Z"], "not before a day is over"
    frame = hours(revised, clock, "2024-06-13T15:10:00")
    assert len(asked_from(vendors)) == 2
    at = pd.Timestamp("2024-06-12T11:00:00")
    assert frame["close"][at] == before["close"][at], "further back than a few bars and a day"


@pytest.mark.parametrize("stamp", ["2024-06-12T10:00:00", "2024-06-12T14:00:00"])
def test_the_last_five_bars_are_compared_and_revised_ones_are_rewritten(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, stamp: str
) -> None:
    vendors.revise("BTCUSDT", "1h", ms(stamp), 1.01, ms("2024-06-13T01:00:00"))
    before = hours(manager, clock, "2024-06-12T15:10:00")
    vendors.clear_log()
    frame = hours(manager, clock, "2024-06-13T15:10:00")
    assert asked_from(vendors) == ["2024-06-12T10:00:00Z"]
    assert frame["close"][pd.Timestamp(stamp)] != before["close"][pd.Timestamp(stamp)]
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", START, "2024-06-13T15:00:00")
    assert set(states(frame).values()) == {"final"}
    assert provenance(frame)["from_cache"] == pytest.approx(1 - 24 / len(frame), abs=1e-4)


def test_bars_fetched_since_the_last_comparison_are_compared_too(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.revise("BTCUSDT", "1h", ms("2024-06-12T17:00:00"), 1.01, ms("2024-06-13T01:00:00"))
    hours(manager, clock, "2024-06-12T15:10:00")
    hours(manager, clock, "2024-06-13T00:10:00")
    vendors.clear_log()
    frame = hours(manager, clock, "2024-06-13T15:10:00")
    assert asked_from(vendors) == ["2024-06-12T16:00:00Z"]
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", START, "2024-06-13T15:00:00")


def test_equal_bars_change_no_byte_but_those_appended(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, tmp_path: Path
) -> None:
    hours(manager, clock, "2024-06-12T15:10:00")
    file = tmp_path / "cache" / "ohlcv" / "BTCUSDT" / "1h" / "2024.csv.gz"
    before = file.read_bytes()
    frame = hours(manager, clock, "2024-06-13T15:10:00")
    assert file.read_bytes().startswith(before)
    assert len(file.read_bytes()) > len(before)
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", START, "2024-06-13T15:00:00")


def test_a_hole_is_filled_without_comparing_bars_before_it(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    for start, end in (("2024-06-01", "2024-06-05"), ("2024-06-08", "2024-06-11")):
        manager.get_ohlcv("BTCUSDT", "1h", start, end)
    clock.advance(30 * 3600)
    vendors.clear_log()
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-11", strict=True)
    assert asked_from(vendors) == ["2024-06-06T00:00:00Z"]


def test_no_request_is_sent_just_to_compare_stored_bars(
    revised: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    for day in range(13, 18):
        clock.set(ms(f"2024-06-{day}T15:10:00"))
        revised.get_ohlcv("BTCUSDT", "1h", START, "2024-06-12T14:00:00")
    assert vendors.count() == 0


def test_final_bars_are_compared_for_revisions_once_a_day(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    hours(manager, clock, "2024-06-12T15:10:00")
    vendors.clear_log()
    wide = 0
    for hour in range(2, 31, 2):
        clock.set(ms("2024-06-12T15:10:00") + hour * HOUR_MS)
        manager.get_ohlcv("BTCUSDT", "1h", START)
        asked = int(vendors.log("binance")[-1].params["startTime"])
        wide += clock.now_ms() - asked > 3 * HOUR_MS
    assert vendors.count() == 15
    assert wide == 1


def test_the_rules_set_the_time_between_comparisons(
    make: Any, rules: Path, vendors: VendorServer, clock: ManualClock
) -> None:
    rules.write_text(rules.read_text() + "cache: {default_ttl_hours: 2}\n")
    manager = make()
    stamp = ms("2024-06-12T13:00:00")
    vendors.revise("BTCUSDT", "1h", stamp, 1.01, ms("2024-06-12T16:00:00"))
    hours(manager, clock, "2024-06-12T15:10:00")
    frame = hours(manager, clock, "2024-06-12T17:10:00")
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", START, "2024-06-12T17:00:00")


@pytest.mark.parametrize("hours_between", ["1000000", "1e300"])
def test_a_very_long_time_between_comparisons_means_none(
    make: Any, rules: Path, vendors: VendorServer, clock: ManualClock, hours_between: str
) -> None:
    rules.write_text(rules.read_text() + f"cache: {{default_ttl_hours: {hours_between}}}\n")
    manager = make()
    frame = hours(manager, clock, "2024-06-12T15:10:00")
    vendors.revise("BTCUSDT", "1h", ms("2024-06-12T13:00:00"), 1.01, ms("2024-06-12T16:00:00"))
    later = hours(manager, clock, "2024-06-14T15:10:00")
    pd.testing.assert_frame_equal(later[: len(frame)], frame)
    assert len(later) == len(frame) + 48


def test_bars_of_a_share_are_compared_in_todays_basis(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.revise("AAPL", "1d", ms("2024-06-07"), 1.01, ms("2024-06-12T12:00:00"))
    for day in ("10", "11"):
        clock.set(ms(f"2024-06-{day}T22:00:00"))
        manager.get_ohlcv("AAPL", "1d", "2024-05-01")
    vendors.clear_log()
    clock.set(ms("2024-06-12T22:00:00"))
    frame = manager.get_ohlcv("AAPL", "1d", "2024-05-01")
    assert vendors.count() == 1
    assert_true(frame, vendors, clock, "AAPL", "1d", "2024-05-01", "2024-06-13", "split")


def test_bars_of_another_vendor_are_not_compared_for_revisions(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = ScriptedVendor(vendors), ScriptedVendor(vendors)
    two.name = "second"
    route_to(monkeypatch, manager, twin=one)
    hours(manager, clock, "2024-06-12T15:10:00")
    route_to(monkeypatch, manager, second=two)
    frame = hours(manager, clock, "2024-06-13T15:10:00")
    spans = provenance(frame)["spans"]
    assert [(s["vendor"], s["start"]) for s in spans] == [
        ("twin", "2024-06-01T00:00:00Z"), ("second", "2024-06-12T15:00:00Z"),
    ]  # fmt: skip


def test_a_vendor_is_compared_only_with_its_own_bars(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = ScriptedVendor(vendors), ScriptedVendor(vendors)
    two.name = "second"
    route_to(monkeypatch, manager, twin=one)
    hours(manager, clock, "2024-06-12T15:10:00")
    hours(manager, clock, "2024-06-13T01:10:00")
    route_to(monkeypatch, manager, second=two)
    hours(manager, clock, "2024-06-13T06:10:00")
    hours(manager, clock, "2024-06-13T16:10:00")
    assert iso(two.asked[-1].start) == "2024-06-13T01:00:00Z", "where the bars of the vendor begin"


def test_bars_that_the_vendor_no_longer_returns_are_kept_and_new_ones_are_stored(
    manager: DataManager, vendors: VendorServer, clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    hours(manager, clock, "2024-06-12T15:10:00")
    vendors.clear_log()
    gone = [ms(f"2024-06-12T{hour}:00:00") for hour in (10, 11, 12, 13)]
    vendors.fault("binance", Fault.drop_stamps(*gone))
    with caplog.at_level(logging.WARNING):
        frame = hours(manager, clock, "2024-06-13T15:10:00", strict=True)
    assert "no longer returns 4 of the last 5 bars" in caplog.text
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", START, "2024-06-13T15:00:00")
    assert vendors.count() == 1


def test_a_refresh_stores_what_a_vendor_with_a_shorter_history_revised_and_names_what_it_lacks(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    hours(manager, clock, "2024-06-12T15:10:00")
    gone = [ms(START) + n * HOUR_MS for n in range(30)]
    vendors.fault("binance", Fault.drop_stamps(*gone))
    vendors.revise("BTCUSDT", "1h", ms("2024-06-10T05:00:00"), 1.01, ms("2024-06-13T00:00:00"))
    clock.set(ms("2024-06-13T15:10:00"))
    question = ("BTCUSDT", "1h", START)
    vendors.clear_log()
    frame = manager.get_ohlcv(*question, refresh=True)
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", START, "2024-06-13T15:00:00")
    assert not provenance(frame)["complete"]
    with pytest.raises(IncompleteDataError, match="binance now lacks 30 of 303 stored bars"):
        manager.get_ohlcv(*question, refresh=True, strict=True)
    vendors.clear_log()
    assert_true(
        manager.get_ohlcv(*question, strict=True), vendors, clock, "BTCUSDT", "1h", START,
        "2024-06-13T15:00:00",
    )  # fmt: skip
    assert vendors.count() == 0


def test_an_answer_with_only_old_bars_counts_as_empty_and_the_next_vendor_fills_in(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = ScriptedVendor(vendors), ScriptedVendor(vendors)
    two.name = "second"
    route_to(monkeypatch, manager, twin=one, second=two)
    hours(manager, clock, "2024-06-12T15:10:00")
    one.spoil = lambda rows: [row for row in rows if row.stamp_ms < ms("2024-06-12T15:00:00")]
    frame = hours(manager, clock, "2024-06-13T15:10:00")
    assert [a["outcome"] for a in provenance(frame)["attempts"]] == ["empty", "ok"]
    assert provenance(frame)["spans"][-1]["vendor"] == "second"
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", START, "2024-06-13T15:00:00")


def test_a_plan_predicts_how_far_back_the_request_reaches(
    revised: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    clock.set(ms("2024-06-13T15:10:00"))
    plan = revised.plan("BTCUSDT", "1h", START)
    foretold = [iso(step.span.start) for part in plan.segments for step in part.steps]
    revised.get_ohlcv("BTCUSDT", "1h", START)
    assert foretold == asked_from(vendors) == ["2024-06-12T10:00:00Z"]
    assert plan.requests == vendors.count()
