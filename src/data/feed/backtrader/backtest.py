"""Past bars as a Backtrader data feed, as a live feed would have delivered them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.model.market.stream import LiveBar
from ...core.model.time.timeframe import Timeframe
from ...errors import NoDataError
from ..close_time import CloseTimes
from ..live_feed import LiveFeed
from ..queue import Mailbox
from ..replay import ReplaySource, every
from ..services import market_of
from ..sources.history import Manager, bars_of
from .feed import BacktraderFeed, WakeHub


class BacktestFeed(BacktraderFeed):
    """A data feed of all closed bars in a range, with the same timestamps as in live feeds.

    Backtrader loads the bars before the run, so indicators are computed in one pass. The feed can
    be sent to other processes, as ``cerebro.optstrategy`` does to use several processors; no vendor
    is queried from those processes. From Python 3.14 on, Backtrader's ``Cerebro`` can be sent only
    after two lines, which docs/live-feeds.md shows.

    Args:
        manager: Data manager.
        symbol, timeframe, start_date, end_date: See the manager's ``get_ohlcv``.
        **wishes: Further keyword arguments of ``get_ohlcv``, such as ``bars``, ``provider`` or
            ``offline``.

    Raises:
        QueryError: An argument is invalid.
        NoDataError: The range does not contain any bars.
        AllProvidersFailedError: Bars are missing, and no vendor could supply any.
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
        parsed = Timeframe.parse(timeframe)
        bars: list[LiveBar] = bars_of(
            manager.get_ohlcv(symbol, parsed.label, start_date, end_date, **wishes), "history"
        )
        if not bars:
            raise NoDataError(f"no bars for {symbol} {parsed} in that range", symbol=symbol)
        stamps = np.array([bar.stamp_ms for bar in bars], dtype=np.int64)
        closes = CloseTimes(parsed, market_of(manager, symbol)).all(stamps).tolist()
        # A table is cheaper to send to other processes than a market's calendar.
        table = dict(zip(stamps.tolist(), closes, strict=True))
        super().__init__(_empty_feed(symbol, parsed.label), table.__getitem__, bars)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state that an optimization sends to worker processes, without locks.

        Each process creates new locks.
        """
        series = {"stream": (self.stream.symbol, self.stream.timeframe)}
        return vars(self) | series | dict.fromkeys(("live_hub", "live_box"))

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.stream = _empty_feed(*state["stream"])
        self.live_hub, self.live_box = WakeHub(), Mailbox()

    def islive(self) -> bool:
        """Return False, because all bars are available before the run."""
        return False

    def _begin(self) -> None:
        self.live_is_over = True  # once all its bars were delivered


def _empty_feed(symbol: str, timeframe: str) -> LiveFeed:
    """Return a feed that ends immediately, for use in place of a stream in a backtest."""
    return LiveFeed(symbol, timeframe, ReplaySource(symbol, list, every(0.0)))
