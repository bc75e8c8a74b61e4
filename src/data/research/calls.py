"""Awaitable calls to the data manager and to a program's own objects."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ..core.clock import SystemClock
from ..core.interface import Deadline, answer, error_text, mask_keys
from ..core.model.time.timeframe import Timeframe
from ..core.model.words.caller import called_from, working_for
from ..errors import DataError, ForeignError, NoDataAvailableError, ProviderTimeoutError
from .frames.prices import empty_prices, prices_frame

if TYPE_CHECKING:
    from ..data_manager import DataManager
    from .frames.frames import pl

__all__ = ["in_thread", "own_call", "prices"]

R = TypeVar("R")
# Calls that have not ended yet: the event loop itself keeps only weak references to tasks.
_running = set[asyncio.Future[Any]]()


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


async def own_call(
    name: str,
    ask: Callable[[], Awaitable[Any]],
    limit_s: float | None = None,
    *,
    wanted: str = "",
) -> Any:
    """Await a call to the program's own object; convert any error to one of this library's.

    If the caller is cancelled or the time is up, the call is cancelled too. Its end is not awaited,
    because it may catch the cancellation. Warnings of the call name the line that awaits this one.

    Args:
        name: Name of the object, for errors.
        ask: Function that makes the call.
        limit_s: Seconds to wait; None means no limit.
        wanted: Beginning of the message of an error, with what was wanted.

    Raises:
        DataError: The object failed, in whatever way, even with a ``CancelledError`` of its own.
        ProviderTimeoutError: The time limit has expired.
    """

    async def run() -> Any:
        return await ask()

    with working_for(called_from()):
        call = asyncio.ensure_future(run())
    _running.add(call)
    call.add_done_callback(_running.discard)
    call.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        await asyncio.wait({call}, timeout=limit_s)
    finally:
        is_late = not call.done()
        call.cancel()
    if is_late:
        late = f"{wanted}no answer" if wanted else f"{name} did not answer"
        raise ProviderTimeoutError(f"{late} within {limit_s:g} s", provider=name)
    try:
        return call.result()
    except DataError as error:
        mask_keys(error)
        raise
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # the program's object may raise any class
        raise ForeignError(f"{wanted or f'{name}: '}{error_text(error)}", provider=name) from error


async def prices(
    manager: DataManager, symbol: str, timeframe: str, start: Any, end: Any, **options: Any
) -> pl.DataFrame:
    """Return bars in the format of :func:`.prices_frame`; an empty frame if there are none.

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
