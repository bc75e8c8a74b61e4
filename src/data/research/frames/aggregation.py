"""Longer bars from shorter ones, in Polars: first open, extremes, last close, sum of volume.

Bars are grouped by ``sid`` or ``symbol``, if there is such a column, and by the UTC day, week or
month. If the times have another time zone, its days are used instead. For bars that follow a
market's sessions and are checked against its calendar, request the longer timeframe from
``get_ohlcv``.
"""

from __future__ import annotations

import re
from typing import TypeVar

from ...errors import QueryError
from .frames import FIELDS, pl

__all__ = [
    "resample_custom_interval",
    "resample_daily_to_monthly",
    "resample_daily_to_weekly",
    "resample_minute_to_daily",
]

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)
_INTERVAL = re.compile(r"[1-9]\d{0,4}(m|h|d|w|mo)")


def bars_of_groups() -> list[pl.Expr]:
    """Return the Polars expressions that combine a group of ascending bars into one bar.

    Nulls are ignored. The volume is null if every volume in the group is null. The sum of Decimals
    gets a type with as many digits as it needs.
    """
    volume = pl.col("volume")
    return [
        pl.col("open").drop_nulls().first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").drop_nulls().last(),
        pl.when(volume.count() > 0).then(volume.sum()).alias("volume"),
    ]


def resample_minute_to_daily(df: Frame) -> Frame:
    """Build one bar for each UTC day (``date``) and series from minute bars (``timestamp``).

    Args:
        df: Frame with ``timestamp``, the five fields (``open high low close volume``) as floats or
            Decimals, and ``sid`` or ``symbol`` if there are several series. Rows may be in any
            order; a lazy frame stays lazy.

    Returns:
        ``date``, the series column and the fields, with their original types, sorted by series and
        date. Nulls are ignored; the volume of a day is null if all its volumes are null.

    Raises:
        QueryError: A column is missing, or the ``timestamp`` column does not contain times.
    """
    return _resample(df, "timestamp", "1d", "date")


def resample_daily_to_weekly(df: Frame) -> Frame:
    """Build weekly bars, dated on the week's Monday, from daily bars.

    ``df`` has ``date`` in place of ``timestamp``; otherwise, see :func:`resample_minute_to_daily`.
    """
    return _resample(df, "date", "1w", "date")


def resample_daily_to_monthly(df: Frame) -> Frame:
    """Build monthly bars, dated on the first day of the month, from daily bars.

    ``df`` has ``date`` in place of ``timestamp``; otherwise, see :func:`resample_minute_to_daily`.
    """
    return _resample(df, "date", "1mo", "date")


def resample_custom_interval(df: Frame, interval: str, time_col: str = "timestamp") -> Frame:
    """Build one bar for each interval, stamped with the time at which the interval begins.

    See :func:`resample_minute_to_daily` for the frame and the result.

    Args:
        df: Frame of bars.
        interval: Length such as ``5m``, ``4h``, ``1d``, ``1w``, ``3mo``. Intervals are counted from
            the beginning of 1970, weeks from a Monday.
        time_col: Name of the time column.

    Raises:
        QueryError: The interval is invalid, a column is missing, or ``time_col`` does not contain
            times.
    """
    if not isinstance(interval, str) or not _INTERVAL.fullmatch(interval):
        raise QueryError(
            f"invalid interval {interval!r}", hint="use a form such as 5m, 4h, 1d, 1w or 1mo"
        )
    return _resample(df, time_col, interval, time_col)


def _resample(df: Frame, time: str, interval: str, name: str) -> Frame:
    schema = df.collect_schema()
    if lacking := [column for column in (time, *FIELDS) if column not in schema]:
        raise QueryError(
            f"cannot resample without columns {', '.join(lacking)}",
            hint=f"the columns must be {time}, sid or symbol, {', '.join(FIELDS)}",
        )
    if not isinstance(schema[time], pl.Date | pl.Datetime):
        raise QueryError(f"column {time} does not contain times: its type is {schema[time]}")
    series = [column for column in ("sid", "symbol") if column in schema][:1]
    start = pl.col(time).dt.truncate(interval)
    start = start.cast(pl.Date) if name == "date" else start
    made = (
        df.sort(time)
        .group_by(*series, start.alias(name), maintain_order=False)
        .agg(bars_of_groups())
        .cast({"volume": schema["volume"]})
        .sort(*series, name)
    )
    return made.select(name, *series, *FIELDS)
