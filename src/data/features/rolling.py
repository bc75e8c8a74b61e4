"""Sums, averages, deviations and extremes over windows of an array. Pure.

All arrays are float64 and finite; results have the same length, and NaN in the rows before the first
whole window. A result never changes if values are appended. The sums and deviations of a window are
merged from those of its halves, and depend on nothing else: unlike running sums, they keep the digits
of small values after large ones. Averages are smoothed by TA-Lib or, without it, in a loop.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Values", "deviations", "highest", "lowest", "means", "smoothed", "sums"]

Values = NDArray[np.float64]
_State = NDArray[np.float64]
# Most values of windows that are in memory at once.
_MOST_CELLS = 1 << 20
_Merge = Callable[[_State, _State, int, int], _State]


@cache
def library(name: str) -> Any:
    """Return an optional library, or None if it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        return None


def versions() -> dict[str, str]:
    """Return the versions of the libraries on which the bits of a value depend."""
    found = {name: library(name) for name in ("polars", "talib")}
    return {"numpy": np.__version__} | {n: lib.__version__ for n, lib in found.items() if lib}


def late(values: Values, count: int) -> Values:
    """Return values with ``count`` rows of NaN in front of them."""
    return np.concatenate([np.full(count, np.nan), values])


def _by_halves(values: _State, period: int, merge: _Merge) -> _State:
    """Return the state of each whole window, merged from those of windows of half its length.

    Args:
        values: State of each single value; the first axis has the parts of a state.
        period: Length of the windows, at most that of the values.
        merge: Function of the older and the newer half, and their lengths, that returns the state
            of both together.
    """
    power, size = values, 1
    found, length = values[:, :0], 0
    while True:
        if period & size:
            count = values.shape[1] - length - size + 1
            own = power[:, length : length + count]
            found = merge(found[:, :count], own, length, size) if length else own
            length += size
        if 2 * size > period:
            return found
        count = values.shape[1] - 2 * size + 1
        power = merge(power[:, :count], power[:, size : size + count], size, size)
        size *= 2


def _windows(values: Values, period: int, parts: int, merge: _Merge) -> _State:
    """Return the states of all windows, with NaN in front; the first part begins as the value."""
    found = np.full((parts, len(values)), np.nan)
    if len(values) >= period:
        state = np.zeros((parts, len(values)))
        state[0] = values
        found[:, period - 1 :] = _by_halves(state, period, merge)
    return found


def _merged(values: Values, period: int, merge: _Merge) -> Values:
    """Return one number for each window."""
    found: Values = _windows(values, period, 1, merge)[0]
    return found


def sums(values: Values, period: int) -> Values:
    """Return the sum of each window of ``period`` values."""
    return _merged(values, period, lambda old, new, _, __: old + new)


def means(values: Values, period: int) -> Values:
    """Return the mean of each window; if all its values are equal, the mean is exactly that value."""

    def merge(old: _State, new: _State, olds: int, news: int) -> _State:
        """Return the mean of both halves."""
        return old + (new - old) * (news / (olds + news))

    return _merged(values, period, merge)


def deviations(values: Values, period: int, degrees: int = 1) -> Values:
    """Return the standard deviation of each window, with the divisor ``period - degrees``.

    It is NaN if the divisor is 0.
    """

    def merge(old: _State, new: _State, olds: int, news: int) -> _State:
        """Return the mean and the sum of squares around it (T. F. Chan and others, 1979)."""
        distance, share = new[0] - old[0], news / (olds + news)
        squares = old[1] + new[1] + distance * distance * (olds * share)
        return np.stack([old[0] + distance * share, squares])

    divisor = period - degrees
    found = _windows(values, period, 2, merge)[1]
    return np.sqrt(found / divisor) if divisor else np.full(len(values), np.nan)


def weighted(values: Values, period: int) -> Values:
    """Return the mean of each window, with the weights 1 to ``period`` from the oldest value on."""

    def merge(old: _State, new: _State, olds: int, news: int) -> _State:
        """Return the sum and the weighted sum."""
        return np.stack([old[0] + new[0], old[1] + new[1] + olds * new[0]])

    both: Values = _windows(values, period, 2, merge).sum(axis=0)
    return both / (period * (period + 1) / 2)


def distances(values: Values, middle: Values, period: int) -> Values:
    """Return the mean distance of the values of each window from ``middle``, which has one value for each."""
    found, step = np.full(len(values), np.nan), max(1, _MOST_CELLS // period)
    for row in range(period - 1, len(values), step):
        part = values[row - period + 1 : row + step]
        windows = np.lib.stride_tricks.sliding_window_view(part, period)
        own = middle[row : row + step, np.newaxis]
        found[row : row + step] = np.abs(windows - own).sum(axis=1) / period
    return found


def highest(values: Values, period: int) -> Values:
    """Return the largest value of each window."""
    return _merged(values, period, lambda old, new, _, __: np.maximum(old, new))


def lowest(values: Values, period: int) -> Values:
    """Return the smallest value of each window."""
    return _merged(values, period, lambda old, new, _, __: np.minimum(old, new))


def ages(values: Values, period: int) -> Values:
    """Return how many values ago each window had its largest one; the newest counts if several are."""

    def merge(old: _State, new: _State, olds: int, news: int) -> _State:
        """Return the largest value and its age."""
        newer = new[0] >= old[0]
        return np.where(newer, new, np.stack([old[0], old[1] + news]))

    found: Values = _windows(values, period, 2, merge)[1]
    return found


def smoothed(values: Values, period: int, weight: float) -> Values:
    """Return an average that moves towards each value by ``weight`` times the remaining distance.

    It starts with the mean of the first ``period`` values. While all values are equal, it is
    exactly that value.
    """
    if len(values) < period or weight == 1:
        return values if weight == 1 else np.full(len(values), np.nan)
    seed, later = means(values[:period], period)[-1:], values[period:]
    # A program can set TA-Lib to leave out the first values of each average.
    if (talib := library("talib")) is not None and not talib.get_unstable_period("EMA"):
        # Its average begins with the mean of as many values as make up its weight.
        length = round(2 / weight) - 1
        found = talib.EMA(np.concatenate([np.repeat(seed, length), later]), length)[length - 1 :]
    else:
        average = float(seed[0])
        steps = [average]
        for value in later.tolist():
            average += weight * (value - average)
            steps.append(average)
        found = np.array(steps)
    same = np.maximum.accumulate(values) == np.minimum.accumulate(values)
    return late(np.where(same[period - 1 :], values[0], found), period - 1)
