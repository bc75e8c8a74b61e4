"""Bundle changes on a full disk: all or nothing, and the next attempt succeeds."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import polars as pl
import pytest

from src.data import DataManager
from src.data.core.disk.files import DiskStep, errno_of
from src.data.errors import StorageError
from src.data.polars.parquet_daily_bars import PolarsParquetDailyReader
from src.data.research.bundles.bundle import Bundle, bundle_names
from tests.core.cache.counts import crossed, some
from tests.core.cache.crash import SYNCS, Quick
from tests.core.cache.disks import CHANGING, FailingDisk
from tests.research.bundles.deaths import RANGE, SYMBOLS, add, create, refresh

T = TypeVar("T")
Change = Callable[[Bundle, DataManager], None]
_MOST = 200


class Failing(FailingDisk):
    """A disk whose n-th changing call fails once, as if others filled it and left."""

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        return super().perform(step, (lambda: None) if step.name in SYNCS else call)  # type: ignore[arg-type,return-value]


class Full(Failing):
    """A disk that is full from the n-th such call on: writes fail, and files can be removed."""

    def __init__(self, step: int) -> None:
        super().__init__(step, for_ever=True)

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        if step.name in CHANGING - {"create", "write", "mkdir", "link"}:
            return call() if step.name not in SYNCS else None  # type: ignore[return-value]
        return super().perform(step, call)


def rows(bundle: Bundle) -> pl.DataFrame:
    return PolarsParquetDailyReader(bundle.path).load_daily_bars(range(1, 9), None, None)


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> DataManager:
    """Return a manager with MSFT, AAPL and IBM cached, 1d from 2024-01-02 to 2024-02-09."""
    manager = DataManager(tmp_path_factory.mktemp("stored") / "cache")
    manager.get_ohlcv_batch(SYMBOLS, *RANGE, provider="mock")
    return manager


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the bundle ``mine``, made of a store that lacks a symbol and a month."""
    folder = tmp_path_factory.mktemp("behind")
    less = DataManager(folder / "less")
    less.get_ohlcv(SYMBOLS[0], "1d", RANGE[1], "2024-01-31", provider="mock")
    create(Bundle("mine", folder / "bundles", disk=Quick()), less)
    return folder / "bundles"


@pytest.mark.parametrize(("change", "kind"), crossed([create, add, refresh], [Full, Failing]))
def test_a_change_on_a_full_disk_is_all_or_nothing_and_the_next_succeeds(
    manager: DataManager, behind: Path, tmp_path: Path, change: Change, kind: type[Failing]
) -> None:
    start = behind
    if change is create:
        start = tmp_path / "none"
        start.mkdir()
    counting = kind(_MOST)
    whole = Bundle("mine", shutil.copytree(start, tmp_path / "whole"), disk=counting)
    before = None if change is create else rows(whole)
    change(whole, manager)
    after, is_new, calls = rows(whole), [], _MOST - counting.left
    assert 4 < calls < _MOST
    for step in some(range(1, calls + 1), 3):
        folder = shutil.copytree(start, tmp_path / str(step))
        disk = kind(step)
        one = Bundle("mine", folder, disk=disk)
        error: StorageError | None = None
        try:
            change(one, manager)
        except StorageError as caught:
            error = caught
        if error is not None:
            assert errno_of(error) == errno.ENOSPC and "free some space" in str(error)
        assert disk.failed is not None
        assert not disk.held, "all files are closed"
        again = Bundle("mine", folder, disk=Quick())
        is_new.append(again.exists() and rows(again).equals(after))
        if not is_new[-1]:
            assert again.exists() == (before is not None)
            assert bundle_names(folder) == (["mine"] if before is not None else [])
            assert before is None or rows(again).equals(before)
        if change is not create or not is_new[-1]:
            change(again, manager)
        assert rows(again).equals(after) and again.validate() == ()
        again.refresh(manager)
        assert again.state(manager).state == "current"
        names = {path.name for path in again.path.rglob("*")}
        assert not any(name.endswith((".new", ".tmp")) or name == "journal.json" for name in names)
    assert is_new[0] is False
    assert is_new == sorted(is_new) and (kind is Full or is_new[-1])
