"""A read-only cache: every bar is returned, with one warning."""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.cli import main
from src.data.core.clock import ManualClock
from src.data.core.disk.files import DiskStep
from src.data.data_manager import DataManager
from src.data.errors import ReadOnlyCacheWarning
from tests.core.cache.disks import CHANGING
from tests.vendor_server import VendorServer

from .oracle import assert_true
from .scripted_vendor import provenance


@pytest.fixture
def read_only(manager: DataManager, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Let the manager's disk refuse every change while the count in the dict is not negative."""
    disk, tries = manager.cache.store.parts.disk, {"refused": -1}
    perform = disk.perform

    def refusing(step: DiskStep, call: Any) -> Any:
        opens_to_write = step.name == "open" and call.args[-1] & os.O_RDWR
        if tries["refused"] >= 0 and (step.name in CHANGING or opens_to_write):
            tries["refused"] += 1
            raise OSError(errno.EROFS, "read-only file system")
        return perform(step, call)

    monkeypatch.setattr(disk, "perform", refusing)
    return tries


def test_fetches_with_a_read_only_cache_return_bars_and_warn_once(
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
            assert any("is read-only" in said for said in provenance(frame)["problems"])
    (one,) = [w for w in caught if issubclass(w.category, ReadOnlyCacheWarning)]
    assert "bars are returned" in str(one.message)
    assert one.filename == __file__, "the warning points at the calling line"
    assert read_only["refused"] == 1, "no further attempts to write"
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == 1
    again = manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-05-02", strict=True)
    pd.testing.assert_frame_equal(again, held)
    assert provenance(again)["from_cache"] == 1.0


def test_pinned_calls_statistics_and_versions_work_with_a_read_only_cache(
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
    version = provenance(held)["generation"]
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-05-02", version=version)
    pd.testing.assert_frame_equal(frame, held)
    assert manager.cache.maintenance.check(manager.cache.maintenance.series()) == ([], [])


# --- a folder that cannot be made ------------------------------------------------------------------


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let neither cache nor state folder be made, for the superuser neither; return the home folder."""
    (tmp_path / "file").touch()
    for name in ("DATA_CACHE_DIR", "ONETAPE_STATE_DIR", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "file" / "home"))
    return tmp_path / "file" / "home"


CALLS: dict[str, Callable[[DataManager], object]] = {
    "coin": lambda m: m.get_ohlcv("BTCUSDT", "1h", "2024-06-10", "2024-06-11", strict=True),
    "share": lambda m: m.get_ohlcv("AAPL", "1d", "2024-06-03", "2024-06-11", strict=True),
    "weeks": lambda m: m.get_ohlcv("AAPL", "1w", "2024-05-06", "2024-06-07", strict=True),
    "batch": lambda m: m.get_ohlcv_batch(["BTCUSDT"], "1h", "2024-06-10", "2024-06-11")["BTCUSDT"],
    "quote": lambda m: m.get_quote("BTCUSDT").price,
    "fundamentals": lambda m: m.get_fundamentals("AAPL"),
    "actions": lambda m: m.get_actions("AAPL"),
    "funding": lambda m: m.get_funding_rate("BTCUSDT", "2024-06-01", "2024-06-05"),
    "search": lambda m: m.search("AAPL"),
    "feed": lambda m: m.live_feed("BTCUSDT", "1h", 20).df,
}


@pytest.mark.parametrize("call", CALLS)
def test_bars_are_returned_from_a_read_only_home_and_one_warning_names_the_variable(
    homeless: Path, rules: Path, clock: ManualClock, vendors: VendorServer, call: str
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        manager = DataManager(config_path=rules, clock=clock)
        for _ in range(2):
            vendors.clear_log()
            found: Any = CALLS[call](manager)
            assert not hasattr(found, "__len__") or len(found)
            # Symbols and last prices are kept in memory.
            assert vendors.count() or call in ("search", "quote", "actions")
    (one,) = [w for w in caught if issubclass(w.category, ReadOnlyCacheWarning)]
    assert "DATA_CACHE_DIR" in str(one.message)
    assert str(homeless) in str(one.message)
    assert one.filename == __file__
    assert not homeless.exists()


@pytest.mark.filterwarnings("ignore::src.data.errors.ReadOnlyCacheWarning")
def test_a_job_in_a_read_only_home_fails_and_names_the_variable(
    homeless: Path, rules: Path, clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    series = ["--symbols", "BTCUSDT", "--intervals", "1h", "--start-date", "2024-06-10"]
    assert main(["populate", *series, "--config", str(rules)]) == 1
    said = capsys.readouterr()
    assert "is read-only" in said.out
    assert "DATA_CACHE_DIR" in said.out


def test_doctor_reports_a_read_only_home(
    homeless: Path, rules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--no-network", "--config", str(rules)]) == 1
    said = " ".join(capsys.readouterr().out.split())
    for variable in ("DATA_CACHE_DIR", "ONETAPE_STATE_DIR"):
        assert f"name another folder with {variable}" in said
    assert not homeless.exists()
