"""Tests that a year file is read completely or rejected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from src.data.core.cache.format.csv_rows import ALL_COLUMNS, BASE_COLUMNS, encode_rows, header_line
from src.data.core.cache.format.gzip_member import Member, build
from src.data.core.cache.lane_files import LaneFiles
from src.data.core.cache.read.year_file import MismatchError, open_year, rows_behind
from src.data.core.cache.store import BarStore
from src.data.core.disk.files import Disk
from src.data.core.model.time.instant import HOUR_MS
from src.data.errors import CorruptEntryError, FormatVersionError
from tests.core.cache.bars import DAILY, EVER, at, days, numbers, same, table
from tests.core.cache.damage import (
    DATA,
    META,
    bars,
    change,
    fresh,
    members,
    quarantined,
    three_members,
)
from tests.core.cache.disks import HoldingDisk

OTHER_ORDER = ("high", "open", "low", "close", "volume")


def tell(folder: Path, **facts: Any) -> BarStore:
    """Write another document about the bars, sound in itself; return a store that reads it."""
    lane = fresh(folder).parts.lane(DAILY)
    meta = lane.meta(2024)
    assert meta is not None
    lane.write_meta(2024, meta.replaced(state=meta.state.replaced(**facts)), durable=True)
    return fresh(folder)


@pytest.mark.parametrize(
    "facts",
    [{"rows": 5}, {"rows": 7}, {"first": at(-1)}, {"first": None}, {"last": at(4)}, {"last": at(9)},
     {"columns": ALL_COLUMNS}],
    ids=str,
)  # fmt: skip
def test_a_document_that_describes_other_bars_is_rewritten(
    tmp_path: Path, facts: dict[str, Any]
) -> None:
    folder = three_members(tmp_path)
    truth = fresh(folder).view(DAILY)
    store = tell(folder, **facts)
    assert same(store.read(DAILY, EVER)[0], table(range(6)))
    view = store.view(DAILY)
    assert (view.rows, view.first, view.last) == (truth.rows, truth.first, truth.last)
    assert quarantined(folder) == []


def with_text(folder: Path, text: bytes, **facts: Any) -> None:
    """Write the year as one sound member with that text, without other records of it."""
    first = members(folder)[0][1]
    (folder / DATA).write_bytes(build(replace(first.header, **facts), text).raw)
    (folder / META).unlink()


def test_bars_are_not_read_under_the_names_of_other_columns(tmp_path: Path) -> None:
    folder = three_members(tmp_path)
    rows = encode_rows(table(range(4)), BASE_COLUMNS)
    with_text(folder, header_line(BASE_COLUMNS) + rows)
    assert bars(folder) == [0, 1, 2, 3]
    with_text(folder, header_line(OTHER_ORDER) + rows)
    with pytest.raises(CorruptEntryError, match="the columns are not open, high, low"):
        fresh(folder).read(DAILY, EVER)


def test_a_year_with_more_bars_than_it_has_days_is_not_read(tmp_path: Path) -> None:
    folder = three_members(tmp_path)
    rows = table(range(400), size=HOUR_MS)
    facts = {"rows": 400, "last": at(399, HOUR_MS), "span": days(0, 20)}
    with_text(folder, header_line(BASE_COLUMNS) + encode_rows(rows, BASE_COLUMNS), **facts)
    with pytest.raises(CorruptEntryError, match="it claims 400 bars"):
        fresh(folder).read(DAILY, EVER)


def test_an_error_about_a_year_of_a_newer_version_names_the_year(tmp_path: Path) -> None:
    folder = three_members(tmp_path)
    first = members(folder)[0][1]
    newer = first.with_header(replace(first.header, extra={"need": ["more"]}))
    (folder / DATA).write_bytes(newer.raw)
    store = tell(folder, size=len(newer.raw), head=newer.digest, head_at=0)
    with pytest.raises(FormatVersionError, match=r"AAPL 1d 2024: .*newer version") as caught:
        store.read(DAILY, EVER)
    assert caught.value.hint


class TestWhileARewriteIsPending:
    """The committed and the pending state are both valid, and no other."""

    def pending(self, folder: Path, disk: Disk, **facts: Any) -> LaneFiles:
        """Return the series with a rewrite pending that was not done yet."""
        lane = fresh(folder, disk).parts.lane(DAILY)
        meta = lane.meta(2024)
        assert meta is not None
        state = meta.state.replaced(generation=meta.state.generation + 1, **facts)
        lane.write_meta(2024, meta.replaced(pending=state), durable=True)
        return lane

    def read(self, lane: LaneFiles) -> list[int]:
        file = open_year(lane, 2024, lane.meta(2024))
        assert file is not None
        return numbers(file.table())

    def test_a_file_as_long_as_the_new_one_may_be_the_old_one(self, tmp_path: Path) -> None:
        folder = three_members(tmp_path)
        assert self.read(self.pending(folder, Disk(), head="0" * 64)) == [0, 1, 2, 3, 4, 5]

    def test_a_file_that_begins_like_the_new_one_is_the_old_one(self, tmp_path: Path) -> None:
        folder = three_members(tmp_path)
        (_, one), (at_two, two), (end, _) = members(folder)
        rows, last = one.header.rows + two.header.rows, two.header.last
        shorter = {"size": end, "head": two.digest, "head_at": at_two, "rows": rows, "last": last}
        assert self.read(self.pending(folder, Disk(), **shorter)) == [0, 1, 2, 3, 4, 5]

    def test_a_file_that_was_read_is_closed(self, tmp_path: Path) -> None:
        disk = HoldingDisk()
        self.read(self.pending(three_members(tmp_path), disk))
        assert not disk.held


class TestWhatIsWrong:
    """If a year cannot be repaired, the error of a reader names the contradiction."""

    def problem(self, folder: Path) -> str:
        lane = fresh(folder).parts.lane(DAILY)
        with pytest.raises(MismatchError) as caught:
            open_year(lane, 2024, lane.meta(2024))
        return str(caught.value)

    def test_a_file_shorter_than_recorded_is_a_problem(self, tmp_path: Path) -> None:
        folder = three_members(tmp_path)
        size = len(change(folder / DATA, lambda data: data[:-3]))
        assert f"it has {size} bytes, but {size + 3} are recorded" in self.problem(folder)

    def test_a_file_with_data_that_should_be_empty_is_a_problem(self, tmp_path: Path) -> None:
        folder = three_members(tmp_path)
        tell(folder, size=0, rows=0, first=None, last=None, head=None, head_at=0)
        assert "not empty as recorded" in self.problem(folder)

    def test_a_file_with_another_last_member_is_a_problem(self, tmp_path: Path) -> None:
        folder = three_members(tmp_path)
        tell(folder, head="0" * 64)
        assert "its last member is not the recorded one" in self.problem(folder)


class TestRowsBehind:
    """Appended rows are read separately only if they soundly continue a known end."""

    first: Member

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Return the folder of AAPL 1d with bars 0 to 5; ``first`` is its first gzip member."""
        folder = three_members(tmp_path)
        self.first = members(folder)[0][1]
        return folder

    def behind(self, folder: Path, disk: Disk | None = None, **state: Any) -> list[int] | None:
        """Return the bars after those of ``first`` in a year with that ``state``."""
        lane = fresh(folder, disk).parts.lane(DAILY)
        meta = lane.meta(2024)
        assert meta is not None
        wanted, first = meta.state.replaced(**state), self.first
        rows = rows_behind(lane, 2024, wanted, size=len(first.raw), head=first.digest[:16])
        return None if rows is None else numbers(rows)

    def test_all_members_after_a_known_end_are_read(self, folder: Path) -> None:
        disk = HoldingDisk()
        assert self.behind(folder, disk) == [4, 5]
        assert not disk.held

    def test_no_rows_are_read_if_a_known_end_is_not_the_end_of_a_member(self, folder: Path) -> None:
        first = self.first
        assert self.behind(folder, size=len(first.raw), head=first.digest) is None

    def test_rows_after_a_known_end_are_read_up_to_the_recorded_size(self, folder: Path) -> None:
        (_, second), (end, _) = members(folder)[1:]
        change(folder / DATA, lambda data: data[:-1])
        assert self.behind(folder, size=end, head=second.digest) == [4]
        assert self.behind(folder) is None

    def test_rows_in_a_corrupt_member_after_a_known_end_are_not_read(self, folder: Path) -> None:
        (_, second) = members(folder)[1]
        text = encode_rows(table([4]), BASE_COLUMNS).replace(b"100.4", b"100.x")
        other = build(second.header, text)
        change(folder / DATA, lambda data: self.first.raw + other.raw)
        size = len(self.first.raw + other.raw)
        assert self.behind(folder, size=size, head=other.digest) is None

    def test_no_rows_are_read_from_a_deleted_file(self, folder: Path) -> None:
        (folder / DATA).unlink()
        assert self.behind(folder) is None
