"""Tests that clearing a year also removes its coverage."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from src.data.core.cache.clear import evict_year
from src.data.core.cache.facade.unified_cache import UnifiedCache
from src.data.core.cache.format.json_document import load
from src.data.core.cache.store import Commit
from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk
from src.data.core.model.time.instant import DAY_MS
from src.data.errors import StorageError
from tests.core.cache.bars import (
    DAILY,
    NOW,
    lane_folder,
    mark,
    piece,
    states,
    store_in,
    write_older_year,
)
from tests.core.cache.disks import DyingDisk, Killed

NOTHING = mark(-9, -5, "empty")
AFTER: dict[str, Commit] = {
    "nothing else": Commit((piece(0, 2),)),
    "doubts since": Commit(marks=(mark(-5, -3, "suspect"),)),
    "bars since": Commit((piece(-5, -3),)),
    "the next question since": Commit((piece(0, 2),), next_due=NOW),
}


@pytest.mark.parametrize("what", AFTER)
def test_empty_coverage_is_cleared_with_its_year(tmp_path: Path, what: str) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit(marks=(NOTHING, mark(-900, -800, "empty"))))
    store.commit(DAILY, AFTER[what])
    assert (-9, -5, "empty") in states(store)
    others = [state for state in states(store) if not -365 <= state[0] < 0]
    store.clear_years(DAILY, iter([2023]))
    assert states(store) == states(store_in(tmp_path)) == others
    assert store.view(DAILY).next_due is None


@pytest.mark.parametrize("what", ["doubts since", "bars since"])
def test_eviction_of_a_year_removes_its_empty_coverage(tmp_path: Path, what: str) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 2),), (NOTHING,)))
    store.commit(DAILY, AFTER[what])
    assert evict_year(store.parts.lane(DAILY), 2023, 2)
    assert states(store) == states(store_in(tmp_path)) == [(0, 2, "final")]


def test_marking_a_year_suspect_moves_its_empty_spans_into_its_document(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit(marks=(NOTHING,)))
    store.commit(DAILY, AFTER["doubts since"])
    assert states(store) == [(-9, -5, "empty"), (-5, -3, "suspect")]
    assert load((lane_folder(tmp_path) / "series.json").read_bytes())["empties"] == []


def test_a_process_killed_while_clearing_leaves_no_cleared_year_marked_up_to_date(
    tmp_path: Path,
) -> None:
    for dies_at in range(1, 40):
        root = tmp_path / str(dies_at)
        store_in(root).commit(DAILY, Commit((piece(-5, 2),), next_due=NOW))
        dying = store_in(root, DyingDisk(dies_at))
        try:
            dying.clear_years(DAILY, [2023])
        except Killed:
            view = store_in(root).view(DAILY)
            assert view.next_due is None or view.rows == 7
            store_in(root).clear_years(DAILY, [2023])
            assert states(store_in(root)) == [(0, 2, "final")]
            continue
        assert dies_at > 4
        return
    raise AssertionError("it never came to its end")


def test_clear_years_counts_years_with_bars_and_keeps_only_their_log(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(-5, 2),)))
    assert store.clear_years(DAILY, [2022, 2023]) == 1
    names = [path.name for path in lane_folder(tmp_path).iterdir()]
    assert [name for name in names if name.startswith("2023")] == ["2023.log"], "with its content"
    assert sum(name.startswith("2024") for name in names) == 3


def test_clearing_years_of_an_unknown_series_writes_only_the_lock(tmp_path: Path) -> None:
    assert store_in(tmp_path).clear_years(DAILY, [2023]) == 0
    assert [path.name for path in lane_folder(tmp_path).iterdir()] == [".lock"]


@pytest.mark.parametrize("lane", [(), ("acme",)])
def test_a_removed_series_leaves_its_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, lane: tuple[str, ...]
) -> None:
    key, store = replace(DAILY, lane=lane), store_in(tmp_path)
    store.commit(key, Commit((piece(-5, 2),)))
    with caplog.at_level(logging.INFO):
        store.clear("AAPL", by="a tool")
    assert f"{key}: 7 bars were deleted by a tool" in caplog.messages
    logs = [store_in(tmp_path).parts.lane(key).log_entries(year) for year in (2023, 2024)]
    gone = [(log[-1]["deleted"], log[-1]["bars"], log[-1]["removed"]) for log in logs]
    assert gone == [("a tool", 5, 5), ("a tool", 2, 2)]
    store.commit(key, Commit((piece(0, 2),)))
    assert store.view(key).generation > max(log[-1]["generation"] for log in logs)


LAYOUTS = ("ohlcv/AAPL/1d", "ohlcv/aapl/1d", "AAPL/1d")


@pytest.mark.parametrize("words", [("AAPL", "1d"), ("AAPL",), ()], ids=len)
def test_clearing_a_series_removes_every_older_file_even_hidden_ones(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    for layout in LAYOUTS:
        write_older_year(tmp_path / layout)
    UnifiedCache(tmp_path, 1, clock=ManualClock(NOW)).clear(*words)
    assert list(tmp_path.rglob("*.csv.gz")) == []
    cleared = UnifiedCache(tmp_path, 1, clock=ManualClock(NOW))
    assert (cleared.list_symbols(), cleared.stored_series()) == ([], [])


@pytest.mark.parametrize("closed_by, hidden", [(None, 0), (NOW, 0), (NOW - DAY_MS, 2)])
def test_clearing_a_year_removes_hidden_older_files_unless_they_may_have_later_bars(
    tmp_path: Path, closed_by: int | None, hidden: int
) -> None:
    write_older_year(tmp_path / LAYOUTS[0])
    store = store_in(tmp_path)
    assert store.view(DAILY).rows == 5
    for layout in LAYOUTS[1:]:  # the tool writes on after the conversion
        write_older_year(tmp_path / layout)
    assert store.clear_years(DAILY, [2024], closed_by=closed_by) == 1
    assert len(list(tmp_path.rglob("*.csv.gz"))) == hidden


def test_clearing_a_series_leaves_a_folder_of_something_else(tmp_path: Path) -> None:
    store_in(tmp_path).commit(DAILY, Commit((piece(-5, 2),)))
    foreign = lane_folder(tmp_path) / "@eaDir"
    foreign.mkdir()
    store_in(tmp_path).clear("AAPL", DAILY.timeframe)
    names = sorted(path.name for path in lane_folder(tmp_path).iterdir())
    assert names == [".lock", "2023.log", "2024.log", "@eaDir"]


def test_a_series_can_be_cleared_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_in(tmp_path).commit(DAILY, Commit((piece(-5, 2),)))

    def write(*_: object) -> None:
        """Write nothing, because the disk is full."""
        raise StorageError("no space left on device")

    monkeypatch.setattr(Disk, "write", write)
    UnifiedCache(tmp_path, 1, clock=ManualClock(NOW)).clear("AAPL", "1d")
    assert list(tmp_path.rglob("*.csv.gz")) == []


def test_clearing_a_year_leaves_versions_of_other_years_with_its_number(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(-5, 2),)))
    versions = lane_folder(tmp_path) / "_versions"
    versions.mkdir()
    for name in ("2024.2023.csv.gz", "2023.1.csv.gz"):
        (versions / name).touch()
    store.clear_years(DAILY, [2023])
    assert [path.name for path in versions.iterdir()] == ["2024.2023.csv.gz"]
