"""The catalog of datasets: an index that is rebuilt from bundles, the store and ``catalog.jsonl``.

A dataset is a bundle, a lane of the store, or a set of files registered by user code.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from math import ceil, floor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import pandas as pd

from ..calendars.calendar import calendar_for
from ..calendars.ranges import moment_of
from ..disk.files import Disk
from ..errors import BundleError, DataError, FormatVersionError, QueryError
from ..model.instant import DAY_MS, iso
from ..model.span import Span
from ..model.timeframe import Timeframe
from .bundle import Bundle, bundle_names
from .bundle_records import DATABASE, Records, check_database
from .catalog_bundles import BundleSource
from .catalog_index import CatalogIndex
from .catalog_lanes import LaneDatasets
from .catalog_lines import DATASET, LINK, LineSource, dataset_of
from .catalog_log import CatalogLog, entry_of
from .catalog_rows import DatasetLocation, lane_id, lane_location, put
from .catalog_tables import Dataset, RangeRow, SymbolRow, request_key
from .commit import BundleFiles, checked_name
from .data_catalog_settings import metadata_db_setting
from .folder import bundles_folder
from .lineage import client_of
from .lineage_lines import key_of, runs_in
from .metadata import BundleMetadata

if TYPE_CHECKING:
    import sqlite3

    from ..data_manager import DataManager
    from ..model.instrument import Instrument
    from ..model.series import SeriesKey

__all__ = ["DataCatalog", "DatasetUse", "cache_key"]

T = TypeVar("T")
_logger = logging.getLogger(__name__)
_LONGEST_TEXT = 1000
_DAY_S = DAY_MS // 1000
_NO_MARKETS: Mapping[str, Any] = {}


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
    """The datasets in a bundles folder, or in one bundle, and the backtests that read them.

    Each registration and each link is recorded as a durable line in ``catalog.jsonl`` in that
    folder. The SQLite file is an index of these lines, of the bundles, and of the requested lanes
    (a lane contains the stored bars of one kind for one series). Any SQLite program may read
    it. If it is deleted, it is rebuilt. If it cannot be written, the index is kept in memory.
    Thread-safe; several processes may use the same catalog.

    Args:
        metadata_db_path: Path of the SQLite file; its folder is the bundles folder. With the
            path of one bundle's file (``<bundles>/<name>/metadata.db``), the catalog covers only
            this bundle. None means ``catalog.metadata_db`` in ``./config/data_catalog.yaml``, or
            else ``metadata.db`` in the bundles folder.
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
        path, scope = _path_of(given, folder)
        self._folder = bundles_folder(path.parent if given is not None and not folder else folder)
        if scope:
            self._folder = self._folder.parent
        self.metadata_db_path = str(path)
        self._manager, self._scope, self._disk = manager, scope, disk or Disk()
        self._log = CatalogLog(self._folder, self._disk)
        self._rows: type[BundleMetadata] = type(
            "BundleRows", (BundleMetadata,), {"_folder": self._folder}
        )
        self._bundle_source = BundleSource(
            self._folder,
            self._records_of,
            lambda name: (self._rows.get(name), self._rows.get_symbols(name)),
            self._disk,
            scope,
            index="" if scope else path.name,
        )
        self._index = CatalogIndex(
            None if scope else path,
            LineSource(self._log, scope),
            self._bundle_source,
            self._disk,
        )
        self._bundles: dict[str, tuple[object, Dataset]] = {}
        self._lanes = LaneDatasets(lambda: client_of(self._manager))
        self._kept: dict[str, Dataset] = {}
        self._published: object = None

    def __repr__(self) -> str:
        return f"DataCatalog({self.metadata_db_path!r})"

    def close(self) -> None:
        """Close the SQLite file; the next method call reopens it."""
        self._index.close()

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

        Returns:
            The id of the dataset, a new UUID (version 4) for each call.

        Raises:
            QueryError: An argument is invalid (a ``ValueError``); nothing is registered.
            StorageError, LockTimeoutError: The dataset is not registered.
        """
        timeframe = Timeframe.parse(resolution)
        start, end = _span(start_date, end_date, timeframe)
        entry = {
            "id": str(uuid.uuid4()),
            "source": _text("source", source),
            "symbols": _symbols(symbols),
            "start": iso(start * 1000),
            "end": iso(end * 1000),
            "resolution": timeframe.label,
            "checksum": _text("checksum", checksum),
            "path": os.fspath(parquet_path),
            "bundle": self._scope,
            **({"ranges": [list(row) for row in ranges]} if ranges else {}),
            **({"files": [list(row) for row in files]} if files else {}),
            **({"markets": {name: list(row) for name, row in markets.items()}} if markets else {}),
        }
        self._record(DATASET, entry)
        return str(entry["id"])

    def find_dataset(
        self,
        symbols: Sequence[str],
        start_date: Any,
        end_date: Any,
        resolution: str,
        source: str | None = None,
    ) -> str | None:
        """Return the id of a dataset that covers the whole range for each symbol, or None.

        If there are several, the one with the fewest symbols is returned; on a tie, the latest. For
        a single symbol, the dataset can be a lane of the store: the lane from which the rules would
        answer or, with ``source``, any lane with that source.

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

        Raises:
            QueryError: An argument is invalid.
        """
        wanted = _symbols(symbols)
        timeframe = Timeframe.parse(resolution)
        label, (start, end) = timeframe.label, _span(start_date, end_date, timeframe)
        given = start_date, end_date
        if timeframe.is_intraday and any(map(_is_date, given)):
            start, end = self._bars_on_dates(wanted, timeframe, (start, end), given)
        for _ in range(2):
            best, is_sound = self._best_match(wanted, label, start, end, source)
            if is_sound:
                break
            self._index.doubt()
        lane = self._lane_for(wanted, label, start, end, source)
        if lane is not None and (best is None or _rank(lane[1]) < best[0]):
            self._add_lanes([lane])
            return lane[1].dataset_id
        return best[1] if best else None

    def get_dataset_info(self, dataset_id: str) -> dict[str, Any]:
        """Return the catalog's information about a dataset.

        Returns:
            The columns of ``datasets`` (times are UTC seconds), ``kind``, ``symbols``,
            ``date_ranges`` and ``checksums``. The kind is ``bundle``, ``lane``, ``line`` (a
            registered dataset) or ``read`` (a lane that is no longer stored here).

        Raises:
            QueryError: The dataset does not exist.
        """
        location, dataset = self._dataset(_text("dataset_id", dataset_id))
        return {
            **dataset.columns(),
            "kind": location.type,
            "symbols": [row.symbol for row in dataset.symbols],
            "date_ranges": [
                {
                    "symbol": row.symbol,
                    "start_date": row.start,
                    "end_date": row.end,
                    "bar_count": row.bars,
                    "has_gaps": row.has_gaps,
                }
                for row in dataset.ranges
            ],
            "checksums": dict(dataset.files),
        }

    def instrument(self, symbol: str) -> Instrument | None:
        """Return the instrument that a symbol stands for under the rules; None if unclear."""
        return self._lanes.instrument(symbol, "1d")

    def register_bundle(self, name: str, path: str | os.PathLike[str]) -> str:
        """Register a bundle from any folder under a name, and return the id of its dataset.

        A bundle in the bundles folder is already known under its own name, so nothing is
        recorded for it. Any other bundle is registered as a dataset in its current state.
        ``Bundle(name)``, the methods of ``BundleMetadata`` and ``onetape bundle`` then find it by
        its name.

        Raises:
            BundleNotFoundError, BundleError: There is no bundle in ``path``, or it cannot be
                read.
        """
        checked_name(name)
        folder = Path(path).absolute()
        bundle = Bundle(folder.name, folder.parent)
        folder = bundle.path
        dataset = bundle.records().dataset()
        if folder.parent.resolve() == self._folder.resolve() and name == folder.name:
            return self._bundle_id(name)
        first, *others = sorted({cover.resolution for cover in dataset.covers}) or [""]
        if others or not first:
            raise BundleError(
                f"bundle {folder} has bars in {dataset.resolution or 'no timeframe'}",
                hint="only a bundle with exactly one timeframe can be registered",
            )
        self._rows.locate(name, folder, dataset.source)
        return self.register_dataset(
            dataset.source,
            [row.symbol for row in dataset.symbols],
            max(cover.start for cover in dataset.covers),
            min(cover.end for cover in dataset.covers),
            first,
            dataset.checksum,
            folder,
        )

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
        location, dataset = self._dataset(_text("dataset_id", dataset_id))
        moment = pd.Timestamp.now("UTC") if cached_at is None else _instant("cached_at", cached_at)
        entry: dict[str, Any] = {
            "backtest": _text("backtest_id", backtest_id),
            "dataset": dataset.dataset_id,
            "at": iso(int(moment.timestamp() * 1000)),
            "cache_key": _key_of(dataset),
        }
        if location.type in ("lane", "read"):  # the store may drop it one day
            cache, _, series = location.key.partition("\n")
            entry |= {
                "cache": cache,
                "series": series,
                "source": dataset.source,
                "start": iso(dataset.start_date * 1000),
                "end": iso(dataset.end_date * 1000),
                "checksum": dataset.checksum,
                "rows": dataset.row_count,
            }
        self._record(LINK, entry)

    def get_datasets_for_backtest(self, backtest_id: str) -> list[str]:
        """Return the IDs of the datasets linked to a backtest, and of the lanes it read.

        A backtest's lanes are recorded only if it ran inside ``with lineage(backtest_id)``. The ids
        are read from the log itself, not from the index.

        Raises:
            CorruptEntryError, FormatVersionError, StorageError: The log cannot be read.
        """
        wanted = _text("backtest_id", backtest_id)
        links = self._log.entries(LINK, holding=wanted)
        ids = [str(e["dataset"]) for e in links if e.get("backtest") == wanted and "dataset" in e]
        run = runs_in(self._log, wanted).get(wanted)
        if run is not None and not run.is_forgotten:
            reads = (read for read in run.reads if read.pieces)
            ids += [lane_id(lane_location(read.cache, str(read.series))) for read in reads]
        if self._scope:
            known = self._read(lambda db: db.execute("SELECT dataset_id FROM datasets").fetchall())
            ids = [dataset_id for dataset_id in ids if (dataset_id,) in known]
        return list(dict.fromkeys(ids))

    def popular_datasets(self, count: int = 10) -> list[DatasetUse]:
        """Return the datasets that the most backtests read, most popular first.

        Among equally popular datasets, the most recently read comes first.
        """
        rows = self._read(
            lambda db: db.execute(
                "SELECT dataset_id, count(DISTINCT backtest_id) AS n, max(cached_at) AS last "
                "FROM backtest_data_links GROUP BY dataset_id "
                "ORDER BY n DESC, last DESC, dataset_id LIMIT ?",
                (count,),
            ).fetchall()
        )
        return [DatasetUse(key, n, pd.Timestamp(last, unit="s")) for key, n, last in rows]

    def predicted(self, symbols: Sequence[str], backtests: int = 20) -> list[str]:
        """Return the IDs of datasets read by recent backtests of these symbols, most used first.

        The next backtest of these symbols is likely to read them, so they can be fetched before
        it starts.

        Args:
            symbols: Symbols; a backtest is considered if it read a dataset with any of them.
            backtests: Maximum number of such backtests to consider, latest first.
        """
        rows = self._read(
            lambda db: db.execute(
                "WITH last AS (SELECT backtest_id, max(cached_at) AS at FROM backtest_data_links "
                "JOIN symbols USING (dataset_id) WHERE symbol IN (SELECT value FROM json_each(?)) "
                "GROUP BY backtest_id ORDER BY at DESC, backtest_id LIMIT ?) "
                "SELECT dataset_id FROM backtest_data_links JOIN last USING (backtest_id) "
                "GROUP BY dataset_id ORDER BY count(DISTINCT backtest_id) DESC, max(at) DESC, dataset_id",
                (json.dumps(_symbols(symbols)), backtests),
            ).fetchall()
        )
        return [dataset_id for (dataset_id,) in rows]

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
        return {name: self._read_into_memory(*self._dataset(name)) for name in chosen}

    def _read_into_memory(self, location: DatasetLocation, dataset: Dataset) -> int:
        if location.type == "lane":
            series = key_of(location.key.partition("\n")[2])
            spans = [Span(r.start * 1000, (r.end + 1) * 1000) for r in dataset.ranges]
            tables = (client_of(self._manager).columns(series, span).table for span in spans)
            # Memory-mapped columns are read only when they are used.
            return sum(
                8 * len(column)
                for table in tables
                for column in (table.stamps, *table.values())
                if column.sum() is not None
            )
        root = (
            self._folder / location.key if location.type == "bundle" else Path(dataset.parquet_path)
        )
        if location.type == "read" or not dataset.parquet_path:
            return 0
        files = [root / name for name, _ in dataset.files] or sorted(root.rglob("*.parquet"))
        return sum(len(self._disk.read_if_exists(file) or b"") for file in files)

    def refresh(self) -> None:
        """Update the whole SQLite file, including all lanes, for programs that read it.

        Other methods only add the lanes that they find.

        Raises:
            CacheError: The store cannot be read.
        """
        self._index.doubt()
        self._publish()
        if not self._scope:
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
        self._rows.update(_text("bundle_name", fields.pop("bundle_name", None)), **fields)

    # Quality is part of the same row.
    store_quality_metrics = store_metadata

    def get_bundle_metadata(self, bundle_name: str) -> dict[str, Any] | None:
        """Return a bundle's metadata row, or None if it has none; see ``BundleMetadata.get``."""
        return self._rows.get(bundle_name)

    def list_bundles(
        self, source_type: str | None = None, start_date: Any = None, end_date: Any = None
    ) -> list[dict[str, Any]]:
        """Return the metadata rows, one per bundle; see ``BundleMetadata.list_bundles``."""
        return self._rows.list_bundles(source_type, start_date, end_date)

    def get_quality_metrics(self, bundle_name: str) -> dict[str, Any] | None:
        """Return the quality fields in a bundle's metadata row, or None if it has no row."""
        return self._rows.get_quality_metrics(bundle_name)

    def find_cached_bundle(self, cache_key: str) -> dict[str, Any] | None:
        """Return the bundle that answers the request with this :func:`cache_key`, or None.

        Returns:
            ``cache_key``, ``bundle_name``, ``bundle_path``, ``symbols``, ``start``, ``end``,
            ``frequency``, ``fetch_timestamp`` (UTC seconds), ``size_bytes`` and ``row_count``.
        """
        query = "SELECT * FROM bundle_cache WHERE cache_key = ? ORDER BY bundle_name"

        def work(db: sqlite3.Connection) -> dict[str, Any] | None:
            """Return the row with the requested key as a mapping from column to value, or None."""
            rows = db.execute(query, (cache_key,))
            row = rows.fetchone()
            return row and dict(zip([column[0] for column in rows.description], row, strict=True))

        bundle = self._read(work)
        return bundle and {**bundle, "symbols": json.loads(bundle["symbols"])}

    def get_cache_size(self) -> int:
        """Return the total size in bytes of the bundles' files."""
        query = "SELECT coalesce(sum(size_bytes), 0) FROM datasets"
        return int(self._read(lambda db: db.execute(query).fetchone())[0])

    # --- the index -------------------------------------------------------------------------

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        result = self._index.read(work)
        if self._index.is_new:
            self._index.is_new = False
            self._kept.clear()
        return result

    def _best_match(
        self, symbols: list[str], resolution: str, start: int, end: int, source: str | None
    ) -> tuple[tuple[tuple[Any, ...], str] | None, bool]:
        """Return the rank and id of the best matching dataset (None if none matches).

        The second value is whether the index was correct: each match in it is checked against the
        log or the bundle's records.
        """
        query = (
            "SELECT catalog_search.size, newness, tie, dataset_id, kind, place, catalog_places.size "
            "FROM catalog_search JOIN catalog_places USING (dataset_id) "
            "WHERE symbol = ? AND resolution = ? AND catalog_search.size >= ? AND start_date <= ? "
            "AND end_date >= ? AND (? IS NULL OR source = ?) ORDER BY catalog_search.size, newness, tie"
        )
        bounds = (symbols[0], resolution, len(symbols), start, end, source, source)

        def best(db: sqlite3.Connection) -> tuple[tuple[tuple[Any, ...], str] | None, bool]:
            """Return the first correct match (rank and id) or None, and whether all were correct."""
            is_sound = True
            for *rank, dataset_id, location_type, key, size in db.execute(query, bounds):
                where = DatasetLocation(location_type, key, size)
                covered = self._covered_symbols(where, dataset_id, resolution, start, end)
                is_sound = is_sound and symbols[0] in covered
                if covered.issuperset(symbols):
                    return ((*rank, dataset_id), dataset_id), is_sound
            return None, is_sound

        return self._read(best)

    def _covered_symbols(
        self, location: DatasetLocation, dataset_id: str, resolution: str, start: int, end: int
    ) -> set[str]:
        """Return the symbols for which a dataset covers a range, without trusting the index.

        Instead, the dataset's line in the log or the bundle's records are read.
        """
        dataset = self._source_dataset(location)
        if dataset is None or dataset.dataset_id != dataset_id:
            return set()
        return dataset.covered(resolution, start, end)

    def _entry(self, location: DatasetLocation) -> dict[str, Any]:
        """Return the log entry at a location; empty if the index has a wrong offset."""
        try:
            content = self._log.read_at(int(location.key), int(location.size))
        except (ValueError, TypeError, OverflowError):
            return {}
        return entry_of(content[0]) if content else {}

    def _source_dataset(self, location: DatasetLocation) -> Dataset | None:
        """Return a dataset from its authoritative source, or None if it is not there.

        A registered dataset is read from its line in ``catalog.jsonl``, a bundle from its records.
        """
        try:
            if location.type == "line":
                return dataset_of(self._entry(location))
            name = checked_name(location.key)
        except (KeyError, TypeError, ValueError):
            return None
        state = BundleFiles(self._folder / name, self._disk).moment()
        cached = self._bundles.get(name)
        if cached is None or cached[0] != state:
            records = self._records_of(name)
            if records is None:
                return None
            cached = self._bundles[name] = state, self._bundle_source.dataset_of(name, records)
        return cached[1]

    def _dataset(self, dataset_id: str) -> tuple[DatasetLocation, Dataset]:
        """Return a dataset, and the location of its authoritative source.

        Raises:
            QueryError: The dataset does not exist.
        """
        for attempt in range(3):
            row = self._read(
                lambda db: db.execute(
                    "SELECT kind, place, size FROM catalog_places WHERE dataset_id = ?",
                    (dataset_id,),
                ).fetchone()
            )
            if row is None:
                if attempt:
                    break
                if self._is_recorded(dataset_id):
                    self._index.doubt()
                elif not self._scope:
                    self._kept.clear()
                    self._add_lanes(self._lanes.all())
                continue
            location = DatasetLocation(*row)
            dataset = None
            if location.type in ("lane", "read"):  # from the store, or else from the line about it
                dataset = self._lanes.at(location)
                dataset = dataset or self._read(lambda db: _row_of(db, dataset_id))
            if location.type in ("line", "bundle"):
                dataset = self._source_dataset(location)
            if dataset is not None and dataset.dataset_id == dataset_id:
                if location.type in ("lane", "read"):
                    location = location._replace(type="lane" if dataset.covers else "read")
                return location, dataset
            self._index.doubt()
        raise QueryError(
            f"dataset {dataset_id!r} does not exist in {self.metadata_db_path}",
            hint="register_dataset() and find_dataset() return the ids of existing datasets",
        )

    def _is_recorded(self, dataset_id: str) -> bool:
        """Return whether a dataset that is missing from the index exists.

        The index can lack a dataset because of damage, for example a flipped bit in the id.
        """
        if any(e.get("id") == dataset_id for e in self._log.entries(DATASET, holding=dataset_id)):
            return True
        records = map(self._records_of, bundle_names(self._folder))
        return any(record.origin.dataset_id == dataset_id for record in records if record)

    def _bundle_id(self, name: str) -> str:
        query = "SELECT dataset_id FROM catalog_bundles WHERE bundle_name = ?"
        row = self._read(lambda db: db.execute(query, (name,)).fetchone())
        if row is None:
            raise BundleError(
                f"bundle {name} cannot be read", hint="`onetape bundle validate` shows why"
            )
        return str(row[0])

    def _records_of(self, name: str) -> Records | None:
        bundle = Bundle(name, self._folder, disk=None)
        try:
            return bundle.records() if bundle.exists() and not bundle.is_elsewhere else None
        except FormatVersionError:
            raise
        except BundleError:
            return None  # `onetape bundle validate` reports the fault

    def _record(self, type_: str, entry: Mapping[str, Any]) -> None:
        """Append a line to the log, then update the SQLite file for programs that read it."""
        self._log.append(type_, entry)
        try:
            self._publish()
        except DataError as exc:
            _logger.warning(
                "%s does not show what was just recorded: %s", self.metadata_db_path, exc
            )

    def _publish(self) -> None:
        """Update the SQLite file; if it belongs to a bundle, this changes the bundle."""
        data = self._read(lambda db: db.serialize() if self._scope else b"")
        files = BundleFiles(self._folder / self._scope, self._disk)
        if self._scope and self._disk.read_if_exists(files.path / DATABASE) != data:
            with files.writing(make=False) as commit:
                check_database(files)
                commit.put(DATABASE, data)

    # --- lanes -----------------------------------------------------------------------------

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

    def _lane_for(
        self, symbols: list[str], resolution: str, start: int, end: int, source: str | None
    ) -> tuple[SeriesKey, Dataset] | None:
        """Return the lane (stored series) that now covers the range, or None.

        The result is always None for several symbols.
        """
        if len(symbols) > 1 or self._scope:
            return None
        return self._lanes.find(symbols[0], resolution, start, end, source)

    def _add_lanes(self, lanes: Iterable[tuple[SeriesKey, Dataset]]) -> None:
        """Add rows for lanes (stored series) to the SQLite file, unless it already has them."""
        new = [(k, lane) for k, lane in lanes if self._kept.get(lane.dataset_id) != lane]
        if not new:
            return

        def work(db: sqlite3.Connection) -> None:
            """Write the rows of the new lanes."""
            for key, lane in new:
                put(db, lane, self._lanes.location(key), None)

        self._index.write(work)
        self._kept.update((lane.dataset_id, lane) for _, lane in new)


def cache_key(
    source: str, symbols: Sequence[str], start_date: Any, end_date: Any, resolution: str
) -> str:
    """Return the SHA256 of a request as 64 hex digits; the order of the symbols does not matter.

    Args:
        source: Source of the bars.
        symbols: Symbols, at least one.
        start_date, end_date: Bounds of the range, to the millisecond: text, a date or a time. Naive
            means UTC; None means no bound.
        resolution: Timeframe.

    Raises:
        QueryError: An argument is invalid.
    """
    start, end = (
        None if value is None else iso(int(_instant("bound", value).timestamp() * 1000))
        for value in (start_date, end_date)
    )
    label = Timeframe.parse(resolution).label
    return request_key(_text("source", source), _symbols(symbols), start, end, label)


def _key_of(dataset: Dataset) -> str:
    start, end = iso(dataset.start_date * 1000), iso(dataset.end_date * 1000)
    names = [row.symbol for row in dataset.symbols]
    return request_key(dataset.source, names, start, end, dataset.resolution)


def _path_of(
    wanted: str | os.PathLike[str] | None, folder: str | os.PathLike[str] | None
) -> tuple[Path, str]:
    """Return the path of the SQLite file, and the one bundle that it covers (empty for all)."""
    if wanted is None:
        configured = metadata_db_setting() if folder is None else None
        return configured or bundles_folder(folder) / DATABASE, ""
    if not os.fspath(wanted):
        raise QueryError("the path of the catalog is an empty string", hint="name a file")
    path = Path(wanted).absolute()
    if path.name == DATABASE and folder is None:
        try:
            bundle = Bundle(path.parent.name, path.parent.parent)
            if bundle.exists() and not bundle.is_elsewhere:
                return path, path.parent.name
        except DataError:
            pass
    return path, ""


def _rank(lane: Dataset) -> tuple[Any, ...]:
    return 1, -lane.last_updated * 1000, 0, lane.dataset_id


def _row_of(db: sqlite3.Connection, dataset_id: str) -> Dataset | None:
    row = db.execute("SELECT * FROM datasets WHERE dataset_id = ?", (dataset_id,)).fetchone()
    if row is None:
        return None
    names = db.execute("SELECT symbol FROM symbols WHERE dataset_id = ?", (dataset_id,))
    dataset = Dataset(*row)
    return replace(dataset, symbols=tuple(SymbolRow(name) for (name,) in names))


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
