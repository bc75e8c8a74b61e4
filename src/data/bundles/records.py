"""What is written of a bundle beside its bars: where they come from, and the digest of each file."""

from __future__ import annotations

import hashlib
import io
import json
import struct
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import polars as pl

from ..disk.database import connect
from ..disk.files import Disk
from ..errors import BundleError, FormatVersionError
from .commit import METADATA, BundleFiles, FileChanges

__all__ = ["DATABASE", "FileRecord", "BundleOrigin", "Records", "SymbolSource", "file_metadata"]

SCHEMA_VERSION = 1
DATABASE = "metadata.db"
_KEY, _VERSION_KEY = "onetape", "schema_version"
# "1tpB": marks the file as ours among SQLite's.
_APPLICATION_ID, _DATABASE_VERSION = 0x31747042, 1
_TABLES = (
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


@dataclass(frozen=True)
class SymbolSource:
    """Where the bars of one symbol of a bundle come from.

    Attributes:
        sid: its number in the bundle.
        lane, generation: of the store; None where the bars come from elsewhere.
        fingerprint: of the answer that the bars are, as ``onetape.fingerprint`` gives it.
        actions: the digest of the splits and dividends that count.
        asset_type, exchange: what the symbol is, and its market.
        quality: the score of the answer, 0 to 1; None: no bar.
        missing: how many bars it lacks by the calendar.
    """

    sid: int
    lane: str | None = None
    generation: int | None = None
    fingerprint: str | None = None
    actions: str | None = None
    asset_type: str = "unknown"
    exchange: str | None = None
    quality: float | None = None
    missing: int = 0


@dataclass(frozen=True)
class BundleOrigin:
    """What of a bundle cannot be read off its rows. It stands in each of its files.

    Attributes:
        bundle_name: of the bundle.
        commit: the number of the change that wrote it, from 1 on.
        source_type: the vendor, ``onetape`` for the router, or what a user's program named.
        source: what else that program said of it.
        resolutions: ``daily`` and ``minute`` to the timeframe of their bars.
        created_at, ingested_at: UTC milliseconds.
        request: the arguments that the bundle answers; None where rows were written into it.
        symbols: symbol to its source.
        wide_volume: whether volumes are ``Decimal(38, 8)``.
        dataset_id: of ``metadata.db``.
    """

    bundle_name: str
    commit: int = 0
    source_type: str = "unknown"
    source: Mapping[str, Any] = field(default_factory=dict)
    resolutions: Mapping[str, str] = field(default_factory=dict)
    created_at: int = 0
    ingested_at: int = 0
    request: Mapping[str, Any] | None = None
    symbols: Mapping[str, SymbolSource] = field(default_factory=dict)
    wide_volume: bool = False
    dataset_id: str = ""

    def text(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def parsed(cls, text: str) -> BundleOrigin:
        """Return what :meth:`text` wrote; raises ``ValueError``, ``TypeError``."""
        fields = json.loads(text)
        symbols = {name: SymbolSource(**source) for name, source in fields.pop("symbols").items()}
        return cls(**fields, symbols=symbols)


@dataclass(frozen=True)
class FileRecord:
    """One partition.

    Attributes:
        place: relative to the bundle, with ``/``.
        sha256, size_bytes: of the file.
        row_count, violations: rows, and those that no bar can be (high below low and the like).
        sids: number to rows, first and last stamp (UTC milliseconds).
    """

    place: str
    sha256: str
    size_bytes: int
    row_count: int
    violations: int
    sids: Mapping[int, tuple[int, int, int]]


def file_metadata(origin: BundleOrigin) -> dict[str, str]:
    """Return the metadata of each Parquet file of a bundle."""
    return {_VERSION_KEY: str(SCHEMA_VERSION), _KEY: origin.text()}


def origin_of(metadata: Mapping[str, str], name: str) -> BundleOrigin | None:
    """Return what the metadata of a file tells; None where it is another program's.

    Raises:
        FormatVersionError: a newer version of this library wrote the file.
    """
    version = metadata.get(_VERSION_KEY, "1")
    if not version.isdigit() or int(version) > SCHEMA_VERSION:
        raise FormatVersionError(
            f"{name} has schema_version {version}, this version reads up to {SCHEMA_VERSION}",
            hint="update onetape",
        )
    try:
        return BundleOrigin.parsed(metadata[_KEY])
    except (KeyError, ValueError, TypeError, AttributeError):
        return None


def measured(place: str, data: bytes, frame: pl.DataFrame) -> FileRecord:
    """Return the record of a partition with these bytes and rows."""
    time = frame.columns[0]
    stamps = pl.col(time).cast(pl.Datetime("ms")).cast(pl.Int64)
    groups = frame.group_by("sid").agg(
        pl.len(), stamps.min().alias("first"), stamps.max().alias("last")
    )
    bad = frame.select(
        (
            (pl.col("high") < pl.max_horizontal("open", "close", "low"))
            | (pl.col("low") > pl.min_horizontal("open", "close"))
            | (pl.col("volume") < 0)
        ).sum()
    ).item()
    sids = {sid: (rows, first, last) for sid, rows, first, last in groups.sort("sid").rows()}
    return FileRecord(place, digest_of(data), len(data), len(frame), int(bad), sids)


def digest_of(data: bytes) -> str:
    """Return the SHA256 of bytes, as hex digits."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Records:
    """All that is recorded of a bundle: its origin, and its files by their places."""

    origin: BundleOrigin
    files: Mapping[str, FileRecord]

    @classmethod
    def read(cls, files: BundleFiles, disk: Disk, path: Path) -> Records | None:
        """Return what ``metadata.parquet`` holds; None where it is missing, damaged or another program's.

        Raises:
            FormatVersionError: a newer version of this library wrote it.
        """
        data = disk.read_if_exists(path)
        if data is None:
            return None
        try:
            metadata = pl.read_parquet_metadata(io.BytesIO(data))
            frame = pl.read_parquet(io.BytesIO(data))
        except (pl.exceptions.PolarsError, OSError):
            return None
        origin = origin_of(metadata, f"{files.path.name}/{METADATA}")
        if origin is None or set(_COLUMNS) - set(frame.columns):
            return None
        records = (
            FileRecord(place, sha256, size, rows, bad, _sids(json.loads(sids)))
            for place, sha256, size, rows, bad, sids in frame.select(*_COLUMNS).rows()
        )
        return cls(origin, {record.place: record for record in records})

    def put(self, commit: FileChanges, files: BundleFiles, *, with_database: bool = True) -> None:
        """Add both views to a change: ``metadata.parquet`` and ``metadata.db``.

        Raises:
            BundleError: a database of another program lies in the place of ``metadata.db``.
            FormatVersionError: a newer version of this library wrote it.
        """
        if with_database:
            check_database(files)
            commit.put(DATABASE, self._database())
        commit.put(METADATA, self._parquet())

    def with_files(self, changed: Iterable[FileRecord], removed: Iterable[str] = ()) -> Records:
        """Return it with some files as they are now, and others gone."""
        gone = set(removed)
        merged = {place: record for place, record in self.files.items() if place not in gone}
        merged.update((record.place, record) for record in changed)
        return replace(self, files=dict(sorted(merged.items())))

    def spans(self) -> dict[int, tuple[int, int, int]]:
        """Return sid to rows, first and last stamp (UTC milliseconds) over all files."""
        spans: dict[int, tuple[int, int, int]] = {}
        for record in self.files.values():
            for sid, (rows, first, last) in record.sids.items():
                before = spans.get(sid, (0, first, last))
                spans[sid] = (before[0] + rows, min(before[1], first), max(before[2], last))
        return dict(sorted(spans.items()))

    def names(self) -> dict[int, str]:
        """Return sid to symbol; of what has no symbol, the number as text."""
        named = {source.sid: symbol for symbol, source in self.origin.symbols.items()}
        return {**{sid: str(sid) for sid in self.spans()}, **named}

    def checksum(self) -> str:
        """Return one digest of all files."""
        lines = (f"{record.sha256}  {place}\n" for place, record in sorted(self.files.items()))
        return digest_of("".join(lines).encode())

    def _parquet(self) -> bytes:
        rows = [
            (r.place, r.sha256, r.size_bytes, r.row_count, r.violations, json.dumps(r.sids))
            for r in self.files.values()
        ]
        buffer = io.BytesIO()
        pl.DataFrame(rows, schema=_COLUMNS, orient="row").write_parquet(
            buffer, compression="zstd", compression_level=3, metadata=file_metadata(self.origin)
        )
        return buffer.getvalue()

    def _database(self) -> bytes:
        """Return a SQLite file with the five documented tables; times are UTC seconds."""
        origin, spans, names = self.origin, self.spans(), self.names()
        dataset, now = origin.dataset_id, origin.ingested_at // 1000
        firsts, lasts = [s[1] for s in spans.values()], [s[2] for s in spans.values()]
        whole = (
            dataset, origin.source_type, ",".join(sorted(set(origin.resolutions.values()))),
            min(firsts, default=0) // 1000, max(lasts, default=0) // 1000, self.checksum(), ".",
            origin.created_at // 1000, now, sum(r.row_count for r in self.files.values()),
            sum(r.size_bytes for r in self.files.values()),
        )  # fmt: skip
        sources = {source.sid: source for source in origin.symbols.values()}
        with closing(connect(":memory:", 0)) as db:
            for statement in _TABLES:
                db.execute(statement)
            db.execute("BEGIN")
            db.execute("INSERT INTO datasets VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", whole)
            for sid, symbol in names.items():
                source = sources.get(sid, SymbolSource(sid))
                db.execute(
                    "INSERT INTO symbols (dataset_id, symbol, asset_type, exchange, metadata) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (
                        dataset,
                        symbol,
                        source.asset_type,
                        source.exchange,
                        json.dumps(asdict(source)),
                    ),
                )
                if sid in spans:
                    rows, first, last = spans[sid]
                    db.execute(
                        "INSERT INTO date_ranges (dataset_id, symbol, start_date, end_date, bar_count, "
                        "has_gaps) VALUES (?, ?, ?, ?, ?, ?)",
                        (dataset, symbol, first // 1000, last // 1000, rows, source.missing > 0),
                    )
            db.executemany(
                "INSERT INTO checksums (dataset_id, file_path, checksum, last_validated) "
                "VALUES (?, ?, ?, ?)",
                [(dataset, r.place, r.sha256, now) for r in self.files.values()],
            )
            db.execute("COMMIT")
            db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {_DATABASE_VERSION}")
            return db.serialize()


_COLUMNS: dict[str, Any] = {
    "file_path": pl.String,
    "sha256": pl.String,
    "size_bytes": pl.Int64,
    "row_count": pl.Int64,
    "violations": pl.Int64,
    "sids": pl.String,
}


def _sids(read: Mapping[str, list[int]]) -> dict[int, tuple[int, int, int]]:
    return {int(sid): (rows, first, last) for sid, (rows, first, last) in read.items()}


def new_dataset_id(path: Path) -> str:
    """Return the id of a bundle's dataset: the same for the same folder, so that it can be rebuilt."""
    return str(uuid5(NAMESPACE_URL, path.absolute().as_uri()))


def check_database(files: BundleFiles) -> None:
    """Refuse to replace a ``metadata.db`` that is not this version's view; a damaged one may go.

    Raises:
        BundleError: it is a database of another program.
        FormatVersionError: a newer version of this library wrote it.
    """
    data = files.disk.read_if_exists(files.path / DATABASE)
    if data is None or len(data) < 100 or not data.startswith(b"SQLite format 3\0"):
        return
    version, application = (
        struct.unpack_from(">I", data, 60)[0],
        struct.unpack_from(">I", data, 68)[0],
    )
    if application != _APPLICATION_ID:
        raise BundleError(
            f"{DATABASE} in bundle {files.path.name} is a database of another program",
            hint="move it out of the bundle",
        )
    if version > _DATABASE_VERSION:
        raise FormatVersionError(
            f"{DATABASE} in bundle {files.path.name} was written by a newer version of this library",
            hint="update onetape",
        )
