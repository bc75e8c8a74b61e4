"""Applies the lines of ``catalog.jsonl`` to the index: datasets, links, bundles, and reads of runs."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..disk.files import FileState
from ..model.instant import parse_iso
from .catalog_log import CatalogLog, entry_of
from .catalog_rows import DatasetLocation, lane_id, lane_location, lane_source, put
from .catalog_tables import CoveredRange, Dataset, RangeRow, SymbolRow
from .commit import checked_name
from .folder import BUNDLE
from .lineage_lines import FORMAT as LINEAGE_FORMAT
from .lineage_lines import INVALID_RECORD_ERRORS, LINEAGE, key_of

__all__ = ["DATASET", "LINK", "LineSource", "dataset_of"]

_log = logging.getLogger(__name__)

DATASET, LINK = "dataset", "link"
_FORMATS = {DATASET: 1, LINK: 1, BUNDLE: 1, LINEAGE: LINEAGE_FORMAT}
_LINEAGE_PREFIX = "lineage "
# Number of bytes before the position at which the log is read on; they must be unchanged.
_TAIL_BYTES = 64
# Errors that a line changed by another program may raise, in Python or when it becomes a row.
_INVALID_LINE = (
    *INVALID_RECORD_ERRORS,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    sqlite3.IntegrityError,
    sqlite3.DataError,
)


_NO_FILE = FileState(0, 0, 0)


class _Progress(NamedTuple):
    """How far the log has been applied, as the index records it in ``catalog_state``.

    Attributes:
        state: State of the log file then.
        size: Number of bytes that were applied, whole lines only.
        tail: Last of these bytes; they must be unchanged.
    """

    state: FileState = _NO_FILE
    size: int = 0
    tail: bytes = b""

    @classmethod
    def read(cls, db: sqlite3.Connection) -> _Progress | None:
        """Return the progress that the index records; None if another program changed the record."""
        row = db.execute("SELECT value FROM catalog_state WHERE name = 'log'").fetchone()
        if row is None:
            return cls()
        try:
            record = json.loads(row[0])
            tail = bytes.fromhex(record["tail"])
            return cls(FileState(*record["state"]), int(record["done"]), tail)
        except (ValueError, TypeError, KeyError):
            return None

    def write(self, db: sqlite3.Connection) -> None:
        """Record the progress."""
        value = json.dumps({"state": self.state, "done": self.size, "tail": self.tail.hex()})
        db.execute("INSERT OR REPLACE INTO catalog_state VALUES ('log', ?)", (value,))


class LineSource:
    """The lines of a catalog log, as a source of rows.

    Not thread-safe: the index calls it with its lock held. It has no state of its own; the index
    records how far the log has been applied.

    Args:
        log: Catalog log of a bundles folder.
        scope: Name of the one bundle to cover, or empty for all.

    Attributes:
        path: Path of the log.
    """

    def __init__(self, log: CatalogLog, scope: str) -> None:
        self._log, self._scope, self.path = log, scope, log.path

    def apply(self, db: sqlite3.Connection) -> set[str] | None:
        """Apply the lines added since the last call; return the names of bundles that changed.

        The result is None if the log is not a longer version of the log that was applied before;
        the index must then be rebuilt.
        """
        progress = _Progress.read(db)
        if progress is None:
            return None
        content = self._log.read_at(progress.size - len(progress.tail))
        if content is None:
            return None if progress.size else set()
        data, state = content
        if state == progress.state:
            return set()
        back = len(progress.tail)
        is_longer = state.inode == progress.state.inode and state.size > progress.state.size
        if progress.state != _NO_FILE and not (is_longer and data[:back] == progress.tail):
            return None
        end, size, bundles = data.rfind(b"\n") + 1, progress.size, set[str]()
        for line in data[back:end].split(b"\n")[:-1]:
            bundles |= self._apply_line(db, line, size)
            size += len(line) + 1
        _Progress(state, size, data[: max(end, back)][-_TAIL_BYTES:]).write(db)
        return bundles

    def _apply_line(self, db: sqlite3.Connection, line: bytes, offset: int) -> set[str]:
        """Apply a line, or no part of it if it makes no sense; return the bundle that it names."""
        entry = entry_of(line)
        entry_type = entry.get("type")
        if not isinstance(entry_type, str) or entry_type not in _FORMATS:
            return set()
        self._log.check(entry, _FORMATS[entry_type])
        db.execute("SAVEPOINT line")
        try:
            bundles = self._take_entry(
                db, entry_type, entry, DatasetLocation("line", str(offset), len(line))
            )
        except _INVALID_LINE as exc:
            db.execute("ROLLBACK TO line")  # a part of the line may have been applied
            bundles = set()
            _log.warning(
                "%s: the line at byte %d cannot be parsed: %r", self._log.path, offset, exc
            )
        db.execute("RELEASE line")
        return bundles

    def _take_entry(
        self,
        db: sqlite3.Connection,
        entry_type: str,
        entry: Mapping[str, Any],
        location: DatasetLocation,
    ) -> set[str]:
        """Apply the content of a line; return the bundle that it names."""
        if entry_type == BUNDLE:
            is_covered = self._scope in ("", checked_name(entry["bundle"]))
            return {entry["bundle"]} if is_covered else set()
        if entry_type == DATASET:
            self._take_dataset(db, entry, location)
        elif entry_type == LINK:
            self._take_link(db, entry)
        elif not self._scope:
            self._take_lineage(db, entry)
        return set()

    def _take_dataset(
        self, db: sqlite3.Connection, entry: Mapping[str, Any], location: DatasetLocation
    ) -> None:
        if self._scope in ("", entry.get("bundle", "")):
            put(db, dataset_of(entry), location, parse_iso(entry["time"]), -int(location.key))

    def _take_link(self, db: sqlite3.Connection, entry: Mapping[str, Any]) -> None:
        if "series" in entry:
            lane = linked_lane(entry)
            self._put_read(db, lane, lane_location(entry["cache"], entry["series"]))
        self._link(db, entry["backtest"], entry["dataset"], entry["at"], entry["cache_key"])

    def _link(
        self, db: sqlite3.Connection, backtest: str, dataset: str, at: str, cache_key: str
    ) -> None:
        row = db.execute("SELECT 1 FROM datasets WHERE dataset_id = ?", (dataset,)).fetchone()
        if self._scope and row is None:
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
                (run, f"{_LINEAGE_PREFIX}%"),
            )
        elif event == "read" and entry["read"]:
            key = f"{_LINEAGE_PREFIX}{entry['n']} {entry['series']} #{entry['generation']}"
            lane = _read_lane(entry)
            self._put_read(db, lane, lane_location(entry["cache"], entry["series"]))
            # If two lines have the same number, the later one counts.
            db.execute(
                "DELETE FROM backtest_data_links WHERE backtest_id = ? AND cache_key LIKE ?",
                (run, f"{_LINEAGE_PREFIX}{entry['n']} %"),
            )
            self._link(db, run, lane.dataset_id, entry["asked"], key)

    def _put_read(self, db: sqlite3.Connection, lane: Dataset, location: DatasetLocation) -> None:
        """Add a lane that a run read, unless the index already has this lane from the store."""
        row = db.execute(
            "SELECT kind, start_date, end_date FROM catalog_places JOIN datasets USING (dataset_id) "
            "WHERE dataset_id = ?",
            (lane.dataset_id,),
        ).fetchone()
        if row is None:
            put(db, lane, location, None)
        elif row[0] == location.type:
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


# --- rows --------------------------------------------------------------------------------------


def dataset_of(entry: Mapping[str, Any]) -> Dataset:
    """Return the dataset that a log entry describes.

    Raises ``KeyError``, ``TypeError`` or ``ValueError`` if the entry is invalid.
    """
    start, end = parse_iso(entry["start"]) // 1000, parse_iso(entry["end"]) // 1000
    at, resolution = parse_iso(entry["time"]) // 1000, entry["resolution"]
    ranges = tuple(RangeRow(*row) for row in entry.get("ranges", ()))
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
        covers=tuple(CoveredRange(symbol, resolution, *ends) for symbol, ends in covers.items()),
    )


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
        lane_id(lane_location(entry["cache"], entry["series"])),
        lane_source(entry["provider"] or "onetape", entry["series"]),
        series.timeframe.label,
        parse_iso(pieces[0][0]) // 1000,
        parse_iso(pieces[-1][1]) // 1000 - 1,
        str(pieces[-1][3]),
        last_updated=parse_iso(entry["asked"]) // 1000,
        row_count=sum(piece[2] for piece in pieces),
        symbols=(symbol,),
    )
