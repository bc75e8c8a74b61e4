"""The records of runs: which bars a run read, in one JSON file for each run.

A record is the only copy of these facts, so its file is replaced atomically and never evicted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ...core.disk.atomic import sweep, write_atomically
from ...core.disk.files import Disk
from ...core.model.answer.reads import AppliedActions, StoredRead, digest_of
from ...core.model.identity.kind import Adjustment
from ...core.model.identity.series import SeriesKey
from ...core.model.market.bars import NAN, Bar, BarTable, merge
from ...core.model.time.instant import parse_iso
from ...core.model.time.span import Span
from ...core.model.time.timeframe import Timeframe
from ...core.model.words.caller import warn_user
from ...errors import CorruptEntryError, DataError, FormatVersionError, QueryError

if TYPE_CHECKING:
    from ...core.bars.client import BarsClient
    from ...core.disk.files import FileState

FORMAT = 1
_LOCK_TIMEOUT_S = 30.0
_OLDER = "catalog.jsonl"


class Piece(NamedTuple):
    """A time range that was read (ISO, UTC, end excluded), and the count and digest of its bars."""

    start: str
    end: str
    rows: int
    digest: str


class UnstoredBar(NamedTuple):
    """A bar that was returned but is not stored: its timestamp (ISO, UTC), values and reason."""

    stamp: str
    values: tuple[float | None, ...]
    reason: str

    @property
    def stamp_ms(self) -> int:
        """Timestamp in UTC milliseconds."""
        return parse_iso(self.stamp)


@dataclass(frozen=True)
class SeriesRead:
    """The part of one generation of a series that a run read.

    Attributes:
        series: Name of the series whose stored bars were read, such as ``AAPL 1d@raw``.
        generation: Generation of the series; None if some of the bars could not be stored.
        pieces: Ranges that were read, ordered by start.
        adjustment: Adjustment of the prices.
        provider: Vendor that the calls named (``provider=``), if any.
        actions: Splits and dividends known at the time of the read, from the first bar's date on.
        made: Timeframes built from these bars; empty if the bars themselves were read.
        irregular: Ranges (start and end, ISO, UTC) in which the bars were not those that the
            calendar expected at the time of the read: bars were missing, or none was expected.
        unstored: Bars that were returned but are not stored.
        substitute: Kind of the bars, if it differs from the requested one.
        asked_ms: Time of the last read, UTC milliseconds.
        cache: Cache folder from which the bars were read.
        library: Version of this library that recorded the read.
        is_pinned: Whether the run keeps the generation by a pin that only runs have set.
        opened_by_ms: For a read as of a past time: latest opening time of a session whose splits and
            dividends had come, UTC milliseconds; None for a read as of its own time.
    """

    series: str
    generation: int | None
    pieces: tuple[Piece, ...]
    adjustment: Adjustment
    provider: str | None
    actions: AppliedActions
    made: tuple[str, ...] = ()
    irregular: tuple[tuple[str, str], ...] = ()
    unstored: tuple[UnstoredBar, ...] = ()
    substitute: str = ""
    asked_ms: int = 0
    cache: str = ""
    library: str = ""
    is_pinned: bool = False
    opened_by_ms: int | None = None

    @property
    def key(self) -> SeriesKey:
        """The series as a key."""
        return key_of(self.series)

    @property
    def rows(self) -> int:
        """Number of stored bars that were read."""
        return sum(piece.rows for piece in self.pieces)

    @property
    def spans(self) -> tuple[Span, ...]:
        """Spans of timestamps that were read."""
        return spans_of(piece[:2] for piece in self.pieces)

    def stored(self, *, of_then: bool) -> StoredRead:
        """Return a query that repeats the read.

        With ``of_then``, it reads the same generation with the actions known at that time;
        otherwise, it reads the latest bars with the actions known today; for a read as of a past
        time, only with those that had come by then.
        """
        query = StoredRead(
            self.key,
            self.spans,
            self.adjustment,
            self.provider,
            as_stored=bool(self.substitute),
            opened_by_ms=self.opened_by_ms,
        )
        # The user's own files have no versions: their bars are read as they are now.
        generation = None if self.key.is_of_files else self.generation
        return replace(query, generation=generation, applied=self.actions) if of_then else query

    def pieces_of(self, table: BarTable) -> tuple[Piece, ...]:
        """Return the pieces that the ranges of this read would have with the bars of a table."""
        tables = [table.within(span) for span in self.spans]
        return tuple(
            piece._replace(rows=len(bars), digest=digest_of([bars]))
            for piece, bars in zip(self.pieces, tables, strict=True)
        )

    def with_unstored(self, table: BarTable) -> BarTable:
        """Return the stored bars together with the bars that were returned but not stored."""
        rows = [
            Bar(u.stamp_ms, *(NAN if v is None else v for v in u.values)) for u in self.unstored
        ]
        return merge(table, BarTable.from_bars(sorted(rows))) if rows else table


def key_of(text: str) -> SeriesKey:
    """Return the series named by a string such as ``AAPL 1d@raw``."""
    symbol, _, folder = text.rpartition(" ")
    timeframe, *lane = folder.split("@")
    return SeriesKey(symbol, Timeframe.parse(timeframe), tuple(lane))


def spans_of(ranges: Iterable[Sequence[str]]) -> tuple[Span, ...]:
    """Return ranges of ISO times as spans."""
    return tuple(Span(parse_iso(start), parse_iso(end)) for start, end in ranges)


def since(actions: AppliedActions, day: date) -> AppliedActions:
    """Return the actions with an ex-date on or after ``day``."""
    own = {v: tuple(a for a in rows if a.ex_date >= day) for v, rows in actions.own.items()}
    return replace(actions, rows=tuple(a for a in actions.rows if a.ex_date >= day), own=own)


@dataclass(frozen=True)
class FailedRead:
    """A call in a run that ended with an error instead of bars."""

    symbol: str
    timeframe: str
    error: str
    message: str


@dataclass
class RunRecord:
    """Everything recorded about one run.

    Attributes:
        run: Id of the run.
        started: ISO time of the start, UTC.
        keep: How long the generations that it read are kept: a string such as ``180d``, True for no
            limit, or None if they are not kept.
        keep_until_ms: End of that time, UTC milliseconds; None if there is none.
        ended: ISO time of the end, UTC; empty if the run was killed or is still in progress.
        reads: Reads of the run.
        failed: Calls that failed, one for each symbol, timeframe and error.
        unrecorded: Symbol and timeframe of up to 100 series that were read in threads outside the
            run.
        others: Members, macro values and filings that were read through a manager as of a past time,
            each as the line of a receipt.
        format: Number of the file format.
    """

    run: str
    started: str
    keep: str | bool | None = None
    keep_until_ms: int | None = None
    ended: str = ""
    reads: list[SeriesRead] = field(default_factory=list)
    failed: list[FailedRead] = field(default_factory=list)
    unrecorded: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    format: int = FORMAT

    def pins(self) -> set[tuple[str, str, int]]:
        """Return the pins of the run: cache folder, series and generation of each."""
        return {(r.cache, r.series, r.generation or 0) for r in self.reads if r.is_pinned}

    def to_json(self) -> dict[str, Any]:
        """Return the record as a mapping for JSON."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        return document


class _Head(msgspec.Struct):
    """The part of a record that every version can read."""

    format: int


def record_from(data: bytes, path: Path) -> RunRecord:
    """Parse a record; ``path`` is its file, for messages.

    Raises:
        FormatVersionError: A newer version of this library wrote the record.
        CorruptEntryError: The record is damaged.
    """
    try:
        written = msgspec.json.decode(data, type=_Head).format
        if written <= FORMAT:
            return msgspec.json.decode(data, type=RunRecord)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise CorruptEntryError(f"{path} is not a record of a run: {exc}") from exc
    raise FormatVersionError(
        f"{path} has format {written}; this version reads up to {FORMAT}", hint="update onetape"
    )


class RunFolder:
    """The records of all runs in one bundles folder.

    Thread-safe; several processes may use the same folder.

    Args:
        bundles: Bundles folder; it is created with the first record.
        disk: File access; None is the file system, with permissions according to the umask.

    Attributes:
        path: Folder of the records. Its name is not a name that a bundle can have.
    """

    def __init__(self, bundles: Path, disk: Disk | None = None) -> None:
        self.path, self._older, self._disk = bundles / ".lineage", bundles / _OLDER, disk or Disk()

    def file(self, run: str) -> Path:
        """Return the path of a run's record; an id may contain characters that no path can."""
        return self.path / f"{hashlib.sha256(run.encode()).hexdigest()[:32]}.json"

    def states(self) -> dict[str, FileState | None]:
        """Return the state of the file of each record, by the name of the file."""
        names = [name for name in self._disk.list(self.path) if name.endswith(".json")]
        return {name: self._disk.stat(self.path / name) for name in names}

    def read(self, name: str) -> RunRecord | None:
        """Return the record in a file, or None if there is no such file.

        Raises:
            FormatVersionError, CorruptEntryError, StorageError: The file cannot be read.
        """
        data = self._disk.read_if_exists(self.path / name)
        return None if data is None else record_from(data, self.path / name)

    def get(self, run: str) -> RunRecord:
        """Return the record of a run.

        Raises:
            QueryError: The run does not exist; see :meth:`read` for other errors.
        """
        record = self.read(self.file(run).name)
        if record is None:
            raise QueryError(
                f"lineage {run!r} does not exist in {self.path}",
                hint="`onetape bundle lineage list` lists the recorded runs",
            )
        return record

    def all(self) -> list[RunRecord]:
        """Return all records, oldest run first; those that cannot be read are left out.

        Warns:
            UserWarning: A record cannot be read.
        """
        records = []
        for name in self.states():
            try:
                record = self.read(name)
            except DataError as error:
                warn_user(str(error))
                continue
            if record is not None:
                records.append(record)
        return sorted(records, key=lambda record: (record.started, record.run))

    def write(self, record: RunRecord, *, is_new: bool = False) -> None:
        """Write a record; it is durable when this returns.

        Raises:
            QueryError: ``is_new`` is set, and the id is in use.
            StorageError: The record could not be written; the file has its earlier content.
            LockTimeoutError: Another writer kept the folder locked for 30 s.
        """
        self._disk.make_folders(self.path)
        path = self.file(record.run)
        with self._disk.lock(self.path / ".lock", _LOCK_TIMEOUT_S):
            if is_new and (earlier := self.read(path.name)) is not None:
                raise QueryError(
                    f"lineage {record.run!r} already exists, started {earlier.started}",
                    hint="choose another id, or remove that one first with `onetape bundle lineage forget`",
                )
            sweep(self._disk, self.path)
            write_atomically(self._disk, path, msgspec.json.encode(record))

    def remove(self, run: str) -> None:
        """Remove the record of a run."""
        with self._disk.lock(self.path / ".lock", _LOCK_TIMEOUT_S):
            self._disk.remove(self.file(run))

    def release(self, over: Sequence[RunRecord], client: BarsClient) -> None:
        """Unpin the generations in a client's cache that only these runs keep, and record that."""
        names = {record.run for record in over}
        kept = {pin for one in self.all() if one.run not in names for pin in one.pins()}
        for record in over:
            here = client.folder.resolve()
            mine = {pin for pin in record.pins() if Path(pin[0]).resolve() == here}
            for _, series, generation in sorted(mine - kept):
                client.unpin(key_of(series), generation)  # repeated if the process dies here
            if mine:
                record.reads = [replace(read, is_pinned=False) for read in record.reads]
                self.write(record)

    def release_expired(self, now_ms: int, client: Callable[[], BarsClient]) -> list[RunRecord]:
        """Unpin the generations that no run needs any longer, and return all records.

        Pins in another cache stay until this is called with a client of that cache.

        Args:
            now_ms: Current time, UTC milliseconds.
            client: Function that returns the client; called only if a pin has expired.
        """
        records = self.all()
        if over := [r for r in records if r.pins() and (r.keep_until_ms or now_ms + 1) <= now_ms]:
            self.release(over, client())
        return records

    def report_older(self) -> None:
        """Warn about runs that an earlier version recorded in a log, which is not read."""
        if self._disk.stat(self._older) is not None:
            warn_user(f"{self._older} has runs from an earlier version, which cannot be read")
