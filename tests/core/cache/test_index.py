"""Tests the index of a cache folder: used only while valid, otherwise rebuilt or not used."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from src.data.core.cache.format import lane_entry
from src.data.core.cache.retention import index as module
from src.data.core.cache.retention.inventory import Holdings, Inventory, Size, listed
from src.data.core.cache.store import BarStore, Commit
from src.data.core.cache.values import Use
from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import StorageError
from tests.core.cache.bars import DAILY, lane_folder, mark, piece
from tests.core.cache.bars import NOW as THEN
from tests.core.cache.counts import FULL
from tests.core.cache.disks import DyingDisk, Killed
from tests.processes import together

OTHER = SeriesKey("MSFT", Timeframe(1, "d"))
RAW = SeriesKey("AAPL", Timeframe(1, "d"), ("raw",))
LONG_AGO = 1_700_000_000_000_000_000


class Place:
    """A store whose lanes were last changed long ago, and its inventory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = BarStore(root, clock=ManualClock(THEN))
        self.inventory = Inventory(self.store.parts)
        self.file = root / "ohlcv/_metadata/index.sqlite"
        self.reads: list[str] = []

    def commit(self, commit: Commit, key: SeriesKey = DAILY) -> None:
        self.store.commit(key, commit)
        self.rest()

    def rest(self) -> None:
        """Let all folders be old, each as old as before but for those that were changed."""
        for count, folder in enumerate(sorted(p for p in self.root.rglob("*") if p.is_dir())):
            state = folder.stat()
            if state.st_mtime_ns > LONG_AGO + 10**15:
                self.age = getattr(self, "age", 0) + 1
                when = LONG_AGO + self.age * 10**9 + count
                os.utime(folder, ns=(when, when))

    def look(self, part: Any = "") -> Holdings:
        return self.inventory.contents(part)

    def rows(self) -> dict[str, int]:
        return {str(lane.key): lane.entry.rows for lane in self.look().lanes}

    def kept(self) -> set[str]:
        return set(self.inventory.index.entries())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Return a place with AAPL 1d, its raw lane and MSFT 1d; it lists each lane that is read."""
    made = Place(tmp_path / "cache")
    made.commit(Commit((piece(0, 400),)))
    made.commit(Commit((piece(0, 10),)), OTHER)
    made.commit(Commit((piece(0, 5),)), RAW)
    read = Inventory.read_lane

    def watched(self: Inventory, key: SeriesKey, *rest: Any) -> Any:
        made.reads.append(str(key))
        return read(self, key, *rest)

    monkeypatch.setattr(Inventory, "read_lane", watched)
    return made


ROWS = {"AAPL 1d": 400, "AAPL 1d@raw": 5, "MSFT 1d": 10}


def test_unchanged_series_are_not_read_again_by_the_index(place: Place) -> None:
    assert place.rows() == ROWS
    assert place.reads == list(ROWS)
    first = place.look("growth")
    again = place.look("growth")
    assert place.reads == list(ROWS) * 2, "read once for the growth figures"
    assert again.lanes == first.lanes
    place.look()
    assert Inventory(place.store.parts).contents("growth").lanes == first.lanes
    assert place.reads == list(ROWS) * 2


def test_only_the_logs_of_an_unchanged_lane_are_read_for_its_growth(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.look()
    names: list[str] = []
    read_all = Disk.read_all

    def watched(self: Disk, folder: str, some: Any) -> Any:
        names.extend(some)
        return read_all(self, folder, names[-len(some) :])

    monkeypatch.setattr(Disk, "read_all", watched)
    found = place.look("growth").lanes
    assert sorted(names) == ["2024.log"] * 3 + ["2025.log"]
    place.file.unlink()
    assert place.look("growth").lanes == found


def test_a_lane_that_changes_before_its_logs_are_read_is_read_whole(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.look()
    quiet = Inventory.without_writers

    def late(self: Inventory, folder: Path) -> Any:
        monkeypatch.undo()
        place.commit(Commit((piece(400, 401),)))
        return quiet(self, folder)

    monkeypatch.setattr(Inventory, "without_writers", late)
    lane = place.look("growth").lanes[0]
    assert lane.growth is not None
    assert (lane.entry.rows, sum(day.bars for day in lane.growth)) == (401, 401)


def test_the_index_agrees_with_the_store(place: Place) -> None:
    place.commit(Commit((), marks=(mark(400, 405, "empty"),)))
    place.look()
    for lane in place.look().lanes:
        view, entry = place.store.view(lane.key), lane.entry
        assert (entry.rows, entry.first, entry.last) == (view.rows, view.first, view.last)
        assert entry.vendors == sorted({p.vendor for p in view.coverage if p.state != "empty"})
        assert entry.answered_ms == max(part.fetched_at for part in view.coverage)
        assert [year.year for year in entry.years] == place.store.parts.lane(lane.key).years()
        assert max(year.generation for year in entry.years) == view.generation


CHANGES: dict[str, Callable[[Place], object]] = {
    "a bar appended": lambda p: p.store.commit(DAILY, Commit((piece(400, 401),))),
    "bars corrected": lambda p: p.store.commit(DAILY, Commit((piece(3, 4, shift=1.0),))),
    "a year more": lambda p: p.store.commit(DAILY, Commit((piece(800, 801),))),
    "nothing there": lambda p: p.store.commit(DAILY, Commit((), marks=(mark(500, 505, "empty"),))),
    "doubted": lambda p: p.store.commit(DAILY, Commit((), marks=(mark(3, 5, "suspect"),))),
    "a year cleared": lambda p: p.store.clear_years(DAILY, [2024]),
    "all cleared": lambda p: p.store.clear("AAPL", DAILY.timeframe),
    "a document gone": lambda p: (lane_folder(p.root) / "2024.metadata.json").unlink(),
    "a file gone": lambda p: (lane_folder(p.root) / "2024.csv.gz").unlink(),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_a_lane_is_detected(place: Place, change: str) -> None:
    place.look()
    os.utime(lane_folder(place.root), ns=(LONG_AGO, LONG_AGO))
    place.look()
    assert place.kept() == {"AAPL/1d", "AAPL/1d@raw", "MSFT/1d"}
    before = lane_folder(place.root).stat().st_mtime_ns
    CHANGES[change](place)
    assert lane_folder(place.root).stat().st_mtime_ns != before
    fresh = Inventory(BarStore(place.root).parts, keeps=False)
    fresh.index = module.LaneIndex(place.root / "none", Disk())
    assert place.look().lanes == fresh.contents().lanes


def test_a_recently_changed_folder_is_not_indexed(place: Place) -> None:
    """Two changes within one step of the clock of a file system look like one."""
    os.utime(lane_folder(place.root))
    assert place.rows() == ROWS
    assert place.kept() == {"AAPL/1d@raw", "MSFT/1d"}
    ahead = 2**62
    os.utime(lane_folder(place.root), ns=(ahead, ahead))
    place.look()
    assert place.kept() == {"AAPL/1d@raw", "MSFT/1d"}


def test_a_lane_locked_by_a_writer_is_not_indexed(place: Place) -> None:
    with Disk().lock(lane_folder(place.root) / ".lock", 1.0):
        assert place.rows() == ROWS
    assert place.kept() == {"AAPL/1d@raw", "MSFT/1d"}


def test_a_folder_that_replaced_another_of_its_name_is_read_again(place: Place) -> None:
    place.look()
    folder = lane_folder(place.root)
    time = folder.stat().st_mtime_ns
    shutil.copytree(folder, folder.with_name("aside"))
    shutil.rmtree(folder)
    folder.with_name("aside").rename(folder)
    (folder / "2024.csv.gz").unlink()
    (folder / "2024.metadata.json").unlink()
    os.utime(folder, ns=(time, time))
    assert place.rows() == ROWS | {"AAPL 1d": 34}


def test_a_corrupt_document_is_read_each_time_and_not_indexed(place: Place) -> None:
    document = lane_folder(place.root) / "2025.metadata.json"
    document.write_bytes(document.read_bytes().replace(b'"rows":34', b'"rows":35'))
    for _ in range(2):
        (lane,) = (one for one in place.look().lanes if one.key == DAILY)
        assert [year.is_sound for year in lane.entry.years] == [1, 0]
    assert place.kept() == {"AAPL/1d@raw", "MSFT/1d"}


def test_a_pipe_or_folder_in_place_of_a_document_hides_no_series(place: Place) -> None:
    """A pipe in place of a document is an error of its series only, and no reader blocks."""
    place.look()
    document = lane_folder(place.root) / "2025.metadata.json"
    document.unlink()
    document.mkdir()
    (lane,) = (one for one in place.look().lanes if one.key == DAILY)
    assert not lane.entry.is_sound
    document.rmdir()
    os.mkfifo(document)
    assert set(place.rows()) == set(ROWS)
    document.unlink()
    document.touch()
    os.truncate(document, 1 << 30)  # more than is read of any document
    assert place.rows() == ROWS | {"AAPL 1d": 366}


def test_a_series_with_files_of_older_tools_is_not_indexed(place: Place) -> None:
    place.look()
    old = place.root / "aapl" / "1d"
    old.mkdir(parents=True)
    shutil.copy(lane_folder(place.root) / "2024.csv.gz", old / "2019.csv.gz")
    found = place.look()
    assert found.has_foreign("AAPL")
    assert not found.has_foreign("MSFT")
    assert place.reads[-2:] == ["AAPL 1d", "AAPL 1d@raw"]
    assert found.state == ""


# --- the file ------------------------------------------------------------------------------------


def flipped(file: Path) -> None:
    """Change one digit in the middle of every entry: SQLite does not notice."""
    with sqlite3.connect(file) as db:
        for lane, entry in db.execute("SELECT lane, entry FROM entries").fetchall():
            at_ = len(entry) // 2
            bad = entry[:at_] + bytes([entry[at_] ^ 1]) + entry[at_ + 1 :]
            db.execute("UPDATE entries SET entry = ? WHERE lane = ?", (bad, lane))
    db.close()


def swapped(file: Path) -> None:
    with sqlite3.connect(file) as db:
        db.execute("UPDATE entries SET entry = (SELECT entry FROM entries WHERE lane = 'MSFT/1d')")
    db.close()


def old(file: Path) -> None:
    file.unlink()
    with sqlite3.connect(file) as db:
        db.execute("CREATE TABLE entries (name TEXT, other TEXT)")
    db.close()


def without_tables(file: Path) -> None:
    with sqlite3.connect(file) as db:
        db.execute("DROP TABLE entries")
    db.close()


def torn(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:5000] + bytes(1000) + content[6000:9000])


HARM: dict[str, Callable[[Path], object]] = {
    "gone": lambda file: file.unlink(),
    "empty": lambda file: file.write_bytes(b""),
    "no database": lambda file: file.write_bytes(b"not ours" * 2000),
    "torn": torn, "flipped": flipped, "swapped": swapped, "old": old, "no tables": without_tables,
}  # fmt: skip


@pytest.mark.parametrize("harm", HARM)
def test_a_damaged_index_is_rebuilt_and_never_used(place: Place, harm: str) -> None:
    place.look()
    place.reads.clear()
    HARM[harm](place.file)
    assert place.rows() == ROWS
    assert set(place.reads) == set(ROWS) - ({"MSFT 1d"} if harm == "swapped" else set())
    assert place.rows() == ROWS
    place.reads.clear()
    assert Place(place.root).rows() == ROWS
    assert place.reads == []


def newer(file: Path) -> None:
    with sqlite3.connect(file) as db:
        db.execute("DELETE FROM entries")
        db.execute(f"PRAGMA user_version = {lane_entry.VERSION + 1}")
    db.close()


def instead(make: Callable[[Path], object]) -> Callable[[Path], object]:
    def put(file: Path) -> None:
        file.unlink()
        make(file)

    return put


ODD: dict[str, Callable[[Path], object]] = {
    "of a newer version": newer,
    "a pipe": instead(os.mkfifo),
    "a folder": instead(os.mkdir),
    "a link": instead(lambda file: file.symlink_to(file.parent / "elsewhere")),
    "a pipe beside it": lambda file: os.mkfifo(f"{file}-journal"),
}


@pytest.mark.parametrize("odd", ODD)
def test_a_foreign_index_file_is_neither_changed_nor_used(place: Place, odd: str) -> None:
    place.look()
    place.reads.clear()
    ODD[odd](place.file)
    before, content = place.file.lstat(), _content(place.file)
    for _ in range(2):
        assert place.rows() == ROWS
    assert set(place.reads) == set(ROWS)
    after = place.file.lstat()
    assert (before.st_ino, before.st_mode, before.st_size) == (
        after.st_ino, after.st_mode, after.st_size,
    )  # fmt: skip
    assert _content(place.file) == content
    assert not (place.file.parent / "elsewhere").exists()


def _content(file: Path) -> bytes:
    return file.read_bytes() if file.is_file() else b""


def test_an_index_behind_a_link_is_neither_read_nor_written(tmp_path: Path) -> None:
    """SQLite itself follows links; whoever may write to a cache must not have it write elsewhere."""
    root, outside = tmp_path / "cache", tmp_path / "outside"
    store = BarStore(root, Disk(root=root), clock=ManualClock(THEN))
    store.commit(DAILY, Commit((piece(0, 4),)))
    metadata, index = root / "ohlcv/_metadata", Inventory(store.parts).index
    assert index.keep_uses({"lane": Use(1)}) and index.uses() == {"lane": Use(1)}
    shutil.move(metadata, outside)
    metadata.symlink_to(outside)
    before = (outside / "index.sqlite").read_bytes()
    assert not index.keep_uses({"lane": Use(2)}) and index.uses() == {}
    assert (outside / "index.sqlite").read_bytes() == before


def test_on_a_full_disk_the_cache_is_listed_without_an_index(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StorageError("no space is left")

    monkeypatch.setattr(Disk, "create", full)
    assert place.rows() == ROWS
    assert not place.file.exists()


def test_on_a_read_only_disk_the_index_is_read_and_not_changed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.look()
    place.commit(Commit((piece(10, 12),)), OTHER)
    before = place.file.read_bytes()
    place.reads.clear()

    def refuse(*_: object, **__: object) -> None:
        raise StorageError("read-only file system")

    monkeypatch.setattr(Disk, "lock", refuse)
    place.file.chmod(0o400)
    assert place.rows() == ROWS | {"MSFT 1d": 12}
    assert place.reads == ["MSFT 1d"]
    assert place.file.read_bytes() == before


def test_a_listing_that_keeps_no_index_writes_no_file(place: Place) -> None:
    looking = Inventory(place.store.parts, keeps=False)
    before = sorted(place.root.rglob("*"))
    assert len(looking.contents().lanes) == 3
    assert sorted(place.root.rglob("*")) == before


def test_the_index_is_read_while_another_process_writes_to_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.look()
    place.commit(Commit((piece(10, 12),)), OTHER)
    monkeypatch.setattr("src.data.core.disk.derived.BUSY_S", 0.0)
    writer = sqlite3.connect(place.file, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    try:
        assert place.rows() == ROWS | {"MSFT 1d": 12}
    finally:
        writer.execute("ROLLBACK")
        writer.close()
    assert place.rows() == ROWS | {"MSFT 1d": 12}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_two_processes_rebuild_a_damaged_index_concurrently(place: Place) -> None:
    def work(_: int) -> None:
        for _ in range(20 if FULL else 8):
            inventory = Inventory(BarStore(place.root).parts)
            rows = sum(lane.entry.rows for lane in inventory.contents("growth").lanes)
            assert rows == 415, rows
            # Some kernels refuse to open what another process removes in that moment.
            with suppress(FileNotFoundError):
                place.file.write_bytes(b"no database" * 999)

    together(2, work)
    assert place.rows() == ROWS


def test_the_index_is_right_after_its_writer_was_killed(place: Place) -> None:
    """Whatever call of ours is the last one, the next process finds what is there."""
    for dies_at in range(1, 9):
        shutil.rmtree(place.file.parent, ignore_errors=True)
        store = BarStore(place.root, DyingDisk(dies_at), ManualClock(THEN))
        try:
            Inventory(store.parts).contents()
        except Killed:
            assert Place(place.root).rows() == ROWS
    assert place.rows() == ROWS


# --- sizes ---------------------------------------------------------------------------------------


def test_hard_links_count_once_and_symbolic_links_not_at_all(tmp_path: Path) -> None:
    for name, size in (("one", 10), ("other", 7), ("outside", 1000)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "2024.csv.gz").write_bytes(bytes(size))
    root = tmp_path / "one"
    (root / "2023.csv.gz").hardlink_to(root / "2024.csv.gz")
    (root / "2022.csv.gz").hardlink_to(tmp_path / "other" / "2024.csv.gz")
    (root / "2021.csv.gz").symlink_to(tmp_path / "outside" / "2024.csv.gz")
    (root / "all").symlink_to(tmp_path / "outside")
    size = Size()
    size.add_folder(str(root))
    assert (size.bytes, size.files) == (17, 2)
    assert listed(tmp_path / "none") == ([], {})


def test_the_size_is_that_of_all_files(place: Place) -> None:
    place.store.commit(DAILY, Commit((piece(3, 4, shift=1.0),)))  # keeps the file of before
    (place.root / "funding_rate/X/8h").mkdir(parents=True)
    (place.root / "funding_rate/X/8h/2024.csv.gz").write_bytes(b"12345")
    place.rest()
    for _ in range(2):
        size = place.look().size
        files = [path for path in place.root.rglob("*") if path.is_file()]
        index = [path for path in files if path.parent.name == "_metadata"]
        total = sum(path.stat().st_size for path in {*files} - {*index})
        assert total <= size.bytes <= total + sum(path.stat().st_size for path in index)
        assert (size.data_files, size.without_metadata) == (5, 1)
