"""The strategy of crossover.py live: history first, then every bar as it closes, until Ctrl-C.

python examples/on_live.py BTCUSDT 1m
"""

from __future__ import annotations

import sys

import backtrader as bt
from crossover import Crossover

from onetape import DataManager, get_data_manager
from onetape.feeds import run_live


def run(manager: DataManager, symbol: str, timeframe: str, lookback: int = 50,
        most: int | None = None) -> list:  # fmt: skip
    """Run the strategy until it has seen `most` bars (None: until Ctrl-C); return its trades."""
    feed = manager.live_feed(symbol, timeframe, lookback_bars=lookback)
    cerebro = bt.Cerebro()
    cerebro.broker.setcash(1_000_000)
    cerebro.adddata(feed)
    cerebro.addstrategy(Crossover, most=most)
    return run_live(cerebro)[0].trades


if __name__ == "__main__":
    run(get_data_manager(), *sys.argv[1:3])
