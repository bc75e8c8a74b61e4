"""Tests that an object exists once in a process, for any number of concurrent callers."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from src.data.core.model.words.caller import warn_user
from src.data.core.runtime.singleton import Singleton

WAIT_S = 60


class Thing:
    def __init__(self, *made_of: object) -> None:
        self.made_of = made_of


def ask_in_threads(number: int, ask: Callable[[], object]) -> None:
    barrier = threading.Barrier(number)

    def run() -> None:
        barrier.wait(timeout=WAIT_S)
        ask()

    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=WAIT_S)


def test_a_singleton_is_made_once_from_the_first_arguments() -> None:
    one: Singleton[Thing] = Singleton("thing", warn_user)
    first = one.get(Thing, 1, 2)
    assert first.made_of == (1, 2)
    assert one.get(Thing, 1, 2) is first
    assert one.get(Thing, None, None) is first  # who does not care is not warned


def test_other_arguments_are_ignored_with_a_warning_that_names_both() -> None:
    one: Singleton[Thing] = Singleton("thing", warn_user)
    first = one.get(Thing, 1)
    with pytest.warns(UserWarning, match=r"the thing .* created with \(1,\); \(2,\) is ignored"):
        assert one.get(Thing, 2) is first


def test_a_path_and_its_text_are_the_same_argument() -> None:
    one: Singleton[Thing] = Singleton("thing", warn_user)
    first = one.get(Thing, "cache", Path("rules.yaml"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert one.get(Thing, Path("cache"), "rules.yaml") is first
    with pytest.warns(UserWarning, match="is ignored"):
        assert one.get(Thing, Path("cache"), None) is first


def test_a_forgotten_singleton_is_made_again() -> None:
    one: Singleton[Thing] = Singleton("thing", warn_user)
    first = one.get(Thing, 1)
    one.forget()
    assert one.get(Thing, 2) is not first


def test_a_singleton_whose_creation_failed_is_created_at_the_next_call() -> None:
    one: Singleton[Thing] = Singleton("thing", warn_user)

    def fail(*_: object) -> Thing:
        raise RuntimeError("made up")

    with pytest.raises(RuntimeError):
        one.get(fail, 1)
    assert one.get(Thing, 2).made_of == (2,)


def test_many_threads_create_a_singleton_once() -> None:
    one: Singleton[Thing] = Singleton("thing", warn_user)
    makers = threading.Barrier(2)
    found: list[Thing] = []

    def make() -> Thing:
        # Holds the door open for a second maker; none may come.
        with pytest.raises(threading.BrokenBarrierError):
            makers.wait(timeout=0.2)
        return Thing()

    ask_in_threads(8, lambda: found.append(one.get(make)))
    assert len(found) == 8
    assert len(set(map(id, found))) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_child_forked_during_the_creation_of_a_singleton_creates_its_own() -> None:
    one: Singleton[Thing] = Singleton("thing", warn_user)
    making, go_on = threading.Event(), threading.Event()

    def make() -> Thing:
        making.set()
        go_on.wait(timeout=WAIT_S)
        return Thing("parent")

    maker = threading.Thread(target=lambda: one.get(make))
    maker.start()
    assert making.wait(timeout=WAIT_S)
    child = os.fork()
    if child == 0:
        # In the main thread: a new one might be taken for the lock's owner by its recycled id.
        signal.alarm(WAIT_S)
        os._exit(0 if one.get(Thing, "child").made_of == ("child",) else 1)
    status = os.waitpid(child, 0)[1]
    go_on.set()
    maker.join(timeout=WAIT_S)
    assert os.waitstatus_to_exitcode(status) == 0
    assert one.get(Thing).made_of == ("parent",)
