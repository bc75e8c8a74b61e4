"""The readers of a bundle's daily and minute bars: they find files by range, and read their rows.

All rows of an answer are read from the same state of the bundle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pandas as pd

from ...core.disk.files import Disk
from ...core.runtime.lru_cache import LruCache
from ...errors import BadRangeError, BundleNotFoundError, DataError, QueryError
from ..frames.aggregation import bars_of_groups
from ..frames.frames import (
    FIELDS,
    PRICE,
    WIDE_VOLUME,
    Frequency,
    get_schema_for_frequency,
    pl,
    time_column,
)
from .bundle import repair
from .bundle_files import BundleFiles
from .bundle_records import UNREADABLE, Records
from .partitions import FOLDERS, chosen, last_day

__all__ = [
    "ParquetReader",
    "PolarsParquetDailyReader",
    "PolarsParquetMinuteReader",
    "bound_of",
    "narrowed",
]

T = TypeVar("T")
Bound = date | datetime | None

_MOST_CACHED = 256
# Volumes of this size or more do not fit into 18 digits.
_FIRST_WIDE_VOLUME = 10**10


class _Question(NamedTuple):
    """A checked query: its sids, fields and bounds, and the columns of its answer."""

    sids: list[int]
    low: Bound
    high: Bound
    schema: dict[str, pl.DataType]


class ParquetReader:
    """Reads the bars of one frequency in a bundle. Thread-safe.

    Only the range determines which files are opened: files for other months (or days, for minute
    bars) are ignored, whatever they contain. Each answer includes a change by another process
    either completely or not at all. If a file in the range is damaged or missing, a bundle made from
    the store is made again from the stored bars of ``get_data_manager()``, with a warning.
    """

    frequency: Frequency

    def __init__(
        self,
        parquet_dir: str | PathLike[str],
        enable_cache: bool = True,
        *,
        disk: Disk | None = None,
    ) -> None:
        path = Path(parquet_dir).absolute()
        self.parquet_dir = str(parquet_dir)
        root = path.parent if path.name == FOLDERS[self.frequency] else path
        self._files = BundleFiles(root, disk)
        self._time = time_column(self.frequency)
        self._cache = LruCache(_MOST_CACHED) if enable_cache else None

    # --- frames ----------------------------------------------------------------------------

    def load_raw_arrays(
        self,
        sids: Sequence[int],
        fields: Sequence[str],
        start_date: Any,
        end_date: Any,
    ) -> pl.LazyFrame:
        """Return bars as a lazy frame: time, ``sid`` and the fields, sorted by sid and time.

        The files are read when the frame is collected, with only the columns and the filter of the
        query. A field that older files lack is null in their rows; a sid without bars has no rows.

        Args:
            sids: Numbers of the series; if empty, no rows are returned.
            fields: ``open high low close volume`` (Decimal), or further columns of the files.
            start_date, end_date: Bounds, inclusive: a date, or anything pandas accepts as one (for
                daily bars, the date in its own time zone). For minute bars, an instant (naive means
                UTC), or a date for the whole UTC day. None means no bound.

        Raises:
            QueryError: A sid is not a number, a field is unknown, or the range is invalid.
            BundleNotFoundError: The bundle has no files of this frequency.
            BundleError: A file is damaged, and cannot be made again (raised when the frame is
                collected).
            FormatVersionError: A newer version of this library wrote a file.
        """
        question = self._question(sids, fields, start_date, end_date)

        def rows(
            columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _: int | None
        ) -> Iterator[pl.DataFrame]:
            """Yield the rows that the files contain when the frame is collected."""
            yield self._rows(question, lambda frame: narrowed(frame, columns, predicate, n_rows))

        return pl.io.plugins.register_io_source(rows, schema=question.schema)

    def collect(
        self,
        fields: Sequence[str],
        low: Bound,
        high: Bound,
        query: Callable[[Records, pl.LazyFrame], pl.LazyFrame],
    ) -> pl.DataFrame:
        """Return the collected result of a query, in one state of the bundle.

        Args:
            fields: Fields of the rows, as for :meth:`load_raw_arrays`.
            low, high: Bounds of the rows, inclusive, with the type of the time column.
            query: Function that returns the lazy result, given the records and the rows. Polars
                reads only the rows and columns that it needs.

        Raises:
            DataError: See :meth:`load_raw_arrays`.
        """
        time = pl.col(self._time)
        bounds = [] if low is None else [time >= low]
        bounds += [] if high is None else [time <= high]

        def read(records: Records, paths: list[Path]) -> pl.DataFrame:
            """Return the result of the query on the files at these paths."""
            schema = self._schema(records, paths, fields)
            frame = self._scanned(records, self._files.check(records, paths), schema)
            return query(records, frame.filter(*bounds) if bounds else frame).collect()

        return self._read(read, low, high)

    def paths(self) -> list[Path]:
        """Return the current paths of the files, all of which exist, sorted by their partitions."""
        return self._read(self._files.check, None, None)

    def _load(
        self, sids: Sequence[int], start: Any, end: Any, fields: Sequence[str] | None
    ) -> pl.DataFrame:
        # Not through the lazy frame: some versions of Polars replace this library's errors with
        # their own.
        return self._rows(self._question(sids, FIELDS if fields is None else fields, start, end))

    def _question(
        self, sids: Sequence[int], fields: Sequence[str], start: Any, end: Any
    ) -> _Question:
        numbers = _sids(sids)
        low, high = (
            bound_of(start, self.frequency),
            bound_of(end, self.frequency, is_last=True),
        )
        if low is not None and high is not None and low > high:
            raise BadRangeError(f"the start is after the end: {start} to {end}")
        names = list(dict.fromkeys(fields))
        schema = self._read(lambda records, paths: self._schema(records, paths, names), low, high)
        return _Question(numbers, low, high, schema)

    def _rows(
        self, question: _Question, query: Callable[[pl.LazyFrame], pl.LazyFrame] | None = None
    ) -> pl.DataFrame:
        """Return the rows that the files contain now, or the result of a query of them."""
        sids, low, high, schema = question
        # A list of Python's numbers takes Polars 50 times as long as one value that is a list.
        is_chosen = pl.col("sid").is_in(pl.Series(sids, dtype=pl.Int64).implode())

        def whole(_: Records, frame: pl.LazyFrame) -> pl.LazyFrame:
            """Return the rows of the chosen series; another program may have widened the volumes."""
            rows = frame.filter(is_chosen).cast(dict(schema))
            return rows if query is None else query(rows)

        return self.collect([*schema][2:], low, high, whole)

    def _scanned(
        self, records: Records, paths: list[Path], schema: dict[str, pl.DataType]
    ) -> pl.LazyFrame:
        """Return some columns of files as a lazy frame, sorted by sid and time."""
        if not paths:
            return pl.LazyFrame(schema=schema)
        if not records.origin.commit:
            rows = [pl.LazyFrame(schema=schema), *(self._file(records, path) for path in paths)]
            return pl.concat(rows, how="diagonal").select(*schema).sort("sid", self._time)
        frame = pl.scan_parquet(
            paths, schema=schema, extra_columns="ignore", missing_columns="insert", glob=False
        )
        return frame.sort("sid", self._time) if len(paths) > 1 else frame  # each file is sorted

    def _file(self, records: Records, path: Path) -> pl.LazyFrame:
        """Return one file as a lazy frame; prices in another program's file may be floats."""
        frame = pl.scan_parquet(path, glob=False)
        if records.origin.commit:
            return frame
        types, present = get_schema_for_frequency(self.frequency), frame.collect_schema()
        types["volume"] = WIDE_VOLUME if records.origin.wide_volume else PRICE
        return frame.cast({name: dtype for name, dtype in types.items() if name in present})

    def _daily(self, sids: Sequence[int], start: Any, end: Any) -> pl.DataFrame:
        """Return a daily bar for each series and file of minute bars; a file contains one day."""
        low, high = bound_of(start, self.frequency), bound_of(end, self.frequency)
        days = low and _day(low), high and _day(high)
        numbers, first, last, _ = self._question(sids, FIELDS, *days)

        def daily(_: Records, frame: pl.LazyFrame) -> pl.LazyFrame:
            """Return one bar for each series and day."""
            day = pl.col(self._time).dt.date().alias("date")
            # Other series are filtered out later, when there are fewer rows.
            bars = frame.group_by("sid", day).agg(bars_of_groups())
            return bars.filter(pl.col("sid").is_in(numbers)).sort("sid", "date")

        frame = self.collect(FIELDS, first, last, daily)
        fits = (frame["volume"].abs().max() or 0) < _FIRST_WIDE_VOLUME
        return frame.cast({"volume": PRICE if fits else WIDE_VOLUME})

    # --- single values ---------------------------------------------------------------------

    def get_value(self, sid: int, dt: Any, field: str) -> Decimal | None:
        """Return one value, or None if there is no bar or the bar has no value in the field.

        Args:
            sid: Number of the series.
            dt: Day, or the opening time of the minute bar; naive means UTC.
            field: See :meth:`load_raw_arrays`.

        Raises:
            QueryError, BundleError: See :meth:`load_raw_arrays`.
        """
        (number,) = _sids([sid])
        bound = bound_of(dt, self.frequency)
        if bound is None:
            raise BadRangeError("a single value needs a time, not None")
        for path in self._read(lambda _, paths: paths, bound, bound):
            row = self._rows_in(path, number).filter(pl.col(self._time) == bound)
            if field in row.columns and len(row):
                value: Decimal | None = row[field][0]
                return value
        self._question([sid], [field], bound, bound)  # an unknown field is an error
        return None

    def load_spot_value(
        self, sids: Sequence[int], target_date: Any, field: str = "close"
    ) -> pl.DataFrame:
        """Return ``sid`` and the field at one time, omitting sids without a bar at that time."""
        bound = bound_of(target_date, self.frequency)
        return self._rows(self._question(sids, [field], bound, bound)).select("sid", field)

    def get_last_traded_dt(self, asset_sid: int, dt: Any) -> pd.Timestamp | None:
        """Return the time of the latest bar, up to ``dt``, in which the series traded, or None.

        A bar without a close, or with a volume of 0, is not a trade.

        Args:
            asset_sid: Number of the series.
            dt: Latest day or instant to consider.

        Returns:
            Midnight of the day, or the opening time of the minute bar, as naive UTC.
        """
        (number,) = _sids([asset_sid])
        high = bound_of(dt, self.frequency, is_last=True)
        return self._bar_near(number, high, (pl.col("volume").is_null() | (pl.col("volume") > 0)))

    def _bar_near(
        self, sid: int, high: date | datetime | None, traded: pl.Expr, *, is_first: bool = False
    ) -> pd.Timestamp | None:
        """Return the time of the last bar up to ``high`` (the first bar if ``is_first``), or None.

        Only bars that have a close and meet the condition ``traded`` are considered. Files are read
        one at a time until such a bar is found.
        """
        places = self._read(lambda _, paths: paths, None, high)
        for path in places if is_first else reversed(places):
            rows = self._rows_in(path, sid)
            rows = rows.filter(pl.col("close").is_not_null() & traded)
            rows = rows if high is None else rows.filter(pl.col(self._time) <= high)
            if len(rows):
                return pd.Timestamp(rows[self._time].min() if is_first else rows[self._time].max())
        return None

    @property
    def timeframe(self) -> str | None:
        """The timeframe of the bars, such as ``5m``; None if the files do not contain it.

        Raises:
            BundleError: A file is damaged.
            FormatVersionError: A newer version of this library wrote the bundle.
        """
        return self._files.records().origin.resolutions.get(self.frequency)

    @property
    def generation(self) -> int:
        """A number that changes with each change to the bundle.

        A cache of this reader's frames uses it to notice that they are outdated.

        Raises:
            StorageError: The bundle's folder cannot be read.
        """
        state = repr(self._files.moment()).encode()
        return int.from_bytes(hashlib.sha256(state).digest()[:6], "big")

    def clear_cache(self) -> None:
        """Drop the rows kept in memory for single values; they are read again when needed."""
        if self._cache is not None:
            self._cache = LruCache(_MOST_CACHED)

    # --- files -----------------------------------------------------------------------------

    def _read(self, read: Callable[[Records, list[Path]], T], low: Bound, high: Bound) -> T:
        """Return the result of ``read`` on the files of a range, in one state of the bundle.

        If a file is damaged, the bundle is made again, or the error names the file.
        """
        days = low and _day(low), high and _day(high)
        places: list[str] = []

        def attempt(records: Records) -> T:
            """Read the files that the bundle has now."""
            places[:] = chosen(records.files, self.frequency, *days)
            return read(records, [self._files.path / place for place in places])

        try:
            return self._files.whole(attempt)
        except DataError:
            raise
        except UNREADABLE as exc:
            repair(self._files, places, exc)
        return self._files.whole(attempt)

    def _schema(
        self, records: Records, paths: Sequence[Path], fields: Sequence[str]
    ) -> dict[str, pl.DataType]:
        """Return the result's columns; further columns are looked up in the files in the range."""
        if not paths and not chosen(records.files, self.frequency):
            raise BundleNotFoundError(
                f"{self._files.path} has no {FOLDERS[self.frequency]}",
                hint="`onetape bundle list` shows the bundles and their contents",
            )
        schema = get_schema_for_frequency(self.frequency)
        schema["volume"] = WIDE_VOLUME if records.origin.wide_volume else PRICE
        for path in paths if not set(fields) <= schema.keys() else ():
            schema = {**pl.read_parquet_schema(path), **schema}
        for name in fields:
            if name not in schema:
                if paths:
                    raise self._field_error(name)
                schema[name] = pl.Null()
        return {name: schema[name] for name in (self._time, "sid", *fields)}

    def _rows_in(self, path: Path, sid: int) -> pl.DataFrame:
        """Return a series' rows from one file; they stay in memory until the bundle changes."""
        place = path.relative_to(self._files.path).as_posix()

        def read(records: Records, paths: list[Path]) -> pl.DataFrame:
            """Return the rows of the series, from memory if the file is unchanged."""
            if path not in paths:  # another process has just removed it
                return pl.DataFrame(schema=get_schema_for_frequency(self.frequency))
            key = place, records.files[place].sha256, sid
            rows: pl.DataFrame | None = None if self._cache is None else self._cache.get(key)
            if rows is None:
                self._files.check(records, [path])
                rows = self._file(records, path).filter(pl.col("sid") == sid).collect()
                if self._cache is not None:
                    self._cache.put(key, rows, 1)
            return rows

        return self._read(read, last_day(place), last_day(place))

    # --- arguments -------------------------------------------------------------------------

    def _field_error(self, field: str) -> QueryError:
        return QueryError(
            f"bundle {self._files.path.name} has no field {field!r}",
            hint=f"use one of {', '.join(FIELDS)}, or another column that was written",
        )


def narrowed(
    frame: pl.LazyFrame, columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None
) -> pl.LazyFrame:
    """Return the part of a frame that Polars asks a source for: its arguments of a query."""
    frame = frame if n_rows is None else frame.head(n_rows)  # counted before they are filtered
    frame = frame if predicate is None else frame.filter(predicate)
    return frame if columns is None else frame.select(columns)


def _day(value: date | datetime) -> date:
    return value.date() if isinstance(value, datetime) else value


def bound_of(value: Any, frequency: Frequency, *, is_last: bool = False) -> date | datetime | None:
    """Return a bound with the type of the time column: a date, or a naive time in UTC.

    Args:
        value: A date, or anything pandas accepts as one; None means no bound. For daily bars, a
            time means its date in its own time zone.
        frequency: Frequency of the bars.
        is_last: Whether a date means the end of the day for minute bars.

    Raises:
        BadRangeError: The value is not a time.
    """
    if value is None:
        return None
    try:
        stamp = pd.Timestamp(value)
    except (ValueError, TypeError, OverflowError) as exc:
        raise BadRangeError(f"invalid time {value!r}") from exc
    if pd.isna(stamp):
        raise BadRangeError("invalid time NaT")
    if frequency == "daily":
        return stamp.date()
    if stamp.tzinfo is not None:
        stamp = stamp.tz_convert("UTC").tz_localize(None)
    is_day = (isinstance(value, date) and not isinstance(value, datetime)) or (
        isinstance(value, str) and len(value.strip()) == 10
    )
    if is_last and is_day:
        stamp += pd.Timedelta(days=1) - pd.Timedelta(microseconds=1)
    return stamp.floor("us").to_pydatetime(warn=False)


def _sids(sids: Sequence[int]) -> list[int]:
    """Return series numbers as plain integers."""
    numbers = list(sids)
    for sid in numbers:
        if isinstance(sid, bool) or not hasattr(sid, "__index__"):
            raise QueryError(
                f"invalid series number {sid!r}", hint="use an integer, as in the column sid"
            )
    return [int(sid) for sid in numbers]


class PolarsParquetDailyReader(ParquetReader):
    """Reads a bundle's daily bars, with columns ``date``, ``sid`` and Decimals. Thread-safe.

    Args:
        parquet_dir: Folder of the bundle, or its ``daily_bars`` folder.
        enable_cache: Whether to keep a series in memory, until its file changes, after a single
            value was read from it.
        disk: File access; None is the file system.
    """

    frequency = "daily"

    def load_daily_bars(
        self,
        sids: Sequence[int],
        start_date: Any,
        end_date: Any,
        fields: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """Return the collected result of :meth:`load_raw_arrays`; by default, all five fields."""
        return self._load(sids, start_date, end_date, fields)

    def get_first_available_date(self, sid: int) -> pd.Timestamp | None:
        """Return the day of the first bar in a series, or None if the series is empty."""
        return self._bar_near(sid, None, pl.lit(True), is_first=True)

    def get_last_available_date(self, sid: int) -> pd.Timestamp | None:
        """Return the day of the last bar in a series, or None if the series is empty."""
        return self._bar_near(sid, None, pl.lit(True))


class PolarsParquetMinuteReader(ParquetReader):
    """Reads a bundle's minute bars, with columns ``timestamp`` (UTC), ``sid`` and Decimals.

    Thread-safe.

    Args:
        parquet_dir: Folder of the bundle, or its ``minute_bars`` folder.
        enable_cache: Whether to keep a series in memory, until its file changes, after a single
            value was read from it.
        disk: File access; None is the file system.
    """

    frequency = "minute"

    def load_minute_bars(
        self,
        sids: Sequence[int],
        start_dt: Any,
        end_dt: Any,
        fields: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """Return the collected result of :meth:`load_raw_arrays`; by default, all five fields."""
        return self._load(sids, start_dt, end_dt, fields)

    def load_trading_day(
        self, sids: Sequence[int], day: date | str, fields: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """Return the bars of one UTC day."""
        moment = pd.Timestamp(day).date()
        return self._load(sids, moment, moment, fields)

    def load_daily_bars(
        self,
        sids: Sequence[int],
        start_date: Any,
        end_date: Any,
        fields: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """Return a daily bar for each series and UTC day, built from the minute bars.

        A day without minute bars has no bar. The open is the first open that is not null, the close
        is the last close, and the volume is the sum. For sessions that cross midnight UTC, use the
        portal, which has a calendar.

        Args:
            sids: Numbers of the series.
            start_date, end_date: Days, inclusive; an instant means its UTC day. None means no bound.
            fields: Some of ``open high low close volume``; None means all.

        Returns:
            ``date``, ``sid`` and the fields, sorted by sid and date; the volume is ``Decimal(38,
            8)`` if a value does not fit into 18 digits.

        Raises:
            QueryError, BundleNotFoundError, BundleError, FormatVersionError: See
                :meth:`load_raw_arrays`.
        """
        names = FIELDS if fields is None else tuple(dict.fromkeys(fields))
        if wrong := [name for name in names if name not in FIELDS]:
            raise QueryError(
                f"unknown bar field {wrong[0]!r}",
                hint=f"use one of {', '.join(FIELDS)}",
            )
        return self._daily(sids, start_date, end_date).select("date", "sid", *names)

    def get_first_available_datetime(self, sid: int) -> pd.Timestamp | None:
        """Return the opening time of the first bar in a series, or None if the series is empty."""
        return self._bar_near(sid, None, pl.lit(True), is_first=True)

    def get_last_available_datetime(self, sid: int) -> pd.Timestamp | None:
        """Return the opening time of the last bar in a series, or None if the series is empty."""
        return self._bar_near(sid, None, pl.lit(True))
