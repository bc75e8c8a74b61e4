"""A disk that refuses writes: the answer is whole and says so, and the next request fetches again."""

from __future__ import annotations

import errno
from typing import Any

import pandas as pd
import pytest

from src.data.core.cache.store import BarStore
from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk, DiskStep, Space
from src.data.core.model.identity.series import SeriesKey
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataError, IncompleteDataWarning, LockTimeoutError
from src.data.jobs.fill.fill_job import Job
from src.data.jobs.fill.populate import fill
from src.data.jobs.progress.events import Progress
from tests.vendor_server import Fault, VendorServer

from .oracle import assert_true
from .scripted_vendor import gaps, provenance

CHANGING = {"create", "write", "truncate", "replace", "link", "mkdir", "open_append"}


@pytest.fixture
def full(manager: DataManager, monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """Let every change on the manager's disk fail while the switch in the dict is on."""
    disk, switch = manager.cache.store.parts.disk, {"on": False}
    perform = disk.perform

    def failing(step: DiskStep, call: Any) -> Any:
        if switch["on"] and step.name in CHANGING:
            raise OSError(errno.ENOSPC, "no space left")
        return perform(step, call)

    monkeypatch.setattr(disk, "perform", failing)
    return switch


@pytest.mark.parametrize(
    ("symbol", "adjustment"), [("BTCUSDT", "raw"), ("AAPL", "split"), ("AAPL", "raw")]
)
def test_bars_that_cannot_be_stored_are_returned(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, full: dict[str, bool],
    symbol: str, adjustment: Any,
) -> None:  # fmt: skip
    bounds = (symbol, "1d", "2024-04-01", "2024-05-31")
    full["on"] = True
    frame = manager.get_ohlcv(*bounds, adjustment=adjustment, strict=True)
    assert_true(frame, vendors, clock, symbol, "1d", "2024-04-01", "2024-06-01", adjustment)
    assert any("not stored" in said for said in provenance(frame)["problems"])
    assert provenance(frame)["from_cache"] == 0.0
    assert provenance(frame)["generation"] is None
    full["on"] = False
    again = manager.get_ohlcv(*bounds, adjustment=adjustment, strict=True)
    pd.testing.assert_frame_equal(frame, again)
    vendors.clear_log()
    manager.get_ohlcv(*bounds, adjustment=adjustment)
    assert vendors.count() == 0


def test_gaps_are_reported_even_if_a_full_disk_cannot_store_them(
    manager: DataManager, vendors: VendorServer, full: dict[str, bool]
) -> None:
    full["on"] = True
    vendors.fault("binance", Fault.drop(5), times=1)
    with pytest.warns(IncompleteDataWarning, match="has no bar"):
        frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-01")
    assert len(frame) == 23
    assert gaps(frame)[0][0] == "2024-06-01T05:00:00"
    vendors.fault("binance", Fault.bad_ohlc(5), times=1)
    with pytest.raises(IncompleteDataError, match="cannot be a bar"):
        manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-01", strict=True)


def test_an_empty_answer_is_returned_even_if_a_full_disk_cannot_store_it(
    manager: DataManager, vendors: VendorServer, full: dict[str, bool]
) -> None:
    full["on"] = True
    vendors.fault("yahoo", Fault.empty())
    with pytest.warns(IncompleteDataWarning):
        frame = manager.get_ohlcv("NEWUSDT", "1h", "2024-01-01", "2024-01-02")
    assert frame.empty
    assert manager.get_ohlcv("AAPL", "1d", "2024-01-06", "2024-01-07").empty


def test_a_disk_that_fills_up_keeps_the_stored_bars(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, full: dict[str, bool]
) -> None:
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-02")
    full["on"] = True
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-04", strict=True)
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-06-01", "2024-06-05")
    assert provenance(frame)["from_cache"] == 0.5
    assert provenance(frame)["generation"] is None, "no version holds all of these bars"
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-02", strict=True)
    assert provenance(frame)["from_cache"] == 1.0
    version = provenance(frame)["generation"]
    held = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-02", version=version)
    pd.testing.assert_frame_equal(held, frame)


@pytest.mark.parametrize("has_reserve", [False, True], ids=["full", "reserve"])
def test_a_job_ends_when_the_disk_is_full_and_the_next_one_continues(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, full: dict[str, bool],
    monkeypatch: pytest.MonkeyPatch, has_reserve: bool,
) -> None:  # fmt: skip
    client, names = manager.client, ["BTCUSDT", "ETHUSDT", "SOLUSDT", "THINUSDT"]
    job = Job.of(names, ["1d"], ("2024-05-01", "2024-05-31"), clock.now_ms())

    def fill_up(now: Progress) -> None:
        if now.is_over and not has_reserve:
            full["on"] = True
        elif now.is_over:
            monkeypatch.setattr(Disk, "space", lambda *_: Space(total=1 << 40, free=1 << 20))

    report = fill(client, job, fill_up, at_work=1)
    assert [result.ok for result in report.results] == [True, False, False, False]
    why = report.results[1].error
    assert ("only 1 MiB are free" if has_reserve else "no space left") in why
    assert {result.error for result in report.results[2:]} == {f"not asked: {why}"}
    assert vendors.count("binance") == 2, "bars that cannot be stored are not requested"
    full["on"] = False
    monkeypatch.undo()
    report = fill(client, job, at_work=1)
    assert all(result.complete for result in report.results)
    assert [entry.params["symbol"] for entry in vendors.log("binance")][2:] == names[1:]


def test_a_job_fails_for_a_series_that_another_process_has_locked(
    manager: DataManager, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = BarStore.commit

    def busy(store: BarStore, key: SeriesKey, *arguments: Any) -> Any:
        if key.symbol == "ETHUSDT":
            raise LockTimeoutError("another process writes")
        return commit(store, key, *arguments)

    monkeypatch.setattr(BarStore, "commit", busy)
    names = ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
    job = Job.of(names, ["1d"], ("2024-05-01", "2024-05-31"), clock.now_ms())
    results = fill(manager.client, job, at_work=1).results
    assert [result.error for result in results] == ["", "another process writes", ""]
