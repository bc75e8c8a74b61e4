"""The log lines of a lineage as Python values: the reads of a run, their pins, and its end."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, NotRequired, TypedDict

import msgspec

from ..errors import CorruptEntryError, QueryError
from ..model.bars import NAN, Bar, BarTable, merge
from ..model.instant import date_of, iso, parse_iso
from ..model.kind import Adjustment
from ..model.reads import AppliedActions, StoredRead
from ..model.series import SeriesKey
from ..model.span import Span
from ..model.timeframe import Timeframe
from .catalog_log import CatalogLog

LINEAGE, FORMAT = "lineage", 1
# Errors that parsing a line changed by another program may raise.
INVALID_RECORD_ERRORS = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    IndexError,
    OverflowError,
    msgspec.ValidationError,  # not a ValueError before msgspec 0.22
)
# Ranges without bars and rows that are not stored are listed up to this number, then only counted.
MOST_LISTED = 512


class Piece(NamedTuple):
    """A time range that was read, with the count and the digest of its stored bars."""

    span: Span
    rows: int
    digest: str


class UnstoredBar(NamedTuple):
    """A bar that was returned but is not stored: its timestamp, its values, and the reason."""

    stamp_ms: int
    values: tuple[float | None, ...]
    reason: str


@dataclass(frozen=True)
class SeriesRead:
    """The part of one generation of a series that a run read.

    Attributes:
        number: Number of the read in the run, from 0. If two lines have the same number, the later
            one is valid.
        series: Series whose stored bars were read.
        generation: Generation of the series; None if some of the bars could not be stored.
        pieces: Ranges that were read, ordered by start.
        adjustment: Adjustment of the prices.
        provider: Vendor that the calls named (``provider=``), if any.
        applied: Splits and dividends known at the time of the read.
        made: Timeframes built from these bars; empty if the bars themselves were read.
        lacking: Ranges without bars in which the calendar expected some at the time of the read.
        unexpected: Ranges with bars for which the calendar expected none.
        unstored: Bars that were returned but are not stored; at most :data:`MOST_LISTED`.
        not_listed: Number of bars that were returned but are neither stored nor in ``unstored``.
        more_lacking: Number of ranges without expected bars, in addition to those in ``lacking``.
        substitute: Kind of the bars, if it differs from the requested one.
        asked_ms: Time of the last read, UTC milliseconds.
        cache: Cache folder from which the bars were read.
        library: Version of this library that recorded the read.
        pin: Pin that keeps the generation: ``until`` (UTC milliseconds, None for no end) and
            ``own`` (whether only lineages have set it). Empty if there is no pin.
    """

    number: int
    series: SeriesKey
    generation: int | None
    pieces: tuple[Piece, ...]
    adjustment: Adjustment
    provider: str | None
    applied: AppliedActions
    made: tuple[str, ...] = ()
    lacking: tuple[Span, ...] = ()
    unexpected: tuple[Span, ...] = ()
    unstored: tuple[UnstoredBar, ...] = ()
    not_listed: int = 0
    more_lacking: int = 0
    substitute: str = ""
    asked_ms: int = 0
    cache: str = ""
    library: str = ""
    pin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Number of stored bars that were read."""
        return sum(piece.rows for piece in self.pieces)

    @property
    def spans(self) -> tuple[Span, ...]:
        """Spans of timestamps that were read."""
        return tuple(piece.span for piece in self.pieces)

    def stored(self, *, of_then: bool) -> StoredRead:
        """Return a query that repeats the read.

        With ``of_then``, it reads the same generation with the actions known at that time;
        otherwise, it reads the latest bars with the actions known today.
        """
        read = StoredRead(
            self.series,
            self.spans,
            self.adjustment,
            self.provider,
            as_stored=bool(self.substitute),
        )
        return replace(read, generation=self.generation, applied=self.applied) if of_then else read

    def relevant(self) -> AppliedActions:
        """Return the actions that can affect these bars, from the first bar's date on."""
        if not self.pieces:
            return replace(self.applied, rows=(), own={})
        first = date_of(self.pieces[0].span.start)
        own = {v: tuple(a for a in r if a.ex_date >= first) for v, r in self.applied.own.items()}
        rows = tuple(a for a in self.applied.rows if a.ex_date >= first)
        return replace(self.applied, rows=rows, own=own)

    def to_json(self) -> dict[str, Any]:
        """Return the mapping that is written as a log line."""
        return {
            "n": self.number,
            "series": str(self.series),
            "generation": self.generation,
            "read": [[iso(p.span.start), iso(p.span.end), p.rows, p.digest] for p in self.pieces],
            "adjustment": self.adjustment,
            "provider": self.provider,
            "actions": self.relevant().to_json(),
            "made": list(self.made),
            "lacking": [[iso(s.start), iso(s.end)] for s in self.lacking],
            "unexpected": [[iso(s.start), iso(s.end)] for s in self.unexpected],
            "unstored": [[iso(u.stamp_ms), *u.values, u.reason] for u in self.unstored],
            "not_listed": self.not_listed,
            "more_lacking": self.more_lacking,
            "substitute": self.substitute,
            "asked": iso(self.asked_ms),
            "cache": self.cache,
            "library": self.library,
            **({"pin": dict(self.pin)} if self.pin else {}),
        }

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> SeriesRead:
        """Create a read from the mapping in a log line.

        Raises one of :data:`INVALID_RECORD_ERRORS` if the mapping is invalid.
        """
        msgspec.convert(line, _ReadLine)
        if b"\0" in os.fsencode(line["cache"]):
            raise ValueError(f"invalid cache folder {line['cache']!r:.80}")
        return cls(
            line["n"],
            key_of(line["series"]),
            line["generation"],
            tuple(Piece(_span(a, b), rows, digest) for a, b, rows, digest in line["read"]),
            line["adjustment"],
            line["provider"],
            AppliedActions.from_json(line["actions"]),
            tuple(line["made"]),
            tuple(_span(*ends) for ends in line["lacking"]),
            tuple(_span(*ends) for ends in line["unexpected"]),
            tuple(UnstoredBar(parse_iso(u[0]), tuple(u[1:-1]), u[-1]) for u in line["unstored"]),
            line["not_listed"],
            line["more_lacking"],
            line["substitute"],
            parse_iso(line["asked"]),
            line["cache"],
            line["library"],
            line.get("pin", {}),
        )


class _ReadLine(TypedDict):
    """The types of the values in a log line about a read; times and series are checked later."""

    n: int
    series: str
    generation: int | None
    read: list[tuple[str, str, int, str]]
    adjustment: Adjustment
    provider: str | None
    actions: dict[str, Any]
    made: list[str]
    lacking: list[tuple[str, str]]
    unexpected: list[tuple[str, str]]
    unstored: list[list[str | float | None]]
    not_listed: int
    more_lacking: int
    substitute: str
    asked: str
    cache: str
    library: str
    pin: NotRequired[dict[str, Any]]


def key_of(text: str) -> SeriesKey:
    """Return the series named by a string such as ``AAPL 1d@raw``."""
    symbol, _, folder = text.rpartition(" ")
    timeframe, *lane = folder.split("@")
    return SeriesKey(symbol, Timeframe.parse(timeframe), tuple(lane))


def _span(start: str, end: str) -> Span:
    return Span(parse_iso(start), parse_iso(end))


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
        ended: ISO time of the end, UTC; empty if the run was killed or is still in progress.
        keep: How long the generations that it read are kept: a string such as ``180d``, True for no
            limit, or None if they are not kept.
        reads: Reads of the run.
        failed: Calls that failed, one for each symbol, timeframe and error.
        unrecorded: Symbol and timeframe of up to 100 series that were read in threads outside the
            run.
        is_forgotten: Whether ``forget`` was called.
    """

    run: str
    started: str
    keep: Any = None
    ended: str = ""
    reads: list[SeriesRead] = field(default_factory=list)
    failed: list[FailedRead] = field(default_factory=list)
    unrecorded: list[str] = field(default_factory=list)
    is_forgotten: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the record as a mapping for JSON."""
        return {
            "run": self.run,
            "started": self.started,
            "ended": self.ended or None,
            "keep": self.keep,
            "reads": [read.to_json() for read in self.reads],
            "failed": [vars(failure) for failure in self.failed],
            "unrecorded": self.unrecorded,
        }


def runs_in(log: CatalogLog, run: str = "") -> dict[str, RunRecord]:
    """Return the records of all runs, or only of ``run``, keyed by id, oldest first.

    Raises:
        FormatVersionError: A newer version of this library wrote a line about a run.
        CorruptEntryError: A line about a run is invalid.
        StorageError: The log cannot be read.
    """
    records: dict[str, RunRecord] = {}
    for entry in log.entries(LINEAGE, FORMAT, run):
        if not run or entry.get("run") == run:
            try:
                _apply_line(records, entry)
            except INVALID_RECORD_ERRORS as exc:
                raise CorruptEntryError(
                    (f"{log.path}: cannot parse a line of lineage {entry.get('run')!r}: {exc!r}"),
                    hint="another program may have changed it; `onetape lineage list` shows the others",
                ) from exc
    return records


_FAILED_KEYS = ("symbol", "timeframe", "error", "message")


def _apply_line(records: dict[str, RunRecord], entry: Mapping[str, Any]) -> None:
    name, event = entry["run"], entry["event"]
    outside = list(entry.get("unrecorded", ())) if event == "end" else []
    texts_of_failure = (entry[n] for n in _FAILED_KEYS if event == "failed")
    texts = [name, event, entry["time"], *texts_of_failure, *outside]
    if not all(isinstance(text, str) and text.isprintable() for text in texts):
        raise ValueError("a value contains unprintable characters or is not a string")
    if event == "begin":
        records.pop(name, None)  # an earlier run with this id was forgotten
        records[name] = RunRecord(name, entry["time"], entry["keep"])
        return
    record = records.get(name)
    if record is None:
        return  # the beginning of the line was torn off
    if event == "read":
        read = SeriesRead.from_json(entry)
        record.reads = [old for old in record.reads if old.number != read.number] + [read]
    elif event == "failed":
        words = (entry[name] for name in _FAILED_KEYS)
        record.failed.append(FailedRead(*words))
    elif event == "end":
        record.ended = entry["time"]
        record.unrecorded = outside
    elif event == "forget":
        record.is_forgotten = True


def record_of(log: CatalogLog, run: str) -> RunRecord:
    """Return the record of a run.

    Raises:
        QueryError: The run does not exist, or was forgotten; see :func:`runs_in` for other
            errors.
    """
    record = runs_in(log, run).get(run)
    if record is None or record.is_forgotten:
        hint = "`onetape lineage list` lists the recorded runs"
        raise QueryError(f"lineage {run!r} does not exist in {log.path}", hint=hint)
    return record


# --- pins ----------------------------------------------------------------------------------


class PinClaim(NamedTuple):
    """A run's claim to keep a generation: run, cache folder, series and generation."""

    run: str
    cache: str
    series: str
    generation: int

    @property
    def generation_key(self) -> tuple[str, str, int]:
        """The generation that is claimed; it has one pin even if several runs claim it."""
        return self[1:]


def claims_in(log: CatalogLog) -> dict[PinClaim, Mapping[str, Any]]:
    """Return a mapping from each active claim to its pin (``until`` and ``own``).

    Raises the errors of :func:`runs_in`.
    """
    claims: dict[PinClaim, Mapping[str, Any]] = {}
    for entry in log.entries(LINEAGE, FORMAT, "pin"):
        pin = entry.get("pin")
        words: list[Any] = [entry.get(n) for n in ("run", "cache", "series", "generation")]
        if not isinstance(pin, dict) or (pin and not {"until", "own"} <= set(pin)):
            continue
        if list(map(type, words)) != [str, str, str, int]:
            continue
        claim = PinClaim(*words)
        if entry.get("event") == "unpin":
            claims.pop(claim, None)
        else:
            claims[claim] = pin
    return claims


def let_go(
    log: CatalogLog, claims: Mapping[PinClaim, Mapping[str, Any]], ended: Iterable[PinClaim]
) -> Iterator[PinClaim]:
    """Record that claims have ended, and yield those whose generation the caller must unpin.

    A generation must be unpinned if a lineage pinned it and no other run claims it. A generation
    that was pinned before any lineage claimed it stays pinned.
    """
    over = set(ended)
    keys = {claim.generation_key for claim in claims if claim not in over}
    for claim in sorted(over):
        if claim.generation_key not in keys and claims[claim]["own"]:
            keys.add(claim.generation_key)
            yield claim  # unpinned first: after a crash in between it is repeated
        line = {**claim._asdict(), "event": "unpin", "pin": {}}
        log.append(LINEAGE, line, FORMAT)


def with_unstored(read: SeriesRead, table: BarTable) -> BarTable:
    """Return the stored bars together with the bars that were returned but not stored."""
    rows: Sequence[Bar] = [
        Bar(u.stamp_ms, *(NAN if v is None else v for v in u.values)) for u in read.unstored
    ]
    return merge(table, BarTable.from_bars(sorted(rows))) if rows else table
