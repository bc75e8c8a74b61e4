"""A cache that can only be read costs no bar: it answers, and is warned about once."""

from __future__ import annotations

import errno
import os
import warnings
from typing import Any

import pandas as pd
import pytest

from src.data.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.disk.files import DiskStep
from src.data.errors import ReadOnlyCacheWarning
from tests.cache.disks import CHANGING
from tests.vendor_server import VendorServer

from .oracle import assert_true
from .twin import told


@pytest.fixture
def read_only(manager: DataManager, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Let the manager's disk refuse every change while the count in the dict is not negative."""
    disk, tries = manager.cache.store._disk, {"refused": -1}
    perform = disk.perform

    def refusing(step: DiskStep, call: Any) -> Any:
        opens_to_write = step.name == "open" and call.args[-1] & os.O_RDWR
        if tries["refused"] >= 0 and (step.name in CHANGING or opens_to_write):
            tries["refused"] += 1
            raise OSError(errno.EROFS, "read-only file system")
        return perform(step, call)

    monkeypatch.setattr(disk, "perform", refusing)
    return tries


def test_fetches_still_work_and_one_warning_says_it(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, read_only: dict[str, int],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    held = manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-05-02")
    read_only["refused"] = 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for symbol, timeframe in (("BTCUSDT", "1h"), ("AAPL", "1d"), ("AAPL", "1d")):
            frame = manager.get_ohlcv(symbol, timeframe, "2024-05-01", "2024-05-03", strict=True)
            assert_true(frame, vendors, clock, symbol, timeframe, "2024-05-01", "2024-05-04")
            assert any("is read-only" in said for said in told(frame)["problems"])
    (one,) = [w for w in caught if issubclass(w.category, ReadOnlyCacheWarning)]
    assert "bars are returned" in str(one.message)
    assert one.filename == __file__, "it points at the line that asked"
    assert read_only["refused"] == 1, "and then left in peace"
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == 1
    again = manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-05-02", strict=True)
    pd.testing.assert_frame_equal(again, held)
    assert told(again)["from_cache"] == 1.0


def test_pinned_and_statistics_and_versions_work_too(
    manager: DataManager, vendors: VendorServer, read_only: dict[str, int]
) -> None:
    held = manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-05-02")
    read_only["refused"] = 0
    with pytest.warns(ReadOnlyCacheWarning):
        pinned = manager.get_ohlcv(
            "BTCUSDT", "1h", "2024-05-01", "2024-05-02", provider="binance", strict=True
        )
    pd.testing.assert_frame_equal(pinned, held)
    assert manager.get_cache_stats()["files_count"] == 1
    version = told(held)["generation"]
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-05-02", version=version)
    pd.testing.assert_frame_equal(frame, held)
    assert manager.cache.maintenance.check(manager.cache.maintenance.series()) == ([], [])
