"""Tests damaged and foreign columnar files: the answer is always that of the year files."""

from __future__ import annotations

import errno
import json
import os
import random
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from src.data.core.cache.format.columnar import (
    BLOCK,
    MAGIC,
    SLOT,
    START,
    ColumnSource,
    Head,
    Part,
    read_head,
)
from src.data.core.cache.format.gzip_member import file_id
from src.data.core.cache.read.columnar_cache import WholeYear
from src.data.core.cache.read.columnar_reader import ColumnarFile, open_columns
from src.data.core.cache.read.columnar_writer import append_rows, write_new
from src.data.core.cache.read.series_reader import read_state
from src.data.core.cache.retention.inventory import Inventory
from src.data.core.cache.retention.trim import drop_derived
from src.data.core.cache.store import BarStore, Commit
from src.data.core.disk.files import Disk, DiskStep
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.bars import BarTable
from src.data.core.model.time.instant import MINUTE_MS
from src.data.core.model.time.span import Span
from tests.core.cache.bars import (
    DAILY,
    EVER,
    MAPPED,
    MINUTES,
    at,
    days,
    lane_folder,
    minutes,
    numbers,
    piece,
    same,
    table,
)
from tests.core.cache.bars import store_in as store_on
from tests.core.cache.counts import FULL
from tests.core.cache.crash import Quick
from tests.core.cache.disks import RecordingDisk
from tests.processes import ended, fork

T = TypeVar("T")
IDENTITY = file_id(MINUTES, 0)
MODES = pytest.mark.parametrize("mode", ["map", "read"])


def store_in(root: Path, disk: Disk | None = None, **other: Any) -> BarStore:
    """Return a store that does not wait for the platter."""
    return store_on(root, disk or Quick(), **other)


def columns_file(root: Path) -> Path:
    (found,) = (root / "_columnar").rglob("*.bars")
    return found


def filled(root: Path, bars: int) -> bytes:
    """Store a series, read it once, and return the bytes of its columnar file."""
    store = store_in(root, columnar="map")
    store.commit(MINUTES, Commit((minutes(0, bars),)))
    store.read(MINUTES, EVER)
    return columns_file(root).read_bytes()


def renewed(path: Path, content: bytes) -> None:
    """Put another file under the name."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def head_of(content: bytes) -> Head:
    head = read_head(content[:START], IDENTITY)
    assert head is not None
    return head


def opened(disk: RecordingDisk) -> list[str]:
    return [step.path.name for step in disk.steps if step.name == "open"]


# --- bytes that rot -------------------------------------------------------------------------


def probes(rows: int, row: int) -> Iterator[int]:
    """Yield the rows that a binary search for ``row`` looks at."""
    low, high = 0, rows
    while low < high:
        middle = (low + high) // 2
        yield middle
        low, high = (middle + 1, high) if middle < row else (low, middle)


@MODES
def test_a_damaged_timestamp_read_by_a_binary_search_changes_no_answer(
    tmp_path: Path, mode: str
) -> None:
    rows = 8_192 if FULL else 4_096
    content = filled(tmp_path, rows)
    path, head = columns_file(tmp_path), head_of(content)
    for first, end in ((rows // 2 + 900, rows // 2 + 910), (1_500, rows - 1_200)):
        truth = table(range(first, end), size=MINUTE_MS)
        for probe in sorted({*probes(rows, first), *probes(rows, end)})[:: 1 if FULL else 5]:
            broken = bytearray(content)
            stamp = 1 << 60 if probe < end else 0
            struct.pack_into("<q", broken, head.at("stamps", probe), stamp)
            renewed(path, broken)
            store = store_in(tmp_path, columnar=mode)
            found, _ = store.read(MINUTES, Span(at(first, MINUTE_MS), at(end, MINUTE_MS)))
            assert same(found, truth), (first, end, probe)


@MODES
def test_flipped_bits_in_a_long_columnar_file_change_no_answer(tmp_path: Path, mode: str) -> None:
    rows = 30_000 if FULL else 6_000
    content = filled(tmp_path, rows)
    path, dice = columns_file(tmp_path), random.Random(3)
    used, truth = head_of(content).at("volume", rows), table(range(rows), size=MINUTE_MS)
    for _ in range(15 if FULL else 3):
        broken = bytearray(content)
        for _ in range(dice.choice([1, 1, 8])):
            broken[dice.randrange(used)] ^= 1 << dice.randrange(8)
        renewed(path, broken)
        store = store_in(tmp_path, columnar=mode)
        for _ in range(4):
            first = dice.randrange(rows)
            end = min(rows, first + dice.choice([1, 50, 2_000, rows]))
            span = Span(at(first, MINUTE_MS), at(end, MINUTE_MS))
            assert same(store.read(MINUTES, span)[0], truth.within(span))


def test_every_flipped_bit_of_a_columnar_header_is_detected(tmp_path: Path) -> None:
    filled(tmp_path, 100)
    store = store_in(tmp_path)
    store.commit(MINUTES, Commit((minutes(100, 110),)))
    store_in(tmp_path, columnar="map").read(MINUTES, EVER)
    start = columns_file(tmp_path).read_bytes()[:START]
    head = head_of(start)
    (length,) = struct.unpack_from("<I", start, head.slot_at + 16)
    for place in range(24 + length):
        for bit in range(8):
            broken = bytearray(start)
            broken[head.slot_at + place] ^= 1 << bit
            found = read_head(bytes(broken), IDENTITY)
            assert found is not None, "the previous header is damaged too"
            assert found.seq == head.seq - 1, (place, bit)


def test_damaged_columns_of_a_year_that_is_not_requested_do_not_stop_new_columns(
    tmp_path: Path,
) -> None:
    store = store_in(tmp_path, columnar="map")
    store.commit(DAILY, Commit((piece(-300, 300),)))
    store.read(DAILY, EVER)
    path = columns_file(tmp_path)
    broken = bytearray(path.read_bytes())
    broken[START + 5] ^= 1  # of the first year
    renewed(path, broken)
    store.commit(DAILY, Commit((piece(5, 6, shift=1.0),)))
    for _ in range(2):
        reader = store_in(tmp_path, columnar="map")
        assert numbers(reader.read(DAILY, days(0, 300))[0]) == [*range(300)]
    disk = RecordingDisk()
    store_in(tmp_path, disk, columnar="map").read(DAILY, days(0, 300))
    assert "2024.csv.gz" not in opened(disk)


# --- headers that lie -----------------------------------------------------------------------


def forged(plain: Any, seq: int = 9) -> bytes:
    """Return a slot with a right checksum for any text."""
    text = plain if isinstance(plain, bytes) else json.dumps(plain).encode("ascii")
    check = zlib.crc32(text, zlib.crc32(seq.to_bytes(8, "little")))
    return struct.pack("<8sQII", MAGIC, seq, len(text), check) + text


def entry(rows: Any) -> list[Any]:
    return [rows, 1, "00", 1, 1, False]


PLAIN: dict[str, Any] = {
    "id": IDENTITY, "order": sys.byteorder, "capacity": BLOCK, "years": {"2024": entry(5)},
    "tails": {},
}  # fmt: skip
LIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "rows beyond all memory": lambda p: p | {"years": {"2024": entry(1 << 60)}},
    "negative rows": lambda p: p | {"years": {"2023": entry(-5), **p["years"]}},
    "rows that are text": lambda p: p | {"years": {"2024": entry("many")}},
    "rows that are none": lambda p: p | {"years": {"2024": entry(None)}},
    "nothing of what it must hold": lambda p: {},
    "a year with too few facts": lambda p: p | {"years": {"2024": [1]}},
    "no years": lambda p: p | {"years": {}},
    "years that are a list": lambda p: p | {"years": [1]},
    "years out of order": lambda p: p | {"years": {**p["years"], "2023": entry(1)}},
    "endless room": lambda p: p | {"capacity": 1 << 60},
    "room beyond all numbers": lambda p: p | {"capacity": 1e400},
    "no room": lambda p: p | {"capacity": 0},
    "negative room": lambda p: p | {"capacity": -BLOCK},
    "room that is text": lambda p: p | {"capacity": "much"},
    "no checksums": lambda p: p | {"tails": {}},
    "checksums that are a number": lambda p: p | {"tails": 5},
    "another machine's byte order": lambda p: p | {
        "order": "big" if sys.byteorder == "little" else "little"
    },
    "another series": lambda p: p | {"id": "somebody else's"},
    "nothing but a list": lambda p: [p],
    "depth": lambda p: b"[" * 8_000,
    "bytes that are no text": lambda p: b"\xff\xfe",
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
@MODES
def test_a_forged_columnar_header_does_not_change_the_answer(
    tmp_path: Path, mode: str, name: str
) -> None:
    content = filled(tmp_path, 1_100)
    head = head_of(content)
    (length,) = struct.unpack_from("<I", content, head.slot_at + 16)
    plain = json.loads(content[head.slot_at + 24 : head.slot_at + 24 + length])
    for seq in (head.seq + 1, (1 << 64) - 1):
        broken = bytearray(content)
        slot = forged(LIES[name](plain), seq)
        broken[seq % 2 * SLOT : seq % 2 * SLOT + len(slot)] = slot
        renewed(columns_file(tmp_path), broken)
        for _ in range(2):
            store = store_in(tmp_path, columnar=mode)
            assert same(store.read(MINUTES, EVER)[0], table(range(1_100), size=MINUTE_MS))
    store_in(tmp_path).commit(MINUTES, Commit((minutes(1_100, 1_110),)))
    store = store_in(tmp_path, columnar=mode)
    assert same(store.read(MINUTES, EVER)[0], table(range(1_110), size=MINUTE_MS))


@pytest.mark.parametrize("name", ["another series", "another machine's byte order"])
def test_a_valid_columnar_header_of_another_series_is_ignored(tmp_path: Path, name: str) -> None:
    for lie, is_one in ((dict, True), (LIES[name], False)):
        start = forged(lie(PLAIN)).ljust(START, b"\0")
        assert (read_head(start, IDENTITY) is not None) is is_one


@pytest.mark.parametrize(
    "name",
    sorted(LIES.keys() - {"no checksums", "endless room"}),
)
def test_the_header_before_an_invalid_one_is_used(name: str) -> None:
    start = forged(PLAIN, 8).ljust(SLOT, b"\0") + forged(LIES[name](PLAIN), 9).ljust(SLOT, b"\0")
    found = read_head(start, IDENTITY)
    assert found is not None
    assert found.seq == 8


@pytest.mark.parametrize(
    ("rows", "capacity", "is_one"),
    [(5, BLOCK, True), (0, BLOCK, False), (BLOCK, BLOCK, True), (BLOCK + 1, BLOCK, False),
     (5, BLOCK + 1, False), (366 * 86_400, 1 << 30, True), (366 * 86_400 + 1, 1 << 30, False),
     (True, BLOCK, False)],
)  # fmt: skip
def test_a_columnar_header_with_an_impossible_number_of_rows_is_rejected(
    rows: int, capacity: int, is_one: bool
) -> None:
    plain = PLAIN | {"years": {"2024": entry(rows)}, "capacity": capacity}
    start = forged(plain).ljust(START, b"\0")
    assert (read_head(start, IDENTITY) is not None) is is_one


def test_a_columnar_header_with_more_rows_than_seconds_in_a_year_is_rejected() -> None:
    years = {"2024": entry(5), "2025": entry(366 * 86_400 + 1)}
    start = forged(PLAIN | {"years": years, "capacity": 1 << 30}).ljust(START, b"\0")
    assert read_head(start, IDENTITY) is None


@pytest.mark.parametrize(("seq", "is_one"), [(1 << 62, True), ((1 << 62) + 1, False)])
def test_a_columnar_header_with_a_sequence_number_too_large_is_ignored(
    seq: int, is_one: bool
) -> None:
    start = forged(PLAIN, seq).ljust(START, b"\0")
    assert (read_head(start, IDENTITY) is not None) is is_one


def test_a_columnar_header_of_the_largest_size_is_read_and_a_larger_one_rejected() -> None:
    head = Head("", 1, BLOCK, {2024: ColumnSource(5, 1, "00", 1, 1, False)})
    longest = replace(head, id="x" * (SLOT - len(head.to_bytes())))
    assert read_head(longest.to_bytes().ljust(START, b"\0"), longest.id) == longest
    with pytest.raises(ValueError, match="does not fit"):
        replace(longest, id=longest.id + "x").to_bytes()


def test_the_largest_sequence_number_does_not_prevent_an_append(tmp_path: Path) -> None:
    content = filled(tmp_path, 100)
    head = head_of(content)
    (length,) = struct.unpack_from("<I", content, head.slot_at + 16)
    text = content[head.slot_at + 24 : head.slot_at + 24 + length]
    slot = forged(text, (1 << 64) - 2 + head.seq % 2)
    renewed(columns_file(tmp_path), content[: head.slot_at] + slot.ljust(SLOT, b"\0")
            + content[head.slot_at + SLOT :])  # fmt: skip
    store_in(tmp_path).commit(MINUTES, Commit((minutes(100, 110),)))
    store = store_in(tmp_path, columnar="map")
    assert same(store.read(MINUTES, EVER)[0], table(range(110), size=MINUTE_MS))


# --- files that change behind its back ------------------------------------------------------


def test_a_year_file_rewritten_to_the_same_size_is_read_again(tmp_path: Path) -> None:
    store = store_in(tmp_path, columnar="map")
    store.commit(DAILY, Commit((piece(0, 4),)))
    store.read(DAILY, EVER)
    path = lane_folder(tmp_path) / "2024.csv.gz"
    size, found = path.stat().st_size, 0
    for n in range(30):
        shift = (n + 1) / 10
        store.commit(DAILY, Commit((piece(0, 4, shift=shift),)))
        before, size = size, path.stat().st_size
        found += size == before
        for reader in (store, store_in(tmp_path, columnar="map")):
            assert same(reader.read(DAILY, EVER)[0], table(range(4), shift))
    assert found, "none of them had the same size"


Action = Callable[[Path, bytes], None]


def _replaced(path: Path, content: bytes) -> None:
    other = path.with_name("other")
    other.write_bytes(content)
    other.replace(path)


def _in_place(path: Path, content: bytes) -> None:
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()


CHANGES: dict[str, tuple[bool, Action]] = {
    "other bytes, at another time": (False, _in_place),
    "another file of the same time": (True, _replaced),
    "a shorter file of the same time": (True, lambda path, data: _in_place(path, data[:-30])),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_year_file_that_changed_after_verification_is_verified_again(
    tmp_path: Path, name: str
) -> None:
    keeps_time, change = CHANGES[name]
    store = store_in(tmp_path, columnar="map")
    store.commit(DAILY, Commit((piece(0, 9),)))
    store.read(DAILY, EVER)
    path = lane_folder(tmp_path) / "2024.csv.gz"
    facts, damaged = path.stat(), bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    change(path, bytes(damaged))
    if keeps_time:
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert numbers(store.read(DAILY, EVER)[0]) == []  # what cannot be had again is not made up


def test_damage_with_an_unchanged_modification_time_changes_no_answer(tmp_path: Path) -> None:
    store = store_in(tmp_path, columnar="map")
    store.commit(DAILY, Commit((piece(0, 9),)))
    store.read(DAILY, EVER)
    path = lane_folder(tmp_path) / "2024.csv.gz"
    facts, damaged = path.stat(), bytearray(path.read_bytes())
    damaged[-40] ^= 1
    _in_place(path, bytes(damaged))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    for reader in (store, store_in(tmp_path, columnar="map")):
        assert same(reader.read(DAILY, EVER)[0], table(range(9)))


@pytest.mark.parametrize("years", [[2022], [2023], [2024], [2022, 2024]])
@MODES
def test_years_cleared_and_filled_with_other_bars_return_the_new_bars(
    tmp_path: Path, mode: str, years: list[int]
) -> None:
    store = store_in(tmp_path, columnar=mode)
    store.commit(DAILY, Commit((piece(-500, 200),)))
    store.read(DAILY, EVER)
    assert store.clear_years(DAILY, years) == len(years)
    assert not list((tmp_path / "_columnar").rglob("*.bars")), "deleted rows are still there"
    for reader in (store, store_in(tmp_path, columnar=mode)):
        assert same(reader.read(DAILY, EVER)[0], store_in(tmp_path).read(DAILY, EVER)[0])
    store.commit(DAILY, Commit((piece(-500, 200, range(-500, 200, 3), shift=2.0),)))
    for reader in (store, store_in(tmp_path, columnar=mode)):
        assert same(reader.read(DAILY, EVER)[0], table(range(-500, 200, 3), 2.0))


# --- files that are replaced while they are used --------------------------------------------


def made(path: Path, rows: BarTable) -> ColumnarFile:
    """Write a columnar file of one year and open it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = Part(ColumnSource(len(rows), 5, "ab", 1, 1, False), rows)
    write_new(Disk(), path, IDENTITY, None, {2024: part})
    file = open_columns(Disk(), path, IDENTITY, may_map=True)
    assert file is not None
    return file


def test_an_open_columnar_file_is_read_after_another_file_took_its_name(tmp_path: Path) -> None:
    rows = 30_000
    path, truth = tmp_path / "x.bars", table(range(rows), size=MINUTE_MS)
    file = made(path, truth)
    other = made(path, table(range(rows), 7.0, size=MINUTE_MS))
    span = Span(at(0, MINUTE_MS), at(rows, MINUTE_MS))
    assert same(file.table(span, [2024]), truth)
    assert other.table(span, [2024]).close[0] == truth.close[0] + 7.0
    path.unlink()
    assert same(file.table(span, [2024]), truth)


def test_no_rows_are_appended_to_another_file_with_the_same_name(tmp_path: Path) -> None:
    path = tmp_path / "x.bars"
    file = made(path, table(range(10), size=MINUTE_MS))
    made(path, table(range(10), 7.0, size=MINUTE_MS))
    before = path.read_bytes()
    part = Part(ColumnSource(12, 6, "cd", 1, 1, False), table(range(10, 12), size=MINUTE_MS))
    assert not append_rows(Disk(), file, 2024, part)
    assert path.read_bytes() == before


def test_columns_are_not_written_while_another_process_holds_the_lock(tmp_path: Path) -> None:
    content = filled(tmp_path, 100)
    path = columns_file(tmp_path)
    store_in(tmp_path).commit(MINUTES, Commit((minutes(100, 110),)))
    with Disk().lock(path.parent / ".lock", 0.0):
        store = store_in(tmp_path, columnar="map")
        assert same(store.read(MINUTES, EVER)[0], table(range(110), size=MINUTE_MS))
        assert path.read_bytes() == content
    assert same(store.read(MINUTES, EVER)[0], table(range(110), size=MINUTE_MS))
    assert path.read_bytes() != content


class Meanwhile(Quick):
    """A disk on which something is done just before the n-th write to a columnar file."""

    def __init__(self, left: int, action: Callable[[], object]) -> None:
        super().__init__()
        self.left, self.action = left, action

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        if step.name == "write" and "_columnar" in step.path.parts:
            self.left -= 1
            if self.left == 0:
                self.action()
        return super().perform(step, call)


@pytest.mark.parametrize("left", [1, 4, 8])
def test_two_processes_that_append_without_a_lock_file_change_no_answer(
    tmp_path: Path, left: int
) -> None:
    filled(tmp_path, 5_000)
    path = columns_file(tmp_path)
    store_in(tmp_path).commit(MINUTES, Commit((minutes(5_000, 5_010),)))

    def other() -> None:
        (path.parent / ".lock").unlink()
        plain = store_in(tmp_path)
        plain.commit(MINUTES, Commit((minutes(5_010, 5_300),)))
        reader = store_in(tmp_path, columnar="map")
        found.append(reader.read(MINUTES, EVER)[0])

    found: list[BarTable] = []
    store = store_in(tmp_path, Meanwhile(left, other), columnar="map")
    rows, _ = store.read(MINUTES, EVER)
    assert len(rows) in (5_010, 5_300)
    last, _ = store_in(tmp_path, columnar="map").read(MINUTES, EVER)
    for some in (rows, *found, last):
        assert same(some, table(range(len(some)), size=MINUTE_MS))
    assert (len(found), len(last)) == (1, 5_300)


@pytest.mark.parametrize("left", [1, 4, 8])
def test_columns_of_a_series_cleared_while_they_were_written_are_not_used(
    tmp_path: Path, left: int
) -> None:
    store_in(tmp_path).commit(MINUTES, Commit((minutes(0, 5_000),)))

    def other() -> None:
        store_in(tmp_path, columnar="map").clear()
        store_in(tmp_path).commit(MINUTES, Commit((minutes(0, 5_000, shift=1.0),)))

    store_in(tmp_path, Meanwhile(left, other), columnar="map").read(MINUTES, EVER)
    rows, _ = store_in(tmp_path, columnar="map").read(MINUTES, EVER)
    assert same(rows, table(range(5_000), 1.0, size=MINUTE_MS))


# --- what is never done ---------------------------------------------------------------------


class Watching(Quick):
    """A disk that asserts that no write touches columns described by a header."""

    def __init__(self) -> None:
        super().__init__()
        self.appends = 0

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        if step.path.suffix == ".bars" and step.name in ("write", "truncate"):
            assert step.name == "write", "a file was truncated"
            assert step.data is not None
            head = head_of(step.path.read_bytes()[:START])
            begin, end = step.at or 0, (step.at or 0) + len(step.data)
            spoken = [(head.slot_at, head.slot_at + SLOT)]
            for name in head.columns:
                spoken.append((head.at(name, 0), head.at(name, head.rows)))
                full = head.rows // BLOCK
                spoken.append((head.checksum_at(name, 0), head.checksum_at(name, full)))
            assert not any(begin < b and a < end for a, b in spoken), "it was written to"
            self.appends += 1
        return super().perform(step, call)


def test_columns_that_a_header_describes_are_never_overwritten(tmp_path: Path) -> None:
    disk = Watching()
    store = store_in(tmp_path, disk, columnar="map")
    count, dice = 900, random.Random(8)
    store.commit(MINUTES, Commit((minutes(0, count),)))
    for _ in range(40 if FULL else 18):
        store.read(MINUTES, EVER)
        more = dice.choice([1, 1, 7, 300, 1_100])
        store.commit(MINUTES, Commit((minutes(count, count + more),)))
        count += more
        if dice.random() < 0.1:
            (lane_folder(tmp_path, MINUTES) / "2024.csv.gz").touch()
    assert same(store.read(MINUTES, EVER)[0], table(range(count), size=MINUTE_MS))
    assert disk.appends > (100 if FULL else 40)


# --- few files, no room ---------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="nobody tells which files are open")
@pytest.mark.usefixtures("small_files_are_mapped")
def test_many_frames_in_use_keep_few_files_open(tmp_path: Path) -> None:
    def work() -> None:
        import resource

        os.closerange(3, 4096)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        store = store_on(tmp_path, Quick(), columnar="map")
        keys = [SeriesKey(f"S{n}", MINUTES.timeframe) for n in range(4)]
        truth, whole = table(range(MAPPED), size=MINUTE_MS), minutes(0, MAPPED)
        for key in keys:
            store.commit(key, Commit((whole,)))
        held = [store.read(key, EVER)[0] for _ in range(14) for key in keys]
        assert all(same(rows, truth) for rows in held[::7])
        assert len(os.listdir("/proc/self/fd")) < 40

    assert ended(fork(work)) == 0


class FullDisk(Quick):
    """A disk with room for so many bytes of columns, half a write when it is full."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        if step.name == "write" and "_columnar" in step.path.parts and step.data is not None:
            self.room -= len(step.data)
            if self.room < 0:
                write, (fd, data, offset) = call.func, call.args  # type: ignore[attr-defined]
                write(fd, data[: len(data) // 2], offset)
                raise OSError(errno.ENOSPC, "made to fail")
        return super().perform(step, call)


def test_a_disk_that_fills_up_while_columns_are_written_changes_no_answer(tmp_path: Path) -> None:
    content = filled(tmp_path, 3_000)
    store_in(tmp_path).commit(MINUTES, Commit((minutes(3_000, 5_000),)))
    for room in range(0, 320_000, 24_000) if FULL else (0, 24_000, 96_000, 192_000, 312_000):
        disk = FullDisk(room)
        truth = table(range(5_000), size=MINUTE_MS)
        for store in (store_in(tmp_path, disk, columnar="map"), store_in(tmp_path, columnar="map")):
            assert same(store.read(MINUTES, EVER)[0], truth)
            assert not list((tmp_path / "_columnar").rglob("*.tmp"))
        renewed(columns_file(tmp_path), content)
    assert disk.room > 0


def test_a_temporary_file_of_a_dead_writer_is_dropped_with_the_columns(tmp_path: Path) -> None:
    filled(tmp_path, 100)
    folder = columns_file(tmp_path).parent
    (folder / ".1m.bars.7.8.9.tmp").write_bytes(b"x" * 9_000)
    store = BarStore(tmp_path, columnar="map")
    drop_derived(store.parts, Inventory(store.parts).contents().lanes, lambda lane: 0, 1 << 40)
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_column_values_equal_the_year_files_bit_for_bit(tmp_path: Path) -> None:
    odd = table(range(5_000), size=MINUTE_MS)
    odd.volume[::7] = np.nan
    odd.volume[1::7] = 5e-324
    store = store_in(tmp_path, columnar="map")
    store.commit(MINUTES, Commit((replace(minutes(0, 5_000), table=odd),)))
    plain = store_in(tmp_path).read(MINUTES, EVER)[0]
    for _ in range(2):
        assert same(store.read(MINUTES, EVER)[0], plain)


def test_columns_of_a_year_with_missing_rows_are_not_written(tmp_path: Path) -> None:
    store = store_in(tmp_path, columnar="map")
    store.commit(MINUTES, Commit((minutes(0, 50),)))
    lane = store.parts.lane(MINUTES)
    state = read_state(lane, 2024, 1.0)
    assert state is not None
    file = lane.disk.stat(lane.paths.data(2024))
    assert file is not None
    short = WholeYear(state, table(range(49), size=MINUTE_MS), file)
    store.parts.sidecars.keep(lane, {2024: short})
    assert not store.parts.sidecars.path(MINUTES).exists()
    store.parts.sidecars.keep(lane, {2024: short._replace(table=table(range(50), size=MINUTE_MS))})
    assert store.parts.sidecars.path(MINUTES).exists()
