"""Sums, averages, deviations and extremes over windows of an array. Pure.

All arrays are float64 and finite; results have the same length, and NaN in the rows before the
first whole window. A result never changes if values are appended. Polars compensates the rounding
errors of its running sums, so that small values keep their digits after large ones. Without Polars
each window is summed by itself, and averages are smoothed in a loop, which gives the same bits as
Polars.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingExtraError, install_line

__all__ = ["Values", "deviations", "highest", "lowest", "means", "needed", "smoothed", "sums"]

Values = NDArray[np.float64]


@cache
def _library(name: str) -> Any:
    """Return an optional library, or None if it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        return None


def needed(name: str) -> Any:
    """Return a library of the extra ``features``: ``polars`` or ``talib``.

    Raises:
        MissingExtraError: The library is not installed.
    """
    library = _library(name)
    if library is None:
        raise MissingExtraError(
            "only sma, ema, rsi, change, ret, logret, volume and your own recipes work without the extra",
            hint=install_line("features"),
        )
    return library


def versions() -> dict[str, str]:
    """Return the versions of the libraries on which the bits of a value depend."""
    found = {name: _library(name) for name in ("polars", "talib")}
    return {"numpy": np.__version__} | {n: lib.__version__ for n, lib in found.items() if lib}


def late(values: Values, count: int) -> Values:
    """Return values with ``count`` rows of NaN in front of them."""
    return np.concatenate([np.full(count, np.nan), values])


def sums(values: Values, period: int) -> Values:
    """Return the sum of each window of ``period`` values."""
    if len(values) < period:
        return np.full(len(values), np.nan)
    if (polars := _library("polars")) is not None:
        return np.asarray(polars.Series(values).rolling_sum(period).to_numpy())
    windows = np.lib.stride_tricks.sliding_window_view(values, period)
    return late(windows.sum(axis=1), period - 1)


def means(values: Values, period: int) -> Values:
    """Return the mean of each window; if all its values are equal, the mean is exactly that value."""
    if not len(values):
        return values
    rows = np.arange(len(values))
    changes = np.concatenate([[0], np.where(values[1:] != values[:-1], rows[1:], 0)])
    same = rows - np.maximum.accumulate(changes) >= period - 1
    return np.where(same, values, sums(values, period) / period)


def deviations(values: Values, period: int, degrees: int = 1) -> Values:
    """Return the standard deviation of each window, with the divisor ``period - degrees``."""
    series = needed("polars").Series(values)
    return np.asarray(series.rolling_std(period, ddof=degrees).to_numpy())


def weighted(values: Values, weights: Values) -> Values:
    """Return the mean of each window, weighted from its oldest to its newest value."""
    series = needed("polars").Series(values)
    period = len(weights)
    return np.asarray(series.rolling_mean(period, weights=weights.tolist()).to_numpy())


def highest(values: Values, period: int) -> Values:
    """Return the largest value of each window."""
    return values if period == 1 else np.asarray(needed("talib").MAX(values, period))


def lowest(values: Values, period: int) -> Values:
    """Return the smallest value of each window."""
    return values if period == 1 else np.asarray(needed("talib").MIN(values, period))


def smoothed(values: Values, period: int, weight: float) -> Values:
    """Return an average that moves towards each value by ``weight`` times the remaining distance.

    It starts with the mean of the first ``period`` values.
    """
    if len(values) < period:
        return np.full(len(values), np.nan)
    seeded = np.concatenate([means(values[:period], period)[-1:], values[period:]])
    if (polars := _library("polars")) is not None:
        averages = polars.Series(seeded).ewm_mean(alpha=weight, adjust=False).to_numpy()
        return late(averages, period - 1)
    average = float(seeded[0])
    found = [average]
    for value in seeded[1:].tolist():
        average += weight * (value - average)
        found.append(average)
    return late(np.array(found), period - 1)
