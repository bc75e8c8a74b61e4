"""The common part of the daily and minute readers: finds files by range, and reads their rows.

All rows of an answer are read from the same state of the bundle.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pandas as pd
from polars.io.plugins import register_io_source

from ..disk.files import Disk, FileState
from ..errors import BadRangeError, BundleNotFoundError, DataError, QueryError
from ..layer.aggregation import bars_of_groups
from ..layer.frames import (
    FIELDS,
    PRICE,
    WIDE_VOLUME,
    Frequency,
    get_schema_for_frequency,
    pl,
    time_column,
)
from ..lru_cache import LruCache
from .bundle_records import UNREADABLE, check_rows, origin_of
from .commit import BundleFiles
from .parquet_writer import damaged
from .partitions import FOLDERS, last_day, partitions

__all__ = ["ParquetReader", "bound_of", "narrowed"]

T = TypeVar("T")

_MOST_CACHED = 256
# Volumes of this size or more do not fit into 18 digits.
_FIRST_WIDE_VOLUME = 10**10
_Pending = dict[str, str | None]
_PathOf = Callable[[str], Path]


class _Question(NamedTuple):
    """A checked query: its sids, fields and bounds, and the columns of its answer."""

    sids: list[int]
    fields: list[str]
    low: date | datetime | None
    high: date | datetime | None
    schema: dict[str, pl.DataType]


class ParquetReader:
    """Reads the bars of one frequency in a bundle. Thread-safe; writes nothing.

    Only the range determines which files are opened: files for other months (or days, for minute
    bars) are ignored, whatever they contain. Each answer includes a change by another process
    either completely or not at all.
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
        self._sound: dict[Path, FileState | None] = {}
        self._known: tuple[Any, str | None] | None = None

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
            BundleError: A file is damaged (raised when the frame is collected).
            FormatVersionError: A newer version of this library wrote a file.
        """
        question = self._question(sids, fields, start_date, end_date)

        def rows(
            columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _: int | None
        ) -> Iterator[pl.DataFrame]:
            """Yield the rows that the files contain when the frame is collected."""
            yield self._rows(question, lambda frame: narrowed(frame, columns, predicate, n_rows))

        return register_io_source(rows, schema=question.schema)

    def read(
        self,
        sids: Sequence[int],
        fields: Sequence[str],
        start_date: Any,
        end_date: Any,
        query: Callable[[pl.LazyFrame], pl.LazyFrame],
    ) -> pl.DataFrame:
        """Return the result of a query of the frame that :meth:`load_raw_arrays` returns.

        Polars reads only the rows and columns that the query needs.

        Args:
            sids, fields, start_date, end_date: See :meth:`load_raw_arrays`.
            query: Function that returns the lazy result, given the lazy frame.

        Raises:
            DataError: See :meth:`load_raw_arrays`.
        """
        return self._rows(self._question(sids, fields, start_date, end_date), query)

    def paths(self) -> list[Path]:
        """Return the current paths of the files, sorted by their partitions."""
        return self._files.read_whole(
            lambda path_of, pending: [path_of(p) for p in self._places(None, None, pending)]
        )

    def _load(
        self, sids: Sequence[int], start: Any, end: Any, fields: Sequence[str] | None
    ) -> pl.DataFrame:
        # Not through the lazy frame: some versions of Polars replace this library's errors with
        # their own.
        return self._rows(self._question(sids, FIELDS if fields is None else fields, start, end))

    def _question(
        self, sids: Sequence[int], fields: Sequence[str], start: Any, end: Any
    ) -> _Question:
        numbers, low, high = (
            _sids(sids),
            bound_of(start, self.frequency),
            bound_of(end, self.frequency, is_last=True),
        )
        if low is not None and high is not None and low > high:
            raise BadRangeError(f"the start is after the end: {start} to {end}")
        names = list(dict.fromkeys(fields))
        schema = self._files.read_whole(lambda p, q: self._schema(p, q, names, low, high))
        return _Question(numbers, names, low, high, schema)

    def _rows(
        self, question: _Question, query: Callable[[pl.LazyFrame], pl.LazyFrame] | None = None
    ) -> pl.DataFrame:
        """Return the rows that the files contain now, or the result of a query of them."""
        _, names, low, high, schema = question

        def read(path_of: _PathOf, places: list[str]) -> pl.DataFrame:
            """Return the rows in the files at these paths."""
            frame = self._scan(path_of, places, names)
            if frame is None:
                frame = pl.LazyFrame(schema=schema)
            frame = frame.filter(self._row_filter(question.sids, low, high))
            if len(places) > 1:
                frame = frame.sort("sid", self._time)  # each file is sorted
            frame = frame.cast(dict(schema))
            return (frame if query is None else query(frame)).collect()

        def checked(path_of: _PathOf, pending: _Pending) -> pl.DataFrame:
            """Return the rows; if a file is damaged, raise an error that names the file."""
            places = self._places(low and _day(low), high and _day(high), pending)
            return self._checked(lambda: read(path_of, places), path_of, places)

        return self._files.read_whole(checked)

    def _daily(self, sids: Sequence[int], start: Any, end: Any) -> pl.DataFrame:
        """Return a daily bar for each series and file of minute bars; a file contains one day."""
        low, high = bound_of(start, self.frequency), bound_of(end, self.frequency)
        days = low and _day(low), high and _day(high)
        numbers, _, first, last, schema = self._question(sids, FIELDS, *days)

        def read(path_of: _PathOf, places: list[str]) -> pl.DataFrame:
            """Return one bar for each series in each of these files."""
            frames = [pl.LazyFrame(schema={"sid": pl.Int64, "date": pl.Date, **_fields_in(schema)})]
            for place in places:
                scan = self._scan(path_of, [place], FIELDS)
                if scan is not None:
                    # Each file is sorted. Other series are filtered out later, when there are
                    # fewer rows.
                    bars = scan.group_by("sid").agg(bars_of_groups())
                    frames.append(bars.with_columns(pl.lit(last_day(place)).alias("date")))
            whole = pl.concat(frames, how="diagonal_relaxed")
            return whole.filter(pl.col("sid").is_in(numbers)).sort("sid", "date").collect()

        def checked(path_of: _PathOf, pending: _Pending) -> pl.DataFrame:
            """Return the bars; if a file is damaged, raise an error that names the file."""
            places = self._places(first and _day(first), last and _day(last), pending)
            return self._checked(lambda: read(path_of, places), path_of, places)

        frame = self._files.read_whole(checked)
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
        row = self._rows_of_sid(number, bound, bound).filter(pl.col(self._time) == bound)
        if field not in FIELDS and field not in row.columns:
            raise self._field_error(field)
        return row[field][0] if len(row) and field in row.columns else None

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
        last = None if high is None else _day(high)
        places = self._files.read_whole(lambda _, pending: self._places(None, last, pending))
        for place in places if is_first else reversed(places):
            rows = self._rows_in_place(place, sid)
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
            FormatVersionError: A newer version of this library wrote a file.
        """

        def read(path_of: _PathOf, pending: _Pending) -> str | None:
            """Return the timeframe in the first file; all files of a frequency have the same."""
            for place in self._places(None, None, pending)[:1]:
                path = path_of(place)
                metadata = self._checked(partial(pl.read_parquet_metadata, path), path_of, [place])
                if origin := origin_of(metadata, f"{self._files.path.name}/{place}"):
                    return origin.resolutions.get(self.frequency)
            return None

        known, now = self._known, self._files.moment()
        if known is None or known[0] != now:
            known = self._known = now, self._files.read_whole(read)
        return known[1]

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

    def _places(self, first: date | None, last: date | None, pending: _Pending) -> list[str]:
        root = str(self._files.path)
        return partitions(self._files.disk, root, self.frequency, first, last, pending.items())

    def _scan(
        self, path_of: _PathOf, places: Sequence[str], fields: Sequence[str]
    ) -> pl.LazyFrame | None:
        if not places:
            return None
        paths = [path_of(place) for place in places]
        for path in {paths[0], paths[-1]}:
            self._check_version(path)
        columns = [self._time, "sid", *fields]
        if set(fields) <= {*FIELDS}:
            # All files of a bundle have the same schema for these fields; some may have more
            # columns.
            schema = pl.read_parquet_schema(paths[0])
            types = {name: dtype for name, dtype in schema.items() if name in columns}
            frame = pl.scan_parquet(
                paths, schema=types, extra_columns="ignore", missing_columns="insert", glob=False
            ).select(columns)
        else:
            scans = [pl.scan_parquet(path, glob=False) for path in paths]
            some = [scan.select(n for n in columns if n in scan.collect_schema()) for scan in scans]
            frame = pl.concat(some, how="diagonal_relaxed")
        self._check_rows(paths, frame)
        return frame

    def _schema(
        self,
        path_of: _PathOf,
        pending: _Pending,
        fields: Sequence[str],
        low: date | datetime | None,
        high: date | datetime | None,
    ) -> dict[str, pl.DataType]:
        """Return the result's columns, determined from only the files in the range."""
        wanted = get_schema_for_frequency(self.frequency)
        places = self._places(low and _day(low), high and _day(high), pending)
        if not places and not self._places(None, None, pending):
            raise BundleNotFoundError(
                f"{self._files.path} has no {FOLDERS[self.frequency]}",
                hint="`onetape bundle list` shows the bundles and their contents",
            )
        schema = {name: wanted[name] for name in (self._time, "sid")}
        lacking = list(fields)
        for place in places:
            types = self._checked(partial(pl.read_parquet_schema, path_of(place)), path_of, [place])
            schema.update((name, types[name]) for name in lacking if name in types)
            lacking = [name for name in lacking if name not in types]
            if not lacking:
                break
        for name in lacking:
            if name not in wanted and places:
                raise self._field_error(name)
            schema[name] = wanted.get(name, pl.Null())
        return {name: schema[name] for name in (self._time, "sid", *fields)}

    def _checked(self, read: Callable[[], T], path_of: _PathOf, places: Sequence[str]) -> T:
        """Return the result of ``read``; if a file is damaged, the error names it."""
        try:
            return read()
        except DataError:
            raise
        except UNREADABLE as exc:
            for place in places:
                try:
                    self._scan(path_of, [place], [])
                    pl.read_parquet(path_of(place))
                except UNREADABLE as cause:
                    raise damaged(f"{self._files.path.name}/{place}", cause) from exc
            raise damaged(f"{self._files.path.name}/{FOLDERS[self.frequency]}", exc) from exc

    def _check_rows(self, paths: Sequence[Path], frame: pl.LazyFrame) -> None:
        """Refuse to read files that declare more rows than their size can hold.

        Files are checked again only after one of them has changed.

        Raises:
            BundleError: The files declare too many rows.
        """
        states: dict[Path, FileState | None] = {path: self._files.disk.stat(path) for path in paths}
        if not states.items() <= self._sound.items():
            size = sum(state.size for state in states.values() if state)
            check_rows(frame, f"{self._files.path.name}/{FOLDERS[self.frequency]}", size)
            self._sound.update(states)

    def _check_version(self, path: Path) -> None:
        origin_of(pl.read_parquet_metadata(path), f"{self._files.path.name}/{path.parent.name}")

    def _rows_of_sid(self, sid: int, first: date | datetime, last: date | datetime) -> pl.DataFrame:
        places = self._files.read_whole(
            lambda _, pending: self._places(_day(first), _day(last), pending)
        )
        rows = [self._rows_in_place(place, sid) for place in places]
        return (
            pl.concat(rows, how="diagonal_relaxed")
            if rows
            else pl.DataFrame(schema=get_schema_for_frequency(self.frequency))
        )

    def _rows_in_place(self, place: str, sid: int) -> pl.DataFrame:
        """Return a series' rows from one file; they stay in memory until the file changes."""

        def read(path_of: _PathOf, _: _Pending) -> pl.DataFrame:
            """Return the rows of the series, from memory if the file is unchanged."""
            path = path_of(place)
            state: FileState | None = self._files.disk.stat(path)
            key = place, state, sid
            cached: pl.DataFrame | None = None if self._cache is None else self._cache.get(key)
            if cached is not None:
                return cached
            data = self._files.disk.read(path)
            origin_of(pl.read_parquet_metadata(io.BytesIO(data)), place)
            frame = pl.scan_parquet(io.BytesIO(data))
            check_rows(frame, place, len(data))
            rows = frame.filter(pl.col("sid") == sid).collect()
            if self._cache is not None:
                self._cache.put(key, rows, 1)
            return rows

        frame: pl.DataFrame = self._files.read_whole(
            lambda p, q: self._checked(lambda: read(p, q), p, [place])
        )
        return frame

    # --- arguments -------------------------------------------------------------------------

    def _row_filter(
        self, sids: Sequence[int], low: date | datetime | None, high: date | datetime | None
    ) -> pl.Expr:
        time = pl.col(self._time)
        # A list of Python's numbers takes Polars 50 times as long as one value that is a list.
        chosen = pl.col("sid").is_in(pl.Series(sids, dtype=pl.Int64).implode())
        chosen = chosen if low is None else chosen & (time >= low)
        return chosen if high is None else chosen & (time <= high)

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


def _fields_in(schema: dict[str, pl.DataType]) -> dict[str, pl.DataType]:
    return {name: dtype for name, dtype in schema.items() if name in FIELDS}


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
