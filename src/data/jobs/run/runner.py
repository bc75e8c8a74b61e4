"""Runs a job's tasks in threads, a few for each vendor, so that a slow vendor delays only its own tasks.

A vendor has more running tasks than simultaneous requests, because some tasks are preparing a
request or storing an answer. Only the work itself runs in the threads; progress, results and Ctrl-C
are handled in the caller's thread.
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

from ...core.disk.files import is_disk_done
from ...core.interface import Wait, run_reported
from ...core.model.request.capabilities import MOST_AT_ONCE
from ...core.net.limits.guarded_call import JobCalls
from ...core.observability.logs import carried
from ...core.runtime.compute_slots import computing
from ..progress.events import JobProgress, RunningItem
from ..progress.results import SeriesResult
from .signals import hold_signals

if TYPE_CHECKING:
    from ...errors import DataError

R = TypeVar("R")

INTERRUPTED = "interrupted"
# Number of a vendor's tasks that run at the same time. There are two more than simultaneous calls,
# because tasks spend a fifth of their time on other work.
AT_WORK = MOST_AT_ONCE + 2
# After this long without an event, the current wait is reported.
QUIET_S = 5.0
# Seconds for which running work may continue after Ctrl-C; committed bars are kept in any case.
GRACE_S = 2.0


@dataclass(frozen=True, eq=False)
class VendorTask:
    """A task for one vendor, to be done in one of the vendor's threads.

    Attributes:
        vendor: Vendor that is queried first; empty if it is not known.
        result: Result of the series before the vendor is queried, for progress reports.
        parts: Number of parts that the task consists of; the vendor's speed is estimated from the
            finished parts.
    """

    vendor: str
    result: SeriesResult
    parts: int


@dataclass(frozen=True)
class TaskState:
    """The progress of a task.

    Attributes:
        result: Result of the series so far.
        parts: Number of parts of the task finished since the previous state.
        wait: Current wait, for example for a rate limit; None if the task is waiting for an answer.
    """

    result: SeriesResult
    parts: int = 0
    wait: Wait | None = None


K = TypeVar("K", bound=VendorTask)


class Runner(Generic[K, R]):
    """Runs the tasks of one job, with vendors in parallel, and reports progress. Usable only once.

    Args:
        progress: Progress of the job; the job itself must update ``done``.
        work: Function that does a task. It is called in one of the threads, with the task and a
            function to which it passes the task's state.
        on_done: Function called with a task and its result, or None.
        on_state: Function called with a task and its state, including before each longer wait; it
            must count ``parts_done``. If None, the runner reports progress and counts the parts of
            all tasks.
        most: Number of threads for each vendor; None means the usual number.
        log: Logger for longer waits; None means that they are not logged.

    Attributes:
        stopped: Reason why no more tasks are started; empty if tasks are still started.
        states: Last state passed on by each unfinished task.
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
        # Functions that the caller's thread must call; None means that a thread has ended.
        self._calls: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        # Remaining parts of each unfinished task.
        self._left: dict[K, int] = {}
        # Guards the next three against the threads; only the caller's thread adds vendors.
        self._guard = threading.Lock()
        self._waiting: dict[str, deque[K]] = {}
        self._alive: Counter[str] = Counter()
        self._since: dict[K, float] = {}
        self._threads = 0

    @property
    def is_interrupted(self) -> bool:
        """Whether the run was ended by Ctrl-C."""
        return self.stopped == INTERRUPTED

    @property
    def unasked(self) -> str:
        """The reason why the remaining tasks were not started, after a stop."""
        return f"not asked: {self.stopped}"

    def stop(self, why: str) -> None:
        """Start no more tasks; only the first reason is kept. May be called from any thread."""
        self.stopped = self.stopped or why

    def stop_if_full(self, error: DataError) -> None:
        """Stop the run if an error means that the disk is full. May be called from any thread."""
        if is_disk_done(error):
            self.stop(str(error))

    def running(self) -> list[RunningItem[K]]:
        """Return the running tasks, longest-running first; after the run, the tasks left unfinished."""
        now = time.monotonic()
        with self._guard:
            return [RunningItem(task, now - since) for task, since in self._since.items()]

    def add(self, task: K) -> None:
        """Queue a task behind its vendor's other tasks, and start a thread if necessary.

        Must be called in the thread that calls :meth:`run`, before or during the run.
        """
        self._left[task] = task.parts
        self._progress.expect(task.vendor, task.parts)
        with self._guard:
            self._waiting.setdefault(task.vendor, deque()).append(task)
            if self._alive[task.vendor] >= self._most:
                return
            self._alive[task.vendor] += 1
        name, take = f"onetape-job-{task.vendor}", carried(self._run_queue)
        threading.Thread(target=take, args=(task.vendor,), name=name, daemon=True).start()
        self._threads += 1

    def run(self, tasks: Iterable[K]) -> None:
        """Run the tasks, each vendor's in order, and any tasks added during the run.

        Returns when all tasks have ended or, after a stop, when the running tasks have ended.
        Ctrl-C stops the run, even while tasks are being collected; the method then returns within
        two seconds, or immediately after a second Ctrl-C. Later signals are held until the report
        is made; see :mod:`.signals`.

        Raises:
            Exception: The work or a callback raised an error; no more tasks are started.
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
        """Handle the next message from a worker thread; return whether it reports the thread's end.

        Messages other than that are functions, which are called here.
        """
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
        """Return a task's last state with 0 finished parts, since those have already been counted."""
        last = self.states.get(task)
        return TaskState(task.result) if last is None else TaskState(last.result, wait=last.wait)

    def _tell_quiet(self) -> None:
        """Report the longest-running task if there have been no events for some time."""
        if running := self.running():
            task = running[0].item
            state = self._state(task)
            self._progress.tell_quiet(state.result, running, task.vendor, state.wait)

    # --- in threads ------------------------------------------------------------------------

    def _run_queue(self, vendor: str) -> None:
        """Run a vendor's queued tasks in this thread, one after another, until none are left."""
        is_over = False
        with self._vendor_calls.shared():
            while not is_over:
                with computing(self._vendor_calls.slots):
                    is_over = self._take_next(vendor)
        self._calls.put(None)

    def _post(self, function: Callable[..., object], *arguments: object) -> None:
        """Submit a function that the caller's thread will call."""
        self._calls.put(partial(function, *arguments))

    def _note_wait(self, task: K, wait: Wait) -> None:
        """Log a task's wait, and pass it on to the caller's thread."""
        if self._log is not None:
            series, text = task.result, self._progress.text_of(wait)
            self._log.info("%s %s %s", series.symbol, series.timeframe, text)
        self._post(self._keep_wait, task, wait)

    def _take_next(self, vendor: str) -> bool:
        """Run the vendor's next task, if any; return whether this thread must end."""
        waiting = self._waiting[vendor]
        with self._guard:
            if self.stopped or not waiting:
                self._alive[vendor] -= 1
                return True
            task = waiting.popleft()
            self._since[task] = time.monotonic()
        tell = partial(self._post, self._keep_state, task)
        try:
            result = run_reported(partial(self._note_wait, task), self._work, task, tell)
            self._post(self._end, task, result)
        except BaseException as error:  # noqa: BLE001 - raised in the thread of the caller, by `_raise`
            self._post(_raise, error)
            return True
        finally:
            with self._guard:
                del self._since[task]
        return False


def _raise(error: BaseException) -> NoReturn:
    raise error
