"""A cache folder that takes no columnar files: what was read stays in memory, within bounds."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from src.data.cache.format.year_document import YearState
from src.data.cache.read.columnar_cache import WholeYear
from src.data.cache.read.range_reader import YearCache
from src.data.cache.store import Commit
from src.data.disk.files import DiskStep, FileState
from src.data.model.frame import build_frame
from tests.cache.bars import DAILY, EVER, days, lane_folder, numbers, piece, same, store_in, table
from tests.cache.disks import CHANGING, CountingDisk

T = TypeVar("T")
FILE = FileState(1, 2, 3)


class NoColumns(CountingDisk):
    """A disk on which nothing can be written beside the bars."""

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        if step.name in CHANGING and "_columnar" in step.path.parts:
            raise OSError(errno.EROFS, "made to refuse")
        return super().perform(step, call)


def opened(disk: CountingDisk) -> list[str]:
    return [s.path.name for s in disk.steps if s.name == "open" and s.path.name.endswith(".gz")]


def test_a_year_is_decoded_once_and_read_often(tmp_path: Path) -> None:
    store_in(tmp_path).commit(DAILY, Commit((piece(-300, 40),)))
    disk = NoColumns()
    store = store_in(tmp_path, disk, columnar="map")
    assert same(store.read(DAILY, EVER)[0], table(range(-300, 40)))
    assert opened(disk) == ["2023.csv.gz", "2024.csv.gz"]
    assert numbers(store.read(DAILY, days(3, 9))[0]) == [3, 4, 5, 6, 7, 8]
    assert opened(disk) == ["2023.csv.gz", "2024.csv.gz"]
    assert not (tmp_path / "_columnar").exists()


def test_what_was_appended_corrected_or_touched_is_read_again(tmp_path: Path) -> None:
    writer = store_in(tmp_path)
    writer.commit(DAILY, Commit((piece(0, 9),)))
    store = store_in(tmp_path, NoColumns(), columnar="map")
    store.read(DAILY, EVER)
    writer.commit(DAILY, Commit((piece(9, 12),)))
    assert numbers(store.read(DAILY, EVER)[0]) == [*range(12)]
    writer.commit(DAILY, Commit((piece(4, 5, shift=7.0),)))
    assert store.read(DAILY, EVER)[0].close[4] == table([4], 7.0).close[0]
    path = lane_folder(tmp_path) / "2024.csv.gz"
    damaged = bytearray(path.read_bytes())
    damaged[-30] ^= 1
    path.write_bytes(damaged)
    assert numbers(store.read(DAILY, EVER)[0]) != [*range(12)]


def test_a_frame_of_it_is_the_callers_own(tmp_path: Path) -> None:
    store_in(tmp_path).commit(DAILY, Commit((piece(0, 9),)))
    store = store_in(tmp_path, NoColumns(), columnar="map")
    frame = build_frame(store.read(DAILY, EVER)[0])
    frame.loc[:] = 7.0
    assert same(store.read(DAILY, EVER)[0], table(range(9)))


def test_no_more_bytes_than_allowed_are_held() -> None:
    rows = table(range(100))
    size = sum(values.nbytes for values in (rows.stamps, *rows.values()))
    hot = YearCache(2 * size)
    for year in (2020, 2021, 2022):
        hot.hold(DAILY, year, WholeYear(YearState(), table(range(100)), FILE))
    held = [y for y in (2020, 2021, 2022) if hot.find(DAILY, y, YearState(), FILE)]
    assert held == [2020, 2021]
    hot.hold(DAILY, 2023, WholeYear(YearState(), table(range(300)), FILE))
    assert hot.find(DAILY, 2023, YearState(), FILE) is None


def test_what_is_held_cannot_be_written_to() -> None:
    hot, rows = YearCache(), table(range(9))
    hot.hold(DAILY, 2024, WholeYear(YearState(), rows, FILE))
    with pytest.raises(ValueError, match="read-only"):
        rows.close[0] = np.nan


@pytest.mark.parametrize("fact", [{"size": 11}, {"head": "b"}], ids=["size", "head"])
def test_a_year_read_before_its_metadata_were_written_is_another_one(fact: dict[str, Any]) -> None:
    hot, state = YearCache(), YearState(size=10, head="a")
    hot.hold(DAILY, 2024, WholeYear(state, table(range(9)), FILE))
    assert hot.find(DAILY, 2024, replace(state, **fact), FILE) is None
    later = replace(state, generation=7)
    found = hot.find(DAILY, 2024, later, FILE)
    assert found is not None
    assert found.state is later
