"""Threads that wait for stored bars and for vendors on behalf of async calls."""

from __future__ import annotations

import asyncio
import inspect
import queue
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from time import sleep
from typing import Any, TypeVar

from ...clock import SystemClock
from ...runtime.forks import renew_after_fork
from .deadline import QUIET_S, Deadline, MustWait, run_within

__all__ = [
    "MOST_CALLS",
    "MOST_LOOKUPS",
    "LoopThread",
    "Threads",
    "answer",
    "awaited",
]

R = TypeVar("R")

# Reading is CPU-bound: more threads would only slow down the loop.
MOST_LOOKUPS = 2
# Calls that query vendors spend nearly all of their time waiting.
MOST_CALLS = 64


class Threads:
    """A bounded pool of daemon threads. Thread-safe; usable after a fork.

    Args:
        name: Name of the threads.
        most: Maximum number of threads; a new thread is started only if all others are busy.

    Attributes:
        jobs: Queue of jobs that have not been started yet.
    """

    def __init__(self, name: str, most: int) -> None:
        self._name, self._most = name, most
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Start again without threads in a forked child, which does not inherit threads."""
        self._guard = threading.Lock()
        self.jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        # `_queued` is not the length of the queue: it changes together with `_idle`.
        self._count = self._idle = self._queued = 0

    def submit(self, work: Callable[[], R]) -> Future[R]:
        """Queue ``work`` for a thread; the returned future can be cancelled until the work starts."""
        future: Future[R] = Future()
        with self._guard:
            self.jobs.put((future, work))
            self._queued += 1
            if self._idle < self._queued and self._count < self._most:
                self._count += 1
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
        return future

    def _run(self) -> None:
        while True:
            with self._guard:
                self._idle += 1
            future, work = self.jobs.get()
            with self._guard:
                self._idle -= 1
                self._queued -= 1
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:  # noqa: BLE001 - the caller's, whatever it is
                    future.set_exception(error)
            del future, work
            # Lets the event loop's thread run now; busy threads would make it wait for its turn.
            sleep(0)


class LoopThread:
    """An event loop in its own thread; other threads can run coroutines in it and wait for them.

    All coroutines share the loop, so that a resource left open by one of them can be used by the
    next. The daemon thread starts with the first coroutine and ends when this object is deleted.
    Thread-safe; usable after a fork.

    Args:
        name: Name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Start again without a thread in a forked child, which does not inherit threads."""
        self._guard = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(
        self, make: Callable[[], Any], seconds: float | None
    ) -> tuple[Any, BaseException | None]:
        """Call ``make`` in the loop; return its result, awaited if it is awaitable, and its error.

        The error is the exception that ``make`` raised, or None.

        Raises:
            TimeoutError: The call took longer than ``seconds`` (None means no limit) and was cancelled.
        """
        future = asyncio.run_coroutine_threadsafe(_settle(make), self._start_loop())
        try:
            return future.result(seconds)
        except TimeoutError:
            future.cancel()
            raise

    def _start_loop(self) -> asyncio.AbstractEventLoop:
        with self._guard:
            if self._loop is None:
                self._loop = loop = asyncio.new_event_loop()
                threading.Thread(target=_serve, args=(loop,), name=self._name, daemon=True).start()
                weakref.finalize(self, loop.call_soon_threadsafe, loop.stop)
            return self._loop


# The threads of this process that only read the store, and those that may wait for vendors.
lookups = Threads("onetape-lookup", MOST_LOOKUPS)
calls = Threads("onetape-call", MOST_CALLS)


async def answer(work: Callable[[], R], deadline: Deadline, *, looks: bool) -> R:
    """Run ``work`` without blocking the event loop, and return its result.

    With ``looks``, the work is first tried without waiting, which is sufficient if the store
    contains the answer. Otherwise, the work runs in a thread that may wait for vendors and other
    calls. If no such thread is free within the time limit, the call is answered from the store,
    like a call that has waited too long for a vendor.
    """
    context = copy_context()
    if looks:
        answer_of_store = await _threaded(lookups, partial(context.run, _try_work, work, deadline))
        if answer_of_store is not None:
            return answer_of_store[0]
    # Without a time limit of its own, a call's wait begins when its thread starts.
    waits = partial(run_within, deadline, work) if deadline.is_fixed else work
    future = calls.submit(partial(context.run, waits))
    waiting = asyncio.wrap_future(future)
    try:
        left_s = deadline.left_s() if deadline.is_fixed else QUIET_S
        await asyncio.wait({waiting}, timeout=left_s)
    except asyncio.CancelledError:
        waiting.cancel()
        raise
    if not future.cancel():
        return await waiting
    deadline.end(f"{MOST_CALLS} other calls are already waiting for vendors")
    return await _threaded(lookups, partial(context.run, run_within, deadline, work))


def _try_work(work: Callable[[], R], deadline: Deadline) -> tuple[R] | None:
    """Run ``work`` without waiting; return None if it would have to wait for a vendor or another call.

    The result is wrapped in a tuple, because the result itself may be None.
    """
    try:
        return (run_within(deadline.without_waiting(), work),)
    except MustWait:
        return None


async def _settle(make: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """Call ``make``, and return its result (awaited if awaitable) and any exception that it raised.

    The exception is returned rather than raised, so that not even a ``SystemExit`` ends the loop.
    """
    try:
        value = make()
        return (await value if inspect.isawaitable(value) else value), None
    except BaseException as error:  # noqa: BLE001 - the caller's, whatever it is
        return None, error


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped."""
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()


async def awaited(work: Callable[[], R]) -> R:
    """Run ``work`` in a thread that may wait, without a time limit, and return its result.

    A cancelled caller stops waiting immediately, but work that has already started continues.
    """
    return await answer(work, Deadline(SystemClock(), None), looks=False)


async def _threaded(threads: Threads, work: Callable[[], R]) -> R:
    return await asyncio.wrap_future(threads.submit(work))
