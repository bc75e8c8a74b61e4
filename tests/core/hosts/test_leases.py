"""Leases across hosts: overtaken holders, holders that die, and releases."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextvars import Context, copy_context
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import Mock

import psycopg
import pytest

from src.data.core.clock import ManualClock
from src.data.core.hosts.folder import shared_store
from src.data.core.hosts.leases import SharedLeases, held
from src.data.core.hosts.postgres import PostgresFiles
from src.data.core.hosts.turn import HeldLease, current_lease
from src.data.core.model.identity.series import SeriesKey
from src.data.core.net.calls.deadline import Deadline
from src.data.core.net.limits.leases import Leases
from src.data.core.net.limits.state import State
from src.data.errors import LockTimeoutError, LogUnreachableError, OvertakenError
from tests.core.cache.bars import DAILY, NOW
from tests.core.hosts.test_store import OTHER, PAIR, bars, shown, sql, without
from tests.processes import Talker

T = TypeVar("T")


class OneHost:
    """A host with a connection, leases and a folder of its own."""

    def __init__(self, url: str, folder: Path, ahead_ms: int = 0) -> None:
        self.shared, clock = PostgresFiles(url, folder.name), ManualClock(NOW + ahead_ms)
        self.leases = SharedLeases(self.shared, clock, lambda: None)
        self.store = shared_store(self.shared, folder, clock=ManualClock(NOW))

    def call(self, **how: Any) -> Call:
        """Return a call that holds the lease, or has no time to wait for it."""
        return Call(self.leases, **{"deadline": Deadline(ManualClock(NOW), 0)} | how)


class Call:
    """A call of its own, which holds a lease until it ends."""

    def __init__(self, leases: SharedLeases, about: SeriesKey = DAILY, **how: Any) -> None:
        self._context, self._hold = copy_context(), leases.hold("x", about=about, **how)
        self.lease = self.run(self._hold.__enter__)

    def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do something in this call."""
        return self._context.run(work, *arguments)

    def turn(self) -> HeldLease | None:
        """Return what it holds."""
        return self.run(current_lease.get)

    def end(self) -> None:
        """End the call."""
        self.run(self._hold.__exit__, None, None, None)


Hosts = Callable[..., OneHost]


@pytest.fixture
def host(log_url: str, tmp_path: Path) -> Iterator[Hosts]:
    """Return a function that returns a host."""
    made: list[OneHost] = []

    def make(name: str, ahead_ms: int = 0) -> OneHost:
        made.append(OneHost(log_url, tmp_path / name, ahead_ms))
        return made[-1]

    yield make
    for one in made:
        one.shared.close()


def test_bars_of_a_holder_whose_lease_was_taken_over_are_rejected(host: Hosts) -> None:
    a, b = host("a"), host("b")
    a.store.commit(DAILY, bars(20, 21))
    paused = a.call(ttl_s=-1)  # it pauses for longer than its time
    other = b.call()
    assert paused.lease.is_held and other.lease.is_held
    with pytest.raises(OvertakenError) as caught:
        paused.run(a.store.commit, DAILY, bars(0, 2))
    assert caught.value.is_final and "taken over" in str(caught.value)
    other.run(b.store.commit, DAILY, bars(5, 7))
    other.end()
    with pytest.raises(OvertakenError):
        paused.run(a.store.commit, DAILY, bars(0, 2))  # the first is no holder again
    assert not a.leases.renew(paused.lease)
    paused.end()
    a.store.hosts.pull([PAIR])
    assert shown(a.store) == [5, 6, 20], "what was not acknowledged is not served"
    a.store.commit(DAILY, bars(0, 2))
    assert shown(a.store) == [0, 1, 5, 6, 20]


def test_a_change_of_another_series_in_a_fetch_takes_a_lease_of_its_own(host: Hosts) -> None:
    a, b = host("a"), host("b")
    call = a.call()
    call.run(a.store.commit, OTHER, bars(0, 3))
    call.run(a.store.commit, DAILY, bars(5, 7))
    assert not b.call().lease.is_held, "the fetch goes on"
    call.end()
    b.store.hosts.pull([PAIR, (OTHER.symbol, OTHER.timeframe)])
    assert shown(b.store) == [5, 6] and shown(b.store, OTHER) == [0, 1, 2]


def test_without_the_lease_check_a_paused_holder_stores_its_old_answer(
    log_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard of the test before."""
    with without(monkeypatch, " and owner = _owner for share"):
        a, b = OneHost(log_url, tmp_path / "a"), OneHost(log_url, tmp_path / "b")
        paused, _other = a.call(ttl_s=-1), b.call()
        paused.run(a.store.commit, DAILY, bars(0, 2))
        assert shown(a.store) == [0, 1]


@pytest.mark.parametrize("ahead_ms", [300_000, -300_000])
def test_a_lease_expires_by_the_clock_of_the_server(host: Hosts, ahead_ms: int) -> None:
    """Five minutes are ten times a lease, in either direction."""
    off, b = host("a", ahead_ms), host("b")
    holder = off.call(ttl_s=30, deadline=None)
    assert not b.call().lease.is_held, "its time is not over"
    assert off.leases.renew(holder.lease, 30, pages=3)
    holder.run(off.store.commit, DAILY, bars(0, 1))
    assert not b.call().lease.is_held
    off.leases.renew(holder.lease, -1)  # by the server, its time is over now
    other = b.call()
    assert other.lease.is_held and not off.leases.renew(holder.lease, 30)
    with pytest.raises(OvertakenError):
        holder.run(off.store.commit, DAILY, bars(1, 2))
    other.run(b.store.commit, DAILY, bars(1, 2))
    other.end()
    holder.end()
    again = off.call(deadline=None)
    assert again.lease.is_held
    again.end()


def test_a_lease_far_in_the_future_delays_no_host(host: Hosts, log_url: str) -> None:
    """By a server whose clock was 400 days ahead for a while."""
    a, b = host("a"), host("b")
    silent = a.call(deadline=None)
    sql(log_url, "update onetape.lease set until = until + interval '400 days'")
    assert silent.lease.is_held and b.call().lease.is_held


@pytest.mark.parametrize(
    "job_s, ended_s, left_s",
    [(25, 100, 25), (120, 100, 120), (290, 100, 130), (1e300, 275, 1e300)],
)
def test_a_job_waits_for_a_silent_host_for_as_long_as_it_has_time_left(
    host: Hosts, job_s: float, ended_s: float, left_s: float
) -> None:
    """The server's clock hardly goes on here, even on a busy machine; the job's only by its own waits."""
    a, b, clock = host("a"), host("b"), ManualClock(NOW)
    silent = a.call(ttl_s=-ended_s)
    deadline = Deadline(clock, quiet_s=job_s)
    other = Call(SharedLeases(b.shared, clock, lambda: None), deadline=deadline)
    slack_s = 40 if left_s < job_s else 0
    assert other.lease.is_held and deadline.left_s() == pytest.approx(left_s, abs=slack_s)
    assert not a.leases.renew(silent.lease)
    other.end()
    silent.end()


def test_a_page_keeps_other_processes_of_the_host_from_taking_the_lease_over(
    host: Hosts, tmp_path: Path
) -> None:
    clock = ManualClock(NOW)
    own, other = (Leases(State(tmp_path, clock)) for _ in range(2))
    shared = SharedLeases(host("a").shared, clock, lambda: own)
    call = Call(shared, ttl_s=5)
    clock.advance(4)
    assert shared.renew(call.lease, 20)
    with other.hold("x", deadline=Deadline(clock, 10)) as late_lease:
        assert not late_lease.is_held
    call.end()


def test_another_process_of_a_host_takes_over_and_another_host_waits(
    log_url: str, tmp_path: Path
) -> None:
    """A host's own leases say that the first process has ended; machines from one image are two hosts."""
    clock, calls = ManualClock(NOW), list[Call]()
    for n, name in enumerate("aba"):
        own = Leases(State(tmp_path / str(n), clock))
        leases = SharedLeases(PostgresFiles(log_url, name), clock, lambda own=own: own)  # type: ignore[misc]
        calls.append(Call(leases, deadline=Deadline(clock, 0)))
    assert [call.lease.is_held for call in calls] == [True, False, True]


def test_a_fetch_does_not_end_a_change_of_another_process_of_the_host(log_url: str) -> None:
    one, other = PostgresFiles(log_url, "host"), PostgresFiles(log_url, "host")
    with held(one, "AAPL/1d", 0.0) as lease:
        assert other.lease("AAPL/1d", "host:x", 30, is_first=True).owner == lease.owner
    assert other.lease("AAPL/1d", "host:x", 30, is_first=True).owner == "host:x"


def test_the_latest_states_come_with_the_lease_once(host: Hosts) -> None:
    a, b = host("a"), host("b")
    b.store.commit(DAILY, bars(0, 2))
    a.store.hosts.check_joined()
    a.store.hosts.pull([("X", DAILY.timeframe)])
    call = a.call(deadline=None)
    trips = a.shared.trips
    assert call.run(a.store.view, DAILY).rows == 2
    assert a.shared.trips == trips + 1, "only the bytes are requested"
    call.run(a.store.view, DAILY)
    assert a.shared.trips == trips + 1
    call.run(a.store.hosts.pull, [PAIR])
    assert a.shared.trips == trips + 2
    call.end()


def test_a_fetch_that_has_waited_in_vain_begins_with_the_bars_stored_so_far(host: Hosts) -> None:
    a, b = host("a"), host("b")
    first = a.call(deadline=None)
    first.run(a.store.commit, DAILY, bars(0, 2))
    late = b.call()
    assert not late.lease.is_held and shown(b.store) == []
    assert late.run(b.store.view, DAILY).rows == 2
    late.end()
    first.end()


def test_a_fetch_whose_update_fails_begins_with_the_bars_of_its_folder(
    host: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = host("a"), host("b")
    b.store.commit(DAILY, bars(0, 2))
    a.store.hosts.check_joined()
    call = a.call(deadline=None)
    with monkeypatch.context() as patch:
        patch.setattr(a.shared, "chunks", Mock(side_effect=LogUnreachableError("away")))
        assert call.run(a.store.view, DAILY).rows == 0
    call.run(a.store.commit, DAILY, bars(5, 7))
    assert shown(a.store) == [0, 1, 5, 6]
    call.end()


def test_the_last_commit_of_a_turn_also_releases_the_lease(host: Hosts) -> None:
    a, b = host("a"), host("b")
    first = a.call(deadline=None)
    first.run(a.store.commit, DAILY, bars(0, 1))
    assert not b.call().lease.is_held, "a commit that is not the last keeps it"
    first.run(a.store.commit, DAILY, replace(bars(1, 2), is_last=True))
    trips = a.shared.trips
    second = b.call()
    assert second.lease.is_held
    second.end()
    first.end()
    assert a.shared.trips == trips, "nothing is left to be released"
    b.store.hosts.pull([PAIR])
    assert shown(b.store) == [0, 1]


def test_an_error_releases_the_lease_at_once(host: Hosts) -> None:
    a, b = host("a"), host("b")
    with pytest.raises(ZeroDivisionError), a.leases.hold("x", about=DAILY):
        raise ZeroDivisionError
    call = b.call()
    assert call.lease.is_held and not call.lease.has_waited
    call.end()


@pytest.mark.parametrize("pooled", [False, True])
def test_a_killed_holder_releases_the_lease_at_once_unless_a_pooler_hides_its_death(
    host: Hosts, log_url: str, tmp_path: Path, pooled: bool
) -> None:
    def work() -> None:
        one = OneHost(log_url, tmp_path / "a")
        with one.leases.hold("x", about=DAILY):
            if pooled:  # the pooler's connections outlive those of its clients
                sql(log_url, "update onetape.lease set pid = null")
            print("held", flush=True)
            sys.stdin.readline()

    b = host("b")
    holder = Talker([], work)
    assert holder.hear() == "held\n"
    assert not b.call().lease.is_held
    os.kill(holder._child, signal.SIGKILL)
    os.waitpid(holder._child, 0)
    with psycopg.connect(log_url, autocommit=True) as db:  # the server notices within milliseconds
        gone = "select count(*) from pg_stat_activity where application_name = 'onetape'"
        for _ in range(1000):
            if db.execute(gone).fetchone() == (1,):
                break
    assert b.call().lease.is_held is not pooled


def test_the_path_of_a_host_is_not_stored_and_own_series_need_no_lease(
    host: Hosts, log_url: str
) -> None:
    a = host("a")
    for lane in (("local.0a1b2c3d",), ("mock",)):
        call = a.call(about=SeriesKey("AAPL", DAILY.timeframe, lane))
        assert call.lease.is_held and call.turn() is None
    assert a.shared.trips == 0
    call = a.call(deadline=None)
    assert call.lease.is_held and "/" not in sql(log_url, "select owner from onetape.lease")[0][0]


def test_a_change_waits_for_the_lease_of_another_holder(log_url: str) -> None:
    one, other = PostgresFiles(log_url, "a"), PostgresFiles(log_url, "b")
    with held(one, "AAPL.1d", 0) as lease:
        running = Context()  # of another call: it holds no lease
        with pytest.raises(LockTimeoutError, match=r"another host has been changing AAPL\.1d"):
            running.run(lambda: held(other, "AAPL.1d", 0).__enter__())
        assert lease.owner
    with held(other, "AAPL.1d", 0):
        pass
