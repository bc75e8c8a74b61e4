"""The index's own tables, and the rows of one dataset in them and in the documented tables."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from uuid import NAMESPACE_URL, uuid5

from .bundle_row import TABLE as BUNDLE_METADATA

if TYPE_CHECKING:
    import sqlite3

    from .catalog_tables import Dataset

__all__ = [
    "INDEX_TABLES",
    "DatasetLocation",
    "lane_id",
    "lane_location",
    "lane_source",
    "put",
    "remove",
]

INDEX_TABLES = (
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


class DatasetLocation(NamedTuple):
    """The location of the authoritative source for a dataset.

    Attributes:
        type: Type of the source: ``line`` (a line of the log), ``bundle``, ``lane`` (a lane in the
            store) or ``read`` (a lane that a recorded run read).
        key: Offset of the line; name of the bundle; or, for a lane, the cache folder and the
            series, separated by a newline.
        size: Size of the line in bytes; 0 for other types.
    """

    type: str
    key: str
    size: int = 0


def put(
    db: sqlite3.Connection,
    dataset: Dataset,
    location: DatasetLocation,
    at_ms: int | None,
    tie: int = 0,
) -> None:
    """Add a dataset in the caller's transaction, replacing any dataset with the same id.

    Args:
        db: Database of the index.
        dataset, location: Dataset, and the location of its authoritative source.
        at_ms: Time at which it was added, UTC milliseconds; None excludes it from searches.
        tie: Rank among datasets that were added in the same millisecond, lowest first.
    """
    if db.execute("SELECT 1 FROM datasets WHERE dataset_id = ?", (dataset.dataset_id,)).fetchone():
        remove(db, dataset.dataset_id)
    dataset.put(db)
    row = (dataset.dataset_id, *location)
    db.execute("INSERT INTO catalog_places VALUES (?, ?, ?, ?)", row)
    if at_ms is not None:
        size, key = len(dataset.symbols), dataset.dataset_id
        db.executemany(
            "INSERT OR IGNORE INTO catalog_search VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (c.symbol, c.resolution, size, -at_ms, tie, key, c.start, c.end, dataset.source)
                for c in dataset.covers
            ],
        )


def remove(db: sqlite3.Connection, dataset_id: str) -> None:
    """Remove a dataset's rows; the links to it stay, in case the dataset comes back."""
    key = (dataset_id,)
    db.execute(
        "DELETE FROM catalog_search WHERE symbol IN (SELECT symbol FROM symbols WHERE dataset_id = ?1) "
        "AND dataset_id = ?1",
        key,
    )
    db.execute("DELETE FROM symbols WHERE dataset_id = ?", key)
    db.execute("DELETE FROM date_ranges WHERE dataset_id = ?", key)
    db.execute("DELETE FROM checksums WHERE dataset_id = ?", key)
    db.execute("DELETE FROM catalog_places WHERE dataset_id = ?", key)
    db.execute("DELETE FROM datasets WHERE dataset_id = ?", key)


def lane_location(cache: str, series: str) -> DatasetLocation:
    """Return the location of a lane that a lineage records, with the kind ``read``."""
    return DatasetLocation("read", f"{_resolved_path(cache)}\n{series}")


def lane_id(location: DatasetLocation) -> str:
    """Return the dataset id of a lane, which depends only on the cache folder and the series."""
    return str(uuid5(NAMESPACE_URL, f"onetape lane {location.key}"))


def lane_source(vendor: str, series: str) -> str:
    """Return vendor and lane as the source of a dataset, such as ``yahoo/1d@raw``."""
    return f"{vendor}/{series.rpartition(' ')[2]}"


@lru_cache(64)
def _resolved_path(folder: str) -> str:
    return str(Path(folder).resolve())
