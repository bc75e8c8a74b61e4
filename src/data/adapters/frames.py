"""Checks and standardizes frames of bars from an adapter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..bundles.data_catalog_settings import ValidationSettings
from ..errors import QualityError
from ..layer.frames import FIELDS, PRICES, decimal_frame, pl
from ..model.bars import BarTable, Stamps
from ..model.instant import DAY_MS, MINUTE_MS, iso
from ..model.texts import counted
from ..model.timeframe import Timeframe
from ..prices.bar_rule import are_bars, faults_of, latest_live
from ..prices.judgement.checks import run_checks
from ..prices.judgement.findings import QualityFinding
from ..prices.judgement.series import CheckedSeries

_MOST_NAMED = 5
_DAYS_OF = ((28, "M"), (7, "w"), (1, "d"))


# Causes of the findings that are about unusual but possible values.
_OUTLIERS = ("return_outlier", "volume_outlier")
ALL_CHECKS = ValidationSettings()


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
    if isinstance(frame, pl.LazyFrame):
        frame = frame.collect()
    if not isinstance(frame, pl.DataFrame):
        raise QualityError(f"expected a Polars frame, not {type(frame).__name__}")
    if problem := _column_error(frame):
        raise QualityError(
            problem, hint="use the columns timestamp, symbol, open high low close, volume"
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
        judged = _series(rows, symbol, now_ms, checks)
        if isinstance(judged, str):
            problems.append(judged)
        else:
            series[symbol] = judged
    if problems:
        more = len(problems) - _MOST_NAMED
        others = f"; and {counted(more, 'symbol')} more" if more > 0 else ""
        raise QualityError("; ".join(problems[:_MOST_NAMED]) + others, hint="nothing was written")
    return series


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


def standard_frame(frame: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    """Convert bars to the standard columns.

    Symbols keep the order in which they first appear, each with its bars in ascending order.

    The columns are ``timestamp`` (``Datetime("us")``, naive UTC), ``symbol``, ``open high low
    close volume`` as ``Decimal(18, 8)`` (volume as ``Decimal(38, 8)`` if a value does not fit),
    and any others.

    Args:
        frame: Frame that :func:`checked_series` accepts; naive timestamps are UTC.

    Raises:
        QualityError: A column is missing.
        DecimalRangeError: A value does not fit into its Decimal type.
    """
    frame = frame.collect() if isinstance(frame, pl.LazyFrame) else frame
    time = _time_column(frame)
    lacking = [] if time else ["timestamp"]
    lacking += [name for name in ("symbol", *FIELDS) if name not in frame.columns]
    if lacking or time is None:
        raise QualityError(
            (
                f"the frame has no {', '.join(lacking)}; its columns are "
                f"{', '.join(frame.columns) or 'none'}"
            ),
            hint="nothing was written",
        )
    stamps, dtype = pl.col(time), frame.schema[time]
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        stamps = stamps.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    stamps = stamps.cast(pl.Datetime("us")).alias("timestamp")
    others = [name for name in frame.columns if name not in (time, "timestamp", "symbol", *FIELDS)]
    frame = frame.with_columns(pl.col("symbol").cast(pl.String))
    symbols = frame["symbol"].unique(maintain_order=True)
    order = pl.col("symbol").replace_strict(symbols, range(len(symbols)))
    rows = frame.select(stamps, "symbol", *FIELDS, *others).sort(order, "timestamp")
    return decimal_frame(rows).frame


def _time_column(frame: pl.DataFrame) -> str | None:
    return next((name for name in ("timestamp", "date") if name in frame.columns), None)


def _column_error(frame: pl.DataFrame) -> str:
    """Return a description of the error in a frame's columns, or an empty string."""
    if lacking := [name for name in PRICES if name not in frame.columns]:
        return (
            f"the frame has no {', '.join(lacking)}; its columns are "
            f"{', '.join(frame.columns) or 'none'}"
        )
    schema, time = frame.schema, _time_column(frame)
    wrong = [
        f"{name} has the type {schema[name]}, not a number"
        for name in (*PRICES, "volume")
        if name in schema and not (schema[name].is_numeric() or schema[name] == pl.Null)
    ]
    if time is not None and not isinstance(schema[time], pl.Date | pl.Datetime):
        wrong.append(f"{time} has the type {schema[time]}, not a time")
    if "symbol" in schema and schema["symbol"] not in (pl.String, pl.Categorical, pl.Enum):
        wrong.append(f"symbol has the type {schema['symbol']}, not a string")
    wrong += [
        f"{name} is null in {counted(nulls, 'row')}"
        for name in ("symbol", time)
        if name in schema and (nulls := frame[name].null_count())
    ]
    return "; ".join(wrong)


def _series(
    frame: pl.DataFrame, symbol: str, now_ms: int, checks: ValidationSettings
) -> CheckedSeries | str:
    """Return the bars for one symbol, or the reason why they are invalid."""
    time = _time_column(frame)
    stamps = np.arange(len(frame)) - len(frame) if time is None else _stamps(frame[time])
    columns = [_floats(frame, name) for name in (*PRICES, "volume")]
    table = BarTable(stamps, *columns).take(np.argsort(stamps, kind="stable"))
    timeframe = _usual_timeframe(table.stamps)
    latest = latest_live(timeframe, now_ms) if checks.temporal_consistency else np.inf
    problem = "; ".join(_faults(table, latest, checks, is_dated=time is not None))
    name = symbol or "the frame"
    if problem:
        return f"{name}: {problem}"
    return CheckedSeries(timeframe, table, return_sds=checks.outlier_std_threshold)


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


def _floats(frame: pl.DataFrame, name: str) -> Any:
    if name not in frame.columns:
        return np.full(len(frame), np.nan)
    return frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _stamps(column: pl.Series) -> Stamps:
    """Convert a column of dates or times to UTC milliseconds."""
    is_date = column.dtype == pl.Date
    stamps = column.cast(pl.Int64) * DAY_MS if is_date else column.dt.epoch("ms")
    return np.asarray(stamps.to_numpy(), dtype=np.int64)


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
