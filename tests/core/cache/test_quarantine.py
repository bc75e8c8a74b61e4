"""Tests that rejected rows are kept once, and reported completely."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from src.data.core.cache.lane_files import LaneFiles
from src.data.core.cache.recovery import quarantine
from src.data.core.cache.store import Commit
from src.data.core.model.market.bars import NAN, BadRow, Bar
from src.data.core.model.time.instant import iso
from tests.core.cache.bars import DAILY, NOW, at, days, piece, store_in
from tests.core.cache.disks import RecordingDisk
from tests.effort import calls_of

BAD = BadRow(Bar(at(1), 1.0, 0.5, 2.0, NAN, 1.0, NAN), "high < low")
LATER = BadRow(Bar(at(2) + 5, 1.0, 0.5, 2.0, 1.0, 1.0, NAN), "odd")


@pytest.fixture
def lane(tmp_path: Path) -> LaneFiles:
    """Return the lane AAPL 1d, which holds the bar of 2024-01-01."""
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 1),)))
    return store.parts.lane(DAILY)


def test_equal_bytes_are_quarantined_once(lane: LaneFiles) -> None:
    for _ in range(2):
        quarantine.keep_bytes(lane, "2024.tail", b"torn", "a torn tail")
    source, copy = lane.paths.data(2024), lane.paths.folder / "copy" / "2024.csv.gz"
    copy.parent.mkdir()
    copy.write_bytes(source.read_bytes())
    for path in (source, copy):
        quarantine.keep_file(lane, path, source.read_bytes(), "damaged")
    names = [n for n in lane.disk.list(lane.paths.quarantine) if not n.endswith(".json")]
    kept = lane.paths.quarantine / next(name for name in names if name.endswith(".csv.gz"))
    assert len(names) == 2
    assert kept.stat().st_ino == source.stat().st_ino


def test_each_quarantined_file_has_a_note_with_its_reason_and_time(lane: LaneFiles) -> None:
    source = lane.paths.data(2024)
    quarantine.keep_bytes(lane, "2024.tail", b"torn", "a torn tail")
    quarantine.keep_file(lane, source, source.read_bytes(), "damaged")
    said = {}
    for path in lane.paths.quarantine.glob("*.json"):
        note = json.loads(path.read_bytes())
        assert path.name == f"{note['file']}.json"
        assert note["time"] == iso(NOW)
        said[note["reason"]] = path.with_name(note["file"]).read_bytes()
    assert said == {"a torn tail": b"torn", "damaged": source.read_bytes()}


def test_the_folder_of_a_quarantined_row_is_synced_even_if_a_killed_writer_made_it(
    tmp_path: Path, lane: LaneFiles
) -> None:
    lane.paths.quarantine.mkdir()  # and killed before its name was safe
    again = store_in(tmp_path, disk := RecordingDisk()).parts.lane(DAILY)
    quarantine.keep_rows(again, 2024, [BAD])
    synced = [step.path for step in disk.steps if step.name == "fsync_dir"]
    assert synced == [lane.paths.folder, lane.paths.quarantine]
    for _ in range(2):  # kept now, and kept by somebody who may not have come to its end
        disk.steps.clear()
        quarantine.keep_rows(again, 2024, [LATER])
        assert [s.path for s in disk.steps if s.name == "fsync_dir"] == [lane.paths.quarantine]


def test_quarantine_does_not_write_the_same_rows_twice(tmp_path: Path, lane: LaneFiles) -> None:
    quarantine.keep_rows(lane, 2024, [BAD])
    quarantine.keep_bytes(lane, "2024.tail", b"torn", "a torn tail")
    again = store_in(tmp_path, disk := RecordingDisk()).parts.lane(DAILY)
    quarantine.keep_rows(again, 2024, [BAD, BAD])
    quarantine.keep_bytes(again, "2024.tail", b"torn", "a torn tail")
    written = [step.target.name for step in disk.steps if step.target is not None]
    assert [name for name in written if not name.endswith(".json")] == []


def test_quarantined_rows_are_read_back_unchanged(lane: LaneFiles) -> None:
    quarantine.keep_rows(lane, 2024, [BAD, LATER])
    assert repr(quarantine.rows_kept(lane, 2024)) == repr([BAD, LATER])
    text = gzip.decompress(lane.paths.rows(2024).read_bytes()).decode()
    assert text.splitlines()[1:] == [
        "2024-01-02 00:00:00,1.0,0.5,2.0,,1.0,,high < low",
        "2024-01-03 00:00:00.005,1.0,0.5,2.0,1.0,1.0,,odd",
    ]


def test_the_number_of_quarantined_rows_is_bounded(
    lane: LaneFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "MOST_ROWS", 50)
    (bar,) = quarantine.withdrawn(piece(2, 3).table, "acme")
    quarantine.keep_rows(lane, 2024, [bar])
    for call in range(40):
        rubbish = BAD.bar._replace(close=float(call))
        strays = [rubbish._replace(stamp_ms=rubbish.stamp_ms + call * 60_000 + n) for n in range(5)]
        rows = [BadRow(row, "odd") for row in (rubbish, *strays)]
        quarantine.keep_rows(lane, 2024, rows)
        kept = quarantine.rows_kept(lane, 2024)
        assert set(map(repr, rows)) <= set(map(repr, kept)), "the newest"
        assert bar.reason in {row.reason for row in kept}, "a bar that was once stored"
        assert len(kept) <= 51
    assert sum(row.bar.stamp_ms == BAD.bar.stamp_ms for row in kept) <= 4


HEADER = b"timestamp,open,high,low,close,volume,adj_close,reason\n"
LONG = b"timestamp\n" + b"x" * 200_000 + b"\n"


@pytest.mark.parametrize(
    "content",
    [
        b"garbage",
        gzip.compress(b"timestamp\n")[:-9],
        gzip.compress(b"")[:10] + b"\xff" * 20,
        gzip.compress(b"timestamp\n\xff\n"),
        gzip.compress(b""),
        gzip.compress(LONG),
        gzip.compress(HEADER + b"2024-01-03 00:00:00,1,x,1,1,1,,odd\n"),
        gzip.compress(HEADER + b"2024-13-03 00:00:00,1,1,1,1,1,,odd\n"),
        gzip.compress(HEADER + b"2024-01-03 00:00:00,1,1,1,1,odd\n"),
    ],
    ids=[
        "no gzip",
        "cut",
        "no deflate",
        "no text",
        "empty",
        "a giant field",
        "not a number",
        "no day",
        "few cells",
    ],
)
def test_a_damaged_file_of_rows_is_set_aside_and_a_new_one_begun(
    lane: LaneFiles, content: bytes
) -> None:
    quarantine.keep_rows(lane, 2024, [BAD])
    path = lane.paths.rows(2024)
    path.write_bytes(content)
    assert quarantine.rows_kept(lane, 2024) == []
    quarantine.keep_rows(lane, 2024, [LATER])
    assert repr(quarantine.rows_kept(lane, 2024)) == repr([LATER])
    assert content in [p.read_bytes() for p in path.parent.iterdir()]
    assert quarantine.years_with_rows(lane) == [2024]


def test_withdrawn_bars_are_not_listed_as_suspect_rows(tmp_path: Path, lane: LaneFiles) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 1, [], holes=(days(0, 1),)),)))
    assert [row.reason for row in quarantine.rows_kept(lane, 2024)] == ["withdrawn by acme"]
    assert store.suspects(DAILY, days(0, 9)) == ()


def test_only_rows_of_the_requested_years_are_read(tmp_path: Path, lane: LaneFiles) -> None:
    old = BadRow(Bar(at(-9), 1.0, 0.5, 2.0, NAN, 1.0, NAN), "old")
    quarantine.keep_rows(lane, 2023, [old])
    quarantine.keep_rows(lane, 2024, [BAD])
    disk = RecordingDisk()
    found = store_in(tmp_path, disk).suspects(DAILY, days(0, 9))
    assert [row.reason for row in found] == ["high < low"]
    opened = {step.path.name for step in disk.steps if step.name == "open"}
    assert "2023.rows.csv.gz" not in opened


def test_adding_a_row_does_not_parse_the_earlier_ones_again(lane: LaneFiles) -> None:
    """Of 2,000 rows a call more is not made into numbers and texts again."""
    many = [BAD._replace(bar=BAD.bar._replace(stamp_ms=n * 60_000)) for n in range(2_000)]
    quarantine.keep_rows(lane, 2024, many)
    assert calls_of(lambda: quarantine.keep_rows(lane, 2024, [LATER])) < 12 * len(many)
    assert len(quarantine.rows_kept(lane, 2024)) == 2_001
