"""Leases: one process fetches a series, and the others wait for it up to their deadline."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock, SystemClock
from src.data.core.net.calls.deadline import QUIET_S, Deadline
from src.data.core.net.limits.leases import Leases, process_space
from src.data.core.net.limits.state import State
from src.data.core.net.limits.state_tables import LeaseRow, StateTables
from tests.core.net.scripted import NOW_MS

NAME = "BTCUSDT/1h/2024"
Make = Callable[[], Leases]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_MS)


@pytest.fixture
def state(tmp_path: Path, clock: ManualClock) -> State:
    return State(tmp_path, clock)


@pytest.fixture
def make(tmp_path: Path, clock: ManualClock) -> Make:
    """Return a maker of leases, each like another process with the same state file."""
    return lambda: Leases(State(tmp_path, clock))


def held_by(state: State, pid: int, seconds: float = 60, machine: str | None = None) -> None:
    """Write down that a process holds the lease."""

    def write(book: StateTables) -> None:
        where = process_space() if machine is None else machine
        book.grant(NAME, LeaseRow("somebody", where, pid, book.now_s + seconds))

    state.run(write)


def test_the_first_caller_gets_the_lease_without_a_wait(make: Make, clock: ManualClock) -> None:
    with make().hold(NAME) as lease, make().hold("another") as other:
        assert lease.is_held
        assert other.is_held
        assert not lease.has_waited
    assert clock.slept == []


def test_a_wait_for_a_lease_ends_at_the_deadline_without_the_lease(
    make: Make, clock: ManualClock
) -> None:
    with make().hold(NAME), make().hold(NAME, deadline=Deadline(clock, 10)) as late:
        assert not late.is_held
        assert late.has_waited
        assert clock.monotonic() == pytest.approx(10)
    with make().hold(NAME) as next_one:
        assert next_one.is_held


def test_a_page_of_the_holder_prolongs_the_wait_of_the_others(
    make: Make, state: State, clock: ManualClock
) -> None:
    holder, pages, deadline = make(), 0, Deadline(clock)
    with holder.hold(NAME, ttl_s=500) as lease:
        sleep = clock.sleep

        def page_now_and_then(seconds: float) -> None:
            nonlocal pages
            sleep(seconds)
            if clock.monotonic() < 100 and clock.monotonic() > 20 * (pages + 1):
                pages += 1
                holder.renew(lease, 500, pages)

        clock.sleep = page_now_and_then  # type: ignore[method-assign]
        with make().hold(NAME, deadline=deadline) as late:
            assert not late.is_held
    assert pages == 4
    assert clock.monotonic() == pytest.approx(80 + QUIET_S, abs=2)
    assert "another process is fetching" in str(deadline.timeout_error("acme"))


def test_a_page_of_the_holder_does_not_prolong_the_timeout_of_a_waiting_caller(
    make: Make, clock: ManualClock
) -> None:
    holder, deadline = make(), Deadline(clock, 5)
    with holder.hold(NAME) as lease:
        holder.renew(lease, pages=1)
        with make().hold(NAME, deadline=deadline) as late:
            assert not late.is_held
    assert clock.monotonic() == pytest.approx(5)


def test_a_caller_without_the_lease_does_not_release_it(make: Make, clock: ManualClock) -> None:
    with make().hold(NAME):
        with make().hold(NAME, deadline=Deadline(clock, 1)):
            pass
        with make().hold(NAME, deadline=Deadline(clock, 1)) as third:
            assert not third.is_held


def test_a_lease_is_taken_over_when_its_announced_time_is_over(
    make: Make, clock: ManualClock
) -> None:
    one = make()
    with one.hold(NAME, ttl_s=5) as slow, make().hold(NAME, deadline=Deadline(clock, 30)) as late:
        assert late.is_held
        assert late.has_waited
        assert 5 <= clock.monotonic() < 6
        assert not one.renew(slow)
    with make().hold(NAME) as again:
        assert not again.has_waited


def test_a_lease_can_be_prolonged(make: Make, clock: ManualClock) -> None:
    one = make()
    with one.hold(NAME, ttl_s=5) as lease:
        clock.advance(4)
        assert one.renew(lease, ttl_s=20)
        with make().hold(NAME, deadline=Deadline(clock, 10)) as late:
            assert not late.is_held
        clock.advance(60)
        assert one.renew(lease), "no other process requested it meanwhile"
    assert not one.renew(lease), "a page for another thread of the call comes too late"
    with make().hold(NAME) as again:
        assert not again.has_waited


@pytest.mark.parametrize(
    "limit, taken_s",
    [({"quiet_s": 30}, 30), ({"quiet_s": 55}, 37.5), ({"quiet_s": 100}, 60), ({"quiet_s": 900}, 300),
     ({"timeout_s": 900}, 30)],
)  # fmt: skip
def test_a_job_waits_for_a_silent_holder_for_half_a_minute_or_as_long_as_it_has_time_left(
    make: Make, clock: ManualClock, limit: dict[str, float], taken_s: float
) -> None:
    """A job's holder may be waiting for a vendor's limit of a minute, or for its other requests."""
    one, sleep = make(), clock.sleep

    def sleep_while_others_fetch(seconds: float) -> None:
        sleep(seconds)
        with one.hold("another"):
            pass

    clock.sleep = sleep_while_others_fetch  # type: ignore[method-assign]
    with one.hold(NAME) as silent:
        clock.advance(20)
        deadline = Deadline(clock, **limit)
        with make().hold(NAME, deadline=deadline) as late:
            assert late.is_held
            assert taken_s <= clock.monotonic() < taken_s + 1
            assert deadline.left_s() > 19
            assert not one.renew(silent)


def test_a_job_waits_for_a_holder_that_receives_a_page_a_minute(
    make: Make, clock: ManualClock
) -> None:
    holder, sleep, renewed = make(), clock.sleep, list[bool]()
    hold = holder.hold(NAME)
    lease = hold.__enter__()

    def page_each_minute(seconds: float) -> None:
        sleep(seconds)
        if clock.monotonic() >= 60 * (len(renewed) + 1):
            renewed.append(holder.renew(lease, pages=len(renewed) + 1))
            if len(renewed) == 20:
                hold.__exit__(None, None, None)

    clock.sleep = page_each_minute  # type: ignore[method-assign]
    with make().hold(NAME, deadline=Deadline(clock, quiet_s=600)) as late:
        assert late.is_held and late.has_waited
    assert renewed == [True] * 20 and 1200 <= clock.monotonic() < 1201


def test_an_error_releases_the_lease(make: Make) -> None:
    def fail() -> None:
        with make().hold(NAME):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with make().hold(NAME) as lease:
        assert not lease.has_waited


@pytest.mark.skipif(sys.platform == "win32", reason="processes cannot be looked for there")
class TestGoneProcesses:
    @pytest.fixture
    def gone(self) -> int:
        """Return the id of a process that has ended."""
        child = subprocess.Popen([sys.executable, "-S", "-c", ""])
        child.wait()
        return child.pid

    def test_the_lease_of_a_dead_process_is_taken_over_at_once(
        self, make: Make, state: State, clock: ManualClock, gone: int
    ) -> None:
        held_by(state, gone)
        with make().hold(NAME) as lease:
            assert lease.is_held
            assert not lease.has_waited
        assert clock.slept == []

    def test_a_lease_of_a_process_on_another_machine_is_waited_for(
        self, make: Make, state: State, clock: ManualClock, gone: int
    ) -> None:
        held_by(state, gone, seconds=5, machine="another host")
        with make().hold(NAME) as lease:
            assert lease.is_held
        assert clock.monotonic() >= 5

    def test_a_lease_of_another_users_process_is_respected(
        self, make: Make, state: State, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def forbidden(pid: int, signal: int) -> None:
            raise PermissionError

        held_by(state, 1)
        monkeypatch.setattr(os, "kill", forbidden)
        with make().hold(NAME, deadline=Deadline(clock, 1)) as lease:
            assert not lease.is_held


def test_waits_for_a_lease_are_short_and_have_jitter(
    make: Make, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "jitter", lambda: 0.5)
    with make().hold(NAME), make().hold(NAME, deadline=Deadline(clock, 10)):
        pass
    assert clock.slept[0] == pytest.approx(0.03)
    assert max(clock.slept) <= 0.75


def test_only_one_of_many_threads_holds_a_lease_at_a_time(tmp_path: Path) -> None:
    processes = [Leases(State(tmp_path, SystemClock())) for _ in range(2)]
    inside, most, entered = list[int](), list[int](), list[int]()

    def work(number: int) -> None:
        with processes[number % 2].hold(NAME) as lease:
            assert lease.is_held
            inside.append(number)
            most.append(len(inside))
            inside.remove(number)
            entered.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(entered) == list(range(6))
    assert max(most) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_child_does_not_release_the_lease_of_its_parent(tmp_path: Path) -> None:
    leases = Leases(State(tmp_path, SystemClock()))
    hold = leases.hold(NAME)
    hold.__enter__()
    child = os.fork()
    if child == 0:
        hold.__exit__(None, None, None)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    with leases.hold(NAME, deadline=Deadline(SystemClock(), 0)) as other:
        assert not other.is_held
    hold.__exit__(None, None, None)
