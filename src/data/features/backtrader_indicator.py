"""Runs a Backtrader indicator class as a function on a frame of bars."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd


def is_indicator(function: object) -> bool:
    """Return whether an object is a Backtrader indicator class; does not import Backtrader."""
    backtrader: Any = sys.modules.get("backtrader")  # the module of such a class has imported it
    if backtrader is None or not isinstance(function, type):
        return False
    return issubclass(function, backtrader.Indicator)


def indicator_function(indicator: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Return a function that computes an indicator's lines, one column each, for a frame of bars."""
    import backtrader as bt

    class Holder(bt.Strategy):  # type: ignore[misc] # Backtrader has no types
        def __init__(self) -> None:
            self.computed = indicator(self.data)

    def compute(bars: pd.DataFrame) -> pd.DataFrame:
        """Return the lines of the indicator for the bars of a frame."""
        naive = bars.set_axis(pd.DatetimeIndex(bars.index).tz_localize(None))
        cerebro = bt.Cerebro(stdstats=False)
        cerebro.adddata(bt.feeds.PandasData(dataname=naive))
        cerebro.addstrategy(Holder)
        (strategy,) = cerebro.run(maxcpus=1)
        lines = strategy.computed.lines
        arrays = [np.asarray(line.array, dtype=np.float64) for line in lines]
        columns = dict(zip(lines.getlinealiases(), map(pd.Series, arrays), strict=False))
        return pd.DataFrame(columns, index=range(len(bars))).set_axis(bars.index)

    return compute
