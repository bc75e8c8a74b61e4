"""A replay of any series, as a feed: for trying strategies on what happened, at any speed."""

from __future__ import annotations

from typing import Any

from ..errors import NoDataError
from ..model.stream import LiveBar
from ..model.timeframe import Timeframe
from .close_time import Closing
from .live_feed import LiveFeed
from .queue import CAPACITY
from .services import clock_of, market_of
from .sources.history import Manager, bars_of
from .sources.replay import ReplaySource, at_speed, every

__all__ = ["replay_feed"]


def replay_feed(
    manager: Manager,
    symbol: str,
    timeframe: str,
    start_date: Any = None,
    end_date: Any = None,
    *,
    speed: float | None = 1.0,
    history: int = 0,
    **wishes: Any,
) -> LiveFeed:
    """Return a feed that plays closed bars of the past as if they closed now.

    The bars are asked for here, once: held ones cost nothing, missing ones are fetched unless
    ``offline=True`` is among the wishes.

    Args:
        manager: the data manager.
        symbol, timeframe, start_date, end_date: as for its ``get_ohlcv``.
        speed: 1: as it happened; 60: an hour in a minute; 0: without waiting. Nights and weekends
            are skipped. None: a bar a second, however long it is.
        history: how many bars are given at once before the first comes live.
        **wishes: further keywords of ``get_ohlcv``, such as ``bars``, ``provider``, ``offline``.

    Raises:
        QueryError: an argument cannot be understood, or the speed is below 0.
        NoDataError: there is no bar in the range.
        AllProvidersFailedError: bars are missing, and nobody could supply any.
    """
    step = Timeframe.parse(timeframe)
    closing = Closing(step, market_of(manager, symbol))
    pace = every(1.0) if speed is None else at_speed(closing, speed, step.step_ms)
    frame = manager.get_ohlcv(symbol, step.label, start_date, end_date, **wishes)
    bars: list[LiveBar] = bars_of(frame, "live")
    if not bars:
        raise NoDataError(
            f"there is no bar of {symbol} {step} to replay"
            + ("" if start_date is None else f" from {start_date}")
            + ("" if end_date is None else f" up to {end_date}"),
            symbol=symbol,
            hint="another range may have some: start, end",
        )
    clock = clock_of(manager)
    source = ReplaySource(f"{symbol} {step}", lambda: bars, pace, history=history, clock=clock)
    # Nobody may be cut off for being slower than a replay without waiting.
    return LiveFeed(symbol, step.label, source, capacity=len(bars) + CAPACITY, clock=clock)
