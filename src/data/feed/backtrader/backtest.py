"""Bars of the past for Backtrader, as a live feed would have given them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import NoDataError
from ...model.stream import LiveBar
from ...model.timeframe import Timeframe
from ..close_time import Closing
from ..live_feed import LiveFeed
from ..queue import Mailbox
from ..replay import ReplaySource, every
from ..services import market_of
from ..sources.history import Manager, bars_of
from .feed import BacktraderFeed, WakeHub


class BacktestFeed(BacktraderFeed):
    """All closed bars of a range at once, by the same stamps as those of live feeds.

    Backtrader loads them before the run, so indicators are computed at one stroke. It can be sent to
    other processes, as ``cerebro.optstrategy`` does on several processors; no vendor is asked there.

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
        stamps = np.array([bar.stamp_ms for bar in bars], dtype=np.int64)
        closes = Closing(step, market_of(manager, symbol)).all(stamps).tolist()
        # A table goes to other processes at less cost than a market's calendar.
        table = dict(zip(stamps.tolist(), closes, strict=True))
        super().__init__(_nothing(symbol, step.label), table.__getitem__, bars)

    def __getstate__(self) -> dict[str, Any]:
        """Return what an optimisation sends to its processes: all but locks, which are made anew."""
        series = {"stream": (self.stream.symbol, self.stream.timeframe)}
        return vars(self) | series | dict.fromkeys(("live_hub", "live_box"))

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.stream = _nothing(*state["stream"])
        self.live_hub, self.live_box = WakeHub(), Mailbox()

    def islive(self) -> bool:
        """Return False: all bars are there before the run."""
        return False

    def _begin(self) -> None:
        self.live_is_over = True  # as soon as its bars were given


def _nothing(symbol: str, timeframe: str) -> LiveFeed:
    """Return a feed that ends at once: what a data of the past has behind it."""
    return LiveFeed(symbol, timeframe, ReplaySource(symbol, list, every(0.0)))
