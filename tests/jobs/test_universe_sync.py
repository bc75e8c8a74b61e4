from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest

from src.data.cache.unified_cache import UnifiedCache
from src.data.errors import QueryError
from src.data.v2.sync import DataSyncManager, SyncReport
from tests.vendor_server import VendorServer

pytestmark = pytest.mark.usefixtures("rules")


def sync(manager: DataSyncManager, name: str, timeframes: list[str]) -> SyncReport:
    return asyncio.run(manager.sync_universe(name, timeframes))


def test_a_universe_is_synced_and_failures_are_counted(
    tmp_path: Path, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = SimpleNamespace(monotonic=iter([100.0, 107.5, 200.0, 203.0]).__next__)
    monkeypatch.setattr("src.data.v2.sync.time", times)
    universes = {"mine": ["BTCUSDT", "AAPL", "ZZZZQ"]}
    manager = DataSyncManager(UnifiedCache(tmp_path), universes, start_date="2024-05-01")
    report = sync(manager, "mine", ["1h", "1d"])
    assert (report.universe, report.symbols_synced, report.timeframes_synced) == ("mine", 3, 2)
    assert (report.successful_syncs, report.failed_syncs) == (4, 2)
    assert report.sync_duration == 7.5, "seconds from the call to its end"
    assert report.details["failed"] == ["ZZZZQ_1h", "ZZZZQ_1d"]
    vendors.clear_log()
    again = sync(DataSyncManager(str(tmp_path), universes, start_date="2024-05-01"), "mine", ["1h"])
    assert again.successful_syncs == 2
    assert vendors.count("binance") <= 1, "of the running hour at most"


def test_a_universe_that_is_none(tmp_path: Path, vendors: VendorServer) -> None:
    manager = DataSyncManager(tmp_path, {"mine": ["AAPL"]})
    with pytest.raises(QueryError, match="known: mine"):
        sync(manager, "other", ["1d"])
    with pytest.raises(QueryError):
        sync(manager, "mine", ["1x"])
    assert vendors.count() == 0
