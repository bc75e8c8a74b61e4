"""Tests columnar copies of year files: the same bars for less work."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from src.data.core.cache.store import BarStore, Commit
from src.data.core.model.answer.frame import build_frame
from src.data.core.model.market.bars import BarTable
from src.data.core.model.time.span import Span
from tests.core.cache.bars import (
    DAILY,
    EVER,
    MAPPED,
    MINUTES,
    at,
    lane_folder,
    minutes,
    numbers,
    piece,
    same,
    store_in,
    table,
)
from tests.core.cache.counts import FULL, steps
from tests.core.cache.disks import DyingDisk, FailingDisk, Killed, LaterDisk, RecordingDisk

MINUTE = 60_000
# Long enough to be mapped, of files that may be small: `test_columnar_attacks` has files of the usual size.
LONG = MAPPED

pytestmark = pytest.mark.usefixtures("small_files_are_mapped")
MODES = pytest.mark.parametrize("mode", ["map", "read"])


def columns_file(root: Path) -> Path:
    (found,) = (root / "_columnar").rglob("*.bars")
    return found


def opened(disk: RecordingDisk) -> list[str]:
    return [step.path.name for step in disk.steps if step.name == "open"]


def filled(root: Path, bars: int = LONG) -> BarStore:
    """Return a store with a long series, read once."""
    store = store_in(root, columnar="map")
    store.commit(MINUTES, Commit((minutes(0, bars),)))
    store.read(MINUTES, EVER)
    return store


# --- what is read ---------------------------------------------------------------------------


@MODES
def test_the_second_read_opens_no_year_file(tmp_path: Path, mode: str) -> None:
    filled(tmp_path)
    disk = LaterDisk()
    store = store_in(tmp_path, disk, columnar=mode)
    rows, coverage = store.read(MINUTES, EVER)
    assert same(rows, table(range(LONG), size=MINUTE))
    assert coverage == store_in(tmp_path).read(MINUTES, EVER)[1]
    assert "2024.csv.gz" not in opened(disk)
    assert disk.names() == []
    disk.steps.clear()
    store.read(MINUTES, Span(at(5, MINUTE), at(9, MINUTE)))
    assert opened(disk) == []


def test_a_year_without_columns_is_decoded_once_for_any_requested_span(tmp_path: Path) -> None:
    """A cache that came from another machine, or whose columns were dropped for room."""
    filled(tmp_path)
    shutil.rmtree(tmp_path / "_columnar")
    decoded = []
    for first in (5, 2_000, 4_500):  # each in a process of its own
        disk = RecordingDisk()
        day = Span(at(first, MINUTE), at(first + 1440, MINUTE))
        rows, _ = store_in(tmp_path, disk, columnar="map").read(MINUTES, day)
        assert same(rows, table(range(first, first + 1440), size=MINUTE))
        decoded.append(opened(disk).count("2024.csv.gz"))
    assert decoded == [1, 0, 0]


@pytest.mark.parametrize("bars", [100, LONG])
@MODES
def test_a_change_of_returned_columns_does_not_change_the_store(
    tmp_path: Path, mode: str, bars: int
) -> None:
    filled(tmp_path)
    store = store_in(tmp_path, columnar=mode)
    span = Span(at(0, MINUTE), at(bars, MINUTE))
    first, _ = store.read(MINUTES, span)
    for values in (first.stamps, first.index, *first.values()):
        if values is not None and values.flags.writeable:
            values[:] = 7
    second, _ = store.read(MINUTES, span)
    assert same(second, table(range(bars), size=MINUTE))
    if second.index is not None:  # a long one, for a frame to take as it is
        assert np.array_equal(second.index, second.stamps * 1_000_000)
    frame = build_frame(second)
    frame.loc[:] = 7.0
    assert same(store.read(MINUTES, span)[0], table(range(bars), size=MINUTE))
    fresh = store_in(tmp_path, columnar=mode)
    assert same(fresh.read(MINUTES, span)[0], table(range(bars), size=MINUTE))


def test_a_frame_in_use_does_not_change_when_its_series_is_changed_or_deleted(
    tmp_path: Path,
) -> None:
    store = filled(tmp_path)
    rows, _ = store.read(MINUTES, EVER)
    store.commit(MINUTES, Commit((minutes(LONG, LONG + 2_000),)))
    store.read(MINUTES, EVER)
    store.commit(MINUTES, Commit((minutes(5, 6, shift=1.0),)))
    store.read(MINUTES, EVER)
    store.clear()
    assert not list((tmp_path / "_columnar").rglob("*.bars"))
    assert same(rows, table(range(LONG), size=MINUTE))
    rows.close[:] = 1.0
    assert rows.close.sum() == LONG


def test_a_deleted_columnar_file_is_written_again_and_no_bar_is_lost(tmp_path: Path) -> None:
    store = filled(tmp_path)
    columns_file(tmp_path).unlink()
    for reader in (store, store_in(tmp_path, columnar="map")):
        assert same(reader.read(MINUTES, EVER)[0], table(range(LONG), size=MINUTE))
    assert columns_file(tmp_path).exists()


def test_with_columns_off_no_columnar_folder_is_made(tmp_path: Path) -> None:
    store = store_in(tmp_path, columnar="off")
    store.commit(DAILY, Commit((piece(0, 9),)))
    assert numbers(store.read(DAILY, EVER)[0]) == [*range(9)]
    assert not (tmp_path / "_columnar").exists()


# --- how it is kept -------------------------------------------------------------------------


def test_new_bars_are_appended_to_the_columnar_file(tmp_path: Path) -> None:
    store = filled(tmp_path)
    before = columns_file(tmp_path).stat()
    content = columns_file(tmp_path).read_bytes()
    store.commit(MINUTES, Commit((minutes(LONG, LONG + 10),)))
    disk = RecordingDisk()
    reader = store_in(tmp_path, disk, columnar="map")
    assert same(reader.read(MINUTES, EVER)[0], table(range(LONG + 10), size=MINUTE))
    assert columns_file(tmp_path).stat().st_ino == before.st_ino
    assert columns_file(tmp_path).stat().st_size == before.st_size
    # Of the data file only what was appended is read.
    size = lane_folder(tmp_path, MINUTES) / "2024.csv.gz"
    reads = [s for s in disk.steps if s.name == "read" and s.path == size]
    assert [s.at for s in reads] != [0]
    # What the old header speaks for is as it was.
    assert columns_file(tmp_path).read_bytes()[20_000:60_000] == content[20_000:60_000]


def test_a_full_columnar_file_is_replaced_by_a_larger_one(tmp_path: Path) -> None:
    store = filled(tmp_path, 500)
    before = columns_file(tmp_path).stat().st_ino
    store.commit(MINUTES, Commit((minutes(500, 9_000),)))
    assert same(store.read(MINUTES, EVER)[0], table(range(9_000), size=MINUTE))
    assert columns_file(tmp_path).stat().st_ino != before


def test_only_the_years_that_changed_are_read_again(tmp_path: Path) -> None:
    store = store_in(tmp_path, columnar="map")
    store.commit(DAILY, Commit((piece(-700, 300),)))
    store.read(DAILY, EVER)
    store.commit(DAILY, Commit((piece(-500, -499, shift=5.0),)))
    disk = RecordingDisk()
    rows, _ = store_in(tmp_path, disk, columnar="map").read(DAILY, EVER)
    assert [n for n in opened(disk) if n.endswith(".csv.gz")] == ["2022.csv.gz"]
    assert rows.close[200] == table([-500], 5.0).close[0]
    assert numbers(rows) == [*range(-700, 300)]


def test_a_file_changed_by_another_program_is_verified_again(tmp_path: Path) -> None:
    store = store_in(tmp_path, columnar="map")
    store.commit(DAILY, Commit((piece(0, 9),)))
    store.read(DAILY, EVER)
    path = lane_folder(tmp_path) / "2024.csv.gz"
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    for reader in (store, store_in(tmp_path, columnar="map")):
        assert numbers(reader.read(DAILY, EVER)[0]) == []
    assert list((lane_folder(tmp_path) / "_quarantine").iterdir())


def test_a_year_file_with_a_new_modification_time_is_read_once_more_and_then_trusted(
    tmp_path: Path,
) -> None:
    store = store_in(tmp_path, columnar="map")
    store.commit(DAILY, Commit((piece(0, 9),)))
    store.read(DAILY, EVER)
    (lane_folder(tmp_path) / "2024.csv.gz").touch()
    for times in (1, 0):
        disk = RecordingDisk()
        rows, _ = store_in(tmp_path, disk, columnar="map").read(DAILY, EVER)
        assert numbers(rows) == [*range(9)]
        assert opened(disk).count("2024.csv.gz") == times


# --- what goes wrong ------------------------------------------------------------------------


def test_a_flipped_bit_in_a_columnar_file_is_detected_and_repaired(tmp_path: Path) -> None:
    filled(tmp_path, 3_000)
    path = columns_file(tmp_path)
    sound = path.read_bytes()
    dice = random.Random(5)
    truth = table(range(3_000), size=MINUTE)
    used = [*range(0, 400, 7), *(dice.randrange(16_384, len(sound)) for _ in range(150))]
    for place in used if FULL else used[::14]:
        broken = bytearray(sound)
        broken[place] ^= 1 << dice.randrange(8)
        path.unlink()
        path.write_bytes(broken)
        assert same(store_in(tmp_path, columnar="map").read(MINUTES, EVER)[0], truth), place
        assert same(store_in(tmp_path, columnar="read").read(MINUTES, EVER)[0], truth), place


@pytest.mark.parametrize("size", [0, 1, 5_000, 16_384, 20_000])
def test_a_truncated_columnar_file_is_ignored(tmp_path: Path, size: int) -> None:
    filled(tmp_path, 3_000)
    path = columns_file(tmp_path)
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:size])
    rows, _ = store_in(tmp_path, columnar="map").read(MINUTES, EVER)
    assert same(rows, table(range(3_000), size=MINUTE))


def test_a_columnar_file_of_another_series_is_not_used(tmp_path: Path) -> None:
    store = store_in(tmp_path, columnar="map")
    other = type(DAILY)("MSFT", DAILY.timeframe)
    for key, shift in ((DAILY, 0.0), (other, 50.0)):
        store.commit(key, Commit((piece(0, 9, shift=shift),)))
        store.read(key, EVER)
    folder = tmp_path / "_columnar"
    (folder / "MSFT" / "1d.bars").replace(folder / "AAPL" / "1d.bars")
    rows, _ = store_in(tmp_path, columnar="map").read(DAILY, EVER)
    assert same(rows, table(range(9)))


def test_a_disk_that_refuses_the_columnar_file_changes_no_answer(tmp_path: Path) -> None:
    for n in steps(60, 5):
        root = tmp_path / str(n)
        store_in(root).commit(MINUTES, Commit((minutes(0, 3_000),)))
        disk = FailingDisk(n, for_ever=True)
        store = store_in(root, disk, columnar="map")
        for _ in range(2):
            assert same(store.read(MINUTES, EVER)[0], table(range(3_000), size=MINUTE))
        if disk.failed is None:
            break
        store_in(root).commit(MINUTES, Commit((minutes(3_000, 3_005),)))
        rows, _ = store_in(root, columnar="map").read(MINUTES, EVER)
        assert same(rows, table(range(3_005), size=MINUTE))
    assert n > 8


def test_a_process_killed_while_writing_a_columnar_file_changes_no_answer(
    tmp_path: Path,
) -> None:
    for n in steps(60, 2):
        root = tmp_path / str(n)
        filled(root, 3_000).commit(MINUTES, Commit((minutes(3_000, 3_005),)))
        disk = DyingDisk(n)
        try:
            store_in(root, disk, columnar="map").read(MINUTES, EVER)
            break
        except Killed:
            rows, _ = store_in(root, columnar="map").read(MINUTES, EVER)
            assert same(rows, table(range(3_005), size=MINUTE))
    assert n > 5


@MODES
def test_columns_equal_the_year_files_after_random_commits(tmp_path: Path, mode: str) -> None:
    dice = random.Random(11)
    store = store_in(tmp_path, columnar=mode)
    for turn in range(120 if FULL else 15):
        first = dice.randrange(-900, 500)
        size = dice.choice([1, 1, 3, 40])
        if dice.random() < 0.4 and turn:
            first = int((store.view(DAILY).last or at(0)) - at(0)) // 86_400_000 + 1
        if dice.random() < 0.03:
            store.clear_years(DAILY, [dice.choice([2022, 2023, 2024])])
        part = piece(first, first + size, shift=float(turn), adj=dice.random() < 0.2)
        store.commit(DAILY, Commit((part,)))
        begin = dice.randrange(-900, 500)
        for span in (EVER, Span(at(begin), at(begin + dice.randrange(1, 400)))):
            plain = store_in(tmp_path).read(DAILY, span)
            readers = [store] if turn % 7 else [store, store_in(tmp_path, columnar=mode)]
            for reader in readers:
                rows, coverage = reader.read(DAILY, span)
                assert same(_comparable(rows), _comparable(plain[0])), turn
                assert coverage == plain[1]


def _comparable(rows: BarTable) -> BarTable:
    """Return the rows with no adjusted close where none is known: a stretch may bring the column."""
    adj = rows.adj_close
    return rows.with_adj_close(None) if adj is None or np.isnan(adj).all() else rows
