"""Tests that documents are not read or parsed again while unchanged, and that changes are always noticed."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.cache import document_cache as module
from src.data.core.cache import lane_files as lanes
from src.data.core.cache.document_cache import DocumentCache
from src.data.core.cache.format.documents import load_meta, load_series
from src.data.core.cache.format.gzip_member import file_id
from src.data.core.cache.store import BarStore, Commit
from src.data.core.disk.files import Disk
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.stored.coverage import Covered
from src.data.core.runtime.lru_cache import LruCache
from tests.core.cache.bars import DAILY, KIND, MINUTES, lane_folder, mark, minutes, piece, store_in
from tests.core.cache.counts import examples
from tests.core.cache.crash import Quick
from tests.core.cache.disks import RecordingDisk


def parse(content: bytes) -> list[bytes]:
    """Return something that is another one each time."""
    return [content]


def unparsed(_: bytes) -> list[bytes]:
    raise AssertionError("it was known what these bytes say")


def documents(disk: Disk, most_bytes: int = 1 << 20) -> DocumentCache:
    return DocumentCache(disk, LruCache(most_bytes))


class Later(Disk):
    """A disk on which everything was done a while ago."""

    def now_ns(self) -> int:
        return super().now_ns() + 10**9


class Young(Disk):
    """A disk on which everything was done just now."""

    def now_ns(self) -> int:
        return 0


def rewritten(path: Path, content: bytes) -> None:
    """Change the bytes of a file, and keep its size and times."""
    state = os.stat(path)
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


class TestFiles:
    def test_a_document_older_than_a_clock_tick_is_parsed_once_and_again_after_a_change(
        self, tmp_path: Path
    ) -> None:
        path, memory = tmp_path / "a", documents(Later())
        path.write_bytes(b"1")
        value = memory.load(path, parse)
        assert memory.load(path, unparsed) is value
        path.write_bytes(b"22")
        assert memory.load(path, parse) == [b"22"]

    def test_two_changes_within_one_tick_of_the_clock_are_both_read(self, tmp_path: Path) -> None:
        path, memory = tmp_path / "a", documents(Young())
        path.write_bytes(b"1")
        assert memory.load(path, parse) == [b"1"]
        rewritten(path, b"2")
        assert memory.load(path, parse) == [b"2"]

    def test_a_forgotten_document_is_read_again(self, tmp_path: Path) -> None:
        path, memory = tmp_path / "a", documents(Later())
        path.write_bytes(b"1")
        memory.load(path, parse)
        rewritten(path, b"2")
        memory.forget(path)
        assert memory.load(path, parse) == [b"2"]


class TestNames:
    def test_a_folder_older_than_a_clock_tick_is_listed_once_and_again_after_a_change(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        disk = RecordingDisk()
        monkeypatch.setattr(disk, "now_ns", Later().now_ns)
        memory = documents(disk)
        (tmp_path / "a").touch()
        assert memory.list(tmp_path) == memory.list(tmp_path) == ("a",)
        assert [step.name for step in disk.steps].count("list") == 1
        (tmp_path / "b").touch()
        os.utime(tmp_path, ns=(0, 0))
        assert memory.list(tmp_path) == ("a", "b")

    def test_names_added_within_one_tick_of_the_clock_are_listed(self, tmp_path: Path) -> None:
        memory, state = documents(Young()), os.stat(tmp_path)
        assert memory.list(tmp_path) == ()
        (tmp_path / "a").touch()
        os.utime(tmp_path, ns=(state.st_atime_ns, state.st_mtime_ns))
        assert memory.list(tmp_path) == ("a",)

    def test_a_missing_folder_is_listed_as_empty_until_it_exists(self, tmp_path: Path) -> None:
        memory = documents(Later())
        assert memory.list(tmp_path / "a") == ()
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "b").touch()
        assert memory.list(tmp_path / "a") == ("b",)


class TestWhatWasWritten:
    def test_unchanged_bytes_are_not_parsed_again_even_if_recent(self, tmp_path: Path) -> None:
        path, memory, value = tmp_path / "a", documents(Disk()), [b"1"]
        memory.wrote(path, b"1", value)
        path.write_bytes(b"1")
        assert memory.load(path, unparsed) is value

    def test_changed_bytes_are_parsed_even_if_the_stamp_is_the_same(self, tmp_path: Path) -> None:
        path, memory = tmp_path / "a", documents(Quick())
        path.write_bytes(b"1")
        memory.wrote(path, b"1", [b"1"])
        rewritten(path, b"2")
        assert memory.load(path, parse) == [b"2"]
        path.unlink()
        assert memory.load(path, parse) is None

    def test_a_document_with_a_settled_time_is_not_read_again(self, tmp_path: Path) -> None:
        path, memory, value = tmp_path / "a", documents(Later()), [b"1"]
        path.write_bytes(b"1")
        memory.wrote(path, b"1", value)
        assert memory.load(path, unparsed) is value
        rewritten(path, b"2")  # as nobody does who changes its time as well
        assert memory.load(path, unparsed) is value

    def test_the_document_cache_is_bounded(self, tmp_path: Path) -> None:
        room = LruCache(3 * (module.EACH_BYTES + 5 * module.TIMES_ITS_BYTES))
        memory = DocumentCache(Disk(), room)
        for n in range(9):
            memory.wrote(tmp_path / str(n), b"12345", [b"12345"])
        assert len(room) == 3


class TestSeveral:
    def test_only_documents_that_have_changed_are_read(self, tmp_path: Path) -> None:
        disk, parsed = RecordingDisk(), []
        disk.now_ns = Later().now_ns  # type: ignore[method-assign]
        memory = documents(disk)
        for name in "abc":
            (tmp_path / name).write_bytes(name.encode())

        def parse(name: str, content: bytes) -> str | None:
            parsed.append(name)
            return None if name == "c" else content.decode()

        assert memory.load_all(str(tmp_path), "abcd", parse) == ["a", "b", None, None]
        (tmp_path / "b").write_bytes(b"new")
        assert memory.load_all(str(tmp_path), "dba", parse) == [None, "new", "a"]
        assert parsed == ["a", "b", "c", "b"]


spans = st.tuples(st.integers(-400, 20), st.integers(1, 60)).map(lambda p: (p[0], p[0] + p[1]))
commits = st.builds(
    lambda bars, state, said, others, due, quality: Commit(
        tuple(piece(a, b, range(a, b, 2), state=state) for a, b in bars),
        tuple(mark(a, b, what, reason="x", expires=9) for (a, b), what in zip(others, said, strict=False)),
        next_due=due, quality=quality,
    ),
    st.lists(spans, max_size=2),
    st.sampled_from(["final", "provisional"]),
    st.lists(st.sampled_from(["empty", "final", "suspect", "provisional"]), max_size=3),
    st.lists(spans, max_size=3),
    st.none() | st.integers(0, 9),
    st.none() | st.just({"score": 0.5, "validation_errors": ("a", "b")}),
)  # fmt: skip


@settings(max_examples=examples(40), derandomize=True, deadline=None)
@given(st.lists(commits, min_size=1, max_size=4))
def test_the_view_of_a_writer_equals_the_view_of_a_new_process(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Commit]
) -> None:
    root = tmp_path_factory.mktemp("store")
    store = store_in(root, Quick())
    for step in steps:
        store.commit(DAILY, step)
        check_memory(store, DAILY)
        assert store.view(DAILY) == store_in(root, Quick()).view(DAILY)


def check_memory(store: BarStore, key: SeriesKey) -> None:
    """Compare the parsed documents in memory with the bytes of their files."""
    lane = store.parts.lane(key)
    for year in lane.years():
        content = lane.paths.metadata(year).read_bytes()
        assert lane.meta(year) == load_meta(content, file_id(key, year))
    if lane.paths.series.exists():
        assert lane.series() == load_series(lane.paths.series.read_bytes(), key)


def test_a_commit_is_not_changed_by_its_caller_afterwards(tmp_path: Path) -> None:
    store, said = store_in(tmp_path, Quick()), {"validation_errors": ["a"]}
    store.commit(DAILY, Commit((piece(0, 3),), quality=said))
    said["validation_errors"].append("b")
    check_memory(store, DAILY)


def test_a_document_changed_by_another_writer_is_read_again(tmp_path: Path) -> None:
    one, other = store_in(tmp_path), store_in(tmp_path)
    for n in range(0, 6, 2):
        one.commit(DAILY, Commit((piece(n, n + 1),)))
        other.commit(DAILY, Commit((piece(n + 1, n + 2),)))
    assert one.view(DAILY).rows == other.view(DAILY).rows == 6
    assert one.view(DAILY).generation == 6


def test_repeated_appends_parse_no_metadata(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_in(tmp_path, Quick())
    store.commit(DAILY, Commit((piece(0, 3),), next_due=1))

    def refuse(*_: object) -> None:
        raise AssertionError("it was known")

    monkeypatch.setattr(lanes, "load_meta", refuse)
    monkeypatch.setattr(lanes, "load_series", refuse)
    for n in range(3, 6):
        store.commit(DAILY, Commit((piece(n, n + 1),), next_due=n))
        assert store.view(DAILY).rows == n + 1
    assert (lane_folder(tmp_path) / "2024.metadata.json").exists()


def test_coverage_in_memory_is_not_encoded_again_by_a_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_in(tmp_path, Quick())
    nights = tuple(mark(2 * n + 1, 2 * n + 2, "empty", reason="closed") for n in range(50))
    bars = tuple(piece(2 * n, 2 * n + 1) for n in range(50))
    store.commit(DAILY, Commit(bars, nights, kind=KIND))
    spelled: list[Covered] = []
    spell = Covered.to_json

    def spelling(part: Covered) -> dict[str, object]:
        spelled.append(part)
        return spell(part)

    monkeypatch.setattr(Covered, "to_json", spelling)
    for n in range(100, 103):
        spelled.clear()
        store.commit(DAILY, Commit((piece(n, n + 1),)))
        assert len(spelled) == 1
    assert len(store.view(DAILY).coverage) == 101
    check_memory(store, DAILY)


def test_an_append_lists_each_folder_and_stats_each_file_once(tmp_path: Path) -> None:
    store_in(tmp_path).commit(MINUTES, Commit((minutes(0, 3),), kind=KIND))
    disk = RecordingDisk()
    store = store_in(tmp_path, disk)
    for n in range(3, 6):
        disk.steps.clear()
        store.commit(MINUTES, Commit((minutes(n, n + 1),)))
        looks = Counter((s.name, s.path.name) for s in disk.steps if s.name in ("list", "stat"))
        assert set(looks.values()) == {1}
        assert sum(s.name in ("fsync", "fdatasync", "fsync_dir") for s in disk.steps) == 1
        assert sum(s.name in ("open", "create") for s in disk.steps) <= 6


class Growing(RecordingDisk):
    """A disk on which every file seems just changed, so no modification time is trusted."""

    def now_ns(self) -> int:
        return 0


def test_a_first_read_opens_each_document_once(tmp_path: Path) -> None:
    disk = Growing()
    store = store_in(tmp_path, disk, columnar="read")

    def opened() -> Counter[str]:
        return Counter(step.path.name for step in disk.steps if step.name == "open")

    store.view(DAILY)
    assert not opened()  # nothing is there
    store.commit(DAILY, Commit((piece(0, 5),), next_due=3))
    disk.steps.clear()
    assert len(store.stored_span(DAILY, piece(0, 5).span).table) == 5
    # Looked at before the bars are read, with them, and behind them.
    assert opened()["2024.metadata.json"] == 3
    assert opened()["series.json"] == 2
