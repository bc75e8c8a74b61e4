"""The records of a bundle: the source of its bars, and the digest and the series of each file.

To add a fact about a bundle, add a field to :class:`BundleOrigin`; about a symbol, to
:class:`SymbolSource`. Each needs a default, which files of before have. The value for the store's
answers is set in ``bundle.py``, the one for user code's rows in ``bundle_writer.py``. To show it in
the catalog, add a ``RowField`` in ``bundle_row.py``.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL, uuid5

import msgspec

from ...core.disk.database import connect
from ...core.model.time.instant import iso, parse_iso
from ...core.runtime.once import cached_property
from ...errors import BundleError, FormatVersionError
from ..frames.frames import FIELDS, SCHEMA_VERSION, pl
from ..frames.seal import BLANK, MARK, check_seal, sealed
from .catalog_tables import CoveredRange, Dataset, RangeRow, SymbolRow, make, request_key
from .partitions import frequency_of
from .request import bar_options, instant_of

__all__ = ["BundleOrigin", "FileRecord", "Records", "SymbolSource", "file_metadata", "measured"]

_KEY, _VERSION_KEY, _SEAL_KEY = "onetape", "schema_version", "seal"
# Errors raised when reading a damaged file. A Polars panic is not an `Exception`.
UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError)
# The fingerprint that earlier versions recorded for a symbol whose bars user code had overwritten.
_REWRITTEN = "rewritten"
_LONGEST_PATH = 120


@dataclass(frozen=True)
class SymbolSource:
    """The source of the bars for one symbol in a bundle.

    If the answer for the symbol is an error, the facts keep their previous values, or their defaults
    if there are none (except ``missing``). For rows written by user code, they have their defaults.

    Attributes:
        sid: Number of the symbol in the bundle.
        lane, generation: Lane in the store (stored bars of one kind for one series), and the version
            of its bars; None if the bars come from elsewhere.
        fingerprint: Digest of the answer with these bars, as returned by ``onetape.fingerprint``.
        actions: Digest of the splits and dividends that apply.
        asset_type, exchange: Type of the asset, such as ``stock``, and its market.
        quality: Score of the answer, 0 to 1, or None if the answer has no bars.
        missing: Number of bars that the calendar expects but the answer lacks.
        since, until: Range (UTC milliseconds, end exclusive) in which the answer has every bar that it
            could have. None for answers recorded by an earlier version.
        vendors: Vendors of the bars.
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
    since: int | None = None
    until: int | None = None
    vendors: tuple[str, ...] = ()

    @property
    def has_gaps(self) -> bool | None:
        """Whether bars are missing; None for rows written by user code, for which no bars are expected."""
        return None if self.lane is None and not self.missing else self.missing > 0


@dataclass(frozen=True)
class BundleOrigin:
    """The facts about a bundle that cannot be derived from its rows.

    Each file of the bundle contains them, limited to its own symbols.

    Attributes:
        bundle_name: Name of the bundle.
        commit: Number of the change to the bundle that wrote these facts, counted from 1.
        source_type: Vendor's name; ``onetape`` if the library chose the vendors; or the name given
            by user code.
        source: Further details about the source, given by user code.
        resolutions: Maps ``daily`` and ``minute`` to the timeframe of their bars.
        created_at, ingested_at: Times of creation and of the last change, UTC milliseconds.
        request: Arguments of the query that the bundle answers (:func:`.request_of`). Such a
            bundle is a view: it can be made again from the store. If it is None, user code wrote the
            rows, and the bundle is their only copy.
        symbols: Maps each symbol to its source.
        wide_volume: Whether volumes are ``Decimal(38, 8)``.
        dataset_id: Id of the dataset in ``metadata.db``.
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

    def of_sids(self, sids: Collection[int]) -> BundleOrigin:
        """Return the origin limited to the series ``sids``, for a file with only their rows."""
        return replace(self, symbols={n: s for n, s in self.symbols.items() if s.sid in sids})


def changed(origin: BundleOrigin, now_ms: int) -> BundleOrigin:
    """Return the origin of a bundle after a change, except for the facts that the change sets."""
    created_at = origin.created_at or now_ms
    return replace(origin, commit=origin.commit + 1, created_at=created_at, ingested_at=now_ms)


def file_metadata(origin: BundleOrigin) -> dict[str, str]:
    """Return the metadata to write into each Parquet file of a bundle."""
    facts = msgspec.json.encode(origin).decode()
    return {_VERSION_KEY: str(SCHEMA_VERSION), _KEY: facts, _SEAL_KEY: MARK + BLANK}


def origin_of(data: bytes, name: str) -> BundleOrigin | None:
    """Return the origin in a Parquet file, or None if another program wrote the file.

    Raises:
        FormatVersionError: A newer version of this library wrote the file.
        PolarsError, ValueError: The file is damaged.
    """
    if MARK.encode() in data:  # files of earlier versions have none
        check_seal(data)
    metadata = pl.read_parquet_metadata(io.BytesIO(data))
    version = metadata.get(_VERSION_KEY, str(SCHEMA_VERSION))
    if version != str(SCHEMA_VERSION):
        raise FormatVersionError(
            f"{name} has schema_version {version[:40]}; this version reads {SCHEMA_VERSION}",
            hint="update onetape",
        )
    if _KEY not in metadata:
        return None
    try:
        return msgspec.json.decode(metadata[_KEY], type=BundleOrigin)
    except msgspec.MsgspecError as exc:  # not a ValueError before 0.22
        raise ValueError(f"the origin in its metadata is damaged: {exc}") from exc


def digest_of(data: bytes) -> str:
    """Return the SHA256 digest of ``data`` as hex digits."""
    return hashlib.sha256(data).hexdigest()


def new_dataset_id(path: Path) -> str:
    """Return the id of a bundle's dataset, which depends only on the bundle's folder."""
    return str(uuid5(NAMESPACE_URL, path.absolute().as_uri()))


def parsed(data: bytes, name: str, record: FileRecord | None = None) -> pl.DataFrame:
    """Parse the bytes of a partition, compare them with its record, if any, and return its rows.

    Raises:
        BundleError: The bytes are not a Parquet file of bars.
        FormatVersionError: A newer version of this library wrote the bytes.
    """
    try:
        if record is not None and record.sha256 and record.sha256 != digest_of(data):
            raise ValueError("it does not have its recorded SHA256")
        origin_of(data, name)
        frame = pl.read_parquet(io.BytesIO(data))
        frame.select("sid", *FIELDS)
    except UNREADABLE as exc:
        raise damaged(name, exc) from exc
    return frame


def damaged(name: str, exc: BaseException) -> BundleError:
    """Return the error to raise for a file that cannot be read."""
    return BundleError(
        f"{name} is damaged: {str(exc).splitlines()[0] if str(exc) else type(exc).__name__}"
    )


class FileRecord(NamedTuple):
    """The record of one partition.

    Attributes:
        place: Path relative to the bundle, separated by ``/``.
        sha256, size_bytes: Digest and size of the file. The digest is empty, and the size 0, if the
            file was damaged when the records were made from the files.
        row_count, violations: Number of rows, and number of invalid rows (such as high below low).
        validated_ms: Time at which ``validate`` last read the file and found this digest, in UTC
            milliseconds; None if it never has.
    """

    place: str
    sha256: str
    size_bytes: int
    row_count: int
    violations: int
    validated_ms: int | None


# The columns of `metadata.parquet`: a row for each file, and in it a list entry for each series.
_OF_FILE = ("file_path", "sha256", "size_bytes", "row_count", "violations", "validated_ms")
_LISTS = ("sid", "sid_rows", "sid_first", "sid_last")
SCHEMA: dict[str, Any] = {
    **dict.fromkeys(_OF_FILE, pl.Int64()),
    "file_path": pl.String(),
    "sha256": pl.String(),
    **dict.fromkeys(_LISTS, pl.List(pl.Int64)),
}


def measured(frames: Mapping[str, pl.DataFrame], files: Mapping[str, bytes]) -> pl.DataFrame:
    """Return the rows of ``metadata.parquet`` for some files, given their rows and their bytes."""
    if not frames:
        return pl.DataFrame(schema=SCHEMA)
    whole = pl.concat(
        frame.select(
            pl.lit(number).alias("file"),
            pl.col("sid").cast(pl.Int64),
            pl.col(frame.columns[0]).cast(pl.Datetime("ms")).cast(pl.Int64).alias("time"),
            (
                (pl.col("high") < pl.max_horizontal("open", "close", "low"))
                | (pl.col("low") > pl.min_horizontal("open", "close"))
                | (pl.col("volume") < 0)
            ).alias("bad"),
        )
        for number, frame in enumerate(frames.values())
    )
    series = whole.group_by("file", "sid").agg(
        pl.len().cast(pl.Int64).alias("sid_rows"),
        pl.col("time").min().alias("sid_first"),
        pl.col("time").max().alias("sid_last"),
        pl.col("bad").sum().cast(pl.Int64).alias("violations"),
    )
    rows = series.sort("file", "sid").group_by("file", maintain_order=True)
    totals = rows.agg(
        *_LISTS, pl.col("violations").sum(), pl.col("sid_rows").sum().alias("row_count")
    )
    of_files = {
        "file_path": list(frames),
        "sha256": [digest_of(files[place]) for place in frames],
        "size_bytes": [len(files[place]) for place in frames],
    }
    empty = pl.lit(None, pl.Int64).alias("validated_ms")
    return totals.with_columns(empty, **{n: pl.Series(v) for n, v in of_files.items()}).select(
        *SCHEMA
    )


@dataclass(frozen=True, eq=False)
class Records:
    """Everything recorded about a bundle: its origin, and a row of ``table`` for each file."""

    origin: BundleOrigin
    table: pl.DataFrame

    @classmethod
    def parsed(cls, data: bytes, name: str) -> Records | None:
        """Return the records in the bytes of ``metadata.parquet``; None if they are damaged.

        Earlier versions let user code write rows into a bundle made from the store. Such rows exist
        nowhere else, so the bundle is an only copy.

        Raises:
            BundleError: The records list a path that is not one of a bundle's files. Nothing at such
                a path may be opened or removed.
            FormatVersionError: A newer version of this library wrote the file.
        """
        try:
            origin = origin_of(data, name)
            table = pl.read_parquet(io.BytesIO(data)).select(*SCHEMA).cast(SCHEMA)
        except UNREADABLE:
            return None
        if origin is None:
            return None
        for place in table["file_path"]:
            if place is None or frequency_of(place) is None:
                raise BundleError(
                    f"{name} is damaged: it lists {str(place)[:_LONGEST_PATH]!r}, which is not a path "
                    "of a bundle's file",
                    hint=f"remove {name}: it is made again from the bundle's own files",
                )
        if origin.request is not None:
            ours = [s.sid for s in origin.symbols.values() if s.fingerprint != _REWRITTEN]
            if not table["sid"].explode().drop_nulls().is_in(ours).all():
                origin = replace(origin, request=None)
        return cls(origin, table)

    @cached_property
    def files(self) -> dict[str, FileRecord]:
        """Maps the path of each file to its record."""
        return {row[0]: FileRecord(*row) for row in self.table.select(_OF_FILE).rows()}

    def with_files(self, rows: pl.DataFrame, removed: Iterable[str] = ()) -> Records:
        """Return the records with the rows of some files replaced, and others removed."""
        gone = [*rows["file_path"], *removed]
        kept = self.table.filter(~pl.col("file_path").is_in(gone))
        return replace(self, table=pl.concat([kept, rows]).sort("file_path"))

    def spans(self, within: str = "") -> dict[int, tuple[int, int, int]]:
        """Return each sid's number of rows and its first and last stamp (UTC milliseconds).

        Only files whose path begins with ``within`` are included.
        """
        files = self.table.filter(pl.col("file_path").str.starts_with(within))
        sid, rows, first, last = _LISTS
        entries = files.select(_LISTS).explode(_LISTS).drop_nulls().group_by(sid)
        totals = entries.agg(pl.col(rows).sum(), pl.col(first).min(), pl.col(last).max()).sort(sid)
        return {number: (n, start, end) for number, n, start, end in totals.rows()}

    @cached_property
    def symbols(self) -> pl.DataFrame:
        """The ``sid`` and the ``symbol`` of each series, by sid; the sid as text if it has no symbol."""
        symbol_of_sid = {source.sid: symbol for symbol, source in self.origin.symbols.items()}
        sids = self.table["sid"].explode().drop_nulls().unique().sort()
        names = {**{sid: str(sid) for sid in sids}, **symbol_of_sid}
        columns = {"sid": [*names], "symbol": [*names.values()]}
        return pl.DataFrame(columns, schema={"sid": pl.Int64, "symbol": pl.String}).sort("sid")

    def names(self) -> dict[int, str]:
        """Return the symbol for each sid, or the sid as text if it has no symbol."""
        return dict(self.symbols.rows())

    def checksum(self) -> str:
        """Return one digest for all files together."""
        lines = (f"{record.sha256}  {place}\n" for place, record in sorted(self.files.items()))
        return digest_of("".join(lines).encode())

    def parquet(self) -> bytes:
        """Return the bytes of ``metadata.parquet``."""
        return packed(self.table, self.origin)

    def database(self) -> bytes:
        """Return the bytes of ``metadata.db``, a SQLite file with the documented tables."""
        with closing(connect(":memory:", 0)) as db:
            db.execute("PRAGMA page_size = 1024")  # twenty tables and indexes take one each
            make(db)
            db.execute("BEGIN")
            self.dataset().put(db)
            db.execute("COMMIT")
            return db.serialize()

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
            self.table["row_count"].sum(),
            self.table["size_bytes"].sum(),
            tuple(
                SymbolRow(symbol, of.asset_type, of.exchange, json.dumps(asdict(of)))
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
            None if origin.request is None else bar_options(origin.request),
        )

    def request_key(self) -> str | None:
        """Return the key of the bundle's request, or None if user code wrote its rows."""
        request = self.origin.request
        if request is None:
            return None
        source, symbols = self.origin.source_type, request["symbols"]
        start, end = _full_time(request["start_date"]), _full_time(request["end_date"])
        options = bar_options(request)
        return request_key(source, symbols, start, end, request["timeframe"], options)

    def _covers(self, names: Mapping[int, str]) -> Iterator[CoveredRange]:
        """Yield the range that the bundle covers for each symbol.

        The range extends from the first bar to the last and, if the bundle answers a request, over
        the range of the symbol's answer.
        """
        origin = self.origin
        request = origin.request or {}
        for frequency, resolution in origin.resolutions.items():
            for sid, (_, first, last) in self.spans(f"{frequency}_bars/").items():
                source = origin.symbols.get(names[sid], SymbolSource(sid))
                if source.fingerprint is not None and request.get("timeframe") == resolution:
                    if source.since is None or source.until is None:  # of an earlier version
                        since = bound_of(request["start_date"], "start", first)
                        end = min(bound_of(request["end_date"], "end", last), origin.ingested_at)
                    else:
                        since, end = source.since, source.until - 1
                    first, last = min(first, since), max(last, end)
                yield CoveredRange(names[sid], resolution, first // 1000, last // 1000)


def packed(frame: pl.DataFrame, origin: BundleOrigin) -> bytes:
    """Return a frame as a Parquet file that contains the origin."""
    buffer = io.BytesIO()
    frame.write_parquet(
        buffer, compression="zstd", compression_level=3, metadata=file_metadata(origin)
    )
    return sealed(buffer.getvalue())[0]


def _full_time(given: str | None) -> str | None:
    """Return the start or end of a request as a full ISO time; unchanged if it cannot be parsed."""
    try:
        return given and iso(parse_iso(given))
    except ValueError:
        return given


def bound_of(given: str | None, which: str, otherwise: int) -> int:
    """Return a bound of a request in UTC milliseconds; ``otherwise`` if it is relative or None."""
    instant = instant_of(given or "", which)
    return otherwise if instant is None else int(instant[0].timestamp() * 1000)
