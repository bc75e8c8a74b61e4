"""Tests which vendors are queried, which one answers, and what the provenance says about it."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.market.bars import Bar
from src.data.core.model.request.capabilities import Fetched, FetchQuery
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    IncompleteDataError,
    IncompleteDataWarning,
    KindMismatchError,
    NoDataError,
    UnavailableError,
)
from tests.effort import effort_of
from tests.vendor_server import Fault, VendorServer

from .oracle import assert_true, ms
from .scripted_vendor import ScriptedVendor, gaps, provenance, route_to

HOUR = 3_600_000


@pytest.fixture
def pair(
    manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> tuple[ScriptedVendor, ScriptedVendor]:
    """Return two vendors of one kind that the manager queries in this order."""
    one, two = ScriptedVendor(vendors), ScriptedVendor(vendors)
    two.name = "second"
    route_to(monkeypatch, manager, twin=one, second=two)
    return one, two


def spans(frame: pd.DataFrame) -> list[tuple[str, int]]:
    """Return vendor and rows of each stretch."""
    return [(span["vendor"], span["rows"]) for span in provenance(frame)["spans"]]


def test_a_hole_is_filled_by_a_second_vendor_of_the_same_kind(
    manager: DataManager, vendors: VendorServer, clock: ManualClock,
    pair: tuple[ScriptedVendor, ScriptedVendor], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    one, two = pair
    one.spoil = lambda rows: [r for r in rows if not 5 <= r.stamp_ms // HOUR % 24 <= 7]
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-01", strict=True)
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-06-01", "2024-06-02")
    assert spans(frame) == [("twin", 5), ("second", 3), ("twin", 16)]
    day = (ms("2024-06-01"), ms("2024-06-02"))
    assert [tuple(s) for s in two.asked] == [day], "with bars to compare on both sides"
    told_by_log = [r for r in caplog.records if "fallback" in r.message]
    assert len(told_by_log) == 1
    assert told_by_log[0].levelno == logging.WARNING
    assert "second" in told_by_log[0].getMessage()
    assert provenance(frame)["from_cache"] == 0.0


def test_an_older_downloader_fills_the_hole_of_another_vendor(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hours(*which: int) -> Mock:
        index = pd.DatetimeIndex([f"2024-06-01 {h:02d}:00" for h in which], name="timestamp")
        double = Mock()
        double.get_ohlcv.return_value = pd.DataFrame(
            {"open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5, "volume": 9.0}, index=index
        )
        return double

    one, two = hours(0, 1, 2), hours(3, 4)
    one.get_ohlcv.side_effect = [one.get_ohlcv.return_value, RuntimeError("gone")]
    route_to(monkeypatch, manager, one=one, two=two)
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01T00:00:00", "2024-06-01T02:00:00")
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01T00:00:00", "2024-06-01T04:00:00")
    assert spans(frame) == [("one", 3), ("two", 2)]
    assert one.get_ohlcv.call_count == 2
    assert two.get_ohlcv.call_count == 1


def test_failover_keeps_the_received_bars_and_requests_the_rest_from_the_next_vendor(
    manager: DataManager,
    vendors: VendorServer,
    clock: ManualClock,
    pair: tuple[ScriptedVendor, ScriptedVendor],
) -> None:
    one, two = pair
    one.errors = [None, UnavailableError("gone")]
    two.errors = [UnavailableError("gone too")]
    minutes = ("BTCUSDT", "1m", "2024-05-01", "2024-05-07")
    with pytest.warns(IncompleteDataWarning, match="gone.*gone too"):
        frame = manager.get_ohlcv(*minutes)
    assert len(frame) == 4_000, "the first commit of four pages"
    compared = int(one.asked[1].start) - 20 * 60_000
    assert [tuple(s) for s in two.asked] == [(compared, compared + 4_020 * 60_000)]
    (gap,) = gaps(frame)
    assert gap[1] == "2024-05-08T00:00:00"
    one.asked.clear()
    frame = manager.get_ohlcv(*minutes, strict=True)
    assert one.asked[0].start == two.asked[0].start + 20 * 60_000, "only the rest is requested"
    assert_true(frame, vendors, clock, "BTCUSDT", "1m", "2024-05-01", "2024-05-08")
    assert provenance(frame)["from_cache"] == pytest.approx(4_000 / 10_080, abs=1e-3)


def test_bars_after_a_listing_are_committed_every_four_pages(
    manager: DataManager, vendors: VendorServer, pair: tuple[ScriptedVendor, ScriptedVendor]
) -> None:
    one, _ = pair
    manager.get_ohlcv("BTCUSDT", "1h", "2014-01-01", "2018-12-31")
    sizes = [(span.end - span.start) // HOUR for span in one.asked if len(span)]
    listed = next(n for n, span in enumerate(one.asked) if span.end > ms("2017-08-17"))
    assert sizes[:listed] and sizes[listed] > 4_000, "the empty time before it takes few requests"
    assert len(sizes[listed + 1 :]) >= 2 and max(sizes[listed + 1 :]) <= 4_000


def test_only_a_chunk_that_is_not_trusted_is_requested_from_the_next_vendor(
    manager: DataManager,
    vendors: VendorServer,
    clock: ManualClock,
    pair: tuple[ScriptedVendor, ScriptedVendor],
) -> None:
    one, _ = pair
    first = [True]

    def once(rows: list[Bar]) -> list[Bar]:
        wrong = first.pop() if first else False
        return [r._replace(stamp_ms=r.stamp_ms + 10**12) for r in rows] if wrong else rows

    one.spoil = once
    frame = manager.get_ohlcv("BTCUSDT", "1m", "2024-05-01", "2024-05-05", strict=True)
    assert_true(frame, vendors, clock, "BTCUSDT", "1m", "2024-05-01", "2024-05-06")
    assert spans(frame) == [("second", 4_000), ("twin", 3_200)]


def test_the_span_of_a_forming_bar_names_the_vendor_that_sent_the_bar(
    manager: DataManager, vendors: VendorServer, pair: tuple[ScriptedVendor, ScriptedVendor]
) -> None:
    one, two = pair
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-12")
    one.errors = [UnavailableError("down")]
    running = Bar(ms("2024-06-12T15:00"), 1.0, 2.0, 0.5, 1.5, 3.0)
    two.spoil = lambda rows: [*rows, running]
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-12", include_forming=True)
    assert provenance(frame)["spans"][-1]["reason"] == "forming"
    assert provenance(frame)["spans"][-1]["vendor"] == "second"
    attempts = [(a["provider"], a["outcome"]) for a in provenance(frame)["attempts"]]
    assert attempts == [("twin", "UnavailableError"), ("second", "ok")]


def test_many_changes_of_vendor_are_summarised_in_at_most_sixteen_spans(
    manager: DataManager, vendors: VendorServer, pair: tuple[ScriptedVendor, ScriptedVendor]
) -> None:
    one, _ = pair
    one.spoil = lambda rows: [r for r in rows if r.stamp_ms // HOUR % 2]
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-02", strict=True)
    entries = provenance(frame)["spans"]
    assert len(entries) <= 16
    assert sum(entry["rows"] for entry in entries) == len(frame) == 48
    assert {entry["vendor"] for entry in entries} == {"twin", "second"}


def test_the_provenance_describes_the_returned_rows(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-02")
    before = provenance(manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-02"))
    assert before["from_cache"] == 1.0
    clock.advance(3600)
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-02", "2024-06-03")
    after = provenance(frame)
    assert (after["rows"], after["first"], after["last"]) == (
        48, "2024-06-02T00:00:00Z", "2024-06-03T23:00:00Z",
    )  # fmt: skip
    assert after["from_cache"] == 0.5
    assert after["generation"] > before["generation"]
    assert [a["rows"] for a in after["attempts"]] == [24]
    counted = manager.get_ohlcv("BTCUSDT", "1h", end_date="2024-06-03", bars=10)
    assert (provenance(counted)["rows"], provenance(counted)["from_cache"]) == (10, 1.0)


@pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")
@pytest.mark.parametrize("call", [{}, {"bars": 60}, {"adjustment": "raw"}])
def test_a_repeated_request_returns_an_equal_frame(
    manager: DataManager, vendors: VendorServer, call: dict[str, object]
) -> None:
    symbol = "AAPL" if "adjustment" in call else "HALTUSDT"
    bounds = {"end_date": "2024-03-06"} | ({} if "bars" in call else {"start_date": "2024-03-04"})
    one, two = (manager.get_ohlcv(symbol, "1h", **bounds, **call) for _ in range(2))
    pd.testing.assert_frame_equal(one, two)
    own = ("from_cache", "attempts", "quality", "problems", "asked_at", "rejected", "generation")
    facts = [{k: v for k, v in provenance(f).items() if k not in own} for f in (one, two)]
    assert facts[0] == facts[1]


# --- pinned vendors, substitutes -----------------------------------------------------------


def test_a_pinned_vendor_takes_its_own_bars_from_the_default_lane_and_no_others(
    manager: DataManager, vendors: VendorServer, clock: ManualClock,
    pair: tuple[ScriptedVendor, ScriptedVendor], tmp_path: Path,
) -> None:  # fmt: skip
    one, two = pair
    one.spoil = lambda rows: [r for r in rows if not 5 <= r.stamp_ms // HOUR % 24 <= 7]
    day = ("BTCUSDT", "1h", "2024-06-01", "2024-06-01")
    manager.get_ohlcv(*day)
    one.spoil = lambda rows: rows
    one.asked.clear()
    two.asked.clear()
    frame = manager.get_ohlcv(*day, provider="twin", strict=True)
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-06-01", "2024-06-02")
    assert [tuple(s) for s in one.asked] == [(ms("2024-06-01T05:00"), ms("2024-06-01T08:00"))]
    assert two.asked == []
    assert provenance(frame)["vendors"] == ["twin"]
    assert provenance(frame)["lane"] == "1h@twin"
    manager.get_ohlcv(*day, provider="twin", offline=True, strict=True)


def test_a_pinned_vendor_that_is_down_is_not_replaced(
    manager: DataManager, vendors: VendorServer, pair: tuple[ScriptedVendor, ScriptedVendor]
) -> None:
    one, two = pair
    one.errors = [UnavailableError("down")]
    with pytest.raises(AllProvidersFailedError, match="down"):
        manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-01", provider="twin")
    assert two.asked == []


def test_a_substitute_answers_wholly_or_not_at_all(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.fault("binance", Fault.status(503))
    with pytest.warns(IncompleteDataWarning, match="substitute"):
        frame = manager.get_ohlcv("BTCUSDT", "1d", "2024-06-01", "2024-06-05")
    assert provenance(frame)["vendors"] == ["yahoo"]
    vendors.heal()
    frame = manager.get_ohlcv("BTCUSDT", "1d", "2024-06-01", "2024-06-05", strict=True)
    assert provenance(frame)["vendors"] == ["binance"]
    assert provenance(frame)["substitute"] is None


def test_cached_bars_are_returned_if_every_lane_fails(
    manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-01")
    selector = manager.provider_selector
    monkeypatch.setattr(selector, "get_provider_with_failover", lambda *_: ["yahoo"])
    vendors.fault("yahoo", Fault.status(503))
    with pytest.warns(IncompleteDataWarning, match="503"):
        frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-02")
    pd.testing.assert_frame_equal(first, frame)


def test_gaps_follow_the_calendar_even_without_any_vendor(
    manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.get_ohlcv("AAPL", "1d", "2024-06-03", "2024-06-07")
    selector = manager.provider_selector
    monkeypatch.setattr(selector, "get_provider_with_failover", lambda *_: [])
    with pytest.warns(IncompleteDataWarning, match="No suitable provider"):
        frame = manager.get_ohlcv("AAPL", "1d", "2024-06-03", "2024-06-11")
    assert [g[:2] for g in gaps(frame)] == [("2024-06-10T00:00:00", "2024-06-12T00:00:00")]
    with pytest.raises(IncompleteDataError):
        manager.get_ohlcv("AAPL", "1d", "2024-06-03", "2024-06-11", strict=True)


def test_a_vendor_without_bars_is_not_queried_again_once_another_vendor_has_them(
    manager: DataManager, vendors: VendorServer, pair: tuple[ScriptedVendor, ScriptedVendor]
) -> None:
    one, two = pair
    one.errors = [NoDataError("none", provider="twin")]
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-01", strict=True)
    assert provenance(frame)["vendors"] == ["second"]
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-01", strict=True)
    assert (len(one.asked), len(two.asked)) == (1, 1)


def test_bars_of_a_different_kind_are_rejected_and_come_from_the_next_vendor(
    manager: DataManager, vendors: VendorServer, pair: tuple[ScriptedVendor, ScriptedVendor]
) -> None:
    one, _ = pair
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-01")
    fetch = one.fetch

    def in_pence(query: FetchQuery) -> Fetched:
        fetched = fetch(query)
        return replace(fetched, kind=replace(fetched.kind, unit="GBp"))

    one.fetch = in_pence  # type: ignore[method-assign]
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-02", strict=True)
    assert spans(frame) == [("twin", 24), ("second", 24)]
    assert provenance(frame)["attempts"][0]["outcome"] == KindMismatchError.__name__


@pytest.mark.usefixtures("young_files")
def test_a_fallback_takes_one_more_request_no_file_access_and_few_calls(
    manager: DataManager, vendors: VendorServer, pair: tuple[ScriptedVendor, ScriptedVendor]
) -> None:
    """A day that the second vendor answers, beside one that the first does."""
    one, two = pair
    effort: list[tuple[int, int]] = []
    frames: list[pd.DataFrame] = []
    # Before it counts, all that either takes is loaded and made.
    series = ("SOLUSDT", "HALTUSDT", "BTCUSDT", "ETHUSDT")
    for symbol, fails in zip(series, (True, False, False, True), strict=True):
        one.errors = [UnavailableError("gone")] if fails else []
        one.asked.clear()
        two.asked.clear()
        asked = (symbol, "1h", "2024-05-02", "2024-05-02")
        effort.append(effort_of(lambda: frames.append(manager.get_ohlcv(*asked, strict=True))))  # noqa: B023 - called now
        assert (len(one.asked), len(two.asked)) == (1, int(fails))
    assert [spans(frame) for frame in frames[2:]] == [[("twin", 24)], [("second", 24)]]
    (calls, files), (calls_of_fallback, files_of_fallback) = effort[2:]
    assert vendors.count() == 0
    assert files_of_fallback == files
    assert calls_of_fallback < 1.25 * calls
