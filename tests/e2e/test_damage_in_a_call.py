"""Tests that damage found during a call is repaired in the same call; a plan changes nothing."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from src.data.core.cache.format.columnar import START
from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk, DiskStep
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError, StorageError
from tests.core.cache.counts import crossed
from tests.core.cache.disks import CHANGING, Killed
from tests.vendor_server import VendorServer

from .oracle import assert_true

DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "gone": lambda _: None,
    "empty": lambda _: b"",
    "garbage": lambda data: b"\xff" * len(data),
    "a bit": lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:],
    "cut": lambda data: data[: len(data) // 2],
}
IN_COLUMNS = DAMAGES | {"a stamp": lambda data: data[:START] + b"\xff" + data[START + 1 :]}
SERIES = {
    "BTCUSDT 1h": ("BTCUSDT", "1h", "2024-06-01", "2024-06-10", "raw"),
    "AAPL 1d": ("AAPL", "1d", "2024-01-02", "2024-06-10", "split"),
    "two years": ("AAPL", "1d", "2023-06-01", "2024-06-10", "split"),
}
ENDS = {
    "hit": "2024-06-10",
    "append": "2024-06-11",
}


CASES = [
    *(("BTCUSDT 1h", damage, way, False) for damage, way in crossed(DAMAGES, (*ENDS, "head"))),
    *((series, "garbage", way, same)
      for series, same, way in crossed(SERIES, (False, True), (*ENDS, "head", "inside"))),
]  # fmt: skip


@pytest.mark.parametrize(("series", "damage", "way", "same"), CASES)
def test_a_damaged_year_is_fetched_again_in_the_same_call(
    tmp_path: Path, make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock,
    series: str, damage: str, way: str, same: bool,
) -> None:  # fmt: skip
    symbol, timeframe, start, end, basis = SERIES[series]
    manager = make()
    manager.get_ohlcv(symbol, timeframe, start, end, strict=True)
    path = min((tmp_path / "cache/ohlcv").rglob("*.csv.gz"))
    damaged = DAMAGES[damage](path.read_bytes())
    path.unlink()
    if damaged is not None:
        path.write_bytes(damaged)
    for columns in (tmp_path / "cache/_columnar").rglob("*.bars"):
        columns.unlink()
    first = {"head": f"{int(start[:4]) - 1}-12-20", "inside": "2024-06-05"}.get(way, start)
    last = ENDS.get(way, end)
    frame = (manager if same else make()).get_ohlcv(symbol, timeframe, first, last, strict=True)
    until = f"{last}T23:59:59"
    assert_true(frame, vendors, clock, symbol, timeframe, first, until, basis)


def test_offline_bars_of_a_damaged_file_are_reported_as_not_cached(
    tmp_path: Path, make: Callable[[], DataManager]
) -> None:
    make().get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-10", strict=True)
    (path,) = (tmp_path / "cache/ohlcv").rglob("*.csv.gz")
    path.write_bytes(b"\xff" * 5000)
    with pytest.raises(AllProvidersFailedError, match="is not cached"):
        make().get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-11", offline=True)


@pytest.mark.parametrize("damage", DAMAGES)
def test_bars_lost_by_damage_outside_the_requested_range_are_fetched_by_the_next_call(
    tmp_path: Path, make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock,
    damage: str,
) -> None:  # fmt: skip
    make().get_ohlcv("BTCUSDT", "1h", "2024-06-10", strict=True)  # nothing newer is due
    (path,) = (tmp_path / "cache/ohlcv").rglob("*.csv.gz")
    damaged = DAMAGES[damage](path.read_bytes())
    path.unlink()
    if damaged is not None:
        path.write_bytes(damaged)
    make().get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-03", strict=True)
    frame = make().get_ohlcv("BTCUSDT", "1h", "2024-06-11", "2024-06-11", strict=True)
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-06-11", "2024-06-11T23:59:59")


# --- plans ---------------------------------------------------------------------------------------

COIN, SHARE = ("BTCUSDT", "1h", "2024-06-01"), ("AAPL", "1d", "2024-01-02")
LANE = "ohlcv/BTCUSDT/1h"
PLACES = {
    f"{LANE}/2024.csv.gz": (*DAMAGES, "older"),
    f"{LANE}/2024.metadata.json": ("gone", "garbage", "a bit", "older"),
    "_columnar/BTCUSDT/1h.bars": ("a bit", "a stamp", "older"),
    "ohlcv/AAPL/actions.json": ("garbage",),
}


def everything(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Return every file and folder below one: when it was changed, and what is in it."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in folder.rglob("*")
    }


@contextmanager
def nothing_is_written(folder: Path) -> Iterator[None]:
    """Let the disk refuse every change, and assert that none is tried and all is as it was."""
    before, tried = everything(folder), list[DiskStep]()

    def refusing(_: Disk, step: DiskStep, call: Any) -> Any:
        if step.name in CHANGING or (step.name == "open" and call.args[-1] & os.O_RDWR):
            tried.append(step)
            raise OSError(errno.ENOSPC, "no space left")
        return call()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Disk, "perform", refusing)
        yield
    assert not tried
    assert everything(folder) == before


def assert_foretold(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, cache: Path,
    request: tuple[str, str, str, str],
) -> None:  # fmt: skip
    """Assert that the plan of a request changes no file, and predicts the request."""
    with nothing_is_written(cache):
        plan = manager.plan(*request)
        manager.explain(*request[:2])
    vendors.clear_log()
    frame = manager.get_ohlcv(*request, strict=True)
    assert vendors.count() == plan.requests
    basis = "raw" if request[0] == "BTCUSDT" else "split"
    until = f"{request[3]}T23:59:59"
    assert_true(frame, vendors, clock, *request[:3], until, basis)


@pytest.mark.parametrize(
    ("place", "damage", "same"),
    [
        (*damaged, same)
        for damaged, same in crossed(
            [(place, how) for place, kinds in PLACES.items() for how in kinds], [False, True]
        )
    ],
)
def test_a_plan_of_a_damaged_series_repairs_no_file_and_predicts_the_call(
    tmp_path: Path, make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock,
    place: str, damage: str, same: bool,
) -> None:  # fmt: skip
    manager, series, path = make(), SHARE if "AAPL" in place else COIN, tmp_path / "cache" / place
    manager.get_ohlcv(*series, "2024-06-05", strict=True)
    older = path.read_bytes()
    manager.get_ohlcv(*series, "2024-06-10", strict=True)
    damaged = older if damage == "older" else IN_COLUMNS[damage](path.read_bytes())
    path.unlink()
    if damaged is not None:
        path.write_bytes(damaged)
    manager = manager if same else make()
    assert_foretold(manager, vendors, clock, tmp_path / "cache", (*series, "2024-06-11"))


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("commit", ["first", "first file", "old file", "new file"])
def test_a_plan_of_a_half_committed_series_changes_no_file_and_predicts_the_call(
    tmp_path: Path, make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch, commit: str, same: bool,
) -> None:  # fmt: skip
    def dying(_: Disk, step: DiskStep, call: Any) -> Any:
        if step.target is None or step.target.name != "2024.csv.gz" or step.name != "replace":
            return call()
        if commit in ("first file", "new file"):
            call()
        raise Killed

    manager, is_first = make(), commit.startswith("first")
    if not is_first:
        manager.get_ohlcv(*COIN, "2024-06-10", strict=True)
    with monkeypatch.context() as patch:
        patch.setattr(Disk, "perform", dying)
        with pytest.raises(Killed):
            manager.get_ohlcv("BTCUSDT", "1h", "2024-05-30", "2024-06-05")
    document = tmp_path / "cache" / LANE / "2024.metadata.json"
    assert not document.exists() if is_first else b'"pending"' in document.read_bytes()
    manager = manager if same else make()
    assert_foretold(manager, vendors, clock, tmp_path / "cache", (*COIN, "2024-06-11"))


@pytest.mark.parametrize("name", ["2024.csv.gz", "2024.metadata.json"])
def test_a_plan_fails_like_the_call_if_a_folder_is_in_place_of_a_file(
    tmp_path: Path, make: Callable[[], DataManager], name: str
) -> None:
    make().get_ohlcv(*COIN, "2024-06-10", strict=True)
    path = tmp_path / "cache" / LANE / name
    path.unlink()
    path.mkdir()
    shutil.rmtree(tmp_path / "cache/_columnar")
    manager, request = make(), (*COIN, "2024-06-11")
    with nothing_is_written(tmp_path / "cache"), pytest.raises(StorageError, match=name):
        manager.plan(*request)
    with pytest.raises(StorageError, match=name):
        manager.get_ohlcv(*request)


def test_a_plan_writes_no_columnar_files(tmp_path: Path, make: Callable[[], DataManager]) -> None:
    manager, request = make(), ("AAPL", "1d", "2021-01-04", "2024-06-10")
    manager.get_ohlcv(*request)
    shutil.rmtree(tmp_path / "cache/_columnar")
    for either in (manager, make()):
        with nothing_is_written(tmp_path / "cache"):
            assert either.plan(*request).is_hit
            either.explain(*request[:2])
