"""Runs a Backtrader indicator class as a function on a frame of bars."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from ..errors import MissingExtraError, install_line


def is_indicator(function: object) -> bool:
    """Return whether an object is a Backtrader indicator class; does not import Backtrader."""
    bases = function.__mro__ if isinstance(function, type) else ()
    return any(
        (base.__module__, base.__name__) == ("backtrader.indicator", "Indicator") for base in bases
    )


def indicator_function(indicator: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Return a function that computes an indicator's lines, one column each, for a frame of bars.

    Raises:
        MissingExtraError: Backtrader is not installed.
    """
    try:
        import backtrader as bt
    except ImportError as missing:
        raise MissingExtraError(
            "Backtrader indicators need the `backtrader` extra", hint=install_line("backtrader")
        ) from missing

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
        columns = {}
        for place, name in enumerate(lines.getlinealiases()):
            values = np.full(len(bars), np.nan)
            line = np.asarray(lines[place].array, dtype=np.float64)[: len(bars)]
            values[: len(line)] = line
            columns[name] = values
        return pd.DataFrame(columns, index=bars.index)

    return compute
