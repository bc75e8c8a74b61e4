"""The price frames of the second data layer, which have the same columns whoever supplies the bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.model.answer.frame import empty_frame
from ...core.model.display.texts import counted
from ...core.model.market.bars import PRICES
from ...core.model.time.instant import DAY_MS, day_ms, iso, to_ms
from ...core.model.time.timeframe import Timeframe
from ...errors import QualityError, QueryError, ResponseFormatError
from .frame_checks import checked_series
from .frames import pl  # its error names the missing extra

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["bounds_ms", "checked_prices", "empty_prices", "prices_frame", "volumes"]

_STAMP, _DAY_US = pl.Datetime("us"), DAY_MS * 1000
_USUAL = (*PRICES, "volume")
_VALUES = (*_USUAL, "adj_close")
_USUAL_INDEX = empty_frame().columns  # most frames share it, so that it is compared quickly
_UNKNOWN = pl.Series([None], dtype=pl.Float64)
# Bounds of stamps that Python's datetimes can show, as UTC milliseconds.
_FIRST_MS, _LAST_MS = to_ms(datetime.min), to_ms(datetime.max)


def empty_prices(timeframe: Timeframe) -> pl.DataFrame:
    """Return a frame without rows, with all columns and types."""
    schema = {_time(timeframe): _STAMP if timeframe.is_intraday else pl.Date()}
    schema |= dict.fromkeys(_VALUES, pl.Float64())
    return pl.DataFrame(schema=schema | {"volume": pl.Int64()})


def prices_frame(frame: pd.DataFrame, timeframe: Timeframe, *, is_share: bool) -> pl.DataFrame:
    """Return the data manager's bars in the columns of the second data layer.

    The first column is ``date`` (``Date``) for daily and longer bars, otherwise ``timestamp``
    (``Datetime("us")``, naive UTC, the bar's opening time). ``open high low close adj_close`` are
    ``Float64``; ``volume`` is ``Int64`` if every value is whole, otherwise ``Float64``, null where
    the vendor has none. Rows are in ascending order.

    Args:
        frame: Frame from ``get_ohlcv``.
        timeframe: Timeframe of its bars.
        is_share: Whether dividends can be paid. For anything else, ``adj_close`` is the close; for
            shares it is null if the vendor does not supply it.
    """
    if not len(frame):
        return empty_prices(timeframe)
    names: Sequence[str] = _USUAL
    if not frame.columns.equals(_USUAL_INDEX):
        names = [name for name in _VALUES if name in frame.columns]
        frame = frame[names]
    values = frame.to_numpy(np.float64).T
    numbers, count = pl.Series(values.reshape(-1)), len(frame)  # quicker than one by one
    columns = {n: numbers.slice(i * count, count).alias(n) for i, n in enumerate(names)}
    unknown = _UNKNOWN.new_from_index(0, count)
    volume = volumes(values[names.index("volume")]) if "volume" in columns else unknown
    adjusted = unknown if is_share else columns["close"]
    if "adj_close" in columns:
        adjusted = pl.Series(values[names.index("adj_close")], nan_to_null=True)
    stamps = frame.index.as_unit("us").asi8  # type: ignore[attr-defined]
    if timeframe.is_intraday:
        times = pl.Series(stamps).cast(_STAMP)
    else:
        times = pl.Series((stamps // _DAY_US).astype(np.int32)).cast(pl.Date)
    prices = [columns[name] for name in PRICES]
    others = [volume.alias("volume"), adjusted.alias("adj_close")]
    return pl.DataFrame([times.alias(_time(timeframe)).set_sorted(), *prices, *others])


def volumes(values: NDArray[np.float64]) -> pl.Series:
    """Return volumes as integers if all are whole and below 2**53, otherwise as floats.

    Args:
        values: Volumes, NaN if unknown; they are then null.
    """
    is_whole = ((values == np.floor(values)) & (np.abs(values) < 2.0**53)).all()
    whole = values.astype(np.int64) if is_whole else values
    return pl.Series("volume", whole, nan_to_null=True)


def checked_prices(
    frame: Any,
    symbol: str,
    timeframe: Timeframe,
    bounds: tuple[Any, Any],
    source: str,
    now_ms: int,
) -> pl.DataFrame:
    """Check bars from a custom provider, and return them with the standard columns, in order.

    Args:
        frame: Value that the provider returned: a Polars frame with ``date`` or ``timestamp`` and
            ``open high low close``. Naive timestamps are taken as UTC. A daily or longer bar gets
            the date of its timestamp in that timestamp's own time zone. ``volume`` and
            ``adj_close`` may be missing; they are then null. A column ``symbol`` is only checked.
        symbol: Requested symbol.
        timeframe: Requested timeframe.
        bounds: Requested dates or times, both inclusive. A daily or longer bar may begin before
            them if it ends after the start.
        source: Name of the provider, for errors.
        now_ms: Current time, in UTC milliseconds.

    Raises:
        ResponseFormatError: The value is not such a frame, or has rows outside the bounds or for
            another symbol.
        QualityError: A row is not a valid bar, or a timestamp is repeated.
    """
    if isinstance(frame, pl.DataFrame) and not len(frame):
        return empty_prices(timeframe)
    if problem := _format_problem(frame, symbol):
        raise ResponseFormatError(f"{source} returned {problem}", provider=source)
    bars = frame.drop("symbol", strict=False)
    try:
        checked_series(bars, now_ms)
    except QualityError as error:
        raise QualityError(f"{source}: {error.args[0]}", provider=source) from error
    rows = _standard_rows(bars, timeframe)
    times = rows[_time(timeframe)]
    stamps = times.cast(_STAMP).dt.epoch("ms")
    if times.is_duplicated().any():
        twice = iso(int(stamps.filter(times.is_duplicated())[0]))
        text = f"{source} returned several rows for the {timeframe} bar of {twice}"
        raise QualityError(text, provider=source)
    first, last = bounds_ms(*bounds)
    begun = 0 if timeframe.is_intraday else timeframe.longest_ms - 1
    outside = stamps.filter((stamps < first - begun) | (stamps > last))
    if len(outside):
        raise ResponseFormatError(
            f"{source} returned {counted(len(outside), 'row')} outside the range {iso(first)} to "
            f"{iso(last)}, the first at {iso(int(outside[0]))}",
            provider=source,
        )
    return rows


def bounds_ms(start: date, end: date) -> tuple[int, int]:
    """Return a range's first and last millisecond (UTC); an end date includes the whole day.

    Raises:
        QueryError: A bound is neither a date nor a datetime, or the start is after the end.
    """
    for name, value in (("start", start), ("end", end)):
        if not isinstance(value, date) or value != value:  # not a time
            raise QueryError(f"the {name} must be a date or a datetime, not {value!r:.80}")
    try:
        first, last = (
            to_ms(bound) if isinstance(bound, datetime) else day_ms(bound) for bound in (start, end)
        )
    except (OverflowError, ValueError) as error:
        raise QueryError(f"{start} to {end} is not a range of times: {error}") from error
    last += 0 if isinstance(end, datetime) else DAY_MS - 1
    if first > last:
        raise QueryError(f"the start {start} is after the end {end}")
    return first, last


def _format_problem(frame: Any, symbol: str) -> str:
    """Return a description of what is wrong with a frame's columns; empty if nothing is."""
    if not isinstance(frame, pl.DataFrame):
        return f"a {type(frame).__module__}.{type(frame).__qualname__}, not a Polars frame"
    time, schema = _time_column(frame.schema), frame.schema
    if not time:
        return f"neither a date nor a timestamp column, only {', '.join(frame.columns)}"
    if "symbol" in schema:
        others = [name for name in frame["symbol"].unique().to_list() if name != symbol]
        if others:
            return f"bars for {others[0]!r:.80}, not for {symbol!r:.80}"
    for name in _VALUES:
        dtype = schema.get(name, pl.Null())
        if not (dtype.is_numeric() or dtype == pl.Null):
            return f"{name} as {dtype}, the first {frame[name][0]!r:.80}, not as a number"
    if "adj_close" in schema and frame["adj_close"].cast(pl.Float64).is_infinite().any():
        return "an infinite adj_close"
    if isinstance(schema[time], pl.Date | pl.Datetime):
        days = frame[time].cast(pl.Int64) * DAY_MS if schema[time] == pl.Date else None
        stamps = frame[time].dt.epoch("ms") if days is None else days
        if not stamps.is_between(_FIRST_MS, _LAST_MS).all():
            return "stamps outside the years 1 to 9999"
    return ""


def _time(timeframe: Timeframe) -> str:
    return "timestamp" if timeframe.is_intraday else "date"


def _time_column(schema: Mapping[str, Any]) -> str:
    return next((name for name in ("timestamp", "date") if name in schema), "")


def _standard_rows(frame: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame:
    """Return checked rows sorted by time, with the columns in standard order and types."""
    time = _time_column(frame.schema)
    stamps, dtype = pl.col(time), frame.schema[time]
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        stamps = stamps.dt.convert_time_zone("UTC") if timeframe.is_intraday else stamps
        stamps = stamps.dt.replace_time_zone(None)
    stamps = stamps.cast(_STAMP if timeframe.is_intraday else pl.Date)
    absent = [name for name in ("volume", "adj_close") if name not in frame.columns]
    rows = frame.with_columns(pl.lit(None, pl.Float64).alias(name) for name in absent)
    volume = rows["volume"].cast(pl.Int64, strict=False)
    if (
        not volume.dtype.is_integer()
        or volume.null_count()
        or not rows["volume"].dtype.is_integer()
    ):
        volume = volumes(rows["volume"].cast(pl.Float64).to_numpy())
    floats = [pl.col(name).cast(pl.Float64) for name in PRICES]
    adjusted = pl.col("adj_close").cast(pl.Float64).fill_nan(None)
    rows = rows.select(stamps.alias(_time(timeframe)), *floats, volume.alias("volume"), adjusted)
    return rows.sort(_time(timeframe))
