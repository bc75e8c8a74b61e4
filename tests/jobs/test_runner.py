from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from src.data.jobs import runner as module
from src.data.jobs.runner import INTERRUPTED, Runner

_LONG_S = 10.0


class Ran:
    """A runner whose callbacks note what they were given, and in which thread."""

    def __init__(self, work: Callable[[str, Callable[[Any], None]], Any], most: int = 2) -> None:
        self.done: list[tuple[str, Any]] = []
        self.events: list[tuple[str, Any]] = []
        self.quiet: list[list[str]] = []
        self.threads: set[threading.Thread] = set()
        self.runner: Runner[str, Any] = Runner(
            work, self._on_event, self._on_done, self._on_quiet, most
        )

    def _on_event(self, item: str, event: Any) -> None:
        self.threads.add(threading.current_thread())
        self.events.append((item, event))

    def _on_done(self, item: str, result: Any) -> None:
        self.threads.add(threading.current_thread())
        self.done.append((item, result))

    def _on_quiet(self) -> None:
        self.quiet.append([one.item for one in self.runner.running()])


def test_results_and_events_come_in_the_thread_of_the_caller() -> None:
    def work(item: str, tell: Callable[[Any], None]) -> str:
        tell(f"at {item}")
        return item.upper()

    ran = Ran(work, most=1)
    ran.runner.run([("v", "a"), ("v", "b")])
    assert ran.done == [("a", "A"), ("b", "B")]
    assert ran.events == [("a", "at a"), ("b", "at b")]
    assert ran.threads == {threading.current_thread()}


def test_a_slow_group_holds_up_its_own_alone() -> None:
    quick_is_over, count = threading.Event(), 0

    def work(item: str, _: Callable[[Any], None]) -> bool:
        if item.startswith("slow"):
            return quick_is_over.wait(_LONG_S)
        nonlocal count
        count += 1
        if count == 20:
            quick_is_over.set()
        return True

    ran = Ran(work)
    slow = [("slow", f"slow{n}") for n in range(8)]
    ran.runner.run([*slow, *(("quick", f"quick{n}") for n in range(20))])
    assert len(ran.done) == 28 and all(result for _, result in ran.done)


def test_of_each_group_so_many_work_at_once() -> None:
    guard, at_work, most = threading.Lock(), {"a": 0, "b": 0}, {"a": 0, "b": 0}
    full = threading.Barrier(6, timeout=_LONG_S)

    def work(item: str, _: Callable[[Any], None]) -> None:
        group = item[0]
        with guard:
            at_work[group] += 1
            most[group] = max(most[group], at_work[group])
        full.wait()
        with guard:
            at_work[group] -= 1

    Ran(work, most=3).runner.run([(name, f"{name}{n}") for name in "ab" for n in range(9)])
    assert most == {"a": 3, "b": 3}


def test_a_result_may_add_tasks_of_its_group_and_of_others() -> None:
    ran = Ran(lambda item, _: item, most=1)
    note = ran.runner._on_done

    def done(item: str, result: Any) -> None:
        note(item, result)
        if len(item) < 50:
            ran.runner.add("ab"[len(item) % 2], item + "x")

    ran.runner._on_done = done
    ran.runner.run([("a", "a")])
    assert [len(item) for item, _ in ran.done] == [*range(1, 51)]
    assert ran.runner.running() == []


def test_what_is_waited_for_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUIET_S", 0.01)
    told = threading.Event()
    ran = Ran(lambda *_: told.wait(_LONG_S))
    note = ran.runner._on_quiet

    def quiet() -> None:
        note()
        told.set()

    ran.runner._on_quiet = quiet
    ran.runner.run([("v", "a")])
    assert ran.quiet[0] == ["a"]
    assert ran.done == [("a", True)]


def test_after_a_stop_nothing_more_is_begun() -> None:
    def work(item: str, _: Callable[[Any], None]) -> str:
        if item == "b":
            ran.runner.stop("the disk is full")
            ran.runner.stop("a later reason")
        return item

    ran = Ran(work, most=1)
    ran.runner.run([("v", name) for name in "abcd"])
    assert [item for item, _ in ran.done] == ["a", "b"]
    assert ran.runner.stopped == "the disk is full"


@pytest.mark.parametrize("where", ["work", "callback"])
def test_ctrl_c_is_a_stop_and_what_is_at_work_comes_to_its_end(where: str) -> None:
    def work(item: str, tell: Callable[[Any], None]) -> str:
        if where == "work" and item == "b":
            raise KeyboardInterrupt
        tell(item)
        return item

    ran = Ran(work, most=1)
    note = ran.runner._on_event

    def hear(item: str, event: Any) -> None:
        note(item, event)
        if where == "callback" and item == "b":
            raise KeyboardInterrupt

    ran.runner._on_event = hear
    ran.runner.run([("v", name) for name in "abcdefgh"])
    assert ran.runner.stopped == INTERRUPTED
    assert ("a", "a") in ran.done
    assert (("b", "b") in ran.done) == (where == "callback")


def test_what_hangs_is_left_behind_after_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUIET_S", 0.01)
    monkeypatch.setattr(module, "_GRACE_S", 0.01)
    end = threading.Event()

    def interrupt() -> None:
        raise KeyboardInterrupt

    ran = Ran(lambda *_: end.wait(_LONG_S))
    ran.runner._on_quiet = interrupt
    ran.runner.run([("v", "a")])
    end.set()
    assert (ran.done, ran.runner.stopped) == ([], INTERRUPTED)


def test_the_second_ctrl_c_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUIET_S", 0.01)
    monkeypatch.setattr(module, "_GRACE_S", 600.0)
    end = threading.Event()

    def work(item: str, tell: Callable[[Any], None]) -> bool:
        tell("begun")
        return end.wait(_LONG_S)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    ran = Ran(work, most=2)
    ran.runner._on_event = interrupt
    ran.runner.run([("v", "a"), ("v", "b")])
    end.set()
    assert (ran.done, ran.runner.stopped) == ([], INTERRUPTED)


@pytest.mark.parametrize("where", ["work", "callback"])
def test_an_error_of_the_program_is_raised_where_it_was_called(where: str) -> None:
    def work(item: str, _: Callable[[Any], None]) -> str:
        if where == "work" and item == "b":
            raise ZeroDivisionError
        return item

    def done(item: str, _: Any) -> None:
        if where == "callback" and item == "b":
            raise ZeroDivisionError

    ran = Ran(work, most=1)
    ran.runner._on_done = done
    with pytest.raises(ZeroDivisionError):
        ran.runner.run([("v", name) for name in "abc"])
    assert ran.runner.stopped


def test_nothing_to_do_starts_no_thread() -> None:
    before = threading.active_count()
    Ran(lambda *_: None).runner.run([])
    assert threading.active_count() == before
