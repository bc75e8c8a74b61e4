"""Eviction at the cache's size limit: evicted bars are fetched again, irreplaceable ones stay."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.bars import refetchable
from src.data.core.cache.facade.unified_cache import UnifiedCache
from src.data.core.cache.retention import eviction
from src.data.core.cache.retention import manager as retention
from src.data.core.cache.retention.inventory import Inventory, Size
from src.data.core.cache.store import BarStore
from src.data.core.cache.write import write_guard
from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk, DiskStep, Space
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.request.capabilities import Fetched, FetchQuery
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.vendors.binance.bars import BinanceDataDownloader
from src.data.data_manager import DataManager
from src.data.errors import BadSymbolError
from tests.vendor_server import VendorServer

from .oracle import assert_true
from .scripted_vendor import ScriptedVendor, gaps, provenance, route_to

BTC = ("BTCUSDT", "1h", "2024-06-01", "2024-06-11")
ETH = ("ETHUSDT", "1h", "2024-06-01", "2024-06-11")
HOURS = Timeframe.parse("1h")
MIB = 1 << 20


@pytest.fixture(autouse=True)
def unsaid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test see the warnings that are logged once per cache folder."""
    monkeypatch.setattr(retention, "warned", set())
    monkeypatch.setattr(write_guard, "warned_full", set())


def limit(manager: DataManager, size: float) -> None:
    """Allow the cache of ``manager`` so many bytes."""
    manager.cache.max_size_gb = size / eviction.BYTES_IN_GB


def rest(manager: DataManager, clock: ManualClock) -> None:
    """Let an hour pass without any use."""
    manager.cache.look_after()
    clock.advance(3600)


def squeeze(manager: DataManager, clock: ManualClock) -> int:
    """Drop all that may go; return the number of years."""
    rest(manager, clock)
    limit(manager, 1)
    dropped = manager.cache.enforce_limit()
    limit(manager, 0)
    return dropped


def why(manager: DataManager) -> list[str]:
    return list(manager.cache.freeable().kept)


# --- again on demand -----------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [BTC, ("AAPL", "1d", "2024-03-01", "2024-06-11")])
def test_evicted_bars_are_fetched_again_and_are_the_same(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, request_: tuple[str, ...]
) -> None:
    before = manager.get_ohlcv(*request_)
    assert squeeze(manager, clock) == 1
    vendors.clear_log()
    again = manager.get_ohlcv(*request_, strict=True)
    pd.testing.assert_frame_equal(before, again)
    assert vendors.count() > 0
    assert provenance(again)["from_cache"] == 0.0
    vendors.clear_log()
    pd.testing.assert_frame_equal(before, manager.get_ohlcv(*request_))
    assert vendors.count() == 0


def test_returned_frames_do_not_change_on_eviction(
    manager: DataManager, clock: ManualClock
) -> None:
    manager.get_ohlcv(*BTC)
    frame = manager.get_ohlcv(*BTC)  # out of the columnar file
    copy = frame.copy(deep=True)
    assert squeeze(manager, clock) == 1
    assert not list(manager.cache.cache_dir.rglob("*.bars"))
    manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-06-11")
    pd.testing.assert_frame_equal(frame, copy)


def test_a_year_evicted_during_a_call_is_still_returned(
    manager: DataManager, vendors: VendorServer, clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    before = manager.get_ohlcv(*BTC)
    rest(manager, clock)
    stretch, dropped = BarStore.stored_span, list[int]()

    def too_late(
        store: BarStore, key: SeriesKey, span: Span, since: Any = None, **more: Any
    ) -> Any:
        if not dropped:  # between the look at the metadata and the bars, once
            limit(manager, 1)
            clock.advance(3600)
            dropped.append(manager.cache.enforce_limit())
            limit(manager, 0)
        return stretch(store, key, span, since, **more)

    monkeypatch.setattr(BarStore, "stored_span", too_late)
    frame = manager.get_ohlcv(*BTC, strict=True)
    assert dropped == [1]
    assert gaps(frame) == []
    pd.testing.assert_frame_equal(frame, before)


def test_years_that_a_request_is_about_to_need_are_not_evicted(
    manager: DataManager, vendors: VendorServer, clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Another process evicts between its read of the store and its commit."""
    manager.get_ohlcv("BTCUSDT", "1d", "2023-11-01", "2023-12-31")
    manager.get_ohlcv("BTCUSDT", "1d", "2024-05-01", "2024-06-10")
    rest(manager, clock)
    fetch, dropped = BinanceDataDownloader.fetch, list[int]()

    def meanwhile(self: BinanceDataDownloader, query: FetchQuery) -> Fetched:
        limit(manager, 1)
        dropped.append(manager.cache.enforce_limit())
        limit(manager, 0)
        return fetch(self, query)

    monkeypatch.setattr(BinanceDataDownloader, "fetch", meanwhile)
    frame = manager.get_ohlcv("BTCUSDT", "1d", "2023-11-01", "2024-06-10", strict=True)
    assert dropped == [0]
    assert_true(frame, vendors, clock, "BTCUSDT", "1d", "2023-11-01", "2024-06-11")


# --- by itself -----------------------------------------------------------------------------------


def test_the_managers_own_commits_keep_the_limit(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    manager.get_ohlcv(*BTC)
    rest(manager, clock)
    folder = Size()
    folder.add_folder(str(manager.cache.ohlcv_dir / "BTCUSDT"))
    limit(manager, folder.bytes + 2000)
    frame = manager.get_ohlcv(*ETH)
    assert manager.cache.list_symbols() == ["ETHUSDT"]
    assert_true(frame, vendors, clock, "ETHUSDT", "1h", "2024-06-01", "2024-06-12")
    limit(manager, 1)  # far too little even for what is asked now
    clock.advance(3600)
    assert len(manager.get_ohlcv("ETHUSDT", "1h", "2024-05-01", "2024-06-11", strict=True)) == 1008
    assert manager.cache.list_symbols() == ["ETHUSDT"]


def test_hits_do_not_measure_the_cache(
    manager: DataManager, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.get_ohlcv(*BTC)
    limit(manager, 1)

    def never(root: Path) -> None:
        raise AssertionError("measured for a hit")

    monkeypatch.setattr(Inventory, "contents", never)
    monkeypatch.setattr(Disk, "space", never)
    manager.get_ohlcv(*BTC)


def test_a_job_enforces_the_cache_limit_once_at_its_end(
    tmp_path: Path, rules: Path, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from src.data.core.cache.facade.folder import CacheFolder
    from src.data.jobs.fill.populate import populate_cache

    looks: list[object] = []
    monkeypatch.setattr(CacheFolder, "look_after", lambda self: looks.append(self))
    populate_cache(["BTCUSDT"], ["1d"], "2024-06-01", "2024-06-05", tmp_path / "cache",
                   config_path=rules)  # fmt: skip
    assert len(looks) == 1


def test_last_use_of_a_series_is_written_by_jobs_and_read_by_other_processes(
    make: Callable[[], DataManager], clock: ManualClock
) -> None:
    manager = make()
    manager.get_ohlcv(*BTC)
    for _ in range(5):
        manager.get_ohlcv(*BTC)
    manager.cache.look_after()
    key = SeriesKey("BTCUSDT", HOURS)
    assert make().cache.last_used_ms(key) == clock.now_ms()
    (manager.cache.metadata_dir / "index.sqlite").unlink()
    assert make().cache.last_used_ms(key) == 0


# --- what stays ----------------------------------------------------------------------------------


def test_bars_put_by_a_program_are_not_evicted(manager: DataManager, clock: ManualClock) -> None:
    frame = manager.get_ohlcv(*BTC)
    manager.clear_cache(everything=True)
    manager.cache.put(frame, "BTCUSDT", "1h", provider="binance", adjustment="raw")
    assert squeeze(manager, clock) == 0
    assert why(manager) == [eviction.HANDED_IN]


def test_bars_older_than_a_vendors_history_are_not_evicted(
    manager: DataManager, clock: ManualClock
) -> None:
    manager.get_ohlcv("AAPL", "5m", "2024-06-03", "2024-06-11")
    assert squeeze(manager, clock) == 1  # 59 days of it are served
    manager.get_ohlcv("AAPL", "5m", "2024-05-01", "2024-06-11")
    assert squeeze(manager, clock) == 0  # in four weeks the first of them are not
    assert why(manager) == [refetchable.TOO_OLD]


def test_a_clock_behind_evicts_no_bars_beyond_a_vendors_history(
    manager: DataManager, clock: ManualClock
) -> None:
    manager.get_ohlcv("AAPL", "5m", "2024-05-01", "2024-05-03")
    clock.advance(30 * 24 * 3600)
    manager.get_ohlcv("AAPL", "5m", "2024-07-08", "2024-07-10")
    rest(manager, clock)
    clock.advance(-45 * 24 * 3600)
    assert squeeze(manager, clock) == 0
    assert why(manager) == [refetchable.TOO_OLD]


def test_a_new_process_evicts_no_delisted_symbol_when_the_newer_series_is_gone(
    tmp_path: Path, rules: Path, manager: DataManager, clock: ManualClock
) -> None:
    manager.get_ohlcv("AAPL", "5m", "2024-06-03", "2024-06-05")
    clock.advance(30 * 24 * 3600)
    manager.get_ohlcv("BTCUSDT", "1h", "2024-07-08", "2024-07-10")
    assert squeeze(manager, clock) == 1
    assert why(manager) == [refetchable.TOO_OLD]
    manager.cache.clear("BTCUSDT")
    clock.advance(-45 * 24 * 3600)
    another = DataManager(tmp_path / "cache", rules, clock=clock)
    assert squeeze(another, clock) == 0
    assert why(another) == [refetchable.TOO_OLD]


def test_bars_of_a_vendor_that_is_no_longer_in_the_rules_are_not_evicted(
    tmp_path: Path, rules: Path, manager: DataManager, clock: ManualClock
) -> None:
    manager.get_ohlcv("AAPL", "1d", "2024-05-01", "2024-06-11")
    own = tmp_path / "own.yaml"
    local = "stock_daily: {primary: local}\n"
    own.write_text(local + rules.read_text())
    another = DataManager(tmp_path / "cache", own, clock=clock)
    assert squeeze(another, clock) == 0
    assert why(another) == [refetchable.NOT_ASKED]


def test_bars_of_a_users_own_vendor_are_not_evicted(
    manager: DataManager, vendors: VendorServer, clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    route_to(monkeypatch, manager, twin=ScriptedVendor(vendors))
    manager.get_ohlcv(*BTC)
    assert squeeze(manager, clock) == 0
    assert why(manager) == [refetchable.FILES]


def test_bars_of_a_symbol_now_unknown_to_its_vendor_are_not_evicted(
    manager: DataManager, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.get_ohlcv(*BTC)
    rest(manager, clock)
    monkeypatch.setattr("src.data.core.vendors.base.unknown_symbol_error", lambda *_: LookupError())
    assert why(manager) == [refetchable.NOT_KNOWN]


def test_bars_of_a_symbol_last_fetched_a_month_ago_are_not_evicted(
    manager: DataManager, clock: ManualClock
) -> None:
    manager.get_ohlcv(*BTC)
    clock.advance(31 * 24 * 3600)
    assert why(manager) == [eviction.MAYBE_DELISTED]
    manager.get_ohlcv("BTCUSDT", "1d", bars=2)  # its vendor still has it
    rest(manager, clock)
    assert why(manager) == []


# --- a disk that is nearly full ------------------------------------------------------------------


@pytest.fixture
def disk(manager: DataManager, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Let the manager's disk have so many bytes free of a terabyte."""
    switch, perform = {"free": 1 << 39}, manager.cache.store.parts.disk.perform

    def told_otherwise(step: DiskStep, call: Any) -> Any:
        if step.name == "space":
            return Space(switch["free"], 1 << 40)
        return perform(step, call)

    monkeypatch.setattr(manager.cache.store.parts.disk, "perform", told_otherwise)
    return switch


def everything(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and "_metadata" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_bars_are_returned_and_not_stored_below_the_disk_reserve(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, disk: dict[str, int],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    manager.get_ohlcv(*BTC)
    before = everything(manager.cache.cache_dir / "ohlcv")
    disk["free"] = 1023 * MIB
    with caplog.at_level(logging.WARNING, "onetape"):
        for symbol in ("ETHUSDT", "AAPL"):
            frame = manager.get_ohlcv(symbol, "1h", "2024-06-03", "2024-06-10", strict=True)
            assert_true(frame, vendors, clock, symbol, "1h", "2024-06-03", "2024-06-11")
            assert any("reserve" in said for said in provenance(frame)["problems"])
    assert [r.name for r in caplog.records if "not cached" in r.getMessage()] == [
        "onetape.data.core.cache.write.write_guard"
    ]
    assert everything(manager.cache.cache_dir / "ohlcv").items() >= before.items()
    assert manager.cache.list_symbols() == ["BTCUSDT"]
    assert not list(manager.cache.cache_dir.rglob("*.tmp"))
    disk["free"] = 1100 * MIB
    manager.get_ohlcv(*ETH)
    assert "ETHUSDT" in manager.cache.list_symbols()


def test_columnar_files_are_deleted_first_to_free_space(
    manager: DataManager, disk: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.get_ohlcv(*BTC)
    manager.get_ohlcv(*BTC)
    (columns,) = manager.cache.cache_dir.rglob("*.bars")
    remove = Disk.remove

    def freeing(self: Disk, path: Path) -> None:
        disk["free"] += 1100 * MIB if path == columns and columns.exists() else 0
        remove(self, path)

    monkeypatch.setattr(Disk, "remove", freeing)
    disk["free"] = 20 * MIB
    frame = manager.get_ohlcv(*ETH)
    assert not any("not stored" in said for said in provenance(frame)["problems"])
    assert not columns.exists()
    assert manager.cache.list_symbols() == ["BTCUSDT", "ETHUSDT"]


def test_columns_are_not_written_on_a_full_disk(
    make: Callable[[], DataManager], manager: DataManager, disk: dict[str, int]
) -> None:
    store = manager.cache.store
    make().get_ohlcv(*BTC)
    (columns,) = manager.cache.cache_dir.rglob("*.bars")
    columns.unlink()
    disk["free"] = 20 * MIB
    first = store.read(SeriesKey("BTCUSDT", HOURS), Span(0, 1 << 41))
    assert not columns.exists()
    disk["free"] = 1 << 39
    again = store.read(SeriesKey("BTCUSDT", HOURS), Span(0, 1 << 41))
    assert columns.exists()
    assert len(first[0]) == len(again[0]) == 264


@pytest.mark.parametrize(
    ("said", "free", "is_stored"),
    [("", 1023, False), ("", 1025, True), ("100", 99, False), ("100", 101, True), ("0", 1, True)],
)
def test_the_rules_set_how_much_disk_space_stays_free(
    tmp_path: Path, rules: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch,
    said: str, free: int, is_stored: bool,
) -> None:  # fmt: skip
    rules.write_text(rules.read_text() + (f"cache: {{min_free_mb: {said}}}\n" if said else ""))
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    monkeypatch.setattr(Disk, "space", lambda self, folder: Space(free * MIB, 1 << 40))
    manager.get_ohlcv("BTCUSDT", "1d", "2024-06-01", "2024-06-11")
    assert bool(manager.cache.list_symbols()) == is_stored


def test_bars_are_stored_on_a_disk_that_does_not_report_its_free_space(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    perform = manager.cache.store.parts.disk.perform

    def refusing(step: DiskStep, call: Any) -> Any:
        if step.name == "space":
            raise OSError(errno.ENOSYS, "not told")
        return perform(step, call)

    monkeypatch.setattr(manager.cache.store.parts.disk, "perform", refusing)
    manager.get_ohlcv(*BTC)
    assert manager.cache.list_symbols() == ["BTCUSDT"]


def test_clear_cache_deletes_a_symbol_under_each_spelling_and_refuses_an_invalid_one(
    manager: DataManager,
) -> None:
    days = "2024-05-01", "2024-05-10"
    for symbol in ("BTCUSDT", "AAPL"):
        manager.get_ohlcv(symbol, "1d", *days)
    stored = manager.cache.get("BTCUSDT", "1d", *days)
    for symbol in ("BTC/USDT", "odd one"):
        UnifiedCache(manager.cache.cache_dir, 10.0).put(stored, symbol, "1d")
    manager.clear_cache("btcusdt", "1h")
    assert manager.cache.list_symbols() == ["AAPL", "BTC/USDT", "BTCUSDT", "odd one"]
    manager.clear_cache("BTC/USDT")
    manager.clear_cache("aapl", "1d")
    assert manager.cache.list_symbols() == ["odd one"]
    for symbol in ("SOL", "other one", "YAHOO:AAPL"):
        with pytest.raises(BadSymbolError):
            manager.clear_cache(symbol)
    manager.clear_cache("odd one")
    assert manager.cache.list_symbols() == []
