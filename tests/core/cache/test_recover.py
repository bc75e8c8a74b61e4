"""Tests the recovery of torn, damaged and lost files, one documented rule at a time."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from src.data.core.cache.format.gzip_member import Header, build, find, verify
from src.data.core.cache.format.json_document import dump, load
from src.data.core.cache.recovery.recover import recover, sound_meta
from src.data.core.cache.store import Commit
from src.data.core.model.stored.coverage import Covered
from tests.core.cache.bars import (
    BASIS,
    DAILY,
    EVER,
    KIND,
    NOW,
    at,
    lane_folder,
    mark,
    no_temps,
    numbers,
    piece,
    repaired,
    same,
    states,
    store_in,
    table,
    write_older_year,
)
from tests.core.cache.counts import FULL
from tests.core.cache.damage import (
    DATA,
    LOG,
    META,
    bars,
    change,
    flipped,
    fresh,
    members,
    quarantined,
    three_members,
)
from tests.core.cache.disks import HoldingDisk, RecordingDisk


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of AAPL 1d: bars 0 to 4, provisional bar 5, and an empty span."""
    return three_members(tmp_path)


def generation(folder: Path) -> int:
    return int(json.loads((folder / META).read_bytes())["onetape"]["generation"])


def documents(folder: Path) -> list[bytes]:
    """Return the damaged metadata that were kept aside."""
    return [path.read_bytes() for path in folder.glob("_quarantine/*.metadata.json")]


class TestLongerThanRecorded:
    def test_a_commit_adopts_sound_members_after_the_recorded_end(self, folder: Path) -> None:
        old = (folder / META).read_bytes()
        fresh(folder).commit(DAILY, Commit((piece(8, 10),)))
        (folder / META).write_bytes(old)
        assert bars(folder) == [0, 1, 2, 3, 4, 5]  # a reader does not look behind
        fresh(folder).commit(DAILY, Commit((piece(10, 11),)))
        assert bars(folder) == [0, 1, 2, 3, 4, 5, 8, 9, 10]
        assert (6, 8, "empty") in states(fresh(folder))
        assert quarantined(folder) == []

    def test_a_torn_tail_is_quarantined_and_cut_off(self, folder: Path) -> None:
        whole = (folder / DATA).read_bytes()
        tail = members(folder)[1][1].raw[:-1]
        change(folder / DATA, lambda data: data + tail)
        disk = RecordingDisk()
        assert repaired(fresh(folder, disk), DAILY).rows == 6
        assert (folder / DATA).read_bytes() == whole
        (kept,) = quarantined(folder)
        assert kept.read_bytes() == tail
        why = load(kept.with_name(kept.name + ".json").read_bytes())
        assert why["reason"] == "torn tail of an append"
        # The served bytes are synced first, and the quarantined tail is synced before it is cut off.
        done = [name for name in disk.names() if name != "write"]
        assert done[:3] == ["fsync", "fsync_dir", "mkdir"]
        assert done.index("truncate") > done.index("fsync", 2)
        assert done[done.index("truncate") + 1] == "fsync"

    @pytest.mark.parametrize("tail", ["other_id", "unchained"])
    def test_foreign_members_after_the_recorded_end_are_not_adopted(
        self, folder: Path, tail: str
    ) -> None:
        last = members(folder)[-1][1]
        header = replace(last.header, id="0" * 16) if tail == "other_id" else last.header
        foreign = build(replace(header, prev=last.digest[:16]), last.text())
        if tail == "unchained":
            foreign = build(replace(header, prev="f" * 16), last.text())
        changed = change(folder / DATA, lambda data: data + foreign.raw)
        repaired(fresh(folder), DAILY)
        assert bars(folder) == [0, 1, 2, 3, 4, 5]
        # It verifies, so it is not cut off in place: the file is kept whole.
        (kept,) = quarantined(folder)
        assert kept.read_bytes() == changed


class TestMetadataLost:
    @pytest.mark.parametrize("loss", [b"", b"{}", b"[1]", b"\xff\xfe", None])
    def test_lost_metadata_are_rebuilt_from_the_bars(
        self, folder: Path, loss: bytes | None
    ) -> None:
        data = (folder / DATA).read_bytes()
        (folder / META).unlink()
        if loss is not None:
            (folder / META).write_bytes(loss)
        assert bars(folder) == [0, 1, 2, 3, 4, 5]
        assert states(fresh(folder)) == [
            (0, 4, "final"), (4, 5, "final"), (5, 6, "provisional"),
        ]  # fmt: skip
        assert (folder / DATA).read_bytes() == data
        assert documents(folder) == ([] if loss is None else [loss])
        assert generation(folder) == 5  # the log lists four commits

    def test_a_commit_rebuilds_lost_metadata_before_it_appends(self, folder: Path) -> None:
        (folder / META).unlink()
        fresh(folder).commit(DAILY, Commit((piece(6, 7),)))
        assert bars(folder) == [0, 1, 2, 3, 4, 5, 6]

    def test_bars_survive_the_loss_of_document_and_log(self, folder: Path) -> None:
        (folder / META).unlink()
        (folder / LOG).unlink()
        assert bars(folder) == [0, 1, 2, 3, 4, 5]
        assert generation(folder) == 4  # the members contain three

    def test_holes_are_still_missing_after_the_metadata_are_rebuilt(self, folder: Path) -> None:
        holes = (mark(9, 10, "empty").span,)
        fresh(folder).commit(DAILY, Commit((piece(8, 12, [8, 10, 11], holes=holes),)))
        (folder / META).unlink()
        assert states(fresh(folder))[-2:] == [(8, 9, "final"), (10, 12, "final")]

    def test_garbage_at_the_end_is_not_cut_if_the_recorded_size_is_lost(self, folder: Path) -> None:
        (folder / META).unlink()
        inode = (folder / DATA).stat().st_ino
        changed = change(folder / DATA, lambda data: data + b"garbage")
        assert bars(folder) == [0, 1, 2, 3, 4, 5]
        (kept,) = quarantined(folder)
        assert (kept.read_bytes(), kept.stat().st_ino) == (changed, inode)

    def test_metadata_copied_from_another_year_are_not_used(self, folder: Path) -> None:
        fresh(folder).commit(DAILY, Commit((piece(-5, 0),)))
        shutil.copy(folder / "2023.metadata.json", folder / META)
        rows, coverage = fresh(folder).read(DAILY, EVER)
        assert numbers(rows) == [-5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5]
        assert all(c.state != "empty" for c in coverage)

    def test_a_damaged_document_without_a_year_file_leaves_an_empty_series(
        self, folder: Path
    ) -> None:
        (folder / DATA).unlink()
        (folder / META).write_bytes(b"{}")
        assert bars(folder) == []
        assert documents(folder) == [b"{}"]
        assert not (folder / META).exists()
        assert not fresh(folder).view(DAILY).coverage

    def test_a_file_that_an_older_tool_writes_later_is_converted(self, folder: Path) -> None:
        (folder / DATA).unlink()
        assert bars(folder) == []
        # Our metadata, which record an empty span and no data file.
        metadata = (folder / META).read_bytes()
        write_older_year(folder)
        older_data = (folder / DATA).read_bytes()
        (folder / META).write_bytes(metadata)
        recover(fresh(folder).parts.lane(DAILY), 2024)
        assert (folder / "_legacy" / DATA).read_bytes() == older_data
        assert bars(folder) == [0, 1, 2, 3, 4]
        assert quarantined(folder) == []


class TestDataDamaged:
    def test_bars_of_a_cut_off_tail_are_missing_from_rows_and_coverage(self, folder: Path) -> None:
        end = members(folder)[1][0]
        change(folder / DATA, lambda data: data[:end])
        assert bars(folder) == [0, 1, 2, 3]
        assert states(fresh(folder)) == [(0, 4, "final"), (6, 8, "empty")]
        assert quarantined(folder) == []

    def test_bars_of_a_deleted_file_are_missing_from_rows_and_coverage(self, folder: Path) -> None:
        (folder / DATA).unlink()
        assert bars(folder) == []
        assert states(fresh(folder)) == [(6, 8, "empty")]
        fresh(folder).commit(DAILY, Commit((piece(0, 2),)))
        assert bars(folder) == [0, 1]

    @pytest.mark.parametrize(
        "place, left", [(0, [4, 5]), (1, [0, 1, 2, 3, 5]), (2, [0, 1, 2, 3, 4])]
    )
    @pytest.mark.parametrize("where", [0, 3, 17, 25, 60, -3])
    def test_a_damaged_member_between_sound_ones_loses_only_its_bars(
        self, folder: Path, place: int, left: list[int], where: int
    ) -> None:
        at, member = members(folder)[place]
        inode = (folder / DATA).stat().st_ino
        bad = at + (where if where >= 0 else len(member.raw) + where)
        changed = change(folder / DATA, lambda data: flipped(data, bad))
        assert bars(folder) == left
        (kept,) = quarantined(folder)
        assert (kept.read_bytes(), kept.stat().st_ino) == (changed, inode)
        found = members(folder)
        assert found[0][1].text().startswith(b"timestamp,open,high,low,close,volume\n")
        assert found[-1][0] + len(found[-1][1].raw) == (folder / DATA).stat().st_size
        assert all(c[2] != "final" or set(range(c[0], c[1])) <= set(left)
                   for c in states(fresh(folder)))  # fmt: skip
        assert no_temps(folder)
        fresh(folder).commit(DAILY, Commit((piece(0, 6),)))
        assert bars(folder) == [0, 1, 2, 3, 4, 5]

    def test_bars_are_not_appended_to_a_member_that_differs_from_its_record(
        self, folder: Path
    ) -> None:
        at, _ = members(folder)[-1]
        change(folder / DATA, lambda data: flipped(data, at + 25))  # in its digest
        fresh(folder).commit(DAILY, Commit((piece(8, 9),)))
        assert len(quarantined(folder)) == 1
        assert bars(folder) == [0, 1, 2, 3, 4, 8]

    def test_a_repair_replaces_the_data_file_without_removing_its_name(self, folder: Path) -> None:
        change(folder / DATA, lambda data: flipped(data, 60))
        disk = RecordingDisk()
        fresh(folder, disk).read(DAILY, EVER)
        touched = [s for s in disk.steps if s.path.name == DATA and s.name in ("unlink", "replace")]
        assert touched == []  # nothing takes the name away; the new file takes it over
        assert [s.name for s in disk.steps if s.target and s.target.name == DATA] == ["replace"]

    def test_suspect_marks_survive_a_repair(self, folder: Path) -> None:
        fresh(folder).commit(DAILY, Commit(marks=(mark(0, 5, "suspect", reason="split"),)))
        at, _ = members(folder)[-1]
        change(folder / DATA, lambda data: flipped(data, at + 60))
        assert bars(folder) == [0, 1, 2, 3, 4]
        assert (0, 4, "suspect") in states(fresh(folder))

    def test_a_year_file_without_a_sound_member_is_quarantined_whole(self, folder: Path) -> None:
        changed = change(folder / DATA, lambda data: bytes(len(data)))
        assert bars(folder) == []
        assert quarantined(folder)[0].read_bytes() == changed
        fresh(folder).commit(DAILY, Commit((piece(2, 4),)))
        assert bars(folder) == [2, 3]

    def test_the_year_file_of_another_symbol_is_quarantined(
        self, folder: Path, tmp_path: Path
    ) -> None:
        other = replace(DAILY, symbol="MSFT")
        store = store_in(tmp_path)
        store.commit(other, Commit((piece(0, 6, shift=7.0),)))
        for name in (DATA, META):
            shutil.copy(lane_folder(tmp_path, other) / name, folder / name)
        assert bars(folder) == []
        assert len(quarantined(folder)) == 1

    def test_a_file_mixed_from_two_versions_has_no_made_up_bar(self, folder: Path) -> None:
        old = (folder / DATA).read_bytes()
        first = members(folder)[0][1]
        fresh(folder).commit(DAILY, Commit((piece(0, 2, shift=1.0),)))
        new = (folder / DATA).read_bytes()
        (folder / DATA).write_bytes(first.raw + new[len(first.raw) :])
        rows, _ = fresh(folder).read(DAILY, EVER)
        truths = {float(v) for shift in (0.0, 1.0) for v in table(range(6), shift).close}
        assert set(rows.close.tolist()) <= truths
        assert old.startswith(first.raw)

    def test_a_year_file_truncated_anywhere_is_recovered_up_to_the_cut(
        self, folder: Path, tmp_path: Path
    ) -> None:
        whole = (folder / DATA).read_bytes()
        ends = [at + len(m.raw) for at, m in members(folder)]
        held = dict(
            zip([0, *ends], [[], [0, 1, 2, 3], [0, 1, 2, 3, 4], list(range(6))], strict=True)
        )
        near = [end + n for end in ends for n in (-1, 0)]
        for size in sorted({*range(0, len(whole), 23 if FULL else 97), *near}):
            copy = tmp_path / f"cut{size}"
            shutil.copytree(folder, copy / "ohlcv/AAPL/1d")
            (copy / "ohlcv/AAPL/1d" / DATA).write_bytes(whole[:size])
            assert bars(copy / "ohlcv/AAPL/1d") == held[max(e for e in held if e <= size)]


def test_recovery_does_not_inflate_a_gzip_bomb(folder: Path) -> None:
    at, last = members(folder)[-1]
    bomb = build(replace(last.header, rows=1), b"0" * 50_000_000)
    with pytest.raises(ValueError, match="more than 1024 bytes"):
        bomb.text()
    modest = replace(bomb, raw=bomb.raw[:-4] + (100).to_bytes(4, "little"))
    with pytest.raises(ValueError, match="does not decompress to the expected 100 bytes"):
        modest.text()
    change(folder / DATA, lambda data: data[:at] + bomb.raw)
    assert bars(folder) == [0, 1, 2, 3, 4]


def test_the_search_for_a_member_in_garbage_is_bounded() -> None:
    header = Header("0" * 16, 1, 0, None, None, EVER, "v", 0, KIND, BASIS, "final")
    member = build(header, b"")
    fake = member.raw[:12] + b"xx"
    data = fake * 2000 + member.raw
    assert find(data, 0, tries=100) is None
    assert find(data, 0) == (len(fake) * 2000, verify(member.raw))


def test_recovery_removes_temporary_files_and_unused_versions(folder: Path) -> None:
    (folder / ".2024.csv.gz.1.2.3.tmp").write_bytes(b"x")
    (folder / "_versions").mkdir()
    os.link(folder / DATA, folder / "_versions/2024.3.csv.gz")
    repaired(fresh(folder), DAILY)
    assert no_temps(folder)
    assert list((folder / "_versions").iterdir()) == []


def test_a_stored_suspect_bar_is_written_provisional(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    doubt = Covered(piece(2, 3).span, "suspect", reason="split")
    store.commit(DAILY, Commit((piece(0, 4),), (doubt,)))
    written = [(m.header.rows, m.header.state) for _, m in members(lane_folder(tmp_path))]
    assert written == [(2, "final"), (1, "provisional"), (1, "final")]


class TestRewritePending:
    """The data equal the committed state or the pending one, and roll accordingly."""

    def pending(self, folder: Path, *, first_is_pending: bool, **facts: Any) -> None:
        """Let one of the two states be that of the data as they were, and change the other."""
        lane = fresh(folder).parts.lane(DAILY)
        meta = lane.meta(2024)
        assert meta is not None
        true = meta.state
        other = true.replaced(**facts)
        later, now = (true, other) if first_is_pending else (other, true)
        later = later.replaced(generation=true.generation + 1)
        lane.write_meta(2024, meta.replaced(state=now, pending=later), durable=True)

    def rolled(self, folder: Path) -> tuple[int, int]:
        """Return generation and bars of the only state there is after recovery."""
        found = recover(fresh(folder).parts.lane(DAILY), 2024)
        assert found is not None
        assert found.pending is None
        assert quarantined(folder) == []
        return found.state.generation, len(bars(folder))

    @pytest.mark.parametrize("first_is_pending", [False, True])
    def test_a_pending_rewrite_distinguishes_files_of_equal_size_by_their_head(
        self, folder: Path, first_is_pending: bool
    ) -> None:
        self.pending(folder, first_is_pending=first_is_pending, head="0" * 64)
        assert self.rolled(folder) == (4 + first_is_pending, 6)

    @pytest.mark.parametrize("first_is_pending", [False, True])
    def test_a_pending_rewrite_distinguishes_files_with_equal_beginnings_by_their_size(
        self, folder: Path, first_is_pending: bool
    ) -> None:
        (_, one), (at_two, two), (end, _) = members(folder)
        shorter = {"size": end, "head": two.digest, "head_at": at_two, "last": two.header.last,
                   "rows": one.header.rows + two.header.rows, "members": 2}  # fmt: skip
        self.pending(folder, first_is_pending=first_is_pending, **shorter)
        assert self.rolled(folder) == (4 + first_is_pending, 6)
        self.pending(folder, first_is_pending=first_is_pending, **shorter)
        change(folder / DATA, lambda data: data[:end])
        assert self.rolled(folder) == (5, 5)

    def test_coverage_from_before_the_first_year_file_is_kept_by_recovery(
        self, folder: Path
    ) -> None:
        (folder / DATA).unlink()
        assert self.rolled(folder) == (5, 0)
        assert states(fresh(folder)) == [(6, 8, "empty")]


class TestGenerations:
    """What was made of lost commits is not taken for what is made of the next ones."""

    def rebuilt(self, folder: Path) -> int:
        found = recover(fresh(folder).parts.lane(DAILY), 2024)
        assert found is not None
        return found.state.generation

    def test_the_generation_is_recovered_from_the_document_of_the_year(self, folder: Path) -> None:
        for name in (LOG, "series.json"):
            (folder / name).unlink(missing_ok=True)
        (folder / DATA).unlink()
        assert self.rebuilt(folder) == 5

    def test_the_generation_is_recovered_from_a_pending_rewrite(self, folder: Path) -> None:
        lane = fresh(folder).parts.lane(DAILY)
        meta = lane.meta(2024)
        assert meta is not None
        later = meta.state.replaced(generation=9, size=1)
        lane.write_meta(2024, meta.replaced(pending=later), durable=True)
        change(folder / DATA, lambda data: flipped(data, len(data) - 20))
        assert self.rebuilt(folder) == 10

    def test_the_generation_is_recovered_from_the_document_of_the_series(
        self, folder: Path
    ) -> None:
        fresh(folder).commit(DAILY, Commit(marks=(mark(8, 9, "empty"),), next_due=7))
        for name in (LOG, META):
            (folder / name).unlink()
        assert self.rebuilt(folder) == 6

    @pytest.mark.parametrize(
        "edit", [lambda _: b"{}", lambda data: dump(load(data) | {"format": 2})]
    )
    def test_an_unreadable_document_of_the_series_loses_no_bars(
        self, folder: Path, edit: Callable[[bytes], bytes]
    ) -> None:
        fresh(folder).commit(DAILY, Commit(next_due=7))
        change(folder / "series.json", edit)
        (folder / META).unlink()
        assert self.rebuilt(folder) == 5


def test_a_commit_rebuilds_a_lost_document(folder: Path) -> None:
    change(folder / META, lambda _: b"{}")
    found = sound_meta(fresh(folder).parts.lane(DAILY), 2024)
    assert found is not None
    assert (found.state.rows, found.pending) == (6, None)
    assert len(documents(folder)) == 1


def test_recovery_ends_with_an_fsync_of_the_metadata(folder: Path) -> None:
    """Suspect marks are only in the document, so its replacement must be durable."""
    old = (folder / META).read_bytes()
    fresh(folder).commit(DAILY, Commit((piece(8, 10),)))
    (folder / META).write_bytes(old)
    disk = RecordingDisk()
    repaired(fresh(folder, disk), DAILY)
    assert disk.names()[-4:] == ["write", "fsync", "replace", "fsync_dir"]


def test_adjusted_closes_are_found_without_metadata(tmp_path: Path) -> None:
    store_in(tmp_path).commit(DAILY, Commit((piece(0, 3, adj=True),)))
    (lane_folder(tmp_path) / META).unlink()
    assert same(store_in(tmp_path).read(DAILY, EVER)[0], table(range(3), adj=True))


def test_rebuilt_metadata_contain_the_time_the_bars_were_created(folder: Path) -> None:
    (folder / META).unlink()
    found = recover(fresh(folder).parts.lane(DAILY), 2024)
    assert found is not None
    assert (found.created_ms, found.updated_ms) == (at(4), NOW)


def test_a_damaged_file_is_not_kept_as_an_older_version(folder: Path) -> None:
    change(folder / DATA, lambda data: flipped(data, 700))
    repaired(fresh(folder), DAILY)
    assert len(quarantined(folder)) == 1
    assert not (folder / "_versions").exists()


def test_a_repair_leaves_no_file_open(folder: Path) -> None:
    change(folder / DATA, lambda data: data + b"torn")
    disk = HoldingDisk()
    store = fresh(folder, disk)
    repaired(store, DAILY)
    store.commit(DAILY, Commit((piece(8, 9),)))
    assert not disk.held
    assert bars(folder) == [0, 1, 2, 3, 4, 5, 8]
