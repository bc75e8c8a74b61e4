"""Common pitfalls of market data, each produced by the vendor server and tested with the whole library.

``docs/pitfalls.md`` lists them all; this file contains those that no other end-to-end test shows.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.request.http import HttpResponse
from src.data.core.vendors.binance.bars import BinanceDataDownloader
from src.data.core.vendors.factory import downloader_for
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    BadSymbolError,
    DataError,
    IncompleteDataError,
    RateLimitedError,
)
from tests.vendor_server import Fault, VendorServer

from .oracle import assert_true, ms
from .scripted_vendor import ScriptedVendor, gaps, provenance, route_to

DAY = ("BTCUSDT", "1h", "2024-06-01", "2024-06-01")
NOTE = '{"Note": "Thank you! Our standard limit is 25 requests a day."}'


class Noting(BinanceDataDownloader):
    """Reports a rate limit with HTTP 200 and a sentence in place of the data."""

    name = "noting"

    def classify(self, response: HttpResponse) -> DataError | None:
        if b'"Note"' in response.body or b'"Information"' in response.body:
            return RateLimitedError("noting counts too many requests", retry_after=3600)
        return super().classify(response)


@pytest.fixture
def noting(manager: DataManager, vendors: VendorServer) -> Noting:
    """Return that vendor at the vendor server, at the pace and on the circuits of the manager."""
    make_sender = manager.provider_selector.make_sender
    assert make_sender is not None
    sender = make_sender("binance")
    return Noting(base_url=vendors.base_url("binance"), sender=sender)


@pytest.mark.parametrize("said", [NOTE, NOTE.replace("Note", "Information")])
def test_a_rate_limit_sent_with_status_200_is_not_an_empty_answer(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, noting: Noting,
    monkeypatch: pytest.MonkeyPatch, said: str,
) -> None:  # fmt: skip
    route_to(monkeypatch, manager, noting=noting)
    vendors.fault("binance", Fault.lie(said))
    for _ in range(2):
        with pytest.raises(AllProvidersFailedError) as caught:
            manager.get_ohlcv(*DAY)
        assert caught.value.attempts[0].outcome == "RateLimitedError"
    assert vendors.count() == 1, "a request was sent during the requested pause"
    assert manager.rate_limiters["binance"].used()["60s"] == 2, "the refusal was not counted"
    vendors.heal()
    clock.advance(3600)
    frame = manager.get_ohlcv(*DAY, strict=True)
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-06-01", "2024-06-02")


@pytest.mark.parametrize("fault", [Fault.cap(7), Fault.cap_newest(7)], ids=lambda f: f.name)
def test_a_page_cut_short_by_the_vendor_is_completed_or_reported_as_gaps(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, fault: Fault,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    twin = ScriptedVendor(vendors)
    binance = downloader_for(manager.provider_selector, "binance")
    route_to(monkeypatch, manager, binance=binance)
    vendors.fault("binance", fault)
    with pytest.raises(IncompleteDataError) as caught:
        manager.get_ohlcv(*DAY, strict=True)
    part = caught.value.frame
    assert part is not None
    missing_ms = [ms(end) - ms(start) for start, end, _ in gaps(part)]
    assert sum(missing_ms) // 3_600_000 + len(part) == 24
    route_to(monkeypatch, manager, binance=binance, twin=twin)
    frame = manager.get_ohlcv(*DAY, force_refresh=True, strict=True)
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-06-01", "2024-06-02")


def test_the_last_closed_bar_is_kept_if_a_vendor_sends_no_forming_one(
    manager: DataManager, vendors: VendorServer, clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    route_to(monkeypatch, manager, twin=ScriptedVendor(vendors))
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-12T10:00:00")
    assert frame.index[-1] == pd.Timestamp("2024-06-12 14:00"), "the clock stands at 15:00:30"
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-06-12T10:00", "2024-06-12T15:00")


def test_a_vendor_that_refuses_the_region_is_queried_once_and_the_next_at_once(
    manager: DataManager, vendors: VendorServer, clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    twin = ScriptedVendor(vendors)
    binance = downloader_for(manager.provider_selector, "binance")
    route_to(monkeypatch, manager, binance=binance, twin=twin)
    vendors.fault("binance", Fault.status(451))
    for day in ("2024-06-01", "2024-06-02"):
        frame = manager.get_ohlcv("BTCUSDT", "1h", day, day, strict=True)
        assert provenance(frame)["vendors"] == ["twin"]
    assert vendors.count() == 1
    assert clock.slept == []


def test_retries_of_one_vendor_and_failover_to_the_next_do_not_multiply(
    manager: DataManager, vendors: VendorServer
) -> None:
    for vendor in ("binance", "yahoo"):
        vendors.fault(vendor, Fault.status(503))
    with pytest.raises(AllProvidersFailedError):
        manager.get_ohlcv("BTCUSDT", "1d", "2024-06-03", "2024-06-04")
    assert (vendors.count("binance"), vendors.count("yahoo")) == (3, 3)


def test_a_minute_and_a_month_are_separate_series_from_the_request_to_the_disk(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, tmp_path: Path
) -> None:
    months = manager.get_ohlcv("BTCUSDT", "1M", "2024-03-01", "2024-05-31", strict=True)
    minutes = manager.get_ohlcv("BTCUSDT", "1m", "2024-05-31", "2024-05-31", strict=True)
    assert_true(months, vendors, clock, "BTCUSDT", "1M", "2024-03-01", "2024-06-01")
    assert_true(minutes, vendors, clock, "BTCUSDT", "1m", "2024-05-31", "2024-06-01")
    folders = {path.name.lower() for path in (tmp_path / "cache" / "ohlcv" / "BTCUSDT").iterdir()}
    assert len(folders - {".lock", "actions.json"}) == 2, (
        "one folder on a case-insensitive file system"
    )


@pytest.fixture
def host_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Return a setter of the time zone of this machine."""

    def become(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield become
    monkeypatch.undo()
    time.tzset()


def test_the_zone_of_the_machine_does_not_matter(
    tmp_path: Path, rules: Path, vendors: VendorServer, clock: ManualClock,
    host_zone: Callable[[str], None],
) -> None:  # fmt: skip
    frames: dict[str, list[pd.DataFrame]] = {}
    stored: dict[str, list[bytes]] = {}
    for zone in ("UTC", "Asia/Kolkata", "America/Los_Angeles"):
        host_zone(zone)
        assert time.tzname[0] != "UTC" or zone == "UTC", (
            "the time zone was not set: the test would check nothing"
        )
        folder = tmp_path / zone.replace("/", "-")
        manager = DataManager(folder, rules, clock=clock)
        frames[zone] = [
            manager.get_ohlcv("AAPL", "1d", "2024-03-07", "2024-03-13", strict=True),
            manager.get_ohlcv("AAPL", "1h", "2024-03-08", "2024-03-11", strict=True),
            manager.get_ohlcv("BTCUSDT", "4h", "2024-03-09T22:00", "2024-03-11T01:00", strict=True),
        ]
        files = sorted(folder.rglob("*.csv.gz"))
        stored[zone] = [gzip.decompress(path.read_bytes()) for path in files]
    assert len(stored["UTC"]) == 3
    for zone, found in frames.items():
        for mine, theirs in zip(found, frames["UTC"], strict=True):
            pd.testing.assert_frame_equal(mine, theirs)
        assert stored[zone] == stored["UTC"]
    days, hours, coins = frames["UTC"]
    assert_true(days, vendors, clock, "AAPL", "1d", "2024-03-07", "2024-03-14", "split")
    assert (len(hours), len(coins)) == (14, 7)


def test_spellings_of_one_share_are_one_series_and_ambiguous_symbols_are_refused(
    manager: DataManager, vendors: VendorServer
) -> None:
    asked = [manager.get_ohlcv(symbol, "1d", "2024-06-03", "2024-06-07", strict=True)
             for symbol in ("BRK.B", "BRK-B", "BRK/B", "brk.b")]  # fmt: skip
    assert vendors.count() == 1
    for frame in asked[1:]:
        pd.testing.assert_frame_equal(frame, asked[0])
    for doubtful in ("EURUSD", "SOL"):
        with pytest.raises(BadSymbolError) as caught:
            manager.get_ohlcv(doubtful, "1d", "2024-06-03", "2024-06-07")
        assert caught.value.hint
    assert vendors.count() == 1


@pytest.mark.parametrize(
    "symbol, vendor, unit, venue",
    [
        ("BTCUSDT", "binance", "base", "binance"), ("BTC-USD", "yahoo", "quote", "aggregate"),
        ("AAPL", "yahoo", "shares", "consolidated"),
    ],
)  # fmt: skip
def test_an_answer_names_the_unit_and_the_venue_of_its_volume(
    manager: DataManager, symbol: str, vendor: str, unit: str, venue: str
) -> None:
    frame = manager.get_ohlcv(symbol, "1d", "2024-06-03", "2024-06-07", provider=vendor)
    kind = provenance(frame)["kind"]
    assert (kind["volume"], kind["venue"]) == (unit, venue)
