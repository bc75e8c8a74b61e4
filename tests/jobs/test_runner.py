"""The job runner: threads, groups and their limits, progress reports, Ctrl-C and errors."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from time import sleep
from typing import Any

import pytest

from src.data.core.clock import SystemClock
from src.data.core.net.calls.deadline import note_wait
from src.data.core.runtime.compute_slots import MOST_COMPUTING, waiting
from src.data.jobs.progress.events import JobProgress, Progress
from src.data.jobs.progress.results import SeriesResult
from src.data.jobs.run import runner as module
from src.data.jobs.run.runner import INTERRUPTED, Runner, TaskState, VendorTask
from tests.effort import ThreadMeter

_LONG_S = 60.0


def task(vendor: str, name: str) -> VendorTask:
    return VendorTask(vendor, SeriesResult(name, ""), 1)


class Ran:
    """A runner of named tasks, whose callbacks note what they were given, and in which thread."""

    def __init__(
        self,
        work: Callable[[str, Callable[[str], None]], Any],
        most: int = 2,
        on_event: Callable[..., None] = lambda *_: None,
        on_done: Callable[..., None] = lambda *_: None,
        on_quiet: Callable[[], None] = lambda: None,
    ) -> None:
        self.done: list[tuple[str, Any]] = []
        self.events: list[tuple[str, Any]] = []
        self.quiet: list[list[str]] = []
        self.threads: set[threading.Thread] = set()
        self._then = on_event, on_done, on_quiet

        def do(task: VendorTask, tell: Callable[[TaskState], None]) -> Any:
            return work(task.result.symbol, lambda text: tell(TaskState(SeriesResult(text, ""))))

        progress = JobProgress(SystemClock(), self._on_quiet, 0, 0)
        self.runner: Runner[VendorTask, Any] = Runner(
            progress, do, self._on_done, self._on_state, most
        )

    def run(self, tasks: Iterable[tuple[str, str]]) -> None:
        self.runner.run(task(*each) for each in tasks)

    def _on_state(self, task: VendorTask, state: TaskState) -> None:
        self.threads.add(threading.current_thread())
        self.events.append((task.result.symbol, state.result.symbol))
        self._then[0](*self.events[-1])

    def _on_done(self, task: VendorTask, result: Any) -> None:
        self.threads.add(threading.current_thread())
        self.done.append((task.result.symbol, result))
        self._then[1](*self.done[-1])

    def _on_quiet(self, now: Progress) -> None:
        assert now.waiting
        self.quiet.append([one.item.result.symbol for one in self.runner.running()])
        self._then[2]()


def test_results_and_events_are_delivered_in_the_thread_of_the_caller() -> None:
    def work(item: str, tell: Callable[[Any], None]) -> str:
        tell(f"at {item}")
        return item.upper()

    ran = Ran(work, most=1)
    ran.run([("v", "a"), ("v", "b")])
    assert ran.done == [("a", "A"), ("b", "B")]
    assert ran.events == [("a", "at a"), ("b", "at b")]
    assert ran.threads == {threading.current_thread()}


def test_a_slow_group_delays_no_other_group() -> None:
    quick_is_over, count = threading.Event(), 0

    def work(item: str, _: Callable[[Any], None]) -> bool:
        if item.startswith("slow"):
            with waiting():
                return quick_is_over.wait(_LONG_S)
        nonlocal count
        count += 1
        if count == 20:
            quick_is_over.set()
        return True

    ran = Ran(work)
    slow = [("slow", f"slow{n}") for n in range(8)]
    ran.run([*slow, *(("quick", f"quick{n}") for n in range(20))])
    assert len(ran.done) == 28 and all(result for _, result in ran.done)


def test_the_number_of_concurrent_tasks_is_limited_for_each_group() -> None:
    guard, at_work, most = threading.Lock(), {"a": 0, "b": 0}, {"a": 0, "b": 0}
    full = threading.Barrier(6, timeout=_LONG_S)

    def work(item: str, _: Callable[[Any], None]) -> None:
        group = item[0]
        with guard:
            at_work[group] += 1
            most[group] = max(most[group], at_work[group])
        with waiting():
            full.wait()
        with guard:
            at_work[group] -= 1

    Ran(work, most=3).run([(name, f"{name}{n}") for name in "ab" for n in range(9)])
    assert most == {"a": 3, "b": 3}


def test_the_number_of_threads_that_compute_at_once_is_limited() -> None:
    computing = ThreadMeter()

    def work(item: str, _: Callable[[Any], None]) -> None:
        for _ in range(20):
            with computing.inside():
                pass
            with waiting():
                sleep(0)

    ran = Ran(work, most=6)
    ran.run([(vendor, f"{vendor}{n}") for vendor in "abc" for n in range(6)])
    assert len(ran.done) == 18
    assert 1 <= computing.most <= MOST_COMPUTING


def test_a_result_may_add_tasks_of_its_group_and_of_others() -> None:
    def done(item: str, _: Any) -> None:
        if len(item) < 50:
            ran.runner.add(task("ab"[len(item) % 2], item + "x"))

    ran = Ran(lambda item, _: item, most=1, on_done=done)
    ran.run([("a", "a")])
    assert [len(item) for item, _ in ran.done] == [*range(1, 51)]
    assert ran.runner.running() == []


def test_the_runner_reports_unfinished_tasks_after_a_quiet_period(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "QUIET_S", 0.01)
    reported = threading.Event()
    ran = Ran(lambda *_: reported.wait(_LONG_S), on_quiet=reported.set)
    ran.run([("v", "a")])
    assert ran.quiet[0] == ["a"]
    assert ran.done == [("a", True)]


def test_a_wait_for_a_limit_is_reported_with_the_last_state_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, seen = SystemClock(), list[Progress]()

    def work(_: VendorTask, tell: Callable[[TaskState], None]) -> None:
        tell(TaskState(SeriesResult("B", "1d", rows=7), parts=1))
        note_wait(clock, "acme", 90.0, "its limit is used up")

    progress = JobProgress(clock, seen.append, 1, 2)
    caplog.set_level("INFO")
    two_parts = VendorTask("acme", SeriesResult("A", "1d"), 2)
    Runner(progress, work, log=logging.getLogger("onetape.test")).run([two_parts])
    assert [(one.result.rows, one.share, bool(one.waiting)) for one in seen] == [
        (7, 0.5, False), (7, 0.5, True),
    ]  # fmt: skip
    assert seen[1].waiting.endswith("for acme: its limit is used up")
    assert [one.startswith("A 1d waits ") for one in caplog.messages] == [True]
    assert progress.parts_done == 2, "what the work did not pass on ended with it"


def test_no_task_is_begun_after_a_stop() -> None:
    def work(item: str, _: Callable[[Any], None]) -> str:
        if item == "b":
            ran.runner.stop("the disk is full")
            ran.runner.stop("a later reason")
        return item

    ran = Ran(work, most=1)
    ran.run([("v", name) for name in "abcd"])
    assert [item for item, _ in ran.done] == ["a", "b"]
    assert ran.runner.stopped == "the disk is full"


@pytest.mark.parametrize("where", ["work", "callback"])
def test_ctrl_c_stops_the_runner_and_running_tasks_finish(where: str) -> None:
    def work(item: str, tell: Callable[[Any], None]) -> str:
        if where == "work" and item == "b":
            raise KeyboardInterrupt
        tell(item)
        return item

    def hear(item: str, _: Any) -> None:
        if where == "callback" and item == "b":
            raise KeyboardInterrupt

    ran = Ran(work, most=1, on_event=hear)
    ran.run([("v", name) for name in "abcdefgh"])
    assert ran.runner.stopped == INTERRUPTED
    assert ("a", "a") in ran.done
    assert (("b", "b") in ran.done) == (where == "callback")


def test_a_hanging_task_is_abandoned_after_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUIET_S", 0.01)
    monkeypatch.setattr(module, "GRACE_S", 0.01)
    end = threading.Event()

    def interrupt() -> None:
        raise KeyboardInterrupt

    ran = Ran(lambda *_: end.wait(_LONG_S), on_quiet=interrupt)
    ran.run([("v", "a")])
    end.set()
    assert (ran.done, ran.runner.stopped) == ([], INTERRUPTED)


def test_a_second_ctrl_c_ends_the_run_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUIET_S", 0.01)
    monkeypatch.setattr(module, "GRACE_S", 600.0)
    end = threading.Event()

    def work(item: str, tell: Callable[[Any], None]) -> bool:
        tell("begun")
        with waiting():
            return end.wait(_LONG_S)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    ran = Ran(work, most=2, on_event=interrupt)
    ran.run([("v", "a"), ("v", "b")])
    end.set()
    assert (ran.done, ran.runner.stopped) == ([], INTERRUPTED)


@pytest.mark.parametrize("where", ["work", "callback"])
def test_an_error_in_a_task_or_callback_is_raised_to_the_caller(where: str) -> None:
    def work(item: str, _: Callable[[Any], None]) -> str:
        if where == "work" and item == "b":
            raise ZeroDivisionError
        return item

    def done(item: str, _: Any) -> None:
        if where == "callback" and item == "b":
            raise ZeroDivisionError

    ran = Ran(work, most=1, on_done=done)
    with pytest.raises(ZeroDivisionError):
        ran.run([("v", name) for name in "abc"])
    assert ran.runner.stopped


def test_a_run_without_tasks_starts_no_thread() -> None:
    before = threading.active_count()
    Ran(lambda *_: None).run([])
    assert threading.active_count() == before
