"""Awaitable calls to the data manager, for the classes of the second data layer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ..call_threads import answer
from ..clock import SystemClock
from ..errors import DataError, ForeignError, NoDataAvailableError, ProviderTimeoutError
from ..model.caller import called_from, working_for
from ..model.timeframe import Timeframe
from ..net.deadline import Deadline
from ..vendors.foreign import error_text, mask_keys
from .frames import empty_prices, prices_frame

if TYPE_CHECKING:
    from ..data_manager import DataManager
    from ..layer.frames import pl

R = TypeVar("R")


async def in_thread(work: Callable[[], R], *, looks: bool, timeout: float | None = None) -> R:
    """Run ``work`` in a thread and return its result; its warnings name the line that awaits it.

    Args:
        work: Call of the data manager.
        looks: Whether the call only reads the store; otherwise, it may wait for vendors.
        timeout: Seconds for the call, including the wait for a thread.
    """
    caller = called_from()

    def call() -> R:
        with working_for(caller):
            return work()

    return await answer(call, Deadline(SystemClock(), timeout), looks=looks)


async def foreign(name: str, ask: Callable[[], Awaitable[Any]]) -> Any:
    """Await a call to the program's own object; convert any error to one of this library's.

    Even a ``CancelledError`` is converted, unless the caller was cancelled. ``KeyboardInterrupt``
    and ``SystemExit`` are passed on.

    Args:
        name: Name of the object, for errors.
        ask: Function that makes the call.

    Raises:
        DataError: The object failed, in whatever way.
    """
    task = asyncio.current_task()
    cancels = task.cancelling() if task else 0
    try:
        return await ask()
    except DataError as error:
        mask_keys(error)
        raise
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # the program's object may raise any class
        if isinstance(error, asyncio.CancelledError) and task and task.cancelling() > cancels:
            raise
        raise ForeignError(f"{name}: {error_text(error)}", provider=name) from error


async def within(name: str, call: asyncio.Future[Any], limit_s: float) -> Any:
    """Return the result of a call; stop waiting after ``limit_s`` seconds or if cancelled.

    The call is then cancelled, but its end is not awaited, because it may catch the cancellation.

    Raises:
        ProviderTimeoutError: The time limit has expired.
    """
    try:
        await asyncio.wait({call}, timeout=limit_s)
    finally:
        is_late = not call.done()
        call.cancel()
    if is_late:
        raise ProviderTimeoutError(f"{name} did not answer within {limit_s:g} s", provider=name)
    return call.result()


def keep(call: asyncio.Future[Any], running: set[asyncio.Future[Any]]) -> asyncio.Future[Any]:
    """Add a call to ``running`` until it ends, and return it; its error is not reported a second time."""
    running.add(call)
    call.add_done_callback(running.discard)
    call.add_done_callback(lambda done: done.cancelled() or done.exception())
    return call


async def prices(
    manager: DataManager, symbol: str, timeframe: str, start: Any, end: Any, **options: Any
) -> pl.DataFrame:
    """Return bars in the format of :func:`prices_frame`; an empty frame if there are none.

    Args:
        manager: Data manager to call.
        symbol, timeframe, start, end: See ``get_ohlcv``; if ``end`` is a date, that day is
            included.
        **options: Further arguments of ``get_ohlcv``.

    Raises:
        DataError: As for ``get_ohlcv``.
    """

    def ask() -> pl.DataFrame:
        """Query the manager, and convert its answer."""
        parsed = Timeframe.parse(timeframe)
        is_share = manager.provider_selector.instrument(symbol).asset_class == "stock"
        try:
            frame = manager.get_ohlcv(symbol, timeframe, start, end, **options)
        except NoDataAvailableError:
            return empty_prices(parsed)
        return prices_frame(frame, parsed, is_share=is_share)

    looks = not options.get("force_refresh", False)
    return await in_thread(ask, looks=looks, timeout=options.get("timeout"))
