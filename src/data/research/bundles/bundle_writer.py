"""The writer of a bundle that is the only copy of its rows: each row goes to the partition of its time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from ...core.clock import Clock, SystemClock
from ...core.disk.files import Disk
from ...core.model.display.texts import counted
from ...core.model.time.timeframe import Timeframe
from ...errors import BundleError, QueryError
from ..frames.frames import (
    FIELDS,
    WIDE_VOLUME,
    Frequency,
    decimal_frame,
    get_schema_for_frequency,
    pl,
    time_column,
)
from .bundle_files import BundleFiles
from .bundle_records import (
    BundleOrigin,
    Records,
    SymbolSource,
    changed,
    measured,
    new_dataset_id,
    packed,
)
from .partitions import main_of, partition_of
from .request import cannot_be_written

__all__ = ["ParquetWriter", "checked_rows", "files_of", "new_records", "split"]

_DAILY_FREQUENCIES = frozenset({"daily", "1d", "1w", "1mo", "1M"})


class ParquetWriter:
    """Writes bars to a bundle. Thread-safe; several processes may write the same bundle.

    The bundle is the only copy of these bars: it is never rebuilt, and a damaged file is set aside.
    If a change affects several files and the process is killed, each file is in its earlier or its
    new state; repeat the call then. A new bundle appears as a whole.

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
            BundleError: The bundle is made from the store, or a file in it is damaged; the file is
                set aside, and the bundle is otherwise unchanged.
            StorageError, LockTimeoutError: The write failed; the bundle is unchanged.
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
        table = self._records().table
        rows, size = table["row_count"].sum(), table["size_bytes"].sum()
        uncompressed = rows * (2 * 8 + len(FIELDS) * 16)
        return {
            "file_count": len(table),
            "row_count": rows,
            "size_bytes": size,
            "uncompressed_bytes": uncompressed,
            "compression_ratio": size / uncompressed if uncompressed else 0.0,
        }

    def _write(
        self,
        frames: Sequence[pl.DataFrame | pl.LazyFrame],
        frequency: Frequency,
        timeframe: str,
        dataset_id: str | None = None,
        source: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> None:
        """Check the rows of user code, and merge them into the bundle's files.

        A fact of the origin gets its value for such rows here.

        Args:
            frames: Rows to merge into the bundle.
            frequency, timeframe: Files to write to, and the timeframe of the bars.
            dataset_id: Id of the dataset; None keeps the bundle's.
            source: Details about the source. ``source_type`` replaces the bundle's source type; all
                others are added to those that it has.
            name: Name of the bundle; None keeps it.

        Raises:
            DataError: See :meth:`write`.
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
        with self._files.locked():
            records = self._records(has_lock=True)
            before, bundle = records.origin, self.bundle_path.name
            existing = before.resolutions.get(frequency, timeframe)
            if existing != timeframe:
                raise QueryError(
                    f"the {frequency} files of bundle {bundle} contain {existing} bars, not {timeframe}",
                    hint="write these bars to a separate bundle",
                )
            if before.request is not None:
                raise BundleError(
                    f"bundle {bundle} is made from the store, and a refresh would remove other bars",
                    hint="write these bars to a separate bundle",
                )
            symbols, rows = _numbered(before.symbols, checked)
            rows = decimal_frame(rows, wide_volume=before.wide_volume).frame
            origin = replace(
                changed(before, self._clock.now_ms()),
                bundle_name=name or before.bundle_name,
                source_type=str(facts.pop("source_type", before.source_type)),
                source={**before.source, **facts},
                dataset_id=dataset_id or before.dataset_id,
                resolutions={**before.resolutions, frequency: timeframe},
                symbols=symbols,
                wide_volume=rows.schema["volume"] == WIDE_VOLUME,
            )
            changes, measures = self._merged(records, origin, split(rows, frequency))
            after = replace(records, origin=origin).with_files(
                measures, [place for place, data in changes.items() if data is None]
            )
            if self._files.exists():
                self._files.replace_files(changes, after, with_database=self._with_database)
            else:
                self._files.replace_folder(
                    changes, after, durable=True, with_database=self._with_database
                )

    def _merged(
        self, records: Records, origin: BundleOrigin, new: Mapping[str, pl.DataFrame]
    ) -> tuple[dict[str, bytes | None], pl.DataFrame]:
        """Return the files that change, and their records.

        If the type of the volumes changes, these are all files. Several files of one partition, from
        earlier versions, become one.
        """
        old: dict[str, list[str]] = {main: [] for main in new}
        for place in records.files:
            main = main_of(place)
            if main in new or origin.wide_volume != records.origin.wide_volume:
                old.setdefault(main, []).append(place)
        changes: dict[str, bytes | None] = {}
        frames: dict[str, pl.DataFrame] = {}
        for main, places in old.items():
            # A file that is not recorded counts as well.
            parts = [self._rows(place, records) for place in dict.fromkeys((*places, main))]
            present = [part for part in parts if part is not None]
            if not present:
                frames.update({main: new[main]} if main in new else {})
                continue
            rows = combined([*present, new[main]] if main in new else present)
            merged = decimal_frame(rows, wide_volume=origin.wide_volume).frame
            is_recorded = places == [main] and len(present) == 1
            if (
                not is_recorded
                or not merged.equals(present[0])
                or merged.schema != present[0].schema
            ):
                frames[main] = merged
                changes.update(dict.fromkeys(places))
        changes.update(files_of(frames, origin))
        return changes, measured(frames, {place: changes[place] or b"" for place in frames})

    def _rows(self, place: str, records: Records) -> pl.DataFrame | None:
        """Return the rows in a file, or None if it does not exist; a damaged file is set aside."""
        try:
            return self._files.rows(place, records)
        except BundleError as exc:
            name = f"{self.bundle_path.name}/{place} "
            raise self._files.reject(place, str(exc).removeprefix(name)) from exc

    def _records(self, *, has_lock: bool = False) -> Records:
        if not self._files.exists():
            return new_records(self.bundle_path)
        return self._files.records(has_lock=has_lock)

    @staticmethod
    def _check_compression(compression: str) -> None:
        if compression != "zstd":
            raise QueryError(f"unsupported compression {compression!r}", hint="use zstd, level 3")


def new_records(path: Path) -> Records:
    """Return the records of a bundle without files."""
    return Records(BundleOrigin(path.name, dataset_id=new_dataset_id(path)), measured({}, {}))


def files_of(frames: Mapping[str, pl.DataFrame], origin: BundleOrigin) -> dict[str, bytes]:
    """Return the Parquet files of some partitions, each with the part of the origin for its series."""
    return {
        place: packed(frame, origin.of_sids(set(frame["sid"].unique())))
        for place, frame in frames.items()
    }


def split(rows: pl.DataFrame, frequency: Frequency) -> dict[str, pl.DataFrame]:
    """Split rows by partition; maps the path of each file to its rows, sorted by sid and time."""
    time = rows.columns[0]
    day = pl.col(time).cast(pl.Date)
    bucket = day.dt.truncate("1mo") if frequency == "daily" else day
    parts = rows.sort("sid", time).with_columns(bucket.alias("__day"))
    parts_by_day = parts.partition_by("__day", as_dict=True, include_key=False)
    return {partition_of(frequency, key[0]): part for key, part in parts_by_day.items()}


def combined(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return the rows of all frames, sorted by sid and time; later rows replace earlier ones."""
    key = [frames[0].columns[0], "sid"]
    whole = pl.concat(frames, how="diagonal_relaxed")
    if len(frames) > 1:
        whole = whole.unique(subset=key, keep="last", maintain_order=True)
    return whole.sort("sid", key[0])


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
    if not ordered.select(time, key).is_duplicated().any():
        return ordered
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
    known: Mapping[str, SymbolSource], frames: Sequence[pl.DataFrame]
) -> tuple[dict[str, SymbolSource], pl.DataFrame]:
    """Return the sources with the sids of new symbols, and all rows with sids instead of symbols.

    If several frames have a row for the same stamp and sid, the row of the last one is kept.
    """
    symbols = dict(known)
    numbered = []
    for frame in frames:
        if frame.columns[1] == "symbol":
            next_sid = 1 + max((s.sid for s in symbols.values()), default=0)
            new = [s for s in frame["symbol"].unique().sort() if s not in symbols]
            symbols.update((s, SymbolSource(sid)) for sid, s in enumerate(new, next_sid))
            sids = {symbol: source.sid for symbol, source in symbols.items()}
            sid = pl.col("symbol").replace_strict(sids, return_dtype=pl.Int64).alias("sid")
            frame = frame.select(frame.columns[0], sid, *frame.columns[2:])
        numbered.append(frame)
    return symbols, numbered[0] if len(numbered) == 1 else combined(numbered)
