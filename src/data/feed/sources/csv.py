"""Bars out of a CSV file of the user's, whatever its columns are called."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...model.bars import PRICES

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("onetape.feed")

_TIME_COLUMNS = ("timestamp", "open_time", "close_time", "Date", "Time", "date", "time")
# Seconds since 1970 stay below it until the year 5138, milliseconds were above it from 1973 on.
_MS_FROM = 10**11


@dataclass(frozen=True)
class CsvColumns:
    """How a file is laid out.

    Attributes:
        datetime_col: the column of the stamps; where it is not there, a usual name is looked for.
        open_col, high_col, low_col, close_col, volume_col: the columns of the values.
        openinterest_col: that of the open interest, or None.
        separator: between columns.
        datetime_format: ``strptime`` format; ISO 8601 and epoch seconds or milliseconds need none.
        timezone: what stamps without a zone mean; UTC where it is not said.
        reverse: whether the newest row stands first: of rows with one stamp the newest counts.
    """

    datetime_col: str | None = "datetime"
    open_col: str = "open"
    high_col: str = "high"
    low_col: str = "low"
    close_col: str = "close"
    volume_col: str = "volume"
    openinterest_col: str | None = None
    separator: str = ","
    datetime_format: str | None = None
    timezone: str | None = None
    reverse: bool = False

    def values(self) -> Iterator[tuple[str, str]]:
        """Yield our names and the file's."""
        for name in (*PRICES, "volume"):
            yield name, getattr(self, f"{name}_col")


def read_csv_bars(path: str | Path, columns: CsvColumns | None = None) -> pd.DataFrame:
    """Return the bars of a file on a naive UTC ``timestamp`` index, ascending, each stamp once.

    Columns: ``open high low close volume openinterest``. Rows without a price are left out, with a
    warning in the log; rows whose high or low do not fit are kept, with one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no CSV, a column is missing, a stamp is no time, or no bar is in it.
    """
    import pandas as pd

    laid_out = columns or CsvColumns()
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no CSV file {path}")
    try:
        raw = pd.read_csv(path, sep=laid_out.separator, skipinitialspace=True)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as exc:
        raise ValueError(f"{path} cannot be read as CSV: {str(exc)[:200]}") from exc
    frame = _renamed(raw, laid_out, path)
    frame.index = _stamps(raw[_time_column(raw, laid_out, path)], laid_out, path)
    return _checked(frame.iloc[::-1] if laid_out.reverse else frame, path)


def _renamed(raw: pd.DataFrame, columns: CsvColumns, path: str | Path) -> pd.DataFrame:
    import pandas as pd

    missing = [f"{theirs} ({ours})" for ours, theirs in columns.values() if theirs not in raw]
    if missing:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}; it has {_names(raw)}")
    found = {ours: pd.to_numeric(raw[theirs], errors="coerce") for ours, theirs in columns.values()}
    interest = columns.openinterest_col
    if interest is not None and interest not in raw:
        raise ValueError(f"{path} lacks the column {interest}; it has {_names(raw)}")
    there = 0.0 if interest is None else pd.to_numeric(raw[interest], errors="coerce").fillna(0.0)
    return pd.DataFrame(found, dtype="float64").assign(openinterest=there)


def _time_column(raw: pd.DataFrame, columns: CsvColumns, path: str | Path) -> str:
    for name in (columns.datetime_col or "datetime", *_TIME_COLUMNS):
        if name in raw:
            return name
    raise ValueError(
        f"{path} lacks a column of times: there is no {columns.datetime_col}, nor one of "
        f"{', '.join(_TIME_COLUMNS)}; it has {_names(raw)}"
    )


def _stamps(said: Any, columns: CsvColumns, path: str | Path) -> pd.DatetimeIndex:
    """Return the stamps as naive UTC."""
    import pandas as pd

    try:
        if pd.api.types.is_numeric_dtype(said) and columns.datetime_format is None:
            factor = 1 if (said >= _MS_FROM).all() else 1000
            return _index(pd.to_datetime((said * factor).round().astype("int64"), unit="ms"))
        text = said.astype(str) if columns.datetime_format else said
        if columns.timezone is None:
            return _index(pd.to_datetime(text, format=columns.datetime_format, utc=True))
        times = pd.DatetimeIndex(pd.to_datetime(text, format=columns.datetime_format))
        return _index(times.tz_localize(columns.timezone) if times.tz is None else times)
    except (ValueError, TypeError, OverflowError, KeyError) as exc:
        raise ValueError(f"{path}: {said.name} does not hold times: {str(exc)[:200]}") from exc


def _index(times: Any) -> pd.DatetimeIndex:
    import pandas as pd

    index = pd.DatetimeIndex(times, name="timestamp")
    if index.tz is not None:
        index = index.tz_convert("UTC").tz_localize(None)
    return index.as_unit("ns")


def _checked(frame: pd.DataFrame, path: str | Path) -> pd.DataFrame:
    import numpy as np

    prices = frame[list(PRICES)].to_numpy(np.float64)
    sound = np.asarray(frame.index.notna()) & np.isfinite(prices).all(axis=1)
    if lacking := int((~sound).sum()):
        log.warning("%s: %d of %d rows are left out: a price is missing", path, lacking, len(frame))
    kept: pd.DataFrame = frame[sound].sort_index(kind="stable")
    kept = kept.loc[~kept.index.duplicated(keep="last")]
    if kept.empty:
        raise ValueError(f"{path} holds no bar")
    ends = kept[list(PRICES)]
    odd = (kept["high"] < ends.max(axis=1)) | (kept["low"] > ends.min(axis=1))
    if odd.any():
        log.warning(
            "%s: high or low do not fit in %d rows, first %s", path, odd.sum(), odd.idxmax()
        )
    return kept


def _names(raw: pd.DataFrame) -> str:
    return ", ".join(map(str, raw.columns[:20]))
