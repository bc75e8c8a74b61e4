"""Checks frames of bars from custom sources and adapters, and brings them into standard columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...core.model.display.texts import counted
from ...core.model.market.bars import BarTable, Stamps
from ...core.model.time.instant import DAY_MS, MINUTE_MS, iso
from ...core.model.time.timeframe import Timeframe
from ...core.prices.bar_rule import are_bars, faults_of, latest_live
from ...core.prices.judgement.checks import run_checks
from ...core.prices.judgement.findings import QualityFinding
from ...core.prices.judgement.series import CheckedSeries
from ...errors import QualityError
from ..settings.catalog_settings import ValidationSettings
from .frames import (
    FIELDS,
    PRICES,
    decimal_frame,
    pl,  # its error names the missing extra
)

_MOST_NAMED = 5
_DAYS_OF = ((28, "M"), (7, "w"), (1, "d"))
# Causes of the findings that are about unusual but possible values.
_OUTLIERS = ("return_outlier", "volume_outlier")
ALL_CHECKS = ValidationSettings()


# --- columns -----------------------------------------------------------------------------


def time_of(frame: pl.DataFrame) -> str:
    """Return the name of a frame's time column: ``date`` if it is the only one."""
    has_only_dates = "date" in frame.columns and "timestamp" not in frame.columns
    return "date" if has_only_dates else "timestamp"


def column_fault(frame: Any, needed: Sequence[str]) -> str:
    """Return the fault in a frame's columns and their types, or an empty string.

    Args:
        frame: Value that should be a Polars frame of bars.
        needed: Names of the columns that must be present.
    """
    if not isinstance(frame, pl.DataFrame):
        return f"expected a Polars frame, not {type(frame).__name__}"
    schema, time = frame.schema, time_of(frame)
    if lacking := [name for name in needed if name not in schema]:
        columns = ", ".join(schema) or "none"
        return f"the frame has no {', '.join(lacking)}; its columns are {columns}"
    of_numbers = {
        name: schema[name].is_numeric() or schema[name] == pl.Null
        for name in FIELDS
        if name in schema
    }
    is_time = isinstance(schema.get(time), pl.Date | pl.Datetime)
    is_text = schema.get("symbol") in (pl.String, pl.Categorical, pl.Enum)
    wrong = [
        f"{name} has the type {schema[name]}, not {what}, such as {next(iter(frame[name]), None)!r:.40}"
        for name, fits, what in (
            *((name, fits, "a number") for name, fits in of_numbers.items()),
            (time, is_time, "a time"),
            ("symbol", is_text, "a string"),
        )
        if name in schema and not fits
    ]
    wrong += [
        f"{name} is null in {counted(nulls, 'row')}"
        for name in ("symbol", time)
        if name in schema and (nulls := frame[name].null_count())
    ]
    return "; ".join(wrong)


def bar_rows(frame: pl.DataFrame, *, is_daily: bool = False) -> pl.DataFrame:
    """Return a frame's rows with the columns of bars first; no value is changed.

    The columns are ``timestamp`` (``Datetime("us")``, naive UTC), ``symbol``, ``open high low close
    volume``, and any others.

    Args:
        frame: Frame without a :func:`column_fault`; naive timestamps are UTC.
        is_daily: Whether timestamps become 00:00 of their date in the zone of the column.
    """
    time = time_of(frame)
    stamps, dtype = pl.col(time), frame.schema[time]
    if isinstance(dtype, pl.Datetime):
        if is_daily:
            stamps = stamps.dt.date()
        elif dtype.time_zone is not None:
            stamps = stamps.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    others = [name for name in frame.columns if name not in (time, "timestamp", "symbol", *FIELDS)]
    return frame.select(
        stamps.cast(pl.Datetime("us")).alias("timestamp"),
        pl.col("symbol").cast(pl.String),
        *FIELDS,
        *others,
    )


def standard_frame(frame: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    """Convert bars to the standard columns.

    Symbols keep the order in which they first appear, each with its bars in ascending order.

    The columns are those of :func:`bar_rows`, prices and volume as ``Decimal(18, 8)`` (volume as
    ``Decimal(38, 8)`` if a value does not fit).

    Args:
        frame: Frame that :func:`checked_series` accepts; naive timestamps are UTC.

    Raises:
        QualityError: A column is missing.
        DecimalRangeError: A value does not fit into its Decimal type.
    """
    frame = frame.collect() if isinstance(frame, pl.LazyFrame) else frame
    if fault := column_fault(frame, (time_of(frame), "symbol", *FIELDS)):
        raise QualityError(fault, hint="nothing was written")
    rows = bar_rows(frame)
    symbols = rows["symbol"].unique(maintain_order=True)
    order = pl.col("symbol").cast(pl.Enum(symbols))
    return decimal_frame(rows.sort(order, "timestamp")).frame


# --- rows --------------------------------------------------------------------------------


def checked_series(
    frame: Any, now_ms: int, checks: ValidationSettings = ALL_CHECKS
) -> Mapping[str, CheckedSeries]:
    """Check that all rows of a frame are valid bars, and return the bars for each symbol, sorted.

    Columns other than prices may be missing. Rows without timestamps are checked one by one;
    without ``symbol``, all rows form one series.

    Args:
        frame: Polars frame with ``timestamp`` or ``date``, ``symbol``, ``open high low close
            volume``.
        now_ms: Current time, UTC milliseconds; a bar that opens much later counts as a future bar.
        checks: Checks to perform; the columns and their types are always checked.

    Raises:
        QualityError: The value is not such a frame or has no rows, or rows are invalid: a missing
            or impossible value, prices out of order, or a timestamp that is repeated, null or in
            the future.
    """
    frame = frame.collect() if isinstance(frame, pl.LazyFrame) else frame
    if fault := column_fault(frame, PRICES):
        raise QualityError(
            fault, hint="use the columns timestamp, symbol, open high low close, volume"
        )
    if not len(frame):
        raise QualityError("the frame has no rows")
    parts = {"": frame}
    if "symbol" in frame.columns:
        groups = frame.partition_by("symbol", as_dict=True, maintain_order=True)
        parts = {str(key[0]): rows for key, rows in groups.items()}
    series: dict[str, CheckedSeries] = {}
    problems = []
    for symbol, rows in parts.items():
        table = bar_table(rows)
        table = table.take(np.argsort(table.stamps, kind="stable"))
        timeframe = _usual_timeframe(table.stamps)
        latest = latest_live(timeframe, now_ms) if checks.temporal_consistency else np.inf
        is_dated = time_of(rows) in rows.columns
        if faults := "; ".join(_faults(table, latest, checks, is_dated=is_dated)):
            problems.append(f"{symbol or 'the frame'}: {faults}")
        else:
            series[symbol] = CheckedSeries(
                timeframe, table, return_sds=checks.outlier_std_threshold
            )
    if problems:
        more = len(problems) - _MOST_NAMED
        others = f"; and {counted(more, 'symbol')} more" if more > 0 else ""
        raise QualityError("; ".join(problems[:_MOST_NAMED]) + others, hint="nothing was written")
    return series


def bar_table(frame: pl.DataFrame) -> BarTable:
    """Return the rows of a frame as floats, with NaN for null and for a missing volume.

    Without a time column, timestamps are negative numbers in ascending order.
    """
    time, count = time_of(frame), len(frame)
    stamps: Stamps = np.arange(count, dtype=np.int64) - count
    if time in frame.columns:
        column = frame[time]
        is_date = column.dtype == pl.Date
        in_ms = column.cast(pl.Int64) * DAY_MS if is_date else column.dt.epoch("ms")
        stamps = np.asarray(in_ms.to_numpy(), dtype=np.int64)
    columns = [
        frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        if name in frame.columns
        else np.full(count, np.nan)
        for name in FIELDS
    ]
    return BarTable(stamps, *columns)


def findings_of(
    series: Mapping[str, CheckedSeries], *, with_outliers: bool = True
) -> dict[str, tuple[QualityFinding, ...]]:
    """Return the findings for individual series: unusual values in valid bars.

    With outliers, the findings include ``return_outlier`` (a move of more than three standard
    deviations, or of the number in ``return_sds``) and ``volume_outlier`` (more than five), with
    severity ``info``. Symbols without findings are left out.
    """
    by_symbol = {
        symbol: tuple(f for f in run_checks(bars)[0] if with_outliers or f.cause not in _OUTLIERS)
        for symbol, bars in series.items()
    }
    return {symbol: findings for symbol, findings in by_symbol.items() if findings}


def _faults(
    table: BarTable, latest: float, checks: ValidationSettings, *, is_dated: bool
) -> Iterator[str]:
    are_good = are_bars(table, latest) if checks.ohlcv_checks else table.stamps <= latest
    bad = np.flatnonzero(~are_good)
    if len(bad):
        first = table.take(bad[:1])
        at = f", the first at {iso(int(first.stamps[0]))}" if is_dated else ""
        yield f"rows that cannot be bars: {len(bad):,}{at}: {faults_of(first, latest)[0]}"
    twice = table.stamps[1:][table.stamps[1:] == table.stamps[:-1]]
    if len(twice) and checks.temporal_consistency:
        yield f"{counted(len(twice), 'duplicate stamp')}, the first {iso(int(twice[0]))}"
    lacking = np.isnan(table.volume)
    if checks.ohlcv_checks and lacking.any() and not lacking.all():
        at = f", the first at {iso(int(table.stamps[lacking][0]))}" if is_dated else ""
        yield f"{counted(int(lacking.sum()), 'row')} without volume among others that have it{at}"


def _usual_timeframe(stamps: Stamps) -> Timeframe:
    """Estimate the timeframe of ascending timestamps from their median distance."""
    steps = np.diff(stamps)
    if not len(steps):  # a single bar is daily if its stamp is midnight
        return Timeframe(1, "d" if stamps[0] % DAY_MS == 0 else "m")
    step_ms = int(np.median(steps))
    for days, unit in _DAYS_OF:
        if step_ms >= days * DAY_MS:
            return Timeframe(1, unit)
    return Timeframe(max(1, step_ms // MINUTE_MS), "m")
