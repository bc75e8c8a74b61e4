"""Hosts that share files: commits reach the other hosts, and lost ones are recovered."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import psycopg
import pytest

from src.data.core.bars.series import SeriesStore
from src.data.core.cache.clear import clear_years
from src.data.core.cache.facade.unified_cache import UnifiedCache
from src.data.core.cache.store import BarStore, OtherHosts
from src.data.core.cache.values import Commit
from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk
from src.data.core.hosts import notes as notes_module
from src.data.core.hosts import postgres, schema
from src.data.core.hosts.decisions import name_of
from src.data.core.hosts.folder import SharedFolder, shared_store
from src.data.core.hosts.postgres import PostgresFiles
from src.data.core.hosts.state import attach as attach_folder
from src.data.core.hosts.state import detach, host_state, verify
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.actions import Action
from src.data.core.model.request.query import BarsQuery
from src.data.core.model.time.span import Span
from src.data.core.runtime.compute_slots import ComputeSlots, computing
from src.data.errors import (
    CorruptEntryError,
    FormatVersionError,
    LogUnreachableError,
    OvertakenError,
    StorageError,
)
from tests.core.cache.bars import (
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
from tests.core.cache.counts import FULL, crossed
from tests.processes import ended, fork, together

PAIR = DAILY.symbol, DAILY.timeframe
OTHER = SeriesKey("ZM", DAILY.timeframe)
SPLIT_DAY = date(2024, 2, 1)
SPLIT = Action(SPLIT_DAY, "split", at(31), 4.0, 1.0, source="acme", fetched_at=at(40))
Host = Callable[[str], BarStore]
CUT = "update onetape.chunk set body = '' where path like '%.gz'"


@pytest.fixture
def host(shared: PostgresFiles, tmp_path: Path) -> Host:
    """Return a function that returns the store of a host with this name."""
    return lambda name: shared_store(shared, tmp_path / name, clock=ManualClock(NOW))


def new(url: str, folder: Path, disk: Disk | None = None) -> BarStore:
    """Return the store of a host with a connection of its own."""
    return shared_store(PostgresFiles(url), folder, disk, ManualClock(NOW))


def bars(first: int, end: int, **other: Any) -> Commit:
    return Commit((piece(first, end, **other),))


def sql(url: str, *statements: str) -> list[Any]:
    """Run statements, and return the rows of the last one."""
    with psycopg.connect(url, autocommit=True) as db:
        for statement in statements:
            cursor = db.execute(statement)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []


def shown(store: BarStore, key: SeriesKey = DAILY) -> list[int]:
    return numbers(store.read(key, EVER)[0])


def contents(store: BarStore, key: SeriesKey = DAILY) -> dict[str, bytes]:
    """Return the files of a series that every host has."""
    folder = store.parts.lane(key).paths.folder
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != ".lock"]
    names = {str(p.relative_to(folder)): p for p in files}
    return {
        n: p.read_bytes() for n, p in names.items() if not n.startswith((".", "_versions", "conf"))
    }


def position(store: BarStore, key: SeriesKey = DAILY) -> int:
    """Return the number of changes of a series that the folder shows."""
    note = store.hosts.notes.read(name_of(key))
    return 0 if note is None else note.head.gen


@contextmanager
def without(monkeypatch: pytest.MonkeyPatch, *guards: str) -> Iterator[None]:
    """Let the functions of a new store lack some conditions, to show what these prevent."""
    script = schema.SCRIPT
    for guard in guards:
        assert guard in script
        script = script.replace(guard, "")
    with monkeypatch.context() as patch:
        patch.setattr(postgres, "SCRIPT", script)
        yield


# --- commits and pulls -------------------------------------------------------------------------


def test_a_commit_of_one_host_is_pulled_by_the_other(host: Host) -> None:
    a, b = host("a"), host("b")
    a.commit(DAILY, bars(0, 5))
    assert shown(b) == [] and position(b) == 0
    assert b.hosts.pull([PAIR])
    assert shown(b) == [0, 1, 2, 3, 4]
    assert not b.hosts.pull([PAIR])
    b.commit(DAILY, bars(5, 7))
    assert a.hosts.pull([PAIR])
    assert a.view(DAILY) == b.view(DAILY)
    assert a.view(DAILY).generation == position(a) == 2


def test_one_statement_suffices_for_many_series_that_are_up_to_date(
    host: Host, shared: PostgresFiles
) -> None:
    keys = [SeriesKey(f"S{n}", DAILY.timeframe) for n in range(12)]
    a = host("a")
    for key in keys:
        a.commit(key, bars(0, 1))
    a.hosts.pull([PAIR])
    trips = shared.trips
    assert not a.hosts.pull([(key.symbol, key.timeframe) for key in keys])
    assert shared.trips == trips + 1


@pytest.mark.parametrize(("average_s", "is_free"), [(0.0, False), (1.0, True)])
def test_other_threads_of_a_job_compute_while_one_waits_for_a_slow_server(
    shared: PostgresFiles, average_s: float, is_free: bool
) -> None:
    slots = ComputeSlots()
    slots.waits_s = {"the disk": 1.0 - average_s, "the server": average_s}

    def is_slot_free(*_: object) -> bool:
        taken = slots.free.acquire(blocking=False)
        if taken:
            slots.free.release()
        return taken

    with computing(slots):
        assert shared.run(is_slot_free) is is_free
        assert not is_slot_free()


def test_every_lane_of_a_timeframe_is_pulled(host: Host) -> None:
    raw = SeriesKey("AAPL", DAILY.timeframe, ("raw", "yahoo"))
    a, b = host("a"), host("b")
    a.commit(raw, bars(0, 3))
    assert b.lanes_beside(*PAIR) == []
    b.hosts.pull([PAIR])
    assert b.lanes_beside(*PAIR) == [raw] and shown(b, raw) == [0, 1, 2]


def test_series_of_folders_and_samples_stay_on_the_host(host: Host, shared: PostgresFiles) -> None:
    a = host("a")
    for lane in (("local.0a1b2c3d",), ("replay.0a1b2c3d",), ("mock",)):
        a.commit(SeriesKey("AAPL", DAILY.timeframe, lane), bars(0, 2))
        assert not a.hosts.is_shared(SeriesKey("AAPL", DAILY.timeframe, lane))
    assert shared.names({}) == []


def test_a_preview_sends_no_statement(host: Host, shared: PostgresFiles) -> None:
    host("a").commit(DAILY, bars(0, 2))
    trips, b = shared.trips, host("b").preview()
    assert not b.hosts.pull([PAIR]) and not b.hosts.is_shared(DAILY) and shared.trips == trips


def test_an_offline_request_keeps_its_commits_in_memory(host: Host, shared: PostgresFiles) -> None:
    a = host("a")
    a.commit(DAILY, bars(0, 2))
    query = BarsQuery(Instrument("AAPL", "stock"), DAILY.timeframe, days(0, 9), NOW, offline=True)
    series, trips = SeriesStore(a, ManualClock(NOW), DAILY, query), shared.trips
    closed = Commit(marks=(mark(9, 12, "empty", reason="closed"),))
    series.commit(closed)
    assert series.unstored == [closed] and shared.trips == trips and not series.problems


def test_bars_based_on_an_older_view_are_rejected_and_marks_are_not(host: Host) -> None:
    a, b = host("a"), host("b")
    a.commit(DAILY, bars(0, 3))
    b.hosts.pull([PAIR])
    before = b.view(DAILY)
    a.commit(DAILY, bars(3, 5))
    with pytest.raises(OvertakenError):
        b.commit(DAILY, bars(5, 6), based_on=before)
    assert shown(b) == [0, 1, 2, 3, 4], "the other host's bars are there for the next attempt"
    b.commit(DAILY, Commit(marks=(mark(9, 12, "empty", reason="closed"),)))
    a.hosts.pull([PAIR])
    assert states(a) == states(b) and states(a)[-1] == (9, 12, "empty")


def test_bars_based_on_a_year_that_another_host_has_cleared_are_rejected(host: Host) -> None:
    a, b = host("a"), host("b")
    a.commit(DAILY, bars(-3, 0))
    a.commit(DAILY, bars(0, 3))
    b.hosts.pull([PAIR])
    before = b.view(DAILY)
    a.clear_years(DAILY, [2023])
    with pytest.raises(OvertakenError):
        b.commit(DAILY, bars(3, 4), based_on=before)
    assert shown(b) == [0, 1, 2]
    b.commit(DAILY, bars(3, 4), based_on=b.view(DAILY))
    assert shown(b) == [0, 1, 2, 3]


def test_without_the_comparison_a_commit_of_the_other_host_is_lost(
    log_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counterpart of the test before: a push that does not compare the state loses bars."""
    with without(monkeypatch, " and gen = _gen and token = _head"):
        a, b = new(log_url, tmp_path / "a"), new(log_url, tmp_path / "b")
        a.commit(DAILY, bars(0, 3))
        b.hosts.pull([PAIR])
        a.commit(DAILY, bars(3, 6))
        monkeypatch.setattr(SharedFolder, "_update", lambda *_: False)
        lease = b.hosts.shared.lease
        seen = b.hosts.notes.read(name_of(DAILY))
        assert seen is not None

        def stale(*args: Any, **more: Any) -> Any:
            """Return the state that this host has seen, as if its lease had not been asked for another."""
            granted = lease(*args, **more)
            heads = None if granted.heads is None else {name_of(DAILY): seen.head}
            return granted._replace(heads=heads)

        monkeypatch.setattr(b.hosts.shared, "lease", stale)
        b.commit(DAILY, bars(9, 10))
    c = new(log_url, tmp_path / "c")
    monkeypatch.undo()
    c.hosts.pull([PAIR])
    assert not {3, 4, 5} <= set(shown(c))


def test_a_clear_reaches_all_hosts(host: Host) -> None:
    a, b = host("a"), host("b")
    a.commit(DAILY, bars(0, 400))
    b.hosts.pull([PAIR])
    assert a.clear_years(DAILY, [2025]) == 1
    b.hosts.pull([PAIR])
    assert shown(b) == list(range(366))
    a.add_actions("AAPL", [], Span(at(0), at(9)), "acme", at(9))
    b.clear("AAPL")
    for store in (a, b):
        store.hosts.pull([PAIR])
        assert shown(store) == [] and not store.actions("AAPL").answers
    a.commit(DAILY, bars(3, 5))
    b.hosts.pull([PAIR])
    assert shown(b) == [3, 4] and a.view(DAILY) == b.view(DAILY)
    assert host_state(a.hosts).state == host_state(b.hosts).state == "in step"


def test_a_clear_of_bars_that_only_other_hosts_have_reaches_them(
    host: Host, tmp_path: Path
) -> None:
    a, b = host("a"), host("b")
    a.commit(DAILY, bars(0, 3))
    a.add_actions("AAPL", [], Span(at(0), at(9)), "acme", at(9))
    b.clear("NOPE")
    assert not (tmp_path / "b" / "ohlcv" / "NOPE").exists()
    b.clear("AAPL")
    a.hosts.pull([PAIR])
    assert shown(a) == [] and not a.actions("AAPL").answers


def test_a_shared_store_does_everything_of_which_a_store_notifies_other_hosts() -> None:
    notices = {name for name in vars(OtherHosts) if not name.startswith("_")}
    assert len(notices) > 8 and notices <= vars(SharedFolder).keys()


def test_a_clear_also_drops_the_bars_of_own_files_from_memory(host: Host) -> None:
    """As in a store of one machine."""
    a, own = host("a"), SeriesKey("AAPL", DAILY.timeframe, ("local.0a1b2c3d",))
    reading = a.reading_files()
    reading.commit(own, bars(0, 2))
    assert shown(reading, own) == [0, 1]
    a.clear("AAPL")
    assert shown(reading, own) == []


def test_appends_rewrites_and_rejected_rows_give_all_hosts_the_same_bytes(host: Host) -> None:
    a, b, last = host("a"), host("b"), SeriesKey("BTCUSDT", MINUTES.timeframe)
    pair = last.symbol, last.timeframe
    for n in range(12):
        writer, reader = (a, b) if n % 3 else (b, a)
        writer.commit(last, Commit((minutes(20 * n, 20 * n + 15),)))
        reader.hosts.pull([pair])
        assert contents(a, last) == contents(b, last)
    a.commit(last, Commit((minutes(10, 14, shift=1.0),)))  # withdraws and rewrites
    b.hosts.pull([pair])
    assert contents(a, last) == contents(b, last) and len(shown(b, last)) == len(shown(a, last))
    c = host("c")
    c.hosts.pull([pair])
    assert contents(a, last) == contents(c, last)


def test_only_the_bytes_that_changed_are_sent(
    host: Host, shared: PostgresFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, int, int]] = []
    push = shared.push

    def pushed(name: str, seen: Any, changes: Any, *args: Any, **more: Any) -> Any:
        sent.extend((c.path, c.start, c.size) for c in changes if c.path.endswith(".csv.gz"))
        return push(name, seen, changes, *args, **more)

    monkeypatch.setattr(shared, "push", pushed)
    a = host("a")
    for day in range(4):
        a.commit(MINUTES, Commit((minutes(1440 * day, 1440 * day + 600),)))
    assert [start for _, start, _ in sent] == [0, *(size for _, _, size in sent[:-1])], "appended"
    sent.clear()
    a.commit(MINUTES, Commit((minutes(1440 * 3 + 5, 1440 * 3 + 6, shift=1.0),)))
    [(_, start, size)] = sent
    assert 0 < start < size, "a rewrite begins at the first changed byte"
    monkeypatch.undo()
    b = host("b")
    b.hosts.pull([(MINUTES.symbol, MINUTES.timeframe)])
    assert contents(a, MINUTES) == contents(b, MINUTES)


def test_many_small_pushes_are_folded(
    log_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = schema.SCRIPT.replace(f">= {schema._FOLD_AT} then", ">= 5 then")
    monkeypatch.setattr(postgres, "SCRIPT", script)
    a, b = new(log_url, tmp_path / "a"), new(log_url, tmp_path / "b")
    for n in range(14):
        a.commit(MINUTES, Commit((minutes(n, n + 1),)))
        if n == 6:
            b.hosts.pull([(MINUTES.symbol, MINUTES.timeframe)])
    most = "select max(n) from (select count(*) n from onetape.chunk group by series, path) c"
    assert sql(log_url, most) == [(2,)]
    c = new(log_url, tmp_path / "c")
    for store in (b, c):
        store.hosts.pull([(MINUTES.symbol, MINUTES.timeframe)])
        assert contents(store, MINUTES) == contents(a, MINUTES)


def test_a_pull_brings_the_splits_that_a_commit_was_made_with(host: Host) -> None:
    a, b = host("a"), host("b")
    a.commit(DAILY, bars(0, 40))
    a.add_actions("AAPL", [SPLIT], Span(at(0), at(60)), "acme", at(40))
    a.commit(DAILY, bars(10, 12, shift=1.0))
    b.hosts.pull([PAIR])
    assert b.actions("AAPL").reports == a.actions("AAPL").reports != ()
    assert contents(a) == contents(b)


def test_splits_of_samples_stay_on_the_host(host: Host, shared: PostgresFiles) -> None:
    a, b = host("a"), host("b")
    a.commit(DAILY, bars(0, 40))
    own = replace(SPLIT, source="replay")
    a.add_actions("AAPL", [own], Span(at(0), at(60)), "replay", at(40))
    assert [row.name for row in shared.names({})] == [name_of(DAILY)]
    b.add_actions("AAPL", [SPLIT], Span(at(0), at(60)), "acme", at(40))
    assert b.actions("AAPL").samples is None
    a.hosts.pull([PAIR])
    assert a.actions("AAPL").only("replay").reports == (own,)
    assert a.actions("AAPL").reports == b.actions("AAPL").reports == (SPLIT,)
    a.forget_actions("AAPL", "replay")
    assert not a.actions("AAPL").only("replay").reports
    assert host_state(a.hosts).state == "in step"


def test_facts_from_a_hosts_rules_are_not_in_the_files(
    shared: PostgresFiles, tmp_path: Path
) -> None:
    facts = {"acme": {"reliability": 0.8, "rate_limit": "5/minute"}}
    a = shared_store(shared, tmp_path / "a", clock=ManualClock(NOW), vendor_facts=facts)
    a.commit(DAILY, bars(0, 3))
    assert b"5/minute" not in a.parts.lane(DAILY).paths.metadata(2024).read_bytes()


def test_two_stores_that_commit_concurrently_lose_no_bar(log_url: str, tmp_path: Path) -> None:
    def work(number: int) -> None:
        store = new(log_url, tmp_path / f"host{number % 2}")
        for n in range(8):
            step = number * 8 + n
            store.commit(DAILY, bars(step, step + 1))

    PostgresFiles(log_url).store_id()
    together(4, work)
    files = []
    for name in ("host0", "host1", "new"):
        store = new(log_url, tmp_path / name)
        store.hosts.pull([PAIR])
        assert shown(store) == list(range(32)) and position(store) == 32
        files.append(contents(store))
    assert files[0] == files[1] == files[2]


class Deadly(Disk):
    """A disk whose process is killed at its n-th change."""

    left = 0

    def perform(self, step: Any, call: Any) -> Any:
        if step.name in ("write", "replace", "create", "mkdir", "unlink", "link"):
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)
        return call()


def killed(log_url: str, tmp_path: Path, work: Callable[[], None]) -> None:
    """Run ``work``, which may be killed, in a process of its own; then compare two hosts."""
    reported = tmp_path / "told"
    PostgresFiles(log_url).store_id()
    assert ended(fork(work)) in (0, -signal.SIGKILL)
    known = {int(n) for n in reported.read_text().split()} if reported.exists() else set()
    a, b = (new(log_url, tmp_path / name) for name in "ab")
    for store in (a, b):
        store.hosts.pull([PAIR])
        assert known <= set(shown(store))
    assert a.view(DAILY) == b.view(DAILY) and contents(a) == contents(b)


@pytest.mark.parametrize("calls", range(1, 120) if FULL else (1, 4, 9, 14, 18, 23, 31, 40))
def test_a_writer_killed_at_any_call_loses_no_acknowledged_bar(
    log_url: str, tmp_path: Path, calls: int
) -> None:
    def work() -> None:
        disk = Deadly()
        disk.left = calls
        store = new(log_url, tmp_path / "a", disk)
        for n in range(6):
            store.commit(DAILY, bars(n, n + 1))
            with (tmp_path / "told").open("a") as file:
                file.write(f"{n} ")

    killed(log_url, tmp_path, work)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("statement", range(1, 30) if FULL else (2, 3, 5, 6, 8, 12))
def test_a_host_killed_at_any_statement_loses_no_acknowledged_bar(
    log_url: str, tmp_path: Path, statement: int, moment: str
) -> None:
    """A host that writes, pulls what another one has written, and folds."""
    other = new(log_url, tmp_path / "other")
    other.commit(DAILY, bars(50, 52))

    def work() -> None:
        store, left = new(log_url, tmp_path / "a"), [statement]
        run = store.hosts.shared.run

        def deadly(work: Any) -> Any:
            left[0] -= 1
            if not left[0] and moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            made = run(work)
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return made

        store.hosts.shared.run = deadly  # type: ignore[method-assign]
        for n in range(6):
            store.commit(DAILY, bars(n, n + 1))
            with (tmp_path / "told").open("a") as file:
                file.write(f"{n} ")
            other.commit(DAILY, bars(60 + n, 61 + n))
            store.hosts.pull([PAIR])

    killed(log_url, tmp_path, work)


@pytest.mark.parametrize("calls", range(1, 40) if FULL else (1, 2, 4, 6, 8, 10))
def test_a_pull_killed_between_its_files_and_its_note_applies_nothing_twice(
    log_url: str, tmp_path: Path, calls: int
) -> None:
    a, b = new(log_url, tmp_path / "other"), new(log_url, tmp_path / "a")
    for n in range(3):
        a.commit(DAILY, bars(n, n + 1))
        b.hosts.pull([PAIR])
    a.commit(DAILY, bars(3, 5))

    def work() -> None:
        disk = Deadly()
        disk.left = calls
        new(log_url, tmp_path / "a", disk).hosts.pull([PAIR])

    killed(log_url, tmp_path, work)
    assert contents(new(log_url, tmp_path / "a")) == contents(a)


# --- a server that fails -------------------------------------------------------------------------


class _Proxy:
    """A connection that is lost before or after its next push has reached the server."""

    def __init__(self, real: Any, moment: str) -> None:
        self._real, self._moment = real, moment

    def execute(self, statement: Any, *arguments: Any, **options: Any) -> Any:
        if statement == postgres._PUSH and self._moment:
            moment, self._moment = self._moment, ""
            if moment == "after":
                self._real.execute(statement, *arguments, **options)
            self._real.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return self._real.execute(statement, *arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_push_with_a_lost_response_is_stored_once(
    host: Host, shared: PostgresFiles, moment: str
) -> None:
    a = host("a")
    a.commit(DAILY, bars(0, 1))
    shared._connection = _Proxy(shared._connection, moment)  # type: ignore[assignment]
    a.commit(DAILY, bars(1, 2))
    assert position(a) == 2 == shared.heads([name_of(DAILY)])[name_of(DAILY)][0].gen
    b = host("b")
    b.hosts.pull([PAIR])
    assert shown(a) == shown(b) == [0, 1]


def test_without_the_token_a_lost_response_is_taken_for_a_change_of_another_host(
    host: Host, shared: PostgresFiles, log_url: str
) -> None:
    """Counterpart of the test before: without its token, an own change looks like a foreign one."""
    a = host("a")
    a.commit(DAILY, bars(0, 1))
    sql(log_url, "create function onetape.forget() returns trigger language plpgsql as"
        " $$begin new.token := decode('00', 'hex'); return new; end$$",
        "create trigger forget before insert on onetape.past for each row"
        " execute function onetape.forget()")  # fmt: skip
    shared._connection = _Proxy(shared._connection, "after")  # type: ignore[assignment]
    with pytest.raises(OvertakenError):
        a.commit(DAILY, bars(1, 2), based_on=a.view(DAILY))


def away(url: str, tmp_path: Path) -> BarStore:
    """Return a store whose server is unreachable."""
    return new("postgresql://bot:canary-word@127.0.0.1:1/prices", tmp_path / "a")


def test_bars_are_read_and_not_stored_while_the_server_is_unreachable(
    host: Host, log_url: str, tmp_path: Path
) -> None:
    host("a").commit(DAILY, bars(0, 3))
    cut_off = away(log_url, tmp_path)
    assert shown(cut_off) == [0, 1, 2]
    for work in (
        lambda: cut_off.commit(DAILY, bars(3, 4)),
        lambda: cut_off.hosts.pull([PAIR]),
        lambda: cut_off.clear("AAPL"),
        lambda: cut_off.add_actions("AAPL", [], days(0, 3), "acme", 1),
    ):
        with pytest.raises(LogUnreachableError):
            work()
    assert shown(cut_off) == [0, 1, 2]
    assert host_state(cut_off.hosts).state == "cut off"


def test_bars_of_a_push_that_failed_are_not_in_the_folder(
    host: Host, shared: PostgresFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = host("a")
    a.commit(DAILY, bars(0, 3))
    with monkeypatch.context() as patch:
        patch.setattr(shared, "push", Mock(side_effect=LogUnreachableError("gone")))
        with pytest.raises(LogUnreachableError):
            a.commit(DAILY, bars(3, 5))
    assert host_state(a.hosts).state == "in step" and shown(a) == [0, 1, 2]
    assert not a.hosts.pull([PAIR]) and shown(a) == [0, 1, 2]
    a.commit(DAILY, bars(3, 5))
    assert shown(a) == [0, 1, 2, 3, 4] and host_state(a.hosts).state == "in step"


def test_a_server_that_accepts_no_changes_or_is_locked_is_like_one_that_is_away(
    log_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new(log_url, tmp_path / "a").commit(DAILY, bars(0, 3))
    name = log_url.partition("?")[0].rpartition("/")[2]
    sql(log_url, f"alter database {name} set default_transaction_read_only = on")
    try:
        a = new(log_url, tmp_path / "a")
        state = host_state(a.hosts)
        assert (state.state, state.reason) == (
            "cut off",
            "the server of the shared store is read-only",
        )
        with pytest.raises(LogUnreachableError, match="it is read-only"):
            a.commit(DAILY, bars(3, 4))
        assert shown(a) == [0, 1, 2]
    finally:
        with psycopg.connect(log_url, autocommit=True) as db:
            db.execute("set default_transaction_read_only = off")
            db.execute(f"alter database {name} reset default_transaction_read_only")  # type: ignore[call-overload]
    sql(log_url, *(f"alter function {one} set lock_timeout = '50ms'" for (one,) in sql(
        log_url, "select oid::regprocedure::text from pg_proc where pronamespace = 'onetape'::regnamespace"
        " and proconfig is not null")))  # fmt: skip
    monkeypatch.setattr(postgres, "LOCK_WAIT", "50ms")
    a = new(log_url, tmp_path / "a")
    a.hosts.pull([PAIR])
    with psycopg.connect(log_url) as db:
        db.execute("lock table onetape.series, onetape.lease")
        for act in (lambda: a.hosts.pull([PAIR]), lambda: a.commit(DAILY, bars(3, 4))):
            with pytest.raises(LogUnreachableError, match="locked for"):
                act()
            a.hosts.shared._away_until_s = 0.0
        waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
        assert sql(log_url, waiting) == [(0,)], "no connection of ours waits on"
    with psycopg.connect(log_url) as db:
        db.execute("lock table onetape.fact, onetape.spent")
        a.hosts.shared._away_until_s = 0.0
        assert "locked for" in host_state(a.hosts).reason
        a.hosts.shared._away_until_s = 0.0
        assert sql(log_url, waiting) == [(0,)], "nor of a report"
    a.commit(DAILY, bars(3, 4))
    assert shown(a) == [0, 1, 2, 3]


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
    assert postgres.secrets_in(url) == secrets


def test_the_password_is_never_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    texts = []
    for url in (
        "postgresql://bot:canary-word@127.0.0.1:1/prices",
        "postgresql://bot:canary-word@127.0.0.1:1/prices?nonsense=1",
        "postgresql://bot:canary-word@[::1/prices",
        "postgresql://bot:canary%2Dword@127.0.0.1:1/prices",
    ):
        log = PostgresFiles(url)
        store = shared_store(log, tmp_path / "a", clock=ManualClock(NOW))
        with pytest.raises(Exception) as caught:
            store.hosts.pull([PAIR])
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


# --- a server that was restored ------------------------------------------------------------------


@contextmanager
def restored(log_url: str) -> Iterator[None]:
    """Let the server be restored after the block to its state before it, and started again."""
    PostgresFiles(log_url).store_id()
    tables = ("series", "past", "file", "chunk")
    sql(log_url, *(f"create table kept_{name} as table onetape.{name}" for name in tables))
    yield
    for name in tables:
        sql(log_url, f"delete from onetape.{name}", f"insert into onetape.{name} table kept_{name}",
            f"drop table kept_{name}")  # fmt: skip


def restarted(store: BarStore) -> BarStore:
    """Let a host notice that the server was started since it last looked."""
    store.hosts.shared.store_id()
    store.hosts.shared.started += " again"
    return store


def test_commits_lost_by_a_restored_server_are_offered_again(host: Host, log_url: str) -> None:
    a, b = host("a"), host("b")
    a.commit(DAILY, bars(0, 3))
    with restored(log_url):
        a.commit(DAILY, bars(3, 6))
        b.hosts.pull([PAIR])
    host("c").commit(DAILY, bars(20, 22))  # the numbers are used again
    assert {one.state for one in host_state(a.hosts).series} == {"lost tail"}
    a.hosts.pull([PAIR])
    b.hosts.pull([PAIR])
    c = host("c")
    c.hosts.pull([PAIR])
    assert shown(a) == shown(b) == shown(c) == [0, 1, 2, 3, 4, 5, 20, 21]
    assert host_state(a.hosts).state == host_state(b.hosts).state == "in step"
    assert contents(a) == contents(b) == contents(c)


def test_a_host_that_misses_nothing_offers_all_that_a_restored_server_lacks(
    host: Host, log_url: str
) -> None:
    """Series that nobody asks for, too: the first request after the server was started compares all."""
    a = host("a")
    a.commit(DAILY, bars(0, 3))
    with restored(log_url):
        a.commit(OTHER, bars(0, 2))
        a.commit(DAILY, bars(3, 6))
        a.add_actions("AAPL", [SPLIT], Span(at(0), at(60)), "acme", at(40))
    restarted(a).hosts.pull([(MINUTES.symbol, MINUTES.timeframe)])
    c = host("c")
    c.hosts.pull([PAIR, (OTHER.symbol, OTHER.timeframe)])
    assert shown(c) == [0, 1, 2, 3, 4, 5] and shown(c, OTHER) == [0, 1]
    assert c.actions("AAPL").splits == (SPLIT,)


def test_lost_commits_that_cannot_be_read_for_a_moment_are_offered_by_the_next_pull(
    host: Host, log_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = host("a")
    a.commit(DAILY, bars(1, 3))
    with restored(log_url):
        a.commit(DAILY, bars(3, 6))
    host("c").commit(DAILY, bars(20, 22))
    with monkeypatch.context() as patch:
        patch.setattr(
            SharedFolder, "_offer_year", Mock(side_effect=StorageError("too many open files"))
        )
        a.hosts.pull([PAIR])
    assert "too many open files" in a.hosts.left_out[DAILY]
    a.hosts.pull([PAIR])
    assert shown(a) == [*range(1, 6), 20, 21] and not a.hosts.left_out
    assert a.hosts.pull([PAIR]) is False and host_state(a.hosts).state == "in step"


def test_lost_commits_of_another_kind_than_the_stores_bars_are_kept(
    host: Host, log_url: str, tmp_path: Path
) -> None:
    a = host("a")
    with restored(log_url):
        a.commit(DAILY, bars(2, 6))
    host("c").commit(DAILY, Commit((piece(20, 22, kind=replace(KIND, venue="aggregate")),)))
    for _ in range(3):
        a.hosts.pull([PAIR])
        assert shown(a) == [20, 21]
    assert shown(store_in(tmp_path / "a" / "_hosts" / "before")) == list(range(2, 6))


def test_without_the_token_a_restored_server_is_not_noticed(
    host: Host, log_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard of the tests before: at the same number, two hosts have different bars."""
    monkeypatch.setattr(postgres.os, "urandom", bytes)
    a = host("a")
    a.commit(DAILY, bars(0, 3))
    with restored(log_url):
        a.commit(DAILY, bars(3, 6))
    c = host("c")
    c.commit(DAILY, bars(20, 22))
    a.hosts.pull([PAIR])
    assert shown(a) != shown(c) and position(a) == position(c)


def test_a_store_restored_from_a_dump_into_the_running_server_gets_all_lost_bars_back(
    host: Host, log_url: str
) -> None:
    a = host("a")
    a.commit(DAILY, bars(0, 3))
    a.hosts.pull([PAIR])
    with restored(log_url):
        a.commit(OTHER, bars(0, 2))
    sql(log_url, "create table other (like onetape.series including all)", "insert into other table "
        "onetape.series", "drop table onetape.series", "alter table other rename to series",
        "alter table series set schema onetape")  # fmt: skip
    new(log_url, a.root).hosts.pull([PAIR])
    c = host("c")
    c.hosts.pull([(OTHER.symbol, OTHER.timeframe)])
    assert shown(c, OTHER) == [0, 1]


def test_a_commit_right_after_a_restore_comes_after_the_lost_ones(host: Host, log_url: str) -> None:
    a = host("a")
    a.commit(DAILY, bars(0, 3))
    with restored(log_url):
        a.commit(DAILY, bars(3, 6))
    host("c").commit(DAILY, bars(20, 22))
    a.commit(DAILY, bars(6, 7))
    assert shown(a) == [*range(7), 20, 21]


def test_a_series_that_cannot_be_offered_after_a_restart_hinders_no_other(
    host: Host, log_url: str
) -> None:
    a, c = host("a"), host("c")
    a.commit(DAILY, bars(0, 3))
    a.commit(OTHER, bars(0, 3))
    with restored(log_url):
        a.commit(DAILY, bars(3, 6))
    c.commit(DAILY, bars(20, 22))
    c.commit(OTHER, bars(3, 6))
    sql(log_url, f"{CUT} and series like 'AAPL/%'")
    assert restarted(a).hosts.pull([(OTHER.symbol, OTHER.timeframe)])
    assert shown(a, OTHER) == list(range(6))


class Full(Disk):
    """A disk on which some calls fail for paths with a word, as long as it is full."""

    is_full = False

    def __init__(self, word: str, *calls: str) -> None:
        super().__init__()
        self._word, self._calls = word, calls

    def perform(self, step: Any, call: Any) -> Any:
        if self.is_full and step.name in self._calls and self._word in f"{step.path} {step.target}":
            raise OSError(28, "No space left on device")
        return call()


def test_lost_bars_that_cannot_be_kept_aside_stay_where_they_are(
    host: Host, shared: PostgresFiles, log_url: str, tmp_path: Path
) -> None:
    disk = Full("_hosts", "link", "create")
    a = shared_store(shared, tmp_path / "a", disk, ManualClock(NOW))
    a.commit(DAILY, bars(0, 3))
    with restored(log_url):
        a.commit(DAILY, bars(3, 6))
    host("c").commit(DAILY, bars(20, 22))
    disk.is_full = True
    with pytest.raises(StorageError, match="space"):
        a.hosts.pull([PAIR])
    assert shown(a) == list(range(6))
    disk.is_full = False
    a.hosts.pull([PAIR])
    assert shown(a) == [*range(6), 20, 21]


@pytest.mark.parametrize("calls", range(1, 60) if FULL else (4, 6, 8, 15))
def test_a_host_killed_while_it_offers_lost_bars_loses_none(
    log_url: str, tmp_path: Path, calls: int
) -> None:
    a = new(log_url, tmp_path / "a")
    a.commit(DAILY, bars(0, 3))
    with restored(log_url):
        a.commit(DAILY, bars(3, 6))
        a.add_actions("AAPL", [SPLIT], Span(at(0), at(60)), "acme", at(40))
    c = new(log_url, tmp_path / "c")
    c.commit(DAILY, bars(20, 22))
    c.add_actions("AAPL", [], Span(at(0), at(60)), "other", at(40))

    def work() -> None:
        disk = Deadly()
        disk.left = calls
        new(log_url, tmp_path / "a", disk).hosts.pull([PAIR])

    assert ended(fork(work)) in (0, -signal.SIGKILL)
    for store in (new(log_url, tmp_path / "a"), c):
        store.hosts.pull([PAIR])
        assert shown(store) == [*range(6), 20, 21]
        assert {one.source for one in store.actions("AAPL").answers} == {"acme", "other"}


# --- a folder that is damaged --------------------------------------------------------------------


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize(
    "name, how",
    crossed(
        ["2024.csv.gz", "2024.metadata.json", "series.json", "note", "folder", "store", "actions"],
        ["flip", "cut", "gone"],
    ),
)
def test_local_damage_is_repaired_from_the_server_without_a_vendor(
    host: Host, name: str, how: str
) -> None:
    a = host("a")
    a.commit(DAILY, bars(0, 3))
    a.add_actions("AAPL", [SPLIT], Span(at(0), at(60)), "acme", at(40))
    a.commit(DAILY, Commit((piece(3, 6),), kind=KIND, next_due=at(8)))
    lane = a.parts.lane(DAILY).paths
    before = contents(a)
    path = {
        "note": a.hosts.notes.path(name_of(DAILY)), "folder": lane.folder,
        "store": a.hosts.notes.folder / "store.json", "actions": lane.folder.parent / "actions.json",
    }.get(name, lane.folder / name)  # fmt: skip
    if path.is_dir():
        shutil.rmtree(path)
    else:
        acts = {"flip": flip, "gone": Path.unlink, "cut": lambda p: os.truncate(p, 20)}
        acts[how](path)  # type: ignore[operator]
    again = host("a")
    shown(again)  # a read repairs what it can
    again.hosts.pull([PAIR])
    assert shown(again) == [0, 1, 2, 3, 4, 5]
    assert again.actions("AAPL").splits == (SPLIT,)
    after = contents(again)
    assert {n: data for n, data in after.items() if n in before} == before
    assert host_state(again.hosts).state == "in step"


def test_without_the_comparison_of_files_and_note_an_interrupted_pull_damages_a_file(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the comparison prevents: bytes that were applied already are applied again."""
    a, b = host("a"), host("b")
    a.commit(DAILY, bars(0, 3))
    b.hosts.pull([PAIR])
    a.commit(DAILY, bars(3, 5))
    with monkeypatch.context() as patch:
        patch.setattr(b.hosts.notes, "keep", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            b.hosts.pull([PAIR])
    with monkeypatch.context() as patch:
        patch.setattr(SharedFolder, "_compared", lambda _self, _part, note: (note, ()))
        with pytest.raises(CorruptEntryError):
            host("b").hosts.pull([PAIR])  # another process, which has not hashed the file
    b.hosts.pull([PAIR])
    assert contents(a) == contents(b)


def test_a_host_that_only_pulls_keeps_to_the_limits_for_its_folder(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = host("a"), host("b")
    a.commit(DAILY, bars(0, 3))
    entered = Mock(side_effect=StorageError("no room"))
    monkeypatch.setattr(b.listener, "committing", entered)
    with pytest.raises(StorageError, match="no room"):
        b.hosts.pull([PAIR])
    assert shown(b) == []


def test_bytes_are_appended_to_what_another_process_has_written(
    log_url: str, tmp_path: Path
) -> None:
    """A process that knows the hash of a file, which another one has replaced by one of the same size."""
    one, other = (new(log_url, tmp_path / "a") for _ in range(2))
    one.commit(DAILY, bars(0, 20))
    path = one.parts.lane(DAILY).paths.folder / "2024.csv.gz"
    for n in range(9):
        one.commit(DAILY, bars(3, 5, shift=0.007 * (n + 1)))
        size = path.stat().st_size
        other.commit(DAILY, bars(3, 5, shift=0.001 * (n + 1)))
        if path.stat().st_size == size:
            break
    assert path.stat().st_size == size
    one.commit(DAILY, bars(20, 22))
    c = new(log_url, tmp_path / "c")
    c.hosts.pull([PAIR])
    assert shown(c) == list(range(22)) and contents(c) == contents(one)


def test_an_evicted_year_comes_back_and_a_copied_folder_is_in_step(
    host: Host, tmp_path: Path, shared: PostgresFiles
) -> None:
    a = host("a")
    a.commit(DAILY, bars(0, 400))
    shutil.copytree(tmp_path / "a", tmp_path / "copy")  # other inodes and times
    copy = host("copy")
    trips = shared.trips
    assert host_state(copy.hosts).state == "in step" and copy.hosts.pull([PAIR]) is False
    lane = a.parts.lane(DAILY)
    clear_years(lane, [2025], 30.0, "eviction", None)  # as an eviction does: on this host alone
    assert host_state(a.hosts).state == "astray" and len(shown(a)) == 366
    assert a.hosts.pull([PAIR]) and len(shown(a)) == 400
    assert shared.trips > trips and contents(a) == contents(copy)


def test_a_full_disk_on_one_host_loses_no_bar(
    host: Host, tmp_path: Path, shared: PostgresFiles
) -> None:
    disk, a = Full(".csv.gz", "write"), host("a")
    b = shared_store(shared, tmp_path / "b", disk, ManualClock(NOW))
    a.commit(DAILY, bars(0, 3))
    b.hosts.pull([PAIR])
    a.commit(DAILY, bars(3, 5))
    disk.is_full = True
    with pytest.raises(StorageError, match="space"):
        b.hosts.pull([PAIR])
    with pytest.raises(StorageError):
        b.commit(DAILY, bars(5, 6))
    disk.is_full = False
    b.commit(DAILY, bars(5, 6))
    a.hosts.pull([PAIR])
    assert shown(a) == shown(b) == [0, 1, 2, 3, 4, 5] and contents(a) == contents(b)


def test_a_host_without_its_notes_keeps_its_bars_while_the_server_is_unreachable(
    host: Host, log_url: str, tmp_path: Path
) -> None:
    host("a").commit(DAILY, bars(0, 3))
    (tmp_path / "a" / "_hosts").rename(tmp_path / "a" / "_gone")
    with pytest.raises(LogUnreachableError):
        away(log_url, tmp_path).hosts.pull([PAIR])
    assert shown(away(log_url, tmp_path)) == [0, 1, 2]


# --- rows that no host has written ---------------------------------------------------------------


@pytest.mark.parametrize(
    "attack",
    [
        "update onetape.chunk set body = set_byte(body, 9, get_byte(body, 9) # 4) where path like '%.gz'",
        "update onetape.chunk set body = '' where path like '%.json'",
        "update onetape.chunk set start = start + 1 where path like '%.gz'",
        "delete from onetape.chunk where path like '%.gz'",
        "update onetape.file set digest = '' where path like '%.gz'",
        "update onetape.file set size = -5 where path like '%.gz'",
        "update onetape.file set path = '../../../x.csv.gz' where path like '%.gz'",
        "insert into onetape.file select series, '/etc/passwd', 0, '' from onetape.file limit 1",
    ],
)
def test_hostile_rows_are_refused_with_the_name_of_the_series(
    host: Host, log_url: str, tmp_path: Path, attack: str
) -> None:
    a = host("a")
    a.commit(DAILY, bars(0, 3))
    a.commit(OTHER, bars(0, 3))
    sql(log_url, attack + (" and" if "where" in attack else " where") * ("insert" not in attack)
        + " series like 'AAPL/%'" * ("insert" not in attack))  # fmt: skip
    c = host("c")
    with pytest.raises(
        CorruptEntryError, match="the files of AAPL/1d in the shared store cannot be used"
    ):
        c.hosts.pull([PAIR, (OTHER.symbol, OTHER.timeframe)])
    assert shown(c) == [] and shown(c, OTHER) == [0, 1, 2], "other series are not affected"
    assert {path.name for path in tmp_path.iterdir()} == {"a", "c"}
    assert [one.series for one in verify(a.hosts, deep=True)] == [DAILY]


def test_a_series_with_hostile_rows_can_be_cleared_by_any_host(host: Host, log_url: str) -> None:
    a, c = host("a"), host("c")
    a.commit(DAILY, bars(0, 3))
    sql(log_url, CUT)
    c.clear("AAPL", DAILY.timeframe)
    c.commit(DAILY, bars(5, 7))
    a.hosts.pull([PAIR])
    assert shown(a) == shown(c) == [5, 6] and contents(a) == contents(c)


def test_a_huge_file_is_refused_before_it_is_sent(
    log_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new(log_url, tmp_path / "a").commit(DAILY, bars(0, 300))
    statement = schema.CHUNKS.replace(f"<= {schema.MOST_FILE}", "<= 1000")
    monkeypatch.setattr(postgres, "CHUNKS", statement)
    with pytest.raises(CorruptEntryError, match="is too large"):
        new(log_url, tmp_path / "c").hosts.pull([PAIR])


@pytest.mark.parametrize(
    "name", ["A\nB/1d", "../../x/1d", "/1d", "AAPL/../../y", "AAPL/1d@../y", "x"]
)
def test_a_strange_name_in_the_store_blocks_no_operation(
    host: Host, log_url: str, tmp_path: Path, name: str
) -> None:
    a = host("a")
    a.commit(DAILY, bars(0, 3))
    with psycopg.connect(log_url, autocommit=True) as db:
        db.execute("insert into onetape.series (name, gen, token) values (%s, 1, 'x')", (name,))
    assert host_state(a.hosts).state in ("in step", "behind")
    assert list(verify(a.hosts, deep=True)) is not None and a.hosts.elsewhere() == {}
    a.clear()
    assert shown(a) == [] and {path.name for path in tmp_path.iterdir()} == {"a"}


def test_a_store_of_a_newer_version_is_refused_and_stored_bars_are_served(
    log_url: str, tmp_path: Path
) -> None:
    new(log_url, tmp_path / "a").commit(DAILY, bars(0, 3))
    sql(log_url, "update onetape.store set format = format + 1")
    a = new(log_url, tmp_path / "a")
    with pytest.raises(FormatVersionError, match="update this library"):
        a.hosts.pull([PAIR])
    assert shown(a) == [0, 1, 2]


@pytest.mark.parametrize(
    "statement",
    [
        "update onetape.store set format = format - 1",
        "update onetape.store set format = 0",
        "delete from onetape.store",
        "alter table onetape.store alter column format type text",
        "alter table onetape.store alter column format drop not null; "
        "update onetape.store set format = null",
    ],
)
def test_a_store_of_an_unknown_format_is_refused_and_not_changed(
    log_url: str, tmp_path: Path, statement: str
) -> None:
    new(log_url, tmp_path / "a").commit(DAILY, bars(0, 3))
    sql(log_url, statement)
    rows = "select format::text from onetape.store"
    before, a = sql(log_url, rows), new(log_url, tmp_path / "a")
    for act in (lambda: a.hosts.pull([PAIR]), lambda: a.commit(DAILY, bars(3, 4))):
        with pytest.raises(StorageError, match="the table store is of another program"):
            act()
    assert shown(a) == [0, 1, 2] and sql(log_url, rows) == before
    assert sql(log_url, "select gen from onetape.series") == [(1,)]


def test_a_schema_of_another_program_and_a_user_without_rights_get_a_clear_error(
    log_url: str, tmp_path: Path
) -> None:
    sql(log_url, "create schema onetape", "create table onetape.store (name text)")
    with pytest.raises(StorageError, match="has other tables than those of a shared store"):
        new(log_url, tmp_path / "a").hosts.pull([PAIR])
    sql(log_url, "drop schema onetape cascade")
    PostgresFiles(log_url).store_id()
    sql(log_url, "drop role if exists guest", "create role guest login")
    try:
        guest = new(log_url.replace("onetape@", "guest@"), tmp_path / "b")
        with pytest.raises(StorageError, match="permission denied") as caught:
            guest.hosts.pull([PAIR])
        assert "own the schema onetape" in str(caught.value.hint)
        sql(log_url, "grant usage on schema onetape to guest",
            "grant select on all tables in schema onetape to guest")  # fmt: skip
        state = host_state(guest.hosts)
        assert state.state == "cut off" and "lets this user change nothing" in state.reason
    finally:
        sql(log_url, "drop owned by guest", "drop role guest")


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
        other.hosts.pull([PAIR])
    assert shown(other) == [0, 1, 2]


def test_a_folder_whose_store_is_no_longer_named_does_not_join_another(
    host: Host, shared: PostgresFiles, log_url: str, tmp_path: Path
) -> None:
    """Each note names the store, because ``store.json`` may be lost; bars are offered to no other."""
    host("a").commit(DAILY, bars(0, 3))
    (tmp_path / "a" / "_hosts" / "store.json").unlink()
    with psycopg.connect(log_url, autocommit=True) as db:
        db.execute("truncate onetape.series, onetape.file, onetape.chunk, onetape.past")
        db.execute("update onetape.store set id = gen_random_uuid()")
    other = shared_store(PostgresFiles(log_url), tmp_path / "a", clock=ManualClock(NOW))
    for act in (lambda: other.hosts.pull([PAIR]), lambda: list(attach_folder(other.hosts))):
        with pytest.raises(StorageError, match="another shared store"):
            act()
    assert shared.names({}) == [] and shown(other) == [0, 1, 2]
    assert host_state(other.hosts).state == "not attached"


def test_a_database_without_pl_pgsql_is_refused_with_the_remedy(log_url: str) -> None:
    with psycopg.connect(log_url, autocommit=True) as db:
        db.execute("drop extension plpgsql")
        try:
            with pytest.raises(StorageError, match="needs PL/pgSQL") as refused:
                PostgresFiles(log_url).store_id()
        finally:
            db.execute("create extension plpgsql")
        assert refused.value.hint == "run `create extension plpgsql` in it"
        assert db.execute("select to_regclass('onetape.store')").fetchone() == (None,)
    assert PostgresFiles(log_url).store_id()


def test_a_folder_that_two_machines_mount_is_refused(
    host: Host, shared: PostgresFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    machines = [("one", 0), ("two", 0)]
    a, b = host("a"), host("a")
    monkeypatch.setattr(notes_module, "this_machine", lambda: machines[0])
    a.commit(DAILY, bars(0, 3))
    monkeypatch.setattr(notes_module, "this_machine", lambda: machines[1])
    for act in (
        lambda: b.hosts.pull([PAIR]),
        lambda: b.commit(DAILY, bars(3, 4)),
        lambda: b.clear("AAPL"),
    ):
        with pytest.raises(StorageError, match="in use by another host"):
            act()
    assert host_state(b.hosts).state == "not attached" and shown(b) == [0, 1, 2]
    machines[1] = ("two", now + 60)  # started after that: it may be the same one
    b.hosts.pull([PAIR])
    monkeypatch.setattr(notes_module, "this_machine", lambda: machines[0])
    later = host("a")
    with pytest.raises(StorageError, match="in use by another host"):
        later.commit(DAILY, bars(3, 4))
    monkeypatch.setattr(notes_module.time, "time", lambda: now + 180)
    later.commit(DAILY, bars(3, 4))
    assert shared.names({})[0].head.gen == 2


def test_a_folder_copied_while_it_is_in_use_is_another_host(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host("a").commit(DAILY, bars(0, 3))
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    monkeypatch.setattr(notes_module, "this_machine", lambda: ("another", 0.0))
    host("copy").commit(DAILY, bars(3, 4))
    with pytest.raises(StorageError, match="in use by another host"):
        host("a").commit(DAILY, bars(4, 5))


def test_a_folder_with_bars_must_be_attached_before_use(host: Host, tmp_path: Path) -> None:
    store_in(tmp_path / "a").commit(DAILY, bars(0, 3))
    with pytest.raises(StorageError, match="onetape hosts attach"):
        host("a").commit(DAILY, bars(3, 4))
    assert host_state(host("a").hosts).state == "not attached"


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
    assert dict(attach_folder(host("a").hosts))["AAPL"] > 0
    assert dict(attach_folder(host("a").hosts)) == {"AAPL": 1, "BTCUSDT": 1}
    b = host("b")
    b.hosts.pull([PAIR, (MINUTES.symbol, MINUTES.timeframe)])
    for store in (host("a"), b):
        assert same(store.read(DAILY, EVER)[0], table)
        assert states(store) == states(own) or states(store)
        assert [
            (c.span, c.state, c.reason, c.expires) for c in store.view(DAILY).coverage.opened()
        ] == [(c.span, c.state, c.reason, c.expires) for c in view.coverage.opened()]
        assert store.view(DAILY).next_due == view.next_due
        assert store.actions("AAPL").splits == (SPLIT,)
        assert len(shown(store, MINUTES)) or store.view(MINUTES).rows == 50
    assert detach(tmp_path / "a") is None
    plain = store_in(tmp_path / "a")
    assert same(plain.read(DAILY, EVER)[0], table)
    plain.commit(DAILY, bars(30, 31))
    assert 30 in shown(plain)


def test_attach_offers_what_the_store_lacks_and_keeps_the_replaced_files(
    host: Host, tmp_path: Path
) -> None:
    own, b = store_in(tmp_path / "a"), host("b")
    for key in (DAILY, OTHER):
        own.commit(key, bars(0, 5))
        b.commit(key, bars(3, 9, shift=1.0))
    own.add_actions("AAPL", [SPLIT], Span(at(0), at(60)), "acme", at(40))
    a = host("a")
    assert dict(attach_folder(a.hosts)) == {"AAPL": 1, "ZM": 1}
    b.hosts.pull([PAIR, (OTHER.symbol, OTHER.timeframe)])
    for key in (DAILY, OTHER):
        assert shown(a, key) == shown(b, key) == list(range(9)) and contents(a, key) == contents(
            b, key
        )
    assert b.actions("AAPL").splits == (SPLIT,)
    before = tmp_path / "a" / "_hosts" / "before"
    assert shown(store_in(before)) == list(range(5)), "the files as they were are kept"
    assert detach(tmp_path / "a") == before


def test_a_detach_after_an_interrupted_attach_leaves_all_bars_in_the_folder(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, b = store_in(tmp_path / "a"), host("b")
    for key in (DAILY, SeriesKey("ZM", DAILY.timeframe)):
        own.commit(key, bars(0, 5))
        b.commit(key, bars(3, 9))
    offer = SharedFolder._offer_year

    def interrupted(store: SharedFolder, key: SeriesKey, aside: BarStore, year: Span) -> int:
        if key.symbol == "ZM":
            raise KeyboardInterrupt
        return offer(store, key, aside, year)

    monkeypatch.setattr(SharedFolder, "_offer_year", interrupted)
    with pytest.raises(KeyboardInterrupt):
        dict(attach_folder(host("a").hosts))
    for _ in range(2):
        detach(tmp_path / "a")
        plain = store_in(tmp_path / "a")
        assert shown(plain) == list(range(9))
        assert shown(plain, SeriesKey("ZM", DAILY.timeframe)) == list(range(5))
    assert not (tmp_path / "a" / "_hosts" / "aside").exists()
    plain.commit(SeriesKey("ZM", DAILY.timeframe), bars(5, 6))
    assert 5 in shown(store_in(tmp_path / "a"), SeriesKey("ZM", DAILY.timeframe))


def test_lost_bars_and_splits_of_a_symbol_wait_and_are_kept_side_by_side(
    host: Host, log_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = host("a")
    a.commit(DAILY, bars(0, 1))
    with restored(log_url):
        a.commit(DAILY, bars(1, 3))
        a.add_actions("AAPL", [SPLIT], Span(at(0), at(60)), "acme", at(40))
    host("c").add_actions("AAPL", [], Span(at(0), at(20)), "acme", at(30))
    folder, left = tmp_path / "a" / "_hosts", ("2024.csv.gz", "actions.json")
    with monkeypatch.context() as patch:
        for name in ("_offer_bars", "_offer_book"):
            patch.setattr(SharedFolder, name, Mock(side_effect=StorageError("too many open files")))
        for _ in range(2):
            with pytest.raises(StorageError, match="too many open files"):
                a.hosts.pull([PAIR])
    waiting = sorted(p for p in (folder / "aside").rglob("*") if p.name in left)
    lane, book = Path("ohlcv/AAPL/1d/2024.csv.gz"), Path("ohlcv/AAPL/actions.json")
    assert waiting == [folder / "aside" / lane, folder / "aside" / book]
    shutil.copytree(tmp_path / "a", tmp_path / "plain")
    detach(tmp_path / "plain")
    plain = store_in(tmp_path / "plain")
    assert shown(plain) == [0, 1, 2] and plain.actions("AAPL").splits == (SPLIT,)
    a.hosts.pull([PAIR])
    assert shown(a) == [0, 1, 2] and a.actions("AAPL").splits == (SPLIT,)
    assert (folder / "before" / lane).is_file() and (folder / "before" / book).is_file()


@pytest.mark.parametrize("calls", range(1, 90, 2) if FULL else (3, 17, 33, 41))
def test_a_killed_attach_can_be_completed(log_url: str, tmp_path: Path, calls: int) -> None:
    own = store_in(tmp_path / "a")
    own.commit(DAILY, bars(0, 5))
    own.add_actions("AAPL", [SPLIT], Span(at(0), at(60)), "acme", at(40))
    own.commit(DAILY, Commit(marks=(mark(8, 9, "empty", reason="no_bar"),)))

    def work() -> None:
        disk = Deadly()
        disk.left = calls
        list(attach_folder(new(log_url, tmp_path / "a", disk).hosts))

    PostgresFiles(log_url).store_id()
    assert ended(fork(work)) in (0, -signal.SIGKILL)
    a, b = (
        shared_store(PostgresFiles(log_url), tmp_path / n, clock=ManualClock(NOW)) for n in "ab"
    )
    list(attach_folder(a.hosts))
    b.hosts.pull([PAIR])
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


def test_verify_finds_bytes_that_differ(host: Host) -> None:
    a = host("a")
    a.commit(DAILY, bars(0, 3))
    a.commit(DAILY, bars(3, 6))
    assert list(verify(a.hosts, deep=True)) == []
    path = a.parts.lane(DAILY).paths.data(2024)
    state = path.stat()
    flip(path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # as a disk that decays
    assert list(verify(a.hosts)) == []
    assert [(one.series, one.state) for one in verify(a.hosts, deep=True)] == [(DAILY, "astray")]


def test_a_forked_child_has_a_connection_of_its_own(
    host: Host, shared: PostgresFiles, tmp_path: Path
) -> None:
    a = host("a")
    a.commit(DAILY, bars(0, 1))
    assert ended(fork(lambda: host("a").commit(DAILY, bars(1, 2)))) == 0
    a.commit(DAILY, bars(2, 3))
    assert shown(a) == [0, 1, 2]


@pytest.mark.skipif("TEST_DB_URL" in os.environ, reason="stops a process of the tests' own server")
def test_a_hanging_connection_is_abandoned_and_the_push_is_stored_once(
    host: Host, shared: PostgresFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = host("a")
    a.commit(DAILY, bars(0, 1))
    assert shared._connection is not None
    hanging = shared._connection.info.backend_pid
    monkeypatch.setattr(postgres, "ANSWER_S", 0.3)
    os.kill(hanging, signal.SIGSTOP)
    try:
        a.commit(DAILY, bars(1, 2))
    finally:
        os.kill(hanging, signal.SIGCONT)
    assert shown(a) == [0, 1] and position(a) == 2


@pytest.mark.skipif("TEST_DB_URL" in os.environ, reason="stops a process of the tests' own server")
def test_a_hanging_statement_delays_other_threads_only_briefly(
    host: Host, shared: PostgresFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are cut off after a bounded wait for the one connection, and at once after that."""
    a = host("a")
    a.commit(DAILY, bars(0, 1))
    assert shared._connection is not None
    hanging = shared._connection.info.backend_pid
    monkeypatch.setattr(postgres, "TURN_S", 0.2)
    os.kill(hanging, signal.SIGSTOP)
    thread = threading.Thread(target=lambda: a.hosts.pull([PAIR]))
    thread.start()
    try:
        while not shared._lock.locked():
            pass
        began = time.monotonic()
        with pytest.raises(LogUnreachableError, match="another statement"):
            shared.names({})
        assert time.monotonic() - began < 2
        assert shown(a) == [0], "stored bars are served"
    finally:
        os.kill(hanging, signal.SIGCONT)
    thread.join()
    shared.names({})


def test_a_slow_response_is_not_taken_for_a_lost_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bound is on silence, so a large entry through a slow network has all the time it needs."""
    monkeypatch.setattr(postgres, "ANSWER_S", 1.0)
    times = iter(range(100))
    monkeypatch.setattr(postgres.time, "monotonic", lambda: next(times) * 0.6)

    def operation() -> Any:
        for _ in range(7):
            yield 1
        return "whole"

    steps = postgres._with_heartbeats(operation(), lambda: None)
    next(steps)
    for ready in (1, 0, 1, 0, 1, 0):
        steps.send(ready)
    with pytest.raises(StopIteration) as done:
        steps.send(1)
    assert done.value.value == "whole"


@pytest.mark.skipif("TEST_DB_URL" in os.environ, reason="stops a process of the tests' own server")
def test_ctrl_c_ends_a_hanging_statement_at_once(host: Host, shared: PostgresFiles) -> None:
    a = host("a")
    a.commit(DAILY, bars(0, 1))
    assert shared._connection is not None
    hanging = shared._connection.info.backend_pid
    os.kill(hanging, signal.SIGSTOP)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            shared.names({})
        assert time.monotonic() - began < 3, "the server was asked to cancel, which takes 5 s"
        a.commit(DAILY, bars(1, 2))  # by another connection
    finally:
        os.kill(hanging, signal.SIGCONT)
    assert shown(a) == [0, 1]


def test_a_process_still_running_after_a_detach_changes_no_bars_of_the_plain_cache(
    host: Host, tmp_path: Path
) -> None:
    a = host("a")
    a.commit(DAILY, bars(0, 3))
    detach(tmp_path / "a")
    plain = BarStore(tmp_path / "a", clock=ManualClock(NOW))
    plain.commit(DAILY, bars(3, 5))
    for act in (lambda: a.hosts.pull([PAIR]), lambda: a.commit(DAILY, bars(7, 8))):
        with pytest.raises(StorageError, match="hosts attach"):
            act()
    plain.commit(DAILY, bars(5, 6))
    assert shown(plain) == shown(a) == [0, 1, 2, 3, 4, 5]
    assert position(host("b")) == 0 and not (tmp_path / "a" / "_hosts" / "store.json").exists()
