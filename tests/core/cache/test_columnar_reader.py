"""Tests opening one columnar file: invalid files are rejected, and memory stays bounded."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.data.core.cache.format.columnar import BLOCK, START, ColumnSource, Part, room_for
from src.data.core.cache.read import columnar_reader as module
from src.data.core.cache.read.columnar_reader import ColumnarFile, DamagedColumnsError, open_columns
from src.data.core.cache.read.columnar_writer import append_rows, restamp, write_new
from src.data.core.disk.files import Disk, FileState
from src.data.core.model.time.instant import DAY_MS, MINUTE_MS
from src.data.core.model.time.span import Span
from src.data.errors import StorageError
from tests.core.cache.bars import EVER, at, numbers, same, table
from tests.core.cache.crash import SYNCS, Quick
from tests.core.cache.disks import HoldingDisk, RecordingDisk

NAME = "a series"
ROWS = 366
MODES = pytest.mark.parametrize("may_map", [True, False], ids=["map", "read"])


def part_of(
    first: int, end: int, *, adj: bool = False, rows: int | None = None, size: int = DAY_MS
) -> Part:
    """Return made-up bars as rows of a year that then has ``rows``."""
    count = end - first if rows is None else rows
    return Part(
        ColumnSource(count, 7, "00", 1, 1, adj), table(range(first, end), adj=adj, size=size)
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a columnar file that does not exist yet."""
    return tmp_path / "1d.bars"


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Return a disk of which even the smallest file is mapped, and the shortest stretch lent."""
    monkeypatch.setattr(module, "MOST_READ", 0)
    monkeypatch.setattr(module, "MOST_COPIED", 0)
    return Quick()


def opened(disk: Disk, path: Path, *, may_map: bool = True) -> ColumnarFile:
    found = open_columns(disk, path, NAME, may_map=may_map)
    assert found is not None
    return found


def years(disk: Disk, path: Path) -> ColumnarFile:
    """Return a file of 2022 (10 bars), 2023 (365) and 2024 (366)."""
    parts = {2022: part_of(-375, -365), 2023: part_of(-365, 0), 2024: part_of(0, ROWS)}
    write_new(disk, path, NAME, None, parts)
    return opened(disk, path)


def refuse(*_: object, **__: object) -> Any:
    raise StorageError("made to refuse")


def cut(*_: object, **__: object) -> Any:
    raise ValueError("mmap length is greater than file size")


# --- what cannot be read --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error"),
    [("open_read", refuse), ("read_at", refuse), ("fstat", refuse), ("map", refuse), ("map", cut)],
    ids=["open", "read", "look", "map", "cut before it was mapped"],
)
def test_a_file_that_cannot_be_read_is_none(
    path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, call: str, error: Callable[..., Any]
) -> None:
    years(disk, path)
    closed: list[object] = []
    close = disk.close
    monkeypatch.setattr(disk, "close", lambda handle: (closed.append(handle), close(handle)))
    monkeypatch.setattr(disk, call, error)
    assert open_columns(disk, path, NAME, may_map=True) is None
    assert len(closed) == (call != "open_read")


def test_an_absent_columns_file_is_none(path: Path, disk: Disk) -> None:
    assert open_columns(disk, path, NAME, may_map=True) is None


@MODES
@pytest.mark.parametrize("size", [0, START - 1, START, -1], ids=["0", "a slot", "head", "a byte"])
def test_a_file_that_is_too_short_is_none(path: Path, disk: Disk, may_map: bool, size: int) -> None:
    years(disk, path)
    path.write_bytes(path.read_bytes()[:size])
    assert open_columns(disk, path, NAME, may_map=may_map) is None


def test_a_small_file_is_read_instead_of_mapped(path: Path) -> None:
    disk = Quick()
    found = years(disk, path)
    assert found.bytes == found.head.rows * 8 * (len(found.head.columns) - 1), "all but the index"


def test_a_small_file_is_read_at_once(path: Path) -> None:
    years(Quick(), path)
    disk = RecordingDisk()
    opened(disk, path)
    assert [step.name for step in disk.steps] == ["open", "fstat", "read", "close"]


def test_the_index_of_a_small_file_is_computed_and_not_read(path: Path) -> None:
    disk = Quick()
    head = years(disk, path).head
    broken = bytearray(path.read_bytes())
    broken[head.at("index", 5)] ^= 1
    path.write_bytes(broken)
    file = opened(disk, path)
    assert len(file.table(EVER, [2022, 2023, 2024])) == head.rows
    assert np.array_equal(file.column("index"), file.column("stamps") * 1_000_000)
    write_new(disk, path, NAME, file, {2025: part_of(366, 400)})
    # Who checks a file, or has no maps, reads all of it: a new one is sound again.
    assert len(opened(disk, path, may_map=False).table(EVER, [2022, 2023, 2024, 2025])) == 775


@MODES
def test_mapped_columns_take_no_memory(path: Path, disk: Disk, may_map: bool) -> None:
    years(disk, path)
    assert (opened(disk, path, may_map=may_map).bytes == 0) is may_map


# --- slices ---------------------------------------------------------------------------------


@MODES
@pytest.mark.parametrize(
    ("first", "end"),
    [(-400, 400), (-375, -365), (-370, -366), (-366, -364), (-1, 1), (0, 1), (365, 366), (5, 5),
     (366, 400), (-500, -375)],
)  # fmt: skip
def test_the_columns_of_a_span_equal_its_bars(
    path: Path, disk: Disk, may_map: bool, first: int, end: int
) -> None:
    years(disk, path)
    file = opened(disk, path, may_map=may_map)
    found = file.table(Span(at(first), at(end)), [2022, 2023, 2024])
    assert same(found, table(n for n in range(first, end) if -375 <= n < 366))


@MODES
def test_the_columns_of_two_years_leave_out_the_year_between_them(
    path: Path, disk: Disk, may_map: bool
) -> None:
    years(disk, path)
    found = opened(disk, path, may_map=may_map).table(EVER, [2022, 2024])
    assert numbers(found) == [*range(-375, -365), *range(ROWS)]


@MODES
@pytest.mark.parametrize("adj", [(True, False), (False, True)])
def test_a_column_that_only_one_year_has_is_nan_in_the_other(
    path: Path, disk: Disk, may_map: bool, adj: tuple[bool, bool]
) -> None:
    parts = {2023: part_of(-9, 0, adj=adj[0]), 2024: part_of(0, 9, adj=adj[1])}
    write_new(disk, path, NAME, None, parts)
    file = opened(disk, path, may_map=may_map)
    for year, has_it in zip((2023, 2024), adj, strict=True):
        assert same(file.all_of(year), parts[year].table)
        assert (file.all_of(year).adj_close is not None) is has_it
    both = file.table(EVER, [2023, 2024]).adj_close
    assert both is not None
    assert np.isnan(both).sum() == 9


# --- memory lent ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lack", ["descriptors", "file", "another file", "open", "map", "memory", "nothing"]
)
def test_rows_are_copied_if_the_columnar_file_cannot_be_mapped(
    path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, lack: str
) -> None:
    file = years(disk, path)
    if lack == "descriptors":
        monkeypatch.setattr(disk, "most_open", lambda: 3)
    elif lack == "file":
        path.unlink()
    elif lack == "another file":
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content[:START] + b"\1" * (len(content) - START))
    elif lack in ("open", "map"):
        monkeypatch.setattr(disk, {"open": "open_read", "map": "map"}[lack], refuse)
    elif lack == "memory":
        monkeypatch.setattr(disk, "map", cut)
    before = len(module.open_maps)
    found = file.table(EVER, [2023, 2024])
    assert same(found, table(range(-365, ROWS)))
    assert len(module.open_maps) - before == (lack == "nothing")
    assert found.close.flags.writeable
    found.close[:] = 1.0
    assert same(file.table(EVER, [2023, 2024]), table(range(-365, ROWS)))


def test_a_short_span_is_copied_instead_of_mapped(
    path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = years(disk, path)
    monkeypatch.setattr(module, "MOST_COPIED", 8 * len(file.head.columns) * 5)
    before = len(module.open_maps)
    short = file.table(Span(at(0), at(5)), [2024])
    assert (short.index, short.close.flags.writeable) == (None, False)
    assert len(module.open_maps) == before
    longer = file.table(Span(at(0), at(6)), [2024])
    assert longer.index is not None
    assert longer.close.flags.writeable


def test_no_span_of_columns_is_mapped_if_mapping_is_off(
    path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    years(disk, path)
    file = opened(disk, path, may_map=False)
    monkeypatch.setattr(disk, "map", None)
    assert same(file.table(EVER, [2023, 2024]), table(range(-365, ROWS)))


def test_a_read_of_columns_leaves_no_file_open(path: Path, disk: Disk) -> None:
    years(disk, path)
    file = opened(holding := HoldingDisk(), path)
    assert file.table(EVER, [2023, 2024]).index is not None
    assert holding.held == {}


def test_the_bound_counts_maps_that_are_in_use(
    path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = years(disk, path)
    limit = len(module.open_maps) + 2
    monkeypatch.setattr(disk, "most_open", lambda: 4 * limit)
    held = [file.table(EVER, [2024]) for _ in range(4)]
    assert len(module.open_maps) == limit
    assert all(same(rows, table(range(ROWS))) for rows in held)


# --- trust ----------------------------------------------------------------------------------


def long_file(disk: Disk, path: Path, rows: int) -> ColumnarFile:
    """Return a file of one year of minutes."""
    write_new(disk, path, NAME, None, {2024: part_of(0, rows, size=MINUTE_MS)})
    return opened(disk, path)


@MODES
@pytest.mark.parametrize("rows", [BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 5])
def test_a_changed_value_in_any_block_is_reported_as_damage(
    path: Path, disk: Disk, may_map: bool, rows: int
) -> None:
    head = long_file(disk, path, rows).head
    content = path.read_bytes()
    for name in head.columns:
        for row in {0, BLOCK - 1, rows - 1}:
            broken = bytearray(content)
            broken[head.at(name, row)] ^= 1
            path.write_bytes(broken)
            with pytest.raises(DamagedColumnsError, match=name):
                opened(disk, path, may_map=may_map).table(EVER, [2024])
    path.write_bytes(content)
    assert len(opened(disk, path, may_map=may_map).table(EVER, [2024])) == rows


def test_the_checksum_of_a_block_is_checked_once(
    path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_file(disk, path, 2 * BLOCK + 5)
    file = opened(disk, path)
    checked: list[int] = []
    monkeypatch.setattr(
        module, "summing", lambda size: lambda data: (checked.append(1), zlib.crc32(data))[1]
    )
    columns = len(file.head.columns)
    tail = 2 * BLOCK + 2
    # Requested bars, and how often each column computes a checksum for them.
    for first, end, times in [
        (5, 9, 1), (7, 90, 0), (tail, 3000, 1), (tail, 3000, 0), (0, BLOCK + 1, 1), (0, 3000, 0),
    ]:  # fmt: skip
        checked.clear()
        file.table(Span(at(first, MINUTE_MS), at(end, MINUTE_MS)), [2024])
        assert len(checked) == times * columns, (first, end)


def test_a_damaged_block_is_an_error_only_if_it_is_requested(path: Path, disk: Disk) -> None:
    head = long_file(disk, path, 3 * BLOCK).head
    broken = bytearray(path.read_bytes())
    broken[head.at("close", BLOCK + 5)] ^= 1
    path.write_bytes(broken)
    file = opened(disk, path)
    for first in (0, 2 * BLOCK + 1):
        asked = Span(at(first, MINUTE_MS), at(first + 100, MINUTE_MS))
        assert len(file.table(asked, [2024])) == 100
    for _ in range(2):
        with pytest.raises(DamagedColumnsError):
            file.table(Span(at(0), at(BLOCK + 1, MINUTE_MS)), [2024])


@pytest.mark.parametrize(
    ("row", "first", "end"),
    [(BLOCK, -BLOCK, 0), (BLOCK - 1, 0, BLOCK), (2 * BLOCK + 2, 0, BLOCK - 1)],
    ids=["of the next year", "of the year before", "behind the block asked for"],
)
def test_damage_outside_of_the_requested_rows_does_not_matter(
    path: Path, disk: Disk, row: int, first: int, end: int
) -> None:
    parts = {2023: part_of(-BLOCK, 0, size=MINUTE_MS), 2024: part_of(0, BLOCK + 5, size=MINUTE_MS)}
    write_new(disk, path, NAME, None, parts)
    broken = bytearray(path.read_bytes())
    broken[opened(disk, path).head.at("close", row)] ^= 1
    path.write_bytes(broken)
    asked = Span(at(first, MINUTE_MS), at(end, MINUTE_MS))
    year = 2023 if first < 0 else 2024
    found = opened(disk, path).table(asked, [year])
    assert same(found, table(range(first, end), size=MINUTE_MS))


@pytest.mark.parametrize("shift", [-MINUTE_MS * BLOCK, MINUTE_MS * BLOCK], ids=["less", "more"])
@pytest.mark.parametrize(
    ("first", "end"), [(0, BLOCK), (0, BLOCK + 1), (BLOCK - 1, 2 * BLOCK), (BLOCK, 2 * BLOCK)]
)
def test_a_wrong_timestamp_at_the_edge_of_a_block_leaves_out_no_bar(
    path: Path, disk: Disk, shift: int, first: int, end: int
) -> None:
    """The bars on either side of a block's edge are wrong in turn; none of them is left out."""
    head = long_file(disk, path, 2 * BLOCK).head
    sound, asked = path.read_bytes(), Span(at(first, MINUTE_MS), at(end, MINUTE_MS))
    for row in (BLOCK - 1, BLOCK):
        place, broken = head.at("stamps", row), bytearray(sound)
        wrong = int.from_bytes(sound[place : place + 8], "little") + shift
        broken[place : place + 8] = wrong.to_bytes(8, "little")
        path.write_bytes(broken)
        try:
            found = opened(disk, path).table(asked, [2024])
        except DamagedColumnsError:
            continue
        assert same(found, table(range(first, end), size=MINUTE_MS))


def test_damage_to_the_last_block_of_a_column_is_detected(path: Path, disk: Disk) -> None:
    head = long_file(disk, path, BLOCK + 5).head
    broken = bytearray(path.read_bytes())
    broken[head.at("close", BLOCK + 2)] ^= 1
    path.write_bytes(broken)
    file = opened(disk, path)
    assert len(file.table(Span(at(0), at(BLOCK - 1, MINUTE_MS)), [2024])) == BLOCK - 1
    with pytest.raises(DamagedColumnsError, match="the end of close"):
        file.table(EVER, [2024])


# --- writing --------------------------------------------------------------------------------


@MODES
def test_rows_are_appended_to_a_columnar_file_up_to_its_capacity(
    path: Path, disk: Disk, may_map: bool
) -> None:
    rows = BLOCK - 3
    write_new(disk, path, NAME, None, {2024: part_of(0, rows)})
    for more in (1, 1, 1, 1, 40):
        file = opened(disk, path)
        part = part_of(rows, rows + more, rows=rows + more)
        done = append_rows(disk, file, 2024, part)
        assert done is (rows + more <= file.head.capacity)
        if not done:
            break
        rows += more
        found = opened(disk, path, may_map=may_map)
        assert found.head.seq == file.head.seq + 1
        assert same(found.table(EVER, [2024]), table(range(rows)))
        assert same(file.table(EVER, [2024]), table(range(file.head.rows)))


def test_rows_are_appended_exactly_up_to_the_reserved_room(path: Path, disk: Disk) -> None:
    write_new(disk, path, NAME, None, {2024: part_of(0, 5)})
    file, room = opened(disk, path), room_for(5)
    assert not append_rows(disk, file, 2024, part_of(5, room + 1, rows=room + 1))
    assert append_rows(disk, file, 2024, part_of(5, room, rows=room))
    assert same(opened(disk, path).table(EVER, [2024]), table(range(room)))


@pytest.mark.parametrize(
    ("year", "part"),
    [(2023, part_of(-5, 0)), (2022, part_of(-365, -364, rows=11)),
     (2024, part_of(366, 367, adj=True, rows=367))],
    ids=["an earlier year", "the year before", "a column more"],
)  # fmt: skip
def test_rows_that_do_not_follow_are_not_appended_to_columns(
    path: Path, disk: Disk, year: int, part: Part
) -> None:
    write_new(disk, path, NAME, None, {2022: part_of(-375, -365), 2024: part_of(0, ROWS)})
    before = path.read_bytes()
    assert not append_rows(disk, opened(disk, path), year, part)
    assert path.read_bytes() == before


def test_a_file_that_took_the_name_is_not_changed(path: Path, disk: Disk) -> None:
    file = years(disk, path)
    content = path.read_bytes()
    path.rename(path.with_suffix(".old"))
    path.write_bytes(content)
    assert not append_rows(disk, file, 2024, part_of(366, 367, rows=367))
    restamp(disk, file, {2024: file.head.years[2024]._replace(mtime_ns=99)})
    assert path.read_bytes() == content


def test_a_year_file_with_a_new_time_is_restamped_in_the_columnar_file(
    path: Path, disk: Disk
) -> None:
    file = years(disk, path)
    restamp(disk, file, {2024: file.head.years[2024]._replace(mtime_ns=99)})
    again = opened(disk, path)
    assert [s.mtime_ns for s in again.head.years.values()] == [1, 1, 99]
    assert again.head.seq == file.head.seq + 1
    assert same(again.table(EVER, [2022, 2023, 2024]), table(range(-375, ROWS)))


@pytest.mark.parametrize("adj", [True, False])
def test_a_new_file_copies_the_other_years(path: Path, disk: Disk, adj: bool) -> None:
    old = years(disk, path)
    write_new(disk, path, NAME, old, {2023: part_of(-30, 0, adj=adj)})
    found = opened(disk, path)
    assert found.inode != old.inode
    assert list(found.head.years) == [2022, 2023, 2024]
    assert same(found.all_of(2023), table(range(-30, 0), adj=adj))
    for year, steps in ((2022, range(-375, -365)), (2024, range(ROWS))):
        assert same(found.all_of(year), table(steps))


def test_corrupt_columns_are_not_copied_into_a_new_file(path: Path, disk: Disk) -> None:
    head = years(disk, path).head
    broken = bytearray(path.read_bytes())
    broken[head.at("low", 400)] ^= 1
    path.write_bytes(broken)
    with pytest.raises(DamagedColumnsError):
        write_new(disk, path, NAME, opened(disk, path), {2023: part_of(-30, 0)})
    assert path.read_bytes() == broken


def test_corrupt_columns_of_a_year_that_is_replaced_do_not_matter(path: Path, disk: Disk) -> None:
    parts = {2023: part_of(-BLOCK, 0, size=MINUTE_MS), 2024: part_of(0, BLOCK, size=MINUTE_MS)}
    write_new(disk, path, NAME, None, parts)
    broken = bytearray(path.read_bytes())
    broken[opened(disk, path).head.at("low", 40)] ^= 1  # of 2023
    path.write_bytes(broken)
    write_new(disk, path, NAME, opened(disk, path), {2023: parts[2023]})
    found = opened(disk, path).table(EVER, [2023, 2024])
    assert same(found, table(range(-BLOCK, BLOCK), size=MINUTE_MS))


def test_a_failed_replacement_leaves_only_the_old_file(
    path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = years(disk, path)
    monkeypatch.setattr(disk, "replace", refuse)
    with pytest.raises(StorageError):
        write_new(disk, path, NAME, old, {2024: part_of(0, 5)})
    assert list(path.parent.iterdir()) == [path]
    assert opened(disk, path).head == old.head


def test_a_columns_file_is_closed_after_every_write(path: Path) -> None:
    disk = HoldingDisk()
    write_new(disk, path, NAME, None, {2024: part_of(0, 5)})
    file = opened(disk, path)
    assert append_rows(disk, file, 2024, part_of(5, 7, rows=7))
    file = opened(disk, path)
    restamp(disk, file, {2024: file.head.years[2024]._replace(inode=9)})
    assert not disk.held


def test_writing_columns_does_not_sync_the_disk(path: Path) -> None:
    write_new(disk := RecordingDisk(), path, NAME, None, {2024: part_of(0, 5)})
    assert SYNCS.isdisjoint(disk.names())


def test_a_file_with_more_years_than_its_header_has_room_for_is_refused(
    path: Path, disk: Disk
) -> None:
    parts = {1000 + n: part_of(n, n + 1) for n in range(400)}
    with pytest.raises(ValueError, match="400 years"):
        write_new(disk, path, NAME, None, parts)
    assert list(path.parent.iterdir()) == []


def test_an_open_columns_file_is_not_mixed_with_the_file_that_replaced_it(
    path: Path, disk: Disk
) -> None:
    file = years(disk, path)
    write_new(disk, path, NAME, None, {2024: part_of(0, 5)})
    assert same(file.table(EVER, [2023, 2024]), table(range(-365, ROWS)))
    assert isinstance(disk.stat(path), FileState)
