"""Tests that logs and the quarantine stay short without losing entries that are still needed."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from src.data.core.cache import lane_files as lane_module
from src.data.core.cache import log_file
from src.data.core.cache.lane_files import LaneFiles
from src.data.core.cache.log_file import folded
from src.data.core.cache.recovery.quarantine import keep_bytes, keep_rows
from src.data.core.cache.retention import trim
from src.data.core.cache.retention.trim import Trimmed, trim_quarantine
from src.data.core.cache.store import BarStore, Commit
from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk
from src.data.core.model.market.bars import BadRow, Bar
from src.data.core.model.time.instant import DAY_MS
from src.data.errors import QueryError
from tests.core.cache.bars import DAILY, EVER, NOW, at, lane_folder, mark, numbers, piece

OLD = b"0" * 1000


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock at 2025-01-01 UTC."""
    return ManualClock(NOW)


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> BarStore:
    """Return an empty bar store that uses ``clock``."""
    return BarStore(tmp_path, clock=clock)


@pytest.fixture
def lane(store: BarStore) -> Callable[[], LaneFiles]:
    """Return a function that returns the lane AAPL 1d of ``store``."""
    return lambda: store.parts.lane(DAILY)


# --- logs ----------------------------------------------------------------------------------------


def shortened(lane: LaneFiles) -> int:
    """Make the log of 2024 short, and return the bytes saved."""
    return log_file.trim_log(lane.disk, lane.paths.log(2024), lane.log_lines(2024), [])


def entry(generation: int, **other: object) -> dict[str, object]:
    return {"generation": generation, "time": f"t{generation}", "vendor": "acme",
            "span": [generation, generation + 1], "added": 1, "changed": 0, "removed": 0,
            "touched": generation, "size": generation} | other  # fmt: skip


def test_many_log_entries_fold_into_one_that_lists_their_vendors() -> None:
    (one,) = folded([entry(1), entry(2, vendor="rare"), entry(4, removed=2, added=0)], [])
    assert one == {
        "generation": 4, "since": 1, "time": "t4", "vendor": "acme,rare", "span": [1, 5],
        "added": 2, "changed": 0, "removed": 2, "touched": 1, "size": 4,
    }  # fmt: skip


@pytest.mark.parametrize("what", ["added", "changed", "removed"])
def test_a_folded_log_entry_makes_up_no_values(what: str) -> None:
    assert folded([entry(1)], []) == [entry(1)]
    (one,) = folded([
        entry(1, span=None, vendor=None, added=0, touched=0),
        entry(2, touched=7, **{"added": 0} | {what: 1}),
        entry(4, touched=None),
    ], [])  # fmt: skip
    assert (one["vendor"], one["span"], one["touched"]) == ("acme", [2, 5], 7)
    (none,) = folded([entry(1, span=None, added=0), entry(2, span=None, added=0)], [])
    assert (none["span"], none["touched"]) == (None, None)


def test_log_entries_are_folded_up_to_each_kept_version() -> None:
    found = folded([entry(n) for n in range(1, 9)], [3, 6])
    assert [(e.get("since"), e["generation"]) for e in found] == [(1, 3), (4, 6), (7, 8)]
    again = folded(found, [6])
    assert [(e.get("since"), e["generation"], e["added"]) for e in again] == [(1, 6, 6), (7, 8, 2)]


def test_shortening_a_long_log_keeps_all_versions(
    store: BarStore,
    lane: Callable[[], LaneFiles],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(log_file, "LATEST_ENTRIES", 4)
    for n in range(12):
        store.commit(DAILY, Commit((piece(n, n + 1),)))
    store.commit(DAILY, Commit((piece(3, 4, shift=1.0),)))  # keeps the file of the twelfth
    for n in range(12, 20):
        store.commit(DAILY, Commit((piece(n, n + 1),)))

    def readable() -> list[tuple[int, list[int]]]:
        found = []
        for generation in range(1, 22):
            try:
                rows, _ = store.read_version(DAILY, EVER, generation)
            except QueryError:
                continue
            found.append((generation, numbers(rows)))
        return found

    before = dict(readable())
    monkeypatch.setattr(lane_module, "MOST_LOG_BYTES", 100)
    (lane().paths.versions / "2024").write_bytes(b"somebody's own")
    store.commit(DAILY, Commit((piece(20, 21),)))
    kept = [e["generation"] for e in lane().log_entries(2024)]
    assert kept == [12, 18, 19, 20, 21, 22]
    after = dict(readable())
    assert set(after) >= {12, 18, 19, 20, 21}
    assert all(rows == before.get(generation, rows) for generation, rows in after.items())
    assert 5 not in after  # and it is not taken for an empty one
    assert lane().logged_generation(2024) == 22


def test_torn_log_lines_are_dropped_and_the_saved_bytes_are_returned(
    store: BarStore, lane: Callable[[], LaneFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "LATEST_ENTRIES", 2)
    store.commit(DAILY, Commit((piece(0, 1),)))
    path = lane().paths.log(2024)
    written = [entry(n) for n in (1, 2, 3, 4)]
    lines = [json.dumps(e, separators=(",", ":")).encode() for e in written]
    path.write_bytes(b"\n".join([lines[0], b'{"generation": ', b"[]", b"{}", *lines[1:]]) + b"\n")
    before = path.stat().st_size
    assert shortened(lane()) == before - path.stat().st_size > 0
    assert path.read_bytes().endswith(lines[2] + b"\n" + lines[3] + b"\n")
    found = [(e.get("since"), e["generation"], e["added"]) for e in lane().log_entries(2024)]
    assert found == [(1, 2, 2), (None, 3, 1), (None, 4, 1)]


def test_a_long_log_is_shortened_in_little_memory(
    store: BarStore, lane: Callable[[], LaneFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A feed that runs for weeks does it in its own process, which never gives memory back.

    Of a third of the usual size.
    """
    monkeypatch.setattr(log_file, "LATEST_ENTRIES", 1_600)
    store.commit(DAILY, Commit((piece(0, 1),)))
    path = lane().paths.log(2024)
    path.write_text("".join(json.dumps(entry(n)) + "\n" for n in range(4_000)))
    tracemalloc.start()
    try:
        shortened(lane())
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(lane().log_entries(2024)) == log_file.LATEST_ENTRIES + 1
    assert most < 2 << 20, "what it read, and its lines: the entries would be 5 MB more"


def test_short_logs_are_not_changed(
    store: BarStore, lane: Callable[[], LaneFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "LATEST_ENTRIES", 1)
    assert shortened(lane()) == 0
    store.commit(DAILY, Commit((piece(0, 1),)))
    before = Disk().stat(lane().paths.log(2024))
    assert shortened(lane()) == 0
    assert Disk().stat(lane().paths.log(2024)) == before


# --- quarantine ----------------------------------------------------------------------------------


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit a quarantine to 1,500 bytes."""
    monkeypatch.setattr(trim, "MOST_QUARANTINED", 1500)


def kept(root: Path) -> list[str]:
    folder = lane_folder(root) / "_quarantine"
    return sorted(path.name for path in folder.iterdir())


def known_whole(store: BarStore) -> None:
    """Let all of 2024 be known."""
    store.commit(DAILY, Commit((piece(0, 366),)))


@pytest.mark.usefixtures("little")
def test_the_oldest_quarantined_files_are_deleted_and_no_more_than_needed(
    store: BarStore, lane: Callable[[], LaneFiles], clock: ManualClock, tmp_path: Path
) -> None:
    known_whole(store)
    for n in range(3):
        keep_bytes(lane(), "2024.csv.gz", OLD + b"%d" % n, "torn")
        clock.advance(DAY_MS / 1000)
    notes = {path: json.loads(path.read_bytes())["time"]
             for path in (lane_folder(tmp_path) / "_quarantine").glob("*.json")}  # fmt: skip
    newest = max(notes, key=lambda path: notes[path]).name.removesuffix(".json")
    assert trim_quarantine(lane()) == Trimmed()  # all of it is fresh
    clock.advance(90 * DAY_MS / 1000)
    would = trim_quarantine(lane(), dry_run=True)
    assert len(kept(tmp_path)) == 6
    assert trim_quarantine(lane()) == would
    assert would.files == 2
    assert kept(tmp_path) == [newest, f"{newest}.json"]
    assert trim_quarantine(lane()) == Trimmed()


def test_quarantine_is_trimmed_by_age_and_by_size(
    store: BarStore, lane: Callable[[], LaneFiles], clock: ManualClock, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    known_whole(store)
    for n in range(2):
        keep_bytes(lane(), "2024.csv.gz", OLD + b"%d" % n, "torn")
    clock.advance(trim.FRESH_MS / 1000)
    files = [path.stat().st_size for path in (lane_folder(tmp_path) / "_quarantine").iterdir()]
    monkeypatch.setattr(trim, "MOST_QUARANTINED", sum(files) // 2)
    assert trim_quarantine(lane()) == Trimmed(1, sum(files) // 2)


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize("note", [None, b"null", b"{", b"{}", b'{"time": 5}', b'{"time": "once"}'])
def test_a_quarantine_file_of_unknown_age_is_not_trimmed(
    store: BarStore, lane: Callable[[], LaneFiles], clock: ManualClock, tmp_path: Path,
    note: bytes | None,
) -> None:  # fmt: skip
    known_whole(store)
    keep_bytes(lane(), "2024.csv.gz", OLD * 2, "torn")
    (path,) = (lane_folder(tmp_path) / "_quarantine").glob("*.json")
    path.unlink()
    if note is not None:
        path.write_bytes(note)
    clock.advance(3650 * DAY_MS / 1000)
    assert trim_quarantine(lane()) == Trimmed()


@pytest.mark.usefixtures("little")
def test_quarantined_bars_are_kept_while_the_metadata_are_damaged(
    store: BarStore, lane: Callable[[], LaneFiles], clock: ManualClock
) -> None:
    known_whole(store)
    keep_bytes(lane(), "2024.csv.gz", OLD * 2, "torn")
    clock.advance(3650 * DAY_MS / 1000)
    lane().paths.metadata(2024).write_bytes(b"{")
    assert trim_quarantine(lane()) == Trimmed()


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize("lacking", ["hole", "tail", "doubt", "everything"])
def test_a_quarantine_file_that_may_be_the_only_copy_is_not_trimmed(
    store: BarStore,
    lane: Callable[[], LaneFiles],
    clock: ManualClock,
    tmp_path: Path,
    lacking: str,
) -> None:
    known = {
        "hole": Commit((piece(0, 100), piece(101, 366))),
        "tail": Commit((piece(0, 365),)),
        "doubt": Commit((piece(0, 366),), (mark(5, 6, "suspect"),)),
        "everything": Commit((piece(-300, -290),)),
    }[lacking]
    store.commit(DAILY, known)
    for n in range(3):
        keep_bytes(lane(), "2024.csv.gz", OLD + b"%d" % n, "damaged")
        keep_bytes(lane(), "2024.metadata.json", OLD + b"%d" % n, "damaged")
    clock.advance(91 * DAY_MS / 1000)
    assert trim_quarantine(lane()).files == 3
    assert sum(name.endswith(".csv.gz") for name in kept(tmp_path)) == 3
    known_whole(store)
    assert trim_quarantine(lane()).files > 0


@pytest.mark.usefixtures("little")
def test_quarantined_rows_and_foreign_files_are_not_deleted(
    store: BarStore, lane: Callable[[], LaneFiles], clock: ManualClock, tmp_path: Path
) -> None:
    known_whole(store)
    bad = Bar(at(1), 1.0, 0.5, 2.0, 1.0, 1.0)
    keep_rows(lane(), 2024, [BadRow(bad, f"wrong {n}") for n in range(2000)])
    stranger = lane().paths.quarantine / "2024.note.csv.gz"
    stranger.write_bytes(OLD * 2)
    clock.advance(365 * DAY_MS / 1000)
    assert trim_quarantine(lane()) == Trimmed()
    assert kept(tmp_path) == ["2024.note.csv.gz", "2024.rows.csv.gz"]


def test_a_small_quarantine_is_never_deleted(
    store: BarStore, lane: Callable[[], LaneFiles], clock: ManualClock, tmp_path: Path
) -> None:
    known_whole(store)
    keep_bytes(lane(), "2024.csv.gz", OLD, "torn")
    clock.advance(3650 * DAY_MS / 1000)
    assert trim_quarantine(lane()) == Trimmed()
    assert len(kept(tmp_path)) == 2
