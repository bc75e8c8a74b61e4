"""Checks of a frame of bars, reported as lists of sentences.

Rows are checked by :func:`~onetape.data.core.prices.bar_rule.are_bars`, as is every answer before it is
stored. A row that the store would reject makes a frame invalid and lowers its score. Gaps are found
without a market calendar: weekends are excluded for series without Saturday bars, but holidays and
nights are not. Gaps according to the calendar are in ``df.attrs["onetape"]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Number
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...core.clock import SystemClock
from ...core.model.market.bars import NAN, PRICES, BarTable, Stamps
from ...core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS
from ...core.model.time.timeframe import Timeframe
from ...core.prices.bar_rule import are_bars, latest_stamp, ordered
from ...errors import BadTimeframeError

REQUIRED_COLUMNS = ("timestamp", *PRICES, "volume")
# The longest market closures, not counting weekends, such as Chinese New Year or September 2001.
_LONGEST_CLOSURE_HOURS = 168
_ROUND_THE_CLOCK_HOURS = 24
_LARGEST_VOLUME = 1e15
_SATURDAY = 5
_DAY = np.timedelta64(1, "D")

Hours = NDArray[np.float64]


@dataclass
class ValidationResult:
    """The findings about a frame of bars.

    Attributes:
        is_valid, errors: Result of :func:`validate_ohlcv_data`.
        quality_score: Score from :func:`get_data_quality_score`.
        gaps: Number of steps between rows that are longer than the interval (by default, the usual
            step).
        duplicates: Number of rows with the same timestamp as an earlier row.
        missing_columns: Required columns that are missing.
        data_types_valid: Whether the timestamps are times and the values are numbers.
        logical_consistency: Whether every row is a possible bar: prices positive and in order,
            volume not negative, timestamp not in the future.
    """

    is_valid: bool
    errors: list[str]
    quality_score: float
    gaps: int
    duplicates: int
    missing_columns: list[str]
    data_types_valid: bool
    logical_consistency: bool

    @classmethod
    def of(
        cls, df: pd.DataFrame | None, *, interval: str | None = None, min_data_points: int = 1
    ) -> ValidationResult:
        """Validate a frame of bars.

        Args:
            df: Bars, with timestamps in a ``timestamp`` column or a ``DatetimeIndex``, naive UTC;
                None counts as empty.
            interval: Length of the bars, such as ``"1h"``; inferred from the timestamps if None.
            min_data_points: Minimum number of rows in a valid frame.
        """
        is_valid, errors = validate_ohlcv_data(df, None, min_data_points, interval=interval)
        df = pd.DataFrame() if df is None else df
        score = float(get_data_quality_score(df)["quality_score"])
        stamps, missing = _stamps_of(df), _missing_columns(df, REQUIRED_COLUMNS)
        duplicates = 0 if stamps is None else int(stamps.duplicated().sum())
        texts = [_not_numbers(df, name) for name in REQUIRED_COLUMNS[1:] if name in df]
        typed = stamps is not None and not any(texts)
        gaps, valid = 0, bool(_sound_rows(df, interval).all())
        if stamps is not None:
            gaps = int((_steps(stamps) > 1.01 * _usual_step(stamps, interval)).sum())
        return cls(is_valid, errors, score, gaps, duplicates, missing, typed, valid)


def validate_ohlcv_data(
    df: pd.DataFrame | None,
    required_columns: Sequence[str] | None = None,
    min_data_points: int = 10,
    allow_duplicate_timestamps: bool = False,
    require_volume_data: bool = True,
    price_sanity_check: bool = True,
    max_price_change_pct: float = 50.0,
    symbol: str | None = None,
    interval: str | None = None,
) -> tuple[bool, list[str]]:
    """Return whether a frame of bars is valid, and a list of the errors found.

    Examples:
        >>> bars = manager.get_ohlcv("AAPL", "1d", start="2012-01", end="2012-03", provider="demo")
        >>> validate_ohlcv_data(bars, symbol="AAPL", interval="1d")
        (True, [])

    The timestamps are in a ``timestamp`` column or a ``DatetimeIndex``, naive UTC. A step between
    two timestamps is a gap if it is longer than two bars and longer than a day (if no bar is on a
    Saturday, longer than a week, not counting weekends).

    Args:
        df: Bars; None counts as empty.
        required_columns: Columns that must exist; None means the timestamp and all OHLCV columns.
        min_data_points: Minimum number of rows.
        allow_duplicate_timestamps: Whether timestamps may repeat.
        require_volume_data: Whether the volume must be present and plausible.
        price_sanity_check, max_price_change_pct: Whether to check prices, and the largest change
            that is accepted; see :func:`validate_price_consistency`, whose bounds on prices are not
            applied.
        symbol: Not used; accepted for older callers.
        interval: Length of the bars, such as ``"5m"``; inferred from the timestamps if None.
    """
    if df is None or df.empty:
        return False, ["DataFrame is empty"]
    required = list(REQUIRED_COLUMNS if required_columns is None else required_columns)
    if not require_volume_data and "volume" in required:
        required.remove("volume")
    errors = []
    if missing := _missing_columns(df, required):
        errors.append(f"Missing required columns: {missing}")
    if len(df) < min_data_points:
        errors.append(f"Insufficient data points: {len(df)} < {min_data_points}")
    absent = {name: int(df[name].isna().sum()) for name in required if name in df}
    errors += [f"Column '{name}' has {n} missing values" for name, n in absent.items() if n]
    texts = {name: _not_numbers(df, name) for name in required if name in df}
    errors += [f"Column '{n}' has {k} values that are not numbers" for n, k in texts.items() if k]
    errors += _stamp_errors(df, allow_duplicate_timestamps, interval)
    if price_sanity_check:
        # No bounds, because prices of small coins and prices in rupiah are also valid.
        errors += validate_price_consistency(df, max_price_change_pct, 0.0, np.inf)
    if require_volume_data and "volume" in df:
        errors += validate_volume_data(df["volume"])
    return not errors, errors


def validate_timestamps(
    timestamps: pd.Series[Any] | pd.DatetimeIndex,
    check_order: bool = True,
    check_gaps: bool = True,
    max_gap_hours: float = 24,
    timezone_aware: bool = False,
) -> list[str]:
    """Return the timestamp errors: invalid or missing values, wrong time zone, order and gaps.

    Args:
        timestamps: ``datetime64`` values.
        check_order: Whether the timestamps must be in ascending order.
        check_gaps, max_gap_hours: Whether to report gaps, and the longest step, in hours, that is
            not a gap. Weekends are not counted if no timestamp is on a Saturday.
        timezone_aware: Whether the timestamps must have a time zone.
    """
    if not pd.api.types.is_datetime64_any_dtype(timestamps.dtype):
        return ["Timestamps must be datetime objects"]
    stamps = pd.DatetimeIndex(timestamps)
    errors = []
    if stamps.hasnans:
        errors.append("Timestamps contain None/NaT values")
    if (stamps.tz is not None) != timezone_aware:
        errors.append(f"Timestamps must be timezone-{'aware' if timezone_aware else 'naive'}")
    if check_order and not stamps.dropna().is_monotonic_increasing:
        errors.append("Timestamps are not in ascending order")
    if check_gaps and (wide := int((_steps(stamps) > max_gap_hours).sum())):
        errors.append(f"Found {wide} gaps larger than {max_gap_hours:g} hours")
    return errors


def validate_price_consistency(
    df: pd.DataFrame,
    max_price_change_pct: float = 50.0,
    min_price: float = 0.0001,
    max_price: float = 1e6,
) -> list[str]:
    """Return the price errors: out of range, out of order within a row, or close-price jumps.

    Args:
        df: Bars; missing columns are not checked.
        max_price_change_pct: Largest change from one close to the next, in percent.
        min_price, max_price: Bounds of the accepted prices, both inclusive.
    """
    errors = []
    columns = {name: _numbers(df, name) for name in PRICES if name in df}
    for name, values in columns.items():
        if negative := int((values < 0).sum()):
            errors.append(f"Column '{name}' has {negative} negative prices")
        if low := int((values < min_price).sum()):
            errors.append(f"Column '{name}' has {low} prices below {min_price:g}")
        if high := int((values > max_price).sum()):
            errors.append(f"Column '{name}' has {high} prices above {max_price:g}")
    if len(columns) == len(PRICES):
        complete = ~np.isnan(np.stack(list(columns.values()))).any(axis=0)
        if odd := int((complete & ~ordered(table_of_bars(df))).sum()):
            errors.append(f"Found {odd} rows that break 0 < low <= open, close <= high")
    if "close" in columns:
        close = columns["close"][columns["close"] > 0]
        jumps = int((np.abs(np.diff(close) / close[:-1]) * 100 > max_price_change_pct).sum())
        if jumps:
            errors.append(f"Found {jumps} price changes > {max_price_change_pct:g}%")
    return errors


def validate_volume_data(volumes: pd.Series[Any]) -> list[str]:
    """Return the volume errors: negative or absurdly large values, or only zeros."""
    values = pd.to_numeric(volumes, errors="coerce").to_numpy(np.float64)
    errors = []
    if negative := int((values < 0).sum()):
        errors.append(f"Volume data has {negative} negative values")
    if large := int((values > _LARGEST_VOLUME).sum()):
        errors.append(f"Volume data has {large} values above {_LARGEST_VOLUME:g}")
    if len(values) and (values == 0).all():
        errors.append("All volume values are zero")
    return errors


def validate_data_gaps(
    timestamps: pd.Series[Any] | pd.DatetimeIndex,
    expected_interval: str,
    tolerance_minutes: float = 5,
) -> list[str]:
    """Return an error if any timestamps are not ``expected_interval`` apart.

    Args:
        timestamps: ``datetime64`` values, ascending. Weekends are not counted if no timestamp is on
            a Saturday.
        expected_interval: Interval, such as ``"5m"``.
        tolerance_minutes: Number of minutes by which a step may differ from the interval.
    """
    if parse_interval_to_minutes(expected_interval) is None:
        return [f"Invalid interval format: {expected_interval}"]
    least, most = _step_hours(Timeframe.parse(expected_interval))
    slack = tolerance_minutes / 60
    steps = _steps(pd.DatetimeIndex(timestamps), whole=most > _ROUND_THE_CLOCK_HOURS)
    odd = int(((steps < least - slack) | (steps > most + slack)).sum())
    return [f"Found {odd} gaps that do not match the interval {expected_interval}"] if odd else []


def parse_interval_to_minutes(interval: str) -> int | None:
    """Return the length in minutes of an interval such as ``"5m"``, ``"1h"``, ``"1d"`` or ``"1w"``.

    ``m`` means minutes and ``M`` months of 30 days. Return None for any other text.
    """
    try:
        timeframe = Timeframe.parse(interval)
    except BadTimeframeError:
        return None
    return (timeframe.step_ms or timeframe.count * 30 * DAY_MS) // MINUTE_MS


def get_data_quality_score(
    df: pd.DataFrame | None, required_columns: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return the quality score of a frame of bars, from 0 to 1, and its components.

    Examples:
        >>> bars = manager.get_ohlcv("AAPL", "1d", start="2012-01", end="2012-03", provider="demo")
        >>> get_data_quality_score(bars)["quality_score"]
        1.0

    ``completeness`` is the fraction of cells that have a value; all cells of a missing column count
    as empty. ``consistency_score`` is the fraction of rows that are possible bars (prices positive
    and in order, volume not negative, timestamp not in the future) and have a unique timestamp.
    ``quality_score`` is the mean of the two. None counts as an empty frame.
    """
    required = list(REQUIRED_COLUMNS if required_columns is None else required_columns)
    is_valid, errors = validate_ohlcv_data(df, required)
    df = pd.DataFrame() if df is None else df
    cells, missing = len(df) * len(required), len(df) * len(_missing_columns(df, required))
    missing += sum(int(_valueless_rows(df, name).sum()) for name in required if name in df)
    completeness = 1 - missing / cells if cells else 0.0
    stamps, valid = _stamps_of(df), _sound_rows(df)
    if stamps is not None:
        valid &= ~stamps.duplicated()
    consistency = float(valid.mean()) if len(df) else 0.0
    return {
        "is_valid": is_valid,
        "quality_score": (completeness + consistency) / 2,
        "completeness": completeness,
        "consistency_score": consistency,
        "total_rows": len(df),
        "missing_cells": missing,
        "errors": errors,
        "error_count": len(errors),
    }


def _stamp_errors(df: pd.DataFrame, duplicates: bool, interval: str | None) -> list[str]:
    stamps = _stamps_of(df)
    if stamps is None:
        return validate_timestamps(df["timestamp"]) if "timestamp" in df else []
    repeated = 0 if duplicates else int(stamps.duplicated().sum())
    errors = [f"Found {repeated} duplicate timestamps"] if repeated else []
    if interval is not None and parse_interval_to_minutes(interval) is None:
        errors.append(f"Invalid interval format: {interval}")
    if late := int((_milliseconds(stamps) > _latest_ms(stamps, interval)).sum()):
        errors.append(f"Found {late} timestamps in the future")
    always = bool((stamps.day_of_week == _SATURDAY).any())
    closure = _ROUND_THE_CLOCK_HOURS if always else _LONGEST_CLOSURE_HOURS
    widest = max(closure, 2 * _usual_step(stamps, interval))
    return errors + validate_timestamps(stamps, max_gap_hours=widest)


def _missing_columns(df: pd.DataFrame, required: Sequence[str]) -> list[str]:
    indexed = isinstance(df.index, pd.DatetimeIndex)
    return [n for n in required if n not in df and not (n == "timestamp" and indexed)]


def _stamps_of(df: pd.DataFrame) -> pd.DatetimeIndex | None:
    """Return the timestamps of a frame, or None if it has no times."""
    times = df.get("timestamp", df.index)
    return pd.DatetimeIndex(times) if pd.api.types.is_datetime64_any_dtype(times.dtype) else None


def _numbers(df: pd.DataFrame, name: str) -> NDArray[np.float64]:
    return np.asarray(pd.to_numeric(df[name], errors="coerce"), dtype=np.float64)


def _not_numbers(df: pd.DataFrame, name: str) -> int:
    """Return the number of cells in a numeric column that are not numbers, such as text."""
    column = df[name]
    if name not in REQUIRED_COLUMNS[1:] or pd.api.types.is_numeric_dtype(column):
        return 0
    return int(sum(not isinstance(value, Number) for value in column[column.notna()]))


def _valueless_rows(df: pd.DataFrame, name: str) -> NDArray[np.bool_]:
    """Return a mask of the rows in which a column has no value, or text that is not a number."""
    if name in REQUIRED_COLUMNS[1:]:
        return np.isnan(_numbers(df, name))
    return np.asarray(df[name].isna())


def _sound_rows(df: pd.DataFrame, interval: str | None = None) -> NDArray[np.bool_]:
    """Return a mask of the rows that are possible bars."""
    if any(name not in df for name in PRICES):
        return np.zeros(len(df), dtype=bool)
    stamps = _stamps_of(df)
    return are_bars(table_of_bars(df), np.inf if stamps is None else _latest_ms(stamps, interval))


def table_of_bars(df: pd.DataFrame) -> BarTable:
    """Convert a frame with all price columns to a table; rows without a time get timestamp 0."""
    times, none = _stamps_of(df), np.full(len(df), NAN)
    stamps = np.zeros(len(df), np.int64) if times is None else _milliseconds(times)
    opened, high, low, close = (_numbers(df, name) for name in PRICES)
    volume = _numbers(df, "volume") if "volume" in df else none
    return BarTable(stamps, opened, high, low, close, volume)


def _milliseconds(stamps: pd.DatetimeIndex) -> Stamps:
    return np.asarray(stamps.as_unit("ms").asi8, dtype=np.int64)


def _latest_ms(stamps: pd.DatetimeIndex, interval: str | None) -> float:
    """Return the latest timestamp that a bar of the given interval can have now.

    Without an interval, the usual step between the timestamps is used.
    """
    minutes = round(abs(_usual_step(stamps, None)) * 60)
    if interval is not None and parse_interval_to_minutes(interval) is not None:
        timeframe = Timeframe.parse(interval)
    elif not minutes:  # a single bar may have any length
        timeframe = Timeframe(1, "M")
    else:
        days = minutes // (DAY_MS // MINUTE_MS)
        timeframe = Timeframe(days, "d") if days else Timeframe(minutes, "m")
    return latest_stamp(timeframe, SystemClock().now_ms())


def _steps(stamps: pd.DatetimeIndex, *, whole: bool = False) -> Hours:
    """Return the number of hours between each two successive timestamps.

    If no timestamp is on a Saturday, weekends are not counted, unless ``whole`` is set.
    """
    stamps = stamps.dropna()
    times = (stamps if stamps.tz is None else stamps.tz_convert("UTC").tz_localize(None)).to_numpy()
    hours: Hours = np.diff(times) / np.timedelta64(1, "h")
    if whole or len(times) < 2 or (stamps.day_of_week == _SATURDAY).any():
        return hours
    days = times.astype("M8[D]")
    return hours - 24 * (np.diff(days) / _DAY - np.busday_count(days[:-1], days[1:]))


def _step_hours(timeframe: Timeframe) -> tuple[float, float]:
    """Return the minimum and maximum number of hours between two bars of a timeframe."""
    hours = (timeframe.step_ms or 0) / HOUR_MS
    return (hours, hours) if hours else (timeframe.count * 28 * 24, timeframe.count * 31 * 24)


def _usual_step(stamps: pd.DatetimeIndex, interval: str | None) -> float:
    if interval is not None and parse_interval_to_minutes(interval) is not None:
        return _step_hours(Timeframe.parse(interval))[1]
    steps = _steps(stamps)
    return float(np.median(steps)) if len(steps) else 0.0
