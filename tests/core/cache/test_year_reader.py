"""Tests readers beside writers: no lock, no torn bars, and no repair of intact files."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from src.data.core.cache.document_cache import DocumentCache
from src.data.core.cache.read.series_reader import read_state, read_year
from src.data.core.cache.store import Commit
from src.data.core.disk.files import Disk, DiskStep, FileState
from src.data.core.runtime.lru_cache import LruCache
from src.data.errors import CorruptEntryError, StorageError
from tests.core.cache.bars import (
    DAILY,
    EVER,
    lane_folder,
    mark,
    numbers,
    piece,
    same,
    states,
    store_in,
    table,
)  # fmt: skip
from tests.core.cache.damage import three_members
from tests.core.cache.disks import DyingDisk, Killed, RecordingDisk

T = TypeVar("T")
DATA, META = "2024.csv.gz", "2024.metadata.json"


class Unlockable(RecordingDisk):
    """A disk of a reader that must not lock."""

    def lock(self, path: Path, timeout_s: float) -> object:  # type: ignore[override]
        raise AssertionError("a reader took the lock")


class ReadOnly(Disk):
    """A read-only disk."""

    def lock(self, path: Path, timeout_s: float) -> object:  # type: ignore[override]
        try:
            raise OSError(errno.EROFS, "Read-only file system")
        except OSError as exc:
            raise StorageError("cannot lock it") from exc


class Meanwhile(Disk):
    """A disk on which something happens before the n-th opening of a file."""

    def __init__(self, name: str, actions: list[Callable[[], object]]) -> None:
        super().__init__()
        self.name = name
        self.actions = actions

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        if step.name == "open" and step.path.name == self.name and self.actions:
            self.actions.pop(0)()
        return call()


def test_a_sound_series_is_read_without_lock_or_change(tmp_path: Path) -> None:
    store_in(tmp_path).commit(DAILY, Commit((piece(0, 5),), next_due=3))
    disk = Unlockable()
    store = store_in(tmp_path, disk)
    assert (store.view(DAILY).rows, store.view(DAILY).next_due) == (5, 3)
    opened = [s.path.name for s in disk.steps if s.name == "open"]
    assert DATA not in opened
    assert numbers(store.read(DAILY, EVER)[0]) == [0, 1, 2, 3, 4]
    assert [s.path.name for s in disk.steps if s.name == "open"].count(DATA) == 1
    assert disk.names() == []


def test_only_the_requested_years_are_opened(tmp_path: Path) -> None:
    store_in(tmp_path).commit(DAILY, Commit((piece(-400, 5),)))
    disk = Unlockable()
    store_in(tmp_path, disk).read(DAILY, piece(-30, 0).span)
    opened = {s.path.name for s in disk.steps if s.name == "open"}
    assert {name for name in opened if name.endswith(".csv.gz")} == {"2023.csv.gz"}


def test_bytes_after_the_recorded_size_are_not_read(tmp_path: Path) -> None:
    store_in(tmp_path).commit(DAILY, Commit((piece(0, 5),)))
    data = lane_folder(tmp_path) / DATA
    data.write_bytes(data.read_bytes() + b"an append under way")
    rows, _ = store_in(tmp_path, Unlockable()).read(DAILY, EVER)
    assert numbers(rows) == [0, 1, 2, 3, 4]
    assert data.read_bytes().endswith(b"under way")


@pytest.mark.parametrize("times", [1, 2])
def test_a_year_rewritten_while_it_is_read_is_read_again_without_a_lock(
    tmp_path: Path, times: int
) -> None:
    writer = store_in(tmp_path)
    writer.commit(DAILY, Commit((piece(0, 9),)))
    revise = [
        lambda shift=float(n): writer.commit(DAILY, Commit((piece(2, 3, shift=shift),)))
        for n in range(1, times + 1)
    ]
    disk = Meanwhile(DATA, revise)
    disk.lock = Unlockable().lock  # type: ignore[method-assign]
    rows, _ = store_in(tmp_path, disk).read(DAILY, EVER)
    assert rows.close[2] == table([2], float(times)).close[0]


def test_a_year_rewritten_at_each_read_is_read_under_the_lock(tmp_path: Path) -> None:
    writer = store_in(tmp_path)
    writer.commit(DAILY, Commit((piece(0, 9),)))
    revise = [
        lambda shift=float(n): writer.commit(DAILY, Commit((piece(2, 3, shift=shift),)))
        for n in range(1, 4)
    ]
    rows, _ = store_in(tmp_path, Meanwhile(DATA, revise)).read(DAILY, EVER)
    assert rows.close[2] == table([2], 3.0).close[0]
    assert not (lane_folder(tmp_path) / "_quarantine").exists()


@pytest.mark.parametrize("name", [DATA, META])
def test_a_read_only_cache_that_needs_repair_is_a_typed_error(tmp_path: Path, name: str) -> None:
    store_in(tmp_path).commit(DAILY, Commit((piece(0, 5),)))
    path = lane_folder(tmp_path) / name
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(CorruptEntryError, match="AAPL 1d 2024") as caught:
        store_in(tmp_path, ReadOnly()).read(DAILY, EVER)
    assert "repaired" in str(caught.value)


class Sick(Disk):
    """A disk that gives wrong bytes of one file; of the data not to who has just synced them."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.is_synced = False

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        result = call()
        if step.path.name == self.name and step.name in ("fsync", "read"):
            if step.name == "read" and step.at == 0 and not self.is_synced:
                return bytes(result)[:-9] + b"x" * 9  # type: ignore[call-overload, return-value, no-any-return]
            self.is_synced = step.name == "fsync"
        return result


@pytest.mark.parametrize("name", [DATA, META])
def test_a_year_file_that_cannot_be_repaired_is_an_error_and_never_empty(
    tmp_path: Path, name: str
) -> None:
    three_members(tmp_path)
    with pytest.raises(CorruptEntryError, match="AAPL 1d 2024 cannot be read"):
        store_in(tmp_path, Sick(name)).read(DAILY, EVER)
    assert numbers(store_in(tmp_path).read(DAILY, EVER)[0]) == [0, 1, 2, 3, 4, 5]


class Unsound(Disk):
    """A disk that fails where a reader needs the lock."""

    def lock(self, path: Path, timeout_s: float) -> object:  # type: ignore[override]
        try:
            raise OSError(errno.EIO, "made to fail")
        except OSError as exc:
            raise StorageError("cannot lock it") from exc


def test_a_failing_disk_is_an_error_and_not_damage_or_an_empty_year(tmp_path: Path) -> None:
    store_in(tmp_path).commit(DAILY, Commit((piece(0, 5),)))
    (lane_folder(tmp_path) / META).unlink()
    with pytest.raises(StorageError, match="cannot lock it"):
        store_in(tmp_path, Unsound()).read(DAILY, EVER)


def test_a_missing_year_is_read_without_a_lock(tmp_path: Path) -> None:
    lane = store_in(tmp_path, Unlockable()).parts.lane(DAILY)
    assert read_state(lane, 2024, 0.0) is None


def test_a_year_cleared_while_its_rewrite_is_pending_is_gone(tmp_path: Path) -> None:
    store_in(tmp_path).commit(DAILY, Commit((piece(0, 5),)))
    folder = lane_folder(tmp_path)
    for n in range(1, 99):
        with pytest.raises(Killed):
            store_in(tmp_path, DyingDisk(n)).commit(DAILY, Commit((piece(1, 2, shift=1.0),)))
        if b'"pending"' in (folder / META).read_bytes():
            break

    def clear() -> None:
        for name in (DATA, META):
            (folder / name).unlink()

    lane = store_in(tmp_path, Meanwhile(DATA, [clear])).parts.lane(DAILY)
    assert read_state(lane, 2024, 0.0) is None


class Coarse(Unlockable):
    """A disk on which metadata look the same after a change; none is too young to be held."""

    seen: FileState | None = None

    def stat(self, path: Path | str) -> FileState | None:
        state = super().stat(path)
        if not str(path).endswith(META):
            return state
        self.seen = self.seen or state
        return self.seen

    def now_ns(self) -> int:
        return super().now_ns() + 10**12


def test_metadata_that_do_not_match_the_data_are_read_again_even_if_unchanged_by_stat(
    tmp_path: Path,
) -> None:
    writer = store_in(tmp_path)
    writer.commit(DAILY, Commit((piece(0, 5),)))
    lane = store_in(tmp_path, Coarse()).parts.lane(DAILY)
    assert read_year(lane, 2024, EVER, 0.0) is not None
    writer.commit(DAILY, Commit((piece(1, 2, shift=1.0),)))
    found = read_year(lane, 2024, EVER, 0.0)
    assert found is not None
    assert found[0].close[1] == table([1], 1.0).close[0]


def test_a_lost_series_document_loses_no_bars(tmp_path: Path) -> None:
    store_in(tmp_path).commit(
        DAILY, Commit((piece(0, 5),), (mark(-800, -366, "empty"),), next_due=4)
    )
    assert len(store_in(tmp_path).view(DAILY).coverage) == 2
    (lane_folder(tmp_path) / "series.json").write_bytes(b"{}")
    view = store_in(tmp_path).view(DAILY)
    assert (view.rows, view.next_due) == (5, None)
    assert view.kind == piece(0, 1).kind
    assert states(store_in(tmp_path)) == [(0, 5, "final")]


def test_two_stores_on_one_folder_read_each_others_bars(tmp_path: Path) -> None:
    one, other = store_in(tmp_path), store_in(tmp_path)
    for n in range(6):
        one.commit(DAILY, Commit((piece(n, n + 1),)))
        assert other.view(DAILY) == one.view(DAILY)
        assert same(other.read(DAILY, EVER)[0], table(range(n + 1)))


class TestMemory:
    class Timed(Disk):
        """A disk on which a file was changed ``age_ns`` ago."""

        def __init__(self, path: Path, age_ns: int = 10**9) -> None:
            super().__init__()
            self.path, self.age_ns = path, age_ns

        def now_ns(self) -> int:
            state = self.stat(self.path)
            return (state.mtime_ns if state else 0) + self.age_ns

    def load(self, memory: DocumentCache, path: Path) -> bytes | None:
        return memory.load(path, lambda data: data)

    def test_an_unchanged_file_is_read_once(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        path.write_bytes(b"1")
        memory = DocumentCache(self.Timed(path), LruCache())
        first = self.load(memory, path)
        assert self.load(memory, path) is first

    @pytest.mark.parametrize("age_ms, trusted", [(19, False), (20, True), (-5, False)])
    def test_a_recently_changed_file_is_read_again(
        self, tmp_path: Path, age_ms: int, trusted: bool
    ) -> None:
        path = tmp_path / "a"
        path.write_bytes(b"1")
        state = os.stat(path)
        memory = DocumentCache(self.Timed(path, age_ms * 1_000_000), LruCache())
        assert self.load(memory, path) == b"1"
        path.write_bytes(b"2")  # within one tick of the file system's clock
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        assert self.load(memory, path) == (b"1" if trusted else b"2")

    def test_a_file_with_another_size_inode_or_time_is_read_again(self, tmp_path: Path) -> None:
        path, other = tmp_path / "a", tmp_path / "b"
        path.write_bytes(b"1")
        state = os.stat(path)
        memory = DocumentCache(self.Timed(path), LruCache())
        assert self.load(memory, path) == b"1"
        path.write_bytes(b"22")
        os.utime(path, ns=(0, state.st_mtime_ns))
        assert self.load(memory, path) == b"22"
        other.write_bytes(b"33")
        os.utime(other, ns=(0, state.st_mtime_ns))
        other.replace(path)
        assert self.load(memory, path) == b"33"
        path.unlink()
        assert self.load(memory, path) is None


def test_year_metadata_have_the_documented_keys(tmp_path: Path) -> None:
    quality = {"score": 0.95, "validation_errors": ["x"], "gaps": 2, "duplicates": 1}
    store = store_in(
        tmp_path, vendor_facts={"acme": {"reliability": 0.9, "rate_limit": "5/minute"}}
    )
    store.commit(DAILY, Commit((piece(0, 3, adj=True),), quality=quality))
    plain = json.loads((lane_folder(tmp_path) / META).read_bytes())
    size = (lane_folder(tmp_path) / DATA).stat().st_size
    assert plain.pop("sha256")
    assert plain.pop("onetape")["size"] == size
    assert plain == {
        "symbol": "AAPL", "timeframe": "1d", "year": 2024, "data_source": "acme",
        "created_at": "2025-01-01T00:00:00", "last_updated": "2025-01-01T00:00:00",
        "start_date": "2024-01-01T00:00:00", "end_date": "2024-01-03T00:00:00",
        "data_quality": quality,
        "file_info": {
            "format": "csv.gz", "size_bytes": size, "rows": 3,
            "columns": ["open", "high", "low", "close", "volume", "adj_close"],
        },
        "provider_info": {"name": "acme", "reliability": 0.9, "rate_limit": "5/minute"},
    }  # fmt: skip


def test_a_vendor_that_the_rules_do_not_grade_has_no_reliability(tmp_path: Path) -> None:
    facts = {"acme": {"rate_limit": "5/minute"}}
    store = store_in(tmp_path, vendor_facts=facts)
    store.commit(DAILY, Commit((piece(0, 3),), quality={"score": 0.4}))
    plain = json.loads((lane_folder(tmp_path) / META).read_bytes())
    assert plain["data_quality"]["score"] == 0.4
    reported = {"name": "acme", "reliability": None, "rate_limit": "5/minute"}
    assert plain["provider_info"] == reported, (
        "the score of the bars is not the reliability of the vendor"
    )


def test_the_log_lists_every_commit(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 4),)))
    store.commit(DAILY, Commit((piece(1, 6, [1, 3, 4, 5], shift=1.0, vendor="other"),)))
    store.commit(DAILY, Commit(marks=(mark(6, 7, "empty"),)))
    lines = (lane_folder(tmp_path) / "2024.log").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    reported = [
        (e["generation"], e["vendor"], e["added"], e["changed"], e["removed"]) for e in entries
    ]
    assert reported == [(1, "acme", 4, 0, 0), (2, "other", 2, 2, 1), (3, "", 0, 0, 0)]
    assert entries[1]["span"] == list(piece(1, 6).span)
    assert entries[1]["time"] == "2025-01-01T00:00:00Z"
    assert entries[2]["size"] == (lane_folder(tmp_path) / DATA).stat().st_size
