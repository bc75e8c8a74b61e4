"""The catalog of datasets in SQLite: registered datasets, bundles, and series in the store.

Registrations and links are rows of the SQLite file, which is the only place where they are. Bundles
are found by reading their folder, lanes (stored bars of one kind for one series) by asking the
store, and the reads of recorded runs in their records.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from math import ceil, floor
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar, Unpack

import pandas as pd

from ...core.calendars.calendar import calendar_for
from ...core.calendars.ranges import moment_of
from ...core.disk.derived import transact
from ...core.disk.files import Disk
from ...core.model.time.instant import DAY_MS, iso
from ...core.model.time.span import Span
from ...core.model.time.timeframe import Timeframe
from ...core.model.words.caller import warn_user
from ...errors import DataError, QueryError
from ..bundles.bundle import Bundle
from ..bundles.bundle_files import METADATA, BundleFiles, checked_name
from ..bundles.bundle_records import Records, new_dataset_id
from ..bundles.bundle_row import ROW, Totals, row_of
from ..bundles.catalog_tables import (
    CoveredRange,
    Dataset,
    RangeRow,
    SymbolRow,
    request_key,
)
from ..bundles.request import BarOptions, bar_options, checked_bar_options
from ..frames.frames import SCHEMA_VERSION
from ..lineage.lineage import client_of
from ..lineage.run_records import RunFolder, RunRecord, key_of
from ..settings.folder import DATABASE, bundles_folder, database_of
from .catalog_file import CatalogFile, remove
from .lanes import Lane, LaneDatasets, lane_id, lane_place, lane_source

if TYPE_CHECKING:
    from ...core.model.identity.instrument import Instrument
    from ...data_manager import DataManager

__all__ = ["BundleMetadata", "DataCatalog", "DatasetUse", "cache_key"]

T = TypeVar("T")
_log = logging.getLogger(__name__)
_LONGEST_TEXT = 1000
_DAY_S, _NS = DAY_MS // 1000, 10**9
_NO_MARKETS: Mapping[str, Any] = {}
_LINEAGE_LINK = "lineage %"
_BUNDLE_ID = "SELECT dataset_id FROM bundle_metadata WHERE bundle_name = ?"
_BEST_MATCH = """
    SELECT size, newness, dataset_id FROM catalog_search AS one
    WHERE symbol = :symbol AND resolution = :resolution AND size >= :size
    AND start_date <= :start AND end_date >= :end
    AND (:source IS NULL OR source = :source) AND NOT EXISTS (
        SELECT 1 FROM json_each(:others) AS wanted WHERE NOT EXISTS (
            SELECT 1 FROM catalog_search AS other WHERE other.symbol = wanted.value
            AND resolution = :resolution AND size = one.size AND newness = one.newness
            AND dataset_id = one.dataset_id AND start_date <= :start AND end_date >= :end))
    ORDER BY size, newness, dataset_id LIMIT 1
"""


class DatasetUse(NamedTuple):
    """The number of backtests that use a dataset, and the time of the latest use.

    Attributes:
        dataset_id: Id of the dataset.
        backtests: Number of different backtests linked to it.
        last: Time of the latest link to the dataset, naive UTC.
    """

    dataset_id: str
    backtests: int
    last: pd.Timestamp


class DataCatalog:
    """The datasets in a bundles folder, and the backtests that read them.

    The SQLite file contains what was registered and linked, and rows about the bundles and lanes (a
    lane contains the stored bars of one kind for one series). Any SQLite program may read it. If it
    is deleted or damaged, a new one is made, in which bundles and lanes are found again. If it
    cannot be written, datasets can be found but not registered. Thread-safe; several processes may
    use the same catalog.

    Args:
        metadata_db_path: Path of the SQLite file; its folder is the bundles folder. The path of a
            bundle's own file (``<bundles>/<name>/metadata.db``) means the file of the folder in
            which the bundle is. None means ``catalog.metadata_db`` in
            ``./config/data_catalog.yaml``, or else ``metadata.db`` in the bundles folder.
        db_path: Alias of ``metadata_db_path``, for programs that use this name.
        folder: Bundles folder, if it is not the folder that contains the SQLite file.
        manager: Data manager whose store contains the lanes; None means ``get_data_manager()``,
            called on first use.
        disk: File access; None is the file system, with permissions according to the umask.

    Attributes:
        metadata_db_path: Path of the SQLite file.

    Raises:
        ConfigError: The folder cannot be used.
        QueryError: Both ``metadata_db_path`` and ``db_path`` are given.
    """

    def __init__(
        self,
        metadata_db_path: str | os.PathLike[str] | None = None,
        *,
        db_path: str | os.PathLike[str] | None = None,
        folder: str | os.PathLike[str] | None = None,
        manager: DataManager | None = None,
        disk: Disk | None = None,
    ) -> None:
        if metadata_db_path is not None and db_path is not None:
            raise QueryError(
                "metadata_db_path and db_path are two names for one argument; pass only one of them"
            )
        given = metadata_db_path if db_path is None else db_path
        path = _path_of(given, folder)
        self._folder = bundles_folder(path.parent if given is not None and not folder else folder)
        self.metadata_db_path = str(path)
        self._manager, self._disk = manager, disk or Disk()
        self._file = CatalogFile(path, self._disk)
        self._runs = RunFolder(self._folder, self._disk)
        self._lanes = LaneDatasets(lambda: client_of(self._manager))

    def __repr__(self) -> str:
        return f"DataCatalog({self.metadata_db_path!r})"

    def close(self) -> None:
        """Do nothing: the SQLite file is open only during calls."""

    # --- datasets --------------------------------------------------------------------------

    def register_dataset(
        self,
        source: str,
        symbols: Sequence[str],
        start_date: Any,
        end_date: Any,
        resolution: str,
        checksum: str,
        parquet_path: str | os.PathLike[str] = "",
        *,
        ranges: Sequence[RangeRow] = (),
        files: Sequence[tuple[str, str, int]] = (),
        markets: Mapping[str, tuple[str, str | None]] = _NO_MARKETS,
        **options: Unpack[BarOptions],
    ) -> str:
        """Register a dataset; the registration is durable when this returns.

        Args:
            source: Source of the bars, such as ``yfinance``, ``ccxt:binance``, ``csv:custom``.
            symbols: Symbols as the caller names them; at least one.
            start_date, end_date: Range of the dataset, ends inclusive: text, date or time; naive
                means UTC. For bars shorter than a day, a date as the end is the whole UTC day.
            resolution: Timeframe, such as ``1d``.
            checksum: Checksum of its files.
            ranges: First bar, last bar and number of bars of each symbol; a symbol without an entry
                covers the whole range.
            files: Path, SHA256 and size in bytes of each file.
            markets: Maps each symbol to its type, such as ``stock``, and its exchange.
            **options: ``adjustment`` and ``session`` of the bars, as for ``get_ohlcv``. If one is
                given, the other has its default; if none is given, both are unknown.

        Returns:
            The id of the dataset, a new UUID (version 4) for each call.

        Raises:
            QueryError: An argument is invalid (a ``ValueError``); nothing is registered.
            StorageError, LockTimeoutError: The dataset is not registered.
        """
        known = checked_bar_options(options)
        timeframe = Timeframe.parse(resolution)
        start, end = _span(start_date, end_date, timeframe)
        names, label, now = _symbols(symbols), timeframe.label, int(time.time())
        covers = dict.fromkeys(names, (start, end)) | {r[0]: (r[1], r[2]) for r in ranges}
        dataset = Dataset(
            str(uuid.uuid4()),
            _text("source", source),
            label,
            start,
            end,
            _text("checksum", checksum),
            os.fspath(parquet_path),
            now,
            now,
            sum(row[3] for row in ranges),
            sum(size for _, _, size in files),
            symbols=tuple(SymbolRow(name, *markets.get(name, ())) for name in names),
            ranges=tuple(ranges),
            files=tuple((place, sha256) for place, sha256, _ in files),
            covers=tuple(CoveredRange(name, label, *ends) for name, ends in covers.items()),
            options=known if options else None,
        )
        self._write(lambda db: _put(db, dataset, time.time_ns()))
        return dataset.dataset_id

    def find_dataset(
        self,
        symbols: Sequence[str],
        start_date: Any,
        end_date: Any,
        resolution: str,
        source: str | None = None,
        **options: Unpack[BarOptions],
    ) -> str | None:
        """Return the id of a dataset that covers the whole range for each symbol, or None.

        The dataset has the adjustment and the session that the call names, by default those of
        ``get_ohlcv``. If there are several, the one with the fewest symbols is returned; on a tie,
        the latest. For a single symbol, the dataset can be a lane of the store: the lane from which
        the rules would answer or, with ``source``, any lane with that source. The bars of a lane are
        adjusted when they are read, so a lane has every adjustment.

        Data whose adjustment and session are unknown are found last, with a warning, and only if the
        call names neither: those that user code registered or wrote without them.

        Args:
            symbols: Symbols that must all be in the dataset.
            start_date, end_date: Range, ends inclusive, as for :meth:`register_dataset`. A bundle
                or lane covers the range if it contains every bar that exists in that range. For
                bars shorter than a day, a date means its first bar as the start, and its last bar
                as the end, by the calendar of the symbols; its first instant if a market is
                unknown.
            resolution: Timeframe.
            source: Source as registered; for a lane, its vendor, or its vendor and lane
                (``yahoo/1d@raw``).
            **options: ``adjustment`` and ``session``, as for ``get_ohlcv``.

        Raises:
            QueryError: An argument is invalid.

        Warns:
            UserWarning: The adjustment and the session of the dataset are unknown.
        """
        known = checked_bar_options(options)
        wanted = _symbols(symbols)
        timeframe = Timeframe.parse(resolution)
        label, (start, end) = timeframe.label, _span(start_date, end_date, timeframe)
        given = start_date, end_date
        if timeframe.is_intraday and any(map(_is_date, given)):
            start, end = self._bars_on_dates(wanted, timeframe, (start, end), given)
        bounds = {"symbol": wanted[0], "size": len(wanted), "start": start,
                  "end": end, "source": source, "others": json.dumps(wanted[1:])}  # fmt: skip
        best = next(iter(self._rows(_BEST_MATCH, **bounds, resolution=_bars(label, known))), None)
        is_one, place = len(wanted) == 1, (wanted[0], label, start, end, source)
        lane = self._lanes.find(*place, known["session"]) if is_one else None
        if lane is not None and (best is None or (1, -lane.dataset.last_updated * _NS) < best[:2]):
            self._add_lanes([lane])
            return lane.dataset.dataset_id
        if best is None and not options:
            best = next(iter(self._rows(_BEST_MATCH, **bounds, resolution=label)), None)
            if best is not None:
                warn_user(
                    f"dataset {best[2]} matches, but its adjustment and session are unknown: pass them "
                    "to register_dataset(), or to find_dataset() to find only known data"
                )
        return str(best[2]) if best else None

    def get_dataset_info(self, dataset_id: str) -> dict[str, Any]:
        """Return the catalog's information about a dataset.

        Returns:
            The columns of ``datasets`` (times are UTC seconds), ``kind``, ``symbols``,
            ``date_ranges``, ``checksums``, ``adjustment`` and ``session``. The kind is ``bundle``,
            ``lane``, ``line`` (a registered dataset) or ``read`` (a lane that is no longer stored
            here). The last two are None if they are unknown; the adjustment of a lane, whose bars are
            adjusted when they are read, is None too.

        Raises:
            QueryError: The dataset does not exist.
        """
        kind, _ = self._place_of(dataset_id)

        def rows(table: str, columns: str) -> list[dict[str, Any]]:
            """Return the dataset's rows in a table, in the order in which they were added."""
            query = f"SELECT {columns} FROM {table} WHERE dataset_id = ? ORDER BY rowid"  # noqa: S608 - constant names
            return self._dicts(query, dataset_id)

        ranges = rows("date_ranges", "symbol, start_date, end_date, bar_count, has_gaps")
        for row in ranges:
            row["has_gaps"] = None if row["has_gaps"] is None else bool(row["has_gaps"])
        files = rows("checksums", "file_path, checksum")
        options = [json.loads(row["options"]) for row in rows("catalog_options", "options")]
        return {
            **rows("datasets", "*")[0],
            **dict.fromkeys(bar_options({})),
            **(options[0] if options else {}),
            "kind": kind,
            "symbols": [row["symbol"] for row in rows("symbols", "symbol")],
            "date_ranges": ranges,
            "checksums": {row["file_path"]: row["checksum"] for row in files},
        }

    def instrument(self, symbol: str) -> Instrument | None:
        """Return the instrument that a symbol stands for under the rules; None if unclear."""
        return self._lanes.instrument(symbol, "1d")

    def register_bundle(self, name: str, path: str | os.PathLike[str]) -> str:
        """Register a bundle from any folder under a name, and return the id of its dataset.

        A bundle in the bundles folder is already known under its own name, so nothing is
        recorded for it. Any other bundle is registered as a dataset in its current state, with the
        range of each symbol. ``Bundle(name)``, the methods of ``BundleMetadata`` and ``onetape
        bundle`` then find it by its name.

        Raises:
            BundleNotFoundError, BundleError: There is no bundle in ``path``, or it cannot be
                read.
        """
        checked_name(name)
        folder = Path(path).absolute()
        bundle = Bundle(folder.name, folder.parent)
        folder, records = bundle.path, bundle.records()
        if folder.parent.resolve() == self._folder.resolve() and name == folder.name:
            return self._ids(_BUNDLE_ID, name)[0]
        dataset = replace(records.dataset(str(folder)), dataset_id=str(uuid.uuid4()))

        def register(db: sqlite3.Connection) -> None:
            """Add the rows of the dataset, and the name of the bundle."""
            _put(db, dataset, time.time_ns())
            self._note(db, name, {"source_type": dataset.source, "path": str(folder)})

        self._write(register)
        return dataset.dataset_id

    # --- backtests -------------------------------------------------------------------------

    def link_backtest_to_dataset(
        self, backtest_id: str, dataset_id: str, cached_at: Any = None
    ) -> None:
        """Record that a backtest reads a dataset; the link is durable when this returns.

        Args:
            backtest_id: Any string.
            dataset_id: Id of a dataset in the catalog.
            cached_at: Time at which the dataset was cached; naive means UTC. None means now.

        Raises:
            QueryError: The dataset does not exist, or an argument is invalid.
            StorageError, LockTimeoutError: The link is not recorded.
        """
        info = self.get_dataset_info(dataset_id)
        moment = pd.Timestamp.now("UTC") if cached_at is None else _instant("cached_at", cached_at)
        backtest, at = _text("backtest_id", backtest_id), int(moment.timestamp())
        start, end = (iso(info[bound] * 1000) for bound in ("start_date", "end_date"))
        options = {name: info[name] for name in bar_options({}) if info[name] is not None}
        series = info["source"], info["symbols"], start, end, info["resolution"]
        key = request_key(*series, options)
        self._write(lambda db: _link(db, backtest, dataset_id, at, key))

    def get_datasets_for_backtest(self, backtest_id: str) -> list[str]:
        """Return the IDs of the datasets linked to a backtest, and then of the lanes it read.

        A backtest's lanes are recorded only if it ran inside ``with lineage(backtest_id)``.
        """
        query = (
            "SELECT dataset_id FROM backtest_data_links WHERE backtest_id = ? GROUP BY dataset_id "
            "ORDER BY min(cache_key LIKE ?), min(link_id)"
        )
        return self._ids(query, _text("backtest_id", backtest_id), _LINEAGE_LINK)

    def popular_datasets(self, count: int = 10) -> list[DatasetUse]:
        """Return the datasets that the most backtests read, most popular first.

        Among equally popular datasets, the most recently read comes first.
        """
        query = (
            "SELECT dataset_id, count(DISTINCT backtest_id) AS n, max(cached_at) AS last "
            "FROM backtest_data_links GROUP BY dataset_id "
            "ORDER BY n DESC, last DESC, dataset_id LIMIT ?"
        )
        rows = self._rows(query, count)
        return [DatasetUse(key, n, pd.Timestamp(last, unit="s")) for key, n, last in rows]

    def predicted(self, symbols: Sequence[str], backtests: int = 20) -> list[str]:
        """Return the IDs of datasets read by recent backtests of these symbols, most used first.

        The next backtest of these symbols is likely to read them, so they can be fetched before
        it starts.

        Args:
            symbols: Symbols; a backtest is considered if it read a dataset with any of them.
            backtests: Maximum number of such backtests to consider, latest first.
        """
        query = (
            "WITH last AS (SELECT backtest_id, max(cached_at) AS at FROM backtest_data_links "
            "JOIN symbols USING (dataset_id) WHERE symbol IN (SELECT value FROM json_each(?)) "
            "GROUP BY backtest_id ORDER BY at DESC, backtest_id LIMIT ?) "
            "SELECT dataset_id FROM backtest_data_links JOIN last USING (backtest_id) "
            "GROUP BY dataset_id ORDER BY count(DISTINCT backtest_id) DESC, max(at) DESC, dataset_id"
        )
        return self._ids(query, json.dumps(_symbols(symbols)), backtests)

    def warm(self, datasets: Iterable[str] | None = None, count: int = 10) -> dict[str, int]:
        """Read datasets, so that their files are in the system's cache when a backtest starts.

        Args:
            datasets: Dataset ids, or None for the ``count`` most popular ones.
            count: Number of popular datasets to read if ``datasets`` is None.

        Returns:
            Maps each id to the number of bytes read, which is 0 for a registered dataset without
            files in ``parquet_path`` and for a lane that is not stored here.

        Raises:
            QueryError: A dataset does not exist.
            CacheError: A dataset cannot be read.
        """
        chosen = datasets
        if chosen is None:
            chosen = [use.dataset_id for use in self.popular_datasets(count)]
        return {name: self._read_into_memory(name) for name in chosen}

    def _read_into_memory(self, dataset_id: str) -> int:
        kind, place = self._place_of(dataset_id)
        info = self.get_dataset_info(dataset_id)
        if kind == "lane":
            series, ranges = key_of(place.partition("\n")[2]), info["date_ranges"]
            spans = [Span(r["start_date"] * 1000, (r["end_date"] + 1) * 1000) for r in ranges]
            tables = (client_of(self._manager).columns(series, span).table for span in spans)
            # Memory-mapped columns are read only when they are used.
            return sum(
                8 * len(column)
                for table in tables
                for column in (table.stamps, *table.values())
                if column.sum() is not None
            )
        if not info["parquet_path"]:
            return 0
        root = self._folder / info["parquet_path"]
        files = [root] if root.is_file() else sorted(root.rglob("*.parquet"))
        data = (self._disk.read_if_exists(file) for file in files if file.name != METADATA)
        return sum(len(content or b"") for content in data)

    def refresh(self) -> None:
        """Update the whole SQLite file, including all lanes, for programs that read it.

        Other methods only add the lanes that they find.

        Raises:
            CacheError: The store cannot be read.
        """
        self._add_lanes(self._lanes.all())

    # --- bundles, as their metadata --------------------------------------------------------

    def store_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Record user-supplied metadata for a bundle; see ``BundleMetadata.update``.

        Args:
            metadata: Fields to record, and ``bundle_name``.

        Raises:
            QueryError: ``bundle_name`` is missing, or a field does not exist.
        """
        fields = dict(metadata)
        name = checked_name(_text("bundle_name", fields.pop("bundle_name", None)))
        if unknown := sorted(set(fields) - ROW.keys()):
            raise QueryError(
                f"unknown bundle field{'s' if len(unknown) > 1 else ''}: {', '.join(unknown)}",
                hint=f"use one of {', '.join(ROW)}",
            )
        if "source_type" not in fields and self.get_bundle_metadata(name) is None:
            raise QueryError(f"the new bundle {name!r} requires a source_type")
        values = {field: _to_sql(field, value) for field, value in fields.items()}
        self._write(lambda db: self._note(db, name, values))

    # Quality is part of the same row.
    store_quality_metrics = store_metadata

    def get_bundle_metadata(self, bundle_name: str) -> dict[str, Any] | None:
        """Return a bundle's metadata row, or None if it has none; see ``BundleMetadata.get``."""
        name = checked_name(bundle_name)
        return next((row for row in self.list_bundles() if row["bundle_name"] == name), None)

    def list_bundles(
        self, source_type: str | None = None, start_date: Any = None, end_date: Any = None
    ) -> list[dict[str, Any]]:
        """Return the metadata rows, one per bundle; see ``BundleMetadata.list_bundles``."""
        columns = ", ".join(["bundle_name", *ROW, "created_at", "updated_at"])
        query = (
            f"SELECT {columns} FROM bundle_metadata "  # noqa: S608 - constant names
            "WHERE source_type = coalesce(:type, source_type) AND (:low IS NULL OR end_date >= :low) "
            "AND (:high IS NULL OR start_date <= :high) ORDER BY bundle_name"
        )
        low, high = _to_sql("start_date", start_date), _to_sql("end_date", end_date)
        rows = self._dicts(query, type=source_type, low=low, high=high)
        flags = [field for field, one in ROW.items() if one.sql == "BOOLEAN"]
        for row in rows:
            row.update((flag, bool(row[flag])) for flag in flags if row[flag] is not None)
        return rows

    def get_quality_metrics(self, bundle_name: str) -> dict[str, Any] | None:
        """Return the quality fields in a bundle's metadata row, or None if it has no row."""
        row = self.get_bundle_metadata(bundle_name)
        return row and {name: row[name] for name, field in ROW.items() if field.is_quality}

    def find_cached_bundle(self, cache_key: str) -> dict[str, Any] | None:
        """Return the bundle that answers the request with this :func:`cache_key`, or None.

        Its adjustment and session are those of the key.

        Returns:
            ``cache_key``, ``bundle_name``, ``bundle_path``, ``symbols``, ``start``, ``end``,
            ``frequency``, ``fetch_timestamp`` (UTC seconds), ``size_bytes`` and ``row_count``.
        """
        query = "SELECT bundle_name FROM bundle_metadata WHERE request_key = ? ORDER BY 1"
        for name in self._ids(query, cache_key):
            records = _records_in(self._folder / name)
            # An earlier version, which may use the same file, writes keys without options.
            if records is not None and records.request_key() == cache_key:
                break
        else:
            return None
        request, dataset = records.origin.request or {}, records.dataset()
        return {
            "cache_key": cache_key,
            "bundle_name": name,
            "bundle_path": str(self._folder / name),
            "symbols": request["symbols"],
            "start": request["start_date"],
            "end": request["end_date"],
            "frequency": request["timeframe"],
            "fetch_timestamp": dataset.last_updated,
            "size_bytes": dataset.size_bytes,
            "row_count": dataset.row_count,
        }

    def get_cache_size(self) -> int:
        """Return the total size in bytes of the files of all datasets."""
        query = "SELECT coalesce(sum(size_bytes), 0) FROM datasets"
        return int(self._rows(query)[0][0])

    # --- the file --------------------------------------------------------------------------

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def current(db: sqlite3.Connection) -> T:
            """Bring the rows up to date, which seldom writes, and call ``work``."""
            bundles, runs = self._changed_bundles(db), self._changed_runs(db)

            def update() -> None:
                """Write the rows of bundles and runs that have changed."""
                for bundle in bundles:
                    self._describe(db, *bundle)
                for run in runs:
                    self._link_run(db, *run)

            if bundles or runs:
                transact(db, update)
            return work(db)

        return self._file.read(current)

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self._read(lambda db: None)
        return self._file.write(work)

    def _rows(self, query: str, *values: Any, **named: Any) -> list[Any]:
        return self._read(lambda db: db.execute(query, values or named).fetchall())

    def _dicts(self, query: str, *values: Any, **named: Any) -> list[dict[str, Any]]:
        def dicts(db: sqlite3.Connection) -> list[dict[str, Any]]:
            """Return the rows as mappings from column to value."""
            rows = db.execute(query, values or named)
            return [dict(zip([c[0] for c in rows.description], row, strict=True)) for row in rows]

        return self._read(dicts)

    def _ids(self, query: str, *values: Any) -> list[str]:
        return [key for (key,) in self._rows(query, *values)]

    def _place_of(self, dataset_id: str) -> tuple[str, str]:
        """Return the kind and the place of a dataset; a lane's rows are brought up to date.

        Raises:
            QueryError: The dataset does not exist.
        """
        query = (
            "SELECT CASE WHEN place NOT NULL THEN 'lane' WHEN bundle_name NOT NULL THEN 'bundle' "
            "ELSE 'line' END, place FROM datasets LEFT JOIN catalog_lanes USING (dataset_id) "
            "LEFT JOIN bundle_metadata USING (dataset_id) WHERE dataset_id = ?"
        )
        row = next(iter(self._rows(query, _text("dataset_id", dataset_id))), None)
        if row is None:
            every = self._lanes.all()
            lane = next((one for one in every if one.dataset.dataset_id == dataset_id), None)
        elif row[0] != "lane":
            return row[0], row[1]
        else:
            lane = self._lanes.at(row[1])
        if lane is not None:
            self._add_lanes([lane])
            return "lane", lane.place
        if row is not None:
            return "read", row[1]
        raise QueryError(
            f"dataset {dataset_id!r} does not exist in {self.metadata_db_path}",
            hint="register_dataset() and find_dataset() return the ids of existing datasets",
        )

    # --- bundles ---------------------------------------------------------------------------

    def _changed_bundles(self, db: sqlite3.Connection) -> list[tuple[str, Path]]:
        """Return the names and folders of bundles that differ from their rows."""
        query = "SELECT bundle_name, state, path FROM bundle_metadata"
        known = {name: (state, path) for name, state, path in db.execute(query)}
        folders = {name: Path(path or self._folder / name) for name, (_, path) in known.items()}
        with suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            places = ((e.name, e.path) for e in entries if e.is_dir() and e.name[0] != ".")
            folders.update((name, Path(place)) for name, place in places)
        return [
            (name, folder)
            for name, folder in folders.items()
            if _state_of(folder, self._disk) != known.get(name, (None,))[0]
        ]

    def _describe(self, db: sqlite3.Connection, name: str, folder: Path) -> None:
        """Write the rows about a bundle that can be derived from its files."""
        for (dataset_id,) in db.execute(_BUNDLE_ID, (name,)).fetchall():
            remove(db, dataset_id)
        db.execute("DELETE FROM bundle_symbols WHERE bundle_name = ? AND NOT is_noted", (name,))
        records, state = _records_in(folder), _state_of(folder, self._disk)
        times, facts = (int(time.time()),) * 2, dict[str, Any](dataset_id=None, request_key=None)
        if records is None:
            query = "DELETE FROM bundle_metadata WHERE bundle_name = ? AND NOT is_noted"
            if db.execute(query, (name,)).rowcount and state is None:
                return
        else:
            origin = records.origin
            times = origin.created_at // 1000, origin.ingested_at // 1000
            facts |= {k: v for k, v in row_of(records).items() if v is not None}
            db.executemany(
                "INSERT OR IGNORE INTO bundle_symbols VALUES (?, ?, ?, ?, ?, 0)",
                [
                    (name, s.sid, symbol, s.asset_type, s.exchange)
                    for symbol, s in origin.symbols.items()
                ],
            )
            if folder.parent == self._folder:
                dataset = records.dataset(name)
                if origin.bundle_name != name and (self._folder / origin.bundle_name).exists():
                    dataset = replace(dataset, dataset_id=new_dataset_id(folder))  # it is a copy
                _put(db, dataset, origin.ingested_at * _NS // 1000)
                facts |= {"dataset_id": dataset.dataset_id, "request_key": records.request_key()}
        _set_row(db, name, {**facts, "state": state}, *times)

    def _note(self, db: sqlite3.Connection, name: str, fields: Mapping[str, Any]) -> None:
        """Add user-supplied fields to a bundle's row; those derived from its files take precedence."""
        now = int(time.time())
        _set_row(db, name, {**fields, "is_noted": 1}, now, now)
        query = "SELECT path FROM bundle_metadata WHERE bundle_name = ?"
        (path,) = db.execute(query, (name,)).fetchone()
        local = self._folder / name
        self._describe(db, name, Path(path) if path and not local.exists() else local)

    # --- lanes and runs ----------------------------------------------------------------------

    def _add_lanes(self, lanes: Iterable[Lane]) -> None:
        """Add rows for lanes (stored series) to the SQLite file, unless it already has them."""

        def add(db: sqlite3.Connection) -> None:
            """Write the rows of lanes that have changed."""
            query = "SELECT * FROM datasets WHERE dataset_id = ?"
            new = [
                (place, lane)
                for place, lane in lanes
                if db.execute(query, (lane.dataset_id,)).fetchone()
                != tuple(lane.columns().values())
            ]
            if new:
                transact(db, partial(_put_lanes, db, new))

        self._read(add)

    def _changed_runs(self, db: sqlite3.Connection) -> list[tuple[str, str | None]]:
        """Return the files of records that differ from their rows, with their states; None if gone."""
        known = dict(db.execute("SELECT file, state FROM catalog_runs"))
        now = {name: str(state) for name, state in self._runs.states().items()}
        names = known.keys() | now.keys()
        return [(name, now.get(name)) for name in names if known.get(name) != now.get(name)]

    def _link_run(self, db: sqlite3.Connection, file: str, state: str | None) -> None:
        """Link the lanes that a run has read to the run; if its record is gone, remove the links."""
        db.execute("DELETE FROM backtest_data_links WHERE cache_key LIKE ?", (f"lineage {file} %",))
        db.execute("DELETE FROM catalog_runs WHERE file = ?", (file,))
        if state is None:
            return
        db.execute("INSERT INTO catalog_runs VALUES (?, ?)", (file, state))
        try:
            record = self._runs.read(file)
        except DataError as exc:
            _log.warning("a run is not in the catalog: %s", exc)
        else:
            if record is not None:
                _link_reads(db, file, record)

    def _bars_on_dates(
        self,
        symbols: Sequence[str],
        timeframe: Timeframe,
        span: tuple[int, int],
        given: Sequence[Any],
    ) -> tuple[int, int]:
        """Return the range in seconds of the intraday bars in a range whose ends may be dates.

        Several markets, and bars that follow the open or the clock, begin and end at different
        times; the result is the range that they have in common.

        Args:
            symbols, timeframe: Symbols and timeframe of the bars.
            span: Start and end; the end of a date is the end of its UTC day.
            given: Start and end as the caller gave them.
        """
        start, end = span
        starts, ends = [start], [end]
        for symbol in symbols:
            instrument = self._lanes.instrument(symbol, timeframe.label)
            if instrument is None:
                return start, end - (_DAY_S - 1) * _is_date(given[1])
            calendar = calendar_for(instrument)
            for anchor in ("session", "clock"):
                starts += [calendar.next_open(timeframe, start * 1000, anchor) // 1000]
                ends += [calendar.back(timeframe, (end + 1) * 1000, 1, anchor) // 1000]
        if _is_date(given[0]) and max(starts) <= end:
            start = max(starts)
        return start, max(end - _DAY_S + 1, min(ends)) if _is_date(given[1]) else end


@dataclass(frozen=True)
class BundleMetadata:
    """The recorded metadata of one bundle.

    The attributes are a fixed summary: a new field of a bundle's row (see ``bundles/bundle_row.py``) does
    not become one. It is in the row that :meth:`get` and :meth:`list_bundles` return.

    Attributes:
        bundle_name: Name of the bundle.
        symbols: Symbols in the order of their numbers.
        start_date, end_date: Times of the first and last bar, naive UTC; None if the bundle has no
            bars.
        frequency: Timeframe of the bars; if the bundle contains daily and minute bars, both
            timeframes, separated by a comma.
        source_type: Vendor's name; ``onetape`` if the library chose the vendors; or the name given
            by user code.
        ingestion_time: Time of the last change, naive UTC.
        row_count, size_bytes: Number of rows, and size in bytes, of all files together.
        quality_score: Score from 0 to 1: the mean of the answers' scores, weighted by their bars; a
            missing bar counts as 0. For rows written by user code, the fraction of valid rows.
        missing_data_pct: Percentage (0 to 100) of the bars expected by the calendar that are
            missing, for all requested symbols, including symbols without an answer. For rows
            written by user code, no bar is expected.
        schema_version: Schema version of the bundle's files.
    """

    bundle_name: str
    symbols: list[str]
    start_date: pd.Timestamp | None
    end_date: pd.Timestamp | None
    frequency: str
    source_type: str
    ingestion_time: pd.Timestamp
    row_count: int
    size_bytes: int
    quality_score: float
    missing_data_pct: float
    schema_version: str

    _folder: ClassVar[Path | None] = None
    _database: ClassVar[Path | None] = None

    @classmethod
    def load(cls, name: str, folder: str | os.PathLike[str] | None = None) -> BundleMetadata:
        """Return the metadata of a bundle; lost records are rebuilt from its files.

        Raises:
            BundleNotFoundError: The bundle does not exist.
            QueryError: The name is invalid.
            BundleError, FormatVersionError: The bundle cannot be read.
        """
        records = Bundle(name, folder or cls._folder).records()
        origin, totals, names = records.origin, Totals.of(records), records.names()
        return cls(
            bundle_name=origin.bundle_name,
            symbols=[names[sid] for sid in sorted(names)],
            start_date=_stamp(totals.start_ms),
            end_date=_stamp(totals.end_ms),
            frequency=",".join(sorted(set(origin.resolutions.values()))),
            source_type=origin.source_type,
            ingestion_time=pd.Timestamp(origin.ingested_at, unit="ms"),
            row_count=totals.rows,
            size_bytes=totals.size_bytes,
            quality_score=totals.quality,
            missing_data_pct=totals.missing_pct,
            schema_version=str(SCHEMA_VERSION),
        )

    # --- by name ---------------------------------------------------------------------------

    @classmethod
    def set_db_path(cls, db_path: str | os.PathLike[str] | None) -> None:
        """Use a catalog, and its folder as the bundles folder, in the class methods below.

        The setting applies to the whole process; None restores the configured folder.
        """
        cls._database = None if db_path is None else Path(db_path).absolute()
        cls._folder = None if cls._database is None else cls._database.parent

    @classmethod
    def update(cls, bundle_name: str, **fields: Any) -> None:
        """Record user-supplied metadata for a bundle, with or without files; this is durable.

        Args:
            bundle_name: Name of the bundle.
            fields: Fields of the row that :meth:`get` returns. Times may be text or anything that
                pandas accepts. Values that can be derived from the files (rows, dates, sizes and
                digests) take precedence.

        Raises:
            QueryError: A field does not exist, or ``source_type`` is missing although nothing is
                known about the bundle yet (a ``ValueError``).
            StorageError, LockTimeoutError: The metadata is not recorded.
        """
        cls._catalog().store_metadata({"bundle_name": bundle_name, **fields})

    @classmethod
    def get(cls, bundle_name: str) -> dict[str, Any] | None:
        """Return a bundle's row, or None if it has none. Times are Unix timestamps in seconds."""
        return cls._catalog().get_bundle_metadata(bundle_name)

    @classmethod
    def list_bundles(
        cls, source_type: str | None = None, start_date: Any = None, end_date: Any = None
    ) -> list[dict[str, Any]]:
        """Return one row per bundle, sorted by name.

        Args:
            source_type: Only source type to include; None means all.
            start_date, end_date: Range, ends inclusive, in which a bundle must have bars to be
                included.
        """
        return cls._catalog().list_bundles(source_type, start_date, end_date)

    @classmethod
    def delete(cls, bundle_name: str) -> bool:
        """Delete the metadata that user code recorded for a bundle; return whether there was any.

        The bundle's files stay.
        """
        catalog = cls._catalog()

        def delete(db: sqlite3.Connection) -> bool:
            """Delete the rows, and write those again that can be derived from files."""
            query = "DELETE FROM bundle_metadata WHERE bundle_name = ? AND is_noted"
            if not db.execute(query, (bundle_name,)).rowcount:
                return False
            db.execute("DELETE FROM bundle_symbols WHERE bundle_name = ?", (bundle_name,))
            catalog._describe(db, bundle_name, catalog._folder / bundle_name)
            return True

        return catalog._write(delete)

    @classmethod
    def add_symbol(
        cls, bundle_name: str, symbol: str, asset_type: str, exchange: str | None = None
    ) -> int:
        """Record a symbol in a bundle and return its number; a known symbol keeps its number.

        Raises:
            QueryError: Nothing is recorded for this bundle.
        """
        if cls.get(bundle_name) is None:
            raise QueryError(f"bundle {bundle_name!r} does not exist", hint="update() creates it")

        def add(db: sqlite3.Connection) -> int:
            """Add the row, with a number that no other symbol of the bundle has."""
            query = (
                "SELECT symbol_id FROM bundle_symbols WHERE bundle_name = :bundle AND symbol = :symbol "
                "UNION ALL "
                "SELECT 1 + coalesce(max(symbol_id), 0) FROM bundle_symbols WHERE bundle_name = :bundle"
            )
            given = {"bundle": bundle_name, "symbol": symbol}
            (number,) = db.execute(query, given).fetchone()
            values = bundle_name, number, symbol, asset_type, exchange
            db.execute("INSERT OR REPLACE INTO bundle_symbols VALUES (?, ?, ?, ?, ?, 1)", values)
            return int(number)

        return cls._catalog()._write(add)

    @classmethod
    def get_symbols(cls, bundle_name: str) -> list[dict[str, Any]]:
        """Return one row per symbol, ordered by ``symbol_id``.

        Each row has ``symbol_id``, ``symbol``, ``asset_type`` and ``exchange``.
        """
        query = (
            "SELECT symbol_id, symbol, asset_type, exchange FROM bundle_symbols "
            "WHERE bundle_name = ? ORDER BY symbol_id"
        )
        return cls._catalog()._dicts(query, bundle_name)

    @classmethod
    def get_quality_metrics(cls, bundle_name: str) -> dict[str, Any] | None:
        """Return the quality fields in a bundle's metadata row, or None if the bundle does not exist."""
        return cls._catalog().get_quality_metrics(bundle_name)

    @classmethod
    def count_bundles(cls) -> int:
        """Return the number of bundles."""
        return len(cls.list_bundles())

    @classmethod
    def count_symbols(cls, bundle_name: str) -> int:
        """Return the number of symbols in a bundle."""
        return len(cls.get_symbols(bundle_name))

    @classmethod
    def _catalog(cls) -> DataCatalog:
        return DataCatalog(cls._database, folder=cls._folder)

    def as_dict(self) -> dict[str, Any]:
        """Return the metadata as a dict, with times as ISO text."""
        return {
            name: value.isoformat() if isinstance(value, pd.Timestamp) else value
            for name, value in asdict(self).items()
        }


# --- rows --------------------------------------------------------------------------------------


def _put(db: sqlite3.Connection, dataset: Dataset, at_ns: int | None) -> None:
    """Add a dataset's rows, within a transaction; searches find it if it has a time ``at_ns``."""
    remove(db, dataset.dataset_id)
    dataset.put(db)
    options = dataset.options
    if options is not None:
        row = dataset.dataset_id, json.dumps(options)
        db.execute("INSERT INTO catalog_options VALUES (?, ?)", row)
    if at_ns is not None:
        key, size, source = dataset.dataset_id, len(dataset.symbols), dataset.source
        db.executemany(
            "INSERT OR IGNORE INTO catalog_search VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (c.symbol, _bars(c.resolution, options), size, -at_ns, key, c.start, c.end, source)
                for c in dataset.covers
            ],
        )


def _put_lanes(db: sqlite3.Connection, lanes: Iterable[tuple[str, Dataset]]) -> None:
    for place, dataset in lanes:
        _put(db, dataset, None)
        row = dataset.dataset_id, place
        db.execute("INSERT OR REPLACE INTO catalog_lanes VALUES (?, ?)", row)


def _link(db: sqlite3.Connection, backtest: str, dataset: str, at: int, cache_key: str) -> None:
    db.execute(
        "INSERT INTO backtest_data_links (backtest_id, dataset_id, cached_at, cache_key) "
        "VALUES (?, ?, ?, ?)",
        (backtest, dataset, at, cache_key),
    )


def _link_reads(db: sqlite3.Connection, file: str, record: RunRecord) -> None:
    """Link the lanes that a run read; without rows from the store, a lane gets those of the read."""
    for number, read in enumerate(record.reads):
        if not read.pieces:
            continue
        key, at, place = read.key, read.asked_ms // 1000, lane_place(read.cache, read.key)
        dataset = Dataset(
            lane_id(place),
            lane_source(read.provider or "onetape", key),
            key.timeframe.label,
            read.spans[0].start // 1000,
            read.spans[-1].end // 1000 - 1,
            read.pieces[-1].digest,
            last_updated=at,
            row_count=read.rows,
            symbols=(SymbolRow(key.symbol),),
        )
        own = dataset.dataset_id
        if not db.execute("SELECT 1 FROM date_ranges WHERE dataset_id = ?", (own,)).fetchone():
            _put_lanes(db, [(place, dataset)])  # nothing is known about it from the store
        link = f"lineage {file} {number} {read.series} #{read.generation}"
        _link(db, record.run, own, at, link)


def _set_row(
    db: sqlite3.Connection, name: str, fields: Mapping[str, Any], created: int, updated: int
) -> None:
    """Set fields in a bundle's row in ``bundle_metadata``, and the times of its changes."""
    query = "INSERT OR IGNORE INTO bundle_metadata (bundle_name, created_at, updated_at) VALUES (?, ?, ?)"
    db.execute(query, (name, created, updated))
    sets = "".join(f"{field} = ?, " for field in fields)  # names of fields, as declared
    db.execute(
        f"UPDATE bundle_metadata SET {sets} created_at = min(created_at, ?), "  # noqa: S608 - constant names
        "updated_at = max(updated_at, ?) WHERE bundle_name = ?",
        (*fields.values(), created, updated, name),
    )


def _state_of(folder: Path, disk: Disk) -> str | None:
    """Return the state of a bundle's files; None if the folder is not a bundle."""
    files = BundleFiles(folder, disk)
    with suppress(DataError):
        if files.exists():
            return str(files.moment())
    return None


def _records_in(folder: Path) -> Records | None:
    """Return the records of a bundle; None if there is none in the folder, or if it is unreadable."""
    try:
        files = BundleFiles(folder)
        return files.records() if files.exists() else None
    except DataError:
        return None  # `onetape bundle validate` reports the fault


def _to_sql(field: str, value: Any) -> Any:
    """Convert the value of a field to a value of SQLite, with times as UTC seconds."""
    if value is not None and (
        field.endswith(("_date", "_timestamp")) or hasattr(value, "isoformat")
    ):
        return int(_instant(field, value).timestamp())
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list | dict):
        return json.dumps(value)
    raise QueryError(
        f"a bundle field must be a number, a string or a time, not {type(value).__name__}"
    )


def _bars(resolution: str, options: Mapping[str, Any] | None) -> str:
    """Return the timeframe as searches compare it: with the options of the query, if they are known."""
    return resolution if options is None else f"{resolution} {json.dumps(options, sort_keys=True)}"


def cache_key(
    source: str,
    symbols: Sequence[str],
    start_date: Any,
    end_date: Any,
    resolution: str,
    **options: Unpack[BarOptions],
) -> str:
    """Return the SHA256 of a request as 64 hex digits; the order of the symbols does not matter.

    Args:
        source: Source of the bars.
        symbols: Symbols, at least one.
        start_date, end_date: Bounds of the range, to the millisecond: text, a date or a time. Naive
            means UTC; None means no bound.
        resolution: Timeframe.
        **options: ``adjustment`` and ``session``, by default those of ``get_ohlcv``.

    Raises:
        QueryError: An argument is invalid.
    """
    known = checked_bar_options(options)
    start, end = (
        None if value is None else iso(int(_instant("bound", value).timestamp() * 1000))
        for value in (start_date, end_date)
    )
    label = Timeframe.parse(resolution).label
    return request_key(_text("source", source), _symbols(symbols), start, end, label, known)


def _path_of(wanted: str | os.PathLike[str] | None, folder: str | os.PathLike[str] | None) -> Path:
    """Return the path of the catalog's SQLite file."""
    if wanted is None:
        return database_of(bundles_folder(folder))
    if not os.fspath(wanted):
        raise QueryError("the path of the catalog is an empty string", hint="name a file")
    path = Path(wanted).absolute()
    # A bundle's own file is written again whenever the bundle changes.
    is_own = path.name == DATABASE and path.with_name(METADATA).exists()
    return path.parent.parent / DATABASE if is_own else path


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TEXT or not value.isprintable():
        raise QueryError(
            f"{name} must be a printable string of up to {_LONGEST_TEXT} characters, not {value!r:.80}"
        )
    return value


def _symbols(given: Any) -> list[str]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise QueryError(f"symbols must be a list, not {given!r:.80}", hint="['AAPL']")
    symbols = list(dict.fromkeys(given))
    if not symbols:
        raise QueryError("a dataset needs at least one symbol")
    # Checked all at once, because a universe has hundreds of symbols.
    are_text = all(symbols) and set(map(type, symbols)) == {str}
    if not are_text or max(map(len, symbols)) > _LONGEST_TEXT or not "".join(symbols).isprintable():
        for symbol in symbols:
            _text("symbol", symbol)
    return symbols


def _span(start: Any, end: Any, timeframe: Timeframe) -> tuple[int, int]:
    """Return a range in UTC seconds, both ends inclusive; integers are taken as UTC seconds.

    A daily bar has its date's first instant, so only a range of shorter bars needs the whole day.
    """
    first = start if type(start) is int else ceil(_instant("start_date", start).timestamp())
    last = end if type(end) is int else floor(_instant("end_date", end).timestamp())
    if timeframe.is_intraday and _is_date(end):
        last += _DAY_S - 1
    if first > last:
        raise QueryError(f"start_date {start} is after end_date {end}")
    return first, last


def _is_date(value: Any) -> bool:
    moment = moment_of(value)
    return moment is not None and not isinstance(moment, datetime)


def _instant(name: str, value: Any) -> pd.Timestamp:
    """Convert a value to a timezone-aware time; an integer is taken as UTC seconds."""
    try:
        stamp = pd.Timestamp(value, unit="s") if type(value) is int else pd.Timestamp(value)
        if pd.isna(stamp):
            raise ValueError("the value is missing")
        return stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp.tz_convert("UTC")
    except (ValueError, TypeError, OverflowError) as exc:
        raise QueryError(
            f"{name} is not a time: {value!r:.80}",
            hint="use UTC seconds, a datetime or a string such as 2024-01-12",
        ) from exc


def _stamp(ms: int | None) -> pd.Timestamp | None:
    return None if ms is None else pd.Timestamp(ms, unit="ms")
