"""The data manager's methods as coroutines, for programs with an event loop.

::

    from onetape.aio import AsyncDataManager

    manager = AsyncDataManager()
    bars = await manager.aget_ohlcv("BTCUSDT", "1h", bars=500)

A call first reads the store, in one of a few threads that never wait for a vendor. Only if the
store cannot answer is the call passed to the threads that query vendors. Cached bars are therefore
returned immediately, however many calls are waiting for a vendor that is down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from .data import data_manager as _sync
from .data.core.clock import SystemClock
from .data.core.guesses import refuse_attribute
from .data.core.model.answer.member_frames import Frames
from .data.core.model.answer.wide import LAYOUTS, BatchWishes, wide_frame
from .data.core.model.request.query import distinct_symbols
from .data.core.model.words.caller import called_from, working_for
from .data.core.net.calls.call_threads import answer
from .data.core.net.calls.deadline import Deadline, seconds_of
from .data.data_manager import DataManager, When
from .data.errors import QueryError
from .data.jobs.progress.bar import listening
from .data.jobs.progress.events import SymbolsProgress

__all__ = ["AsyncDataManager", "get_data_manager"]

P = ParamSpec("P")
R = TypeVar("R")

# Number of symbols in a batch that are requested at the same time.
_OF_A_BATCH = 4


class _Twin(Generic[P, R]):
    """A coroutine version of a :class:`DataManager` method, with the same signature.

    Args:
        method: Method to wrap. The manager's attribute of the same name is called, so subclasses
            can override the method.
        looks: Whether to try the store first; if False, the call goes directly to a thread that can
            wait for vendors.
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
            caller = called_from()
            deadline = Deadline(SystemClock(), _seconds(kwargs.get("timeout")))

            def work(*args: P.args, **kwargs: P.kwargs) -> R:
                """Call the method; its warnings point to the line that awaits the call."""
                with working_for(caller):
                    return method(*args, **kwargs)

            return self._answer(work, args, kwargs, deadline)

        call.__name__ = call.__qualname__ = f"a{self._name}"
        call.__doc__ = self.__doc__
        return call

    def _answer(
        self, method: Callable[..., R], args: Any, kwargs: Any, deadline: Deadline
    ) -> Coroutine[Any, Any, R]:
        return answer(partial(method, *args, **kwargs), deadline, looks=self._looks)


class _BatchTwin(_Twin[P, R]):
    """The coroutine version of a batch, with one call per symbol, so that cached symbols need not wait."""

    async def _answer(
        self, method: Callable[..., R], args: Any, kwargs: Any, deadline: Deadline
    ) -> R:
        others, options = args[1:], dict(kwargs)
        symbols, layout = options.pop("symbols", None), options.pop("layout", "dict")
        symbols = args[0] if args else symbols
        wanted = [] if symbols is None else distinct_symbols(symbols)
        if not wanted or layout not in LAYOUTS:  # the method checks the other arguments
            return await answer(partial(method, *args, **kwargs), deadline, looks=True)
        answers: dict[Any, Any] = dict.fromkeys(wanted)  # in the requested order
        left, progress = iter(wanted), options.pop("progress", None)
        options["progress"] = _ignore_progress
        timeframe = str(others[0] if others else options.get("timeframe", ""))

        async def ask() -> None:
            """Process the remaining symbols one after another."""
            nonlocal answers
            for symbol in left:
                one = partial(method, [symbol], *others, **options)
                part = cast("dict[Any, Any]", await answer(one, deadline, looks=True))
                answers |= part
                for name, frame in part.items():
                    symbols_progress.ended(name, timeframe, frame)

        with listening(progress) as listener:
            symbols_progress = SymbolsProgress(SystemClock(), listener, len(wanted))
            tasks = [asyncio.ensure_future(ask()) for _ in wanted[:_OF_A_BATCH]]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
        return cast("R", wide_frame(answers) if layout == "wide" else Frames(answers))


if TYPE_CHECKING:
    # The batch without its overloads, of which a checker would take only the first.
    def _batch(
        manager: DataManager,
        symbols: Sequence[str] | None = None,
        timeframe: str = "",
        start_date: When = None,
        end_date: When = None,
        force_refresh: bool = False,
        *,
        universe: str | None = None,
        as_of: When = None,
        **wishes: Unpack[BatchWishes],
    ) -> Frames: ...
else:
    _batch = DataManager.get_ohlcv_batch


def _ignore_progress(_: object) -> None:
    """Ignore the progress of a single symbol in a batch."""


def _seconds(timeout: Any) -> float | None:
    """Return a call's ``timeout`` in seconds; None if it is not set or is invalid.

    The method itself reports an invalid timeout.
    """
    try:
        return seconds_of(timeout, "a call")
    except QueryError:
        return None


class AsyncDataManager:
    """The methods of a :class:`DataManager` as coroutines, with names that begin with ``a``.

    Arguments, results, errors and warnings are those of the original method. The names without the
    ``a`` are also accepted. ``timeout`` starts
    with the call, so it includes waiting for a thread. A cancelled call ends immediately; data that
    it has already requested from a vendor is still stored when it arrives. Methods that are not
    listed here never wait; call them on ``manager``. Feeds are iterated with ``async for``.

    All objects of this class share their threads: two that read the store, and up to 64 that wait
    for vendors. The threads do not keep a program from exiting. An object can be used from several
    event loops at the same time.

    Args:
        manager: Data manager to use; by default the process-wide one.

    Attributes:
        manager: Data manager that the coroutines call.
    """

    def __init__(self, manager: DataManager | None = None) -> None:
        self.manager = manager or _sync.get_data_manager()

    if not TYPE_CHECKING:  # type checkers report attributes that do not exist

        def __getattr__(self, name: str) -> Any:
            if isinstance(getattr(type(self), f"a{name}", None), _Twin):
                return getattr(self, f"a{name}")
            if not name.startswith("_") and not hasattr(type(self), name):
                refuse_attribute(self, name, DataManager, "a")
            return object.__getattribute__(self, name)

    def __repr__(self) -> str:
        return f"AsyncDataManager({self.manager!r})"

    def at(self, moment: Any) -> AsyncDataManager:
        """Return a manager whose awaited calls answer as of a past time; see :meth:`DataManager.at`."""
        return AsyncDataManager(self.manager.at(moment))

    aget_ohlcv = _Twin(DataManager.get_ohlcv)
    aget_ohlcv_batch = _BatchTwin(_batch)
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
    aget_series = _Twin(DataManager.get_series)
    aget_fundamentals = _Twin(DataManager.get_fundamentals)
    aannouncements = _Twin(DataManager.announcements)
    astatement_lines = _Twin(DataManager.statement_lines)
    # mypy: one of the options of these methods could be named `self`.
    afeatures = _Twin(DataManager.features)  # type: ignore[arg-type]
    alive_feed = _Twin(DataManager.live_feed, looks=False)  # type: ignore[arg-type]
    aget_live_feed = _Twin(DataManager.get_live_feed, looks=False)  # type: ignore[arg-type]
    aget_cache_stats = _Twin(DataManager.get_cache_stats)
    ametrics = _Twin(DataManager.metrics)
    aclear_cache = _Twin(DataManager.clear_cache, looks=False)


def get_data_manager(
    cache_dir: str | Path | None = None, config_path: str | Path | None = None
) -> AsyncDataManager:
    """Return this process's data manager with its methods as coroutines. Thread-safe.

    The arguments are those of :func:`onetape.get_data_manager`, whose manager is the attribute
    ``manager``.
    """
    return AsyncDataManager(_sync.get_data_manager(cache_dir, config_path))
