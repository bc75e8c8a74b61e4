"""Parses the columns of a file of bars at once; files that need more are parsed row by row."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from ...calendars.localtime import local_to_utc
from ...model.market.bars import BarTable, Stamps, distinct
from ...model.time.instant import DAY_MS, HOUR_MS
from ...model.time.timeframe import Timeframe
from .carrier import read_columns

# Times that are parsed as a column: ISO 8601, with the same parts in each row.
_ISO = re.compile(r"\d{4}-\d\d-\d\d(?:([T ])\d\d:\d\d(:\d\d)?(\.\d{1,9})?(Z|[+-]\d\d:?\d\d)?)?")
# Numbers of seconds, and of milliseconds, since 1970; shorter and longer ones may be dates.
_EPOCHS: Final = {10: 1000, 13: 1}
_VALUES: Final = ("open", "high", "low", "close", "volume", "adj_close")


class Columns(NamedTuple):
    """A file of bars.

    Attributes:
        body: Content of the file.
        header: Names of all columns.
        delimiter: Field separator.
        at: Maps each of this library's names (``timestamp``, ``open``, ``symbol`` and so on) to the
            position of its column.
        first_time: Time in the first row, as it is written.
        zone: Time zone of naive times.
    """

    body: bytes
    header: list[str]
    delimiter: str
    at: Mapping[str, int]
    first_time: str
    zone: ZoneInfo

    def table(self, timeframe: Timeframe, symbols: Collection[str]) -> BarTable | None:
        """Return the bars of all rows, in their order; None if the rows must be parsed one by one.

        That is necessary to name the line of an invalid row, and for times in other formats, in
        several time zones, or repeated by a clock change.

        Args:
            timeframe: Timeframe of the bars; weeks and months are parsed row by row.
            symbols: Spellings of the symbol in lowercase, if a column contains the symbols.
        """
        if timeframe.unit in "wM" or not {"clock", "filled"}.isdisjoint(self.at):
            return None
        format_text, scale = _time_format(self.first_time), _EPOCHS.get(len(self.first_time), 0)
        if format_text is None and not (scale and self.first_time.isdecimal()):
            return None
        frame = self._frame(format_text)
        if frame is None:
            return None
        values = [frame[self.at[name]] if name in self.at else None for name in _VALUES]
        columns = [
            np.full(len(frame), np.nan) if column is None else column.to_numpy(np.float64)
            for column in values
        ]
        # A missing value is an empty field, or that of a row with too few fields.
        present = [c for c, value in zip(columns, values, strict=True) if value is not None]
        if any(np.isnan(column).any() for column in present) and not self._is_regular():
            return None
        times = frame[self.at["timestamp"]]
        stamps = (
            _epoch_stamps(times.to_numpy(np.int64), scale, timeframe, self.zone)
            if format_text is None
            else _stamps(times, timeframe, self.zone)
        )
        if stamps is None:
            return None
        adj_close = None if values[5] is None or np.isnan(columns[5]).all() else columns[5]
        table = BarTable.of_columns(stamps, columns[:5], adj_close)
        return table if "symbol" not in self.at else table.take(self._are_of(frame, symbols))

    def _frame(self, time_format: str | None) -> Any:
        """Return the rows as a frame with a column for each position; None if a row is not regular."""
        import pandas as pd

        places, time = range(len(self.header)), self.at["timestamp"]
        numbers = [self.at[name] for name in _VALUES if name in self.at]
        types: dict[int, Any] = dict.fromkeys(numbers, "float64")
        if "symbol" in self.at:
            types[self.at["symbol"]] = "category"
        if time in types:
            return None
        if time_format is None:
            types[time] = "int64"
        try:
            frame = read_columns(self.body, self.delimiter, places, types, numbers)
            # Rows with more fields than the header have made the first columns an index.
            is_regular = isinstance(frame.index, pd.RangeIndex)
            if time_format is not None and (
                is_regular := is_regular and not _is_number(frame[time])
            ):
                frame[time] = pd.to_datetime(frame[time], format=time_format)
        except (ValueError, OverflowError):
            return None
        return frame if is_regular else None

    def _is_regular(self) -> bool:
        """Return whether each line has as many fields as the header."""
        text = np.frombuffer(self.body.rstrip(b"\r\n") + b"\n", np.uint8)
        lines = np.flatnonzero(text == ord("\n"))
        counts = np.diff(np.flatnonzero(text == ord(self.delimiter)).searchsorted(lines), prepend=0)
        return b'"' not in self.body and bool((counts == len(self.header) - 1).all())

    def _are_of(self, frame: Any, symbols: Collection[str]) -> Any:
        cells = frame[self.at["symbol"]].cat
        wanted = [str(name).strip().casefold() in symbols for name in cells.categories]
        return np.append(wanted, False)[cells.codes.to_numpy()]


def _is_number(column: Any) -> bool:
    return column.dtype.kind in "iufb"


def _time_format(text: str) -> str | None:
    """Return the format of a time that has the form of ISO 8601, or None."""
    if (parts := _ISO.fullmatch(text)) is None:
        return None
    mark, seconds, fraction, zone = parts.groups()
    clock = f"{mark}%H:%M{':%S' if seconds else ''}" if mark else ""
    return f"%Y-%m-%d{clock}{'.%f' if fraction else ''}{'%z' if zone else ''}"


def _stamps(times: Any, timeframe: Timeframe, zone: ZoneInfo) -> Stamps | None:
    """Return parsed times as timestamps of bars; None if their order or date needs more than that."""
    import pandas as pd

    if not isinstance(times.dtype, pd.DatetimeTZDtype) and times.dtype.kind != "M":
        return None
    if times.isna().any():
        return None
    is_naive = times.dt.tz is None
    wall: Stamps = times.dt.tz_localize(None).astype("datetime64[ms]").to_numpy().astype(np.int64)
    if not timeframe.is_intraday:
        return None if (wall % DAY_MS).any() else wall
    if not is_naive:
        utc = times.dt.tz_convert("UTC").dt.tz_localize(None).astype("datetime64[ms]")
        return utc.to_numpy().astype(np.int64)  # type: ignore[no-any-return]
    if zone.key == "UTC":
        return wall
    stamps = _in_utc(wall, zone)
    steps = np.diff(stamps)
    return stamps if (steps > 0).all() or (steps < 0).all() else None


def _epoch_stamps(
    numbers: Stamps, scale: int, timeframe: Timeframe, zone: ZoneInfo
) -> Stamps | None:
    """Return numbers of seconds or milliseconds as timestamps of bars; None if some may be dates."""
    digits = next(width for width, factor in _EPOCHS.items() if factor == scale)
    if len(numbers) and not 10 ** (digits - 1) <= numbers.min() <= numbers.max() < 10**digits:
        return None
    stamps = numbers * scale
    is_of_days = not timeframe.is_intraday
    return None if is_of_days and (zone.key != "UTC" or (stamps % DAY_MS).any()) else stamps


def _in_utc(wall: Stamps, zone: ZoneInfo) -> Stamps:
    """Convert wall times to UTC; a repeated one is its first occurrence."""
    hours = wall // HOUR_MS
    once = distinct(hours)
    # The offset changes at most once an hour.
    first, last = (
        np.array([at - local_to_utc(zone, at) for at in (once * HOUR_MS + plus).tolist()], np.int64)
        for plus in (0, HOUR_MS - 1)
    )
    places = once.searchsorted(hours)
    stamps: Stamps = wall - first[places]
    for row in np.flatnonzero((first != last)[places]).tolist():
        stamps[row] = local_to_utc(zone, int(wall[row]))
    return stamps
