"""The records of a bundle: the source of its bars, and the digest of each of its files.

To add one of these, declare it in one place; the files, SQLite tables and methods follow::

    To add                          write                                   in
    ------------------------------  --------------------------------------  ----------------------
    a fact about a bundle           a field of BundleOrigin, with fact()    this file
                                    if its row shall have a column for it
      its value, if other than      an argument of replace(records.origin,  Bundle.create, for the
      the default                   ...); later changes of the bundle keep  store's answers;
                                    the value                               ParquetWriter._write,
                                                                            for user code's rows
    a fact about a symbol           a field of SymbolSource                 this file
      its value                     an argument of SymbolSource             _answer in bundle.py
      if it depends on the rows,    an argument of replace(...)             _sources_after_clean in
      its value after a change                                              bundle.py, _mark_rewritten in
                                                                            parquet_writer.py
    a fact about a file             a field at the end of FileRecord, with  this file
                                    file_column(..., default=...)
      its value                     an argument of FileRecord               measured, this file
    a field computed from these,    a RowField                              ROW in bundle_row.py
    as a column of the row
    an option of the query          a field of Request, whose docstring     request.py
                                    lists the other places

``test_a_new_field_needs_only_one_declaration`` (``tests/bundles/test_bundle_row.py``) adds one of each
sort other than an option, sets the values itself, and follows them through files, tables and index.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any
from uuid import NAMESPACE_URL, uuid5

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..disk.database import connect
from ..disk.files import Disk, FileState
from ..errors import BundleError, FormatVersionError
from ..layer.frames import pl
from ..model.instant import DAY_MS, iso, parse_iso
from .catalog_tables import (
    DATABASE,
    CoveredRange,
    Dataset,
    RangeRow,
    SymbolRow,
    check_owner,
    header_of,
    make,
    request_key,
)
from .commit import METADATA, QUARANTINE, BundleFiles, FileChanges, is_inside
from .request import Request

__all__ = ["FileRecord", "BundleOrigin", "Records", "SymbolSource", "file_metadata"]

_Integers = NDArray[np.int64]
_Int = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]

SCHEMA_VERSION = 1
_KEY, _VERSION_KEY = "onetape", "schema_version"
_DATE_LENGTH = len("2024-01-02")
# A bar of seven values takes more than a byte, even if all bars are alike. Files smaller than this
# are always read.
FEW_ROWS, _ROWS_PER_BYTE, _VALUES_PER_ROW = 2_000_000, 4, 8
# Errors raised when reading bytes from other programs. A Polars panic is not an `Exception`.
UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError)
# Replaces the fingerprint of a symbol's bars after user code has written rows for the symbol.
REWRITTEN = "rewritten"
# Bars can have stamps this many days before or after 1970: the years 1680 to 2259.
MOST_DAYS = 106_000
# Some file systems have inode numbers that use all 64 bits.
_INODE_MASK = 2**63 - 1


@dataclass(frozen=True)
class SymbolSource:
    """The source of the bars for one symbol in a bundle.

    If the answer for the symbol is an error, the facts keep their previous values, or their defaults
    if there are none (except ``missing``). For a new symbol in rows written by user code, they have
    their defaults.

    Attributes:
        sid: Number of the symbol in the bundle.
        lane, generation: Lane in the store (stored bars of one kind for one series), and the version
            of its bars; None if the bars come from elsewhere.
        fingerprint: Digest of the answer with these bars, as returned by ``onetape.fingerprint``.
        actions: Digest of the splits and dividends that apply.
        asset_type, exchange: Type of the asset, such as ``stock``, and its market.
        quality: Score of the answer, 0 to 1, or None if the answer has no bars.
        missing: Number of bars that the calendar expects but the answer lacks.
        seal: Digest of everything in the store that the answer depends on. As long as it stays the
            same, so does the answer. If it is None, the answers must be compared.
        others: Keys that this version does not use; they are written back as they were read.
    """

    sid: _Int
    lane: str | None = None
    generation: _Int | None = None
    fingerprint: str | None = None
    actions: str | None = None
    asset_type: str = "unknown"
    exchange: str | None = None
    quality: float | None = None
    missing: _Int = 0
    seal: str | None = None
    others: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_gaps(self) -> bool | None:
        """Whether bars are missing; None for rows written by user code, for which no bars are expected."""
        return None if self.lane is None and not self.missing else self.missing > 0

    def to_json(self) -> dict[str, Any]:
        """Return a mapping for JSON, including the keys that this version does not use."""
        return _to_json(self)


def fact(sql: str, default: Any) -> Any:
    """Declare a field of :class:`BundleOrigin` that is also a column of the bundle's row.

    ``sql`` is the type of the column. No field of this version uses the function. An example::

        grade: str = fact("TEXT", default="plain")
    """
    return field(default=default, metadata={"sql": sql})


@dataclass(frozen=True)
class BundleOrigin:
    """The facts about a bundle that cannot be derived from its rows.

    Each file of the bundle contains them, limited to its own symbols. A field that is declared with
    :func:`fact` is also a column of the bundle's row in the SQLite file, and may be set by user
    code.

    Attributes:
        bundle_name: Name of the bundle.
        commit: Number of the change to the bundle that wrote these facts, counted from 1.
        source_type: Vendor's name; ``onetape`` if the library chose the vendors; or the name given
            by user code.
        source: Further details about the source, given by user code.
        resolutions: Maps ``daily`` and ``minute`` to the timeframe of their bars.
        created_at, ingested_at: Times of creation and of the last change, UTC milliseconds.
        request: Arguments of the query that the bundle answers (:class:`.request.Request`); None
            if user code wrote rows into it.
        symbols: Maps each symbol to its source.
        wide_volume: Whether volumes are ``Decimal(38, 8)``.
        dataset_id: Id of the dataset in ``metadata.db``.
        others: Keys that this version does not use; they are written back as they were read.
    """

    bundle_name: str
    commit: _Int = 0
    source_type: str = "unknown"
    source: Mapping[str, Any] = field(default_factory=dict)
    resolutions: Mapping[str, str] = field(default_factory=dict)
    created_at: _Int = 0
    ingested_at: _Int = 0
    request: Mapping[str, Any] | None = None
    symbols: Mapping[str, SymbolSource] = field(default_factory=dict)
    wide_volume: bool = False
    dataset_id: str = ""
    others: Mapping[str, Any] = field(default_factory=dict)

    def of_sids(self, sids: Collection[int]) -> BundleOrigin:
        """Return the origin limited to the series ``sids``, for a file with only their rows."""
        return replace(self, symbols={n: s for n, s in self.symbols.items() if s.sid in sids})

    def text(self) -> str:
        """Return the origin as JSON; no other code writes this JSON.

        Raises:
            BundleError: The origin is nested too deeply.
        """
        symbols = {name: source.to_json() for name, source in self.symbols.items()}
        document = {**_to_json(self), "symbols": symbols}
        try:
            return json.dumps(document, sort_keys=True, separators=(",", ":"))
        except RecursionError as exc:
            raise BundleError(
                f"bundle {self.bundle_name}: its origin is nested too deeply to be written",
                hint="nothing was changed",
            ) from exc

    @classmethod
    def parsed(cls, text: str) -> BundleOrigin:
        """Parse an origin from the JSON that :meth:`text` returned.

        Raises ``ValueError``, ``TypeError`` or ``AttributeError`` if the JSON is invalid.
        """
        try:
            document = _fields_of(cls, json.loads(text))
            sources = document.get("symbols", {})
            document["symbols"] = {
                n: _fields_of(SymbolSource, source) for n, source in sources.items()
            }
            if document.get("request") is not None:
                document["request"] = _parsed_request(document["request"])
            return msgspec.convert(document, cls)
        except RecursionError as exc:
            raise ValueError("it is nested too deeply") from exc
        except msgspec.ValidationError as exc:  # not a ValueError before 0.22
            raise ValueError(str(exc)) from exc


def _parsed_request(stored: Any) -> dict[str, Any]:
    """Return a stored request with the defaults of options that it lacks, and all keys that it has.

    Raises ``msgspec.ValidationError`` if a value is missing or has the wrong type.
    """
    request = msgspec.convert(stored, Request)
    return {**{key: getattr(request, key) for key in Request.__dataclass_fields__}, **stored}


def _to_json(record: Any) -> dict[str, Any]:
    names = [f.name for f in fields(record) if f.name != "others"]
    return {**record.others, **{name: getattr(record, name) for name in names}}


def _fields_of(record_type: type, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a record; keys without a field go into ``others``."""
    names = {f.name for f in fields(record_type)} - {"others"}
    known = {name: value for name, value in entry.items() if name in names}
    return {**known, "others": {n: value for n, value in entry.items() if n not in names}}


@dataclass(frozen=True, eq=False)
class SidRows:
    """The series in one partition, stored as columns because a bundle may have a million entries.

    Attributes:
        sids: Series numbers, ascending.
        rows, firsts, lasts: Number of rows, first stamp and last stamp (UTC milliseconds) of each
            series.
    """

    sids: _Integers
    rows: _Integers
    firsts: _Integers
    lasts: _Integers

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SidRows) and all(map(np.array_equal, self, other))

    __hash__ = None  # type: ignore[assignment] # arrays have none

    def __iter__(self) -> Iterator[_Integers]:
        return iter((self.sids, self.rows, self.firsts, self.lasts))


def file_column(column: str = "", dtype: Any = None, **default: Any) -> Any:
    """Declare a field of :class:`FileRecord` with its column in ``metadata.parquet``.

    The column of a field with a default may contain nulls. A field without a column is stored in a
    different way.
    """
    return field(metadata={"column": column, "dtype": dtype} if column else None, **default)


@dataclass(frozen=True)
class FileRecord:
    """The record of one partition.

    Attributes:
        place: Path relative to the bundle, separated by ``/``.
        sha256, size_bytes: Digest and size of the file.
        row_count, violations: Number of rows, and number of invalid rows (such as high below low).
        sids: Maps each series in the file to its number of rows and its first and last timestamp.
        state: State of the file (size, times and so on) when it was written, or None if unknown. A
            copy of the file has a different state.
        validated_ms: Time at which ``validate`` last read the file and found this digest, in UTC
            milliseconds; None if it never has.
    """

    place: str = file_column("file_path", pl.String)
    sha256: str = file_column("sha256", pl.String)
    size_bytes: int = file_column("size_bytes", pl.Int64)
    row_count: int = file_column("row_count", pl.Int64)
    violations: int = file_column("violations", pl.Int64)
    sids: SidRows = file_column()
    state: FileState | None = field(default=None, compare=False)
    validated_ms: int | None = file_column("validated_ms", pl.Int64, default=None, compare=False)

    def is_unchanged(self, now: FileState | None) -> bool:
        """Return whether the file's current state ``now`` shows that its content is unchanged."""
        return now is not None and self.state == _kept_state(now)

    def seen(self, now: FileState) -> FileRecord:
        """Return this record with a new state, after a check has confirmed the file's content."""
        return replace(self, state=_kept_state(now))


def file_metadata(origin: BundleOrigin) -> dict[str, str]:
    """Return the metadata to write into each Parquet file of a bundle."""
    return {_VERSION_KEY: str(SCHEMA_VERSION), _KEY: origin.text()}


def origin_of(metadata: Mapping[str, str], name: str) -> BundleOrigin | None:
    """Return the origin in the metadata of a file; None if another program wrote the file.

    Raises:
        FormatVersionError: A newer version of this library wrote the file.
        BundleError: The origin is damaged.
    """
    version = metadata.get(_VERSION_KEY, str(SCHEMA_VERSION))
    if version != str(SCHEMA_VERSION):
        raise FormatVersionError(
            f"{name} has schema_version {version[:40]}; this version reads {SCHEMA_VERSION}",
            hint="update onetape",
        )
    if _KEY not in metadata:
        return None
    try:
        return _parsed(metadata[_KEY])
    except (ValueError, TypeError, AttributeError) as exc:
        raise BundleError(
            f"{name}: the origin in its metadata is damaged: {str(exc)[:120]}",
            hint="restore the file from a backup; nothing was changed",
        ) from exc


# Files from one change have the same content.
@lru_cache(4)
def _parsed(text: str) -> BundleOrigin:
    return BundleOrigin.parsed(text)


def _kept_state(state: FileState) -> FileState:
    return state._replace(inode=state.inode & _INODE_MASK)


def check_rows(frame: pl.LazyFrame, name: str, size: int) -> None:
    """Refuse to read Parquet files that declare more rows than their size allows.

    Args:
        frame: Lazy frame of the files, of which only the footers are read.
        name: Name of the file or folder, for messages.
        size: Size of the files in bytes.

    Raises:
        BundleError: The files declare more rows than their size allows.
        PolarsError: A file is not a Parquet file.
    """
    rows: int = frame.select(pl.len()).collect().item()
    if rows > most_values(size) // _VALUES_PER_ROW:
        raise BundleError(
            f"{name} declares {rows:,} rows in {size:,} bytes, which is too many for bars",
            hint="restore the file from a backup, or remove it; nothing was changed",
        )


def most_values(size: int) -> int:
    """Return the largest number of values that a file of bars of ``size`` bytes may declare."""
    return _VALUES_PER_ROW * max(FEW_ROWS, _ROWS_PER_BYTE * size)


def measured(
    place: str, data: bytes, frame: pl.DataFrame, state: FileState | None = None
) -> FileRecord:
    """Compute the record of a partition from its bytes, its rows and the state of its file."""
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
    columns = groups.sort("sid").cast(pl.Int64).select("sid", "len", "first", "last")
    sids = SidRows(*(column.to_numpy() for column in columns))
    kept = state and _kept_state(state)
    return FileRecord(place, digest_of(data), len(data), len(frame), int(bad), sids, kept)


def digest_of(data: bytes) -> str:
    """Return the SHA256 digest of ``data`` as hex digits."""
    return hashlib.sha256(data).hexdigest()


def set_aside(commit: FileChanges, place: str, data: bytes) -> str:
    """Add a copy of a damaged file, in ``_quarantine``, to a change; return the copy's path."""
    name = f"{QUARANTINE}/{place.replace('/', '_')}.{digest_of(data)[:8]}"
    commit.put(name, data)
    return name


# The columns of `metadata.parquet`. They are derived: edit `FileRecord`, whose `sids` and `state` alone
# have their columns here.
_LISTS = ("sid", "sid_rows", "sid_first", "sid_last")
_FIELDS = {f.metadata["column"]: f for f in fields(FileRecord) if f.metadata}
# Maps the name of each column to the name of its field.
_FIELD_NAMES = {column: f.name for column, f in _FIELDS.items()}
_DTYPES: dict[str, Any] = {column: f.metadata["dtype"] for column, f in _FIELDS.items()}
# State of each file when it was written.
_STATE_COLUMNS: dict[str, Any] = {"inode": pl.Int64, "mtime_ns": pl.Int64}
# Columns that may contain nulls: those of fields with a default.
_NULLABLE = _STATE_COLUMNS | {c: _DTYPES[c] for c, f in _FIELDS.items() if f.default is not MISSING}
_COLUMNS = {c: dtype for c, dtype in _DTYPES.items() if c not in _NULLABLE} | dict.fromkeys(
    _LISTS, pl.List(pl.Int64)
)


@dataclass(frozen=True)
class Records:
    """Everything recorded about a bundle: its origin, and the record of each file by its path."""

    origin: BundleOrigin
    files: Mapping[str, FileRecord]

    @classmethod
    def read(cls, files: BundleFiles, disk: Disk, path: Path) -> Records | None:
        """Return the records in ``metadata.parquet``.

        Return None if the file is missing, damaged or from another program.

        Raises:
            FormatVersionError: A newer version of this library wrote the file.
            BundleError: The origin in the file is damaged.
        """
        data = disk.read_if_exists(path)
        if data is None:
            return None
        try:
            metadata = pl.read_parquet_metadata(io.BytesIO(data))
            lazy = pl.scan_parquet(io.BytesIO(data))
            check_rows(lazy, f"{files.path.name}/{METADATA}", len(data))
            frame = lazy.collect()
        except UNREADABLE:
            return None
        origin = origin_of(metadata, f"{files.path.name}/{METADATA}")
        if origin is None:
            return None
        try:
            frame = frame.select(*_COLUMNS, *_NULLABLE).cast(_COLUMNS | _NULLABLE)
        except UNREADABLE:
            return None
        is_whole = not sum(frame.select(*_COLUMNS).null_count().row(0))
        if not is_whole or not all(map(is_inside, frame["file_path"])) or not _can_be(frame):
            return None
        lists = zip(*(frame[name] for name in _LISTS), strict=True)
        sids = (SidRows(*(column.to_numpy() for column in columns)) for columns in lists)
        states = frame.select("inode", "size_bytes", "mtime_ns").rows()
        records = [
            FileRecord(
                **dict(zip(_FIELD_NAMES.values(), values, strict=True)),
                sids=of_file,
                state=None if None in state else FileState(*state),
            )
            for values, of_file, state in zip(
                frame.select(*_FIELD_NAMES).rows(), sids, states, strict=True
            )
        ]
        return cls(origin, {record.place: record for record in records})

    def put(self, commit: FileChanges, files: BundleFiles, *, with_database: bool = True) -> None:
        """Add the records to a change, as ``metadata.parquet`` and, if requested, ``metadata.db``.

        Raises:
            BundleError: ``metadata.db`` is a database of another program.
            FormatVersionError: A newer version of this library wrote ``metadata.db``.
        """
        if with_database:
            check_database(files)
            commit.put(DATABASE, self._database())
        commit.put(METADATA, self._parquet())

    def with_files(self, changed: Iterable[FileRecord], removed: Iterable[str] = ()) -> Records:
        """Return the records with some files replaced and others removed."""
        gone = set(removed)
        merged = {place: record for place, record in self.files.items() if place not in gone}
        merged.update((record.place, record) for record in changed)
        return replace(self, files=dict(sorted(merged.items())))

    def spans(self, within: str = "") -> dict[int, tuple[int, int, int]]:
        """Return each sid's number of rows and its first and last stamp (UTC milliseconds).

        Only files whose path begins with ``within`` are included.
        """
        parts = [tuple(r.sids) for place, r in self.files.items() if place.startswith(within)]
        if not parts:
            return {}
        columns = zip(_LISTS, map(np.concatenate, zip(*parts, strict=True)), strict=True)
        sid, rows, first, last = _LISTS
        whole = pl.DataFrame(dict(columns)).group_by(sid)
        totals = whole.agg(pl.col(rows).sum(), pl.col(first).min(), pl.col(last).max()).sort(sid)
        return {number: (n, start, end) for number, n, start, end in totals.rows()}

    def names(self) -> dict[int, str]:
        """Return the symbol for each sid, or the sid as text if it has no symbol."""
        symbol_of_sid = {source.sid: symbol for symbol, source in self.origin.symbols.items()}
        return {**{sid: str(sid) for sid in self.spans()}, **symbol_of_sid}

    def checksum(self) -> str:
        """Return one digest for all files together."""
        lines = (f"{record.sha256}  {place}\n" for place, record in sorted(self.files.items()))
        return digest_of("".join(lines).encode())

    def _parquet(self) -> bytes:
        files = list(self.files.values())
        values = pl.DataFrame(
            [[getattr(r, name) for name in _FIELD_NAMES.values()] for r in files],
            schema={name: (_COLUMNS | _NULLABLE)[name] for name in _FIELD_NAMES},
            orient="row",
        )
        states = pl.DataFrame(
            [(None, None) if r.state is None else (r.state.inode, r.state.mtime_ns) for r in files],
            schema=_STATE_COLUMNS,
            orient="row",
        )
        lists = zip(*(tuple(r.sids) for r in files), strict=True) if files else [()] * len(_LISTS)
        buffer = io.BytesIO()
        values.with_columns(
            *(
                pl.Series(name, list(column), dtype=pl.List(pl.Int64))
                for name, column in zip(_LISTS, lists, strict=True)
            ),
            *states,
        ).select(*_COLUMNS, *_NULLABLE).write_parquet(
            buffer, compression="zstd", compression_level=3, metadata=file_metadata(self.origin)
        )
        return buffer.getvalue()

    def dataset(self, path: str = ".") -> Dataset:
        """Convert the bundle to a dataset of the catalog, with its files in ``path``."""
        origin, spans, names = self.origin, self.spans(), self.names()
        firsts, lasts = [s[1] for s in spans.values()], [s[2] for s in spans.values()]
        sources = {source.sid: source for source in origin.symbols.values()}
        symbols = [
            (symbol, sources.get(sid, SymbolSource(sid)), spans.get(sid))
            for sid, symbol in names.items()
        ]
        return Dataset(
            origin.dataset_id,
            origin.source_type,
            ",".join(sorted(set(origin.resolutions.values()))),
            min(firsts, default=0) // 1000,
            max(lasts, default=0) // 1000,
            self.checksum(),
            path,
            origin.created_at // 1000,
            origin.ingested_at // 1000,
            sum(r.row_count for r in self.files.values()),
            sum(r.size_bytes for r in self.files.values()),
            tuple(
                SymbolRow(symbol, of.asset_type, of.exchange, json.dumps(of.to_json()))
                for symbol, of, _ in symbols
            ),
            tuple(
                RangeRow(symbol, span[1] // 1000, span[2] // 1000, span[0], of.has_gaps)
                for symbol, of, span in symbols
                if span is not None
            ),
            tuple((r.place, r.sha256) for r in self.files.values()),
            tuple(self._covers(names)),
            {r.place: r.validated_ms // 1000 for r in self.files.values() if r.validated_ms},
        )

    def request_key(self) -> str | None:
        """Return the key of the bundle's request, or None if user code wrote its rows."""
        request = self.origin.request
        if request is None:
            return None
        source, symbols = self.origin.source_type, request["symbols"]
        start, end = _full_time(request["start_date"]), _full_time(request["end_date"])
        return request_key(source, symbols, start, end, request["timeframe"])

    def _covers(self, names: Mapping[int, str]) -> Iterator[CoveredRange]:
        """Yield the range that the bundle covers for each symbol.

        The range extends from the first bar to the last and, if the bundle answers a request, over
        the requested range up to the time of the last change.
        """
        origin = self.origin
        request = origin.request or {}
        for frequency, resolution in origin.resolutions.items():
            for sid, (_, first, last) in self.spans(f"{frequency}_bars/").items():
                source = origin.symbols.get(names[sid], SymbolSource(sid))
                if source.fingerprint is not None and request.get("timeframe") == resolution:
                    first = min(first, _bound(request["start_date"], first))
                    # The time after the answer has not been requested yet.
                    end = _bound(request["end_date"], last, is_end=True)
                    last = max(last, min(end, origin.ingested_at))
                yield CoveredRange(names[sid], resolution, first // 1000, last // 1000)

    def _database(self) -> bytes:
        """Return the bytes of a SQLite file with the documented tables."""
        with closing(connect(":memory:", 0)) as db:
            db.execute("PRAGMA page_size = 1024")  # twenty tables and indexes take one each
            make(db)
            db.execute("BEGIN")
            self.dataset().put(db)
            db.execute("COMMIT")
            return db.serialize()


def _can_be(frame: pl.DataFrame) -> bool:
    """Return whether the counts and timestamps in a frame of records are plausible."""
    rows, first, last = _LISTS[1:]
    counts = [frame[name].min() for name in ("size_bytes", "row_count", "violations")]
    entries = [frame[name].explode() for name in (rows, first, last)]
    stamps = [bound for column in entries[1:] for bound in (column.min(), column.max())]
    numbers = [n for n in (*counts, entries[0].min()) if isinstance(n, int)]
    days = [abs(n) // DAY_MS for n in stamps if isinstance(n, int)]
    return min(numbers, default=0) >= 0 and max(days, default=0) < MOST_DAYS


def new_dataset_id(path: Path) -> str:
    """Return the id of a bundle's dataset, which depends only on the bundle's folder."""
    return str(uuid5(NAMESPACE_URL, path.absolute().as_uri()))


def check_database(files: BundleFiles) -> None:
    """Refuse to replace a ``metadata.db`` that is a catalog, or from elsewhere.

    A damaged file may be replaced.

    Raises:
        BundleError: The file is a catalog of datasets, or a database of another program.
        FormatVersionError: A newer version of this library wrote the file.
    """
    data = files.disk.read_if_exists(files.path / DATABASE) or b""
    is_database, application, version = header_of(data)
    if is_database and len(data) >= 100:
        check_owner(application, version, f"{DATABASE} in bundle {files.path.name}")


def has_database(files: BundleFiles) -> bool:
    """Return whether the bundle has a ``metadata.db`` that may be replaced."""
    try:
        check_database(files)
    except (BundleError, FormatVersionError):
        return False
    return files.disk.stat(files.path / DATABASE) is not None


def _full_time(given: str | None) -> str | None:
    """Return the start or end of a request as a full ISO time; unchanged if it cannot be parsed."""
    try:
        return given and iso(parse_iso(given))
    except ValueError:
        return given


def _bound(given: str | None, otherwise: int, *, is_end: bool = False) -> int:
    """Return the start or end of a request (``given``) in UTC milliseconds.

    A date gives its first or last millisecond. The result is ``otherwise`` if nothing is given, or
    if the value is relative, such as ``90d``.
    """
    try:
        bound = parse_iso(given) if given else otherwise
    except ValueError:  # not in the form that users type, such as `90d`
        return otherwise
    is_day = given is not None and len(given) == _DATE_LENGTH
    return bound + DAY_MS - 1 if is_end and is_day else bound
