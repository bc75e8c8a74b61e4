"""Tests that one thread of a job computes at a time, and that a waiting thread frees its slot."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from time import sleep

import pytest

import src.data.core.runtime.compute_slots as module
from src.data.core.bars.batch import in_threads
from src.data.core.clock import ManualClock, SystemClock
from src.data.core.disk.files import Disk
from src.data.core.disk.lock import Locks, try_lock
from src.data.core.model.request.capabilities import Limits
from src.data.core.net.calls.deadline import Deadline, current_deadline, run_call
from src.data.core.net.limits.guarded_call import JobCalls, slot_of_job
from src.data.core.net.limits.leases import Leases
from src.data.core.net.limits.locks import SeriesLocks
from src.data.core.net.limits.state import State
from src.data.core.runtime.compute_slots import (
    MOST_COMPUTING,
    ComputeSlots,
    computing,
    waiting,
    waiting_with_locks,
)
from src.data.core.vendors.foreign import run_foreign
from tests.effort import ThreadMeter

_LONG_S = 60.0


def free(slots: ComputeSlots) -> int:
    """Return how many slots are free."""
    count = 0
    while slots.free.acquire(blocking=False):
        count += 1
    for _ in range(count):
        slots.free.release()
    return count


def test_a_slot_is_free_while_something_is_waited_for() -> None:
    shared = ComputeSlots()
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
    shared = ComputeSlots()
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

    shared = ComputeSlots()
    shared.free = Busy(MOST_COMPUTING)

    def left_s(wait: Callable[[], AbstractContextManager[None]]) -> float:
        def work() -> float:
            with wait():
                clock.advance(3.0)
            return current_deadline(clock).left_s()

        with computing(shared), JobCalls().shared():
            return run_call(clock, 90.0, work)

    assert left_s(lambda: waiting(current_deadline(clock).stopped())) == 87.0
    assert left_s(lambda: slot_of_job("acme", Limits(), clock)) == 87.0
    assert left_s(waiting) == 37.0


@pytest.mark.parametrize("is_job", [True, False])
def test_a_call_to_a_vendor_is_a_wait(is_job: bool) -> None:
    job, clock = JobCalls(), SystemClock()
    with computing(job.slots):
        if is_job:
            with job.shared(), slot_of_job("acme", Limits(), clock):
                assert free(job.slots) == MOST_COMPUTING
        else:
            with slot_of_job("acme", Limits(), clock):
                assert free(job.slots) == MOST_COMPUTING
        assert free(job.slots) == MOST_COMPUTING - 1


def test_threads_that_wait_for_a_series_do_not_block_its_fetcher() -> None:
    """As many tasks as there are slots need a series whose fetcher needs a slot to continue."""
    shared, locks, clock = ComputeSlots(), SeriesLocks(), SystemClock()
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


def test_user_code_under_a_lock_does_not_block_the_thread_that_waits_for_it() -> None:
    """A class is imported under a lock for which another thread of the batch waits in its slot."""
    shared, lock, has_slot, order = ComputeSlots(), threading.Lock(), threading.Event(), list[str]()

    def second() -> None:
        with computing(shared):
            has_slot.set()
            with lock:
                order.append("second")

    def first() -> None:
        with computing(shared), lock:
            run_foreign(lambda: (other.start(), has_slot.wait(_LONG_S)), "mine")
            order.append("first")

    other = threading.Thread(target=second, daemon=True)
    thread = threading.Thread(target=first, daemon=True)
    thread.start()
    thread.join(_LONG_S)
    other.join(_LONG_S)
    assert order == ["first", "second"]


def test_a_thread_that_waits_for_another_process_frees_its_slot(tmp_path: Path) -> None:
    shared, seen = ComputeSlots(), list[int]()

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
    crowd = ThreadMeter()

    def get(item: int) -> int:
        for _ in range(20):
            with crowd.inside():
                pass
            with waiting():
                sleep(0)
        return -item

    assert in_threads(get, range(12), lambda item: "ab"[item % 2], 6) == [-n for n in range(12)]
    assert 1 <= crowd.most <= MOST_COMPUTING


@pytest.mark.parametrize(("average_s", "is_free"), [(0.0019, False), (0.0021, True)])
def test_a_slow_disk_is_waited_for_without_a_slot(
    average_s: float, is_free: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots, seen = ComputeSlots(), list[int]()
    slots.waits_s = {"the disk": average_s, "the server": 0.004 - average_s}
    monkeypatch.setattr(module, "perf_counter", iter([7.0, 7.5]).__next__)
    with computing(slots):
        monkeypatch.setattr(os, "fsync", lambda _: seen.append(free(slots)))
        files = Disk()
        handle = files.create(tmp_path / "file")
        files.sync(handle)
        files.close(handle)
        assert free(slots) == 0
    assert seen == [int(is_free)]
    assert slots.waits_s["the disk"] == pytest.approx(0.8 * average_s + 0.2 * 0.5)


def test_a_thread_that_gets_no_slot_after_its_disk_continues(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_RETAKE_S", 0.0)
    slots = ComputeSlots()
    slots.waits_s = {"the disk": 1.0}
    with computing(slots):
        with waiting_with_locks("the disk"):
            slots.free.acquire()  # another thread takes it
        with waiting_with_locks("the disk"):
            assert free(slots) == 0, "it has none to free"
        slots.free.release()
        with waiting():
            assert free(slots) == 1, "it has none to free"
        assert free(slots) == 0, "it has one again"
    assert free(slots) == 1


def test_a_thread_waits_without_a_slot_for_a_lock_whose_holder_needs_one(tmp_path: Path) -> None:
    slots, locks, order = ComputeSlots(), Locks(), list[str]()
    path, is_held = tmp_path / ".lock", threading.Event()

    def hold() -> None:
        with computing(slots), locks.hold(path, _LONG_S):
            with waiting():
                is_held.set()
                wanted.acquire()
            order.append("held")

    wanted = threading.Semaphore(0)
    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    assert is_held.wait(_LONG_S)
    with computing(slots):
        wanted.release()
        with locks.hold(path, _LONG_S):
            order.append("waited")
    holder.join(_LONG_S)
    assert order == ["held", "waited"]
    assert free(slots) == 1


def test_a_thread_waits_without_a_slot_for_a_file_locked_by_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots, path, seen = ComputeSlots(), tmp_path / ".lock", list[int]()
    other = try_lock(os.fspath(path))
    assert other is not None

    def sleep_once(_: float) -> None:
        seen.append(free(slots))
        other.release()

    monkeypatch.setattr("src.data.core.disk.lock.time.sleep", sleep_once)
    with computing(slots), Locks().hold(path, _LONG_S):
        assert free(slots) == 0
    assert seen == [1]
