"""The writer of a bundle's Parquet files: merges each row into the partition for its stamp."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..clock import Clock, SystemClock
from ..disk.files import Disk
from ..errors import BundleError, QueryError
from ..layer.frames import FIELDS, WIDE_VOLUME, decimal_frame, get_schema_for_frequency, time_column
from ..model.texts import counted
from ..model.timeframe import Timeframe
from .bundle_records import (
    MOST_DAYS,
    REWRITTEN,
    UNREADABLE,
    BundleOrigin,
    FileRecord,
    Records,
    SymbolSource,
    check_rows,
    file_metadata,
    measured,
    new_dataset_id,
    origin_of,
    set_aside,
)
from .commit import METADATA, BundleFiles, FileChanges
from .partitions import frequency_of, main_of, new_part, partition_of, partitions
from .request import cannot_be_written

if TYPE_CHECKING:
    from ..layer.frames import Frequency

__all__ = ["ParquetWriter", "Written", "checked_rows"]

# Partitions with fewer rows than this are a single file.
FEW_ROWS = 512
_DAILY_FREQUENCIES = frozenset({"daily", "1d", "1w", "1mo", "1M"})


class Written(NamedTuple):
    """The result of one change to a bundle.

    Attributes:
        places: Paths of the partitions that were written, relative to the bundle.
        rounded: Number of values that were rounded because they had more than eight decimals.
        widened: Whether the change turned volumes into ``Decimal(38, 8)``.
    """

    places: tuple[str, ...]
    rounded: int
    widened: bool


class ParquetWriter:
    """Writes bars to a bundle. Thread-safe; several processes may write the same bundle.

    Args:
        bundle_path: Folder of the bundle; the first write creates it.
        enable_metadata_catalog: Whether to write ``metadata.db`` next to ``metadata.parquet``.
        disk: File access; None is the file system, with permissions according to the umask.
        clock: Source of the times of changes; None is the system clock.
    """

    def __init__(
        self,
        bundle_path: str | PathLike[str],
        enable_metadata_catalog: bool = True,
        *,
        disk: Disk | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.bundle_path = Path(bundle_path).absolute()
        self._files = BundleFiles(self.bundle_path, disk)
        self._with_database, self._clock = enable_metadata_catalog, clock or SystemClock()

    def write(
        self,
        df: pl.DataFrame | pl.LazyFrame,
        resolution: str,
        source_metadata: Mapping[str, Any] | None = None,
    ) -> Path:
        """Write bars and return the folder that they were written to.

        Args:
            df: Frame with ``date`` (daily) or ``timestamp`` (naive UTC or aware), ``sid`` or
                ``symbol``, and ``open high low close volume`` as numbers or Decimals; further
                columns are kept. Rows may be in any order; they replace existing rows with the
                same stamp and sid.
            resolution: ``daily`` or ``minute``, or a timeframe such as ``1d``, ``1m``, ``5m``. A
                bundle contains one timeframe for daily and one for minute bars.
            source_metadata: See :meth:`write_daily_bars`.

        Raises:
            QueryError: There are no rows, a column is missing, a stamp or sid is null, two
                different rows have the same stamp and sid, or the bundle has a different timeframe.
            DecimalRangeError: A value does not fit into a Decimal column.
            BundleError, StorageError, LockTimeoutError: The write failed; the bundle is
                unchanged.
        """
        frequency, timeframe = _frequency_of(resolution)
        self._write([df], frequency, timeframe, source=source_metadata)
        return self.bundle_path / f"{frequency}_bars"

    def write_daily_bars(
        self,
        df: pl.DataFrame | pl.LazyFrame,
        compression: str = "zstd",
        dataset_id: str | None = None,
        source_metadata: Mapping[str, Any] | None = None,
        bundle_name: str | None = None,
    ) -> Path:
        """Write daily bars as :meth:`write` does; raises the same errors.

        Args:
            df: Bars to write.
            compression: ``zstd``, the only compression for bundles.
            dataset_id: Id of the dataset in ``metadata.db``; None means an id derived from the path
                of the bundle.
            source_metadata: Further facts about the source; ``source_type`` names it.
            bundle_name: Name to write into the files; None means the name of the folder.
        """
        self._check_compression(compression)
        self._write([df], "daily", "1d", dataset_id, source_metadata, bundle_name)
        return self.bundle_path / "daily_bars"

    def write_minute_bars(
        self,
        df: pl.DataFrame | pl.LazyFrame,
        compression: str = "zstd",
        dataset_id: str | None = None,
        source_metadata: Mapping[str, Any] | None = None,
        bundle_name: str | None = None,
    ) -> Path:
        """Write minute bars; arguments and errors are as for :meth:`write_daily_bars`."""
        self._check_compression(compression)
        self._write([df], "minute", "1m", dataset_id, source_metadata, bundle_name)
        return self.bundle_path / "minute_bars"

    def write_batch(
        self, frames: Iterable[pl.DataFrame | pl.LazyFrame], resolution: str = "daily"
    ) -> Path:
        """Write several frames as one change.

        If two rows have the same stamp and sid, the one in the later frame is kept. Raises the
        errors of :meth:`write`; after an error, no frame has been written.
        """
        frequency, timeframe = _frequency_of(resolution)
        self._write(list(frames), frequency, timeframe)
        return self.bundle_path / f"{frequency}_bars"

    def get_compression_stats(self) -> dict[str, Any]:
        """Return ``file_count``, ``row_count``, ``size_bytes``, ``uncompressed_bytes`` and a ratio.

        ``compression_ratio`` is the size of the files divided by the uncompressed size: 16 bytes
        for each Decimal and 8 for each other value, as Polars keeps them in memory.
        """
        records = self._records()
        rows = sum(r.row_count for r in records.files.values())
        size = sum(r.size_bytes for r in records.files.values())
        uncompressed = rows * (2 * 8 + len(FIELDS) * 16)
        return {
            "file_count": len(records.files),
            "row_count": rows,
            "size_bytes": size,
            "uncompressed_bytes": uncompressed,
            "compression_ratio": size / uncompressed if uncompressed else 0.0,
        }

    # --- the change ------------------------------------------------------------------------

    def _write(
        self,
        frames: Sequence[pl.DataFrame | pl.LazyFrame],
        frequency: Frequency,
        timeframe: str,
        dataset_id: str | None = None,
        source: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> Written:
        """Check the rows of user code, and write them in one change.

        A fact of the origin gets its value for such rows here.

        Args:
            frames: Rows to merge into the bundle.
            frequency, timeframe: Files to write to, and the timeframe of the bars. All files of a
                frequency have the same timeframe.
            dataset_id: Id of the dataset; None keeps the bundle's.
            source: Details about the source. ``source_type`` replaces the bundle's source type; all
                others are added to those that it has.
            name: Name of the bundle; None keeps it.

        Raises:
            QueryError: All frames are empty, a row or the source is invalid, or the files have another
                timeframe. Nothing is changed. For the other errors see :meth:`write`.
        """
        checked = [checked_rows(frame, frequency) for frame in frames]
        if not sum(map(len, checked)):
            raise QueryError(
                f"there are no rows to write to bundle {self.bundle_path.name}",
                hint="pass at least one row; nothing was changed",
            )
        facts = dict(source or {})
        if invalid := [key for key, fact in facts.items() if cannot_be_written(f"{key}{fact}")]:
            raise QueryError(f"the {invalid[0]!a:.40} of a source contains an unpaired surrogate")
        with self._files.writing() as commit:
            records = self._records(commit)
            existing = records.origin.resolutions.get(frequency, timeframe)
            if existing != timeframe:
                raise QueryError(
                    (
                        f"the {frequency} files of bundle {self.bundle_path.name} contain {existing} bars, "
                        f"not {timeframe}"
                    ),
                    hint="write these bars to a separate bundle",
                )
            origin = replace(
                records.origin,
                bundle_name=name or records.origin.bundle_name,
                source_type=str(facts.pop("source_type", records.origin.source_type)),
                source={**records.origin.source, **facts},
                dataset_id=dataset_id or records.origin.dataset_id,
                resolutions={**records.origin.resolutions, frequency: timeframe},
            )
            origin, rows = _numbered(origin, checked)
            origin = _mark_rewritten(origin, set(rows["sid"].unique()))
            return self.replace_rows(commit, replace(records, origin=origin), frequency, rows)

    def replace_rows(
        self,
        commit: FileChanges,
        records: Records,
        frequency: Frequency,
        rows: pl.DataFrame,
        *,
        anew: Collection[str] = (),
        drop: Collection[int] = (),
    ) -> Written:
        """Merge checked rows into their partitions as part of a change.

        Partitions whose rows do not change are not written.

        1. Convert the values to Decimal, and update the origin.
        2. Group the affected partitions. If the volumes of the bundle get a wider type, these are all
           partitions.
        3. Merge the rows into each group (:class:`_PartitionChange`), and add the files that differ.
        4. Add the records.

        Args:
            commit: Change to add to.
            records: Records of the bundle before the change, but with the origin that it will have
                afterwards.
            frequency: Frequency of the rows.
            rows: Time, sid, fields and any further columns.
            anew: Paths of files to write without merging in their existing rows.
            drop: Sids whose earlier rows are removed from all partitions of this frequency.
        """
        was_wide, now_ms = records.origin.wide_volume, self._clock.now_ms()
        converted, rounded = decimal_frame(rows, wide_volume=was_wide)
        is_wide = was_wide or converted["volume"].dtype == WIDE_VOLUME
        origin = replace(
            records.origin,
            wide_volume=is_wide,
            commit=records.origin.commit + 1,
            ingested_at=now_ms,
            created_at=records.origin.created_at or now_ms,
        )
        by_place = _split_by_place(converted, frequency)
        recorded = {*records.files, *anew}
        groups: dict[str, list[str]] = {main: [] for main in by_place}
        if is_wide != was_wide:  # one bundle, one schema
            recorded.update(self._places("daily"), self._places("minute"))
        for place in sorted(recorded):
            groups.setdefault(main_of(place), []).append(place)
        for main in by_place:  # an unrecorded file counts as well
            if not groups[main] and self._files.disk.stat(self.bundle_path / main) is not None:
                groups[main].append(main)
        rowless = {source.sid for source in origin.symbols.values()}
        rowless -= {*records.spans(), *converted["sid"].unique()}
        changed: list[FileRecord] = []
        removed: list[str] = []
        for main, parts in sorted(groups.items()):
            change = _PartitionChange(main, {place: records.files.get(place) for place in parts})
            rewritten = parts if is_wide != was_wide else anew
            drops = drop if frequency_of(main) == frequency else ()
            change.merge(by_place.get(main), drops, partial(self._existing_rows, anew), rewritten)
            for place, (old, merged) in change.frames.items():
                if merged is None or merged.is_empty():
                    commit.remove(place)
                    removed.append(place)
                    continue
                merged = decimal_frame(merged, wide_volume=is_wide).frame
                if old is not None and merged.schema == old.schema and merged.equals(old):
                    continue
                data = _parquet(merged, file_metadata(origin.of_sids(rowless | set(merged["sid"]))))
                changed.append(measured(place, data, merged, commit.put(place, data)))
        fresh = replace(records, origin=origin).with_files(changed, removed)
        fresh.put(commit, self._files, with_database=self._with_database)
        places = (*(record.place for record in changed), *removed)
        return Written(places, rounded, is_wide != was_wide)

    def _places(self, frequency: str) -> list[str]:
        return partitions(self._files.disk, str(self.bundle_path), frequency)

    def _records(self, commit: FileChanges | None = None) -> Records:
        """Return the records of the bundle; lost records are rebuilt from its files."""
        records = Records.read(self._files, self._files.disk, self.bundle_path / METADATA)
        return records or rebuilt(self._files, commit)

    def _existing_rows(self, anew: Collection[str], place: str) -> pl.DataFrame | None:
        """Return the existing rows of a partition, or None if it is new or is being replaced."""
        return None if place in anew else self._read(place)

    def _read(self, place: str) -> pl.DataFrame | None:
        """Return the rows of a partition, or None if it does not exist."""
        data = self._files.disk.read_if_exists(self.bundle_path / place)
        return None if data is None else parsed(data, f"{self.bundle_path.name}/{place}")

    @staticmethod
    def _check_compression(compression: str) -> None:
        if compression != "zstd":
            raise QueryError(f"unsupported compression {compression!r}", hint="use zstd, level 3")


def rebuilt(files: BundleFiles, commit: FileChanges | None = None) -> Records:
    """Return the records of a bundle, rebuilt only from its partitions.

    The origin is taken from a file of the latest commit. So is each fact in it; a fact that this
    file lacks has its default, even if files of earlier commits have it. The source of each
    symbol is taken from the latest commit that recorded one. The record of each file is computed.

    Args:
        files: Files of the bundle.
        commit: Change that is about to replace ``metadata.parquet``; if that file is unreadable,
            the change sets it aside.

    Raises:
        BundleError: A partition is damaged.
        FormatVersionError: A newer version of this library wrote a partition.
    """
    if (
        commit is not None
        and (data := files.disk.read_if_exists(files.path / METADATA)) is not None
    ):
        set_aside(commit, METADATA, data)
    origin = BundleOrigin(files.path.name, dataset_id=new_dataset_id(files.path))
    symbols: dict[str, tuple[int, SymbolSource]] = {}
    measures = []
    for frequency in ("daily", "minute"):
        for place in partitions(files.disk, str(files.path), frequency):
            state = files.disk.stat(files.path / place)
            data = files.disk.read(files.path / place)
            name = f"{files.path.name}/{place}"
            try:
                frame = parsed(data, name)
            except BundleError as exc:
                exc.hint = (
                    f"the records in {METADATA} are lost too; move {place} out of the bundle's folder, "
                    f"then run `onetape bundle refresh {files.path.name}`"
                )
                raise
            measures.append(measured(place, data, frame, state))
            wide = frame.schema.get("volume") == WIDE_VOLUME
            facts = origin_of(pl.read_parquet_metadata(io.BytesIO(data)), name)
            if facts is not None and facts.commit > origin.commit:
                origin = facts
            if facts is not None:
                for symbol, source in facts.symbols.items():
                    if symbols.get(symbol, (0, source))[0] <= facts.commit:
                        symbols[symbol] = facts.commit, source
            origin = replace(origin, wide_volume=origin.wide_volume or wide)
    # Nothing records which partitions there were, so the rows must be compared with the answers.
    newest = {symbol: replace(source, seal=None) for symbol, (_, source) in symbols.items()}
    return Records(replace(origin, symbols=newest), {}).with_files(measures)


def parsed(data: bytes, name: str) -> pl.DataFrame:
    """Parse the bytes of a partition, and return its rows.

    Raises:
        BundleError: The bytes are not a Parquet file, or the file does not contain valid bars.
        FormatVersionError: A newer version of this library wrote the bytes.
    """
    try:
        origin_of(pl.read_parquet_metadata(io.BytesIO(data)), name)
        lazy = pl.scan_parquet(io.BytesIO(data))
        check_rows(lazy, name, len(data))
        frame = lazy.collect()
    except UNREADABLE as exc:
        raise damaged(name, exc) from exc
    if not {"sid", *FIELDS} <= set(frame.columns):
        raise damaged(name, ValueError("it does not have the columns of bars"))
    time, types = frame.columns[0], frame.schema
    wrong = [field for field in FIELDS if not types[field].is_numeric()]
    wrong += [] if isinstance(types[time], pl.Date | pl.Datetime) else [time]
    wrong += [] if types["sid"].is_integer() else ["sid"]
    if wrong:
        raise damaged(name, ValueError(f"its column {wrong[0]} has type {types[wrong[0]]!s:.40}"))
    if sum(frame.select(time, "sid").null_count().row(0)):
        raise damaged(name, ValueError(f"rows have no {time} or no sid"))
    days = frame[time].cast(pl.Date).cast(pl.Int32).abs().max()
    if isinstance(days, int) and days >= MOST_DAYS:
        raise damaged(name, ValueError(f"rows have a {time} before 1680 or after 2259"))
    return frame


def damaged(name: str, exc: BaseException) -> BundleError:
    """Return the error to raise for a file that cannot be read."""
    return BundleError(
        f"{name} is damaged: {str(exc).splitlines()[0] if str(exc) else type(exc).__name__}",
        hint=(
            f"`onetape bundle validate {name.split('/')[0]}` finds all such files, and "
            "`refresh` rebuilds or quarantines them"
        ),
    )


def _parquet(frame: pl.DataFrame, metadata: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=3, metadata=metadata)
    return buffer.getvalue()


# --- rows, before any file is touched ----------------------------------------------------------


def _frequency_of(resolution: str) -> tuple[Frequency, str]:
    """Return the frequency of the files and the timeframe for a resolution."""
    if resolution in ("minute", "daily"):
        return ("daily", "1d") if resolution == "daily" else ("minute", "1m")
    label = str(Timeframe.parse(resolution))
    return ("daily" if label in _DAILY_FREQUENCIES else "minute"), label


def checked_rows(frame: pl.DataFrame | pl.LazyFrame, frequency: Frequency) -> pl.DataFrame:
    """Validate rows, and return them with their columns in order, without duplicates.

    The order is: time, ``sid`` or ``symbol``, prices and volume, any additional columns.
    """
    if isinstance(frame, pl.LazyFrame):
        frame = frame.collect()
    if not isinstance(frame, pl.DataFrame):
        raise QueryError(f"bars must be in a Polars frame, not {type(frame).__name__}")
    time = time_column(frequency)
    if time == "date" and "date" not in frame.columns and "timestamp" in frame.columns:
        frame = frame.select(pl.col("timestamp").alias("date"), pl.exclude("timestamp"))
    key = "sid" if "sid" in frame.columns else "symbol"
    column, number = _time(frame, frequency), _number(frame, key)
    if lacking := [name for name in FIELDS if name not in frame.columns]:
        raise _column_error(frequency, lacking)
    others = [n for n in frame.columns if n not in (time, key, *FIELDS)]
    ordered = frame.select(column, number, *FIELDS, *others)
    nulls = sum(ordered.select(time, key).null_count().row(0))
    if nulls:
        raise QueryError(f"{counted(nulls, 'row')} without {time} or {key}; nothing was written")
    unique = ordered.unique()  # one of several equal rows is kept
    if len(doubled := unique.filter(unique.select(time, key).is_duplicated())):
        row = doubled.row(0)
        raise QueryError(
            f"two different rows for {key} {row[1]} at {row[0]}; nothing was written",
            hint="keep only one of them",
        )
    return unique


def _time(frame: pl.DataFrame, frequency: Frequency) -> pl.Expr:
    """Return the time column with its type in the files.

    A daily bar has the date in the column's time zone; other timezone-aware times become UTC.
    """
    name = time_column(frequency)
    if name not in frame.columns:
        raise _column_error(frequency, [name])
    dtype, column = frame.schema[name], pl.col(name)
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        column = column if frequency == "daily" else column.dt.convert_time_zone("UTC")
        column = column.dt.replace_time_zone(None)
    elif not isinstance(dtype, pl.Datetime | pl.Date):
        raise QueryError(f"column {name} does not contain times: its type is {dtype}")
    return column.cast(get_schema_for_frequency(frequency)[name])


def _number(frame: pl.DataFrame, key: str) -> pl.Expr:
    """Return the column that identifies the series: sids, or symbols that get sids later.

    Raises:
        QueryError: The column is missing, or has a wrong type.
    """
    if key not in frame.columns:
        raise _column_error("daily", ["sid (or symbol)"])
    dtype = frame.schema[key]
    if not (dtype.is_integer() if key == "sid" else dtype == pl.String):
        raise QueryError(
            f"column {key} has type {dtype}, not {'Int64' if key == 'sid' else 'String'}"
        )
    return pl.col(key).cast(pl.Int64) if key == "sid" else pl.col(key)


def _column_error(frequency: Frequency, names: Sequence[str]) -> QueryError:
    return QueryError(
        f"columns are missing: {', '.join(names)}",
        hint=f"the columns must be {', '.join(get_schema_for_frequency(frequency))}",
    )


def _numbered(
    origin: BundleOrigin, frames: Sequence[pl.DataFrame]
) -> tuple[BundleOrigin, pl.DataFrame]:
    """Return all rows with sids instead of symbols, and the origin with the sids of new symbols.

    If several frames have a row for the same stamp and sid, the row of the last one is kept.
    """
    symbols = dict(origin.symbols)
    numbered = []
    for frame in frames:
        if "symbol" in frame.columns and frame.columns[1] == "symbol":
            next_sid = 1 + max((s.sid for s in symbols.values()), default=0)
            for symbol in frame["symbol"].unique().sort().to_list():
                if symbol not in symbols:
                    symbols[symbol] = SymbolSource(next_sid)
                    next_sid += 1
            sids = {symbol: source.sid for symbol, source in symbols.items()}
            sid = pl.col("symbol").replace_strict(sids, return_dtype=pl.Int64).alias("sid")
            frame = frame.select(frame.columns[0], sid, *frame.columns[2:])
        numbered.append(frame)
    whole = pl.concat(numbered, how="diagonal_relaxed")
    time = whole.columns[0]
    whole = whole.unique(subset=[time, "sid"], keep="last", maintain_order=True)
    return replace(origin, symbols=symbols), whole


def _mark_rewritten(origin: BundleOrigin, sids: set[int]) -> BundleOrigin:
    """Return the origin with some series marked as rewritten by user code."""
    symbols = {
        symbol: replace(source, fingerprint=REWRITTEN)
        if source.sid in sids and source.fingerprint is not None
        else source
        for symbol, source in origin.symbols.items()
    }
    return replace(origin, symbols=symbols)


def _split_by_place(rows: pl.DataFrame, frequency: Frequency) -> dict[str, pl.DataFrame]:
    """Split rows by partition; maps the path of each partition to its rows."""
    if rows.is_empty():
        return {}
    time = rows.columns[0]
    day = pl.col(time).cast(pl.Date)
    bucket = day.dt.truncate("1mo") if frequency == "daily" else day
    parts = rows.with_columns(bucket.alias("__day")).partition_by(
        "__day", as_dict=True, include_key=False
    )
    return {partition_of(frequency, key[0]): part for key, part in parts.items()}


class _PartitionChange:
    """The parts (files) of one partition while rows are merged into it.

    New series go into a new part, which absorbs all smaller parts. The parts of a partition
    therefore differ in size by at least a factor of two. If series are added one by one, each row
    is rewritten only log2(number of rows) times. Small parts are always merged, so most partitions
    are a single file.

    Args:
        main: Path of the first part.
        parts: Maps the path of each part to its record, or to None if it is not recorded.

    Attributes:
        frames: Maps the path of each part that changes to its rows before and after the change.
    """

    def __init__(self, main: str, parts: Mapping[str, FileRecord | None]) -> None:
        self._main, self._parts = main, parts
        self.frames: dict[str, tuple[pl.DataFrame | None, pl.DataFrame | None]] = {}

    def merge(
        self,
        new: pl.DataFrame | None,
        drop: Collection[int],
        read: Callable[[str], pl.DataFrame | None],
        rewritten: Collection[str],
    ) -> None:
        """Merge rows into the parts.

        Args:
            new: Rows to merge, or None.
            drop: Numbers of the series whose earlier rows are removed.
            read: Function that returns the rows of a part by its path.
            rewritten: Parts to write even if their rows do not change.
        """
        unplaced, dropped, rows = new, list(drop), dict[str, int]()
        for place, record in self._parts.items():
            unchanged = None if place in rewritten else record
            old = read(place) if unchanged is None else None
            sids = _sids_of(old) if unchanged is None else unchanged.sids.sids
            placed, unplaced = _split(unplaced, sids)
            if unchanged is not None:
                if placed is None and not np.isin(sids, dropped).any():
                    rows[place] = unchanged.row_count
                    continue
                old = read(place)
            rest = old if old is None or not dropped else old.filter(~pl.col("sid").is_in(dropped))
            merged = _merged(rest, placed)
            self.frames[place] = old, merged
            rows[place] = 0 if merged is None else len(merged)
        self._add(unplaced, rows, read)

    def _add(
        self,
        new: pl.DataFrame | None,
        rows: Mapping[str, int],
        read: Callable[[str], pl.DataFrame | None],
    ) -> None:
        """Add the rows of series that are not in any part yet, merged with all smaller parts."""
        count, merged_parts = 0 if new is None else len(new), list[str]()
        sizes = {place: size for place, size in rows.items() if size}
        for place, size in sorted(sizes.items(), key=lambda item: item[1]):
            if count and size <= max(FEW_ROWS, count):
                merged_parts.append(place)
                count += size
        if self._main not in sizes and sizes:  # the first part always exists
            merged_parts = list(sizes)
        if not count and not merged_parts:
            return
        parts = []
        for place in merged_parts:
            old, merged = self.frames.get(place) or (None, read(place))
            self.frames[place] = old, None
            parts += [] if merged is None else [merged]
        before = pl.concat(parts, how="diagonal_relaxed") if parts else None
        is_main = self._main in merged_parts or self._main not in sizes
        others = [place for place in rows if place not in merged_parts]
        target = self._main if is_main else min(merged_parts, default=new_part(self._main, others))
        old = self.frames[target][0] if target in self.frames else None
        self.frames[target] = old, _merged(before, new)


def _sids_of(rows: pl.DataFrame | None) -> NDArray[np.int64]:
    return np.array([] if rows is None else rows["sid"].unique(), dtype=np.int64)


def _split(
    rows: pl.DataFrame | None, sids: NDArray[np.int64]
) -> tuple[pl.DataFrame | None, pl.DataFrame | None]:
    """Split rows in two: those of the series ``sids``, and all others; a part is None if it is empty."""
    if rows is None:
        return None, None
    is_mine = rows["sid"].is_in(sids.tolist())
    return (rows.filter(is_mine), rows.filter(~is_mine)) if is_mine.any() else (None, rows)


def _merged(old: pl.DataFrame | None, new: pl.DataFrame | None) -> pl.DataFrame | None:
    """Merge two frames, sorted by sid and time; a new row replaces an old one with the same key.

    The result is None if both are None.
    """
    parts = [part for part in (old, new) if part is not None]
    if not parts:
        return None
    key = [parts[0].columns[0], "sid"]
    whole = parts[0]
    if len(parts) > 1:
        whole = pl.concat(parts, how="diagonal_relaxed")
        whole = whole.unique(subset=key, keep="last", maintain_order=True)
    return whole.sort("sid", key[0])
