"""Snapshots of the log: a host that starts from one has the same bytes, and pruning requires one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import psycopg
import pytest

from src.data.cache.store import BarStore
from src.data.cache.values import Commit
from src.data.clock import ManualClock
from src.data.disk.files import Disk
from src.data.errors import (
    CorruptEntryError,
    FormatVersionError,
    LockTimeoutError,
    LogUnreachableError,
    OvertakenError,
    QueryError,
)
from src.data.hosts import snapshot, snapshot_files
from src.data.hosts.decisions import name_of
from src.data.hosts.entry import MOST_BYTES
from src.data.hosts.log import Log, LogPosition
from src.data.hosts.snapshot import SeriesSnapshot, SnapshotPart
from src.data.hosts.snapshot_log import Snapshots
from src.data.hosts.state import host_state, verify
from src.data.hosts.store import SharedStore
from src.data.model.bars import BadRow, Bar
from src.data.model.retention import Age
from src.data.model.series import SeriesKey
from tests.cache.bars import (
    DAILY,
    EVER,
    MINUTES,
    NOW,
    at,
    mark,
    minutes,
    numbers,
    piece,
)
from tests.cache.counts import FULL, crossed
from tests.processes import ended, fork, together

from .host_simulation import _files

PAIR = DAILY.symbol, DAILY.timeframe
Host = Callable[[str], SharedStore]


@pytest.fixture
def host(log: Log, tmp_path: Path) -> Host:
    """Return a function that returns the store of a host with this name."""
    return lambda name: SharedStore(log, tmp_path / name, clock=ManualClock(NOW))


@contextmanager
def every(entries: int) -> Iterator[None]:
    """Let hosts make a snapshot after so many entries."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("src.data.hosts.store.EVERY", "src.data.hosts.snapshot.EVERY"):
            patch.setattr(name, entries)
        yield


def bars(first: int, end: int, **other: Any) -> Commit:
    return Commit((piece(first, end, **other),))


def shown(store: BarStore, key: SeriesKey = DAILY) -> list[int]:
    return numbers(store.read(key, EVER)[0])


def rows(url: str, statement: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as db:
        cursor = db.execute(statement)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []


def entries(url: str) -> list[int]:
    """Return the numbers of the entries of the series of a log that has one."""
    return [row[0] for row in rows(url, "select seq from onetape.entry order by series, seq")]


def same(one: SharedStore, other: SharedStore, key: SeriesKey = DAILY) -> bool:
    return _files(one, key) == _files(other, key) and one.view(key) == other.view(key)


def filled(store: SharedStore, commits: int = 9) -> None:
    """Commit bars of three years, with a hole that is filled, a bad row and a doubt."""
    for n in range(commits - 4):
        store.commit(DAILY, bars(170 * n, 170 * n + 170))
    row = Bar(at(33), 1.0, 0.5, 2.0, 1.0, 7.0)
    store.commit(
        DAILY, Commit((piece(31, 34, shift=1.0),), suspects=(BadRow(row, "high_below_low"),))
    )
    store.commit(DAILY, Commit(marks=(mark(2, 4, "suspect", reason="grave: x100"),)))
    store.commit(DAILY, bars(900, 902))
    store.commit(DAILY, Commit((piece(902, 904),), next_due=at(905)))


def test_a_host_that_starts_from_a_snapshot_has_the_same_bytes(host: Host, log_url: str) -> None:
    a = host("a")
    filled(a)
    size = a.snapshots.size()
    assert (size.entries, size.pruned, size.snapshots) == (9, 0, 0)
    assert a.snapshot(DAILY)
    a.commit(DAILY, bars(904, 906))
    assert a.snapshots.prune(-1) == 8
    size = a.snapshots.size()
    assert (size.entries, size.pruned, size.snapshots) == (2, 8, 1)
    assert entries(log_url) == [9, 10], "the entry of the snapshot and those after it stay"
    b = host("b")
    assert b.pull([PAIR])
    assert same(a, b) and b.position(DAILY) == 10 and host_state(b).state == "in step"
    assert [one["generation"] for one in b.log(DAILY)] == [
        one["generation"] for one in a.log(DAILY)
    ]
    b.commit(DAILY, bars(906, 908))
    a.pull([PAIR])
    assert same(a, b) and list(verify(a, deep=True)) == []


def test_the_committer_of_a_round_number_makes_a_snapshot_of_changed_years_only(
    host: Host, log_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    add = Snapshots.add
    monkeypatch.setattr(Snapshots, "add", lambda *a: sent.append(a[3].year) or add(*a))
    a = host("a")
    with every(4):
        for n in range(4):
            a.commit(DAILY, bars(200 * n, 200 * n + 200))
        assert sent == [0, 2024, 2025, 2026]
        for n in range(4, 8):
            a.commit(DAILY, bars(200 + 150 * n, 201 + 150 * n))
    assert sent[4:] == [0, 2026, 2027]
    [(count, total)] = rows(log_url, "select count(*), count(distinct year) from onetape.part")
    assert count == total == 5, "older parts are gone"
    b = host("b")
    b.pull([PAIR])
    assert same(a, b)


def test_a_host_that_applied_many_bytes_makes_a_snapshot_for_the_next_host(
    host: Host, log: Log
) -> None:
    a, b, c = host("a"), host("b"), host("c")
    a.commit(MINUTES, Commit((minutes(0, 8000),)))
    pair = MINUTES.symbol, MINUTES.timeframe
    b.pull([pair])
    assert (
        b.snapshots.find({name_of(MINUTES): LogPosition()})[name_of(MINUTES)].snapshot is not None
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Log, "after", lambda *_: pytest.fail("an entry was read"))
        patch.setattr(SharedStore, "_apply", lambda *_: pytest.fail("an entry was applied"))
        c.pull([pair])
    assert same(a, c, MINUTES)


def test_rejected_rows_are_in_the_next_snapshot_although_their_year_has_not_changed(
    host: Host,
) -> None:
    a = host("a")
    a.commit(DAILY, bars(0, 40))
    a.commit(DAILY, bars(400, 440))
    rejected = a.parts.lane(DAILY).paths.quarantine / "2024.rows.csv.gz"

    def is_next_the_same(name: str) -> bool:
        a.commit(DAILY, bars(*next(days)))
        assert a.snapshot(DAILY) and a.snapshots.prune(-1)
        b = host(name)
        b.pull([PAIR])
        assert shown(b) == shown(a) and b.parts.lane(DAILY).paths.quarantine.is_dir()
        copy = b.parts.lane(DAILY).paths.quarantine / rejected.name
        return copy.read_bytes() == rejected.read_bytes()

    days = iter([(500, 501), (501, 502)])
    assert a.snapshot(DAILY)
    row = Bar(at(33), 1.0, 0.5, 2.0, 1.0, 7.0)
    a.commit(DAILY, Commit(suspects=(BadRow(row, "high_below_low"),)))
    assert is_next_the_same("b"), "the first rejected row of the year"
    rejected.write_bytes(bytes(len(rejected.read_bytes())))
    assert is_next_the_same("c"), "rows that take the same number of bytes"


def test_a_series_that_changes_while_its_snapshot_is_made_gets_none(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = host("a"), host("b")
    a.commit(DAILY, bars(0, 40))
    a.commit(DAILY, bars(400, 440))
    add, sent = Snapshots.add, list[int]()

    def committed_after_one(*arguments: Any) -> None:
        add(*arguments)
        sent.append(arguments[3].year)
        if len(sent) == 1:
            a.commit(DAILY, bars(380, 381))

    monkeypatch.setattr(Snapshots, "add", committed_after_one)
    assert not a.snapshot(DAILY) and sent == [0]
    assert a.snapshot(DAILY) and sent == [0, 0, 2024, 2025]
    assert a.snapshots.prune(-1) == 2
    b.pull([PAIR])
    assert same(a, b)


def test_an_outdated_host_repairs_one_year_and_not_the_whole_lane(
    host: Host, log_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its entry was pruned, but its token is still known, so nothing is offered."""
    a, b = host("a"), host("b")
    for n in range(3):
        a.commit(DAILY, bars(366 * n, 366 * n + 300))
    b.pull([PAIR])
    a.clear_years(DAILY, [2025])
    for n in range(5):
        a.commit(DAILY, bars(1050 + n, 1051 + n))
    assert a.snapshot(DAILY) and a.snapshots.prune(-1) == 8
    fetched: list[int] = []
    parts = Snapshots.parts
    monkeypatch.setattr(
        Snapshots,
        "parts",
        lambda s, wanted: fetched.extend(p.year for _, p in wanted) or parts(s, wanted),
    )
    inode = b.parts.lane(DAILY).paths.data(2024).stat().st_ino
    assert b.pull([PAIR])
    assert fetched == [0, 2025, 2026], "the log of the year that was deleted, and the changed year"
    assert b.parts.lane(DAILY).paths.data(2024).stat().st_ino == inode
    assert same(a, b) and b.years(DAILY) == [2024, 2026]
    assert a.position(DAILY) == b.position(DAILY) == 9, "nothing was offered"


def test_without_the_tokens_of_pruned_entries_deleted_bars_come_back(
    host: Host, log_url: str
) -> None:
    """The guard of the test before: an unknown entry looks like one that the server has lost."""
    a, b = host("a"), host("b")
    for n in range(3):
        a.commit(DAILY, bars(366 * n, 366 * n + 300))
    b.pull([PAIR])
    a.clear_years(DAILY, [2025])
    a.commit(DAILY, bars(1050, 1051))
    assert a.snapshot(DAILY) and a.snapshots.prune(-1)
    rows(log_url, "update onetape.snapshot set tokens = ''")
    b.pull([PAIR])
    assert b.years(DAILY) == [2024, 2025, 2026]


def test_a_lost_tail_of_a_pruned_log_is_offered_again(host: Host, log_url: str, log: Log) -> None:
    a, b, c = host("a"), host("b"), host("c")
    a.commit(DAILY, bars(0, 3))
    c.pull([PAIR])
    a.commit(DAILY, bars(3, 6))
    b.pull([PAIR])
    with psycopg.connect(log_url, autocommit=True) as db:  # restored from a copy
        db.execute("delete from onetape.entry where seq > 1")
        db.execute("update onetape.series set seq = 1, head = (select token from onetape.entry)")
    for n in range(5):
        c.commit(DAILY, bars(20 + n, 21 + n))
    assert c.snapshot(DAILY) and c.snapshots.prune(-1) == 5
    with every(2):
        b.pull([PAIR])
    a.pull([PAIR])
    c.pull([PAIR])
    assert shown(a) == shown(b) == shown(c) == [0, 1, 2, 3, 4, 5, 20, 21, 22, 23, 24]


@pytest.mark.parametrize(
    "name", ["2024.csv.gz", "2025.metadata.json", "series.json", "folder", "note"]
)
def test_damage_older_than_pruned_entries_is_repaired(host: Host, log_url: str, name: str) -> None:
    import shutil

    a = host("a")
    filled(a)
    a.snapshot(DAILY)
    a.snapshots.prune(-1)
    a.commit(DAILY, bars(910, 911))
    before, lane = _files(a, DAILY), a.parts.lane(DAILY).paths
    if name == "folder":
        shutil.rmtree(lane.folder)
    elif name == "note":
        a.notes.lane(DAILY).unlink()
    else:
        data = bytearray((lane.folder / name).read_bytes())
        data[len(data) // 2] ^= 4
        (lane.folder / name).write_bytes(data)
    again = host("a")
    shown(again)
    again.pull([PAIR])
    assert _files(again, DAILY) == before and host_state(again).state == "in step"
    assert again.position(DAILY) == 10, "the stored commits are in the log, and nothing is offered"


def test_rejected_rows_that_were_left_in_a_folder_are_replaced_by_those_of_the_snapshot(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = host("a"), host("b")
    b.pull([PAIR])
    filled(a)
    assert a.snapshot(DAILY) and a.snapshots.prune(-1)
    left = b.parts.lane(DAILY).paths.quarantine
    left.mkdir(parents=True)
    (left / "2024.rows.csv.gz").write_bytes(b"")
    with monkeypatch.context() as patch:
        patch.setattr(SharedStore, "_make_anew", lambda *_, **__: pytest.fail("made anew"))
        b.pull([PAIR])
    assert same(a, b)


def test_recent_entries_and_entries_without_a_snapshot_are_not_pruned(
    log_url: str, tmp_path: Path
) -> None:
    day = 86_400_000
    now = [NOW]
    log = Log(log_url, now_ms=lambda: now[0])
    a = SharedStore(log, tmp_path / "a", clock=ManualClock(NOW), keep=Age(30, "d"))
    for n in range(6):
        a.commit(DAILY, bars(n, n + 1))
        now[0] += 10 * day
    assert a.snapshots.prune(30 * day) == 0, "there is no snapshot"
    assert a.snapshot(DAILY)  # prunes with the age of this store
    assert entries(log_url) == [4, 5, 6]
    a.commit(DAILY, bars(6, 7))
    now[0] += 1000 * day
    assert a.snapshots.prune(30 * day) == 2 and entries(log_url) == [6, 7]
    assert a.snapshots.prune(30 * day) == 0


def test_no_snapshot_is_made_of_a_damaged_year(host: Host, log_url: str) -> None:
    a = host("a")
    filled(a)
    path = a.parts.lane(DAILY).paths.data(2025)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)  # the documents do not show it
    assert not host("a").snapshot(DAILY)
    assert rows(log_url, "select from onetape.snapshot") == []
    again = host("a")
    shown(again)
    again.pull([PAIR])
    assert again.snapshot(DAILY)


def test_a_snapshot_that_other_hosts_would_refuse_is_not_made(
    host: Host, log_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    a = host("a")
    filled(a)
    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "_MOST_BESIDE", 100)
        assert not a.snapshot(DAILY) and "are too large" in caplog.text
    assert rows(log_url, "select from onetape.snapshot") == []
    assert a.snapshot(DAILY)


def test_a_snapshot_of_lost_entries_is_not_stored(host: Host, log_url: str) -> None:
    a = host("a")
    a.commit(DAILY, bars(0, 3))
    a.commit(DAILY, bars(3, 4))
    rows(log_url, "delete from onetape.entry where seq = 2")
    assert not a.snapshot(DAILY)


@pytest.mark.parametrize(
    "attack, pruned",
    crossed(["body", "content", "name", "swapped", "format", "gone"], [True, False]),
)
def test_a_hostile_snapshot_is_refused(
    host: Host, log_url: str, attack: str, pruned: bool, tmp_path: Path
) -> None:
    """It is not needed while all entries exist; otherwise the error is typed and no file is written."""
    a = host("a")
    filled(a)
    a.snapshot(DAILY)
    if pruned:
        a.snapshots.prune(-1)
    flip = "{0} = set_byte({0}, length({0}) / 2, get_byte({0}, length({0}) / 2) # 4)"
    if attack == "name":
        name, evil = name_of(DAILY), b"#!/bin/sh"
        found = a.snapshots.find({name: LogPosition()})[name].snapshot
        assert found is not None
        part, body = snapshot.sealed(name, 2024, 9, [("../../../evil", evil)])
        a.snapshots.add(name, 9, part, body)
        rows(
            log_url,
            "delete from onetape.snapshot" if not pruned else "update onetape.snapshot set seq = 8",
        )
        assert a.snapshots.put(name, found._replace(parts={2024: part}))
    else:
        rows(log_url, {
            "body": "update onetape.part set " + flip.format("body") + " where year = 2025",
            "content": "update onetape.snapshot set " + flip.format("content"),
            "swapped": "update onetape.part p set body = (select body from onetape.part where year = 2025)"
                       " where year = 2026",
            "gone": "delete from onetape.part where year = 2025",
            "format": "update onetape.snapshot set format = 2",
        }[attack])  # fmt: skip
    b = host("b")
    wanted: Any = FormatVersionError if attack == "format" else CorruptEntryError
    for _ in range(2):
        if pruned:
            with pytest.raises(wanted):
                b.pull([PAIR])
            assert shown(b) == []
        else:
            b.pull([PAIR])
            assert same(a, b)
    assert not list(tmp_path.rglob("evil"))
    if attack != "format":  # a newer version may rely on its own
        a.commit(DAILY, bars(920, 921))
        assert a.snapshot(DAILY), "the next snapshot replaces damaged parts"
        a.snapshots.prune(-1)
        c = host("c")
        c.pull([PAIR])
        assert same(a, c)


COMMITS = 12 if FULL else 5


def test_two_hosts_can_prune_at_the_same_time(log_url: str, tmp_path: Path) -> None:
    symbols = [f"S{n}" for n in range(6 if FULL else 2)]
    store = SharedStore(Log(log_url), tmp_path / "a", clock=ManualClock(NOW))
    for symbol in symbols:
        key = SeriesKey(symbol, DAILY.timeframe)
        for n in range(COMMITS):
            store.commit(key, bars(n, n + 1))
        store.snapshot(key)
    tokens = dict(rows(
        log_url, "select series, string_agg(token, ''::bytea order by seq) from onetape.entry group by series"
    ))  # fmt: skip

    def work(number: int) -> None:
        Snapshots(Log(log_url)).prune(-1)

    together(4 if FULL else 2, work)
    for series, pruned, kept, oldest, first in rows(
        log_url,
        "select p.series, pruned, tokens, oldest_ms, (select min(e.seq) from onetape.entry e where"
        " e.series = p.series) from onetape.snapshot p",
    ):
        assert first == COMMITS == pruned + 1 and tokens[series][:-8] == kept and oldest
    b = SharedStore(Log(log_url), tmp_path / "b", clock=ManualClock(NOW))
    b.pull([(symbol, DAILY.timeframe) for symbol in symbols])
    assert all(
        shown(b, SeriesKey(symbol, DAILY.timeframe)) == list(range(COMMITS)) for symbol in symbols
    )


def test_hosts_that_commit_snapshot_and_prune_concurrently_lose_no_bar(
    log_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Age, "before", lambda _, now_ms: now_ms + 1000)  # everything is old
    processes, each = (4, 30) if FULL else (3, 6)

    def work(number: int) -> None:
        store = SharedStore(
            Log(log_url), tmp_path / f"host{number % (processes - 1)}", clock=ManualClock(NOW)
        )
        left = [100 * number + n for n in range(each)]
        while left:
            with suppress(
                OvertakenError
            ):  # others were faster each time: ask again, as its hint says
                store.commit(DAILY, bars(left[0], left[0] + 1))
                del left[0]

    Log(log_url).store_id()
    with every(2):
        together(processes, work)
    [(pruned, kept)] = rows(log_url, "select pruned, tokens from onetape.snapshot")
    commits = processes * each
    assert entries(log_url) == list(range(pruned + 1, commits + 1)) and len(kept) == 8 * pruned > 0
    a, b = (SharedStore(Log(log_url), tmp_path / n, clock=ManualClock(NOW)) for n in ("host0", "b"))
    for store in (a, b):
        store.pull([PAIR])
    assert same(a, b) and len(shown(b)) == commits == b.position(DAILY)


def test_another_process_of_the_folder_waits_while_a_series_is_rebuilt(
    log_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Years that are right get a second name: what was applied to one meanwhile would be in both."""
    day, now = 86_400_000, [NOW]
    log = Log(log_url, now_ms=lambda: now[0])
    a, b = (SharedStore(log, tmp_path / n, clock=ManualClock(NOW), keep=None) for n in "ab")
    beside = SharedStore(Log(log_url), tmp_path / "b", clock=ManualClock(NOW), lock_timeout_s=0)
    for n in (*range(5), 900, 901, 902):
        a.commit(DAILY, bars(n, n + 1))
        now[0] += 10 * day
        if n == 4:
            b.pull([PAIR])
    assert a.snapshot(DAILY) and a.snapshots.prune(60 * day) == 2
    assert entries(log_url) == [3, 4, 5, 6, 7, 8], "those that the other process needs are there"
    waited: list[LockTimeoutError] = []
    link = snapshot_files.link_or_copy

    def apply_and_link(disk: Disk, source: Path, target: Path) -> None:
        """Change the year in the moment between the comparison and the link."""
        if not waited and source.name.startswith("2024."):
            a.commit(DAILY, bars(10, 11))
            with every(64), pytest.raises(LockTimeoutError) as found:
                beside.pull([PAIR])
            waited.append(found.value)
        link(disk, source, target)

    monkeypatch.setattr(snapshot_files, "link_or_copy", apply_and_link)
    with every(2):
        b.pull([PAIR])
    assert waited and same(a, b) and b.position(DAILY) == 9
    assert list(verify(b, deep=True)) == []


@pytest.mark.parametrize(
    "statement, moment", crossed(range(1, 9) if FULL else (4, 6), ["before", "after"])
)
def test_a_host_killed_at_any_statement_of_a_snapshot_loses_no_bar(
    log_url: str, tmp_path: Path, statement: int, moment: str
) -> None:
    a = SharedStore(Log(log_url), tmp_path / "a", clock=ManualClock(NOW))
    filled(a)
    a.snapshot(DAILY)
    for n in range(3):
        a.commit(DAILY, bars(910 + n, 911 + n))
    a.shared.close()

    def work() -> None:
        left, run = [statement], Log.run

        def deadly(log: Log, act: Any) -> Any:
            left[0] -= 1
            if not left[0] and moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = run(log, act)
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        store = SharedStore(Log(log_url), tmp_path / "a", clock=ManualClock(NOW), keep=Age(1, "d"))
        Log.run = deadly  # type: ignore[method-assign]
        store.snapshot(DAILY)
        store.snapshots.prune(-1)

    assert ended(fork(work)) in (0, -signal.SIGKILL)
    [(pruned, kept, seq)] = rows(log_url, "select pruned, tokens, seq from onetape.snapshot")
    left = entries(log_url)
    assert left == list(range(left[0], 13)) and left[0] == pruned + 1 <= seq
    assert len(kept) == 8 * pruned
    for name in ("b", "a"):
        other = SharedStore(Log(log_url), tmp_path / name, clock=ManualClock(NOW))
        other.pull([PAIR])
        assert same(a, other)
    other.commit(DAILY, bars(920, 921))
    assert other.snapshot(DAILY) and entries(log_url)[-1] == 13
    other.snapshots.prune(-1)
    assert entries(log_url) == [13]
    [(parts,)] = rows(log_url, "select count(*) from onetape.part")
    assert parts == 4, "no part is left over"


@pytest.mark.parametrize(
    "calls, state", crossed(range(1, 60) if FULL else (5, 14, 27), ["new", "old"])
)
def test_a_host_killed_while_applying_a_snapshot_continues(
    log_url: str, tmp_path: Path, calls: int, state: str
) -> None:
    from src.data.disk.files import Disk

    class Deadly(Disk):
        left = calls

        def perform(self, step: Any, call: Any) -> Any:
            if step.name in ("write", "replace", "create", "mkdir", "unlink", "link"):
                self.left -= 1
                if not self.left:
                    os.kill(os.getpid(), signal.SIGKILL)
            return call()

    a, b = (SharedStore(Log(log_url), tmp_path / n, clock=ManualClock(NOW)) for n in "ab")
    if state == "old":
        a.commit(DAILY, bars(0, 366, shift=3.0))
        b.pull([PAIR])
        a.clear_years(DAILY, [2024])
    filled(a)
    a.snapshot(DAILY)
    a.snapshots.prune(-1)
    for store in (a, b):
        store.shared.close()

    def work() -> None:
        SharedStore(Log(log_url), tmp_path / "b", Deadly(), ManualClock(NOW)).pull([PAIR])

    assert ended(fork(work)) in (0, -signal.SIGKILL)
    b = SharedStore(Log(log_url), tmp_path / "b", clock=ManualClock(NOW))
    b.pull([PAIR])
    assert same(a, b) and a.position(DAILY) == b.position(DAILY), "nothing was offered"


def test_a_snapshot_that_is_replaced_while_it_is_read_is_read_again(
    host: Host, log_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = host("a"), host("b")
    filled(a)
    a.snapshot(DAILY)
    parts, done = Snapshots.parts, list[int]()

    def replaced(self: Snapshots, wanted: Any) -> Any:
        """Let another host replace the snapshot, and prune."""
        if not done:
            done.append(1)
            a.commit(DAILY, bars(400, 402, shift=1.0))
            a.snapshot(DAILY)
            a.snapshots.prune(-1)
        return parts(self, wanted)

    monkeypatch.setattr(Snapshots, "parts", replaced)
    b.pull([PAIR])
    assert done and same(a, b)


def test_a_host_stays_whole_if_the_server_fails_in_the_middle_of_a_snapshot(
    host: Host, log: Log
) -> None:
    a = host("a")
    filled(a)
    a.snapshot(DAILY)
    a.snapshots.prune(-1)
    b = host("b")
    with pytest.MonkeyPatch.context() as patch:

        def away(*_: Any) -> Any:
            raise LogUnreachableError("away")

        patch.setattr(Snapshots, "parts", away)
        with pytest.raises(LogUnreachableError):
            b.pull([PAIR])
    b.pull([PAIR])
    assert same(a, b)


def test_only_files_with_known_names_are_accepted_in_a_snapshot() -> None:
    good = {"2024.csv.gz": 2024, "2024.metadata.json": 2024, "2024.log": 2024, "series.json": 0}
    for name, year in good.items():
        assert snapshot.year_of(name, is_quarantine=False) == year
        assert snapshot.year_of(name, is_quarantine=True) is None
    assert snapshot.year_of("2024.rows.csv.gz", is_quarantine=True) == 2024
    for name in (
        ".lock",
        "confirmed.json",
        "2024.csv.gz.1",
        "../2024.csv.gz",
        "x",
        "2024.rows.csv.gz",
    ):
        assert snapshot.year_of(name, is_quarantine=False) is None


def test_a_list_of_parts_outside_the_limits_is_refused_before_a_body_is_fetched() -> None:
    name, position = name_of(DAILY), LogPosition(1, b"12345678")
    bars_file, log, most = "2024.csv.gz", "2024.log", 32 << 20

    def part(
        year: int = 2024, generation: int = 1, files: Mapping[str, int] | None = None
    ) -> SnapshotPart:
        return SnapshotPart(year, b"x" * 32, generation, dict(files or {}))

    def loaded(*parts: SnapshotPart) -> list[SnapshotPart]:
        made = SeriesSnapshot(position, dict(enumerate(parts)))
        return [*snapshot.load(name, position, 1, *snapshot.dump(name, made)).parts.values()]

    many = [part(year) for year in range(2001)]
    for accepted in (
        [part(9999, 0), part(0, 1 << 62)],
        [part(files={bars_file: MOST_BYTES - 5, log: 5})],
        [part(files={log: most})],
        many[:2000],
    ):
        assert loaded(*accepted) == accepted
    for error, refused in (
        ("year or generation", [part(), part(10_000)]),
        ("year or generation", [part(), part(-1)]),
        ("year or generation", [part(generation=(1 << 62) + 1)]),
        ("year or generation", [part(generation=-1)]),
        ("size", [part(files={bars_file: MOST_BYTES - 5, log: 6})]),
        ("size", [part(files={bars_file: 9, log: -1})]),
        ("size", [part(files={log: most + 1})]),
        ("file that no series has", [part(files={"2025.log": 1})]),
        ("year twice", [part(), part(generation=2)]),
        ("too many", many),
    ):
        with pytest.raises(CorruptEntryError, match=error):
            loaded(*refused)


def test_bodies_are_fetched_a_few_megabytes_at_a_time(host: Host, log: Log) -> None:
    name, snapshots = name_of(DAILY), host("a").snapshots

    def fetches(*sizes: int) -> int:
        """Return in how many statements the bodies of parts with these sizes are fetched."""
        wanted = [
            (name, SnapshotPart(2000 + n, b"x" * 32, 1, {f"{2000 + n}.csv.gz": size << 20}))
            for n, size in enumerate(sizes)
        ]
        before = log.trips
        assert list(snapshots.parts(wanted)) == [(*pair, None) for pair in wanted]
        return log.trips - before

    assert fetches(3, 5) == 1
    assert fetches(3, 3, 3, 3, 3) == 3
    assert fetches(20, 1, 20) == 3


def test_a_folders_position_is_looked_up_among_pruned_entries_whatever_its_number(
    host: Host, log: Log
) -> None:
    a, name, positions = host("a"), name_of(DAILY), []
    for n in range(4):
        a.commit(DAILY, bars(n, n + 1))
        positions.append(log.all_heads()[name])
        if n % 2:
            assert a.snapshot(DAILY) and a.snapshots.prune(-1) == (1 if n == 1 else 2)

    def is_known(seq: int, token: bytes) -> bool:
        return a.snapshots.find({name: LogPosition(seq, token)})[name].is_known

    assert is_known(0, b"") and all(is_known(*position) for position in positions)
    for one, other in pairwise(positions):
        assert not is_known(one.seq, other.token) and not is_known(other.seq, one.token)
    for seq in (5, 1 << 27, (1 << 27) + 1, 1 << 29, 1 << 62):
        assert not is_known(seq, positions[0].token)


def test_a_series_that_another_host_prunes_delays_no_other(
    log: Log, log_url: str, host: Host
) -> None:
    a, other = host("a"), SeriesKey("OTHER", DAILY.timeframe)
    for key in (DAILY, other):
        for n in range(3):
            a.commit(key, bars(n, n + 1))
        assert a.snapshot(key)
    pruned: list[int] = []
    thread = Thread(target=lambda: pruned.append(a.snapshots.prune(-1)))
    with psycopg.connect(log_url) as busy:
        busy.execute(
            "select from onetape.snapshot p join onetape.series s on p.series = s.id where s.symbol = %s"
            " for update of p",
            [DAILY.symbol],
        )
        thread.start()
        thread.join(60)
        busy.rollback()
    thread.join()
    assert pruned == [2] and a.snapshots.prune(-1) == 2, "first the other series, then this one"


def steps(store: SharedStore, seed: int, commits: int) -> Iterator[dict[int, list[float]]]:
    """Make random commits; yield after each the bars that the series then has."""
    dice = np.random.default_rng(seed)
    for _ in range(commits):
        first = int(dice.integers(0, 700))
        match int(dice.integers(0, 6)):
            case 0 | 1:
                table, _ = store.read(DAILY, EVER)
                last = int(max(numbers(table), default=0))
                store.commit(DAILY, bars(last + 1, last + 2 + int(dice.integers(0, 40))))
            case 2 | 3:
                end, shift = first + int(dice.integers(1, 90)), float(dice.integers(9))
                store.commit(DAILY, bars(first, end, shift=shift))
            case 4:
                store.commit(
                    DAILY, Commit(marks=(mark(first, first + 3, "empty", reason="closed"),))
                )
            case 5:
                store.clear_years(DAILY, [2024 + first // 366])
        table, _ = store.read(DAILY, EVER)
        yield dict(zip(numbers(table), table.close.tolist(), strict=True))


def answer(work: Callable[[], Any]) -> Any:
    """Return the result, or the text of the error."""
    try:
        return work()
    except QueryError as error:
        return str(error)


@pytest.mark.parametrize("seed", range(40) if FULL else (2,))
@pytest.mark.parametrize("pruned", [True, False])
def test_a_version_equals_that_of_a_plain_folder_or_raises_the_same_error(
    log_url: str, tmp_path: Path, seed: int, pruned: bool
) -> None:
    """A host rebuilds versions from entries; without the entries, it raises an error."""
    store = {
        name: SharedStore(Log(log_url), tmp_path / name, clock=ManualClock(NOW), keep=None)
        for name in ("a", "b", "c")
    }
    a, truth = store["a"], {}
    with every(5):
        for bars_then in steps(a, seed, 14):
            truth[a.position(DAILY)] = bars_then
    if pruned:
        a.snapshots.prune(-1)
    store["b"].pull([PAIR])
    kept = [0, 0]
    for version, bars_then in truth.items():
        alone = answer(lambda v=version: BarStore.read_version(a, DAILY, EVER, v))
        for number, host in enumerate((a, store["b"])):
            found = answer(lambda v=version, h=host: h.read_version(DAILY, EVER, v))
            if isinstance(found, str):
                assert pruned and "no longer kept" in found
                assert host is not a or found == alone
                continue
            kept[number] += 1
            assert dict(zip(numbers(found[0]), found[0].close.tolist(), strict=True)) == bars_then
            assert isinstance(alone, str) or host is not a or found[1] == alone[1]
    assert kept == [14, 14] or (pruned and kept[1] >= 1), "entries make every version"
    for wrong in (0, 99):
        with pytest.raises(QueryError, match="no version"):
            store["b"].read_version(DAILY, EVER, wrong)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Log, "run", lambda *_: pytest.fail("the server was asked"))
        with pytest.raises(QueryError):
            store["c"].read_version(DAILY, EVER, 1, is_offline=True)


def test_the_state_shows_the_size_of_the_log(host: Host) -> None:
    a = host("a")
    empty = host_state(a).to_json()["log"]
    assert empty["entries"] == 0 and empty["oldest"] is None and empty["last_snapshot"] is None
    filled(a)
    a.snapshot(DAILY)
    a.snapshots.prune(-1)
    shown = host_state(a).to_json()["log"]
    assert (shown["entries"], shown["pruned"], shown["snapshots"]) == (1, 8, 1)
    assert (
        shown["bytes"] > 0 < shown["snapshot_bytes"] and shown["oldest"] <= shown["last_snapshot"]
    )
