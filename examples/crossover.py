"""A strategy that works with bars from any source: see on_history, on_replay and on_live.

It buys when the fast average crosses the slow one from below, and sells when it crosses back. A
real strategy would add position sizes, costs, and a check of `self.is_live` before an order goes to
a broker.
"""

from __future__ import annotations

import backtrader as bt


class Crossover(bt.Strategy):
    """Trades when two moving averages cross; `trades` has the time and close of each trade."""

    params = (("fast", 3), ("slow", 8), ("most", None))

    def __init__(self) -> None:
        fast = bt.indicators.SMA(self.data.close, period=self.p.fast)
        slow = bt.indicators.SMA(self.data.close, period=self.p.slow)
        self.cross = bt.indicators.CrossOver(fast, slow)
        self.trades: list[tuple[str, str, float]] = []
        self.is_live = False

    def notify_data(self, data, status, *args, **kwargs) -> None:
        """Note the state of the stream; only bars in the state LIVE are current."""
        self.is_live = status == data.LIVE

    def next(self) -> None:
        """Act on a closed bar, which is stamped with the time of its close in UTC."""
        if self.cross[0] and bool(self.position) != (self.cross[0] > 0):
            side = "buy" if self.cross[0] > 0 else "sell"
            self.buy() if side == "buy" else self.close()
            self.trades.append((side, f"{self.data.datetime.datetime()}", self.data.close[0]))
            print(*self.trades[-1])
        if self.p.most and len(self) >= self.p.most:
            self.env.runstop()
