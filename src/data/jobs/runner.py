"""Work on many items in threads, a few for each group, so that a slow vendor holds up its own alone.

A vendor answers fewer at once than are at work: the others prepare a request, or store an answer.

Everything but the work itself happens in the thread of the caller: events, results, Ctrl-C.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, NoReturn, TypeVar

from ..model.capabilities import MOST_AT_ONCE
from ..net.guarded_call import JobCalls
from ..observability.logs import carried
from .signals import hold_signals

T = TypeVar("T")
R = TypeVar("R")

INTERRUPTED = "interrupted"
# So many tasks of a group are at work: what they do besides their calls, a fifth of the time, takes
# no place of these.
AT_WORK = MOST_AT_ONCE + 2
# So long without an event, and what is waited for is told.
QUIET_S = 5.0
# After Ctrl-C work has so long to come to an end of its own; what is committed is kept anyway.
_GRACE_S = 2.0


@dataclass(frozen=True)
class Running(Generic[T]):
    """What is at work, and for how many seconds."""

    item: T
    seconds: float


class Runner(Generic[T, R]):
    """Runs tasks, ``most`` of a group at a time. For one run.

    Args:
        work: is given an item and what passes events on; it runs in one of several threads.
        on_event: is given an item and an event of its work.
        on_done: is given an item and the result of its work.
        on_quiet: is called after each :data:`QUIET_S` seconds in which neither was.
        most: threads of a group.

    Attributes:
        stopped: why no more tasks are begun; empty while they are.
    """

    def __init__(
        self,
        work: Callable[[T, Callable[[Any], None]], R],
        on_event: Callable[[T, Any], None],
        on_done: Callable[[T, R], None],
        on_quiet: Callable[[], None],
        most: int,
    ) -> None:
        self.stopped = ""
        self._work, self._most = work, most
        self._on_event, self._on_done, self._on_quiet = on_event, on_done, on_quiet
        self._vendor_calls = JobCalls()
        # What the thread of the caller shall do; None where a thread has ended.
        self._calls: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        # Guards the next three against the threads; only the thread of the caller adds groups.
        self._guard = threading.Lock()
        self._waiting: dict[str, deque[T]] = {}
        self._alive: Counter[str] = Counter()
        self._since: dict[int, tuple[T, float]] = {}
        self._threads = 0

    def stop(self, why: str) -> None:
        """Begin no more tasks; the first reason stands. From any thread."""
        self.stopped = self.stopped or why

    def running(self) -> list[Running[T]]:
        """Return the tasks at work, the longest first."""
        now = time.monotonic()
        with self._guard:
            return [Running(item, now - since) for item, since in self._since.values()]

    def add(self, group: str, item: T) -> None:
        """Add a task behind those of its group; from the thread that runs, also while it runs."""
        with self._guard:
            self._waiting.setdefault(group, deque()).append(item)
            if self._alive[group] >= self._most:
                return
            self._alive[group] += 1
        name, take = f"onetape-job-{group}", carried(self._take)
        threading.Thread(target=take, args=(group,), name=name, daemon=True).start()
        self._threads += 1

    def run(self, tasks: Iterable[tuple[str, T]]) -> None:
        """Run tasks, each a group and an item, in the order of each group, and those that they add.

        Returns when all are done, or after a stop when those at work are; after Ctrl-C (which is a
        stop, also while tasks are looked for) two seconds later at the latest, at once after the
        second. From then on signals wait for the report, see :mod:`.signals`.

        Raises:
            Exception: what work or callbacks raised; no more tasks are begun then.
        """
        waiting, until = iter(tasks), None
        while True:
            try:
                for group, item in waiting:
                    self.add(group, item)
                while self._threads and (until is None or time.monotonic() < until):
                    has_ended = self._step(until)  # which may add some
                    self._threads -= has_ended
                hold_signals()
                return
            except KeyboardInterrupt:
                if until is not None:  # the second one
                    hold_signals()
                    return
                self.stop(INTERRUPTED)
                waiting, until = iter(()), time.monotonic() + _GRACE_S
            except BaseException:
                self.stop("failed")
                raise

    def _step(self, until: float | None) -> bool:
        """Do what comes next; tell whether a thread has ended."""
        try:
            call = self._calls.get(
                timeout=QUIET_S if until is None else max(0.0, until - time.monotonic())
            )
        except queue.Empty:
            if until is None:
                self._on_quiet()
            return False
        if call is not None:
            call()
        return call is None

    def _pass_on(self, item: T, event: Any) -> None:
        self._calls.put(partial(self._on_event, item, event))

    def _take(self, group: str) -> None:
        """Work in a thread until nothing is left of the group."""
        with self._vendor_calls.shared():
            self._take_all(group)
        self._calls.put(None)

    def _take_all(self, group: str) -> None:
        waiting, put = self._waiting[group], self._calls.put
        while True:
            with self._guard:
                if self.stopped or not waiting:
                    self._alive[group] -= 1
                    break
                item = waiting.popleft()
                self._since[id(item)] = item, time.monotonic()
            try:
                result = self._work(item, partial(self._pass_on, item))
                put(partial(self._on_done, item, result))
            except BaseException as error:  # noqa: BLE001 - raised in the thread of the caller, by `_raise`
                put(partial(_raise, error))
                break
            finally:
                with self._guard:
                    del self._since[id(item)]


def _raise(error: BaseException) -> NoReturn:
    raise error
