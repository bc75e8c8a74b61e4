"""Tests wrong answers: what is stored of them, what is reported, and which vendor is queried next."""

from __future__ import annotations

import warnings
from datetime import datetime
from typing import Any
from unittest.mock import Mock

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.market.bars import Bar
from src.data.core.vendors.factory import downloader_for
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataError, IncompleteDataWarning, UnavailableError
from tests.vendor_server import Fault, VendorServer

from .oracle import assert_true, ms
from .scripted_vendor import ScriptedVendor, gaps, provenance, route_to, states

DAY = ("BTCUSDT", "1h", "2024-06-01", "2024-06-01")


def spoilt(*hours: int) -> Any:
    """Return what makes the bars of these hours impossible."""

    def spoil(rows: list[Bar]) -> list[Bar]:
        return [
            row._replace(high=row.low * 0.9) if row.stamp_ms // 3_600_000 % 24 in hours else row
            for row in rows
        ]

    return spoil


@pytest.mark.parametrize(
    "fault",
    [
        Fault.stray(2, 2), Fault.duplicate(0, 5, -1), Fault.newest_first(), Fault.shuffle(),
        Fault.stamps_in("us"), Fault.gzip(),
    ],
    ids=lambda fault: fault.name,
)  # fmt: skip
def test_unusual_answers_that_contain_every_bar_are_complete_and_cached(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, fault: Fault
) -> None:
    vendors.fault("binance", fault)
    frame = manager.get_ohlcv(*DAY, strict=True)
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-06-01", "2024-06-02")
    vendors.clear_log()
    pd.testing.assert_frame_equal(frame, manager.get_ohlcv(*DAY, strict=True))
    assert vendors.count() == 0


@pytest.mark.parametrize(
    "fault",
    [
        Fault.lie("html"), Fault.lie("error"), Fault.lie("{}"), Fault.lie("null"), Fault.lie('"x"'),
        Fault.lie(""), Fault.cut(), Fault.bad_gzip(), Fault.status(451), Fault.stamps_in("s"),
    ],
    ids=lambda fault: fault.name,
)  # fmt: skip
def test_an_answer_that_cannot_be_parsed_is_never_recorded_as_empty(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, fault: Fault,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    twin = ScriptedVendor(vendors)
    binance = downloader_for(manager.provider_selector, "binance")
    route_to(monkeypatch, manager, binance=binance, twin=twin)
    vendors.fault("binance", fault)
    frame = manager.get_ohlcv(*DAY, strict=True)
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-06-01", "2024-06-02")
    assert provenance(frame)["vendors"] == ["twin"]
    assert provenance(frame)["attempts"][0]["outcome"] not in ("ok", "empty")


def test_bad_rows_of_one_vendor_are_replaced_from_the_next_vendor(
    manager: DataManager, vendors: VendorServer, clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    one, two = ScriptedVendor(vendors), ScriptedVendor(vendors)
    one.spoil = spoilt(5, 6)
    route_to(monkeypatch, manager, twin=one, second=two)
    two.name = "second"
    frame = manager.get_ohlcv(*DAY, strict=True)
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-06-01", "2024-06-02")
    day = (ms("2024-06-01"), ms("2024-06-02"))
    assert [tuple(span) for span in two.asked] == [day], "with bars to compare on both sides"
    assert [span["rows"] for span in provenance(frame)["spans"]] == [5, 2, 17], (
        "and stored without them"
    )
    by_vendor = {span["start"]: span["vendor"] for span in provenance(frame)["spans"]}
    assert by_vendor["2024-06-01T05:00:00Z"] == "second"
    assert by_vendor["2024-06-01T07:00:00Z"] == "twin"


def test_a_bad_row_of_the_only_vendor_is_a_gap_and_requested_again_a_day_later(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.fault("binance", Fault.bad_ohlc(5), times=1)
    with pytest.warns(IncompleteDataWarning, match="cannot be a bar"):
        first = manager.get_ohlcv(*DAY)
    assert len(first) == 23
    assert (first["high"] >= first["low"]).all()
    (gap,) = gaps(first)
    assert gap[0] == "2024-06-01T05:00:00"
    assert gap[2] == "a row that cannot be a bar: high below low"
    assert provenance(first)["flagged"] == []
    vendors.clear_log()
    with pytest.warns(IncompleteDataWarning):
        pd.testing.assert_frame_equal(first, manager.get_ohlcv(*DAY))
    with pytest.raises(IncompleteDataError):
        manager.get_ohlcv(*DAY, strict=True)
    assert vendors.count() == 0
    clock.advance(25 * 3600)
    frame = manager.get_ohlcv(*DAY, strict=True)
    assert vendors.count() == 1
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-06-01", "2024-06-02")


def test_a_row_of_nulls_is_a_hole_and_not_a_bar(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.fault("yahoo", Fault.nulls(1))
    with pytest.warns(IncompleteDataWarning, match="has no bar"):
        frame = manager.get_ohlcv("AAPL", "1d", "2024-06-03", "2024-06-06")
    assert len(frame) == 3
    assert gaps(frame)[0][:2] == ("2024-06-04T00:00:00", "2024-06-05T00:00:00")


def test_a_sparse_vendor_that_lacks_whole_sessions_has_a_hole(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.fault("yahoo", Fault.cap(5), times=1)
    for _ in range(2):
        with pytest.warns(IncompleteDataWarning, match="has no bar"):
            frame = manager.get_ohlcv("AAPL", "1h", "2024-06-03", "2024-06-05")
        assert len(frame) == 5
        assert gaps(frame)[0][0] == "2024-06-03T18:30:00"
    assert vendors.count("yahoo") <= 2


def test_a_sparse_vendor_that_lacks_many_bars_is_doubted_every_time(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.fault("yahoo", Fault.cap(4), times=1)
    for _ in range(2):
        with pytest.warns(IncompleteDataWarning, match="3 of 7 expected bars did not come"):
            frame = manager.get_ohlcv("AAPL", "1h", "2024-06-04", "2024-06-04")
        assert set(states(frame).values()) == {"suspect"}
    assert vendors.count("yahoo") == 1
    clock.advance(25 * 3600)
    frame = manager.get_ohlcv("AAPL", "1h", "2024-06-04", "2024-06-04", strict=True)
    assert_true(frame, vendors, clock, "AAPL", "1h", "2024-06-04", "2024-06-05", "split")
    assert set(states(frame).values()) == {"final"}


# --- asking again what is held -------------------------------------------------------------


def test_a_refresh_that_returns_fewer_bars_keeps_the_cached_ones(
    manager: DataManager, vendors: VendorServer
) -> None:
    first = manager.get_ohlcv(*DAY)
    vendors.fault("binance", Fault.cap(12), times=1)
    with pytest.warns(IncompleteDataWarning, match="not all bars could be fetched again"):
        frame = manager.get_ohlcv(*DAY, force_refresh=True)
    pd.testing.assert_frame_equal(first, frame)
    pd.testing.assert_frame_equal(first, manager.get_ohlcv(*DAY, strict=True))


def test_a_stored_bar_missing_from_a_refresh_is_kept_as_suspect(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    first = manager.get_ohlcv(*DAY)
    vendors.fault("binance", Fault.drop(23), times=1)
    frame = manager.get_ohlcv(*DAY, force_refresh=True, strict=True)
    pd.testing.assert_frame_equal(first, frame)
    assert states(frame)["2024-06-01T23:00:00Z"] == "suspect"
    clock.advance(25 * 3600)
    assert set(states(manager.get_ohlcv(*DAY)).values()) == {"final"}


def test_a_refresh_with_an_impossible_row_keeps_the_good_one(
    manager: DataManager, vendors: VendorServer
) -> None:
    first = manager.get_ohlcv(*DAY)
    vendors.fault("binance", Fault.bad_ohlc(5), times=1)
    frame = manager.get_ohlcv(*DAY, force_refresh=True, strict=True)
    pd.testing.assert_frame_equal(first, frame)
    assert states(frame)["2024-06-01T05:00:00Z"] == "suspect"


def test_a_refresh_takes_revised_bars_and_names_their_vendor(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    stamp = ms("2024-06-01T05:00")
    vendors.revise("BTCUSDT", "1h", stamp, 1.01, clock.now_ms() + 60_000)
    first = manager.get_ohlcv(*DAY)
    clock.advance(120)
    assert first["close"].iloc[5] == manager.get_ohlcv(*DAY)["close"].iloc[5], "it was final"
    frame = manager.get_ohlcv(*DAY, force_refresh=True)
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-06-01", "2024-06-02")
    pd.testing.assert_frame_equal(frame, manager.get_ohlcv(*DAY))


def test_a_refresh_that_no_vendor_answers_returns_cached_bars_with_a_warning(
    manager: DataManager, vendors: VendorServer
) -> None:
    first = manager.get_ohlcv(*DAY)
    vendors.fault("binance", Fault.status(503))
    vendors.fault("yahoo", Fault.status(503))
    with pytest.warns(IncompleteDataWarning, match="could be fetched again"):
        frame = manager.get_ohlcv(*DAY, force_refresh=True)
    pd.testing.assert_frame_equal(first, frame)
    assert provenance(frame)["from_cache"] == 1.0
    with pytest.raises(IncompleteDataError):
        manager.get_ohlcv(*DAY, force_refresh=True, strict=True)


def test_bars_due_for_a_refetch_are_returned_while_the_vendor_is_down(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    manager.get_ohlcv(*DAY)
    vendors.fault("binance", Fault.drop(23), times=1)
    first = manager.get_ohlcv(*DAY, force_refresh=True)
    clock.advance(25 * 3600)
    vendors.fault("binance", Fault.status(503))
    pd.testing.assert_frame_equal(first, manager.get_ohlcv(*DAY, strict=True))


def test_an_older_downloader_with_mostly_bad_rows_is_called_once(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = pd.date_range("2024-06-01 03:00", periods=3, freq="h", name="timestamp")
    bad = pd.DataFrame(
        {"open": 10.0, "high": [12.0, 1.0, 1.0], "low": 9.0, "close": 11.0, "volume": 5.0},
        index=index,
    )
    double = Mock()
    double.get_ohlcv.return_value = bad
    route_to(monkeypatch, manager, whatever=double)
    for _ in range(2):
        with pytest.warns(IncompleteDataWarning, match="cannot be a bar"):
            frame = manager.get_ohlcv(
                "BTCUSDT", "1h", datetime(2024, 6, 1), datetime(2024, 6, 1, 9)
            )
        assert len(frame) == 1
    assert double.get_ohlcv.call_count == 1


def test_a_partial_answer_warns_once_and_leaves_one_record(
    manager: DataManager, vendors: VendorServer, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        caplog.clear()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            manager.get_ohlcv("HALTUSDT", "1h", "2024-03-04", "2024-03-06")
        assert [w.category for w in caught] == [IncompleteDataWarning]
        assert "test_bad_answers" in caught[0].filename, "the warning points at the caller"
        assert len([r for r in caplog.records if "incomplete answer" in r.message]) == 1


def test_a_vendor_that_is_down_gets_a_request_for_the_first_of_several_holes_only(
    manager: DataManager, vendors: VendorServer, clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    one, two = ScriptedVendor(vendors), ScriptedVendor(vendors)
    two.name = "second"
    route_to(monkeypatch, manager, twin=one, second=two)
    for day in ("2024-05-02", "2024-05-04", "2024-05-06"):
        manager.get_ohlcv("BTCUSDT", "1h", day, day)
    one.asked.clear()
    one.errors = [UnavailableError("down")]
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-05-07", strict=True)
    assert len(one.asked) == 1
    assert len(two.asked) == 4
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-05-01", "2024-05-08")
