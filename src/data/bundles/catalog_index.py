"""The index of a catalog: an SQLite file that is built from ``catalog.jsonl`` and the bundles.

It contains nothing that cannot be derived from these. A faulty index is rebuilt; if it cannot be
written, the process keeps an index in memory. Any SQLite program may read the file.
"""

from __future__ import annotations

import errno
import json
import logging
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from uuid import NAMESPACE_URL, uuid5

from ..disk.derived import DerivedFile, is_unusable, transact
from ..disk.files import Disk, FileState, errno_of
from ..errors import BundleError, DataError, StorageError
from ..forks import renew_after_fork
from ..model.instant import parse_iso
from .bundle_records import Records, new_dataset_id
from .catalog_log import CATALOG, CatalogLog, entry_of
from .catalog_tables import (
    APPLICATION_ID,
    Cover,
    Dataset,
    RangeRow,
    SymbolRow,
    check_owner,
    header_of,
    make,
)
from .commit import CHANGES, BundleFiles, checked_name
from .figures import TABLE as BUNDLE_METADATA
from .folder import BUNDLE
from .lineage_lines import FORMAT as LINEAGE_FORMAT
from .lineage_lines import LINEAGE, SENSELESS, key_of

__all__ = [
    "CatalogIndex",
    "DATASET",
    "LINK",
    "DatasetPlace",
    "dataset_of",
    "lane_id",
    "lane_place",
    "lane_source",
    "put",
    "remove",
]

_log = logging.getLogger(__name__)
T = TypeVar("T")

DATASET, LINK = "dataset", "link"
_FORMATS = {DATASET: 1, LINK: 1, BUNDLE: 1, LINEAGE: LINEAGE_FORMAT}
_OF_LINEAGE = "lineage "
_LOCK_TIMEOUT_S = 30.0
# Number of bytes before the position at which the log is read on; they must be unchanged.
_TAIL = 64
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
_FULL = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN)
# Errors of a damaged file, which may also contain names that are not valid text.
_DAMAGE = (sqlite3.Error, UnicodeError)
# Errors that a line changed by another program may raise, in Python or when it becomes a row.
_SENSELESS = (
    *SENSELESS,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    sqlite3.IntegrityError,
    sqlite3.DataError,
)
# Enough memory to apply many lines at once.
_PAGES = "PRAGMA cache_size = -65536"
_TABLES = (
    "CREATE TABLE catalog_state (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE catalog_places (dataset_id TEXT PRIMARY KEY, kind TEXT NOT NULL,
    place TEXT NOT NULL, size INTEGER NOT NULL)""",
    "CREATE INDEX idx_catalog_places ON catalog_places(kind, place)",
    """CREATE TABLE catalog_bundles (bundle_name TEXT PRIMARY KEY, dataset_id TEXT NOT NULL,
    state TEXT NOT NULL)""",
    BUNDLE_METADATA,
    """CREATE TABLE bundle_symbols (bundle_name TEXT NOT NULL, symbol_id INTEGER NOT NULL,
    symbol TEXT NOT NULL, asset_type TEXT, exchange TEXT, PRIMARY KEY (bundle_name, symbol))""",
    """CREATE TABLE bundle_cache (cache_key TEXT NOT NULL, bundle_name TEXT PRIMARY KEY,
    bundle_path TEXT NOT NULL, symbols TEXT NOT NULL, start TEXT, "end" TEXT, frequency TEXT NOT NULL,
    fetch_timestamp INTEGER NOT NULL, size_bytes INTEGER NOT NULL, row_count INTEGER NOT NULL)""",
    "CREATE INDEX idx_bundle_cache_key ON bundle_cache(cache_key)",
    # In this order, the best match comes first: the one with the fewest symbols, then the latest.
    """CREATE TABLE catalog_search (symbol TEXT, resolution TEXT, size INTEGER, newness INTEGER,
    tie INTEGER, dataset_id TEXT, start_date INTEGER, end_date INTEGER, source TEXT NOT NULL,
    PRIMARY KEY (symbol, resolution, size, newness, tie, dataset_id, start_date, end_date))
    WITHOUT ROWID""",
)


class DatasetPlace(NamedTuple):
    """The location of the authoritative source for a dataset.

    Attributes:
        kind: Kind of the source: ``line`` (a line of the log), ``bundle``, ``lane`` (a lane in the
            store) or ``read`` (a lane that a recorded run read).
        place: Offset of the line; name of the bundle; or, for a lane, the cache folder and the
            series, separated by a newline.
        size: Size of the line in bytes; 0 for other kinds.
    """

    kind: str
    place: str
    size: int = 0


class _MakeAnew(Exception):  # noqa: N818 - not an error of a call
    """Raised if the index must be rebuilt, because it was built from a different log."""


class _Moment(NamedTuple):
    """The inode of the index file and the states of its sources, compared to notice changes."""

    inode: int | None
    log: FileState | None
    changes: FileState | None
    folder: FileState | None


_NOTHING = _Moment(None, None, None, None)


class CatalogIndex:
    """The SQLite index of a bundles folder, or of one bundle in it.

    Thread-safe; several processes may use the same index.

    Args:
        path: Path of the SQLite file, or None to keep the index in memory.
        log: Catalog log of the folder.
        records_of: Function that returns the records of a bundle by its name, or None if there is
            no such bundle.
        described: Function that returns a bundle's row in ``bundle_metadata`` (or None) and its
            rows in ``bundle_symbols``.
        disk: File system.
        scope: Name of the one bundle to cover, or empty for all.

    Attributes:
        is_new: Whether the file was opened or rebuilt since this was last set to False.
    """

    def __init__(
        self,
        path: Path | None,
        log: CatalogLog,
        records_of: Callable[[str], Records | None],
        described: Callable[[str], tuple[Mapping[str, Any] | None, Sequence[Mapping[str, Any]]]],
        disk: Disk,
        scope: str = "",
    ) -> None:
        self._log, self._disk = log, disk
        self._file = DerivedFile(
            path,
            disk,
            partial(make, more=_TABLES),
            lambda application, version: check_owner(application, version, str(self._file.path)),
            lock="" if path is None else f".{path.name}.lock",
            lock_s=_LOCK_TIMEOUT_S,
        )
        self._folder, self._records_of, self._scope = log.path.parent, records_of, scope
        self._places = [str(p) for p in (log.path, self._folder / CHANGES, self._folder)]
        self._described, self._touched = described, set[str]()
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._seen, self._marked = _NOTHING, 0
        self._is_checked = self.is_new = False
        renew_after_fork(self)

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return the result of calling ``work`` on the up-to-date index.

        Raises:
            BundleError: The path of the index is a file of another program.
            FormatVersionError: A newer version of this library wrote the file, or a line of the
                log.
            LockTimeoutError: Another process was building the index and kept it locked for 30 s.
            StorageError: The log cannot be read, or the path of the index is not a regular file.
        """
        with self._lock:
            for is_last in (False, True):
                try:
                    return work(self._synced())
                except _DAMAGE as exc:
                    self.close()
                    if is_last:
                        raise StorageError(f"{self._file.path} cannot be used: {exc}") from exc
                    if getattr(exc, "sqlite_errorcode", 0) & 0xFF in _FULL:
                        self._keep_in_memory(exc)
                    # Also if another program keeps the file locked; that program then has the old
                    # file.
                    self._file.is_damaged = True
        raise AssertionError("not reached")

    def write(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Call ``work`` to change rows in one transaction; raises the errors of :meth:`read`."""

        def change(db: sqlite3.Connection) -> None:
            """Call ``work``, unless another process has just replaced the index file."""
            with self._file.alone():
                if self._moment().inode == self._seen.inode:  # otherwise just recreated
                    transact(db, lambda: work(db))

        self.read(change)

    def doubt(self) -> None:
        """Make the next call rebuild the index, because one of its rows has proved wrong."""
        with self._lock:
            self.close()
            self._file.is_damaged = True

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        with self._lock:
            if self._db is not None:
                self._db.close()
            self._db = None

    def __del__(self) -> None:
        self.close()

    def after_fork(self) -> None:
        """Make a forked child reopen the file, since it must not use or close the connection."""
        self._lock, self._db, self._inherited = threading.RLock(), None, self._db

    # --- updates ---------------------------------------------------------------------------

    def _synced(self) -> sqlite3.Connection:
        now = self._moment()
        if self._db is None or now != self._seen:
            try:
                self._bring(now)
            except StorageError as exc:
                if self._file.path is None or errno_of(exc) not in _NOT_WRITABLE:
                    raise
                self._keep_in_memory(exc)
                self._bring(now)
        assert self._db is not None
        return self._db

    def _moment(self) -> _Moment:
        path = self._file.path
        index = None if path is None else self._disk.stat(path)
        inode = index.inode if index else None
        return _Moment(inode, *(self._disk.stat(place) for place in self._places))

    def _keep_in_memory(self, exc: Exception) -> None:
        path = self._file.path
        _log.warning("%s cannot be written (%s): the index is kept in memory", path, exc)
        self.close()
        self._file.keep_in_memory()

    def _bring(self, now: _Moment) -> None:
        """Open the index and apply the changes in its sources; rebuild it if necessary."""
        path = self._file.path
        if path is not None:
            self._disk.make_folders(path.parent)
            self._note_changes()
        with self._file.alone():
            db = self._opened(now)
            if db is None or not self._is_applied(db):
                self._remake()
        # The state before the read is kept, so that the next call reads changes made meanwhile.
        self._seen = now._replace(inode=None if path is None else self._moment().inode)

    def _note_changes(self) -> None:
        """Create the file to which writers of bundles append the names of changed bundles."""
        if self._disk.stat(self._folder / CHANGES) is None and self._disk.stat(self._folder):
            with suppress(StorageError):
                self._disk.close(self._disk.create(self._folder / CHANGES))

    def _opened(self, now: _Moment) -> sqlite3.Connection | None:
        """Return the connection to the index, or None if the index must be rebuilt."""
        is_same = self._file.path is None or now.inode == self._seen.inode
        if self._db is not None and is_same and not self._file.is_damaged:
            return self._db
        self.close()
        self._db = self._file.opened()
        if self._db is not None:
            self._is_checked, self.is_new = False, True
            self._db.execute(_PAGES)
        return self._db

    def _is_applied(self, db: sqlite3.Connection) -> bool:
        """Apply the changes in the sources; return False if the index must be rebuilt instead."""
        try:
            self._apply(db)
        except _MakeAnew:
            return False
        except sqlite3.DatabaseError as exc:
            if not is_unusable(exc):
                raise
            return False
        return True

    def _remake(self) -> None:
        """Build the index from its sources, and replace the file."""
        self._check_replaceable()
        self.close()
        self._is_checked = False
        self._db, self.is_new = self._file.remade(self._apply), True
        self._db.execute(_PAGES)

    def _check_replaceable(self) -> None:
        """Raise an error if the file belongs to another program; a damaged file may be replaced."""
        path, data = self._file.path, self._file.head()
        is_database, application, version = header_of(data)
        if is_database and len(data) >= 100:
            check_owner(application, version, str(path))
        elif data and application != APPLICATION_ID:
            raise BundleError(f"{path} is not an onetape database", hint="name another file")

    # --- sources ---------------------------------------------------------------------------

    def _apply(self, db: sqlite3.Connection) -> None:
        def work() -> None:
            """Read new log lines and changed bundles, and rewrite the rows of all bundles concerned."""
            self._touched.clear()
            self._take_lines(db)
            self._take_bundles(db)
            for name in sorted(self._touched):
                self._describe(db, name)

        transact(db, work)

    def _take_lines(self, db: sqlite3.Connection) -> None:
        row = db.execute("SELECT value FROM catalog_state WHERE name = 'log'").fetchone()
        try:
            before: dict[str, Any] = json.loads(row[0]) if row else {}
            done, tail = int(before.get("done", 0)), bytes.fromhex(before.get("tail", ""))
            known = FileState(*before.get("state", (0, 0, 0)))
        except (ValueError, TypeError, AttributeError) as exc:
            raise _MakeAnew from exc
        back = len(tail)
        content = self._log.read_at(done - back)
        if content is None:
            if done:
                raise _MakeAnew
            return
        data, state = content
        if before and state == known:
            return
        is_longer = state.inode == known.inode and state.size > known.size
        if before and not (is_longer and data[:back] == tail):
            raise _MakeAnew
        fresh = data[back : data.rfind(b"\n") + 1]
        for line in fresh.split(b"\n")[:-1] if fresh else ():
            self._take(db, line, done)
            done += len(line) + 1
        end = data[: back + len(fresh)][-_TAIL:].hex()
        value = json.dumps({"state": state, "done": done, "tail": end})
        db.execute("INSERT OR REPLACE INTO catalog_state VALUES ('log', ?)", (value,))

    def _take(self, db: sqlite3.Connection, line: bytes, offset: int) -> None:
        entry = entry_of(line)
        kind = entry.get("type")
        if not isinstance(kind, str) or kind not in _FORMATS:
            return
        self._log.check(entry, _FORMATS[kind])
        db.execute("SAVEPOINT line")
        try:
            if kind == DATASET:
                self._take_dataset(db, entry, DatasetPlace("line", str(offset), len(line)))
            elif kind == LINK:
                if "series" in entry:
                    lane = linked_lane(entry)
                    self._put_read(db, lane, lane_place(entry["cache"], entry["series"]))
                self._link(db, entry["backtest"], entry["dataset"], entry["at"], entry["cache_key"])
            elif kind == BUNDLE:
                if self._scope in ("", checked_name(entry["bundle"])):
                    self._touched.add(entry["bundle"])
            elif not self._scope:
                self._take_lineage(db, entry)
        except _SENSELESS as exc:
            db.execute("ROLLBACK TO line")  # a part of the line may have been applied
            _log.warning(
                "%s: the line at byte %d cannot be parsed: %r", self._log.path, offset, exc
            )
        db.execute("RELEASE line")

    def _take_dataset(
        self, db: sqlite3.Connection, entry: Mapping[str, Any], place: DatasetPlace
    ) -> None:
        if self._scope in ("", entry.get("bundle", "")):
            put(db, dataset_of(entry), place, parse_iso(entry["time"]), -int(place.place))

    def _link(
        self, db: sqlite3.Connection, backtest: str, dataset: str, at: str, cache_key: str
    ) -> None:
        known = db.execute("SELECT 1 FROM datasets WHERE dataset_id = ?", (dataset,)).fetchone()
        if self._scope and not known:
            return
        db.execute(
            "INSERT INTO backtest_data_links (backtest_id, dataset_id, cached_at, cache_key) "
            "VALUES (?, ?, ?, ?)",
            (backtest, dataset, parse_iso(at) // 1000, cache_key),
        )

    def _take_lineage(self, db: sqlite3.Connection, entry: Mapping[str, Any]) -> None:
        run, event = entry["run"], entry["event"]
        if event in ("begin", "forget"):
            db.execute(
                "DELETE FROM backtest_data_links WHERE backtest_id = ? AND cache_key LIKE ?",
                (run, f"{_OF_LINEAGE}%"),
            )
        elif event == "read" and entry["read"]:
            key = f"{_OF_LINEAGE}{entry['n']} {entry['series']} #{entry['generation']}"
            lane = _read_lane(entry)
            self._put_read(db, lane, lane_place(entry["cache"], entry["series"]))
            # If two lines have the same number, the later one counts.
            db.execute(
                "DELETE FROM backtest_data_links WHERE backtest_id = ? AND cache_key LIKE ?",
                (run, f"{_OF_LINEAGE}{entry['n']} %"),
            )
            self._link(db, run, lane.dataset_id, entry["asked"], key)

    def _put_read(self, db: sqlite3.Connection, lane: Dataset, place: DatasetPlace) -> None:
        """Add a lane that a run read, unless the index already has this lane from the store."""
        row = db.execute(
            "SELECT kind, start_date, end_date FROM catalog_places JOIN datasets USING (dataset_id) "
            "WHERE dataset_id = ?",
            (lane.dataset_id,),
        ).fetchone()
        if row is None:
            put(db, lane, place, None)
        elif row[0] == place.kind:
            db.execute(
                "UPDATE datasets SET start_date = min(start_date, ?), end_date = max(end_date, ?), "
                "last_updated = max(last_updated, ?), row_count = max(row_count, ?) "
                "WHERE dataset_id = ?",
                (
                    lane.start_date,
                    lane.end_date,
                    lane.last_updated,
                    lane.row_count,
                    lane.dataset_id,
                ),
            )

    # --- bundles ---------------------------------------------------------------------------

    def _take_bundles(self, db: sqlite3.Connection) -> None:
        marked = self._marked_names()
        path = self._file.path
        own = {CATALOG, "" if path is None else path.name}
        listed = {self._scope} if self._scope else set(self._disk.list(self._folder)) - own
        rows = db.execute("SELECT bundle_name, dataset_id, state FROM catalog_bundles").fetchall()
        known = {name: (dataset_id, state) for name, dataset_id, state in rows}
        chosen = (listed | set(known)) if marked is None else marked | (listed ^ set(known))
        for name in sorted(chosen):
            if not _is_name(name):
                continue
            dataset_id, before = known.get(name, ("", ""))
            state = str(BundleFiles(self._folder / name, self._disk).moment())
            if before == state:
                continue
            if dataset_id:
                remove(db, dataset_id)
                db.execute("DELETE FROM catalog_bundles WHERE bundle_name = ?", (name,))
                db.execute("DELETE FROM bundle_cache WHERE bundle_name = ?", (name,))
                self._touched.add(name)
            records = self._records_of(name)
            if records is None:
                continue
            dataset = self.dataset_of_bundle(name, records)
            put(db, dataset, DatasetPlace("bundle", name), records.origin.ingested_at)
            state = str(BundleFiles(self._folder / name, self._disk).moment())
            row = (name, dataset.dataset_id, state)
            db.execute("INSERT INTO catalog_bundles VALUES (?, ?, ?)", row)
            self._touched.add(name)
            if (request := records.origin.request) is not None:
                cached = (
                    records.request_key(),
                    name,
                    str(self._folder / name),
                    json.dumps(request["symbols"]),
                    request["start_date"],
                    request["end_date"],
                    request["timeframe"],
                    dataset.last_updated,
                    dataset.size_bytes,
                    dataset.row_count,
                )
                db.execute("INSERT INTO bundle_cache VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", cached)
        self._is_checked = True

    def _describe(self, db: sqlite3.Connection, name: str) -> None:
        """Rewrite a bundle's rows in ``bundle_metadata`` and ``bundle_symbols``."""
        db.execute("DELETE FROM bundle_metadata WHERE bundle_name = ?", (name,))
        db.execute("DELETE FROM bundle_symbols WHERE bundle_name = ?", (name,))
        row, symbols = self._described(name)
        if row is not None:
            values = [json.dumps(v) if isinstance(v, list | dict) else v for v in row.values()]
            marks = ", ".join("?" * len(values))
            columns = ", ".join(row)  # names of fields, as declared
            db.execute(f"INSERT INTO bundle_metadata ({columns}) VALUES ({marks})", values)  # noqa: S608 - constant names
        db.executemany(
            "INSERT INTO bundle_symbols VALUES (?, ?, ?, ?, ?)",
            [(name, s["symbol_id"], s["symbol"], s["asset_type"], s["exchange"]) for s in symbols],
        )

    def dataset_of_bundle(self, name: str, records: Records) -> Dataset:
        """Return a bundle as a dataset; a copy in the same bundles folder gets its own id."""
        origin = records.origin
        if origin.bundle_name != name and self._disk.stat(self._folder / origin.bundle_name):
            own = new_dataset_id(self._folder / name)
            records = replace(records, origin=replace(origin, dataset_id=own))
        return records.dataset(name)

    def _marked_names(self) -> set[str] | None:
        """Return the names of bundles changed since the last call; None if any of them may have changed."""
        handle = self._disk.open_read(self._folder / CHANGES)
        if handle is None:
            self._marked = 0
            return None
        try:
            size = self._disk.fstat(handle).size
            start, self._marked = self._marked, size
            if not self._is_checked or size < start:
                return None
            return set(self._disk.read_at(handle, start, size - start).decode().split("\n"))
        finally:
            self._disk.close(handle)


# --- rows ------------------------------------------------------------------------------------


def put(
    db: sqlite3.Connection, dataset: Dataset, place: DatasetPlace, at_ms: int | None, tie: int = 0
) -> None:
    """Add a dataset in the caller's transaction, replacing any dataset with the same id.

    Args:
        db: Database of the index.
        dataset, place: Dataset, and the location of its authoritative source.
        at_ms: Time at which it was added, UTC milliseconds; None excludes it from searches.
        tie: Rank among datasets that were added in the same millisecond, lowest first.
    """
    if db.execute("SELECT 1 FROM datasets WHERE dataset_id = ?", (dataset.dataset_id,)).fetchone():
        remove(db, dataset.dataset_id)
    dataset.put(db)
    row = (dataset.dataset_id, *place)
    db.execute("INSERT INTO catalog_places VALUES (?, ?, ?, ?)", row)
    if at_ms is not None:
        size, own = len(dataset.symbols), dataset.dataset_id
        db.executemany(
            "INSERT OR IGNORE INTO catalog_search VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (c.symbol, c.resolution, size, -at_ms, tie, own, c.start, c.end, dataset.source)
                for c in dataset.covers
            ],
        )


def remove(db: sqlite3.Connection, dataset_id: str) -> None:
    """Remove a dataset's rows; the links to it stay, in case the dataset comes back."""
    own = (dataset_id,)
    db.execute(
        "DELETE FROM catalog_search WHERE symbol IN (SELECT symbol FROM symbols WHERE dataset_id = ?1) "
        "AND dataset_id = ?1",
        own,
    )
    db.execute("DELETE FROM symbols WHERE dataset_id = ?", own)
    db.execute("DELETE FROM date_ranges WHERE dataset_id = ?", own)
    db.execute("DELETE FROM checksums WHERE dataset_id = ?", own)
    db.execute("DELETE FROM catalog_places WHERE dataset_id = ?", own)
    db.execute("DELETE FROM datasets WHERE dataset_id = ?", own)


def dataset_of(entry: Mapping[str, Any]) -> Dataset:
    """Return the dataset that a log entry describes.

    Raises ``KeyError``, ``TypeError`` or ``ValueError`` if the entry is invalid.
    """
    start, end = parse_iso(entry["start"]) // 1000, parse_iso(entry["end"]) // 1000
    at, resolution = parse_iso(entry["time"]) // 1000, entry["resolution"]
    ranges = tuple(RangeRow(*one) for one in entry.get("ranges", ()))
    files = [(place, sha256, size) for place, sha256, size in entry.get("files", ())]
    markets = dict(entry.get("markets", {}))
    covers = dict.fromkeys(entry["symbols"], (start, end))
    covers.update((row.symbol, (row.start, row.end)) for row in ranges)
    return Dataset(
        entry["id"],
        entry["source"],
        resolution,
        start,
        end,
        entry["checksum"],
        entry.get("path", ""),
        at,
        at,
        sum(row.bars for row in ranges),
        sum(size for _, _, size in files),
        symbols=tuple(SymbolRow(symbol, *markets.get(symbol, ())) for symbol in entry["symbols"]),
        ranges=ranges,
        files=tuple((place, sha256) for place, sha256, _ in files),
        covers=tuple(Cover(symbol, resolution, *ends) for symbol, ends in covers.items()),
    )


def lane_place(cache: str, series: str) -> DatasetPlace:
    """Return the location of a lane that a lineage records, with the kind ``read``."""
    return DatasetPlace("read", f"{_resolved(cache)}\n{series}")


def lane_id(place: DatasetPlace) -> str:
    """Return the dataset id of a lane, which depends only on the cache folder and the series."""
    return str(uuid5(NAMESPACE_URL, f"onetape lane {place.place}"))


def lane_source(vendor: str, series: str) -> str:
    """Return vendor and lane as the source of a dataset, such as ``yahoo/1d@raw``."""
    return f"{vendor}/{series.rpartition(' ')[2]}"


def linked_lane(entry: Mapping[str, Any]) -> Dataset:
    """Return the dataset for a lane that a backtest is linked to, from the link's log entry."""
    series = key_of(entry["series"])
    return Dataset(
        entry["dataset"],
        entry["source"],
        series.timeframe.label,
        parse_iso(entry["start"]) // 1000,
        parse_iso(entry["end"]) // 1000,
        entry["checksum"],
        last_updated=parse_iso(entry["at"]) // 1000,
        row_count=entry["rows"],
        symbols=(SymbolRow(series.symbol),),
    )


def _read_lane(entry: Mapping[str, Any]) -> Dataset:
    """Return the dataset for a lane that a run read, from the log entry of the read."""
    series = key_of(entry["series"])
    pieces, symbol = entry["read"], SymbolRow(series.symbol)
    return Dataset(
        lane_id(lane_place(entry["cache"], entry["series"])),
        lane_source(entry["provider"] or "onetape", entry["series"]),
        series.timeframe.label,
        parse_iso(pieces[0][0]) // 1000,
        parse_iso(pieces[-1][1]) // 1000 - 1,
        str(pieces[-1][3]),
        last_updated=parse_iso(entry["asked"]) // 1000,
        row_count=sum(piece[2] for piece in pieces),
        symbols=(symbol,),
    )


@lru_cache(64)
def _resolved(folder: str) -> str:
    return str(Path(folder).resolve())


def _is_name(name: str) -> bool:
    try:
        return bool(checked_name(name))
    except DataError:
        return False
