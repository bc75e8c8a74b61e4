"""Leases across hosts: fences, holders that die, and releases."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from contextvars import copy_context
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest

from src.data.clock import ManualClock
from src.data.errors import OvertakenError
from src.data.hosts import leases as leases_module
from src.data.hosts import log as log_module
from src.data.hosts.entry import SeriesCleared, SeriesName
from src.data.hosts.leases import SharedLeases
from src.data.hosts.log import Log, LogPosition
from src.data.hosts.turn import HeldLease, current_turn
from src.data.model.series import SeriesKey
from src.data.model.timeframe import Timeframe
from src.data.net.deadline import Deadline, ends_fetching
from src.data.net.leases import Leases
from src.data.net.state import State
from tests.cache.bars import NOW
from tests.hosts.guards import without
from tests.processes import Talker

KEY = SeriesKey("AAPL", Timeframe(1, "d"))
NAME, BOOK = SeriesName("AAPL", "1d"), SeriesName("AAPL")
T = TypeVar("T")
Host = Callable[[str], tuple[Log, SharedLeases]]


@pytest.fixture
def host(log_url: str) -> Iterator[Host]:
    """Return a function that returns the log and the leases of a host."""
    logs: list[Log] = []

    def make(name: str) -> tuple[Log, SharedLeases]:
        logs.append(Log(log_url))
        return logs[-1], SharedLeases(logs[-1], ManualClock(NOW), lambda: None, name)

    yield make
    for one in logs:
        one.close()


class Call:
    """A call of its own, which holds a lease until it ends."""

    def __init__(self, leases: SharedLeases, **how: Any) -> None:
        self._context, self._hold = copy_context(), leases.hold("x", about=KEY, **how)
        self.lease = self.run(self._hold.__enter__)

    def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do something in this call."""
        return self._context.run(work, *arguments)

    def turn(self) -> HeldLease:
        """Return what it holds."""
        turn = self.run(current_turn.get)
        assert turn is not None
        return turn

    def end(self) -> None:
        """End the call."""
        self.run(self._hold.__exit__, None, None, None)


def late(clock: ManualClock | None = None) -> Deadline:
    """Return the deadline of a call that has no time to wait."""
    return Deadline(clock or ManualClock(NOW), 0)


def add(log: Log, name: SeriesName = NAME) -> int:
    """Add an entry after the newest one, and return its number."""
    made = log.append(name, log.all_heads().get(name, LogPosition()), SeriesCleared("test"))
    assert made is not None
    return made.position.seq


def test_an_entry_of_a_holder_whose_lease_was_taken_over_is_rejected(host: Host) -> None:
    (log_a, a), (log_b, b) = host("a"), host("b")
    add(log_a)
    paused = Call(a, ttl_s=0)  # it pauses for longer than its time
    other = Call(b)
    assert paused.lease.is_held and other.lease.is_held
    for name in (NAME, BOOK):
        with pytest.raises(OvertakenError) as caught:
            paused.run(add, log_a, name)
        assert caught.value.is_final and "taken over" in str(caught.value)
    assert other.run(add, log_b) == 2
    other.end()
    with pytest.raises(OvertakenError):
        paused.run(add, log_a)  # that the other one has ended makes the first no holder again
    assert not a.renew(paused.lease)
    paused.end()
    assert add(log_a) == 3, "without a lease, only the head is compared"


def test_without_the_fence_a_paused_holder_stores_its_old_answer(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard of the test before."""
    without(monkeypatch, " and fence = _fence")
    (log_a, a), (_, b) = host("a"), host("b")
    paused, _other = Call(a, ttl_s=0), Call(b)
    assert paused.run(add, log_a) == 1


def test_a_lease_is_not_taken_over_while_an_entry_is_being_added(host: Host, log_url: str) -> None:
    """An append that waits for another one of its series keeps its lease, although its time is over."""
    (log_a, a), (_, b) = host("a"), host("b")
    add(log_a)
    adder = Call(a, ttl_s=0)
    with psycopg.connect(log_url) as blocker, psycopg.connect(log_url, autocommit=True) as db:
        blocker.execute("select from onetape.series for update")
        thread = threading.Thread(target=adder.run, args=(add, log_a))
        thread.start()

        def waiting() -> int:
            [(count,)] = db.execute("select count(*) from pg_locks where not granted").fetchall()
            return int(count)

        assert any(waiting() for _ in range(3000))
        taker = threading.Thread(target=Call, args=(b,))
        taker.start()
        is_kept = any(waiting() > 1 for _ in range(1000))
        blocker.rollback()
        thread.join()
        taker.join()
    assert is_kept, "the lease was taken over"
    assert log_a.all_heads()[NAME].seq == 2


@pytest.mark.parametrize("ahead_ms", [300_000, -300_000])
def test_a_lease_expires_by_the_clock_of_the_server(log_url: str, ahead_ms: int) -> None:
    """Five minutes are ten times a lease, in either direction."""
    with closing(Log(log_url)) as log_a, closing(Log(log_url)) as log_b:
        off = SharedLeases(log_a, ManualClock(NOW + ahead_ms), lambda: None, "a")
        b = SharedLeases(log_b, ManualClock(NOW), lambda: None, "b")
        holder = Call(off, ttl_s=30)
        assert not Call(b, deadline=late()).lease.is_held, "its time is not over"
        assert off.renew(holder.lease, 30, pages=3) and holder.run(add, log_a) == 1
        assert not Call(b, deadline=late()).lease.is_held
        off.renew(holder.lease, 0)  # by the server, its time is over now
        other = Call(b, deadline=late())
        assert other.lease.is_held and other.turn().fence == holder.turn().fence + 1
        assert not off.renew(holder.lease, 30)
        with pytest.raises(OvertakenError):
            holder.run(add, log_a)
        assert other.run(add, log_b) == 2
        other.end()
        holder.end()
        again = Call(off, deadline=late(ManualClock(NOW + ahead_ms)))
        assert again.lease.is_held
        again.end()


@pytest.mark.parametrize(
    "job_s, ended_s, left_s",
    [(25, 100, 25), (120, 100, 120), (290, 100, 130), (1e300, 275, 1e300)],
)
def test_a_job_waits_for_a_silent_host_for_as_long_as_it_has_time_left(
    host: Host, log_url: str, job_s: float, ended_s: float, left_s: float
) -> None:
    """The server's clock hardly goes on here, even on a busy machine; the job's only by its own waits."""
    _, a = host("a")
    silent, clock = Call(a, ttl_s=-ended_s), ManualClock(NOW)
    with closing(Log(log_url)) as log_b:
        deadline = Deadline(clock, quiet_s=job_s)
        other = Call(SharedLeases(log_b, clock, lambda: None, "b"), deadline=deadline)
        slack_s = 40 if left_s < job_s else 0
        assert other.lease.is_held and deadline.left_s() == pytest.approx(left_s, abs=slack_s)
        assert not a.renew(silent.lease)
        other.end()
    silent.end()


def test_a_waiting_job_does_not_take_the_lease_of_a_call_of_its_host(
    host: Host, log_url: str, tmp_path: Path
) -> None:
    """The call took over from a silent host, for which the job has waited longer than its own lease."""
    (_, b), clock = host("b"), ManualClock(NOW)
    sleep, calls = clock.sleep, list[Call]()
    with closing(Log(log_url)) as log_job, closing(Log(log_url)) as log_call:
        job, short = (
            SharedLeases(log, clock, lambda: Leases(State(tmp_path, clock)), "a")
            for log in (log_job, log_call)
        )
        silent = Call(b, ttl_s=-1)

        def sleep_beside_a_call(seconds: float) -> None:
            sleep(seconds)
            if not calls and clock.monotonic() > 31:
                calls.append(Call(short, deadline=Deadline(ManualClock(NOW), 20)))
            elif calls and clock.monotonic() > 60 and len(calls) == 1:
                assert calls[0].lease.is_held and calls[0].run(add, log_call) == 1
                calls[0].end()
                calls.append(calls[0])

        clock.sleep = sleep_beside_a_call  # type: ignore[method-assign]
        waited = Call(job, deadline=Deadline(clock, quiet_s=600))
        assert waited.lease.is_held and clock.monotonic() > 60 and waited.run(add, log_job) == 2
        waited.end()
        silent.end()


def test_a_page_keeps_other_processes_of_the_host_from_taking_the_lease_over(
    log_url: str, tmp_path: Path
) -> None:
    clock = ManualClock(NOW)
    own, other = (Leases(State(tmp_path, clock)) for _ in range(2))
    with closing(Log(log_url)) as log:
        shared = SharedLeases(log, clock, lambda: own, "a")
        call = Call(shared, ttl_s=5)
        clock.advance(4)
        assert shared.renew(call.lease, 20)
        with other.hold("x", deadline=Deadline(clock, 10)) as late_lease:
            assert not late_lease.is_held
        call.end()


def test_a_machine_with_the_same_name_and_folder_waits_as_any_other(
    log_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as machines that were made from one image."""
    clock, calls = ManualClock(NOW), list[Call]()
    with closing(Log(log_url)) as log_a, closing(Log(log_url)) as log_b:
        for log, start in ((log_a, "a"), (log_b, "b"), (log_b, "a")):
            monkeypatch.setattr(leases_module, "boot", lambda start=start: start)
            own = Leases(State(tmp_path / str(len(calls)), clock))
            leases = SharedLeases(log, clock, lambda own=own: own, "state")
            calls.append(Call(leases, deadline=late(clock)))
        # The third is another process of the first machine, whose own leases say that the first has ended.
        assert [call.lease.is_held for call in calls] == [True, False, True]
        for call in reversed(calls):
            call.end()


def test_fence_numbers_always_increase(host: Host) -> None:
    (_, a), (_, b) = host("a"), host("b")
    fences = []
    for leases in (a, b, a, b):
        with leases.hold("x", about=KEY):
            turn = current_turn.get()
            assert turn is not None
            fences.append(turn.fence)
        assert current_turn.get() is None
    assert fences == [1, 2, 3, 4]


def test_the_newest_entries_come_with_the_lease_once(host: Host) -> None:
    (log_a, a), (log_b, _) = host("a"), host("b")
    add(log_b)
    add(log_b, BOOK)
    call, pairs = Call(a), [("AAPL", "1d"), ("AAPL", "")]
    trips = log_a.trips
    assert call.run(log_a.heads, [("AAPL", "1d")])[NAME].seq == 1
    assert log_a.trips == trips + 1, "another statement is sent"
    heads = call.run(log_a.heads, pairs)
    assert {name: head.seq for name, head in heads.items()} == {NAME: 1, BOOK: 1}
    assert heads == log_b.all_heads() and log_a.trips == trips + 1
    add(log_b)
    assert call.run(log_a.heads, pairs)[NAME].seq == 2 and log_a.trips == trips + 2
    call.end()


def test_the_last_entry_of_a_turn_also_releases_the_lease(host: Host) -> None:
    (log_a, a), (_, b) = host("a"), host("b")
    first = Call(a)
    first.run(add, log_a)
    assert not Call(b, deadline=late()).lease.is_held, "an entry that is not the last keeps it"
    first.run(ends_fetching.set, True)
    first.run(add, log_a)
    trips = log_a.trips
    second = Call(b, deadline=late())
    heads = second.turn().heads
    assert second.lease.is_held and heads is not None
    assert heads[NAME][0] == 2, "the added entry is there"
    assert first.run(add, log_a) == 3, (
        "later entries are compared with the head, as without a lease"
    )
    first.end()
    assert log_a.trips == trips + 2, "only the entry and the query for its head"


def test_an_error_releases_the_lease_at_once(host: Host) -> None:
    (_, a), (_, b) = host("a"), host("b")
    with pytest.raises(ZeroDivisionError), a.hold("x", about=KEY):
        raise ZeroDivisionError
    with b.hold("x", deadline=late(), about=KEY) as lease:
        assert lease.is_held and not lease.has_waited


@pytest.mark.parametrize("pooled", [False, True])
def test_a_killed_holder_releases_the_lease_at_once_unless_a_pooler_hides_its_death(
    host: Host, log_url: str, pooled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work() -> None:
        log = Log(log_url)
        leases = SharedLeases(log, ManualClock(NOW), lambda: None, "a")
        with leases.hold("x", about=KEY):
            if pooled:  # the pooler's connections outlive those of its clients
                with psycopg.connect(log_url, autocommit=True) as db:
                    db.execute("update onetape.lease set pid = null")
            print("held", flush=True)
            sys.stdin.readline()

    _, b = host("b")
    holder = Talker([], work)
    assert holder.hear() == "held\n"
    with b.hold("x", deadline=late(), about=KEY) as lease:
        assert not lease.is_held
    os.kill(holder._child, signal.SIGKILL)
    os.waitpid(holder._child, 0)
    with psycopg.connect(log_url, autocommit=True) as db:  # the server notices within milliseconds
        gone = "select count(*) from pg_stat_activity where application_name = 'onetape'"
        for _ in range(1000):
            if db.execute(gone).fetchone() == (1,):
                break
    with b.hold("x", deadline=late(), about=KEY) as lease:
        assert lease.is_held is not pooled


def test_a_lease_does_not_change_the_recorded_state_of_a_series(host: Host, log_url: str) -> None:
    log, a = host("a")
    add(log)
    before = log.all_heads()
    with psycopg.connect(log_url, autocommit=True) as db:
        xids = db.execute("select id, seq, xid::text from onetape.series").fetchall()
        with pytest.raises(ZeroDivisionError), a.hold("x", about=KEY):
            raise ZeroDivisionError
        assert db.execute("select id, seq, xid::text from onetape.series").fetchall() == xids
    assert log.all_heads() == before


def test_the_path_of_a_host_is_not_stored_on_the_server(
    host: Host, log_url: str, tmp_path: Path
) -> None:
    _, a = host(str(tmp_path))
    with a.hold("x", about=KEY), psycopg.connect(log_url, autocommit=True) as db:
        row = db.execute("select owner from onetape.lease").fetchone()
        assert row is not None and str(tmp_path) not in row[0]


def test_series_that_stay_on_a_host_need_no_lease_of_the_server(host: Host) -> None:
    log, a = host("a")
    for lane in (("local.0a1b2c3d",), ("mock",)):
        with a.hold("x", about=SeriesKey("AAPL", Timeframe(1, "d"), lane)) as lease:
            assert lease.is_held and current_turn.get() is None
    assert log.trips == 0


def test_a_store_of_the_previous_version_is_upgraded(
    log_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(log_module, "MIGRATIONS", log_module.MIGRATIONS[:1])
        with closing(Log(log_url)) as old:
            identity = old.store_id()
            with psycopg.connect(log_url, autocommit=True) as db:
                db.execute("insert into onetape.lease values ('x', 'host:old', 7, 'epoch', 0)")
            with closing(Log(log_url)) as new:
                patch.undo()
                assert new.store_id() == identity
                call = Call(SharedLeases(new, ManualClock(NOW), lambda: None, "b"))
                assert call.turn().fence == 8
                assert call.run(add, new) == 1
                call.end()
