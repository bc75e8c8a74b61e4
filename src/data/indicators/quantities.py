"""Indicators: one number for each closed bar, computed from that bar and those before it.

Pure. The value for a bar depends only on the bars in a window that ends with it, so it is the same
no matter how many bars were read around it. A smoothed average depends on all earlier values, so
its window is long enough that everything before it has a weight of less than one hundred-millionth.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import QueryError
from ..model.suggestion import did_you_mean
from ..model.texts import plain_number

__all__ = [
    "MOST_BARS",
    "Indicator",
    "IndicatorUse",
    "change",
    "ema",
    "indicator_names",
    "parse_indicator",
    "rsi",
    "sma",
    "volume",
]

# Columns ``open high low close volume`` of a window: float64, ascending, of equal length.
Columns = Mapping[str, NDArray[np.float64]]
Function = Callable[[Columns, int], float]

MOST_BARS = 1_000
_SHAPE = re.compile(r"([a-z][a-z0-9_]{0,31})(?:\(([0-9]{1,4})\))?")
# Lengths of windows in periods, after which earlier bars weigh less than 1e-8: (1 - 2/(n+1)) **
# 10n, (1 - 1/n) ** 20n.
_EMA_PERIODS, _RSI_PERIODS = 10, 20


def close(bars: Columns, period: int) -> float:
    """Return the last bar's close; NaN if there is no bar."""
    return float(bars["close"][-1]) if len(bars["close"]) else math.nan


def change(bars: Columns, period: int) -> float:
    """Return the percentage change from the close ``period`` bars ago to the latest close.

    ``100 * (close[0] / close[-period] - 1)``, the *rate of change* (J. J. Murphy, Technical
    Analysis of the Financial Markets, 1999, chapter 10). NaN if there are too few bars.
    """
    closes = bars["close"]
    if len(closes) <= period:
        return math.nan
    before = float(closes[-1 - period])
    return 100 * (float(closes[-1]) / before - 1) if before > 0 else math.nan


def sma(bars: Columns, period: int) -> float:
    """Return the simple moving average of the last ``period`` closes.

    See J. J. Murphy, as above, chapter 9. NaN if there are too few bars.
    """
    return _mean(bars["close"], period)


def ema(bars: Columns, period: int) -> float:
    """Return the exponential moving average of the close prices.

    ``e += 2 / (period + 1) * (close - e)``, starting with the simple average of the first
    ``period`` closes in the window (like TA-Lib's EMA in its default mode). NaN if there are fewer
    bars than ``period``.
    """
    return _smooth(bars["close"].tolist(), period, 2 / (period + 1))


def rsi(bars: Columns, period: int) -> float:
    """Return the relative strength index, 0 to 100.

    ``100 - 100 / (1 + gains / losses)`` of the average rises and falls from close to close,
    smoothed by ``a += (x - a) / period``, starting with the simple averages of the first ``period``
    changes in the window (J. W. Wilder, New Concepts in Technical Trading Systems, 1978, section
    VI). The index is 100 if there are no falls, and 50 if there are no changes at all. NaN if there
    are fewer than ``period + 1`` bars.
    """
    steps = np.diff(bars["close"])
    gains = _smooth(np.maximum(steps, 0.0).tolist(), period, 1 / period)
    losses = _smooth(np.maximum(-steps, 0.0).tolist(), period, 1 / period)
    both = gains + losses
    if both == 0:
        return 50.0
    return 100 * gains / both


def volume(bars: Columns, period: int) -> float:
    """Return the average of the last ``period`` volumes; for a period of 1, the last bar's volume."""
    return _mean(bars["volume"], period)


def _mean(values: NDArray[np.float64], period: int) -> float:
    """Return the mean of the last ``period`` values, which is exact if all of them are the same."""
    if len(values) < period:
        return math.nan
    first = float(values[-period])
    return first + float((values[-period:] - first).sum()) / period


def _smooth(values: list[float], period: int, weight: float) -> float:
    """Return an average that moves towards each value by ``weight`` times the remaining distance.

    The average starts with the mean of the first ``period`` values. It is NaN if there are fewer
    values.
    """
    if len(values) < period:
        return math.nan
    average = values[0] + sum(value - values[0] for value in values[:period]) / period
    for value in values[period:]:
        average += weight * (value - average)
    return average


@dataclass(frozen=True)
class Indicator:
    """An indicator function.

    Attributes:
        function: Function that returns the value for the last bar in a window, or NaN if it is
            undefined. It receives the columns of at most ``window(period)`` bars, which it must not
            modify, and the period.
        period: Default period; 0 if the indicator has no period.
        window: Function that returns the maximum number of bars needed for a value with a given
            period.
        least, most: Smallest and largest possible value.
        moves_with_splits: Whether a split changes the scale of the values, as for prices and volumes.
    """

    function: Function
    period: int
    window: Callable[[int], int]
    moves_with_splits: bool = True
    least: float = -math.inf
    most: float = math.inf


class IndicatorUse(NamedTuple):
    """An indicator with its period, such as ``rsi(14)``."""

    name: str
    indicator: Indicator
    period: int

    @property
    def window(self) -> int:
        """The maximum number of bars needed for a value."""
        return self.indicator.window(self.period)

    def value(self, bars: Columns) -> float:
        """Return the value for the last bar, or NaN if it is undefined.

        Args:
            bars: Ascending bars; those before the window are ignored.

        """
        wanted = self.window
        return float(
            self.indicator.function(
                {name: column[-wanted:] for name, column in bars.items()}, self.period
            )
        )

    def check_crossing(self, condition: str, value: float) -> None:
        """Check that the indicator can cross a threshold in the direction of an alert.

        Raises:
            QueryError: All possible values are on the same side of the threshold, as for ``rsi
                above 170``.
        """
        least, most = self.indicator.least, self.indicator.most
        if not (least <= value < most if condition == "above" else least < value <= most):
            bounds = f"from {least:g} to {most:g}" if most < math.inf else f"{least:g} or more"
            raise QueryError(
                f"{self} can never cross {condition} {plain_number(value)}",
                hint=f"its values are {bounds}",
            )

    def __str__(self) -> str:
        return f"{self.name}({self.period})" if self.period else self.name


_INDICATORS: Mapping[str, Indicator] = {
    "close": Indicator(close, 0, lambda period: 1, least=0),
    "change": Indicator(change, 1, lambda period: period + 1, moves_with_splits=False, least=-100),
    "sma": Indicator(sma, 20, lambda period: period, least=0),
    "ema": Indicator(ema, 20, lambda period: _EMA_PERIODS * period, least=0),
    "rsi": Indicator(
        rsi,
        14,
        lambda period: _RSI_PERIODS * period + 1,
        moves_with_splits=False,
        least=0,
        most=100,
    ),
    "volume": Indicator(volume, 1, lambda period: period, least=0),
}


def indicator_names() -> list[str]:
    """Return the names of all indicators, sorted."""
    return sorted(_INDICATORS)


def parse_indicator(text: str) -> IndicatorUse:
    """Parse the text of an indicator, such as ``rsi``, ``RSI`` or ``sma(50)``.

    Raises:
        QueryError: The text is not an indicator, or its period is not from 1 to 1000.
    """
    match = _SHAPE.fullmatch(text.strip().lower())
    name = match[1] if match else text.partition("(")[0]
    names = indicator_names()
    if match is None or name not in names:
        hint = f"{did_you_mean(name, names)}known: {', '.join(names)}; with a period: sma(50)"
        raise QueryError(f"unknown indicator {text!r:.80}", hint=hint)
    indicator = _INDICATORS[name]
    period = int(match[2]) if match[2] else indicator.period
    if match[2] and not (indicator.period and 1 <= period <= MOST_BARS):
        bound = f"it must be from 1 to {MOST_BARS}" if indicator.period else f"{name} has none"
        raise QueryError(f"invalid period in {text!r}", hint=bound)
    return IndicatorUse(name, indicator, period)
