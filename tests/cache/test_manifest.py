"""What the documents of a series say together: one file, believed only while it is true."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from src.data.cache.format import json_document
from src.data.cache.read.series_index import IndexEntry
from src.data.cache.store import BarStore, Commit, Suspect
from src.data.cache.unified_cache import UnifiedCache
from src.data.disk.files import Disk, DiskStep
from src.data.model.bars import Bar
from src.data.model.series import SeriesKey
from src.data.model.timeframe import Timeframe
from tests.cache.bars import DAILY, EVER, NOW, at, lane_folder, mark, piece, store_in
from tests.cache.crash import Quick
from tests.cache.disks import CountingDisk, FailingDisk
from tests.cache.test_adopt import leave

OTHER = SeriesKey("MSFT", Timeframe(1, "d"))
T = TypeVar("T")


def gist_of(root: Path, key: SeriesKey = DAILY) -> Path:
    return root / "_columnar" / key.symbol / f"{key.timeframe.folder}.gist"


def settled(root: Path, key: SeriesKey = DAILY) -> None:
    """Let a folder be as it is for some time; its documents are left as they are."""
    folder = lane_folder(root, key)
    os.utime(folder, ns=(0, folder.stat().st_mtime_ns - 10**9))


def known(root: Path, *, columnar: str = "map", disk: Disk | None = None) -> IndexEntry:
    """Return what a store knows that has just been opened."""
    store = store_in(root, disk or Quick(), columnar=columnar)
    return store._viewer.known(store._lane(DAILY))


def facts(of: IndexEntry) -> tuple[object, ...]:
    return of.view, of.extents(EVER), of.has_quarantine


def opened(root: Path, key: SeriesKey = DAILY) -> list[str]:
    """Return what a first look opens."""
    disk = CountingDisk()
    store_in(root, disk, columnar="map").view(key)
    return sorted(step.path.name for step in disk.steps if step.name == "open")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A series of five years, looked at once."""
    store = store_in(tmp_path, Quick(), columnar="map")
    store.commit(DAILY, Commit((piece(-900, 900),), next_due=NOW))
    settled(tmp_path)
    known(tmp_path)
    assert gist_of(tmp_path).exists()
    return tmp_path


def test_a_first_look_opens_one_file(root: Path) -> None:
    assert opened(root) == ["1d.gist"]
    assert facts(known(root)) == facts(known(root, columnar="off"))
    assert known(root).view.rows == 1800
    disk = CountingDisk()
    store_in(root, disk, columnar="map").view(DAILY)
    assert "list" not in [step.name for step in disk.steps]


def test_few_documents_are_read_as_soon(tmp_path: Path) -> None:
    store_in(tmp_path, Quick()).commit(DAILY, Commit((piece(-300, 300),)))
    settled(tmp_path)
    known(tmp_path)
    assert not gist_of(tmp_path).exists()


def test_who_has_looked_before_looks_at_what_is_new(root: Path) -> None:
    store = store_in(root, disk := CountingDisk(), columnar="map")
    store.view(DAILY)
    store_in(root, Quick()).commit(DAILY, Commit((piece(900, 901),)))
    settled(root)
    disk.steps.clear()
    assert store.view(DAILY).rows == 1801
    assert "1d.gist" not in [step.path.name for step in disk.steps if step.name == "open"]


def test_without_derived_files_there_is_none(root: Path) -> None:
    known(root, columnar="off", disk=(disk := CountingDisk()))
    assert "1d.gist" not in [step.path.name for step in disk.steps]
    gist_of(root).unlink()
    known(root, columnar="off")
    assert not gist_of(root).exists()


# --- true or not at all -----------------------------------------------------------------------

BAD = Suspect(Bar(at(3), 1.0, 0.5, 2.0, 1.0, 1.0, 1.0), "high < low")


def any_change(dice: random.Random) -> Callable[[BarStore], object]:
    first = dice.randrange(-900, 900)
    end = first + dice.randrange(1, 300)
    state = dice.choice(["suspect", "empty", "provisional"])
    commit = dice.choice([
        Commit((piece(first, end, shift=dice.random()),)),
        Commit((piece(900, 900 + dice.randrange(1, 9)),), next_due=NOW),
        Commit(marks=(mark(first, end, "empty", reason="x", expires=NOW),)),
        Commit(marks=(mark(first, end, state),)),
        Commit(marks=(mark(3, 4, "suspect"),), suspects=(BAD,)),
    ])  # fmt: skip
    if dice.random() < 0.2:
        return lambda store: store.clear_years(DAILY, [dice.randrange(2021, 2027)])
    return lambda store: store.commit(DAILY, commit)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_done_to_a_series_is_seen(root: Path, seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(25):
        any_change(dice)(store_in(root, Quick(), columnar="map"))
        if dice.random() < 0.7:
            settled(root)
        expected = facts(known(root, columnar="off"))
        assert facts(known(root)) == expected
        assert facts(known(root)) == expected


def test_a_commit_of_another_process_is_seen_and_kept(root: Path) -> None:
    store_in(root, Quick()).commit(DAILY, Commit((piece(900, 901),)))
    settled(root)
    assert "2026.metadata.json" in opened(root)
    assert opened(root) == ["1d.gist"]
    assert known(root).view.rows == 1801


def test_a_document_written_in_place_is_looked_at(root: Path) -> None:
    before = lane_folder(root).stat()
    document = lane_folder(root) / "2024.metadata.json"
    document.write_bytes(document.read_bytes() + b" ")
    assert lane_folder(root).stat().st_mtime_ns == before.st_mtime_ns
    assert "2024.metadata.json" in opened(root)


def test_a_document_that_is_gone_is_missed(root: Path) -> None:
    before = lane_folder(root).stat().st_mtime_ns
    (lane_folder(root) / "2024.metadata.json").unlink()
    os.utime(lane_folder(root), ns=(0, before))
    assert "2024.metadata.json" in opened(root)


def test_a_folder_that_is_just_being_written_to_is_not_believed(root: Path) -> None:
    class Young(CountingDisk):
        def now_ns(self) -> int:
            return lane_folder(root).stat().st_mtime_ns + 10_000_000

    gist_of(root).unlink()
    known(root, disk=Young())
    assert not gist_of(root).exists()


def test_what_changes_while_it_is_read_is_not_kept(root: Path) -> None:
    folder = lane_folder(root)

    class Busy(Disk):
        def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
            if step.name == "stat" and step.path.name == "2022.metadata.json":
                os.utime(folder, ns=(0, folder.stat().st_mtime_ns - 10**9))
            return call()

    gist_of(root).unlink()
    known(root, disk=Busy())
    assert not gist_of(root).exists()


def test_files_of_older_tools_are_seen_beside_it(root: Path) -> None:
    days = "".join(f"2020-01-{day:02d},1,2,1,2,9\n" for day in range(1, 9))
    leave(root / "AAPL/1d", f"timestamp,open,high,low,close,volume\n{days}")
    (root / "AAPL/1d/2024.csv.gz").rename(root / "AAPL/1d/2020.csv.gz")
    assert facts(known(root)) == facts(known(root, columnar="off"))
    assert known(root).view.rows > 1800


def test_what_an_older_tool_may_write_to_is_not_kept(root: Path) -> None:
    gist_of(root).unlink()
    leave(lane_folder(root))  # in place of our own year
    settled(root)
    assert known(root).view.rows < 1800
    assert not gist_of(root).exists()


@pytest.mark.parametrize("name", ["2024.metadata.json", "series.json"])
def test_what_needs_care_is_not_kept(root: Path, name: str) -> None:
    document = lane_folder(root) / name
    document.write_bytes(document.read_bytes().replace(b"acme", b"acne").replace(b"AAPL", b"AAPX"))
    settled(root)
    gist_of(root).unlink()
    known(root)
    assert not gist_of(root).exists()
    assert facts(known(root)) == facts(known(root, columnar="off"))


# --- the file itself --------------------------------------------------------------------------


def test_every_damage_is_noticed(root: Path) -> None:
    path = gist_of(root)
    whole, expected = path.read_bytes(), facts(known(root, columnar="off"))
    for at_byte in range(0, len(whole), 7):
        path.write_bytes(whole[:at_byte] + bytes([whole[at_byte] ^ 1]) + whole[at_byte + 1 :])
        assert facts(known(root)) == expected
    for size in (0, 1, 80, len(whole) - 2):
        path.write_bytes(whole[:size])
        assert facts(known(root)) == expected


def test_that_of_another_series_is_none(root: Path) -> None:
    store_in(root, Quick()).commit(OTHER, Commit((piece(-900, 900, vendor="other"),)))
    settled(root, OTHER)
    told = json.loads(gist_of(root).read_bytes())
    told |= {"folder": Disk().stat(lane_folder(root, OTHER)), "documents": {}}
    gist_of(root, OTHER).parent.mkdir()
    gist_of(root, OTHER).write_bytes(json_document.dump(told))
    view = store_in(root, Quick(), columnar="map").view(OTHER)
    assert {part.vendor for part in view.coverage} == {"other"}


def test_that_of_another_version_is_none(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gist_of(root).write_bytes(json_document.dump({"format": 2, "all": "different"}))
    assert known(root).view.rows == 1800
    assert opened(root) == ["1d.gist"], "it is made anew"


# --- nobody depends on it ---------------------------------------------------------------------


@pytest.mark.parametrize("fails_at", range(1, 9))
def test_a_disk_that_refuses_costs_nothing_else(root: Path, fails_at: int) -> None:
    expected = facts(known(root, columnar="off"))
    shutil.rmtree(root / "_columnar")
    disk = FailingDisk(fails_at, errno.EROFS, for_ever=True)
    store = store_in(root, disk, columnar="map")
    assert facts(store._viewer.known(store._lane(DAILY))) == expected
    assert disk.failed is not None or fails_at > 4
    assert not list(root.rglob("*.gist")) or disk.failed is None
    assert not list(root.rglob("*.tmp")) or disk.failed is not None


def test_a_cache_that_can_only_be_read_is_tried_once(root: Path) -> None:
    shutil.rmtree(root / "_columnar")
    store_in(root, Quick()).commit(OTHER, Commit((piece(-900, 900),)))
    settled(root, OTHER)
    disk = FailingDisk(1, errno.EROFS, for_ever=True)
    store = store_in(root, disk, columnar="map")
    assert [store.view(key).rows for key in (DAILY, OTHER)] == [1800, 1800]
    assert disk.left == 0


def test_one_that_can_only_be_read_is_read(root: Path) -> None:
    disk = FailingDisk(1, errno.EROFS, for_ever=True)
    store = store_in(root, disk, columnar="map")
    assert store.view(DAILY).rows == 1800
    assert disk.left == 1, "nothing was written"


def test_one_that_cannot_be_read_is_none(root: Path) -> None:
    class Refusing(Disk):
        def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
            if step.path.suffix == ".gist":
                raise PermissionError(errno.EACCES, "no")
            return call()

    assert known(root, disk=Refusing()).view.rows == 1800


def test_nobody_waits_for_the_folder_of_derived_files(root: Path) -> None:
    gist_of(root).unlink()
    store = store_in(root, columnar="map")
    with Disk().lock(gist_of(root).parent / ".lock", 1.0):
        assert store.view(DAILY).rows == 1800
    assert not gist_of(root).exists()
    settled(root)
    store_in(root, columnar="map").view(DAILY)
    assert gist_of(root).exists()


def test_where_there_is_no_room_none_is_written(root: Path) -> None:
    gist_of(root).unlink()
    store = store_in(root, Quick(), columnar="map")
    store.steward.has_room = lambda need: False  # type: ignore[method-assign]
    store.view(DAILY)
    assert not gist_of(root).exists()


def test_it_goes_with_its_series(root: Path) -> None:
    store_in(root, Quick(), columnar="map").clear("AAPL")
    assert not gist_of(root).exists()


def test_that_of_a_series_that_is_gone_is_found(root: Path) -> None:
    upkeep = UnifiedCache(root).maintenance
    assert upkeep.drop_orphans() == 0
    size = gist_of(root).stat().st_size
    shutil.rmtree(lane_folder(root))
    assert upkeep.drop_orphans(dry_run=True) == size
    assert gist_of(root).exists()
    assert upkeep.drop_orphans() == size
    assert not gist_of(root).exists()
