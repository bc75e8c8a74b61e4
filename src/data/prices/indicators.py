"""Indicators: one number for each closed bar, from that bar and those before it. Pure.

A value is that of the last bar of a window, and depends on the bars of the window alone: the same bar has
the same value however many bars were read around it. A smoothed average would reach back for ever; its
window is so long that what lies before it weighs less than a hundred millionth.

A program registers functions of its own with :func:`register`.
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
    "register",
    "rsi",
    "sma",
    "volume",
]

# ``open high low close volume`` of one window: float64, ascending, of equal length.
Columns = Mapping[str, NDArray[np.float64]]
Function = Callable[[Columns, int], float]

MOST_BARS = 1_000
_SHAPE = re.compile(r"([a-z][a-z0-9_]{0,31})(?:\(([0-9]{1,4})\))?")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
# In so many periods the weight of what lies before falls below 1e-8: (1 - 2/(n+1)) ** 10n, (1 - 1/n) ** 20n.
_EMA_PERIODS, _RSI_PERIODS = 10, 20


def close(bars: Columns, period: int) -> float:
    """Return the close of the last bar; NaN where there is no bar."""
    return float(bars["close"][-1]) if len(bars["close"]) else math.nan


def change(bars: Columns, period: int) -> float:
    """Return by how many percent the close differs from that of ``period`` bars before.

    ``100 * (close[0] / close[-period] - 1)``, the *rate of change* (J. J. Murphy, Technical Analysis of the
    Financial Markets, 1999, chapter 10). NaN where there are not so many bars.
    """
    closes = bars["close"]
    if len(closes) <= period:
        return math.nan
    before = float(closes[-1 - period])
    return 100 * (float(closes[-1]) / before - 1) if before > 0 else math.nan


def sma(bars: Columns, period: int) -> float:
    """Return the simple moving average of the last ``period`` closes: their sum over their number.

    (J. J. Murphy, as above, chapter 9.) NaN where there are not so many bars.
    """
    return _mean(bars["close"], period)


def ema(bars: Columns, period: int) -> float:
    """Return the exponential moving average of the closes.

    ``e += 2 / (period + 1) * (close - e)``, begun with the simple average of the first ``period`` closes
    of the window (as TA-Lib's EMA in its default mode). NaN where there are fewer bars than ``period``.
    """
    return _smoothed(bars["close"].tolist(), period, 2 / (period + 1))


def rsi(bars: Columns, period: int) -> float:
    """Return the relative strength index, 0 to 100.

    ``100 - 100 / (1 + gains / losses)`` of the average rises and falls from close to close, smoothed by
    ``a += (x - a) / period`` and begun with the simple averages of the first ``period`` changes of the window
    (J. W. Wilder, New Concepts in Technical Trading Systems, 1978, section VI). Without falls it is 100,
    without any change 50. NaN where there are not ``period + 1`` bars.
    """
    steps = np.diff(bars["close"])
    gains = _smoothed(np.maximum(steps, 0.0).tolist(), period, 1 / period)
    losses = _smoothed(np.maximum(-steps, 0.0).tolist(), period, 1 / period)
    both = gains + losses
    if both == 0:
        return 50.0
    return 100 * gains / both


def volume(bars: Columns, period: int) -> float:
    """Return the simple average of the last ``period`` volumes; of 1 the volume of the bar."""
    return _mean(bars["volume"], period)


def _mean(values: NDArray[np.float64], period: int) -> float:
    """Return the mean of the last values; exactly the value where all are the same."""
    if len(values) < period:
        return math.nan
    first = float(values[-period])
    return first + float((values[-period:] - first).sum()) / period


def _smoothed(values: list[float], period: int, weight: float) -> float:
    """Return an average that each value moves by ``weight`` of its distance; begun with the mean."""
    if len(values) < period:
        return math.nan
    average = values[0] + sum(value - values[0] for value in values[:period]) / period
    for value in values[period:]:
        average += weight * (value - average)
    return average


@dataclass(frozen=True)
class Indicator:
    """A function that is registered.

    Attributes:
        function: gives the value of the last bar of a window, NaN where there is none. It is passed the
            columns of at most ``window(period)`` bars, which it must not write to, and the period.
        period: the usual period; 0: it takes none.
        window: how many bars a period takes at most.
        least, most: Bounds of its values; no value is outside.
        split_power: what a split of ``ratio`` new shares for an old one makes of its values: times ``ratio **
            split_power``. -1 of prices, 1 of volumes, 0 of shares and percentages.
    """

    function: Function
    period: int
    window: Callable[[int], int]
    split_power: int = 0
    least: float = -math.inf
    most: float = math.inf


class IndicatorUse(NamedTuple):
    """An indicator with its period, such as ``rsi(14)``."""

    name: str
    indicator: Indicator
    period: int

    @property
    def window(self) -> int:
        """How many bars a value takes at most."""
        return self.indicator.window(self.period)

    def value(self, bars: Columns) -> float:
        """Return the value of the last bar; NaN where it has none.

        Args:
            bars: ascending; what lies before the window is not looked at.

        Raises:
            Exception: what a program's own function raises.
        """
        wanted = self.window
        return float(
            self.indicator.function(
                {name: column[-wanted:] for name, column in bars.items()}, self.period
            )
        )

    def check_crossing(self, condition: str, value: float) -> None:
        """Check that values can cross a threshold to the side that an alert is about.

        Raises:
            QueryError: No value is on one of the sides, such as for ``rsi above 170``.
        """
        least, most = self.indicator.least, self.indicator.most
        if not (least <= value < most if condition == "above" else least < value <= most):
            bounds = f"from {least:g} to {most:g}" if most < math.inf else f"{least:g} or more"
            raise QueryError(
                f"{self} never crosses {plain_number(value)} to {condition}",
                hint=f"its values are {bounds}",
            )

    def __str__(self) -> str:
        return f"{self.name}({self.period})" if self.period else self.name


# Replaced whole, never changed: threads read it without a lock.
_registered: dict[str, Indicator] = {
    "close": Indicator(close, 0, lambda period: 1, -1, least=0),
    "change": Indicator(change, 1, lambda period: period + 1, least=-100),
    "sma": Indicator(sma, 20, lambda period: period, -1, least=0),
    "ema": Indicator(ema, 20, lambda period: _EMA_PERIODS * period, -1, least=0),
    "rsi": Indicator(rsi, 14, lambda period: _RSI_PERIODS * period + 1, least=0, most=100),
    "volume": Indicator(volume, 1, lambda period: period, 1, least=0),
}
_OURS = frozenset(_registered)


def register(
    name: str,
    function: Function,
    *,
    period: int = 1,
    window: Callable[[int], int] | None = None,
    split_power: int = 0,
) -> None:
    """Register a function, so that alerts of this process can name it; a former one of that name goes.

    Args:
        name: small letters, digits and underscores, beginning with a letter.
        function, period, window, split_power: as :class:`Indicator` has them; the usual window has as many
            bars as the period, at least one.

    Raises:
        QueryError: the name is no name, or one of the built-in indicators.
    """
    if not _NAME.fullmatch(name) or name in _OURS:
        hint = f"small letters, digits and _, and none of {', '.join(sorted(_OURS))}"
        raise QueryError(f"an indicator cannot be named {name!r:.80}", hint=hint)
    global _registered
    own = Indicator(function, period, window or (lambda period: max(period, 1)), split_power)
    _registered = {**_registered, name: own}


def indicator_names() -> list[str]:
    """Return the names that can be used, sorted."""
    return sorted(_registered)


def parse_indicator(text: str) -> IndicatorUse:
    """Read ``rsi``, ``RSI`` or ``sma(50)``.

    Raises:
        QueryError: it is no indicator that is registered here, or its period is not one from 1 to 1000.
    """
    match = _SHAPE.fullmatch(text.strip().lower())
    name = match[1] if match else text.partition("(")[0]
    names = indicator_names()
    if match is None or name not in names:
        hint = f"{did_you_mean(name, names)}known: {', '.join(names)}; with a period: sma(50)"
        raise QueryError(f"there is no indicator {text!r:.80}", hint=hint)
    indicator = _registered[name]
    period = int(match[2]) if match[2] else indicator.period
    if match[2] and not (indicator.period and 1 <= period <= MOST_BARS):
        bound = f"it is from 1 to {MOST_BARS}" if indicator.period else f"{name} takes none"
        raise QueryError(f"the period of {text!r} is not valid", hint=bound)
    return IndicatorUse(name, indicator, period)
