"""Tests when a columnar file is valid, which ones are kept in memory, and which bars are written to them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from src.data.core.cache.format.columnar import ColumnSource, Part
from src.data.core.cache.format.documents import YearState
from src.data.core.cache.lane_files import LaneFiles
from src.data.core.cache.read import columnar_cache as module
from src.data.core.cache.read.columnar_cache import Sidecars, WholeYear
from src.data.core.cache.store import BarStore, Commit, StoreListener
from src.data.core.disk.files import FileState
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.bars import BarTable
from src.data.core.runtime.lru_cache import LruCache
from src.data.errors import LockTimeoutError, StorageError
from tests.core.cache.bars import (
    DAILY,
    EVER,
    days,
    index_of,
    lane_folder,
    numbers,
    piece,
    reader_of,
    same,
    store_in,
    table,
)
from tests.core.cache.crash import Quick
from tests.core.cache.disks import RecordingDisk

NOTHING = WholeYear(YearState(), BarTable.empty(), FileState(1, 1, 1))


class ColumnarStore(NamedTuple):
    """A store of two years, with its columnar files."""

    store: BarStore
    lane: LaneFiles
    sidecars: Sidecars

    @property
    def states(self) -> dict[int, YearState]:
        """States of the years in the metadata."""
        return index_of(self.store).entry(self.lane).years(EVER)

    def bars(self) -> list[int] | None:
        """Return the bars read only from the columns."""
        found = self.sidecars.read(self.lane, EVER, self.states)
        return None if found is None else numbers(found)


def columnar_in(root: Path, mode: Any = "map", **other: Any) -> ColumnarStore:
    store = store_in(root, other.pop("disk", None) or Quick(), columnar=mode)
    return ColumnarStore(store, store.parts.lane(DAILY), store.parts.sidecars)


@pytest.fixture
def columnar(tmp_path: Path) -> ColumnarStore:
    """Return a store with bars of two years, which one read has written to a columnar file."""
    made = columnar_in(tmp_path)
    made.store.commit(DAILY, Commit((piece(-9, 9),)))
    made.store.read(DAILY, EVER)
    return made


# --- which are believed ---------------------------------------------------------------------


def test_a_year_with_a_new_modification_time_and_equal_content_is_verified_once(
    tmp_path: Path,
) -> None:
    columnar_in(tmp_path).store.commit(DAILY, Commit((piece(0, 9),)))
    disk = RecordingDisk()
    store = columnar_in(tmp_path, disk=disk).store
    store.read(DAILY, EVER)
    path = lane_folder(tmp_path) / "2024.csv.gz"
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))
    opened = []
    for _ in range(3):
        disk.steps.clear()
        assert numbers(store.read(DAILY, EVER)[0]) == [*range(9)]
        opened.append(sum(s.name == "open" and s.path == path for s in disk.steps))
    assert opened == [1, 0, 0]


@pytest.mark.parametrize(
    ("change", "is_believed"),
    [
        (lambda s: s, True),
        (lambda s: s._replace(mtime_ns=s.mtime_ns + 1), False),
        (lambda s: s._replace(size=s.size + 1, mtime_ns=s.mtime_ns + 1), True),
        (lambda s: s._replace(size=s.size - 1), False),
        (lambda s: s._replace(inode=s.inode + 1), False),
        (lambda s: None, False),
    ],
    ids=["same", "touched", "grown", "cut", "another file", "gone"],
)
def test_a_columnar_file_is_valid_only_if_its_year_file_is_unchanged_or_grown(
    columnar: ColumnarStore,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Any], Any],
    is_believed: bool,
) -> None:
    path = columnar.lane.paths.data_text(2024)
    state = columnar.lane.disk.stat(path)
    assert state is not None
    source = ColumnSource(9, state.size, "", state.inode, state.mtime_ns, False)
    monkeypatch.setattr(columnar.lane.disk, "stat", lambda _: change(state))
    assert columnar.sidecars.is_untouched(path, source) is is_believed


@pytest.mark.parametrize("fact", ["rows", "size", "head"])
def test_columns_of_a_year_in_another_state_are_not_used(
    columnar: ColumnarStore, fact: str
) -> None:
    states = columnar.states
    assert columnar.sidecars.sources(columnar.lane, states) is not None
    other = {"rows": 8, "size": states[2023].size + 1, "head": "f" * 64}[fact]
    changed = states | {2023: states[2023].replaced(**{fact: other})}
    assert columnar.sidecars.read(columnar.lane, EVER, changed) is None
    assert columnar.sidecars.lacking(columnar.lane, changed) == [2023]
    assert columnar.sidecars.sources(columnar.lane, changed) is None


def test_years_without_bars_need_no_columns(columnar: ColumnarStore) -> None:
    states = columnar.states | {2025: YearState(generation=3)}
    found = columnar.sidecars.read(columnar.lane, EVER, states)
    assert found is not None
    assert numbers(found) == [*range(-9, 9)]
    assert columnar.sidecars.lacking(columnar.lane, states) == []
    paths = [Path(path).name for path, _ in columnar.sidecars.sources(columnar.lane, states) or ()]
    assert paths == ["2023.csv.gz", "2024.csv.gz"]


def test_a_series_without_bars_is_answered_without_a_columnar_file(tmp_path: Path) -> None:
    disk = RecordingDisk()
    empty = columnar_in(tmp_path, disk=disk)
    found = empty.sidecars.read(empty.lane, EVER, {2024: YearState()})
    assert found is not None
    assert len(found) == 0
    assert disk.steps == []
    empty.sidecars.keep(empty.lane, {2024: NOTHING})
    assert disk.steps == []


def test_the_sources_of_a_columnar_file_are_known_without_opening_it(
    columnar: ColumnarStore, tmp_path: Path
) -> None:
    other = columnar_in(tmp_path)
    reported = other.sidecars.sources(other.lane, other.states)
    assert reported == columnar.sidecars.sources(columnar.lane, columnar.states)
    assert reported is not None
    assert [Path(path).name for path, _ in reported] == ["2023.csv.gz", "2024.csv.gz"]
    other.sidecars.path(DAILY).unlink()
    third = columnar_in(tmp_path)
    assert third.sidecars.sources(third.lane, third.states) is None


def test_a_year_without_bars_is_left_out_of_the_columnar_file(
    columnar: ColumnarStore, tmp_path: Path
) -> None:
    columnar.sidecars.drop(DAILY)
    whole = reader_of(columnar.store).read_whole(columnar.lane, columnar.states)
    assert sorted(whole) == [2023, 2024]
    columnar.sidecars.keep(columnar.lane, {2022: NOTHING, **whole})
    assert columnar_in(tmp_path).bars() == [*range(-9, 9)]


def test_adjusted_closes_that_come_later_make_a_new_file(tmp_path: Path) -> None:
    columnar = columnar_in(tmp_path)
    columnar.store.commit(DAILY, Commit((piece(0, 9),)))
    columnar.store.read(DAILY, EVER)
    columnar.store.commit(DAILY, Commit((piece(9, 12, adj=True),)))
    assert same(columnar.store.read(DAILY, EVER)[0], store_in(tmp_path).read(DAILY, EVER)[0])
    assert same(columnar_in(tmp_path).store.read(DAILY, EVER)[0],
                store_in(tmp_path).read(DAILY, EVER)[0])  # fmt: skip


@pytest.mark.parametrize("then", [piece(-200, -199), piece(-400, -399), piece(4, 5, shift=1.0)],
                         ids=["a year filled", "a year before", "a year rewritten"])  # fmt: skip
def test_columns_are_not_used_after_a_commit_that_did_more_than_append(
    columnar: ColumnarStore, then: Any
) -> None:
    columnar.store.commit(DAILY, Commit((piece(9, 12),)))
    columnar.store.commit(DAILY, Commit((then,)))
    assert columnar.sidecars.read(columnar.lane, EVER, columnar.states) is None
    truth = store_in(columnar.store.root).read(DAILY, EVER)[0]
    for _ in range(2):
        assert same(columnar.store.read(DAILY, EVER)[0], truth)
    assert columnar.bars() == numbers(truth)


def test_appended_bars_are_added_to_the_columns_by_a_read(columnar: ColumnarStore) -> None:
    columnar.store.commit(DAILY, Commit((piece(9, 12),)))
    assert columnar.bars() == [*range(-9, 12)]


def test_a_damaged_columnar_file_is_deleted_at_once(
    columnar: ColumnarStore, tmp_path: Path
) -> None:
    path = columnar.sidecars.path(DAILY)
    content = bytearray(path.read_bytes())
    content[16_384] ^= 1
    path.unlink()
    path.write_bytes(content)
    other = columnar_in(tmp_path)
    assert other.bars() is None
    assert not path.exists()
    assert same(other.store.read(DAILY, EVER)[0], table(range(-9, 9)))
    assert other.bars() == [*range(-9, 9)]


def test_an_open_columns_file_is_read_after_its_name_is_deleted(columnar: ColumnarStore) -> None:
    columnar.sidecars.path(DAILY).unlink()
    assert columnar.bars() == [*range(-9, 9)]
    assert columnar.sidecars.lacking(columnar.lane, columnar.states) == []
    assert columnar.sidecars.sources(columnar.lane, columnar.states) is not None


# --- which are held ready -------------------------------------------------------------------


def held(sidecars: Sidecars, *files: tuple[str, int]) -> str:
    """Open files of these sizes (0: mapped), and return the symbols whose files stay open."""
    for symbol, size in files:
        key = SeriesKey(symbol, DAILY.timeframe)
        sidecars.hold(key, SimpleNamespace(bytes=size))  # type: ignore[arg-type]
    keys = [SeriesKey(symbol, DAILY.timeframe) for symbol in "ABCD"]
    return "".join(key.symbol for key in keys if sidecars.opened(key))


def few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, most_open: int = 1000) -> Sidecars:
    """Return sidecars with room for ten bytes, where a file takes one more, or for two maps."""
    monkeypatch.setattr(module, "MOST_MAPS", 2)
    monkeypatch.setattr(module, "EACH_BYTES", 1)
    monkeypatch.setattr(Quick, "most_open", lambda self: most_open)
    disk = Quick()
    return Sidecars(tmp_path, disk, LruCache(10))


@pytest.mark.parametrize(
    ("files", "left"),
    [
        # Symbol and bytes of each opened file, 0 if it is mapped; the symbols whose files stay open.
        ([("A", 1), ("B", 1), ("C", 1)], "ABC"),
        ([("A", 1), ("B", 1), ("C", 6)], "BC"),
        ([("A", 0), ("B", 0)], "AB"),
        ([("A", 0), ("B", 0), ("C", 0)], "BC"),
        ([("A", 0), ("B", 0), ("D", 4)], "BD"),
        ([("A", 9)], "A"),
        ([("A", 10)], ""),
        ([("A", 5), ("A", 0), ("B", 4)], "AB"),
    ],
)  # fmt: skip
def test_open_columnar_files_are_bounded_by_number_and_by_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: list[tuple[str, int]], left: str
) -> None:
    assert held(few(monkeypatch, tmp_path), *files) == left


# Limit of open files of the process, and the symbols whose mapped files stay open.
@pytest.mark.parametrize(("most_open", "left"), [(16, "AB"), (8, "B"), (4, "B")])
def test_fewer_columnar_files_are_mapped_if_few_files_may_be_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_open: int, left: str
) -> None:
    assert held(few(monkeypatch, tmp_path, most_open), ("A", 0), ("B", 0)) == left


class Full(StoreListener):
    """Has no room for anything derived, and notes how much was wanted."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def has_room(self, need: int) -> bool:
        self.asked.append(need)
        return False


# --- writing --------------------------------------------------------------------------------


def test_without_room_on_the_disk_no_columnar_file_is_written(
    columnar: ColumnarStore, tmp_path: Path
) -> None:
    columnar.sidecars.drop(DAILY)
    columnar.store.listener = full = Full()
    assert same(columnar.store.read(DAILY, EVER)[0], table(range(-9, 9)))
    assert not columnar.sidecars.path(DAILY).exists()
    assert full.asked[0] == 16_384 + 18 * 56


def test_the_old_columns_file_counts_in_the_space_for_a_rewrite(columnar: ColumnarStore) -> None:
    path = columnar.sidecars.path(DAILY)
    columnar.store.commit(DAILY, Commit((piece(4, 5, shift=1.0),)))
    columnar.store.listener = full = Full()
    columnar.store.read(DAILY, EVER)
    assert full.asked[0] == 16_384 + 9 * 56 + path.stat().st_size


def test_a_writer_of_columns_does_not_wait_for_the_lock_of_another(
    columnar: ColumnarStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def taken(path: Path, timeout_s: float) -> Any:
        asked.append(timeout_s)
        raise LockTimeoutError("somebody else has it")

    columnar.sidecars.drop(DAILY)
    states = columnar.states
    monkeypatch.setattr(columnar.lane.disk, "lock", taken)
    whole = reader_of(columnar.store).read_whole(columnar.lane, states)
    columnar.sidecars.keep(columnar.lane, whole)
    assert asked == [0.0]
    assert not columnar.sidecars.path(DAILY).exists()


@pytest.mark.parametrize("meanwhile", ["nothing", "gone", "another file", "another head"])
def test_rows_are_appended_only_to_the_file_they_were_read_for(
    columnar: ColumnarStore, meanwhile: str
) -> None:
    path, behind = columnar.sidecars.path(DAILY), columnar.sidecars.on_disk(DAILY)
    assert behind is not None
    content = path.read_bytes()
    if meanwhile == "another head":
        columnar.store.commit(DAILY, Commit((piece(9, 10),)))
        columnar.store.read(DAILY, EVER)
    elif meanwhile != "nothing":
        path.rename(path.with_suffix(".old"))
    if meanwhile == "another file":
        path.write_bytes(content)
    before = path.read_bytes() if path.exists() else None
    source = behind.head.years[2024]._replace(rows=12, size=1, head="00")
    columnar.sidecars.write(DAILY, {2024: Part(source, table(range(9, 12)))}, behind)
    after = path.read_bytes() if path.exists() else None
    assert (after == before) is (meanwhile != "nothing")


def test_columnar_folders_are_created_by_the_disk_of_the_cache(tmp_path: Path) -> None:
    columnar = columnar_in(tmp_path, disk=(disk := RecordingDisk()))
    columnar.store.commit(DAILY, Commit((piece(0, 9),)))
    columnar.store.read(DAILY, EVER)
    made = [step.path for step in disk.steps if step.name == "mkdir"]
    assert columnar.sidecars.path(DAILY).parent in made


def test_a_temporary_columns_file_of_a_dead_writer_is_deleted(columnar: ColumnarStore) -> None:
    left = columnar.sidecars.path(DAILY).parent / ".1d.bars.7.8.9.tmp"
    left.write_bytes(b"x")
    columnar.store.commit(DAILY, Commit((piece(9, 12),)))
    columnar.store.read(DAILY, EVER)
    assert not left.exists()


def test_verifying_year_files_again_rewrites_only_the_header_of_the_columns(
    columnar: ColumnarStore,
) -> None:
    path, whole = columnar.sidecars.path(DAILY), reader_of(columnar.store).read_whole
    before, states = path.stat(), columnar.states
    columnar.sidecars.keep(columnar.lane, whole(columnar.lane, states))
    assert path.stat().st_ino == before.st_ino
    assert columnar.bars() == [*range(-9, 9)]


def test_a_later_year_is_appended_and_an_earlier_one_makes_a_new_file(
    columnar: ColumnarStore,
) -> None:
    path = columnar.sidecars.path(DAILY)
    inodes = [path.stat().st_ino]
    for first in (370, -500):
        columnar.store.commit(DAILY, Commit((piece(first, first + 3),)))
        assert same(columnar.store.read(DAILY, days(first, first + 3))[0],
                    table(range(first, first + 3)))  # fmt: skip
        columnar.store.read(DAILY, EVER)
        inodes.append(path.stat().st_ino)
    assert inodes[0] == inodes[1] != inodes[2]
    assert columnar.bars() == [*range(-500, -497), *range(-9, 9), *range(370, 373)]


def test_two_later_years_are_appended_at_once(columnar: ColumnarStore) -> None:
    columnar.store.commit(DAILY, Commit((piece(370, 373), piece(740, 743))))
    columnar.store.read(DAILY, EVER)
    assert columnar.bars() == [*range(-9, 9), *range(370, 373), *range(740, 743)]


def test_years_are_read_from_their_files_if_the_columnar_header_has_no_room_for_all(
    tmp_path: Path,
) -> None:
    columnar, first = columnar_in(tmp_path), [-365 * n for n in range(160, -1, -1)]
    columnar.store.commit(DAILY, Commit(tuple(piece(n, n + 1) for n in first)))
    for _ in range(2):
        assert numbers(columnar.store.read(DAILY, days(first[0], 1))[0]) == first
    assert not columnar.sidecars.path(DAILY).exists()


def test_a_dropped_columnar_file_is_no_longer_held_open(
    columnar: ColumnarStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for held in (0, 9):  # a map, and what is read into memory
        file = SimpleNamespace(bytes=held)
        columnar.sidecars.hold(DAILY, file)  # type: ignore[arg-type]
        assert columnar.sidecars.opened(DAILY) is file
        columnar.sidecars.drop(DAILY)
        assert columnar.sidecars.opened(DAILY) is None


def test_a_columnar_file_that_cannot_be_removed_changes_no_answer(
    columnar: ColumnarStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise StorageError("made to fail")

    monkeypatch.setattr(columnar.lane.disk, "remove", refuse)
    columnar.sidecars.drop(DAILY)
    assert same(columnar.store.read(DAILY, EVER)[0], table(range(-9, 9)))


def test_a_later_year_with_an_additional_column_is_added(columnar: ColumnarStore) -> None:
    columnar.store.commit(DAILY, Commit((piece(370, 373, adj=True),)))
    columnar.store.read(DAILY, EVER)
    assert columnar.bars() == [*range(-9, 9), *range(370, 373)]
