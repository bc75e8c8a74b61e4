"""Tests compaction on request: fewer members and bytes, with the same bars for readers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest

from src.data.core.cache.format.gzip_member import file_id, walk
from src.data.core.cache.read.columnar_reader import open_columns
from src.data.core.cache.store import BarStore, Commit
from src.data.core.cache.upkeep.compact import CompactResult, compact_series
from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.stored.retention import Retention
from src.data.core.model.time.instant import DAY_MS, HOUR_MS
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import LockTimeoutError
from tests.core.cache.bars import (
    DAILY,
    EVER,
    NOW,
    lane_folder,
    mark,
    no_temps,
    piece,
    same,
    states,
    store_in,
    table,
    write_older_year,
)
from tests.core.cache.crash import Quick
from tests.core.cache.damage import change, flipped, three_members
from tests.core.cache.disks import DyingDisk, Killed

HOURLY = SeriesKey("BTCUSDT", Timeframe(1, "h"))
DATA = "2024.csv.gz"


def compacted(root: Path, key: SeriesKey = DAILY, *, dry_run: bool = False) -> CompactResult:
    return compact_series(store_in(root).parts, key, dry_run=dry_run)


def days_of_hours(root: Path, count: int) -> None:
    """Write a member for each day, as if each had bars enough."""
    store = store_in(root)
    for day in range(count):
        hours = piece(day * 24, day * 24 + 24, size=HOUR_MS)
        with patch("src.data.core.cache.write.segments.FEW_ROWS", 0):
            store.commit(HOURLY, Commit((hours,), next_due=NOW))


def test_days_of_hours_become_one_member(tmp_path: Path) -> None:
    days_of_hours(tmp_path, 5)
    store = store_in(tmp_path)
    before, view = store.read(HOURLY, EVER), store.view(HOURLY)
    path = lane_folder(tmp_path, HOURLY) / DATA
    size = path.stat().st_size
    planned = compacted(tmp_path, HOURLY, dry_run=True)
    assert path.stat().st_size == size, "a dry run changes nothing"
    done = compacted(tmp_path, HOURLY)
    assert (done.members, done.years) == ((5, 1), (2024,))
    assert done.bytes == (size, path.stat().st_size)
    assert (planned.members, planned.bytes) == (done.members, done.bytes)
    assert done.bytes[1] < 0.8 * size
    fresh = store_in(tmp_path)
    after = fresh.read(HOURLY, EVER)
    assert same(before[0], after[0])
    assert before[1] == after[1]
    assert fresh.view(HOURLY) == view, "generation, next_due and coverage are unchanged"
    assert no_temps(tmp_path)
    assert not (lane_folder(tmp_path, HOURLY) / "_versions").exists(), (
        "the columns contain the same bars"
    )
    assert compacted(tmp_path, HOURLY).years == (), "there is nothing left to do"


def test_bars_are_appended_to_a_compacted_series(tmp_path: Path) -> None:
    days_of_hours(tmp_path, 3)
    compacted(tmp_path, HOURLY)
    store = store_in(tmp_path)
    store.commit(HOURLY, Commit((piece(72, 74, size=HOUR_MS),)))
    data = (lane_folder(tmp_path, HOURLY) / DATA).read_bytes()
    chain = [m for _, m in walk(data, file_id(HOURLY, 2024))]
    assert [m.header.rows for m in chain] == [72, 2]
    assert same(store.read(HOURLY, EVER)[0], table(range(74), size=HOUR_MS))


def test_members_stay_small_enough_to_read_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.data.core.cache.upkeep.compact.MOST_ROWS", 50)
    days_of_hours(tmp_path, 5)
    assert compacted(tmp_path, HOURLY).members == (5, 3)
    rows = [m.header.rows for _, m in walk(
        (lane_folder(tmp_path, HOURLY) / DATA).read_bytes(), file_id(HOURLY, 2024))]  # fmt: skip
    assert rows == [48, 48, 24]


def test_compaction_keeps_members_apart_that_differ(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 1, state="provisional"),)))
    store.commit(DAILY, Commit((piece(1, 2),), (mark(0, 1, "final"),)))
    store.commit(DAILY, Commit((piece(2, 3, vendor="other"),)))
    assert compacted(tmp_path).members == (3, 2)
    (lane_folder(tmp_path) / "2024.metadata.json").unlink()
    assert states(store_in(tmp_path)) == [(0, 2, "final"), (2, 3, "final")]


def test_compaction_reports_a_damaged_year_without_changing_it(tmp_path: Path) -> None:
    days_of_hours(tmp_path, 3)
    path = lane_folder(tmp_path, HOURLY) / DATA
    damaged = change(path, lambda data: flipped(data, 900))
    done = compacted(tmp_path, HOURLY)
    assert (done.damaged, done.years) == ((2024,), ())
    assert path.read_bytes() == damaged


def test_a_damaged_year_does_not_prevent_the_compaction_of_others(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for first in (-2, -1, 0, 1, 366, 367):
        store.commit(DAILY, Commit((piece(first, first + 1),)))
    change(lane_folder(tmp_path) / "2024.metadata.json", lambda data: flipped(data, 200))
    found = compacted(tmp_path, dry_run=True)
    assert (found.damaged, found.years, found.members) == ((2024,), (2023, 2025), (4, 2))


def test_compaction_waits_for_the_lock_and_deletes_temporary_files_of_dead_writers(
    tmp_path: Path,
) -> None:
    store = store_in(tmp_path, Quick(), lock_timeout_s=0)
    assert compact_series(store.parts, DAILY, dry_run=False) == CompactResult(DAILY)
    assert not (tmp_path / "ohlcv").exists()
    for n in range(3):
        store.commit(DAILY, Commit((piece(n, n + 1),)))
    left = lane_folder(tmp_path) / ".2024.csv.gz.1.2.3.tmp"
    left.write_bytes(b"")
    with (
        Quick().lock(lane_folder(tmp_path) / ".lock", 0),
        pytest.raises(LockTimeoutError),
    ):
        compact_series(store.parts, DAILY, dry_run=False)
    assert left.exists()
    assert compact_series(store.parts, DAILY, dry_run=False).members == (3, 1)
    assert no_temps(tmp_path)


def test_compaction_converts_files_of_older_tools_unless_it_is_a_dry_run(tmp_path: Path) -> None:
    folder = lane_folder(tmp_path)
    write_older_year(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    found = compact_series(store_in(tmp_path, Quick()).parts, DAILY, dry_run=True)
    assert found == CompactResult(DAILY)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    found = compact_series(store_in(tmp_path, Quick()).parts, DAILY, dry_run=False)
    assert (found.members, found.damaged) == ((1, 1), ())
    assert {name: (folder / "_legacy" / name).read_bytes() for name in before} == before


def test_a_year_without_bars_has_nothing_to_compact(tmp_path: Path) -> None:
    (three_members(tmp_path) / DATA).unlink()
    assert len(store_in(tmp_path).read(DAILY, EVER)[0]) == 0
    assert compacted(tmp_path) == CompactResult(DAILY)


def test_compaction_removes_stale_columnar_files(tmp_path: Path) -> None:
    days_of_hours(tmp_path, 3)
    reader = store_in(tmp_path, columnar="map")
    reader.read(HOURLY, EVER)
    columns = reader.parts.sidecars.path(HOURLY)
    size = columns.stat().st_size
    assert compacted(tmp_path, HOURLY, dry_run=True).stale == size
    assert compacted(tmp_path, HOURLY).stale == size
    assert not columns.exists()
    assert same(reader.read(HOURLY, EVER)[0], table(range(72), size=HOUR_MS))
    made = open_columns(Disk(), columns, file_id(HOURLY, 0), may_map=False)
    assert made is not None, "the next reader writes them again"
    assert compacted(tmp_path, HOURLY).stale == 0, "valid columns stay"


def columns_of(root: Path) -> Path:
    """Store bars of two years without members to join, and return their columnar file."""
    store = store_in(root, Quick(), columnar="map")
    store.commit(DAILY, Commit((piece(-5, 5),)))
    store.read(DAILY, EVER)
    return store.parts.sidecars.path(DAILY)


def _revised(root: Path, _: Path) -> None:
    store_in(root, Quick()).commit(DAILY, Commit((piece(0, 5, shift=1.0),)))


def _gone(root: Path, _: Path) -> None:
    for path in lane_folder(root).glob("2023.*"):
        path.unlink()


def _garbage(_: Path, columns: Path) -> None:
    columns.write_bytes(b"garbage")


@pytest.mark.parametrize("damage", [_revised, _gone, _garbage])
def test_columns_that_match_no_current_year_are_deleted(
    tmp_path: Path, damage: Callable[[Path, Path], None]
) -> None:
    columns = columns_of(tmp_path)
    assert compacted(tmp_path).stale == 0
    damage(tmp_path, columns)
    size = columns.stat().st_size
    found = compacted(tmp_path)
    assert (found.stale, found.years) == (size, ())
    assert not columns.exists()


def test_columns_of_a_damaged_year_are_kept(tmp_path: Path) -> None:
    columns = columns_of(tmp_path)
    change(lane_folder(tmp_path) / "2024.metadata.json", lambda data: flipped(data, 200))
    assert compacted(tmp_path, dry_run=True).stale == 0
    assert columns.exists()


def test_a_series_without_columns_has_no_stale_columns(tmp_path: Path) -> None:
    columns_of(tmp_path).unlink()
    assert compacted(tmp_path).stale == 0


# --- older versions ------------------------------------------------------------------------


def revise(root: Path, times: int, retention: Retention | None = None) -> list[str]:
    store = store_in(root, retention=retention)
    for n in range(times + 1):
        store.commit(DAILY, Commit((piece(0, 3, shift=float(n)),)))
    return sorted(path.name for path in (lane_folder(root) / "_versions").glob("*"))


def test_the_rules_set_how_many_versions_are_kept(tmp_path: Path) -> None:
    assert len(revise(tmp_path / "usual", 10)) == 8
    assert revise(tmp_path / "two", 4, Retention(2)) == ["2024.3.csv.gz", "2024.4.csv.gz"]
    assert revise(tmp_path / "none", 4, Retention(0)) == []
    assert same(store_in(tmp_path / "none").read(DAILY, EVER)[0], table(range(3), 4.0))


def test_versions_are_deleted_by_age(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    store = BarStore(tmp_path, Quick(), clock, retention=Retention(8, days=2))
    for n in range(4):
        store.commit(DAILY, Commit((piece(0, 3, shift=float(n)),)))
        clock.advance(DAY_MS / 1000)
    names = [path.name for path in (lane_folder(tmp_path) / "_versions").iterdir()]
    assert sorted(names) == ["2024.1.csv.gz", "2024.2.csv.gz", "2024.3.csv.gz"]
    clock.advance(DAY_MS / 1000)
    done = compact_series(store.parts, DAILY, dry_run=True)
    assert done.stale > 0
    assert len(list((lane_folder(tmp_path) / "_versions").iterdir())) == 3
    compact_series(store.parts, DAILY, dry_run=False)
    names = [path.name for path in (lane_folder(tmp_path) / "_versions").iterdir()]
    assert names == ["2024.3.csv.gz"], "replaced two days ago, and not before"


def test_compaction_keeps_bars_that_the_metadata_do_not_list_yet(tmp_path: Path) -> None:
    days_of_hours(tmp_path, 3)
    document = lane_folder(tmp_path, HOURLY) / "2024.metadata.json"
    before = document.read_bytes()
    store_in(tmp_path).commit(HOURLY, Commit((piece(72, 96, size=HOUR_MS),)))
    document.write_bytes(before)  # as after a power loss right behind the commit
    compacted(tmp_path, HOURLY)
    assert same(store_in(tmp_path).read(HOURLY, EVER)[0], table(range(96), size=HOUR_MS))


def test_a_process_killed_while_compacting_loses_no_bar(tmp_path: Path) -> None:
    for dies_at in range(1, 40):
        root = tmp_path / str(dies_at)
        days_of_hours(root, 3)
        try:
            compact_series(store_in(root, DyingDisk(dies_at)).parts, HOURLY, dry_run=False)
        except Killed:
            assert same(store_in(root).read(HOURLY, EVER)[0], table(range(72), size=HOUR_MS))
            assert compacted(root, HOURLY).members[1] == 1
            continue
        assert dies_at > 8
        return
    raise AssertionError("it never came to its end")
