from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from src.data.core.calendars import exchange
from src.data.core.runtime.once import cached_property, once


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


class Slow:
    """Computes a property, and waits until all of ``others`` do."""

    def __init__(self, others: threading.Barrier) -> None:
        self.others, self.is_inside = others, threading.Event()

    @cached_property
    def value(self) -> object:
        """A new object."""
        self.is_inside.set()
        self.others.wait(10)
        return object()


def test_a_child_waits_for_no_thread_that_computes_a_property() -> None:
    both, alone = threading.Barrier(2), threading.Barrier(1)
    slow = Slow(both)
    thread = threading.Thread(target=lambda: slow.value)
    thread.start()
    assert slow.is_inside.wait(10)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # not the handler of the test's own limit
        signal.alarm(10)  # otherwise it would wait forever
        slow.others = alone
        os._exit(slow.value is None or Slow(alone).value is None)
    status = os.waitpid(child, 0)[1]
    both.wait(10)
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 0


def test_threads_that_compute_a_property_at_once_get_the_same_value() -> None:
    slow = Slow(threading.Barrier(8))
    with ThreadPoolExecutor(8) as pool:
        values = [*pool.map(lambda _: slow.value, range(8))]
    assert {*map(id, values)} == {id(slow.value)}
    assert Slow(threading.Barrier(1)).value is not slow.value
    assert isinstance(Slow.value, cached_property) and Slow.value.__doc__ == "A new object."


def test_sessions_of_an_exchange_are_built_once() -> None:
    assert isinstance(exchange.era_sessions, once), "four threads took four times as long"
