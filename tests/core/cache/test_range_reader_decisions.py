"""Tests a cache folder that takes no columnar files: bars that were read stay in memory, within limits."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from src.data.core.cache.store import Commit
from src.data.core.disk.files import DiskStep
from src.data.core.model.answer.frame import build_frame
from tests.core.cache.bars import (
    DAILY,
    EVER,
    days,
    lane_folder,
    mark,
    numbers,
    piece,
    same,
    store_in,
    table,
)  # fmt: skip
from tests.core.cache.disks import CHANGING, RecordingDisk

T = TypeVar("T")


class NoColumns(RecordingDisk):
    """A disk on which no columnar file can be written."""

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        if step.name in CHANGING and "_columnar" in step.path.parts:
            raise OSError(errno.EROFS, "made to refuse")
        return super().perform(step, call)


def opened(disk: RecordingDisk) -> list[str]:
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


def test_a_year_file_is_read_again_after_an_append_a_correction_or_a_touch(tmp_path: Path) -> None:
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


def test_writing_into_a_returned_frame_does_not_change_cached_bars(tmp_path: Path) -> None:
    store_in(tmp_path).commit(DAILY, Commit((piece(0, 9),)))
    store = store_in(tmp_path, NoColumns(), columnar="map")
    frame = build_frame(store.read(DAILY, EVER)[0])
    frame.loc[:] = 7.0
    assert same(store.read(DAILY, EVER)[0], table(range(9)))


def test_years_in_memory_are_read_only_and_count_towards_the_memory_limit(tmp_path: Path) -> None:
    store_in(tmp_path).commit(DAILY, Commit((piece(0, 9),)))
    store = store_in(tmp_path, NoColumns(), columnar="map")
    store.read(DAILY, EVER)
    whole = store.memory.get(("year", DAILY, 2024))
    with pytest.raises(ValueError, match="read-only"):
        whole.table.close[0] = np.nan
    assert store.memory.size >= sum(v.nbytes for v in (whole.table.stamps, *whole.table.values()))


def test_marks_of_a_later_commit_are_returned_with_bars_from_memory(tmp_path: Path) -> None:
    writer = store_in(tmp_path)
    writer.commit(DAILY, Commit((piece(0, 9),)))
    store = store_in(tmp_path, disk := NoColumns(), columnar="map")
    store.read(DAILY, EVER)
    writer.commit(DAILY, Commit(marks=(mark(3, 4, "suspect"),)))
    disk.steps.clear()
    assert [part.state for part in store.read(DAILY, EVER)[1]] == ["final", "suspect", "final"]
    assert opened(disk) == []
