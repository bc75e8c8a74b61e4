"""Few threads of a job compute at once; a thread that waits frees its slot."""

from __future__ import annotations

import threading
from pathlib import Path
from time import sleep

import pytest

from src.data.bars.batch import in_threads
from src.data.clock import ManualClock, SystemClock
from src.data.model.capabilities import Limits
from src.data.net.compute_slots import MOST_COMPUTING, compute_slots, computing, waiting
from src.data.net.deadline import Deadline, current_deadline, run_call
from src.data.net.guarded_call import JobCalls, place_of_job
from src.data.net.leases import Leases
from src.data.net.locks import SeriesLocks
from src.data.net.state import State
from tests.effort import Crowd

_LONG_S = 60.0


def free(shared: threading.Semaphore) -> int:
    """Return how many slots are free."""
    count = 0
    while shared.acquire(blocking=False):
        count += 1
    for _ in range(count):
        shared.release()
    return count


def test_a_slot_is_free_while_something_is_waited_for() -> None:
    shared = compute_slots()
    with computing(shared):
        assert free(shared) == MOST_COMPUTING - 1
        with waiting():
            assert free(shared) == MOST_COMPUTING
            with waiting():
                assert free(shared) == MOST_COMPUTING
            assert free(shared) == MOST_COMPUTING, "it has no second slot to free"
        assert free(shared) == MOST_COMPUTING - 1
    assert free(shared) == MOST_COMPUTING
    with waiting():
        assert free(shared) == MOST_COMPUTING, "a thread without a slot frees none"


def test_a_slot_is_free_after_an_error() -> None:
    shared = compute_slots()
    with pytest.raises(ZeroDivisionError), computing(shared), waiting():
        raise ZeroDivisionError
    assert free(shared) == MOST_COMPUTING


def test_the_wait_for_a_slot_takes_no_time_of_the_call() -> None:
    """Others of the job compute for 50 s of the clock while this one could go on."""
    clock = ManualClock(0)

    class Busy(threading.Semaphore):
        def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
            clock.advance(50.0)
            return super().acquire(blocking, timeout)

    shared = Busy(MOST_COMPUTING)

    def call(counted: bool) -> float:
        with computing(shared):

            def work() -> float:
                with waiting(None if counted else clock):
                    clock.advance(3.0)
                return current_deadline(clock).left_s()

            return run_call(clock, 90.0, work)

    assert [call(counted=False), call(counted=True)] == [87.0, 37.0]


@pytest.mark.parametrize("is_job", [True, False])
def test_a_call_to_a_vendor_is_a_wait(is_job: bool) -> None:
    job, clock = JobCalls(), SystemClock()
    with computing(job.slots):
        if is_job:
            with job.shared(), place_of_job("acme", Limits(), clock):
                assert free(job.slots) == MOST_COMPUTING
        else:
            with place_of_job("acme", Limits(), clock):
                assert free(job.slots) == MOST_COMPUTING
        assert free(job.slots) == MOST_COMPUTING - 1


def test_those_who_wait_for_a_series_do_not_hold_up_who_fetches_it() -> None:
    """As many tasks as there are slots need a series whose fetcher needs a slot to continue."""
    shared, locks, clock = compute_slots(), SeriesLocks(), SystemClock()
    waiters, order = threading.Semaphore(0), list[str]()

    class Noting(threading.Condition):
        def wait(self, timeout: float | None = None) -> bool:
            waiters.release()
            return super().wait(timeout)

    def need() -> None:
        with computing(shared), locks.hold("a series", clock):
            order.append("needed")

    threads = [threading.Thread(target=need, daemon=True) for _ in range(MOST_COMPUTING)]
    with computing(shared), locks.hold("a series", clock):
        locks.locks["a series"].freed = Noting()
        with waiting():
            for thread in threads:
                thread.start()
                assert waiters.acquire(timeout=_LONG_S)
        order.append("fetched")
    for thread in threads:
        thread.join(_LONG_S)
    assert order == ["fetched", *["needed"] * MOST_COMPUTING]


def test_who_waits_for_another_process_lets_others_compute(tmp_path: Path) -> None:
    shared, seen = compute_slots(), list[int]()

    class Noting(ManualClock):
        def sleep(self, seconds: float) -> None:
            seen.append(free(shared))
            super().sleep(seconds)

    clock = Noting(0)
    others, ours = (Leases(State(tmp_path, clock)) for _ in range(2))
    late = ours.hold("a series", deadline=Deadline(clock, 10))
    with others.hold("a series"), computing(shared), late as lease:
        assert lease.has_waited
        assert free(shared) == MOST_COMPUTING - 1
    assert seen
    assert set(seen) == {MOST_COMPUTING}


def test_a_batch_computes_in_slots_too() -> None:
    crowd = Crowd()

    def get(item: int) -> int:
        for _ in range(20):
            with crowd.inside():
                pass
            with waiting():
                sleep(0)
        return -item

    assert in_threads(get, range(12), lambda item: "ab"[item % 2], 6) == [-n for n in range(12)]
    assert 1 <= crowd.most <= MOST_COMPUTING
