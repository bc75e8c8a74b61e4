"""Bars of the past for Backtrader, as a live feed would have given them."""

from __future__ import annotations

from typing import Any

from ...errors import NoDataError
from ...model.stream import LiveBar
from ...model.timeframe import Timeframe
from ..close_time import Closing
from ..live_feed import LiveFeed
from ..replay import ReplaySource, every
from ..services import market_of
from ..sources.history import Manager, bars_of
from .feed import BacktraderFeed


class BacktestFeed(BacktraderFeed):
    """All closed bars of a range at once, by the same stamps as those of live feeds.

    Backtrader loads them before the run, so indicators are computed at one stroke.

    Args:
        manager: the data manager.
        symbol, timeframe, start_date, end_date: as for its ``get_ohlcv``.
        **wishes: further keywords of it, such as ``bars``, ``provider``, ``offline``.

    Raises:
        QueryError: an argument cannot be understood.
        NoDataError: there is no bar in the range.
        AllProvidersFailedError: bars are missing, and no vendor could supply any.
    """

    def __init__(
        self,
        manager: Manager,
        symbol: str,
        timeframe: str,
        start_date: Any = None,
        end_date: Any = None,
        **wishes: Any,
    ) -> None:
        step = Timeframe.parse(timeframe)
        bars: list[LiveBar] = bars_of(
            manager.get_ohlcv(symbol, step.label, start_date, end_date, **wishes), "history"
        )
        if not bars:
            raise NoDataError(f"there is no bar of {symbol} {step} in the range", symbol=symbol)
        nothing = LiveFeed(symbol, step.label, ReplaySource(symbol, list, every(0.0)))
        super().__init__(nothing, Closing(step, market_of(manager, symbol)), bars)

    def islive(self) -> bool:
        """Return False: all bars are there before the run."""
        return False

    def _begin(self) -> None:
        self.live_is_over = True  # as soon as its bars were given
