"""Tests a read-only cache folder: stored bars are returned, writes are refused, and one warning is logged."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from src.data.core.cache.store import BarStore, Commit
from src.data.core.cache.write.write_guard import FreeSpaceGuard, NoRoomError, ReadOnlyError
from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk, DiskStep
from src.data.errors import ReadOnlyCacheWarning, StorageError
from tests.core.cache.bars import DAILY, EVER, MINUTES, NOW, minutes, piece, same, store_in, table
from tests.core.cache.disks import CHANGING

T = TypeVar("T")


class RefusingDisk(Disk):
    """A disk that refuses every change, below one folder or everywhere."""

    def __init__(self, code: int = errno.EROFS, below: str = "") -> None:
        super().__init__()
        self.code, self.below = code, below
        self.refused = 0

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        if step.name in CHANGING and self.below in str(step.path):
            self.refused += 1
            raise OSError(self.code, "made to refuse")
        return call()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a cache with two series."""
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 5),)))
    store.commit(MINUTES, Commit((minutes(0, 5),)))
    return tmp_path


def refused(store: BarStore, first: int = 5) -> ReadOnlyError:
    with pytest.raises(ReadOnlyError) as caught:
        store.commit(DAILY, Commit((piece(first, first + 1),)))
    return caught.value


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_read_only_cache_warns_once_and_is_not_written_again(root: Path, code: int) -> None:
    disk, clock = RefusingDisk(code), ManualClock(NOW)
    store = BarStore(root, disk, clock)
    with pytest.warns(ReadOnlyCacheWarning, match="is read-only"):
        error = refused(store)
    assert isinstance(error, StorageError)
    assert "DATA_CACHE_DIR" in str(error)
    tried = disk.refused
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refused(store)
        assert disk.refused == tried, "writes are not retried for a while"
        clock.advance(61)
        refused(store)
        assert disk.refused > tried
        refused(BarStore(root, disk, clock))
    assert same(store.read(DAILY, EVER)[0], table(range(5)))


def test_a_folder_that_becomes_writable_is_written_again_after_a_minute(root: Path) -> None:
    disk, clock = RefusingDisk(), ManualClock(NOW)
    store = BarStore(root, disk, clock)
    with pytest.warns(ReadOnlyCacheWarning):
        refused(store)
    disk.below = "nowhere"
    refused(store)
    clock.advance(61)
    store.commit(DAILY, Commit((piece(5, 6),)))
    assert len(store.read(DAILY, EVER)[0]) == 6


@pytest.mark.filterwarnings("ignore::src.data.errors.ReadOnlyCacheWarning")
def test_one_folder_of_another_user_does_not_stop_writes_to_the_others(root: Path) -> None:
    store = BarStore(root, RefusingDisk(errno.EACCES, "AAPL"), ManualClock(NOW))
    refused(store)
    store.commit(MINUTES, Commit((minutes(5, 6),)))
    assert len(store.read(MINUTES, EVER)[0]) == 6


def test_a_full_disk_is_not_reported_as_a_read_only_cache(root: Path) -> None:
    store = BarStore(root, RefusingDisk(errno.ENOSPC), ManualClock(NOW))
    for _ in range(2):
        with pytest.raises(StorageError) as caught:
            store.commit(DAILY, Commit((piece(5, 6),)))
        assert not isinstance(caught.value, ReadOnlyError)


# --- a real one ----------------------------------------------------------------------------


@pytest.fixture
def mounted(root: Path) -> Iterator[Path]:
    """Return the cache on a file system that is mounted read-only."""
    commands = [["mount", "--bind", str(root), str(root)],
                ["mount", "-o", "remount,ro,bind", str(root)]]  # fmt: skip
    try:
        done = [subprocess.run(c, capture_output=True, timeout=20).returncode for c in commands[:1]]
    except OSError:
        done = [1]
    if any(done):
        pytest.skip("this machine lets nobody mount")
    try:
        if subprocess.run(commands[1], capture_output=True, timeout=20).returncode:
            pytest.skip("this machine lets nobody mount for reading alone")
        yield root
    finally:
        subprocess.run(["umount", str(root)], capture_output=True, timeout=20)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting takes root")
def test_a_folder_mounted_read_only_serves_bars_and_refuses_writes(mounted: Path) -> None:
    before = sorted(mounted.rglob("*"))
    store = store_in(mounted, columnar="map")
    assert same(store.read(DAILY, EVER)[0], table(range(5)))
    with pytest.warns(ReadOnlyCacheWarning):
        refused(store)
    with pytest.raises(ReadOnlyError):
        store.add_actions("AAPL", [], EVER, "acme", 1)
    assert same(store.read(DAILY, EVER)[0], table(range(5)))
    assert sorted(mounted.rglob("*")) == before


def test_a_full_disk_is_still_logged_after_a_warning_about_a_read_only_folder(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.warns(ReadOnlyCacheWarning):
        refused(BarStore(root, RefusingDisk(), ManualClock(NOW)))
    everything = FreeSpaceGuard(root, Disk(), 1e12, lambda lack: 0, ManualClock(NOW))
    for _ in range(2):
        with pytest.raises(NoRoomError):
            everything.claim(1)
    assert [r.message.count("MiB are free") for r in caplog.records if "MiB" in r.message] == [1]
