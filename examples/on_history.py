"""The strategy of crossover.py on history: all bars at once.

python examples/on_history.py BTCUSDT 1h 2024-06-10 2024-06-11
"""

from __future__ import annotations

import sys

import backtrader as bt
from crossover import Crossover

from onetape import DataManager, get_data_manager
from onetape.feeds import BacktestFeed


def run(manager: DataManager, symbol: str, timeframe: str, start: str, end: str) -> list:
    """Run the strategy and return its trades."""
    cerebro = bt.Cerebro()
    cerebro.broker.setcash(1_000_000)
    cerebro.adddata(BacktestFeed(manager, symbol, timeframe, start, end))
    cerebro.addstrategy(Crossover)
    return cerebro.run()[0].trades


if __name__ == "__main__":
    run(get_data_manager(), *sys.argv[1:5])
