"""What the lines of a lineage say, as values: the reads of one run, their pins, and its end."""

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
# What a line that another program has changed may raise when it is parsed.
SENSELESS = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)
# More stretches without a bar, and rows that are not stored, are counted and not listed.
MOST_LISTED = 512


class Piece(NamedTuple):
    """A stretch of stamps that was read, with the digest of the stored bars in it."""

    span: Span
    rows: int
    digest: str


class Unstored(NamedTuple):
    """A bar that was handed on and that no generation holds: stamp, values, and why."""

    stamp_ms: int
    values: tuple[float | None, ...]
    reason: str


@dataclass(frozen=True)
class SeriesRead:
    """What one run read of one generation of a series.

    Attributes:
        number: in the run, from 0 on; of two lines with one number the later counts.
        series: whose stored bars.
        generation: of the series; None where some of the bars could not be stored.
        pieces: what was read, by start.
        adjustment: of the prices.
        provider: the vendor that was pinned.
        applied: the splits and dividends of then.
        made: the timeframes that were made of these bars; empty where they were read themselves.
        lacking: stretches that had no bar, where the calendar of then expected some.
        unexpected: stretches of bars that stood where none was expected.
        unstored: bars that were handed on and are not stored; at most :data:`MOST_LISTED`.
        not_listed: how many more there were.
        more_lacking: how many more there were.
        substitute: what of another kind stood in.
        asked_ms: time of the last read, UTC milliseconds.
        cache: the cache folder.
        library: the version of this library.
        pin: ``until`` (UTC milliseconds, None without end) and ``own`` (whether lineages set it); empty
            without a pin.
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
    unstored: tuple[Unstored, ...] = ()
    not_listed: int = 0
    more_lacking: int = 0
    substitute: str = ""
    asked_ms: int = 0
    cache: str = ""
    library: str = ""
    pin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many stored bars were read."""
        return sum(piece.rows for piece in self.pieces)

    @property
    def spans(self) -> tuple[Span, ...]:
        """The stamps that were read."""
        return tuple(piece.span for piece in self.pieces)

    def stored(self, *, of_then: bool) -> StoredRead:
        """Return what to read again: as it was, or the newest bars by the actions of today."""
        read = StoredRead(
            self.series,
            self.spans,
            self.adjustment,
            self.provider,
            as_stored=bool(self.substitute),
        )
        return replace(read, generation=self.generation, applied=self.applied) if of_then else read

    def relevant(self) -> AppliedActions:
        """Return the actions that can concern these bars: none that lies before the first of them."""
        if not self.pieces:
            return replace(self.applied, rows=(), own={})
        first = date_of(self.pieces[0].span.start)
        own = {v: tuple(a for a in r if a.ex_date >= first) for v, r in self.applied.own.items()}
        rows = tuple(a for a in self.applied.rows if a.ex_date >= first)
        return replace(self.applied, rows=rows, own=own)

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping of the line."""
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
    def from_json(cls, plain: Mapping[str, Any]) -> SeriesRead:
        """Read a document that :meth:`to_json` wrote; raises one of :data:`SENSELESS`."""
        msgspec.convert(plain, _ReadLine)
        if b"\0" in os.fsencode(plain["cache"]):
            raise ValueError("not a folder")
        return cls(
            plain["n"],
            key_of(plain["series"]),
            plain["generation"],
            tuple(Piece(_span(a, b), rows, digest) for a, b, rows, digest in plain["read"]),
            plain["adjustment"],
            plain["provider"],
            AppliedActions.from_json(plain["actions"]),
            tuple(plain["made"]),
            tuple(_span(*ends) for ends in plain["lacking"]),
            tuple(_span(*ends) for ends in plain["unexpected"]),
            tuple(Unstored(parse_iso(u[0]), tuple(u[1:-1]), u[-1]) for u in plain["unstored"]),
            plain["not_listed"],
            plain["more_lacking"],
            plain["substitute"],
            parse_iso(plain["asked"]),
            plain["cache"],
            plain["library"],
            plain.get("pin", {}),
        )


class _ReadLine(TypedDict):
    """The types of what a line says of a read; times and series are looked at when they are parsed."""

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
    """Return the series of its text, such as ``AAPL 1d@raw``."""
    symbol, _, folder = text.rpartition(" ")
    timeframe, *lane = folder.split("@")
    return SeriesKey(symbol, Timeframe.parse(timeframe), tuple(lane))


def _span(start: str, end: str) -> Span:
    return Span(parse_iso(start), parse_iso(end))


@dataclass(frozen=True)
class FailedRead:
    """A call of a run that ended with an error: the run saw no bars of it."""

    symbol: str
    timeframe: str
    error: str
    message: str


@dataclass
class RunRecord:
    """All that is recorded of one run.

    Attributes:
        run: its id.
        started: ISO time, UTC.
        ended: the same; empty where the run was killed, or goes on.
        keep: how long its generations are kept: a text such as ``180d``, True, or None.
        reads: what it read.
        failed: the calls that failed, one of each symbol, timeframe and error.
        is_forgotten: whether ``forget`` was called.
    """

    run: str
    started: str
    keep: Any = None
    ended: str = ""
    reads: list[SeriesRead] = field(default_factory=list)
    failed: list[FailedRead] = field(default_factory=list)
    is_forgotten: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping."""
        return {
            "run": self.run,
            "started": self.started,
            "ended": self.ended or None,
            "keep": self.keep,
            "reads": [read.to_json() for read in self.reads],
            "failed": [vars(one) for one in self.failed],
        }


def runs_in(log: CatalogLog, run: str = "") -> dict[str, RunRecord]:
    """Return id to what is recorded, oldest first; of ``run`` alone where it is named.

    Raises:
        FormatVersionError: a newer version of this library wrote a line of it.
        CorruptEntryError: a line of it makes no sense.
        StorageError: the log cannot be read.
    """
    records: dict[str, RunRecord] = {}
    for entry in log.entries(LINEAGE, FORMAT, run):
        if not run or entry.get("run") == run:
            try:
                _take(records, entry)
            except SENSELESS as exc:
                raise CorruptEntryError(
                    f"{log.path}: a line of the lineage {entry.get('run')!r} makes no sense: {exc!r}",
                    hint="another program may have changed it; `onetape lineage list` shows the others",
                ) from exc
    return records


_FAILED = ("symbol", "timeframe", "error", "message")


def _take(records: dict[str, RunRecord], entry: Mapping[str, Any]) -> None:
    name, event = entry["run"], entry["event"]
    texts = [name, event, entry["time"], *(entry[n] for n in _FAILED if event == "failed")]
    if not all(isinstance(text, str) and text.isprintable() for text in texts):
        raise ValueError("a text is not one")
    if event == "begin":
        records.pop(name, None)  # one of that id was forgotten before
        records[name] = RunRecord(name, entry["time"], entry["keep"])
        return
    record = records.get(name)
    if record is None:
        return  # its beginning was torn
    if event == "read":
        read = SeriesRead.from_json(entry)
        record.reads = [one for one in record.reads if one.number != read.number] + [read]
    elif event == "failed":
        words = (entry[name] for name in _FAILED)
        record.failed.append(FailedRead(*words))
    elif event == "end":
        record.ended = entry["time"]
    elif event == "forget":
        record.is_forgotten = True


def record_of(log: CatalogLog, run: str) -> RunRecord:
    """Return what is recorded of a run.

    Raises:
        QueryError: there is no such run, or it was forgotten; others as of :func:`runs_in`.
    """
    record = runs_in(log, run).get(run)
    if record is None or record.is_forgotten:
        hint = "`onetape lineage list` names those that there are"
        raise QueryError(f"there is no lineage {run!r} in {log.path}", hint=hint)
    return record


# --- pins ----------------------------------------------------------------------------------


class PinClaim(NamedTuple):
    """A generation that a run has kept: run, cache folder, series and generation."""

    run: str
    cache: str
    series: str
    generation: int

    @property
    def place(self) -> tuple[str, str, int]:
        """What is pinned: there is one pin of it, whichever runs claim it."""
        return self[1:]


def claims_in(log: CatalogLog) -> dict[PinClaim, Mapping[str, Any]]:
    """Return the claims that stand, with their ``until`` and ``own``; errors as of :func:`runs_in`."""
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
    log: CatalogLog, claims: Mapping[PinClaim, Mapping[str, Any]], gone: Iterable[PinClaim]
) -> Iterator[PinClaim]:
    """Note that claims are over, and yield those whose generation no other run claims.

    What was pinned before any lineage pinned it is none of them.
    """
    over = set(gone)
    places = {claim.place for claim in claims if claim not in over}
    for claim in sorted(over):
        if claim.place not in places and claims[claim]["own"]:
            places.add(claim.place)
            yield claim  # unpinned before it is noted: killed in between it is done again
        plain = {**claim._asdict(), "event": "unpin", "pin": {}}
        log.append(LINEAGE, plain, FORMAT)


def with_unstored(read: SeriesRead, table: BarTable) -> BarTable:
    """Return the bars with those that were handed on and are not stored."""
    rows: Sequence[Bar] = [
        Bar(u.stamp_ms, *(NAN if v is None else v for v in u.values)) for u in read.unstored
    ]
    return merge(table, BarTable.from_bars(sorted(rows))) if rows else table
