"""``await`` for programs with an event loop: every method of the facade, in threads of ours.

::

    from onetape.aio import AsyncDataManager

    manager = AsyncDataManager()
    bars = await manager.aget_ohlcv("BTCUSDT", "1h", bars=500)

A call first looks into the store, in one of a few threads that never wait for a vendor. Only what
the store cannot answer goes on to the threads that ask vendors. So what is cached is answered at once,
however many calls hang on a vendor that is down.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial, wraps
from time import sleep
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from src.data.clock import SystemClock
from src.data.data_manager import DataManager, get_data_manager
from src.data.errors import QueryError
from src.data.forks import renew_after_fork
from src.data.jobs.progress import SymbolsProgress
from src.data.jobs.progress_bar import listening
from src.data.model.caller import called_from, working_for
from src.data.model.query import distinct_symbols
from src.data.model.wide import LAYOUTS, wide_frame
from src.data.net.deadline import QUIET_S, Deadline, MustWait, run_within, seconds_of

__all__ = ["AsyncDataManager"]

P = ParamSpec("P")
R = TypeVar("R")

# Reading is work for the processor: more threads would only hold up the loop.
MOST_LOOKUPS = 2
# Calls that ask vendors wait nearly all of their time.
MOST_CALLS = 64
# As many symbols of a batch are asked for at once.
_OF_A_BATCH = 4


class Threads:
    """A bounded pool of threads that do not keep the program from ending. Thread-safe, fork-aware.

    Args:
        name: of the threads.
        most: so many at once; each is started when all others are at work.

    Attributes:
        jobs: what no thread has taken up yet.
    """

    def __init__(self, name: str, most: int) -> None:
        self._name, self._most = name, most
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Start with none: threads are not inherited."""
        self._guard = threading.Lock()
        self.jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        # `_queued` is not the length of the queue: it changes together with `_idle`.
        self._count = self._idle = self._queued = 0

    def submit(self, work: Callable[[], R]) -> Future[R]:
        """Return the future of ``work``, which can be cancelled until a thread takes it up."""
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
            # Lets the loop go on: threads that have work would keep it waiting for their next switch.
            sleep(0)


# The threads of this process: of those that look into the store, and of those that ask vendors.
lookups = Threads("onetape-lookup", MOST_LOOKUPS)
calls = Threads("onetape-call", MOST_CALLS)


class _Twin(Generic[P, R]):
    """An awaitable twin of a method of :class:`DataManager`, with its signature.

    Args:
        method: which. What the manager at hand has under its name is called.
        looks: whether the store may answer alone; else it goes to the threads that wait at once.
    """

    def __init__(
        self, method: Callable[Concatenate[DataManager, P], R], *, looks: bool = True
    ) -> None:
        self._name, self._looks = method.__name__, looks
        self.__wrapped__ = method
        self.__doc__ = f"Await :meth:`DataManager.{method.__name__}`.\n\n{method.__doc__ or ''}"

    @overload
    def __get__(self, instance: None, owner: type) -> _Twin[P, R]: ...

    @overload
    def __get__(
        self, instance: AsyncDataManager, owner: type
    ) -> Callable[P, Coroutine[Any, Any, R]]: ...

    def __get__(self, instance: AsyncDataManager | None, owner: type) -> Any:
        if instance is None:
            return self
        manager = instance.manager
        method: Callable[..., R] = getattr(manager, self._name)

        @wraps(method)
        def call(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
            place = called_from()
            deadline = Deadline(SystemClock(), _seconds(kwargs.get("timeout")))

            def work(*args: P.args, **kwargs: P.kwargs) -> R:
                """Call the method; its warnings name the line that awaits it."""
                with working_for(place):
                    return method(*args, **kwargs)

            return self._answer(work, args, kwargs, deadline)

        call.__name__ = call.__qualname__ = f"a{self._name}"
        call.__doc__ = self.__doc__
        return call

    def _answer(
        self, method: Callable[..., R], args: Any, kwargs: Any, deadline: Deadline
    ) -> Coroutine[Any, Any, R]:
        return _answer(partial(method, *args, **kwargs), deadline, looks=self._looks)


class _BatchTwin(_Twin[P, R]):
    """The twin of a batch: one question for each symbol, so that what is cached waits for none."""

    async def _answer(
        self, method: Callable[..., R], args: Any, kwargs: Any, deadline: Deadline
    ) -> R:
        others, options = args[1:], dict(kwargs)
        symbols, layout = options.pop("symbols", None), options.pop("layout", "dict")
        symbols = args[0] if args else symbols
        if symbols is None or layout not in LAYOUTS:  # the method says what is wrong
            return await _answer(partial(method, *args, **kwargs), deadline, looks=True)
        wanted = distinct_symbols(symbols)
        answers: dict[Any, Any] = dict.fromkeys(wanted)  # in the order asked for
        left, progress = iter(wanted), options.pop("progress", None)
        options["progress"] = _unheard
        timeframe = str(others[0] if others else options.get("timeframe", ""))

        async def ask() -> None:
            """Take one symbol after another until none is left."""
            nonlocal answers
            for symbol in left:
                one = partial(method, [symbol], *others, **options)
                answer = cast("dict[Any, Any]", await _answer(one, deadline, looks=True))
                answers |= answer
                for name, frame in answer.items():
                    told.ended(name, timeframe, frame)

        with listening(progress) as listener:
            told = SymbolsProgress(SystemClock(), listener, len(wanted))
            tasks = [asyncio.ensure_future(ask()) for _ in wanted[:_OF_A_BATCH]]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
        return cast("R", wide_frame(answers) if layout == "wide" else answers)


def _unheard(_: object) -> None:
    """Tell nobody how far one symbol of a batch is."""


def _seconds(timeout: Any) -> float | None:
    """Return a time of a call's own; None where there is none, or where the method says what is wrong."""
    try:
        return seconds_of(timeout, "a call")
    except QueryError:
        return None


async def _answer(work: Callable[[], R], deadline: Deadline, *, looks: bool) -> R:
    """Return what ``work`` does: out of the store where it can, else after waiting for others.

    A call that finds no free thread within its time answers with what is stored, as one does that
    waits for a vendor.
    """
    context = copy_context()
    if looks:
        answer_of_store = await _threaded(lookups, partial(context.run, _look, work, deadline))
        if answer_of_store is not None:
            return answer_of_store[0]
    # Without a time of its own a call begins to wait with its thread.
    waits = partial(run_within, deadline, work) if deadline.is_fixed else work
    future = calls.submit(partial(context.run, waits))
    answer = asyncio.wrap_future(future)
    try:
        left_s = deadline.left_s() if deadline.is_fixed else QUIET_S
        await asyncio.wait({answer}, timeout=left_s)
    except asyncio.CancelledError:
        answer.cancel()
        raise
    if not future.cancel():
        return await answer
    deadline.end(f"{MOST_CALLS} other calls wait for vendors")
    return await _threaded(lookups, partial(context.run, run_within, deadline, work))


def _look(work: Callable[[], R], deadline: Deadline) -> tuple[R] | None:
    """Return the answer out of the store; None where a vendor or another call must be waited for."""
    try:
        return (run_within(deadline.without_waiting(), work),)
    except MustWait:
        return None


async def _threaded(threads: Threads, work: Callable[[], R]) -> R:
    return await asyncio.wrap_future(threads.submit(work))


class AsyncDataManager:
    """The methods of a :class:`DataManager`, each as a coroutine whose name begins with ``a``.

    Arguments, answers, errors and warnings are those of the method. ``timeout`` counts from the
    call, the wait for a thread included. A cancelled call ends at once; what it asked a vendor for
    meanwhile is stored when it comes. What is not listed here does not wait: it is to be had from
    ``manager`` itself, and a feed is iterated with ``async for``.

    All objects of this class share their threads: two that look into the store, and as many as 64
    that wait for vendors. They do not keep a program from ending. Usable from several event loops
    at once.

    Args:
        manager: the facade; by default that of the process.

    Attributes:
        manager: as passed.
    """

    def __init__(self, manager: DataManager | None = None) -> None:
        self.manager = manager or get_data_manager()

    def __repr__(self) -> str:
        return f"AsyncDataManager({self.manager!r})"

    aget_ohlcv = _Twin(DataManager.get_ohlcv)
    aget_ohlcv_batch = _BatchTwin(DataManager.get_ohlcv_batch)
    aget_quote = _Twin(DataManager.get_quote)
    aget_quotes = _Twin(DataManager.get_quotes)
    asearch = _Twin(DataManager.search)
    aplot = _Twin(DataManager.plot)
    aplan = _Twin(DataManager.plan)
    aexplain = _Twin(DataManager.explain)
    aget_actions = _Twin(DataManager.get_actions)
    acoverage = _Twin(DataManager.coverage)
    agaps = _Twin(DataManager.gaps, looks=False)
    areport = _Twin(DataManager.report, looks=False)
    asessions = _Twin(DataManager.sessions)
    avalidate = _Twin(DataManager.validate, looks=False)
    aget_funding_rate = _Twin(DataManager.get_funding_rate)
    aget_open_interest = _Twin(DataManager.get_open_interest)
    aget_long_short_ratio = _Twin(DataManager.get_long_short_ratio)
    aget_fundamentals = _Twin(DataManager.get_fundamentals)
    # mypy: an option of these could be called `self`.
    alive_feed = _Twin(DataManager.live_feed, looks=False)  # type: ignore[arg-type]
    aget_live_feed = _Twin(DataManager.get_live_feed, looks=False)  # type: ignore[arg-type]
    aget_cache_stats = _Twin(DataManager.get_cache_stats)
    ametrics = _Twin(DataManager.metrics)
    aclear_cache = _Twin(DataManager.clear_cache, looks=False)
