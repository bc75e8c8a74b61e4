"""Tests ranges without bars: before and after a listing, outages, weekends and thin markets."""

from __future__ import annotations

import pytest

from src.data.core.clock import ManualClock
from src.data.core.vendors.yahoo.bars import YahooDataDownloader
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    DataError,
    IncompleteDataError,
    IncompleteDataWarning,
    NoDataError,
    SymbolNotFoundError,
    UnavailableError,
)
from tests.vendor_server import Fault, VendorServer

from .oracle import assert_true
from .scripted_vendor import ScriptedVendor, beside, gaps, provenance, route_to

pytestmark = pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")

HOURS_A_DAY = 24


@pytest.fixture
def seconded(
    manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> DataManager:
    """Return a manager with a second venue, because one vendor proves no listing."""
    beside(monkeypatch, manager, ScriptedVendor(vendors))
    return manager


def test_an_outage_at_the_start_of_a_range_is_not_taken_for_the_time_before_a_listing(
    manager: DataManager, vendors: VendorServer
) -> None:
    bounds = ("HALTUSDT", "1h", "2024-03-05T02:00:00", "2024-03-05T10:00:00")
    with pytest.raises(IncompleteDataError, match="has no bar"):
        manager.get_ohlcv(*bounds, strict=True)
    assert vendors.count("binance") == 1, "its answer for the days before is not a proof"
    with pytest.raises(IncompleteDataError, match="has no bar"):
        manager.get_ohlcv(*bounds, strict=True)
    assert vendors.count("binance") == 1


@pytest.mark.parametrize("start", ["2024-06-03", "2024-05-20", "2023-06-01"])
def test_the_time_before_a_listing_is_a_harmless_gap_once_proved(
    vendors: VendorServer, clock: ManualClock, start: str, seconded: DataManager
) -> None:
    frame = seconded.get_ohlcv("NEWUSDT", "1h", start, "2024-06-04", strict=True)
    assert_true(frame, vendors, clock, "NEWUSDT", "1h", start, "2024-06-05")
    assert {reason for *_, reason in gaps(frame)} == {"before the first bar"}
    vendors.clear_log()
    again = seconded.get_ohlcv("NEWUSDT", "1h", start, "2024-06-04", strict=True)
    assert gaps(again) == gaps(frame)
    clock.advance(40 * 24 * 3600)
    seconded.get_ohlcv("NEWUSDT", "1h", start, "2024-06-04", strict=True)
    assert vendors.count() == 0


def test_years_before_a_listing_take_few_requests(
    vendors: VendorServer, clock: ManualClock, seconded: DataManager
) -> None:
    frame = seconded.get_ohlcv("NEWUSDT", "1m", "2018-01-01", "2024-06-03", strict=True)
    assert len(frame) == 13 * 60 + 30
    assert vendors.count("binance", "/api/") <= 8, "3.4 million minutes without bars"
    assert vendors.count("binance", "/data/") <= 6, "its archive is checked occasionally"
    assert {reason for *_, reason in gaps(frame)} == {"before the first bar"}


def test_a_range_wholly_before_a_listing_is_empty_and_remembered(
    vendors: VendorServer, clock: ManualClock, seconded: DataManager
) -> None:
    bounds = ("NEWUSDT", "1h", "2024-01-01", "2024-02-01")
    for _ in range(2):
        assert seconded.get_ohlcv(*bounds).empty
    asked = vendors.count("binance")
    assert asked <= 2
    seconded.get_ohlcv("NEWUSDT", "1h", "2024-02-02", "2024-06-04")
    frame = seconded.get_ohlcv(*bounds, strict=True)
    assert frame.empty, "the span is now known to be before the first bar"
    assert gaps(frame)[0][2] == "before the first bar"


def test_a_request_for_more_bars_than_since_the_listing_returns_all_bars(
    vendors: VendorServer, seconded: DataManager
) -> None:
    frame = seconded.get_ohlcv("NEWUSDT", "1h", bars=500, strict=True)
    assert len(frame) == 14 + 8 * HOURS_A_DAY + 15
    vendors.clear_log()
    assert len(seconded.get_ohlcv("NEWUSDT", "1h", bars=500, strict=True)) == len(frame)
    assert vendors.count() == 0


def test_a_request_for_a_number_of_bars_skips_holes(
    manager: DataManager, vendors: VendorServer
) -> None:
    frame = manager.get_ohlcv("HALTUSDT", "1h", end_date="2024-03-05T07:30:00", bars=6)
    assert [t.hour for t in frame.index] == [22, 23, 0, 1, 5, 6]


def test_a_delisted_pair_ends_with_a_gap_that_is_requested_once(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    frame = manager.get_ohlcv("OLDUSDT", "1h", "2022-05-10", "2022-05-20")
    assert_true(frame, vendors, clock, "OLDUSDT", "1h", "2022-05-10", "2022-05-21")
    assert gaps(frame) == [("2022-05-13T01:00:00", "2022-05-21T00:00:00", "the vendor has no bar")]
    vendors.clear_log()
    for _ in range(2):
        assert manager.get_ohlcv("OLDUSDT", "1h", "2022-06-01", "2022-06-05").empty
    assert vendors.count("binance") == 1
    frame = manager.get_ohlcv("OLDUSDT", "1h", "2022-05-10", "2022-05-12", strict=True)
    assert len(frame) == 72


def test_old_ranges_of_a_delisted_share_are_not_an_error(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    frame = manager.get_ohlcv("GONE", "1d", "2023-03-01", "2023-03-10", strict=True)
    assert_true(frame, vendors, clock, "GONE", "1d", "2023-03-01", "2023-03-11", "split")
    later = manager.get_ohlcv("GONE", "1d", "2023-03-01", "2023-03-31")
    assert len(later) == 8
    assert not provenance(later)["complete"]


def test_an_empty_span_is_rechecked_after_a_day_and_then_less_often(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    bounds = ("HALTUSDT", "1h", "2024-03-04", "2024-03-06")
    manager.get_ohlcv(*bounds)
    for hours, requests in [(23, 0), (1, 1), (47, 0), (1, 1), (24 * 4 - 1, 0), (24 * 10, 1)]:
        vendors.clear_log()
        clock.advance(hours * 3600)
        manager.get_ohlcv(*bounds)
        manager.get_ohlcv(*bounds)
        assert vendors.count() == requests, hours


def test_a_glitch_of_the_vendor_is_not_remembered_for_long(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.fault("binance", Fault.lie("[]"), times=1)
    vendors.fault("yahoo", Fault.empty(), times=1)
    assert manager.get_ohlcv("BTCUSDT", "1h", "2023-01-01", "2023-01-02").empty
    clock.advance(25 * 3600)
    assert len(manager.get_ohlcv("BTCUSDT", "1h", "2023-01-01", "2023-01-02", strict=True)) == 48


@pytest.mark.parametrize("fault", [Fault.status(429), Fault.status(503), Fault.lie("html")],
                         ids=lambda f: f.name)  # fmt: skip
def test_a_failed_request_is_never_recorded_as_empty(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, fault: Fault
) -> None:
    vendors.fault("binance", fault)
    vendors.fault("yahoo", fault)
    with pytest.raises(AllProvidersFailedError):
        manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-01")
    vendors.heal()
    clock.advance(60)  # longer than any pause that it asked for
    assert len(manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-01", strict=True)) == 24


@pytest.mark.parametrize(
    "stored, asked",
    [("2024-06-01", "2024-06-05"), ("2024-03-05", "2024-03-01")],
    ids=["soon after the last bar", "before the last bar"],
)
def test_an_unknown_symbol_that_had_bars_is_a_failure_unless_they_ended_long_ago(
    manager: DataManager,
    vendors: VendorServer,
    monkeypatch: pytest.MonkeyPatch,
    stored: str,
    asked: str,
) -> None:
    """Recorded as empty, its bars would not be requested again."""
    vendor = ScriptedVendor(vendors)
    route_to(monkeypatch, manager, twin=vendor)
    manager.get_ohlcv("BTCUSDT", "1h", stored, stored)
    vendor.errors = [SymbolNotFoundError("unknown")]
    with pytest.raises(DataError):
        manager.get_ohlcv("BTCUSDT", "1h", asked, asked)
    assert len(manager.get_ohlcv("BTCUSDT", "1h", asked, asked, strict=True)) == 24


def test_a_symbol_unknown_to_a_vendor_that_never_had_its_bars_is_a_failure(
    manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vendor may spell it in another way, or not serve it yet."""
    first, other = ScriptedVendor(vendors), ScriptedVendor(vendors)
    route_to(monkeypatch, manager, twin=first)
    manager.get_ohlcv("BTCUSDT", "1h", "2024-03-05", "2024-03-05")
    other.errors = [SymbolNotFoundError("unknown")]
    route_to(monkeypatch, manager, second=other)
    with pytest.raises(DataError):
        manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-01")
    assert len(manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-01", strict=True)) == 24


def test_an_empty_answer_beside_a_failed_vendor_is_an_error_and_requested_again(
    manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = ScriptedVendor(vendors), ScriptedVendor(vendors)
    two.name = "second"
    one.errors, two.errors = [NoDataError("none")], [UnavailableError("down")]
    route_to(monkeypatch, manager, twin=one, second=two)
    with pytest.raises(AllProvidersFailedError, match="down"):
        manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-01")
    assert len(manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-01", strict=True)) == 24


def test_an_empty_answer_of_the_venue_is_empty_even_if_a_substitute_fails(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.fault("yahoo", Fault.status(503))
    for _ in range(2):
        frame = manager.get_ohlcv("NEWUSDT", "1h", "2024-01-01", "2024-01-02")
        assert frame.empty
        assert gaps(frame)[0][2] == "the vendor has no bar"


def test_many_holes_in_a_thin_market_of_a_dense_venue_are_reported_together(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    bounds = ("THINUSDT", "1m", "2024-05-26", "2024-06-07")
    with pytest.warns(IncompleteDataWarning) as caught:
        frame = manager.get_ohlcv(*bounds)
    (text,) = {str(warning.message) for warning in caught}
    assert text.count("of 4000 expected bars did not come") == 3
    assert text.endswith("; in doubt: 2 more answers")
    assert_true(frame, vendors, clock, "THINUSDT", "1m", "2024-05-26", "2024-06-08")
    assert len(provenance(frame)["spans"]) <= 16
    asked = vendors.count()
    with pytest.raises(IncompleteDataError):
        manager.get_ohlcv(*bounds, strict=True)
    assert vendors.count() == asked


def test_few_holes_at_a_dense_venue_are_reported_one_by_one(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.fault("binance", Fault.drop(3, 7, 11), times=1)
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-01")
    assert [start[-8:-6] for start, *_ in gaps(frame)] == ["03", "07", "11"]
    assert provenance(frame)["gaps_total"] == 3


def test_many_holes_are_refetched_in_one_request(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.fault("binance", Fault.drop(*range(10, 1000, 25)), times=1)
    bounds = ("BTCUSDT", "15m", "2024-05-01", "2024-05-10")
    assert provenance(manager.get_ohlcv(*bounds))["gaps_total"] > 30
    vendors.clear_log()
    clock.advance(25 * 3600)
    frame = manager.get_ohlcv(*bounds, strict=True)
    assert vendors.count("binance") == 1
    assert_true(frame, vendors, clock, "BTCUSDT", "15m", "2024-05-01", "2024-05-11")


def test_a_weekend_without_bars_is_complete_without_a_substitute(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    manager.get_ohlcv("AAPL", "1h", "2024-06-07", "2024-06-10")
    vendors.clear_log()
    assert manager.get_ohlcv("AAPL", "1h", "2024-06-08", "2024-06-09", strict=True).empty
    assert manager.get_ohlcv(
        "AAPL", "1h", "2024-06-07T22:00", "2024-06-10T12:00", strict=True
    ).empty
    assert vendors.count() == 0


def test_history_deeper_than_a_vendor_serves_is_not_requested(
    manager: DataManager, vendors: VendorServer
) -> None:
    with pytest.raises(AllProvidersFailedError, match="only 29 days back"):
        manager.get_ohlcv("AAPL", "1m", "2023-01-03", "2023-01-04")
    assert vendors.count() == 0
    frame = manager.get_ohlcv("AAPL", "1h", "2022-06-06", "2022-06-17")
    assert str(frame.index[0]) == "2022-06-14 15:30:00"
    (gap,) = gaps(frame)
    assert gap[:2] == ("2022-06-06T04:00:00", "2022-06-14T15:00:30")
    assert "729 days back" in gap[2]
    assert [t["outcome"] for t in provenance(frame)["attempts"]] == ["CapabilityError", "ok"]


def test_a_range_as_long_as_the_history_of_its_vendor_is_complete(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    for _ in range(2):
        frame = manager.get_ohlcv("AAPL", "1h", period="730d", strict=True)
        assert provenance(frame)["complete"]
        (gap,) = gaps(frame)
        assert gap[1:] == (
            "2022-06-14T15:00:30",
            "the history of 1h bars at yahoo begins at 2022-06-14 15:00 UTC",
        )
    with pytest.raises(IncompleteDataError, match="only 729 days back"):
        manager.get_ohlcv("AAPL", "1h", period="732d", strict=True)
    assert "only 729 days back" in gaps(manager.get_ohlcv("AAPL", "1h", period="3y"))[0][2]
    with pytest.raises(AllProvidersFailedError, match="only 29 days back"):
        manager.get_ohlcv("AAPL", "1m", "2024-05-13", "2024-05-13")
    manager.get_ohlcv("MSFT", "1h", "2024-06-03", "2024-06-04")
    vendors.fault("yahoo", Fault.status(503))
    with pytest.raises(IncompleteDataError, match="503"):  # a day that failed for another reason
        manager.get_ohlcv("MSFT", "1h", "2024-06-03", "2024-06-05", strict=True)


def test_an_offline_request_for_a_span_recorded_as_empty_is_not_an_error(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.fault("yahoo", Fault.empty())
    manager.get_ohlcv("NEWUSDT", "1h", "2024-01-01", "2024-01-02")
    assert manager.get_ohlcv("NEWUSDT", "1h", "2024-01-01", "2024-01-02", offline=True).empty


@pytest.fixture
def five(
    manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> dict[str, ScriptedVendor]:
    """Return five vendors of shares of one kind, in the order in which they are queried."""
    found = {}
    for name in ("one", "two", "three", "four", "five"):
        found[name] = ScriptedVendor(vendors, like=YahooDataDownloader)
        found[name].name = name
    route_to(monkeypatch, manager, **found)
    return found


@pytest.mark.parametrize(
    "asked",
    [
        ("1d", "2024-06-08", "2024-06-09"),
        ("1h", "2024-06-07T21:00", "2024-06-10T12:00"),
        ("1d", "2024-03-29", "2024-03-31"),
    ],
    ids=["weekend", "night", "good friday"],
)
def test_a_window_without_sessions_is_requested_from_one_vendor(
    manager: DataManager, five: dict[str, ScriptedVendor], asked: tuple[str, str, str]
) -> None:
    for expected in (1, 1):
        frame = manager.get_ohlcv("AAPL", *asked, strict=True)
        assert (len(frame), gaps(frame)) == (0, [])
        assert sum(len(vendor.asked) for vendor in five.values()) == expected
    assert [a["outcome"] for a in provenance(frame)["attempts"]] == []


def test_a_failed_request_for_closed_days_goes_to_the_next_vendor_only(
    manager: DataManager, five: dict[str, ScriptedVendor]
) -> None:
    five["one"].errors = [UnavailableError("down")]
    for _ in range(2):
        frame = manager.get_ohlcv("AAPL", "1d", "2024-06-08", "2024-06-09", strict=True)
        assert len(frame) == 0
        assert [len(vendor.asked) for vendor in five.values()] == [1, 1, 0, 0, 0]


def test_a_window_with_sessions_is_requested_from_every_vendor(
    manager: DataManager, five: dict[str, ScriptedVendor]
) -> None:
    for vendor in five.values():
        vendor.spoil = lambda rows: []
    with pytest.raises(IncompleteDataError, match="has no bar"):
        manager.get_ohlcv("AAPL", "1d", "2024-06-06", "2024-06-07", strict=True)
    assert [len(vendor.asked) for vendor in five.values()] == [1] * 5
