"""The functions of the recipes, each on finite columns of one run of bars. Pure.

Each takes the columns and its parameters, and returns one array for each of its outputs, as long
as the columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ..core.model.time.instant import MINUTE_MS
from .rolling import (
    Values,
    ages,
    deviations,
    distances,
    highest,
    late,
    lowest,
    means,
    smoothed,
    sums,
    weighted,
)

# Float64 columns of equal length, ascending in time: ``open high low close volume``; for recipes
# that use them, ``stamp`` and ``opens`` (UTC milliseconds: a bar's opening, and that of its
# session) and ``day`` (the session's date, in days since 1970-01-01).
Columns = Mapping[str, Values]
Outputs = tuple[Values, ...]
Function = Callable[..., Outputs]

# Position of Thursday, 1970-01-01, in the week.
_THURSDAY = 3


def close(bars: Columns) -> Outputs:
    """Return the closes."""
    return (bars["close"],)


def sma(bars: Columns, period: int) -> Outputs:
    """Return the simple moving average of the closes (J. J. Murphy, Technical Analysis, 1999, chapter 9)."""
    return (means(bars["close"], period),)


def wma(bars: Columns, period: int) -> Outputs:
    """Return the average of the closes with the weights 1 to ``period``, the newest having the largest."""
    return (weighted(bars["close"], period),)


def volume(bars: Columns, period: int) -> Outputs:
    """Return the average of the last ``period`` volumes."""
    return (means(bars["volume"], period),)


def _ratios(bars: Columns, period: int) -> Values:
    """Return each close divided by the one ``period`` bars before; NaN if that is not above 0."""
    closes = bars["close"]
    before = np.where(closes > 0, closes, np.nan)[: len(closes) - period]
    return late(closes[period:] / before, min(period, len(closes)))


def change(bars: Columns, period: int) -> Outputs:
    """Return the change from the close ``period`` bars before, in percent (the rate of change)."""
    return (100 * (_ratios(bars, period) - 1),)


def ret(bars: Columns, period: int) -> Outputs:
    """Return the change from the close ``period`` bars before, as a fraction."""
    return (_ratios(bars, period) - 1,)


def logret(bars: Columns, period: int) -> Outputs:
    """Return the logarithm of the close divided by the one ``period`` bars before."""
    return (np.log(_ratios(bars, period)),)


def vol(bars: Columns, period: int) -> Outputs:
    """Return the sample deviation of the last ``period`` logarithmic returns, not annualized."""
    steps = np.log(_ratios(bars, 1))[1:]
    return (late(deviations(steps, period), 1)[: len(bars["close"])],)


def zscore(bars: Columns, period: int) -> Outputs:
    """Return the close's distance from its mean, in sample deviations; NaN if these are 0."""
    closes = bars["close"]
    spread = deviations(closes, period)
    spread[spread == 0] = np.nan
    return ((closes - means(closes, period)) / spread,)


def bbands(bars: Columns, period: int, width: float) -> Outputs:
    """Return Bollinger's bands: the mean and ``width`` deviations (of the population) around it."""
    middle = means(bars["close"], period)
    distance = width * deviations(bars["close"], period, 0)
    return middle + distance, middle, middle - distance


def donchian(bars: Columns, period: int) -> Outputs:
    """Return the highest high and the lowest low of the last ``period`` bars."""
    return highest(bars["high"], period), lowest(bars["low"], period)


def _place(bars: Columns, period: int) -> Values:
    """Return the close's place between the lowest low and the highest high, 0 to 100; else 50."""
    low = lowest(bars["low"], period)
    extent = highest(bars["high"], period) - low
    flat = extent == 0
    return np.where(flat, 50.0, 100 * (bars["close"] - low) / np.where(flat, 1.0, extent))


def willr(bars: Columns, period: int) -> Outputs:
    """Return Williams' %R, -100 to 0."""
    return (_place(bars, period) - 100,)


def stoch(bars: Columns, period: int, smooth: int) -> Outputs:
    """Return the fast stochastic %K, and its average over ``smooth`` bars, %D."""
    fast = _place(bars, period)
    first = min(period - 1, len(fast))
    return fast, late(means(fast[first:], smooth), first)


def cci(bars: Columns, period: int) -> Outputs:
    """Return the commodity channel index; 0 if all prices are equal."""
    typical = _typical(bars)
    middle = means(typical, period)
    spread = 0.015 * distances(typical, middle, period)
    flat = spread == 0
    return (np.where(flat, 0.0, (typical - middle) / np.where(flat, 1.0, spread)),)


def mfi(bars: Columns, period: int) -> Outputs:
    """Return the money flow index, 0 to 100; 50 if no price has changed."""
    typical = _typical(bars)
    flow, steps = (typical * bars["volume"])[1:], np.diff(typical)
    rising = sums(np.where(steps > 0, flow, 0.0), period)
    both = rising + sums(np.where(steps < 0, flow, 0.0), period)
    return (late(_share(rising, both), 1)[: len(typical)],)


def _typical(bars: Columns) -> Values:
    return np.asarray((bars["high"] + bars["low"] + bars["close"]) / 3)


def _share(part: Values, both: Values) -> Values:
    """Return a part in percent of the whole; 50 if the whole is 0."""
    nothing = both == 0
    return np.where(nothing, 50.0, 100 * part / np.where(nothing, 1.0, both))


def aroon(bars: Columns, period: int) -> Outputs:
    """Return Aroon's lines ``up`` and ``down``, 0 to 100: how recent the highest high and lowest low are."""
    since_high, since_low = ages(bars["high"], period + 1), ages(-bars["low"], period + 1)
    return 100 * (period - since_high) / period, 100 * (period - since_low) / period


def dow(bars: Columns) -> Outputs:
    """Return the day of the week of the session's date: 0 is Monday."""
    return ((bars["day"] + _THURSDAY) % 7,)


def session_minute(bars: Columns) -> Outputs:
    """Return the minutes from the session's open to the bar's."""
    return ((bars["stamp"] - bars["opens"]) / MINUTE_MS,)


def ema(bars: Columns, period: int) -> Outputs:
    """Return the exponential moving average of the closes, with the weight ``2 / (period + 1)``."""
    return (_ema(bars["close"], period),)


def _ema(values: Values, period: int) -> Values:
    return smoothed(values, period, 2 / (period + 1))


def rsi(bars: Columns, period: int) -> Outputs:
    """Return the relative strength index, 0 to 100; 50 if no price has changed.

    The average rises and falls are smoothed by ``1 / period`` (J. W. Wilder, New Concepts in
    Technical Trading Systems, 1978, section VI).
    """
    steps = np.diff(bars["close"])
    gains, losses = np.maximum(steps, 0.0), np.maximum(-steps, 0.0)
    rising = smoothed(gains, period, 1 / period)
    share = _share(rising, rising + smoothed(losses, period, 1 / period))
    return (late(share, 1)[: len(bars["close"])],)


def macd(bars: Columns, fast: int, slow: int, signal: int) -> Outputs:
    """Return the difference of two exponential averages, its own average, and the distance of both."""
    closes = bars["close"]
    line = _ema(closes, fast) - _ema(closes, slow)
    first = min(max(fast, slow) - 1, len(line))
    average = late(_ema(line[first:], signal), first)
    return line, average, line - average


def atr(bars: Columns, period: int) -> Outputs:
    """Return the average true range, smoothed by ``1 / period``."""
    high, low, before = bars["high"][1:], bars["low"][1:], bars["close"][:-1]
    ranges = np.maximum(high, before) - np.minimum(low, before)
    return (late(smoothed(ranges, period, 1 / period), 1)[: len(bars["close"])],)


def adx(bars: Columns, period: int) -> Outputs:
    """Return the average directional index, 0 to 100; the true range cancels out of its quotient."""
    up, down = np.diff(bars["high"]), -np.diff(bars["low"])
    rises, falls = (
        np.where((up > down) & (up > 0), up, 0.0),
        np.where((down > up) & (down > 0), down, 0.0),
    )
    plus, minus = (smoothed(moves, period, 1 / period) for moves in (rises, falls))
    nothing = plus + minus == 0
    index = 100 * np.abs(plus - minus) / np.where(nothing, 1.0, plus + minus)
    first = min(period - 1, len(index))
    return (late(smoothed(index[first:], period, 1 / period), first + 1)[: len(bars["high"])],)


def vwap(bars: Columns, starts: Values) -> Outputs:
    """Return the average price since the anchor, weighted by volume; NaN before anything was traded."""
    traded = _since(bars["volume"], starts)
    traded[traded == 0] = np.nan
    return (_since(_typical(bars) * bars["volume"], starts) / traded,)


def obv(bars: Columns, starts: Values) -> Outputs:
    """Return the on-balance volume since the anchor: volumes of rises minus those of falls."""
    signs = np.sign(np.diff(bars["close"], prepend=bars["close"][:1]))
    first = np.flatnonzero(np.diff(starts, prepend=-1.0))
    signs[first] = 0
    return (_since(signs * bars["volume"], starts),)


def drawdown(bars: Columns, starts: Values) -> Outputs:
    """Return the distance of the close from the highest close since the anchor, as a fraction of it."""
    closes, parts = bars["close"], np.flatnonzero(np.diff(starts, prepend=-1.0))
    peaks = [np.maximum.accumulate(part) for part in np.split(closes, parts[1:])]
    return (closes / np.concatenate(peaks) - 1,)


def _since(values: Values, starts: Values) -> Values:
    """Return the sum of the values since each row's anchor; rows with equal ``starts`` have the same one."""
    parts = np.flatnonzero(np.diff(starts, prepend=-1.0))
    return np.concatenate([np.cumsum(part) for part in np.split(values, parts[1:])])
