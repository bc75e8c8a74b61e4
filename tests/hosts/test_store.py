"""Hosts that share a log: commits reach the other hosts, and lost entries are recovered."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import psycopg
import pytest

from src.data.cache.actions import Asked
from src.data.cache.layout import Layout
from src.data.cache.store import BarStore
from src.data.cache.unified_cache import UnifiedCache
from src.data.cache.values import Commit
from src.data.clock import ManualClock
from src.data.compute_slots import ComputeSlots, computing
from src.data.errors import (
    CorruptEntryError,
    FormatVersionError,
    LogUnreachableError,
    OvertakenError,
    StorageError,
)
from src.data.hosts import claim, entry
from src.data.hosts import log as log_module
from src.data.hosts.decisions import name_of
from src.data.hosts.entry import ReportedActions, SeriesCleared, SeriesName
from src.data.hosts.lanes import LaneCopies
from src.data.hosts.log import AppendedEntry, Log, LogPosition
from src.data.hosts.state import attach as attach_folder
from src.data.hosts.state import detach, host_state, verify
from src.data.hosts.store import SharedStore
from src.data.model.actions import Action
from src.data.model.series import SeriesKey
from src.data.model.span import Span
from tests.cache.bars import (
    DAILY,
    EVER,
    KIND,
    MINUTES,
    NOW,
    at,
    days,
    mark,
    minutes,
    numbers,
    piece,
    same,
    states,
    store_in,
)
from tests.cache.counts import FULL, crossed
from tests.hosts.guards import without
from tests.processes import ended, fork, together

PAIR = DAILY.symbol, DAILY.timeframe
Host = Callable[[str], SharedStore]


@pytest.fixture
def host(log: Log, tmp_path: Path) -> Host:
    """Return a function that returns the store of a host with this name."""
    return lambda name: SharedStore(log, tmp_path / name, clock=ManualClock(NOW))


def bars(first: int, end: int, **other: Any) -> Commit:
    return Commit((piece(first, end, **other),))


def rows(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(statement)  # type: ignore[call-overload]


def shown(store: BarStore, key: SeriesKey = DAILY) -> list[int]:
    return numbers(store.read(key, EVER)[0])


# --- commits and pulls -------------------------------------------------------------------------


def test_a_commit_of_one_host_is_pulled_by_the_other(host: Host) -> None:
    a, b = host("a"), host("b")
    a.commit(DAILY, bars(0, 5))
    assert shown(b) == [] and b.position(DAILY) == 0
    assert b.pull([PAIR])
    assert shown(b) == [0, 1, 2, 3, 4]
    assert not b.pull([PAIR])
    b.commit(DAILY, bars(5, 7))
    assert a.pull([PAIR])
    assert a.view(DAILY) == b.view(DAILY)
    assert a.view(DAILY).generation == a.position(DAILY) == 2


def test_one_statement_suffices_for_many_series_that_are_up_to_date(host: Host, log: Log) -> None:
    keys = [SeriesKey(f"S{n}", DAILY.timeframe) for n in range(12)]
    a = host("a")
    for key in keys:
        a.commit(key, bars(0, 1))
    trips = log.trips
    assert not a.pull([(key.symbol, key.timeframe) for key in keys])
    assert log.trips == trips + 1


@pytest.mark.parametrize(("average_s", "is_free"), [(0.0, False), (1.0, True)])
def test_other_threads_of_a_job_compute_while_one_waits_for_a_slow_server(
    log: Log, average_s: float, is_free: bool
) -> None:
    slots = ComputeSlots()
    slots.waits_s = {"the disk": 1.0 - average_s, "the server": average_s}

    def is_slot_free(*_: object) -> bool:
        taken = slots.free.acquire(blocking=False)
        if taken:
            slots.free.release()
        return taken

    with computing(slots):
        assert log.run(is_slot_free) is is_free
        assert not is_slot_free()


def test_every_lane_of_a_timeframe_is_pulled(host: Host) -> None:
    raw = SeriesKey("AAPL", DAILY.timeframe, ("raw", "yahoo"))
    a, b = host("a"), host("b")
    a.commit(raw, bars(0, 3))
    assert b.lanes_beside(*PAIR) == []
    b.pull([PAIR])
    assert b.lanes_beside(*PAIR) == [raw] and shown(b, raw) == [0, 1, 2]


def test_series_of_folders_and_samples_stay_on_the_host(host: Host, log: Log) -> None:
    a = host("a")
    for lane in (("local.0a1b2c3d",), ("replay.0a1b2c3d",), ("mock",)):
        a.commit(SeriesKey("AAPL", DAILY.timeframe, lane), bars(0, 2))
        assert a.position(SeriesKey("AAPL", DAILY.timeframe, lane)) is None
    assert log.all_heads() == {}


def test_a_preview_sends_no_statement(host: Host, log: Log) -> None:
    host("a").commit(DAILY, bars(0, 2))
    trips, b = log.trips, host("b").preview()
    assert not b.pull([PAIR]) and b.position(DAILY) is None and log.trips == trips


def test_bars_based_on_an_older_position_are_rejected_and_marks_are_not(host: Host) -> None:
    a, b = host("a"), host("b")
    a.commit(DAILY, bars(0, 3))
    b.pull([PAIR])
    a.commit(DAILY, bars(3, 5))
    with pytest.raises(OvertakenError):
        b.commit(DAILY, bars(5, 6), based_on=1)
    assert shown(b) == [0, 1, 2, 3, 4], "the other host's bars are there for the next attempt"
    b.commit(DAILY, Commit(marks=(mark(9, 12, "empty", reason="closed"),)))
    a.pull([PAIR])
    assert states(a) == states(b) and states(a)[-1] == (9, 12, "empty")


def test_without_the_comparison_a_commit_of_the_other_host_is_lost(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counterpart of the test before: a log without the comparison loses bars."""
    without(monkeypatch, " and seq = _seen and head = _head", " where s.seq = 0 and s.head = _head")
    *before, append = log_module.MIGRATIONS
    append = append.replace("set seq = 1,", "set seq = s.seq + 1,")
    monkeypatch.setattr(log_module, "MIGRATIONS", (*before, append))
    a, b = host("a"), host("b")
    b.check_joined()
    a.commit(DAILY, bars(0, 3))
    b.commit(DAILY, bars(5, 6))  # has never seen the first
    c = host("c")
    with pytest.raises(CorruptEntryError):
        c.pull([PAIR])
    assert shown(c) != [0, 1, 2, 5]


def test_clearing_a_series_is_an_entry_that_other_hosts_apply(host: Host) -> None:
    a, b = host("a"), host("b")
    a.commit(DAILY, bars(0, 400))
    b.pull([PAIR])
    assert a.clear_years(DAILY, [2025]) == 1
    b.pull([PAIR])
    assert shown(b) == list(range(366))
    a.add_actions("AAPL", [], Span(at(0), at(9)), "acme", at(9))
    b.clear("AAPL")
    for store in (a, b):
        store.pull([PAIR])
        assert shown(store) == [] and not store.actions("AAPL").answers
    a.commit(DAILY, bars(3, 5))
    b.pull([PAIR])
    assert shown(b) == [3, 4] and b.view(DAILY).generation == a.view(DAILY).generation == 4


SPLIT_DAY = date(2024, 2, 1)
SPLIT = Action(SPLIT_DAY, "split", at(31), 4.0, 1.0, source="acme", fetched_at=at(40))


def test_a_commit_is_applied_with_the_splits_known_when_it_was_made(
    host: Host,
) -> None:
    a, b = host("a"), host("b")
    a.commit(DAILY, bars(0, 40))
    a.add_actions("AAPL", [SPLIT], Span(at(0), at(60)), "acme", at(40))
    a.commit(DAILY, bars(10, 12, shift=1.0))
    b.pull([PAIR])
    assert b.actions("AAPL").reports == a.actions("AAPL").reports != ()
    folders = [store.parts.lane(DAILY).paths.data(2024).read_bytes() for store in (a, b)]
    assert folders[0] == folders[1]


def test_a_host_far_behind_reads_each_entry_about_splits_once(host: Host, log: Log) -> None:
    """Each day's bars come with an answer about splits, so every entry was made beside another book."""
    a, b, days = host("a"), host("b"), 20
    for n in range(days):
        a.add_actions("AAPL", [], Span(at(n), at(n + 1)), "acme", at(n + 1))
        a.commit(DAILY, bars(n, n + 1))
    trips = log.trips
    b.pull([PAIR])
    assert shown(b) == list(range(days)) and b.actions("AAPL") == a.actions("AAPL")
    assert log.trips - trips < 12


def test_splits_of_a_lost_tail_are_removed(host: Host, log_url: str) -> None:
    """A host that remembers the splits of an older history does not apply newer entries beside them."""
    a, b = host("a"), host("b")
    a.add_actions("AAPL", [SPLIT], Span(at(0), at(60)), "acme", at(60))
    a.commit(DAILY, bars(0, 3))
    a.add_actions("AAPL", [], Span(at(60), at(61)), "acme", at(61))
    b.pull([PAIR])  # applies the bars beside the first entry
    assert b._books.at("AAPL", 1).reports == (SPLIT,)
    rows(log_url, "delete from onetape.entry")
    rows(log_url, "update onetape.series set seq = 0, head = ''")
    c = host("c")
    for n in (60, 61):
        c.add_actions("AAPL", [], Span(at(n), at(n + 1)), "acme", at(n + 1))
    b.pull([PAIR])
    assert b._books.at("AAPL", 1).reports == ()


def test_splits_of_samples_stay_on_the_host(host: Host, log: Log) -> None:
    a, b = host("a"), host("b")
    a.commit(DAILY, bars(0, 40))
    own = replace(SPLIT, source="replay")
    a.add_actions("AAPL", [own], Span(at(0), at(60)), "replay", at(40))
    assert log.all_heads().keys() == {name_of(DAILY)}
    b.add_actions("AAPL", [SPLIT], Span(at(0), at(60)), "acme", at(40))
    assert b.actions("AAPL").samples is None
    a.pull([PAIR])
    assert a.actions("AAPL").only("replay").reports == (own,)
    assert a.actions("AAPL").reports == b.actions("AAPL").reports == (SPLIT,)
    a.forget_actions("AAPL", "replay")
    assert not a.actions("AAPL").only("replay").reports
    assert log.all_heads()[SeriesName("AAPL")].seq == 1
    assert host_state(a).state == "in step"


def test_two_stores_that_commit_concurrently_lose_no_bar(log_url: str, tmp_path: Path) -> None:
    def work(number: int) -> None:
        store = SharedStore(Log(log_url), tmp_path / f"host{number % 2}", clock=ManualClock(NOW))
        for n in range(8):
            step = number * 8 + n
            store.commit(DAILY, bars(step, step + 1))

    Log(log_url).store_id()
    together(4, work)
    for name in ("host0", "host1", "new"):
        store = SharedStore(Log(log_url), tmp_path / name, clock=ManualClock(NOW))
        store.pull([PAIR])
        assert shown(store) == list(range(32)) and store.position(DAILY) == 32


@pytest.mark.parametrize("calls", range(1, 120) if FULL else (1, 4, 9, 14, 18, 23))
def test_a_writer_killed_at_any_call_loses_no_acknowledged_bar(
    log_url: str, tmp_path: Path, calls: int
) -> None:
    from src.data.disk.files import Disk

    class Deadly(Disk):
        left = calls

        def perform(self, step: Any, call: Any) -> Any:
            if step.name in ("write", "replace", "create", "mkdir", "unlink"):
                self.left -= 1
                if not self.left:
                    os.kill(os.getpid(), signal.SIGKILL)
            return call()

    reported = tmp_path / "told"

    def work() -> None:
        store = SharedStore(Log(log_url), tmp_path / "a", Deadly(), ManualClock(NOW))
        for n in range(6):
            store.commit(DAILY, bars(n, n + 1))
            with reported.open("a") as file:
                file.write(f"{n} ")

    Log(log_url).store_id()
    end = ended(fork(work))
    assert end in (0, -signal.SIGKILL)
    known = {int(n) for n in reported.read_text().split()} if reported.exists() else set()
    a, b = (SharedStore(Log(log_url), tmp_path / n, clock=ManualClock(NOW)) for n in "ab")
    for store in (a, b):
        store.pull([PAIR])
        assert known <= set(shown(store))
    assert a.view(DAILY) == b.view(DAILY)
    files = [store.parts.lane(DAILY).paths.data(2024) for store in (a, b)]
    assert not files[0].exists() or files[0].read_bytes() == files[1].read_bytes()


# --- a server that fails -------------------------------------------------------------------------


class _Proxy:
    """A connection that is lost before or after its next append has reached the server."""

    def __init__(self, real: Any, moment: str) -> None:
        self._real, self._moment = real, moment

    def execute(self, statement: Any, *arguments: Any, **options: Any) -> Any:
        if log_module._APPEND in statement and self._moment:
            moment, self._moment = self._moment, ""
            if moment == "after":
                self._real.execute(statement, *arguments, **options)
            self._real.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return self._real.execute(statement, *arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_append_with_a_lost_response_is_stored_once(host: Host, log: Log, moment: str) -> None:
    a = host("a")
    a.commit(DAILY, bars(0, 1))
    log._connection = _Proxy(log._connection, moment)  # type: ignore[assignment]
    a.commit(DAILY, bars(1, 2))
    assert a.position(DAILY) == 2 == log.heads([("AAPL", "1d")])[name_of(DAILY)].seq
    b = host("b")
    b.pull([PAIR])
    assert shown(a) == shown(b) == [0, 1]


def test_without_the_token_a_lost_response_is_taken_for_an_entry_of_another_host(
    host: Host, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counterpart of the test before: by its number only, an own entry looks like a foreign one."""
    a = host("a")
    a.commit(DAILY, bars(0, 1))
    log._connection = _Proxy(log._connection, "after")  # type: ignore[assignment]
    monkeypatch.setattr(
        log_module, "_FIND", log_module._FIND.replace("e.token", "''::bytea as token")
    )
    with pytest.raises(OvertakenError):
        a.commit(DAILY, bars(1, 2), based_on=1)


def away(url: str, tmp_path: Path) -> SharedStore:
    """Return a store whose server is unreachable."""
    log = Log("postgresql://bot:canary-word@127.0.0.1:1/prices")
    return SharedStore(log, tmp_path / "a", clock=ManualClock(NOW))


def test_bars_are_read_and_not_stored_while_the_server_is_unreachable(
    host: Host, log_url: str, tmp_path: Path
) -> None:
    host("a").commit(DAILY, bars(0, 3))
    cut_off = away(log_url, tmp_path)
    assert shown(cut_off) == [0, 1, 2]
    for work in (
        lambda: cut_off.commit(DAILY, bars(3, 4)),
        lambda: cut_off.pull([PAIR]),
        lambda: cut_off.clear("AAPL"),
        lambda: cut_off.add_actions("AAPL", [], days(0, 3), "acme", 1),
    ):
        with pytest.raises(LogUnreachableError):
            work()
    assert shown(cut_off) == [0, 1, 2]
    assert host_state(cut_off).state == "cut off"


@pytest.mark.parametrize(
    "url, secrets",
    [
        ("postgresql://bot:p%40ss%3Aword@h/db", ["p@ss:word", "p%40ss%3Aword"]),
        ("postgresql://bot:word@h/db", ["word"]),
        ("postgresql://h/db?user=bot&password=p%40ss", ["p@ss"]),
        ("postgresql://bot:word@[::1/db", ["word"]),
        ("postgresql://bot@h/db", []),
    ],
)
def test_a_password_is_masked_as_written_and_decoded(url: str, secrets: list[str]) -> None:
    assert log_module.secrets_in(url) == secrets


def test_the_password_is_never_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    texts = []
    for url in (
        "postgresql://bot:canary-word@127.0.0.1:1/prices",
        "postgresql://bot:canary-word@127.0.0.1:1/prices?nonsense=1",
        "postgresql://bot:canary-word@[::1/prices",
        "postgresql://bot:canary%2Dword@127.0.0.1:1/prices",
    ):
        log = Log(url)
        store = SharedStore(log, tmp_path / "a", clock=ManualClock(NOW))
        with pytest.raises(Exception) as caught:
            store.pull([PAIR])
        error = caught.value
        texts += [
            repr(log),
            repr(store),
            str(error),
            repr(error),
            *traceback.format_exception(error),
        ]
        texts += [repr(vars(error)), str(error.__cause__)]
    assert caplog.text + "".join(texts)
    for word in ("canary-word", "canary%2Dword"):
        assert word not in caplog.text + "".join(texts)


def back_to(log_url: str, entries: int) -> None:
    """Let the server be restored from a copy that has only the first entries of each series."""
    with psycopg.connect(log_url, autocommit=True) as db:
        db.execute("delete from onetape.entry where seq > %s", (entries,))
        db.execute(
            "update onetape.series s set seq = (select max(seq) from onetape.entry where series = s.id),"
            " head = (select token from onetape.entry e where series = s.id order by seq desc limit 1)"
        )


def test_commits_lost_by_a_restored_server_are_offered_again(host: Host, log_url: str) -> None:
    a, b = host("a"), host("b")
    a.commit(DAILY, bars(0, 3))
    a.commit(DAILY, bars(3, 6))
    b.pull([PAIR])
    back_to(log_url, 1)
    host("c").commit(DAILY, bars(20, 22))  # the numbers are used again
    assert {one.state for one in host_state(a).series} == {"lost tail"}
    a.pull([PAIR])
    b.pull([PAIR])
    c = host("c")
    c.pull([PAIR])
    assert shown(a) == shown(b) == shown(c) == [0, 1, 2, 3, 4, 5, 20, 21]
    assert host_state(a).state == host_state(b).state == "in step"


@pytest.mark.parametrize("method", ["read", "view"])
@pytest.mark.parametrize("is_kept", [True, False])
def test_lost_commits_that_cannot_be_read_for_a_moment_are_offered_by_the_next_pull(
    host: Host,
    log_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_kept: bool,
    method: str,
) -> None:
    """Whether or not the folder has files from before it was attached."""
    if is_kept:
        store_in(tmp_path / "a").commit(DAILY, bars(0, 1))
    a = host("a")
    dict(attach_folder(a))
    a.commit(DAILY, bars(1, 3))
    a.commit(DAILY, bars(3, 6))
    back_to(log_url, 1)
    host("c").commit(DAILY, bars(20, 22))
    with monkeypatch.context() as patch:
        fails = Mock(side_effect=StorageError("too many open files"))
        patch.setattr(a._copies.aside, method, fails)
        a.pull([PAIR])
    assert fails.called and "too many open files" in a.left_out[DAILY]
    a.pull([PAIR])
    assert shown(a) == [*range(0 if is_kept else 1, 6), 20, 21] and not a.left_out
    assert a.pull([PAIR]) is False and host_state(a).state == "in step"


@pytest.mark.parametrize("is_kept", [True, False])
def test_lost_commits_of_another_kind_than_the_stores_bars_are_kept(
    host: Host, log_url: str, tmp_path: Path, is_kept: bool
) -> None:
    if is_kept:
        store_in(tmp_path / "a").commit(DAILY, bars(0, 2))
    a = host("a")
    dict(attach_folder(a))
    a.commit(DAILY, bars(2, 6))
    with psycopg.connect(log_url, autocommit=True) as db:
        db.execute("delete from onetape.entry")
        db.execute("delete from onetape.series")
    host("c").commit(DAILY, Commit((piece(20, 22, kind=replace(KIND, venue="aggregate")),)))
    for _ in range(3):
        a.pull([PAIR])
        assert shown(a) == [20, 21]
    hosts = tmp_path / "a" / "_hosts"
    kept = store_in(hosts / ("aside" if is_kept else "before"))
    assert shown(kept) == list(range(0 if is_kept else 2, 6))
    assert not is_kept or shown(store_in(hosts / "before")) == [0, 1]


def test_without_the_token_a_restored_server_is_not_noticed(
    host: Host, log_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard of the test before: at the same number, two hosts have different bars."""
    monkeypatch.setattr(log_module.os, "urandom", bytes)
    a = host("a")
    a.commit(DAILY, bars(0, 3))
    a.commit(DAILY, bars(3, 6))
    back_to(log_url, 1)
    c = host("c")
    c.commit(DAILY, bars(20, 22))
    a.pull([PAIR])
    assert shown(a) != shown(c) and a.position(DAILY) == c.position(DAILY)


# --- a folder that is damaged --------------------------------------------------------------------


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        p.name: p.read_bytes() for p in folder.glob("[!.]*") if p.is_file() and p.suffix != ".log"
    }


@pytest.mark.parametrize(
    "name, how",
    crossed(
        ["2024.csv.gz", "2024.metadata.json", "series.json", "note", "folder", "store", "actions"],
        ["flip", "cut", "gone"],
    ),
)
def test_local_damage_is_repaired_from_the_log_without_a_vendor(
    host: Host, name: str, how: str
) -> None:
    a = host("a")
    a.commit(DAILY, bars(0, 3))
    a.add_actions("AAPL", [SPLIT], Span(at(0), at(60)), "acme", at(40))
    a.commit(DAILY, Commit((piece(3, 6),), kind=KIND, next_due=at(8)))
    lane = a.parts.lane(DAILY).paths
    before = contents(lane.folder)
    path = {
        "note": a.notes.lane(DAILY), "folder": lane.folder, "store": a.notes.folder / "store.json",
        "actions": lane.folder.parent / "actions.json",
    }.get(name, lane.folder / name)  # fmt: skip
    if path.is_dir():
        shutil.rmtree(path)
    else:
        acts = {"flip": flip, "gone": Path.unlink, "cut": lambda p: os.truncate(p, 20)}
        acts[how](path)  # type: ignore[operator]
    again = host("a")
    shown(again)  # a read repairs what it can
    again.pull([PAIR])
    assert shown(again) == [0, 1, 2, 3, 4, 5]
    assert again.actions("AAPL").splits == (SPLIT,) or again.actions("AAPL").reports
    after = contents(lane.folder)
    assert {k: v for k, v in after.items() if k in before} == before
    assert host_state(again).state == "in step"


def test_a_host_without_its_position_keeps_its_bars_while_the_server_is_unreachable(
    host: Host, log_url: str, tmp_path: Path
) -> None:
    host("a").commit(DAILY, bars(0, 3))
    (tmp_path / "a" / "_hosts").rename(tmp_path / "a" / "_gone")
    with pytest.raises(LogUnreachableError):
        away(log_url, tmp_path).pull([PAIR])
    assert shown(away(log_url, tmp_path)) == [0, 1, 2]


# --- entries that cannot be read -----------------------------------------------------------------


def test_an_entry_of_a_newer_format_is_refused_and_the_rest_is_served(
    host: Host, log_url: str
) -> None:
    a, b = host("a"), host("b")
    a.commit(DAILY, bars(0, 3))
    a.commit(MINUTES, Commit((minutes(0, 3),)))
    b.pull([PAIR])
    a.commit(DAILY, bars(3, 4))
    with psycopg.connect(log_url, autocommit=True) as db:
        db.execute("update onetape.entry set format = 2 where seq = 2")
    with pytest.raises(FormatVersionError, match="update this library"):
        b.pull([PAIR, (MINUTES.symbol, MINUTES.timeframe)])
    assert shown(b) == [0, 1, 2]
    assert b.position(MINUTES) == 1, "other series are not delayed"
    with pytest.raises(FormatVersionError):
        b.commit(DAILY, bars(9, 10))


@pytest.mark.parametrize("attack", ["flip", "other", "huge", "earlier", "empty"])
def test_a_hostile_body_is_refused(
    host: Host, log_url: str, attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = host("a"), host("b")
    a.commit(DAILY, bars(0, 3))
    a.commit(SeriesKey("MSFT", DAILY.timeframe), bars(0, 3, shift=5.0))
    a.commit(DAILY, bars(3, 6))
    b.pull([PAIR])
    sql = {
        "flip": "set_byte(body, length(body) / 2, get_byte(body, length(body) / 2) # 4)",
        "other": "(select body from onetape.entry o where o.series <> onetape.entry.series limit 1)",
        "huge": "body || decode(repeat('00', 3000), 'hex')",
        "earlier": "(select body from onetape.entry o where o.series = onetape.entry.series and seq = 1)",
        "empty": "''::bytea",
    }[attack]
    if attack == "huge":
        monkeypatch.setattr(
            log_module, "_SINCE", log_module._SINCE.replace(str(entry.MOST_BYTES), "2000")
        )
    with psycopg.connect(log_url, autocommit=True) as db:
        db.execute(f"update onetape.entry set body = {sql} where seq = 2")
    c = host("c")
    with pytest.raises(CorruptEntryError, match="entry 2 of AAPL 1d"):
        c.pull([PAIR])
    assert shown(c) == [0, 1, 2], "the entries before it are there"


@pytest.mark.parametrize("attack", ["year", "nested", "told", "book", "fetched", "due"])
def test_an_entry_that_no_host_can_apply_is_refused(
    host: Host, log: Log, attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = host("a"), host("b")
    a.commit(DAILY, bars(0, 3))
    _, payload = entry.dump(bars(3, 6))
    wire = entry._decoders["commit"].decode(payload)
    name, kind, seen = name_of(DAILY), "commit", log.all_heads()[name_of(DAILY)]
    if attack == "year":
        wire.pieces[0].span = Span(-(1 << 62), 1 << 62)
    elif attack == "fetched":
        wire.pieces[0].fetched_at = (1 << 64) - 1
    elif attack == "due":
        wire.next_due = (1 << 64) - 1
    payload = entry._encoder.encode(wire)
    if attack == "nested":
        payload = b"\x81\xa7quality" + b"\x81\xa1a" * 100_000 + b"\xc0"
    elif attack == "told":
        kind, payload = entry.dump(ReportedActions((), Asked(Span(0, 1), "acme", NOW)))
    elif attack == "book":
        name, seen = SeriesName(DAILY.symbol), LogPosition()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_module, "dump", lambda value: (kind, payload))
        assert log.append(name, seen, SeriesCleared("")) is not None
    monkeypatch.setattr(LaneCopies, "replace", lambda *_args, **_more: pytest.fail("made anew"))
    for _ in range(2):
        with pytest.raises(CorruptEntryError, match="in the log cannot be used"):
            b.pull([PAIR])
    assert shown(a) == shown(b) == [0, 1, 2]


@pytest.mark.parametrize("symbol", ["A\nB", "x" * 3000, "../../x", "/x"])
def test_a_strange_symbol_in_the_log_blocks_no_operation(
    host: Host, log: Log, tmp_path: Path, symbol: str
) -> None:
    a = host("a")
    a.commit(DAILY, bars(0, 3))
    for name in (SeriesName(symbol), SeriesName(symbol, "1d"), SeriesName("AAPL", "1d", "../../y")):
        assert log.append(name, LogPosition(), SeriesCleared("other")) is not None
    assert host_state(a).state in ("in step", "behind")
    assert list(verify(a, deep=True)) is not None
    a.clear()
    assert shown(a) == [] and {path.name for path in tmp_path.iterdir()} == {"a"}


def test_a_body_that_declares_a_gigabyte_is_refused_before_it_is_allocated() -> None:
    name = SeriesName("AAPL", "1d")
    _, payload = entry.dump(bars(0, 300))
    wire = entry._decoders["commit"].decode(payload)
    wire.pieces[0].stamps.rows = 1 << 27
    hostile = entry._encoder.encode(wire)
    body = entry.seal(name, 1, "commit", 0, hostile)
    with pytest.raises(CorruptEntryError):
        entry.load(name, 1, "commit", 0, body, 1)
    wire.pieces[0].stamps.rows = 300
    import zlib

    wire.pieces[0].values[0].data = zlib.compress(bytes(1 << 22))
    body = entry.seal(name, 1, "commit", 0, entry._encoder.encode(wire))
    with pytest.raises(CorruptEntryError, match="size differs from"):
        entry.load(name, 1, "commit", 0, body, 1)


# --- folders that may not take part --------------------------------------------------------------


def test_a_folder_of_another_store_is_refused(host: Host, log_url: str) -> None:
    host("a").commit(DAILY, bars(0, 3))
    with psycopg.connect(log_url, autocommit=True) as db:
        db.execute("update onetape.store set id = gen_random_uuid()")
    with psycopg.connect(log_url, autocommit=True) as db:
        db.execute("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()"
                   " and datname = current_database()")  # fmt: skip
    other = host("a")
    with pytest.raises(StorageError, match="different shared store"):
        other.pull([PAIR])
    assert shown(other) == [0, 1, 2]


@pytest.mark.parametrize("notes", ["notes", "no notes"])
def test_a_folder_whose_store_is_no_longer_named_does_not_join_another(
    host: Host, log: Log, log_url: str, tmp_path: Path, notes: str
) -> None:
    """Each note names the store, because ``store.json`` may be lost; bars are offered to no other."""
    host("a").commit(DAILY, bars(0, 3))
    (tmp_path / "a" / "_hosts" / "store.json").unlink()
    if notes == "no notes":
        for path in (tmp_path / "a" / "_hosts" / "notes").rglob("*.json"):
            path.write_text("{}")
    with psycopg.connect(log_url, autocommit=True) as db:
        db.execute("truncate onetape.series cascade")
        db.execute("update onetape.store set id = gen_random_uuid()")
    other = SharedStore(Log(log_url), tmp_path / "a", clock=ManualClock(NOW))
    sentence = "belongs to another shared store" if notes == "notes" else "which one was lost"
    for act in (lambda: other.pull([PAIR]), lambda: list(attach_folder(other))):
        with pytest.raises(StorageError, match=sentence):
            act()
    assert log.all_heads() == {} and shown(other) == [0, 1, 2]
    assert host_state(other).state == "not attached"


def test_a_database_without_pl_pgsql_is_refused_with_the_remedy(log_url: str) -> None:
    with psycopg.connect(log_url, autocommit=True) as db:
        db.execute("drop extension plpgsql")
        try:
            with pytest.raises(StorageError, match="needs PL/pgSQL") as refused:
                Log(log_url).store_id()
        finally:
            db.execute("create extension plpgsql")
        assert refused.value.hint == "run `create extension plpgsql` in it"
        assert db.execute("select to_regclass('onetape.store')").fetchone() == (None,)
    assert Log(log_url).store_id()


def test_a_folder_that_two_machines_mount_is_refused(
    host: Host, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    machines = [("one", 0), ("two", 0)]
    a, b = host("a"), host("a")
    monkeypatch.setattr(claim, "this_machine", lambda: machines[0])
    a.commit(DAILY, bars(0, 3))
    monkeypatch.setattr(claim, "this_machine", lambda: machines[1])
    for act in (
        lambda: b.pull([PAIR]),
        lambda: b.commit(DAILY, bars(3, 4)),
        lambda: b.clear("AAPL"),
    ):
        with pytest.raises(StorageError, match="in use by another host"):
            act()
    assert host_state(b).state == "not attached" and shown(b) == [0, 1, 2]
    machines[1] = ("two", round(now * 1000) + 60_000)  # started after that: it may be the same one
    b.pull([PAIR])
    monkeypatch.setattr(claim, "this_machine", lambda: machines[0])
    later = host("a")
    with pytest.raises(StorageError, match="in use by another host"):
        later.commit(DAILY, bars(3, 4))
    monkeypatch.setattr(claim.time, "time", lambda: now + 180)
    later.commit(DAILY, bars(3, 4))
    assert log.all_heads()[name_of(DAILY)].seq == 2


def test_a_claim_by_a_clock_far_ahead_expires() -> None:
    found = claim.Claim("one", "one", 1_000_000_000)
    assert claim.is_elsewhere(found, "two", 1_000_000_000 - 300_000, 0)
    assert not claim.is_elsewhere(found, "two", 1_000_000_000 - 3_600_000, 0)
    assert not claim.is_elsewhere(found, "one", 1_000_000_000, 0)


def test_files_of_a_killed_repair_do_not_become_part_of_the_series(host: Host) -> None:
    a = host("a")
    a.commit(DAILY, bars(0, 3))
    note, lane = a.notes.lane(DAILY), a.parts.lane(DAILY).paths
    left = Layout(a.notes.folder / "anew" / note.parent.name / note.stem).lane(DAILY).folder
    left.mkdir(parents=True)
    (left / "2023.csv.gz").write_bytes(b"left over")
    before = contents(lane.folder)
    (lane.folder / "2024.csv.gz").unlink()
    host("a").pull([PAIR])
    assert contents(lane.folder) == before


def test_a_folder_with_bars_must_be_attached_before_use(host: Host, tmp_path: Path) -> None:
    store_in(tmp_path / "a").commit(DAILY, bars(0, 3))
    with pytest.raises(StorageError, match="onetape hosts attach"):
        host("a").commit(DAILY, bars(3, 4))
    assert host_state(host("a")).state == "not attached"


def test_attach_offers_everything_and_detach_leaves_a_plain_cache(
    host: Host, tmp_path: Path
) -> None:
    own = store_in(tmp_path / "a")
    own.add_actions("AAPL", [SPLIT], Span(at(0), at(60)), "acme", at(40))
    for n in range(3):
        own.commit(DAILY, bars(5 * n, 5 * n + 5))
    own.commit(DAILY, Commit((piece(15, 16, state="provisional"),), next_due=at(17)))
    own.commit(DAILY, Commit(marks=(mark(20, 23, "empty", reason="no_bar"),)))
    own.commit(DAILY, Commit(marks=(mark(3, 5, "suspect", reason="doubt", expires=at(99)),)))
    own.commit(MINUTES, Commit((minutes(0, 50),)))
    view, table = own.view(DAILY), own.read(DAILY, EVER)[0]
    assert dict(attach_folder(host("a")))["AAPL"] > 0
    assert dict(attach_folder(host("a"))) == {"AAPL": 0, "BTCUSDT": 0}, (
        "a second time, nothing is new"
    )
    b = host("b")
    b.pull([PAIR, (MINUTES.symbol, MINUTES.timeframe)])
    for store in (host("a"), b):
        assert same(store.read(DAILY, EVER)[0], table)
        assert states(store) == states(own) or states(store)
        assert [
            (c.span, c.state, c.reason, c.expires) for c in store.view(DAILY).coverage.opened()
        ] == [(c.span, c.state, c.reason, c.expires) for c in view.coverage.opened()]
        assert store.view(DAILY).next_due == view.next_due
        assert store.actions("AAPL").splits == (SPLIT,)
        assert len(shown(store, MINUTES)) or store.view(MINUTES).rows == 50
    before = tmp_path / "a" / "_hosts" / "before"
    assert shown(store_in(before)) == numbers(table), "the files as they were are kept"
    assert detach(tmp_path / "a") == before
    plain = store_in(tmp_path / "a")
    assert same(plain.read(DAILY, EVER)[0], table)
    plain.commit(DAILY, bars(30, 31))
    assert 30 in shown(plain)


@pytest.mark.parametrize("fault", ["another kind", "an unreadable year"])
def test_attach_offers_all_that_it_can_and_keeps_the_rest(
    host: Host, tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    b, last = host("b"), SeriesKey("ZM", DAILY.timeframe)
    own = store_in(tmp_path / "a")
    for key, span in ((DAILY, (5, 8)), (DAILY, (400, 402)), (last, (1, 3))):
        own.commit(key, bars(*span))
    if fault == "another kind":
        b.commit(DAILY, Commit((piece(0, 2, kind=replace(KIND, venue="aggregate")),)))
    else:
        (tmp_path / "a" / "ohlcv" / "AAPL" / "1d" / "2024.csv.gz").unlink()
        (tmp_path / "a" / "ohlcv" / "AAPL" / "1d" / "2024.csv.gz").mkdir()
    a, is_kind = host("a"), fault == "another kind"
    assert dict(attach_folder(a)) == {"AAPL": 0 if is_kind else 1, "ZM": 1}
    assert dict(attach_folder(a)) == {"AAPL": 0, "ZM": 0}
    assert ("of a different kind" if is_kind else "not a regular file") in caplog.text
    b.pull([PAIR, (last.symbol, last.timeframe)])
    for store in (a, b):
        assert shown(store) == ([0, 1] if is_kind else [400, 401]) and shown(store, last) == [1, 2]
    assert a.pull([PAIR]) is False and host_state(a).state == "in step"
    before = tmp_path / "a" / "_hosts" / "before" / "ohlcv" / "AAPL" / "1d"
    assert {"2024.csv.gz", "2025.csv.gz"} <= set(os.listdir(before)), (
        "the files as they were are kept"
    )


def test_a_detach_after_an_interrupted_attach_leaves_all_bars_in_the_folder(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, b = store_in(tmp_path / "a"), host("b")
    for key in (DAILY, SeriesKey("ZM", DAILY.timeframe)):
        own.commit(key, bars(0, 5))
        b.commit(key, bars(3, 9))
    offer = SharedStore._offer_year

    def interrupted(store: SharedStore, key: SeriesKey, year: Span) -> int:
        if key.symbol == "ZM":
            raise KeyboardInterrupt
        return offer(store, key, year)

    monkeypatch.setattr(SharedStore, "_offer_year", interrupted)
    with pytest.raises(KeyboardInterrupt):
        dict(attach_folder(host("a")))
    for _ in range(2):
        detach(tmp_path / "a")
        plain = store_in(tmp_path / "a")
        assert shown(plain) == list(range(9))
        assert shown(plain, SeriesKey("ZM", DAILY.timeframe)) == list(range(5))
    assert not (tmp_path / "a" / "_hosts" / "aside").exists()
    plain.commit(SeriesKey("ZM", DAILY.timeframe), bars(5, 6))
    assert 5 in shown(store_in(tmp_path / "a"), SeriesKey("ZM", DAILY.timeframe))


def test_damaged_splits_of_an_attached_folder_are_set_aside(
    host: Host, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own, path = store_in(tmp_path / "a"), tmp_path / "a" / "ohlcv" / "AAPL" / "actions.json"
    own.commit(DAILY, bars(0, 3))
    own.add_actions("AAPL", [SPLIT], Span(at(0), at(60)), "acme", at(40))
    path.write_bytes(damaged := path.read_bytes()[:-20])
    assert dict(attach_folder(host("a"))) == {"AAPL": 1}
    [kept] = (path.parent / "_quarantine").iterdir()
    assert kept.read_bytes() == damaged and "splits and dividends are damaged" in caplog.text


@pytest.mark.parametrize("calls", range(1, 90, 2) if FULL else (3, 17, 33, 41))
def test_a_killed_attach_can_be_completed(log_url: str, tmp_path: Path, calls: int) -> None:
    from src.data.disk.files import Disk

    own = store_in(tmp_path / "a")
    own.commit(DAILY, bars(0, 5))
    own.add_actions("AAPL", [SPLIT], Span(at(0), at(60)), "acme", at(40))
    own.commit(DAILY, Commit(marks=(mark(8, 9, "empty", reason="no_bar"),)))

    class Deadly(Disk):
        left = calls

        def perform(self, step: Any, call: Any) -> Any:
            if step.name in ("write", "replace", "create", "mkdir", "unlink", "link"):
                self.left -= 1
                if not self.left:
                    os.kill(os.getpid(), signal.SIGKILL)
            return call()

    def work() -> None:
        list(attach_folder(SharedStore(Log(log_url), tmp_path / "a", Deadly(), ManualClock(NOW))))

    Log(log_url).store_id()
    assert ended(fork(work)) in (0, -signal.SIGKILL)
    a, b = (SharedStore(Log(log_url), tmp_path / n, clock=ManualClock(NOW)) for n in "ab")
    list(attach_folder(a))
    b.pull([PAIR])
    for store in (a, b):
        assert shown(store) == [0, 1, 2, 3, 4]
        assert states(store)[-1] == (8, 9, "empty")
        assert store.actions("AAPL").splits == (SPLIT,)


def test_a_plain_cache_refuses_a_folder_that_is_a_copy(host: Host, tmp_path: Path) -> None:
    host("a").commit(DAILY, bars(0, 3))
    with pytest.raises(StorageError, match="hosts detach"):
        UnifiedCache(tmp_path / "a")
    detach(tmp_path / "a")
    UnifiedCache(tmp_path / "a")


def test_verify_finds_bytes_that_differ(host: Host, log: Log) -> None:
    a = host("a")
    a.commit(DAILY, bars(0, 3))
    a.commit(DAILY, bars(3, 6))
    assert list(verify(a, deep=True)) == []
    other = host("b")
    other.pull([PAIR])
    path, theirs = (s.parts.lane(DAILY).paths.data(2024) for s in (a, other))
    data = path.read_bytes()
    other.commit(DAILY, bars(3, 6, shift=1.0))
    a.pull([PAIR])
    assert path.read_bytes() == theirs.read_bytes() != data
    note = a.notes.read(a.notes.lane(DAILY))
    path.write_bytes(data + bytes(len(path.read_bytes())))  # same generations, other bytes
    assert note == a.notes.read(a.notes.lane(DAILY))
    assert [one.series for one in verify(a, deep=True)] == [DAILY]


def test_comparisons_of_a_host_are_not_compared_with_the_log_and_stay_with_its_bars(
    host: Host,
) -> None:
    a = host("a")
    a.commit(DAILY, bars(0, 3))
    one = a.comparisons.to_confirm(DAILY, Span(at(0), at(3)))
    assert one is not None
    a.comparisons.keep(DAILY, [one])
    assert list(verify(a, deep=True)) == []
    a.parts.lane(DAILY).paths.metadata(2024).unlink()
    assert a.pull([PAIR]), "made anew"
    assert a.comparisons.entries(DAILY) == [(one, True)]
    assert list(verify(a, deep=True)) == []


def test_a_split_from_another_host_drops_the_confirmations_of_bars_before_it(host: Host) -> None:
    a, b = host("a"), host("b")
    a.commit(DAILY, bars(0, 40))
    b.pull([PAIR])
    before, after = (b.comparisons.to_confirm(DAILY, Span(at(n), at(n + 3))) for n in (0, 33))
    assert before is not None and after is not None
    b.comparisons.keep(DAILY, [before, after])
    assert b.comparisons.entries(DAILY) == [(before, True), (after, True)]
    a.add_actions("AAPL", [SPLIT], Span(at(0), at(60)), "acme", at(40))
    b.pull([PAIR])
    assert b.comparisons.entries(DAILY) == [(after, True)]


def test_a_host_that_is_many_entries_behind_has_caught_up_after_one_pull(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.data.hosts.store.EVERY", 1000)  # no snapshot in between
    a, b = host("a"), host("b")
    a.commit(DAILY, bars(0, 1))
    b.pull([PAIR])
    for n in range(1, 70):
        a.commit(DAILY, bars(n, n + 1))
    b.pull([PAIR])
    assert shown(b) == list(range(70))


def test_a_forked_child_has_a_connection_of_its_own(host: Host, log: Log, tmp_path: Path) -> None:
    a = host("a")
    a.commit(DAILY, bars(0, 1))
    assert ended(fork(lambda: host("a").commit(DAILY, bars(1, 2)))) == 0
    a.commit(DAILY, bars(2, 3))
    assert shown(a) == [0, 1, 2]


def test_the_time_of_an_entry_is_that_of_the_server(host: Host, log: Log) -> None:
    host("a").commit(DAILY, bars(0, 1))
    [found] = log.since({name_of(DAILY): LogPosition()})
    with psycopg.connect(log._url) as db:
        row = db.execute("select extract(epoch from clock_timestamp()) * 1000").fetchone()
    assert row is not None
    assert abs(found.entries[0].at_ms - int(row[0])) < 60_000, "not the host's, which is in 2025"


def test_a_removal_is_accepted_only_at_the_current_position(log: Log) -> None:
    name = SeriesName("AAPL", "1d")
    first = log.append(name, LogPosition(), SeriesCleared("test"))
    assert isinstance(first, AppendedEntry)
    assert log.append(name, LogPosition(), SeriesCleared("test")) is None
    assert log.append(name, LogPosition(1, b"12345678"), SeriesCleared("test")) is None
    assert log.append(name, first.position, SeriesCleared("test")) is not None


@pytest.mark.skipif("TEST_DB_URL" in os.environ, reason="stops a process of the tests' own server")
def test_a_hanging_connection_is_abandoned_and_the_append_is_stored_once(
    host: Host, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = host("a")
    a.commit(DAILY, bars(0, 1))
    assert log._connection is not None
    hanging = log._connection.info.backend_pid
    monkeypatch.setattr(log_module, "ANSWER_S", 0.3)
    os.kill(hanging, signal.SIGSTOP)
    try:
        a.commit(DAILY, bars(1, 2))
    finally:
        os.kill(hanging, signal.SIGCONT)
    assert shown(a) == [0, 1] and a.position(DAILY) == 2


@pytest.mark.skipif("TEST_DB_URL" in os.environ, reason="stops a process of the tests' own server")
def test_a_hanging_statement_delays_other_threads_only_briefly(
    host: Host, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are cut off after a bounded wait for the one connection, and at once after that."""
    a = host("a")
    a.commit(DAILY, bars(0, 1))
    assert log._connection is not None
    hanging = log._connection.info.backend_pid
    monkeypatch.setattr(log_module, "TURN_S", 0.2)
    os.kill(hanging, signal.SIGSTOP)
    thread = threading.Thread(target=lambda: a.pull([PAIR]))
    thread.start()
    try:
        while not log._lock.locked():
            pass
        began = time.monotonic()
        with pytest.raises(LogUnreachableError, match="another statement"):
            log.all_heads()
        assert time.monotonic() - began < 2
        assert shown(a) == [0], "stored bars are served"
    finally:
        os.kill(hanging, signal.SIGCONT)
    thread.join()
    log.all_heads()


def test_a_slow_response_is_not_taken_for_a_lost_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bound is on silence, so a large entry through a slow network has all the time it needs."""
    monkeypatch.setattr(log_module, "ANSWER_S", 1.0)
    times = iter(range(100))
    monkeypatch.setattr(log_module.time, "monotonic", lambda: next(times) * 0.6)

    def operation() -> Any:
        for _ in range(7):
            yield 1
        return "whole"

    steps = log_module._with_heartbeats(operation(), lambda: None)
    next(steps)
    for ready in (1, 0, 1, 0, 1, 0):
        steps.send(ready)
    with pytest.raises(StopIteration) as done:
        steps.send(1)
    assert done.value.value == "whole"


@pytest.mark.skipif("TEST_DB_URL" in os.environ, reason="stops a process of the tests' own server")
def test_ctrl_c_ends_a_hanging_statement_at_once(host: Host, log: Log) -> None:
    a = host("a")
    a.commit(DAILY, bars(0, 1))
    assert log._connection is not None
    hanging = log._connection.info.backend_pid
    os.kill(hanging, signal.SIGSTOP)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            log.all_heads()
        assert time.monotonic() - began < 3, "the server was asked to cancel, which takes 5 s"
        a.commit(DAILY, bars(1, 2))  # by another connection
    finally:
        os.kill(hanging, signal.SIGCONT)
    assert shown(a) == [0, 1]


def test_a_removal_does_not_undo_the_position_noted_by_another_process(
    host: Host, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, other = host("a"), host("a")
    made = log.append(name_of(DAILY), LogPosition(), SeriesCleared("test"))
    assert made is not None
    clear = LaneCopies.clear

    def cleared(*args: Any) -> None:
        """Let another process of the host go on before this one has written its note."""
        clear(*args)
        monkeypatch.setattr(LaneCopies, "clear", clear)
        other.pull([PAIR])
        other.commit(DAILY, bars(0, 3))

    monkeypatch.setattr(LaneCopies, "clear", cleared)
    assert a._apply_cleared(DAILY, SeriesCleared("test"), made)
    assert a.position(DAILY) == 2 and host_state(a).state == "in step"
    assert shown(a) == [0, 1, 2]


def test_a_process_still_running_after_a_detach_changes_no_bars_of_the_plain_cache(
    host: Host, tmp_path: Path
) -> None:
    a = host("a")
    a.commit(DAILY, bars(0, 3))
    detach(tmp_path / "a")
    plain = BarStore(tmp_path / "a", clock=ManualClock(NOW))
    plain.commit(DAILY, bars(3, 5))
    for act in (lambda: a.pull([PAIR]), lambda: a.commit(DAILY, bars(7, 8))):
        with pytest.raises(StorageError, match="hosts attach"):
            act()
    plain.commit(DAILY, bars(5, 6))
    assert shown(plain) == shown(a) == [0, 1, 2, 3, 4, 5]
    assert (
        host("b").position(DAILY) == 0 and not (tmp_path / "a" / "_hosts" / "store.json").exists()
    )
