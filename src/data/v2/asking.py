"""Awaitable calls of the one data manager, for the classes of the second data layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ..call_threads import answer
from ..clock import SystemClock
from ..errors import NoDataAvailableError
from ..model.caller import called_from, working_for
from ..model.timeframe import Timeframe
from ..net.deadline import Deadline
from .frames import empty_prices, prices_frame

if TYPE_CHECKING:
    from ..data_manager import DataManager
    from ..polars import pl

R = TypeVar("R")


async def in_thread(work: Callable[[], R], *, looks: bool, timeout: float | None = None) -> R:
    """Run ``work`` in a thread and return its result; its warnings name the line that awaits it.

    Args:
        work: Call of the data manager.
        looks: Whether the store alone may answer; otherwise, the call may wait for vendors.
        timeout: Seconds for the call, including the wait for a thread.
    """
    place = called_from()

    def call() -> R:
        with working_for(place):
            return work()

    return await answer(call, Deadline(SystemClock(), timeout), looks=looks)


async def prices(
    manager: DataManager, symbol: str, timeframe: str, start: Any, end: Any, **options: Any
) -> pl.DataFrame:
    """Return bars as :func:`prices_frame` shapes them; a frame without rows if there are none.

    Args:
        manager: Data manager to call.
        symbol, timeframe, start, end: See ``get_ohlcv``; a date as end includes its day.
        **options: Further arguments of ``get_ohlcv``.

    Raises:
        DataError: As for ``get_ohlcv``.
    """

    def ask() -> pl.DataFrame:
        parsed = Timeframe.parse(timeframe)
        is_share = manager.provider_selector.instrument(symbol).asset_class == "stock"
        try:
            frame = manager.get_ohlcv(symbol, timeframe, start, end, **options)
        except NoDataAvailableError:
            return empty_prices(parsed)
        return prices_frame(frame, parsed, is_share=is_share)

    looks = not options.get("force_refresh", False)
    return await in_thread(ask, looks=looks, timeout=options.get("timeout"))
