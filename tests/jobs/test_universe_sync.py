"""The sync of a universe: concurrent series of a vendor, failures and rate limits."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from src.data.core.cache.facade.unified_cache import UnifiedCache
from src.data.core.clock import ManualClock
from src.data.doors.compat.universe_sync import DataSyncManager, SyncReport
from src.data.errors import QueryError
from tests.core.cache.counts import FULL
from tests.vendor_server import Fault, VendorServer

pytestmark = pytest.mark.usefixtures("rules")


COINS = {"coins": ["BTCUSDT", "ETHUSDT", "SOLUSDT", "HALTUSDT"]}
# For four coins these are more series than are fetched from a vendor at once.
STEPS = ["15m", "30m", "1h", "4h"] if FULL else ["30m", "1h", "4h"]


def sync(manager: DataSyncManager, name: str, timeframes: list[str]) -> SyncReport:
    return asyncio.run(manager.sync_universe(name, timeframes))


def test_a_universe_that_is_a_string_is_refused(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="must be a list, not the string 'AAPL'"):
        DataSyncManager(UnifiedCache(tmp_path), {"mine": "AAPL"})


def test_a_universe_is_synced_and_failures_are_counted(
    tmp_path: Path, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = SimpleNamespace(monotonic=iter([100.0, 107.5, 200.0, 203.0]).__next__)
    monkeypatch.setattr("src.data.doors.compat.universe_sync.time", times)
    universes = {"mine": ["BTCUSDT", "AAPL", "ZZZZQ"]}
    manager = DataSyncManager(UnifiedCache(tmp_path), universes, start_date="2024-05-01")
    report = sync(manager, "mine", ["1h", "1d"])
    assert (report.universe, report.symbols_synced, report.timeframes_synced) == ("mine", 3, 2)
    assert (report.successful_syncs, report.failed_syncs) == (4, 2)
    assert report.sync_duration == 7.5, "seconds from the call to its end"
    assert report.details["failed"] == ["ZZZZQ_1h", "ZZZZQ_1d"]
    rows = {(each["symbol"], each["timeframe"]): each["rows"] for each in report.details["results"]}
    assert rows["BTCUSDT", "1d"] == 31 + 11, "from the start date to the last that has closed"
    vendors.clear_log()
    again = sync(DataSyncManager(str(tmp_path), universes, start_date="2024-05-01"), "mine", ["1h"])
    assert again.successful_syncs == 2
    assert vendors.count("binance") <= 1, "at most in the running hour"


def test_an_unknown_universe_or_timeframe_is_refused(tmp_path: Path, vendors: VendorServer) -> None:
    manager = DataSyncManager(tmp_path, {"mine": ["AAPL"]})
    with pytest.raises(QueryError, match="use one of mine"):
        sync(manager, "other", ["1d"])
    with pytest.raises(QueryError):
        sync(manager, "mine", ["1x"])
    assert vendors.count() == 0


def test_a_sync_fetches_ten_series_of_a_vendor_at_once_without_blocking_the_loop(
    rules: Path, tmp_path: Path, vendors: VendorServer
) -> None:
    """Those that another vendor has take none of the ten places, and wait for none."""
    fast = "requests_per_minute: 60000, requests_per_second: 1000, burst_size: 1000"
    rules.write_text(rules.read_text().replace("http}", f"http, rate_limits: {{{fast}}}}}"))
    universe = {"all": [*COINS["coins"], "AAPL"]}
    manager = DataSyncManager(tmp_path, universe, start_date="2024-06-10")
    for vendor in ("binance", "yahoo"):
        vendors.fault(vendor, Fault.hold())
    watchdog = threading.Timer(
        20.0, vendors.heal
    )  # a blocked loop is a failure, not a hanging suite
    watchdog.start()

    async def synced() -> tuple[bool, bool, bool, bool, SyncReport]:
        job = asyncio.create_task(manager.sync_universe("all", STEPS))
        ten = await asyncio.to_thread(vendors.wait_for, "binance", 10, 20.0)
        share = await asyncio.to_thread(vendors.wait_for, "yahoo", len(STEPS) - 1, 20.0)
        more = await asyncio.to_thread(vendors.wait_for, "binance", 11, 0.2)
        is_over = job.done()
        vendors.heal()
        return ten, share, more, is_over, await job

    ten, share, more, is_over, report = asyncio.run(synced())
    watchdog.cancel()
    assert (ten, more, is_over) == (True, False, False), (
        "ten requests in flight, no eleventh, and the loop not blocked"
    )
    assert share, "those of a share, of another vendor, meanwhile (4h is made of 1h)"
    assert (report.successful_syncs, report.failed_syncs) == (5 * len(STEPS), 0)


def test_no_rate_limit_is_exceeded_by_concurrent_series(
    rules: Path, tmp_path: Path, vendors: VendorServer, clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Eight units in any two seconds; a request of bars costs Binance two."""
    limits = "rate_limits: {requests_per_second: 4, burst_size: 8, requests_per_minute: 1200}"
    rules.write_text(rules.read_text().replace("transport: http", f"transport: http, {limits}", 1))
    moved = threading.Condition()

    def sleep(seconds: float) -> None:
        """Wait until the time has been moved on: else who waits would move it for who is answered."""
        until = clock.monotonic() + seconds
        with moved:
            assert moved.wait_for(lambda: clock.monotonic() >= until, 20.0)

    monkeypatch.setattr(clock, "sleep", sleep)
    manager = DataSyncManager(tmp_path, COINS, start_date="2024-06-10")
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(sync, manager, "coins", STEPS)
        while not job.done():
            if not vendors.wait_for("binance", vendors.count("binance") + 1, 0.02):
                with moved:
                    clock.advance(0.25)
                    moved.notify_all()
    assert job.result().failed_syncs == 0
    asked = Counter(entry.time_ms for entry in vendors.log("binance", "klines"))
    assert sum(asked.values()) == 4 * len(STEPS)
    for time_ms in asked:
        others = (number for at, number in asked.items() if time_ms - 2000 < at <= time_ms)
        assert 2 * sum(others) <= 8
