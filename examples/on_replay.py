"""The strategy of crossover.py on a replay: bars arrive as if they closed now, an hour a second.

python examples/on_replay.py BTCUSDT 1h 2024-06-10 2024-06-11
"""

from __future__ import annotations

import sys

import backtrader as bt
from crossover import Crossover

from onetape import DataManager, get_data_manager
from onetape.feeds import BacktraderFeed, replay_feed, run_live


def run(manager: DataManager, symbol: str, timeframe: str, start: str, end: str,
        speed: float = 3600) -> list:  # fmt: skip
    """Run the strategy and return its trades."""
    cerebro = bt.Cerebro()
    cerebro.broker.setcash(1_000_000)
    cerebro.adddata(
        BacktraderFeed(replay_feed(manager, symbol, timeframe, start, end, speed=speed))
    )
    cerebro.addstrategy(Crossover)
    return run_live(cerebro)[0].trades


if __name__ == "__main__":
    run(get_data_manager(), *sys.argv[1:5])
