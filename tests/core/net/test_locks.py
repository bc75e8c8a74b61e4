"""Locks of a series between threads: one fetches, the others wait within the time of their call."""

from __future__ import annotations

import threading

import pytest

from src.data.core.clock import ManualClock, SystemClock
from src.data.core.net.calls.deadline import QUIET_S, current_deadline, run_call
from src.data.core.net.limits import locks
from src.data.core.net.limits.locks import SeriesLocks


def test_only_one_of_many_threads_holds_a_lock_at_a_time() -> None:
    table, inside, most = SeriesLocks(), list[int](), list[int]()

    def work(number: int) -> None:
        with table.hold("a series", SystemClock()):
            inside.append(number)
            most.append(len(inside))
            inside.remove(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8


def test_a_lock_of_a_series_is_reentrant() -> None:
    table, clock = SeriesLocks(), SystemClock()
    with table.hold("a", clock):
        with table.hold("a", clock), table.hold("b", clock):
            pass
        free = table.locks["a"]
        assert free.token is not None, "the inner block does not free what the outer one holds"
    assert free.token is None


def test_an_error_releases_the_lock_of_the_series() -> None:
    table, clock = SeriesLocks(), SystemClock()

    def fail() -> None:
        with table.hold("a", clock):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert table.locks["a"].token is None


class TestWaiting:
    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> ManualClock:
        """A clock that only the thread that waits moves, by 10 s each time it looks."""
        clock = ManualClock(0)
        monkeypatch.setattr(locks, "POLL_S", 0.001)
        return clock

    def waited(self, clock: ManualClock, pages: int, timeout: float | None) -> tuple[float, str]:
        """Return how long a call waits for a thread that takes so many pages, one every 20 s."""
        table, holds, over = SeriesLocks(), threading.Event(), threading.Event()
        lock, error = locks.SeriesLock(), ""

        def hold() -> None:
            with table.hold("a", clock):
                holds.set()
                over.wait(20)

        holder = threading.Thread(target=hold)
        holder.start()
        holds.wait(20)
        lock = table.locks["a"]
        wait = lock.freed.wait
        steps = iter(range(1, 1000))

        def look(seconds: float | None = None) -> bool:
            clock.advance(10)
            if (step := next(steps)) % 2 == 0 and step // 2 <= pages:
                assert lock.deadline is not None
                lock.deadline.pages += 1
            return wait(0.0005)

        lock.freed.wait = look  # type: ignore[method-assign]

        def call() -> str:
            with table.hold("a", clock):
                return str(current_deadline(clock).timeout_error("acme"))

        error = run_call(clock, timeout, call)
        over.set()
        holder.join()
        return clock.monotonic(), error

    def test_a_wait_for_a_series_ends_if_no_page_arrives(self, clock: ManualClock) -> None:
        seconds, error = self.waited(clock, 0, None)
        assert seconds == QUIET_S
        assert "another thread is fetching the series" in error

    def test_a_page_of_the_holder_prolongs_the_wait_for_the_lock(self, clock: ManualClock) -> None:
        assert self.waited(clock, 3, None)[0] == 60 + QUIET_S

    def test_a_page_of_the_holder_does_not_prolong_the_timeout_of_a_waiting_caller(
        self, clock: ManualClock
    ) -> None:
        assert self.waited(clock, 3, 40)[0] == 40
