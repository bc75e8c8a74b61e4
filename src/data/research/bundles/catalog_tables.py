"""The documented tables of a catalog file, and datasets as rows of them. Times are UTC seconds."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import BundleError, FormatVersionError
from .request import bar_options

if TYPE_CHECKING:
    import sqlite3

# "1tpB" marks the SQLite file that a bundle writes again at each change, "1tpC" a catalog, which is
# the only record of what was registered in it.
APPLICATION_ID, CATALOG_ID, VERSION = 0x31747042, 0x31747043, 1
TABLES = (
    """CREATE TABLE datasets (dataset_id TEXT PRIMARY KEY, source TEXT NOT NULL, resolution TEXT NOT NULL,
    start_date INTEGER NOT NULL, end_date INTEGER NOT NULL, checksum TEXT NOT NULL,
    parquet_path TEXT NOT NULL, created_at INTEGER NOT NULL, last_updated INTEGER NOT NULL,
    row_count INTEGER NOT NULL, size_bytes INTEGER NOT NULL)""",
    "CREATE INDEX idx_datasets_source ON datasets(source)",
    "CREATE INDEX idx_datasets_resolution ON datasets(resolution)",
    "CREATE INDEX idx_datasets_dates ON datasets(start_date, end_date)",
    """CREATE TABLE symbols (symbol_id INTEGER PRIMARY KEY AUTOINCREMENT, dataset_id TEXT NOT NULL,
    symbol TEXT NOT NULL, asset_type TEXT NOT NULL, exchange TEXT, metadata TEXT,
    FOREIGN KEY(dataset_id) REFERENCES datasets(dataset_id), UNIQUE(dataset_id, symbol))""",
    "CREATE INDEX idx_symbols_dataset ON symbols(dataset_id)",
    "CREATE INDEX idx_symbols_symbol ON symbols(symbol)",
    """CREATE TABLE date_ranges (range_id INTEGER PRIMARY KEY AUTOINCREMENT, dataset_id TEXT NOT NULL,
    symbol TEXT NOT NULL, start_date INTEGER NOT NULL, end_date INTEGER NOT NULL,
    bar_count INTEGER NOT NULL, has_gaps BOOLEAN DEFAULT 0,
    FOREIGN KEY(dataset_id) REFERENCES datasets(dataset_id))""",
    "CREATE INDEX idx_date_ranges_dataset ON date_ranges(dataset_id)",
    "CREATE INDEX idx_date_ranges_symbol ON date_ranges(symbol)",
    """CREATE TABLE checksums (checksum_id INTEGER PRIMARY KEY AUTOINCREMENT, dataset_id TEXT NOT NULL,
    file_path TEXT NOT NULL, checksum TEXT NOT NULL, last_validated INTEGER NOT NULL,
    FOREIGN KEY(dataset_id) REFERENCES datasets(dataset_id), UNIQUE(dataset_id, file_path))""",
    "CREATE INDEX idx_checksums_dataset ON checksums(dataset_id)",
    """CREATE TABLE backtest_data_links (link_id INTEGER PRIMARY KEY AUTOINCREMENT,
    backtest_id TEXT NOT NULL, dataset_id TEXT NOT NULL, cached_at INTEGER NOT NULL,
    cache_key TEXT NOT NULL, FOREIGN KEY(dataset_id) REFERENCES datasets(dataset_id))""",
    "CREATE INDEX idx_backtest_links_backtest ON backtest_data_links(backtest_id)",
    "CREATE INDEX idx_backtest_links_dataset ON backtest_data_links(dataset_id)",
    "CREATE INDEX idx_backtest_links_cache_key ON backtest_data_links(cache_key)",
)
_HEADER = b"SQLite format 3\0"


class SymbolRow(NamedTuple):
    """A symbol in a dataset; ``metadata`` is JSON text."""

    symbol: str
    asset_type: str = "unknown"
    exchange: str | None = None
    metadata: str | None = None


class RangeRow(NamedTuple):
    """A symbol's bars: the first and last time, the bar count, and whether bars are missing.

    ``has_gaps`` is None if the symbol's market is unknown, because no bar is expected then.
    """

    symbol: str
    start: int
    end: int
    bars: int
    has_gaps: bool | None


class CoveredRange(NamedTuple):
    """A range, ends included, in which a dataset has every bar for a symbol and resolution."""

    symbol: str
    resolution: str
    start: int
    end: int


@dataclass(frozen=True)
class Dataset:
    """One dataset: the columns of its row in ``datasets``, and its rows in the other tables.

    Attributes:
        symbols, ranges: Rows in the tables ``symbols`` and ``date_ranges``.
        files: Path and SHA256 of each file.
        covers: Ranges in which the dataset has all bars; searches use them.
        validated: Maps the path of a file to the time (UTC seconds) at which its digest was last
            verified. If a file has no entry, or one from before the last update, the time of that
            update counts.
        options: Adjustment, session and other options of the query that the dataset answers; None if
            they are unknown. The catalog keeps them in a table of its own.
    """

    dataset_id: str
    source: str
    resolution: str
    start_date: int
    end_date: int
    checksum: str
    parquet_path: str = ""
    created_at: int = 0
    last_updated: int = 0
    row_count: int = 0
    size_bytes: int = 0
    symbols: tuple[SymbolRow, ...] = ()
    ranges: tuple[RangeRow, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    covers: tuple[CoveredRange, ...] = ()
    validated: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[str, Any] | None = None

    def columns(self) -> dict[str, Any]:
        """Return the columns of the dataset's row in ``datasets``."""
        return {name: getattr(self, name) for name in COLUMNS}

    def put(self, db: sqlite3.Connection) -> None:
        """Add the dataset's rows, in the caller's transaction."""
        dataset_id = self.dataset_id
        db.execute(
            "INSERT INTO datasets VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            tuple(self.columns().values()),
        )
        checksums = [
            (place, digest, max(self.last_updated, self.validated.get(place, 0)))
            for place, digest in self.files
        ]
        for table, columns, rows in (
            ("symbols", "symbol, asset_type, exchange, metadata", self.symbols),
            ("date_ranges", "symbol, start_date, end_date, bar_count, has_gaps", self.ranges),
            ("checksums", "file_path, checksum, last_validated", checksums),
        ):
            marks = ", ?" * len(columns.split())
            query = f"INSERT INTO {table} (dataset_id, {columns}) VALUES (?{marks})"  # noqa: S608 - constant names
            db.executemany(query, [(dataset_id, *row) for row in rows])


COLUMNS = tuple(Dataset.__dataclass_fields__)[:11]


def request_key(
    source: str,
    symbols: Iterable[str],
    start: str | None,
    end: str | None,
    resolution: str,
    options: Mapping[str, Any] | None = None,
) -> str:
    """Return the SHA256 of a request as 64 hex digits; the order of the symbols does not matter.

    ``start`` and ``end`` are full times as formatted by ``iso``; None means open. ``options`` are those
    of :func:`.bar_options`; the key of the default ones is that of none.
    """
    facts: list[Any] = [source, sorted(symbols), start, end, resolution]
    if options and options != bar_options({}):
        facts.append(sorted(options.items()))
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def make(
    db: sqlite3.Connection, statements: Iterable[str] = TABLES, application: int = APPLICATION_ID
) -> None:
    """Create tables in an empty database, and record the application ID and the version."""
    for statement in statements:
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {application}")
    db.execute(f"PRAGMA user_version = {VERSION}")


def check_owner(application: int, version: int, name: str, expected: int = APPLICATION_ID) -> None:
    """Refuse to use a file from a newer version of this library, or from elsewhere.

    Args:
        application, version: ``application_id`` and ``user_version`` of the file.
        name: Name of the file, for messages.
        expected: The ``application_id`` that the file must have.

    Raises:
        BundleError: The file has another ``application_id``.
        FormatVersionError: A newer version of this library wrote the file.
    """
    if application != expected:
        owner = "a catalog" if application == CATALOG_ID else "the database of another program"
        raise BundleError(f"{name} is {owner}", hint="use another folder, or move the file")
    if version > VERSION:
        raise FormatVersionError(
            f"{name} was written by a newer version of this library", hint="update onetape"
        )


def header_of(data: bytes) -> tuple[bool, int, int]:
    """Return whether bytes begin like an SQLite file, plus its application ID and user version."""
    version, application = (
        struct.unpack_from(">I", data, at)[0] if len(data) >= 100 else 0 for at in (60, 68)
    )
    return data.startswith(_HEADER), application, version
