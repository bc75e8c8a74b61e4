"""Tests damaged tables: detected, set aside, fetched again, and never taken for an empty answer."""

from __future__ import annotations

import gzip
import json
import os
import signal
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from src.data.core.cache.beside.tables import TableStore
from src.data.core.cache.format import json_document
from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.time.instant import to_ms
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import DataError, FormatVersionError, ResponseFormatError, StorageError
from tests.processes import ended, fork

from .counts import FULL, steps
from .crash import SYNCS, Platter, Promise, Quick, Recorder, states
from .damage import flipped
from .disks import CHANGING, DyingDisk, FailingDisk, Killed
from .frames import older_file, same
from .writer import Deadly

KEY = SeriesKey("BTCUSDT", Timeframe.parse("1h"))
NOW = to_ms(datetime(2025, 6, 2))
ALL = Span(0, NOW)
COLUMNS = ["sumOpenInterest", "sumOpenInterestValue"]


def figures(start: str, count: int, shift: float = 0.0) -> pd.DataFrame:
    index = pd.date_range(start, periods=count, freq="h", name="timestamp").as_unit("ns")
    values = [[1000.5 + n + shift, 7e9 + n] for n in range(count)]
    return pd.DataFrame(values, index=index, columns=COLUMNS)


def span(first: str, last: str) -> Span:
    return Span(to_ms(datetime.fromisoformat(first)), to_ms(datetime.fromisoformat(last)))


def opened(root: Path, disk: Disk | None = None) -> TableStore:
    """Return a store as a new process has it."""
    return TableStore(root, "open_interest", disk or Quick(), ManualClock(NOW), lock_timeout_s=5.0)


OLD, NEW = figures("2024-12-31", 24), figures("2025-01-01", 24)
BOTH = pd.concat([OLD, NEW])
WHOLE = span("2024-12-31", "2025-01-02")


def filled(root: Path) -> Path:
    """Store a day of 2024 and one of 2025 in one answer; return the folder of the table."""
    opened(root).put(KEY, BOTH, WHOLE, "binance")
    return root / "open_interest/BTCUSDT/1h"


def kept(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.glob("_quarantine/*"))}


def reasons(folder: Path) -> dict[str, str]:
    """Return the reasons beside the files in quarantine."""
    notes = [json_document.load(c) for n, c in kept(folder).items() if n.endswith(".json.json")]
    notes += [json_document.load(c) for n, c in kept(folder).items() if n.endswith(".gz.json")]
    return {note["file"]: note["reason"] for note in notes}


def text_for_number(data: bytes) -> bytes:
    return gzip.compress(gzip.decompress(data).replace(b"1003.5", b"many"), mtime=0)


def another_number(data: bytes) -> bytes:
    return gzip.compress(gzip.decompress(data).replace(b"1003.5", b"1008.5"), mtime=0)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[:-10],
    "cut in the middle": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "garbage": lambda data: b"\xff\x00 no gzip" * 40,
    "zeros": lambda data: bytes(len(data)),
    "a bit of the header": lambda data: flipped(data, 8),
    "a bit in the middle": lambda data: flipped(data, len(data) // 2),
    "a bit of the last byte": lambda data: flipped(data, len(data) - 1),
    "something behind": lambda data: data + b"\0",
    "text for a number": text_for_number,
    "another number": another_number,
    "the file of another year": lambda data: gzip.compress(b"timestamp,sumOpenInterest\n", mtime=0),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_damaged_tables_count_as_missing_and_are_quarantined_whole(
    tmp_path: Path, how: str
) -> None:
    folder = filled(tmp_path)
    path, document = folder / "2024.csv.gz", (folder / "2024.metadata.json").read_bytes()
    damaged = DAMAGE[how](path.read_bytes())
    path.write_bytes(damaged)
    store = opened(tmp_path)
    assert store.answered(KEY) == [span("2025-01-01", "2025-01-02")], (
        "the data of the other year stay"
    )
    same(store.read(KEY, ALL), NEW)
    assert {damaged, document} <= set(kept(folder).values())
    assert len(reasons(folder)) == 2
    (reported,) = store.quarantined(KEY, span("2024-12-31", "2025-01-01"))
    assert reported.file.startswith("open_interest/BTCUSDT/1h/_quarantine/2024.")
    assert (reported.span, reported.rows) == (span("2024-12-31", "2025-01-01"), 24)
    assert store.quarantined(KEY, span("2025-01-01", "2025-01-02")) == []
    entries = [json.loads(line) for line in (folder / "2024.log").read_text().splitlines()]
    assert [e["reason"] for e in entries if "quarantined" in e] == [
        reasons(folder)[n] for e in entries if (n := e.get("quarantined"))
    ]
    assert (entries[0]["vendor"], entries[0]["added"]) == ("binance", 24)
    # What comes again is stored as ever, and the quarantine keeps what it has.
    before = kept(folder)
    store.put(KEY, OLD, span("2024-12-31", "2025-01-01"), "binance")
    same(opened(tmp_path).read(KEY, ALL), BOTH)
    assert opened(tmp_path).answered(KEY) == [WHOLE]
    assert kept(folder) == before


@pytest.mark.skipif(not FULL, reason="every bit of the files")
def test_every_flipped_bit_of_a_table_is_detected_or_harmless(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    for name in ("2024.csv.gz", "2024.metadata.json"):
        path = folder / name
        whole = {p: p.read_bytes() for p in folder.glob("2024*")}
        for place in range(len(whole[path])):
            path.write_bytes(flipped(whole[path], place))
            store = opened(tmp_path)
            rows, answered = store.read(KEY, ALL), store.answered(KEY)
            same(rows, NEW if name == "2024.csv.gz" else BOTH)
            assert answered == [span("2025-01-01", "2025-01-02")], (name, place)
            for file, content in whole.items():
                file.write_bytes(content)


DOCUMENTS: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[:-10],
    "empty": lambda data: b"",
    "garbage": lambda data: b"\xff\x00",
    "deep": lambda data: b"[" * 100_000,
    "a list": lambda data: b"[1, 2]",
    "a digit": lambda data: data.replace(b'"year":2024', b'"year":2023'),
    "without its digest": lambda data: b"{" + data[78:],
    "spans that are none": lambda data: json_document.dump(
        json_document.load(data) | {"onetape": {"format": 1, "answered": [["a", 1]]}}
    ),
    "another symbol": lambda data: json_document.dump(
        json_document.load(data) | {"symbol": "ETHUSDT"}
    ),
    "nothing of ours": lambda data: json_document.dump({"symbol": "BTCUSDT"}),
}


@pytest.mark.parametrize("how", DOCUMENTS)
def test_a_damaged_document_causes_a_new_request_and_loses_no_row(tmp_path: Path, how: str) -> None:
    folder = filled(tmp_path)
    path = folder / "2024.metadata.json"
    damaged = DOCUMENTS[how](path.read_bytes())
    path.write_bytes(damaged)
    store = opened(tmp_path)
    assert store.answered(KEY) == [span("2025-01-01", "2025-01-02")]
    same(store.read(KEY, ALL), BOTH)
    assert damaged in kept(folder).values()
    store.put(KEY, OLD.iloc[:1], span("2024-12-31", "2025-01-01"), "binance")
    assert opened(tmp_path).answered(KEY) == [WHOLE]
    same(opened(tmp_path).read(KEY, ALL), BOTH)


def test_a_table_in_the_folder_of_another_symbol_is_not_served(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    folder.parent.rename(tmp_path / "open_interest/ETHUSDT")
    other = SeriesKey("ETHUSDT", KEY.timeframe)
    assert opened(tmp_path).answered(other) == []
    assert {d.reason for d in opened(tmp_path).damage(KEY)} == set()


def test_a_year_in_place_of_another_is_not_served(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    (folder / "2024.csv.gz").write_bytes((folder / "2025.csv.gz").read_bytes())
    same(opened(tmp_path).read(KEY, ALL), NEW)


def test_rows_of_a_deleted_file_count_as_missing(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    (folder / "2024.csv.gz").unlink()
    store = opened(tmp_path)
    assert store.answered(KEY) == [span("2025-01-01", "2025-01-02")]
    assert [d.reason for d in store.damage(KEY)] == ["its data file is missing"]
    store.put(KEY, OLD, span("2024-12-31", "2025-01-01"), "binance")
    same(opened(tmp_path).read(KEY, ALL), BOTH)
    assert opened(tmp_path).damage(KEY) == []


@pytest.mark.parametrize("name", ["2024.csv.gz", "2024.metadata.json", ".lock"])
def test_a_folder_in_place_of_a_file_is_an_error(tmp_path: Path, name: str) -> None:
    folder = filled(tmp_path)
    (folder / name).unlink()
    (folder / name).mkdir()
    (folder / name / "inside").write_bytes(b"mine")
    store = opened(tmp_path)
    if name == ".lock":
        same(store.read(KEY, ALL), BOTH)
    else:
        with pytest.raises(StorageError):
            store.answered(KEY)
        with pytest.raises(StorageError):
            store.read(KEY, ALL)
    with pytest.raises(StorageError):
        store.put(KEY, OLD, WHOLE, "binance")
    assert (folder / name / "inside").read_bytes() == b"mine"


def test_a_table_of_a_newer_version_is_not_changed(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    path = folder / "2024.metadata.json"
    plain = json_document.load(path.read_bytes())
    path.write_bytes(json_document.dump(plain | {"onetape": plain["onetape"] | {"format": 2}}))
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    for work in (
        lambda: opened(tmp_path).read(KEY, ALL),
        lambda: opened(tmp_path).answered(KEY),
        lambda: opened(tmp_path).put(KEY, OLD, WHOLE, "binance"),
        lambda: opened(tmp_path).repair(KEY),
    ):
        with pytest.raises(FormatVersionError):
            work()
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before


def test_an_older_tools_file_with_text_for_a_number_is_set_aside(tmp_path: Path) -> None:
    folder = tmp_path / "open_interest/BTCUSDT/1h"
    frame = OLD.astype(object)
    frame.iloc[3, 0] = "many"
    path = older_file(folder, frame, 2024)
    content = path.read_bytes()
    assert opened(tmp_path).read(KEY, ALL) is None
    assert content in kept(folder).values()
    assert "sumOpenInterest is not a number" in next(iter(reasons(folder).values()))


def test_text_for_a_number_is_not_stored(tmp_path: Path) -> None:
    frame = OLD.astype(object)
    frame.iloc[3, 0] = "many"
    with pytest.raises(ResponseFormatError, match="sumOpenInterest is not a number"):
        opened(tmp_path).put(KEY, frame, WHOLE, "binance")
    assert not (tmp_path / "open_interest").exists()
    numbers = OLD.map(repr)  # as an exchange writes them
    opened(tmp_path).put(KEY, numbers, None, "binance")
    same(opened(tmp_path).read(KEY, ALL), OLD)


def test_a_read_only_folder_serves_no_damaged_rows(tmp_path: Path) -> None:
    class ReadOnly(Quick):
        def perform(self, step, call):  # type: ignore[no-untyped-def]
            if step.name in CHANGING:
                raise OSError(30, "read-only")
            return super().perform(step, call)

        def lock(self, path, timeout_s):  # type: ignore[no-untyped-def]
            raise StorageError("read-only")

    folder = filled(tmp_path)
    path = folder / "2024.csv.gz"
    path.write_bytes(path.read_bytes()[:-10])
    store = opened(tmp_path, ReadOnly())
    assert store.answered(KEY) == [span("2025-01-01", "2025-01-02")]
    same(store.read(KEY, ALL), NEW)


# --- writing that ends in the middle -------------------------------------------------------------

# At which calls it ends; all of them in a full run.
POINTS = range(1, 1000) if FULL else range(1, 1000, 53)


class Unsynced:
    """A disk that does not sync, for tests without power failures."""

    def perform(self, step, call):  # type: ignore[no-untyped-def]
        return super().perform(step, (lambda: None) if step.name in SYNCS else call)  # type: ignore[misc]


class Dying(Unsynced, DyingDisk):
    pass


class Failing(Unsynced, FailingDisk):
    pass


FIRST, SECOND, THIRD = BOTH.iloc[:6], BOTH.iloc[6:30], figures("2024-12-31", 48, 0.25)
COMMITS = (
    (FIRST, span("2024-12-31 00:00", "2024-12-31 06:00")),
    (SECOND, span("2024-12-31 06:00", "2025-01-01 06:00")),
    (THIRD, WHOLE),
)


def rows_after(commits: int) -> pd.DataFrame:
    joined = pd.concat([rows for rows, _ in COMMITS[:commits]])
    return joined[~joined.index.duplicated(keep="last")].sort_index()


def write_all(store: TableStore, told: Callable[[int], object] = lambda n: None) -> None:
    for number, (rows, asked) in enumerate(COMMITS, 1):
        store.put(KEY, rows, asked, "binance")
        told(number)


def check(root: Path, told: int, begun: int) -> None:
    """What was acknowledged is there and answered for; years are as before or as after a commit."""
    store = opened(root)
    assert store.damage(KEY) == []
    answered = store.answered(KEY)
    found = store.read(KEY, ALL)
    for year in (2024, 2025):
        own = found[found.index.year == year] if found is not None else None
        states = [frame[frame.index.year == year] for n in range(told, begun + 1)
                  if (frame := rows_after(n) if n else BOTH.iloc[:0]) is not None]  # fmt: skip
        assert any(len(own if own is not None else ()) == len(s) and (own is None or own.equals(s))
                   for s in states), year  # fmt: skip
    for _, asked in COMMITS[:told]:
        assert any(a.start <= asked.start and asked.end <= a.end for a in answered)
    # Nothing is answered for that is not there: an hour answered has its row.
    have = set() if found is None else {int(t.value) // 1_000_000 for t in found.index}
    for part in answered:
        for hour in range(part.start, part.end, 3_600_000):
            assert hour in have
    assert not list(root.glob("open_interest/BTCUSDT/1h/_quarantine/*"))
    write_all(opened(root))
    same(opened(root).read(KEY, ALL), rows_after(3))
    assert opened(root).answered(KEY) == [WHOLE]


def test_a_power_failure_after_any_disk_call_loses_no_acknowledged_row(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    disk, before = Recorder(), Platter(root)
    disk.events.append(Promise("begun", 1))

    def tell(number: int) -> None:
        disk.events += [Promise("told", number), Promise("begun", min(number + 1, 3))]

    write_all(opened(root, disk), tell)
    found = states(before, disk.events, 60 if FULL else 4)
    assert len(found) > 100
    for state in found if FULL else found[::41]:
        for reported, begun in state.promises:
            state.tree.put(root)
            check(root, reported, begun)


def test_the_power_failure_check_detects_a_rename_without_a_sync(tmp_path: Path) -> None:
    """Data that are renamed before they are synced would be found torn: the check above sees it."""
    root = tmp_path / "root"
    root.mkdir()
    disk, before = Recorder(lambda step: step.name == "fsync"), Platter(root)
    write_all(opened(root, disk))

    def look() -> None:
        for state in states(before, disk.events, 6):
            state.tree.put(root)
            check(root, 0, 3)

    with pytest.raises(AssertionError):
        look()


def test_a_writer_killed_before_any_disk_call_loses_no_row(tmp_path: Path) -> None:
    for dies_at in POINTS:
        root, done = tmp_path / str(dies_at), []
        try:
            write_all(opened(root, Dying(dies_at)), done.append)
        except Killed:
            check(root, len(done), min(len(done) + 1, 3))
            continue
        break
    assert dies_at > 50


def test_a_process_killed_while_setting_a_table_aside_loses_no_row(tmp_path: Path) -> None:
    for dies_at in steps(100, 4):
        root = tmp_path / str(dies_at)
        folder = filled(root)
        path = folder / "2024.csv.gz"
        damaged = path.read_bytes()[:-10]
        path.write_bytes(damaged)
        try:
            opened(root, Dying(dies_at)).read(KEY, ALL)
        except Killed:
            same(opened(root).read(KEY, ALL), NEW)
            assert opened(root).answered(KEY) == [span("2025-01-01", "2025-01-02")]
            assert damaged in kept(folder).values()
            opened(root).put(KEY, OLD, WHOLE, "binance")
            same(opened(root).read(KEY, ALL), BOTH)
            continue
        break
    assert dies_at > 10


@pytest.mark.parametrize("for_ever", [False, True])
def test_a_full_disk_loses_no_row(tmp_path: Path, for_ever: bool) -> None:
    for fails_at in POINTS:
        root, done = tmp_path / str(fails_at), []
        disk = Failing(fails_at, for_ever=for_ever)
        try:
            write_all(opened(root, disk), done.append)
        except DataError:
            assert not disk.held, "a file is left open"
            check(root, len(done), min(len(done) + 1, 3))
            continue
        if disk.failed is None:
            break
        check(root, 3, 3)  # what failed was the log
    assert fails_at > 50


def test_two_writing_processes_and_a_reader_lose_no_row(tmp_path: Path) -> None:
    def write(part: int) -> None:
        store = opened(tmp_path)
        for n in range(18 + part, 30, 2):
            row = BOTH.iloc[[n]]
            at = int(row.index[0].value) // 1_000_000
            store.put(KEY, row, Span(at, at + 3_600_000), "binance")

    writers = [fork(partial(write, part)) for part in (0, 1)]
    store = opened(tmp_path)
    look = os.WEXITED | os.WNOHANG | os.WNOWAIT
    while not all(os.waitid(os.P_PID, writer, look) for writer in writers):
        found = store.read(KEY, ALL)
        assert found is None or found.equals(BOTH.loc[found.index])
        store.answered(KEY)
    assert [ended(writer) for writer in writers] == [0, 0]
    same(store.read(KEY, ALL), BOTH.iloc[18:30])
    assert store.answered(KEY) == [span("2024-12-31 18:00", "2025-01-01 06:00")]
    assert not list(tmp_path.rglob("_quarantine/*"))


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL there")
@pytest.mark.parametrize("calls", [3, 12, 25])
def test_a_process_killed_by_sigkill_loses_no_row(tmp_path: Path, calls: int) -> None:
    reader, writer = os.pipe()

    def write() -> None:
        write_all(opened(tmp_path, Deadly(calls)), lambda n: os.write(writer, b"."))

    assert ended(fork(write)) == -signal.SIGKILL
    os.close(writer)
    with open(reader, "rb") as said:
        done = len(said.read())
    check(tmp_path, done, min(done + 1, 3))


def test_the_log_lists_each_write_and_survives_the_loss_of_rows(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    path = folder / "2025.csv.gz"
    revised = NEW.iloc[:5].copy()
    revised.iloc[1:3, 0] += 1.0
    more = figures("2025-01-02", 2)
    opened(tmp_path).put(KEY, pd.concat([revised, more]), None, "binance")
    size = path.stat().st_size
    path.write_bytes(b"")
    assert len(opened(tmp_path).read(KEY, ALL)) == len(OLD)
    opened(tmp_path).clear(key=KEY)
    assert opened(tmp_path).read(KEY, ALL) is None
    assert opened(tmp_path).answered(KEY) == []
    assert kept(folder) == {}, "cleared data are deleted with their quarantine"
    first, second, *aside, last = [
        json.loads(line) for line in (folder / "2025.log").read_text().splitlines()
    ]
    assert (first["added"], first["changed"], first["span"]) == (24, 0, list(WHOLE))
    assert (second["added"], second["changed"], second["span"]) == (2, 2, None)
    assert (second["size"], second["vendor"]) == (size, "binance")
    assert [bool(entry["quarantined"]) for entry in aside] == [True, True]
    assert [entry["removed"] for entry in aside] == [26, 0], "the loss is logged once"
    assert (last["deleted"], last["size"]) == ("clear", 0)
    reported = [e for e in opened(tmp_path).log(KEY) if e["year"] == 2025]
    assert [(e["deleted"], bool(e["quarantined"])) for e in reported] == [
        (None, False), (None, False), (None, True), (None, True), ("clear", False)
    ]  # fmt: skip
