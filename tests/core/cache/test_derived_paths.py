"""Tests the names of derived files, and the removal of temporary files of dead writers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from src.data.core.cache.read.columnar_cache import path_of, series_of, writing
from src.data.core.disk.files import Disk
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import LockTimeoutError

KEYS = [
    SeriesKey("AAPL", Timeframe(1, "d")), SeriesKey("BRK/B", Timeframe(1, "M"), ("raw",)),
    SeriesKey("btc", Timeframe(15, "m"), ("ccxt:kraken", "x.y")),
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_the_path_of_a_columnar_file_identifies_its_series(tmp_path: Path, key: SeriesKey) -> None:
    path = Path(path_of(os.fspath(tmp_path), key))
    assert series_of(tmp_path, path) == key
    assert len({path_of("x", key) for key in KEYS}) == 3


@pytest.mark.parametrize(
    "name",
    ["_columnar/AAPL/1d.csv", "_columnar/AAPL/.lock", "_columnar/AAPL/1d", "ohlcv/AAPL/1d.bars",
     "_columnar/1d.bars", "_columnar/AAPL/x/1d.bars", "_columnar/aapl/1d.bars", "_columnar/AAPL/60x.bars"],
)  # fmt: skip
def test_paths_of_other_files_identify_no_series(tmp_path: Path, name: str) -> None:
    assert series_of(tmp_path, tmp_path / name) is None


def test_temporary_files_of_dead_writers_are_deleted_by_the_next_writer(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with writing(Disk(), folder):
        (folder / ".1d.bars.1.2.3.tmp").write_bytes(b"x")
    with writing(Disk(), folder):
        assert os.listdir(folder) == [".lock"]
        with pytest.raises(LockTimeoutError), writing(Disk(), folder):
            pass
