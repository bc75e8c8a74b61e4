"""Tests the findings of a check and their repair; both must agree."""

from __future__ import annotations

import gzip
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from src.data.core.cache.format.documents import dump_meta, load_meta
from src.data.core.cache.recovery.check import (
    Finding,
    check_actions,
    check_series,
    same_bits,
    waiting,
)
from src.data.core.cache.recovery.recover import examine
from src.data.core.cache.store import BarStore, Commit, CommitPiece
from src.data.core.cache.upkeep.maintenance import repair_series
from src.data.core.disk.files import Disk
from src.data.core.model.market.actions import Action
from src.data.core.model.market.bars import BarTable
from src.data.core.model.stored.coverage import Coverage
from tests.core.cache.bars import (
    DAILY,
    EVER,
    days,
    lane_folder,
    mark,
    numbers,
    piece,
    same,
    store_in,
    table,
)
from tests.core.cache.damage import DATA, META, change, flipped, quarantined, three_members

HOUR_S = 3600


def make_hour_old(folder: Path) -> Path:
    """Let all files be an hour old: no commit is on its way any more."""
    for path in folder.iterdir():
        then = path.stat().st_mtime - HOUR_S
        os.utime(path, (then, then))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the lane folder of three members with the bars 0 to 7, of which some hours went by."""
    return make_hour_old(three_members(tmp_path))


def store_of(folder: Path, **other: object) -> BarStore:
    return store_in(folder.parents[2], **other)


def found(folder: Path, **other: object) -> list[Finding]:
    return check_series(store_of(folder, **other).parts, DAILY)


def contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def repaired(folder: Path, **other: object) -> tuple[list[Finding], list[Finding]]:
    shop = store_of(folder, **other).parts
    return repair_series(shop, shop.lane(DAILY))


def test_a_sound_year_file_has_no_findings(folder: Path) -> None:
    assert found(folder) == []
    assert repaired(folder) == ([], [])


# --- one kind of damage after another ------------------------------------------------------


def _bit_flipped(folder: Path) -> None:
    change(folder / DATA, lambda data: flipped(data, len(data) // 2))


def _tail_lost(folder: Path) -> None:
    change(folder / DATA, lambda data: data[:-20])


def _torn(folder: Path) -> None:
    change(folder / DATA, lambda data: data + b"\x1f\x8b\x08\x04 torn")


def _data_gone(folder: Path) -> None:
    (folder / DATA).unlink()


def _metadata_gone(folder: Path) -> None:
    (folder / META).unlink()


def _metadata_flipped(folder: Path) -> None:
    change(folder / META, lambda data: flipped(data, 200))


def _metadata_of_before(folder: Path) -> None:
    before = (folder / META).read_bytes()
    store_of(folder).commit(DAILY, Commit((piece(8, 10),)))
    (folder / META).write_bytes(before)


def _series_flipped(folder: Path) -> None:
    store_of(folder).commit(DAILY, Commit(next_due=1))
    change(folder / "series.json", lambda data: flipped(data, 100))


def _coverage_lost(folder: Path) -> None:
    """Let sealed metadata know less than the file holds, as a mistake of a program would."""
    lane = store_of(folder).parts.lane(DAILY)
    meta = load_meta((folder / META).read_bytes(), _identity(lane))
    less = Coverage(meta.state.coverage.within(days(0, 4)))
    meta = meta.replaced(state=meta.state.replaced(coverage=less))
    (folder / META).write_bytes(dump_meta(meta, DAILY, 2024))


def _identity(lane: object) -> str:
    from src.data.core.cache.format.gzip_member import file_id

    return file_id(DAILY, 2024)


DAMAGE: list[tuple[Callable[[Path], None], str, str, list[int]]] = [
    (_bit_flipped, "2024", "damaged at byte", [0, 1, 2, 3, 5]),
    (_tail_lost, "2024", "damaged at byte", [0, 1, 2, 3, 4]),
    (_torn, "2024", "an interrupted append", [0, 1, 2, 3, 4, 5]),
    (_data_gone, "2024", "the data file is gone, and 6 bars with it", []),
    (_metadata_gone, "2024", "there are no metadata", [0, 1, 2, 3, 4, 5]),
    (_metadata_flipped, "2024", "the metadata are damaged", [0, 1, 2, 3, 4, 5]),
    (_metadata_of_before, "2024", "so not read: 2 bars", [0, 1, 2, 3, 4, 5, 8, 9]),
    (_series_flipped, "series.json", "digest", [0, 1, 2, 3, 4, 5]),
    (_coverage_lost, "2024", "do not list 2 bars in the file", [0, 1, 2, 3, 4, 5]),
]


@pytest.mark.parametrize("damage, where, what, left", DAMAGE, ids=[d[0].__name__ for d in DAMAGE])
def test_damage_is_found_reported_and_repaired(
    folder: Path, damage: Callable[[Path], None], where: str, what: str, left: list[int]
) -> None:
    held = numbers(store_of(folder).read(DAILY, EVER)[0])
    assert held[:6] == [0, 1, 2, 3, 4, 5]
    damage(folder)
    make_hour_old(folder)
    before = contents(folder)
    (one,) = found(folder)
    assert contents(folder) == before, "a check changes nothing"
    assert (one.symbol, one.timeframe, one.where) == ("AAPL", "1d", where)
    assert what in one.what
    assert one.to_json()["repairable"] is True
    assert repaired(folder) == ([one], [])
    assert found(folder) == []
    rows, coverage = store_of(folder).read(DAILY, EVER)
    assert numbers(rows) == left
    assert same(rows, table(left)) or not left
    known = [c.span for c in coverage if c.state != "empty"]
    assert all(any(int(stamp) in span for span in known) for stamp in rows.stamps)


def test_the_remedy_contains_the_number_of_lost_bars(folder: Path) -> None:
    _bit_flipped(folder)
    (one,) = found(folder)
    assert "its replacement has 5 bars; to be fetched again: 1 bar" in one.remedy
    whole = (folder / DATA).read_bytes()
    repaired(folder)
    assert quarantined(folder)[0].read_bytes() == whole, "the damaged file is kept whole"


def test_an_unfinished_commit_is_not_reported_as_damage(folder: Path) -> None:
    _metadata_of_before(folder)
    assert found(folder) == [], "the writer has not finished"
    assert waiting(store_of(folder).parts, [(DAILY, None)]) == []
    make_hour_old(folder)
    assert waiting(store_of(folder).parts, [(DAILY, None)]) == [(DAILY, 2024)]
    _, left = repaired(folder)
    assert left == []
    assert waiting(store_of(folder).parts, [(DAILY, None)]) == []


def test_repair_includes_bars_of_a_recent_file(folder: Path) -> None:
    _metadata_of_before(folder)
    assert numbers(store_of(folder).read(DAILY, EVER)[0]) == [0, 1, 2, 3, 4, 5], "not read"
    (one,), left = repaired(folder)
    assert ("2 bars" in one.what, left) == (True, [])
    assert numbers(store_of(folder).read(DAILY, EVER)[0]) == [0, 1, 2, 3, 4, 5, 8, 9]


class Interrupting(Disk):
    """A disk on which another process commits between two looks of ours."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.times = 1

    def read_if_exists(self, path: Path) -> bytes | None:
        content = super().read_if_exists(path)
        if path.name == DATA and self.times:
            self.times -= 1
            store_of(self.folder).commit(DAILY, Commit((piece(0, 1, shift=2.0),)))
        return content


def test_a_commit_during_a_check_is_not_reported_as_damage(folder: Path) -> None:
    disk = Interrupting(folder)
    assert found(folder, disk=disk) == []
    assert disk.times == 0


class HalfWay(Disk):
    """A disk on which the data are read while another process is half way through a commit."""

    def __init__(self, folder: Path, more: CommitPiece | None = None) -> None:
        super().__init__()
        self.folder = folder
        self.more = more or piece(8, 10)
        self.times = 1

    def read_if_exists(self, path: Path) -> bytes | None:
        if path.name != DATA or not self.times:
            return super().read_if_exists(path)
        self.times -= 1
        before = super().read_if_exists(path)
        store_of(self.folder).commit(DAILY, Commit((self.more,)))
        whole = super().read_if_exists(path)
        assert whole is not None
        return None if before is None else whole[: (len(before) + len(whole)) // 2]


def test_a_file_read_during_an_append_is_not_reported_as_damaged(folder: Path) -> None:
    disk = HalfWay(folder)
    assert found(folder, disk=disk) == []
    assert disk.times == 0
    make_hour_old(folder)
    lane = store_of(folder, disk=HalfWay(folder, piece(10, 12))).parts.lane(DAILY)
    assert examine(lane, 2024).case == "torn", "the document is older than the data"


def test_a_first_year_file_that_is_written_during_a_check_is_not_reported_missing(
    folder: Path,
) -> None:
    (folder / DATA).unlink()
    repaired(folder)
    assert (make_hour_old(folder) / META).exists()
    assert not (folder / DATA).exists()
    disk = HalfWay(folder)
    assert found(folder, disk=disk) == []
    assert disk.times == 0


def test_a_year_deleted_during_a_check_is_not_reported_as_missing(folder: Path) -> None:
    class Deleting(Disk):
        def read_if_exists(self, path: Path) -> bytes | None:
            if path.name == DATA:
                store_of(folder).clear("AAPL")
            return super().read_if_exists(path)

    assert found(folder, disk=Deleting()) == []
    assert not (folder / META).exists()


def test_a_year_that_changes_at_each_read_has_no_findings(folder: Path) -> None:
    class Restless(Disk):
        looks = 0

        def read_if_exists(self, path: Path) -> bytes | None:
            content = super().read_if_exists(path)
            if path.name != DATA or content is None:
                return content
            self.looks += 1
            os.utime(path, (self.looks, self.looks))
            return flipped(content, len(content) // 2)

    disk = Restless()
    assert found(folder, disk=disk) == []
    assert 1 < disk.looks < 9


def test_a_year_of_a_newer_format_is_not_changed(folder: Path) -> None:
    change(folder / META, lambda data: _resealed(data, need=["more"]))
    before = contents(folder)
    (one,), left = repaired(folder)
    assert (one.cure, left) == ("none", [one])
    assert one.what.startswith("metadata have the unknown format"), "the error names the series"
    assert contents(folder) == before


def _of_format_two(data: bytes) -> bytes:
    from src.data.core.cache.format import json_document

    return json_document.dump(json_document.load(data) | {"format": 2})


def test_a_series_document_of_a_newer_format_is_reported_and_unchanged(folder: Path) -> None:
    store_of(folder).commit(DAILY, Commit(next_due=7))
    change(folder / "series.json", _of_format_two)
    before = contents(folder)
    (one,), left = repaired(folder)
    assert (one.where, one.cure, left) == ("series.json", "none", [one])
    assert one.remedy == "update this library"
    assert one.to_json()["symbol"] == "AAPL"
    assert one.to_json()["repairable"] is False
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("name", "edit"),
    [(DATA, None), (META, None), (META, lambda _: b"{}"),
     (META, lambda data: _resealed(data, need=["more"]))],
    ids=["no data", "no metadata", "damaged", "newer"],
)  # fmt: skip
def test_a_year_without_readable_metadata_or_data_is_not_reported_as_waiting(
    folder: Path, name: str, edit: Callable[[bytes], bytes] | None
) -> None:
    assert waiting(store_of(folder).parts, [(DAILY, None)]) == []
    if edit is None:
        (folder / name).unlink()
    else:
        change(folder / name, edit)
    assert waiting(store_of(make_hour_old(folder)).parts, [(DAILY, None)]) == []


def test_a_file_longer_than_recorded_by_its_pending_state_is_not_reported_as_waiting(
    folder: Path,
) -> None:
    lane = store_of(folder).parts.lane(DAILY)
    meta = lane.meta(2024)
    assert meta is not None
    shorter = meta.state.replaced(size=100)
    lane.write_meta(2024, meta.replaced(state=shorter, pending=meta.state), durable=True)
    assert waiting(store_of(make_hour_old(folder)).parts, [(DAILY, None)]) == []
    lane.write_meta(2024, meta.replaced(state=shorter.replaced(size=0)), durable=True)
    assert waiting(store_of(make_hour_old(folder)).parts, [(DAILY, None)]) == []


def _resealed(data: bytes, **more: object) -> bytes:
    from src.data.core.cache.format import json_document

    document = json_document.load(data)
    document["onetape"] |= more
    return json_document.dump(document)


def test_only_an_unreadable_file_of_an_older_tool_is_a_finding(
    tmp_path: Path,
) -> None:
    folder = lane_folder(tmp_path)
    folder.mkdir(parents=True)
    text = b"timestamp,open,high,low,close,volume\n2024-01-02,1,2,1,2,5\n2024-01-03,1,2,1,2,5\n"
    (folder / DATA).write_bytes(gzip.compress(text))
    (folder / META).write_text('{"data_source": "tool"}')
    assert found(make_hour_old(folder)) == []
    (folder / DATA).write_bytes(b"no gzip at all")
    (one,) = found(folder)
    assert (one.cure, "cannot be read" in one.what) == ("recover", True)


# --- actions -------------------------------------------------------------------------------


def test_damaged_actions_are_reported_with_a_remedy(folder: Path) -> None:
    from datetime import date

    store = store_of(folder)
    split = Action(date(2024, 6, 10), "split", 0, numerator=10, denominator=1, source="acme")
    store.add_actions("AAPL", [split], EVER, "acme", 1)
    assert check_actions(store.parts, "AAPL") == []
    change(folder.parent / "actions.json", lambda data: flipped(data, 150))
    (one,) = check_actions(store_of(folder).parts, "AAPL")
    assert (one.where, one.cure) == ("actions.json", "none")
    assert "onetape fetch AAPL 1d --refresh" in one.remedy


def test_missing_actions_and_actions_of_a_newer_format_are_not_damage(folder: Path) -> None:
    store = store_of(folder)
    assert check_actions(store.parts, "AAPL") == []
    store.add_actions("AAPL", [], EVER, "acme", 1)
    change(folder.parent / "actions.json", _of_format_two)
    (one,) = check_actions(store_of(folder).parts, "AAPL")
    assert (one.where, one.remedy, one.cure) == ("actions.json", "update this library", "none")


# --- the columnar file ---------------------------------------------------------------------


@pytest.fixture
def columns(folder: Path) -> Path:
    """Return the columnar file, made by a reader."""
    store = store_of(folder, columnar="map")
    store.read(DAILY, EVER)
    return store.parts.sidecars.path(DAILY)


def test_correct_columns_have_no_findings(folder: Path, columns: Path) -> None:
    assert columns.exists()
    assert found(folder) == []


def test_columns_of_an_older_state_are_not_a_finding(folder: Path, columns: Path) -> None:
    store_of(folder).commit(DAILY, Commit((piece(1, 2, shift=1.0),)))
    assert found(folder) == []


@pytest.mark.parametrize(
    ("name", "edit"),
    [(DATA, lambda data: flipped(data, 700)), (META, lambda _: b"{}"),
     (META, lambda data: _resealed(data, need=["more"]))],
    ids=["data", "metadata", "newer"],
)  # fmt: skip
def test_a_damaged_year_is_not_reported_as_damage_in_its_columns(
    folder: Path, columns: Path, name: str, edit: Callable[[bytes], bytes]
) -> None:
    change(folder / name, edit)
    assert [one.where for one in found(make_hour_old(folder))] == ["2024"]


def test_columns_of_a_deleted_year_are_not_a_finding(folder: Path, columns: Path) -> None:
    for name in (DATA, META):
        (folder / name).unlink()
    assert columns.exists()
    assert found(folder) == []


@pytest.mark.parametrize("at, said", [(40, "cannot be read"), (20_000, "damaged")])
def test_damaged_columns_are_dropped(folder: Path, columns: Path, at: int, said: str) -> None:
    if at < 16384:
        change(columns, lambda data: bytes(16384) + data[16384:])
    else:
        start = 16384
        change(columns, lambda data: data[:start] + bytes([data[start] ^ 1]) + data[start + 1 :])
    (one,) = found(folder)
    assert (one.where, said in one.what) == ("columns", True)
    repaired(folder)
    assert not columns.exists()
    assert found(folder) == []


def test_columns_that_differ_from_the_bars_are_dropped(folder: Path, columns: Path) -> None:
    """A file that is sound in itself, made of other bars: only the comparison finds it."""
    other = folder.parents[3] / "other"
    liar = store_in(other, columnar="map")
    liar.commit(DAILY, Commit((piece(0, 6, shift=0.5),)))
    liar.read(DAILY, EVER)
    from src.data.core.cache.format.columnar import ColumnSource, Part
    from src.data.core.cache.format.gzip_member import file_id
    from src.data.core.cache.read.columnar_reader import open_columns
    from src.data.core.cache.read.columnar_writer import write_new

    true = open_columns(Disk(), columns, file_id(DAILY, 0), may_map=False)
    assert true is not None
    source = ColumnSource(*true.head.years[2024])
    columns.unlink()
    lies = Part(source, table(range(6), 0.5))
    write_new(Disk(), columns, file_id(DAILY, 0), None, {2024: lies})
    (one,) = found(folder)
    assert "differs from the bars of 2024" in one.what


def test_same_bits_compares_signs_of_zero_and_missing_values() -> None:
    one = table(range(3))
    assert same_bits(one, table(range(3)))
    assert not same_bits(one, table(range(1, 4)))
    assert not same_bits(one, table(range(4)))
    assert not same_bits(one, replace(one, stamps=one.stamps + 1))
    unknown = replace(one, volume=one.volume * math.nan)
    negative = replace(one, volume=-unknown.volume)
    assert not same_bits(one, unknown)
    assert not same_bits(unknown, one)
    assert same_bits(unknown, negative), "nothing is nothing, whatever its sign"
    assert not same_bits(one, table(range(3), adj=True))
    zero, minus = one.volume * 0, one.volume * -0.0
    assert not same_bits(replace(one, volume=zero), replace(one, volume=minus))
    assert same_bits(BarTable.empty(), BarTable.empty())


def test_a_year_with_only_an_empty_mark_has_no_findings(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 2),), (mark(2, 9, "empty"),)))
    assert check_series(store.parts, DAILY) == []
