from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from src.data.calendars import exchange
from src.data.once import once


def test_many_threads_compute_a_cached_value_once() -> None:
    looked_up, begun, go_on = list[int](), list[int](), threading.Event()

    class Number(int):
        def __hash__(self) -> int:
            looked_up.append(threading.get_ident())
            return int(self)

    @once
    def slow(number: int) -> int:
        """Computes."""
        begun.append(number)
        assert go_on.wait(10)
        return number * 2

    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(slow, Number(3)) for _ in range(8)]
        while len(set(looked_up)) < 8:
            pass  # the result is held back until all eight have looked for it
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
    assert isinstance(exchange.era_sessions, once), "four threads took four times as long"
