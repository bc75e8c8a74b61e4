"""The tasks of a job in threads, a few for each vendor, so that a slow one holds up its own alone.

A vendor answers fewer at once than are at work: the others prepare a request, or store an answer.

Everything but the work itself happens in the thread of the caller: progress, results, Ctrl-C.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from ..disk.files import is_disk_done
from ..model.capabilities import MOST_AT_ONCE
from ..net.deadline import Wait, run_heard
from ..net.guarded_call import JobCalls
from ..observability.logs import carried
from .fill_report import SeriesResult
from .progress import JobProgress, Running
from .signals import hold_signals

if TYPE_CHECKING:
    from ..errors import DataError

R = TypeVar("R")

INTERRUPTED = "interrupted"
# So many tasks of a vendor are at work: what they do besides their calls, a fifth of the time, takes
# no place of these.
AT_WORK = MOST_AT_ONCE + 2
# So long without an event, and what is waited for is told.
QUIET_S = 5.0
# After Ctrl-C work has so many seconds to come to an end of its own; what is committed is kept anyway.
GRACE_S = 2.0


@dataclass(frozen=True, eq=False)
class VendorTask:
    """What one vendor is asked for in one of its threads.

    Attributes:
        vendor: which is asked first; empty where that is not known.
        result: of the series before it is asked, for progress.
        parts: what the task counts for the pace of its vendor.
    """

    vendor: str
    result: SeriesResult
    parts: int


@dataclass(frozen=True)
class TaskState:
    """How far the work on a task is.

    Attributes:
        result: of the series so far.
        parts: of the task that are done since the state before.
        wait: what it waits for, as the runner hears of it; None for an answer.
    """

    result: SeriesResult
    parts: int = 0
    wait: Wait | None = None


K = TypeVar("K", bound=VendorTask)


class Runner(Generic[K, R]):
    """Runs the tasks of one job, vendors beside each other, and tells its progress. For one run.

    Args:
        progress: of the job, which itself counts what is ``done``.
        work: is given a task and what passes its state on; it runs in one of several threads.
        on_done: is given a task and the result of its work; None: nothing is done with it.
        on_state: is given a task and its state, also before each longer wait, and counts ``parts_done``;
            None: progress is told, and all parts of tasks are counted.
        most: threads of a vendor; None: as many as usual.
        log: where longer waits are logged; None: nowhere.

    Attributes:
        stopped: why no more tasks are begun; empty while they are.
        states: what was passed on last of tasks that have not ended.
    """

    def __init__(
        self,
        progress: JobProgress,
        work: Callable[[K, Callable[[Any], None]], R],
        on_done: Callable[[K, R], None] | None = None,
        on_state: Callable[[K, Any], None] | None = None,
        most: int | None = None,
        log: logging.Logger | None = None,
    ) -> None:
        self.stopped = ""
        self.states: dict[K, TaskState] = {}
        self._progress, self._work, self._most = progress, work, most or AT_WORK
        self._on_done, self._on_state, self._log = on_done, on_state, log
        self._vendor_calls = JobCalls()
        # What the thread of the caller shall do; None where a thread has ended.
        self._calls: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        # Parts of the tasks that have not ended.
        self._left: dict[K, int] = {}
        # Guards the next three against the threads; only the thread of the caller adds vendors.
        self._guard = threading.Lock()
        self._waiting: dict[str, deque[K]] = {}
        self._alive: Counter[str] = Counter()
        self._since: dict[K, float] = {}
        self._threads = 0

    @property
    def is_interrupted(self) -> bool:
        """Whether Ctrl-C was the end."""
        return self.stopped == INTERRUPTED

    @property
    def unasked(self) -> str:
        """Why what is left was not asked for, after a stop."""
        return f"not asked: {self.stopped}"

    def stop(self, why: str) -> None:
        """Begin no more tasks; the first reason stands. From any thread."""
        self.stopped = self.stopped or why

    def stop_if_full(self, error: DataError) -> None:
        """Stop where an error says that the disk takes nothing more. From any thread."""
        if is_disk_done(error):
            self.stop(str(error))

    def running(self) -> list[Running[K]]:
        """Return the tasks at work, the longest first; after the run those left behind."""
        now = time.monotonic()
        with self._guard:
            return [Running(task, now - since) for task, since in self._since.items()]

    def add(self, task: K) -> None:
        """Add a task behind those of its vendor; from the thread that runs, also while it runs."""
        self._left[task] = task.parts
        self._progress.expect(task.vendor, task.parts)
        with self._guard:
            self._waiting.setdefault(task.vendor, deque()).append(task)
            if self._alive[task.vendor] >= self._most:
                return
            self._alive[task.vendor] += 1
        name, take = f"onetape-job-{task.vendor}", carried(self._take)
        threading.Thread(target=take, args=(task.vendor,), name=name, daemon=True).start()
        self._threads += 1

    def run(self, tasks: Iterable[K]) -> None:
        """Run tasks in the order of each vendor, and those that they add.

        Returns when all are done, or after a stop when those at work are; after Ctrl-C (which is a
        stop, also while tasks are looked for) two seconds later at the latest, at once after the
        second. From then on signals wait for the report, see :mod:`.signals`.

        Raises:
            Exception: what work or callbacks raised; no more tasks are begun then.
        """
        waiting, until = iter(tasks), None
        while True:
            try:
                for task in waiting:
                    self.add(task)
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
                waiting, until = iter(()), time.monotonic() + GRACE_S
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
                self._tell_quiet()
            return False
        if call is not None:
            call()
        return call is None

    def _keep_state(self, task: K, state: TaskState) -> None:
        self.states[task] = state
        self._count(task, state.parts)
        if self._on_state is None:
            self._progress.tell(state.result, wait=state.wait)
        else:
            self._on_state(task, state)

    def _end(self, task: K, result: R) -> None:
        self.states.pop(task, None)
        self._count(task, self._left[task])
        del self._left[task]
        if self._on_done is not None:
            self._on_done(task, result)

    def _count(self, task: K, parts: int) -> None:
        self._left[task] -= parts
        self._progress.advance(task.vendor, parts)
        if self._on_state is None:
            self._progress.parts_done += parts

    def _keep_wait(self, task: K, wait: Wait) -> None:
        self._keep_state(task, replace(self._state(task), wait=wait))

    def _state(self, task: K) -> TaskState:
        """Return what was passed on last, with no parts of its own."""
        last = self.states.get(task)
        return TaskState(task.result) if last is None else TaskState(last.result, wait=last.wait)

    def _tell_quiet(self) -> None:
        """Tell what has been waited for longest."""
        if running := self.running():
            task = running[0].item
            state = self._state(task)
            self._progress.tell_quiet(state.result, running, task.vendor, state.wait)

    # --- in threads ------------------------------------------------------------------------

    def _take(self, vendor: str) -> None:
        """Work in a thread until nothing is left of the vendor."""
        with self._vendor_calls.shared():
            self._take_all(vendor)
        self._calls.put(None)

    def _post(self, function: Callable[..., object], *arguments: object) -> None:
        """Have a function called in the thread of the caller."""
        self._calls.put(partial(function, *arguments))

    def _note_wait(self, task: K, wait: Wait) -> None:
        """Log what is waited for, and pass it on."""
        if self._log is not None:
            series, text = task.result, self._progress.text_of(wait)
            self._log.info("%s %s %s", series.symbol, series.timeframe, text)
        self._post(self._keep_wait, task, wait)

    def _take_all(self, vendor: str) -> None:
        waiting = self._waiting[vendor]
        while True:
            with self._guard:
                if self.stopped or not waiting:
                    self._alive[vendor] -= 1
                    break
                task = waiting.popleft()
                self._since[task] = time.monotonic()
            tell = partial(self._post, self._keep_state, task)
            try:
                result = run_heard(partial(self._note_wait, task), self._work, task, tell)
                self._post(self._end, task, result)
            except BaseException as error:  # noqa: BLE001 - raised in the thread of the caller, by `_raise`
                self._post(_raise, error)
                break
            finally:
                with self._guard:
                    del self._since[task]


def _raise(error: BaseException) -> NoReturn:
    raise error
