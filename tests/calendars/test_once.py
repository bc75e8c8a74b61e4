from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from src.data.calendars import exchange
from src.data.once import once


def test_many_threads_compute_it_once() -> None:
    asked, begun, go_on = threading.Barrier(8), list[int](), threading.Event()

    @once
    def slow(number: int) -> int:
        """Computes."""
        begun.append(number)
        assert go_on.wait(10)
        return number * 2

    def ask(_: int) -> int:
        asked.wait(10)
        if len(begun) == 1:
            go_on.set()
        return slow(3)

    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(ask, n) for n in range(8)]
        while not begun:
            pass
        go_on.set()
        assert {one.result(10) for one in waiting} == {6}
    assert begun == [3]
    assert slow.__doc__ == "Computes."


def test_other_arguments_do_not_wait() -> None:
    inside, go_on = threading.Event(), threading.Event()

    @once
    def slow(name: str) -> str:
        if name == "slow":
            inside.set()
            assert go_on.wait(10)
        return name

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(slow, "slow")
        assert inside.wait(10)
        assert slow("quick") == "quick"
        go_on.set()
        assert waiting.result(10) == "slow"


def test_errors_are_not_kept() -> None:
    answers = iter([ValueError("no"), 5])

    @once
    def sometimes() -> int:
        answer = next(answers)
        if isinstance(answer, ValueError):
            raise answer
        return answer

    with pytest.raises(ValueError, match="no"):
        sometimes()
    assert sometimes() == sometimes() == 5


def test_a_child_waits_for_no_thread_of_its_parent() -> None:
    inside, go_on = threading.Event(), threading.Event()

    @once
    def slow() -> int:
        if not inside.is_set():
            inside.set()
            assert go_on.wait(10)
        return 7

    thread = threading.Thread(target=slow)
    thread.start()
    assert inside.wait(10)
    child = os.fork()
    if child == 0:
        os._exit(slow())
    go_on.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_sessions_of_an_exchange_are_built_once() -> None:
    assert isinstance(exchange._era, once), "four threads took four times as long"
