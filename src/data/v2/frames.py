"""The price frames of the second data layer, which have the same format whoever supplies the bars."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from ..adapters.frames import checked_series
from ..errors import QualityError, QueryError, ResponseFormatError
from ..layer.frames import pl  # its error names the missing extra
from ..model.bars import PRICES
from ..model.frame import empty_frame
from ..model.instant import DAY_MS, day_ms, iso, to_ms
from ..model.reasons import UNASKED
from ..model.texts import counted
from ..model.timeframe import Timeframe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

__all__ = [
    "bounds_ms",
    "checked_prices",
    "empty_prices",
    "has_inner_gap",
    "prices_frame",
]

_ADJUSTED = "adj_close"
_STAMP = pl.Datetime("us")
_USUAL = (*PRICES, "volume")
_VALUES = (*_USUAL, _ADJUSTED)
_USUAL_INDEX = empty_frame().columns  # frames of bars share it, so that it is compared quickly
_UNKNOWN = pl.Series("", [None], pl.Float64())
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY_S = DAY_MS // 1000
# Bounds of stamps that Python's datetimes can show, as UTC milliseconds.
_FIRST_MS, _LAST_MS = to_ms(datetime.min), to_ms(datetime.max)


def empty_prices(timeframe: Timeframe) -> pl.DataFrame:
    """Return a frame without rows, with all columns and types."""
    schema = {_time(timeframe): _STAMP if timeframe.is_intraday else pl.Date()}
    schema |= dict.fromkeys(PRICES, pl.Float64())
    return pl.DataFrame(schema=schema | {"volume": pl.Int64(), _ADJUSTED: pl.Float64()})


def prices_frame(
    frame: pd.DataFrame,
    timeframe: Timeframe,
    *,
    is_share: bool,
    like: tuple[pd.DataFrame, pl.DataFrame] | None = None,
) -> pl.DataFrame:
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
        like: Another frame of this timeframe and what this function returned for it. If that frame
            has the same times, both results share one column of times.
    """
    if not len(frame):
        return empty_prices(timeframe)
    # Taking columns out of the frame, or a query of Polars, takes longer than all of this.
    names: Sequence[str] = _USUAL
    if not frame.columns.equals(_USUAL_INDEX):
        names = [name for name in (*_USUAL, _ADJUSTED) if name in frame]
        frame = frame[names]
    count, values = len(frame), frame.to_numpy(np.float64).T
    numbers = pl.Series("", values.reshape(-1))  # shares the memory of the frame
    columns = {
        name: numbers.slice(index * count, count).alias(name) for index, name in enumerate(names)
    }
    unknown = _UNKNOWN.new_from_index(0, count)
    if _ADJUSTED in columns:
        columns[_ADJUSTED] = pl.Series(_ADJUSTED, values[names.index(_ADJUSTED)], nan_to_null=True)
    else:
        columns[_ADJUSTED] = (unknown if is_share else columns["close"]).alias(_ADJUSTED)
    if "volume" in columns:
        columns["volume"] = _volumes(columns["volume"], values[names.index("volume")])
    else:  # a market without one, such as currencies
        columns["volume"] = unknown.alias("volume")
    if like is None or not _is_same(like[0].index, frame.index):
        times = _times(frame.index, timeframe)
        return pl.DataFrame([times, *(columns[name] for name in _VALUES)])
    shaped = like[1].clone()  # quicker than a new frame
    for index, name in enumerate(_VALUES, 1):
        shaped.replace_column(index, columns[name])
    return shaped


def _is_same(first: Any, second: Any) -> bool:
    """Return whether two time indexes are equal; faster than ``Index.equals``."""
    return first.unit == second.unit and np.array_equal(first.asi8, second.asi8)


def _times(index: Any, timeframe: Timeframe) -> pl.Series:
    """Convert an ascending time index to a column of times or, for daily and longer bars, dates."""
    stamps, per_second = index.asi8, _PER_SECOND[index.unit]
    if not timeframe.is_intraday:
        days = stamps // (per_second * _DAY_S)
        return pl.Series("date", days.astype(np.int32)).cast(pl.Date()).set_sorted()
    us = stamps // (per_second // 10**6) if per_second > 10**6 else stamps * (10**6 // per_second)
    return pl.Series("timestamp", us).cast(_STAMP).set_sorted()


def _volumes(column: pl.Series, volumes: NDArray[np.float64]) -> pl.Series:
    """Return volumes as integers if all are whole numbers below 2**53, otherwise as floats.

    Args:
        column: Volumes as a column, with NaN if unknown.
        volumes: The same values.
    """
    if np.isnan(volumes).any():
        return pl.Series("volume", volumes, nan_to_null=True)
    if not float(volumes[0]).is_integer():  # as in most columns of fractions
        return column
    with np.errstate(invalid="ignore"):
        whole = volumes.astype(np.int64)
    is_whole = (whole == volumes).all() and np.abs(whole).max() < 2**53
    return pl.Series("volume", whole) if is_whole else column


def has_inner_gap(provenance: Mapping[str, Any]) -> bool:
    """Return whether bars may be missing between the first and last bar of an answer.

    Args:
        provenance: Attributes of the answer, which list at most the first 64 gaps.
    """
    gaps, first, last = provenance["gaps"], provenance["first"], provenance["last"]
    return len(gaps) < provenance["gaps_total"] or any(
        first < gap["start"] < last for gap in gaps if gap["reason"] != UNASKED
    )


def checked_prices(
    frame: Any, timeframe: Timeframe, bounds: tuple[Any, Any], source: str, now_ms: int
) -> pl.DataFrame:
    """Check bars from a custom provider, and return them with the standard columns.

    Args:
        frame: Value that the provider returned: a Polars frame with ``date`` or ``timestamp`` and
            ``open high low close``. Naive timestamps are taken as UTC. A daily or longer bar gets
            the date of its timestamp in that timestamp's own time zone. ``volume`` and
            ``adj_close`` may be missing; they are then null.
        timeframe: Requested timeframe.
        bounds: Requested dates or times, both inclusive. A daily or longer bar may begin before
            them if it ends after the start.
        source: Name of the provider, for errors.
        now_ms: Current time, in UTC milliseconds.

    Raises:
        ResponseFormatError: The value is not such a frame, or has rows outside the bounds.
        QualityError: A row is not a valid bar, or a timestamp is repeated.
    """
    if not isinstance(frame, pl.DataFrame):
        raise ResponseFormatError(
            f"{source} returned a {type(frame).__module__}.{type(frame).__qualname__}, not a "
            "Polars frame",
            provider=source,
        )
    if not len(frame):
        return empty_prices(timeframe)
    time = next((name for name in ("timestamp", "date") if name in frame.columns), "")
    if not time:
        raise ResponseFormatError(
            f"{source} returned neither a date nor a timestamp column, only {', '.join(frame.columns)}",
            provider=source,
        )
    _check_columns(frame, time, source)
    try:
        checked_series(frame.drop([n for n in ("symbol",) if n in frame.columns]), now_ms)
    except QualityError as error:
        raise QualityError(f"{source}: {error.args[0]}", provider=source) from error
    absent = [name for name in ("volume", _ADJUSTED) if name not in frame.columns]
    rows = frame.with_columns(pl.lit(None, pl.Float64).alias(name) for name in absent)
    rows = _standard_rows(rows, time, timeframe)
    dates = rows[_time(timeframe)]
    stamps = dates.cast(_STAMP).dt.epoch("ms")
    if dates.is_duplicated().any():
        twice = stamps.filter(dates.is_duplicated())
        raise QualityError(
            f"{source} returned several rows for the {timeframe} bar of {iso(int(twice[0]))}",
            provider=source,
        )
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


def _check_columns(frame: pl.DataFrame, time: str, source: str) -> None:
    """Check that the timestamps are valid dates and that ``adj_close`` contains finite numbers.

    Raises:
        ResponseFormatError: A timestamp is outside the years 1 to 9999, or ``adj_close`` is not
            numeric.
        QualityError: An ``adj_close`` is infinite.
    """
    dtype = frame.schema[time]
    if isinstance(dtype, pl.Date | pl.Datetime):
        is_date = dtype == pl.Date
        stamps = frame[time].cast(pl.Int64) * DAY_MS if is_date else frame[time].dt.epoch("ms")
        if not stamps.is_between(_FIRST_MS, _LAST_MS).all():
            raise ResponseFormatError(
                f"{source} returned stamps outside the years 1 to 9999", provider=source
            )
    adjusted = frame.schema.get(_ADJUSTED, pl.Null())
    if not (adjusted.is_numeric() or adjusted == pl.Null):
        raise ResponseFormatError(
            f"{source} returned {_ADJUSTED} as {adjusted}, not as a number", provider=source
        )
    if _ADJUSTED in frame.columns and frame[_ADJUSTED].cast(pl.Float64).is_infinite().any():
        raise QualityError(f"{source} returned an infinite {_ADJUSTED}", provider=source)


def _time(timeframe: Timeframe) -> str:
    return "timestamp" if timeframe.is_intraday else "date"


def _standard_rows(rows: pl.DataFrame, time: str, timeframe: Timeframe) -> pl.DataFrame:
    """Return the rows sorted by time, with the columns in standard order and types."""
    stamps, dtype = pl.col(time), rows.schema[time]
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        stamps = stamps.dt.convert_time_zone("UTC") if timeframe.is_intraday else stamps
        stamps = stamps.dt.replace_time_zone(None)
    stamps = stamps.cast(_STAMP)
    stamps = stamps if timeframe.is_intraday else stamps.dt.date()
    volume = pl.col("volume").cast(pl.Float64).fill_nan(None)
    if rows.schema["volume"].is_integer():
        exact = rows["volume"].cast(pl.Int64, strict=False)
        volume = volume if exact.null_count() else pl.col("volume").cast(pl.Int64)
    else:
        known = rows.select(volume.alias("volume"))["volume"]
        is_whole = (known == known.floor()) & (known.abs() < 2.0**53)
        volume = volume if known.null_count() or not is_whole.all() else volume.cast(pl.Int64)
    floats = [pl.col(name).cast(pl.Float64) for name in PRICES]
    adjusted = pl.col(_ADJUSTED).cast(pl.Float64).fill_nan(None)
    return rows.select(stamps.alias(_time(timeframe)), *floats, volume, adjusted).sort(
        _time(timeframe)
    )
