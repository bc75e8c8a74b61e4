"""Tests that a range is assembled from bars in memory, and only the missing part is read from files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from src.data.core.cache.format.documents import YearState
from src.data.core.cache.lane_files import LaneFiles
from src.data.core.cache.read import series_reader
from src.data.core.cache.read.series_reader import IndexEntry
from src.data.core.cache.store import ActionBook, BarStore, Commit, Seal, StoreListener
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.time.timeframe import Timeframe
from tests.core.cache.bars import (
    DAILY,
    EVER,
    NOW,
    days,
    index_of,
    lane_folder,
    make_older,
    mark,
    numbers,
    piece,
    reader_of,
    same,
    states,
    store_in,
    write_older_year,
)  # fmt: skip
from tests.core.cache.crash import Quick
from tests.core.cache.disks import RecordingDisk


def opened(disk: RecordingDisk) -> list[str]:
    return [s.path.name for s in disk.steps if s.name == "open" and s.path.name.endswith(".gz")]


def test_a_read_with_a_known_index_lists_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_in(tmp_path, Quick(), columnar="map")
    store.commit(DAILY, Commit((piece(-9, 9),)))
    truth = store.read(DAILY, EVER)
    lane = store.parts.lane(DAILY)
    known = index_of(store).entry(lane)

    def never(self: LaneFiles) -> list[int]:
        raise AssertionError("the folder was looked at")

    monkeypatch.setattr(LaneFiles, "years", never)
    rows, coverage = reader_of(store).read(lane, EVER, known)
    assert numbers(rows) == numbers(truth[0])
    assert coverage == truth[1]
    rows, coverage = reader_of(store).read(lane, days(2, 4), known)
    assert numbers(rows) == [2, 3]
    assert coverage[0].span == days(2, 4)


def test_a_seal_looks_up_the_years_of_the_request_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_in(tmp_path, Quick(), columnar="map")
    store.commit(DAILY, Commit((piece(-9, 9),)))
    lane, assembler = store.parts.lane(DAILY), reader_of(store)
    known = index_of(store).entry(lane)
    assert assembler.seal(lane, days(2, 4), known) is None  # no columns yet
    store.read(DAILY, days(2, 4))
    assert assembler.seal(lane, days(2, 4), known) is not None
    doubted = IndexEntry(known.view, known.years(EVER), has_quarantine=True)
    assert assembler.seal(lane, days(2, 4), doubted) is None
    assert assembler.seal(lane, EVER, known) is None
    monkeypatch.setattr(LaneFiles, "years", None)
    assert numbers(assembler.read(lane, days(2, 4), known)[0]) == [2, 3]


def test_columns_are_not_read_if_they_are_turned_off(tmp_path: Path) -> None:
    store = store_in(tmp_path, Quick(), columnar="map")
    store.commit(DAILY, Commit((piece(0, 9),)))
    store.read(DAILY, EVER)
    assert store.parts.sidecars.path(DAILY).exists()
    disk = RecordingDisk()
    store = store_in(tmp_path, disk, columnar="off")
    lane = store.parts.lane(DAILY)
    assert len(reader_of(store).read(lane, EVER, index_of(store).entry(lane))[0]) == 9
    assert not [step for step in disk.steps if "_columnar" in step.path.parts]


@pytest.mark.parametrize("mode", ["map", "off"])
def test_an_older_tools_year_is_not_changed_if_another_year_is_requested(
    tmp_path: Path, mode: str
) -> None:
    store_in(tmp_path, Quick()).commit(DAILY, Commit((piece(400, 402),)))
    write_older_year(tmp_path / "AAPL" / "1d")
    disk = RecordingDisk()
    store = store_in(tmp_path, disk, columnar=mode)
    lane = store.parts.lane(DAILY)
    assert numbers(reader_of(store).read(lane, days(399, 500))[0]) == [400, 401]
    assert opened(disk) == ["2025.csv.gz"]


@pytest.mark.parametrize("mode", ["map", "off"])
def test_only_the_requested_years_are_read(tmp_path: Path, mode: str) -> None:
    store_in(tmp_path, Quick()).commit(DAILY, Commit((piece(-9, 9),)))
    disk = RecordingDisk()
    store = store_in(tmp_path, disk, columnar=mode)
    assert numbers(store.read(DAILY, days(2, 4))[0]) == [2, 3]
    assert opened(disk) == ["2024.csv.gz"]


@pytest.mark.parametrize("mode", ["map", "read", "off"])
@pytest.mark.parametrize("where", ["ohlcv/AAPL/1d", "AAPL/1d"])
@pytest.mark.parametrize("is_taken_over", [True, False])
def test_years_of_this_library_and_of_older_tools_are_read_together(
    tmp_path: Path, mode: str, where: str, is_taken_over: bool
) -> None:
    if is_taken_over:
        write_older_year(tmp_path / where)
    writer = store_in(tmp_path, Quick())
    writer.commit(DAILY, Commit((piece(-9, 0), piece(400, 402))))
    if not is_taken_over:
        write_older_year(tmp_path / where)
    for _ in range(2):
        store = store_in(tmp_path, Quick(), columnar=mode)
        for _ in range(2):
            rows = store.stored_span(DAILY, EVER).table
            assert numbers(rows) == [*range(-9, 5), 400, 401]
            assert numbers(store.stored_span(DAILY, days(2, 401)).table) == [2, 3, 4, 400]
            assert numbers(store.stored_span(DAILY, days(-3, -1)).table) == [-3, -2]
            assert (
                len(store.stored_span(DAILY, days(5, 6)).coverage) == 0
            )  # the last one may be a part


@pytest.mark.parametrize("mode", ["map", "off"])
def test_a_deleted_year_file_is_missing_from_rows_and_coverage(tmp_path: Path, mode: str) -> None:
    store = store_in(tmp_path, Quick(), columnar=mode)
    store.commit(DAILY, Commit((piece(-9, 9),)))
    (lane_folder(tmp_path) / "2024.csv.gz").unlink()
    rows, coverage = store.read(DAILY, EVER)
    assert numbers(rows) == [*range(-9, 0)]
    assert [part.span for part in coverage] == [days(-9, 0)]
    assert states(store) == [(-9, 0, "final")]


def test_a_year_file_removed_while_it_is_read_is_left_out(tmp_path: Path) -> None:
    store = store_in(tmp_path, Quick(), columnar="map")
    store.commit(DAILY, Commit((piece(-9, 9),)))
    lane = store.parts.lane(DAILY)
    found = index_of(store).entry(lane).years(EVER)
    assert reader_of(store).read_whole(lane, {2020: YearState()}) == {}
    whole = reader_of(store).read_whole(lane, {**found, 2020: YearState()})
    assert list(whole) == [2023, 2024]


def test_a_year_file_removed_before_it_is_opened_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_in(tmp_path, Quick(), columnar="map")
    store.commit(DAILY, Commit((piece(0, 9),)))
    monkeypatch.setattr(LaneFiles, "years", lambda self: [2023, 2024])
    assert numbers(reader_of(store).read(store.parts.lane(DAILY), EVER)[0]) == [*range(9)]


def sealed(root: Path) -> tuple[BarStore, Seal]:
    """Return a store, and the seal of bars that it has read."""
    store = store_in(root, Quick(), columnar="map")
    store.commit(DAILY, Commit((piece(0, 9),)))
    make_older(lane_folder(root))
    store.read(DAILY, EVER)
    seal = store.seal(store.view(DAILY), days(0, 9), None)
    assert seal is not None
    return store, seal


def test_checking_a_seal_counts_as_a_read(tmp_path: Path) -> None:
    store, seal = sealed(tmp_path)
    seal.use.take_last(1)
    assert store.holds(seal)
    assert seal.use.take_last(2) is not None


@pytest.mark.parametrize("how", ["a commit", "touched", "gone", "actions", "a series"])
def test_a_seal_is_broken_by_each_change_of_the_answer(tmp_path: Path, how: str) -> None:
    store, seal = sealed(tmp_path)
    other = store_in(tmp_path, Quick(), columnar="map")
    data = lane_folder(tmp_path) / "2024.csv.gz"
    weeks = SeriesKey("AAPL", Timeframe(1, "w"))
    if how in ("actions", "a series"):
        store.add_actions("AAPL", [], days(0, 9), "acme", NOW - 9)
        os.utime(lane_folder(tmp_path).parent / "actions.json", ns=(0, 0))
        book = store.actions("AAPL")
        found = store.seal(store.view(DAILY), days(0, 9), book, weeks)
        assert found is not None
        assert store.seal(store.view(DAILY), days(0, 9), ActionBook()) is None
        seal = found
    assert store.holds(seal)
    if how == "a commit":
        other.commit(DAILY, Commit(marks=(mark(3, 4, "suspect"),)))
    elif how == "touched":
        os.utime(data, ns=(0, data.stat().st_mtime_ns + 1))
    elif how == "gone":
        data.unlink()
    elif how == "actions":
        other.add_actions("AAPL", [], days(9, 12), "acme", NOW - 9)
    else:
        other.commit(weeks, Commit((piece(0, 1),)))
    assert not store.holds(seal)


def test_a_stored_series_is_not_sealed_as_absent(tmp_path: Path) -> None:
    store, _ = sealed(tmp_path)
    assert store.seal(store.view(DAILY), days(0, 9), None, DAILY) is None


class Full(StoreListener):
    """Has no room for anything derived."""

    def has_room(self, need: int) -> bool:
        return False


def halves(root: Path) -> BarStore:
    """Return a store whose columns hold the first of two years as it is, and can hold no more."""
    writer = store_in(root, Quick(), columnar="map")
    writer.commit(DAILY, Commit((piece(-9, 9),)))
    writer.read(DAILY, EVER)
    writer.commit(DAILY, Commit((piece(4, 5, shift=1.0),)))
    store = store_in(root, Quick(), columnar="map")
    store.listener = Full()
    return store


def test_years_in_memory_and_years_on_disk_are_read_together(tmp_path: Path) -> None:
    store = halves(tmp_path)
    truth, coverage = store_in(tmp_path).read(DAILY, EVER)
    for _ in range(2):
        found = store.read(DAILY, EVER)
        assert same(found[0], truth)
        assert found[1] == coverage


def test_a_year_cleared_during_a_read_is_missing_from_rows_and_coverage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = series_reader.read_year

    def cleared(lane: LaneFiles, year: int, *more: Any) -> Any:
        return None if year == 2024 else read(lane, year, *more)

    monkeypatch.setattr(series_reader, "read_year", cleared)
    rows, coverage = halves(tmp_path).read(DAILY, EVER)
    assert numbers(rows) == [*range(-9, 0)]
    assert [part.span for part in coverage] == [days(-9, 0)]
