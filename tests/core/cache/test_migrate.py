"""Tests the migration of files of older tools: verified, kept aside, and deleted only when complete."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from src.data.core.cache.legacy import adopt
from src.data.core.cache.legacy.migrate import OldFile, PrunedFile, migrate_series, prune_series
from src.data.core.cache.legacy.reader import legacy_files
from src.data.core.cache.store import BarStore, Commit
from src.data.core.disk.files import Disk, DiskStep
from src.data.core.model.identity.kind import Basis
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import CorruptEntryError
from tests.core.cache.bars import (
    DAILY,
    EVER,
    lane_folder,
    mark,
    minutes,
    no_temps,
    piece,
    same,
    store_in,
    table,
)
from tests.core.cache.counts import FULL
from tests.core.cache.crash import Quick
from tests.core.cache.damage import quarantined
from tests.core.cache.disks import CHANGING, DyingDisk, Killed, RecordingDisk

T = TypeVar("T")

LINES = [
    f"2024-01-{n + 1:02d} 00:00:00,{100 + n * 0.1!r},{101 + n * 0.1!r},{99 + n * 0.1!r},"
    f"{100 + n * 0.1!r},{n * 10}.0\n"
    for n in range(6)
]
HEADER = "timestamp,open,high,low,close,volume\n"
PLACES = ("ohlcv/AAPL/1d", "AAPL/1d")
DATA, META = "2024.csv.gz", "2024.metadata.json"


def write_older_file(folder: Path, lines: list[str] = LINES, vendor: str = "tool") -> bytes:
    """Write what an older tool would have left; return the bytes of its bars."""
    folder.mkdir(parents=True, exist_ok=True)
    packed = gzip.compress((HEADER + "".join(lines)).encode(), mtime=0)
    (folder / DATA).write_bytes(packed)
    about = {"symbol": "AAPL", "timeframe": "1d", "year": 2024, "data_source": vendor,
             "last_updated": "2024-06-01T00:00:00"}  # fmt: skip
    (folder / META).write_text(json.dumps(about))
    return packed


def migrated(root: Path, store: BarStore | None = None, *, dry_run: bool = False) -> list[OldFile]:
    return migrate_series((store or store_in(root)).parts, DAILY, dry_run=dry_run)


def pruned(root: Path, *, dry_run: bool = False) -> list[PrunedFile]:
    return prune_series(store_in(root).parts, DAILY, dry_run=dry_run)


def contents(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize("place", PLACES)
def test_year_files_in_both_older_layouts_are_migrated(tmp_path: Path, place: str) -> None:
    original = write_older_file(tmp_path / place)
    before = contents(tmp_path)
    planned = migrated(tmp_path, dry_run=True)
    assert contents(tmp_path) == before
    (done,) = migrated(tmp_path)
    assert [done] == planned
    assert (done.path, done.rows, done.taken) == (f"{place}/{DATA}", 6, 5)
    assert (done.said, done.problem) == ("taken over", "")
    aside = lane_folder(tmp_path) / "_legacy"
    assert (aside / DATA).read_bytes() == original
    assert (aside / META).read_bytes() == before[f"{place}/{META}"]
    if place == "AAPL/1d":
        assert list((tmp_path / place).iterdir()) == []
    rows, coverage = store_in(tmp_path).read(DAILY, EVER)
    assert same(rows, table(range(5))), "the last bar may not have closed"
    assert {c.basis for c in coverage} == {Basis("unknown")}
    assert b"OT" in (lane_folder(tmp_path) / DATA).read_bytes()[:16]
    assert migrated(tmp_path) == []
    assert no_temps(tmp_path)


def test_migration_sets_a_hidden_year_file_aside(tmp_path: Path) -> None:
    better, hidden = (
        write_older_file(tmp_path / PLACES[0]),
        write_older_file(tmp_path / PLACES[1], LINES[:3]),
    )
    one, other = migrated(tmp_path)
    assert (one.path, one.taken) == (f"{PLACES[0]}/{DATA}", 5)
    assert (other.path, other.taken) == (f"{PLACES[1]}/{DATA}", 0)
    assert "other bars for that year" in other.said
    kept = {p.read_bytes() for p in (lane_folder(tmp_path) / "_legacy").glob("*.csv.gz")}
    assert kept == {better, hidden}
    assert quarantined(lane_folder(tmp_path)) == [], "the file is sound"
    assert list((tmp_path / PLACES[1]).iterdir()) == []


@pytest.mark.parametrize("place", PLACES)
def test_migration_sets_a_corrupt_year_file_aside_with_a_copy_in_quarantine(
    tmp_path: Path, place: str
) -> None:
    write_older_file(tmp_path / place)
    (tmp_path / place / DATA).write_bytes(b"no gzip at all")
    (done,) = migrated(tmp_path)
    assert (done.taken, "not a readable year file" in done.problem) == (0, True)
    assert done.said == "set aside, and a copy kept in quarantine"
    assert migrated(tmp_path) == []
    assert (lane_folder(tmp_path) / "_legacy" / DATA).read_bytes() == b"no gzip at all"
    assert [p.read_bytes() for p in quarantined(lane_folder(tmp_path))] == [b"no gzip at all"]
    (left,) = pruned(tmp_path)
    assert left.problem == "it cannot be read"
    assert (lane_folder(tmp_path) / "_legacy" / DATA).exists()


def test_an_unreadable_time_is_named_in_one_line(tmp_path: Path) -> None:
    write_older_file(tmp_path / PLACES[0], ["03/01/2024,1,1,1,1,1\n"])
    (done,) = migrated(tmp_path)
    assert re.search(r'[Tt]ime data "?03/01/2024"? (is not ISO8601 format|.*)$', done.problem)
    assert "You might" not in done.problem
    assert len(done.problem.splitlines()) == 1


def test_a_bar_that_may_not_have_closed_is_set_aside_and_reported(tmp_path: Path) -> None:
    write_older_file(tmp_path / PLACES[0], LINES[:1])
    (done,) = migrated(tmp_path)
    assert (done.rows, done.taken, done.problem) == (1, 0, "")
    assert done.said == "set aside: none of its bars is known to have closed"
    assert done.to_json() == {
        "symbol": "AAPL", "timeframe": "1d", "year": 2024, "path": f"{PLACES[0]}/{DATA}",
        "rows": 1, "taken": 0, "said": done.said, "problem": "",
    }  # fmt: skip
    assert migrated(tmp_path) == []
    assert not store_in(tmp_path).view(DAILY).rows


def test_files_are_reported_in_the_order_of_their_years(tmp_path: Path) -> None:
    write_older_file(tmp_path / PLACES[1])
    write_older_file(tmp_path / PLACES[0], [line.replace("2024", "2023", 1) for line in LINES])
    for path in [*(tmp_path / PLACES[0]).iterdir()]:
        path.rename(path.with_name(path.name.replace("2024", "2023")))
    assert [(file.year, file.taken) for file in migrated(tmp_path)] == [(2023, 5), (2024, 5)]


def test_sample_data_are_never_migrated_into_answers(tmp_path: Path) -> None:
    write_older_file(tmp_path / PLACES[1], vendor="mock")
    (done,) = migrated(tmp_path)
    assert "sample data" in done.said
    assert len(store_in(tmp_path).read(DAILY, EVER)[0]) == 0
    (left,) = pruned(tmp_path)
    assert "sample data" in left.problem


def test_a_migration_that_would_change_bars_moves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_older_file(tmp_path / PLACES[1])
    before = contents(tmp_path)
    compose = adopt.compose

    def lossy(segments: list[object], *rest: object) -> object:
        return compose(segments[:-1], *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(adopt, "compose", lossy)
    with pytest.raises(CorruptEntryError, match="are not the same"):
        migrated(tmp_path)
    assert {n: c for n, c in contents(tmp_path).items() if ".lock" not in n} == before


class Overtaken(Disk):
    """A disk of a process that gets the lock only when another one has done it all."""

    def __init__(self, other: Callable[[], object]) -> None:
        super().__init__()
        self._others = [other]

    def lock(self, path: Path, timeout_s: float) -> AbstractContextManager[None]:
        if self._others:
            self._others.pop()()
        return super().lock(path, timeout_s)


@pytest.mark.parametrize("damaged", [0, 1], ids=["the better one", "the hidden one"])
def test_two_concurrent_migrations_set_aside_a_damaged_file_once(
    tmp_path: Path, damaged: int
) -> None:
    for place in PLACES:
        write_older_file(tmp_path / place)
    (tmp_path / PLACES[damaged] / DATA).write_bytes(b"no gzip at all")
    kept: list[list[Path]] = []

    def aside() -> list[Path]:
        return sorted(lane_folder(tmp_path).glob("_*/*"))

    def other() -> None:
        migrated(tmp_path)
        kept.append(aside())

    migrated(tmp_path, store_in(tmp_path, Overtaken(other)))
    assert kept == [aside()]
    assert b"no gzip at all" in {path.read_bytes() for path in aside()}


@pytest.mark.parametrize("place", PLACES)
def test_a_migration_killed_at_any_disk_call_loses_no_bar(tmp_path: Path, place: str) -> None:
    for dies_at in range(1, 80, 1 if FULL else 5):
        root = tmp_path / str(dies_at)
        original = write_older_file(root / place)
        store = store_in(root, DyingDisk(dies_at))
        try:
            migrated(root, store)
        except Killed:
            assert original in contents(root).values(), "the original still exists under some name"
            assert same(store_in(root).read(DAILY, EVER)[0], table(range(5)))
            migrated(root)
            assert (lane_folder(root) / "_legacy" / DATA).read_bytes() == original
            assert same(store_in(root).read(DAILY, EVER)[0], table(range(5)))
            continue
        assert dies_at > 10
        return
    raise AssertionError("it never came to its end")


# --- deleting the originals ----------------------------------------------------------------


@pytest.fixture
def taken_over(tmp_path: Path) -> Path:
    """Return a cache folder in which an older tool's files in ``AAPL/1d`` have been migrated."""
    write_older_file(tmp_path / PLACES[1])
    migrated(tmp_path)
    return tmp_path


def test_a_legacy_file_with_a_bar_cached_nowhere_else_is_kept(taken_over: Path) -> None:
    (one,) = pruned(taken_over)
    assert (one.rows, one.held, one.superseded) == (6, 5, {})
    entry = one.to_json()
    assert (entry["lacking"], entry["deleted"]) == (["2024-01-06T00:00:00Z"], False)
    assert "one of its bars is cached nowhere else, first 2024-01-06" in one.problem
    assert (lane_folder(taken_over) / "_legacy" / DATA).exists()


def test_a_legacy_file_whose_bars_are_all_cached_is_deleted(taken_over: Path) -> None:
    store_in(taken_over).commit(DAILY, Commit((piece(5, 7),)))
    before = contents(taken_over)
    planned = pruned(taken_over, dry_run=True)
    assert contents(taken_over) == before
    (one,) = pruned(taken_over)
    assert [one] == planned
    assert (one.held, one.problem, one.to_json()["deleted"]) == (6, "", True)
    assert list((lane_folder(taken_over) / "_legacy").iterdir()) == []
    assert same(store_in(taken_over).read(DAILY, EVER)[0], table(range(7)))
    assert pruned(taken_over) == []


@pytest.mark.parametrize(
    "later, superseded",
    [
        (Commit((piece(4, 7, shift=1.0),)), {"acme": 2}),
        (Commit((piece(3, 7, [3, 6]),)), {"acme": 2}),
        (Commit((piece(5, 7),), (mark(5, 7, "suspect", reason="doubt"),)), {}),
    ],
    ids=["revised", "taken back", "doubted"],
)
def test_pruning_counts_the_bars_that_a_vendor_revised(
    taken_over: Path, later: Commit, superseded: dict[str, int]
) -> None:
    store_in(taken_over).commit(DAILY, later)
    (one,) = pruned(taken_over)
    assert (one.superseded, one.problem) == (superseded, "")
    assert one.held == 6 - sum(superseded.values())


def test_a_legacy_bar_that_a_doubted_answer_lacks_is_kept(taken_over: Path) -> None:
    doubt = mark(5, 7, "suspect", reason="it cannot be a bar")
    store_in(taken_over).commit(DAILY, Commit(marks=(doubt,)))
    (one,) = pruned(taken_over)
    assert one.lacking != ()
    assert (lane_folder(taken_over) / "_legacy" / DATA).exists()


@pytest.mark.parametrize(
    "row",
    [
        "2023-12-31 00:00:00,90.0,91.0,89.0,90.0,5.0\n",
        "2024-01-03 18:00:00,90.0,91.0,89.0,90.0,5.0\n",
        '2024-01-03 00:00:00,"90,5","91,0","89,0","90,5",5.0\n',
        "2024-01-03 00:00:00,90.0,91.0,89.0,90.0,5.0\n",
    ],
    ids=["another year", "an uncertain date", "not numbers", "a second bar"],
)
def test_a_legacy_file_with_a_row_that_was_not_read_is_kept(tmp_path: Path, row: str) -> None:
    nothing = "2024-01-04 00:00:00,,,,,0.0\n"
    write_older_file(tmp_path / PLACES[1], [row, nothing, *LINES, LINES[2]])
    migrated(tmp_path)
    store_in(tmp_path).commit(DAILY, Commit((piece(5, 7),)))
    (one,) = pruned(tmp_path)
    assert (one.rows, one.problem[:41]) == (6, "one of its rows is not cached: not valid ")
    assert (lane_folder(tmp_path) / "_legacy" / DATA).exists()


@pytest.mark.parametrize("time", ["2024-01-02 00:00:00+00:00", " 2024-01-02 00:00:00"])
def test_a_bar_that_is_repeated_with_another_form_of_its_time_was_read(
    tmp_path: Path, time: str
) -> None:
    again = LINES[1].replace("2024-01-02 00:00:00", time)
    write_older_file(tmp_path / PLACES[1], [*LINES, again])
    migrated(tmp_path)
    store_in(tmp_path).commit(DAILY, Commit((piece(5, 7),)))
    (one,) = pruned(tmp_path)
    assert (one.rows, one.problem) == (6, "")


def test_a_file_without_valid_bars_is_not_said_to_have_bars(tmp_path: Path) -> None:
    write_older_file(tmp_path / PLACES[0], ['2024-01-03,"90,5","91,0","89,0","90,5",5\n'])
    (one,) = migrated(tmp_path)
    assert (one.rows, one.said) == (0, "set aside: it has no valid bars in 2024")


def test_a_legacy_file_is_kept_if_the_cached_year_is_damaged(taken_over: Path) -> None:
    path = lane_folder(taken_over) / DATA
    path.write_bytes(path.read_bytes()[:-9])
    (one,) = pruned(taken_over)
    assert "repair" in one.problem


def test_a_process_killed_while_deleting_legacy_files_loses_no_bar(tmp_path: Path) -> None:
    for dies_at in range(1, 20):
        root = tmp_path / str(dies_at)
        write_older_file(root / PLACES[1])
        migrated(root, store_in(root, Quick()))
        store_in(root, Quick()).commit(DAILY, Commit((piece(5, 7),)))
        try:
            prune_series(store_in(root, DyingDisk(dies_at)).parts, DAILY, dry_run=False)
        except Killed:
            assert same(store_in(root).read(DAILY, EVER)[0], table(range(7)))
            pruned(root)
            assert list((lane_folder(root) / "_legacy").iterdir()) == []
            continue
        assert dies_at > 2
        return
    raise AssertionError("it never came to its end")


def ignore_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """Find files and folders whatever the case of their names, as on macOS and Windows."""

    def real(path: str) -> str:
        """Return the path of the existing file that a path leads to if case is ignored."""
        above, name = os.path.split(path)
        if path == above or exists(path, os.F_OK):
            return path
        above = real(above)
        names = names_in(above) if exists(above, os.F_OK) else []
        return os.path.join(above, next((n for n in names if n.lower() == name.lower()), name))

    names_in, exists, state_of = os.listdir, os.access, os.stat
    monkeypatch.setattr(os, "listdir", lambda path: names_in(real(os.fspath(path))))
    monkeypatch.setattr(os, "access", lambda path, mode: exists(real(os.fspath(path)), mode))
    monkeypatch.setattr(
        os, "stat", lambda path, **how: state_of(path if how or type(path) is int else real(path))
    )


@pytest.mark.parametrize("timeframe", ["1d", "1m"])
def test_a_folder_in_use_is_not_an_older_one_if_case_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timeframe: str
) -> None:
    key = SeriesKey("AAPL", Timeframe.parse(timeframe))
    bars = minutes(0, 5) if timeframe == "1m" else piece(0, 5)
    store_in(tmp_path).commit(key, Commit((bars,)))
    ignore_case(monkeypatch)
    assert legacy_files(tmp_path, key, "AAPL") == [(2024, lane_folder(tmp_path, key) / DATA)]
    assert migrate_series(store_in(tmp_path).parts, key, dry_run=False) == []
    assert legacy_files(tmp_path, replace(key, symbol="aapl"), "%61%61%70%6C") == []
    monkeypatch.undo()
    assert store_in(tmp_path).view(key).rows == 5


def test_older_folders_are_found_on_a_file_system_without_inodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in PLACES:
        write_older_file(tmp_path / place)
    state_of = os.stat
    monkeypatch.setattr(
        os, "stat", lambda path, **how: os.stat_result((0o40755, 0, *state_of(path, **how)[2:]))
    )
    found = legacy_files(tmp_path, DAILY, "AAPL", left_out=str(lane_folder(tmp_path)))
    monkeypatch.undo()
    assert found == [(2024, tmp_path / PLACES[1] / DATA)]


def test_an_older_folder_found_by_two_names_has_each_file_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_older_file(tmp_path / "ohlcv/aapl/1d")
    ignore_case(monkeypatch)
    (file,) = legacy_files(tmp_path, DAILY, "AAPL")
    assert file == (2024, tmp_path / "ohlcv/AAPL/1d" / DATA)


def test_migrating_an_empty_folder_creates_no_file(tmp_path: Path) -> None:
    assert migrated(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_migration_finds_a_year_file_that_was_left_after_the_first_look(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    assert not store.view(DAILY).exists
    write_older_file(tmp_path / PLACES[1])
    (done,) = migrated(tmp_path, store)
    assert done.taken == 5
    assert store.view(DAILY).rows == 5


def test_a_year_file_that_migration_set_aside_is_not_searched_for_again(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 5),)))
    write_older_file(tmp_path / PLACES[1])
    (done,) = migrated(tmp_path, store)
    assert "other bars for that year" in done.said
    assert store.parts.lane(DAILY).elsewhere == {}


class Locked(RecordingDisk):
    """A disk that records files changed without holding the lock."""

    is_held = False

    def __init__(self) -> None:
        super().__init__()
        self.careless: list[DiskStep] = []

    @contextmanager
    def lock(self, path: Path, timeout_s: float) -> Iterator[None]:  # type: ignore[override]
        with super().lock(path, timeout_s):
            self.is_held = True
            yield
        self.is_held = False

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        folders = ("mkdir", "fsync_dir")
        if step.name in CHANGING and step.name not in folders and not self.is_held:
            self.careless.append(step)
        return super().perform(step, call)


def test_no_file_is_moved_without_the_lock(tmp_path: Path) -> None:
    write_older_file(tmp_path / PLACES[0])
    write_older_file(tmp_path / PLACES[1], LINES[:3])
    assert len(migrated(tmp_path, store_in(tmp_path, disk := Locked()))) == 2
    assert disk.careless == []


def test_a_killed_migration_is_repaired_under_the_lock(tmp_path: Path) -> None:
    for n in range(1, 80, 1 if FULL else 5):
        root = tmp_path / str(n)
        write_older_file(root / PLACES[1])
        try:
            migrated(root, store_in(root, DyingDisk(n)))
        except Killed:
            migrated(root, store_in(root, disk := Locked()))
            assert disk.careless == [], n
        else:
            return
    raise AssertionError("it never ended")


def test_folders_of_migration_are_created_by_the_disk_of_the_cache(tmp_path: Path) -> None:
    write_older_file(tmp_path / PLACES[1])
    migrated(tmp_path, store_in(tmp_path, disk := RecordingDisk()))
    made = [step.path for step in disk.steps if step.name == "mkdir"]
    assert lane_folder(tmp_path) in made
